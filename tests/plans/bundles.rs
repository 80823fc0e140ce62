// SPDX-License-Identifier: Apache-2.0
//! The bundles: each is a specification, changed by what it is about, a made-up host, and the
//! words of the command line.

use std::path::PathBuf;

use libcontainer::bundle::{parse_process, parse_spec};
use libcontainer::plan::caps::CapSet;
use libcontainer::plan::cgroup::{CgroupLayout, Hierarchy};
use libcontainer::plan::exec::{ExecPlan, Inside};
use libcontainer::plan::systemd::Manager;
use libcontainer::plan::{Host, Plan, Request};
use serde_json::{Value, json};

/// What `soute spec` writes.
const DEFAULT: &str = include_str!("../../src/commands/spec.json");
/// What `soute spec --rootless` writes, but for the caller's ids.
const ROOTLESS: &str = include_str!("../../src/commands/spec-rootless.json");

/// Where the cgroup tree of the made-up host is.
#[derive(Clone, Copy)]
pub enum Cgroups {
    V1,
    V2,
}

/// A bundle, the host and the request.
pub struct Case {
    pub name: &'static str,
    spec: Value,
    host: Host,
    request: Request,
}

impl Case {
    fn new(name: &'static str, spec: Value, cgroups: Cgroups) -> Self {
        let request = Request {
            id: "web".into(),
            bundle: PathBuf::from("/bundles/web"),
            keyring: Some("5afe".into()),
            ..Request::default()
        };
        Self { name, spec, host: host(0, cgroups), request }
    }

    /// The default specification.
    fn default(name: &'static str, cgroups: Cgroups) -> Self {
        Self::new(name, serde_json::from_str(DEFAULT).unwrap(), cgroups)
    }

    /// The default specification without what would only repeat itself: one mount, no terminal, and
    /// no paths to cover.
    pub fn small(name: &'static str) -> Self {
        let mut case = Self::default(name, Cgroups::V2);
        case.spec["mounts"].as_array_mut().unwrap().truncate(1);
        case.with("/process/terminal", json!(false))
            .with("/linux/maskedPaths", json!([]))
            .with("/linux/readonlyPaths", json!([]))
            .with("/process/rlimits", json!([]))
            .with("/root/readonly", json!(false))
    }

    /// Sets a property, by JSON pointer.
    pub fn with(mut self, pointer: &str, value: Value) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        match self.spec.pointer_mut(parent).unwrap() {
            Value::Array(list) => list.push(value),
            other => other[name] = value,
        }
        self
    }

    fn without(mut self, pointer: &str) -> Self {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        self.spec.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        self
    }

    fn request(mut self, change: fn(&mut Request)) -> Self {
        change(&mut self.request);
        self
    }

    fn on(mut self, host: Host) -> Self {
        self.host = host;
        self
    }

    /// With the systemd driver.
    fn by(mut self, manager: Manager) -> Self {
        self.request.systemd = Some(manager);
        self
    }

    /// The plan of it.
    pub fn plan(&self) -> Plan {
        let text = self.spec.to_string();
        let spec =
            parse_spec(text.as_bytes(), "config.json").unwrap_or_else(|e| panic!("{}: {e}", self.name));
        Plan::new(&spec.value, &self.host, &self.request)
            .unwrap_or_else(|problems| panic!("{}: {problems:#?}", self.name))
    }
}

fn rootless() -> Value {
    serde_json::from_str(&ROOTLESS.replace("\"UID\"", "1000").replace("\"GID\"", "1000")).unwrap()
}

/// Every capability that has a name.
const ALL: CapSet = CapSet((1 << 41) - 1);

fn host(euid: u32, cgroups: Cgroups) -> Host {
    let cgroups = match cgroups {
        Cgroups::V2 => CgroupLayout::V2,
        Cgroups::V1 => CgroupLayout::V1 {
            hierarchies: [
                "cpuset",
                "cpu,cpuacct",
                "blkio",
                "memory",
                "devices",
                "freezer",
                "pids",
                "hugetlb",
            ]
            .map(|dir| Hierarchy {
                dir: dir.to_owned(),
                controllers: dir.split(',').map(str::to_owned).collect(),
                own: "/".to_owned(),
            })
            .into(),
            unified: None,
        },
    };
    Host { euid, egid: euid, capabilities: if euid == 0 { ALL } else { CapSet(0) }, cgroups }
}

