// SPDX-License-Identifier: Apache-2.0
//! From text to oci-spec's types: the quick way, and the thorough one when it fails.

use std::ops::Range;

use oci_spec::runtime::{LinuxResources, Process, Spec};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::json::{self, Defect};
use super::repair::{self, Findings};
use super::schema::{self, Kind};
use crate::plan::problem::Problem;

/// A type that a whole file holds.
pub(super) trait Document: DeserializeOwned {
    /// Its form.
    const FORM: Kind;
    /// What serde cannot see: sets right what oci-spec reads wrongly, and adds faults.
    fn settle(&mut self, text: &str, faults: &mut Vec<Problem>);
    /// What may not do what was meant.
    fn doubts(_text: &str, _found: &mut Vec<Problem>) {}
}

/// What a text holds. With `faults`, `value` has harmless values in their places.
#[derive(Debug)]
pub(super) struct Draft<T> {
    pub value: T,
    pub ignored: Vec<Problem>,
    pub faults: Vec<Problem>,
}

/// A text that holds no document at all: why, and the bytes that show it.
#[derive(Debug)]
pub(super) struct Refusal {
    pub problem: Problem,
    pub span: Range<usize>,
}

/// The text of a file. What is not UTF-8 comes back readable, for the excerpt.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, (String, Refusal)> {
    String::from_utf8(bytes).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let bad = e.as_bytes()[at];
        let text = String::from_utf8_lossy(e.as_bytes()).into_owned();
        let property = json::path_at(&text, at);
        let problem = Problem::new(property, format!("byte 0x{bad:02x} is not UTF-8"));
        (text, Refusal { problem, span: at..at + '\u{fffd}'.len_utf8() })
    })
}

/// Reads a text: see the drawing in `mod.rs`.
pub(super) fn read<T: Document>(text: &str) -> Result<Draft<T>, Refusal> {
    json::scan(text).map_err(|defect| tell(text, defect))?;
    let parsed = match text.trim_start().starts_with('{') {
        true => serde_json::from_str::<T>(text).map(|value| (value, Findings::default())),
        // serde would take a list for a struct.
        false => Err(serde::de::Error::custom("")),
    };
    let (mut value, mut found) = match parsed {
        Ok(parsed) => parsed,
        Err(_) => thoroughly(text)?,
    };
    value.settle(text, &mut found.faults);
    in_order(text, &mut found.faults);
    in_order(text, &mut found.ignored);
    Ok(Draft { value, ignored: found.ignored, faults: found.faults })
}

/// Nobody wrote a larger file: it is not mended, and its first fault is enough.
const LARGE: usize = 4 << 20;
/// Each fault costs a look through the text.
const LONG: usize = 256 << 10;

/// Mends what can be mended and finds every fault.
fn thoroughly<T: Document>(text: &str) -> Result<(T, Findings), Refusal> {
    let whole = |says: String| Refusal { problem: Problem::new("", says), span: first_character(text) };
    match serde_json::from_str::<serde::de::IgnoredAny>(text) {
        // A Value tells more precisely what it expected.
        Err(e) if text.len() > LARGE => return Err(malformed(text, &e)),
        Err(e) => return Err(malformed(text, &serde_json::from_str::<Value>(text).err().unwrap_or(e))),
        Ok(_) if text.trim_start().starts_with('{') => {}
        Ok(_) => {
            let start = text.trim_start();
            let what = if start.starts_with('[') {
                "a list".to_owned()
            } else {
                start.trim_end().chars().take(60).collect()
            };
            return Err(whole(format!("the file holds {what}, not an object")));
        }
    }
    let mut track = serde_path_to_error::Track::new();
    let read = if text.len() > LARGE {
        let mut json = serde_json::Deserializer::from_str(text);
        let value = T::deserialize(serde_path_to_error::Deserializer::new(&mut json, &mut track));
        value.map(|value| (value, Findings::default()))
    } else {
        let mut value: Value = serde_json::from_str(text).map_err(|e| malformed(text, &e))?;
        let enough = if text.len() > LONG { 10 } else { repair::ENOUGH };
        let found = repair::repair(&mut value, &T::FORM, enough);
        let value = T::deserialize(serde_path_to_error::Deserializer::new(value, &mut track));
        value.map(|value| (value, found))
    };
    // After the repair serde should take anything; should it not, say what it says.
    read.map_err(|e| {
        let property = match track.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        let span = super::excerpt::span(text, &property).unwrap_or_else(|| first_character(text));
        let says = e.to_string();
        Refusal { problem: Problem::new(property, says.split(" at line ").next().unwrap_or(&says)), span }
    })
}

