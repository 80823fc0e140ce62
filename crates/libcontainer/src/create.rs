// SPDX-License-Identifier: Apache-2.0
//! THE PARENT of create, top to bottom.
//!
//! ```text
//! bundle -> plan, or every problem        nothing has happened yet
//! lock, record, fifos                     from here on `delete --force` knows what to undo
//! cgroups made, namespaces and sources opened
//! clone3                                  init is born and waits
//! maps, oom score, limits
//! Go ... Mounted, device rules, hooks, Go ... Ready     sync.rs draws it
//! record = created, pid file, Go          the container exists, this process may go
//! ```
//!
//! Whatever fails on the way, what was made is taken back: [`Claim`] and the cgroup's guard do it
//! when they are dropped, and init dies with its parent.

use std::iter;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use crate::act::hooks::{Given, Output};
use crate::act::mount::CgroupDir;
use crate::act::namespace::{self, Joined, Visit};
use crate::act::spawn::{Birth, Born, Child, spawn};
use crate::act::{console, hooks, idmap, network, notify, pidfile, procfs, sched};
use crate::bundle::Bundle;
use crate::cgroup;
use crate::claim::Claim;
use crate::container::{Container, Record, SECCOMP, Seccomp, Status, notify_dir};
use crate::context::{CgroupDriver, Context};
use crate::error::{self, Call, Error, Fault, Result};
use crate::host;
use crate::init::{self, Init};
use crate::newborn::{
    Newborn, Terminal, check_terminal, died, failed, hand_on_listener, listen_fds, listen_names, oom_score,
    preserved, route_console, undumpable,
};
use crate::plan::namespaces::Kind as Namespace;
use crate::plan::step::{Action, HookKind, Step};
use crate::plan::systemd::Manager;
use crate::plan::{Host, Plan, Request, seccomp};
use crate::sources::{self, Sent};
use crate::store::{Store, check_id};
use crate::sync::{Channel, Message};

/// What the caller of `create` says beside the bundle.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CreateRequest {
    /// The new container's id.
    pub id: String,
    /// Its directory.
    pub bundle: PathBuf,
    /// Another file than the bundle's config.json.
    pub config: Option<PathBuf>,
    /// Where init's pid is written.
    pub pid_file: Option<PathBuf>,
    /// A listening socket that gets the terminal's master.
    pub console_socket: Option<PathBuf>,
    /// A listening socket that gets init's pidfd.
    pub pidfd_socket: Option<PathBuf>,
    /// MS_MOVE and chroot in place of pivot_root.
    pub no_pivot: bool,
    /// The caller's session keyring stays.
    pub no_new_keyring: bool,
    /// Descriptors from 3 on that the payload gets.
    pub preserve_fds: u32,
}

/// A container that is created and not yet started; init is this process's child.
pub(crate) struct Created {
    pub container: Container,
    pub child: Child,
    /// The terminal's master, for [`Terminal::Here`].
    pub console: Option<OwnedFd>,
}

/// Creates a container: all is done but execve, which waits for [`crate::start`].
pub fn create(context: &Context, request: &CreateRequest) -> Result<()> {
    preserved(request.preserve_fds, context.log)
        .and_then(|()| bring_up(context, request, Terminal::Socket))
        .map(drop)
        .map_err(|e| e.within(format!("create {}", request.id)))
}

/// Reads the bundle and makes the plan: what `explain` prints and [`create`] runs.
pub(crate) fn plan(context: &Context, request: &CreateRequest) -> Result<(Bundle, Host, Plan)> {
    let notify = notify::supervisor().map(|_| notify_dir(&Store::new(&context.root).dir(&request.id)));
    plan_with(context, request, notify)
}

