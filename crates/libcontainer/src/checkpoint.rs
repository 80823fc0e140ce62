// SPDX-License-Identifier: Apache-2.0
//! checkpoint: all processes of a container are written to files, from which `restore` makes them
//! again, here or on another machine.
//!
//! ```text
//! config.json -> plan                  the same that create ran: what of the container is the host's
//! /proc/PID                            which mounts and descriptors these are now
//! criu: freeze, dump, [kill]
//! the container is deleted             unless it is to go on
//! ```
#![expect(clippy::disallowed_methods, reason = "images are the caller's")]

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::process::Pid;

use crate::act::criu::Criu;
use crate::act::criu::message::{Features, Kind as About, Options, PageServer};
use crate::act::criu::outside::Inside;
use crate::act::namespace;
use crate::act::procfs;
use crate::act::spawn::Birth;
use crate::container::{Container, Status, notify_dir};
use crate::context::Context;
use crate::create::{self, CreateRequest};
use crate::criu::{self, CriuFlags, DESCRIPTORS, Directories};
use crate::delete;
use crate::error::{Call, Error, Fault, Kind, Result};
use crate::plan::Plan;
use crate::plan::external::namespace_key;
use crate::store::Store;
use crate::sys::process::{adopt_fd, descriptor_flags};

/// What the caller of `checkpoint` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRequest {
    /// The container.
    pub id: String,
    /// CRIU's ways.
    pub criu: CriuFlags,
    /// An earlier checkpoint, relative to the image directory: only what has changed since is written.
    pub parent_path: Option<PathBuf>,
    /// The container goes on.
    pub leave_running: bool,
    /// Only memory is written, and the container goes on.
    pub pre_dump: bool,
    /// A descriptor that gets a zero byte when the lazy pages can be fetched.
    pub status_fd: Option<i32>,
    /// Address and port of the one who takes the memory.
    pub page_server: Option<(String, u16)>,
    /// Connections that are being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Files without a name get one for the time being.
    pub link_remap: bool,
}

/// Writes a running container to files, and deletes it unless it is to go on.
pub fn checkpoint(context: &Context, request: &CheckpointRequest) -> Result<()> {
    go(context, request).map_err(|e| e.within(format!("checkpoint {}", request.id)))
}

fn go(context: &Context, request: &CheckpointRequest) -> Result<()> {
    let store = Store::new(&context.root);
    // Before the lock, which would leave a file for an id that there is not.
    store.load(&request.id)?;
    let lock = store.lock(&request.id)?;
    let container = store.load(&request.id)?;
    let init = living(&container)?;
    let mut status_fd = request.status_fd.map(status_fd).transpose()?;
    let criu = Criu::find()?;
    require(&criu, request)?;
    let plan = plan(context, &container)?;
    let directories = Directories::open(&request.criu, true, "dump.log")?;
    check_parent(request)?;
    let options = options(request, &directories, &container, &plan, init)?;
    let what = if request.pre_dump { About::PreDump } else { About::Dump };
    let birth = Birth::default();
    let worker = criu.start(&birth, &[], || Ok(()))?;
    criu::converse(&worker, what, options, &directories, |notify, _| {
        if let ("status-ready", Some(fd)) = (notify.script.as_str(), status_fd.take()) {
            rustix::io::write(&fd, &[0]).call(|| "write(--status-fd)")?;
        }
        Ok(())
    })?;
    // After a pre-dump CRIU waits for another, and takes our going for a failure.
    if !worker.end()? && !request.pre_dump {
        return Err(Fault::new("criu failed after the dump").into());
    }
    if !request.leave_running && !request.pre_dump {
        delete::remove(&container)?;
        lock.remove()?;
    }
    Ok(())
}

/// The container's first process, if there is something to be written.
fn living(container: &Container) -> Result<Pid> {
    let status = container.status();
    let pid = container.record.init.filter(|init| init.is_alive()).and_then(|init| Pid::from_raw(init.pid));
    match (status, pid) {
        (Status::Running | Status::Paused, Some(pid)) => Ok(pid),
        _ => Err(Error::new(Kind::State, format!("container cannot be checkpointed in {status} state"))),
    }
}

