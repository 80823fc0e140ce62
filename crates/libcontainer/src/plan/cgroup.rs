// SPDX-License-Identifier: Apache-2.0
//! Where a container's groups lie: the kinds of cgroup host, and `linux.cgroupsPath`.
//!
//! Plain data and path work; the effects in `cgroup` fill a [`CgroupLayout`] from the running
//! system and makes the directories.

use std::path::{Component, Path};

use oci_spec::runtime::Spec;

use super::namespaces::{Kind, Namespaces, Range};
use super::problem::Problem;

/// The property that names the group.
pub const CGROUPS_PATH: &str = "linux.cgroupsPath";

/// What is mounted on /sys/fs/cgroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupLayout {
    /// One tree with all controllers.
    V2,
    /// A directory for each v1 hierarchy; on a hybrid host the v2 tree stands among them,
    /// mostly without controllers.
    V1 {
        /// Those that are mounted, in the order of /proc/self/cgroup.
        hierarchies: Vec<Hierarchy>,
        /// The hybrid host's v2 tree.
        unified: Option<Hierarchy>,
    },
    /// No cgroup file system, or one that we may not see.
    #[default]
    None,
}

/// One v1 hierarchy, or a hybrid host's v2 tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Its directory below /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `systemd`.
    pub dir: String,
    /// `["cpu", "cpuacct"]`; `["name=systemd"]` for a named one; none for the v2 tree.
    pub controllers: Vec<String>,
    /// The group that we ourselves are in, from the hierarchy's root: `/user.slice`.
    pub own: String,
}

impl CgroupLayout {
    /// Whether limits of a v1 controller can be written on this host. On v2 that shows
    /// only in the tree itself.
    pub fn has_v1(&self, controller: &str) -> bool {
        match self {
            Self::V1 { hierarchies, .. } => {
                hierarchies.iter().any(|h| h.controllers.iter().any(|c| c == controller))
            }
            Self::V2 | Self::None => false,
        }
    }
}

/// The lines of /proc/self/cgroup: the controllers of each hierarchy and our path in it.
/// The v2 line (`0::/`) has no controllers.
pub fn memberships(text: &str) -> impl Iterator<Item = (Vec<String>, &str)> {
    text.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        let names = controllers.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        Some((names, path))
    })
}

/// To whom a container's v2 group is delegated: the user of the host that its process is, where it has
/// a cgroup namespace of its own and mounts that to write (config-linux.md, "Cgroup ownership").
/// Root needs no delegation; who somebody is in a namespace that is joined is not ours to tell.
pub fn owner(spec: &Spec, namespaces: &Namespaces) -> Option<u32> {
    if !namespaces.makes(Kind::Cgroup) || namespaces.joins(Kind::User) {
        return None;
    }
    let writable = spec.mounts().iter().flatten().any(|mount| {
        let kind = mount.typ().as_deref().unwrap_or_default();
        let mut words = mount.options().iter().flatten().rev();
        let last = words.find(|word| matches!(word.as_str(), "ro" | "rro" | "rw"));
        matches!(kind, "cgroup" | "cgroup2") && last.is_none_or(|word| word == "rw")
    });
    let user = spec.process().as_ref().map_or(0, |process| process.user().uid());
    let owner = if namespaces.makes(Kind::User) {
        let of = |range: &Range| range.host.checked_add(user.checked_sub(range.container)?);
        let range = namespaces
            .uid_map
            .iter()
            .find(|range| user.checked_sub(range.container).is_some_and(|offset| offset < range.size));
        range.and_then(of)?
    } else {
        user
    };
    (writable && owner != 0).then_some(owner)
}

/// The container's group as the configuration names it, cleaned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// From the root of each hierarchy.
    FromRoot(String),
    /// From where the caller is: below its own group on v1, beside it on v2, where a group
    /// with processes can have no limited children.
    FromCaller(String),
}

