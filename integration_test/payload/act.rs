// SPDX-License-Identifier: Apache-2.0
//! Deeds: what the container's process tries, and how the kernel answers.

use std::fs;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags,
};
use rustix::net::{SocketType, sendmsg, socket_with};
use rustix::process::{Pid, WaitOptions};
use serde_json::{Value, json};

use crate::{Answer, errno, say};

/// The answer, or nothing where the deed is not one of these.
pub fn answer(words: &[&str]) -> Option<Answer> {
    Some(match *words {
        ["ready"] => Ok(json!(true)),
        ["exit", code] => std::process::exit(number(code)),
        ["sleep", millis] => {
            std::thread::sleep(Duration::from_millis(number(millis)));
            Ok(json!(true))
        }
        ["wait-for", ref names @ ..] => wait_for(names),
        ["kill", pid, signal] => kill(number(pid), signal),
        ["out", ref text @ ..] => fs_write(&mut std::io::stdout(), &text.join(" ")),
        ["err", ref text @ ..] => fs_write(&mut std::io::stderr(), &text.join(" ")),
        ["stdin"] => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text).map_err(errno).map(|_| json!(text))
        }
        ["line"] => {
            let mut text = String::new();
            std::io::stdin().read_line(&mut text).map_err(errno).map(|_| json!(text))
        }
        ["write", path, ref text @ ..] => done(fs::write(path, text.join(" "))),
        ["append", path, ref text @ ..] => {
            let file = fs::OpenOptions::new().append(true).open(path);
            done(file.and_then(|mut file| file.write_all(text.join(" ").as_bytes())))
        }
        ["mkdir", path] => done(fs::create_dir(path)),
        ["rmdir", path] => done(fs::remove_dir(path)),
        ["unlink", path] => done(fs::remove_file(path)),
        ["rename", from, to] => done(fs::rename(from, to)),
        ["symlink", to, path] => done(std::os::unix::fs::symlink(to, path)),
        ["chmod", mode, path] => {
            let mode = u32::from_str_radix(mode, 8).unwrap_or(0);
            done(fs::set_permissions(path, fs::Permissions::from_mode(mode)))
        }
        ["chown", uid, gid, path] => {
            done(std::os::unix::fs::chown(path, Some(number(uid)), Some(number(gid))))
        }
        ["open", path, "w"] => done(fs::OpenOptions::new().write(true).open(path).map(drop)),
        ["open", path] => done(fs::File::open(path).map(drop)),
        ["node", kind, major, minor, path] => node(kind, number(major), number(minor), path),
        ["mount", kind, target] => try_mount(kind, target, MountFlags::empty()),
        ["bind", source, target] => ok(rustix::mount::mount_bind(source, target)),
        ["remount", target, ref flags @ ..] => {
            ok(rustix::mount::mount_remount(target, MountFlags::BIND | mount_flags(flags), c""))
        }
        ["resuper", target, ref flags @ ..] => {
            ok(rustix::mount::mount_remount(target, mount_flags(flags), c""))
        }
        ["private", target] => ok(rustix::mount::mount_change(
            target,
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )),
        ["umount", target] => ok(rustix::mount::unmount(target, UnmountFlags::DETACH)),
        ["chroot", path] => ok(rustix::process::chroot(path)),
        ["chdir", path] => done(std::env::set_current_dir(path)),
        ["setuid", uid] => ok(rustix::thread::set_thread_uid(rustix::fs::Uid::from_raw(number(uid)))),
        ["setgid", gid] => ok(rustix::thread::set_thread_gid(rustix::fs::Gid::from_raw(number(gid)))),
        ["setgroups", gid] => {
            ok(rustix::thread::set_thread_groups(&[rustix::fs::Gid::from_raw(number(gid))]))
        }
        ["sethostname", name] => ok(rustix::system::sethostname(name.as_bytes())),
        ["setns", path] => match fs::File::open(path) {
            Ok(file) => ok(rustix::thread::move_into_link_name_space(file.as_fd(), None)),
            Err(error) => Err(errno(error)),
        },
        ["steal", pid, fd] => steal(number(pid), number(fd)),
        ["hunt", millis] => hunt(number(millis)),
        ["overwrite", millis] => overwrite(number(millis)),
        ["lo"] => loopback(),
        ["notify", ref text @ ..] => notify(&text.join(" "), &[]),
        ["barrier"] => barrier(),
        ["socket", family] => socket(family),
        ["spawn", ref child @ ..] => spawn(child).map(|child| json!(child.id())),
        ["asks", ref child @ ..] => asks(child),
        ["exec", program, ref args @ ..] => run(program, args),
        ["orphan", millis] => orphan(millis),
        ["reap"] => reap(),
        ["fork", count] => fork(number(count)),
        ["fork-on", count] => fork_on(number(count)),
        // 1, 2, 3 … until SIGTERM, which ends it well.
        ["count"] => count(),
        ["burn", millis] => {
            let (start, long) = (Instant::now(), Duration::from_millis(number(millis)));
            while start.elapsed() < long {
                std::hint::spin_loop();
            }
            Ok(json!(true))
        }
        ["hog", mebibytes] => {
            let mut all = vec![0_u8; number::<usize>(mebibytes) << 20];
            all.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            Ok(json!(std::hint::black_box(all).len()))
        }
        // Until the end of the process.
        ["hold", mebibytes] => {
            let mut all = vec![0_u8; number::<usize>(mebibytes) << 20];
            all.iter_mut().step_by(4096).for_each(|byte| *byte = 1);
            Ok(json!(std::hint::black_box(all.leak()).len()))
        }
        ["readfd", fd] => {
            // A pipe or a file that was handed over, read through a name of its own.
            fs::read(format!("/proc/self/fd/{fd}"))
                .map_err(errno)
                .map(|all| json!(String::from_utf8_lossy(&all)))
        }
        _ => return None,
    })
}