/// A descriptor of the caller's.
fn status_fd(number: i32) -> Result<OwnedFd> {
    let invalid =
        |why: &str| Error::new(Kind::Config, format!("invalid --status-fd argument {number}: {why}"));
    if number < 3 || descriptor_flags(number).is_none() {
        return Err(invalid("not open, or one of the standard streams"));
    }
    let fd = adopt_fd(number);
    let flags = fcntl_getfl(&fd).call(|| "fcntl(F_GETFL)")?;
    match flags.intersects(OFlags::WRONLY | OFlags::RDWR) {
        true => Ok(fd),
        false => Err(invalid("not writable")),
    }
}

/// What CRIU alone would tell late, and in riddles.
fn require(criu: &Criu, request: &CheckpointRequest) -> Result<()> {
    let wanted = Features {
        mem_track: request.pre_dump.then_some(true),
        lazy_pages: request.criu.lazy_pages.then_some(true),
    };
    if wanted == Features::default() {
        return Ok(());
    }
    let there = criu.features(wanted)?;
    for (flag, wanted, there, what) in [
        ("--pre-dump", wanted.mem_track, there.mem_track, "memory tracking (CONFIG_MEM_SOFT_DIRTY)"),
        ("--lazy-pages", wanted.lazy_pages, there.lazy_pages, "userfaultfd (CONFIG_USERFAULTFD)"),
    ] {
        if wanted.is_some() && there != Some(true) {
            let says = format!("{flag}: this kernel or criu has no {what}");
            return Err(Error::new(Kind::Failed, says));
        }
    }
    Ok(())
}

/// The plan that the container was made by.
fn plan(context: &Context, container: &Container) -> Result<Plan> {
    let record = &container.record;
    let request = CreateRequest {
        id: record.id.clone(),
        bundle: record.bundle.clone(),
        config: record.config.clone(),
        ..CreateRequest::default()
    };
    let notify = record.notify.then(|| notify_dir(&container.dir));
    create::plan_with(context, &request, notify).map(|(_, _, plan)| plan)
}

/// CRIU takes it for relative to the images, wherever we stand.
fn check_parent(request: &CheckpointRequest) -> Result<()> {
    let Some(parent) = &request.parent_path else { return Ok(()) };
    let invalid = |says: String| Error::new(Kind::Config, says);
    if parent.is_absolute() {
        return Err(invalid("--parent-path must be relative".to_owned())
            .hint("it is relative to the image directory, so that both can move together"));
    }
    let whole = request.criu.image_path.join(parent);
    match whole.is_dir() {
        true => Ok(()),
        false => Err(invalid(format!("invalid --parent-path: {} is not a directory", whole.display()))),
    }
}

fn options(
    request: &CheckpointRequest,
    directories: &Directories,
    container: &Container,
    plan: &Plan,
    init: Pid,
) -> Result<Options> {
    let record = &container.record;
    let mut options = Options {
        pid: Some(init.as_raw_nonzero().get()),
        root: record.rootfs.to_string_lossy().into_owned(),
        leave_running: request.leave_running,
        tcp_skip_in_flight: request.tcp_skip_in_flight,
        link_remap: request.link_remap,
        freeze_cgroup: record.cgroup.freezer(),
        parent_img: request.parent_path.as_ref().map(|path| path.to_string_lossy().into_owned()),
        track_mem: request.parent_path.is_some(),
        page_server: request
            .page_server
            .clone()
            .map(|(address, port)| PageServer { address, port: port.into() }),
        ..criu::options(&request.criu, directories, record)
    };
    for (kind, ..) in &plan.namespaces.joined {
        if let Some(key) = namespace_key(*kind) {
            let proc = procfs::host()?;
            let joined = namespace::of(proc.as_fd(), init, *kind)?;
            let inode = rustix::fs::fstat(&joined.fd).call(|| "fstat(namespace)")?.st_ino;
            options.external.push(format!("{}[{inode}]:{key}", kind.link()));
        }
    }
    if !request.pre_dump {
        let inside = Inside::of(init)?;
        options.ext_mnt = inside.external(&criu::external_mounts(plan, &record.cgroup))?;
        let descriptors = inside.descriptors();
        options.external.extend(descriptors.iter().filter(|d| d.external).map(|d| d.key.clone()));
        let keys: Vec<&str> = descriptors.iter().map(|d| d.key.as_str()).collect();
        let text = serde_json::to_vec(&keys).map_err(|e| Fault::new(format!("{DESCRIPTORS}: {e}")))?;
        directories.write_image(DESCRIPTORS, &text)?;
    }
    Ok(options)
}
