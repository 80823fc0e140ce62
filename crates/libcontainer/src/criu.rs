// SPDX-License-Identifier: Apache-2.0
//! What checkpoint and restore have in common: the flags that both take, the directories, the talk
//! with CRIU, and what is said when it fails.
#![expect(clippy::disallowed_methods, reason = "images are the caller's")]

use std::fs::DirBuilder;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};

use crate::act::anew;
use crate::act::criu::message::{CgroupMode, Kind as About, NetworkLock, Notify, Options, Request, Response};
use crate::act::criu::{Worker, errors};
use crate::cgroup;
use crate::container::Record;
use crate::error::{Call, Error, Fault, Result};
use crate::plan::annotations::CriuConfig;
use crate::plan::external::External;
use crate::plan::mounts::{Mount, What};
use crate::plan::step::Action;
use crate::plan::{Plan, namespaces};

/// What is in the image directory beside CRIU's own files: the keys of standard input, output and
/// error, in runc's form.
pub(crate) const DESCRIPTORS: &str = "descriptors.json";
/// CRIU reads it where it exists, and its settings win over ours, as with runc.
const CONFIG: &str = "/etc/criu/runc.conf";
/// CRIU's "info".
const LOG_LEVEL: i32 = 4;

/// What both commands can be told of CRIU's ways.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriuFlags {
    /// The directory of the checkpoint.
    pub image_path: PathBuf,
    /// The directory of CRIU's log; none: that of the checkpoint.
    pub work_path: Option<PathBuf>,
    /// Connections that stand are taken along.
    pub tcp_established: bool,
    /// Sockets may be connected to somebody outside.
    pub ext_unix_sk: bool,
    /// The session and the terminal may be somebody else's.
    pub shell_job: bool,
    /// File locks are taken along.
    pub file_locks: bool,
    /// Memory that the parent image has as well is punched out of it.
    pub auto_dedup: bool,
    /// Memory goes over when it is first touched.
    pub lazy_pages: bool,
    /// What becomes of the cgroups.
    pub manage_cgroups: CgroupMode,
    /// By which means connections are held.
    pub network_lock: Option<NetworkLock>,
}

/// The directories that CRIU works in, open.
pub(crate) struct Directories {
    images: OwnedFd,
    work: Option<OwnedFd>,
    log: PathBuf,
}

impl Directories {
    /// Opens both; with `make` they are made if they are missing, the work directory always.
    pub(crate) fn open(flags: &CriuFlags, make: bool, log: &str) -> Result<Self> {
        let within = |flag: &'static str| move |fault: Fault| Error::from(fault).within(flag);
        if make {
            make_dir(&flags.image_path).map_err(within("--image-path"))?;
        }
        let images = open_dir(&flags.image_path).map_err(within("--image-path"))?;
        let work = match &flags.work_path {
            None => None,
            Some(path) => {
                make_dir(path).and_then(|()| open_dir(path)).map(Some).map_err(within("--work-path"))?
            }
        };
        let log = flags.work_path.as_ref().unwrap_or(&flags.image_path).join(log);
        Ok(Self { images, work, log })
    }

    /// A file beside CRIU's own.
    pub(crate) fn write_image(&self, name: &str, bytes: &[u8]) -> Result<(), Fault> {
        anew::write(&self.images, name.as_ref(), bytes).call(|| format!("writing {name} of the checkpoint"))
    }
}

fn make_dir(path: &Path) -> Result<(), Fault> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).call(|| format!("mkdir({path:?})"))
}

fn open_dir(path: &Path) -> Result<OwnedFd, Fault> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).call(|| format!("open({path:?})"))
}

/// The options that do not depend on which way it goes.
pub(crate) fn options(flags: &CriuFlags, directories: &Directories, record: &Record) -> Options {
    let log_file = directories.log.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Options {
        images_dir_fd: directories.images.as_raw_fd(),
        work_dir_fd: directories.work.as_ref().map(AsRawFd::as_raw_fd),
        log_level: LOG_LEVEL,
        log_file,
        notify_scripts: true,
        tcp_established: flags.tcp_established,
        ext_unix_sk: flags.ext_unix_sk,
        shell_job: flags.shell_job,
        file_locks: flags.file_locks,
        auto_dedup: flags.auto_dedup,
        lazy_pages: flags.lazy_pages,
        manage_cgroups: true,
        manage_cgroups_mode: Some(flags.manage_cgroups.into()),
        network_lock: flags.network_lock.map(Into::into),
        // Devices and addresses are the work of those who gave them to the container.
        empty_ns: namespaces::Kind::Network.flag() as u32,
        orphan_pts_master: true,
        config_file: config_file(record),
        ..Options::default()
    }
}

fn config_file(record: &Record) -> Option<String> {
    match record.asked().criu_config {
        CriuConfig::Host => Some(CONFIG.to_owned()),
        CriuConfig::None => None,
        CriuConfig::File(path) => Some(path.to_string_lossy().into_owned()),
    }
}

/// The mounts that a checkpoint leaves out. Without a cgroup namespace those of v1 hierarchies are
/// the container's own groups, bound.
pub(crate) fn external_mounts(plan: &Plan, groups: &cgroup::Record) -> Vec<External> {
    let mut all = plan.external_mounts();
    for step in &plan.steps {
        if let Action::Mount(Mount { target, what: What::CgroupTree { namespaced: false }, .. }) =
            &step.action
        {
            let mounts = groups.mounts().into_iter();
            all.extend(mounts.map(|mount| External::new(target.join(mount.name), mount.source)));
        }
    }
    all
}

/// Asks for `what` and answers CRIU until that is done. `act` does what a notification is about.
pub(crate) fn converse(
    worker: &Worker,
    what: About,
    options: Options,
    directories: &Directories,
    mut act: impl FnMut(&Notify, Vec<OwnedFd>) -> Result<()>,
) -> Result<()> {
    let kind = what.into();
    tracing::debug!("criu: {what:?} {options:?}");
    worker.send(&Request { kind, options: Some(options), ..Request::default() })?;
    loop {
        let (response, fds) = worker.recv().map_err(|fault| explained(fault, directories))?;
        match (response.notify.as_ref(), response.success) {
            (_, false) => return Err(failed(what, &response, directories)),
            (Some(notify), true) if response.kind() == About::Notify => {
                tracing::debug!("criu: {}", notify.script);
                act(notify, fds)?;
                worker.go_on()?;
            }
            _ if response.kind() == what => return Ok(()),
            _ => return Err(Fault::new("criu answers what it was not asked").into()),
        }
    }
}

fn failed(what: About, response: &Response, directories: &Directories) -> Error {
    let what = match what {
        About::Restore => "restore",
        About::PreDump => "pre-dump",
        _ => "dump",
    };
    let mut said = errors(&directories.log);
    if said.is_empty() {
        said.push(response.why());
    }
    explained(Fault::new(format!("criu {what}: {}", said.join("; "))), directories)
}

/// With the place where all is told.
fn explained(fault: Fault, directories: &Directories) -> Error {
    let says = |words: &str| fault.says.contains(words);
    let hint = match () {
        () if says("iptables") || says("nft") => {
            "CRIU holds connections by iptables or nft, which must be installed; "
        }
        () if says(".img: Permission denied") => {
            "root of the container's user namespace must be allowed to search the image directory; "
        }
        () => "",
    };
    let hint = format!("{hint}the whole log of CRIU: {}", directories.log.display());
    Error::from(fault).hint(hint)
}
