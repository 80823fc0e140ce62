// SPDX-License-Identifier: Apache-2.0
//! What is killed for lack of memory, and by whom that is told: run, exec, start and state.
#![allow(clippy::unwrap_used)]

use integration_test::{
    Bundle, Flavor, Out, Test, by_systemd, container_test, controllers, counts_outlive_the_container, skip,
};
use serde_json::json;

macro_rules! needs_memory {
    () => {
        if !controllers().iter().any(|name| name == "memory") {
            skip!("this machine has no memory controller");
        }
    };
}

const LIMIT: u64 = 32 << 20;

fn limited(t: &Test, limit: u64) -> Bundle {
    let devices = json!([{ "allow": false, "access": "rwm" }]);
    t.bundle().set("/linux/resources", json!({ "memory": { "limit": limit }, "devices": devices }))
}

/// That the limit and a peak near it are told.
#[track_caller]
fn is_told(t: &Test, out: &Out) {
    let says = out.stderr();
    if t.flavor() == Flavor::Soute {
        assert!(says.contains("OOM-killed: the limit is 33554432 bytes, the peak was "), "{says}");
    }
}

#[test]
fn a_hog_is_killed() {
    container_test(|t| {
        needs_memory!();
        let out = t.run(&limited(t, LIMIT).asks(&["hog 8", "hog 256"]));
        assert_eq!(out.code, 137, "{}", out.stderr());
        assert_eq!(out.answers()["hog 8"], 8 << 20);
        if !by_systemd() {
            // systemd removes the group of the dead, and its counts, at once.
            is_told(t, &out);
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_hog_by_exec_is_killed() {
    container_test(|t| {
        needs_memory!();
        t.up(limited(t, LIMIT));
        let out = t.exec_with(&[], &["hog 256"]);
        assert_eq!(out.code, 137, "{}", out.stderr());
        is_told(t, &out);
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn who_is_killed_otherwise_was_not_out_of_memory() {
    container_test(|t| {
        needs_memory!();
        let run = t.spawn(&limited(t, LIMIT).asks(&["wait-for TERM"]), &[]);
        t.until("ready", || run.so_far().stdout().contains("waiting"));
        t.kill("KILL").ok();
        let out = run.wait();
        assert_eq!(out.code, 137);
        assert!(!out.stderr().contains("OOM"), "{}", out.stderr());
    });
}

#[test]
fn a_stopped_container_knows_it() {
    container_test(|t| {
        needs_memory!();
        counts_outlive_the_container!();
        if t.flavor() != Flavor::Soute {
            skip!("others do not tell it");
        }
        t.create(&limited(t, LIMIT).asks(&["hog 256"])).ok();
        assert!(t.state().get("oom").is_none());
        t.start().ok();
        t.until_stopped();
        let oom = t.state()["oom"].clone();
        assert_eq!((&oom["killed"], &oom["limit"]), (&json!(1), &json!(LIMIT)), "{oom}");
        assert!(oom["peak"].as_u64().is_none_or(|peak| peak > LIMIT / 2 && peak <= LIMIT), "{oom}");
        let says = t.start().fails();
        let expected = "cannot start a container that has stopped: \
                        container init was OOM-killed (memory limit too low?): the limit is 33554432 bytes";
        assert!(says.contains(expected), "{says}");
        t.delete_force();
    });
}

#[test]
fn a_memory_limit_too_low_to_start() {
    container_test(|t| {
        needs_memory!();
        counts_outlive_the_container!();
        let out = t.run(&limited(t, 4096).asks(&["hog 8"]));
        assert_ne!(out.code, 0);
        if t.flavor() == Flavor::Soute {
            assert!(out.stderr().contains("container init was OOM-killed (memory limit too low?)"));
        }
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
