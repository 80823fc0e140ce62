// SPDX-License-Identifier: Apache-2.0
//! Our own binary, out of the container's reach (CVE-2019-5736).
//!
//! A process of a container can find the file that runs it through /proc/self/exe, when that is
//! still us: an entrypoint `#!/proc/self/exe` is enough. So the verbs that make processes start
//! again, before they have parsed anything, through a read-only clone of the mount that the binary
//! lies on, which is attached nowhere. The mark that this has been done is the mount's own
//! read-only flag, which nobody outside can set, as one can an environment variable.
#![expect(clippy::disallowed_methods, reason = "our own binary")]

use std::ffi::CString;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStringExt;

use rustix::fs::{Access, AtFlags, CWD, StatVfsMountFlags, accessat, statvfs};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, OpenTreeFlags};

use crate::error::{Call, Fault, Result};
use crate::sys::mount::{Attr, mount_setattr};
use crate::sys::process::execve_fd;

const SELF: &str = "/proc/self/exe";

/// Starts this program again through a read-only detached mount, unless it runs from a read-only
/// one already, or nobody with our rights could write the file.
pub fn protect() -> Result<()> {
    let mount = statvfs(SELF).call(|| "statvfs(\"/proc/self/exe\")").map_err(|fault| match fault.errno {
        Some(Errno::NOENT) => fault.hint("soute needs a procfs: mount -t proc proc /proc"),
        _ => fault,
    })?;
    if mount.f_flag.contains(StatVfsMountFlags::RDONLY) {
        // The clone's name is a number; ps and logs should show ours.
        let _ = rustix::thread::set_name(c"soute");
        return Ok(());
    }
    if accessat(CWD, SELF, Access::WRITE_OK, AtFlags::EACCESS) == Err(Errno::ACCESS) {
        return Ok(());
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let file = match rustix::mount::open_tree(CWD, SELF, flags) {
        // No right to clone mounts: a sealed copy in memory serves as well, and costs a copy.
        Err(Errno::PERM) => return sealed_copy(),
        other => other.call(|| "open_tree(\"/proc/self/exe\")")?,
    };
    let attr = Attr { set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), ..Attr::default() };
    mount_setattr(file.as_fd(), c"", false, attr).call(|| "mount_setattr(own binary, read-only)")?;
    again(file.as_fd())
}

fn sealed_copy() -> Result<()> {
    use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create, open, sendfile};
    use rustix::fs::{Mode, OFlags};
    let own =
        open(SELF, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).call(|| "open(\"/proc/self/exe\")")?;
    if fcntl_get_seals(&own).is_ok_and(|seals| seals.contains(SealFlags::WRITE)) {
        let _ = rustix::thread::set_name(c"soute");
        return Ok(());
    }
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = memfd_create("soute", flags).call(|| "memfd_create")?;
    while sendfile(&copy, &own, None, 1 << 24).call(|| "sendfile(own binary)")? > 0 {}
    fcntl_add_seals(&copy, SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL)
        .call(|| "fcntl(F_ADD_SEALS)")?;
    again(copy.as_fd())
}

fn again(file: std::os::fd::BorrowedFd<'_>) -> Result<()> {
    let c_string = |word: std::ffi::OsString| {
        CString::new(word.into_vec()).map_err(|_| Fault::new("a NUL byte in the command line"))
    };
    let args = std::env::args_os().map(c_string).collect::<Result<Vec<_>, _>>()?;
    let env = std::env::vars_os()
        .map(|(name, value)| {
            let mut word = name;
            word.push("=");
            word.push(value);
            c_string(word)
        })
        .collect::<Result<Vec<_>, _>>()?;
    let errno = execve_fd(file, &args, &env);
    Err(Fault::call("execveat(own binary)", errno).into())
}
