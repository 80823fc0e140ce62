// SPDX-License-Identifier: Apache-2.0
//! What is said to CRIU and what it answers: as much of its images/rpc.proto as is used here, with
//! its names and numbers. A field that is left out keeps CRIU's own default.

use prost::{Enumeration, Message};

/// What is asked for, and what an answer is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
#[expect(missing_docs, reason = "criu_req_type")]
pub enum Kind {
    Empty = 0,
    Dump = 1,
    Restore = 2,
    PreDump = 4,
    Notify = 6,
    FeatureCheck = 9,
    Version = 10,
}

/// How cgroups are restored (`criu_cg_mode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
#[expect(missing_docs, reason = "criu(8), --manage-cgroups")]
pub enum CgroupMode {
    Ignore = 0,
    Soft = 3,
    Full = 4,
    Strict = 5,
    Default = 6,
}

/// How connections are held while they are dumped (`criu_network_lock_method`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Enumeration)]
#[repr(i32)]
#[expect(missing_docs, reason = "criu(8), --network-lock")]
pub enum NetworkLock {
    Iptables = 1,
    Nftables = 2,
    Skip = 3,
}

/// A request.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    /// What is asked for.
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    /// With which options.
    #[prost(message, optional, tag = "2")]
    pub options: Option<Options>,
    /// The answer to a notification.
    #[prost(bool, optional, tag = "3")]
    pub notify_success: Option<bool>,
    /// Those that [`Kind::FeatureCheck`] asks after.
    #[prost(message, optional, tag = "5")]
    pub features: Option<Features>,
}

/// `criu_opts`. Descriptors are numbers of the one who made the socket, but for [`InheritFd`].
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "criu(8) describes each under the same name")]
pub struct Options {
    #[prost(int32, required, tag = "1")]
    pub images_dir_fd: i32,
    #[prost(int32, optional, tag = "2")]
    pub pid: Option<i32>,
    #[prost(bool, tag = "3")]
    pub leave_running: bool,
    #[prost(bool, tag = "4")]
    pub ext_unix_sk: bool,
    #[prost(bool, tag = "5")]
    pub tcp_established: bool,
    #[prost(bool, tag = "6")]
    pub evasive_devices: bool,
    #[prost(bool, tag = "7")]
    pub shell_job: bool,
    #[prost(bool, tag = "8")]
    pub file_locks: bool,
    #[prost(int32, tag = "9")]
    pub log_level: i32,
    #[prost(string, tag = "10")]
    pub log_file: String,
    #[prost(message, optional, tag = "11")]
    pub page_server: Option<PageServer>,
    #[prost(bool, tag = "12")]
    pub notify_scripts: bool,
    #[prost(string, tag = "13")]
    pub root: String,
    #[prost(string, optional, tag = "14")]
    pub parent_img: Option<String>,
    #[prost(bool, tag = "15")]
    pub track_mem: bool,
    #[prost(bool, tag = "16")]
    pub auto_dedup: bool,
    #[prost(int32, optional, tag = "17")]
    pub work_dir_fd: Option<i32>,
    #[prost(bool, tag = "18")]
    pub link_remap: bool,
    #[prost(message, repeated, tag = "23")]
    pub ext_mnt: Vec<ExtMount>,
    #[prost(bool, tag = "24")]
    pub manage_cgroups: bool,
    #[prost(message, repeated, tag = "25")]
    pub cg_root: Vec<CgroupRoot>,
    #[prost(bool, tag = "26")]
    pub rst_sibling: bool,
    #[prost(message, repeated, tag = "27")]
    pub inherit_fd: Vec<InheritFd>,
    #[prost(enumeration = "CgroupMode", optional, tag = "34")]
    pub manage_cgroups_mode: Option<i32>,
    #[prost(string, repeated, tag = "37")]
    pub external: Vec<String>,
    #[prost(uint32, tag = "38")]
    pub empty_ns: u32,
    #[prost(message, repeated, tag = "39")]
    pub join_ns: Vec<JoinNamespace>,
    #[prost(string, optional, tag = "44")]
    pub freeze_cgroup: Option<String>,
    #[prost(bool, tag = "46")]
    pub tcp_skip_in_flight: bool,
    #[prost(bool, tag = "48")]
    pub lazy_pages: bool,
    #[prost(bool, tag = "50")]
    pub orphan_pts_master: bool,
    #[prost(string, optional, tag = "51")]
    pub config_file: Option<String>,
    #[prost(bool, tag = "52")]
    pub tcp_close: bool,
    #[prost(string, optional, tag = "53")]
    pub lsm_profile: Option<String>,
    #[prost(string, optional, tag = "63")]
    pub lsm_mount_context: Option<String>,
    #[prost(enumeration = "NetworkLock", optional, tag = "64")]
    pub network_lock: Option<i32>,
}

