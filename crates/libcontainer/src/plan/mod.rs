// SPDX-License-Identifier: Apache-2.0
#![forbid(unsafe_code)]
//! PURE: from a configuration to a plan. Opens no file, makes no system call.
//!
//! [`Plan::new`] decides everything that can be decided before the fork, and the order of it all
//! stands in this one function. `create` runs the plan, `explain` prints the same value.

pub mod annotations;
pub mod caps;
pub mod cgroup;
pub mod devices;
pub mod exec;
pub mod external;
mod hooks;
pub mod identity;
pub mod mounts;
pub mod namespaces;
mod nodes;
pub mod notify;
pub mod problem;
pub mod process;
pub mod propagation;
pub mod rdt;
pub mod resources;
pub mod sched;
pub mod seccomp;
pub mod step;
mod sysctl;
pub mod systemd;
mod tree;

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, Process, Spec};

use annotations::Annotations;
use caps::CapSet;
use cgroup::{CgroupLayout, Place};
use hooks::Hooks;
use mounts::{IdMap, Links, Opener};
use namespaces::{Kind, Namespaces};
use problem::Problem;
use process::{Around, Payload};
use rdt::Rdt;
use resources::{Devices, Limits};
use sched::{MemoryPolicy, Scheduling};
use seccomp::Filter;
use step::{Action, Hook, Step};
use systemd::{Asked, Manager, Scope};

/// What this host can do, as plain data: `host.rs` fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Effective user id of the caller.
    pub euid: u32,
    /// Effective group id of the caller, asked of an ordinary user only.
    pub egid: u32,
    /// The caller's permitted capabilities.
    pub capabilities: CapSet,
    /// How /sys/fs/cgroup is laid out.
    pub cgroups: CgroupLayout,
}

/// What the command line adds to the bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// The container's id.
    pub id: String,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// No cgroup is to be made or joined.
    pub no_cgroup: bool,
    /// The systemd that makes the cgroup; none: we do.
    pub systemd: Option<Manager>,
    /// MS_MOVE and chroot in place of pivot_root.
    pub no_pivot: bool,
    /// The end of the name of its own session keyring; without one the caller's stays.
    pub keyring: Option<String>,
    /// Descriptors from 3 on that the payload gets.
    pub preserve_fds: u32,
    /// How many more are sockets after the LISTEN_FDS protocol (sd_listen_fds(3)).
    pub listen_fds: u32,
    /// What the caller calls them: LISTEN_FDNAMES.
    pub listen_names: Option<String>,
    /// The caller has a NOTIFY_SOCKET: the directory for the payload's own, which is made later.
    pub notify: Option<PathBuf>,
}

/// A bind mount's source, in the order of `index` of [`mounts::What::Bind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// `mounts[3]`.
    pub origin: String,
    /// On the host.
    pub path: PathBuf,
    /// With all that is mounted below it.
    pub recursive: bool,
    /// What it means if it is a symbolic link.
    pub links: Links,
    /// Other owners.
    pub idmap: Option<IdMap>,
    /// Who opens it.
    pub opener: Opener,
}

