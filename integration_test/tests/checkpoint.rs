// SPDX-License-Identifier: Apache-2.0
//! checkpoint and restore: a process that counts goes on where it was.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use integration_test::{Bundle, Out, Test, container_test, skip};
use rustix::event::{PollFd, PollFlags};
use serde_json::json;

/// Why there can be no checkpoint here.
fn lacks() -> Option<String> {
    match Command::new("criu").arg("check").output() {
        Err(_) => Some("there is no criu (its package has that name)".to_owned()),
        Ok(out) if out.status.success() => too_old(),
        Ok(out) => {
            let said = String::from_utf8_lossy(&out.stderr).into_owned();
            let first = said.lines().find(|line| line.contains("Error")).unwrap_or_default();
            Some(format!("`criu check` says that this kernel cannot: {first}"))
        }
    }
}

/// Linux 7.1 has no UDP-Lite, and CRIU asked after its sockets in every network namespace until 4.2.1.
fn too_old() -> Option<String> {
    let out = Command::new("criu").arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("Version: "))?.trim().to_owned();
    let numbers: Vec<u32> = version.split('.').filter_map(|number| number.parse().ok()).collect();
    let udp_lite = rustix::net::ipproto::UDPLITE;
    let socket =
        rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::DGRAM, Some(udp_lite));
    let old = numbers < vec![4, 2, 1] && socket.is_err();
    old.then(|| format!("CRIU {version} cannot dump on a kernel without UDP-Lite"))
}

/// Ends the test as skipped where CRIU or the kernel cannot do it.
macro_rules! criu_only {
    () => {
        if let Some(why) = lacks() {
            skip!("{why}");
        }
    };
}

/// What the counter has said: each number is one more than the one before.
#[track_caller]
fn counted(text: &str) -> Vec<u64> {
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line.trim()).ok());
    let numbers: Vec<u64> =
        lines.filter(|line| line["q"] == "at").filter_map(|line| line["a"].as_u64()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    numbers
}

/// Where the container of a call writes to: as under an engine, into a pipe that somebody reads.
struct Heard(PathBuf);

impl Heard {
    fn new(t: &Test) -> Self {
        Self(t.scratch("heard"))
    }

    /// For a shell: standard output and error are pipes.
    fn redirections(&self) -> String {
        format!("> >(exec cat >{}) 2> >(exec cat >&2)", self.0.display())
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).unwrap_or_default()
    }
}

/// A container that counts.
#[track_caller]
fn counter(t: &Test, bundle: &Bundle) -> Heard {
    let heard = Heard::new(t);
    t.call_redirected(&t.with_bundle("create", bundle, &[]), &heard.redirections()).ok();
    t.start().ok();
    t.until("it counts", || counted(&heard.text()).len() > 3);
    heard
}

/// The directory of a checkpoint.
fn images(t: &Test) -> PathBuf {
    t.dir().join("images")
}

#[track_caller]
fn checkpoint(t: &Test, flags: &[&str]) -> Out {
    let images = images(t);
    let mut words = vec!["checkpoint", "--image-path", images.to_str().unwrap()];
    words.extend(flags);
    words.push(t.id());
    with_log(t, t.call(&words), "dump.log")
}

