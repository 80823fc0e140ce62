// SPDX-License-Identifier: Apache-2.0
//! sd_notify(3) for a container: its payload says that it is ready, and the supervisor of the runtime
//! (systemd, for a service of Type=notify) is told so.
//!
//! ```text
//!   payload ---READY=1---> /run/notify/notify.sock        a bind of ROOT/ID/notify, read-only
//!                               |
//!   start, run:             this proxy
//!                               |  MAINPID=<init, as the host sees it>, READY=1
//!                               v
//!                          $NOTIFY_SOCKET
//! ```
//!
//! Nothing else of what the payload says goes on: the supervisor would take it for the word of the
//! runtime (MAINPID, FDSTORE). Descriptors that come with a message are closed, which is the answer
//! to BARRIER=1.
#![expect(clippy::disallowed_methods, reason = "the directory is of the container's state")]

use std::ffi::OsString;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{AtFlags, Mode, OFlags, open, unlinkat};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
};
use rustix::net::{SocketFlags, SocketType, bind, connect, recv, send, sendmsg, socket_with};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::umask;

use crate::error::{Call, Fault};
use crate::plan::notify::SOCKET;

/// How long the supervisor may take: for a message, and until it has acted on all of them.
const PATIENCE: Duration = Duration::from_secs(5);
const BARRIER: Duration = Duration::from_secs(30);

/// The caller's NOTIFY_SOCKET, where it is of a kind that we can tell something.
pub fn supervisor() -> Option<OsString> {
    std::env::var_os("NOTIFY_SOCKET").filter(|address| matches!(address.as_bytes(), [b'/' | b'@', _, ..]))
}

/// Makes the directory that the container will see: its users may enter it, whoever they are.
pub fn make_dir(path: &Path) -> Result<(), Fault> {
    let made = unmasked(|| std::fs::DirBuilder::new().mode(0o755).create(path));
    made.call(|| format!("mkdir({path:?})"))
}

/// Without the caller's umask: what is made is for all the container's users from its birth. A chmod
/// afterwards could be led elsewhere by a link.
fn unmasked<T>(make: impl FnOnce() -> T) -> T {
    let former = umask(Mode::empty());
    let made = make();
    umask(former);
    made
}

/// Between a payload and the supervisor.
#[derive(Debug)]
pub struct Proxy {
    socket: OwnedFd,
    supervisor: OwnedFd,
    pid: i32,
    told: bool,
}

impl Proxy {
    /// Listens in the container's directory `dir`. To be called before the payload runs.
    pub fn new(dir: &Path, supervisor: &OsString, pid: i32) -> Result<Self, Fault> {
        let datagrams = || {
            socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
                .call(|| "socket(AF_UNIX, SOCK_DGRAM)")
        };
        let (socket, client) = (datagrams()?, datagrams()?);
        set_socket_timeout(&client, Timeout::Send, Some(PATIENCE)).call(|| "setsockopt(SO_SNDTIMEO)")?;
        let address = match supervisor.as_bytes() {
            [b'@', name @ ..] => SocketAddrUnix::new_abstract_name(name),
            path => SocketAddrUnix::new(path),
        };
        address
            .and_then(|address| connect(&client, &address))
            .call(|| format!("NOTIFY_SOCKET: connect({supervisor:?})"))
            .map_err(|fault| fault.hint("unset NOTIFY_SOCKET, if nobody is to be told"))?;
        // By descriptor: the path may be longer than an address.
        let dir = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({dir:?})"))?;
        // Of a start that was killed.
        let _ = unlinkat(&dir, SOCKET, AtFlags::empty());
        let path = format!("/proc/self/fd/{}/{SOCKET}", dir.as_raw_fd());
        let address = SocketAddrUnix::new(path.as_str());
        let bound = unmasked(|| address.and_then(|address| bind(&socket, &address)));
        bound.call(|| format!("bind({SOCKET:?})"))?;
        Ok(Self { socket, supervisor: client, pid, told: false })
    }

    /// Readable when the payload has said something.
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Takes what the payload has said, and tells of its readiness once.
    pub fn advance(&mut self) -> Result<(), Fault> {
        let mut message = [0; 4096];
        // Not for ever: whoever says much must not keep us from all else.
        for _ in 0..16 {
            match recv(&self.socket, &mut message, RecvFlags::DONTWAIT) {
                Ok((said, _)) => {
                    let ready = message[..said].split(|byte| *byte == b'\n').any(|line| line == b"READY=1");
                    if ready && !std::mem::replace(&mut self.told, true) {
                        let text = format!("MAINPID={}\nREADY=1\n", self.pid);
                        send(&self.supervisor, text.as_bytes(), SendFlags::NOSIGNAL)
                            .call(|| "NOTIFY_SOCKET: send(READY=1)")?;
                    }
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(Fault::call("recv(notify.sock)", errno)),
            }
        }
        Ok(())
    }

    /// Waits until the payload is ready, or has ended without ever being so; and then until the
    /// supervisor knows: it looks for the sender of a message, which would be gone.
    pub fn wait(mut self, pidfd: BorrowedFd<'_>) -> Result<(), Fault> {
        while !self.told {
            let mut set = [
                PollFd::from_borrowed_fd(self.socket(), PollFlags::IN),
                PollFd::from_borrowed_fd(pidfd, PollFlags::IN),
            ];
            match poll(&mut set, None) {
                Err(Errno::INTR) => continue,
                other => other.call(|| "poll(notify.sock)")?,
            };
            let ended = !set[1].revents().is_empty();
            self.advance()?;
            if ended && !self.told {
                return Ok(());
            }
        }
        self.barrier()
    }

    /// The supervisor closes the descriptor when it has done all that came before.
    fn barrier(&self) -> Result<(), Fault> {
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC).call(|| "pipe2")?;
        let fds = [theirs.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)), "the space is made for one descriptor");
        sendmsg(&self.supervisor, &[IoSlice::new(b"BARRIER=1")], &mut control, SendFlags::NOSIGNAL)
            .call(|| "NOTIFY_SOCKET: sendmsg(BARRIER=1)")?;
        drop(theirs);
        let limit = Timespec { tv_sec: BARRIER.as_secs() as i64, tv_nsec: 0 };
        let mut set = [PollFd::new(&ours, PollFlags::empty())];
        let closed =
            rustix::io::retry_on_intr(|| poll(&mut set, Some(&limit))).call(|| "poll(the barrier)")?;
        if closed == 0 {
            tracing::warn!("NOTIFY_SOCKET: no answer to BARRIER=1 within {} s", BARRIER.as_secs());
        }
        Ok(())
    }
}
