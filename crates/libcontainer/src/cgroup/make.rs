// SPDX-License-Identifier: Apache-2.0
//! Making the groups, before clone3; and what holds them until the container stands.
#![expect(clippy::disallowed_methods, reason = "cgroups are the host's")]

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, XattrFlags, getxattr, mkdir, rmdir, setxattr};
use rustix::io::Errno;
use rustix::process::Pid;

use super::limit::Writer;
use super::record::{Driver, Group, Record};
use super::remove::PARENT;
use super::{NOT_EMPTY, file, freeze, limit, ordinary_user, systemd};
use crate::error::{Error, Fault, Kind, Result};
use crate::plan::cgroup::{CGROUPS_PATH, memberships};
use crate::plan::resources::Limits;
use crate::plan::systemd::Scope;

/// Matched by callers.
const FROZEN: &str = "container's cgroup unexpectedly frozen";
const ROOTLESS: &str = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
/// What systemd marks the groups of its units with, those too that are empty for the moment.
const UNIT: [&str; 2] = ["trusted.invocation_id", "user.invocation_id"];
const APPLY: &str = "unable to apply cgroup configuration";

/// The groups of a container that is being made. Dropped without [`Made::commit`], it
/// removes them again; the container's processes must be dead by then.
#[derive(Debug)]
pub struct Made {
    record: Record,
    /// One for each group of the record.
    dirs: Vec<OwnedFd>,
    joins: Vec<OwnedFd>,
    /// The device rules, loaded and not yet in force.
    rules: Option<OwnedFd>,
    warning: Option<&'static str>,
}

impl Record {
    /// Makes the groups and writes the limits that may stand before the container's birth.
    /// All or nothing; only an ordinary user who has no right to a hierarchy, and asks for
    /// nothing in it, goes without.
    pub fn make(self, limits: &Limits) -> Result<Made> {
        let Self { driver, groups, named } = self;
        if groups.is_empty() && (limits.asked() || named) {
            let property = limits.writes.first().map_or(CGROUPS_PATH, |write| write.property.as_str());
            return Err(Error::new(Kind::Failed, "this host has no cgroups").within(property));
        }
        if let Driver::Systemd(_) = driver {
            let record = Self { driver, groups, named };
            return Ok(Made { record, dirs: Vec::new(), joins: Vec::new(), rules: None, warning: None });
        }
        let record = Self { driver, groups: Vec::with_capacity(groups.len()), named };
        let mut made = Made { record, dirs: Vec::new(), joins: Vec::new(), rules: None, warning: None };
        let (mut existing, mut without) = (Vec::new(), None);
        for mut group in groups {
            match group.make() {
                Ok(true) => made.hold(group)?,
                Ok(false) => existing.push(group),
                Err(fault) if !named && no_permission(&fault) => without = Some((group, fault)),
                Err(fault) => return Err(Error::from(fault).within(APPLY)),
            }
        }
        // Nothing that exists is touched before all of it has been looked at.
        for group in &existing {
            group.may_be_replaced()?;
        }
        for mut group in existing {
            group.replace()?;
            made.hold(group)?;
        }
        if let Some((group, fault)) = without {
            made.go_without(&group, fault, limits)?;
        }
        made.claim()?;
        made.refuse_frozen()?;
        let Made { record, dirs, joins, .. } = &mut made;
        for (group, dir) in record.groups.iter().zip(dirs.iter()) {
            if group.has("cpuset") {
                limit::fill_cpuset(group, dir, limits)?;
            }
        }
        Writer::new(record, dirs, limits).put(limits.writes.iter().filter(|write| !write.late))?;
        for (group, dir) in record.groups.iter().zip(dirs.iter()).filter(|(group, _)| !group.is_v2()) {
            joins.push(group.open_tasks(dir)?);
        }
        Ok(made)
    }
}

