// SPDX-License-Identifier: Apache-2.0
//! Freezing: all processes of the container stop, and go on from there.
//!
//! The v2 tree's freezer is preferred where there is one, also on hybrid hosts: what it has
//! frozen can still be killed. A v1 freezer holds even SIGKILL back until the thaw.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, openat};
use rustix::io::{Errno, read};

use super::file;
use super::record::{Group, Record};
use crate::error::{Call, Fault};

/// A process in the middle of a slow read cannot freeze at once.
const PATIENCE: Duration = Duration::from_secs(10);

impl Record {
    /// Stops all processes and waits until they stand. After ten seconds they go on again,
    /// and that is an error.
    pub fn freeze(&self) -> Result<(), Fault> {
        let (group, dir) = self.freezable()?;
        if group.is_v2() { v2(group, &dir, PATIENCE) } else { v1(group, &dir, PATIENCE) }
    }

    /// Lets them go on, whichever freezer has stopped them.
    pub fn thaw(&self) -> Result<(), Fault> {
        let (group, dir) = self.freezable()?;
        if !group.is_v2() {
            return thaw_v1(group, &dir);
        }
        file::write(&dir, "cgroup.freeze", "0")
            .call(|| format!("write({:?}, 0)", group.file("cgroup.freeze")))?;
        self.thaw_v1()?;
        // The processes leave one by one; a group above may keep them.
        let _ = wait_for(&dir, "frozen", "0", Duration::from_secs(1));
        Ok(())
    }

    /// The hybrid host's other freezer.
    pub(super) fn thaw_v1(&self) -> Result<(), Fault> {
        match self.v1("freezer").map(|group| (group, group.open_ours())) {
            Some((group, Ok(Some(dir)))) => thaw_v1(group, &dir),
            _ => Ok(()),
        }
    }