/// As [`plan`], with a directory for the payload's own NOTIFY_SOCKET or without.
pub(crate) fn plan_with(
    context: &Context,
    request: &CreateRequest,
    notify: Option<PathBuf>,
) -> Result<(Bundle, Host, Plan)> {
    check_id(&request.id)?;
    // Faults of form leave harmless values behind, so that those of sense are found as well.
    let bundle = Bundle::examine(&request.bundle, request.config.as_deref())?;
    let no_cgroup = context.cgroup_driver == CgroupDriver::Disabled;
    let wanted = Request {
        id: request.id.clone(),
        bundle: bundle.dir.clone(),
        no_cgroup,
        systemd: (context.cgroup_driver == CgroupDriver::Systemd).then(|| manager(context)),
        no_pivot: request.no_pivot,
        keyring: if request.no_new_keyring { None } else { Some(keyring_mark()?) },
        preserve_fds: request.preserve_fds,
        listen_fds: listen_fds(),
        listen_names: listen_names(),
        notify,
    };
    let host = host::probe(!no_cgroup)?;
    let plan = Plan::new(&bundle.spec, &host, &wanted).map_err(|problems| bundle.error(problems))?;
    if !bundle.faults.is_empty() {
        return Err(bundle.error(Vec::new()));
    }
    for warning in bundle.ignored.iter().chain(&plan.warnings) {
        tracing::warn!("{warning}");
    }
    Ok((bundle, host, plan))
}

/// What makes a keyring's name one that nobody else can have made before.
fn keyring_mark() -> Result<String> {
    let mut number = [0; 8];
    getrandom(&mut number, GetRandomFlags::empty()).call(|| "getrandom")?;
    Ok(format!("{:016x}", u64::from_ne_bytes(number)))
}

/// The systemd that may be asked for a unit.
fn manager(context: &Context) -> Manager {
    match context.rootless.unwrap_or_else(cgroup::user_systemd) {
        true => Manager::User,
        false => Manager::System,
    }
}

