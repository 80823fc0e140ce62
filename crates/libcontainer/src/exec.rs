// SPDX-License-Identifier: Apache-2.0
//! exec: one more process in a container that lives.
//!
//! ```text
//! state.json -> process -> plan           config.json is read only where the command line needs its defaults
//! pidfd of init, setns(pid) in this process, clone3 INTO_CGROUP
//!   child: joins the v1 groups, enters the other namespaces, and walks the same last steps as init
//! Ready, pid file, Go, execve             an end of file on the channel tells that it took place
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::str::FromStr;

use oci_spec::runtime::{Capabilities, Capability, Process, ProcessBuilder, UserBuilder};
use rustix::io::Errno;
use rustix::process::{Pid, geteuid};

use crate::act::foreground::{self, Foreground};
use crate::act::hooks::Output;
use crate::act::spawn::{Birth, Born, spawn};
use crate::act::{console, pidfile, procfs, sched};
use crate::bundle::{self, Bundle};
use crate::cgroup::Joins;
use crate::container::{self, Container, Status};
use crate::context::Context;
use crate::error::{Call, Error, Fault, Kind, Result};
use crate::init::{self, Init};
use crate::newborn::{self, Newborn, Terminal};
use crate::plan::caps::CapSet;
use crate::plan::exec::{ExecPlan, Inside};
use crate::plan::namespaces::Kind as Namespace;
use crate::plan::seccomp::{self, Filter, Listener};
use crate::sources::Sent;
use crate::store::Store;
use crate::sync::{Channel, Message};
use crate::sys::process::setns;

/// What the caller of `exec` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecRequest {
    /// The container.
    pub id: String,
    /// A file in the form of config.json's process; the words below are for when there is none.
    pub process: Option<PathBuf>,
    /// argv.
    pub args: Vec<String>,
    /// Working directory.
    pub cwd: Option<String>,
    /// More variables.
    pub env: Vec<String>,
    /// Uid and gid.
    pub user: Option<(u32, Option<u32>)>,
    /// More groups.
    pub additional_gids: Vec<u32>,
    /// More capabilities.
    pub caps: Vec<String>,
    /// With a terminal.
    pub tty: bool,
    /// Come back when it runs.
    pub detach: bool,
    /// Where its pid is written.
    pub pid_file: Option<PathBuf>,
    /// A listening socket that gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// A listening socket that gets its pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// Sets no_new_privs.
    pub no_new_privs: bool,
    /// AppArmor profile.
    pub apparmor: Option<String>,
    /// SELinux label.
    pub process_label: Option<String>,
    /// Groups below the container's.
    pub cgroup: Vec<String>,
    /// Descriptors from 3 on that it gets.
    pub preserve_fds: u32,
    /// Also in a paused container: it runs when that is resumed.
    pub ignore_paused: bool,
}

/// Runs a process in a container. In the foreground the result is its exit status, or 128 + N after
/// signal N; detached it is 0.
pub fn exec(context: &Context, request: &ExecRequest) -> Result<i32> {
    go(context, request).map_err(|e: Error| e.within(format!("exec {}", request.id)))
}

