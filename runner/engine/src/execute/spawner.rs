//! The thread that starts processes.
//!
//! Where the system permits it, the thread has a mount namespace of its own, which all that it starts
//! inherits: objects are read-only in it, and so are the inputs of programs. The engine's other
//! threads stay outside and go on writing. One thread for the process, which never ends: a worker is
//! stopped by the kernel when the thread that started it is gone.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};

use rustix::fs::StatVfsMountFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::mount::{mount_bind, mount_change, mount_remount, unmount};
use rustix::thread::UnshareFlags;

type Order = Box<dyn FnOnce(&mut Namespace) + Send>;

/// Has work done on the thread.
pub(super) fn on_spawner<T: Send + 'static>(
    work: impl FnOnce(&mut Namespace) -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    static ORDERS: OnceLock<Sender<Order>> = OnceLock::new();
    let gone = || io::Error::other("the thread that starts processes is gone");
    let (answer, answers) = channel();
    let order: Order = Box::new(move |namespace| drop(answer.send(work(namespace))));
    ORDERS.get_or_init(start).send(order).map_err(|_| gone())?;
    answers.recv().map_err(|_| gone())?
}

fn start() -> Sender<Order> {
    let (orders, inbox) = channel::<Order>();
    std::thread::spawn(move || {
        let mut namespace = Namespace::default();
        while let Ok(order) = inbox.recv() {
            order(&mut namespace);
        }
    });
    orders
}

/// The mounts that the processes of this thread see.
#[derive(Debug, Default)]
pub(super) struct Namespace {
    is_own: bool,
    protected: BTreeSet<PathBuf>,
}

impl Namespace {
    /// Makes a folder read-only for all processes that are started from now on.
    pub(super) fn protect(&mut self, folder: &Path) -> io::Result<()> {
        if self.protected.contains(folder) {
            return Ok(());
        }
        self.enter()?;
        self.mount_read_only(folder)?;
        self.protected.insert(folder.to_owned());
        Ok(())
    }

    /// The same for a folder that goes when its step has ended: the mount goes with it.
    pub(super) fn mount_read_only(&self, folder: &Path) -> io::Result<()> {
        if !self.is_own {
            return Err(io::Error::other("there is no mount namespace to mount in"));
        }
        mount_bind(folder, folder)?;
        let flags = MountFlags::BIND | MountFlags::RDONLY | kept_flags(folder)?;
        if let Err(error) = mount_remount(folder, flags, "") {
            unmount(folder, UnmountFlags::DETACH)?;
            return Err(error.into());
        }
        Ok(())
    }

    fn enter(&mut self) -> io::Result<()> {
        if self.is_own {
            return Ok(());
        }
        unshare_mounts()?;
        self.is_own = true;
        // What is mounted outside still comes in; what is mounted here does not get out.
        Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
    }
}

#[expect(deprecated, reason = "deprecated for `FILES` alone, which would part descriptors")]
fn unshare_mounts() -> io::Result<()> {
    Ok(rustix::thread::unshare(UnshareFlags::NEWNS)?)
}

/// What a mount must keep: in a user namespace these cannot be taken away.
fn kept_flags(folder: &Path) -> io::Result<MountFlags> {
    let found = rustix::fs::statvfs(folder)?.f_flag;
    let pairs = [
        (StatVfsMountFlags::NOSUID, MountFlags::NOSUID),
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    let kept = pairs.into_iter().filter(|it| found.contains(it.0)).map(|it| it.1);
    Ok(kept.fold(MountFlags::empty(), |all, it| all | it))
}
