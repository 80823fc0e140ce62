// SPDX-License-Identifier: Apache-2.0
//! Hooks (runtime-spec, "POSIX-platform Hooks"): programs of the user that run at fixed points of a
//! container's life, with the state on stdin.
//!
//! The parent runs them in the host's namespaces, init in the container's; both use this file, and
//! init is PID 1. A hook gets its own process group, default signals, exactly the environment that
//! is configured and no descriptor but 0 to 2. What it prints is kept for the error message.
//!
//! The end of a hook is what its pidfd says. The end of its output is not waited for: a daemon
//! that it left behind may hold that pipe for ever.
#![expect(clippy::disallowed_methods, reason = "hooks are programs of the host")]

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, fcntl_setfl};
use rustix::io::{Errno, read, retry_on_intr, write};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions};
use rustix::process::{chdir, kill_process_group, setpgid, wait, waitid};

use crate::error::{Call, Fault};
use crate::plan::annotations::HookOutput;
use crate::plan::step::Hook;
use crate::sys::process::{Fork, cloexec_from, clone, default_signals, execve, exit_now};

/// How much of a hook's output an error tells: the last 4 KiB.
const TAIL: usize = 4096;
/// How long a killed hook may take to die. Only one that hangs in the kernel takes any time.
const DEATH: Duration = Duration::from_secs(5);

/// What every hook of one moment gets.
#[derive(Clone, Copy)]
pub struct Given<'a> {
    /// The container's state as JSON, on standard input.
    pub state: &'a str,
    /// Where the hook is to stand; none: where we stand.
    pub cwd: Option<&'a Path>,
    /// Where it writes to.
    pub output: &'a Output,
}

/// Files of the host that take what hooks write, in place of the error message.
#[derive(Debug, Default)]
pub struct Output {
    stdout: Option<OwnedFd>,
    stderr: Option<OwnedFd>,
}

impl Output {
    /// Opens what was asked for, to append.
    pub fn open(wanted: &HookOutput) -> Result<Self, Fault> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(append_to).transpose();
        Ok(Self { stdout: open(&wanted.stdout)?, stderr: open(&wanted.stderr)? })
    }
}

fn append_to(path: &Path) -> Result<OwnedFd, Fault> {
    // A fifo without a reader must not hold us up.
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::from_raw_mode(0o600))
        .call(|| format!("open({path:?}) for the output of hooks"))
}

/// Runs hooks in order and stops at the first that fails, as every kind but poststop wants it.
///
/// `kind` is the property's name ("createRuntime").
pub fn run(kind: &str, hooks: &[Hook], given: Given<'_>) -> Result<(), Fault> {
    hooks.iter().enumerate().try_for_each(|(i, hook)| run_one(&format!("hooks.{kind}[{i}]"), hook, given))
}

/// Runs all hooks, whatever becomes of them, and logs a warning for each that fails: poststop, since
/// nothing can be undone any more.
pub fn run_all_warn(kind: &str, hooks: &[Hook], given: Given<'_>) {
    for (i, hook) in hooks.iter().enumerate() {
        if let Err(fault) = run_one(&format!("hooks.{kind}[{i}]"), hook, given) {
            tracing::warn!("{fault}");
        }
    }
}

/// Reaps whatever has ended among the children of this process: what hooks left behind, when this
/// process is PID 1 of the container, or a subreaper, and no other child is to be waited for.
pub fn reap_orphans() -> Result<(), Fault> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(Errno::CHILD) => return Ok(()),
            Err(errno) => return Err(Fault::call("wait4", errno)),
        }
    }
}

fn run_one(property: &str, hook: &Hook, given: Given<'_>) -> Result<(), Fault> {
    let name = format!("{property}: {}", hook.path.display());
    let within = |mut fault: Fault| {
        fault.says = if fault.says.is_empty() { name.clone() } else { format!("{name}: {}", fault.says) };
        fault
    };
    tracing::debug!("{name}");
    let program = Program::new(hook, given.cwd).map_err(within)?;
    let limit = hook.timeout.map(Duration::from_secs);
    let mut process = Process::spawn(&program, given).map_err(within)?;
    process.attend(limit).and_then(|ended| process.verdict(ended, limit)).map_err(within)
}

/// What execve needs, made before the fork.
struct Program {
    path: CString,
    args: Vec<CString>,
    env: Vec<CString>,
    cwd: Option<CString>,
}

