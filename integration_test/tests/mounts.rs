// SPDX-License-Identifier: Apache-2.0
//! Mounts: every type, the options, and the mountpoints that are made.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use integration_test::{Bundle, Flavor, Host, Test, container_test, differs};
use serde_json::{Value, json};

/// A directory of the host with one file in it.
fn source(t: &Test) -> PathBuf {
    let dir = t.scratch("source");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "of the host").unwrap();
    dir
}

/// The options that mountinfo shows of a mount.
fn options(a: &Value, question: &str) -> Vec<String> {
    let mut all: Vec<String> = serde_json::from_value(a[question]["options"].clone()).unwrap();
    all.extend(serde_json::from_value::<Vec<String>>(a[question]["super"].clone()).unwrap());
    all
}

#[test]
fn a_bind_shares_files_with_the_host() {
    container_test(|t| {
        let dir = source(t);
        let a = t.ask(t.bundle().bind(&dir, "/data", &[]), &["read /data/file", "write /data/new inside"]);
        assert_eq!(a["read /data/file"], "of the host");
        assert_eq!(fs::read_to_string(dir.join("new")).unwrap(), "inside");
    });
}

#[test]
fn a_read_only_bind() {
    container_test(|t| {
        let dir = source(t);
        let bundle = t.bundle().writable().bind(&dir, "/data", &["ro"]);
        let a = t.ask(bundle, &["write /data/file x", "write /tmp/ok x", "mount /data"]);
        assert_eq!(a["write /data/file x"]["error"], "EROFS");
        assert_eq!(a["write /tmp/ok x"], "ok");
        assert!(options(&a, "mount /data").contains(&"ro".to_owned()));
        assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), "of the host");
    });
}

#[test]
fn a_bind_by_type_or_by_option() {
    container_test(|t| {
        let dir = source(t);
        for (kind, words) in [
            ("bind", vec!["bind"]),
            ("none", vec!["bind"]),
            ("bind", vec!["rbind"]),
            ("none", vec!["rbind", "rw"]),
        ] {
            let a = t.ask(t.bundle().mount("/data", kind, &dir, &words), &["read /data/file"]);
            assert_eq!(a["read /data/file"], "of the host", "{kind} {words:?}");
        }
    });
}

#[test]
fn a_bind_with_every_flag() {
    container_test(|t| {
        let bundle = t.bundle().bind(source(t), "/data", &["ro", "nosuid", "nodev", "noexec", "noatime"]);
        let a = t.ask(bundle, &["mount /data"]);
        for word in ["ro", "nosuid", "nodev", "noexec", "noatime"] {
            assert!(options(&a, "mount /data").contains(&word.to_owned()), "{word}: {a}");
        }
    });
}

#[test]
fn noexec_is_enforced() {
    container_test(|t| {
        let dir = source(t);
        fs::copy(t.payload(), dir.join("program")).unwrap();
        let bundle = t.bundle().bind(&dir, "/data", &["noexec"]);
        let a = t.ask(bundle, &["exec /data/program pid"]);
        assert_eq!(a["exec /data/program pid"]["error"], "EACCES");
        t.run(&t.bundle().bind(&dir, "/data", &["noexec"]).args(&["/data/program", "pid"])).fails();
    });
}

#[test]
fn the_last_of_two_contrary_options_wins() {
    container_test(|t| {
        let a = t.ask(t.bundle().bind(source(t), "/data", &["ro", "rw", "nosuid", "suid"]), &["mount /data"]);
        let options = options(&a, "mount /data");
        assert!(
            !options.contains(&"ro".to_owned()) && !options.contains(&"nosuid".to_owned()),
            "{options:?}"
        );
        let a = t.ask(t.bundle().bind(source(t), "/data", &["rw", "ro"]), &["mount /data"]);
        assert!(a["mount /data"]["options"].as_array().unwrap().contains(&json!("ro")));
    });
}

