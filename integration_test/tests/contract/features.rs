// SPDX-License-Identifier: Apache-2.0
//! What `--version`, `features`, `state`, `list`, `ps` and `events` print, as far as somebody reads it.

use integration_test::{Flavor, by_systemd};
use serde_json::Value;

use crate::Is::{Absent, Created, Paused, Running, Stopped};
use crate::Sees::{Json, Out, Says, Silence, That};
use crate::{Seen, is_rfc3339, row, table};

/// moby takes each line with the word "version" for one that tells it, the last one wins; go-runc
/// and CRI-O read the first.
pub(crate) fn version(seen: &Seen<'_>) {
    let text = seen.stdout();
    let lines: Vec<&str> = text.lines().collect();
    let name = match seen.t.flavor() {
        Flavor::Soute => "soute version ",
        Flavor::Runc => "runc version ",
        _ => "crun version ",
    };
    assert!(
        lines[0].strip_prefix(name).is_some_and(|version| version.starts_with(|c: char| c.is_ascii_digit())),
        "{text}"
    );
    assert!(!lines[1..].iter().any(|line| line.contains("version")), "{text}");
    for start in ["commit: ", "spec: "] {
        assert!(lines[1..].iter().any(|line| line.starts_with(start)), "{start}: {text}");
    }
}

/// CRI-O wants both versions; containerd looks for rro and for idmap.
pub(crate) fn what_cri_reads(seen: &Seen<'_>) {
    let features = seen.json();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert!(features["ociVersionMax"].as_str().unwrap().starts_with("1."));
    let has = |pointer: &str, word: &str| {
        let list = features.pointer(pointer).and_then(Value::as_array);
        assert!(list.is_some_and(|list| list.iter().any(|one| one == word)), "{pointer} has no {word}");
    };
    has("/mountOptions", "rro");
    for hook in ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"] {
        has("/hooks", hook);
    }
    for kind in ["cgroup", "ipc", "mount", "network", "pid", "user", "uts"] {
        has("/linux/namespaces", kind);
    }
    has("/linux/capabilities", "CAP_SYS_ADMIN");
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
    has("/linux/seccomp/actions", "SCMP_ACT_ERRNO");
    has("/linux/seccomp/operators", "SCMP_CMP_MASKED_EQ");
    for kind in ["v1", "v2", "systemd"] {
        assert_eq!(features["linux"]["cgroup"][kind], true, "{kind}");
    }
}

/// What the newest specification adds.
fn newest(seen: &Seen<'_>) {
    let features = seen.json();
    assert_eq!(features["ociVersionMax"], "1.3.0");
    for pointer in [
        "/linux/mountExtensions/idmap/enabled",
        "/linux/intelRdt/enabled",
        "/linux/netDevices/enabled",
        "/linux/apparmor/enabled",
        "/linux/selinux/enabled",
        "/linux/cgroup/rdma",
        "/linux/cgroup/systemdUser",
    ] {
        assert_eq!(features.pointer(pointer), Some(&Value::Bool(true)), "{pointer}");
    }
    for pointer in [
        "/linux/namespaces",
        "/linux/seccomp/archs",
        "/linux/seccomp/knownFlags",
        "/linux/seccomp/supportedFlags",
        "/linux/memoryPolicy/modes",
        "/linux/memoryPolicy/flags",
        "/potentiallyUnsafeConfigAnnotations",
    ] {
        let list = features.pointer(pointer).and_then(Value::as_array);
        assert!(list.is_some_and(|list| !list.is_empty()), "{pointer}");
    }
    assert_eq!(features["annotations"]["org.opencontainers.runc.checkpoint.enabled"], "true");
    assert!(features["linux"]["namespaces"].as_array().unwrap().contains(&"time".into()));
}

/// The whole of a state: nothing that the specification asks for is missing.
fn state(seen: &Seen<'_>) {
    let state = seen.json();
    assert_eq!(state["id"], seen.t.id());
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."), "{state}");
    assert_eq!(state["bundle"], seen.bundle.dir().to_str().unwrap());
    assert_eq!(state["rootfs"], seen.bundle.dir().join("rootfs").to_str().unwrap());
    assert_eq!(state["annotations"]["org.example.a"], "b");
    assert!(is_rfc3339(state["created"].as_str().unwrap()), "{state}");
    let pid = state["pid"].as_u64().unwrap();
    assert_eq!(pid != 0, state["status"] != "stopped", "{state}");
    // For people, and engines show it as it is.
    assert!(seen.stdout().starts_with("{\n  \""), "{state}");
}

