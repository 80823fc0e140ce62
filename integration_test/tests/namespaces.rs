// SPDX-License-Identifier: Apache-2.0
//! Namespaces: each new, joined by path, or absent; what lives in them.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Flavor, Test, container_test, differs, skip};
use serde_json::{Value, json};

/// The name of a namespace type in config.json, and in /proc/PID/ns.
const KINDS: [(&str, &str); 8] = [
    ("cgroup", "cgroup"),
    ("ipc", "ipc"),
    ("mount", "mnt"),
    ("network", "net"),
    ("pid", "pid"),
    ("time", "time"),
    ("user", "user"),
    ("uts", "uts"),
];

fn link(process: &str, kind: &str) -> String {
    fs::read_link(format!("/proc/{process}/ns/{kind}")).unwrap().to_string_lossy().into_owned()
}

/// In the container everything is new but what `host` names.
fn all_new_but(t: &Test, bundle: integration_test::Bundle, host: &[&str]) {
    let a = t.ask(bundle, &["namespaces"]);
    for (_, name) in KINDS {
        let same = a["namespaces"][name] == link("self", name);
        assert_eq!(same, host.contains(&name), "{name}: {}", a["namespaces"]);
    }
}

#[test]
fn those_of_the_default_specification_are_new() {
    container_test(|t| all_new_but(t, t.bundle(), &["cgroup", "time", "user"]));
}

#[test]
fn a_new_user_namespace() {
    container_test(|t| all_new_but(t, t.bundle().userns(), &["cgroup", "time"]));
}

#[test]
fn a_new_cgroup_namespace() {
    container_test(|t| all_new_but(t, t.bundle().namespace("cgroup", true), &["time", "user"]));
}

#[test]
fn a_new_time_namespace() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no time namespace");
        all_new_but(t, t.bundle().namespace("time", true), &["cgroup", "user"]);
    });
}

#[test]
fn every_namespace_new() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no time namespace");
        all_new_but(t, t.bundle().userns().namespace("cgroup", true).namespace("time", true), &[]);
    });
}

#[test]
fn an_absent_network_namespace_is_the_hosts() {
    container_test(|t| {
        all_new_but(t, t.bundle().namespace("network", false), &["net", "cgroup", "time", "user"])
    });
}

#[test]
fn an_absent_ipc_namespace_is_the_hosts() {
    container_test(|t| {
        all_new_but(t, t.bundle().namespace("ipc", false), &["ipc", "cgroup", "time", "user"])
    });
}

#[test]
fn an_absent_uts_namespace_is_the_hosts() {
    container_test(|t| {
        let bundle = t.bundle().namespace("uts", false).remove("/hostname");
        all_new_but(t, bundle, &["uts", "cgroup", "time", "user"]);
    });
}

#[test]
fn an_absent_pid_namespace_is_the_hosts() {
    container_test(|t| {
        let a = t.ask(t.bundle().namespace("pid", false), &["pid", "namespaces"]);
        assert_ne!(a["pid"], 1);
        assert_eq!(a["namespaces"]["pid"], link("self", "pid"));
    });
}

#[test]
fn without_a_mount_namespace_the_host_keeps_its_root() {
    container_test(|t| {
        // In a mount namespace of the test's own: a runtime that gets this wrong moves a root.
        t.before(&["unshare", "-m"]);
        let bundle =
            t.bundle().namespace("mount", false).remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        t.run(&bundle.asks(&["pid"]));
        t.delete_force();
        assert!(fs::exists("/proc/self/ns/mnt").unwrap());
    });
}

/// Runs in one namespace of a holder process; the answer must be its.
fn joins(t: &Test, kind: &str, name: &str, words: &[&str], path: &str) -> Value {
    let holder = t.holder(words);
    let path = format!("/proc/{}/ns/{path}", holder.pid());
    let bundle = t.bundle().remove("/hostname").joins(kind, &path);
    let a = t.ask(bundle, &["namespaces", "hostname", "pid"]);
    assert_eq!(a["namespaces"][name], fs::read_link(&path).unwrap().to_str().unwrap());
    a
}

#[test]
fn joins_a_network_namespace() {
    container_test(|t| drop(joins(t, "network", "net", &["--net"], "net")));
}

