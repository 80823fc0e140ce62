// SPDX-License-Identifier: Apache-2.0
//! Devices: the default ones and their links, those of the config, and the rule that
//! everything else is refused.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Flavor, Host, container_test, differs, skip};
use serde_json::{Value, json};

/// Allows one device, after the rule that refuses all.
fn allow(kind: &str, major: u32, minor: u32, access: &str) -> Value {
    json!({ "allow": true, "type": kind, "major": major, "minor": minor, "access": access })
}

#[test]
fn the_default_devices() {
    container_test(|t| {
        let all = [
            ("null", "1:3"),
            ("zero", "1:5"),
            ("full", "1:7"),
            ("random", "1:8"),
            ("urandom", "1:9"),
            ("tty", "5:0"),
        ];
        let questions: Vec<String> = all.iter().map(|(name, _)| format!("stat /dev/{name}")).collect();
        let a = t.ask(t.bundle(), &questions.iter().map(String::as_str).collect::<Vec<_>>());
        for (question, (_, rdev)) in questions.iter().zip(all) {
            assert_eq!(a[question]["rdev"], rdev, "{question}");
            assert_eq!(a[question]["type"], "char", "{question}");
            assert_eq!(a[question]["mode"], "0666", "{question}");
            assert_eq!((&a[question]["uid"], &a[question]["gid"]), (&json!(0), &json!(0)), "{question}");
        }
    });
}

#[test]
fn the_default_links() {
    container_test(|t| {
        let all = [
            ("fd", "/proc/self/fd"),
            ("stdin", "/proc/self/fd/0"),
            ("stdout", "/proc/self/fd/1"),
            ("stderr", "/proc/self/fd/2"),
            ("ptmx", "pts/ptmx"),
        ];
        let questions: Vec<String> = all.iter().map(|(name, _)| format!("readlink /dev/{name}")).collect();
        let a = t.ask(t.bundle(), &questions.iter().map(String::as_str).collect::<Vec<_>>());
        for (question, (_, target)) in questions.iter().zip(all) {
            assert_eq!(a[question], target);
        }
    });
}

#[test]
fn dev_holds_nothing_else() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["list /dev"]);
        let mut list: Vec<String> = serde_json::from_value(a["list /dev"].clone()).unwrap();
        list.retain(|name| name != "core" && name != "console");
        let want = [
            "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
            "tty", "urandom", "zero",
        ];
        assert_eq!(list, want);
    });
}

#[test]
fn the_default_devices_work() {
    container_test(|t| {
        let a = t.ask(
            t.bundle(),
            &[
                "write /dev/null x",
                "read /dev/null",
                "write /dev/full x",
                "open /dev/zero",
                "open /dev/urandom w",
                "open /dev/random",
            ],
        );
        assert_eq!(a["write /dev/null x"], "ok");
        assert_eq!(a["read /dev/null"], "");
        assert_eq!(a["write /dev/full x"]["error"], "ENOSPC");
        assert_eq!(
            (&a["open /dev/zero"], &a["open /dev/urandom w"], &a["open /dev/random"]),
            (&json!("ok"), &json!("ok"), &json!("ok"))
        );
    });
}

#[test]
fn ordinary_users_may_use_them() {
    container_test(|t| {
        let a = t.ask(t.bundle().set("/process/user/uid", 1000), &["write /dev/null x", "open /dev/zero w"]);
        assert_eq!((&a["write /dev/null x"], &a["open /dev/zero w"]), (&json!("ok"), &json!("ok")));
    });
}

#[test]
fn other_devices_are_refused() {
    container_test(|t| {
        let bundle = t.bundle().writable().caps(&[
            "CAP_MKNOD",
            "CAP_DAC_OVERRIDE",
            "CAP_SYS_ADMIN",
            "CAP_SYSLOG",
            "CAP_SYS_RAWIO",
        ]);
        // The kernel log, memory, and the first disk.
        let questions = ["node c 1 11 /dev/kmsg", "node c 1 1 /dev/mem", "node b 254 0 /dev/disk"];
        let a = t.ask(bundle, &questions);
        for question in questions {
            assert!(
                a[question]["opened"] == "EPERM" || a[question]["made"] == "EPERM",
                "{question}: {}",
                a[question]
            );
        }
    });
}

