// SPDX-License-Identifier: Apache-2.0
//! From `linux.resources` to the list of files that will be written, and the device rules.
//!
//! A [`Write`] is one line for one kernel file, with the property it comes from. Only what
//! the configuration sets is written; what a host cannot do is a [`Problem`] here, where it
//! can be told before anything happens, or an error at the write. `v1` and `v2` hold the
//! two vocabularies; devices are in [`super::devices`].

mod v1;
mod v2;

use std::fmt;

use oci_spec::runtime::{LinuxHugepageLimit, LinuxMemory, LinuxRdma, LinuxResources};

pub use self::v1::v1;
pub use self::v2::v2;
use super::cgroup::CgroupLayout;
use super::devices::{self, Program, Rule};
use super::problem::Problem;

/// What the container may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In the order in which they must be written.
    pub writes: Vec<Write>,
    /// The device rules, the defaults included; the last that matches decides.
    pub rules: Vec<Rule>,
    /// How the rules reach the kernel.
    pub devices: Devices,
    /// Properties that have no effect on this kind of host, for the log.
    pub warnings: Vec<Problem>,
}

impl Limits {
    /// Whether the configuration asks for any limit that needs a group. Device rules do
    /// not count: every container has them.
    pub fn asked(&self) -> bool {
        !self.writes.is_empty()
    }
}

/// How the device rules reach the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Devices {
    /// Everything is allowed: a new group has no rules.
    #[default]
    Open,
    /// v1: lines for `devices.deny` and `devices.allow`.
    Lines(Vec<Write>),
    /// v2: an eBPF program that is attached to the container's group.
    Program(Program),
}

/// One line for one file of the container's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// `memory`; for `unified` what stands before the first dot. Empty for the files that
    /// every v2 group has.
    pub controller: String,
    /// `memory.limit_in_bytes`
    pub file: String,
    /// What is written.
    pub value: String,
    /// `linux.resources.memory.limit`
    pub property: String,
    /// After clone3: a limit of 0 would already hit the birth of the container.
    pub late: bool,
    /// What to do where the kernel has no such file.
    pub lacking: Lacking,
}

/// What to do where the group has not got the file, since a kernel was built without it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lacking {
    /// The limit cannot be set, and that is an error.
    Fail,
    /// The value says "no limit", which holds without the file.
    Skip,
    /// The same limit has another file on other kernels: its name and value.
    Try(String, String),
}

impl Write {
    /// A line that must be had, and may stand before the container's birth.
    pub fn new(file: impl Into<String>, value: impl fmt::Display, property: impl Into<String>) -> Self {
        let file = file.into();
        let controller = file.split_once('.').map_or("", |(controller, _)| controller).to_owned();
        let (value, property) = (value.to_string(), property.into());
        Self { controller, file, value, property, late: false, lacking: Lacking::Fail }
    }

    fn late(mut self) -> Self {
        self.late = true;
        self
    }

    fn or_try(mut self, file: &str, value: impl fmt::Display) -> Self {
        self.lacking = Lacking::Try(file.to_owned(), value.to_string());
        self
    }

    fn or_skip(mut self) -> Self {
        self.lacking = Lacking::Skip;
        self
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.file, self.value)
    }
}

/// The limits for a host of this layout; absent resources still have the default device
/// rules. A controller that a v1 host has not got is a problem already here.
pub fn limits(
    resources: Option<&LinuxResources>,
    layout: &CgroupLayout,
    problems: &mut Vec<Problem>,
) -> Limits {
    let none = LinuxResources::default();
    let resources = resources.unwrap_or(&none);
    let CgroupLayout::V1 { unified, .. } = layout else {
        return v2(resources, problems);
    };
    let mut limits = v1(resources, problems);
    for write in limits.writes.iter().filter(|write| !layout.has_v1(&write.controller)) {
        let says = format!("this host has no cgroup v1 hierarchy with the controller {}", write.controller);
        let problem = Problem::new(&write.property, says);
        problems.push(match unified {
            Some(_) => problem.hint(
                "on a host with v1 hierarchies the controllers of the v2 tree are not used: \
                 boot with systemd.unified_cgroup_hierarchy=1, or leave the limit out",
            ),
            None => problem.hint("mount the hierarchy, or leave the limit out"),
        });
    }
    if matches!(limits.devices, Devices::Lines(_)) && !layout.has_v1("devices") {
        if unified.is_some() {
            // A hybrid host's v2 tree takes device programs even where it has no controller.
            limits.devices = Devices::Program(devices::program(&limits.rules));
        } else {
            problems.push(Problem::new(
                devices::PROPERTY,
                "this host has no cgroup v1 hierarchy with the controller devices",
            ));
        }
    }
    limits
}

