// SPDX-License-Identifier: Apache-2.0
//! The pid file that engines read.
#![expect(clippy::disallowed_methods, reason = "the caller's file")]

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, rename, unlink};
use rustix::io::Errno;

use crate::error::{Call, Fault};

/// Writes a pid file: digits and nothing else, whole or not at all. A file without a name gets it
/// when it is complete, so that a runtime that is killed leaves no half of it; where that is not to
/// be had, a draft beside it is renamed.
pub fn write(path: &Path, pid: i32) -> Result<(), Fault> {
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let says = || format!("writing the pid file {path:?}");
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(dir, flags, Mode::from_raw_mode(0o644)) {
        Ok(file) => file,
        Err(Errno::OPNOTSUPP | Errno::ISDIR) => {
            let draft = path.with_extension(format!("soute-{}", std::process::id()));
            return write_draft(&draft, pid).and_then(|()| rename(&draft, path)).call(says);
        }
        Err(Errno::NOENT) => {
            return Err(Fault::call(says(), Errno::NOENT).hint("its directory must exist beforehand"));
        }
        Err(errno) => return Err(Fault::call(says(), errno)),
    };
    rustix::io::write(&file, pid.to_string().as_bytes()).call(says)?;
    let link = || {
        let name = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
        rustix::fs::linkat(CWD, name, CWD, path, rustix::fs::AtFlags::SYMLINK_FOLLOW)
    };
    match link() {
        Err(Errno::EXIST) => {
            fs::remove_file(path).call(says)?;
            link().call(says)
        }
        other => other.call(says),
    }
}

/// The directory may be somebody else's, and the name can be guessed: no link of theirs is followed.
fn write_draft(draft: &Path, pid: i32) -> Result<(), Errno> {
    let _ = unlink(draft);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = rustix::fs::open(draft, flags, Mode::from_raw_mode(0o644))?;
    rustix::io::write(&file, pid.to_string().as_bytes()).map(drop)
}

/// Takes it back. It may be gone.
pub fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_files_hold_digits_only_and_replace_what_was_there() {
        let path = std::env::temp_dir().join(format!("soute-pid-{}", std::process::id()));
        for pid in [1, 4194304] {
            write(&path, pid).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), pid.to_string());
        }
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_draft_goes_through_no_link() {
        let dir = std::env::temp_dir().join(format!("soute-draft-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (target, draft) = (dir.join("target"), dir.join("draft"));
        fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &draft).unwrap();
        write_draft(&draft, 7).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert_eq!((fs::read_to_string(&draft).unwrap().as_str(), draft.is_symlink()), ("7", false));
        fs::remove_dir_all(dir).unwrap();
    }
}
