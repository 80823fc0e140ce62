// SPDX-License-Identifier: Apache-2.0
//! Faulty bundles: each error names the property and the way out, and leaves nothing.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use integration_test::{Bundle, Flavor, Test, container_test, differs, skip};
use serde_json::json;

/// `create` of this bundle fails; where the runtime is ours, with these words in its
/// message: the property, what is wrong, and the way out.
#[track_caller]
fn refused(t: &Test, bundle: &Bundle, words: &[&str]) {
    let out = t.create(bundle);
    assert!(t.flavor() != Flavor::Soute || out.code == 1, "status {}", out.code);
    let says = out.fails();
    if t.flavor() == Flavor::Soute {
        assert!(says.starts_with("error: "), "{says}");
        for word in words {
            assert!(says.contains(word), "{word:?} is not in:\n{says}");
        }
    }
    assert_eq!(t.left_behind(), [""; 0]);
    t.delete_force();
}

#[test]
fn a_missing_bind_source() {
    container_test(|t| {
        refused(
            t,
            &t.bundle().bind("/no/such/source", "/data", &[]),
            &["mounts[7]", "/no/such/source", "ENOENT", "hint:"],
        )
    });
}

#[test]
fn a_bad_mount_option() {
    container_test(|t| {
        let bundle = t.bundle().mount("/data", "tmpfs", "tmpfs", &["size=plenty"]);
        refused(t, &bundle, &["mounts[7]", "/data", "size"]);
    });
}

#[test]
fn an_unknown_namespace() {
    container_test(|t| {
        let bundle = t.bundle().push("/linux/namespaces", json!({ "type": "quantum" }));
        refused(t, &bundle, &["linux.namespaces[5]", "quantum", "valid: "]);
    });
}

#[test]
fn a_relative_cwd() {
    container_test(|t| refused(t, &t.bundle().set("/process/cwd", "tmp"), &["process.cwd", "tmp"]));
}

#[test]
fn a_duplicate_rlimit() {
    container_test(|t| {
        differs!(t, Runc, "1.1 takes a duplicate rlimit");
        differs!(t, Crun, "1.8 takes a duplicate rlimit");
        let bundle =
            t.bundle().push("/process/rlimits", json!({ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 10 }));
        refused(t, &bundle, &["process.rlimits[1]", "RLIMIT_NOFILE"]);
    });
}

#[test]
fn an_absent_executable() {
    container_test(|t| {
        refused(
            t,
            &t.bundle().args(&["/no/such/program"]),
            &["process.args", "/no/such/program", "no such file or directory"],
        )
    });
}

