// SPDX-License-Identifier: Apache-2.0
//! Known flaws of other runtimes, each tried on this one: a process that prepares the image
//! for the container's next start, exchanges what is being worked on, or puts something of
//! its own where the runtime would write.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use integration_test::sweep::{can_trace, traced};
use integration_test::{Bundle, Flavor, Host, Test, Treasure, container_test, differs, note_skip};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

/// How long a race is run: `SOUTE_RACE` seconds, by default what a suite can bear.
fn race_time() -> Duration {
    let seconds = std::env::var("SOUTE_RACE").ok().and_then(|text| text.parse().ok());
    Duration::from_secs_f64(seconds.unwrap_or(2.0))
}

/// Ends the racer, also when the test has failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does something again and again while two paths are exchanged as fast as can be.
pub(super) fn while_exchanging(one: &Path, two: &Path, mut again: impl FnMut()) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let _ = renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE);
            }
        });
        let _stop = Stop(&stop);
        let end = Instant::now() + race_time();
        while Instant::now() < end {
            again();
        }
    });
}

#[test]
fn what_a_container_leaves_in_its_image_for_the_next_start() {
    container_test(|t| {
        // CVE-2015-3627: the container itself puts links where the runtime will work next time.
        let treasure = Treasure::new(t);
        let made = format!("{}/made", treasure.path());
        let image = t.bundle().writable().dir_in_root("/data/in").dir_in_root("/data/up");
        let image = image.file("/data/file", "");
        let links = [
            "rmdir /data/in".to_owned(),
            format!("symlink {} /data/in", treasure.path()),
            "rmdir /data/up".to_owned(),
            format!("symlink {}/made /data/up", treasure.climb()),
            "unlink /data/file".to_owned(),
            format!("symlink {made} /data/file"),
        ];
        let links: Vec<&str> = links.iter().map(String::as_str).collect();
        let mounts = |bundle: Bundle| {
            let node = json!({ "path": "/data/in/node", "type": "c", "major": 1, "minor": 3, "uid": 7 });
            bundle
                .mount("/data/in/new/deep", "tmpfs", "tmpfs", &[])
                .mount("/data/up/deep", "tmpfs", "tmpfs", &[])
                .bind(t.payload(), "/data/file", &["ro"])
                .push("/linux/devices", node)
        };
        let a = t.ask(image.clone(), &links);
        assert!(a.as_object().unwrap().values().all(|answer| answer == "ok"), "{a}");
        treasure.harmless(t, mounts(image), &["pid"]);
    });
}

#[test]
fn an_image_that_is_exchanged_for_a_link_after_create() {
    container_test(|t| {
        // CVE-2015-3627, from outside: the root is a descriptor, whatever its path has become.
        let treasure = Treasure::new(t);
        let bundle = t.bundle().writable().asks(&["list /", "write /mark x"]);
        let out = t.create(&bundle).ok();
        let (root, aside) = (bundle.path("/"), bundle.dir().join("aside"));
        fs::rename(root.to_str().unwrap().trim_end_matches('/'), &aside).unwrap();
        std::os::unix::fs::symlink(treasure.path(), bundle.dir().join("rootfs")).unwrap();
        t.start().ok();
        t.until_stopped();
        let a = out.answers();
        assert!(a["list /"].to_string().contains("\"payload\""), "{a}");
        assert!(aside.join("mark").exists(), "{a}");
        t.delete().ok();
        treasure.is_unchanged(t);
    });
}

