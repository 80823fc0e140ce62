// SPDX-License-Identifier: Apache-2.0
//! Whom the process runs as: ids, groups, capabilities, limits, HOME, and where it finds its program.

use std::ffi::CString;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use linux_raw_sys::general as raw;
use rustix::fs::{Access, AtFlags, CWD, FileType, OFlags, fchown, fcntl_getfl, fstat, statat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Gid, Uid, chdir, getcwd, set_dumpable_behavior};
use rustix::thread::{set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid};

use super::path;
use crate::error::{Call, Fault};
use crate::plan::caps::CapSet;
use crate::plan::identity::{Executable, Identity};
use crate::sys::process as sys;

/// Uid and gid 0 of a user namespace whose maps are written.
pub fn become_root() -> Result<(), Fault> {
    set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).call(|| "setresgid(0)")?;
    set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).call(|| "setresuid(0)")?;
    stay_undumpable()
}

/// No groups of the caller's are left. Before a user namespace is entered, for one that somebody else
/// made may deny setgroups(2), and then they would stay for good. Where that is denied already, the
/// caller is an ordinary user of an outer one, and its groups are no more than its own.
pub fn leave_groups() -> Result<(), Fault> {
    match set_thread_groups(&[]) {
        Err(Errno::PERM) => Ok(()),
        other => other.call(|| "setgroups([])"),
    }
}

/// A change of ids makes a process as dumpable as fs.suid_dumpable says. Where that is not 0, whoever
/// has the new ids in the container could trace this process until its execve: `exec` has them.
fn stay_undumpable() -> Result<(), Fault> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable).call(|| "prctl(PR_SET_DUMPABLE)")
}

/// Groups, gid and uid of the payload. Capabilities are kept across, for capset to cut down.
/// `denied`: the user namespace allows no setgroups(2), so the groups stay as they are.
pub fn set_user(identity: &Identity, denied: bool) -> Result<(), Fault> {
    set_keep_capabilities(true).call(|| "prctl(PR_SET_KEEPCAPS)")?;
    if denied && !identity.groups.is_empty() {
        return Err(Fault::new("setgroups is denied in this user namespace")
            .hint("leave process.user.additionalGids out"));
    }
    if identity.setgroups && !identity.keep && !denied {
        let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups).call(|| format!("setgroups({:?})", identity.groups)).map_err(unmapped)?;
    }
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    set_thread_res_gid(gid, gid, gid).call(|| format!("setresgid({})", identity.gid)).map_err(unmapped)?;
    set_thread_res_uid(uid, uid, uid).call(|| format!("setresuid({})", identity.uid)).map_err(unmapped)?;
    match (uid, gid) {
        // Nothing has changed.
        (Uid::ROOT, Gid::ROOT) => Ok(()),
        _ => stay_undumpable(),
    }
}

fn unmapped(fault: Fault) -> Fault {
    match fault.errno {
        Some(Errno::INVAL) => fault.hint("the id must lie in linux.uidMappings and linux.gidMappings"),
        _ => fault,
    }
}

/// Drops from the bounding set what is not kept. The kernel says EINVAL after its last capability.
pub fn drop_bounding(keep: CapSet) -> Result<(), Fault> {
    for cap in 0..64 {
        if keep.has(cap) {
            continue;
        }
        match sys::drop_bounding(cap) {
            Err(Errno::INVAL) => break,
            other => other.call(|| format!("prctl(PR_CAPBSET_DROP, {cap})"))?,
        }
    }
    Ok(())
}

/// Effective, permitted and inheritable at once, then ambient one by one.
pub fn set_capabilities(
    effective: CapSet,
    permitted: CapSet,
    inheritable: CapSet,
    ambient: CapSet,
) -> Result<(), Fault> {
    sys::capset(effective.0, permitted.0, inheritable.0)
        .call(|| format!("capset(effective {:#x}, permitted {:#x})", effective.0, permitted.0))?;
    sys::clear_ambient().call(|| "prctl(PR_CAP_AMBIENT_CLEAR_ALL)")?;
    for cap in ambient.iter() {
        sys::raise_ambient(cap).call(|| format!("prctl(PR_CAP_AMBIENT_RAISE, {cap})"))?;
    }
    Ok(())
}

/// One resource limit.
pub fn set_rlimit(name: &str, resource: u32, soft: u64, hard: u64) -> Result<(), Fault> {
    sys::setrlimit(resource, soft, hard)
        .call(|| format!("error setting rlimit {name}: prlimit({soft}, {hard})"))
        .map_err(|fault| match fault.errno {
            Some(Errno::PERM) => fault.hint("a hard limit above the caller's own needs CAP_SYS_RESOURCE"),
            _ => fault,
        })
}

