//! Runs tasks as processes of this machine, each the leader of its own process group.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::leftover::Family;
use super::spawner::on_spawner;
use super::{Cancel, Ended, Executor, Running, Stdout, Task, Ticket, Waiting};
use crate::job::Message;

/// How long the output of an ended process is read on: a child of its own may hold the pipe.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// How often an adopted process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The executor for this machine.
#[derive(Debug, Default)]
pub struct Local;

impl Executor for Local {
    fn submit(&self, task: Task) -> io::Result<Box<dyn Running>> {
        let log = OpenOptions::new().create(true).append(true).open(&task.log)?;
        let mut command = Command::new(&task.argv[0]);
        command
            .args(&task.argv[1..])
            .current_dir(&task.folder)
            .env_clear()
            .envs(task.environment)
            .stdin(Stdio::from(task.lock))
            .stderr(Stdio::from(log.try_clone()?))
            .process_group(0);
        match task.stdout {
            Stdout::Log => command.stdout(Stdio::from(log)),
            Stdout::Messages => command.stdout(Stdio::piped()),
        };
        let (runtime, read_only) = (tokio::runtime::Handle::current(), task.read_only);
        let (mut child, family) = on_spawner(move |namespace| {
            let _context = runtime.enter();
            if let Some(folder) = &read_only {
                namespace.mount_read_only(folder)?;
            }
            let family = Family::begin()?;
            Ok((command.spawn()?, family))
        })?;
        let lines = child.stdout.take().map(|it| BufReader::new(it).lines());
        let pid = child.id().unwrap_or(0);
        Ok(Box::new(Process { child, pid, lines, family }))
    }

    fn protect(&self, folder: &Path) -> io::Result<()> {
        let folder = folder.to_owned();
        on_spawner(move |namespace| namespace.protect(&folder))
    }

    fn adopt(&self, ticket: &Ticket) -> Option<Box<dyn Running>> {
        let adopted = Adopted { ticket: ticket.clone() };
        adopted.lives().then(|| Box::new(adopted) as Box<dyn Running>)
    }
}

struct Process {
    child: Child,
    pid: u32,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    family: Family,
}

impl Running for Process {
    fn ticket(&self) -> Ticket {
        Ticket { pid: self.pid, started: started(self.pid).unwrap_or(0) }
    }

    fn watch<'a>(&'a mut self, hear: &'a mut dyn FnMut(Message)) -> Waiting<'a, io::Result<Ended>> {
        Box::pin(async move {
            let status = loop {
                let Some(lines) = &mut self.lines else { break self.child.wait().await? };
                tokio::select! {
                    line = lines.next_line() => match line {
                        Ok(Some(line)) => say(&line, hear),
                        Ok(None) | Err(_) => self.lines = None,
                    },
                    status = self.child.wait() => break status?,
                }
            };
            if let Some(mut lines) = self.lines.take() {
                let rest = async {
                    while let Ok(Some(line)) = lines.next_line().await {
                        say(&line, hear);
                    }
                };
                let _ = tokio::time::timeout(LAST_WORDS, rest).await;
            }
            // Whatever it left running would keep the key's lock, and could write to its outputs.
            let _ = signal_group(self.pid, Signal::KILL);
            self.family.end().await?;
            Ok(match (status.code(), status.signal()) {
                (Some(code), _) => Ended::Exit(code),
                (None, Some(signal)) => Ended::Signal(signal),
                (None, None) => Ended::Unknown,
            })
        })
    }

    fn cancel(&self, how: Cancel) -> io::Result<()> {
        signal_group(self.pid, signal(how))
    }
}

/// A process that another engine started.
struct Adopted {
    ticket: Ticket,
}

impl Adopted {
    fn lives(&self) -> bool {
        started(self.ticket.pid) == Some(self.ticket.started)
    }
}

impl Running for Adopted {
    fn ticket(&self) -> Ticket {
        self.ticket.clone()
    }

