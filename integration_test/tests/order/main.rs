// SPDX-License-Identifier: Apache-2.0
//! What init does is what `explain` prints, step by step: a trace of its system calls must be the
//! printed steps in their order, no call more and none less. And there is one process, with one
//! thread, until it is born.
#![allow(clippy::unwrap_used)]

mod steps;
mod trace;

use std::fs;

use integration_test::{Bundle, Flavor, Test, container_test, skip};
use serde_json::json;

use steps::{Shown, call, matches, parts, printed};
use trace::{BIRTHS, OPENS, Trace, cannot, init_of, trace_create, traced};

/// The steps that `explain` prints for a bundle.
fn explained(t: &Test, bundle: &Bundle, flags: &[&str]) -> (String, Vec<Shown>) {
    let text = t.call(&t.with_bundle("explain", bundle, flags)).ok().stdout();
    let root = bundle.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    // How every init begins, before its steps.
    let birth = vec![call("prctl", &["PR_SET_PDEATHSIG, SIGKILL"]), call("umask", &["(000)"])];
    let mut steps = vec![Shown { text: "birth".to_owned(), parts: birth }];
    steps.extend(printed(&text).into_iter().map(|text| Shown { parts: parts(&text, root), text }));
    (text, steps)
}

/// Creates the bundle under strace and holds init's calls against the printed steps; then shows that
/// the same steps in any other order would not do.
#[track_caller]
fn happens_as_explained(t: &Test, bundle: Bundle, flags: &[&str], visible: usize) {
    happens_after(&[], t, bundle, flags, visible);
}

/// The same, with words before the runtime's.
#[track_caller]
fn happens_after(before: &[&str], t: &Test, bundle: Bundle, flags: &[&str], visible: usize) {
    if let Some(why) = cannot(t) {
        skip!("{why}");
    }
    let bundle = bundle.asks(&["pid"]);
    let (text, steps) = explained(t, &bundle, flags);
    let traces = trace_create(t, before, &bundle, flags);
    let trace = init_of(&traces);
    if let Err(why) = matches(&steps, &trace) {
        panic!("{why}\n{text}\n{}", trace.join("\n"));
    }
    opened_by_the_parent(&text, &traces[0].1);
    // Does the comparison see anything? A step that left calls cannot be taken out; two such steps
    // cannot change places.
    let without = |n: usize| steps[..n].iter().chain(&steps[n + 1..]);
    let seen: Vec<usize> = (0..steps.len()).filter(|n| matches(without(*n), &trace).is_err()).collect();
    assert!(seen.len() >= visible, "only {} steps of {} are seen:\n{text}", seen.len(), steps.len());
    for pair in seen.windows(2) {
        let mut order: Vec<&Shown> = steps.iter().collect();
        order.swap(pair[0], pair[1]);
        let (a, b) = (&steps[pair[0]], &steps[pair[1]]);
        if a.parts != b.parts {
            assert!(matches(order, &trace).is_err(), "{:?} and {:?} could change places", a.text, b.text);
        }
    }
}

/// The trees that the parent opens are open before it makes a process.
#[track_caller]
fn opened_by_the_parent(text: &str, parent: &[String]) {
    let clone3 = parent.iter().position(|line| line.starts_with("clone3(")).expect("the parent's clone3");
    for line in text.lines().filter(|line| line.ends_with("as a detached tree")) {
        let path = line.split_once(" open ").unwrap().1.split(' ').next().unwrap();
        let opened = |line: &String| line.starts_with("open_tree(") && line.contains(&format!("\"{path}\""));
        let at =
            parent.iter().position(opened).unwrap_or_else(|| panic!("{path} is not opened: {parent:#?}"));
        assert!(at < clone3, "{path} is opened after clone3");
    }
}

fn profile() -> serde_json::Value {
    let rule = json!([{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }]);
    json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": rule })
}

fn binds(t: &Test, bundle: Bundle) -> Bundle {
    let [a, b] = ["a", "b"].map(|name| t.scratch(name));
    fs::create_dir(&a).unwrap();
    fs::write(&b, "text").unwrap();
    let bundle = bundle.file("data/file", "").dir_in_root("data/dir");
    bundle.bind(&a, "/data/dir", &["ro", "nosuid"]).bind(&b, "/data/file", &["rprivate"]).mount(
        "/tmp",
        "bind",
        &a,
        &["rbind", "rro"],
    )
}

#[test]
fn the_default() {
    container_test(|t| happens_as_explained(t, t.bundle(), &[], 40));
}

#[test]
fn a_cgroup_namespace() {
    container_test(|t| happens_as_explained(t, t.bundle().namespace("cgroup", true), &[], 40));
}

#[test]
fn seccomp_with_no_new_privileges() {
    container_test(|t| {
        let bundle = t.bundle().set("/linux/seccomp", profile()).set("/process/user/uid", 1000);
        happens_as_explained(t, bundle, &[], 40);
    });
}

