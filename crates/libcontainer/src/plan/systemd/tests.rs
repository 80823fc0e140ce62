// SPDX-License-Identifier: Apache-2.0
use super::property::properties;
use super::text::parse;
use super::*;
use crate::plan::resources;

const DEFAULT: Asked<'_> = Asked { cgroups_path: None, id: "id", manager: Manager::System };

fn unit(path: Option<&str>, id: &str, user: bool) -> Result<String, String> {
    let mut problems = Vec::new();
    let manager = if user { Manager::User } else { Manager::System };
    let asked = Asked { cgroups_path: path.map(Path::new), id, manager };
    let scope = asked.scope(&CgroupLayout::V2, &Limits::default(), &None, &mut problems);
    scope.map(|it| it.path()).ok_or_else(|| problems[0].says.clone())
}

#[test]
fn a_path_names_slice_and_unit() {
    for (path, expected) in [
        ("system.slice:engine:web1", "system.slice/engine-web1.scope"),
        (":engine:web1", "system.slice/engine-web1.scope"),
        ("machine.slice::web1", "machine.slice/web1.scope"),
        ("a-b-c.slice:x:y", "a.slice/a-b.slice/a-b-c.slice/x-y.scope"),
        ("-.slice:x:y", "x-y.scope"),
        ("a\\x2db.slice:x:y", "a\\x2db.slice/x-y.scope"),
    ] {
        assert_eq!(unit(Some(path), "id", false).as_deref(), Ok(expected), "{path}");
    }
    assert_eq!(unit(None, "web1", false).as_deref(), Ok("system.slice/soute-web1.scope"));
    assert_eq!(unit(Some(""), "a+b", false).as_deref(), Ok("system.slice/soute-a\\x2bb.scope"));
    assert_eq!(unit(Some(":x:y"), "id", true).as_deref(), Ok("user.slice/x-y.scope"));
}

#[test]
fn a_host_without_cgroup_v2_is_refused() {
    let mut problems = Vec::new();
    DEFAULT.scope(&CgroupLayout::None, &Limits::default(), &None, &mut problems);
    assert_eq!(problems[0].to_string(), "--systemd-cgroup: needs a host with cgroup v2 alone");
}

#[test]
fn other_paths_are_refused() {
    for (path, says) in [
        ("/pods/web1", "is not of the form SLICE:PREFIX:NAME"),
        ("a.slice:web1", "is not of the form"),
        ("a.slice:b:c:d", "is not of the form"),
        ("a.scope:b:c", "does not end in .slice"),
        (".slice:b:c", "has an empty part"),
        ("-a.slice:b:c", "has an empty part"),
        ("a-.slice:b:c", "has an empty part"),
        ("a--b.slice:b:c", "has an empty part"),
        ("a/b.slice:b:c", "is not the name of a slice"),
        ("a.b.slice:b:c", "is not the name of a slice"),
        ("a.slice:b:", "has no name"),
        ("a.slice:b:c.slice", "names a slice"),
        ("a.slice:b:c/d", "is not the name of a unit"),
        ("a.slice:b:c d", "is not the name of a unit"),
    ] {
        let said = unit(Some(path), "id", false).unwrap_err();
        assert!(said.contains(says), "{path}: {said}");
    }
    assert!(unit(Some(&format!(":x:{}", "y".repeat(250))), "id", false).unwrap_err().contains("longer"));
}

/// `NAME=VALUE`, a line each.
fn of(json: &str) -> String {
    let mut problems = Vec::new();
    let resources = serde_json::from_str(json).unwrap();
    let limits = resources::limits(Some(&resources), &CgroupLayout::V2, &mut problems);
    assert_eq!(problems, []);
    lines(&properties(&limits.writes))
}

fn lines(all: &[Property]) -> String {
    all.iter().map(|it| format!("{}={}\n", it.name, it.value)).collect()
}