    /// Whether the container is frozen, or about to be, by us or by a group above it.
    pub fn is_frozen(&self) -> Result<bool, Fault> {
        for group in self.groups.iter().filter(|group| group.is_v2() || group.has("freezer")) {
            if let Some(dir) = group.open_ours()?
                && is_frozen(group, &dir)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The directory of the group that [`Record::freeze`] freezes.
    pub fn freezer(&self) -> Option<String> {
        self.v2().or_else(|| self.v1("freezer")).map(Group::dir)
    }

    fn freezable(&self) -> Result<(&Group, OwnedFd), Fault> {
        let group = self.v2().or_else(|| self.v1("freezer"));
        let group = group.ok_or_else(|| Fault::new("the container has no cgroup that can freeze"))?;
        match group.open_ours()? {
            Some(dir) => Ok((group, dir)),
            None => Err(Fault::new(format!("the container's cgroup {:?} is gone", group.dir()))),
        }
    }
}

/// Whether a group is frozen, freezing, or below one that is.
pub(super) fn is_frozen(group: &Group, dir: &OwnedFd) -> Result<bool, Fault> {
    let look = |name: &str| match file::read(dir, name) {
        Ok(text) => Ok(text),
        Err(Errno::NODEV | Errno::NOENT) => Ok(String::new()),
        Err(errno) => Err(Fault::call(format!("read({:?})", group.file(name)), errno)),
    };
    if group.is_v2() {
        return Ok(look("cgroup.freeze")?.trim() == "1" || file::says(&look("cgroup.events")?, "frozen", "1"));
    }
    // FREEZING and FROZEN; a thawed group below a frozen one says FROZEN as well.
    Ok(look("freezer.state")?.starts_with("FR"))
}

fn v2(group: &Group, dir: &OwnedFd, patience: Duration) -> Result<(), Fault> {
    let name = "cgroup.freeze";
    file::write(dir, name, "1").call(|| format!("write({:?}, 1)", group.file(name)))?;
    let frozen = wait_for(dir, "frozen", "1", patience);
    if frozen == Ok(true) {
        return Ok(());
    }
    // Half frozen is worse than either.
    file::write(dir, name, "0").call(|| format!("write({:?}, 0)", group.file(name)))?;
    frozen.call(|| format!("poll({:?})", group.file("cgroup.events")))?;
    Err(too_slow())
}

/// Freezes by the v1 freezer, within the given time.
pub(super) fn v1(group: &Group, dir: &OwnedFd, patience: Duration) -> Result<(), Fault> {
    let name = "freezer.state";
    let deadline = Instant::now() + patience;
    let mut pause = Duration::from_micros(50);
    loop {
        // Again each time: the kernel looks at new members only when it is asked.
        file::write(dir, name, "FROZEN").call(|| format!("write({:?}, FROZEN)", group.file(name)))?;
        let state = file::read(dir, name).call(|| format!("read({:?})", group.file(name)))?;
        if state.trim() == "FROZEN" {
            return Ok(());
        }
        if Instant::now() > deadline {
            thaw_v1(group, dir)?;
            return Err(too_slow());
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

/// Thaws what the v1 freezer holds.
pub(super) fn thaw_v1(group: &Group, dir: &OwnedFd) -> Result<(), Fault> {
    let name = "freezer.state";
    file::write(dir, name, "THAWED").call(|| format!("write({:?}, THAWED)", group.file(name)))
}

fn too_slow() -> Fault {
    Fault::new("the container does not freeze")
        .hint("one of its processes is in a kernel call that cannot be interrupted, perhaps on a slow disk or network; try again")
}

/// Waits until a v2 group's cgroup.events says `key value`; `false` when the time is over.
pub(super) fn wait_for(
    dir: impl std::os::fd::AsFd,
    key: &str,
    value: &str,
    patience: Duration,
) -> rustix::io::Result<bool> {
    let events = openat(dir, "cgroup.events", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let deadline = Instant::now() + patience;
    loop {
        if file::says(&reread(&events)?, key, value) {
            return Ok(true);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        let Ok(timeout) = Timespec::try_from(left) else { return Ok(false) };
        if left.is_zero() {
            return Ok(false);
        }
        match poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn reread(events: &OwnedFd) -> rustix::io::Result<String> {
    let events: BorrowedFd<'_> = std::os::fd::AsFd::as_fd(events);
    rustix::fs::seek(events, rustix::fs::SeekFrom::Start(0))?;
    let mut buffer = [0u8; 256];
    let n = read(events, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..n]).into_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fake;
    use super::*;

    #[test]
    fn what_does_not_freeze_in_time_is_thawed() {
        let tree = fake::Tree::new(&[("cgroup.freeze", "0"), ("cgroup.events", "populated 1\nfrozen 0\n")]);
        let group = tree.group(&[]);
        let fault = v2(&group, &tree.open(), Duration::from_millis(30)).unwrap_err();
        assert!(fault.says.contains("does not freeze"), "{fault}");
        assert_eq!(tree.read("cgroup.freeze"), "0");

        // v1: FREEZING for ever, as the file here would say THAWED for ever.
        let tree = fake::Tree::new(&[("freezer.state", "THAWED")]);
        let group = tree.group(&["freezer"]);
        // The fake file keeps what was written last, so that it "freezes" at once.
        v1(&group, &tree.open(), Duration::from_millis(30)).unwrap();
        assert_eq!(tree.read("freezer.state"), "FROZEN");
        thaw_v1(&group, &tree.open()).unwrap();
        assert_eq!(tree.read("freezer.state"), "THAWED");
    }

    #[test]
    fn what_cannot_be_asked_is_thawed() {
        let tree = fake::Tree::new(&[("cgroup.freeze", "0")]);
        let group = tree.group(&[]);
        assert!(v2(&group, &tree.open(), Duration::from_millis(30)).is_err());
        assert_eq!(tree.read("cgroup.freeze"), "0");
    }
}
