// SPDX-License-Identifier: Apache-2.0
//! What the kernel counts of a container, in the form that `runc events` has given it: engines
//! read its keys, so they are v1's words on v2 as well.
//!
//! A file that a kernel has not got leaves its numbers at 0, and out of the JSON where runc leaves
//! them out. One that is there and cannot be read is an error: a wrong 0 is worse than none.

mod usage;
mod v1;
mod v2;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::fs::CWD;
use rustix::io::Errno;
use serde::Serialize;

pub use self::usage::OomKills;
use super::file;
use super::record::{Group, Record};
use crate::error::Fault;

/// Everything at one moment; its JSON is what it is for.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    cpu: Cpu,
    cpuset: CpuSet,
    memory: Memory,
    pids: Pids,
    blkio: Blkio,
    hugetlb: BTreeMap<String, HugeTlb>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rdma: Option<Rdma>,
    network_interfaces: Option<Vec<Interface>>,
}

/// Times in nanoseconds.
#[derive(Debug, Default, Serialize)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Debug, Default, Serialize)]
struct CpuUsage {
    #[serde(skip_serializing_if = "zero")]
    total: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_kernel: Vec<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    percpu_user: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Throttling {
    #[serde(skip_serializing_if = "zero")]
    periods: u64,
    #[serde(skip_serializing_if = "zero")]
    throttled_periods: u64,
    #[serde(skip_serializing_if = "zero")]
    throttled_time: u64,
}

/// For how long some, or all, processes waited for something: percents, and microseconds.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Psi {
    some: Pressure,
    full: Pressure,
}

#[derive(Debug, Default, PartialEq, Serialize)]
struct Pressure {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total: u64,
}

#[derive(Debug, Default, Serialize)]
struct CpuSet {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cpus: Vec<u16>,
    cpu_exclusive: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mems: Vec<u16>,
    mem_hardwall: u64,
    mem_exclusive: u64,
    memory_migrate: u64,
    memory_spread_page: u64,
    memory_spread_slab: u64,
    memory_pressure: u64,
    sched_load_balance: u64,
    sched_relax_domain_level: i64,
}

/// Bytes.
#[derive(Debug, Default, Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "zero")]
    cache: u64,
    usage: MemoryEntry,
    swap: MemoryEntry,
    kernel: MemoryEntry,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: MemoryEntry,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    raw: BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
    event_count: MemoryEvents,
}

#[derive(Debug, Default, Serialize)]
struct MemoryEntry {
    limit: u64,
    #[serde(skip_serializing_if = "zero")]
    usage: u64,
    #[serde(skip_serializing_if = "zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Default, Serialize)]
struct MemoryEvents {
    low: u64,
    high: u64,
    max: u64,
    oom: u64,
    oom_kill: u64,
    oom_group_kill: u64,
}

#[derive(Debug, Default, Serialize)]
struct Pids {
    #[serde(skip_serializing_if = "zero")]
    current: u64,
    /// None is 0.
    #[serde(skip_serializing_if = "zero")]
    limit: u64,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Blkio {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_bytes_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_serviced_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_queue_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_service_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_wait_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_merged_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    io_time_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    sectors_recursive: Vec<BlkioEntry>,
    #[serde(skip_serializing_if = "Option::is_none")]
    psi: Option<Psi>,
}

#[derive(Debug, PartialEq, Serialize)]
struct BlkioEntry {
    #[serde(skip_serializing_if = "zero")]
    major: u64,
    #[serde(skip_serializing_if = "zero")]
    minor: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    op: String,
    #[serde(skip_serializing_if = "zero")]
    value: u64,
}

#[derive(Debug, Default, Serialize)]
struct HugeTlb {
    #[serde(skip_serializing_if = "zero")]
    usage: u64,
    #[serde(skip_serializing_if = "zero")]
    max: u64,
    failcnt: u64,
}

#[derive(Debug, Serialize)]
struct Rdma {
    rdma_limit: Vec<RdmaEntry>,
    rdma_current: Vec<RdmaEntry>,
}

#[derive(Debug, PartialEq, Serialize)]
struct RdmaEntry {
    device: String,
    hca_handles: u64,
    hca_objects: u64,
}

/// Since the container's network namespace was made.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Interface {
    name: String,
    rx_bytes: u64,
    rx_packets: u64,
    rx_errors: u64,
    rx_dropped: u64,
    tx_bytes: u64,
    tx_packets: u64,
    tx_errors: u64,
    tx_dropped: u64,
}

fn zero(n: &u64) -> bool {
    *n == 0
}

impl Record {
    /// The statistics of all groups; with the pid of a process also those of the interfaces in its
    /// network namespace.
    pub fn stats(&self, network_of: Option<i32>) -> Result<Stats, Fault> {
        let mut stats = Stats::default();
        for group in &self.groups {
            let gone = || Fault::new(format!("the container's cgroup {:?} is gone", group.dir()));
            let files = Files { group, dir: group.open_ours()?.ok_or_else(gone)? };
            match group.is_v2() {
                true => v2::read(&files, &mut stats)?,
                false => v1::read(&files, &mut stats)?,
            }
        }
        if let Some(pid) = network_of {
            // A process that has just ended has none any more.
            let text = file::read(CWD, &format!("/proc/{pid}/net/dev")).unwrap_or_default();
            stats.network_interfaces = Some(interfaces(&text));
        }
        Ok(stats)
    }
}

/// The files of one group.
struct Files<'a> {
    group: &'a Group,
    dir: OwnedFd,
}

