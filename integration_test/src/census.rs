// SPDX-License-Identifier: Apache-2.0
//! What a test leaves behind: counted from the host's own account, not the runtime's.
//!
//! The test process is a subreaper, so whatever a runtime starts and leaves stays its
//! descendant, in whichever namespaces it lives. Mounts, cgroups and files are ours if
//! they bear the test's unique tag.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::host;

/// A process as /proc/PID/stat tells it.
pub(crate) struct Process {
    pub pid: i32,
    pub parent: i32,
    pub state: char,
    pub name: String,
}

pub(crate) fn processes() -> Vec<Process> {
    let numbers = fs::read_dir("/proc").into_iter().flatten().flatten();
    numbers.filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(") ")?;
    let mut rest = rest.split(' ');
    let state = rest.next()?.chars().next()?;
    let parent = rest.next()?.parse().ok()?;
    Some(Process { pid, parent, state, name: head.split_once('(')?.1.to_owned() })
}

/// All descendants of `root` but those in `known` (commands that the harness waits for)
/// and their own children are still counted.
pub(crate) fn descendants(root: i32) -> Vec<Process> {
    let all = processes();
    let mut family = BTreeSet::from([root]);
    loop {
        let before = family.len();
        family.extend(
            all.iter()
                .filter(|process| family.contains(&process.parent))
                .map(|process| process.pid)
                .collect::<Vec<_>>(),
        );
        if family.len() == before {
            break;
        }
    }
    all.into_iter().filter(|process| process.pid != root && family.contains(&process.pid)).collect()
}

/// Collects orphans that came to this process and have ended, but not `ours`, whose status
/// the harness itself waits for.
pub(crate) fn reap_orphans(ours: &BTreeSet<u32>) {
    let me = std::process::id() as i32;
    for process in processes() {
        if process.parent == me && process.state == 'Z' && !ours.contains(&(process.pid as u32)) {
            let _ = rustix::process::waitpid(Pid::from_raw(process.pid), WaitOptions::NOHANG);
        }
    }
}

/// Everything left of a test, one line each; empty is what we want. What is on its way out
/// (a process that was killed a moment ago) gets a second to be gone.
pub(crate) fn left_behind(tag: &str, dir: &Path, ours: &BTreeSet<u32>) -> Vec<String> {
    let end = Instant::now() + Duration::from_secs(1);
    loop {
        reap_orphans(ours);
        let left = look(tag, dir);
        if left.is_empty() || Instant::now() > end {
            return left;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn look(tag: &str, dir: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for process in descendants(std::process::id() as i32) {
        let Process { pid, state, name, .. } = process;
        left.push(format!("process {pid} ({name}, {state})"));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    left.extend(mounts.lines().filter(|line| line.contains(tag)).map(|line| format!("mount {line}")));
    left.extend(host::cgroups_named(tag).iter().map(|path| format!("cgroup {}", path.display())));
    if host::by_systemd() {
        left.extend(host::units_named(tag).iter().map(|unit| format!("unit {unit}")));
    }
    files(&dir.join("state"), &mut left);
    left
}

/// Files below the state directory, and directories that stand for a container. A lock
/// directory may stay, empty.
fn files(state: &Path, left: &mut Vec<String>) {
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if entry.file_name() == ".cache" {
            // crun's, for all its containers: filters that it has compiled.
        } else if hidden && path.is_dir() {
            files(&path, left);
        } else {
            left.push(format!("state {}", path.display()));
        }
    }
}

/// Removes what a failed test left, so that the next one starts clean: only processes that
/// descend from this one, and mounts and cgroups that bear the tag.
pub(crate) fn clean(tag: &str, ours: &BTreeSet<u32>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(4));
    for place in places.filter(|place| place.contains(tag)) {
        let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
    }
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        for cgroup in host::cgroups_named(tag) {
            for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0"), ("cgroup.kill", "1")] {
                if cgroup.join(file).exists() {
                    let _ = fs::write(cgroup.join(file), word);
                }
            }
        }
        for process in descendants(std::process::id() as i32) {
            if let (Some(pid), true) = (Pid::from_raw(process.pid), process.state != 'Z') {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
        reap_orphans(ours);
        let mut groups = host::cgroups_named(tag);
        groups.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
        for cgroup in &groups {
            let _ = fs::remove_dir(cgroup);
        }
        if groups.is_empty() && descendants(std::process::id() as i32).is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
