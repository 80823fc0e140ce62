// SPDX-License-Identifier: Apache-2.0
//! From the number lines to BPF.
//!
//! ```text
//! ld arch;  jeq AUDIT_ARCH_X86_64 -> section, jeq AUDIT_ARCH_I386 -> section, kill
//! section:  ld nr;  jge 157 -> (jge 230 -> …, …), (jge 60 -> …, …)      a search by halves
//! leaf:     ret, or tests of arguments that end in ret
//! ```
//!
//! BPF jumps forward only, so the program is written from its end: whatever a jump goes to is
//! there already, and its distance known. A conditional jump reaches 255 instructions; what is
//! further away is met half-way, a `ret` by another copy of it, anything else by a `ja`.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K};
use libc::{BPF_LD, BPF_RET, BPF_W};

use super::table::{BAD_ARCH, Branch, Section, Verdict};
use super::{Compare, Condition, Insn};

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// How far a conditional jump goes.
const REACH: usize = u8::MAX as usize;

/// The whole program.
pub fn program(sections: &[Section], default: u32) -> Vec<Insn> {
    let mut out = Assembler::default();
    let mut entry = Target::Return(BAD_ARCH);
    for Section { audit, ranges } in sections.iter().rev() {
        let body = out.search(&leaves(ranges), default);
        out.follow(body);
        let section = out.load(NUMBER);
        entry = out.jump(BPF_JEQ, *audit, section, entry);
    }
    out.follow(entry);
    out.load(ARCH);
    out.backwards.reverse();
    out.backwards
}

/// A range of numbers, or two where one number is cut out of another verdict's range: one `jeq`
/// instead of two `jge`.
struct Leaf<'a> {
    first: u32,
    verdict: &'a Verdict,
    except: Option<(u32, &'a Verdict)>,
}

fn leaves(ranges: &[(u32, Verdict)]) -> Vec<Leaf<'_>> {
    let mut leaves = Vec::with_capacity(ranges.len());
    let mut rest = ranges;
    while let [(first, verdict), after @ ..] = rest {
        let leaf = match after {
            [(one, other), (next, same), tail @ ..] if *next == one + 1 && same == verdict => {
                rest = tail;
                Leaf { first: *first, verdict, except: Some((*one, other)) }
            }
            _ => {
                rest = after;
                Leaf { first: *first, verdict, except: None }
            }
        };
        leaves.push(leaf);
    }
    leaves
}

/// Where a jump goes: a place counted from the program's end, or a `ret` wherever one is near.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Return(u32),
    At(usize),
}

#[derive(Default)]
struct Assembler<'a> {
    /// The instructions, last first.
    backwards: Vec<Insn>,
    /// The nearest copy of each `ret`.
    returns: Vec<(u32, usize)>,
    /// Tests that are there already; two architectures often share some.
    tests: Vec<(&'a Verdict, Target)>,
}

impl<'a> Assembler<'a> {
    fn push(&mut self, code: u32, jt: u8, jf: u8, k: u32) -> Target {
        self.backwards.push(Insn { code: code as u16, jt, jf, k });
        Target::At(self.backwards.len() - 1)
    }

    /// `A = word at offset`, and on to what was written last.
    fn load(&mut self, offset: u32) -> Target {
        self.push(BPF_LD | BPF_W | BPF_ABS, 0, 0, offset)
    }

    /// `A compare k ? yes : no`
    fn jump(&mut self, compare: u32, k: u32, yes: Target, no: Target) -> Target {
        if yes == no {
            return yes;
        }
        // What `yes` may put in between moves `no` one further off.
        let no = self.near(no, REACH - 1);
        let yes = self.near(yes, REACH);
        let here = self.backwards.len();
        self.push(BPF_JMP | compare | BPF_K, (here - yes - 1) as u8, (here - no - 1) as u8, k)
    }

    /// A place with the effect of `target` that the next instruction reaches.
    fn near(&mut self, target: Target, reach: usize) -> usize {
        let here = self.backwards.len();
        match target {
            Target::At(place) if here - place - 1 <= reach => place,
            Target::At(place) => {
                self.push(BPF_JMP | BPF_JA, 0, 0, (here - place - 1) as u32);
                here
            }
            Target::Return(action) => match self.returns.iter_mut().find(|(known, _)| *known == action) {
                Some((_, place)) if here - *place - 1 <= reach => *place,
                known => {
                    match known {
                        Some((_, place)) => *place = here,
                        None => self.returns.push((action, here)),
                    }
                    self.push(BPF_RET | BPF_K, 0, 0, action);
                    here
                }
            },
        }
    }

    /// Makes `target` what the next instruction goes on to.
    fn follow(&mut self, target: Target) {
        if target != Target::At(self.backwards.len().wrapping_sub(1)) {
            let place = self.near(target, 0);
            debug_assert_eq!(place + 1, self.backwards.len());
        }
    }

