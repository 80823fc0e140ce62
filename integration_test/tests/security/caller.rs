// SPDX-License-Identifier: Apache-2.0
//! What a container could get of its caller's by way of what it inherits or joins.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use integration_test::sweep::can_trace;
use integration_test::{Flavor, container_test, differs, skip};
use serde_json::json;

/// user_namespaces(7): where setgroups(2) is denied, supplementary groups of the caller's would stay
/// for good, and with them what is open to them on the host.
#[test]
fn groups_of_the_caller_do_not_enter_a_joined_user_namespace() {
    container_test(|t| {
        differs!(t, Runc, "1.1 wants uidMappings beside the path of a user namespace");
        differs!(t, Crun, "the caller's groups stay where setgroups is denied");
        let holder = t.holder(&["--user", "--map-root-user"]);
        let path = format!("/proc/{}/ns/user", holder.pid());
        let bundle = t.bundle().joins_user_with_root_alone(&path);
        t.before(&["setpriv", "--groups", "4242,4343"]);
        let a = t.ask(bundle.clone(), &["groups"]);
        assert_eq!(a["groups"], json!([]), "of run");
        t.up(bundle);
        let a = t.exec(&["groups"]);
        assert_eq!(a["groups"], json!([]), "of exec");
        t.delete_force();
    });
}

/// A process that has stepped into the user namespace could be traced by whoever made that.
#[test]
fn whoever_made_a_user_namespace_does_not_trace_the_runtime_that_joins_it() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("looks at how soute does it");
        }
        if !can_trace() {
            return;
        }
        let holder = t.holder(&["--user", "--map-root-user"]);
        let path = format!("/proc/{}/ns/user", holder.pid());
        let bundle = t.bundle().joins_user_with_root_alone(&path);
        let trace = t.dir().join("trace");
        let strace = ["strace", "-f", "-e", "trace=prctl,clone3,setns", "-o", trace.to_str().unwrap()];
        t.before(&strace);
        t.run(&bundle.asks(&["pid"])).ok();
        let trace = fs::read_to_string(trace).unwrap();
        let undumpable = trace.lines().position(|line| line.contains("PR_SET_DUMPABLE, SUID_DUMP_DISABLE"));
        let entered = trace.lines().position(|line| line.contains("CLONE_NEWUSER"));
        assert!(undumpable.is_some() && entered.is_some() && undumpable < entered, "{trace}");
    });
}

/// A file that the caller only reads from is not given to the container's user, who could then open it
/// for writing.
#[test]
fn a_file_to_be_read_keeps_its_owner() {
    container_test(|t| {
        differs!(t, Runc, "gives the file away");
        differs!(t, Crun, "gives the file away");
        let file = t.dir().join("input");
        fs::write(&file, "text").unwrap();
        let owner = || fs::metadata(&file).unwrap().uid();
        let before = owner();
        let bundle = t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let mut run = t.command(&t.with_bundle("run", &bundle.asks(&["stdin"]), &[]));
        run.stdin(File::open(&file).unwrap());
        assert_eq!(t.output(run).ok().answers()["stdin"], "text");
        assert_eq!(owner(), before);
    });
}

/// `..` leads from a directory of the host to all of it.
#[test]
fn a_directory_as_a_standard_stream_is_refused() {
    container_test(|t| {
        differs!(t, Runc, "hands it on");
        differs!(t, Crun, "hands it on");
        let bundle = t.bundle().asks(&["pid"]);
        let mut run = t.command(&t.with_bundle("run", &bundle, &[]));
        run.stdin(File::open(t.dir()).unwrap());
        let says = t.output(run).fails();
        assert!(says.contains("standard input is a directory"), "{says}");
        t.up(t.bundle());
        let mut exec = t.command(&["exec", t.id(), "/payload", "pid"]);
        exec.stdin(File::open(t.dir()).unwrap());
        let says = t.output(exec).fails();
        assert!(says.contains("standard input is a directory"), "{says}");
        t.delete_force();
    });
}
