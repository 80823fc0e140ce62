// SPDX-License-Identifier: Apache-2.0
//! The systemd cgroup driver: a container is a scope, its limits are properties of the unit.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use integration_test::{Bundle, Flavor, Host, Test, container_test, has_systemd, skip, units_named};
use serde_json::json;

macro_rules! needs_systemd {
    ($t:expr) => {
        if !has_systemd() {
            skip!("systemd does not run this machine");
        }
        if Host::here() != Host::V2 {
            skip!("the systemd driver needs cgroup v2 alone");
        }
        $t.global(&["--systemd-cgroup"]);
    };
}

fn systemctl(words: &[&str]) -> String {
    let out = Command::new("systemctl").args(words).output().unwrap();
    assert!(out.status.success(), "systemctl {words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// One property of a unit.
fn show(unit: &str, property: &str) -> String {
    systemctl(&["show", "--value", "-p", property, unit]).trim().to_owned()
}

fn unit(t: &Test) -> String {
    format!("unit-{}.scope", t.id())
}

/// A container in `unit-ID.scope` of system.slice.
fn bundle(t: &Test) -> Bundle {
    t.bundle().set("/linux/cgroupsPath", format!("system.slice:unit:{}", t.id()))
}

fn group(t: &Test) -> PathBuf {
    PathBuf::from("/sys/fs/cgroup/system.slice").join(unit(t))
}

fn line(t: &Test, file: &str) -> String {
    fs::read_to_string(group(t).join(file)).unwrap().trim().to_owned()
}

/// Everything that limits the container: files of its group, properties of its unit.
fn limits(t: &Test) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for file in [
        "memory.max",
        "memory.low",
        "memory.high",
        "memory.swap.max",
        "pids.max",
        "cpu.max",
        "cpu.weight",
        "io.max",
        "cpuset.cpus",
    ] {
        all.insert(file.to_owned(), fs::read_to_string(group(t).join(file)).unwrap_or_default());
    }
    for property in [
        "MemoryMax",
        "MemoryLow",
        "MemoryHigh",
        "MemorySwapMax",
        "TasksMax",
        "CPUQuotaPerSecUSec",
        "CPUWeight",
        "IOReadBandwidthMax",
        "DeviceAllow",
    ] {
        // The order of a list means nothing.
        let text = show(&unit(t), property);
        let mut lines: Vec<&str> = text.lines().collect();
        lines.sort_unstable();
        all.insert(property.to_owned(), lines.join("\n"));
    }
    all
}

#[test]
fn limits_are_files_and_properties_and_no_reload_changes_them() {
    container_test(|t| {
        needs_systemd!(t);
        t.up(bundle(t)
            .set("/linux/resources/memory", json!({ "limit": 67_108_864, "reservation": 33_554_432 }))
            .set("/linux/resources/cpu", json!({ "shares": 512, "quota": 20_000, "period": 100_000 }))
            .set("/linux/resources/pids", json!({ "limit": 33 }))
            .set("/linux/resources/unified", json!({ "memory.high": "50331648" })));
        for (file, value) in [
            ("memory.max", "67108864"),
            ("memory.low", "33554432"),
            ("memory.high", "50331648"),
            ("cpu.weight", "59"),
            ("cpu.max", "20000 100000"),
            ("pids.max", "33"),
        ] {
            assert_eq!(line(t, file), value, "{file}");
        }
        for (property, value) in [
            ("MemoryMax", "67108864"),
            ("MemoryLow", "33554432"),
            ("MemoryHigh", "50331648"),
            ("CPUWeight", "59"),
            ("CPUQuotaPerSecUSec", "200ms"),
            ("TasksMax", "33"),
            ("Slice", "system.slice"),
            ("Delegate", "yes"),
            ("ActiveState", "active"),
        ] {
            assert_eq!(show(&unit(t), property), value, "{property}");
        }
        let before = limits(t);
        systemctl(&["daemon-reload"]);
        assert_eq!(limits(t), before);
        // What makes systemd write its own: another unit in the slice.
        systemctl(&["set-property", "--runtime", "system.slice", "MemoryMax=infinity", "CPUWeight=100"]);
        systemctl(&["daemon-reload"]);
        assert_eq!(limits(t), before);
        systemctl(&["revert", "system.slice"]);
        t.delete_force();
        assert_eq!(units_named(t.id()), [""; 0]);
    });
}

#[test]
fn slices_and_names() {
    container_test(|t| {
        needs_systemd!(t);
        let id = t.id();
        let stem = id.replace('-', "_");
        let soute = t.flavor() == Flavor::Soute;
        for (path, group) in [
            (format!("system.slice:engine:{id}"), format!("/system.slice/engine-{id}.scope")),
            (format!(":engine:{id}"), format!("/system.slice/engine-{id}.scope")),
            (
                format!("{stem}-b-c.slice:engine:{id}"),
                format!("/{stem}.slice/{stem}-b.slice/{stem}-b-c.slice/engine-{id}.scope"),
            ),
            (format!("-.slice:engine:{id}"), format!("/engine-{id}.scope")),
            (String::new(), format!("/system.slice/soute-{id}.scope")),
        ] {
            if path.is_empty() && !soute {
                continue;
            }
            t.create(&t.bundle().set("/linux/cgroupsPath", path.as_str())).ok();
            let text = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
            assert_eq!(text.trim(), format!("0::{group}"), "{path}");
            t.delete_force();
        }
        assert_eq!(units_named(id), [""; 0]);
        let _ = Command::new("systemctl").args(["stop", &format!("{stem}.slice")]).output();
    });
}

#[test]
fn a_path_is_refused_with_the_form_that_is_wanted() {
    container_test(|t| {
        needs_systemd!(t);
        let says = t.create(&t.bundle().set("/linux/cgroupsPath", "/pods/web1")).fails();
        if t.flavor() == Flavor::Soute {
            assert!(
                says.contains("linux.cgroupsPath: \"/pods/web1\" is not of the form SLICE:PREFIX:NAME"),
                "{says}"
            );
            assert!(says.contains("system.slice:engine:web1"), "{says}");
        }
    });
}

#[test]
fn without_a_bus_the_error_names_it() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("about soute's words");
        }
        if Host::here() != Host::V2 {
            t.global(&["--systemd-cgroup"]);
            let says = t.create(&bundle(t)).fails();
            assert!(says.contains("--systemd-cgroup: needs a host with cgroup v2 alone"), "{says}");
            return;
        }
        t.before(&["env", "DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/no-such-bus"]);
        t.global(&["--systemd-cgroup"]);
        let says = t.create(&bundle(t)).fails();
        assert!(says.contains("connect(\"/run/no-such-bus\")"), "{says}");
        assert!(says.contains("leave --systemd-cgroup out"), "{says}");
    });
}

