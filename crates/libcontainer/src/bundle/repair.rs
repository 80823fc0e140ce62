// SPDX-License-Identifier: Apache-2.0
//! When serde has refused a file: name every fault in it, and mend what other runtimes
//! take and oci-spec does not.
//!
//! One walk over the `serde_json::Value` with the table of `schema.rs` does both. What is
//! faulty is replaced by something harmless of the right form, at the same place, so that
//! the rest of the file can be judged too (the caller never runs such a configuration).

use serde_json::{Map, Value};

use super::json::{push_index, push_name};
use super::schema::{Kind, Need, Number, Property, Words};
use crate::plan::problem::Problem;

/// So many faults are enough: a hostile file has millions.
pub(super) const ENOUGH: usize = 100;

/// What a walk has found.
#[derive(Debug, Default)]
pub(super) struct Findings {
    /// The file cannot be used.
    pub faults: Vec<Problem>,
    /// Set aside, as the specification says: unknown capabilities.
    pub ignored: Vec<Problem>,
    /// How many of each are told.
    enough: usize,
}

impl Findings {
    fn fault(&mut self, problem: Problem) {
        if self.faults.len() < self.enough {
            self.faults.push(problem);
        }
    }

    fn ignore(&mut self, problem: Problem) {
        if self.ignored.len() < self.enough {
            self.ignored.push(problem);
        }
    }
}

/// Mends `value`, which is to be a `kind`, and tells what was wrong with it, up to `enough`.
pub(super) fn repair(value: &mut Value, kind: &Kind, enough: usize) -> Findings {
    let mut found = Findings { enough, ..Findings::default() };
    walk(value, kind, &mut String::new(), &mut found);
    found
}

fn walk(value: &mut Value, kind: &Kind, path: &mut String, found: &mut Findings) {
    let says = match (kind, &mut *value) {
        (Kind::Foreign, _) | (Kind::Bool, Value::Bool(_)) | (Kind::Text, Value::String(_)) => return,
        (Kind::Cpus, Value::String(text)) => match cpus(text) {
            Some(list) => {
                *text = list;
                return;
            }
            None => Problem::new(path.as_str(), format!("{} is not a list of CPUs", shown(value)))
                .hint("such as \"0-3,7\""),
        },
        (Kind::Number(number), Value::Number(given)) => {
            let given = given.as_i64().map(i128::from).or_else(|| given.as_u64().map(i128::from));
            match given {
                Some(given) if (number.low..=number.high).contains(&given) => {
                    if given > number.fits {
                        *value = Value::from(i64::MAX);
                    }
                    return;
                }
                _ => not_a(value, kind, path),
            }
        }
        (Kind::Word(words), Value::String(word)) => match known(words, word) {
            Some(name) => {
                if name != word {
                    *word = name.to_owned();
                }
                return;
            }
            None => unknown(words, word, path),
        },
        (Kind::List(inner), Value::Array(list)) => return walk_list(list, inner, path, found),
        (Kind::Map(inner), Value::Object(map)) => {
            for (name, value) in map {
                // Go reads null as the empty value.
                if value.is_null() && matches!(inner, Kind::Text) {
                    *value = Value::from("");
                }
                within(path, |path| push_name(path, name), |path| walk(value, inner, path, found));
            }
            return;
        }
        (Kind::Object(properties), Value::Object(map)) => return walk_object(map, properties, path, found),
        _ => not_a(value, kind, path),
    };
    found.fault(says);
    *value = stand_in(kind);
}

/// Runs `then` with the path one step longer.
fn within(path: &mut String, step: impl FnOnce(&mut String), then: impl FnOnce(&mut String)) {
    let len = path.len();
    step(path);
    then(path);
    path.truncate(len);
}

fn walk_list(list: &mut Vec<Value>, inner: &Kind, path: &mut String, found: &mut Findings) {
    let mut index = 0;
    list.retain_mut(|value| {
        let mut keep = true;
        within(
            path,
            |path| push_index(path, index),
            |path| match (inner, &*value) {
                (Kind::Word(words), Value::String(word))
                    if words.ignore_unknown && known(words, word).is_none() =>
                {
                    found.ignore(Problem::new(
                        path.as_str(),
                        format!("unknown {} {word:?} is ignored", words.what),
                    ));
                    keep = false;
                }
                _ => walk(value, inner, path, found),
            },
        );
        index += 1;
        keep
    });
}