#[test]
fn joins_an_ipc_namespace() {
    container_test(|t| drop(joins(t, "ipc", "ipc", &["--ipc"], "ipc")));
}

#[test]
fn joins_a_uts_namespace() {
    container_test(|t| {
        let a = joins(t, "uts", "uts", &["--uts"], "uts");
        let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(a["hostname"], host.trim());
    });
}

#[test]
fn joins_a_cgroup_namespace() {
    container_test(|t| drop(joins(t, "cgroup", "cgroup", &["--cgroup"], "cgroup")));
}

#[test]
fn joins_a_pid_namespace() {
    container_test(|t| {
        let a = joins(t, "pid", "pid", &["--pid", "--fork", "--kill-child"], "pid_for_children");
        assert_ne!(a["pid"], 1);
    });
}

#[test]
fn joins_a_time_namespace() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no time namespace");
        let holder = t.holder(&["--time", "--fork", "--kill-child", "--boottime", "1000000"]);
        let path = format!("/proc/{}/ns/time_for_children", holder.pid());
        let a = t.ask(t.bundle().joins("time", &path), &["namespaces", "clock boottime"]);
        assert_eq!(a["namespaces"]["time"], fs::read_link(&path).unwrap().to_str().unwrap());
        assert!(a["clock boottime"].as_i64().unwrap() > 1_000_000);
    });
}

#[test]
fn joins_a_mount_namespace() {
    container_test(|t| {
        // What is mounted there is its owner's affair; the container brings its root and nothing else.
        let holder = t.holder(&["--mount"]);
        let path = format!("/proc/{}/ns/mnt", holder.pid());
        let bundle = t.bundle().joins("mount", &path).writable().set("/mounts", json!([]));
        let bundle = bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        let out = t.run(&bundle.asks(&["pid", "hostname", "stat /payload"]));
        differs!(t, Runc, "makes mounts and pivots in a joined mount namespace");
        let a = out.ok().answers();
        assert_eq!((&a["pid"], &a["hostname"]), (&json!(1), &json!("soute")));
        assert_eq!(a["stat /payload"]["type"], "file");
    });
}

/// "The runtime MUST place the container process in the namespace associated with that path"
/// (config-linux.md, Namespaces): in it, not in a copy of it.
#[test]
fn a_joined_mount_namespace_is_the_one_of_the_path() {
    container_test(|t| {
        let holder = t.holder(&["--mount"]);
        let path = format!("/proc/{}/ns/mnt", holder.pid());
        let a = t.ask(t.bundle().joins("mount", &path), &["namespaces"]);
        assert_eq!(a["namespaces"]["mnt"], fs::read_link(&path).unwrap().to_str().unwrap());
    });
}

#[test]
fn joins_a_user_namespace() {
    container_test(|t| {
        let holder = t.holder(&["--user", "--map-root-user"]);
        let path = format!("/proc/{}/ns/user", holder.pid());
        let bundle = t.bundle().joins_user_with_root_alone(&path);
        differs!(t, Runc, "1.1 wants uidMappings beside the path of a user namespace");
        let a = t.ask(bundle, &["namespaces", "uid"]);
        assert_eq!(a["namespaces"]["user"], fs::read_link(&path).unwrap().to_str().unwrap());
        assert_eq!(a["uid"][0], 0);
    });
}

#[test]
fn joins_the_namespaces_of_another_container() {
    container_test(|t| {
        t.up(t.bundle().set("/hostname", "pod"));
        let pid = t.pid();
        let other = t.named("b");
        let mut bundle = t.bundle_for(&other).remove("/hostname");
        for (kind, name) in [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")] {
            bundle = bundle.joins(kind, format!("/proc/{pid}/ns/{name}"));
        }
        let a = t.run_as(&other, &bundle.asks(&["hostname", "namespaces", "pid"])).ok().answers();
        assert_eq!(a["hostname"], "pod");
        for name in ["net", "ipc", "uts", "pid"] {
            assert_eq!(a["namespaces"][name], link(&pid.to_string(), name));
        }
        assert_ne!(a["pid"], 1);
        t.delete_force();
    });
}

