//! A project in a temporary folder, and the binary run in it.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A project that is removed when it is dropped. While it lives, snapshots are taken without what
/// differs from run to run.
pub(crate) struct Project {
    folder: tempfile::TempDir,
    _filters: insta::internals::SettingsBindDropGuard,
}

/// What differs from run to run or from machine to machine, and what stands for it.
const FILTERS: [(&str, &str); 7] = [
    (r"\b\d{8}-\d{6}(-\d+)?\b", "[RUN]"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC on \S+,", "[DATE] UTC on [HOST],"),
    (r"\bin (\d+ h )?(\d+ min )?\d+(\.\d)?( ms| s| min)\b", "in [TIME]"),
    (r"(?m)  +\d+(?:\.\d)? m?s(  |$)", "  [TIME]$1"),
    (r#""(took|longest)_ms":\d+"#, r#""${1}_ms":[TIME]"#),
    (r#""machine":"[^"]*""#, r#""machine":"[MACHINE]""#),
    (r"(?m) +$", ""),
];

impl Project {
    /// A project of these files.
    pub(crate) fn with(files: &[(&str, &str)]) -> Self {
        let mut settings = insta::Settings::clone_current();
        for (pattern, text) in FILTERS {
            settings.add_filter(pattern, text);
        }
        let folder = tempfile::tempdir().unwrap();
        let project = Self { folder, _filters: settings.bind_to_scope() };
        for (name, text) in files {
            project.write(name, text);
        }
        project
    }

    /// The project that `kun new` makes.
    pub(crate) fn new() -> Self {
        let project = Self::with(&[]);
        project.good("new");
        project
    }

    /// The example `hello`.
    pub(crate) fn hello() -> Self {
        Self::copy_of("examples/hello")
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
        text.replace(folder.to_str().unwrap(), "[DIR]")
    }

    /// Like [`Self::run`], with the lines of steps sorted by step: which step is ready first is
    /// not the same every time.
    pub(crate) fn sorted(&self, args: &str) -> String {
        let screen = self.run(args);
        let of_a_step = |line: &&str| {
            let verb = line.trim_start().split(' ').next().unwrap_or_default();
            line.starts_with("  ") && ["Running", "Done", "Same", "Skipped"].contains(&verb)
        };
        let mut lines: Vec<&str> = screen.lines().filter(of_a_step).collect();
        lines.sort_by_key(|line| {
            let mut words = line.split_whitespace();
            let verb = words.next();
            (words.next().unwrap_or_default().trim_end_matches(':'), verb == Some("Done"))
        });
        let mut sorted = lines.into_iter();
        let put = |line| if of_a_step(&line) { sorted.next().unwrap_or_default() } else { line };
        screen.lines().map(put).collect::<Vec<_>>().join("\n")
    }

    /// A screen with tables whose columns are as wide as times are long: two spaces between
    /// columns.
    pub(crate) fn squeezed(&self, args: &str) -> String {
        let line = |line: &str| {
            let words: Vec<&str> =
                line.split("  ").map(str::trim).filter(|it| !it.is_empty()).collect();
            let indent = if line.starts_with(' ') { "  " } else { "" };
            format!("{indent}{}", words.join("  "))
        };
        self.run(args).lines().map(line).collect::<Vec<_>>().join("\n")
    }

    /// Adds text to the end of a file.
    pub(crate) fn append(&self, name: &str, text: &str) {
        self.write(name, self.read(name) + text);
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
