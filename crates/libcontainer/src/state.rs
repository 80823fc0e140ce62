// SPDX-License-Identifier: Apache-2.0
//! state and list: what a container is right now (runtime.md, State).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;

use crate::cgroup::OomKills;
use crate::container::{Container, Status};
use crate::context::Context;
use crate::error::{Error, Kind, Result};
use crate::store::Store;

/// What `state` prints, and `list` in a row.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// Of the container's configuration.
    pub oci_version: String,
    /// Its id.
    pub id: String,
    /// Of its first process; 0 when it has none.
    pub pid: i32,
    /// What it is right now.
    pub status: Status,
    /// Absolute path of the bundle.
    pub bundle: PathBuf,
    /// Absolute path of the image's tree.
    pub rootfs: PathBuf,
    /// RFC 3339, in UTC.
    pub created: String,
    /// As in the configuration.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Of one that has stopped: whether processes of it were killed for lack of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom: Option<OomKills>,
    /// Name of the user who created it, or the number of one without a name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub owner: String,
}

/// The state of one container.
pub fn state(context: &Context, id: &str) -> Result<State> {
    let look = || Ok(of(Store::new(&context.root).load(id)?));
    look().map_err(|e: Error| e.within(format!("state {id}")))
}

/// The states of all containers, sorted by id. One that goes meanwhile is left out; one whose record
/// is damaged is told, and does not hide the others.
pub fn list(context: &Context) -> Result<Vec<State>> {
    let store = Store::new(&context.root);
    let mut states = Vec::new();
    let mut names = Names::default();
    for id in store.ids()? {
        match store.load(&id) {
            Ok(container) => {
                let owner = container.record.owner;
                let mut state = of(container);
                state.owner = names.of(owner);
                states.push(state);
            }
            Err(error) if error.kind() == Kind::NotFound => {}
            Err(error) => tracing::warn!("{id}: {}", error.message()),
        }
    }
    Ok(states)
}

fn of(container: Container) -> State {
    let status = container.status();
    let pid = container.pid(status);
    let stopped = status == Status::Stopped && !container.is_of_earlier_boot();
    let oom = stopped.then(|| container.record.cgroup.oom_kills()).flatten();
    let record = container.record;
    State {
        oci_version: record.oci_version,
        id: record.id,
        pid,
        status,
        bundle: record.bundle,
        rootfs: record.rootfs,
        created: record.created,
        annotations: record.annotations,
        oom,
        owner: String::new(),
    }
}

/// User names by /etc/passwd alone: the C library's way would load code (nsswitch.conf(5)).
#[derive(Default)]
struct Names {
    passwd: Option<String>,
}

impl Names {
    #[expect(clippy::disallowed_methods, reason = "the host's users")]
    fn of(&mut self, uid: u32) -> String {
        let passwd =
            self.passwd.get_or_insert_with(|| std::fs::read_to_string("/etc/passwd").unwrap_or_default());
        let name = passwd.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
        });
        name.unwrap_or_else(|| uid.to_string())
    }
}
