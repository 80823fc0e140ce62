// SPDX-License-Identifier: Apache-2.0
#![forbid(unsafe_code)]
//! The container's groups: made before its birth, limited, joined, frozen, killed, removed.
//!
//! ```text
//! layout()            what is mounted: v2, or v1 hierarchies (and the v2 tree of a hybrid host)
//! Record::new         the directories that will be made; goes to disk before any of them is
//! Record::make        makes them, writes the limits that are not late      -> Made
//!   clone3            INTO_CGROUP Made::into_cgroup; on v1 the child writes 0 to Made::joins
//! Made::limit_late    pids.max and memory.max, v1's device rules
//! Made::delegate      the group becomes the container's user's, where it is mounted to be written
//! Made::load_rules    v2's device program, while init mounts
//! Made::rule_devices  it holds
//! Made::commit        the Record as it stands, for state.json; dropped without it, all goes away
//! Record::open        exec;  freeze, thaw, kill, procs, stats, watch, remove: the rest of its life
//! ```
//!
//! No pid of another process is ever written to a `cgroup.procs`: that takes a lock over all
//! processes, which waits for milliseconds on a quiet machine.
//!
//! Only what is ours is touched. [`Record::make`] never adopts a group: one that exists with
//! processes, children or the frozen state is refused, an empty one is removed and made anew.
//! Each group's inode number, which the kernel gives only once, goes into the record;
//! a directory of the same path with another number is a stranger's, and is left alone.

mod delegate;
#[cfg(test)]
mod fake;
mod file;
mod freeze;
mod join;
mod kill;
mod limit;
mod make;
mod procs;
mod record;
mod remove;
mod stats;
mod systemd;
mod update;
mod watch;

use rustix::fs::statfs;
use rustix::io::Errno;

pub use self::join::Joins;
pub use self::make::Made;
pub use self::record::Record;
pub use self::stats::{OomKills, Stats};
pub use self::watch::{Happening, Watch};
use crate::error::{Call, Fault};
use crate::plan::cgroup::{CgroupLayout, Hierarchy, memberships};

/// Matched by callers.
const NOT_EMPTY: &str = "container's cgroup is not empty";

/// Where cgroup file systems are mounted, on every distribution.
pub const ROOT: &str = "/sys/fs/cgroup";

// linux/magic.h
const CGROUP_SUPER_MAGIC: i64 = 0x27_e0eb;
const CGROUP2_SUPER_MAGIC: i64 = 0x6367_7270;

/// What is mounted on /sys/fs/cgroup: one statfs on v2; on v1 /proc/self/cgroup too, and one
/// statfs for each hierarchy that it lists.
pub fn layout() -> Result<CgroupLayout, Fault> {
    match magic(ROOT)? {
        None => return Ok(CgroupLayout::None),
        Some(CGROUP2_SUPER_MAGIC) => return Ok(CgroupLayout::V2),
        Some(_) => {}
    }
    let text = own_memberships()?;
    let (mut hierarchies, mut unified) = (Vec::new(), None);
    for (controllers, own) in memberships(&text) {
        let own = visible(own).to_owned();
        if controllers.is_empty() {
            let dir = "unified".to_owned();
            if magic(&format!("{ROOT}/{dir}"))? == Some(CGROUP2_SUPER_MAGIC) {
                unified = Some(Hierarchy { dir, controllers, own });
            }
        } else if let Some(dir) = mounted(&controllers)? {
            hierarchies.push(Hierarchy { dir, controllers, own });
        }
    }
    if hierarchies.is_empty() && unified.is_none() {
        return Ok(CgroupLayout::None);
    }
    Ok(CgroupLayout::V1 { hierarchies, unified })
}

/// The text of /proc/self/cgroup.
fn own_memberships() -> Result<String, Fault> {
    let path = "/proc/self/cgroup";
    file::read(rustix::fs::CWD, path).call(|| format!("read({path:?})"))
}

/// A path of /proc/self/cgroup that leads out of our cgroup namespace names nothing here.
fn visible(own: &str) -> &str {
    if own.split('/').any(|part| part == "..") { "/" } else { own }
}

/// The directory of a v1 hierarchy, if it is mounted. It mostly bears the name of its
/// controllers, in one order or the other.
fn mounted(controllers: &[String]) -> Result<Option<String>, Fault> {
    let names: Vec<&str> = controllers.iter().map(|name| name.trim_start_matches("name=")).collect();
    let mut backwards = names.clone();
    backwards.reverse();
    let joined = [names.join(","), backwards.join(",")];
    for dir in joined.into_iter().chain(names.into_iter().map(str::to_owned)) {
        if magic(&format!("{ROOT}/{dir}"))? == Some(CGROUP_SUPER_MAGIC) {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

/// The kind of file system at a path; `None` where there is nothing.
fn magic(path: &str) -> Result<Option<i64>, Fault> {
    match statfs(path) {
        Ok(found) => Ok(Some(found.f_type)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(Fault::call(format!("statfs({path:?})"), errno)),
    }
}

/// Whether the systemd of a user is the one to ask: an ordinary user's own, and under rootless
/// podman, where we are root only in a user namespace that the user made. Root of a system container
/// (USER=root) has the container's.
pub fn user_systemd() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let session = || set("XDG_RUNTIME_DIR") || set("DBUS_SESSION_BUS_ADDRESS");
    let root = || std::env::var_os("USER").is_some_and(|user| user == "root");
    !rustix::process::geteuid().is_root() || (ordinary_user() && session() && !root())
}

/// Whether the kernel may refuse us what root may do: no root, or root of a user namespace.
fn ordinary_user() -> bool {
    if !rustix::process::geteuid().is_root() {
        return true;
    }
    let map = file::read(rustix::fs::CWD, "/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().ne(["0", "0", "4294967295"])
}
