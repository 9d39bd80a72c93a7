//! `kun inside …`: the same command in a user namespace, where a user who is not root may mount.
//!
//! For the program itself: entering cannot be undone, and only a process with one thread can. So
//! a run that would gain by it tries it out in a child first, and then begins again inside.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use engine::execute::{Executor as _, Local};
use store::{Isolation, Store};

use crate::trouble::Trouble;

const INSIDE: &str = "inside";

/// The arguments of this process, in a namespace if they begin with the word.
pub(crate) fn arguments() -> Result<Vec<OsString>, Trouble> {
    let mut args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|it| it == INSIDE) {
        engine::namespace::enter().map_err(|error| {
            Trouble::helped(
                format!("no user namespace can be entered: {error}"),
                format!("`{}=copy` does without", crate::env::INPUTS),
            )
        })?;
        args.remove(1);
    }
    Ok(args)
}

/// Begins again inside a namespace, where that gives steps read-only inputs and nothing else would.
pub(crate) fn begin_again(store: &Store, wanted: Option<Isolation>) -> Result<(), Trouble> {
    let is_wanted = match wanted {
        Some(way) => way == Isolation::Mount,
        None => !store.can_clone(),
    };
    let is_inside = std::env::args_os().nth(1).is_some_and(|it| it == INSIDE);
    if !is_wanted || is_inside || Local.protect(&store.objects()).is_ok() || !can_enter() {
        return Ok(());
    }
    let error = itself().args(std::env::args_os().skip(1)).exec();
    Err(Trouble::user(format!("cannot begin again in a user namespace: {error}")))
}

/// The kernel may let a process into a namespace and then give it no rights there, so that all of
/// it is tried.
fn can_enter() -> bool {
    let mut child = itself();
    child.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    child.status().is_ok_and(|it| it.success())
}

fn itself() -> Command {
    let mut command = Command::new("/proc/self/exe");
    // What it is called stays, for whoever looks at the list of processes.
    command.arg0(std::env::args_os().next().unwrap_or_else(|| "kun".into())).arg(INSIDE);
    command
}