/// Soft limits that nobody asked for become the hard ones: the caller's shell or engine may have
/// lowered its own. The stack's stays at the kernel's 8 MiB, since an endless one changes how
/// memory is laid out (setrlimit(2)); and core dumps are not switched on behind the caller's back.
pub fn reset_soft_limits(except: &[u32]) -> Result<(), Fault> {
    const STACK: u64 = 8 << 20;
    let named = |resource: &u32| except.contains(resource) || *resource == raw::RLIMIT_CORE;
    for resource in (0..sys::RLIMITS).filter(|resource| !named(resource)) {
        let says = || format!("prlimit(resource {resource})");
        let (soft, hard) = sys::getrlimit(resource).call(says)?;
        let wanted = if resource == raw::RLIMIT_STACK { hard.min(STACK) } else { hard };
        if soft != wanted {
            sys::setrlimit(resource, wanted, hard).call(says)?;
        }
    }
    Ok(())
}

/// Hands pipes and files on 0, 1 and 2 to the payload's user, so that it can open /dev/stdout anew.
/// Never a device: /dev/null on a descriptor is the host's. Nor a file that is only to be read: its
/// new owner could open it to write.
pub fn chown_stdio(uid: u32) -> Result<(), Fault> {
    for fd in [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()] {
        let Ok(stat) = fstat(fd) else { continue };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if stat.st_uid == uid || kind.is_char_device() || kind.is_block_device() {
            continue;
        }
        if kind.is_file() && fcntl_getfl(fd).is_ok_and(|flags| flags & OFlags::RWMODE == OFlags::RDONLY) {
            continue;
        }
        match fchown(fd, Some(Uid::from_raw(uid)), None) {
            // Sockets, files on a read-only mount, ids that have no name here: theirs they stay.
            Err(Errno::INVAL | Errno::PERM | Errno::ROFS | Errno::OVERFLOW) => {}
            other => other.call(|| format!("fchown(stdio, {uid})"))?,
        }
    }
    Ok(())
}

/// Enters the working directory and makes sure that it lies below the root: a descriptor of the
/// host that was left open must not be a way out (CVE-2024-21626).
#[expect(clippy::disallowed_methods, reason = "the root is the container's by now")]
pub fn enter_cwd(path: &Path) -> Result<(), Fault> {
    let entered = chdir(path).call(|| format!("chdir to cwd ({path:?}) set in config.json failed"));
    entered.map_err(|fault| match fault.errno {
        Some(Errno::NOENT | Errno::NOTDIR) => fault.hint("it must be a directory of the root filesystem"),
        _ => fault,
    })?;
    // getcwd answers "(unreachable)…" or ENOENT for a directory that is not below the root.
    match getcwd(Vec::new()) {
        Ok(cwd) if cwd.as_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Fault::new(format!(
            "current working directory {path:?} is outside of container mount namespace root"
        ))),
        Err(errno) => Err(Fault::call("getcwd", errno)),
    }
}

/// A passwd larger than this is no passwd.
const PASSWD_MAX: usize = 1 << 20;

/// The home directory of `uid` after the container's /etc/passwd; `/` if that has no such line.
/// Read with a bound, and only a regular file: an image may have a FIFO or an endless file there.
pub fn home(root: BorrowedFd<'_>, uid: u32) -> Result<CString, Fault> {
    let home = read_passwd(root).and_then(|passwd| home_in(&passwd, uid)).unwrap_or_else(|| "/".into());
    CString::new(format!("HOME={home}")).map_err(|_| Fault::new("a NUL byte in /etc/passwd"))
}

fn read_passwd(root: BorrowedFd<'_>) -> Option<Vec<u8>> {
    let file =
        path::open(root, Path::new("etc/passwd"), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY).ok()?;
    if !FileType::from_raw_mode(fstat(&file).ok()?.st_mode).is_file() {
        return None;
    }
    let mut text = vec![0; 4096];
    let mut length = 0;
    loop {
        match rustix::io::read(&file, &mut text[length..]).ok()? {
            0 => break,
            n => length += n,
        }
        if length >= PASSWD_MAX {
            return None;
        }
        if length == text.len() {
            text.resize(length * 2, 0);
        }
    }
    text.truncate(length);
    Some(text)
}

fn home_in(passwd: &[u8], uid: u32) -> Option<String> {
    passwd.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b':');
        let id = std::str::from_utf8(fields.nth(2)?).ok()?;
        if id.parse() != Ok(uid) {
            return None;
        }
        let home = std::str::from_utf8(fields.nth(2)?).ok()?;
        (!home.is_empty()).then(|| home.to_owned())
    })
}

