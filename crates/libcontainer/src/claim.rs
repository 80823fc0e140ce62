// SPDX-License-Identifier: Apache-2.0
//! A container in the making: its lock, its directory and its record, undone unless kept.

use std::cell::Cell;

use rustix::process::Pid;

use crate::act::resctrl::{self, Class};
use crate::cgroup;
use crate::container::{Container, Phase, Process, Record};
use crate::delete;
use crate::error::{Error, Fault, Result};
use crate::plan::namespaces;
use crate::plan::rdt::Rdt;
use crate::store::{Lock, Store};

/// The lock, the directory and the record of a container in the making: undone unless kept.
pub(crate) struct Claim {
    container: Option<Container>,
    /// Of its id; held until the container is kept or gone.
    pub(crate) lock: Option<Lock>,
    /// The time of the hooks has come: poststop may have to undo what others did.
    pub(crate) hooked: Cell<bool>,
}

impl Claim {
    pub(crate) fn new(store: &Store, record: Record) -> Result<Self> {
        let lock = store.lock(&record.id)?;
        let container = store.claim(record)?;
        Ok(Self { container: Some(container), lock: Some(lock), hooked: Cell::new(false) })
    }

    pub(crate) fn container(&self) -> &Container {
        self.container.as_ref().expect("a claim has its container until it is kept")
    }

    /// A namespace that the configuration does not tell.
    pub(crate) fn has(&mut self, kind: namespaces::Kind) {
        if let Some(container) = &mut self.container {
            container.record.namespaces |= kind.flag();
        }
    }

    pub(crate) fn classify(&mut self, rdt: &Rdt) -> Result<()> {
        let container = self.container.as_mut().expect("a claim has its container until it is kept");
        let within = |fault: Fault| Error::from(fault).within("linux.intelRdt");
        let class = resctrl::root().and_then(|root| Class::plan(root, rdt, &container.record.id));
        container.record.rdt = Some(class.map_err(within)?);
        container.save_copy()?;
        container.record.rdt.iter_mut().try_for_each(|class| class.make(rdt)).map_err(within)
    }

    /// The groups to be made. Until they are, whoever makes them takes back his own, and what
    /// was there before is not ours to remove.
    pub(crate) fn groups(&mut self) -> cgroup::Record {
        self.container
            .as_mut()
            .map(|container| std::mem::take(&mut container.record.cgroup))
            .unwrap_or_default()
    }

    /// The groups as they were made.
    pub(crate) fn has_groups(&mut self, cgroup: &cgroup::Record) {
        self.record().cgroup = cgroup.clone();
    }

    /// Puts on disk what a `delete --force` needs, should this process die.
    pub(crate) fn save_copy(&self) -> Result<()> {
        Ok(self.container().save_copy()?)
    }

    /// The container's first process. It lives, or waits for its parent.
    pub(crate) fn has_init(&mut self, init: Pid) {
        self.record().init = Process::of(init.as_raw_nonzero().get());
    }

    pub(crate) fn created(&mut self, cgroup: cgroup::Record) -> Result<()> {
        let record = self.record();
        record.cgroup = cgroup;
        record.phase = Phase::Created;
        let container = self.container();
        container.save()?;
        // Without groups the copy has nothing else that tells what there is to end.
        if container.record.cgroup.groups.is_empty() { Ok(container.save_copy()?) } else { Ok(()) }
    }

    fn record(&mut self) -> &mut Record {
        &mut self.container.as_mut().expect("a claim has its container until it is kept").record
    }

    pub(crate) fn keep(mut self) -> Container {
        self.container.take().expect("a claim is kept once")
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(container) = self.container.take() {
            let _ = container.record.cgroup.kill();
            let _ = container.record.cgroup.remove();
            let _ = container.record.rdt.as_ref().map_or(Ok(()), Class::remove);
            // runtime.md, Lifecycle: a failing hook of create leads to the end, poststop included.
            if self.hooked.get() {
                delete::poststop(&container.record);
            }
            let _ = container.remove_dir();
            if let Some(lock) = self.lock.take() {
                let _ = lock.remove();
            }
        }
    }
}
