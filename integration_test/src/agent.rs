// SPDX-License-Identifier: Apache-2.0
//! A seccomp agent: takes the listener of a container and decides its calls.

use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use libseccomp::{ScmpNotifReq, ScmpNotifResp, ScmpNotifRespFlags, notify_id_valid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::Value;

use crate::{Listener, Test};

/// The far end of `linux.seccomp.listenerPath`.
pub struct Agent {
    socket: Listener,
}

impl Agent {
    /// Listens in the test's scratch directory.
    pub fn new(t: &Test) -> Self {
        Self { socket: t.listener() }
    }

    /// Where it listens.
    pub fn path(&self) -> &Path {
        self.socket.path()
    }

    /// A listener that was handed over, with the ContainerProcessState that came with it.
    #[track_caller]
    pub fn receive(&self) -> Notified {
        let (fd, text) = self.socket.receive();
        Notified { fd, state: serde_json::from_str(&text).expect("a ContainerProcessState") }
    }
}

/// The calls of a container that are this agent's to decide.
pub struct Notified {
    fd: OwnedFd,
    /// What the runtime told about the process.
    pub state: Value,
}

impl Notified {
    /// The next call that waits for a verdict; none comes within five seconds: a failure.
    #[track_caller]
    pub fn next(&self) -> ScmpNotifReq {
        let limit = Timespec::try_from(Duration::from_secs(5)).expect("short");
        let mut set = [PollFd::new(&self.fd, PollFlags::IN)];
        assert_eq!(poll(&mut set, Some(&limit)), Ok(1), "no call came");
        ScmpNotifReq::receive(self.fd.as_raw_fd()).expect("a notification")
    }

    /// Whether the call still waits.
    pub fn waits(&self, call: &ScmpNotifReq) -> bool {
        notify_id_valid(self.fd.as_raw_fd(), call.id).is_ok()
    }

    /// Lets the call fail.
    #[track_caller]
    pub fn refuse(&self, call: &ScmpNotifReq, errno: i32) {
        let answer = ScmpNotifResp::new_error(call.id, -errno, ScmpNotifRespFlags::empty());
        answer.respond(self.fd.as_raw_fd()).expect("the call waits");
    }

    /// Lets the kernel do the call.
    #[track_caller]
    pub fn allow(&self, call: &ScmpNotifReq) {
        let answer = ScmpNotifResp::new_continue(call.id, ScmpNotifRespFlags::empty());
        answer.respond(self.fd.as_raw_fd()).expect("the call waits");
    }
}
