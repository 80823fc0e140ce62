// SPDX-License-Identifier: Apache-2.0
//! Containers of an ordinary user: every command runs without a right over the host.
#![allow(clippy::unwrap_used)]

use std::fs;

use integration_test::{Bundle, Flavor, differs, ordinary_test, skip};
use serde_json::{Value, json};

/// The ids on the host of the container's first process, or of another.
fn host_ids(pid: i64) -> (String, String) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().to_owned()
    };
    (field("Uid:"), field("Gid:"))
}

fn map(lines: &str) -> Vec<Vec<u32>> {
    lines.lines().map(|line| line.split_whitespace().map(|n| n.parse().unwrap()).collect()).collect()
}

#[test]
fn the_configuration_that_spec_writes_runs() {
    ordinary_test(|t, user| {
        differs!(t, Crun, "1.8 maps root to root");
        let dir = t.bundle().dir().to_owned();
        user.own(&dir);
        t.call(&["spec", "--rootless", "--bundle", dir.to_str().unwrap()]).ok();
        let text = fs::read_to_string(dir.join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(config["linux"]["uidMappings"][0]["hostID"], user.id());
        let config = text.replacen("\"terminal\": true", "\"terminal\": false", 1).replacen(
            "\"sh\"",
            "\"/payload\", \"uid\", \"read /proc/self/uid_map\", \"mkdir /x\"",
            1,
        );
        fs::write(dir.join("config.json"), config).unwrap();
        let out = t.call(&["run", "--bundle", dir.to_str().unwrap(), t.id()]).ok();
        let a = out.answers();
        assert_eq!(a["uid"], json!([0, 0, 0, 0]));
        assert_eq!(map(a["read /proc/self/uid_map"].as_str().unwrap()), [[0, user.id(), 1]]);
        assert_eq!(a["mkdir /x"]["error"], "EROFS");
    });
}

#[test]
fn a_whole_life() {
    ordinary_test(|t, user| {
        t.up(user.bundle(t));
        let state = t.state();
        assert_eq!(state["status"], "running");
        let pid = state["pid"].as_i64().unwrap();
        let id = user.id().to_string();
        assert_eq!(host_ids(pid), (id.clone(), id));
        assert!(t.call(&["list", "-q"]).ok().stdout().contains(t.id()));
        let a = t.exec(&["uid", "namespaces", "read /proc/1/status", "write /tmp/x y", "processes"]);
        assert_eq!(a["uid"], json!([0, 0, 0, 0]));
        for kind in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
            let theirs = fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
            assert_eq!(a["namespaces"][kind], theirs.to_str().unwrap(), "{kind}");
        }
        assert!(a["read /proc/1/status"].as_str().unwrap().contains("payload"));
        t.kill("TERM").ok();
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn containers_are_recorded_in_the_runtime_directory() {
    ordinary_test(|t, user| {
        let bundle = user.bundle(t).asks(&["wait-for TERM"]);
        bundle.save();
        let plain = t.command(&[]);
        let call = |words: &[&str]| {
            let mut command = std::process::Command::new(plain.get_program());
            let root = plain.get_args().position(|word| word == "--root").unwrap();
            command.args(plain.get_args().take(root)).args(words).stdin(std::process::Stdio::null());
            t.output(command).ok()
        };
        call(&["create", "--bundle", bundle.dir().to_str().unwrap(), t.id()]);
        let name = t.runtime().file_name().unwrap().to_owned();
        let name = if t.flavor() == Flavor::Soute { "soute".into() } else { name };
        assert!(t.dir().join("run").join(name).join(t.id()).exists());
        call(&["delete", "--force", t.id()]);
    });
}

#[test]
fn ranges_of_subordinate_ids() {
    ordinary_test(|t, user| {
        differs!(t, Runc, "1.1 refuses supplementary groups to every ordinary user");
        differs!(t, Crun, "exec is not the container's user");
        t.up(user
            .ranged(t)
            .set("/process/user", json!({ "uid": 1000, "gid": 1001, "additionalGids": [7, 8] })));
        let pid = t.state()["pid"].as_i64().unwrap();
        let host = |id: u32| (user.sub() + id - 1).to_string();
        assert_eq!(host_ids(pid), (host(1000), host(1001)));
        let ranges = [[0, user.id(), 1], [1, user.sub(), 65_535]];
        assert_eq!(map(&fs::read_to_string(format!("/proc/{pid}/uid_map")).unwrap()), ranges);
        assert_eq!(map(&fs::read_to_string(format!("/proc/{pid}/gid_map")).unwrap()), ranges);
        let a = t.exec(&["uid", "gid", "groups"]);
        assert_eq!(a["uid"], json!([1000, 1000, 1000, 1000]));
        assert_eq!(a["gid"], json!([1001, 1001, 1001, 1001]));
        assert_eq!(a["groups"], json!([7, 8]));
        let a = t.exec_with(&["--user", "12:13"], &["uid", "gid"]).ok().answers();
        assert_eq!((&a["uid"][0], &a["gid"][0]), (&json!(12), &json!(13)));
        t.kill("TERM").ok();
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn one_id_needs_no_helper() {
    ordinary_test(|t, user| {
        user.without_helpers(t);
        let a = t.ask(user.bundle(t), &["uid", "read /proc/self/setgroups"]);
        assert_eq!(a["uid"], json!([0, 0, 0, 0]));
        assert_eq!(a["read /proc/self/setgroups"], "deny\n");
    });
}

#[test]
fn ranges_need_the_helpers() {
    ordinary_test(|t, user| {
        user.without_helpers(t);
        let says = t.run(&user.ranged(t).asks(&["uid"])).fails();
        differs!(t, Runc, "names no property");
        differs!(t, Crun, "names no property");
        assert!(says.contains("linux.uidMappings") && says.contains("newuidmap"), "{says}");
        assert!(says.contains("package uidmap"), "{says}");
    });
}

#[test]
fn ids_of_others_are_refused() {
    ordinary_test(|t, user| {
        for (name, others) in [("uidMappings", 0), ("gidMappings", user.sub() + 65_536)] {
            let range = json!([{ "containerID": 0, "hostID": others, "size": 1 }]);
            let bundle = user.ranged(t).set(&format!("/linux/{name}"), range).asks(&["uid"]);
            let says = t.run(&bundle).fails();
            if t.flavor() == Flavor::Soute {
                assert!(says.contains(&format!("linux.{name}")), "{says}");
                assert!(says.contains("not allowed") && says.contains("/etc/sub"), "{says}");
            }
        }
    });
}

#[test]
fn a_user_namespace_is_needed() {
    ordinary_test(|t, user| {
        let bundle = user
            .bundle(t)
            .namespace("user", false)
            .remove("/linux/uidMappings")
            .remove("/linux/gidMappings")
            .asks(&["uid"]);
        differs!(t, Crun, "makes one of its own accord");
        let says = t.run(&bundle).fails();
        assert!(says.contains("user namespace"), "{says}");
    });
}

#[test]
fn supplementary_groups_need_a_range() {
    ordinary_test(|t, user| {
        differs!(t, Crun, "drops them in silence");
        let bundle = user.bundle(t).set("/process/user/additionalGids", json!([0])).asks(&["uid"]);
        let says = t.run(&bundle).fails();
        differs!(t, Runc, "names no property");
        assert!(says.contains("additionalGids"), "{says}");
    });
}

#[test]
fn devices_are_the_hosts() {
    ordinary_test(|t, user| {
        let a = t.ask(
            user.bundle(t),
            &["stat /dev/null", "stat /dev/urandom", "write /dev/null x", "node c 1 3 /tmp/n"],
        );
        for (path, number) in [("/dev/null", "1:3"), ("/dev/urandom", "1:9")] {
            assert_eq!(a[format!("stat {path}")]["rdev"], number, "{a}");
        }
        assert_eq!(a["write /dev/null x"], "ok");
        assert_ne!(a["node c 1 3 /tmp/n"], "ok");
    });
}

#[test]
fn what_shows_a_namespace_of_the_host_is_bound() {
    ordinary_test(|t, user| {
        differs!(t, Crun, "1.8 binds sysfs alone");
        differs!(t, Runc, "does not bind them");
        let bundle =
            ["network", "pid", "ipc"].into_iter().fold(user.bundle(t), |b, kind| b.namespace(kind, false));
        let host = fs::metadata("/dev/mqueue").is_ok_and(|meta| {
            use std::os::unix::fs::MetadataExt;
            meta.dev() != fs::metadata("/dev").unwrap().dev()
        });
        // Without a mount of it on the host there is nothing to bind.
        let bundle = if host { bundle } else { bundle.no_mount("/dev/mqueue") };
        let bundle = bundle.no_mount("/sys/fs/cgroup");
        let a =
            t.ask(bundle, &["mount /sys", "mount /proc", "read /proc/self/stat", "mkdir /sys/fs/cgroup/x"]);
        assert_eq!(a["mount /sys"]["type"], "sysfs", "{a}");
        assert_eq!(a["mount /proc"]["type"], "proc", "{a}");
        assert!(a["read /proc/self/stat"].is_string(), "{a}");
        assert_eq!(a["mkdir /sys/fs/cgroup/x"]["error"], "EROFS", "{a}");
    });
}

/// CVE-2023-25809: the caller's own groups lie below /sys, and read-only was not for them.
#[test]
fn the_hosts_cgroups_below_a_read_only_sys_are_read_only() {
    ordinary_test(|t, mut user| {
        differs!(t, Runc, "Debian's 1.1.5 leaves them writable (CVE-2023-25809)");
        differs!(t, Crun, "leaves them writable");
        user.delegate(t);
        let bundle = user.bundle(t).no_mount("/sys").no_mount("/sys/fs/cgroup").mount(
            "/sys",
            "none",
            "/sys",
            &["rbind", "nosuid", "noexec", "nodev", "ro"],
        );
        let group = user.groups().last().unwrap().join("escape");
        let question = format!("mkdir {}", group.display());
        let a = t.ask(bundle, &[&question]);
        assert_eq!(a[&question]["error"], "EROFS", "{a}");
    });
}

#[test]
fn an_unmapped_group_of_a_mount_is_refused() {
    ordinary_test(|t, user| {
        let bundle = user.bundle(t).mount("/data", "tmpfs", "tmpfs", &["gid=5"]).asks(&["uid"]);
        let says = t.run(&bundle).fails();
        differs!(t, Runc, "names no property");
        differs!(t, Crun, "names no property");
        assert!(says.contains("options[0]") && says.contains("gid=5"), "{says}");
        let a =
            t.ask(user.ranged(t).mount("/data", "tmpfs", "tmpfs", &["gid=5", "mode=750"]), &["stat /data"]);
        assert_eq!(a["stat /data"]["gid"], 5, "{a}");
    });
}

#[test]
fn a_time_namespace() {
    ordinary_test(|t, user| {
        differs!(t, Runc, "1.1 has no time namespace");
        differs!(t, Crun, "time namespaces fail here");
        let bundle = user
            .bundle(t)
            .namespace("time", true)
            .set("/linux/timeOffsets", json!({ "boottime": { "secs": 864_000, "nanosecs": 0 } }));
        t.up(bundle);
        let a = t.exec(&["clock boottime", "namespaces"]);
        let uptime: f64 =
            fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
        let ahead = a["clock boottime"].as_f64().unwrap() - uptime;
        assert!((863_900.0..864_100.0).contains(&ahead), "{ahead}");
        t.delete_force();
    });
}

#[test]
fn the_oom_score_can_only_rise() {
    ordinary_test(|t, user| {
        differs!(t, Runc, "exec does not set it, and lower values are taken in silence");
        differs!(t, Crun, "exec does not set it, and lower values are taken in silence");
        t.up(user.bundle(t).set("/process/oomScoreAdj", 500));
        let pid = t.pid();
        assert_eq!(fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap(), "500\n");
        let process = t.scratch("process.json");
        let mut asked = json!({ "cwd": "/", "user": { "uid": 0, "gid": 0 }, "args": ["/payload", "oom"] });
        asked["oomScoreAdj"] = json!(700);
        fs::write(&process, asked.to_string()).unwrap();
        let file = process.to_str().unwrap();
        let a = t.call(&["exec", "--process", file, t.id()]).ok().answers();
        assert_eq!(a["oom"], 700);
        t.delete_force();
        let says = t.run(&user.bundle(t).set("/process/oomScoreAdj", -500).asks(&["oom"])).fails();
        assert!(says.contains("process.oomScoreAdj") && says.contains("CAP_SYS_RESOURCE"), "{says}");
    });
}

#[test]
fn a_filter_and_no_new_privileges() {
    ordinary_test(|t, user| {
        differs!(t, Crun, "exec has no no_new_privs of its container");
        for no_new_privs in [true, false] {
            let bundle = user.bundle(t).set("/process/noNewPrivileges", no_new_privs).set(
                "/linux/seccomp",
                json!({
                    "defaultAction": "SCMP_ACT_ALLOW",
                    "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 55 }],
                }),
            );
            t.up(bundle);
            let a = t.exec(&["mkdir /tmp/x", "nnp", "seccomp"]);
            assert_eq!(a["mkdir /tmp/x"]["error"], "errno 55");
            assert_eq!(a["nnp"], no_new_privs);
            assert_eq!(a["seccomp"], 2);
            t.delete_force();
        }
    });
}

#[test]
fn a_keyring_of_the_containers_own() {
    ordinary_test(|t, user| {
        differs!(t, Crun, "the keyring is named otherwise");
        let bundle = user.bundle(t).set("/linux/maskedPaths", json!([]));
        t.up(bundle);
        let a = t.exec(&["keys"]);
        assert!(a["keys"].as_str().unwrap().contains(&format!("_ses.{}", t.id())), "{a}");
        t.delete_force();
    });
}

#[test]
fn a_terminal() {
    ordinary_test(|t, user| {
        let listener = t.listener();
        user.own(listener.path());
        let bundle = user.bundle(t).set("/process/terminal", true).asks(&["tty", "wait-for TERM"]);
        let socket = listener.path().to_str().unwrap().to_owned();
        t.create_with(&bundle, &["--console-socket", &socket]).ok();
        let (_master, _) = listener.receive();
        t.start().ok();
        let second = t.listener();
        user.own(second.path());
        let socket = second.path().to_str().unwrap().to_owned();
        t.exec_with(&["--tty", "--detach", "--console-socket", &socket], &["tty"]).ok();
        let (_master, _) = second.receive();
        t.delete_force();
    });
}

#[test]
fn hooks_are_the_users() {
    ordinary_test(|t, user| {
        let file = t.scratch("hook");
        let line = format!("cat >/dev/null; id -u >{}", file.display());
        let bundle = user.bundle(t).hook("createRuntime", &line).asks(&["uid"]);
        t.run(&bundle).ok();
        assert_eq!(fs::read_to_string(&file).unwrap().trim(), user.id().to_string());
    });
}

#[test]
fn a_program_that_the_user_can_write_to() {
    ordinary_test(|t, user| {
        let copy = t.copy_runtime();
        user.own(&copy);
        t.up(user.bundle(t));
        assert_eq!(t.exec(&["uid"])["uid"], json!([0, 0, 0, 0]));
        t.delete_force();
    });
}

#[test]
fn joins_the_namespaces_of_another_container() {
    ordinary_test(|t, user| {
        differs!(t, Runc, "1.1 wants id mappings for a joined user namespace");
        differs!(t, Crun, "joins namespaces of pids before it has the rights");
        t.up(user.ranged(t));
        let pid = t.pid();
        let id = t.named("second");
        let mut bundle =
            user.adapt(t.bundle_for(&id)).remove("/linux/uidMappings").remove("/linux/gidMappings");
        let kinds = [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid")];
        for (kind, link) in kinds {
            bundle = bundle.joins(kind, format!("/proc/{pid}/ns/{link}"));
        }
        let bundle = bundle.remove("/hostname").asks(&["namespaces", "uid", "wait-for TERM"]);
        bundle.save();
        let out = t.call(&["create", "--bundle", bundle.dir().to_str().unwrap(), &id]).ok();
        t.call(&["start", &id]).ok();
        t.until("the second container is up", || out.stdout().contains("waiting"));
        let a = out.answers();
        for (kind, link) in kinds {
            let theirs = fs::read_link(format!("/proc/{pid}/ns/{link}")).unwrap();
            assert_eq!(a["namespaces"][link], theirs.to_str().unwrap(), "{kind}");
        }
        assert_eq!(a["uid"], json!([0, 0, 0, 0]));
        let exec = t.call(&["exec", &id, "/payload", "namespaces"]).ok().answers();
        assert_eq!(exec["namespaces"], a["namespaces"]);
        t.call(&["delete", "--force", &id]).ok();
        t.delete_force();
    });
}

#[test]
fn a_namespace_of_the_hosts_is_refused() {
    ordinary_test(|t, user| {
        if !rustix::process::geteuid().is_root() {
            skip!("only root can keep a namespace of the host for it");
        }
        let holder = t.holder(&["--net"]);
        let path = t.scratch("net");
        // The link of a process that is not the user's cannot be opened.
        fs::write(&path, "").unwrap();
        let link = format!("/proc/{}/ns/net", holder.pid());
        rustix::mount::mount_bind(&link, &path).unwrap();
        let says = t.run(&user.bundle(t).joins("network", &path).asks(&["uid"]));
        rustix::mount::unmount(&path, rustix::mount::UnmountFlags::DETACH).unwrap();
        let says = says.fails();
        differs!(t, Runc, "names no property");
        differs!(t, Crun, "names no property");
        assert!(says.contains("setns(network)") && says.contains("CAP_SYS_ADMIN"), "{says}");
    });
}

#[test]
fn without_a_right_to_cgroups_there_are_none() {
    ordinary_test(|t, user| {
        if user.has_cgroups() {
            skip!("this user's group is its own");
        }
        let out = t.up(user.bundle(t));
        if t.flavor() == Flavor::Soute {
            assert!(out.stderr().contains("no permission for cgroups"), "{}", out.stderr());
            for (verb, why) in [("pause", "freeze"), ("ps", "processes")] {
                let says = t.call(&[verb, t.id()]).fails();
                assert!(says.contains("no cgroup") && says.contains(why), "{says}");
            }
            let says = t.call(&["update", "--pids-limit", "5", t.id()]).fails();
            assert!(says.contains("no cgroup of its own"), "{says}");
        }
        t.kill("KILL").ok();
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn without_a_right_to_cgroups_nothing_can_be_asked_of_them() {
    ordinary_test(|t, user| {
        if user.has_cgroups() {
            skip!("this user's group is its own");
        }
        differs!(t, Crun, "drops limits in silence");
        let limited = |bundle: Bundle| bundle.set("/linux/resources", json!({ "pids": { "limit": 5 } }));
        let named = |bundle: Bundle| bundle.set("/linux/cgroupsPath", format!("/{}", t.id()));
        let property = ["linux.resources.pids.limit", "linux.cgroupsPath"];
        for (bundle, property) in [limited(user.bundle(t)), named(user.bundle(t))].into_iter().zip(property) {
            let says = t.run(&bundle.asks(&["uid"])).fails();
            if t.flavor() == Flavor::Soute {
                assert!(says.contains(property) || says.contains("cgroup"), "{says}");
                assert!(says.contains("systemd-run --user --scope -p Delegate=yes"), "{says}");
            }
        }
    });
}

#[test]
fn a_delegated_cgroup() {
    ordinary_test(|t, mut user| {
        differs!(t, Crun, "a container of an ordinary user has no cgroup of its own");
        user.delegate(t);
        t.up(user.bundle(t));
        let pid = t.pid();
        let all: Vec<i32> =
            serde_json::from_value(t.call(&["ps", "--format", "json", t.id()]).ok().json()).unwrap();
        assert_eq!(all, [pid]);
        let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
        assert!(cgroup.contains(t.id()), "{cgroup}");
        t.call(&["pause", t.id()]).ok();
        assert_eq!(t.status(), "paused");
        t.call(&["resume", t.id()]).ok();
        let exec = t.exec(&["cgroup"]);
        let own = t.exec(&["read /proc/1/cgroup"]);
        assert_eq!(exec["cgroup"], own["read /proc/1/cgroup"]);
        t.kill("TERM").ok();
        t.until_stopped();
        t.delete().ok();
        let left = user.groups().iter().map(|group| group.parent().unwrap());
        for top in left {
            let below = fs::read_dir(top).unwrap().flatten().filter(|entry| entry.path().is_dir());
            let names: Vec<_> = below.map(|entry| entry.file_name()).collect();
            assert_eq!(names, ["caller"], "{}", top.display());
        }
    });
}

#[test]
fn limits_in_a_delegated_cgroup() {
    ordinary_test(|t, mut user| {
        differs!(t, Crun, "a container of an ordinary user has no cgroup of its own");
        user.delegate(t);
        let top = user.groups().iter().find(|group| group.join("pids.current").exists());
        let Some(_) = top else { skip!("no group with the pids controller can be delegated") };
        t.up(user.bundle(t).set("/linux/resources", json!({ "pids": { "limit": 20 } })));
        let limit = || {
            let cgroup = fs::read_to_string(format!("/proc/{}/cgroup", t.pid())).unwrap();
            let of = |line: &&str| line.contains(":pids:") || line.starts_with("0::");
            let found = cgroup.lines().filter(of).find_map(|line| {
                let path = line.rsplit(':').next().unwrap();
                ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"]
                    .iter()
                    .find_map(|tree| fs::read_to_string(format!("{tree}{path}/pids.max")).ok())
            });
            found.unwrap().trim().to_owned()
        };
        assert_eq!(limit(), "20");
        t.call(&["update", "--pids-limit", "30", t.id()]).ok();
        assert_eq!(limit(), "30");
        t.delete_force();
    });
}
