// SPDX-License-Identifier: Apache-2.0
//! The system call filter: `linux.seccomp` in, a BPF program and its flags out.
//!
//! ```text
//! linux.seccomp -> rules (here) -> numbers per architecture (arch, table) -> program (compile)
//! ```
//!
//! libseccomp gives the numbers behind the names, and in the tests the verdicts that ours must
//! equal; the program is our own. System call numbers are sorted, neighbours of one verdict
//! joined, and the ranges searched by halves, which loads in half the time of libseccomp's tree
//! and needs a fiftieth of its time to build.
//!
//! What a profile means, where the runtime-spec leaves room (as runc and libseccomp have it):
//! - The machine's own architecture is always judged; calls by one that is neither that nor
//!   named in `architectures` kill the thread, whatever the default action is.
//! - A rule whose action is the default action says nothing and is skipped, an unknown name too.
//! - Conditions on different arguments of a rule must all hold. A rule that names one argument
//!   twice is read as one rule for each of its conditions.
//! - Several rules of one call are alternatives. The first without conditions decides alone.
//!   Without such a one the most specific condition that holds decides: higher argument before
//!   lower; equality before `<` before `>`; the closer bound before the wider; and then the
//!   earlier rule.
//! - Where the default action refuses, calls with numbers above all that the profile names (so
//!   those of newer kernels) give ENOSYS: C libraries then fall back to what they used before.
//!
//! Where we differ from libseccomp on purpose: see [`plan`].

mod arch;
mod compile;
mod numbers;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

use libc::{EPERM, SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD};
use libc::{SECCOMP_RET_LOG, SECCOMP_RET_TRACE, SECCOMP_RET_TRAP, SECCOMP_RET_USER_NOTIF};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompFilterFlag};
use oci_spec::runtime::{LinuxSeccompOperator, LinuxSyscall};

use arch::Name;
use numbers::Cursor;

use crate::plan::annotations::{Annotations, UNKNOWN_SYSCALLS};
use crate::plan::problem::Problem;

/// One BPF instruction, as the kernel takes it.
pub use libc::sock_filter as Insn;

/// The kernel takes no longer program (`BPF_MAXINSNS`).
const MAX_INSNS: usize = 4096;

/// The kernel's highest errno; it lowers a higher one to this, so that the payload would see
/// another error than the profile says.
const MAX_ERRNO: u32 = 4095;

/// Calls that init still makes after the filter is loaded: it tells its parent of the listener,
/// waits for start, reports, and becomes the payload. Were one of these a notification, a container
/// whose agent is slow or gone could neither start nor say why.
pub const NEEDED_AFTER_LOADING: &[&str] = &["close", "execve", "execveat", "exit_group", "read", "write"];

/// A filter that is ready to be loaded.
#[derive(Clone, Debug)]
pub struct Filter {
    /// At most 4096 instructions.
    pub program: Vec<Insn>,
    /// `SECCOMP_FILTER_FLAG_*` of seccomp(2), NEW_LISTENER among them where there is a listener.
    pub flags: u32,
    /// Who is told of calls, where a rule says SCMP_ACT_NOTIFY.
    pub listener: Option<Listener>,
}

/// The agent that answers notifications.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The UNIX socket that takes the listener's file descriptor.
    pub path: PathBuf,
    /// What the profile wants the agent to be told.
    pub metadata: String,
}

/// One element of `linux.seccomp.syscalls`, checked.
#[derive(Clone, Debug)]
struct Rule<'a> {
    names: Vec<Name<'a>>,
    /// A `SECCOMP_RET_*` value with its data.
    action: u32,
    /// Any of these; one without conditions always holds.
    alternatives: Vec<Vec<Condition>>,
}

/// A test of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Condition {
    arg: u8,
    compare: Compare,
}

