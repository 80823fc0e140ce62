// SPDX-License-Identifier: Apache-2.0
//! What `run` and `exec` do once the container's process lives: forward signals, relay its
//! terminal, reap, and return its exit status.
//!
//! ```text
//!   prepare()      signals blocked, signalfd open; before clone3, so that none is lost
//!   clone3 …       the child goes back to an empty mask and default dispositions
//!   Foreground::wait
//!       signalfd --> SIGCHLD: reap    SIGWINCH: resize the pty    the rest: pidfd_send_signal
//!       pidfd    --> waitid, the pty's last words, done
//!       stdin, stdout, pty master --> relay.rs
//! ```
//!
//! One thread, one poll. Without a pty the process has the caller's stdio itself and only the
//! first two lines are left.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, WaitOptions, getpid, set_child_subreaper, wait, waitid};

use super::notify::Proxy;
use super::relay::Relay;
use super::terminal::{Raw, adopt_size};
use crate::error::{Call, Fault};
use crate::sys::signal::pidfd_send_signal;

/// Signals that keep their own effect on us. The first two cannot be caught. SIGPIPE is a failed
/// write of ours, SIGURG is of no use to anybody (Go programs send it to themselves all the time).
/// SIGTTIN and SIGTTOU are the kernel stopping a background job that uses its terminal.
const KEPT: [Signal; 6] =
    [Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGPIPE, Signal::SIGURG, Signal::SIGTTIN, Signal::SIGTTOU];

/// The blocked signals and where they are read. Keep it until the work after
/// [`Foreground::wait`] is done too: dropping it restores the mask, and a signal that came late
/// takes effect then.
#[derive(Debug)]
pub struct SignalState {
    signals: SignalFd,
    former: SigSet,
    subreaper: bool,
}

/// Blocks the signals that are to be forwarded and opens a signalfd for them; with `subreaper`,
/// orphans of the container become our children. To be called before the process is made: a signal
/// in between would kill us and leave the container behind.
pub fn prepare(subreaper: bool) -> Result<SignalState, Fault> {
    if subreaper {
        set_child_subreaper(Some(getpid())).call(|| "prctl(PR_SET_CHILD_SUBREAPER)")?;
    }
    let mut caught = SigSet::all();
    KEPT.into_iter().for_each(|signal| caught.remove(signal));
    let flags = SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC;
    let signals = SignalFd::with_flags(&caught, flags).map_err(|e| nix_fault("signalfd", e))?;
    let former = caught.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(|e| nix_fault("sigprocmask", e))?;
    Ok(SignalState { signals, former, subreaper })
}

impl Drop for SignalState {
    fn drop(&mut self) {
        // Cannot fail: the mask came from the kernel.
        let _ = self.former.thread_set_mask();
    }
}

fn nix_fault(says: &str, errno: nix::Error) -> Fault {
    Fault::call(says, Errno::from_raw_os_error(errno as i32))
}

/// A process to wait for in the foreground.
#[derive(Debug)]
pub struct Foreground<'a> {
    /// The process, as we see it. It must be our child.
    pub pid: Pid,
    /// A pidfd of it.
    pub pidfd: BorrowedFd<'a>,
    /// From [`prepare`], before the process was made.
    pub signals: &'a SignalState,
    /// The master of its pty, if it has one.
    pub console: Option<OwnedFd>,
    /// Where it says that it is ready.
    pub notify: Option<Proxy>,
}

impl Foreground<'_> {
    /// Serves the process until it ends. Returns its exit code, or 128 + N after signal N.
    pub fn wait(self) -> Result<i32, Fault> {
        let (stdin, stdout) = (std::io::stdin(), std::io::stdout());
        self.wait_on(stdin.as_fd(), stdout.as_fd())
    }

    /// [`Foreground::wait`] with another terminal than our own.
    fn wait_on(self, input: BorrowedFd<'_>, output: BorrowedFd<'_>) -> Result<i32, Fault> {
        let terminal = match self.console {
            Some(master) => Some(Terminal::new(master, input, output)?),
            None => None,
        };
        let Foreground { pid, pidfd, signals, notify, .. } = self;
        Watch { pid, pidfd, signals, terminal, notify, status: None, given_up: false }.run()
    }
}