fn hook(program: &str) -> Value {
    json!([{ "path": format!("/hooks/{program}"), "args": [program], "timeout": 5 }])
}

fn hooks() -> Value {
    json!({
        "prestart": hook("prestart"),
        "createRuntime": hook("create-runtime"),
        "createContainer": hook("create-container"),
        "startContainer": hook("start-container"),
        "poststart": hook("poststart"),
        "poststop": hook("poststop"),
    })
}

/// One instruction tells a filter as well as a thousand.
fn profile() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO" }],
    })
}

fn bind(source: &str, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}

fn namespaces(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({ "type": kind })).collect()
}

fn map() -> Value {
    json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }])
}

/// In a user namespace of its own.
pub fn user_namespace(case: Case) -> Case {
    case.with("/linux/namespaces/-", json!({ "type": "user" }))
        .with("/linux/uidMappings", map())
        .with("/linux/gidMappings", map())
}

/// Every bundle; what it is about is its name.
pub fn all() -> Vec<Case> {
    let binds = |case: Case| {
        case.with("/mounts/-", bind("/srv/data", "/data", &["rbind", "ro", "nosuid"]))
            .with("/mounts/-", bind("secrets", "/run/secrets", &["bind", "rro", "rprivate"]))
    };
    let limits = json!({
        "memory": { "limit": 67_108_864, "reservation": 33_554_432 },
        "cpu": { "shares": 512, "quota": 50_000, "period": 100_000, "cpus": "0-1" },
        "pids": { "limit": 32 },
        "devices": [{ "allow": false, "access": "rwm" }],
    });
    vec![
        Case::default("default-v1", Cgroups::V1),
        Case::default("default-v2", Cgroups::V2),
        binds(user_namespace(Case::small("user-namespace"))),
        // Its server is looked for in the network of whoever mounts it.
        Case::small("network-filesystem").with(
            "/mounts/-",
            json!({ "destination": "/srv", "type": "nfs", "source": "server:/srv", "options": ["vers=4"] }),
        ),
        Case::new("ordinary-user", rootless(), Cgroups::V2)
            .with("/mounts/-", bind("/home/me/data", "/data", &["rbind"]))
            .on(host(1000, Cgroups::V2)),
        Case::new("ordinary-user-with-ranges", rootless(), Cgroups::V2)
            .with("/linux/namespaces", namespaces(&["user", "mount", "time"]))
            .with("/linux/uidMappings/-", json!({ "containerID": 1, "hostID": 100_000, "size": 65_536 }))
            .with("/linux/gidMappings/-", json!({ "containerID": 1, "hostID": 100_000, "size": 65_536 }))
            .with("/linux/timeOffsets", json!({ "boottime": { "secs": 60 } }))
            .with("/process/user/additionalGids", json!([5]))
            .with("/mounts/2/options/-", json!("gid=5"))
            .with("/mounts/5/type", json!("sysfs"))
            .with("/mounts/5/options", json!(["nosuid", "ro"]))
            .without("/hostname")
            .on(host(1000, Cgroups::V2)),
        Case::small("no-mount-namespace")
            .with("/linux/namespaces", namespaces(&["pid"]))
            .with("/hooks", hooks())
            .without("/hostname")
            .with("/mounts", json!([])),
        Case::small("joined-namespaces")
            .with(
                "/linux/namespaces",
                json!([
                    { "type": "mount" }, { "type": "uts" },
                    { "type": "pid", "path": "/proc/4321/ns/pid" },
                    { "type": "network", "path": "/run/netns/blue" },
                    { "type": "ipc", "path": "/proc/4321/ns/ipc" },
                ]),
            )
            .with("/linux/cgroupsPath", json!("/pods/web")),
        Case::small("hooks").with("/hooks", hooks()).on(host(0, Cgroups::V1)),
        Case::small("terminal")
            .with("/process/terminal", json!(true))
            .with("/process/user/uid", json!(1000))
            .with("/process/consoleSize", json!({ "height": 25, "width": 80 }))
            .with("/mounts/-", json!({ "destination": "/dev/pts", "type": "devpts", "options": ["newinstance"] })),
        Case::small("seccomp-with-no-new-privileges").with("/linux/seccomp", profile()).with("/hooks", hooks()),
        Case::small("seccomp-without-no-new-privileges")
            .with("/linux/seccomp", profile())
            .with("/process/noNewPrivileges", json!(false))
            .with("/process/user", json!({ "uid": 1000, "gid": 1000, "additionalGids": [5, 50] })),
        Case::small("covered-paths")
            .with("/root/readonly", json!(true))
            .with("/linux/maskedPaths", json!(["/proc/kcore", "/sys/firmware"]))
            .with("/linux/readonlyPaths", json!(["/proc/sys", "/proc/./bus"])),
        Case::small("sysctls").with(
            "/linux/sysctl",
            json!({ "net.ipv4.ip_forward": "1", "kernel.shmmax": "4096", "net/ipv4/conf/eth0.1/rp_filter": "2" }),
        ),
        Case::small("process")
            .with("/process/args", json!(["nginx", "-g", "daemon off;"]))
            .with("/process/cwd", json!("/srv/./www"))
            .with("/process/env", json!(["PATH=/usr/bin:/bin", "HOME=/srv"]))
            .with("/process/user", json!({ "uid": 1000, "gid": 50, "umask": 63 }))
            .with("/process/oomScoreAdj", json!(-100))
            .with("/process/capabilities", json!({
                "bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
                "effective": ["CAP_CHOWN"], "inheritable": ["CAP_KILL"], "ambient": ["CAP_KILL"],
            }))
            .with("/process/rlimits", json!([
                { "type": "RLIMIT_NOFILE", "soft": 64, "hard": 1024 },
                { "type": "RLIMIT_CORE", "soft": 0, "hard": u64::MAX },
            ])),
        user_namespace(Case::small("devices-in-a-user-namespace")).with(
            "/linux/devices",
            json!([
                { "path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 432, "uid": 5, "gid": 6 },
                { "path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 384 },
                { "path": "/dev/pipe", "type": "p" },
            ]),
        ),
        Case::small("no-pivot").with("/hooks", hooks()).request(|r| r.no_pivot = true),
        binds(Case::small("shared-propagation")).with("/linux/rootfsPropagation", json!("rshared")),
        Case::small("unbindable-propagation").with("/linux/rootfsPropagation", json!("unbindable")).with("/root/readonly", json!(true)),
        Case::small("descriptors").request(|r| {
            r.preserve_fds = 2;
            r.listen_fds = 1;
            r.keyring = None;
            r.no_cgroup = true;
        }),
        Case::small("limits-v1").on(host(0, Cgroups::V1)).with("/linux/resources", limits.clone()),
        Case::small("limits-v2").with("/linux/resources", limits.clone()),
        Case::small("systemd")
            .with("/linux/resources", limits)
            .with("/linux/cgroupsPath", json!("pods-burstable.slice:engine:web"))
            .with("/annotations", json!({ "org.systemd.property.TimeoutStopSec": "uint64 10" }))
            .by(Manager::System),
        Case::small("time-namespace")
            .with("/linux/namespaces", namespaces(&["pid", "mount", "time", "uts"]))
            .with("/linux/timeOffsets", json!({ "monotonic": { "secs": 100 }, "boottime": { "secs": -5, "nanosecs": 1 } })),
        Case::small("scheduling")
            .with("/process/scheduler", json!({ "policy": "SCHED_FIFO", "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"] }))
            .with("/process/ioPriority", json!({ "class": "IOPRIO_CLASS_BE", "priority": 2 }))
            .with("/linux/memoryPolicy", json!({ "mode": "MPOL_BIND", "nodes": "0-1", "flags": ["MPOL_F_STATIC_NODES"] })),
        Case::small("labels")
            .with("/process/selinuxLabel", json!("system_u:system_r:container_t:s0:c1,c2"))
            .with("/process/apparmorProfile", json!("web-default"))
            .with("/linux/seccomp", profile())
            .with("/process/noNewPrivileges", json!(false)),
        Case::small("network-devices")
            .with("/linux/netDevices", json!({ "eth1": { "name": "lan" }, "eth0": {} })),
        Case::small("annotations")
            .with("/annotations", json!({
                "org.example.key": "value",
                "run.oci.hooks.stdout": "/var/log/hooks",
                "run.oci.keep_original_groups": "1",
                "run.oci.pidfd_receiver": "/run/receiver",
            }))
            .with("/hooks", json!({ "createContainer": hook("create-container") })),
        user_namespace(Case::small("class-of-service"))
            .with("/linux/intelRdt", json!({
                "closID": "gold", "l3CacheSchema": "L3:0=f0", "memBwSchema": "MB:0=50", "enableMonitoring": true,
            })),
        Case::small("volumes")
            .with("/linux/namespaces/-", json!({ "type": "user" }))
            .with("/linux/uidMappings", json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]))
            .with("/linux/gidMappings", json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]))
            .with("/mounts/-", bind("/srv/own", "/own", &["rbind", "ridmap"]))
            .with("/mounts/-", bind("/srv/word", "/word", &["bind", "idmap=uids=@0-5-10;gids=0-7-10"]))
            .with("/mounts/-", bind("/srv/link", "/link", &["bind", "copy-symlink"]))
            .with("/mounts/-", bind("/srv/link", "/itself", &["bind", "src-nofollow", "dest-nofollow", "rnosymfollow"]))
            .with("/mounts/-", json!({ "destination": "/etc", "type": "tmpfs", "options": ["tmpcopyup", "ro", "lazytime"] }))
            .with("/mounts/-", json!({ "destination": "/layers", "type": "overlay",
                "options": ["lowerdir=/a:/b,upperdir=/up,workdir=/work"] })),
        Case::small("mount-label")
            .with("/linux/mountLabel", json!("system_u:object_r:container_file_t:s0:c1,c2"))
            .with("/annotations", json!({ "run.oci.mount_context_type": "rootcontext" }))
            .with("/linux/maskedPaths", json!(["/proc/keys"]))
            .with("/mounts/-", json!({ "destination": "/data", "type": "tmpfs" }))
            .with("/mounts/-", json!({ "destination": "/own", "type": "tmpfs", "options": ["context=\"a:b:c:s0\""] })),
        binds(Case::small("notify-socket"))
            .with("/process/env", json!(["PATH=/bin", "NOTIFY_SOCKET=/of/the/image"]))
            .request(|r| r.notify = Some("/run/soute/web/notify".into())),
        Case::small("no-process").without("/process"),
        Case::small("hostile-words")
            .with("/process/args", json!(["sh\n  99  default  pivot_root"]))
            .with("/mounts/-", bind("/srv/\u{1b}[2J", &format!("/x{}", "y".repeat(150)), &["bind"])),
    ]
}