/// What an argument must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Compare {
    Ne(u64),
    Lt(u64),
    Le(u64),
    Eq(u64),
    Ge(u64),
    Gt(u64),
    /// `argument & mask == value`, with no bit in `value` that is not in `mask`.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// Compiles `linux.seccomp`. `None` only together with a problem.
///
/// Differences to what libseccomp 2.5 makes of the same profile, each for a reason:
/// - ENOSYS above the highest number named, where libseccomp gives the default action (runc adds
///   the same in front of libseccomp's program; unlike runc also without `architectures`);
///   on s390 for number 0 too, where the kernel puts numbers that it does not know.
/// - Two rules with equal conditions and unlike actions: the first counts; libseccomp refuses.
/// - Several rules of one call with `<`, `<=`, `>` or `>=`, or with several conditions: each is
///   asked in turn. libseccomp's tree of 32-bit halves loses some of them (of `<= 7`
///   and `<= 0x100000000` neither holds for 40), and building it may never end.
/// - A call that an architecture does not have never changes the verdict on another. Without its
///   binary tree libseccomp then compares the architecture where it means the number.
pub fn plan(
    profile: &LinuxSeccomp,
    annotations: &Annotations,
    problems: &mut Vec<Problem>,
) -> Option<Filter> {
    let before = problems.len();
    let (action, errno) = (profile.default_action(), profile.default_errno_ret());
    let default = verdict(action, errno, "linux.seccomp.defaultErrnoRet", problems);
    if action == LinuxSeccompAction::ScmpActNotify {
        let says = "SCMP_ACT_NOTIFY cannot be the default action";
        let hint = "name the calls that the agent is to be told of in linux.seccomp.syscalls";
        problems.push(Problem::new("linux.seccomp.defaultAction", says).hint(hint));
    }
    let syscalls = profile.syscalls().as_deref().unwrap_or_default();
    let rules: Vec<Rule> =
        syscalls.iter().enumerate().map(|(i, syscall)| rule(i, syscall, default, problems)).collect();
    let listener = listener(profile, annotations, &rules, problems);
    let flags = flags(profile, listener.is_some());
    let abis = arch::of(profile.architectures().as_deref().unwrap_or_default(), problems);
    if annotations.unknown_syscalls_fail {
        unknown(&rules, &abis, problems);
    }
    if problems.len() > before {
        return None;
    }
    let program = compile::program(&table::sections(&abis, &rules, default), default);
    if program.len() > MAX_INSNS {
        let says =
            format!("the filter has {} instructions, the kernel takes at most {MAX_INSNS}", program.len());
        problems.push(Problem::new("linux.seccomp.syscalls", says));
        return None;
    }
    Some(Filter { program, flags, listener })
}

/// What the kernel is to answer for an action.
fn verdict(
    action: LinuxSeccompAction,
    errno: Option<u32>,
    property: &str,
    problems: &mut Vec<Problem>,
) -> u32 {
    use LinuxSeccompAction as Action;
    let (value, most) = match action {
        Action::ScmpActKill | Action::ScmpActKillThread => (SECCOMP_RET_KILL_THREAD, 0),
        Action::ScmpActKillProcess => (SECCOMP_RET_KILL_PROCESS, 0),
        Action::ScmpActTrap => (SECCOMP_RET_TRAP, 0),
        Action::ScmpActErrno => (SECCOMP_RET_ERRNO, MAX_ERRNO),
        Action::ScmpActTrace => (SECCOMP_RET_TRACE, u32::from(u16::MAX)),
        Action::ScmpActNotify => (SECCOMP_RET_USER_NOTIF, 0),
        Action::ScmpActLog => (SECCOMP_RET_LOG, 0),
        Action::ScmpActAllow => (SECCOMP_RET_ALLOW, 0),
    };
    match errno {
        None if most == 0 => value,
        None => value | EPERM as u32,
        // The runtime-spec: an error, where the action does not support an errno.
        Some(_) if most == 0 => {
            problems.push(
                Problem::new(property, format!("{action} takes no errno"))
                    .hint("only SCMP_ACT_ERRNO and SCMP_ACT_TRACE do"),
            );
            value
        }
        Some(errno) if errno > most => {
            problems
                .push(Problem::new(property, format!("{errno} is above {most}, the highest for {action}")));
            value
        }
        Some(errno) => value | errno,
    }
}

