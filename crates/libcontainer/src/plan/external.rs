// SPDX-License-Identifier: Apache-2.0
//! What a container has and does not own: trees of the host, and namespaces that it joined. A
//! checkpoint names these in place of their content, and whoever restores it brings them again.
//!
//! The names are runc's, so that either runtime can restore what the other has dumped: a mount is
//! called by its place in config.json, never by a path of the host, which may be another machine's.

use std::path::{Path, PathBuf};

use super::Plan;
use super::mounts::{Links, What};
use super::namespaces::Kind;
use super::step::Action;

/// The host's null device, which covers masked files: one name for all of them.
const NULL: &str = "/dev/null";

/// A mount that shows something of the host's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct External {
    /// Where, in the container, as configured.
    pub place: PathBuf,
    /// What a checkpoint calls it.
    pub name: String,
    /// On the host.
    pub source: PathBuf,
}

impl External {
    /// A mount that is called by its place.
    pub fn new(place: PathBuf, source: PathBuf) -> Self {
        let name = place.to_string_lossy().into_owned();
        Self { place, name, source }
    }

    /// It covers a masked path; a directory there has another cover, which is the container's own.
    pub fn is_cover(&self) -> bool {
        self.name == NULL && self.place != Path::new(NULL)
    }
}

/// A place in the image, or in a tree of the host that is mounted there, which must exist before
/// something is mounted on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mountpoint {
    /// A directory of the host.
    pub base: PathBuf,
    /// From there.
    pub path: PathBuf,
    /// What will be mounted; none: a filesystem, on a directory.
    pub source: Option<PathBuf>,
}

impl Plan {
    /// The mounts that a checkpoint leaves out, in their order.
    pub fn external_mounts(&self) -> Vec<External> {
        let external = |action: &Action| match action {
            Action::Mount(mount) => match &mount.what {
                What::Bind { links: Links::Copied, .. } => None,
                What::Bind { source, .. } => Some(External::new(mount.target.clone(), source.clone())),
                _ => None,
            },
            Action::MakeDevice(device) if device.bind => {
                Some(External::new(device.path.clone(), device.path.clone()))
            }
            Action::Mask { path } => {
                Some(External { place: path.clone(), name: NULL.to_owned(), source: NULL.into() })
            }
            _ => None,
        };
        self.steps.iter().filter_map(|step| external(&step.action)).collect()
    }

    /// What must be there before a restore. What lies in a filesystem of the container's own comes
    /// back with that.
    pub fn mountpoints(&self) -> Vec<Mountpoint> {
        // (place, directory of the host, if it shows one)
        let mut below: Vec<(&Path, Option<&Path>)> = vec![(Path::new("/"), Some(&self.rootfs))];
        let mut points = Vec::new();
        for step in &self.steps {
            let Action::Mount(mount) = &step.action else { continue };
            let source = match &mount.what {
                What::Remount { .. } | What::Bind { links: Links::Copied, .. } => continue,
                What::Bind { source, .. } => Some(source.as_path()),
                _ => None,
            };
            let around = below.iter().rev().filter_map(|(place, base)| {
                let path = mount.target.strip_prefix(place).ok()?;
                Some((place.components().count(), *base, path))
            });
            // The deepest place; of two mounts on one place, the later one.
            let nearest = around.fold(None, |best: Option<(usize, _, _)>, next| match best {
                Some(best) if best.0 >= next.0 => Some(best),
                _ => Some(next),
            });
            if let Some((_, Some(base), path)) = nearest {
                let source = source.map(Path::to_owned);
                points.push(Mountpoint { base: base.to_owned(), path: path.to_owned(), source });
            }
            below.push((&mount.target, source));
        }
        points
    }
}

/// What CRIU is told of a namespace that was joined and is not dumped; those of the other kinds are
/// entered again by their path.
pub fn namespace_key(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Network => Some("extRootNetNS"),
        Kind::Pid => Some("extRootPidNS"),
        _ => None,
    }
}
