// SPDX-License-Identifier: Apache-2.0
//! `soute resume`: lets a paused container go on.

use clap::Args;

use super::Verb;
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Resume {
    /// The container's name
    id: String,
}

impl Verb for Resume {
    const NAME: &'static str = "resume";
    const ABOUT: &'static str = "Let a paused container go on";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        libcontainer::resume(&global.context()?, &self.id)?;
        Ok(0)
    }
}
