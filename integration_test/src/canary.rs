// SPDX-License-Identifier: Apache-2.0
//! A few things of the host that a careless runtime changes: looked at before and after
//! each test, put back, and counted against it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

const SETTINGS: [&str; 7] = [
    "kernel/core_pattern",
    "kernel/domainname",
    "kernel/hostname",
    "kernel/msgmax",
    "kernel/pid_max",
    "net/ipv4/ip_forward",
    "vm/swappiness",
];
const DEVICES: [&str; 3] = ["/dev/null", "/dev/zero", "/dev/tty"];

/// The state of the host.
pub(crate) struct Canary {
    settings: Vec<Option<String>>,
    devices: Vec<Option<(u32, u32, u32)>>,
}

fn device(path: &str) -> Option<(u32, u32, u32)> {
    fs::metadata(path).ok().map(|meta| (meta.mode() & 0o7777, meta.uid(), meta.gid()))
}

fn setting(name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{name}")).ok()
}

impl Canary {
    pub(crate) fn new() -> Self {
        Self { settings: SETTINGS.map(setting).into(), devices: DEVICES.map(device).into() }
    }

    /// What is no longer as it was; it is put back.
    pub(crate) fn changed(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (name, before) in SETTINGS.iter().zip(&self.settings) {
            let now = setting(name);
            if let (true, Some(before)) = (now != *before, before) {
                all.push(format!("host's {name}: {before:?} became {now:?}"));
                let _ = fs::write(format!("/proc/sys/{name}"), before);
            }
        }
        for (path, before) in DEVICES.iter().zip(&self.devices) {
            let now = device(path);
            if let (true, Some((mode, uid, gid))) = (now != *before, *before) {
                all.push(format!("host's {path}: {before:?} became {now:?}"));
                let _ = chown(path, Some(uid), Some(gid));
                let _ = fs::set_permissions(path, fs::Permissions::from_mode(mode));
            }
        }
        all
    }
}
