// SPDX-License-Identifier: Apache-2.0
//! A container's state file, as `state` and `list` read it.
#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libcontainer::{CgroupDriver, Context};
use libfuzzer_sys::fuzz_target;

static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
    // In memory, one for each process.
    let root = PathBuf::from(format!("/dev/shm/soute-fuzz-{}", std::process::id()));
    fs::create_dir_all(root.join("web")).expect("/dev/shm is writable");
    root
});

fuzz_target!(|data: &[u8]| {
    fs::write(ROOT.join("web/state.json"), data).expect("own directory");
    let context =
        Context { root: ROOT.clone(), cgroup_driver: CgroupDriver::Cgroupfs, rootless: None, log: None };
    match libcontainer::state(&context, "web") {
        Ok(state) => assert_eq!(state.id, "web"),
        Err(error) => assert!(!error.to_string().trim().is_empty()),
    }
    let _ = libcontainer::list(&context);
});
