// SPDX-License-Identifier: Apache-2.0
//! The words `idmap=` and `ridmap=`, which bring mappings of their own.

use crate::plan::namespaces::Range;

/// One range of the word `idmap=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WordRange {
    pub range: Range,
    /// Its second number is an id of the container.
    pub relative: bool,
}

/// User ids and group ids of the word `idmap=`.
pub(super) type WordIds = (Vec<WordRange>, Vec<WordRange>);

/// crun's form: `uids=0-1-10#10-11-10;gids=@0-100-10`, where `@` says that the second number is an
/// id of the container.
pub(super) fn from_word(text: &str) -> Result<WordIds, String> {
    let mut ids = WordIds::default();
    for part in text.split(';').filter(|part| !part.is_empty()) {
        let (name, list) = part.split_once('=').ok_or_else(|| format!("{part:?} has no \"=\""))?;
        let ranges = match name {
            "uids" => &mut ids.0,
            "gids" => &mut ids.1,
            _ => return Err(format!("{name:?} is neither \"uids\" nor \"gids\"")),
        };
        for text in list.split('#') {
            let no = || format!("{text:?} is no range: three numbers with \"-\" between them");
            ranges.push(word_range(text).ok_or_else(no)?);
        }
    }
    match ids.0.is_empty() || ids.1.is_empty() {
        true => Err("needs both uids and gids".to_owned()),
        false => Ok(ids),
    }
}

fn word_range(text: &str) -> Option<WordRange> {
    let plain = text.strip_prefix('@');
    let mut numbers = plain.unwrap_or(text).split('-').map(|number| number.parse().ok());
    let range = Range { container: numbers.next()??, host: numbers.next()??, size: numbers.next()?? };
    numbers.next().is_none().then_some(WordRange { range, relative: plain.is_some() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(container: u32, host: u32, size: u32) -> Range {
        Range { container, host, size }
    }

    #[test]
    fn the_word_of_crun() {
        let (uid, gid) = from_word("uids=0-1-10#10-11-10;gids=@0-100-10").unwrap();
        assert_eq!(uid.iter().map(|r| r.range).collect::<Vec<_>>(), [range(0, 1, 10), range(10, 11, 10)]);
        assert_eq!(gid, [WordRange { range: range(0, 100, 10), relative: true }]);
        for bad in ["", "uids=0-1-10", "uids=0-1;gids=0-1-1", "uids=a-b-c;gids=0-0-1", "0-1-10", "x=0-1-1"] {
            assert!(from_word(bad).is_err(), "{bad}");
        }
    }
}
