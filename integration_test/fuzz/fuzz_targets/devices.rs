// SPDX-License-Identifier: Apache-2.0
//! Device rules: what the program for cgroup v2 decides is what the rules say, and the lines for v1
//! are lines.
#![no_main]

#[path = "../../../crates/libcontainer/src/plan/devices/tests/interpreter.rs"]
mod interpreter;

/// Where the interpreter looks for what it runs.
mod plan {
    pub use libcontainer::plan::devices;
}

use libcontainer::plan::devices::{Access, Kind, allowed, lines, program, rules};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use soute_fuzz::Bytes;

const NUMBERS: [i64; 12] = [-2, -1, 0, 1, 3, 5, 136, 200, 4095, 4096, 1 << 20, i64::MAX];
const ACCESSES: [&str; 10] = ["", "r", "w", "m", "rw", "rm", "wm", "rwm", "rrr", "x"];

fn rule(bytes: &mut Bytes) -> Value {
    let mut rule = json!({ "allow": bytes.byte() % 2 == 0 });
    let has = bytes.byte();
    if has & 1 != 0 {
        rule["type"] = json!(bytes.pick(&["a", "b", "c", "u", "p"]));
    }
    if has & 2 != 0 {
        rule["major"] = json!(bytes.pick(&NUMBERS));
    }
    if has & 4 != 0 {
        rule["minor"] = json!(bytes.pick(&NUMBERS));
    }
    if has & 8 != 0 {
        rule["access"] = json!(bytes.pick(&ACCESSES));
    }
    rule
}

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes(data);
    let mut spec = Vec::new();
    while !bytes.done() && spec.len() < 5000 {
        spec.push(serde_json::from_value(rule(&mut bytes)).expect("of the specification's form"));
    }
    let mut problems = Vec::new();
    let rules = rules(&spec, &mut problems);
    if rules.is_empty() {
        return soute_fuzz::named(&problems);
    }
    let program = program(&rules);
    for kind in [Kind::Block, Kind::Char] {
        for major in [0, 1, 3, 5, 10, 136, 4095] {
            for minor in [0, 1, 3, 5, 200, 1_048_575] {
                for access in (0..8).map(Access) {
                    let verdict = interpreter::run(&program, kind, major, minor, access);
                    assert_eq!(
                        verdict,
                        allowed(&rules, kind, major, minor, access),
                        "{kind:?} {major}:{minor} {access:?}"
                    );
                }
            }
        }
    }
    if let Ok(lines) = lines(&rules) {
        for (file, line) in lines {
            assert!(
                file.starts_with("devices.") && !line.is_empty() && !line.contains('\n'),
                "{file} {line:?}"
            );
        }
    }
});
