// SPDX-License-Identifier: Apache-2.0
//! `tmpcopyup`: a tmpfs begins with a copy of what the directory holds that it covers.
//!
//! The tree is the image's, so nothing in it is trusted, and it may change meanwhile: every entry
//! is opened relative to its directory and without following links, looked at by its descriptor,
//! and read only if that is a regular file. No other mount is entered. The copy goes into a tmpfs
//! that is attached nowhere yet, and whose own limits bound it.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, SeekFrom, Stat, Timespec, Timestamps, XattrFlags,
    chmodat, chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat, ftruncate, futimens, linkat,
    mkdirat, mknodat, openat2, readlinkat, seek, sendfile, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};

use crate::error::{Call, Fault};

/// Two descriptors stay open for each directory on the way down.
const DEEPEST: usize = 128;
/// As in Linux: no extended attribute is longer, nor is the list of their names.
const XATTR_MAX: usize = 65536;

/// Copies what `from` holds into the empty tmpfs `to`, which takes owner and mode of `from` too
/// where its own words do not say otherwise.
pub(super) fn copy(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    words: &[(String, String)],
) -> Result<(), Fault> {
    let root = Path::new("");
    let says = || told(root);
    let read = |dir| rustix::fs::openat(dir, ".", DIRECTORY, Mode::empty()).call(says);
    let (source, target) = (read(from)?, read(to)?);
    let stat = fstat(&source).call(says)?;
    let mut copier = Copier { top: target.as_fd(), links: HashMap::new() };
    copier.directory(&source, target.as_fd(), root, 0)?;
    let asked = |name: &str| words.iter().any(|(key, _)| key == name);
    let uid = (!asked("uid")).then(|| Uid::from_raw(stat.st_uid));
    let gid = (!asked("gid")).then(|| Gid::from_raw(stat.st_gid));
    fchown(&target, uid, gid).call(says)?;
    attributes(source.as_fd(), target.as_fd(), root)?;
    if !asked("mode") {
        fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777)).call(says)?;
    }
    futimens(&target, &times(&stat)).call(says)
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

struct Copier<'a> {
    /// The tmpfs.
    top: BorrowedFd<'a>,
    /// Files with several names, by device and inode: the first name of the copy.
    links: HashMap<(u64, u64), PathBuf>,
}

impl Copier<'_> {
    fn directory(
        &mut self,
        from: &OwnedFd,
        to: BorrowedFd<'_>,
        path: &Path,
        depth: usize,
    ) -> Result<(), Fault> {
        if depth > DEEPEST {
            return Err(Fault::new(format!("{}: directories nested more than {DEEPEST} deep", told(path)))
                .hint("take the word tmpcopyup out, or these directories out of the image"));
        }
        for entry in Dir::read_from(from).call(|| told(path))? {
            let entry = entry.call(|| told(path))?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                let path = path.join(std::ffi::OsStr::from_bytes(name.to_bytes()));
                self.entry(from.as_fd(), to, name, &path, depth)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
        depth: usize,
    ) -> Result<(), Fault> {
        let says = || told(path);
        let stat = match statat(from, name, AtFlags::SYMLINK_NOFOLLOW) {
            // Gone meanwhile.
            Err(Errno::NOENT) => return Ok(()),
            other => other.call(says)?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if !kind.is_dir() && stat.st_nlink > 1 {
            let first = (stat.st_dev as u64, stat.st_ino as u64);
            if let Some(there) = self.links.get(&first) {
                return match linkat(self.top, there, to, name, AtFlags::empty()) {
                    // The first was left out: so is this one.
                    Err(Errno::NOENT) => Ok(()),
                    other => other.call(says).map_err(full),
                };
            }
            self.links.insert(first, path.to_owned());
        }
        match kind {
            FileType::Directory => {
                let Some(source) = open(from, name, DIRECTORY, path)? else { return Ok(()) };
                let stat = fstat(&source).call(says)?;
                mkdirat(to, name, Mode::RWXU).call(says)?;
                let target = rustix::fs::openat(to, name, DIRECTORY, Mode::empty()).call(says)?;
                self.directory(&source, target.as_fd(), path, depth + 1)?;
                like(source.as_fd(), target.as_fd(), &stat, path)
            }
            FileType::RegularFile => {
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
                let Some(source) = open(from, name, flags, path)? else { return Ok(()) };
                let stat = fstat(&source).call(says)?;
                // It was a file a moment ago; what is there now is read only if it is one.
                if !FileType::from_raw_mode(stat.st_mode).is_file() {
                    return Err(Fault::new(format!("{}: it changes while it is copied", told(path))));
                }
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let target = rustix::fs::openat(to, name, flags, Mode::RUSR).call(says).map_err(full)?;
                contents(&source, &target, stat.st_size as u64, path)?;
                like(source.as_fd(), target.as_fd(), &stat, path)
            }
            FileType::Symlink => {
                let text = readlinkat(from, name, Vec::new()).call(says)?;
                symlinkat(&text, to, name).call(says).map_err(full)?;
                self.plain(to, name, &stat, path)
            }
            kind => {
                match mknodat(to, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev) {
                    // Where no node can be made none could be opened either.
                    Err(Errno::PERM) => return Ok(()),
                    other => other.call(says).map_err(full)?,
                }
                self.plain(to, name, &stat, path)?;
                let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                chmodat(to, name, mode, AtFlags::empty()).call(says)
            }
        }
    }

    /// Owner and times of what is not opened: a link, a fifo, a socket, a device.
    fn plain(&self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat, path: &Path) -> Result<(), Fault> {
        let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
        chownat(to, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW).call(|| told(path))?;
        utimensat(to, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW).call(|| told(path))
    }
}

/// Opens an entry of a directory; none if it is gone, or if another mount lies on it.
fn open(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags, path: &Path) -> Result<Option<OwnedFd>, Fault> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    match openat2(dir, name, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
        Err(Errno::NOENT | Errno::XDEV) => Ok(None),
        other => other.call(|| told(path)).map(Some),
    }
}

