// SPDX-License-Identifier: Apache-2.0
//! Killing all that is in the container's groups, so that no fork escapes.

use std::os::fd::{AsFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::record::{Group, Record};
use super::{file, freeze};
use crate::error::{Call, Fault};
use crate::sys::signal::pidfd_send_signal;

const SIGKILL: i32 = libc::SIGKILL;

/// For how long a group without a freezer may keep giving birth.
const PATIENCE: Duration = Duration::from_secs(5);

impl Record {
    /// SIGKILL to every process of the container, nested groups included. Does nothing to a
    /// group that is not known to be ours. They are dead or dying on return, not yet gone.
    pub fn kill(&self) -> Result<(), Fault> {
        if let Some(group) = self.v2() {
            let Some(dir) = group.open_ours()? else { return Ok(()) };
            return match file::write(&dir, "cgroup.kill", "1") {
                // What a v1 freezer holds cannot even die.
                Ok(()) => self.thaw_v1(),
                Err(Errno::NODEV) => Ok(()),
                // systemd removes a scope's group as soon as nobody is left.
                Err(Errno::NOENT) if !group.is_ours()? => Ok(()),
                Err(errno) => Err(Fault::call(format!("write({:?}, 1)", group.file("cgroup.kill")), errno)),
            };
        }
        let Some(group) = self.census() else { return Ok(()) };
        let Some(dir) = group.open_ours()? else { return Ok(()) };
        by_signals(group, &dir, SIGKILL)
    }

    /// Any signal to every process of the container. One that must reach all comes with the
    /// freezer: see [`Record::kill`] for SIGKILL.
    pub fn signal(&self, signal: i32) -> Result<(), Fault> {
        let Some(group) = self.census() else { return Ok(()) };
        match group.open_ours()? {
            Some(dir) => group.signal(&dir, signal).map(drop),
            None => Ok(()),
        }
    }
}

/// v1: freeze, kill, thaw; or, without a freezer, again and again until nobody is left.
fn by_signals(group: &Group, dir: &OwnedFd, signal: i32) -> Result<(), Fault> {
    let freezer = group.has("freezer");
    let deadline = Instant::now() + PATIENCE;
    let mut pause = Duration::from_micros(50);
    loop {
        // One that cannot freeze in time is killed as it is.
        let frozen = freezer && freeze::v1(group, dir, Duration::from_secs(1)).is_ok();
        let sent = group.signal(dir, signal);
        if freezer {
            freeze::thaw_v1(group, dir)?;
        }
        if frozen || sent? == 0 {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Fault::new(format!("processes are still born in {:?}", group.dir())));
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

impl Group {
    /// Signals all members and says how many there were. The list is read again after some
    /// have been taken hold of by pidfds: a number that is on both lists is the same process.
    fn signal(&self, dir: &OwnedFd, signal: i32) -> Result<usize, Fault> {
        /// So many descriptors are always to be had.
        const HELD: usize = 200;
        let all = self.procs(dir)?;
        for some in all.chunks(HELD) {
            let hold = |pid: &Pid| Some((*pid, pidfd_open(*pid, PidfdFlags::empty()).ok()?));
            let held: Vec<(Pid, OwnedFd)> = some.iter().filter_map(hold).collect();
            let still = self.procs(dir)?;
            let is_still = |pid: Pid| {
                still.binary_search_by_key(&pid.as_raw_nonzero(), |it| it.as_raw_nonzero()).is_ok()
            };
            for (pid, pidfd) in held.iter().filter(|(pid, _)| is_still(*pid)) {
                match pidfd_send_signal(pidfd.as_fd(), signal) {
                    Ok(()) | Err(Errno::SRCH) => {}
                    Err(errno) => return Err(errno).call(|| format!("pidfd_send_signal({pid}, {signal:?})")),
                }
            }
        }
        Ok(all.len())
    }
}
