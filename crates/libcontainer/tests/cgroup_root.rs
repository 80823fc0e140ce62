// SPDX-License-Identifier: Apache-2.0
//! Groups in the running kernel: needs root and a cgroup file system. The same tests run on
//! a hybrid v1 host and, in a private mount namespace, on pure v2:
//!
//! ```text
//! unshare -m --propagation private sh -c 'umount -R -l /sys/fs/cgroup;
//!     mount -t cgroup2 none /sys/fs/cgroup; cargo nextest run -p libcontainer --test cgroup_root'
//! ```
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use libcontainer::cgroup::{self, Made, Record};
use libcontainer::plan::cgroup::{CgroupLayout, Place};
use libcontainer::plan::resources::{Limits, limits};

/// A name that no other test, and no container, has.
fn name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("soute-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The layout, or nothing where these tests cannot run; then it says so.
fn host() -> Option<CgroupLayout> {
    let reason = if rustix::process::geteuid().is_root() {
        match cgroup::layout().unwrap() {
            CgroupLayout::None => "no cgroup file system",
            layout => return Some(layout),
        }
    } else {
        "needs root"
    };
    println!("skipped: {reason}");
    None
}

fn record(layout: &CgroupLayout, path: &str) -> Record {
    let place = Place::new(Some(Path::new(path)), "x").unwrap();
    Record::new(layout, &place, true).unwrap()
}

fn plan(layout: &CgroupLayout, json: &str) -> Limits {
    let mut problems = Vec::new();
    let limits = limits(Some(&serde_json::from_str(json).unwrap()), layout, &mut problems);
    assert_eq!(problems, []);
    limits
}

fn make(layout: &CgroupLayout, path: &str, json: &str) -> Made {
    record(layout, path).make(&plan(layout, json)).unwrap()
}

fn message<T>(result: Result<T, libcontainer::error::Error>) -> String {
    match result {
        Ok(_) => panic!("should have failed"),
        Err(error) => error.message(),
    }
}

fn dirs(record: &Record) -> Vec<PathBuf> {
    record.groups.iter().map(|group| PathBuf::from(group.dir())).collect()
}

/// The container's directory that has this file.
fn file(record: &Record, name: &str) -> PathBuf {
    let all = dirs(record).into_iter().map(|dir| dir.join(name));
    all.into_iter().find(|path| path.exists()).unwrap_or_else(|| panic!("no {name}"))
}

/// A shell in the container's groups, which has joined them as an init does: by itself.
struct Shell(Child);

impl Shell {
    fn start(record: &Record, then: &str) -> Self {
        let mut join = String::new();
        for group in &record.groups {
            let file = if group.is_v2() { "cgroup.procs" } else { "tasks" };
            join.push_str(&format!("echo 0 > {}/{file} || exit 9\n", group.dir()));
        }
        let script = format!("{join} echo joined; {then}");
        let mut child = Command::new("sh").args(["-c", &script]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "joined\n");
        Self(child)
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    fn status(mut self) -> i32 {
        self.0.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Kills, waits, removes; nothing is left.
fn tear_down(record: &Record) {
    record.kill().unwrap();
    record.remove().unwrap();
    for dir in dirs(record) {
        assert!(!dir.exists(), "{dir:?} is left");
    }
}

#[test]
fn a_life_from_make_to_remove() {
    let Some(layout) = host() else { return };
    let path = format!("/{}/nested", name());
    let json = match &layout {
        CgroupLayout::V2 => "{}",
        _ => {
            r#"{"memory": {"limit": 33554432}, "pids": {"limit": 20},
                "cpu": {"shares": 512, "quota": 20000, "period": 50000, "cpus": "0"}}"#
        }
    };
    let limits = plan(&layout, json);
    let before = record(&layout, &path);
    assert!(before.groups.iter().all(|group| group.made == 2 && group.inode.is_none()), "{before:?}");
    let mut made = before.make(&limits).unwrap();
    assert_eq!(made.into_cgroup().is_some(), !matches!(&layout, CgroupLayout::V1 { unified: None, .. }));
    if let CgroupLayout::V1 { hierarchies, .. } = &layout {
        assert_eq!(made.take_joins().len(), hierarchies.len());
    }
    let mut shell = Shell::start(made.record(), "exec sleep 1000");
    made.limit_late(&limits).unwrap();
    let text = serde_json::to_string(made.record()).unwrap();
    let record = made.commit();
    assert_eq!(serde_json::from_str::<Record>(&text).unwrap().groups, record.groups);

    let pid = i32::try_from(shell.0.id()).unwrap();
    assert_eq!(record.procs().unwrap().iter().map(|it| it.as_raw_nonzero().get()).collect::<Vec<_>>(), [pid]);
    assert!(!record.is_empty().unwrap());
    if let CgroupLayout::V1 { .. } = layout {
        let read = |name: &str| fs::read_to_string(file(&record, name)).unwrap().trim().to_owned();
        assert_eq!(read("memory.limit_in_bytes"), "33554432");
        assert_eq!(read("pids.max"), "20");
        assert_eq!(read("cpu.shares"), "512");
        assert_eq!(read("cpu.cfs_quota_us"), "20000");
        assert_eq!(read("cpu.cfs_period_us"), "50000");
        assert_eq!(read("cpuset.cpus"), "0");
        let parent = read("../cpuset.cpus");
        assert_eq!(parent, fs::read_to_string("/sys/fs/cgroup/cpuset/cpuset.cpus").unwrap().trim());
    }
    let mut joins = record.open().unwrap();
    assert_eq!(joins.take_tasks().len() + usize::from(joins.into_cgroup().is_some()), record.groups.len());

    record.kill().unwrap();
    eventually("killed", || !shell.is_alive());
    eventually("empty", || record.is_empty().unwrap());
    record.remove().unwrap();
    for dir in dirs(&record) {
        assert!(!dir.parent().unwrap().exists(), "{dir:?}: its parent is left");
    }
    record.remove().unwrap();
}

#[test]
fn dropped_groups_are_gone_and_strange_parents_stay() {
    let Some(layout) = host() else { return };
    let parent = name();
    let other = make(&layout, &format!("/{parent}/other"), "{}").commit();
    let record = {
        let made = make(&layout, &format!("/{parent}/mine"), "{}");
        assert!(dirs(made.record()).iter().all(|dir| dir.exists()));
        assert!(made.record().groups.iter().all(|group| group.made == 1));
        made.record().clone()
    };
    assert!(dirs(&record).iter().all(|dir| !dir.exists() && dir.parent().unwrap().exists()));
    tear_down(&other);
    assert!(dirs(&record).iter().all(|dir| !dir.parent().unwrap().exists()));
}

#[test]
fn a_group_that_is_in_use_is_refused_and_left_as_it_was() {
    let Some(layout) = host() else { return };
    let path = format!("/{}", name());
    let theirs = make(&layout, &path, "{}").commit();
    let again = || record(&layout, &path).make(&plan(&layout, "{}"));

    // Empty: it is made anew.
    let ours = again().unwrap().commit();
    assert!(theirs.groups.iter().zip(&ours.groups).all(|(a, b)| a.inode != b.inode));
    theirs.kill().unwrap();
    theirs.remove().unwrap();
    assert!(dirs(&ours).iter().all(|dir| dir.exists()), "a stranger has removed our group");

    let mut shell = Shell::start(&ours, "exec sleep 1000");
    assert!(
        message(again()).contains("container's cgroup is not empty: 1 process(es)"),
        "{}",
        message(again())
    );
    theirs.kill().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    assert!(shell.is_alive(), "a record of another group has killed it");
    // As of a create that was killed before it knew what it had made.
    let unknown = record(&layout, &path);
    unknown.kill().unwrap();
    assert!(unknown.procs().unwrap().is_empty() && shell.is_alive());
    ours.kill().unwrap();
    drop(shell);
    eventually("empty", || ours.is_empty().unwrap());

    ours.freeze().unwrap();
    let says = message(again());
    assert!(says.contains("container's cgroup unexpectedly frozen"), "{says}");
    ours.thaw().unwrap();
    let below = dirs(&ours).last().unwrap().join("below");
    fs::create_dir(&below).unwrap();
    assert!(message(again()).contains("has a group \"below\" below it"));
    assert!(dirs(&ours).iter().all(|dir| dir.exists()));
    tear_down(&ours);
}

#[test]
fn below_a_frozen_group_nothing_is_made() {
    let Some(layout) = host() else { return };
    let path = format!("/{}", name());
    let above = make(&layout, &path, "{}").commit();
    above.freeze().unwrap();
    let says = message(record(&layout, &format!("{path}/x")).make(&plan(&layout, "{}")));
    assert!(says.contains("container's cgroup unexpectedly frozen"), "{says}");
    above.thaw().unwrap();
    tear_down(&above);
}

#[test]
fn our_own_group_is_refused() {
    let Some(layout) = host() else { return };
    assert!(Place::new(Some(Path::new("/")), "x").is_err());
    let path = format!("/{}", name());
    let ours = make(&layout, &path, "{}").commit();
    // This test's own process joins, in a child that then asks for the same path.
    if std::env::var_os("SOUTE_TEST_OWN").is_none() {
        let exe = std::env::current_exe().unwrap();
        let test =
            format!("SOUTE_TEST_OWN={path} {} our_own_group_is_refused --exact --nocapture", exe.display());
        let shell = Shell::start(&ours, &format!("{test} >&2"));
        assert_eq!(shell.status(), 0);
    } else {
        let path = std::env::var("SOUTE_TEST_OWN").unwrap();
        let says = message(record(&layout, &path).make(&plan(&layout, "{}")));
        assert!(says.contains("is the group of its own caller"), "{says}");
    }
    tear_down(&ours);
}

#[test]
fn kill_reaches_nested_groups_and_those_who_fork() {
    let Some(layout) = host() else { return };
    let ours = make(&layout, &format!("/{}", name()), "{}").commit();
    let forker = "while :; do sh -c 'sleep 0.01 & sleep 0.01' & sleep 0.001; done";
    let mut shell = Shell::start(&ours, forker);
    let last = ours.groups.last().unwrap();
    let nested = PathBuf::from(last.dir()).join("a/b/c");
    fs::create_dir_all(&nested).unwrap();
    let inner = Shell::start(&ours, &format!("echo 0 > {}/cgroup.procs; exec sleep 1000", nested.display()));
    let inner_pid = i32::try_from(inner.0.id()).unwrap();
    eventually("nested", || {
        fs::read_to_string(nested.join("cgroup.procs")).unwrap().contains(&inner_pid.to_string())
    });
    assert!(ours.procs().unwrap().iter().any(|pid| pid.as_raw_nonzero().get() == inner_pid));
    ours.kill().unwrap();
    eventually("killed", || !shell.is_alive());
    drop(inner);
    tear_down(&ours);
}

#[test]
fn freeze_stops_and_thaw_goes_on() {
    let Some(layout) = host() else { return };
    let ours = make(&layout, &format!("/{}", name()), "{}").commit();
    let out = std::env::temp_dir().join(name());
    let shell = Shell::start(&ours, &format!("while :; do echo >> {}; sleep 0.001; done", out.display()));
    let lines = || fs::read(&out).map_or(0, |text| text.len());
    eventually("it runs", || lines() > 3);
    assert!(!ours.is_frozen().unwrap());
    ours.freeze().unwrap();
    assert!(ours.is_frozen().unwrap());
    let then = lines();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(lines(), then);
    ours.thaw().unwrap();
    assert!(!ours.is_frozen().unwrap());
    eventually("it goes on", || lines() > then);
    // Killed while it is frozen.
    ours.freeze().unwrap();
    tear_down(&ours);
    drop(shell);
    fs::remove_file(out).unwrap();
}

#[test]
fn device_rules_hold_and_are_replaced() {
    let Some(layout) = host() else { return };
    // Not every machine lets us open each of them; one is enough that is not allowed by default.
    let strange = [("/dev/kmsg", 1, 11), ("/dev/fuse", 10, 229), ("/dev/loop-control", 10, 237)];
    let Some((node, major, minor)) = strange.into_iter().find(|(node, ..)| fs::File::open(node).is_ok())
    else {
        println!("skipped: this machine lets us open none of {strange:?}");
        return;
    };
    let limits = plan(&layout, "{}");
    let mut made = record(&layout, &format!("/{}", name())).make(&limits).unwrap();
    made.limit_late(&limits).unwrap();
    made.rule_devices(&limits).unwrap();
    let ours = made.commit();
    let open = |node: &str| Shell::start(&ours, &format!("exec 2>&-; exec 3< {node}")).status();
    assert_eq!(open("/dev/null"), 0);
    assert_eq!(open("/dev/urandom"), 0);
    assert_ne!(open(node), 0);
    let rule =
        format!(r#"{{"allow": true, "type": "c", "major": {major}, "minor": {minor}, "access": "r"}}"#);
    let more = plan(&layout, &format!("{{\"devices\": [{rule}]}}"));
    ours.update(&more, true).unwrap();
    assert_eq!(open(node), 0);
    assert_eq!(open("/dev/null"), 0);
    ours.update(&limits, true).unwrap();
    assert_ne!(open(node), 0);
    let all = plan(&layout, r#"{"devices": [{"allow": true, "access": "rwm"}]}"#);
    ours.update(&all, true).unwrap();
    assert_eq!(open(node), 0);
    ours.update(&limits, true).unwrap();
    assert_ne!(open(node), 0);
    assert_eq!(open("/dev/null"), 0);
    eventually("empty", || ours.is_empty().unwrap());
    tear_down(&ours);
}

#[test]
fn a_limit_that_cannot_be_set_is_an_error_and_leaves_nothing() {
    let Some(layout) = host() else { return };
    let path = format!("/{}", name());
    if layout == CgroupLayout::V2 {
        let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap();
        if controllers.contains("memory") {
            println!("skipped: this v2 tree has the controller memory");
            return;
        }
        let limits = plan(&layout, r#"{"memory": {"reservation": 100000}}"#);
        let says = message(record(&layout, &path).make(&limits));
        let expected =
            "linux.resources.memory.reservation: the controller memory is not available in /sys/fs/cgroup";
        assert!(says.starts_with(expected), "{says}");
    } else {
        let limits = plan(&layout, r#"{"cpu": {"cpus": "0-4095"}}"#);
        let says = message(record(&layout, &path).make(&limits));
        let start = format!(
            "linux.resources.cpu.cpus: write(\"/sys/fs/cgroup/cpuset{path}/cpuset.cpus\", \"0-4095\"): "
        );
        assert!(says.starts_with(&start), "{says}");
        let limits = plan(
            &layout,
            r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 4000, "minor": 1, "rate": 1}]}}"#,
        );
        let says = message(record(&layout, &path).make(&limits));
        assert!(says.starts_with("linux.resources.blockIO.throttleReadBpsDevice[0]: write("), "{says}");
    }
    assert!(dirs(&record(&layout, &path)).iter().all(|dir| !dir.exists()));
}

#[test]
fn containers_under_one_parent_come_and_go_at_once() {
    let Some(layout) = host() else { return };
    let parent = name();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (layout, parent) = (&layout, &parent);
            scope.spawn(move || {
                for round in 0..15 {
                    let path = format!("/{parent}/deep/{thread}-{round}");
                    tear_down(&make(layout, &path, "{}").commit());
                }
            });
        }
    });
    let left = dirs(&record(&layout, &format!("/{parent}")));
    assert!(left.iter().all(|dir| !dir.exists()), "{left:?}");
}

