// SPDX-License-Identifier: Apache-2.0
//! Faulty bundles: each error names the property and the way out, and leaves nothing.
#![allow(clippy::unwrap_used)]

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
        let text = std::fs::read_to_string(&log).unwrap();
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
