// SPDX-License-Identifier: Apache-2.0
//! Opens and reads the files of a bundle, within bounds: a FIFO, a device or an endless
//! file in their place must not hold the runtime.
#![expect(clippy::disallowed_methods, reason = "config.json is the caller's")]

use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::buffer::spare_capacity;
use rustix::fs::{FileType, Mode, OFlags, fcntl_setfl, fstat, open};
use rustix::io::{Errno, retry_on_intr};

use crate::error::{Call, Error, Kind};

/// No configuration is larger.
pub(super) const LIMIT: usize = 64 << 20;

/// The path from the root. Symbolic links stay, `..` does not.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, Error> {
    let full = std::path::absolute(path).call(|| format!("{path:?}"))?;
    if full.components().any(|part| part == Component::ParentDir) {
        return Ok(std::fs::canonicalize(&full).call(|| format!("realpath({path:?})"))?);
    }
    Ok(full)
}

/// The whole of a bundle's config.json, which must be a regular file.
pub(super) fn read_config(dir: &Path, config: &Path) -> Result<Vec<u8>, Error> {
    let named = || format!("open({config:?})");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = match open(config, flags, Mode::empty()) {
        Err(Errno::NOENT) if config.parent() == Some(dir) && !dir.is_dir() => {
            return Err(Error::new(
                Kind::Config,
                format!("bundle {}: there is no such directory", dir.display()),
            ));
        }
        Err(Errno::NOENT) => {
            let name = match config.strip_prefix(dir) {
                Ok(inside) => inside,
                Err(_) => config,
            };
            return Err(absent(config, &name.display().to_string()));
        }
        opened => opened.call(named)?,
    };
    let stat = fstat(&fd).call(|| format!("fstat({config:?})"))?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(Error::new(Kind::Config, format!("{} is not a regular file", config.display())));
    }
    read(fd, stat.st_size as usize, config)
}

/// The whole of a file that the caller named; it may be a pipe.
pub(super) fn read_any(path: &Path) -> Result<Vec<u8>, Error> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))?;
    let stat = fstat(&fd).call(|| format!("fstat({path:?})"))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => {}
        // Its writer is there already, or it reads as empty.
        FileType::Fifo | FileType::CharacterDevice => {
            fcntl_setfl(&fd, OFlags::empty()).call(|| format!("fcntl({path:?}, F_SETFL)"))?;
        }
        _ => return Err(Error::new(Kind::Config, format!("{} is not a file", path.display()))),
    }
    read(fd, stat.st_size as usize, path)
}

fn read(file: OwnedFd, size: usize, path: &Path) -> Result<Vec<u8>, Error> {
    if size > LIMIT {
        return Err(too_large(&path.display().to_string()));
    }
    let mut bytes = Vec::new();
    while bytes.len() <= LIMIT {
        // Room for one byte more than there is: a read that leaves it free was the last.
        bytes.reserve(if bytes.is_empty() { size + 1 } else { 64 << 10 });
        let n = retry_on_intr(|| rustix::io::read(&file, spare_capacity(&mut bytes)))
            .call(|| format!("read({path:?})"))?;
        if n == 0 || bytes.len() == size {
            return Ok(bytes);
        }
    }
    Err(too_large(&path.display().to_string()))
}

pub(super) fn too_large(name: &str) -> Error {
    Error::new(Kind::Config, format!("{name} has more than {} MiB", LIMIT >> 20))
}

/// The error for a bundle without its file, in the words that callers look for.
fn absent(config: &Path, name: &str) -> Error {
    Error::new(Kind::Config, format!("JSON specification file {name} not found"))
        .within(format!("bundle {}", config.parent().unwrap_or(Path::new("/")).display()))
        .hint("soute spec writes a config.json to start from")
}
