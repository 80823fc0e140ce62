// SPDX-License-Identifier: Apache-2.0
//! The lines for engines' configurations, which the package carries as files: the documents
//! show the same, and `soute-engines` prints them for the engines that are there.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const FILES: &[&str] = &[
    "daemon.json",
    "containers.conf",
    "containerd-1.toml",
    "containerd-2.toml",
    "crio.conf",
    "runtimeclass.yaml",
    "slurm-oci.conf",
];

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path)
}

/// Without comments, empty lines and indentation.
fn lines(text: &str) -> Vec<&str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

#[test]
fn the_documents_show_the_packages_lines() {
    let pages = read("docs/engines.md") + &read("docs/kubernetes.md") + &read("docs/slurm.md");
    let pages = lines(&pages).join("\n");
    for name in FILES {
        let file = read(&format!("packaging/{name}"));
        assert!(pages.contains(&lines(&file).join("\n")), "no page shows packaging/{name}");
        assert!(!file.contains("/usr/local"), "{name}: the package's soute is /usr/bin/soute");
    }
}

#[test]
fn dockers_lines_are_json() {
    let daemon: serde_json::Value = serde_json::from_str(&read("packaging/daemon.json")).expect("JSON");
    assert_eq!(daemon["runtimes"]["soute"]["path"], "/usr/bin/soute");
}

/// A directory with a shell's tools, engines that only tell their version, and an etc.
struct Machine(PathBuf);

impl Machine {
    fn new(name: &str, engines: &[(&str, &str)]) -> Self {
        let dir = std::env::temp_dir().join(format!("soute-engines-{}-{name}", std::process::id()));
        fs::create_dir_all(dir.join("bin")).expect("a directory");
        for tool in ["sh", "dirname", "sed", "head", "grep", "cat", "id"] {
            let real =
                ["/usr/bin", "/bin"].map(|d| Path::new(d).join(tool)).into_iter().find(|path| path.exists());
            symlink(real.expect(tool), dir.join("bin").join(tool)).expect("a link");
        }
        for (name, version) in engines {
            let path = dir.join("bin").join(name);
            fs::write(&path, format!("#!/bin/sh\necho '{version}'\n")).expect("a script");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
        }
        Self(dir)
    }

    /// Writes a file of its etc.
    fn with(self, name: &str, text: &str) -> Self {
        let path = self.0.join("etc").join(name);
        fs::create_dir_all(path.parent().expect("in etc")).expect("a directory");
        fs::write(path, text).expect("a file");
        self
    }

    fn soute_engines(&self) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/soute-engines");
        let output = Command::new(script)
            .arg(&self.0)
            .env_clear()
            .env("PATH", self.0.join("bin"))
            .env("HOME", &self.0)
            .output()
            .expect("it runs");
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).expect("text")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const PODMAN: (&str, &str) = ("podman", "podman version 4.3.1");
const CONTAINERD: (&str, &str) = ("containerd", "containerd github.com/containerd/containerd 2.1.4 75cb2b71");

#[test]
fn engines_that_are_here_get_their_lines() {
    let docker = ("dockerd", "Docker version 20.10.24+dfsg1, build 5d6db84");
    let crio = ("crio", "crio version 1.31.0");
    let said = Machine::new("all", &[docker, PODMAN, CONTAINERD, crio]).soute_engines();
    let words = lines(&said).join("\n");
    for (heading, file) in [
        ("docker 20.10.24", "daemon.json"),
        ("podman 4.3.1", "containers.conf"),
        ("containerd 2.1.4", "containerd-2.toml"),
        ("CRI-O 1.31.0", "crio.conf"),
    ] {
        assert!(said.lines().any(|line| line == heading), "{heading}: {said}");
        assert!(words.contains(&lines(&read(&format!("packaging/{file}"))).join("\n")), "{heading}: {said}");
    }
    let said = Machine::new("old", &[("containerd", "containerd x 1.6.20~ds1 1")]).soute_engines();
    assert!(
        said.contains(&read("packaging/containerd-1.toml").lines().nth(1).expect("a line").to_owned()),
        "{said}"
    );
    let said = Machine::new("none", &[]).soute_engines();
    assert!(said.starts_with("No engine is here"), "{said}");
}

#[test]
fn what_is_written_already_is_seen() {
    let machine = Machine::new("written", &[PODMAN, CONTAINERD])
        .with("containers/containers.conf.d/50-soute.conf", &read("packaging/containers.conf"))
        .with("containerd/config.toml", "version = 3\n# no soute here\n");
    let said = machine.soute_engines();
    assert_eq!(
        said.matches("knows soute already").count(),
        usize::from(rustix::process::geteuid().is_root()),
        "{said}"
    );
    // The file says its version once.
    assert!(said.contains("add to ") && !said.contains("version = 3"), "{said}");
}
