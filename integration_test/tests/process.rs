// SPDX-License-Identifier: Apache-2.0
//! The container's process: arguments, environment, directory, user, capabilities, limits
//! and whatever of the caller's must not leak in.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;

use integration_test::{Flavor, container_test, differs, not_yet, skip};
use rustix::process::{Resource, getrlimit};
use serde_json::{Value, json};

/// A capability mask as /proc shows it.
fn mask(bits: &[u32]) -> String {
    format!("{:016x}", bits.iter().fold(0_u64, |mask, bit| mask | 1 << bit))
}

#[test]
fn arguments_arrive_as_they_are() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["out  two   spaces", "out $HOME *", "argv0", "out ü"]);
        assert_eq!(a["argv0"], "/payload");
        assert!(
            a.get("out  two   spaces").is_some()
                && a.get("out $HOME *").is_some()
                && a.get("out ü").is_some(),
            "{a}"
        );
    });
}

#[test]
fn the_environment_is_the_configs_and_nothing_else() {
    container_test(|t| {
        let bundle = t.bundle().set("/process/env", json!(["PATH=/", "A=1", "EMPTY=", "HOME=/x", "B=a=b c"]));
        bundle.clone().asks(&["environ"]).save();
        let bundle = bundle.asks(&["environ"]);
        let mut command = t.command(&t.with_bundle("run", &bundle, &[]));
        command.env("SECRET_OF_THE_CALLER", "leaked");
        let a = t.output(command).ok().answers();
        assert_eq!(a["environ"], json!(["PATH=/", "A=1", "EMPTY=", "HOME=/x", "B=a=b c"]));
    });
}

#[test]
fn home_comes_from_passwd() {
    container_test(|t| {
        let bundle =
            t.bundle().file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nann:x:7:7::/home/ann:/bin/sh\n");
        let a = t.ask(bundle.clone(), &["env"]);
        assert_eq!(a["env"]["HOME"], "/root");
        let a = t.ask(bundle.set("/process/user/uid", 7), &["env"]);
        assert_eq!(a["env"]["HOME"], "/home/ann");
        let a = t.ask(t.bundle(), &["env"]);
        assert_eq!(a["env"]["HOME"], "/");
    });
}

#[test]
fn standard_streams_belong_to_the_containers_user() {
    container_test(|t| {
        let (bundle, said) = (t.bundle().set("/process/user/uid", 7).asks(&["pid"]), t.scratch("said"));
        bundle.save();
        let args = t.with_bundle("run", &bundle, &[]);
        let out = t.call_redirected(&args, &format!(">{}", said.display()));
        assert_eq!(out.code, 0, "{}", out.stderr());
        assert_eq!(fs::metadata(&said).unwrap().uid(), 7);
    });
}

#[test]
fn a_program_is_found_in_the_containers_path() {
    container_test(|t| {
        let bundle = t.bundle();
        fs::create_dir(bundle.path("/bin")).unwrap();
        fs::copy(t.payload(), bundle.path("/bin/asker")).unwrap();
        let bundle = bundle.set("/process/env", json!(["PATH=/nowhere:/bin"])).args(&["asker", "pid"]);
        assert_eq!(t.run(&bundle).ok().answers()["pid"], 1);
    });
}

