// SPDX-License-Identifier: Apache-2.0
//! Shows faults in the text they are in: the line, and carets below what is meant.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Message, Renderer, Snippet};

use super::json::{self, Position};
use crate::plan::problem::Problem;

/// Larger texts are not quoted, only named by line and column: nobody wrote them.
const LARGE: usize = 256 << 10;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// The configuration cannot be used.
    Error,
    /// It can, but it may not do what was meant.
    Warning,
}

/// A problem and what it points at.
pub(super) struct Pointed<'a> {
    pub problem: &'a Problem,
    pub span: Option<Range<usize>>,
}

impl<'a> Pointed<'a> {
    /// Points at the property, or at what should hold it.
    pub fn new(text: &str, problem: &'a Problem) -> Self {
        Self { problem, span: span(text, &problem.property) }
    }
}

/// What to underline for a property: its value, or its key where the value goes over
/// several lines or where something in it is missing.
pub(super) fn span(text: &str, property: &str) -> Option<Range<usize>> {
    // A flag's fault is nowhere in the text.
    if property.starts_with('-') {
        return None;
    }
    let place = json::find(text, property)?;
    let container = matches!(text.as_bytes().get(place.value.start), Some(b'{' | b'['));
    let long = container && (!place.whole || text[place.value.clone()].contains('\n'));
    Some(match place.key {
        Some(key) if long => key,
        _ if long => place.value.start..place.value.start + 1,
        _ => place.value,
    })
}

/// Each problem with its title, the excerpt and the way out; for `soute check`.
pub(super) fn report(name: &str, text: &str, problems: &[Pointed], severity: Severity) -> String {
    let mut out = String::new();
    for pointed in problems {
        let level = match severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let group = Group::with_title(level.primary_title(pointed.problem.to_string()));
        let group = match &pointed.span {
            Some(span) => quote(group, name, text, span),
            None => group,
        };
        let group = match &pointed.problem.hint {
            Some(hint) => group.element(Level::HELP.no_name().message(format!("hint: {hint}"))),
            None => group,
        };
        out.push_str(&Renderer::plain().render(&[group]));
        out.push_str("\n\n");
    }
    out.truncate(out.trim_end().len());
    out
}

/// The excerpts alone, for an error whose text stands above them.
pub(super) fn quotes(name: &str, text: &str, spans: impl Iterator<Item = Range<usize>>) -> String {
    let mut out = String::new();
    for span in spans {
        let group = quote(Group::with_level(Level::ERROR), name, text, &span);
        out.push_str(&Renderer::plain().render(&[group]));
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out
}

fn quote<'a>(group: Group<'a>, name: &'a str, text: &'a str, span: &Range<usize>) -> Group<'a> {
    if text.len() > LARGE {
        let at = Position::new(text, span.clone());
        let origin: Message<'_> =
            Level::NOTE.no_name().message(format!("at {name}:{}:{}", at.line, at.column));
        return group.element(origin);
    }
    let position = Position::new(text, span.clone());
    group.element(Snippet::source(text).path(name).annotation(AnnotationKind::Primary.span(position.span)))
}
