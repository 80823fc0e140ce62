// SPDX-License-Identifier: Apache-2.0
//! events: what a container uses, in runc's form, and what happens to it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use integration_test::{Flavor, Host, Running, Test, container_test, controllers, skip};
use serde_json::{Value, json};

macro_rules! needs {
    ($controller:expr) => {
        if !controllers().iter().any(|name| name == $controller) {
            skip!("this machine has no {} controller", $controller);
        }
    };
}

macro_rules! has_events {
    ($t:expr) => {
        if $t.flavor() == Flavor::Crun {
            skip!("crun has no events");
        }
    };
}

/// `events --stats`: the object in `data`.
#[track_caller]
fn stats(t: &Test) -> Value {
    let event = t.call(&["events", "--stats", t.id()]).ok().json();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(t.id())));
    event["data"].clone()
}

/// `events` in the background, once it watches: its first statistics have come.
fn watch(t: &Test, interval: &str) -> Running {
    let events = t.start_command(t.command(&["events", interval, t.id()]));
    t.until("events is at work", || events.so_far().stdout().contains("\"stats\""));
    events
}

/// The types of the events up to now.
fn types(text: &str) -> Vec<String> {
    let whole = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    whole.map(|event| event["type"].as_str().unwrap().to_owned()).collect()
}

/// Ends the container; runc's stream goes on until it is deleted, too.
fn end(t: &Test) {
    match t.flavor() {
        Flavor::Soute => {
            t.kill("KILL");
            t.until_stopped();
        }
        _ => t.delete_force(),
    }
}

fn resources(controller: &str, limits: Value) -> Value {
    let mut all = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    all[controller] = limits;
    all
}

#[test]
fn statistics_have_runcs_shape() {
    container_test(|t| {
        has_events!(t);
        t.up(t.bundle());
        let data = stats(t);
        let names =
            ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt", "network_interfaces"];
        let Value::Object(all) = &data else { panic!("{data}") };
        for name in names {
            assert!(all.contains_key(name), "{name}: {data}");
        }
        for pointer in [
            "/cpu/usage/kernel",
            "/cpu/usage/user",
            "/cpu/throttling",
            "/cpuset/cpu_exclusive",
            "/memory/usage/limit",
            "/memory/swap/failcnt",
            "/memory/kernel/limit",
            "/memory/kernelTCP/limit",
        ] {
            assert!(data.pointer(pointer).is_some(), "{pointer}: {data}");
        }
        t.delete_force();
    });
}

#[test]
fn statistics_are_the_kernels() {
    container_test(|t| {
        has_events!(t);
        needs!("memory");
        needs!("pids");
        let limits = json!({
            "memory": { "limit": 67_108_864 }, "pids": { "limit": 77 },
            "devices": [{ "allow": false, "access": "rwm" }],
        });
        let out = t
            .create(&t.bundle().set("/linux/resources", limits).asks(&[
                "burn 50",
                "hold 16",
                "wait-for TERM",
            ]))
            .ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        let data = stats(t);
        assert_eq!(data["memory"]["usage"]["limit"], 67_108_864);
        let file = if Host::here() == Host::V1 { "memory.usage_in_bytes" } else { "memory.current" };
        let now: u64 = t.limit("memory", file).unwrap().parse().unwrap();
        // The kernel takes back what it has charged ahead, at any moment.
        assert!(data["memory"]["usage"]["usage"].as_u64().unwrap().abs_diff(now) < 1 << 20, "{now} {data}");
        assert!(now >= 16 << 20 && data["memory"]["usage"]["max"].as_u64().unwrap() >= 16 << 20, "{data}");
        assert_eq!(data["pids"], json!({ "current": 1, "limit": 77 }));
        let cpu = &data["cpu"]["usage"];
        let nanos = |name: &str| cpu[name].as_u64().unwrap();
        // 50 ms by the clock; others may have had some of them.
        assert!(nanos("total") > 5_000_000 && nanos("user") + nanos("kernel") > 0, "{cpu}");
        if Host::here() == Host::V1 {
            let sum: u64 = cpu["percpu"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
            assert_eq!(sum, nanos("total"), "{cpu}");
            let raw = fs::read_to_string(Host::V1.cgroup("memory", t.id()).join("memory.stat")).unwrap();
            assert_eq!(data["memory"]["raw"].as_object().unwrap().len(), raw.lines().count());
        }
        t.delete_force();
    });
}

#[test]
fn pressure_is_told() {
    container_test(|t| {
        has_events!(t);
        if t.flavor() == Flavor::Runc {
            skip!("1.1 tells no pressure");
        }
        t.up(t.bundle());
        let v1 = Host::here() == Host::V1;
        let group = if v1 { Host::V1.cgroup("unified", t.id()) } else { Host::V2.cgroup("", t.id()) };
        if fs::read(group.join("cpu.pressure")).is_err() {
            t.delete_force();
            skip!("this kernel, or this host's v1 tree, has no pressure");
        }
        let data = stats(t);
        for name in ["cpu", "memory", "blkio"] {
            let some = &data[name]["psi"]["some"];
            assert!(some["total"].is_u64() && some["avg300"].is_f64(), "{data}");
        }
        t.delete_force();
    });
}

#[test]
fn interfaces_of_the_containers_own_network() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("runc tells only interfaces that it has made itself");
        }
        let name = format!("so{}", std::process::id() % 100_000);
        let ip =
            |words: &[&str]| Command::new("ip").args(words).output().is_ok_and(|out| out.status.success());
        if !ip(&["link", "add", &name, "type", "dummy"]) {
            skip!("this kernel makes no dummy interfaces");
        }
        t.up(t.bundle().set(&format!("/linux/netDevices/{name}"), json!({ "name": "eth7" })));
        assert_eq!(stats(t)["network_interfaces"][0]["Name"], "eth7");
        t.delete_force();
        let _ = ip(&["link", "del", &name]);

        t.up(t.bundle().namespace("network", false));
        assert_eq!(stats(t)["network_interfaces"], json!(null));
        t.delete_force();
    });
}

