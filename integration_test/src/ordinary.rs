// SPDX-License-Identifier: Apache-2.0
//! An ordinary user: from the moment it is made, the runtime's commands of a test are its own.
//!
//! Where root runs the tests it is an account that these commands alone see: each runs in a mount
//! namespace with its own /etc/passwd, /etc/subuid and so on. What the user is to write to must be
//! handed over, with [`Ordinary::own`]. Where anybody else runs the tests it is that user, in whose
//! cgroup, delegated to it, there must be one for these processes (`hack/vm --user test`).

use std::fs;
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::{Bundle, Flavor, Host, Test, by_systemd, host, note_skip};

/// The user, and the cgroups that are delegated to it.
pub struct Ordinary {
    id: u32,
    sub: u32,
    groups: Vec<PathBuf>,
}

/// Puts the accounts in place, enters the delegated groups and becomes the user.
const BECOME: &str = r#"
    dir=$1 path=$2 id=$3 groups=$4
    shift 4
    for group in $groups; do echo 0 >"$group/cgroup.procs"; done
    become=
    if [ "$(id -u)" = 0 ]; then
        for name in passwd group subuid subgid; do mount --bind "$dir/etc/$name" "/etc/$name"; done
        become="setpriv --reuid $id --regid $id --init-groups"
    fi
    exec $become env -i PATH="$path" HOME=/ XDG_RUNTIME_DIR="$dir/run" \
        ${DBUS_SESSION_BUS_ADDRESS:+DBUS_SESSION_BUS_ADDRESS="$DBUS_SESSION_BUS_ADDRESS"} "$@"
"#;

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The ids of the account that root makes, and its first subordinate one.
const MADE: u32 = 64_997;
const MADE_SUB: u32 = 200_000;

/// The first subordinate id of the user with this uid, by name or by number.
fn first_subordinate(id: u32) -> Option<u32> {
    let passwd = fs::read_to_string("/etc/passwd").ok()?;
    let id = id.to_string();
    let name = passwd.lines().find(|line| line.split(':').nth(2) == Some(&id))?.split(':').next()?;
    let subuid = fs::read_to_string("/etc/subuid").ok()?;
    let mut lines = subuid.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|line| line[0] == name || line[0] == id)?.get(1)?.parse().ok()
}

/// Whether an ordinary user runs the tests themselves.
fn present() -> bool {
    !rustix::process::geteuid().is_root()
}

impl Ordinary {
    /// From here on commands are the user's. None, and skipped: this runtime cannot be an ordinary
    /// user's here.
    pub fn new(t: &Test) -> Option<Self> {
        let absent = ["/etc/subuid", "/etc/subgid", "/usr/bin/newuidmap"];
        if let Some(file) = absent.iter().find(|file| !Path::new(file).exists()) {
            note_skip(&format!("there is no {file}"));
            return None;
        }
        if t.flavor() == Flavor::Crun && Host::here() == Host::V1 {
            note_skip("crun refuses an ordinary user on a host with cgroup v1 and v2");
            return None;
        }
        if by_systemd() && !present() {
            note_skip("an account without a session has no systemd to ask; hack/vm --user test has one");
            return None;
        }
        fs::create_dir(t.dir().join("run")).expect("own directory");
        if present() {
            let id = rustix::process::geteuid().as_raw();
            let Some(sub) = first_subordinate(id) else {
                note_skip("this user has no range in /etc/subuid");
                return None;
            };
            let user = Self { id, sub, groups: Vec::new() };
            user.as_user(t, PATH);
            return Some(user);
        }
        let etc = t.dir().join("etc");
        fs::create_dir(&etc).expect("own directory");
        for (name, line) in [
            ("passwd", format!("ordinary:x:{MADE}:{MADE}::/:/bin/sh\n")),
            ("group", format!("ordinary:x:{MADE}:\nothers:x:{}:ordinary\n", MADE - 1)),
            ("subuid", format!("ordinary:{MADE_SUB}:65536\n")),
            ("subgid", format!("ordinary:{MADE_SUB}:65536\n")),
        ] {
            let text = fs::read_to_string(Path::new("/etc").join(name)).expect("every machine has it");
            fs::write(etc.join(name), text + &line).expect("own directory");
        }
        let user = Self { id: MADE, sub: MADE_SUB, groups: Vec::new() };
        user.own(t.dir());
        let may = |path: &Path| {
            let mut test = Command::new("setpriv");
            let id = MADE.to_string();
            test.args(["--reuid", &id, "--regid", &id, "--clear-groups", "test", "-x"]).arg(path);
            test.status().is_ok_and(|status| status.success())
        };
        if !may(&t.runtime()) {
            t.copy_runtime();
        }
        user.as_user(t, PATH);
        Some(user)
    }

