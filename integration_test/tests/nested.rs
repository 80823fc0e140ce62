// SPDX-License-Identifier: Apache-2.0
//! A runtime that is itself within a container: root of a user namespace that is not the host's,
//! which may make no device node, and mount anew only what is of its own namespaces.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Bundle, Flavor, Running, Test, container_test, differs};
use serde_json::{Value, json};

/// From here on the runtime is the root of another user namespace, whose ids are the host's, in
/// whose mount namespace `shell` was done before.
fn within(t: &Test, shell: &str) -> Running {
    let line = format!("{shell} && exec \"$0\" \"$@\"");
    let holder = t.holder(&["--mount", "sh", "-c", &line, "unshare", "--user", "--mount"]);
    let pid = holder.pid().to_string();
    for map in ["uid_map", "gid_map"] {
        fs::write(format!("/proc/{pid}/{map}"), "0 0 65536").unwrap();
    }
    t.before(&["nsenter", "--target", &pid, "--user", "--mount"]);
    holder
}

/// With the caller's namespaces of these types.
fn shares(bundle: Bundle, kinds: &[&str]) -> Bundle {
    kinds.iter().fold(bundle, |bundle, kind| bundle.namespace(kind, false))
}

/// The last mount at a place.
fn mount_at<'a>(a: &'a Value, place: &str) -> &'a Value {
    let all = a["mounts"].as_array().unwrap();
    all.iter().rev().find(|mount| mount["at"] == place).unwrap_or_else(|| panic!("{place}: {a}"))
}

#[test]
fn devices_are_bound() {
    container_test(|t| {
        let _outer = within(t, "true");
        let a = t.ask(t.bundle(), &["mounts", "stat /dev/null", "write /dev/null x", "stat /dev/tty"]);
        assert_eq!((&a["stat /dev/null"]["rdev"], &a["write /dev/null x"]), (&json!("1:3"), &json!("ok")));
        assert_eq!(a["stat /dev/tty"]["rdev"], "5:0");
        assert_eq!(mount_at(&a, "/dev/null")["root"].as_str().unwrap().rsplit('/').next(), Some("null"));
    });
}

#[test]
fn what_is_of_the_callers_namespaces_is_bound() {
    container_test(|t| {
        let _outer = within(t, "true");
        differs!(t, Runc, "1.1 binds nothing in place of what it may not mount");
        let bundle = shares(t.bundle(), &["network", "pid"]);
        let out = t.run(&bundle.asks(&["mounts", "list /sys/class", "write /sys/kernel/profiling 1", "pid"]));
        let warned = out.stderr();
        let a = out.ok().answers();
        // The caller's own, which is why it shows more than process 1.
        assert_ne!(a["pid"], 1);
        assert_eq!(
            (&mount_at(&a, "/proc")["type"], &mount_at(&a, "/sys")["type"]),
            (&json!("proc"), &json!("sysfs"))
        );
        assert!(a["list /sys/class"].to_string().contains("\"net\""), "{a}");
        // As it was asked for: read-only.
        assert_eq!(a["write /sys/kernel/profiling 1"]["error"], "EROFS");
        if t.flavor() == Flavor::Soute {
            for place in ["/proc", "/sys"] {
                assert!(warned.contains(&format!("{place} is bound in its place")), "{warned}");
            }
        }
    });
}

/// The kernel shows a new procfs only to who sees all of the present one.
#[test]
fn a_proc_that_the_outer_container_masks() {
    container_test(|t| {
        let _outer = within(t, "mount --bind /dev/null /proc/meminfo");
        let says = t.run(&t.bundle().asks(&["pid"])).fails();
        if t.flavor() == Flavor::Soute {
            assert!(says.contains("mount proc on /proc") && says.contains("EPERM"), "{says}");
            assert!(says.contains("let the outer one mask nothing"), "{says}");
        }
        // With the outer container's processes it can be shared, as it is.
        differs!(t, Runc, "1.1 binds nothing in place of what it may not mount");
        let a = t.ask(shares(t.bundle(), &["pid"]), &["read /proc/meminfo"]);
        assert_eq!(a["read /proc/meminfo"], "");
    });
}

#[test]
fn what_could_be_bound_is_not_there() {
    container_test(|t| {
        let _outer = within(t, "true");
        let bundle = shares(t.bundle(), &["ipc"]);
        let out = t.run(&bundle.asks(&["mounts"]));
        if fs::metadata("/dev/mqueue").is_ok() {
            return drop(out.ok());
        }
        let says = out.fails();
        if t.flavor() == Flavor::Soute {
            assert!(says.contains("fsconfig(create mqueue)") && says.contains("EPERM"), "{says}");
            assert!(says.contains("/dev/mqueue, which could be bound in its place"), "{says}");
        }
    });
}
