// SPDX-License-Identifier: Apache-2.0
//! /proc that can be trusted: a procfs of our own for what init writes, and the host's, checked,
//! for what the parent writes about init.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags, PROC_SUPER_MAGIC, ResolveFlags, fstatfs, openat2, readlinkat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};
use rustix::process::Pid;

use super::path::open_host;
use crate::error::{Call, Fault};

/// A procfs that nobody can have mounted anything over: it is attached nowhere. Where a new one is
/// refused (a runtime inside a container whose /proc is masked), a clone of the present one.
pub fn own() -> Result<OwnedFd, Fault> {
    let new = || {
        let context = rustix::mount::fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
        rustix::mount::fsconfig_create(&context)?;
        let attr = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr)
    };
    match new() {
        Err(Errno::PERM | Errno::ACCESS) => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE
                | OpenTreeFlags::OPEN_TREE_CLOEXEC
                | OpenTreeFlags::AT_RECURSIVE;
            let tree =
                rustix::mount::open_tree(rustix::fs::CWD, "/proc", flags).call(|| "open_tree(\"/proc\")")?;
            checked(tree)
        }
        other => other.call(|| "fsopen(\"proc\")"),
    }
}

/// The host's /proc, of which nothing but the type is taken on trust.
pub fn host() -> Result<OwnedFd, Fault> {
    checked(
        open_host(std::path::Path::new("/proc"), OFlags::PATH | OFlags::DIRECTORY)
            .call(|| "open(\"/proc\")")?,
    )
}

fn checked(proc: OwnedFd) -> Result<OwnedFd, Fault> {
    let kind = fstatfs(&proc).call(|| "fstatfs(\"/proc\")")?.f_type;
    if kind != PROC_SUPER_MAGIC {
        return Err(Fault::new("/proc is no procfs").hint("mount one: mount -t proc proc /proc"));
    }
    Ok(proc)
}

/// Opens a file below a procfs; neither links nor other mounts are crossed.
pub fn open(proc: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    openat2(proc, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Writes a file below a procfs in one write.
pub fn write(proc: BorrowedFd<'_>, path: &str, text: &str) -> Result<(), Fault> {
    let says = || format!("writing {text:?} to /proc/{path}");
    let file = open(proc, path, OFlags::WRONLY).call(says)?;
    rustix::io::write(&file, text.as_bytes()).call(says).map(drop)
}

/// A file of one process: `/proc/PID/name`.
pub fn write_of(proc: BorrowedFd<'_>, pid: Pid, name: &str, text: &str) -> Result<(), Fault> {
    write(proc, &format!("{}/{name}", pid.as_raw_nonzero()), text)
}

/// The root directory of a process, as it sees it: below it paths are those of its mount namespace.
pub fn root_of(proc: BorrowedFd<'_>, pid: Pid) -> Result<OwnedFd, Fault> {
    let path = format!("{}/root", pid.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(proc, path.as_str(), flags, Mode::empty()).call(|| format!("open(\"/proc/{path}\")"))
}

/// What /proc/PID/stat says of a process: its state letter and its start time in clock ticks after
/// boot, by which a pid that was given out again is told from the first (proc_pid_stat(5)).
#[expect(
    clippy::disallowed_methods,
    reason = "the host's procfs, and the start path needs no more than one open"
)]
pub fn stat(pid: i32) -> Option<(u8, u64)> {
    let path = CString::new(format!("/proc/{pid}/stat")).ok()?;
    let file = rustix::fs::open(path.as_c_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mut text = [0; 1024];
    let length = rustix::io::read(&file, &mut text).ok()?;
    let text = &text[..length];
    // The name in parentheses may hold anything, parentheses too: fields count from the last one.
    let end = text.iter().rposition(|b| *b == b')')?;
    let mut fields = text.get(end + 2..)?.split(|b| *b == b' ');
    let state = *fields.next()?.first()?;
    let start = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
    Some((state, start))
}

/// The calling process, as the pid namespace of this procfs counts it: a clone of the host's shows
/// the host's numbers.
pub fn me(proc: BorrowedFd<'_>) -> Result<String, Fault> {
    let link = readlinkat(proc, "self", Vec::new()).call(|| "readlink(\"/proc/self\")")?;
    Ok(link.to_string_lossy().into_owned())
}

/// A namespace of the calling process, by the name of its link.
pub fn open_namespace(proc: BorrowedFd<'_>, link: &str) -> Result<OwnedFd, Fault> {
    let path = format!("self/ns/{link}");
    rustix::fs::openat(proc, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open(\"/proc/{path}\")"))
}

/// Whether this process's user namespace denies setgroups(2) (user_namespaces(7)).
pub fn denies_setgroups(proc: BorrowedFd<'_>) -> Result<bool, Fault> {
    let path = format!("{}/setgroups", me(proc)?);
    let says = || format!("read(\"/proc/{path}\")");
    let file = open(proc, &path, OFlags::RDONLY).call(says)?;
    let mut text = [0; 16];
    let length = rustix::io::read(&file, &mut text).call(says)?;
    Ok(text[..length].starts_with(b"deny"))
}

/// Writes `value` to the sysctl `name`, a path below /proc/sys.
pub fn write_sysctl(proc: BorrowedFd<'_>, name: &str, value: &str) -> Result<(), Fault> {
    write(proc.as_fd(), &format!("sys/{name}"), value).map_err(|fault| match fault.errno {
        Some(Errno::NOENT) => fault.hint("this kernel has no such sysctl"),
        _ => fault,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn start_time_of_this_process() {
        let (state, start) = super::stat(std::process::id() as i32).unwrap();
        assert!(matches!(state, b'R' | b'S'));
        assert!(start > 0);
        assert!(super::stat(0).is_none());
    }
}
