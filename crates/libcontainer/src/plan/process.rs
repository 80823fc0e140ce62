// SPDX-License-Identifier: Apache-2.0
//! `process`: what the payload is, whom it runs as and with which rights (config.md, Process).
//!
//! The same steps end the life of a container's init and of a process that `exec` brings in.

use std::ffi::CString;

use linux_raw_sys::general as raw;
use oci_spec::runtime::{PosixRlimitType, Process};

use super::annotations::KEEP_GROUPS;
use super::caps::CapSet;
use super::identity::{Console, Executable, Identity};
use super::problem::Problem;
use super::propagation::absolute;
use super::sched::{Affinity, MemoryPolicy, Set};
use super::seccomp::Filter;
use super::step::{Action, Hook, HookKind, Module, Step};

/// What execve gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Payload {
    /// argv.
    pub args: Vec<CString>,
    /// The whole environment; HOME may be added by the step that looks it up.
    pub env: Vec<CString>,
}

impl Payload {
    /// A variable that the runtime itself knows better than the configuration.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        let of_name = |entry: &CString| {
            entry.to_bytes().strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))
        };
        self.env.retain(|entry| !of_name(entry));
        self.env.extend(CString::new(format!("{name}={value}")));
    }
}

/// What surrounds a process.
pub(super) struct Around<'a> {
    /// Property before `args`, `env`, …: "process".
    pub property: &'a str,
    /// setgroups(2) is allowed.
    pub setgroups: bool,
    /// The caller's supplementary groups stay.
    pub keep_groups: bool,
    /// The compiled filter, if any.
    pub seccomp: Option<&'a Filter>,
    /// How many descriptors from 3 on the payload gets.
    pub preserve_fds: u32,
    /// startContainer hooks.
    pub hooks: &'a [Hook],
    /// A new or joined user namespace: stdio must be handed over.
    pub user_namespace: bool,
    /// The user namespace was not made by this plan.
    pub foreign_user_namespace: bool,
    /// Execution domain, of linux.personality.
    pub personality: u32,
    /// linux.memoryPolicy.
    pub memory_policy: Option<&'a MemoryPolicy>,
    /// process.execCPUAffinity, for `exec`.
    pub affinity: Option<&'a Affinity>,
    /// What the caller can grant; a user namespace can grant all.
    pub grantable: CapSet,
}

/// Default of process.user.umask.
const UMASK: u32 = 0o022;

/// Checks the payload's words and turns them into what execve wants.
pub(super) fn payload(process: &Process, property: &str, problems: &mut Vec<Problem>) -> Payload {
    let none = Vec::new();
    let args = process.args().as_ref().unwrap_or(&none);
    if args.is_empty() {
        problems.push(
            Problem::new(format!("{property}.args"), format!("{property}.args must not be empty"))
                .hint("give the program and its arguments, for example [\"sh\"]"),
        );
    }
    if !process.cwd().is_absolute() {
        problems.push(
            Problem::new(
                format!("{property}.cwd"),
                format!("{:?} is not an absolute path", process.cwd().display().to_string()),
            )
            .hint("begin it with \"/\""),
        );
    }
    let env = process.env().as_ref().unwrap_or(&none);
    for (n, variable) in env.iter().enumerate() {
        if !variable.contains('=') || variable.starts_with('=') {
            problems.push(Problem::new(
                format!("{property}.env[{n}]"),
                format!("{variable:?} is not of the form NAME=value"),
            ));
        }
    }
    let mut strings = |name: &str, list: &[String]| -> Vec<CString> {
        let mut out = Vec::with_capacity(list.len() + 1);
        for (n, text) in list.iter().enumerate() {
            match CString::new(text.as_str()) {
                Ok(text) => out.push(text),
                Err(_) => problems.push(Problem::new(format!("{property}.{name}[{n}]"), "holds a NUL byte")),
            }
        }
        out
    };
    Payload { args: strings("args", args), env: strings("env", env) }
}