fn number<T: std::str::FromStr + Default>(word: &str) -> T {
    word.parse().unwrap_or_default()
}

fn ok(result: rustix::io::Result<()>) -> Answer {
    result.map(|()| json!("ok"))
}

fn done(result: std::io::Result<()>) -> Answer {
    ok(result.map_err(errno))
}

fn fs_write(to: &mut dyn Write, text: &str) -> Answer {
    done(writeln!(to, "{text}").and_then(|()| to.flush()))
}

fn signal(word: &str) -> Option<Signal> {
    word.parse::<i32>()
        .ok()
        .and_then(|number| Signal::try_from(number).ok())
        .or_else(|| format!("SIG{}", word.trim_start_matches("SIG")).parse().ok())
}

/// Says that it is ready, then waits for one of the signals and names it. Blocked signals
/// reach even PID 1, which has no handler of its own.
fn wait_for(names: &[&str]) -> Answer {
    let mut set = SigSet::empty();
    names.iter().filter_map(|name| signal(name)).for_each(|signal| set.add(signal));
    set.thread_block().map_err(|error| Errno::from_raw_os_error(error as i32))?;
    say(&json!({ "q": "waiting", "a": true }));
    let got = set.wait().map_err(|error| Errno::from_raw_os_error(error as i32))?;
    Ok(json!(got.as_str()))
}

