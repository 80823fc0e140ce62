// SPDX-License-Identifier: Apache-2.0
//! `soute check`: all faults of a bundle at once, and nothing is done.

use std::path::PathBuf;

use clap::Args;

use super::{Verb, create, print};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Check {
    /// The directory with config.json and the root filesystem
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Read this file in place of config.json
    #[arg(long, short = 'f', value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Verb for Check {
    const NAME: &'static str = "check";
    const ABOUT: &'static str = "List every fault of a bundle";

    fn run(self, _: &Global) -> anyhow::Result<u8> {
        let report = libcontainer::check(&create::absolute(&self.bundle)?, self.config.as_deref())?;
        print(&report.to_string())?;
        Ok(u8::from(!report.ok()))
    }
}
