// SPDX-License-Identifier: Apache-2.0
//! Files that mean harm, or were cut by accident: never a panic, always a reason.

use super::*;

/// xorshift64*: the same files each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Reads it in every way; each refusal must name something and point somewhere.
fn survives(bytes: &[u8]) -> bool {
    let _ = parse_process(bytes, "process.json");
    let _ = parse_resources(bytes, "-");
    match parse_spec(bytes, CONFIG) {
        Ok(_) => true,
        Err(e) => {
            assert!(!e.faults().is_empty(), "{e}");
            for fault in e.faults() {
                assert!(!fault.says.is_empty(), "{e}");
                assert!(!fault.property.is_empty() || fault.says.contains(" line "), "{fault}");
            }
            assert!(!e.message().contains('\n') && !e.to_string().is_empty());
            false
        }
    }
}

#[test]
fn mutated_bytes() {
    let mut random = Random(0x5074_7465);
    let mut taken = 0;
    let sources = [DEFAULT.as_bytes(), DOCKER.as_bytes()];
    for _ in 0..600 {
        let mut bytes = random.one(&sources).to_vec();
        for _ in 0..1 + random.below(4) {
            let at = random.below(bytes.len());
            match random.below(7) {
                0 => bytes.truncate(at.max(1)),
                1 => bytes[at] = random.next() as u8,
                2 => bytes[at] = *random.one(b"{}[]\",:\\0-9.eE \n"),
                3 => drop(bytes.drain(at..(at + random.below(40)).min(bytes.len()))),
                4 => {
                    let more: Vec<u8> = (0..random.below(40)).map(|_| random.next() as u8).collect();
                    bytes.splice(at..at, more);
                }
                5 => {
                    let end = (at + random.below(200)).min(bytes.len());
                    let copy = bytes[at..end].to_vec();
                    let to = random.below(bytes.len());
                    bytes.splice(to..to, copy);
                }
                _ => {
                    let odd: &&[u8] = random.one(&[
                        b"\\u0000",
                        b"\\ud800",
                        b"\xff\xfe",
                        b"1e999",
                        b"-0",
                        b"null",
                        b"18446744073709551616",
                        b"\"\\",
                        b"\xc3",
                        b"[[[[[[[[",
                        b"{\"\":{\"\":",
                        b"/* x */",
                        b"\xef\xbb\xbf",
                        b"NaN",
                        b"\0",
                    ]);
                    bytes.splice(at..at, odd.iter().copied());
                }
            }
            if bytes.is_empty() {
                bytes.push(b'{');
            }
        }
        taken += usize::from(survives(&bytes));
    }
    assert!((1..500).contains(&taken), "{taken}: the mutations are too tame or too wild");
}

#[test]
fn mutated_values() {
    let mut random = Random(0x6261_6c6c);
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(1.5),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("x"),
        json!("\u{1f4a5}"),
        json!([]),
        json!([null]),
        json!([[]]),
        json!({}),
        json!({"": null}),
        json!({"a": {"b": [1]}}),
        json!("x".repeat(10_000)),
    ];
    let everything = sample(&schema::SPEC);
    let mut taken = 0;
    for round in 0..600 {
        let mut spec =
            if round % 2 == 0 { everything.clone() } else { serde_json::from_str(DEFAULT).unwrap() };
        for _ in 0..1 + random.below(3) {
            replace(&mut spec, &mut random, &odd);
        }
        taken += usize::from(survives(spec.to_string().as_bytes()));
    }
    assert!((1..500).contains(&taken), "{taken}: the mutations are too tame or too wild");
}

/// Puts something odd at a random place.
fn replace(value: &mut Value, random: &mut Random, odd: &[Value]) {
    let deeper = random.below(6) > 0;
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let at = random.below(map.len());
            if let Some(value) = map.values_mut().nth(at) {
                replace(value, random, odd);
            }
        }
        Value::Array(list) if deeper && !list.is_empty() => {
            let at = random.below(list.len());
            replace(&mut list[at], random, odd);
        }
        _ => *value = random.one(odd).clone(),
    }
}

#[test]
fn every_cut_of_the_default() {
    for end in 0..DEFAULT.trim_end().len() {
        assert!(!survives(&DEFAULT.as_bytes()[..end]), "{end}");
    }
}

#[test]
fn large_files_end_in_time() {
    let many = |item: &str, count: usize| vec![item; count].join(",");
    let start = std::time::Instant::now();
    for text in [
        format!("{{\"mounts\": [{}]}}", many("5", 200_000)),
        format!(
            "{{\"annotations\": {{{}}}}}",
            (0..50_000).map(|i| format!("\"k{i}\": {i}")).collect::<Vec<_>>().join(",")
        ),
        format!("{{\"process\": {{\"cwd\": \"{}\", \"user\": 5}}}}", "/x".repeat(1 << 20)),
        format!("{{\"mounts\": [{}]}}", many("5", 2_500_000)),
        "[".repeat(1 << 20),
        "\"\\".repeat(1 << 20),
        format!("{{\"a\": \"{}", "\\u0041".repeat(1 << 18)),
    ] {
        assert!(!survives(text.as_bytes()));
    }
    // Built without optimisation it takes five seconds; something quadratic takes minutes.
    assert!(start.elapsed().as_secs() < 60, "{:?}", start.elapsed());
}
