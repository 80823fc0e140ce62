// SPDX-License-Identifier: Apache-2.0
//! A new instance of a filesystem: fsopen, fsconfig, fsmount (fsopen(2)).

use std::borrow::Cow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, XattrFlags, fsetxattr, fstat};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, FsPickFlags, MountAttrFlags};

use super::{ATIME, CgroupDir, attach, change, copyup, open_tree, place};
use crate::act::path::{self, Target, open_host, open_target};
use crate::error::{Call, Fault};
use crate::plan::mounts::{Flags, Instead, Links, Mount, What};

const RDONLY: u64 = MountAttrFlags::MOUNT_ATTR_RDONLY.bits() as u64;

/// Makes a new filesystem and attaches it. `groups` are the container's own, by hierarchy.
pub fn filesystem(root: BorrowedFd<'_>, mount: &Mount, groups: &[CgroupDir]) -> Result<(), Fault> {
    let What::Filesystem { fstype, source, flags, values, copy_up, instead } = &mount.what else {
        return Err(Fault::new("not a filesystem"));
    };
    // An image may hold a link in place of /proc or /sys, to have what follows look elsewhere.
    let target = match fstype.as_str() {
        "proc" | "sysfs" => without_links(root, &mount.target)?,
        _ => place(root, mount, Target::Directory)?,
    };
    let mut values = Cow::Borrowed(values.as_slice());
    if fstype == "tmpfs" && !*copy_up && !values.iter().any(|(key, _)| key == "mode") {
        // Without a mode it is as open as the directory that it covers, not as /tmp.
        let mode = fstat(&target).call(|| format!("fstat({:?})", mount.target))?.st_mode & 0o7777;
        values.to_mut().push(("mode".to_owned(), format!("{mode:o}")));
    }
    // The kernel's own mount of an ipc namespace's queues has no label, and they share a superblock.
    let mut label = None;
    if fstype == "mqueue" {
        label = values.iter().position(|(key, _)| key == "context").map(|n| values.to_mut().remove(n).1);
    }
    let tree = match new_filesystem(fstype, source, flags, &values, fresh(mount.attr, *copy_up)) {
        Err(fault) if matches!(fault.errno, Some(Errno::PERM | Errno::BUSY)) => {
            return stand_in(*instead, mount, groups, target.as_fd(), fault);
        }
        other => other?,
    };
    if *copy_up {
        copyup::copy(target.as_fd(), tree.as_fd(), &values)?;
        change(tree.as_fd(), Flags { set: mount.attr.set & RDONLY, clear: 0 }, Flags::default(), &[])?;
    }
    if let Some(label) = label {
        set_label(tree.as_fd(), &label)?;
    }
    change(tree.as_fd(), Flags::default(), mount.recursive, &[])?;
    attach(tree.as_fd(), target.as_fd(), &mount.target)?;
    change(tree.as_fd(), Flags::default(), Flags::default(), &mount.propagation)
}

/// What is to be filled first becomes read-only afterwards.
fn fresh(attr: Flags, copy_up: bool) -> Flags {
    if copy_up { Flags { set: attr.set & !RDONLY, ..attr } } else { attr }
}

/// What a runtime within a container can show where it may not mount anew: the kernel refuses that
/// where a part of the present mount is covered (mount_namespaces(7), restrictions).
fn stand_in(
    instead: Option<Instead>,
    mount: &Mount,
    groups: &[CgroupDir],
    target: BorrowedFd<'_>,
    fault: Fault,
) -> Result<(), Fault> {
    let path = match (instead, groups) {
        (Some(Instead::Tree(path)), _) => Path::new(path),
        (Some(Instead::OwnGroup), [.., own]) => own.group.as_path(),
        _ => {
            return Err(fault.hint(
                "the kernel refuses it where a part of the present one is covered: within a container, \
                 let the outer one mask nothing, or share its namespace",
            ));
        }
    };
    let Ok(tree) = open_tree(path, true, Links::Followed) else {
        return Err(
            fault.hint(format!("{}, which could be bound in its place, is not there", path.display()))
        );
    };
    tracing::warn!("{}: {fault}; {} is bound in its place", mount.target.display(), path.display());
    // Down to the last mount: what was asked to be read-only must not be writable below.
    let all = Flags {
        set: mount.attr.set | mount.recursive.set,
        clear: mount.recursive.clear | mount.attr.clear & ATIME,
    };
    change(tree.as_fd(), Flags::default(), all, &mount.propagation)?;
    attach(tree.as_fd(), target, &mount.target)
}

