// SPDX-License-Identifier: Apache-2.0
//! pause and resume: all processes of a container stop where they are, and go on from there.

use crate::container::{Container, Status};
use crate::context::Context;
use crate::error::{Error, Fault, Kind, Result};
use crate::store::Store;

/// Freezes a created or running container. On return every process of it stands still.
pub fn pause(context: &Context, id: &str) -> Result<()> {
    locked(context, id, freeze).map_err(|e| e.within(format!("pause {id}")))
}

/// Lets a paused container go on.
pub fn resume(context: &Context, id: &str) -> Result<()> {
    locked(context, id, thaw).map_err(|e| e.within(format!("resume {id}")))
}

/// No start, delete or other pause is at work meanwhile.
fn locked(context: &Context, id: &str, act: fn(&Container) -> Result<()>) -> Result<()> {
    let store = Store::new(&context.root);
    // Before the lock, which would leave a file for an id that there is not.
    store.load(id)?;
    let _lock = store.lock(id)?;
    act(&store.load(id)?)
}

fn freeze(container: &Container) -> Result<()> {
    match container.status() {
        Status::Created | Status::Running => Ok(container.record.cgroup.freeze()?),
        Status::Paused => Err(Error::new(Kind::State, "container is paused already")),
        Status::Creating | Status::Stopped => Err(Error::new(Kind::State, "container not running")),
    }
}

fn thaw(container: &Container) -> Result<()> {
    match container.status() {
        Status::Paused => {}
        Status::Created | Status::Running => return Err(Error::new(Kind::State, "container not paused")),
        Status::Creating | Status::Stopped => return Err(Error::new(Kind::State, "container not running")),
    }
    container.record.cgroup.thaw()?;
    if container.record.cgroup.is_frozen()? {
        return Err(Fault::new("the container is still frozen")
            .hint("a group above the container's own is frozen: thaw that")
            .into());
    }
    Ok(())
}