#[test]
fn an_update_keeps_files_and_properties_in_step() {
    container_test(|t| {
        needs_systemd!(t);
        t.up(bundle(t).set("/linux/resources/memory", json!({ "limit": 67_108_864 })));
        t.call(&["update", "--memory", "96m", "--pids-limit", "44", "--cpu-quota", "12345", t.id()]).ok();
        assert_eq!(line(t, "memory.max"), "100663296");
        assert_eq!(show(&unit(t), "MemoryMax"), "100663296");
        assert_eq!((line(t, "pids.max"), show(&unit(t), "TasksMax")), ("44".into(), "44".into()));
        // systemd counts whole percents, and never less than what was asked.
        assert_eq!(
            (line(t, "cpu.max").as_str(), show(&unit(t), "CPUQuotaPerSecUSec").as_str()),
            ("12345 100000", "130ms")
        );
        let before = limits(t);
        systemctl(&["daemon-reload"]);
        assert_eq!(limits(t), before);
        t.delete_force();
    });
}

#[test]
fn a_failed_update_leaves_files_and_properties() {
    container_test(|t| {
        needs_systemd!(t);
        t.up(bundle(t)
            .set("/linux/resources/memory", json!({ "limit": 67_108_864 }))
            .set("/linux/resources/pids", json!({ "limit": 33 })));
        let before = limits(t);
        for resources in [
            json!({ "memory": { "limit": 96_000_000 }, "pids": { "limit": 44 }, "unified": { "memory.oom.group": "7" } }),
            json!({ "memory": { "limit": 96_000_000 }, "pids": { "limit": 44 }, "unified": { "cpu.weight": "99999" } }),
        ] {
            let path = t.scratch("resources");
            fs::write(&path, resources.to_string()).unwrap();
            t.call(&["update", "--resources", path.to_str().unwrap(), t.id()]).fails();
            if t.flavor() == Flavor::Soute {
                assert_eq!(limits(t), before, "{resources}");
            }
        }
        t.delete_force();
    });
}

