// SPDX-License-Identifier: Apache-2.0
//! One thing that the container's first process does, and which property asked for it.
//!
//! The child's life is a list of these, made by the other files of `plan/`, printed by
//! `soute explain`, walked by `init.rs`. An [`Action`] is an intention: a container path in it is
//! resolved when the step is applied, below the container's root, never at planning time.

use std::borrow::Cow;
use std::fmt;
use std::path::PathBuf;

use super::caps::CapSet;
use super::identity::{Console, Executable, Identity};
use super::mounts::{Mount, What};
use super::namespaces::Kind;
use super::propagation::Propagation;
use super::sched::{MemoryPolicy, Set};

/// The property of config.json that asks for a step, or "default" where the runtime itself does.
pub type Origin = Cow<'static, str>;

/// An action and where it comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The property: `mounts[3]`, `process.user`.
    pub origin: Origin,
    /// What is done.
    pub action: Action,
}

impl Step {
    pub(super) fn new(origin: impl Into<Origin>, action: Action) -> Self {
        Self { origin: origin.into(), action }
    }
}

/// Everything that init can be told to do.
#[expect(missing_docs, reason = "the variant's own words tell what its fields are")]
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Uid and gid 0 of the new user namespace, once the parent has written the maps.
    BecomeRoot,
    /// v1: `0` is written to the open `tasks` file of each hierarchy. Before the first child.
    JoinCgroups,
    /// exec: setgroups(2) to none, before a user namespace that may deny it.
    LeaveGroups,
    /// exec: setns into all namespaces of the container but that of pids, in one call.
    EnterNamespaces { flags: u64 },
    /// unshare(CLONE_NEWCGROUP), where it could not be made by clone3: after joining.
    NewCgroupNamespace,
    /// unshare(CLONE_NEWTIME), its offsets, and setns into it: an ordinary user's parent cannot.
    NewTimeNamespace { offsets: Vec<String> },
    /// A session keyring of the container's own, so that it cannot see the caller's.
    /// Its name ends in `mark`, which nobody can guess: who may, could have made it before. With a
    /// label, the keyring carries it.
    JoinKeyring { name: String, mark: String, label: Option<String> },
    /// setsid(2): no controlling terminal of the caller's is left.
    NewSession,
    /// sethostname(2).
    SetHostname { name: String },
    /// setdomainname(2).
    SetDomainname { name: String },
    /// The new network namespace, where the parent makes it, and its loopback interface.
    EnterNetwork,
    /// Mounts made from here on stay in this mount namespace (or, with `shared`, do not).
    SetPropagation { propagation: Propagation },
    /// The image becomes a mount, on itself: what pivot_root asks for.
    /// Where mounts are shared, the mount below becomes private first: pivot_root asks for that too.
    AttachRootfs { path: PathBuf, shared: bool },
    /// One mount.
    Mount(Mount),
    /// A device node, or a bind of the host's where nodes cannot be made.
    MakeDevice(Device),
    /// A symbolic link, `/dev/fd` and its kind.
    MakeLink { path: &'static str, target: &'static str },
    /// A pseudo-terminal of the container's own devpts; its master goes to the parent.
    OpenConsole(Console),
    /// Tells the parent that the mounts are there; prestart and createRuntime hooks run before it answers.
    AwaitRuntimeHooks,
    /// Hooks that run here.
    RunHooks { kind: HookKind, hooks: Vec<Hook> },
    /// pivot_root(".", "."), and the old root is gone; where mounts are shared it becomes a slave
    /// first, or the host's mounts would go with it.
    PivotRoot { shared: bool },
    /// For a rootfs on the initial ramdisk: the mount moves over "/", then chroot.
    MoveRoot,
    /// Without a mount namespace of its own: chroot.
    Chroot { path: PathBuf },
    /// linux.rootfsPropagation on the new root.
    SetRootPropagation { propagation: Propagation },
    /// The root mount itself, not what is mounted below it.
    MakeRootReadonly,
    /// A bind of the path on itself, read-only.
    MakeReadonly { path: PathBuf },
    /// The host's null device and, made when it is needed, an empty directory: what masked paths show.
    OpenCovers { label: Option<(String, String)> },
    /// Something empty above the path.
    Mask { path: PathBuf },
    /// A line for /proc/sys, through a procfs of our own.
    WriteSysctl { name: String, value: String },
    /// Standard input, output and error belong to the container's user, if they are pipes or files.
    ChownStdio { uid: u32 },
    /// The user namespace is somebody else's work, and may deny setgroups(2): /proc/self/setgroups
    /// is read, below a procfs of our own, which the filter may not let us make.
    ReadSetgroups,
    /// prlimit64(2).
    SetRlimit { name: &'static str, resource: u32, soft: u64, hard: u64 },
    /// Soft limits that the configuration does not name: the caller's do not leak in.
    ResetSoftLimits { except: Vec<u32> },
    /// sched_setaffinity(2): these, or every CPU that the cgroup allows.
    SetAffinity { cpus: Option<Set> },
    /// set_mempolicy(2).
    SetMemoryPolicy(MemoryPolicy),
    /// personality(2): as configured, and plain in place of whatever the caller's was.
    SetPersonality { domain: u32 },
    /// Capabilities that no exec may ever bring back.
    DropBounding { keep: CapSet },
    /// prctl(PR_SET_NO_NEW_PRIVS).
    SetNoNewPrivs,
    /// The compiled filter.
    LoadSeccomp { instructions: usize, listener: bool },
    /// Groups, gid, uid; capabilities are kept across.
    SetUser(Identity),
    /// Effective, permitted, inheritable, ambient.
    SetCapabilities { effective: CapSet, permitted: CapSet, inheritable: CapSet, ambient: CapSet },
    /// HOME is looked up in the container's /etc/passwd; `/` where it has no line for the user.
    FindHome { uid: u32 },
    /// What the payload is to a security module, from its execve on.
    SetExecLabel { module: Module, label: String, no_new_privs: bool },
    /// umask(2).
    SetUmask { mask: u32 },
    /// chdir(2), and a look that it is inside the root.
    EnterCwd { path: PathBuf },
    /// The file that exec will run is looked up now, so that create can say that it is missing.
    FindExecutable(Executable),
    /// Every descriptor but the first and the preserved ones closes at exec.
    CloseDescriptors { first: u32 },
    /// The signal that ends init with its parent is taken back; from here on a pipe tells.
    OutliveParent,
    /// Ready: the parent records the container, init waits for the word of `start`.
    AwaitStart,
    /// execve(2).
    Exec,
}

