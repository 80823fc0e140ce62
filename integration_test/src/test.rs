// SPDX-License-Identifier: Apache-2.0
//! One test: an id, a state directory and a scratch directory of its own, the runtime's
//! commands, and the census at its end.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::canary::Canary;
use crate::command::{self, Running, ours};
use crate::{Bundle, Host, Listener, Ordinary, Out, by_systemd, census, cgroups_path, known};

/// Whose program the runtime under test is, by the first line of `--version`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Flavor {
    Soute,
    Runc,
    Crun,
    Youki,
    Other,
}

/// What a test works with. Every command goes through it.
pub struct Test {
    id: String,
    dir: PathBuf,
    runtime: RefCell<PathBuf>,
    payload: PathBuf,
    flavor: Flavor,
    /// Words before the runtime's own: `unshare -m …`.
    before: RefCell<Vec<String>>,
    global: RefCell<Vec<String>>,
    count: AtomicU32,
    excuse: Cell<Option<String>>,
}

thread_local! {
    static NAME: RefCell<String> = const { RefCell::new(String::new()) };
    static SKIPPED: Cell<bool> = const { Cell::new(false) };
}

/// Without nextest all tests share one process, and the census cannot tell their
/// processes apart: one at a time then.
static ONE: Mutex<()> = Mutex::new(());

/// Runs one test: `what` gets a fresh [`Test`]; nothing may be left behind when it ends.
pub fn container_test<F: FnOnce(&Test)>(what: F) {
    assert!(rustix::process::geteuid().is_root(), "these tests make containers: run them as root");
    named_test(std::any::type_name::<F>(), what);
}

/// The same as an ordinary user, where the runtime can be that user's: whoever runs the tests, or,
/// where that is root, an account made for it.
pub fn ordinary_test<F: FnOnce(&Test, Ordinary)>(what: F) {
    named_test(std::any::type_name::<F>(), |t| {
        if let Some(user) = Ordinary::new(t) {
            what(t, user);
        }
    });
}

/// Runs one row of a table, under a name of its own.
pub fn named_test(name: &str, what: impl FnOnce(&Test)) {
    let _one = ONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let name = name.replace("::{{closure}}", "");
    NAME.with(|slot| slot.replace(name));
    SKIPPED.set(false);
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).expect("every process may");

    let canary = Canary::new();
    let test = Test::new();
    let result = catch_unwind(AssertUnwindSafe(|| what(&test)));
    let mut left = census::left_behind(&test.id, &test.dir, &ours());
    if !left.is_empty() {
        census::clean(&test.id, &ours());
    }
    left.extend(canary.changed());
    if let Err(error) = fs::remove_dir_all(&test.dir) {
        left.push(format!("{}: {error}", test.dir.display()));
    }
    let left = (!left.is_empty()).then(|| format!("left behind:\n  {}", left.join("\n  ")));
    let said = match &result {
        Err(panic) => Some(message(panic.as_ref())),
        Ok(()) => left.as_deref(),
    };
    let known = NAME.with(|name| known::reason(test.flavor, &name.borrow()).map(str::to_owned));
    if let (Some(why), Some(said)) = (known.or(test.excuse.take()), said) {
        let said: String = said.chars().take(200).collect();
        return note_skip(&format!("{:?} differs: {why} ({said})", test.flavor));
    }
    if let Err(panic) = result {
        resume_unwind(panic);
    }
    // A skipped test stopped half-way; what it left has been removed.
    assert!(left.is_none() || SKIPPED.get(), "{}", left.unwrap_or_default());
}

/// The text of a panic.
fn message(panic: &(dyn Any + Send)) -> &str {
    let owned = panic.downcast_ref::<String>().map(String::as_str);
    owned.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic")
}

/// Prints and counts a skipped test; see [`skip!`](crate::skip).
pub fn note_skip(why: &str) {
    SKIPPED.set(true);
    let why = why.split_whitespace().collect::<Vec<_>>().join(" ");
    let line = NAME.with(|name| format!("SKIP {}: {why}", name.borrow()));
    println!("{line}");
    let path = std::env::var_os("SOUTE_SKIPS").map_or_else(|| built("skips"), PathBuf::from);
    // One write to a file opened for appending: lines of parallel tests stay whole.
    let file = fs::OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()));
}

