// SPDX-License-Identifier: Apache-2.0
//! Which groups a container may have: those that cgroupsPath names, and none that are somebody else's.
//! A group that is not the container's is never limited, frozen, killed or given device rules.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use integration_test::sweep::{can_trace, traced};
use integration_test::{Flavor, Host, Test, container_test, controllers, differs, skip, trees};
use serde_json::json;

#[test]
fn a_deep_cgroups_path() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        let path = format!("/{0}-top/{0}", t.id());
        let bundle = t.bundle().set("/linux/cgroupsPath", path.as_str());
        t.create(&bundle).ok();
        let text = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
        assert!(text.lines().any(|line| line.ends_with(&path)), "{text}");
        t.delete_force();
        // A parent that was not there before may stay with some runtimes; it is ours to remove.
        remove(t, &format!("/{}-top", t.id()));
    });
}

/// Removes a group that the test itself asked for, from every hierarchy.
fn remove(t: &Test, path: &str) {
    let host = Host::here();
    let mut all = controllers();
    all.extend(["systemd".to_owned(), "unified".to_owned(), String::new()]);
    for name in all {
        let _ = fs::remove_dir(host.cgroup(&name, path));
    }
    assert_eq!(t.left_behind(), [""; 0]);
}

#[test]
fn a_relative_cgroups_path_and_none() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        t.create(&t.bundle().set("/linux/cgroupsPath", t.id())).ok();
        let text = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
        assert!(text.contains(t.id()), "{text}");
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);

        for bundle in [t.bundle().remove("/linux/cgroupsPath"), t.bundle().set("/linux/cgroupsPath", "")] {
            if bundle.spec()["linux"]["cgroupsPath"] == "" && t.flavor() != Flavor::Soute {
                skip!("crun puts its device program on the host's root group, for all processes");
            }
            t.create(&bundle).ok();
            let text = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
            assert!(text.contains(t.id()), "{text}");
            t.delete_force();
            assert_eq!(t.left_behind(), [""; 0]);
        }
    });
}

#[test]
fn a_cgroups_path_that_climbs_stays_below() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        let outside = format!("/tmp/{}-outside", t.id());
        for path in [format!("/../../../..{outside}"), format!("/x/../../../../..{outside}")] {
            t.create(&t.bundle().set("/linux/cgroupsPath", path.as_str()));
            let made = fs::exists(&outside).unwrap();
            let _ = fs::remove_dir_all(&outside);
            differs!(t, Crun, "a cgroupsPath that climbs makes a directory of the host");
            assert!(!made, "{path}");
            t.delete_force();
        }
        remove(t, &outside);
        for parent in ["/tmp", "/x"] {
            remove(t, parent);
        }
    });
}

#[test]
fn a_cgroups_path_that_is_the_root_is_refused() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        if t.flavor() != Flavor::Soute {
            skip!("runc 1.1 puts its device program on the host's root group, for all processes");
        }
        // First asked: a mistake here would hit the whole machine.
        for path in ["/", "..", "/..", "/x/.."] {
            let bundle = t.bundle().set("/linux/cgroupsPath", path);
            bundle.save();
            let out = t.call(&["check", "--bundle", bundle.dir().to_str().unwrap()]);
            assert_ne!(out.code, 0, "{path}: {}", out.stdout());
            t.create(&bundle).fails();
            assert_eq!(t.left_behind(), [""; 0], "{path}");
        }
    });
}

#[test]
fn a_group_with_processes_in_it_is_refused() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        t.up(t.bundle());
        let other = t.named("b");
        let bundle = t.bundle_for(t.id()).asks(&["pid"]);
        let out = t.run_as(&other, &bundle);
        differs!(t, Runc, "1.1 uses a cgroup that is not empty");
        differs!(t, Crun, "uses a cgroup that is not empty");
        let says = out.fails();
        if t.flavor() == Flavor::Runc || t.flavor() == Flavor::Soute {
            assert!(says.contains("container's cgroup is not empty"), "{says}");
        }
        assert_eq!(t.status(), "running");
        t.delete_force();
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

#[test]
fn an_empty_group_that_is_not_ours_stays() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        if Host::here() == Host::V1 || t.flavor() != Flavor::Soute {
            skip!("marks and threaded groups are v2's, and others use what they find");
        }
        let refused = |what: &str, group: &str, words: &str| {
            let dir = Host::V2.cgroup("", group);
            let before = fs::metadata(&dir).unwrap().ino();
            let says = t.create(&t.bundle().set("/linux/cgroupsPath", group)).fails();
            let after = fs::metadata(&dir).map(|m| m.ino()).ok();
            fs::remove_dir(&dir).unwrap();
            assert!(
                says.contains("container's cgroup is not its own") && says.contains(words),
                "{what}: {says}"
            );
            assert_eq!(after, Some(before), "{what}");
            assert_eq!(t.left_behind(), [""; 0], "{what}");
        };
        let make = |name: &str| {
            let path = format!("/{}-{name}", t.id());
            fs::create_dir(Host::V2.cgroup("", &path)).unwrap();
            path
        };
        for mark in ["trusted.invocation_id", "user.invocation_id"] {
            let group = make("unit");
            let dir = Host::V2.cgroup("", &group);
            rustix::fs::setxattr(&dir, mark, b"0123456789abcdef", rustix::fs::XattrFlags::CREATE).unwrap();
            refused(mark, &group, "unit of systemd");
        }
        let group = make("threads");
        fs::write(Host::V2.cgroup("", &group).join("cgroup.type"), "threaded").unwrap();
        refused("threaded", &group, "threads");
        // Any other that is empty makes room: what somebody limited there would hold for us.
        let group = make("free");
        t.run(&t.bundle().set("/linux/cgroupsPath", group.as_str()).asks(&["pid"])).ok();
        assert!(!Host::V2.cgroup("", &group).exists());
    });
}

