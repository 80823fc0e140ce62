// SPDX-License-Identifier: Apache-2.0
//! The root file system: what the container sees of it, and that it cannot get out.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::MetadataExt;

use integration_test::{container_test, differs, skip};
use serde_json::json;

#[test]
fn the_root_is_the_bundles() {
    container_test(|t| {
        let a = t.ask(t.bundle().file("/etc/mark", "here"), &["read /etc/mark", "list /"]);
        assert_eq!(a["read /etc/mark"], "here");
        assert_eq!(a["list /"], json!(["data", "dev", "etc", "payload", "proc", "sys", "tmp"]));
    });
}

#[test]
fn a_read_only_root_refuses_writes() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["write /file text", "mkdir /tmp/x", "mount /", "statfs /"]);
        assert_eq!(a["write /file text"]["error"], "EROFS");
        assert_eq!(a["mkdir /tmp/x"]["error"], "EROFS");
        assert_eq!(a["statfs /"]["readonly"], true);
        assert!(a["mount /"]["options"].as_array().unwrap().contains(&json!("ro")));
    });
}

#[test]
fn a_read_only_root_leaves_mounts_writable() {
    container_test(|t| {
        let data = t.scratch("data");
        fs::create_dir(&data).unwrap();
        let bundle = t.bundle().bind(&data, "/data", &[]).mount("/tmp", "tmpfs", "tmpfs", &["nosuid"]);
        let a = t.ask(bundle, &["write /data/kept text", "write /tmp/gone text", "write /dev/shm/x y"]);
        for (question, answer) in a.as_object().unwrap() {
            assert_eq!(answer, "ok", "{question}");
        }
        assert_eq!(fs::read_to_string(data.join("kept")).unwrap(), "text");
    });
}

#[test]
fn a_writable_root_keeps_what_is_written() {
    container_test(|t| {
        let bundle = t.bundle().writable();
        let kept = bundle.path("/kept");
        let a = t.ask(bundle, &["write /kept text", "statfs /"]);
        assert_eq!(a["statfs /"]["readonly"], false);
        assert_eq!(fs::read_to_string(kept).unwrap(), "text");
    });
}

#[test]
fn root_path_may_be_absolute() {
    container_test(|t| {
        let bundle = t.bundle();
        let path = bundle.path("/");
        // With a slash at its end runc 1.1 finds nothing below it.
        let path = path.to_str().unwrap().trim_end_matches('/');
        let a = t.ask(bundle.file("/etc/mark", "x").set("/root/path", path), &["read /etc/mark"]);
        assert_eq!(a["read /etc/mark"], "x");
    });
}

#[test]
fn dotdot_of_the_root_is_the_root() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["list /../../..", "stat /", "stat /.."]);
        assert!(a["list /../../.."].as_array().unwrap().contains(&json!("payload")));
        assert_eq!(a["stat /"]["ino"], a["stat /.."]["ino"]);
    });
}

#[test]
fn a_symlink_out_of_the_root_stays_inside() {
    container_test(|t| {
        let bundle =
            t.bundle().symlink("/etc/up", "../../../../../../etc/passwd").file("/etc/passwd", "inside");
        let a = t.ask(bundle, &["read /etc/up"]);
        assert_eq!(a["read /etc/up"], "inside");
    });
}

#[test]
fn chroot_does_not_lead_out() {
    container_test(|t| {
        let bundle = t.bundle().writable().caps(&["CAP_SYS_CHROOT"]);
        let questions = ["chroot /tmp", "chdir ..", "chdir ../../../..", "chroot .", "list /"];
        let a = t.ask(bundle, &questions);
        // The classic escape ends at the container's own root.
        let list = a["list /"].as_array().unwrap();
        assert!(list.contains(&json!("payload")), "{a}");
        assert!(!list.contains(&json!("boot")) && !list.contains(&json!("home")), "{a}");
    });
}

#[test]
fn the_old_root_is_not_mounted() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["mounts"]);
        let mounts = a["mounts"].as_array().unwrap();
        let roots = mounts.iter().filter(|mount| mount["at"] == "/").count();
        assert_eq!(roots, 1, "{mounts:?}");
        // Everything is of the container's own specification: ten or so, and none of the host's.
        for mount in mounts {
            let at = mount["at"].as_str().unwrap();
            assert!(["/proc", "/dev", "/sys"].iter().any(|top| at.starts_with(top)) || at == "/", "{mount}");
        }
    });
}

#[test]
fn proc_1_root_is_the_containers() {
    container_test(|t| {
        t.up(t.bundle().file("/etc/mark", "x"));
        let pid = t.pid();
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/root/etc/mark")).unwrap(), "x");
        let a = t.exec(&["list /proc/1/root"]);
        assert!(a["list /proc/1/root"].as_array().unwrap().contains(&json!("payload")), "{a}");
        t.delete_force();
    });
}

