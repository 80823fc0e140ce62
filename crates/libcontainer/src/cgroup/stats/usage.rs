// SPDX-License-Identifier: Apache-2.0
//! How much memory a container uses: what an update must not fall below, and what it was killed for.

use std::fmt;

use rustix::fs::CWD;
use serde::Serialize;

use super::super::file;
use super::super::record::Record;
use crate::error::Fault;

/// The memory that a container has at present, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryUsage {
    /// All that is charged to it.
    pub used: u64,
    /// The part that the kernel can neither drop nor swap out.
    pub unfreeable: u64,
}

impl Record {
    /// How much memory the container uses; `None` where nobody counts it.
    pub fn memory_usage(&self) -> Result<Option<MemoryUsage>, Fault> {
        let number = |file: &str| -> Result<Option<u64>, Fault> {
            Ok(self.present("memory", file)?.and_then(|text| text.parse().ok()))
        };
        if let Some(used) = number("memory.usage_in_bytes")? {
            // On v1 the kernel frees what it can, and refuses a limit that is too low still.
            return Ok(Some(MemoryUsage { used, unfreeable: 0 }));
        }
        let Some(used) = number("memory.current")? else { return Ok(None) };
        let stat = self.present("memory", "memory.stat")?.unwrap_or_default();
        let files = ["inactive_file", "active_file", "slab_reclaimable"];
        let freeable: u64 = files.iter().filter_map(|name| value_of(&stat, name)).sum();
        let swap_limit = number("memory.swap.max")?.unwrap_or(u64::MAX);
        let swapped = number("memory.swap.current")?.unwrap_or(0);
        let swap = free_swap().min(swap_limit.saturating_sub(swapped));
        Ok(Some(MemoryUsage { used, unfreeable: used.saturating_sub(freeable).saturating_sub(swap) }))
    }
}

/// The number after a key, in a file of "key value" lines.
fn value_of(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once(' ').filter(|(k, _)| *k == key)?.1.parse().ok())
}

/// Of the whole machine, in bytes.
fn free_swap() -> u64 {
    let text = file::read(CWD, "/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("SwapFree:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) << 10
}

/// What the OOM killer has done to a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OomKills {
    /// How many processes it has killed.
    pub killed: u64,
    /// The container's memory limit in bytes; without one the limit of a group above, or the
    /// machine's memory, was what was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// The most that it has used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<u64>,
}

impl fmt::Display for OomKills {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) => write!(f, "the limit is {limit} bytes")?,
            None => f.write_str("it has no limit of its own")?,
        }
        match self.peak {
            Some(peak) => write!(f, ", the peak was {peak}"),
            None => Ok(()),
        }
    }
}

impl Record {
    /// Whether processes of the container were killed for lack of memory, in all its life. To be
    /// asked when one has died by SIGKILL.
    pub fn oom_kills(&self) -> Option<OomKills> {
        // v1 keeps the count in a file of another name.
        let number = |names: [&str; 2]| {
            let text = names.iter().find_map(|name| self.present("memory", name).ok().flatten())?;
            text.parse().ok()
        };
        let count = |name: &str| value_of(&self.present("memory", name).ok()??, "oom_kill");
        let killed = count("memory.events").or_else(|| count("memory.oom_control")).filter(|n| *n > 0)?;
        // "None" is the word max, or the largest number of whole pages.
        let limit = number(["memory.max", "memory.limit_in_bytes"]).filter(|limit| *limit < u64::MAX >> 2);
        Some(OomKills { killed, limit, peak: number(["memory.peak", "memory.max_usage_in_bytes"]) })
    }
}