#[test]
fn an_empty_list_of_rules_refuses_too() {
    container_test(|t| {
        differs!(t, Runc, "default deny comes with the caller's rules; GHSA-g54h-m393-cpwq was crun's");
        let bundle = t
            .bundle()
            .writable()
            .caps(&["CAP_MKNOD", "CAP_SYSLOG"])
            .set("/linux/resources/devices", json!([]));
        let a = t.ask(bundle, &["node c 1 11 /dev/kmsg"]);
        assert_ne!(a["node c 1 11 /dev/kmsg"]["opened"], "ok");
        let bundle = t.bundle().writable().caps(&["CAP_MKNOD", "CAP_SYSLOG"]).remove("/linux/resources");
        let a = t.ask(bundle, &["node c 1 11 /dev/kmsg"]);
        assert_ne!(a["node c 1 11 /dev/kmsg"]["opened"], "ok");
    });
}

#[test]
fn an_allowed_device_opens() {
    container_test(|t| {
        let bundle = t
            .bundle()
            .caps(&["CAP_MKNOD", "CAP_SYSLOG"])
            .push("/linux/resources/devices", allow("c", 1, 11, "rwm"));
        let a = t.ask(bundle, &["node c 1 11 /dev/kmsg"]);
        assert_eq!(a["node c 1 11 /dev/kmsg"], json!({ "made": "ok", "opened": "ok" }));
    });
}

#[test]
fn access_is_what_was_allowed() {
    container_test(|t| {
        let bundle =
            t.bundle().caps(&["CAP_SYSLOG"]).push("/linux/resources/devices", allow("c", 1, 11, "r")).push(
                "/linux/devices",
                json!({ "path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666 }),
            );
        let a = t.ask(bundle, &["open /dev/kmsg", "open /dev/kmsg w"]);
        assert_eq!(a["open /dev/kmsg"], "ok");
        assert_eq!(a["open /dev/kmsg w"]["error"], "EPERM");
    });
}

#[test]
fn a_later_rule_wins() {
    container_test(|t| {
        let deny = json!({ "allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwm" });
        let bundle = t
            .bundle()
            .caps(&["CAP_MKNOD", "CAP_SYSLOG"])
            .push(
                "/linux/resources/devices",
                json!({ "allow": true, "type": "c", "major": 1, "access": "rwm" }),
            )
            .push("/linux/resources/devices", deny);
        let out = t.run(&bundle.asks(&["node c 1 11 /dev/kmsg", "open /dev/zero"]));
        if out.code != 0 {
            differs!(t, Runc, "knows no exception of an exception on v2 either");
            // The v1 controller knows no exception of an exception: an error, never silence.
            assert_eq!(Host::here(), Host::V1);
            out.fails();
            return;
        }
        let a = out.answers();
        assert_ne!(a["node c 1 11 /dev/kmsg"]["opened"], "ok");
        assert_eq!(a["open /dev/zero"], "ok");
    });
}

#[test]
fn all_devices_allowed() {
    container_test(|t| {
        let bundle = t.bundle().caps(&["CAP_MKNOD", "CAP_SYSLOG"]);
        let bundle = bundle.set("/linux/resources/devices", json!([{ "allow": true, "access": "rwm" }]));
        let a = t.ask(bundle, &["node c 1 11 /dev/kmsg"]);
        assert_eq!(a["node c 1 11 /dev/kmsg"], json!({ "made": "ok", "opened": "ok" }));
    });
}

#[test]
fn nodes_of_the_config() {
    container_test(|t| {
        let bundle = t
            .bundle()
            .push("/linux/devices", json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 7, "gid": 8 }))
            .push("/linux/devices", json!({ "path": "/dev/deep/er/disk", "type": "b", "major": 7, "minor": 0, "fileMode": 0o600 }))
            .push("/linux/devices", json!({ "path": "/dev/pipe", "type": "p", "fileMode": 0o622 }));
        let a = t.ask(bundle, &["stat /dev/mine", "stat /dev/deep/er/disk", "stat /dev/pipe"]);
        let mine = &a["stat /dev/mine"];
        assert_eq!(
            (&mine["type"], &mine["rdev"], &mine["mode"]),
            (&json!("char"), &json!("1:5"), &json!("0640"))
        );
        assert_eq!((&mine["uid"], &mine["gid"]), (&json!(7), &json!(8)));
        assert_eq!(a["stat /dev/deep/er/disk"]["type"], "block");
        assert_eq!(a["stat /dev/deep/er/disk"]["rdev"], "7:0");
        assert_eq!(
            (&a["stat /dev/pipe"]["type"], &a["stat /dev/pipe"]["mode"]),
            (&json!("fifo"), &json!("0622"))
        );
    });
}

