// SPDX-License-Identifier: Apache-2.0
//! `soute ps`: the processes of a container, as ps(1) shows them, or their pids as JSON.

use std::process::Command;

use clap::{Args, ValueEnum};
use libcontainer::error::{Call, Error, Kind, Result};

use super::{Verb, print};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Ps {
    /// What ps(1) prints, or an array of pids
    #[arg(long, short, value_enum, default_value = "table")]
    format: Format,
    /// The container's name
    id: String,
    /// Words for ps(1); its output must have a column PID [default: -ef]
    args: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Verb for Ps {
    const NAME: &'static str = "ps";
    const ABOUT: &'static str = "List the processes of a container";
    const FLAGS_END_AT_ID: bool = true;

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let pids = libcontainer::ps(&global.context()?, &self.id)?;
        match self.format {
            Format::Json => print(&(serde_json::to_string(&pids)? + "\n")),
            Format::Table => print(&table(&ask_ps(&self.args)?, &pids)?),
        }
    }
}

/// The output of ps(1) for all processes: no form of its flags chooses by pid in every case.
fn ask_ps(args: &[String]) -> Result<String> {
    let mut ps = Command::new("ps");
    if args.is_empty() {
        ps.arg("-ef")
    } else {
        ps.args(args)
    };
    let output = ps
        .output()
        .call(|| "ps")
        .map_err(|fault| Error::from(fault).hint("`soute ps --format json` needs no ps(1)"))?;
    if !output.status.success() {
        let says = String::from_utf8_lossy(&output.stderr);
        return Err(Error::new(Kind::Failed, format!("ps: {}", says.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Its heading, and the lines of these pids.
fn table(text: &str, pids: &[i32]) -> Result<String> {
    let heading = text.lines().next().unwrap_or_default();
    let Some(column) = heading.split_whitespace().position(|word| word == "PID") else {
        return Err(Error::new(Kind::Config, "the output of ps has no column PID")
            .hint("leave the words for ps(1) out, or let them name pid"));
    };
    let ours = |line: &&str| {
        let pid = line.split_whitespace().nth(column).and_then(|word| word.parse().ok());
        pid.is_some_and(|pid| pids.binary_search(&pid).is_ok())
    };
    let lines = std::iter::once(heading).chain(text.lines().skip(1).filter(ours));
    Ok(lines.map(|line| format!("{line}\n")).collect())
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn only_the_containers_lines_are_left() {
        let text = "UID   PID  PPID CMD\nroot    1     0 init\nroot   12     1 sleep 9\nroot  9     1 x 12\n";
        assert_eq!(table(text, &[12]).unwrap(), "UID   PID  PPID CMD\nroot   12     1 sleep 9\n");
        assert!(table("CMD\ninit\n", &[1]).unwrap_err().message().contains("no column PID"));
    }
}
