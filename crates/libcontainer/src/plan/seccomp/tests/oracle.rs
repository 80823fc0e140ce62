// SPDX-License-Identifier: Apache-2.0
//! The same profile by libseccomp, driven as runc drives it.

use std::io::{Read, Seek};

use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator};

use crate::plan::seccomp::{Insn, arch, from_bytes};

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> ScmpAction {
    let errno = errno.unwrap_or(1);
    match action {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => ScmpAction::KillThread,
        LinuxSeccompAction::ScmpActKillProcess => ScmpAction::KillProcess,
        LinuxSeccompAction::ScmpActTrap => ScmpAction::Trap,
        LinuxSeccompAction::ScmpActErrno => ScmpAction::Errno(errno as i32),
        LinuxSeccompAction::ScmpActTrace => ScmpAction::Trace(errno as u16),
        LinuxSeccompAction::ScmpActNotify => ScmpAction::Notify,
        LinuxSeccompAction::ScmpActLog => ScmpAction::Log,
        LinuxSeccompAction::ScmpActAllow => ScmpAction::Allow,
    }
}

fn compare(arg: &LinuxSeccompArg) -> ScmpArgCompare {
    let (op, datum) = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => (ScmpCompareOp::NotEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => (ScmpCompareOp::Less, arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => (ScmpCompareOp::LessOrEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => (ScmpCompareOp::Equal, arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => (ScmpCompareOp::GreaterEqual, arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => (ScmpCompareOp::Greater, arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            (ScmpCompareOp::MaskedEqual(arg.value()), arg.value_two().unwrap_or(0))
        }
    };
    ScmpArgCompare::new(arg.index() as u32, op, datum)
}

/// libseccomp's program; `None` where it refuses the rules.
pub fn program(profile: &LinuxSeccomp) -> Option<Vec<Insn>> {
    let default = action(profile.default_action(), profile.default_errno_ret());
    let mut filter = ScmpFilterContext::new(default).unwrap();
    for token in profile.architectures().as_deref().unwrap_or_default() {
        let abi = arch::ALL.iter().find(|abi| abi.spec() == *token).unwrap();
        filter.add_arch(abi.scmp()).unwrap();
    }
    let syscalls = profile.syscalls().as_deref().unwrap_or_default();
    let mut rules = 0;
    for syscall in syscalls {
        let action = action(syscall.action(), syscall.errno_ret());
        if action == default {
            continue;
        }
        for name in syscall.names() {
            let Ok(number) = ScmpSyscall::from_name_by_arch(name, ScmpArch::Native) else { continue };
            rules += 1;
            let args = syscall.args().as_deref().unwrap_or_default();
            let mut seen = [0; 6];
            args.iter().for_each(|arg| seen[arg.index()] += 1);
            let conditions: Vec<_> = args.iter().map(compare).collect();
            if seen.iter().any(|times| *times > 1) {
                for condition in &conditions {
                    filter.add_rule_conditional(action, number, &[*condition]).ok()?;
                }
            } else {
                filter.add_rule_conditional(action, number, &conditions).ok()?;
            }
        }
    }
    // The binary tree, which runc takes for long profiles only. Without it libseccomp 2.5 does not
    // load the number where the first call of its list is one that the architecture lacks; with
    // it, it fails where there are no rules.
    if rules > 0 {
        filter.set_ctl_optimize(2).unwrap();
    }
    let mut file =
        std::fs::File::from(rustix::fs::memfd_create("oracle", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
    filter.export_bpf(&file).ok()?;
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    from_bytes(&bytes)
}
