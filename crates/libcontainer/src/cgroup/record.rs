// SPDX-License-Identifier: Apache-2.0
//! What state.json keeps of a container's groups. Written to disk before the first of them
//! is made, so that `delete --force` can undo whatever a killed runtime left behind.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Access, AtFlags, CWD, access, statat};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{ROOT, file, own_memberships, visible};
use crate::error::Fault;
use crate::plan::cgroup::{CgroupLayout, Hierarchy, Place, memberships};
use crate::plan::systemd::Scope;

/// Who makes the groups.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Driver {
    /// We do.
    #[default]
    Cgroupfs,
    /// systemd does, for this unit.
    Systemd(Unit),
}

/// A scope of systemd's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unit {
    /// `libpod-web1.scope`
    pub name: String,
    /// Whether it is the user's own systemd.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub user: bool,
}

/// A container's groups: one on v2, one for each hierarchy on v1; none where a container
/// runs without.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Who makes them.
    #[serde(default)]
    pub driver: Driver,
    /// The groups, the v2 tree last.
    #[serde(default)]
    pub groups: Vec<Group>,
    /// Whether the configuration names the place; then nothing else will do.
    #[serde(skip)]
    pub named: bool,
}

/// One directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Where the hierarchy is mounted: `/sys/fs/cgroup/memory`.
    pub root: String,
    /// The group from there, without a slash at either end: `pods/web1`.
    pub path: String,
    /// Those of a v1 hierarchy; none means the v2 tree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub controllers: Vec<String>,
    /// How many directories at the end of `path` we make, the group itself included.
    pub made: usize,
    /// The group's inode number, once it is made. While it is not known nothing in the
    /// group is killed or frozen: it may be a stranger's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
}

/// One entry of the directory that a v1 container sees on /sys/fs/cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    /// The directory's name there: `cpu,cpuacct`.
    pub name: String,
    /// The host directory to bind on it.
    pub source: PathBuf,
    /// Symbolic links beside it that lead to it: `cpu`, `cpuacct`.
    pub links: Vec<String>,
}

impl Record {
    /// The groups of a container at `place`: which directories there will be, and which of
    /// them are missing yet.
    pub fn new(layout: &CgroupLayout, place: &Place, named: bool) -> Result<Self, Fault> {
        let mut groups = Vec::new();
        match layout {
            CgroupLayout::None => {}
            CgroupLayout::V2 => {
                // Only a place that depends on where we are needs the look.
                let own = match place {
                    Place::FromRoot(_) => "/".to_owned(),
                    Place::FromCaller(_) => {
                        let text = own_memberships()?;
                        let mut lines = memberships(&text);
                        let own = lines.find(|(controllers, _)| controllers.is_empty());
                        own.map_or("/", |(_, own)| visible(own)).to_owned()
                    }
                };
                groups.push(Group::new(ROOT.to_owned(), Vec::new(), place, &own));
            }
            CgroupLayout::V1 { hierarchies, unified } => {
                let group = |it: &Hierarchy| {
                    Group::new(format!("{ROOT}/{}", it.dir), it.controllers.clone(), place, &it.own)
                };
                groups.extend(hierarchies.iter().map(group));
                groups.extend(unified.iter().map(group));
            }
        }
        Ok(Self { driver: Driver::Cgroupfs, groups, named })
    }

    /// The unit, and the group that it will have unless systemd runs in a group of its own.
    pub fn of_scope(scope: &Scope) -> Self {
        let own = if scope.user { user_manager(rustix::process::getuid().as_raw()) } else { String::new() };
        let path = format!("{own}{}", scope.path());
        let group = Group { root: ROOT.to_owned(), path, controllers: Vec::new(), made: 0, inode: None };
        let unit = Unit { name: scope.name.clone(), user: scope.user };
        Self { driver: Driver::Systemd(unit), groups: vec![group], named: true }
    }

    /// The unit, with the systemd driver.
    pub(super) fn unit(&self) -> Option<&Unit> {
        match &self.driver {
            Driver::Systemd(unit) => Some(unit),
            Driver::Cgroupfs => None,
        }
    }

    /// The group of the v2 tree: all there is on v2, the one without limits on hybrid hosts.
    pub(super) fn v2(&self) -> Option<&Group> {
        self.groups.iter().find(|group| group.is_v2())
    }

    /// The group with this v1 controller.
    pub(super) fn v1(&self, controller: &str) -> Option<&Group> {
        self.groups.iter().find(|group| group.has(controller))
    }

    /// The group that knows the container's processes best.
    pub(super) fn census(&self) -> Option<&Group> {
        let v1 = || self.v1("freezer").or_else(|| self.v1("pids"));
        self.v2().or_else(v1).or_else(|| self.groups.first())
    }

    /// The container's directory in its main tree, as engines and `state` show it.
    pub fn path(&self) -> Option<String> {
        self.census().map(Group::dir)
    }

