// SPDX-License-Identifier: Apache-2.0
//! The text of every plan, as `soute explain` prints it.

use std::fs;
use std::path::{Path, PathBuf};

use libcontainer::explain_plan;
use libcontainer::plan::step::Step;

use crate::bundles::{all, executions};
use crate::diff::diff;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/text").join(format!("{name}.txt"))
}

/// Without what would change in many lines for one reason: the number of a step, since a new step
/// renumbers all that follow, and the length of a filter, which depends on the machine's architecture.
fn plain(text: &str) -> String {
    let digit = |c: char| c.is_ascii_digit();
    let plain_line = |line: &str| {
        let (before, rest) = line.split_at(line.len().min(4));
        let line = match before.trim_start().chars().all(digit) && !before.trim().is_empty() {
            true => format!("   -{rest}"),
            false => line.to_owned(),
        };
        match line.split_once("seccomp filter (") {
            Some((before, rest)) => format!("{before}seccomp filter (N{}\n", rest.trim_start_matches(digit)),
            None => line + "\n",
        }
    };
    text.lines().map(plain_line).collect()
}

/// Holds each text against its file, or writes the file.
fn hold(texts: Vec<(&str, String)>) {
    let mut differences = Vec::new();
    for (name, text) in texts {
        let (path, text) = (file(name), plain(&text));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&path, &text).unwrap();
            continue;
        }
        let blessed = fs::read_to_string(&path).unwrap_or_default();
        if blessed != text {
            differences.push(format!("{name}:\n{}", diff(&blessed, &text)));
        }
    }
    let hint = "if that is what is meant: BLESS=1 cargo test --test plans, and look at git diff";
    assert!(differences.is_empty(), "\n{}\n{hint}", differences.join("\n"));
}

#[test]
fn create() {
    hold(all().iter().map(|case| (case.name, explain_plan(&case.plan(), "config.json"))).collect());
}

fn lines(steps: &[Step]) -> String {
    steps.iter().map(|step| format!("{:29} {}\n", step.origin, step.action)).collect()
}

#[test]
fn exec() {
    hold(executions().iter().map(|(name, plan)| (*name, lines(&plan.steps))).collect());
}

/// A file that no bundle is named after would never be looked at again.
#[test]
fn every_file_has_its_bundle() {
    let mut names: Vec<_> = all().iter().map(|case| case.name).collect();
    names.extend(executions().iter().map(|(name, _)| *name));
    for entry in fs::read_dir(file("x").parent().unwrap()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert!(names.contains(&name), "{} belongs to no bundle", path.display());
    }
}

/// What the specification of `soute spec` does can be read on one screen or two.
#[test]
fn the_default_fits() {
    for case in all() {
        let text = explain_plan(&case.plan(), "config.json");
        for line in text.lines() {
            assert!(line.chars().count() <= 120, "{}: {line}", case.name);
            assert!(!line.ends_with(' '), "{}: {line:?}", case.name);
        }
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{}: {text:?}", case.name);
        let count = text.lines().count();
        assert!(count <= 100, "{}: {count} lines", case.name);
    }
}

/// The number of a step is that of the list: the second line of init is step 2, wherever it stands.
#[test]
fn steps_are_numbered() {
    for case in all() {
        let plan = case.plan();
        let text = explain_plan(&plan, "config.json");
        let number = |line: &str| line.get(..4)?.trim().parse::<usize>().ok();
        let numbers: Vec<usize> = text.lines().filter_map(number).collect();
        assert_eq!(numbers, (1..=plan.steps.len()).collect::<Vec<_>>(), "{}", case.name);
    }
}

/// The lines of init, in a reader's eyes: each under the heading that answers the question.
#[test]
fn headings_answer_the_questions() {
    let case = all().into_iter().find(|case| case.name == "seccomp-with-no-new-privileges").unwrap();
    let text = explain_plan(&case.plan(), "config.json");
    let under = |heading: &str| {
        let (_, rest) =
            text.split_once(&format!("\n{heading}")).unwrap_or_else(|| panic!("{heading}:\n{text}"));
        rest.split("\n\n").next().unwrap_or_default().to_owned()
    };
    for (heading, words) in [
        ("init, before pivot_root", "mount proc on /proc"),
        ("init, before pivot_root", "hooks.createRuntime[0]"),
        ("init, before pivot_root", "run 1 createContainer hook"),
        ("init, after pivot_root", "enter the working directory"),
        ("init gives up its rights", "set capabilities"),
        ("init gives up its rights", "load the seccomp filter"),
        ("init is ready", "report \"ready\""),
        ("start, which lets init go on", "run 1 startContainer hook"),
        ("start, which lets init go on", "hooks.poststart[0]"),
        ("delete", "hooks.poststop[0]"),
    ] {
        assert!(under(heading).contains(words), "{words:?} is not under {heading:?}:\n{text}");
    }
}