/// Makes a group of somebody else's, in every hierarchy.
fn foreign(path: &str) -> Vec<PathBuf> {
    let mut made = Vec::new();
    for tree in trees() {
        let mut dir = tree.clone();
        for part in path.split('/') {
            let above = dir.clone();
            dir.push(part);
            if fs::create_dir(&dir).is_ok() && tree.ends_with("cpuset") {
                // Without them a v1 group takes no process.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    fs::write(dir.join(file), fs::read(above.join(file)).unwrap()).unwrap();
                }
            }
        }
        made.push(dir);
    }
    made
}

/// What a runtime could have changed in a group.
fn settings(dirs: &[PathBuf]) -> Vec<String> {
    let files = [
        "cgroup.freeze",
        "cgroup.subtree_control",
        "cgroup.type",
        "cpu.max",
        "cpu.shares",
        "cpu.weight",
        "devices.list",
        "freezer.state",
        "memory.limit_in_bytes",
        "memory.max",
        "pids.max",
    ];
    let read =
        |dir: &Path, file: &str| fs::read_to_string(dir.join(file)).map(|text| format!("{file}: {text}"));
    dirs.iter().flat_map(|dir| files.iter().filter_map(|file| read(dir, file).ok())).collect()
}

#[test]
fn the_callers_own_group_and_those_above_it_are_refused() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        if t.flavor() != Flavor::Soute {
            skip!("others limit, freeze or kill their caller");
        }
        let (top, own) = (format!("{}-top", t.id()), format!("{}-top/caller", t.id()));
        let (above, groups) = (foreign(&top), foreign(&own));
        let before = settings(&[above.clone(), groups.clone()].concat());
        // The caller tells by its own status that it lives, and that the device rules of the container
        // are not its own.
        let enter: Vec<String> =
            groups.iter().map(|dir| format!("echo 0 >{}/cgroup.procs", dir.display())).collect();
        let caller = format!("{}; \"$@\" && exit 98; : </dev/kmsg && exit 97", enter.join("; "));
        t.before(&["sh", "-ec", &caller, "caller"]);
        for path in [&own, &top] {
            for resources in [json!({}), json!({ "memory": { "limit": 33_554_432 }, "pids": { "limit": 9 } })]
            {
                let bundle = t.bundle().set("/linux/cgroupsPath", format!("/{path}"));
                let bundle = bundle.set("/linux/resources", resources);
                let out = t.create(&bundle);
                assert_eq!(out.code, 97, "{}", out.stderr());
                let says = out.stderr();
                assert!(says.contains("is the group of its own caller, or above it"), "{says}");
                assert_eq!(settings(&[above.clone(), groups.clone()].concat()), before, "{path}");
            }
        }
        t.before(&[]);
        for dir in groups.iter().chain(&above) {
            fs::remove_dir(dir).unwrap();
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_group_that_another_container_has_by_now_is_left_alone() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        if t.flavor() != Flavor::Soute {
            skip!("others know a group by its path alone");
        }
        t.up(t.bundle());
        t.kill("KILL").ok();
        t.until_stopped();
        let other = t.named("b");
        let bundle = t.bundle_for(t.id()).asks(&["wait-for TERM"]);
        bundle.save();
        t.call(&["create", "--bundle", bundle.dir().to_str().unwrap(), &other]).ok();
        t.call(&["start", &other]).ok();
        let groups: Vec<PathBuf> =
            trees().iter().map(|tree| tree.join(t.id())).filter(|dir| dir.exists()).collect();
        assert!(!groups.is_empty());
        let before = settings(&groups);
        for words in [
            ["kill", "--all", t.id(), "KILL"].as_slice(),
            &["pause", t.id()],
            &["update", "--pids-limit", "3", t.id()],
            &["delete", "--force", t.id()],
        ] {
            t.call(words);
            assert_eq!(t.call(&["state", &other]).ok().json()["status"], "running", "{words:?}");
            assert_eq!(settings(&groups), before, "{words:?}");
        }
        t.call(&["delete", "--force", &other]).ok();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn delete_waits_for_a_busy_group_and_says_what_keeps_it() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        if t.flavor() != Flavor::Soute {
            skip!("others have other words");
        }
        if !can_trace() {
            return;
        }
        // The kernel says for a while that it is busy, as after the death of a large process.
        let busy = |when: &str| {
            let inject = format!("inject=unlinkat:error=EBUSY:when={when}");
            let flags = ["-f", "-o", "/dev/null", "-e", "trace=unlinkat", "-e", &inject];
            t.create(&t.bundle()).ok();
            let begun = Instant::now();
            (t.output(traced(t, &flags, &["delete", "--force", t.id()])), begun.elapsed())
        };
        busy("1..5").0.ok();
        assert_eq!(t.left_behind(), [""; 0]);
        let (out, took) = busy("1+");
        let says = out.fails();
        assert!(says.contains("EBUSY") && says.contains("no process is in it"), "{says}");
        assert!(took.as_secs() >= 4, "{took:?}");
        // Nothing of it is forgotten: the next try ends it.
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