#[test]
fn an_absent_program_is_named() {
    container_test(|t| {
        let says = t.run(&t.bundle().args(&["/no/such/program"])).fails();
        assert!(says.to_lowercase().contains("no such file or directory"), "{says}");
        assert!(says.contains("/no/such/program"), "{says}");
        let says = t.run(&t.bundle().args(&["nosuch"])).fails().to_lowercase();
        assert!(says.contains("executable file") && says.contains("not found in $path"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn an_absent_program_fails_before_start() {
    container_test(|t| {
        let out = t.create(&t.bundle().args(&["/no/such/program"]));
        assert_ne!(out.code, 0);
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_program_that_is_none_is_refused() {
    container_test(|t| {
        for (args, word) in [(["/etc"], "permission denied"), (["/etc/passwd"], "permission denied")] {
            let says = t.run(&t.bundle().file("/etc/passwd", "").args(&args)).fails().to_lowercase();
            if t.flavor() != Flavor::Crun {
                // runc says it in two ways.
                assert!(says.contains(word) || says.contains("is a directory"), "{args:?}: {says}");
            }
        }
        let bundle = t.bundle();
        let path = bundle.path("/etc/garbage");
        fs::write(&path, "not a program").unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        t.run(&bundle.args(&["/etc/garbage"])).fails();
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn empty_arguments_are_refused() {
    container_test(|t| {
        t.run(&t.bundle().args(&[])).fails();
        t.run(&t.bundle().args(&[""])).fails();
        t.run(&t.bundle().remove("/process/args")).fails();
    });
}

#[test]
fn the_working_directory() {
    container_test(|t| {
        let a = t.ask(t.bundle().set("/process/cwd", "/etc"), &["cwd"]);
        assert_eq!(a["cwd"], "/etc");
    });
}

#[test]
fn an_absent_working_directory() {
    container_test(|t| {
        let out = t.run(&t.bundle().set("/process/cwd", "/nowhere").asks(&["cwd"]));
        differs!(t, Runc, "makes the directory in the image, also under a read-only root");
        differs!(t, Crun, "makes the directory in the image, also under a read-only root");
        out.fails();
        t.delete_force();
    });
}

#[test]
fn a_relative_working_directory_is_refused() {
    container_test(|t| {
        t.run(&t.bundle().set("/process/cwd", "etc").asks(&["cwd"])).fails();
        t.run(&t.bundle().set("/process/cwd", "").asks(&["cwd"])).fails();
    });
}

#[test]
fn user_group_and_groups() {
    container_test(|t| {
        let user = json!({ "uid": 1000, "gid": 1001, "additionalGids": [5, 6, 1002] });
        let a = t.ask(t.bundle().set("/process/user", user), &["uid", "gid", "groups"]);
        assert_eq!(a["uid"], json!([1000, 1000, 1000, 1000]));
        assert_eq!(a["gid"], json!([1001, 1001, 1001, 1001]));
        let mut groups: Vec<i64> = a["groups"].as_array().unwrap().iter().filter_map(Value::as_i64).collect();
        groups.sort_unstable();
        groups.retain(|gid| *gid != 1001);
        assert_eq!(groups, [5, 6, 1002]);
    });
}

#[test]
fn no_group_of_the_caller_stays() {
    container_test(|t| {
        if !fs::exists("/usr/bin/setpriv").unwrap() {
            skip!("setpriv is not installed");
        }
        t.before(&["setpriv", "--groups", "33,44"]);
        let a = t.ask(t.bundle(), &["groups"]);
        assert_eq!(a["groups"], json!([]));
        let user = json!({ "uid": 1000, "gid": 1000 });
        let a = t.ask(t.bundle().set("/process/user", user), &["groups"]);
        assert_eq!(a["groups"], json!([]));
    });
}

#[test]
fn ids_beyond_the_range_are_refused() {
    container_test(|t| {
        for uid in [json!(-1), json!(4_294_967_296_u64), json!("0"), json!(1.5)] {
            t.run(&t.bundle().set("/process/user/uid", uid).asks(&["uid"])).fails();
        }
    });
}

#[test]
fn the_umask() {
    container_test(|t| {
        let a = t.ask(t.bundle().set("/process/user/umask", 0o027), &["umask"]);
        assert_eq!(a["umask"], "0027");
        let a = t.ask(t.bundle().set("/process/user/umask", 0), &["umask"]);
        assert_eq!(a["umask"], "0000");
    });
}

#[test]
fn the_umask_of_the_caller_does_not_leak_in() {
    container_test(|t| {
        t.before(&["sh", "-c", "umask 077; exec \"$0\" \"$@\""]);
        let a = t.ask(t.bundle(), &["umask"]);
        differs!(t, Runc, "keeps the caller's umask");
        assert_eq!(a["umask"], "0022");
    });
}

#[test]
fn a_strict_umask_of_the_caller_breaks_no_mount_point() {
    container_test(|t| {
        t.before(&["sh", "-c", "umask 077; exec \"$0\" \"$@\""]);
        let bundle = t.bundle().writable().mount("/new/point", "tmpfs", "tmpfs", &[]);
        let a = t
            .ask(bundle.set("/process/user/uid", 1000), &["stat /dev/null", "stat /new", "open /dev/null w"]);
        differs!(t, Runc, "umask of the caller");
        assert_eq!(a["stat /dev/null"]["mode"], "0666");
        assert_eq!(a["stat /new"]["mode"], "0755");
        assert_eq!(a["open /dev/null w"], "ok");
    });
}

#[test]
fn capabilities_of_the_default_specification() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["caps"]);
        let want = mask(&[5, 10, 29]);
        for set in ["bounding", "effective", "permitted"] {
            assert_eq!(a["caps"][set], want.as_str(), "{set}");
        }
        assert_eq!(a["caps"]["inheritable"], mask(&[]).as_str());
    });
}

#[test]
fn no_capabilities() {
    container_test(|t| {
        let a = t.ask(t.bundle().caps(&[]), &["caps", "kill 1 0", "sethostname x"]);
        for set in ["bounding", "effective", "permitted", "inheritable", "ambient"] {
            assert_eq!(a["caps"][set], mask(&[]).as_str(), "{set}");
        }
        assert_eq!(a["sethostname x"]["error"], "EPERM");
        let a = t.ask(t.bundle().remove("/process/capabilities"), &["caps"]);
        assert_eq!(a["caps"]["effective"], mask(&[]).as_str());
    });
}

#[test]
fn each_set_of_its_own() {
    container_test(|t| {
        let sets = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID", "CAP_SYS_TIME"],
            "permitted": ["CAP_CHOWN", "CAP_KILL", "CAP_SETUID"],
            "effective": ["CAP_CHOWN"],
            "inheritable": ["CAP_KILL", "CAP_SETUID"],
            "ambient": ["CAP_KILL"],
        });
        // As an ordinary user: root's execve would fill the sets again.
        let bundle = t.bundle().set("/process/capabilities", sets).set("/process/user/uid", 1000);
        let a = t.ask(bundle, &["caps"]);
        assert_eq!(a["caps"]["bounding"], mask(&[0, 5, 7, 25]).as_str());
        assert_eq!(a["caps"]["inheritable"], mask(&[5, 7]).as_str());
        assert_eq!(a["caps"]["ambient"], mask(&[5]).as_str());
        // execve of an ordinary user keeps what is ambient.
        assert_eq!(a["caps"]["permitted"], mask(&[5]).as_str());
    });
}

#[test]
fn an_unknown_capability_is_a_warning() {
    container_test(|t| {
        let bundle = t.bundle().caps(&["CAP_KILL", "CAP_FLYING"]);
        let out = t.run(&bundle.asks(&["caps"]));
        differs!(t, Crun, "refuses an unknown capability or not");
        assert_eq!(out.ok().answers()["caps"]["effective"], mask(&[5]).as_str());
    });
}

#[test]
fn ordinary_users_have_only_ambient_capabilities() {
    container_test(|t| {
        let bundle = t.bundle().caps(&["CAP_KILL"]).set("/process/user/uid", 1000);
        let a = t.ask(bundle, &["caps"]);
        assert_eq!(a["caps"]["effective"], mask(&[]).as_str());
        assert_eq!(a["caps"]["bounding"], mask(&[5]).as_str());
    });
}

#[test]
fn no_new_privileges() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["nnp", "asks nnp"]);
        assert_eq!((&a["nnp"], &a["asks nnp"]), (&json!(true), &json!(true)));
        let a = t.ask(t.bundle().set("/process/noNewPrivileges", false), &["nnp"]);
        assert_eq!(a["nnp"], false);
        let a = t.ask(t.bundle().remove("/process/noNewPrivileges"), &["nnp"]);
        assert_eq!(a["nnp"], false);
    });
}

#[test]
fn every_rlimit() {
    container_test(|t| {
        let mut want = json!({});
        let mut list = Vec::new();
        for (name, resource, soft, hard) in [
            ("RLIMIT_AS", Resource::As, 1_u64 << 40, 1_u64 << 41),
            ("RLIMIT_CORE", Resource::Core, 0, 4096),
            ("RLIMIT_CPU", Resource::Cpu, 1000, 2000),
            ("RLIMIT_DATA", Resource::Data, 1_u64 << 38, 1_u64 << 39),
            ("RLIMIT_FSIZE", Resource::Fsize, 1 << 30, 1 << 31),
            ("RLIMIT_LOCKS", Resource::Locks, 10, 20),
            ("RLIMIT_MEMLOCK", Resource::Memlock, 65536, 65536),
            ("RLIMIT_MSGQUEUE", Resource::Msgqueue, 4096, 8192),
            ("RLIMIT_NICE", Resource::Nice, 1, 2),
            ("RLIMIT_NOFILE", Resource::Nofile, 100, 200),
            ("RLIMIT_NPROC", Resource::Nproc, 5000, 6000),
            ("RLIMIT_RSS", Resource::Rss, 1 << 20, 1 << 21),
            ("RLIMIT_RTPRIO", Resource::Rtprio, 1, 3),
            ("RLIMIT_RTTIME", Resource::Rttime, 1_000_000, 2_000_000),
            ("RLIMIT_SIGPENDING", Resource::Sigpending, 300, 400),
            ("RLIMIT_STACK", Resource::Stack, 1 << 22, 1 << 23),
        ] {
            // Without CAP_SYS_RESOURCE on this machine, no further than the present limit.
            let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
            let (soft, hard) = (soft.min(most), hard.min(most));
            list.push(json!({ "type": name, "soft": soft, "hard": hard }));
            want[name] = json!([soft, hard]);
        }
        let a = t.ask(t.bundle().set("/process/rlimits", list), &["rlimits"]);
        assert_eq!(a["rlimits"], want);
    });
}

#[test]
fn an_rlimit_without_end() {
    container_test(|t| {
        let list = json!([{ "type": "RLIMIT_CORE", "soft": u64::MAX, "hard": u64::MAX }]);
        let a = t.ask(t.bundle().set("/process/rlimits", list), &["rlimits"]);
        assert_eq!(a["rlimits"]["RLIMIT_CORE"], json!([null, null]));
    });
}

#[test]
fn bad_rlimits_are_refused() {
    container_test(|t| {
        for list in [
            json!([{ "type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1 }]),
            json!([{ "type": "RLIMIT_NOFILE", "soft": 2000, "hard": 1000 }]),
        ] {
            t.run(&t.bundle().set("/process/rlimits", list).asks(&["pid"])).fails();
        }
        let twice = json!([
            { "type": "RLIMIT_NOFILE", "soft": 1000, "hard": 1000 },
            { "type": "RLIMIT_NOFILE", "soft": 900, "hard": 900 },
        ]);
        let out = t.run(&t.bundle().set("/process/rlimits", twice).asks(&["pid"]));
        differs!(t, Runc, "1.1 takes a duplicate rlimit");
        differs!(t, Crun, "takes a duplicate rlimit");
        out.fails();
    });
}

#[test]
fn soft_limits_of_the_caller_do_not_leak_in() {
    container_test(|t| {
        t.before(&["prlimit", "--core=0:", "--fsize=123456789:", "--nofile=77:"]);
        let a = t.ask(t.bundle().set("/process/rlimits", json!([])), &["rlimits"]);
        differs!(t, Runc, "inherits the caller's soft limits");
        differs!(t, Crun, "inherits the caller's soft limits");
        assert_ne!(a["rlimits"]["RLIMIT_FSIZE"][0], 123_456_789);
    });
}

#[test]
fn the_oom_score() {
    container_test(|t| {
        let a = t.ask(t.bundle().set("/process/oomScoreAdj", 321), &["oom", "asks oom"]);
        assert_eq!((&a["oom"], &a["asks oom"]), (&json!(321), &json!(321)));
        let before: i64 = fs::read_to_string("/proc/self/oom_score_adj").unwrap().trim().parse().unwrap();
        let a = t.ask(t.bundle(), &["oom"]);
        assert_eq!(a["oom"], before);
    });
}

#[test]
fn a_protected_oom_score() {
    container_test(|t| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let caps = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap().trim();
        if u64::from_str_radix(caps, 16).unwrap() & 1 << 24 == 0 {
            skip!("this machine's root has no CAP_SYS_RESOURCE");
        }
        let a = t.ask(t.bundle().set("/process/oomScoreAdj", -500), &["oom"]);
        assert_eq!(a["oom"], -500);
    });
}

#[test]
fn an_oom_score_beyond_the_range_is_refused() {
    container_test(|t| {
        t.run(&t.bundle().set("/process/oomScoreAdj", 1001).asks(&["oom"])).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn signal_dispositions_and_mask_are_the_default() {
    container_test(|t| {
        // A caller that ignores and blocks; `env` of coreutils does it without a program of ours.
        t.before(&["env", "--ignore-signal=HUP,USR1,PIPE", "--block-signal=USR2,TERM"]);
        let a = t.ask(t.bundle(), &["asks status SigBlk", "status SigBlk", "status SigIgn"]);
        differs!(t, Runc, "the caller's signal state leaks in");
        differs!(t, Crun, "the caller's signal state leaks in");
        assert_eq!(a["status SigBlk"], mask(&[]).as_str());
        // The payload's own runtime ignores SIGPIPE, number 13.
        assert_eq!(a["status SigIgn"], mask(&[12]).as_str());
    });
}

#[test]
fn the_personality_is_plain_or_as_asked() {
    container_test(|t| {
        t.before(&["setarch", "-R", "--"]);
        let a = t.ask(t.bundle(), &["personality"]);
        differs!(t, Runc, "the caller's personality leaks in");
        differs!(t, Crun, "the caller's personality leaks in");
        assert_eq!(a["personality"], "00000000");
    });
}

#[test]
fn personality_linux32() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no personality");
        let host = std::process::Command::new("setarch").args(["linux32", "uname", "-m"]).output();
        if host.is_ok_and(|out| out.stdout == b"x86_64\n") {
            skip!("this kernel has one name for its machine only");
        }
        let bundle = t.bundle().set("/linux/personality", json!({ "domain": "LINUX32" }));
        let out = t.run(&bundle.asks(&["machine", "personality"]));
        not_yet!(out);
        let a = out.ok().answers();
        assert_eq!(a["personality"], "00000008");
        assert_eq!(a["machine"], if cfg!(target_arch = "x86_64") { "i686" } else { "armv8l" });
    });
}

/// Every `_ses.ID.` with 16 digits: those of containers that have just ended are seen for a while.
fn names_of_keyrings(answers: &Value, id: &str) -> BTreeSet<String> {
    let keys = answers["keys"].as_str().unwrap();
    let names = keys.split_whitespace().filter(|word| word.starts_with(&format!("_ses.{id}")));
    let names: BTreeSet<String> = names.map(|name| name.trim_end_matches(':').to_owned()).collect();
    for name in &names {
        let mark = name.strip_prefix(&format!("_ses.{id}.")).unwrap_or_else(|| panic!("{name}"));
        assert!(mark.len() == 16 && mark.chars().all(|c| c.is_ascii_hexdigit()), "{name}");
    }
    assert!(!names.is_empty(), "{keys}");
    names
}

#[test]
fn a_session_keyring_of_its_own() {
    container_test(|t| {
        let visible = t.bundle().set("/linux/maskedPaths", json!([]));
        let a = t.ask(visible.clone(), &["keys"]);
        let first = names_of_keyrings(&a, t.id());
        // The end of its name is chance: nobody can have made it beforehand.
        let again = names_of_keyrings(&t.ask(visible.clone(), &["keys"]), t.id());
        assert!(!again.is_subset(&first), "{again:?}");
        t.up(visible.clone());
        let one = names_of_keyrings(&t.exec(&["keys"]), t.id());
        let two = names_of_keyrings(&t.exec(&["keys"]), t.id());
        assert!(two.is_subset(&one), "{one:?} {two:?}");
        t.delete_force();
        let bundle = visible.asks(&["keys"]);
        bundle.save();
        let other = t.named("b");
        let words = ["run", "--no-new-keyring", "--bundle", bundle.dir().to_str().unwrap(), &other];
        let a = t.call(&words).ok().answers();
        assert!(!a["keys"].as_str().unwrap().contains(&format!("_ses.{other}")), "{a}");
    });
}

#[test]
fn the_process_leads_its_session() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["pid", "sid", "pgid", "pdeathsig", "dumpable"]);
        assert_eq!((&a["sid"], &a["pgid"]), (&json!(1), &json!(1)));
        assert_eq!(a["pdeathsig"], Value::Null);
        assert_eq!(a["dumpable"], 1);
    });
}

