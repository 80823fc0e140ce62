// SPDX-License-Identifier: Apache-2.0
//! Real containers against any OCI runtime: the helper over which every test is about
//! five lines.
//!
//! ```no_run
//! use integration_test::container_test;
//!
//! container_test(|t| {
//!     let a = t.ask(t.bundle().set("/hostname", "deck"), &["hostname"]);
//!     assert_eq!(a["hostname"], "deck");
//! });
//! ```
//!
//! [`container_test`] gives a test its own id, state directory and scratch directory, and
//! compares a census taken before and after: a process, mount, cgroup or state file that
//! is left behind makes the test fail, whatever it was about. [`Bundle`] is the container,
//! built from the specification that `runc spec` writes; its only program is the payload,
//! which answers questions in JSON. [`Out`] is what a command said.
//!
//! Environment: `RUNTIME` is the runtime under test (else the soute that cargo built),
//! `SOUTE_SKIPS` a file to which skips are appended, `SOUTE_TIMEOUT` the seconds after
//! which a command is killed (20). `SOUTE_CGROUP_DRIVER=systemd` runs every container with
//! `--systemd-cgroup`, in a scope `ID.scope` of system.slice.

mod agent;
mod bundle;
mod canary;
mod census;
mod command;
mod console;
mod host;
pub mod hostile;
mod known;
pub mod mutate;
mod ordinary;
pub mod sweep;
mod test;
mod treasure;

pub use agent::{Agent, Notified};
pub use bundle::Bundle;
pub use command::{Out, Running, children_cpu};
pub use console::Listener;
pub use host::{Host, by_systemd, cgroups_path, controllers, disk, has_systemd, trees, units_named};
pub use ordinary::Ordinary;
pub use test::{Flavor, Test, container_test, named_test, note_skip, ordinary_test};
pub use treasure::{SECRET, Treasure, mounts_of_the_host};

/// Ends the test as skipped, with the reason. It is printed and counted, never passed
/// over in silence.
#[macro_export]
macro_rules! skip {
    ($($why:tt)*) => {{
        $crate::note_skip(&format!($($why)*));
        return;
    }};
}

/// Ends the test as skipped where systemd makes the cgroups: it is about paths, which only our own
/// driver takes.
#[macro_export]
macro_rules! cgroupfs_only {
    () => {
        if $crate::by_systemd() {
            $crate::skip!("it is about paths of groups, which the systemd driver does not take");
        }
    };
}

/// Ends the test as skipped where systemd makes the cgroups: it reads what a group has counted after
/// its last process has ended.
#[macro_export]
macro_rules! counts_outlive_the_container {
    () => {
        if $crate::by_systemd() {
            $crate::skip!("systemd removes the group of the dead at once, and with it what it has counted");
        }
    };
}

/// Ends the test as skipped where the runtime says itself that it does not do this yet.
#[macro_export]
macro_rules! not_yet {
    ($out:expr) => {
        if let (true, Some(line)) =
            ($out.code != 0, $out.stderr().lines().find(|l| l.contains("is not supported yet")))
        {
            $crate::skip!("{}", line.trim());
        }
    };
}

/// What follows is known to go otherwise with this runtime:
/// `differs!(t, Runc, "keeps the caller's umask")`. If the test then fails with it, that is
/// a finding: counted as skipped, with the reason. If it passes, all the better.
#[macro_export]
macro_rules! differs {
    ($t:expr, $flavor:ident, $($why:tt)*) => {
        if $t.flavor() == $crate::Flavor::$flavor {
            $t.excuse(&format!($($why)*));
        }
    };
}
