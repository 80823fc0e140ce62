// SPDX-License-Identifier: Apache-2.0
//! The files' texts are those of real kernels.

use serde_json::json;

use super::super::fake::Tree;
use super::*;

fn stats(tree: &Tree, group: Group) -> serde_json::Value {
    let files = Files { group: &group, dir: tree.open() };
    let mut stats = Stats::default();
    match group.is_v2() {
        true => v2::read(&files, &mut stats).unwrap(),
        false => v1::read(&files, &mut stats).unwrap(),
    }
    serde_json::to_value(&stats).unwrap()
}

const PRESSURE: &str =
    "some avg10=1.50 avg60=0.25 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";

#[test]
fn v1_files() {
    let tree = Tree::new(&[
        ("cpuacct.usage", "123456789\n"),
        ("cpuacct.stat", "user 12\nsystem 3\n"),
        ("cpuacct.usage_percpu", "100 23456789 \n"),
        ("cpuacct.usage_all", "cpu user system\n0 60 40\n1 20000000 3456789\n"),
        ("cpu.stat", "nr_periods 5\nnr_throttled 2\nthrottled_time 777\nnr_bursts 0\nburst_time 0\n"),
        ("memory.limit_in_bytes", "67108864\n"),
        ("memory.usage_in_bytes", "1000\n"),
        ("memory.max_usage_in_bytes", "2000\n"),
        ("memory.failcnt", "3\n"),
        ("memory.stat", "cache 400\nrss 500\ntotal_cache 400\n"),
        ("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"),
        ("pids.current", "4\n"),
        ("pids.max", "max\n"),
        ("cpuset.cpus", "0-2,5\n"),
        ("cpuset.mems", "0\n"),
        ("cpuset.sched_load_balance", "1\n"),
        ("cpuset.sched_relax_domain_level", "-1\n"),
        ("blkio.bfq.io_serviced_recursive", "Total 0\n"),
        ("blkio.throttle.io_serviced_recursive", "254:0 Read 3\n254:0 Write 4\n254:0 Total 7\nTotal 7\n"),
    ]);
    let all = ["cpu", "cpuacct", "memory", "pids", "cpuset", "blkio", "hugetlb"];
    let told = stats(&tree, tree.group(&all));
    assert_eq!(
        told["cpu"]["usage"],
        json!({ "total": 123_456_789, "percpu": [100, 23_456_789], "percpu_kernel": [40, 3_456_789],
                "percpu_user": [60, 20_000_000], "kernel": 30_000_000, "user": 120_000_000 })
    );
    assert_eq!(
        told["cpu"]["throttling"],
        json!({ "periods": 5, "throttledPeriods": 2, "throttledTime": 777 })
    );
    assert_eq!(
        told["memory"]["usage"],
        json!({ "limit": 67_108_864, "usage": 1000, "max": 2000, "failcnt": 3 })
    );
    assert_eq!(told["memory"]["swap"], json!({ "limit": 0, "failcnt": 0 }));
    assert_eq!((&told["memory"]["cache"], &told["memory"]["raw"]["rss"]), (&json!(400), &json!(500)));
    assert_eq!(told["memory"]["event_count"]["oom_kill"], 2);
    assert_eq!(told["pids"], json!({ "current": 4 }));
    assert_eq!(told["cpuset"]["cpus"], json!([0, 1, 2, 5]));
    assert_eq!(told["cpuset"]["sched_relax_domain_level"], -1);
    let read = json!({ "major": 254, "op": "Read", "value": 3 });
    assert_eq!(told["blkio"]["ioServicedRecursive"][0], read);
    assert_eq!(told["blkio"]["ioServicedRecursive"][2]["op"], "Total");
    assert_eq!(told["network_interfaces"], json!(null));
}

