// SPDX-License-Identifier: Apache-2.0
//! Hostile images and containers. The oracle is always the same: a directory of
//! the host, compared before and after, beside the census of every test.
#![allow(clippy::unwrap_used)]

mod caller;
mod corpus;
mod false_proc;
mod flaws;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use integration_test::{Bundle, Test, Treasure, container_test, differs};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use crate::flaws::while_exchanging;

#[test]
fn a_symlinked_proc_or_sys() {
    container_test(|t| {
        for place in ["/proc", "/sys"] {
            let treasure = Treasure::new(t);
            for target in [treasure.path(), &treasure.climb(), "..", "/data/../tmp"] {
                let bundle = t.bundle().symlink(place, target);
                treasure.harmless(t, bundle.clone(), &["pid"]);
                let out = t.run(&bundle.asks(&["pid"]));
                differs!(t, Crun, " ->");
                out.fails();
            }
        }
    });
}

#[test]
fn a_symlinked_dev() {
    container_test(|t| {
        let treasure = Treasure::new(t);
        let questions = ["stat /dev/null", &format!("list {}", treasure.path())];
        for target in [treasure.path(), &treasure.climb()] {
            let mounted = t.bundle().symlink("/dev", target);
            // Without a mount on it the devices would be made where the link leads to.
            let plain = t.bundle().symlink("/dev", target);
            let plain =
                plain.no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue");
            for bundle in [mounted, plain] {
                let out = treasure.harmless(t, bundle, &questions);
                differs!(t, Runc, "a link in place of /dev is an error at times");
                differs!(t, Crun, "a link in place of /dev is an error at times");
                // The link leads to a place of the image, which has the devices.
                let a = out.ok().answers();
                assert_eq!(a[questions[0]]["rdev"], "1:3", "{target}: {a}");
                assert!(a[questions[1]].to_string().contains("\"urandom\""), "{target}: {a}");
            }
        }
    });
}

#[test]
fn symlinks_in_dev() {
    container_test(|t| {
        let treasure = Treasure::new(t);
        let secret = treasure.secret();
        let climb = format!("{}/secret", treasure.climb());
        for name in ["null", "zero", "tty", "ptmx", "console", "pts", "shm", "fd", "stdin"] {
            for target in [&secret, &climb] {
                let bundle = t.bundle().writable().symlink(&format!("/dev/{name}"), target);
                let bundle =
                    bundle.no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue");
                treasure.harmless(t, bundle, &["pid"]);
            }
        }
    });
}

#[test]
fn a_symlinked_console() {
    container_test(|t| {
        let treasure = Treasure::new(t);
        let secret = treasure.secret();
        for target in [secret.clone(), format!("{}/secret", treasure.climb()), "/etc/inside".to_owned()] {
            let bundle =
                t.bundle().writable().symlink("/dev/console", &target).set("/process/terminal", true);
            let bundle = bundle.no_mount("/dev").no_mount("/dev/shm").no_mount("/dev/mqueue");
            let listener = t.listener();
            let bundle = bundle.asks(&["pid"]);
            t.create_with(&bundle, &["--console-socket", listener.path().to_str().unwrap()]);
            t.delete_force();
            treasure.is_unchanged(t);
        }
    });
}

/// Nothing of the host is touched, which a mount on a directory of the host would not show: that is
/// seen by the container's own mount namespace alone. So it must be in the container, at this place.
fn lands(t: &Test, treasure: &Treasure, bundle: Bundle, place: &str) {
    let a = treasure.harmless(t, bundle, &["mounts"]).ok().answers();
    let all = a["mounts"].as_array().unwrap();
    assert!(all.iter().any(|mount| mount["at"] == place), "{place}: {a}");
}

#[test]
fn a_mount_destination_through_a_symlink() {
    container_test(|t| {
        let treasure = Treasure::new(t);
        let path = treasure.path();
        for (target, inside) in [(path, path), (&treasure.climb(), path), ("..", ""), ("/../../..", "")] {
            let bundle = || t.bundle().writable().symlink("/data/link", target);
            match inside {
                "" => {
                    drop(treasure.harmless(t, bundle().mount("/data/link", "tmpfs", "tmpfs", &[]), &["pid"]))
                }
                place => lands(t, &treasure, bundle().mount("/data/link", "tmpfs", "tmpfs", &[]), place),
            }
            let deep = bundle().mount("/data/link/new/deep", "tmpfs", "tmpfs", &[]);
            lands(t, &treasure, deep, &format!("{inside}/new/deep"));
            let file = bundle().bind(t.payload(), "/data/link/file", &["ro"]);
            lands(t, &treasure, file, &format!("{inside}/file"));
        }
        for climb in [treasure.climb(), format!("/data/{}", treasure.climb())] {
            lands(t, &treasure, t.bundle().writable().mount(&climb, "tmpfs", "tmpfs", &[]), path);
        }
    });
}

