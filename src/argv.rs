// SPDX-License-Identifier: Apache-2.0
//! Go's way of writing flags, before clap sees anything.
//!
//! Engines were written against runc, so their command lines follow Go's grammar: long
//! flags with one dash or two, `--flag=value` or `--flag value` (the next word is the value
//! whatever it looks like), switches with `=true` and `=false`, the last of several wins.
//! [`Words`] reads that grammar; [`normalise`] writes a verb's words anew in the one form
//! that leaves clap nothing to guess: `--flag=value … -- positional …`.
//!
//! Nothing here knows a flag by name: the table of the global flags is `cli.rs`'s, that of
//! a verb comes from its own clap definition.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use libcontainer::error::{Error, Kind, Result};

/// A flag of the table that a command line is read against.
#[derive(Clone, Copy, Debug)]
pub struct Flag<'f> {
    /// The name after the dashes; a flag without one is its short letter only.
    pub long: &'f str,
    /// The one-letter name.
    pub short: Option<char>,
    /// Whether a value follows; otherwise it is a switch.
    pub takes_value: bool,
}

/// One word (or a flag and its value) as understood.
#[derive(Debug, PartialEq, Eq)]
pub enum Word<'f> {
    /// A switch, on or (`=false`) off.
    Switch(&'f str, bool),
    /// A flag with its value.
    Value(&'f str, OsString),
    /// Neither.
    Positional(OsString),
}

/// The words of a command line, one after the other.
pub struct Words<'f, 'a> {
    flags: &'f [Flag<'f>],
    rest: &'a [OsString],
    /// Set by `--`, and by whoever knows that flags end here: the rest is positional.
    pub flags_over: bool,
    /// The letters of `-td` that are still to come.
    cluster: &'a str,
}

impl<'f, 'a> Words<'f, 'a> {
    /// Reads `words` against the table `flags`.
    pub fn new(flags: &'f [Flag<'f>], words: &'a [OsString]) -> Self {
        Self { flags, rest: words, flags_over: false, cluster: "" }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [OsString] {
        self.rest
    }

    fn next_raw(&mut self) -> Option<&'a OsString> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    /// Understands `word`, which begins with a dash.
    fn flag(&mut self, word: &'a OsStr) -> Result<Word<'f>> {
        let bytes = word.as_bytes();
        let (typed, value) = match bytes.iter().position(|b| *b == b'=') {
            Some(at) => (&bytes[..at], Some(OsStr::from_bytes(&bytes[at + 1..]))),
            None => (bytes, None),
        };
        let unknown = || refuse(format!("flag provided but not defined: {}", word.display()));
        let typed = std::str::from_utf8(typed).map_err(|_| unknown())?;
        let name = typed.strip_prefix("--").unwrap_or(&typed[1..]);
        let Some(flag) = self.named(name) else {
            // GNU's `-td`: several switches in one word. Values cannot be glued to a letter,
            // or a misspelt `-detch` would be read as `-d -e tch`.
            if value.is_none() && !typed.starts_with("--") && self.all_switches(name) {
                self.cluster = name;
                return Ok(self.letter().expect("an empty name is no cluster"));
            }
            return Err(unknown());
        };
        if flag.takes_value {
            let value = match value {
                Some(value) => value,
                None => self.next_raw().ok_or_else(|| refuse(format!("flag needs an argument: {typed}")))?,
            };
            return Ok(Word::Value(flag.long, value.to_owned()));
        }
        let on = match value {
            None => true,
            Some(value) => truth(value).ok_or_else(|| {
                refuse(format!("invalid boolean value \"{}\" for {typed}", value.display()))
            })?,
        };
        Ok(Word::Switch(flag.long, on))
    }

    /// `--bundle`, `-bundle`, `-b` and `--b` are one flag, as in Go.
    fn named(&self, name: &str) -> Option<&'f Flag<'f>> {
        let mut letters = name.chars();
        let letter = letters.next().filter(|_| letters.next().is_none());
        self.flags
            .iter()
            .find(|f| !name.is_empty() && (f.long == name || (letter.is_some() && f.short == letter)))
    }

    fn all_switches(&self, letters: &str) -> bool {
        let switch = |c| self.flags.iter().any(|f| f.short == Some(c) && !f.takes_value);
        !letters.is_empty() && letters.chars().all(switch)
    }

    fn letter(&mut self) -> Option<Word<'f>> {
        let letter = self.cluster.chars().next()?;
        self.cluster = &self.cluster[letter.len_utf8()..];
        let flag = self.flags.iter().find(|f| f.short == Some(letter))?;
        Some(Word::Switch(flag.long, true))
    }
}

impl<'f> Iterator for Words<'f, '_> {
    type Item = Result<Word<'f>>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(word) = self.letter() {
            return Some(Ok(word));
        }
        let word = self.next_raw()?;
        if self.flags_over {
            return Some(Ok(Word::Positional(word.clone())));
        }
        match word.as_bytes() {
            b"--" => {
                self.flags_over = true;
                self.next()
            }
            // A lone dash is a value: standard input.
            [b'-', _, ..] => Some(self.flag(word)),
            _ => Some(Ok(Word::Positional(word.clone()))),
        }
    }
}