/// From nothing to a container whose init waits for start. The caller's descriptors have been seen
/// to, by [`preserved`].
pub(crate) fn bring_up(context: &Context, request: &CreateRequest, terminal: Terminal) -> Result<Created> {
    let (bundle, host, plan) = plan(context, request)?;
    check_terminal(plan.terminal, request.console_socket.is_some(), terminal)?;
    // No process of the container may look into this one, or into init before its exec. An ordinary
    // user's must be looked into once more, by the kernel, when it writes the id maps: nobody else is
    // in a new user namespace yet. Into one that is joined init is born among others.
    let rootless = !rustix::process::geteuid().is_root();
    let maps_follow = rootless && plan.namespaces.makes(Namespace::User);
    if !maps_follow {
        undumpable()?;
    }

    let record = record(&bundle, &host, &plan, request)?;
    // What is not there is said before anything is made.
    let joined = open_joined(&plan)?;
    own_namespaces(&plan, &joined)?;
    let mut opened = sources::open_before(&plan)?;
    #[expect(clippy::disallowed_methods, reason = "only for the better error: it is opened once more")]
    let is_dir = plan.rootfs.is_dir();
    if !is_dir {
        crate::act::rootfs::open_image(&plan.rootfs)
            .map_err(|fault| Error::from(fault).within("root.path"))?;
    }

    let hook_output = match plan.has_hooks() {
        true => Output::open(&plan.annotations.hooks)?,
        false => Output::default(),
    };

    let mut claim = Claim::new(&Store::new(&context.root), record)?;
    let fifos = claim.container().make_fifos()?;
    if let (true, Some(source)) = (plan.notify, plan.sources.last()) {
        notify::make_dir(&source.path)?;
        opened.push(sources::open(&plan, source)?);
    }
    let mut group = claim.groups().make(&plan.limits)?;
    claim.has_groups(group.record());
    if let Some(rdt) = &plan.rdt {
        claim.classify(rdt)?;
    }
    if let Some(warning) = group.warning() {
        tracing::warn!("{warning}");
    }
    let (channel, theirs) = Channel::pair().call(|| "socketpair")?;
    let sent = Sent::of(&plan);
    // None: there would be no way back from it, so init is born in it.
    let outside = if plan.network_beside { Visit::from(iter::once(Namespace::Network))? } else { None };
    let birth = Birth {
        new: clone_flags(&plan, outside.is_some()),
        joined: &joined,
        leave_groups: plan.namespaces.joins(Namespace::User) && !rootless && !plan.annotations.keep_groups,
        inside: None,
        time: plan.visit_time.then_some(plan.namespaces.time_offsets.as_slice()),
        cgroup: group.into_cgroup(),
    };
    let child =
        match spawn(&birth).map_err(|fault| fault.errno.and_then(|e| group.refusal(e)).unwrap_or(fault))? {
            Born::Init => {
                drop((channel, joined));
                let network_comes = outside.map(Visit::stay).is_some();
                // The lock is the parent's: init would hold it for the container's whole life.
                claim.lock = None;
                let tasks = group.take_joins();
                group.leave();
                let record = &claim.container().record;
                init::run(Init {
                    steps: &plan.steps,
                    channel: theirs,
                    tasks,
                    sent,
                    sources: std::mem::take(&mut opened),
                    network_comes,
                    cgroup_dirs: cgroup_dirs(&record.cgroup),
                    target: None,
                    image: None,
                    args: plan.payload.as_ref().map_or(&[], |payload| payload.args.as_slice()),
                    env: plan.payload.as_ref().map_or_else(Vec::new, |payload| payload.env.clone()),
                    seccomp: plan.seccomp.as_ref(),
                    record: Some(record),
                    hook_output,
                    fifos: Some(fifos),
                })
            }
            Born::Parent(child) => Newborn(Some(child)),
        };
    drop((theirs, fifos, opened, joined));
    let console = {
        let mut parent = Parent {
            plan: &plan,
            request,
            child: child.get(),
            channel: &channel,
            group: &mut group,
            hook_output: &hook_output,
        };
        parent.prepare(rootless)?;
        if let Some(class) = &claim.container().record.rdt {
            class.join(child.get().pid.as_raw_nonzero().get())?;
        }
        if maps_follow {
            undumpable()?;
        }
        if let Some(scope) = &plan.scope {
            parent.group.enter(scope, child.get().pid, &plan.limits)?;
            claim.has_groups(parent.group.record());
            claim.save_copy()?;
        }
        parent.group.limit_late(&plan.limits)?;
        if let Some(owner) = plan.cgroup_owner {
            parent.group.delegate(owner)?;
        }
        parent.go()?;
        // While init mounts: what takes time and nobody waits for yet.
        if let Some(outside) = outside {
            parent.make_network(outside)?;
        }
        claim.save_copy()?;
        parent.group.load_rules(&plan.limits)?;
        drop(parent.group.take_joins());
        if let Some(filter) = &plan.seccomp {
            claim.container().write_file(SECCOMP, &seccomp::to_bytes(&filter.program))?;
        }
        claim.has_init(child.get().pid);
        parent.converse(&claim, terminal)?
    };
    sched::schedule(child.get().pid, &plan.scheduling)?;
    claim.created(group.commit())?;
    for socket in request.pidfd_socket.iter().chain(&plan.annotations.pidfd_receiver) {
        console::send_pidfd(socket, child.get().pidfd.as_fd(), "standard")?;
    }
    if let Some(path) = &request.pid_file {
        pidfile::write(path, child.get().pid.as_raw_nonzero().get())?;
    }
    // The last word: now init outlives this process, and the container is there to stay.
    channel.send(&Message::Go).call(|| "write to init")?;
    // To free them piece by piece would take longer than all that is left to do.
    std::mem::forget((bundle, plan));
    Ok(Created { container: claim.keep(), child: child.keep(), console })
}