#[test]
fn device_rules_hold_and_are_updated() {
    container_test(|t| {
        needs_systemd!(t);
        t.up(bundle(t));
        assert_eq!(show(&unit(t), "DevicePolicy"), "strict");
        assert!(show(&unit(t), "DeviceAllow").contains("/dev/char/1:3 rwm"));
        assert_eq!(t.exec(&["open /dev/null w"])["open /dev/null w"], "ok");
        if t.flavor() == Flavor::Soute {
            let rules = json!({ "devices": [{ "allow": false, "access": "rwm" },
                { "allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw" }] });
            let path = t.scratch("resources");
            fs::write(&path, rules.to_string()).unwrap();
            t.call(&["update", "--resources", path.to_str().unwrap(), t.id()]).ok();
            assert!(show(&unit(t), "DeviceAllow").contains("/dev/char/10:229 rw"));
        }
        t.delete_force();
    });
}

#[test]
fn exec_goes_into_the_scope() {
    container_test(|t| {
        needs_systemd!(t);
        t.up(bundle(t));
        t.call(&["exec", "--detach", t.id(), "/payload", "wait-for TERM"]).ok();
        let count = || line(t, "cgroup.procs").lines().count();
        t.until("both are in the group", || count() == 2);
        t.call(&["pause", t.id()]).ok();
        assert_eq!(t.status(), "paused");
        t.call(&["resume", t.id()]).ok();
        t.delete_force();
        assert_eq!(units_named(t.id()), [""; 0]);
    });
}

#[test]
fn annotations_are_properties_of_the_unit() {
    container_test(|t| {
        needs_systemd!(t);
        let annotation = |name: &str| format!("/annotations/org.systemd.property.{name}");
        t.up(bundle(t)
            .set(&annotation("TimeoutStopSec"), "uint64 7")
            .set(&annotation("KillSignal"), "10")
            .set(&annotation("CollectMode"), "'inactive-or-failed'")
            .set(&annotation("After"), "['basic.target']"));
        assert_eq!(show(&unit(t), "TimeoutStopUSec"), "7s");
        assert_eq!(show(&unit(t), "CollectMode"), "inactive-or-failed");
        assert_eq!(show(&unit(t), "KillSignal"), "10");
        assert!(show(&unit(t), "After").contains("basic.target"));
        t.delete_force();
        for (name, text) in [("KillSignal", "SIGTERM"), ("NoSuchProperty", "1"), ("TimeoutStopUSec", "'7'")] {
            let says = t.create(&bundle(t).set(&annotation(name), text)).fails();
            assert!(says.contains(name) || t.flavor() != Flavor::Soute, "{says}");
        }
        assert_eq!(units_named(t.id()), [""; 0]);
    });
}

/// An ordinary user of this machine.
fn user() -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").unwrap();
    passwd
        .lines()
        .filter_map(|line| line.split(':').nth(2)?.parse().ok())
        .find(|uid| (1000..60_000).contains(uid))
}

/// The life of a container whose unit is that of the user's own systemd. `before` is how the runtime
/// is called.
fn by_user(t: &Test, uid: u32, before: &[&str], bundle: Bundle, exec: bool) {
    let own = |words: &[&str]| {
        let id = uid.to_string();
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "systemctl", "--user"]).args(words);
        let out = command.env("XDG_RUNTIME_DIR", format!("/run/user/{uid}")).output().unwrap();
        String::from_utf8(out.stdout).unwrap().trim().to_owned()
    };
    let bundle = bundle
        .set("/linux/resources", json!({ "memory": { "limit": 67_108_864 } }))
        .set("/linux/cgroupsPath", format!("user.slice:unit:{}", t.id()))
        .remove("/mounts/2/options/5")
        .no_mount("/sys/fs/cgroup");
    bundle.save();
    fs::create_dir_all(t.root()).unwrap();
    for path in [t.dir(), &t.root(), bundle.dir(), &bundle.path("/")] {
        std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
    }
    t.before(before);
    t.up(bundle);
    let manager = format!("/sys/fs/cgroup/user.slice/user-{uid}.slice/user@{uid}.service");
    let group = format!("{manager}/user.slice/{}", unit(t));
    let line = |file: &str| fs::read_to_string(format!("{group}/{file}")).unwrap().trim().to_owned();
    assert_eq!(line("memory.max"), "67108864");
    if exec {
        // The caller is in the system's part of the tree: only systemd can take a process over.
        t.call(&["exec", "--detach", t.id(), "/payload", "wait-for TERM"]).ok();
        t.until("both are in the group", || line("cgroup.procs").lines().count() == 2);
    }
    t.call(&["update", "--memory", "96m", t.id()]).ok();
    assert_eq!(own(&["show", "--value", "-p", "MemoryMax", &unit(t)]), "100663296");
    own(&["daemon-reload"]);
    assert_eq!(line("memory.max"), "100663296");
    t.call(&["pause", t.id()]).ok();
    assert_eq!(t.status(), "paused");
    t.call(&["resume", t.id()]).ok();
    t.delete_force();
    assert_eq!(own(&["list-units", "--all", "--plain", "--no-legend", &format!("*{}*", t.id())]), "");
}

