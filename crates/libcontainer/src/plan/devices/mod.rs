// SPDX-License-Identifier: Apache-2.0
//! The device rules: which nodes the container may make, read and write.
//!
//! Everything is denied at first. Then come the rules of the configuration in its order,
//! and last the devices that every container has; for each of the three accesses the last
//! rule that matches decides. [`allowed`] is that sentence as code, and what the tests hold
//! the two compilers against: [`lines`] for cgroup v1, [`program`] for v2.

mod program;
mod v1;

use std::fmt;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

pub use self::program::{Insn, Program, program};
pub use self::v1::lines;
use super::problem::Problem;

/// The property that holds the rules.
pub const PROPERTY: &str = "linux.resources.devices";

/// What may be done: a set of bits, with the kernel's values (BPF_DEVCG_ACC_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Access(pub u32);

impl Access {
    /// mknod
    pub const MKNOD: Self = Self(1);
    /// open for reading
    pub const READ: Self = Self(2);
    /// open for writing
    pub const WRITE: Self = Self(4);
    /// All three.
    pub const ALL: Self = Self(7);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(Self::READ, 'r'), (Self::WRITE, 'w'), (Self::MKNOD, 'm')] {
            if self.has(bit) {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// Block or character device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `b`
    Block,
    /// `c`
    Char,
}

/// One rule. `None` is a wildcard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// Block, character, or both.
    pub kind: Option<Kind>,
    /// At most 4095, the kernel's 12 bits.
    pub major: Option<u32>,
    /// At most 1048575, the kernel's 20 bits.
    pub minor: Option<u32>,
    /// Which of the accesses it decides.
    pub access: Access,
}

impl Rule {
    fn matches(&self, kind: Kind, major: u32, minor: u32) -> bool {
        self.kind.is_none_or(|it| it == kind)
            && self.major.is_none_or(|it| it == major)
            && self.minor.is_none_or(|it| it == minor)
    }

    /// Whether it decides everything, so that no earlier rule counts.
    fn is_total(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == Access::ALL
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.allow { "allow " } else { "deny " })?;
        f.write_str(match self.kind {
            None => "a ",
            Some(Kind::Block) => "b ",
            Some(Kind::Char) => "c ",
        })?;
        number(f, self.major)?;
        f.write_str(":")?;
        number(f, self.minor)?;
        write!(f, " {}", self.access)
    }
}

fn number(f: &mut fmt::Formatter<'_>, number: Option<u32>) -> fmt::Result {
    match number {
        Some(number) => write!(f, "{number}"),
        None => f.write_str("*"),
    }
}

/// The rules of the configuration and after them the default ones.
pub fn rules(spec: &[LinuxDeviceCgroup], problems: &mut Vec<Problem>) -> Vec<Rule> {
    /// Keeps every jump of the program within 16 bits.
    const MOST: usize = 4096;
    let before = problems.len();
    if spec.len() > MOST {
        problems
            .push(Problem::new(PROPERTY, format!("{} rules: no more than {MOST} are possible", spec.len())));
        return Vec::new();
    }
    let mut rules: Vec<Rule> =
        spec.iter().enumerate().filter_map(|(i, rule)| parse(i, rule, problems)).collect();
    if problems.len() != before {
        return Vec::new();
    }
    // What stands before a total rule has no effect.
    if let Some(last) = rules.iter().rposition(Rule::is_total) {
        rules.drain(..last);
    }
    rules.extend(defaults());
    rules
}

/// What every container may use: any node may be made (opening it is another matter), and
/// the usual ones of /dev and a tun device may be used.
pub fn defaults() -> impl Iterator<Item = Rule> {
    /// null, zero, full, random, urandom, tty, console, ptmx, pts/*, net/tun
    const USABLE: [(u32, Option<u32>); 10] = [
        (1, Some(3)),
        (1, Some(5)),
        (1, Some(7)),
        (1, Some(8)),
        (1, Some(9)),
        (5, Some(0)),
        (5, Some(1)),
        (5, Some(2)),
        (136, None),
        (10, Some(200)),
    ];
    let mknod = [Kind::Block, Kind::Char].map(|kind| Rule {
        allow: true,
        kind: Some(kind),
        major: None,
        minor: None,
        access: Access::MKNOD,
    });
    let usable = USABLE.map(|(major, minor)| Rule {
        allow: true,
        kind: Some(Kind::Char),
        major: Some(major),
        minor,
        access: Access::ALL,
    });
    mknod.into_iter().chain(usable)
}

/// Whether nothing is denied, as in a privileged container.
pub fn all_allowed(rules: &[Rule]) -> bool {
    match rules.iter().rposition(Rule::is_total) {
        Some(last) => rules[last..].iter().all(|rule| rule.allow),
        None => false,
    }
}

/// The verdict, straight from the rules: each access that is asked for is decided by the
/// last rule that speaks of it, and denied where none does. Nothing asked is nothing to deny.
pub fn allowed(rules: &[Rule], kind: Kind, major: u32, minor: u32, access: Access) -> bool {
    [Access::MKNOD, Access::READ, Access::WRITE].into_iter().filter(|bit| access.has(*bit)).all(|bit| {
        let last = rules.iter().rfind(|rule| rule.access.has(bit) && rule.matches(kind, major, minor));
        last.is_some_and(|rule| rule.allow)
    })
}

fn parse(i: usize, rule: &LinuxDeviceCgroup, problems: &mut Vec<Problem>) -> Option<Rule> {
    let property = |name: &str| format!("{PROPERTY}[{i}].{name}");
    let before = problems.len();
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Char),
        Some(LinuxDeviceType::P) => {
            problems.push(
                Problem::new(
                    property("type"),
                    "\"p\": a fifo has no device number, so there is no rule for it",
                )
                .hint("a, b or c"),
            );
            None
        }
    };
    let mut numbers = [None; 2];
    for (slot, (name, number, max)) in numbers
        .iter_mut()
        .zip([("major", rule.major(), (1 << 12) - 1), ("minor", rule.minor(), (1 << 20) - 1)])
    {
        *slot = match number {
            None | Some(-1) => None,
            Some(n) if (0..=max).contains(&n) => u32::try_from(n).ok(),
            Some(n) => {
                problems.push(
                    Problem::new(property(name), format!("{n} is not from 0 to {max}"))
                        .hint("-1 or nothing at all stands for every number"),
                );
                None
            }
        };
    }
    let mut access = Access(0);
    match rule.access() {
        None => access = Access::ALL,
        Some(letters) => {
            for letter in letters.chars() {
                match letter {
                    'r' => access.0 |= Access::READ.0,
                    'w' => access.0 |= Access::WRITE.0,
                    'm' => access.0 |= Access::MKNOD.0,
                    _ => {
                        let says = format!("{letters:?}: {letter:?} is not an access");
                        problems.push(Problem::new(property("access"), says).hint("letters of \"rwm\""));
                        break;
                    }
                }
            }
            if letters.is_empty() {
                problems.push(Problem::new(property("access"), "is empty").hint("letters of \"rwm\""));
            }
        }
    }
    let [major, minor] = numbers;
    (problems.len() == before).then_some(Rule { allow: rule.allow(), kind, major, minor, access })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