/// The first character that is there.
fn first_character(text: &str) -> Range<usize> {
    let start = text.len() - text.trim_start().len();
    start..start + text[start..].chars().next().map_or(0, char::len_utf8)
}

fn tell(text: &str, defect: Defect) -> Refusal {
    match defect {
        Defect::Repeated { first, again } => {
            let before = json::Position::new(text, first);
            Refusal {
                problem: Problem::new(
                    json::path_at(text, again.start),
                    format!("stands twice, already at line {}, column {}", before.line, before.column),
                )
                .hint("runtimes disagree about which one counts: keep one"),
                span: again,
            }
        }
        Defect::Nul(span) => {
            let property = json::path_at(text, span.start);
            Refusal {
                problem: Problem::new(property, "holds a NUL byte, where the kernel would end it"),
                span,
            }
        }
        Defect::Deep(at) => Refusal {
            problem: Problem::new(
                "",
                format!("objects and lists stand more than {} deep in each other", json::DEPTH),
            ),
            span: at..at + 1,
        },
    }
}

/// Text that is no JSON.
fn malformed(text: &str, error: &serde_json::Error) -> Refusal {
    if text.trim().is_empty() {
        return Refusal { problem: Problem::new("", "the file is empty"), span: 0..0 };
    }
    let line_start: usize =
        text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    let end = text.trim_end().len();
    let mut at = (line_start + error.column().saturating_sub(1)).min(end);
    if error.is_eof() || at == end {
        at = end.saturating_sub(1);
    }
    let serde = error.to_string();
    let says = serde.split(" at line ").next().unwrap_or(&serde);
    let mut span = at..at + 1;
    if matches!(says, "expected ident" | "expected value") {
        // serde stands behind the letter that it did not expect: show the whole word.
        let letter = |byte: &&u8| byte.is_ascii_alphanumeric();
        span.start -= text.as_bytes()[..at].iter().rev().take_while(letter).count();
        span.end = at.max(span.start + 1) + text.as_bytes()[at..].iter().take_while(letter).count();
    }
    while !text.is_char_boundary(span.start) {
        span.start -= 1;
    }
    while !text.is_char_boundary(span.end.min(text.len())) {
        span.end += 1;
    }
    let span = span.start..span.end.min(text.len());
    let (says, hint) = match says {
        _ if text.starts_with('\u{feff}') => ("the file begins with a byte order mark", Some("remove it")),
        "EOF while parsing an object" => ("the text ends inside an object", None),
        "EOF while parsing a list" => ("the text ends inside a list", None),
        "EOF while parsing a string" => {
            ("the text ends inside a string", Some("the file is cut short: write it anew"))
        }
        "EOF while parsing a value" => {
            ("the text ends where a value should be", Some("the file is cut short: write it anew"))
        }
        "expected value" | "expected ident" => {
            ("this is no JSON value", Some("strings stand in double quotes"))
        }
        "trailing comma" => ("a comma stands before this, and nothing follows it", Some("remove the comma")),
        "trailing characters" => ("there is more text after the end of the object", None),
        "key must be a string" => (
            "a property's name in double quotes is expected here",
            Some("close what is open, or take out the comma or bracket too much"),
        ),
        "number out of range" => ("the number is too large", None),
        says if says.starts_with("control character") => {
            ("a string holds a control character", Some("write it as an escape such as \\n"))
        }
        says => (says, None),
    };
    let mut problem = Problem::new(json::path_at(text, span.start), says);
    if let Some(hint) = hint {
        problem = problem.hint(hint);
    }
    Refusal { problem, span }
}

/// Sorts problems as their properties stand in the text.
pub(super) fn in_order(text: &str, problems: &mut [Problem]) {
    if problems.len() > 1 {
        problems.sort_by_cached_key(|problem| {
            super::excerpt::span(text, &problem.property).map(|span| span.start)
        });
    }
}

