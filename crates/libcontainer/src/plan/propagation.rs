// SPDX-License-Identifier: Apache-2.0
//! How mounts spread to other mount namespaces, and how container paths are written.

use std::fmt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Linux;

use super::problem::Problem;

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

/// linux.rootfsPropagation.
pub(super) fn root_propagation(linux: Option<&Linux>, problems: &mut Vec<Problem>) -> Option<Propagation> {
    let word = linux?.rootfs_propagation().as_deref().filter(|w| !w.is_empty())?;
    let (recursive, plain) = match word.strip_prefix('r') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    let flag = match plain {
        "shared" => libc::MS_SHARED,
        "slave" => libc::MS_SLAVE,
        "private" => libc::MS_PRIVATE,
        "unbindable" => libc::MS_UNBINDABLE,
        _ => {
            problems.push(
                Problem::new("linux.rootfsPropagation", format!("{word:?} is no propagation"))
                    .hint("shared, slave, private or unbindable, or one of them with an r before it"),
            );
            return None;
        }
    };
    Some(Propagation { flag, recursive })
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
