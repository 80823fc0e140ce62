// SPDX-License-Identifier: Apache-2.0
//! Propagation of mounts, and paths that are masked or read-only.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use integration_test::{Test, container_test};
use serde_json::json;

/// A directory of the host.
fn source(t: &Test) -> PathBuf {
    let dir = t.scratch("source");
    fs::create_dir(&dir).unwrap();
    dir
}

/// What mountinfo says of a bind's propagation, the host's side being shared.
fn propagation(word: &str, shown: &[&str], hidden: &[&str]) {
    container_test(|t| {
        t.before(&["unshare", "-m", "--propagation", "shared"]);
        let bundle = t.bundle().set("/linux/rootfsPropagation", "slave").bind(source(t), "/data", &[word]);
        let a = t.ask(bundle, &["mount /data"]);
        let text = a["mount /data"]["propagation"].to_string();
        assert!(shown.iter().all(|word| text.contains(word)), "{text}");
        assert!(!hidden.iter().any(|word| text.contains(word)), "{text}");
    });
}

#[test]
fn propagation_private() {
    propagation("private", &[], &["shared", "master"]);
}

#[test]
fn propagation_rprivate() {
    propagation("rprivate", &[], &["shared", "master"]);
}

#[test]
fn propagation_slave() {
    propagation("slave", &["master:"], &["shared"]);
}

#[test]
fn propagation_rslave() {
    propagation("rslave", &["master:"], &["shared"]);
}

#[test]
fn propagation_shared() {
    propagation("shared", &["shared:"], &[]);
}

#[test]
fn propagation_unbindable() {
    propagation("unbindable", &["unbindable"], &[]);
}

#[test]
fn a_mount_of_the_host_propagates_to_a_slave() {
    container_test(|t| {
        let dir = source(t);
        fs::create_dir(dir.join("late")).unwrap();
        let bundle = t.bundle().set("/linux/rootfsPropagation", "slave").mount(
            "/data",
            "bind",
            &dir,
            &["rbind", "rslave"],
        );
        let bundle = bundle.asks(&["out up", "line", "list /data/late"]);
        bundle.save();
        let shell = format!(
            "mkfifo go; {} --root {} run --bundle {} {} <go & exec 3>go; \
             sleep 1; mount -t tmpfs late {dir}/late; touch {dir}/late/seen; echo >&3; exec 3>&-; wait",
            t.runtime().display(),
            t.root().display(),
            bundle.dir().display(),
            t.id(),
            dir = dir.display()
        );
        let mut command = std::process::Command::new("unshare");
        // Peers of the host's own mounts would hand it back.
        let shell = format!("mount --make-rshared / && {{ {shell}; }}");
        command.args(["-m", "--propagation", "private", "sh", "-c", &shell]).current_dir(t.dir());
        command.stdin(t.nothing());
        assert_eq!(t.output(command).ok().answers()["list /data/late"], json!(["seen"]));
    });
}

#[test]
fn masked_files_are_empty_and_directories_too() {
    container_test(|t| {
        let bundle = t.bundle().file("/etc/secret", "text").file("/data/dir/secret", "text").writable();
        let bundle = bundle
            .set("/linux/maskedPaths", json!(["/etc/secret", "/data/dir", "/no/such/path", "/proc/keys"]));
        let a = t.ask(
            bundle,
            &[
                "read /etc/secret",
                "list /data/dir",
                "write /data/dir/x y",
                "write /etc/secret y",
                "read /proc/keys",
            ],
        );
        assert_eq!(a["read /etc/secret"], "");
        assert_eq!(a["read /proc/keys"], "");
        assert_eq!(a["list /data/dir"], json!([]));
        assert_eq!(a["write /data/dir/x y"]["error"], "EROFS");
    });
}

#[test]
fn the_default_masked_paths_tell_nothing() {
    container_test(|t| {
        let a = t.ask(
            t.bundle(),
            &["read /proc/keys", "read /proc/timer_list", "list /sys/firmware", "stat /proc/kcore"],
        );
        for question in ["read /proc/keys", "read /proc/timer_list"] {
            assert!(a[question] == "" || a[question]["error"] == "ENOENT", "{question}: {a}");
        }
        assert!(a["list /sys/firmware"] == json!([]) || a["list /sys/firmware"]["error"] == "ENOENT");
        if a["stat /proc/kcore"]["error"] != "ENOENT" {
            assert_eq!(a["stat /proc/kcore"]["rdev"], "1:3");
        }
    });
}

#[test]
fn read_only_paths() {
    container_test(|t| {
        let bundle = t.bundle().file("/data/dir/file", "text").file("/etc/one", "text").writable();
        let bundle = bundle
            .set("/linux/readonlyPaths", json!(["/data/dir", "/etc/one", "/no/such/path", "/proc/sys"]));
        let questions = [
            "write /data/dir/file x",
            "read /data/dir/file",
            "write /etc/one x",
            "write /etc/two x",
            "write /proc/sys/net/ipv4/ip_forward 1",
        ];
        let a = t.ask(bundle, &questions);
        assert_eq!(a["write /data/dir/file x"]["error"], "EROFS");
        assert_eq!(a["read /data/dir/file"], "text");
        assert_eq!(a["write /etc/one x"]["error"], "EROFS");
        assert_eq!(a["write /etc/two x"], "ok");
        assert_eq!(a["write /proc/sys/net/ipv4/ip_forward 1"]["error"], "EROFS");
    });
}

#[test]
fn a_read_only_path_keeps_the_flags_of_its_mount() {
    container_test(|t| {
        let bundle = t.bundle().mount("/data", "tmpfs", "tmpfs", &["nosuid", "nodev", "noexec"]);
        let a = t.ask(bundle.set("/linux/readonlyPaths", json!(["/data"])), &["mount /data"]);
        for word in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(a["mount /data"]["options"].as_array().unwrap().contains(&json!(word)), "{word}: {a}");
        }
    });
}
