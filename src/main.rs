// SPDX-License-Identifier: Apache-2.0
//! soute, an OCI container runtime: flags -> command -> exit status.
//!
//! Everything that happens to a container is libcontainer's work. Here a command line is
//! read (`argv.rs`, `cli.rs`), a verb is run (`commands/`), and an error is told once, at
//! the end of [`main`] (`log.rs`).

#![forbid(unsafe_code)]

mod argv;
#[cfg(test)]
mod callers;
mod cli;
mod commands;
mod log;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering};

use cli::{First, Global};
use libcontainer::error::{Error, Kind};

/// See there for what it saves.
#[global_allocator]
static HEAP: libcontainer::Heap = libcontainer::Heap::new();

/// The exit status of a failure of our own. `exec` has one that its command is less likely
/// to end with.
static FAILURE: AtomicU8 = AtomicU8::new(1);
/// Where a panic is told, once the global flags are read.
static LOG: OnceLock<log::Settings> = OnceLock::new();

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(tell_panic));
    let words: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut global = Global::default();
    match run(&words, &mut global) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            global.log.fail(&error);
            ExitCode::from(FAILURE.load(Ordering::Relaxed))
        }
    }
}

fn run(words: &[OsString], global: &mut Global) -> anyhow::Result<u8> {
    match cli::first(words, global)? {
        First::Help(text) => commands::print(&text),
        First::Version => commands::print(&cli::version()),
        First::Verb(verb, words) => {
            FAILURE.store(verb.failure, Ordering::Relaxed);
            let _ = LOG.set(global.log.clone());
            global.log.listen().map_err(Error::from)?;
            if verb.protected {
                libcontainer::protect()?;
            }
            (verb.run)(words, global)
        }
    }
}

/// A panic is a bug of ours, and still one error and one exit status to the caller. It must
/// not come to unwinding: the released program aborts there.
fn tell_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let says = format!("bug in soute: {}", panic.to_string().replace('\n', " "));
    let error = Error::new(Kind::Failed, says).hint("please report it, with the command and the config.json");
    LOG.get_or_init(log::Settings::default).fail(&error.into());
    std::process::exit(FAILURE.load(Ordering::Relaxed).into());
}