#[test]
fn a_bind_of_one_file() {
    container_test(|t| {
        let file = source(t).join("file");
        let a = t.ask(
            t.bundle().writable().bind(&file, "/etc/new", &["ro"]),
            &["read /etc/new", "write /etc/new x"],
        );
        assert_eq!(a["read /etc/new"], "of the host");
        assert_eq!(a["write /etc/new x"]["error"], "EROFS");
    });
}

/// A source with a mount of its own below, in a mount namespace of the test's own.
fn with_submount(t: &Test, bundle: Bundle, option: &str, questions: &[&str]) -> Value {
    let dir = source(t);
    fs::create_dir(dir.join("sub")).unwrap();
    let shell = format!(
        "mount -t tmpfs below {0}/sub && echo text > {0}/sub/low && exec \"$0\" \"$@\"",
        dir.display()
    );
    t.before(&["unshare", "-m", "sh", "-c", &shell]);
    let words: Vec<&str> = option.split(' ').collect();
    t.ask(bundle.mount("/data", "bind", &dir, &words), questions)
}

#[test]
fn bind_leaves_submounts_behind() {
    container_test(|t| {
        let a = with_submount(t, t.bundle(), "bind", &["list /data/sub"]);
        assert_eq!(a["list /data/sub"], json!([]));
    });
}

#[test]
fn rbind_takes_submounts_along() {
    container_test(|t| {
        let a = with_submount(t, t.bundle(), "rbind", &["read /data/sub/low"]);
        assert_eq!(a["read /data/sub/low"], "text\n");
    });
}

#[test]
fn ro_of_an_rbind_stops_at_submounts() {
    container_test(|t| {
        let a = with_submount(t, t.bundle(), "rbind ro", &["write /data/file x", "write /data/sub/low x"]);
        assert_eq!(a["write /data/file x"]["error"], "EROFS");
        assert_eq!(a["write /data/sub/low x"], "ok");
    });
}

#[test]
fn rro_reaches_submounts() {
    container_test(|t| {
        let a = with_submount(t, t.bundle(), "rbind rro", &["write /data/file x", "write /data/sub/low x"]);
        assert_eq!(a["write /data/file x"]["error"], "EROFS");
        assert_eq!(a["write /data/sub/low x"]["error"], "EROFS");
    });
}

#[test]
fn rnosuid_and_rnodev_reach_submounts() {
    container_test(|t| {
        let a = with_submount(t, t.bundle(), "rbind rnosuid rnodev rnoexec", &["mount /data/sub"]);
        for word in ["nosuid", "nodev", "noexec"] {
            assert!(options(&a, "mount /data/sub").contains(&word.to_owned()), "{a}");
        }
    });
}

#[test]
fn rbind_in_a_user_namespace() {
    container_test(|t| {
        let a =
            with_submount(t, t.bundle().userns(), "rbind ro", &["read /data/sub/low", "write /data/file x"]);
        assert_eq!(a["read /data/sub/low"], "text\n");
        assert_eq!(a["write /data/file x"]["error"], "EROFS");
    });
}

#[test]
fn tmpfs_with_size_mode_and_owner() {
    container_test(|t| {
        let words = ["nosuid", "nodev", "mode=0710", "size=4m", "uid=7", "gid=8", "nr_inodes=100"];
        let bundle = t.bundle().writable().mount("/fresh", "tmpfs", "tmpfs", &words);
        let a = t.ask(bundle, &["stat /fresh", "statfs /fresh", "mount /fresh"]);
        assert_eq!((&a["stat /fresh"]["uid"], &a["stat /fresh"]["gid"]), (&json!(7), &json!(8)));
        assert_eq!(a["statfs /fresh"]["bytes"], 4 << 20);
        assert_eq!(a["statfs /fresh"]["inodes"], 100);
        assert_eq!(a["mount /fresh"]["type"], "tmpfs");
        differs!(t, Runc, "1.1 sets the mode of the mountpoint again");
        assert_eq!(a["stat /fresh"]["mode"], "0710");
    });
}

