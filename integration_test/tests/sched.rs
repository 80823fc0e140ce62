// SPDX-License-Identifier: Apache-2.0
//! When and where the process runs: scheduler, I/O priority, CPUs, memory nodes.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use integration_test::{Bundle, Test, container_test, differs, skip};
use serde_json::{Value, json};

fn scheduler(t: &Test, scheduler: Value) -> Bundle {
    t.bundle().set("/process/scheduler", scheduler)
}

#[test]
fn every_policy_is_in_force() {
    container_test(|t| {
        // The kernel passes over the nice value of SCHED_IDLE: it stays the caller's.
        let own = rustix::process::getpriority_process(None).unwrap();
        for (policy, number, nice) in [("SCHED_OTHER", 0, 5), ("SCHED_BATCH", 3, -5), ("SCHED_IDLE", 5, own)]
        {
            let a = t.ask(scheduler(t, json!({ "policy": policy, "nice": nice })), &["scheduler"]);
            assert_eq!(a["scheduler"], json!({ "policy": number, "priority": 0, "nice": nice }), "{policy}");
        }
        for (policy, number) in [("SCHED_FIFO", 1), ("SCHED_RR", 2)] {
            // In a group without real-time bandwidth of its own the kernel refuses it.
            let bundle = scheduler(t, json!({ "policy": policy, "priority": 20 }));
            let out = t.run(&with_time(t, bundle).asks(&["scheduler"]));
            if out.code != 0 && out.stderr().contains("EPERM") {
                skip!("{policy}: this kernel wants bandwidth for the group: {}", out.stderr().trim());
            }
            assert_eq!(out.ok().answers()["scheduler"]["policy"], number, "{policy}");
        }
    });
}

/// Real-time bandwidth, where groups must have some.
fn with_time(t: &Test, bundle: Bundle) -> Bundle {
    let bundle = bundle.set("/linux/cgroupsPath", integration_test::cgroups_path(t.id()));
    match std::path::Path::new("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() {
        true => bundle.set("/linux/resources/cpu/realtimeRuntime", 1000),
        false => bundle,
    }
}

#[test]
fn a_scheduler_in_a_user_namespace() {
    container_test(|t| {
        let bundle = scheduler(t, json!({ "policy": "SCHED_BATCH", "nice": -3 })).userns();
        let out = t.run(&bundle.asks(&["scheduler"]));
        differs!(t, Runc, "sets it from inside, where a user namespace has no right to it");
        assert_eq!(out.ok().answers()["scheduler"], json!({ "policy": 3, "priority": 0, "nice": -3 }));
    });
}

#[test]
fn a_deadline_process() {
    container_test(|t| {
        let times = json!({
            "policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_DL_OVERRUN"], "runtime": 1_000_000, "deadline": 10_000_000, "period": 10_000_000,
        });
        let out = t.run(&scheduler(t, times).asks(&["scheduler"]));
        if out.code != 0 && (out.stderr().contains("EPERM") || out.stderr().contains("EBUSY")) {
            skip!("this kernel admits no deadline here: {}", out.stderr().trim());
        }
        assert_eq!(out.ok().answers()["scheduler"]["policy"], 6);
    });
}

#[test]
fn a_policy_that_is_reset_on_fork() {
    container_test(|t| {
        let flags = json!({ "policy": "SCHED_BATCH", "nice": -7, "flags": ["SCHED_FLAG_RESET_ON_FORK"] });
        let a = t.ask(scheduler(t, flags), &["scheduler", "asks scheduler"]);
        assert_eq!((&a["scheduler"]["policy"], &a["scheduler"]["nice"]), (&json!(3), &json!(-7)));
        // A child of it has no more than everybody has.
        assert_eq!(a["asks scheduler"]["nice"], 0);
    });
}

