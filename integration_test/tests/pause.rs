// SPDX-License-Identifier: Apache-2.0
//! pause, resume and ps: a frozen container stands still and can still be ended.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::time::{Duration, Instant};

use integration_test::{Flavor, Host, Test, container_test, differs, skip};
use serde_json::Value;

#[test]
fn a_paused_container_does_nothing_until_it_is_resumed() {
    container_test(|t| {
        let out = t.up(t.bundle());
        t.call(&["pause", t.id()]).ok();
        assert_eq!(t.status(), "paused");
        assert_ne!(t.pid(), 0);
        t.kill("TERM").ok();
        std::thread::sleep(Duration::from_millis(100));
        assert!(!out.stdout().contains("SIGTERM"), "{}", out.stdout());
        t.call(&["resume", t.id()]).ok();
        t.until_stopped();
        assert!(out.stdout().contains("SIGTERM"), "{}", out.stdout());
        t.delete().ok();
    });
}

#[test]
fn a_created_container_can_be_paused_and_not_started_meanwhile() {
    container_test(|t| {
        t.create(&t.bundle().asks(&["wait-for TERM"])).ok();
        t.call(&["pause", t.id()]).ok();
        assert_eq!(t.status(), "paused");
        differs!(t, Crun, "starts a paused container, and waits");
        if t.flavor() == Flavor::Soute {
            assert!(t.start().fails().contains("cannot start a paused container"));
        }
        t.call(&["resume", t.id()]).ok();
        assert_eq!(t.status(), "created");
        t.start().ok();
        t.delete_force();
    });
}

#[test]
fn exec_in_a_paused_container() {
    container_test(|t| {
        t.up(t.bundle());
        t.call(&["pause", t.id()]).ok();
        let says = t.call(&["exec", t.id(), "/payload", "pid"]).fails();
        if t.flavor() == Flavor::Soute {
            assert!(
                says.contains("cannot exec in a paused container (use --ignore-paused to override)"),
                "{says}"
            );
        }
        if t.flavor() == Flavor::Crun {
            t.delete_force();
            skip!("crun has no --ignore-paused");
        }
        let exec = t.start_command(t.command(&["exec", "--ignore-paused", t.id(), "/payload", "hostname"]));
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(exec.so_far().stdout(), "");
        t.call(&["resume", t.id()]).ok();
        assert_eq!(exec.wait().ok().answers()["hostname"], "soute");
        t.delete_force();
    });
}

#[test]
fn a_paused_container_can_be_killed_and_deleted() {
    container_test(|t| {
        t.up(t.bundle());
        t.call(&["pause", t.id()]).ok();
        if t.flavor() == Flavor::Soute {
            let says = t.delete().fails();
            assert!(says.contains("that is not stopped: paused"), "{says}");
        }
        t.kill("KILL").ok();
        t.until_stopped();
        t.delete().ok();
        for all in [false, true] {
            t.up(t.bundle());
            t.call(&["pause", t.id()]).ok();
            if all {
                t.call(&["kill", "--all", t.id(), "9"]).ok();
                t.until_stopped();
            }
            t.delete_force();
            assert_eq!(t.left_behind(), [""; 0]);
        }
    });
}

#[test]
fn without_a_pid_namespace_the_paused_can_be_killed_too() {
    container_test(|t| {
        t.up(t.bundle().namespace("pid", false));
        t.call(&["pause", t.id()]).ok();
        t.kill("KILL").ok();
        differs!(t, Crun, "1.8 leaves what a v1 freezer holds");
        t.until_stopped();
        t.delete_force();
    });
}

#[test]
fn pause_and_resume_in_the_wrong_state() {
    container_test(|t| {
        assert!(t.call(&["pause", t.id()]).fails().contains("does not exist") || t.flavor() != Flavor::Soute);
        t.up(t.bundle());
        if t.flavor() == Flavor::Soute {
            assert!(t.call(&["resume", t.id()]).fails().contains("container not paused"));
            t.call(&["pause", t.id()]).ok();
            assert!(t.call(&["pause", t.id()]).fails().contains("paused already"));
        }
        t.kill("KILL").ok();
        t.until_stopped();
        for verb in ["pause", "resume"] {
            let says = t.call(&[verb, t.id()]).fails();
            assert!(says.contains("container not running") || t.flavor() != Flavor::Soute, "{says}");
        }
        t.delete().ok();
    });
}

