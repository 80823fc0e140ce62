// SPDX-License-Identifier: Apache-2.0
//! What the kernel does with a device program.

use crate::plan::devices::{Access, Kind, Program};

/// Runs a device program as the kernel would; panics at whatever its verifier refuses.
pub fn run(program: &Program, kind: Kind, major: u32, minor: u32, access: Access) -> bool {
    let word = access.0 << 16 | if kind == Kind::Block { 1 } else { 2 };
    let context = [word, major, minor];
    let mut registers = [None::<u64>; 11];
    let mut pc = 0usize;
    loop {
        let insn = program.0[pc];
        let (dst, imm) = (insn.dst as usize, insn.imm);
        let value =
            |registers: &[Option<u64>; 11], r: u8| registers[r as usize].expect("uninitialized") as u32;
        pc += 1;
        let low = match insn.code {
            0x95 => return registers[0].expect("no verdict") != 0,
            0x61 => {
                assert_eq!(insn.src, 1);
                context[insn.off as usize / 4]
            }
            0xb7 => {
                registers[dst] = Some(imm as i64 as u64);
                continue;
            }
            0xbc => value(&registers, insn.src),
            0x54 => value(&registers, insn.dst) & imm as u32,
            0x64 => value(&registers, insn.dst) << imm,
            0x74 => value(&registers, insn.dst) >> imm,
            0x4c => value(&registers, insn.dst) | value(&registers, insn.src),
            0x05 | 0x16 | 0x56 | 0x46 => {
                assert!(insn.off >= 0, "no loops");
                let taken = match insn.code {
                    0x05 => true,
                    0x16 => value(&registers, insn.dst) == imm as u32,
                    0x56 => value(&registers, insn.dst) != imm as u32,
                    _ => value(&registers, insn.dst) & imm as u32 != 0,
                };
                pc += if taken { insn.off as usize } else { 0 };
                continue;
            }
            code => panic!("opcode {code:#x}"),
        };
        registers[dst] = Some(u64::from(low));
    }
}