#[test]
fn of_two_at_one_path_one_wins() {
    let Some(layout) = host() else { return };
    for _ in 0..20 {
        let path = format!("/{}", name());
        let wins: Vec<Option<Record>> = std::thread::scope(|scope| {
            let both = [(); 2].map(|()| {
                scope.spawn(|| {
                    let made = record(&layout, &path).make(&plan(&layout, "{}")).ok()?;
                    let shell = Shell::start(made.record(), "exec sleep 1000");
                    let ours = made.commit();
                    ours.kill().unwrap();
                    drop(shell);
                    Some(ours)
                })
            });
            both.into_iter().map(|it| it.join().unwrap_or(None)).collect()
        });
        for record in wins.iter().flatten() {
            record.remove().unwrap();
        }
        for dir in dirs(&record(&layout, &path)) {
            assert!(!dir.exists(), "{dir:?}");
        }
    }
}

#[test]
fn an_ordinary_user_goes_without_unless_limits_are_asked() {
    const MARK: &str = "SOUTE_TEST_ORDINARY";
    if std::env::var_os(MARK).is_some() {
        let layout = cgroup::layout().unwrap();
        let by_id = || Record::new(&layout, &Place::new(None, &name()).unwrap(), false).unwrap();
        let mut made = by_id().make(&plan(&layout, "{}")).unwrap();
        assert!(made.warning().unwrap().contains("no permission for cgroups"));
        assert!(made.take_joins().is_empty() && made.into_cgroup().is_none());
        assert_eq!(made.commit(), Record::default());
        let says = message(by_id().make(&plan(&layout, r#"{"pids": {"limit": 9}}"#)));
        let expected = "linux.resources.pids.limit: rootless needs no limits + no cgrouppath when no \
                        permission is granted for cgroups: mkdir(";
        assert!(says.starts_with(expected), "{says}");
        let says = message(record(&layout, &format!("/{}", name())).make(&plan(&layout, "{}")));
        assert!(says.starts_with("unable to apply cgroup configuration: mkdir("), "{says}");
        assert!(says.contains("permission denied"), "{says}");
        return;
    }
    if host().is_none() {
        return;
    }
    // Where everyone may read it.
    let exe = std::env::temp_dir().join(name());
    fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let status = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&exe)
        .args(["an_ordinary_user_goes_without_unless_limits_are_asked", "--exact", "--nocapture"])
        .env(MARK, "1")
        .status();
    fs::remove_file(&exe).unwrap();
    assert!(status.unwrap().success());
}
