// SPDX-License-Identifier: Apache-2.0
//! The numbers of system calls on the machines that most containers run on, in `numbers.txt`.
//!
//! libseccomp has them too, for twenty architectures, and hashes the name anew for each: of the
//! 1,300 questions of Docker's profile that is a third of the time that its filter takes. Here one
//! look finds a name's numbers on all of this machine's architectures, and the next name of a
//! sorted profile stands right behind it. What is not in the table libseccomp is asked for.

use libseccomp::ScmpArch;

/// A name and its numbers as libseccomp gives them, negative where an architecture has not got
/// it, sorted by name. The head of the table says which column is which.
const TEXT: &str = include_str!("numbers.txt");

/// From here down libseccomp's pseudo numbers say that an architecture has not got the call.
const NOT_THERE: i32 = -1000;

/// The columns of this machine.
#[cfg(target_arch = "x86_64")]
const COLUMNS: [(usize, ScmpArch); 3] = [(0, ScmpArch::X8664), (1, ScmpArch::X86), (2, ScmpArch::X32)];
#[cfg(target_arch = "aarch64")]
const COLUMNS: [(usize, ScmpArch); 2] = [(3, ScmpArch::Aarch64), (4, ScmpArch::Arm)];
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
const COLUMNS: [(usize, ScmpArch); 0] = [];

/// One line of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Where in the text the name stands, and how long it is.
    at: u16,
    len: u16,
    numbers: [i32; COLUMNS.len()],
}

// Places in it have 16 bits.
const _: () = assert!(TEXT.len() <= u16::MAX as usize);

static ROWS: [Row; count()] = rows();

impl Row {
    fn name(&self) -> &'static str {
        &TEXT[usize::from(self.at)..usize::from(self.at + self.len)]
    }

    /// The number on one architecture, or its pseudo number behind `socketcall` or `ipc`. None
    /// where the architecture has no column or had not got the call when the table was made:
    /// the libseccomp at hand may be newer.
    pub fn number(&self, arch: ScmpArch) -> Option<i32> {
        let column = COLUMNS.iter().position(|(_, of)| *of == arch)?;
        Some(self.numbers[column]).filter(|number| *number > NOT_THERE)
    }
}

/// Finds names that mostly come in order.
#[derive(Default)]
pub struct Cursor(usize);

impl Cursor {
    /// How many rows it looks ahead before it searches them all.
    const AHEAD: usize = 8;

    /// The row of a name.
    pub fn find(&mut self, name: &str) -> Option<&'static Row> {
        let near = ROWS.iter().enumerate().skip(self.0).take(Self::AHEAD).find(|(_, row)| row.name() == name);
        let at = match near {
            Some((at, _)) => at,
            None => ROWS.binary_search_by(|row| row.name().cmp(name)).ok()?,
        };
        self.0 = at + 1;
        Some(&ROWS[at])
    }
}

/// Where the lines of the table begin: behind its head.
const fn head() -> usize {
    let mut at = 0;
    while at < TEXT.len() && TEXT.as_bytes()[at] == b'#' {
        at = end(at) + 1;
    }
    at
}

const fn end(mut at: usize) -> usize {
    while TEXT.as_bytes()[at] != b'\n' {
        at += 1;
    }
    at
}

const fn count() -> usize {
    let (mut at, mut count) = (head(), 0);
    while at < TEXT.len() {
        at = end(at) + 1;
        count += 1;
    }
    count
}