/// Where memory pages go in place of the image directory.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "criu_page_server_info")]
pub struct PageServer {
    #[prost(string, tag = "1")]
    pub address: String,
    #[prost(int32, tag = "2")]
    pub port: i32,
}

/// A mount that comes from outside: at dump from its place in the container to a name, at restore
/// from the name to a path of the host.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "ext_mount_map")]
pub struct ExtMount {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(string, required, tag = "2")]
    pub val: String,
}

/// Where a hierarchy's processes are restored to.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "cgroup_root")]
pub struct CgroupRoot {
    #[prost(string, tag = "1")]
    pub ctrl: String,
    #[prost(string, required, tag = "2")]
    pub path: String,
}

/// A descriptor of CRIU's own that takes the place of what the image calls `key`.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "inherit_fd")]
pub struct InheritFd {
    #[prost(string, required, tag = "1")]
    pub key: String,
    #[prost(int32, required, tag = "2")]
    pub fd: i32,
}

/// A namespace that is entered and not restored.
#[derive(Clone, PartialEq, Message)]
#[expect(missing_docs, reason = "join_namespace")]
pub struct JoinNamespace {
    #[prost(string, required, tag = "1")]
    pub ns: String,
    #[prost(string, required, tag = "2")]
    pub ns_file: String,
}

/// What the kernel must help with.
#[derive(Clone, Copy, PartialEq, Message)]
#[expect(missing_docs, reason = "criu_features")]
pub struct Features {
    #[prost(bool, optional, tag = "1")]
    pub mem_track: Option<bool>,
    #[prost(bool, optional, tag = "2")]
    pub lazy_pages: Option<bool>,
}

/// An answer, or a notification on the way to it.
#[derive(Clone, PartialEq, Message)]
pub struct Response {
    /// What it is about.
    #[prost(enumeration = "Kind", required, tag = "1")]
    pub kind: i32,
    /// Whether it went well.
    #[prost(bool, required, tag = "2")]
    pub success: bool,
    /// Of [`Kind::Notify`].
    #[prost(message, optional, tag = "5")]
    pub notify: Option<Notify>,
    /// Why not.
    #[prost(int32, tag = "7")]
    pub errno: i32,
    /// Of [`Kind::FeatureCheck`].
    #[prost(message, optional, tag = "8")]
    pub features: Option<Features>,
    /// Why not, in words.
    #[prost(string, tag = "9")]
    pub errmsg: String,
    /// Of [`Kind::Version`].
    #[prost(message, optional, tag = "10")]
    pub version: Option<Version>,
}

/// A point that has been reached; CRIU waits for a word before it goes on.
#[derive(Clone, PartialEq, Message)]
pub struct Notify {
    /// Its name: `post-restore`.
    #[prost(string, tag = "1")]
    pub script: String,
    /// Of the first process, where there is one.
    #[prost(int32, tag = "2")]
    pub pid: i32,
}

/// CRIU's release.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
#[expect(missing_docs, reason = "criu_version")]
pub struct Version {
    #[prost(int32, required, tag = "1")]
    pub major: i32,
    #[prost(int32, required, tag = "2")]
    pub minor: i32,
    #[prost(int32, tag = "4")]
    pub sublevel: i32,
}
