// SPDX-License-Identifier: Apache-2.0
#![forbid(unsafe_code)]
//! Effects on the world, in safe Rust: what the operations and the steps of a plan do.

pub mod anew;
pub mod console;
pub mod criu;
pub mod devices;
pub mod foreground;
pub mod hooks;
pub mod identity;
pub mod idmap;
pub mod label;
pub mod mount;
pub mod namespace;
pub mod network;
pub mod notify;
pub mod path;
pub mod pidfile;
pub mod procfs;
mod relay;
pub mod resctrl;
pub mod rootfs;
pub mod sched;
pub mod spawn;
pub mod terminal;
