// SPDX-License-Identifier: Apache-2.0
//! Hostile configurations: one that has every property, changed at each of its places in each of
//! many ways.

use serde_json::{Value, json};

/// A changed configuration.
pub struct Mutation {
    /// What was changed, as messages name it: `mounts[3].options[0]`.
    pub property: String,
    /// How.
    pub what: String,
    /// The whole file.
    pub text: String,
}

/// A configuration with every property that a Linux container can have, on a v1 host.
pub fn complete() -> Value {
    serde_json::from_str(include_str!("../data/complete.json")).expect("the project's own file")
}

/// A text that cannot stand in the configuration by itself; replaced after it was written out.
const HERE: &str = "\u{1}here\u{1}";

/// How a place is changed: what is put there, as JSON text.
fn replacements(value: &Value) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = [
        "null",
        "true",
        "0",
        "-1",
        "1.5",
        "-0.0",
        "4294967296",
        "9223372036854775808",
        "18446744073709551615",
        "-9223372036854775808",
        "1e308",
        "\"\"",
        "\"x\"",
        "\"1\"",
        "\"/../../etc\"",
        "\" \"",
        "\"a\\u0000b\"",
        "\"a\\nb\"",
        "\"\\u202e\\u001b[2J\"",
        "[]",
        "{}",
        "[null]",
        "[[]]",
        "{\"\":0}",
        "{\"a\":{\"b\":[]}}",
    ]
    .map(|text| (text.to_owned(), text.to_owned()))
    .into();
    all.push(("a text of 10,000 bytes".to_owned(), format!("\"{}\"", "y".repeat(10_000))));
    all.push(("a list 200 deep".to_owned(), format!("{}{}", "[".repeat(200), "]".repeat(200))));
    all.push(("an object 60 deep".to_owned(), format!("{}0{}", "{\"a\":".repeat(60), "}".repeat(60))));
    if let Value::Array(list) = value
        && let Some(first) = list.first()
    {
        let twice: Vec<&Value> = list.iter().chain([first]).collect();
        all.push(("the first element once more".to_owned(), json!(twice).to_string()));
        all.push(("300 times the first element".to_owned(), json!(vec![first; 300]).to_string()));
    }
    // What is there already is no change.
    all.retain(|(_, text)| serde_json::from_str::<Value>(text).ok().as_ref() != Some(value));
    all
}

/// Every change at every place.
pub fn mutations(whole: &Value) -> Vec<Mutation> {
    let mut places = Vec::new();
    collect(whole, "", "", &mut places);
    let mut all = Vec::new();
    for (pointer, property) in places {
        let value = whole.pointer(&pointer).expect("a place that was found");
        let mut marked = whole.clone();
        if let Some(place) = marked.pointer_mut(&pointer) {
            *place = json!(HERE);
        }
        let marked = marked.to_string();
        let here = json!(HERE).to_string();
        let mut add =
            |what: String, text: String| all.push(Mutation { property: property.clone(), what, text });
        for (what, text) in replacements(value) {
            add(what, marked.replace(&here, &text));
        }
        let (parent, key) = pointer.rsplit_once('/').expect("a place has a parent");
        let mut without = whole.clone();
        match without.pointer_mut(parent) {
            Some(Value::Object(parent)) => {
                let key = key.replace("~1", "/").replace("~0", "~");
                parent.remove(&key);
                add("absent".to_owned(), without.to_string());
                let again = format!("{here},{}:{value}", json!(key));
                add("twice".to_owned(), marked.replace(&here, &again.replace(&here, &value.to_string())));
            }
            Some(Value::Array(parent)) => {
                parent.remove(key.parse().expect("an index"));
                add("absent".to_owned(), without.to_string());
            }
            _ => {}
        }
    }
    all
}

/// All places below a value: the JSON pointer, and the name in messages.
fn collect(value: &Value, pointer: &str, property: &str, places: &mut Vec<(String, String)>) {
    let mut below = |step: &str, property: String, value: &Value| {
        let pointer = format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"));
        places.push((pointer.clone(), property.clone()));
        collect(value, &pointer, &property, places);
    };
    match value {
        Value::Object(map) => {
            for (name, value) in map {
                let dot = if property.is_empty() { "" } else { "." };
                below(name, format!("{property}{dot}{name}"), value);
            }
        }
        Value::Array(list) => {
            for (n, value) in list.iter().enumerate() {
                below(&n.to_string(), format!("{property}[{n}]"), value);
            }
        }
        _ => {}
    }
}
