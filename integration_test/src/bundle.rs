// SPDX-License-Identifier: Apache-2.0
//! A bundle: the default specification, changed by what a test is about, and a root file
//! system that holds the payload and little else.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// A bundle on disk. config.json is written when a command is about to use it.
#[derive(Clone, Debug)]
pub struct Bundle {
    dir: PathBuf,
    spec: Value,
    raw: Option<String>,
}

impl Bundle {
    pub(crate) fn new(dir: PathBuf, payload: &Path, cgroup: &str) -> Self {
        let root = dir.join("rootfs");
        for name in ["proc", "sys", "dev", "tmp", "etc", "data"] {
            fs::create_dir_all(root.join(name)).expect("the scratch directory is writable");
        }
        // A copy, since tests write to it; the build's own must stay as it is.
        fs::copy(payload, root.join("payload")).expect("cargo has built the payload");
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).expect("own directory");
        Self { dir, spec: default_spec(cgroup), raw: None }
    }

    /// The bundle's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// A path on the host, of something in the container's root.
    pub fn path(&self, inside: &str) -> PathBuf {
        self.dir.join("rootfs").join(inside.trim_start_matches('/'))
    }

    /// The specification as it stands.
    pub fn spec(&self) -> &Value {
        &self.spec
    }

    /// Sets a property by JSON pointer, making the objects on the way.
    pub fn set(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        let mut at = &mut self.spec;
        for key in pointer.trim_start_matches('/').split('/') {
            at = match key.parse::<usize>() {
                Ok(index) if at.is_array() => &mut at[index],
                _ => &mut at[key],
            };
        }
        *at = value.into();
        self
    }

    /// Takes a property away.
    pub fn remove(mut self, pointer: &str) -> Self {
        let (parent, key) = pointer.rsplit_once('/').expect("a pointer has a slash");
        match self.spec.pointer_mut(parent) {
            Some(Value::Object(parent)) => drop(parent.remove(key)),
            Some(Value::Array(parent)) => drop(parent.remove(key.parse().expect("an index"))),
            _ => panic!("no {parent}"),
        }
        self
    }

    /// Appends to a list, which is made where there is none.
    pub fn push(mut self, pointer: &str, value: impl Into<Value>) -> Self {
        if self.spec.pointer(pointer).is_none() {
            self = self.set(pointer, json!([]));
        }
        let list = self.spec.pointer_mut(pointer).and_then(Value::as_array_mut).expect("a list");
        list.push(value.into());
        self
    }

    /// A text in place of the whole config.json.
    pub fn raw(mut self, text: impl Into<String>) -> Self {
        self.raw = Some(text.into());
        self
    }

    /// What is run.
    pub fn args(self, args: &[&str]) -> Self {
        self.set("/process/args", args)
    }

    /// Runs the payload with these questions.
    pub fn asks(self, questions: &[&str]) -> Self {
        let mut args = vec!["/payload"];
        args.extend(questions);
        self.args(&args)
    }

    /// One more variable.
    pub fn env(self, entry: &str) -> Self {
        self.push("/process/env", entry)
    }

    /// One more mount, last.
    pub fn mount(self, destination: &str, kind: &str, source: impl AsRef<Path>, options: &[&str]) -> Self {
        let source = source.as_ref().to_string_lossy().into_owned();
        let mount = json!({ "destination": destination, "type": kind, "source": source, "options": options });
        self.push("/mounts", mount)
    }

    /// A bind mount, last.
    pub fn bind(self, source: impl AsRef<Path>, destination: &str, options: &[&str]) -> Self {
        let mut words = vec!["bind"];
        words.extend(options);
        self.mount(destination, "bind", source, &words)
    }

    /// The default mount at this place, away.
    pub fn no_mount(mut self, destination: &str) -> Self {
        if let Some(list) = self.spec["mounts"].as_array_mut() {
            list.retain(|mount| mount["destination"] != destination);
        }
        self
    }

    /// A root that can be written to.
    pub fn writable(self) -> Self {
        self.set("/root/readonly", false)
    }

    /// The capabilities in all sets but the inheritable and ambient ones.
    pub fn caps(mut self, caps: &[&str]) -> Self {
        for set in ["bounding", "effective", "permitted"] {
            self = self.set(&format!("/process/capabilities/{set}"), caps);
        }
        self.set("/process/capabilities/ambient", json!([]))
    }

    /// A new namespace of this type, or none.
    pub fn namespace(self, kind: &str, new: bool) -> Self {
        let this = self.no_namespace(kind);
        if new { this.push("/linux/namespaces", json!({ "type": kind })) } else { this }
    }

    /// Joins the namespace at `path`.
    pub fn joins(self, kind: &str, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref().to_string_lossy().into_owned();
        self.no_namespace(kind).push("/linux/namespaces", json!({ "type": kind, "path": path }))
    }

    fn no_namespace(mut self, kind: &str) -> Self {
        if let Some(list) = self.spec["linux"]["namespaces"].as_array_mut() {
            list.retain(|namespace| namespace["type"] != kind);
        }
        self
    }

    /// Joins a user namespace as `unshare --map-root-user` makes it: nothing but root's ids is mapped
    /// in it, and setgroups(2) is denied. The other namespaces are made in it.
    pub fn joins_user_with_root_alone(self, path: impl AsRef<Path>) -> Self {
        self.joins("user", path).remove("/mounts/2/options/5").no_mount("/sys/fs/cgroup")
    }

    /// A user namespace whose 65536 ids are the host's from 100000 on.
    pub fn userns(self) -> Self {
        let map = json!([{ "containerID": 0, "hostID": 100_000, "size": 65_536 }]);
        self.namespace("user", true).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// A hook that runs a shell line on the host; `$STATE` is a file to which its standard
    /// input is kept.
    pub fn hook(self, kind: &str, shell: &str) -> Self {
        let hook = json!({
            "path": "/bin/sh",
            "args": ["sh", "-c", shell],
            "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        });
        self.push(&format!("/hooks/{kind}"), hook)
    }

    /// A file in the root.
    pub fn file(self, inside: &str, text: &str) -> Self {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("below the root")).expect("own directory");
        fs::write(path, text).expect("own directory");
        self
    }

    /// A directory in the root.
    pub fn dir_in_root(self, inside: &str) -> Self {
        fs::create_dir_all(self.path(inside)).expect("own directory");
        self
    }

    /// A symbolic link in the root, in place of what was there.
    pub fn symlink(self, inside: &str, target: &str) -> Self {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().expect("below the root")).expect("own directory");
        let _ = fs::remove_dir_all(&path);
        std::os::unix::fs::symlink(target, path).expect("own directory");
        self
    }

    /// Takes something out of the root.
    pub fn without(self, inside: &str) -> Self {
        let path = self.path(inside);
        let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
        self
    }

    /// Writes config.json.
    pub fn save(&self) {
        let text = self.raw.clone().unwrap_or_else(|| format!("{:#}", self.spec));
        fs::write(self.dir.join("config.json"), text).expect("own directory");
    }
}

