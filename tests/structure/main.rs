// SPDX-License-Identifier: Apache-2.0
//! Proves from the sources what docs/architecture.md promises: which way the arrows run,
//! that there are no circles, that `unsafe` lives in `sys/` alone and that `plan/` is pure.
//! The rules are in rules.rs; here they meet the real sources, and made-up ones that break
//! each of them.

mod paths;
mod rules;
mod tokens;

use std::fs;
use std::path::Path;

use rules::Source;

/// Files longer than [`rules::LONGEST`] lines, each with the reason.
const LONG: &[(&str, &str)] = &[];

/// Arrows that close a circle between siblings and may: `(from, to, reason)`. None may
/// lead from one room to another.
const KNOTS: &[(&str, &str, &str)] =
    &[("cli", "commands", "cli.rs finds a verb in the table of verbs; each verb is given the global flags")];

/// Every text file of the project, but for what is built and what belongs to git.
fn project() -> Vec<Source> {
    fn collect(root: &Path, dir: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(dir).expect("the project's directories can be read").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() {
                if !["target", "build", ".git"].iter().any(|skipped| name == *skipped) {
                    collect(root, &path, found);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                let path = path.strip_prefix(root).expect("it was found below the root");
                found.push(Source { path: path.display().to_string(), text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    collect(root, root, &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn none(violations: &[String]) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}

#[test]
fn arrows_run_one_way() {
    let sources = project();
    assert!(rules::arrow_count(&sources) > 0, "no import was found: does the check look in the right place?");
    none(&rules::upward(&sources));
}

#[test]
fn there_are_no_circles() {
    none(&rules::circles(&project(), KNOTS));
}

#[test]
fn unsafe_is_in_sys_alone() {
    none(&rules::unsafe_code(&project()));
}

#[test]
fn plan_is_pure() {
    none(&rules::impure(&project()));
}

#[test]
fn long_files_have_a_reason() {
    none(&rules::long(&project(), LONG));
}

#[test]
fn sources_name_their_licence() {
    none(&rules::licence(&project()));
}

#[test]
fn ignored_tests_have_a_reason() {
    none(&rules::ignored(&project()));
}

#[test]
fn links_lead_somewhere() {
    none(&rules::links(&project()));
}

/// The rules themselves: each must see what it forbids and let pass what it allows.
mod on_made_up_sources {
    use super::rules::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.to_string(), text: text.to_string() }
    }

    /// A library whose arrows are right, with these files in place of its own.
    fn library(changed: &[(&str, &str)]) -> Vec<Source> {
        let mut files = vec![
            ("lib.rs", "pub mod create; pub mod error; pub use error::Error; pub use create::create;"),
            ("create.rs", "use crate::{act::spawn, plan::Plan, sys::fd, Error};"),
            ("act/mod.rs", "pub mod spawn; pub mod rootfs;"),
            ("act/spawn.rs", "use crate::sys::process; use crate::error::Fault; use super::rootfs;"),
            ("act/rootfs.rs", "use crate::sys::fd;"),
            ("error.rs", "use crate::plan::problem::Problem; use crate::sys::errno::describe;"),
            ("plan/mod.rs", "#![forbid(unsafe_code)] mod step; use step::Action; pub struct Host;"),
            ("plan/step.rs", "use super::Host; use std::fmt; use rustix::io::Errno;"),
            ("plan/problem.rs", ""),
            ("sys/mod.rs", ""),
            ("sys/fd.rs", "fn f() { unsafe { } }"),
            ("sys/process.rs", "use super::fd;"),
            ("sys/errno.rs", ""),
        ];
        for (path, text) in changed {
            files.retain(|(p, _)| p != path);
            files.push((path, text));
        }
        files.iter().map(|(path, text)| source(&format!("crates/libcontainer/src/{path}"), text)).collect()
    }

    #[test]
    fn a_right_library_passes() {
        let sources = library(&[]);
        for violations in [upward(&sources), plain_circles(&sources), unsafe_code(&sources), impure(&sources)]
        {
            assert!(violations.is_empty(), "{violations:?}");
        }
        assert!(arrow_count(&sources) >= 10);
    }

    fn breaks(rule: fn(&[Source]) -> Vec<String>, path: &str, text: &str, word: &str) {
        let violations = rule(&library(&[(path, text)]));
        assert!(violations.iter().any(|v| v.contains(path) && v.contains(word)), "{text}: {violations:?}");
    }

    fn keeps(rule: fn(&[Source]) -> Vec<String>, path: &str, text: &str) {
        let violations = rule(&library(&[(path, text)]));
        assert!(violations.is_empty(), "{text}: {violations:?}");
    }

    #[test]
    fn upward_arrows_are_seen() {
        breaks(upward, "plan/step.rs", "use crate::sys::fd;", "plan must not know sys");
        breaks(upward, "plan/step.rs", "use crate::error::Fault;", "plan must not know error");
        breaks(upward, "plan/step.rs", "use crate::Error;", "plan must not know error");
        breaks(upward, "plan/step.rs", "use super::super::sys::fd;", "plan must not know sys");
        breaks(upward, "plan/step.rs", "fn f() { crate::act::spawn::go() }", "plan must not know act");
        breaks(upward, "plan/step.rs", "mod m { use super::super::super::act; }", "plan must not know act");
        breaks(upward, "sys/fd.rs", "use crate::{plan::{self, Plan}};", "sys must not know plan");
        breaks(upward, "sys/fd.rs", "\n\nuse crate::error::Fault;", "fd.rs:3: sys must not know error");
        breaks(upward, "error.rs", "use crate::act::rootfs;", "error must not know act");
        breaks(upward, "act/rootfs.rs", "use crate::create;", "act must not know create");
        breaks(upward, "act/rootfs.rs", "use crate::create as c;", "act must not know create");
        breaks(upward, "act/rootfs.rs", "use libcontainer::create;", "names itself");
    }

    #[test]
    fn ways_round_the_check_are_seen() {
        breaks(upward, "act/rootfs.rs", "use crate::*;", "out of sight");
        breaks(upward, "act/rootfs.rs", "use crate as all;", "out of sight");
        breaks(upward, "act/rootfs.rs", "use super::super as all;", "out of sight");
        breaks(upward, "act/rootfs.rs", "use crate::nowhere::f;", "out of sight");
        breaks(upward, "act/rootfs.rs", "#[path = \"../create.rs\"] mod c;", "path hides");
        breaks(upward, "act/rootfs.rs", "include!(\"x.rs\");", "include hides");
    }

    #[test]
    fn tests_may_look_up_and_sideways() {
        keeps(upward, "plan/step.rs", "#[cfg(test)] mod tests { use crate::create::create; }");
        keeps(impure, "plan/step.rs", "#[cfg(test)] mod tests { use std::fs; }");
        let far = library(&[
            ("plan/mod.rs", "#![forbid(unsafe_code)] #[cfg(test)] mod tests;"),
            ("plan/tests.rs", "use crate::create; use std::fs;"),
        ]);
        assert!(upward(&far).is_empty() && impure(&far).is_empty());
        // The same module without the attribute is part of the product.
        let near = library(&[
            ("plan/mod.rs", "#![forbid(unsafe_code)] mod tests;"),
            ("plan/tests.rs", "use crate::create; use std::fs;"),
        ]);
        assert!(!upward(&near).is_empty() && !impure(&near).is_empty());
    }

    #[test]
    fn a_macro_belongs_to_its_file() {
        let with = |user: &str| {
            let text = "crate::fail!()";
            upward(&library(&[("create.rs", "macro_rules! fail { () => {} }"), (user, text)]))
        };
        assert!(with("lib.rs").is_empty());
        assert!(with("act/rootfs.rs").iter().any(|v| v.contains("act must not know create")));
    }

    #[test]
    fn names_handed_on_belong_to_their_file() {
        let lib = ("lib.rs", "mod create; pub use create::*; pub struct Own;");
        let with = |user: (&'static str, &'static str)| {
            upward(&library(&[lib, ("create.rs", "pub struct Request; pub enum When {}"), user]))
        };
        assert!(with(("kill.rs", "use crate::{Request, When};")).is_empty());
        let low = with(("act/rootfs.rs", "use crate::When;"));
        assert!(low.iter().any(|v| v.contains("act must not know create")), "{low:?}");
        let top = with(("kill.rs", "use crate::Own;"));
        assert!(top.iter().any(|v| v.contains("crate's root")), "{top:?}");
    }

    #[test]
    fn words_in_comments_and_strings_are_not_arrows() {
        keeps(upward, "plan/step.rs", "//! use crate::sys::fd;\nconst A: &str = \"crate::sys::fd\";");
    }

    #[test]
    fn circles_are_seen() {
        let two = library(&[("act/rootfs.rs", "use super::spawn;")]);
        assert!(circles(&two, &[]).iter().any(|v| v.ends_with("act::rootfs -> act::spawn -> act::rootfs")));
        let three = library(&[
            ("exec.rs", "use crate::kill;"),
            ("kill.rs", "use crate::delete::d;"),
            ("delete.rs", "fn f() { crate::exec::run() }"),
        ]);
        let found = circles(&three, &[]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].ends_with("delete -> exec -> kill -> delete"), "{found:?}");
        let below = library(&[
            ("container.rs", "use crate::cgroup::v2::x;"),
            ("cgroup/mod.rs", ""),
            ("cgroup/v2.rs", "use crate::container;"),
        ]);
        assert_eq!(circles(&below, &[]).len(), 1);
    }

    #[test]
    fn an_accepted_circle_passes_while_it_is_there() {
        let two = library(&[("act/rootfs.rs", "use super::spawn;")]);
        let known = [("act::rootfs", "act::spawn", "a reason")];
        assert!(circles(&two, &known).is_empty());
        assert_eq!(circles(&two, &[("act::rootfs", "act::spawn", "")]).len(), 1);
        assert_eq!(circles(&library(&[]), &known).len(), 1);
    }

    #[test]
    fn circles_of_the_binary_are_seen() {
        let binary = |cli| {
            let files = [
                ("src/main.rs", "mod cli; mod commands;"),
                ("src/cli.rs", cli),
                ("src/commands/mod.rs", "pub mod create;"),
                ("src/commands/create.rs", "use crate::cli::Create;"),
            ];
            circles(&files.map(|(path, text)| source(path, text)), &[])
        };
        assert!(binary("").is_empty());
        assert_eq!(binary("use crate::commands::create;").len(), 1);
    }

    fn plain_circles(sources: &[Source]) -> Vec<String> {
        circles(sources, &[])
    }

    #[test]
    fn a_parent_and_its_child_are_no_circle() {
        keeps(
            plain_circles,
            "plan/mod.rs",
            "#![forbid(unsafe_code)] mod step; use self::step::Action; pub struct Host;",
        );
    }

    #[test]
    fn unsafe_is_seen_everywhere_but_in_sys() {
        breaks(unsafe_code, "act/rootfs.rs", "fn f() { unsafe { g() } }", "unsafe");
        breaks(unsafe_code, "create.rs", "#[cfg(test)] mod tests { unsafe fn f() {} }", "unsafe");
        breaks(unsafe_code, "plan/step.rs", "#[unsafe(no_mangle)] fn f() {}", "unsafe");
        assert_eq!(unsafe_code(&[source("src/main.rs", "unsafe impl Send for X {}")]).len(), 1);
        assert_eq!(unsafe_code(&[source("tests/cli.rs", "unsafe {}")]).len(), 1);
        keeps(unsafe_code, "act/rootfs.rs", "#![forbid(unsafe_code)] // unsafe\nconst A: &str = \"unsafe\";");
    }

    #[test]
    fn impurity_is_seen() {
        breaks(impure, "plan/mod.rs", "mod step;", "does not forbid");
        for (text, word) in [
            ("use std::fs;", "std::fs"),
            ("use std::{io, fs::File};", "std::fs::File"),
            ("fn f() { std::fs::read(p) }", "std::fs::read"),
            ("fn f() { std::process::exit(1) }", "std::process"),
            ("use std::os::unix::net::UnixStream;", "std::os::unix::net"),
            ("fn f() { std::env::var(x) }", "std::env"),
            ("use std::time::SystemTime;", "SystemTime"),
            ("use std::*;", "std::*"),
            ("fn f() { File::open(p) }", "File"),
            ("fn f() { libc::getuid() }", "libc::getuid"),
            ("use libc::getuid;", "libc::getuid"),
            ("use libc::*;", "libc::*"),
            ("use libc;", "libc"),
            ("use rustix::mount;", "rustix::mount"),
            ("use rustix::fs::{Mode, openat};", "rustix::fs::openat"),
            ("fn f() { rustix::process::getpid() }", "rustix::process::getpid"),
            ("fn f() { nix::unistd::fork() }", "nix::unistd::fork"),
            ("fn f() { caps::read(None, x) }", "caps::read"),
            ("fn f(p: &Path) -> bool { p.exists() }", "exists"),
            ("fn f(p: &Path) { p.canonicalize() }", "canonicalize"),
        ] {
            breaks(impure, "plan/step.rs", text, word);
        }
    }

    #[test]
    fn purity_passes() {
        for text in [
            "use std::path::{Path, PathBuf}; use std::collections::BTreeMap; use std::time::Duration;",
            "const A: i32 = libc::CLONE_NEWPID; type B = libc::c_int; use libc::{sock_filter, pid_t, SIGKILL};",
            "use rustix::mount::MountFlags; fn f() { rustix::mount::MountPropagationFlags::empty(); Errno::from_raw_os_error(1) }",
            "fn f() { rustix::io::Errno::NOENT; caps::Capability::CAP_KILL; linux_raw_sys::general::CLONE_NEWPID }",
            "// std::fs\nconst A: &str = \"std::fs::read\"; struct S { exists: bool } fn f(s: S) -> bool { s.exists }",
        ] {
            keeps(impure, "plan/step.rs", text);
        }
        // Elsewhere the world may be touched.
        keeps(impure, "act/rootfs.rs", "use std::fs;");
    }

    #[test]
    fn long_files_are_seen() {
        let sources =
            [source("src/a.rs", &"\n".repeat(LONGEST + 1)), source("src/b.rs", &"\n".repeat(LONGEST))];
        assert_eq!(long(&sources, &[]).len(), 1);
        assert!(long(&sources, &[("src/a.rs", "a table")]).is_empty());
        assert_eq!(long(&sources, &[("src/a.rs", "")]).len(), 1);
        assert_eq!(long(&sources, &[("src/a.rs", "a table"), ("src/b.rs", "old")]).len(), 1);
    }

    #[test]
    fn a_missing_licence_is_seen() {
        let spdx = "SPDX-License-Identifier: Apache-2.0";
        assert_eq!(licence(&[source("src/a.rs", "//! a"), source("hack/x", "#!/bin/sh\n\n# y")]).len(), 2);
        assert_eq!(licence(&[source("src/a.rs", &format!("//! a\n\n// {spdx}"))]).len(), 1);
        let right = [
            source("src/a.rs", &format!("// {spdx}\n")),
            source("hack/x", &format!("#!/bin/sh\n# {spdx}\n")),
            source("README.md", "# Soute"),
        ];
        assert!(licence(&right).is_empty());
    }

    #[test]
    fn silence_about_an_ignored_test_is_seen() {
        assert_eq!(ignored(&[source("tests/a.rs", "#[test]\n#[ignore]\nfn f() {}")]).len(), 1);
        assert!(ignored(&[source("tests/a.rs", "#[test]\n#[ignore = \"an hour\"]\nfn f() {}")]).is_empty());
    }

    #[test]
    fn dead_links_are_seen() {
        let outside = ["..", "shared"].join("/");
        let doc = |text: &str| {
            links(&[source("docs/a.md", text), source("README.md", ""), source("src/cli.rs", "")])
        };
        assert!(doc("[r](../README.md) [s](../src) [h](#x) [w](https://x.org) [f](a.md#x)").is_empty());
        assert_eq!(doc("[r](README.md) and [s](../src/clI.rs)").len(), 2);
        assert_eq!(doc(&format!("see {outside}/design")).len(), 1);
        assert_eq!(links(&[source("src/a.rs", &format!("//! {outside}"))]).len(), 1);
    }
}
