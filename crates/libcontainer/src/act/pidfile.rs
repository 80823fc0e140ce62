// SPDX-License-Identifier: Apache-2.0
//! The pid file that engines read.
#![expect(clippy::disallowed_methods, reason = "the caller's file")]

use std::fs;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, rename};
use rustix::io::Errno;

use super::anew;
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
            anew::write(CWD, &draft, pid.to_string().as_bytes()).call(says)?;
            return rename(&draft, path).call(says);
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
}