/// The relayed terminal: both ends, and the bytes in between.
struct Terminal<'a> {
    relay: Relay<'a>,
    /// Where the size comes from.
    callers: [BorrowedFd<'a>; 2],
    /// Only where the caller's stdin is a terminal. If only stdout is one, nobody here would turn
    /// a Ctrl-C read raw into anything.
    raw: Option<Raw>,
}

impl<'a> Terminal<'a> {
    fn new(master: OwnedFd, input: BorrowedFd<'a>, output: BorrowedFd<'a>) -> Result<Self, Fault> {
        let callers = [input, output];
        adopt_size(master.as_fd(), &callers);
        let relay = Relay::new(master, input, output)?;
        Ok(Self { relay, callers, raw: Raw::enter(input)? })
    }

    fn resize(&self) {
        if let Some(master) = self.relay.master() {
            adopt_size(master, &self.callers);
        }
    }

    /// Stops this process as SIGTSTP would have, with the terminal in its former mode, and goes on
    /// when it is continued. An orphaned process group is never stopped: then this does nothing.
    fn stop(&self) {
        if let Some(raw) = &self.raw {
            raw.leave();
        }
        let mut stop = SigSet::empty();
        stop.add(Signal::SIGTSTP);
        // Raised while blocked and then let through, so that the shell sees its own SIGTSTP.
        if raise(Signal::SIGTSTP).is_ok() && stop.thread_unblock().is_ok() {
            let _ = stop.thread_block();
        }
        self.resume();
    }

    /// We are in the foreground again, and a shell may have used the terminal meanwhile.
    fn resume(&self) {
        if let Some(raw) = &self.raw
            && let Err(errno) = raw.again()
        {
            tracing::warn!("{}", Fault::call("tcsetattr of the terminal", errno));
        }
        self.resize();
    }
}

/// The state of the loop.
struct Watch<'a> {
    pid: Pid,
    pidfd: BorrowedFd<'a>,
    signals: &'a SignalState,
    terminal: Option<Terminal<'a>>,
    notify: Option<Proxy>,
    /// The exit status, once the process is reaped.
    status: Option<i32>,
    /// A signal came while the last output could not be delivered.
    given_up: bool,
}

