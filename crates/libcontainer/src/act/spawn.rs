// SPDX-License-Identifier: Apache-2.0
//! The one clone3 of the container's first process, and the only place where another process may
//! help with it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, waitid};

use super::namespace::{self, Joined, Visit};
use super::procfs;
use crate::error::{Call, Fault};
use crate::plan::namespaces::{Kind, Range};
use crate::sys::process::{Fork, clone3, exit_now, setns};

/// What the new process is born with.
pub struct Birth<'a> {
    /// `CLONE_NEW*` of all that is made by clone3.
    pub new: u64,
    /// Namespaces to be joined.
    pub joined: &'a [Joined],
    /// A new time namespace, with these offsets.
    pub time: Option<&'a [String]>,
    /// The v2 group to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
}

/// Both sides of [`spawn`].
pub enum Born {
    /// The parent's: the new process.
    Parent(Child),
    /// The new process itself.
    Init,
}

/// A process that was started and is not yet waited for.
#[derive(Debug)]
pub struct Child {
    /// As the parent's pid namespace counts it.
    pub pid: Pid,
    /// Of it.
    pub pidfd: OwnedFd,
}

impl Child {
    /// Ends it and waits until it is gone.
    pub fn kill(&self) {
        let _ = rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL);
        let _ = self.wait();
    }

    /// Waits for its end.
    pub fn wait(&self) -> Result<Option<rustix::process::WaitIdStatus>, Errno> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Err(Errno::INTR) => {}
                other => return other,
            }
        }
    }
}

/// Starts the container's first process. Joined namespaces are stepped into for the clone and left
/// again. A joined user namespace would take the parent's own rights for good, so there a
/// short-lived process steps in, and makes the child for the parent.
pub fn spawn(birth: &Birth<'_>) -> Result<Born, Fault> {
    if birth.joined.iter().any(|j| j.kind == Kind::User) {
        return spawn_through_user_namespace(birth);
    }
    let mut visit = Visit::default();
    if let Some(offsets) = birth.time {
        visit.new_time(offsets)?;
    }
    for joined in birth.joined {
        visit.enter(joined)?;
    }
    match clone3(birth.new, birth.cgroup).call(|| clone_says(birth.new)).map_err(clone_hint)? {
        Fork::Child => {
            visit.stay();
            Ok(Born::Init)
        }
        Fork::Parent { pid, pidfd } => Ok(Born::Parent(Child { pid, pidfd })),
    }
}

fn clone_says(flags: u64) -> String {
    let names: Vec<&str> = Kind::ALL.iter().filter(|k| flags & k.flag() != 0).map(|k| k.name()).collect();
    format!("clone3(new namespaces: {})", if names.is_empty() { "none".into() } else { names.join(" ") })
}

fn clone_hint(fault: Fault) -> Fault {
    match fault.errno {
        Some(Errno::PERM) => fault
            .hint("see kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"),
        Some(Errno::NOSPC) => fault.hint("too many namespaces: see the files of /proc/sys/user"),
        Some(Errno::AGAIN) => {
            fault.hint("too many processes: see pids.max of the caller's cgroup and RLIMIT_NPROC")
        }
        _ => fault,
    }
}

/// The helper shares the parent's descriptor table, so the pidfd that its clone3 makes is the
/// parent's too, and CLONE_PARENT makes the child the parent's own.
fn spawn_through_user_namespace(birth: &Birth<'_>) -> Result<Born, Fault> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).call(|| "pipe2")?;
    let share = linux_raw_sys::general::CLONE_FILES as u64;
    let helper = match clone3(share, None).call(|| "clone3(helper)")? {
        Fork::Parent { pid, pidfd } => Child { pid, pidfd },
        Fork::Child => {
            let report = match help(birth) {
                Ok(Fork::Child) => {
                    // A table of its own from here on; the pipe's ends are the parent's business.
                    return Ok(Born::Init);
                }
                Ok(Fork::Parent { pid, pidfd }) => {
                    let number = pidfd.as_raw_fd();
                    // Closing it here would close it for the parent.
                    std::mem::forget(pidfd);
                    format!("+{} {number}", pid.as_raw_nonzero())
                }
                Err(fault) => {
                    format!("-{} {}", fault.errno.map_or(0, |e| e.raw_os_error()), fault.says)
                }
            };
            let _ = rustix::io::write(&write, report.as_bytes());
            exit_now(0);
        }
    };
    let _ = helper.wait();
    drop(write);
    let mut text = [0; 512];
    let length = rustix::io::read(&read, &mut text).call(|| "read from the helper")?;
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let (first, second) = text.get(1..).and_then(|t| t.split_once(' ')).unwrap_or_default();
    if text.starts_with('+')
        && let (Some(pid), Ok(fd)) = (first.parse().ok().and_then(Pid::from_raw), second.parse())
    {
        return Ok(Born::Parent(Child { pid, pidfd: adopt(fd) }));
    }
    match first.parse() {
        Ok(errno) if errno != 0 => Err(Fault::call(second, Errno::from_raw_os_error(errno))),
        _ => Err(Fault::new("the process that joins the user namespace died")),
    }
}

/// A user namespace for nothing but its maps: what an id-mapped mount is told by. A process lives in
/// it until it has been opened.
pub fn user_namespace(uid_map: &[Range], gid_map: &[Range]) -> Result<OwnedFd, Fault> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).call(|| "pipe2")?;
    let new = Kind::User.flag();
    let holder = match clone3(new, None).call(|| clone_says(new)).map_err(clone_hint)? {
        Fork::Parent { pid, pidfd } => Child { pid, pidfd },
        Fork::Child => {
            drop(write);
            // Killed, or the other end is gone with this process's parent.
            let _ = rustix::io::read(&read, &mut [0; 1]);
            exit_now(0);
        }
    };
    let open = || {
        let proc = procfs::host()?;
        namespace::write_maps(proc.as_fd(), holder.pid, uid_map, gid_map, false)?;
        namespace::of(proc.as_fd(), holder.pid, Kind::User)
    };
    let opened = open();
    holder.kill();
    drop(write);
    opened.map(|joined| joined.fd)
}

/// Takes over the descriptor that the helper left in the shared table.
fn adopt(fd: i32) -> OwnedFd {
    crate::sys::process::adopt_fd(fd)
}

/// In the helper: rights of the host first, then those of the joined user namespace.
fn help(birth: &Birth<'_>) -> Result<Fork, Fault> {
    set_parent_process_death_signal(Some(Signal::KILL)).call(|| "prctl(PR_SET_PDEATHSIG)")?;
    let join = |joined: &Joined| setns(joined.fd.as_fd(), joined.kind.flag());
    let mut time = Visit::default();
    if let Some(offsets) = birth.time {
        time.new_time(offsets)?;
    }
    // What the host's root may not join, root of the user namespace may.
    let later: Vec<&Joined> =
        birth.joined.iter().filter(|j| j.kind != Kind::User).filter(|j| join(j).is_err()).collect();
    for joined in birth.joined.iter().filter(|j| j.kind == Kind::User).chain(later) {
        join(joined).call(|| format!("setns({})", joined.kind.name()))?;
    }
    let parent = linux_raw_sys::general::CLONE_PARENT as u64;
    let fork = clone3(birth.new | parent, birth.cgroup).call(|| clone_says(birth.new)).map_err(clone_hint);
    // Neither the helper nor the child goes back; the descriptors close with the helper's end.
    std::mem::forget(time);
    fork
}