#[test]
fn a_group_above_that_is_frozen_is_told() {
    container_test(|t| {
        integration_test::cgroupfs_only!();
        if t.flavor() != Flavor::Soute {
            skip!("a finding about soute's words");
        }
        let parent = format!("{}-top", t.id());
        t.up(t.bundle().set("/linux/cgroupsPath", format!("/{parent}/{}", t.id())));
        let (dir, file, on, off) = match Host::here() {
            Host::V2 => (Host::V2.cgroup("", &parent), "cgroup.freeze", "1", "0"),
            Host::V1 => (Host::V1.cgroup("freezer", &parent), "freezer.state", "FROZEN", "THAWED"),
        };
        fs::write(dir.join(file), on).unwrap();
        t.until("the group above is frozen", || t.status() == "paused");
        let says = t.call(&["resume", t.id()]).fails();
        assert!(says.contains("still frozen") && says.contains("above"), "{says}");
        fs::write(dir.join(file), off).unwrap();
        t.until("it runs again", || t.status() == "running");
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

/// The pids that `ps --format json` prints.
fn pids(t: &Test) -> Vec<i64> {
    let Value::Array(all) = t.call(&["ps", "--format", "json", t.id()]).ok().json() else {
        panic!("no list")
    };
    all.iter().map(|pid| pid.as_i64().unwrap()).collect()
}

#[test]
fn ps_knows_every_process() {
    container_test(|t| {
        let out = t.create(&t.bundle().asks(&["spawn sleep 60000", "wait-for TERM"])).ok();
        assert_eq!(pids(t), [i64::from(t.pid())]);
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        assert_eq!(pids(t).len(), 2, "{:?}", pids(t));

        let table = t.call(&["ps", t.id()]).ok().stdout();
        assert_eq!(table.lines().count(), 3, "{table}");
        assert!(table.lines().next().unwrap().contains("PID"), "{table}");
        if t.flavor() != Flavor::Crun {
            let table = t.call(&["ps", t.id(), "-e", "-o", "pid,comm"]).ok().stdout();
            assert_eq!(table.matches("payload").count(), 2, "{table}");
            if t.flavor() == Flavor::Soute {
                let says = t.call(&["ps", t.id(), "-e", "-o", "comm"]).fails();
                assert!(says.contains("no column PID"), "{says}");
            }
        }
        t.delete_force();
    });
}

#[test]
fn ps_looks_into_nested_groups() {
    container_test(|t| {
        let out = t.create(&t.bundle().asks(&["spawn sleep 60000", "wait-for TERM"])).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        let child = *pids(t).iter().find(|pid| **pid != i64::from(t.pid())).unwrap();
        let host = Host::here();
        for tree in if host == Host::V1 { vec!["freezer", "pids", "unified"] } else { vec![""] } {
            let group = host.cgroup(tree, t.id());
            if !group.exists() {
                continue;
            }
            let inner = group.join("inner").join("deeper");
            fs::create_dir_all(&inner).unwrap();
            fs::write(inner.join("cgroup.procs"), child.to_string()).unwrap();
        }
        let found = pids(t);
        assert!(found.len() == 2 && found.contains(&child), "{found:?}");
        t.call(&["pause", t.id()]).ok();
        assert_eq!(t.status(), "paused");
        t.call(&["resume", t.id()]).ok();
        t.kill("KILL").ok();
        t.until_stopped();
        if t.flavor() == Flavor::Soute {
            t.call(&["ps", t.id()]).fails();
        }
        t.delete().ok();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_burning_fork_bomb_freezes() {
    container_test(|t| {
        // Forks as fast as it can while the freezer walks the list.
        let out = t.create(&t.bundle().asks(&["ready", "fork-on 100000"])).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("ready"));
        let begun = Instant::now();
        for _ in 0..5 {
            t.call(&["pause", t.id()]).ok();
            assert_eq!(t.status(), "paused");
            let before = pids(t);
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(pids(t), before);
            t.call(&["resume", t.id()]).ok();
        }
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
