// SPDX-License-Identifier: Apache-2.0
//! Kernel files: small, read whole, written by one call a line.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{FileType, Mode, OFlags, RawDir, fstat, openat};
use rustix::io::{Errno, Result, read as read_fd, retry_on_intr, write as write_fd};

/// Opens a group's directory, to work below it.
pub fn open_dir(dir: impl AsFd, path: &str) -> Result<OwnedFd> {
    openat(dir, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a control file for writing.
pub fn open_for_writing(dir: impl AsFd, name: &str) -> Result<OwnedFd> {
    openat(dir, name, OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// The whole text of a control file.
pub fn read(dir: impl AsFd, name: &str) -> Result<String> {
    let fd = openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut text, mut buffer) = (Vec::new(), [0u8; 4096]);
    loop {
        let n = retry_on_intr(|| read_fd(&fd, &mut buffer))?;
        if n == 0 {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
        text.extend_from_slice(&buffer[..n]);
    }
}

/// Writes one line to an open control file.
pub fn put(fd: impl AsFd, value: &str) -> Result<()> {
    match retry_on_intr(|| write_fd(&fd, value.as_bytes()))? {
        n if n == value.len() => Ok(()),
        _ => Err(Errno::IO),
    }
}

/// Opens a control file and writes one line to it.
pub fn write(dir: impl AsFd, name: &str, value: &str) -> Result<()> {
    put(open_for_writing(dir, name)?, value)
}

/// The number that tells this directory from any other of the same path, before or after.
pub fn inode(dir: impl AsFd) -> Result<u64> {
    Ok(fstat(dir)?.st_ino)
}

/// The names of the directories in a group: its child groups.
pub fn children(dir: impl AsFd) -> Result<Vec<CString>> {
    let dir = openat(dir, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = Vec::with_capacity(8192);
    let mut entries = RawDir::new(dir, buffer.spare_capacity_mut());
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type() == FileType::Directory && !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}

/// Opens a child group.
pub fn open_child(dir: impl AsFd, name: &CString) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, OsStr::from_bytes(name.to_bytes()), flags, Mode::empty())
}

/// Whether a file of "key value" lines says `key value`.
pub fn says(text: &str, key: &str, value: &str) -> bool {
    text.lines().filter_map(|line| line.split_once(' ')).any(|(k, v)| k == key && v == value)
}
