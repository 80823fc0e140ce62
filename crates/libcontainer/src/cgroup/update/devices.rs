// SPDX-License-Identifier: Apache-2.0
//! Other device rules for a container that runs.
//!
//! On v2 one call exchanges the program. v1 takes its rules line by line, so there is a moment
//! in between. A list of devices becomes another one so that each device is, at every moment, as
//! it was before or as it will be: first what is allowed newly, then what is denied newly. Where the
//! default changes, or all is allowed with exceptions, which `devices.list` does not tell, one
//! begins anew; nobody in the container runs meanwhile.

use rustix::io::Errno;

use super::super::record::Record;
use super::file;
use crate::error::{Call, Error, Fault, Result};
use crate::plan::devices;
use crate::plan::resources::{Devices, Lacking, Limits, Write};

const ALLOW: &str = "devices.allow";
const DENY: &str = "devices.deny";
/// What `devices.list` says where everything is allowed, whatever the exceptions.
const ALL: &str = "a *:* rwm";

impl Record {
    pub(super) fn update_devices(&self, limits: &Limits) -> Result<()> {
        match &limits.devices {
            Devices::Lines(lines) => self.update_lines(lines),
            // Nothing is denied on v1: one word says so.
            Devices::Open if self.v1("devices").is_some() => {
                self.update_lines(&[Write::new(ALLOW, "a", devices::PROPERTY)])
            }
            Devices::Open | Devices::Program(_) => self.replace_program(limits),
        }
    }

    fn update_lines(&self, lines: &[Write]) -> Result<()> {
        let within = |fault: Fault| Error::from(fault).within(devices::PROPERTY);
        let group =
            self.v1("devices").ok_or_else(|| within(Fault::new("the container has no devices cgroup")))?;
        let gone = || within(Fault::new(format!("the container's cgroup {:?} is gone", group.dir())));
        let dir = group.open_ours()?.ok_or_else(gone)?;
        let present = file::read(&dir, "devices.list")
            .call(|| format!("read({:?})", group.file("devices.list")))
            .map_err(within)?;
        let way = way(&present, lines);
        let stops = way.anew && !self.is_frozen().map_err(within)?;
        if stops {
            self.freeze().map_err(within)?;
        }
        let went = way.go(&present, &mut |file, line| file::write(&dir, file, line));
        if stops {
            self.thaw().map_err(within)?;
        }
        went.map_err(|(step, errno)| {
            let fault = Fault::call(format!("write({:?}, {:?})", group.file(step.file), step.line), errno);
            within(match errno {
                Errno::PERM => fault.hint("a group above does not have this device"),
                _ => fault,
            })
        })
    }
}

/// One write to `devices.allow` or `devices.deny`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    file: &'static str,
    line: String,
    /// A default device, which a group above may lack.
    optional: bool,
}

/// The way from what `devices.list` says to other rules.
#[derive(Debug, PartialEq, Eq)]
struct Way {
    steps: Vec<Step>,
    /// Begins with another default, so that in the middle of it anything may be allowed.
    anew: bool,
}

/// `c 1:3 rwm`: which device, and which accesses.
fn parts(line: &str) -> (&str, &str) {
    line.trim().rsplit_once(' ').unwrap_or((line, ""))
}

/// The lines' accesses that these others do not have.
fn beyond<'a>(lines: &[&'a str], others: &[&str]) -> Vec<(&'a str, String)> {
    let missing = lines.iter().map(|line| {
        let (device, letters) = parts(line);
        let held = others.iter().map(|other| parts(other)).find(|(other, _)| *other == device);
        let held = held.map_or("", |(_, letters)| letters);
        (device, letters.chars().filter(|letter| !held.contains(*letter)).collect::<String>())
    });
    missing.filter(|(_, letters)| !letters.is_empty()).collect()
}

