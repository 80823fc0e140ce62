// SPDX-License-Identifier: Apache-2.0
//! How mounts spread to other mount namespaces, and how container paths are written.

use std::fmt;
use std::path::{Path, PathBuf};

/// The propagation type of mounts (mount_namespaces(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// One of MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE.
    pub flag: u64,
    /// Of everything below too.
    pub recursive: bool,
}

impl fmt::Display for Propagation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.flag {
            libc::MS_SHARED => "shared",
            libc::MS_SLAVE => "slave",
            libc::MS_PRIVATE => "private",
            _ => "unbindable",
        };
        write!(f, "{}{name}", if self.recursive { "r" } else { "" })
    }
}

/// A container path, absolute and without `.` components or doubled slashes; `..` stays for the
/// kernel to resolve below the root.
pub(super) fn absolute(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    clean.extend(
        path.components()
            .filter(|c| !matches!(c, std::path::Component::RootDir | std::path::Component::CurDir)),
    );
    clean
}