impl Made {
    /// What the child writes `0` to, as its first act and while it has one thread: the v1
    /// groups. In no particular order.
    pub fn take_joins(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.joins)
    }

    /// For CLONE_INTO_CGROUP: the group of the v2 tree, on hybrid hosts too.
    pub fn into_cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.dir_of(Group::is_v2)
    }

    /// The record with all that is known by now. It is worth a write to disk as soon as the
    /// container's init can do more than wait.
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the user should be told, once.
    pub fn warning(&self) -> Option<&'static str> {
        self.warning
    }

    /// With the systemd driver: the unit around init, which waits; and the limits that may stand
    /// before it goes on.
    pub fn enter(&mut self, scope: &Scope, init: Pid, limits: &Limits) -> Result<()> {
        let path = systemd::start(scope, init).map_err(|fault| Error::from(fault).within(APPLY))?;
        for mut group in std::mem::take(&mut self.record.groups) {
            group.path.clone_from(&path);
            self.hold(group)?;
        }
        Writer::new(&self.record, &self.dirs, limits).put(limits.writes.iter().filter(|write| !write.late))
    }

    /// After clone3, while init comes up: the limits that could have hindered it, and v1's device
    /// rules. Before it does anything.
    pub fn limit_late(&self, limits: &Limits) -> Result<()> {
        let mut writer = Writer::new(&self.record, &self.dirs, limits);
        writer.put(limits.writes.iter().filter(|write| write.late))?;
        limit::rule_by_lines(&mut writer, limits)
    }

    /// While init is busy with its mounts: has the kernel check and translate v2's device rules, which
    /// takes about as long.
    pub fn load_rules(&mut self, limits: &Limits) -> Result<()> {
        self.rules = limit::load(&self.record, limits)?;
        Ok(())
    }

    /// When init has made its nodes, and before the container, or a hook, runs any code of its own:
    /// v2's device rules.
    pub fn rule_devices(&mut self, limits: &Limits) -> Result<()> {
        if self.rules.is_none() {
            self.load_rules(limits)?;
        }
        match self.rules.take() {
            Some(program) => limit::rule_by_program(&Writer::new(&self.record, &self.dirs, limits), &program),
            None => Ok(()),
        }
    }

    /// Why clone3 with [`Made::into_cgroup`] failed, where the group is the reason.
    pub fn refusal(&self, errno: Errno) -> Option<Fault> {
        let dir = self.into_cgroup()?;
        let group = self.record.v2()?;
        let path = group.dir();
        match errno {
            Errno::OPNOTSUPP => {
                let kind = file::read(dir, "cgroup.type").unwrap_or_default();
                Some(Fault::call(format!("clone3 into {path:?} (cgroup.type: {})", kind.trim()), errno).hint(
                    "a group above is threaded and takes no processes; name another in linux.cgroupsPath",
                ))
            }
            Errno::BUSY => {
                Some(Fault::call(format!("clone3 into {path:?}"), errno).hint(
                    "a group with limited children takes no processes; name another in linux.cgroupsPath",
                ))
            }
            Errno::ACCESS | Errno::PERM => Some(Fault::call(format!("clone3 into {path:?}"), errno).hint(
                "to move there one needs the right to write cgroup.procs of the nearest group above \
                     both; run in a delegated group: systemd-run --user --scope -p Delegate=yes",
            )),
            _ => None,
        }
    }

    /// In the child: the groups are the parent's to remove, and their descriptors would stay
    /// open for as long as init waits.
    pub fn leave(mut self) {
        self.record = Record::default();
        self.dirs.clear();
    }

    /// The container stands: from now on its groups go by [`Record::remove`] only.
    pub fn commit(mut self) -> Record {
        std::mem::take(&mut self.record)
    }

    /// The group of the v2 tree.
    pub(super) fn v2(&self) -> Option<(&Group, BorrowedFd<'_>)> {
        self.record.v2().zip(self.into_cgroup())
    }

    fn dir_of(&self, which: impl Fn(&Group) -> bool) -> Option<BorrowedFd<'_>> {
        let at = self.record.groups.iter().position(which)?;
        self.dirs.get(at).map(AsFd::as_fd)
    }

    /// `group` cannot be made for lack of permission, perhaps others neither.
    fn go_without(&mut self, group: &Group, fault: Fault, limits: &Limits) -> Result<()> {
        let reachable = |controller: &str| match self.record.v2() {
            Some(v2) if v2.root == super::ROOT => true,
            _ => self.record.v1(controller).is_some(),
        };
        if let Some(write) = limits.writes.iter().find(|write| !reachable(&write.controller)) {
            return Err(Error::from(fault).within(ROOTLESS).within(write.property.as_str()));
        }
        if self.record.groups.is_empty() {
            self.warning = Some("no permission for cgroups: the container runs without one of its own");
        }
        tracing::debug!("no group in {:?}: {fault}", group.root);
        Ok(())
    }

    /// Takes hold of a group that has just been made.
    fn hold(&mut self, mut group: Group) -> Result<()> {
        let path = group.dir();
        let opened = file::open_dir(CWD, &path).and_then(|dir| Ok((file::inode(&dir)?, dir)));
        // What cannot be opened is still ours to remove.
        group.inode = opened.as_ref().ok().map(|(inode, _)| *inode);
        self.record.groups.push(group);
        let (_, dir) = opened
            .map_err(|errno| Error::from(Fault::call(format!("open({path:?})"), errno)).within(APPLY))?;
        self.dirs.push(dir);
        Ok(())
    }

    /// Of two containers at one path, made at the same moment, each may have found the other's
    /// group empty and put its own in its place. One mark on one group tells who stays.
    fn claim(&self) -> Result<()> {
        let Some(group) = self.record.census() else { return Ok(()) };
        let path = group.dir();
        match setxattr(&path, group.mark(), b"container", XattrFlags::CREATE) {
            Err(Errno::EXIST | Errno::NOENT) => {
                Err(refuse(format!("{NOT_EMPTY}: {path:?} belongs to another container")))
            }
            // An ordinary user may have no right to marks.
            _ => Ok(()),
        }
    }

    /// A new group is frozen when one above it is; a process born there would never run.
    fn refuse_frozen(&self) -> Result<()> {
        for (group, dir) in self.record.groups.iter().zip(&self.dirs) {
            // Nobody but us can have frozen the parents that we made, nor is there a freezer
            // in the root.
            let whole = group.made > group.parents().count();
            if !whole && (group.is_v2() || group.has("freezer")) && freeze::is_frozen(group, dir)? {
                return Err(Error::from(
                    Fault::new(format!("{FROZEN}: {:?}", group.dir()))
                        .hint("a group above it is frozen: thaw that first"),
                ));
            }
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if let Err(fault) = self.record.remove() {
            tracing::warn!("{fault}");
        }
    }
}

