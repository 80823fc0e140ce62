// SPDX-License-Identifier: Apache-2.0
//! The rules of docs/architecture.md, each a function from sources to violations.

use std::collections::{BTreeMap, BTreeSet};

use crate::paths::{Named, named};
use crate::tokens::{Token, begins, tokens, without_tests};

/// A file: its path from the project's root, and its text.
#[derive(Clone)]
pub struct Source {
    pub path: String,
    pub text: String,
}

/// Where the library and the binary begin.
const LIBRARY: &str = "crates/libcontainer/src/";
const BINARY: &str = "src/";

/// The rooms of the library, by the first word of a module's path; an arrow may go to a
/// lower number, or stay. Any other module is an operation, and `lib.rs` is above all.
const ROOMS: &[(&str, u8)] = &[
    ("act", 3),
    ("cgroup", 3),
    ("container", 3),
    ("store", 3),
    ("sync", 3),
    ("bundle", 3),
    ("host", 3),
    ("context", 3),
    ("error", 2),
    ("time", 2),
    ("plan", 1),
    ("sys", 1),
];
const OPERATION: u8 = 4;
const TOP: u8 = 5;

fn height(module: &str) -> u8 {
    ROOMS.iter().find(|(name, _)| *name == module).map_or(OPERATION, |(_, height)| *height)
}

/// The module that a file is: `plan/mod.rs` is `[plan]`, `lib.rs` and `main.rs` are `[]`.
fn module(path: &str, root: &str) -> Vec<String> {
    let inside = path.strip_prefix(root).unwrap_or(path).trim_end_matches(".rs");
    let mut words: Vec<String> = inside.split('/').map(ToString::to_string).collect();
    if words.last().is_some_and(|w| ["mod", "lib", "main"].contains(&w.as_str())) {
        words.pop();
    }
    words
}

/// A file of one crate, read: its module and its tokens, without what is only for tests.
struct Read<'a> {
    path: &'a str,
    module: Vec<String>,
    tokens: Vec<Token>,
}

/// The files of the crate at `root` that are part of the product.
fn product<'a>(sources: &'a [Source], root: &str) -> Vec<Read<'a>> {
    let (mut files, mut only_tests) = (Vec::new(), Vec::new());
    for source in sources.iter().filter(|s| s.path.starts_with(root) && s.path.ends_with(".rs")) {
        let module = module(&source.path, root);
        let (tokens, tests) = without_tests(&tokens(&source.text));
        only_tests.extend(tests.into_iter().map(|name| [module.clone(), vec![name]].concat()));
        files.push(Read { path: &source.path, module, tokens });
    }
    files.retain(|f| !only_tests.iter().any(|t| f.module.starts_with(t)));
    files
}

/// The module of this crate that a path leads to, if it leads to one: the longest match.
fn target<'a>(path: &[String], modules: &'a BTreeSet<Vec<String>>) -> Option<&'a Vec<String>> {
    (1..path.len()).rev().find_map(|n| modules.get(&path[1..=n]))
}

/// Words before the name of an item that `pub use module::*` may hand on.
const ITEMS: &[&str] = &["const", "enum", "fn", "static", "struct", "trait", "type", "union"];

/// What the crate's root gives other names to: `pub use error::Error` makes `crate::Error`
/// lead to `error`.
fn reexports(files: &[Read], modules: &BTreeSet<Vec<String>>) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    for file in files.iter().filter(|f| f.module.is_empty()) {
        for found in named(&file.tokens, &[]).iter().filter(|n| n.imported) {
            let mut full = found.path.clone();
            if full[0] != "crate" {
                full.insert(0, "crate".to_string());
            }
            let (Some(module), Some(name)) = (target(&full, modules), full.last()) else { continue };
            if name != "*" {
                names.insert(name.clone(), module.clone());
                continue;
            }
            for file in files.iter().filter(|f| f.module == *module) {
                let pairs = file.tokens.windows(2).filter(|w| ITEMS.contains(&w[0].text.as_str()));
                names.extend(pairs.map(|w| (w[1].text.clone(), module.clone())));
            }
        }
    }
    names
}

