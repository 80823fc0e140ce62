// SPDX-License-Identifier: Apache-2.0
//! The relay between two real ptys, and signals with a shell as the process.
//!
//! What needs signals runs in a forked process of one thread ([`Server`]): this one has several, and
//! the kernel would give a signal to any that does not block it.

#![expect(clippy::zombie_processes, reason = "the relay reaps them, by pidfd")]

use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags, fcntl_getfl, open};
use rustix::process::{PidfdFlags, getpgrp, getuid, ioctl_tiocsctty, pidfd_open, setpgid, setsid, waitpid};
use rustix::termios::{LocalModes, OptionalActions, OutputModes};
use rustix::termios::{tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr, tcsetpgrp, tcsetwinsize};

use super::*;
use crate::act::console::{Pty, open_pty};
use crate::sys::process::{Fork, clone3, exit_now};

fn pty(size: (u16, u16)) -> Pty {
    let pts = open("/dev/pts", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
    open_pty(pts.as_fd(), Some(size), getuid()).unwrap()
}

/// A pty that passes bytes as they are.
fn without_processing(pty: &Pty) {
    let mut mode = tcgetattr(&pty.slave).unwrap();
    mode.make_raw();
    tcsetattr(&pty.slave, OptionalActions::Now, &mode).unwrap();
}

/// A shell with the slave as its terminal.
fn shell_on(slave: OwnedFd, script: &str) -> Child {
    let slave = || Stdio::from(slave.try_clone().unwrap());
    spawn(Command::new("/bin/sh").args(["-c", script]).stdin(slave()).stdout(slave()).stderr(slave()))
}

fn shell(script: &str) -> Child {
    spawn(Command::new("/bin/sh").args(["-c", script]).stdout(Stdio::piped()))
}

/// With an empty mask, as init gives it to a payload: a child of std has its parent's.
fn spawn(command: &mut Command) -> Child {
    let former = SigSet::empty().thread_swap_mask(SigmaskHow::SIG_SETMASK).unwrap();
    let child = command.spawn().unwrap();
    former.thread_set_mask().unwrap();
    child
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn wait_for(child: &Child, console: Option<OwnedFd>, input: &impl AsFd, output: &impl AsFd) -> i32 {
    let signals = prepare(false).unwrap();
    let pid = pid_of(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let foreground = Foreground { pid, pidfd: pidfd.as_fd(), signals: &signals, console, notify: None };
    foreground.wait_on(input.as_fd(), output.as_fd()).unwrap()
}

fn null() -> File {
    File::options().read(true).write(true).open("/dev/null").unwrap()
}

/// A process with a pty, seen by a caller whose stdin and stdout are pipes. Returns the status and
/// what the caller saw.
fn run_on_pipes(script: &str, input: &[u8]) -> (i32, Vec<u8>) {
    let console = pty((24, 80));
    let child = shell_on(console.slave, script);
    let (stdin, mut typed) = std::io::pipe().unwrap();
    let (mut seen, stdout) = std::io::pipe().unwrap();
    let input = input.to_vec();
    let typist = thread::spawn(move || typed.write_all(&input));
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        seen.read_to_end(&mut all).unwrap();
        all
    });
    let status = wait_for(&child, Some(console.master), &stdin, &stdout);
    drop((stdin, stdout));
    let _ = typist.join().unwrap();
    (status, reader.join().unwrap())
}

#[test]
fn exit_status_is_a_code_or_a_signal() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 143), ("kill -KILL $$", 137)] {
        assert_eq!(wait_for(&shell(script), None, &null(), &null()), status, "{script}");
        assert_eq!(run_on_pipes(script, b"").0, status, "{script} with a terminal");
    }
}

#[test]
fn output_written_just_before_the_end_is_seen() {
    for _ in 0..200 {
        assert_eq!(run_on_pipes("printf end", b""), (0, b"end".to_vec()));
    }
}

#[test]
fn the_end_of_redirected_input_is_told() {
    let (status, seen) = run_on_pipes("stty -echo; cat; echo bye", b"");
    assert_eq!((status, seen.as_slice()), (0, b"bye\r\n".as_slice()));
    let (_, seen) = run_on_pipes("stty -echo; read a; read b; echo \"<$a|$b>\"", b"one\ntwo");
    assert!(String::from_utf8_lossy(&seen).contains("<one|two>"), "{seen:?}");
}

