// SPDX-License-Identifier: Apache-2.0
//! docs/spec.md is true: every property that the runtime specification has for Linux stands in it,
//! every test that it names is there, and what it says is refused is refused.
#![allow(clippy::unwrap_used)]

mod features;
mod xray;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use libcontainer::bundle::parse_spec;
use libcontainer::plan::caps::CapSet;
use libcontainer::plan::cgroup::CgroupLayout;
use libcontainer::plan::systemd::Manager;
use libcontainer::plan::{Host, Plan, Request};
use oci_spec::runtime::{Features, Spec, State};
use serde_json::{Value, json};

const DEFAULT: &str = include_str!("../../src/commands/spec.json");

/// oci-spec's own words for what the specification calls otherwise.
const RENAMED: &[(&str, &str)] = &[
    ("linux.intelRdt.enableCmt", "linux.intelRdt.enableCMT"),
    ("linux.intelRdt.enableMbm", "linux.intelRdt.enableMBM"),
];

/// A line of a table.
struct Row {
    section: String,
    properties: Vec<String>,
    tests: Vec<String>,
}

/// What stands between backquotes.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// `a.{b,c}.d` is `a.b.d` and `a.c.d`.
fn spelled_out(property: &str) -> Vec<String> {
    let Some((before, rest)) = property.split_once('{') else { return vec![property.to_owned()] };
    let (words, after) = rest.split_once('}').expect("a brace that closes");
    words.split(',').flat_map(|word| spelled_out(&format!("{before}{}{after}", word.trim()))).collect()
}

/// The rows of docs/spec.md.
fn rows() -> Vec<Row> {
    let text = fs::read_to_string(project("docs/spec.md")).unwrap();
    let mut section = String::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            section = title.to_owned();
        }
        let cells: Vec<&str> = line.trim().trim_matches('|').split('|').map(str::trim).collect();
        if !line.starts_with('|') || cells[0] == "property" || cells[0].starts_with("---") {
            continue;
        }
        assert_eq!(cells.len(), 3, "three cells: {line}");
        rows.push(Row {
            section: section.clone(),
            properties: quoted(cells[0]).flat_map(spelled_out).collect(),
            tests: quoted(cells[2]).map(str::to_owned).collect(),
        });
    }
    assert!(rows.len() > 50, "the tables were not found");
    rows
}

fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Every test of the sources, as `file::function`; the file's own name, and those of the
/// directories above it, each do.
fn tests() -> BTreeSet<String> {
    fn collect(dir: &Path, names: &[String], found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            let mut names = names.to_vec();
            names.push(path.file_stem().unwrap().to_string_lossy().into_owned());
            if path.is_dir() {
                collect(&path, &names, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for (_, after) in text.match_indices("#[test]").map(|(at, _)| text.split_at(at)) {
                    let function = after.split("fn ").nth(1).and_then(|rest| rest.split('(').next()).unwrap();
                    found.extend(names.iter().map(|name| format!("{name}::{function}")));
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    for dir in ["integration_test/tests", "tests", "crates/libcontainer/src", "src"] {
        collect(&project(dir), &[], &mut found);
    }
    found
}

/// Every property of the specification's types, as docs/spec.md writes them: a list or a map of
/// texts is its own name.
fn properties() -> Vec<String> {
    let plain = |property: String| {
        let property = property.trim_end_matches("[]").trim_end_matches(".*");
        let renamed = RENAMED.iter().find(|(theirs, _)| *theirs == property);
        renamed.map_or(property, |(_, ours)| ours).to_owned()
    };
    let of_type = |prefix: &str, found: Vec<String>| -> Vec<String> {
        found.into_iter().map(|property| format!("{prefix}{}", plain(property))).collect()
    };
    let mut all = of_type("", xray::properties::<Spec>());
    // oci-spec's own: the specification has them below `linux` alone.
    all.retain(|property| !property.starts_with("uidMappings") && !property.starts_with("gidMappings"));
    all.extend(of_type("state: ", xray::properties::<State>()));
    all.extend(of_type("features: ", xray::properties::<Features>()));
    all
}

/// Whether a row says it: by its name, or `windows.*` for all that is below.
fn tells(row: &Row, property: &str) -> bool {
    row.properties.iter().any(|told| match told.strip_suffix('*') {
        Some(above) => property.starts_with(above),
        None => told == property,
    })
}

#[test]
fn every_property_has_a_row() {
    let (rows, all) = (rows(), properties());
    let missing: Vec<&String> = all.iter().filter(|p| !rows.iter().any(|row| tells(row, p))).collect();
    assert!(missing.is_empty(), "not in docs/spec.md: {missing:#?}");
    for row in &rows {
        for told in &row.properties {
            let one = Row { section: String::new(), properties: vec![told.clone()], tests: Vec::new() };
            assert!(all.iter().any(|p| tells(&one, p)), "the specification has no {told}");
        }
    }
}

#[test]
fn the_question_reaches_every_type() {
    let all = properties();
    for property in [
        "ociVersion",
        "mounts[].uidMappings[].containerID",
        "process.capabilities.ambient",
        "process.execCPUAffinity.final",
        "hooks.poststop[].timeout",
        "linux.seccomp.syscalls[].args[].valueTwo",
        "linux.resources.blockIO.throttleWriteIOPSDevice[].rate",
        "linux.timeOffsets.*.nanosecs",
        "state: annotations",
        "features: linux.seccomp.supportedFlags",
    ] {
        assert!(all.iter().any(|p| p == property), "{property} is not among {all:#?}");
    }
}

#[test]
fn every_row_has_a_test_that_is_there() {
    let tests = tests();
    for row in rows() {
        assert!(!row.properties.is_empty(), "a row of {} without a property", row.section);
        assert!(!row.tests.is_empty(), "{:?} has no test", row.properties);
        for test in &row.tests {
            assert!(tests.contains(test), "{:?}: there is no test {test}", row.properties);
        }
    }
}

#[test]
fn every_test_that_the_security_page_names_is_there() {
    let (tests, text) = (tests(), fs::read_to_string(project("docs/security.md")).unwrap());
    let named: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .flat_map(quoted)
        .filter(|word| word.contains("::"))
        .collect();
    assert!(named.len() > 20, "the table was not found");
    for test in named {
        assert!(tests.contains(test), "there is no test {test}");
    }
}

#[test]
fn no_property_has_two_rows() {
    let mut seen = BTreeMap::new();
    for row in rows() {
        for property in row.properties {
            if let Some(other) = seen.insert(property.clone(), row.section.clone()) {
                panic!("{property} stands in {other:?} and {:?}", row.section);
            }
        }
    }
}

/// A value for each property that is refused as a whole.
fn refused() -> Vec<(&'static str, Value)> {
    vec![("vm", json!({ "kernel": { "path": "/vmlinuz" } }))]
}

/// The plan of the default specification with one property set.
fn plan(property: &str, value: Value) -> Result<Plan, Vec<String>> {
    planned(edited(property, value))
}

/// The default specification with one property set.
fn edited(property: &str, value: Value) -> Value {
    let mut spec: Value = serde_json::from_str(DEFAULT).unwrap();
    let mut at = &mut spec;
    for step in property.split('.') {
        at = match step.strip_suffix("[]") {
            Some(list) => &mut at[list][0],
            None => &mut at[step],
        };
    }
    *at = value;
    spec
}

/// The specification, if it can be read.
fn parsed(spec: &Value) -> Option<Spec> {
    parse_spec(spec.to_string().as_bytes(), "config.json").ok().map(|parsed| parsed.value)
}

fn planned(spec: Value) -> Result<Plan, Vec<String>> {
    plan_of(&parsed(&spec).unwrap())
}

fn plan_of(spec: &Spec) -> Result<Plan, Vec<String>> {
    plan_by(None, spec)
}

/// With the systemd driver where one is named.
fn plan_by(systemd: Option<Manager>, spec: &Spec) -> Result<Plan, Vec<String>> {
    let host = Host { euid: 0, egid: 0, capabilities: CapSet(u64::MAX), cgroups: CgroupLayout::V2 };
    let request = Request { id: "web".into(), bundle: "/b".into(), systemd, ..Request::default() };
    Plan::new(spec, &host, &request).map_err(|problems| problems.into_iter().map(|p| p.property).collect())
}

#[test]
fn what_is_refused_is_refused_by_name() {
    let refused = refused();
    for row in rows().iter().filter(|row| row.section == "Refused") {
        for told in &row.properties {
            let below = |name: &str| {
                told.strip_prefix(name).is_some_and(|rest| rest.starts_with(['.', '[']) || rest.is_empty())
            };
            assert!(refused.iter().any(|(name, _)| below(name)), "{told} has no example");
        }
    }
    for (property, value) in refused {
        let named = property.replace("[]", "[0]");
        let problems = plan(property, value).unwrap_err();
        assert!(problems.iter().any(|p| p.starts_with(&named)), "{property}: {problems:?}");
    }
}

#[test]
fn what_is_ignored_changes_nothing() {
    let plain = plan("hostname", json!("soute")).unwrap();
    for (property, value) in [
        ("process.user.username", json!("ann")),
        ("process.commandLine", json!("cmd")),
        ("solaris", json!({ "milestone": "x" })),
        ("windows", json!({ "hyperv": {} })),
        ("zos", json!({})),
        ("linux.personality", json!({ "domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"] })),
    ] {
        let other = plan(property, value).unwrap();
        assert_eq!(other.steps, plain.steps, "{property}");
    }
}
