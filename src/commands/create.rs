// SPDX-License-Identifier: Apache-2.0
//! `soute create`: a container whose process waits for `start`.

use std::path::{Path, PathBuf};

use clap::Args;
use libcontainer::CreateRequest;
use libcontainer::error::{Call, Result};

use super::Verb;
use crate::cli::Global;

#[derive(Args, Debug)]
pub struct Create {
    #[command(flatten)]
    flags: BundleFlags,
    /// Accepted and ignored: create leaves no process behind that could reap
    #[arg(long, hide = true)]
    no_subreaper: bool,
    /// The new container's name
    id: String,
}

/// The flags of every verb that makes a container (or explains how it would be made).
#[derive(Args, Debug)]
pub struct BundleFlags {
    /// The directory with config.json and the root filesystem
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Read this file in place of config.json
    #[arg(long, short = 'f', value_name = "FILE")]
    config: Option<PathBuf>,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Send the master of the container's terminal to this socket
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Send a pidfd of the container's process to this socket
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,
    /// Move the root mount and chroot, for a root filesystem on a ramdisk where pivot_root
    /// is refused; less safe
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
    /// Hand N more file descriptors on to the container, counted from 3
    #[arg(long, value_name = "N", default_value = "0")]
    preserve_fds: u32,
}

impl BundleFlags {
    /// What the library is asked for.
    pub fn request(self, id: String) -> Result<CreateRequest> {
        Ok(CreateRequest {
            id,
            bundle: absolute(&self.bundle)?,
            config: self.config,
            pid_file: self.pid_file,
            console_socket: self.console_socket,
            pidfd_socket: self.pidfd_socket,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
            preserve_fds: self.preserve_fds,
        })
    }
}

impl Create {
    /// What the library is asked for.
    pub fn request(self) -> Result<CreateRequest> {
        self.flags.request(self.id)
    }
}

impl Verb for Create {
    const NAME: &'static str = "create";
    const ABOUT: &'static str = "Create a container; its process waits for start";
    const PROTECTED: bool = true;

    fn run(self, global: &Global) -> anyhow::Result<u8> {
        libcontainer::create(&global.context()?, &self.request()?)?;
        Ok(0)
    }
}

/// The state tells the bundle as an absolute path.
pub fn absolute(bundle: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(bundle).call(|| "getcwd()")?)
}