fn rule<'a>(i: usize, syscall: &'a LinuxSyscall, default: u32, problems: &mut Vec<Problem>) -> Rule<'a> {
    let property = |rest: &str| format!("linux.seccomp.syscalls[{i}].{rest}");
    let names = syscall.names();
    if names.is_empty() {
        problems.push(Problem::new(property("names"), "no system call is named"));
    }
    for (j, name) in names.iter().enumerate().filter(|(_, name)| name.is_empty()) {
        problems
            .push(Problem::new(property(&format!("names[{j}]")), format!("{name:?} names no system call")));
    }
    let action = verdict(syscall.action(), syscall.errno_ret(), &property("errnoRet"), problems);
    if syscall.action() == LinuxSeccompAction::ScmpActNotify && action != default {
        for (j, name) in names.iter().enumerate() {
            if NEEDED_AFTER_LOADING.contains(&name.as_str()) {
                let says = format!("SCMP_ACT_NOTIFY cannot be used for {name}");
                let hint = "a container makes this call itself before its payload runs";
                problems.push(Problem::new(property(&format!("names[{j}]")), says).hint(hint));
            }
        }
    }
    let args = syscall.args().as_deref().unwrap_or_default();
    for (j, arg) in args.iter().enumerate().filter(|(_, arg)| arg.index() > 5) {
        let says = format!("{} is above 5, the last argument of a system call", arg.index());
        problems.push(Problem::new(property(&format!("args[{j}].index")), says));
    }
    let mut cursor = Cursor::default();
    let names = names.iter().map(|name| Name::new(name, &mut cursor)).collect();
    Rule { names, action, alternatives: alternatives(args) }
}

/// All conditions together; but each on its own where two look at the same argument, as runc and
/// crun have it.
fn alternatives(args: &[LinuxSeccompArg]) -> Vec<Vec<Condition>> {
    let mut conditions: Vec<Condition> = args.iter().map(condition).collect();
    let mut seen = [false; 256];
    if conditions.iter().any(|c| std::mem::replace(&mut seen[usize::from(c.arg)], true)) {
        return conditions.into_iter().map(|condition| vec![condition]).collect();
    }
    conditions.sort_by_key(|c| c.arg);
    vec![conditions]
}

fn condition(arg: &LinuxSeccompArg) -> Condition {
    let value = arg.value();
    let compare = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => Compare::Ne(value),
        LinuxSeccompOperator::ScmpCmpLt => Compare::Lt(value),
        LinuxSeccompOperator::ScmpCmpLe => Compare::Le(value),
        LinuxSeccompOperator::ScmpCmpEq => Compare::Eq(value),
        LinuxSeccompOperator::ScmpCmpGe => Compare::Ge(value),
        LinuxSeccompOperator::ScmpCmpGt => Compare::Gt(value),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            Compare::Masked { mask: value, value: arg.value_two().unwrap_or(0) & value }
        }
    };
    // An index beyond 5 is a problem already; 255 is as wrong as it.
    Condition { arg: u8::try_from(arg.index()).unwrap_or(u8::MAX), compare }
}

/// Names that no architecture knows, where they are not to be skipped.
fn unknown(rules: &[Rule], abis: &[arch::Abi], problems: &mut Vec<Problem>) {
    for (i, rule) in rules.iter().enumerate() {
        for (j, name) in rule.names.iter().enumerate() {
            if abis.iter().all(|abi| abi.entries(name).is_none()) {
                let at = format!("linux.seccomp.syscalls[{i}].names[{j}]");
                problems.push(
                    Problem::new(at, format!("{:?} is no known system call", name.text))
                        .hint(format!("without the annotation {UNKNOWN_SYSCALLS} it would be skipped")),
                );
            }
        }
    }
}

