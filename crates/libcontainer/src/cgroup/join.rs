// SPDX-License-Identifier: Apache-2.0
//! Into the groups of a container that runs: exec.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::Pid;

use super::record::{Group, Record};
use super::{file, freeze};
use crate::error::{Call, Error, Fault, Kind, Result};
use crate::plan::cgroup::memberships;

/// Where the new process goes.
#[derive(Debug, Default)]
pub struct Joins {
    tasks: Vec<OwnedFd>,
    into: Option<OwnedFd>,
}

impl Joins {
    /// What the child writes `0` to, while it has one thread.
    pub fn take_tasks(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.tasks)
    }

    /// For CLONE_INTO_CGROUP.
    pub fn into_cgroup(&self) -> Option<BorrowedFd<'_>> {
        self.into.as_ref().map(AsFd::as_fd)
    }
}

impl Record {
    /// The container's own groups.
    pub fn open(&self) -> Result<Joins> {
        self.open_sub(&[], false)
    }

    /// Groups below the container's own, as `exec --cgroup [CONTROLLER,…:]PATH` names them;
    /// without controllers a path goes for all hierarchies. Frozen ones only if that is asked.
    pub fn open_sub(&self, subs: &[String], frozen_too: bool) -> Result<Joins> {
        let subs: Vec<(Vec<&str>, String)> = subs.iter().map(|sub| sub_group(sub)).collect::<Result<_>>()?;
        for controller in subs.iter().flat_map(|(controllers, _)| controllers) {
            if self.v1(controller).is_none() && self.v1(&format!("name={controller}")).is_none() {
                return Err(Error::new(Kind::Config, format!("unknown controller {controller}")));
            }
        }
        let mut joins = Joins::default();
        for group in &self.groups {
            let Some(mut dir) = group.open_ours()? else {
                return Err(Error::new(
                    Kind::State,
                    format!("the container's cgroup {:?} is gone", group.dir()),
                ));
            };
            let named = |names: &[&str]| {
                names.iter().any(|name| group.has(name) || group.has(&format!("name={name}")))
            };
            let sub = subs.iter().find(|(names, _)| names.is_empty() || named(names));
            if let Some((_, sub)) = sub.filter(|(_, sub)| !sub.is_empty()) {
                dir = group.open_below(&dir, sub, frozen_too)?;
            }
            if group.is_v2() {
                joins.into = Some(dir);
            } else {
                joins.tasks.push(group.open_tasks(&dir)?);
            }
        }
        Ok(joins)
    }

    /// Where one of the container's processes is now: for a v2 container whose payload has
    /// made groups of its own, as systemd does, so that its own group takes nobody any more
    /// (clone3: EBUSY).
    pub fn open_beside(&self, pid: Pid) -> Result<Joins> {
        let mut joins = self.open()?;
        let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
        let text = file::read(rustix::fs::CWD, &path).call(|| format!("read({path:?})"))?;
        let theirs = memberships(&text).find(|(controllers, _)| controllers.is_empty());
        let (Some(group), Some((_, theirs))) = (self.v2(), theirs) else { return Ok(joins) };
        let Some(sub) = below(group, theirs) else {
            return Err(
                Fault::new(format!("pid {pid} is in {theirs:?}, outside of the container's cgroup")).into()
            );
        };
        if let (Some(dir), false) = (&joins.into, sub.is_empty()) {
            joins.into = Some(group.open_below(dir, sub, false)?);
        }
        Ok(joins)
    }
}

impl Group {
    /// A group below this one. In one that is frozen the new process would never begin.
    fn open_below(&self, dir: &OwnedFd, sub: &str, frozen_too: bool) -> Result<OwnedFd> {
        let below = file::open_dir(dir, sub).call(|| format!("open({:?})", self.file(sub)))?;
        if !frozen_too && (self.is_v2() || self.has("freezer")) {
            let group = Self { path: format!("{}/{sub}", self.path), ..self.clone() };
            if freeze::is_frozen(&group, &below)? {
                let says = format!("cannot exec in a frozen cgroup: {:?}", group.dir());
                return Err(Error::new(Kind::State, says).hint("thaw it, or use --ignore-paused"));
            }
        }
        Ok(below)
    }
}

/// The rest of a path from /proc below the container's group. Our own cgroup namespace may
/// begin further down than the mount, so the group's path may show shortened.
fn below<'a>(group: &Group, theirs: &'a str) -> Option<&'a str> {
    let rest = theirs.trim_start_matches('/').strip_prefix(group.path.as_str())?;
    match rest.strip_prefix('/') {
        Some(sub) if !sub.split('/').any(|part| part == "..") => Some(sub),
        None if rest.is_empty() => Some(""),
        _ => None,
    }
}

/// `cpu,memory:/sub` or `/sub`, relative to the container's group in either form.
fn sub_group(text: &str) -> Result<(Vec<&str>, String)> {
    let (controllers, path) = match text.split_once(':') {
        Some((controllers, path)) => (controllers.split(',').collect(), path),
        None => (Vec::new(), text),
    };
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") {
        return Err(Error::new(Kind::Config, format!("bad sub cgroup path: {path}")));
    }
    Ok((controllers, parts.join("/")))
}

impl Record {
    /// What a clone3 into the container's group failed with, in words.
    pub fn join_fault(&self, errno: Errno) -> Fault {
        let path = self.v2().map(Group::dir).unwrap_or_default();
        let fault = Fault::call(format!("clone3 into {path:?}"), errno);
        match errno {
            Errno::BUSY => {
                fault.hint("the container has limited groups of its own and its own takes no process")
            }
            Errno::OPNOTSUPP => fault.hint("that group is threaded: no process from outside can enter it"),
            Errno::NODEV => fault.hint("the container's cgroup has been removed"),
            Errno::AGAIN => fault.hint("the container has reached its pids limit"),
            _ => fault,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn sub_groups_stay_below() {
        assert_eq!(sub_group("cpu,memory:/a//b/").unwrap(), (vec!["cpu", "memory"], "a/b".to_owned()));
        assert_eq!(sub_group("/").unwrap(), (vec![], String::new()));
        assert_eq!(sub_group("../x").unwrap_err().message(), "bad sub cgroup path: ../x");
        let group = Group {
            root: "/sys/fs/cgroup".into(),
            path: "a/b".into(),
            controllers: vec![],
            made: 1,
            inode: None,
        };
        assert_eq!(below(&group, "/a/b/init.scope"), Some("init.scope"));
        assert_eq!(below(&group, "/a/b"), Some(""));
        assert_eq!(below(&group, "/a/bc"), None);
        assert_eq!(below(&group, "/a/b/../c"), None);
    }
}
