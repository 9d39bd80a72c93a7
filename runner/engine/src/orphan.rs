//! Work that another engine has under way, or left behind when it was killed.

use std::fs;
use std::sync::LazyLock;

use store::Holder;

use crate::execute::{Cancel, Executor, Ticket, process_started};
use crate::time;

/// The name of this machine.
pub fn host() -> String {
    static NAME: LazyLock<String> =
        LazyLock::new(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
    NAME.clone()
}

/// Whether the engine that took the lock is gone while something still holds it.
pub fn is_orphan(holder: &Holder) -> bool {
    holder.host == host() && holder.pid.is_some_and(|pid| process_started(pid).is_none())
}

/// Who holds a lock, for people.
pub fn holder_text(holder: &Holder) -> String {
    let Some(pid) = holder.pid else { return "another process".to_owned() };
    let place = if holder.host == host() { String::new() } else { format!(" on {}", holder.host) };
    let since = time::readable(holder.since);
    if !is_orphan(holder) {
        return format!("process {pid}{place}, since {since} UTC");
    }
    let at_work: Vec<String> = tickets(holder).iter().map(|it| command(it.pid)).collect();
    format!("{} left behind by process {pid}, since {since} UTC", at_work.join(", "))
}

fn command(pid: u32) -> String {
    let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<String> = line
        .split(|it| *it == 0)
        .filter(|it| !it.is_empty())
        .map(|it| String::from_utf8_lossy(it).chars().take(40).collect())
        .take(3)
        .collect();
    format!("process {pid} (`{}`)", words.join(" "))
}

/// The work that is still there of what a lock's owner had started.
fn tickets(holder: &Holder) -> Vec<Ticket> {
    let tickets = holder.notes.iter().filter_map(|it| serde_json::from_str::<Ticket>(it).ok());
    tickets.filter(|it| process_started(it.pid) == Some(it.started)).collect()
}

/// Ends work that was left behind.
pub(crate) fn end(executor: &dyn Executor, holder: &Holder) {
    for ticket in tickets(holder) {
        if let Some(running) = executor.adopt(&ticket) {
            // If it has ended in this moment there is nothing left to cancel.
            let _ = running.cancel(Cancel::Kill);
        }
    }
}
