// SPDX-License-Identifier: Apache-2.0
//! The grammar: `soute [GLOBAL FLAGS] COMMAND [FLAGS] [ARGUMENTS]`.
//!
//! The global flags are a table here. The flags of a verb are the fields of the struct in
//! its file under `commands/`, by clap's derive: clap gives their types and the help text,
//! after `argv.rs` has taken Go's grammar out. Only the verb that was asked for is built;
//! all of them would cost more than a `state` does.

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::path::{Component, Path, PathBuf};

use clap::error::ErrorKind;
use libcontainer::error::{Error, Kind, Result};
use libcontainer::{CgroupDriver, Context};
use tracing::level_filters::LevelFilter;

use crate::argv::{self, Flag, Word, Words};
use crate::commands::{Entry, VERBS, Verb};
use crate::log::{self, Format};

/// What the global flags said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Global {
    root: Option<PathBuf>,
    /// Where errors go.
    pub log: log::Settings,
    cgroup_driver: CgroupDriver,
    rootless: Option<bool>,
}

/// What the first words of a command line ask for.
#[derive(Debug)]
pub enum First<'a> {
    /// A verb, and the words that are its own.
    Verb(&'static Entry, &'a [OsString]),
    /// This text.
    Help(String),
    /// `--version`.
    Version,
}

/// What the words of a verb ask for.
#[derive(Debug)]
pub enum Asked<V> {
    /// The verb is to be run.
    Run(V),
    /// Its help, which is this text.
    Help(String),
}

/// A global flag.
pub struct GlobalFlag {
    /// As it is typed.
    pub flag: Flag<'static>,
    /// What its value is called in the help text; empty for a switch.
    pub value: &'static str,
    /// The help text; empty for a second spelling of another flag.
    pub help: &'static str,
}

/// Every flag that stands before the command.
pub const GLOBALS: &[GlobalFlag] = &[
    value("root", "DIR", "where containers are recorded [default: /run/soute, or $XDG_RUNTIME_DIR/soute]"),
    value("log", "FILE", "append the error to FILE as well"),
    value("log-format", "FORMAT", "text or json [default: text]"),
    value("log-level", "LEVEL", "error, warning, info, debug or trace"),
    switch("debug", None, "log every step; the same as --log-level debug"),
    switch("systemd-cgroup", None, "the same as --cgroup-manager systemd"),
    value("cgroup-manager", "NAME", "cgroupfs, systemd or disabled [default: cgroupfs]"),
    value("rootless", "WHEN", "true, false or auto [default: auto]"),
    value("criu", "PATH", "accepted and ignored"),
    switch("help", Some('h'), "show this text"),
    switch("version", Some('v'), "show the version (-V as well)"),
    switch("", Some('V'), ""),
];

const fn value(long: &'static str, value: &'static str, help: &'static str) -> GlobalFlag {
    GlobalFlag { flag: Flag { long, short: None, takes_value: true }, value, help }
}

const fn switch(long: &'static str, short: Option<char>, help: &'static str) -> GlobalFlag {
    GlobalFlag { flag: Flag { long, short, takes_value: false }, value: "", help }
}

/// Reads the global flags into `global`, up to the verb. What was read before a fault
/// stays in `global`, so that the fault can be logged where an earlier flag says.
pub fn first<'a>(words: &'a [OsString], global: &mut Global) -> Result<First<'a>> {
    let hint = |e: Error| e.hint("`soute --help` lists the flags and the commands");
    let flags: Vec<Flag<'static>> = GLOBALS.iter().map(|g| g.flag).collect();
    let mut words = Words::new(&flags, words);
    while let Some(word) = words.next() {
        match word.map_err(hint)? {
            Word::Switch("help", true) => return Ok(First::Help(overview())),
            Word::Switch("version" | "", true) => return Ok(First::Version),
            Word::Switch(name, on) => global.switch(name, on),
            Word::Value(name, value) => global.value(name, value).map_err(hint)?,
            Word::Positional(word) => return verb(&word, words.rest()).map_err(hint),
        }
    }
    Err(hint(refuse("no command given")))
}

