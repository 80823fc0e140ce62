// SPDX-License-Identifier: Apache-2.0
//! Annotations that change what is done.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::fd::AsFd;

use integration_test::{Agent, Bundle, Flavor, Test, container_test, skip};
use rustix::process::{Signal, pidfd_send_signal};
use serde_json::{Value, json};

fn annotated(bundle: Bundle, key: &str, value: &str) -> Bundle {
    let mut all = bundle.spec()["annotations"].as_object().cloned().unwrap_or_default();
    all.insert(key.to_owned(), Value::from(value));
    bundle.set("/annotations", all)
}

/// runc has none of these.
fn theirs(t: &Test) -> bool {
    t.flavor() == Flavor::Runc
}

#[test]
fn the_callers_groups_stay() {
    container_test(|t| {
        if theirs(t) || !fs::exists("/usr/bin/setpriv").unwrap() {
            skip!("needs setpriv, and a runtime that knows the annotation");
        }
        const KEEP: &str = "run.oci.keep_original_groups";
        t.before(&["setpriv", "--groups", "33,44"]);
        let user = json!({ "uid": 1000, "gid": 1000 });
        let bundle = t.bundle().set("/process/user", user);
        for (value, groups) in [("1", json!([33, 44])), ("0", json!([]))] {
            let a = t.ask(annotated(bundle.clone(), KEEP, value), &["groups"]);
            assert_eq!(a["groups"], groups, "{value}");
        }
        t.up(annotated(bundle, KEEP, "1"));
        assert_eq!(t.exec(&["groups"])["groups"], json!([33, 44]));
        t.delete_force();
    });
}

#[test]
fn what_hooks_write_goes_to_files() {
    container_test(|t| {
        if theirs(t) {
            skip!("runc has no such annotation");
        }
        let (out, err) = (t.dir().join("out"), t.dir().join("err"));
        let mut bundle = annotated(t.bundle(), "run.oci.hooks.stdout", out.to_str().unwrap());
        bundle = annotated(bundle, "run.oci.hooks.stderr", err.to_str().unwrap());
        for kind in ["prestart", "createRuntime", "createContainer", "poststart", "poststop"] {
            bundle = bundle.hook(kind, &format!("echo {kind}; echo {kind} >&2"));
        }
        let hook =
            json!({ "path": "/payload", "args": ["payload", "out startContainer", "err startContainer"] });
        bundle = bundle.push("/hooks/startContainer", hook);
        t.run(&bundle.asks(&["pid"])).ok();
        let told = |path: &std::path::Path| {
            let text = fs::read_to_string(path).unwrap();
            text.lines().filter(|line| !line.starts_with('{')).map(str::to_owned).collect::<Vec<_>>()
        };
        let kinds =
            ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];
        assert_eq!(told(&out), kinds);
        assert_eq!(told(&err), kinds);
    });
}

#[test]
fn a_receiver_gets_the_pidfd() {
    container_test(|t| {
        if theirs(t) {
            skip!("runc has no such annotation");
        }
        let socket = t.listener();
        let bundle = annotated(t.bundle(), "run.oci.pidfd_receiver", socket.path().to_str().unwrap());
        t.create(&bundle.asks(&["wait-for TERM"])).ok();
        let (pidfd, _) = socket.receive();
        pidfd_send_signal(pidfd.as_fd(), Signal::KILL).unwrap();
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn a_receiver_gets_the_seccomp_listener() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("runc has no such annotation, and crun's first message has no descriptor");
        }
        let agent = Agent::new(t);
        let rules = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }]);
        let bundle =
            t.bundle().set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
        let bundle = annotated(bundle, "run.oci.seccomp.receiver", agent.path().to_str().unwrap());
        let running = t.spawn(&bundle.asks(&["mkdir /tmp/x"]), &[]);
        let notified = agent.receive();
        assert_eq!(notified.state["metadata"], "");
        notified.refuse(&notified.next(), 55);
        assert_eq!(running.wait().ok().answers()["mkdir /tmp/x"]["error"], "errno 55");
    });
}

#[test]
fn unknown_system_calls_can_be_refused() {
    container_test(|t| {
        if theirs(t) {
            skip!("runc has no such annotation");
        }
        let rules = json!([{ "names": ["mkdir", "no_such_call"], "action": "SCMP_ACT_ERRNO" }]);
        let bundle =
            t.bundle().set("/linux/seccomp", json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules }));
        let bundle = annotated(bundle, "run.oci.seccomp_fail_unknown_syscall", "1");
        let says = t.run(&bundle.asks(&["pid"])).fails();
        assert!(says.contains("no_such_call"), "{says}");
    });
}

#[test]
fn bad_values_are_refused() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("the others look at them later, or not at all");
        }
        for (key, value) in [
            ("run.oci.keep_original_groups", "maybe"),
            ("run.oci.hooks.stdout", "relative"),
            ("run.oci.pidfd_receiver", ""),
        ] {
            let says = t.run(&annotated(t.bundle(), key, value).asks(&["pid"])).fails();
            assert!(says.contains(&format!("annotations.{key}: ")), "{says}");
        }
        let bundle = t.bundle().set("/process/user/additionalGids", json!([5]));
        let says = t.run(&annotated(bundle, "run.oci.keep_original_groups", "1").asks(&["pid"])).fails();
        assert!(says.contains("process.user.additionalGids: the groups stay"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
