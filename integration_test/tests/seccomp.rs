// SPDX-License-Identifier: Apache-2.0
//! Seccomp: what the kernel then refuses, for init and for what is executed in the
//! container, with every action and with arguments.
#![allow(clippy::unwrap_used)]

use integration_test::{Agent, Bundle, Test, container_test, differs};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// All calls are allowed but those of the rules.
fn filter(t: &Test, rules: Value) -> Bundle {
    t.bundle().writable().set(
        "/linux/seccomp",
        json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"], "syscalls": rules }),
    )
}

fn rule(names: &[&str], action: &str) -> Value {
    json!({ "names": names, "action": action })
}

#[test]
fn without_a_profile_there_is_no_filter() {
    container_test(|t| assert_eq!(t.ask(t.bundle(), &["seccomp"])["seccomp"], 0));
}

#[test]
fn a_refused_call_is_eperm() {
    container_test(|t| {
        let bundle = filter(t, json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")]));
        let a = t.ask(bundle, &["mkdir /tmp/x", "seccomp", "asks mkdir /tmp/y", "write /tmp/z x"]);
        assert_eq!(a["mkdir /tmp/x"]["error"], "EPERM");
        assert_eq!(a["asks mkdir /tmp/y"]["error"], "EPERM");
        assert_eq!(a["write /tmp/z x"], "ok");
        assert_eq!(a["seccomp"], 2);
    });
}

#[test]
fn the_errno_is_the_profiles() {
    container_test(|t| {
        let bundle =
            filter(t, json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 }]));
        assert_eq!(t.ask(bundle, &["mkdir /tmp/x"])["mkdir /tmp/x"]["error"], "ENOSPC");
    });
}

#[test]
fn a_default_errno() {
    container_test(|t| {
        // Everything that the payload needs is allowed by a wide list; mkdir is not on it.
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{ "names": ALMOST_ALL, "action": "SCMP_ACT_ALLOW" }],
        });
        let a = t.ask(t.bundle().writable().set("/linux/seccomp", profile), &["mkdir /tmp/x", "pid"]);
        assert_eq!(a["mkdir /tmp/x"]["error"], "ENOSYS");
        assert_eq!(a["pid"], 1);
    });
}

#[test]
fn a_profile_older_than_faccessat2() {
    container_test(|t| {
        for action in [
            json!({ "names": ["faccessat2"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38 }),
            json!({ "names": ["faccessat2", "faccessat"], "action": "SCMP_ACT_ERRNO" }),
        ] {
            assert_eq!(t.ask(filter(t, json!([action])), &["pid"])["pid"], 1);
        }
    });
}

#[test]
fn killed_by_its_call() {
    container_test(|t| {
        for action in ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS"] {
            let bundle = filter(t, json!([rule(&["mkdir", "mkdirat"], action)]));
            let out = t.run(&bundle.asks(&["pid", "mkdir /tmp/x", "pid"]));
            assert_eq!(out.code, 128 + 31, "{action}: {}", out.stderr());
        }
    });
}

