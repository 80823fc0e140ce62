// SPDX-License-Identifier: Apache-2.0
//! Descriptors: only the standard streams, unless the caller passes more.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::fd::AsFd;

use integration_test::{container_test, differs, skip};
use serde_json::{Value, json};

fn numbers(a: &Value) -> Vec<u32> {
    let mut all: Vec<u32> = a["fds"].as_object().unwrap().keys().map(|key| key.parse().unwrap()).collect();
    all.sort_unstable();
    all
}

#[test]
fn the_container_has_three() {
    container_test(|t| assert_eq!(numbers(&t.ask(t.bundle(), &["fds"])), [0, 1, 2]));
}

#[test]
fn the_container_has_three_after_create_and_start() {
    container_test(|t| {
        let out = t.create(&t.bundle().asks(&["fds"])).ok();
        t.start().ok();
        t.until_stopped();
        assert_eq!(numbers(&out.answers()), [0, 1, 2]);
        t.delete().ok();
    });
}

#[test]
fn exec_has_three() {
    container_test(|t| {
        t.up(t.bundle());
        assert_eq!(numbers(&t.exec(&["fds"])), [0, 1, 2]);
        t.delete_force();
    });
}

#[test]
fn the_callers_open_files_do_not_leak_in() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["fds"]);
        let words = t.with_bundle("run", &bundle, &[]);
        let out =
            t.call_redirected(&words, "3</etc/passwd 4</etc 5</ 17</etc/passwd 200</proc/self 1000</").ok();
        assert_eq!(numbers(&out.answers()), [0, 1, 2]);
    });
}

#[test]
fn the_callers_open_files_do_not_leak_into_exec() {
    container_test(|t| {
        t.up(t.bundle());
        let out = t.call_redirected(&["exec", t.id(), "/payload", "fds"], "3</etc/passwd 9</ 99</etc").ok();
        assert_eq!(numbers(&out.answers()), [0, 1, 2]);
        t.delete_force();
    });
}

#[test]
fn preserve_fds_passes_that_many() {
    container_test(|t| {
        fs::write(t.dir().join("three"), "third").unwrap();
        fs::write(t.dir().join("four"), "fourth").unwrap();
        let bundle = t.bundle().asks(&["fds", "readfd 3", "readfd 4"]);
        let words = t.with_bundle("run", &bundle, &["--preserve-fds", "2"]);
        let a = t.call_redirected(&words, "3<three 4<four 5</etc/passwd").ok().answers();
        assert_eq!(numbers(&a), [0, 1, 2, 3, 4]);
        assert_eq!((&a["readfd 3"], &a["readfd 4"]), (&json!("third"), &json!("fourth")));
    });
}

#[test]
fn preserve_fds_of_exec() {
    container_test(|t| {
        t.up(t.bundle());
        fs::write(t.dir().join("three"), "third").unwrap();
        let words = ["exec", "--preserve-fds", "1", t.id(), "/payload", "fds", "readfd 3"];
        let a = t.call_redirected(&words, "3<three 4</etc/passwd").ok().answers();
        assert_eq!(numbers(&a), [0, 1, 2, 3]);
        assert_eq!(a["readfd 3"], "third");
        t.delete_force();
    });
}

#[test]
fn preserve_fds_that_are_not_open_are_an_error() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["fds"]);
        let words = t.with_bundle("run", &bundle, &["--preserve-fds", "3"]);
        let out = t.call_redirected(&words, "3</etc/passwd 4<&- 5<&-");
        differs!(t, Runc, "passes its own descriptors on as the caller's");
        differs!(t, Crun, "passes fewer without a word");
        out.fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn listen_fds_are_passed_with_their_variables() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["fds", "env"]);
        let words = t.with_bundle("run", &bundle, &[]);
        let mut command = t.redirected(&words, "3</etc/passwd 4</etc 5</");
        command.env("LISTEN_FDS", "2").env("LISTEN_FDNAMES", "http:control");
        let a = t.output(command).ok().answers();
        assert_eq!(numbers(&a), [0, 1, 2, 3, 4]);
        assert_eq!(a["env"]["LISTEN_FDS"], "2");
        assert_eq!(a["env"]["LISTEN_PID"], "1");
        differs!(t, Runc, "does not pass the names on");
        differs!(t, Crun, "does not pass the names on");
        assert_eq!(a["env"]["LISTEN_FDNAMES"], "http:control");
    });
}