const fn rows() -> [Row; count()] {
    let text = TEXT.as_bytes();
    let mut rows = [Row { at: 0, len: 0, numbers: [0; COLUMNS.len()] }; count()];
    let (mut at, mut row) = (head(), 0);
    while at < text.len() {
        let start = at;
        while text[at] != b' ' {
            at += 1;
        }
        rows[row].at = start as u16;
        rows[row].len = (at - start) as u16;
        let mut column = 0;
        while text[at] == b' ' {
            at += 1;
            let negative = text[at] == b'-';
            at += negative as usize;
            let mut number = 0;
            while text[at].is_ascii_digit() {
                number = number * 10 + (text[at] - b'0') as i32;
                at += 1;
            }
            let mut i = 0;
            while i < COLUMNS.len() {
                if COLUMNS[i].0 == column {
                    rows[row].numbers[i] = if negative { -number } else { number };
                }
                i += 1;
            }
            column += 1;
        }
        at += 1;
        row += 1;
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use libseccomp::{ScmpSyscall, ScmpVersion};

    use super::*;

    const ARCHES: [ScmpArch; 5] =
        [ScmpArch::X8664, ScmpArch::X86, ScmpArch::X32, ScmpArch::Aarch64, ScmpArch::Arm];

    fn theirs(name: &str) -> Option<[i32; 5]> {
        let number = |arch| ScmpSyscall::from_name_by_arch(name, arch).ok().map(i32::from);
        let numbers = ARCHES.map(number);
        numbers.iter().all(Option::is_some).then(|| numbers.map(Option::unwrap_or_default))
    }

    /// What the table would be if it were made of the libseccomp at hand.
    fn fresh() -> String {
        let mut names = BTreeSet::new();
        for arch in ARCHES {
            // The calls, the pseudo numbers behind socketcall and ipc, x32's and Arm's own.
            for number in (-300..2000).chain(0x4000_0000..0x4000_0800).chain(0xf_0000..0xf_0010) {
                names.extend(ScmpSyscall::from(number).get_name_by_arch(arch));
            }
        }
        let v = ScmpVersion::current().unwrap();
        let mut text = format!(
            "# libseccomp {}.{}.{}; BLESS=1 cargo test -p libcontainer numbers\n# x86_64 x86 x32 aarch64 arm\n",
            v.major, v.minor, v.micro
        );
        for name in names {
            let Some(numbers) = theirs(&name) else { continue };
            text.push_str(&name);
            numbers.iter().for_each(|number| write!(text, " {number}").unwrap());
            text.push('\n');
        }
        text
    }

    #[test]
    fn the_table_is_libseccomps() {
        let fresh = fresh();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/plan/seccomp/numbers.txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(path, fresh).unwrap();
            return;
        }
        // A newer libseccomp may know more names, an older one fewer.
        let mut same = 0;
        for line in TEXT.lines().filter(|line| !line.starts_with('#')) {
            let (name, numbers) = line.split_once(' ').unwrap();
            let Some(theirs) = theirs(name) else { continue };
            for (ours, (theirs, arch)) in numbers.split(' ').zip(theirs.into_iter().zip(ARCHES)) {
                let ours: i32 = ours.parse().unwrap();
                // That an architecture has not got it says a release as of its day.
                assert!(
                    ours == theirs || ours.min(theirs) <= NOT_THERE,
                    "{name} on {arch:?}: {ours}, {theirs}"
                );
                same += usize::from(ours == theirs);
            }
        }
        assert!(same > 2000, "{same}");
    }

    #[test]
    fn every_line_is_found_in_any_order() {
        let lines: Vec<&str> = TEXT.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(lines.len(), ROWS.len());
        let mut cursor = Cursor::default();
        for line in lines.iter().chain(lines.iter().rev()).chain(lines.iter().step_by(7)) {
            let words: Vec<&str> = line.split(' ').collect();
            let row = cursor.find(words[0]).unwrap();
            assert_eq!((row.name(), words.len()), (words[0], 6));
            for (column, arch) in COLUMNS {
                let number: i32 = words[1 + column].parse().unwrap();
                assert_eq!(row.number(arch), Some(number).filter(|number| *number > NOT_THERE), "{line}");
            }
            assert_eq!(row.number(ScmpArch::S390X), None);
        }
        assert!(
            cursor.find("").is_none() && cursor.find("accept5").is_none() && cursor.find("zzz").is_none()
        );
    }
}