    fn watch<'a>(&'a mut self, _: &'a mut dyn FnMut(Message)) -> Waiting<'a, io::Result<Ended>> {
        Box::pin(async move {
            while self.lives() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
            Ok(Ended::Unknown)
        })
    }

    fn cancel(&self, how: Cancel) -> io::Result<()> {
        if self.lives() { signal_group(self.ticket.pid, signal(how)) } else { Ok(()) }
    }
}

fn signal(how: Cancel) -> Signal {
    match how {
        Cancel::Ask => Signal::TERM,
        Cancel::Kill => Signal::KILL,
    }
}

fn signal_group(pid: u32, signal: Signal) -> io::Result<()> {
    let Some(group) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process_group(group, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(()), // nobody is left
        other => other.map_err(io::Error::from),
    }
}

fn say(line: &str, hear: &mut dyn FnMut(Message)) {
    match serde_json::from_str(line) {
        Ok(message) => hear(message),
        Err(_) => hear(Message::Note { text: line.to_owned() }),
    }
}

/// When a process started, in clock ticks since the machine did: field 22 of `/proc/PID/stat`.
/// Zombies count as ended.
pub(crate) fn started(pid: u32) -> Option<u64> {
    // One read: the file is short, and this is done for every step.
    let mut buffer = [0; 1024];
    let n = fs::File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut buffer).ok()?;
    let stat = String::from_utf8_lossy(&buffer[..n]);
    // The second field is the program's name in parentheses and may hold anything.
    let mut rest = stat.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = rest.next()?;
    if state == "Z" || state == "X" { None } else { rest.nth(18)?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(script: &str, stdout: Stdout, folder: &std::path::Path) -> Task {
        Task {
            argv: ["/bin/sh", "-c", script].map(Into::into).to_vec(),
            folder: folder.to_owned(),
            environment: vec![("GIVEN".into(), "yes".into())],
            lock: fs::File::open("/dev/null").unwrap(),
            log: folder.join("log"),
            stdout,
            read_only: None,
        }
    }

    async fn end(script: &str) -> (Ended, Vec<Message>, String) {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Local.submit(task(script, Stdout::Messages, folder.path())).unwrap();
        let mut heard = vec![];
        let ended = running.watch(&mut |it| heard.push(it)).await.unwrap();
        (ended, heard, fs::read_to_string(folder.path().join("log")).unwrap())
    }

    #[tokio::test(flavor = "current_thread")]
    async fn tells_exits_from_signals_and_passes_messages_on() {
        let (ended, heard, log) =
            end(r#"echo '{"say":"count","name":"rows","value":3}'; echo $GIVEN$HOME >&2; exit 3"#)
                .await;
        assert_eq!(ended, Ended::Exit(3));
        assert_eq!(heard, [Message::Count { name: "rows".into(), value: 3 }]);
        assert_eq!(log, "yes\n");
        assert_eq!(end("kill -9 $$").await.0, Ended::Signal(9));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn what_a_task_leaves_running_is_killed() {
        let before = std::time::Instant::now();
        let (ended, heard, _) = end("sleep 60 & echo $!").await;
        assert_eq!(ended, Ended::Exit(0));
        assert!(before.elapsed() < Duration::from_secs(20));
        let Message::Note { text } = &heard[0] else { panic!("{heard:?}") };
        let pid = text.trim().parse().unwrap();
        for _ in 0..100 {
            if started(pid).is_none() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("process {pid} still runs");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn an_adopted_task_is_watched_until_it_ends() {
        let folder = tempfile::tempdir().unwrap();
        let mut running = Local.submit(task("sleep 60", Stdout::Log, folder.path())).unwrap();
        let mut adopted = Local.adopt(&running.ticket()).unwrap();
        adopted.cancel(Cancel::Ask).unwrap();
        assert_eq!(running.watch(&mut |_| ()).await.unwrap(), Ended::Signal(15));
        assert_eq!(adopted.watch(&mut |_| ()).await.unwrap(), Ended::Unknown);
        assert!(Local.adopt(&adopted.ticket()).is_none());
    }
}
