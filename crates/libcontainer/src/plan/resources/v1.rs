// SPDX-License-Identifier: Apache-2.0
//! `linux.resources` in the words of cgroup v1, one hierarchy after the other.

use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxNetwork, LinuxResources};

use super::{Devices, Limits, Swap, Write, cpu_list, memory_and_swap, page_size, rdma, weight};
use crate::plan::devices;
use crate::plan::problem::Problem;

/// What is to be written on a v1 host, or on a hybrid one.
pub fn v1(resources: &LinuxResources, problems: &mut Vec<Problem>) -> Limits {
    let mut limits = Limits::default();
    if let Some(it) = resources.memory() {
        memory(it, &mut limits, problems);
    }
    if let Some(it) = resources.cpu() {
        cpu(it, &mut limits.writes, problems);
    }
    if let Some(pids) = resources.pids() {
        let max = if pids.limit() < 0 { "max".to_owned() } else { pids.limit().to_string() };
        limits.writes.push(Write::new("pids.max", max, "linux.resources.pids.limit").late());
    }
    if let Some(it) = resources.block_io() {
        block_io(it, &mut limits.writes, problems);
    }
    for (i, it) in resources.hugepage_limits().iter().flatten().enumerate() {
        let property = format!("linux.resources.hugepageLimits[{i}]");
        if let Some(size) = page_size(it, &property, problems) {
            let property = format!("{property}.limit");
            let limit = it.limit().max(-1);
            limits.writes.push(Write::new(format!("hugetlb.{size}.limit_in_bytes"), limit, &property));
            // Kernels before 5.7 do not count reservations apart.
            limits
                .writes
                .push(Write::new(format!("hugetlb.{size}.rsvd.limit_in_bytes"), limit, property).or_skip());
        }
    }
    if let Some(it) = resources.network() {
        network(it, &mut limits.writes, problems);
    }
    rdma(resources, &mut limits.writes, problems);
    if resources.unified().as_ref().is_some_and(|unified| !unified.is_empty()) {
        problems.push(
            Problem::new(
                "linux.resources.unified",
                "invalid configuration: it is for cgroup v2, this host has v1",
            )
            .hint("use the properties of linux.resources.memory, cpu, … instead"),
        );
    }
    limits.rules = devices::rules(resources.devices().as_deref().unwrap_or_default(), problems);
    limits.devices = if devices::all_allowed(&limits.rules) {
        Devices::Open
    } else {
        match devices::lines(&limits.rules) {
            Ok(lines) => Devices::Lines(device_lines(lines)),
            Err(problem) => {
                problems.push(problem);
                Devices::Open
            }
        }
    };
    limits
}

/// A device that every container has is done without where a group above has not got it.
fn device_lines(lines: Vec<(&str, String)>) -> Vec<Write> {
    let defaults: Vec<String> = devices::defaults().map(|rule| rule.to_string()).collect();
    let is_default = |line: &str| defaults.iter().any(|rule| rule.strip_prefix("allow ") == Some(line));
    lines
        .into_iter()
        .map(|(file, line)| {
            let default = is_default(&line);
            let write = Write::new(file, line, devices::PROPERTY);
            if default { write.or_skip() } else { write }
        })
        .collect()
}

fn memory(memory: &LinuxMemory, limits: &mut Limits, problems: &mut Vec<Problem>) {
    let writes = &mut limits.writes;
    if let Some(limit) = memory.limit().filter(|limit| *limit != 0) {
        let property = "linux.resources.memory.limit";
        writes.push(Write::new("memory.limit_in_bytes", limit.max(-1), property).late());
    }
    // In a new group both are unlimited, and the kernel keeps memory <= memory + swap: so
    // memory comes first.
    let swap = match memory_and_swap(memory, problems) {
        None => None,
        Some(Swap::Unlimited) => Some(-1),
        Some(Swap::Alone(total) | Swap::Both { total, .. }) => Some(total),
    };
    if let Some(swap) = swap {
        let property = "linux.resources.memory.swap";
        let write = Write::new("memory.memsw.limit_in_bytes", swap, property).late();
        writes.push(if swap == -1 { write.or_skip() } else { write });
    }
    if let Some(reservation) = memory.reservation().filter(|it| *it != 0) {
        let property = "linux.resources.memory.reservation";
        writes.push(Write::new("memory.soft_limit_in_bytes", reservation.max(-1), property));
    }
    // Podman says "unset" as the largest number.
    if let Some(swappiness) = memory.swappiness().filter(|it| *it != u64::MAX) {
        let property = "linux.resources.memory.swappiness";
        if swappiness > 100 {
            problems.push(Problem::new(property, format!("{swappiness} is not from 0 to 100")));
        } else {
            writes.push(Write::new("memory.swappiness", swappiness, property));
        }
    }
    if memory.disable_oom_killer() == Some(true) {
        writes.push(Write::new("memory.oom_control", 1, "linux.resources.memory.disableOOMKiller"));
    }
    for (set, name) in [
        (memory.kernel().is_some_and(|it| it != 0), "kernel"),
        (memory.kernel_tcp().is_some_and(|it| it != 0), "kernelTCP"),
    ] {
        if set {
            limits.warnings.push(Problem::new(
                format!("linux.resources.memory.{name}"),
                "is ignored: kernels have no limit of this kind any more",
            ));
        }
    }
}