#[test]
fn tmpfs_without_a_mode_has_that_of_the_directory() {
    container_test(|t| {
        let bundle = t.bundle();
        fs::set_permissions(bundle.path("/data"), fs::Permissions::from_mode(0o1775)).unwrap();
        let a = t.ask(bundle.mount("/data", "tmpfs", "tmpfs", &[]), &["stat /data"]);
        assert_eq!(a["stat /data"]["mode"], "1775");
    });
}

#[test]
fn a_read_only_tmpfs() {
    container_test(|t| {
        let a = t.ask(t.bundle().mount("/data", "tmpfs", "tmpfs", &["ro"]), &["write /data/x y"]);
        assert_eq!(a["write /data/x y"]["error"], "EROFS");
    });
}

#[test]
fn an_unknown_option_is_the_file_systems_affair() {
    container_test(|t| {
        let bundle = t.bundle().mount("/data", "tmpfs", "tmpfs", &["size=1m", "bogus=1"]).asks(&["pid"]);
        let says = t.run(&bundle).fails();
        assert!(says.contains("/data"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
        if t.flavor() == Flavor::Soute {
            assert!(
                says.contains("bogus=1") && says.contains("the kernel says: tmpfs: Unknown parameter"),
                "{says}"
            );
        }
    });
}

#[test]
fn the_default_mounts() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["mounts"]);
        let all = a["mounts"].as_array().unwrap();
        for (at, kind, word) in [
            ("/proc", "proc", "rw"),
            ("/dev", "tmpfs", "nosuid"),
            ("/dev/pts", "devpts", "noexec"),
            ("/dev/shm", "tmpfs", "nodev"),
            ("/dev/mqueue", "mqueue", "nosuid"),
            ("/sys", "sysfs", "ro"),
        ] {
            let found = all.iter().find(|mount| mount["at"] == at).unwrap_or_else(|| panic!("{at}: {all:?}"));
            assert_eq!(found["type"], kind, "{at}");
            assert!(found["options"].as_array().unwrap().contains(&json!(word)), "{at}: {found}");
        }
    });
}

#[test]
fn a_new_devpts_is_empty() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["list /dev/pts", "stat /dev/pts/ptmx", "readlink /dev/ptmx"]);
        assert_eq!(a["list /dev/pts"], json!(["ptmx"]));
        assert_eq!(a["stat /dev/pts/ptmx"]["mode"], "0666");
        assert_eq!(a["readlink /dev/ptmx"], "pts/ptmx");
    });
}

#[test]
fn a_read_only_proc() {
    container_test(|t| {
        let bundle = t.bundle().no_mount("/proc").mount("/proc", "proc", "proc", &["ro", "nosuid"]);
        let a = t.ask(bundle, &["write /proc/self/comm x", "pid"]);
        assert_eq!(a["write /proc/self/comm x"]["error"], "EROFS");
    });
}

#[test]
fn proc_with_hidepid() {
    container_test(|t| {
        let bundle = t.bundle().no_mount("/proc").mount("/proc", "proc", "proc", &["hidepid=2"]);
        let a = t.ask(bundle, &["mount /proc"]);
        assert!(options(&a, "mount /proc").iter().any(|word| word.starts_with("hidepid=")), "{a}");
    });
}

#[test]
fn the_cgroup_mount_shows_the_containers_own() {
    container_test(|t| {
        let a = t.ask(
            t.bundle().namespace("cgroup", true),
            &["list /sys/fs/cgroup", "mounts", "mkdir /sys/fs/cgroup/x"],
        );
        assert!(a["mkdir /sys/fs/cgroup/x"]["error"].is_string(), "{a}");
        let all = a["mounts"].as_array().unwrap();
        let groups: Vec<&Value> =
            all.iter().filter(|mount| mount["type"].as_str().unwrap().starts_with("cgroup")).collect();
        assert!(!groups.is_empty());
        match Host::here() {
            Host::V2 => assert!(a["list /sys/fs/cgroup"].to_string().contains("cgroup.procs")),
            Host::V1 => {
                let pids = all.iter().find(|mount| mount["at"] == "/sys/fs/cgroup/pids").expect("a mount");
                assert_eq!(pids["root"], "/", "{pids}");
                assert!(pids["options"].as_array().unwrap().contains(&json!("ro")));
            }
        }
    });
}

