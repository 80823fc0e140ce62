// SPDX-License-Identifier: Apache-2.0
//! A container as it stands on disk: its id, its lock, its record, and what it is right now.
//!
//! ```text
//! ROOT/.lock/ID        flock; outside of the directory, so that removal cannot race with it
//! ROOT/ID/state.json   the record: written before the first kernel object is made
//! ROOT/ID/undo         the record as of when the cgroups were made, for delete --force
//! ROOT/ID/start.fifo   a byte in it lets init go on; init alone holds it open until execve
//! ROOT/ID/result.fifo  init's answer to start
//! ROOT/ID/seccomp.bpf  the compiled filter, for exec
//! ROOT/ID/notify/      the payload's NOTIFY_SOCKET, where the caller has one
//! ```
//!
//! Nothing here is believed for longer than a boot, and no pid without its start time.
#![expect(clippy::disallowed_methods, reason = "the state is the runtime's own")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{CWD, Mode, OFlags, mkfifoat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open, test_kill_process};
use serde::{Deserialize, Serialize};

use crate::act::procfs;
use crate::act::resctrl::Class;
use crate::cgroup;
use crate::error::{Call, Fault};
use crate::plan::annotations::Annotations;
use crate::plan::namespaces;
use crate::plan::sched::MemoryPolicy;
use crate::plan::step::Hook;

/// The format of state.json. A newer one is refused; older ones are read.
pub const FORMAT: u32 = 1;

/// A process that cannot be mistaken for a later one of the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// In the host's (the caller's) pid namespace.
    pub pid: i32,
    /// Clock ticks after boot at which it began.
    pub start: u64,
}

impl Process {
    /// The process of this pid as it is now.
    pub fn of(pid: i32) -> Option<Self> {
        procfs::stat(pid).map(|(_, start)| Self { pid, start })
    }

    /// Still the same one, and not a zombie. Where /proc does not show a process that is there, nobody
    /// can tell: it counts as alive, so that nothing of it is removed.
    pub fn is_alive(self) -> bool {
        match procfs::stat(self.pid) {
            None => self.is_hidden(),
            stat => self.is_it(stat),
        }
    }

    fn is_it(self, stat: Option<(u8, u64)>) -> bool {
        stat.is_some_and(|(state, start)| start == self.start && !matches!(state, b'Z' | b'X'))
    }

    fn is_hidden(self) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return false };
        // One that came in between is seen, and is another one.
        test_kill_process(pid) != Err(Errno::SRCH)
            && procfs::stat(self.pid).is_none_or(|it| self.is_it(Some(it)))
    }

    /// A pidfd of it; `None` when it is gone. The pid is checked after the descriptor is there.
    pub fn open(self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        self.is_it(procfs::stat(self.pid)).then_some(pidfd)
    }
}

/// How far create has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// The runtime is at work, or died over it.
    Creating,
    /// Init waits for start, or runs, or has ended.
    Created,
}

/// What state.json holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The container's id.
    pub id: String,
    /// ociVersion of its configuration.
    pub oci_version: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// The configuration, where it is not the bundle's config.json.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<PathBuf>,
    /// Absolute.
    pub rootfs: PathBuf,
    /// RFC 3339.
    pub created: String,
    /// /proc/sys/kernel/random/boot_id.
    pub boot: String,
    /// How far create has come.
    pub phase: Phase,
    /// Who creates it.
    pub runtime: Process,
    /// The container's first process, once it exists.
    pub init: Option<Process>,
    /// `CLONE_NEW*` of the namespaces that the container has for itself, made or joined.
    pub namespaces: u64,
    /// Those of them that are joined: somebody else's.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub joined: u64,
    /// Its groups.
    pub cgroup: cgroup::Record,
    /// Its class of service in resctrl.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rdt: Option<Class>,
    /// Uid of the creator.
    pub owner: u32,
    /// There is something to start.
    pub has_process: bool,
    /// Its payload may say that it is ready: `notify` in its directory.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub notify: bool,
    /// It has a session keyring of its own.
    #[serde(default)]
    pub keyring: bool,
    /// The end of its name, by chance.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub keyring_mark: String,
    /// Execution domain.
    #[serde(default)]
    pub personality: u32,
    /// NUMA policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// What `exec` must know of the filter beside its program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Seccomp>,
    /// The number of the step that runs startContainer hooks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_hooks: Option<u16>,
    /// For `start`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststart: Vec<Hook>,
    /// For `delete`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub poststop: Vec<Hook>,
    /// As in the configuration.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The file of a container's directory that holds the compiled filter.