#[test]
fn the_stream_ends_with_the_container() {
    container_test(|t| {
        has_events!(t);
        t.up(t.bundle());
        for interval in ["--interval=100ms", "-interval=0.1s"] {
            let events = watch(t, interval);
            t.until("a second line", || types(&events.so_far().stdout()).len() > 1);
            if t.flavor() == Flavor::Soute {
                let threads = fs::read_dir(format!("/proc/{}/task", events.pid())).unwrap().count();
                assert_eq!(threads, 1);
            }
            if interval.starts_with("-i") {
                end(t);
                let text = events.wait().ok().stdout();
                assert!(t.flavor() != Flavor::Soute || types(&text).last().unwrap() == "exit", "{text}");
            }
        }
        let says = t.call(&["events", "--stats", t.id()]).fails();
        assert!(t.flavor() != Flavor::Soute || says.contains("not running"), "{says}");
        t.call(&["events", "--interval=0s", t.id()]).fails();
        t.call(&["events", "--stats", &t.named("nobody")]).fails();
        t.delete_force();
    });
}

#[test]
fn an_oom_kill_is_an_event() {
    container_test(|t| {
        integration_test::counts_outlive_the_container!();
        has_events!(t);
        needs!("memory");
        let bundle = t
            .bundle()
            .set("/linux/resources", resources("memory", json!({ "limit": 33_554_432, "swap": 33_554_432 })));
        let out = t.create(&bundle.asks(&["wait-for USR1", "hog 256"])).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        let events = watch(t, "--interval=100ms");
        t.kill("USR1").ok();
        t.until_stopped();
        end(t);
        let text = events.wait().ok().stdout();
        assert!(types(&text).iter().any(|it| it == "oom"), "{text}");
        if t.flavor() == Flavor::Soute {
            let all = types(&text);
            assert_eq!(all.last().unwrap(), "exit", "{text}");
        }
        t.delete_force();
    });
}

#[test]
fn a_full_pids_limit_is_an_event() {
    container_test(|t| {
        needs!("pids");
        if t.flavor() != Flavor::Soute {
            skip!("only soute tells of it");
        }
        let bundle = t.bundle().set("/linux/resources", resources("pids", json!({ "limit": 5 })));
        let out = t.create(&bundle.asks(&["wait-for USR1", "fork 20", "wait-for TERM"])).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        let events = watch(t, "--interval=100ms");
        t.kill("USR1").ok();
        t.until("it is told", || types(&events.so_far().stdout()).iter().any(|it| it == "pids_max"));
        t.delete_force();
        events.wait().ok();
    });
}

#[test]
fn to_freeze_is_an_event() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("only soute tells of it");
        }
        if Host::here() == Host::V1 && !fs::exists("/sys/fs/cgroup/unified/cgroup.procs").unwrap() {
            skip!("a v1 freezer wakes nobody");
        }
        t.up(t.bundle());
        let events = watch(t, "--interval=50ms");
        for (verb, word) in [("pause", "frozen"), ("resume", "thawed")] {
            t.call(&[verb, t.id()]).ok();
            t.until("it is told", || types(&events.so_far().stdout()).iter().any(|it| it == word));
        }
        t.delete_force();
        let text = events.wait().ok().stdout();
        assert_eq!(types(&text).last().unwrap(), "exit");
    });
}

#[test]
fn a_container_without_a_pid_namespace_ends_with_its_last_process() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("a finding about soute's ways");
        }
        let bundle = t.bundle().namespace("pid", false);
        let out = t.create(&bundle.asks(&["spawn sleep 60000", "wait-for TERM"])).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        let mut events = watch(t, "--interval=50ms");
        let init = t.pid().to_string();
        assert!(Command::new("kill").args(["-KILL", &init]).status().unwrap().success());
        let before = types(&events.so_far().stdout()).len();
        t.until("it goes on", || types(&events.so_far().stdout()).len() > before + 2);
        assert!(!events.ended());
        t.call(&["kill", "--all", t.id(), "KILL"]).ok();
        let text = events.wait().ok().stdout();
        assert_eq!(types(&text).last().unwrap(), "exit");
        t.delete_force();
    });
}
