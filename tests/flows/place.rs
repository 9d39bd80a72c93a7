//! A project in a temporary folder, the binary in it, and what it left behind. Processes started
//! here end with the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Nothing here takes longer, whatever the machine is doing.
pub(crate) const LIMIT: Duration = Duration::from_secs(100);

/// A project, and a folder beside it for what its programs leave outside.
pub(crate) struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        let place = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.root()).unwrap();
        fs::create_dir(place.beside("marks")).unwrap();
        fs::write(place.log(), "").unwrap();
        place
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the programs append to.
    pub(crate) fn log(&self) -> PathBuf {
        self.beside("log")
    }

    /// The lines of the log.
    pub(crate) fn lines(&self) -> Vec<String> {
        fs::read_to_string(self.log()).unwrap().lines().map(str::to_owned).collect()
    }

    /// How often each line is in the log.
    pub(crate) fn times(&self) -> BTreeMap<String, usize> {
        let mut times = BTreeMap::new();
        self.lines().into_iter().for_each(|it| *times.entry(it).or_default() += 1);
        times
    }

    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn command(&self, args: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kun"));
        command.args(args.split_whitespace()).current_dir(self.root()).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("NO_COLOR", "1").stdin(Stdio::null());
        command
    }

    /// Starts the binary; what it says goes to files beside the project.
    pub(crate) fn start(&self, args: &str) -> Started {
        self.start_command(self.command(args))
    }

    pub(crate) fn start_command(&self, mut command: Command) -> Started {
        let said = tempfile::tempfile().unwrap();
        command.stdout(said.try_clone().unwrap()).stderr(said.try_clone().unwrap());
        Started { child: command.spawn().unwrap(), said }
    }

    /// Runs to the end, and gives the exit code and all that was said.
    pub(crate) fn end(&self, args: &str) -> (i32, String) {
        self.start(args).end()
    }

    /// Runs, and panics with the screen unless all is well.
    pub(crate) fn good(&self, args: &str) -> String {
        let (code, said) = self.end(args);
        assert_eq!(code, 0, "kun {args}\n{said}");
        said
    }

    /// Every file below `out/` with its content.
    pub(crate) fn results(&self) -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let top = self.root().join("out");
        for path in files(&top) {
            let name = path.strip_prefix(&top).unwrap().display().to_string();
            found.insert(name, fs::read(&path).unwrap());
        }
        found
    }

    /// The steps that have a record.
    pub(crate) fn recorded(&self) -> BTreeSet<String> {
        let root = self.root().join(".kun/store");
        if !root.join("VERSION").exists() {
            return BTreeSet::new();
        }
        let store = store::Store::open(&root).unwrap();
        store.records().unwrap().map(|it| it.address).collect()
    }

    /// The store holds what it says, and nothing else.
    pub(crate) fn verify(&self, what: &str) {
        let store = store::Store::open(&self.root().join(".kun/store")).unwrap();
        let mut found = vec![];
        store.verify(store::Quarantine::Leave, &mut |it| found.push(it)).unwrap();
        assert_eq!(found, [], "{what}");
    }
}

/// Every plain file below a folder.
pub(crate) fn files(top: &Path) -> Vec<PathBuf> {
    let (mut found, mut open) = (vec![], vec![top.to_owned()]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(entry.path());
            } else if !kind.is_fifo() && !kind.is_socket() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// A running binary; killed with all that it started when dropped.
pub(crate) struct Started {
    child: Child,
    said: fs::File,
}

impl Started {
    pub(crate) fn signal(&self, signal: Signal) {
        // It may have ended in this moment.
        let _ = kill_process(pid(self.child.id()), signal);
    }

    /// Its process.
    pub(crate) fn number(&self) -> u32 {
        self.child.id()
    }

    /// The processes that it started, each the leader of its group.
    pub(crate) fn children(&self) -> Vec<u32> {
        children_of(self.child.id())
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// Waits for the end; none: it was ended by a signal.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        until("the end of a run", || self.has_ended());
        self.child.wait().unwrap().code()
    }

    pub(crate) fn said(&self) -> String {
        use std::os::unix::fs::FileExt as _;
        let mut bytes = vec![0; self.said.metadata().unwrap().len() as usize];
        self.said.read_exact_at(&mut bytes, 0).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn end(mut self) -> (i32, String) {
        let code = self.wait().unwrap_or(-1);
        (code, self.said())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|it| it.is_none()) {
            let below = self.children();
            self.signal(Signal::KILL);
            below.into_iter().for_each(kill_group);
            let _ = self.child.wait();
        }
    }
}

pub(crate) fn pid(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).unwrap()).unwrap()
}

/// Kills a process that the binary started, and all of its group.
pub(crate) fn kill_group(leader: u32) {
    let _ = kill_process_group(pid(leader), Signal::KILL);
}

fn children_of(parent: u32) -> Vec<u32> {
    let of_task = |task: PathBuf| fs::read_to_string(task.join("children")).unwrap_or_default();
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
    let text: Vec<String> = tasks.map(|it| of_task(it.path())).collect();
    text.iter().flat_map(|it| it.split_whitespace()).filter_map(|it| it.parse().ok()).collect()
}

/// The most memory that a process and those below it are seen to hold, until it ends.
pub(crate) fn peak_kib(run: &mut Started) -> u64 {
    let mut peak = 0;
    until("the end", || {
        for it in run.children().into_iter().chain([run.number()]) {
            let status = fs::read_to_string(format!("/proc/{it}/status")).unwrap_or_default();
            let line = status.lines().find_map(|it| it.strip_prefix("VmHWM:"));
            let kib = line.and_then(|it| it.trim().trim_end_matches(" kB").parse().ok());
            peak = peak.max(kib.unwrap_or(0));
        }
        run.has_ended()
    });
    peak
}

/// Looks again and again until something holds.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !holds() {
        assert!(Instant::now() < end, "{what} did not come");
        pause(Duration::from_millis(2));
    }
}

/// Lets a moment pass.
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}
