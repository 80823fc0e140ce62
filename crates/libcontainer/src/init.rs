// SPDX-License-Identifier: Apache-2.0
//! THE CHILD: for each step of the plan { apply it, or report why not and end }.
//!
//! It is born by the one clone3, in all its new namespaces, with what the parent opened for it. It
//! waits for the parent's first Go, walks the plan's steps, and becomes the payload by execve.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, RawMode};
use rustix::io::Errno;
use rustix::process::{Signal, set_parent_process_death_signal, umask};
use rustix::thread::set_no_new_privs;

use crate::act::hooks::{Given, Output};
use crate::act::mount::CgroupDir;
use crate::act::rootfs::Covers;
use crate::act::{
    console, devices, hooks, identity, label, mount, namespace, network, path, procfs, rootfs, sched,
};
use crate::container::{Record, Status};
use crate::error::{Call, Fault};
use crate::plan::identity::Console;
use crate::plan::mounts::{Mount, Opener, What};
use crate::plan::namespaces::Kind;
use crate::plan::seccomp::Filter;
use crate::plan::step::{Action, HookKind, Step};
use crate::sources::Sent;
use crate::sync::{Channel, Failure, Message};
use crate::sys::{process as sys, seccomp};

/// What init gets from its parent: plain data and open descriptors, no paths to be opened again.
pub struct Init<'a> {
    /// The steps.
    pub steps: &'a [Step],
    /// To the parent, until the last Go.
    pub channel: Channel,
    /// v1: the open `tasks` files.
    pub tasks: Vec<OwnedFd>,
    /// Bind mount sources by index: trees that the parent opened before the clone.
    pub sources: Vec<Option<OwnedFd>>,
    /// What the parent sends before its first Go.
    pub sent: Sent,
    /// The parent sends the network namespace; else this process is born in it.
    pub network_comes: bool,
    /// What a cgroup mount on a v1 host shows.
    pub cgroup_dirs: Vec<CgroupDir>,
    /// `exec`: the container's process, whose namespaces are entered.
    pub target: Option<BorrowedFd<'a>>,
    /// `exec`: the root of that process, where no mount namespace holds it.
    pub image: Option<OwnedFd>,
    /// argv and environment.
    pub args: &'a [CString],
    /// Completed by what steps find out.
    pub env: Vec<CString>,
    /// The compiled filter.
    pub seccomp: Option<&'a Filter>,
    /// For the state that hooks read.
    pub record: Option<&'a Record>,
    /// Where hooks write to.
    pub hook_output: Output,
    /// Where init waits for start, and where it answers; `exec` has neither.
    pub fifos: Option<(OwnedFd, OwnedFd)>,
}

/// What the steps have found so far.
#[derive(Default)]
struct Found {
    root: Option<OwnedFd>,
    image: Option<OwnedFd>,
    proc: Option<OwnedFd>,
    nodes: devices::Place,
    covers: Covers,
    executable: Option<CString>,
    /// Where the user namespace is somebody else's work: it allows no setgroups(2).
    setgroups_denied: bool,
    /// What programs of the host run under.
    callers_umask: RawMode,
}

/// The child's whole life. Does not return.
pub fn run(mut init: Init<'_>) -> ! {
    sys::default_signals();
    // The parent may be gone before this; then the first wait on the channel ends.
    let _ = set_parent_process_death_signal(Some(Signal::KILL));
    let callers_umask = umask(Mode::empty()).bits();
    let mut found = Found { image: init.image.take(), callers_umask, ..Found::default() };
    if let Err(fault) = init.await_parent(&mut found) {
        init.fail(0, fault);
    }
    let steps = init.steps;
    for (n, step) in steps.iter().enumerate() {
        tracing::debug!("{}: {}", step.origin, step.action);
        if let Err(fault) = init.apply(step, &mut found) {
            init.fail(n, fault);
        }
    }
    // Only a plan without Exec comes here: a container without a process.
    sys::exit_now(1)
}

