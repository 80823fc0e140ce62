// SPDX-License-Identifier: Apache-2.0
//! What this build can do, in the form of the runtime spec's features.md and
//! features-linux.md.
//!
//! [`FEATURES`] is the one place that says it: who teaches the crate something new says it
//! here, and callers (containerd, CRI-O, dockerd) choose by it. A word that stands here and
//! does not work is worse than one that is missing. What a host's kernel may lack is not in
//! question: all but what [`features`] asks the kernel for is there on the oldest that we run on.

use serde::Serialize;

use crate::sys::seccomp;

/// The version of the runtime spec that this crate was written against.
pub const SPEC: &str = "1.3.0";

/// What this build can do.
pub const FEATURES: Features = Features {
    oci_version_min: "1.0.0",
    oci_version_max: SPEC,
    hooks: &["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"],
    mount_options: MOUNT_OPTIONS,
    linux: Linux {
        namespaces: &["cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts"],
        capabilities: CAPABILITIES,
        cgroup: Cgroup { v1: true, v2: true, systemd: true, systemd_user: true, rdma: true },
        seccomp: Seccomp {
            enabled: true,
            actions: SECCOMP_ACTIONS,
            operators: SECCOMP_OPERATORS,
            archs: SECCOMP_ARCHS,
            known_flags: SECCOMP_FLAGS,
            supported_flags: SECCOMP_FLAGS,
        },
        apparmor: Enabled { enabled: true },
        selinux: Enabled { enabled: true },
        mount_extensions: MountExtensions { idmap: Enabled { enabled: true } },
        intel_rdt: IntelRdt { enabled: true, schemata: true, monitoring: true },
        memory_policy: MemoryPolicy { modes: MEMORY_MODES, flags: MEMORY_FLAGS },
        net_devices: Enabled { enabled: true },
    },
    annotations: Annotations { checkpoint: "true" },
    potentially_unsafe_config_annotations: crate::plan::annotations::ALL,
};

/// What this build can do on this kernel: newer seccomp flags are asked for.
pub fn features() -> Features {
    let mut features = FEATURES;
    if !seccomp::takes(libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32) {
        features.linux.seccomp.supported_flags = OLD_SECCOMP_FLAGS;
    }
    features
}

/// The whole answer.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// The oldest and the newest spec whose config.json is understood.
    pub oci_version_min: &'static str,
    /// See `oci_version_min`.
    pub oci_version_max: &'static str,
    /// The kinds of hook that are run.
    pub hooks: &'static [&'static str],
    /// The words in a mount's options that are more than data for the filesystem.
    pub mount_options: &'static [&'static str],
    /// All that is Linux's.
    pub linux: Linux,
    /// What other runtimes tell by annotations.
    pub annotations: Annotations,
    /// Annotations that change what is done, and so should not be left to a pod's author.
    pub potentially_unsafe_config_annotations: &'static [&'static str],
}

/// `linux` in config.json, part by part.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Linux {
    /// Types of namespace that can be made and joined.
    pub namespaces: &'static [&'static str],
    /// Names that are known; the kernel may know fewer.
    pub capabilities: &'static [&'static str],
    /// Hierarchies and drivers.
    pub cgroup: Cgroup,
    /// System call filters.
    pub seccomp: Seccomp,
    /// AppArmor profiles.
    pub apparmor: Enabled,
    /// SELinux labels.
    pub selinux: Enabled,
    /// What mounts can do beyond their options.
    pub mount_extensions: MountExtensions,
    /// Cache and memory bandwidth.
    pub intel_rdt: IntelRdt,
    /// NUMA policies.
    pub memory_policy: MemoryPolicy,
    /// Network devices moved into the container.
    pub net_devices: Enabled,
}

/// A part that works or does not.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Enabled {
    /// It works.
    pub enabled: bool,
}

/// See [`Linux::cgroup`].
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Cgroup {
    pub v1: bool,
    pub v2: bool,
    pub systemd: bool,
    pub systemd_user: bool,
    pub rdma: bool,
}

/// See [`Linux::seccomp`].
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs)]
pub struct Seccomp {
    pub enabled: bool,
    pub actions: &'static [&'static str],
    pub operators: &'static [&'static str],
    pub archs: &'static [&'static str],
    /// Flags that are not refused as unknown words.
    pub known_flags: &'static [&'static str],
    /// Those of them that take effect.
    pub supported_flags: &'static [&'static str],
}

