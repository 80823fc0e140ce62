// SPDX-License-Identifier: Apache-2.0
//! Every flag that some runtime has and somebody types: what runc, crun and youki take between them.

use std::fs;

use integration_test::{Flavor, by_systemd, controllers};

use crate::Is::{Absent, Created, Paused, Running, Stopped};
use crate::Sees::{Json, LogEmpty, Out, PidFile, Pidfd, Says, Silence, Status, Terminal, That};
use crate::{Row, Seen, is_rfc3339, row, table};

fn r(is: crate::Is, rest: &str) -> Row {
    row("flag", is, format!("--root {{root}} {rest}"))
}

/// What stood in the log before.
const BEFORE: &str = "before\n";

fn a_line_in_the_log(seen: &Seen<'_>) {
    fs::write(seen.bundle.dir().join("log.json"), BEFORE).unwrap();
}

/// The log goes on from what was there.
fn appended(seen: &Seen<'_>) {
    let log = seen.log();
    let new = log.strip_prefix(BEFORE).unwrap_or_else(|| panic!("{log}"));
    assert!(new.contains("does not exist"), "{log}");
}

/// Each line is an object that engines can read.
fn a_trace(seen: &Seen<'_>) {
    let log = seen.log();
    assert!(log.lines().count() > 1, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["msg"].is_string() && line["level"] == line["level"].as_str().unwrap().to_lowercase());
        assert!(is_rfc3339(line["time"].as_str().unwrap()), "{line}");
    }
}

#[test]
fn before_the_command() {
    let in_its_group = if by_systemd() { "--systemd-cgroup" } else { "--systemd-cgroup=false" };
    let mut rows = vec![
        row("flag", Running, "--root={root} state {id}").sees([Json("/status", "running")]),
        row("flag", Running, "-root {root} state {id}").sees([Json("/status", "running")]),
        row("flag", Running, "--root /absent --root {root} state {id}").sees([Json("/status", "running")]),
        r(Absent, "--log {bundle}/log.json state {id}")
            .exits(1)
            .first(a_line_in_the_log)
            .sees([That(appended)]),
        r(Running, "--log {bundle}/log.json --log-format text state {id}").sees([LogEmpty]),
        r(
            Absent,
            "{systemd} --debug --log {bundle}/log.json --log-format json create --bundle {bundle} {id}",
        )
        .sees([That(a_trace), Status("created")]),
        r(Running, "--systemd-cgroup=true --systemd-cgroup=false state {id}")
            .sees([Json("/status", "running")]),
        r(Absent, &format!("{in_its_group} create --bundle {{bundle}} {{id}}")).sees([Status("created")]),
        r(Running, "--criu /usr/sbin/criu state {id}")
            .differs(Flavor::Crun, "has no --criu")
            .sees([Json("/status", "running")]),
        row("flag", Absent, "-v").sees([Out(&["spec: "])]),
        row("flag", Absent, "--version").sees([Out(&["spec: "])]),
        row("flag", Absent, "-V").differs(Flavor::Runc, "has no -V").sees([Out(&["spec: "])]),
        row("flag", Absent, "--help").sees([Out(&["create"])]),
        row("flag", Absent, "-h").differs(Flavor::Crun, "has no -h").sees([Out(&["create"])]),
        row("flag", Absent, "--root / list")
            .differs(Flavor::Runc, "1.1 takes it")
            .fails()
            .sees([Says(&["--root must not be /"])]),
        row("flag", Absent, "--root").fails().sees([Says(&["flag needs an argument: --root"])]),
        row("flag", Absent, "--systemd-cgroup=perhaps list").fails().sees([Says(&["--systemd-cgroup"])]),
    ];
    for level in ["error", "warning", "debug"] {
        rows.push(
            r(Running, &format!("--log-level {level} state {{id}}"))
                .differs(Flavor::Runc, "has no --log-level")
                .sees([Json("/status", "running")]),
        );
    }
    for when in ["false", "auto"] {
        rows.push(
            r(Absent, &format!("{{systemd}} --rootless={when} create --bundle {{bundle}} {{id}}"))
                .differs(Flavor::Crun, "1.8 has no --rootless")
                .sees([Status("created")]),
        );
    }
    for manager in ["cgroupfs", "systemd", "disabled"] {
        rows.push(
            r(Running, &format!("--cgroup-manager {manager} state {{id}}"))
                .differs(Flavor::Runc, "has no --cgroup-manager")
                .sees([Json("/status", "running")]),
        );
    }
    table("before", rows);
}

