// SPDX-License-Identifier: Apache-2.0
//! When and where a process runs: what the parent sets of a process that is ready, and what a
//! process sets of itself.

use rustix::io::Errno;
use rustix::process::Pid;

use crate::error::{Call, Error, Fault, Result};
use crate::plan::sched::{MemoryPolicy, Scheduling, Set};
use crate::sys::sched;

/// Scheduler and I/O priority of a process, as configured.
pub fn schedule(pid: Pid, scheduling: &Scheduling) -> Result<()> {
    if let Some(scheduler) = &scheduling.scheduler {
        let attr = sched::SchedAttr {
            policy: scheduler.number(),
            flags: scheduler.flags,
            nice: scheduler.nice,
            priority: scheduler.priority,
            runtime: scheduler.runtime,
            deadline: scheduler.deadline,
            period: scheduler.period,
            ..sched::SchedAttr::default()
        };
        sched::set_scheduler(pid, &attr)
            .call(|| format!("sched_setattr({scheduler})"))
            .map_err(|fault| match fault.errno {
                Some(Errno::PERM) => fault.hint(
                    "it needs CAP_SYS_NICE; a real-time policy also cpu.rt_runtime_us of a v1 group, \
                     and SCHED_DEADLINE all CPUs",
                ),
                Some(Errno::BUSY) => {
                    fault.hint("there is not so much time left: see sched(7), SCHED_DEADLINE")
                }
                _ => fault,
            })
            .map_err(|fault| Error::from(fault).within("process.scheduler"))?;
    }
    if let Some(priority) = scheduling.io_priority {
        sched::set_io_priority(pid, priority.value())
            .call(|| format!("ioprio_set({priority})"))
            .map_err(|fault| match fault.errno {
                Some(Errno::PERM) => fault.hint("IOPRIO_CLASS_RT needs CAP_SYS_NICE"),
                _ => fault,
            })
            .map_err(|fault| Error::from(fault).within("process.ioPriority"))?;
    }
    Ok(())
}

/// The caller may run on these CPUs alone, or on all that its group allows: what the runtime's own
/// caller was bound to is nobody else's affair.
pub fn set_affinity(cpus: Option<&Set>) -> Result<(), Fault> {
    // The kernel takes as many bits as it has CPUs.
    const ALL: [u64; 128] = [u64::MAX; 128];
    let Some(cpus) = cpus else {
        return match sched::set_affinity(&ALL) {
            // A sandbox around the runtime may forbid it; then it binds the container too.
            Err(Errno::PERM | Errno::NOSYS) => Ok(()),
            other => other.call(|| "sched_setaffinity(all)"),
        };
    };
    sched::set_affinity(&cpus.mask).call(|| format!("sched_setaffinity({})", cpus.list)).map_err(|fault| {
        match fault.errno {
            Some(Errno::INVAL) => fault.hint("none of these CPUs is there, or allowed by the cgroup"),
            _ => fault,
        }
    })
}

/// The memory policy of the caller.
pub fn set_memory_policy(policy: &MemoryPolicy) -> Result<(), Fault> {
    sched::set_memory_policy(policy.mode, &policy.nodes.mask)
        .call(|| format!("set_mempolicy({policy})"))
        .map_err(|fault| match fault.errno {
            Some(Errno::INVAL) => fault
                .hint("the nodes must be there and allowed by the cgroup, and the kernel must know the mode"),
            Some(Errno::NOSYS) => fault.hint("this kernel has no NUMA (CONFIG_NUMA)"),
            _ => fault,
        })
}
