// SPDX-License-Identifier: Apache-2.0
//! Container paths, by descriptor only: resolved below the container's root, whatever symbolic
//! links the image or a process inside puts in the way (openat2(2), RESOLVE_IN_ROOT).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat2, readlinkat, statat,
};
use rustix::io::Errno;

use crate::error::{Call, Fault};

/// Symbolic links that are followed before a path counts as a loop, as the kernel's own bound.
const MAX_LINKS: usize = 40;
/// openat2 answers EAGAIN when something was renamed meanwhile; a racer must not keep us for ever.
const MAX_RACES: usize = 128;

/// Opens `path` below `root`; `..` and links of the container never lead out of it, and the links
/// of /proc that stand for open files are not followed at all.
pub fn open(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    resolve(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

/// As [`open`], and no component may be a symbolic link.
pub fn open_without_links(root: BorrowedFd<'_>, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    resolve(root, path, flags, ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS)
}

fn resolve(
    root: BorrowedFd<'_>,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    for _ in 0..MAX_RACES {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// What a mount needs to stand on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A directory.
    Directory,
    /// Anything but a directory.
    File,
}

/// Opens the place of a mount, and makes what is missing of it: directories of mode 0755, and a
/// file of mode 0644 at its end for a file.
pub fn open_target(root: BorrowedFd<'_>, path: &Path, target: Target) -> Result<OwnedFd, Fault> {
    let fd = match open(root, path, OFlags::PATH) {
        Ok(fd) => fd,
        Err(Errno::NOENT) => make(root, path, target)?,
        Err(errno) => return Err(Fault::call(format!("openat2(rootfs, {path:?})"), errno)),
    };
    agree(&fd, path, target)?;
    Ok(fd)
}

/// A mount and its place are both directories, or neither is.
fn agree(fd: &OwnedFd, path: &Path, target: Target) -> Result<(), Fault> {
    let is_directory =
        FileType::from_raw_mode(fstat(fd).call(|| format!("fstat({path:?})"))?.st_mode).is_dir();
    match (target, is_directory) {
        (Target::Directory, true) | (Target::File, false) => Ok(()),
        (Target::Directory, false) => {
            Err(Fault::call(format!("mountpoint {path:?} in the rootfs"), Errno::NOTDIR)
                .hint("the source is a directory, so the mountpoint must be one too"))
        }
        (Target::File, true) => Err(Fault::call(format!("mountpoint {path:?} in the rootfs"), Errno::ISDIR)
            .hint("the source is a file, so the mountpoint must be one too")),
    }
}

/// As [`open_target`], but a symbolic link at the path's end is the place itself.
pub fn open_target_itself(root: BorrowedFd<'_>, path: &Path, target: Target) -> Result<OwnedFd, Fault> {
    let says = || format!("openat2(rootfs, {path:?})");
    let flags = OFlags::PATH | OFlags::NOFOLLOW;
    let fd = match open(root, path, flags) {
        Err(Errno::NOENT) => {
            let (dir, name) = open_parent(root, path)?;
            create(dir.as_fd(), &name, target == Target::File).call(|| format!("making {path:?}"))?;
            rustix::fs::openat(&dir, &name, flags | OFlags::CLOEXEC, Mode::empty()).call(says)?
        }
        other => other.call(says)?,
    };
    agree(&fd, path, target)?;
    Ok(fd)
}

/// Walks component by component, keeping the directories that were passed, so that `..` goes back
/// by descriptor; makes what is missing. Links are followed below the root, dangling ones too: what
/// they name is made inside.
fn make(root: BorrowedFd<'_>, path: &Path, target: Target) -> Result<OwnedFd, Fault> {
    let mut todo: VecDeque<OsString> = components(path);
    let mut passed: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            passed.pop();
            continue;
        }
        let here = passed.last().map_or(root, |fd| fd.as_fd());
        let last = todo.is_empty();
        let said = || format!("{:?} of the mountpoint {path:?}", name.to_string_lossy());
        let entry = match statat(here, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => {
                create(here, &name, last && target == Target::File).map_err(|errno| {
                    let fault = Fault::call(format!("making {}", said()), errno);
                    match errno {
                        Errno::ROFS => fault.hint(
                            "the image is read-only and lacks the mountpoint: make it in the image beforehand",
                        ),
                        Errno::ACCESS => fault.hint(
                            "the root filesystem lacks the mountpoint, and its directory is not this user's: make it beforehand",
                        ),
                        _ => fault,
                    }
                })?;
                statat(here, &name, AtFlags::SYMLINK_NOFOLLOW)
            }
            other => other,
        }
        .call(|| format!("stat of {}", said()))?;
        if FileType::from_raw_mode(entry.st_mode).is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(Fault::call(said(), Errno::LOOP));
            }
            let link = readlinkat(here, &name, Vec::new()).call(|| format!("readlink of {}", said()))?;
            let link = PathBuf::from(OsString::from_vec(link.into_bytes()));
            if link.is_absolute() {
                passed.clear();
            }
            let mut next = components(&link);
            next.append(&mut todo);
            todo = next;
            continue;
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        passed
            .push(open_without_links(here, Path::new(&name), flags).call(|| format!("opening {}", said()))?);
    }
    match passed.pop() {
        Some(fd) => Ok(fd),
        None => open(root, Path::new("."), OFlags::PATH).call(|| "openat2(rootfs)"),
    }
}

