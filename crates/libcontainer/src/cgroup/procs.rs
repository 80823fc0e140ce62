// SPDX-License-Identifier: Apache-2.0
//! Who is in the container's groups, those that were made inside it included.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::{self, Errno};
use rustix::process::Pid;

use super::file;
use super::record::{Group, Record};
use crate::error::{Call, Fault};

impl Record {
    /// Every process of the container, also in nested groups. Empty where the groups are
    /// gone, or are not known to be ours.
    pub fn procs(&self) -> Result<Vec<Pid>, Fault> {
        let Some(group) = self.census() else { return Ok(Vec::new()) };
        match group.open_ours()? {
            Some(dir) => group.procs(&dir),
            None => Ok(Vec::new()),
        }
    }

    /// Whether no process is left in the container's groups.
    pub fn is_empty(&self) -> Result<bool, Fault> {
        if let Some(group) = self.v2() {
            let Some(dir) = group.open_ours()? else { return Ok(true) };
            let events = file::read(&dir, "cgroup.events");
            return match events {
                Ok(events) => Ok(file::says(&events, "populated", "0")),
                Err(Errno::NODEV | Errno::NOENT) => Ok(true),
                Err(errno) => Err(Fault::call(format!("read({:?})", group.file("cgroup.events")), errno)),
            };
        }
        Ok(self.procs()?.is_empty())
    }
}

impl Group {
    /// The processes of a group and those below it.
    pub(super) fn procs(&self, dir: &OwnedFd) -> Result<Vec<Pid>, Fault> {
        let mut pids = Vec::new();
        walk(dir.as_fd(), &mut |dir| {
            match file::read(dir, "cgroup.procs") {
                // 0 stands for a process that our pid namespace does not see.
                Ok(text) => pids.extend(text.lines().filter_map(|it| Pid::from_raw(it.parse().ok()?))),
                // Gone, or a threaded group: its domain lists the process.
                Err(Errno::NODEV | Errno::NOENT | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
            Ok(())
        })
        .call(|| format!("read({:?})", self.file("cgroup.procs")))?;
        pids.sort_unstable_by_key(|pid: &Pid| pid.as_raw_nonzero());
        pids.dedup();
        Ok(pids)
    }

    /// The same by path, for a message about who keeps the group from going.
    pub(super) fn keepers(&self) -> Vec<Pid> {
        file::open_dir(CWD, &self.dir()).ok().and_then(|dir| self.procs(&dir).ok()).unwrap_or_default()
    }
}

/// Visits a group and all below it, parents first. Two descriptors are enough for any depth:
/// a container may have nested more groups than we may open files.
pub(super) fn walk(
    dir: BorrowedFd<'_>,
    visit: &mut dyn FnMut(BorrowedFd<'_>) -> io::Result<()>,
) -> io::Result<()> {
    visit(dir)?;
    let mut here = file::open_dir(dir, ".")?;
    let mut levels = vec![children(&here)?];
    while let Some(names) = levels.last_mut() {
        if let Some(name) = names.pop() {
            match file::open_child(&here, &name) {
                Ok(child) => here = child,
                Err(Errno::NOENT | Errno::NODEV) => continue,
                Err(errno) => return Err(errno),
            }
            visit(here.as_fd())?;
            levels.push(children(&here)?);
        } else {
            levels.pop();
            if !levels.is_empty() {
                here = file::open_dir(&here, "..")?;
            }
        }
    }
    Ok(())
}

fn children(dir: &OwnedFd) -> io::Result<Vec<std::ffi::CString>> {
    match file::children(dir) {
        Err(Errno::NOENT | Errno::NODEV) => Ok(Vec::new()),
        other => other,
    }
}
