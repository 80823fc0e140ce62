// SPDX-License-Identifier: Apache-2.0
//! `soute update`: other limits for a container that runs.

use std::io::Read as _;
use std::path::PathBuf;

use clap::Args;
use libcontainer::error::{Call, Error, Kind, Result};
use libcontainer::{Resources, UpdateRequest};
use serde_json::{Map, Value, json};

use super::Verb;
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Update {
    /// Read the limits from this file ("-": standard input), in the form of config.json's linux.resources
    #[arg(long, short, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Weight of block I/O, from 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,
    /// Length of a period in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_period: Option<u64>,
    /// CPU time in a period, in microseconds; -1 is no limit
    #[arg(long, value_name = "USEC")]
    cpu_quota: Option<i64>,
    /// Unused CPU time that may be saved up, in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_burst: Option<u64>,
    /// Relative weight, from 2 to 262144
    #[arg(long, value_name = "SHARES")]
    cpu_share: Option<u64>,
    /// cgroup v1: length of a period of real-time scheduling in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_rt_period: Option<u64>,
    /// cgroup v1: real-time CPU time in a period, in microseconds
    #[arg(long, value_name = "USEC")]
    cpu_rt_runtime: Option<i64>,
    /// 1: run only when nobody else wants to
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,
    /// CPUs, as in 0-3,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes, as in 0-1
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    /// Memory, as in 512m; -1 is no limit
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory: Option<i64>,
    /// Memory that is left to the container under pressure
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_reservation: Option<i64>,
    /// Memory and swap together; -1 is no limit
    #[arg(long, value_name = "SIZE", value_parser = size)]
    memory_swap: Option<i64>,
    /// Accepted and ignored: kernels have no such limit any more
    #[arg(long, value_name = "SIZE", value_parser = size)]
    kernel_memory: Option<i64>,
    /// Accepted and ignored: kernels have no such limit any more
    #[arg(long, value_name = "SIZE", value_parser = size)]
    kernel_memory_tcp: Option<i64>,
    /// Number of processes and threads; -1 is no limit
    #[arg(long, value_name = "COUNT")]
    pids_limit: Option<i64>,
    /// Share of the L3 cache, as in L3:0=f;1=f0
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Share of the memory bandwidth, as in MB:0=50;1=20
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
    /// Also a memory limit below what the container uses
    #[arg(long)]
    force: bool,
    /// The container's name
    id: String,
}

impl Update {
    /// What the library is asked for.
    pub fn request(self) -> Result<UpdateRequest> {
        let single = self.flags();
        let resources = match self.resources {
            Some(_) if single != json!({}) => {
                return Err(Error::new(Kind::Config, "--resources excludes the flags of single limits"));
            }
            Some(path) if path.as_os_str() == "-" => {
                let mut text = Vec::new();
                std::io::stdin().read_to_end(&mut text).call(|| "read(standard input)")?;
                Resources::Text(text, "standard input")
            }
            Some(path) => Resources::File(path),
            None => Resources::Text(single.to_string().into_bytes(), "the command line"),
        };
        Ok(UpdateRequest {
            id: self.id,
            resources,
            force: self.force,
            l3_cache_schema: self.l3_cache_schema,
            mem_bw_schema: self.mem_bw_schema,
        })
    }

    /// The flags in the form of linux.resources.
    fn flags(&self) -> Value {
        let mut all = Map::new();
        let mut set = |group: &str, name: &str, value: Option<Value>| {
            if let Some(value) = value {
                all.entry(group).or_insert_with(|| json!({}))[name] = value;
            }
        };
        set("blockIO", "weight", self.blkio_weight.map(Value::from));
        set("cpu", "period", self.cpu_period.map(Value::from));
        set("cpu", "quota", self.cpu_quota.map(Value::from));
        set("cpu", "burst", self.cpu_burst.map(Value::from));
        set("cpu", "shares", self.cpu_share.map(Value::from));
        set("cpu", "realtimePeriod", self.cpu_rt_period.map(Value::from));
        set("cpu", "realtimeRuntime", self.cpu_rt_runtime.map(Value::from));
        set("cpu", "idle", self.cpu_idle.map(Value::from));
        set("cpu", "cpus", self.cpuset_cpus.clone().map(Value::from));
        set("cpu", "mems", self.cpuset_mems.clone().map(Value::from));
        set("memory", "limit", self.memory.map(Value::from));
        set("memory", "reservation", self.memory_reservation.map(Value::from));
        set("memory", "swap", self.memory_swap.map(Value::from));
        set("memory", "kernel", self.kernel_memory.map(Value::from));
        set("memory", "kernelTCP", self.kernel_memory_tcp.map(Value::from));
        set("pids", "limit", self.pids_limit.map(Value::from));
        Value::Object(all)
    }
}

impl Verb for Update {
    const NAME: &'static str = "update";
    const ABOUT: &'static str = "Change the limits of a container";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        libcontainer::update(&global.context()?, &self.request()?)?;
        Ok(0)
    }
}

/// Bytes, as people write them: `512m`, `1.5GiB`, `64kb`; the units are powers of 1024.
fn size(text: &str) -> Result<i64, String> {
    if text == "-1" {
        return Ok(-1);
    }
    let invalid = || format!("invalid size \"{text}\": as in 512m, 1.5g, 1048576 or -1");
    let lower = text.to_ascii_lowercase();
    let end = lower.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(lower.len());
    let (number, unit) = lower.split_at(end);
    let unit = unit.trim_start();
    let scale = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit) {
        "" if !unit.starts_with('i') => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return Err(invalid()),
    };
    if let Ok(whole) = number.parse::<i64>() {
        return whole.checked_mul(1 << scale).ok_or_else(invalid);
    }
    let bytes = number.parse::<f64>().map_err(|_| invalid())? * f64::from(2).powi(scale);
    // Beyond that the fraction of a size means nothing, and i64 ends.
    if bytes.is_finite() && bytes < 9e18 { Ok(bytes as i64) } else { Err(invalid()) }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("-1", -1),
            ("1048576", 1 << 20),
            ("512m", 512 << 20),
            ("512M", 512 << 20),
            ("32kiB", 32 << 10),
            ("32KB", 32 << 10),
            ("1.5g", 3 << 29),
            ("1 GB", 1 << 30),
            ("7b", 7),
            ("2t", 2 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in
            ["", "m", "-2", "1x", "1mm", "1ib", ".", "1.2.3m", "99999999p", "m1", "1m1", "inf", "nan", "1e3"]
        {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