#[test]
fn a_dangling_last_symlink_as_a_mountpoint() {
    container_test(|t| {
        let treasure = Treasure::new(t);
        let target = format!("{}/made", treasure.dir.display());
        let bundle = t.bundle().writable().symlink("/data/link", &target);
        treasure.harmless(t, bundle.clone().bind(t.payload(), "/data/link", &[]), &["pid"]);
        treasure.harmless(t, bundle.mount("/data/link", "tmpfs", "tmpfs", &[]), &["pid"]);
    });
}

#[test]
fn a_mountpoint_that_is_exchanged_with_a_symlink() {
    container_test(|t| {
        let treasure = Treasure::new(t);
        let bundle = t.bundle().writable().dir_in_root("/data/swap").symlink("/data/other", treasure.path());
        let bundle =
            bundle.mount("/data/swap/in", "tmpfs", "race", &[]).mount("/data/swap", "tmpfs", "race", &[]);
        let (one, two) = (bundle.path("/data/swap"), bundle.path("/data/other"));
        let bundle = bundle.asks(&["mounts"]);
        while_exchanging(&one, &two, || {
            let out = t.run(&bundle);
            if out.code == 0 {
                // Wherever the name led: it was a place of the container, and the mount is there.
                let mounts = out.answers()["mounts"].as_array().unwrap().clone();
                let ours = mounts.iter().filter(|mount| mount["source"] == "race").count();
                assert_eq!(ours, 2, "{mounts:?}");
            }
        });
        t.delete_force();
        treasure.is_unchanged(t);
    });
}

#[test]
fn hostile_masked_paths() {
    container_test(|t| {
        let treasure = Treasure::new(t);
        let secret = treasure.secret();
        let bundle =
            t.bundle().writable().symlink("/data/link", &secret).symlink("/data/dir", treasure.path());
        let paths =
            json!(["/data/link", "/data/dir", treasure.climb(), "/data/../../../../etc/hostname", "/"]);
        treasure.harmless(t, bundle.clone().set("/linux/maskedPaths", paths.clone()), &["pid"]);
        treasure.harmless(t, bundle.set("/linux/readonlyPaths", paths), &["pid"]);
    });
}

#[test]
fn the_images_null_device_masks_nothing() {
    container_test(|t| {
        differs!(t, Runc, "1.1 opens the image's /dev/null, in a user's terms CVE-2025-31133");
        differs!(t, Crun, "1.8 opens the image's /dev/null");
        // CVE-2025-31133: a bind of the image's /dev/null over a masked file shows what it links to.
        let treasure = Treasure::new(t);
        for target in
            ["/proc/sys/net/ipv4/ip_default_ttl", "/etc/readable", "/etc/masked", &treasure.secret()]
        {
            let plain = || {
                let bundle =
                    t.bundle().writable().file("/etc/masked", "masked").file("/etc/readable", "readable");
                let bundle = bundle.no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm");
                bundle.no_mount("/dev/mqueue").set("/linux/maskedPaths", json!(["/etc/masked"]))
            };
            // Refused, since the container's own null device has no place.
            treasure.harmless(t, plain().symlink("/dev/null", target), &["pid"]);
            // Somebody else's /dev is taken as it is: the mask is all that is put there.
            let dev = t.scratch("dev");
            fs::create_dir(&dev).unwrap();
            symlink(target, dev.join("null")).unwrap();
            let bundle = plain().bind(&dev, "/dev", &[]);
            let out = treasure.harmless(t, bundle, &["read /etc/masked", "stat /etc/masked"]);
            let a = out.ok().answers();
            assert_eq!(a["read /etc/masked"], "", "{target}");
            assert_eq!(a["stat /etc/masked"]["rdev"], "1:3", "{target}");
        }
    });
}

#[test]
fn a_working_directory_behind_a_descriptor() {
    container_test(|t| {
        // CVE-2024-21626.
        for number in (3..20).chain([100, 1023]) {
            let bundle = t.bundle().set("/process/cwd", format!("/proc/self/fd/{number}"));
            let out = t.run(&bundle.asks(&["cwd", "list ../../../../.."]));
            if out.code == 0 {
                let a = out.answers();
                assert!(a["list ../../../../.."].to_string().contains("\"payload\""), "{number}: {a}");
            }
            t.delete_force();
        }
    });
}