#[test]
fn the_streams_are_those_of_the_caller() {
    container_test(|t| {
        let out = t.create(&t.bundle().asks(&["fds", "err x"])).ok();
        t.start().ok();
        t.until_stopped();
        t.delete().ok();
        let fds = out.answers()["fds"].clone();
        let nothing = fds["0"].as_str().unwrap();
        assert!(nothing == "/dev/null" || nothing.ends_with("/nothing"), "{fds}");
        // Files of the host, which have no name in the container.
        assert!(fds["1"].as_str().unwrap().contains("stdout"), "{fds}");
        assert!(fds["2"].as_str().unwrap().contains("stderr"), "{fds}");
    });
}

#[test]
fn closed_streams_are_no_trouble() {
    container_test(|t| {
        let data = t.scratch("data");
        fs::create_dir(&data).unwrap();
        let bundle = t.bundle().bind(&data, "/data", &[]).asks(&["write /data/ran x"]);
        let words = t.with_bundle("run", &bundle, &[]);
        t.call_redirected(&words, "0<&-").ok();
        assert!(data.join("ran").exists());
    });
}

#[test]
fn the_pidfd_socket_gets_the_process() {
    container_test(|t| {
        if !t.call(&["create", "--help"]).stdout().contains("pidfd-socket") {
            skip!("this runtime has no --pidfd-socket");
        }
        let listener = t.listener();
        let flags = ["--pidfd-socket", listener.path().to_str().unwrap()];
        t.create_with(&t.bundle().asks(&["wait-for TERM"]), &flags).ok();
        let (pidfd, _) = listener.receive();
        let number = std::os::fd::AsRawFd::as_raw_fd(&pidfd);
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap();
        assert!(info.contains(&format!("Pid:\t{}", t.pid())), "{info}");
        rustix::process::pidfd_send_signal(pidfd.as_fd(), rustix::process::Signal::KILL).unwrap();
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn the_pidfd_socket_of_exec() {
    container_test(|t| {
        if !t.call(&["exec", "--help"]).stdout().contains("pidfd-socket") {
            skip!("this runtime has no --pidfd-socket");
        }
        t.up(t.bundle());
        let listener = t.listener();
        let out = t
            .exec_with(&["--detach", "--pidfd-socket", listener.path().to_str().unwrap()], &["wait-for USR1"])
            .ok();
        let (pidfd, _) = listener.receive();
        t.until("ready", || out.stdout().contains("waiting"));
        rustix::process::pidfd_send_signal(pidfd.as_fd(), rustix::process::Signal::USR1).unwrap();
        t.until("the signal arrives", || out.stdout().contains("SIGUSR1"));
        t.delete_force();
    });
}

#[test]
fn no_directory_of_the_host_is_open_in_init() {
    container_test(|t| {
        // Before start the runtime's own child waits there; it may hold its fifos and directories of the
        // container, but none of a mount that is not the container's (CVE-2024-21626).
        t.create(&t.bundle()).ok();
        let pid = t.pid();
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        let own: Vec<&str> = mounts.lines().filter_map(|line| line.split(' ').next()).collect();
        let mut leaks = Vec::new();
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten() {
            let number = entry.file_name().into_string().unwrap();
            let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap_or_default();
            let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")).unwrap_or_default().trim();
            if fs::metadata(entry.path()).is_ok_and(|meta| meta.is_dir()) && !own.contains(&mount) {
                leaks.push(format!("{number} -> {}", fs::read_link(entry.path()).unwrap().display()));
            }
        }
        t.delete_force();
        assert!(leaks.is_empty(), "{leaks:?}");
    });
}