/// Macros that a path `crate::name!` can mean, and the module that defines each.
fn macros(files: &[Read]) -> BTreeMap<String, Vec<String>> {
    let mut names = BTreeMap::new();
    for file in files {
        for window in file.tokens.windows(3).filter(|w| begins(w, &["macro_rules", "!"])) {
            names.insert(window[2].text.clone(), file.module.clone());
        }
    }
    names
}

/// One import between two modules of a crate.
struct Arrow<'a> {
    file: &'a str,
    line: usize,
    from: Vec<String>,
    to: Vec<String>,
}

/// All arrows of the crate at `root`; paths that hide where they lead are violations.
fn arrows<'a>(sources: &'a [Source], root: &str, violations: &mut Vec<String>) -> Vec<Arrow<'a>> {
    let files = product(sources, root);
    let modules: BTreeSet<Vec<String>> =
        files.iter().map(|f| f.module.clone()).filter(|m| !m.is_empty()).collect();
    let others = {
        let mut others = macros(&files);
        others.extend(reexports(&files, &modules));
        others
    };
    let mut found = Vec::new();
    for file in &files {
        for word in ["path", "include"] {
            let hidden = if word == "path" { ["#", "[", "path"] } else { ["include", "!", "("] };
            if let Some(at) = file.tokens.windows(3).find(|w| begins(w, &hidden)) {
                violations.push(format!("{}:{}: {word} hides a source", file.path, at[0].line));
            }
        }
        if file.module.is_empty() {
            continue;
        }
        for Named { path, line, .. } in named(&file.tokens, &file.module) {
            if path[0] != "crate" {
                continue;
            }
            let to = target(&path, &modules).or_else(|| others.get(path.get(1)?));
            match to {
                Some(to) => {
                    found.push(Arrow { file: file.path, line, from: file.module.clone(), to: to.clone() })
                }
                None => violations.push(format!(
                    "{}:{line}: {} leads to the crate's root or out of sight",
                    file.path,
                    path.join("::")
                )),
            }
        }
    }
    found
}

/// Arrows run one way, and `plan` and `sys` know nothing but themselves.
pub fn upward(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for arrow in arrows(sources, LIBRARY, &mut violations) {
        let (from, to) = (&arrow.from[0], &arrow.to[0]);
        let lowest = height(from) == 1;
        if from != to && (lowest || height(to) > height(from)) {
            violations.push(format!("{}:{}: {from} must not know {to}", arrow.file, arrow.line));
        }
    }
    // A lower file that calls the crate by its own name would go round the check.
    for file in product(sources, LIBRARY) {
        for found in named(&file.tokens, &file.module).iter().filter(|n| n.path[0] == "libcontainer") {
            violations.push(format!("{}:{}: libcontainer names itself", file.path, found.line));
        }
    }
    debug_assert!(ROOMS.iter().all(|(_, h)| *h < TOP));
    violations
}

/// No circle between modules that stand side by side. (A parent that calls its child and
/// gives it the types to work on is one piece; between siblings that is a knot.) An arrow
/// in `accepted`, `(from, to, reason)`, does not count; one that is there no more is a
/// violation.
pub fn circles(sources: &[Source], accepted: &[(&str, &str, &str)]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut met = BTreeSet::new();
    for root in [LIBRARY, BINARY] {
        let mut graph: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
        for arrow in arrows(sources, root, &mut violations) {
            let same = arrow.from.iter().zip(&arrow.to).take_while(|(a, b)| a == b).count();
            if let (Some(_), Some(_)) = (arrow.from.get(same), arrow.to.get(same)) {
                let (from, to) = (arrow.from[..=same].to_vec(), arrow.to[..=same].to_vec());
                let names = (from.join("::"), to.join("::"));
                if let Some(known) =
                    accepted.iter().position(|(f, t, _)| names == (f.to_string(), t.to_string()))
                {
                    met.insert(known);
                } else {
                    graph.entry(from).or_default().insert(to);
                }
            }
        }
        violations.extend(graph.keys().filter_map(|start| circle(&graph, start)).map(|way| {
            let names: Vec<String> = way.iter().map(|m| m.join("::")).collect();
            format!("{root}: a circle: {}", names.join(" -> "))
        }));
    }
    for (i, (from, to, reason)) in accepted.iter().enumerate() {
        if !met.contains(&i) || reason.is_empty() {
            violations.push(format!("{from} -> {to}: accepted, but it is not there, or without a reason"));
        }
    }
    violations
}

