// SPDX-License-Identifier: Apache-2.0
//! Bad files in, exact messages out; and files that other runtimes take.

#![allow(clippy::unwrap_used, clippy::panic)]

mod faults;
mod hostile;
mod places;

use std::path::PathBuf;

use oci_spec::runtime::{Capability, LinuxSchedulerFlag, Spec};
use serde_json::{Map, Value, json};

use super::schema::{self, Kind};
use super::*;

const DEFAULT: &str = include_str!("../../../../../tests/data/default.json");
const DOCKER: &str = include_str!("../../../../../tests/data/docker.json");

/// A directory that is gone again afterwards.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("soute-bundle-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn with(name: &str, config: &str) -> Self {
        let dir = Self::new(name);
        std::fs::write(dir.0.join(CONFIG), config).unwrap();
        dir
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The default configuration with one property set.
fn with(pointer: &str, value: Value) -> String {
    edit(DEFAULT, &[(pointer, Some(value))])
}

fn edit(text: &str, edits: &[(&str, Option<Value>)]) -> String {
    let mut spec: Value = serde_json::from_str(text).unwrap();
    for (pointer, value) in edits {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut at = &mut spec;
        for part in parent.split('/').skip(1) {
            at = match part.parse::<usize>() {
                Ok(index) => &mut at[index],
                Err(_) => &mut at[part],
            };
        }
        match (at, value) {
            (Value::Array(list), Some(value)) => list.push(value.clone()),
            (other, Some(value)) => other[name] = value.clone(),
            (other, None) => {
                other.as_object_mut().unwrap().remove(name);
            }
        }
    }
    spec.to_string()
}

/// Every fault of a text, with the ways out, as they are told.
fn faults(text: &str) -> Vec<String> {
    match parse_spec(text.as_bytes(), CONFIG) {
        Ok(_) => Vec::new(),
        Err(e) => e
            .faults()
            .iter()
            .map(|fault| match &fault.hint {
                Some(hint) => format!("{fault} | {hint}"),
                None => fault.to_string(),
            })
            .collect(),
    }
}

fn spec(text: &str) -> Spec {
    parse_spec(text.as_bytes(), CONFIG).unwrap_or_else(|e| panic!("{e}")).value
}

#[test]
fn good_files_take_the_quick_way() {
    for text in [DEFAULT, DOCKER] {
        serde_json::from_str::<Spec>(text).unwrap();
        let parsed = parse_spec(text.as_bytes(), CONFIG).unwrap();
        assert_eq!(parsed.ignored, []);
        assert_eq!(parsed.value, serde_json::from_str(text).unwrap());
    }
}

#[test]
fn the_table_knows_exactly_what_oci_spec_knows() {
    // Each property once with a value: nothing may be refused, nothing ignored.
    let all = sample(&schema::SPEC);
    let mut missed = Vec::new();
    let read: Spec = serde_ignored::deserialize(all.clone(), |path| missed.push(path.to_string())).unwrap();
    missed.retain(|path| !path.starts_with("freebsd"));
    assert_eq!(missed, ["linux.?.intelRdt.?.enableCMT", "linux.?.intelRdt.?.enableMBM"]);
    let back = serde_json::to_value(&read).unwrap();
    assert_eq!(repair::strangers(&back, &schema::SPEC), []);
    // What oci-spec can hold and write is what the table has.
    let theirs = serde_json::to_value(Spec::default()).unwrap();
    assert_eq!(repair::strangers(&theirs, &schema::SPEC), []);
    // Every word of the table is one that serde takes.
    every_word(&schema::SPEC, &mut |words, given| {
        let mut copy = Value::from(given);
        let found = repair::repair(&mut copy, &Kind::Word(words), repair::ENOUGH);
        assert!(found.faults.is_empty() && found.ignored.is_empty(), "{given}");
    });
}

