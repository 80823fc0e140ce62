// SPDX-License-Identifier: Apache-2.0
//! `mounts`: from fstab-style words to what the mount API wants (config.md, Mounts;
//! mount_setattr(2), fsconfig(2)).
//!
//! A flag of the mount (nosuid, ro, …) is set before the mount is attached, so that no moment
//! exists in which the container's tree shows it without. A flag of the superblock (sync,
//! lazytime, …) and every unknown word go to the filesystem. For a bind the superblock is the
//! host's and stays as it is.

mod display;
mod idmap;
mod idword;
mod options;
mod overlay;

use std::path::{Path, PathBuf};

use oci_spec::runtime;

use super::annotations::{Annotations, LABEL_KINDS};
use super::namespaces::{Kind, Namespaces};
use super::problem::Problem;
use super::propagation::{Propagation, absolute};
pub use idmap::{IdMap, Ids};
pub use options::Flags;
use options::{Options, RDONLY};

/// One mount, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, in the container.
    pub target: PathBuf,
    /// On the symbolic link that stands there, not where it leads.
    pub target_itself: bool,
    /// What is mounted.
    pub what: What,
    /// Flags of the mount itself.
    pub attr: Flags,
    /// Flags of it and everything below it (`rro`, `rnosuid`, …).
    pub recursive: Flags,
    /// Changes of propagation, in this order.
    pub propagation: Vec<Propagation>,
}

/// What a mount shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A new instance of a filesystem.
    Filesystem {
        /// `proc`, `tmpfs`, `overlay`, …
        fstype: String,
        /// The word in front of it in mountinfo; a device for those that need one.
        source: String,
        /// Words without a value: superblock flags and the filesystem's own.
        flags: Vec<String>,
        /// Words with a value.
        values: Vec<(String, String)>,
        /// What the directory holds that it covers is copied into it.
        copy_up: bool,
        /// What is bound where the kernel allows no new instance.
        instead: Option<Instead>,
    },
    /// A tree of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// With everything mounted below it.
        recursive: bool,
        /// What a symbolic link as source means.
        links: Links,
        /// Other owners.
        idmap: Option<IdMap>,
        /// Who opens the source, and when.
        opener: Opener,
        /// Its place in [`super::Plan::sources`].
        index: usize,
    },
    /// The mount that stands there changes: only what is named.
    Remount {
        /// Superblock flags and the filesystem's own words.
        flags: Vec<String>,
        /// Words with a value.
        values: Vec<(String, String)>,
    },
    /// v1 and hybrid hosts: a tmpfs with a directory for each hierarchy.
    CgroupTree {
        /// The hierarchies show their root, since a new cgroup namespace puts it where the container stands.
        namespaced: bool,
    },
}

/// What a symbolic link as the source of a bind means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Links {
    /// What it leads to.
    #[default]
    Followed,
    /// `src-nofollow`: the link itself is mounted.
    Mounted,
    /// `copy-symlink`: the container gets a link of the same text.
    Copied,
}

/// What shows in place of a filesystem that a runtime within a container may not mount anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    /// The tree that the runtime itself sees.
    Tree(&'static str),
    /// The container's own group: what a cgroup namespace would show.
    OwnGroup,
}

/// Who opens a bind mount's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// The parent, before clone3, as a detached tree.
    Parent,
    /// The parent, after clone3, below init's root: the tree is then cloned in init's own mount
    /// namespace and keeps the locks that the user namespace put on the host's mounts.
    ParentBelowInit,
    /// The parent, after clone3, while it visits init's mount namespace, as a detached tree: only it
    /// may map ids, and the tree keeps the locks all the same.
    ParentInsideInit,
    /// Init, which has rights that an ordinary user's parent lacks.
    Init,
}

impl Opener {
    /// Whether the parent sends what it opened to init.
    pub fn sends(self) -> bool {
        matches!(self, Self::ParentBelowInit | Self::ParentInsideInit)
    }
}

/// What is not known from the mount itself.
pub(super) struct Setting<'a> {
    /// The container's namespaces.
    pub namespaces: &'a Namespaces,
    /// The host's /sys/fs/cgroup is one v2 tree.
    pub cgroup_v2: bool,
    /// A new user namespace; who then opens the sources.
    pub opener: Opener,
    /// What every mount of the namespace becomes first; a source opened elsewhere must follow.
    pub base: Propagation,
    /// The bundle: a relative source is relative to it.
    pub bundle: PathBuf,
    /// linux.mountLabel, with the word that it follows.
    pub label: Option<(String, String)>,
}

/// linux.mountLabel, with its word.
pub(super) fn label(linux: Option<&runtime::Linux>, annotations: &Annotations) -> Option<(String, String)> {
    let label = linux?.mount_label().as_ref().filter(|label| !label.is_empty())?;
    Some((annotations.label_kind.unwrap_or(LABEL_KINDS[0]).to_owned(), label.clone()))
}

