// SPDX-License-Identifier: Apache-2.0
//! Namespaces that are joined by path, and the id maps of a new user namespace.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::Pid;

use super::path::open_host;
use super::procfs;
use crate::error::{Call, Fault};
use crate::plan::namespaces::{Kind, Range};
use crate::sys::process::{setns, unshare};
use crate::sys::socket::namespace_type;

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

/// A namespace of another process, through a trusted procfs.
pub fn of(proc: BorrowedFd<'_>, pid: Pid, kind: Kind) -> Result<Joined, Fault> {
    let path = format!("{}/ns/{}", pid.as_raw_nonzero(), kind.link());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(proc, path.as_str(), flags, rustix::fs::Mode::empty());
    fd.call(|| format!("open(\"/proc/{path}\")")).map(|fd| Joined { kind, fd })
}

/// Steps into namespaces for the time of a clone, and back on drop. Only with one thread.
#[derive(Debug, Default)]
pub struct Visit {
    own: Vec<(Kind, OwnedFd)>,
    /// A joined mount namespace takes root and working directory along.
    cwd: Option<OwnedFd>,
}

impl Visit {
    /// Remembers the caller's namespace of this kind, and steps into `to`.
    pub fn enter(&mut self, to: &Joined) -> Result<(), Fault> {
        self.remember(to.kind)?;
        setns(to.fd.as_fd(), to.kind.flag()).call(|| format!("setns({})", to.kind.name())).map_err(|fault| {
            match fault.errno {
                Some(Errno::PERM) => {
                    fault.hint("joining needs CAP_SYS_ADMIN in the user namespace that owns it")
                }
                _ => fault,
            }
        })
    }

    fn remember(&mut self, kind: Kind) -> Result<(), Fault> {
        if kind == Kind::Mount && self.cwd.is_none() {
            self.cwd =
                Some(open_host(Path::new("."), OFlags::PATH | OFlags::DIRECTORY).call(|| "open(\".\")")?);
        }
        let path = format!("/proc/self/ns/{}", kind.link());
        let own = open_host(Path::new(&path), OFlags::RDONLY).call(|| format!("open({path:?})"))?;
        self.own.push((kind, own));
        Ok(())
    }

    /// A new time namespace for children, with its offsets written: nobody may be in it yet.
    pub fn new_time(&mut self, offsets: &[String]) -> Result<(), Fault> {
        self.remember(Kind::Time)?;
        unshare(Kind::Time.flag()).call(|| "unshare(CLONE_NEWTIME)").map_err(|fault| match fault.errno {
            Some(Errno::INVAL) => fault.hint("this kernel has no time namespaces (CONFIG_TIME_NS)"),
            _ => fault,
        })?;
        if offsets.is_empty() {
            return Ok(());
        }
        let proc = procfs::host()?;
        let me = rustix::process::getpid();
        procfs::write_of(proc.as_fd(), me, "timens_offsets", &offsets.join("\n"))
    }

    /// In the child: the caller's namespaces are not to be gone back to, nor kept open.
    pub fn stay(mut self) {
        self.own.clear();
        self.cwd = None;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        for (kind, own) in self.own.drain(..).rev() {
            if let Err(errno) = setns(own.as_fd(), kind.flag()) {
                tracing::error!("setns back to the own {} namespace: {errno}", kind.name());
            }
        }
        if let Some(cwd) = self.cwd.take() {
            let _ = rustix::process::fchdir(cwd);
        }
    }
}

/// Writes setgroups, uid_map and gid_map of a process in a new user namespace (user_namespaces(7)).
/// An ordinary user can map only itself, and must give up setgroups for it.
pub fn write_maps(
    proc: BorrowedFd<'_>,
    pid: Pid,
    uid_map: &[Range],
    gid_map: &[Range],
    rootless: bool,
) -> Result<(), Fault> {
    let hint = |fault: Fault| match fault.errno {
        Some(Errno::PERM) if rootless => fault.hint("an ordinary user can map only its own id, with size 1"),
        _ => fault,
    };
    if rootless {
        procfs::write_of(proc, pid, "setgroups", "deny")?;
    }
    procfs::write_of(proc, pid, "uid_map", &lines(uid_map)).map_err(hint)?;
    procfs::write_of(proc, pid, "gid_map", &lines(gid_map)).map_err(hint)
}

fn lines(map: &[Range]) -> String {
    map.iter().map(|r| format!("{} {} {}\n", r.container, r.host, r.size)).collect()
}
