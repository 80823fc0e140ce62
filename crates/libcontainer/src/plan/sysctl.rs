// SPDX-License-Identifier: Apache-2.0
//! `linux.sysctl`: only what belongs to a namespace that the container has for itself
//! (config-linux.md, Sysctl; proc(5)). Anything else would change the host.

use oci_spec::runtime::Linux;

use super::namespaces::{Kind, Namespaces};
use super::problem::Problem;
use super::step::{Action, Step};

/// Names of /proc/sys/kernel that are the ipc namespace's.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

fn article(word: &str) -> &'static str {
    if word.starts_with('i') { "an" } else { "a" }
}

pub(super) fn steps(
    linux: Option<&Linux>,
    namespaces: &Namespaces,
    steps: &mut Vec<Step>,
    problems: &mut Vec<Problem>,
) {
    let Some(sysctl) = linux.and_then(|l| l.sysctl().as_ref()) else { return };
    let mut names: Vec<(&String, &String)> = sysctl.iter().collect();
    names.sort();
    for (name, value) in names {
        let at = format!("linux.sysctl.{name}");
        // runc takes a slash for a dot too; the network names have dots of their own (eth0.100).
        let dotted = if name.contains('/') {
            name.replace('.', "\u{0}").replace('/', ".").replace('\u{0}', "/")
        } else {
            name.clone()
        };
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '/' | '@' | ':' | '*');
        if dotted.split('.').any(|part| part.is_empty() || !part.chars().all(word) || part.contains("//")) {
            problems.push(
                Problem::new(at, "is no sysctl name").hint("write it as in sysctl(8): net.ipv4.ip_forward"),
            );
            continue;
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            problems.push(Problem::new(at, "the value holds a control character"));
            continue;
        }
        let (owner, kind) = match dotted.as_str() {
            "kernel.domainname" => ("uts", Kind::Uts),
            "kernel.hostname" => {
                problems.push(
                    Problem::new(at, "the host name is set by \"hostname\"")
                        .hint("use the property hostname"),
                );
                continue;
            }
            name if IPC.contains(&name) || name.starts_with("fs.mqueue.") => ("ipc", Kind::Ipc),
            name if name.starts_with("net.") => ("network", Kind::Network),
            name if name.starts_with("user.") => ("user", Kind::User),
            _ => {
                problems.push(
                    Problem::new(at, "is not of any namespace: it would change the host")
                        .hint("set it on the host, outside of the container"),
                );
                continue;
            }
        };
        if !namespaces.has(kind) {
            problems.push(
                Problem::new(
                    at,
                    format!(
                        "needs {} {owner} namespace of the container's own: it would change the host",
                        article(owner)
                    ),
                )
                .hint(format!("add {{\"type\": \"{owner}\"}} to linux.namespaces")),
            );
            continue;
        }
        // Components become directories; a slash within one stands for its dot.
        let path = dotted.split('.').map(|part| part.replace('/', ".")).collect::<Vec<_>>().join("/");
        steps.push(Step::new(at, Action::WriteSysctl { name: path, value: value.clone() }));
    }
}