/// What state.json will hold, as far as the configuration tells it.
pub(crate) fn record(bundle: &Bundle, host: &Host, plan: &Plan, request: &CreateRequest) -> Result<Record> {
    let mut record = Record::new(&request.id)?;
    record.oci_version.clone_from(bundle.spec.version());
    record.bundle.clone_from(&bundle.dir);
    record.config.clone_from(&request.config);
    record.rootfs.clone_from(&plan.rootfs);
    record.namespaces = plan.namespaces.flags();
    record.joined = plan.namespaces.joined.iter().fold(0, |flags, (kind, ..)| flags | kind.flag());
    let keyring = plan.steps.iter().find_map(|step| match &step.action {
        Action::JoinKeyring { mark, .. } => Some(mark),
        _ => None,
    });
    record.keyring = keyring.is_some();
    record.keyring_mark = keyring.cloned().unwrap_or_default();
    record.personality = plan.personality;
    record.memory_policy.clone_from(&plan.memory_policy);
    record.notify = plan.notify;
    record.has_process = plan.payload.is_some();
    record.seccomp = plan.seccomp.as_ref().map(|filter| Seccomp {
        flags: filter.flags,
        listener: filter.listener.as_ref().map(|l| (l.path.clone(), l.metadata.clone())),
    });
    let is_start_hooks =
        |step: &Step| matches!(step.action, Action::RunHooks { kind: HookKind::StartContainer, .. });
    record.start_hooks = plan.steps.iter().position(is_start_hooks).map(|n| n as u16);
    record.poststart.clone_from(&plan.poststart);
    record.poststop.clone_from(&plan.poststop);
    record
        .annotations
        .extend(bundle.spec.annotations().iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
    record.cgroup = cgroup_record(bundle, host, plan)?;
    Ok(record)
}

/// What clone3 makes; a cgroup or time namespace may have to come about elsewhere, and one of the
/// network is better made `beside`.
fn clone_flags(plan: &Plan, beside: bool) -> u64 {
    plan.namespaces
        .new
        .iter()
        .filter(|kind| match kind {
            Namespace::Cgroup => plan.clone_cgroup,
            Namespace::Time => false,
            Namespace::Network => !beside,
            _ => true,
        })
        .fold(0, |flags, kind| flags | kind.flag())
}

/// The groups as they will be made. One that the configuration names must be had.
fn cgroup_record(bundle: &Bundle, host: &Host, plan: &Plan) -> Result<cgroup::Record> {
    if let Some(scope) = &plan.scope {
        return Ok(cgroup::Record::of_scope(scope));
    }
    let Some(place) = &plan.place else { return Ok(cgroup::Record::default()) };
    let path = bundle.spec.linux().as_ref().and_then(|linux| linux.cgroups_path().as_ref());
    let named = path.is_some_and(|path| !path.as_os_str().is_empty());
    Ok(cgroup::Record::new(&host.cgroups, place, named)?)
}

/// What a mount of type cgroup shows on a v1 host.
fn cgroup_dirs(record: &cgroup::Record) -> Vec<CgroupDir> {
    let links = record.mounts();
    record
        .groups
        .iter()
        .map(|group| {
            let name = group.root.rsplit('/').next().unwrap_or_default().to_owned();
            let links = links.iter().find(|m| m.name == name).map_or_else(Vec::new, |m| m.links.clone());
            CgroupDir { name, group: group.dir().into(), links }
        })
        .collect()
}

/// Opens the namespaces that are named by path.
pub(crate) fn open_joined(plan: &Plan) -> Result<Vec<Joined>> {
    let open = |(kind, path, n): &(Namespace, PathBuf, usize)| {
        namespace::open(*kind, path)
            .map_err(|fault| Error::from(fault).within(format!("linux.namespaces[{n}].path")))
    };
    plan.namespaces.joined.iter().map(open).collect()
}

/// A namespace that is joined by path may be the caller's own: then what the configuration asks of it
/// would be done to the host (CVE-2022-0811 by another way), and a mount namespace would get the
/// container's root.
fn own_namespaces(plan: &Plan, joined: &[Joined]) -> Result<()> {
    for (joined, (kind, path, n)) in joined.iter().zip(&plan.namespaces.joined) {
        if !namespace::is_own(joined)? {
            continue;
        }
        let its = || format!("{} is the {} namespace of the caller", path.display(), kind.name());
        if *kind == Namespace::Mount {
            return Err(Error::new(
                error::Kind::Config,
                format!("{}: the container's root would be everybody's", its()),
            )
            .within(format!("linux.namespaces[{n}].path"))
            .hint("leave \"path\" out to have a new one"));
        }
        if let Some(step) = plan.steps.iter().find(|step| step.action.changes(*kind)) {
            return Err(Error::new(
                error::Kind::Config,
                format!("linux.namespaces[{n}].path: {}: it would change the host", its()),
            )
            .within(step.origin.to_string())
            .hint("leave the namespace's \"path\" out to have a new one, or set it on the host"));
        }
    }
    Ok(())
}

/// The parent while init lives its steps.
struct Parent<'a> {
    plan: &'a Plan,
    request: &'a CreateRequest,
    child: &'a Child,
    channel: &'a Channel,
    group: &'a mut cgroup::Made,
    hook_output: &'a Output,
}