/// Writes the words of a verb anew, for clap: flags first, each in the form `--flag` or
/// `--flag=value`, then `--` and the positional words.
///
/// Flags may stand after positional words, but with `stops` not after the first one: what
/// follows the id of `exec ID sh -c …` belongs to the container.
pub fn normalise(flags: &[Flag<'_>], stops: bool, words: &[OsString]) -> Result<Vec<OsString>> {
    let mut said = Vec::new();
    let mut positional = Vec::new();
    let mut words = Words::new(flags, words);
    while let Some(word) = words.next() {
        match word? {
            Word::Switch(name, on) => {
                let switch = OsString::from(format!("--{name}"));
                said.retain(|w| *w != switch);
                if on {
                    said.push(switch);
                }
            }
            Word::Value(name, value) => {
                let mut word = OsString::from(format!("--{name}="));
                word.push(value);
                said.push(word);
            }
            Word::Positional(word) => {
                positional.push(word);
                if stops && positional.len() == 1 && !words.flags_over {
                    words.flags_over = true;
                    // `exec ID -- sh`
                    if words.rest().first().is_some_and(|w| w == "--") {
                        words.next_raw();
                    }
                }
            }
        }
    }
    said.push("--".into());
    said.append(&mut positional);
    Ok(said)
}

/// Go's strconv.ParseBool.
pub fn truth(word: &OsStr) -> Option<bool> {
    match word.as_bytes() {
        b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => Some(true),
        b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => Some(false),
        _ => None,
    }
}

fn refuse(says: String) -> Error {
    Error::new(Kind::Config, says)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLAGS: &[Flag<'_>] = &[
        Flag { long: "bundle", short: Some('b'), takes_value: true },
        Flag { long: "env", short: Some('e'), takes_value: true },
        Flag { long: "detach", short: Some('d'), takes_value: false },
        Flag { long: "tty", short: Some('t'), takes_value: false },
        Flag { long: "no-subreaper", short: None, takes_value: false },
    ];

    fn read(stops: bool, line: &str) -> Result<String, String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let said = normalise(FLAGS, stops, &words).map_err(|e| e.message())?;
        Ok(said.join(OsStr::new(" ")).into_string().unwrap())
    }

    #[test]
    fn gos_forms_become_one_form() {
        for (line, said) in [
            ("", "--"),
            ("id", "-- id"),
            ("--bundle /b id", "--bundle=/b -- id"),
            ("--bundle=/b id", "--bundle=/b -- id"),
            ("-bundle /b id", "--bundle=/b -- id"),
            ("-bundle=/b id", "--bundle=/b -- id"),
            ("-b /b id", "--bundle=/b -- id"),
            ("-b=/b id", "--bundle=/b -- id"),
            ("--bundle= id", "--bundle= -- id"),
            ("id --bundle /b", "--bundle=/b -- id"),
            // The next word is the value, whatever it looks like.
            ("--bundle --detach id", "--bundle=--detach -- id"),
            ("--bundle - id", "--bundle=- -- id"),
            ("- id", "-- - id"),
            ("-no-subreaper id", "--no-subreaper -- id"),
            ("--detach=true id", "--detach -- id"),
            ("--detach=1 id", "--detach -- id"),
            ("--detach=false id", "-- id"),
            ("--detach=0 id", "-- id"),
            ("--detach --detach=F id", "-- id"),
            ("--detach=false -d id", "--detach -- id"),
            ("-td id", "--tty --detach -- id"),
            ("-e A=1,B=2 -e=C=3 id", "--env=A=1,B=2 --env=C=3 -- id"),
            ("-- --detach id", "-- --detach id"),
            ("id -- -d", "-- id -d"),
        ] {
            assert_eq!(read(false, line).as_deref(), Ok(said), "{line}");
        }
    }

    #[test]
    fn flags_end_at_the_id() {
        for (line, said) in [
            ("id sh -c true", "-- id sh -c true"),
            ("-t id ls -d --detach", "--tty -- id ls -d --detach"),
            ("id -- sh -c true", "-- id sh -c true"),
            ("-- id sh -c true", "-- id sh -c true"),
            ("-- id -- sh", "-- id -- sh"),
            ("id sh -- -c", "-- id sh -- -c"),
            ("id -- --", "-- id --"),
        ] {
            assert_eq!(read(true, line).as_deref(), Ok(said), "{line}");
        }
    }

    #[test]
    fn refusals_name_the_flag() {
        for (line, says) in [
            ("--invalidflag id", "flag provided but not defined: --invalidflag"),
            ("-invalid=1 id", "flag provided but not defined: -invalid=1"),
            ("--bundle", "flag needs an argument: --bundle"),
            ("id -b", "flag needs an argument: -b"),
            ("--detach=maybe id", "invalid boolean value \"maybe\" for --detach"),
            ("-detch id", "flag provided but not defined: -detch"),
            ("-tb id", "flag provided but not defined: -tb"),
            ("--td id", "flag provided but not defined: --td"),
            ("-=x id", "flag provided but not defined: -=x"),
            ("--=x id", "flag provided but not defined: --=x"),
            ("---bundle=x id", "flag provided but not defined: ---bundle=x"),
        ] {
            assert_eq!(read(false, line), Err(says.to_owned()), "{line}");
        }
    }

    #[test]
    fn words_need_not_be_text() {
        let odd = OsString::from(OsStr::from_bytes(b"/b\xff"));
        let mut flag = OsString::from("--bundle=");
        flag.push(&odd);
        assert_eq!(normalise(FLAGS, false, &[flag.clone(), odd.clone()]).unwrap(), [flag, "--".into(), odd]);
        let odd = OsString::from(OsStr::from_bytes(b"--\xff"));
        assert!(normalise(FLAGS, false, &[odd]).is_err());
    }
}
