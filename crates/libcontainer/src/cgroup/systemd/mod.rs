// SPDX-License-Identifier: Apache-2.0
//! The systemd driver: the container's group is that of a transient scope unit.
//!
//! ```text
//! clone3             a scope needs a process; and no bus call comes before, that could add a thread
//! start()            StartTransientUnit around init, until JobRemoved      -> the group's path
//! Writer, devices    what a unit's properties cannot say, or only in whole percents
//! set()              update: properties in step with the files, so that no daemon-reload undoes them
//! Record::stop       delete: StopUnit and ResetFailedUnit; a unit that is a stranger's by now stays
//! ```
//!
//! All else of a container's life (kill, freeze, exec, statistics) goes by the group's own files.

mod bus;
mod message;

use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::process::Pid;

use self::bus::{Bus, Refusal};
use super::file;
use super::record::{Group, Record, Unit};
use crate::error::Fault;
use crate::plan::resources::Limits;
use crate::plan::systemd::value::Value;
use crate::plan::systemd::{self, Property, Scope, properties};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SCOPE: &str = "org.freedesktop.systemd1.Scope";

/// How long a former unit of the same name may take to be gone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes the scope around a process and tells its group, without a slash at either end.
pub(super) fn start(scope: &Scope, init: Pid) -> Result<String, Fault> {
    let what = format!("StartTransientUnit {}", scope.name);
    let mut bus = Bus::connect(scope.user)?;
    bus.watch_jobs().map_err(|refusal| refusal.fault(&what))?;
    let pid = Value::Array("u".to_owned(), vec![Value::U32(init.as_raw_nonzero().get().cast_unsigned())]);
    let mut properties = list(&scope.properties);
    if let Value::Array(_, all) = &mut properties {
        all.push(pair("PIDs", pid));
    }
    let none = Value::Array("(sa(sv))".to_owned(), Vec::new());
    let body = [Value::str(scope.name.as_str()), Value::str("fail"), properties, none];
    let deadline = Instant::now() + PATIENCE;
    let job = loop {
        match bus.manager("StartTransientUnit", &body) {
            Ok(reply) => break reply.into_iter().next(),
            Err(refusal) if refusal.is("UnitExists") => make_way(&mut bus, &scope.name, deadline)?,
            Err(refusal) => return Err(hint(refusal.fault(&what), scope)),
        }
    };
    let job = job.ok_or_else(|| Fault::new(format!("{what}: systemd names no job")))?;
    match bus.await_job(&job)?.as_str() {
        "done" => {}
        result => {
            return Err(Fault::new(format!("{what}: the job has ended as {result:?}"))
                .hint(format!("see `journalctl -u {}`", scope.name)));
        }
    }
    match control_group(&mut bus, &scope.name) {
        Ok(path) => Ok(path),
        Err(refusal) => Err(refusal.fault(&what)),
    }
}

/// Of a value of another type systemd does not say whose it is.
fn hint(fault: Fault, scope: &Scope) -> Fault {
    let origins = scope.properties.iter().map(|it| it.origin.as_str());
    let asked: Vec<&str> = origins.filter(|origin| origin.starts_with("annotations.")).collect();
    if asked.is_empty() || fault.hint.is_some() {
        return fault;
    }
    fault.hint(format!("is there such a property, of this type? {}", asked.join(", ")))
}

/// A failed unit of that name is forgotten, one that ends is waited for; any other stays.
fn make_way(bus: &mut Bus, name: &str, deadline: Instant) -> Result<(), Fault> {
    let state = match object(bus, name).and_then(|path| bus.property(&path, UNIT, "ActiveState")) {
        Ok(Value::Str(state)) => state,
        // Gone meanwhile.
        Ok(_) | Err(Refusal::Said(..)) => return Ok(()),
        Err(Refusal::Broken(fault)) => return Err(fault),
    };
    match state.as_str() {
        "failed" => {
            reset(bus, name);
            return Ok(());
        }
        "inactive" | "deactivating" if Instant::now() < deadline => {
            sleep(Duration::from_millis(10));
            return Ok(());
        }
        _ => {}
    }
    Err(Fault::new(format!("{}: the unit {name} is {state}", super::NOT_EMPTY))
        .hint("name a unit in linux.cgroupsPath that no other service or container uses"))
}