impl Group {
    /// Makes the directory and those above it that are missing; `false` if it exists. Parents
    /// may come and go meanwhile, with other containers.
    fn make(&mut self) -> Result<bool, Fault> {
        let path = self.dir();
        for _ in 0..100 {
            match mkdir(&path, Mode::from_raw_mode(0o755)) {
                Ok(()) => return Ok(true),
                Err(Errno::EXIST) => return Ok(false),
                Err(Errno::NOENT) if self.path.contains('/') => self.make_parents()?,
                Err(errno) => {
                    self.remove_parents();
                    return Err(mkdir_fault(&path, errno));
                }
            }
        }
        Err(mkdir_fault(&path, Errno::NOENT))
    }

    fn make_parents(&mut self) -> Result<(), Fault> {
        let depth = self.parents().count() + 1;
        let (mut made, mut fault) = (1, None);
        for (i, parent) in self.parents().enumerate() {
            let path = format!("{}/{parent}", self.root);
            match mkdir(&path, Mode::from_raw_mode(0o755)) {
                Ok(()) => {
                    made = made.max(depth - i);
                    // Without a mark, as an ordinary user on v1, only our own record knows.
                    let _ = setxattr(&path, self.mark(), PARENT, XattrFlags::empty());
                }
                // Absent again: the caller has another try.
                Err(Errno::EXIST | Errno::NOENT) => {}
                Err(errno) => {
                    fault = Some(mkdir_fault(&path, errno));
                    break;
                }
            }
        }
        self.made = self.made.max(made);
        match fault {
            None => Ok(()),
            Some(fault) => {
                self.remove_parents();
                Err(fault)
            }
        }
    }

