// SPDX-License-Identifier: Apache-2.0
//! Limits at create: what the kernel's files say afterwards, read on the host's side, and
//! what the container feels. A controller that this machine lacks is skipped by name.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Bundle, Flavor, Host, Test, container_test, controllers, differs, disk, skip};
use serde_json::{Value, json};

/// Creates a container with these resources, and tells what the files say:
/// `("memory", v1 file, v2 file)`.
#[track_caller]
fn read_back(t: &Test, resources: Value, files: &[(&str, &str, &str)]) -> Vec<Option<String>> {
    t.create(&with(t, resources)).ok();
    let v2 = Host::here() == Host::V2;
    let all =
        files.iter().map(|(controller, one, two)| t.limit(controller, if v2 { two } else { one })).collect();
    t.delete_force();
    all
}

fn with(t: &Test, mut resources: Value) -> Bundle {
    resources["devices"] = json!([{ "allow": false, "access": "rwm" }]);
    t.bundle().set("/linux/resources", resources)
}

macro_rules! needs {
    ($controller:expr) => {
        if !controllers().iter().any(|name| name == $controller) {
            skip!("this machine has no {} controller", $controller);
        }
    };
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn memory_limit() {
    container_test(|t| {
        needs!("memory");
        let all = read_back(
            t,
            json!({ "memory": { "limit": 67_108_864, "reservation": 33_554_432 } }),
            &[
                ("memory", "memory.limit_in_bytes", "memory.max"),
                ("memory", "memory.soft_limit_in_bytes", "memory.low"),
            ],
        );
        assert_eq!(all, [some("67108864"), some("33554432")]);
    });
}

#[test]
fn memory_swap_limit() {
    container_test(|t| {
        needs!("memory");
        let file = match Host::here() {
            Host::V1 => "/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes",
            Host::V2 => "/sys/fs/cgroup/memory.swap.max",
        };
        let resources = json!({ "memory": { "limit": 67_108_864, "swap": 134_217_728 } });
        if Host::here() == Host::V1 && !fs::exists(file).unwrap() {
            if t.flavor() == Flavor::Soute {
                // No swap accounting: an error, never silence.
                t.create(&with(t, resources)).fails();
            }
            skip!("this kernel accounts no swap");
        }
        let all = read_back(t, resources, &[("memory", "memory.memsw.limit_in_bytes", "memory.swap.max")]);
        assert_eq!(all[0], some(if Host::here() == Host::V1 { "134217728" } else { "67108864" }));
    });
}

#[test]
fn swappiness_and_the_oom_killer() {
    container_test(|t| {
        needs!("memory");
        if Host::here() == Host::V2 {
            skip!("v1 only");
        }
        let all = read_back(
            t,
            json!({ "memory": { "limit": 67_108_864, "swappiness": 7, "disableOOMKiller": true } }),
            &[("memory", "memory.swappiness", ""), ("memory", "memory.oom_control", "")],
        );
        assert_eq!(all[0], some("7"));
        assert!(all[1].as_ref().unwrap().contains("oom_kill_disable 1"), "{all:?}");
    });
}

#[test]
fn memory_without_end() {
    container_test(|t| {
        needs!("memory");
        let all = read_back(
            t,
            json!({ "memory": { "limit": -1 } }),
            &[("memory", "memory.limit_in_bytes", "memory.max")],
        );
        assert_eq!(all[0], some(if Host::here() == Host::V1 { "9223372036854771712" } else { "max" }));
    });
}

#[test]
fn cpu_shares() {
    container_test(|t| {
        needs!("cpu");
        let all = read_back(t, json!({ "cpu": { "shares": 512 } }), &[("cpu", "cpu.shares", "cpu.weight")]);
        if Host::here() == Host::V1 {
            assert_eq!(all[0], some("512"));
        } else {
            assert!(all[0].is_some());
        }
    });
}

#[test]
fn cpu_quota_and_period() {
    container_test(|t| {
        needs!("cpu");
        let resources = json!({ "cpu": { "quota": 20_000, "period": 50_000 } });
        if Host::here() == Host::V1 {
            let files = [("cpu", "cpu.cfs_quota_us", ""), ("cpu", "cpu.cfs_period_us", "")];
            assert_eq!(read_back(t, resources, &files), [some("20000"), some("50000")]);
        } else {
            assert_eq!(read_back(t, resources, &[("cpu", "", "cpu.max")]), [some("20000 50000")]);
        }
    });
}

#[test]
fn a_quota_alone_keeps_the_period() {
    container_test(|t| {
        needs!("cpu");
        let resources = json!({ "cpu": { "quota": 30_000 } });
        if Host::here() == Host::V1 {
            let files = [("cpu", "cpu.cfs_quota_us", ""), ("cpu", "cpu.cfs_period_us", "")];
            assert_eq!(read_back(t, resources, &files), [some("30000"), some("100000")]);
        } else {
            assert_eq!(read_back(t, resources, &[("cpu", "", "cpu.max")]), [some("30000 100000")]);
        }
    });
}

#[test]
fn cpu_burst_and_idle() {
    container_test(|t| {
        needs!("cpu");
        differs!(t, Runc, "1.1 has no cpu burst and idle");
        differs!(t, Crun, "1.8 has no cpu burst");
        let resources = json!({ "cpu": { "quota": 20_000, "period": 50_000, "burst": 10_000 } });
        let all = read_back(t, resources, &[("cpu", "cpu.cfs_burst_us", "cpu.max.burst")]);
        assert_eq!(all, [some("10000")]);
        let all = read_back(t, json!({ "cpu": { "idle": 1 } }), &[("cpu", "cpu.idle", "cpu.idle")]);
        assert_eq!(all, [some("1")]);
    });
}

#[test]
fn a_quota_is_felt() {
    container_test(|t| {
        needs!("cpu");
        let bundle = with(t, json!({ "cpu": { "quota": 5_000, "period": 50_000 } }))
            .asks(&["burn 300", "wait-for TERM"]);
        let out = t.create(&bundle).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        let stat = t.limit("cpu", "cpu.stat").unwrap();
        let throttled = stat.lines().find_map(|line| line.strip_prefix("nr_throttled ")).unwrap();
        assert_ne!(throttled, "0", "{stat}");
        t.delete_force();
    });
}

#[test]
fn cpuset() {
    container_test(|t| {
        needs!("cpuset");
        let all = read_back(
            t,
            json!({ "cpu": { "cpus": "0", "mems": "0" } }),
            &[("cpuset", "cpuset.cpus", "cpuset.cpus"), ("cpuset", "cpuset.mems", "cpuset.mems")],
        );
        assert_eq!(all, [some("0"), some("0")]);
        let a = t.ask(with(t, json!({ "cpu": { "cpus": "0" } })), &["status Cpus_allowed_list"]);
        assert_eq!(a["status Cpus_allowed_list"], "0");
    });
}

#[test]
fn an_impossible_cpuset_is_an_error() {
    container_test(|t| {
        needs!("cpuset");
        for cpus in ["9999", "words"] {
            t.create(&with(t, json!({ "cpu": { "cpus": cpus } }))).fails();
            assert_eq!(t.left_behind(), [""; 0]);
        }
    });
}

#[test]
fn pids_limit() {
    container_test(|t| {
        needs!("pids");
        let all = read_back(t, json!({ "pids": { "limit": 77 } }), &[("pids", "pids.max", "pids.max")]);
        assert_eq!(all, [some("77")]);
    });
}

#[test]
fn a_pids_limit_is_felt() {
    container_test(|t| {
        needs!("pids");
        let a = t.ask(with(t, json!({ "pids": { "limit": 5 } })), &["fork 20"]);
        assert_eq!(a["fork 20"], json!({ "started": 4, "refused": "EAGAIN" }));
    });
}

#[test]
fn no_pids_limit() {
    container_test(|t| {
        needs!("pids");
        let all = read_back(t, json!({ "pids": { "limit": -1 } }), &[("pids", "pids.max", "pids.max")]);
        assert_eq!(all, [some("max")]);
    });
}

#[test]
fn a_pids_limit_of_zero_is_a_limit() {
    container_test(|t| {
        needs!("pids");
        differs!(t, Runc, "1.1 takes pids.limit 0 for no limit");
        differs!(t, Crun, "1.8 takes pids.limit 0 for no limit");
        let a = t.ask(with(t, json!({ "pids": { "limit": 0 } })), &["fork 1"]);
        assert_eq!(a["fork 1"]["started"], 0);
    });
}

#[test]
fn blkio_weight() {
    container_test(|t| {
        if Host::here() == Host::V2 {
            needs!("io");
        } else {
            needs!("blkio");
            let here = ["blkio.weight", "blkio.bfq.weight"]
                .iter()
                .any(|file| fs::exists(format!("/sys/fs/cgroup/blkio/{file}")).unwrap_or_default());
            if !here {
                skip!("this kernel has no blkio weight");
            }
        }
        let files = [("blkio", "blkio.bfq.weight", "io.weight"), ("blkio", "blkio.weight", "io.bfq.weight")];
        let resources = json!({ "blockIO": { "weight": 200 } });
        let out = t.create(&with(t, resources.clone()));
        let says = out.stderr().to_lowercase();
        // Ours, and the others'.
        let absent = says.contains("io.weight") && says.contains("no such file");
        if absent || says.contains("no i/o scheduler of this host has weights") {
            skip!("no I/O scheduler of this host has weights");
        }
        t.delete_force();
        let all = read_back(t, resources, &files);
        // io.weight has a scale of its own: 1 to 10000 for 10 to 1000.
        let is = |text: &String| text.contains("200") || text.contains("1920");
        assert!(all.iter().flatten().any(is), "{all:?}");
    });
}

#[test]
fn blkio_throttle() {
    container_test(|t| {
        needs!(if Host::here() == Host::V2 { "io" } else { "blkio" });
        let Some((major, minor)) = disk() else { skip!("this machine has no disk") };
        let rate = json!([{ "major": major, "minor": minor, "rate": 1_048_576 }]);
        let resources =
            json!({ "blockIO": { "throttleReadBpsDevice": rate, "throttleWriteIOPSDevice": rate } });
        let all = read_back(
            t,
            resources,
            &[
                ("blkio", "blkio.throttle.read_bps_device", "io.max"),
                ("blkio", "blkio.throttle.write_iops_device", "io.max"),
            ],
        );
        for text in all {
            let text = text.unwrap();
            assert!(text.contains(&format!("{major}:{minor}")) && text.contains("1048576"), "{text}");
        }
    });
}

#[test]
fn hugetlb() {
    container_test(|t| {
        needs!("hugetlb");
        let resources = json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] });
        let files = [("hugetlb", "hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.max")];
        assert_eq!(read_back(t, resources, &files), [some("4194304")]);
    });
}

