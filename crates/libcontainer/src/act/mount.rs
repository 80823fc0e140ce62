// SPDX-License-Identifier: Apache-2.0
//! One mount of the container: made or cloned detached, given its flags, then attached on a
//! descriptor. No moment shows it without its flags, and no path is resolved twice.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, statat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags};

use super::path::{self, Target, open_target};
use super::rootfs::move_onto;
use crate::error::{Call, Fault};
use crate::plan::mounts::{Flags, Mount, What};
use crate::plan::propagation::Propagation;
use crate::sys::mount::{Attr, mount_setattr};

/// A group of the container in one hierarchy, for a mount of type cgroup on a v1 host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupDir {
    /// Directory below /sys/fs/cgroup: `memory`, `cpu,cpuacct`, `unified`.
    pub name: String,
    /// The container's group on the host.
    pub group: std::path::PathBuf,
    /// fsopen data for a mount of the hierarchy itself; empty for the v2 tree.
    pub options: Vec<String>,
    /// Names that link here: `cpu` -> `cpu,cpuacct`.
    pub links: Vec<String>,
}

/// Makes a new filesystem and attaches it.
pub fn filesystem(root: BorrowedFd<'_>, mount: &Mount) -> Result<(), Fault> {
    let What::Filesystem { fstype, source, flags, values } = &mount.what else {
        return Err(Fault::new("not a filesystem"));
    };
    // An image may hold a link in place of /proc or /sys, to have what follows look elsewhere.
    let target = match fstype.as_str() {
        "proc" | "sysfs" => without_links(root, &mount.target)?,
        _ => open_target(root, &mount.target, Target::Directory)?,
    };
    let mut values = std::borrow::Cow::Borrowed(values.as_slice());
    if fstype == "tmpfs" && !values.iter().any(|(key, _)| key == "mode") {
        // Without a mode it is as open as the directory that it covers, not as /tmp.
        let mode = fstat(&target).call(|| format!("fstat({:?})", mount.target))?.st_mode & 0o7777;
        values.to_mut().push(("mode".to_owned(), format!("{mode:o}")));
    }
    let tree = new_filesystem(fstype, source, flags, &values, mount.attr)?;
    change(tree.as_fd(), Flags::default(), mount.recursive, &[])?;
    attach(tree.as_fd(), target.as_fd(), &mount.target)?;
    change(tree.as_fd(), Flags::default(), Flags::default(), &mount.propagation)
}

fn without_links(root: BorrowedFd<'_>, target: &Path) -> Result<OwnedFd, Fault> {
    let open = || path::open_without_links(root, target, OFlags::PATH | OFlags::DIRECTORY);
    match open() {
        Err(Errno::NOENT) => {
            open_target(root, target, Target::Directory)?;
            open()
        }
        other => other,
    }
    .call(|| format!("mountpoint {target:?} in the rootfs"))
    .map_err(|fault| match fault.errno {
        Some(Errno::LOOP) => fault.hint("the image has a symbolic link there: it must be a directory"),
        Some(Errno::NOTDIR) => fault.hint("the image has something else there: it must be a directory"),
        _ => fault,
    })
}

/// fsopen, fsconfig, fsmount: a detached filesystem with its flags. The kernel's own message goes
/// into the fault.
fn new_filesystem(
    fstype: &str,
    source: &str,
    flags: &[String],
    values: &[(String, String)],
    attr: Flags,
) -> Result<OwnedFd, Fault> {
    let context = rustix::mount::fsopen(fstype, FsOpenFlags::FSOPEN_CLOEXEC)
        .call(|| format!("fsopen({fstype:?})"))
        .map_err(|fault| match fault.errno {
            Some(Errno::NODEV) => fault.hint("this kernel has no such filesystem"),
            _ => fault,
        })?;
    let tell = |fault: Fault| explain(context.as_fd(), fault);
    // Kernel filesystems refuse to be told a source that they do not have.
    rustix::mount::fsconfig_set_string(&context, "source", source)
        .call(|| format!("fsconfig(source={source:?})"))
        .map_err(tell)?;
    for flag in flags {
        rustix::mount::fsconfig_set_flag(&context, flag.as_str())
            .call(|| format!("fsconfig({flag})"))
            .map_err(tell)?;
    }
    for (key, value) in values {
        set_value(context.as_fd(), key, value).call(|| format!("fsconfig({key}={value})")).map_err(tell)?;
    }
    rustix::mount::fsconfig_create(&context).call(|| format!("fsconfig(create {fstype})")).map_err(tell)?;
    let attr = MountAttrFlags::from_bits_retain(attr.set as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr)
        .call(|| format!("fsmount({fstype})"))
        .map_err(tell)
}

