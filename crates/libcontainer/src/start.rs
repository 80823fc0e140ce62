// SPDX-License-Identifier: Apache-2.0
//! start: a byte into the fifo that init waits on, and its answer out of the other.
//!
//! Init holds the only other ends of both fifos, so what is seen here is the truth: nobody reads
//! start.fifo any more means that the payload runs already, or that init is dead; an end of file on
//! result.fifo after an `x` means that execve took place.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::act::hooks::{self, Given, Output};
use crate::act::notify::{self, Proxy};
use crate::cgroup;
use crate::container::{Container, START, Status, notify_dir};
use crate::context::Context;
use crate::delete;
use crate::error::{Call, Error, Fault, Kind, Result};
use crate::newborn::OOM_KILLED;
use crate::plan::step::HookKind;
use crate::store::Store;
use crate::sync::{Failure, Message};

/// Starts the payload of a created container.
pub fn start(context: &Context, id: &str) -> Result<()> {
    let go = || {
        let store = Store::new(&context.root);
        // Before the lock, which would leave a file for an id that there is not.
        store.load(id)?;
        let lock = store.lock(id)?;
        let container = store.load(id)?;
        match begin(&container).and_then(|started| poststart(&container).map(|()| started)) {
            // runtime.md, Lifecycle: an error, and the container is stopped and destroyed.
            Err(error) if error.kind() == Kind::StartHook => {
                delete::remove(&container)?;
                lock.remove()?;
                Err(error.hint("the container was stopped and deleted"))
            }
            started => {
                // That may take long, and others may have to do with the container meanwhile.
                drop(lock);
                started?.wait()
            }
        }
    };
    go().map_err(|e: Error| e.within(format!("start {id}")))
}

/// Starts a container whose lock is held.
pub(crate) fn begin(container: &Container) -> Result<Started> {
    let state = |says: &str| Err(Error::new(Kind::State, says));
    match container.status() {
        Status::Created => {}
        Status::Creating => return state("cannot start a container that is still being created"),
        Status::Running => return state("cannot start an already running container"),
        Status::Paused => return state("cannot start a paused container"),
        Status::Stopped => return Err(stopped(&container.record.cgroup)),
    }
    let record = &container.record;
    let pidfd = record.init.and_then(|init| init.open()).ok_or_else(|| stopped(&record.cgroup))?;
    let_go(container, pidfd)
}

/// Starts a container that is known to wait for it: it has just been created.
pub(crate) fn let_go(container: &Container, pidfd: OwnedFd) -> Result<Started> {
    let record = &container.record;
    if !record.has_process {
        return Err(Error::new(Kind::Config, "process: there is no process to start")
            .hint("config.json may leave \"process\" out for create, but not for start"));
    }
    let stopped = || stopped(&record.cgroup);
    let result = container.open_fifo("result.fifo", OFlags::RDONLY).call(|| "open(result.fifo)")?;
    let fifo = match container.open_fifo(START, OFlags::WRONLY) {
        Err(Errno::NXIO) => return Err(stopped()),
        other => other.call(|| "open(start.fifo)")?,
    };
    let notify = match notify::supervisor() {
        Some(supervisor) if record.notify => {
            let pid = record.init.map_or(0, |init| init.pid);
            Some(Proxy::new(&notify_dir(&container.dir), &supervisor, pid)?)
        }
        _ => None,
    };
    rustix::io::write(&fifo, b"s").call(|| "write(start.fifo)")?;
    drop(fifo);
    if let Some(Failure { step, fault }) = answer(&result, &pidfd, &record.cgroup)? {
        // Beside those hooks execve is all that is left.
        return Err(match record.start_hooks == Some(step) {
            true => Error::from(fault).of(Kind::StartHook),
            false => Error::from(fault).within("process.args"),
        });
    }
    Ok(Started { pidfd, notify })
}

fn stopped(cgroup: &cgroup::Record) -> Error {
    let says = "cannot start a container that has stopped";
    match cgroup.oom_kills() {
        Some(kills) => Error::new(Kind::State, format!("{says}: {OOM_KILLED}: {kills}")),
        None => Error::new(Kind::State, says),
    }
}

/// A payload that runs.
pub(crate) struct Started {
    pidfd: OwnedFd,
    /// Tells the caller's supervisor when the payload is ready.
    pub notify: Option<Proxy>,
}

impl Started {
    /// Until the payload is ready, where somebody wants to know.
    pub(crate) fn wait(self) -> Result<()> {
        let Some(notify) = self.notify else { return Ok(()) };
        Ok(notify.wait(self.pidfd.as_fd())?)
    }
}

/// The poststart hooks of a container whose payload runs. It must not go on running if one fails.
pub(crate) fn poststart(container: &Container) -> Result<()> {
    let record = &container.record;
    if record.poststart.is_empty() {
        return Ok(());
    }
    let state = record.oci_state(Status::Running, record.init.map_or(0, |init| init.pid));
    let run = || {
        let output = Output::open(&record.asked().hooks)?;
        let given = Given { state: &state, cwd: Some(&record.bundle), output: &output };
        hooks::run(HookKind::Poststart.name(), &record.poststart, given)
    };
    run().map_err(|fault| Error::from(fault).of(Kind::StartHook))
}

/// Reads init's answer to its end: `x` and nothing more is success; a failure tells itself.
fn answer(result: &OwnedFd, pidfd: &OwnedFd, cgroup: &cgroup::Record) -> Result<Option<Failure>> {
    let mut said = Vec::new();
    let mut dead = false;
    loop {
        let mut bytes = [0; 4096];
        match rustix::io::read(result, &mut bytes) {
            Ok(0) => break,
            Ok(n) => said.extend_from_slice(&bytes[..n]),
            Err(Errno::INTR) => {}
            // Nothing left to read of a dead init, which somebody's copy of the fifo keeps open.
            Err(Errno::AGAIN) if dead => break,
            Err(Errno::AGAIN) => {
                let mut wait = [
                    PollFd::from_borrowed_fd(result.as_fd(), PollFlags::IN),
                    PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN),
                ];
                match poll(&mut wait, None) {
                    Err(Errno::INTR) => continue,
                    other => other.call(|| "poll(result.fifo)")?,
                };
                dead = !wait[1].revents().is_empty();
            }
            Err(errno) => return Err(Fault::call("read(result.fifo)", errno).into()),
        }
    }
    let failure = said.iter().position(|b| *b == b'F').and_then(|at| Message::decode(&said[at..]));
    match (failure, said.first()) {
        (Some(Message::Failed(failure)), _) => Ok(Some(failure)),
        (_, Some(b'x')) => Ok(None),
        _ => {
            let says = "the container's init ended before it could start the process";
            Err(match cgroup.oom_kills() {
                Some(kills) => Error::new(Kind::Failed, format!("{says}: {OOM_KILLED}: {kills}")),
                None => Error::new(Kind::Failed, says).hint("it was killed: see the kernel's log"),
            })
        }
    }
}
