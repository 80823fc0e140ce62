// SPDX-License-Identifier: Apache-2.0
//! `soute exec`: one more process in a running container.

use std::path::PathBuf;

use clap::Args;
use libcontainer::ExecRequest;
use libcontainer::error::{Error, Kind, Result};

use super::{Verb, exit_status};
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Exec {
    /// Read the process from this file, in the form of config.json's process
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    /// The working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<String>,
    /// Set a variable; may be repeated
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Numeric user and group
    #[arg(long, short, value_name = "UID[:GID]", value_parser = user)]
    user: Option<User>,
    /// One more group; may be repeated
    #[arg(long, short = 'g', value_name = "GID", value_parser = id)]
    additional_gids: Vec<u32>,
    /// Add a capability; may be repeated
    #[arg(long, short, value_name = "CAP")]
    cap: Vec<String>,
    /// Give the process a terminal
    #[arg(long, short)]
    tty: bool,
    /// Leave the process running and come back
    #[arg(long, short)]
    detach: bool,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Send the master of the process's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Send a pidfd of the process to this socket
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// The process cannot gain privileges
    #[arg(long)]
    no_new_privs: bool,
    /// The process's AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
    /// The process's SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// Run in this group below the container's; on v1 perhaps for some controllers only;
    /// may be repeated
    #[arg(long, value_name = "[CONTROLLER,..:]PATH")]
    cgroup: Vec<String>,
    /// Hand N more file descriptors on to the process, counted from 3
    #[arg(long, value_name = "N", default_value = "0")]
    preserve_fds: u32,
    /// Join a paused container; the process runs once it is resumed
    #[arg(long)]
    ignore_paused: bool,
    /// The container's name
    id: String,
    /// The program and its arguments
    args: Vec<String>,
}

impl Exec {
    /// What the library is asked for.
    pub fn request(self) -> Result<ExecRequest> {
        if self.process.is_none() && self.args.is_empty() {
            return Err(Error::new(Kind::Config, "process.args must not be empty")
                .hint("give a program and its arguments after the id, or --process FILE"));
        }
        Ok(ExecRequest {
            id: self.id,
            process: self.process,
            args: self.args,
            cwd: self.cwd,
            env: self.env,
            user: self.user.map(|user| (user.uid, user.gid)),
            additional_gids: self.additional_gids,
            caps: self.cap,
            tty: self.tty,
            detach: self.detach,
            pid_file: self.pid_file,
            console_socket: self.console_socket,
            pidfd_socket: self.pidfd_socket,
            no_new_privs: self.no_new_privs,
            apparmor: self.apparmor,
            process_label: self.process_label,
            cgroup: self.cgroup,
            preserve_fds: self.preserve_fds,
            ignore_paused: self.ignore_paused,
        })
    }
}

impl Verb for Exec {
    const NAME: &'static str = "exec";
    const ABOUT: &'static str = "Run one more process in a container";
    const FLAGS_END_AT_ID: bool = true;
    const PROTECTED: bool = true;
    const FAILURE: u8 = 255;

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        let code = libcontainer::exec(&global.context()?, &self.request()?)?;
        Ok(exit_status(code))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: Option<u32>,
}

/// `UID[:GID]`. Names are refused: whose they are would be the image's to say.
fn user(word: &str) -> Result<User, String> {
    let (uid, gid) = match word.split_once(':') {
        Some((uid, gid)) => (uid, Some(id(gid)?)),
        None => (word, None),
    };
    Ok(User { uid: id(uid)?, gid })
}

/// A user or group id: digits only, within 32 bits, and not -1, which means "as it is" to
/// the kernel (a number read in any laxer way has meant root: CVE-2026-30892).
fn id(word: &str) -> Result<u32, String> {
    let number = word.parse().ok().filter(|n| *n != u32::MAX && word.bytes().all(|b| b.is_ascii_digit()));
    number.ok_or_else(|| format!("\"{word}\" is not a number from 0 to {}", u32::MAX - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users() {
        for (word, uid, gid) in [
            ("0", 0, None),
            ("1", 1, None),
            ("1000:0", 1000, Some(0)),
            ("4294967294:4294967294", 4_294_967_294, Some(4_294_967_294)),
        ] {
            assert_eq!(user(word), Ok(User { uid, gid }), "{word}");
        }
        for word in [
            "",
            ":",
            "1:",
            ":1",
            "-1",
            "+1",
            " 1",
            "1 ",
            "0x1",
            "1e3",
            "root",
            "1:root",
            "1:2:3",
            "4294967295",
            "4294967296",
            "1:4294967295",
            "18446744073709551616",
            "1\0",
        ] {
            assert!(user(word).is_err(), "{word}");
        }
    }
}
