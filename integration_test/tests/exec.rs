// SPDX-License-Identifier: Apache-2.0
//! `exec`: another process in a container that runs.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Flavor, Host, container_test, differs, skip};
use serde_json::{Value, json};

#[test]
fn it_is_in_the_same_namespaces() {
    container_test(|t| {
        t.up(t.bundle().userns().namespace("cgroup", true));
        let pid = t.pid();
        let a = t.exec(&["namespaces", "pid", "hostname"]);
        for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
            let link = fs::read_link(format!("/proc/{pid}/ns/{name}")).unwrap();
            assert_eq!(a["namespaces"][name], link.to_str().unwrap(), "{name}");
        }
        assert_ne!(a["pid"], 1);
        assert_eq!(a["hostname"], "soute");
        t.delete_force();
    });
}

#[test]
fn it_is_in_the_same_cgroups() {
    container_test(|t| {
        t.up(t.bundle());
        let init = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
        let a = t.exec(&["cgroup"]);
        let ours = |text: &str| {
            text.lines().filter(|line| line.contains(t.id())).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(ours(a["cgroup"].as_str().unwrap()), ours(&init));
        assert!(!ours(&init).is_empty());
        t.delete_force();
    });
}

#[test]
fn it_joins_a_time_namespace() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no time namespace");
        let bundle = t
            .bundle()
            .namespace("time", true)
            .set("/linux/timeOffsets", json!({ "boottime": { "secs": 604_800 } }));
        t.up(bundle);
        let a = t.exec(&["clock boottime", "namespaces"]);
        let link = fs::read_link(format!("/proc/{}/ns/time", t.pid())).unwrap();
        assert_eq!(a["namespaces"]["time"], link.to_str().unwrap());
        assert!(a["clock boottime"].as_i64().unwrap() > 604_800);
        t.delete_force();
    });
}

#[test]
fn its_status_is_the_commands() {
    container_test(|t| {
        t.up(t.bundle());
        for code in [0, 3, 255] {
            assert_eq!(t.exec_with(&[], &[&format!("exit {code}")]).code, code);
        }
        assert_eq!(t.exec_with(&[], &["kill 0 TERM"]).code, 128 + 15);
        assert_eq!(t.exec_with(&[], &["kill 0 KILL"]).code, 128 + 9);
        t.delete_force();
    });
}

