// SPDX-License-Identifier: Apache-2.0
//! The program from outside, as far as it needs no container and no root: output, errors,
//! exit status, the log.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

const VERBS: &[&str] = &[
    "check",
    "checkpoint",
    "create",
    "delete",
    "exec",
    "explain",
    "features",
    "kill",
    "list",
    "restore",
    "run",
    "spec",
    "start",
    "state",
];

/// A directory that is gone with its owner.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("soute-cli-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a new directory");
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn soute(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_soute")).args(args).output().expect("soute runs")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

fn code(output: &Output) -> i32 {
    output.status.code().expect("an exit status")
}

#[test]
fn version_is_what_engines_parse() {
    for arg in ["--version", "-version", "-v", "-V", "version"] {
        let output = soute(&[arg]);
        assert_eq!((code(&output), text(&output.stderr)), (0, ""), "{arg}");
        let lines: Vec<&str> = text(&output.stdout).lines().collect();
        assert_eq!(lines[0], concat!("soute version ", env!("CARGO_PKG_VERSION")));
        assert!(lines[1].strip_prefix("commit: ").is_some_and(|c| !c.is_empty()), "{arg}: {lines:?}");
        assert_eq!(lines[2..], ["spec: 1.3.0"]);
        assert_eq!(lines.iter().filter(|line| line.contains("version")).count(), 1);
    }
}

#[test]
fn help_is_output_and_no_error() {
    for args in [["--help"], ["-help"], ["-h"], ["help"]] {
        let output = soute(&args);
        assert_eq!((code(&output), text(&output.stderr)), (0, ""), "{args:?}");
        for verb in VERBS {
            assert!(text(&output.stdout).lines().any(|l| l.starts_with(&format!("  {verb} "))), "{verb}");
        }
    }
    for verb in VERBS {
        for args in [[*verb, "--help"], [verb, "-h"], [verb, "-help"], ["help", verb]] {
            let output = soute(&args);
            assert_eq!((code(&output), text(&output.stderr)), (0, ""), "{args:?}");
            assert!(text(&output.stdout).contains(&format!("Usage: soute {verb}")), "{args:?}");
        }
    }
}

#[test]
fn errors_say_what_is_wrong() {
    for (args, exit, says) in [
        (&[][..], 1, "no command given"),
        (&["frobnicate"], 1, "unknown command \"frobnicate\""),
        (&["help", "frobnicate"], 1, "unknown command \"frobnicate\""),
        (&["--invalidflag", "create", "web"], 1, "flag provided but not defined: --invalidflag"),
        (&["create", "--bundle"], 1, "flag needs an argument: --bundle"),
        (&["create"], 1, "<ID>"),
        (&["create", "--debug", "web"], 1, "--debug is a global flag: it stands before the command"),
        (&["create", "--preserve-fds", "-1", "web"], 1, "invalid value '-1' for '--preserve-fds <N>'"),
        (&["--root", "/", "list"], 1, "--root must not be /"),
        (&["state"], 1, "<ID>"),
        (&["kill", "web", "NOPE"], 1, "unknown signal \"NOPE\""),
        (&["list", "--format", "xml"], 1, "[possible values: table, json]"),
        (&["exec", "--process"], 255, "flag needs an argument: --process"),
        (&["exec", "web"], 255, "process.args must not be empty"),
        (&["exec", "--user", "root", "web", "id"], 255, "\"root\" is not a number"),
    ] {
        let output = soute(args);
        assert_eq!((code(&output), text(&output.stdout)), (exit, ""), "{args:?}");
        let said = text(&output.stderr);
        assert!(said.starts_with("error: ") && said.contains(says), "{args:?}: {said}");
        assert_eq!(said.lines().filter(|line| line.starts_with("error:")).count(), 1, "{args:?}: {said}");
    }
}

#[test]
fn an_absent_container_is_an_error_with_the_words_that_callers_look_for() {
    let dir = Dir::new();
    let root = dir.join("root");
    let root = root.to_str().expect("text");
    for (args, exit) in [
        (&["state", "absent"][..], 1),
        (&["start", "absent"], 1),
        (&["kill", "absent", "9"], 1),
        (&["delete", "absent"], 1),
        (&["exec", "absent", "true"], 255),
    ] {
        let output = soute(&[&["--root", root], args].concat());
        assert_eq!((code(&output), text(&output.stdout)), (exit, ""), "{args:?}");
        assert!(text(&output.stderr).contains("container does not exist"), "{args:?}");
    }
    let output = soute(&["--root", root, "delete", "--force", "absent"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
    let output = soute(&["--root", root, "list", "-q"]);
    assert_eq!((code(&output), text(&output.stdout), text(&output.stderr)), (0, "", ""));
    let output = soute(&["--root", root, "list", "--format", "json"]);
    assert_eq!((code(&output), text(&output.stdout)), (0, "[]\n"));
    let output = soute(&["--root", root, "delete", "--regex", "("]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("invalid regular expression"));
}

/// The objects of a JSON log.
fn objects(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).expect("a log");
    text.lines().map(|line| serde_json::from_str(line).expect("an object a line")).collect()
}

#[test]
fn the_log_gets_one_object_for_an_error() {
    let dir = Dir::new();
    let (root, log) = (dir.join("root"), dir.join("log.json"));
    let (root, file) = (root.to_str().expect("text"), log.to_str().expect("text"));
    for (count, args) in [
        (1, &["state", "absent"][..]),
        // Appended; and a fault of the command line is logged like any other.
        (2, &["state"]),
        (3, &["frobnicate"]),
        (4, &["--invalidflag"]),
    ] {
        let output = soute(&[&["--root", root, "--log", file, "--log-format", "json"], args].concat());
        assert_eq!(code(&output), 1);
        let said = text(&output.stderr);
        assert!(said.starts_with("error: "), "{said}");

        let objects = objects(&log);
        assert_eq!(objects.len(), count, "{objects:?}");
        let object = objects[count - 1].as_object().expect("an object");
        let keys: Vec<&String> = object.keys().collect();
        assert_eq!(keys, ["level", "msg", "time"]);
        assert_eq!(object["level"], "error");
        let message = object["msg"].as_str().expect("text");
        assert!(said.contains(message), "{said}: {message}");
        assert!(!message.contains("hint"), "{message}");
        let time = object["time"].as_str().expect("text");
        assert!(time.len() == 30 && time.starts_with("20") && time.ends_with('Z'), "{time}");
    }
}

#[test]
fn success_does_not_touch_the_log() {
    let dir = Dir::new();
    let log = dir.join("log.json");
    let file = log.to_str().expect("text");
    let output = soute(&["--log", file, "--log-format=json", "features"]);
    assert_eq!((code(&output), text(&output.stderr)), (0, ""));
    assert!(!log.exists());
}

#[test]
fn the_log_in_text_is_logrus() {
    let dir = Dir::new();
    let log = dir.join("log");
    assert_eq!(code(&soute(&["--log", log.to_str().expect("text"), "state"])), 1);
    let said = fs::read_to_string(&log).expect("a log");
    assert!(said.starts_with("time=\"20") && said.contains("\" level=error msg=\""), "{said}");
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn json_without_a_log_goes_to_standard_error() {
    let output = soute(&["--log-format", "json", "state"]);
    assert_eq!(code(&output), 1);
    let object: Value = serde_json::from_slice(&output.stderr).expect("one object and nothing else");
    assert_eq!(object["level"], "error");
}

#[test]
fn a_log_that_cannot_be_opened_does_not_hide_the_error() {
    let output = soute(&["--log", "/proc/nowhere/log", "--log-format", "json", "frobnicate"]);
    assert_eq!(code(&output), 1);
    let said = text(&output.stderr);
    assert!(said.contains("error: unknown command \"frobnicate\""), "{said}");
    assert!(
        said.contains("warning: --log: open(\"/proc/nowhere/log\"): no such file or directory"),
        "{said}"
    );
}

#[test]
fn a_full_disk_is_an_error() {
    let full = File::options().write(true).open("/dev/full").expect("/dev/full");
    let output =
        Command::new(env!("CARGO_BIN_EXE_soute")).arg("features").stdout(full).output().expect("soute runs");
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("no space left on device"), "{}", text(&output.stderr));
}

#[test]
fn features_are_json() {
    let output = soute(&["features"]);
    let features: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&features["ociVersionMin"], &features["ociVersionMax"]), (&"1.0.0".into(), &"1.3.0".into()));
}

