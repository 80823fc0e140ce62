// SPDX-License-Identifier: Apache-2.0
//! A container's terminal: the pty is made by init from the container's own devpts, its master goes
//! to whoever keeps the console (the parent in the foreground, else the peer of --console-socket).
//!
//! The container may have prepared /dev: nothing here follows a path of it (CVE-2025-52565 was a
//! race for /dev/pts/N). The master is opened relative to a directory that is devpts by the
//! kernel's word, the slave is asked of the master (TIOCGPTPEER), and what came out is compared.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::fs::{fchown, fstat, fstatfs, major, minor, open, openat2};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix};
use rustix::net::{SocketFlags, SocketType, connect, sendmsg, socket_with};
use rustix::process::{Uid, ioctl_tiocsctty};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::error::{Call, Fault};

/// linux/magic.h
const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
/// Documentation/admin-guide/devices.txt: /dev/ptmx, and the first major number of the slaves.
const PTMX: (u32, u32) = (5, 2);
const PTS_MAJOR: u32 = 136;
/// How long the peer of a socket may leave us waiting in its backlog.
const PATIENCE: Duration = Duration::from_secs(10);

/// Both ends of a pty.
#[derive(Debug)]
pub struct Pty {
    /// For the one who keeps the console.
    pub master: OwnedFd,
    /// For the process, and for the mount on /dev/console.
    pub slave: OwnedFd,
    /// N of /dev/pts/N.
    pub number: u32,
}

impl Pty {
    /// The slave's path in the container, to be shown, not to be opened.
    pub fn name(&self) -> String {
        format!("/dev/pts/{}", self.number)
    }
}

/// A new pty of the devpts instance whose root directory is `pts` (the container's /dev/pts, opened
/// after it was mounted), of `size` (rows, columns) and for the user `owner`.
pub fn open_pty(pts: BorrowedFd<'_>, size: Option<(u16, u16)>, owner: Uid) -> Result<Pty, Fault> {
    let master = open_master(pts)?;
    unlockpt(&master).call(|| "ioctl(TIOCSPTLCK) of the new pty")?;
    let number = number_of(&master)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags).call(|| "ioctl(TIOCGPTPEER) of the new pty")?;
    must_be_device(&slave, (PTS_MAJOR, number), "the slave of the new pty")?;
    if let Some((ws_row, ws_col)) = size {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).call(|| format!("ioctl(TIOCSWINSZ, {ws_row} rows, {ws_col} columns)"))?;
    }
    give_to(&slave, owner)?;
    Ok(Pty { master, slave, number })
}

fn open_master(pts: BorrowedFd<'_>) -> Result<OwnedFd, Fault> {
    must_be_devpts(pts, "/dev/pts of the container")?;
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    // NO_XDEV: not what somebody mounted over it. devpts itself lets nobody make files.
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let master = openat2(pts, "ptmx", flags, Mode::empty(), resolve)
        .call(|| "openat2(\"ptmx\") in /dev/pts of the container")?;
    must_be_devpts(master.as_fd(), "/dev/pts/ptmx of the container")?;
    must_be_device(&master, PTMX, "/dev/pts/ptmx of the container")?;
    Ok(master)
}

fn must_be_devpts(fd: BorrowedFd<'_>, what: &str) -> Result<(), Fault> {
    let found = fstatfs(fd).call(|| format!("fstatfs of {what}"))?;
    if found.f_type as u64 == DEVPTS_SUPER_MAGIC {
        return Ok(());
    }
    Err(Fault::new(format!("{what} is not devpts (file system type {:#x})", found.f_type))
        .hint("a terminal needs a mount of type devpts on /dev/pts, with the option newinstance"))
}

fn must_be_device(fd: &OwnedFd, wanted: (u32, u32), what: &str) -> Result<Stat, Fault> {
    let stat = fstat(fd).call(|| format!("fstat of {what}"))?;
    let found = (major(stat.st_rdev), minor(stat.st_rdev));
    if FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && found == wanted {
        return Ok(stat);
    }
    Err(Fault::new(format!("{what} is device {}:{} and not {}:{}", found.0, found.1, wanted.0, wanted.1)))
}

/// TIOCGPTN, which rustix gives as a path.
fn number_of(master: &OwnedFd) -> Result<u32, Fault> {
    let path = ptsname(master, Vec::new()).call(|| "ioctl(TIOCGPTN) of the new pty")?;
    let number = path.to_str().ok().and_then(|p| p.rsplit('/').next()?.parse().ok());
    number.ok_or_else(|| Fault::new(format!("ioctl(TIOCGPTN) of the new pty: no number in {path:?}")))
}

