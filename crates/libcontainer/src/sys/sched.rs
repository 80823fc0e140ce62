// SPDX-License-Identifier: Apache-2.0
//! Who runs when and where: scheduler, I/O priority, CPU affinity, memory policy.

use std::ptr;

use rustix::io::Errno;
use rustix::process::Pid;

use super::check;

/// What sched_setattr(2) takes, as the kernel lays it out (`SCHED_ATTR_SIZE_VER1`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct SchedAttr {
    pub size: u32,
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime: u64,
    pub deadline: u64,
    pub period: u64,
    pub util_min: u32,
    pub util_max: u32,
}

/// sched_setattr(2) of a process.
pub fn set_scheduler(pid: Pid, attr: &SchedAttr) -> Result<(), Errno> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: the structure is whole, says its own size, and outlives the call, which only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, pid.as_raw_nonzero().get(), &attr, 0) }).map(drop)
}

/// ioprio_set(IOPRIO_WHO_PROCESS): class and level in one number.
pub fn set_io_priority(pid: Pid, value: u32) -> Result<(), Errno> {
    const IOPRIO_WHO_PROCESS: libc::c_long = 1;
    // SAFETY: integers only.
    let set =
        unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, pid.as_raw_nonzero().get(), value) };
    check(set).map(drop)
}

/// sched_setaffinity(2) of the calling thread; bit n of the mask is CPU n.
pub fn set_affinity(mask: &[u64]) -> Result<(), Errno> {
    // SAFETY: pointer and size of one slice that outlives the call, which only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(mask), mask.as_ptr()) })
        .map(drop)
}

/// set_mempolicy(2) of the calling thread; bit n of the mask is node n, an empty mask is none.
pub fn set_memory_policy(mode: u32, nodes: &[u64]) -> Result<(), Errno> {
    let mask = if nodes.is_empty() { ptr::null() } else { nodes.as_ptr() };
    // The kernel takes off one from the number of bits before it counts the words.
    let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
    // SAFETY: the mask is null, or holds as many words as `bits` tells; it outlives the call, which only
    // reads it.
    check(unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) }).map(drop)
}
