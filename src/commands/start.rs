// SPDX-License-Identifier: Apache-2.0
//! `soute start`: a created container's process goes on to the user's program.

use clap::Args;

use super::Verb;
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Start {
    /// The container's name
    id: String,
}

impl Verb for Start {
    const NAME: &'static str = "start";
    const ABOUT: &'static str = "Start the user's program in a created container";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        libcontainer::start(&global.context()?, &self.id)?;
        Ok(0)
    }
}
