// SPDX-License-Identifier: Apache-2.0
//! Limits on their way into the kernel: one open for each file, one write for each line,
//! nothing read back. What cannot be set is an error that names property, file and value.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::CWD;
use rustix::io::Errno;

use super::record::{Group, Record};
use super::{file, ordinary_user};
use crate::error::{Error, Fault, Kind, Result};
use crate::plan::devices;
use crate::plan::resources::{Devices, Lacking, Limits, Write};
use crate::sys::bpf;

/// Writes the lines of a plan to the groups of a record.
pub(super) struct Writer<'a> {
    record: &'a Record,
    dirs: &'a [OwnedFd],
    limits: &'a Limits,
    /// The file of the last line: the next is often for it too.
    open: Option<(usize, String, OwnedFd)>,
    /// Whether the v2 controllers have been switched on for the group.
    enabled: bool,
}

impl<'a> Writer<'a> {
    pub(super) fn new(record: &'a Record, dirs: &'a [OwnedFd], limits: &'a Limits) -> Self {
        Self { record, dirs, limits, open: None, enabled: false }
    }

    /// Writes all, in order, up to the first that fails.
    pub(super) fn put<'w>(&mut self, writes: impl Iterator<Item = &'w Write>) -> Result<()> {
        for write in writes {
            self.line(write).map_err(|fault| Error::from(fault).within(write.property.as_str()))?;
        }
        Ok(())
    }

    fn line(&mut self, write: &Write) -> Result<(), Fault> {
        let Some(Target { at, name, value }) = self.find(write)? else { return Ok(()) };
        let result = match &self.open {
            Some((_, _, fd)) => file::put(fd, &value),
            None => Err(Errno::BADF),
        };
        result.map_err(|errno| fault(errno, write, &self.record.groups[at], &name, &value))
    }

    /// Opens the file that a line is for, and says which it is; `None` where there is no such file
    /// and the limit holds without. Switches the controller on where it is off.
    pub(super) fn find(&mut self, write: &Write) -> Result<Option<Target>, Fault> {
        let Some(at) = position(self.record, &write.controller) else {
            return Err(Fault::new(format!("this host has no controller {}", write.controller)));
        };
        let group = &self.record.groups[at];
        let (mut name, mut value) = (&write.file, &write.value);
        let mut opened = self.open(at, name);
        if opened == Err(Errno::NOENT) && group.is_v2() && !self.enabled {
            self.enabled = true;
            self.enable(at, write)?;
            opened = self.open(at, name);
        }
        if opened == Err(Errno::NOENT) {
            match &write.lacking {
                Lacking::Skip => return Ok(None),
                Lacking::Try(other, converted) => {
                    (name, value) = (other, converted);
                    opened = self.open(at, name);
                }
                Lacking::Fail => {}
            }
        }
        opened.map_err(|errno| fault(errno, write, group, name, value))?;
        Ok(Some(Target { at, name: name.clone(), value: value.clone() }))
    }

    fn open(&mut self, at: usize, name: &str) -> rustix::io::Result<()> {
        if !matches!(&self.open, Some((group, file, _)) if *group == at && file == name) {
            let fd = file::open_for_writing(&self.dirs[at], name)?;
            self.open = Some((at, name.to_owned(), fd));
        }
        Ok(())
    }

    /// Switches on the controllers of all lines for the group's parents, from the root down.
    /// Done only when a file is missing: beside other containers they mostly are on already.
    fn enable(&self, at: usize, write: &Write) -> Result<(), Fault> {
        let group = &self.record.groups[at];
        let wanted: BTreeSet<&str> =
            self.limits.writes.iter().map(|write| write.controller.as_str()).collect();
        let wanted: Vec<&str> = wanted.into_iter().filter(|name| !name.is_empty()).collect();
        let mut fault = None;
        for parent in std::iter::once("").chain(group.parents()) {
            let dir = format!("{}/{parent}", group.root);
            let dir = dir.trim_end_matches('/');
            let path = format!("{dir}/cgroup.subtree_control");
            let all: Vec<String> = wanted.iter().map(|name| format!("+{name}")).collect();
            if file::write(CWD, &path, &all.join(" ")).is_ok() {
                continue;
            }
            // All or none: so one by one, to learn which.
            for (name, plus) in wanted.iter().zip(&all) {
                let Err(errno) = file::write(CWD, &path, plus) else { continue };
                if *name == write.controller {
                    fault.get_or_insert(absent(dir, &path, plus, errno));
                }
            }
        }
        let have = file::read(&self.dirs[at], "cgroup.controllers").unwrap_or_default();
        match fault {
            // A level that refused, but has it on already, is no hindrance.
            Some(fault) if !have.split_whitespace().any(|name| name == write.controller) => Err(fault),
            _ => Ok(()),
        }
    }
}

/// Where a line goes, and what is written there.
pub(super) struct Target {
    /// The group's place in the record.
    pub at: usize,
    /// The file's name.
    pub name: String,
    /// The line.
    pub value: String,
}

