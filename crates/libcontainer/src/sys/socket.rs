// SPDX-License-Identifier: Apache-2.0
//! ioctl(2) on sockets and namespace files.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use super::last_errno;

/// SIOCSIFFLAGS: the loopback interface of the caller's network namespace goes up (netdevice(7)).
pub fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: ifreq is plain data, for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the socket is open and `request` is a whole ifreq that outlives the call, which only reads it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) };
    if result < 0 { Err(last_errno()) } else { Ok(()) }
}

/// NS_GET_NSTYPE: the `CLONE_NEW*` flag of the namespace that `fd` stands for (ioctl_ns(2)).
/// A file that is no namespace answers ENOTTY.
pub fn namespace_type(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    const NS_GET_NSTYPE: libc::c_ulong = 0xb703;
    // SAFETY: this ioctl takes no argument and touches no memory of ours.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE as _) };
    if result < 0 { Err(last_errno()) } else { Ok(result as u64) }
}

/// NS_GET_USERNS: the user namespace that owns the namespace of `fd`. One that the caller's user
/// namespace has not made answers EPERM.
pub fn owning_user_namespace(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    const NS_GET_USERNS: libc::c_ulong = 0xb701;
    // SAFETY: this ioctl takes no argument and touches no memory of ours.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_USERNS as _) };
    // SAFETY: the kernel has just made this descriptor, which nobody else owns.
    if result < 0 { Err(last_errno()) } else { Ok(unsafe { OwnedFd::from_raw_fd(result) }) }
}
