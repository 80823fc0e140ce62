// SPDX-License-Identifier: Apache-2.0
//! A whole system in a container: systemd as its init, from boot to an orderly end.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use integration_test::{Bundle, Flavor, Host, Out, Test, container_test, differs, has_systemd, skip};
use serde_json::json;

/// What the system writes when it ends in order, and only then.
const SERVICE: &str = "[Unit]
Description=Says on which way the system went down
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'echo up >/var/tmp/mark'
ExecStop=/bin/sh -c 'echo down >/var/tmp/mark'
MemoryMax=64M
[Install]
WantedBy=multi-user.target
";

const CLOCK: &str = "while sleep 0.05; do echo >>/var/tmp/clock; done";

/// The root file system of the test VM once more, over which the container writes. Gone when dropped.
struct Root {
    dir: PathBuf,
}

impl Root {
    fn new(t: &Test) -> Self {
        let dir = t.scratch("system");
        fs::create_dir(&dir).unwrap();
        let this = Self { dir };
        // An upper directory must not lie below the lower one: its file system is another.
        mount(&["-t", "tmpfs", "tmpfs", this.dir.to_str().unwrap()]);
        for name in ["upper", "work", "merged"] {
            fs::create_dir(this.dir.join(name)).unwrap();
        }
        let at = |name: &str| this.dir.join(name).display().to_string();
        let options = format!("lowerdir=/,upperdir={},workdir={}", at("upper"), at("work"));
        mount(&["-t", "overlay", "overlay", "-o", &options, &at("merged")]);
        this
    }

