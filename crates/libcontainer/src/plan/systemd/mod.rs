// SPDX-License-Identifier: Apache-2.0
//! The unit that systemd makes for a container: its slice, its name, its properties.
//!
//! With the systemd driver `linux.cgroupsPath` is `SLICE:PREFIX:NAME`, and the container's group
//! is that of the unit `PREFIX-NAME.scope`. Its limits are properties of the unit, so that systemd
//! knows them and does not undo them; what systemd has no property for is written to the group.

mod annotation;
mod property;
mod text;
pub mod value;

use std::collections::HashMap;
use std::path::Path;

use self::value::Value;
use super::cgroup::{CGROUPS_PATH, CgroupLayout};
use super::problem::Problem;
use super::resources::Limits;

pub use self::property::{devices, properties};

/// systemd.unit(5): a name has at most 255 bytes.
const LONGEST: usize = 255;

/// Which systemd makes the unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// The system's.
    System,
    /// The user's own.
    User,
}

/// One property of the unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// `MemoryMax`
    pub name: String,
    /// Its value.
    pub value: Value,
    /// The property of the configuration that it comes from.
    pub origin: String,
}

/// A transient scope unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Scope {
    /// `machine.slice`
    pub slice: String,
    /// `libpod-web1.scope`
    pub name: String,
    /// Whether the user's own systemd makes it.
    pub user: bool,
    /// What else is set when it is made.
    pub properties: Vec<Property>,
}

/// What names the unit.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `linux.cgroupsPath`
    pub cgroups_path: Option<&'a Path>,
    /// The container's.
    pub id: &'a str,
    /// Who makes it.
    pub manager: Manager,
}

impl Asked<'_> {
    /// The unit with its properties; on cgroup v1 limits are in other words, which we do not know.
    pub fn scope(
        &self,
        layout: &CgroupLayout,
        limits: &Limits,
        annotations: &Option<HashMap<String, String>>,
        problems: &mut Vec<Problem>,
    ) -> Option<Scope> {
        if *layout != CgroupLayout::V2 {
            problems.push(
                Problem::new("--systemd-cgroup", "needs a host with cgroup v2 alone")
                    .hint("boot with systemd.unified_cgroup_hierarchy=1, or leave it out"),
            );
        }
        let (id, user) = (self.id, self.manager == Manager::User);
        let (slice, name) = match names(self.cgroups_path, id, user) {
            Ok(names) => names,
            Err(problem) => {
                problems.push(problem);
                return None;
            }
        };
        let own = |name: &str, value| Property { name: name.to_owned(), value, origin: "default".to_owned() };
        let mut all = vec![own("Description", Value::str(format!("soute container {id}")))];
        all.push(own("Slice", Value::str(slice.as_str())));
        // Without them a unit is stopped with the system's others, before its engine is asked.
        all.push(own("DefaultDependencies", Value::Bool(false)));
        all.push(own("Delegate", Value::Bool(true)));
        for what in ["CPU", "IO", "Memory", "Tasks"] {
            all.push(own(&format!("{what}Accounting"), Value::Bool(true)));
        }
        all.extend(properties(&limits.writes));
        // A user's systemd may load no device program.
        if !user {
            all.extend(devices(limits));
        }
        for asked in annotation::properties(annotations.as_ref(), problems) {
            all.retain(|it| it.name != asked.name);
            all.push(asked);
        }
        Some(Scope { slice, name, user, properties: all })
    }
}

impl Scope {
    /// The unit's group, from the manager's own: `machine.slice/libpod-web1.scope`.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for (at, _) in self.slice.match_indices(['-', '.']) {
            // `-.slice` is the root.
            if at > 0 && self.slice != "-.slice" {
                path.push_str(&format!("{}.slice/", &self.slice[..at]));
            }
        }
        path.push_str(&self.name);
        path
    }
}

/// The slice and the unit's name.
fn names(cgroups_path: Option<&Path>, id: &str, user: bool) -> Result<(String, String), Problem> {
    let default = if user { "user.slice" } else { "system.slice" };
    let path = match cgroups_path {
        Some(path) if !path.as_os_str().is_empty() => path,
        // Only here is the name our own; in others a letter that systemd refuses is the caller's fault.
        _ => return Ok((default.to_owned(), format!("soute-{}.scope", escape(id)))),
    };
    let problem = |says: String| Problem::new(CGROUPS_PATH, says);
    let text = path.to_string_lossy();
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        return Err(problem(format!("{text:?} is not of the form SLICE:PREFIX:NAME")).hint(
            "with the systemd driver write it as in system.slice:engine:web1, or leave --systemd-cgroup out",
        ));
    };
    let slice = if slice.is_empty() { default } else { slice };
    if let Some(fault) = slice_fault(slice) {
        return Err(problem(format!("the slice {slice:?} {fault}")).hint("as in machine.slice or a-b.slice"));
    }
    if name.is_empty() {
        return Err(problem(format!("{text:?} has no name after its last colon")));
    }
    if name.ends_with(".slice") {
        return Err(problem(format!("{name:?} names a slice, which holds no processes"))
            .hint("leave the ending out: a container is a scope in the slice that stands first"));
    }
    let unit = if prefix.is_empty() { format!("{name}.scope") } else { format!("{prefix}-{name}.scope") };
    if !unit.bytes().all(is_valid) {
        return Err(problem(format!("{unit:?} is not the name of a unit")).hint(
            "it has letters, digits and : - _ . \\ (systemd.unit(5)); systemd-escape(1) writes others",
        ));
    }
    if unit.len() > LONGEST {
        return Err(problem(format!("{unit:?} is longer than a unit's name may be ({LONGEST} bytes)")));
    }
    Ok((slice.to_owned(), unit))
}

fn slice_fault(slice: &str) -> Option<&'static str> {
    let Some(stem) = slice.strip_suffix(".slice") else { return Some("does not end in .slice") };
    if stem == "-" {
        return None;
    }
    if stem.is_empty() || stem.starts_with('-') || stem.ends_with('-') || stem.contains("--") {
        return Some("has an empty part: dashes stand between the names of slices");
    }
    // A dot would be a type of unit in the middle of the name.
    let plain = stem.bytes().all(|byte| is_valid(byte) && byte != b'.');
    if !plain || slice.len() > LONGEST { Some("is not the name of a slice") } else { None }
}

fn is_valid(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte)
}

/// As systemd-escape(1) writes what no unit's name can have.
fn escape(id: &str) -> String {
    let mut text = String::new();
    for byte in id.bytes() {
        match byte.is_ascii_alphanumeric() || b"-_.".contains(&byte) {
            true => text.push(byte.into()),
            false => text.push_str(&format!("\\x{byte:02x}")),
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
