// SPDX-License-Identifier: Apache-2.0
//! What create and exec share: the parent's side of a process that is about to be the payload.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, fstat};
use rustix::process::{DumpableBehavior, Pid, set_dumpable_behavior};
use rustix::stdio::{stderr, stdin, stdout};

use crate::act::spawn::Child;
use crate::act::terminal::adopt_size;
use crate::act::{console, procfs};
use crate::cgroup;
use crate::container::{Record, Status};
use crate::error::{Call, Error, Fault, Kind, Result};
use crate::plan::seccomp;
use crate::plan::step::{Action, Step};
use crate::sync::Failure;

/// Who gets the master of the container's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Terminal {
    /// The console socket: this process goes away.
    Socket,
    /// This process relays it.
    Here,
}

pub(crate) fn undumpable() -> Result<(), Fault> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).call(|| "prctl(PR_SET_DUMPABLE)")
}

/// Descriptors that are to be handed on must be the caller's: open, and not one of ours, which are
/// all close-on-exec. Any other that the caller left open is closed here and now, but for its log:
/// while init still had a directory of the host, the path of its program could lead through
/// `/proc/self/fd/N` out of the container (CVE-2024-21626).
/// Standard streams are handed on as they are: one that is a directory would be such a way as well.
pub(crate) fn preserved(count: u32, log: Option<i32>) -> Result<(), Error> {
    for (name, fd) in [("input", stdin()), ("output", stdout()), ("error", stderr())] {
        if fstat(fd).is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_dir()) {
            let says = format!("standard {name} is a directory, which would be a way out of the container");
            return Err(Error::new(Kind::Config, says).hint("give a file, a pipe or /dev/null"));
        }
    }
    let end = 3 + u64::from(count) + u64::from(listen_fds());
    for number in 3..end {
        let open = i32::try_from(number).ok().and_then(crate::sys::process::descriptor_flags);
        if open.is_none_or(|flags| flags & libc::FD_CLOEXEC != 0) {
            return Err(Error::new(
                Kind::Config,
                format!("--preserve-fds {count}: descriptor {number} is not open in the caller"),
            )
            .hint("open descriptors 3 and up without a gap before calling soute"));
        }
    }
    match u32::try_from(end) {
        Ok(first) => Ok(crate::sys::process::close_from(first, log).call(|| "close_range")?),
        Err(_) => Ok(()),
    }
}

/// How many listening sockets the caller hands on (sd_listen_fds(3)).
pub(crate) fn listen_fds() -> u32 {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u32>().ok());
    match number("LISTEN_PID") {
        Some(pid) if pid == std::process::id() => number("LISTEN_FDS").unwrap_or(0),
        _ => 0,
    }
}

/// What the caller calls those sockets.
pub(crate) fn listen_names() -> Option<String> {
    std::env::var("LISTEN_FDNAMES").ok().filter(|_| listen_fds() > 0)
}

pub(crate) fn check_terminal(asked: bool, socket: bool, terminal: Terminal) -> Result<()> {
    let fault = |says: &str, hint: &'static str| Err(Error::new(Kind::Config, says).hint(hint));
    match (asked, socket, terminal) {
        (true, false, Terminal::Socket) => fault(
            "process.terminal: cannot allocate tty if runc will detach without setting console socket",
            "give --console-socket, or set process.terminal to false",
        ),
        (false, true, _) => fault(
            "process.terminal: cannot use console socket if runc will not detach or allocate tty",
            "set process.terminal to true, or leave --console-socket out",
        ),
        (true, true, Terminal::Here) => fault(
            "process.terminal: cannot use console socket if runc will not detach or allocate tty",
            "add --detach, or leave --console-socket out",
        ),
        _ => Ok(()),
    }
}

/// The terminal's master goes to the console socket, or stays.
pub(crate) fn route_console(
    master: Option<OwnedFd>,
    socket: Option<&Path>,
    terminal: Terminal,
) -> Result<Option<OwnedFd>> {
    let master = master.ok_or_else(|| Fault::new("init sent no terminal"))?;
    match (socket, terminal) {
        (Some(socket), Terminal::Socket) => {
            console::send_master(socket, master.as_fd(), "/dev/ptmx")
                .map_err(|fault| Error::from(fault).within("--console-socket"))?;
            Ok(None)
        }
        _ => {
            // Before the payload can ask for it.
            adopt_size(master.as_fd(), &[rustix::stdio::stdin(), rustix::stdio::stdout()]);
            Ok(Some(master))
        }
    }
}

