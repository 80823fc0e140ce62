// SPDX-License-Identifier: Apache-2.0
//! delete: everything of a container goes: processes, groups, directory, lock.

use std::os::fd::AsFd;

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};

use crate::act::hooks::{self, Given, Output};
use crate::container::{Container, Phase, Process, Record, Status};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::plan::step::HookKind;
use crate::store::{Lock, Store};

/// How long a killed process may take to be gone: the kernel may have much memory to free.
const DEATH: i64 = 10;
/// How long a `delete --force` waits for another operation to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Deletes a stopped container, or one that was never started; with `force` any other too, and then
/// an absent one is no error.
pub fn delete(context: &Context, id: &str, force: bool) -> Result<()> {
    let store = Store::new(&context.root);
    delete_one(&store, id, force).map_err(|e| e.within(format!("delete {id}")))
}

fn delete_one(store: &Store, id: &str, force: bool) -> Result<()> {
    crate::store::check_id(id)?;
    if !store.has_dir(id) {
        // A create that was killed early has left nothing but its lock.
        if force {
            return store.lock(id)?.remove();
        }
        return store.load(id).map(drop);
    }
    let lock = match force {
        true => force_lock(store, id)?,
        false => store.lock(id)?,
    };
    match store.load(id) {
        Ok(container) => {
            refuse_living(&container, force)?;
            remove(&container)?;
        }
        // Somebody else was quicker.
        Err(_) if force && !store.has_dir(id) => {}
        // Without a readable record its copy tells what there is to undo. Without that too there may
        // be processes that nobody would find again, unless nothing was made yet.
        Err(error) if force && !matches!(error.kind(), Kind::NotFound | Kind::State) => {
            match store.load_copy(id) {
                Some(container) => remove(&container)?,
                None if store.has_begun(id) => return Err(lost(store, id, error)),
                None => store.remove_dir(id)?,
            }
        }
        Err(error) => return Err(error),
    }
    lock.remove()
}

/// Neither the record nor its copy can be read.
fn lost(store: &Store, id: &str, error: Error) -> Error {
    let says = format!("neither its record nor the copy of that can be read: {}", error.message());
    Error::new(Kind::Failed, says).hint(format!(
        "its processes and groups are not known: end and remove them by hand, then {}",
        store.dir(id).display()
    ))
}

fn refuse_living(container: &Container, force: bool) -> Result<()> {
    match container.status() {
        _ if force => Ok(()),
        Status::Stopped | Status::Created => Ok(()),
        // Its process has ended, which is all that runtime.md asks for; what that left behind, where
        // the pid namespace is not the container's, would be ended by nobody else.
        Status::Running | Status::Paused if !container.init_is_alive() => Ok(()),
        status => {
            let id = &container.record.id;
            let says = format!("cannot delete container {id} that is not stopped: {status}");
            Err(Error::new(Kind::State, says)
                .hint(format!("`soute kill {id} KILL` first, or `soute delete --force {id}`")))
        }
    }
}

/// Takes a container down whose lock is held. What fails is told; what was not reached is still in
/// the record, for the next try.
pub(crate) fn remove(container: &Container) -> Result<()> {
    let record = &container.record;
    // Of a create that was killed: the copy knows the groups as they were made.
    let copy = (record.phase == Phase::Creating).then(|| store_copy(container)).flatten();
    let made = copy.as_ref().map_or(record, |copy| &copy.record);
    let cgroup = &made.cgroup;
    // Processes of an earlier boot are gone, and their pids may be anybody's.
    if !container.is_of_earlier_boot() {
        cgroup.kill()?;
        if let Some(init) = record.init {
            end(init);
        }
        cgroup.remove()?;
        if let Some(class) = &made.rdt {
            class.remove()?;
        }
    }
    if record.phase == Phase::Created {
        poststop(record);
    }
    Ok(container.remove_dir()?)
}

/// The poststop hooks of a container that is no more. It is too late for a failure.
pub(crate) fn poststop(record: &Record) {
    if !record.poststop.is_empty() {
        let state = record.oci_state(Status::Stopped, 0);
        let output = Output::open(&record.asked().hooks).unwrap_or_else(|fault| {
            tracing::warn!("{fault}");
            Output::default()
        });
        let given = Given { state: &state, cwd: Some(&record.bundle), output: &output };
        hooks::run_all_warn(HookKind::Poststop.name(), &record.poststop, given);
    }
}

/// Whoever creates or starts a container holds its lock, perhaps for as long as a hook hangs: they
/// get some time, and then the one who creates it is ended.
fn force_lock(store: &Store, id: &str) -> Result<Lock> {
    if let Some(lock) = store.lock_within(id, PATIENCE)? {
        return Ok(lock);
    }
    if let Ok(container) = store.load(id)
        && container.record.phase == Phase::Creating
    {
        end(container.record.runtime);
    }
    store.lock(id)
}

fn store_copy(container: &Container) -> Option<Container> {
    Store::new(container.dir.parent()?).load_copy(&container.record.id)
}

/// Kills a process and waits until it is gone.
fn end(process: Process) {
    let Some(pidfd) = process.open() else { return };
    let _ = pidfd_send_signal(&pidfd, Signal::KILL);
    let mut gone = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    let _ = poll(&mut gone, Some(&Timespec { tv_sec: DEATH, tv_nsec: 0 }));
}

/// Deletes a container that this process has created itself.
pub(crate) fn delete_created(container: &Container) -> Result<()> {
    let Some(root) = container.dir.parent() else { return Ok(()) };
    let store = Store::new(root);
    let lock = store.lock(&container.record.id)?;
    // Somebody else may have deleted it, and even made another of that name.
    match store.load(&container.record.id) {
        Ok(there) if there.record.created == container.record.created => {
            remove(container)?;
            lock.remove()
        }
        Err(error) if error.kind() != Kind::NotFound => Err(error),
        _ => Ok(()),
    }
}