#[test]
fn limits_become_properties() {
    let text = of(r#"{
        "memory": {"limit": 1048576, "swap": 3145728, "reservation": 4096},
        "cpu": {"shares": 1024, "quota": 12345, "period": 50000, "burst": 10, "cpus": "0-2,9", "mems": "0"},
        "pids": {"limit": 7},
        "blockIO": {"weight": 1000, "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 5},
            {"major": 8, "minor": 16, "rate": 6}], "throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 7}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 1}]
    }"#);
    assert_eq!(
        text,
        "MemorySwapMax=uint64 2097152\n\
         MemoryMax=uint64 1048576\n\
         MemoryLow=uint64 4096\n\
         CPUWeight=uint64 100\n\
         CPUQuotaPerSecUSec=uint64 250000\n\
         CPUQuotaPeriodUSec=uint64 50000\n\
         AllowedCPUs=@ay [0x07, 0x02]\n\
         AllowedMemoryNodes=@ay [0x01]\n\
         TasksMax=uint64 7\n\
         IOWeight=uint64 10000\n\
         IOReadBandwidthMax=[(\"/dev/block/8:0\", uint64 5), (\"/dev/block/8:16\", uint64 6)]\n\
         IOWriteIOPSMax=[(\"/dev/block/8:0\", uint64 7)]\n"
    );
}

