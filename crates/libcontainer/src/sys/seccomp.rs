// SPDX-License-Identifier: Apache-2.0
//! seccomp(2): the calling thread, and all it will start, under a filter.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use libc::{c_int, c_ulong, sock_filter, sock_fprog};

/// Loads a program with `SECCOMP_FILTER_FLAG_*` flags. Gives the listener's descriptor
/// (close-on-exec) where NEW_LISTENER is among them.
///
/// Needs no_new_privs or CAP_SYS_ADMIN (EACCES). EINVAL is a program or a flag that the kernel
/// does not take. ESRCH: with TSYNC, another thread stands under another filter.
pub fn load(program: &[sock_filter], flags: u32) -> io::Result<Option<OwnedFd>> {
    let len = u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // The kernel only reads the program; the field is mutable for want of const in C.
    let fprog = sock_fprog { len, filter: program.as_ptr().cast_mut() };
    // SAFETY: `fprog` lives until the call returns and says the true length of `program`, which
    // outlives it too; the kernel copies both and keeps no pointer.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const fprog) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        fd if c_ulong::from(flags) & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER != 0 => {
            // SAFETY: with NEW_LISTENER a result that is no error is a new descriptor, and nobody
            // else has it.
            Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as c_int) }))
        }
        0 => Ok(None),
        // Without ESRCH a failed TSYNC gives the thread that could not follow.
        _ => Err(io::Error::from_raw_os_error(libc::ESRCH)),
    }
}

/// Whether the kernel knows a `SECCOMP_FILTER_FLAG_*`. Loads nothing: without a program the answer to
/// a known flag is EFAULT, and to an unknown one EINVAL (seccomp(2)).
pub fn takes(flags: u32) -> bool {
    // A listener's flags are refused without a listener.
    let flags = c_ulong::from(flags) | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER;
    let nothing = std::ptr::null::<sock_fprog>();
    // SAFETY: a null program makes the kernel refuse before it does anything; it keeps no pointer.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, nothing) };
    result == -1 && io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn insn(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
        sock_filter { code: code as u16, jt, jf, k }
    }

    /// getpgid(2) gets the verdict; the rest is allowed.
    fn program(verdict: u32) -> [sock_filter; 4] {
        use libc::{BPF_ABS, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_RET, BPF_W};
        [
            insn(BPF_LD | BPF_W | BPF_ABS, 0, 0, 0),
            insn(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, libc::SYS_getpgid as u32),
            insn(BPF_RET | BPF_K, 0, 0, verdict),
            insn(BPF_RET | BPF_K, 0, 0, libc::SECCOMP_RET_ALLOW),
        ]
    }

    /// A filter is its thread's own, so each test loads one in a thread that ends with it.
    fn in_a_thread<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> T {
        let act = move || {
            rustix::thread::set_no_new_privs(true).unwrap();
            act()
        };
        std::thread::spawn(act).join().unwrap()
    }

    #[test]
    fn a_filter_refuses_with_its_errno() {
        let (loaded, pgid) = in_a_thread(|| {
            let loaded = load(&program(libc::SECCOMP_RET_ERRNO | libc::ENXIO as u32), 0);
            (loaded.map(|fd| fd.is_none()), rustix::process::getpgid(None))
        });
        assert!(loaded.unwrap());
        assert_eq!(pgid, Err(rustix::io::Errno::NXIO));
    }

    #[test]
    fn a_listener_is_a_descriptor() {
        let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
        let fd = in_a_thread(move || load(&program(libc::SECCOMP_RET_USER_NOTIF), flags as u32));
        assert!(fd.unwrap().is_some());
    }

    #[test]
    fn a_broken_program_is_refused() {
        let refused = |program: Vec<sock_filter>, flags| {
            in_a_thread(move || load(&program, flags)).unwrap_err().raw_os_error()
        };
        assert_eq!(refused(Vec::new(), 0), Some(libc::EINVAL));
        assert_eq!(refused(program(0)[..2].to_vec(), 0), Some(libc::EINVAL));
        assert_eq!(refused(vec![program(0)[3]; 70_000], 0), Some(libc::EINVAL));
        assert_eq!(refused(program(0).to_vec(), 1 << 31), Some(libc::EINVAL));
    }
}
