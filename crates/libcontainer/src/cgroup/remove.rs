// SPDX-License-Identifier: Apache-2.0
//! Removing the groups: nested ones first, then the container's, then the parents that we
//! made, if nobody else uses them.
#![expect(clippy::disallowed_methods, reason = "cgroups are the host's")]

use std::ffi::CString;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, getxattr, rmdir, unlinkat};
use rustix::io::{self, Errno};

use super::record::{Driver, Group, Record};
use super::{file, freeze};
use crate::error::Fault;

/// The value of the mark on a parent that was made for a container.
pub(super) const PARENT: &[u8] = b"parent";

/// How long the last process may take to go.
const PATIENCE: Duration = Duration::from_secs(5);

impl Record {
    /// Removes all groups. What is gone already, or is not ours, is no error; a group that
    /// stays busy for five seconds is, and the error says who is in it.
    pub fn remove(&self) -> Result<(), Fault> {
        let deadline = Instant::now() + PATIENCE;
        if let Driver::Systemd(unit) = &self.driver {
            return self.stop(unit, deadline);
        }
        let mut fault = None;
        // The v2 tree first: it tells when the last process has gone.
        for group in self.groups.iter().rev() {
            if let Err(it) = group.remove(deadline) {
                fault.get_or_insert(it);
            }
        }
        fault.map_or(Ok(()), Err)
    }
}

impl Group {
    pub(super) fn remove(&self, deadline: Instant) -> Result<(), Fault> {
        if self.inode.is_some() && !self.is_ours()? {
            // Gone, or a stranger's by now.
            self.remove_parents();
            return Ok(());
        }
        let mut pause = Duration::from_micros(50);
        loop {
            match rmdir(self.dir()) {
                Ok(()) | Err(Errno::NOENT | Errno::NODEV) => break,
                Err(Errno::BUSY | Errno::NOTEMPTY) => {}
                Err(errno) => return Err(Fault::call(format!("rmdir({:?})", self.dir()), errno)),
            }
            // Of a container that never ran nothing can be nested; and as long as we do not
            // know that the group is ours, what is in it may be a stranger's.
            if self.inode.is_some() && self.remove_nested() == Ok(true) {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() && self.inode.is_some() {
                return Err(self.busy());
            } else if left.is_zero() {
                tracing::debug!("{:?} is in use, and not by this container", self.dir());
                return Ok(());
            }
            if self.is_v2()
                && let Ok(dir) = file::open_dir(CWD, &self.dir())
            {
                // Its end wakes us; whatever else keeps the group is found by trying again.
                let _ = freeze::wait_for(&dir, "populated", "0", left);
            }
            sleep(pause.min(left));
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.remove_parents();
        Ok(())
    }

    /// Removes the parents that we made, and those that an earlier container of ours made and
    /// had to leave to this one. Where others have moved in they stay.
    pub(super) fn remove_parents(&self) {
        for (i, parent) in self.parents().rev().enumerate() {
            let path = format!("{}/{parent}", self.root);
            let mut value = [0u8; 16];
            let marked = getxattr(&path, self.mark(), &mut value).is_ok_and(|n| value[..n] == *PARENT);
            let ours = i + 1 < self.made || marked;
            if !ours || !matches!(rmdir(&path), Ok(()) | Err(Errno::NOENT)) {
                break;
            }
        }
    }

    /// The extended attribute on groups that we made. Of these v1 knows only the trusted ones.
    pub(super) fn mark(&self) -> &'static str {
        if self.is_v2() { "user.soute" } else { "trusted.soute" }
    }

    /// Removes the groups that were made inside the container, the deepest first, and says
    /// whether there were any. Holds two descriptors at any depth, and lists each group once: there
    /// may be as many as the container liked.
    fn remove_nested(&self) -> io::Result<bool> {
        let mut here = file::open_dir(CWD, &self.dir())?;
        // What is yet to be removed of each group from the container's down to `here`.
        let mut levels: Vec<Vec<CString>> = vec![file::children(&here)?];
        let mut names: Vec<CString> = Vec::new();
        let mut removed = false;
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.pop() {
                match unlinkat(&here, &name, AtFlags::REMOVEDIR) {
                    Err(Errno::BUSY | Errno::NOTEMPTY) => {
                        here = file::open_child(&here, &name)?;
                        levels.push(file::children(&here)?);
                        names.push(name);
                    }
                    other => {
                        other?;
                        removed = true;
                    }
                }
                continue;
            }
            levels.pop();
            if let Some(name) = names.pop() {
                here = file::open_dir(&here, "..")?;
                unlinkat(&here, &name, AtFlags::REMOVEDIR)?;
                removed = true;
            }
        }
        Ok(removed)
    }

    fn busy(&self) -> Fault {
        let fault = Fault::call(format!("rmdir({:?})", self.dir()), Errno::BUSY);
        let keepers = self.keepers();
        if keepers.is_empty() {
            return fault.hint("no process is in it; something else holds the group");
        }
        let pids: Vec<String> = keepers.iter().take(10).map(|pid| pid.as_raw_nonzero().to_string()).collect();
        let more = if keepers.len() > pids.len() { ", …" } else { "" };
        fault.hint(format!("processes are still in it: {}{more}", pids.join(", ")))
    }
}