impl Program {
    fn new(hook: &Hook, cwd: Option<&Path>) -> Result<Self, Fault> {
        let path = c_string(hook.path.as_os_str().as_bytes())?;
        let args = c_strings(&hook.args)?;
        let env = c_strings(&hook.env)?;
        let cwd = cwd.map(|cwd| c_string(cwd.as_os_str().as_bytes())).transpose()?;
        Ok(Self { path, args, env, cwd })
    }

    /// In the child. Comes back only with what failed.
    fn exec(&self, stdin: &OwnedFd, stdout: &OwnedFd, stderr: &OwnedFd) -> (Stage, Errno) {
        default_signals();
        // The parent does the same: whoever is first, a timeout finds the group.
        let _ = setpgid(None, None);
        let dup = dup2_stdin(stdin).and_then(|()| dup2_stdout(stdout)).and_then(|()| dup2_stderr(stderr));
        if let Err(errno) = dup {
            return (Stage::Dup, Errno::from_raw_os_error(errno as i32));
        }
        if let Some(Err(errno)) = self.cwd.as_deref().map(chdir) {
            return (Stage::Chdir, errno);
        }
        // Ours are close-on-exec from birth; those that our caller gave us are not.
        if let Err(errno) = cloexec_from(3) {
            return (Stage::CloseRange, errno);
        }
        (Stage::Exec, execve(&self.path, &self.args, &self.env))
    }
}

fn c_string(bytes: &[u8]) -> Result<CString, Fault> {
    CString::new(bytes)
        .map_err(|_| Fault::new(format!("a zero byte in {:?}", String::from_utf8_lossy(bytes))))
}

fn c_strings(strings: &[String]) -> Result<Vec<CString>, Fault> {
    strings.iter().map(|s| c_string(s.as_bytes())).collect()
}

/// Where a child failed before it was the hook.
#[derive(Clone, Copy)]
enum Stage {
    Dup,
    Chdir,
    CloseRange,
    Exec,
}

impl Stage {
    const ALL: [(Stage, &str); 4] = [
        (Self::Dup, "dup2 of its stdio"),
        (Self::Chdir, "chdir to its working directory"),
        (Self::CloseRange, "close_range"),
        (Self::Exec, "execve"),
    ];
}

/// A hook that runs.
struct Process<'a> {
    pid: Pid,
    pidfd: OwnedFd,
    /// None once all of the state is written.
    state: Option<State<'a>>,
    /// Stdout and stderr. None once they have ended.
    output: Option<OwnedFd>,
    tail: Vec<u8>,
    /// Holds five bytes if the child failed before execve, else nothing.
    failure: OwnedFd,
}

/// The state on its way into the hook's stdin.
struct State<'a> {
    left: &'a [u8],
    writer: OwnedFd,
    /// The other end, held while we write: a hook that closes its stdin must not cost us a SIGPIPE,
    /// which in init has its default effect.
    _reader: OwnedFd,
}

/// How a hook ended.
enum Ended {
    ByItself,
    TimedOut,
}

impl<'a> Process<'a> {
    fn spawn(program: &Program, given: Given<'a>) -> Result<Self, Fault> {
        let pipe = || pipe_with(PipeFlags::CLOEXEC).call(|| "pipe2");
        let (stdin, writer) = pipe()?;
        let (output, told) = pipe()?;
        let (failure, report) = pipe()?;
        for ours in [&writer, &output, &failure] {
            fcntl_setfl(ours, OFlags::NONBLOCK).call(|| "fcntl(F_SETFL)")?;
        }
        match clone().call(|| "clone")? {
            Fork::Child => {
                let Output { stdout, stderr } = given.output;
                let to = |file| Option::as_ref(file).unwrap_or(&told);
                let (stage, errno) = program.exec(&stdin, to(stdout), to(stderr));
                let mut bytes = [stage as u8; 5];
                bytes[1..].copy_from_slice(&errno.raw_os_error().to_ne_bytes());
                let _ = write(&report, &bytes);
                exit_now(127)
            }
            Fork::Parent { pid, pidfd } => {
                // Refused once the hook has been executed; then it has done it itself.
                let _ = setpgid(Some(pid), Some(pid));
                let state = Some(State { left: given.state.as_bytes(), writer, _reader: stdin });
                Ok(Self { pid, pidfd, state, output: Some(output), tail: Vec::new(), failure })
            }
        }
    }

    /// Feeds stdin and reads the output until the process ends or its time is up.
    fn attend(&mut self, limit: Option<Duration>) -> Result<Ended, Fault> {
        // A limit beyond the clock's end is none.
        let end = limit.and_then(|limit| Instant::now().checked_add(limit));
        loop {
            let left = end.map(|end| end.saturating_duration_since(Instant::now()));
            if left == Some(Duration::ZERO) {
                self.kill()?;
                return Ok(Ended::TimedOut);
            }
            let (ended, readable, writable) = self.poll(left)?;
            if writable {
                self.write_state();
            }
            if ended {
                self.read_rest();
                return Ok(Ended::ByItself);
            }
            if readable {
                self.read_output();
            }
        }
    }

