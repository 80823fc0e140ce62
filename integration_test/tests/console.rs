// SPDX-License-Identifier: Apache-2.0
//! The console: the pty that is made in the container, sent to the caller, and used in
//! the foreground.
#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use integration_test::{Bundle, Flavor, Test, container_test, differs};
use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Map, Value, json};

/// All that comes out of a pty's master until the other side is gone.
fn read_all(master: &OwnedFd) -> String {
    let mut file = File::from(master.try_clone().unwrap());
    let (mut all, end) = (Vec::new(), Instant::now() + Duration::from_secs(5));
    let mut part = [0; 4096];
    while Instant::now() < end {
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        if !poll(&mut [PollFd::new(master, PollFlags::IN)], Some(&timeout)).is_ok_and(|ready| ready > 0) {
            continue;
        }
        match file.read(&mut part) {
            // EIO: the last one on the other side has closed it.
            Ok(0) | Err(_) => break,
            Ok(count) => all.extend(&part[..count]),
        }
    }
    String::from_utf8_lossy(&all).into_owned()
}

/// The payload's answers in a terminal's output.
fn answers(text: &str) -> Value {
    let mut all = Map::new();
    for line in text.lines() {
        // script(1) may put an end-of-file before it.
        let line = line.find('{').map_or(line, |begin| &line[begin..]);
        if let Ok(line) = serde_json::from_str::<Value>(line.trim()) {
            all.insert(line["q"].as_str().unwrap_or_default().to_owned(), line["a"].clone());
        }
    }
    Value::Object(all)
}

/// Runs a container with a terminal: what it wrote there.
fn ask(t: &Test, bundle: Bundle, questions: &[&str]) -> Value {
    let listener = t.listener();
    let bundle = bundle.set("/process/terminal", true).asks(questions);
    t.create_with(&bundle, &["--console-socket", listener.path().to_str().unwrap()]).ok();
    let (master, _) = listener.receive();
    t.start().ok();
    let text = read_all(&master);
    t.until_stopped();
    t.delete().ok();
    answers(&text)
}

#[test]
fn the_console_socket_gets_the_master() {
    container_test(|t| {
        let a = ask(t, t.bundle(), &["tty", "pid"]);
        assert_eq!(a["pid"], 1);
        assert_eq!(a["tty"]["isatty"], json!([true, true, true]));
        assert_eq!(a["tty"]["controlling"], true);
        assert_eq!(a["tty"]["leader"], true);
    });
}

#[test]
fn the_terminal_is_of_the_containers_devpts() {
    container_test(|t| {
        let a =
            ask(t, t.bundle(), &["tty", "stat /dev/console", "list /dev/pts", "fds", "mount /dev/console"]);
        assert_eq!(a["tty"]["name"], "/dev/pts/0");
        assert_eq!(a["stat /dev/console"]["type"], "char");
        assert!(a["stat /dev/console"]["rdev"].as_str().unwrap().starts_with("136:"), "{a}");
        assert_eq!(a["list /dev/pts"], json!(["0", "ptmx"]));
        assert_eq!(a["fds"].as_object().unwrap().len(), 3, "{a}");
    });
}

#[test]
fn the_console_size_is_the_configs() {
    container_test(|t| {
        let bundle = t.bundle().set("/process/consoleSize", json!({ "height": 33, "width": 101 }));
        assert_eq!(ask(t, bundle, &["tty"])["tty"]["size"], json!([33, 101]));
    });
}

