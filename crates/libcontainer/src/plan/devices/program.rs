// SPDX-License-Identifier: Apache-2.0
//! Device rules as an eBPF program of the type CGROUP_DEVICE, for cgroup v2.
//!
//! The kernel hands over three words: access and kind, major, minor. Major and minor become
//! one key, as in a dev_t, so that the commonest rule ("this node, all of rwm") is one
//! compare and jump. Rules are walked backwards, since the last that matches decides; what
//! an allow rule grants is taken out of what is still asked for. There is one exit.
//!
//! ```text
//!     r0 = 1;  r2 = kind;  r3 = access;  r4 = major;  r5 = minor;  r6 = key
//!     nothing asked: exit;  block: go to B
//!     the rules for character devices, last first;  deny: r0 = 0; exit
//! B:  the rules for block devices, last first;      r0 = 0; exit
//! ```

use super::{Access, Kind, Rule};

/// One eBPF instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Class, operation and source.
    pub code: u8,
    /// The register that is written or compared.
    pub dst: u8,
    /// The register that is read.
    pub src: u8,
    /// A jump's or a load's offset.
    pub off: i16,
    /// The constant.
    pub imm: i32,
}

impl Insn {
    /// As the kernel takes it on a little-endian machine.
    pub fn encode(self) -> u64 {
        let [off0, off1] = self.off.to_le_bytes();
        let [imm0, imm1, imm2, imm3] = self.imm.to_le_bytes();
        u64::from_le_bytes([self.code, self.src << 4 | self.dst, off0, off1, imm0, imm1, imm2, imm3])
    }
}

/// A program for the kernel's verifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program(pub Vec<Insn>);

impl Program {
    /// The instructions as the kernel takes them.
    pub fn encode(&self) -> Vec<u64> {
        self.0.iter().map(|insn| insn.encode()).collect()
    }
}

// linux/bpf_common.h and linux/bpf.h: class | operation | source.
const LDX_MEM_W: u8 = 0x61;
const MOV64_K: u8 = 0xb7;
const MOV32_X: u8 = 0xbc;
const AND32_K: u8 = 0x54;
const LSH32_K: u8 = 0x64;
const RSH32_K: u8 = 0x74;
const OR32_X: u8 = 0x4c;
const JA: u8 = 0x05;
const JEQ32_K: u8 = 0x16;
const JNE32_K: u8 = 0x56;
const JSET32_K: u8 = 0x46;
const EXIT: u8 = 0x95;

const KIND: u8 = 2;
const ASKED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const KEY: u8 = 6;

const DEV_BLOCK: i32 = 1;
const DEV_CHAR: i32 = 2;

/// Where a jump leads; known only when everything is laid out.
#[derive(Clone, Copy)]
enum To {
    /// The next instructions are skipped.
    Over(i16),
    Block,
    Deny,
    Exit,
}

struct Assembler {
    insns: Vec<(Insn, Option<To>)>,
}

impl Assembler {
    fn op(&mut self, code: u8, dst: u8, src: u8, off: i16, imm: i32) {
        self.insns.push((Insn { code, dst, src, off, imm }, None));
    }

    fn jump(&mut self, code: u8, dst: u8, imm: i32, to: To) {
        self.insns.push((Insn { code, dst, src: 0, off: 0, imm }, Some(to)));
    }

    /// What one rule does to a device of its kind. `false` after a rule that decides all
    /// that is left: nothing before it counts.
    fn rule(&mut self, rule: &Rule) -> bool {
        let verdict = if rule.allow { To::Exit } else { To::Deny };
        let whole = rule.access == Access::ALL;
        // How much is skipped where the device does not match.
        let body = match (whole, rule.allow) {
            (true, _) | (false, false) => 1,
            (false, true) => 2,
        };
        let device = match (rule.major, rule.minor) {
            (Some(major), Some(minor)) => Some((KEY, (major << 20 | minor).cast_signed())),
            (Some(major), None) => Some((MAJOR, major.cast_signed())),
            (None, Some(minor)) => Some((MINOR, minor.cast_signed())),
            (None, None) => None,
        };
        if whole {
            match device {
                Some((register, number)) => self.jump(JEQ32_K, register, number, verdict),
                None => self.jump(JA, 0, 0, verdict),
            }
            return device.is_some();
        }
        if let Some((register, number)) = device {
            self.jump(JNE32_K, register, number, To::Over(body));
        }
        let bits = rule.access.0.cast_signed();
        if rule.allow {
            self.op(AND32_K, ASKED, 0, 0, !bits);
            self.jump(JEQ32_K, ASKED, 0, To::Exit);
        } else {
            self.jump(JSET32_K, ASKED, bits, To::Deny);
        }
        true
    }

    /// The rules for one kind of device, last first, then a fall to "deny".
    fn rules(&mut self, rules: &[Rule], kind: Kind) {
        for rule in rules.iter().rev().filter(|rule| rule.kind.is_none_or(|it| it == kind)) {
            if !self.rule(rule) {
                break;
            }
        }
    }
}

/// The rules as a program that returns 1 (allowed) or 0 (EPERM), with the verdicts of
/// [`super::allowed`].
pub fn program(rules: &[Rule]) -> Program {
    let mut asm = Assembler { insns: Vec::with_capacity(2 * rules.len() + 16) };
    asm.op(LDX_MEM_W, KIND, 1, 0, 0);
    asm.op(LDX_MEM_W, MAJOR, 1, 4, 0);
    asm.op(LDX_MEM_W, MINOR, 1, 8, 0);
    asm.op(MOV64_K, 0, 0, 0, 1);
    asm.op(MOV32_X, ASKED, KIND, 0, 0);
    asm.op(RSH32_K, ASKED, 0, 0, 16);
    asm.jump(JEQ32_K, ASKED, 0, To::Exit);
    asm.op(MOV32_X, KEY, MAJOR, 0, 0);
    asm.op(LSH32_K, KEY, 0, 0, 20);
    asm.op(OR32_X, KEY, MINOR, 0, 0);
    asm.op(AND32_K, KIND, 0, 0, 0xffff);
    asm.jump(JEQ32_K, KIND, DEV_BLOCK, To::Block);
    asm.jump(JNE32_K, KIND, DEV_CHAR, To::Deny);
    asm.rules(rules, Kind::Char);
    // Unless the last rule jumps away in any case, the block rules must not follow.
    let falls = !matches!(asm.insns.last(), Some((Insn { code: JA, .. }, _)));
    if falls {
        asm.jump(JA, 0, 0, To::Deny);
    }
    let block = asm.insns.len();
    asm.rules(rules, Kind::Block);
    let deny = asm.insns.len();
    asm.op(MOV64_K, 0, 0, 0, 0);
    let exit = asm.insns.len();
    asm.op(EXIT, 0, 0, 0, 0);

    let program = asm.insns.iter().enumerate().map(|(at, (insn, to))| {
        let target = match to {
            None => return *insn,
            Some(To::Over(n)) => return Insn { off: *n, ..*insn },
            Some(To::Block) => block,
            Some(To::Deny) => deny,
            Some(To::Exit) => exit,
        };
        // `rules` bounds their number, which keeps every offset within 16 bits.
        Insn { off: i16::try_from(target - at - 1).unwrap_or(i16::MAX), ..*insn }
    });
    Program(program.collect())
}