fn list(seen: &Seen<'_>) {
    let all = seen.json();
    let list = all.as_array().unwrap();
    assert_eq!(list.len(), 1, "{all}");
    for (key, value) in [("id", seen.t.id()), ("status", "running"), ("owner", "root")] {
        assert_eq!(list[0][key], value, "{all}");
    }
    for key in ["ociVersion", "pid", "bundle", "rootfs", "created"] {
        assert!(!list[0][key].is_null(), "{key}: {all}");
    }
}

/// Only the ids, a line each.
fn ids(seen: &Seen<'_>) {
    assert_eq!(seen.stdout(), format!("{}\n", seen.t.id()));
}

/// Columns for people, aligned, without colour.
fn columns(seen: &Seen<'_>) {
    let text = seen.stdout();
    let (head, line) = text.split_once('\n').unwrap();
    assert!(text.is_ascii() && !text.contains('\x1b'), "{text}");
    for (title, value) in
        [("ID", seen.t.id()), ("STATUS", "running"), ("BUNDLE", seen.bundle.dir().to_str().unwrap())]
    {
        let column = head.find(title).unwrap_or_else(|| panic!("no {title}: {text}"));
        assert!(line[column..].starts_with(value), "{title}: {text}");
    }
}

fn statistics(seen: &Seen<'_>) {
    let event = seen.json();
    assert_eq!((&event["type"], &event["id"]), (&"stats".into(), &seen.t.id().into()));
    for part in ["cpu", "cpuset", "memory", "pids", "blkio", "hugetlb", "intel_rdt"] {
        assert!(event["data"][part].is_object(), "{part}: {event}");
    }
    assert!(event["data"]["cpu"]["usage"]["total"].is_u64(), "{event}");
    assert_eq!(seen.stdout().lines().count(), 1);
}

#[test]
fn what_is_printed() {
    let r = |is, rest: &str| row("reader", is, format!("--root {{root}} {rest}"));
    let annotated = |bundle: integration_test::Bundle| {
        bundle.set("/annotations", serde_json::json!({ "org.example.a": "b" })).asks(&["wait-for TERM"])
    };
    let mut rows = vec![
        r(Absent, "--version").sees([That(version)]),
        r(Absent, "-v").sees([That(version)]),
        r(Absent, "features").differs(Flavor::Crun, "1.8 has no features").sees([That(what_cri_reads)]),
        r(Absent, "features").ours("1.1 and 1.8 are of older specifications").sees([That(newest)]),
        r(Created, "state {id}").with(annotated).sees([That(state), Json("/status", "created")]),
        r(Running, "state {id}").with(annotated).sees([That(state), Json("/status", "running")]),
        r(Paused, "state {id}").with(annotated).sees([That(state), Json("/status", "paused")]),
        r(Stopped, "state {id}").with(annotated).sees([That(state), Json("/status", "stopped")]),
        r(Running, "list --format json").sees([That(list)]),
        r(Running, "list --format=json").sees([That(list)]),
        r(Running, "list -f json").sees([That(list)]),
        r(Running, "list -q").sees([That(ids)]),
        r(Running, "list --quiet").sees([That(ids)]),
        r(Running, "list").differs(Flavor::Crun, "NAME in place of ID").sees([That(columns)]),
        r(Absent, "list -q").differs(Flavor::Runc, "1.3 needs the directory of --root").sees([Silence]),
        r(Running, "ps {id}").sees([Out(&["PID", "/payload"])]),
        r(Running, "ps --format table {id}").sees([Out(&["PID", "/payload"])]),
        r(Running, "ps {id} -o comm")
            .differs(Flavor::Crun, "takes no words of ps")
            .fails()
            .sees([Says(&["PID"])]),
        r(Running, "ps {id} -o pid,comm")
            .differs(Flavor::Crun, "takes no words of ps")
            .sees([Out(&["PID", "COMMAND", "payload"])]),
    ];
    // systemd removes what a scope has no accounting for.
    if !by_systemd() {
        rows.push(
            r(Running, "events --stats {id}").differs(Flavor::Crun, "has no events").sees([That(statistics)]),
        );
    }
    table("printed", rows);
}