#[test]
fn a_working_directory_of_exec_behind_a_descriptor() {
    container_test(|t| {
        t.up(t.bundle().symlink("/etc/link", "/proc/self/fd/7"));
        for cwd in (3..12).map(|number| format!("/proc/self/fd/{number}")).chain(["/etc/link".to_owned()]) {
            let out = t.exec_with(&["--cwd", &cwd], &["cwd", "list ../../../../.."]);
            if out.code == 0 {
                let a = out.answers();
                assert!(a["list ../../../../.."].to_string().contains("\"payload\""), "{cwd}: {a}");
            }
        }
        t.delete_force();
    });
}

#[test]
fn a_program_behind_a_descriptor_of_the_caller() {
    container_test(|t| {
        // CVE-2024-21626, by the program's path: it is resolved while close-on-exec is still to come.
        differs!(t, Runc, "runs a program of the host");
        differs!(t, Crun, "runs a program of the host");
        // The payload is static, so nothing of the host's libraries is missed.
        let program = t.payload().display();
        for number in [3, 9, 200] {
            let bundle = t.bundle().args(&[&format!("/proc/self/fd/{number}{program}"), "pid"]);
            t.call_redirected(&t.with_bundle("run", &bundle, &[]), "3</ 9</ 200</").fails();
        }
        t.up(t.bundle().symlink("/link", &format!("/proc/self/fd/9{program}")));
        t.call_redirected(&["exec", t.id(), "/link"], "3</ 9</ 200</").fails();
        t.delete_force();
    });
}

#[test]
fn a_program_of_exec_behind_a_descriptor_of_the_runtime() {
    container_test(|t| {
        t.up(t.bundle());
        for number in 3..24 {
            let climb = format!("/proc/self/fd/{number}/{}{}", "../".repeat(8), t.payload().display());
            let out = t.call(&["exec", t.id(), &climb, "pid"]);
            assert_ne!(out.code, 0, "descriptor {number} leads to the host");
        }
        t.delete_force();
    });
}

/// Inode, size and content of a file, as one text.
fn print_of(path: &Path) -> (u64, u64, Vec<u8>) {
    let meta = fs::metadata(path).unwrap();
    (meta.ino(), meta.size(), fs::read(path).unwrap())
}

#[test]
fn the_runtimes_own_program_as_the_entrypoint() {
    container_test(|t| {
        // CVE-2019-5736, with a copy of the program, which is free to be overwritten.
        let program = t.copy_runtime();
        let before = print_of(&program);
        let bundle =
            t.bundle().writable().file("/entry", "#!/proc/self/exe\n").symlink("/link", "/proc/self/exe");
        fs::set_permissions(bundle.path("/entry"), fs::Permissions::from_mode(0o755)).unwrap();
        for entry in ["/entry", "/link", "/proc/self/exe"] {
            t.run(&bundle.clone().args(&[entry, "--version"]));
            t.delete_force();
        }
        assert!(print_of(&program) == before, "the program was changed");
    });
}

#[test]
fn the_runtimes_own_program_is_not_written_from_inside() {
    container_test(|t| {
        let program = t.copy_runtime();
        let before = print_of(&program);
        let bundle = t.bundle().writable().caps(&["CAP_SYS_PTRACE", "CAP_DAC_OVERRIDE", "CAP_KILL"]);
        let bundle = bundle.symlink("/link", "/proc/self/exe").asks(&["out up", "overwrite 1500"]);
        let out = t.create(&bundle).ok();
        t.start().ok();
        t.until("up", || out.stdout().contains("up"));
        // The runtime enters the container again and again; with the link it even runs there.
        while !out.stdout().contains("overwrite") {
            t.call(&["exec", t.id(), "/payload", "pid"]);
            t.call(&["exec", t.id(), "/link", "--version"]);
        }
        t.until_stopped();
        let answers = out.answers()["overwrite 1500"].clone();
        t.delete().ok();
        // On runc and ours what is seen is a sealed copy or a read-only mount.
        assert!(print_of(&program) == before, "the program was changed: {answers}");
    });
}