impl Files<'_> {
    /// The whole text; empty where there is no such file.
    fn text(&self, name: &str) -> Result<String, Fault> {
        match file::read(&self.dir, name) {
            Ok(text) => Ok(text),
            // Not in this kernel, not enabled for this group, or switched off at boot.
            Err(Errno::NOENT | Errno::OPNOTSUPP) => Ok(String::new()),
            Err(errno) => Err(Fault::call(format!("read({:?})", self.group.file(name)), errno)),
        }
    }

    /// The number that is all of a file; "max" is the largest.
    fn number(&self, name: &str) -> Result<u64, Fault> {
        let text = self.text(name)?;
        match text.trim() {
            "" => Ok(0),
            "max" => Ok(u64::MAX),
            text => self.parse(name, text),
        }
    }

    /// A file of "key value" lines.
    fn table(&self, name: &str) -> Result<BTreeMap<String, u64>, Fault> {
        let text = self.text(name)?;
        let line = |line: &str| {
            let (key, value) = line.split_once(' ')?;
            Some((key.to_owned(), value.trim().parse().ok()?))
        };
        Ok(text.lines().filter_map(line).collect())
    }

    /// The pressure of `cpu`, `memory` or `io`.
    fn pressure(&self, what: &str) -> Result<Option<Psi>, Fault> {
        Ok(psi(&self.text(&format!("{what}.pressure"))?))
    }

    /// `rdma.max` and `rdma.current`, which are the same on v1 and v2.
    fn rdma(&self) -> Result<Option<Rdma>, Fault> {
        let rdma_limit = rdma_lines(&self.text("rdma.max")?);
        let rdma_current = rdma_lines(&self.text("rdma.current")?);
        let any = !rdma_limit.is_empty() || !rdma_current.is_empty();
        Ok(any.then_some(Rdma { rdma_limit, rdma_current }))
    }

    fn parse<T: FromStr<Err: Display>>(&self, name: &str, text: &str) -> Result<T, Fault> {
        text.parse().map_err(|e| Fault::new(format!("{:?} says {text:?}: {e}", self.group.file(name))))
    }
}

/// The sizes of huge pages that this machine has, as file names spell them: `2MB`.
fn page_sizes() -> Vec<String> {
    let dir = file::open_dir(CWD, "/sys/kernel/mm/hugepages");
    let names = dir.and_then(file::children).unwrap_or_default();
    let size = |name: &std::ffi::CString| {
        let kib: u64 = name.to_str().ok()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        Some(match kib {
            _ if kib >= 1 << 20 => format!("{}GB", kib >> 20),
            _ if kib >= 1 << 10 => format!("{}MB", kib >> 10),
            _ => format!("{kib}KB"),
        })
    };
    names.iter().filter_map(size).collect()
}

/// `some avg10=0.00 avg60=0.00 avg300=0.00 total=0`, and the same for `full`.
fn psi(text: &str) -> Option<Psi> {
    let line = |word: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(word))?;
        let value = |key: &str| {
            line.split_whitespace()
                .find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key))
                .map(|it| it.1)
        };
        let average = |key: &str| value(key)?.parse().ok();
        Some(Pressure {
            avg10: average("avg10")?,
            avg60: average("avg60")?,
            avg300: average("avg300")?,
            total: value("total")?.parse().ok()?,
        })
    };
    // The CPU's has no "full" on kernels before 5.13.
    Some(Psi { some: line("some ")?, full: line("full ").unwrap_or_default() })
}

/// `mlx5_0 hca_handle=2 hca_object=max`
fn rdma_lines(text: &str) -> Vec<RdmaEntry> {
    let line = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let value = |key: &str| {
            let word = rest.split(' ').find_map(|pair| pair.split_once('=').filter(|(k, _)| *k == key))?.1;
            // "max" has the kernel's own bounds, i32.
            Some(word.parse().unwrap_or(i32::MAX as u64))
        };
        let (hca_handles, hca_objects) = (value("hca_handle")?, value("hca_object")?);
        Some(RdmaEntry { device: device.to_owned(), hca_handles, hca_objects })
    };
    text.lines().filter_map(line).collect()
}

/// `0-2,7` as numbers.
fn list(text: &str) -> Vec<u16> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

/// /proc/PID/net/dev: two lines of heading, then eight numbers received and eight sent for each.
fn interfaces(text: &str) -> Vec<Interface> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let n: Vec<u64> = numbers.split_whitespace().filter_map(|it| it.parse().ok()).collect();
        let at = |i: usize| n.get(i).copied();
        Some(Interface {
            name: name.trim().to_owned(),
            rx_bytes: at(0)?,
            rx_packets: at(1)?,
            rx_errors: at(2)?,
            rx_dropped: at(3)?,
            tx_bytes: at(8)?,
            tx_packets: at(9)?,
            tx_errors: at(10)?,
            tx_dropped: at(11)?,
        })
    };
    text.lines().filter_map(line).filter(|it| it.name != "lo").collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
