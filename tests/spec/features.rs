// SPDX-License-Identifier: Apache-2.0
//! What `features` says and what create accepts are the same: neither less nor more.

use std::collections::BTreeSet;

use libcontainer::features::FEATURES;
use libcontainer::plan::mounts::What;
use libcontainer::plan::step::Action;
use libcontainer::plan::systemd::Manager;
use serde_json::{Value, json};

use super::{edited, parsed, plan, plan_by, planned};

/// Every word of the first list is taken by create if and only if `features` has it.
#[track_caller]
fn same<'a>(
    what: &str,
    words: impl IntoIterator<Item = &'a str>,
    said: &[&'a str],
    taken: impl Fn(&str) -> bool,
) {
    let words: BTreeSet<&str> = words.into_iter().chain(said.iter().copied()).collect();
    for word in words {
        assert_eq!(taken(word), said.contains(&word), "{what}: {word}: create, and features");
    }
}

fn taken(property: &str, value: Value) -> bool {
    plan(property, value).is_ok()
}

/// Every word of config.md and config-linux.md, with those that runc and crun have beside them.
const MOUNT_WORDS: &str = "async atime bind defaults dev diratime dirsync exec iversion lazytime loud mand noatime nodev \
    nodiratime noexec noiversion nolazytime nomand norelatime nostrictatime nosuid nosymfollow private ratime rbind rdev \
    rdiratime relatime remount rexec rnoatime rnodev rnodiratime rnoexec rnorelatime rnostrictatime rnosuid rnosymfollow \
    ro rprivate rrelatime rro rrw rshared rslave rstrictatime rsuid rsymfollow runbindable rw shared silent slave \
    strictatime suid symfollow sync tmpcopyup unbindable idmap ridmap copy-symlink src-nofollow dest-nofollow rsync rmand \
    no-such-word";

#[test]
fn mount_options() {
    // These the file system gets as words too, as mount(2) would have handed them on.
    let of_the_superblock =
        ["async", "sync", "dirsync", "mand", "nomand", "silent", "iversion", "lazytime", "nolazytime"];
    same("mountOptions", MOUNT_WORDS.split_whitespace(), FEATURES.mount_options, |word| {
        let bind =
            ["bind", "rbind", "remount", "copy-symlink", "src-nofollow", "idmap", "ridmap"].contains(&word);
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
        let mount = match bind {
            true if word.ends_with("idmap") => json!({
                "destination": "/data", "source": "/srv", "options": ["bind", word], "uidMappings": map, "gidMappings": map
            }),
            true => json!({ "destination": "/data", "source": "/srv", "options": ["bind", word] }),
            false => json!({ "destination": "/data", "type": "tmpfs", "options": [word] }),
        };
        let spec = edited("mounts", json!([mount]));
        let Ok(plan) = planned(spec) else { return false };
        let data = |action: &Action| match action {
            Action::Mount(mount) => match &mount.what {
                What::Filesystem { flags, .. } => flags.iter().any(|flag| flag == word),
                _ => false,
            },
            _ => false,
        };
        of_the_superblock.contains(&word) || !plan.steps.iter().any(|step| data(&step.action))
    });
}

#[test]
fn namespaces() {
    let all = ["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts", "mnt", "net", "vm"];
    same("linux.namespaces", all, FEATURES.linux.namespaces, |kind| {
        let others = ["mount", "uts", "network"].iter().filter(|other| **other != kind);
        let list: Vec<Value> = others.chain([&kind]).map(|kind| json!({ "type": kind })).collect();
        let mut spec = edited("linux.namespaces", json!(list));
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
        if kind == "user" {
            spec["linux"]["uidMappings"] = map.clone();
            spec["linux"]["gidMappings"] = map;
        }
        planned_quietly(spec)
    });
}

#[test]
fn capabilities() {
    let all = FEATURES.linux.capabilities;
    assert_eq!(all.len(), 41);
    for word in all.iter().copied().chain(["CAP_NONE_SUCH"]) {
        let plan = planned(edited("process.capabilities", json!({ "permitted": [word] }))).unwrap();
        let granted = plan.steps.iter().any(|step| match step.action {
            Action::SetCapabilities { permitted, .. } => permitted.iter().count() == 1,
            _ => false,
        });
        assert_eq!(granted, all.contains(&word), "{word}");
    }
}

#[test]
fn hooks() {
    let said = FEATURES.hooks;
    for kind in said {
        let plan = planned(edited(&format!("hooks.{kind}"), json!([{ "path": "/bin/true" }]))).unwrap();
        let of_parent = [&plan.prestart, &plan.create_runtime, &plan.poststart, &plan.poststop];
        let of_init = plan.steps.iter().filter(|step| matches!(step.action, Action::RunHooks { .. })).count();
        assert_eq!(of_parent.iter().map(|list| list.len()).sum::<usize>() + of_init, 1, "{kind}");
    }
    assert_eq!(said.len(), 6);
}

fn seccomp(members: &Value) -> bool {
    let mut profile = json!({ "defaultAction": "SCMP_ACT_ALLOW" });
    profile.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    planned_quietly(edited("linux.seccomp", profile))
}

/// Also where the words are not even read.
fn planned_quietly(spec: Value) -> bool {
    parsed(&spec).is_some_and(|spec| super::plan_of(&spec).is_ok())
}

