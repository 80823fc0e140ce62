// SPDX-License-Identifier: Apache-2.0
//! `mounts`: from fstab-style words to what the mount API wants (config.md, Mounts;
//! mount_setattr(2), fsconfig(2)).
//!
//! A flag of the mount (nosuid, ro, …) is set before the mount is attached, so that no moment
//! exists in which the container's tree shows it without. A flag of the superblock (sync,
//! lazytime, …) and every unknown word go to the filesystem. For a bind the superblock is the
//! host's and stays as it is.

use std::fmt;
use std::path::{Path, PathBuf};

use linux_raw_sys::general as raw;
use oci_spec::runtime;

use super::problem::Problem;
use super::propagation::{Propagation, absolute};

/// One mount, ready to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where, in the container.
    pub target: PathBuf,
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
    },
    /// A tree of the host.
    Bind {
        /// On the host.
        source: PathBuf,
        /// With everything mounted below it.
        recursive: bool,
        /// Who opens the source, and when.
        opener: Opener,
        /// Its place in [`super::Plan::sources`].
        index: usize,
    },
    /// v1 and hybrid hosts: a tmpfs with a directory for each hierarchy.
    CgroupTree {
        /// The hierarchies show their root, since a new cgroup namespace puts it where the container stands.
        namespaced: bool,
    },
}

/// Who opens a bind mount's source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opener {
    /// The parent, before clone3, as a detached tree.
    Parent,
    /// The parent, after clone3, below init's root: the tree is then cloned in init's own mount
    /// namespace and keeps the locks that the user namespace put on the host's mounts.
    ParentBelowInit,
    /// Init, which has rights that an ordinary user's parent lacks.
    Init,
}

/// `MOUNT_ATTR_*` bits to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// To set.
    pub set: u64,
    /// To clear.
    pub clear: u64,
}

impl Flags {
    /// Whether there is nothing to change.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Later words win over earlier ones.
    fn add(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = (self.clear | clear) & !set;
        // The kernel wants the whole mode cleared before another is set; relatime is the mode 0.
        if clear & ATIME != 0 {
            self.clear |= ATIME;
        }
    }
}

const RDONLY: u64 = raw::MOUNT_ATTR_RDONLY as u64;
const NOSUID: u64 = raw::MOUNT_ATTR_NOSUID as u64;
const NODEV: u64 = raw::MOUNT_ATTR_NODEV as u64;
const NOEXEC: u64 = raw::MOUNT_ATTR_NOEXEC as u64;
const NOATIME: u64 = raw::MOUNT_ATTR_NOATIME as u64;
const STRICTATIME: u64 = raw::MOUNT_ATTR_STRICTATIME as u64;
const NODIRATIME: u64 = raw::MOUNT_ATTR_NODIRATIME as u64;
const NOSYMFOLLOW: u64 = raw::MOUNT_ATTR_NOSYMFOLLOW as u64;
const ATIME: u64 = raw::MOUNT_ATTR__ATIME as u64;

/// What one option word means.
enum Word {
    /// Bits to set and to clear on the mount; with an `r` before the name on all below it as well.
    Attr(u64, u64),
    /// A superblock flag: passed on to the filesystem, meaningless for a bind.
    Super,
    /// A superblock flag's default: nothing is to be done.
    Nothing,
    Propagation(u64, bool),
    Bind(bool),
}

/// The option words of config.md that are not data of the filesystem.
fn word(option: &str) -> Option<Word> {
    use Word::{Attr, Nothing, Super};
    Some(match option {
        "defaults" | "async" | "nomand" | "loud" | "noiversion" | "nolazytime" => Nothing,
        "sync" | "dirsync" | "mand" | "silent" | "iversion" | "lazytime" => Super,
        "ro" => Attr(RDONLY, 0),
        "rw" => Attr(0, RDONLY),
        "nosuid" => Attr(NOSUID, 0),
        "suid" => Attr(0, NOSUID),
        "nodev" => Attr(NODEV, 0),
        "dev" => Attr(0, NODEV),
        "noexec" => Attr(NOEXEC, 0),
        "exec" => Attr(0, NOEXEC),
        "noatime" => Attr(NOATIME, ATIME),
        "strictatime" => Attr(STRICTATIME, ATIME),
        // Without noatime, without strictatime, the kernel's default: relatime.
        "atime" | "relatime" | "norelatime" | "nostrictatime" => Attr(0, ATIME),
        "nodiratime" => Attr(NODIRATIME, 0),
        "diratime" => Attr(0, NODIRATIME),
        "nosymfollow" => Attr(NOSYMFOLLOW, 0),
        "symfollow" => Attr(0, NOSYMFOLLOW),
        "bind" => Word::Bind(false),
        "rbind" => Word::Bind(true),
        "shared" => Word::Propagation(libc::MS_SHARED, false),
        "rshared" => Word::Propagation(libc::MS_SHARED, true),
        "slave" => Word::Propagation(libc::MS_SLAVE, false),
        "rslave" => Word::Propagation(libc::MS_SLAVE, true),
        "private" => Word::Propagation(libc::MS_PRIVATE, false),
        "rprivate" => Word::Propagation(libc::MS_PRIVATE, true),
        "unbindable" => Word::Propagation(libc::MS_UNBINDABLE, false),
        "runbindable" => Word::Propagation(libc::MS_UNBINDABLE, true),
        _ => return None,
    })
}

