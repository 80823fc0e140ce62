// SPDX-License-Identifier: Apache-2.0
//! The program inside the test containers. It answers questions.
//!
//! Every argument is one question (or deed), its words separated by spaces; every answer
//! is one JSON line `{"q": question, "a": answer}`. A call that the kernel refused answers
//! `{"error": "EROFS"}`. So a test asks `["pid", "stat /etc/x", "try umount /proc"]` and
//! reads what the container's process really saw. It is static, needs no other file, and
//! reads /proc only where the kernel has no call for the question.

mod act;
mod look;

use std::io::Write;

use rustix::io::Errno;
use serde_json::{Value, json};

/// What a question comes to: a value, or the kernel's refusal.
type Answer = Result<Value, Errno>;

fn main() {
    let questions: Vec<String> = std::env::args().skip(1).collect();
    for question in &questions {
        let words: Vec<&str> = question.split(' ').filter(|word| !word.is_empty()).collect();
        let answer = match look::answer(&words).or_else(|| act::answer(&words)) {
            Some(Ok(value)) => value,
            Some(Err(errno)) => json!({ "error": name(errno) }),
            None => json!({ "error": "no such question" }),
        };
        say(&json!({ "q": question, "a": answer }));
    }
}

/// One line, written in one call, so that lines of several processes do not mix.
fn say(line: &Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// The errno of an `std::io` failure.
fn errno(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

/// The name that man pages use.
fn name(errno: Errno) -> String {
    let known = [
        (Errno::PERM, "EPERM"),
        (Errno::NOENT, "ENOENT"),
        (Errno::SRCH, "ESRCH"),
        (Errno::INTR, "EINTR"),
        (Errno::IO, "EIO"),
        (Errno::NXIO, "ENXIO"),
        (Errno::TOOBIG, "E2BIG"),
        (Errno::BADF, "EBADF"),
        (Errno::CHILD, "ECHILD"),
        (Errno::AGAIN, "EAGAIN"),
        (Errno::NOMEM, "ENOMEM"),
        (Errno::ACCESS, "EACCES"),
        (Errno::BUSY, "EBUSY"),
        (Errno::EXIST, "EEXIST"),
        (Errno::XDEV, "EXDEV"),
        (Errno::NODEV, "ENODEV"),
        (Errno::NOTDIR, "ENOTDIR"),
        (Errno::ISDIR, "EISDIR"),
        (Errno::INVAL, "EINVAL"),
        (Errno::MFILE, "EMFILE"),
        (Errno::NOTTY, "ENOTTY"),
        (Errno::TXTBSY, "ETXTBSY"),
        (Errno::FBIG, "EFBIG"),
        (Errno::NOSPC, "ENOSPC"),
        (Errno::SPIPE, "ESPIPE"),
        (Errno::ROFS, "EROFS"),
        (Errno::PIPE, "EPIPE"),
        (Errno::RANGE, "ERANGE"),
        (Errno::NAMETOOLONG, "ENAMETOOLONG"),
        (Errno::NOSYS, "ENOSYS"),
        (Errno::LOOP, "ELOOP"),
        (Errno::NOTSUP, "ENOTSUP"),
        (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
        (Errno::NETUNREACH, "ENETUNREACH"),
        (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
        (Errno::CONNREFUSED, "ECONNREFUSED"),
        (Errno::STALE, "ESTALE"),
    ];
    match known.iter().find(|(code, _)| *code == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno {}", errno.raw_os_error()),
    }
}
