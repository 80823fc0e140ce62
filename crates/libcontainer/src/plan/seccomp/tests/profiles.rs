// SPDX-License-Identifier: Apache-2.0
//! Random profiles, the same in every run.

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompBuilder, LinuxSeccompOperator as Op, LinuxSyscall, LinuxSyscallBuilder,
};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn of<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// Values that meet each other often, and the edges of both halves.
    pub fn value(&mut self) -> u64 {
        const EDGES: &[u64] = &[
            0,
            1,
            2,
            7,
            8,
            40,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_fffe,
            0xffff_ffff,
            0x1_0000_0000,
            0x1_0000_0001,
            0x7_0000_0008,
            0x7fff_ffff_ffff_ffff,
            0xffff_ffff_0000_0000,
            u64::MAX - 1,
            u64::MAX,
        ];
        match self.below(8) {
            0 => self.next(),
            1 => self.next() >> 32,
            _ => self.of(EDGES),
        }
    }
}

const ACTIONS: &[Action] = &[
    Action::ScmpActKill,
    Action::ScmpActKillThread,
    Action::ScmpActKillProcess,
    Action::ScmpActTrap,
    Action::ScmpActErrno,
    Action::ScmpActErrno,
    Action::ScmpActTrace,
    Action::ScmpActLog,
    Action::ScmpActAllow,
    Action::ScmpActAllow,
];
const OPS: &[Op] = &[
    Op::ScmpCmpNe,
    Op::ScmpCmpLt,
    Op::ScmpCmpLe,
    Op::ScmpCmpEq,
    Op::ScmpCmpGe,
    Op::ScmpCmpGt,
    Op::ScmpCmpMaskedEq,
];

/// How the rules of one call may meet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// No conditions; any number of rules with any actions.
    Plain,
    /// One rule with any conditions on several arguments.
    One,
    /// Any number of rules with any actions, each with one condition of equality.
    Equal,
    /// Anything.
    Any,
}

pub fn profile(random: &mut Random, names: &[String], kind: Kind) -> LinuxSeccomp {
    let default = random.of(ACTIONS);
    let mut free: Vec<&String> = names.iter().collect();
    let few = kind != Kind::Plain && random.one_in(2);
    if few {
        // Few names, so that their rules meet.
        for _ in 0..free.len() - 6 {
            let at = random.below(free.len());
            free.swap_remove(at);
        }
    }
    let mut syscalls = Vec::new();
    for _ in 0..1 + random.below(12) {
        let action = random.of(ACTIONS);
        let mut chosen = Vec::new();
        for _ in 0..1 + random.below(if few { 2 } else { 8 }) {
            if free.is_empty() {
                break;
            }
            let at = random.below(free.len());
            chosen.push(free[at].clone());
            if kind == Kind::One {
                free.swap_remove(at);
            }
        }
        if chosen.is_empty() {
            break;
        }
        if random.one_in(4) {
            chosen.push("no_such_call".to_owned());
        }
        let args = if kind == Kind::Plain || random.one_in(3) { Vec::new() } else { args(random, kind) };
        syscalls.push(syscall(random, chosen, action, args));
    }
    let mut builder = LinuxSeccompBuilder::default().default_action(default).syscalls(syscalls);
    if matches!(default, Action::ScmpActErrno | Action::ScmpActTrace) && random.one_in(2) {
        builder = builder.default_errno_ret(random.of(&[0_u32, 1, 13, 38, 4094]));
    }
    let arches: &[&[Arch]] = &[
        &[],
        &[Arch::ScmpArchX86_64],
        &[Arch::ScmpArchX86_64, Arch::ScmpArchX86],
        &[Arch::ScmpArchX86_64, Arch::ScmpArchX32],
        &[Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        &[Arch::ScmpArchX32, Arch::ScmpArchX86],
        &[Arch::ScmpArchAarch64, Arch::ScmpArchArm, Arch::ScmpArchX86, Arch::ScmpArchRiscv64],
        &[Arch::ScmpArchPpc64le, Arch::ScmpArchMipsel, Arch::ScmpArchMipsel64n32],
    ];
    let arches = random.of(arches);
    if !arches.is_empty() {
        builder = builder.architectures(arches.to_vec());
    }
    builder.build().unwrap()
}

fn syscall(
    random: &mut Random,
    names: Vec<String>,
    action: Action,
    args: Vec<LinuxSeccompArg>,
) -> LinuxSyscall {
    let mut builder = LinuxSyscallBuilder::default().names(names).action(action);
    if matches!(action, Action::ScmpActErrno | Action::ScmpActTrace) && random.one_in(2) {
        builder = builder.errno_ret(random.of(&[0_u32, 1, 13, 38, 4094]));
    }
    if !args.is_empty() {
        builder = builder.args(args);
    }
    builder.build().unwrap()
}

fn args(random: &mut Random, kind: Kind) -> Vec<LinuxSeccompArg> {
    let count = if kind == Kind::Equal { 1 } else { random.of(&[1, 1, 1, 2, 2, 3, 6]) };
    let twice = kind == Kind::Any && random.one_in(10);
    let mut free: Vec<usize> = (0..6).collect();
    let mut args = Vec::new();
    for _ in 0..count {
        let at = random.below(free.len().min(3));
        let index = if twice { free[at] } else { free.remove(at) };
        let op = if kind == Kind::Equal { Op::ScmpCmpEq } else { random.of(OPS) };
        let mut builder = LinuxSeccompArgBuilder::default().index(index).op(op).value(random.value());
        if op == Op::ScmpCmpMaskedEq {
            builder = builder.value_two(random.value());
        }
        args.push(builder.build().unwrap());
    }
    args
}