/// A node that the container finds in its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Where, in the container.
    pub path: PathBuf,
    /// Which kind of node, with its number.
    pub kind: DeviceKind,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the container.
    pub uid: u32,
    /// Group inside the container.
    pub gid: u32,
    /// The host's node is bound, since this user namespace cannot make any.
    pub bind: bool,
}

/// Kinds of node that mknod(2) makes.
#[expect(missing_docs, reason = "major and minor, as in mknod(1)")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// `c` and `u`.
    Character { major: u32, minor: u32 },
    /// `b`.
    Block { major: u32, minor: u32 },
    /// `p`.
    Fifo,
}

/// A Linux security module that labels processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Module {
    /// selinux(8)
    Selinux,
    /// apparmor(7)
    Apparmor,
}

impl fmt::Display for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Selinux => "SELinux",
            Self::Apparmor => "AppArmor",
        })
    }
}

impl fmt::Display for DeviceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Character { major, minor } => write!(f, "c {major}:{minor}"),
            Self::Block { major, minor } => write!(f, "b {major}:{minor}"),
            Self::Fifo => f.write_str("fifo"),
        }
    }
}

/// A program that runs at a point of the container's life (config.md, POSIX-platform hooks).
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Hook {
    /// Absolute.
    pub path: PathBuf,
    /// argv, the program's name included.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: Vec<String>,
    /// Seconds, at least 1; none: as long as it takes.
    pub timeout: Option<u64>,
}

