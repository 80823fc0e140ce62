// SPDX-License-Identifier: Apache-2.0
//! Questions that change nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::time::{ClockId, clock_gettime};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use serde_json::{Map, Value, json};

use crate::{Answer, errno};

/// The answer, or nothing where the question is not one of these.
pub fn answer(words: &[&str]) -> Option<Answer> {
    Some(match *words {
        ["pid"] => Ok(json!(std::process::id())),
        ["ppid"] => status_field("PPid").map(number),
        ["pgid"] => rustix::process::getpgid(None).map(|pid| json!(pid.as_raw_nonzero().get())),
        ["sid"] => stat_field(5),
        ["uid"] => ids("Uid"),
        ["gid"] => ids("Gid"),
        ["groups"] => {
            rustix::process::getgroups().map(|all| all.iter().map(|gid| json!(gid.as_raw())).collect())
        }
        ["umask"] => {
            let mask = rustix::process::umask(rustix::fs::Mode::empty());
            rustix::process::umask(mask);
            Ok(json!(format!("{:04o}", mask.bits())))
        }
        ["cwd"] => rustix::process::getcwd(Vec::new()).map(|path| json!(path.to_string_lossy())),
        ["hostname"] => Ok(json!(rustix::system::uname().nodename().to_string_lossy())),
        ["domainname"] => Ok(json!(rustix::system::uname().domainname().to_string_lossy())),
        ["machine"] => Ok(json!(rustix::system::uname().machine().to_string_lossy())),
        ["env"] => Ok(std::env::vars().map(|(key, value)| (key, json!(value))).collect()),
        ["environ"] => fs::read("/proc/self/environ").map_err(errno).map(|all| {
            let text = String::from_utf8_lossy(&all);
            text.split_terminator('\0').map(Value::from).collect()
        }),
        ["argv0"] => Ok(json!(std::env::args().next())),
        ["caps"] => caps(),
        ["status", field] => status_field(field).map(Value::from),
        ["nnp"] => rustix::thread::no_new_privs().map(Value::from),
        ["seccomp"] => status_field("Seccomp").map(number),
        ["dumpable"] => rustix::process::dumpable_behavior().map(|how| json!(how as u8)),
        ["pdeathsig"] => {
            rustix::process::parent_process_death_signal().map(|sig| json!(sig.map(|sig| sig.as_raw())))
        }
        ["rlimits"] => Ok(rlimits()),
        ["mounts"] => mounts(),
        ["mount", path] => mounts().map(|all| {
            let found = all.as_array().and_then(|all| all.iter().rev().find(|mount| mount["at"] == *path));
            found.cloned().unwrap_or(Value::Null)
        }),
        ["fds"] => fds(),
        ["namespaces"] => namespaces(),
        ["cgroup"] => read("/proc/self/cgroup"),
        ["oom"] => read("/proc/self/oom_score_adj").map(number),
        ["personality"] => read("/proc/self/personality").map(|text| json!(trimmed(&text))),
        ["keys"] => read("/proc/keys"),
        ["exe"] => readlink("/proc/self/exe"),
        ["sched"] => read("/proc/self/sched"),
        ["scheduler"] => scheduler(),
        ["stat", path] => fs::metadata(path).map_err(errno).map(|meta| stat(&meta)),
        ["lstat", path] => fs::symlink_metadata(path).map_err(errno).map(|meta| stat(&meta)),
        ["readlink", path] => readlink(path),
        ["read", path] => read(path),
        ["list", path] => fs::read_dir(path).map_err(errno).map(|all| {
            let mut names: Vec<String> =
                all.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            json!(names)
        }),
        ["statfs", path] => statvfs(path).map(|fs| {
            json!({
                "readonly": fs.f_flag.contains(StatVfsMountFlags::RDONLY),
                "nosuid": fs.f_flag.contains(StatVfsMountFlags::NOSUID),
                "bytes": fs.f_blocks * fs.f_frsize,
                "inodes": fs.f_files,
            })
        }),
        ["clock", which] => {
            // rustix wants a vDSO for this, which User-Mode Linux has not got.
            let id = if which == "boottime" { ClockId::CLOCK_BOOTTIME } else { ClockId::CLOCK_MONOTONIC };
            let time = clock_gettime(id).map_err(|errno| Errno::from_raw_os_error(errno as i32));
            time.map(|time| json!(time.tv_sec()))
        }
        ["tty"] => Ok(tty()),
        ["interfaces"] => interfaces(),
        ["processes"] => processes(),
        _ => return None,
    })
}