/// Everything that `create` is going to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The container's id.
    pub id: String,
    /// The image's tree on the host, absolute.
    pub rootfs: PathBuf,
    /// What clone3 makes and what is joined.
    pub namespaces: Namespaces,
    /// The cgroup namespace is made by clone3 (else by a step).
    pub clone_cgroup: bool,
    /// The time namespace is made by the parent (else by a step).
    pub visit_time: bool,
    /// The network namespace is made by the parent while init mounts (else by clone3): it is the
    /// dearest of all, and the first mounts do not ask for it. Only the caller's user namespace may
    /// own it then.
    pub network_beside: bool,
    /// Who opens the sources of bind mounts; below init's root the image's directory too.
    pub opener: Opener,
    /// Sources of bind mounts.
    pub sources: Vec<Source>,
    /// Where the container's group lies; none: it stays in the caller's.
    pub place: Option<Place>,
    /// The unit whose group it is, with the systemd driver.
    pub scope: Option<Scope>,
    /// What the container's group is limited to.
    pub limits: Limits,
    /// The user of the host to whom it is delegated.
    pub cgroup_owner: Option<u32>,
    /// The class of service of its processes.
    pub rdt: Option<Rdt>,
    /// Written by the parent.
    pub oom_score_adj: Option<i32>,
    /// Set by the parent when init is ready.
    pub scheduling: Scheduling,
    /// Also of what `exec` brings in.
    pub memory_policy: Option<MemoryPolicy>,
    /// The last source is a directory of the container's state, for the payload's NOTIFY_SOCKET.
    pub notify: bool,
    /// The child's life.
    pub steps: Vec<Step>,
    /// Hooks of the parent: prestart and createRuntime.
    pub prestart: Vec<Hook>,
    /// Hooks of the parent.
    pub create_runtime: Vec<Hook>,
    /// Hooks of `start`.
    pub poststart: Vec<Hook>,
    /// Hooks of `delete`.
    pub poststop: Vec<Hook>,
    /// The compiled profile.
    pub seccomp: Option<Filter>,
    /// argv and environment; none where config.json has no process.
    pub payload: Option<Payload>,
    /// Execution domain, also of what `exec` brings in.
    pub personality: u32,
    /// process.terminal.
    pub terminal: bool,
    /// Annotations that change what is done.
    pub annotations: Annotations,
    /// What is worth a word but no refusal.
    pub warnings: Vec<Problem>,
}

impl Plan {
    /// Plans the creation of a container; or tells everything that is wrong with it.
    pub fn new(spec: &Spec, host: &Host, request: &Request) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let linux = spec.linux().as_ref();
        let process = spec.process().as_ref();
        let rootfs = rootfs(spec, &request.bundle, &mut problems);
        let annotations = Annotations::of(spec.annotations().iter().flatten(), &mut problems);
        let namespaces = namespaces::plan(linux, &mut problems);
        refuse(spec, &mut problems);
        let rootless = host.euid != 0;
        if rootless && !namespaces.has(Kind::User) {
            problems.push(
                Problem::new("linux.namespaces", "an ordinary user needs a user namespace")
                    .hint("`soute spec --rootless` writes a configuration that has one"),
            );
        }
        if rootless && !namespaces.net_devices.is_empty() {
            problems.push(
                Problem::new("linux.netDevices", "an ordinary user cannot take devices from the host")
                    .hint("leave it out, or run as root"),
            );
        }
        let limits = match request.no_cgroup {
            true => Limits::default(),
            false => {
                resources::limits(linux.and_then(|l| l.resources().as_ref()), &host.cgroups, &mut problems)
            }
        };
        warnings.extend(limits.warnings.iter().cloned());
        if host.cgroups == CgroupLayout::None && limits.devices != Devices::Open {
            warnings.push(
                Problem::new(
                    devices::PROPERTY,
                    "this host has no cgroups, so no rule for devices is in force",
                )
                .hint("mount them on /sys/fs/cgroup"),
            );
        }
        let cgroups_path = linux.and_then(|l| l.cgroups_path().as_deref());
        let unit = request.systemd.map(|manager| Asked { cgroups_path, id: &request.id, manager });
        let scope =
            unit.and_then(|unit| unit.scope(&host.cgroups, &limits, spec.annotations(), &mut problems));
        let ours = !request.no_cgroup && request.systemd.is_none();
        let place = ours.then(|| Place::new(cgroups_path, &request.id));
        let place = place.and_then(|place| place.map_err(|problem| problems.push(problem)).ok());
        let seccomp = linux
            .and_then(|l| l.seccomp().as_ref())
            .and_then(|profile| seccomp::plan(profile, &annotations, &mut problems));
        let rdt = rdt::plan(linux, &request.id, &mut problems);
        let hooks = Hooks::of(spec, &mut problems);
        // v1 groups and systemd's scope are entered by init itself, so its namespace comes after that.
        let v2 = matches!(host.cgroups, CgroupLayout::V2);
        let clone_cgroup =
            namespaces.makes(Kind::Cgroup) && ((v2 && request.systemd.is_none()) || request.no_cgroup);
        let cgroup_owner = if v2 && !request.no_cgroup { cgroup::owner(spec, &namespaces) } else { None };

