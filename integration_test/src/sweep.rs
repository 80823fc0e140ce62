// SPDX-License-Identifier: Apache-2.0
//! Sweeps over every system call of a command, found with strace(1): it is killed there
//! (`tests/crash.rs`), or the call fails (`tests/faults.rs`).
//!
//! A sample by default; `SOUTE_SWEEP=all` is the whole, `SOUTE_SWEEP=50` so many points
//! for each sweep.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::{Test, note_skip};

/// A place in a command: the k-th call of this name in one of its processes.
pub type Point = (String, u32);

/// The runtime's command under strace(1), ready to be changed.
pub fn traced(t: &Test, flags: &[&str], args: &[&str]) -> Command {
    let plain = t.command(args);
    let mut command = Command::new("strace");
    command.arg("-qq").args(flags).arg("--").arg(plain.get_program()).args(plain.get_args());
    command.current_dir(t.dir()).stdin(t.nothing());
    command
}

/// Every call that the traced command makes, as (name, k); with `-f` of all its processes.
/// What the payload and the hooks' shells do after their execve is not the runtime's, nor is
/// what the language's own start does before `main`: its last call is the second sigaltstack.
pub fn points(t: &Test, flags: &[&str], args: &[&str]) -> Vec<Point> {
    let log = t.scratch("strace");
    let mut all = flags.to_vec();
    all.extend(["-o", log.to_str().expect("scratch paths are plain")]);
    t.output(traced(t, &all, args)).ok();
    let follows = flags.contains(&"-f");
    let mut others = Vec::new();
    let (mut first, mut stacks) = (None, 0);
    let mut counts: BTreeMap<(String, String), u32> = BTreeMap::new();
    let mut most: BTreeMap<String, u32> = BTreeMap::new();
    let mut order = Vec::new();
    for line in fs::read_to_string(&log).unwrap_or_default().lines() {
        let (pid, call) = if follows { line.split_once(' ').unwrap_or(("", line)) } else { ("", line) };
        let Some((name, rest)) = call.trim_start().split_once('(') else { continue };
        if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            || name == "exit_group"
            || others.contains(&pid)
        {
            continue;
        }
        if name == "execve" && ["\"/payload\"", "\"/bin/sh\""].iter().any(|program| rest.starts_with(program))
        {
            others.push(pid);
        }
        let leader = *first.get_or_insert_with(|| pid.to_owned()) == pid;
        if leader && name == "execveat" {
            stacks = 0;
        }
        let before_main = leader && stacks < 2 && !matches!(name, "execve" | "execveat");
        stacks += u32::from(leader && name == "sigaltstack");
        let count = counts.entry((pid.to_owned(), name.to_owned())).or_default();
        *count += 1;
        let most = most.entry(name.to_owned()).or_default();
        if *count > *most {
            *most = *count;
            if !before_main {
                order.push((name.to_owned(), *count));
            }
        }
    }
    order
}

/// So many of them, evenly spread, unless the environment says otherwise.
pub fn sample<T>(all: Vec<T>, usual: usize) -> Vec<T> {
    let wanted = match std::env::var("SOUTE_SWEEP").ok().as_deref() {
        Some("all") => all.len(),
        Some(text) => text.parse().unwrap_or(usual),
        None => usual,
    };
    let step = all.len().div_ceil(wanted.max(1)).max(1);
    all.into_iter().step_by(step).collect()
}

/// Is strace(1) here, and may it trace? If not the test counts as skipped.
pub fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status();
    let can = traced.is_ok_and(|status| status.success());
    if !can {
        note_skip("strace is not installed, or may not trace");
    }
    can
}