#[test]
fn standard_streams_are_the_callers() {
    container_test(|t| {
        use std::io::Write;
        let bundle = t.bundle().asks(&["stdin", "err to stderr"]);
        let mut command = t.command(&t.with_bundle("run", &bundle, &[]));
        command.stdin(std::process::Stdio::piped());
        let mut running = t.start_command(command);
        running.stdin().unwrap().write_all(b"from the caller").unwrap();
        let out = running.wait().ok();
        assert_eq!(out.answers()["stdin"], "from the caller");
        assert!(out.stderr().contains("to stderr"));
        assert!(!out.stdout().contains("\nto stderr"));
    });
}

/// Podman tells faults of labels by the path in backquotes and how it ends.
#[test]
fn a_label_without_its_security_module_is_an_error() {
    container_test(|t| {
        let apparmor = fs::exists("/sys/kernel/security/apparmor").unwrap();
        let selinux = fs::read_to_string("/proc/filesystems").unwrap().contains("selinuxfs");
        for (property, label, present, path) in [
            ("apparmorProfile", "web", apparmor, "`/proc/self/attr/apparmor/exec`"),
            ("selinuxLabel", "system_u:system_r:container_t:s0", selinux, "`/proc/self/attr/"),
        ] {
            if present {
                continue;
            }
            let bundle = t.bundle().set(&format!("/process/{property}"), label);
            let out = t.run(&bundle.clone().asks(&["pid"]));
            let without_keyring = t.run_with(&bundle.asks(&["pid"]), &["--no-new-keyring"]);
            differs!(t, Runc, "passes labels over in silence");
            differs!(t, Crun, "passes labels over in silence");
            let says = out.fails();
            assert!(says.contains("is not enabled on this host") && says.contains(path), "{says}");
            let says = without_keyring.fails();
            assert!(says.contains("/exec`") && says.contains(&format!("process.{property}")), "{says}");
            t.up(t.bundle());
            let flag = if property == "selinuxLabel" { "--process-label" } else { "--apparmor" };
            let says = t.exec_with(&[flag, label], &["pid"]).fails();
            assert!(says.contains("is not enabled on this host"), "{says}");
            t.delete_force();
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn what_the_types_of_the_specification_would_refuse() {
    container_test(|t| {
        differs!(t, Runc, "1.1 refuses some of it");
        differs!(t, Crun, "1.8 refuses some of it");
        let bundle = t
            .bundle()
            .set("/ociVersion", "1.3.0+dev")
            .set("/linux/resources/pids", json!({ "limit": null }))
            .set("/linux/resources/devices", json!([{ "allow": false, "type": "", "access": "rwm" }]))
            .set(
                "/process/scheduler",
                json!({ "policy": "SCHED_BATCH", "flags": ["SCHED_FLAG_RESET_ON_FORK"] }),
            )
            .set("/process/execCPUAffinity", json!({ "initial": " 0, ", "final": "" }))
            .set("/process/capabilities/permitted", json!(["CAP_KILL", "CAP_NOT_YET"]))
            .set("/linux/seccomp", json!({ "syscalls": [] }))
            .set("/annotations", json!({ "org.example.empty": null }))
            .set("/root/readonly", Value::Null)
            .set("/windows", json!({ "layerFolders": 5 }))
            .set("/unknown", json!({ "deep": [1.5e300] }));
        t.up(bundle);
        let a = t.exec(&["caps", "seccomp", "scheduler"]);
        assert_eq!((&a["seccomp"], a["scheduler"]["policy"].is_i64()), (&json!(0), true));
        t.delete_force();
    });
}