#[test]
fn a_trap_is_sigsys() {
    container_test(|t| {
        let bundle = filter(t, json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_TRAP")]));
        assert_eq!(t.run(&bundle.asks(&["mkdir /tmp/x"])).code, 128 + 31);
    });
}

#[test]
fn a_logged_call_is_let_through() {
    container_test(|t| {
        let bundle = filter(t, json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_LOG")]));
        assert_eq!(t.ask(bundle, &["mkdir /tmp/x"])["mkdir /tmp/x"], "ok");
    });
}

#[test]
fn a_traced_call_without_a_tracer_is_enosys() {
    container_test(|t| {
        let bundle = filter(t, json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_TRACE")]));
        assert_eq!(t.ask(bundle, &["mkdir /tmp/x"])["mkdir /tmp/x"]["error"], "ENOSYS");
    });
}

#[test]
fn a_rule_with_an_argument() {
    container_test(|t| {
        // socket(AF_NETLINK = 16, …)
        let args = json!([{ "index": 0, "value": 16, "op": "SCMP_CMP_EQ" }]);
        let bundle = filter(
            t,
            json!([{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 97, "args": args }]),
        );
        let a = t.ask(bundle, &["socket netlink", "socket inet", "socket unix"]);
        assert_eq!(a["socket netlink"]["error"], "EAFNOSUPPORT");
        assert_eq!((&a["socket inet"], &a["socket unix"]), (&json!("ok"), &json!("ok")));
    });
}

#[test]
fn every_comparison() {
    container_test(|t| {
        // AF_UNIX 1, AF_INET 2, AF_INET6 10, AF_NETLINK 16: which of them a comparison with 10 refuses.
        for (op, value, two, refused) in [
            ("SCMP_CMP_EQ", 10, 0, ["inet6", "", ""]),
            ("SCMP_CMP_NE", 10, 0, ["unix", "inet", "netlink"]),
            ("SCMP_CMP_LT", 10, 0, ["unix", "inet", ""]),
            ("SCMP_CMP_LE", 10, 0, ["unix", "inet", "inet6"]),
            ("SCMP_CMP_GE", 10, 0, ["inet6", "netlink", ""]),
            ("SCMP_CMP_GT", 10, 0, ["netlink", "", ""]),
            ("SCMP_CMP_MASKED_EQ", 2, 2, ["inet", "inet6", ""]),
        ] {
            let args = json!([{ "index": 0, "value": value, "valueTwo": two, "op": op }]);
            let bundle =
                filter(t, json!([{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": args }]));
            let a = t.ask(bundle, &["socket unix", "socket inet", "socket inet6", "socket netlink"]);
            for family in ["unix", "inet", "inet6", "netlink"] {
                let was = a[format!("socket {family}")]["error"] == "EPERM";
                assert_eq!(was, refused.contains(&family), "{op}: {family}: {a}");
            }
        }
    });
}

#[test]
fn several_arguments_must_all_match() {
    container_test(|t| {
        // socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC or not, …)
        let args = json!([
            { "index": 0, "value": 2, "op": "SCMP_CMP_EQ" },
            { "index": 2, "value": 999, "op": "SCMP_CMP_EQ" },
        ]);
        let bundle = filter(t, json!([{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": args }]));
        assert_eq!(t.ask(bundle, &["socket inet"])["socket inet"], "ok");
    });
}

#[test]
fn unknown_names_are_skipped() {
    container_test(|t| {
        let bundle = filter(t, json!([rule(&["no_such_call_yet", "mkdir", "mkdirat"], "SCMP_ACT_ERRNO")]));
        let a = t.ask(bundle, &["mkdir /tmp/x"]);
        assert_eq!(a["mkdir /tmp/x"]["error"], "EPERM");
    });
}

#[test]
fn bad_profiles_are_refused() {
    container_test(|t| {
        for profile in [
            json!({ "defaultAction": "SCMP_ACT_DANCE" }),
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_ABACUS"] }),
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{ "names": ["mkdir"], "action": "NO" }] }),
            json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{
                "names": ["mkdir"], "action": "SCMP_ACT_ERRNO",
                "args": [{ "index": 0, "value": 1, "op": "SCMP_CMP_ALMOST" }],
            }] }),
        ] {
            t.run(&t.bundle().set("/linux/seccomp", profile).asks(&["pid"])).fails();
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn an_argument_index_beyond_5_is_refused() {
    container_test(|t| {
        let args = json!([{ "index": 6, "value": 1, "op": "SCMP_CMP_EQ" }]);
        let out = t.run(
            &filter(t, json!([{ "names": ["socket"], "action": "SCMP_ACT_ERRNO", "args": args }]))
                .asks(&["pid"]),
        );
        differs!(t, Runc, "argument 6");
        out.fails();
    });
}

#[test]
fn with_and_without_no_new_privileges() {
    container_test(|t| {
        for nnp in [true, false] {
            // What loading itself needs may be refused afterwards.
            let calls =
                ["seccomp", "prctl", "capset", "setuid", "setgid", "setgroups", "mount", "mkdir", "mkdirat"];
            let rules = json!([rule(&calls, "SCMP_ACT_ERRNO")]);
            let bundle = filter(t, rules).set("/process/noNewPrivileges", nnp);
            let out = t.run(&bundle.asks(&["mkdir /tmp/x", "status NoNewPrivs"]));
            if !nnp && out.code != 0 {
                // Loaded before the credentials change: the profile hits the runtime's own calls.
                out.fails();
                continue;
            }
            let a = out.ok().answers();
            assert_eq!(a["mkdir /tmp/x"]["error"], "EPERM");
            assert_eq!(a["status NoNewPrivs"], if nnp { "1" } else { "0" });
        }
    });
}

#[test]
fn an_ordinary_user_without_no_new_privileges() {
    container_test(|t| {
        let bundle = filter(t, json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")]));
        let bundle = bundle.set("/process/noNewPrivileges", false).set("/process/user/uid", 1000).caps(&[]);
        let a = t.ask(bundle, &["mkdir /tmp/x", "seccomp", "nnp", "uid"]);
        assert_eq!(a["mkdir /tmp/x"]["error"], "EPERM");
        assert_eq!((&a["seccomp"], &a["nnp"], &a["uid"][0]), (&json!(2), &json!(false), &json!(1000)));
    });
}

#[test]
fn exec_is_filtered_too() {
    container_test(|t| {
        t.up(filter(t, json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")])));
        let a = t.exec(&["mkdir /tmp/x", "seccomp"]);
        assert_eq!(a["mkdir /tmp/x"]["error"], "EPERM");
        assert_eq!(a["seccomp"], 2);
        t.delete_force();
    });
}

#[test]
fn a_large_profile() {
    container_test(|t| {
        let names: Vec<&str> = ALMOST_ALL.to_vec();
        let args = json!([{ "index": 0, "value": 8, "op": "SCMP_CMP_EQ" }]);
        let profile = json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
                { "names": names, "action": "SCMP_ACT_ALLOW" },
                { "names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": args },
            ],
        });
        let a = t.ask(t.bundle().writable().set("/linux/seccomp", profile), &["mkdir /tmp/x", "lo", "fds"]);
        assert_eq!(a["mkdir /tmp/x"]["error"], "EPERM");
        assert_eq!(a["lo"], "ok");
    });
}

/// The agent is told of mkdir.
fn notifying(t: &Test, agent: &Agent, flags: Value) -> Bundle {
    filter(t, json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY")]))
        .set("/linux/seccomp/listenerPath", agent.path().to_str().unwrap())
        .set("/linux/seccomp/listenerMetadata", "for the agent")
        .set("/linux/seccomp/flags", flags)
        .set("/annotations", json!({ "org.example.key": "value" }))
}

const ENOANO: i32 = 55;

#[test]
fn an_agent_gets_the_listener_and_decides() {
    container_test(|t| {
        differs!(t, Crun, "its first message has no descriptor");
        let agent = Agent::new(t);
        let bundle = notifying(t, &agent, json!([])).asks(&["mkdir /tmp/x", "mkdir /tmp/y", "stat /tmp/y"]);
        let running = t.spawn(&bundle, &[]);
        let notified = agent.receive();
        let state = &notified.state;
        assert_eq!(state["fds"], json!(["seccompFd"]), "{state}");
        assert_eq!(state["metadata"], "for the agent");
        assert!(state["ociVersion"].is_string(), "{state}");
        assert_eq!(state["state"]["id"], t.id());
        assert_eq!(state["state"]["status"], "creating");
        assert_eq!(state["state"]["bundle"], bundle.dir().to_str().unwrap());
        assert_eq!(state["state"]["annotations"]["org.example.key"], "value");
        assert_eq!(state["pid"], state["state"]["pid"]);

        let call = notified.next();
        assert_eq!(u64::from(call.pid), state["pid"].as_u64().unwrap());
        notified.refuse(&call, ENOANO);
        notified.allow(&notified.next());
        let a = running.wait().ok().answers();
        assert_eq!(a["mkdir /tmp/x"]["error"], "errno 55");
        assert_eq!(a["mkdir /tmp/y"], "ok");
        assert_eq!(a["stat /tmp/y"]["type"], "dir");
    });
}

#[test]
fn an_agent_gets_a_listener_for_each_exec() {
    container_test(|t| {
        differs!(t, Crun, "its first message has no descriptor");
        let agent = Agent::new(t);
        t.up(notifying(t, &agent, json!([])));
        let init = agent.receive();
        let exec = t.start_command(t.command(&["exec", t.id(), "/payload", "mkdir /tmp/x"]));
        let notified = agent.receive();
        assert_eq!(notified.state["state"]["pid"], init.state["pid"]);
        assert_ne!(notified.state["pid"], init.state["pid"]);
        differs!(t, Runc, "1.1 tells of a container that is being created");
        assert_eq!(notified.state["state"]["status"], "running");
        let call = notified.next();
        assert_eq!(u64::from(call.pid), notified.state["pid"].as_u64().unwrap());
        notified.refuse(&call, ENOANO);
        assert_eq!(exec.wait().ok().answers()["mkdir /tmp/x"]["error"], "errno 55");
        t.delete_force();
    });
}

#[test]
fn without_an_agent_there_is_no_container() {
    container_test(|t| {
        let agent = Agent::new(t);
        let bundle = notifying(t, &agent, json!([])).asks(&["pid"]);
        drop(agent);
        let says = t.run(&bundle).fails();
        differs!(t, Runc, "names no property");
        differs!(t, Crun, "names no property");
        assert!(says.contains("linux.seccomp.listenerPath"), "{says}");
        t.delete_force();
    });
}

/// Whether a call that an agent has seen goes on waiting while its process stops and goes on.
fn outwaits_a_stop(t: &Test, flags: Value) -> bool {
    let agent = Agent::new(t);
    let running = t.spawn(&notifying(t, &agent, flags).asks(&["mkdir /tmp/x"]), &[]);
    let notified = agent.receive();
    let call = notified.next();
    let init = Pid::from_raw(call.pid as i32).unwrap();
    kill_process(init, Signal::STOP).unwrap();
    kill_process(init, Signal::CONT).unwrap();
    // A wait that was broken off is begun again by a new notification.
    let end = std::time::Instant::now() + std::time::Duration::from_millis(500);
    while notified.waits(&call) && std::time::Instant::now() < end {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let waited = notified.waits(&call);
    notified.refuse(&if waited { call } else { notified.next() }, ENOANO);
    assert_eq!(running.wait().ok().answers()["mkdir /tmp/x"]["error"], "errno 55");
    waited
}

#[test]
fn wait_killable_keeps_a_call_waiting() {
    container_test(|t| {
        differs!(t, Runc, "1.1 does not know the flag");
        differs!(t, Crun, "1.8 does not know the flag");
        assert!(!outwaits_a_stop(t, json!([])));
        assert!(outwaits_a_stop(t, json!(["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"])));
    });
}

#[test]
fn the_kernel_takes_every_flag() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no seccomp flags");
        differs!(t, Crun, "1.8 fails under strace");
        let trace = t.dir().join("trace");
        for flag in ["TSYNC", "LOG", "SPEC_ALLOW"] {
            let bundle = filter(t, json!([rule(&["mkdir", "mkdirat"], "SCMP_ACT_ERRNO")]))
                .set("/linux/seccomp/flags", json!([format!("SECCOMP_FILTER_FLAG_{flag}")]));
            t.before(&["strace", "-f", "-o", trace.to_str().unwrap(), "-e", "trace=seccomp"]);
            let a = t.ask(bundle, &["mkdir /tmp/x"]);
            t.before(&[]);
            assert_eq!(a["mkdir /tmp/x"]["error"], "EPERM", "{flag}");
            let lines = std::fs::read_to_string(&trace).unwrap();
            let line =
                lines.lines().find(|line| line.contains("SECCOMP_SET_MODE_FILTER")).unwrap_or_default();
            let want = format!("SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_{flag}, ");
            assert!(line.contains(&want) && line.contains(") = 0"), "{line}");
        }
    });
}

/// What a static program, and a runtime's own last calls before execve, can need.
const ALMOST_ALL: &[&str] = &[
    "accept4",
    "access",
    "arch_prctl",
    "bind",
    "brk",
    "capget",
    "capset",
    "chdir",
    "chmod",
    "clock_gettime",
    "clone",
    "clone3",
    "close",
    "close_range",
    "connect",
    "dup",
    "dup2",
    "dup3",
    "epoll_create1",
    "epoll_ctl",
    "epoll_pwait",
    "execve",
    "execveat",
    "exit",
    "exit_group",
    "faccessat2",
    "fchdir",
    "fchmod",
    "fchown",
    "fcntl",
    "fstat",
    "fstatfs",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getgroups",
    "getpid",
    "getppid",
    "getrandom",
    "getsockname",
    "getsockopt",
    "gettid",
    "getuid",
    "ioctl",
    "keyctl",
    "kill",
    "listen",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "nanosleep",
    "newfstatat",
    "open",
    "openat",
    "openat2",
    "pidfd_open",
    "pipe2",
    "poll",
    "prctl",
    "pread64",
    "prlimit64",
    "pwrite64",
    "read",
    "readlink",
    "readlinkat",
    "readv",
    "recvfrom",
    "recvmsg",
    "restart_syscall",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "rt_sigtimedwait",
    "sched_getaffinity",
    "sched_yield",
    "sendmsg",
    "sendto",
    "set_robust_list",
    "set_tid_address",
    "setgid",
    "setgroups",
    "setresgid",
    "setresuid",
    "setsid",
    "setsockopt",
    "setuid",
    "sigaltstack",
    "socket",
    "socketpair",
    "stat",
    "statfs",
    "statx",
    "sysinfo",
    "tgkill",
    "umask",
    "uname",
    "unlinkat",
    "vfork",
    "wait4",
    "waitid",
    "write",
    "writev",
];