fn read(path: &str) -> Answer {
    fs::read(path).map_err(errno).map(|all| json!(String::from_utf8_lossy(&all)))
}

fn readlink(path: &str) -> Answer {
    fs::read_link(path).map_err(errno).map(|path| json!(path.to_string_lossy()))
}

fn trimmed(value: &Value) -> &str {
    value.as_str().unwrap_or_default().trim()
}

fn number(text: impl Into<Value>) -> Value {
    let text = text.into();
    trimmed(&text).parse::<i64>().map_or(Value::Null, Value::from)
}

fn status_field(field: &str) -> Result<String, Errno> {
    let status = fs::read_to_string("/proc/self/status").map_err(errno)?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    Ok(line.unwrap_or_default().trim().to_owned())
}

/// A field of /proc/self/stat, counted from 0 as in proc_pid_stat(5) less one; the
/// command name may hold spaces, so counting starts behind it.
fn stat_field(index: usize) -> Answer {
    let stat = fs::read_to_string("/proc/self/stat").map_err(errno)?;
    let rest = stat.rsplit(')').next().unwrap_or_default();
    Ok(number(rest.split_whitespace().nth(index - 2).unwrap_or_default()))
}

/// As proc_pid_stat(5) counts them, less one.
fn scheduler() -> Answer {
    Ok(json!({ "policy": stat_field(40)?, "priority": stat_field(39)?, "nice": stat_field(18)? }))
}

/// Real, effective, saved and file system id, from the kernel's own account where /proc
/// is mounted, and from the calls where it is not.
fn ids(which: &str) -> Answer {
    match status_field(which) {
        Err(Errno::NOENT) => {}
        told => return Ok(told?.split_whitespace().map(number).collect()),
    }
    let (real, effective) = match which {
        "Uid" => (rustix::process::getuid().as_raw(), rustix::process::geteuid().as_raw()),
        _ => (rustix::process::getgid().as_raw(), rustix::process::getegid().as_raw()),
    };
    Ok(json!([real, effective]))
}

/// The five sets as 64-bit masks in hexadecimal, as /proc shows them.
fn caps() -> Answer {
    let mut sets = Map::new();
    for (field, set) in [
        ("CapBnd", "bounding"),
        ("CapEff", "effective"),
        ("CapInh", "inheritable"),
        ("CapPrm", "permitted"),
        ("CapAmb", "ambient"),
    ] {
        sets.insert(set.to_owned(), json!(status_field(field)?));
    }
    Ok(Value::Object(sets))
}

fn rlimits() -> Value {
    let all = [
        ("RLIMIT_AS", Resource::As),
        ("RLIMIT_CORE", Resource::Core),
        ("RLIMIT_CPU", Resource::Cpu),
        ("RLIMIT_DATA", Resource::Data),
        ("RLIMIT_FSIZE", Resource::Fsize),
        ("RLIMIT_LOCKS", Resource::Locks),
        ("RLIMIT_MEMLOCK", Resource::Memlock),
        ("RLIMIT_MSGQUEUE", Resource::Msgqueue),
        ("RLIMIT_NICE", Resource::Nice),
        ("RLIMIT_NOFILE", Resource::Nofile),
        ("RLIMIT_NPROC", Resource::Nproc),
        ("RLIMIT_RSS", Resource::Rss),
        ("RLIMIT_RTPRIO", Resource::Rtprio),
        ("RLIMIT_RTTIME", Resource::Rttime),
        ("RLIMIT_SIGPENDING", Resource::Sigpending),
        ("RLIMIT_STACK", Resource::Stack),
    ];
    let one = |(name, resource): (&str, Resource)| {
        let limit = getrlimit(resource);
        (name.to_owned(), json!([limit.current, limit.maximum]))
    };
    all.into_iter().map(one).collect()
}