impl Init<'_> {
    /// Waits for the first Go, and takes what is sent before it.
    fn await_parent(&mut self, found: &mut Found) -> Result<(), Fault> {
        let mut sent = Vec::with_capacity(self.sent.sources.len() + 1);
        loop {
            match self.channel.recv().call(|| "recvmsg from the parent")? {
                Some((Message::Go, _)) => break,
                Some((Message::Source, fds)) => sent.extend(fds),
                // The parent is gone: so is this process.
                _ => sys::exit_now(1),
            }
        }
        let mut sent = sent.into_iter();
        if self.sent.image {
            found.image = sent.next();
        }
        for (n, fd) in self.sent.sources.iter().zip(sent) {
            self.sources[*n] = Some(fd);
        }
        Ok(())
    }

    /// Tells the parent, or after Ready the caller of start, which step failed, and ends.
    fn fail(&self, step: usize, fault: Fault) -> ! {
        let message = Message::Failed(Failure { step: step as u16, fault });
        if self.channel.send(&message).is_err()
            && let Some((_, result)) = &self.fifos
        {
            let _ = rustix::io::write(result, &message.encode());
        }
        sys::exit_now(1)
    }

    /// One step. Every arm is one effect; what it needs beside the action is in `self` and `found`.
    fn apply(&mut self, step: &Step, found: &mut Found) -> Result<(), Fault> {
        match &step.action {
            Action::BecomeRoot => identity::become_root(),
            Action::JoinCgroups => self.join_cgroups(),
            Action::LeaveGroups => identity::leave_groups(),
            Action::EnterNamespaces { flags } => self.enter_namespaces(*flags, found),
            Action::NewCgroupNamespace => {
                sys::unshare(Kind::Cgroup.flag()).call(|| "unshare(CLONE_NEWCGROUP)")
            }
            Action::NewTimeNamespace { offsets } => namespace::become_new_time(found.proc()?, offsets),
            Action::JoinKeyring { name, mark, label: None } => join_keyring(name, mark),
            Action::JoinKeyring { name, mark, label: Some(label) } => {
                label::set_key(found.proc()?, label)?;
                join_keyring(name, mark)?;
                label::set_key(found.proc()?, "")
            }
            Action::NewSession => match rustix::process::setsid() {
                // Already a leader: as process 1 of a pid namespace it is nobody's.
                Err(Errno::PERM) => Ok(()),
                other => other.call(|| "setsid").map(drop),
            },
            Action::SetHostname { name } => {
                rustix::system::sethostname(name.as_bytes()).call(|| format!("sethostname({name:?})"))
            }
            Action::SetDomainname { name } => {
                sys::setdomainname(name.as_bytes()).call(|| format!("setdomainname({name:?})"))
            }
            Action::EnterNetwork if self.network_comes => self.enter_network(),
            Action::EnterNetwork => network::loopback_up(),
            Action::SetPropagation { propagation } => {
                rootfs::set_propagation(propagation.flag, propagation.recursive)
            }
            Action::AttachRootfs { path, shared } => {
                let image = found.image(path)?;
                found.root = Some(rootfs::attach(image.as_fd(), path, *shared)?);
                Ok(())
            }
            Action::Mount(mount) => self.mount(mount, found.root()?),
            Action::MakeDevice(device) => {
                let (root, place) = found.nodes()?;
                devices::make(root, place, device)
            }
            Action::MakeLink { path, target } => {
                let (root, place) = found.nodes()?;
                devices::link(root, place, path, target)
            }
            Action::OpenConsole(console) => self.open_console(console, found),
            Action::AwaitRuntimeHooks => {
                found.nodes = devices::Place::default();
                self.await_hooks()
            }
            Action::RunHooks { kind: HookKind::StartContainer, hooks } => {
                self.run_hooks(HookKind::StartContainer, hooks)
            }
            Action::RunHooks { kind, hooks } => {
                let ours = umask(Mode::from_raw_mode(found.callers_umask));
                let ran = self.run_hooks(*kind, hooks);
                umask(ours);
                ran
            }
            Action::PivotRoot { shared } => rootfs::pivot(found.root()?, *shared),
            Action::MoveRoot => rootfs::move_over(found.root()?),
            Action::Chroot { path } => {
                rootfs::change_root(found.image(path)?.as_fd())?;
                found.root = Some(path::open_host("/".as_ref(), OFlags::PATH).call(|| "open(\"/\")")?);
                Ok(())
            }
            Action::SetRootPropagation { propagation } => {
                rootfs::set_propagation(propagation.flag, propagation.recursive)
            }
            Action::MakeRootReadonly => rootfs::make_readonly_root(),
            Action::MakeReadonly { path } => rootfs::make_readonly(found.root()?, path),
            Action::OpenCovers { label } => {
                found.covers = Covers::open(label.clone())?;
                Ok(())
            }
            Action::Mask { path } => {
                let root = found.root.as_ref().ok_or_else(no_root)?;
                found.covers.mask(root.as_fd(), path)
            }
            Action::WriteSysctl { name, value } => procfs::write_sysctl(found.proc()?, name, value),
            Action::ReadSetgroups => {
                found.setgroups_denied = procfs::denies_setgroups(found.proc()?)?;
                Ok(())
            }
            Action::ChownStdio { uid } => identity::chown_stdio(*uid),
            Action::SetRlimit { name, resource, soft, hard } => {
                identity::set_rlimit(name, *resource, *soft, *hard)
            }
            Action::ResetSoftLimits { except } => identity::reset_soft_limits(except),
            Action::SetAffinity { cpus } => sched::set_affinity(cpus.as_ref()),
            Action::SetMemoryPolicy(policy) => sched::set_memory_policy(policy),
            Action::SetPersonality { domain } => {
                sys::personality(*domain).call(|| format!("personality({domain})"))
            }
            Action::FindHome { uid } => {
                self.env.retain(|v| !v.as_bytes().starts_with(b"HOME="));
                self.env.push(identity::home(found.root()?, *uid)?);
                Ok(())
            }
            Action::EnterCwd { path } => identity::enter_cwd(path),
            Action::CloseDescriptors { first } => sys::cloexec_from(*first).call(|| "close_range(CLOEXEC)"),
            Action::OutliveParent => set_parent_process_death_signal(None).call(|| "prctl(PR_SET_PDEATHSIG)"),
            Action::DropBounding { keep } => identity::drop_bounding(*keep),
            Action::SetNoNewPrivs => set_no_new_privs(true).call(|| "prctl(PR_SET_NO_NEW_PRIVS)"),
            Action::LoadSeccomp { .. } => self.load_seccomp(),
            Action::SetUser(identity) => identity::set_user(identity, found.setgroups_denied),
            Action::SetCapabilities { effective, permitted, inheritable, ambient } => {
                identity::set_capabilities(*effective, *permitted, *inheritable, *ambient)
            }
            Action::SetExecLabel { module, label, no_new_privs } => {
                label::set_exec(found.proc()?, *module, label, *no_new_privs)
            }
            Action::SetUmask { mask } => {
                umask(Mode::from_raw_mode(*mask));
                Ok(())
            }
            Action::FindExecutable(executable) => {
                found.executable = Some(identity::find_executable(executable)?);
                Ok(())
            }
            Action::AwaitStart => {
                // What waits may wait for long: nothing of the host or of the setting up stays open.
                *found = Found { executable: found.executable.take(), ..Found::default() };
                self.await_start()
            }
            Action::Exec => self.exec(found),
        }
    }

    /// `0` means the writer itself: one thread that moves itself takes no lock over all processes.
    fn join_cgroups(&mut self) -> Result<(), Fault> {
        for tasks in self.tasks.drain(..) {
            rustix::io::write(&tasks, b"0").call(|| "writing 0 to a cgroup's tasks")?;
        }
        Ok(())
    }

    fn enter_namespaces(&mut self, flags: u64, found: &mut Found) -> Result<(), Fault> {
        if let (Some(target), true) = (self.target, flags != 0) {
            sys::setns(target, flags).call(|| "setns(the container's namespaces)")?;
        }
        found.root = Some(path::open_host("/".as_ref(), OFlags::PATH).call(|| "open(\"/\")")?);
        Ok(())
    }

    fn enter_network(&self) -> Result<(), Fault> {
        match self.channel.recv().call(|| "recvmsg from the parent")? {
            Some((Message::Network, fds)) => fds.iter().try_for_each(|fd| {
                sys::setns(fd.as_fd(), Kind::Network.flag()).call(|| "setns(the new network namespace)")
            }),
            _ => sys::exit_now(1),
        }
    }

    fn mount(&mut self, mount: &Mount, root: BorrowedFd<'_>) -> Result<(), Fault> {
        match &mount.what {
            What::Filesystem { .. } => mount::filesystem(root, mount, &self.cgroup_dirs),
            What::CgroupTree { .. } => mount::cgroup_tree(root, mount, &self.cgroup_dirs),
            What::Remount { flags, values } => mount::remount(root, mount, flags, values),
            What::Bind { source, recursive, links, opener, index, .. } => {
                let given = self.sources.get_mut(*index).and_then(Option::take);
                let tree = match (opener, given) {
                    (Opener::Parent | Opener::ParentInsideInit, Some(tree)) => tree,
                    (Opener::ParentBelowInit, Some(place)) => {
                        mount::clone_tree(place.as_fd(), *recursive, source)?
                    }
                    _ => mount::open_tree(source, *recursive, *links)?,
                };
                mount::bind(root, mount, tree)
            }
        }
    }

    fn open_console(&mut self, console: &Console, found: &mut Found) -> Result<(), Fault> {
        let pts = path::open(found.root()?, "dev/pts".as_ref(), OFlags::RDONLY | OFlags::DIRECTORY)
            .call(|| "openat2(rootfs, \"/dev/pts\")")
            .map_err(|fault| fault.hint("a terminal needs a mount of type devpts on /dev/pts"))?;
        let pty = console::open_pty(pts.as_fd(), console.size, rustix::process::Uid::from_raw(console.uid))?;
        if console.mount {
            let place = path::open_target(found.root()?, "/dev/console".as_ref(), path::Target::File)?;
            rootfs::bind_onto(pty.slave.as_fd(), place.as_fd(), "/dev/console")?;
        }
        self.channel.send_with(&Message::Console, &[pty.master.as_fd()]).call(|| "sending the terminal")?;
        console::make_controlling(pty.slave)
    }

    fn await_hooks(&mut self) -> Result<(), Fault> {
        self.channel.send(&Message::Mounted).call(|| "write to the parent")?;
        match self.channel.recv().call(|| "read from the parent")? {
            Some((Message::Go, _)) => Ok(()),
            _ => sys::exit_now(1),
        }
    }

    fn run_hooks(&mut self, kind: HookKind, list: &[crate::plan::step::Hook]) -> Result<(), Fault> {
        let status = if kind == HookKind::StartContainer { Status::Created } else { Status::Creating };
        let pid = rustix::process::getpid().as_raw_nonzero().get();
        let state = self.record.map(|record| record.oci_state(status, pid)).unwrap_or_default();
        let given = Given { state: &state, cwd: None, output: &self.hook_output };
        hooks::run(kind.name(), list, given)?;
        hooks::reap_orphans()
    }

    fn load_seccomp(&mut self) -> Result<(), Fault> {
        let Some(filter) = self.seccomp else { return Ok(()) };
        let listener = seccomp::load(&filter.program, filter.flags)
            .call(|| format!("seccomp(SECCOMP_SET_MODE_FILTER, {} instructions)", filter.program.len()))?;
        if let Some(listener) = listener {
            // The parent fetches it by number: sendmsg may not be among the calls that the filter lets through.
            let message = Message::Listener(listener.as_raw_fd());
            self.channel.send(&message).call(|| "write to the parent")?;
            if !self.channel.await_go().call(|| "read from the parent")? {
                sys::exit_now(1);
            }
        }
        Ok(())
    }

    /// Ready; then the parent's last word, and then, for a container, that of start.
    fn await_start(&mut self) -> Result<(), Fault> {
        self.channel.send(&Message::Ready).call(|| "write to the parent")?;
        if !self.channel.await_go().call(|| "read from the parent")? {
            sys::exit_now(1);
        }
        let Some((start, _)) = &self.fifos else { return Ok(()) };
        // From here on nobody reads the channel: a fault goes to start.
        self.channel.close();
        let mut byte = [0; 1];
        loop {
            match rustix::io::read(start, &mut byte) {
                Err(Errno::INTR) => {}
                other => return other.call(|| "read(start.fifo)").map(drop),
            }
        }
    }

    fn exec(&mut self, found: &mut Found) -> Result<(), Fault> {
        let Some(path) = found.executable.take() else { return Err(Fault::new("nothing to execute")) };
        if let Some((_, result)) = &self.fifos {
            rustix::io::write(result, b"x").call(|| "write(result.fifo)")?;
        }
        let errno = sys::execve(&path, self.args, &self.env);
        let name = self.args.first().map(|name| name.to_string_lossy()).unwrap_or_default();
        let fault = Fault::call(format!("exec: {name:?}: execve {}", path.to_string_lossy()), errno);
        Err(match errno {
            Errno::NOENT => fault.hint("the file is there, so its interpreter is what is missing"),
            Errno::NOEXEC => fault.hint("the file is no program of this architecture, nor has it a #! line"),
            _ => fault,
        })
    }
}

