// SPDX-License-Identifier: Apache-2.0
//! From rules to the number line: for each architecture a verdict for every number from 0 to
//! 2^32 - 1, as sorted ranges.

use std::cmp::{Ordering, Reverse};

use libc::{ENOSYS, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_THREAD};
use libc::{SECCOMP_RET_ACTION, SECCOMP_RET_ALLOW, SECCOMP_RET_LOG, SECCOMP_RET_TRACE};

use super::arch::{Abi, Entry, X32_BIT};
use super::{Compare, Condition, Rule};

/// What a number that the kernel may not know answers.
const NEWER: u32 = SECCOMP_RET_ERRNO | ENOSYS as u32;

/// Where a call of an architecture that the profile does not have ends: libseccomp's choice.
pub const BAD_ARCH: u32 = SECCOMP_RET_KILL_THREAD;

/// All calls with one value of `seccomp_data.arch`.
#[derive(Debug)]
pub struct Section {
    /// That value.
    pub audit: u32,
    /// First number and verdict of each range; the first begins at 0, no two neighbours are
    /// equal, and the last goes on to 2^32 - 1.
    pub ranges: Vec<(u32, Verdict)>,
}

/// What happens to the calls of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Always this `SECCOMP_RET_*`.
    Return(u32),
    /// It depends on the arguments: the first branch that holds, else the default action.
    Branches { wide: bool, branches: Vec<Branch> },
}

/// Conditions that must all hold (there is at least one), and what then happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    pub conditions: Vec<Condition>,
    pub action: u32,
}

/// One name of one rule on one architecture.
struct Hit {
    number: u32,
    rule: usize,
    /// The first argument, where it says which call is meant.
    call: Option<u8>,
}

/// The number line of each architecture, in the order in which a program should ask for them.
pub fn sections(abis: &[Abi], rules: &[Rule], default: u32) -> Vec<Section> {
    let section = |abi: &Abi| {
        let mut ranges = line(abi, rules, default);
        if abi.shares_with_x32() {
            ranges.retain(|(first, _)| *first < X32_BIT);
            match abis.iter().find(|abi| abi.x32()) {
                Some(x32) => {
                    for (first, verdict) in line(x32, rules, default) {
                        extend(&mut ranges, first.max(X32_BIT), verdict);
                    }
                }
                None => {
                    extend(&mut ranges, X32_BIT, Verdict::Return(BAD_ARCH));
                    // A tracer sets -1 to have a call skipped; that must not kill.
                    extend(&mut ranges, u32::MAX, Verdict::Return(default));
                }
            }
        }
        Section { audit: abi.audit(), ranges }
    };
    abis.iter().filter(|abi| !abi.x32()).map(section).collect()
}

/// Adds a range to the end, or lets the last one go on where the verdict stays the same.
fn extend(ranges: &mut Vec<(u32, Verdict)>, first: u32, verdict: Verdict) {
    if ranges.last().is_none_or(|(_, last)| *last != verdict) {
        ranges.push((first, verdict));
    }
}

fn line(abi: &Abi, rules: &[Rule], default: u32) -> Vec<(u32, Verdict)> {
    let (hits, named) = hits(abi, rules, default);
    let mut ranges = Vec::with_capacity(hits.len());
    let refuses = !matches!(
        default & SECCOMP_RET_ACTION,
        SECCOMP_RET_ALLOW | SECCOMP_RET_LOG | SECCOMP_RET_TRACE // a tracer knows new calls itself
    );
    if refuses && named.is_some() && abi.unknown_is_zero() {
        extend(&mut ranges, 0, Verdict::Return(NEWER));
    }
    // The first number without a verdict; none where the line is full.
    let mut next = Some(ranges.len() as u32);
    for group in hits.chunk_by(|a, b| a.number == b.number) {
        let number = group[0].number;
        let Some(first) = next.filter(|first| *first <= number) else { continue };
        if first < number {
            extend(&mut ranges, first, Verdict::Return(default));
        }
        extend(&mut ranges, number, judge(abi, rules, group, default));
        next = number.checked_add(1);
    }
    // Numbers that only rules without effect name are known too.
    let newer = match named {
        Some(number) if refuses => number.checked_add(1),
        _ => None,
    };
    if let Some(first) = next
        && newer != next
    {
        extend(&mut ranges, first, Verdict::Return(default));
    }
    if let Some(first) = newer {
        extend(&mut ranges, first, Verdict::Return(NEWER));
    }
    ranges
}

