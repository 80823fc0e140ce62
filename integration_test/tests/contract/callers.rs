// SPDX-License-Identifier: Apache-2.0
//! The command lines that each engine types.

use integration_test::{Bundle, Flavor};
use serde_json::json;

use crate::Is::{Absent, Created, Paused, Running, Stopped};
use crate::Sees::{Json, LogEmpty, LogError, NoFile, PidFile, Pidfd, Says, Silence, Status, Terminal, That};
use crate::{Seen, limit, row, table};

/// A container on a terminal.
fn terminal(bundle: Bundle) -> Bundle {
    bundle.set("/process/terminal", true).asks(&["wait-for TERM"])
}

/// A container that ends by itself, with 7.
fn seven(bundle: Bundle) -> Bundle {
    bundle.asks(&["exit 7"])
}

/// A container whose program is not there.
fn no_program(bundle: Bundle) -> Bundle {
    bundle.args(&["/no/such/program"])
}

/// `ps --format json` is the list of the host's process ids.
fn pids_of_init(seen: &Seen<'_>) {
    assert_eq!(seen.json(), json!([seen.t.pid()]));
}

/// The update has come to the kernel.
fn limited(seen: &Seen<'_>) {
    let (_, controller, file, value) = limit();
    assert_eq!(seen.t.limit(controller, file).as_deref(), Some(value));
}

#[test]
fn containerd() {
    let line = |rest: &str| {
        format!("--root {{root}} --log {{bundle}}/log.json --log-format json {{systemd}} {rest}")
    };
    let c = |is, rest: &str| row("containerd", is, line(rest));
    let create = "create --bundle {bundle} --pid-file {bundle}/init.pid";
    table(
        "containerd",
        vec![
            c(Absent, &format!("{create} {{id}}")).sees([
                Status("created"),
                PidFile("{bundle}/init.pid", true),
                Silence,
                LogEmpty,
            ]),
            c(Absent, &format!("{create} --console-socket {{console}} {{id}}"))
                .with(terminal)
                .sees([Status("created"), Silence, Terminal]),
            c(Absent, &format!("{create} --pidfd-socket {{pidfd}} {{id}}"))
                .ours("has no --pidfd-socket")
                .sees([Pidfd, Status("created"), Silence]),
            c(Absent, &format!("{create} --no-pivot --no-new-keyring {{id}}")).sees([Status("created"), Silence]),
            c(Absent, &format!("{create} --preserve-fds 2 {{id}}"))
                .redirected("3</dev/null 4</dev/null")
                .sees([Status("created"), Silence]),
            c(Absent, &format!("{create} {{id}}")).with(no_program).exits(1).sees([
                LogError("exec: \"/no/such/program\": stat /no/such/program: no such file or directory"),
                Says(&["/no/such/program"]),
                NoFile("{bundle}/init.pid"),
                Status("absent"),
            ]),
            c(Created, "start {id}").sees([Status("running"), Silence, LogEmpty]),
            c(Running, "state {id}").sees([Json("/id", "{id}"), Json("/status", "running"), Json("/bundle", "{bundle}")]),
            c(Stopped, "state {id}").sees([Json("/status", "stopped"), Json("/pid", "0")]),
            c(Absent, "state {id}").exits(1).sees([LogError("does not exist"), Says(&["does not exist"])]),
            c(Running, "kill {id} 9").sees([Silence, Status("stopped")]),
            c(Running, "kill --all {id} 9").sees([Silence, Status("stopped")]),
            c(Stopped, "kill {id} 9").exits(1).sees([LogError("container not running")]),
            c(Absent, "kill {id} 9").exits(1).sees([LogError("does not exist")]),
            c(Stopped, "kill --all {id} 9").differs(Flavor::Crun, "1.8 refuses it").sees([Status("stopped")]),
            c(Stopped, "delete {id}").sees([Silence, Status("absent")]),
            c(Absent, "delete {id}").exits(1).sees([LogError("does not exist")]),
            c(Running, "delete --force {id}").sees([Silence, Status("absent")]),
            c(Absent, "delete --force {id}").sees([Status("absent")]),
            c(Running, "pause {id}").sees([Silence, Status("paused")]),
            c(Paused, "resume {id}").sees([Silence, Status("running")]),
            c(Running, "ps --format json {id}").sees([That(pids_of_init)]),
            c(Running, "exec --process {process} --detach --pid-file {bundle}/e.pid {id}")
                .sees([PidFile("{bundle}/e.pid", false)]),
            c(
                Running,
                "exec --process {tty-process} --console-socket {console} --detach --pid-file {bundle}/e.pid {id}",
            )
            .sees([PidFile("{bundle}/e.pid", false), Terminal, Silence]),
            c(Running, "exec --process {process} --pidfd-socket {pidfd} --detach --pid-file {bundle}/e.pid {id}")
                .ours("has no --pidfd-socket")
                .sees([Pidfd, PidFile("{bundle}/e.pid", false)]),
            c(Running, "update --resources=- {id}").stdin("{resources}").differs(Flavor::Runc, "update passes over huge pages").sees([Silence, That(limited)]),
            c(Absent, "features").differs(Flavor::Crun, "1.8 has no features").sees([That(crate::features::what_cri_reads)]),
            row("containerd", Absent, "--version").sees([That(crate::features::version)]),
        ],
    );
}

