// SPDX-License-Identifier: Apache-2.0
//! When and where a process runs: `process.scheduler`, `process.ioPriority`,
//! `process.execCPUAffinity` and `linux.memoryPolicy` (config.md and config-linux.md; sched(7),
//! ioprio_set(2), set_mempolicy(2)).

use std::fmt;

use oci_spec::runtime::{
    IOPriorityClass, LinuxMemoryPolicy, LinuxSchedulerFlag, LinuxSchedulerPolicy, MemoryPolicyFlagType,
    MemoryPolicyModeType, Process,
};
use serde::{Deserialize, Serialize};

use super::problem::Problem;

/// What the parent sets when the process is ready: by then it has given up the rights for it, and in
/// a user namespace it never had them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// process.scheduler
    pub scheduler: Option<Scheduler>,
    /// process.ioPriority
    pub io_priority: Option<IoPriority>,
}

/// The arguments of sched_setattr(2).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of config.md")]
pub struct Scheduler {
    pub policy: LinuxSchedulerPolicy,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
}

impl Scheduler {
    /// The kernel's number of the policy (sched(7)).
    pub fn number(&self) -> u32 {
        match self.policy {
            LinuxSchedulerPolicy::SchedOther => 0,
            LinuxSchedulerPolicy::SchedFifo => 1,
            LinuxSchedulerPolicy::SchedRr => 2,
            LinuxSchedulerPolicy::SchedBatch => 3,
            LinuxSchedulerPolicy::SchedIso => 4,
            LinuxSchedulerPolicy::SchedIdle => 5,
            LinuxSchedulerPolicy::SchedDeadline => 6,
        }
    }

    /// A process that the kernel does not let fork (sched(7), SCHED_DEADLINE).
    fn cannot_fork(&self) -> bool {
        self.policy == LinuxSchedulerPolicy::SchedDeadline && self.flags & RESET_ON_FORK == 0
    }
}

const RESET_ON_FORK: u64 = 1;

/// Class and level of ioprio_set(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of config.md")]
pub struct IoPriority {
    pub class: u32,
    pub level: u32,
}

impl IoPriority {
    /// Both in one number, as the kernel takes them.
    pub fn value(self) -> u32 {
        self.class << 13 | self.level
    }
}

/// A set of CPUs or of NUMA nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// As it was written.
    pub list: String,
    /// Bit n of the whole is number n.
    pub mask: Vec<u64>,
}

/// set_mempolicy(2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPolicy {
    /// MPOL_* with its flags.
    pub mode: u32,
    /// As it was written.
    pub name: String,
    /// The nodes; none where the mode takes none.
    pub nodes: Set,
}

/// Where a process may run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Affinity {
    /// The runtime itself, before the process is born into the container's group.
    pub initial: Option<Set>,
    /// The process, once it is in the group.
    pub last: Option<Set>,
}

/// The highest number of a CPU or node that is taken; no kernel has as many.
const MOST: u32 = 1 << 16;

impl Set {
    /// `0-3,7`, with whatever blanks.
    fn parse(list: &str) -> Option<Self> {
        let mut set = Self { list: list.trim().to_owned(), mask: Vec::new() };
        for range in list.split(',').map(str::trim).filter(|range| !range.is_empty()) {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return None;
            }
            for n in first..=last {
                let word = n as usize / 64;
                if set.mask.len() <= word {
                    set.mask.resize(word + 1, 0);
                }
                set.mask[word] |= 1 << (n % 64);
            }
        }
        (!set.mask.is_empty()).then_some(set)
    }
}

fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|n| *n < MOST)
}