fn usage(seen: &Seen<'_>) {
    assert!(seen.stdout().to_lowercase().contains("usage"), "{}", seen.stdout());
}

#[test]
fn help_of_every_command() {
    let mut rows = Vec::new();
    for verb in [
        "create",
        "start",
        "state",
        "kill",
        "delete",
        "run",
        "exec",
        "list",
        "ps",
        "pause",
        "resume",
        "update",
        "checkpoint",
        "restore",
        "spec",
    ] {
        // podman takes status 0 of `checkpoint --help` for the ability.
        rows.push(row("help", Absent, format!("{verb} --help")).sees([That(usage)]));
    }
    for verb in ["events", "features"] {
        let row = row("help", Absent, format!("{verb} --help"));
        rows.push(row.differs(Flavor::Crun, "1.8 has no such command").sees([That(usage)]));
    }
    // Podman asks so whether restore can do it.
    rows.push(
        row("podman", Absent, "restore --lsm-mount-context")
            .fails()
            .sees([Says(&["flag needs an argument"])]),
    );
    table("help", rows);
}

/// The other configuration: a container that ends with 9.
fn nine(seen: &Seen<'_>) {
    let text = seen.bundle.spec().to_string().replace("exit 7", "exit 9");
    fs::write(seen.t.dir().join("other.json"), text).unwrap();
}

#[test]
fn of_create_and_run() {
    let seven = |bundle: integration_test::Bundle| bundle.asks(&["exit 7"]);
    let terminal =
        |bundle: integration_test::Bundle| bundle.set("/process/terminal", true).asks(&["wait-for TERM"]);
    let go = "{systemd} run --bundle {bundle}";
    table(
        "create",
        vec![
            r(Absent, "{systemd} create -b {bundle} {id}").sees([Status("created")]),
            r(Absent, "{systemd} create -b={bundle} {id}")
                .differs(Flavor::Crun, "takes = as part of the value")
                .sees([Status("created")]),
            r(Absent, "{systemd} create -bundle {bundle} {id}")
                .differs(Flavor::Crun, "takes two dashes only")
                .sees([Status("created")]),
            r(Absent, "{systemd} create {id} --bundle {bundle}")
                .differs(Flavor::Runc, "takes flags before the id only")
                .sees([Status("created")]),
            r(Absent, "{systemd} create {id}").sees([Status("created")]),
            r(Absent, "{systemd} create --no-pivot=false --no-new-keyring=false {id}")
                .differs(Flavor::Crun, "its switches have no values")
                .sees([Status("created")]),
            r(Absent, "{systemd} create --no-pivot --no-pivot --preserve-fds 3 --preserve-fds 0 {id}")
                .sees([Status("created")]),
            r(Absent, "{systemd} run --config {dir}/other.json --bundle {bundle} {id}")
                .with(seven)
                .first(nine)
                .exits(9)
                .differs(Flavor::Runc, "has no --config"),
            r(Absent, "{systemd} run -f {dir}/other.json --bundle {bundle} {id}")
                .with(seven)
                .first(nine)
                .exits(9)
                .differs(Flavor::Runc, "has no --config"),
            r(Absent, &format!("{go} {{id}}")).with(seven).exits(7).sees([Status("absent")]),
            r(Absent, &format!("{go} --keep {{id}}")).with(seven).exits(7).sees([Status("stopped")]),
            r(Absent, &format!("{go} --no-subreaper {{id}}")).with(seven).exits(7),
            r(Absent, &format!("{go} --no-new-keyring --no-pivot {{id}}")).with(seven).exits(7),
            r(Absent, &format!("{go} --preserve-fds 1 {{id}}"))
                .with(seven)
                .redirected("3</dev/null")
                .exits(7),
            r(Absent, &format!("{go} --detach --pid-file {{bundle}}/pid {{id}}"))
                .sees([Status("running"), PidFile("{bundle}/pid", true)]),
            r(Absent, &format!("{go} -d {{id}}")).sees([Status("running")]),
            r(Absent, &format!("{go} -d --console-socket {{console}} {{id}}"))
                .with(terminal)
                .sees([Status("running"), Terminal]),
            r(Absent, &format!("{go} -d --pidfd-socket {{pidfd}} {{id}}"))
                .ours("has no --pidfd-socket")
                .sees([Status("running"), Pidfd]),
        ],
    );
}