/// mountinfo: at, root, type, source, options (per mount), super (of the file system),
/// propagation words.
fn mounts() -> Answer {
    let info = fs::read_to_string("/proc/self/mountinfo").map_err(errno)?;
    Ok(info.lines().filter_map(mount).collect())
}

fn mount(line: &str) -> Option<Value> {
    let (mount, fs) = line.split_once(" - ")?;
    let mount: Vec<&str> = mount.split(' ').collect();
    let fs: Vec<&str> = fs.split(' ').collect();
    Some(json!({
        "root": mount.get(3)?,
        "at": mount.get(4)?,
        "options": mount.get(5)?.split(',').collect::<Vec<_>>(),
        "propagation": mount.get(6..)?,
        "type": fs.first()?,
        "source": fs.get(1)?,
        "super": fs.get(2)?.split(',').collect::<Vec<_>>(),
    }))
}

/// Every open descriptor but the one that lists them: number and what it is.
fn fds() -> Answer {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir("/proc/self/fd").map_err(errno)? {
        let path = entry.map_err(errno)?.path();
        let Ok(target) = fs::read_link(&path) else { continue };
        let target = target.to_string_lossy().into_owned();
        // The listing's own.
        if target.starts_with("/proc/") && target.ends_with("/fd") {
            continue;
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.insert(name, target);
    }
    Ok(json!(all))
}

fn namespaces() -> Answer {
    let mut all = BTreeMap::new();
    for name in ["cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"] {
        let link = fs::read_link(format!("/proc/self/ns/{name}")).map_err(errno)?;
        all.insert(name, link.to_string_lossy().into_owned());
    }
    Ok(json!(all))
}

fn stat(meta: &fs::Metadata) -> Value {
    let kind = meta.file_type();
    let kind = match () {
        () if kind.is_dir() => "dir",
        () if kind.is_file() => "file",
        () if kind.is_symlink() => "symlink",
        () if kind.is_char_device() => "char",
        () if kind.is_block_device() => "block",
        () if kind.is_fifo() => "fifo",
        () => "socket",
    };
    let rdev = meta.rdev();
    json!({
        "type": kind,
        "mode": format!("{:04o}", meta.mode() & 0o7777),
        "uid": meta.uid(),
        "gid": meta.gid(),
        "size": meta.size(),
        "ino": meta.ino(),
        "dev": meta.dev(),
        "rdev": format!("{}:{}", rustix::fs::major(rdev), rustix::fs::minor(rdev)),
    })
}

/// What standard input is: a terminal, of which size and name, and the controlling one?
fn tty() -> Value {
    let stdin = std::io::stdin();
    let size = rustix::termios::tcgetwinsize(&stdin).ok();
    json!({
        "isatty": [
            rustix::termios::isatty(&stdin),
            rustix::termios::isatty(std::io::stdout()),
            rustix::termios::isatty(std::io::stderr()),
        ],
        "size": size.map(|size| [size.ws_row, size.ws_col]),
        "name": fs::read_link("/proc/self/fd/0").ok(),
        "controlling": fs::File::open("/dev/tty").is_ok(),
        "leader": rustix::termios::tcgetsid(&stdin).is_ok_and(|sid| sid == rustix::process::getpid()),
    })
}

fn interfaces() -> Answer {
    let text = fs::read_to_string("/proc/self/net/dev").map_err(errno)?;
    let name = |line: &str| line.split_once(':').map(|(name, _)| json!(name.trim()));
    Ok(text.lines().filter_map(name).collect())
}

/// Every process that this /proc shows: pid, parent, state, name.
fn processes() -> Answer {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").map_err(errno)?.flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        let (Some((_, name)), Some((_, rest))) = (stat.split_once('('), stat.rsplit_once(')')) else {
            continue;
        };
        let mut rest = rest.split_whitespace();
        let (state, parent) = (rest.next(), rest.next().and_then(|text| text.parse::<u32>().ok()));
        let name = name.rsplit_once(')').map(|(name, _)| name);
        all.push(json!({ "pid": pid, "ppid": parent, "state": state, "name": name }));
    }
    Ok(json!(all))
}
