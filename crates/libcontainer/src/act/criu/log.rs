// SPDX-License-Identifier: Apache-2.0
//! What CRIU's log says went wrong. The answer to a request has hardly more than an errno.
#![expect(clippy::disallowed_methods, reason = "CRIU's own directories are the host's")]

use std::fs;
use std::path::Path;

/// How many lines an error takes. The first is mostly the cause, the others its consequences.
const MAX_LINES: usize = 4;

/// The first lines of CRIU's log that tell of an error, without the time and the place in the
/// source; what says no more than that it failed is left out.
pub fn errors(log: &Path) -> Vec<String> {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let mut found: Vec<String> = Vec::new();
    for said in text.lines().filter_map(cause) {
        if !found.iter().any(|other| other == said) {
            found.push(said.to_owned());
        }
        if found.len() == MAX_LINES {
            break;
        }
    }
    found
}

/// `(00.019123)     7: Error (criu/mount.c:1098): mnt: no such mount` -> `mnt: no such mount`
pub(super) fn cause(line: &str) -> Option<&str> {
    let (_, rest) = line.split_once("Error (")?;
    let said = rest.split_once("): ").map_or(rest, |(_, said)| said).trim();
    (!said.is_empty() && !said.ends_with("FAILED.")).then_some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_that_tell_a_cause() {
        let path = std::env::temp_dir().join(format!("soute-criu-log-{}", std::process::id()));
        let log = "(00.000001) Version: 4.1.1 (gitid 0)\n\
                   (00.019000)      1: Error (criu/files-reg.c:1831): Can't lookup mount=24 for fd=1 path=/tmp/x\n\
                   (00.019001) Warn  (criu/x.c:1): Error is no error here\n\
                   (00.019100) Error (criu/cr-dump.c:1674): Dump files (pid: 77) failed with -1\n\
                   (00.019101) Error (criu/cr-dump.c:1674): Dump files (pid: 77) failed with -1\n\
                   (00.019200) Error (criu/cr-dump.c:2111): Dumping FAILED.\n";
        fs::write(&path, log).unwrap();
        let found = errors(&path);
        fs::remove_file(&path).unwrap();
        let expected = ["Can't lookup mount=24 for fd=1 path=/tmp/x", "Dump files (pid: 77) failed with -1"];
        assert_eq!(found, expected);
        assert!(errors(&path).is_empty());
    }
}
