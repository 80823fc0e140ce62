// SPDX-License-Identifier: Apache-2.0
//! What each line of `explain` must look like in a trace, and whether a trace is these lines.

use std::collections::BTreeSet;

/// A part of what a step looks like in a trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// One call: its name, and what its arguments contain.
    Call(&'static str, Vec<String>),
    /// Once or not at all: the path may not be there.
    Maybe(Vec<Part>),
    /// As often as need be.
    Any(Vec<Part>),
    /// The one or the other.
    Either(Vec<Part>, Vec<Part>),
}

use Part::{Any, Either, Maybe};

pub fn call(name: &'static str, words: &[&str]) -> Part {
    Part::Call(name, words.iter().map(|word| (*word).to_owned()).collect())
}

/// Where a trace can stand after these parts, when it stands at one of `from` before them.
fn after(parts: &[Part], trace: &[String], mut from: BTreeSet<usize>) -> BTreeSet<usize> {
    for part in parts {
        from = match part {
            Part::Call(name, words) => {
                let is = |line: &String| {
                    line.strip_prefix(name).is_some_and(|rest| rest.starts_with('('))
                        && words.iter().all(|word| line.contains(word.as_str()))
                };
                from.into_iter().filter(|at| trace.get(*at).is_some_and(is)).map(|at| at + 1).collect()
            }
            Maybe(parts) => &from | &after(parts, trace, from.clone()),
            Any(parts) => {
                let mut all = from;
                loop {
                    let more = &all | &after(parts, trace, all.clone());
                    if more == all {
                        break all;
                    }
                    all = more;
                }
            }
            Either(a, b) => &after(a, trace, from.clone()) | &after(b, trace, from.clone()),
        };
    }
    from
}

/// Whether the trace is these steps, in this order, and nothing else. Else how far it is.
pub fn matches<'a>(steps: impl IntoIterator<Item = &'a Shown>, trace: &[String]) -> Result<(), String> {
    let mut at = BTreeSet::from([0]);
    for step in steps {
        let next = after(&step.parts, trace, at.clone());
        if next.is_empty() {
            let seen = at.last().and_then(|at| trace.get(*at)).map_or("the end", String::as_str);
            return Err(format!("step {:?} {:?}\nis not what happened: {seen}", step.text, step.parts));
        }
        at = next;
    }
    match at.contains(&trace.len()) {
        true => Ok(()),
        false => Err(format!("after the last step: {:?}", at.last().and_then(|at| trace.get(*at)))),
    }
}

/// A step as `explain` prints it, and what it must look like in a trace.
#[derive(Debug)]
pub struct Shown {
    pub text: String,
    pub parts: Vec<Part>,
}

/// The numbered lines of `explain`; a line that was too long goes on further in.
pub fn printed(text: &str) -> Vec<String> {
    let mut steps: Vec<String> = Vec::new();
    for line in text.lines() {
        let (number, rest) = line.split_at_checked(4).unwrap_or((line, ""));
        if number.trim().parse::<usize>().is_ok_and(|n| n == steps.len() + 1) {
            // Property and action.
            steps.push(rest.trim_start().split_once(' ').unwrap().1.trim_start().to_owned());
        } else if line.starts_with(&" ".repeat(30)) {
            // Before the first step they are the parent's.
            if let Some(last) = steps.last_mut() {
                *last = format!("{last} {}", line.trim_start());
            }
        }
    }
    steps
}

/// The path after " on ", without the words that follow it.
fn target(text: &str) -> &str {
    let (_, rest) = text.rsplit_once(" on /").unwrap_or_else(|| panic!("no target: {text}"));
    let end = rest.find([' ', ',']).unwrap_or(rest.len());
    let start = text.len() - rest.len();
    &text[start - 1..start + end]
}

