// SPDX-License-Identifier: Apache-2.0
//! Writes the manual pages and the shells' completions of soute into a directory:
//! `cargo run --example pages DIRECTORY`. `hack/release` packs them.
//!
//! It reads the same definitions as the program itself does. It is an example because the
//! program that users get has no need of what writes these.

// Of the program, only its grammar is used here.
#![allow(dead_code)]

#[path = "../src/argv.rs"]
mod argv;
#[path = "../src/cli.rs"]
mod cli;
#[path = "../src/commands/mod.rs"]
mod commands;
#[path = "../src/log.rs"]
mod log;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Arg, ArgAction, Command, ValueHint};
use clap_complete::{Shell, generate_to};
use clap_mangen::Man;

/// System administration, as for other container runtimes.
const SECTION: &str = "8";

/// What the page of the program says besides.
const PROGRAM: &str = r#"
.SH "EXIT STATUS"
That of the container's program for \fBrun\fR and \fBexec\fR, 128 + N when signal N ended it.
When soute itself fails it is 1, and 255 for \fBexec\fR.
.SH FILES
.TP
/run/soute
Where root's containers are recorded; an ordinary user's are below $XDG_RUNTIME_DIR/soute.
.SH "SEE ALSO"
.BR soute-engines (8)
says what to write into the configuration of docker, podman, containerd and CRI\-O.
The documents are in /usr/share/doc/soute.
"#;

/// What the page of a verb says besides.
const VERB: &str = r#"
.SH "SEE ALSO"
.BR soute (8)
for the flags that stand before the command, the files and the exit status.
"#;

fn main() -> anyhow::Result<()> {
    let directory = PathBuf::from(std::env::args_os().nth(1).context("usage: pages DIRECTORY")?);
    let mut program = program();
    program.build();
    manuals(&program, &directory)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut program, "soute", &directory)?;
    }
    Ok(())
}

/// The whole of the command line, as clap would read it. (The program reads its global flags
/// itself, and builds one verb at a time.)
fn program() -> Command {
    let globals = cli::GLOBALS.iter().filter(|global| !global.help.is_empty()).map(|global| {
        let arg = Arg::new(global.flag.long).long(global.flag.long).help(global.help);
        let arg = match global.flag.short {
            Some(letter) => arg.short(letter),
            None => arg,
        };
        match global.value {
            "" => arg.action(ArgAction::SetTrue),
            "DIR" => arg.value_name("DIR").value_hint(ValueHint::DirPath),
            "FILE" => arg.value_name("FILE").value_hint(ValueHint::FilePath),
            "PATH" => arg.value_name("PATH").value_hint(ValueHint::ExecutablePath),
            value => arg.value_name(value),
        }
    });
    let verbs = commands::VERBS.iter().map(|verb| (verb.command)().no_binary_name(false).about(verb.about));
    Command::new("soute")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Run containers from OCI bundles")
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .subcommand_required(true)
        .args(globals)
        .subcommands(verbs)
}

/// One page for the program, one for each verb.
fn manuals(program: &Command, directory: &Path) -> anyhow::Result<()> {
    page(program.clone(), directory, "soute")?;
    for verb in program.get_subcommands() {
        page(verb.clone(), directory, &format!("soute-{}", verb.get_name()))?;
    }
    Ok(())
}

fn page(command: Command, directory: &Path, name: &str) -> anyhow::Result<()> {
    let verb = name != "soute";
    // A synopsis with the name as it is typed: `soute run [OPTIONS] <ID>`.
    let command = command.display_name(name).bin_name(name.replacen('-', " ", 1));
    let man = Man::new(command)
        .title(name)
        .section(SECTION)
        .source(concat!("soute ", env!("CARGO_PKG_VERSION")))
        .manual("OCI containers");
    let mut text = Vec::new();
    man.render(&mut text)?;
    let more = if verb { VERB } else { PROGRAM };
    text.extend_from_slice(more.trim_start().as_bytes());
    let path = directory.join(format!("{name}.{SECTION}"));
    fs::write(&path, text).with_context(|| path.display().to_string())
}