pub const SECCOMP: &str = "seccomp.bpf";

/// The fifo that lets init go on.
pub const START: &str = "start.fifo";

/// The record as it was when the groups had just been made.
pub const COPY: &str = "undo";

/// Where a container's directory has the socket on which its payload says that it is ready.
pub fn notify_dir(dir: &Path) -> PathBuf {
    dir.join("notify")
}

/// What the filter's program does not say itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seccomp {
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// The agent's socket, and what it is to be told.
    pub listener: Option<(PathBuf, String)>,
}

/// What a container is (runtime.md, State), and `paused` beside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// create is at work.
    Creating,
    /// Waits for start.
    Created,
    /// The payload runs.
    Running,
    /// No process is left.
    Stopped,
    /// The group is frozen.
    Paused,
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        })
    }
}

impl Record {
    /// A record of this format, by this process.
    pub fn new(id: &str) -> Result<Self, Fault> {
        let pid = std::process::id() as i32;
        let runtime = Process::of(pid).ok_or_else(|| Fault::new("/proc/self/stat cannot be read"))?;
        Ok(Self {
            format: FORMAT,
            id: id.to_owned(),
            oci_version: String::new(),
            bundle: PathBuf::new(),
            config: None,
            rootfs: PathBuf::new(),
            created: crate::time::rfc3339(std::time::SystemTime::now()),
            boot: boot_id()?.to_owned(),
            phase: Phase::Creating,
            runtime,
            init: None,
            namespaces: 0,
            joined: 0,
            cgroup: cgroup::Record::default(),
            rdt: None,
            owner: rustix::process::getuid().as_raw(),
            has_process: true,
            notify: false,
            keyring: true,
            keyring_mark: String::new(),
            personality: 0,
            memory_policy: None,
            seccomp: None,
            start_hooks: None,
            poststart: Vec::new(),
            poststop: Vec::new(),
            annotations: BTreeMap::new(),
        })
    }

    /// Whether the container's namespace of this kind is not the caller's: it is made or joined.
    pub fn has(&self, kind: namespaces::Kind) -> bool {
        self.namespaces & kind.flag() != 0
    }

    /// Whether the container's namespace of this kind was made for it.
    pub fn made(&self, kind: namespaces::Kind) -> bool {
        self.has(kind) && self.joined & kind.flag() == 0
    }

    /// What its annotations ask for; create has refused what cannot be.
    pub fn asked(&self) -> Annotations {
        Annotations::of(&self.annotations, &mut Vec::new())
    }

    /// The state that hooks get on standard input, and engines from `state` (runtime.md, State).
    pub fn oci_state(&self, status: Status, pid: i32) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct State<'a> {
            oci_version: &'a str,
            id: &'a str,
            status: Status,
            pid: i32,
            bundle: &'a Path,
            #[serde(skip_serializing_if = "BTreeMap::is_empty")]
            annotations: &'a BTreeMap<String, String>,
            root: &'a Path,
        }
        let state = State {
            oci_version: &self.oci_version,
            id: &self.id,
            status,
            pid,
            bundle: &self.bundle,
            annotations: &self.annotations,
            root: &self.rootfs,
        };
        serde_json::to_string(&state).unwrap_or_default()
    }
}

/// Read once: `list` asks for each container.
fn boot_id() -> Result<&'static str, Fault> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(known) = BOOT.get() {
        return Ok(known);
    }
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).call(|| format!("read({path:?})"))?;
    Ok(BOOT.get_or_init(|| text.trim().to_owned()))
}

/// A container of the store.
#[derive(Debug)]
pub struct Container {
    /// Its directory.
    pub dir: PathBuf,
    /// What state.json says.
    pub record: Record,
}

impl Container {
    /// Writes the record: a new file, on disk before it takes the old one's place.
    pub fn save(&self) -> Result<(), Fault> {
        let text = serde_json::to_vec(&self.record).map_err(|e| Fault::new(format!("state.json: {e}")))?;
        self.write_file("state.json", &text)
    }

