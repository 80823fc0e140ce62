// SPDX-License-Identifier: Apache-2.0
//! `linux.resources` in the words of cgroup v2. The configuration speaks v1: weights are
//! converted, swap is counted apart, and what v2 has not got is a problem or a warning.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources};

use super::{Devices, Limits, Swap, Write, cpu_list, memory_and_swap, page_size, rdma, weight};
use crate::plan::devices;
use crate::plan::problem::Problem;

/// The kernel's own period, for a quota that comes without one.
const PERIOD: u64 = 100_000;

/// What is to be written on a pure v2 host.
pub fn v2(resources: &LinuxResources, problems: &mut Vec<Problem>) -> Limits {
    let mut limits = Limits::default();
    if let Some(it) = resources.memory() {
        memory(it, &mut limits, problems);
    }
    if let Some(it) = resources.cpu() {
        cpu(it, &mut limits.writes, problems);
    }
    if let Some(pids) = resources.pids() {
        limits.writes.push(Write::new("pids.max", max(pids.limit()), "linux.resources.pids.limit").late());
    }
    if let Some(it) = resources.block_io() {
        block_io(it, &mut limits.writes, problems);
    }
    for (i, it) in resources.hugepage_limits().iter().flatten().enumerate() {
        let property = format!("linux.resources.hugepageLimits[{i}]");
        if let Some(size) = page_size(it, &property, problems) {
            let (limit, property) = (max(it.limit()), format!("{property}.limit"));
            limits.writes.push(Write::new(format!("hugetlb.{size}.max"), &limit, &property));
            limits.writes.push(Write::new(format!("hugetlb.{size}.rsvd.max"), limit, property).or_skip());
        }
    }
    if let Some(network) = resources.network() {
        if network.class_id().is_some_and(|it| it != 0) {
            problems.push(only_v1("linux.resources.network.classID", "classes of network packets"));
        }
        if network.priorities().as_ref().is_some_and(|it| !it.is_empty()) {
            problems.push(only_v1("linux.resources.network.priorities", "network priorities"));
        }
    }
    rdma(resources, &mut limits.writes, problems);
    unified(resources, &mut limits.writes, problems);
    limits.rules = devices::rules(resources.devices().as_deref().unwrap_or_default(), problems);
    limits.devices = if devices::all_allowed(&limits.rules) {
        Devices::Open
    } else {
        Devices::Program(devices::program(&limits.rules))
    };
    limits
}

