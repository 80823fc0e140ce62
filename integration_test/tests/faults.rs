// SPDX-License-Identifier: Apache-2.0
//! The kernel refuses: each system call of `run`, in the parent and in init, fails once
//! with each of five errors. Whatever comes of it, nothing may hang, nothing may be left
//! behind, an error has words, and a payload that runs all the same has every restriction
//! that was asked for.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use integration_test::sweep::{can_trace, points, sample, traced};
use integration_test::{Bundle, Flavor, Out, Test, container_test, controllers, note_skip};
use serde_json::{Value, json};

/// These only tell or set what the kernel always has: it cannot refuse.
const NEVER_FAIL: [&str; 14] = [
    // A system call only where there is no vDSO, as in User-Mode Linux.
    "clock_gettime",
    "close",
    "exit",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getrandom",
    "getppid",
    "getuid",
    "gettid",
    "rt_sigreturn",
    "set_tid_address",
    "umask",
];

const ERRORS: [&str; 5] = ["ENOMEM", "ENOSPC", "EMFILE", "EPERM", "EIO"];

/// Of these none may be another than in a run without faults.
const QUESTIONS: [&str; 20] = [
    "caps",
    "nnp",
    "seccomp",
    "uid",
    "gid",
    "groups",
    "umask",
    "hostname",
    "rlimits",
    "oom",
    "cwd",
    "pid",
    "mount /",
    "mount /data",
    "write /root-is-writable x",
    "write /data/volume-is-writable x",
    "read /etc/masked",
    "write /proc/sys/kernel/msgmax 1",
    "node b 7 0 /dev/loop",
    "namespaces",
];

/// Something of everything that restricts.
fn restricted(t: &Test) -> Bundle {
    let source = t.scratch("volume");
    std::fs::create_dir(&source).unwrap();
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["keyctl"], "action": "SCMP_ACT_ERRNO" }],
    });
    let bundle = t
        .bundle()
        .file("/etc/masked", "what is to be masked")
        .namespace("cgroup", true)
        .set("/process/user", json!({ "uid": 7, "gid": 8, "additionalGids": [9], "umask": 0o27 }))
        .set("/process/oomScoreAdj", 100)
        .set("/process/cwd", "/tmp")
        .set("/linux/seccomp", profile)
        .set("/linux/sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "0" }))
        .push("/linux/maskedPaths", "/etc/masked")
        .mount("/data", "bind", source, &["rbind", "ro", "nosuid"])
        .hook("createRuntime", ":")
        .hook("createContainer", ":")
        .hook("poststop", ":")
        .asks(&QUESTIONS);
    match controllers().iter().any(|name| name == "pids") {
        true => bundle.set("/linux/resources/pids", json!({ "limit": 100 })),
        false => bundle,
    }
}

/// What in the answers is looser than it was without faults. The fault may have hit the
/// payload's own question: an error tells nothing.
fn loosened(answers: &Value, normal: &Value, host: &Value) -> Vec<String> {
    let mut loose = Vec::new();
    for question in QUESTIONS {
        let (now, then) = (&answers[question], &normal[question]);
        let told = !now.is_null() && now["error"].is_null();
        let same = match question {
            "namespaces" => ["cgroup", "ipc", "mnt", "net", "pid", "uts"].iter().all(|n| now[n] != host[n]),
            _ => now == then,
        };
        if told && !same {
            loose.push(format!("{question}: {now} in place of {then}"));
        }
    }
    loose
}

fn namespaces_of_the_host() -> Value {
    let of = |name: &str| std::fs::read_link(format!("/proc/self/ns/{name}")).unwrap();
    ["cgroup", "ipc", "mnt", "net", "pid", "uts"].iter().map(|n| ((*n).to_owned(), json!(of(n)))).collect()
}

/// What is wrong with how a run with a fault ended.
fn verdict(t: &Test, out: &Out, normal: &Value, host: &Value) -> Vec<String> {
    let mut wrong = loosened(&out.answers(), normal, host);
    let said = out.stderr();
    // Rust ends a program without memory by SIGABRT, with these words.
    let no_memory = out.code == 128 + 6 && said.contains("memory allocation of ");
    if !no_memory && (out.signal.is_some() || out.code > 128 && !said.contains("error")) {
        wrong.push(format!("ended by signal, status {}", out.code));
    }
    if said.contains("bug in soute") {
        wrong.push(format!("a panic: {said}"));
    }
    if out.code != 0 && !no_memory && !said.lines().any(|line| line.contains("error: ") && line.len() > 20) {
        wrong.push(format!("status {} without a word: {said:?}", out.code));
    }
    if out.code != 0 {
        let delete = t.call(&["delete", "--force", t.id()]);
        if delete.code != 0 {
            wrong.push(format!("delete --force: {}", delete.stderr()));
        }
    }
    wrong.extend(t.left_behind());
    wrong
}

fn sweep(bundle: impl Fn(&Test) -> Bundle, usual: usize) {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        let bundle = bundle(t);
        let words = t.with_bundle("run", &bundle, &[]);
        let (normal, host) = (t.run(&bundle).ok().answers(), namespaces_of_the_host());
        assert_eq!(loosened(&normal, &normal, &host), [""; 0]);
        let found = points(t, &["-f"], &words);
        let all = found.iter().filter(|(name, _)| !NEVER_FAIL.contains(&name.as_str()));
        let all: Vec<_> = all.flat_map(|point| ERRORS.map(|error| (point, error))).collect();
        let (count, chosen) = (all.len(), sample(all, usual));
        let (mut failed, mut bad) = (0, Vec::new());
        for ((name, k), error) in &chosen {
            let inject = format!("inject={name}:error={error}:when={k}");
            let trace = format!("trace={name}");
            let flags = ["-f", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let wrong = match t.output_within(traced(t, &flags, &words), Duration::from_secs(10)) {
                None => vec!["still running after 10 s".to_owned()],
                Some(out) => {
                    failed += usize::from(out.code != 0);
                    verdict(t, &out, &normal, &host)
                }
            };
            if !wrong.is_empty() {
                bad.push(format!("{name} #{k} {error}: {}", wrong.join("; ")));
                t.clean();
            }
        }
        println!("{} of {count} faults, {failed} ended the run, {} bad", chosen.len(), bad.len());
        assert!(failed > 0, "no fault was noticed");
        if !bad.is_empty() && t.flavor() != Flavor::Soute {
            return note_skip(&format!("{:?} differs: {} of {} bad", t.flavor(), bad.len(), chosen.len()));
        }
        assert!(bad.is_empty(), "{} of {} bad:\n  {}", bad.len(), chosen.len(), bad.join("\n  "));
    });
}

#[test]
fn faults_in_run() {
    sweep(restricted, 60);
}

#[test]
fn faults_in_run_with_a_user_namespace() {
    sweep(|t| restricted(t).userns(), 60);
}