#[test]
fn none_and_nothing_are_told_apart() {
    let infinity = "uint64 18446744073709551615";
    let text = of(r#"{"memory": {"limit": -1}, "cpu": {"quota": -1, "idle": 1}, "pids": {"limit": -1}}"#);
    assert_eq!(
        text,
        format!(
            "MemoryMax={infinity}\nCPUQuotaPerSecUSec={infinity}\nCPUQuotaPeriodUSec=uint64 100000\n\
             CPUWeight=uint64 0\nTasksMax={infinity}\n"
        )
        .replacen("MemoryMax", &format!("MemorySwapMax={infinity}\nMemoryMax"), 1)
    );
    // systemd takes no 0 here; the file does.
    assert_eq!(of(r#"{"pids": {"limit": 0}}"#), "TasksMax=uint64 1\n");
    assert_eq!(of(r#"{"cpu": {"idle": 0}}"#), format!("CPUWeight={infinity}\n"));
    assert_eq!(of(r#"{"cpu": {"idle": 0, "shares": 1024}}"#), "CPUWeight=uint64 100\n");
}

#[test]
fn unified_wins_and_unknown_files_have_no_property() {
    let text =
        of(r#"{"memory": {"limit": 1048576}, "unified": {"memory.max": "2097152", "memory.high": "max",
        "memory.oom.group": "1", "io.max": "8:0 rbps=5 wiops=max\n8:16 rbps=6", "io.weight": "default 50",
        "io.latency": "8:0 target=100", "misc.max": "x 1"}}"#);
    let (max, infinity) = ("MemoryMax=uint64 2097152", "uint64 18446744073709551615");
    assert_eq!(
        text,
        format!(
            "{max}\nIODeviceLatencyTargetUSec=[(\"/dev/block/8:0\", uint64 100)]\n\
             IOReadBandwidthMax=[(\"/dev/block/8:0\", uint64 5), (\"/dev/block/8:16\", uint64 6)]\n\
             IOWriteIOPSMax=[(\"/dev/block/8:0\", {infinity})]\nIOWeight=uint64 50\nMemoryHigh={infinity}\n"
        )
    );
}

#[test]
fn devices_are_a_list_that_allows_at_least_as_much() {
    let limits = |json: &str| {
        let resources = serde_json::from_str(json).unwrap();
        resources::limits(Some(&resources), &CgroupLayout::V2, &mut Vec::new())
    };
    let text = |json: &str| lines(&devices(&limits(json)));
    let some = text(
        r#"{"devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
        {"allow": true, "type": "b", "major": 8, "access": "r"}]}"#,
    );
    assert!(some.starts_with("DevicePolicy=\"strict\"\nDeviceAllow=@a(ss) []\n"), "{some}");
    for entry in [
        "(\"/dev/char/10:229\", \"rw\")",
        "(\"block-8\", \"r\")",
        "(\"char-*\", \"m\")",
        "(\"/dev/char/1:3\"",
    ] {
        assert!(some.contains(entry), "{entry}: {some}");
    }
    // All but one: systemd has no list of what is denied, ours has.
    let all = text(r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
    assert_eq!(all, "DevicePolicy=\"auto\"\nDeviceAllow=@a(ss) []\n");
    let odd = text(
        r#"{"devices": [{"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "minor": 3, "access": "r"}]}"#,
    );
    assert!(odd.starts_with("DevicePolicy=\"auto\""), "{odd}");
}

fn annotated(name: &str, value: &str) -> Result<String, String> {
    let map = HashMap::from([(format!("org.systemd.property.{name}"), value.to_owned())]);
    let mut problems = Vec::new();
    let scope = DEFAULT.scope(&CgroupLayout::V2, &Limits::default(), &Some(map), &mut problems).unwrap();
    match problems.pop() {
        Some(problem) => Err(problem.to_string()),
        None => Ok(scope.properties.last().map(|it| format!("{}={}", it.name, it.value)).unwrap()),
    }
}

#[test]
fn annotations_are_properties() {
    for (name, value, expected) in [
        ("TimeoutStopUSec", "uint64 10000000", "TimeoutStopUSec=uint64 10000000"),
        ("TimeoutStopSec", "uint64 10", "TimeoutStopUSec=uint64 10000000"),
        ("TimeoutStopSec", "1.5", "TimeoutStopUSec=uint64 1500000"),
        ("KillSignal", "15", "KillSignal=15"),
        ("CollectMode", "'inactive-or-failed'", "CollectMode=\"inactive-or-failed\""),
        ("After", "['a.service', \"b.service\"]", "After=[\"a.service\", \"b.service\"]"),
        ("Before", "@as []", "Before=@as []"),
        ("SendSIGHUP", "true", "SendSIGHUP=true"),
        ("IOWeight", "@t 0x10", "IOWeight=uint64 16"),
        ("MemoryMax", "uint64 5", "MemoryMax=uint64 5"),
    ] {
        assert_eq!(annotated(name, value).as_deref(), Ok(expected), "{name} {value}");
    }
}

#[test]
fn bad_annotations_are_refused_by_name() {
    for (name, value, says) in [
        ("Slice", "'x.slice'", "Slice is set by the runtime itself"),
        ("PIDs", "[uint32 1]", "PIDs is set by the runtime itself"),
        ("X", "1", "is not the name of a unit's property"),
        ("A-Name", "1", "is not the name of a unit's property"),
        ("TimeoutStopSec", "'10'", "is not a number of seconds"),
        ("TimeoutStopSec", "-1", "is not a number of seconds"),
        ("KillSignal", "SIGTERM", "strings stand in quotes"),
        ("KillSignal", "", "ends where a value should be"),
        ("KillSignal", "15 16", "\"16\" is left over after the value"),
        ("After", "[]", "write @as []"),
        ("After", "['a' 'b']", "a comma or ']' is missing"),
        ("After", "['a", "has no closing quote"),
        ("TimeoutStopUSec", "uint64 -1", "-1 is not of the type uint64"),
        ("TimeoutStopUSec", "uint64 'x'", "\"x\" is not of the type uint64"),
        ("Deep", "[[[[[[[[[1]]]]]]]]]", "more than 8 levels"),
    ] {
        let said = annotated(name, value).unwrap_err();
        assert!(said.contains(says), "{name} {value}: {said}");
        assert!(said.starts_with(&format!("annotations.org.systemd.property.{name}: ")), "{said}");
    }
}

#[test]
fn an_annotation_takes_the_place_of_what_we_would_set() {
    let map = HashMap::from([("org.systemd.property.Description".to_owned(), "'mine'".to_owned())]);
    let scope = DEFAULT.scope(&CgroupLayout::V2, &Limits::default(), &Some(map), &mut Vec::new()).unwrap();
    let all: Vec<_> = scope.properties.iter().filter(|it| it.name == "Description").collect();
    assert_eq!((all.len(), &all[0].value), (1, &Value::str("mine")));
}

#[test]
fn what_is_printed_can_be_read() {
    for text in [
        "true",
        "byte 5",
        "-3",
        "uint64 5",
        "2.5",
        "[(\"a\", uint32 1)]",
        "@a(st) []",
        "(1,)",
        "objectpath \"/a\"",
    ] {
        assert_eq!(parse(text).unwrap().to_string(), text);
    }
}