    fn merged(&self) -> PathBuf {
        self.dir.join("merged")
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.merged().join(inside)
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for place in [&self.merged(), &self.dir] {
            let _ = rustix::mount::unmount(place, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn mount(words: &[&str]) {
    let out = Command::new("mount").args(words).output().unwrap();
    assert!(out.status.success(), "mount {words:?}: {}", String::from_utf8_lossy(&out.stderr));
}

/// What systemd asks of a container manager (systemd.io/CONTAINER_INTERFACE).
fn bundle(t: &Test, root: &Root) -> Bundle {
    // systemd gives itself the name that this file says.
    fs::write(root.path("etc/hostname"), "ship\n").unwrap();
    let units = root.path("etc/systemd/system");
    fs::write(units.join("mark.service"), SERVICE).unwrap();
    fs::create_dir_all(units.join("multi-user.target.wants")).unwrap();
    std::os::unix::fs::symlink("../mark.service", units.join("multi-user.target.wants/mark.service"))
        .unwrap();
    let caps = "AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_ADMIN NET_BIND_SERVICE NET_RAW SETFCAP \
                SETGID SETPCAP SETUID SYS_ADMIN SYS_CHROOT SYS_PTRACE SYS_RESOURCE";
    let caps: Vec<String> = caps.split(' ').map(|name| format!("CAP_{name}")).collect();
    let caps: Vec<&str> = caps.iter().map(String::as_str).collect();
    let tmpfs =
        |bundle: Bundle, path: &str| bundle.mount(path, "tmpfs", "tmpfs", &["nosuid", "nodev", "mode=755"]);
    let bundle = t
        .bundle()
        .set("/root", json!({ "path": root.merged(), "readonly": false }))
        .set("/hostname", "ship")
        .set("/process/noNewPrivileges", false)
        .set("/linux/readonlyPaths", json!([]))
        .set("/linux/resources/memory", json!({ "limit": 536_870_912 }))
        .caps(&caps)
        .env("container=soute")
        .args(&["/sbin/init"])
        .namespace("cgroup", true)
        .no_mount("/sys/fs/cgroup")
        .mount("/sys/fs/cgroup", "cgroup", "cgroup", &["nosuid", "noexec", "nodev", "rw"]);
    tmpfs(tmpfs(bundle, "/run"), "/run/lock")
}

fn exec(t: &Test, words: &[&str]) -> Out {
    t.call(&[&["exec", t.id()], words].concat())
}

/// What a command in the system says; it must succeed.
fn inside(t: &Test, words: &[&str]) -> String {
    exec(t, words).ok().stdout().trim().to_owned()
}

/// Waits longer than [`Test::until`] does: a system boots, on a slow machine.
fn until(t: &Test, what: &str, mut so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !so() {
        assert!(Instant::now() < end, "not within two minutes: {what}; {}", t.status());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// A file of the container's group. Its init has moved to a group of its own below it.
fn file(t: &Test, name: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
    let group = text.trim().strip_prefix("0::/").unwrap().strip_suffix("/init.scope").unwrap();
    fs::read_to_string(format!("/sys/fs/cgroup/{group}/{name}")).unwrap().trim().to_owned()
}

#[test]
fn systemd_boots_is_frozen_changed_entered_and_ends_in_order() {
    container_test(|t| {
        if Host::here() != Host::V2 || !has_systemd() {
            skip!("the system needs cgroup v2, and the test VM's root file system");
        }
        if !fs::read_to_string("/proc/cmdline").unwrap().contains("vm.job=") {
            skip!("the system is the test VM's, and nobody else's is booted (hack/vm test)");
        }
        let root = Root::new(t);
        t.create(&bundle(t, &root)).ok();
        t.start().ok();
        until(t, "it has booted", || {
            exec(t, &["systemctl", "is-active", "multi-user.target"]).stdout() == "active\n"
        });
        let failed = inside(t, &["systemctl", "list-units", "--failed", "--plain", "--no-legend"]);
        assert_eq!(failed, "");
        assert_eq!(inside(t, &["hostname"]), "ship");
        assert_eq!(inside(t, &["systemd-detect-virt", "--container"]), "container-other");
        assert_eq!(fs::read_to_string(root.path("var/tmp/mark")).unwrap(), "up\n");

        // It divides its group, and its own units limit below it.
        let limits = "cd /sys/fs/cgroup/system.slice/limited.service; cat memory.max pids.max";
        let words = "systemd-run --quiet --pipe --wait --unit limited -p MemoryMax=32M -p TasksMax=5 sh -c";
        let words: Vec<&str> = words.split(' ').chain([limits]).collect();
        let line = inside(t, &words);
        assert_eq!(line, "33554432\n5");
        let pids: Vec<i32> =
            serde_json::from_value(t.call(&["ps", "--format", "json", t.id()]).ok().json()).unwrap();
        // crun's `ps` shows the group itself alone, and there nobody is.
        assert!(t.flavor() == Flavor::Crun || pids.len() > 3 && pids.contains(&t.pid()), "{pids:?}");

        // Frozen as a whole: nobody counts on.
        inside(t, &["systemd-run", "--quiet", "--unit", "clock", "sh", "-c", CLOCK]);
        let clock = || fs::metadata(root.path("var/tmp/clock")).map_or(0, |meta| meta.len());
        until(t, "the clock goes", || clock() > 0);
        differs!(t, Crun, "with systemd its limits are the scope's, and its container in a group below");
        t.call(&["pause", t.id()]).ok();
        assert_eq!((t.status().as_str(), file(t, "cgroup.freeze").as_str()), ("paused", "1"));
        let at = clock();
        std::thread::sleep(Duration::from_millis(500));
        assert_eq!(clock(), at);
        t.call(&["update", "--memory", "419430400", "--pids-limit", "300", t.id()]).ok();
        t.call(&["resume", t.id()]).ok();
        until(t, "the clock goes on", || clock() > at);
        assert_eq!((file(t, "memory.max"), file(t, "pids.max")), ("419430400".into(), "300".into()));
        assert_eq!(inside(t, &["systemctl", "is-active", "mark.service"]), "active");
        inside(t, &["systemctl", "daemon-reload"]);
        assert_eq!((file(t, "memory.max"), file(t, "pids.max")), ("419430400".into(), "300".into()));

        // As systemd wants it to be told: SIGRTMIN+3 is poweroff.
        t.kill("37").ok();
        until(t, "it has gone down", || t.status() == "stopped");
        assert_eq!(fs::read_to_string(root.path("var/tmp/mark")).unwrap(), "down\n");
        t.delete().ok();
    });
}
