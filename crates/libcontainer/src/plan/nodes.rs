// SPDX-License-Identifier: Apache-2.0
//! `linux.devices`, the devices and links that every container has (config-linux.md, Default
//! Devices), and the paths that are masked or made read-only.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxDeviceType};

use super::problem::Problem;
use super::propagation::absolute;
use super::step::{Action, Device, DeviceKind, Step};

const DEFAULT_DEVICES: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 5] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/ptmx", "pts/ptmx"),
];

/// Nodes first, then links. `bind`: this user namespace can make no nodes.
pub(super) fn devices(linux: Option<&Linux>, bind: bool, steps: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    let none = Vec::new();
    let asked = linux.and_then(|l| l.devices().as_ref()).unwrap_or(&none);
    let mut planned: Vec<Step> = Vec::with_capacity(DEFAULT_DEVICES.len() + asked.len() + LINKS.len());
    for (path, major, minor) in DEFAULT_DEVICES {
        let kind = DeviceKind::Character { major, minor };
        let device = Device { path: PathBuf::from(path), kind, mode: 0o666, uid: 0, gid: 0, bind };
        planned.push(Step::new("default", Action::MakeDevice(device)));
    }
    for (n, device) in asked.iter().enumerate() {
        let at = format!("linux.devices[{n}]");
        if device.path().as_os_str().is_empty() {
            problems.push(Problem::new(format!("{at}.path"), "must not be empty"));
            continue;
        }
        let mut number = |name: &str, value: i64, bits: u32| {
            u32::try_from(value).ok().filter(|v| *v < 1 << bits).unwrap_or_else(|| {
                problems.push(Problem::new(format!("{at}.{name}"), format!("{value} is no device number")));
                0
            })
        };
        let kind = match device.typ() {
            LinuxDeviceType::P => DeviceKind::Fifo,
            typ => {
                // The kernel's dev_t: 12 bits and 20 bits.
                let (major, minor) =
                    (number("major", device.major(), 12), number("minor", device.minor(), 20));
                match typ {
                    LinuxDeviceType::B => DeviceKind::Block { major, minor },
                    LinuxDeviceType::A => {
                        problems.push(
                            Problem::new(
                                format!("{at}.type"),
                                "\"a\" stands for all devices, which is no node",
                            )
                            .hint("the types are \"c\", \"b\", \"u\" and \"p\""),
                        );
                        continue;
                    }
                    _ => DeviceKind::Character { major, minor },
                }
            }
        };
        let device = Device {
            path: absolute(device.path()),
            kind,
            // What runs with its owner's rights is a program; on a node these bits mean nothing.
            mode: device.file_mode().unwrap_or(0o666) & 0o1777,
            uid: device.uid().unwrap_or(0),
            gid: device.gid().unwrap_or(0),
            bind: bind && kind != DeviceKind::Fifo,
        };
        // What is asked for replaces the default of the same path.
        planned.retain(|step| !matches!(&step.action, Action::MakeDevice(d) if d.path == device.path));
        planned.push(Step::new(at, Action::MakeDevice(device)));
    }
    steps.append(&mut planned);
    for (path, target) in LINKS {
        steps.push(Step::new("default", Action::MakeLink { path, target }));
    }
}

/// Read-only paths, then masked ones: a path that is both is masked.
pub(super) fn covered(linux: Option<&Linux>, steps: &mut Vec<Step>, problems: &mut Vec<Problem>) {
    let Some(linux) = linux else { return };
    let mut cover = |name: &str, paths: &Option<Vec<String>>, action: fn(PathBuf) -> Action| {
        for (n, path) in paths.as_deref().unwrap_or(&[]).iter().enumerate() {
            let at = format!("linux.{name}[{n}]");
            if !Path::new(path).is_absolute() {
                problems.push(
                    Problem::new(at, format!("{path:?} is not an absolute path")).hint("begin it with \"/\""),
                );
                continue;
            }
            steps.push(Step::new(at, action(absolute(Path::new(path)))));
        }
    };
    cover("readonlyPaths", linux.readonly_paths(), |path| Action::MakeReadonly { path });
    cover("maskedPaths", linux.masked_paths(), |path| Action::Mask { path });
}
