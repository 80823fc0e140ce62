// SPDX-License-Identifier: Apache-2.0
//! run: create and start in one, and in the foreground all that follows: signals, terminal, exit
//! status, removal.

use std::os::fd::AsFd;

use crate::act::foreground::{self, Foreground};
use crate::context::Context;
use crate::create::{CreateRequest, Created, bring_up};
use crate::delete;
use crate::error::{Call, Error, Result};
use crate::newborn::{Terminal, preserved, tell_oom};
use crate::start::{self, Started};

/// What the caller of `run` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunRequest {
    /// As for create.
    pub create: CreateRequest,
    /// Come back when the payload runs.
    pub detach: bool,
    /// The container stays when the payload has ended.
    pub keep: bool,
    /// Orphans of the container are somebody else's.
    pub no_subreaper: bool,
}

/// Runs a container. In the foreground the result is the payload's exit status, or 128 + N after
/// signal N; detached it is 0.
pub fn run(context: &Context, request: &RunRequest) -> Result<i32> {
    let id = &request.create.id;
    go(context, request).map_err(|e: Error| e.within(format!("run {id}")))
}

fn go(context: &Context, request: &RunRequest) -> Result<i32> {
    // Before anything is open here.
    preserved(request.create.preserve_fds, context.log)?;
    if request.detach {
        let created = bring_up(context, &request.create, Terminal::Socket)?;
        begin(&created)?.wait()?;
        return Ok(0);
    }
    let terminal = if request.create.console_socket.is_some() { Terminal::Socket } else { Terminal::Here };
    // Before the process exists: a signal that came in between would leave it behind.
    let signals = foreground::prepare(!request.no_subreaper)?;
    let mut created = bring_up(context, &request.create, terminal)?;
    let notify = begin(&created)?.notify;
    let child = &created.child;
    let console = created.console.take();
    let status =
        Foreground { pid: child.pid, pidfd: child.pidfd.as_fd(), signals: &signals, console, notify }.wait();
    if let Ok(code) = status {
        tell_oom(code, &created.container.record.cgroup);
    }
    if !request.keep {
        delete::delete_created(&created.container)?;
    }
    Ok(status?)
}

/// Starts what was just created; what cannot be started does not stay.
fn begin(created: &Created) -> Result<Started> {
    let go = || {
        let pidfd = created.child.pidfd.try_clone().call(|| "fcntl(pidfd, F_DUPFD_CLOEXEC)")?;
        let started = start::let_go(&created.container, pidfd)?;
        start::poststart(&created.container).map(|()| started)
    };
    go().inspect_err(|_| {
        created.child.kill();
        let _ = delete::delete_created(&created.container);
    })
}
