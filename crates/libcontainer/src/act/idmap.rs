// SPDX-License-Identifier: Apache-2.0
//! The id maps of a new user namespace (user_namespaces(7)).
//!
//! Root writes what it likes. An ordinary user may map one id, its own, and for its own group must
//! give up setgroups(2) first; everything else is written by newuidmap(1) and newgidmap(1), which
//! have the right to, and let it map the ranges that /etc/subuid and /etc/subgid give it.

use std::os::fd::BorrowedFd;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, getegid, geteuid};

use super::procfs;
use crate::error::{Error, Fault, Result};
use crate::plan::namespaces::{Namespaces, Range, maps_only};

/// Writes setgroups, uid_map and gid_map of a process in a new user namespace.
pub fn write(proc: BorrowedFd<'_>, pid: Pid, namespaces: &Namespaces, rootless: bool) -> Result<()> {
    let (uids, gids) = (&namespaces.uid_map, &namespaces.gid_map);
    let uid = match !rootless || maps_only(uids, geteuid().as_raw()) {
        true => procfs::write_of(proc, pid, "uid_map", &lines(uids)),
        false => helped("newuidmap", "/etc/subuid", pid, uids),
    };
    uid.map_err(|fault| Error::from(fault).within("linux.uidMappings"))?;
    let gid = match !rootless || maps_only(gids, getegid().as_raw()) {
        true if rootless => procfs::write_of(proc, pid, "setgroups", "deny")
            .and_then(|()| procfs::write_of(proc, pid, "gid_map", &lines(gids))),
        true => procfs::write_of(proc, pid, "gid_map", &lines(gids)),
        false => helped("newgidmap", "/etc/subgid", pid, gids),
    };
    gid.map_err(|fault| Error::from(fault).within("linux.gidMappings"))
}

/// The same for a namespace of root's.
pub fn write_as_root(proc: BorrowedFd<'_>, pid: Pid, uids: &[Range], gids: &[Range]) -> Result<(), Fault> {
    procfs::write_of(proc, pid, "uid_map", &lines(uids))?;
    procfs::write_of(proc, pid, "gid_map", &lines(gids))
}

fn lines(map: &[Range]) -> String {
    map.iter().map(|r| format!("{} {} {}\n", r.container, r.host, r.size)).collect()
}

/// A program with the right to write maps does it, if the user's ranges allow them.
fn helped(program: &str, ranges: &str, pid: Pid, map: &[Range]) -> Result<(), Fault> {
    let mut command = Command::new(program);
    command.arg(pid.as_raw_nonzero().to_string());
    command.args(map.iter().flat_map(|r| [r.container, r.host, r.size]).map(|n| n.to_string()));
    let failed = |says: String| {
        Fault::new(says)
            .hint(format!("an ordinary user maps its own id with size 1, or ranges that {ranges} gives it"))
    };
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        let fault = Fault::call(format!("execve({program:?})"), errno);
        match errno {
            Errno::NOENT => fault.hint(format!(
                "an ordinary user needs {program} (package uidmap) to map more than its own id, with size 1"
            )),
            _ => fault,
        }
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(match said.lines().next() {
        Some(line) => failed(line.trim().to_owned()),
        None => failed(format!("{program} ended with {}", output.status)),
    })
}