/// One value of everything; the last word of each set.
fn sample(kind: &Kind) -> Value {
    match kind {
        Kind::Foreign => Value::Null,
        Kind::Bool => json!(true),
        Kind::Text => json!("text"),
        Kind::Cpus => json!("0-3,7"),
        Kind::Number(_) => json!(1),
        Kind::Word(words) => json!(words.names[words.names.len() - 1]),
        Kind::List(inner) => match inner {
            Kind::Word(words) => {
                let theirs = |name: &&str| match words.renamed.iter().find(|(ours, _)| ours == name) {
                    Some((_, theirs)) => json!(theirs),
                    None => json!(name),
                };
                words.names.iter().map(theirs).collect()
            }
            _ => json!([sample(inner)]),
        },
        Kind::Map(inner) => json!({"a.b/c": sample(inner)}),
        Kind::Object(properties) => properties
            .iter()
            .map(|property| (property.name.to_owned(), sample(&property.kind)))
            .collect::<Map<_, _>>()
            .into(),
    }
}

fn every_word(kind: &Kind, then: &mut impl FnMut(&'static schema::Words, &'static str)) {
    match kind {
        Kind::Word(words) => words.names.iter().for_each(|name| then(words, name)),
        Kind::List(inner) | Kind::Map(inner) => every_word(inner, then),
        Kind::Object(properties) => properties.iter().for_each(|property| every_word(&property.kind, then)),
        _ => {}
    }
}

#[test]
fn every_word_of_the_table_is_read_by_serde() {
    // Single words, one at a time, through the whole way.
    let places = [
        ("/process/scheduler", "policy", "process.scheduler.policy"),
        ("/process/ioPriority", "class", "process.ioPriority.class"),
        ("/linux/memoryPolicy", "mode", "linux.memoryPolicy.mode"),
        ("/linux/personality", "domain", "linux.personality.domain"),
        ("/linux/seccomp", "defaultAction", "linux.seccomp.defaultAction"),
    ];
    for (pointer, name, property) in places {
        let bad = faults(&with(pointer, json!({name: "?"})));
        assert_eq!(bad.len(), 1, "{bad:?}");
        let valid = bad[0].split("valid: ").nth(1).unwrap();
        for word in valid.split(", ") {
            assert_eq!(faults(&with(pointer, json!({name: word}))), [""; 0], "{property} {word}");
        }
    }
    for word in ["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"] {
        spec(&with("/linux/namespaces", json!([{"type": word}])));
    }
}

