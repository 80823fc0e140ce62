// SPDX-License-Identifier: Apache-2.0
//! One mount of the container: made or cloned detached, given its flags, then attached on a
//! descriptor. No moment shows it without its flags, and no path is resolved twice.

mod cgroup;
mod copyup;
mod filesystem;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, fstat, readlinkat, symlinkat};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::path::{Target, open_parent, open_target, open_target_itself};
use super::rootfs::move_onto;
use crate::error::{Call, Fault};
use crate::plan::mounts::{Flags, Links, Mount, What};
use crate::plan::propagation::Propagation;
use crate::sys::mount::{self as sys, Attr, mount_setattr};

pub use cgroup::{CgroupDir, cgroup_tree};
pub use filesystem::{filesystem, remount};

/// Clones the tree below `source` in this mount namespace: recursive or the one mount.
pub fn clone_tree(source: BorrowedFd<'_>, recursive: bool, path: &Path) -> Result<OwnedFd, Fault> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(source, "", flags)
        .call(|| format!("open_tree({path:?})"))
        .map_err(|f| hints(f, recursive))
}

/// Opens a source on the host as a detached tree.
pub fn open_tree(path: &Path, recursive: bool, links: Links) -> Result<OwnedFd, Fault> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    flags.set(OpenTreeFlags::AT_SYMLINK_NOFOLLOW, links != Links::Followed);
    rustix::mount::open_tree(CWD, path, flags)
        .call(|| format!("open_tree({path:?})"))
        .map_err(|f| hints(f, recursive))
}

/// A detached tree shows other owners.
pub fn map_ids(tree: BorrowedFd<'_>, recursive: bool, userns: BorrowedFd<'_>) -> Result<(), Fault> {
    sys::map_ids(tree, recursive, userns).call(|| "mount_setattr(MOUNT_ATTR_IDMAP)").map_err(|fault| {
        match fault.errno {
            Some(Errno::INVAL) if recursive => {
                fault.hint("a filesystem at or below the source does not support mounts with mapped ids")
            }
            Some(Errno::INVAL) => {
                fault.hint("the filesystem of the source does not support mounts with mapped ids")
            }
            Some(Errno::PERM) => fault.hint(
                "mapping ids needs rights over the source's filesystem, and a source that is not mapped yet",
            ),
            _ => fault,
        }
    })
}

fn hints(fault: Fault, recursive: bool) -> Fault {
    match fault.errno {
        Some(Errno::NOENT) => fault.hint("a bind mount's source must exist on the host before create"),
        Some(Errno::INVAL) if !recursive => {
            fault.hint("something mounted below the source is locked: use \"rbind\" in place of \"bind\"")
        }
        _ => fault,
    }
}

/// Gives a detached tree its flags and attaches it.
pub fn bind(root: BorrowedFd<'_>, mount: &Mount, tree: OwnedFd) -> Result<(), Fault> {
    let kind = FileType::from_raw_mode(fstat(&tree).call(|| "fstat(source)")?.st_mode);
    if kind.is_symlink() && matches!(mount.what, What::Bind { links: Links::Copied, .. }) {
        return copy_link(root, tree.as_fd(), &mount.target);
    }
    let target = place(root, mount, if kind.is_dir() { Target::Directory } else { Target::File })?;
    change(tree.as_fd(), mount.attr, mount.recursive, &mount.propagation)?;
    attach(tree.as_fd(), target.as_fd(), &mount.target)
}

/// Opens the place of a mount, and makes what is missing of it.
fn place(root: BorrowedFd<'_>, mount: &Mount, kind: Target) -> Result<OwnedFd, Fault> {
    match mount.target_itself {
        true => open_target_itself(root, &mount.target, kind),
        false => open_target(root, &mount.target, kind),
    }
}

/// A link of the same text in the container; one that is there already is as good.
fn copy_link(root: BorrowedFd<'_>, link: BorrowedFd<'_>, target: &Path) -> Result<(), Fault> {
    let text = readlinkat(link, "", Vec::new()).call(|| "readlinkat(source)")?;
    let (dir, name) = open_parent(root, target)?;
    let made = symlinkat(&text, &dir, &name);
    if made == Err(Errno::EXIST) && readlinkat(&dir, &name, Vec::new()).is_ok_and(|there| there == text) {
        return Ok(());
    }
    made.call(|| format!("symlinkat({text:?}, {target:?})")).map_err(|fault| match fault.errno {
        Some(Errno::EXIST) => fault.hint("the image has something else there"),
        _ => fault,
    })
}

fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>, path: &Path) -> Result<(), Fault> {
    move_onto(tree, target).call(|| format!("move_mount({path:?})"))
}

/// mount_setattr as often as flags and propagation need it, and no more.
fn change(
    tree: BorrowedFd<'_>,
    attr: Flags,
    recursive: Flags,
    propagation: &[Propagation],
) -> Result<(), Fault> {
    for step in propagation {
        let attr = Attr { propagation: step.flag, ..Attr::default() };
        mount_setattr(tree, c"", step.recursive, attr).call(|| format!("mount_setattr({step})"))?;
    }
    for (flags, all) in [(recursive, true), (attr, false)] {
        if flags.is_empty() {
            continue;
        }
        let wanted = Attr { set: flags.set, clear: flags.clear, propagation: 0 };
        let mut result = mount_setattr(tree, c"", all, wanted);
        if result == Err(Errno::PERM) && flags.clear & !ATIME != 0 {
            // The host's read-only or nosuid is locked here: what is stricter than asked for stays.
            let strict = Attr { clear: if flags.set & ATIME != 0 { ATIME } else { 0 }, ..wanted };
            result = match strict.set | strict.clear {
                0 => Ok(()),
                _ => mount_setattr(tree, c"", all, strict),
            };
        }
        result.call(|| format!("mount_setattr(set {:#x}, clear {:#x})", flags.set, flags.clear))?;
    }
    Ok(())
}

const ATIME: u64 = linux_raw_sys::general::MOUNT_ATTR__ATIME as u64;
