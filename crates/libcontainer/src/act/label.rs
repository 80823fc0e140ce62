// SPDX-License-Identifier: Apache-2.0
//! Labels of the Linux security modules: written below a procfs that no mount of the image can
//! redirect (CVE-2019-16884, CVE-2025-52881), and never passed over where there is no such module.
//!
//! Podman finds these faults by the path in backquotes.

use std::os::fd::BorrowedFd;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::procfs;
use crate::error::{Call, Fault};
use crate::plan::step::Module;

/// The next execve of this process takes the label on.
pub fn set_exec(proc: BorrowedFd<'_>, module: Module, label: &str, no_new_privs: bool) -> Result<(), Fault> {
    match module {
        Module::Selinux => write(proc, module, "exec", label),
        Module::Apparmor => {
            let current = read(proc, "apparmor/current").unwrap_or_default();
            write(proc, module, "apparmor/exec", &apparmor(label, no_new_privs, &current))
        }
    }
}

/// Keys that are made from here on carry the label; with none, that of their maker.
pub fn set_key(proc: BorrowedFd<'_>, label: &str) -> Result<(), Fault> {
    write(proc, Module::Selinux, "keycreate", label)
}

/// A confined process under no_new_privs may only take on a profile beside its own (stacked: `&`),
/// never another in its place.
fn apparmor(profile: &str, no_new_privs: bool, current: &str) -> String {
    let confined = !current.is_empty() && current != "unconfined" && !current.ends_with("//unconfined");
    let stack = if no_new_privs && confined && !profile.starts_with('&') { "&" } else { "" };
    format!("exec {stack}{profile}")
}

fn path(name: &str) -> String {
    format!("{}/attr/{name}", rustix::process::getpid().as_raw_nonzero())
}

fn read(proc: BorrowedFd<'_>, name: &str) -> Option<String> {
    let file = procfs::open(proc, &path(name), OFlags::RDONLY).ok()?;
    let mut text = [0; 1024];
    let length = rustix::io::read(&file, &mut text).ok()?;
    let text = String::from_utf8_lossy(&text[..length]);
    Some(text.trim_end_matches(['\0', '\n']).split(" (").next().unwrap_or_default().to_owned())
}

fn write(proc: BorrowedFd<'_>, module: Module, name: &str, text: &str) -> Result<(), Fault> {
    let says = || format!("write(`/proc/self/attr/{name}`, {text:?})");
    let absent = |says: String| {
        Fault::new(format!("{says}: {module} is not enabled on this host"))
            .hint("leave the label out, or start the kernel with this security module")
    };
    // Other modules have the file of SELinux too; only SELinux has its file system.
    if module == Module::Selinux && !has_selinux(proc)? {
        return Err(absent(format!("write to `/proc/self/attr/{name}`")));
    }
    let file = match procfs::open(proc, &path(name), OFlags::WRONLY) {
        Err(Errno::NOENT) => return Err(absent(format!("open(`/proc/self/attr/{name}`)"))),
        other => other.call(says)?,
    };
    rustix::io::write(&file, text.as_bytes()).map(drop).call(says).map_err(|fault| match fault.errno {
        Some(Errno::NOENT) => fault.hint("no such profile is loaded: see aa-status(8)"),
        Some(Errno::INVAL) if module == Module::Selinux => {
            fault.hint("the loaded policy knows no such label: see seinfo(1)")
        }
        Some(Errno::INVAL) => {
            fault.hint("AppArmor is not enabled: see /sys/module/apparmor/parameters/enabled")
        }
        _ => fault,
    })
}

fn has_selinux(proc: BorrowedFd<'_>) -> Result<bool, Fault> {
    let says = || "read(\"/proc/filesystems\")";
    let file = procfs::open(proc, "filesystems", OFlags::RDONLY).call(says)?;
    let mut text = Vec::new();
    let mut bytes = [0; 4096];
    loop {
        match rustix::io::read(&file, &mut bytes).call(says)? {
            0 => break,
            n => text.extend_from_slice(&bytes[..n]),
        }
    }
    Ok(String::from_utf8_lossy(&text).lines().any(|line| line.ends_with("\tselinuxfs")))
}

#[cfg(test)]
mod tests {
    use super::apparmor;

    #[test]
    fn a_confined_process_without_new_privileges_stacks_its_profile() {
        assert_eq!(apparmor("web", true, "unconfined"), "exec web");
        assert_eq!(apparmor("web", true, ":ns://unconfined"), "exec web");
        assert_eq!(apparmor("web", true, ""), "exec web");
        assert_eq!(apparmor("web", false, "outer"), "exec web");
        assert_eq!(apparmor("web", true, "outer"), "exec &web");
        assert_eq!(apparmor("&web", true, "outer"), "exec &web");
        assert_eq!(apparmor(":ns:web", true, "outer"), "exec &:ns:web");
    }
}