/// On a failure the end of CRIU's log is worth more than any other word.
fn with_log(t: &Test, out: Out, log: &str) -> Out {
    if out.code != 0 {
        let text = std::fs::read_to_string(images(t).join(log)).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        println!("the end of {log}:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
    }
    out
}

#[track_caller]
fn restore(t: &Test, bundle: &Bundle, flags: &[&str]) -> Heard {
    let (images, heard) = (images(t), Heard::new(t));
    let mut all = vec!["--detach", "--image-path", images.to_str().unwrap()];
    all.extend(flags);
    let words = t.with_bundle("restore", bundle, &all);
    with_log(t, t.call_redirected(&words, &heard.redirections()), "restore.log").ok();
    heard
}

/// The restored counter goes on after `before`.
#[track_caller]
fn goes_on(t: &Test, before: &Heard, after: &Heard) {
    let last = *counted(&before.text()).last().unwrap();
    t.until("it counts again", || counted(&after.text()).len() > 3);
    assert_eq!(counted(&after.text())[0], last + 1);
    assert_eq!(t.status(), "running");
}

/// It ends well when it is told to.
#[track_caller]
fn ends(t: &Test, after: &Heard) {
    t.kill("TERM").ok();
    t.until_stopped();
    t.until("it ends well", || after.text().contains("counted"));
    t.delete().ok();
}

#[test]
fn a_counter_goes_on_counting() {
    container_test(|t| {
        criu_only!();
        let bundle = t.bundle().asks(&["count"]);
        let before = counter(t, &bundle);
        checkpoint(t, &[]).ok();
        assert!(t.call(&["state", t.id()]).fails().contains("does not exist"));
        let after = restore(t, &bundle, &[]);
        goes_on(t, &before, &after);
        ends(t, &after);
    });
}

#[test]
fn what_was_pre_dumped_is_not_written_again() {
    container_test(|t| {
        criu_only!();
        let bundle = t.bundle().asks(&["hold 16", "count"]);
        let before = counter(t, &bundle);
        let first = t.dir().join("first");
        t.call(&["checkpoint", "--pre-dump", "--image-path", first.to_str().unwrap(), t.id()]).ok();
        let so_far = counted(&before.text()).len();
        t.until("it has not been held up", || counted(&before.text()).len() > so_far);
        checkpoint(t, &["--parent-path", "../first"]).ok();
        let pages = |dir: &Path| {
            let files = std::fs::read_dir(dir).unwrap().flatten();
            let pages = files.filter(|file| file.file_name().to_string_lossy().starts_with("pages-"));
            pages.map(|file| file.metadata().unwrap().len()).sum::<u64>()
        };
        assert!(pages(&first) > 16 << 20, "{}", pages(&first));
        assert!(pages(&images(t)) < 4 << 20, "{}", pages(&images(t)));
        let after = restore(t, &bundle, &[]);
        goes_on(t, &before, &after);
        ends(t, &after);
    });
}

#[test]
fn it_may_go_on_after_the_checkpoint() {
    container_test(|t| {
        criu_only!();
        let bundle = t.bundle().asks(&["count"]);
        let before = counter(t, &bundle);
        let pid = t.pid();
        checkpoint(t, &["--leave-running"]).ok();
        let so_far = counted(&before.text()).len();
        t.until("it goes on", || counted(&before.text()).len() > so_far);
        assert_eq!((t.status().as_str(), t.pid()), ("running", pid));
        ends(t, &before);
        let after = restore(t, &bundle, &[]);
        t.until("it counts again", || counted(&after.text()).len() > 3);
        let first = counted(&after.text())[0];
        assert!(counted(&before.text()).contains(&first), "from where the checkpoint was, not from the end");
        ends(t, &after);
    });
}

#[test]
fn a_terminal_comes_back() {
    container_test(|t| {
        criu_only!();
        let listener = t.listener();
        let bundle = t.bundle().set("/process/terminal", true).asks(&["count", "tty"]);
        t.create_with(&bundle, &["--console-socket", listener.path().to_str().unwrap()]).ok();
        let (master, _) = listener.receive();
        t.start().ok();
        let before = read_until(&master, |text| counted(text).len() > 3);
        checkpoint(t, &[]).ok();
        let before = before + &read_until(&master, |_| false);
        let listener = t.listener();
        let images = images(t);
        let flags =
            ["--console-socket", listener.path().to_str().unwrap(), "--image-path", images.to_str().unwrap()];
        let words = t.with_bundle("restore", &bundle, &[flags.as_slice(), &["-d"]].concat());
        with_log(t, t.call(&words), "restore.log").ok();
        let (master, _) = listener.receive();
        let after = read_until(&master, |text| counted(text).len() > 3);
        // What was in the terminal's buffer when the old master went is lost.
        assert!(counted(&after)[0] > *counted(&before).last().unwrap());
        t.kill("TERM").ok();
        let rest = read_until(&master, |_| false);
        assert!(rest.contains(r#""isatty":[true,true,true]"#), "{rest}");
        assert!(rest.contains(r#""controlling":true"#), "{rest}");
        t.until_stopped();
        t.delete().ok();
    });
}

/// What comes out of a terminal until it is enough, or the other side is gone.
fn read_until(master: &OwnedFd, enough: impl Fn(&str) -> bool) -> String {
    let (mut text, end) = (String::new(), Instant::now() + Duration::from_secs(10));
    let mut file = File::from(master.try_clone().unwrap());
    let mut part = [0; 4096];
    while !enough(&text) && Instant::now() < end {
        let wait = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if rustix::event::poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&wait)) != Ok(1) {
            continue;
        }
        match file.read(&mut part) {
            // EIO: the last one on the other side has closed it.
            Ok(0) | Err(_) => break,
            Ok(count) => text.push_str(&String::from_utf8_lossy(&part[..count])),
        }
    }
    text
}

#[test]
fn binds_and_limits_are_those_of_the_configuration() {
    container_test(|t| {
        criu_only!();
        let host = |name: &str| {
            let dir = t.dir().join(name);
            std::fs::create_dir(&dir).unwrap();
            std::fs::write(dir.join("whose"), name).unwrap();
            dir
        };
        let limited =
            |bundle: Bundle, count: i64| bundle.set("/linux/resources/pids", json!({ "limit": count }));
        let bundle = t.bundle().asks(&["count"]).bind(host("old"), "/data", &["rbind", "rprivate"]);
        let before = counter(t, &limited(bundle, 40));
        checkpoint(t, &[]).ok();
        let bundle = t.bundle().asks(&["count"]).bind(host("new"), "/data", &["rbind", "rprivate"]);
        let after = restore(t, &limited(bundle, 50), &[]);
        goes_on(t, &before, &after);
        assert_eq!(t.exec(&["read /data/whose"])["read /data/whose"], "new");
        if integration_test::controllers().iter().any(|name| name == "pids") {
            assert_eq!(t.limit("pids", "pids.max").as_deref(), Some("50"));
        }
        ends(t, &after);
    });
}

#[test]
fn a_namespace_of_others_is_joined_again() {
    container_test(|t| {
        criu_only!();
        let holder = t.holder(&["--net"]);
        let bundle = t.bundle().asks(&["count"]).joins("network", format!("/proc/{}/ns/net", holder.pid()));
        let before = counter(t, &bundle);
        let net = t.exec(&["namespaces"])["namespaces"]["net"].clone();
        checkpoint(t, &[]).ok();
        let after = restore(t, &bundle, &[]);
        goes_on(t, &before, &after);
        let now = t.exec(&["namespaces", "pid"]);
        assert_eq!(now["namespaces"]["net"], net);
        ends(t, &after);
    });
}

#[test]
fn hooks_of_the_runtime_see_the_restored_container() {
    container_test(|t| {
        criu_only!();
        let state = t.dir().join("state-of-hook");
        let bundle = t.bundle().asks(&["count"]).hook("createRuntime", &format!("cat > {}", state.display()));
        let before = counter(t, &bundle);
        checkpoint(t, &[]).ok();
        std::fs::remove_file(&state).unwrap();
        let after = restore(t, &bundle, &["--pid-file", t.dir().join("pid").to_str().unwrap()]);
        goes_on(t, &before, &after);
        let told: serde_json::Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
        assert_eq!((&told["pid"], told["status"].as_str()), (&json!(t.pid()), Some("creating")));
        assert_eq!(std::fs::read_to_string(t.dir().join("pid")).unwrap(), t.pid().to_string());
        ends(t, &after);
    });
}

#[test]
fn a_restore_in_the_foreground_ends_with_the_container() {
    container_test(|t| {
        criu_only!();
        let bundle = t.bundle().asks(&["count", "exit 7"]);
        counter(t, &bundle);
        checkpoint(t, &[]).ok();
        let (images, heard) = (images(t), Heard::new(t));
        let words = t.with_bundle("restore", &bundle, &["--image-path", images.to_str().unwrap()]);
        let running = t.start_command(t.redirected(&words, &heard.redirections()));
        // CRIU is at work meanwhile, which takes its time on a slow machine.
        let end = Instant::now() + Duration::from_secs(60);
        while counted(&heard.text()).len() < 3 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        t.kill("TERM").ok();
        assert_eq!(running.wait().code, 7);
        assert!(t.call(&["state", t.id()]).fails().contains("does not exist"));
    });
}

#[test]
fn a_file_of_the_host_may_be_standard_output() {
    container_test(|t| {
        criu_only!();
        let bundle = t.bundle().asks(&["count"]);
        let heard = Heard::new(t);
        let append = format!(">>{} 2>/dev/null", heard.0.display());
        t.call_redirected(&t.with_bundle("create", &bundle, &[]), &append).ok();
        t.start().ok();
        t.until("it counts", || counted(&heard.text()).len() > 3);
        checkpoint(t, &[]).ok();
        let (images, last) = (images(t), counted(&heard.text()).len());
        let words = t.with_bundle("restore", &bundle, &["-d", "--image-path", images.to_str().unwrap()]);
        with_log(t, t.call_redirected(&words, &append), "restore.log").ok();
        t.until("it counts on in the same file", || counted(&heard.text()).len() > last + 3);
        ends(t, &heard);
    });
}

#[test]
fn criu_is_configured_by_an_annotation() {
    container_test(|t| {
        criu_only!();
        let config = t.dir().join("criu.conf");
        std::fs::write(&config, "log-file other.log\n").unwrap();
        let bundle =
            t.bundle().asks(&["count"]).set("/annotations/org.criu.config", config.to_str().unwrap());
        counter(t, &bundle);
        checkpoint(t, &["--leave-running"]).ok();
        assert!(images(t).join("other.log").exists());
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn without_criu_the_error_says_so() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["count"]);
        counter(t, &bundle);
        let images = images(t);
        let path = images.to_str().unwrap();
        let mut dump = t.command(&["checkpoint", "--image-path", path, t.id()]);
        dump.env("PATH", t.dir());
        // runc's log escapes the quotes.
        let text = t.output(dump).fails().replace('\\', "");
        assert!(text.contains("exec: \"criu\": executable file not found in $PATH"), "{text}");
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn what_does_not_run_cannot_be_checkpointed() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["exit 0"]);
        t.create(&bundle).ok();
        let text = checkpoint(t, &[]).fails();
        assert!(text.contains("cannot be checkpointed in created state"), "{text}");
        t.start().ok();
        t.until_stopped();
        let text = checkpoint(t, &[]).fails();
        assert!(text.contains("cannot be checkpointed in stopped state"), "{text}");
        t.delete().ok();
    });
}

#[test]
fn what_is_no_checkpoint_leaves_nothing_behind() {
    container_test(|t| {
        criu_only!();
        let bundle = t.bundle().asks(&["count"]);
        let empty = t.dir().to_str().unwrap().to_owned();
        let text = t.call(&t.with_bundle("restore", &bundle, &["--image-path", &empty])).fails();
        assert!(text.contains("descriptors.json"), "{text}");
        std::fs::write(t.dir().join("descriptors.json"), "[]").unwrap();
        let text = t.call(&t.with_bundle("restore", &bundle, &["--image-path", &empty])).fails();
        assert!(text.contains("criu restore: ") && text.contains("restore.log"), "{text}");
    });
}

#[test]
fn exec_enters_a_restored_container() {
    container_test(|t| {
        criu_only!();
        let bundle = t.bundle().asks(&["count"]).namespace("cgroup", true);
        let before = counter(t, &bundle);
        checkpoint(t, &[]).ok();
        let after = restore(t, &bundle, &[]);
        goes_on(t, &before, &after);
        let inside = t.exec(&["namespaces", "lo", "cgroup"]);
        for entry in std::fs::read_dir(format!("/proc/{}/ns", t.pid())).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            let link = std::fs::read_link(entry.path()).unwrap();
            if !name.ends_with("_for_children") {
                assert_eq!(inside["namespaces"][&name].as_str(), link.to_str(), "{name}");
            }
        }
        assert_eq!(inside["lo"], "ok");
        ends(t, &after);
    });
}

