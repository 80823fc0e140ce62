// SPDX-License-Identifier: Apache-2.0
//! ps: which processes are a container's.

use crate::container::Status;
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// The pids of all processes of a container, as the caller sees them, those in groups that were
/// made inside it included.
pub fn ps(context: &Context, id: &str) -> Result<Vec<i32>> {
    let look = || {
        let container = Store::new(&context.root).load(id)?;
        if matches!(container.status(), Status::Stopped | Status::Creating) {
            return Err(Error::new(Kind::State, "container not running"));
        }
        let record = &container.record;
        if record.cgroup.groups.is_empty() {
            return Err(Error::new(Kind::State, "the container has no cgroup that knows its processes"));
        }
        Ok(record.cgroup.procs()?.into_iter().map(|pid| pid.as_raw_nonzero().get()).collect())
    };
    look().map_err(|e: Error| e.within(format!("ps {id}")))
}