#[test]
fn spec_writes_a_config_once() {
    let dir = Dir::new();
    let bundle = dir.0.to_str().expect("text");
    let output = soute(&["spec", "--bundle", bundle]);
    assert_eq!((code(&output), text(&output.stdout), text(&output.stderr)), (0, "", ""));
    let config: Value =
        serde_json::from_slice(&fs::read(dir.join("config.json")).expect("a file")).expect("JSON");
    assert_eq!(config["ociVersion"], "1.3.0");

    let output = soute(&["spec", "--rootless", "-b", bundle]);
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("file exists (EEXIST)"), "{}", text(&output.stderr));

    fs::remove_file(dir.join("config.json")).expect("removed");
    assert_eq!(code(&soute(&["spec", "--rootless", "-b", bundle])), 0);
    let config: Value =
        serde_json::from_slice(&fs::read(dir.join("config.json")).expect("a file")).expect("JSON");
    assert!(config["linux"]["uidMappings"][0]["hostID"].is_u64());
}

#[test]
fn an_ordinary_user_needs_a_runtime_directory() {
    if fs::read_to_string("/proc/self/status").expect("status").contains("\nUid:\t0") {
        // Where the tests lie an ordinary user may have no access.
        let dir = Dir::new();
        let copy = dir.join("soute");
        fs::copy(env!("CARGO_BIN_EXE_soute"), &copy).expect("copied");
        for path in [&dir.0, &copy] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("mode");
        }
        needs_a_runtime_directory(Command::new(&copy).uid(65534).gid(65534));
    } else {
        needs_a_runtime_directory(&mut Command::new(env!("CARGO_BIN_EXE_soute")));
    }
}

fn needs_a_runtime_directory(soute: &mut Command) {
    let output = soute.args(["state", "absent"]).env_remove("XDG_RUNTIME_DIR").output().expect("soute runs");
    assert_eq!(code(&output), 1);
    assert!(text(&output.stderr).contains("XDG_RUNTIME_DIR is not set"), "{}", text(&output.stderr));
    let output = soute.env("XDG_RUNTIME_DIR", "/nowhere").output().expect("soute runs");
    assert!(text(&output.stderr).contains("container does not exist"), "{}", text(&output.stderr));
}