    /// What a `cgroup` mount of a v1 container shows; empty on v2, where the kernel's own
    /// file system does it.
    pub fn mounts(&self) -> Vec<CgroupMount> {
        let v1 = self.groups.iter().filter(|group| !group.is_v2());
        v1.map(|group| {
            let name = group.root.rsplit('/').next().unwrap_or_default().to_owned();
            let links = match group.controllers.as_slice() {
                many @ [_, _, ..] => many.iter().filter(|it| **it != name).cloned().collect(),
                _ => Vec::new(),
            };
            CgroupMount { name, source: group.dir().into(), links }
        })
        .collect()
    }
}

impl Group {
    fn new(root: String, controllers: Vec<String>, place: &Place, own: &str) -> Self {
        let there = |path: &str| access(format!("{root}/{path}"), Access::EXISTS).is_ok();
        // In a container without a cgroup namespace our own group is the root that we see.
        let relative = matches!(place, Place::FromCaller(_));
        let own = if relative && own != "/" && !there(own.trim_matches('/')) { "/" } else { own };
        let path = place.below(own, controllers.is_empty() && root == ROOT);
        let mut made = 1;
        let mut rest = path.as_str();
        while let Some((parent, _)) = rest.rsplit_once('/') {
            if there(parent) {
                break;
            }
            made += 1;
            rest = parent;
        }
        Self { root, path, controllers, made, inode: None }
    }

    /// Whether it is in the v2 tree.
    pub fn is_v2(&self) -> bool {
        self.controllers.is_empty()
    }

    /// Whether its hierarchy has this v1 controller.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|it| it == controller)
    }

    /// The group's directory.
    pub fn dir(&self) -> String {
        format!("{}/{}", self.root, self.path)
    }

    /// A file of the group, as messages name it.
    pub(super) fn file(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.root, self.path)
    }

    /// The directories from the hierarchy's root down to the group's parent, without the
    /// root itself.
    pub(super) fn parents(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.path.match_indices('/').map(|(at, _)| &self.path[..at])
    }

    /// Whether there is any directory of this path.
    pub(super) fn exists(&self) -> bool {
        access(self.dir(), Access::EXISTS).is_ok()
    }

    /// Whether the directory is the one that was made for this container.
    pub(super) fn is_ours(&self) -> Result<bool, Fault> {
        match statat(CWD, self.dir(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(self.inode == Some(found.st_ino)),
            Err(Errno::NOENT | Errno::NODEV | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(Fault::call(format!("stat({:?})", self.dir()), errno)),
        }
    }

    /// The group's directory, if it is still the one that was made for this container.
    pub(super) fn open_ours(&self) -> Result<Option<OwnedFd>, Fault> {
        let Some(inode) = self.inode else { return Ok(None) };
        let dir = match file::open_dir(CWD, &self.dir()) {
            Ok(dir) => dir,
            Err(Errno::NOENT | Errno::NODEV | Errno::NOTDIR) => return Ok(None),
            Err(errno) => return Err(Fault::call(format!("open({:?})", self.dir()), errno)),
        };
        Ok((file::inode(&dir) == Ok(inode)).then_some(dir))
    }
}

/// Where a user's systemd has its groups.
fn user_manager(uid: u32) -> String {
    format!("user.slice/user-{uid}.slice/user@{uid}.service/")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn group(root: &str, controllers: &[&str]) -> Group {
        let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
        Group { root: root.into(), path: "a/b/c".into(), controllers, made: 2, inode: None }
    }

    #[test]
    fn a_v1_mount_has_links_for_joined_controllers() {
        let record = Record {
            groups: vec![
                group("/sys/fs/cgroup/cpu,cpuacct", &["cpu", "cpuacct"]),
                group("/sys/fs/cgroup/systemd", &["name=systemd"]),
                group("/sys/fs/cgroup/unified", &[]),
            ],
            ..Record::default()
        };
        let mounts = record.mounts();
        assert_eq!(mounts.len(), 2);
        assert_eq!(mounts[0].source, PathBuf::from("/sys/fs/cgroup/cpu,cpuacct/a/b/c"));
        assert_eq!(mounts[0].links, ["cpu", "cpuacct"]);
        assert_eq!((mounts[1].name.as_str(), mounts[1].links.len()), ("systemd", 0));
        assert_eq!(record.path().unwrap(), "/sys/fs/cgroup/unified/a/b/c");
        assert_eq!(record.groups[0].parents().collect::<Vec<_>>(), ["a", "a/b"]);
    }

    #[test]
    fn the_record_is_small_and_reads_older_forms() {
        let record = Record { groups: vec![group("/sys/fs/cgroup", &[])], ..Record::default() };
        let text = serde_json::to_string(&record).unwrap();
        let expected =
            r#"{"driver":"cgroupfs","groups":[{"root":"/sys/fs/cgroup","path":"a/b/c","made":2}]}"#;
        assert_eq!(text, expected);
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
        assert_eq!(serde_json::from_str::<Record>("{}").unwrap(), Record::default());
    }
}