/// The limits for a container that runs: here "no" is a value to be set too.
pub fn changed_limits(
    resources: &LinuxResources,
    layout: &CgroupLayout,
    problems: &mut Vec<Problem>,
) -> Limits {
    let mut limits = limits(Some(resources), layout, problems);
    let oom_killer = resources.memory().as_ref().and_then(|memory| memory.disable_oom_killer());
    if matches!(layout, CgroupLayout::V1 { .. }) && oom_killer == Some(false) {
        let property = "linux.resources.memory.disableOOMKiller";
        limits.writes.push(Write::new("memory.oom_control", 0, property));
    }
    limits
}

/// The swap limit that the configuration means: `memory.swap` counts memory and swap
/// together. `None` leaves it alone.
fn memory_and_swap(memory: &LinuxMemory, problems: &mut Vec<Problem>) -> Option<Swap> {
    let limit = memory.limit().unwrap_or(0);
    let property = "linux.resources.memory.swap";
    match memory.swap().unwrap_or(0) {
        // Unlimited memory with limited swap is nothing that anyone asks for.
        0 if limit < 0 => Some(Swap::Unlimited),
        0 => None,
        swap if swap < 0 => Some(Swap::Unlimited),
        swap if limit < 0 => Some(Swap::Alone(swap)),
        swap if limit == 0 => {
            problems.push(
                Problem::new(
                    property,
                    format!("{swap} counts memory and swap together, but memory has no limit"),
                )
                .hint("set linux.resources.memory.limit too"),
            );
            None
        }
        swap if swap < limit => {
            problems.push(
                Problem::new(property, format!("{swap} is less than the memory limit {limit}"))
                    .hint("swap counts memory and swap together: it is at least the memory limit"),
            );
            None
        }
        swap => Some(Swap::Both { total: swap, swap: swap - limit }),
    }
}

enum Swap {
    Unlimited,
    /// Memory has no limit of its own.
    Alone(i64),
    Both {
        total: i64,
        swap: i64,
    },
}

/// "64KB", "2MB", "1GB": it becomes part of a file name.
fn page_size<'a>(
    limit: &'a LinuxHugepageLimit,
    property: &str,
    problems: &mut Vec<Problem>,
) -> Option<&'a str> {
    let size = limit.page_size();
    let number =
        size.strip_suffix("KB").or_else(|| size.strip_suffix("MB")).or_else(|| size.strip_suffix("GB"));
    if number.is_some_and(|n| !n.is_empty() && !n.starts_with('0') && n.bytes().all(|b| b.is_ascii_digit())) {
        return Some(size);
    }
    problems.push(
        Problem::new(format!("{property}.pageSize"), format!("{size:?} is not a page size"))
            .hint("as in 64KB, 2MB, 1GB"),
    );
    None
}

/// `rdma.max` is the same on v1 and v2.
fn rdma(resources: &LinuxResources, writes: &mut Vec<Write>, problems: &mut Vec<Problem>) {
    let Some(devices) = resources.rdma() else { return };
    let mut sorted: Vec<(&String, &LinuxRdma)> = devices.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    for (name, limit) in sorted {
        let property = format!("linux.resources.rdma.{name}");
        if name.is_empty() || name.contains(char::is_whitespace) {
            problems.push(Problem::new(property, "is not the name of an RDMA device"));
            continue;
        }
        let mut value = name.clone();
        for (key, limit) in [("hca_handle", limit.hca_handles()), ("hca_object", limit.hca_objects())] {
            if let Some(limit) = limit {
                value.push_str(&format!(" {key}={limit}"));
            }
        }
        if value != *name {
            writes.push(Write::new("rdma.max", value, property));
        }
    }
}

/// Block I/O weights go from 10 to 1000; 0 is unset.
fn weight(weight: Option<u16>, property: &str, problems: &mut Vec<Problem>) -> Option<u16> {
    let weight = weight.filter(|weight| *weight != 0)?;
    if (10..=1000).contains(&weight) {
        return Some(weight);
    }
    problems.push(Problem::new(property, format!("{weight} is not a weight: they go from 10 to 1000")));
    None
}

/// A line of numbers as cpusets take it (`0-3,7`). The kernel judges the rest.
fn cpu_list<'a>(list: Option<&'a String>, property: &str, problems: &mut Vec<Problem>) -> Option<&'a str> {
    let list = list.map(|list| list.trim()).filter(|list| !list.is_empty())?;
    if list.bytes().all(|b| b.is_ascii_digit() || b" ,-:/".contains(&b)) {
        return Some(list);
    }
    problems.push(Problem::new(property, format!("{list:?} is not a list of numbers")).hint("as in 0-3,7"));
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
