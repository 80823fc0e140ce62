// SPDX-License-Identifier: Apache-2.0
//! Hostile configurations, in this process: read and planned as `create` does it, without a
//! panic; and whatever is refused is refused by name. Needs no root.
#![allow(clippy::unwrap_used)]

use std::panic::catch_unwind;
use std::time::Instant;

use integration_test::mutate::{Mutation, complete, mutations};
use libcontainer::bundle::parse_spec;
use libcontainer::plan::caps::CapSet;
use libcontainer::plan::cgroup::{CgroupLayout, Hierarchy};
use libcontainer::plan::problem::Problem;
use libcontainer::plan::{Host, Plan, Request};

fn host(cgroups: CgroupLayout) -> Host {
    Host { euid: 0, egid: 0, capabilities: CapSet(u64::MAX), cgroups }
}

fn v1() -> CgroupLayout {
    let hierarchies = [
        "cpuset",
        "cpu,cpuacct",
        "blkio",
        "memory",
        "devices",
        "freezer",
        "pids",
        "hugetlb",
        "net_cls,net_prio",
        "rdma",
    ]
    .map(|dir| Hierarchy {
        dir: dir.to_owned(),
        controllers: dir.split(',').map(str::to_owned).collect(),
        own: "/".to_owned(),
    });
    CgroupLayout::V1 { hierarchies: hierarchies.into(), unified: None }
}

/// What is wrong with a configuration, as `create` finds it.
fn refusal(text: &str, host: &Host) -> Vec<Problem> {
    let request = Request { id: "web".into(), bundle: "/b".into(), ..Request::default() };
    match parse_spec(text.as_bytes(), "config.json") {
        Err(error) => {
            assert!(!error.to_string().is_empty() && !error.message().contains('\n'));
            error.faults().to_vec()
        }
        Ok(parsed) => Plan::new(&parsed.value, host, &request).err().unwrap_or_default(),
    }
}

/// The steps of a property's name.
fn steps(property: &str) -> Vec<String> {
    let words = property.split(['.', '[', ']', '"']).filter(|word| !word.is_empty());
    words.map(str::to_owned).collect()
}

/// One is part of the other.
fn related(a: &str, b: &str) -> bool {
    steps(a).iter().zip(&steps(b)).all(|(a, b)| a == b) && !b.is_empty()
}

/// What else may be found wrong when this was changed: a property that needs it.
const NEEDED_BY: &[(&str, &str)] = &[
    ("linux.namespaces", "hostname"),
    ("linux.namespaces", "domainname"),
    ("linux.namespaces", "mounts"),
    ("linux.namespaces", "root.readonly"),
    ("linux.namespaces", "process.terminal"),
    ("linux.namespaces", "linux"),
    ("linux.memoryPolicy.nodes", "linux.memoryPolicy.flags"),
    ("linux.resources.memory.limit", "linux.resources.memory.swap"),
    ("linux.seccomp.listenerPath", "linux.seccomp.listenerMetadata"),
    ("process.rlimits[0].hard", "process.rlimits[0].soft"),
];

fn names(mutation: &Mutation, problem: &Problem) -> bool {
    // Of a file that is no configuration at all the place is told by line and column.
    let placed = problem.property.is_empty() && problem.says.contains(" line ");
    let needed =
        |(needed, by): &(&str, &str)| related(needed, &mutation.property) && related(by, &problem.property);
    placed || related(&mutation.property, &problem.property) || NEEDED_BY.iter().any(needed)
}

/// Every second change, on one of two hosts.
fn sweep(half: usize, host: &Host) {
    let begin = Instant::now();
    let whole = complete();
    // What a v2 host cannot do is refused whatever was changed.
    let usual = refusal(&whole.to_string(), host);
    assert!(half == 1 || usual.is_empty(), "the configuration itself is refused: {usual:#?}");
    let all: Vec<Mutation> = mutations(&whole).into_iter().skip(half).step_by(2).collect();
    let (mut refused, mut bad) = (0, Vec::new());
    for mutation in &all {
        let Mutation { property, what, text } = mutation;
        let Ok(mut problems) = catch_unwind(|| refusal(text, host)) else {
            bad.push(format!("{property}: {what}: a panic"));
            continue;
        };
        problems.retain(|problem| !usual.contains(problem));
        refused += usize::from(!problems.is_empty());
        for problem in problems.iter().filter(|problem| !names(mutation, problem)) {
            bad.push(format!("{property}: {what}: {problem}"));
        }
    }
    let took = begin.elapsed();
    println!("{} cases, {refused} refused, {} bad, {took:?}", all.len(), bad.len());
    assert!(all.len() >= 1000 && refused >= 1000, "{} cases, {refused} refused", all.len());
    assert!(bad.is_empty(), "{} bad:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn every_change_of_a_configuration_is_taken_or_refused_by_name() {
    sweep(0, &host(v1()));
}

#[test]
fn every_other_change_on_a_v2_host() {
    sweep(1, &host(CgroupLayout::V2));
}
