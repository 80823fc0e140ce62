// SPDX-License-Identifier: Apache-2.0
//! The container's root: attached, entered, covered. From first to last it is a descriptor.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, StatxAttributes, StatxFlags, fstat, major, minor, statx,
};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::{chdir, chroot, fchdir, pivot_root};

use super::path::{self, open_host};
use crate::error::{Call, Fault};
use crate::sys::mount::{Attr, mount_setattr};

const HERE: &CStr = c"";

/// Changes the propagation of "/" and all below it.
pub fn set_propagation(flag: u64, recursive: bool) -> Result<(), Fault> {
    let attr = Attr { propagation: flag, ..Attr::default() };
    mount_setattr(CWD, c"/", recursive, attr).call(|| "mount_setattr(\"/\", propagation)")
}

/// Binds the image's tree on itself and gives back the descriptor of the new mount: what
/// pivot_root asks for. `dir` is the image's directory, of this mount namespace.
///
/// With `shared` mounts the one below becomes private first: else the bind would show up on the
/// host too, and pivot_root refuses such a root.
pub fn attach(dir: BorrowedFd<'_>, image: &Path, shared: bool) -> Result<OwnedFd, Fault> {
    let private = Attr { propagation: libc::MS_PRIVATE, ..Attr::default() };
    if shared {
        let below = mount_of(dir).call(|| format!("the mount below {image:?}"))?;
        mount_setattr(below.as_fd(), HERE, false, private)
            .call(|| format!("mount_setattr(the mount below {image:?}, private)"))?;
    }
    let tree = clone_mounts(dir).call(|| format!("open_tree({image:?})"))?;
    if shared {
        mount_setattr(tree.as_fd(), HERE, false, private)
            .call(|| format!("mount_setattr({image:?}, private)"))?;
    }
    move_onto(tree.as_fd(), dir).call(|| format!("move_mount({image:?})"))?;
    Ok(tree)
}

/// Binds the image's tree, with what is mounted in it, on a directory of the host.
pub fn bind_image(image: &Path, place: &Path) -> Result<(), Fault> {
    let image = open_image(image)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let target = open_host(place, flags).call(|| format!("open({place:?})"))?;
    let tree = clone_mounts(image.as_fd()).call(|| "open_tree(rootfs)")?;
    move_onto(tree.as_fd(), target.as_fd()).call(|| format!("move_mount({place:?})"))
}

/// The root of the mount that a directory lies on.
fn mount_of(dir: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = rustix::fs::openat(dir, ".", flags, Mode::empty())?;
    loop {
        let stat = statx(&here, "", AtFlags::EMPTY_PATH, StatxFlags::empty())?;
        if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
            return Ok(here);
        }
        here = rustix::fs::openat(&here, "..", flags, Mode::empty())?;
    }
}

/// Attaches a detached tree on what `target` stands for.
pub(super) fn move_onto(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", target, "", flags)
}

/// Enters the root by pivot_root(2) with both paths the same: the old root comes to lie over the
/// new one, and one umount2 uncovers it. With `shared` mounts the old root becomes a slave first,
/// since the umount would reach the host.
#[expect(clippy::disallowed_methods, reason = "the root that has just been entered")]
pub fn pivot(root: BorrowedFd<'_>, shared: bool) -> Result<(), Fault> {
    fchdir(root).call(|| "fchdir(rootfs)")?;
    pivot_root(".", ".").call(|| "pivot_root(\".\", \".\")").map_err(|fault| match fault.errno {
        Some(Errno::INVAL) => fault.hint("a rootfs on the initial ramdisk needs --no-pivot"),
        _ => fault,
    })?;
    if shared {
        let attr = Attr { propagation: libc::MS_SLAVE, ..Attr::default() };
        mount_setattr(CWD, c".", true, attr).call(|| "mount_setattr(old root)")?;
    }
    rustix::mount::unmount(".", UnmountFlags::DETACH).call(|| "umount2(old root)")?;
    chdir("/").call(|| "chdir(\"/\")")
}

/// Enters the root by moving it over "/" and chroot: for a rootfs on the initial ramdisk, which
/// cannot be pivoted away from. The old root stays below, out of reach of any path.
#[expect(clippy::disallowed_methods, reason = "the root that has just been entered")]
pub fn move_over(root: BorrowedFd<'_>) -> Result<(), Fault> {
    fchdir(root).call(|| "fchdir(rootfs)")?;
    rustix::mount::move_mount(CWD, ".", CWD, "/", MoveMountFlags::empty())
        .call(|| "move_mount(rootfs, \"/\")")?;
    chroot(".").call(|| "chroot(\".\")")?;
    chdir("/").call(|| "chdir(\"/\")")
}

/// Without a mount namespace: the image becomes "/" for this process only.
#[expect(clippy::disallowed_methods, reason = "the root that has just been entered")]
pub fn change_root(image: BorrowedFd<'_>) -> Result<(), Fault> {
    fchdir(image).call(|| "fchdir(rootfs)")?;
    chroot(".").call(|| "chroot(\".\")")?;
    chdir("/").call(|| "chdir(\"/\")")
}

/// Binds what one descriptor stands for on what another does.
pub fn bind_onto(source: BorrowedFd<'_>, target: BorrowedFd<'_>, path: &str) -> Result<(), Fault> {
    let tree = clone_mount(source).call(|| "open_tree(one mount)")?;
    move_onto(tree.as_fd(), target).call(|| format!("move_mount({path:?})"))
}