#[test]
fn a_path_of_the_wrong_type_is_refused() {
    container_test(|t| {
        t.run(&t.bundle().joins("network", "/proc/self/ns/uts").asks(&["pid"])).fails();
        t.run(&t.bundle().joins("network", "/proc/self/status").asks(&["pid"])).fails();
        t.run(&t.bundle().joins("network", "/no/such/file").asks(&["pid"])).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_relative_path_is_refused() {
    container_test(|t| {
        t.run(&t.bundle().joins("network", "proc/self/ns/net").asks(&["pid"])).fails();
    });
}

#[test]
fn a_type_twice_is_refused() {
    container_test(|t| {
        let bundle = t.bundle().push("/linux/namespaces", json!({ "type": "uts" }));
        t.run(&bundle.asks(&["pid"])).fails();
    });
}

#[test]
fn an_unknown_type_is_refused() {
    container_test(|t| {
        let bundle = t.bundle().push("/linux/namespaces", json!({ "type": "quantum" }));
        t.run(&bundle.asks(&["pid"])).fails();
    });
}

#[test]
fn the_hostname_and_domainname() {
    container_test(|t| {
        let a = t.ask(t.bundle().set("/hostname", "deck"), &["hostname", "try"]);
        assert_eq!(a["hostname"], "deck");
        differs!(t, Runc, "1.1 has no domainname");
        differs!(t, Crun, "1.8 has no domainname");
        let a = t.ask(t.bundle().set("/domainname", "example.org"), &["domainname"]);
        assert_eq!(a["domainname"], "example.org");
    });
}

#[test]
fn a_hostname_without_its_namespace_is_refused() {
    container_test(|t| {
        let before = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        t.run(&t.bundle().namespace("uts", false).set("/hostname", before.trim()).asks(&["pid"])).fails();
        assert_eq!(fs::read_to_string("/proc/sys/kernel/hostname").unwrap(), before);
    });
}

#[test]
fn loopback_is_up_in_a_new_network_namespace() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["interfaces", "lo"]);
        assert_eq!(a["interfaces"], json!(["lo"]));
        assert_eq!(a["lo"], "ok");
    });
}

#[test]
fn only_its_own_processes_are_seen() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["pid", "ppid", "sid", "processes"]);
        assert_eq!((&a["pid"], &a["ppid"], &a["sid"]), (&json!(1), &json!(0), &json!(1)));
        assert_eq!(a["processes"].as_array().unwrap().len(), 1, "{}", a["processes"]);
    });
}

#[test]
fn orphans_come_to_init() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["orphan 100", "processes", "reap"]);
        let processes = a["processes"].as_array().unwrap();
        let orphan = processes.iter().find(|process| process["pid"] != 1).expect("it lives");
        assert_eq!(orphan["ppid"], 1);
        assert_eq!(a["reap"], 1);
    });
}

#[test]
fn sysctls_of_the_containers_namespaces_are_set() {
    container_test(|t| {
        let sysctls =
            json!({ "net.ipv4.ip_forward": "1", "kernel.msgmax": "9000", "fs.mqueue.msg_max": "9" });
        let bundle = t.bundle().set("/linux/sysctl", sysctls);
        let read = "read /proc/sys/kernel/msgmax";
        let a =
            t.ask(bundle, &["read /proc/sys/net/ipv4/ip_forward", read, "read /proc/sys/fs/mqueue/msg_max"]);
        assert_eq!(a["read /proc/sys/net/ipv4/ip_forward"], "1\n");
        assert_eq!(a[read], "9000\n");
        assert_eq!(a["read /proc/sys/fs/mqueue/msg_max"], "9\n");
        assert_ne!(fs::read_to_string("/proc/sys/kernel/msgmax").unwrap(), "9000\n");
    });
}

#[test]
fn a_sysctl_of_the_host_is_refused() {
    container_test(|t| {
        // The values are the present ones: should a runtime take them, no harm is done.
        for name in ["vm.swappiness", "kernel.pid_max", "net/../vm/swappiness", "kernel/threads-max"] {
            let path = if name.contains("..") { "vm/swappiness".to_owned() } else { name.replace('.', "/") };
            let now = fs::read_to_string(format!("/proc/sys/{path}")).unwrap();
            let mut sysctls = json!({});
            sysctls[name] = json!(now.trim());
            t.run(&t.bundle().set("/linux/sysctl", sysctls).asks(&["pid"])).fails();
        }
        t.run(&t.bundle().set("/linux/sysctl", json!({ "net.no.such": "1" })).asks(&["pid"])).fails();
    });
}

