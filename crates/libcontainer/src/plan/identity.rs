// SPDX-License-Identifier: Apache-2.0
//! Whom a payload runs as, what it runs and on which terminal.

use std::fmt;

/// Whom the payload runs as.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// User id inside the container.
    pub uid: u32,
    /// Group id inside the container.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Whether setgroups(2) can be called: not where an ordinary user wrote the gid map.
    pub setgroups: bool,
    /// The caller's supplementary groups stay.
    pub keep: bool,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "become uid {}, gid {}", self.uid, self.gid)?;
        match (self.setgroups, self.groups.is_empty()) {
            _ if self.keep => f.write_str(" (the caller's groups stay)"),
            (false, _) => f.write_str(" (groups stay: setgroups is denied)"),
            (true, true) => f.write_str(", no supplementary groups"),
            (true, false) => {
                let groups: Vec<String> = self.groups.iter().map(u32::to_string).collect();
                write!(f, ", groups {}", groups.join(" "))
            }
        }
    }
}

/// The payload's terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Console {
    /// Rows and columns, where process.consoleSize gives them.
    pub size: Option<(u16, u16)>,
    /// Also as /dev/console: the container's first process only.
    pub mount: bool,
    /// Its owner.
    pub uid: u32,
}

impl fmt::Display for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("open a pseudo-terminal in /dev/pts")?;
        if let Some((rows, columns)) = self.size {
            write!(f, " of {columns}x{rows}")?;
        }
        f.write_str(if self.mount { ", bind it on /dev/console" } else { "" })?;
        f.write_str(", hand its master to the parent")
    }
}

/// The first word of args and where to look for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executable {
    /// The first of `process.args`.
    pub name: String,
    /// The directories of the payload's PATH; an empty one is the working directory.
    pub path: Vec<String>,
}