/// The steps from the last mount to the payload, in an order that the kernel asks for.
pub(super) fn steps(
    process: Option<&Process>,
    around: &Around<'_>,
    problems: &mut Vec<Problem>,
) -> Vec<Step> {
    let property = around.property;
    let of = |leaf: &str| format!("{property}.{leaf}");
    let mut steps = Vec::with_capacity(20);
    let Some(process) = process else {
        // The spec lets create go without a process; start then says that it is missing.
        steps.push(Step::new("default", Action::CloseDescriptors { first: 3 }));
        steps.push(Step::new("default", Action::OutliveParent));
        steps.push(Step::new("default", Action::AwaitStart));
        return steps;
    };
    let user = process.user();
    let uid = user.uid();
    if uid == u32::MAX || user.gid() == u32::MAX {
        problems.push(Problem::new(of("user"), "4294967295 is no id: it means \"none\" to the kernel"));
    }
    if uid != 0 || around.user_namespace {
        steps.push(Step::new(of("user"), Action::ChownStdio { uid }));
    }
    rlimits(process, property, &mut steps, problems);
    affinity(around.affinity, property, &mut steps);
    if let Some(policy) = around.memory_policy {
        steps.push(Step::new("linux.memoryPolicy", Action::SetMemoryPolicy(policy.clone())));
    }
    let origin = if around.personality == 0 { "default" } else { "linux.personality" };
    steps.push(Step::new(origin, Action::SetPersonality { domain: around.personality }));
    if !has_home(process) {
        steps.push(Step::new(of("env"), Action::FindHome { uid }));
    }
    // With the rights of root, so that a directory that only root may enter can still be one's start.
    steps.push(Step::new(of("cwd"), Action::EnterCwd { path: absolute(process.cwd()) }));
    labels(process, property, &mut steps, problems);
    if around.foreign_user_namespace && !around.keep_groups {
        steps.push(Step::new(of("user"), Action::ReadSetgroups));
    }
    // Before any filter or loss of rights; only marks them, so that what still works with them goes on.
    steps.push(Step::new(
        "default",
        Action::CloseDescriptors { first: around.preserve_fds.saturating_add(3) },
    ));
    // A change of credentials takes the signal back anyway; from here on init waits on a pipe only.
    steps.push(Step::new("default", Action::OutliveParent));
    let caps = capabilities(process, around.grantable);
    // Needs CAP_SETPCAP, so before the sets shrink.
    steps.push(Step::new(of("capabilities.bounding"), Action::DropBounding { keep: caps.bounding }));
    let no_new_privs = process.no_new_privileges().unwrap_or(false);
    let filter = around.seccomp.map(|filter| {
        let action =
            Action::LoadSeccomp { instructions: filter.program.len(), listener: filter.listener.is_some() };
        Step::new("linux.seccomp", action)
    });
    let mut last = None;
    match (no_new_privs, filter) {
        (true, filter) => {
            steps.push(Step::new(of("noNewPrivileges"), Action::SetNoNewPrivs));
            // Anybody may load a filter then: last of all, so that no step of ours pays for it.
            last = filter;
        }
        // Without no_new_privs loading takes CAP_SYS_ADMIN: before the rights go.
        (false, Some(filter)) => steps.push(filter),
        (false, None) => {}
    }
    let identity = Identity {
        uid,
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        setgroups: around.setgroups,
        keep: around.keep_groups,
    };
    if around.keep_groups && !identity.groups.is_empty() {
        problems.push(
            Problem::new(of("user.additionalGids"), format!("the groups stay: {KEEP_GROUPS} asks for that"))
                .hint("leave one of the two out"),
        );
    } else if !around.setgroups && !identity.groups.is_empty() {
        problems.push(
            Problem::new(of("user.additionalGids"), "setgroups is denied in this user namespace").hint(
                "an ordinary user gives groups where linux.gidMappings has a range of /etc/subgid, else none",
            ),
        );
    }
    steps.push(Step::new(of("user"), Action::SetUser(identity)));
    steps.push(Step::new(
        of("capabilities"),
        Action::SetCapabilities {
            effective: caps.effective,
            permitted: caps.permitted,
            inheritable: caps.inheritable,
            ambient: caps.ambient,
        },
    ));
    steps.push(Step::new(of("user.umask"), Action::SetUmask { mask: user.umask().unwrap_or(UMASK) & 0o777 }));
    if let Some(name) = process.args().as_ref().and_then(|args| args.first()) {
        let executable = Executable { name: name.clone(), path: search_path(process) };
        steps.push(Step::new(of("args[0]"), Action::FindExecutable(executable)));
    }
    steps.extend(last);
    steps.push(Step::new("default", Action::AwaitStart));
    if !around.hooks.is_empty() {
        let action = Action::RunHooks { kind: HookKind::StartContainer, hooks: around.hooks.to_vec() };
        steps.push(Step::new("hooks.startContainer", action));
    }
    steps.push(Step::new(of("args"), Action::Exec));
    steps
}