/// The data, and no more memory than the file has blocks: holes stay holes.
fn contents(from: &OwnedFd, to: &OwnedFd, size: u64, path: &Path) -> Result<(), Fault> {
    let says = || told(path);
    let mut at = 0;
    while at < size {
        let data = match seek(from, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            // A filesystem that cannot tell: all of it is data.
            Err(Errno::INVAL | Errno::OPNOTSUPP) => at,
            other => other.call(says)?,
        };
        let end = seek(from, SeekFrom::Hole(data)).unwrap_or(size).min(size);
        seek(to, SeekFrom::Start(data)).call(says)?;
        let mut next = data;
        while next < end {
            let most = usize::try_from(end - next).unwrap_or(usize::MAX).min(1 << 24);
            if sendfile(to, from, Some(&mut next), most).call(says).map_err(full)? == 0 {
                // Shorter than it was.
                return Ok(());
            }
        }
        at = end.max(data + 1);
    }
    ftruncate(to, size).call(says).map_err(full)
}

/// Owner first, since a change of owner takes set-id bits and file capabilities away.
fn like(from: BorrowedFd<'_>, to: BorrowedFd<'_>, stat: &Stat, path: &Path) -> Result<(), Fault> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    fchown(to, Some(uid), Some(gid)).call(|| told(path))?;
    attributes(from, to, path)?;
    fchmod(to, Mode::from_raw_mode(stat.st_mode & 0o7777)).call(|| told(path))?;
    futimens(to, &times(stat)).call(|| told(path))
}

/// Extended attributes, file capabilities and access lists among them. What a tmpfs cannot hold at
/// all it cannot lose.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>, path: &Path) -> Result<(), Fault> {
    let mut names = vec![0; XATTR_MAX];
    let length = match flistxattr(from, names.as_mut_slice()) {
        Ok(0) | Err(Errno::OPNOTSUPP) => return Ok(()),
        other => other.call(|| told(path))?,
    };
    let mut value = vec![0; XATTR_MAX];
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // The policy labels what is in a tmpfs.
        if name == b"security.selinux" {
            continue;
        }
        let name = CString::new(name).expect("split at zero bytes");
        let says = || format!("{}: attribute {name:?}", told(path));
        let size = match fgetxattr(from, &name, value.as_mut_slice()) {
            Err(Errno::NODATA) => continue,
            other => other.call(says)?,
        };
        match fsetxattr(to, &name, &value[..size], XattrFlags::empty()) {
            Err(Errno::OPNOTSUPP) => {}
            other => other.call(says).map_err(full)?,
        }
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    }
}

fn told(path: &Path) -> String {
    format!("copying {path:?} into the tmpfs")
}

fn full(fault: Fault) -> Fault {
    match fault.errno {
        Some(Errno::NOSPC) => {
            fault.hint("what it covers is larger: give the tmpfs a larger size= or nr_inodes=")
        }
        _ => fault,
    }
}
