// SPDX-License-Identifier: Apache-2.0
//! restore: a container whose processes come out of a checkpoint.
//!
//! ```text
//! config.json -> plan                  as for create; of its steps CRIU does what is not the host's
//! lock, record, cgroups                create's own, and undone in the same way
//! criu: born in the container's groups and in a mount namespace of its own
//!   setup-namespaces                   prestart and createRuntime hooks
//!   orphan-pts-master                  the terminal's master, to who keeps the console
//!   post-restore                       the processes are whole and stand still: late limits, device rules
//! record = created, pid file           the processes run already
//! ```
#![expect(clippy::disallowed_methods, reason = "images are the caller's")]

use std::fs::{self, DirBuilder};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::act::criu::message::{
    CgroupRoot, ExtMount, InheritFd, JoinNamespace, Kind as About, Notify, Options,
};
use crate::act::criu::{Criu, Worker};
use crate::act::foreground::{self, Foreground};
use crate::act::hooks::Output;
use crate::act::namespace::{self, Joined, Visit};
use crate::act::path::{self, Target, open_target};
use crate::act::spawn::{Birth, Child};
use crate::act::{console, network, notify, pidfile, procfs, rootfs};
use crate::cgroup;
use crate::claim::Claim;
use crate::container::{Container, SECCOMP, notify_dir};
use crate::context::Context;
use crate::create::{self, CreateRequest, runtime_hooks};
use crate::criu::{self, CriuFlags, DESCRIPTORS, Directories};
use crate::delete;
use crate::error::{Call, Error, Fault, Kind, Result};
use crate::newborn::{Newborn, Terminal, check_terminal, preserved, route_console, tell_oom};
use crate::plan::cgroup::memberships;
use crate::plan::external::{Mountpoint, namespace_key};
use crate::plan::namespaces::Kind as Namespace;
use crate::plan::{Plan, seccomp};
use crate::store::Store;

/// The directory of a container's record on which CRIU finds the image.
const CRIU_ROOT: &str = "criu-root";

/// What the caller of `restore` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreRequest {
    /// As for create.
    pub create: CreateRequest,
    /// CRIU's ways.
    pub criu: CriuFlags,
    /// Come back when the processes run.
    pub detach: bool,
    /// Orphans of the container are somebody else's.
    pub no_subreaper: bool,
    /// Connections that stood are closed.
    pub tcp_close: bool,
    /// `TYPE:NAME`: another label for the processes.
    pub lsm_profile: Option<String>,
    /// Another SELinux context for the mounts.
    pub lsm_mount_context: Option<String>,
}

/// Restores a container. In the foreground the result is its exit status, or 128 + N after signal N;
/// detached it is 0.
pub fn restore(context: &Context, request: &RestoreRequest) -> Result<i32> {
    go(context, request).map_err(|e| e.within(format!("restore {}", request.create.id)))
}

fn go(context: &Context, request: &RestoreRequest) -> Result<i32> {
    preserved(request.create.preserve_fds, context.log)?;
    let detached = request.detach || request.create.console_socket.is_some();
    let terminal = if detached { Terminal::Socket } else { Terminal::Here };
    if request.detach {
        bring_up(context, request, terminal)?;
        return Ok(0);
    }
    // Before the processes exist: a signal that came in between would leave them behind.
    let signals = foreground::prepare(!request.no_subreaper)?;
    let Restored { container, child, console } = bring_up(context, request, terminal)?;
    let (pid, pidfd) = (child.pid, child.pidfd.as_fd());
    let status = Foreground { pid, pidfd, signals: &signals, console, notify: None }.wait();
    if let Ok(code) = status {
        tell_oom(code, &container.record.cgroup);
    }
    delete::delete_created(&container)?;
    Ok(status?)
}

/// A container that runs; its first process is this one's child.
struct Restored {
    container: Container,
    child: Child,
    console: Option<OwnedFd>,
}

