// SPDX-License-Identifier: Apache-2.0
//! What would take the host's processes.
#![allow(clippy::unwrap_used)]

use integration_test::{container_test, controllers, skip};
use serde_json::json;

#[test]
fn a_fork_bomb_stays_in_its_limit_and_dies() {
    container_test(|t| {
        if !controllers().iter().any(|name| name == "pids") {
            skip!("this machine has no pids controller");
        }
        let limits = json!({ "pids": { "limit": 30 }, "devices": [{ "allow": false, "access": "rwm" }] });
        // Without a pid namespace nothing but the group holds them together.
        let bundle = t.bundle().namespace("pid", false).set("/linux/resources", limits);
        let out = t.create(&bundle.asks(&["ready", "fork 100", "fork-on 1000000"])).ok();
        t.start().ok();
        t.until("the limit is reached", || out.stdout().contains("EAGAIN"));
        let now = |file| t.limit("pids", file).unwrap().parse::<u32>().unwrap();
        assert!(now("pids.current") <= 30);
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
