// SPDX-License-Identifier: Apache-2.0
//! The common oracle of hostile images and containers: a directory of the host that no
//! container may touch or see, and the host's mounts.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::{Bundle, Flavor, Out, Test, note_skip};

/// What stands in the secret file.
pub const SECRET: &str = "secret of the host";

/// The directory, and how it was.
pub struct Treasure {
    /// `secret` and `sub/` are in it.
    pub dir: PathBuf,
    before: Vec<String>,
}

impl Treasure {
    /// A fresh one, below the test's scratch directory.
    pub fn new(t: &Test) -> Self {
        let dir = t.scratch("treasure");
        fs::create_dir_all(dir.join("sub")).expect("the scratch directory is writable");
        fs::write(dir.join("secret"), SECRET).expect("own directory");
        let before = look(&dir);
        Self { dir, before }
    }

    /// Its path, as text.
    pub fn path(&self) -> &str {
        self.dir.to_str().expect("scratch paths are plain")
    }

    /// The path of its secret file.
    pub fn secret(&self) -> String {
        format!("{}/secret", self.path())
    }

    /// The way there from any place in the container's root, by climbing.
    pub fn climb(&self) -> String {
        format!("{}{}", "../".repeat(20), self.path().trim_start_matches('/'))
    }

    /// What is no longer as it was.
    pub fn changed(&self) -> Vec<String> {
        let after = look(&self.dir);
        let gone = self.before.iter().filter(|line| !after.contains(line)).map(|line| format!("-{line}"));
        let new = after.iter().filter(|line| !self.before.contains(line)).map(|line| format!("+{line}"));
        gone.chain(new).collect()
    }

    /// It must be as it was.
    #[track_caller]
    pub fn is_unchanged(&self, t: &Test) {
        let changed = self.changed();
        if !changed.is_empty() && t.flavor() != Flavor::Soute {
            return note_skip(&format!("{:?} differs: THE HOST WAS TOUCHED", t.flavor()));
        }
        assert!(changed.is_empty(), "the host was touched: {changed:?}");
    }

    /// Runs it, whatever comes of it: nothing may be left, touched or told.
    #[track_caller]
    pub fn harmless(&self, t: &Test, bundle: Bundle, questions: &[&str]) -> Out {
        let out = t.run(&bundle.asks(questions));
        assert!(!out.stdout().contains(SECRET), "{}", out.stdout());
        assert!(out.signal.is_none());
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
        self.is_unchanged(t);
        out
    }
}

/// Every file below: kind, mode, owner, times and content.
fn look(dir: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(path) = todo.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        let text = if meta.is_file() { fs::read_to_string(&path).unwrap_or_default() } else { String::new() };
        let times = (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec());
        all.push(format!(
            "{} {:o} {} {} {times:?} {text}",
            path.display(),
            meta.mode(),
            meta.uid(),
            meta.gid()
        ));
        if meta.is_dir() {
            todo.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
    }
    all.sort();
    all
}

/// The host's mounts, without those that other tests make at the same time.
pub fn mounts_of_the_host() -> Vec<String> {
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    all.lines().filter(|line| !line.contains("itest-")).map(str::to_owned).collect()
}