/// What `soute check` warns of.
pub(super) fn warnings<T: Document>(text: &str) -> Vec<Problem> {
    let mut found = match serde_json::from_str(text) {
        Ok(value) if text.len() <= LARGE => repair::strangers(&value, &T::FORM),
        _ => Vec::new(),
    };
    T::doubts(text, &mut found);
    found
}

/// What stands at a property, as JSON.
fn raw<'t>(text: &'t str, property: &str) -> Option<&'t str> {
    let place = json::find(text, property)?;
    place.whole.then(|| &text[place.value])
}

impl Document for Spec {
    const FORM: Kind = schema::SPEC;

    fn settle(&mut self, text: &str, faults: &mut Vec<Problem>) {
        let version = self.version();
        if !version.is_empty() && !supported(version) {
            faults.push(
                Problem::new("ociVersion", format!("version {version:?} is not supported"))
                    .hint("1.0.0 to 1.3.0, and any other 1.x"),
            );
        }
        if let Some(process) = self.process() {
            ids(process, "process.", faults);
        }
        let Some(linux) = self.linux_mut() else { return };
        if let Some(resources) = linux.resources_mut() {
            unset_pids(resources, text, "linux.resources.pids.limit");
        }
        if let Some(rdt) = linux.intel_rdt_mut() {
            // oci-spec looks for enableCmt and enableMbm.
            let on = |name: &str| (raw(text, name) == Some("true")).then_some(true);
            #[allow(deprecated)]
            rdt.set_enable_cmt(on("linux.intelRdt.enableCMT")).set_enable_mbm(on("linux.intelRdt.enableMBM"));
        }
    }

    fn doubts(text: &str, found: &mut Vec<Problem>) {
        if raw(text, "ociVersion").is_none_or(|version| version == "\"\"") {
            found.push(Problem::new("ociVersion", "should be specified").hint("such as \"1.2.0\""));
        }
        for name in ["enableCMT", "enableMBM"] {
            let property = format!("linux.intelRdt.{name}");
            if raw(text, &property).is_some() {
                found.push(Problem::new(property, "is deprecated").hint("enableMonitoring takes its place"));
            }
        }
        if raw(text, "hooks.prestart").is_some() {
            found.push(
                Problem::new("hooks.prestart", "is deprecated")
                    .hint("createRuntime, createContainer and startContainer take its place"),
            );
        }
    }
}

impl Document for Process {
    const FORM: Kind = schema::PROCESS;

    fn settle(&mut self, _text: &str, faults: &mut Vec<Problem>) {
        ids(self, "", faults);
    }
}

impl Document for LinuxResources {
    const FORM: Kind = schema::RESOURCES;

    fn settle(&mut self, text: &str, _faults: &mut Vec<Problem>) {
        unset_pids(self, text, "pids.limit");
    }
}

/// Any 1.x, whatever stands behind it: stricter runtimes broke their users.
fn supported(version: &str) -> bool {
    let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let release = version.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<&str> = release.split('.').collect();
    matches!(parts[..], ["1", minor] if number(minor))
        || matches!(parts[..], ["1", minor, patch] if number(minor) && number(patch))
}

/// 4294967295 is in the range of the type but is no id: the kernel reads it as "none".
fn ids(process: &Process, prefix: &str, faults: &mut Vec<Problem>) {
    let mut check = |id: u32, name: String, what: &str| {
        if id == u32::MAX {
            let says = format!("{id} is not a {what} id: 0 to {}", schema::MAX_ID);
            faults.push(Problem::new(format!("{prefix}user.{name}"), says));
        }
    };
    let user = process.user();
    check(user.uid(), "uid".to_owned(), "user");
    check(user.gid(), "gid".to_owned(), "group");
    for (index, id) in user.additional_gids().iter().flatten().enumerate() {
        check(*id, format!("additionalGids[{index}]"), "group");
    }
}

/// oci-spec reads an unset limit as 0, which is a limit.
fn unset_pids(resources: &mut LinuxResources, text: &str, property: &str) {
    if resources.pids().as_ref().is_some_and(|pids| pids.limit() == 0)
        && raw(text, property).is_none_or(|limit| limit == "null")
    {
        resources.set_pids(None);
    }
}
