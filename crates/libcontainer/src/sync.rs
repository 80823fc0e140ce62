// SPDX-License-Identifier: Apache-2.0
//! The whole protocol between the runtime (P) and the container's init (I), on one
//! SOCK_SEQPACKET pair: a message is a datagram, and the end of a process is an end of file.
//!
//! ```text
//!        P                                    I
//!        | ------------ Source+fds ---------> |  as many as there are sources that P opens below I
//!        | --------------- Go --------------> |  maps, groups and limits are in place
//!        | ---------- Network+fd -----------> |  only where P makes it: while I mounts
//!        |  loads v2's device rules           |  mounts, devices
//!        | <--------- Console+fd ------------ |  only with a terminal
//!        | <------------ Mounted ------------ |
//!        |  and puts them in force            |
//!        |  prestart, createRuntime hooks     |
//!        | --------------- Go --------------> |
//!        |                                    |  createContainer hooks, pivot_root, …
//!        | <---- Listener(number of fd) ----- |  only with SCMP_ACT_NOTIFY
//!        | <------------- Ready ------------- |  all is done but execve
//!        |  state.json, pid file              |
//!        | --------------- Go --------------> |  the container exists: it outlives P
//!        x                                    |  waits for start
//! ```
//!
//! At any moment I may say `Failed` in place of its next word, and ends. When P ends before the
//! last Go, I reads the end of file and ends too. From `Ready` on I uses read and write alone: a
//! seccomp filter may be in force, and every useful one lets these through.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};

use crate::error::Fault;

/// Descriptors in one message; the kernel's bound is 253.
pub const MAX_FDS: usize = 200;
const MAX_BYTES: usize = 4096;

/// A word of the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// P: what was waited for is done.
    Go,
    /// P: descriptors of bind mount sources, in the plan's order.
    Source,
    /// P: the new network namespace, as descriptor.
    Network,
    /// I: the mounts are made.
    Mounted,
    /// I: the terminal's master, as descriptor.
    Console,
    /// I: its seccomp listener has this number; P fetches it by pidfd_getfd(2).
    Listener(i32),
    /// I: only execve is left.
    Ready,
    /// I: the step of this number failed, and I ends.
    Failed(Failure),
}

/// What I tells of a step that failed. P has the plan and knows the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Index into the plan's steps.
    pub step: u16,
    /// Which call, which errno, which way out.
    pub fault: Fault,
}

impl Message {
    /// The datagram; init also writes it to result.fifo.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Go => vec![b'G'],
            Self::Source => vec![b'S'],
            Self::Network => vec![b'N'],
            Self::Mounted => vec![b'M'],
            Self::Console => vec![b'C'],
            Self::Listener(number) => [b"L".as_slice(), &number.to_le_bytes()].concat(),
            Self::Ready => vec![b'R'],
            Self::Failed(failure) => {
                let errno = failure.fault.errno.map_or(0, |e| e.raw_os_error());
                let hint = failure.fault.hint.as_deref().unwrap_or("");
                let mut bytes = vec![b'F'];
                bytes.extend(failure.step.to_le_bytes());
                bytes.extend(errno.to_le_bytes());
                bytes.extend(failure.fault.says.bytes().take(MAX_BYTES / 2));
                bytes.push(0);
                bytes.extend(hint.bytes().take(MAX_BYTES / 4));
                bytes
            }
        }
    }

    /// A datagram's meaning.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        Some(match tag {
            b'G' => Self::Go,
            b'S' => Self::Source,
            b'N' => Self::Network,
            b'M' => Self::Mounted,
            b'C' => Self::Console,
            b'L' => Self::Listener(i32::from_le_bytes(rest.try_into().ok()?)),
            b'R' => Self::Ready,
            b'F' => {
                let (step, rest) = rest.split_first_chunk::<2>()?;
                let (errno, rest) = rest.split_first_chunk::<4>()?;
                let errno = i32::from_le_bytes(*errno);
                let text = String::from_utf8_lossy(rest).into_owned();
                let (says, hint) = text.split_once('\0')?;
                let mut fault = Fault::new(says);
                fault.errno = (errno != 0).then(|| Errno::from_raw_os_error(errno));
                fault.hint = (!hint.is_empty()).then(|| hint.to_owned().into());
                Self::Failed(Failure { step: u16::from_le_bytes(*step), fault })
            }
            _ => return None,
        })
    }
}