#[test]
fn of_exec() {
    let e = |rest: &str| r(Running, &format!("exec {rest}"));
    let ask = "{id} /payload";
    table(
        "exec",
        vec![
            e(&format!("{ask} exit~3")).exits(3),
            e("{id} -- /payload exit~3").exits(3).differs(Flavor::Runc, "1.1 runs --"),
            e(&format!("-- {ask} exit~3")).exits(3),
            e("-p {short} {id}").exits(3),
            e(&format!("--cwd /proc {ask} cwd")).sees([Out(&["/proc"])]),
            e(&format!("-e A=1,2 -e B=3 {ask} env")).sees([Out(&["\"A\":\"1,2\"", "\"B\":\"3\""])]),
            e(&format!("--user 1000:1001 {ask} uid gid")).sees([Out(&["1000", "1001"])]),
            e(&format!("-u 1000 {ask} uid")).sees([Out(&["1000"])]),
            e(&format!("-g 7 -g 8 {ask} groups"))
                .differs(Flavor::Crun, "has no --additional-gids")
                .sees([Out(&["7", "8"])]),
            e(&format!("-c CAP_KILL -c CAP_CHOWN {ask} exit~3")).exits(3),
            e(&format!("--env A=1,2 {ask} env")).sees([Out(&["\"A\":\"1,2\""])]),
            e(&format!("--additional-gids 7 {ask} groups"))
                .differs(Flavor::Crun, "has no --additional-gids")
                .sees([Out(&["7"])]),
            e(&format!("--cap CAP_KILL {ask} exit~3")).exits(3),
            e(&format!("--no-new-privs {ask} exit~3")).exits(3),
            e(&format!("--preserve-fds 1 {ask} exit~3")).redirected("3</dev/null").exits(3),
            e(&format!("--tty=false {ask} exit~3"))
                .differs(Flavor::Crun, "its switches have no values")
                .exits(3),
            e(&format!("-d --pid-file {{bundle}}/e.pid {ask} wait-for~USR1"))
                .sees([PidFile("{bundle}/e.pid", false)]),
            e(&format!("-t -d --console-socket {{console}} --pid-file {{bundle}}/e.pid {ask} wait-for~USR1"))
                .sees([PidFile("{bundle}/e.pid", false), Terminal]),
            e("{id}").fails().sees([Says(&["process.args must not be empty"])]),
            e("--user nobody {id} /payload").fails().sees([Says(&["--user", "nobody"])]),
        ],
    );
}

#[test]
fn of_kill_and_delete() {
    let mut rows = Vec::new();
    for signal in ["9", "KILL", "SIGKILL", "kill", "15", "TERM", "SIGTERM"] {
        let row = r(Running, &format!("kill {{id}} {signal}")).sees([Silence, Status("stopped")]);
        rows.push(if signal == "kill" {
            row.differs(Flavor::Crun, "1.8 knows capital letters only")
        } else {
            row
        });
    }
    for (signal, why) in [
        ("37", None),
        ("RTMIN+3", Some("1.1 has no such names")),
        ("SIGRTMIN+3", Some("1.1 has no such names")),
    ] {
        let row = r(Created, &format!("kill {{id}} {signal}"));
        rows.push(match why {
            Some(why) => row.differs(Flavor::Runc, why).differs(Flavor::Crun, "1.8 has no such names"),
            None => row,
        });
    }
    rows.extend([
        r(Running, "kill -a {id} KILL").sees([Status("stopped")]),
        r(Running, "kill --all {id} KILL").sees([Status("stopped")]),
        r(Running, "kill {id} NOSUCH").fails().sees([Says(&["NOSUCH"]), Status("running")]),
        r(Running, "kill --regex ^{id}$ KILL")
            .differs(Flavor::Runc, "has no --regex")
            .sees([Status("stopped")]),
        r(Running, "kill --regex ^no-such$ KILL")
            .differs(Flavor::Runc, "has no --regex")
            .sees([Status("running")]),
        r(Running, "delete -f {id}").sees([Silence, Status("absent")]),
        r(Running, "delete {id} --force")
            .differs(Flavor::Runc, "takes flags before the id only")
            .sees([Status("absent")]),
        r(Stopped, "delete --regex ^{id}$").differs(Flavor::Runc, "has no --regex").sees([Status("absent")]),
        r(Created, "delete --force {id}").sees([Silence, Status("absent")]),
        r(Paused, "delete --force {id}").sees([Silence, Status("absent")]),
    ]);
    table("kill", rows);
}

