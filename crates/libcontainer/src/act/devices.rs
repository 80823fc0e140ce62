// SPDX-License-Identifier: Apache-2.0
//! Device nodes and links of the container, made relative to a directory that is open.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, Stat, chownat, fstat, major, makedev, minor, mknodat, openat, statat,
    symlinkat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use super::mount::clone_tree;
use super::path::{Target, open_host, open_target, open_without_links};
use super::rootfs::move_onto;
use crate::error::{Call, Fault};
use crate::plan::step::{Device, DeviceKind};

/// The directory of the last node or link. The next one goes there too, as a rule.
#[derive(Default)]
pub struct Place(Option<(PathBuf, OwnedFd)>);

impl Place {
    /// The open directory of a path, and the name in it.
    fn of<'p>(&mut self, root: BorrowedFd<'_>, path: &'p Path) -> Result<(BorrowedFd<'_>, &'p OsStr), Fault> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Fault::new(format!("{path:?} names no file")));
        };
        let kept = self.0.take().filter(|(last, _)| last == parent);
        let place = match kept {
            Some(kept) => kept,
            None => (parent.to_owned(), open_target(root, parent, Target::Directory)?),
        };
        Ok((self.0.insert(place).1.as_fd(), name))
    }
}

/// Makes the node, or binds the host's: where the plan says so, and where mknod is refused to a
/// runtime that is itself in a container.
pub fn make(root: BorrowedFd<'_>, place: &mut Place, device: &Device) -> Result<(), Fault> {
    let path = &device.path;
    let (dir, name) = place.of(root, path)?;
    if device.bind {
        return bind(dir, name, device);
    }
    let (kind, number) = raw(device.kind);
    let mode = Mode::from_raw_mode(device.mode);
    match mknodat(dir, name, kind, mode, number) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).call(|| format!("stat({path:?})"))?;
            return if matches(&stat, device) { Ok(()) } else { Err(taken(device)) };
        }
        Err(Errno::PERM) if device.kind != DeviceKind::Fifo => return bind(dir, name, device),
        Err(errno) => {
            let fault = Fault::call(format!("mknodat({path:?})"), errno);
            return Err(match errno {
                Errno::ROFS => fault.hint("the image is read-only: mount a tmpfs on /dev"),
                _ => fault,
            });
        }
    }
    if (device.uid, device.gid) != (0, 0) {
        // Somebody who shares the directory may have put a file of his choice in the node's place.
        let node =
            open_without_links(dir, Path::new(name), OFlags::PATH).call(|| format!("openat2({path:?})"))?;
        if !matches(&fstat(&node).call(|| format!("fstat({path:?})"))?, device) {
            return Err(taken(device));
        }
        let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
        chownat(&node, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
            .call(|| format!("fchownat({path:?}, {}, {})", device.uid, device.gid))?;
    }
    Ok(())
}

fn taken(device: &Device) -> Fault {
    Fault::call(format!("mknodat({:?})", device.path), Errno::EXIST)
        .hint("the image has something else there: mount a tmpfs on /dev, or take it out of the image")
}

fn raw(kind: DeviceKind) -> (FileType, u64) {
    match kind {
        DeviceKind::Character { major, minor } => (FileType::CharacterDevice, makedev(major, minor)),
        DeviceKind::Block { major, minor } => (FileType::BlockDevice, makedev(major, minor)),
        DeviceKind::Fifo => (FileType::Fifo, 0),
    }
}

/// Whether this is the node that was asked for: its kind, with its number.
fn matches(stat: &Stat, device: &Device) -> bool {
    let (kind, number) = raw(device.kind);
    let same_kind = FileType::from_raw_mode(stat.st_mode) == kind;
    same_kind && (kind == FileType::Fifo || stat.st_rdev == number)
}

/// The host's node on an empty file. It must be the device that was asked for: the host's path is
/// trusted, but it may have another meaning than in the bundle.
fn bind(dir: BorrowedFd<'_>, name: &OsStr, device: &Device) -> Result<(), Fault> {
    let path = &device.path;
    let source = open_host(path, OFlags::PATH | OFlags::NOFOLLOW)
        .call(|| format!("open({path:?}) on the host"))
        .map_err(|fault| {
            fault.hint("devices cannot be made here, so the host's node is bound; it must exist")
        })?;
    let stat = fstat(&source).call(|| format!("fstat({path:?})"))?;
    if !matches(&stat, device) {
        return Err(Fault::new(format!(
            "{} of the host is {}:{}, not {}",
            path.display(),
            major(stat.st_rdev),
            minor(stat.st_rdev),
            device.kind
        )));
    }
    let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    match openat(dir, name, flags | OFlags::EXCL, Mode::from_raw_mode(0o666)) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(Fault::call(format!("making {path:?}"), errno)),
    }
    let target =
        open_without_links(dir, Path::new(name), OFlags::PATH).call(|| format!("openat2({path:?})"))?;
    let tree = clone_tree(source.as_fd(), false, path)?;
    move_onto(tree.as_fd(), target.as_fd()).call(|| format!("move_mount({path:?})"))
}

/// A link at an absolute path of the container. What stands there stays, unless it is another link
/// where ours is needed: /dev/ptmx must lead to the container's own devpts.
pub fn link(root: BorrowedFd<'_>, place: &mut Place, path: &str, target: &str) -> Result<(), Fault> {
    let (dir, name) = place.of(root, Path::new(path))?;
    match symlinkat(target, dir, name) {
        Err(Errno::EXIST) if path == "/dev/ptmx" => {
            let is_link = rustix::fs::readlinkat(dir, name, Vec::new());
            if is_link.is_ok_and(|link| link.as_bytes() == target.as_bytes()) {
                return Ok(());
            }
            unlinkat(dir, name, AtFlags::empty()).call(|| format!("unlinkat({path:?})"))?;
            symlinkat(target, dir, name).call(|| format!("symlinkat({path:?})"))
        }
        Err(Errno::EXIST) => Ok(()),
        other => other.call(|| format!("symlinkat({path:?})")),
    }
}