/// What a printed step must look like: the table of the test. `root` is the image's directory; paths
/// below it are the container's until pivot_root.
pub fn parts(text: &str, root: &str) -> Vec<Part> {
    let inside = |path: &str| format!("<{root}{path}>");
    let attached = |path: &str| call("move_mount", &[&format!("{path}, \"\", MOVE_MOUNT_F_EMPTY_PATH")]);
    let changes = || Any(vec![call("mount_setattr", &["AT_EMPTY_PATH"])]);
    let clone = |path: &str| call("open_tree", &[path, "OPEN_TREE_CLONE"]);
    let words: Vec<&str> = text.split([' ', ',']).collect();
    let begins = |start: &str| text.starts_with(start);
    if begins("become uid 0 and gid 0 of the user namespace") {
        let undumpable = call("prctl", &["PR_SET_DUMPABLE", "SUID_DUMP_DISABLE"]);
        return vec![call("setresgid", &["(0, 0, 0)"]), call("setresuid", &["(0, 0, 0)"]), undumpable];
    }
    if begins("unshare the cgroup namespace") {
        return vec![call("unshare", &["CLONE_NEWCGROUP"])];
    }
    if begins("join a new session keyring") {
        let name = words.last().unwrap().strip_suffix("RANDOM").unwrap();
        let join = call("keyctl", &["KEYCTL_JOIN_SESSION_KEYRING", name]);
        return vec![join, Any(vec![call("keyctl", &["KEYCTL_SETPERM"])])];
    }
    if begins("begin a new session") {
        return vec![call("setsid", &[])];
    }
    if begins("set the host name") {
        return vec![call("sethostname", &[words.last().unwrap()])];
    }
    if begins("set the domain name") {
        return vec![call("setdomainname", &[words.last().unwrap()])];
    }
    if begins("make every mount of this namespace") {
        return vec![call("mount_setattr", &["\"/\"", "AT_RECURSIVE", "propagation=MS_"])];
    }
    if begins("bind the root filesystem") {
        let bind = [clone(&inside("")), attached(&inside(""))];
        let private = || call("mount_setattr", &["propagation=MS_PRIVATE"]);
        return match text.ends_with(", the mount below and this one private") {
            false => bind.into(),
            true => bind.into_iter().flat_map(|part| [private(), part]).collect(),
        };
    }
    if begins("mount the cgroup hierarchies below") {
        let tree = inside(words[5]);
        let below = format!("<{root}{}/", words[5]);
        let fs = || vec![call("fsopen", &["\"cgroup"]), call("fsmount", &[])];
        let group = Either(fs(), vec![clone("/sys/fs/cgroup/")]);
        let hierarchy = vec![group, changes(), call("move_mount", &[&below])];
        return vec![
            call("fsopen", &["\"tmpfs\""]),
            call("fsmount", &[]),
            attached(&tree),
            Any(hierarchy),
            changes(),
        ];
    }
    if begins("mount ") {
        let kind = format!("(\"{}\"", words[1]);
        let made = [call("fsopen", &[&kind]), call("fsmount", &[])];
        return [&made[..], &[changes(), attached(&inside(target(text))), changes()]].concat();
    }
    if begins("bind the host's ") {
        return vec![clone(&format!("<{}>", words[3])), attached(&inside(target(text)))];
    }
    if begins("bind ") || begins("rbind ") {
        let attach = vec![changes(), attached(&inside(target(text)))];
        // The parent has opened it: as a whole tree, or as a place for init to clone.
        return match text.ends_with(", from the parent's tree") {
            true => attach,
            false => [vec![clone(words[1])], attach].concat(),
        };
    }
    if begins("make device ") {
        let (dir, name) = words[2].rsplit_once('/').unwrap();
        let node = call("mknodat", &[&inside(dir), &format!("\"{name}\"")]);
        // A runtime that is itself in a container may make none.
        return vec![node, Maybe(vec![clone(&format!("<{}>", words[2])), attached(&inside(words[2]))])];
    }
    if begins("link ") {
        let (dir, name) = words[1].rsplit_once('/').unwrap();
        let (to, name) = (format!("\"{}\"", words[3]), format!("\"{name}\""));
        return vec![call("symlinkat", &[&to, &inside(dir), &name])];
    }
    if begins("pivot_root ") {
        let mut parts = vec![
            call("fchdir", &[&inside("")]),
            call("pivot_root", &["(\".\", \".\")"]),
            call("umount2", &["(\".\", MNT_DETACH)"]),
            call("chdir", &["(\"/\")"]),
        ];
        if text.contains("make the old root rslave") {
            parts.insert(2, call("mount_setattr", &["\".\"", "AT_RECURSIVE", "MS_SLAVE"]));
        }
        return parts;
    }
    if begins("move the root filesystem over /") {
        let moved = [call("fchdir", &[&inside("")]), call("move_mount", &["\".\"", "\"/\""])];
        return [&moved[..], &[call("chroot", &["(\".\")"]), call("chdir", &["(\"/\")"])]].concat();
    }
    if begins("chroot into ") {
        return vec![
            call("fchdir", &[&inside("")]),
            call("chroot", &["(\".\")"]),
            call("chdir", &["(\"/\")"]),
        ];
    }
    if begins("make the root mount read-only") {
        return vec![call("mount_setattr", &["\"/\"", "attr_set=MOUNT_ATTR_RDONLY"])];
    }
    if begins("make the root mount ") {
        return vec![call("mount_setattr", &["\"/\"", "propagation=MS_"])];
    }
    if begins("make ") && text.ends_with(" read-only") {
        let path = format!("<{}>", words[1]);
        let readonly = call("mount_setattr", &["attr_set=MOUNT_ATTR_RDONLY"]);
        return vec![Maybe(vec![clone(&path), readonly, attached(&path)])];
    }
    if begins("open the host's /dev/null") {
        return vec![call("open_tree", &["\"/dev/null\"", "OPEN_TREE_CLONE"])];
    }
    if begins("mask ") {
        let path = format!("<{}>", words[1]);
        let empty = vec![call("fsopen", &["\"tmpfs\""]), call("fsmount", &["MOUNT_ATTR_RDONLY"])];
        // The first of the files gets the null device as it was opened.
        let cover = Either(empty, vec![Maybe(vec![call("open_tree", &["OPEN_TREE_CLONE"])])]);
        return vec![Maybe(vec![cover, attached(&path)])];
    }
    if begins("set sysctl ") {
        return vec![Maybe(vec![call("fsopen", &["\"proc\""]), call("fsmount", &[])])];
    }
    if begins("limit ") {
        return vec![call("prlimit64", &[words[1], "{rlim_cur=", "NULL)"])];
    }
    if begins("raise each soft limit") {
        return vec![Any(vec![call("prlimit64", &[])])];
    }
    if begins("let it run on every CPU") {
        return vec![call("sched_setaffinity", &["(0, "])];
    }
    if begins("set the memory policy ") {
        return vec![call("set_mempolicy", &[words[4]])];
    }
    if begins("set the execution domain") {
        return vec![call("personality", &[&format!("PER_{}", words.last().unwrap())])];
    }
    if begins("enter the working directory") {
        return vec![call("chdir", &[&format!("(\"{}\")", words.last().unwrap())])];
    }
    if begins("let descriptors from ") {
        return vec![call("close_range", &[&format!("({}, ", words[3]), "CLOSE_RANGE_CLOEXEC"])];
    }
    if begins("no longer die with the parent") {
        return vec![call("prctl", &["PR_SET_PDEATHSIG, 0"])];
    }
    if begins("drop from the bounding set") {
        return vec![Any(vec![call("prctl", &["PR_CAPBSET_DROP"])])];
    }
    if begins("set no_new_privs") {
        return vec![call("prctl", &["PR_SET_NO_NEW_PRIVS, 1"])];
    }
    if begins("load the seccomp filter") {
        return vec![call("seccomp", &["SECCOMP_SET_MODE_FILTER"])];
    }
    if begins("become uid ") {
        let (uid, gid) = (words[2], words[5]);
        let mut calls = vec![
            call("prctl", &["PR_SET_KEEPCAPS, 1"]),
            call("setgroups", &[]),
            call("setresgid", &[&format!("({gid}, {gid}, {gid})")]),
            call("setresuid", &[&format!("({uid}, {uid}, {uid})")]),
        ];
        if (uid, gid) != ("0", "0") {
            calls.push(call("prctl", &["PR_SET_DUMPABLE", "SUID_DUMP_DISABLE"]));
        }
        return calls;
    }
    if begins("set capabilities: ") {
        return vec![call("capset", &[]), Any(vec![call("prctl", &["PR_CAP_AMBIENT"])])];
    }
    if begins("set the umask to ") {
        return vec![call("umask", &[&format!("({})", &words.last().unwrap()[1..])])];
    }
    if begins("execve") {
        return vec![call("execve", &["(\"/payload\""])];
    }
    if begins("enter the network namespace") {
        return vec![Any(vec![call("setns", &["CLONE_NEWNET"])])];
    }
    // Hooks before startContainer have the caller's umask.
    if begins("run ") && !text.contains(" startContainer ") {
        return vec![call("umask", &[]), call("umask", &["(000)"])];
    }
    const UNSEEN: [&str; 7] = [
        "join the cgroups: ",
        "report \"mounted\" and wait",
        "run ",
        "give standard input, output and error",
        "look up HOME",
        "find the executable",
        "report \"ready\" and wait for start",
    ];
    assert!(UNSEEN.iter().any(|start| begins(start)), "the test does not know the step {text:?}");
    Vec::new()
}
