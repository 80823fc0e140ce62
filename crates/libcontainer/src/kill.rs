// SPDX-License-Identifier: Apache-2.0
//! kill: a signal for the container's first process, or for all of them.

use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::container::{Container, Status};
use crate::context::Context;
use crate::error::{Error, Fault, Kind, Result};
use crate::plan::namespaces;
use crate::store::Store;
use crate::sys::signal::pidfd_send_signal;

const SIGKILL: i32 = libc::SIGKILL;

/// Sends signal number `signal` to the container's first process; with `all` to every process of
/// its groups, and then a container without processes is no error.
pub fn kill(context: &Context, id: &str, signal: i32, all: bool) -> Result<()> {
    let go = || {
        let container = Store::new(&context.root).load(id)?;
        if all { kill_all(&container, signal) } else { kill_init(&container, signal) }
    };
    go().map_err(|e: Error| e.within(format!("kill {id}")))
}

fn kill_all(container: &Container, signal: i32) -> Result<()> {
    if container.record.cgroup.groups.is_empty() {
        // Without a cgroup the pid namespace is what holds the processes together.
        return match kill_init(container, signal) {
            Err(error) if error.kind() == Kind::State => Ok(()),
            other => other,
        };
    }
    signal_all(container, signal)
}

/// SIGKILL has a way of its own, from which no fork escapes, and which reaches the frozen as well.
fn signal_all(container: &Container, signal: i32) -> Result<()> {
    let cgroup = &container.record.cgroup;
    let sent = if signal == SIGKILL { cgroup.kill() } else { cgroup.signal(signal) };
    Ok(sent?)
}

fn kill_init(container: &Container, signal: i32) -> Result<()> {
    let not_running = || Error::new(Kind::State, "container not running");
    let record = &container.record;
    let status = container.status();
    if matches!(status, Status::Stopped | Status::Creating) {
        return Err(not_running());
    }
    // The kernel ends the others with process 1 of their pid namespace; where that is not the
    // container's, nobody does.
    if signal == SIGKILL && !record.made(namespaces::Kind::Pid) {
        return signal_all(container, signal);
    }
    let pidfd = record.init.and_then(|init| init.open()).ok_or_else(not_running)?;
    match pidfd_send_signal(pidfd.as_fd(), signal) {
        Ok(()) => {}
        Err(Errno::SRCH) => return Err(not_running()),
        Err(errno) => return Err(Fault::call(format!("pidfd_send_signal({signal})"), errno).into()),
    }
    if signal == SIGKILL && status == Status::Paused {
        // A process that a v1 freezer holds cannot even die.
        record.cgroup.thaw()?;
    }
    Ok(())
}