/// The user's systemd runs, and has a bus.
fn session(t: &Test, uid: u32) -> String {
    systemctl(&["start", &format!("user@{uid}.service")]);
    let dir = format!("/run/user/{uid}");
    t.until("the user has a bus", || PathBuf::from(format!("{dir}/bus")).exists());
    format!("XDG_RUNTIME_DIR={dir}")
}

#[test]
fn a_user_with_a_session() {
    container_test(|t| {
        needs_systemd!(t);
        let Some(uid) = user() else { skip!("this machine has no ordinary user") };
        let (id, session) = (uid.to_string(), session(t, uid));
        let map = json!([{ "containerID": 0, "hostID": uid, "size": 1 }]);
        let bundle = t.bundle().namespace("user", true);
        let bundle = bundle.set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        let before = ["setpriv", "--reuid", &id, "--regid", &id, "--clear-groups", "env", &session];
        by_user(t, uid, &before, bundle, false);
    });
}

#[test]
fn root_of_a_users_own_namespace_as_under_podman() {
    container_test(|t| {
        needs_systemd!(t);
        let Some(uid) = user() else { skip!("this machine has no ordinary user") };
        let (id, session) = (uid.to_string(), session(t, uid));
        let mut command = Command::new("setpriv");
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "unshare", "-U"]);
        let holder = t.start_command({
            command.args(["sh", "-c", "echo $$; exec sleep 60"]);
            command
        });
        t.until("the namespace is there", || holder.so_far().stdout().ends_with('\n'));
        let pid = holder.so_far().stdout().trim().to_owned();
        // As newuidmap does, so that setgroups stays allowed.
        for file in ["uid_map", "gid_map"] {
            fs::write(format!("/proc/{pid}/{file}"), format!("0 {uid} 1")).unwrap();
        }
        let before = ["nsenter", "-t", &pid, "-U", "-S", "0", "-G", "0", "env", "USER=somebody", &session];
        by_user(t, uid, &before, t.bundle(), true);
    });
}

#[test]
fn a_failed_unit_of_the_same_name_makes_way() {
    container_test(|t| {
        needs_systemd!(t);
        // Its time is up at once, and systemd kills it and remembers.
        let short = bundle(t).set("/annotations/org.systemd.property.RuntimeMaxSec", "0.2");
        t.up(short);
        t.until_stopped();
        t.until("systemd has noticed", || show(&unit(t), "ActiveState") == "failed");
        let other = t.named("two");
        let bundle = bundle(t);
        bundle.save();
        t.call(&["create", "--bundle", bundle.dir().to_str().unwrap(), &other]).ok();
        assert_eq!(show(&unit(t), "ActiveState"), "active");
        // What is not its own any more stays.
        t.delete_force();
        assert_eq!(show(&unit(t), "ActiveState"), "active");
        t.call(&["delete", "--force", &other]).ok();
        assert_eq!(units_named(t.id()), [""; 0]);
    });
}

#[test]
fn a_unit_that_runs_is_refused() {
    container_test(|t| {
        needs_systemd!(t);
        t.up(bundle(t));
        let (other, bundle) = (t.named("two"), bundle(t));
        bundle.save();
        let says = t.call(&["create", "--bundle", bundle.dir().to_str().unwrap(), &other]).fails();
        if t.flavor() == Flavor::Soute {
            assert!(says.contains("container's cgroup is not empty"), "{says}");
        }
        assert_eq!(t.status(), "running");
        assert_eq!(show(&unit(t), "ActiveState"), "active");
        t.delete_force();
    });
}

#[test]
fn what_ends_by_itself_leaves_no_unit() {
    container_test(|t| {
        needs_systemd!(t);
        t.run(&bundle(t).asks(&["hostname"])).ok();
        assert_eq!(units_named(t.id()), [""; 0]);
        t.run(&bundle(t).args(&["/no/such/program"])).fails();
        assert_eq!(units_named(t.id()), [""; 0]);
    });
}
