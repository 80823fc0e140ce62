// SPDX-License-Identifier: Apache-2.0
//! What the global flags of a call say, for every operation alike.

use std::path::PathBuf;

/// Who makes the container's cgroups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupDriver {
    /// We do, in the cgroup file system.
    #[default]
    Cgroupfs,
    /// systemd does.
    Systemd,
    /// Nobody: the container stays in the caller's.
    Disabled,
}

/// What holds for every operation of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Where containers are kept.
    pub root: PathBuf,
    /// Who makes cgroups.
    pub cgroup_driver: CgroupDriver,
    /// What the caller says of its own rights; none: they are looked at.
    pub rootless: Option<bool>,
    /// Descriptor of the caller's log: it stays open where all are closed that nobody asked to hand on.
    pub log: Option<i32>,
}
