// SPDX-License-Identifier: Apache-2.0
//! The far end of `--console-socket` and `--pidfd-socket`: takes one descriptor.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// A listening socket that a runtime connects to.
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
}

impl Listener {
    pub(crate) fn new(path: PathBuf) -> Self {
        let socket = UnixListener::bind(&path).expect("a socket in the scratch directory");
        socket.set_nonblocking(true).expect("a socket takes it");
        Self { socket, path }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The one descriptor that was sent, and the text that came with it.
    #[track_caller]
    pub fn receive(&self) -> (OwnedFd, String) {
        let end = Instant::now() + Duration::from_secs(5);
        let stream = loop {
            match self.socket.accept() {
                Ok((stream, _)) => break stream,
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(2)),
                Err(error) => panic!("nobody connected to {}: {error}", self.path.display()),
            }
        };
        stream.set_nonblocking(false).expect("a socket takes it");
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message =
            recvmsg(&stream, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC)
                .expect("a message");
        let mut fds: Vec<OwnedFd> = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(sent) = part {
                fds.extend(sent);
            }
        }
        assert_eq!(fds.len(), 1, "one descriptor is sent");
        (fds.remove(0), String::from_utf8_lossy(&text[..message.bytes]).into_owned())
    }
}
