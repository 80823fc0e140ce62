// SPDX-License-Identifier: Apache-2.0
//! `exec`: which groups the new process is in.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Flavor, Host, Test, container_test, controllers, differs, skip};
use serde_json::json;

/// Makes a group of this name in the container's, in all hierarchies.
fn inner(t: &Test, name: &str) {
    let host = Host::here();
    let mut trees = vec![String::new()];
    if host == Host::V1 {
        trees = controllers().into_iter().chain(["systemd", "unified"].map(str::to_owned)).collect();
    }
    for tree in trees {
        let group = host.cgroup(&tree, t.id());
        if !group.exists() {
            continue;
        }
        let new = group.join(name);
        if fs::create_dir(&new).is_ok() && tree == "cpuset" {
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(new.join(file), fs::read(group.join(file)).unwrap()).unwrap();
            }
        }
    }
}

#[test]
fn into_a_group_below_the_containers() {
    container_test(|t| {
        differs!(t, Crun, "1.8 takes the path of a group for all of the host");
        t.up(t.bundle());
        inner(t, "inner");
        let groups = |flags: &[&str]| {
            let a = t.exec_with(flags, &["cgroup"]).ok().answers();
            let text = a["cgroup"].as_str().unwrap().to_owned();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let all = groups(&["--cgroup", "/inner"]);
        let inside = |line: &&String| line.ends_with("/inner");
        let expected = if Host::here() == Host::V1 { controllers().len() - 2 } else { 1 };
        assert!(all.iter().filter(inside).count() >= expected, "{all:?}");
        if Host::here() == Host::V1 && controllers().iter().any(|name| name == "pids") {
            let some = groups(&["--cgroup", "pids:inner"]);
            let only: Vec<&String> = some.iter().filter(inside).collect();
            assert!(only.len() == 1 && only[0].contains(":pids:"), "{some:?}");
        }
        for (sub, says) in [
            ("/absent", "no such file or directory"),
            ("../x", "bad sub cgroup path"),
            ("/inner/../..", "bad sub cgroup path"),
            ("nonsense:/inner", "unknown controller nonsense"),
        ] {
            let said = t.exec_with(&["--cgroup", sub], &["pid"]).fails().to_lowercase();
            assert!(t.flavor() != Flavor::Soute || said.contains(says), "{sub}: {said}");
        }
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn into_a_frozen_group_is_refused() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("others wait for ever");
        }
        t.up(t.bundle());
        inner(t, "inner");
        let host = Host::here();
        let (tree, file, word) = match host {
            Host::V1 => ("freezer", "freezer.state", "FROZEN"),
            Host::V2 => ("", "cgroup.freeze", "1"),
        };
        let file = host.cgroup(tree, t.id()).join("inner").join(file);
        if fs::write(&file, word).is_err() {
            t.delete_force();
            skip!("this machine has no freezer");
        }
        let says = t.exec_with(&["--cgroup", "/inner"], &["pid"]).fails();
        assert!(says.contains("cannot exec in a frozen cgroup"), "{says}");
        t.exec(&["pid"]);
        t.delete_force();
    });
}

#[test]
fn beside_an_init_that_limits_groups_of_its_own() {
    container_test(|t| {
        if Host::here() == Host::V1 {
            skip!("on v1 a group with limited children takes processes");
        }
        let Some(name) = controllers().into_iter().find(|name| name == "memory" || name == "hugetlb") else {
            skip!("this machine has no controller that needs it");
        };
        // A limit, so that the controller is switched on above.
        let limits = match name.as_str() {
            "memory" => json!({ "memory": { "limit": 67_108_864 } }),
            _ => json!({ "hugepageLimits": [{ "pageSize": "2MB", "limit": 4_194_304 }] }),
        };
        differs!(t, Crun, "1.8 has no rsvd limits");
        t.up(t.bundle().set("/linux/resources", limits));
        inner(t, "init.scope");
        let group = Host::V2.cgroup("", t.id());
        fs::write(group.join("init.scope/cgroup.procs"), t.pid().to_string()).unwrap();
        fs::write(group.join("cgroup.subtree_control"), format!("+{name}")).unwrap();
        let a = t.exec(&["cgroup"]);
        assert!(a["cgroup"].as_str().unwrap().trim().ends_with("/init.scope"), "{a}");
        assert_eq!(t.call(&["ps", t.id()]).ok().stdout().lines().count(), 2);
        if t.flavor() == Flavor::Soute {
            let says = t.exec_with(&["--cgroup", "/"], &["pid"]).fails();
            assert!(says.contains("its own takes no process"), "{says}");
        }
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
