// SPDX-License-Identifier: Apache-2.0
//! Every kind of fault, word for word.

use super::*;

#[test]
fn every_fault_says_what_and_where() {
    let table: Vec<(&str, Value, &str)> = vec![
        ("/process/user/uid", json!(-1), "process.user.uid: -1 is not a user id: 0 to 4294967294"),
        (
            "/process/user/uid",
            json!(4294967295_u32),
            "process.user.uid: 4294967295 is not a user id: 0 to 4294967294",
        ),
        (
            "/process/user/uid",
            json!(4294967296_u64),
            "process.user.uid: 4294967296 is not a user id: 0 to 4294967294",
        ),
        (
            "/process/user/uid",
            json!(1.0),
            "process.user.uid: 1.0 is not a user id: 0 to 4294967294 | write it as 1",
        ),
        ("/process/user/uid", json!(1.5), "process.user.uid: 1.5 is not a user id: 0 to 4294967294"),
        (
            "/process/user/uid",
            json!("1000"),
            "process.user.uid: \"1000\" is not a user id: 0 to 4294967294 | write it without quotes: 1000",
        ),
        ("/process/user/uid", json!("root"), "process.user.uid: \"root\" is not a user id: 0 to 4294967294"),
        ("/process/user/gid", json!(true), "process.user.gid: true is not a group id: 0 to 4294967294"),
        (
            "/process/user/additionalGids",
            json!([5, -2]),
            "process.user.additionalGids[1]: -2 is not a group id: 0 to 4294967294",
        ),
        (
            "/process/user/additionalGids",
            json!([4294967295_u32]),
            "process.user.additionalGids[0]: 4294967295 is not a group id: 0 to 4294967294",
        ),
        (
            "/process/user/umask",
            json!("022"),
            "process.user.umask: \"022\" is not a whole number: 0 to 4294967295 | write it without quotes: 22",
        ),
        ("/process/args", json!("sh"), "process.args: \"sh\" is not a list | write it as a list: [\"sh\"]"),
        ("/process/args", json!(["sh", null]), "process.args[1]: null is not a string"),
        ("/process/args", json!(["sh", 5]), "process.args[1]: 5 is not a string | write it in quotes: \"5\""),
        ("/process/args", json!(["sh", ["x"]]), "process.args[1]: a list is not a string"),
        (
            "/process/terminal",
            json!("false"),
            "process.terminal: \"false\" is not true or false | write it without quotes: false",
        ),
        ("/process/cwd", Value::Null, "process.cwd: must be specified"),
        ("/process/env", json!({"A": "b"}), "process.env: an object is not a list"),
        (
            "/process/oomScoreAdj",
            json!(3e9 as i64),
            "process.oomScoreAdj: 3000000000 is not a whole number: -2147483648 to 2147483647",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILES", "hard": 1, "soft": 1}]),
            "process.rlimits[0].type: unknown resource limit \"RLIMIT_NOFILES\" | did you mean \"RLIMIT_NOFILE\"?",
        ),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "hard": -1, "soft": 1}]),
            "process.rlimits[0].hard: -1 is not a whole number: 0 to 18446744073709551615 | no limit is 18446744073709551615",
        ),
        (
            "/process/scheduler",
            json!({"policy": "FIFO"}),
            "process.scheduler.policy: unknown scheduler policy \"FIFO\" | valid: SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_ISO, SCHED_IDLE, SCHED_DEADLINE",
        ),
        (
            "/process/execCPUAffinity",
            json!({"initial": "0-"}),
            "process.execCPUAffinity.initial: \"0-\" is not a list of CPUs | such as \"0-3,7\"",
        ),
        (
            "/process/capabilities/bounding",
            json!([5]),
            "process.capabilities.bounding[0]: 5 is not a capability | valid: CAP_AUDIT_CONTROL, CAP_AUDIT_READ, CAP_AUDIT_WRITE, CAP_BLOCK_SUSPEND, CAP_BPF, CAP_CHECKPOINT_RESTORE, CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_IPC_LOCK, …",
        ),
        ("/root", json!("rootfs"), "root: \"rootfs\" is not an object"),
        ("/hostname", json!(5), "hostname: 5 is not a string | write it in quotes: \"5\""),
        (
            "/mounts",
            json!({"destination": "/x"}),
            "mounts: an object is not a list | put it in brackets: [{…}]",
        ),
        ("/mounts/-", json!({"type": "tmpfs"}), "mounts[7].destination: must be specified"),
        (
            "/mounts/-",
            json!({"destination": "/x", "options": "ro"}),
            "mounts[7].options: \"ro\" is not a list | write it as a list: [\"ro\"]",
        ),
        (
            "/annotations",
            json!({"a.b/c": 5}),
            "annotations[\"a.b/c\"]: 5 is not a string | write it in quotes: \"5\"",
        ),
        (
            "/linux/namespaces/-",
            json!({"type": "foo"}),
            "linux.namespaces[6].type: unknown namespace type \"foo\" | valid: pid, network, mount, ipc, uts, user, cgroup, time",
        ),
        (
            "/linux/namespaces/-",
            json!({"type": "net"}),
            "linux.namespaces[6].type: unknown namespace type \"net\" | did you mean \"network\"? valid: pid, network, mount, ipc, uts, user, cgroup, time",
        ),
        ("/linux/namespaces/-", Value::Null, "linux.namespaces[6]: null is not an object"),
        ("/linux/namespaces/-", json!({}), "linux.namespaces[6].type: must be specified"),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_65"]}),
            "linux.seccomp.architectures[0]: unknown seccomp architecture \"SCMP_ARCH_X86_65\" | did you mean \"SCMP_ARCH_X86_64\"?",
        ),
        (
            "/linux/seccomp",
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["FOO"]}),
            "linux.seccomp.flags[0]: unknown seccomp flag \"FOO\" | valid: SECCOMP_FILTER_FLAG_TSYNC, SECCOMP_FILTER_FLAG_LOG, SECCOMP_FILTER_FLAG_SPEC_ALLOW, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
        ),
        (
            "/linux/seccomp",
            json!({"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}]}),
            "linux.seccomp.defaultAction: must be specified",
        ),
        (
            "/linux/resources/memory",
            json!({"limit": "64M"}),
            "linux.resources.memory.limit: \"64M\" is not a whole number: -9223372036854775808 to 9223372036854775807",
        ),
        (
            "/ociVersion",
            json!("2.0.0"),
            "ociVersion: version \"2.0.0\" is not supported | 1.0.0 to 1.3.0, and any other 1.x",
        ),
        (
            "/ociVersion",
            json!("1.x"),
            "ociVersion: version \"1.x\" is not supported | 1.0.0 to 1.3.0, and any other 1.x",
        ),
        ("/ociVersion", json!(1.2), "ociVersion: 1.2 is not a string | write it in quotes: \"1.2\""),
    ];
    for (pointer, value, expected) in table {
        assert_eq!(faults(&with(pointer, value.clone())), [expected], "{pointer} {value}");
    }
}