fn bring_up(context: &Context, request: &RestoreRequest, terminal: Terminal) -> Result<Restored> {
    let criu = Criu::find()?;
    let create = &request.create;
    let (bundle, host, plan) = create::plan(context, create)?;
    check_terminal(plan.terminal, create.console_socket.is_some(), terminal)?;
    let mut record = create::record(&bundle, &host, &plan, create)?;
    let streams = streams(&request.criu.image_path)?;
    let joined = create::open_joined(&plan)?;
    let hook_output = match plan.has_hooks() {
        true => Output::open(&plan.annotations.hooks)?,
        false => Output::default(),
    };

    let store = Store::new(&context.root);
    record.start_hooks = None;
    let mut claim = Claim::new(&store, record)?;
    // Nobody will wait at them, which is how a container looks that has been started.
    drop(claim.container().make_fifos()?);
    if plan.notify {
        notify::make_dir(&notify_dir(&claim.container().dir))?;
    }
    if let Some(filter) = &plan.seccomp {
        claim.container().write_file(SECCOMP, &seccomp::to_bytes(&filter.program))?;
    }
    let mut group = claim.groups().make(&plan.limits)?;
    claim.has_groups(group.record());
    claim.save_copy()?;
    if let Some(rdt) = &plan.rdt {
        claim.classify(rdt)?;
    }
    plan.mountpoints().iter().try_for_each(make_mountpoint)?;
    let root = claim.container().dir.join(CRIU_ROOT);
    DirBuilder::new().mode(0o700).create(&root).call(|| format!("mkdir({root:?})"))?;

    let (worker, directories) = start(&criu, request, &plan, &mut group, &joined, &root)?;
    if let Some(class) = &claim.container().record.rdt {
        class.join(worker.child().pid.as_raw_nonzero().get())?;
    }
    if let Some(scope) = &plan.scope {
        group.enter(scope, worker.child().pid, &plan.limits)?;
        claim.has_groups(group.record());
        claim.save_copy()?;
    }
    let mut options = options(request, &directories, &claim, &plan, &joined)?;
    options.inherit_fd.extend(streams);
    // Without a mount namespace of its own the container's root is a directory of the host's.
    let root = if plan.namespaces.has(Namespace::Mount) { &root } else { &plan.rootfs };
    options.root = root.to_string_lossy().into_owned();
    options.ext_mnt = ext_mnt(&plan, group.record());
    options.cg_root = cgroup_roots(worker.child().pid)?;
    let (mut init, mut console) = (None, None);
    criu::converse(&worker, About::Restore, options, &directories, |notify, fds| {
        match notify.script.as_str() {
            "setup-namespaces" => {
                equip(&plan, &child(notify)?)?;
                claim.hooked.set(true);
                runtime_hooks(&plan, &claim.container().record, notify.pid, &hook_output)?;
            }
            "orphan-pts-master" => {
                console = route_console(fds.into_iter().next(), create.console_socket.as_deref(), terminal)?;
            }
            "post-restore" => {
                init = Some(Newborn(Some(child(notify)?)));
                group.limit_late(&plan.limits)?;
                group.rule_devices(&plan.limits)?;
                plan.cgroup_owner.map_or(Ok(()), |owner| group.delegate(owner))?;
            }
            _ => {}
        }
        Ok(())
    })?;
    if !worker.end()? {
        return Err(Fault::new("criu failed after the restore").into());
    }
    let _ = fs::remove_dir(claim.container().dir.join(CRIU_ROOT));
    let init = init.ok_or_else(|| Fault::new("criu told no process"))?;
    let pid = init.get().pid;
    // CRIU puts clocks that must not jump into a time namespace, which `exec` has to find.
    if namespace::differs(pid, Namespace::Time) {
        claim.has(Namespace::Time);
    }
    claim.has_init(pid);
    claim.created(group.commit())?;
    for socket in create.pidfd_socket.iter().chain(&plan.annotations.pidfd_receiver) {
        console::send_pidfd(socket, init.get().pidfd.as_fd(), "standard")?;
    }
    if let Some(path) = &create.pid_file {
        pidfile::write(path, pid.as_raw_nonzero().get())?;
    }
    Ok(Restored { container: claim.keep(), child: init.keep(), console })
}

/// What create does for a new network namespace.
fn equip(plan: &Plan, child: &Child) -> Result<()> {
    if let (true, Some(visit)) =
        (plan.namespaces.makes(Namespace::Network), Visit::from(std::iter::once(Namespace::Network))?)
    {
        namespace::enter(&namespace::of(procfs::host()?.as_fd(), child.pid, Namespace::Network)?)?;
        let up = network::loopback_up();
        drop(visit);
        up?;
    }
    network::move_devices(&plan.namespaces.net_devices, child)
}

/// The first process, which stands still.
fn child(notify: &Notify) -> Result<Child, Fault> {
    let pid = Pid::from_raw(notify.pid).ok_or_else(|| Fault::new("criu told no process"))?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).call(|| format!("pidfd_open({})", notify.pid))?;
    Ok(Child { pid, pidfd })
}