#[test]
fn a_node_outside_dev() {
    container_test(|t| {
        let node = json!({ "path": "/etc/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666 });
        let bundle = t.bundle().writable().push("/linux/devices", node);
        let host = bundle.path("/etc/zero");
        let a = t.ask(bundle, &["stat /etc/zero", "open /etc/zero"]);
        assert_eq!(a["stat /etc/zero"]["rdev"], "1:5");
        assert_eq!(a["open /etc/zero"], "ok");
        let _ = fs::remove_file(host);
    });
}

#[test]
fn a_default_device_listed_again() {
    container_test(|t| {
        let node = json!({ "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 0, "gid": 0 });
        let out = t.run(&t.bundle().push("/linux/devices", node).asks(&["stat /dev/null"]));
        differs!(t, Runc, "a default device that is listed again loses its rule");
        assert_eq!(out.ok().answers()["stat /dev/null"]["rdev"], "1:3");
    });
}

#[test]
fn bad_devices_are_refused() {
    container_test(|t| {
        let node = json!({ "path": "/dev/x", "type": "q", "major": 1, "minor": 3 });
        t.run(&t.bundle().push("/linux/devices", node).asks(&["pid"])).fails();
        let out = t.run(
            &t.bundle().push("/linux/devices", json!({ "type": "c", "major": 1, "minor": 3 })).asks(&["pid"]),
        );
        differs!(t, Runc, "takes a device without a path");
        out.fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn devices_in_a_user_namespace() {
    container_test(|t| {
        let a = t.ask(
            t.bundle().userns(),
            &["stat /dev/null", "write /dev/null x", "open /dev/zero", "stat /dev/tty"],
        );
        assert_eq!(a["stat /dev/null"]["rdev"], "1:3");
        assert_eq!(a["write /dev/null x"], "ok");
        assert_eq!(a["open /dev/zero"], "ok");
        assert_eq!(a["stat /dev/tty"]["rdev"], "5:0");
    });
}

#[test]
fn the_hosts_devices_keep_owner_and_mode() {
    container_test(|t| {
        if t.flavor() == Flavor::Crun {
            skip!("crun 1.8 gives the host's /dev/null to the container's user");
        }
        use std::os::unix::fs::MetadataExt;
        let stat = || {
            let meta = fs::metadata("/dev/null").unwrap();
            (meta.mode(), meta.uid(), meta.gid(), meta.rdev())
        };
        let before = stat();
        let bundle = t.bundle().userns().set("/process/user", json!({ "uid": 7, "gid": 8 })).asks(&["pid"]);
        let mut command = t.command(&t.with_bundle("run", &bundle, &[]));
        command.stdin(std::process::Stdio::null());
        t.output(command).ok();
        assert_eq!(stat(), before);
    });
}

#[test]
fn mknod_without_the_right_is_refused() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["node c 1 3 /dev/x"]);
        assert_eq!(a["node c 1 3 /dev/x"]["made"], "EPERM");
    });
}

#[test]
fn a_node_carries_no_set_id_bits() {
    container_test(|t| {
        let node = json!({ "path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o6755, "uid": 7, "gid": 8 });
        let roots = json!({ "path": "/dev/roots", "type": "c", "major": 1, "minor": 5, "fileMode": 0o6755 });
        let bundle = t.bundle().push("/linux/devices", node).push("/linux/devices", roots);
        let a = t.ask(bundle, &["stat /dev/mine", "stat /dev/roots"]);
        differs!(t, Runc, "makes a node with set-id bits");
        assert_eq!(a["stat /dev/mine"]["mode"], "0755");
        assert_eq!(a["stat /dev/roots"]["mode"], "0755");
        assert_eq!(a["stat /dev/mine"]["uid"], 7);
    });
}
