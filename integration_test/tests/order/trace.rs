// SPDX-License-Identifier: Apache-2.0
//! The system calls of a command of the runtime, process by process, as strace(1) sees them.

use std::fs;
use std::process::{Command, Stdio};

use integration_test::{Bundle, Flavor, Test};

/// What is traced: all that changes mounts, the root, names, rights, limits or the filter,
/// makes processes or opens files. Those with a question mark are not on every machine.
const CALLS: &str = "trace=fsopen,fsmount,open_tree,move_mount,mount_setattr,mount,umount2,pivot_root,chroot,chdir,\
    fchdir,mknodat,symlinkat,unshare,setns,setsid,sethostname,setdomainname,keyctl,personality,\
    sched_setaffinity,set_mempolicy,umask,prlimit64,prctl,\
    capset,setgroups,setresgid,setresuid,setreuid,setregid,setuid,setgid,close_range,seccomp,execve,execveat,clone,\
    clone3,?fork,?vfork,?open,openat,openat2";

/// Calls by which a process makes another.
pub const BIRTHS: [&str; 4] = ["clone(", "clone3(", "fork(", "vfork("];

/// Calls that open; of init they are no step.
pub const OPENS: [&str; 3] = ["open(", "openat(", "openat2("];

/// Why nothing can be traced here.
pub fn cannot(t: &Test) -> Option<&'static str> {
    let mut command = Command::new("strace");
    let command = command.args(["-f", "-o", "/dev/null", "true"]).stderr(Stdio::null());
    match command.status() {
        _ if t.flavor() != Flavor::Soute => Some("only soute has explain"),
        Err(_) => Some("strace is not installed"),
        Ok(status) if !status.success() => Some("strace may not trace here"),
        Ok(_) => None,
    }
}

/// The calls of one process: `name(arguments) = result`.
pub type Trace = Vec<String>;

/// Runs a command of the runtime under strace; the traces by process, the command's own first. The
/// words `before` come before those of strace.
pub fn traced(t: &Test, before: &[&str], command: impl FnOnce()) -> Vec<(u32, Trace)> {
    let dir = t.scratch("trace");
    fs::create_dir(&dir).unwrap();
    let file = dir.join("of");
    // -y shows the path behind each descriptor, in the process's own eyes.
    let strace = ["strace", "-ff", "-y", "-s", "300", "-o", file.to_str().unwrap(), "-e", CALLS];
    t.before(&[before, &strace].concat());
    command();
    t.before(&[]);
    let mut traces: Vec<(u32, Trace)> = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let pid = path.extension().unwrap().to_str().unwrap().parse().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines = text.lines().filter(|line| !line.starts_with(['-', '+']));
        traces.push((pid, lines.map(str::to_owned).collect()));
    }
    // The command itself begins with strace's execve of it.
    traces.sort_by_key(|(pid, trace)| (!trace.first().is_some_and(|l| l.starts_with("execve(")), *pid));
    traces
}

/// Creates, starts and deletes; the traces of create.
pub fn trace_create(t: &Test, before: &[&str], bundle: &Bundle, flags: &[&str]) -> Vec<(u32, Trace)> {
    let traces = traced(t, before, || {
        let create = t.start_command(t.command(&t.with_bundle("create", bundle, flags)));
        t.before(&[]);
        // strace goes on for as long as init lives: the command itself is done when state says so.
        t.until("the container is created", || t.call(&["state", t.id()]).stdout().contains("\"created\""));
        t.start().ok();
        create.wait().ok();
    });
    t.delete().ok();
    traces
}

/// How the process that a call made is numbered.
fn born(line: &str) -> Option<u32> {
    line.rsplit_once(" = ")?.1.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// The trace of init, up to its execve.
pub fn init_of(traces: &[(u32, Trace)]) -> Trace {
    let (_, own) = &traces[0];
    let pid = own.iter().find(|line| line.starts_with("clone3(")).and_then(|line| born(line));
    let (_, trace) = traces.iter().find(|(p, _)| Some(*p) == pid).expect("the trace of init");
    let end = trace.iter().position(|line| line.starts_with("execve(")).expect("init's execve");
    let other = |line: &&String| ![&BIRTHS[..], &OPENS].concat().iter().any(|name| line.starts_with(name));
    trace[..=end].iter().filter(other).cloned().collect()
}