/// Adds a process to the unit: for an ordinary user to whom the kernel refuses it.
fn attach(unit: &Unit, process: Pid) -> Result<(), Fault> {
    let pids = Value::Array("u".to_owned(), vec![Value::U32(process.as_raw_nonzero().get().cast_unsigned())]);
    let body = [Value::str(unit.name.as_str()), Value::str(""), pids];
    let mut bus = Bus::connect(unit.user)?;
    let what = format!("AttachProcessesToUnit {}", unit.name);
    bus.manager("AttachProcessesToUnit", &body).map(drop).map_err(|refusal| refusal.fault(&what))
}

/// Before an `update` writes the group's files: the unit's properties. Gives back what they were, so
/// far as systemd tells it. Of devices nothing is denied by systemd meanwhile: our own program still
/// holds, and is replaced at once.
pub(super) fn update(unit: &Unit, limits: &Limits, devices: bool) -> Result<Vec<Property>, Fault> {
    let mut all = properties(&limits.writes);
    if devices && !unit.user {
        all.extend(systemd::devices(&Limits::default()));
    }
    if all.is_empty() {
        return Ok(Vec::new());
    }
    let what = format!("SetUnitProperties {}", unit.name);
    let mut bus = Bus::connect(unit.user)?;
    let path = object(&mut bus, &unit.name).map_err(|refusal| refusal.fault(&what))?;
    let mut former: Vec<Property> = Vec::new();
    for property in &all {
        if former.iter().any(|it| it.name == property.name) {
            continue;
        }
        match bus.property(&path, SCOPE, &property.name) {
            Ok(value) => former.push(Property { value, ..property.clone() }),
            // One that this systemd has not got is refused in what follows.
            Err(Refusal::Said(..)) => {}
            Err(Refusal::Broken(fault)) => return Err(fault),
        }
    }
    if let Err(fault) = set_by(&mut bus, unit, &all) {
        restore(unit, &former);
        return Err(fault);
    }
    Ok(former)
}

/// After it: the list as systemd can say it. Should that fail, our own program holds.
pub(super) fn update_devices(unit: &Unit, limits: &Limits) -> Result<(), Fault> {
    if unit.user {
        return Ok(());
    }
    set_by(&mut Bus::connect(false)?, unit, &systemd::devices(limits))
}

/// Takes an [`update`] back.
pub(super) fn restore(unit: &Unit, former: &[Property]) {
    let mut all = Vec::new();
    for property in former {
        // Lists grow by what is set, and begin anew after an empty one.
        if let Value::Array(of, _) = &property.value {
            all.push(Property { value: Value::Array(of.clone(), Vec::new()), ..property.clone() });
        }
        all.push(property.clone());
    }
    if !all.is_empty()
        && let Err(fault) = Bus::connect(unit.user).and_then(|mut bus| set_by(&mut bus, unit, &all))
    {
        tracing::warn!("{} keeps its new properties: {fault}", unit.name);
    }
}

/// Until the unit ends, and not for another of its name.
fn set_by(bus: &mut Bus, unit: &Unit, properties: &[Property]) -> Result<(), Fault> {
    let body = [Value::str(unit.name.as_str()), Value::Bool(true), list(properties)];
    let what = format!("SetUnitProperties {}", unit.name);
    bus.manager("SetUnitProperties", &body).map(drop).map_err(|refusal| refusal.fault(&what))
}

