// SPDX-License-Identifier: Apache-2.0
//! `soute explain`: the plan that `create` would walk, printed and not walked.

use clap::Args;
use libcontainer::CreateRequest;
use libcontainer::error::Result;

use super::{Verb, create::BundleFlags, print};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Explain {
    #[command(flatten)]
    flags: BundleFlags,
    /// The name that the container would have
    #[arg(default_value = "container")]
    id: String,
}

impl Explain {
    /// What the library is asked for.
    pub fn request(self) -> Result<CreateRequest> {
        self.flags.request(self.id)
    }
}

impl Verb for Explain {
    const NAME: &'static str = "explain";
    const ABOUT: &'static str = "Print what create would do, step by step, and why";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        print(&libcontainer::explain(&global.context()?, &self.request()?)?)
    }
}
