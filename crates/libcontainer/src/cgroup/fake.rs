// SPDX-License-Identifier: Apache-2.0
//! For tests: a directory of plain files in place of a group. A write leaves the file with that
//! value, as most kernel files do.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::fs::CWD;

use super::file;
use super::record::Group;

/// The directory; removed when dropped.
pub(super) struct Tree(PathBuf);

impl Tree {
    /// A group with these files.
    pub fn new(files: &[(&str, &str)]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("soute-fake-{}-{n}", std::process::id()));
        fs::create_dir_all(dir.join("group")).expect("the temporary directory is writable");
        let tree = Self(dir);
        for (name, text) in files {
            tree.write(name, text);
        }
        tree
    }

    /// What a record would hold of it.
    pub fn group(&self, controllers: &[&str]) -> Group {
        let controllers = controllers.iter().map(|name| (*name).to_owned()).collect();
        let root = self.0.display().to_string();
        let inode = file::inode(self.open()).ok();
        Group { root, path: "group".into(), controllers, made: 1, inode }
    }

    /// The group's directory.
    pub fn open(&self) -> OwnedFd {
        file::open_dir(CWD, &self.path("").display().to_string()).expect("own directory")
    }

    /// A file of the group.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join("group").join(name)
    }

    /// What a file says.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("own file")
    }

    /// Gives a file another text.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("own file");
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