#[test]
fn what_is_typed_arrives() {
    container_test(|t| {
        let listener = t.listener();
        let bundle = t.bundle().set("/process/terminal", true).asks(&["line", "out done"]);
        t.create_with(&bundle, &["--console-socket", listener.path().to_str().unwrap()]).ok();
        let (master, _) = listener.receive();
        t.start().ok();
        File::from(master.try_clone().unwrap()).write_all(b"typed\n").unwrap();
        let a = answers(&read_all(&master));
        assert_eq!(a["line"], "typed\n");
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn the_master_may_be_resized() {
    container_test(|t| {
        let listener = t.listener();
        let bundle = t.bundle().set("/process/terminal", true).asks(&["wait-for WINCH", "tty"]);
        t.create_with(&bundle, &["--console-socket", listener.path().to_str().unwrap()]).ok();
        let (master, _) = listener.receive();
        t.start().ok();
        // Only a foreground process gets SIGWINCH, and only once it waits for it.
        let mut file = File::from(master.try_clone().unwrap());
        let mut first = [0; 256];
        let count = file.read(&mut first).unwrap();
        assert!(String::from_utf8_lossy(&first[..count]).contains("waiting"));
        let size = rustix::termios::Winsize { ws_row: 40, ws_col: 132, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).unwrap();
        let a = answers(&read_all(&master));
        assert_eq!(a["wait-for WINCH"], "SIGWINCH");
        assert_eq!(a["tty"]["size"], json!([40, 132]));
        t.until_stopped();
        t.delete().ok();
    });
}

#[test]
fn an_ordinary_user_owns_its_terminal() {
    container_test(|t| {
        let bundle = t.bundle().set("/process/user", json!({ "uid": 1000, "gid": 1000 }));
        let a = ask(t, bundle, &["stat /dev/pts/0", "tty", "open /dev/tty w"]);
        assert_eq!(a["stat /dev/pts/0"]["uid"], 1000);
        assert_eq!(a["open /dev/tty w"], "ok");
        assert_eq!(a["tty"]["controlling"], true);
    });
}

#[test]
fn a_terminal_in_a_user_namespace() {
    container_test(|t| {
        let a = ask(t, t.bundle().userns(), &["tty", "stat /dev/console"]);
        assert_eq!(a["tty"]["isatty"], json!([true, true, true]));
        assert_eq!(a["stat /dev/console"]["type"], "char");
    });
}

#[test]
fn no_terminal_no_console() {
    container_test(|t| {
        let a = t.ask(t.bundle(), &["tty", "lstat /dev/console"]);
        assert_eq!(a["tty"]["isatty"], json!([false, false, false]));
        assert_eq!(a["tty"]["controlling"], false);
    });
}

#[test]
fn a_detached_terminal_without_a_socket_is_refused() {
    container_test(|t| {
        let bundle = t.bundle().set("/process/terminal", true);
        let says = t.create(&bundle.clone().asks(&["pid"])).fails();
        if t.flavor() != Flavor::Crun {
            let want = "cannot allocate tty if runc will detach without setting console socket";
            assert!(says.replace("soute", "runc").contains(want), "{says}");
        }
        t.run_with(&bundle.asks(&["pid"]), &["--detach"]).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_socket_without_a_terminal_is_refused() {
    container_test(|t| {
        let listener = t.listener();
        let out = t.create_with(&t.bundle(), &["--console-socket", listener.path().to_str().unwrap()]);
        differs!(t, Crun, "takes a console socket without a terminal");
        out.fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_socket_that_nobody_listens_to_is_an_error() {
    container_test(|t| {
        let bundle = t.bundle().set("/process/terminal", true).asks(&["pid"]);
        t.create_with(&bundle, &["--console-socket", "/no/such/socket"]).fails();
        assert_eq!(t.left_behind(), [""; 0]);
        let dead = t.listener();
        let path = dead.path().to_owned();
        drop(dead);
        t.create_with(&bundle, &["--console-socket", path.to_str().unwrap()]).fails();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn exec_with_a_terminal() {
    container_test(|t| {
        t.up(t.bundle());
        let listener = t.listener();
        let flags = ["--tty", "--detach", "--console-socket", listener.path().to_str().unwrap()];
        t.exec_with(&flags, &["tty", "pid"]).ok();
        let (master, _) = listener.receive();
        let a = answers(&read_all(&master));
        assert_eq!(a["tty"]["isatty"], json!([true, true, true]));
        assert_eq!(a["tty"]["controlling"], true);
        t.delete_force();
    });
}

/// Runs the runtime's command on a pty of the test's own, as a person would: script(1)
/// makes one. What was seen on it.
fn on_a_terminal(t: &Test, args: &[&str], typed: &str, after: &str) -> String {
    let plain = t.command(args);
    let words: Vec<String> = std::iter::once(plain.get_program())
        .chain(plain.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let line = format!("stty rows 31 cols 99; {}; {after}", words.join(" "));
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::piped()).current_dir(t.dir());
    let mut running = t.start_command(command);
    running.stdin().unwrap().write_all(typed.as_bytes()).unwrap();
    running.wait().stdout()
}

#[test]
fn run_in_the_foreground_has_a_terminal() {
    container_test(|t| {
        // runc sets the size when the process runs already; it must be right from the start.
        let first = if t.flavor() == Flavor::Soute { "pid" } else { "sleep 500" };
        let bundle = t.bundle().set("/process/terminal", true).asks(&[first, "tty"]);
        let text = on_a_terminal(
            t,
            &t.with_bundle("run", &bundle, &[]),
            "",
            "stty -a | grep -o ' -*icanon\\| -*echo '",
        );
        let a = answers(&text);
        assert_eq!(a["tty"]["isatty"], json!([true, true, true]), "{text}");
        assert_eq!(a["tty"]["size"], json!([31, 99]), "{text}");
        // The caller's terminal is as it was before.
        assert!(text.contains(" icanon") && text.contains(" echo "), "{text}");
    });
}

#[test]
fn exec_in_the_foreground_has_a_terminal() {
    container_test(|t| {
        t.up(t.bundle());
        let first = if t.flavor() == Flavor::Soute { "pid" } else { "sleep 500" };
        let text = on_a_terminal(
            t,
            &["exec", "-t", t.id(), "/payload", first, "tty"],
            "",
            "stty -a | grep -o ' -*icanon'",
        );
        let a = answers(&text);
        assert_eq!(a["tty"]["size"], json!([31, 99]), "{text}");
        assert!(text.contains(" icanon"), "{text}");
        t.delete_force();
    });
}

#[test]
fn the_terminal_is_restored_after_a_failure() {
    container_test(|t| {
        let bundle = t.bundle().set("/process/terminal", true).args(&["/no/such/program"]);
        let text = on_a_terminal(t, &t.with_bundle("run", &bundle, &[]), "", "stty -a | grep -o ' -*icanon'");
        assert!(text.contains(" icanon") && !text.contains("-icanon"), "{text}");
    });
}

#[test]
fn the_exit_status_of_a_foreground_terminal() {
    container_test(|t| {
        let bundle = t.bundle().set("/process/terminal", true).asks(&["exit 7"]);
        let text = on_a_terminal(t, &t.with_bundle("run", &bundle, &[]), "", "");
        assert!(!text.contains("error"), "{text}");
        let text = on_a_terminal(t, &t.with_bundle("run", &bundle, &[]), "", "echo status $?");
        assert!(text.contains("status 7"), "{text}");
    });
}
