// SPDX-License-Identifier: Apache-2.0
//! `linux.intelRdt`: shares of cache and of memory bandwidth (config-linux.md, IntelRdt; the
//! kernel's Documentation/filesystems/resctrl.rst).

use std::fmt;

use oci_spec::runtime::{Linux, LinuxIntelRdt};

use super::problem::Problem;

/// The class of service that a container's processes are put into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rdt {
    /// Its directory's name; none is the root of resctrl, the default class.
    pub class: Option<String>,
    /// The configuration names the class: without any schema it must be there already.
    pub named: bool,
    /// Lines for its schemata, as they are to be written.
    pub schemata: Vec<String>,
    /// A monitoring group of the container's own.
    pub monitoring: bool,
}

impl fmt::Display for Rdt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.class {
            Some(class) => write!(f, "the class of service {class:?}")?,
            None => f.write_str("the default class of service")?,
        }
        if !self.schemata.is_empty() {
            write!(f, " with {}", self.schemata.join(", "))?;
        }
        f.write_str(if self.monitoring { ", and a monitoring group in it" } else { "" })
    }
}

/// What stands beside the classes in the root of resctrl.
const TAKEN: [&str; 5] = [".", "..", "info", "mon_data", "mon_groups"];

pub(super) fn plan(linux: Option<&Linux>, id: &str, problems: &mut Vec<Problem>) -> Option<Rdt> {
    let rdt = linux?.intel_rdt().as_ref()?;
    let named = rdt.clos_id().as_deref().filter(|name| !name.is_empty());
    let class = named.unwrap_or(id);
    if class != "/" && (TAKEN.contains(&class) || class.chars().any(|c| c == '/' || c.is_control())) {
        let hint = "give the name of a directory in resctrl, or \"/\" for the default class";
        problems.push(
            Problem::new("linux.intelRdt.closID", format!("{class:?} cannot be a class of service"))
                .hint(hint),
        );
    }
    Some(Rdt {
        class: (class != "/").then(|| class.to_owned()),
        named: named.is_some(),
        schemata: schemata(rdt, problems),
        monitoring: rdt.enable_monitoring().unwrap_or(false),
    })
}

/// l3CacheSchema, memBwSchema and schemata, in this order: for one resource the last counts.
fn schemata(rdt: &LinuxIntelRdt, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut all = Vec::new();
    let bandwidth = rdt.mem_bw_schema().as_deref().unwrap_or("");
    let mut add = |property: String, text: &str, but: &str| {
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            if !but.is_empty() && line.starts_with(but) {
                continue;
            }
            let domains = line.split_once(':').map_or("", |(_, domains)| domains);
            let whole = domains.split(';').all(|part| part.contains('='));
            if !whole || line.chars().any(char::is_control) {
                problems.push(
                    Problem::new(property.clone(), format!("{line:?} is no schema"))
                        .hint("such as \"L3:0=f;1=f0\" or \"MB:0=50\""),
                );
            }
            all.push(line.to_owned());
        }
    };
    // The specification: with memBwSchema the MB: lines of l3CacheSchema do not count.
    let but = if bandwidth.trim().is_empty() { "" } else { "MB:" };
    add("linux.intelRdt.l3CacheSchema".to_owned(), rdt.l3_cache_schema().as_deref().unwrap_or(""), but);
    add("linux.intelRdt.memBwSchema".to_owned(), bandwidth, "");
    for (n, text) in rdt.schemata().iter().flatten().enumerate() {
        add(format!("linux.intelRdt.schemata[{n}]"), text, "");
    }
    all
}

/// The lines of `update --l3-cache-schema` and `--mem-bw-schema`.
pub fn changed(cache: Option<&str>, bandwidth: Option<&str>) -> Result<Vec<String>, Vec<Problem>> {
    let mut rdt = LinuxIntelRdt::default();
    rdt.set_l3_cache_schema(cache.map(str::to_owned)).set_mem_bw_schema(bandwidth.map(str::to_owned));
    let mut problems = Vec::new();
    let lines = schemata(&rdt, &mut problems);
    if problems.is_empty() { Ok(lines) } else { Err(problems) }
}