    /// The user's uid and gid.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Its first subordinate id.
    pub fn sub(&self) -> u32 {
        self.sub
    }

    /// Whether the user has a right to cgroups without [`Ordinary::delegate`].
    pub fn has_cgroups(&self) -> bool {
        present()
    }

    /// The user has no newuidmap and no newgidmap.
    pub fn without_helpers(&self, t: &Test) {
        self.as_user(t, "/nowhere");
    }

    /// The user's commands stand in groups of the user's own, in every hierarchy that there is.
    /// What they run lives below or beside them.
    pub fn delegate(&mut self, t: &Test) {
        let trees = if present() { vec![host::beside_us()] } else { host::trees() };
        for tree in trees {
            let top = tree.join(t.id());
            let caller = top.join("caller");
            for (at, group) in [&top, &caller].into_iter().enumerate() {
                fs::create_dir(group).expect("root, or a user to whom the tree is delegated, makes groups");
                for file in ["cpuset.mems", "cpuset.cpus"] {
                    // A v1 group without them takes no process.
                    if let (Ok(text), true) = (
                        fs::read_to_string(group.parent().expect("a tree").join(file)),
                        tree.ends_with("cpuset"),
                    ) {
                        fs::write(group.join(file), text).expect("as above it");
                    }
                }
                self.give(group);
                for file in ["cgroup.procs", "tasks", "cgroup.subtree_control", "cgroup.threads"] {
                    if group.join(file).exists() {
                        self.give(&group.join(file));
                    }
                }
                // Controllers of a v2 tree, as far as the root gives them on.
                if let (0, Ok(all)) = (at, fs::read_to_string(group.join("cgroup.controllers"))) {
                    let on: String = all.split_whitespace().map(|name| format!("+{name} ")).collect();
                    let _ = fs::write(group.join("cgroup.subtree_control"), on);
                }
            }
            self.groups.push(caller);
        }
        self.as_user(t, PATH);
    }

    /// Hands a file, or a directory with everything below it, over to the user.
    pub fn own(&self, path: &Path) {
        self.give(path);
        if path.is_dir() && !path.is_symlink() {
            for entry in fs::read_dir(path).expect("it exists").flatten() {
                self.own(&entry.path());
            }
        }
    }

    fn give(&self, path: &Path) {
        let _ = lchown(path, Some(self.id), Some(self.id));
    }

    fn as_user(&self, t: &Test, path: &str) {
        let groups: Vec<&str> = self.groups.iter().filter_map(|group| group.to_str()).collect();
        let (dir, id, groups) = (t.dir().to_str().expect("plain"), self.id.to_string(), groups.join(" "));
        let mut words = vec!["unshare", "--mount", "--propagation", "slave"];
        words.extend(["/bin/sh", "-ec", BECOME, "ordinary", dir, path, &id, &groups]);
        if present() {
            words.drain(..4);
        }
        t.before(&words);
    }

    /// A bundle of the user's: what the default asks for and only root can give is left out.
    pub fn bundle(&self, t: &Test) -> Bundle {
        self.adapt(t.bundle())
    }

    /// The same of another bundle of this test.
    pub fn adapt(&self, bundle: Bundle) -> Bundle {
        self.own(bundle.dir());
        let mut bundle =
            bundle.remove("/linux/cgroupsPath").remove("/linux/resources").namespace("cgroup", true);
        let mounts = bundle.spec()["mounts"].as_array().map_or(0, Vec::len);
        for n in 0..mounts {
            let options = bundle.spec()["mounts"][n]["options"].as_array().cloned().unwrap_or_default();
            let options: Vec<Value> = options.into_iter().filter(|word| word != "gid=5").collect();
            bundle = bundle.set(&format!("/mounts/{n}/options"), options);
        }
        let map = json!([{ "containerID": 0, "hostID": self.id, "size": 1 }]);
        bundle.namespace("user", true).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// A bundle with the user as root, and its subordinate ids behind it.
    pub fn ranged(&self, t: &Test) -> Bundle {
        let map = json!([
            { "containerID": 0, "hostID": self.id, "size": 1 },
            { "containerID": 1, "hostID": self.sub, "size": 65_535 },
        ]);
        self.bundle(t).set("/linux/uidMappings", map.clone()).set("/linux/gidMappings", map)
    }

    /// The groups that the user's commands stand in.
    pub fn groups(&self) -> &[PathBuf] {
        &self.groups
    }
}

impl Drop for Ordinary {
    fn drop(&mut self) {
        for group in &self.groups {
            let _ = fs::remove_dir(group);
            let _ = group.parent().map(fs::remove_dir);
        }
    }
}