/// Counts aloud until SIGTERM comes: what it has come to is in this process's memory alone.
fn count() -> Answer {
    let term = Signal::SIGTERM;
    let mut set = SigSet::empty();
    set.add(term);
    set.thread_block().map_err(|error| Errno::from_raw_os_error(error as i32))?;
    let wait = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    let signals =
        nix::sys::signalfd::SignalFd::new(&set).map_err(|error| Errno::from_raw_os_error(error as i32))?;
    for number in 1_u64.. {
        say(&json!({ "q": "at", "a": number }));
        match poll(&mut [PollFd::new(&signals, PollFlags::IN)], Some(&wait)) {
            Ok(0) | Err(Errno::INTR) => {}
            Ok(_) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(json!("counted"))
}

fn kill(pid: i32, word: &str) -> Answer {
    let pid = if pid == 0 { nix::unistd::getpid() } else { nix::unistd::Pid::from_raw(pid) };
    let Some(signal) = signal(word) else { return Err(Errno::INVAL) };
    ok(nix::sys::signal::kill(pid, signal).map_err(|error| Errno::from_raw_os_error(error as i32)))
}

fn mount_flags(words: &[&str]) -> MountFlags {
    let mut flags = MountFlags::empty();
    for word in words {
        flags |= match *word {
            "ro" => MountFlags::RDONLY,
            "nosuid" => MountFlags::NOSUID,
            "nodev" => MountFlags::NODEV,
            "noexec" => MountFlags::NOEXEC,
            _ => MountFlags::empty(),
        };
    }
    flags
}

fn try_mount(kind: &str, target: &str, flags: MountFlags) -> Answer {
    ok(rustix::mount::mount(kind, target, kind, flags, None))
}

/// Makes a device node, opens it, and removes it again: what each of the two said.
fn node(kind: &str, major: u32, minor: u32, path: &str) -> Answer {
    let kind = match kind {
        "b" => FileType::BlockDevice,
        "p" => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let made = mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), makedev(major, minor));
    let opened = match &made {
        Ok(()) => {
            let read = fs::OpenOptions::new().read(true).open(path);
            read.map_or_else(|error| crate::name(errno(error)), |_| "ok".to_owned())
        }
        Err(_) => "absent".to_owned(),
    };
    let _ = fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.file_type().is_char_device() || meta.file_type().is_block_device())
        .then(|| fs::remove_file(path));
    let made = made.map_or_else(crate::name, |()| "ok".to_owned());
    Ok(json!({ "made": made, "opened": opened }))
}

/// Takes a descriptor out of another process; this needs the right to trace it.
fn steal(pid: i32, fd: i32) -> Answer {
    let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())?;
    rustix::process::pidfd_getfd(process, fd, rustix::process::PidfdGetfdFlags::empty()).map(|_| json!("ok"))
}

/// Tries, again and again, to take a descriptor from every process that is not ready to run this
/// program: how the kernel answered, each answer once.
fn hunt(millis: u64) -> Answer {
    let (start, mut answers) = (Instant::now(), std::collections::BTreeSet::new());
    let own = fs::metadata("/payload").map_err(errno)?.ino();
    while start.elapsed() < Duration::from_millis(millis) {
        for entry in fs::read_dir("/proc").map_err(errno)?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            let exe = entry.path().join("exe");
            for fd in 0..20 {
                let answer = steal(pid, fd).map_or_else(crate::name, |_| "ok".to_owned());
                // Once it runs this program it is no longer of interest, nor once it has ended.
                if fs::metadata(&exe)
                    .map_or_else(|error| error.kind() == ErrorKind::NotFound, |meta| meta.ino() == own)
                {
                    break;
                }
                answers.insert(answer);
            }
        }
    }
    Ok(json!(answers))
}

/// Tries, again and again, to write to the program of every process that does not run this one, and,
/// once that has ended and the file is free, through a descriptor that was opened meanwhile: how the
/// kernel answered, each answer once.
fn overwrite(millis: u64) -> Answer {
    let (start, mut answers) = (Instant::now(), std::collections::BTreeSet::new());
    let own = fs::metadata("/payload").map_err(errno)?.ino();
    let mut write = |path: &std::path::Path| {
        let opened = fs::OpenOptions::new().append(true).open(path);
        let wrote = opened.and_then(|mut file| file.write_all(b"overwritten"));
        answers.insert(wrote.map_or_else(|error| crate::name(errno(error)), |()| "ok".to_owned()));
    };
    let mut kept = std::collections::BTreeMap::new();
    while start.elapsed() < Duration::from_millis(millis) {
        for entry in fs::read_dir("/proc").map_err(errno)?.flatten() {
            let exe = entry.path().join("exe");
            let Ok(file) = fs::File::open(&exe) else { continue };
            let Some(ino) = file.metadata().ok().map(|meta| meta.ino()).filter(|ino| *ino != own) else {
                continue;
            };
            kept.insert(ino, file);
            write(&exe);
        }
        for file in kept.values() {
            write(format!("/proc/self/fd/{}", file.as_raw_fd()).as_ref());
        }
    }
    Ok(json!(answers))
}

