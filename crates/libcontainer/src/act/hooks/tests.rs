// SPDX-License-Identifier: Apache-2.0
//! Hooks as small shell scripts; no root needed.

use std::path::PathBuf;

use rustix::process::{getpgrp, test_kill_process};

use super::*;

/// A directory of this test, removed afterwards.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("soute-hooks-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn sh(script: &str) -> Hook {
    let args = ["hook", "-c", script].map(String::from).to_vec();
    Hook { path: "/bin/sh".into(), args, ..Hook::default() }
}

fn run_script(script: &str) -> Result<(), String> {
    run_hooks(&[sh(script)], None)
}

fn run_hooks(hooks: &[Hook], cwd: Option<&Path>) -> Result<(), String> {
    let given = Given { state: "{\"id\":\"web1\"}", cwd, output: &Output::default() };
    run("createRuntime", hooks, given).map_err(|fault| fault.to_string())
}

/// The output of a program that is made to fail by one argument more.
fn told_by(path: &str, args: &[&str], env: Vec<String>) -> String {
    let args = [path].iter().chain(args).chain(&["/absent"]).map(|arg| arg.to_string()).collect::<Vec<_>>();
    let hook = Hook { path: path.into(), args, env, timeout: None };
    run_hooks(&[hook], None).unwrap_err()
}

#[test]
fn state_is_on_stdin_and_cwd_is_given() {
    let dir = Dir::new("state");
    let hook = sh("cat > state; echo got >> state; pwd > pwd");
    // cat is in PATH by the shell's own default, as the hook has no environment.
    run_hooks(&[hook], Some(&dir.0)).unwrap();
    assert_eq!(dir.read("state"), "{\"id\":\"web1\"}got\n");
    assert_eq!(dir.read("pwd").trim(), dir.0.canonicalize().unwrap().to_str().unwrap());
}

#[test]
fn environment_is_exactly_as_configured() {
    // In this order, with what is double and what is no assignment; cat itself adds nothing.
    let env = ["B=2", "NOVALUE", "A=1", "B=3"].map(String::from).to_vec();
    let error = told_by("/bin/cat", &["/proc/self/environ"], env);
    assert!(error.contains(": B=2\0NOVALUE\0A=1\0B=3\0/bin/cat: "), "{error:?}");
    let error = told_by("/bin/cat", &["/proc/self/environ"], vec![]);
    assert!(error.contains("exit status 1: /bin/cat: "), "{error:?}");
}