impl Parent<'_> {
    /// What only the parent can do for a new process: network devices, id maps, oom score, sources below its root.
    fn prepare(&self, rootless: bool) -> Result<()> {
        let user = self.plan.namespaces.makes(Namespace::User);
        let sent = Sent::of(self.plan);
        network::move_devices(&self.plan.namespaces.net_devices, self.child)?;
        if !user && self.plan.oom_score_adj.is_none() && sent.is_empty() {
            return Ok(());
        }
        let proc = procfs::host()?;
        if user {
            idmap::write(proc.as_fd(), self.child.pid, &self.plan.namespaces, rootless)?;
        }
        if let Some(score) = self.plan.oom_score_adj {
            oom_score(proc.as_fd(), self.child.pid, score)?;
        }
        if !sent.is_empty() {
            sources::send(self.plan, &sent, proc.as_fd(), self.child, self.channel)?;
        }
        Ok(())
    }

    /// Answers init until it is ready. Gives back the terminal's master where it stays here.
    fn converse(&mut self, claim: &Claim, terminal: Terminal) -> Result<Option<OwnedFd>> {
        let container = claim.container();
        let mut console = None;
        loop {
            match self.channel.recv().call(|| "read from init")? {
                Some((Message::Console, fds)) => {
                    let socket = self.request.console_socket.as_deref();
                    console = route_console(fds.into_iter().next(), socket, terminal)?;
                }
                Some((Message::Mounted, _)) => {
                    self.group.rule_devices(&self.plan.limits)?;
                    claim.hooked.set(true);
                    let pid = self.child.pid.as_raw_nonzero().get();
                    runtime_hooks(self.plan, &container.record, pid, self.hook_output)?;
                    self.go()?;
                }
                Some((Message::Listener(number), _)) => {
                    let listener = self.plan.seccomp.as_ref().and_then(|filter| filter.listener.as_ref());
                    hand_on_listener(&container.record, Status::Creating, listener, self.child, number)?;
                    self.go()?;
                }
                Some((Message::Ready, _)) => return Ok(console),
                Some((Message::Failed(failure), _)) => return Err(failed(&self.plan.steps, failure)),
                Some(_) => return Err(Fault::new("init sent a word that is not its own").into()),
                None => self.dead()?,
            }
        }
    }

    /// The new network namespace. What init mounts meanwhile does not ask for it.
    fn make_network(&self, outside: Visit) -> Result<()> {
        let network =
            network::new_namespace(outside).map_err(|fault| Error::from(fault).within("linux.namespaces"))?;
        self.said(self.channel.send_with(&Message::Network, &[network.as_fd()]))
    }

    fn go(&self) -> Result<()> {
        self.said(self.channel.send(&Message::Go))
    }

    fn said(&self, sent: Result<(), Errno>) -> Result<()> {
        match sent {
            Err(Errno::PIPE | Errno::CONNRESET) => self.dead(),
            // Init lives and waits for this word: to wait for its own would last for ever.
            other => Ok(other.call(|| "write to init")?),
        }
    }

    /// Init ended without a word: its pidfd knows how.
    fn dead(&self) -> Result<()> {
        // It may have said why before it ended.
        if let Ok(Some((Message::Failed(failure), _))) = self.channel.recv() {
            return Err(failed(&self.plan.steps, failure));
        }
        Err(died(self.child, "the container's init", self.group.record()))
    }
}

/// The hooks that find the container's namespaces there and its process not yet.
pub(crate) fn runtime_hooks(plan: &Plan, record: &Record, pid: i32, output: &Output) -> Result<()> {
    let lists = [(HookKind::Prestart, &plan.prestart), (HookKind::CreateRuntime, &plan.create_runtime)];
    for (kind, list) in lists {
        if !list.is_empty() {
            // A prestart hook was written for a specification in which create had ended by now.
            let status = if kind == HookKind::Prestart { Status::Created } else { Status::Creating };
            let state = record.oci_state(status, pid);
            hooks::run(kind.name(), list, Given { state: &state, cwd: Some(&record.bundle), output })?;
        }
    }
    Ok(())
}
