// SPDX-License-Identifier: Apache-2.0
//! A fault of the configuration, found before anything has happened.
//!
//! Planning never stops at the first fault: every [`Problem`] is collected, so that one
//! run of `soute check` (or one failed `create`) tells all there is to mend.

use std::borrow::Cow;
use std::fmt;

/// One fault: which property, what is wrong with it, and where it is known the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The property as a path into config.json: `process.args`, `mounts[3].source`.
    pub property: String,
    /// What is wrong, as a clause that can follow "property: ".
    pub says: String,
    /// What to do about it.
    pub hint: Option<Cow<'static, str>>,
}

impl Problem {
    /// A fault without a known way out.
    pub fn new(property: impl Into<String>, says: impl Into<String>) -> Self {
        Self { property: property.into(), says: says.into(), hint: None }
    }

    /// The same fault with a way out.
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.property.is_empty() {
            return f.write_str(&self.says);
        }
        write!(f, "{}: {}", self.property, self.says)
    }
}
