// SPDX-License-Identifier: Apache-2.0
//! The life of a container: create, start, state, kill, delete, run, list; the wrong
//! orders, and what each of them says.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{container_test, differs, skip};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn create_start_kill_delete() {
    container_test(|t| {
        let out = t.create(&t.bundle().asks(&["pid", "wait-for TERM"])).ok();
        assert_eq!(t.status(), "created");
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        assert_eq!(t.status(), "running");
        assert_eq!(out.answers()["pid"], 1);
        t.kill("TERM").ok();
        t.until_stopped();
        assert_eq!(out.answers()["wait-for TERM"], "SIGTERM");
        t.delete().ok();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn the_process_does_not_run_before_start() {
    container_test(|t| {
        let data = t.scratch("data");
        fs::create_dir(&data).unwrap();
        t.create(&t.bundle().bind(&data, "/data", &[]).asks(&["write /data/ran yes", "wait-for TERM"])).ok();
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!data.join("ran").exists());
        t.start().ok();
        t.until("the payload has run", || data.join("ran").exists());
        t.delete_force();
    });
}

#[test]
fn state_has_what_the_specification_asks_for() {
    container_test(|t| {
        let bundle =
            t.bundle().set("/annotations", json!({ "org.example.key": "value" })).asks(&["wait-for TERM"]);
        t.create(&bundle).ok();
        let state = t.state();
        assert_eq!(state["id"], t.id());
        assert_eq!(state["status"], "created");
        assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
        assert_eq!(state["annotations"]["org.example.key"], "value");
        assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
        let pid = state["pid"].as_i64().unwrap();
        assert!(fs::exists(format!("/proc/{pid}")).unwrap());
        assert!(state["created"].as_str().unwrap().contains('T'));
        t.delete_force();
    });
}

#[test]
fn state_of_a_stopped_container_has_pid_0() {
    container_test(|t| {
        t.create(&t.bundle()).ok();
        t.start().ok();
        t.until_stopped();
        assert_eq!(t.state()["pid"], 0);
        t.delete().ok();
    });
}

#[test]
fn run_gives_the_exit_status() {
    container_test(|t| {
        for code in [0, 1, 7, 126, 255] {
            assert_eq!(t.run(&t.bundle().asks(&[&format!("exit {code}")])).code, code);
        }
    });
}

#[test]
fn run_gives_128_and_the_signal() {
    container_test(|t| {
        // PID 1 is immune to its own fatal signals; the host's KILL is not refused.
        let mut run = t.spawn(&t.bundle().asks(&["wait-for USR1"]), &[]);
        t.until("ready", || run.so_far().stdout().contains("waiting"));
        assert!(!run.ended());
        t.kill("KILL").ok();
        let out = run.wait();
        assert_eq!((out.code, out.signal), (137, None));
    });
}

#[test]
fn run_leaves_nothing() {
    container_test(|t| {
        t.ask(t.bundle(), &["pid"]);
        assert_eq!(t.left_behind(), [""; 0]);
        t.call(&["state", t.id()]).fails();
    });
}

#[test]
fn run_keep_leaves_a_stopped_container() {
    container_test(|t| {
        let help = t.call(&["run", "--help"]).stdout();
        if !help.contains("--keep") {
            skip!("this runtime has no run --keep");
        }
        t.run_with(&t.bundle().asks(&["exit 3"]), &["--keep"]);
        assert_eq!(t.status(), "stopped");
        t.delete().ok();
    });
}

#[test]
fn run_detached_returns_at_once() {
    container_test(|t| {
        let out = t.run_with(&t.bundle().asks(&["wait-for TERM"]), &["--detach"]).ok();
        t.until("ready", || out.stdout().contains("waiting"));
        assert_eq!(t.status(), "running");
        t.kill("TERM").ok();
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn run_forwards_signals() {
    container_test(|t| {
        for (signal, name) in
            [(Signal::TERM, "TERM"), (Signal::INT, "INT"), (Signal::HUP, "HUP"), (Signal::USR2, "USR2")]
        {
            let question = format!("wait-for {name}");
            let run = t.spawn(&t.bundle().asks(&[&question]), &[]);
            t.until("ready", || run.so_far().stdout().contains("waiting"));
            run.signal(signal);
            assert_eq!(run.wait().ok().answers()[question], format!("SIG{name}"));
        }
    });
}

#[test]
fn the_pid_file_is_digits_and_no_newline() {
    container_test(|t| {
        let file = t.scratch("pid");
        t.create_with(&t.bundle().asks(&["wait-for TERM"]), &["--pid-file", file.to_str().unwrap()]).ok();
        let text = fs::read_to_string(file).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
        assert_eq!(text, t.pid().to_string());
        t.delete_force();
    });
}

#[test]
fn an_id_is_taken_once() {
    container_test(|t| {
        t.create(&t.bundle()).ok();
        let says = t.create(&t.bundle()).fails();
        if matches!(t.flavor(), integration_test::Flavor::Soute | integration_test::Flavor::Runc) {
            assert!(says.contains("container with given ID already exists"), "{says}");
        }
        assert_eq!(t.status(), "created");
        t.delete_force();
    });
}

#[test]
fn two_creates_of_one_id_have_one_winner() {
    container_test(|t| {
        let bundles = [t.bundle().asks(&["wait-for TERM"]), t.bundle().asks(&["wait-for TERM"])];
        let race = bundles
            .each_ref()
            .map(|bundle| t.start_command(t.command(&t.with_bundle("create", bundle, &[]))));
        let won = race.map(|create| create.wait().code == 0);
        differs!(t, Runc, "two creates of one id at once");
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
        t.start().ok();
        t.delete_force();
    });
}

#[test]
fn ids_are_checked() {
    container_test(|t| {
        let bundle = t.bundle();
        bundle.save();
        let dir = bundle.dir().to_str().unwrap();
        let long = "x".repeat(1025);
        for id in ["", ".", "..", "../x", "a/b", "a b", "ä", "a\nb", &long] {
            t.call(&["create", "--bundle", dir, id]).fails();
        }
        t.call(&["create", "--bundle", dir]).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn an_absent_container_is_named_so() {
    container_test(|t| {
        for verb in ["state", "start", "kill", "delete"] {
            let says = t.call(&[verb, t.id()]).fails();
            if t.flavor() != integration_test::Flavor::Crun {
                assert!(says.contains("does not exist"), "{verb}: {says}");
            }
        }
        t.exec_with(&[], &["pid"]).fails();
    });
}

#[test]
fn delete_force_of_an_absent_container_succeeds() {
    container_test(|t| {
        t.delete_force();
        t.delete_force();
    });
}

#[test]
fn delete_refuses_a_running_container() {
    container_test(|t| {
        t.up(t.bundle());
        let says = t.delete().fails();
        if t.flavor() == integration_test::Flavor::Soute {
            assert!(
                says.contains(&format!("cannot delete container {} that is not stopped: running", t.id())),
                "{says}"
            );
        }
        assert_eq!(t.status(), "running");
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn delete_force_ends_a_running_container() {
    container_test(|t| {
        t.up(t.bundle());
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
        t.call(&["state", t.id()]).fails();
    });
}

#[test]
fn delete_of_a_created_container() {
    container_test(|t| {
        t.create(&t.bundle()).ok();
        // runc deletes it, the specification allows only a stopped one: either way nothing stays.
        t.delete();
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn delete_takes_the_children_along() {
    container_test(|t| {
        let out = t.create(&t.bundle().asks(&["spawn sleep 60000", "orphan 60000", "wait-for TERM"])).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn start_twice_is_refused() {
    container_test(|t| {
        t.up(t.bundle());
        let says = t.start().fails();
        if matches!(t.flavor(), integration_test::Flavor::Soute | integration_test::Flavor::Runc) {
            assert!(says.contains("cannot start an already running container"), "{says}");
        }
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn start_of_a_stopped_container_is_refused() {
    container_test(|t| {
        t.create(&t.bundle()).ok();
        t.start().ok();
        t.until_stopped();
        let says = t.start().fails();
        if matches!(t.flavor(), integration_test::Flavor::Soute | integration_test::Flavor::Runc) {
            assert!(says.contains("cannot start a container that has stopped"), "{says}");
        }
        t.delete().ok();
    });
}

#[test]
fn kill_of_a_stopped_container_says_not_running() {
    container_test(|t| {
        t.create(&t.bundle()).ok();
        t.start().ok();
        t.until_stopped();
        let says = t.kill("TERM").fails().to_lowercase();
        let known = ["os: process already finished", "container not running", "no such process"];
        if t.flavor() != integration_test::Flavor::Crun {
            assert!(known.iter().any(|known| says.contains(known)), "{says}");
        }
        t.call(&["kill", "--all", t.id(), "KILL"]);
        t.delete().ok();
    });
}

#[test]
fn kill_takes_names_and_numbers() {
    container_test(|t| {
        for signal in ["TERM", "SIGTERM", "15", "USR1", "10"] {
            let out = t.create(&t.bundle().asks(&["wait-for TERM USR1"])).ok();
            t.start().ok();
            t.until("ready", || out.stdout().contains("waiting"));
            t.kill(signal).ok();
            t.until_stopped();
            let want = if signal.contains("TERM") || signal == "15" { "SIGTERM" } else { "SIGUSR1" };
            assert_eq!(out.answers()["wait-for TERM USR1"], want);
            t.delete().ok();
        }
    });
}

#[test]
fn kill_without_a_signal_is_term() {
    container_test(|t| {
        let out = t.up(t.bundle());
        t.call(&["kill", t.id()]).ok();
        t.until_stopped();
        assert_eq!(out.answers()["wait-for TERM"], "SIGTERM");
        t.delete().ok();
    });
}

#[test]
fn kill_refuses_an_unknown_signal() {
    container_test(|t| {
        t.up(t.bundle());
        for signal in ["NOSUCH", "-1", "99", "SIG"] {
            t.kill(signal).fails();
        }
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn kill_of_a_created_container() {
    container_test(|t| {
        t.create(&t.bundle()).ok();
        t.kill("KILL").ok();
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn kill_all_reaches_every_process() {
    container_test(|t| {
        // Of the host's pid namespace nobody else ends the children.
        let bundle = t.bundle().namespace("pid", false).asks(&[
            "spawn sleep 60000",
            "spawn sleep 60000",
            "wait-for USR1",
        ]);
        let out = t.create(&bundle).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        t.call(&["kill", "--all", t.id(), "KILL"]).ok();
        t.until_stopped();
        t.call(&["delete", "--force", t.id()]).ok();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn delete_without_a_pid_namespace_leaves_no_process() {
    container_test(|t| {
        differs!(t, Runc, "on v2 may leave the cgroup of a container without a pid namespace");
        let out =
            t.create(&t.bundle().namespace("pid", false).asks(&["spawn sleep 60000", "wait-for TERM"])).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_child_that_outlives_init_is_deleted() {
    container_test(|t| {
        differs!(t, Runc, "on v2 leaves the cgroup of children that outlived init");
        let out = t.create(&t.bundle().namespace("pid", false).asks(&["spawn sleep 60000"])).ok();
        t.start().ok();
        t.until("init has ended", || out.stdout().contains("spawn"));
        std::thread::sleep(std::time::Duration::from_millis(50));
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

/// The pid namespace of another is no reason for what outlives init to be forgotten.
#[test]
fn a_child_that_outlives_init_in_a_joined_pid_namespace() {
    container_test(|t| {
        differs!(t, Runc, "goes by init alone");
        differs!(t, Crun, "goes by init alone");
        t.up(t.bundle());
        let path = format!("/proc/{}/ns/pid", t.pid());
        let other = t.named("b");
        let bundle = || t.bundle_for(&other).joins("pid", &path).asks(&["spawn sleep 60000"]);
        let status = || t.call(&["state", &other]).ok().json()["status"].as_str().unwrap().to_owned();
        let begin = || {
            let bundle = bundle();
            bundle.save();
            let out = t.call(&["create", "--bundle", bundle.dir().to_str().unwrap(), &other]).ok();
            t.call(&["start", &other]).ok();
            t.until("the child is there", || out.stdout().contains("spawn"));
            std::thread::sleep(std::time::Duration::from_millis(50));
            assert_eq!(status(), "running");
        };
        begin();
        t.call(&["kill", &other, "KILL"]).ok();
        t.until("all have ended", || status() == "stopped");
        t.call(&["delete", &other]).ok();
        // The container's own process has ended: that is enough for delete.
        begin();
        t.call(&["delete", &other]).ok();
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn list_tells_every_container() {
    container_test(|t| {
        assert_eq!(t.call(&["list", "-q"]).ok().stdout().trim(), "");
        t.create(&t.bundle()).ok();
        let other = t.named("b");
        let second = t.bundle_for(&other);
        second.save();
        t.call(&["create", "--bundle", second.dir().to_str().unwrap(), &other]).ok();

        let quiet = t.call(&["list", "-q"]).ok().stdout();
        assert_eq!(quiet.split_whitespace().collect::<Vec<_>>(), [t.id(), &other]);
        let all = t.call(&["list", "--format", "json"]).ok().json();
        assert_eq!(all.as_array().unwrap().len(), 2);
        assert_eq!(all[0]["id"], t.id());
        assert_eq!(all[0]["status"], "created");
        let table = t.call(&["list"]).ok().stdout();
        assert!(table.lines().next().unwrap().starts_with("ID"), "{table}");

        t.call(&["delete", "--force", &other]).ok();
        t.delete_force();
    });
}

#[test]
fn list_format_json_of_nothing_is_json() {
    container_test(|t| {
        let all = t.call(&["list", "--format", "json"]).ok().json();
        assert!(all.is_null() || all.as_array().unwrap().is_empty());
    });
}

#[test]
fn the_bundle_is_the_working_directory_by_default() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["pid"]);
        bundle.save();
        let mut command = t.command(&["run", t.id()]);
        command.current_dir(bundle.dir());
        assert_eq!(t.output(command).ok().answers()["pid"], 1);
    });
}

#[test]
fn no_process_creates_and_will_not_start() {
    container_test(|t| {
        let bundle = t.bundle().remove("/process");
        bundle.save();
        let out = t.create(&bundle);
        differs!(t, Runc, "a config without process is refused by create");
        differs!(t, Crun, "a config without process is refused by create");
        out.ok();
        assert_eq!(t.status(), "created");
        t.start().fails();
        t.delete_force();
    });
}

#[test]
fn changing_the_config_after_create_changes_nothing() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["pid", "hostname"]);
        let out = t.create(&bundle).ok();
        fs::write(bundle.dir().join("config.json"), "{}").unwrap();
        t.start().ok();
        t.until_stopped();
        assert_eq!(out.answers()["pid"], 1);
        t.delete().ok();
    });
}

#[test]
fn a_failed_create_is_logged_as_one_json_object() {
    container_test(|t| {
        let log = t.scratch("log");
        t.global(&["--log", log.to_str().unwrap(), "--log-format", "json"]);
        t.create(&t.bundle().bind("/no/such/source", "/data", &[])).fails();
        let text = fs::read_to_string(&log).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.last().expect("a line in the log");
        assert_eq!(last["level"], "error");
        assert!(last["msg"].as_str().unwrap().contains("/no/such/source"), "{last}");
        assert!(last["time"].as_str().unwrap().contains('T'));
        differs!(t, Runc, "writes warnings and its child's lines to the log beside the error");
        assert_eq!(lines.len(), 1, "{text}");
    });
}

#[test]
fn concurrent_starts_have_one_winner() {
    container_test(|t| {
        t.create(&t.bundle().asks(&["wait-for TERM"])).ok();
        let race = [(); 2].map(|()| t.start_command(t.command(&["start", t.id()])));
        let won = race.map(|start| start.wait().code == 0);
        assert_eq!(t.status(), "running");
        differs!(t, Runc, "two starts at once");
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
        t.delete_force();
    });
}