        let mut steps = Vec::with_capacity(64);
        let visit_time = namespaces.makes(Kind::Time) && !rootless;
        if namespaces.makes(Kind::Time) && !visit_time {
            // While init's files in /proc are still its own.
            let offsets = namespaces.time_offsets.clone();
            steps.push(Step::new("linux.timeOffsets", Action::NewTimeNamespace { offsets }));
        }
        if namespaces.has(Kind::User) {
            steps.push(Step::new("linux.namespaces", Action::BecomeRoot));
        }
        if !request.no_cgroup && matches!(host.cgroups, CgroupLayout::V1 { .. }) {
            steps.push(Step::new("linux.cgroupsPath", Action::JoinCgroups));
        }
        if namespaces.makes(Kind::Cgroup) && !clone_cgroup {
            steps.push(Step::new("linux.namespaces", Action::NewCgroupNamespace));
        }
        if let Some(mark) = &request.keyring {
            steps.push(process::keyring(process, &request.id, mark));
        }
        steps.push(Step::new("default", Action::NewSession));
        names(spec, &namespaces, &mut steps, &mut problems);
        let network_beside = namespaces.makes(Kind::Network)
            && namespaces.has(Kind::Mount)
            && !namespaces.has(Kind::User)
            && namespaces.net_devices.is_empty();
        if namespaces.makes(Kind::Network) && !network_beside {
            steps.push(Step::new("linux.namespaces", Action::EnterNetwork));
        }
        let mut sources = Vec::new();
        let opener = match (rootless, namespaces.has(Kind::User)) {
            // What a joined mount namespace shows can only be told inside of it.
            _ if !namespaces.makes(Kind::Mount) => Opener::Init,
            (false, false) => Opener::Parent,
            (false, true) => Opener::ParentBelowInit,
            (true, _) => Opener::Init,
        };
        if namespaces.has(Kind::Mount) {
            let tree = tree::Tree {
                spec,
                linux,
                process,
                host,
                request,
                namespaces: &namespaces,
                rootfs: &rootfs,
                opener,
                annotations: &annotations,
            };
            tree.steps(&hooks, &mut steps, &mut sources, &mut problems, &mut warnings);
            if network_beside {
                let first = steps.iter().position(|step| step.action.needs_network()).unwrap_or(steps.len());
                steps.insert(first, Step::new("linux.namespaces", Action::EnterNetwork));
            }
        } else {
            tree::without_mount_namespace(spec, linux, &rootfs, &hooks, &mut steps, &mut problems);
        }
        sysctl::steps(linux, &namespaces, &mut steps, &mut problems);

        let notify = sources.last().is_some_and(|source: &Source| source.origin == notify::ORIGIN);
        let payload = process.map(|process| {
            let mut payload = process::payload(process, "process", &mut problems);
            listen_fds(&mut payload, request);
            if notify {
                notify::tell(&mut payload);
            }
            payload
        });
        let scheduling = process.map(|process| {
            let hooks = !hooks.start_container.is_empty();
            sched::scheduling(process, "process", hooks, &mut problems)
        });
        let memory_policy =
            linux.and_then(|l| l.memory_policy().as_ref()).map(|p| sched::memory_policy(p, &mut problems));
        let user_namespace = namespaces.has(Kind::User);
        let personality = personality(linux, &mut warnings);
        let around = Around {
            property: "process",
            setgroups: !(rootless
                && namespaces.makes(Kind::User)
                && namespaces::maps_only(&namespaces.gid_map, host.egid)),
            keep_groups: annotations.keep_groups,
            seccomp: seccomp.as_ref(),
            preserve_fds: request.preserve_fds.saturating_add(request.listen_fds),
            hooks: &hooks.start_container,
            user_namespace,
            foreign_user_namespace: namespaces.joins(Kind::User),
            personality,
            memory_policy: memory_policy.as_ref(),
            affinity: None,
            grantable: if user_namespace { CapSet(u64::MAX) } else { host.capabilities },
        };
        steps.extend(process::steps(process, &around, &mut problems));
        if !user_namespace {
            process.inspect(|p| ungrantable(p, host.capabilities, &mut warnings));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self {
            id: request.id.clone(),
            rootfs,
            namespaces,
            clone_cgroup,
            visit_time,
            network_beside,
            opener,
            sources,
            place,
            scope,
            limits,
            cgroup_owner,
            rdt,
            oom_score_adj: process.and_then(Process::oom_score_adj),
            scheduling: scheduling.unwrap_or_default(),
            memory_policy,
            notify,
            steps,
            prestart: hooks.prestart,
            create_runtime: hooks.create_runtime,
            poststart: hooks.poststart,
            poststop: hooks.poststop,
            seccomp,
            payload,
            personality,
            terminal: process.is_some_and(|p| p.terminal().unwrap_or(false)),
            annotations,
            warnings,
        })
    }
}