/// Makes the root mount read-only; what is mounted below it stays as it is.
pub fn make_readonly_root() -> Result<(), Fault> {
    let attr = Attr { set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), ..Attr::default() };
    mount_setattr(CWD, c"/", false, attr).call(|| "mount_setattr(\"/\", read-only)")
}

/// Makes one path read-only by a bind on itself. A path that is not there needs no protection.
pub fn make_readonly(root: BorrowedFd<'_>, path: &Path) -> Result<(), Fault> {
    let target = match path::open(root, path, OFlags::PATH) {
        Err(errno) if absent(errno) => return Ok(()),
        other => other.call(|| format!("openat2(rootfs, {path:?})"))?,
    };
    let tree = clone_mounts(target.as_fd()).call(|| format!("open_tree({path:?})"))?;
    let attr = Attr { set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), ..Attr::default() };
    mount_setattr(tree.as_fd(), HERE, true, attr).call(|| format!("mount_setattr({path:?}, read-only)"))?;
    move_onto(tree.as_fd(), target.as_fd()).call(|| format!("move_mount({path:?})"))
}

fn absent(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::NOTDIR)
}

/// What covers masked paths: an empty read-only tmpfs for directories, one for all of them, and
/// /dev/null for the rest.
#[derive(Default)]
pub struct Covers {
    /// The null device of the host.
    null: Option<Cover>,
    /// The tmpfs.
    directory: Option<Cover>,
    /// Of the tmpfs: one of SELinux's words, and a label.
    label: Option<(String, String)>,
}

/// A tree that lies somewhere already is cloned for the next place.
struct Cover {
    tree: OwnedFd,
    attached: bool,
}

impl Covers {
    /// Takes the host's null device while the host's tree is in reach. The container's is no such
    /// thing: an image may have put anything there, and a bind of it would show that in place of
    /// the masked file (CVE-2025-31133).
    pub fn open(label: Option<(String, String)>) -> Result<Self, Fault> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let null = rustix::mount::open_tree(CWD, "/dev/null", flags)
            .call(|| "open_tree(\"/dev/null\")")
            .map_err(|fault| fault.hint("masking files needs the null device of the host"))?;
        if !is_null(null.as_fd())? {
            return Err(Fault::new("/dev/null of the host is not the null device")
                .hint("make it again: mknod -m 666 /dev/null c 1 3"));
        }
        let null = Some(Cover { tree: null, attached: false });
        Ok(Self { null, directory: None, label })
    }

    /// Covers one path. One that is not there needs no cover.
    pub fn mask(&mut self, root: BorrowedFd<'_>, path: &Path) -> Result<(), Fault> {
        let target = match path::open(root, path, OFlags::PATH) {
            Err(errno) if absent(errno) => return Ok(()),
            other => other.call(|| format!("openat2(rootfs, {path:?})"))?,
        };
        let kind = FileType::from_raw_mode(fstat(&target).call(|| format!("fstat({path:?})"))?.st_mode);
        if kind.is_dir() && self.directory.is_none() {
            self.directory = Some(Cover { tree: empty_tmpfs(self.label.as_ref())?, attached: false });
        }
        let cover = if kind.is_dir() { &mut self.directory } else { &mut self.null };
        let cover = cover.as_mut().ok_or_else(|| Fault::new("the plan masks before it opens covers"))?;
        cover.put(target.as_fd()).call(|| format!("move_mount({path:?})"))
    }
}

impl Cover {
    fn put(&mut self, target: BorrowedFd<'_>) -> Result<(), Errno> {
        if self.attached {
            return move_onto(clone_mount(self.tree.as_fd())?.as_fd(), target);
        }
        move_onto(self.tree.as_fd(), target)?;
        self.attached = true;
        Ok(())
    }
}

fn clone_mount(of: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(of, "", flags)
}

/// With all that is mounted below it.
fn clone_mounts(of: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(of, "", flags)
}

fn empty_tmpfs(label: Option<&(String, String)>) -> Result<OwnedFd, Fault> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).call(|| "fsopen(\"tmpfs\")")?;
    let label = label.map(|(key, value)| (key.as_str(), value.as_str()));
    for (key, value) in [("nr_blocks", "1"), ("nr_inodes", "1")].into_iter().chain(label) {
        rustix::mount::fsconfig_set_string(&context, key, value)
            .call(|| format!("fsconfig({key}={value})"))?;
    }
    rustix::mount::fsconfig_create(&context).call(|| "fsconfig(create tmpfs)")?;
    let attr = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr).call(|| "fsmount(tmpfs)")
}

/// Whether this is character device 1:3.
pub(super) fn is_null(fd: BorrowedFd<'_>) -> Result<bool, Fault> {
    let stat = fstat(fd).call(|| "fstat(/dev/null)")?;
    Ok(FileType::from_raw_mode(stat.st_mode).is_char_device()
        && (major(stat.st_rdev), minor(stat.st_rdev)) == (1, 3))
}

/// Opens the image's directory by its path on the host.
pub fn open_image(image: &Path) -> Result<OwnedFd, Fault> {
    open_host(image, OFlags::PATH | OFlags::DIRECTORY).call(|| format!("open({image:?})")).map_err(|fault| {
        match fault.errno {
            Some(Errno::NOENT | Errno::NOTDIR) => {
                fault.hint("root.path must name a directory on the host, relative to the bundle")
            }
            _ => fault,
        }
    })
}
