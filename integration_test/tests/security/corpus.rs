// SPDX-License-Identifier: Apache-2.0
//! Every place of an image with every kind of trap in it: no escape, no hang, no crash.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use integration_test::hostile::{CORPORA, KERNEL_SETTING, Place, TRAPS, Trap, bundle};
use integration_test::{
    Flavor, SECRET, Test, Treasure, children_cpu, container_test, mounts_of_the_host, note_skip,
};

/// The runtime's own time, and that of the clock.
const OWN: Duration = Duration::from_secs(2);
const WALL: Duration = Duration::from_secs(10);

/// What is wrong with how a case ended, and whether the payload ran.
fn case(t: &Test, place: &Place, trap: Option<&Trap>) -> (Vec<String>, bool) {
    let treasure = Treasure::new(t);
    let bundle = bundle(t, place, trap, &treasure);
    let mounts = mounts_of_the_host();
    let cpu = children_cpu();
    let words = t.with_bundle("run", &bundle, &[]);
    let Some(out) = t.output_within(t.command(&words), WALL) else {
        t.clean();
        return (vec!["a hang".to_owned()], false);
    };
    let mut wrong = Vec::new();
    let own = children_cpu() - cpu;
    if own > OWN {
        wrong.push(format!("a hang: {own:?} of its own time"));
    }
    let said = out.stderr();
    if out.signal.is_some() || said.contains("bug in soute") {
        wrong.push(format!("a crash: {said}"));
    }
    if trap.is_none() && out.code != 0 {
        println!("{}: {said}", place.path);
    }
    if out.code != 0 && !said.contains("error") {
        wrong.push(format!("status {} without a word", out.code));
    }
    let answers = out.stdout();
    if answers.contains(SECRET) || answers.contains("\"secret\",\"sub\"") || said.contains(SECRET) {
        wrong.push(format!("an escape: {answers}"));
    }
    let delete = t.call(&["delete", "--force", t.id()]);
    if delete.code != 0 {
        wrong.push(format!("delete --force: {}", delete.stderr()));
    }
    wrong.extend(t.left_behind());
    wrong.extend(treasure.changed().iter().map(|line| format!("an escape: {line}")));
    if mounts_of_the_host() != mounts {
        wrong.push("an escape: the host's mounts changed".to_owned());
    }
    let _ = std::fs::remove_dir_all(bundle.dir());
    (wrong, out.code == 0)
}

fn corpus(number: usize) {
    container_test(|t| {
        let corpus = &CORPORA[number];
        let (begin, mut ran, mut bad) = (Instant::now(), 0, Vec::new());
        for place in corpus.places {
            let (wrong, works) = case(t, place, None);
            if t.flavor() == Flavor::Soute {
                assert!(works && wrong.is_empty(), "{} without a trap: {wrong:?}", place.path);
            }
            // Another runtime may write there, under the feet of the tests beside this one.
            let harmless = |trap: &&Trap| t.flavor() == Flavor::Soute || trap.what != KERNEL_SETTING;
            for trap in TRAPS.iter().filter(harmless) {
                let (wrong, works) = case(t, place, Some(trap));
                ran += usize::from(works);
                println!("{}: {} {}", place.path, trap.what, if works { "runs" } else { "is refused" });
                if !wrong.is_empty() {
                    bad.push(format!("{}: {}: {}", place.path, trap.what, wrong.join("; ")));
                    t.clean();
                }
            }
        }
        let all = corpus.places.len() * TRAPS.len();
        println!("{}: {all} cases, {ran} run, {} bad, {:?}", corpus.what, bad.len(), begin.elapsed());
        assert!(ran > 0 && ran < all, "{ran} of {all} run");
        if !bad.is_empty() && t.flavor() != Flavor::Soute {
            return note_skip(&format!("{:?} differs: {} of {all} cases are bad", t.flavor(), bad.len()));
        }
        assert!(bad.is_empty(), "{} of {all} are bad:\n  {}", bad.len(), bad.join("\n  "));
    });
}

#[test]
fn traps_at_mount_points() {
    corpus(0);
}

#[test]
fn traps_in_the_images_dev() {
    corpus(1);
}

#[test]
fn traps_in_a_user_namespace() {
    corpus(2);
}

#[test]
fn traps_in_what_is_read_covered_and_run() {
    corpus(3);
}

#[test]
fn there_are_many_and_no_two_alike() {
    let mut seen = BTreeSet::new();
    let mut count = 0;
    for corpus in &CORPORA {
        for place in corpus.places {
            for trap in &TRAPS {
                // The function tells two configurations for one path apart.
                seen.insert((corpus.what, place.path, place.config as usize, trap.what));
                count += 1;
            }
        }
    }
    assert_eq!(seen.len(), count);
    assert!(count >= 400, "{count}");
}