#[test]
fn directories_made_while_their_parent_is_exchanged() {
    container_test(|t| {
        // CVE-2024-45310: what is missing of a mount point is made inside the root.
        let treasure = Treasure::new(t);
        let mut bundle =
            t.bundle().writable().dir_in_root("/data/swap").symlink("/data/other", treasure.path());
        for n in 0..20 {
            bundle = bundle.mount(&format!("/data/swap/new{n}/deep"), "tmpfs", "tmpfs", &[]).bind(
                t.payload(),
                &format!("/data/swap/file{n}"),
                &["ro"],
            );
        }
        let (one, two) = (bundle.path("/data/swap"), bundle.path("/data/other"));
        let bundle = bundle.asks(&["pid"]);
        let (mut runs, mut worked) = (0, 0);
        while_exchanging(&one, &two, || {
            runs += 1;
            worked += u32::from(t.run(&bundle).code == 0);
        });
        println!("{runs} runs, {worked} of them worked");
        t.delete_force();
        treasure.is_unchanged(t);
    });
}

/// Creates a container with a terminal and lets it answer: nothing if it was refused.
fn on_a_terminal(t: &Test, bundle: &Bundle) -> Option<Value> {
    let listener = t.listener();
    let flags = ["--console-socket", listener.path().to_str().unwrap()];
    let out = t.create_with(bundle, &flags);
    if out.code != 0 {
        out.fails();
        return None;
    }
    let (master, _) = listener.receive();
    t.start().ok();
    t.until_stopped();
    let mut text = [0; 4096];
    let length = rustix::io::read(&master, &mut text).unwrap_or(0);
    let text = String::from_utf8_lossy(&text[..length]).into_owned();
    let line = text.lines().find_map(|line| serde_json::from_str::<Value>(line.trim()).ok());
    Some(line.unwrap_or_default()["a"].clone())
}

#[test]
fn a_console_of_an_image_that_prepares_dev_pts() {
    container_test(|t| {
        // CVE-2025-52565: what is mounted on /dev/console is a pseudo-terminal, and nothing that
        // the image or a racer puts where a name of one would be.
        differs!(t, Runc, "1.1 opens the terminal by its name");
        differs!(t, Crun, "1.8 opens the terminal by its name");
        let treasure = Treasure::new(t);
        let setting = "/proc/sys/net/ipv4/ip_default_ttl".to_owned();
        for (ptmx, name) in [("/dev/ptmx", treasure.secret()), ("pts-of-the-host", setting)] {
            for devpts in [true, false] {
                let bundle = t.bundle().writable().set("/process/terminal", true);
                let mut bundle = bundle.no_mount("/dev").no_mount("/dev/shm").no_mount("/dev/mqueue");
                if !devpts {
                    bundle = bundle.no_mount("/dev/pts").symlink("/dev/pts/ptmx", ptmx);
                }
                for n in 0..8 {
                    bundle = bundle.symlink(&format!("/dev/pts/{n}"), &name);
                }
                let answer = on_a_terminal(t, &bundle.asks(&["stat /dev/console"]));
                t.delete_force();
                treasure.is_unchanged(t);
                assert_eq!(answer.is_some(), devpts, "ptmx {ptmx}, devpts {devpts}");
                if let Some(stat) = answer {
                    assert!(stat["rdev"].as_str().unwrap_or_default().starts_with("136:"), "{stat}");
                }
            }
        }
    });
}

#[test]
fn a_console_while_dev_is_exchanged() {
    container_test(|t| {
        let treasure = Treasure::new(t);
        let bundle = t.bundle().writable().set("/process/terminal", true).dir_in_root("/dev/pts");
        let bundle = bundle.no_mount("/dev").no_mount("/dev/shm").no_mount("/dev/mqueue");
        let bundle = bundle.file("/dev/console", "").symlink("/data/console", &treasure.secret());
        let (one, two) = (bundle.path("/dev/console"), bundle.path("/data/console"));
        let bundle = bundle.asks(&["stat /dev/console"]);
        while_exchanging(&one, &two, || {
            if let Some(stat) = on_a_terminal(t, &bundle)
                && stat["type"] == "char"
            {
                assert!(stat["rdev"].as_str().unwrap_or_default().starts_with("136:"), "{stat}");
            }
            t.delete_force();
        });
        treasure.is_unchanged(t);
    });
}