impl Plan {
    /// There is a hook that runs before the payload does.
    pub fn has_hooks(&self) -> bool {
        let runs = |step: &Step| matches!(step.action, Action::RunHooks { .. });
        !self.prestart.is_empty() || !self.create_runtime.is_empty() || self.steps.iter().any(runs)
    }
}

/// linux.personality: PER_LINUX or PER_LINUX32 (personality(2)); the spec defines no flags yet.
fn personality(linux: Option<&Linux>, warnings: &mut Vec<Problem>) -> u32 {
    use oci_spec::runtime::LinuxPersonalityDomain;
    let asked = linux.and_then(|l| l.personality().as_ref());
    if asked.is_some_and(|p| p.flags().as_ref().is_some_and(|flags| !flags.is_empty())) {
        let says = "ignored: the specification defines no flag yet";
        warnings.push(Problem::new("linux.personality.flags", says));
    }
    match asked.map(|p| p.domain()) {
        Some(LinuxPersonalityDomain::PerLinux32) => 8,
        _ => 0,
    }
}

fn rootfs(spec: &Spec, bundle: &Path, problems: &mut Vec<Problem>) -> PathBuf {
    let root = spec.root().as_ref().map(|root| root.path()).filter(|path| !path.as_os_str().is_empty());
    let Some(path) = root else {
        problems.push(
            Problem::new("root", "root must be specified")
                .hint("give {\"path\": \"rootfs\"}, relative to the bundle"),
        );
        return PathBuf::new();
    };
    // `.` parts would show up in state and mountinfo; `..` stays the kernel's to resolve.
    bundle.join(path).components().filter(|c| *c != Component::CurDir).collect()
}

fn names(spec: &Spec, namespaces: &Namespaces, steps: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    let mut name = |property: &'static str, value: &Option<String>, action: fn(String) -> Action| {
        let Some(value) = value.as_ref().filter(|v| !v.is_empty()) else { return };
        if !namespaces.has(Kind::Uts) {
            problems.push(
                Problem::new(
                    property,
                    "needs a uts namespace of the container's own: it would rename the host",
                )
                .hint("add {\"type\": \"uts\"} to linux.namespaces"),
            );
        } else if value.len() > 64 {
            problems.push(Problem::new(property, format!("{} bytes are too long: at most 64", value.len())));
        } else {
            steps.push(Step::new(property, action(value.clone())));
        }
    };
    name("hostname", spec.hostname(), |name| Action::SetHostname { name });
    name("domainname", spec.domainname(), |name| Action::SetDomainname { name });
}

/// Properties that this version does not act on are refused, so that nobody relies on them.
fn refuse(spec: &Spec, problems: &mut Vec<Problem>) {
    let asked = [("vm", spec.vm().is_some())];
    for (property, asked) in asked {
        if asked {
            problems.push(Problem::new(property, "is not supported yet"));
        }
    }
}

fn ungrantable(process: &Process, mine: CapSet, warnings: &mut Vec<Problem>) {
    let Some(asked) = process.capabilities().as_ref().and_then(|c| c.permitted().as_ref()) else { return };
    let missing = CapSet(CapSet::of(asked).0 & !mine.0);
    if missing != CapSet(0) {
        warnings.push(Problem::new(
            "process.capabilities",
            format!("{missing} cannot be granted: the caller does not have them"),
        ));
    }
}

/// The payload finds its sockets from descriptor 3 on, and itself as process 1 (sd_listen_fds(3)).
fn listen_fds(payload: &mut Payload, request: &Request) {
    if request.listen_fds > 0 {
        payload.set_env("LISTEN_FDS", &request.listen_fds.to_string());
        payload.set_env("LISTEN_PID", "1");
        if let Some(names) = &request.listen_names {
            payload.set_env("LISTEN_FDNAMES", names);
        }
    }
}
