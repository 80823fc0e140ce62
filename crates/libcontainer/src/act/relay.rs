// SPDX-License-Identifier: Apache-2.0
//! The bytes between the caller's stdin and stdout and the master of a container's pty.
//!
//! ```text
//!   input (fd 0) --> to_master --> master ==pty== the container's process
//!   output (fd 1) <-- to_output <--
//! ```
//!
//! Nothing here waits: [`Relay::interest`] says what to poll for, [`Relay::advance`] moves what can
//! be moved. No byte is read before there is room for it, so none is lost when a side is slow.
//!
//! The caller's descriptors stay as they are. O_NONBLOCK is a property of the open file, which the
//! caller's shell and its other jobs share, so it is set on the master (ours alone) and on files
//! opened anew ([`Side::open`]), never on fds 0 to 2.
#![expect(clippy::disallowed_methods, reason = "our own descriptors, by /proc/self/fd")]

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fcntl_setfl, fstat, major, minor, open};
use rustix::io::Errno;
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};

use crate::error::{Call, Fault};

/// How long a pty that nobody holds open is left alone. The process may open it again: an init
/// system closes its stdio and opens /dev/console later.
const HANGUP_PAUSE: Duration = Duration::from_millis(100);

/// How much is still read after the process has ended. The kernel holds less than this for a pty;
/// what comes after it is from processes that were left behind and write on.
const LAST_WORDS: usize = 128 * 1024;

/// Bytes on their way in one direction.
struct Queue {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Queue {
    fn new() -> Self {
        Self { bytes: vec![0; 64 * 1024].into(), start: 0, end: 0 }
    }

    fn is_empty(&self) -> bool {
        self.start == self.end
    }

    fn has_room(&self) -> bool {
        self.end < self.bytes.len()
    }

    /// One read(2) of at most `limit` bytes behind what is there. There must be room.
    fn fill(&mut self, from: BorrowedFd<'_>, limit: usize) -> Result<usize, Errno> {
        let end = self.bytes.len().min(self.end.saturating_add(limit));
        let n = rustix::io::read(from, &mut self.bytes[self.end..end])?;
        self.end += n;
        Ok(n)
    }

    /// One write(2) of at most `limit` bytes; what is left moves to the front when the end is reached.
    fn flush(&mut self, to: BorrowedFd<'_>, limit: usize) -> Result<(), Errno> {
        let end = self.end.min(self.start.saturating_add(limit));
        self.start += rustix::io::write(to, &self.bytes[self.start..end])?;
        if self.is_empty() {
            (self.start, self.end) = (0, 0);
        } else if !self.has_room() {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        Ok(())
    }

    fn clear(&mut self) {
        (self.start, self.end) = (0, 0);
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.end] = byte;
        self.end += 1;
    }
}

/// The caller's stdin or stdout.
enum Side<'a> {
    /// The same pipe or terminal, opened anew: non-blocking, and nobody else's.
    Own(OwnedFd),
    /// The caller's own descriptor: touched only when poll says it is ready, and written to in
    /// pieces of at most this many bytes.
    Shared(BorrowedFd<'a>, usize),
}

impl<'a> Side<'a> {
    /// Opens pipes and terminals anew. A file is not: its offset and O_APPEND are shared on purpose.
    /// A pty master must not be: opening /dev/ptmx makes another pty.
    fn open(fd: BorrowedFd<'a>, access: OFlags) -> Self {
        // A ready pipe takes PIPE_BUF bytes without blocking (pipe(7)), a file any number.
        const PIPE_BUF: usize = 4096;
        let Ok(stat) = fstat(fd) else { return Self::Shared(fd, PIPE_BUF) };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let ptmx = (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2);
        match kind {
            FileType::Fifo | FileType::CharacterDevice if !ptmx => {
                let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
                let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
                // Another user's terminal, after su(1), cannot be opened: then it is shared.
                open(path, flags, Mode::empty()).map_or(Self::Shared(fd, PIPE_BUF), Self::Own)
            }
            FileType::RegularFile => Self::Shared(fd, usize::MAX),
            _ => Self::Shared(fd, PIPE_BUF),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Own(fd) => fd.as_fd(),
            Self::Shared(fd, _) => *fd,
        }
    }

