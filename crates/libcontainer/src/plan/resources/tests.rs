// SPDX-License-Identifier: Apache-2.0
//! JSON in, lines out.

use super::*;
use crate::plan::cgroup::Hierarchy;

fn parse(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// "file=value" of each write, an asterisk behind late ones; panics at problems.
fn lines(limits: impl Fn(&LinuxResources, &mut Vec<Problem>) -> Limits, json: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let limits = limits(&parse(json), &mut problems);
    assert_eq!(problems, []);
    let late = |w: &Write| if w.late { "*" } else { "" };
    limits.writes.iter().map(|w| format!("{}={}{}", w.file, w.value, late(w))).collect()
}

fn problems(limits: impl Fn(&LinuxResources, &mut Vec<Problem>) -> Limits, json: &str) -> String {
    let mut problems = Vec::new();
    limits(&parse(json), &mut problems);
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
}

const MANY: &str = r#"{
    "memory": {"limit": 1000, "swap": 1500, "reservation": 700, "swappiness": 7},
    "cpu": {"shares": 1024, "quota": 5000, "period": 10000, "burst": 200, "idle": 0, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 0},
    "blockIO": {"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}],
        "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
        "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}]},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 209715200}],
    "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1}}
}"#;

#[test]
fn v1_has_a_line_for_every_property() {
    let expected = [
        "memory.limit_in_bytes=1000*",
        "memory.memsw.limit_in_bytes=1500*",
        "memory.soft_limit_in_bytes=700",
        "memory.swappiness=7",
        "cpu.shares=1024",
        "cpu.cfs_period_us=10000",
        "cpu.cfs_quota_us=5000",
        "cpu.cfs_burst_us=200",
        "cpu.idle=0",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "pids.max=0*",
        "blkio.weight=500",
        "blkio.weight_device=8:0 10",
        "blkio.throttle.read_bps_device=8:0 600",
        "blkio.throttle.write_iops_device=8:16 0",
        "hugetlb.2MB.limit_in_bytes=209715200",
        "hugetlb.2MB.rsvd.limit_in_bytes=209715200",
        "rdma.max=mlx4_0 hca_object=1",
        "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
    ];
    assert_eq!(lines(v1, MANY), expected);
}

#[test]
fn v2_has_a_line_for_every_property() {
    let expected = [
        "memory.swap.max=500",
        "memory.max=1000*",
        "memory.low=700",
        "cpu.weight=100",
        "cpu.max=5000 10000",
        "cpu.max.burst=200",
        "cpu.idle=0",
        "cpuset.cpus=0-1",
        "cpuset.mems=0",
        "pids.max=0*",
        "io.bfq.weight=500",
        "io.bfq.weight=8:0 10",
        "io.max=8:0 rbps=600",
        "io.max=8:16 wiops=max",
        "hugetlb.2MB.max=209715200",
        "hugetlb.2MB.rsvd.max=209715200",
        "rdma.max=mlx4_0 hca_object=1",
        "rdma.max=mlx5_1 hca_handle=3 hca_object=10000",
    ];
    assert_eq!(lines(v2, MANY), expected);
    let limits = v2(&parse(MANY), &mut Vec::new());
    assert_eq!(limits.writes[10].lacking, Lacking::Try("io.weight".into(), "4950".into()));
    assert_eq!(limits.warnings[0].property, "linux.resources.memory.swappiness");
}

#[test]
fn v1_has_network_and_real_time_and_v2_refuses_them() {
    let json = r#"{"cpu": {"realtimeRuntime": 950, "realtimePeriod": 1000},
        "network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]}}"#;
    let expected = [
        "cpu.rt_period_us=1000",
        "cpu.rt_runtime_us=950",
        "net_cls.classid=1048577",
        "net_prio.ifpriomap=lo 5",
    ];
    assert_eq!(lines(v1, json), expected);
    assert_eq!(
        problems(v2, json),
        "linux.resources.cpu.realtimeRuntime: cgroup v2 has no real-time scheduling of groups; \
         linux.resources.cpu.realtimePeriod: cgroup v2 has no real-time scheduling of groups; \
         linux.resources.network.classID: cgroup v2 has no classes of network packets; \
         linux.resources.network.priorities: cgroup v2 has no network priorities"
    );
}

#[test]
fn unlimited_and_unset() {
    let json = r#"{"memory": {"limit": -1}, "cpu": {"quota": -1, "shares": 0}, "pids": {"limit": -1}}"#;
    assert_eq!(
        lines(v1, json),
        [
            "memory.limit_in_bytes=-1*",
            "memory.memsw.limit_in_bytes=-1*",
            "cpu.cfs_quota_us=-1",
            "pids.max=max*"
        ]
    );
    assert_eq!(
        lines(v2, json),
        ["memory.swap.max=max", "memory.max=max*", "cpu.max=max 100000", "pids.max=max*"]
    );
    let json =
        r#"{"memory": {"limit": 0, "swap": 0, "reservation": 0}, "cpu": {}, "blockIO": {"weight": 0}}"#;
    assert_eq!(lines(v1, json), [""; 0]);
    assert_eq!(lines(v2, json), [""; 0]);
    assert!(!v2(&parse(json), &mut Vec::new()).asked());
}

#[test]
fn swap_counts_memory_and_swap_together() {
    assert_eq!(
        lines(v2, r#"{"memory": {"limit": 10, "swap": 10}}"#),
        ["memory.swap.max=0", "memory.max=10*"]
    );
    assert_eq!(
        lines(v2, r#"{"memory": {"limit": 10, "swap": -1}}"#),
        ["memory.swap.max=max", "memory.max=10*"]
    );
    for limits in [v1, v2] {
        assert_eq!(
            problems(limits, r#"{"memory": {"limit": 10, "swap": 9}}"#),
            "linux.resources.memory.swap: 9 is less than the memory limit 10"
        );
        assert!(problems(limits, r#"{"memory": {"swap": 9}}"#).contains("memory has no limit"));
    }
}

#[test]
fn weights_follow_the_curve() {
    for (shares, weight) in
        [(1, 1), (2, 1), (1024, 100), (3333, 128 * 2), (262_144, 10_000), (u64::MAX, 10_000)]
    {
        let json = format!(r#"{{"cpu": {{"shares": {shares}}}}}"#);
        if shares == 3333 {
            // Between the default and four times it.
            let value: u64 = lines(v2, &json)[0].strip_prefix("cpu.weight=").unwrap().parse().unwrap();
            assert!((101..=weight).contains(&value), "{value}");
            continue;
        }
        assert_eq!(lines(v2, &json), [format!("cpu.weight={weight}")], "{shares}");
    }
    assert!(problems(v1, r#"{"cpu": {"shares": 1}}"#).contains("minimum allowed cpu-shares is 2"));
    assert!(problems(v1, r#"{"cpu": {"shares": 262145}}"#).contains("maximum allowed cpu-shares is 262144"));
    assert_eq!(
        problems(v2, r#"{"blockIO": {"weight": 9}}"#),
        "linux.resources.blockIO.weight: 9 is not a weight: they go from 10 to 1000"
    );
}

#[test]
fn unified_is_for_v2_and_names_files() {
    let json =
        r#"{"unified": {"memory.max": "10", "io.max": "8:0 rbps=1\n8:16 rbps=2", "cgroup.max.depth": "3"}}"#;
    assert_eq!(
        lines(v2, json),
        ["cgroup.max.depth=3", "io.max=8:0 rbps=1", "io.max=8:16 rbps=2", "memory.max=10*"]
    );
    assert_eq!(v2(&parse(json), &mut Vec::new()).writes[0].controller, "");
    assert!(problems(v1, json).contains("invalid configuration"));
    for bad in ["../x/memory.max", "memory", "cgroup.procs", "cgroup.kill", ".."] {
        let json = format!(r#"{{"unified": {{"{bad}": "1"}}}}"#);
        assert!(problems(v2, &json).starts_with(&format!("linux.resources.unified.{bad}: ")), "{bad}");
    }
}

#[test]
fn names_that_become_file_names_or_lines_are_checked() {
    for size in ["2M", "../../x/2MB", "02MB", "MB"] {
        let json = format!(r#"{{"hugepageLimits": [{{"pageSize": "{size}", "limit": 1}}]}}"#);
        assert!(problems(v1, &json).starts_with("linux.resources.hugepageLimits[0].pageSize: "), "{size}");
    }
    assert!(
        problems(v2, r#"{"rdma": {"a b": {"hcaObjects": 1}}}"#).contains("not the name of an RDMA device")
    );
    assert!(problems(v2, r#"{"cpu": {"cpus": "0\n1"}}"#).contains("not a list of numbers"));
}

#[test]
fn a_host_without_the_controller_is_told_at_once() {
    let hierarchy = |names: &[&str]| Hierarchy {
        dir: names.join(","),
        controllers: names.iter().map(|name| (*name).to_owned()).collect(),
        own: "/".into(),
    };
    let mut layout = CgroupLayout::V1 {
        hierarchies: vec![hierarchy(&["cpu", "cpuacct"]), hierarchy(&["devices"])],
        unified: Some(hierarchy(&[])),
    };
    let json = r#"{"cpu": {"shares": 3}, "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]}"#;
    let mut problems = Vec::new();
    let found = limits(Some(&parse(json)), &layout, &mut problems);
    assert!(matches!(found.devices, Devices::Lines(_)));
    assert_eq!(
        problems[0].to_string(),
        "linux.resources.hugepageLimits[0].limit: this host has no cgroup v1 hierarchy with the controller hugetlb"
    );
    // The v2 tree of a hybrid host takes the device program instead.
    if let CgroupLayout::V1 { hierarchies, .. } = &mut layout {
        hierarchies.pop();
    }
    assert!(matches!(limits(None, &layout, &mut Vec::new()).devices, Devices::Program(_)));
}
