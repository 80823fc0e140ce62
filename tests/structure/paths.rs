// SPDX-License-Identifier: Apache-2.0
//! The paths that a source names, in full: of `use` trees with all their nested groups, and
//! of every `a::b` in the code.

use crate::tokens::Token;

/// A path with `super` and `self` resolved: `["crate", "plan", "step"]`, `["std", "fs"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: Vec<String>,
    pub line: usize,
    /// It is the end of a `use` tree, so code may go on from it out of our sight.
    pub imported: bool,
    /// It is called: `a::b(` or `a::b::<T>(`.
    pub called: bool,
}

struct Walk<'a> {
    tokens: &'a [Token],
    /// The module of the file, without `crate`.
    module: &'a [String],
    /// Modules written out inside the file, and the depth of braces at which each ends.
    inline: Vec<(String, usize)>,
    found: Vec<Named>,
}

/// Every path in these tokens of the file that is `module`.
pub fn named(tokens: &[Token], module: &[String]) -> Vec<Named> {
    let mut walk = Walk { tokens, module, inline: Vec::new(), found: Vec::new() };
    walk.all();
    walk.found
}

fn is_word(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

impl Walk<'_> {
    fn text(&self, i: usize) -> &str {
        self.tokens.get(i).map_or("", |t| t.text.as_str())
    }

    fn all(&mut self) {
        let (mut i, mut depth) = (0, 0usize);
        while i < self.tokens.len() {
            match self.text(i) {
                "{" => depth += 1,
                "}" => {
                    depth = depth.saturating_sub(1);
                    self.inline.retain(|(_, end)| *end <= depth);
                }
                "mod" if self.text(i + 2) == "{" => {
                    self.inline.push((self.text(i + 1).to_string(), depth + 1));
                }
                // `use<'a>` of a captured lifetime is no import.
                "use" if self.text(i + 1) != "<" => {
                    i = self.tree(i + 1, Vec::new());
                    continue;
                }
                text if is_word(text) && self.text(i + 1) == "::" && self.before(i) != "::" => {
                    i = self.path(i);
                    continue;
                }
                _ => {}
            }
            i += 1;
        }
    }

    fn before(&self, i: usize) -> &str {
        if i == 0 { "" } else { self.text(i - 1) }
    }

    /// A path in code, from its first word on; gives the index after it.
    fn path(&mut self, start: usize) -> usize {
        let mut written = vec![self.text(start).to_string()];
        let mut i = start + 1;
        while self.text(i) == "::" && is_word(self.text(i + 1)) {
            written.push(self.text(i + 1).to_string());
            i += 2;
        }
        let called = self.text(i) == "(" || (self.text(i) == "::" && self.text(i + 1) == "<");
        self.keep(written, self.tokens[start].line, false, called);
        i
    }

    /// One branch of a `use` tree; gives the index after it.
    fn tree(&mut self, mut i: usize, mut written: Vec<String>) -> usize {
        let line = self.tokens.get(i).map_or(0, |t| t.line);
        loop {
            match self.text(i) {
                "::" => i += 1,
                "{" => {
                    i += 1;
                    while !matches!(self.text(i), "}" | "") {
                        i = self.tree(i, written.clone());
                        if self.text(i) == "," {
                            i += 1;
                        }
                    }
                    return i + 1;
                }
                "as" => i += 2,
                "*" => {
                    written.push("*".to_string());
                    i += 1;
                }
                word if is_word(word) => {
                    // `a::{self}` is `a`.
                    if word != "self" || written.is_empty() {
                        written.push(word.to_string());
                    }
                    i += 1;
                }
                _ => break,
            }
        }
        if !written.is_empty() {
            self.keep(written, line, true, false);
        }
        i
    }

    /// Resolves what can be: `crate`, `self` and `super`; other names stay as written.
    fn keep(&mut self, written: Vec<String>, line: usize, imported: bool, called: bool) {
        let mut here: Vec<String> = self.module.to_vec();
        here.extend(self.inline.iter().map(|(name, _)| name.clone()));
        let mut rest = written.as_slice();
        let mut path = match rest[0].as_str() {
            "crate" => vec!["crate".to_string()],
            "self" | "super" => [vec!["crate".to_string()], here].concat(),
            _ => Vec::new(),
        };
        if rest[0] == "crate" || rest[0] == "self" {
            rest = &rest[1..];
        }
        while rest.first().is_some_and(|word| word == "super") {
            if path.len() > 1 {
                path.pop();
            }
            rest = &rest[1..];
        }
        path.extend_from_slice(rest);
        self.found.push(Named { path, line, imported, called });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokens::tokens;

    fn paths(source: &str, module: &[&str]) -> Vec<String> {
        let module: Vec<String> = module.iter().map(ToString::to_string).collect();
        named(&tokens(source), &module).into_iter().map(|n| n.path.join("::")).collect()
    }

    #[test]
    fn groups_nest() {
        assert_eq!(
            paths("use crate::{sys::{mount::{self, attach}, fd}, plan as p, error::*};", &["act"]),
            [
                "crate::sys::mount",
                "crate::sys::mount::attach",
                "crate::sys::fd",
                "crate::plan",
                "crate::error::*"
            ],
        );
        assert_eq!(paths("use {crate::a, ::std::fs};", &[]), ["crate::a", "std::fs"]);
        assert_eq!(
            paths("pub(crate) use super::a::{b,};\nfn f() {}", &["plan", "step"]),
            ["crate::plan::a::b"]
        );
    }

    #[test]
    fn code_names_paths_too() {
        assert_eq!(
            paths("fn f() -> crate::act::T { crate::sys::go::<u8>(std::fs::read) }", &["plan"]),
            ["crate::act::T", "crate::sys::go", "std::fs::read"],
        );
        assert_eq!(paths("<crate::a::B as crate::c::D>::e()", &[]), ["crate::a::B", "crate::c::D"]);
        assert_eq!(paths("macro_rules! m { () => { $crate::sys::x() } }", &[]), ["crate::sys::x"]);
        let found = named(&tokens("a::b(); c::d; e::f::<u8>(1); use g::h;"), &[]);
        assert_eq!(found.iter().map(|n| n.called).collect::<Vec<_>>(), [true, false, true, false]);
        assert_eq!(found.iter().map(|n| n.imported).collect::<Vec<_>>(), [false, false, false, true]);
    }

    #[test]
    fn super_counts_inline_modules() {
        let source = "mod a { mod b { use super::super::x; } use super::y; } use super::z;";
        assert_eq!(
            paths(source, &["plan", "step"]),
            ["crate::plan::step::x", "crate::plan::step::y", "crate::plan::z"],
        );
    }

    #[test]
    fn use_of_lifetimes_is_no_import() {
        assert_eq!(paths("fn f<'a>() -> impl Sized + use<'a> { self::g() }", &["m"]), ["crate::m::g"]);
    }
}