/// The process must be able to open its own terminal again. The group (tty) stays as mounted.
fn give_to(slave: &OwnedFd, owner: Uid) -> Result<(), Fault> {
    let stat = fstat(slave).call(|| "fstat of the new pty")?;
    if stat.st_uid == owner.as_raw() {
        return Ok(());
    }
    match fchown(slave, Some(owner), None) {
        // In a user namespace without this id, or without the right to it: the process uses
        // the descriptor that it has.
        Ok(()) | Err(Errno::PERM | Errno::INVAL | Errno::ROFS) => Ok(()),
        Err(errno) => Err(Fault::call(format!("fchown of the new pty to {}", owner.as_raw()), errno)),
    }
}

/// Makes `slave` stdin, stdout, stderr and the controlling terminal of this process, which must
/// lead a session without one (setsid).
pub fn make_controlling(slave: OwnedFd) -> Result<(), Fault> {
    // dup2 of a descriptor onto itself would leave it close-on-exec.
    let slave = if slave.as_raw_fd() > 2 {
        slave
    } else {
        fcntl_dupfd_cloexec(&slave, 3).call(|| "fcntl(F_DUPFD_CLOEXEC) of the terminal")?
    };
    let dup = dup2_stdin(&slave).and_then(|()| dup2_stdout(&slave)).and_then(|()| dup2_stderr(&slave));
    dup.map_err(|e| Fault::call("dup2 of the terminal", Errno::from_raw_os_error(e as i32)))?;
    ioctl_tiocsctty(&slave).call(|| "ioctl(TIOCSCTTY)")
}

/// Hands the master of a pty to whoever listens on `path` (--console-socket), with the pty's name
/// as the text of the message, as callers know it from runc. Nobody answers.
pub fn send_master(path: &Path, master: BorrowedFd<'_>, name: &str) -> Result<(), Fault> {
    send_fd(&connect_to(path)?, master, name).map_err(|fault| on_socket(fault, path))
}

/// Hands a pidfd to whoever listens on `path` (--pidfd-socket). `role` is what callers know from
/// runc: "standard" for the init of a container, "setns" for a process that joins one.
pub fn send_pidfd(path: &Path, pidfd: BorrowedFd<'_>, role: &str) -> Result<(), Fault> {
    send_fd(&connect_to(path)?, pidfd, role).map_err(|fault| on_socket(fault, path))
}

fn on_socket(mut fault: Fault, path: &Path) -> Fault {
    fault.says = format!("{} on {path:?}", fault.says);
    fault
}

/// Connects to a stream socket. May be called long before [`send_fd`], so that a wrong path is told
/// before anything is done.
///
/// The socket is opened first and then named by descriptor: what is compared is what is connected
/// to, and a path may be longer than the 107 bytes that fit an address.
#[expect(clippy::disallowed_methods, reason = "the engine's socket")]
pub fn connect_to(path: &Path) -> Result<OwnedFd, Fault> {
    let file = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .call(|| format!("open({path:?})"))
        .map_err(|fault| match fault.errno {
        Some(Errno::NOENT) => fault.hint("somebody must listen on this socket beforehand"),
        _ => fault,
    })?;
    let stat = fstat(&file).call(|| format!("fstat({path:?})"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::Socket {
        return Err(Fault::new(format!("{path:?} is not a socket")));
    }
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let socket = socket.call(|| "socket(AF_UNIX, SOCK_STREAM)")?;
    set_socket_timeout(&socket, Timeout::Send, Some(PATIENCE)).call(|| "setsockopt(SO_SNDTIMEO)")?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
    match address.and_then(|address| connect(&socket, &address)) {
        Ok(()) => Ok(socket),
        Err(errno) => Err(refused(path, errno)),
    }
}

fn refused(path: &Path, errno: Errno) -> Fault {
    let fault = Fault::call(format!("connect({path:?})"), errno);
    match errno {
        Errno::CONNREFUSED => fault.hint("nobody listens on this socket"),
        Errno::AGAIN => fault.hint("the listener's queue is full and it accepts nothing"),
        Errno::PROTOTYPE => fault.hint("it must be a SOCK_STREAM socket"),
        _ => fault,
    }
}

/// One message with one descriptor. Never waits for an answer.
pub fn send_fd(socket: &OwnedFd, fd: BorrowedFd<'_>, text: &str) -> Result<(), Fault> {
    let fds = [fd];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "the space is made for one descriptor");
    let text = [IoSlice::new(text.as_bytes())];
    rustix::io::retry_on_intr(|| sendmsg(socket, &text, &mut control, SendFlags::NOSIGNAL))
        .call(|| "sendmsg(SCM_RIGHTS)")
        .map(drop)
}

#[cfg(test)]
mod tests;
