// SPDX-License-Identifier: Apache-2.0
//! CRIU, which takes processes apart and puts them together again (criu(8)): `criu swrk FD` as a
//! child, and the talk with it over a socket pair.
//!
//! ```text
//!   we                              criu swrk FD
//!   Request{Dump | Restore, …} ---> opens the directories whose numbers it is told in /proc/<we>/fd
//!   act <--------------------------- Response{Notify, "network-lock"}, and so on
//!   Request{Notify, success} ------>
//!   <------------------------------- Response{Dump | Restore, success}
//! ```
//!
//! A restored process is a sibling of CRIU's, hence a child of ours. While CRIU waits for the answer
//! to `post-restore` the processes are whole and stand still.
#![expect(clippy::disallowed_methods, reason = "CRIU's own directories are the host's")]

mod log;
pub mod message;
pub mod outside;

use std::ffi::{CString, OsStr, OsString};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use prost::Message as _;
use rustix::fs::{Access, access};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, Shutdown};
use rustix::net::{SocketFlags, SocketType, recvmsg, shutdown, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use self::message::{Features, Kind, Request, Response, Version};
use super::spawn::{Birth, Born, Child, spawn};
use crate::error::{Call, Fault};
use crate::sys::process::{cloexec_from, default_signals, execve, exit_now};

use self::log::cause;
pub use self::log::errors;

/// The oldest release whose restore knows all that is asked of it here.
const OLDEST: (i32, i32) = (3, 16);
/// The longest message that CRIU sends is a few hundred bytes.
const MAX_BYTES: usize = 16 * 1024;
/// Where programs are looked for when PATH is not set.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// CRIU as it is installed here.
#[derive(Debug)]
pub struct Criu {
    program: PathBuf,
}

impl Criu {
    /// Looks for it in PATH, and asks whether it is new enough.
    pub fn find() -> Result<Self, Fault> {
        let path = std::env::var_os("PATH").unwrap_or_else(|| PATH.into());
        let program = std::env::split_paths(&path)
            .map(|dir| dir.join("criu"))
            .find(|program| program.is_file() && access(program, Access::EXEC_OK).is_ok())
            .ok_or_else(|| {
                Fault::new("exec: \"criu\": executable file not found in $PATH").hint(
                    "checkpoint and restore are CRIU's work: install the package criu (https://criu.org)",
                )
            })?;
        let criu = Self { program };
        let version = criu.version()?;
        if (version.major, version.minor) < OLDEST {
            let Version { major, minor, .. } = version;
            let says = format!("{:?} is CRIU {major}.{minor}", criu.program);
            return Err(Fault::new(says).hint(format!("it must be {}.{} or newer", OLDEST.0, OLDEST.1)));
        }
        Ok(criu)
    }

    fn version(&self) -> Result<Version, Fault> {
        let answer = self.ask(&Request { kind: Kind::Version.into(), ..Request::default() })?;
        answer.version.ok_or_else(|| Fault::new("criu does not tell its version"))
    }

    /// Which of these features CRIU and the kernel have.
    pub fn features(&self, wanted: Features) -> Result<Features, Fault> {
        let request =
            Request { kind: Kind::FeatureCheck.into(), features: Some(wanted), ..Request::default() };
        Ok(self.ask(&request)?.features.unwrap_or_default())
    }

    /// A question that takes no options: one answer comes.
    fn ask(&self, request: &Request) -> Result<Response, Fault> {
        let birth = Birth::default();
        let worker = self.start(&birth, &[], || Ok(()))?;
        worker.send(request)?;
        let (answer, _) = worker.recv()?;
        worker.end()?;
        match answer.success {
            true => Ok(answer),
            false => Err(Fault::new(format!("criu: {}", answer.why()))),
        }
    }

    /// Starts a worker that is born as `birth` says and does `first` before it is CRIU. It inherits
    /// standard input, output and error, and `fds` under their numbers, but nothing else.
    pub fn start(
        &self,
        birth: &Birth<'_>,
        fds: &[BorrowedFd<'_>],
        first: impl FnOnce() -> Result<(), Fault>,
    ) -> Result<Worker, Fault> {
        let (socket, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .call(|| "socketpair")?;
        let (failure, report) = pipe_with(PipeFlags::CLOEXEC).call(|| "pipe2")?;
        let program = c_string(self.program.as_os_str())?;
        let args = [program.clone(), c"swrk".to_owned(), c_string(theirs.as_raw_fd().to_string())?];
        let env = environment()?;
        let child = match spawn(birth)? {
            Born::Parent(child) => child,
            Born::Init => {
                let go = || {
                    first()?;
                    default_signals();
                    cloexec_from(3).call(|| "close_range")?;
                    for fd in fds.iter().copied().chain([theirs.as_fd()]) {
                        fcntl_setfd(fd, FdFlags::empty()).call(|| "fcntl(F_SETFD)")?;
                    }
                    Err::<(), _>(Fault::call(
                        format!("execve({:?})", self.program),
                        execve(&program, &args, &env),
                    ))
                };
                if let Err(fault) = go() {
                    let errno = fault.errno.map_or(0, |errno| errno.raw_os_error());
                    let hint = fault.hint.unwrap_or_default();
                    let _ = rustix::io::write(&report, format!("{errno}\0{}\0{hint}", fault.says).as_bytes());
                }
                exit_now(127)
            }
        };
        drop((theirs, report));
        let worker = Worker { socket, child: Some(child) };
        match failed_start(&failure)? {
            Some(fault) => Err(fault),
            None => Ok(worker),
        }
    }
}

/// What the child says when it could not become CRIU. It says nothing, and ends, when it did.
fn failed_start(failure: &OwnedFd) -> Result<Option<Fault>, Fault> {
    let mut bytes = [0; 4096];
    let length = rustix::io::retry_on_intr(|| rustix::io::read(failure, &mut bytes))
        .call(|| "read from the process that is to be criu")?;
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    let mut parts = text.splitn(3, '\0');
    let Some(errno) = parts.next().and_then(|errno| errno.parse::<i32>().ok()) else { return Ok(None) };
    let mut fault = Fault::new(parts.next().unwrap_or_default());
    fault.errno = (errno != 0).then(|| Errno::from_raw_os_error(errno));
    Ok(Some(match parts.next().unwrap_or_default() {
        "" => fault,
        hint => fault.hint(hint.to_owned()),
    }))
}

/// Ours, with a PATH: CRIU calls tar, ip and iptables.
fn environment() -> Result<Vec<CString>, Fault> {
    let path = std::env::var_os("PATH").is_none().then(|| ("PATH".into(), PATH.into()));
    std::env::vars_os()
        .chain(path)
        .map(|(name, value)| {
            c_string([name.into_vec(), value.into_vec()].map(OsString::from_vec).join(OsStr::new("=")))
        })
        .collect()
}

fn c_string(text: impl AsRef<OsStr>) -> Result<CString, Fault> {
    CString::new(text.as_ref().as_bytes()).map_err(|_| Fault::new("a NUL byte in the path of criu"))
}

/// A CRIU that waits for its one request. It is killed if it is dropped.
#[derive(Debug)]
pub struct Worker {
    socket: OwnedFd,
    child: Option<Child>,
}

impl Worker {
    /// The process.
    pub fn child(&self) -> &Child {
        self.child.as_ref().expect("it is there until its end has been waited for")
    }

    /// Says something.
    pub fn send(&self, request: &Request) -> Result<(), Fault> {
        let flags = rustix::net::SendFlags::NOSIGNAL;
        match rustix::net::send(&self.socket, &request.encode_to_vec(), flags) {
            Err(Errno::PIPE | Errno::CONNRESET) => Err(self.dead()),
            other => other.call(|| "send to criu").map(drop),
        }
    }

    /// The next thing that it says, and the descriptors that came with it.
    pub fn recv(&self) -> Result<(Response, Vec<OwnedFd>), Fault> {
        let mut bytes = vec![0; MAX_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = loop {
            let mut buffers = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.socket, &mut buffers, &mut control, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                Err(Errno::CONNRESET) => return Err(self.dead()),
                other => break other.call(|| "recvmsg from criu")?,
            }
        };
        let mut fds = Vec::new();
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = part {
                fds.extend(rights);
            }
        }
        if received.bytes == 0 {
            return Err(self.dead());
        }
        let response = Response::decode(&bytes[..received.bytes])
            .map_err(|e| Fault::new(format!("criu's answer cannot be read: {e}")))?;
        Ok((response, fds))
    }

    /// The answer to a notification: go on.
    pub fn go_on(&self) -> Result<(), Fault> {
        let kind = Kind::Notify.into();
        self.send(&Request { kind, notify_success: Some(true), ..Request::default() })
    }

    /// Waits for its end; whether that was a good one.
    pub fn end(mut self) -> Result<bool, Fault> {
        let _ = shutdown(&self.socket, Shutdown::Write);
        let child = self.child.take().expect("it is there until its end has been waited for");
        let status = child.wait().call(|| "waitid(criu)")?;
        Ok(status.is_some_and(|status| status.exit_status() == Some(0)))
    }

    fn dead(&self) -> Fault {
        let ended = match self.child().wait() {
            Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
                (Some(code), _) => format!(" with status {code}"),
                (_, Some(signal)) => format!(" by signal {signal}"),
                _ => String::new(),
            },
            _ => String::new(),
        };
        Fault::new(format!("criu ended{ended} without an answer"))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            child.kill();
        }
    }
}

impl Response {
    /// Why it did not go well, as far as the answer itself tells.
    pub fn why(&self) -> String {
        match (cause(&self.errmsg).unwrap_or_default(), self.errno) {
            ("", 0) => "failed for an unknown reason".to_owned(),
            ("", errno) => Fault::call("failed", Errno::from_raw_os_error(errno)).to_string(),
            (cause, _) => cause.to_owned(),
        }
    }
}