    /// (it has ended, its output is readable, its stdin is writable)
    fn poll(&self, limit: Option<Duration>) -> Result<(bool, bool, bool), Fault> {
        let mut set = vec![PollFd::new(&self.pidfd, PollFlags::IN)];
        set.extend(self.output.iter().map(|fd| PollFd::new(fd, PollFlags::IN)));
        set.extend(self.state.iter().map(|state| PollFd::new(&state.writer, PollFlags::OUT)));
        let limit = limit.map(|l| Timespec { tv_sec: l.as_secs() as i64, tv_nsec: l.subsec_nanos().into() });
        match poll(&mut set, limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Fault::call("poll", errno)),
        }
        // In the order of the set; what is not there any more is not ready.
        let mut answers = set.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |there: bool| there && answers.next().unwrap_or_default();
        Ok((next(true), next(self.output.is_some()), next(self.state.is_some())))
    }

    fn write_state(&mut self) {
        let Some(state) = &mut self.state else { return };
        match write(&state.writer, state.left) {
            Ok(n) => state.left = &state.left[n..],
            Err(Errno::AGAIN | Errno::INTR) => return,
            Err(_) => state.left = &[],
        }
        if state.left.is_empty() {
            self.state = None;
        }
    }

    /// One read. False when there is nothing, or nothing any more.
    fn read_output(&mut self) -> bool {
        let mut bytes = [0; TAIL];
        let Some(output) = &self.output else { return false };
        match read(output, &mut bytes) {
            Ok(n @ 1..) => {
                self.tail.extend_from_slice(&bytes[..n]);
                self.tail.drain(..self.tail.len().saturating_sub(TAIL));
                true
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            Ok(0) | Err(_) => {
                self.output = None;
                false
            }
        }
    }

    /// What a full pipe can hold, and no more: others may write on.
    fn read_rest(&mut self) {
        const PIPE: usize = 64 * 1024;
        for _ in 0..=PIPE / TAIL {
            if !self.read_output() {
                return;
            }
        }
    }

    /// SIGKILL to the whole group. Its number cannot have been given to others: the leader is not
    /// reaped yet.
    fn kill(&mut self) -> Result<(), Fault> {
        match kill_process_group(self.pid, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(Fault::call("kill of its process group", errno)),
        }
        let end = Instant::now() + DEATH;
        self.state = None;
        self.read_rest();
        self.output = None;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.poll(Some(left))?.0 {
                return Ok(());
            }
        }
    }

    /// Reaps the process and says what is to be said about it.
    fn verdict(&mut self, ended: Ended, limit: Option<Duration>) -> Result<(), Fault> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = retry_on_intr(|| waitid(WaitId::PidFd(self.pidfd.as_fd()), options));
        let status = status.call(|| "waitid(P_PIDFD)")?;
        if let Ended::TimedOut = ended {
            let seconds = limit.unwrap_or_default().as_secs();
            return Err(self.fault(format!("timed out after {seconds} s and was killed")));
        }
        if let Some(fault) = self.failed_start() {
            return Err(fault);
        }
        match status.as_ref().map(|s| (s.exit_status(), s.terminating_signal())) {
            Some((Some(0), _)) => Ok(()),
            Some((Some(code), _)) => Err(self.fault(format!("exit status {code}"))),
            Some((None, Some(signal))) => Err(self.fault(format!("killed by signal {signal}"))),
            _ => Err(Fault::new(format!("waitid(P_PIDFD) tells no exit status ({status:?})"))),
        }
    }

    fn failed_start(&self) -> Option<Fault> {
        let mut bytes = [0; 5];
        if read(&self.failure, &mut bytes) != Ok(bytes.len()) {
            return None;
        }
        let [stage, errno @ ..] = bytes;
        let (_, call) = Stage::ALL.iter().find(|(s, _)| *s as u8 == stage)?;
        Some(Fault::call(*call, Errno::from_raw_os_error(i32::from_ne_bytes(errno))))
    }

    /// With the last words of the hook.
    fn fault(&self, says: String) -> Fault {
        let tail = String::from_utf8_lossy(&self.tail);
        Fault::new(if tail.trim().is_empty() { says } else { format!("{says}: {}", tail.trim()) })
    }
}

#[cfg(test)]
mod tests;
