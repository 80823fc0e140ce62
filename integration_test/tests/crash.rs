// SPDX-License-Identifier: Apache-2.0
//! The runtime is killed in the middle: at every system call of create, start, run -d,
//! exec and delete, found with strace. Then one `delete --force` must leave nothing.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::sweep::{can_trace, points, sample, traced};
use integration_test::{Bundle, Test, container_test, note_skip};

/// Kills at each point, undoes with one `delete --force`, and counts what is left.
fn sweep(t: &Test, flags: &[&str], before: impl Fn(), args: &[&str], pid_dir: Option<&std::path::Path>) {
    before();
    let all = points(t, flags, args);
    t.call(&["delete", "--force", t.id()]);
    t.clean();
    let (found, chosen) = (all.len(), sample(all, 40));
    let (mut killed, mut bad) = (0, Vec::new());
    for (name, k) in &chosen {
        before();
        let inject = format!("inject={name}:signal=KILL:when={k}");
        let trace = format!("trace={name}");
        let mut words = flags.to_vec();
        words.extend(["-o", "/dev/null", "-e", &trace, "-e", &inject]);
        let out = t.output(traced(t, &words, args));
        killed += u32::from(out.signal.is_some() || out.code == 137);
        let delete = t.call(&["delete", "--force", t.id()]);
        let mut left = t.left_behind();
        if delete.code != 0 {
            left.push(format!("delete --force: {}", delete.stderr().trim()));
        }
        left.extend(pid_dir.map(half_files).unwrap_or_default());
        if !left.is_empty() {
            bad.push(format!("{name} #{k}: {}", left.join(", ")));
            t.clean();
        }
    }
    println!("{} of {found} points, {killed} killed there, {} leaks", chosen.len(), bad.len());
    assert!(killed > 0, "no point was reached");
    if !bad.is_empty() && t.flavor() != integration_test::Flavor::Soute {
        return note_skip(&format!(
            "{:?} differs: {} of {} points leak",
            t.flavor(),
            bad.len(),
            chosen.len()
        ));
    }
    assert!(bad.is_empty(), "{} of {} points leak:\n  {}", bad.len(), chosen.len(), bad.join("\n  "));
}

/// What is not a whole pid file in the directory that was given for it.
fn half_files(dir: &std::path::Path) -> Vec<String> {
    let mut half = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        if entry.file_name() != "pid" || text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            half.push(format!("file {} {text:?}", entry.path().display()));
        }
        let _ = fs::remove_file(entry.path());
    }
    half
}

/// A bundle with something of everything to be undone.
fn bundle(t: &Test) -> Bundle {
    t.bundle().userns().namespace("cgroup", true).asks(&["wait-for TERM"])
}

fn create_words<'a>(t: &'a Test, verb: &'a str, bundle: &'a Bundle, flags: &[&'a str]) -> Vec<&'a str> {
    t.with_bundle(verb, bundle, flags)
}

#[test]
fn killed_in_create() {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        let (bundle, dir) = (bundle(t), t.scratch("pids"));
        fs::create_dir(&dir).unwrap();
        let file = dir.join("pid");
        let words = create_words(t, "create", &bundle, &["--pid-file", file.to_str().unwrap()]);
        sweep(t, &[], || (), &words, Some(&dir));
    });
}

#[test]
fn killed_in_create_of_a_plain_container() {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        let bundle = t.bundle().asks(&["wait-for TERM"]);
        sweep(t, &[], || (), &create_words(t, "create", &bundle, &[]), None);
    });
}

#[test]
fn killed_in_start() {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        let bundle = bundle(t);
        sweep(t, &[], || drop(t.create(&bundle).ok()), &["start", t.id()], None);
    });
}

#[test]
fn killed_in_run_detached() {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        let bundle = bundle(t);
        sweep(t, &[], || (), &create_words(t, "run", &bundle, &["--detach"]), None);
    });
}

#[test]
fn killed_in_run() {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        let bundle = t.bundle().asks(&["pid"]);
        sweep(t, &[], || (), &create_words(t, "run", &bundle, &[]), None);
    });
}

#[test]
fn killed_in_exec() {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        let (bundle, dir) = (bundle(t), t.scratch("pids"));
        fs::create_dir(&dir).unwrap();
        let file = dir.join("pid");
        let words =
            ["exec", "--detach", "--pid-file", file.to_str().unwrap(), t.id(), "/payload", "wait-for TERM"];
        let up = || {
            t.create(&bundle).ok();
            t.start().ok();
        };
        sweep(t, &[], up, &words, Some(&dir));
    });
}

