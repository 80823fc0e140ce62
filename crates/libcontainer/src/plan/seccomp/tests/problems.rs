// SPDX-License-Identifier: Apache-2.0
//! What is wrong with a profile, flags and listeners.

use libc::{SECCOMP_FILTER_FLAG_NEW_LISTENER, SECCOMP_FILTER_FLAG_SPEC_ALLOW};

use super::{compiled, from_json};
use crate::plan::annotations::Annotations;
use crate::plan::seccomp::{Filter, Listener, NEEDED_AFTER_LOADING, plan};

/// A profile with these members beside `defaultAction`.
fn allowing(members: &str) -> String {
    format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", {members}}}"#)
}

fn problems(json: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let filter = plan(&from_json(json), &Annotations::default(), &mut problems);
    assert!(filter.is_none());
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn every_fault_is_told_at_once() {
    let json = r#"{
        "defaultAction": "SCMP_ACT_KILL", "defaultErrnoRet": 1, "listenerMetadata": "x",
        "syscalls": [
            {"names": [], "action": "SCMP_ACT_ERRNO", "errnoRet": 4096},
            {"names": ["read", ""], "action": "SCMP_ACT_ALLOW", "errnoRet": 0,
             "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}, {"index": 300, "value": 0, "op": "SCMP_CMP_EQ"}]},
            {"names": ["mknod", "write", "execve"], "action": "SCMP_ACT_NOTIFY"}
        ]}"#;
    assert_eq!(
        problems(json),
        [
            "linux.seccomp.defaultErrnoRet: SCMP_ACT_KILL takes no errno",
            "linux.seccomp.syscalls[0].names: no system call is named",
            "linux.seccomp.syscalls[0].errnoRet: 4096 is above 4095, the highest for SCMP_ACT_ERRNO",
            "linux.seccomp.syscalls[1].names[1]: \"\" names no system call",
            "linux.seccomp.syscalls[1].errnoRet: SCMP_ACT_ALLOW takes no errno",
            "linux.seccomp.syscalls[1].args[0].index: 6 is above 5, the last argument of a system call",
            "linux.seccomp.syscalls[1].args[1].index: 300 is above 5, the last argument of a system call",
            "linux.seccomp.syscalls[2].names[1]: SCMP_ACT_NOTIFY cannot be used for write",
            "linux.seccomp.syscalls[2].names[2]: SCMP_ACT_NOTIFY cannot be used for execve",
            "linux.seccomp.listenerMetadata: must not be set without linux.seccomp.listenerPath",
            "linux.seccomp.listenerPath: is not set, but a rule uses SCMP_ACT_NOTIFY",
        ]
    );
}

#[test]
fn not_everything_can_be_a_notification() {
    let json = r#"{"defaultAction": "SCMP_ACT_NOTIFY", "listenerPath": "/run/agent"}"#;
    assert_eq!(problems(json), ["linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default action"]);
    for name in NEEDED_AFTER_LOADING {
        let rule = format!(r#"{{"names": ["{name}"], "action": "SCMP_ACT_NOTIFY"}}"#);
        let json = allowing(&format!(r#""listenerPath": "/run/agent", "syscalls": [{rule}]"#));
        assert_eq!(problems(&json).len(), 1, "{name}");
    }
}

#[test]
fn a_program_that_the_kernel_would_not_take_is_a_problem() {
    let rule = |i| {
        format!(
            r#"{{"names": ["ioctl"], "action": "SCMP_ACT_TRAP",
                "args": [{{"index": 0, "value": {i}, "op": "SCMP_CMP_EQ"}},
                         {{"index": 1, "value": {i}, "op": "SCMP_CMP_EQ"}}]}}"#
        )
    };
    let rules: Vec<String> = (0..600).map(rule).collect();
    let told = problems(&allowing(&format!(r#""syscalls": [{}]"#, rules.join(","))));
    assert_eq!(told.len(), 1);
    assert!(told[0].starts_with("linux.seccomp.syscalls: the filter has 48"), "{told:?}");
    // Half as many still fit.
    compiled(&from_json(&allowing(&format!(r#""syscalls": [{}]"#, rules[..300].join(",")))));
}

fn filter(members: &str) -> Filter {
    compiled(&from_json(&allowing(members)))
}

#[test]
fn flags_are_the_kernels() {
    let flags = |names: &str| filter(&format!(r#""flags": [{names}]"#)).flags;
    assert_eq!(filter(r#""syscalls": []"#).flags, SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32);
    assert_eq!(flags(""), 0);
    assert_eq!(flags(r#""SECCOMP_FILTER_FLAG_TSYNC""#), 1);
    assert_eq!(flags(r#""SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW""#), 2 | 4);
    assert_eq!(flags(r#""SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV""#), 0);
}

#[test]
fn a_notification_needs_and_gets_a_listener() {
    let rule = r#""syscalls": [{"names": ["mknod"], "action": "SCMP_ACT_NOTIFY"}]"#;
    let path = r#""listenerPath": "/run/agent", "listenerMetadata": "web""#;
    let waits = r#""flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", "SECCOMP_FILTER_FLAG_TSYNC"]"#;
    let loud = filter(&format!("{rule}, {path}, {waits}"));
    assert_eq!(loud.listener, Some(Listener { path: "/run/agent".into(), metadata: "web".to_owned() }));
    assert_eq!(u64::from(loud.flags), u64::from(1_u32 | 8 | 16 | 32));
    assert_eq!(
        loud.to_string(),
        format!("{} instructions, flags 0x39, listener /run/agent", loud.program.len())
    );

    // A path alone asks for nothing.
    let quiet = filter(path);
    assert_eq!(quiet.listener, None);
    assert_eq!(u64::from(quiet.flags) & SECCOMP_FILTER_FLAG_NEW_LISTENER, 0);
}

#[test]
fn unknown_names_say_nothing() {
    let unknown = format!(r#""no_such_call", "{}", "nul\u0000inside""#, "x".repeat(200));
    let with = filter(&format!(r#""syscalls": [{{"names": [{unknown}], "action": "SCMP_ACT_TRAP"}}]"#));
    assert_eq!(with.program.len(), filter(r#""syscalls": []"#).program.len());
}

#[test]
fn unknown_names_can_be_faults() {
    let rules =
        r#""syscalls": [{"names": ["mkdir", "no_such_call", "socketcall"], "action": "SCMP_ACT_TRAP"}]"#;
    let annotations = Annotations { unknown_syscalls_fail: true, ..Annotations::default() };
    let mut problems = Vec::new();
    assert!(plan(&from_json(&allowing(rules)), &annotations, &mut problems).is_none());
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    // socketcall is one, though not of this machine.
    assert_eq!(told, [r#"linux.seccomp.syscalls[0].names[1]: "no_such_call" is no known system call"#]);
}

#[test]
fn an_agent_can_be_named_by_an_annotation() {
    let rule = r#""syscalls": [{"names": ["mknod"], "action": "SCMP_ACT_NOTIFY"}]"#;
    let annotations = Annotations { seccomp_receiver: Some("/run/other".into()), ..Annotations::default() };
    let path = |members: &str| {
        plan(&from_json(&allowing(members)), &annotations, &mut Vec::new()).unwrap().listener.unwrap().path
    };
    assert_eq!(path(rule), std::path::Path::new("/run/other"));
    // The specification's own property comes first.
    assert_eq!(path(&format!(r#"{rule}, "listenerPath": "/run/agent""#)), std::path::Path::new("/run/agent"));
}