/// Every process of `exec`: the container that it enters, and its plan.
pub fn executions() -> Vec<(&'static str, ExecPlan)> {
    let process = |change: Value| {
        let mut process = serde_json::from_str::<Value>(DEFAULT).unwrap()["process"].take();
        process["terminal"] = json!(false);
        process.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        parse_process(process.to_string().as_bytes(), "process.json").unwrap().value
    };
    // mount, cgroup, uts, ipc, pid, network.
    let namespaces = 0x2000_0000 | 0x6000_0000 | 0x0400_0000 | 0x0800_0000 | 0x0200_0000 | 0x2_0000;
    let inside = || Inside {
        id: "web".into(),
        namespaces,
        capabilities: ALL,
        keyring: Some(String::new()),
        ..Inside::default()
    };
    let filter = Case::small("filter").with("/linux/seccomp", profile()).plan().seccomp;
    let plan = |process, inside| ExecPlan::new(&process, &inside).unwrap();
    vec![
        (
            "exec",
            plan(
                process(json!({ "execCPUAffinity": { "initial": "0", "final": "1-3" } })),
                Inside { cgroup_v1: true, preserve_fds: 1, ..inside() },
            ),
        ),
        (
            "exec-in-a-user-namespace",
            plan(
                process(json!({ "terminal": true, "user": { "uid": 7, "gid": 7 } })),
                Inside { namespaces: namespaces | 0x1000_0000, seccomp: filter.clone(), ..inside() },
            ),
        ),
        (
            "exec-in-a-chroot",
            plan(
                process(json!({ "noNewPrivileges": false })),
                Inside {
                    namespaces: 0x2000_0000,
                    chroot: Some("/proc/4321/root".into()),
                    seccomp: filter,
                    ..inside()
                },
            ),
        ),
    ]
}