fn listener(
    profile: &LinuxSeccomp,
    annotations: &Annotations,
    rules: &[Rule],
    problems: &mut Vec<Problem>,
) -> Option<Listener> {
    let path = profile.listener_path().as_ref().filter(|path| !path.as_os_str().is_empty());
    let path = path.or(annotations.seccomp_receiver.as_ref());
    let metadata = profile.listener_metadata().clone().unwrap_or_default();
    if path.is_none() && !metadata.is_empty() {
        let says = "must not be set without linux.seccomp.listenerPath";
        problems.push(Problem::new("linux.seccomp.listenerMetadata", says));
    }
    if !rules.iter().any(|rule| rule.action == SECCOMP_RET_USER_NOTIF) {
        return None;
    }
    if path.is_none() {
        let says = "is not set, but a rule uses SCMP_ACT_NOTIFY";
        let hint = "set it to the UNIX socket of the seccomp agent";
        problems.push(Problem::new("linux.seccomp.listenerPath", says).hint(hint));
    }
    path.map(|path| Listener { path: path.clone(), metadata })
}

/// The kernel's flags. Without `flags` (an empty list is another matter) it is SPEC_ALLOW, as in
/// runc and crun: the mitigation costs every payload, and kernels since 5.16 no longer tie it to
/// seccomp at all.
fn flags(profile: &LinuxSeccomp, notifies: bool) -> u32 {
    use LinuxSeccompFilterFlag as Flag;
    const WITHOUT: &[LinuxSeccompFilterFlag] = &[LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow];
    let mut bits = if notifies { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    for flag in profile.flags().as_deref().unwrap_or(WITHOUT) {
        bits |= match flag {
            Flag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            Flag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // Only with ESRCH can a failed TSYNC be told from the listener's descriptor.
            Flag::SeccompFilterFlagTsync if notifies => {
                libc::SECCOMP_FILTER_FLAG_TSYNC | libc::SECCOMP_FILTER_FLAG_TSYNC_ESRCH
            }
            Flag::SeccompFilterFlagTsync => libc::SECCOMP_FILTER_FLAG_TSYNC,
            // It says how to wait for an agent; the kernel refuses it where there is none.
            Flag::SeccompFilterFlagWaitKillableRecv if notifies => {
                libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
            }
            Flag::SeccompFilterFlagWaitKillableRecv => 0,
        };
    }
    bits as u32
}

impl fmt::Display for Filter {
    /// `640 instructions, flags 0x4, listener /run/agent.sock`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} instructions, flags {:#x}", self.program.len(), self.flags)?;
        match &self.listener {
            Some(listener) => write!(f, ", listener {}", listener.path.display()),
            None => Ok(()),
        }
    }
}

/// A program as the kernel's own bytes (8 an instruction), for a file that another command of
/// the same machine reads.
pub fn to_bytes(program: &[Insn]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(program.len() * 8);
    for insn in program {
        bytes.extend_from_slice(&insn.code.to_ne_bytes());
        bytes.extend_from_slice(&[insn.jt, insn.jf]);
        bytes.extend_from_slice(&insn.k.to_ne_bytes());
    }
    bytes
}

/// The program of [`to_bytes`]; `None` for what cannot be one.
pub fn from_bytes(bytes: &[u8]) -> Option<Vec<Insn>> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(8) || bytes.len() / 8 > MAX_INSNS {
        return None;
    }
    let insn = |b: &[u8]| Insn {
        code: u16::from_ne_bytes([b[0], b[1]]),
        jt: b[2],
        jf: b[3],
        k: u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
    };
    Some(bytes.chunks_exact(8).map(insn).collect())
}