/// What is not known from the mount itself.
pub(super) struct Setting {
    /// The container has a cgroup namespace of its own.
    pub cgroup_namespace: bool,
    /// The host's /sys/fs/cgroup is one v2 tree.
    pub cgroup_v2: bool,
    /// A new user namespace; who then opens the sources.
    pub opener: Opener,
    /// What every mount of the namespace becomes first; a source opened elsewhere must follow.
    pub base: Propagation,
    /// The bundle: a relative source is relative to it.
    pub bundle: PathBuf,
}

/// Plans all mounts, in their order.
pub(super) fn plan(
    mounts: &[runtime::Mount],
    setting: &Setting,
    problems: &mut Vec<Problem>,
) -> Vec<(usize, Mount)> {
    let mut sources = 0;
    let mut planned = Vec::with_capacity(mounts.len());
    for (n, mount) in mounts.iter().enumerate() {
        planned.extend(plan_one(n, mount, setting, &mut sources, problems).map(|mount| (n, mount)));
    }
    planned
}

fn plan_one(
    n: usize,
    mount: &runtime::Mount,
    setting: &Setting,
    sources: &mut usize,
    problems: &mut Vec<Problem>,
) -> Option<Mount> {
    let property = format!("mounts[{n}]");
    if mount.destination().as_os_str().is_empty() {
        problems.push(
            Problem::new(format!("{property}.destination"), "must not be empty")
                .hint("give the path in the container, for example \"/data\""),
        );
        return None;
    }
    let none = Vec::new();
    let options = Options::parse(&property, mount.options().as_ref().unwrap_or(&none), problems);
    for (name, mappings) in [("uidMappings", mount.uid_mappings()), ("gidMappings", mount.gid_mappings())] {
        if mappings.as_ref().is_some_and(|m| !m.is_empty()) {
            problems.push(Problem::new(
                format!("{property}.{name}"),
                "mounts with id mappings of their own are not supported yet",
            ));
        }
    }
    let fstype = mount.typ().as_deref().unwrap_or("");
    let is_bind = options.bind.is_some() || fstype == "bind" || fstype == "rbind";
    let mut planned = Mount {
        target: absolute(mount.destination()),
        attr: options.attr,
        recursive: options.recursive,
        propagation: options.propagation,
        what: What::CgroupTree { namespaced: setting.cgroup_namespace },
    };
    if is_bind {
        let recursive = options.bind.unwrap_or(fstype == "rbind");
        let source = bind_source(&property, mount, &setting.bundle, problems)?;
        let base = Propagation { recursive, ..setting.base };
        planned.follow(base);
        planned.what = bind(source, recursive, setting.opener, sources);
        return Some(planned);
    }
    match fstype {
        "" => {
            problems.push(
                Problem::new(format!("{property}.type"), "must be given unless the mount is a bind")
                    .hint("name a filesystem, or add the option \"bind\" or \"rbind\""),
            );
            return None;
        }
        "cgroup" if !setting.cgroup_v2 => return Some(planned),
        // The tree of the host would show: bind it as it is, which needs no right to mount it anew.
        "cgroup" | "cgroup2"
            if setting.cgroup_v2 && !setting.cgroup_namespace && setting.opener != Opener::Parent =>
        {
            planned.follow(Propagation { recursive: true, ..setting.base });
            planned.what = bind(PathBuf::from("/sys/fs/cgroup"), true, setting.opener, sources);
            return Some(planned);
        }
        _ => {}
    }
    let fstype = if fstype == "cgroup" { "cgroup2" } else { fstype };
    let mut flags = options.supers;
    if planned.attr.set & RDONLY != 0 && !KERNEL_OWN.contains(&fstype) {
        // A device must not be written to, not even its journal.
        flags.push("ro".into());
    }
    planned.what = What::Filesystem {
        fstype: fstype.to_owned(),
        source: mount.source().as_ref().map_or(fstype, |s| s.to_str().unwrap_or(fstype)).to_owned(),
        flags,
        values: options.values,
    };
    Some(planned)
}

/// Filesystems without a device, where the mount's own read-only flag says all: their superblock
/// may be shared with others, and must not be made read-only for them too.
const KERNEL_OWN: [&str; 7] = ["proc", "sysfs", "cgroup", "cgroup2", "mqueue", "devpts", "tmpfs"];