/// Each with a hint.
#[test]
fn the_way_out_is_told() {
    type Change = fn(Bundle) -> Bundle;
    let faults: [(Change, &[&str]); 9] = [
        (|b| b.args(&["/etc"]).dir_in_root("/etc"), &["process.args[0]", "/etc", "name a program"]),
        (|b| b.args(&["/plain"]).file("/plain", "x"), &["process.args[0]", "/plain", "chmod"]),
        (|b| b.set("/process/cwd", "/absent"), &["process.cwd", "/absent", "must be a directory"]),
        (
            |b| b.set("/process/cwd", "/file").file("/file", ""),
            &["process.cwd", "/file", "must be a directory"],
        ),
        (|b| b.set("/root/path", "absent"), &["root.path", "absent", "must name a directory"]),
        (|b| b.set("/root/path", "config.json"), &["root.path", "ENOTDIR", "must name a directory"]),
        (|b| b.args(&["absent"]), &["process.args[0]", "absent", "PATH in process.env"]),
        (|b| b.args(&["/absent"]), &["process.args[0]", "/absent", "must exist in the root filesystem"]),
        (|b| b.bind("/absent", "/data", &[]), &["mounts[7]", "/absent", "source must exist on the host"]),
    ];
    container_test(|t| {
        differs!(t, Runc, "makes a working directory that is not there");
        for (change, words) in faults {
            refused(t, &change(t.bundle()), &[words, &["hint:"]].concat());
        }
        for flag in ["--pid-file", "--console-socket"] {
            let bundle =
                if flag == "--pid-file" { t.bundle() } else { t.bundle().set("/process/terminal", true) };
            bundle.save();
            let dir = bundle.dir().to_str().unwrap();
            let says = t.call(&["create", "--bundle", dir, flag, "/absent/file", t.id()]).fails();
            if t.flavor() == Flavor::Soute {
                assert!(says.contains("/absent/file") && says.contains("beforehand"), "{says}");
            }
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

/// What only the kernel sees, when the container starts.
#[test]
fn a_file_that_is_no_program() {
    container_test(|t| {
        differs!(t, Runc, "has words of its own");
        differs!(t, Crun, "has words of its own");
        for (text, words) in [("x", "#! line"), ("#!/absent\n", "its interpreter")] {
            let bundle = t.bundle().args(&["/plain"]).file("/plain", text);
            fs::set_permissions(bundle.path("/plain"), fs::Permissions::from_mode(0o755)).unwrap();
            t.create(&bundle).ok();
            let says = t.start().fails();
            assert!(
                says.contains("process.args\n") && says.contains("hint:") && says.contains(words),
                "{says}"
            );
            t.delete_force();
        }
    });
}

#[test]
fn an_unknown_container_is_sought_below_another_root() {
    container_test(|t| {
        differs!(t, Runc, "only says that it does not exist");
        differs!(t, Crun, "only says that it does not exist");
        let says = t.call(&["state", t.id()]).fails();
        assert!(says.contains(t.root().to_str().unwrap()) && says.contains("--root"), "{says}");
    });
}

#[test]
fn another_users_containers() {
    container_test(|t| {
        differs!(t, Runc, "has words of its own");
        differs!(t, Crun, "has words of its own");
        t.create(&t.bundle()).ok();
        t.before(&["setpriv", "--reuid", "64997", "--clear-groups", "--bounding-set", "-all"]);
        for line in [&["list"][..], &["state", t.id()], &["kill", t.id()], &["delete", "--force", t.id()]] {
            let says = t.call(line).fails();
            assert!(says.contains("EACCES") && says.contains("another user's"), "{line:?}: {says}");
        }
        t.before(&[]);
        t.delete_force();
    });
}

/// Nobody can tell then whether the container lives: it must not be taken for dead.
#[test]
fn without_proc_nothing_is_removed() {
    container_test(|t| {
        differs!(t, Runc, "takes it for stopped");
        differs!(t, Crun, "takes it for stopped");
        t.create(&t.bundle().asks(&["wait-for TERM"])).ok();
        t.start().ok();
        t.before(&["unshare", "--mount", "sh", "-c", "umount -l /proc && exec \"$0\" \"$@\""]);
        assert_eq!(t.status(), "running");
        let says = t.delete().fails();
        assert!(says.contains("that is not stopped"), "{says}");
        let says = t.call(&["create", "--bundle", "/", "other"]).fails();
        assert!(says.contains("mount -t proc proc /proc"), "{says}");
        t.before(&[]);
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn without_cgroups_a_warning_says_what_is_not_in_force() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("others fail, or take a group that is not theirs");
        }
        if integration_test::by_systemd() {
            skip!("the systemd driver needs cgroups");
        }
        t.before(&["unshare", "--mount", "sh", "-c", "umount -R -l /sys/fs/cgroup && exec \"$0\" \"$@\""]);
        let bundle = t.bundle().remove("/linux/cgroupsPath").remove("/linux/resources").asks(&["pid"]);
        let out = t.run(&bundle).ok();
        assert!(
            out.stderr().contains("linux.resources.devices: this host has no cgroups"),
            "{}",
            out.stderr()
        );
    });
}

#[test]
fn a_symlinked_proc() {
    container_test(|t| {
        refused(t, &t.bundle().symlink("/proc", "/tmp"), &["mounts[0]", "/proc"]);
    });
}

#[test]
fn a_text_in_place_of_a_number() {
    container_test(|t| {
        refused(
            t,
            &t.bundle().set("/process/user/uid", "root"),
            &["process.user.uid", "config.json:", "root", "0 to "],
        )
    });
}

#[test]
fn no_root() {
    container_test(|t| refused(t, &t.bundle().remove("/root"), &["root must be specified"]));
}

#[test]
fn broken_json() {
    container_test(|t| {
        refused(
            t,
            &t.bundle().raw("{ \"ociVersion\": \"1.0.2\",\n  \"process\": {]\n}"),
            &["config.json:2:", "is expected"],
        );
    });
}

#[test]
fn no_config_json() {
    container_test(|t| {
        let bundle = t.bundle();
        let says = t.call(&["create", "--bundle", bundle.dir().to_str().unwrap(), t.id()]).fails();
        if matches!(t.flavor(), Flavor::Soute | Flavor::Runc) {
            assert!(says.contains("JSON specification file config.json not found"), "{says}");
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn empty_args() {
    container_test(|t| {
        let says = t.create(&t.bundle().args(&[])).fails();
        if t.flavor() == Flavor::Soute {
            assert!(says.contains("process.args must not be empty"), "{says}");
        }
    });
}

#[test]
fn all_faults_are_told_at_once() {
    container_test(|t| {
        let bundle = t
            .bundle()
            .set("/process/cwd", "tmp")
            .push("/process/rlimits", json!({ "type": "RLIMIT_NOFILE", "soft": 10, "hard": 10 }))
            .push("/linux/namespaces", json!({ "type": "quantum" }))
            .push("/linux/namespaces", json!({ "type": "uts" }))
            .set("/linux/rootfsPropagation", "sideways");
        let says = t.create(&bundle).fails();
        differs!(t, Runc, "tells one fault at a time");
        differs!(t, Crun, "tells one fault at a time");
        for word in [
            "process.cwd",
            "process.rlimits[1]",
            "linux.namespaces[5]",
            "linux.namespaces[6]",
            "linux.rootfsPropagation",
        ] {
            assert!(says.contains(word), "{word} is not in:\n{says}");
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn hostile_json() {
    container_test(|t| {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in ["", "null", "[]", "42", "{}", "\"text\"", "{\"process\":null}", deep.as_str(), "\u{0}"] {
            let out = t.create(&t.bundle().raw(text));
            differs!(t, Runc, "panics on null, and such");
            differs!(t, Crun, "crashes at deep nesting");
            let says = out.fails();
            assert!(!says.contains("panic"), "{text:.20}: {says}");
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn trailing_text_and_duplicate_keys() {
    container_test(|t| {
        differs!(t, Runc, "takes the last of two keys; we refuse");
        differs!(t, Crun, "takes one of two keys; we refuse");
        let spec = t.bundle().spec().to_string();
        t.create(&t.bundle().raw(format!("{spec} x"))).fails();
        let twice = format!("{{\"hostname\":\"a\",{}", &spec[1..]);
        let says = t.create(&t.bundle().raw(twice)).fails();
        assert!(says.contains("hostname"), "{says}");
    });
}

#[test]
fn unknown_properties_are_ignored() {
    container_test(|t| {
        let bundle = t
            .bundle()
            .set("/org.example", json!({ "a": 1 }))
            .set("/process/future", true)
            .set("/linux/x", json!([]));
        assert_eq!(t.ask(bundle, &["pid"])["pid"], 1);
    });
}

#[test]
fn usage_errors() {
    container_test(|t| {
        for words in [
            &["nosuchverb"][..],
            &["create"],
            &["create", "--nosuchflag", "x"],
            &["state"],
            &["kill"],
            &["delete"],
        ] {
            assert_ne!(t.call(words).code, 0, "{words:?}");
        }
        t.global(&["--nosuchglobal"]);
        let says = t.call(&["list"]).fails();
        assert!(says.contains("nosuchglobal"), "{says}");
    });
}

#[test]
fn an_error_is_printed_and_logged() {
    container_test(|t| {
        let log = t.scratch("log");
        t.global(&["--log", log.to_str().unwrap()]);
        let says = t.create(&t.bundle().bind("/no/such/source", "/data", &[])).fails();
        assert!(says.contains("/no/such/source"), "{says}");
        let text = fs::read_to_string(&log).unwrap();
        assert!(text.contains("/no/such/source"), "{text}");
    });
}

#[test]
fn check_lists_every_fault_with_its_place() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("only soute has check");
        }
        let bundle =
            t.bundle().set("/process/cwd", "tmp").push("/linux/namespaces", json!({ "type": "quantum" }));
        bundle.save();
        let out = t.call(&["check", "--bundle", bundle.dir().to_str().unwrap()]);
        assert_ne!(out.code, 0);
        let text = out.stdout() + &out.stderr();
        for word in ["process.cwd", "linux.namespaces[5]", "config.json:"] {
            assert!(text.contains(word), "{word} is not in:\n{text}");
        }
        let good = t.bundle();
        good.save();
        t.call(&["check", "--bundle", good.dir().to_str().unwrap()]).ok();
    });
}

#[test]
fn explain_makes_nothing() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("only soute has explain");
        }
        let bundle = t.bundle();
        bundle.save();
        let text = t.call(&["explain", "--bundle", bundle.dir().to_str().unwrap()]).ok().stdout();
        assert!(text.lines().count() <= 100, "{} lines", text.lines().count());
        assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        for word in ["pivot_root", "execve", "mounts[0]"] {
            assert!(text.contains(word), "{word} is not in:\n{text}");
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