/// The first thing that `schemata`, the kernel's lines, say otherwise than `asked`: what it has, and
/// what was asked for.
pub fn mismatch(asked: &[String], schemata: &[String]) -> Option<(String, String)> {
    let parts = |line: &str| -> Option<(String, Vec<(String, String)>)> {
        let (resource, domains) = line.trim().split_once(':')?;
        let domain = |part: &str| part.split_once('=').map(|(id, value)| (plain(id), plain(value)));
        Some((resource.trim().to_owned(), domains.split(';').filter_map(domain).collect()))
    };
    let present: Vec<_> = schemata.iter().filter_map(|line| parts(line)).collect();
    for (resource, domains) in asked.iter().filter_map(|line| parts(line)) {
        for (id, value) in domains {
            let there = present
                .iter()
                .filter(|(other, _)| *other == resource)
                .find_map(|(_, domains)| domains.iter().find(|(other, _)| *other == id));
            if there.is_none_or(|(_, there)| *there != value) {
                let has = there.map_or_else(
                    || format!("no {resource}:{id}"),
                    |(_, there)| format!("{resource}:{id}={there}"),
                );
                return Some((has, format!("{resource}:{id}={value}")));
            }
        }
    }
    None
}

/// Without blanks and leading zeros, which the kernel adds.
fn plain(word: &str) -> String {
    let word = word.trim().to_ascii_lowercase();
    let short = word.trim_start_matches('0');
    if short.is_empty() { "0".to_owned() } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn planned(rdt: Value) -> (Option<Rdt>, Vec<String>) {
        let linux: Linux = serde_json::from_value(json!({ "intelRdt": rdt })).unwrap();
        let mut problems = Vec::new();
        let rdt = plan(Some(&linux), "web", &mut problems);
        (rdt, problems.iter().map(ToString::to_string).collect())
    }

    fn lines(rdt: Value) -> Vec<String> {
        let (rdt, problems) = planned(rdt);
        assert_eq!(problems, [""; 0]);
        rdt.unwrap().schemata
    }

    #[test]
    fn schemas_come_in_order() {
        let all = json!({
            "l3CacheSchema": "L3CODE:0=f\nMB:0=10\nL3DATA:0=f0", "memBwSchema": "MB:0=50;1=60",
            "schemata": ["L2:0=ff", "MB:0=70"],
        });
        assert_eq!(lines(all), ["L3CODE:0=f", "L3DATA:0=f0", "MB:0=50;1=60", "L2:0=ff", "MB:0=70"]);
        // Without memBwSchema a line of l3CacheSchema is as good as any.
        assert_eq!(lines(json!({ "l3CacheSchema": "L3:0=f\nMB:0=10" })), ["L3:0=f", "MB:0=10"]);
    }

    #[test]
    fn a_class_is_named_or_the_containers() {
        let class = |rdt: Value| planned(rdt).0.map(|rdt| (rdt.class, rdt.named, rdt.monitoring));
        assert_eq!(class(json!({})), Some((Some("web".to_owned()), false, false)));
        assert_eq!(class(json!({ "closID": "gold" })), Some((Some("gold".to_owned()), true, false)));
        assert_eq!(class(json!({ "closID": "/", "enableMonitoring": true })), Some((None, true, true)));
    }

    #[test]
    fn what_cannot_be_is_named() {
        for name in ["..", "info", "mon_groups", "a/b", "/a", "a\nb"] {
            let told = planned(json!({ "closID": name })).1;
            assert_eq!(told, [format!("linux.intelRdt.closID: {name:?} cannot be a class of service")]);
        }
        let told =
            planned(json!({ "l3CacheSchema": "L3", "memBwSchema": "MB:50", "schemata": ["L3:0=f;"] })).1;
        assert_eq!(
            told,
            [
                "linux.intelRdt.l3CacheSchema: \"L3\" is no schema",
                "linux.intelRdt.memBwSchema: \"MB:50\" is no schema",
                "linux.intelRdt.schemata[0]: \"L3:0=f;\" is no schema",
            ]
        );
    }

    #[test]
    fn a_class_is_compared_as_the_kernel_writes_it() {
        let strings = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
        let present = strings(&["    MB:0=100;1= 50", "L3:0=00fff;1=f"]);
        let asked = |lines: &[&str]| mismatch(&strings(lines), &present);
        assert_eq!(asked(&["L3:0=fff;1=F", "MB:1=50"]), None);
        assert_eq!(asked(&["L3:1=ff"]), Some(("L3:1=f".to_owned(), "L3:1=ff".to_owned())));
        assert_eq!(asked(&["L2:0=1"]), Some(("no L2:0".to_owned(), "L2:0=1".to_owned())));
    }
}