#[test]
fn a_caller_that_stops_reading_hangs_up() {
    let console = pty((24, 80));
    let child = shell_on(console.slave, "while echo line; do :; done; exit 5");
    let (seen, stdout) = std::io::pipe().unwrap();
    drop(seen);
    assert_eq!(wait_for(&child, Some(console.master), &null(), &stdout), 5);
}

#[test]
fn those_left_behind_do_not_keep_us() {
    let begun = Instant::now();
    let (status, seen) =
        run_on_pipes("trap '' HUP; sleep 3 & (while echo noise; do :; done) & echo said; exit 4", b"");
    assert_eq!(status, 4);
    assert!(String::from_utf8_lossy(&seen).contains("said"));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_terminal_may_be_closed_and_opened_again() {
    let console = pty((24, 80));
    // The script keeps no terminal but opens it by name, as an init does with /dev/console.
    let name = format!("/dev/pts/{}", console.number);
    let script = format!("exec 0<&- 1>&- 2>&-; sleep 0.3; echo again > {name}; sleep 0.3");
    if !std::path::Path::new(&name).exists() {
        eprintln!("skipped: no {name}");
        return;
    }
    let child = shell_on(console.slave, &script);
    let (mut seen, stdout) = std::io::pipe().unwrap();
    assert_eq!(wait_for(&child, Some(console.master), &null(), &stdout), 0);
    drop(stdout);
    let mut all = String::new();
    seen.read_to_string(&mut all).unwrap();
    assert_eq!(all, "again\r\n");
}

/// The caller's terminal, with the user's end of it.
struct Caller {
    user: File,
    tty: OwnedFd,
}

impl Caller {
    fn new(size: (u16, u16)) -> Self {
        let Pty { master, slave, .. } = pty(size);
        Self { user: File::from(master), tty: slave }
    }

    fn is_cooked(&self) -> bool {
        let mode = tcgetattr(&self.tty).unwrap();
        mode.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
            && mode.output_modes.contains(OutputModes::OPOST)
    }
}

#[test]
fn a_terminal_is_raw_meanwhile_and_given_back() {
    let caller = Caller::new((33, 111));
    let console = pty((24, 80));
    // Ctrl-C is a byte for the process, and its own terminal makes no signal of it either here.
    let script = "stty -isig -echo; stty size; echo ready; read line; echo \"got $line\" | od -An -c";
    let child = shell_on(console.slave, script);
    let (mut user, tty) = (caller.user.try_clone().unwrap(), caller.tty.try_clone().unwrap());
    let user = thread::spawn(move || {
        let mut seen = String::new();
        let size = read_until(&mut user, &mut seen, "ready");
        let raw = !tcgetattr(&tty).unwrap().local_modes.intersects(LocalModes::ICANON | LocalModes::ISIG);
        user.write_all(b"\x03\r").unwrap();
        (raw, size + &read_until(&mut user, &mut seen, "003"))
    });
    assert!(caller.is_cooked());
    assert_eq!(wait_for(&child, Some(console.master), &caller.tty, &caller.tty), 0);
    assert!(caller.is_cooked());
    assert!(!fcntl_getfl(&caller.tty).unwrap().contains(OFlags::NONBLOCK));
    let (raw, seen) = user.join().unwrap();
    assert!(raw, "the terminal was not raw");
    assert!(seen.contains("33 111") && seen.contains("003"), "{seen:?}");
}

#[test]
fn a_panic_gives_the_terminal_back() {
    let caller = Caller::new((24, 80));
    let cooked = std::cell::Cell::new(None);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let raw = Raw::enter(caller.tty.as_fd()).unwrap().unwrap();
        assert!(!caller.is_cooked());
        // Without its destructor only the hook is left, as with panic=abort.
        std::mem::forget(raw);
        cooked.set(Some(caller.is_cooked()));
        panic!("on purpose");
    }));
    assert!(result.is_err() && caller.is_cooked());
    assert_eq!(cooked.get(), Some(false));
}

/// Both directions at once, with a process that sends back what it gets.
#[test]
fn no_byte_is_lost() {
    relay_through(4 << 20);
}