#[test]
fn a_sysctl_without_its_namespace_is_refused() {
    container_test(|t| {
        for (name, namespace) in [("kernel.msgmax", "ipc"), ("net.ipv4.ip_forward", "network")] {
            let now = fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap();
            let mut sysctls = json!({});
            sysctls[name] = json!(now.trim());
            let bundle = t.bundle().namespace(namespace, false).set("/linux/sysctl", sysctls);
            t.run(&bundle.asks(&["pid"])).fails();
        }
    });
}

#[test]
fn ids_are_mapped() {
    container_test(|t| {
        t.up(t.bundle().userns());
        let pid = t.pid();
        let map = fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap();
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        assert!(status.contains("Uid:\t100000\t100000\t100000\t100000"), "{status}");
        assert!(status.contains("Gid:\t100000\t100000\t100000\t100000"), "{status}");
        t.delete_force();
    });
}

#[test]
fn several_ranges_are_mapped() {
    container_test(|t| {
        let map = json!([
            { "containerID": 0, "hostID": 100_000, "size": 1000 },
            { "containerID": 1000, "hostID": 300_000, "size": 1 },
            { "containerID": 1001, "hostID": 200_000, "size": 60_000 },
        ]);
        let bundle =
            t.bundle().userns().set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map);
        let bundle = bundle.set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [7] }));
        let out = t.up(bundle);
        let status = fs::read_to_string(format!("/proc/{}/status", t.pid())).unwrap();
        assert!(status.contains("Uid:\t300000\t300000\t300000\t300000"), "{status}");
        assert!(status.contains("Gid:\t200000\t200000\t200000\t200000"), "{status}");
        assert!(status.contains("Groups:\t100007"), "{status}");
        drop(out);
        t.delete_force();
    });
}

#[test]
fn a_user_namespace_owns_the_others() {
    container_test(|t| {
        // The right to set the hostname of the new uts namespace is root's in the new user namespace.
        let bundle = t.bundle().userns().caps(&["CAP_SYS_ADMIN"]);
        let a = t.ask(bundle, &["sethostname inside", "hostname"]);
        assert_eq!(a["sethostname inside"], "ok");
        assert_eq!(a["hostname"], "inside");
    });
}

#[test]
fn the_default_mounts_work_in_a_user_namespace() {
    container_test(|t| {
        let a = t.ask(t.bundle().userns(), &["mounts", "stat /dev/null", "out x"]);
        let at: Vec<&str> =
            a["mounts"].as_array().unwrap().iter().map(|mount| mount["at"].as_str().unwrap()).collect();
        for path in ["/", "/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys"] {
            assert!(at.contains(&path), "{path}: {at:?}");
        }
        assert_eq!(a["stat /dev/null"]["rdev"], "1:3");
    });
}

#[test]
fn a_user_namespace_without_a_map_is_refused() {
    container_test(|t| {
        let bundle = t.bundle().userns().remove("/linux/uidMappings").remove("/linux/gidMappings");
        t.run(&bundle.asks(&["pid"])).fails();
    });
}

#[test]
fn maps_that_overlap_are_refused() {
    container_test(|t| {
        let map = json!([
            { "containerID": 0, "hostID": 100_000, "size": 10 },
            { "containerID": 5, "hostID": 200_000, "size": 10 },
        ]);
        t.run(&t.bundle().userns().set("/linux/uidMappings", map).asks(&["pid"])).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn time_offsets() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no time namespace");
        let offsets = json!({ "monotonic": { "secs": 172_800 }, "boottime": { "secs": 604_800, "nanosecs": 500_000_000 } });
        let bundle = t.bundle().namespace("time", true).set("/linux/timeOffsets", offsets);
        let a = t.ask(bundle, &["clock monotonic", "clock boottime", "read /proc/self/timens_offsets"]);
        let host = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap().tv_sec();
        let boottime = a["clock boottime"].as_i64().unwrap();
        assert!((boottime - host - 604_800).abs() < 60, "{boottime} {host}");
        assert!(a["clock monotonic"].as_i64().unwrap() >= 172_800);
    });
}