#[test]
fn a_user_namespace_comes_back() {
    container_test(|t| {
        criu_only!();
        let bundle = t.bundle().asks(&["count"]).userns();
        // CRIU opens what is in it as root of that namespace.
        std::fs::create_dir(images(t)).unwrap();
        let before = counter(t, &bundle);
        checkpoint(t, &[]).ok();
        let after = restore(t, &bundle, &[]);
        goes_on(t, &before, &after);
        let map = std::fs::read_to_string(format!("/proc/{}/uid_map", t.pid())).unwrap();
        assert_eq!(map.split_whitespace().collect::<Vec<_>>(), ["0", "100000", "65536"]);
        ends(t, &after);
    });
}

/// podman, with storage of its own, on the runtime under test.
struct Podman<'a>(&'a Test);

impl Podman<'_> {
    fn call(&self, words: &[&str]) -> Out {
        let mut command = Command::new("podman");
        let place = |name| self.0.dir().join(name);
        command.arg("--runtime").arg(self.0.runtime()).arg("--cgroup-manager=cgroupfs");
        command.args(["--storage-driver=vfs", "--events-backend=file"]);
        command.arg("--root").arg(place("storage")).arg("--runroot").arg(place("run"));
        command.arg("--tmpdir").arg(place("libpod")).args(words);
        self.0.output_within(command, Duration::from_secs(60)).expect("podman ends")
    }

    /// What the container has written.
    fn log(&self) -> String {
        self.call(&["logs", self.0.id()]).ok().stdout()
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.call(&["rm", "--force", "--time=0", self.0.id()]);
    }
}

