// SPDX-License-Identifier: Apache-2.0
//! Any text as config.json, as the file of `exec --process`, and as that of `update --resources`.
#![no_main]

use libcontainer::bundle::{parse_process, parse_resources, parse_spec};
use libcontainer::error::Error;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let told = |error: Error| assert!(!error.to_string().trim().is_empty());
    let _ = parse_spec(data, "config.json").map_err(told);
    let _ = parse_process(data, "process.json").map_err(told);
    let _ = parse_resources(data, "resources.json").map_err(told);
});