/// A file that cargo put beside this test's directory.
fn built(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("/proc is mounted");
    test.ancestors().nth(2).expect("cargo's layout").join(name)
}

impl Test {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // What a killed test left may have the name that this one would get: process ids come again.
        let (id, dir) = loop {
            let id = format!("itest-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let dir = std::env::temp_dir().join(&id);
            match fs::create_dir(&dir) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => break made.map(|()| (id, dir)).expect("the temporary directory is writable"),
            }
        };
        let runtime = std::env::var_os("RUNTIME").map_or_else(|| built("soute"), PathBuf::from);
        assert!(runtime.exists(), "no runtime at {}: build soute, or set RUNTIME", runtime.display());
        let mut test = Self {
            id,
            dir,
            runtime: RefCell::new(runtime),
            payload: built("payload"),
            flavor: Flavor::Other,
            before: RefCell::default(),
            global: RefCell::default(),
            count: AtomicU32::new(0),
            excuse: Cell::new(None),
        };
        let version = test.call(&["--version"]).stdout();
        test.flavor = match version.split(' ').next() {
            Some("soute") => Flavor::Soute,
            Some("runc") => Flavor::Runc,
            Some("crun") => Flavor::Crun,
            Some("youki") => Flavor::Youki,
            _ => Flavor::Other,
        };
        test
    }

    /// The container's id. Others start with it too: [`Test::named`].
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The id of another container of this test.
    pub fn named(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.id)
    }

    /// The scratch directory, for whatever the test needs.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory given as `--root`.
    pub fn root(&self) -> PathBuf {
        self.dir.join("state")
    }

    /// Whose runtime this is.
    pub fn flavor(&self) -> Flavor {
        self.flavor
    }

    /// Should the test fail from here on, it is for this known reason; see
    /// [`differs!`](crate::differs).
    pub fn excuse(&self, why: &str) {
        self.excuse.set(Some(why.to_owned()));
    }

    /// The runtime's program.
    pub fn runtime(&self) -> PathBuf {
        self.runtime.borrow().clone()
    }

    /// From now on the runtime is a copy of its program, which a test may put at risk.
    pub fn copy_runtime(&self) -> PathBuf {
        let copy = self.scratch("runtime");
        fs::copy(self.runtime(), &copy).expect("the program can be read");
        self.runtime.replace(copy.clone());
        copy
    }

    /// The payload's program.
    pub fn payload(&self) -> &Path {
        &self.payload
    }

    /// Puts words before every command of the runtime: `&["unshare", "-m"]`.
    pub fn before(&self, words: &[&str]) {
        self.before.replace(words.iter().map(|word| (*word).to_owned()).collect());
    }

    /// Global flags for every command from now on.
    pub fn global(&self, words: &[&str]) {
        self.global.replace(words.iter().map(|word| (*word).to_owned()).collect());
    }

    /// A fresh bundle, with a cgroup `/ID` (or the unit `ID.scope`).
    pub fn bundle(&self) -> Bundle {
        self.bundle_for(&self.id)
    }

    /// A fresh bundle whose cgroup is that of another id.
    pub fn bundle_for(&self, id: &str) -> Bundle {
        Bundle::new(self.scratch("bundle"), &self.payload, &cgroups_path(id))
    }

    /// A path in the scratch directory that is not taken.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.{}", self.count.fetch_add(1, Ordering::Relaxed)))
    }

    /// A socket to hand to the runtime.
    pub fn listener(&self) -> Listener {
        Listener::new(self.scratch("socket"))
    }

    /// The runtime's command, with its root, ready to be changed.
    pub fn command(&self, args: &[&str]) -> Command {
        let before = self.before.borrow();
        let mut command = match before.split_first() {
            None => command::quiet(&self.runtime()),
            Some((program, rest)) => {
                let mut command = command::quiet(Path::new(program));
                command.args(rest).arg(self.runtime());
                command
            }
        };
        command.arg("--root").arg(self.root()).args(by_systemd().then_some("--systemd-cgroup"));
        command.args(&*self.global.borrow()).args(args);
        command.current_dir(&self.dir).stdin(self.nothing());
        command
    }

    /// A standard input with nothing in it: /dev/null, but an empty file for crun, which
    /// gives the host's device away to the container's user.
    pub fn nothing(&self) -> Stdio {
        match self.flavor {
            Flavor::Crun => {
                fs::File::create(self.dir.join("nothing")).map_or_else(|_| Stdio::null(), Stdio::from)
            }
            _ => Stdio::null(),
        }
    }

    /// Starts any command, with its output kept.
    #[track_caller]
    pub fn start_command(&self, command: Command) -> Running {
        let files = [self.scratch("stdout"), self.scratch("stderr")];
        let line = format!("{command:?}");
        Running::start(command, files).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    /// Runs any command to its end.
    #[track_caller]
    pub fn output(&self, command: Command) -> Out {
        self.start_command(command).wait()
    }

    /// Runs any command, but not for ever: `None` is a hang, and it is killed.
    #[track_caller]
    pub fn output_within(&self, command: Command, limit: Duration) -> Option<Out> {
        let end = Instant::now() + limit;
        let mut running = self.start_command(command);
        while !running.ended() {
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(running.wait())
    }

    /// Runs a command of the runtime to its end.
    #[track_caller]
    pub fn call(&self, args: &[&str]) -> Out {
        // As a supervisor would: nobody who has ended stays a zombie until the next command.
        census::reap_orphans(&ours());
        self.output(self.command(args))
    }

    /// Runs a command of the runtime with a shell's redirections, for descriptors above 2.
    #[track_caller]
    pub fn call_redirected(&self, args: &[&str], redirections: &str) -> Out {
        self.output(self.redirected(args, redirections))
    }

    /// The same, not started yet.
    pub fn redirected(&self, args: &[&str], redirections: &str) -> Command {
        let plain = self.command(args);
        let mut shell = Command::new("/bin/bash");
        shell.arg("-c").arg(format!("LISTEN_PID=$$ exec \"$0\" \"$@\" {redirections}"));
        shell.arg(plain.get_program()).args(plain.get_args());
        shell.stdin(self.nothing()).current_dir(&self.dir);
        shell
    }

    /// `run`, in the foreground.
    #[track_caller]
    pub fn run(&self, bundle: &Bundle) -> Out {
        self.run_with(bundle, &[])
    }

    /// `run` with flags.
    #[track_caller]
    pub fn run_with(&self, bundle: &Bundle, flags: &[&str]) -> Out {
        self.call(&self.with_bundle("run", bundle, flags))
    }

    /// Another container of this test, run in the foreground.
    #[track_caller]
    pub fn run_as(&self, id: &str, bundle: &Bundle) -> Out {
        bundle.save();
        self.call(&["run", "--bundle", bundle.dir().to_str().expect("scratch paths are plain"), id])
    }

    /// A process of the host that lives in new namespaces, to be joined: the words are
    /// those of unshare(1). It ends when dropped.
    #[track_caller]
    pub fn holder(&self, words: &[&str]) -> Running {
        let mut command = command::quiet(Path::new("unshare"));
        command.args(words).args(["/bin/sh", "-c", "echo ready; exec sleep 60"]);
        let holder = self.start_command(command);
        self.until("the namespaces are there", || holder.so_far().stdout().contains("ready"));
        holder
    }

    /// `run` that goes on in the background.
    #[track_caller]
    pub fn spawn(&self, bundle: &Bundle, flags: &[&str]) -> Running {
        self.start_command(self.command(&self.with_bundle("run", bundle, flags)))
    }

    /// Runs a container that only answers; it must succeed.
    #[track_caller]
    pub fn ask(&self, bundle: Bundle, questions: &[&str]) -> Value {
        self.run(&bundle.asks(questions)).ok().answers()
    }

    /// `create`.
    #[track_caller]
    pub fn create(&self, bundle: &Bundle) -> Out {
        self.create_with(bundle, &[])
    }

    /// `create` with flags.
    #[track_caller]
    pub fn create_with(&self, bundle: &Bundle, flags: &[&str]) -> Out {
        self.call(&self.with_bundle("create", bundle, flags))
    }

    /// The words of `create` or `run` for this bundle, which is written to disk.
    pub fn with_bundle<'a>(&'a self, verb: &'a str, bundle: &'a Bundle, flags: &[&'a str]) -> Vec<&'a str> {
        bundle.save();
        let dir = bundle.dir().to_str().expect("scratch paths are plain");
        let mut words = vec![verb, "--bundle", dir];
        words.extend(flags);
        words.push(&self.id);
        words
    }

    /// `start`.
    #[track_caller]
    pub fn start(&self) -> Out {
        self.call(&["start", &self.id])
    }

    /// A container that waits for SIGTERM: created, started, and ready.
    #[track_caller]
    pub fn up(&self, bundle: Bundle) -> Out {
        let out = self.create(&bundle.asks(&["wait-for TERM"])).ok();
        self.start().ok();
        self.until("the payload is ready", || out.stdout().contains("waiting"));
        out
    }

    /// `state`, as JSON.
    #[track_caller]
    pub fn state(&self) -> Value {
        self.call(&["state", &self.id]).ok().json()
    }

    /// The status word of `state`.
    #[track_caller]
    pub fn status(&self) -> String {
        self.state()["status"].as_str().unwrap_or_default().to_owned()
    }

    /// The host's id of the container's init.
    #[track_caller]
    pub fn pid(&self) -> i32 {
        self.state()["pid"].as_i64().unwrap_or_default() as i32
    }

    /// `kill` with a signal.
    #[track_caller]
    pub fn kill(&self, signal: &str) -> Out {
        self.call(&["kill", &self.id, signal])
    }

    /// `delete`.
    #[track_caller]
    pub fn delete(&self) -> Out {
        self.call(&["delete", &self.id])
    }

    /// `delete --force`, which must succeed.
    #[track_caller]
    pub fn delete_force(&self) {
        self.call(&["delete", "--force", &self.id]).ok();
    }

    /// `exec` of the payload with flags and questions.
    #[track_caller]
    pub fn exec_with(&self, flags: &[&str], questions: &[&str]) -> Out {
        let mut words = vec!["exec"];
        words.extend(flags);
        words.extend([self.id.as_str(), "/payload"]);
        words.extend(questions);
        self.call(&words)
    }

    /// What an `exec` of the payload answers.
    #[track_caller]
    pub fn exec(&self, questions: &[&str]) -> Value {
        self.exec_with(&[], questions).ok().answers()
    }

    /// Waits until something is so, for at most five seconds, or a quarter of what a command may take.
    #[track_caller]
    pub fn until(&self, what: &str, mut so: impl FnMut() -> bool) {
        let limit = Duration::from_secs(5).max(command::limit() / 4);
        let end = Instant::now() + limit;
        while !so() {
            assert!(Instant::now() < end, "not within {limit:?}: {what}");
            census::reap_orphans(&ours());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until the container is stopped.
    #[track_caller]
    pub fn until_stopped(&self) {
        self.until("the container has stopped", || self.status() == "stopped");
    }

    /// Everything that this test would leave behind at this moment.
    pub fn left_behind(&self) -> Vec<String> {
        census::left_behind(&self.id, &self.dir, &ours())
    }

    /// Removes everything that is left, without a word: for sweeps that go on after a leak.
    pub fn clean(&self) {
        census::clean(&self.id, &ours());
        let _ = fs::remove_dir_all(self.root());
    }

    /// The file of a controller in the container's cgroup.
    pub fn limit(&self, controller: &str, file: &str) -> Option<String> {
        let path = Host::here().cgroup(controller, &self.id).join(file);
        fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    }
}
