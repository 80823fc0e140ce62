// SPDX-License-Identifier: Apache-2.0
//! A configuration with every property, changed in a few places: plan or refusal.
#![no_main]

use libcontainer::bundle::parse_spec;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let text = soute_fuzz::config(data);
    match parse_spec(text.as_bytes(), "config.json") {
        Ok(parsed) => soute_fuzz::plan(&parsed.value),
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
});