impl Place {
    /// Reads `linux.cgroupsPath`; without one the group is `soute-ID`, so that no id can
    /// hit a group of another's (there may be a container of the name `system.slice`).
    pub fn new(cgroups_path: Option<&Path>, id: &str) -> Result<Self, Problem> {
        let path = match cgroups_path {
            Some(path) if !path.as_os_str().is_empty() => path,
            _ => return Ok(Self::FromCaller(format!("soute-{id}"))),
        };
        let problem = |says: String| Problem::new(CGROUPS_PATH, says);
        let Some(text) = path.to_str().filter(|text| !text.contains(['\0', '\n'])) else {
            return Err(problem(format!("{path:?} cannot be the name of a cgroup")));
        };
        let mut clean = Vec::new();
        for component in path.components() {
            match component {
                Component::Normal(name) => clean.extend(name.to_str()),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(problem(format!("{text:?} has a \"..\" in it"))
                        .hint("name the group from the root of the hierarchy, as in /engine/web1"));
                }
            }
        }
        if clean.is_empty() {
            return Err(problem(format!("{text:?} names a group that is not the container's own"))
                .hint("name a group that does not exist yet, as in /engine/web1"));
        }
        let clean = clean.join("/");
        Ok(if path.is_absolute() { Self::FromRoot(clean) } else { Self::FromCaller(clean) })
    }

    /// The path from the hierarchy's root, without a slash at either end, for a caller that
    /// is in `own`.
    pub fn below(&self, own: &str, v2: bool) -> String {
        match self {
            Self::FromRoot(path) => path.clone(),
            Self::FromCaller(path) => {
                let own = own.trim_matches('/');
                let base = match own.rsplit_once('/') {
                    Some((parent, _)) if v2 => parent,
                    None if v2 => "",
                    _ => own,
                };
                if base.is_empty() { path.clone() } else { format!("{base}/{path}") }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn place(path: &str) -> Result<Place, String> {
        Place::new(Some(Path::new(path)), "web1").map_err(|problem| problem.to_string())
    }

    #[test]
    fn reads_proc_self_cgroup() {
        let text = "5:cpu,cpuacct:/a:b\n1:name=systemd:/user.slice\n0::/init.scope\n";
        let all: Vec<_> = memberships(text).collect();
        assert_eq!(all[0], (vec!["cpu".to_owned(), "cpuacct".to_owned()], "/a:b"));
        assert_eq!(all[1], (vec!["name=systemd".to_owned()], "/user.slice"));
        assert_eq!(all[2], (Vec::new(), "/init.scope"));
    }

    #[test]
    fn a_writable_group_is_the_processes_users() {
        let range = Range { container: 0, host: 100_000, size: 65_536 };
        let own =
            Namespaces { new: vec![Kind::Cgroup, Kind::User], uid_map: vec![range], ..Namespaces::default() };
        let spec = |uid: u32, options: &[&str]| -> Spec {
            serde_json::from_value(serde_json::json!({
                "ociVersion": "1.3.0",
                "process": { "cwd": "/", "user": { "uid": uid, "gid": 0 } },
                "mounts": [{ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": options }],
            }))
            .unwrap()
        };
        assert_eq!(owner(&spec(0, &["nosuid"]), &own), Some(100_000));
        assert_eq!(owner(&spec(7, &["ro", "rw"]), &own), Some(100_007));
        assert_eq!(owner(&spec(7, &["rw", "ro"]), &own), None);
        assert_eq!(owner(&spec(65_536, &[]), &own), None);
        assert_eq!(owner(&Spec::default(), &own), None);
        let root = Namespaces { new: vec![Kind::Cgroup], ..Namespaces::default() };
        assert_eq!(owner(&spec(0, &[]), &root), None);
        assert_eq!(owner(&spec(7, &[]), &root), Some(7));
        assert_eq!(owner(&spec(7, &[]), &Namespaces::default()), None);
        let joined = Namespaces { joined: vec![(Kind::User, "/x".into(), 0)], ..root };
        assert_eq!(owner(&spec(7, &[]), &joined), None);
    }

    #[test]
    fn absent_and_empty_paths_name_a_group_by_id() {
        let expected = Place::FromCaller("soute-web1".into());
        assert_eq!(Place::new(None, "web1"), Ok(expected.clone()));
        assert_eq!(place(""), Ok(expected));
    }

    #[test]
    fn cleans_paths_and_refuses_escapes_and_the_root() {
        assert_eq!(place("//docker//web1/"), Ok(Place::FromRoot("docker/web1".into())));
        assert_eq!(place("./pods/web1"), Ok(Place::FromCaller("pods/web1".into())));
        let escape = "linux.cgroupsPath: \"/../../tmp/x\" has a \"..\" in it";
        assert_eq!(place("/../../tmp/x"), Err(escape.into()));
        for root in ["/", "//", ".", "/./"] {
            assert!(place(root).unwrap_err().contains("not the container's own"), "{root}");
        }
        assert!(place("a\nb").is_err());
    }

    #[test]
    fn relative_paths_start_below_us_on_v1_and_beside_us_on_v2() {
        let place = place("web1").unwrap();
        assert_eq!(place.below("/", false), "web1");
        assert_eq!(place.below("/a/b", false), "a/b/web1");
        assert_eq!(place.below("/a/b", true), "a/web1");
        assert_eq!(place.below("/a", true), "web1");
        assert_eq!(place.below("/", true), "web1");
        assert_eq!(Place::FromRoot("x/y".into()).below("/a/b", false), "x/y");
    }
}
