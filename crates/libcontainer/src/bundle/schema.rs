// SPDX-License-Identifier: Apache-2.0
//! The form of config.json as a table: every property of the runtime specification that
//! concerns Linux, what it holds, which words are known.
//!
//! Only two readers: `repair.rs`, when serde has refused a file and all its faults are to
//! be named, and the list of unknown properties for `soute check`. The start path never
//! looks here. A test holds the table against the types of oci-spec.

/// What a value must be.
#[derive(Debug)]
pub(super) enum Kind {
    /// Of another operating system: none of our business, whatever it holds.
    Foreign,
    Bool,
    Text,
    /// A list of CPUs as text: "0-3,7".
    Cpus,
    Number(Number),
    Word(&'static Words),
    List(&'static Kind),
    /// An object whose keys are free.
    Map(&'static Kind),
    Object(&'static [Property]),
}

/// A whole number.
#[derive(Debug)]
pub(super) struct Number {
    /// "a user id"
    pub what: &'static str,
    pub low: i128,
    pub high: i128,
    /// The highest that oci-spec can hold, where that is less: anything above means as much.
    pub fits: i128,
    /// What people who write -1 mean.
    pub unlimited: bool,
}

/// A fixed set of words.
#[derive(Debug)]
pub(super) struct Words {
    /// "namespace type"
    pub what: &'static str,
    pub names: &'static [&'static str],
    /// The specification's word and the one that oci-spec 0.10 wants in its place.
    pub renamed: &'static [(&'static str, &'static str)],
    /// "warn and ignore", as the specification demands for capabilities, whose case and
    /// prefix are free here.
    pub ignore_unknown: bool,
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Property {
    pub name: &'static str,
    pub kind: Kind,
    pub need: Need,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Optional,
    /// Its absence is a fault.
    Required,
    /// oci-spec cannot do without, other runtimes can: an empty one is put in.
    Filled,
}

const fn may(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, need: Need::Optional }
}

const fn must(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, need: Need::Required }
}

const fn filled(name: &'static str, kind: Kind) -> Property {
    Property { name, kind, need: Need::Filled }
}

const fn whole(low: i128, high: i128) -> Kind {
    Kind::Number(Number { what: "a whole number", low, high, fits: high, unlimited: false })
}

const fn id(what: &'static str) -> Kind {
    Kind::Number(Number { what, low: 0, high: MAX_ID, fits: MAX_ID, unlimited: false })
}

const fn words(what: &'static str, names: &'static [&'static str]) -> Words {
    Words { what, names, renamed: &[], ignore_unknown: false }
}

/// 4294967295 is -1, the kernel's word for "no id".
pub(super) const MAX_ID: i128 = u32::MAX as i128 - 1;

/// Behind a constant of its own, so that it lives for ever.
macro_rules! list {
    ($kind:expr) => {{
        const INNER: &Kind = &$kind;
        Kind::List(INNER)
    }};
}

macro_rules! map {
    ($kind:expr) => {{
        const INNER: &Kind = &$kind;
        Kind::Map(INNER)
    }};
}

macro_rules! object {
    ($($property:expr),* $(,)?) => {{
        const PROPERTIES: &[Property] = &[$($property),*];
        Kind::Object(PROPERTIES)
    }};
}

const U16: Kind = whole(0, u16::MAX as i128);
const U32: Kind = whole(0, u32::MAX as i128);
const U64: Kind = whole(0, u64::MAX as i128);
const I32: Kind = whole(i32::MIN as i128, i32::MAX as i128);
const I64: Kind = whole(i64::MIN as i128, i64::MAX as i128);
const LIMIT: Kind = Kind::Number(Number {
    what: "a whole number",
    low: 0,
    high: u64::MAX as i128,
    fits: u64::MAX as i128,
    unlimited: true,
});
/// oci-spec holds it as i64, the specification as u64.
const HUGE: Kind = Kind::Number(Number {
    what: "a whole number",
    low: i64::MIN as i128,
    high: u64::MAX as i128,
    fits: i64::MAX as i128,
    unlimited: false,
});
const TEXTS: Kind = list!(Kind::Text);
const TEXT_MAP: Kind = map!(Kind::Text);

/// The whole file.
pub(super) const SPEC: Kind = object![
    may("ociVersion", Kind::Text),
    may("root", object![may("path", Kind::Text), may("readonly", Kind::Bool)]),
    may("mounts", list!(Kind::Object(MOUNT))),
    may("process", PROCESS),
    may("hostname", Kind::Text),
    may("domainname", Kind::Text),
    may("hooks", Kind::Object(HOOKS)),
    may("annotations", TEXT_MAP),
    may("linux", Kind::Object(LINUX)),
    may("solaris", Kind::Foreign),
    may("windows", Kind::Foreign),
    may("vm", Kind::Foreign),
    may("zos", Kind::Foreign),
    may("freebsd", Kind::Foreign),
];

/// `process`, and what `exec --process` reads.
pub(super) const PROCESS: Kind = object![
    may("terminal", Kind::Bool),
    may("consoleSize", object![may("height", U64), may("width", U64)]),
    filled("user", Kind::Object(USER)),
    may("args", TEXTS),
    may("commandLine", Kind::Text),
    may("env", TEXTS),
    must("cwd", Kind::Text),
    may("capabilities", Kind::Object(CAPABILITIES)),
    may(
        "rlimits",
        list!(object![must("type", Kind::Word(&RLIMIT)), may("hard", LIMIT), may("soft", LIMIT),]),
    ),
    may("noNewPrivileges", Kind::Bool),
    may("apparmorProfile", Kind::Text),
    may("oomScoreAdj", I32),
    may("selinuxLabel", Kind::Text),
    may("ioPriority", object![may("class", Kind::Word(&IO_CLASS)), may("priority", I64)]),
    may("scheduler", Kind::Object(SCHEDULER)),
    may("execCPUAffinity", object![may("initial", Kind::Cpus), may("final", Kind::Cpus)]),
];

const USER: &[Property] = &[
    may("uid", id("a user id")),
    may("gid", id("a group id")),
    may("umask", U32),
    may("additionalGids", list!(id("a group id"))),
    may("username", Kind::Text),
];

const CAPABILITY_LIST: Kind = list!(Kind::Word(&CAPABILITY));
const CAPABILITIES: &[Property] = &[
    may("bounding", CAPABILITY_LIST),
    may("effective", CAPABILITY_LIST),
    may("inheritable", CAPABILITY_LIST),
    may("permitted", CAPABILITY_LIST),
    may("ambient", CAPABILITY_LIST),
];

const SCHEDULER: &[Property] = &[
    must("policy", Kind::Word(&POLICY)),
    may("nice", I32),
    may("priority", I32),
    may("flags", list!(Kind::Word(&SCHEDULER_FLAG))),
    may("runtime", U64),
    may("deadline", U64),
    may("period", U64),
];

const ID_MAP: Kind = list!(object![may("containerID", U32), may("hostID", U32), may("size", U32)]);

const MOUNT: &[Property] = &[
    must("destination", Kind::Text),
    may("type", Kind::Text),
    may("source", Kind::Text),
    may("options", TEXTS),
    may("uidMappings", ID_MAP),
    may("gidMappings", ID_MAP),
];

const HOOK: Kind =
    list!(object![must("path", Kind::Text), may("args", TEXTS), may("env", TEXTS), may("timeout", I64),]);
const HOOKS: &[Property] = &[
    may("prestart", HOOK),
    may("createRuntime", HOOK),
    may("createContainer", HOOK),
    may("startContainer", HOOK),
    may("poststart", HOOK),
    may("poststop", HOOK),
];

const LINUX: &[Property] = &[
    may("uidMappings", ID_MAP),
    may("gidMappings", ID_MAP),
    may("sysctl", TEXT_MAP),
    may("resources", RESOURCES),
    may("cgroupsPath", Kind::Text),
    may("namespaces", list!(object![must("type", Kind::Word(&NAMESPACE)), may("path", Kind::Text)])),
    may("devices", list!(Kind::Object(DEVICE))),
    may("netDevices", map!(object![may("name", Kind::Text)])),
    may("seccomp", Kind::Object(SECCOMP)),
    may("rootfsPropagation", Kind::Text),
    may("maskedPaths", TEXTS),
    may("readonlyPaths", TEXTS),
    may("mountLabel", Kind::Text),
    may("intelRdt", Kind::Object(INTEL_RDT)),
    may(
        "memoryPolicy",
        object![
            must("mode", Kind::Word(&MEMORY_MODE)),
            may("nodes", Kind::Text),
            may("flags", list!(Kind::Word(&MEMORY_FLAG))),
        ],
    ),
    may("personality", object![must("domain", Kind::Word(&PERSONALITY)), may("flags", TEXTS)]),
    may("timeOffsets", map!(object![may("secs", I64), may("nanosecs", U32)])),
];

const DEVICE: &[Property] = &[
    must("type", Kind::Word(&DEVICE_TYPE)),
    may("path", Kind::Text),
    may("major", I64),
    may("minor", I64),
    may("fileMode", U32),
    may("uid", U32),
    may("gid", U32),
];

const INTEL_RDT: &[Property] = &[
    may("closID", Kind::Text),
    may("schemata", TEXTS),
    may("l3CacheSchema", Kind::Text),
    may("memBwSchema", Kind::Text),
    may("enableCMT", Kind::Bool),
    may("enableMBM", Kind::Bool),
    may("enableMonitoring", Kind::Bool),
];

const SECCOMP: &[Property] = &[
    must("defaultAction", Kind::Word(&ACTION)),
    may("defaultErrnoRet", U32),
    may("architectures", list!(Kind::Word(&ARCH))),
    may("flags", list!(Kind::Word(&SECCOMP_FLAG))),
    may("listenerPath", Kind::Text),
    may("listenerMetadata", Kind::Text),
    may(
        "syscalls",
        list!(object![
            must("names", TEXTS),
            must("action", Kind::Word(&ACTION)),
            may("errnoRet", U32),
            may(
                "args",
                list!(object![
                    must("index", U64),
                    must("value", U64),
                    may("valueTwo", U64),
                    must("op", Kind::Word(&OPERATOR)),
                ]),
            ),
        ]),
    ),
];

/// `linux.resources`, and what `update` reads.
pub(super) const RESOURCES: Kind = object![
    may(
        "devices",
        list!(object![
            may("allow", Kind::Bool),
            may("type", Kind::Word(&DEVICE_RULE_TYPE)),
            may("major", I64),
            may("minor", I64),
            may("access", Kind::Text),
        ]),
    ),
    may(
        "memory",
        object![
            may("limit", I64),
            may("reservation", I64),
            may("swap", I64),
            may("kernel", I64),
            may("kernelTCP", I64),
            may("swappiness", U64),
            may("disableOOMKiller", Kind::Bool),
            may("useHierarchy", Kind::Bool),
            may("checkBeforeUpdate", Kind::Bool),
        ],
    ),
    may(
        "cpu",
        object![
            may("shares", U64),
            may("quota", I64),
            may("burst", U64),
            may("period", U64),
            may("realtimeRuntime", I64),
            may("realtimePeriod", U64),
            may("cpus", Kind::Text),
            may("mems", Kind::Text),
            may("idle", I64),
        ],
    ),
    may("pids", object![may("limit", I64)]),
    may(
        "blockIO",
        object![
            may("weight", U16),
            may("leafWeight", U16),
            may(
                "weightDevice",
                list!(object![
                    may("major", I64),
                    may("minor", I64),
                    may("weight", U16),
                    may("leafWeight", U16),
                ]),
            ),
            may("throttleReadBpsDevice", THROTTLE),
            may("throttleWriteBpsDevice", THROTTLE),
            may("throttleReadIOPSDevice", THROTTLE),
            may("throttleWriteIOPSDevice", THROTTLE),
        ],
    ),
    may("hugepageLimits", list!(object![may("pageSize", Kind::Text), may("limit", HUGE)])),
    may(
        "network",
        object![
            may("classID", U32),
            may("priorities", list!(object![may("name", Kind::Text), may("priority", U32)])),
        ],
    ),
    may("rdma", map!(object![may("hcaHandles", U32), may("hcaObjects", U32)])),
    may("unified", TEXT_MAP),
];

const THROTTLE: Kind = list!(object![may("major", I64), may("minor", I64), may("rate", U64)]);

static NAMESPACE: Words =
    words("namespace type", &["pid", "network", "mount", "ipc", "uts", "user", "cgroup", "time"]);
static DEVICE_TYPE: Words = words("device type", &["c", "b", "u", "p"]);
static DEVICE_RULE_TYPE: Words = words("device type", &["a", "c", "b", "u", "p"]);
static PERSONALITY: Words = words("personality", &["LINUX", "LINUX32"]);
static IO_CLASS: Words = words("I/O class", &["IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE"]);
static RLIMIT: Words = words(
    "resource limit",
    &[
        "RLIMIT_AS",
        "RLIMIT_CORE",
        "RLIMIT_CPU",
        "RLIMIT_DATA",
        "RLIMIT_FSIZE",
        "RLIMIT_LOCKS",
        "RLIMIT_MEMLOCK",
        "RLIMIT_MSGQUEUE",
        "RLIMIT_NICE",
        "RLIMIT_NOFILE",
        "RLIMIT_NPROC",
        "RLIMIT_RSS",
        "RLIMIT_RTPRIO",
        "RLIMIT_RTTIME",
        "RLIMIT_SIGPENDING",
        "RLIMIT_STACK",
    ],
);
static POLICY: Words = words(
    "scheduler policy",
    &["SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE"],
);
static SCHEDULER_FLAG: Words = Words {
    renamed: &[
        ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
        ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
    ],
    ..words(
        "scheduler flag",
        &[
            "SCHED_FLAG_RESET_ON_FORK",
            "SCHED_FLAG_RECLAIM",
            "SCHED_FLAG_DL_OVERRUN",
            "SCHED_FLAG_KEEP_POLICY",
            "SCHED_FLAG_KEEP_PARAMS",
            "SCHED_FLAG_UTIL_CLAMP_MIN",
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ],
    )
};
static MEMORY_MODE: Words = words(
    "memory policy",
    &[
        "MPOL_DEFAULT",
        "MPOL_BIND",
        "MPOL_INTERLEAVE",
        "MPOL_WEIGHTED_INTERLEAVE",
        "MPOL_PREFERRED",
        "MPOL_PREFERRED_MANY",
        "MPOL_LOCAL",
    ],
);
static MEMORY_FLAG: Words =
    words("memory policy flag", &["MPOL_F_NUMA_BALANCING", "MPOL_F_RELATIVE_NODES", "MPOL_F_STATIC_NODES"]);
static ACTION: Words = words(
    "seccomp action",
    &[
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_ERRNO",
        "SCMP_ACT_KILL",
        "SCMP_ACT_KILL_PROCESS",
        "SCMP_ACT_KILL_THREAD",
        "SCMP_ACT_LOG",
        "SCMP_ACT_NOTIFY",
        "SCMP_ACT_TRACE",
        "SCMP_ACT_TRAP",
    ],
);
static OPERATOR: Words = words(
    "seccomp operator",
    &[
        "SCMP_CMP_NE",
        "SCMP_CMP_LT",
        "SCMP_CMP_LE",
        "SCMP_CMP_EQ",
        "SCMP_CMP_GE",
        "SCMP_CMP_GT",
        "SCMP_CMP_MASKED_EQ",
    ],
);
static SECCOMP_FLAG: Words = words(
    "seccomp flag",
    &[
        "SECCOMP_FILTER_FLAG_TSYNC",
        "SECCOMP_FILTER_FLAG_LOG",
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
    ],
);
static ARCH: Words = words(
    "seccomp architecture",
    &[
        "SCMP_ARCH_X86_64",
        "SCMP_ARCH_X86",
        "SCMP_ARCH_X32",
        "SCMP_ARCH_AARCH64",
        "SCMP_ARCH_ARM",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_NATIVE",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
    ],
);
static CAPABILITY: Words = Words {
    ignore_unknown: true,
    ..words(
        "capability",
        &[
            "CAP_AUDIT_CONTROL",
            "CAP_AUDIT_READ",
            "CAP_AUDIT_WRITE",
            "CAP_BLOCK_SUSPEND",
            "CAP_BPF",
            "CAP_CHECKPOINT_RESTORE",
            "CAP_CHOWN",
            "CAP_DAC_OVERRIDE",
            "CAP_DAC_READ_SEARCH",
            "CAP_FOWNER",
            "CAP_FSETID",
            "CAP_IPC_LOCK",
            "CAP_IPC_OWNER",
            "CAP_KILL",
            "CAP_LEASE",
            "CAP_LINUX_IMMUTABLE",
            "CAP_MAC_ADMIN",
            "CAP_MAC_OVERRIDE",
            "CAP_MKNOD",
            "CAP_NET_ADMIN",
            "CAP_NET_BIND_SERVICE",
            "CAP_NET_BROADCAST",
            "CAP_NET_RAW",
            "CAP_PERFMON",
            "CAP_SETFCAP",
            "CAP_SETGID",
            "CAP_SETPCAP",
            "CAP_SETUID",
            "CAP_SYSLOG",
            "CAP_SYS_ADMIN",
            "CAP_SYS_BOOT",
            "CAP_SYS_CHROOT",
            "CAP_SYS_MODULE",
            "CAP_SYS_NICE",
            "CAP_SYS_PACCT",
            "CAP_SYS_PTRACE",
            "CAP_SYS_RAWIO",
            "CAP_SYS_RESOURCE",
            "CAP_SYS_TIME",
            "CAP_SYS_TTY_CONFIG",
            "CAP_WAKE_ALARM",
        ],
    )
};