fn go(context: &Context, request: &ExecRequest) -> Result<i32> {
    newborn::preserved(request.preserve_fds, context.log)?;
    let container = Store::new(&context.root).load(&request.id)?;
    let target = living(&container, request)?;
    let root = root(&container)?;
    let process = process(&container, request)?;
    let inside = inside(&container, request)?;
    let plan = ExecPlan::new(&process, &inside).map_err(Error::problems)?;
    let terminal = if request.detach { Terminal::Socket } else { Terminal::Here };
    newborn::check_terminal(plan.terminal, request.console_socket.is_some(), terminal)?;
    let rootless = !geteuid().is_root();
    if let (true, Some(score)) = (rootless, process.oom_score_adj()) {
        // The new process has it from its parent, whose files nobody can write from here on.
        newborn::oom_score(procfs::host()?.as_fd(), rustix::process::getpid(), score)?;
    }
    newborn::undumpable()?;
    let signals = match request.detach {
        true => None,
        // Orphans below an exec belong to the container's own process 1.
        false => Some(foreground::prepare(false)?),
    };
    let mut joins = joins(&container, request)?;
    let record = &container.record;
    let inside_of = inside.born_inside.then(|| {
        let kinds = [Namespace::User, Namespace::Pid].into_iter().filter(|kind| record.has(*kind));
        (target.as_fd(), kinds.fold(0, |flags, kind| flags | kind.flag()))
    });
    if record.has(Namespace::Pid) && !inside.born_inside {
        setns(target.as_fd(), Namespace::Pid.flag()).call(|| "setns(the container's pid namespace)")?;
    }
    if plan.initial_cpus.is_some() {
        sched::set_affinity(plan.initial_cpus.as_ref())
            .map_err(|fault| Error::from(fault).within("process.execCPUAffinity.initial"))?;
    }
    let (channel, theirs) = Channel::pair().call(|| "socketpair")?;
    let mut attach = false;
    let born = match birth(inside_of, joins.into_cgroup()) {
        Err(fault) if record.cgroup.attaches(&fault) => {
            attach = true;
            birth(inside_of, None)
        }
        Err(fault) if fault.errno == Some(Errno::BUSY) && request.cgroup.is_empty() => {
            joins = beside(&container)?;
            birth(inside_of, joins.into_cgroup())
        }
        born => born,
    };
    let child = match born.map_err(|fault| join_fault(&container, fault))? {
        Born::Init => {
            drop(channel);
            let tasks = joins.take_tasks();
            // A directory of the host: from it `/proc/self/fd/N/..` leads out of the container.
            drop(joins);
            init::run(Init {
                steps: &plan.steps,
                channel: theirs,
                tasks,
                sources: Vec::new(),
                sent: Sent::default(),
                cgroup_dirs: Vec::new(),
                network_comes: false,
                target: Some(target.as_fd()),
                image: root,
                args: &plan.payload.args,
                env: plan.payload.env.clone(),
                seccomp: inside.seccomp.as_ref(),
                record: None,
                hook_output: Output::default(),
                fifos: None,
            })
        }
        Born::Parent(child) => Newborn(Some(child)),
    };
    drop((theirs, joins, root));
    if attach {
        container.record.cgroup.attach(child.get().pid)?;
    }
    if let (false, Some(score)) = (rootless, process.oom_score_adj()) {
        newborn::oom_score(procfs::host()?.as_fd(), child.get().pid, score)?;
    }
    if let Some(class) = &record.rdt {
        class.join(child.get().pid.as_raw_nonzero().get())?;
    }
    let parent = Parent { plan: &plan, request, container: &container, inside: &inside, channel: &channel };
    let master = parent.converse(&child, terminal)?;
    let child = child.keep();
    match signals {
        None => Ok(0),
        Some(signals) => {
            let (pid, pidfd) = (child.pid, child.pidfd.as_fd());
            let foreground = Foreground { pid, pidfd, signals: &signals, console: master, notify: None };
            let code = foreground.wait()?;
            newborn::tell_oom(code, &container.record.cgroup);
            Ok(code)
        }
    }
}

/// A pidfd of the container's first process, if the container can be entered.
fn living(container: &Container, request: &ExecRequest) -> Result<OwnedFd> {
    let state = |says: &str| Error::new(Kind::State, says);
    match container.status() {
        Status::Created | Status::Running => {}
        Status::Paused if request.ignore_paused => {}
        Status::Paused => {
            return Err(state("cannot exec in a paused container (use --ignore-paused to override)"));
        }
        Status::Creating => return Err(state("cannot exec in a container that is still being created")),
        Status::Stopped => return Err(state("cannot exec in a stopped container")),
    }
    let stopped = || state("cannot exec in a stopped container");
    container.record.init.and_then(|init| init.open()).ok_or_else(stopped)
}

/// The root of the container's first process, where no mount namespace of its own holds it.
fn root(container: &Container) -> Result<Option<OwnedFd>> {
    let (Some(init), false) = (container.record.init, container.record.has(Namespace::Mount)) else {
        return Ok(None);
    };
    let Some(pid) = Pid::from_raw(init.pid) else { return Ok(None) };
    let root = procfs::root_of(procfs::host()?.as_fd(), pid)?;
    // Had it ended before, the pid might have been another's when the root was opened.
    match init.is_alive() {
        true => Ok(Some(root)),
        false => Err(Error::new(Kind::State, "cannot exec in a stopped container")),
    }
}