/// To these lines, the first of which names the default.
fn way(present: &str, lines: &[Write]) -> Way {
    let optional = |write: &Write| write.lacking == Lacking::Skip;
    let held: Vec<&str> = present.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let denies_all = lines.first().is_some_and(|first| first.file == DENY);
    if !denies_all || held.contains(&ALL) {
        let file = |write: &Write| if write.file == DENY { DENY } else { ALLOW };
        let steps: Vec<Step> = lines
            .iter()
            .map(|write| Step { file: file(write), line: write.value.clone(), optional: optional(write) })
            .collect();
        let anew = steps.len() > 1;
        return Way { steps, anew };
    }
    let wanted: Vec<&str> = lines[1..].iter().map(|write| write.value.as_str()).collect();
    let default = |device: &str| lines.iter().any(|it| optional(it) && parts(&it.value).0 == device);
    let allow = beyond(&wanted, &held).into_iter().map(|(device, letters)| Step {
        file: ALLOW,
        line: format!("{device} {letters}"),
        optional: default(device),
    });
    let deny = beyond(&held, &wanted).into_iter().map(|(device, letters)| Step {
        file: DENY,
        line: format!("{device} {letters}"),
        optional: false,
    });
    Way { steps: allow.chain(deny).collect(), anew: false }
}

impl Way {
    /// Goes it by `write`. Where a step is refused the former rules come back, as far as
    /// `devices.list` has told them; in no case is more allowed than before or after.
    fn go(
        &self,
        present: &str,
        write: &mut dyn FnMut(&str, &str) -> Result<(), Errno>,
    ) -> Result<(), (Step, Errno)> {
        for (i, step) in self.steps.iter().enumerate() {
            let Err(errno) = write(step.file, &step.line) else { continue };
            if errno == Errno::PERM && step.optional {
                continue;
            }
            if !self.anew {
                for done in self.steps[..i].iter().rev() {
                    let back = if done.file == ALLOW { DENY } else { ALLOW };
                    let _ = write(back, &done.line);
                }
            } else if i > 0 {
                let _ = write(DENY, "a");
                // Where all was allowed, but for exceptions that nobody can tell, only what the new
                // rules allow comes back.
                let all_but = present.trim() == ALL;
                let done = self.steps[..i].iter().filter(|it| all_but && it.file == ALLOW && it.line != "a");
                let back = done.map(|it| it.line.as_str()).chain(present.lines().filter(|_| !all_but));
                for line in back {
                    let _ = write(ALLOW, line);
                }
                if all_but {
                    tracing::warn!(
                        "the container has the devices of its new rules that stand before {:?}",
                        step.line
                    );
                }
            }
            return Err((step.clone(), errno));
        }
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn line(file: &str, value: &str) -> Write {
        Write::new(file, value, devices::PROPERTY)
    }

    /// The steps as text.
    fn steps(present: &str, lines: &[Write]) -> Vec<String> {
        way(present, lines).steps.iter().map(|step| format!("{} {}", step.file, step.line)).collect()
    }

    #[test]
    fn of_two_lists_only_what_differs_is_written() {
        let wanted = [line(DENY, "a"), line(ALLOW, "c 1:3 rwm"), line(ALLOW, "c 10:229 rw")];
        assert_eq!(
            steps("c 1:3 rwm\nc 1:5 rwm\n", &wanted),
            ["devices.allow c 10:229 rw", "devices.deny c 1:5 rwm"]
        );
        assert_eq!(steps("c 1:3 rwm\nc 10:229 rw\n", &wanted), [""; 0]);
        // One device, other accesses.
        assert_eq!(
            steps("c 1:3 rm\nc 10:229 rwm\n", &wanted),
            ["devices.allow c 1:3 w", "devices.deny c 10:229 m"]
        );
        assert!(!way("c 1:3 rm\n", &wanted).anew);
    }

    #[test]
    fn with_another_default_nobody_runs_meanwhile() {
        let list = [line(DENY, "a"), line(ALLOW, "c 1:3 rwm")];
        let all_but = [line(ALLOW, "a"), line(DENY, "c 1:3 rwm")];
        assert!(way("a *:* rwm\n", &list).anew);
        assert!(way("c 1:3 rwm\n", &all_but).anew);
        assert!(way("a *:* rwm\n", &all_but).anew);
        // Everything, without an exception, is the end already.
        let all = way("c 1:3 rwm\n", &all_but[..1]);
        assert_eq!((all.steps.len(), all.anew), (1, false));
    }

    /// The kernel's default and its exceptions, by device.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct Kernel {
        allows: bool,
        exceptions: std::collections::BTreeMap<String, std::collections::BTreeSet<char>>,
    }

