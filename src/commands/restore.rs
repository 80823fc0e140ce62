// SPDX-License-Identifier: Apache-2.0
//! `soute restore`: a container whose processes come out of a checkpoint.

use clap::Args;
use libcontainer::RestoreRequest;
use libcontainer::error::Result;

use super::{Verb, checkpoint::Flags, create::BundleFlags, exit_status};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Restore {
    #[command(flatten)]
    flags: BundleFlags,
    #[command(flatten)]
    criu: Flags,
    /// Leave the container running and come back
    #[arg(long, short)]
    detach: bool,
    /// Leave the container's orphans to the system's reaper
    #[arg(long)]
    no_subreaper: bool,
    /// Close connections that stood
    #[arg(long)]
    tcp_close: bool,
    /// Give the processes another label: apparmor:PROFILE or selinux:LABEL
    #[arg(long, value_name = "TYPE:NAME")]
    lsm_profile: Option<String>,
    /// Give the mounts another SELinux context
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,
    /// The container's name
    id: String,
}

impl Restore {
    /// What the library is asked for.
    pub fn request(self) -> Result<RestoreRequest> {
        let filled = |word: &String| !word.is_empty();
        Ok(RestoreRequest {
            create: self.flags.request(self.id)?,
            criu: self.criu.request()?,
            detach: self.detach,
            no_subreaper: self.no_subreaper,
            tcp_close: self.tcp_close,
            lsm_profile: self.lsm_profile.filter(filled),
            lsm_mount_context: self.lsm_mount_context.filter(filled),
        })
    }
}

impl Verb for Restore {
    const NAME: &'static str = "restore";
    const ABOUT: &'static str = "Make a container out of a checkpoint, by CRIU";
    const PROTECTED: bool = true;

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let code = libcontainer::restore(&global.context()?, &self.request()?)?;
        Ok(exit_status(code))
    }
}