#[test]
fn all_faults_are_told_at_once_in_the_order_of_the_text() {
    let text = edit(
        DEFAULT,
        &[
            ("/process/user/uid", Some(json!(-1))),
            ("/process/args", Some(json!("sh"))),
            ("/process/capabilities/bounding", Some(json!(["CAP_FOO"]))),
            ("/linux/namespaces/-", Some(json!({"type": "foo"}))),
            ("/ociVersion", Some(json!("0.1.0"))),
        ],
    );
    let all: Vec<String> =
        faults(&text).iter().map(|fault| fault.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(all, ["linux.namespaces[6].type", "ociVersion", "process.args", "process.user.uid"]);
}

#[test]
fn what_is_no_json_object_is_refused_with_its_place() {
    let table: &[(&[u8], &str)] = &[
        (b"", "the file is empty (config.json line 1, column 1)"),
        (b" \n ", "the file is empty (config.json line 1, column 1)"),
        (b"null", "the file holds null, not an object (config.json line 1, column 1)"),
        (b"[\"1.0.2\"]", "the file holds a list, not an object (config.json line 1, column 1)"),
        (
            b"{\"process\": {\"args\": [\"sh\",]}}",
            "process.args: a comma stands before this, and nothing follows it (config.json line 1, column 28) | remove the comma",
        ),
        (
            b"{\"process\":\n  {\"args\" [\"sh\"]}}",
            "process.args: expected `:` (config.json line 2, column 11)",
        ),
        (b"{\"a\": 1 \"b\": 2}", "b: expected `,` or `}` (config.json line 1, column 9)"),
        (b"{\"a\": 1", "a: the text ends inside an object (config.json line 1, column 7)"),
        (
            b"{\"a\": tru}",
            "a: this is no JSON value (config.json line 1, column 7) | strings stand in double quotes",
        ),
        (
            b"{\"a\": True}",
            "a: this is no JSON value (config.json line 1, column 7) | strings stand in double quotes",
        ),
        (
            b"{\"a\": [root]}",
            "a[0]: this is no JSON value (config.json line 1, column 8) | strings stand in double quotes",
        ),
        (
            b"{'a': 1}",
            "a property's name in double quotes is expected here (config.json line 1, column 2) | close what is open, or take out the comma or bracket too much",
        ),
        (
            b"{\"a\": \"\x01\"}",
            "a: a string holds a control character (config.json line 1, column 8) | write it as an escape such as \\n",
        ),
        (
            b"{\"a\": \"x\x00y\"}",
            "a: a string holds a control character (config.json line 1, column 9) | write it as an escape such as \\n",
        ),
        (b"{}\x00", "holds a NUL byte, where the kernel would end it (config.json line 1, column 3)"),
        (b"{\"a\": 1} x", "there is more text after the end of the object (config.json line 1, column 10)"),
        (b"{\"a\": 1}{}", "there is more text after the end of the object (config.json line 1, column 9)"),
        (
            b"{\"\xc3\xa9\": {\"a\": [\"b\", \"c\\u0000\"]}}",
            "[\"\u{e9}\"].a[1]: holds a NUL byte, where the kernel would end it (config.json line 1, column 21)",
        ),
        (
            b"{\"a\\u0000\": 1}",
            "[\"a\\u0000\"]: holds a NUL byte, where the kernel would end it (config.json line 1, column 4)",
        ),
        (b"{\"a\": [\"b\xff\"]}", "a[0]: byte 0xff is not UTF-8 (config.json line 1, column 10)"),
        (
            b"\xef\xbb\xbf{}",
            "the file begins with a byte order mark (config.json line 1, column 1) | remove it",
        ),
        (
            b"{\"process\": {\"cwd\": \"/\",\n\"cwd\": \"/\"}}",
            "process.cwd: stands twice, already at line 1, column 14 (config.json line 2, column 1) | runtimes disagree about which one counts: keep one",
        ),
        (
            b"{\"annotations\": {\"a\": \"1\", \"b\": {}, \"\\u0061\": \"2\"}}",
            "annotations.a: stands twice, already at line 1, column 18 (config.json line 1, column 37) | runtimes disagree about which one counts: keep one",
        ),
        (
            b"{\"x\": [{\"y\": 1, \"y\": 2}]}",
            "x[0].y: stands twice, already at line 1, column 9 (config.json line 1, column 17) | runtimes disagree about which one counts: keep one",
        ),
    ];
    for (text, expected) in table {
        let e = parse_spec(text, CONFIG).unwrap_err();
        let fault = &e.faults()[0];
        let told = match &fault.hint {
            Some(hint) => format!("{fault} | {hint}"),
            None => fault.to_string(),
        };
        assert_eq!(told, *expected, "{}", String::from_utf8_lossy(text));
    }
    for deep in ["[", "{\"a\":"] {
        let e = parse_spec(format!("{{\"x\": {}", deep.repeat(100_000)).as_bytes(), CONFIG).unwrap_err();
        assert!(e.message().starts_with("objects and lists stand more than 100 deep in each other"), "{e}");
    }
    let deepest = format!("{{\"x\": {}1{}}}", "[".repeat(99), "]".repeat(99));
    assert_eq!(faults(&deepest), [""; 0]);
}