#[test]
fn root_of_a_user_namespace_cannot_loosen_the_hosts_mount() {
    container_test(|t| {
        let dir = t.scratch("locked");
        fs::create_dir(&dir).unwrap();
        let shell = format!(
            "mount -t tmpfs -o nosuid,nodev,noexec locked {0} && echo text > {0}/file && mount -o remount,ro {0} && exec \"$0\" \"$@\"",
            dir.display()
        );
        t.before(&["unshare", "-m", "sh", "-c", &shell]);
        let bundle = t.bundle().userns().caps(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]).writable();
        let questions = [
            "remount /data nosuid nodev noexec",
            "remount /data ro nodev noexec",
            "remount /data",
            "write /data/file x",
            "mount /data",
            "bind /data /tmp",
            "remount /tmp",
            "write /tmp/file x",
        ];
        let a = t.ask(bundle.mount("/data", "bind", &dir, &["rbind"]), &questions);
        assert_eq!(a["write /data/file x"]["error"], "EROFS", "{a}");
        assert_ne!(a["write /tmp/file x"], "ok", "{a}");
        for word in ["ro", "nosuid", "nodev", "noexec"] {
            assert!(a["mount /data"]["options"].as_array().unwrap().contains(&json!(word)), "{word}: {a}");
        }
        for question in &questions[..3] {
            assert_eq!(a[question]["error"], "EPERM", "{question}: {a}");
        }
    });
}

