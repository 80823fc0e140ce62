// SPDX-License-Identifier: Apache-2.0
//! What happens to a container's groups, as it happens: one poll(2) over their files.
//!
//! On v2, and for pids also on v1, the kernel wakes whoever polls an `*.events` file for
//! POLLPRI. v1's OOM killer has an eventfd of its own. How often something has happened is in the
//! files, so what is told is the difference to the last look; a wake-up says only when to look.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::fs::{Mode, OFlags, SeekFrom, openat, seek};
use rustix::io::{Errno, read};

use super::file;
use super::record::{Group, Record};
use crate::error::{Call, Fault};

/// Something that has happened to the container, or has been done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happening {
    /// No memory was left, and the kernel has killed a process or is about to.
    Oom,
    /// v2: memory.high was reached, and processes are being slowed down.
    MemoryHigh,
    /// A process could not be made: the limit was reached.
    PidsMax,
    /// All processes stand still.
    Frozen,
    /// They go on.
    Thawed,
}

/// The open files of a container's groups.
#[derive(Debug)]
pub struct Watch {
    counters: Vec<Counters>,
    oom: Option<OomEvents>,
}

/// A file of "key value" lines, and what it said at the last look.
#[derive(Debug)]
struct Counters {
    file: OwnedFd,
    keys: &'static [(&'static str, Happening)],
    said: Vec<u64>,
}

/// v1: the eventfd that memory.oom_control was registered with, for as long as both are open.
#[derive(Debug)]
struct OomEvents {
    count: OwnedFd,
    control: OwnedFd,
}

const MEMORY: &[(&str, Happening)] =
    &[("oom", Happening::Oom), ("oom_kill", Happening::Oom), ("high", Happening::MemoryHigh)];
const PIDS: &[(&str, Happening)] = &[("max", Happening::PidsMax)];
const FREEZER: &[(&str, Happening)] = &[("frozen", Happening::Frozen)];

impl Record {
    /// Begins to watch. What happened before is not told.
    pub fn watch(&self) -> Result<Watch, Fault> {
        let mut watch = Watch { counters: Vec::new(), oom: None };
        for group in &self.groups {
            let gone = || Fault::new(format!("the container's cgroup {:?} is gone", group.dir()));
            let dir = group.open_ours()?.ok_or_else(gone)?;
            for (name, keys, wanted) in [
                ("memory.events", MEMORY, group.is_v2()),
                ("pids.events", PIDS, group.is_v2() || group.has("pids")),
                ("cgroup.events", FREEZER, group.is_v2()),
            ] {
                if wanted {
                    watch.counters.extend(Counters::open(group, &dir, name, keys)?);
                }
            }
            if group.has("memory") {
                watch.oom = Some(OomEvents::register(group, &dir)?);
            }
        }
        Ok(watch)
    }
}

impl Watch {
    /// What poll(2) is to wait for.
    pub fn wait_for(&self) -> impl Iterator<Item = PollFd<'_>> {
        let oom = self.oom.iter().map(|oom| PollFd::new(&oom.count, PollFlags::IN));
        self.counters.iter().map(|it| PollFd::new(&it.file, PollFlags::PRI)).chain(oom)
    }

    /// What has happened since the last look, each kind once.
    pub fn news(&mut self) -> Result<Vec<Happening>, Fault> {
        let mut news = Vec::new();
        if self.oom.as_ref().is_some_and(OomEvents::happened) {
            news.push(Happening::Oom);
        }
        for counters in &mut self.counters {
            counters.news(&mut news).call(|| "read(the container's event files)")?;
        }
        Ok(news)
    }
}

impl Counters {
    /// `None` where the kernel, or the group, has no such file.
    fn open(
        group: &Group,
        dir: &OwnedFd,
        name: &str,
        keys: &'static [(&'static str, Happening)],
    ) -> Result<Option<Self>, Fault> {
        let call = || format!("read({:?})", group.file(name));
        let file = match openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(Fault::call(call(), errno)),
        };
        let said = values(file.as_fd(), keys).call(call)?;
        Ok(Some(Self { file, keys, said }))
    }

    fn news(&mut self, news: &mut Vec<Happening>) -> rustix::io::Result<()> {
        let now = match values(self.file.as_fd(), self.keys) {
            // The group is gone; the container's end is told by its process.
            Err(Errno::NODEV) => return Ok(()),
            other => other?,
        };
        for (i, (_, what)) in self.keys.iter().enumerate() {
            let what = match (*what, now[i] > self.said[i], now[i] < self.said[i]) {
                (Happening::Frozen, false, true) => Happening::Thawed,
                (what, true, _) => what,
                _ => continue,
            };
            if !news.contains(&what) {
                news.push(what);
            }
        }
        self.said = now;
        Ok(())
    }
}

/// The numbers after these keys. To read is also what makes the next poll wait.
fn values(file: BorrowedFd<'_>, keys: &[(&str, Happening)]) -> rustix::io::Result<Vec<u64>> {
    seek(file, SeekFrom::Start(0))?;
    let mut buffer = [0u8; 512];
    let n = read(file, &mut buffer)?;
    let text = String::from_utf8_lossy(&buffer[..n]);
    let value = |key: &str| {
        text.lines().find_map(|line| line.split_once(' ').filter(|(k, _)| *k == key)?.1.parse().ok())
    };
    Ok(keys.iter().map(|(key, _)| value(key).unwrap_or(0)).collect())
}

impl OomEvents {
    /// cgroup-v1/memory.rst, 9: both descriptors go into the group's cgroup.event_control.
    fn register(group: &Group, dir: &OwnedFd) -> Result<Self, Fault> {
        let name = "memory.oom_control";
        let control = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
            .call(|| format!("open({:?})", group.file(name)))?;
        let count = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).call(|| "eventfd")?;
        let line = format!("{} {}", count.as_raw_fd(), control.as_raw_fd());
        file::write(dir, "cgroup.event_control", &line)
            .call(|| format!("write({:?})", group.file("cgroup.event_control")))?;
        Ok(Self { count, control })
    }

    /// Whether it has counted. The removal of the group counts too, and is none.
    fn happened(&self) -> bool {
        let counted = read(&self.count, &mut [0u8; 8]).is_ok();
        counted
            && seek(&self.control, SeekFrom::Start(0)).is_ok()
            && read(&self.control, &mut [0u8; 1]).is_ok()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::fake;
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let tree = fake::Tree::new(&[
            ("memory.events", "low 0\nhigh 3\nmax 0\noom 1\noom_kill 1\n"),
            ("pids.events", "max 7\n"),
            ("cgroup.events", "populated 1\nfrozen 0\n"),
        ]);
        let record = Record { groups: vec![tree.group(&[])], ..Record::default() };
        let mut watch = record.watch().unwrap();
        assert_eq!(watch.wait_for().count(), 3);
        assert_eq!(watch.news().unwrap(), []);
        tree.write("memory.events", "low 0\nhigh 4\nmax 0\noom 2\noom_kill 2\n");
        tree.write("cgroup.events", "populated 1\nfrozen 1\n");
        assert_eq!(watch.news().unwrap(), [Happening::Oom, Happening::MemoryHigh, Happening::Frozen]);
        tree.write("pids.events", "max 8\n");
        tree.write("cgroup.events", "populated 1\nfrozen 0\n");
        assert_eq!(watch.news().unwrap(), [Happening::PidsMax, Happening::Thawed]);
        assert_eq!(watch.news().unwrap(), []);
    }
}
