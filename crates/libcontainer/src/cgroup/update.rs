// SPDX-License-Identifier: Apache-2.0
//! Other limits for a container that runs: either all of them hold afterwards, or the former
//! ones do.
//!
//! ```text
//! look      every file is opened and read first; what says already what is wanted is left alone
//! unit      the systemd driver's properties, so that systemd writes the same at a daemon-reload
//! settle    the rest is written; what the kernel refuses for now (memory above memory + swap, a
//!           quota below its burst) is tried again after the others, until nothing moves any more
//! devices   last: `devices.rs`
//! undo      on a failure the former lines are written back, by the same rule
//! ```

mod devices;

use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::limit::{self, Target, Writer};
use super::record::Record;
use super::{file, systemd};
use crate::error::{Call, Error, Fault, Kind, Result};
use crate::plan::resources::{Limits, Write};

/// One line that is to change, and the line that brings the former state back.
struct Change<'a> {
    write: &'a Write,
    target: Target,
    former: String,
}

impl Record {
    /// Puts these limits into force, and with `devices` the device rules too.
    pub fn update(&self, limits: &Limits, devices: bool) -> Result<()> {
        let dirs = self.open_all()?;
        let changes = look(self, &dirs, limits)?;
        let mut written = Vec::new();
        let former = match self.unit() {
            Some(unit) => systemd::update(unit, limits, devices)?,
            None => Vec::new(),
        };
        let result = settle(&(0..changes.len()).collect::<Vec<_>>(), &mut written, &mut |i| {
            let Target { at, name, value } = &changes[i].target;
            put(&dirs[*at], name, value)
        });
        let result = match result {
            // systemd has written a limit that kills, and has removed the group of the dead.
            Err((_, Errno::NOENT | Errno::NODEV)) if self.unit().is_some() && self.is_gone()? => {
                tracing::warn!("the container has ended under its new limits");
                return Ok(());
            }
            Err((i, errno)) => Err(self.refused(&dirs, &changes[i], errno)),
            Ok(()) if devices => self.update_devices(limits),
            Ok(()) => Ok(()),
        };
        if let Err(error) = result {
            if let Some(unit) = self.unit() {
                systemd::restore(unit, &former);
                // systemd has written all of its own, and in its own words.
                written = (0..changes.len()).collect();
            }
            return Err(self.undo(&dirs, &changes, written, error));
        }
        match self.unit().filter(|_| devices) {
            Some(unit) => Ok(systemd::update_devices(unit, limits)?),
            None => Ok(()),
        }
    }

    /// A control file's text, of the group that has the controller; `None` where there is none.
    pub fn present(&self, controller: &str, name: &str) -> Result<Option<String>, Fault> {
        let Some(group) = limit::position(self, controller).map(|at| &self.groups[at]) else {
            return Ok(None);
        };
        let Some(dir) = group.open_ours()? else { return Ok(None) };
        match file::read(&dir, name) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(Errno::NOENT | Errno::NODEV | Errno::OPNOTSUPP) => Ok(None),
            Err(errno) => Err(Fault::call(format!("read({:?})", group.file(name)), errno)),
        }
    }

    fn is_gone(&self) -> Result<bool, Fault> {
        self.v2().map_or(Ok(true), |group| group.is_ours().map(|ours| !ours))
    }

    /// The directories of all groups, each still the one that was made for the container.
    pub(super) fn open_all(&self) -> Result<Vec<OwnedFd>> {
        let open = |group: &super::record::Group| {
            let gone =
                || Error::new(Kind::State, format!("the container's cgroup {:?} is gone", group.dir()));
            group.open_ours()?.ok_or_else(gone)
        };
        self.groups.iter().map(open).collect()
    }

    fn refused(&self, dirs: &[OwnedFd], change: &Change<'_>, errno: Errno) -> Error {
        let Target { at, name, value } = &change.target;
        let fault = limit::fault(errno, change.write, &self.groups[*at], name, value);
        let usage = file::read(&dirs[*at], "memory.usage_in_bytes").ok();
        let fault = match (errno, usage) {
            (Errno::BUSY, Some(usage)) if name.starts_with("memory.") => fault.hint(format!(
                "the container uses {} bytes, and the kernel could not free enough of them",
                usage.trim()
            )),
            _ => fault,
        };
        Error::from(fault).within(change.write.property.as_str())
    }

    /// Writes the former values back. What stays changed nevertheless is told.
    fn undo(&self, dirs: &[OwnedFd], changes: &[Change<'_>], written: Vec<usize>, error: Error) -> Error {
        let backwards: Vec<usize> = written.into_iter().rev().collect();
        let mut restored = Vec::new();
        let mut back = |i: usize| {
            let Target { at, name, .. } = &changes[i].target;
            put(&dirs[*at], name, &changes[i].former)
        };
        // One that cannot be set back does not keep the others from it.
        let mut left = backwards;
        while let Err((i, _)) = settle(&left, &mut restored, &mut back) {
            left.retain(|it| *it != i && !restored.contains(it));
            tracing::warn!("{} keeps its new value", changes[i].target.name);
            if left.is_empty() {
                break;
            }
        }
        error
    }
}