    /// A group that exists is taken only if nobody is in it, nobody is below it, nobody has
    /// frozen it; each refusal in its own words.
    fn may_be_replaced(&self) -> Result<()> {
        let path = self.dir();
        let fault =
            |call: &str, errno| Error::from(Fault::call(format!("{call}({path:?})"), errno)).within(APPLY);
        let dir = match file::open_dir(CWD, &path) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(fault("open", errno)),
        };
        let ours = super::own_memberships()?;
        let own = memberships(&ours).find(|(controllers, _)| *controllers == self.controllers);
        if own.is_some_and(|(_, own)| format!("{own}/").starts_with(&format!("/{}/", self.path))) {
            let says = format!("{NOT_EMPTY}: {path:?} is the group of its own caller, or above it");
            return Err(refuse(says));
        }
        let pids = self.procs(&dir)?;
        if let Some(pid) = pids.first() {
            let count = pids.len();
            return Err(refuse(format!(
                "{NOT_EMPTY}: {count} process(es) in {path:?}, pid {pid} among them"
            )));
        }
        if let Some(child) = file::children(&dir).unwrap_or_default().first() {
            return Err(refuse(format!("{NOT_EMPTY}: {path:?} has a group {child:?} below it")));
        }
        if (self.is_v2() || self.has("freezer")) && freeze::is_frozen(self, &dir)? {
            return Err(Error::from(
                Fault::new(format!("{FROZEN}: {path:?}")).hint("thaw or remove it first"),
            ));
        }
        if let Some(mark) = UNIT.iter().find(|mark| getxattr(&path, **mark, &mut [0; 64]).is_ok()) {
            let says = format!("container's cgroup is not its own: {path:?} is a unit of systemd's ({mark})");
            return Err(refuse(says));
        }
        // Somebody has said so: a group is made as `domain`, or as `domain invalid` below one like that.
        let kind = file::read(dir.as_fd(), "cgroup.type").unwrap_or_default();
        if matches!(kind.trim(), "threaded" | "domain threaded") {
            let says = format!(
                "container's cgroup is not its own: {path:?} is for threads (cgroup.type: {})",
                kind.trim()
            );
            return Err(refuse(says));
        }
        Ok(())
    }

    /// Puts a group of ours in the place of an empty one, so that no former owner's limits
    /// remain.
    fn replace(&mut self) -> Result<()> {
        let path = self.dir();
        match rmdir(&path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::BUSY | Errno::NOTEMPTY) => return Err(refuse(format!("{NOT_EMPTY}: {path:?}"))),
            Err(errno) => {
                let fault = Fault::call(format!("rmdir({path:?})"), errno)
                    .hint("the group exists and is not ours: name another in linux.cgroupsPath");
                return Err(Error::from(fault).within(APPLY));
            }
        }
        match self.make()? {
            true => Ok(()),
            false => Err(refuse(format!("{NOT_EMPTY}: {path:?} belongs to another container"))),
        }
    }

    /// For joining by writing `0`. A thread that moves itself there needs no global lock, as
    /// cgroup.procs would.
    pub(super) fn open_tasks(&self, dir: &OwnedFd) -> Result<OwnedFd> {
        file::open_for_writing(dir, "tasks").map_err(|errno| {
            Error::from(Fault::call(format!("open({:?})", self.file("tasks")), errno)).within(APPLY)
        })
    }
}

fn refuse(says: String) -> Error {
    Error::from(
        Fault::new(says).hint("name a group in linux.cgroupsPath that no other process or container uses"),
    )
}

fn no_permission(fault: &Fault) -> bool {
    matches!(fault.errno, Some(Errno::ACCESS | Errno::PERM | Errno::ROFS)) && ordinary_user()
}

fn mkdir_fault(path: &str, errno: Errno) -> Fault {
    let fault = Fault::call(format!("mkdir({path:?})"), errno);
    match errno {
        Errno::ROFS => fault.hint("cgroups are read-only here, as in an unprivileged container"),
        Errno::ACCESS | Errno::PERM => {
            fault.hint("run in a delegated group: systemd-run --user --scope -p Delegate=yes")
        }
        Errno::AGAIN => fault.hint("cgroup.max.descendants or cgroup.max.depth of a group above is reached"),
        _ => fault,
    }
}
