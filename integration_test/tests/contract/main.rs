// SPDX-License-Identifier: Apache-2.0
//! What engines type, and what they read of what comes of it: a table, one row a line of the
//! contract. A row says who types it, what the container is by then, the line, and what must be
//! seen afterwards: exit status, texts, files, sockets, JSON.
//!
//! Each row has a container of its own. Texts are soute's (other runtimes have some of their
//! own); all the rest holds for any runtime, but where the row says that one differs.
#![allow(clippy::unwrap_used)]

mod callers;
mod features;
mod flags;
mod words;

use std::cell::RefCell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use integration_test::{Bundle, Flavor, Listener, Out, Test, by_systemd, controllers, named_test};
use serde_json::{Value, json};

/// What the container is when the line is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    Absent,
    Created,
    Running,
    Paused,
    Stopped,
}

/// What must be so once the line has ended.
pub(crate) enum Sees {
    /// The word of `state`; "absent" where there is no such container any more.
    Status(&'static str),
    /// All this is in standard output.
    Out(&'static [&'static str]),
    /// All this is in soute's message.
    Says(&'static [&'static str]),
    /// Neither stream has anything: the caller would take it for an error, or show it.
    Silence,
    /// Standard output is JSON, with this at that place; `{id}` and the like may stand in it.
    Json(&'static str, &'static str),
    /// The file that --log names has nothing in it.
    LogEmpty,
    /// It has one object, an error whose message has this.
    LogError(&'static str),
    /// The file has the digits of a living process's id and nothing else. Whose: init's?
    PidFile(&'static str, bool),
    /// There is no such file.
    NoFile(&'static str),
    /// The socket `{console}` got the master of a terminal.
    Terminal,
    /// The socket `{pidfd}` got a pidfd of a living process.
    Pidfd,
    /// Anything else.
    That(fn(&Seen<'_>)),
}

/// A line of the contract.
pub(crate) struct Row {
    who: &'static str,
    is: Is,
    line: String,
    code: Option<i32>,
    with: fn(Bundle) -> Bundle,
    first: fn(&Seen<'_>),
    stdin: Option<&'static str>,
    redirections: Option<&'static str>,
    bare: bool,
    differs: Vec<(Flavor, &'static str)>,
    sees: Vec<Sees>,
}

/// `who` types `line` at a container that `is` so; it must succeed. In the line `{root}`, `{id}`,
/// `{bundle}`, `{dir}`, `{console}`, `{pidfd}`, `{process}`, `{tty-process}` and `{resources}` stand
/// for what the row's container has (`{short}` and `{missing}` are processes that end with 3, and
/// whose program is not there), `{systemd}` for --systemd-cgroup where systemd makes the
/// groups, and `~` for a space within a word.
pub(crate) fn row(who: &'static str, is: Is, line: impl Into<String>) -> Row {
    Row {
        who,
        is,
        line: line.into(),
        code: Some(0),
        with: |bundle| bundle.asks(&["wait-for TERM"]),
        first: |_| {},
        stdin: None,
        redirections: None,
        bare: false,
        differs: Vec::new(),
        sees: Vec::new(),
    }
}

impl Row {
    /// It ends with this status.
    fn exits(self, code: i32) -> Self {
        Self { code: Some(code), ..self }
    }

    /// It fails, with whatever status.
    fn fails(self) -> Self {
        Self { code: None, ..self }
    }

    /// The container is not the usual one, which waits for SIGTERM.
    fn with(self, with: fn(Bundle) -> Bundle) -> Self {
        Self { with, ..self }
    }

    /// Before the line is typed this is done.
    fn first(self, first: fn(&Seen<'_>)) -> Self {
        Self { first, ..self }
    }

    /// Standard input is this file.
    fn stdin(self, path: &'static str) -> Self {
        Self { stdin: Some(path), ..self }
    }

    /// A shell's redirections, for descriptors above 2.
    fn redirected(self, words: &'static str) -> Self {
        Self { redirections: Some(words), ..self }
    }

    /// The caller gives an environment with next to nothing in it.
    fn bare(self) -> Self {
        Self { bare: true, ..self }
    }

    /// This other runtime is known to go another way.
    fn differs(mut self, flavor: Flavor, why: &'static str) -> Self {
        self.differs.push((flavor, why));
        self
    }

    /// Neither runc nor crun does it, or not yet in the releases that are at hand.
    fn ours(self, why: &'static str) -> Self {
        self.differs(Flavor::Runc, why).differs(Flavor::Crun, why)
    }

    fn sees(mut self, what: impl IntoIterator<Item = Sees>) -> Self {
        self.sees.extend(what);
        self
    }
}

/// A row at work.
pub(crate) struct Seen<'a> {
    t: &'a Test,
    bundle: Bundle,
    console: Listener,
    pidfd: Listener,
    /// The line's output; empty until it has ended.
    out: RefCell<Option<Out>>,
}

impl Seen<'_> {
    fn filled(&self, text: &str) -> String {
        let path = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut text = text.to_owned();
        for (name, value) in [
            ("{id}", self.t.id().to_owned()),
            ("{root}", path(self.t.root())),
            ("{bundle}", path(self.bundle.dir().into())),
            ("{dir}", path(self.t.dir().into())),
            ("{console}", path(self.console.path().into())),
            ("{pidfd}", path(self.pidfd.path().into())),
            ("{process}", path(self.t.dir().join("process.json"))),
            ("{tty-process}", path(self.t.dir().join("tty-process.json"))),
            ("{short}", path(self.t.dir().join("short.json"))),
            ("{missing}", path(self.t.dir().join("missing.json"))),
            ("{resources}", path(self.t.dir().join("resources.json"))),
            ("{systemd}", if by_systemd() { "--systemd-cgroup" } else { "" }.to_owned()),
        ] {
            text = text.replace(name, &value);
        }
        text
    }

    /// The line's output.
    fn with_out<T>(&self, look: impl FnOnce(&Out) -> T) -> T {
        look(self.out.borrow().as_ref().unwrap())
    }

    fn stdout(&self) -> String {
        self.with_out(Out::stdout)
    }

    fn json(&self) -> Value {
        self.with_out(Out::json)
    }

    fn log(&self) -> String {
        let log = fs::read_to_string(self.bundle.dir().join("log.json")).unwrap_or_default();
        if self.t.flavor() != Flavor::Runc {
            return log;
        }
        // 1.3 warns of ambient capabilities that are not inheritable, and of an absent controller.
        let warns =
            |line: &&str| line.contains("can't raise ambient") || line.contains("unable to get oom kill");
        log.lines().filter(|line| !warns(line)).fold(String::new(), |all, line| all + line + "\n")
    }

    fn status(&self) -> String {
        let out = self.t.call(&["state", self.t.id()]);
        if out.code != 0 { "absent".to_owned() } else { out.json()["status"].as_str().unwrap().to_owned() }
    }

    /// Brings the container to where the row begins.
    fn begin(&self, is: Is) {
        let t = self.t;
        self.bundle.save();
        let write = |name: &str, what: Value| fs::write(t.dir().join(name), what.to_string()).unwrap();
        let process = |args: Value, terminal: bool| {
            let user = json!({ "uid": 0, "gid": 0 });
            json!({ "args": args, "terminal": terminal, "cwd": "/", "env": ["PATH=/"], "user": user })
        };
        write("process.json", process(json!(["/payload", "wait-for USR1"]), false));
        write("tty-process.json", process(json!(["/payload", "wait-for USR1"]), true));
        write("short.json", process(json!(["/payload", "exit 3"]), false));
        write("missing.json", process(json!(["/no/such/program"]), false));
        write("resources.json", limit().0);
        if is == Is::Absent {
            return;
        }
        let out = t.create(&self.bundle).ok();
        if is == Is::Created {
            return;
        }
        t.start().ok();
        t.until("the payload is ready", || out.stdout().contains("waiting"));
        match is {
            Is::Paused => drop(t.call(&["pause", t.id()]).ok()),
            Is::Stopped => {
                t.kill("KILL").ok();
                t.until_stopped();
            }
            _ => {}
        }
    }

    fn command(&self, row: &Row) -> Command {
        let line = self.filled(&row.line);
        let words: Vec<String> = line.split_whitespace().map(|word| word.replace('~', " ")).collect();
        let mut command = match row.redirections {
            None => Command::new(self.t.runtime()),
            Some(redirections) => {
                let mut shell = Command::new("/bin/bash");
                shell.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirections}")).arg(self.t.runtime());
                shell
            }
        };
        if row.bare {
            command
                .env_clear()
                .env("XDG_RUNTIME_DIR", self.t.dir())
                .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        }
        command.args(words).current_dir(self.bundle.dir());
        command.stdin(match row.stdin {
            None => self.t.nothing(),
            Some(path) => Stdio::from(fs::File::open(self.filled(path)).unwrap()),
        });
        command
    }

    fn check(&self, sees: &Sees) {
        let ours = self.t.flavor() == Flavor::Soute;
        match sees {
            Sees::Status(status) => {
                if *status == "stopped" {
                    self.t.until_stopped();
                }
                assert_eq!(self.status(), *status);
            }
            Sees::Out(words) => {
                let said = self.stdout();
                for word in *words {
                    assert!(said.contains(&self.filled(word)), "{word:?} is not in {said:?}");
                }
            }
            Sees::Says(words) if ours => {
                let said = self.with_out(Out::stderr);
                for word in *words {
                    assert!(said.contains(&self.filled(word)), "{word:?} is not in {said:?}");
                }
            }
            Sees::Says(_) => {}
            Sees::Silence => {
                assert_eq!((self.stdout(), self.with_out(Out::stderr)), (String::new(), String::new()));
            }
            Sees::Json(pointer, wanted) => {
                let all = self.json();
                let value = all.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {all}"));
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(value, self.filled(wanted), "{pointer}");
            }
            Sees::LogEmpty => assert_eq!(self.log(), ""),
            Sees::LogError(words) => {
                let log = self.log();
                let line: Value =
                    serde_json::from_str(&log).unwrap_or_else(|e| panic!("not one object: {e}: {log}"));
                assert_eq!(line["level"], "error");
                let message = line["msg"].as_str().unwrap();
                assert!(!ours || message.contains(words), "{words:?} is not in {message:?}");
                assert!(is_rfc3339(line["time"].as_str().unwrap()), "{line}");
            }
            Sees::PidFile(path, of_init) => {
                let text = fs::read_to_string(self.filled(path)).unwrap();
                assert!(!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()), "{text:?}");
                assert_eq!(text.parse() == Ok(self.t.pid()), *of_init, "{text}");
                assert!(fs::exists(format!("/proc/{text}")).unwrap());
            }
            Sees::NoFile(path) => assert!(!fs::exists(self.filled(path)).unwrap(), "{path}"),
            Sees::Terminal => {
                let (master, _) = self.console.receive();
                assert!(rustix::termios::isatty(&master));
                rustix::pty::ptsname(&master, Vec::new()).unwrap();
            }
            Sees::Pidfd => {
                let (pidfd, _) = self.pidfd.receive();
                let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&pidfd));
                let info = fs::read_to_string(info).unwrap();
                let pid = info.lines().find_map(|line| line.strip_prefix("Pid:\t")).unwrap();
                assert!(pid.parse::<u32>().is_ok_and(|pid| pid > 0), "{info}");
            }
            Sees::That(what) => what(self),
        }
    }
}

/// A limit that this machine has, as linux.resources; its controller, the kernel's file and what
/// stands in it then.
pub(crate) fn limit() -> (Value, &'static str, &'static str, &'static str) {
    match controllers().iter().any(|name| name == "pids") {
        true => (json!({ "pids": { "limit": 77 } }), "pids", "pids.max", "77"),
        false => {
            let limits = json!([{ "pageSize": "2MB", "limit": 4_194_304 }]);
            (json!({ "hugepageLimits": limits }), "hugetlb", "hugetlb.2MB.max", "4194304")
        }
    }
}

/// As Go's time.Time is read from JSON: 2006-01-02T15:04:05, a fraction, and a zone.
fn is_rfc3339(time: &str) -> bool {
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let Some(rest) = shape.strip_prefix("0000-00-00T00:00:00") else { return false };
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches('0'),
        None => rest,
    };
    matches!(rest, "Z" | "+00:00" | "-00:00")
}