/// See [`Linux::mount_extensions`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct MountExtensions {
    /// Mounts with id mappings of their own.
    pub idmap: Enabled,
}

/// See [`Linux::intel_rdt`].
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct IntelRdt {
    pub enabled: bool,
    pub schemata: bool,
    pub monitoring: bool,
}

/// See [`Linux::memory_policy`].
#[derive(Clone, Copy, Debug, Serialize)]
#[allow(missing_docs)]
pub struct MemoryPolicy {
    pub modes: &'static [&'static str],
    pub flags: &'static [&'static str],
}

/// See [`Features::annotations`].
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Annotations {
    /// runc's name, which crun tells as well.
    #[serde(rename = "org.opencontainers.runc.checkpoint.enabled")]
    pub checkpoint: &'static str,
}

const MOUNT_OPTIONS: &[&str] = &[
    "async",
    "atime",
    "bind",
    "copy-symlink",
    "defaults",
    "dest-nofollow",
    "dev",
    "diratime",
    "dirsync",
    "exec",
    "idmap",
    "iversion",
    "lazytime",
    "loud",
    "mand",
    "noatime",
    "nodev",
    "nodiratime",
    "noexec",
    "noiversion",
    "nolazytime",
    "nomand",
    "norelatime",
    "nostrictatime",
    "nosuid",
    "nosymfollow",
    "private",
    "ratime",
    "rbind",
    "rdev",
    "rdiratime",
    "relatime",
    "remount",
    "rexec",
    "ridmap",
    "rnoatime",
    "rnodev",
    "rnodiratime",
    "rnoexec",
    "rnorelatime",
    "rnostrictatime",
    "rnosuid",
    "rnosymfollow",
    "ro",
    "rprivate",
    "rrelatime",
    "rro",
    "rrw",
    "rshared",
    "rslave",
    "rstrictatime",
    "rsuid",
    "rsymfollow",
    "runbindable",
    "rw",
    "shared",
    "silent",
    "slave",
    "src-nofollow",
    "strictatime",
    "suid",
    "symfollow",
    "sync",
    "tmpcopyup",
    "unbindable",
];

const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const MEMORY_MODES: &[&str] = &[
    "MPOL_BIND",
    "MPOL_DEFAULT",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
];

const MEMORY_FLAGS: &[&str] = &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"];

const SECCOMP_ACTIONS: &[&str] = &[
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_TRAP",
];

const SECCOMP_OPERATORS: &[&str] = &[
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_LE",
    "SCMP_CMP_LT",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
];

const SECCOMP_ARCHS: &[&str] = &[
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
];

const SECCOMP_FLAGS: &[&str] = &[
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

/// Before Linux 5.19.
const OLD_SECCOMP_FLAGS: &[&str] = SECCOMP_FLAGS.split_at(3).0;

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn it_has_the_specs_shape() {
        let features = serde_json::to_value(FEATURES).unwrap();
        assert_eq!(features["ociVersionMin"], "1.0.0");
        assert_eq!(features["ociVersionMax"], "1.3.0");
        for path in [
            "/hooks/0",
            "/linux/namespaces/0",
            "/linux/capabilities/40",
            "/linux/cgroup/systemdUser",
            "/linux/seccomp/knownFlags/0",
            "/linux/seccomp/supportedFlags/0",
            "/linux/mountExtensions/idmap/enabled",
            "/linux/intelRdt/monitoring",
            "/linux/memoryPolicy/modes",
            "/linux/netDevices/enabled",
            "/annotations/org.opencontainers.runc.checkpoint.enabled",
            "/potentiallyUnsafeConfigAnnotations",
        ] {
            assert!(features.pointer(path).is_some(), "{path}");
        }
        assert!(!features.to_string().contains("null"));
        // containerd's CRI offers recursive read-only mounts by this word alone.
        assert!(features["mountOptions"].as_array().unwrap().contains(&Value::from("rro")));
    }

    #[test]
    fn no_word_is_said_twice() {
        let linux = &FEATURES.linux;
        let seccomp = &linux.seccomp;
        for words in [
            FEATURES.hooks,
            FEATURES.mount_options,
            linux.namespaces,
            linux.capabilities,
            seccomp.actions,
            seccomp.operators,
            seccomp.archs,
            seccomp.known_flags,
        ] {
            let mut once = words.to_vec();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), words.len(), "{words:?}");
        }
    }
}