impl Record {
    /// Whether systemd can do what a clone3 into the group was refused: a user has no right to move
    /// a process from one login's scope to the other side of the tree; systemd asks the system's.
    pub fn attaches(&self, fault: &Fault) -> bool {
        self.unit().is_some() && matches!(fault.errno, Some(Errno::ACCESS | Errno::PERM))
    }

    /// Has systemd move a process to the container's group.
    pub fn attach(&self, process: Pid) -> Result<(), Fault> {
        self.unit().map_or(Ok(()), |unit| attach(unit, process))
    }

    /// Removes the unit, and with it the group. Without a bus the group goes nevertheless.
    pub(super) fn stop(&self, unit: &Unit, deadline: Instant) -> Result<(), Fault> {
        let Some(group) = self.groups.first() else { return Ok(()) };
        let ours = group.is_ours()?;
        // One whose start did not come to us ends with its init. If that was dead before it was moved
        // there, systemd waits for ever for the end of nobody.
        // A record that knows its group's inode has nothing to do with another of that name.
        let forsaken = !ours && group.inode.is_none() && is_empty(group);
        if !ours && !forsaken && group.exists() {
            // A stranger's by now.
            return Ok(());
        }
        let end = || -> Result<(), Fault> {
            let mut bus = Bus::connect(unit.user)?;
            if ours || forsaken {
                stop_unit(&mut bus, &unit.name)?;
            }
            reset(&mut bus, &unit.name);
            Ok(())
        };
        if let Err(fault) = end() {
            tracing::debug!("{}: {fault}", unit.name);
        }
        if ours { group.remove(deadline) } else { Ok(()) }
    }
}

/// Whether there is such a group, with nobody in it.
fn is_empty(group: &Group) -> bool {
    let dir = file::open_dir(CWD, &group.dir());
    dir.and_then(|dir| file::read(&dir, "cgroup.events")).is_ok_and(|text| text.contains("populated 0"))
}

fn stop_unit(bus: &mut Bus, name: &str) -> Result<(), Fault> {
    let what = format!("StopUnit {name}");
    let fault = |refusal: Refusal| refusal.fault(&what);
    bus.watch_jobs().map_err(fault)?;
    match bus.manager("StopUnit", &[Value::str(name), Value::str("replace")]) {
        Ok(reply) => match reply.first() {
            Some(job) => bus.await_job(job).map(drop),
            None => Ok(()),
        },
        Err(refusal) if refusal.is("NoSuchUnit") => Ok(()),
        Err(refusal) => Err(fault(refusal)),
    }
}

/// A unit that has not failed, or is gone, needs none.
fn reset(bus: &mut Bus, name: &str) {
    if let Err(refusal) = bus.manager("ResetFailedUnit", &[Value::str(name)])
        && !refusal.is("NoSuchUnit")
    {
        tracing::debug!("{}", refusal.fault("ResetFailedUnit"));
    }
}

fn object(bus: &mut Bus, name: &str) -> Result<String, Refusal> {
    match bus.manager("GetUnit", &[Value::str(name)])?.into_iter().next() {
        Some(Value::Path(path)) => Ok(path),
        _ => Err(Fault::new(format!("GetUnit {name}: systemd names no object")).into()),
    }
}

fn control_group(bus: &mut Bus, name: &str) -> Result<String, Refusal> {
    let path = object(bus, name)?;
    match bus.property(&path, SCOPE, "ControlGroup")? {
        Value::Str(path) if path.len() > 1 => Ok(path.trim_matches('/').to_owned()),
        _ => Err(Fault::new(format!("the unit {name} has no cgroup"))
            .hint("the container's first process has ended already")
            .into()),
    }
}

/// `a(sv)`
fn list(properties: &[Property]) -> Value {
    let pairs = properties.iter().map(|it| pair(&it.name, it.value.clone()));
    Value::Array("(sv)".to_owned(), pairs.collect())
}

fn pair(name: &str, value: Value) -> Value {
    Value::Struct(vec![Value::str(name), Value::Variant(Box::new(value))])
}
