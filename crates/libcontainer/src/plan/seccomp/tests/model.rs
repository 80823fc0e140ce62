// SPDX-License-Identifier: Apache-2.0
//! What a profile says about a call, read rule by rule: slow, and with nothing of the compiler in
//! it but the numbers of names.

use std::cmp::Reverse;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompArg, LinuxSeccompOperator as Op};

use super::interpreter::Call;
use crate::plan::seccomp::arch::{Abi, Entry, Name, X32_BIT};
use crate::plan::seccomp::numbers::Cursor;

const ENOSYS: u32 = 0x0005_0000 | 38;

/// What a profile says, written out for each of its conventions.
pub struct Model {
    default: u32,
    abis: Vec<Named>,
}

struct Named {
    abi: Abi,
    highest: Option<u32>,
    /// Number, tests that must all hold, action; in the order of the profile.
    rules: Vec<(u32, Vec<Test>, u32)>,
}

pub fn entries(abi: &Abi, name: &str) -> impl Iterator<Item = (u32, Option<u8>)> {
    abi.entries(&Name::new(name, &mut Cursor::default())).into_iter().flatten().flatten().map(|entry| {
        match entry {
            Entry::Direct(number) => (number, None),
            Entry::Through { number, call } => (number, Some(call)),
        }
    })
}

impl Model {
    pub fn new(profile: &LinuxSeccomp, abis: &[Abi]) -> Self {
        let default = profile.default_action().as_u32(profile.default_errno_ret());
        let named = |abi: &Abi| {
            let mut rules = Vec::new();
            let mut highest = None;
            for syscall in profile.syscalls().iter().flatten() {
                let action = syscall.action().as_u32(syscall.errno_ret());
                for (number, through) in syscall.names().iter().flat_map(|name| entries(abi, name)) {
                    highest = highest.max(Some(number));
                    for args in alternatives(syscall.args().as_deref().unwrap_or_default()) {
                        if action != default {
                            rules.push((number, tests(&args, through, abi.wide()), action));
                        }
                    }
                }
            }
            Named { abi: *abi, highest, rules }
        };
        Self { default, abis: abis.iter().map(named).collect() }
    }

    /// The verdict; and whether it is ENOSYS only because the profile does not know the number.
    pub fn verdict(&self, call: &Call) -> (u32, bool) {
        let x86_64 = call.arch == 0xc000_003e;
        let x32 = x86_64 && call.number >= X32_BIT;
        let named = |named: &&Named| named.abi.audit() == call.arch && named.abi.x32() == x32;
        let Some(Named { highest, rules, .. }) = self.abis.iter().find(named) else {
            let skipped = x86_64 && call.number == u32::MAX;
            return (if skipped { self.default } else { 0 }, false);
        };
        let refuses = !matches!(self.default >> 16, 0x7fff | 0x7ffc | 0x7ff0);
        if refuses && highest.is_some_and(|highest| call.number > highest) {
            return (ENOSYS, true);
        }
        let of_number = || rules.iter().filter(|(number, ..)| *number == call.number);
        if let Some((.., action)) = of_number().find(|(_, tests, _)| tests.is_empty()) {
            return (*action, false);
        }
        let rank = |tests: &[Test]| tests.iter().map(Test::rank).collect::<Vec<_>>();
        // The first of the least.
        let best = of_number()
            .filter(|(_, tests, _)| tests.iter().all(|test| test.holds(call)))
            .min_by(|(_, a, _), (_, b, _)| rank(a).cmp(&rank(b)));
        (best.map_or(self.default, |(.., action)| *action), false)
    }
}

fn alternatives(args: &[LinuxSeccompArg]) -> Vec<Vec<LinuxSeccompArg>> {
    let twice = (0..6).any(|index| args.iter().filter(|arg| arg.index() == index).count() > 1);
    if twice { args.iter().map(|arg| vec![*arg]).collect() } else { vec![args.to_vec()] }
}

struct Test {
    index: usize,
    op: Op,
    width: u64,
    mask: u64,
    value: u64,
}

fn tests(args: &[LinuxSeccompArg], through: Option<u8>, wide: bool) -> Vec<Test> {
    let width = if wide { u64::MAX } else { u64::from(u32::MAX) };
    let mut tests: Vec<Test> = args
        .iter()
        .filter(|arg| through.is_none() || arg.index() != 0)
        .map(|arg| {
            let (mask, value) = match arg.op() {
                Op::ScmpCmpMaskedEq => (arg.value() & width, arg.value_two().unwrap_or(0)),
                _ => (width, arg.value()),
            };
            Test { index: arg.index(), op: arg.op(), width, mask, value: value & mask }
        })
        .filter(|test| test.mask != 0)
        .collect();
    if let Some(call) = through {
        tests.push(Test { index: 0, op: Op::ScmpCmpEq, width, mask: width, value: u64::from(call) });
    }
    tests.sort_by_key(|test| test.index);
    tests
}

impl Test {
    fn holds(&self, call: &Call) -> bool {
        let arg = call.args[self.index] & self.width;
        match self.op {
            Op::ScmpCmpNe => arg != self.value,
            Op::ScmpCmpLt => arg < self.value,
            Op::ScmpCmpLe => arg <= self.value,
            Op::ScmpCmpEq => arg == self.value,
            Op::ScmpCmpGe => arg >= self.value,
            Op::ScmpCmpGt => arg > self.value,
            Op::ScmpCmpMaskedEq => arg & self.mask == self.value,
        }
    }

    /// The least is the most specific.
    fn rank(&self) -> (Reverse<usize>, u8, u64) {
        let (kind, bound) = match self.op {
            Op::ScmpCmpEq | Op::ScmpCmpNe | Op::ScmpCmpMaskedEq => (0, !self.value),
            Op::ScmpCmpLt | Op::ScmpCmpLe => (1, self.value),
            Op::ScmpCmpGe | Op::ScmpCmpGt => (2, !self.value),
        };
        (Reverse(self.index), kind, bound)
    }
}
