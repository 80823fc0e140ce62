// SPDX-License-Identifier: Apache-2.0
//! mount_setattr(2): flags, propagation and id maps of a mount that is addressed by fd.

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::check;

/// What mount_setattr changes: bits of `MOUNT_ATTR_*` to set and to clear, and a propagation
/// type (`MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE`, `MS_UNBINDABLE`; 0 leaves it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attr {
    /// Bits to set.
    pub set: u64,
    /// Bits to clear. Changing the access-time mode needs the whole `MOUNT_ATTR__ATIME` here.
    pub clear: u64,
    /// One `MS_*` propagation type, or 0.
    pub propagation: u64,
}

/// mount_setattr(2) on the mount whose root `path` below `dir` is (`dir` itself if `path` is empty);
/// with `recursive` on all below it too.
pub fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attr: Attr) -> Result<(), Errno> {
    set(dir, path, recursive, attr, 0)
}

/// MOUNT_ATTR_IDMAP of mount_setattr(2): a detached tree shows the owners that the user namespace
/// maps them to.
pub fn map_ids(tree: BorrowedFd<'_>, recursive: bool, userns: BorrowedFd<'_>) -> Result<(), Errno> {
    let attr = Attr { set: libc::MOUNT_ATTR_IDMAP, ..Attr::default() };
    set(tree, c"", recursive, attr, userns.as_raw_fd() as u64)
}

fn set(dir: BorrowedFd<'_>, path: &CStr, recursive: bool, attr: Attr, userns_fd: u64) -> Result<(), Errno> {
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    let attr = libc::mount_attr {
        attr_set: attr.set,
        attr_clr: attr.clear,
        propagation: attr.propagation,
        userns_fd,
    };
    // SAFETY: `dir` is open for the call, and so is the user namespace if there is one; the path is a C
    // string that outlives it, `attr` lives on this frame and the size tells the kernel how much of it to
    // read; it writes nothing.
    check(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            dir.as_raw_fd(),
            path.as_ptr(),
            flags,
            &attr,
            size_of::<libc::mount_attr>(),
        )
    })
    .map(drop)
}
