// SPDX-License-Identifier: Apache-2.0
//! Processes: clone3, exec, signal dispositions, keyring, close_range.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use linux_raw_sys::general::{CLONE_INTO_CGROUP, CLONE_PIDFD, clone_args};
use rustix::io::Errno;
use rustix::process::Pid;

use super::check;

/// Both ways out of [`clone3`].
pub enum Fork {
    /// In the process that called.
    Parent {
        /// The new process, as this process's pid namespace counts it.
        pid: Pid,
        /// A pidfd of it.
        pidfd: OwnedFd,
    },
    /// In the new process.
    Child,
}

/// clone3(2) without shared memory, as fork does it: the child has a copy of everything.
/// `flags` are `CLONE_NEW*` and may hold CLONE_FILES and CLONE_PARENT. With `cgroup` the child
/// is born in that v2 group, which takes no lock over all processes.
///
/// The C library's fork handlers do not run and its threads are not there: the caller must have
/// one thread.
pub fn clone3(flags: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Fork, Errno> {
    let mut pidfd: RawFd = -1;
    let parent = flags & linux_raw_sys::general::CLONE_PARENT as u64 != 0;
    let mut args = clone_args {
        flags: flags | CLONE_PIDFD as u64,
        pidfd: ptr::from_mut(&mut pidfd) as u64,
        // With CLONE_PARENT the kernel takes the caller's own signal, and wants 0 here.
        exit_signal: if parent { 0 } else { libc::SIGCHLD as u64 },
        ..zeroed_clone_args()
    };
    if let Some(cgroup) = cgroup {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM the child gets its own copy of memory, so both sides go on as after
    // fork(2); `args` is whole, its size is passed, and `pidfd` lives on this frame until the return.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone3, &args, size_of::<clone_args>()) })?;
    match Pid::from_raw(pid as i32) {
        None => Ok(Fork::Child),
        // SAFETY: with CLONE_PIDFD the kernel put a new descriptor there that nobody else owns.
        Some(pid) => Ok(Fork::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// clone(2) as fork does it, with a pidfd. For a process that stands under the container's filter:
/// profiles answer clone3 with ENOSYS, since they cannot see its flags.
///
/// As with [`clone3`], the caller must have one thread.
pub fn clone() -> Result<Fork, Errno> {
    let mut pidfd: RawFd = -1;
    let flags = CLONE_PIDFD as u64 | libc::SIGCHLD as u64;
    // No stack of its own; s390 alone has the two the other way round.
    let (first, second) = if cfg!(target_arch = "s390x") { (0, flags) } else { (flags, 0) };
    let place = ptr::from_mut(&mut pidfd);
    // SAFETY: without CLONE_VM the child gets its own copy of memory, so both sides go on as after
    // fork(2); with CLONE_PIDFD the third argument is where the kernel puts the descriptor, and
    // `pidfd` lives on this frame until the return. The last two are not used without their flags.
    let pid = check(unsafe { libc::syscall(libc::SYS_clone, first, second, place, 0_u64, 0_u64) })?;
    match Pid::from_raw(pid as i32) {
        None => Ok(Fork::Child),
        // SAFETY: with CLONE_PIDFD the kernel put a new descriptor there that nobody else owns.
        Some(pid) => Ok(Fork::Parent { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

fn zeroed_clone_args() -> clone_args {
    clone_args {
        flags: 0,
        pidfd: 0,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: 0,
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    }
}

/// unshare(2) of namespaces only.
pub fn unshare(flags: u64) -> Result<(), Errno> {
    debug_assert_eq!(flags & libc::CLONE_FILES as u64, 0);
    // SAFETY: only CLONE_NEW* flags are passed, which change no memory and no descriptor table.
    check(unsafe { libc::syscall(libc::SYS_unshare, flags) }).map(drop)
}

/// setns(2): by the descriptor of one namespace, or of a process (pidfd) with several flags.
pub fn setns(fd: BorrowedFd<'_>, flags: u64) -> Result<(), Errno> {
    // SAFETY: two integers; the descriptor is open for the call.
    check(unsafe { libc::syscall(libc::SYS_setns, fd.as_raw_fd(), flags) }).map(drop)
}

/// Ends this process at once: no destructor, no exit handler runs.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit(2) does not return and touches no memory.
    unsafe { libc::_exit(status) }
}

/// execve(2). Comes back only with the errno of a failure.
pub fn execve(path: &CStr, args: &[CString], env: &[CString]) -> Errno {
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: both vectors end with a null pointer, and all strings outlive the call.
    unsafe { libc::execve(path.as_ptr(), args.as_ptr(), env.as_ptr()) };
    super::last_errno()
}

/// execveat(2) of the file that `file` stands for. Comes back only with the errno of a failure.
pub fn execve_fd(file: BorrowedFd<'_>, args: &[CString], env: &[CString]) -> Errno {
    let args = pointers(args);
    let env = pointers(env);
    // SAFETY: as for execve; the empty path and AT_EMPTY_PATH name the descriptor itself.
    let result = unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            args.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    check(result).err().unwrap_or(Errno::IO)
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
}

/// All signals get their default disposition and none is blocked: what the payload starts with.
/// (The Rust runtime ignores SIGPIPE; a caller may have blocked or ignored anything.)
pub fn default_signals() {
    // SAFETY: a zeroed sigaction means SIG_DFL with no flags; signal numbers that cannot be changed
    // (KILL, STOP, the C library's own) answer EINVAL, which is meant to pass.
    unsafe {
        let action: libc::sigaction = std::mem::zeroed();
        for signal in 1..=64 {
            // The raw call, since the C library refuses the two real-time signals it keeps.
            libc::syscall(libc::SYS_rt_sigaction, signal, &action, ptr::null::<()>(), 8usize);
        }
        let empty: u64 = 0;
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, &empty, ptr::null::<()>(), 8usize);
    }
}

/// close_range(2) with CLOSE_RANGE_CLOEXEC: every descriptor from `first` on closes at the next exec.
pub fn cloexec_from(first: u32) -> Result<(), Errno> {
    // SAFETY: integers only; descriptors stay open, so nothing that owns one is disturbed.
    check(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) })
        .map(drop)
}

/// close_range(2): closes every descriptor from `first` on but `spare`. For a process that has
/// opened no other yet: what it closes belongs to nobody here.
pub fn close_from(first: u32, spare: Option<RawFd>) -> Result<(), Errno> {
    let spare = spare.and_then(|fd| u32::try_from(fd).ok()).filter(|fd| *fd >= first);
    let ranges = match spare {
        None => [(first, u32::MAX), (1, 0)],
        Some(fd) => [(first, fd.wrapping_sub(1)), (fd + 1, u32::MAX)],
    };
    for (first, last) in ranges {
        if first <= last {
            // SAFETY: integers only; by what this function is for, no OwnedFd of ours has such a number.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })?;
        }
    }
    Ok(())
}

/// keyctl(KEYCTL_JOIN_SESSION_KEYRING): a new session keyring of this name (keyctl(2)).
pub fn join_session_keyring(name: &CStr) -> Result<i32, Errno> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: the name is a C string that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr(), 0, 0, 0) })
        .map(|key| key as i32)
}

/// keyctl(KEYCTL_SETPERM) (keyctl_setperm(3)).
pub fn set_key_permissions(key: i32, permissions: u32) -> Result<(), Errno> {
    const KEYCTL_SETPERM: libc::c_long = 5;
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_SETPERM, key, permissions, 0, 0) }).map(drop)
}

