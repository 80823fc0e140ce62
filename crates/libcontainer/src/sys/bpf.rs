// SPDX-License-Identifier: Apache-2.0
//! bpf(2), for device programs of cgroups: load, attach, query, detach.

use std::ffi::c_long;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::{Errno, Result};

// enum bpf_cmd, bpf_prog_type and bpf_attach_type, and flags, of linux/bpf.h.
const PROG_LOAD: u32 = 5;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const PROG_QUERY: u32 = 16;
const TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// The heads of `union bpf_attr` that we use. The kernel takes the missing rest as zeros.
#[repr(C)]
#[derive(Default)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
#[derive(Default)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
    replace_bpf_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
}

#[repr(C)]
#[derive(Default)]
struct ById {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

/// # Safety
/// Every address in `attr` must be valid for what the kernel does with it in `command`.
unsafe fn bpf<T>(command: u32, attr: &mut T) -> Result<c_long> {
    // SAFETY: the pointer and the size are those of one live object; the caller answers for
    // what the object points to.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
    if result < 0 {
        return Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO));
    }
    Ok(result)
}

fn owned(fd: c_long) -> OwnedFd {
    // SAFETY: bpf(2) has just made this descriptor for us (close-on-exec); nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd as i32) }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// Loads a program of the type CGROUP_DEVICE, given as encoded instructions. `log`, where
/// there is one, takes the verifier's words; a program is loaded without it first.
pub fn load_device_program(insns: &[u64], log: Option<&mut [u8]>) -> Result<OwnedFd> {
    let mut attr = Load {
        prog_type: TYPE_CGROUP_DEVICE,
        insn_cnt: u32::try_from(insns.len()).map_err(|_| Errno::TOOBIG)?,
        insns: insns.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        prog_name: *b"soute_devices\0\0\0",
        expected_attach_type: CGROUP_DEVICE,
        ..Load::default()
    };
    if let Some(log) = log {
        attr.log_level = 1;
        attr.log_size = u32::try_from(log.len()).unwrap_or(u32::MAX);
        attr.log_buf = log.as_mut_ptr() as u64;
    }
    // SAFETY: the kernel reads insn_cnt instructions and a string, and writes at most log_size
    // bytes of the log; all of them outlive the call.
    unsafe { bpf(PROG_LOAD, &mut attr) }.map(owned)
}

/// Attaches a device program to a group, beside those of its ancestors; with `replace` it
/// takes that program's place in one step.
pub fn attach_device_program(
    group: BorrowedFd<'_>,
    program: BorrowedFd<'_>,
    replace: Option<BorrowedFd<'_>>,
) -> Result<()> {
    let mut attr = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: CGROUP_DEVICE,
        attach_flags: F_ALLOW_MULTI | if replace.is_some() { F_REPLACE } else { 0 },
        replace_bpf_fd: replace.map_or(0, number),
    };
    // SAFETY: the structure holds numbers only.
    unsafe { bpf(PROG_ATTACH, &mut attr) }.map(drop)
}

/// Takes a device program off a group.
pub fn detach_device_program(group: BorrowedFd<'_>, program: BorrowedFd<'_>) -> Result<()> {
    let mut attr = Attach {
        target_fd: number(group),
        attach_bpf_fd: number(program),
        attach_type: CGROUP_DEVICE,
        ..Attach::default()
    };
    // SAFETY: the structure holds numbers only.
    unsafe { bpf(PROG_DETACH, &mut attr) }.map(drop)
}

/// The device programs that are attached to this very group.
pub fn device_programs(group: BorrowedFd<'_>) -> Result<Vec<OwnedFd>> {
    // The kernel's own limit is 64 for each group.
    let mut ids = [0u32; 64];
    let mut attr = Query {
        target_fd: number(group),
        attach_type: CGROUP_DEVICE,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: 64,
        ..Query::default()
    };
    // SAFETY: the kernel writes at most prog_cnt numbers to `ids`, which outlives the call.
    unsafe { bpf(PROG_QUERY, &mut attr) }?;
    let found = ids.iter().take(attr.prog_cnt as usize);
    found
        .map(|&id| {
            let mut attr = ById { id, ..ById::default() };
            // SAFETY: the structure holds numbers only.
            unsafe { bpf(PROG_GET_FD_BY_ID, &mut attr) }.map(owned)
        })
        .collect()
}
