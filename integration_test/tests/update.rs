// SPDX-License-Identifier: Apache-2.0
//! update: limits change while the container runs, all of them or none.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::process::Stdio;

use integration_test::{Flavor, Host, Out, Test, container_test, controllers, skip};
use serde_json::{Value, json};

macro_rules! needs {
    ($controller:expr) => {
        if !controllers().iter().any(|name| name == $controller) {
            skip!("this machine has no {} controller", $controller);
        }
    };
}

/// `update` with these resources in a file.
fn update(t: &Test, resources: &Value) -> Out {
    let path = t.scratch("resources");
    fs::write(&path, resources.to_string()).unwrap();
    t.call(&["update", "--resources", path.to_str().unwrap(), t.id()])
}

/// The text of every file of the container's groups that holds a limit.
fn all_limits(t: &Test) -> BTreeMap<String, String> {
    /// What counts moves by itself.
    const LIMITS: [&str; 10] = [
        "limit",
        "max",
        "shares",
        "weight",
        "quota",
        "period",
        "low",
        "cpuset.cpus",
        "cpuset.mems",
        "devices.list",
    ];
    let mut all = BTreeMap::new();
    for name in if Host::here() == Host::V2 { vec![String::new()] } else { controllers() } {
        for entry in fs::read_dir(Host::here().cgroup(&name, t.id())).into_iter().flatten().flatten() {
            let file = entry.file_name().into_string().unwrap();
            let counts =
                ["events", "usage", "failcnt", "stat", "max_usage"].iter().any(|it| file.contains(it));
            if LIMITS.iter().any(|it| file.contains(it)) && !counts {
                all.insert(format!("{name}/{file}"), fs::read_to_string(entry.path()).unwrap_or_default());
            }
        }
    }
    all
}

#[test]
fn every_flag_reaches_its_file() {
    container_test(|t| {
        for name in ["memory", "cpu", "pids"] {
            needs!(name);
        }
        t.up(t.bundle());
        let v1 = Host::here() == Host::V1;
        for (flags, controller, one, two) in [
            (
                "--memory 64m",
                "memory",
                Some(("memory.limit_in_bytes", "67108864")),
                ("memory.max", "67108864"),
            ),
            (
                "--memory=96M --memory-reservation 32m",
                "memory",
                Some(("memory.soft_limit_in_bytes", "33554432")),
                ("memory.low", "33554432"),
            ),
            (
                "--memory -1",
                "memory",
                Some(("memory.limit_in_bytes", "9223372036854771712")),
                ("memory.max", "max"),
            ),
            ("--cpu-share 512", "cpu", Some(("cpu.shares", "512")), ("cpu.weight", "59")),
            ("--cpu-quota 20000", "cpu", Some(("cpu.cfs_quota_us", "20000")), ("cpu.max", "20000 100000")),
            ("--cpu-period 50000", "cpu", Some(("cpu.cfs_period_us", "50000")), ("cpu.max", "20000 50000")),
            ("--cpu-quota 30000", "cpu", Some(("cpu.cfs_quota_us", "30000")), ("cpu.max", "30000 50000")),
            ("--cpu-burst 7000", "cpu", Some(("cpu.cfs_burst_us", "7000")), ("cpu.max.burst", "7000")),
            ("--cpu-idle 1", "cpu", Some(("cpu.idle", "1")), ("cpu.idle", "1")),
            ("--cpu-idle 0 --cpu-share 1024", "cpu", Some(("cpu.shares", "1024")), ("cpu.weight", "100")),
            ("--pids-limit 33", "pids", Some(("pids.max", "33")), ("pids.max", "33")),
            ("--pids-limit -1", "pids", Some(("pids.max", "max")), ("pids.max", "max")),
        ] {
            let known = !["burst", "idle"].iter().any(|word| flags.contains(word));
            if t.flavor() != Flavor::Soute && !known {
                continue;
            }
            let words: Vec<&str> = ["update"].into_iter().chain(flags.split(' ')).chain([t.id()]).collect();
            t.call(&words).ok();
            let (file, value) = if v1 { one.unwrap() } else { two };
            assert_eq!(t.limit(controller, file).as_deref(), Some(value), "{flags}");
        }
        t.delete_force();
    });
}

