// SPDX-License-Identifier: Apache-2.0
//! `soute checkpoint`: writes a running container to files, by CRIU.

use std::path::PathBuf;

use clap::Args;
use libcontainer::error::{Error, Kind, Result};
use libcontainer::{CgroupMode, CheckpointRequest, CriuFlags, NetworkLock};

use super::{Verb, create::absolute};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Checkpoint {
    #[command(flatten)]
    criu: Flags,
    /// An earlier checkpoint or pre-dump, relative to the image directory: only memory that has
    /// changed since is written
    #[arg(long, value_name = "DIR")]
    parent_path: Option<PathBuf>,
    /// Leave the container running
    #[arg(long)]
    leave_running: bool,
    /// Write memory only, and leave the container running: the checkpoint that names it as
    /// --parent-path is quicker
    #[arg(long)]
    pre_dump: bool,
    /// Send memory to this page server, not to the image directory
    #[arg(long, value_name = "ADDRESS:PORT")]
    page_server: Option<String>,
    /// With --lazy-pages: write a zero byte to this descriptor when they can be fetched
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    status_fd: Option<i32>,
    /// Leave out connections that are being made
    #[arg(long)]
    tcp_skip_in_flight: bool,
    /// Give files that have lost their name one for the time being
    #[arg(long)]
    link_remap: bool,
    /// The container's name
    id: String,
}

/// The flags of both verbs that call CRIU.
#[derive(Args, Debug)]
pub struct Flags {
    /// The directory of the checkpoint
    #[arg(long, value_name = "DIR")]
    image_path: Option<PathBuf>,
    /// The directory of CRIU's log [default: that of the checkpoint]
    #[arg(long, value_name = "DIR")]
    work_path: Option<PathBuf>,
    /// Take along connections that stand
    #[arg(long)]
    tcp_established: bool,
    /// Sockets may be connected to somebody outside
    #[arg(long)]
    ext_unix_sk: bool,
    /// Session and terminal may be somebody else's
    #[arg(long)]
    shell_job: bool,
    /// Memory is fetched when it is first touched
    #[arg(long)]
    lazy_pages: bool,
    /// Take along file locks
    #[arg(long)]
    file_locks: bool,
    /// soft, full, strict or ignore
    #[arg(long, value_name = "MODE")]
    manage_cgroups_mode: Option<String>,
    /// Leave the contents of this namespace to others: network, which always is
    #[arg(long, value_name = "NAMESPACE")]
    empty_ns: Vec<String>,
    /// Punch memory out of the parent image that this one has as well
    #[arg(long)]
    auto_dedup: bool,
    /// How connections are held meanwhile: iptables, nftables or skip
    #[arg(long, value_name = "METHOD")]
    network_lock: Option<String>,
}

impl Flags {
    /// What the library is asked for.
    pub fn request(self) -> Result<CriuFlags> {
        let refuse = |says: String| Err(Error::new(Kind::Config, says));
        let manage_cgroups = match self.manage_cgroups_mode.as_deref() {
            None | Some("") => CgroupMode::Default,
            Some("soft") => CgroupMode::Soft,
            Some("full") => CgroupMode::Full,
            Some("strict") => CgroupMode::Strict,
            Some("ignore") => CgroupMode::Ignore,
            Some(word) => return refuse(format!("invalid manage-cgroups-mode value \"{word}\"")),
        };
        let network_lock = match self.network_lock.as_deref() {
            None => None,
            Some("iptables") => Some(NetworkLock::Iptables),
            Some("nftables") => Some(NetworkLock::Nftables),
            Some("skip") => Some(NetworkLock::Skip),
            Some(word) => return refuse(format!("invalid value \"{word}\" for --network-lock")),
        };
        if let Some(other) = self.empty_ns.iter().find(|kind| *kind != "network") {
            return refuse(format!("namespace \"{other}\" is not supported by --empty-ns"));
        }
        Ok(CriuFlags {
            image_path: absolute(&self.image_path.unwrap_or_else(|| "checkpoint".into()))?,
            work_path: self.work_path.as_deref().map(absolute).transpose()?,
            tcp_established: self.tcp_established,
            ext_unix_sk: self.ext_unix_sk,
            shell_job: self.shell_job,
            file_locks: self.file_locks,
            auto_dedup: self.auto_dedup,
            lazy_pages: self.lazy_pages,
            manage_cgroups,
            network_lock,
        })
    }
}

impl Checkpoint {
    /// What the library is asked for.
    pub fn request(self) -> Result<CheckpointRequest> {
        Ok(CheckpointRequest {
            id: self.id,
            criu: self.criu.request()?,
            parent_path: self.parent_path.filter(|path| !path.as_os_str().is_empty()),
            leave_running: self.leave_running,
            pre_dump: self.pre_dump,
            status_fd: self.status_fd.filter(|fd| *fd != -1),
            page_server: self.page_server.as_deref().map(page_server).transpose()?,
            tcp_skip_in_flight: self.tcp_skip_in_flight,
            link_remap: self.link_remap,
        })
    }
}

/// `ADDRESS:PORT`; an address with colons stands in brackets.
fn page_server(word: &str) -> Result<(String, u16)> {
    let parse = || {
        let (address, port) = word.rsplit_once(':')?;
        let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let address = inner.or_else(|| (!address.contains(':')).then_some(address))?;
        Some((address.to_owned(), port.parse().ok()?)).filter(|_| !address.is_empty())
    };
    parse().ok_or_else(|| {
        let says = format!("invalid value \"{word}\" for --page-server");
        Error::new(Kind::Config, says).hint("Use --page-server ADDRESS:PORT to specify page server")
    })
}

impl Verb for Checkpoint {
    const NAME: &'static str = "checkpoint";
    const ABOUT: &'static str = "Write a running container to files, by CRIU";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        libcontainer::checkpoint(&global.context()?, &self.request()?)?;
        Ok(0)
    }
}
