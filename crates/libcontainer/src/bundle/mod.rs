// SPDX-License-Identifier: Apache-2.0
//! A bundle: the directory with its config.json, read once.
//!
//! The good case is one open, one read, one pass for repeated keys and one strict serde
//! parse straight into oci-spec's types. Only when serde refuses the text is it looked at
//! again, slowly and thoroughly: what other runtimes take is mended, and all that is left
//! is named at once, each fault with its property, line, column and way out. That way the
//! start path pays nothing for good messages, and oci-spec's types stay the only ones
//! (own structs would be quicker still for the rare mended file, and a second truth).
//!
//! ```text
//! bytes -> UTF-8 -> scan (repeated keys, NUL, depth) -> serde -> settle -> Bundle
//!                                                        | refused
//!                                              Value -> repair (table) -> serde -> settle -> faults, or Bundle
//! ```

mod document;
mod excerpt;
mod file;
mod json;
mod repair;
mod schema;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxResources, Process, Spec};

use crate::error::Error;
use crate::plan::problem::Problem;
use document::{Document, Draft, Refusal};
use excerpt::Pointed;

pub use excerpt::Severity;
pub use json::Position;

/// The file that every bundle has.
pub const CONFIG: &str = "config.json";

/// A bundle whose configuration has been read.
#[derive(Debug)]
pub struct Bundle {
    /// The bundle's directory, absolute.
    pub dir: PathBuf,
    /// The file that was read: its config.json, unless another was asked for.
    pub config: PathBuf,
    /// What it says.
    pub spec: Spec,
    /// What was set aside as the specification demands, and deserves a warning in the
    /// log: unknown capabilities.
    pub ignored: Vec<Problem>,
    /// Faults of form. Only [`Bundle::examine`] leaves any here; `spec` holds harmless
    /// values in their places then and must not be run.
    pub faults: Vec<Problem>,
    text: String,
}

/// What a file held, and what in it was set aside.
#[derive(Debug)]
pub struct Parsed<T> {
    /// What it says.
    pub value: T,
    /// What was set aside and deserves a warning: unknown capabilities.
    pub ignored: Vec<Problem>,
}

impl Bundle {
    /// Reads the bundle in `dir`; `config` is another file than its config.json.
    ///
    /// # Errors
    /// Whatever is wrong with the file, with all its faults of form, each with an excerpt.
    pub fn load(dir: &Path, config: Option<&Path>) -> Result<Self, Error> {
        let bundle = Self::examine(dir, config)?;
        if bundle.faults.is_empty() { Ok(bundle) } else { Err(bundle.error(Vec::new())) }
    }

    /// Like [`Bundle::load`], but faults of form stay in [`Bundle::faults`], so that those
    /// of sense can be looked for as well and all be told at once.
    ///
    /// # Errors
    /// The file cannot be read, or it is no JSON object.
    pub fn examine(dir: &Path, config: Option<&Path>) -> Result<Self, Error> {
        let dir = file::absolute(dir)?;
        let config = match config {
            Some(config) => file::absolute(config)?,
            None => dir.join(CONFIG),
        };
        let name = name_of(&config);
        let text = decode(file::read_config(&dir, &config)?, &name)?;
        let draft = draft::<Spec>(&text, &name)?;
        Ok(Self { dir, config, spec: draft.value, ignored: draft.ignored, faults: draft.faults, text })
    }

    /// Where a property stands in the text; where its parent stands if it is absent.
    pub fn locate(&self, property: &str) -> Option<Position> {
        excerpt::span(&self.text, property).map(|span| Position::new(&self.text, span))
    }

    /// The faults of form together with `problems` found later, in the order of the text.
    /// Those that only follow from a fault of form are left out.
    pub fn all(&self, problems: Vec<Problem>) -> Vec<Problem> {
        let follows = |problem: &Problem| {
            self.faults.iter().any(|fault| related(element(&fault.property), &problem.property))
        };
        let later = problems.into_iter().filter(|problem| !follows(problem));
        let mut all: Vec<Problem> = self.faults.iter().cloned().chain(later).collect();
        document::in_order(&self.text, &mut all);
        all
    }