fn set_label(tree: BorrowedFd<'_>, label: &str) -> Result<(), Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(tree, ".", flags, Mode::empty()).call(|| "openat(mqueue)")?;
    fsetxattr(&dir, "security.selinux", label.as_bytes(), XattrFlags::empty())
        .call(|| format!("fsetxattr(security.selinux={label})"))
}

/// Changes the mount at a place: its superblock where there are words for that, then its own flags.
pub fn remount(
    root: BorrowedFd<'_>,
    mount: &Mount,
    flags: &[String],
    values: &[(String, String)],
) -> Result<(), Fault> {
    let path = &mount.target;
    let target = path::open(root, path, OFlags::PATH).call(|| format!("openat2(rootfs, {path:?})"))?;
    let no_mount = |fault: Fault| match fault.errno {
        Some(Errno::INVAL) => fault.hint("only what is mounted can be changed: is this a mount's root?"),
        _ => fault,
    };
    if !flags.is_empty() || !values.is_empty() {
        let how = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
        let context =
            rustix::mount::fspick(&target, "", how).call(|| format!("fspick({path:?})")).map_err(no_mount)?;
        configure(context.as_fd(), flags, values)?;
        rustix::mount::fsconfig_reconfigure(&context)
            .call(|| format!("fsconfig(reconfigure {path:?})"))
            .map_err(|fault| explain(context.as_fd(), fault))?;
    }
    change(target.as_fd(), mount.attr, mount.recursive, &mount.propagation).map_err(no_mount)
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
pub(super) fn new_filesystem(
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
    // Kernel filesystems refuse to be told a source that they do not have.
    rustix::mount::fsconfig_set_string(&context, "source", source)
        .call(|| format!("fsconfig(source={source:?})"))
        .map_err(|fault| explain(context.as_fd(), fault))?;
    configure(context.as_fd(), flags, values)?;
    rustix::mount::fsconfig_create(&context)
        .call(|| format!("fsconfig(create {fstype})"))
        .map_err(|fault| explain(context.as_fd(), fault))?;
    let attr = MountAttrFlags::from_bits_retain(attr.set as u32);
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attr)
        .call(|| format!("fsmount({fstype})"))
        .map_err(|fault| explain(context.as_fd(), fault))
}

/// Gives the words to the context, in their order.
fn configure(context: BorrowedFd<'_>, flags: &[String], values: &[(String, String)]) -> Result<(), Fault> {
    for flag in flags {
        rustix::mount::fsconfig_set_flag(context, flag.as_str())
            .call(|| format!("fsconfig({flag})"))
            .map_err(|fault| explain(context, fault))?;
    }
    for (key, value) in values {
        let set = match value.len() > LONGEST {
            true => set_by_descriptor(context, key, value),
            false => rustix::mount::fsconfig_set_string(context, key.as_str(), value.as_str())
                .call(|| format!("fsconfig({key}={value})")),
        };
        set.map_err(|fault| explain(context, fault))?;
    }
    Ok(())
}

/// The longest value that fsconfig takes.
const LONGEST: usize = 255;

/// A path that is too long for a value; overlay takes a descriptor as well (Linux 6.13).
fn set_by_descriptor(context: BorrowedFd<'_>, key: &str, value: &str) -> Result<(), Fault> {
    if !matches!(key, "lowerdir+" | "datadir+" | "upperdir" | "workdir") {
        let says = format!("{key}: a value of {} bytes; the kernel takes {LONGEST} at most", value.len());
        return Err(Fault::new(says));
    }
    let dir =
        open_host(Path::new(value), OFlags::PATH | OFlags::DIRECTORY).call(|| format!("open({value:?})"))?;
    rustix::mount::fsconfig_set_fd(context, key, dir.as_fd())
        .call(|| format!("fsconfig({key}, a descriptor of {value})"))
        .map_err(|fault| fault.hint(format!("before Linux 6.13 the path has at most {LONGEST} bytes")))
}

/// The context keeps the kernel's messages on what it did not like (fsopen(2)).
fn explain(context: BorrowedFd<'_>, fault: Fault) -> Fault {
    let mut all = String::new();
    let mut text = [0; 512];
    while let Ok(n @ 3..) = rustix::io::read(context, &mut text) {
        // An error; the others are warnings and notes.
        if text[0] == b'e' {
            all.push_str(if all.is_empty() { "" } else { "; " });
            all.push_str(String::from_utf8_lossy(&text[2..n]).trim());
        }
    }
    if all.is_empty() { fault } else { fault.hint(format!("the kernel says: {all}")) }
}
