// SPDX-License-Identifier: Apache-2.0
//! Many containers, many commands at once. Small by default; `SOUTE_STRESS=1000` makes
//! it the number of cycles.
#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use integration_test::{Bundle, Out, Running, Test, container_test, differs};

fn cycles(small: u32) -> u32 {
    std::env::var("SOUTE_STRESS").ok().and_then(|text| text.parse().ok()).unwrap_or(small)
}

fn run(t: &Test, id: &str, bundle: &Bundle) -> Running {
    t.start_command(t.command(&["run", "--bundle", bundle.dir().to_str().unwrap(), id]))
}

#[test]
fn eight_runs_at_once_again_and_again() {
    container_test(|t| {
        let ids: Vec<String> = (0..8).map(|number| t.named(&number.to_string())).collect();
        let bundles: Vec<Bundle> = ids.iter().map(|id| t.bundle_for(id).asks(&["pid"])).collect();
        bundles.iter().for_each(Bundle::save);
        for _ in 0..cycles(64).div_ceil(8) {
            let all: Vec<Running> = ids.iter().zip(&bundles).map(|(id, bundle)| run(t, id, bundle)).collect();
            for running in all {
                assert_eq!(running.wait().ok().answers()["pid"], 1);
            }
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn creates_of_one_id_have_one_winner_each_time() {
    container_test(|t| {
        differs!(t, Runc, "two creates of one id at once may have two winners, or none");
        differs!(t, Crun, "two creates of one id at once may have two winners, or none");
        let bundles = [t.bundle().asks(&["pid"]), t.bundle().asks(&["pid"])];
        for round in 0..cycles(20).min(200) {
            let race = bundles
                .each_ref()
                .map(|bundle| t.start_command(t.command(&t.with_bundle("create", bundle, &[]))));
            let out = race.map(Running::wait);
            let won = out.iter().filter(|out| out.code == 0).count();
            assert_eq!(won, 1, "round {round}: {} {}", out[0].stderr(), out[1].stderr());
            t.start().ok();
            t.until_stopped();
            t.delete().ok();
            assert_eq!(t.left_behind(), [""; 0]);
        }
    });
}

#[test]
fn commands_at_once_have_clear_outcomes() {
    container_test(|t| {
        // State, list, kill, exec and delete rain on a container that lives its life. Each ends well or with
        // a message; none hangs, none dies by a signal, and nothing stays.
        differs!(t, Runc, "create, start, kill and delete at once");
        differs!(t, Crun, "create, start, kill and delete at once");
        let bundle = t.bundle().asks(&["wait-for TERM"]);
        let verbs: [&[&str]; 6] = [
            &["state", t.id()],
            &["list", "-q"],
            &["kill", t.id(), "0"],
            &["exec", t.id(), "/payload", "pid"],
            &["list", "--format", "json"],
            &["kill", t.id(), "KILL"],
        ];
        for _ in 0..cycles(6).min(100) {
            let mut all = vec![t.start_command(t.command(&t.with_bundle("create", &bundle, &[])))];
            all.extend(verbs.iter().map(|verb| t.start_command(t.command(verb))));
            all.push(t.start_command(t.command(&["start", t.id()])));
            all.push(t.start_command(t.command(&["delete", "--force", t.id()])));
            for out in all.into_iter().map(Running::wait) {
                // `delete --force` ends the runtime that is creating what it is to delete.
                let ended = out.line.contains(" create ") && out.signal == Some(9);
                assert!(out.signal.is_none() || ended, "{}: signal {:?}", out.line, out.signal);
                let silent =
                    out.code != 0 && !ended && out.stderr().trim().is_empty() && !out.line.contains("exec");
                assert!(!silent, "{}: status {} without a word", out.line, out.code);
                assert!(!out.stderr().contains("panic"), "{}: {}", out.line, out.stderr());
            }
            let out = t.call(&["delete", "--force", t.id()]);
            let left = t.left_behind();
            out.ok();
            assert_eq!(left, [""; 0]);
        }
    });
}

#[test]
fn a_fork_bomb_is_deleted() {
    container_test(|t| {
        let questions: Vec<&str> =
            std::iter::repeat_n("spawn sleep 60000", 100).chain(["wait-for TERM"]).collect();
        let bundle = t.bundle().namespace("pid", false).asks(&questions);
        let out = t.create(&bundle).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        t.delete_force();
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn a_hundred_containers_are_listed() {
    container_test(|t| {
        let count = cycles(20).min(100);
        let ids: Vec<String> = (0..count).map(|number| t.named(&format!("{number:03}"))).collect();
        let bundle = t.bundle();
        for id in &ids {
            let bundle = bundle.clone().set("/linux/cgroupsPath", integration_test::cgroups_path(id));
            bundle.save();
            t.call(&["create", "--bundle", bundle.dir().to_str().unwrap(), id]).ok();
        }
        let listed = t.call(&["list", "-q"]).ok().stdout();
        assert_eq!(listed.split_whitespace().collect::<Vec<_>>(), ids);
        for id in &ids {
            t.call(&["delete", "--force", id]).ok();
        }
        assert_eq!(t.left_behind(), [""; 0]);
    });
}

#[test]
fn the_callers_death_ends_no_detached_container() {
    container_test(|t| {
        // An engine's worker creates with PDEATHSIG set and goes away.
        let bundle = t.bundle().asks(&["wait-for TERM"]);
        let plain = t.command(&t.with_bundle("create", &bundle, &[]));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(plain.get_program()).args(plain.get_args());
        command.current_dir(t.dir()).stdin(t.nothing());
        let out: Out = t.output(command).ok();
        t.start().ok();
        t.until("ready", || out.stdout().contains("waiting"));
        assert_eq!(t.status(), "running");
        t.delete_force();
    });
}

#[test]
fn state_stays_readable_all_the_while() {
    container_test(|t| {
        let bundle = t.bundle().asks(&["wait-for TERM"]);
        let failures = AtomicU32::new(0);
        t.create(&bundle).ok();
        let start = t.start_command(t.command(&["start", t.id()]));
        for _ in 0..10 {
            let out = t.call(&["state", t.id()]);
            if out.code != 0 || out.json()["status"].as_str().is_none() {
                failures.fetch_add(1, Ordering::Relaxed);
            }
        }
        start.wait().ok();
        assert_eq!(failures.into_inner(), 0);
        t.delete_force();
    });
}