#[test]
fn a_number_as_the_user_of_exec_is_that_user() {
    container_test(|t| {
        // CVE-2026-30892: a user read in a lax way became root.
        t.up(t.bundle().file("/etc/passwd", "1:x:0:0:::\nroot:x:0:0:::\n7:x:0:0:::\n"));
        for (word, uid, gid) in
            [("1", 1, 0), ("7:8", 7, 8), ("1000:1", 1000, 1), ("4294967294", 4_294_967_294_u32, 0)]
        {
            let out = t.exec_with(&["--user", word], &["uid", "gid"]).ok().answers();
            assert_eq!((&out["uid"][0], &out["gid"][0]), (&json!(uid), &json!(gid)), "{word}");
            assert_eq!(out["uid"][1], uid, "{word}: the effective one");
        }
        for word in ["", "01x", "1x", "+1", "-1", " 1", "1:", ":1", "0x1", "1:x", "4294967295", "4294967296"]
        {
            differs!(t, Runc, "1.1 is laxer");
            differs!(t, Crun, "1.8 is laxer");
            t.exec_with(&["--user", word], &["uid"]).fails();
        }
        t.delete_force();
    });
}

/// What init opens between pivot_root and the payload's execve.
fn opened_inside(log: &str) -> Vec<String> {
    let mut inside = Vec::new();
    let mut all = Vec::new();
    for line in log.lines() {
        let Some((pid, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if call.starts_with("pivot_root(") {
            inside.push(pid);
        } else if call.starts_with("execve(") {
            inside.retain(|other| *other != pid);
        } else if inside.contains(&pid) && call.starts_with("open") {
            all.extend(call.split('"').nth(1).map(str::to_owned));
        }
    }
    all
}

#[test]
fn nothing_of_the_image_is_loaded_into_the_runtime() {
    container_test(|t| {
        // CVE-2019-14271: name services and libraries of the image, in a process of the host.
        if !can_trace() {
            return;
        }
        let bundle = t.bundle().set("/process/user", json!({ "uid": 7, "gid": 8 })).remove("/process/env");
        let bundle = bundle
            .file("/etc/nsswitch.conf", "passwd: evil files\ngroup: evil files\n")
            .file("/etc/passwd", "ann:x:7:8::/home/ann:\n")
            .file("/etc/group", "")
            .file("/etc/ld.so.preload", "/lib/evil.so\n")
            .file("/lib/x86_64-linux-gnu/libnss_evil.so.2", "no library")
            .file("/usr/lib/libnss_evil.so.2", "no library")
            .asks(&["env"]);
        let log = t.scratch("strace");
        let flags = [
            "-f",
            "-o",
            log.to_str().unwrap(),
            "-e",
            "trace=pivot_root,execve,open,openat,openat2,open_tree",
        ];
        let out = t.output(traced(t, &flags, &t.with_bundle("run", &bundle, &[]))).ok();
        differs!(t, Runc, "its Go runtime and libraries open files of their own");
        differs!(t, Crun, "reads the host's and the image's files by libc");
        assert_eq!(out.answers()["env"]["HOME"], "/home/ann");
        let opened = opened_inside(&fs::read_to_string(&log).unwrap());
        assert!(opened.iter().any(|path| path.ends_with("etc/passwd")), "{opened:?}");
        for path in &opened {
            let bad = ["nss", "ld.so", ".so", "/lib", "etc/group"].iter().any(|part| path.contains(part));
            assert!(!bad, "{path} was opened: {opened:?}");
        }
    });
}

/// A group of the host that an ordinary user was given, which is removed in the end.
struct Delegated {
    dir: PathBuf,
}

impl Delegated {
    fn new(t: &Test, uid: u32) -> Self {
        let tree = if Host::here() == Host::V2 { "" } else { "freezer" };
        let dir = PathBuf::from("/sys/fs/cgroup").join(tree).join(t.named("given"));
        fs::create_dir(&dir).unwrap();
        std::os::unix::fs::chown(&dir, Some(uid), Some(uid)).unwrap();
        Self { dir }
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let _ = fs::remove_dir(self.dir.join("escape"));
        let _ = fs::remove_dir(&self.dir);
    }
}

#[test]
fn the_hosts_groups_are_read_only_in_a_user_namespace() {
    container_test(|t| {
        // CVE-2023-25809: root of a user namespace owns a group of the host, and sees it.
        differs!(t, Runc, "1.1 has them writable");
        differs!(t, Crun, "1.8 has them writable");
        let given = Delegated::new(t, 100_000);
        let dir = t.scratch("rootless");
        fs::create_dir(&dir).unwrap();
        t.call(&["spec", "--rootless", "--bundle", dir.to_str().unwrap()]).ok();
        let spec: Value = serde_json::from_slice(&fs::read(dir.join("config.json")).unwrap()).unwrap();
        let sys =
            spec["mounts"].as_array().unwrap().iter().find(|mount| mount["destination"] == "/sys").unwrap();
        let as_runc_asks = json!({
            "destination": "/sys", "type": "none", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
        });
        let groups = json!({ "destination": "/sys/fs/cgroup", "type": "cgroup", "options": ["rw"] });
        for (mount, must_show) in [(sys, true), (&as_runc_asks, true), (&groups, false)] {
            let bundle = t.bundle().userns().no_mount("/sys/fs/cgroup");
            let bundle = if must_show { bundle.no_mount("/sys").namespace("network", false) } else { bundle };
            let inside = given.dir.to_str().unwrap();
            let questions = [format!("mkdir {inside}/escape"), format!("list {inside}")];
            let a = t.ask(bundle.push("/mounts", mount.clone()), &[&questions[0], &questions[1]]);
            assert_ne!(a[&questions[0]], "ok", "{mount}");
            assert!(a[&questions[1]].is_array() || !must_show, "the group is not seen: {a}");
            assert!(!given.dir.join("escape").exists());
        }
    });
}

/// A stopped container whose record has been changed to name another process, which must
/// come to no harm whatever is asked for.
fn names_a_bystander(change: impl Fn(&mut Value, u32, u64)) {
    container_test(|t| {
        if t.flavor() != Flavor::Soute {
            return note_skip("the files of the state directory are our own");
        }
        t.create(&t.bundle().asks(&["pid"])).ok();
        t.start().ok();
        t.until_stopped();
        let mut bystander = t.holder(&["--uts"]);
        let stat = fs::read_to_string(format!("/proc/{}/stat", bystander.pid())).unwrap();
        // starttime of proc_pid_stat(5).
        let start = stat.rsplit(')').next().unwrap().split_whitespace().nth(19).unwrap().parse().unwrap();
        let path = t.root().join(t.id()).join("state.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(record["init"]["pid"].is_number() && record["boot"].is_string(), "{record}");
        change(&mut record, bystander.pid(), start);
        fs::write(&path, record.to_string()).unwrap();
        assert_eq!(t.status(), "stopped");
        t.kill("KILL").fails();
        t.call(&["exec", t.id(), "/payload", "pid"]).fails();
        t.delete_force();
        assert!(!bystander.ended(), "another process was signalled");
    });
}

#[test]
fn a_pid_that_has_been_given_out_again_is_not_signalled() {
    names_a_bystander(|record, pid, _| record["init"]["pid"] = json!(pid));
}

#[test]
fn a_container_of_another_boot_is_stopped() {
    names_a_bystander(|record, pid, start| {
        record["init"] = json!({ "pid": pid, "start": start });
        record["boot"] = json!("00000000-0000-0000-0000-000000000000");
        // With the boot its groups went.
        let group = record["id"].as_str().unwrap();
        let all = fs::read_dir("/sys/fs/cgroup").unwrap().flatten();
        for dir in all.map(|entry| entry.path()).chain([PathBuf::from("/sys/fs/cgroup")]) {
            let _ = fs::remove_dir(dir.join(group));
        }
    });
}
