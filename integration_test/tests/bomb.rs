// SPDX-License-Identifier: Apache-2.0
//! What would take the host's processes, and groups that can hold none.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Flavor, Host, container_test, controllers, skip};
use serde_json::json;

#[test]
fn a_fork_bomb_stays_in_its_limit_and_dies() {
    container_test(|t| {
        if !controllers().iter().any(|name| name == "pids") {
            skip!("this machine has no pids controller");
        }
        let limits = json!({ "pids": { "limit": 30 }, "devices": [{ "allow": false, "access": "rwm" }] });
        // Without a pid namespace nothing but the group holds them together.
        let bundle = t.bundle().namespace("pid", false).set("/linux/resources", limits);
        let out = t.create(&bundle.asks(&["ready", "fork 100", "fork-on 1000000"])).ok();
        t.start().ok();
        t.until("the limit is reached", || out.stdout().contains("EAGAIN"));
        let now = |file| t.limit("pids", file).unwrap().parse::<u32>().unwrap();
        assert!(now("pids.current") <= 30);
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn below_a_threaded_group_no_container_is_made() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        if Host::here() == Host::V1 || t.flavor() != Flavor::Soute {
            skip!("a threaded group is v2's, and others say other words");
        }
        let top = Host::V2.cgroup("", &format!("/{}-top/threads", t.id()));
        fs::create_dir_all(&top).unwrap();
        fs::write(top.join("cgroup.type"), "threaded").unwrap();
        let path = format!("/{0}-top/threads/{0}", t.id());
        let says = t.create(&t.bundle().set("/linux/cgroupsPath", path.as_str())).fails();
        let gone = !top.join(t.id()).exists();
        fs::remove_dir(&top).unwrap();
        fs::remove_dir(top.parent().unwrap()).unwrap();
        assert!(says.contains("a group above is threaded") && gone, "{says}");
    });
}