#[test]
fn a_cpuset_changes() {
    container_test(|t| {
        needs!("cpuset");
        t.up(t.bundle());
        t.call(&["update", "--cpuset-cpus", "0", "--cpuset-mems", "0", t.id()]).ok();
        assert_eq!(t.limit("cpuset", "cpuset.cpus").as_deref(), Some("0"));
        assert_eq!(t.exec(&["status Cpus_allowed_list"])["status Cpus_allowed_list"], "0");
        t.call(&["update", "--cpuset-cpus", "9999", t.id()]).fails();
        assert_eq!(t.limit("cpuset", "cpuset.cpus").as_deref(), Some("0"));
        t.delete_force();
    });
}

#[test]
fn real_time_periods() {
    container_test(|t| {
        needs!("cpu");
        t.up(t.bundle());
        let flags = ["update", "--cpu-rt-period", "900000", "--cpu-rt-runtime", "0", t.id()];
        if Host::here() == Host::V2 {
            let says = t.call(&flags).fails();
            assert!(says.contains("real-time") || t.flavor() != Flavor::Soute, "{says}");
        } else if t.limit("cpu", "cpu.rt_period_us").is_none() {
            t.delete_force();
            skip!("this kernel has no real-time scheduling of groups");
        } else {
            t.call(&flags).ok();
            assert_eq!(t.limit("cpu", "cpu.rt_period_us").as_deref(), Some("900000"));
        }
        t.delete_force();
    });
}

#[test]
fn resources_come_from_a_file_or_standard_input() {
    container_test(|t| {
        needs!("pids");
        t.up(t.bundle());
        update(t, &json!({ "pids": { "limit": 44 } })).ok();
        assert_eq!(t.limit("pids", "pids.max").as_deref(), Some("44"));
        for flag in ["--resources=-", "-r"] {
            let words =
                if flag == "-r" { vec!["update", "-r", "-", t.id()] } else { vec!["update", flag, t.id()] };
            let mut command = t.command(&words);
            command.stdin(Stdio::piped());
            let mut running = t.start_command(command);
            let limit = if flag == "-r" { 46 } else { 45 };
            write!(running.stdin().unwrap(), "{}", json!({ "pids": { "limit": limit } })).unwrap();
            running.wait().ok();
            assert_eq!(t.limit("pids", "pids.max"), Some(limit.to_string()));
        }
        t.call(&["update", "-r", "/no/such/file", t.id()]).fails();
        let says = update(t, &json!({ "pids": { "limit": "many" } })).fails();
        assert!(says.contains("pids.limit") || t.flavor() != Flavor::Soute, "{says}");
        t.delete_force();
    });
}

#[test]
fn memory_and_swap_move_up_and_down_together() {
    container_test(|t| {
        needs!("memory");
        let (memory, swap) = match Host::here() {
            Host::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
            Host::V2 => ("memory.max", "memory.swap.max"),
        };
        let start = json!({ "memory": { "limit": 67_108_864, "swap": 134_217_728 } });
        let v1 = Host::here() == Host::V1;
        if v1 && !fs::exists(Host::V1.cgroup("memory", swap)).unwrap() {
            skip!("this kernel accounts no swap");
        }
        t.up(t.bundle().set("/linux/resources", start));
        for (limit, both) in
            [(134_217_728_u64, 268_435_456_u64), (33_554_432, 50_331_648), (67_108_864, 67_108_864)]
        {
            t.call(&["update", "--memory", &limit.to_string(), "--memory-swap", &both.to_string(), t.id()])
                .ok();
            assert_eq!(t.limit("memory", memory), Some(limit.to_string()));
            assert_eq!(t.limit("memory", swap), Some((if v1 { both } else { both - limit }).to_string()));
        }
        // The half that is not said is the present one.
        if t.flavor() == Flavor::Soute {
            t.call(&["update", "--memory-swap", "96m", t.id()]).ok();
            let both = if v1 { 100_663_296 } else { 100_663_296 - 67_108_864 };
            assert_eq!(t.limit("memory", swap), Some(both.to_string()));
            let before = all_limits(t);
            t.call(&["update", "--memory-swap", "32m", t.id()]).fails();
            assert_eq!(all_limits(t), before);
        }
        t.delete_force();
    });
}