#[test]
fn the_cgroup_mount_without_a_namespace() {
    container_test(|t| {
        let procs = "read /sys/fs/cgroup/pids/cgroup.procs";
        let a = t.ask(t.bundle(), &["mkdir /sys/fs/cgroup/x", "list /sys/fs/cgroup", procs]);
        assert!(a["mkdir /sys/fs/cgroup/x"]["error"].is_string(), "{a}");
        // v1 mounts show the container's own groups; v2 has one tree for all, shown whole.
        if Host::here() == Host::V1 {
            assert_eq!(a[procs], "1\n", "{a}");
        }
    });
}

#[test]
fn a_cgroup2_mount() {
    container_test(|t| {
        let bundle = t.bundle().namespace("cgroup", true).no_mount("/sys/fs/cgroup");
        let a = t.ask(
            bundle.mount("/data", "cgroup2", "cgroup", &["ro"]),
            &["mount /data", "read /data/cgroup.procs"],
        );
        assert_eq!(a["mount /data"]["type"], "cgroup2");
        if Host::here() == Host::V2 {
            assert_eq!(a["read /data/cgroup.procs"], "1\n");
        }
    });
}

#[test]
fn an_overlay_mount() {
    container_test(|t| {
        let (low, up, work) = (source(t), t.scratch("up"), t.scratch("work"));
        fs::create_dir(&up).unwrap();
        fs::create_dir(&work).unwrap();
        let words = [
            format!("lowerdir={}", low.display()),
            format!("upperdir={}", up.display()),
            format!("workdir={}", work.display()),
        ];
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let a = t.ask(
            t.bundle().mount("/data", "overlay", "overlay", &words),
            &["read /data/file", "write /data/file new"],
        );
        assert_eq!(a["read /data/file"], "of the host");
        assert_eq!(a["write /data/file new"], "ok");
        assert_eq!(fs::read_to_string(low.join("file")).unwrap(), "of the host");
        assert_eq!(fs::read_to_string(up.join("file")).unwrap(), "new");
    });
}

#[test]
fn an_unknown_file_system_is_refused() {
    container_test(|t| {
        let says = t.run(&t.bundle().mount("/data", "nosuchfs", "none", &[]).asks(&["pid"])).fails();
        assert!(says.contains("nosuchfs") || says.contains("/data"), "{says}");
    });
}

#[test]
fn mountpoints_are_made() {
    container_test(|t| {
        let file = source(t).join("file");
        let bundle = t.bundle().writable().mount("/new/deep/dir", "tmpfs", "tmpfs", &[]).bind(
            &file,
            "/new/a/file",
            &[],
        );
        let a = t.ask(bundle, &["mount /new/deep/dir", "read /new/a/file", "stat /new", "stat /new/deep"]);
        assert_eq!(a["mount /new/deep/dir"]["type"], "tmpfs");
        assert_eq!(a["read /new/a/file"], "of the host");
        assert_eq!(a["stat /new"]["mode"], "0755");
        assert_eq!(a["stat /new/deep"]["mode"], "0755");
    });
}

#[test]
fn a_mountpoint_inside_an_earlier_mount() {
    container_test(|t| {
        let bundle = t.bundle().mount("/data", "tmpfs", "tmpfs", &[]).mount(
            "/data/sub",
            "tmpfs",
            "tmpfs",
            &["size=1m"],
        );
        let a = t.ask(bundle, &["mount /data/sub", "write /data/x y"]);
        assert_eq!(a["mount /data/sub"]["type"], "tmpfs");
        assert_eq!(a["write /data/x y"], "ok");
    });
}

