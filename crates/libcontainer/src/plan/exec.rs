// SPDX-License-Identifier: Apache-2.0
//! The plan of `exec`: one more process in a container that lives.

use std::path::PathBuf;

use oci_spec::runtime::Process;

use super::caps::CapSet;
use super::namespaces::Kind;
use super::problem::Problem;
use super::process::{self, Around, Payload};
use super::sched::{self, MemoryPolicy, Scheduling, Set};
use super::seccomp::Filter;
use super::step::{Action, Step};

/// What is known of the container that the process enters.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// Its id.
    pub id: String,
    /// `CLONE_NEW*` of the namespaces that it has for itself.
    pub namespaces: u64,
    /// Its groups are of v1: init's way in.
    pub cgroup_v1: bool,
    /// Its root, where no mount namespace of its own holds it.
    pub chroot: Option<PathBuf>,
    /// The caller's supplementary groups stay.
    pub keep_groups: bool,
    /// The filter of its init.
    pub seccomp: Option<Filter>,
    /// It has a session keyring of its own: the end of its name.
    pub keyring: Option<String>,
    /// Execution domain of its configuration.
    pub personality: u32,
    /// NUMA policy of its configuration.
    pub memory_policy: Option<MemoryPolicy>,
    /// Born in the container's user namespace, into which an ordinary user's process must be
    /// before it has any right to the others.
    pub born_inside: bool,
    /// The caller's capabilities.
    pub capabilities: CapSet,
    /// Descriptors from 3 on that the process gets.
    pub preserve_fds: u32,
}

/// Everything that `exec` is going to do in the new process.
#[derive(Clone, Debug)]
pub struct ExecPlan {
    /// Its life up to execve.
    pub steps: Vec<Step>,
    /// argv and environment.
    pub payload: Payload,
    /// Set by the parent when the process is ready.
    pub scheduling: Scheduling,
    /// The parent's own CPUs, before the process is born into the group.
    pub initial_cpus: Option<Set>,
    /// It gets a terminal.
    pub terminal: bool,
}

impl ExecPlan {
    /// Plans a process; or tells everything that is wrong with it.
    pub fn new(process: &Process, inside: &Inside) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let payload = process::payload(process, "process", &mut problems);
        let user_namespace = inside.namespaces & Kind::User.flag() != 0;
        let mut steps = Vec::with_capacity(24);
        if inside.cgroup_v1 {
            steps.push(Step::new("default", Action::JoinCgroups));
        }
        // A process is born into a pid namespace; all others are entered now.
        let born = if inside.born_inside { Kind::Pid.flag() | Kind::User.flag() } else { Kind::Pid.flag() };
        let flags = inside.namespaces & !born;
        if flags & Kind::User.flag() != 0 && !inside.keep_groups {
            steps.push(Step::new("default", Action::LeaveGroups));
        }
        steps.push(Step::new("default", Action::EnterNamespaces { flags }));
        if user_namespace {
            steps.push(Step::new("default", Action::BecomeRoot));
        }
        if let Some(mark) = &inside.keyring {
            steps.push(process::keyring(Some(process), &inside.id, mark));
        }
        steps.push(Step::new("default", Action::NewSession));
        if let Some(path) = &inside.chroot {
            steps.push(Step::new("default", Action::Chroot { path: path.clone() }));
        }
        if let Some(console) = process::console(process, false) {
            steps.push(Step::new("process.terminal", Action::OpenConsole(console)));
        }
        let scheduling = sched::scheduling(process, "process", false, &mut problems);
        let affinity = sched::affinity(process, "process", &mut problems);
        let around = Around {
            property: "process",
            setgroups: true,
            keep_groups: inside.keep_groups,
            seccomp: inside.seccomp.as_ref(),
            preserve_fds: inside.preserve_fds,
            hooks: &[],
            user_namespace,
            foreign_user_namespace: user_namespace,
            personality: inside.personality,
            memory_policy: inside.memory_policy.as_ref(),
            affinity: Some(&affinity),
            grantable: if user_namespace { CapSet(u64::MAX) } else { inside.capabilities },
        };
        steps.extend(process::steps(Some(process), &around, &mut problems));
        if !problems.is_empty() {
            return Err(problems);
        }
        let terminal = process.terminal().unwrap_or(false);
        Ok(Self { steps, payload, scheduling, initial_cpus: affinity.initial, terminal })
    }
}
