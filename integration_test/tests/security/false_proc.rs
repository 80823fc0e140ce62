// SPDX-License-Identifier: Apache-2.0
//! A /proc of the attacker's, where the runtime would write labels, sysctls and flags of
//! mounts.

use std::fs;
use std::path::PathBuf;

use integration_test::{Bundle, Test, container_test, differs};
use serde_json::json;

use crate::flaws::while_exchanging;

/// A directory to be mounted on /proc in which everything that a runtime writes is a file of
/// the attacker's.
struct FalseProc {
    dir: PathBuf,
}

const SYSCTL: &str = "net/ipv4/ip_unprivileged_port_start";
/// What stands in the false files.
const FALSE: &str = "nobody wrote here";

impl FalseProc {
    fn new(t: &Test) -> Self {
        let dir = t.scratch("proc");
        for process in ["self", "thread-self", "1"] {
            let (attr, fd) = (dir.join(process).join("attr"), dir.join(process).join("fd"));
            fs::create_dir_all(attr.join("apparmor")).unwrap();
            fs::create_dir_all(&fd).unwrap();
            for name in ["exec", "apparmor/exec", "keycreate"] {
                fs::write(attr.join(name), FALSE).unwrap();
            }
            for n in 0..64 {
                std::os::unix::fs::symlink("/mnt", fd.join(n.to_string())).unwrap();
            }
        }
        for sys in ["sys", "other"] {
            let file = dir.join(sys).join(SYSCTL);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, FALSE).unwrap();
        }
        fs::write(dir.join("filesystems"), "nodev\tselinuxfs\n").unwrap();
        Self { dir }
    }

    /// In place of the container's /proc.
    fn over_all(&self, bundle: Bundle) -> Bundle {
        let bundle = bundle.no_mount("/proc").remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        bundle.bind(&self.dir, "/proc", &["rw"])
    }

    /// Nobody has written to any of it.
    #[track_caller]
    fn is_untouched(&self) {
        for process in ["self", "thread-self", "1"] {
            for name in ["exec", "apparmor/exec", "keycreate"] {
                let file = self.dir.join(process).join("attr").join(name);
                assert_eq!(fs::read_to_string(&file).unwrap(), FALSE, "{}", file.display());
            }
        }
        for sys in ["sys", "other"] {
            assert_eq!(fs::read_to_string(self.dir.join(sys).join(SYSCTL)).unwrap(), FALSE, "{sys}");
        }
    }
}

/// A sysctl as a process in the container's network namespace sees it in the host's /proc.
fn sysctl_of(t: &Test) -> String {
    let mut command = std::process::Command::new("nsenter");
    command.args([&format!("--net=/proc/{}/ns/net", t.pid()), "cat", &format!("/proc/sys/{SYSCTL}")]);
    t.output(command).ok().stdout().trim().to_owned()
}

#[test]
fn a_label_is_not_written_to_a_false_proc() {
    container_test(|t| {
        // CVE-2019-16884: applied by the kernel, or refused; never believed to be applied.
        differs!(t, Runc, "1.1 passes labels over in silence where there is no such module");
        differs!(t, Crun, "1.8 passes labels over in silence where there is no such module");
        let apparmor = fs::exists("/sys/kernel/security/apparmor").unwrap();
        let selinux = fs::read_to_string("/proc/filesystems").unwrap().contains("selinuxfs");
        for (property, present, label) in [
            ("apparmorProfile", apparmor, "web"),
            ("selinuxLabel", selinux, "system_u:system_r:container_t:s0"),
        ] {
            let proc = FalseProc::new(t);
            let bundle = proc.over_all(t.bundle()).set(&format!("/process/{property}"), label);
            let out = t.run(&bundle.asks(&["pid"]));
            proc.is_untouched();
            if !present {
                out.fails();
            }
            t.delete_force();
        }
    });
}

#[test]
fn a_sysctl_is_not_written_to_a_false_proc() {
    container_test(|t| {
        // CVE-2025-52881: over the whole of /proc, and over the one file in the real one.
        differs!(t, Runc, "1.1 writes where the mount leads");
        differs!(t, Crun, "1.8 writes where the mount leads");
        let proc = FalseProc::new(t);
        let setting = json!({ "net.ipv4.ip_unprivileged_port_start": "77" });
        for over_all in [true, false] {
            let bundle = t.bundle().set("/linux/sysctl", setting.clone());
            let bundle = match over_all {
                true => proc.over_all(bundle),
                false => {
                    bundle.bind(proc.dir.join("sys").join(SYSCTL), &format!("/proc/sys/{SYSCTL}"), &["rw"])
                }
            };
            t.create(&bundle.asks(&["pid"])).ok();
            assert_eq!(sysctl_of(t), "77", "over all: {over_all}");
            t.delete_force();
            proc.is_untouched();
        }
    });
}

#[test]
fn writes_to_proc_while_it_is_exchanged() {
    container_test(|t| {
        // CVE-2025-52881: a racer turns what is written into a write to another file.
        differs!(t, Runc, "1.1 writes where the mount leads");
        differs!(t, Crun, "1.8 writes where the mount leads");
        let proc = FalseProc::new(t);
        let (sys, other) = (proc.dir.join("sys/net"), proc.dir.join("other/net"));
        let bundle = proc.over_all(t.bundle()).asks(&["pid"]);
        let bundle = bundle.set("/linux/sysctl", json!({ "net.ipv4.ip_unprivileged_port_start": "77" }));
        while_exchanging(&sys, &other, || {
            t.run(&bundle).ok();
        });
        proc.is_untouched();
    });
}

#[test]
fn read_only_by_way_of_a_false_proc() {
    container_test(|t| {
        // CVE-2026-115521: the root and the read-only paths are changed by descriptor, not by a
        // path below the container's /proc/self/fd.
        let proc = FalseProc::new(t);
        for over_all in [true, false] {
            let bundle = t.bundle().file("/etc/fixed", "fixed");
            let bundle = match over_all {
                true => proc.over_all(bundle),
                false => bundle.bind(proc.dir.join("self/fd"), "/proc/self/fd", &[]),
            };
            let bundle = bundle.set("/linux/readonlyPaths", json!(["/data"]));
            let volume = t.scratch("volume");
            fs::create_dir(&volume).unwrap();
            let bundle = bundle.bind(&volume, "/data", &["rw"]);
            let bundle = bundle.mount("/mnt", "tmpfs", "tmpfs", &[]).dir_in_root("/mnt");
            let out = t.run(&bundle.asks(&["write /x x", "write /data/x x", "write /etc/fixed x"]));
            if out.code == 0 {
                let a = out.answers();
                for (question, answer) in a.as_object().unwrap() {
                    assert_eq!(answer["error"], "EROFS", "{question}, over all: {over_all}");
                }
            } else {
                assert!(!over_all, "{}", out.stderr());
            }
            t.delete_force();
        }
    });
}