#[test]
fn a_memory_limit_below_the_present_use_is_refused() {
    container_test(|t| {
        needs!("memory");
        if t.flavor() != Flavor::Soute {
            skip!("runc and crun let the kernel kill");
        }
        let out = t.create(&t.bundle().asks(&["hold 64", "wait-for TERM"])).ok();
        t.start().ok();
        t.until("the memory is there", || out.stdout().contains("waiting"));
        let file = if Host::here() == Host::V1 { "memory.limit_in_bytes" } else { "memory.max" };
        let before = t.limit("memory", file);
        // No swap may take it, or the kernel could make room.
        let says =
            update(t, &json!({ "memory": { "limit": 16_777_216, "checkBeforeUpdate": true } })).fails();
        assert!(
            says.contains("16777216 bytes are less than the")
                && says.contains("linux.resources.memory.limit"),
            "{says}"
        );
        assert_eq!(t.limit("memory", file), before);
        if fs::read_to_string("/proc/swaps").unwrap().lines().nth(1).is_none() {
            let says = t.call(&["update", "--memory", "16m", t.id()]).fails();
            assert!(says.contains("linux.resources.memory.limit") && says.contains("hint:"), "{says}");
            assert_eq!(t.limit("memory", file), before);
        }
        assert_eq!(t.status(), "running");
        if Host::here() == Host::V2 {
            t.call(&["update", "--memory", "16m", "--force", t.id()]).ok();
            t.until_stopped();
        }
        t.delete_force();
    });
}

#[test]
fn what_is_so_already_does_not_fail() {
    container_test(|t| {
        for name in ["memory", "cpu", "pids", "cpuset"] {
            needs!(name);
        }
        let resources = json!({
            "memory": { "limit": 67_108_864, "reservation": 33_554_432 },
            "cpu": { "shares": 512, "quota": 20_000, "period": 50_000, "cpus": "0", "mems": "0" },
            "pids": { "limit": 50 },
        });
        t.up(t.bundle().set("/linux/resources", resources.clone()));
        let before = all_limits(t);
        update(t, &resources).ok();
        assert_eq!(all_limits(t), before);
        t.call(&["update", t.id()]).ok();
        update(t, &json!({})).ok();
        assert_eq!(all_limits(t), before);
        t.delete_force();
    });
}

#[test]
fn a_stopped_container_has_no_limits_to_change() {
    container_test(|t| {
        t.up(t.bundle());
        t.call(&["pause", t.id()]).ok();
        t.call(&["update", "--pids-limit", "55", t.id()]);
        t.call(&["resume", t.id()]).ok();
        t.kill("KILL").ok();
        t.until_stopped();
        let says = t.call(&["update", "--pids-limit", "66", t.id()]).fails();
        assert!(says.contains("container not running") || t.flavor() != Flavor::Soute, "{says}");
        t.delete().ok();
    });
}

/// Everything at once, so that there is much to be taken back.
fn much() -> Value {
    let mut all = json!({
        "memory": { "limit": 134_217_728, "reservation": 16_777_216 },
        "cpu": { "shares": 300, "quota": 40_000, "period": 80_000, "cpus": "0", "mems": "0" },
        "pids": { "limit": 99 },
        "devices": [{ "allow": false, "access": "rwm" }, { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }],
    });
    let here = controllers();
    for (property, controller) in [("memory", "memory"), ("cpu", "cpu"), ("pids", "pids")] {
        if !here.iter().any(|name| name == controller) {
            all.as_object_mut().unwrap().remove(property);
        }
    }
    if !here.iter().any(|name| name == "cpuset")
        && let Some(cpu) = all.pointer_mut("/cpu").and_then(Value::as_object_mut)
    {
        cpu.remove("cpus");
        cpu.remove("mems");
    }
    all
}

/// A write that fails, whichever it is, leaves the former values: every one of them.
#[test]
fn a_failed_update_leaves_all_former_values() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("runc and crun leave what was written before the failure");
        }
        needs!("pids");
        t.up(t.bundle());
        let before = all_limits(t);
        let path = t.scratch("resources");
        fs::write(&path, much().to_string()).unwrap();
        let (mut failed, mut n) = (0, 1);
        loop {
            let inject = format!("--inject=write:error=EIO:when={n}");
            t.before(&["strace", "-f", "-o", "/dev/null", "-e", "trace=write", &inject]);
            let out = t.call(&["update", "-r", path.to_str().unwrap(), t.id()]);
            t.before(&[]);
            if out.code == 0 {
                break;
            }
            assert!(out.stderr().contains("EIO"), "{}", out.stderr());
            assert_eq!(all_limits(t), before, "write {n}: {}", out.stderr());
            failed += 1;
            n += 1;
            assert!(n < 100);
        }
        assert!(failed > 0, "nothing was injected");
        assert_ne!(all_limits(t), before);
        t.delete_force();
    });
}

