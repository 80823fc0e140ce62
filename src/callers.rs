// SPDX-License-Identifier: Apache-2.0
//! The command lines that engines really type, and what each must be understood as.

mod criu;

use std::ffi::OsString;
use std::path::PathBuf;

use libcontainer::{CgroupDriver, CreateRequest, ExecRequest, Resources, RunRequest};

use crate::cli::{self, Asked, First, Global};
use crate::commands::Verb;
use crate::commands::{check::Check, create::Create, exec::Exec, explain::Explain, run::Run, spec::Spec};
use crate::commands::{delete::Delete, kill::Kill, list::List, start::Start, state::State};
use crate::commands::{events::Events, pause::Pause, ps::Ps, resume::Resume, update::Update};

fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

/// Reads a whole line, whose verb is `V`.
fn read<V: Verb>(line: &str) -> (Global, V) {
    let (words, mut global) = (words(line), Global::default());
    let verb = match cli::first(&words, &mut global) {
        Ok(First::Verb(entry, words)) if entry.name == V::NAME => cli::read(words),
        other => panic!("{line}: {other:?}"),
    };
    match verb {
        Ok(Asked::Run(verb)) => (global, verb),
        Ok(Asked::Help(text)) => panic!("{line}: {text}"),
        Err(e) => panic!("{line}: {e}"),
    }
}

/// Why a line is refused.
fn refusal<V: Verb>(line: &str) -> String {
    let (words, mut global) = (words(line), Global::default());
    let result = match cli::first(&words, &mut global) {
        Ok(First::Verb(_, words)) => cli::read::<V>(words).map(|_| ()),
        Ok(_) => Ok(()),
        Err(e) => Err(e),
    };
    result.expect_err(line).message()
}

fn path(path: &str) -> Option<PathBuf> {
    Some(path.into())
}

fn bundle() -> CreateRequest {
    CreateRequest {
        id: "web".into(),
        bundle: "/b".into(),
        pid_file: path("/b/init.pid"),
        ..Default::default()
    }
}

#[test]
fn create() {
    for (line, request) in [
        // containerd
        (
            "--root /r/k8s.io --log /b/log.json --log-format json create --bundle /b --pid-file /b/init.pid web",
            bundle(),
        ),
        (
            "--root /r/moby --log /b/log.json --log-format json --systemd-cgroup create --bundle /b --pid-file \
             /b/init.pid --console-socket /s --pidfd-socket /p --no-pivot --no-new-keyring --preserve-fds 2 web",
            CreateRequest {
                console_socket: path("/s"),
                pidfd_socket: path("/p"),
                no_pivot: true,
                no_new_keyring: true,
                preserve_fds: 2,
                ..bundle()
            },
        ),
        // conmon
        (
            "--systemd-cgroup --log-format=json --log /l --cgroup-manager disabled create --bundle /b --pid-file \
             /b/init.pid --no-new-keyring --preserve-fds 1 --console-socket /s web",
            CreateRequest { no_new_keyring: true, preserve_fds: 1, console_socket: path("/s"), ..bundle() },
        ),
        // conmon-rs, which says its global flags twice
        (
            "--root=/r --systemd-cgroup --root=/r --systemd-cgroup create --bundle /b --pid-file /b/init.pid \
             --console-socket=/s web",
            CreateRequest { console_socket: path("/s"), ..bundle() },
        ),
        // buildah
        (
            "create --bundle /b --pid-file /b/init.pid --no-pivot web",
            CreateRequest { no_pivot: true, ..bundle() },
        ),
        // runtime-tools
        ("create --pid-file /b/init.pid --bundle /b web", bundle()),
        // people: Go's and crun's ways
        ("create -b /b -pid-file=/b/init.pid -no-pivot=false web", bundle()),
        ("create web -bundle /b --pid-file /b/init.pid", bundle()),
        (
            "create -b /b -f /c.json --pid-file /x --pid-file /b/init.pid --no-subreaper web",
            CreateRequest { config: path("/c.json"), ..bundle() },
        ),
    ] {
        assert_eq!(read::<Create>(line).1.request().unwrap(), request, "{line}");
    }
    let here = std::env::current_dir().unwrap();
    assert_eq!(read::<Create>("create web").1.request().unwrap().bundle, here);
    assert_eq!(read::<Create>("create -b sub web").1.request().unwrap().bundle, here.join("sub"));
    assert!(refusal::<Create>("create --bundle /b --pid-file /p").contains("<ID>"));
}

