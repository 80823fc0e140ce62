// SPDX-License-Identifier: Apache-2.0
//! All or nothing, over plain files and over a model of what the kernel refuses.

use super::super::fake::Tree;
use super::*;
use crate::plan::resources::v2;

const FILES: &[(&str, &str)] = &[
    ("memory.swap.max", "max\n"),
    ("memory.max", "max\n"),
    ("memory.low", "0\n"),
    ("cpu.weight", "100\n"),
    ("cpu.max", "max 100000\n"),
    ("cpu.max.burst", "0\n"),
    ("cpu.idle", "0\n"),
    ("cpuset.cpus", "\n"),
    ("cpuset.mems", "\n"),
    ("pids.max", "max\n"),
    ("io.weight", "default 100\n"),
    ("io.max", "8:16 rbps=5 wbps=max riops=max wiops=max\n"),
    ("hugetlb.2MB.max", "max\n"),
    ("rdma.max", "mlx5_0 hca_handle=max hca_object=max\n"),
];

const WANTED: &str = r#"{
    "memory": {"limit": 1000, "swap": 1500, "reservation": 700},
    "cpu": {"shares": 2048, "quota": 5000, "period": 10000, "burst": 200, "idle": 1, "cpus": "0-1", "mems": "0"},
    "pids": {"limit": 7}, "blockIO": {"weight": 500},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
    "rdma": {"mlx5_0": {"hcaHandles": 3}}
}"#;

fn limits(json: &str) -> Limits {
    let mut problems = Vec::new();
    let limits = v2(&serde_json::from_str(json).unwrap(), &mut problems);
    assert_eq!(problems, []);
    limits
}

/// A group with the files above; its controllers are on.
fn tree() -> Tree {
    let tree = Tree::new(FILES);
    tree.write("cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma\n");
    tree
}

fn record(tree: &Tree) -> Record {
    Record { groups: vec![tree.group(&[])], ..Record::default() }
}

/// The first line of every file: what a write leaves of a plain one.
fn first_lines(tree: &Tree) -> Vec<String> {
    let line = |name: &str| tree.read(name).lines().next().unwrap_or_default().to_owned();
    FILES.iter().map(|(name, _)| format!("{name}={}", line(name))).collect()
}

#[test]
fn all_of_it_holds() {
    let tree = tree();
    record(&tree).update(&limits(WANTED), false).unwrap();
    let now = first_lines(&tree);
    for line in [
        "memory.max=1000",
        "memory.swap.max=500",
        "cpu.max=5000 10000",
        "cpu.idle=1",
        "cpuset.cpus=0-1",
        "pids.max=7",
        "io.weight=4950",
        "rdma.max=mlx5_0 hca_handle=3",
    ] {
        assert!(now.contains(&line.to_owned()), "{line}: {now:#?}");
    }
}

#[test]
fn whichever_file_fails_the_former_values_are_back() {
    for (broken, _) in FILES.iter().filter(|(name, _)| *name != "io.max") {
        let tree = tree();
        let before = first_lines(&tree);
        let record = record(&tree);
        let dirs = record.open_all().unwrap();
        let limits = limits(WANTED);
        let changes = look(&record, &dirs, &limits).unwrap();
        let at = changes.iter().position(|change| change.target.name == *broken).unwrap();
        let mut written = Vec::new();
        let all: Vec<usize> = (0..changes.len()).collect();
        let failed = settle(&all, &mut written, &mut |i| {
            let Target { at, name, value } = &changes[i].target;
            if name == broken { Err(Errno::IO) } else { put(&dirs[*at], name, value) }
        });
        assert_eq!(failed, Err((at, Errno::IO)), "{broken}");
        let error = record.undo(&dirs, &changes, written, Error::new(Kind::Failed, "x"));
        assert_eq!(error.message(), "x");
        assert_eq!(first_lines(&tree), before, "{broken}");
    }
}

#[test]
fn what_is_so_already_is_not_written() {
    let tree = tree();
    let record = record(&tree);
    let dirs = record.open_all().unwrap();
    let same = limits(
        r#"{"memory": {"limit": -1}, "cpu": {"shares": 1024}, "pids": {"limit": -1},
            "unified": {"io.max": "8:16 rbps=5", "io.weight": "default 100", "rdma.max": "mlx5_0 hca_object=max"}}"#,
    );
    assert_eq!(look(&record, &dirs, &same).unwrap().len(), 0);
    // The device has other limits too, which stay.
    let other = limits(r#"{"unified": {"io.max": "8:16 wbps=9\n8:32 rbps=1"}}"#);
    let changes = look(&record, &dirs, &other).unwrap();
    let former: Vec<&str> = changes.iter().map(|change| change.former.as_str()).collect();
    assert_eq!(
        former,
        ["8:16 rbps=5 wbps=max riops=max wiops=max", "8:32 rbps=max wbps=max riops=max wiops=max"]
    );
}

#[test]
fn an_idle_group_keeps_its_idleness_whatever_its_weight() {
    let tree = Tree::new(&[("cpu.weight", "0\n"), ("cpu.idle", "1\n")]);
    let record = record(&tree);
    let dirs = record.open_all().unwrap();
    let again = limits(r#"{"cpu": {"shares": 1024, "idle": 1}}"#);
    assert_eq!(look(&record, &dirs, &again).unwrap().len(), 0);
    let awake = limits(r#"{"cpu": {"shares": 1024, "idle": 0}}"#);
    assert_eq!(look(&record, &dirs, &awake).unwrap().len(), 2);
}

/// memory.limit_in_bytes and memory.memsw.limit_in_bytes: the first is never above the second.
#[test]
fn memory_and_swap_move_in_the_order_that_the_kernel_takes() {
    for (from, to) in [((10, 20), (30, 40)), ((30, 40), (10, 20)), ((10, 20), (10, 15)), ((10, 10), (50, 50))]
    {
        let now = std::cell::Cell::new(from);
        let mut put = |i: usize| {
            let (memory, both) = now.get();
            let next = if i == 0 { (to.0, both) } else { (memory, to.1) };
            if next.0 > next.1 {
                return Err(Errno::INVAL);
            }
            now.set(next);
            Ok(())
        };
        settle(&[0, 1], &mut Vec::new(), &mut put).unwrap();
        assert_eq!(now.get(), to);
    }
    // What can never be is told, with the first that was refused.
    let mut never = |i: usize| if i == 1 { Ok(()) } else { Err(Errno::INVAL) };
    let mut done = Vec::new();
    assert_eq!(settle(&[0, 1, 2], &mut done, &mut never), Err((0, Errno::INVAL)));
    assert_eq!(done, [1]);
}

#[test]
fn former_lines() {
    assert_eq!(former("memory.oom_control", None, "oom_kill_disable 0\nunder_oom 0\n"), "0");
    assert_eq!(former("io.bfq.weight", None, "default 100\n8:0 200\n"), "default 100");
    assert_eq!(former("io.bfq.weight", Some("8:16"), "default 100\n8:0 200\n"), "8:16 default");
    assert_eq!(former("blkio.throttle.read_bps_device", Some("8:0"), ""), "8:0 0");
    assert_eq!(former("cpuset.cpus", None, "\n"), "");
    assert_eq!(former("net_prio.ifpriomap", Some("lo"), "lo 0\neth0 5\n"), "lo 0");
    assert_eq!(key_of("5000 100000"), None);
    assert_eq!(key_of("max 100000"), None);
    assert_eq!(key_of("-1"), None);
    assert_eq!(key_of("8:0 rbps=1"), Some("8:0"));
    assert!(says("oom_kill_disable 1\nunder_oom 0\n", None, "1"));
}