/// 100 MB one way; run it with `--run-ignored all --no-capture`.
#[test]
#[ignore = "a measurement"]
fn throughput() {
    let console = pty((24, 80));
    without_processing(&console);
    let child = shell_on(console.slave, "head -c 100000000 /dev/zero");
    let (mut seen, stdout) = std::io::pipe().unwrap();
    let reader = thread::spawn(move || std::io::copy(&mut seen, &mut std::io::sink()).unwrap());
    let begun = Instant::now();
    assert_eq!(wait_for(&child, Some(console.master), &null(), &stdout), 0);
    drop(stdout);
    assert_eq!(reader.join().unwrap(), 100_000_000);
    eprintln!("100 MB out: {:?}", begun.elapsed());
    let begun = Instant::now();
    relay_through(100_000_000);
    eprintln!("100 MB in and out again: {:?}", begun.elapsed());
}

fn relay_through(bytes: usize) {
    let console = pty((24, 80));
    without_processing(&console);
    let child = shell_on(console.slave, &format!("head -c {bytes}"));
    let (stdin, mut typed) = std::io::pipe().unwrap();
    let (mut seen, stdout) = std::io::pipe().unwrap();
    let pattern = |i: usize| (i.wrapping_mul(2_654_435_761) >> 13) as u8;
    let typist = thread::spawn(move || {
        let all: Vec<u8> = (0..bytes).map(pattern).collect();
        typed.write_all(&all).unwrap();
    });
    let reader = thread::spawn(move || {
        let mut all = Vec::new();
        seen.read_to_end(&mut all).unwrap();
        all
    });
    assert_eq!(wait_for(&child, Some(console.master), &stdin, &stdout), 0);
    drop((stdin, stdout));
    typist.join().unwrap();
    let all = reader.join().unwrap();
    assert_eq!(all.len(), bytes);
    assert!(all.into_iter().enumerate().all(|(i, byte)| byte == pattern(i)));
}

/// A child of this test with one thread, as soute has: signals to the process are signals to it.
struct Server {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Server {
    fn new(work: impl FnOnce() -> i32) -> Self {
        match clone3(0, None).unwrap() {
            Fork::Parent { pid, pidfd } => Self { pid, pidfd },
            Fork::Child => {
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
                exit_now(result.unwrap_or(101))
            }
        }
    }

    /// Whether its signals wait for the signalfd. Around the birth of its shell they do not, and the
    /// C library blocks all of them for a moment, those that are never forwarded too.
    fn holds_signals(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let mask = status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim();
        let mask = u64::from_str_radix(mask, 16).unwrap();
        mask & 1 << (libc::SIGHUP - 1) != 0 && mask & 1 << (libc::SIGURG - 1) == 0
    }

    fn kill(&self, signal: i32) {
        pidfd_send_signal(self.pidfd.as_fd(), signal).unwrap();
    }