fn max(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

fn only_v1(property: &str, what: &str) -> Problem {
    Problem::new(property, format!("cgroup v2 has no {what}")).hint("leave it out on a host with cgroup v2")
}

fn memory(memory: &LinuxMemory, limits: &mut Limits, problems: &mut Vec<Problem>) {
    let writes = &mut limits.writes;
    let swap = match memory_and_swap(memory, problems) {
        None => None,
        Some(Swap::Unlimited) => Some(-1),
        Some(Swap::Alone(swap) | Swap::Both { swap, .. }) => Some(swap),
    };
    if let Some(swap) = swap {
        let write = Write::new("memory.swap.max", max(swap), "linux.resources.memory.swap");
        // A kernel without swap accounting has no file; no swap and no limit hold anyway.
        writes.push(if swap <= 0 { write.or_skip() } else { write });
    }
    if let Some(limit) = memory.limit().filter(|limit| *limit != 0) {
        writes.push(Write::new("memory.max", max(limit), "linux.resources.memory.limit").late());
    }
    if let Some(reservation) = memory.reservation().filter(|it| *it != 0) {
        writes.push(Write::new("memory.low", max(reservation), "linux.resources.memory.reservation"));
    }
    for (set, name) in [
        (memory.kernel().is_some_and(|it| it != 0), "kernel"),
        (memory.kernel_tcp().is_some_and(|it| it != 0), "kernelTCP"),
        (memory.swappiness().is_some_and(|it| it != u64::MAX), "swappiness"),
        (memory.disable_oom_killer() == Some(true), "disableOOMKiller"),
    ] {
        if set {
            limits.warnings.push(Problem::new(
                format!("linux.resources.memory.{name}"),
                "is ignored: cgroup v2 has nothing of the kind",
            ));
        }
    }
}

fn cpu(cpu: &LinuxCpu, writes: &mut Vec<Write>, problems: &mut Vec<Problem>) {
    for (set, name) in [
        (cpu.realtime_runtime().is_some_and(|it| it != 0), "realtimeRuntime"),
        (cpu.realtime_period().is_some_and(|it| it != 0), "realtimePeriod"),
    ] {
        if set {
            problems.push(only_v1(&format!("linux.resources.cpu.{name}"), "real-time scheduling of groups"));
        }
    }
    if let Some(shares) = cpu.shares().filter(|it| *it != 0) {
        writes.push(Write::new("cpu.weight", cpu_weight(shares), "linux.resources.cpu.shares"));
    }
    let quota = cpu.quota().filter(|it| *it != 0);
    let period = cpu.period().filter(|it| *it != 0);
    if quota.is_some() || period.is_some() {
        let property = if quota.is_some() { "quota" } else { "period" };
        let value = format!("{} {}", max(quota.unwrap_or(-1)), period.unwrap_or(PERIOD));
        writes.push(Write::new("cpu.max", value, format!("linux.resources.cpu.{property}")));
    }
    // After the quota, which bounds it.
    if let Some(burst) = cpu.burst() {
        writes.push(Write::new("cpu.max.burst", burst, "linux.resources.cpu.burst"));
    }
    // After the weight: an idle group refuses one.
    if let Some(idle) = cpu.idle() {
        writes.push(Write::new("cpu.idle", idle, "linux.resources.cpu.idle"));
    }
    for (list, name) in [(cpu.cpus(), "cpus"), (cpu.mems(), "mems")] {
        let property = format!("linux.resources.cpu.{name}");
        if let Some(list) = cpu_list(list.as_ref(), &property, problems) {
            writes.push(Write::new(format!("cpuset.{name}"), list, property));
        }
    }
}

/// From shares (2 to 262144, default 1024) to a weight (1 to 10000, default 100), along a
/// quadratic curve in the logarithms that meets both ends and the default. The linear
/// formula of old gave 39 for the default, and a container lost to every plain process.
/// <https://github.com/kubernetes/kubernetes/issues/131216>
fn cpu_weight(shares: u64) -> u64 {
    match shares {
        ..=2 => 1,
        262_144.. => 10_000,
        _ => {
            let l = (shares as f64).log2();
            let exponent = (l * l + 125.0 * l) / 612.0 - 7.0 / 34.0;
            10f64.powf(exponent).ceil() as u64
        }
    }
}

/// From a v1 weight (10 to 1000) to `io.weight` (1 to 10000).
fn io_weight(weight: u16) -> u64 {
    1 + (u64::from(weight) - 10) * 9999 / 990
}

fn block_io(block_io: &LinuxBlockIo, writes: &mut Vec<Write>, problems: &mut Vec<Problem>) {
    let property = "linux.resources.blockIO.weight";
    if let Some(it) = weight(block_io.weight(), property, problems) {
        writes.push(Write::new("io.bfq.weight", it, property).or_try("io.weight", io_weight(it)));
    }
    if block_io.leaf_weight().is_some_and(|it| it != 0) {
        problems.push(only_v1("linux.resources.blockIO.leafWeight", "leaf weights"));
    }
    for (i, device) in block_io.weight_device().iter().flatten().enumerate() {
        let property = format!("linux.resources.blockIO.weightDevice[{i}]");
        if device.leaf_weight().is_some_and(|it| it != 0) {
            problems.push(only_v1(&format!("{property}.leafWeight"), "leaf weights"));
        }
        let property = format!("{property}.weight");
        if let Some(it) = weight(device.weight(), &property, problems) {
            let number = format!("{}:{}", device.major(), device.minor());
            let write = Write::new("io.bfq.weight", format!("{number} {it}"), property);
            writes.push(write.or_try("io.weight", format!("{number} {}", io_weight(it))));
        }
    }
    for (devices, name, key) in [
        (block_io.throttle_read_bps_device(), "throttleReadBpsDevice", "rbps"),
        (block_io.throttle_write_bps_device(), "throttleWriteBpsDevice", "wbps"),
        (block_io.throttle_read_iops_device(), "throttleReadIOPSDevice", "riops"),
        (block_io.throttle_write_iops_device(), "throttleWriteIOPSDevice", "wiops"),
    ] {
        for (i, device) in devices.iter().flatten().enumerate() {
            // 0 takes a limit away on v1; v2 has a word for that.
            let rate = if device.rate() == 0 { "max".to_owned() } else { device.rate().to_string() };
            let line = format!("{}:{} {key}={rate}", device.major(), device.minor());
            writes.push(Write::new("io.max", line, format!("linux.resources.blockIO.{name}[{i}]")));
        }
    }
}

/// Files by their own names, in the order of these; they come last and so they win.
fn unified(resources: &LinuxResources, writes: &mut Vec<Write>, problems: &mut Vec<Problem>) {
    /// What acts, or moves processes, is no limit.
    const NOT_LIMITS: [&str; 6] = [
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.type",
        "cgroup.kill",
        "cgroup.freeze",
        "cgroup.subtree_control",
    ];
    let mut sorted: Vec<(&String, &String)> = resources.unified().iter().flatten().collect();
    sorted.sort();
    for (file, value) in sorted {
        let property = format!("linux.resources.unified.{file}");
        let fault = if file.contains(['/', '\0']) {
            Some("must be the name of a file in the group, without slashes")
        } else if !file.contains('.') || file.starts_with('.') {
            Some("is not the name of a cgroup v2 file")
        } else if NOT_LIMITS.contains(&file.as_str()) {
            Some("is not a limit")
        } else {
            None
        };
        if let Some(fault) = fault {
            problems.push(Problem::new(property, fault).hint("as in memory.high, pids.max, io.max"));
            continue;
        }
        // One file may have a line for each device.
        for line in value.lines().filter(|line| !line.trim().is_empty()) {
            let mut write = Write::new(file.as_str(), line, property.as_str());
            write.late = matches!(file.as_str(), "memory.max" | "pids.max");
            if write.controller == "cgroup" {
                write.controller = String::new();
            }
            writes.push(write);
        }
    }
}
