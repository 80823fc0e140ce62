// SPDX-License-Identifier: Apache-2.0
//! A v2 group that the container's user may divide: an init system's, or a nested runtime's.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, Uid, chownat};
use rustix::io::Errno;

use super::make::Made;
use super::record::Group;
use super::{file, ordinary_user};
use crate::error::{Error, Fault, Result};
use crate::plan::cgroup::CGROUPS_PATH;

/// What the kernel says that an owner needs.
const LIST: &str = "/sys/kernel/cgroup/delegate";

/// What it said before it had the list.
const OLD_LIST: &str = "cgroup.procs cgroup.subtree_control cgroup.threads";

impl Made {
    /// Gives the group to a user of the host, its limits not included.
    pub fn delegate(&self, owner: u32) -> Result<()> {
        let Some((group, dir)) = self.v2() else { return Ok(()) };
        match give(group, dir, owner) {
            // Root of a user namespace to whom this user does not belong.
            Err(fault) if fault.errno == Some(Errno::PERM) && ordinary_user() => {
                tracing::debug!("the cgroup is not delegated: {fault}");
                Ok(())
            }
            other => other.map_err(|fault| Error::from(fault).within(CGROUPS_PATH)),
        }
    }
}

fn give(group: &Group, dir: BorrowedFd<'_>, owner: u32) -> std::result::Result<(), Fault> {
    let list = file::read(CWD, LIST).unwrap_or_else(|_| OLD_LIST.to_owned());
    let owner = Some(Uid::from_raw(owner));
    let files = list.split_whitespace().map(|name| (name, AtFlags::SYMLINK_NOFOLLOW));
    for (name, flags) in std::iter::once(("", AtFlags::EMPTY_PATH)).chain(files) {
        match chownat(dir.as_fd(), name, owner, None, flags) {
            // Of a controller that the group has not got.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(Fault::call(format!("chown({:?})", group.file(name)), errno)),
        }
    }
    Ok(())
}
