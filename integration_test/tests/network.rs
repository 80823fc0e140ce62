// SPDX-License-Identifier: Apache-2.0
//! Network devices of the host that become the container's. Each test has a network namespace of its
//! own in the host's place, with pairs of veth devices in it.
#![allow(clippy::unwrap_used)]

use std::process::Command;

use integration_test::{Bundle, Flavor, Out, Test, container_test, differs};
use serde_json::{Value, json};

/// Why there can be no devices here.
fn cannot() -> Option<String> {
    let make = "ip link add name a0 type veth peer name a1";
    let out = Command::new("unshare").args(["--net", "sh", "-c", make]).output();
    match out {
        Ok(out) if out.status.success() => None,
        Ok(out) => Some(format!("no veth devices: {}", String::from_utf8_lossy(&out.stderr).trim())),
        Err(error) => Some(format!("no unshare: {error}")),
    }
}

macro_rules! needs_veth {
    ($t:expr) => {
        if let Some(why) = cannot() {
            integration_test::skip!("{why}");
        }
        differs!($t, Runc, "1.1 knows no netDevices");
        differs!($t, Crun, "1.8 knows no netDevices");
    };
}

/// Runs the bundle where these commands of ip(8) were given before.
fn run_after(t: &Test, commands: &[&str], bundle: &Bundle) -> Out {
    let commands: String = commands.iter().map(|command| format!("ip {command} && ")).collect();
    t.before(&["unshare", "--net", "sh", "-c", &format!("{commands}exec \"$0\" \"$@\"")]);
    t.run(bundle)
}

const DEVICES: &[&str] = &[
    "link add name a0 type veth peer name a1",
    "link set a0 mtu 1400 address 02:00:00:00:00:0a",
    "addr add 10.1.2.3/24 broadcast 10.1.2.255 dev a0",
    "addr add fd00::5/64 dev a0 nodad",
    "link set a0 up",
];

const INET6: &str = "read /proc/net/if_inet6";
const ROUTES: &str = "read /proc/net/route";

fn text<'a>(answers: &'a Value, question: &str) -> &'a str {
    answers[question].as_str().unwrap_or_default()
}

#[test]
fn a_device_moves_with_its_addresses() {
    container_test(|t| {
        needs_veth!(t);
        let bundle = t.bundle().set("/linux/netDevices", json!({ "a0": { "name": "lan" } }));
        let questions =
            ["interfaces", "read /sys/class/net/lan/mtu", "read /sys/class/net/lan/address", INET6, ROUTES];
        let a = run_after(t, DEVICES, &bundle.asks(&questions)).ok().answers();
        let mut interfaces: Vec<&str> =
            a["interfaces"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        interfaces.retain(|name| *name == "lan" || name.starts_with('a'));
        assert_eq!(interfaces, ["lan"]);
        assert_eq!(text(&a, "read /sys/class/net/lan/mtu").trim(), "1400");
        assert_eq!(text(&a, "read /sys/class/net/lan/address").trim(), "02:00:00:00:00:0a");
        assert!(text(&a, INET6).contains("fd000000000000000000000000000005"), "{a}");
        // The route to 10.1.2.0 is there once the device has its address and is up.
        let route = text(&a, ROUTES).lines().find(|line| line.starts_with("lan\t")).unwrap_or_default();
        assert!(route.starts_with("lan\t0002010A\t"), "{a}");
    });
}

#[test]
fn a_device_keeps_its_name_without_another() {
    container_test(|t| {
        needs_veth!(t);
        let bundle = t.bundle().set("/linux/netDevices", json!({ "a0": {}, "a1": {} }));
        let a = run_after(t, DEVICES, &bundle.asks(&["interfaces", ROUTES])).ok().answers();
        for name in ["a0", "a1", "lo"] {
            assert!(a["interfaces"].as_array().unwrap().contains(&json!(name)), "{a}");
        }
        assert!(text(&a, ROUTES).contains("a0\t0002010A"), "{a}");
    });
}

#[test]
fn a_device_in_a_user_namespace() {
    container_test(|t| {
        needs_veth!(t);
        let bundle = t.bundle().userns().set("/linux/netDevices", json!({ "a0": { "name": "lan" } }));
        let a = run_after(t, DEVICES, &bundle.asks(&["interfaces", ROUTES])).ok().answers();
        assert!(a["interfaces"].as_array().unwrap().contains(&json!("lan")), "{a}");
        assert!(text(&a, ROUTES).contains("lan\t0002010A"), "{a}");
    });
}

#[test]
fn the_hooks_find_it_in_the_container() {
    container_test(|t| {
        needs_veth!(t);
        let log = t.scratch("log");
        let hook = format!("cat /proc/net/dev > {}", log.display());
        let bundle = t.bundle().set("/linux/netDevices", json!({ "a0": {} })).hook("createContainer", &hook);
        run_after(t, DEVICES, &bundle.asks(&["pid"])).ok();
        let seen = std::fs::read_to_string(log).unwrap();
        assert!(seen.contains("a0:") && !seen.contains("a1:"), "{seen}");
    });
}

#[test]
fn devices_that_cannot_be_moved_are_errors() {
    container_test(|t| {
        needs_veth!(t);
        let with = |devices: Value| t.bundle().set("/linux/netDevices", devices).asks(&["pid"]);
        for (devices, property) in [
            (json!({ "a7": {} }), "linux.netDevices.a7\n       RTM_GETLINK(a7): no such device (ENODEV)"),
            (json!({ "lo": { "name": "lo1" } }), "linux.netDevices.lo"),
            (json!({ "a0": { "name": "lo" } }), "linux.netDevices.a0"),
            (json!({ "a0": { "name": "x" }, "a1": { "name": "x" } }), "linux.netDevices.a1.name: "),
            (json!({ "a0": { "name": "a/b" } }), "linux.netDevices.a0.name: "),
            (json!({ "a0": { "name": "sixteen-letters0" } }), "linux.netDevices.a0.name: "),
        ] {
            let says = run_after(t, DEVICES, &with(devices)).fails();
            if t.flavor() == Flavor::Soute {
                assert!(says.contains(property), "{property}: {says}");
            }
        }
        // What is refused stays as it was.
        let bundle = with(json!({ "a0": { "name": "lo" } }));
        bundle.save();
        let made: String = DEVICES.iter().map(|command| format!("ip {command} && ")).collect();
        let run = made + "\"$0\" \"$@\"; ip addr show a0";
        t.before(&["unshare", "--net", "sh", "-c", &run]);
        let shown = t.run(&bundle).stdout();
        assert!(shown.contains("10.1.2.3/24") && shown.contains(",UP"), "{shown}");
        let says = run_after(t, DEVICES, &with(json!({ "a0": {} })).namespace("network", false)).fails();
        assert!(says.contains("network namespace"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