/// The process as the file says, or as the command line changes the container's own.
fn process(container: &Container, request: &ExecRequest) -> Result<Process> {
    if let Some(path) = &request.process {
        let parsed = bundle::load_process(path)?;
        for warning in &parsed.ignored {
            tracing::warn!("{warning}");
        }
        let mut process = parsed.value;
        if request.tty {
            process.set_terminal(Some(true));
        }
        return Ok(process);
    }
    let record = &container.record;
    let bundle = Bundle::load(&record.bundle, record.config.as_deref())?;
    let mut process = match bundle.spec.process() {
        Some(process) => process.clone(),
        None => ProcessBuilder::default().build().map_err(|e| Fault::new(e.to_string()))?,
    };
    process.set_args(Some(request.args.clone()));
    process.set_terminal(Some(request.tty));
    process.set_console_size(None);
    if let Some(cwd) = &request.cwd {
        process.set_cwd(cwd.into());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(request.env.iter().cloned());
    process.set_env(Some(env));
    if let Some((uid, gid)) = request.user {
        let mut user = UserBuilder::default().uid(uid).gid(gid.unwrap_or(process.user().gid()));
        if let Some(groups) = process.user().additional_gids() {
            user = user.additional_gids(groups.clone());
        }
        if let Some(umask) = process.user().umask() {
            user = user.umask(umask);
        }
        process.set_user(user.build().map_err(|e| Fault::new(e.to_string()))?);
        // HOME was the other user's.
        let env: Vec<String> =
            process.env().iter().flatten().filter(|v| !v.starts_with("HOME=")).cloned().collect();
        let given = request.env.iter().filter(|v| v.starts_with("HOME=")).cloned();
        process.set_env(Some(env.into_iter().chain(given).collect()));
    }
    if !request.additional_gids.is_empty() {
        let groups = process.user_mut().additional_gids_mut().get_or_insert_default();
        groups.extend(&request.additional_gids);
    }
    add_capabilities(&mut process, &request.caps)?;
    if request.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if request.apparmor.is_some() {
        process.set_apparmor_profile(request.apparmor.clone());
    }
    if request.process_label.is_some() {
        process.set_selinux_label(request.process_label.clone());
    }
    Ok(process)
}

/// To bounding, effective and permitted; never to inheritable, from where any file capability of
/// the image could bring them back (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let mut added = Capabilities::new();
    for name in names {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        let known =
            caps::Capability::from_str(&full).ok().and_then(|_| Capability::from_str(&full[4..]).ok());
        let Some(capability) = known else {
            return Err(Error::new(Kind::Config, format!("--cap {name}: no such capability"))
                .hint("write it as in capabilities(7), for example CAP_NET_ADMIN"));
        };
        added.insert(capability);
    }
    let mut all = process.capabilities().clone().unwrap_or_else(none);
    let join = |set: &Option<Capabilities>| Some(set.iter().flatten().chain(&added).copied().collect());
    all.set_bounding(join(all.bounding()));
    all.set_effective(join(all.effective()));
    all.set_permitted(join(all.permitted()));
    process.set_capabilities(Some(all));
    Ok(())
}

fn none() -> oci_spec::runtime::LinuxCapabilities {
    let mut caps = oci_spec::runtime::LinuxCapabilities::default();
    caps.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
    caps
}

fn inside(container: &Container, request: &ExecRequest) -> Result<Inside> {
    let record = &container.record;
    let capabilities = rustix::thread::capabilities(None).call(|| "capget")?;
    let own_mounts = record.has(Namespace::Mount);
    let init = record.init.map_or(0, |init| init.pid);
    Ok(Inside {
        id: record.id.clone(),
        namespaces: record.namespaces,
        cgroup_v1: record.cgroup.groups.iter().any(|group| !group.is_v2()),
        chroot: (!own_mounts).then(|| format!("/proc/{init}/root").into()),
        keep_groups: record.asked().keep_groups,
        seccomp: filter(container)?,
        born_inside: record.has(Namespace::User) && !geteuid().is_root(),
        capabilities: CapSet(capabilities.permitted.bits()),
        preserve_fds: request.preserve_fds,
        personality: record.personality,
        memory_policy: record.memory_policy.clone(),
        keyring: record.keyring.then(|| record.keyring_mark.clone()),
    })
}

