// SPDX-License-Identifier: Apache-2.0
//! The only unsafe code of the crate: one system call each, owned types in and out, no decisions.
//!
//! What rustix offers as a safe call is called where it is needed; here stands what it lacks.

pub mod bpf;
pub mod errno;
pub mod heap;
pub mod mount;
pub mod process;
pub mod sched;
pub mod seccomp;
pub mod signal;
pub mod socket;

use rustix::io::Errno;

/// The result of a raw `syscall(2)`: its value, or errno.
fn check(result: libc::c_long) -> Result<libc::c_long, Errno> {
    if result < 0 { Err(last_errno()) } else { Ok(result) }
}

/// errno as the C library's wrapper left it.
fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