/// The group of a record that a controller's files are in.
pub(super) fn position(record: &Record, controller: &str) -> Option<usize> {
    // A hybrid host's v2 tree stands beside the v1 hierarchies, which have the controllers.
    let pure_v2 = |group: &Group| group.is_v2() && !group.root.ends_with("/unified");
    record.groups.iter().position(|group| group.has(controller) || pure_v2(group))
}

/// A line that the kernel has refused, in words.
pub(super) fn fault(errno: Errno, write: &Write, group: &Group, name: &str, value: &str) -> Fault {
    let fault = Fault::call(format!("write({:?}, {value:?})", group.file(name)), errno);
    match hint(errno, write, group) {
        Some(hint) => fault.hint(hint),
        None => fault,
    }
}

/// Why a controller cannot be switched on.
fn absent(dir: &str, path: &str, plus: &str, errno: Errno) -> Fault {
    let name = &plus[1..];
    if matches!(errno, Errno::NOENT | Errno::INVAL) {
        let have = file::read(CWD, &format!("{dir}/cgroup.controllers")).unwrap_or_default();
        let have = have.split_whitespace().collect::<Vec<_>>().join(", ");
        let have = if have.is_empty() { "none".to_owned() } else { have };
        return Fault::new(format!("the controller {name} is not available in {dir} (there is {have})"))
            .hint("it is not in the kernel, or used by a v1 hierarchy, or not delegated to this group");
    }
    let fault = Fault::call(format!("write({path:?}, {plus:?})"), errno);
    match errno {
        Errno::BUSY => fault.hint(
            "that group has processes of its own; linux.cgroupsPath must name one below a group without any",
        ),
        Errno::OPNOTSUPP => fault.hint("that group is threaded: name another in linux.cgroupsPath"),
        Errno::ACCESS | Errno::PERM | Errno::ROFS => {
            fault.hint("run in a delegated group: systemd-run --user --scope -p Delegate=yes")
        }
        _ => fault,
    }
}

/// The way out, where we know it.
fn hint(errno: Errno, write: &Write, group: &Group) -> Option<&'static str> {
    match (errno, write.controller.as_str()) {
        (Errno::NOENT, "memory") if write.file.contains("sw") => {
            Some("the kernel does not count swap: boot with swapaccount=1")
        }
        (Errno::NOENT, "blkio" | "io") => Some("no I/O scheduler of this host has weights; bfq does"),
        (Errno::NOENT, _) => Some("this kernel has no such limit"),
        (Errno::BUSY, "memory") => Some("the container already uses more than that"),
        (Errno::BUSY | Errno::INVAL | Errno::ACCESS | Errno::RANGE, "cpuset") => {
            Some("the CPUs or memory nodes are not there, or not in the set of the group above")
        }
        (Errno::INVAL, "cpu") => Some("out of range, or more than the group above has"),
        (Errno::NODEV | Errno::NXIO, "blkio" | "io") => Some("there is no block device of this number"),
        (Errno::PERM, "devices") => Some("a group above does not have this device"),
        (Errno::INVAL | Errno::RANGE, _) if group.is_v2() => Some("the kernel does not take this value"),
        _ => None,
    }
}

/// v1: a new cpuset has neither CPUs nor memory, and no process can join it. It gets what
/// its parent has; so do parents that lack it. The container's own list comes with its limits.
pub(super) fn fill_cpuset(group: &Group, dir: &OwnedFd, limits: &Limits) -> Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        let fault = |errno| {
            Error::from(Fault::call(format!("write({:?})", group.file(name)), errno))
                .within("the parent's cpuset cannot be inherited")
        };
        let depth = group.parents().count() + 1;
        let inherited = inherit(dir, 1, depth, name).map_err(fault)?;
        if !limits.writes.iter().any(|write| write.file == name) {
            file::write(dir, name, &inherited).map_err(fault)?;
        }
    }
    Ok(())
}

/// The list of the group `up` levels above `dir`, which is filled first where it is empty.
fn inherit(dir: &OwnedFd, up: usize, depth: usize, name: &str) -> rustix::io::Result<String> {
    let path = format!("{}{name}", "../".repeat(up));
    let text = file::read(dir, &path)?;
    let text = text.trim();
    if !text.is_empty() || up >= depth {
        return Ok(text.to_owned());
    }
    let text = inherit(dir, up + 1, depth, name)?;
    file::write(dir, &path, &text)?;
    Ok(text)
}

/// Has the kernel check and translate the device rules, where they are a program.
pub(super) fn load(record: &Record, limits: &Limits) -> Result<Option<OwnedFd>> {
    match &limits.devices {
        Devices::Program(program) if !record.groups.is_empty() => match load_program(&program.encode()) {
            Err(fault) if unprivileged(&fault) => Ok(None),
            other => other.map(Some).map_err(|fault| Error::from(fault).within(devices::PROPERTY)),
        },
        _ => Ok(None),
    }
}