#[test]
fn seccomp_words() {
    let said = FEATURES.linux.seccomp;
    let actions =
        ["KILL", "KILL_THREAD", "KILL_PROCESS", "TRAP", "ERRNO", "TRACE", "LOG", "NOTIFY", "ALLOW", "DANCE"];
    let actions: Vec<String> = actions.iter().map(|word| format!("SCMP_ACT_{word}")).collect();
    same("actions", actions.iter().map(String::as_str), said.actions, |word| {
        let rule = json!({ "names": ["mkdir"], "action": word });
        seccomp(&json!({ "syscalls": [rule], "listenerPath": "/run/agent" }))
    });
    let operators = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ", "LIKE"];
    let operators: Vec<String> = operators.iter().map(|word| format!("SCMP_CMP_{word}")).collect();
    same("operators", operators.iter().map(String::as_str), said.operators, |word| {
        let args = json!([{ "index": 0, "value": 1, "op": word }]);
        seccomp(&json!({ "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "args": args }] }))
    });
    let archs = "X86 X86_64 X32 ARM AARCH64 MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X \
        PARISC PARISC64 RISCV64 LOONGARCH64 M68K SH SHEB ABACUS";
    let archs: Vec<String> = archs.split_whitespace().map(|word| format!("SCMP_ARCH_{word}")).collect();
    same("archs", archs.iter().map(String::as_str), said.archs, |word| {
        seccomp(&json!({ "architectures": [word] }))
    });
    let flags = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV", "NEW_LISTENER", "TSYNC_ESRCH"];
    let flags: Vec<String> = flags.iter().map(|word| format!("SECCOMP_FILTER_FLAG_{word}")).collect();
    same("knownFlags", flags.iter().map(String::as_str), said.known_flags, |word| {
        seccomp(&json!({ "flags": [word] }))
    });
}

#[test]
fn supported_flags_are_those_of_the_kernel() {
    let said = libcontainer::features::features().linux.seccomp;
    assert!(said.supported_flags.iter().all(|flag| said.known_flags.contains(flag)));
    // Every kernel that is new enough has the first three.
    assert!(said.supported_flags.len() >= 3, "{:?}", said.supported_flags);
    let kernel = release();
    let waits = said.supported_flags.contains(&"SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV");
    assert_eq!(waits, kernel >= (5, 19), "{kernel:?}");
}

fn release() -> (u32, u32) {
    let text = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut numbers = text.split(['.', '-']).filter_map(|word| word.parse().ok());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
fn memory_policies() {
    let said = FEATURES.linux.memory_policy;
    let modes = "DEFAULT PREFERRED BIND INTERLEAVE LOCAL PREFERRED_MANY WEIGHTED_INTERLEAVE FANCY";
    let modes: Vec<String> = modes.split_whitespace().map(|word| format!("MPOL_{word}")).collect();
    let policy = |value: Value| planned_quietly(edited("linux.memoryPolicy", value));
    same("modes", modes.iter().map(String::as_str), said.modes, |mode| {
        let nodes = if ["MPOL_DEFAULT", "MPOL_LOCAL"].contains(&mode) { "" } else { "0" };
        policy(json!({ "mode": mode, "nodes": nodes }))
    });
    let flags = ["NUMA_BALANCING", "RELATIVE_NODES", "STATIC_NODES", "FANCY"];
    let flags: Vec<String> = flags.iter().map(|word| format!("MPOL_F_{word}")).collect();
    same("flags", flags.iter().map(String::as_str), said.flags, |flag| {
        policy(json!({ "mode": "MPOL_BIND", "nodes": "0", "flags": [flag] }))
    });
}

#[test]
fn unsafe_annotations() {
    for key in FEATURES.potentially_unsafe_config_annotations {
        // One stands for all that begin with it, and only systemd reads them.
        let systemd = key.starts_with("org.systemd.").then_some(Manager::System);
        let key = if key.ends_with('.') { format!("{key}Description") } else { (*key).to_owned() };
        let spec = edited("annotations", json!({ &key: "neither a path nor a switch" }));
        let problems = plan_by(systemd, &parsed(&spec).unwrap()).unwrap_err();
        assert_eq!(problems, [format!("annotations.{key}")], "nobody looks at it");
    }
}

#[test]
fn what_is_on_or_off() {
    let linux = FEATURES.linux;
    let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
    let idmap = taken(
        "mounts",
        json!([{ "destination": "/data", "source": "/srv", "options": ["bind"], "uidMappings": map, "gidMappings": map }]),
    );
    assert_eq!(linux.mount_extensions.idmap.enabled, idmap, "idmap");
    let rdt = |value: Value| taken("linux.intelRdt", value);
    assert_eq!(linux.intel_rdt.enabled, rdt(json!({ "closID": "gold" })), "intelRdt");
    assert_eq!(linux.intel_rdt.schemata, rdt(json!({ "schemata": ["L3:0=f"] })), "schemata");
    assert_eq!(linux.intel_rdt.monitoring, rdt(json!({ "enableMonitoring": true })), "monitoring");
    assert_eq!(linux.net_devices.enabled, taken("linux.netDevices", json!({ "eth7": {} })), "netDevices");
    assert_eq!(linux.selinux.enabled, taken("process.selinuxLabel", json!("a:b:c:s0")), "selinux");
    assert_eq!(linux.apparmor.enabled, taken("process.apparmorProfile", json!("web")), "apparmor");
    let rdma = json!({ "mlx5_1": { "hcaHandles": 3 } });
    assert_eq!(linux.cgroup.rdma, taken("linux.resources.rdma", rdma), "rdma");
}
