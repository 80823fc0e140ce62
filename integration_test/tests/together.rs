// SPDX-License-Identifier: Apache-2.0
//! One container with everything that is hard at once, confirmed by its payload from inside.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

use integration_test::{container_test, differs, skip};
use serde_json::{Value, json};

const DOCKERS: &str = include_str!("../../crates/libcontainer/tests/data/docker-seccomp.json");
const NAMESPACES: [&str; 8] = ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"];

#[test]
fn everything_at_once() {
    container_test(|t| {
        let veth =
            Command::new("unshare").args(["--net", "ip", "link", "add", "a0", "type", "veth"]).output();
        if !veth.is_ok_and(|out| out.status.success()) {
            skip!("no veth devices here");
        }
        differs!(t, Runc, "1.1 knows neither time namespaces nor netDevices");
        differs!(t, Crun, "1.8 knows no netDevices");
        let features = t.call(&["features"]).ok().json();
        let says =
            |word: &str| features["mountOptions"].as_array().is_some_and(|all| all.contains(&json!(word)));

        // A tree with another mount in it, and a volume of the host's root.
        let (tree, volume) = (t.scratch("tree"), t.scratch("volume"));
        for dir in [&tree.join("sub"), &volume] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(volume.join("file"), "of the host's root").unwrap();
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        let mut bundle = t
            .bundle()
            .userns()
            .namespace("cgroup", true)
            .namespace("time", true)
            .writable()
            .file("/etc/greeting", "from the image")
            .dir_in_root("/tree")
            .dir_in_root("/volume")
            .set("/linux/seccomp", serde_json::from_str::<Value>(DOCKERS).unwrap())
            .set(
                "/linux/timeOffsets",
                json!({ "boottime": { "secs": 604_800 }, "monotonic": { "secs": 172_800 } }),
            )
            .set("/linux/netDevices", json!({ "a0": { "name": "lan" } }))
            .set("/process/scheduler", json!({ "policy": "SCHED_BATCH", "nice": 7 }))
            .set("/process/user", json!({ "uid": 1000, "gid": 1000 }))
            .mount("/tree", "bind", &tree, &["rbind", "rro"]);
        if features["linux"]["mountExtensions"]["idmap"]["enabled"] == true {
            bundle = bundle.bind(&volume, "/volume", &[]);
            let last = bundle.spec()["mounts"].as_array().unwrap().len() - 1;
            for ids in ["uidMappings", "gidMappings"] {
                bundle = bundle.set(&format!("/mounts/{last}/{ids}"), map.clone());
            }
        }
        if says("tmpcopyup") {
            bundle = bundle.mount("/etc", "tmpfs", "tmpfs", &["tmpcopyup", "mode=755"]);
        }
        let bundle = bundle.asks(&[
            "namespaces",
            "seccomp",
            "nnp",
            "socket vsock",
            "socket inet",
            "clock boottime",
            "clock monotonic",
            "scheduler",
            "interfaces",
            "read /sys/class/net/lan/mtu",
            "uid",
            "hostname",
            "pid",
            "read /tree/sub/low",
            "write /tree/sub/low x",
            "write /tree/file x",
            "mount /tree/sub",
            "stat /volume/file",
            "read /etc/greeting",
            "mount /etc",
            "cgroup",
        ]);
        let before = format!(
            "mount -t tmpfs low {0} && echo text > {0}/low && ip link add a0 type veth peer name a1 && \
             ip link set a0 mtu 1400 && exec \"$0\" \"$@\"",
            tree.join("sub").display()
        );
        t.before(&["unshare", "--net", "--mount", "--propagation", "private", "sh", "-c", &before]);
        let a = t.run(&bundle).ok().answers();

        for kind in NAMESPACES {
            let host = fs::read_link(format!("/proc/self/ns/{kind}")).unwrap();
            assert_ne!(a["namespaces"][kind], host.to_str().unwrap(), "{kind}");
        }
        // Docker's profile lets every family pass but this one.
        assert_eq!((&a["seccomp"], &a["nnp"]), (&json!(2), &json!(true)));
        assert_eq!((&a["socket vsock"]["error"], &a["socket inet"]), (&json!("EPERM"), &json!("ok")));
        let host = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).unwrap().tv_sec();
        let ahead = a["clock boottime"].as_i64().unwrap() - host;
        assert!((604_740..604_860).contains(&ahead), "{ahead}");
        assert!(a["clock monotonic"].as_i64().unwrap() >= 172_800);
        assert_eq!(a["scheduler"], json!({ "policy": 3, "priority": 0, "nice": 7 }));
        let interfaces = a["interfaces"].as_array().unwrap();
        assert!(interfaces.contains(&json!("lan")) && !interfaces.contains(&json!("a1")), "{interfaces:?}");
        assert_eq!(a["read /sys/class/net/lan/mtu"], "1400\n");
        assert_eq!((&a["uid"][0], &a["hostname"], &a["pid"]), (&json!(1000), &json!("soute"), &json!(1)));
        assert_eq!(a["read /tree/sub/low"], "text\n");
        for refused in ["write /tree/sub/low x", "write /tree/file x"] {
            assert_eq!(a[refused]["error"], "EROFS", "{refused}");
        }
        assert!(a["cgroup"].as_str().unwrap().lines().all(|line| line.ends_with(":/")), "{}", a["cgroup"]);
        if features["linux"]["mountExtensions"]["idmap"]["enabled"] == true {
            assert_eq!(
                (&a["stat /volume/file"]["uid"], &a["stat /volume/file"]["gid"]),
                (&json!(0), &json!(0))
            );
        }
        assert_eq!(a["read /etc/greeting"], "from the image");
        if says("tmpcopyup") {
            assert_eq!(a["mount /etc"]["type"], "tmpfs");
        }
    });
}
