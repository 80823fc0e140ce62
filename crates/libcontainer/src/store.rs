// SPDX-License-Identifier: Apache-2.0
//! All containers of one `--root`: their ids, locks and directories.
#![expect(clippy::disallowed_methods, reason = "the state is the runtime's own")]

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, open};
use rustix::io::{Errno, retry_on_intr};
use serde::Deserialize;

use crate::container::{COPY, Container, FORMAT, Record, START};
use crate::error::{Call, Error, Fault, Kind, Result};

/// The directory of all containers.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
}

/// The lock of an id. Held until dropped.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    _file: File,
}

impl Lock {
    /// Removes the lock's file while it is held: the id is free.
    pub fn remove(self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            other => Ok(other.call(|| format!("unlink({:?})", self.path))?),
        }
    }
}

impl Store {
    /// The store below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// The directory of a container.
    pub fn dir(&self, id: &str) -> PathBuf {
        self.root.join(id)
    }

    /// Takes the lock of an id if that can be had within `patience`.
    pub fn lock_within(&self, id: &str, patience: Duration) -> Result<Option<Lock>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(lock) = self.take_lock(id, FlockOperation::NonBlockingLockExclusive)? {
                return Ok(Some(lock));
            }
            if Instant::now() > deadline {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Takes the lock of an id, and waits for it. Whoever held it before may have removed the file:
    /// then the one that stands there now counts.
    pub fn lock(&self, id: &str) -> Result<Lock> {
        loop {
            if let Some(lock) = self.take_lock(id, FlockOperation::LockExclusive)? {
                return Ok(lock);
            }
        }
    }

    fn take_lock(&self, id: &str, how: FlockOperation) -> Result<Option<Lock>> {
        check_id(id)?;
        let locks = self.root.join(".lock");
        let path = locks.join(id);
        loop {
            let open = || File::options().create(true).truncate(false).write(true).mode(0o600).open(&path);
            let file = match open() {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&locks);
                    made.call(|| format!("mkdir({locks:?})"))?;
                    open()
                }
                other => other,
            }
            .call(|| format!("open({path:?})"))
            .map_err(foreign)?;
            loop {
                match flock(&file, how) {
                    Err(Errno::INTR) => {}
                    Err(Errno::WOULDBLOCK) => return Ok(None),
                    other => break other.call(|| format!("flock({path:?})"))?,
                }
            }
            let mine = file.metadata().call(|| format!("fstat({path:?})"))?;
            match fs::metadata(&path) {
                Ok(there) if (there.dev(), there.ino()) == (mine.dev(), mine.ino()) => {
                    return Ok(Some(Lock { path, _file: file }));
                }
                _ => {}
            }
        }
    }

    /// Makes a container's directory and its first record. The lock must be held.
    pub fn claim(&self, record: Record) -> Result<Container> {
        let dir = self.dir(&record.id);
        match fs::DirBuilder::new().mode(0o700).create(&dir) {
            Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::new(Kind::Exists, "container with given ID already exists")
                    .hint(format!("`soute delete {}` removes it, if it is no longer needed", record.id)));
            }
            other => other.call(|| format!("mkdir({dir:?})"))?,
        }
        let container = Container { dir, record };
        container.save().inspect_err(|_| drop(container.remove_dir()))?;
        Ok(container)
    }

    /// Reads a container's record.
    pub fn load(&self, id: &str) -> Result<Container> {
        check_id(id)?;
        let dir = self.dir(id);
        let path = dir.join("state.json");
        let text = match read(&path) {
            Err(Errno::NOENT) if !dir.exists() => return Err(self.absent()),
            other => other.call(|| format!("read({path:?})")).map_err(|fault| match fault.errno {
                Some(Errno::ACCESS) => foreign(fault).into(),
                _ => damaged(fault.into(), id),
            })?,
        };
        let record = parse(&text, id).map_err(|e| damaged(e.within(path.display().to_string()), id))?;
        Ok(Container { dir, record })
    }

    fn absent(&self) -> Error {
        Error::new(Kind::NotFound, "container does not exist").hint(format!(
            "it was sought below {}; an engine's containers have a --root of their own",
            self.root.display()
        ))
    }

    /// Reads the copy of a container's record.
    pub fn load_copy(&self, id: &str) -> Option<Container> {
        let dir = self.dir(id);
        let text = fs::read(dir.join(COPY)).ok()?;
        parse(&text, id).ok().map(|record| Container { dir, record })
    }

    /// Whether there is a directory of this id, readable or not.
    pub fn has_dir(&self, id: &str) -> bool {
        self.dir(id).is_dir()
    }

    /// Whether create came further than the first record, and delete not as far as the end: see
    /// [`Container::remove_dir`].
    pub fn has_begun(&self, id: &str) -> bool {
        self.dir(id).join(START).exists()
    }

    /// Removes the directory of a container that has no readable record.
    pub fn remove_dir(&self, id: &str) -> Result<()> {
        let dir = self.dir(id);
        Ok(fs::remove_dir_all(&dir).call(|| format!("removing {dir:?}"))?)
    }

    /// Ids of all containers, sorted.
    pub fn ids(&self) -> Result<Vec<String>> {
        let entries = match fs::read_dir(&self.root) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.call(|| format!("open({:?})", self.root)).map_err(foreign)?,
        };
        let mut ids: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|id| check_id(id).is_ok())
            .collect();
        ids.sort();
        Ok(ids)
    }
}

