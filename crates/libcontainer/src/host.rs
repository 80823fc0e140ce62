// SPDX-License-Identifier: Apache-2.0
//! What this host can do: fills the plan's [`Host`]. Asked once, and only what the plan needs.

use rustix::process::{getegid, geteuid};

use crate::cgroup;
use crate::error::{Call, Fault};
use crate::plan::Host;
use crate::plan::caps::CapSet;
use crate::plan::cgroup::CgroupLayout;

/// Looks at the host. Without cgroups (`--cgroup-manager disabled`) theirs is not looked at.
pub fn probe(cgroups: bool) -> Result<Host, Fault> {
    let capabilities = rustix::thread::capabilities(None).call(|| "capget")?;
    let euid = geteuid();
    Ok(Host {
        euid: euid.as_raw(),
        egid: if euid.is_root() { 0 } else { getegid().as_raw() },
        capabilities: CapSet(capabilities.permitted.bits()),
        cgroups: if cgroups { cgroup::layout()? } else { CgroupLayout::None },
    })
}