/// One object; the same as `events --stats`.
fn an_event(seen: &Seen<'_>) {
    assert_eq!(seen.json()["type"], "stats");
}

#[test]
fn of_the_rest() {
    let mut rows = vec![
        r(Running, "list -f json").sees([Json("/0/id", "{id}")]),
        r(Running, "list -f table").sees([Out(&["running"])]),
        r(Absent, "list -f yaml").fails().sees([Says(&["yaml"])]),
        r(Running, "ps -f json {id}").differs(Flavor::Crun, "has long flags only").sees([Out(&["["])]),
        r(Running, "ps -f table {id}").differs(Flavor::Crun, "has long flags only").sees([Out(&["PID"])]),
        r(Absent, "spec --bundle {dir}").sees([Silence, That(|seen| a_spec(seen, "bounding"))]),
        r(Absent, "spec -b {dir}").sees([Silence, That(|seen| a_spec(seen, "bounding"))]),
        r(Absent, "spec --rootless -b {dir}").sees([Silence, That(|seen| a_spec(seen, "uidMappings"))]),
        r(Absent, "spec --bundle {bundle}").fails().sees([Says(&["config.json", "not overwritten"])]),
    ];
    if !by_systemd() {
        rows.push(
            r(Running, "events --interval=1s --stats {id}")
                .differs(Flavor::Crun, "has no events")
                .sees([That(an_event)]),
        );
        rows.push(
            r(Running, "events -interval 1s -stats {id}")
                .differs(Flavor::Crun, "has no events")
                .sees([That(an_event)]),
        );
    }
    rows.push(r(Running, "events --interval=never --stats {id}").fails());
    table("rest", rows);
}

fn a_spec(seen: &Seen<'_>, word: &str) {
    let spec = fs::read_to_string(seen.t.dir().join("config.json")).unwrap();
    assert!(spec.contains(word), "{spec}");
}

#[test]
fn of_update() {
    let mut rows = vec![
        r(Running, "update -r {resources} {id}").sees([Silence]),
        r(Running, "update --resources {resources} {id}").sees([Silence]),
        r(Running, "update --resources={dir}/absent {id}").fails().sees([Says(&["absent"])]),
        r(Running, "update --memory plenty {id}").fails().sees([Says(&["--memory", "plenty", "512m"])]),
        r(Running, "update --no-such-flag {id}").fails().sees([Says(&["--no-such-flag"])]),
    ];
    let newer = |row: Row| row.ours("1.1 and 1.8 have no such flag");
    for (flags, controller) in [
        ("--pids-limit 66", "pids"),
        ("--memory 64m", "memory"),
        ("--memory=67108864", "memory"),
        ("--memory-reservation 32m", "memory"),
        ("--cpu-share 512", "cpu"),
        ("--cpu-period 50000 --cpu-quota 20000", "cpu"),
        ("--cpuset-cpus 0 --cpuset-mems 0", "cpuset"),
    ] {
        if controllers().iter().any(|name| name == controller) {
            let row = r(Running, &format!("update {flags} {{id}}")).sees([Silence]);
            rows.push(if flags.contains("64m") || flags.contains("32m") {
                row.differs(Flavor::Crun, "takes bytes only")
            } else {
                row
            });
        }
    }
    // Known, whether the machine can or not: refused for what they ask, not as flags.
    for flags in [
        "--blkio-weight 5",
        "--cpu-rt-period x",
        "--cpu-rt-runtime x",
        "--memory-swap x",
        "--l3-cache-schema nonsense",
        "--mem-bw-schema nonsense",
    ] {
        rows.push(
            r(Running, &format!("update {flags} {{id}}"))
                .fails()
                .ours("take some of them in silence")
                .sees([That(not_as_a_flag)]),
        );
    }
    for flags in ["--cpu-burst x", "--cpu-idle x"] {
        rows.push(newer(r(Running, &format!("update {flags} {{id}}")).fails().sees([That(not_as_a_flag)])));
    }
    table("update", rows);
}

fn not_as_a_flag(seen: &Seen<'_>) {
    let said = seen.with_out(integration_test::Out::stderr);
    assert!(!said.contains("not defined"), "{said}");
}
