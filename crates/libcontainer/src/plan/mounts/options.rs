// SPDX-License-Identifier: Apache-2.0
//! The option words of one mount, sorted by what they act on (config.md, Linux mount options).
//!
//! Three things are behind the one list. A flag of the mount goes to mount_setattr(2), and with an
//! `r` before its name to all that is mounted below as well. A flag of the superblock goes to
//! fsconfig(2), which knows `sync`, `dirsync`, `mand`, `lazytime` and their opposites for every
//! filesystem. The rest are words for the runtime, or data for the filesystem.

use linux_raw_sys::general as raw;

use super::Links;
use super::idword::{self, WordIds};
use crate::plan::problem::Problem;
use crate::plan::propagation::Propagation;

pub(super) const RDONLY: u64 = raw::MOUNT_ATTR_RDONLY as u64;
pub(super) const NOSUID: u64 = raw::MOUNT_ATTR_NOSUID as u64;
pub(super) const NODEV: u64 = raw::MOUNT_ATTR_NODEV as u64;
pub(super) const NOEXEC: u64 = raw::MOUNT_ATTR_NOEXEC as u64;
pub(super) const NOATIME: u64 = raw::MOUNT_ATTR_NOATIME as u64;
pub(super) const STRICTATIME: u64 = raw::MOUNT_ATTR_STRICTATIME as u64;
pub(super) const NODIRATIME: u64 = raw::MOUNT_ATTR_NODIRATIME as u64;
pub(super) const NOSYMFOLLOW: u64 = raw::MOUNT_ATTR_NOSYMFOLLOW as u64;
/// The field of the access-time mode; relatime is its value 0.
pub(super) const ATIME: u64 = raw::MOUNT_ATTR__ATIME as u64;

/// `MOUNT_ATTR_*` bits to set and to clear.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags {
    /// To set.
    pub set: u64,
    /// To clear.
    pub clear: u64,
}

impl Flags {
    /// Whether there is nothing to change.
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Later words win over earlier ones.
    fn add(&mut self, set: u64, clear: u64) {
        self.set = self.set & !clear | set;
        self.clear = (self.clear | clear) & !set;
        // The kernel wants the whole mode cleared before another is set.
        if clear & ATIME != 0 {
            self.clear |= ATIME;
        }
    }

    /// `nostrictatime` after `noatime` leaves that mode alone: it takes back its own and no other.
    fn add_not_atime(&mut self, mode: u64) {
        let named = self.clear & ATIME != 0;
        if !named || self.set & ATIME == mode {
            self.add(0, ATIME);
        }
    }
}