/// The CPUs that the caller was bound to are not the payload's affair. `exec` may bind it; where it
/// binds only the way in, the kernel decides what becomes of that (config.md, execCPUAffinity).
fn affinity(asked: Option<&Affinity>, property: &str, steps: &mut Vec<Step>) {
    let cpus = |cpus: Option<Set>| Action::SetAffinity { cpus };
    steps.extend(match asked {
        Some(Affinity { last: Some(last), .. }) => {
            Some(Step::new(format!("{property}.execCPUAffinity.final"), cpus(Some(last.clone()))))
        }
        Some(Affinity { initial: Some(_), last: None }) => None,
        _ => Some(Step::new("default", cpus(None))),
    });
}

/// HOME is given and not empty.
fn has_home(process: &Process) -> bool {
    process.env().as_ref().is_some_and(|env| env.iter().any(|v| v.len() > 5 && v.starts_with("HOME=")))
}

fn search_path(process: &Process) -> Vec<String> {
    let env = process.env().as_deref().unwrap_or(&[]);
    let path = env.iter().rev().find_map(|v| v.strip_prefix("PATH="));
    path.unwrap_or("").split(':').map(str::to_owned).collect()
}

struct Capabilities {
    bounding: CapSet,
    effective: CapSet,
    permitted: CapSet,
    inheritable: CapSet,
    ambient: CapSet,
}

/// Without `capabilities` the payload gets none: a missing list is an empty list. What the caller
/// itself does not have cannot be granted, which is no error (config.md, Linux process).
fn capabilities(process: &Process, grantable: CapSet) -> Capabilities {
    let set = |list: Option<&Option<std::collections::HashSet<oci_spec::runtime::Capability>>>| {
        list.and_then(Option::as_ref).map_or(CapSet(0), CapSet::of)
    };
    let caps = process.capabilities().as_ref();
    let permitted = CapSet(set(caps.map(|c| c.permitted())).0 & grantable.0);
    let inheritable = CapSet(set(caps.map(|c| c.inheritable())).0 & grantable.0);
    Capabilities {
        bounding: set(caps.map(|c| c.bounding())),
        // The kernel refuses effective beyond permitted, and ambient beyond both (capset(2), prctl(2)).
        effective: CapSet(set(caps.map(|c| c.effective())).0 & permitted.0),
        ambient: CapSet(set(caps.map(|c| c.ambient())).0 & permitted.0 & inheritable.0),
        permitted,
        inheritable,
    }
}

fn rlimits(process: &Process, property: &str, steps: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    let none = Vec::new();
    let mut except = Vec::new();
    let list = process.rlimits().as_ref().unwrap_or(&none);
    for (n, limit) in list.iter().enumerate() {
        let at = format!("{property}.rlimits[{n}]");
        let (name, resource) = rlimit(limit.typ());
        if let Some(first) = list[..n].iter().position(|other| other.typ() == limit.typ()) {
            problems.push(
                Problem::new(
                    format!("{at}.type"),
                    format!("{name} is already set by {property}.rlimits[{first}]"),
                )
                .hint("give each limit once"),
            );
            continue;
        }
        if limit.soft() > limit.hard() {
            problems.push(Problem::new(
                format!("{at}.soft"),
                format!("{} is above the hard limit {}", limit.soft(), limit.hard()),
            ));
        }
        except.push(resource);
        steps.push(Step::new(
            at,
            Action::SetRlimit { name, resource, soft: limit.soft(), hard: limit.hard() },
        ));
    }
    steps.push(Step::new("default", Action::ResetSoftLimits { except }));
}

