// SPDX-License-Identifier: Apache-2.0
//! What a living container has from outside, found out by looking: CRIU must be told of it, or it
//! refuses the dump.
#![expect(clippy::disallowed_methods, reason = "procfs and sockets of the host")]

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, OFlags, StatxFlags, stat, statx};
use rustix::io::Errno;
use rustix::process::Pid;

use super::message::ExtMount;
use crate::act::{path, procfs};
use crate::error::{Call, Fault};
use crate::plan::external::External;

/// Documentation/admin-guide/devices.txt: /dev/tty and its like, and the pseudo-terminals.
const TERMINALS: [std::ops::RangeInclusive<u32>; 3] = [4..=5, 88..=88, 136..=143];

/// A process, and what is mounted where it lives.
#[derive(Debug)]
pub struct Inside {
    pid: Pid,
    /// Place by mount id.
    mounts: BTreeMap<u64, String>,
}

/// One of the first three descriptors of a container's process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// What a restore looks for: `pipe:[7]`, `file[1f:2a]`, or a path in the container.
    pub key: String,
    /// It is neither a pipe nor in the container's tree: only the dump's caller knows it.
    pub external: bool,
}

impl Inside {
    /// Looks at the mounts of a process.
    pub fn of(pid: Pid) -> Result<Self, Fault> {
        let path = format!("/proc/{}/mountinfo", pid.as_raw_nonzero());
        // Of a place that is no UTF-8, CRIU's protocol could not tell either.
        let text = fs::read(&path).call(|| format!("read({path:?})"))?;
        let mounts = String::from_utf8_lossy(&text);
        let mounts = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.parse().ok()?, unescape(words.nth(3)?)))
        });
        Ok(Self { pid, mounts: mounts.collect() })
    }

    /// Which mounts those are that the configuration tells: the place may be a link, and there may be
    /// no mount any more.
    pub fn external(&self, told: &[External]) -> Result<Vec<ExtMount>, Fault> {
        let root = procfs::root_of(procfs::host()?.as_fd(), self.pid)?;
        let mut found: Vec<ExtMount> = Vec::new();
        for mount in told {
            let place = &mount.place;
            let fd = match path::open(root.as_fd(), place, OFlags::PATH) {
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                other => other.call(|| format!("openat2(root of the container, {place:?})"))?,
            };
            let looked = statx(&fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID | StatxFlags::TYPE)
                .call(|| format!("statx({place:?})"))?;
            let kind = FileType::from_raw_mode(looked.stx_mode.into());
            let Some(key) = self.mounts.get(&looked.stx_mnt_id) else { continue };
            let is_new = !found.iter().any(|other| other.key == *key);
            if is_new && !(mount.is_cover() && kind.is_dir()) {
                found.push(ExtMount { key: key.clone(), val: mount.name.clone() });
            }
        }
        Ok(found)
    }

    /// Standard input, output and error.
    pub fn descriptors(&self) -> [Descriptor; 3] {
        [0, 1, 2].map(|number| self.descriptor(number))
    }

    fn descriptor(&self, number: u32) -> Descriptor {
        let dir = format!("/proc/{}", self.pid.as_raw_nonzero());
        let link = fs::read_link(format!("{dir}/fd/{number}")).unwrap_or_default();
        let key = link.to_string_lossy().into_owned();
        let info = fs::read_to_string(format!("{dir}/fdinfo/{number}")).unwrap_or_default();
        let field = |name: &str| {
            let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|value| value.trim().parse::<u64>().ok())
        };
        match (field("mnt_id"), field("ino")) {
            (Some(mount), Some(inode))
                if link.is_absolute()
                    && !self.mounts.contains_key(&mount)
                    && !is_terminal(&format!("{dir}/fd/{number}")) =>
            {
                Descriptor { key: format!("file[{mount:x}:{inode:x}]"), external: true }
            }
            _ => Descriptor { key, external: false },
        }
    }
}

/// CRIU has ways of its own with terminals from outside (`--shell-job`).
fn is_terminal(path: &str) -> bool {
    stat(path).is_ok_and(|found| {
        let major = rustix::fs::major(found.st_rdev);
        FileType::from_raw_mode(found.st_mode).is_char_device()
            && TERMINALS.iter().any(|all| all.contains(&major))
    })
}

/// Blanks and backslashes stand as `\040` in mountinfo (proc_pid_mountinfo(5)).
fn unescape(word: &str) -> String {
    let mut parts = word.split('\\');
    let mut plain = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                plain.extend(&part.as_bytes()[3..]);
            }
            None => plain.extend([b"\\", part.as_bytes()].concat()),
        }
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_mounts_are_read_as_they_are() {
        for (word, plain) in
            [("/a", "/a"), (r"/a\040b\134c", r"/a b\c"), (r"/x\9", r"/x\9"), (r"\303\244", "ä")]
        {
            assert_eq!(unescape(word), plain);
        }
    }

    #[test]
    fn a_file_from_elsewhere_is_told_by_its_numbers() {
        let mut me = Inside::of(rustix::process::getpid()).unwrap();
        me.mounts.clear();
        for descriptor in me.descriptors() {
            let file = descriptor.key.starts_with("file[");
            assert_eq!(descriptor.external, file, "{descriptor:?}");
        }
    }
}
