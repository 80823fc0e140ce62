// SPDX-License-Identifier: Apache-2.0
//! `soute events`: what a container uses and what happens to it, one JSON object a line.

use std::time::Duration;

use clap::Args;
use libcontainer::error::{Fault, Result};
use libcontainer::{Event, EventsRequest};

use super::{Verb, print};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Events {
    /// Show the statistics once
    #[arg(long)]
    stats: bool,
    /// Show the statistics this often, as in 5s, 500ms or 1m30s
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = duration)]
    interval: Duration,
    /// The container's name
    id: String,
}

impl Events {
    /// What the library is asked for.
    pub fn request(self) -> EventsRequest {
        EventsRequest { id: self.id, stats: self.stats, interval: self.interval }
    }
}

impl Verb for Events {
    const NAME: &'static str = "events";
    const ABOUT: &'static str = "Show what a container uses and what happens to it";

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        libcontainer::events(&global.context()?, &self.request(), &mut tell)?;
        Ok(0)
    }
}

fn tell(event: &Event<'_>) -> Result<()> {
    let line = serde_json::to_string(event).map_err(|e| Fault::new(e.to_string()))? + "\n";
    print(&line).map(drop).map_err(|e| Fault::new(format!("{e:#}")).into())
}

/// A duration as Go writes them: `1m30s`, `1.5h`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let invalid = || format!("invalid duration \"{text}\": as in 5s, 500ms or 1m30s");
    let (mut seconds, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let number: f64 = rest[..end].parse().map_err(|_| invalid())?;
        let unit = &rest[end..];
        let unit = &unit[..unit.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit.len())];
        seconds += number
            * match unit {
                "ns" => 1e-9,
                "us" | "µs" | "μs" => 1e-6,
                "ms" => 1e-3,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(invalid()),
            };
        rest = &rest[end + unit.len()..];
    }
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(format!("invalid duration \"{text}\": it must be greater than 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, millis) in [
            ("5s", 5000),
            ("500ms", 500),
            ("1m30s", 90_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("2000us", 2),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "0", "0s", "5", "-5s", "s", "5 s", "5x", "1.2.3s", "1e3s", "999999999999999999999h"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