/// A whole file in one read: `list` does it for each container.
fn read(path: &Path) -> Result<Vec<u8>, Errno> {
    let file = open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let size = fstat(&file)?.st_size as usize;
    let mut bytes = Vec::with_capacity(size + 1);
    loop {
        let n = retry_on_intr(|| rustix::io::read(&file, spare_capacity(&mut bytes)))?;
        if n == 0 || bytes.len() < bytes.capacity() {
            return Ok(bytes);
        }
        bytes.reserve(64 << 10);
    }
}

/// Reads a record, which must be that of this container: by its id hooks and `list` name it.
fn parse(text: &[u8], id: &str) -> Result<Record> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let newer = |format: u32| {
        let says = format!(
            "format {format} of the state was written by a newer soute; this one reads up to {FORMAT}"
        );
        // Not damaged: nothing here may be undone by one who cannot read it, not even by force.
        Err(Error::new(Kind::State, says))
    };
    match serde_json::from_slice::<Record>(text) {
        Ok(record) if record.format > FORMAT => newer(record.format),
        Ok(record) if record.id != id => {
            Err(Error::new(Kind::Failed, format!("this is the state of container {:?}", record.id)))
        }
        Ok(record) => Ok(record),
        Err(e) => match serde_json::from_slice::<Head>(text) {
            Ok(head) if head.format > FORMAT => newer(head.format),
            _ => Err(Error::new(Kind::Failed, e.to_string())),
        },
    }
}

fn damaged(error: Error, id: &str) -> Error {
    if error.kind() == Kind::State {
        return error.hint("use the soute that made the container");
    }
    error.hint(format!("`soute delete --force {id}` removes what is left of it"))
}

/// What another user's containers answer.
fn foreign(fault: Fault) -> Fault {
    match fault.errno {
        Some(Errno::ACCESS) => {
            fault.hint("these are another user's containers: become that user (root?), or give --root DIR")
        }
        _ => fault,
    }
}

/// Ids are file names: letters, digits and `_+.-`, not beginning with a dot (`.lock` is ours).
pub fn check_id(id: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'+' | b'.' | b'-');
    // A cgroup's name is the id with `soute-` before it.
    let fits = (1..=255 - "soute-".len()).contains(&id.len());
    if fits && id.bytes().all(allowed) && !id.starts_with('.') {
        return Ok(());
    }
    Err(Error::new(Kind::Config, format!("invalid container ID format: {id:?}"))
        .hint("1 to 249 letters, digits, \"_\", \"+\", \"-\" and \".\", not beginning with \".\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_file_names() {
        for id in ["a", "web-1_x+y.z", "-a", &"x".repeat(249)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in ["", ".", "..", ".lock", "a/b", "a b", "ä", "a\n", &"x".repeat(250)] {
            assert!(check_id(id).unwrap_err().message().contains("invalid container ID format"), "{id}");
        }
    }

    #[test]
    fn a_newer_format_is_told_from_a_damaged_file() {
        let says = |text: &str| parse(text.as_bytes(), "web").unwrap_err().message();
        assert!(says("{\"format\": 99}").contains("newer soute"));
        assert!(says("{\"format\": 1}").contains("missing field"));
        assert!(says("nonsense").contains("expected"));
    }

    #[test]
    fn the_state_of_another_container_is_refused() {
        let text = serde_json::to_vec(&Record::new("web").unwrap()).unwrap();
        assert_eq!(parse(&text, "web").unwrap().id, "web");
        assert_eq!(parse(&text, "8web").unwrap_err().message(), "this is the state of container \"web\"");
    }
}