#[test]
fn podman_writes_and_restores_one() {
    container_test(|t| {
        criu_only!();
        if Command::new("podman").arg("--version").output().is_err() {
            skip!("there is no podman (its package has that name)");
        }
        let bundle = t.bundle();
        let podman = Podman(t);
        let root = bundle.path("/");
        let words =
            ["run", "--detach", "--name", t.id(), "--network=none", "--rootfs", root.to_str().unwrap()];
        podman.call(&[&words[..], &["/payload", "count"]].concat()).ok();
        t.until("it counts", || counted(&podman.log()).len() > 3);
        for flags in [&[][..], &["--pre-checkpoint"], &["--with-previous"], &["--leave-running"]] {
            podman.call(&[&["container", "checkpoint"], flags, &[t.id()]].concat()).ok();
            let so_far = counted(&podman.log()).len();
            if !matches!(flags, ["--pre-checkpoint" | "--leave-running"]) {
                let state =
                    podman.call(&["inspect", "--format={{.State.Status}} {{.State.Checkpointed}}", t.id()]);
                assert_eq!(state.ok().stdout().trim(), "exited true", "{flags:?}");
                podman.call(&["container", "restore", t.id()]).ok();
            }
            t.until("it counts on", || counted(&podman.log()).len() > so_far + 3);
        }
        podman.call(&["stop", "--time=10", t.id()]).ok();
        assert!(podman.log().contains("counted"), "it ends well");
    });
}