    impl Kernel {
        fn write(&mut self, file: &str, line: &str) {
            if line == "a" {
                (self.allows, self.exceptions) = (file == ALLOW, Default::default());
                return;
            }
            let (device, letters) = parts(line);
            let held = self.exceptions.entry(device.to_owned()).or_default();
            for letter in letters.chars() {
                if (file == ALLOW) == self.allows {
                    held.remove(&letter)
                } else {
                    held.insert(letter)
                };
            }
            self.exceptions.retain(|_, held| !held.is_empty());
        }

        fn has(&self, device: &str, letter: char) -> bool {
            self.allows != self.exceptions.get(device).is_some_and(|held| held.contains(&letter))
        }

        fn list(&self) -> String {
            if self.allows {
                return ALL.to_owned();
            }
            let letters = |held: &std::collections::BTreeSet<char>| held.iter().collect::<String>();
            self.exceptions.iter().map(|(device, held)| format!("{device} {}\n", letters(held))).collect()
        }
    }

    const LISTS: [&[&str]; 5] = [
        &[],
        &["c 1:3 rwm"],
        &["c 1:3 r", "c 1:5 w", "b *:* m"],
        &["c 1:3 wm", "b *:* rwm", "c 10:* r"],
        &["c 1:5 rwm", "c 10:* rw"],
    ];

    fn rules() -> impl Iterator<Item = Vec<Write>> {
        [(DENY, ALLOW), (ALLOW, DENY)].into_iter().flat_map(|(default, exception)| {
            LISTS.iter().map(move |list| {
                let lines = list.iter().map(|it| line(exception, it));
                std::iter::once(line(default, "a")).chain(lines).collect()
            })
        })
    }

    #[test]
    fn at_no_moment_does_it_have_more_than_before_or_after() {
        for (from, to) in rules().flat_map(|from| rules().map(move |to| (from.clone(), to))) {
            let mut before = Kernel::default();
            from.iter().for_each(|write| before.write(&write.file, &write.value));
            let mut after = Kernel::default();
            to.iter().for_each(|write| after.write(&write.file, &write.value));
            let way = way(&before.list(), &to);
            let all =
                ["c 1:3", "c 1:5", "c 10:*", "b *:*"].iter().flat_map(|it| ['r', 'w', 'm'].map(|x| (*it, x)));
            let all: Vec<(&str, char)> = all.collect();
            for stop in 0..=way.steps.len() {
                let (mut now, mut count) = (before.clone(), 0);
                let went = way.go(&before.list(), &mut |file, line| {
                    count += 1;
                    if count == stop + 1 && stop < way.steps.len() {
                        return Err(Errno::PERM);
                    }
                    now.write(file, line);
                    for (device, letter) in all.iter().filter(|_| !way.anew) {
                        let has = now.has(device, *letter);
                        let (was, will) = (before.has(device, *letter), after.has(device, *letter));
                        assert!(has == was || has == will, "{device} {letter}: {from:?} to {to:?}");
                    }
                    Ok(())
                });
                if stop == way.steps.len() {
                    went.unwrap();
                    assert_eq!(now, after, "{from:?} to {to:?}");
                } else if way.anew && before.allows {
                    went.unwrap_err();
                    let more = |(device, x): &(&str, char)| now.has(device, *x) && !after.has(device, *x);
                    assert!(stop == 0 && now == before || !all.iter().any(more), "{from:?} to {to:?}");
                } else {
                    went.unwrap_err();
                    assert_eq!(now, before, "{from:?} to {to:?} without step {stop}");
                }
            }
        }
    }
}
