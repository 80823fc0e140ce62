// SPDX-License-Identifier: Apache-2.0
//! `soute state`: the state of a container, as JSON in the form of the runtime spec.

use clap::Args;

use super::{Verb, print};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct State {
    /// The container's name
    id: String,
}

impl Verb for State {
    const NAME: &'static str = "state";
    const ABOUT: &'static str = "Print a container's state as JSON";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let mut state = libcontainer::state(&global.context()?, &self.id)?;
        // Only `list` tells the owner.
        state.owner.clear();
        print(&(serde_json::to_string_pretty(&state)? + "\n"))
    }
}