#[test]
fn v2_files() {
    let tree = Tree::new(&[
        (
            "cpu.stat",
            "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 1\nnr_throttled 1\nthrottled_usec 9\n",
        ),
        ("cpu.pressure", PRESSURE),
        ("memory.current", "1000\n"),
        ("memory.max", "max\n"),
        ("memory.peak", "2000\n"),
        ("memory.stat", "anon 500\nfile 400\n"),
        ("memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n"),
        ("memory.swap.current", "10\n"),
        ("memory.swap.max", "20\n"),
        ("pids.current", "4\n"),
        ("pids.max", "44\n"),
        ("cpuset.cpus.effective", "0-1\n"),
        ("io.stat", "8:16 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.usage=7\n"),
        ("rdma.max", "mlx5_0 hca_handle=2 hca_object=max\n"),
        ("rdma.current", "mlx5_0 hca_handle=1 hca_object=0\n"),
    ]);
    let mut group = tree.group(&[]);
    group.root = super::super::ROOT.to_owned();
    let told = stats(&tree, group);
    assert_eq!(told["cpu"]["usage"], json!({ "total": 30_000, "kernel": 10_000, "user": 20_000 }));
    assert_eq!(told["cpu"]["throttling"]["throttledTime"], 9000);
    let some = json!({ "avg10": 1.5, "avg60": 0.25, "avg300": 0.0, "total": 1234 });
    assert_eq!((&told["cpu"]["psi"]["some"], &told["cpu"]["psi"]["full"]["total"]), (&some, &json!(7)));
    assert_eq!(
        told["memory"]["usage"],
        json!({ "limit": u64::MAX, "usage": 1000, "max": 2000, "failcnt": 3 })
    );
    assert_eq!(told["memory"]["swap"], json!({ "limit": u64::MAX, "usage": 1010, "failcnt": 0 }));
    assert_eq!(told["memory"]["cache"], 400);
    assert_eq!(
        told["memory"]["event_count"],
        json!({ "low": 1, "high": 2, "max": 3, "oom": 4, "oom_kill": 5, "oom_group_kill": 6 })
    );
    assert_eq!(told["pids"], json!({ "current": 4, "limit": 44 }));
    assert_eq!(told["cpuset"]["cpus"], json!([0, 1]));
    let discard = json!({ "major": 8, "minor": 16, "op": "Discard", "value": 5 });
    assert_eq!(told["blkio"]["ioServiceBytesRecursive"][2], discard);
    assert_eq!(told["blkio"]["ioServicedRecursive"][1]["value"], 4);
    let limit = json!([{ "device": "mlx5_0", "hca_handles": 2, "hca_objects": 2_147_483_647 }]);
    assert_eq!(told["rdma"]["rdma_limit"], limit);
}

#[test]
fn what_cannot_be_read_is_an_error_and_what_is_not_there_is_not() {
    let tree = Tree::new(&[("pids.current", "many\n")]);
    let group = tree.group(&["pids"]);
    let files = Files { group: &group, dir: tree.open() };
    assert_eq!(files.number("pids.max").unwrap(), 0);
    let says = v1::read(&files, &mut Stats::default()).unwrap_err().says;
    assert!(says.contains("pids.current") && says.contains("many"), "{says}");
}

#[test]
fn interfaces_but_lo() {
    let text = "Inter-|   Receive                                                |  Transmit\n \
                face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
                lo:       9       9    0    0    0     0          0         0        9       9    0    0    0     0       0          0\n  \
                eth0:     100       2    3    4    0     0          0         0      500       6    7    8    0     0       0          0\n";
    let found = interfaces(text);
    assert_eq!(found.len(), 1);
    let expected = json!({ "Name": "eth0", "RxBytes": 100, "RxPackets": 2, "RxErrors": 3, "RxDropped": 4,
                           "TxBytes": 500, "TxPackets": 6, "TxErrors": 7, "TxDropped": 8 });
    assert_eq!(serde_json::to_value(&found[0]).unwrap(), expected);
}