#[test]
fn run() {
    let quiet = RunRequest { create: bundle(), detach: false, keep: false, no_subreaper: false };
    for (line, request) in [
        // buildkit
        (
            "--log /b/runc-log.json --log-format json run --bundle /b --keep --pid-file /b/init.pid web",
            RunRequest { keep: true, ..quiet.clone() },
        ),
        (
            "run -d -b /b --no-subreaper --pid-file /b/init.pid web",
            RunRequest { detach: true, no_subreaper: true, ..quiet.clone() },
        ),
        ("run --detach=false -no-subreaper=0 -b /b --pid-file /b/init.pid web", quiet),
    ] {
        assert_eq!(read::<Run>(line).1.request().unwrap(), request, "{line}");
    }
}

#[test]
fn exec() {
    let file = ExecRequest { id: "web".into(), process: path("/p"), ..Default::default() };
    let args = |line: &str| line.split(' ').map(String::from).collect::<Vec<_>>();
    let shell = ExecRequest { id: "web".into(), args: args("sh -c true"), ..Default::default() };
    for (line, request) in [
        // containerd
        (
            "--root /r --log /l --log-format json exec --process /p --console-socket /s --pidfd-socket /f --detach \
             --pid-file /b/e.pid web",
            ExecRequest {
                console_socket: path("/s"),
                pidfd_socket: path("/f"),
                detach: true,
                pid_file: path("/b/e.pid"),
                ..file.clone()
            },
        ),
        // buildkit, CRI-O
        (
            "exec --process /p --pid-file /b/e.pid web",
            ExecRequest { pid_file: path("/b/e.pid"), ..file.clone() },
        ),
        ("--root /r exec --process /p web", file.clone()),
        // conmon
        (
            "exec --pid-file /b/e.pid --process /p --detach --preserve-fds 1 --console-socket /s web",
            ExecRequest {
                pid_file: path("/b/e.pid"),
                detach: true,
                preserve_fds: 1,
                console_socket: path("/s"),
                ..file
            },
        ),
        // conmon-rs
        (
            "--root=/r exec -d --console-socket=/s --tty --pid-file=/b/e.pid web sh -c true",
            ExecRequest {
                detach: true,
                console_socket: path("/s"),
                tty: true,
                pid_file: path("/b/e.pid"),
                ..shell.clone()
            },
        ),
        // people
        ("exec web sh -c true", shell.clone()),
        ("exec web -- sh -c true", shell.clone()),
        ("exec -- web sh -c true", shell.clone()),
        (
            "exec -td web ls -d --all",
            ExecRequest { tty: true, detach: true, args: args("ls -d --all"), ..shell.clone() },
        ),
        (
            "exec -u 1000:100 -g 5 -g 6 --additional-gids=7 -e A=1,2 -e B= -c CAP_KILL --cap CAP_CHOWN --cwd /tmp web sh -c true",
            ExecRequest {
                user: Some((1000, Some(100))),
                additional_gids: vec![5, 6, 7],
                env: vec!["A=1,2".into(), "B=".into()],
                caps: vec!["CAP_KILL".into(), "CAP_CHOWN".into()],
                cwd: Some("/tmp".into()),
                ..shell.clone()
            },
        ),
        (
            "exec --no-new-privs --apparmor a --process-label l --cgroup cpu,memory:x --cgroup y --ignore-paused \
             --user 7 web sh -c true",
            ExecRequest {
                no_new_privs: true,
                apparmor: Some("a".into()),
                process_label: Some("l".into()),
                cgroup: vec!["cpu,memory:x".into(), "y".into()],
                ignore_paused: true,
                user: Some((7, None)),
                ..shell
            },
        ),
    ] {
        assert_eq!(read::<Exec>(line).1.request().unwrap(), request, "{line}");
    }
    let e = read::<Exec>("exec web").1.request().expect_err("nothing to execute");
    assert_eq!(e.message(), "process.args must not be empty");
    for line in ["exec -u root web sh", "exec -u -1 web sh", "exec -g 1,2 web sh", "exec -t=maybe web sh"] {
        assert!(refusal::<Exec>(line).contains("invalid"), "{line}");
    }
}