/// One end of the pair.
#[derive(Debug)]
pub struct Channel(Option<OwnedFd>);

impl Channel {
    /// Both ends, close-on-exec.
    pub fn pair() -> Result<(Self, Self), Errno> {
        let (p, i) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(Some(p)), Self(Some(i))))
    }

    /// The other end reads an end of file.
    pub fn close(&mut self) {
        self.0 = None;
    }

    fn fd(&self) -> Result<&OwnedFd, Errno> {
        self.0.as_ref().ok_or(Errno::BADF)
    }

    /// Sends a word.
    pub fn send(&self, message: &Message) -> Result<(), Errno> {
        rustix::io::write(self.fd()?, &message.encode()).map(drop)
    }

    /// Sends a word with at most [`MAX_FDS`] descriptors.
    pub fn send_with(&self, message: &Message, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(Errno::MSGSIZE);
        }
        sendmsg(self.fd()?, &[IoSlice::new(&message.encode())], &mut control, SendFlags::NOSIGNAL).map(drop)
    }

    /// The next word and what came with it; `None` when the other end is gone.
    pub fn recv(&self) -> Result<Option<(Message, Vec<OwnedFd>)>, Errno> {
        let mut bytes = [0; MAX_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            match recvmsg(self.fd()?, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                // The other end was closed with words of ours unread: it is gone.
                Err(Errno::CONNRESET) => return Ok(None),
                other => break other?,
            }
        };
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        match received.bytes {
            0 => Ok(None),
            n => Message::decode(&bytes[..n]).map(|message| Some((message, fds))).ok_or(Errno::PROTO),
        }
    }

    /// Waits for Go by read(2) alone; false when P is gone.
    pub fn await_go(&self) -> Result<bool, Errno> {
        let mut byte = [0; 1];
        loop {
            match rustix::io::read(self.fd()?, &mut byte) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Ok(false),
                other => return Ok(other? == 1 && byte == *b"G"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_arrives_as_it_was_sent() {
        let failure =
            Failure { step: 300, fault: Fault::call("open_tree(\"/x\")", Errno::NOENT).hint("make it") };
        let (p, i) = Channel::pair().unwrap();
        for word in [
            Message::Go,
            Message::Source,
            Message::Network,
            Message::Mounted,
            Message::Console,
            Message::Listener(7),
            Message::Ready,
            Message::Failed(failure),
        ] {
            i.send(&word).unwrap();
            assert_eq!(p.recv().unwrap().unwrap().0, word);
        }
    }

    #[test]
    fn descriptors_travel_and_an_end_is_seen() {
        let (p, i) = Channel::pair().unwrap();
        let file = std::fs::File::open("/dev/null").unwrap();
        use std::os::fd::AsFd;
        p.send_with(&Message::Source, &[file.as_fd(), file.as_fd()]).unwrap();
        assert_eq!(i.recv().unwrap().unwrap().1.len(), 2);
        p.send(&Message::Go).unwrap();
        assert!(i.await_go().unwrap());
        drop(p);
        assert!(!i.await_go().unwrap());
        assert!(i.recv().unwrap().is_none());
    }

    #[test]
    fn garbage_is_no_word() {
        for bytes in [b"".as_slice(), b"X", b"F", b"F\0\0\0\0\0\0no end", b"L12"] {
            assert_eq!(Message::decode(bytes), None);
        }
    }
}