/// Finds each line's file and what it says now. What is as wanted already is not among the
/// changes: engines send everything that they know, whatever has changed.
fn look<'a>(record: &Record, dirs: &[OwnedFd], limits: &'a Limits) -> Result<Vec<Change<'a>>> {
    let mut writer = Writer::new(record, dirs, limits);
    let mut changes: Vec<Change<'a>> = Vec::new();
    for write in &limits.writes {
        let within = |fault: Fault| Error::from(fault).within(write.property.as_str());
        let Some(target) = writer.find(write).map_err(within)? else { continue };
        let Target { at, name, value } = &target;
        let text = file::read(&dirs[*at], name)
            .call(|| format!("read({:?})", record.groups[*at].file(name)))
            .map_err(|fault| {
                within(fault.hint("what cannot be read cannot be set back, should another limit fail"))
            })?;
        let key = key_of(value);
        let former = former(name, key, &text);
        // Of two lines for the same thing the last counts.
        changes.retain(|it| {
            !(it.target.at == *at
                && it.target.name == *name
                && key.is_none()
                && key_of(&it.target.value).is_none())
        });
        // systemd writes its own idea of a value, whether it differs or not: ours comes after that.
        if record.unit().is_some() || !says(&text, key, value) {
            changes.push(Change { write, target, former });
        }
    }
    drop_weight_of_idle(&mut changes, limits);
    Ok(changes)
}

/// An idle group has no weight; whoever asks for both again means what is there.
fn drop_weight_of_idle(changes: &mut Vec<Change<'_>>, limits: &Limits) {
    let stays_idle = limits.writes.iter().any(|write| write.file == "cpu.idle" && write.value == "1")
        && !changes.iter().any(|change| change.target.name == "cpu.idle");
    if stays_idle {
        changes.retain(|change| !matches!(change.target.name.as_str(), "cpu.weight" | "cpu.shares"));
    }
}

/// The first word of a line that is about one device of many: `8:0`, `mlx5_0`, `lo`.
fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.trim().split_once(' ')?;
    let plain = key == "max" || key == "default" || key.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    (!plain).then_some(key)
}

/// The line of a file that is about `key`, or the one that is about everything.
fn line_of<'a>(text: &'a str, key: Option<&str>) -> Option<&'a str> {
    let mut lines = text.lines().map(str::trim);
    match key {
        Some(key) => lines.find(|line| line.split(' ').next() == Some(key)),
        None => {
            let first = lines.clone().next().unwrap_or_default();
            Some(lines.find(|line| line.starts_with("default ")).unwrap_or(first))
        }
    }
}

/// Whether a file says already what is to be written to it.
fn says(text: &str, key: Option<&str>, value: &str) -> bool {
    let Some(line) = line_of(text, key) else { return false };
    let bare = |line: &str| line.trim().trim_start_matches("default ").to_owned();
    if bare(line) == bare(value) {
        return true;
    }
    // One of several limits of a device, or `oom_kill_disable 1` for `1`.
    match key {
        Some(_) => value.split(' ').all(|word| line.split(' ').any(|it| it == word)),
        None => line.strip_prefix("oom_kill_disable ") == Some(value),
    }
}

/// The line that brings back what a file says now.
fn former(name: &str, key: Option<&str>, text: &str) -> String {
    match (line_of(text, key), key) {
        (Some(line), None) => match line.strip_prefix("oom_kill_disable ") {
            Some(value) => value.to_owned(),
            // cpuset.cpus.partition tells why it is invalid, after the word that was written.
            None if name == "cpuset.cpus.partition" => line.split(' ').next().unwrap_or_default().to_owned(),
            None => line.to_owned(),
        },
        (Some(line), Some(_)) => line.to_owned(),
        (None, None) => String::new(),
        // Without a line of its own a device has no limit.
        (None, Some(key)) => match name {
            "io.max" => format!("{key} rbps=max wbps=max riops=max wiops=max"),
            "io.latency" => format!("{key} target=0"),
            "io.weight" | "io.bfq.weight" | "blkio.bfq.weight_device" => format!("{key} default"),
            _ if name.starts_with("blkio.") => format!("{key} 0"),
            _ => format!("{key} max"),
        },
    }
}

/// Does all of `order`, with another try for what is refused for now as long as anything else
/// still moves. Tells what is done, and the first that could not be.
fn settle(
    order: &[usize],
    done: &mut Vec<usize>,
    put: &mut dyn FnMut(usize) -> Result<(), Errno>,
) -> Result<(), (usize, Errno)> {
    let mut left = order.to_vec();
    loop {
        let (before, mut first) = (left.len(), None);
        let mut later = Vec::new();
        for &i in &left {
            match put(i) {
                Ok(()) => done.push(i),
                Err(errno @ (Errno::INVAL | Errno::BUSY | Errno::RANGE | Errno::ACCESS | Errno::PERM)) => {
                    first.get_or_insert((i, errno));
                    later.push(i);
                }
                Err(errno) => return Err((i, errno)),
            }
        }
        match first {
            None => return Ok(()),
            Some(first) if later.len() == before => return Err(first),
            Some(_) => left = later,
        }
    }
}

/// With a line's end: an empty list is a value too.
fn put(dir: &OwnedFd, name: &str, value: &str) -> Result<(), Errno> {
    file::write(dir, name, &format!("{value}\n"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
