// SPDX-License-Identifier: Apache-2.0
//! `soute delete`: nothing of a stopped container remains.

use clap::Args;

use super::{Verb, each, matching};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Delete {
    /// Kill the container first if it lives; no error if there is none
    #[arg(long, short)]
    force: bool,
    /// Delete every container whose name the regular expression ID matches
    #[arg(long, short)]
    regex: bool,
    /// The container's name
    id: String,
}

impl Verb for Delete {
    const NAME: &'static str = "delete";
    const ABOUT: &'static str = "Delete a stopped container";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let context = global.context()?;
        let ids = if self.regex { matching(&context, &self.id)? } else { vec![self.id] };
        each(&ids, |id| libcontainer::delete(&context, id, self.force))?;
        Ok(0)
    }
}
