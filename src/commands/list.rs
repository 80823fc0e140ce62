// SPDX-License-Identifier: Apache-2.0
//! `soute list`: all containers below `--root`.

use clap::{Args, ValueEnum};
use libcontainer::State;

use super::{Verb, print};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct List {
    /// A table, or an array of states
    #[arg(long, short, value_enum, default_value = "table")]
    format: Format,
    /// Print the names only
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Verb for List {
    const NAME: &'static str = "list";
    const ABOUT: &'static str = "List the containers";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let states = libcontainer::list(&global.context()?)?;
        if self.quiet {
            return print(&states.iter().map(|s| format!("{}\n", s.id)).collect::<String>());
        }
        match self.format {
            Format::Json => print(&(serde_json::to_string(&states)? + "\n")),
            Format::Table => print(&table(&states)),
        }
    }
}

/// Columns as wide as their widest cell; nothing after the last.
fn table(states: &[State]) -> String {
    let mut rows = vec![["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(String::from)];
    rows.extend(states.iter().map(|s| {
        let bundle = s.bundle.display().to_string();
        [s.id.clone(), s.pid.to_string(), s.status.to_string(), bundle, s.created.clone(), s.owner.clone()]
    }));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &[String; 6]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