#[test]
fn a_late_refusal_takes_the_early_limits_back() {
    container_test(|t| {
        needs!("cpu");
        if t.flavor() != Flavor::Soute {
            skip!("runc and crun leave what was written before the failure");
        }
        t.up(t.bundle());
        let before = all_limits(t);
        // No disk has this number: the kernel refuses it after the rest has been written.
        let rate = json!([{ "major": 4000, "minor": 4000, "rate": 1000 }]);
        let mut all = much();
        all["blockIO"] = json!({ "throttleReadBpsDevice": rate });
        let says = update(t, &all).fails();
        assert!(says.contains("throttleReadBpsDevice"), "{says}");
        assert_eq!(all_limits(t), before);
        t.delete_force();
    });
}

/// What an exec finds of two devices: null is always there, kmsg only where it is allowed.
fn devices(t: &Test) -> (Value, Value) {
    let a = t.exec(&["node c 1 3 /tmp/null", "node c 1 11 /tmp/kmsg"]);
    (a["node c 1 3 /tmp/null"]["opened"].clone(), a["node c 1 11 /tmp/kmsg"]["opened"].clone())
}

#[test]
fn device_rules_change() {
    container_test(|t| {
        if matches!(t.flavor(), Flavor::Runc | Flavor::Crun) {
            skip!("runc ignores devices in an update; crun 1.8 too");
        }
        let bundle = t.bundle().caps(&["CAP_MKNOD", "CAP_SYSLOG"]).mount(
            "/tmp",
            "tmpfs",
            "tmpfs",
            &["mode=1777", "dev"],
        );
        t.up(bundle);
        assert_eq!(devices(t), (json!("ok"), json!("EPERM")));
        let deny = json!({ "allow": false, "access": "rwm" });
        let kmsg = json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw" });
        for _ in 0..3 {
            update(t, &json!({ "devices": [deny, kmsg] })).ok();
            assert_eq!(devices(t), (json!("ok"), json!("ok")));
            update(t, &json!({ "devices": [deny] })).ok();
            assert_eq!(devices(t), (json!("ok"), json!("EPERM")));
        }
        // Without rules they stay as they are.
        update(t, &json!({ "devices": [deny, kmsg] })).ok();
        update(t, &json!({ "devices": [] })).ok();
        update(t, &json!({})).ok();
        assert_eq!(devices(t), (json!("ok"), json!("ok")));
        // The same device with fewer rights, and with others.
        for (access, opened) in [("r", "ok"), ("w", "EPERM"), ("rm", "ok")] {
            let some = json!({ "allow": true, "type": "c", "major": 1, "minor": 11, "access": access });
            update(t, &json!({ "devices": [deny, some] })).ok();
            assert_eq!(devices(t), (json!("ok"), json!(opened)), "{access}");
        }
        // Everything, everything but one, and back.
        update(t, &json!({ "devices": [deny] })).ok();
        assert_eq!(devices(t), (json!("ok"), json!("EPERM")));
        let all = json!({ "allow": true, "access": "rwm" });
        update(t, &json!({ "devices": [all] })).ok();
        assert_eq!(devices(t), (json!("ok"), json!("ok")));
        let mut but = kmsg.clone();
        but["allow"] = json!(false);
        update(t, &json!({ "devices": [all, but] })).ok();
        assert_eq!(devices(t), (json!("ok"), json!("EPERM")));
        assert_eq!(t.state()["status"], "running");
        update(t, &json!({ "devices": [deny] })).ok();
        assert_eq!(devices(t), (json!("ok"), json!("EPERM")));
        t.delete_force();
    });
}

#[test]
fn nonsense_changes_nothing() {
    container_test(|t| {
        t.up(t.bundle());
        let before = all_limits(t);
        for words in [
            &["--memory", "lots"][..],
            // v2 has a weight for it.
            &["--cpu-share", if Host::here() == Host::V2 { "words" } else { "1" }],
            &["--cpu-share", "-5"],
            &["--blkio-weight", "5"],
            &["--cpuset-cpus", "a"],
            &["--no-such-flag"],
            &["--pids-limit"],
        ] {
            let line: Vec<&str> =
                ["update"].into_iter().chain(words.iter().copied()).chain([t.id()]).collect();
            let out = t.call(&line);
            assert!(out.code != 0 || t.flavor() != Flavor::Soute, "{words:?}");
        }
        assert_eq!(all_limits(t), before);
        t.delete_force();
        t.call(&["update", "--pids-limit", "5", t.id()]).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
