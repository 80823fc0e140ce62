// SPDX-License-Identifier: Apache-2.0
//! Runs a command with a time limit and keeps what it said.
//!
//! Output goes to files: a detached container holds its creator's stdout for as long as it
//! lives, which would keep a pipe open, and what it says later can be read all the same.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Map, Value};

/// Children whose status the harness itself waits for.
pub(crate) static OURS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

pub(crate) fn ours() -> BTreeSet<u32> {
    OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
}

/// How long a command may take; nothing may hang.
pub(crate) fn limit() -> Duration {
    let seconds = std::env::var("SOUTE_TIMEOUT").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(20))
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Out {
    /// The command line, for messages.
    pub line: String,
    /// The exit status; 128 and the signal's number where one ended it.
    pub code: i32,
    /// Did a signal end the command itself?
    pub signal: Option<i32>,
    pub(crate) files: [PathBuf; 2],
}

impl Out {
    /// What is in standard output now; a detached container may still write to it.
    pub fn stdout(&self) -> String {
        read(&self.files[0])
    }

    /// What is in standard error now.
    pub fn stderr(&self) -> String {
        read(&self.files[1])
    }

    /// Itself, if the command succeeded.
    #[track_caller]
    pub fn ok(self) -> Self {
        assert!(self.code == 0, "{}: status {}\n{}{}", self.line, self.code, self.stdout(), self.stderr());
        self
    }

    /// The text on stderr, if the command failed as a command should: with a message, and
    /// by no signal.
    #[track_caller]
    pub fn fails(self) -> String {
        assert!(self.code != 0, "{}: should have failed\n{}", self.line, self.stdout());
        assert!(self.signal.is_none(), "{}: ended by signal {:?}", self.line, self.signal);
        let text = self.stderr();
        assert!(!text.trim().is_empty(), "{}: failed without a word", self.line);
        text
    }

    /// The payload's answers by question.
    #[track_caller]
    pub fn answers(&self) -> Value {
        let mut all = Map::new();
        for line in self.stdout().lines() {
            if let Ok(Value::Object(mut line)) = serde_json::from_str(line)
                && let Some(Value::String(question)) = line.remove("q")
            {
                all.insert(question, line.remove("a").unwrap_or_default());
            }
        }
        Value::Object(all)
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout())
            .unwrap_or_else(|error| panic!("{}: {error}:\n{}{}", self.line, self.stdout(), self.stderr()))
    }
}

fn read(path: &PathBuf) -> String {
    fs::read(path).map(|all| String::from_utf8_lossy(&all).into_owned()).unwrap_or_default()
}

/// A command that goes on.
pub struct Running {
    child: Child,
    out: Out,
    end: Instant,
}

impl Running {
    pub(crate) fn start(mut command: Command, files: [PathBuf; 2]) -> io::Result<Self> {
        let line = std::iter::once(command.get_program())
            .chain(command.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .collect::<Vec<_>>()
            .join(" ");
        command.stdout(File::create(&files[0])?).stderr(File::create(&files[1])?);
        // Held across the spawn, so that nobody takes the child for an orphan.
        let mut ours = OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let child = command.spawn()?;
        ours.insert(child.id());
        Ok(Self { child, out: Out { line, code: -1, signal: None, files }, end: Instant::now() + limit() })
    }

    /// The command's process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, where it was asked for.
    pub fn stdin(&mut self) -> Option<std::process::ChildStdin> {
        self.child.stdin.take()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// What it has said so far.
    pub fn so_far(&self) -> &Out {
        &self.out
    }

    /// Has it ended?
    pub fn ended(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(_)))
    }

    /// Waits for its end, which must come in time.
    #[track_caller]
    pub fn wait(mut self) -> Out {
        let mut pause = Duration::from_micros(200);
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return self.ended_with(status);
            }
            if Instant::now() > self.end {
                let (line, said, complained) = (self.out.line.clone(), self.out.stdout(), self.out.stderr());
                drop(self);
                panic!("{line}: still running after {:?}, killed\n{said}{complained}", limit());
            }
            // A process that exec left may be this process's child by now, and a pid namespace
            // ends only when all in it are collected: `delete` would wait for us.
            crate::census::reap_orphans(&ours());
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(8));
        }
    }

    fn ended_with(&mut self, status: ExitStatus) -> Out {
        let signal = status.signal();
        let code = status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0));
        Out { line: self.out.line.clone(), code, signal, files: self.out.files.clone() }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        OURS.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&self.child.id());
    }
}

/// The processor time of all children that have ended, theirs included.
pub fn children_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    // cutime and cstime of proc_pid_stat(5), in ticks of 10 ms.
    let ticks = rest.split_whitespace().skip(13).take(2).filter_map(|text| text.parse::<u64>().ok());
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// A command with nothing on its standard input.
pub(crate) fn quiet(program: &std::path::Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}
