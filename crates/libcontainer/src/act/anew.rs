// SPDX-License-Identifier: Apache-2.0
//! Files in directories that may be somebody else's, under names that can be guessed.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

/// Writes a file that is new: what had its name goes, and no link of anybody's is followed.
pub fn write(dir: impl AsFd, name: &Path, bytes: &[u8]) -> std::io::Result<()> {
    // If it cannot go, open says so.
    let _ = unlinkat(&dir, name, AtFlags::empty());
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(&dir, name, flags, Mode::from_raw_mode(0o644))?;
    File::from(file).write_all(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn a_draft_goes_through_no_link() {
        let dir = std::env::temp_dir().join(format!("soute-draft-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let (target, draft) = (dir.join("target"), dir.join("draft"));
        fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &draft).unwrap();
        write(CWD, &draft, b"7").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "theirs");
        assert_eq!((fs::read_to_string(&draft).unwrap().as_str(), draft.is_symlink()), ("7", false));
        fs::remove_dir_all(dir).unwrap();
    }
}