#[test]
fn unified_keys() {
    container_test(|t| {
        if Host::here() == Host::V1 {
            if t.flavor() == Flavor::Soute {
                t.create(&with(t, json!({ "unified": { "memory.high": "1000000" } }))).fails();
            }
            skip!("v2 only");
        }
        let all = read_back(
            t,
            json!({ "unified": { "cgroup.max.descendants": "7" } }),
            &[("", "", "cgroup.max.descendants")],
        );
        assert_eq!(all, [some("7")]);
    });
}

#[test]
fn a_bad_unified_key_is_an_error() {
    container_test(|t| {
        if Host::here() == Host::V1 {
            skip!("v2 only");
        }
        for key in ["no.such", "../x", "cgroup.procs/../x", ""] {
            let mut keys = json!({});
            keys[key] = json!("1");
            t.create(&with(t, json!({ "unified": keys }))).fails();
            assert_eq!(t.left_behind(), [""; 0]);
        }
    });
}

#[test]
fn a_limit_of_an_absent_controller_is_an_error() {
    container_test(|t| {
        let all = controllers();
        let absent = [
            ("rdma", json!({ "rdma": { "mlx5": { "hcaHandles": 1 } } })),
            ("memory", json!({ "memory": { "limit": 67_108_864 } })),
            ("pids", json!({ "pids": { "limit": 10 } })),
            ("hugetlb", json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 0 }] })),
        ];
        let mut tried = false;
        for (name, resources) in absent {
            if all.iter().any(|here| here == name) {
                continue;
            }
            let out = t.create(&with(t, resources));
            differs!(t, Runc, "says nothing of the limit of an absent controller");
            differs!(t, Crun, "says nothing of the limit of an absent controller");
            assert_ne!(out.code, 0, "{name}");
            assert_eq!(t.left_behind(), [""; 0]);
            tried = true;
        }
        if !tried {
            skip!("this machine lacks no controller");
        }
    });
}

