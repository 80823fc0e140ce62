// SPDX-License-Identifier: Apache-2.0
//! `soute features`: what this build can do, in the form of the runtime spec's features.md.

use clap::Args;

use super::{Verb, print};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Features {}

impl Verb for Features {
    const NAME: &'static str = "features";
    const ABOUT: &'static str = "Print what this build supports as JSON";

    fn run(self, _: &Global) -> anyhow::Result<u8> {
        print(&(serde_json::to_string_pretty(&libcontainer::features::features())? + "\n"))
    }
}
