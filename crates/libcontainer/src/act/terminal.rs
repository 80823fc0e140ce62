// SPDX-License-Identifier: Apache-2.0
//! The caller's terminal while a container's pty is relayed to it: raw, and given back.
//!
//! Whatever ends this process, short of SIGKILL, the terminal is to be as it was found. [`Raw`]
//! gives it back when it is dropped, and a panic hook does so before the panic is told, since the
//! released program aborts on a panic and runs no destructor.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::{Mutex, MutexGuard, Once, PoisonError, TryLockError};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::{
    OptionalActions, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetwinsize,
};

use crate::error::{Call, Fault};

/// A terminal and the mode it was found in.
struct Former {
    tty: OwnedFd,
    mode: Termios,
}

/// What is to be given back. Global for the panic hook; a process has one entry, tests have more.
static FORMER: Mutex<Vec<Former>> = Mutex::new(Vec::new());

fn former() -> MutexGuard<'static, Vec<Former>> {
    FORMER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A terminal in raw mode, until this value is dropped.
#[derive(Debug)]
pub struct Raw {
    /// Names the entry in [`FORMER`].
    key: RawFd,
}

impl Raw {
    /// Puts `tty` into raw mode. `None` where it is no terminal, or where we are in the background
    /// for good (an orphaned process group, EIO): then nobody types there for us.
    pub fn enter(tty: BorrowedFd<'_>) -> Result<Option<Raw>, Fault> {
        if !isatty(tty) {
            return Ok(None);
        }
        give_back_on_panic();
        let mode = tcgetattr(tty).call(|| "tcgetattr of the terminal")?;
        let tty = rustix::io::fcntl_dupfd_cloexec(tty, 3).call(|| "fcntl(F_DUPFD_CLOEXEC)")?;
        let raw = Raw { key: tty.as_raw_fd() };
        former().push(Former { tty, mode });
        match raw.again() {
            Ok(()) => Ok(Some(raw)),
            Err(Errno::IO) => Ok(None),
            Err(errno) => Err(Fault::call("tcsetattr of the terminal", errno)),
        }
    }

    /// Raw mode once more, after [`Raw::leave`] or after a shell has set its own.
    ///
    /// SIGTTOU is not blocked here: in the background the kernel stops us until the user calls us
    /// back, as it does with any job.
    pub fn again(&self) -> Result<(), Errno> {
        // The lock is not held over the call, which may stop this process.
        let found = former().iter().find(|f| f.tty.as_raw_fd() == self.key).map(|f| {
            let mut mode = f.mode.clone();
            mode.make_raw();
            (f.tty.try_clone(), mode)
        });
        match found {
            Some((Ok(tty), mode)) => tcsetattr(&tty, OptionalActions::Now, &mode),
            _ => Ok(()),
        }
    }

    /// The former mode, for as long as we are stopped.
    pub fn leave(&self) {
        former().iter().filter(|f| f.tty.as_raw_fd() == self.key).for_each(give_back);
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
        former().retain(|f| f.tty.as_raw_fd() != self.key);
    }
}

/// Restores the mode, unless another job is in the foreground: the terminal is that one's then.
fn give_back(former: &Former) {
    if tcgetpgrp(&former.tty).is_ok_and(|foreground| foreground != getpgrp()) {
        return;
    }
    // Nothing may stop us halfway, whatever the kernel takes us for.
    let mut ttou = SigSet::empty();
    ttou.add(Signal::SIGTTOU);
    let mask = ttou.thread_swap_mask(SigmaskHow::SIG_BLOCK);
    // A terminal that is gone needs no mode.
    let _ = tcsetattr(&former.tty, OptionalActions::Now, &former.mode);
    if let Ok(mask) = mask {
        let _ = mask.thread_set_mask();
    }
}

/// Also makes the report of a panic readable, as it is printed after the terminal is back.
fn give_back_on_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // The thread that panics may hold the lock.
            match FORMER.try_lock() {
                Ok(all) => all.iter().for_each(give_back),
                Err(TryLockError::Poisoned(all)) => all.into_inner().iter().for_each(give_back),
                Err(TryLockError::WouldBlock) => {}
            }
            next(info);
        }));
    });
}

/// Gives the pty behind `master` the size of the first terminal among `candidates`.
///
/// A terminal that does not know its size (a serial line says 0 x 0) leaves the pty as it is.
pub fn adopt_size(master: BorrowedFd<'_>, candidates: &[BorrowedFd<'_>]) {
    let size = candidates.iter().find_map(|fd| tcgetwinsize(fd).ok());
    if let Some(size) = size.filter(|size| size.ws_row != 0 && size.ws_col != 0) {
        // A pty that has ended needs no size.
        let _ = tcsetwinsize(master.as_fd(), size);
    }
}
