// SPDX-License-Identifier: Apache-2.0
//! Device rules as lines for cgroup v1's `devices.deny` and `devices.allow`.
//!
//! The kernel keeps a default and a list of exceptions to it. A line adds one, or takes one
//! away that is exactly equal; it is not a list in which the last match decides. So the
//! rules are first brought into that form here, and what does not fit ("all of major 1, but
//! not 1:3") is a problem, where the kernel would have ignored the second half in silence.

use super::{Access, Kind, PROPERTY, Rule};
use crate::plan::problem::Problem;

/// What open(2) can ask for at once.
const OPEN: u32 = Access::READ.0 | Access::WRITE.0;

/// What an exception speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Scope {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
}

impl Scope {
    fn covers(self, other: Self) -> bool {
        self.kind == other.kind
            && self.major.is_none_or(|it| other.major == Some(it))
            && self.minor.is_none_or(|it| other.minor == Some(it))
    }

    /// The devices that both speak of.
    fn meet(self, other: Self) -> Option<Self> {
        let both = |a: Option<u32>, b: Option<u32>| match (a, b) {
            (Some(a), Some(b)) if a != b => Err(()),
            (a, b) => Ok(a.or(b)),
        };
        if self.kind != other.kind {
            return None;
        }
        let (major, minor) = (both(self.major, other.major).ok()?, both(self.minor, other.minor).ok()?);
        Some(Self { kind: self.kind, major, minor })
    }

    fn line(self, access: Access) -> String {
        Rule { allow: true, kind: Some(self.kind), major: self.major, minor: self.minor, access }
            .to_string()
            .trim_start_matches("allow ")
            .to_owned()
    }
}

/// The file and the line for each write: first the default, then its exceptions.
pub fn lines(rules: &[Rule]) -> Result<Vec<(&'static str, String)>, Problem> {
    let mut allow = false;
    let mut exceptions: Vec<(Scope, u32)> = Vec::new();
    for rule in rules {
        if rule.is_total() {
            allow = rule.allow;
            exceptions.clear();
            continue;
        }
        for kind in [Kind::Block, Kind::Char] {
            if rule.kind.is_some_and(|it| it != kind) {
                continue;
            }
            let scope = Scope { kind, major: rule.major, minor: rule.minor };
            let bits = rule.access.0;
            if rule.allow != allow {
                match exceptions.iter_mut().find(|(it, _)| *it == scope) {
                    Some((_, held)) => *held |= bits,
                    None => exceptions.push((scope, bits)),
                }
                continue;
            }
            // Back to the default: exceptions within the rule shrink; one that reaches
            // beyond it cannot be told apart.
            for (it, held) in &mut exceptions {
                if scope.covers(*it) {
                    *held &= !bits;
                } else if *held & bits != 0 && scope.meet(*it).is_some() {
                    return Err(inexpressible(rule, *it, Access(*held)));
                }
            }
            exceptions.retain(|(_, held)| *held != 0);
        }
    }
    // With "deny" as the default the kernel wants one exception that covers all that is
    // asked for at once, so the more special ones must also be open for what the general ones are.
    if !allow {
        close_under_meets(&mut exceptions);
    }
    let (default, exception) =
        if allow { ("devices.allow", "devices.deny") } else { ("devices.deny", "devices.allow") };
    let mut lines = vec![(default, "a".to_owned())];
    // One that is wholly within another says nothing new.
    let kept = exceptions.iter().enumerate().filter(|(i, (scope, bits))| {
        !exceptions
            .iter()
            .enumerate()
            .any(|(j, (other, held))| *i != j && other.covers(*scope) && held & bits == *bits)
    });
    lines.extend(kept.map(|(_, (scope, bits))| (exception, scope.line(Access(*bits)))));
    Ok(lines)
}

/// Gives the devices that two exceptions share an exception with the bits of both, until
/// nothing changes. Scopes are at most three levels deep, so this ends soon. Only reading and
/// writing are ever asked for at once: mknod(2) asks for nothing else.
fn close_under_meets(exceptions: &mut Vec<(Scope, u32)>) {
    let mut changed = true;
    while changed {
        changed = false;
        for i in 1..exceptions.len() {
            for j in 0..i {
                let ((a, a_bits), (b, b_bits)) = (exceptions[i], exceptions[j]);
                let (a_bits, b_bits) = (a_bits & OPEN, b_bits & OPEN);
                // The commonest case: the more special one holds everything already.
                if a.covers(b) && a_bits & !b_bits == 0 || b.covers(a) && b_bits & !a_bits == 0 {
                    continue;
                }
                let Some(meet) = a.meet(b) else { continue };
                let bits = a_bits | b_bits;
                match exceptions.iter_mut().find(|(it, _)| *it == meet) {
                    Some((_, held)) if *held | bits == *held => continue,
                    Some((_, held)) => *held |= bits,
                    None => exceptions.push((meet, bits)),
                }
                changed = true;
            }
        }
    }
}

fn inexpressible(rule: &Rule, scope: Scope, held: Access) -> Problem {
    let word = if rule.allow { "deny" } else { "allow" };
    Problem::new(PROPERTY, format!("\"{rule}\" takes a part out of \"{word} {}\"", scope.line(held)))
        .hint("cgroup v1 cannot express that: name the devices one by one, or use cgroup v2")
}