#[test]
fn time_offsets_in_a_user_namespace() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no time namespace");
        let offsets = json!({ "boottime": { "secs": 604_800 } });
        let bundle = t.bundle().userns().namespace("time", true).set("/linux/timeOffsets", offsets);
        let out = t.run(&bundle.asks(&["clock boottime"]));
        differs!(t, Crun, "offsets in a user namespace");
        assert!(out.ok().answers()["clock boottime"].as_i64().unwrap() > 604_800);
    });
}

#[test]
fn time_offsets_without_the_namespace_are_refused() {
    container_test(|t| {
        differs!(t, Runc, "1.1 ignores timeOffsets");
        differs!(t, Crun, "ignores timeOffsets without the namespace");
        let bundle = t.bundle().set("/linux/timeOffsets", json!({ "boottime": { "secs": 1 } }));
        t.run(&bundle.asks(&["pid"])).fails();
    });
}

#[test]
fn the_cgroup_namespace_hides_the_path() {
    container_test(|t| {
        let a = t.ask(t.bundle().namespace("cgroup", true), &["cgroup"]);
        let text = a["cgroup"].as_str().unwrap();
        let ours: Vec<&str> = text.lines().filter(|line| line.contains(t.id())).collect();
        assert!(ours.is_empty(), "{text}");
        let host = t.ask(t.bundle(), &["cgroup"]);
        assert!(host["cgroup"].as_str().unwrap().contains(t.id()));
    });
}

#[test]
fn an_ordinary_user_runs_a_container() {
    container_test(|t| {
        if integration_test::by_systemd() {
            skip!("this user has no systemd of its own; see systemd::a_user_with_a_session");
        }
        if !fs::exists("/usr/bin/setpriv").unwrap() {
            skip!("setpriv is not installed");
        }
        let root = t.root();
        fs::create_dir_all(&root).unwrap();
        let map = |host: u32| json!([{ "containerID": 0, "hostID": host, "size": 1 }]);
        let bundle = t
            .bundle()
            .namespace("user", true)
            .set("/linux/uidMappings", map(1234))
            .set("/linux/gidMappings", map(1234))
            .remove("/linux/resources")
            .remove("/linux/cgroupsPath")
            .remove("/mounts/2/options/5")
            .no_mount("/sys/fs/cgroup")
            .asks(&["pid", "uid", "hostname"]);
        bundle.save();
        let program = t.dir().join("runtime");
        fs::copy(t.runtime(), &program).unwrap();
        for path in [t.dir(), &root, bundle.dir(), &bundle.path("/")] {
            std::os::unix::fs::chown(path, Some(1234), Some(1234)).unwrap();
        }
        let words = t.command(&["run", "--bundle", bundle.dir().to_str().unwrap(), t.id()]);
        let mut command = std::process::Command::new("setpriv");
        command.args(["--reuid", "1234", "--regid", "1234", "--clear-groups"]).arg(&program);
        command.args(words.get_args()).env("XDG_RUNTIME_DIR", &root).current_dir(t.dir());
        command.stdin(t.nothing());
        let a = t.output(command).ok().answers();
        assert_eq!((&a["pid"], &a["uid"][0], &a["hostname"]), (&json!(1), &json!(0), &json!("soute")));
    });
}

#[test]
fn the_callers_namespaces_joined_by_path_are_not_changed() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("others rename the host, and turn its root into the container's");
        }
        // In namespaces of its own, should it go wrong.
        t.before(&["unshare", "--mount", "--net", "--uts", "--ipc"]);
        let sysctl = |name: &str| json!({ name: "1" });
        let own =
            |kind: &str, link: &str| t.bundle().joins(kind, format!("/proc/self/ns/{link}")).asks(&["pid"]);
        let uts = || own("uts", "uts").remove("/hostname");
        let cases = [
            (uts().set("/hostname", "theirs"), "hostname: "),
            (uts().set("/domainname", "theirs"), "domainname: "),
            (own("network", "net").set("/linux/sysctl", sysctl("net.ipv4.ip_forward")), "linux.sysctl"),
            (own("ipc", "ipc").set("/linux/sysctl", sysctl("kernel.shmmni")), "linux.sysctl"),
            (own("mount", "mnt"), "linux.namespaces["),
        ];
        for (bundle, property) in cases {
            let says = t.run(&bundle).fails();
            assert!(says.contains(property) && says.contains(" of the caller"), "{says}");
        }
        // To be in it is no harm.
        t.run(&own("network", "net")).ok();
    });
}