    fn limit(&self) -> usize {
        match self {
            Self::Own(_) => usize::MAX,
            Self::Shared(_, limit) => *limit,
        }
    }
}

/// Who of the three is meant.
#[derive(Clone, Copy)]
pub enum Party {
    /// The master of the container's pty.
    Master,
    /// The caller's stdin.
    Input,
    /// The caller's stdout.
    Output,
}

/// See the head of this file.
pub struct Relay<'a> {
    /// None once nothing more is to be read or written there.
    master: Option<OwnedFd>,
    /// None after its end.
    input: Option<Side<'a>>,
    output: Side<'a>,
    to_master: Queue,
    to_output: Queue,
    /// The input has ended and the pty has not been told.
    eof: bool,
    /// The last byte given to the master, as the end of input is told differently within a line.
    last: u8,
    /// Nobody has the pty open; look again then.
    hangup: Option<Instant>,
    /// The process has ended; so much is still read.
    ended: Option<usize>,
}

impl<'a> Relay<'a> {
    /// A relay between `master` and the caller's `input` and `output`.
    pub fn new(master: OwnedFd, input: BorrowedFd<'a>, output: BorrowedFd<'a>) -> Result<Self, Fault> {
        let flags = fcntl_getfl(&master).call(|| "fcntl(F_GETFL) of the pty")?;
        fcntl_setfl(&master, flags | OFlags::NONBLOCK).call(|| "fcntl(F_SETFL) of the pty")?;
        Ok(Self {
            master: Some(master),
            input: Some(Side::open(input, OFlags::RDONLY)),
            output: Side::open(output, OFlags::WRONLY),
            to_master: Queue::new(),
            to_output: Queue::new(),
            eof: false,
            last: b'\n',
            hangup: None,
            ended: None,
        })
    }