fn rlimit(typ: PosixRlimitType) -> (&'static str, u32) {
    use PosixRlimitType as T;
    match typ {
        T::RlimitAs => ("RLIMIT_AS", raw::RLIMIT_AS),
        T::RlimitCore => ("RLIMIT_CORE", raw::RLIMIT_CORE),
        T::RlimitCpu => ("RLIMIT_CPU", raw::RLIMIT_CPU),
        T::RlimitData => ("RLIMIT_DATA", raw::RLIMIT_DATA),
        T::RlimitFsize => ("RLIMIT_FSIZE", raw::RLIMIT_FSIZE),
        T::RlimitLocks => ("RLIMIT_LOCKS", raw::RLIMIT_LOCKS),
        T::RlimitMemlock => ("RLIMIT_MEMLOCK", raw::RLIMIT_MEMLOCK),
        T::RlimitMsgqueue => ("RLIMIT_MSGQUEUE", raw::RLIMIT_MSGQUEUE),
        T::RlimitNice => ("RLIMIT_NICE", raw::RLIMIT_NICE),
        T::RlimitNofile => ("RLIMIT_NOFILE", raw::RLIMIT_NOFILE),
        T::RlimitNproc => ("RLIMIT_NPROC", raw::RLIMIT_NPROC),
        T::RlimitRss => ("RLIMIT_RSS", raw::RLIMIT_RSS),
        T::RlimitRtprio => ("RLIMIT_RTPRIO", raw::RLIMIT_RTPRIO),
        T::RlimitRttime => ("RLIMIT_RTTIME", raw::RLIMIT_RTTIME),
        T::RlimitSigpending => ("RLIMIT_SIGPENDING", raw::RLIMIT_SIGPENDING),
        T::RlimitStack => ("RLIMIT_STACK", raw::RLIMIT_STACK),
    }
}

/// The container's own session keyring, which has the label of its processes.
pub(super) fn keyring(process: Option<&Process>, id: &str, mark: &str) -> Step {
    let label = process.and_then(|process| process.selinux_label().clone()).filter(|label| !label.is_empty());
    Step::new("default", Action::JoinKeyring { name: format!("_ses.{id}"), mark: mark.to_owned(), label })
}

/// process.selinuxLabel and process.apparmorProfile. They need the rights by which a procfs is made.
fn labels(process: &Process, property: &str, steps: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    let asked = [
        (Module::Selinux, "selinuxLabel", process.selinux_label()),
        (Module::Apparmor, "apparmorProfile", process.apparmor_profile()),
    ];
    for (module, leaf, label) in asked {
        let Some(label) = label.as_ref().filter(|label| !label.is_empty()) else { continue };
        let at = format!("{property}.{leaf}");
        if label.chars().any(char::is_control) {
            problems.push(Problem::new(at, "holds a control character"));
            continue;
        }
        let no_new_privs = process.no_new_privileges().unwrap_or(false);
        steps.push(Step::new(at, Action::SetExecLabel { module, label: label.clone(), no_new_privs }));
    }
}

/// The console of a process that asks for a terminal.
pub(super) fn console(process: &Process, mount: bool) -> Option<Console> {
    if !process.terminal().unwrap_or(false) {
        return None;
    }
    let size = process.console_size().map(|size| (clamp(size.height()), clamp(size.width())));
    Some(Console { size: size.filter(|s| *s != (0, 0)), mount, uid: process.user().uid() })
}

fn clamp(size: u64) -> u16 {
    u16::try_from(size).unwrap_or(u16::MAX)
}
