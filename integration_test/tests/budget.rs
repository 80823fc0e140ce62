// SPDX-License-Identifier: Apache-2.0
//! What a command may ask of the kernel, in system calls, and of the processor, in instructions.
//! Neither depends on the clock, so a step that makes starts slower is seen on a busy machine too.
//!
//! The budgets are a little above what was counted when they were written. Whoever needs more says
//! in the commit what for; whoever needs less lowers them. hack/bench measures times.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::{Command, Stdio};

use integration_test::{Flavor, Host, Test, by_systemd, container_test, skip};

/// Verb, calls on a v2 host, calls on one with ten hierarchies.
const CALLS: [(&str, u64, u64); 5] =
    [("run", 620, 850), ("start", 90, 100), ("state", 68, 75), ("exec", 340, 410), ("delete", 88, 112)];

/// Verb, thousands of instructions of a debug build. Valgrind knows too few calls for a whole `run`,
/// but what a run reads, checks and plans is what `explain` does.
const INSTRUCTIONS: [(&str, u64); 3] = [("explain", 5_700), ("state", 800), ("list", 900)];

fn works(program: &str, args: &[&str]) -> bool {
    let mut command = Command::new(program);
    let quiet = command.args(args).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Counts what each verb needs, by the words that are put before it and what they write to a file.
struct Counter<'a> {
    t: &'a Test,
    words: &'a [&'a str],
    counted: fn(&str) -> u64,
    over: Vec<String>,
}

impl<'a> Counter<'a> {
    fn new(t: &'a Test, words: &'a [&'a str], counted: fn(&str) -> u64) -> Self {
        Self { t, words, counted, over: Vec::new() }
    }

    fn check(&mut self, verb: &str, allowed: u64, what: impl FnOnce()) {
        let file = self.t.scratch("count");
        // The value of the last word is the file.
        let (last, words) = self.words.split_last().unwrap();
        let last = format!("{last}{}", file.display());
        self.t.before(&[words, &[last.as_str()]].concat());
        what();
        self.t.before(&[]);
        let count = (self.counted)(&fs::read_to_string(&file).unwrap());
        assert!(count > 0, "{verb}: nothing was counted");
        println!("{verb}: {count} of {allowed}");
        if count > allowed {
            self.over.push(format!("{verb}: {count}, of {allowed} that are allowed"));
        }
    }
}

/// The sum of the calls of strace's table, but for fcntl: a debug build of the standard library asks
/// before each close whether the descriptor is open.
fn calls(table: &str) -> u64 {
    let rows = table.lines().filter(|line| line.trim_start().starts_with(|c: char| c.is_ascii_digit()));
    rows.filter(|row| !row.ends_with(" fcntl") && !row.ends_with(" total"))
        .filter_map(|row| row.split_whitespace().nth(3)?.parse::<u64>().ok())
        .sum()
}

/// "==123== Collected : 663863", in thousands.
fn instructions(log: &str) -> u64 {
    let line = log.lines().find(|line| line.contains("Collected"));
    line.and_then(|line| line.split_whitespace().last()?.parse::<u64>().ok())
        .unwrap_or_default()
        .div_ceil(1000)
}

#[test]
fn no_command_makes_more_calls_than_its_budget() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("the budgets are soute's");
        }
        if by_systemd() {
            skip!("the budgets are those of our own driver; the other one waits for systemd");
        }
        if !works("strace", &["-f", "-c", "-o", "/dev/null", "true"]) {
            skip!("strace is not installed, or may not trace here");
        }
        let [run, start, state, exec, delete] =
            CALLS.map(|(verb, v2, v1)| (verb, if Host::here() == Host::V2 { v2 } else { v1 }));
        let mut counter = Counter::new(t, &["strace", "-f", "-c", "--output="], calls);
        let bundle = t.bundle().asks(&["pid"]);
        counter.check(run.0, run.1, || drop(t.run(&bundle).ok()));
        let bundle = t.bundle().asks(&["wait-for TERM"]);
        let out = t.create(&bundle).ok();
        counter.check(start.0, start.1, || drop(t.start().ok()));
        t.until("the payload is ready", || out.stdout().contains("waiting"));
        counter.check(state.0, state.1, || drop(t.state()));
        counter.check(exec.0, exec.1, || drop(t.exec_with(&[], &["pid"]).ok()));
        t.kill("KILL").ok();
        t.until_stopped();
        counter.check(delete.0, delete.1, || drop(t.delete().ok()));
        assert_eq!(counter.over, [""; 0]);
    });
}

#[test]
fn no_command_takes_more_instructions_than_its_budget() {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            skip!("the budgets are soute's");
        }
        if by_systemd() {
            skip!("the budgets are those of our own driver; the other one waits for systemd");
        }
        if !works("valgrind", &["--tool=none", "true"]) {
            skip!("valgrind is not installed, or cannot run here");
        }
        let [explain, state, list] = INSTRUCTIONS;
        let words = [
            // A trace of each error's origin is no part of the work.
            "env",
            "-u",
            "RUST_BACKTRACE",
            "valgrind",
            "--tool=callgrind",
            "--callgrind-out-file=/dev/null",
            "--log-file=",
        ];
        let mut counter = Counter::new(t, &words, instructions);
        let bundle = t.bundle().asks(&["pid"]);
        bundle.save();
        let dir = bundle.dir().to_str().unwrap();
        let other = t.named("other");
        counter.check(explain.0, explain.1, || drop(t.call(&["explain", "--bundle", dir, &other]).ok()));
        t.create(&bundle).ok();
        counter.check(state.0, state.1, || drop(t.state()));
        counter.check(list.0, list.1, || drop(t.call(&["list"]).ok()));
        t.delete_force();
        assert_eq!(counter.over, [""; 0]);
    });
}
