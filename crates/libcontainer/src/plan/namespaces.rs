// SPDX-License-Identifier: Apache-2.0
//! `linux.namespaces`, id mappings and time offsets: which namespaces clone3 makes, which are
//! joined and which stay the caller's (config-linux.md, Namespaces; namespaces(7)).

use std::fmt;
use std::path::PathBuf;

use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespaceType};

use super::problem::Problem;

/// The eight kinds, in the order in which they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// user_namespaces(7)
    User,
    /// pid_namespaces(7)
    Pid,
    /// mount_namespaces(7)
    Mount,
    /// network_namespaces(7)
    Network,
    /// ipc_namespaces(7)
    Ipc,
    /// uts_namespaces(7)
    Uts,
    /// cgroup_namespaces(7)
    Cgroup,
    /// time_namespaces(7)
    Time,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 8] =
        [Kind::User, Kind::Pid, Kind::Mount, Kind::Network, Kind::Ipc, Kind::Uts, Kind::Cgroup, Kind::Time];

    /// Its `CLONE_NEW*` flag.
    pub fn flag(self) -> u64 {
        let flag = match self {
            Self::User => libc::CLONE_NEWUSER,
            Self::Pid => libc::CLONE_NEWPID,
            Self::Mount => libc::CLONE_NEWNS,
            Self::Network => libc::CLONE_NEWNET,
            Self::Ipc => libc::CLONE_NEWIPC,
            Self::Uts => libc::CLONE_NEWUTS,
            Self::Cgroup => libc::CLONE_NEWCGROUP,
            Self::Time => libc::CLONE_NEWTIME,
        };
        flag as u64
    }

    /// The name in config.json.
    pub fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Mount => "mount",
            Self::Network => "network",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The name in /proc/PID/ns.
    pub fn link(self) -> &'static str {
        match self {
            Self::Mount => "mnt",
            Self::Network => "net",
            other => other.name(),
        }
    }
}

impl From<LinuxNamespaceType> for Kind {
    fn from(typ: LinuxNamespaceType) -> Self {
        match typ {
            LinuxNamespaceType::User => Self::User,
            LinuxNamespaceType::Pid => Self::Pid,
            LinuxNamespaceType::Mount => Self::Mount,
            LinuxNamespaceType::Network => Self::Network,
            LinuxNamespaceType::Ipc => Self::Ipc,
            LinuxNamespaceType::Uts => Self::Uts,
            LinuxNamespaceType::Cgroup => Self::Cgroup,
            LinuxNamespaceType::Time => Self::Time,
        }
    }
}

/// A range of ids: `container..container+size` here are `host..host+size` outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First id inside.
    pub container: u32,
    /// First id outside.
    pub host: u32,
    /// How many.
    pub size: u32,
}

/// Whether this map has one id only, and that is `id`: what an ordinary user may write by itself.
pub fn maps_only(map: &[Range], id: u32) -> bool {
    matches!(map, [one] if one.size == 1 && one.host == id)
}

/// A network device of the caller's that becomes the container's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetDevice {
    /// Its name on the host.
    pub host: String,
    /// Its name in the container.
    pub name: String,
}

/// Where the container lives: what is made, what is joined; what is named in neither stays the caller's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// Made anew.
    pub new: Vec<Kind>,
    /// Joined, each with its path and its index in `linux.namespaces`.
    pub joined: Vec<(Kind, PathBuf, usize)>,
    /// Of a new user namespace.
    pub uid_map: Vec<Range>,
    /// Of a new user namespace.
    pub gid_map: Vec<Range>,
    /// Moved by the parent, in the order of their names.
    pub net_devices: Vec<NetDevice>,
    /// Lines of timens_offsets: `monotonic 10 0`.
    pub time_offsets: Vec<String>,
}

impl Namespaces {
    /// Whether a namespace of this kind is made.
    pub fn makes(&self, kind: Kind) -> bool {
        self.new.contains(&kind)
    }