fn bind(source: PathBuf, recursive: bool, opener: Opener, sources: &mut usize) -> What {
    *sources += 1;
    What::Bind { source, recursive, opener, index: *sources - 1 }
}

fn bind_source(
    property: &str,
    mount: &runtime::Mount,
    bundle: &Path,
    problems: &mut Vec<Problem>,
) -> Option<PathBuf> {
    match mount.source() {
        Some(source) if !source.as_os_str().is_empty() => Some(bundle.join(source)),
        _ => {
            problems.push(
                Problem::new(format!("{property}.source"), "a bind mount needs a source")
                    .hint("give the path on the host"),
            );
            None
        }
    }
}

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

/// The option words of one mount, sorted by what they act on.
#[derive(Default)]
struct Options {
    attr: Flags,
    recursive: Flags,
    propagation: Vec<Propagation>,
    bind: Option<bool>,
    supers: Vec<String>,
    values: Vec<(String, String)>,
}

impl Options {
    fn parse(property: &str, words: &[String], problems: &mut Vec<Problem>) -> Self {
        let mut options = Self::default();
        for (n, option) in words.iter().enumerate() {
            options.add(&format!("{property}.options[{n}]"), option, problems);
        }
        options
    }

    fn add(&mut self, property: &str, option: &str, problems: &mut Vec<Problem>) {
        match word(option) {
            Some(Word::Attr(set, clear)) => return self.attr.add(set, clear),
            Some(Word::Super) => return self.supers.push(option.to_owned()),
            Some(Word::Nothing) => return,
            Some(Word::Bind(recursive)) => return self.bind = Some(self.bind.unwrap_or(false) || recursive),
            Some(Word::Propagation(flag, recursive)) => {
                return self.propagation.push(Propagation { flag, recursive });
            }
            None => {}
        }
        if let Some(Word::Attr(set, clear)) = option.strip_prefix('r').and_then(word) {
            return self.recursive.add(set, clear);
        }
        match option {
            "idmap" | "ridmap" | "tmpcopyup" | "copy-symlink" | "src-nofollow" | "dest-nofollow" => {
                problems.push(Problem::new(property, format!("{option:?} is not supported yet")));
            }
            "" => problems.push(Problem::new(property, "must not be empty").hint("take the word out")),
            _ => match option.split_once('=') {
                Some((key, value)) => self.values.push((key.to_owned(), value.to_owned())),
                None => self.supers.push(option.to_owned()),
            },
        }
    }
}

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.display();
        match &self.what {
            What::Filesystem { fstype, flags, values, .. } => {
                write!(f, "mount {fstype} on {target}")?;
                let mut words: Vec<String> = self.words();
                words.extend(flags.iter().filter(|w| *w != "ro").cloned());
                words.extend(values.iter().map(|(k, v)| format!("{k}={v}")));
                parenthesised(f, &words)
            }
            What::Bind { source, recursive, .. } => {
                write!(f, "{} {} on {target}", if *recursive { "rbind" } else { "bind" }, source.display())?;
                parenthesised(f, &self.words())
            }
            What::CgroupTree { namespaced } => {
                write!(f, "mount the cgroup hierarchies below {target}")?;
                let mut words = self.words();
                words.insert(0, if *namespaced { "own root" } else { "own groups" }.to_owned());
                parenthesised(f, &words)
            }
        }
    }
}

impl Mount {
    /// The flags and propagation as words again.
    fn words(&self) -> Vec<String> {
        const NAMES: [(u64, &str, &str); 7] = [
            (RDONLY, "read-only", "read-write"),
            (NOSUID, "nosuid", "suid"),
            (NODEV, "nodev", "dev"),
            (NOEXEC, "noexec", "exec"),
            (NODIRATIME, "nodiratime", "diratime"),
            (NOSYMFOLLOW, "nosymfollow", "symfollow"),
            (ATIME, "", ""),
        ];
        let mut words = Vec::new();
        for (flags, everywhere) in [(self.attr, ""), (self.recursive, "all ")] {
            for (bit, on, off) in NAMES.iter().take(NAMES.len() - 1) {
                if flags.set & bit != 0 {
                    words.push(format!("{everywhere}{on}"));
                } else if flags.clear & bit != 0 {
                    words.push(format!("{everywhere}{off}"));
                }
            }
            if flags.clear & ATIME != 0 {
                let mode = match flags.set & ATIME {
                    NOATIME => "noatime",
                    STRICTATIME => "strictatime",
                    _ => "relatime",
                };
                words.push(format!("{everywhere}{mode}"));
            }
        }
        words.extend(self.propagation.iter().map(Propagation::to_string));
        words
    }
}

fn parenthesised(f: &mut fmt::Formatter<'_>, words: &[String]) -> fmt::Result {
    if words.is_empty() { Ok(()) } else { write!(f, " ({})", words.join(", ")) }
}
