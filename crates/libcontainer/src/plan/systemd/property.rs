// SPDX-License-Identifier: Apache-2.0
//! From the lines for cgroup v2 files to the properties by which systemd writes the same files.
//!
//! Working from the lines, and not from `linux.resources` once more, makes the two agree, also
//! for what `unified` names and for the former values of an `update` that failed.

use super::Property;
use super::value::Value;
use crate::plan::devices::{self, Kind, Rule};
use crate::plan::resources::{Devices, Lacking, Limits, Write};

/// systemd's word for no limit.
const INFINITY: u64 = u64::MAX;

/// The properties of the lines that have one; of two for the same the last counts.
pub fn properties(writes: &[Write]) -> Vec<Property> {
    let mut all: Vec<Property> = Vec::new();
    for write in writes {
        let (file, value) = match &write.lacking {
            // systemd knows the general weight, and converts it where bfq is at work.
            Lacking::Try(file, value) if write.file == "io.bfq.weight" => (file, value),
            _ => (&write.file, &write.value),
        };
        for (name, value) in of_line(file, value.trim()) {
            // What is not idle has the weight that is set beside it.
            if file == "cpu.idle" && value == Value::U64(INFINITY) && all.iter().any(|it| it.name == name) {
                continue;
            }
            set(&mut all, name, value, &write.property);
        }
    }
    all
}

/// Lists grow: each device has an entry of its own.
fn set(all: &mut Vec<Property>, name: &str, value: Value, origin: &str) {
    match all.iter_mut().find(|it| it.name == name) {
        Some(Property { value: Value::Array(of, items), .. }) if of == "(st)" => {
            if let Value::Array(_, new) = value {
                items.extend(new);
            }
        }
        Some(there) => (there.value, there.origin) = (value, origin.to_owned()),
        None => all.push(Property { name: name.to_owned(), value, origin: origin.to_owned() }),
    }
}

/// What one line is in systemd's words.
fn of_line(file: &str, line: &str) -> Vec<(&'static str, Value)> {
    let one = |name, value: Option<Value>| value.map(|value| (name, value)).into_iter().collect();
    // Where 0 is no value for systemd it gets the least that is one; the line says the rest.
    let limit = |least| number(line).map(|it| Value::U64(it.max(least)));
    match file {
        "memory.max" => one("MemoryMax", limit(1)),
        "memory.high" => one("MemoryHigh", limit(1)),
        "memory.low" => one("MemoryLow", limit(0)),
        "memory.min" => one("MemoryMin", limit(0)),
        "memory.swap.max" => one("MemorySwapMax", limit(0)),
        "memory.zswap.max" => one("MemoryZSwapMax", limit(0)),
        "pids.max" => one("TasksMax", limit(1)),
        "cpu.weight" => one("CPUWeight", limit(1)),
        // Its weight of 0 means idle, and none the default.
        "cpu.idle" => one("CPUWeight", Some(Value::U64(if line == "1" { 0 } else { INFINITY }))),
        "cpu.max" => cpu_max(line),
        "cpuset.cpus" => one("AllowedCPUs", bits(line)),
        "cpuset.mems" => one("AllowedMemoryNodes", bits(line)),
        "io.weight" => io_weight(line),
        "io.max" => io_max(line),
        "io.latency" => io_latency(line).into_iter().collect(),
        _ => Vec::new(),
    }
}

fn number(text: &str) -> Option<u64> {
    if text == "max" { Some(INFINITY) } else { text.parse().ok() }
}

/// `QUOTA PERIOD` in microseconds. systemd counts whole percents, so the quota is rounded up: less
/// than what was asked would come into force at the next daemon-reload.
fn cpu_max(line: &str) -> Vec<(&'static str, Value)> {
    const SECOND: u64 = 1_000_000;
    const PERCENT: u64 = SECOND / 100;
    let mut words = line.split_whitespace();
    let Some(quota) = words.next().and_then(number) else { return Vec::new() };
    let period = words.next().and_then(number).filter(|it| *it != 0).unwrap_or(SECOND / 10);
    let quota = match quota {
        INFINITY => INFINITY,
        quota => match quota.saturating_mul(SECOND).div_ceil(period).div_ceil(PERCENT) {
            0 => return Vec::new(),
            percents => percents.saturating_mul(PERCENT),
        },
    };
    vec![("CPUQuotaPerSecUSec", Value::U64(quota)), ("CPUQuotaPeriodUSec", Value::U64(period))]
}