fn walk_object(
    map: &mut Map<String, Value>,
    properties: &[Property],
    path: &mut String,
    found: &mut Findings,
) {
    for property in properties {
        let empty = match map.get(property.name) {
            None | Some(Value::Null) => true,
            // A word that Go marks omitempty: "" is unset.
            Some(Value::String(text)) => {
                text.is_empty()
                    && matches!(property.kind, Kind::Word(_) | Kind::Cpus)
                    && property.need == Need::Optional
            }
            Some(Value::Object(seccomp)) => property.name == "seccomp" && set_aside(seccomp, path, found),
            Some(_) => false,
        };
        if empty || matches!(property.kind, Kind::Foreign) {
            map.remove(property.name);
        }
        within(
            path,
            |path| push_name(path, property.name),
            |path| match map.get_mut(property.name) {
                Some(value) => walk(value, &property.kind, path, found),
                None if property.need == Need::Optional => {}
                None => {
                    if property.need == Need::Required {
                        found.fault(Problem::new(path.as_str(), "must be specified"));
                    }
                    map.insert(property.name.to_owned(), stand_in(&property.kind));
                }
            },
        );
    }
}

/// A profile without a default action and without rules is none: runc takes it so.
fn set_aside(seccomp: &Map<String, Value>, path: &str, found: &mut Findings) -> bool {
    let nothing = |name| match seccomp.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(list)) => list.is_empty(),
        Some(_) => false,
    };
    let none = nothing("defaultAction") && nothing("syscalls");
    if none {
        let mut path = path.to_owned();
        push_name(&mut path, "seccomp");
        found.ignore(Problem::new(path, "an empty profile is ignored: no system call is filtered"));
    }
    none
}

/// "5 is not a string", with the way out where the intention is plain.
fn not_a(value: &Value, kind: &Kind, path: &str) -> Problem {
    let problem = Problem::new(path, format!("{} is not {}", shown(value), expected(kind)));
    match (kind, value) {
        (Kind::Number(number), Value::String(text)) => match text.parse::<i128>() {
            Ok(given) if (number.low..=number.high).contains(&given) => {
                problem.hint(format!("write it without quotes: {given}"))
            }
            _ => problem,
        },
        (Kind::Number(Number { unlimited: true, .. }), Value::Number(given))
            if given.as_i64() == Some(-1) =>
        {
            problem.hint("no limit is 18446744073709551615")
        }
        (Kind::Number(_), Value::Number(given)) => match given.as_f64() {
            Some(float) if given.is_f64() && float.fract() == 0.0 && float.abs() < 1e15 => {
                problem.hint(format!("write it as {float}"))
            }
            _ => problem,
        },
        (Kind::Bool, Value::String(text)) if matches!(text.as_str(), "true" | "false") => {
            problem.hint(format!("write it without quotes: {text}"))
        }
        (Kind::Text, Value::Number(_) | Value::Bool(_)) => {
            problem.hint(format!("write it in quotes: \"{value}\""))
        }
        (Kind::List(Kind::Text | Kind::Word(_)), Value::String(_)) => {
            problem.hint(format!("write it as a list: [{}]", shown(value)))
        }
        (Kind::List(Kind::Object(_)), Value::Object(_)) => problem.hint("put it in brackets: [{…}]"),
        (Kind::Word(words), _) => problem.hint(choice(words)),
        _ => problem,
    }
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Foreign => "anything".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Text | Kind::Cpus => "a string".to_owned(),
        Kind::Number(number) => format!("{}: {} to {}", number.what, number.low, number.high),
        Kind::Word(words) => format!("{} {}", article(words.what), words.what),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) | Kind::Object(_) => "an object".to_owned(),
    }
}