#[test]
fn seccomp_without_no_new_privileges() {
    container_test(|t| {
        let bundle = t.bundle().set("/linux/seccomp", profile()).set("/process/noNewPrivileges", false);
        happens_as_explained(t, bundle.set("/process/user/gid", 50), &[], 40);
    });
}

#[test]
fn a_user_namespace() {
    container_test(|t| {
        // Its root must be able to walk to what it mounts.
        happens_as_explained(t, binds(t, t.bundle().userns()), &[], 40);
    });
}

#[test]
fn bind_mounts() {
    container_test(|t| happens_as_explained(t, binds(t, t.bundle()), &[], 43));
}

#[test]
fn hooks_sysctls_and_names() {
    container_test(|t| {
        let bundle = t
            .bundle()
            .hook("createRuntime", "true")
            .hook("createContainer", "true")
            .set("/linux/sysctl", json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "4096" }))
            .set("/domainname", "example.org")
            .set("/linux/rootfsPropagation", "rprivate");
        // A kernel without NUMA, as User-Mode Linux, has no such system call.
        let bundle = match fs::exists("/proc/self/numa_maps").unwrap() {
            true => bundle.set("/linux/memoryPolicy", json!({ "mode": "MPOL_PREFERRED", "nodes": "0" })),
            false => bundle,
        };
        happens_as_explained(t, bundle, &[], 40);
    });
}

#[test]
fn shared_mounts() {
    container_test(|t| {
        let bundle = binds(t, t.bundle()).set("/linux/rootfsPropagation", "rshared");
        // In a mount namespace whose mounts reach nobody.
        let apart = ["unshare", "--mount", "--propagation", "private"];
        happens_after(&apart, t, bundle, &["--no-new-keyring"], 40);
    });
}

#[test]
fn no_pivot() {
    container_test(|t| happens_as_explained(t, t.bundle(), &["--no-pivot"], 40));
}

#[test]
fn no_mount_namespace() {
    container_test(|t| {
        let bundle = t
            .bundle()
            .namespace("mount", false)
            .set("/mounts", json!([]))
            .set("/root/readonly", false)
            .set("/linux/maskedPaths", json!([]))
            .set("/linux/readonlyPaths", json!([]));
        happens_as_explained(t, bundle, &[], 15);
    });
}

/// setns and unshare of time and user namespaces refuse a caller that has threads, and a lock that
/// another thread holds would never be opened in the child.
#[test]
fn one_process_and_one_thread() {
    container_test(|t| {
        if let Some(why) = cannot(t) {
            skip!("{why}");
        }
        let single = |what: &str, traces: &[(u32, Trace)]| {
            for (pid, trace) in traces {
                let thread = trace.iter().find(|line| line.contains("CLONE_THREAD"));
                assert_eq!(thread, None, "{what}: process {pid}");
            }
            let births = traces[0].1.iter().filter(|line| BIRTHS.iter().any(|b| line.starts_with(b)));
            let births: Vec<_> = births.collect();
            assert!(births.len() == 1 && births[0].starts_with("clone3("), "{what}: {births:#?}");
        };
        single("create", &trace_create(t, &[], &t.bundle().asks(&["pid"]), &[]));
        single("run", &traced(t, &[], || drop(t.run(&t.bundle().asks(&["pid"])).ok())));
        t.up(t.bundle());
        single("exec", &traced(t, &[], || drop(t.exec_with(&[], &["pid"]).ok())));
        t.kill("TERM").ok();
        t.until_stopped();
        t.delete().ok();
    });
}

/// Else a container's process could write to it through /proc/PID/exe (CVE-2019-5736).
#[test]
fn our_own_program_is_out_of_reach_before_anything_is_read() {
    container_test(|t| {
        if let Some(why) = cannot(t) {
            skip!("{why}");
        }
        let traces = traced(t, &[], || drop(t.run(&t.bundle().asks(&["pid"])).ok()));
        let own = &traces[0].1;
        let at = |what: &dyn Fn(&str) -> bool| own.iter().position(|line| what(line)).expect("such a call");
        let again = at(&|line| line.starts_with("execveat("));
        let read = at(&|line| OPENS.iter().any(|b| line.starts_with(b)) && line.contains("config.json"));
        assert!(again < read, "{own:#?}");
    });
}

/// What a developer sets for other programs changes nothing here.
#[test]
fn rust_variables_are_not_read() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("they are variables of our language");
        }
        let bundle = t.bundle().asks(&["pid"]);
        let bad = t.bundle().args(&["/no/such/program"]);
        let said = |bundle: &Bundle, env: &[(&str, &str)]| {
            let mut command = t.command(&t.with_bundle("run", bundle, &[]));
            command.envs(env.iter().copied());
            let out = t.output(command);
            (out.code, out.stdout(), out.stderr())
        };
        let env = [("RUST_LOG", "trace"), ("RUST_BACKTRACE", "full"), ("RUST_LIB_BACKTRACE", "1")];
        for bundle in [&bundle, &bad] {
            assert_eq!(said(bundle, &[]), said(bundle, &env));
        }
    });
}