/// The seccomp agent gets a process's listener and what it is about (config-linux.md, Seccomp).
pub(crate) fn hand_on_listener(
    record: &Record,
    status: Status,
    listener: Option<&seccomp::Listener>,
    child: &Child,
    number: i32,
) -> Result<()> {
    use rustix::process::{PidfdGetfdFlags, pidfd_getfd};
    let listener = listener.ok_or_else(|| Fault::new("a seccomp listener that nobody asked for"))?;
    let fd = pidfd_getfd(&child.pidfd, number, PidfdGetfdFlags::empty()).call(|| "pidfd_getfd(listener)")?;
    let pid = child.pid.as_raw_nonzero().get();
    let init = record.init.map_or(pid, |init| init.pid);
    let state: serde_json::Value = serde_json::from_str(&record.oci_state(status, init))
        .map_err(|e| Fault::new(format!("state: {e}")))?;
    let message = serde_json::json!({
        "ociVersion": record.oci_version,
        "fds": ["seccompFd"],
        "pid": pid,
        "metadata": listener.metadata,
        "state": state,
    });
    let within = |fault: Fault| Error::from(fault).within("linux.seccomp.listenerPath");
    let socket = console::connect_to(&listener.path).map_err(within)?;
    console::send_fd(&socket, fd.as_fd(), &message.to_string()).map_err(within)
}

pub(crate) fn oom_score(proc: BorrowedFd<'_>, pid: Pid, score: i32) -> Result<()> {
    let written = procfs::write_of(proc, pid, "oom_score_adj", &score.to_string());
    written
        .map_err(|fault| match fault.errno {
            Some(rustix::io::Errno::ACCESS) => {
                fault.hint("a value below the caller's own needs CAP_SYS_RESOURCE")
            }
            _ => fault,
        })
        .map_err(|fault| Error::from(fault).within("process.oomScoreAdj"))
}

/// Puts the step's property and words around what init reported.
pub(crate) fn failed(steps: &[Step], failure: Failure) -> Error {
    let Some(step) = steps.get(usize::from(failure.step)) else { return failure.fault.into() };
    let error = Error::from(failure.fault);
    match &step.action {
        // These faults are whole sentences, which engines search.
        Action::FindExecutable(_) | Action::Exec => error.within(step.origin.clone()),
        Action::RunHooks { .. } => error,
        action => error.within(format!("{}: {action}", step.origin)),
    }
}

/// What engines look for where a container cannot start for its memory limit.
pub(crate) const OOM_KILLED: &str = "container init was OOM-killed (memory limit too low?)";

/// Says where it was the memory limit that ended a process in the foreground. 137 is SIGKILL, also as
/// shells report it of their children.
pub(crate) fn tell_oom(code: i32, cgroup: &cgroup::Record) {
    if code == 128 + 9
        && let Some(kills) = cgroup.oom_kills()
    {
        tracing::warn!("a process of the container was OOM-killed: {kills}");
    }
}

/// Tells how a process ended that should not have.
pub(crate) fn died(child: &Child, who: &str, cgroup: &cgroup::Record) -> Error {
    let how = match child.wait() {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => format!("with status {code}"),
            (_, Some(9)) => match cgroup.oom_kills() {
                Some(kills) => format!("by SIGKILL: {OOM_KILLED}: {kills}"),
                None => "by SIGKILL".to_owned(),
            },
            (_, Some(signal)) => format!("by signal {signal}"),
            _ => "for an unknown reason".to_owned(),
        },
        _ => "and left no status".to_owned(),
    };
    Error::new(Kind::Failed, format!("{who} ended {how} before it was ready"))
}

/// A child that dies unless it is kept: before its groups are removed.
pub(crate) struct Newborn(pub Option<Child>);

impl Newborn {
    pub(crate) fn get(&self) -> &Child {
        self.0.as_ref().expect("a newborn is there until it is kept")
    }

    pub(crate) fn keep(mut self) -> Child {
        self.0.take().expect("a newborn is kept once")
    }
}

impl Drop for Newborn {
    fn drop(&mut self) {
        if let Some(child) = self.0.take() {
            child.kill();
        }
    }
}
