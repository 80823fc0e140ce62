// SPDX-License-Identifier: Apache-2.0
//! NOTIFY_SOCKET: the supervisor of the runtime learns when the payload is ready (sd_notify(3)).
#![allow(clippy::unwrap_used)]

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use integration_test::{Flavor, Test, container_test, differs, skip};
use serde_json::json;

/// What systemd is to a service.
struct Supervisor {
    socket: UnixDatagram,
    address: String,
}

impl Supervisor {
    fn new(t: &Test) -> Self {
        let path = t.scratch("supervisor");
        Self::at(&SocketAddr::from_pathname(&path).unwrap(), path.to_str().unwrap())
    }

    fn at(address: &SocketAddr, name: &str) -> Self {
        let socket = UnixDatagram::bind_addr(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        Self { socket, address: name.to_owned() }
    }

    fn command(&self, t: &Test, words: &[&str]) -> Command {
        let mut command = t.command(words);
        command.env("NOTIFY_SOCKET", &self.address);
        command
    }

    /// Every line up to this one. A descriptor that comes with a message is closed at once.
    #[track_caller]
    fn until(&self, last: &str) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        while !lines.iter().any(|line| line == last) {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|e| panic!("{e} after {lines:?}"));
            lines.extend(String::from_utf8_lossy(&bytes[..length]).lines().map(str::to_owned));
        }
        lines
    }

    fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        self.socket.recv(&mut [0; 100]).is_err()
    }
}

const WORDS: [&str; 6] =
    ["notify STATUS=half", "notify MAINPID=1", "wait-for USR1", "notify READY=1", "barrier", "wait-for TERM"];

#[test]
fn start_waits_until_the_payload_is_ready() {
    container_test(|t| {
        differs!(t, Runc, "1.1 sends no barrier");
        differs!(t, Crun, "1.8 creates no such container here, or tells nobody");
        let supervisor = Supervisor::new(t);
        let bundle = t.bundle().writable().asks(&WORDS);
        let out = t.output(supervisor.command(t, &t.with_bundle("create", &bundle, &[]))).ok();
        let mut start = t.start_command(supervisor.command(t, &["start", t.id()]));
        t.until("the payload waits", || out.stdout().contains("waiting"));
        // Others may have to do with the container meanwhile.
        assert_eq!(t.status(), "running");
        assert!(!start.ended());
        t.kill("USR1").ok();
        let mut lines = supervisor.until("BARRIER=1");
        lines.sort();
        assert_eq!(lines, ["BARRIER=1".to_owned(), format!("MAINPID={}", t.pid()), "READY=1".to_owned()]);
        start.wait().ok();
        t.delete_force();
    });
}

#[test]
fn a_run_in_the_background_waits_too() {
    container_test(|t| {
        differs!(t, Runc, "1.1 sends no barrier");
        differs!(t, Crun, "1.8 creates no such container here, or tells nobody");
        let supervisor = Supervisor::new(t);
        let bundle = t.bundle().writable().asks(&["notify READY=1", "wait-for TERM"]);
        let run = t.start_command(supervisor.command(t, &t.with_bundle("run", &bundle, &["--detach"])));
        assert!(supervisor.until("BARRIER=1").contains(&"READY=1".to_owned()));
        run.wait().ok();
        t.delete_force();
    });
}

#[test]
fn a_run_in_the_foreground_tells_and_goes_on() {
    container_test(|t| {
        differs!(t, Crun, "1.8 creates no such container here, or tells nobody");
        let supervisor = Supervisor::new(t);
        let words = ["notify READY=1", "sleep 50", "barrier", "notify READY=1", "barrier", "sleep 50"];
        let bundle = t.bundle().writable().asks(&words);
        let run = t.start_command(supervisor.command(t, &t.with_bundle("run", &bundle, &[])));
        supervisor.until("READY=1");
        let a = run.wait().ok().answers();
        differs!(t, Runc, "reads no more after READY=1, so that a barrier is waited for in vain");
        assert_eq!(a["barrier"], true);
        // Once is enough.
        assert!(supervisor.is_silent());
    });
}

#[test]
fn every_user_of_a_container_can_tell() {
    container_test(|t| {
        differs!(t, Crun, "1.8 creates no such container here, or tells nobody");
        let supervisor = Supervisor::new(t);
        let user = json!({ "uid": 1000, "gid": 1000 });
        t.before(&["sh", "-c", "umask 077; exec \"$0\" \"$@\""]);
        for bundle in [t.bundle(), t.bundle().userns()] {
            let bundle = bundle.writable().set("/process/user", user.clone()).dir_in_root("/run/notify");
            let bundle = bundle.asks(&[
                "notify READY=1",
                "unlink /run/notify/notify.sock",
                "stat /run/notify/notify.sock",
            ]);
            let run = t.start_command(supervisor.command(t, &t.with_bundle("run", &bundle, &[])));
            supervisor.until("READY=1");
            let a = run.wait().ok().answers();
            let socket = &a["stat /run/notify/notify.sock"];
            assert_eq!((&socket["type"], &socket["mode"]), (&json!("socket"), &json!("0777")));
            assert_eq!(a["unlink /run/notify/notify.sock"]["error"], "EROFS");
        }
    });
}

#[test]
fn a_payload_that_ends_without_a_word() {
    container_test(|t| {
        differs!(t, Crun, "1.8 creates no such container here, or tells nobody");
        let supervisor = Supervisor::new(t);
        let bundle = t.bundle().writable().asks(&["pid"]);
        t.output(supervisor.command(t, &t.with_bundle("create", &bundle, &[]))).ok();
        t.output(supervisor.command(t, &["start", t.id()])).ok();
        assert!(supervisor.is_silent());
        t.delete_force();
    });
}

#[test]
fn an_abstract_address() {
    container_test(|t| {
        differs!(t, Crun, "1.8 creates no such container here, or tells nobody");
        let name = t.named("supervisor");
        let supervisor = Supervisor::at(&SocketAddr::from_abstract_name(&name).unwrap(), &format!("@{name}"));
        let bundle = t.bundle().writable().asks(&["notify READY=1"]);
        t.output(supervisor.command(t, &t.with_bundle("run", &bundle, &[]))).ok();
        supervisor.until("READY=1");
    });
}

#[test]
fn without_a_supervisor_nothing_is_there() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["env", "stat /run/notify"]);
        assert_eq!(
            (&a["env"]["NOTIFY_SOCKET"], &a["stat /run/notify"]["error"]),
            (&json!(null), &json!("ENOENT"))
        );
    });
}

#[test]
fn a_supervisor_that_is_gone_is_an_error() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("the others start the payload first");
        }
        let supervisor = Supervisor::new(t);
        let bundle = t.bundle().writable().asks(&["pid"]);
        t.output(supervisor.command(t, &t.with_bundle("create", &bundle, &[]))).ok();
        std::fs::remove_file(PathBuf::from(&supervisor.address)).unwrap();
        let says = t.output(supervisor.command(t, &["start", t.id()])).fails();
        assert!(says.contains("NOTIFY_SOCKET: connect("), "{says}");
        assert_eq!(t.status(), "created");
        // Without it there is nobody to be told, and that is no error.
        t.start().ok();
        t.delete_force();
    });
}