    /// Whether a namespace of this kind is joined.
    pub fn joins(&self, kind: Kind) -> bool {
        self.joined.iter().any(|(k, _, _)| *k == kind)
    }

    /// Whether the container's namespace of this kind is not the caller's.
    pub fn has(&self, kind: Kind) -> bool {
        self.makes(kind) || self.joins(kind)
    }

    /// The `CLONE_NEW*` flags of all that the container has for itself, made or joined.
    pub fn flags(&self) -> u64 {
        Kind::ALL.iter().filter(|k| self.has(**k)).fold(0, |flags, k| flags | k.flag())
    }

    /// The caller's id behind an id of the container.
    pub fn host_id(map: &[Range], id: u32) -> Option<u32> {
        map.iter()
            .find(|r| id >= r.container && id - r.container < r.size)
            .map(|r| r.host + (id - r.container))
    }
}

impl fmt::Display for Namespaces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let new: Vec<&str> = self.new.iter().map(|k| k.name()).collect();
        f.write_str(if new.is_empty() { "none" } else { "" })?;
        f.write_str(&new.join(" "))
    }
}

pub(super) fn plan(linux: Option<&Linux>, problems: &mut Vec<Problem>) -> Namespaces {
    let mut planned = Namespaces::default();
    let Some(linux) = linux else { return planned };
    let none = Vec::new();
    let mut seen: Vec<(Kind, usize)> = Vec::new();
    for (n, namespace) in linux.namespaces().as_ref().unwrap_or(&none).iter().enumerate() {
        let kind = Kind::from(namespace.typ());
        if let Some((_, first)) = seen.iter().find(|(k, _)| *k == kind) {
            problems.push(
                Problem::new(
                    format!("linux.namespaces[{n}].type"),
                    format!("{:?} is already named by linux.namespaces[{first}]", kind.name()),
                )
                .hint("name each namespace once"),
            );
            continue;
        }
        seen.push((kind, n));
        match namespace.path().as_ref().filter(|p| !p.as_os_str().is_empty()) {
            None => planned.new.push(kind),
            Some(path) if path.is_absolute() => planned.joined.push((kind, path.clone(), n)),
            Some(path) => problems.push(
                Problem::new(
                    format!("linux.namespaces[{n}].path"),
                    format!("{:?} is not absolute", path.display().to_string()),
                )
                .hint("give the whole path, for example \"/proc/1234/ns/net\""),
            ),
        }
    }
    planned.new.sort_by_key(|kind| Kind::ALL.iter().position(|k| k == kind));
    planned.uid_map = id_map("uidMappings", linux.uid_mappings(), &planned, problems);
    planned.gid_map = id_map("gidMappings", linux.gid_mappings(), &planned, problems);
    planned.time_offsets = time_offsets(linux, &planned, problems);
    planned.net_devices = net_devices(linux, &planned, problems);
    planned
}

fn id_map(
    name: &str,
    mappings: &Option<Vec<LinuxIdMapping>>,
    namespaces: &Namespaces,
    problems: &mut Vec<Problem>,
) -> Vec<Range> {
    let property = format!("linux.{name}");
    let mappings = mappings.as_deref().unwrap_or(&[]);
    if mappings.is_empty() {
        if namespaces.makes(Kind::User) {
            problems.push(
                Problem::new(property, "a new user namespace needs id mappings")
                    .hint("for example {\"containerID\": 0, \"hostID\": 100000, \"size\": 65536}"),
            );
        }
        return Vec::new();
    }
    if !namespaces.makes(Kind::User) {
        if !namespaces.joins(Kind::User) {
            problems.push(
                Problem::new(property, "id mappings need a user namespace")
                    .hint("add {\"type\": \"user\"} to linux.namespaces"),
            );
        }
        // A joined user namespace brings its own maps; engines repeat them here.
        return Vec::new();
    }
    let range = |m: &LinuxIdMapping| Range { container: m.container_id(), host: m.host_id(), size: m.size() };
    checked_ranges(&property, mappings.iter().map(range).collect(), problems)
}