#[test]
fn the_short_verbs() {
    fn shown<V: Verb + std::fmt::Debug>(line: &str) -> String {
        format!("{:?}", read::<V>(line).1)
    }
    for line in ["start web", "--root /r --log /l --log-format json start web", "start -- web"] {
        assert_eq!(shown::<Start>(line), "Start { id: \"web\" }", "{line}");
    }
    assert_eq!(shown::<State>("--root /r state web"), "State { id: \"web\" }");
    for (line, all, signal) in [
        ("kill web 9", false, 9),
        ("kill --all web 9", true, 9),
        ("kill -a web 15", true, 15),
        ("kill web", false, 15),
        ("kill web SIGKILL", false, 9),
        ("kill web kill", false, 9),
        ("kill -all=true web 37", true, 37),
        ("kill -- web RTMIN+3", false, 37),
    ] {
        let expected = format!("Kill {{ all: {all}, regex: false, id: \"web\", signal: {signal} }}");
        assert_eq!(shown::<Kill>(line), expected, "{line}");
    }
    let expected = "Kill { all: false, regex: true, id: \"^web\", signal: 9 }";
    for line in ["kill --regex ^web 9", "kill -r ^web KILL", "kill -regex=true ^web 9"] {
        assert_eq!(shown::<Kill>(line), expected, "{line}");
    }
    for (line, force, regex) in [
        ("delete web", false, false),
        ("delete --force web", true, false),
        ("delete -f web", true, false),
        ("delete web --force", true, false),
        ("delete -force=true web", true, false),
        ("delete --regex -f web", true, true),
    ] {
        let expected = format!("Delete {{ force: {force}, regex: {regex}, id: \"web\" }}");
        assert_eq!(shown::<Delete>(line), expected, "{line}");
    }
    for (line, format, quiet) in [
        ("list", "Table", false),
        ("list --format=json", "Json", false),
        ("list -f json", "Json", false),
        ("list -f table -q", "Table", true),
    ] {
        assert_eq!(shown::<List>(line), format!("List {{ format: {format}, quiet: {quiet} }}"), "{line}");
    }
    assert_eq!(shown::<Pause>("--root /r pause web"), "Pause { id: \"web\" }");
    assert_eq!(shown::<Resume>("--root /r resume web"), "Resume { id: \"web\" }");
    for (line, format, args) in [
        ("ps --format json web", "Json", "[]"),
        ("ps web", "Table", "[]"),
        ("ps -f table web -e --no-headers", "Table", "[\"-e\", \"--no-headers\"]"),
    ] {
        let expected = format!("Ps {{ format: {format}, id: \"web\", args: {args} }}");
        assert_eq!(shown::<Ps>(line), expected, "{line}");
    }
    assert!(refusal::<Start>("start").contains("<ID>"));
    assert!(refusal::<Start>("start a b").contains("unexpected argument 'b'"));
    // What follows the id is the signal, and no flag.
    assert!(refusal::<Kill>("kill web -9").contains("unknown signal"));
}

