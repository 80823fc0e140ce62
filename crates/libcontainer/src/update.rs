// SPDX-License-Identifier: Apache-2.0
//! update: other limits for a container that runs; all of them or none.

use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;

use crate::bundle;
use crate::cgroup;
use crate::container::{Container, Status};
use crate::context::Context;
use crate::error::{Error, Fault, Kind, Result};
use crate::plan::rdt;
use crate::plan::resources::{Limits, changed_limits};
use crate::store::Store;

/// What the caller of `update` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateRequest {
    /// The container.
    pub id: String,
    /// `linux.resources` as JSON; what is not in it stays as it is.
    pub resources: Resources,
    /// Also a memory limit below what the container uses.
    pub force: bool,
    /// Another share of the L3 cache (linux.intelRdt.l3CacheSchema).
    pub l3_cache_schema: Option<String>,
    /// Another share of the memory bandwidth (linux.intelRdt.memBwSchema).
    pub mem_bw_schema: Option<String>,
}

/// Where the new limits stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resources {
    /// In this file.
    File(PathBuf),
    /// In this text, whose name in messages is the other.
    Text(Vec<u8>, &'static str),
}

/// Changes limits and device rules of a container that lives.
pub fn update(context: &Context, request: &UpdateRequest) -> Result<()> {
    go(context, request).map_err(|e: Error| e.within(format!("update {}", request.id)))
}

fn go(context: &Context, request: &UpdateRequest) -> Result<()> {
    let store = Store::new(&context.root);
    // Before the lock, which would leave a file for an id that there is not.
    store.load(&request.id)?;
    let parsed = match &request.resources {
        Resources::File(path) => bundle::load_resources(path)?,
        Resources::Text(text, name) => bundle::parse_resources(text, name)?,
    };
    for warning in &parsed.ignored {
        tracing::warn!("{warning}");
    }
    let _lock = store.lock(&request.id)?;
    let container = store.load(&request.id)?;
    match container.status() {
        Status::Created | Status::Running | Status::Paused => {}
        Status::Creating | Status::Stopped => return Err(Error::new(Kind::State, "container not running")),
    }
    let mut resources = parsed.value;
    complete(&container, &mut resources)?;
    let limits = limits(&resources)?;
    let schemata = rdt::changed(request.l3_cache_schema.as_deref(), request.mem_bw_schema.as_deref())
        .map_err(Error::problems)?;
    let devices = resources.devices().as_ref().is_some_and(|rules| !rules.is_empty());
    let cgroup = &container.record.cgroup;
    if cgroup.groups.is_empty() {
        if limits.asked() {
            return Err(Error::new(
                Kind::State,
                "the container has no cgroup of its own that could be limited",
            ));
        }
        return share(&container, &schemata).map(drop);
    }
    check_memory(cgroup, &resources, request.force)?;
    let former = share(&container, &schemata)?;
    cgroup.update(&limits, devices).inspect_err(|_| {
        if let Err(error) = share(&container, &former) {
            tracing::warn!("the former shares did not come back: {error}");
        }
    })
}

/// Other shares for the container's class of service. Gives the former ones.
fn share(container: &Container, schemata: &[String]) -> Result<Vec<String>> {
    match &container.record.rdt {
        _ if schemata.is_empty() => Ok(Vec::new()),
        Some(class) => {
            let former = class.schemata()?;
            class.write(schemata)?;
            Ok(former)
        }
        None => Err(Error::new(Kind::State, "the container has no class of service of its own")
            .hint("give it linux.intelRdt at create")),
    }
}

fn limits(resources: &LinuxResources) -> Result<Limits> {
    let mut problems = Vec::new();
    let limits = changed_limits(resources, &cgroup::layout()?, &mut problems);
    if !problems.is_empty() {
        return Err(Error::problems(problems));
    }
    for warning in &limits.warnings {
        tracing::warn!("{warning}");
    }
    Ok(limits)
}

/// Some limits have a meaning in pairs only: the half that is not given is the present one.
fn complete(container: &Container, resources: &mut LinuxResources) -> Result<()> {
    let cgroup = &container.record.cgroup;
    let number = |controller: &str, file: &str, at: usize| -> Result<Option<i64>> {
        let text = cgroup.present(controller, file)?;
        let word = text.as_deref().and_then(|text| text.split_whitespace().nth(at));
        Ok(word.map(|word| word.parse().unwrap_or(-1)))
    };
    let mut memory = *resources.memory();
    if let Some(it) = &mut memory
        && it.swap().is_some_and(|swap| swap > 0)
        && it.limit().unwrap_or(0) == 0
    {
        let v1 = number("memory", "memory.limit_in_bytes", 0)?;
        let limit = if v1.is_some() { v1 } else { number("memory", "memory.max", 0)? };
        // The largest number of whole pages is v1's word for "none".
        let limit = limit.map(|limit| if limit > i64::MAX >> 1 { -1 } else { limit });
        it.set_limit(limit.or(it.limit()));
        resources.set_memory(memory);
    }
    let mut cpu = resources.cpu().clone();
    if let Some(it) = &mut cpu {
        let (quota, period) = (it.quota().filter(|it| *it != 0), it.period().filter(|it| *it != 0));
        if quota.is_some() != period.is_some() {
            // On v1 each has a file of its own.
            if let (None, Some(present)) = (quota, number("cpu", "cpu.max", 0)?) {
                it.set_quota(Some(present));
            }
            if let (None, Some(present)) = (period, number("cpu", "cpu.max", 1)?) {
                it.set_period(u64::try_from(present).ok());
            }
            resources.set_cpu(cpu);
        }
    }
    Ok(())
}

/// A memory limit below what a container uses ends in its death by the kernel (v2), or takes the
/// kernel a long time to refuse (v1). `checkBeforeUpdate` counts everything that is in use; without
/// it what the kernel can free or swap out does not count; `false`, as `--force`, asks nothing.
fn check_memory(cgroup: &cgroup::Record, resources: &LinuxResources, force: bool) -> Result<()> {
    let Some(memory) = resources.memory() else { return Ok(()) };
    let Some(limit) = memory.limit().and_then(|limit| u64::try_from(limit).ok()).filter(|it| *it != 0) else {
        return Ok(());
    };
    let strict = memory.check_before_update();
    if force || strict == Some(false) {
        return Ok(());
    }
    let Some(usage) = cgroup.memory_usage()? else { return Ok(()) };
    let (used, what) = match strict {
        Some(true) => (usage.used, "uses"),
        _ => (usage.unfreeable, "holds"),
    };
    if limit >= used {
        return Ok(());
    }
    let says = format!("{limit} bytes are less than the {used} that the container {what} at present");
    let hint = match strict {
        Some(true) => "wait until it uses less, or leave checkBeforeUpdate out",
        _ => "wait until it uses less; with --force the kernel would kill processes of it",
    };
    Err(Error::from(Fault::new(says).hint(hint)).within("linux.resources.memory.limit"))
}
