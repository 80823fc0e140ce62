// SPDX-License-Identifier: Apache-2.0
//! events: what a container uses, once or at every interval, and what happens to it meanwhile.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use crate::act::resctrl::{self, Class};
use crate::cgroup::{Happening, Stats};
use crate::container::{Container, Status};
use crate::context::Context;
use crate::error::{Call, Error, Kind, Result};
use crate::plan::namespaces::Kind as Namespace;
use crate::store::Store;

/// What the caller of `events` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsRequest {
    /// The container.
    pub id: String,
    /// The statistics of this moment, and nothing more.
    pub stats: bool,
    /// How often the statistics are told otherwise.
    pub interval: Duration,
}

/// What a container uses.
#[derive(Debug, Serialize)]
pub struct Data {
    #[serde(flatten)]
    cgroup: Stats,
    /// Empty for a container without linux.intelRdt.
    intel_rdt: resctrl::Stats,
}

/// One line of `events`.
#[derive(Debug, Serialize)]
pub struct Event<'a> {
    /// `stats`, `oom`, `memory_high`, `pids_max`, `frozen`, `thawed` or `exit`.
    #[serde(rename = "type")]
    pub what: &'static str,
    /// The container.
    pub id: &'a str,
    /// Of `stats`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Data>,
}

/// Gives each event to `tell`, until the container has ended.
pub fn events(
    context: &Context,
    request: &EventsRequest,
    tell: &mut dyn FnMut(&Event<'_>) -> Result<()>,
) -> Result<()> {
    go(context, request, tell).map_err(|e| e.within(format!("events {}", request.id)))
}

fn go(
    context: &Context,
    request: &EventsRequest,
    tell: &mut dyn FnMut(&Event<'_>) -> Result<()>,
) -> Result<()> {
    let container = Store::new(&context.root).load(&request.id)?;
    let stopped = || Error::new(Kind::State, "container not running");
    let state = |says: &str| Err(Error::new(Kind::State, says));
    match container.status() {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Creating | Status::Stopped => return Err(stopped()),
    }
    let cgroup = &container.record.cgroup;
    if cgroup.groups.is_empty() {
        return state("the container has no cgroup of its own that counts for it");
    }
    let mut say = |what: &'static str, data: Option<Data>| tell(&Event { what, id: &request.id, data });
    if request.stats {
        return say("stats", Some(stats(&container)?));
    }
    let mut watch = cgroup.watch()?;
    let mut init = container.record.init.and_then(|init| init.open());
    let mut next = Instant::now() + request.interval;
    loop {
        let mut fds: Vec<PollFd<'_>> = watch.wait_for().collect();
        fds.extend(init.iter().map(|pidfd| PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)));
        let left = next.saturating_duration_since(Instant::now());
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).call(|| "poll").map_err(Error::from),
        }
        // Without a pid namespace of its own a container outlives its first process.
        if container.record.init.is_some_and(|init| !init.is_alive()) {
            init = None;
        }
        // Before the end is told: what happened last may be the reason for it.
        let ended = container.status() == Status::Stopped;
        for happening in watch.news()? {
            say(word(happening), None)?;
        }
        if ended {
            return say("exit", None);
        }
        if Instant::now() >= next {
            next = Instant::now() + request.interval;
            match stats(&container) {
                Ok(stats) => say("stats", Some(stats))?,
                // Deleted in this very moment.
                Err(_) if container.status() == Status::Stopped => return say("exit", None),
                Err(error) => return Err(error),
            }
        }
    }
}

fn word(happening: Happening) -> &'static str {
    match happening {
        Happening::Oom => "oom",
        Happening::MemoryHigh => "memory_high",
        Happening::PidsMax => "pids_max",
        Happening::Frozen => "frozen",
        Happening::Thawed => "thawed",
    }
}

/// Interfaces are the container's only in a network namespace of its own.
fn stats(container: &Container) -> Result<Data> {
    let record = &container.record;
    let intel_rdt = record.rdt.as_ref().map_or_else(|| Ok(resctrl::Stats::default()), Class::stats)?;
    let init = record.init.filter(|init| record.has(Namespace::Network) && init.is_alive());
    Ok(Data { cgroup: record.cgroup.stats(init.map(|init| init.pid))?, intel_rdt })
}
