// SPDX-License-Identifier: Apache-2.0
//! `soute spec`: a config.json to begin with.

use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use libcontainer::error::{Call, Error};
use rustix::process::{getegid, geteuid};

use super::Verb;
use crate::cli::Global;

/// A shell with a terminal and 3 capabilities on a read-only root, in 6 new namespaces.
const ROOT: &str = include_str!("spec.json");
/// The same for an ordinary user, who becomes root of a user namespace: no limits, since
/// they need a delegated cgroup; the host's network, and hence its /sys.
const ROOTLESS: &str = include_str!("spec-rootless.json");

#[derive(Args, Debug)]
pub struct Spec {
    /// The directory to write config.json to
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// For a container of an ordinary user
    #[arg(long)]
    rootless: bool,
}

impl Verb for Spec {
    const NAME: &'static str = "spec";
    const ABOUT: &'static str = "Write a config.json to begin with";

    fn run(self, _: &Global) -> anyhow::Result<u8> {
        let path = self.bundle.join("config.json");
        let mut file = File::options()
            .write(true)
            .create_new(true)
            .open(&path)
            .call(|| format!("open({path:?})"))
            .map_err(|e| Error::from(e).hint("an existing config.json is not overwritten"))?;
        let text = config(self.rootless, geteuid().as_raw(), getegid().as_raw());
        file.write_all(text.as_bytes()).call(|| format!("write({path:?})")).map_err(Error::from)?;
        Ok(0)
    }
}

fn config(rootless: bool, uid: u32, gid: u32) -> String {
    match rootless {
        false => ROOT.to_owned(),
        true => ROOTLESS.replace("\"UID\"", &uid.to_string()).replace("\"GID\"", &gid.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn parsed(rootless: bool) -> Value {
        let text = config(rootless, 1000, 1001);
        serde_json::from_str::<oci_spec::runtime::Spec>(&text).expect("a valid config.json");
        serde_json::from_str(&text).expect("valid JSON")
    }

    fn types(config: &Value) -> Vec<&str> {
        let namespaces = config["linux"]["namespaces"].as_array().unwrap();
        namespaces.iter().map(|n| n["type"].as_str().unwrap()).collect()
    }

    #[test]
    fn both_are_valid_and_alike() {
        let (mut root, mut rootless) = (parsed(false), parsed(true));
        assert_eq!(root["ociVersion"], libcontainer::features::SPEC);
        assert_eq!(types(&root), ["pid", "network", "ipc", "uts", "mount", "cgroup"]);
        assert_eq!(types(&rootless), ["pid", "ipc", "uts", "mount", "cgroup", "user"]);
        for part in ["process", "root", "hostname"] {
            assert_eq!(root[part], rootless[part], "{part}");
        }
        for part in ["maskedPaths", "readonlyPaths"] {
            assert_eq!(root["linux"][part].take(), rootless["linux"][part].take(), "{part}");
        }
        assert_eq!(root["linux"]["resources"]["devices"][0]["allow"], false);
        assert!(rootless["linux"].get("resources").is_none());
    }

    #[test]
    fn an_ordinary_user_is_mapped_to_root() {
        let config = parsed(true);
        for (map, id) in [("uidMappings", 1000), ("gidMappings", 1001)] {
            let map = &config["linux"][map][0];
            assert_eq!(
                (&map["containerID"], &map["hostID"], &map["size"]),
                (&0.into(), &id.into(), &1.into())
            );
        }
        let mounts = config["mounts"].to_string();
        assert!(!mounts.contains("gid="), "there is no group 5 to give a terminal to");
    }
}