#[test]
fn root_of_a_user_namespace_cannot_uncover_what_is_hidden() {
    container_test(|t| {
        let dir = t.scratch("covered");
        fs::create_dir_all(dir.join("sub")).unwrap();
        fs::write(dir.join("sub/secret"), "secret of the host").unwrap();
        let shell = format!("mount -t tmpfs cover {}/sub && exec \"$0\" \"$@\"", dir.display());
        t.before(&["unshare", "-m", "sh", "-c", &shell]);
        let bundle = || t.bundle().userns().caps(&["CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]).writable();
        let questions = [
            "umount /data/sub",
            "list /data/sub",
            "bind /data /tmp",
            "read /tmp/sub/secret",
            "read /data/sub/secret",
        ];
        let a = t.ask(bundle().mount("/data", "bind", &dir, &["rbind"]), &questions);
        assert_eq!(a["umount /data/sub"]["error"], "EINVAL", "{a}");
        assert!(!a.to_string().contains("secret of the host"), "{a}");
        // A plain bind would leave the cover behind.
        let out = t.run(&bundle().mount("/data", "bind", &dir, &["bind"]).asks(&["read /data/sub/secret"]));
        assert!(!out.stdout().contains("secret of the host"), "{}", out.stdout());
        t.delete_force();
    });
}

#[test]
fn the_hosts_proc_is_not_uncovered() {
    container_test(|t| {
        let bundle = t.bundle().userns().caps(&["CAP_SYS_ADMIN"]);
        let a = t.ask(
            bundle,
            &[
                "umount /proc/keys",
                "umount /proc/sys",
                "umount /sys/firmware",
                "write /proc/sys/kernel/domainname x",
            ],
        );
        for question in ["umount /proc/keys", "umount /sys/firmware"] {
            // What the runtime mounted inside may be unmounted by the container's own root; the host's may not.
            assert!(a[question].is_string() || a[question]["error"].is_string());
        }
        let bundle = t.bundle();
        let a = t.ask(bundle, &["umount /proc/keys", "umount /proc/sys", "umount /sys/firmware"]);
        for (question, answer) in a.as_object().unwrap() {
            assert_eq!(answer["error"], "EPERM", "{question}");
        }
    });
}

#[test]
fn odd_passwd_and_group_files() {
    container_test(|t| {
        for name in ["passwd", "group"] {
            for kind in ["fifo", "dir", "sparse", "loop", "device"] {
                let bundle = t.bundle().without(&format!("/etc/{name}"));
                let path = bundle.path(&format!("/etc/{name}"));
                match kind {
                    "fifo" => mknodat(CWD, &path, FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap(),
                    "dir" => fs::create_dir(&path).unwrap(),
                    "sparse" => fs::File::create(&path).unwrap().set_len(1 << 40).unwrap(),
                    "loop" => std::os::unix::fs::symlink(name, &path).unwrap(),
                    _ => std::os::unix::fs::symlink("/dev/zero", &path).unwrap(),
                }
                let bundle = bundle.remove("/process/env").asks(&["pid"]);
                let begin = std::time::Instant::now();
                let running = t.spawn(&bundle, &[]);
                let end = begin + std::time::Duration::from_secs(5);
                let mut running = Some(running);
                while std::time::Instant::now() < end && !running.as_mut().unwrap().ended() {
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                let ended = running.as_mut().unwrap().ended();
                if !ended {
                    drop(running.take());
                    t.clean();
                    differs!(t, Runc, "hangs on a {kind} as /etc/{name}");
                    differs!(t, Crun, "hangs on a {kind} as /etc/{name}");
                }
                assert!(ended, "{kind} as /etc/{name}: still running");
                assert!(running.unwrap().wait().signal.is_none());
                t.delete_force();
            }
        }
    });
}

#[test]
fn a_user_name_that_looks_like_a_number() {
    container_test(|t| {
        // CVE-2016-3697.
        let bundle = t
            .bundle()
            .file("/etc/passwd", "1000:x:0:0:::\nroot:x:0:0:::\n")
            .file("/etc/group", "1000:x:0:\n");
        let a = t.ask(bundle.set("/process/user", json!({ "uid": 1000, "gid": 1000 })), &["uid", "gid"]);
        assert_eq!((&a["uid"][0], &a["gid"][0]), (&json!(1000), &json!(1000)));
    });
}

#[test]
fn a_bundle_that_is_a_fifo() {
    container_test(|t| {
        let bundle = t.bundle();
        mknodat(CWD, bundle.dir().join("config.json"), FileType::Fifo, Mode::from_raw_mode(0o644), 0)
            .unwrap();
        let words = ["create", "--bundle", bundle.dir().to_str().unwrap(), t.id()];
        differs!(t, Runc, "hangs on a fifo as config.json");
        differs!(t, Crun, "hangs on a fifo as config.json");
        t.call(&words).fails();
    });
}

#[test]
fn init_is_not_dumpable_before_execve() {
    container_test(|t| {
        t.create(&t.bundle().userns()).ok();
        // Owned by the host's root as long as it is not dumpable: nobody of the container may look into it.
        let meta = fs::metadata(format!("/proc/{}/environ", t.pid())).unwrap();
        differs!(t, Runc, "init is dumpable or not: uid");
        differs!(t, Crun, "init is dumpable or not: uid");
        assert_eq!(meta.uid(), 0);
        t.delete_force();
    });
}

#[test]
fn the_container_cannot_reach_the_runtimes_descriptors() {
    container_test(|t| {
        let bundle = t.bundle().caps(&["CAP_SYS_PTRACE", "CAP_KILL"]);
        t.up(bundle);
        let a = t.exec(&["list /proc/1/fd", "steal 1 3", "readlink /proc/1/cwd", "readlink /proc/1/root"]);
        assert_eq!(a["list /proc/1/fd"], json!(["0", "1", "2"]));
        assert_ne!(a["steal 1 3"], "ok");
        assert_eq!((&a["readlink /proc/1/cwd"], &a["readlink /proc/1/root"]), (&json!("/"), &json!("/")));
        t.delete_force();
    });
}

#[test]
fn the_runtime_in_the_container_cannot_be_traced() {
    container_test(|t| {
        // In a user namespace its processes are as free as the runtime is after it has joined them.
        let bundle = t.bundle().userns().caps(&["CAP_SYS_PTRACE", "CAP_KILL"]);
        let out = t.create(&bundle.asks(&["out up", "hunt 1500"])).ok();
        let a = t.exec(&[
            "steal 1 0",
            "steal 1 3",
            "list /proc/1/fd",
            "readlink /proc/1/cwd",
            "readlink /proc/1/exe",
        ]);
        for (question, answer) in a.as_object().unwrap() {
            assert!(
                ["EPERM", "EACCES"].contains(&answer["error"].as_str().unwrap_or("")),
                "{question}: {answer}"
            );
        }
        t.start().ok();
        t.until("up", || out.stdout().contains("up"));
        while !out.stdout().contains("hunt") {
            t.call(&["exec", t.id(), "/payload", "pid"]);
        }
        t.until_stopped();
        for answer in out.answers()["hunt 1500"].as_array().unwrap() {
            assert!(["EPERM", "ESRCH"].contains(&answer.as_str().unwrap()), "{answer}");
        }
        t.delete().ok();
    });
}

#[test]
fn the_state_directory_is_the_owners_alone() {
    container_test(|t| {
        t.create(&t.bundle()).ok();
        let mode = fs::metadata(t.root().join(t.id())).unwrap().mode() & 0o777;
        assert_eq!(mode & 0o066, 0, "{mode:o}");
        t.delete_force();
    });
}