/// A message to $NOTIFY_SOCKET (sd_notify(3)).
fn notify(text: &str, fds: &[BorrowedFd<'_>]) -> Answer {
    let path = std::env::var_os("NOTIFY_SOCKET").ok_or(Errno::NOENT)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(fds));
    }
    let sent = sendmsg(&socket, &[IoSlice::new(text.as_bytes())], &mut control, SendFlags::NOSIGNAL);
    ok(sent.map(drop))
}

/// BARRIER=1: answered when the pipe that goes with it is closed, at most two seconds later.
fn barrier() -> Answer {
    let (ours, theirs) = rustix::pipe::pipe()?;
    notify("BARRIER=1", &[theirs.as_fd()])?;
    drop(theirs);
    let limit = Timespec { tv_sec: 2, tv_nsec: 0 };
    let closed = poll(&mut [PollFd::new(&ours, PollFlags::empty())], Some(&limit))?;
    Ok(json!(closed == 1))
}

/// Is the loopback device up? A connection to oneself tells.
fn loopback() -> Answer {
    let server = TcpListener::bind("127.0.0.1:0").map_err(errno)?;
    let address = server.local_addr().map_err(errno)?;
    done(TcpStream::connect_timeout(&address, Duration::from_secs(2)).map(drop))
}

fn socket(family: &str) -> Answer {
    use rustix::net::{AddressFamily, SocketType};
    let family = match family {
        "inet" => AddressFamily::INET,
        "inet6" => AddressFamily::INET6,
        "netlink" => AddressFamily::NETLINK,
        "vsock" => AddressFamily::VSOCK,
        _ => AddressFamily::UNIX,
    };
    rustix::net::socket(family, SocketType::DGRAM, None).map(|_| json!("ok"))
}

/// Another process of this program, asked one question.
fn spawn(question: &[&str]) -> Result<std::process::Child, Errno> {
    Command::new("/payload").arg(question.join(" ")).spawn().map_err(errno)
}

/// What a child of this process says to the question: a new execve lies between.
fn asks(question: &[&str]) -> Answer {
    let mut child = Command::new("/payload");
    let output = child.arg(question.join(" ")).stderr(Stdio::inherit()).output().map_err(errno)?;
    let line: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    Ok(line["a"].clone())
}

fn run(program: &str, args: &[&str]) -> Answer {
    use std::os::unix::process::ExitStatusExt;
    let output = Command::new(program).args(args).output().map_err(errno)?;
    Ok(json!({
        "code": output.status.code(),
        "signal": output.status.signal(),
        "out": String::from_utf8_lossy(&output.stdout),
    }))
}

/// A grandchild whose parent ends at once; it lives on for the given time.
fn orphan(millis: &str) -> Answer {
    let mut child = Command::new("/payload")
        .arg(format!("spawn sleep {millis}"))
        .stdout(Stdio::null())
        .spawn()
        .map_err(errno)?;
    child.wait().map_err(errno).map(|status| json!(status.success()))
}

/// Collects every child that has ended or will: how many there were.
fn reap() -> Answer {
    let mut count = 0;
    while rustix::process::wait(WaitOptions::empty()).is_ok() {
        count += 1;
    }
    Ok(json!(count))
}

/// Makes short-lived children as fast as it can.
fn fork_on(count: usize) -> Answer {
    for _ in 0..count {
        let mut child = spawn(&["exit", "0"])?;
        child.wait().map_err(errno)?;
    }
    Ok(json!(count))
}

/// Starts sleepers until the kernel refuses or there are enough; ends them again.
fn fork(count: usize) -> Answer {
    let mut children = Vec::new();
    let mut refused = Value::Null;
    for _ in 0..count {
        match spawn(&["sleep", "60000"]) {
            Ok(child) => children.push(child),
            Err(error) => {
                refused = json!(crate::name(error));
                break;
            }
        }
    }
    let started = children.len();
    for mut child in children {
        let _ = child.kill();
        let _ = child.wait();
    }
    Ok(json!({ "started": started, "refused": refused }))
}
