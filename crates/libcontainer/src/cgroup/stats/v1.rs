// SPDX-License-Identifier: Apache-2.0
//! The statistics of one v1 hierarchy; several controllers may share it.

use super::{BlkioEntry, Files, HugeTlb, MemoryEntry, Stats, list, page_sizes};
use crate::error::Fault;

/// Of cpuacct.stat's ticks, for programs (times(2)); it is the same on every Linux.
const NANOS_PER_TICK: u64 = 1_000_000_000 / 100;

pub(super) fn read(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    for controller in &files.group.controllers {
        match controller.as_str() {
            "cpu" => cpu(files, stats)?,
            "cpuacct" => cpuacct(files, stats)?,
            "cpuset" => cpuset(files, stats)?,
            "memory" => memory(files, stats)?,
            "pids" => {
                stats.pids.current = files.number("pids.current")?;
                stats.pids.limit = Some(files.number("pids.max")?).filter(|n| *n != u64::MAX).unwrap_or(0);
            }
            "blkio" => blkio(files, stats)?,
            "hugetlb" => {
                for size in page_sizes() {
                    let number = |file: &str| files.number(&format!("hugetlb.{size}.{file}"));
                    let (usage, max) = (number("usage_in_bytes")?, number("max_usage_in_bytes")?);
                    let it = HugeTlb { usage, max, failcnt: number("failcnt")? };
                    stats.hugetlb.insert(size, it);
                }
            }
            "rdma" => stats.rdma = files.rdma()?,
            _ => {}
        }
    }
    Ok(())
}

fn cpu(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    let table = files.table("cpu.stat")?;
    let value = |key: &str| table.get(key).copied().unwrap_or(0);
    let throttling = &mut stats.cpu.throttling;
    throttling.periods = value("nr_periods");
    throttling.throttled_periods = value("nr_throttled");
    throttling.throttled_time = value("throttled_time");
    Ok(())
}

fn cpuacct(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    let usage = &mut stats.cpu.usage;
    usage.total = files.number("cpuacct.usage")?;
    let ticks = files.table("cpuacct.stat")?;
    usage.user = ticks.get("user").unwrap_or(&0) * NANOS_PER_TICK;
    usage.kernel = ticks.get("system").unwrap_or(&0) * NANOS_PER_TICK;
    let numbers = |text: &str| text.split_whitespace().filter_map(|n| n.parse().ok()).collect::<Vec<u64>>();
    usage.percpu = numbers(&files.text("cpuacct.usage_percpu")?);
    // "cpu user system", and a line for each.
    for line in files.text("cpuacct.usage_all")?.lines().skip(1) {
        if let [_, user, kernel] = numbers(line)[..] {
            usage.percpu_user.push(user);
            usage.percpu_kernel.push(kernel);
        }
    }
    Ok(())
}

fn cpuset(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    let it = &mut stats.cpuset;
    it.cpus = list(&files.text("cpuset.cpus")?);
    it.mems = list(&files.text("cpuset.mems")?);
    for (number, file) in [
        (&mut it.cpu_exclusive, "cpu_exclusive"),
        (&mut it.mem_hardwall, "mem_hardwall"),
        (&mut it.mem_exclusive, "mem_exclusive"),
        (&mut it.memory_migrate, "memory_migrate"),
        (&mut it.memory_spread_page, "memory_spread_page"),
        (&mut it.memory_spread_slab, "memory_spread_slab"),
        (&mut it.memory_pressure, "memory_pressure"),
        (&mut it.sched_load_balance, "sched_load_balance"),
    ] {
        *number = files.number(&format!("cpuset.{file}"))?;
    }
    let name = "cpuset.sched_relax_domain_level";
    let level = files.text(name)?;
    if !level.is_empty() {
        it.sched_relax_domain_level = files.parse(name, level.trim())?;
    }
    Ok(())
}

fn memory(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    let entry = |kind: &str| -> Result<MemoryEntry, Fault> {
        let number = |file: &str| files.number(&format!("memory.{kind}{file}"));
        Ok(MemoryEntry {
            limit: number("limit_in_bytes")?,
            usage: number("usage_in_bytes")?,
            max: number("max_usage_in_bytes")?,
            failcnt: number("failcnt")?,
        })
    };
    let memory = &mut stats.memory;
    memory.usage = entry("")?;
    memory.swap = entry("memsw.")?;
    memory.kernel = entry("kmem.")?;
    memory.kernel_tcp = entry("kmem.tcp.")?;
    memory.raw = files.table("memory.stat")?;
    memory.cache = memory.raw.get("cache").copied().unwrap_or(0);
    memory.event_count.oom_kill = files.table("memory.oom_control")?.get("oom_kill").copied().unwrap_or(0);
    Ok(())
}

/// Who counts depends on the scheduler and the kernel: BFQ, CFQ until Linux 5.0, or the throttle.
fn blkio(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    let first = |names: &[&str]| -> Result<Vec<BlkioEntry>, Fault> {
        for name in names {
            let found = entries(&files.text(&format!("blkio.{name}"))?);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    };
    let it = &mut stats.blkio;
    let named = |name: &str| [format!("bfq.{name}_recursive"), format!("{name}_recursive")];
    let two = |name: &str| -> Result<Vec<BlkioEntry>, Fault> {
        let [bfq, cfq] = named(name);
        first(&[&bfq, &cfq])
    };
    let three = |name: &str| -> Result<Vec<BlkioEntry>, Fault> {
        let [bfq, cfq] = named(name);
        first(&[&bfq, &cfq, &format!("throttle.{name}_recursive"), &format!("throttle.{name}")])
    };
    it.io_service_bytes_recursive = three("io_service_bytes")?;
    it.io_serviced_recursive = three("io_serviced")?;
    it.io_queue_recursive = two("io_queued")?;
    it.io_service_time_recursive = two("io_service_time")?;
    it.io_wait_time_recursive = two("io_wait_time")?;
    it.io_merged_recursive = two("io_merged")?;
    it.io_time_recursive = two("time")?;
    it.sectors_recursive = two("sectors")?;
    Ok(())
}

/// `8:0 Read 4096`, or `8:0 4096`; a line without a device is the sum of all.
pub(super) fn entries(text: &str) -> Vec<BlkioEntry> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (device, op, value) = match words[..] {
            [device, op, value] => (device, op, value),
            [device, value] => (device, "", value),
            _ => return None,
        };
        let (major, minor) = device.split_once(':')?;
        let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
        Some(BlkioEntry { major, minor, op: op.to_owned(), value: value.parse().ok()? })
    };
    text.lines().filter_map(line).collect()
}