#[test]
fn what_other_runtimes_take_is_taken() {
    let flags = spec(&with(
        "/process/scheduler",
        json!({"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_RECLAIM"]}),
    ));
    let scheduler = flags.process().as_ref().unwrap().scheduler().as_ref().unwrap().clone();
    assert_eq!(
        scheduler.flags().as_deref().unwrap(),
        [
            LinuxSchedulerFlag::SchedResetOnFork,
            LinuxSchedulerFlag::SchedFlagDLOverrun,
            LinuxSchedulerFlag::SchedFlagReclaim
        ]
    );

    let pids = |value: Value| {
        let spec = spec(&with("/linux/resources/pids", value));
        let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
        resources.pids().map(|pids| pids.limit())
    };
    assert_eq!(pids(json!({})), None);
    assert_eq!(pids(json!({"limit": null})), None);
    assert_eq!(pids(Value::Null), None);
    assert_eq!(pids(json!({"limit": 0})), Some(0));
    assert_eq!(pids(json!({"limit": -1})), Some(-1));

    let rdt = spec(&with("/linux/intelRdt", json!({"closID": "x", "enableCMT": true, "enableMBM": false})));
    let rdt = rdt.linux().as_ref().unwrap().intel_rdt().clone().unwrap();
    #[allow(deprecated)]
    {
        assert_eq!((*rdt.enable_cmt(), *rdt.enable_mbm()), (Some(true), None));
    }

    let huge =
        spec(&with("/linux/resources/hugepageLimits", json!([{"pageSize": "2MB", "limit": u64::MAX}])));
    let huge = huge.linux().as_ref().unwrap().resources().clone().unwrap().hugepage_limits().clone().unwrap();
    assert_eq!(huge[0].limit(), i64::MAX);

    let cpus = spec(&with("/process/execCPUAffinity", json!({"initial": " 0-3, 7,", "final": ""})));
    let cpus = cpus.process().as_ref().unwrap().exec_cpu_affinity().clone().unwrap();
    assert_eq!((cpus.initial().as_deref(), cpus.cpu_affinity_final().as_deref()), (Some("0-3,7"), None));

    let seccomp = parse_spec(with("/linux/seccomp", json!({"syscalls": []})).as_bytes(), CONFIG).unwrap();
    assert_eq!(*seccomp.value.linux().as_ref().unwrap().seccomp(), None);
    assert_eq!(
        seccomp.ignored[0].to_string(),
        "linux.seccomp: an empty profile is ignored: no system call is filtered"
    );

    for text in [
        with("/linux/resources/devices", json!([{"allow": true, "type": "", "access": "rwm"}])),
        with("/process/user", Value::Null),
        with("/process/user", json!({"uid": null, "gid": 0})),
        edit(DEFAULT, &[("/process/user", None)]),
        edit(DEFAULT, &[("/ociVersion", None)]),
        with("/annotations", json!({"a": null})),
        with("/windows", json!({"layerFolders": 5})),
        with("/vm", json!({})),
        with("/mounts", Value::Null),
        with("/root/readonly", Value::Null),
        with("/linux/resources", Value::Null),
        with("/ociVersion", json!("1.0.2-dev")),
        with("/ociVersion", json!("1.3.0+dev")),
        with("/ociVersion", json!("1.9")),
        with("/unknown", json!({"deep": [1.5e300, {"a": 1}]})),
    ] {
        assert_eq!(faults(&text), [""; 0], "{text}");
    }
}

#[test]
fn unknown_capabilities_are_set_aside_and_named() {
    let text = edit(
        DEFAULT,
        &[
            ("/process/capabilities/bounding", Some(json!(["CAP_FOO", "CAP_KILL", "CAP_SUPERPOWER"]))),
            ("/process/capabilities/ambient", Some(json!(["CAP_KILL"]))),
        ],
    );
    let parsed = parse_spec(text.as_bytes(), CONFIG).unwrap();
    let ignored: Vec<String> = parsed.ignored.iter().map(Problem::to_string).collect();
    assert_eq!(
        ignored,
        [
            "process.capabilities.bounding[0]: unknown capability \"CAP_FOO\" is ignored",
            "process.capabilities.bounding[2]: unknown capability \"CAP_SUPERPOWER\" is ignored",
        ]
    );
    let capabilities = parsed.value.process().as_ref().unwrap().capabilities().clone().unwrap();
    assert_eq!(*capabilities.bounding(), Some([Capability::Kill].into()));
}

#[test]
fn processes_and_resources_stand_alone() {
    let process =
        parse_process(br#"{"args": ["ls"], "cwd": "/", "capabilities": {"bounding": ["CAP_X"]}}"#, "p.json")
            .unwrap();
    assert_eq!(process.value.user().uid(), 0);
    assert_eq!(process.ignored.len(), 1);
    let e = parse_process(br#"{"args": ["ls"], "user": {"uid": 4294967295}}"#, "p.json").unwrap_err();
    assert_eq!(e.message(), "cwd: must be specified; user.uid: 4294967295 is not a user id: 0 to 4294967294");
    let resources = parse_resources(br#"{"pids": {}, "memory": {"limit": 5}}"#, "-").unwrap().value;
    assert_eq!(*resources.pids(), None);
    assert_eq!(parse_resources(br#"{"pids": {"limit": 0}}"#, "-").unwrap().value.pids().unwrap().limit(), 0);
    assert_eq!(
        parse_resources(br#"{"cpu": {"quota": "5"}}"#, "-").unwrap_err().faults()[0].property,
        "cpu.quota"
    );
}
