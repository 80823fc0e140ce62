// SPDX-License-Identifier: Apache-2.0
//! The helper itself: a test that leaves something behind fails, whatever it is.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};

use integration_test::{Test, container_test};

/// The message with which a test ends that leaves something behind.
fn complaint(what: impl FnOnce(&Test)) -> String {
    let result = catch_unwind(AssertUnwindSafe(|| container_test(what)));
    *result.expect_err("the census must notice").downcast::<String>().unwrap()
}

#[test]
fn a_container_left_behind_is_seen_and_removed() {
    let says = complaint(|t| drop(t.up(t.bundle())));
    for what in ["process ", "cgroup /sys/fs/cgroup", "state "] {
        assert!(says.contains(what), "{what}: {says}");
    }
    container_test(|_| ());
}

#[test]
fn a_file_in_the_state_directory_is_seen() {
    let says = complaint(|t| {
        fs::create_dir_all(t.root().join(".lock")).unwrap();
        fs::write(t.root().join(".lock/x"), "").unwrap();
    });
    assert!(says.contains(".lock/x"), "{says}");
}

#[test]
fn an_empty_lock_directory_may_stay() {
    container_test(|t| fs::create_dir_all(t.root().join(".lock")).unwrap());
}

#[test]
fn an_orphan_is_seen() {
    let says = complaint(|t| {
        let mut command = std::process::Command::new("/bin/sh");
        command.args(["-c", "sleep 60 & exit 0"]);
        t.output(command).ok();
    });
    assert!(says.contains("(sleep, S)"), "{says}");
}

#[test]
fn a_command_that_hangs_is_killed() {
    container_test(|t| {
        let mut command = std::process::Command::new("/bin/sleep");
        command.arg("1000");
        let mut running = t.start_command(command);
        assert!(!running.ended());
        drop(running);
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
