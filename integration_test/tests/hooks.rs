// SPDX-License-Identifier: Apache-2.0
//! Hooks: the six kinds, their order, what they are given, where they run, and what
//! follows when one fails.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Bundle, Flavor, Test, container_test, differs};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// The lines that hooks have written.
fn log(t: &Test) -> Vec<String> {
    fs::read_to_string(t.dir().join("log")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// A hook of each kind that runs on the host writes its name to the log.
fn noted(t: &Test, mut bundle: Bundle, kinds: &[&str]) -> Bundle {
    for kind in kinds {
        bundle = bundle.hook(kind, &format!("cat >/dev/null; echo {kind} >> {}/log", t.dir().display()));
    }
    bundle
}

#[test]
fn the_kinds_come_in_order() {
    container_test(|t| {
        let all = ["poststop", "poststart", "createContainer", "createRuntime", "prestart"];
        let bundle = noted(t, t.bundle(), &all).asks(&["wait-for TERM"]);
        let out = t.create(&bundle).ok();
        differs!(t, Runc, "1.1 runs poststart at create");
        assert_eq!(log(t), ["prestart", "createRuntime", "createContainer"]);
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        t.until("poststart", || log(t).len() == 4);
        assert_eq!(log(t)[3], "poststart");
        t.delete_force();
        assert_eq!(log(t)[4..], ["poststop"]);
    });
}

#[test]
fn several_of_one_kind_come_as_listed() {
    container_test(|t| {
        let mut bundle = t.bundle();
        for number in 0..5 {
            bundle = bundle.hook("createRuntime", &format!("echo {number} >> {}/log", t.dir().display()));
        }
        t.run(&bundle.asks(&["pid"])).ok();
        assert_eq!(log(t), ["0", "1", "2", "3", "4"]);
    });
}

/// The state that each kind of hook read.
fn state_of(kind: &str, status: &str) {
    container_test(|t| {
        let file = t.dir().join("state.json");
        let bundle = t.bundle().set("/annotations", json!({ "org.example.key": "value" }));
        let bundle = bundle.hook(kind, &format!("cat > {}", file.display())).asks(&["wait-for TERM"]);
        t.create(&bundle).ok();
        t.start().ok();
        if kind == "poststop" {
            t.delete_force();
        }
        t.until("the hook has run", || fs::read(&file).is_ok_and(|text| text.ends_with(b"}")));
        let state: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        assert_eq!(state["id"], t.id());
        assert_eq!(state["bundle"], bundle.dir().to_str().unwrap());
        assert_eq!(state["annotations"]["org.example.key"], "value");
        assert!(state["ociVersion"].is_string());
        if kind != "poststop" {
            assert!(state["pid"].as_i64().unwrap() > 0, "{state}");
        }
        t.delete_force();
        if t.flavor() == Flavor::Soute {
            assert_eq!(state["status"], status);
        }
    });
}

#[test]
fn prestart_is_given_the_state() {
    state_of("prestart", "created");
}

#[test]
fn create_runtime_is_given_the_state() {
    state_of("createRuntime", "creating");
}

#[test]
fn create_container_is_given_the_state() {
    state_of("createContainer", "creating");
}

#[test]
fn poststart_is_given_the_state() {
    state_of("poststart", "running");
}

#[test]
fn poststop_is_given_the_state() {
    state_of("poststop", "stopped");
}

#[test]
fn start_container_runs_in_the_container() {
    container_test(|t| {
        // The hook's program is the payload itself: there is no shell inside.
        let data = t.scratch("data");
        fs::create_dir(&data).unwrap();
        let hook = json!({ "path": "/payload", "args": ["payload", "write /data/hook ran", "pid"] });
        let bundle = t.bundle().bind(&data, "/data", &[]).push("/hooks/startContainer", hook);
        let bundle = bundle.asks(&["read /data/hook"]);
        let out = t.create(&bundle).ok();
        assert!(!data.join("hook").exists());
        t.start().ok();
        t.until_stopped();
        assert_eq!(out.answers()["read /data/hook"], "ran");
        t.delete().ok();
    });
}

#[test]
fn create_runtime_runs_in_the_hosts_namespaces() {
    container_test(|t| {
        let line = format!(
            "readlink /proc/self/ns/mnt /proc/self/ns/uts /proc/self/ns/pid > {}/log",
            t.dir().display()
        );
        t.run(&t.bundle().hook("createRuntime", &line).asks(&["pid"])).ok();
        let want = ["mnt", "uts", "pid"]
            .map(|name| fs::read_link(format!("/proc/self/ns/{name}")).unwrap().to_str().unwrap().to_owned());
        assert_eq!(log(t), want);
    });
}

#[test]
fn create_container_runs_in_the_containers_namespaces_before_pivot_root() {
    container_test(|t| {
        // The host's /bin/sh is still there, and the container's mounts are made.
        let bundle = t.bundle();
        let root = bundle.path("/");
        let line = format!(
            "readlink /proc/self/ns/mnt /proc/self/ns/uts > {0}/log; \
             grep -c {1} /proc/self/mountinfo >> {0}/log",
            t.dir().display(),
            root.display()
        );
        let a = t.ask(bundle.hook("createContainer", &line), &["namespaces"]);
        let log = log(t);
        assert_eq!(log[0], a["namespaces"]["mnt"].as_str().unwrap());
        assert_eq!(log[1], a["namespaces"]["uts"].as_str().unwrap());
        assert!(log[2].parse::<u32>().unwrap() >= 6, "{log:?}");
    });
}

#[test]
fn prestart_sees_the_network_namespace_of_the_container() {
    container_test(|t| {
        // What engines do there: set up the network of the process whose pid they are told.
        let line = format!(
            "pid=$(sed -n 's/.*\"pid\": *\\([0-9]*\\).*/\\1/p'); readlink /proc/$pid/ns/net > {}/log",
            t.dir().display()
        );
        let a = t.ask(t.bundle().hook("prestart", &line), &["namespaces"]);
        assert_eq!(log(t), [a["namespaces"]["net"].as_str().unwrap()]);
    });
}

#[test]
fn the_environment_is_the_hooks_own() {
    container_test(|t| {
        let hook = json!({
            "path": "/usr/bin/env",
            "args": ["env"],
            "env": ["ONLY=this", "AND=that"],
        });
        let bundle = t.bundle().hook("createRuntime", "true").push("/hooks/createRuntime", hook);
        let wrapped = json!({
            "path": "/bin/sh",
            "args": ["sh", "-c", format!("/usr/bin/env | /usr/bin/sort > {}/log", t.dir().display())],
            "env": ["ONLY=this", "AND=that"],
        });
        let bundle = bundle.push("/hooks/createRuntime", wrapped).asks(&["pid"]);
        let mut command = t.command(&t.with_bundle("run", &bundle, &[]));
        command.env("OF_THE_CALLER", "leak");
        t.output(command).ok();
        let log: Vec<String> =
            log(t).into_iter().filter(|line| !line.starts_with("PWD=") && !line.starts_with("_=")).collect();
        assert_eq!(log, ["AND=that", "ONLY=this"]);
    });
}

#[test]
fn an_absent_environment_is_empty() {
    container_test(|t| {
        let line = format!("/usr/bin/env > {}/log", t.dir().display());
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", line] });
        let bundle = t.bundle().push("/hooks/createRuntime", hook).asks(&["pid"]);
        let mut command = t.command(&t.with_bundle("run", &bundle, &[]));
        command.env("OF_THE_CALLER", "leak");
        t.output(command).ok();
        differs!(t, Runc, "a hook without env inherits the caller's");
        assert!(!log(t).iter().any(|line| line.starts_with("OF_THE_CALLER")), "{:?}", log(t));
    });
}

#[test]
fn arguments_start_with_argv0() {
    container_test(|t| {
        let hook = json!({
            "path": "/bin/sh",
            "args": ["name", "-c", format!("echo $0 $1 > {}/log", t.dir().display()), "zero", "one"],
            "env": ["PATH=/bin"],
        });
        t.run(&t.bundle().push("/hooks/createRuntime", hook).asks(&["pid"])).ok();
        assert_eq!(log(t), ["zero one"]);
    });
}

/// A hook of this kind that fails must stop the container from coming up.
fn fails(kind: &str) {
    container_test(|t| {
        let bundle =
            noted(t, t.bundle(), &["poststop"]).hook(kind, "echo reason >&2; exit 3").asks(&["out ran"]);
        let out = t.run(&bundle);
        assert!(!out.stdout().contains("ran"), "the container ran");
        let says = out.fails();
        assert!(says.to_lowercase().contains("hook"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
        // Whatever the hooks before it did, poststop may undo.
        assert_eq!(log(t), ["poststop"]);
    });
}

#[test]
fn what_fails_before_any_hook_needs_no_poststop() {
    container_test(|t| {
        differs!(t, Runc, "runs poststop after every failure");
        let bundle = noted(t, t.bundle(), &["createRuntime", "poststop"]);
        t.run(&bundle.mount("/data", "no-such-fs", "none", &[]).asks(&["pid"])).fails();
        assert_eq!(log(t), [""; 0]);
    });
}

#[test]
fn a_failing_prestart_hook() {
    fails("prestart");
}

#[test]
fn a_failing_create_runtime_hook() {
    fails("createRuntime");
}

#[test]
fn a_failing_create_container_hook() {
    fails("createContainer");
}

#[test]
fn a_failing_start_container_hook() {
    container_test(|t| {
        let hook = json!({ "path": "/payload", "args": ["payload", "exit 3"] });
        let out = t.run(&t.bundle().push("/hooks/startContainer", hook).asks(&["out ran"]));
        assert!(!out.stdout().contains("ran"));
        assert_ne!(out.code, 0);
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);

        // By start: stopped, destroyed, and told to the poststop hooks.
        let hook = json!({ "path": "/payload", "args": ["payload", "exit 3"] });
        let bundle =
            noted(t, t.bundle(), &["poststop"]).push("/hooks/startContainer", hook).asks(&["out ran"]);
        let out = t.create(&bundle).ok();
        differs!(t, Runc, "start succeeds, whatever comes of the hook");
        differs!(t, Crun, "start succeeds, whatever comes of the hook");
        let says = t.start().fails();
        assert!(says.contains("hooks.startContainer[0]: /payload: exit status 3"), "{says}");
        assert!(!out.stdout().contains("ran"));
        assert_eq!(log(t), ["poststop"]);
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_failing_poststart_hook() {
    container_test(|t| {
        differs!(t, Runc, "1.1 runs poststart at create");
        differs!(t, Crun, "1.8 goes on as if nothing had happened");
        let bundle = noted(t, t.bundle(), &["poststop"]).hook("poststart", "echo reason >&2; exit 3");
        let bundle = bundle.asks(&["wait-for TERM"]);
        t.create(&bundle).ok();
        let says = t.start().fails();
        assert!(says.contains("hooks.poststart[0]: /bin/sh: exit status 3: reason"), "{says}");
        // Stopped, destroyed, and told to the poststop hooks, once.
        assert_eq!(log(t), ["poststop"]);
        assert_eq!(t.left_behind(), [""; 0]);

        let says = t.run(&bundle).fails();
        assert!(says.contains("hooks.poststart[0]"), "{says}");
        assert_eq!(log(t), ["poststop", "poststop"]);
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_failing_create_leaves_no_container() {
    container_test(|t| {
        for kind in ["prestart", "createRuntime", "createContainer"] {
            t.create(&t.bundle().hook(kind, "exit 1")).fails();
            assert_eq!(t.left_behind(), [""; 0], "{kind}");
        }
    });
}

#[test]
fn a_failing_poststop_hook_does_not_keep_the_container() {
    container_test(|t| {
        let bundle = t.bundle().hook("poststop", "exit 1");
        let bundle = noted(t, bundle, &["poststop"]);
        t.create(&bundle.asks(&["pid"])).ok();
        t.start().ok();
        t.until_stopped();
        t.delete();
        assert_eq!(t.left_behind(), [""; 0]);
        differs!(t, Runc, "stops at the first failing poststop hook or not");
        differs!(t, Crun, "stops at the first failing poststop hook or not");
        assert_eq!(log(t), ["poststop"]);
    });
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    container_test(|t| {
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "exec sleep 60"], "env": ["PATH=/bin:/usr/bin"], "timeout": 1 });
        let begin = std::time::Instant::now();
        t.run(&t.bundle().push("/hooks/createRuntime", hook).asks(&["pid"])).fails();
        let took = begin.elapsed().as_secs_f64();
        assert!((0.9..10.0).contains(&took), "{took}");
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_hook_and_its_children_are_killed_together() {
    container_test(|t| {
        differs!(t, Runc, "the children of a hook outlive its time-out");
        differs!(t, Crun, "the children of a hook outlive its time-out");
        let hook = json!({ "path": "/bin/sh", "args": ["sh", "-c", "sleep 60; true"], "env": ["PATH=/bin:/usr/bin"], "timeout": 1 });
        t.run(&t.bundle().push("/hooks/createRuntime", hook).asks(&["pid"])).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_hook_that_does_not_read_its_input() {
    container_test(|t| {
        // More than a pipe holds.
        let annotations: serde_json::Map<String, Value> =
            (0..100).map(|number| (format!("org.example.{number}"), json!("x".repeat(2000)))).collect();
        let bundle =
            t.bundle().set("/annotations", Value::Object(annotations)).hook("createRuntime", "exit 0");
        assert_eq!(t.ask(bundle, &["pid"])["pid"], 1);
    });
}

#[test]
fn a_hook_that_leaves_a_process_is_not_waited_for() {
    container_test(|t| {
        let file = t.dir().join("sleeper");
        // It ends by itself, so that a runtime that waits for it is seen to do so, not stuck.
        let line = format!("sleep 10 & echo $! > {}", file.display());
        let out = t.run(&t.bundle().hook("createRuntime", &line).asks(&["pid"]));
        let pid = fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let waited = fs::read_to_string(format!("/proc/{pid}/comm")).map_or(true, |name| name != "sleep\n");
        // What the hook left is its own affair; it is gone before the census looks.
        if !waited {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
        t.until("the sleeper has ended", || t.left_behind().is_empty());
        out.ok();
        differs!(t, Runc, "waits for the end of a hook's pipes");
        differs!(t, Crun, "waits for the end of a hook's pipes");
        assert!(!waited);
    });
}

#[test]
fn an_absent_hook_program_is_named() {
    container_test(|t| {
        let hook = json!({ "path": "/no/such/hook" });
        let says = t.run(&t.bundle().push("/hooks/createRuntime", hook).asks(&["pid"])).fails();
        assert!(says.contains("/no/such/hook"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_relative_hook_path_is_refused() {
    container_test(|t| {
        let hook = json!({ "path": "bin/true" });
        t.run(&t.bundle().push("/hooks/createRuntime", hook).asks(&["pid"])).fails();
    });
}

#[test]
fn a_create_container_hook_may_mount_into_the_root() {
    container_test(|t| {
        // What the GPU vendors' hooks do.
        let bundle = t.bundle();
        let target = bundle.path("/data");
        let line = format!("mount -t tmpfs hook {0} && echo text > {0}/file", target.display());
        let a = t.ask(bundle.hook("createContainer", &line), &["read /data/file"]);
        assert_eq!(a["read /data/file"], "text\n");
    });
}

#[test]
fn a_start_container_hook_under_dockers_profile() {
    container_test(|t| {
        // It answers clone3 with ENOSYS, so that the C library takes clone, whose flags can be judged.
        let profile = include_str!("../../crates/libcontainer/tests/data/docker-seccomp.json");
        for no_new_privileges in [true, false] {
            let hook = json!({ "path": "/payload", "args": ["payload", "write /tmp/hook ran"] });
            let bundle = t
                .bundle()
                .writable()
                .set("/linux/seccomp", serde_json::from_str::<Value>(profile).unwrap())
                .set("/process/noNewPrivileges", no_new_privileges)
                .push("/hooks/startContainer", hook);
            assert_eq!(t.ask(bundle, &["read /tmp/hook"])["read /tmp/hook"], "ran");
        }
    });
}

#[test]
fn the_umask_of_a_hook_is_the_callers() {
    container_test(|t| {
        let log = t.dir().join("umasks");
        let mut bundle = t.bundle().asks(&["pid"]);
        for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
            bundle = bundle.hook(kind, &format!("umask >>{}", log.display()));
        }
        t.before(&["sh", "-c", "umask 0027; exec \"$@\"", "umask"]);
        t.run(&bundle).ok();
        assert_eq!(fs::read_to_string(log).unwrap().trim(), ["0027"; 5].join("\n"));
    });
}

#[test]
fn the_longest_timeout_is_none() {
    container_test(|t| {
        differs!(t, Runc, "its sum of so many seconds is below zero");
        let mut bundle = t.bundle().asks(&["pid"]);
        for kind in ["prestart", "createContainer", "poststop"] {
            bundle = bundle.hook(kind, "true").set(&format!("/hooks/{kind}/0/timeout"), i64::MAX);
        }
        t.run(&bundle).ok();
    });
}
