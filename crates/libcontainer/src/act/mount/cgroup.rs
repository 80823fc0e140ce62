// SPDX-License-Identifier: Apache-2.0
//! A mount of type cgroup on a v1 host.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, statat, symlinkat};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::filesystem::new_filesystem;
use super::{attach, change, open_tree};
use crate::act::path::{self, Target, open_target};
use crate::error::{Call, Fault};
use crate::plan::mounts::{Flags, Links, Mount};

/// A group of the container in one hierarchy, for a mount of type cgroup on a v1 host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupDir {
    /// Directory below /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `unified`.
    pub name: String,
    /// The container's group on the host.
    pub group: std::path::PathBuf,
    /// Names that link here: `cpu` -> `cpu,cpuacct`.
    pub links: Vec<String>,
}

/// The tree of a v1 host: a tmpfs, and in it each hierarchy, showing the container's own group by a
/// bind of it. In a cgroup namespace that is what a mount of the hierarchy would show, for half the time.
pub fn cgroup_tree(root: BorrowedFd<'_>, mount: &Mount, dirs: &[CgroupDir]) -> Result<(), Fault> {
    let values = [("mode".to_owned(), "755".to_owned())];
    let own =
        Flags { set: mount.attr.set & !u64::from(MountAttrFlags::MOUNT_ATTR_RDONLY.bits()), ..mount.attr };
    let tmpfs = new_filesystem("tmpfs", "tmpfs", &[], &values, own)?;
    let target = open_target(root, &mount.target, Target::Directory)?;
    attach(tmpfs.as_fd(), target.as_fd(), &mount.target)?;
    for dir in dirs {
        let at = || format!("{}/{}", mount.target.display(), dir.name);
        mkdirat(&tmpfs, &dir.name, Mode::from_raw_mode(0o755)).call(|| format!("mkdirat({:?})", at()))?;
        let place = path::open_without_links(tmpfs.as_fd(), Path::new(&dir.name), OFlags::PATH)
            .call(|| format!("openat2({:?})", at()))?;
        let tree = open_tree(&dir.group, false, Links::Followed)?;
        change(tree.as_fd(), mount.attr, mount.recursive, &[])?;
        attach(tree.as_fd(), place.as_fd(), Path::new(&at()))?;
        for link in &dir.links {
            if statat(&tmpfs, link, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|e| e == Errno::NOENT) {
                symlinkat(&dir.name, &tmpfs, link).call(|| format!("symlinkat({link:?})"))?;
            }
        }
    }
    change(tmpfs.as_fd(), Flags { set: mount.attr.set, clear: 0 }, Flags::default(), &mount.propagation)
}