/// Ranges that the kernel takes as one map: of at least one id each, and none twice.
pub(super) fn checked_ranges(property: &str, asked: Vec<Range>, problems: &mut Vec<Problem>) -> Vec<Range> {
    let mut ranges: Vec<Range> = Vec::with_capacity(asked.len());
    for (n, range) in asked.into_iter().enumerate() {
        let at = |leaf: &str| format!("{property}[{n}].{leaf}");
        if range.size == 0 {
            problems.push(Problem::new(at("size"), "must be at least 1"));
            continue;
        }
        // The last id, 2^32-1, means "no id" to the kernel.
        if range.container.checked_add(range.size).is_none() || range.host.checked_add(range.size).is_none() {
            problems
                .push(Problem::new(at("size"), format!("{} ids from here go past 4294967294", range.size)));
            continue;
        }
        let overlap = |from: u32, other: u32, size: u32| from < other + size && other < from + range.size;
        if let Some(m) = ranges.iter().position(|r| {
            overlap(range.container, r.container, r.size) || overlap(range.host, r.host, r.size)
        }) {
            problems.push(Problem::new(format!("{property}[{n}]"), format!("overlaps with {property}[{m}]")));
        }
        ranges.push(range);
    }
    ranges
}

fn net_devices(linux: &Linux, namespaces: &Namespaces, problems: &mut Vec<Problem>) -> Vec<NetDevice> {
    let Some(asked) = linux.net_devices().as_ref().filter(|d| !d.is_empty()) else { return Vec::new() };
    if !namespaces.has(Kind::Network) {
        problems.push(
            Problem::new("linux.netDevices", "needs a network namespace of the container's own")
                .hint("add {\"type\": \"network\"} to linux.namespaces"),
        );
        return Vec::new();
    }
    let mut devices: Vec<NetDevice> = asked
        .iter()
        .map(|(host, device)| {
            let name = device.name().clone().filter(|name| !name.is_empty());
            NetDevice { host: host.clone(), name: name.unwrap_or_else(|| host.clone()) }
        })
        .collect();
    devices.sort_by(|a, b| a.host.cmp(&b.host));
    for (n, device) in devices.iter().enumerate() {
        let at = format!("linux.netDevices.{}", device.host);
        for (property, name) in [(at.clone(), &device.host), (format!("{at}.name"), &device.name)] {
            // As dev_valid_name() of the kernel has it.
            let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
            if name.is_empty() || name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
                problems.push(
                    Problem::new(property, format!("{name:?} is no name of a network device"))
                        .hint("1 to 15 bytes, without blanks, \"/\" and \":\""),
                );
                break;
            }
        }
        if let Some(other) = devices[..n].iter().find(|other| other.name == device.name) {
            let says = format!("{:?} is already the name of linux.netDevices.{}", device.name, other.host);
            problems.push(Problem::new(format!("{at}.name"), says));
        }
    }
    devices
}

fn time_offsets(linux: &Linux, namespaces: &Namespaces, problems: &mut Vec<Problem>) -> Vec<String> {
    let Some(offsets) = linux.time_offsets().as_ref().filter(|o| !o.is_empty()) else { return Vec::new() };
    if !namespaces.makes(Kind::Time) {
        problems.push(
            Problem::new("linux.timeOffsets", "time offsets need a new time namespace")
                .hint("add {\"type\": \"time\"} to linux.namespaces"),
        );
        return Vec::new();
    }
    let mut lines = Vec::new();
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            problems.push(
                Problem::new(format!("linux.timeOffsets.{clock}"), "no such clock")
                    .hint("the clocks are \"monotonic\" and \"boottime\""),
            );
            continue;
        }
        let (secs, nanosecs) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        if nanosecs > 999_999_999 {
            problems.push(
                Problem::new(
                    format!("linux.timeOffsets.{clock}.nanosecs"),
                    format!("{nanosecs} is above 999999999"),
                )
                .hint("whole seconds go into secs"),
            );
        }
        lines.push(format!("{clock} {secs} {nanosecs}"));
    }
    lines.sort();
    lines
}
