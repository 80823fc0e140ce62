// SPDX-License-Identifier: Apache-2.0
//! `soute pause`: stops all processes of a container.

use clap::Args;

use super::Verb;
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Pause {
    /// The container's name
    id: String,
}

impl Verb for Pause {
    const NAME: &'static str = "pause";
    const ABOUT: &'static str = "Freeze all processes of a container";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        libcontainer::pause(&global.context()?, &self.id)?;
        Ok(0)
    }
}