/// Scheduler and I/O priority; `hooks`: a program runs between the parent's word and execve.
pub(super) fn scheduling(
    process: &Process,
    property: &str,
    hooks: bool,
    problems: &mut Vec<Problem>,
) -> Scheduling {
    let scheduler = scheduler(process, &format!("{property}.scheduler"), problems);
    if hooks && scheduler.as_ref().is_some_and(Scheduler::cannot_fork) {
        problems.push(
            Problem::new(
                format!("{property}.scheduler.policy"),
                "a process under SCHED_DEADLINE cannot start the startContainer hooks",
            )
            .hint("add SCHED_FLAG_RESET_ON_FORK to the flags"),
        );
    }
    let io_priority = process.io_priority().as_ref().map(|asked| {
        let class = match asked.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        let level = u32::try_from(asked.priority()).ok().filter(|level| *level <= 7);
        if level.is_none() {
            let says = format!("{} is not from 0 to 7", asked.priority());
            problems.push(Problem::new(format!("{property}.ioPriority.priority"), says));
        }
        // The idle class has no levels; newer kernels refuse one.
        IoPriority { class, level: if class == 3 { 0 } else { level.unwrap_or(0) } }
    });
    Scheduling { scheduler, io_priority }
}

fn scheduler(process: &Process, property: &str, problems: &mut Vec<Problem>) -> Option<Scheduler> {
    use LinuxSchedulerPolicy as Policy;
    let asked = process.scheduler().as_ref()?;
    let policy = *asked.policy();
    let at = |leaf: &str| format!("{property}.{leaf}");
    let nice = asked.nice().unwrap_or(0);
    if !(-20..=19).contains(&nice) {
        problems.push(Problem::new(at("nice"), format!("{nice} is not from -20 to 19")));
    }
    let priority = asked.priority().unwrap_or(0);
    match policy {
        Policy::SchedFifo | Policy::SchedRr if !(1..=99).contains(&priority) => {
            problems.push(Problem::new(at("priority"), format!("{priority} is not from 1 to 99")));
        }
        Policy::SchedFifo | Policy::SchedRr => {}
        _ if priority != 0 => {
            problems.push(
                Problem::new(at("priority"), format!("{policy} takes no priority"))
                    .hint("only SCHED_FIFO and SCHED_RR do"),
            );
        }
        Policy::SchedIso => {
            problems.push(Problem::new(at("policy"), "no kernel has SCHED_ISO").hint("use SCHED_BATCH"));
        }
        _ => {}
    }
    let times = [
        ("runtime", asked.runtime().unwrap_or(0)),
        ("deadline", asked.deadline().unwrap_or(0)),
        ("period", asked.period().unwrap_or(0)),
    ];
    for (leaf, _) in times.iter().filter(|(_, value)| *value != 0 && policy != Policy::SchedDeadline) {
        problems.push(
            Problem::new(at(leaf), format!("{policy} takes no {leaf}")).hint("only SCHED_DEADLINE does"),
        );
    }
    let flags = asked.flags().iter().flatten().fold(0, |flags, flag| {
        flags
            | match flag {
                LinuxSchedulerFlag::SchedResetOnFork => RESET_ON_FORK,
                LinuxSchedulerFlag::SchedFlagReclaim => 0x2,
                LinuxSchedulerFlag::SchedFlagDLOverrun => 0x4,
                LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x8,
                LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
                LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
                LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
            }
    });
    Some(Scheduler {
        policy,
        flags,
        nice,
        priority: u32::try_from(priority).unwrap_or(0),
        runtime: times[0].1,
        deadline: times[1].1,
        period: times[2].1,
    })
}

/// process.execCPUAffinity: only a process that `exec` brings in has one.
pub(super) fn affinity(process: &Process, property: &str, problems: &mut Vec<Problem>) -> Affinity {
    let Some(asked) = process.exec_cpu_affinity() else { return Affinity::default() };
    let mut set = |leaf: &str, list: &Option<String>| {
        let list = list.as_deref().filter(|list| !list.trim().is_empty())?;
        let set = Set::parse(list);
        if set.is_none() {
            problems.push(
                Problem::new(
                    format!("{property}.execCPUAffinity.{leaf}"),
                    format!("{list:?} is not a list of CPUs"),
                )
                .hint("such as \"0-3,7\""),
            );
        }
        set
    };
    Affinity { initial: set("initial", asked.initial()), last: set("final", asked.cpu_affinity_final()) }
}