    /// The pty, while there is one.
    pub fn master(&self) -> Option<BorrowedFd<'_>> {
        self.master.as_ref().map(AsFd::as_fd)
    }

    /// What to poll for. Descriptors that are of no interest are left out, since poll reports
    /// their hang-ups whether asked or not.
    pub fn interest(&self) -> impl Iterator<Item = (Party, BorrowedFd<'_>, PollFlags)> {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, self.to_output.has_room());
        wanted.set(PollFlags::OUT, !self.to_master.is_empty());
        let asleep = self.hangup.is_some() || self.ended.is_some() || wanted.is_empty();
        let master = self.master().filter(|_| !asleep).map(|fd| (Party::Master, fd, wanted));
        let input = self.input.as_ref().filter(|_| self.to_master.has_room() && self.ended.is_none());
        let output = Some(&self.output).filter(|_| !self.to_output.is_empty());
        master
            .into_iter()
            .chain(input.map(|side| (Party::Input, side.fd(), PollFlags::IN)))
            .chain(output.map(|side| (Party::Output, side.fd(), PollFlags::OUT)))
    }

    /// How long to poll at most.
    pub fn timeout(&self) -> Option<Duration> {
        self.hangup.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Moves bytes after a poll: `ready` are the answers in the order of [`Relay::interest`].
    pub fn advance(&mut self, ready: &[PollFlags]) {
        let parties: Vec<Party> = self.interest().map(|(party, ..)| party).collect();
        for (party, _) in parties.into_iter().zip(ready).filter(|(_, flags)| !flags.is_empty()) {
            match party {
                Party::Master => self.serve_master(),
                Party::Input => self.read_input(),
                Party::Output => self.write_output(),
            }
        }
        if self.hangup.is_some_and(|at| at <= Instant::now()) {
            self.hangup = None;
        }
        if self.eof && self.to_master.is_empty() && self.hangup.is_none() {
            self.tell_eof();
        }
        self.read_last_words();
    }

    /// The process has ended: no more input, and only what it has left in the pty.
    pub fn finish(&mut self) {
        self.input = None;
        self.ended.get_or_insert(LAST_WORDS);
        self.read_last_words();
    }

    /// After [`Relay::finish`]: everything is written, or there is nobody to write for.
    pub fn is_done(&self) -> bool {
        self.ended.is_some() && self.master.is_none() && self.to_output.is_empty()
    }

    fn serve_master(&mut self) {
        if !self.to_master.is_empty() {
            self.write_master();
        }
        while self.to_output.has_room() {
            let Some(master) = &self.master else { return };
            match self.to_output.fill(master.as_fd(), usize::MAX) {
                Ok(1..) => {}
                // EIO: every slave is closed. It says so before and after, not in the middle of data.
                Ok(0) | Err(Errno::IO) => {
                    self.hangup = Some(Instant::now() + HANGUP_PAUSE);
                    return;
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                Err(errno) => return self.hang_up("read from the container's terminal", errno),
            }
        }
    }

    fn write_master(&mut self) {
        let Some(master) = &self.master else { return self.to_master.clear() };
        self.last = self.to_master.bytes[self.to_master.end - 1];
        match self.to_master.flush(master.as_fd(), usize::MAX) {
            // EIO: no slave is open; the read that follows sees it and waits.
            Ok(()) | Err(Errno::AGAIN | Errno::INTR | Errno::IO) => {}
            Err(errno) => self.hang_up("write to the container's terminal", errno),
        }
    }

    fn read_input(&mut self) {
        let Some(input) = &self.input else { return };
        match self.to_master.fill(input.fd(), usize::MAX) {
            Ok(1..) | Err(Errno::AGAIN | Errno::INTR) => {}
            // EIO: the caller's terminal is gone, or we are in the background for good.
            Ok(0) | Err(_) => {
                self.input = None;
                self.eof = true;
            }
        }
    }

    fn write_output(&mut self) {
        match self.to_output.flush(self.output.fd(), self.output.limit()) {
            Ok(()) | Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => self.hang_up("write to stdout", errno),
        }
    }

    /// Nobody can see the output any more, or the pty is broken. Closing the master is what closing
    /// the window of a terminal is: the kernel sends SIGHUP, and writes fail. A process is not left
    /// to fill a pty that nobody reads.
    fn hang_up(&mut self, what: &str, errno: Errno) {
        // A reader that has left (`| head`) and a terminal that has gone are no news.
        if errno != Errno::PIPE && errno != Errno::IO {
            tracing::warn!("{}: the container's terminal is closed", Fault::call(what, errno));
        }
        self.master = None;
        self.input = None;
        self.eof = false;
        self.to_master.clear();
        self.to_output.clear();
    }

    /// Says the end of a redirected input as one does at a keyboard: with the EOF character. Within
    /// a line the first one only sends the line. Without canonical mode it would be a byte of data,
    /// and is left out.
    fn tell_eof(&mut self) {
        self.eof = false;
        let Some(mode) = self.master().and_then(|master| tcgetattr(master).ok()) else { return };
        let eof = mode.special_codes[SpecialCodeIndex::VEOF];
        if !mode.local_modes.contains(LocalModes::ICANON) || eof == 0 {
            return;
        }
        if self.last != b'\n' {
            self.to_master.push(eof);
        }
        self.to_master.push(eof);
    }

    /// Reads what the process wrote before it ended; the kernel has all of it ready by now.
    fn read_last_words(&mut self) {
        let Some(left) = &mut self.ended else { return };
        while let Some(master) = &self.master
            && self.to_output.has_room()
        {
            match self.to_output.fill(master.as_fd(), *left) {
                Ok(n @ 1..) => *left -= n,
                Err(Errno::INTR) => {}
                // Nothing left, all closed, or enough read of those who write on.
                Ok(0) | Err(_) => self.master = None,
            }
        }
    }
}