#[test]
fn the_verbs_for_people() {
    for (line, bundle, config) in [
        ("check", ".", "None"),
        ("check --bundle /b --config /c", "/b", "Some(\"/c\")"),
        ("check -b /b -f=/c", "/b", "Some(\"/c\")"),
    ] {
        let expected = format!("Check {{ bundle: \"{bundle}\", config: {config} }}");
        assert_eq!(format!("{:?}", read::<Check>(line).1), expected, "{line}");
    }
    for (line, bundle, rootless) in
        [("spec", ".", false), ("spec --rootless -b /b", "/b", true), ("spec --bundle=/b", "/b", false)]
    {
        let expected = format!("Spec {{ bundle: \"{bundle}\", rootless: {rootless} }}");
        assert_eq!(format!("{:?}", read::<Spec>(line).1), expected, "{line}");
    }
    // explain takes create's command line, so that one can be turned into the other.
    let line = "create --bundle /b --pid-file /p --no-pivot --no-new-keyring --preserve-fds 2 -f /c web";
    let created = read::<Create>(line).1.request().unwrap();
    assert_eq!(read::<Explain>(&line.replace("create", "explain")).1.request().unwrap(), created);
    assert_eq!(read::<Explain>("explain").1.request().unwrap().id, "container");
}

#[test]
fn events() {
    for (line, stats, millis) in [
        // go-runc
        ("events --stats web", true, 5000),
        ("events --interval=5s web", false, 5000),
        // people
        ("events -interval 1m0.5s web", false, 60_500),
        ("events web", false, 5000),
    ] {
        let request = read::<Events>(line).1.request();
        assert_eq!((request.stats, request.interval.as_millis()), (stats, millis), "{line}");
    }
    assert!(refusal::<Events>("events --interval 5 web").contains("invalid duration"));
}