#[test]
fn buildkit() {
    let b = |is, rest: &str| {
        row(
            "buildkit",
            is,
            format!("--root {{root}} --log {{bundle}}/log.json --log-format json {{systemd}} {rest}"),
        )
    };
    table(
        "buildkit",
        vec![
            b(Absent, "run --bundle {bundle} --keep {id}")
                .with(seven)
                .exits(7)
                .sees([Status("stopped"), LogEmpty]),
            b(Absent, "run --bundle {bundle} --no-pivot {id}")
                .with(seven)
                .exits(7)
                .sees([Status("absent"), LogEmpty]),
            b(Absent, "run --bundle {bundle} {id}").with(no_program).exits(1).sees([
                LogError("exec: \"/no/such/program\": stat /no/such/program: no such file or directory"),
                Status("absent"),
            ]),
            b(Running, "exec --process {short} --pid-file {bundle}/e.pid {id}").exits(3).sees([LogEmpty]),
            b(Stopped, "delete {id}").sees([Silence, Status("absent")]),
            b(Running, "state {id}").sees([Json("/status", "running")]),
            b(Running, "kill {id} 15").sees([Silence, Status("stopped")]),
        ],
    );
}

#[test]
fn podman() {
    // Its environment has XDG_RUNTIME_DIR, and PATH at times.
    let p = |is, rest: &str| row("podman", is, format!("--root {{root}} {{systemd}} {rest}")).bare();
    table(
        "podman",
        vec![
            p(Created, "start {id}").sees([Silence, Status("running")]),
            p(Running, "pause {id}").sees([Silence, Status("paused")]),
            p(Paused, "resume {id}").sees([Silence, Status("running")]),
            p(Running, "delete --force {id}").sees([Silence, Status("absent")]),
            p(Absent, "delete --force {id}").sees([Status("absent")]),
            p(Running, "kill {id} 15").sees([Silence, Status("stopped")]),
            p(Running, "kill --all {id} 9").sees([Silence, Status("stopped")]),
            p(Running, "update --resources={resources} {id}")
                .differs(Flavor::Runc, "update passes over huge pages")
                .sees([Silence, That(limited)]),
            // It says so itself where a runtime flag is wrong, and looks for the flag's name.
            row("podman", Absent, "--invalidflag --root {root} delete --force {id}")
                .fails()
                .sees([Says(&["invalidflag"])]),
            row("podman", Absent, "--version").bare().sees([That(crate::features::version)]),
        ],
    );
}

#[test]
fn conmon() {
    let c = |is, rest: &str| {
        row(
            "conmon",
            is,
            format!("--root {{root}} {{systemd}} --log-format=json --log {{bundle}}/log.json {rest}"),
        )
    };
    let create = "create --bundle {bundle} --pid-file {bundle}/pidfile";
    table(
        "conmon",
        vec![
            c(Absent, &format!("{create} {{id}}")).sees([Status("created"), PidFile("{bundle}/pidfile", true), LogEmpty]),
            c(Absent, &format!("{create} --no-pivot --no-new-keyring --preserve-fds 1 {{id}}"))
                .redirected("3</dev/null")
                .sees([Status("created"), PidFile("{bundle}/pidfile", true)]),
            c(Absent, &format!("{create} --console-socket {{console}} {{id}}"))
                .with(terminal)
                .sees([Status("created"), Terminal]),
            c(Absent, &format!("--cgroup-manager disabled {create} {{id}}"))
                .with(|bundle| bundle.remove("/linux/resources").asks(&["wait-for TERM"]))
                .differs(Flavor::Runc, "has no --cgroup-manager")
                .sees([Status("created"), That(in_no_group)]),
            c(Absent, &format!("{create} {{id}}"))
                .with(no_program)
                .exits(1)
                .sees([LogError("no such file or directory"), NoFile("{bundle}/pidfile")]),
            row("conmon", Running, "--root {root} exec --pid-file {bundle}/e.pid --process {process} --detach {id}")
                .sees([PidFile("{bundle}/e.pid", false)]),
            row("conmon", Running, "--root {root} exec --pid-file {bundle}/e.pid --process {process} --detach --preserve-fds 1 {id}")
                .redirected("3</dev/null")
                .sees([PidFile("{bundle}/e.pid", false)]),
            row(
                "conmon",
                Running,
                "--root {root} exec --pid-file {bundle}/e.pid --process {tty-process} --detach --console-socket {console} {id}",
            )
            .sees([PidFile("{bundle}/e.pid", false), Terminal]),
            // Without a pid file it knows that exec itself has failed.
            row("conmon", Running, "--root {root} exec --pid-file {bundle}/e.pid --process {missing} --detach {id}")
                .exits(255)
                .differs(Flavor::Crun, "ends with 1")
                .sees([NoFile("{bundle}/e.pid"), Says(&["no such file or directory"])]),
        ],
    );
}

