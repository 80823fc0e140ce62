// SPDX-License-Identifier: Apache-2.0
//! Words of the command line: `kill`'s signal, `exec`'s user and group. The files of the command are
//! taken in as they are.
#![no_main]
#![allow(dead_code)]

#[path = "../../../src/argv.rs"]
mod argv;
#[path = "../../../src/cli.rs"]
mod cli;
#[path = "../../../src/commands/mod.rs"]
mod commands;
#[path = "../../../src/log.rs"]
mod log;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use cli::Asked;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let word = OsString::from_vec(data.to_vec());
    let text = word.to_string_lossy().into_owned();

    if let Ok(Asked::Run(kill)) = cli::read::<commands::kill::Kill>(&["web".into(), word.clone()]) {
        let number = after(&format!("{kill:?}"), "signal: ").expect("it is a field");
        assert!(number <= 64, "{text:?} is signal {number}");
        // A number means itself.
        assert!(
            text.parse().is_ok_and(|n: u64| n == number) || text.parse::<u64>().is_err(),
            "{text:?}: {number}"
        );
    }

    for flag in ["--user", "-g"] {
        let words = [flag.into(), word.clone(), "web".into(), "true".into()];
        if let Ok(Asked::Run(exec)) = cli::read::<commands::exec::Exec>(&words) {
            let request = exec.request().expect("there is a program");
            let ids: Vec<u32> = match request.user {
                Some((uid, gid)) => [uid].into_iter().chain(gid).collect(),
                None => request.additional_gids,
            };
            // Nobody becomes another than the one whose number was written.
            let said: Vec<u32> = text.split(':').map(|id| id.parse().expect("a number")).collect();
            assert_eq!(ids, said, "{text:?}");
            assert!(text.bytes().all(|byte| byte.is_ascii_digit() || byte == b':'), "{text:?}");
        }
    }
});

/// The number after these words.
fn after(text: &str, words: &str) -> Option<u64> {
    let digits = text.split_once(words)?.1;
    digits[..digits.find(|c: char| !c.is_ascii_digit())?].parse().ok()
}