/// The six points at which hooks run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookKind {
    /// Deprecated by the spec; runs with createRuntime, before it.
    Prestart,
    /// In the runtime's namespaces, after the mounts, before pivot_root.
    CreateRuntime,
    /// In the container's namespaces, before pivot_root.
    CreateContainer,
    /// In the container, after `start` was called.
    StartContainer,
    /// In the runtime's namespaces, after the payload began.
    Poststart,
    /// In the runtime's namespaces, after the container was deleted.
    Poststop,
}

impl HookKind {
    /// The name that config.json uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

impl Action {
    /// Whether it changes what belongs to a namespace of this kind.
    pub fn changes(&self, kind: Kind) -> bool {
        let of = match self {
            Self::SetHostname { .. } | Self::SetDomainname { .. } => Kind::Uts,
            Self::WriteSysctl { name, .. } => match name.split('/').next() {
                Some("net") => Kind::Network,
                Some("user") => Kind::User,
                _ if name == "kernel/domainname" => Kind::Uts,
                _ => Kind::Ipc,
            },
            _ => return false,
        };
        of == kind
    }

    /// Whether what it does depends on the network namespace: filesystems that belong to one (sysfs)
    /// or look for their server in it, and whoever may look on from outside.
    pub(super) fn needs_network(&self) -> bool {
        const ALIEN: [&str; 7] = ["proc", "tmpfs", "devpts", "mqueue", "cgroup", "cgroup2", "overlay"];
        match self {
            Self::Mount(Mount { what: What::Filesystem { fstype, .. }, .. }) => {
                !ALIEN.contains(&fstype.as_str())
            }
            Self::AwaitRuntimeHooks => true,
            _ => false,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BecomeRoot => f.write_str("become uid 0 and gid 0 of the user namespace"),
            Self::JoinCgroups => f.write_str("join the cgroups: write 0 to each open tasks file"),
            Self::EnterNamespaces { flags } => {
                let kinds: Vec<_> =
                    Kind::ALL.iter().filter(|k| flags & k.flag() != 0).map(|k| k.name()).collect();
                match kinds.is_empty() {
                    true => f.write_str("enter no namespace: the container has none but that of pids"),
                    false => write!(f, "enter the container's namespaces: {}", kinds.join(" ")),
                }
            }
            Self::LeaveGroups => f.write_str("give up the caller's groups"),
            Self::NewCgroupNamespace => f.write_str("unshare the cgroup namespace, rooted where init stands"),
            Self::NewTimeNamespace { offsets } => {
                f.write_str("unshare the time namespace and enter it")?;
                if offsets.is_empty() { Ok(()) } else { write!(f, " (offsets: {})", offsets.join(", ")) }
            }
            Self::JoinKeyring { name, label, .. } => {
                write!(f, "join a new session keyring {name}.RANDOM")?;
                label.as_ref().map_or(Ok(()), |label| write!(f, " with the label {label}"))
            }
            Self::NewSession => f.write_str("begin a new session (setsid)"),
            Self::SetHostname { name } => write!(f, "set the host name to {name:?}"),
            Self::SetDomainname { name } => write!(f, "set the domain name to {name:?}"),
            Self::EnterNetwork => f.write_str("enter the network namespace, its loopback interface up"),
            Self::SetPropagation { propagation } => {
                write!(f, "make every mount of this namespace {propagation}")
            }
            Self::AttachRootfs { path, shared } => {
                write!(f, "bind the root filesystem {} on itself", path.display())?;
                f.write_str(if *shared { ", the mount below and this one private" } else { "" })
            }
            Self::Mount(mount) => mount.fmt(f),
            Self::MakeDevice(device) => match device.bind {
                true => write!(f, "bind the host's {0} on {0}", device.path.display()),
                false => write!(
                    f,
                    "make device {} ({}, mode {:04o}, owner {}:{})",
                    device.path.display(),
                    device.kind,
                    device.mode,
                    device.uid,
                    device.gid
                ),
            },
            Self::MakeLink { path, target } => write!(f, "link {path} -> {target}"),
            Self::OpenConsole(console) => console.fmt(f),
            Self::AwaitRuntimeHooks => {
                f.write_str("report \"mounted\" and wait: prestart and createRuntime hooks run in the parent")
            }
            Self::RunHooks { kind, hooks } => {
                write!(
                    f,
                    "run {} {} hook{}",
                    hooks.len(),
                    kind.name(),
                    if hooks.len() == 1 { "" } else { "s" }
                )
            }
            Self::PivotRoot { shared: false } => {
                f.write_str("pivot_root into the root filesystem, detach the old root")
            }
            Self::PivotRoot { shared: true } => {
                f.write_str("pivot_root into the root filesystem, make the old root rslave, detach it")
            }
            Self::MoveRoot => f.write_str("move the root filesystem over / and chroot (no pivot_root)"),
            Self::Chroot { path } => write!(f, "chroot into {} (no mount namespace)", path.display()),
            Self::SetRootPropagation { propagation } => write!(f, "make the root mount {propagation}"),
            Self::MakeRootReadonly => f.write_str("make the root mount read-only"),
            Self::MakeReadonly { path } => write!(f, "make {} read-only", path.display()),
            Self::OpenCovers { .. } => f.write_str("open the host's /dev/null, to cover masked files with"),
            Self::Mask { path } => write!(f, "mask {}", path.display()),
            Self::WriteSysctl { name, value } => write!(f, "set sysctl {name} to {value:?}"),
            Self::ReadSetgroups => f.write_str("read whether this user namespace allows setgroups"),
            Self::ChownStdio { uid } => write!(f, "give standard input, output and error to uid {uid}"),
            Self::SetRlimit { name, soft, hard, .. } => {
                write!(f, "limit {name} to {} (hard {})", limit(*soft), limit(*hard))
            }
            Self::ResetSoftLimits { except } => {
                f.write_str("raise each soft limit to its hard limit, the stack's to 8 MiB at most")?;
                f.write_str(if except.is_empty() { "" } else { "; but for those above" })
            }
            Self::SetAffinity { cpus: None } => f.write_str("let it run on every CPU of its cgroup"),
            Self::SetAffinity { cpus: Some(cpus) } => write!(f, "let it run on CPUs {}", cpus.list),
            Self::SetMemoryPolicy(policy) => write!(f, "set the memory policy {policy}"),
            Self::SetPersonality { domain } => {
                write!(f, "set the execution domain to {}", if *domain == 0 { "LINUX" } else { "LINUX32" })
            }
            Self::DropBounding { keep } => write!(f, "drop from the bounding set all but {keep}"),
            Self::SetNoNewPrivs => f.write_str("set no_new_privs"),
            Self::LoadSeccomp { instructions, listener } => {
                write!(f, "load the seccomp filter ({instructions} instructions")?;
                f.write_str(if *listener { ", with a listener)" } else { ")" })
            }
            Self::SetUser(identity) => identity.fmt(f),
            Self::SetCapabilities { effective, permitted, inheritable, ambient } => {
                write!(f, "set capabilities: permitted {permitted}")?;
                for (name, set) in
                    [("effective", effective), ("inheritable", inheritable), ("ambient", ambient)]
                {
                    match set == permitted {
                        true => write!(f, "; {name} the same")?,
                        false => write!(f, "; {name} {set}")?,
                    }
                }
                Ok(())
            }
            Self::FindHome { uid } => write!(f, "look up HOME of uid {uid} in /etc/passwd"),
            Self::SetExecLabel { module, label, .. } => {
                write!(f, "let execve take on the {module} label {label}")
            }
            Self::SetUmask { mask } => write!(f, "set the umask to {mask:04o}"),
            Self::EnterCwd { path } => write!(f, "enter the working directory {}", path.display()),
            Self::FindExecutable(executable) => write!(f, "find the executable {:?}", executable.name),
            Self::CloseDescriptors { first } => write!(f, "let descriptors from {first} on close at exec"),
            Self::OutliveParent => f.write_str("no longer die with the parent; from here on a pipe tells"),
            Self::AwaitStart => f.write_str("report \"ready\" and wait for start"),
            Self::Exec => f.write_str("execve"),
        }
    }
}

fn limit(value: u64) -> Cow<'static, str> {
    match value {
        u64::MAX => "unlimited".into(),
        n => n.to_string().into(),
    }
}
