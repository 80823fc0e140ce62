// SPDX-License-Identifier: Apache-2.0
//! The texts and the exit statuses that callers look for.

use std::fs;

use integration_test::{Bundle, Flavor, Host, by_systemd, controllers, differs, ordinary_test, skip};
use serde_json::json;

use crate::Is::{Absent, Created, Paused, Running, Stopped};
use crate::Sees::{Says, Status, That};
use crate::{Row, Seen, limit, row, table};

fn r(who: &'static str, is: crate::Is, rest: &str) -> Row {
    row(who, is, format!("--root {{root}} {rest}"))
}

/// A create that fails with these words.
fn create(who: &'static str, with: fn(Bundle) -> Bundle, says: &'static [&'static str]) -> Row {
    r(who, Absent, "create --bundle {bundle} {id}").with(with).exits(1).sees([Says(says), Status("absent")])
}

/// moby and podman choose 126, 127 or 128 by words of the message; podman's own tests want the
/// program's name before them.
#[test]
fn programs_that_cannot_be_run() {
    table(
        "programs",
        vec![
            create(
                "moby: 127",
                |b| b.args(&["/no/such/program"]),
                &["exec: \"/no/such/program\": stat /no/such/program: no such file or directory"],
            ),
            create(
                "podman: 127",
                |b| b.args(&["no-such-program"]),
                &["exec: \"no-such-program\": executable file not found in $PATH"],
            ),
            create("podman: empty", |b| b.args(&[""]), &["exec: \"\": executable file not found in $PATH"]),
            create(
                "moby: 126",
                |b| b.args(&["/etc"]).dir_in_root("/etc"),
                &["exec: \"/etc\": is a directory: permission denied"],
            ),
            create(
                "moby: 126",
                |b| b.args(&["/plain"]).file("/plain", "x"),
                &["exec: \"/plain\": permission denied"],
            ),
            create("moby: 127", |b| b.file("/file", "x").args(&["/file/program"]), &["not a directory"]),
            create(
                "moby: 127",
                |b| b.file("/file", "x").bind("/proc", "/file", &["rbind"]),
                &["not a directory", "/file"],
            ),
            create(
                "moby: 127",
                |b| b.bind("/no/such/source", "/mnt", &["bind"]),
                &["no such file or directory", "/no/such/source"],
            ),
            create("runc's tests", |b| b.args(&[]), &["process.args must not be empty"]),
            create("runc's tests", |b| b.remove("/root"), &["root must be specified"]),
            create(
                "podman",
                |b| b.set("/process/terminal", true),
                &["cannot allocate tty if runc will detach without setting console socket"],
            ),
            r("runc's tests", Absent, "create --bundle {dir} {id}")
                .exits(1)
                .sees([Says(&["JSON specification file config.json not found"])]),
            r("moby: 127", Running, "exec {id} /no/such/program")
                .exits(255)
                .differs(Flavor::Crun, "ends with 1")
                .sees([
                    Says(&["exec: \"/no/such/program\": stat /no/such/program: no such file or directory"]),
                    Status("running"),
                ]),
            r("podman: 127", Running, "exec {id} no-such-program")
                .exits(255)
                .differs(Flavor::Crun, "ends with 1")
                .sees([Says(&["exec: \"no-such-program\": executable file not found in $PATH"])]),
            r("moby: 126", Running, "exec {id} /sys")
                .exits(255)
                .differs(Flavor::Crun, "ends with 1")
                .sees([Says(&["exec: \"/sys\": is a directory: permission denied"])]),
        ],
    );
}

/// Wrong orders: what containerd, CRI-O and runc's own tests look for.
#[test]
fn wrong_states() {
    let mut rows = vec![
        r("runc's tests", Created, "create --bundle {bundle} {id}")
            .exits(1)
            .sees([Says(&["container with given ID already exists"])]),
        r("runc's tests", Running, "run --bundle {bundle} {id}")
            .exits(1)
            .sees([Says(&["container with given ID already exists"]), Status("running")]),
        r("runc's tests", Absent, "create --bundle {bundle} ..")
            .exits(1)
            .sees([Says(&["invalid container ID format"])]),
        r("runc's tests", Absent, "create --bundle {bundle} a/b")
            .exits(1)
            .sees([Says(&["invalid container ID format"])]),
        r("runc's tests", Running, "start {id}")
            .exits(1)
            .sees([Says(&["cannot start an already running container"])]),
        r("runc's tests", Stopped, "start {id}")
            .exits(1)
            .sees([Says(&["cannot start a container that has stopped"])]),
        r("CRI-O", Stopped, "kill {id} 15").exits(1).sees([Says(&["container not running"])]),
        r("containerd", Stopped, "kill {id} 9").exits(1).sees([Says(&["container not running"])]),
        r("runc's tests", Stopped, "exec {id} /payload")
            .exits(255)
            .differs(Flavor::Crun, "ends with 1")
            .sees([Says(&["cannot exec in a stopped container"])]),
        r("runc's tests", Stopped, "pause {id}").exits(1).sees([Says(&["container not running"])]),
        r("runc's tests", Stopped, "resume {id}").exits(1).sees([Status("stopped")]),
        r("runc's tests", Running, "resume {id}").exits(1).sees([Status("running")]),
        r("runc's tests", Running, "delete {id}")
            .exits(1)
            .sees([Says(&["cannot delete container {id} that is not stopped: running"]), Status("running")]),
    ];
    for (line, code) in [
        ("state {id}", 1),
        ("start {id}", 1),
        ("kill {id} 9", 1),
        ("delete {id}", 1),
        ("pause {id}", 1),
        ("resume {id}", 1),
        ("ps {id}", 1),
        ("update --resources {resources} {id}", 1),
        ("exec {id} /payload", 255),
    ] {
        let row = r("containerd", Absent, line).exits(code).sees([Says(&["container does not exist"])]);
        rows.push(if code == 255 { row.differs(Flavor::Crun, "ends with 1") } else { row });
    }
    rows.push(
        r("runc's tests", Paused, "exec {id} /payload").exits(255).differs(Flavor::Crun, "ends with 1").sees(
            [
                Says(&["cannot exec in a paused container (use --ignore-paused to override)"]),
                Status("paused"),
            ],
        ),
    );
    table("states", rows);
}

/// Makes the group that the container is to have, and freezes it.
fn frozen_group(seen: &Seen<'_>) {
    let (tree, file, word) = freezer();
    let group = Host::here().cgroup(tree, seen.t.id());
    fs::create_dir(&group).unwrap();
    fs::write(group.join(file), word).unwrap();
}

fn thaw(seen: &Seen<'_>) {
    let (tree, file, word) = freezer();
    let group = Host::here().cgroup(tree, seen.t.id());
    fs::write(group.join(file), if word == "1" { "0" } else { "THAWED" }).unwrap();
    fs::remove_dir(group).unwrap();
}

fn freezer() -> (&'static str, &'static str, &'static str) {
    match Host::here() {
        Host::V1 => ("freezer", "freezer.state", "FROZEN"),
        Host::V2 => ("", "cgroup.freeze", "1"),
    }
}

#[test]
fn groups() {
    let mut rows = vec![
        r("runc's tests", Running, "exec --cgroup ../x {id} /payload")
            .exits(255)
            .differs(Flavor::Crun, "1.8 takes the path of a group for all of the host")
            .sees([Says(&["bad sub cgroup path"])]),
        r("runc's tests", Running, "exec --cgroup nonsense:/x {id} /payload")
            .exits(255)
            .differs(Flavor::Crun, "1.8 takes the path of a group for all of the host")
            .sees([Says(&["unknown controller nonsense"])]),
    ];
    // systemd makes the groups under names of its own choice, and empty ones do not stay.
    if !by_systemd() {
        rows.push(
            r("runc's tests", Running, "create --bundle {bundle} {id}-b")
                .exits(1)
                .ours("the released ones take it")
                .sees([Says(&["container's cgroup is not empty"])]),
        );
        rows.push(
            r("runc's tests", Absent, "create --bundle {bundle} {id}")
                .first(frozen_group)
                .exits(1)
                .ours("the released ones wait for ever, or take it")
                .sees([Says(&["container's cgroup unexpectedly frozen"]), That(thaw)]),
        );
        if controllers().iter().any(|name| name == "memory") {
            rows.push(
                r("runc's tests", Absent, "run --bundle {bundle} {id}")
                    .with(|b| b.set("/linux/resources/memory", json!({ "limit": 4096 })))
                    .fails()
                    .sees([Says(&["container init was OOM-killed (memory limit too low?)"])]),
            );
        }
    }
    table("groups", rows);
}

#[test]
fn an_ordinary_user_without_a_right_to_groups() {
    ordinary_test(|t, user| {
        if user.has_cgroups() {
            skip!("this user's group is its own");
        }
        differs!(t, Crun, "drops limits in silence");
        let (resources, ..) = limit();
        let says = t.create(&user.bundle(t).set("/linux/resources", resources)).fails();
        let words = "rootless needs no limits + no cgrouppath when no permission is granted for cgroups";
        let others = "container could not join or create cgroup";
        assert!(says.contains(words) || t.flavor() == Flavor::Runc && says.contains(others), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
        let named = user.bundle(t).set("/linux/cgroupsPath", format!("/{}", t.id()));
        let says = t.create(&named.remove("/linux/resources")).fails();
        assert!(
            says.contains("unable to apply cgroup configuration") && says.contains("permission denied"),
            "{says}"
        );
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn exit_statuses() {
    table(
        "statuses",
        vec![
            r("run", Absent, "run --bundle {bundle} {id}").with(|b| b.asks(&["exit 0"])),
            r("run", Absent, "run --bundle {bundle} {id}").with(|b| b.asks(&["exit 126"])).exits(126),
            r("run", Absent, "run --bundle {bundle} {id}").with(|b| b.asks(&["exit 255"])).exits(255),
            // Without a pid namespace of its own, process 1 dies of its own signals.
            r("run", Absent, "run --bundle {bundle} {id}")
                .with(|b| b.namespace("pid", false).asks(&["kill 0 KILL"]))
                .exits(128 + 9),
            r("run", Absent, "run --bundle {bundle} {id}")
                .with(|b| b.namespace("pid", false).asks(&["kill 0 TERM"]))
                .exits(128 + 15),
            r("run", Absent, "run --bundle {bundle} {id}").with(|b| b.args(&["/no"])).exits(1),
            r("exec", Running, "exec {id} /payload exit~0"),
            r("exec", Running, "exec {id} /payload exit~3").exits(3),
            r("exec", Running, "exec {id} /payload kill~0~KILL").exits(128 + 9),
            r("exec", Running, "exec {id} /payload kill~0~TERM").exits(128 + 15),
            r("exec", Running, "exec --cwd /absent {id} /payload")
                .exits(255)
                .differs(Flavor::Crun, "ends with 1"),
            r("kill --all", Stopped, "kill --all {id} 9").differs(Flavor::Crun, "1.8 refuses it"),
            r("delete --force", Absent, "delete --force {id}"),
            row("usage", Absent, "")
                .fails()
                .sees([Says(&["no command given"])])
                .differs(Flavor::Runc, "prints its help"),
            row("usage", Absent, "frobnicate")
                .fails()
                .sees([Says(&["unknown command \"frobnicate\""])])
                .differs(Flavor::Runc, "1.1 says it and succeeds"),
            r("usage", Absent, "state --nonsense {id}")
                .fails()
                .sees([Says(&["flag provided but not defined: --nonsense"])]),
            r("usage", Absent, "state").fails(),
            r("usage", Absent, "state a b").fails(),
            r("usage", Absent, "create --bundle").fails().sees([Says(&["flag needs an argument: --bundle"])]),
            r("usage", Absent, "kill {id} NOSUCH").fails(),
            row("usage", Absent, "--root / state {id}").fails().sees([Says(&["--root must not be /"])]),
        ],
    );
}