fn article(what: &str) -> &'static str {
    if what.starts_with(['I', 'a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

/// A value in a sentence; long ones are cut.
fn shown(value: &Value) -> String {
    const LONG: usize = 60;
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.chars().count() > LONG => {
            format!(
                "{}…",
                Value::from(text.chars().take(LONG).collect::<String>()).to_string().trim_end_matches('"')
            )
        }
        _ => value.to_string(),
    }
}

/// The name that oci-spec has for a word, if it is a good one.
fn known<'w>(words: &'w Words, word: &'w str) -> Option<&'w str> {
    if let Some((_, theirs)) = words.renamed.iter().find(|(ours, theirs)| [*ours, *theirs].contains(&word)) {
        return Some(theirs);
    }
    let found = if words.ignore_unknown {
        // As oci-spec reads capabilities: any case, with or without the prefix.
        let upper = word.to_uppercase();
        let bare = upper.trim_start_matches("CAP_");
        words.names.iter().any(|name| name.strip_prefix("CAP_") == Some(bare))
    } else {
        words.names.contains(&word)
    };
    found.then_some(word)
}

fn unknown(words: &Words, word: &str, path: &str) -> Problem {
    let problem = Problem::new(path, format!("unknown {} {}", words.what, shown(&Value::from(word))));
    match nearest(word, words.names.iter().copied()) {
        Some(name) if words.names.len() > SHORT => problem.hint(format!("did you mean {name:?}?")),
        Some(name) => problem.hint(format!("did you mean {name:?}? {}", choice(words))),
        None => problem.hint(choice(words)),
    }
}

/// A list of words that one can take in.
const SHORT: usize = 12;

/// "valid: pid, network, …".
fn choice(words: &Words) -> String {
    let names = &words.names[..words.names.len().min(SHORT)];
    let more = if words.names.len() > SHORT { ", …" } else { "" };
    format!("valid: {}{more}", names.join(", "))
}

/// The name that was meant, if one is near enough.
pub(super) fn nearest<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > 64 {
        return None;
    }
    let lower = word.to_lowercase();
    names
        .filter_map(|name| {
            let other = name.to_lowercase();
            let extends = lower.len() >= 3 && (other.starts_with(&lower) || lower.starts_with(&other));
            let distance = if extends || swapped(&lower, &other) { 1 } else { distance(&lower, &other) };
            (distance <= 1 + lower.len().min(other.len()) / 5).then_some((distance, name))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// The same letters in another order.
fn swapped(a: &str, b: &str) -> bool {
    let sorted = |word: &str| {
        let mut bytes = word.as_bytes().to_vec();
        bytes.sort_unstable();
        bytes
    };
    a.len() == b.len() && sorted(a) == sorted(b)
}

/// Levenshtein's distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = i;
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let cost = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = cost.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// "0-3, 7," as other runtimes take it becomes "0-3,7" as oci-spec does.
fn cpus(text: &str) -> Option<String> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut list = String::new();
    for range in text.split(',').map(str::trim).filter(|range| !range.is_empty()) {
        let good = match range.split_once('-') {
            Some((first, last)) => digits(first) && digits(last),
            None => digits(range),
        };
        if !good {
            return None;
        }
        if !list.is_empty() {
            list.push(',');
        }
        list.push_str(range);
    }
    (!list.is_empty()).then_some(list)
}

/// Something harmless that serde accepts for `kind`.
fn stand_in(kind: &Kind) -> Value {
    match kind {
        Kind::Foreign => Value::Null,
        Kind::Bool => Value::from(false),
        Kind::Text => Value::from(""),
        Kind::Cpus => Value::from("0"),
        Kind::Number(number) => Value::from(number.low.max(0) as u64),
        Kind::Word(words) => {
            let first = words.names.first().copied().unwrap_or_default();
            Value::from(known(words, first).unwrap_or_default())
        }
        Kind::List(_) => Value::Array(Vec::new()),
        Kind::Map(_) => Value::Object(Map::new()),
        Kind::Object(properties) => {
            let needed = properties.iter().filter(|property| property.need != Need::Optional);
            Value::Object(
                needed.map(|property| (property.name.to_owned(), stand_in(&property.kind))).collect(),
            )
        }
    }
}

/// The properties that the specification does not know, with the one that may be meant.
pub(super) fn strangers(value: &Value, kind: &Kind) -> Vec<Problem> {
    let mut found = Vec::new();
    find_strangers(value, kind, &mut String::new(), &mut found);
    found
}

fn find_strangers(value: &Value, kind: &Kind, path: &mut String, found: &mut Vec<Problem>) {
    match (kind, value) {
        (Kind::List(inner), Value::Array(list)) => {
            for (index, value) in list.iter().enumerate() {
                within(
                    path,
                    |path| push_index(path, index),
                    |path| find_strangers(value, inner, path, found),
                );
            }
        }
        (Kind::Map(inner), Value::Object(map)) => {
            for (name, value) in map {
                within(path, |path| push_name(path, name), |path| find_strangers(value, inner, path, found));
            }
        }
        (Kind::Object(properties), Value::Object(map)) => {
            for (name, value) in map {
                within(
                    path,
                    |path| push_name(path, name),
                    |path| match properties.iter().find(|property| property.name == name) {
                        Some(property) => find_strangers(value, &property.kind, path, found),
                        None if found.len() >= ENOUGH => {}
                        None => {
                            let problem = Problem::new(path.as_str(), "unknown property is ignored");
                            let free =
                                properties.iter().map(|p| p.name).filter(|name| !map.contains_key(*name));
                            found.push(match nearest(name, free) {
                                Some(meant) => problem.hint(format!("did you mean {meant:?}?")),
                                None => problem,
                            });
                        }
                    },
                );
            }
        }
        _ => {}
    }
}