/// Plans all mounts, in their order.
pub(super) fn plan(
    mounts: &[runtime::Mount],
    setting: &Setting<'_>,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Vec<(usize, Mount)> {
    let mut sources = 0;
    let mut planned = Vec::with_capacity(mounts.len());
    for (n, mount) in mounts.iter().enumerate() {
        let property = format!("mounts[{n}]");
        if mount.destination().as_os_str().is_empty() {
            problems.push(
                Problem::new(format!("{property}.destination"), "must not be empty")
                    .hint("give the path in the container, for example \"/data\""),
            );
            continue;
        }
        let one = One { property, mount, setting, sources: &mut sources, problems, warnings };
        planned.extend(one.plan().map(|mount| (n, mount)));
    }
    planned
}

/// One mount on its way into the plan.
struct One<'a> {
    property: String,
    mount: &'a runtime::Mount,
    setting: &'a Setting<'a>,
    sources: &'a mut usize,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<Problem>,
}

impl One<'_> {
    fn plan(mut self) -> Option<Mount> {
        let none = Vec::new();
        let words = self.mount.options().as_ref().unwrap_or(&none);
        let options = Options::parse(&self.property, words, self.problems);
        let namespaces = self.setting.namespaces;
        let idmap = idmap::plan(&self.property, self.mount, &options, namespaces, self.problems);
        let fstype = self.mount.typ().as_deref().unwrap_or("");
        let is_bind = options.bind.is_some() || fstype == "bind" || fstype == "rbind";
        self.misplaced(&options, idmap.is_some(), is_bind, fstype);
        let mut planned = Mount {
            target: absolute(self.mount.destination()),
            target_itself: options.target_itself,
            attr: options.attr,
            recursive: options.recursive,
            propagation: options.propagation,
            what: What::Remount { flags: Vec::new(), values: Vec::new() },
        };
        if options.remount {
            if !is_bind {
                planned.what = What::Remount { flags: options.supers, values: options.values };
            }
            return Some(planned);
        }
        if is_bind {
            for (n, word) in options.data {
                self.warnings.push(Problem::new(
                    format!("{}.options[{n}]", self.property),
                    format!("{word:?} means nothing to a bind mount, and is left out"),
                ));
            }
            let recursive = options.bind.unwrap_or(fstype == "rbind");
            let source = self.bind_source()?;
            if recursive && source == Path::new("/sys") && namespaces.has(Kind::User) {
                // The caller's own groups lie below, and are writable to root of the container (CVE-2023-25809).
                planned.recursive.set |= planned.attr.set & RDONLY;
            }
            self.bind(&mut planned, source, recursive, options.links, idmap);
            return Some(planned);
        }
        if fstype.is_empty() {
            self.problems.push(
                Problem::new(format!("{}.type", self.property), "must be given unless the mount is a bind")
                    .hint("name a filesystem, or add the option \"bind\" or \"rbind\""),
            );
            return None;
        }
        let own_groups = namespaces.has(Kind::Cgroup);
        if fstype == "cgroup" && !self.setting.cgroup_v2 {
            planned.what = What::CgroupTree { namespaced: own_groups };
            return Some(planned);
        }
        if matches!(fstype, "cgroup" | "cgroup2") && self.setting.cgroup_v2 && !own_groups {
            self.whole_tree(&mut planned);
            // A bind needs no right to mount it anew.
            if self.setting.opener != Opener::Parent {
                self.bind(&mut planned, PathBuf::from("/sys/fs/cgroup"), true, Links::Followed, None);
                return Some(planned);
            }
        }
        let fstype = if fstype == "cgroup" { "cgroup2" } else { fstype };
        self.unmapped(fstype);
        let mut flags = options.supers;
        // Only ext4 has a word of its own for it, and only before Linux 6.2 has it an effect there.
        match fstype {
            "ext4" => {
                flags.iter_mut().filter(|word| *word == "iversion").for_each(|w| *w = "i_version".into())
            }
            _ => flags.retain(|word| word != "iversion"),
        }
        if planned.attr.set & RDONLY != 0 && !KERNEL_OWN.contains(&fstype) {
            // A device must not be written to, not even its journal.
            flags.push("ro".into());
        }
        let mut values = options.values;
        if fstype == "overlay" {
            values = overlay::layers(values);
        }
        if let Some((key, label)) = &self.setting.label
            && !UNLABELLED.contains(&fstype)
            && !values.iter().any(|(k, _)| LABEL_KINDS.contains(&k.as_str()))
        {
            values.push((key.clone(), label.clone()));
        }
        let source = self.mount.source().as_ref().map_or(fstype, |s| s.to_str().unwrap_or(fstype));
        planned.what = What::Filesystem {
            fstype: fstype.to_owned(),
            source: source.to_owned(),
            flags,
            values,
            copy_up: options.copy_up,
            instead: self.instead(fstype),
        };
        Some(planned)
    }

    /// Words that ask for something that this mount is not.
    fn misplaced(&mut self, options: &Options, mapped: bool, is_bind: bool, fstype: &str) {
        let mut refuse = |says: &str, hint: &'static str| {
            let at = format!("{}.options", self.property);
            self.problems.push(Problem::new(at, says).hint(hint));
        };
        let from_a_source = is_bind && !options.remount;
        if mapped && !from_a_source {
            refuse("only bind mounts can map ids", "add the option \"bind\" or \"rbind\"");
        }
        if mapped && self.setting.opener == Opener::Init && self.setting.namespaces.makes(Kind::Mount) {
            refuse("mapping ids of a mount needs root", "run soute as root, or leave the mapping out");
        }
        if options.copy_up && fstype != "tmpfs" {
            refuse("\"tmpcopyup\" is for tmpfs alone", "set type to \"tmpfs\", or take the word out");
        }
        if options.links != Links::Followed && !from_a_source {
            refuse("\"copy-symlink\" and \"src-nofollow\" are for bind mounts alone", "take the word out");
        }
        if options.links == Links::Copied && options.target_itself {
            refuse("\"copy-symlink\" makes a link, so there is no link to mount on", "take one word out");
        }
    }

    /// `uid=` and `gid=` must have a meaning in a new user namespace.
    fn unmapped(&mut self, fstype: &str) {
        let namespaces = self.setting.namespaces;
        if !namespaces.makes(Kind::User) || !matches!(fstype, "tmpfs" | "devpts") {
            return;
        }
        for (n, option) in self.mount.options().iter().flatten().enumerate() {
            let (name, map, id) = match option.split_once('=') {
                Some(("uid", id)) => ("uidMappings", &namespaces.uid_map, id),
                Some(("gid", id)) => ("gidMappings", &namespaces.gid_map, id),
                _ => continue,
            };
            if !map.is_empty() && id.parse().is_ok_and(|id| Namespaces::host_id(map, id).is_none()) {
                let at = format!("{}.options[{n}]", self.property);
                let says = format!("{option:?}: no such id in linux.{name}");
                self.problems.push(Problem::new(at, says).hint("take the word out, or map the id"));
            }
        }
    }

    /// The host's whole tree shows: nobody may change it through that.
    fn whole_tree(&mut self, planned: &mut Mount) {
        if planned.attr.set & RDONLY == 0 {
            self.warnings.push(
                Problem::new(&self.property, "is read-only: it shows the cgroups of the whole host")
                    .hint("add {\"type\": \"cgroup\"} to linux.namespaces"),
            );
        }
        planned.attr.set |= RDONLY;
        planned.attr.clear &= !RDONLY;
    }

    fn instead(&self, fstype: &str) -> Option<Instead> {
        match fstype {
            // The runtime's own would show the processes of another pid namespace.
            "proc" if !self.setting.namespaces.has(Kind::Pid) => Some(Instead::Tree("/proc")),
            "sysfs" => Some(Instead::Tree("/sys")),
            "mqueue" => Some(Instead::Tree("/dev/mqueue")),
            "cgroup2" if !self.setting.cgroup_v2 => None,
            "cgroup2" if self.setting.namespaces.has(Kind::Cgroup) => Some(Instead::OwnGroup),
            "cgroup2" => Some(Instead::Tree("/sys/fs/cgroup")),
            _ => None,
        }
    }

    fn bind(
        &mut self,
        planned: &mut Mount,
        source: PathBuf,
        recursive: bool,
        links: Links,
        idmap: Option<IdMap>,
    ) {
        planned.follow(Propagation { recursive, ..self.setting.base });
        let opener = match (self.setting.opener, &idmap) {
            (Opener::Parent, _) => Opener::Parent,
            (_, Some(_)) => Opener::ParentInsideInit,
            (opener, None) => opener,
        };
        planned.what = What::Bind { source, recursive, links, idmap, opener, index: *self.sources };
        *self.sources += 1;
    }

    fn bind_source(&mut self) -> Option<PathBuf> {
        match self.mount.source() {
            Some(source) if !source.as_os_str().is_empty() => Some(self.setting.bundle.join(source)),
            _ => {
                self.problems.push(
                    Problem::new(format!("{}.source", self.property), "a bind mount needs a source")
                        .hint("give the path on the host"),
                );
                None
            }
        }
    }
}

/// Filesystems without a device, where the mount's own read-only flag says all: their superblock
/// may be shared with others, and must not be made read-only for them too.
const KERNEL_OWN: [&str; 7] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "tmpfs"];

/// Whose labels are the policy's own.
const UNLABELLED: [&str; 4] = ["proc", "sysfs", "cgroup", "cgroup2"];

impl Mount {
    /// A tree that comes from elsewhere takes the namespace's propagation before its own words apply.
    fn follow(&mut self, base: Propagation) {
        let private_next = self
            .propagation
            .first()
            .is_some_and(|p| p.flag == libc::MS_PRIVATE && (p.recursive || !base.recursive));
        if base.flag != libc::MS_SHARED && !private_next {
            self.propagation.insert(0, base);
        }
    }
}