#[test]
fn the_process_is_in_every_group() {
    container_test(|t| {
        t.up(t.bundle());
        let text = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
        let path = format!("/{}", t.id());
        match Host::here() {
            Host::V2 => {
                let dir = Host::V2.cgroup("", t.id());
                let path = dir.strip_prefix("/sys/fs/cgroup").unwrap().display().to_string();
                assert!(text.lines().any(|line| line == format!("0::/{path}")), "{text}");
            }
            Host::V1 => {
                for name in controllers() {
                    assert!(
                        text.lines().any(|line| line.contains(&name) && line.ends_with(&path)),
                        "{name}: {text}"
                    );
                }
            }
        }
        t.delete_force();
    });
}

#[test]
fn bad_limits_are_errors() {
    container_test(|t| {
        for resources in [
            json!({ "memory": { "limit": "64M" } }),
            json!({ "cpu": { "shares": -1 } }),
            json!({ "pids": { "limit": 1.5 } }),
            json!({ "blockIO": { "weight": 70_000 } }),
        ] {
            t.create(&with(t, resources.clone())).fails();
            assert_eq!(t.left_behind(), [""; 0], "{resources}");
        }
    });
}

#[test]
fn delete_removes_groups_that_the_container_made() {
    container_test(|t| {
        // A container with its own subgroups, as an init system inside makes them.
        let out = t.create(&t.bundle().asks(&["wait-for TERM"])).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        let host = Host::here();
        let names = if host == Host::V1 {
            vec!["pids".to_owned(), "systemd".to_owned()]
        } else {
            vec![String::new()]
        };
        for name in names {
            fs::create_dir_all(host.cgroup(&name, t.id()).join("inner/deeper")).unwrap();
        }
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_class_of_service_without_resctrl_is_an_error() {
    container_test(|t| {
        if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - resctrl ") {
            skip!("this machine has resctrl");
        }
        let bundle = t.bundle().set("/linux/intelRdt", json!({ "l3CacheSchema": "L3:0=f" }));
        differs!(t, Crun, "1.8 goes on without it");
        differs!(t, Runc, "names no property");
        let says = t.run(&bundle.asks(&["pid"])).fails();
        assert!(says.contains("linux.intelRdt: no file system of type resctrl is mounted"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
        t.up(t.bundle());
        let says = t.call(&["update", "--l3-cache-schema", "L3:0=f", t.id()]).fails();
        assert!(says.contains("has no class of service"), "{says}");
        t.delete_force();
    });
}