#[test]
fn no_pivot_runs_the_container() {
    container_test(|t| {
        let out = t.run_with(&t.bundle().asks(&["list /", "list /.."]), &["--no-pivot"]).ok();
        let a = out.answers();
        assert!(a["list /"].as_array().unwrap().contains(&json!("payload")));
        assert_eq!(a["list /"], a["list /.."]);
    });
}

#[test]
fn the_root_may_lie_on_a_shared_mount() {
    container_test(|t| {
        let dir = t.scratch("shared");
        fs::create_dir(&dir).unwrap();
        // A namespace of the test's own in which everything is shared, as systemd makes it.
        t.before(&["unshare", "-m", "--propagation", "shared"]);
        let a = t.ask(t.bundle(), &["mounts"]);
        let first = &a["mounts"][0];
        assert!(!first["propagation"].to_string().contains("shared"), "{first}");
    });
}

#[test]
fn mounts_do_not_reach_the_host() {
    container_test(|t| {
        // The caller's namespace shares everything; its own mount table is compared before and after.
        let bundle = t.bundle().mount("/tmp", "tmpfs", "tmpfs", &[]).asks(&["pid"]);
        bundle.save();
        let line = format!(
            "cat /proc/self/mountinfo > before; {} --root {} run --bundle {} {} && cat /proc/self/mountinfo | diff before -",
            t.runtime().display(),
            t.root().display(),
            bundle.dir().display(),
            t.id()
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "--propagation", "shared", "sh", "-c", &line]).current_dir(t.dir());
        let out = t.output(command).ok();
        assert!(out.stdout().contains("\"pid\"") && !out.stdout().contains(t.id()), "{}", out.stdout());
    });
}

/// The words of mountinfo that tell the propagation of the container's root.
fn propagation(word: &str, shown: &str) {
    container_test(|t| {
        t.before(&["unshare", "-m", "--propagation", "shared"]);
        if matches!(word, "shared" | "unbindable") {
            differs!(t, Runc, "rootfsPropagation {word} is not the root's, or EINVAL");
        }
        let a = t.ask(t.bundle().set("/linux/rootfsPropagation", word), &["mount /"]);
        let text = a["mount /"]["propagation"].to_string();
        match shown {
            "" => assert!(!text.contains("shared") && !text.contains("master"), "{text}"),
            shown => assert!(text.contains(shown), "{text}"),
        }
    });
}

#[test]
fn rootfs_propagation_private() {
    propagation("private", "");
}

#[test]
fn rootfs_propagation_slave() {
    propagation("slave", "master:");
}

#[test]
fn rootfs_propagation_shared() {
    propagation("shared", "shared:");
}

#[test]
fn rootfs_propagation_unbindable() {
    propagation("unbindable", "unbindable");
}

#[test]
fn an_unknown_rootfs_propagation_is_refused() {
    container_test(|t| {
        t.run(&t.bundle().set("/linux/rootfsPropagation", "sideways").asks(&["pid"])).fails();
    });
}

#[test]
fn the_image_is_unchanged_by_a_read_only_run() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["pid"]);
        let list = |inside: &str| {
            let mut names: Vec<_> =
                fs::read_dir(bundle.path(inside)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let stat = |inside: &str| {
            let meta = fs::metadata(bundle.path(inside)).unwrap();
            (meta.mode(), meta.uid(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
        };
        let all = ["/", "/dev", "/proc", "/sys", "/etc", "/tmp", "/payload"];
        let before = all.map(|path| (stat(path), if path == "/payload" { vec![] } else { list(path) }));
        t.run(&bundle).ok();
        let after = all.map(|path| (stat(path), if path == "/payload" { vec![] } else { list(path) }));
        assert_eq!(before, after);
    });
}

#[test]
fn a_root_that_is_no_directory_is_refused() {
    container_test(|t| {
        t.run(&t.bundle().set("/root/path", "config.json").asks(&["pid"])).fails();
        t.run(&t.bundle().set("/root/path", "no/such").asks(&["pid"])).fails();
        t.run(&t.bundle().remove("/root").asks(&["pid"])).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_mount_over_the_root_directory() {
    container_test(|t| {
        // Not what anybody wants; it must be refused or do what it says, and leave nothing.
        let bundle = t.bundle().mount("/", "tmpfs", "tmpfs", &[]).asks(&["pid"]);
        t.run(&bundle);
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_ramdisk_root_needs_no_pivot() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["list /"]);
        bundle.save();
        // A root that is a chroot of the test's own, as on a machine that runs from its initramfs.
        if !fs::exists("/usr/sbin/chroot").unwrap() {
            skip!("chroot is not installed");
        }
        let line = format!(
            "mkdir -p top && mount --rbind / top && exec chroot top {} --root {} run --no-pivot --bundle {} {}",
            t.runtime().display(),
            t.root().display(),
            bundle.dir().display(),
            t.id()
        );
        let mut command = std::process::Command::new("unshare");
        command.args(["-m", "--propagation", "private", "sh", "-c", &line]).current_dir(t.dir());
        let out = t.output(command);
        differs!(t, Runc, "under a chroot");
        differs!(t, Crun, "under a chroot");
        assert!(out.ok().stdout().contains("payload"));
    });
}