/// The shortest way from `start` back to itself, told once: from its least member.
fn circle(
    graph: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>,
    start: &Vec<String>,
) -> Option<Vec<Vec<String>>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = BTreeSet::new();
    while !ways.is_empty() {
        let mut longer = Vec::new();
        for way in ways {
            for next in way.last().and_then(|last| graph.get(last)).into_iter().flatten() {
                if next == start {
                    return (way.iter().min() == Some(start)).then(|| [way, vec![next.clone()]].concat());
                }
                if seen.insert(next.clone()) {
                    longer.push([way.clone(), vec![next.clone()]].concat());
                }
            }
        }
        ways = longer;
    }
    None
}

/// `unsafe` is written in the library's `sys/` and nowhere else, not even in tests. (The
/// payload program of integration_test is not part of the product.)
pub fn unsafe_code(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources {
        let sys =
            source.path.starts_with(&format!("{LIBRARY}sys/")) || source.path == format!("{LIBRARY}sys.rs");
        if sys || !source.path.ends_with(".rs") || source.path.starts_with("integration_test/") {
            continue;
        }
        for token in tokens(&source.text).iter().filter(|t| t.text == "unsafe") {
            violations.push(format!("{}:{}: unsafe outside of sys/", source.path, token.line));
        }
    }
    violations
}

/// Parts of the standard library by which a program touches the world.
const WORLD: &[&str] = &["env", "fs", "net", "process", "thread"];

/// Methods of `Path` that ask the file system.
const ASKING: &[&str] = &[
    "canonicalize",
    "exists",
    "is_dir",
    "is_file",
    "is_symlink",
    "metadata",
    "read_dir",
    "read_link",
    "symlink_metadata",
    "try_exists",
];

/// Crates whose types and constants the plan may use, and whose functions it may not.
const KERNEL: &[&str] = &["caps", "libc", "nix", "rustix"];

/// Is this word a constant or a type, by how it is written?
fn is_value_or_type(word: &str) -> bool {
    let c_type = word.ends_with("_t") || word.starts_with("c_") || word.starts_with("sock_");
    word.starts_with(char::is_uppercase) || c_type
}

/// `plan/` opens no file and makes no system call, and the compiler keeps unsafe out of it.
pub fn impure(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for file in product(sources, LIBRARY).iter().filter(|f| f.module.first().is_some_and(|m| m == "plan")) {
        if file.module.len() == 1
            && !file
                .tokens
                .windows(8)
                .any(|w| begins(w, &["#", "!", "[", "forbid", "(", "unsafe_code", ")", "]"]))
        {
            violations.push(format!("{}: plan does not forbid unsafe_code", file.path));
        }
        let mut no =
            |line: usize, what: &str| violations.push(format!("{}:{line}: plan uses {what}", file.path));
        for Named { path, line, imported, called } in named(&file.tokens, &file.module) {
            let written = path.join("::");
            let words: Vec<&str> = path.iter().map(String::as_str).collect();
            match words[..] {
                ["std", word, ..] if WORLD.contains(&word) => no(line, &written),
                ["std", "os", _, word, ..] if WORLD.contains(&word) => no(line, &written),
                ["std", "time", "Instant" | "SystemTime" | "*", ..] => no(line, &written),
                ["std", "*"] | ["std"] if imported => no(line, &written),
                [krate, .., last] if KERNEL.contains(&krate) => {
                    // A function or a whole module; `rustix::mount::MountFlags::empty()` is neither.
                    let typed = words[1..].iter().any(|word| is_value_or_type(word));
                    if !typed && (imported || called || last == "*") {
                        no(line, &written);
                    }
                }
                [krate] if imported && KERNEL.contains(&krate) => no(line, &written),
                _ => {}
            }
        }
        for (i, token) in file.tokens.iter().enumerate() {
            let before = if i == 0 { "" } else { &file.tokens[i - 1].text };
            let after = file.tokens.get(i + 1).map_or("", |t| &t.text);
            match token.text.as_str() {
                word @ ("File" | "OpenOptions" | "Command") if after == "::" => no(token.line, word),
                word if before == "." && after == "(" && ASKING.contains(&word) => no(token.line, word),
                _ => {}
            }
        }
    }
    violations
}

