// SPDX-License-Identifier: Apache-2.0
//! `soute kill`: a signal to a container's process, or to all of them.

use clap::Args;

use super::{Verb, each, matching};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Kill {
    /// Signal every process of the container; no error if it is stopped
    #[arg(long, short)]
    all: bool,
    /// Signal every container whose name the regular expression ID matches
    #[arg(long, short)]
    regex: bool,
    /// The container's name
    id: String,
    /// A number or a name: 9, KILL, SIGKILL, RTMIN+3
    #[arg(value_parser = signal, default_value = "TERM")]
    signal: i32,
}

impl Verb for Kill {
    const NAME: &'static str = "kill";
    const ABOUT: &'static str = "Send a signal to a container";
    const FLAGS_END_AT_ID: bool = true;

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let context = global.context()?;
        let ids = if self.regex { matching(&context, &self.id)? } else { vec![self.id] };
        each(&ids, |id| libcontainer::kill(&context, id, self.signal, self.all))?;
        Ok(0)
    }
}

/// The first real-time signal that the C library leaves to programs, and the last.
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// signal(7), with the numbers of x86 and Arm; 0 only asks whether there is a process.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
    ("RTMIN", RTMIN),
    ("RTMAX", RTMAX),
];

/// Reads a signal as users and engines write it.
fn signal(word: &str) -> Result<i32, String> {
    let unknown = || format!("unknown signal \"{word}\"");
    if let Some(number) = digits(word) {
        return Some(number).filter(|n| *n <= RTMAX).ok_or_else(unknown);
    }
    let upper = word.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = SIGNALS.iter().find(|(known, _)| *known == name) {
        return Ok(*number);
    }
    let offset = |prefix| name.strip_prefix(prefix).and_then(digits).filter(|n| *n <= RTMAX - RTMIN);
    match (offset("RTMIN+"), offset("RTMAX-")) {
        (Some(up), _) => Ok(RTMIN + up),
        (_, Some(down)) => Ok(RTMAX - down),
        _ => Err(unknown()),
    }
}

/// Digits only: no sign, no space.
fn digits(word: &str) -> Option<i32> {
    word.bytes().all(|b| b.is_ascii_digit()).then(|| word.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals() {
        for (word, number) in [
            ("9", 9),
            ("KILL", 9),
            ("SIGKILL", 9),
            ("kill", 9),
            ("sigkill", 9),
            ("Term", 15),
            ("5", 5),
            ("TRAP", 5),
            ("BUS", 7),
            ("37", 37),
            ("64", 64),
            ("0", 0),
            ("RTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMIN+30", 64),
            ("rtmax-1", 63),
            ("RTMAX", 64),
        ] {
            assert_eq!(signal(word), Ok(number), "{word}");
        }
        for word in [
            "",
            "65",
            "-9",
            "+9",
            " 9",
            "9 ",
            "4294967305",
            "SIG",
            "SIGSIGKILL",
            "NOPE",
            "RTMIN+31",
            "RTMIN+",
            "RTMIN-1",
            "RTMIN+-1",
            "RTMAX-31",
            "RTMAX+1",
        ] {
            assert!(signal(word).is_err(), "{word}");
        }
    }
}