fn create(dir: BorrowedFd<'_>, name: &OsString, file: bool) -> Result<(), Errno> {
    let made = match file {
        true => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(0o644)).map(drop)
        }
        false => mkdirat(dir, name, Mode::from_raw_mode(0o755)),
    };
    // Somebody else was first; what stands there is looked at next.
    if made == Err(Errno::EXIST) { Ok(()) } else { made }
}

fn components(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect()
}

/// Opens the directory that a container path stands in (made if missing), and tells its last name.
pub fn open_parent(root: BorrowedFd<'_>, path: &Path) -> Result<(OwnedFd, OsString), Fault> {
    let Some(name) = path.file_name() else {
        return Err(Fault::new(format!("{path:?} names no file")));
    };
    let parent = path.parent().unwrap_or(Path::new("/"));
    Ok((open_target(root, parent, Target::Directory)?, name.to_owned()))
}

/// Opens a path of the host; the last component may be a link.
pub fn open_host(path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn root() -> (PathBuf, OwnedFd) {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("soute-path-{}-{n}", std::process::id()));
        fs::create_dir_all(dir.join("root")).unwrap();
        let fd = open_host(&dir.join("root"), OFlags::PATH | OFlags::DIRECTORY).unwrap();
        (dir, fd)
    }

    #[test]
    fn missing_parts_are_made_inside_whatever_links_say() {
        let (dir, fd) = root();
        symlink("/absent/deep", dir.join("root/link")).unwrap();
        symlink("../../../..", dir.join("root/up")).unwrap();
        for (path, made) in [
            ("/a/b/c", "a/b/c"),
            ("/link/x", "absent/deep/x"),
            ("/up/y", "y"),
            ("/../../z", "z"),
            ("/a/../../q", "q"),
        ] {
            open_target(fd.as_fd(), Path::new(path), Target::Directory).unwrap();
            assert!(dir.join("root").join(made).is_dir(), "{path}");
        }
        open_target(fd.as_fd(), Path::new("/f/file"), Target::File).unwrap();
        assert!(dir.join("root/f/file").is_file());
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing beside the root");
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn kinds_must_agree_and_loops_end() {
        let (dir, fd) = root();
        fs::write(dir.join("root/file"), "").unwrap();
        symlink("loop/x", dir.join("root/loop")).unwrap();
        let errno = |path: &str, target| open_target(fd.as_fd(), Path::new(path), target).unwrap_err().errno;
        assert_eq!(errno("/file", Target::Directory), Some(Errno::NOTDIR));
        assert_eq!(errno("/", Target::File), Some(Errno::ISDIR));
        assert_eq!(errno("/loop", Target::Directory), Some(Errno::LOOP));
        fs::remove_dir_all(dir).unwrap();
    }
}
