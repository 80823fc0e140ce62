// SPDX-License-Identifier: Apache-2.0
//! A set of capabilities, as the kernel counts them (capabilities(7)).

use std::fmt;

use oci_spec::runtime::Capability;

/// Bit n is capability n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapSet(pub u64);

/// The kernel's names in its order; the index is the number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// The highest capability that has a name here.
pub const LAST: u32 = NAMES.len() as u32 - 1;

impl CapSet {
    /// The set of these.
    pub fn of<'a>(capabilities: impl IntoIterator<Item = &'a Capability>) -> Self {
        capabilities.into_iter().fold(Self(0), |set, cap| Self(set.0 | 1 << number(*cap)))
    }

    /// Whether capability number `cap` is in it.
    pub fn has(self, cap: u32) -> bool {
        self.0 >> cap & 1 == 1
    }

    /// The numbers in it.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..64).filter(move |cap| self.has(*cap))
    }
}

/// The kernel's number of a capability.
pub fn number(capability: Capability) -> u32 {
    // `caps` knows both names and numbers; its names carry the prefix that oci-spec drops.
    use Capability as C;
    match capability {
        C::Chown => 0,
        C::DacOverride => 1,
        C::DacReadSearch => 2,
        C::Fowner => 3,
        C::Fsetid => 4,
        C::Kill => 5,
        C::Setgid => 6,
        C::Setuid => 7,
        C::Setpcap => 8,
        C::LinuxImmutable => 9,
        C::NetBindService => 10,
        C::NetBroadcast => 11,
        C::NetAdmin => 12,
        C::NetRaw => 13,
        C::IpcLock => 14,
        C::IpcOwner => 15,
        C::SysModule => 16,
        C::SysRawio => 17,
        C::SysChroot => 18,
        C::SysPtrace => 19,
        C::SysPacct => 20,
        C::SysAdmin => 21,
        C::SysBoot => 22,
        C::SysNice => 23,
        C::SysResource => 24,
        C::SysTime => 25,
        C::SysTtyConfig => 26,
        C::Mknod => 27,
        C::Lease => 28,
        C::AuditWrite => 29,
        C::AuditControl => 30,
        C::Setfcap => 31,
        C::MacOverride => 32,
        C::MacAdmin => 33,
        C::Syslog => 34,
        C::WakeAlarm => 35,
        C::BlockSuspend => 36,
        C::AuditRead => 37,
        C::Perfmon => 38,
        C::Bpf => 39,
        C::CheckpointRestore => 40,
    }
}

impl fmt::Display for CapSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("none");
        }
        if self.0.count_ones() > 20 {
            let missing: Vec<&str> =
                (0..=LAST).filter(|c| !self.has(*c)).map(|c| NAMES[c as usize]).collect();
            return match missing.is_empty() {
                true => f.write_str("all"),
                false => write!(f, "all but {}", missing.join(" ")),
            };
        }
        let names: Vec<&str> = self.iter().map(|c| NAMES.get(c as usize).copied().unwrap_or("?")).collect();
        f.write_str(&names.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The `caps` crate is the second witness of every name and number.
    #[test]
    fn names_and_numbers_agree_with_the_caps_crate() {
        for cap in caps::all() {
            let index = usize::from(cap.index());
            assert_eq!(format!("CAP_{}", NAMES[index]), cap.to_string());
        }
        assert_eq!(caps::all().len(), NAMES.len());
    }
}