/// What `runc spec` writes, without a terminal, and with a cgroup of the test's own.
fn default_spec(cgroup: &str) -> Value {
    let caps = json!(["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "terminal": false,
            "user": { "uid": 0, "gid": 0 },
            "args": ["/payload"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps, "ambient": caps },
            "rlimits": [{ "type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024 }],
            "noNewPrivileges": true,
        },
        "root": { "path": "rootfs", "readonly": true },
        "hostname": "soute",
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
              "options": ["nosuid", "strictatime", "mode=755", "size=65536k"] },
            { "destination": "/dev/pts", "type": "devpts", "source": "devpts",
              "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
            { "destination": "/dev/shm", "type": "tmpfs", "source": "shm",
              "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
            { "destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
              "options": ["nosuid", "noexec", "nodev"] },
            { "destination": "/sys", "type": "sysfs", "source": "sysfs",
              "options": ["nosuid", "noexec", "nodev", "ro"] },
            { "destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
              "options": ["nosuid", "noexec", "nodev", "relatime", "ro"] },
        ],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": { "devices": [{ "allow": false, "access": "rwm" }] },
            "namespaces": [
                { "type": "pid" }, { "type": "network" }, { "type": "ipc" }, { "type": "uts" }, { "type": "mount" },
            ],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