pub(super) fn memory_policy(policy: &LinuxMemoryPolicy, problems: &mut Vec<Problem>) -> MemoryPolicy {
    use MemoryPolicyFlagType as Flag;
    use MemoryPolicyModeType as Mode;
    let (name, number, takes_nodes, must) = match policy.mode() {
        Mode::MpolDefault => ("MPOL_DEFAULT", 0, false, false),
        Mode::MpolPreferred => ("MPOL_PREFERRED", 1, true, false),
        Mode::MpolBind => ("MPOL_BIND", 2, true, true),
        Mode::MpolInterleave => ("MPOL_INTERLEAVE", 3, true, true),
        Mode::MpolLocal => ("MPOL_LOCAL", 4, false, false),
        Mode::MpolPreferredMany => ("MPOL_PREFERRED_MANY", 5, true, true),
        Mode::MpolWeightedInterleave => ("MPOL_WEIGHTED_INTERLEAVE", 6, true, true),
    };
    let list = policy.nodes().as_deref().unwrap_or("").trim();
    let mut problem = |leaf: &str, says: String, hint: &'static str| {
        problems.push(Problem::new(format!("linux.memoryPolicy.{leaf}"), says).hint(hint));
    };
    let nodes = match (list.is_empty(), takes_nodes) {
        (true, _) => {
            if must {
                problem("nodes", format!("{name} needs nodes"), "such as \"0-1\"");
            }
            Set::default()
        }
        (false, false) => {
            problem("nodes", format!("{name} takes no nodes"), "leave it out");
            Set::default()
        }
        (false, true) => Set::parse(list).unwrap_or_else(|| {
            problem("nodes", format!("{list:?} is not a list of nodes"), "such as \"0-1\"");
            Set::default()
        }),
    };
    let flags = policy.flags().as_deref().unwrap_or(&[]);
    let bits = flags.iter().fold(0, |bits, flag| {
        bits | match flag {
            Flag::MpolFStaticNodes => 1 << 15,
            Flag::MpolFRelativeNodes => 1 << 14,
            Flag::MpolFNumaBalancing => 1 << 13,
        }
    });
    if bits >> 14 == 0b11 {
        let says = "MPOL_F_STATIC_NODES and MPOL_F_RELATIVE_NODES exclude each other".to_owned();
        problem("flags", says, "name one of them");
    }
    if nodes.mask.is_empty() && bits >> 14 != 0 {
        problem("flags", format!("{name} without nodes takes no flags about nodes"), "leave them out");
    }
    MemoryPolicy { mode: number | bits, name: name.to_owned(), nodes }
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.policy)?;
        for (name, value) in [("nice", i64::from(self.nice)), ("priority", i64::from(self.priority))] {
            if value != 0 {
                write!(f, ", {name} {value}")?;
            }
        }
        for (name, value) in [("runtime", self.runtime), ("deadline", self.deadline), ("period", self.period)]
        {
            if value != 0 {
                write!(f, ", {name} {value} ns")?;
            }
        }
        match self.flags {
            0 => Ok(()),
            flags => write!(f, ", flags {flags:#x}"),
        }
    }
}

impl fmt::Display for IoPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.class {
            1 => write!(f, "IOPRIO_CLASS_RT, level {}", self.level),
            2 => write!(f, "IOPRIO_CLASS_BE, level {}", self.level),
            _ => f.write_str("IOPRIO_CLASS_IDLE"),
        }
    }
}

impl fmt::Display for MemoryPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if !self.nodes.list.is_empty() {
            write!(f, " of nodes {}", self.nodes.list)?;
        }
        match self.mode >> 13 {
            0 => Ok(()),
            _ => write!(f, ", flags {:#x}", self.mode & 0xe000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_numbers_become_masks() {
        let mask = |list| Set::parse(list).map(|set| set.mask);
        assert_eq!(mask("0-3,7"), Some(vec![0x8f]));
        assert_eq!(mask(" 1 , 64,"), Some(vec![2, 1]));
        assert_eq!(mask("1500").unwrap()[1500 / 64], 1 << (1500 % 64));
        for bad in ["", ",", "3-1", "a", "-1", "1-", "65536", "4294967296", "0x1"] {
            assert_eq!(mask(bad), None, "{bad}");
        }
    }
}
