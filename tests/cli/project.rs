//! A project in a temporary folder, and the binary run in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A project that is removed when it is dropped.
pub(crate) struct Project {
    folder: tempfile::TempDir,
}

impl Project {
    /// A project of these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let project = Self { folder: tempfile::tempdir().unwrap() };
        for (name, text) in files {
            project.write(name, text);
        }
        project
    }

    /// A copy of a folder of this repository.
    pub(crate) fn copy_of(folder: &str) -> Self {
        let project = Self::with(&[]);
        let from = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
        copy(&from, &project.path(""));
        project
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// The binary with these arguments, in this project, with next to no environment.
    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kun"));
        command.args(args.split_whitespace()).current_dir(self.folder.path()).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("NO_COLOR", "1");
        command
    }

    pub(crate) fn output(&self, args: &str) -> Output {
        self.command(args).output().unwrap()
    }

    /// Exit code and both streams as one text, without what differs from run to run.
    pub(crate) fn run(&self, args: &str) -> String {
        self.screen(&self.output(args))
    }

    pub(crate) fn screen(&self, output: &Output) -> String {
        let mut text = format!("exit {}\n", output.status.code().unwrap_or(-1));
        for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
            if !bytes.is_empty() {
                text.push_str(&format!("--- {name}\n{}", String::from_utf8_lossy(bytes)));
            }
        }
        let folder = self.folder.path().canonicalize().unwrap();
        let text = text.replace(folder.to_str().unwrap(), "[DIR]");
        times_hidden(&text)
    }

    /// Runs, and panics with the screen unless all is well.
    pub(crate) fn good(&self, args: &str) -> String {
        let output = self.output(args);
        let screen = self.screen(&output);
        assert!(output.status.success(), "{screen}");
        screen
    }
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name();
        if name == ".kun" || name == "out" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to.join(name));
        } else {
            fs::copy(entry.path(), to.join(name)).unwrap();
        }
    }
}

/// `in 0.1 s` is `in [TIME]`; run names are `[RUN]`.
fn times_hidden(text: &str) -> String {
    let mut lines = vec![];
    for line in text.lines() {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        for i in 0..words.len() {
            let is_number = words[i].parse::<f64>().is_ok();
            let unit = words.get(i + 1).map(|it| it.trim_end_matches([',', ';']).to_owned());
            if is_number && unit.as_deref() == Some("s") {
                words[i] = "[TIME]".to_owned();
            }
            let is_run = words[i].len() == 15
                && words[i].bytes().all(|it| it.is_ascii_digit() || it == b'-')
                && words[i].as_bytes()[8] == b'-';
            if is_run {
                words[i] = "[RUN]".to_owned();
            }
        }
        lines.push(words.join(" "));
    }
    lines.join("\n") + "\n"
}
