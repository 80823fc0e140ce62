// SPDX-License-Identifier: Apache-2.0
//! A mount in the words of `explain` and of errors.

use std::fmt;

use super::options::{ATIME, NOATIME, NODEV, NODIRATIME, NOEXEC, NOSUID, NOSYMFOLLOW, RDONLY, STRICTATIME};
use super::{IdMap, Links, Mount, What};
use crate::plan::propagation::Propagation;

impl fmt::Display for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = self.target.display();
        match &self.what {
            What::Filesystem { fstype, flags, values, copy_up, .. } => {
                write!(f, "mount {fstype} on {target}")?;
                let mut words: Vec<String> = self.words();
                words.extend(flags.iter().filter(|w| *w != "ro").cloned());
                words.extend(values.iter().map(|(k, v)| format!("{k}={v}")));
                words.extend(copy_up.then(|| "a copy of what it covers".to_owned()));
                parenthesised(f, &words)
            }
            What::Bind { source, recursive, links, idmap, .. } => {
                write!(f, "{} {} on {target}", if *recursive { "rbind" } else { "bind" }, source.display())?;
                let mut words = self.words();
                words.extend(match links {
                    Links::Followed => None,
                    Links::Mounted => Some("a link itself".to_owned()),
                    Links::Copied => Some("a link as a copy".to_owned()),
                });
                words.extend(idmap.as_ref().map(IdMap::to_string));
                parenthesised(f, &words)
            }
            What::Remount { flags, values } => {
                write!(f, "change the mount on {target}")?;
                let mut words = self.words();
                words.extend(flags.iter().cloned());
                words.extend(values.iter().map(|(k, v)| format!("{k}={v}")));
                parenthesised(f, &words)
            }
            What::CgroupTree { namespaced } => {
                write!(f, "mount the cgroup hierarchies below {target}")?;
                let mut words = self.words();
                words.insert(0, if *namespaced { "own root" } else { "own groups" }.to_owned());
                parenthesised(f, &words)
            }
        }
    }
}

impl Mount {
    /// The flags and propagation as words again.
    fn words(&self) -> Vec<String> {
        const NAMES: [(u64, &str, &str); 7] = [
            (RDONLY, "read-only", "read-write"),
            (NOSUID, "nosuid", "suid"),
            (NODEV, "nodev", "dev"),
            (NOEXEC, "noexec", "exec"),
            (NODIRATIME, "nodiratime", "diratime"),
            (NOSYMFOLLOW, "nosymfollow", "symfollow"),
            (ATIME, "", ""),
        ];
        let mut words = Vec::new();
        for (flags, everywhere) in [(self.attr, ""), (self.recursive, "all ")] {
            for (bit, on, off) in NAMES.iter().take(NAMES.len() - 1) {
                if flags.set & bit != 0 {
                    words.push(format!("{everywhere}{on}"));
                } else if flags.clear & bit != 0 {
                    words.push(format!("{everywhere}{off}"));
                }
            }
            if flags.clear & ATIME != 0 {
                let mode = match flags.set & ATIME {
                    NOATIME => "noatime",
                    STRICTATIME => "strictatime",
                    _ => "relatime",
                };
                words.push(format!("{everywhere}{mode}"));
            }
        }
        words.extend(self.propagation.iter().map(Propagation::to_string));
        words.extend(self.target_itself.then(|| "on a link itself".to_owned()));
        words
    }
}

fn parenthesised(f: &mut fmt::Formatter<'_>, words: &[String]) -> fmt::Result {
    if words.is_empty() { Ok(()) } else { write!(f, " ({})", words.join(", ")) }
}

impl fmt::Display for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.recursive { "all ids as " } else { "ids as " })?;
        let Some(ids) = &self.ids else { return f.write_str("in the user namespace") };
        for (n, (name, map)) in [("uids", &ids.uid), ("gids", &ids.gid)].into_iter().enumerate() {
            f.write_str(if n > 0 { " " } else { "" })?;
            f.write_str(name)?;
            for range in map {
                write!(f, " {}:{}:{}", range.container, range.host, range.size)?;
            }
        }
        Ok(())
    }
}