fn verb<'a>(word: &OsStr, rest: &'a [OsString]) -> Result<First<'a>> {
    let known = |word: &OsStr| VERBS.iter().find(|v| word == v.name);
    match (word.to_str(), rest.first()) {
        (Some("version"), _) => Ok(First::Version),
        (Some("help"), None) => Ok(First::Help(overview())),
        (Some("help"), Some(word)) => match known(word) {
            Some(entry) => Ok(First::Help(help(entry))),
            None => Err(refuse(format!("unknown command \"{}\"", word.display()))),
        },
        _ => match known(word) {
            Some(entry) => Ok(First::Verb(entry, rest)),
            None => Err(refuse(format!("unknown command \"{}\"", word.display()))),
        },
    }
}

impl Global {
    fn switch(&mut self, name: &str, on: bool) {
        match (name, on) {
            ("debug", true) => self.log.level = self.log.level.max(Some(LevelFilter::DEBUG)),
            ("systemd-cgroup", true) => self.cgroup_driver = CgroupDriver::Systemd,
            ("systemd-cgroup", false) if self.cgroup_driver == CgroupDriver::Systemd => {
                self.cgroup_driver = CgroupDriver::Cgroupfs;
            }
            _ => {}
        }
    }

    fn value(&mut self, name: &str, value: OsString) -> Result<()> {
        let word = value.to_str().unwrap_or_default();
        let invalid = || Err(refuse(format!("invalid value \"{}\" for --{name}", value.display())));
        match (name, word) {
            ("root", _) => self.root = Some(value.into()),
            ("log", _) => self.log.file = absolute(value.into())?,
            ("log-format", "text") => self.log.format = Format::Text,
            ("log-format", "json") => self.log.format = Format::Json,
            ("log-level", _) => {
                let level = match word {
                    "error" => LevelFilter::ERROR,
                    "warn" | "warning" => LevelFilter::WARN,
                    "info" => LevelFilter::INFO,
                    "debug" => LevelFilter::DEBUG,
                    "trace" => LevelFilter::TRACE,
                    _ => return invalid(),
                };
                self.log.level = Some(level);
            }
            ("cgroup-manager", "cgroupfs") => self.cgroup_driver = CgroupDriver::Cgroupfs,
            ("cgroup-manager", "systemd") => self.cgroup_driver = CgroupDriver::Systemd,
            ("cgroup-manager", "disabled") => self.cgroup_driver = CgroupDriver::Disabled,
            ("rootless", "auto") => self.rootless = None,
            ("rootless", _) => match argv::truth(&value) {
                Some(rootless) => self.rootless = Some(rootless),
                None => return invalid(),
            },
            ("criu", _) => {}
            _ => return invalid(),
        }
        Ok(())
    }

    /// What the operations need to know of the global flags and the environment.
    pub fn context(&self) -> Result<Context> {
        let root = match &self.root {
            Some(root) => given_root(root)?,
            None => default_root()?,
        };
        Ok(Context { root, cgroup_driver: self.cgroup_driver, rootless: self.rootless, log: self.log.open })
    }
}

/// `--root` as an absolute path. `/` itself would make every directory there a container.
fn given_root(root: &Path) -> Result<PathBuf> {
    let whole = absolute(root.into())?.ok_or_else(|| refuse("--root must not be empty"))?;
    let depth = whole.components().fold(0_usize, |depth, part| match part {
        Component::Normal(_) => depth + 1,
        Component::ParentDir => depth.saturating_sub(1),
        _ => depth,
    });
    if depth == 0 {
        return Err(refuse("--root must not be /"));
    }
    Ok(whole)
}

fn default_root() -> Result<PathBuf> {
    let runtime_dir = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|d| d.is_absolute());
    let ordinary = !rustix::process::geteuid().is_root();
    match runtime_dir {
        Some(dir) if ordinary || root_by_mapping() => Ok(dir.join("soute")),
        None if ordinary => Err(refuse("no --root is given and XDG_RUNTIME_DIR is not set")
            .hint("an ordinary user's containers are recorded in $XDG_RUNTIME_DIR/soute; set it, or give --root DIR")),
        _ => Ok("/run/soute".into()),
    }
}