    /// Writes the record once more, beside: for `delete --force`, when state.json cannot be read or
    /// tells of a time when the groups were not made yet.
    pub fn save_copy(&self) -> Result<(), Fault> {
        let text = serde_json::to_vec(&self.record).map_err(|e| Fault::new(format!("{COPY}: {e}")))?;
        self.write_file(COPY, &text)
    }

    /// Writes a file of the container's directory, whole or not at all.
    pub fn write_file(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        let (path, draft) = (self.dir.join(name), self.dir.join(format!("{name}.new")));
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::open(&draft, flags, Mode::RUSR | Mode::WUSR);
        let mut file = File::from(file.call(|| format!("open({draft:?})"))?);
        file.write_all(bytes).call(|| format!("write({draft:?})"))?;
        file.sync_all().call(|| format!("fsync({draft:?})"))?;
        fs::rename(&draft, &path).call(|| format!("rename({path:?})"))?;
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir =
            rustix::fs::open(&self.dir, flags, Mode::empty()).call(|| format!("open({:?})", self.dir))?;
        rustix::fs::fsync(dir).call(|| format!("fsync({:?})", self.dir))
    }

    /// Reads a file that [`Container::write_file`] wrote; `None` if it did not.
    pub fn read_file(&self, name: &str) -> Result<Option<Vec<u8>>, Fault> {
        let path = self.dir.join(name);
        match fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
            other => other.call(|| format!("read({path:?})")).map(Some),
        }
    }

    /// Makes both fifos and opens them for reading and writing: whoever inherits them needs no path.
    pub fn make_fifos(&self) -> Result<(OwnedFd, OwnedFd), Fault> {
        let make = |name: &str| {
            let path = self.dir.join(name);
            mkfifoat(CWD, &path, Mode::from_raw_mode(0o600)).call(|| format!("mkfifo({path:?})"))?;
            // For reading and writing an open never waits; a read of it does, which is what init wants.
            let flags = OFlags::RDWR | OFlags::CLOEXEC;
            rustix::fs::open(&path, flags, Mode::empty()).call(|| format!("open({path:?})"))
        };
        Ok((make(START)?, make("result.fifo")?))
    }

    /// Opens a fifo without waiting for its other end: ENXIO tells that nobody reads.
    pub fn open_fifo(&self, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        rustix::fs::open(self.dir.join(name), flags | OFlags::NONBLOCK | OFlags::CLOEXEC, Mode::empty())
    }

    /// Removes the directory and all in it; one that is gone already is no error. The fifo goes
    /// first: while it is there, a directory without a readable record may be a living container's.
    pub fn remove_dir(&self) -> Result<(), Fault> {
        let _ = fs::remove_file(self.dir.join(START));
        match fs::remove_dir_all(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => other.call(|| format!("removing {:?}", self.dir)),
        }
    }

    /// What the container is at this moment.
    pub fn status(&self) -> Status {
        let record = &self.record;
        if self.is_of_earlier_boot() {
            return Status::Stopped;
        }
        if record.phase == Phase::Creating {
            return if record.runtime.is_alive() { Status::Creating } else { Status::Stopped };
        }
        // Without a pid namespace of its own the others live on when the first has ended.
        let alive = self.init_is_alive()
            || !record.made(namespaces::Kind::Pid)
                && record.cgroup.procs().is_ok_and(|processes| !processes.is_empty());
        match alive {
            false => Status::Stopped,
            true if record.cgroup.is_frozen().unwrap_or(false) => Status::Paused,
            // Init holds the fifo's other end until its execve closes it.
            true => match self.open_fifo(START, OFlags::WRONLY) {
                Ok(_) => Status::Created,
                Err(_) => Status::Running,
            },
        }
    }

    /// Whether the container's first process is there.
    pub fn init_is_alive(&self) -> bool {
        self.record.init.is_some_and(|init| init.is_alive())
    }

    /// The machine was started anew since: no process of the container can be left.
    pub fn is_of_earlier_boot(&self) -> bool {
        boot_id().is_ok_and(|boot| boot != self.record.boot)
    }

    /// Pid for `state`: 0 for a container that has none.
    pub fn pid(&self, status: Status) -> i32 {
        match status {
            Status::Stopped | Status::Creating => 0,
            _ => self.record.init.map_or(0, |init| init.pid),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_is_only_the_same_process_with_its_start_time() {
        let me = Process::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        assert!(me.open().is_some());
        let other = Process { start: me.start + 1, ..me };
        assert!(!other.is_alive());
        assert!(other.open().is_none());
    }
}