/// What one option word means.
enum Word {
    /// Bits to set and to clear on the mount.
    Attr(u64, u64),
    /// Not this access-time mode.
    NotAtime(u64),
    /// A superblock flag, with the word that takes it back.
    Super(&'static str),
    /// Nothing that the kernel could be told.
    Nothing,
    Propagation(u64, bool),
    Bind(bool),
    Remount,
    CopyUp,
    Links(Links),
    TargetItself,
    IdMap(bool),
}

/// The option words that are not data of the filesystem.
fn word(option: &str) -> Option<Word> {
    use Word::{Attr, NotAtime, Nothing, Super};
    Some(match option {
        "defaults" => Nothing,
        // MS_SILENT keeps mount(2) from writing to the kernel's log; fsconfig(2) never does.
        "silent" | "loud" => Nothing,
        // Filesystems that keep a change counter always keep it (ext4 needs a word: see `plan_one`).
        "noiversion" => Nothing,
        "sync" => Super("async"),
        "async" => Super("sync"),
        "mand" => Super("nomand"),
        "nomand" => Super("mand"),
        "lazytime" => Super("nolazytime"),
        "nolazytime" => Super("lazytime"),
        "dirsync" | "iversion" => Super(""),
        "ro" => Attr(RDONLY, 0),
        "rw" => Attr(0, RDONLY),
        "nosuid" => Attr(NOSUID, 0),
        "suid" => Attr(0, NOSUID),
        "nodev" => Attr(NODEV, 0),
        "dev" => Attr(0, NODEV),
        "noexec" => Attr(NOEXEC, 0),
        "exec" => Attr(0, NOEXEC),
        "noatime" => Attr(NOATIME, ATIME),
        "strictatime" => Attr(STRICTATIME, ATIME),
        "relatime" => Attr(0, ATIME),
        "atime" => NotAtime(NOATIME),
        "nostrictatime" => NotAtime(STRICTATIME),
        // Without noatime, without strictatime, the kernel's default: relatime all the same.
        "norelatime" => NotAtime(0),
        "nodiratime" => Attr(NODIRATIME, 0),
        "diratime" => Attr(0, NODIRATIME),
        "nosymfollow" => Attr(NOSYMFOLLOW, 0),
        "symfollow" => Attr(0, NOSYMFOLLOW),
        "bind" => Word::Bind(false),
        "rbind" => Word::Bind(true),
        "remount" => Word::Remount,
        "shared" => Word::Propagation(libc::MS_SHARED, false),
        "rshared" => Word::Propagation(libc::MS_SHARED, true),
        "slave" => Word::Propagation(libc::MS_SLAVE, false),
        "rslave" => Word::Propagation(libc::MS_SLAVE, true),
        "private" => Word::Propagation(libc::MS_PRIVATE, false),
        "rprivate" => Word::Propagation(libc::MS_PRIVATE, true),
        "unbindable" => Word::Propagation(libc::MS_UNBINDABLE, false),
        "runbindable" => Word::Propagation(libc::MS_UNBINDABLE, true),
        "tmpcopyup" => Word::CopyUp,
        "copy-symlink" => Word::Links(Links::Copied),
        "src-nofollow" => Word::Links(Links::Mounted),
        "dest-nofollow" => Word::TargetItself,
        "idmap" => Word::IdMap(false),
        "ridmap" => Word::IdMap(true),
        _ => return None,
    })
}

/// The option words of one mount.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub attr: Flags,
    pub recursive: Flags,
    pub propagation: Vec<Propagation>,
    /// A bind, and whether with all below it.
    pub bind: Option<bool>,
    pub remount: bool,
    pub copy_up: bool,
    pub links: Links,
    pub target_itself: bool,
    /// `idmap`, or with true `ridmap`.
    pub idmap: Option<bool>,
    /// The mappings that the word itself brings.
    pub ids: Option<WordIds>,
    /// Words without a value: superblock flags and the filesystem's own.
    pub supers: Vec<String>,
    /// Words with a value.
    pub values: Vec<(String, String)>,
    /// Data words, with their place in the list.
    pub data: Vec<(usize, String)>,
}

impl Options {
    pub fn parse(property: &str, words: &[String], problems: &mut Vec<Problem>) -> Self {
        let mut options = Self::default();
        for (n, option) in words.iter().enumerate() {
            let at = || format!("{property}.options[{n}]");
            if option.is_empty() {
                problems.push(Problem::new(at(), "must not be empty").hint("take the word out"));
            } else if let Some(maps) = option.strip_prefix("idmap=").or(option.strip_prefix("ridmap=")) {
                options.idmap = Some(option.starts_with('r'));
                match idword::from_word(maps) {
                    Ok(ids) => options.ids = Some(ids),
                    Err(says) => problems.push(
                        Problem::new(at(), says)
                            .hint("for example idmap=uids=0-100000-65536;gids=0-100000-65536"),
                    ),
                }
            } else {
                options.add(n, option);
            }
        }
        options
    }

    fn add(&mut self, n: usize, option: &str) {
        if let Some(word) = word(option) {
            return self.take(option, word);
        }
        match option.strip_prefix('r').and_then(word) {
            Some(Word::Attr(set, clear)) => return self.recursive.add(set, clear),
            Some(Word::NotAtime(mode)) => return self.recursive.add_not_atime(mode),
            _ => {}
        }
        for part in data(option) {
            self.data.push((n, part.clone()));
            match part.split_once('=') {
                Some((key, value)) => self.values.push((key.to_owned(), value.to_owned())),
                None => self.supers.push(part),
            }
        }
    }

