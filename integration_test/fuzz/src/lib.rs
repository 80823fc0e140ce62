// SPDX-License-Identifier: Apache-2.0
//! What the fuzz targets share: how bytes become values, configurations and hosts.

use libcontainer::plan::caps::CapSet;
use libcontainer::plan::cgroup::{CgroupLayout, Hierarchy};
use libcontainer::plan::problem::Problem;
use libcontainer::plan::systemd::Manager;
use libcontainer::plan::{Host, Plan, Request};
use oci_spec::runtime::Spec;
use serde_json::{Value, json};

/// A configuration with every property that a Linux container can have.
pub fn complete() -> Value {
    serde_json::from_str(include_str!("../../data/complete.json")).expect("the project's own file")
}

/// The input, taken from its front; zeros once it has come to its end.
pub struct Bytes<'a>(pub &'a [u8]);

impl Bytes<'_> {
    /// Whether all has been taken.
    pub fn done(&self) -> bool {
        self.0.is_empty()
    }

    /// One byte.
    pub fn byte(&mut self) -> u8 {
        self.number(1) as u8
    }

    /// A number of so many bytes.
    pub fn number(&mut self, bytes: usize) -> u64 {
        let (front, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        front.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.number(2) as usize % all.len()]
    }

    /// A number that is likely to be at an edge.
    pub fn edge(&mut self) -> u64 {
        let base = self.pick(&[0, 7, 1 << 31, 1 << 32, 1 << 63, u64::MAX]);
        match self.byte() {
            255 => self.number(8),
            offset => base.wrapping_add((offset as i8 / 32) as u64),
        }
    }

    /// Up to the next zero byte.
    pub fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(self.0.len());
        let text = String::from_utf8_lossy(&self.0[..end]).into_owned();
        self.0 = &self.0[(end + 1).min(self.0.len())..];
        text
    }

    /// What is put in the place of `old`; `whole` is where to look for more.
    fn value(&mut self, old: &Value, whole: &Value, places: &[String]) -> Value {
        let other = |bytes: &mut Self| {
            let place = &places[bytes.number(2) as usize % places.len()];
            whole.pointer(place).cloned().unwrap_or_default()
        };
        match self.byte() % 12 {
            0 => Value::Null,
            1 => json!(self.byte() % 2 == 0),
            2 => json!(self.byte()),
            3 => json!(self.edge()),
            4 => json!(self.edge() as i64),
            5 | 6 => json!(self.text()),
            7 => json!(format!("{}{}", old.as_str().unwrap_or_default(), self.text())),
            8 => other(self),
            9 => json!([other(self), old]),
            10 => json!({ self.text(): old }),
            _ => match old {
                Value::Array(list) => json!(list.iter().chain(list.last()).collect::<Vec<_>>()),
                Value::Object(map) => {
                    let mut map = map.clone();
                    let value = other(self);
                    map.insert(self.text(), value);
                    Value::Object(map)
                }
                other => json!([other]),
            },
        }
    }
}

/// A configuration: the input itself where it begins like one, else the complete one, changed as the
/// input says.
pub fn config(data: &[u8]) -> String {
    if data.first() == Some(&b'{') {
        return String::from_utf8_lossy(data).into_owned();
    }
    let (mut whole, mut bytes) = (complete(), Bytes(data));
    let mut places = Vec::new();
    collect(&whole, String::new(), &mut places);
    while !bytes.done() {
        let place = &places[bytes.number(2) as usize % places.len()];
        if let Some(old) = whole.pointer(place) {
            let new = bytes.value(old, &whole, &places);
            *whole.pointer_mut(place).expect("it was just there") = new;
        }
        if whole.to_string().len() > 1 << 16 {
            break;
        }
    }
    whole.to_string()
}

/// The JSON pointers of all that is below a value.
fn collect(value: &Value, pointer: String, places: &mut Vec<String>) {
    let mut below = |step: &str, value: &Value| {
        let pointer = format!("{pointer}/{}", step.replace('~', "~0").replace('/', "~1"));
        collect(value, pointer.clone(), places);
        places.push(pointer);
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| below(name, value)),
        Value::Array(list) => list.iter().enumerate().for_each(|(n, value)| below(&n.to_string(), value)),
        _ => {}
    }
}

/// The hosts that plans are made for: v2, hybrid, and an ordinary user's.
fn hosts() -> [Host; 3] {
    let all = CapSet((1 << 41) - 1);
    let root = |cgroups| Host { euid: 0, egid: 0, capabilities: all, cgroups };
    let hierarchy = |dir: &str| Hierarchy {
        dir: dir.into(),
        controllers: dir.split(',').map(str::to_owned).collect(),
        own: "/".into(),
    };
    let dirs = ["cpu,cpuacct", "cpuset", "memory", "pids", "devices", "blkio", "freezer", "net_cls,net_prio"];
    let hybrid = CgroupLayout::V1 {
        hierarchies: dirs.map(hierarchy).into(),
        unified: Some(Hierarchy { dir: "unified".into(), controllers: Vec::new(), own: "/".into() }),
    };
    let user = Host { euid: 1000, egid: 1000, capabilities: CapSet(0), cgroups: CgroupLayout::V2 };
    [root(CgroupLayout::V2), root(hybrid), user]
}

/// Plans for every host. A plan can be told, as `explain` does; a refusal says what is refused, and
/// why.
pub fn plan(spec: &Spec) {
    for host in hosts() {
        for systemd in [None, Some(Manager::System)] {
            let request = Request {
                id: "web".into(),
                bundle: "/bundles/web".into(),
                systemd,
                keyring: Some("5afe".into()),
                ..Request::default()
            };
            match Plan::new(spec, &host, &request) {
                Ok(plan) => {
                    assert!(!libcontainer::explain_plan(&plan, "config.json").is_empty());
                }
                Err(problems) => named(&problems),
            }
        }
    }
}

/// Every problem names its property and says something.
pub fn named(problems: &[Problem]) {
    assert!(!problems.is_empty(), "refused, and nothing said");
    for problem in problems {
        assert!(!problem.property.is_empty() && !problem.says.is_empty(), "{problem:?}");
    }
}