    fn status(&self) -> i32 {
        exit_status(self.pidfd.as_fd()).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = pidfd_send_signal(self.pidfd.as_fd(), libc::SIGKILL);
    }
}

/// `run SCRIPT` without a terminal, or `run -t SCRIPT` on that of a caller.
fn serve(script: &str, tty: Option<&OwnedFd>) -> i32 {
    let signals = prepare(true).unwrap();
    let (master, child) = match tty {
        Some(_) => {
            let Pty { master, slave, .. } = pty((24, 80));
            (Some(master), shell_on(slave, script))
        }
        None => (None, shell(script)),
    };
    let pid = pid_of(&child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty()).unwrap();
    let foreground =
        Foreground { pid, pidfd: pidfd.as_fd(), signals: &signals, console: master, notify: None };
    let null = null();
    let caller = tty.map_or(null.as_fd(), AsFd::as_fd);
    foreground.wait_on(caller, caller).unwrap()
}

/// Reads until `what` comes, and returns everything up to it; the rest is kept in `seen`.
fn read_until(user: &mut File, seen: &mut String, what: &str) -> String {
    while !seen.contains(what) {
        let mut bytes = [0; 1024];
        let n = user.read(&mut bytes).unwrap_or_else(|e| panic!("{e} before {what:?} in {seen}"));
        seen.push_str(&String::from_utf8_lossy(&bytes[..n]));
    }
    let at = seen.find(what).unwrap() + what.len();
    seen.drain(..at).collect()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < end, "{what} did not happen");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn signals_are_forwarded() {
    let dir = std::env::temp_dir().join(format!("soute-signals-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let told = dir.join("told");
    let traps = [1, 2, 3, 6, 10, 12, 13, 14, 15, 18, 20, 23, 28, 37]
        .map(|n| format!("trap 'echo {n} >> told' {n}; "));
    let traps = traps.concat();
    let script = format!(
        "cd {}; {traps} echo ready > told; until [ -e stop ]; do sleep 0.01; done; exit 9",
        dir.display()
    );
    let server = Server::new(|| serve(&script, None));
    let read = || std::fs::read_to_string(&told).unwrap_or_default();
    until("ready", || read().contains("ready") && server.holds_signals());
    for signal in [1, 2, 3, 6, 10, 12, 14, 15, 18, 20, 28, 37] {
        server.kill(signal);
        until(&format!("signal {signal}"), || read().lines().any(|line| line == signal.to_string()));
    }
    server.kill(libc::SIGURG);
    server.kill(libc::SIGPIPE);
    std::fs::write(dir.join("stop"), "").unwrap();
    assert_eq!(server.status(), 9);
    let read = read();
    assert!(!read.lines().any(|line| line == "13" || line == "23"), "{read}");
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn orphans_are_reaped() {
    let script = "o=$(sh -c 'sleep 0.05 >/dev/null 2>&1 & echo $!'); test -e /proc/$o || exit 5; sleep 0.3; test -e /proc/$o || exit 6";
    assert_eq!(Server::new(|| serve(script, None)).status(), 6);
}

#[test]
fn a_resize_is_passed_on() {
    let caller = Caller::new((33, 111));
    let script = "until [ \"$(stty size)\" = '33 111' ]; do :; done; echo first; \
                  until [ \"$(stty size)\" = '55 132' ]; do :; done; exit 3";
    let server = Server::new(|| serve(script, Some(&caller.tty)));
    let mut user = caller.user.try_clone().unwrap();
    read_until(&mut user, &mut String::new(), "first");
    let mut size = tcgetwinsize(&user).unwrap();
    (size.ws_row, size.ws_col) = (55, 132);
    tcsetwinsize(&user, size).unwrap();
    // It is not the server's controlling terminal, so the kernel does not tell it.
    server.kill(libc::SIGWINCH);
    assert_eq!(server.status(), 3);
}

/// What a shell with job control does with `run -t`: makes it the foreground job of its terminal,
/// sees it stop, and continues it.
fn job_control(caller: &Caller) -> i32 {
    setsid().unwrap();
    ioctl_tiocsctty(&caller.tty).unwrap();
    let job = Server::new(|| {
        setpgid(None, None).unwrap();
        until("the foreground", || tcgetpgrp(&caller.tty).unwrap() == getpgrp());
        serve("stty -echo; echo ready; read line; stty size; echo \"got $line\"; exit 8", Some(&caller.tty))
    });
    let _ = setpgid(Some(job.pid), Some(job.pid));
    tcsetpgrp(&caller.tty, job.pid).unwrap();
    let mut user = caller.user.try_clone().unwrap();
    let mut seen = String::new();
    read_until(&mut user, &mut seen, "ready");
    assert!(!caller.is_cooked());
    job.kill(libc::SIGTSTP);
    let (_, status) = waitpid(Some(job.pid), WaitOptions::UNTRACED).unwrap().unwrap();
    assert_eq!(status.stopping_signal(), Some(libc::SIGTSTP));
    assert!(caller.is_cooked(), "stopped, and the terminal is raw");
    let mut size = tcgetwinsize(&user).unwrap();
    size.ws_col = 123;
    tcsetwinsize(&user, size).unwrap();
    job.kill(libc::SIGCONT);
    until("raw again", || !caller.is_cooked());
    user.write_all(b"hello\r").unwrap();
    assert!(read_until(&mut user, &mut seen, "got hello").contains("24 123"));
    let (_, status) = waitpid(Some(job.pid), WaitOptions::empty()).unwrap().unwrap();
    assert!(caller.is_cooked(), "ended, and the terminal is raw");
    status.exit_status().unwrap()
}

#[test]
fn a_stop_gives_the_terminal_back_for_a_while() {
    let caller = Caller::new((24, 80));
    assert_eq!(Server::new(|| job_control(&caller)).status(), 8);
}

/// Killed by a signal that is forwarded and ends the process, the terminal is given back too.
#[test]
fn a_kill_gives_the_terminal_back() {
    let caller = Caller::new((24, 80));
    let server = Server::new(|| serve("echo ready; exec sleep 60", Some(&caller.tty)));
    read_until(&mut caller.user.try_clone().unwrap(), &mut String::new(), "ready");
    assert!(!caller.is_cooked());
    server.kill(libc::SIGTERM);
    assert_eq!(server.status(), 143);
    assert!(caller.is_cooked());
}
