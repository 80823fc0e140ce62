// SPDX-License-Identifier: Apache-2.0
//! `soute run`: create and start, then stay until the process ends, unless `--detach`.

use clap::Args;
use libcontainer::RunRequest;
use libcontainer::error::Result;

use super::{Verb, create::BundleFlags, exit_status};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Run {
    #[command(flatten)]
    flags: BundleFlags,
    /// Leave the container running and come back
    #[arg(long, short)]
    detach: bool,
    /// Do not delete the container when its process has ended
    #[arg(long)]
    keep: bool,
    /// Leave the container's orphans to the system's reaper
    #[arg(long)]
    no_subreaper: bool,
    /// The new container's name
    id: String,
}

impl Run {
    /// What the library is asked for.
    pub fn request(self) -> Result<RunRequest> {
        Ok(RunRequest {
            create: self.flags.request(self.id)?,
            detach: self.detach,
            keep: self.keep,
            no_subreaper: self.no_subreaper,
        })
    }
}

impl Verb for Run {
    const NAME: &'static str = "run";
    const ABOUT: &'static str = "Create and start a container";
    const PROTECTED: bool = true;

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let code = libcontainer::run(&global.context()?, &self.request()?)?;
        Ok(exit_status(code))
    }
}
