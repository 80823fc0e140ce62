// SPDX-License-Identifier: Apache-2.0
//! The one clone3 of the container's first process, and the only place where another process may
//! help with it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, set_parent_process_death_signal, waitid};

use super::namespace::{self, Joined, Visit};
use super::{identity, idmap, procfs};
use crate::error::{Call, Fault};
use crate::plan::namespaces::{Kind, Range};
use crate::sys::process::{Fork, clone3, exit_now, setns};

/// What the new process is born with.
#[derive(Default)]
pub struct Birth<'a> {
    /// `CLONE_NEW*` of all that is made by clone3.
    pub new: u64,
    /// Namespaces to be joined.
    pub joined: &'a [Joined],
    /// Root's groups do not go along into a user namespace that is joined.
    pub leave_groups: bool,
    /// A process of a container, and the `CLONE_NEW*` of its namespaces to be born in: for an
    /// ordinary user, who has rights over them only inside its user namespace.
    pub inside: Option<(BorrowedFd<'a>, u64)>,
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

/// Starts a process of the container. Joined namespaces are stepped into for the clone and left
/// again. Where there is no way back a short-lived process steps in, and makes the child for the
/// parent: a joined user namespace would take the parent's own rights for good, and what lies
/// outside of the caller's own user namespace lets nobody in again.
pub fn spawn(birth: &Birth<'_>) -> Result<Born, Fault> {
    if birth.inside.is_some() || birth.joined.iter().any(|j| j.kind == Kind::User) {
        return spawn_by_helper(birth);
    }
    let time = birth.time.map(|_| Kind::Time);
    let Some(visit) = Visit::from(birth.joined.iter().map(|j| j.kind).chain(time))? else {
        return spawn_by_helper(birth);
    };
    birth.time.map_or(Ok(()), namespace::new_time)?;
    birth.joined.iter().try_for_each(namespace::enter)?;
    match clone3(birth.new, birth.cgroup).call(|| clone_says(birth.new)).map_err(clone_hint)? {
        Fork::Child => {
            visit.stay();
            Ok(Born::Init)
        }
        Fork::Parent { pid, pidfd } => {
            let child = Child { pid, pidfd };
            visit.back().inspect_err(|_| child.kill())?;
            Ok(Born::Parent(child))
        }
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
        Some(Errno::AGAIN) => {
            fault.hint("too many processes: see pids.max of the caller's cgroup and RLIMIT_NPROC")
        }
        _ => namespace::too_many(fault),
    }
}

/// The helper shares the parent's descriptor table, so the pidfd that its clone3 makes is the
/// parent's too, and CLONE_PARENT makes the child the parent's own.
fn spawn_by_helper(birth: &Birth<'_>) -> Result<Born, Fault> {
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
                    let errno = fault.errno.map_or(0, |e| e.raw_os_error());
                    format!("-{errno} {}\0{}", fault.says, fault.hint.unwrap_or_default())
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
    Err(match (first.parse::<i32>(), second.split_once('\0')) {
        (Ok(errno), Some((says, hint))) => {
            let mut fault = Fault::new(says);
            fault.errno = (errno != 0).then(|| Errno::from_raw_os_error(errno));
            if hint.is_empty() { fault } else { fault.hint(hint.to_owned()) }
        }
        _ => Fault::new("the process that steps into the namespaces died"),
    })
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
        idmap::write_as_root(proc.as_fd(), holder.pid, uid_map, gid_map)?;
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
    birth.time.map_or(Ok(()), namespace::new_time)?;
    // What the caller may not join, root of the user namespace may.
    let later: Vec<&Joined> = birth
        .joined
        .iter()
        .filter(|j| j.kind != Kind::User)
        .filter(|j| setns(j.fd.as_fd(), j.kind.flag()).is_err())
        .collect();
    if birth.leave_groups {
        identity::leave_groups()?;
    }
    let user = birth.joined.iter().filter(|j| j.kind == Kind::User);
    user.chain(later).try_for_each(namespace::enter)?;
    if let Some((process, flags)) = birth.inside {
        setns(process, flags).call(|| "setns(the container's user and pid namespaces)")?;
    }
    let parent = linux_raw_sys::general::CLONE_PARENT as u64;
    clone3(birth.new | parent, birth.cgroup).call(|| clone_says(birth.new)).map_err(clone_hint)
}