#[test]
fn its_failure_is_not_the_commands() {
    container_test(|t| {
        t.up(t.bundle());
        let out = t.call(&["exec", t.id(), "/no/such/program"]);
        match t.flavor() {
            Flavor::Soute | Flavor::Runc => assert_eq!(out.code, 255),
            _ => assert_ne!(out.code, 0),
        }
        let says = out.fails();
        assert!(says.to_lowercase().contains("no such file or directory"), "{says}");
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn it_has_the_containers_limits_and_rights_by_default() {
    container_test(|t| {
        t.up(t.bundle().set("/process/oomScoreAdj", 123).set("/process/env", json!(["PATH=/", "OF=config"])));
        let a = t.exec(&["caps", "nnp", "rlimits", "oom", "environ", "cwd", "status CapInh"]);
        assert_eq!(a["caps"]["effective"], format!("{:016x}", 1_u64 << 5 | 1 << 10 | 1 << 29));
        assert_eq!(a["caps"]["inheritable"], format!("{:016x}", 0));
        assert_eq!(a["nnp"], true);
        assert_eq!(a["rlimits"]["RLIMIT_NOFILE"], json!([1024, 1024]));
        assert_eq!(a["cwd"], "/");
        let environ: Vec<String> = serde_json::from_value(a["environ"].clone()).unwrap();
        assert!(environ.contains(&"OF=config".to_owned()), "{environ:?}");
        assert_eq!(a["oom"], 123);
        t.delete_force();
    });
}

#[test]
fn flags_change_the_process() {
    container_test(|t| {
        t.up(t.bundle());
        let flags = ["--cwd", "/etc", "-e", "A=1", "-e", "B=2 3", "--user", "1000:1001"];
        let a = t.exec_with(&flags, &["cwd", "env", "uid", "gid"]).ok().answers();
        assert_eq!(a["cwd"], "/etc");
        assert_eq!((&a["env"]["A"], &a["env"]["B"]), (&json!("1"), &json!("2 3")));
        assert_eq!((&a["uid"][0], &a["gid"][0]), (&json!(1000), &json!(1001)));
        t.delete_force();
    });
}

#[test]
fn a_user_that_is_no_number_is_refused() {
    container_test(|t| {
        t.up(t.bundle());
        for user in ["-1", "1:-1", "x", "4294967296", "1:2:3"] {
            let out = t.exec_with(&["--user", user], &["uid"]);
            differs!(t, Runc, "--user");
            differs!(t, Crun, "--user");
            out.fails();
        }
        t.delete_force();
    });
}

#[test]
fn a_capability_may_be_added() {
    container_test(|t| {
        t.up(t.bundle());
        let a = t.exec_with(&["--cap", "CAP_SYS_ADMIN"], &["caps"]).ok().answers();
        let bounding = u64::from_str_radix(a["caps"]["bounding"].as_str().unwrap(), 16).unwrap();
        assert!(bounding & 1 << 21 != 0, "{a}");
        differs!(t, Runc, "1.1 sets the inheritable set of exec --cap");
        assert_eq!(a["caps"]["inheritable"], format!("{:016x}", 0));
        t.delete_force();
    });
}

#[test]
fn additional_gids() {
    container_test(|t| {
        if t.flavor() == Flavor::Crun {
            skip!("crun has no --additional-gids");
        }
        t.up(t.bundle());
        let a = t.exec_with(&["-g", "77", "-g", "78"], &["groups"]).ok().answers();
        assert!(a["groups"].to_string().contains("77") && a["groups"].to_string().contains("78"), "{a}");
        t.delete_force();
    });
}

#[test]
fn a_process_file() {
    container_test(|t| {
        t.up(t.bundle());
        let file = t.scratch("process.json");
        let process = json!({
            "args": ["/payload", "uid", "cwd", "env", "nnp", "caps"],
            "cwd": "/tmp",
            "env": ["X=y"],
            "user": { "uid": 7, "gid": 8, "additionalGids": [9] },
            "capabilities": { "bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "effective": ["CAP_KILL"], "ambient": ["CAP_KILL"], "inheritable": ["CAP_KILL"] },
            "noNewPrivileges": true,
        });
        fs::write(&file, process.to_string()).unwrap();
        let a = t.call(&["exec", "--process", file.to_str().unwrap(), t.id()]).ok().answers();
        assert_eq!(
            (&a["uid"][0], &a["cwd"], &a["env"]["X"], &a["nnp"]),
            (&json!(7), &json!("/tmp"), &json!("y"), &json!(true))
        );
        assert_eq!(a["caps"]["effective"], format!("{:016x}", 1 << 5));
        t.delete_force();
    });
}

#[test]
fn detached_with_a_pid_file() {
    container_test(|t| {
        t.up(t.bundle());
        let file = t.scratch("pid");
        let flags = ["--detach", "--pid-file", file.to_str().unwrap()];
        let out = t.exec_with(&flags, &["pid", "wait-for USR1"]).ok();
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
        t.until("ready", || out.stdout().contains("waiting"));
        let status = fs::read_to_string(format!("/proc/{text}/status")).unwrap();
        let inside = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap();
        assert!(inside.ends_with(&format!("\t{}", out.answers()["pid"])), "{inside}");
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn no_pid_file_of_a_failed_exec() {
    container_test(|t| {
        t.up(t.bundle());
        let file = t.scratch("pid");
        let out =
            t.call(&["exec", "--detach", "--pid-file", file.to_str().unwrap(), t.id(), "/no/such/program"]);
        out.fails();
        assert!(!file.exists());
        t.delete_force();
    });
}

#[test]
fn its_streams_are_the_callers() {
    container_test(|t| {
        use std::io::Write;
        t.up(t.bundle());
        let mut command = t.command(&["exec", t.id(), "/payload", "stdin", "err complaint"]);
        command.stdin(std::process::Stdio::piped());
        let mut running = t.start_command(command);
        running.stdin().unwrap().write_all(b"typed").unwrap();
        let out = running.wait().ok();
        assert_eq!(out.answers()["stdin"], "typed");
        assert!(out.stderr().contains("complaint"));
        t.delete_force();
    });
}

#[test]
fn signals_are_forwarded() {
    container_test(|t| {
        t.up(t.bundle());
        let running = t.start_command(t.command(&["exec", t.id(), "/payload", "wait-for TERM"]));
        t.until("ready", || running.so_far().stdout().contains("waiting"));
        running.signal(rustix::process::Signal::TERM);
        assert_eq!(running.wait().ok().answers()["wait-for TERM"], "SIGTERM");
        t.delete_force();
    });
}

#[test]
fn flags_end_at_the_id() {
    container_test(|t| {
        t.up(t.bundle());
        let out = t.call(&["exec", t.id(), "/payload", "--detach", "-t", "pid", "--cwd"]).ok();
        let a = out.answers();
        assert!(a.get("--detach").is_some() && a.get("--cwd").is_some() && a["pid"].is_number(), "{a}");
        t.delete_force();
    });
}

#[test]
fn a_created_container_may_be_entered() {
    container_test(|t| {
        t.create(&t.bundle().asks(&["pid"])).ok();
        let a = t.exec(&["pid", "hostname"]);
        assert_eq!(a["hostname"], "soute");
        t.delete_force();
    });
}

#[test]
fn a_stopped_container_may_not() {
    container_test(|t| {
        t.create(&t.bundle()).ok();
        t.start().ok();
        t.until_stopped();
        let says = t.exec_with(&[], &["pid"]).fails();
        if t.flavor() != Flavor::Crun {
            assert!(says.contains("cannot exec in a stopped container"), "{says}");
        }
        t.delete().ok();
    });
}

#[test]
fn an_absent_container_may_not() {
    container_test(|t| {
        let out = t.exec_with(&[], &["pid"]);
        if matches!(t.flavor(), Flavor::Soute | Flavor::Runc) {
            assert_eq!(out.code, 255);
            assert!(out.fails().contains("does not exist"));
        }
    });
}

#[test]
fn its_processes_end_with_the_container() {
    container_test(|t| {
        t.up(t.bundle());
        let out = t.exec_with(&["--detach"], &["wait-for USR1"]).ok();
        t.until("ready", || out.stdout().contains("waiting"));
        t.kill("TERM").ok();
        t.until_stopped();
        t.delete().ok();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_readonly_root_is_read_only_for_exec() {
    container_test(|t| {
        t.up(t.bundle());
        let a = t.exec(&["write /x y", "read /proc/keys", "write /proc/sys/net/ipv4/ip_forward 1"]);
        assert_eq!(a["write /x y"]["error"], "EROFS");
        assert_eq!(a["read /proc/keys"], "");
        assert_eq!(a["write /proc/sys/net/ipv4/ip_forward 1"]["error"], "EROFS");
        t.delete_force();
    });
}

#[test]
fn many_at_once() {
    container_test(|t| {
        t.up(t.bundle());
        let words = ["exec", t.id(), "/payload", "pid"];
        let all: Vec<_> = (0..8).map(|_| t.start_command(t.command(&words))).collect();
        let mut pids: Vec<Value> =
            all.into_iter().map(|exec| exec.wait().ok().answers()["pid"].clone()).collect();
        pids.sort_by_key(|pid| pid.as_i64());
        pids.dedup();
        assert_eq!(pids.len(), 8);
        t.delete_force();
    });
}

#[test]
fn a_frozen_container_is_not_entered() {
    container_test(|t| {
        t.up(t.bundle());
        let host = Host::here();
        let (file, frozen, thawed) = match host {
            Host::V1 => (host.cgroup("freezer", t.id()).join("freezer.state"), "FROZEN", "THAWED"),
            Host::V2 => (host.cgroup("", t.id()).join("cgroup.freeze"), "1", "0"),
        };
        fs::write(&file, frozen).unwrap();
        t.until("it is frozen", || match host {
            Host::V1 => fs::read_to_string(&file).unwrap().trim() == "FROZEN",
            Host::V2 => {
                fs::read_to_string(file.with_file_name("cgroup.events")).unwrap().contains("frozen 1")
            }
        });
        assert_eq!(t.status(), "paused");
        let says = t.exec_with(&[], &["pid"]).fails();
        if t.flavor() != Flavor::Crun {
            assert!(says.contains("cannot exec in a paused container"), "{says}");
        }
        fs::write(&file, thawed).unwrap();
        t.delete_force();
    });
}

#[test]
fn delete_force_of_a_frozen_container() {
    container_test(|t| {
        t.up(t.bundle());
        let host = Host::here();
        match host {
            Host::V1 => fs::write(host.cgroup("freezer", t.id()).join("freezer.state"), "FROZEN").unwrap(),
            Host::V2 => fs::write(host.cgroup("", t.id()).join("cgroup.freeze"), "1").unwrap(),
        }
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn without_a_mount_namespace_the_root_is_the_containers() {
    container_test(|t| {
        let bundle = t.bundle().namespace("mount", false).set("/mounts", serde_json::json!([])).writable();
        let bundle = bundle.remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        // In a mount namespace of the test's own, for runtimes that mount something all the same.
        t.before(&["unshare", "-m"]);
        t.up(bundle.file("/etc/mark", "here"));
        let a = t.exec(&["read /etc/mark", "list /", "list /../.."]);
        assert_eq!(a["read /etc/mark"], "here");
        assert_eq!(a["list /"], a["list /../.."]);
        t.delete_force();
    });
}