/// The length that no file passes without a reason.
pub const LONGEST: usize = 600;

/// Files longer than that: `(path, reason)`. An entry that is needed no more is a violation.
pub fn long(sources: &[Source], reasons: &[(&str, &str)]) -> Vec<String> {
    let mut violations = Vec::new();
    let length = |s: &Source| s.text.lines().count();
    for source in sources.iter().filter(|s| s.path.ends_with(".rs") && length(s) > LONGEST) {
        if !reasons.iter().any(|(path, reason)| *path == source.path && !reason.is_empty()) {
            let lines = length(source);
            violations.push(format!(
                "{}: {lines} lines, and no reason is given for more than {LONGEST}",
                source.path
            ));
        }
    }
    for (path, _) in reasons {
        if !sources.iter().any(|s| s.path == *path && length(s) > LONGEST) {
            violations.push(format!("{path}: listed as long, and it is not"));
        }
    }
    violations
}

/// Every source and script says its licence in its first two lines.
pub fn licence(sources: &[Source]) -> Vec<String> {
    let said =
        |text: &str| text.lines().take(2).any(|line| line.ends_with("SPDX-License-Identifier: Apache-2.0"));
    let script = |s: &Source| s.text.starts_with("#!") || s.path.ends_with(".sh");
    sources
        .iter()
        .filter(|s| (s.path.ends_with(".rs") || script(s)) && !said(&s.text))
        .map(|s| format!("{}: no SPDX line at its head", s.path))
        .collect()
}

/// `#[ignore]` without a reason would skip a test in silence.
pub fn ignored(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    for source in sources.iter().filter(|s| s.path.ends_with(".rs")) {
        for at in tokens(&source.text).windows(4).filter(|w| begins(w, &["#", "[", "ignore", "]"])) {
            violations.push(format!("{}:{}: a test is ignored without a reason", source.path, at[0].line));
        }
    }
    violations
}

/// What readers get leads to files that are there, and not out of the project.
pub fn links(sources: &[Source]) -> Vec<String> {
    let outside = ["..", "shared"].join("/");
    let mut violations = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            let at = format!("{}:{}", source.path, number + 1);
            if line.contains(&outside) {
                violations.push(format!("{at}: points to {outside}"));
            }
            if !source.path.ends_with(".md") {
                continue;
            }
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = link.split('#').next().unwrap_or("");
                if file.is_empty() || file.contains("://") {
                    continue;
                }
                let wanted = resolve(&source.path, file);
                if !sources.iter().any(|s| s.path == wanted || s.path.starts_with(&format!("{wanted}/"))) {
                    violations.push(format!("{at}: {link} is not there"));
                }
            }
        }
    }
    violations
}

/// The path from the root of `link` in the file `from`.
fn resolve(from: &str, link: &str) -> String {
    let mut words: Vec<&str> = from.split('/').collect();
    words.pop();
    for word in link.trim_end_matches('/').split('/') {
        match word {
            "." => {}
            ".." => drop(words.pop()),
            word => words.push(word),
        }
    }
    words.join("/")
}

/// How many arrows the library has: a check that sees none proves nothing.
pub fn arrow_count(sources: &[Source]) -> usize {
    arrows(sources, LIBRARY, &mut Vec::new()).len()
}
