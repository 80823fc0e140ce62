// SPDX-License-Identifier: Apache-2.0
//! A container that owns its v2 group and may divide it.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::MetadataExt;

use integration_test::{Bundle, Host, Test, container_test, skip};

macro_rules! needs_v2 {
    () => {
        if Host::here() == Host::V1 {
            skip!("only v2 groups are delegated");
        }
    };
}

/// A user namespace and a cgroup namespace of its own, the group mounted with these options.
fn own(t: &Test, option: &str) -> Bundle {
    let bundle = t.bundle().userns().namespace("cgroup", true);
    let options = ["nosuid", "noexec", "nodev", option];
    bundle.no_mount("/sys/fs/cgroup").mount("/sys/fs/cgroup", "cgroup", "cgroup", &options)
}

fn owner(t: &Test, file: &str) -> u32 {
    fs::metadata(Host::V2.cgroup("", t.id()).join(file)).unwrap().uid()
}

#[test]
fn a_writable_group_is_the_containers() {
    container_test(|t| {
        needs_v2!();
        let out = t
            .create(&own(t, "rw").asks(&[
                "mkdir /sys/fs/cgroup/inner",
                "write /sys/fs/cgroup/inner/cgroup.procs 0",
                "write /sys/fs/cgroup/cgroup.max.depth 1",
                "wait-for TERM",
            ]))
            .ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        for file in ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"] {
            assert_eq!(owner(t, file), 100_000, "{file}");
        }
        // What limits the container stays the host's.
        assert_eq!(owner(t, "cgroup.max.depth"), 0);
        let a = out.answers();
        assert_eq!(a["mkdir /sys/fs/cgroup/inner"], "ok", "{a}");
        assert_eq!(a["write /sys/fs/cgroup/inner/cgroup.procs 0"], "ok", "{a}");
        assert_eq!(a["write /sys/fs/cgroup/cgroup.max.depth 1"]["error"], "EACCES", "{a}");
        assert_eq!(t.call(&["ps", t.id()]).ok().stdout().lines().count(), 2);
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_group_that_is_only_read_stays_the_hosts() {
    container_test(|t| {
        needs_v2!();
        t.create(&own(t, "ro")).ok();
        assert_eq!((owner(t, ""), owner(t, "cgroup.procs")), (0, 0));
        t.delete_force();
        t.create(&own(t, "rw").namespace("cgroup", false)).ok();
        assert_eq!((owner(t, ""), owner(t, "cgroup.procs")), (0, 0));
        t.delete_force();
    });
}