impl Watch<'_> {
    fn run(mut self) -> Result<i32, Fault> {
        loop {
            let mut ready = self.poll()?;
            if let Some(notify) = &mut self.notify
                && ready.pop().is_some_and(|flags| !flags.is_empty())
                && let Err(fault) = notify.advance()
            {
                // The container is no worse for it.
                tracing::warn!("{fault}");
            }
            if !ready[0].is_empty() {
                self.read_signals()?;
            }
            if let Some(terminal) = &mut self.terminal {
                terminal.relay.advance(&ready[2..]);
            }
            if self.status.is_none() && !ready[1].is_empty() {
                self.status = Some(exit_status(self.pidfd)?);
            }
            if let Some(status) = self.status
                && self.all_said()
            {
                self.reap()?;
                return Ok(status);
            }
        }
    }

    /// Waits for anything. The answers: signals, the process, then those of the relay, and last the
    /// word of readiness.
    fn poll(&self) -> Result<Vec<PollFlags>, Fault> {
        let relay = self.terminal.as_ref().map(|terminal| &terminal.relay);
        // A pidfd stays ready after the end; the loop would not rest while it drains.
        let of_process = if self.status.is_none() { PollFlags::IN } else { PollFlags::empty() };
        let process = if self.status.is_none() { self.pidfd } else { self.signals.signals.as_fd() };
        let mut set = vec![
            PollFd::from_borrowed_fd(self.signals.signals.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(process, of_process),
        ];
        let parties = relay.into_iter().flat_map(Relay::interest);
        set.extend(parties.map(|(_, fd, flags)| PollFd::from_borrowed_fd(fd, flags)));
        set.extend(self.notify.iter().map(|n| PollFd::from_borrowed_fd(n.socket(), PollFlags::IN)));
        let timeout = relay.and_then(Relay::timeout);
        let timeout =
            timeout.map(|t| Timespec { tv_sec: t.as_secs() as i64, tv_nsec: t.subsec_nanos().into() });
        match poll(&mut set, timeout.as_ref()) {
            Ok(_) => Ok(set.iter().map(PollFd::revents).collect()),
            // After a stop by SIGTTIN, for one.
            Err(Errno::INTR) => Ok(vec![PollFlags::empty(); set.len()]),
            Err(errno) => Err(Fault::call("poll", errno)),
        }
    }

    fn read_signals(&mut self) -> Result<(), Fault> {
        while let Some(info) =
            self.signals.signals.read_signal().map_err(|e| nix_fault("read(signalfd)", e))?
        {
            self.on_signal(info.ssi_signo as i32)?;
        }
        Ok(())
    }

    fn on_signal(&mut self, signal: i32) -> Result<(), Fault> {
        match (signal, &self.terminal) {
            (libc::SIGCHLD, _) => return self.reap(),
            (libc::SIGWINCH, Some(terminal)) => terminal.resize(),
            (libc::SIGTSTP, Some(terminal)) => {
                self.forward(signal)?;
                terminal.stop();
            }
            (libc::SIGCONT, Some(terminal)) => {
                terminal.resume();
                self.forward(signal)?;
            }
            _ => self.forward(signal)?,
        }
        let ends = matches!(signal, libc::SIGHUP | libc::SIGINT | libc::SIGQUIT | libc::SIGTERM);
        self.given_up |= ends && self.status.is_some();
        Ok(())
    }

    fn forward(&self, signal: i32) -> Result<(), Fault> {
        match pidfd_send_signal(self.pidfd, signal) {
            // It has ended, which the pidfd tells next.
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(errno) => Err(Fault::call(format!("pidfd_send_signal({signal})"), errno)),
        }
    }

    /// Reaps the orphans of the container. Without being a subreaper there are none, and other
    /// children of this process are the business of those who made them.
    fn reap(&mut self) -> Result<(), Fault> {
        while self.signals.subreaper {
            match wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) if pid == self.pid => {
                    let code = status.exit_status().or(status.terminating_signal().map(|n| 128 + n));
                    self.status = self.status.or(code);
                }
                Ok(Some(_)) | Err(Errno::INTR) => {}
                Ok(None) | Err(Errno::CHILD) => break,
                Err(errno) => return Err(Fault::call("wait4", errno)),
            }
        }
        Ok(())
    }

    /// After the end of the process: all its output is where it belongs, or cannot get there.
    fn all_said(&mut self) -> bool {
        let Some(terminal) = &mut self.terminal else { return true };
        terminal.relay.finish();
        self.given_up || terminal.relay.is_done()
    }
}

/// Reaps the process behind a readable pidfd.
fn exit_status(pidfd: BorrowedFd<'_>) -> Result<i32, Fault> {
    // __WALL: a process made by a helper with CLONE_PARENT has no exit signal, and is our child still.
    let options = WaitIdOptions::EXITED | WaitIdOptions::from_bits_retain(libc::__WALL as u32);
    let status =
        rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), options)).call(|| "waitid(P_PIDFD)")?;
    let code = status.and_then(|s| s.exit_status().or(s.terminating_signal().map(|n| 128 + n)));
    code.ok_or_else(|| Fault::new("waitid(P_PIDFD) tells no exit status"))
}

#[cfg(test)]
mod tests;