#[test]
fn update() {
    let json = |line: &str| match read::<Update>(line).1.request().unwrap().resources {
        Resources::Text(text, _) => String::from_utf8(text).unwrap(),
        Resources::File(path) => path.display().to_string(),
    };
    for (line, says) in [
        // podman, and containerd in its long form with a file
        ("update --resources=/r.json web", "/r.json"),
        ("update -r /r.json web", "/r.json"),
        // people
        ("update --memory 512m web", r#"{"memory":{"limit":536870912}}"#),
        ("update -memory=-1 --memory-swap=-1 web", r#"{"memory":{"limit":-1,"swap":-1}}"#),
        (
            "update --cpu-quota -1 --cpu-period 100000 --cpu-share 2 web",
            r#"{"cpu":{"period":100000,"quota":-1,"shares":2}}"#,
        ),
        ("update --pids-limit 0 --blkio-weight 10 web", r#"{"blockIO":{"weight":10},"pids":{"limit":0}}"#),
        ("update --cpuset-cpus 0-1 --cpuset-mems 0 web", r#"{"cpu":{"cpus":"0-1","mems":"0"}}"#),
        (
            "update --kernel-memory 1g --kernel-memory-tcp 1g web",
            r#"{"memory":{"kernel":1073741824,"kernelTCP":1073741824}}"#,
        ),
        ("update web", "{}"),
    ] {
        assert_eq!(json(line), says, "{line}");
    }
    assert!(read::<Update>("update --force web").1.request().unwrap().force);
    let both = read::<Update>("update -r /r --memory 1g web").1.request();
    assert!(both.unwrap_err().message().contains("excludes"));
}

#[test]
fn log_levels() {
    use tracing::level_filters::LevelFilter;
    for (flags, level) in [
        ("", None),
        ("--debug", Some(LevelFilter::DEBUG)),
        ("--debug=false", None),
        ("--log-level=error", Some(LevelFilter::ERROR)),
        ("--log-level warn", Some(LevelFilter::WARN)),
        ("--log-level warning", Some(LevelFilter::WARN)),
        ("--log-level info", Some(LevelFilter::INFO)),
        ("--log-level debug", Some(LevelFilter::DEBUG)),
        ("--log-level trace --debug", Some(LevelFilter::TRACE)),
        ("--log-level trace --log-level error", Some(LevelFilter::ERROR)),
    ] {
        assert_eq!(read::<State>(&format!("{flags} state web")).0.log.level, level, "{flags}");
    }
}

#[test]
fn global_flags() {
    let driver = |line: &str| read::<State>(line).0.context().unwrap().cgroup_driver;
    for (flags, expected) in [
        ("", CgroupDriver::Cgroupfs),
        ("--systemd-cgroup", CgroupDriver::Systemd),
        ("--systemd-cgroup=true", CgroupDriver::Systemd),
        ("-systemd-cgroup", CgroupDriver::Systemd),
        ("--systemd-cgroup=false", CgroupDriver::Cgroupfs),
        ("--systemd-cgroup --systemd-cgroup=false", CgroupDriver::Cgroupfs),
        ("--cgroup-manager disabled", CgroupDriver::Disabled),
        ("--cgroup-manager=systemd", CgroupDriver::Systemd),
        ("--systemd-cgroup --cgroup-manager disabled", CgroupDriver::Disabled),
        ("--cgroup-manager systemd --cgroup-manager cgroupfs", CgroupDriver::Cgroupfs),
    ] {
        assert_eq!(driver(&format!("--root /r {flags} state web")), expected, "{flags}");
    }
    let rootless =
        |flag: &str| read::<State>(&format!("--root /r {flag} state web")).0.context().unwrap().rootless;
    assert_eq!(rootless(""), None);
    assert_eq!(rootless("--rootless=true"), Some(true));
    assert_eq!(rootless("--rootless false"), Some(false));
    assert_eq!(rootless("--rootless=true --rootless auto"), None);

    let root = |flag: &str| read::<State>(&format!("{flag} state web")).0.context().map(|c| c.root);
    assert_eq!(root("--root /a --root=/b").unwrap(), PathBuf::from("/b"));
    assert_eq!(root("--root x").unwrap(), std::env::current_dir().unwrap().join("x"));
    for odd in ["/", "//", "/.", "/a/..", "/../a/.."] {
        assert_eq!(root(&format!("--root {odd}")).unwrap_err().message(), "--root must not be /", "{odd}");
    }
    assert_eq!(root("--root=").unwrap_err().message(), "--root must not be empty");

    for (line, says) in [
        ("--invalidflag create web", "invalidflag"),
        ("--log-format xml state web", "invalid value \"xml\" for --log-format"),
        ("--log-level loud state web", "invalid value \"loud\" for --log-level"),
        ("--cgroup-manager x state web", "invalid value \"x\" for --cgroup-manager"),
        ("--rootless x state web", "invalid value \"x\" for --rootless"),
        ("--root", "flag needs an argument: --root"),
        ("--debug", "no command given"),
        ("mounts add", "unknown command \"mounts\""),
        ("--criu /c", "no command given"),
    ] {
        assert!(refusal::<State>(line).contains(says), "{line}: {}", refusal::<State>(line));
    }
}

#[test]
fn what_was_read_before_a_fault_is_kept() {
    let mut global = Global::default();
    let line = words("--log /l --log-format json --debug --nope create web");
    assert!(cli::first(&line, &mut global).is_err());
    assert_eq!(global.log.file, path("/l"));
    assert_eq!(global.log.format, crate::log::Format::Json);
    assert_eq!(global.log.level, Some(tracing::level_filters::LevelFilter::DEBUG));
}

#[test]
fn every_flag_of_every_verb_is_well_formed() {
    for entry in crate::commands::VERBS {
        // Panics on a flag that is defined twice, and on the like.
        (entry.command)().debug_assert();
        let command = (entry.command)();
        for arg in command.get_arguments().filter(|arg| !arg.is_positional()) {
            assert!(arg.get_long().is_some_and(|long| long.len() > 1), "{} {arg}", entry.name);
            assert!(arg.get_help().is_some(), "{} {arg}", entry.name);
        }
    }
}
