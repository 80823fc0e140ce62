// SPDX-License-Identifier: Apache-2.0
//! The statistics of a v2 group; on a hybrid host only what needs no controller is there, which is
//! pressure above all.

use super::{BlkioEntry, Files, HugeTlb, MemoryEntry, Stats, list, page_sizes};
use crate::error::Fault;

pub(super) fn read(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    stats.cpu.psi = files.pressure("cpu")?;
    stats.memory.psi = files.pressure("memory")?;
    stats.blkio.psi = files.pressure("io")?;
    if files.group.root != super::super::ROOT {
        return Ok(());
    }
    cpu(files, stats)?;
    memory(files, stats)?;
    stats.cpuset.cpus = list(&files.text("cpuset.cpus.effective")?);
    stats.cpuset.mems = list(&files.text("cpuset.mems.effective")?);
    stats.pids.current = files.number("pids.current")?;
    stats.pids.limit = Some(files.number("pids.max")?).filter(|n| *n != u64::MAX).unwrap_or(0);
    io(&files.text("io.stat")?, stats);
    for size in page_sizes() {
        let current = files.text(&format!("hugetlb.{size}.current"))?;
        if current.is_empty() {
            continue;
        }
        let usage = files.number(&format!("hugetlb.{size}.current"))?;
        let events = files.table(&format!("hugetlb.{size}.events"))?;
        let failcnt = events.get("max").copied().unwrap_or(0);
        stats.hugetlb.insert(size, HugeTlb { usage, max: 0, failcnt });
    }
    stats.rdma = files.rdma()?;
    Ok(())
}

fn cpu(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    let table = files.table("cpu.stat")?;
    let value = |key: &str| table.get(key).copied().unwrap_or(0);
    let (usage, throttling) = (&mut stats.cpu.usage, &mut stats.cpu.throttling);
    usage.total = value("usage_usec") * 1000;
    usage.user = value("user_usec") * 1000;
    usage.kernel = value("system_usec") * 1000;
    throttling.periods = value("nr_periods");
    throttling.throttled_periods = value("nr_throttled");
    throttling.throttled_time = value("throttled_usec") * 1000;
    Ok(())
}

fn memory(files: &Files<'_>, stats: &mut Stats) -> Result<(), Fault> {
    let events = files.table("memory.events")?;
    let event = |key: &str| events.get(key).copied().unwrap_or(0);
    let memory = &mut stats.memory;
    memory.raw = files.table("memory.stat")?;
    memory.cache = memory.raw.get("file").copied().unwrap_or(0);
    memory.usage = MemoryEntry {
        limit: files.number("memory.max")?,
        usage: files.number("memory.current")?,
        max: files.number("memory.peak")?,
        failcnt: event("max"),
    };
    // v1's word counts memory and swap together.
    let current = files.text("memory.swap.current")?;
    if !current.is_empty() {
        memory.swap = MemoryEntry {
            limit: files.number("memory.swap.max")?.saturating_add(memory.usage.limit),
            usage: files.number("memory.swap.current")?.saturating_add(memory.usage.usage),
            max: 0,
            failcnt: files.table("memory.swap.events")?.get("fail").copied().unwrap_or(0),
        };
    }
    let count = &mut memory.event_count;
    for (number, key) in [
        (&mut count.low, "low"),
        (&mut count.high, "high"),
        (&mut count.max, "max"),
        (&mut count.oom, "oom"),
        (&mut count.oom_kill, "oom_kill"),
        (&mut count.oom_group_kill, "oom_group_kill"),
    ] {
        *number = event(key);
    }
    Ok(())
}

/// `8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`, in v1's words.
pub(super) fn io(text: &str, stats: &mut Stats) {
    for line in text.lines() {
        let Some((device, pairs)) = line.split_once(' ') else { continue };
        let Some((major, minor)) = device.split_once(':') else { continue };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        for (key, value) in pairs.split(' ').filter_map(|pair| pair.split_once('=')) {
            let (op, bytes) = match key {
                "rbytes" => ("Read", true),
                "wbytes" => ("Write", true),
                "dbytes" => ("Discard", true),
                "rios" => ("Read", false),
                "wios" => ("Write", false),
                "dios" => ("Discard", false),
                _ => continue,
            };
            let Ok(value) = value.parse() else { continue };
            let blkio = &mut stats.blkio;
            let table = match bytes {
                true => &mut blkio.io_service_bytes_recursive,
                false => &mut blkio.io_serviced_recursive,
            };
            table.push(BlkioEntry { major, minor, op: op.to_owned(), value });
        }
    }
}
