// SPDX-License-Identifier: Apache-2.0
//! One error for the whole crate: what was asked, which property, which step, which
//! system call, which errno, and the way out where one is known.
//!
//! ```text
//! error: create web1: mounts[3]: bind /srv/data on /data (read-only)
//!        open_tree("/srv/data"): no such file or directory (ENOENT)
//! hint:  a bind mount's source must exist on the host before create
//! ```
//!
//! Context is added where the knowledge is ([`Error::within`]); the command line prints
//! the whole once. [`Error::message`] is the one-line form for logs and for the callers
//! that look for words in it.

use std::borrow::Cow;
use std::fmt;

use rustix::io::Errno;

use crate::plan::problem::Problem;
use crate::sys::errno::describe;

/// A call that failed: what was called with which arguments, and errno where the kernel
/// gave one. This is what effects return; the operation above knows the property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// `open_tree("/srv/data")`, or a whole sentence where no errno is involved.
    pub says: String,
    /// The kernel's word.
    pub errno: Option<Errno>,
    /// The way out, where the place of the fault knows one.
    pub hint: Option<Cow<'static, str>>,
}

impl Fault {
    /// A fault that is not a system call's: a whole sentence.
    pub fn new(says: impl Into<String>) -> Self {
        Self { says: says.into(), errno: None, hint: None }
    }

    /// A failed system call.
    pub fn call(says: impl Into<String>, errno: Errno) -> Self {
        Self { says: says.into(), errno: Some(errno), hint: None }
    }

    /// The same fault with a way out.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.says)?;
        let Some(errno) = self.errno else { return Ok(()) };
        if !self.says.is_empty() {
            f.write_str(": ")?;
        }
        match describe(errno) {
            Some((name, text)) => write!(f, "{text} ({name})"),
            None => write!(f, "errno {}", errno.raw_os_error()),
        }
    }
}

/// Names the call at the place where it failed.
pub trait Call<T> {
    /// `sys::mount::open_tree(...).call(|| format!("open_tree({path:?})"))?`
    fn call<S: Into<String>>(self, says: impl FnOnce() -> S) -> Result<T, Fault>;
}

impl<T> Call<T> for rustix::io::Result<T> {
    fn call<S: Into<String>>(self, says: impl FnOnce() -> S) -> Result<T, Fault> {
        self.map_err(|errno| Fault::call(says(), errno))
    }
}

impl<T> Call<T> for std::io::Result<T> {
    fn call<S: Into<String>>(self, says: impl FnOnce() -> S) -> Result<T, Fault> {
        self.map_err(|e| match Errno::from_io_error(&e) {
            Some(errno) => Fault::call(says(), errno),
            None => Fault::new(format!("{}: {e}", says().into())),
        })
    }
}

/// What sort of failure it was, for those who must act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The bundle or the request is wrong; nothing has been done.
    Config,
    /// There is no container of this id.
    NotFound,
    /// There is one already.
    Exists,
    /// The container's state does not allow it: not running, stopped, paused.
    State,
    /// A system call, a hook or the container's process failed.
    Failed,
    /// A hook of `start` failed: the container must not go on.
    StartHook,
}

/// Why an operation of this crate did not happen.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    /// Outermost first: "create web1", "mounts[3]: bind /srv/data on /data".
    context: Vec<String>,
    causes: Causes,
    hint: Option<Cow<'static, str>>,
}

#[derive(Debug)]
enum Causes {
    /// Everything that is wrong with a configuration, and an excerpt that points at it.
    Problems(Vec<Problem>, String),
    Fault(Fault),
}

/// The result of an operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure that one sentence tells.
    pub fn new(kind: Kind, says: impl Into<String>) -> Self {
        Self { kind, context: Vec::new(), causes: Causes::Fault(Fault::new(says)), hint: None }
    }

    /// The same failure as one of another sort.
    pub fn of(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    /// All faults of a configuration.
    pub fn problems(problems: Vec<Problem>) -> Self {
        Self {
            kind: Kind::Config,
            context: Vec::new(),
            causes: Causes::Problems(problems, String::new()),
            hint: None,
        }
    }

    /// Puts `what` before what is already said.
    pub fn within(mut self, what: impl Into<String>) -> Self {
        self.context.insert(0, what.into());
        self
    }

    /// The way out, unless a more precise one is known already.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint.get_or_insert(hint.into());
        self
    }

    /// Shows the lines of the configuration that are meant; for people, never part of the
    /// message.
    pub fn excerpt(mut self, lines: impl Into<String>) -> Self {
        if let Causes::Problems(_, excerpt) = &mut self.causes {
            *excerpt = lines.into();
        }
        self
    }

    /// What sort of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The kernel's word, where a system call failed.
    pub fn errno(&self) -> Option<Errno> {
        match &self.causes {
            Causes::Fault(fault) => fault.errno,
            Causes::Problems(..) => None,
        }
    }

    /// The faults of the configuration, if that is what is wrong.
    pub fn faults(&self) -> &[Problem] {
        match &self.causes {
            Causes::Problems(problems, _) => problems,
            Causes::Fault(_) => &[],
        }
    }

    /// The whole on one line, without hints: what logs carry and callers search.
    pub fn message(&self) -> String {
        let mut parts = self.context.clone();
        match &self.causes {
            Causes::Problems(problems, _) => {
                let all: Vec<String> = problems.iter().map(Problem::to_string).collect();
                parts.push(all.join("; "));
            }
            Causes::Fault(fault) => parts.push(fault.to_string()),
        }
        parts.retain(|part| !part.is_empty());
        printable(&parts.join(": ").replace('\n', " ")).into_owned()
    }

    /// The way out, where one is known.
    pub fn way_out(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl From<Fault> for Error {
    fn from(mut fault: Fault) -> Self {
        let hint = fault.hint.take();
        Self { kind: Kind::Failed, context: Vec::new(), causes: Causes::Fault(fault), hint }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const INDENT: &str = "\n       ";
        let context: Vec<Cow<'_, str>> = self.context.iter().map(|text| printable(text)).collect();
        f.write_str(&context.join(": "))?;
        let gap = if self.context.is_empty() { "" } else { INDENT };
        match &self.causes {
            Causes::Fault(fault) => {
                // A short sentence without errno goes on in the same line.
                let gap = if fault.errno.is_none() && !gap.is_empty() { ": " } else { gap };
                write!(f, "{gap}{}", printable(&fault.to_string()))?;
            }
            Causes::Problems(problems, _) => {
                for (i, problem) in problems.iter().enumerate() {
                    let problem_text = problem.to_string();
                    write!(f, "{}{}", if i == 0 { gap } else { INDENT }, printable(&problem_text))?;
                    if let Some(hint) = &problem.hint {
                        write!(f, "\nhint:  {hint}")?;
                    }
                }
            }
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint:  {hint}")?;
        }
        match &self.causes {
            Causes::Problems(_, excerpt) if !excerpt.is_empty() => write!(f, "\n{excerpt}"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for Error {}

/// Text as it may go to a terminal: a path of a hostile configuration can hold escape sequences.
fn printable(text: &str) -> Cow<'_, str> {
    if !text.chars().any(char::is_control) {
        return text.into();
    }
    text.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = (!c.is_control()).then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        let error =
            Error::from(Fault::call("open_tree(/a\u{1b}[2J\nb)", Errno::NOENT)).within("create x\u{7}");
        let text = error.to_string();
        assert!(text.contains("create x\\u{7}"), "{text}");
        assert!(text.contains("/a\\u{1b}[2J\\nb"), "{text}");
        assert!(error.message().chars().all(|c| !c.is_control()));
    }
}