#[test]
fn arguments_default_to_the_path() {
    let dir = Dir::new("args");
    let script = dir.0.join("hook.sh");
    std::fs::write(&script, "#!/bin/sh\necho \"$0 $#\" > told\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let hook = Hook { args: vec![script.display().to_string()], path: script.clone(), ..Hook::default() };
    run_hooks(&[hook], Some(&dir.0)).unwrap();
    assert_eq!(dir.read("told"), format!("{} 0\n", script.display()));
}

#[test]
fn the_first_failure_ends_the_list() {
    let dir = Dir::new("order");
    let hooks = ["echo a >> told", "echo b >> told; echo oops >&2; exit 3", "echo c >> told"];
    let hooks: Vec<Hook> = hooks.iter().map(|script| sh(script)).collect();
    let error = run_hooks(&hooks, Some(&dir.0)).unwrap_err();
    assert_eq!(error, "hooks.createRuntime[1]: /bin/sh: exit status 3: oops");
    assert_eq!(dir.read("told"), "a\nb\n");
    let given = Given { state: "{}", cwd: Some(&dir.0), output: &Output::default() };
    run_all_warn("poststop", &hooks, given);
    assert_eq!(dir.read("told"), "a\nb\na\nb\nc\n");
}

#[test]
fn what_cannot_start_says_which_call_failed() {
    let hook = |path: &str| Hook { path: path.into(), args: vec![path.to_owned()], ..Hook::default() };
    let error = run_hooks(&[hook("/absent/hook")], None).unwrap_err();
    assert_eq!(error, "hooks.createRuntime[0]: /absent/hook: execve: no such file or directory (ENOENT)");
    let error = run_hooks(&[hook("/bin/true")], Some(Path::new("/absent"))).unwrap_err();
    assert!(error.contains("/bin/true: chdir to its working directory: no such file"), "{error}");
}

#[test]
fn a_signal_is_named() {
    let error = run_script("kill -9 $$").unwrap_err();
    assert_eq!(error, "hooks.createRuntime[0]: /bin/sh: killed by signal 9");
}

#[test]
fn a_timeout_kills_the_whole_group() {
    let dir = Dir::new("timeout");
    let script = "echo before; sleep 60 & echo $! > child; wait";
    let hook = Hook { timeout: Some(1), ..sh(script) };
    let begun = Instant::now();
    let error = run_hooks(&[hook], Some(&dir.0)).unwrap_err();
    assert_eq!(error, "hooks.createRuntime[0]: /bin/sh: timed out after 1 s and was killed: before");
    assert!(begun.elapsed() < Duration::from_secs(3));
    let child: i32 = dir.read("child").trim().parse().unwrap();
    let state = || std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
    let end = Instant::now() + Duration::from_secs(5);
    // A zombie, if whoever got it does not reap it.
    while test_kill_process(Pid::from_raw(child).unwrap()).is_ok() && !state().contains(") Z ") {
        assert!(Instant::now() < end, "the child of the hook lives on");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn closed_stdin_and_a_large_state_are_no_failure() {
    let large = format!("{{\"id\":\"{}\"}}", "x".repeat(1 << 20));
    let hook = |script: &str| vec![sh(script)];
    let given = Given { state: &large, cwd: None, output: &Output::default() };
    run("prestart", &hook("exec <&-; sleep 0.1"), given).unwrap();
    run("prestart", &hook("exit 0"), given).unwrap();
    let script = format!("test $(wc -c) -eq {}", large.len());
    run("prestart", &hook(&script), given).unwrap();
}

#[test]
fn a_hook_that_reads_nothing_sends_no_sigpipe() {
    // As in init, where a write to a pipe without a reader would be the end.
    match clone().unwrap() {
        Fork::Child => {
            default_signals();
            let hook = sh("exec <&-; sleep 0.1");
            let given = Given { state: &"x".repeat(1 << 20), cwd: None, output: &Output::default() };
            exit_now(run("startContainer", &[hook], given).is_err().into())
        }
        Fork::Parent { pidfd, .. } => {
            let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap().unwrap();
            assert_eq!(status.exit_status(), Some(0), "{status:?}");
        }
    }
}

#[test]
fn a_daemon_that_keeps_stderr_is_not_waited_for() {
    let dir = Dir::new("daemon");
    let begun = Instant::now();
    let hook = sh("sleep 30 & echo $! > daemon; exit 0");
    run_hooks(&[hook], Some(&dir.0)).unwrap();
    let failing = sh("sleep 30 & echo $! >> daemon; echo no >&2; exit 1");
    let error = run_hooks(&[failing], Some(&dir.0)).unwrap_err();
    assert!(error.ends_with("exit status 1: no"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    for daemon in dir.read("daemon").lines() {
        rustix::process::kill_process(Pid::from_raw(daemon.parse().unwrap()).unwrap(), Signal::KILL).unwrap();
    }
}

#[test]
fn only_the_end_of_much_output_is_told() {
    let error = run_script("yes abcdefg | head -c 1000000; echo last >&2; exit 1").unwrap_err();
    assert!(error.len() < TAIL + 100 && error.ends_with("abcdefg\nlast"), "{}", error.len());
}

#[test]
fn hooks_start_clean() {
    let dir = Dir::new("clean");
    // As preserved descriptors are: open across exec.
    let leak = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(&leak, rustix::io::FdFlags::empty()).unwrap();
    let mut blocked = nix::sys::signal::SigSet::empty();
    blocked.add(nix::sys::signal::Signal::SIGTERM);
    blocked.thread_block().unwrap();
    let status = told_by("/bin/grep", &["-E", "Sig(Blk|Ign)", "/proc/self/status"], vec![]);
    run_hooks(&[sh("cut -d' ' -f5 /proc/$$/stat > group")], Some(&dir.0)).unwrap();
    let fds = told_by("/bin/ls", &["/proc/self/fd"], vec![]);
    drop(leak);
    // 3 is the directory that ls reads.
    assert!(fds.ends_with("/proc/self/fd:\n0\n1\n2\n3"), "{fds}");
    for set in ["SigBlk", "SigIgn"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    assert_ne!(dir.read("group").trim(), getpgrp().to_string());
}

#[test]
fn what_hooks_write_goes_to_files() {
    let dir = Dir::new("output");
    let wanted = HookOutput { stdout: Some(dir.0.join("out")), stderr: None };
    let output = Output::open(&wanted).unwrap();
    let given = Given { state: "{}", cwd: None, output: &output };
    let error =
        run("poststart", &[sh("echo one"), sh("echo two; echo reason >&2; exit 1")], given).unwrap_err();
    assert_eq!(dir.read("out"), "one\ntwo\n");
    // What has no file is still in the message.
    assert_eq!(error.to_string(), "hooks.poststart[1]: /bin/sh: exit status 1: reason");
    let absent = HookOutput { stdout: None, stderr: Some("/absent/err".into()) };
    let fault = Output::open(&absent).unwrap_err().to_string();
    assert!(fault.starts_with("open(\"/absent/err\") for the output of hooks: no such file"), "{fault}");
}
