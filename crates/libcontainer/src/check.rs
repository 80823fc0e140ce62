// SPDX-License-Identifier: Apache-2.0
//! check: every fault of a bundle at once, with its place in the file; nothing is done.
#![expect(clippy::disallowed_methods, reason = "paths of the bundle")]

use std::fmt;
use std::path::Path;

use crate::bundle::{Bundle, Severity};
use crate::error::{Call, Result};
use crate::host;
use crate::plan::problem::Problem;
use crate::plan::{Plan, Request};

/// What is wrong with a bundle, and what is merely odd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    text: String,
    ok: bool,
}

impl Report {
    /// Whether create would take the bundle.
    pub fn ok(&self) -> bool {
        self.ok
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Looks a bundle over.
pub fn check(bundle: &Path, config: Option<&Path>) -> Result<Report> {
    let bundle = Bundle::examine(bundle, config)?;
    let request = Request { id: "check".into(), bundle: bundle.dir.clone(), ..Request::default() };
    let host = host::probe(true)?;
    let mut warnings = bundle.warnings();
    let problems = match Plan::new(&bundle.spec, &host, &request) {
        Ok(plan) => {
            warnings.extend(plan.warnings.iter().cloned());
            absent(&plan)
        }
        Err(problems) => problems,
    };
    let faults = bundle.all(problems);
    let mut text = String::new();
    if !faults.is_empty() {
        text += &bundle.annotate(&faults, Severity::Error);
        text += "\n\n";
    }
    if !warnings.is_empty() {
        text += &bundle.annotate(&warnings, Severity::Warning);
        text += "\n\n";
    }
    let count = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    text += &format!("{}, {}\n", count(faults.len(), "fault"), count(warnings.len(), "warning"));
    Ok(Report { text, ok: faults.is_empty() })
}

/// What the plan needs of the host's files and does not find.
fn absent(plan: &Plan) -> Vec<Problem> {
    let mut problems = Vec::new();
    if !plan.rootfs.is_dir() {
        problems.push(
            Problem::new("root.path", format!("there is no directory {}", plan.rootfs.display()))
                .hint("unpack the image there, or name another directory"),
        );
    }
    for source in &plan.sources {
        if let Err(fault) =
            std::fs::symlink_metadata(&source.path).call(|| format!("stat({:?})", source.path))
        {
            problems.push(
                Problem::new(format!("{}.source", source.origin), fault.to_string())
                    .hint("a bind mount's source must exist on the host before create"),
            );
        }
    }
    for (kind, path, n) in &plan.namespaces.joined {
        if std::fs::symlink_metadata(path).is_err() {
            problems.push(Problem::new(
                format!("linux.namespaces[{n}].path"),
                format!("there is no {} namespace at {}", kind.name(), path.display()),
            ));
        }
    }
    problems
}