/// `0-3,7` as a row of bits, the lowest first; no list at all is an empty row.
fn bits(list: &str) -> Option<Value> {
    // More than any kernel is built for.
    const MOST: usize = 8192;
    let mut bytes = Vec::new();
    for part in list.split([',', ' ']).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= MOST {
            return None;
        }
        for bit in first..=last {
            if bytes.len() <= bit / 8 {
                bytes.resize(bit / 8 + 1, 0u8);
            }
            bytes[bit / 8] |= 1 << (bit % 8);
        }
    }
    Some(Value::bytes(&bytes))
}

fn io_weight(line: &str) -> Vec<(&'static str, Value)> {
    let (device, weight) = line.rsplit_once(' ').unwrap_or(("default", line));
    let Some(weight) = number(weight).filter(|it| (1..=10_000).contains(it)) else { return Vec::new() };
    match device {
        "default" => vec![("IOWeight", Value::U64(weight))],
        number => per_device("IODeviceWeight", number, weight).into_iter().collect(),
    }
}

fn io_max(line: &str) -> Vec<(&'static str, Value)> {
    let mut words = line.split_whitespace();
    let Some(device) = words.next() else { return Vec::new() };
    let limit = |word: &str| {
        let (key, value) = word.split_once('=')?;
        let name = match key {
            "rbps" => "IOReadBandwidthMax",
            "wbps" => "IOWriteBandwidthMax",
            "riops" => "IOReadIOPSMax",
            "wiops" => "IOWriteIOPSMax",
            _ => return None,
        };
        per_device(name, device, number(value)?)
    };
    words.filter_map(limit).collect()
}

fn io_latency(line: &str) -> Option<(&'static str, Value)> {
    let (device, target) = line.split_once(" target=")?;
    per_device("IODeviceLatencyTargetUSec", device, target.parse().ok()?)
}

fn per_device(name: &'static str, device: &str, value: u64) -> Option<(&'static str, Value)> {
    let numbers = device.split_once(':')?;
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(numbers.0) || !plain(numbers.1) {
        return None;
    }
    let path = Value::str(format!("/dev/block/{device}"));
    Some((name, Value::Array("(st)".to_owned(), vec![Value::Struct(vec![path, Value::U64(value)])])))
}

/// The device rules, as far as systemd can say them: a list of what is allowed. Its program and ours
/// must both agree, so the list may allow more, never less.
pub fn devices(limits: &Limits) -> Vec<Property> {
    let property =
        |name: &str, value| Property { name: name.to_owned(), value, origin: devices::PROPERTY.to_owned() };
    let entry = |node: String, access: String| Value::Struct(vec![Value::Str(node), Value::Str(access)]);
    let list = |entries| property("DeviceAllow", Value::Array("(ss)".to_owned(), entries));
    let auto = || vec![property("DevicePolicy", Value::str("auto")), list(Vec::new())];
    if !matches!(limits.devices, Devices::Program(_)) {
        return auto();
    }
    let mut entries = Vec::new();
    for rule in limits.rules.iter().filter(|rule| rule.allow) {
        for kind in kinds(rule) {
            match node(kind, rule) {
                Some(node) => entries.push(entry(node, rule.access.to_string())),
                None => return auto(),
            }
        }
    }
    // The first assignment takes away what an earlier one has left.
    vec![property("DevicePolicy", Value::str("strict")), list(Vec::new()), list(entries)]
}

fn kinds(rule: &Rule) -> Vec<Kind> {
    rule.kind.map_or_else(|| vec![Kind::Block, Kind::Char], |kind| vec![kind])
}

/// How a unit names them; by number, so that no node need be there.
fn node(kind: Kind, rule: &Rule) -> Option<String> {
    let word = if kind == Kind::Block { "block" } else { "char" };
    match (rule.major, rule.minor) {
        (Some(major), Some(minor)) => Some(format!("/dev/{word}/{major}:{minor}")),
        (Some(major), None) => Some(format!("{word}-{major}")),
        (None, None) => Some(format!("{word}-*")),
        // One minor of every major cannot be said.
        (None, Some(_)) => None,
    }
}