fn cpu(cpu: &LinuxCpu, writes: &mut Vec<Write>, problems: &mut Vec<Problem>) {
    // Real-time first: while it is 0 no real-time process may join.
    if let Some(period) = cpu.realtime_period().filter(|it| *it != 0) {
        writes.push(Write::new("cpu.rt_period_us", period, "linux.resources.cpu.realtimePeriod"));
    }
    if let Some(runtime) = cpu.realtime_runtime().filter(|it| *it != 0) {
        writes.push(Write::new("cpu.rt_runtime_us", runtime, "linux.resources.cpu.realtimeRuntime"));
    }
    if let Some(shares) = cpu.shares().filter(|it| *it != 0) {
        let property = "linux.resources.cpu.shares";
        if (2..=262_144).contains(&shares) {
            writes.push(Write::new("cpu.shares", shares, property));
        } else {
            // The kernel would take another value and say nothing.
            let least = if shares < 2 {
                "minimum allowed cpu-shares is 2"
            } else {
                "maximum allowed cpu-shares is 262144"
            };
            problems.push(Problem::new(property, format!("{shares}: the {least}")));
        }
    }
    if let Some(period) = cpu.period().filter(|it| *it != 0) {
        writes.push(Write::new("cpu.cfs_period_us", period, "linux.resources.cpu.period"));
    }
    if let Some(quota) = cpu.quota().filter(|it| *it != 0) {
        writes.push(Write::new("cpu.cfs_quota_us", quota.max(-1), "linux.resources.cpu.quota"));
    }
    // After the quota, which bounds it.
    if let Some(burst) = cpu.burst() {
        writes.push(Write::new("cpu.cfs_burst_us", burst, "linux.resources.cpu.burst"));
    }
    // After the shares: an idle group refuses them.
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

fn block_io(block_io: &LinuxBlockIo, writes: &mut Vec<Write>, problems: &mut Vec<Problem>) {
    // CFQ's file until Linux 5.0, BFQ's since.
    for (it, name, file, bfq) in [
        (block_io.weight(), "weight", "blkio.weight", Some("blkio.bfq.weight")),
        (block_io.leaf_weight(), "leafWeight", "blkio.leaf_weight", None),
    ] {
        let property = format!("linux.resources.blockIO.{name}");
        if let Some(it) = weight(it, &property, problems) {
            let write = Write::new(file, it, property);
            writes.push(match bfq {
                Some(bfq) => write.or_try(bfq, it),
                None => write,
            });
        }
    }
    for (i, device) in block_io.weight_device().iter().flatten().enumerate() {
        let (major, minor) = (device.major(), device.minor());
        for (it, name, file, bfq) in [
            (device.weight(), "weight", "blkio.weight_device", Some("blkio.bfq.weight_device")),
            (device.leaf_weight(), "leafWeight", "blkio.leaf_weight_device", None),
        ] {
            let property = format!("linux.resources.blockIO.weightDevice[{i}].{name}");
            if let Some(it) = weight(it, &property, problems) {
                let line = format!("{major}:{minor} {it}");
                let write = Write::new(file, &line, property);
                writes.push(match bfq {
                    Some(bfq) => write.or_try(bfq, line),
                    None => write,
                });
            }
        }
    }
    for (devices, name, file) in [
        (block_io.throttle_read_bps_device(), "throttleReadBpsDevice", "blkio.throttle.read_bps_device"),
        (block_io.throttle_write_bps_device(), "throttleWriteBpsDevice", "blkio.throttle.write_bps_device"),
        (block_io.throttle_read_iops_device(), "throttleReadIOPSDevice", "blkio.throttle.read_iops_device"),
        (
            block_io.throttle_write_iops_device(),
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
        ),
    ] {
        for (i, device) in devices.iter().flatten().enumerate() {
            let line = format!("{}:{} {}", device.major(), device.minor(), device.rate());
            writes.push(Write::new(file, line, format!("linux.resources.blockIO.{name}[{i}]")));
        }
    }
}

fn network(network: &LinuxNetwork, writes: &mut Vec<Write>, problems: &mut Vec<Problem>) {
    if let Some(class) = network.class_id().filter(|it| *it != 0) {
        writes.push(Write::new("net_cls.classid", class, "linux.resources.network.classID"));
    }
    for (i, priority) in network.priorities().iter().flatten().enumerate() {
        let property = format!("linux.resources.network.priorities[{i}]");
        let name = priority.name();
        if name.is_empty() || name.contains(char::is_whitespace) {
            problems.push(Problem::new(format!("{property}.name"), format!("{name:?} is not an interface")));
            continue;
        }
        writes.push(Write::new("net_prio.ifpriomap", format!("{name} {}", priority.priority()), property));
    }
}