/// fsconfig takes values of at most 255 bytes; the layers of an overlay can be given one by one.
fn set_value(context: BorrowedFd<'_>, key: &str, value: &str) -> Result<(), Errno> {
    if key == "lowerdir" && value.len() > 255 {
        return value
            .split(':')
            .try_for_each(|layer| rustix::mount::fsconfig_set_string(context, "lowerdir+", layer));
    }
    rustix::mount::fsconfig_set_string(context, key, value)
}

/// The context keeps the kernel's message on what it did not like (fsopen(2)).
fn explain(context: BorrowedFd<'_>, fault: Fault) -> Fault {
    let mut text = [0; 512];
    match rustix::io::read(context, &mut text) {
        Ok(n) if n > 2 => {
            let message = String::from_utf8_lossy(&text[2..n]).trim().to_owned();
            fault.hint(format!("the kernel says: {message}"))
        }
        _ => fault,
    }
}

/// Clones the tree below `source` in this mount namespace: recursive or the one mount.
pub fn clone_tree(source: BorrowedFd<'_>, recursive: bool, path: &Path) -> Result<OwnedFd, Fault> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(source, "", flags)
        .call(|| format!("open_tree({path:?})"))
        .map_err(|f| hints(f, recursive))
}

/// Opens a source on the host as a detached tree: the parent's part, before clone3.
pub fn open_tree(path: &Path, recursive: bool) -> Result<OwnedFd, Fault> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, recursive);
    rustix::mount::open_tree(CWD, path, flags)
        .call(|| format!("open_tree({path:?})"))
        .map_err(|f| hints(f, recursive))
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
    let target = if kind.is_dir() { Target::Directory } else { Target::File };
    let target = open_target(root, &mount.target, target)?;
    change(tree.as_fd(), mount.attr, mount.recursive, &mount.propagation)?;
    attach(tree.as_fd(), target.as_fd(), &mount.target)
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

/// The tree of a v1 host: a tmpfs, and in it each hierarchy, showing the container's own group:
/// by a bind of it, or, where a new cgroup namespace makes it the root, by a mount of the hierarchy.
pub fn cgroup_tree(
    root: BorrowedFd<'_>,
    mount: &Mount,
    dirs: &[CgroupDir],
    namespaced: bool,
) -> Result<(), Fault> {
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
        let tree = match namespaced {
            true if dir.options.is_empty() => new_filesystem("cgroup2", "cgroup", &[], &[], mount.attr)?,
            true => hierarchy(dir, mount.attr)?,
            false => {
                let tree = open_tree(&dir.group, false)?;
                change(tree.as_fd(), mount.attr, mount.recursive, &[])?;
                tree
            }
        };
        attach(tree.as_fd(), place.as_fd(), Path::new(&at()))?;
        for link in &dir.links {
            if statat(&tmpfs, link, AtFlags::SYMLINK_NOFOLLOW).is_err_and(|e| e == Errno::NOENT) {
                symlinkat(&dir.name, &tmpfs, link).call(|| format!("symlinkat({link:?})"))?;
            }
        }
    }
    change(tmpfs.as_fd(), Flags { set: mount.attr.set, clear: 0 }, Flags::default(), &mount.propagation)
}

/// A v1 hierarchy by its controllers or its name: `memory`, `name=systemd`.
fn hierarchy(dir: &CgroupDir, attr: Flags) -> Result<OwnedFd, Fault> {
    let mut flags = Vec::new();
    let mut values = Vec::new();
    for option in &dir.options {
        match option.split_once('=') {
            Some((key, value)) => values.push((key.to_owned(), value.to_owned())),
            None => flags.push(option.clone()),
        }
    }
    new_filesystem("cgroup", "cgroup", &flags, &values, attr)
}