    fn take(&mut self, option: &str, word: Word) {
        match word {
            Word::Attr(set, clear) => self.attr.add(set, clear),
            Word::NotAtime(mode) => self.attr.add_not_atime(mode),
            Word::Super(opposite) => {
                self.supers.retain(|word| word != option && word != opposite);
                self.supers.push(option.to_owned());
            }
            Word::Nothing => {}
            Word::Propagation(flag, recursive) => self.propagation.push(Propagation { flag, recursive }),
            Word::Bind(recursive) => self.bind = Some(self.bind.unwrap_or(false) || recursive),
            Word::Remount => self.remount = true,
            Word::CopyUp => self.copy_up = true,
            Word::Links(links) => self.links = links,
            Word::TargetItself => self.target_itself = true,
            Word::IdMap(recursive) => self.idmap = Some(recursive),
        }
    }
}

/// Data may be several words with commas between, as mount(8) has them: no comma counts between
/// double quotes or after a backslash. The quotes are for this reading alone.
fn data(option: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut quoted, mut escaped) = (false, false);
    for c in option.chars() {
        match c {
            '"' if !escaped => quoted = !quoted,
            ',' if !escaped && !quoted => parts.push(String::new()),
            c => parts.last_mut().expect("there is a first part").push(c),
        }
        escaped = c == '\\' && !escaped;
    }
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(words: &[&str]) -> Options {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let mut problems = Vec::new();
        let options = Options::parse("mounts[0]", &words, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        options
    }

    /// The table of config.md; with what each does.
    #[test]
    fn every_word_of_the_specification_is_known() {
        for word in crate::features::FEATURES.mount_options {
            let options = options(&[word]);
            assert!(
                options.data.is_empty() && options.values.is_empty(),
                "{word} would be data: {options:?}"
            );
        }
    }

    #[test]
    fn the_last_of_two_contrary_words_wins() {
        for (words, supers) in [
            (["sync", "async"], "async"),
            (["async", "sync"], "sync"),
            (["lazytime", "nolazytime"], "nolazytime"),
            (["mand", "nomand"], "nomand"),
        ] {
            assert_eq!(options(&words).supers, [supers]);
        }
        for (words, set, clear) in [
            (["ro", "rw"], 0, RDONLY),
            (["nosymfollow", "symfollow"], 0, NOSYMFOLLOW),
            (["noatime", "strictatime"], STRICTATIME, ATIME & !STRICTATIME),
            (["noatime", "atime"], 0, ATIME),
        ] {
            let flags = options(&words).attr;
            assert_eq!((flags.set, flags.clear | set), (set, clear | set), "{words:?}");
        }
    }

    #[test]
    fn a_mode_is_taken_back_only_by_its_own_opposite() {
        for word in ["nostrictatime", "norelatime"] {
            assert_eq!(options(&["noatime", word]).attr.set, NOATIME, "{word}");
        }
        assert_eq!(options(&["strictatime", "atime"]).attr.set, STRICTATIME);
        assert_eq!(options(&["rnoatime", "rnostrictatime"]).recursive.set, NOATIME);
        assert_eq!(options(&["nostrictatime"]).attr, Flags { set: 0, clear: ATIME });
    }

    #[test]
    fn data_is_split_at_commas_that_are_not_quoted() {
        assert_eq!(data("size=1m,mode=700"), ["size=1m", "mode=700"]);
        assert_eq!(data("context=\"a:b:s0:c1,c2\",size=1m"), ["context=a:b:s0:c1,c2", "size=1m"]);
        assert_eq!(data("lowerdir=/a\\,b"), ["lowerdir=/a\\,b"]);
        assert_eq!(data(",,"), [""; 0]);
    }
}