/// The filter that create compiled.
fn filter(container: &Container) -> Result<Option<Filter>> {
    let Some(seccomp) = &container.record.seccomp else { return Ok(None) };
    let damaged = || Fault::new("seccomp.bpf of the container is missing or damaged");
    let bytes = container.read_file(container::SECCOMP)?.ok_or_else(damaged)?;
    let program = seccomp::from_bytes(&bytes).ok_or_else(damaged)?;
    let listener = seccomp.listener.clone().map(|(path, metadata)| Listener { path, metadata });
    Ok(Some(Filter { program, flags: seccomp.flags, listener }))
}

fn birth(
    inside: Option<(BorrowedFd<'_>, u64)>,
    cgroup: Option<BorrowedFd<'_>>,
) -> std::result::Result<Born, Fault> {
    spawn(&Birth { inside, cgroup, ..Birth::default() })
}

fn joins(container: &Container, request: &ExecRequest) -> Result<Joins> {
    let record = &container.record.cgroup;
    if record.groups.is_empty() {
        return Ok(Joins::default());
    }
    match request.cgroup.as_slice() {
        [] => record.open(),
        subs => record.open_sub(subs, request.ignore_paused),
    }
}

/// Where the container's first process is now: a payload that limits groups of its own, as systemd
/// does, has moved there, and the container's own group takes no process any more.
fn beside(container: &Container) -> Result<Joins> {
    let stopped = || Error::new(Kind::State, "cannot exec in a stopped container");
    let init = container.record.init.filter(|init| init.is_alive()).ok_or_else(stopped)?;
    container.record.cgroup.open_beside(Pid::from_raw(init.pid).ok_or_else(stopped)?)
}

fn join_fault(container: &Container, fault: Fault) -> Error {
    match fault.errno {
        Some(errno @ (Errno::BUSY | Errno::OPNOTSUPP | Errno::ACCESS | Errno::NODEV)) => {
            container.record.cgroup.join_fault(errno).into()
        }
        _ => fault.into(),
    }
}

/// The parent while the new process lives its steps.
struct Parent<'a> {
    plan: &'a ExecPlan,
    request: &'a ExecRequest,
    container: &'a Container,
    inside: &'a Inside,
    channel: &'a Channel,
}

impl Parent<'_> {
    /// Answers the new process until it is the payload; gives back the terminal's master where it
    /// stays here.
    fn converse(&self, child: &Newborn, terminal: Terminal) -> Result<Option<OwnedFd>> {
        let mut master = None;
        self.go(child)?;
        loop {
            match self.channel.recv().call(|| "read from the new process")? {
                Some((Message::Console, fds)) => {
                    let fd = fds.into_iter().next();
                    master = newborn::route_console(fd, self.request.console_socket.as_deref(), terminal)?;
                }
                Some((Message::Listener(number), _)) => {
                    let listener = self.inside.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
                    let status = self.container.status();
                    newborn::hand_on_listener(&self.container.record, status, listener, child.get(), number)?;
                    self.go(child)?;
                }
                Some((Message::Ready, _)) => break,
                other => return Err(self.fault(child, other)),
            }
        }
        sched::schedule(child.get().pid, &self.plan.scheduling)?;
        let pid = child.get().pid.as_raw_nonzero().get();
        if let Some(socket) = &self.request.pidfd_socket {
            console::send_pidfd(socket, child.get().pidfd.as_fd(), "setns")?;
        }
        if let Some(path) = &self.request.pid_file {
            pidfile::write(path, pid)?;
        }
        self.go(child)?;
        match self.channel.recv().call(|| "read from the new process")? {
            // Closed by execve.
            None => Ok(master),
            other => {
                if let Some(path) = &self.request.pid_file {
                    // An absent pid file is how conmon knows that nothing runs.
                    pidfile::remove(path);
                }
                Err(self.fault(child, other))
            }
        }
    }

    fn go(&self, child: &Newborn) -> Result<()> {
        match self.channel.send(&Message::Go) {
            Err(Errno::PIPE | Errno::CONNRESET) => {
                let said = self.channel.recv().unwrap_or(None);
                Err(self.fault(child, said))
            }
            other => Ok(other.call(|| "write to the new process")?),
        }
    }

    fn fault(&self, child: &Newborn, said: Option<(Message, Vec<OwnedFd>)>) -> Error {
        match said {
            Some((Message::Failed(failure), _)) => newborn::failed(&self.plan.steps, failure),
            Some(_) => Fault::new("the new process sent a word that is not its own").into(),
            None => newborn::died(child.get(), "the new process", &self.container.record.cgroup),
        }
    }
}
