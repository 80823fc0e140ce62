// SPDX-License-Identifier: Apache-2.0
//! What the kernel does with a filter: checks it and runs it.

use libc::{BPF_ABS, BPF_ALU, BPF_AND, BPF_JA, BPF_JEQ, BPF_JGE, BPF_JGT, BPF_JMP, BPF_JSET, BPF_K};
use libc::{BPF_LD, BPF_RET, BPF_W};

use crate::plan::seccomp::Insn;

const LD: u32 = BPF_LD | BPF_W | BPF_ABS;
const AND: u32 = BPF_ALU | BPF_AND | BPF_K;
const RET: u32 = BPF_RET | BPF_K;
const JA: u32 = BPF_JMP | BPF_JA;
const JEQ: u32 = BPF_JMP | BPF_JEQ | BPF_K;
const JGT: u32 = BPF_JMP | BPF_JGT | BPF_K;
const JGE: u32 = BPF_JMP | BPF_JGE | BPF_K;
const JSET: u32 = BPF_JMP | BPF_JSET | BPF_K;

/// `struct seccomp_data` without the instruction pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub number: u32,
    pub arch: u32,
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        let half = |value: u64| {
            let high = (offset % 8 == 4) != cfg!(target_endian = "big");
            if high { (value >> 32) as u32 } else { value as u32 }
        };
        match offset {
            0 => self.number,
            4 => self.arch,
            16..64 => half(self.args[(offset as usize - 16) / 8]),
            _ => panic!("load from {offset}"),
        }
    }
}

/// The kernel's own conditions: not too long, no jump out, no fall off the end.
pub fn check(program: &[Insn]) {
    assert!(!program.is_empty() && program.len() <= 4096, "{} instructions", program.len());
    for (i, insn) in program.iter().enumerate() {
        let inside = |jump: u32| assert!(i + 1 + (jump as usize) < program.len(), "{i}: {insn:?}");
        match u32::from(insn.code) {
            RET => {}
            LD => {
                assert!(insn.k % 4 == 0 && insn.k < 64, "{i}: {insn:?}");
                inside(0);
            }
            AND => inside(0),
            JA => inside(insn.k),
            JEQ | JGT | JGE | JSET => {
                inside(u32::from(insn.jt));
                inside(u32::from(insn.jf));
            }
            code => panic!("{i}: instruction {code:#x}"),
        }
    }
}

/// The verdict on a call.
pub fn run(program: &[Insn], call: &Call) -> u32 {
    let (mut a, mut at) = (0, 0);
    loop {
        let insn = &program[at];
        at += 1;
        let k = insn.k;
        let holds = match u32::from(insn.code) {
            RET => return k,
            LD => {
                a = call.word(k);
                continue;
            }
            AND => {
                a &= k;
                continue;
            }
            JA => {
                at += k as usize;
                continue;
            }
            JEQ => a == k,
            JGT => a > k,
            JGE => a >= k,
            JSET => a & k != 0,
            code => panic!("instruction {code:#x}"),
        };
        at += usize::from(if holds { insn.jt } else { insn.jf });
    }
}