/// setdomainname(2).
pub fn setdomainname(name: &[u8]) -> Result<(), Errno> {
    // SAFETY: pointer and length of one slice that outlives the call.
    check(unsafe { libc::syscall(libc::SYS_setdomainname, name.as_ptr(), name.len()) }).map(drop)
}

/// personality(2).
pub fn personality(domain: u32) -> Result<(), Errno> {
    // SAFETY: an integer.
    check(unsafe { libc::syscall(libc::SYS_personality, u64::from(domain)) }).map(drop)
}

/// prctl(PR_CAPBSET_DROP). EINVAL means: the kernel knows no such capability.
pub fn drop_bounding(capability: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe { libc::syscall(libc::SYS_prctl, libc::PR_CAPBSET_DROP, u64::from(capability), 0, 0, 0) })
        .map(drop)
}

/// prctl(PR_CAP_AMBIENT): raises one capability.
pub fn raise_ambient(capability: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe {
        libc::syscall(
            libc::SYS_prctl,
            libc::PR_CAP_AMBIENT,
            libc::PR_CAP_AMBIENT_RAISE as u64,
            u64::from(capability),
            0,
            0,
        )
    })
    .map(drop)
}

/// prctl(PR_CAP_AMBIENT): clears the ambient set.
pub fn clear_ambient() -> Result<(), Errno> {
    // SAFETY: integers only.
    check(unsafe {
        libc::syscall(libc::SYS_prctl, libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0, 0, 0)
    })
    .map(drop)
}

/// capset(2) of the calling thread.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<(), Errno> {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let header = Header { version: VERSION_3, pid: 0 };
    let data: [u32; 6] = [
        effective as u32,
        permitted as u32,
        inheritable as u32,
        (effective >> 32) as u32,
        (permitted >> 32) as u32,
        (inheritable >> 32) as u32,
    ];
    // SAFETY: version 3 reads one header and two triples of u32, which both live on this frame.
    check(unsafe { libc::syscall(libc::SYS_capset, &header, &data) }).map(drop)
}

/// How many kinds of limit there are.
pub const RLIMITS: u32 = 16;

/// The calling process's soft and hard limit by prlimit64(2).
pub fn getrlimit(resource: u32) -> Result<(u64, u64), Errno> {
    let mut limit = [0u64; 2];
    // SAFETY: the kernel writes two u64 to `limit`, and reads no new value, there being none.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, ptr::null::<()>(), &mut limit) })?;
    Ok((limit[0], limit[1]))
}

/// setrlimit by prlimit64(2) for the calling process; `resource` is one of `RLIMIT_*`.
pub fn setrlimit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = [soft, hard];
    // SAFETY: the kernel reads two u64 from `limit` and writes nothing, the old value being unwanted.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, &limit, ptr::null::<()>()) }).map(drop)
}

/// Owns a descriptor that another process put into the table that both share.
pub fn adopt_fd(fd: RawFd) -> OwnedFd {
    assert!(fd > 2, "a new descriptor cannot be one of the standard streams");
    // SAFETY: the caller got the number from the process that made it and forgot it; if it lied, the
    // worst is EBADF at its use, since nothing else of ours can own a number that was free before.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// fcntl(F_GETFD): the flags of a descriptor that may or may not be open.
pub fn descriptor_flags(fd: RawFd) -> Option<i32> {
    // SAFETY: F_GETFD takes a number and touches no memory; a closed one answers EBADF.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    (flags >= 0).then_some(flags)
}