impl Found {
    /// The image's directory as it was given, or by its path.
    fn image(&mut self, path: &Path) -> Result<OwnedFd, Fault> {
        self.image.take().map_or_else(|| rootfs::open_image(path), Ok)
    }

    fn root(&self) -> Result<BorrowedFd<'_>, Fault> {
        self.root.as_ref().map(|root| root.as_fd()).ok_or_else(no_root)
    }

    fn nodes(&mut self) -> Result<(BorrowedFd<'_>, &mut devices::Place), Fault> {
        let root = self.root.as_ref().ok_or_else(no_root)?;
        Ok((root.as_fd(), &mut self.nodes))
    }

    fn proc(&mut self) -> Result<BorrowedFd<'_>, Fault> {
        if self.proc.is_none() {
            self.proc = Some(procfs::own()?);
        }
        self.proc.as_ref().map(|proc| proc.as_fd()).ok_or_else(|| Fault::new("no procfs"))
    }
}

fn no_root() -> Fault {
    Fault::new("the plan uses the root before it attaches it")
}

/// The container's keys are its own: the caller's session keyring would be everybody's. Its own
/// processes may search it, so that exec can join it (session-keyring(7)).
fn join_keyring(name: &str, mark: &str) -> Result<(), Fault> {
    // Possessor: everything; user: view, read, search, link.
    const PERMISSIONS: u32 = 0x3f1b_0000;
    let name = if mark.is_empty() { name.to_owned() } else { format!("{name}.{mark}") };
    let c_name = CString::new(name.as_str()).map_err(|_| Fault::new("a NUL byte in the id"))?;
    match sys::join_session_keyring(&c_name) {
        // A kernel without keys has none to hide.
        Err(Errno::NOSYS) => Ok(()),
        other => {
            let key =
                other.call(|| format!("keyctl(KEYCTL_JOIN_SESSION_KEYRING, {name:?})")).map_err(|fault| {
                    match fault.errno {
                        Some(Errno::DQUOT) => fault.hint(
                            "see /proc/key-users and kernel.keys.root_maxkeys, or use --no-new-keyring",
                        ),
                        _ => fault,
                    }
                })?;
            match sys::set_key_permissions(key, PERMISSIONS) {
                // Joined, not made: it is of the right kind already.
                Err(Errno::ACCESS) => Ok(()),
                other => other.call(|| "keyctl(KEYCTL_SETPERM)"),
            }
        }
    }
}
