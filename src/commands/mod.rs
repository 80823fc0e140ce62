// SPDX-License-Identifier: Apache-2.0
//! The verbs, one a file: its flags are a struct, its work is the call of one operation.

pub mod check;
pub mod checkpoint;
pub mod create;
pub mod delete;
pub mod events;
pub mod exec;
pub mod explain;
pub mod features;
pub mod kill;
pub mod list;
pub mod pause;
pub mod ps;
pub mod restore;
pub mod resume;
pub mod run;
pub mod spec;
pub mod start;
pub mod state;
pub mod update;

use std::ffi::OsString;
use std::io::Write as _;

use libcontainer::Context;
use libcontainer::error::{Call, Error, Kind, Result};

use crate::cli::{self, Asked, Global};

/// A verb; the struct's fields are its flags and arguments.
pub trait Verb: clap::Args {
    /// The word that the user types.
    const NAME: &'static str;
    /// What it does, in one line.
    const ABOUT: &'static str;
    /// Whether the words after the first positional one belong to somebody else.
    const FLAGS_END_AT_ID: bool = false;
    /// Whether a process of ours comes under a container's eyes, so that our binary is
    /// protected before anything else happens (CVE-2019-5736).
    const PROTECTED: bool = false;
    /// The exit status of a failure of our own.
    const FAILURE: u8 = 1;

    /// Does it, and gives the exit status.
    fn run(self, global: &Global) -> anyhow::Result<u8>;
}

/// What the table of verbs knows of one.
#[derive(Debug)]
pub struct Entry {
    /// [`Verb::NAME`].
    pub name: &'static str,
    /// [`Verb::ABOUT`].
    pub about: &'static str,
    /// [`Verb::PROTECTED`].
    pub protected: bool,
    /// [`Verb::FAILURE`].
    pub failure: u8,
    /// Reads the verb's words and runs it.
    pub run: fn(&[OsString], &Global) -> anyhow::Result<u8>,
    /// clap's definition, for its help.
    pub command: fn() -> clap::Command,
}

/// Every verb, in the order of `soute --help`.
pub const VERBS: &[Entry] = &[
    entry::<create::Create>(),
    entry::<start::Start>(),
    entry::<state::State>(),
    entry::<kill::Kill>(),
    entry::<delete::Delete>(),
    entry::<run::Run>(),
    entry::<exec::Exec>(),
    entry::<pause::Pause>(),
    entry::<resume::Resume>(),
    entry::<update::Update>(),
    entry::<checkpoint::Checkpoint>(),
    entry::<restore::Restore>(),
    entry::<events::Events>(),
    entry::<ps::Ps>(),
    entry::<list::List>(),
    entry::<check::Check>(),
    entry::<explain::Explain>(),
    entry::<spec::Spec>(),
    entry::<features::Features>(),
];

const fn entry<V: Verb>() -> Entry {
    Entry {
        name: V::NAME,
        about: V::ABOUT,
        protected: V::PROTECTED,
        failure: V::FAILURE,
        run: read_and_run::<V>,
        command: cli::command::<V>,
    }
}

fn read_and_run<V: Verb>(words: &[OsString], global: &Global) -> anyhow::Result<u8> {
    match cli::read::<V>(words)? {
        Asked::Help(text) => print(&text),
        Asked::Run(verb) => verb.run(global),
    }
}

/// Writes the whole output of a verb. A reader that has gone is an error like any other:
/// `print!` would panic.
pub fn print(text: &str) -> anyhow::Result<u8> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .call(|| "write(standard output)")
        .map_err(Error::from)?;
    Ok(0)
}

/// A container's process ended with `code`, which is our exit status too.
fn exit_status(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

/// The ids that `pattern` matches anywhere, for `--regex`.
fn matching(context: &Context, pattern: &str) -> Result<Vec<String>> {
    let regex = regex_lite::Regex::new(pattern)
        .map_err(|e| Error::new(Kind::Config, format!("invalid regular expression: {e}")))?;
    let states = libcontainer::list(context)?;
    Ok(states.into_iter().map(|state| state.id).filter(|id| regex.is_match(id)).collect())
}

/// Does `act` to each of `ids`, also after one has failed; the first failure is the result.
fn each(ids: &[String], mut act: impl FnMut(&str) -> Result<()>) -> Result<()> {
    let mut result = Ok(());
    for id in ids {
        let done = act(id);
        if let (Err(error), Err(_)) = (&done, &result) {
            tracing::warn!("{}", error.message());
        }
        result = result.and(done);
    }
    result
}