/// CRIU, in the container's groups: whatever it restores is born there. The root must be a mount of
/// its own, which nobody else need see: it is made in a mount namespace that goes with CRIU. Its
/// directories are opened there too, since it mounts below them.
fn start(
    criu: &Criu,
    request: &RestoreRequest,
    plan: &Plan,
    group: &mut cgroup::Made,
    joined: &[Joined],
    root: &Path,
) -> Result<(Worker, Directories)> {
    let visit = match plan.namespaces.has(Namespace::Mount) {
        true => Visit::from(std::iter::once(Namespace::Mount))?,
        false => None,
    };
    if visit.is_some() {
        namespace::new_mounts()?;
        rootfs::set_propagation(libc::MS_SLAVE, true)?;
        rootfs::bind_image(&plan.rootfs, root)?;
    }
    let directories = Directories::open(&request.criu, false, "restore.log")?;
    let tasks = group.take_joins();
    let fds: Vec<_> =
        joined.iter().filter(|j| namespace_key(j.kind).is_some()).map(|j| j.fd.as_fd()).collect();
    let birth = Birth { cgroup: group.into_cgroup(), ..Birth::default() };
    let worker = criu.start(&birth, &fds, || {
        let join = |file| rustix::io::write(file, b"0").call(|| "writing 0 to a cgroup's tasks").map(drop);
        tasks.iter().try_for_each(join)
    })?;
    Ok((worker, directories))
}

fn options(
    request: &RestoreRequest,
    directories: &Directories,
    claim: &Claim,
    plan: &Plan,
    joined: &[Joined],
) -> Result<Options> {
    let mut options = Options {
        evasive_devices: true,
        rst_sibling: true,
        tcp_close: request.tcp_close,
        lsm_profile: request.lsm_profile.clone(),
        lsm_mount_context: request.lsm_mount_context.clone(),
        ..criu::options(&request.criu, directories, &claim.container().record)
    };
    for Joined { kind, fd } in joined {
        match namespace_key(*kind) {
            Some(key) => options.inherit_fd.push(InheritFd { key: key.to_owned(), fd: fd.as_raw_fd() }),
            None => {
                let configured = plan.namespaces.joined.iter().find(|(k, ..)| k == kind);
                let Some((_, path, n)) = configured else { continue };
                if *kind == Namespace::Cgroup {
                    let says = "CRIU cannot restore into a cgroup namespace that exists";
                    let at = format!("linux.namespaces[{n}].path");
                    return Err(Error::new(Kind::Config, says).within(at));
                }
                let ns_file = path.to_string_lossy().into_owned();
                options.join_ns.push(JoinNamespace { ns: kind.link().to_owned(), ns_file });
            }
        }
    }
    Ok(options)
}

/// What takes the place of the streams that were pipes, or files that only the dump's caller knew.
fn streams(images: &Path) -> Result<Vec<InheritFd>> {
    let path = images.join(DESCRIPTORS);
    let text = fs::read(&path)
        .call(|| format!("read({path:?})"))
        .map_err(|fault| fault.hint("is this the directory of a checkpoint? A pre-dump alone is none"))?;
    let keys: Vec<String> = serde_json::from_slice(&text)
        .map_err(|e| Error::new(Kind::Failed, e.to_string()).within(path.display().to_string()))?;
    let mut inherited: Vec<InheritFd> = Vec::new();
    for (fd, key) in (0..).zip(keys) {
        let outside = key.contains("pipe:") || key.starts_with("file[");
        if outside && !inherited.iter().any(|other| other.key == key) {
            inherited.push(InheritFd { key, fd });
        }
    }
    Ok(inherited)
}

/// From the names in the checkpoint to trees of this host.
fn ext_mnt(plan: &Plan, groups: &cgroup::Record) -> Vec<ExtMount> {
    let mut all: Vec<ExtMount> = Vec::new();
    for mount in criu::external_mounts(plan, groups) {
        let val = mount.source.to_string_lossy().into_owned();
        all.retain(|other| other.key != mount.name);
        all.push(ExtMount { key: mount.name, val });
    }
    all
}

/// Where each hierarchy's processes go: where CRIU stands, which is the container's group.
fn cgroup_roots(pid: Pid) -> Result<Vec<CgroupRoot>, Fault> {
    let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
    let text = fs::read_to_string(&path).call(|| format!("read({path:?})"))?;
    let mut roots = Vec::new();
    for (controllers, own) in memberships(&text) {
        let names = if controllers.is_empty() { vec![String::new()] } else { controllers };
        roots.extend(names.into_iter().map(|ctrl| CgroupRoot { ctrl, path: own.to_owned() }));
    }
    Ok(roots)
}

/// As create does for every mount; a file for a file, else a directory.
fn make_mountpoint(point: &Mountpoint) -> Result<()> {
    let is_dir = |path: &PathBuf| path.is_dir();
    let target = if point.source.as_ref().is_none_or(is_dir) { Target::Directory } else { Target::File };
    let base = path::open_host(&point.base, OFlags::PATH).call(|| format!("open({:?})", point.base))?;
    open_target(base.as_fd(), &point.path, target)
        .map(drop)
        .map_err(|fault| Error::from(fault).within(format!("a mountpoint below {}", point.base.display())))
}