#[test]
fn killed_in_delete() {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        let bundle = bundle(t);
        let up = || {
            t.create(&bundle).ok();
            t.start().ok();
        };
        sweep(t, &[], up, &["delete", "--force", t.id()], None);
    });
}

#[test]
fn killed_with_its_child_in_create() {
    container_test(|t| {
        if !can_trace() {
            return;
        }
        // Each process is killed at its own k-th call: the runtime, or init on its way. strace itself stays
        // behind as a grandchild (-D) until init is gone.
        let bundle = bundle(t);
        sweep(t, &["-f", "-D"], || (), &create_words(t, "create", &bundle, &[]), None);
    });
}

#[test]
fn a_half_made_init_dies_with_its_runtime() {
    container_test(|t| {
        // The runtime waits in a hook; it is killed there; init must not wait for ever.
        let bundle = t.bundle().hook("createRuntime", "touch in-hook; exec sleep 60").asks(&["pid"]);
        let create = t.start_command(t.command(&t.with_bundle("create", &bundle, &[])));
        t.until("the hook runs", || {
            bundle.dir().join("in-hook").exists() || t.dir().join("in-hook").exists()
        });
        create.signal(rustix::process::Signal::KILL);
        create.wait();
        t.delete_force();
        let left = t.left_behind();
        let left: Vec<&String> = left.iter().filter(|line| !line.contains("(sleep,")).collect();
        integration_test::differs!(t, Runc, "what a killed create left stays");
        integration_test::differs!(t, Crun, "what a killed create left stays");
        assert!(left.is_empty(), "{left:?}");
        // The hook is not the runtime's to follow once that is dead; the test ends it.
        t.clean();
    });
}

#[test]
fn a_newer_state_file_is_left_alone() {
    container_test(|t| {
        if t.flavor() != integration_test::Flavor::Soute {
            return note_skip("the format of the state file is our own");
        }
        t.up(t.bundle());
        let file = t.root().join(t.id()).join("state.json");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("\"format\":1", "\"format\":99", 1)).unwrap();
        for words in [&["state", t.id()][..], &["delete", "--force", t.id()]] {
            assert!(t.call(words).fails().contains("newer soute"), "{words:?}");
        }
        fs::write(&file, text).unwrap();
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn a_damaged_state_file_can_be_deleted() {
    container_test(|t| {
        for damage in ["", "{", "null", "{\"id\":42}"] {
            t.up(t.bundle());
            for entry in fs::read_dir(t.root().join(t.id())).unwrap().flatten() {
                if entry.path().extension().is_some_and(|end| end == "json") {
                    fs::write(entry.path(), damage).unwrap();
                }
            }
            let delete = t.call(&["delete", "--force", t.id()]);
            let left = t.left_behind();
            integration_test::differs!(t, Runc, "a container with a damaged state file cannot be deleted");
            integration_test::differs!(t, Crun, "a container with a damaged state file cannot be deleted");
            delete.ok();
            assert_eq!(left, [""; 0], "{damage:?}");
        }
    });
}

/// Overwrites the record and its copy.
fn damage_records(t: &Test) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let dir = t.root().join(t.id());
    let damage = |name| {
        let path = dir.join(name);
        let text = fs::read(&path).unwrap();
        fs::write(&path, "{").unwrap();
        (path, text)
    };
    ["state.json", "undo"].map(damage).into()
}

#[test]
fn a_living_container_without_a_readable_record_is_not_forgotten() {
    container_test(|t| {
        if t.flavor() != integration_test::Flavor::Soute {
            return note_skip("the files of the state directory are our own");
        }
        t.up(t.bundle());
        let kept = damage_records(t);
        let text = t.call(&["delete", "--force", t.id()]).fails();
        assert!(text.contains("neither its record nor the copy"), "{text}");
        for (path, text) in kept {
            fs::write(path, text).unwrap();
        }
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn a_damaged_state_file_of_a_container_without_groups() {
    container_test(|t| {
        if t.flavor() != integration_test::Flavor::Soute {
            return note_skip("the files of the state directory are our own");
        }
        t.global(&["--cgroup-manager", "disabled"]);
        t.up(t.bundle().no_mount("/sys/fs/cgroup").remove("/linux/resources"));
        fs::write(t.root().join(t.id()).join("state.json"), "{").unwrap();
        t.call(&["delete", "--force", t.id()]).ok();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
