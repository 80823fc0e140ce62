// SPDX-License-Identifier: Apache-2.0
//! `org.systemd.property.NAME`: properties of the unit that an engine asks for by annotations.

use std::collections::HashMap;

use super::Property;
use super::text::parse;
use super::value::Value;
use crate::plan::annotations::SYSTEMD_PROPERTY;
use crate::plan::problem::Problem;

/// Without these the unit would not be the container's any more.
const OURS: [&str; 4] = ["Delegate", "PIDs", "Slice", "DefaultDependencies"];

/// What the annotations set, by name.
pub(super) fn properties(
    annotations: Option<&HashMap<String, String>>,
    problems: &mut Vec<Problem>,
) -> Vec<Property> {
    let all = annotations.into_iter().flatten();
    let mut ours: Vec<(&str, &str, &str)> = all
        .filter_map(|(key, text)| Some((key.strip_prefix(SYSTEMD_PROPERTY)?, key.as_str(), text.as_str())))
        .collect();
    ours.sort_unstable();
    let mut found = Vec::new();
    for (name, key, text) in ours {
        let origin = format!("annotations.{key}");
        match property(name, text) {
            Ok((name, value)) => found.push(Property { name, value, origin }),
            Err(says) => {
                problems.push(Problem::new(origin, says).hint(
                    "the value is a GVariant text: true, 15, uint64 5000000, 'a string', ['a', 'list']",
                ))
            }
        }
    }
    found
}

fn property(name: &str, text: &str) -> Result<(String, Value), String> {
    if name.len() < 3 || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(format!("{name:?} is not the name of a unit's property"));
    }
    if OURS.contains(&name) {
        return Err(format!("{name} is set by the runtime itself"));
    }
    let value = parse(text)?;
    // On the bus a time is in microseconds, and its name says so; unit files have seconds.
    match name.strip_suffix("Sec") {
        Some(stem) if stem.ends_with(|c: char| c.is_ascii_lowercase()) => {
            let time = microseconds(&value).ok_or_else(|| format!("{value} is not a number of seconds"))?;
            Ok((format!("{stem}USec"), Value::U64(time)))
        }
        _ => Ok((name.to_owned(), value)),
    }
}

fn microseconds(seconds: &Value) -> Option<u64> {
    let whole = |seconds: u64| seconds.checked_mul(1_000_000);
    match *seconds {
        Value::Byte(it) => whole(it.into()),
        Value::I16(it) => whole(it.try_into().ok()?),
        Value::U16(it) => whole(it.into()),
        Value::I32(it) => whole(it.try_into().ok()?),
        Value::U32(it) => whole(it.into()),
        Value::I64(it) => whole(it.try_into().ok()?),
        Value::U64(it) => whole(it),
        Value::F64(it) if it == f64::INFINITY => Some(u64::MAX),
        Value::F64(it) if (0.0..1e13).contains(&it) => Some((it * 1e6) as u64),
        _ => None,
    }
}