/// Whether we are root only inside a user namespace that an ordinary user made: under
/// rootless podman /run is not ours. Root's own login in a system container (USER=root)
/// is root enough. Asked only where XDG_RUNTIME_DIR is set.
fn root_by_mapping() -> bool {
    if std::env::var_os("USER").is_some_and(|user| user == "root") {
        return false;
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    !map.is_empty() && !map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// The operations may change the working directory. An empty path is none.
fn absolute(path: PathBuf) -> Result<Option<PathBuf>> {
    if path.as_os_str().is_empty() {
        return Ok(None);
    }
    let whole = std::path::absolute(&path);
    whole
        .map(Some)
        .map_err(|e| refuse(format!("{path:?} is relative, and there is no working directory: {e}")))
}

/// Reads the words of the verb `V`.
pub fn read<V: Verb>(words: &[OsString]) -> Result<Asked<V>> {
    let hint = |e: Error| e.hint(format!("`soute {} --help` lists the flags", V::NAME));
    let mut command = command::<V>();
    let words = {
        let mut flags: Vec<Flag<'_>> = command
            .get_arguments()
            .filter(|arg| !arg.is_positional())
            .map(|arg| Flag {
                long: arg.get_long().unwrap_or_default(),
                short: arg.get_short(),
                takes_value: arg.get_action().takes_values(),
            })
            .collect();
        // clap's own, which it adds when it builds the command.
        flags.push(Flag { long: "help", short: Some('h'), takes_value: false });
        argv::normalise(&flags, V::FLAGS_END_AT_ID, words).map_err(|e| hint(misplaced(e)))?
    };
    let matches = match command.try_get_matches_from_mut(words) {
        Ok(matches) => matches,
        Err(e) if e.kind() == ErrorKind::DisplayHelp => return Ok(Asked::Help(e.render().to_string())),
        Err(e) => return Err(hint(refuse(sentence(&e)))),
    };
    V::from_arg_matches(&matches).map(Asked::Run).map_err(|e| hint(refuse(sentence(&e))))
}

/// clap's definition of the verb `V`.
pub fn command<V: Verb>() -> clap::Command {
    V::augment_args(clap::Command::new(V::NAME))
        .about(V::ABOUT)
        .bin_name(format!("soute {}", V::NAME))
        .no_binary_name(true)
        .args_override_self(true)
}

/// A global flag after the verb deserves a better answer than "not defined".
fn misplaced(e: Error) -> Error {
    let message = e.message();
    let typed = message.rsplit(' ').next().unwrap_or_default();
    let name = typed.trim_start_matches('-').split('=').next().unwrap_or_default();
    match GLOBALS.iter().any(|g| !name.is_empty() && g.flag.long == name) {
        true => e.hint(format!("--{name} is a global flag: it stands before the command")),
        false => e,
    }
}

/// The first paragraph of clap's text, which is all of it that is about the fault.
fn sentence(e: &clap::Error) -> String {
    let text = e.to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
    words.join(" ")
}

fn help(entry: &Entry) -> String {
    (entry.command)().render_help().to_string()
}

/// `soute --help`.
fn overview() -> String {
    let mut text = String::from(
        "soute runs containers from OCI bundles.\n\n\
         Usage: soute [GLOBAL FLAGS] COMMAND [FLAGS] [ARGUMENTS]\n\nCommands:\n",
    );
    for entry in VERBS {
        let _ = writeln!(text, "  {:<10} {}", entry.name, entry.about);
    }
    text.push_str("\nGlobal flags:\n");
    for GlobalFlag { flag, value, help } in GLOBALS.iter().filter(|g| !g.help.is_empty()) {
        let short = flag.short.map(|c| format!("-{c}, ")).unwrap_or_default();
        let _ = writeln!(text, "  {:<24} {help}", format!("{short}--{} {value}", flag.long));
    }
    text.push_str("\n`soute COMMAND --help` explains a command and its flags.\n");
    text
}

/// `soute --version`. dockerd takes every line with the word "version" for one that tells
/// it, so only the first line has it.
pub fn version() -> String {
    // Set by the release build; a plain `cargo build` does not depend on git.
    let commit = option_env!("SOUTE_COMMIT").unwrap_or("unknown");
    let (soute, spec) = (env!("CARGO_PKG_VERSION"), libcontainer::features::SPEC);
    format!("soute version {soute}\ncommit: {commit}\nspec: {spec}\n")
}

fn refuse(says: impl Into<String>) -> Error {
    Error::new(Kind::Config, says)
}
