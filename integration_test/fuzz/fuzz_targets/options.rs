// SPDX-License-Identifier: Apache-2.0
//! The option words of a mount, with commas between them, after a byte that says of which type it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;

const TYPES: [&str; 7] = ["bind", "tmpfs", "overlay", "proc", "cgroup", "devpts", "none"];

fuzz_target!(|data: &[u8]| {
    let Some((kind, words)) = data.split_first() else { return };
    let words = String::from_utf8_lossy(words);
    let words: Vec<&str> = words.split(',').collect();
    let spec = json!({
        "ociVersion": "1.3.0",
        "root": { "path": "rootfs" },
        "mounts": [{
            "destination": "/m",
            "type": TYPES[usize::from(*kind) % TYPES.len()],
            "source": "/s",
            "options": words,
        }],
        "linux": {
            "namespaces": [{ "type": "mount" }, { "type": "user" }],
            "uidMappings": [{ "containerID": 0, "hostID": 1000, "size": 10 }],
            "gidMappings": [{ "containerID": 0, "hostID": 1000, "size": 10 }],
        },
    });
    soute_fuzz::plan(&serde_json::from_value(spec).expect("of the specification's form"));
});