#[test]
fn bad_schedulers_are_refused() {
    container_test(|t| {
        for (scheduler_, property) in [
            (json!({ "policy": "SCHED_FUN" }), "policy"),
            (json!({ "policy": "SCHED_OTHER", "nice": 20 }), "nice"),
            (json!({ "policy": "SCHED_OTHER", "priority": 1 }), "priority"),
            (json!({ "policy": "SCHED_FIFO", "priority": 100 }), "priority"),
            (json!({ "policy": "SCHED_BATCH", "runtime": 1 }), "runtime"),
        ] {
            let says = t.run(&scheduler(t, scheduler_).asks(&["pid"])).fails();
            if t.flavor() == integration_test::Flavor::Soute {
                assert!(says.contains(&format!("process.scheduler.{property}")), "{says}");
            }
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

/// `ionice -p` of the container's process.
fn io_priority(t: &Test) -> Option<String> {
    let out = Command::new("ionice").args(["-p", &t.pid().to_string()]).output().ok()?;
    Some(String::from_utf8_lossy(&out.stdout).trim().to_owned())
}

#[test]
fn the_io_priority() {
    container_test(|t| {
        for (class, level, says) in [
            ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
            ("IOPRIO_CLASS_RT", 1, "realtime: prio 1"),
            ("IOPRIO_CLASS_IDLE", 0, "idle"),
        ] {
            t.up(t.bundle().set("/process/ioPriority", json!({ "class": class, "priority": level })));
            let found = io_priority(t);
            t.delete_force();
            let Some(found) = found else { skip!("there is no ionice (util-linux)") };
            assert_eq!(found, says, "{class}");
        }
        let bad = json!({ "class": "IOPRIO_CLASS_BE", "priority": 8 });
        t.run(&t.bundle().set("/process/ioPriority", bad).asks(&["pid"])).fails();
    });
}

const CPUS: &str = "status Cpus_allowed_list";

/// The CPUs that a fresh container sees, if they are more than one.
fn two_cpus(t: &Test) -> Option<String> {
    let all = t.ask(t.bundle(), &[CPUS])[CPUS].as_str().unwrap().to_owned();
    all.starts_with("0-").then_some(all)
}

#[test]
fn the_callers_cpus_do_not_leak_in() {
    container_test(|t| {
        let Some(all) = two_cpus(t) else { skip!("this machine has one CPU") };
        t.before(&["taskset", "-c", "1"]);
        assert_eq!(t.ask(t.bundle(), &[CPUS])[CPUS], all.as_str());
        t.up(t.bundle());
        assert_eq!(t.exec(&[CPUS])[CPUS], all.as_str());
        t.delete_force();
    });
}

#[test]
fn exec_is_bound_to_its_cpus() {
    container_test(|t| {
        let Some(all) = two_cpus(t) else { skip!("this machine has one CPU") };
        // Of the container's own process nothing of this is asked.
        let out = t.create(
            &t.bundle()
                .set("/process/execCPUAffinity", json!({ "initial": "0", "final": "1" }))
                .asks(&[CPUS, "wait-for TERM"]),
        );
        t.start().ok();
        t.until("the payload is ready", || out.stdout().contains("waiting"));
        differs!(t, Runc, "1.1 knows no execCPUAffinity");
        differs!(t, Crun, "1.8 knows no execCPUAffinity");
        assert!(out.stdout().contains(&format!("\"a\":\"{all}\"")), "{}", out.stdout());
        assert_eq!(t.exec(&[CPUS])[CPUS], "1");
        let with = |affinity: Value| {
            let mut process = t.bundle().asks(&[CPUS]).spec()["process"].clone();
            process["execCPUAffinity"] = affinity;
            let path = t.scratch("process");
            std::fs::write(&path, process.to_string()).unwrap();
            t.call(&["exec", "--process", path.to_str().unwrap(), t.id()])
        };
        assert_eq!(with(json!({ "initial": "1" })).ok().answers()[CPUS], "1");
        // Beyond 1024, where a fixed set of CPUs would end.
        assert_eq!(with(json!({ "initial": "0", "final": "0,1500" })).ok().answers()[CPUS], "0");
        with(json!({ "final": "1500" })).fails();
        with(json!({ "final": "zero" })).fails();
        t.delete_force();
    });
}

#[test]
fn the_memory_policy() {
    container_test(|t| {
        let bundle = t.bundle().set(
            "/linux/memoryPolicy",
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"] }),
        );
        let maps = "read /proc/self/numa_maps";
        let out = t.run(&bundle.clone().asks(&[maps]));
        differs!(t, Runc, "1.1 knows no memoryPolicy");
        differs!(t, Crun, "1.8 knows no memoryPolicy");
        if out.stderr().contains("ENOSYS") {
            skip!("this kernel has no NUMA");
        }
        let a = out.ok().answers();
        assert!(a[maps].as_str().unwrap().contains(" bind=static:0 "), "{a}");
        t.up(bundle);
        let a = t.exec(&[maps]);
        t.delete_force();
        assert!(a[maps].as_str().unwrap().contains(" bind=static:0 "), "{a}");
        let a = t.ask(t.bundle().set("/linux/memoryPolicy", json!({ "mode": "MPOL_LOCAL" })), &[maps]);
        assert!(a[maps].as_str().unwrap().contains(" local "), "{a}");
    });
}

#[test]
fn bad_memory_policies_are_refused() {
    container_test(|t| {
        differs!(t, Runc, "1.1 knows no memoryPolicy");
        differs!(t, Crun, "1.8 knows no memoryPolicy");
        for policy in [
            json!({ "mode": "MPOL_ELSEWHERE" }),
            json!({ "mode": "MPOL_BIND" }),
            json!({ "mode": "MPOL_BIND", "nodes": "zero" }),
            json!({ "mode": "MPOL_LOCAL", "nodes": "0" }),
            json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES"] }),
            json!({ "mode": "MPOL_BIND", "nodes": "63" }),
        ] {
            t.run(&t.bundle().set("/linux/memoryPolicy", policy).asks(&["pid"])).fails();
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