    /// The error that tells the faults of form and `problems`, with excerpts.
    pub fn error(&self, problems: Vec<Problem>) -> Error {
        failure(&self.text, &name_of(&self.config), self.all(problems))
    }

    /// Each problem with the place in the text that it is about.
    pub fn annotate(&self, problems: &[Problem], severity: Severity) -> String {
        let pointed: Vec<_> = problems.iter().map(|problem| Pointed::new(&self.text, problem)).collect();
        excerpt::report(&name_of(&self.config), &self.text, &pointed, severity)
    }

    /// What need not stop anyone but may not do what was meant: unknown properties, what
    /// was ignored, what is deprecated.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut found = document::warnings::<Spec>(&self.text);
        found.extend(self.ignored.iter().cloned());
        document::in_order(&self.text, &mut found);
        found
    }
}

/// What messages call the file: its last component.
fn name_of(config: &Path) -> Cow<'_, str> {
    config.file_name().map_or(Cow::Borrowed(CONFIG), |name| name.to_string_lossy())
}

/// The element of a list that a property is in, or the property: with `mounts[3].options` unread, what
/// else is wrong with `mounts[3]` may follow from it.
fn element(property: &str) -> &str {
    property.rfind(']').map_or(property, |end| &property[..=end])
}

/// One is part of the other.
fn related(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let inside = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
    long.strip_prefix(short).is_some_and(inside)
}

/// Reads a whole configuration from memory; `name` is the file's in messages.
///
/// # Errors
/// All its faults of form.
pub fn parse_spec(text: &[u8], name: &str) -> Result<Parsed<Spec>, Error> {
    parse(text.to_vec(), name)
}

/// Reads a process, as `exec --process` has it.
///
/// # Errors
/// All its faults of form.
pub fn parse_process(text: &[u8], name: &str) -> Result<Parsed<Process>, Error> {
    parse(text.to_vec(), name)
}

/// Reads resources, as `update --resources` has them.
///
/// # Errors
/// All their faults of form.
pub fn parse_resources(text: &[u8], name: &str) -> Result<Parsed<LinuxResources>, Error> {
    parse(text.to_vec(), name)
}

/// Reads the file of `exec --process`; a pipe will do.
///
/// # Errors
/// It cannot be read, or all its faults of form.
pub fn load_process(path: &Path) -> Result<Parsed<Process>, Error> {
    parse(file::read_any(path)?, &path.display().to_string())
}

/// Reads the file of `update --resources`; a pipe will do.
///
/// # Errors
/// It cannot be read, or all its faults of form.
pub fn load_resources(path: &Path) -> Result<Parsed<LinuxResources>, Error> {
    parse(file::read_any(path)?, &path.display().to_string())
}

fn parse<T: Document>(text: Vec<u8>, name: &str) -> Result<Parsed<T>, Error> {
    let text = decode(text, name)?;
    let draft = draft::<T>(&text, name)?;
    if draft.faults.is_empty() {
        return Ok(Parsed { value: draft.value, ignored: draft.ignored });
    }
    Err(failure(&text, name, draft.faults))
}

fn decode(bytes: Vec<u8>, name: &str) -> Result<String, Error> {
    if bytes.len() > file::LIMIT {
        return Err(file::too_large(name));
    }
    document::decode(bytes).map_err(|(text, refusal)| refused(&text, name, refusal))
}

fn draft<T: Document>(text: &str, name: &str) -> Result<Draft<T>, Error> {
    document::read(text).map_err(|refusal| refused(text, name, refusal))
}

fn refused(text: &str, name: &str, refusal: Refusal) -> Error {
    let mut problem = refusal.problem;
    let at = Position::new(text, refusal.span.clone());
    problem.says = format!("{} ({name} line {}, column {})", problem.says, at.line, at.column);
    let quote = excerpt::quotes(name, text, std::iter::once(refusal.span));
    Error::problems(vec![problem]).excerpt(quote)
}

fn failure(text: &str, name: &str, problems: Vec<Problem>) -> Error {
    /// More would push the messages off the screen.
    const QUOTED: usize = 5;
    let spans = problems.iter().take(QUOTED).filter_map(|problem| excerpt::span(text, &problem.property));
    let quotes = excerpt::quotes(name, text, spans);
    Error::problems(problems).excerpt(quotes)
}