/// No group has the container's name.
fn in_no_group(seen: &Seen<'_>) {
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", seen.t.pid())).unwrap();
    assert!(!groups.contains(seen.t.id()), "{groups}");
}

#[test]
fn cri_o() {
    let c = |is, rest: &str| row("CRI-O", is, format!("--root {{root}} {{systemd}} {rest}"));
    table(
        "cri_o",
        vec![
            c(Created, "start {id}").sees([Silence, Status("running")]),
            c(Running, "state {id}").sees([Json("/status", "running")]),
            c(Running, "pause {id}").sees([Status("paused")]),
            c(Paused, "resume {id}").sees([Status("running")]),
            c(Running, "delete --force {id}").sees([Silence, Status("absent")]),
            c(Running, "kill {id} 15").sees([Silence, Status("stopped")]),
            c(Running, "kill -a {id} 9").sees([Silence, Status("stopped")]),
            c(Stopped, "kill {id} 15").fails().sees([Says(&["container not running"])]),
            c(Running, "update --resources - {id}")
                .stdin("{resources}")
                .differs(Flavor::Runc, "update passes over huge pages")
                .sees([That(limited)]),
            c(Running, "exec --process {short} {id}").exits(3),
            row("CRI-O", Running, "--root={root} state {id}").sees([Json("/status", "running")]),
            c(Absent, "features")
                .differs(Flavor::Crun, "1.8 has no features")
                .sees([That(crate::features::what_cri_reads)]),
        ],
    );
}

#[test]
fn conmon_rs() {
    // The global flags stand there twice.
    let global = "--root={root} {systemd} --root={root} {systemd}";
    let c = |is, rest: &str| row("conmon-rs", is, format!("{global} {rest}"));
    table(
        "conmon_rs",
        vec![
            c(Absent, "create --bundle {bundle} --pid-file {bundle}/pidfile {id}")
                .sees([Status("created"), PidFile("{bundle}/pidfile", true)]),
            c(Absent, "create --bundle {bundle} --pid-file {bundle}/pidfile --console-socket={console} {id}")
                .with(terminal)
                .sees([Status("created"), Terminal]),
            c(Running, "exec -d --pid-file={bundle}/e.pid {id} /payload wait-for~USR1")
                .sees([PidFile("{bundle}/e.pid", false)]),
            c(Running, "exec -d --console-socket={console} --tty --pid-file={bundle}/e.pid {id} /payload wait-for~USR1")
                .sees([PidFile("{bundle}/e.pid", false), Terminal]),
            row("conmon-rs", Absent, "--root=/absent --root={root} {systemd} create --bundle {bundle} {id}")
                .sees([Status("created")]),
        ],
    );
}

#[test]
fn buildah() {
    let b = |is, rest: &str| row("buildah", is, format!("--root {{root}} {{systemd}} {rest}"));
    table(
        "buildah",
        vec![
            b(Absent, "create --bundle {bundle} --pid-file {bundle}/pid {id}")
                .sees([Status("created"), PidFile("{bundle}/pid", true)]),
            b(Absent, "create --bundle {bundle} --pid-file {bundle}/pid --no-pivot {id}")
                .sees([Status("created")]),
            b(Created, "start {id}").sees([Status("running")]),
            b(Running, "state {id}").sees([Json("/status", "running")]),
            b(Running, "kill {id}").sees([Silence, Status("stopped")]),
            b(Running, "kill {id} SIGTERM").sees([Silence, Status("stopped")]),
            b(Stopped, "delete {id}").sees([Silence, Status("absent")]),
        ],
    );
}

#[test]
fn runtime_tools() {
    let r = |is, rest: &str| row("runtime-tools", is, format!("--root {{root}} {{systemd}} {rest}"));
    table(
        "runtime_tools",
        vec![
            r(Absent, "create --pid-file {dir}/pid --bundle {bundle} {id}")
                .sees([Status("created"), PidFile("{dir}/pid", true)]),
            r(Absent, "create {id}").sees([Status("created")]),
            r(Absent, "create").fails(),
            r(Absent, "create --bundle {bundle}").fails(),
            r(Created, "create --bundle {bundle} {id}")
                .fails()
                .sees([Says(&["container with given ID already exists"]), Status("created")]),
            r(Created, "start {id}").sees([Status("running")]),
            r(Running, "start {id}").fails().sees([Status("running")]),
            r(Absent, "start").fails(),
            r(Absent, "start {id}").fails(),
            r(Running, "state {id}").sees([Json("/status", "running")]),
            r(Absent, "state").fails(),
            r(Absent, "state {id}").fails(),
            r(Running, "kill {id} KILL").sees([Status("stopped")]),
            r(Created, "kill {id} KILL").sees([Status("stopped")]),
            r(Absent, "kill {id} KILL").fails(),
            r(Absent, "kill").fails(),
            r(Stopped, "delete {id}").sees([Status("absent")]),
            r(Running, "delete {id}").fails().sees([Status("running")]),
            r(Absent, "delete").fails(),
            r(Absent, "delete {id}").fails(),
            r(Running, "delete --force {id}").sees([Status("absent")]),
        ],
    );
}
