// SPDX-License-Identifier: Apache-2.0
//! Which kind of machine this is: the cgroup tree above all.

use std::fs;
use std::path::{Path, PathBuf};

/// How the machine's cgroups are arranged, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    /// One hierarchy a controller, with or without a v2 tree beside them.
    V1,
    /// Only the v2 tree.
    V2,
}

const TREE: &str = "/sys/fs/cgroup";

impl Host {
    /// Looks at what is mounted on /sys/fs/cgroup.
    pub fn here() -> Self {
        // A v2 root lists its controllers in this file; a tmpfs of v1 mounts has none.
        if Path::new(TREE).join("cgroup.controllers").exists() { Self::V2 } else { Self::V1 }
    }

    /// The directory of a container's cgroup for one controller (v2 has one for all).
    pub fn cgroup(self, controller: &str, path: &str) -> PathBuf {
        let tree = match self {
            Self::V1 => Path::new(TREE).join(controller),
            Self::V2 => PathBuf::from(TREE),
        };
        match path.trim_start_matches('/') {
            id if by_systemd() && !id.contains('/') => tree.join(format!("system.slice/{id}.scope")),
            path => tree.join(path),
        }
    }
}

/// Whether containers get their cgroups from systemd: SOUTE_CGROUP_DRIVER=systemd.
pub fn by_systemd() -> bool {
    std::env::var_os("SOUTE_CGROUP_DRIVER").is_some_and(|driver| driver == "systemd")
}

/// A cgroupsPath for a container of this id, as the driver wants it.
pub fn cgroups_path(id: &str) -> String {
    if by_systemd() { format!("system.slice::{id}") } else { format!("/{id}") }
}

/// Whether systemd runs this machine (sd_booted(3)).
pub fn has_systemd() -> bool {
    Path::new("/run/systemd/system").exists()
}

/// The units whose name contains `word`, as systemd lists them: running, failed, any.
pub fn units_named(word: &str) -> Vec<String> {
    let list = ["list-units", "--all", "--plain", "--no-legend", "--no-pager"];
    let out = std::process::Command::new("systemctl").args(list).arg(format!("*{word}*")).output();
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// The controllers that a container can be limited by: v1 hierarchies that are mounted, or
/// what the v2 root offers.
pub fn controllers() -> Vec<String> {
    match Host::here() {
        Host::V2 => {
            let all = fs::read_to_string(Path::new(TREE).join("cgroup.controllers")).unwrap_or_default();
            all.split_whitespace().map(str::to_owned).collect()
        }
        Host::V1 => {
            let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
            let v1 = mounts.lines().filter(|line| line.contains(" - cgroup "));
            let last = v1.filter_map(|line| line.rsplit(' ').next());
            last.flat_map(|options| options.split(',').skip(1)).map(str::to_owned).collect()
        }
    }
}

/// A disk of this machine that can be throttled.
pub fn disk() -> Option<(u64, u64)> {
    for entry in fs::read_dir("/sys/block").ok()?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["vd", "sd", "nvme", "ubd"].iter().any(|start| name.starts_with(start)) {
            let text = fs::read_to_string(entry.path().join("dev")).ok()?;
            let (major, minor) = text.trim().split_once(':')?;
            return Some((major.parse().ok()?, minor.parse().ok()?));
        }
    }
    None
}

/// Where each hierarchy is mounted.
pub fn trees() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let of_cgroups = |line: &&str| line.contains(" - cgroup ") || line.contains(" - cgroup2 ");
    let places = mounts.lines().filter(of_cgroups).filter_map(|line| line.split(' ').nth(4));
    places.filter(|place| place.starts_with(TREE)).map(PathBuf::from).collect()
}

/// The v2 group above this process's own.
pub(crate) fn beside_us() -> PathBuf {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    Path::new(TREE).join(own).parent().unwrap_or(Path::new(TREE)).to_owned()
}

/// Every cgroup directory, of every hierarchy, whose name contains `word`.
pub(crate) fn cgroups_named(word: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![PathBuf::from(TREE)];
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(word) {
                found.push(entry.path());
            }
            todo.push(entry.path());
        }
    }
    found
}