/// Walks a part of the table; every row that does not hold is named at the end.
fn table(part: &str, rows: Vec<Row>) {
    let mut wrong = Vec::new();
    for row in rows {
        let name = format!("contract::{part}: {}: {}", row.who, row.line);
        let walk = || named_test(&name, |t| walk(t, &row));
        if let Err(panic) = catch_unwind(AssertUnwindSafe(walk)) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or(panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            wrong.push(format!("{}, {:?}: {}\n    {}", row.who, row.is, row.line, text.unwrap_or_default()));
        }
    }
    assert!(wrong.is_empty(), "{} rows do not hold:\n  {}", wrong.len(), wrong.join("\n  "));
}

fn walk(t: &Test, row: &Row) {
    if let Some((_, why)) = row.differs.iter().find(|(flavor, _)| *flavor == t.flavor()) {
        t.excuse(why);
    }
    let seen = Seen {
        t,
        bundle: (row.with)(t.bundle()),
        console: t.listener(),
        pidfd: t.listener(),
        out: RefCell::new(None),
    };
    seen.begin(row.is);
    (row.first)(&seen);
    let out = t.output(seen.command(row));
    let complained = out.stderr();
    match row.code {
        Some(code) => assert_eq!(out.code, code, "status; it said: {complained}"),
        None => assert_ne!(out.code, 0, "it succeeds"),
    }
    if out.code != 0 && row.code.is_none_or(|code| code == 1) {
        assert!(!complained.trim().is_empty(), "it failed without a word");
    }
    seen.out.replace(Some(out));
    for sees in &row.sees {
        seen.check(sees);
    }
    t.call(&["delete", "--force", t.id()]);
}