/// The file that execve will get. The texts are those that engines turn into exit codes 126 and 127.
pub fn find_executable(executable: &Executable) -> Result<CString, Fault> {
    let name = executable.name.as_str();
    let missing = || Fault::new(format!("exec: {name:?}: executable file not found in $PATH"));
    if name.is_empty() {
        return Err(missing());
    }
    if name.contains('/') {
        let stat = statat(CWD, name, AtFlags::empty())
            .call(|| format!("exec: {name:?}: stat {name}"))
            .map_err(|fault| match fault.errno {
                Some(Errno::NOENT) => fault.hint("process.args[0] must exist in the root filesystem"),
                _ => fault,
            })?;
        runnable(Path::new(name), &stat)
            .map_err(|why| Fault { says: format!("exec: {name:?}{}", why.says), ..why })?;
        return c_path(Path::new(name));
    }
    let mut denied = None;
    for dir in &executable.path {
        let candidate = Path::new(if dir.is_empty() { "." } else { dir }).join(name);
        let Ok(stat) = statat(CWD, &candidate, AtFlags::empty()) else { continue };
        match runnable(&candidate, &stat) {
            Ok(()) => return c_path(&candidate),
            Err(why) => denied = Some(Fault { says: format!("exec: {name:?}{}", why.says), ..why }),
        }
    }
    // A directory of that name in PATH is passed over, as shells do.
    match denied {
        Some(fault) if !fault.says.contains("is a directory") => Err(fault),
        _ => Err(missing().hint("name a program of the root filesystem, or set PATH in process.env")),
    }
}

fn runnable(path: &Path, stat: &rustix::fs::Stat) -> Result<(), Fault> {
    if FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(Fault::call(": is a directory", Errno::ACCESS).hint("name a program"));
    }
    // With the ids and capabilities that exec will have. A seccomp profile, which may be in force by
    // now, knows faccessat2(2) only if it is young enough: then faccessat(2) is asked, and else exec.
    let refused = |errno: &Errno| matches!(*errno, Errno::NOSYS | Errno::PERM);
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::EACCESS) {
        Err(errno) if refused(&errno) => {
            match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()) {
                Err(errno) if !refused(&errno) => Err(refusal(errno)),
                _ => Ok(()),
            }
        }
        other => other.map_err(refusal),
    }
}

fn refusal(errno: Errno) -> Fault {
    let fault = Fault::call("", errno);
    match errno {
        Errno::ACCESS => fault
            .hint("the container's user must be able to execute it and enter its directories: see chmod(1)"),
        _ => fault,
    }
}

fn c_path(path: &Path) -> Result<CString, Fault> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Fault::new("a NUL byte in the path of the executable"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn home_comes_from_the_line_of_the_uid() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\n1000:x:0:0::/evil:\nbroken\n\nu:x:1000:1000::/home/u:/bin/sh\ne:x:7:7:::\n";
        assert_eq!(home_in(passwd, 0).as_deref(), Some("/root"));
        assert_eq!(home_in(passwd, 1000).as_deref(), Some("/home/u"));
        assert_eq!(home_in(passwd, 7), None);
        assert_eq!(home_in(passwd, 8), None);
    }

    fn find(name: &str, path: &[&str]) -> Result<CString, String> {
        let path = path.iter().map(|p| p.to_string()).collect();
        find_executable(&Executable { name: name.into(), path }).map_err(|fault| fault.to_string())
    }

    #[test]
    fn executables_are_found_and_what_is_wrong_is_said_in_the_words_that_engines_read() {
        assert_eq!(find("sh", &["/nowhere", "/bin"]), Ok(c"/bin/sh".into()));
        assert_eq!(find("/bin/sh", &[]), Ok(c"/bin/sh".into()));
        let absent = "exec: \"/no/x\": stat /no/x: no such file or directory (ENOENT)";
        assert_eq!(find("/no/x", &[]), Err(absent.into()));
        assert_eq!(find("x", &["/bin"]), Err("exec: \"x\": executable file not found in $PATH".into()));
        assert_eq!(find("", &["/bin"]), Err("exec: \"\": executable file not found in $PATH".into()));
        assert_eq!(
            find("/etc", &[]),
            Err("exec: \"/etc\": is a directory: permission denied (EACCES)".into())
        );
        assert_eq!(find("/etc/passwd", &[]), Err("exec: \"/etc/passwd\": permission denied (EACCES)".into()));
        assert_eq!(find("etc", &["/"]), Err("exec: \"etc\": executable file not found in $PATH".into()));
    }
}
