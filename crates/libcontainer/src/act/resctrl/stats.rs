// SPDX-License-Identifier: Apache-2.0
//! What resctrl counts of a container, under the names that `runc events` has given it.
#![expect(clippy::disallowed_methods, reason = "resctrl is the host's")]

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::str::FromStr;

use serde::Serialize;

use super::Class;
use crate::error::{Call, Fault};

/// Everything at one moment; what this machine does not have is left out.
#[derive(Debug, Default, Serialize)]
pub struct Stats {
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_info: Option<CacheInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    l3_cache_schema: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_info: Option<BandwidthInfo>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_schema_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mem_bw_schema: Option<String>,
    /// For each L3 cache.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mbm_stats: Vec<Bandwidth>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    cmt_stats: Vec<Occupancy>,
}

#[derive(Debug, Serialize)]
struct CacheInfo {
    cbm_mask: Option<String>,
    min_cbm_bits: Option<u64>,
    num_closids: Option<u64>,
}

#[derive(Debug, Serialize)]
struct BandwidthInfo {
    bandwidth_gran: Option<u64>,
    delay_linear: Option<u64>,
    min_bandwidth: Option<u64>,
    num_closids: Option<u64>,
}

/// Bytes since the group was made.
#[derive(Debug, Serialize)]
struct Bandwidth {
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mbm_local_bytes: Option<u64>,
}

/// Bytes at this moment.
#[derive(Debug, Serialize)]
struct Occupancy {
    llc_occupancy: u64,
}

impl Class {
    /// Of the container's monitoring group, or of its whole class where it has none.
    pub fn stats(&self) -> Result<Stats, Fault> {
        let info = self.root.join("info");
        let (cache, bandwidth) = (info.join("L3"), info.join("MB"));
        let mut stats = Stats {
            l3_cache_schema_root: schema(&self.root, "L3:")?,
            l3_cache_schema: schema(&self.dir, "L3:")?,
            mem_bw_schema_root: schema(&self.root, "MB:")?,
            mem_bw_schema: schema(&self.dir, "MB:")?,
            ..Stats::default()
        };
        if cache.is_dir() {
            stats.l3_cache_info = Some(CacheInfo {
                cbm_mask: text(&cache.join("cbm_mask"))?,
                min_cbm_bits: number(&cache.join("min_cbm_bits"))?,
                num_closids: number(&cache.join("num_closids"))?,
            });
        }
        if bandwidth.is_dir() {
            stats.mem_bw_info = Some(BandwidthInfo {
                bandwidth_gran: number(&bandwidth.join("bandwidth_gran"))?,
                delay_linear: number(&bandwidth.join("delay_linear"))?,
                min_bandwidth: number(&bandwidth.join("min_bandwidth"))?,
                num_closids: number(&bandwidth.join("num_closids"))?,
            });
        }
        for dir in caches(self.monitor.as_ref().unwrap_or(&self.dir))? {
            let bandwidth = Bandwidth {
                mbm_total_bytes: number(&dir.join("mbm_total_bytes"))?,
                mbm_local_bytes: number(&dir.join("mbm_local_bytes"))?,
            };
            if bandwidth.mbm_total_bytes.is_some() || bandwidth.mbm_local_bytes.is_some() {
                stats.mbm_stats.push(bandwidth);
            }
            let occupancy = number(&dir.join("llc_occupancy"))?;
            stats.cmt_stats.extend(occupancy.map(|llc_occupancy| Occupancy { llc_occupancy }));
        }
        Ok(stats)
    }
}

/// The directories of the L3 caches, in their order.
fn caches(group: &Path) -> Result<Vec<std::path::PathBuf>, Fault> {
    let dir = group.join("mon_data");
    let entries = match fs::read_dir(&dir) {
        // A processor that does not count.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.call(|| format!("open({dir:?})"))?,
    };
    let of_l3 = |path: &std::path::PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("mon_L3_"))
    };
    let mut all: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(of_l3).collect();
    all.sort();
    Ok(all)
}

/// The line of one resource.
fn schema(dir: &Path, resource: &str) -> Result<Option<String>, Fault> {
    let all = text(&dir.join("schemata"))?.unwrap_or_default();
    Ok(all.lines().map(str::trim).find(|line| line.starts_with(resource)).map(str::to_owned))
}

/// A file that is not there says nothing.
fn text(path: &Path) -> Result<Option<String>, Fault> {
    match fs::read_to_string(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        other => Ok(Some(other.call(|| format!("read({path:?})"))?.trim().to_owned())),
    }
}

/// Nor does one that says "Unavailable" or "Error": a wrong 0 is worse than none.
fn number(path: &Path) -> Result<Option<u64>, Fault> {
    Ok(text(path)?.and_then(|text| u64::from_str(&text).ok()))
}