#[test]
fn a_mountpoint_with_odd_characters() {
    container_test(|t| {
        let name = "/data/with space\tand\\ü";
        let bundle = t.bundle().dir_in_root(name).mount(name, "tmpfs", "tmpfs", &[]).asks(&["mounts"]);
        let a = t.run(&bundle).ok().answers();
        // mountinfo writes them in octal.
        assert!(a["mounts"].to_string().contains("with\\\\040space\\\\011and\\\\134"), "{a}");
    });
}

#[test]
fn a_relative_destination_counts_from_the_root() {
    container_test(|t| {
        let out = t.run(&t.bundle().mount("data", "tmpfs", "tmpfs", &[]).asks(&["mount /data"]));
        differs!(t, Crun, "a relative destination");
        assert_eq!(out.ok().answers()["mount /data"]["type"], "tmpfs");
    });
}

#[test]
fn mounts_come_in_the_given_order() {
    container_test(|t| {
        let dir = source(t);
        let a =
            t.ask(t.bundle().mount("/data", "tmpfs", "tmpfs", &[]).bind(&dir, "/data", &[]), &["list /data"]);
        assert_eq!(a["list /data"], json!(["file"]));
        let a =
            t.ask(t.bundle().bind(&dir, "/data", &[]).mount("/data", "tmpfs", "tmpfs", &[]), &["list /data"]);
        assert_eq!(a["list /data"], json!([]));
    });
}

#[test]
fn a_missing_source_is_named() {
    container_test(|t| {
        let says = t.run(&t.bundle().bind("/no/such/source", "/data", &[]).asks(&["pid"])).fails();
        assert!(says.contains("/no/such/source"), "{says}");
        assert!(says.to_lowercase().contains("no such file or directory"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_directory_over_a_file_is_refused() {
    container_test(|t| {
        let says = t
            .run(&t.bundle().file("/data/file", "").bind(source(t), "/data/file", &[]).asks(&["pid"]))
            .fails();
        assert!(says.to_lowercase().contains("not a directory"), "{says}");
    });
}

#[test]
fn a_relative_source_counts_from_the_bundle() {
    container_test(|t| {
        let bundle = t.bundle();
        fs::create_dir(bundle.dir().join("volume")).unwrap();
        fs::write(bundle.dir().join("volume/file"), "of the bundle").unwrap();
        let a = t.ask(bundle.bind("volume", "/data", &[]), &["read /data/file"]);
        assert_eq!(a["read /data/file"], "of the bundle");
    });
}

#[test]
fn the_container_may_not_mount_without_the_right() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["mount tmpfs /data", "umount /proc", "remount /", "bind / /data"]);
        for (question, answer) in a.as_object().unwrap() {
            assert_eq!(answer["error"], "EPERM", "{question}");
        }
    });
}

#[test]
fn what_the_container_mounts_goes_with_it() {
    container_test(|t| {
        let bundle = t.bundle().writable().caps(&["CAP_SYS_ADMIN"]);
        let a = t.ask(bundle, &["mount tmpfs /data", "write /data/x y", "mount tmpfs /tmp"]);
        assert_eq!(a["mount tmpfs /data"], "ok", "{a}");
    });
}

#[test]
fn no_mounts_at_all() {
    container_test(|t| {
        let bundle =
            t.bundle().set("/mounts", json!([])).remove("/linux/maskedPaths").remove("/linux/readonlyPaths");
        let out = t.run(&bundle.asks(&["pid", "hostname"]));
        differs!(t, Runc, "without /proc");
        differs!(t, Crun, "without /proc");
        assert_eq!(out.ok().answers()["pid"], 1);
    });
}

#[test]
fn a_source_that_only_root_can_reach() {
    container_test(|t| {
        let dir = t.scratch("closed");
        fs::create_dir(&dir).unwrap();
        let inner = dir.join("open");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("file"), "text").unwrap();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        let out = t.run(&t.bundle().userns().bind(&inner, "/data", &["ro"]).asks(&["read /data/file"]));
        assert_eq!(out.ok().answers()["read /data/file"], "text");
    });
}