/// An ordinary user may have no right to rule devices; he cannot make any nodes either.
fn unprivileged(fault: &Fault) -> bool {
    let allowed = matches!(fault.errno, Some(Errno::PERM | Errno::ACCESS)) && ordinary_user();
    if allowed {
        tracing::debug!("no device rules: {fault}");
    }
    allowed
}

/// Puts the device rules into force where they are lines, on v1.
pub(super) fn rule_by_lines(writer: &mut Writer<'_>, limits: &Limits) -> Result<()> {
    match &limits.devices {
        // Without a group of its own, which only an ordinary user is allowed, nothing can be ruled.
        Devices::Lines(lines) if !writer.record.groups.is_empty() => {
            ruled(lines.iter().try_for_each(|line| device_line(writer, line)))
        }
        _ => Ok(()),
    }
}

/// Puts what [`load`] gave into force.
pub(super) fn rule_by_program(writer: &Writer<'_>, program: &OwnedFd) -> Result<()> {
    ruled(attach(writer, program))
}

fn ruled(result: Result<(), Fault>) -> Result<()> {
    match result {
        Err(fault) if unprivileged(&fault) => Ok(()),
        other => other.map_err(|fault| Error::from(fault).within(devices::PROPERTY)),
    }
}

/// A default device that a group above has not got cannot be given on: then the container
/// has one less, which is no danger.
fn device_line(writer: &mut Writer<'_>, write: &Write) -> Result<(), Fault> {
    match writer.line(write) {
        Err(fault) if fault.errno == Some(Errno::PERM) && write.lacking == Lacking::Skip => {
            tracing::debug!("{fault}");
            Ok(())
        }
        other => other,
    }
}

fn load_program(insns: &[u64]) -> Result<OwnedFd, Fault> {
    bpf::load_device_program(insns, None).map_err(|errno| {
        let fault = Fault::call(format!("bpf(PROG_LOAD, {} instructions)", insns.len()), errno);
        // Once more, for the verifier's own words.
        let mut log = vec![0u8; 1 << 16];
        match errno {
            Errno::INVAL | Errno::ACCESS => {
                let _ = bpf::load_device_program(insns, Some(&mut log));
                let log = String::from_utf8_lossy(&log);
                match log.trim_end_matches('\0').lines().rev().find(|line| !line.is_empty()) {
                    Some(last) => fault.hint(format!("the verifier says: {last}")),
                    None => fault,
                }
            }
            Errno::NOSYS => fault.hint("the kernel needs CONFIG_CGROUP_BPF and CONFIG_BPF_SYSCALL"),
            _ => fault,
        }
    })
}

fn attach(writer: &Writer<'_>, program: &OwnedFd) -> Result<(), Fault> {
    let v2 = writer.record.groups.iter().zip(writer.dirs).find(|(group, _)| group.is_v2());
    let Some((group, dir)) = v2 else {
        return Err(Fault::new("the container has no group in a v2 tree to attach its rules to"));
    };
    // The group is new: nothing of ours is there to be replaced.
    bpf::attach_device_program(dir.as_fd(), program.as_fd(), None).map_err(|errno| {
        let fault = Fault::call(format!("bpf(PROG_ATTACH, {:?})", group.dir()), errno);
        match errno {
            Errno::PERM => {
                fault.hint("no right to it, or a group above has a device program that allows no other")
            }
            _ => fault,
        }
    })
}

impl Record {
    /// Puts another device program into force in one step, or none, for a container that runs.
    pub(super) fn replace_program(&self, limits: &Limits) -> Result<()> {
        let missing =
            || Error::new(Kind::Failed, "the container has no cgroup for them").within(devices::PROPERTY);
        let group = self.v2().ok_or_else(missing)?;
        let dir = group.open_ours()?.ok_or_else(missing)?;
        replace_program(&dir, group, limits).map_err(|fault| Error::from(fault).within(devices::PROPERTY))
    }
}

fn replace_program(dir: &OwnedFd, group: &Group, limits: &Limits) -> Result<(), Fault> {
    let call = |what: &str, errno| Fault::call(format!("bpf({what}, {:?})", group.dir()), errno);
    let old = bpf::device_programs(dir.as_fd()).map_err(|errno| call("PROG_QUERY", errno))?;
    let Devices::Program(program) = &limits.devices else {
        return old
            .iter()
            .try_for_each(|old| bpf::detach_device_program(dir.as_fd(), old.as_fd()))
            .map_err(|errno| call("PROG_DETACH", errno));
    };
    let new = load_program(&program.encode())?;
    bpf::attach_device_program(dir.as_fd(), new.as_fd(), old.first().map(AsFd::as_fd))
        .map_err(|errno| call("PROG_ATTACH", errno))?;
    // More than one is nothing that we make; all must agree, so the others would still hold.
    old.iter()
        .skip(1)
        .try_for_each(|old| bpf::detach_device_program(dir.as_fd(), old.as_fd()))
        .map_err(|errno| call("PROG_DETACH", errno))
}
