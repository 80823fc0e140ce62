// SPDX-License-Identifier: Apache-2.0
//! A pty of this host's own devpts, and sockets of the test.

use std::fs::File;
use std::io::{IoSliceMut, Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use rustix::fs::{open, stat};
use rustix::io::fcntl_getfd;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{WaitId, WaitIdOptions, getpgrp, getuid, setsid, waitid};
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use super::*;
use crate::sys::process::{Fork, clone3, exit_now};

struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("soute-console-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn directory(path: &str) -> OwnedFd {
    open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn both_ends_talk() {
    let pty = open_pty(directory("/dev/pts").as_fd(), Some((50, 132)), getuid()).unwrap();
    let size = tcgetwinsize(&pty.slave).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (50, 132));
    assert_eq!(minor(fstat(&pty.slave).unwrap().st_rdev), pty.number);
    assert_eq!(pty.name(), format!("/dev/pts/{}", pty.number));
    File::from(pty.slave).write_all(b"hello\n").unwrap();
    let mut told = [0; 7];
    File::from(pty.master).read_exact(&mut told).unwrap();
    assert_eq!(&told, b"hello\r\n");
}

#[test]
fn another_file_system_is_refused() {
    let fault = open_pty(directory("/tmp").as_fd(), None, getuid()).unwrap_err();
    assert!(fault.to_string().starts_with("/dev/pts of the container is not devpts"), "{fault}");
}

#[test]
fn a_session_gets_its_terminal() {
    let pty = open_pty(directory("/dev/pts").as_fd(), None, getuid()).unwrap();
    let wanted = fstat(&pty.slave).unwrap().st_rdev;
    match clone3(0, None).unwrap() {
        Fork::Child => {
            setsid().unwrap();
            let done = make_controlling(pty.slave).is_ok();
            let stdio = [0, 1, 2].map(|fd| stat(format!("/proc/self/fd/{fd}")).map(|s| s.st_rdev));
            let right = tcgetpgrp(std::io::stdin()) == Ok(getpgrp()) && stdio == [Ok(wanted); 3];
            // What stays open across exec: exactly these three.
            let open = |fd: BorrowedFd<'_>| fcntl_getfd(fd).unwrap().is_empty();
            let kept = open(std::io::stdin().as_fd()) && open(std::io::stderr().as_fd());
            exit_now(!(done && right && kept) as i32)
        }
        Fork::Parent { pidfd, .. } => {
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0), "{status:?}");
        }
    }
}

/// What one message on `socket` carries.
fn receive(socket: &std::os::unix::net::UnixStream) -> (String, OwnedFd) {
    let mut text = [0; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let message =
        recvmsg(socket, &mut [IoSliceMut::new(&mut text)], &mut control, RecvFlags::CMSG_CLOEXEC).unwrap();
    let fds: Vec<OwnedFd> = control
        .drain()
        .filter_map(|m| if let RecvAncillaryMessage::ScmRights(fds) = m { Some(fds) } else { None })
        .flatten()
        .collect();
    let [fd] = <[OwnedFd; 1]>::try_from(fds).unwrap();
    (String::from_utf8_lossy(&text[..message.bytes]).into_owned(), fd)
}

#[test]
fn the_master_arrives_with_its_name() {
    let dir = Dir::new("send");
    // A path longer than an address, as deep state directories give.
    let deep = dir.0.join("d".repeat(100));
    std::fs::create_dir(&deep).unwrap();
    let by_fd = directory(deep.to_str().unwrap());
    for path in [dir.0.join("short"), deep.join("long")] {
        let listener = if path.starts_with(&deep) {
            UnixListener::bind(format!("/proc/self/fd/{}/long", by_fd.as_raw_fd())).unwrap()
        } else {
            UnixListener::bind(&path).unwrap()
        };
        let file = File::open("/dev/null").unwrap();
        send_master(&path, file.as_fd(), "/dev/pts/7").unwrap();
        let (name, fd) = receive(&listener.accept().unwrap().0);
        assert_eq!(name, "/dev/pts/7");
        assert_eq!(fstat(fd).unwrap().st_rdev, fstat(&file).unwrap().st_rdev);
    }
}

#[test]
fn a_wrong_socket_is_told() {
    let dir = Dir::new("wrong");
    let file = dir.0.join("file");
    std::fs::write(&file, "").unwrap();
    let told = |path: &Path| connect_to(path).unwrap_err();
    assert!(told(&file).to_string().ends_with("file\" is not a socket"));
    assert_eq!(told(&dir.0.join("absent")).errno, Some(Errno::NOENT));
    let dead = dir.0.join("dead");
    drop(UnixListener::bind(&dead).unwrap());
    let fault = told(&dead);
    assert_eq!(fault.errno, Some(Errno::CONNREFUSED));
    assert_eq!(fault.hint.as_deref(), Some("nobody listens on this socket"));
}
