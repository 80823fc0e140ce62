// SPDX-License-Identifier: Apache-2.0
//! The library below the `soute` command: config.json -> Plan -> one clone3 -> steps -> execve.
//!
//! ```text
//!   operations   create run start exec kill pause update events ps delete state check explain one file each
//!        |              create.rs is the parent, init.rs the child
//!   effects      act/  cgroup/  container.rs  sync.rs  bundle/  host.rs
//!        |
//!   error.rs     one error: property, step, call, errno, way out
//!        |
//!   plan/ (pure: decides everything)        sys/ (the only unsafe code: one call each)
//! ```
//!
//! To read a create in one sitting: `create.rs`, `plan/mod.rs`, `plan/step.rs`, `init.rs`.

// Tests make trees of their own, by name.
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

pub mod act;
pub mod bundle;
pub mod cgroup;
mod check;
mod checkpoint;
mod claim;
mod container;
mod context;
mod create;
mod criu;
mod delete;
pub mod error;
mod events;
mod exec;
mod explain;
pub mod features;
mod host;
mod init;
mod kill;
mod newborn;
mod pause;
pub mod plan;
mod protect;
mod ps;
mod restore;
mod run;
mod sources;
mod start;
mod state;
mod store;
mod sync;
mod sys;
pub mod time;
mod update;

pub use act::criu::message::{CgroupMode, NetworkLock};
pub use check::{Report, check};
pub use checkpoint::{CheckpointRequest, checkpoint};
pub use container::Status;
pub use context::{CgroupDriver, Context};
pub use create::{CreateRequest, create};
pub use criu::CriuFlags;
pub use delete::delete;
pub use events::{Data, Event, EventsRequest, events};
pub use exec::{ExecRequest, exec};
pub use explain::{explain, text as explain_plan};
pub use kill::kill;
pub use pause::{pause, resume};
pub use protect::protect;
pub use ps::ps;
pub use restore::{RestoreRequest, restore};
pub use run::{RunRequest, run};
pub use start::start;
pub use state::{State, list, state};
pub use sys::heap::Heap;
pub use update::{Resources, UpdateRequest, update};