    /// Finds the leaf of the number in A.
    fn search(&mut self, leaves: &[Leaf<'a>], default: u32) -> Target {
        match leaves {
            [] => Target::Return(default),
            [leaf] => {
                let verdict = self.verdict(leaf.verdict, default);
                let Some((number, other)) = leaf.except else { return verdict };
                let other = self.verdict(other, default);
                self.jump(BPF_JEQ, number, other, verdict)
            }
            _ => {
                let (below, above) = leaves.split_at(leaves.len() / 2);
                let first = above[0].first;
                let above = self.search(above, default);
                let below = self.search(below, default);
                self.jump(BPF_JGE, first, above, below)
            }
        }
    }

    fn verdict(&mut self, verdict: &'a Verdict, default: u32) -> Target {
        match verdict {
            Verdict::Return(action) => Target::Return(*action),
            Verdict::Branches { wide, branches } => {
                if let Some((_, target)) = self.tests.iter().find(|(known, _)| *known == verdict) {
                    return *target;
                }
                let target = self.branches(*wide, branches, default);
                self.tests.push((verdict, target));
                target
            }
        }
    }

    /// The first branch that holds, else the default action.
    fn branches(&mut self, wide: bool, branches: &[Branch], default: u32) -> Target {
        let mut otherwise = Target::Return(default);
        for group in branches.chunk_by(|a, b| one_of(wide, a, b)).rev() {
            otherwise = match group {
                [Branch { conditions, action }] => {
                    let mut then = Target::Return(*action);
                    for condition in conditions.iter().rev() {
                        then = self.condition(wide, condition, then, otherwise);
                    }
                    then
                }
                several => self.equal_to_one(wide, several, otherwise),
            };
        }
        otherwise
    }

    /// One argument with one of several values that differ in their low halves: each half is
    /// loaded once.
    fn equal_to_one(&mut self, wide: bool, branches: &[Branch], otherwise: Target) -> Target {
        let mut low = otherwise;
        for Branch { conditions, action } in branches.iter().rev() {
            if let Compare::Eq(value) = conditions[0].compare {
                low = self.jump(BPF_JEQ, value as u32, Target::Return(*action), low);
            }
        }
        let Condition { arg, compare: Compare::Eq(value) } = branches[0].conditions[0] else { return low };
        self.halves(wide, arg, value, low, |out, high, low| out.jump(BPF_JEQ, high, low, otherwise))
    }

    /// `low` after its load; on 64 bits `high` before it, on the upper half.
    fn halves(
        &mut self,
        wide: bool,
        arg: u8,
        value: u64,
        low: Target,
        high: impl FnOnce(&mut Self, u32, Target) -> Target,
    ) -> Target {
        self.follow(low);
        let low = self.load(offset(arg, false));
        if !wide {
            return low;
        }
        let test = high(self, (value >> 32) as u32, low);
        self.follow(test);
        self.load(offset(arg, true))
    }

    fn condition(&mut self, wide: bool, condition: &Condition, yes: Target, no: Target) -> Target {
        let arg = condition.arg;
        let (compare, value, yes, no) = match condition.compare {
            Compare::Masked { mask, value } => return self.masked(wide, arg, (mask, value), yes, no),
            Compare::Eq(value) => (BPF_JEQ, value, yes, no),
            Compare::Ne(value) => (BPF_JEQ, value, no, yes),
            Compare::Gt(value) => (BPF_JGT, value, yes, no),
            Compare::Le(value) => (BPF_JGT, value, no, yes),
            Compare::Ge(value) => (BPF_JGE, value, yes, no),
            Compare::Lt(value) => (BPF_JGE, value, no, yes),
        };
        let low = self.jump(compare, value as u32, yes, no);
        self.halves(wide, arg, value, low, |out, high, low| {
            let equal = out.jump(BPF_JEQ, high, low, no);
            if compare == BPF_JEQ { equal } else { out.jump(BPF_JGT, high, yes, equal) }
        })
    }

    fn masked(&mut self, wide: bool, arg: u8, test: (u64, u64), yes: Target, no: Target) -> Target {
        let (mask, value) = test;
        let mut then = yes;
        for high in [false, true] {
            let shift = if high { 32 } else { 0 };
            let (mask, value) = ((mask >> shift) as u32, (value >> shift) as u32);
            if mask == 0 || (high && !wide) {
                continue;
            }
            then = if value == 0 && mask != u32::MAX {
                self.jump(BPF_JSET, mask, no, then)
            } else {
                let equal = self.jump(BPF_JEQ, value, then, no);
                if mask == u32::MAX {
                    equal
                } else {
                    self.follow(equal);
                    self.push(BPF_ALU | BPF_AND | BPF_K, 0, 0, mask)
                }
            };
            self.follow(then);
            then = self.load(offset(arg, high));
        }
        then
    }
}

/// Whether two branches ask whether one argument is equal to something, with one action and the
/// same upper half.
fn one_of(wide: bool, a: &Branch, b: &Branch) -> bool {
    let equal = |branch: &Branch| match branch.conditions[..] {
        [Condition { arg, compare: Compare::Eq(value) }] => {
            Some((arg, if wide { value >> 32 } else { 0 }, branch.action))
        }
        _ => None,
    };
    equal(a).is_some_and(|a| Some(a) == equal(b))
}

/// Where a half of an argument is.
fn offset(arg: u8, high: bool) -> u32 {
    let second = high != cfg!(target_endian = "big");
    ARGS + 8 * u32::from(arg) + if second { 4 } else { 0 }
}
