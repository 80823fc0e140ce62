// SPDX-License-Identifier: Apache-2.0
//! The parent's part of the bind mounts: their sources, opened where that must be done.
//!
//! Without a user namespace they become detached trees before clone3. With one they are opened in
//! init's mount namespace, so that what is cloned of them keeps the locks that the kernel put on
//! the host's mounts; init clones them itself, but for those whose ids are mapped: the right to do
//! that is the parent's.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::act::namespace::Visit;
use crate::act::path;
use crate::act::spawn::{Child, user_namespace};
use crate::act::{mount, namespace, procfs};
use crate::error::{Call, Error, Fault, Result};
use crate::plan::mounts::{IdMap, Ids, Links, Opener};
use crate::plan::namespaces::Kind;
use crate::plan::{Plan, Source};
use crate::sync::{Channel, MAX_FDS, Message};

/// What the parent opens before clone3: a tree for each source that is its own to open.
pub(crate) fn open_before(plan: &Plan) -> Result<Vec<Option<OwnedFd>>> {
    let mut userns = UserNamespaces::default();
    let mut trees = Vec::with_capacity(plan.sources.len());
    // The payload's NOTIFY_SOCKET, the last one, is not made yet.
    let there = plan.sources.len() - usize::from(plan.notify);
    for source in &plan.sources[..there] {
        trees.push(open_one(plan, source, &mut userns)?);
    }
    Ok(trees)
}

/// As [`open_before`], of one source.
pub(crate) fn open(plan: &Plan, source: &Source) -> Result<Option<OwnedFd>> {
    open_one(plan, source, &mut UserNamespaces::default())
}

fn open_one(plan: &Plan, source: &Source, userns: &mut UserNamespaces) -> Result<Option<OwnedFd>> {
    if source.opener != Opener::Parent {
        return Ok(None);
    }
    let mut tree = || {
        let tree = mount::open_tree(&source.path, source.recursive, source.links)?;
        if let Some(idmap) = &source.idmap {
            map(tree.as_fd(), idmap, userns, None)?;
        }
        Ok(tree)
    };
    tree().map(Some).map_err(|fault| told(plan, source, fault))
}

/// What is sent to init before its first Go: which sources, and whether the image's directory
/// comes first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sent {
    /// The image's directory.
    pub image: bool,
    /// Places in [`Plan::sources`].
    pub sources: Vec<usize>,
}

impl Sent {
    pub(crate) fn of(plan: &Plan) -> Self {
        let sent = |n: &usize| plan.sources[*n].opener.sends();
        Self {
            image: plan.opener == Opener::ParentBelowInit,
            sources: (0..plan.sources.len()).filter(sent).collect(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.image && self.sources.is_empty()
    }
}

/// Opens below init's root what init is to have, and sends it.
pub(crate) fn send(
    plan: &Plan,
    sent: &Sent,
    proc: BorrowedFd<'_>,
    child: &Child,
    to: &Channel,
) -> Result<()> {
    let root = procfs::root_of(proc, child.pid)?;
    let mut fds = Vec::with_capacity(sent.sources.len() + 1);
    if sent.image {
        let image = path::open(root.as_fd(), &plan.rootfs, OFlags::PATH | OFlags::DIRECTORY)
            .call(|| format!("open({:?})", plan.rootfs))
            .map_err(|fault| Error::from(fault).within("root.path"))?;
        fds.push(image);
    }
    let mut userns = UserNamespaces::default();
    for source in sent.sources.iter().map(|n| &plan.sources[*n]) {
        let place = place(root.as_fd(), source).map_err(|fault| told(plan, source, fault))?;
        fds.push(match &source.idmap {
            None => place,
            Some(idmap) => {
                let init = (proc, child);
                mapped_inside(place, source, idmap, &mut userns, init)
                    .map_err(|fault| told(plan, source, fault))?
            }
        });
    }
    for batch in fds.chunks(MAX_FDS) {
        let batch: Vec<BorrowedFd<'_>> = batch.iter().map(|fd| fd.as_fd()).collect();
        to.send_with(&Message::Source, &batch).call(|| "sendmsg to init")?;
    }
    Ok(())
}

fn place(root: BorrowedFd<'_>, source: &Source) -> Result<OwnedFd, Fault> {
    let mut flags = OFlags::PATH;
    flags.set(OFlags::NOFOLLOW, source.links != Links::Followed);
    path::open(root, &source.path, flags).call(|| format!("open({:?})", source.path)).map_err(|fault| {
        match fault.errno {
            Some(Errno::NOENT) => fault.hint("a bind mount's source must exist on the host before create"),
            _ => fault,
        }
    })
}

/// A tree can be cloned only by who is in its mount namespace, and its ids mapped only by who has
/// rights over the filesystem: this process, while it visits.
fn mapped_inside(
    place: OwnedFd,
    source: &Source,
    idmap: &IdMap,
    userns: &mut UserNamespaces,
    init: (BorrowedFd<'_>, &Child),
) -> Result<OwnedFd, Fault> {
    let (proc, child) = init;
    let tree = {
        let visit = Visit::from(std::iter::once(Kind::Mount))?;
        let Some(_there_and_back) = visit else {
            return Err(Fault::new("this process's own mount namespace is one that it could not go back to")
                .hint("mapping ids of a mount needs the rights of the host's root"));
        };
        namespace::enter(&namespace::of(proc, child.pid, Kind::Mount)?)?;
        mount::clone_tree(place.as_fd(), source.recursive, &source.path)?
    };
    map(tree.as_fd(), idmap, userns, Some(init))?;
    Ok(tree)
}

fn map(
    tree: BorrowedFd<'_>,
    idmap: &IdMap,
    userns: &mut UserNamespaces,
    init: Option<(BorrowedFd<'_>, &Child)>,
) -> Result<(), Fault> {
    match (&idmap.ids, init) {
        (Some(ids), _) => mount::map_ids(tree, idmap.recursive, userns.with(ids)?),
        (None, Some((proc, child))) => {
            let own = namespace::of(proc, child.pid, Kind::User)?;
            mount::map_ids(tree, idmap.recursive, own.fd.as_fd())
        }
        (None, None) => Err(Fault::new("there is no user namespace yet whose ids could be taken")),
    }
}

/// User namespaces that were made for their maps: one for all mounts that have the same.
#[derive(Default)]
struct UserNamespaces(Vec<(Ids, OwnedFd)>);

impl UserNamespaces {
    fn with(&mut self, ids: &Ids) -> Result<BorrowedFd<'_>, Fault> {
        let n = match self.0.iter().position(|(known, _)| known == ids) {
            Some(n) => n,
            None => {
                self.0.push((ids.clone(), user_namespace(&ids.uid, &ids.gid)?));
                self.0.len() - 1
            }
        };
        Ok(self.0[n].1.as_fd())
    }
}

/// With the property and the words of the mount that the source is for.
fn told(plan: &Plan, source: &Source, fault: Fault) -> Error {
    let step = plan.steps.iter().find(|step| step.origin == source.origin);
    Error::from(fault).within(match step {
        Some(step) => format!("{}: {}", source.origin, step.action),
        None => source.origin.clone(),
    })
}
