// SPDX-License-Identifier: Apache-2.0
//! Namespaces that are joined by path.
#![expect(clippy::disallowed_methods, reason = "namespaces are named by paths of the host")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;

use super::path::open_host;
use super::procfs;
use crate::error::{Call, Fault};
use crate::plan::namespaces::Kind;
use crate::sys::process::{setns, unshare};
use crate::sys::socket::{namespace_type, owning_user_namespace};

/// A namespace to be joined, open and of the right kind.
#[derive(Debug)]
pub struct Joined {
    /// Which kind.
    pub kind: Kind,
    /// The namespace.
    pub fd: OwnedFd,
}

/// Opens a namespace by its path and makes sure that it is one, and of this kind.
pub fn open(kind: Kind, path: &Path) -> Result<Joined, Fault> {
    let says = || format!("open({path:?})");
    let fd =
        open_host(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).call(says).map_err(|fault| {
            match fault.errno {
                Some(Errno::NOENT) => {
                    fault.hint("the process or the bind mount that holds the namespace is gone")
                }
                _ => fault,
            }
        })?;
    let found = match namespace_type(fd.as_fd()) {
        Err(Errno::NOTTY) => return Err(Fault::new(format!("{} is no namespace", path.display()))),
        other => other.call(|| format!("ioctl(NS_GET_NSTYPE, {path:?})"))?,
    };
    if found != kind.flag() {
        let is = Kind::ALL.iter().find(|k| k.flag() == found).map_or("unknown", |k| k.name());
        let says = format!("{} is a namespace of type {is}, not {}", path.display(), kind.name());
        return Err(Fault::new(says));
    }
    Ok(Joined { kind, fd })
}

/// Whether it is the one that this process is in.
pub fn is_own(joined: &Joined) -> Result<bool, Fault> {
    let path = format!("/proc/self/ns/{}", joined.kind.link());
    let own = rustix::fs::stat(path.as_str()).call(|| format!("stat({path:?})"))?;
    let there = rustix::fs::fstat(&joined.fd).call(|| "fstat(namespace)")?;
    Ok((own.st_dev, own.st_ino) == (there.st_dev, there.st_ino))
}

/// A namespace of another process, through a trusted procfs.
pub fn of(proc: BorrowedFd<'_>, pid: Pid, kind: Kind) -> Result<Joined, Fault> {
    let path = format!("{}/ns/{}", pid.as_raw_nonzero(), kind.link());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(proc, path.as_str(), flags, rustix::fs::Mode::empty());
    fd.call(|| format!("open(\"/proc/{path}\")")).map(|fd| Joined { kind, fd })
}

/// Whether another process's namespace of this kind is not ours. There may be no such kind.
pub fn differs(pid: Pid, kind: Kind) -> bool {
    let link = |whose: &str| rustix::fs::readlink(format!("/proc/{whose}/ns/{}", kind.link()), Vec::new());
    link("self") != link(&pid.as_raw_nonzero().to_string())
}

/// Steps into namespaces for the time of a clone, and back on drop. Only with one thread.
#[derive(Debug, Default)]
pub struct Visit {
    own: Vec<(Kind, OwnedFd)>,
    /// A joined mount namespace takes root and working directory along.
    cwd: Option<OwnedFd>,
}

impl Visit {
    /// Remembers the caller's own namespaces of these kinds. None: one of them belongs to a user
    /// namespace outside of the caller's, which lets nobody come back (the host's network, for root
    /// of an ordinary user's namespace).
    pub fn from(kinds: impl Iterator<Item = Kind>) -> Result<Option<Self>, Fault> {
        let mut visit = Self::default();
        for kind in kinds {
            let path = format!("/proc/self/ns/{}", kind.link());
            let own = open_host(Path::new(&path), OFlags::RDONLY).call(|| format!("open({path:?})"))?;
            match owning_user_namespace(own.as_fd()) {
                Err(Errno::PERM) => return Ok(None),
                other => other.call(|| format!("ioctl(NS_GET_USERNS, {path:?})"))?,
            };
            if kind == Kind::Mount {
                let cwd = open_host(Path::new("."), OFlags::PATH | OFlags::DIRECTORY);
                visit.cwd = Some(cwd.call(|| "open(\".\")")?);
            }
            visit.own.push((kind, own));
        }
        Ok(Some(visit))
    }

    /// Back to the caller's own namespaces.
    pub fn back(mut self) -> Result<(), Fault> {
        self.step_back()
    }

    fn step_back(&mut self) -> Result<(), Fault> {
        for (kind, own) in self.own.drain(..).rev() {
            setns(own.as_fd(), kind.flag()).call(|| format!("setns(back to the own {})", kind.name()))?;
        }
        match self.cwd.take() {
            Some(cwd) => rustix::process::fchdir(cwd).call(|| "fchdir(back)"),
            None => Ok(()),
        }
    }

    /// In the child: the caller's namespaces are not to be gone back to, nor kept open.
    pub fn stay(mut self) {
        self.own.clear();
        self.cwd = None;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        // Where something else has failed already: that is what the caller is told.
        if let Err(fault) = self.step_back() {
            tracing::error!("{fault}");
        }
    }
}

/// Steps into a namespace.
pub fn enter(to: &Joined) -> Result<(), Fault> {
    setns(to.fd.as_fd(), to.kind.flag()).call(|| format!("setns({})", to.kind.name())).map_err(|fault| {
        match fault.errno {
            Some(Errno::PERM) => fault.hint("joining needs CAP_SYS_ADMIN in the user namespace that owns it"),
            _ => fault,
        }
    })
}

/// A copy of this mount namespace, in which nothing that is mounted is seen from outside.
pub fn new_mounts() -> Result<(), Fault> {
    unshare(Kind::Mount.flag()).call(|| "unshare(CLONE_NEWNS)")
}

/// The way out where the kernel makes no more namespaces.
pub fn too_many(fault: Fault) -> Fault {
    match fault.errno {
        Some(Errno::NOSPC) => fault.hint("too many namespaces: see the files of /proc/sys/user"),
        _ => fault,
    }
}

/// A new time namespace for children, with its offsets written: nobody may be in it yet.
pub fn new_time(offsets: &[String]) -> Result<(), Fault> {
    unshare_time()?;
    if offsets.is_empty() { Ok(()) } else { write_offsets(procfs::host()?.as_fd(), offsets) }
}

/// A new time namespace for this process itself.
pub fn become_new_time(proc: BorrowedFd<'_>, offsets: &[String]) -> Result<(), Fault> {
    unshare_time()?;
    if !offsets.is_empty() {
        write_offsets(proc, offsets)?;
    }
    let new = procfs::open_namespace(proc, "time_for_children")?;
    setns(new.as_fd(), Kind::Time.flag()).call(|| "setns(the new time namespace)")
}

fn unshare_time() -> Result<(), Fault> {
    unshare(Kind::Time.flag()).call(|| "unshare(CLONE_NEWTIME)").map_err(|fault| match fault.errno {
        Some(Errno::INVAL) => fault.hint("this kernel has no time namespaces (CONFIG_TIME_NS)"),
        _ => fault,
    })
}

fn write_offsets(proc: BorrowedFd<'_>, offsets: &[String]) -> Result<(), Fault> {
    procfs::write(proc, &format!("{}/timens_offsets", procfs::me(proc)?), &offsets.join("\n"))
}
