// SPDX-License-Identifier: Apache-2.0
//! Annotations that change what is done: those of crun that podman and seccomp agents use.
//!
//! They are named `run.oci.`, a prefix that engines keep from the authors of pods (docs/annotations.md).

use std::path::{Path, PathBuf};

use super::problem::Problem;

/// The value `1`: the caller's supplementary groups stay (podman's `--group-add keep-groups`).
pub const KEEP_GROUPS: &str = "run.oci.keep_original_groups";
/// A file that takes what hooks write to their standard output.
pub const HOOKS_STDOUT: &str = "run.oci.hooks.stdout";
/// A file that takes what hooks write to their standard error.
pub const HOOKS_STDERR: &str = "run.oci.hooks.stderr";
/// A UNIX socket that gets init's pidfd.
pub const PIDFD_RECEIVER: &str = "run.oci.pidfd_receiver";
/// A UNIX socket that gets the seccomp listener, where linux.seccomp.listenerPath is absent.
pub const SECCOMP_RECEIVER: &str = "run.oci.seccomp.receiver";
/// The value `1`: a name that is no system call is a fault of the profile.
pub const UNKNOWN_SYSCALLS: &str = "run.oci.seccomp_fail_unknown_syscall";

/// A file of settings for CRIU, which win over ours; empty: not even the host's.
pub const CRIU_CONFIG: &str = "org.criu.config";

/// What begins with it is a property of the container's unit, with the systemd driver.
pub const SYSTEMD_PROPERTY: &str = "org.systemd.property.";

/// Which of SELinux's words linux.mountLabel follows; podman says so for its volumes.
pub const LABEL_KIND: &str = "run.oci.mount_context_type";
/// The words of SELinux (mount(8)).
pub const LABEL_KINDS: [&str; 4] = ["context", "fscontext", "defcontext", "rootcontext"];

/// All of them, sorted: who lets others write annotations has to think of these.
pub const ALL: &[&str] = &[
    CRIU_CONFIG,
    SYSTEMD_PROPERTY,
    HOOKS_STDERR,
    HOOKS_STDOUT,
    KEEP_GROUPS,
    LABEL_KIND,
    PIDFD_RECEIVER,
    SECCOMP_RECEIVER,
    UNKNOWN_SYSCALLS,
];

/// What the annotations of a configuration ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// See [`KEEP_GROUPS`].
    pub keep_groups: bool,
    /// See [`HOOKS_STDOUT`] and [`HOOKS_STDERR`].
    pub hooks: HookOutput,
    /// See [`PIDFD_RECEIVER`].
    pub pidfd_receiver: Option<PathBuf>,
    /// See [`SECCOMP_RECEIVER`].
    pub seccomp_receiver: Option<PathBuf>,
    /// See [`UNKNOWN_SYSCALLS`].
    pub unknown_syscalls_fail: bool,
    /// See [`LABEL_KIND`].
    pub label_kind: Option<&'static str>,
    /// See [`CRIU_CONFIG`].
    pub criu_config: CriuConfig,
}

/// Which settings CRIU reads beside what it is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CriuConfig {
    /// Those for all containers of this host, if it has any.
    #[default]
    Host,
    /// No more than its own.
    None,
    /// This file.
    File(PathBuf),
}

/// Where hooks write to, if not into the error message of one that fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookOutput {
    /// Of all hooks, appended.
    pub stdout: Option<PathBuf>,
    /// Of all hooks, appended.
    pub stderr: Option<PathBuf>,
}

impl Annotations {
    /// Reads them; all others are nobody's business here.
    pub fn of<'a>(
        all: impl IntoIterator<Item = (&'a String, &'a String)>,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut asked = Self::default();
        for (key, value) in all {
            match key.as_str() {
                KEEP_GROUPS => asked.keep_groups = switch(key, value, problems),
                UNKNOWN_SYSCALLS => asked.unknown_syscalls_fail = switch(key, value, problems),
                HOOKS_STDOUT => asked.hooks.stdout = path(key, value, problems),
                HOOKS_STDERR => asked.hooks.stderr = path(key, value, problems),
                PIDFD_RECEIVER => asked.pidfd_receiver = path(key, value, problems),
                LABEL_KIND => asked.label_kind = label_kind(value, problems),
                SECCOMP_RECEIVER => asked.seccomp_receiver = path(key, value, problems),
                CRIU_CONFIG if value.is_empty() => asked.criu_config = CriuConfig::None,
                CRIU_CONFIG => {
                    asked.criu_config =
                        path(key, value, problems).map_or_else(CriuConfig::default, CriuConfig::File);
                }
                _ => {}
            }
        }
        asked
    }
}

fn switch(key: &str, value: &str, problems: &mut Vec<Problem>) -> bool {
    match value {
        "1" | "true" => true,
        "0" | "false" | "" => false,
        other => {
            problems.push(
                Problem::new(format!("annotations.{key}"), format!("{other:?} is neither 1 nor 0"))
                    .hint("\"1\" switches it on"),
            );
            false
        }
    }
}

fn path(key: &str, value: &str, problems: &mut Vec<Problem>) -> Option<PathBuf> {
    if !Path::new(value).is_absolute() {
        problems.push(Problem::new(format!("annotations.{key}"), format!("{value:?} is not absolute")));
        return None;
    }
    Some(value.into())
}

fn label_kind(value: &str, problems: &mut Vec<Problem>) -> Option<&'static str> {
    let known = LABEL_KINDS.into_iter().find(|kind| *kind == value);
    if known.is_none() {
        problems.push(
            Problem::new(format!("annotations.{LABEL_KIND}"), format!("{value:?} is no kind of label"))
                .hint("context, fscontext, defcontext or rootcontext"),
        );
    }
    known
}