/// Every place where a rule with effect applies, sorted by number and then as the profile has
/// them; and the highest number that any rule names.
fn hits(abi: &Abi, rules: &[Rule], default: u32) -> (Vec<Hit>, Option<u32>) {
    let mut hits = Vec::with_capacity(512);
    let mut named = None;
    for (rule, Rule { names, action, .. }) in rules.iter().enumerate() {
        for entry in names.iter().filter_map(|name| abi.entries(name)).flatten().flatten() {
            let (number, call) = match entry {
                Entry::Direct(number) => (number, None),
                Entry::Through { number, call } => (number, Some(call)),
            };
            named = named.max(Some(number));
            if *action != default {
                hits.push(Hit { number, rule, call });
            }
        }
    }
    hits.sort_by_key(|hit| hit.number);
    (hits, named)
}

/// The verdict for one number.
fn judge(abi: &Abi, rules: &[Rule], hits: &[Hit], default: u32) -> Verdict {
    let wide = abi.wide();
    let mut branches = Vec::new();
    for Hit { rule, call, .. } in hits {
        let Rule { alternatives, action, .. } = &rules[*rule];
        for alternative in alternatives {
            let mut conditions: Vec<Condition> =
                alternative.iter().filter_map(|condition| condition.on(wide)).collect();
            if let Some(call) = call {
                // The first argument of socketcall and ipc is the call; the rule's own cannot be
                // seen from here. libseccomp does the same.
                conditions.retain(|condition| condition.arg != 0);
                conditions.insert(0, Condition { arg: 0, compare: Compare::Eq(u64::from(*call)) });
            }
            if conditions.is_empty() {
                return Verdict::Return(*action);
            }
            branches.push(Branch { conditions, action: *action });
        }
    }
    if branches.is_empty() {
        return Verdict::Return(default);
    }
    branches.sort_by(|a, b| specific_first(&a.conditions, &b.conditions));
    branches.dedup_by(|later, earlier| later.conditions == earlier.conditions);
    Verdict::Branches { wide, branches }
}

impl Condition {
    /// The condition as an architecture with or without 64-bit arguments sees it; `None` where it
    /// always holds.
    fn on(self, wide: bool) -> Option<Self> {
        let cut = |value: u64| if wide { value } else { value & u64::from(u32::MAX) };
        let compare = match self.compare {
            Compare::Ne(value) => Compare::Ne(cut(value)),
            Compare::Lt(value) => Compare::Lt(cut(value)),
            Compare::Le(value) => Compare::Le(cut(value)),
            Compare::Eq(value) => Compare::Eq(cut(value)),
            Compare::Ge(value) => Compare::Ge(cut(value)),
            Compare::Gt(value) => Compare::Gt(cut(value)),
            Compare::Masked { mask, .. } if cut(mask) == 0 => return None,
            Compare::Masked { mask, value } => Compare::Masked { mask: cut(mask), value: cut(value) },
        };
        Some(Self { compare, ..self })
    }

    /// How close a condition is: kind, then bound; smaller is closer.
    fn closeness(&self) -> (u8, u64) {
        match self.compare {
            Compare::Eq(value) | Compare::Ne(value) | Compare::Masked { value, .. } => (0, u64::MAX - value),
            Compare::Lt(value) | Compare::Le(value) => (1, value),
            Compare::Ge(value) | Compare::Gt(value) => (2, u64::MAX - value),
        }
    }
}

/// The order of libseccomp's tree, which is not that of the profile: it matters only where two
/// rules with unlike actions hold at once. Equal ones stay as they are.
fn specific_first(a: &[Condition], b: &[Condition]) -> Ordering {
    let key = |condition: &Condition| (Reverse(condition.arg), condition.closeness());
    a.iter().map(key).cmp(b.iter().map(key))
}
