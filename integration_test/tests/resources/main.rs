// SPDX-License-Identifier: Apache-2.0
//! Every resource, by every driver of this machine: set at create, read from the kernel's file on
//! the host's side, changed by `update` while the container runs, read again. What is seen is held
//! against the table in docs/cgroups.md; with BLESS=1 it is written there.
#![allow(clippy::unwrap_used)]

mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use integration_test::{
    Flavor, Host, Test, by_systemd, container_test, controllers, disk, has_systemd, skip,
};
use serde_json::Value;

/// A line of the table.
struct Row {
    /// `memory.limit`, as below linux.resources.
    name: &'static str,
    /// linux.resources at create and at update; DISK stands for a disk's numbers, RDMA for the name
    /// of a device.
    values: [&'static str; 2],
    /// The kernel's files; none where this kind of cgroups has no such limit.
    v1: &'static [&'static str],
    v2: &'static [&'static str],
    /// The properties of the unit that say the same.
    unit: &'static [&'static str],
}

/// Who makes the container's group, and which kind it is.
#[derive(Clone, Copy, PartialEq)]
enum Lane {
    V2,
    Systemd,
    V1,
}

impl Lane {
    /// All that can be had here.
    fn all() -> Vec<Self> {
        match Host::here() {
            Host::V1 => vec![Self::V1],
            Host::V2 if by_systemd() => vec![Self::Systemd],
            Host::V2 if has_systemd() => vec![Self::V2, Self::Systemd],
            Host::V2 => vec![Self::V2],
        }
    }

    /// Its column.
    fn title(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::Systemd => "v2 by systemd",
            Self::V1 => "v1",
        }
    }
}

/// A container on a lane, and where its numbers are.
struct Seen<'a> {
    t: &'a Test,
    row: &'a Row,
    lane: Lane,
}

impl Seen<'_> {
    fn files(&self) -> &'static [&'static str] {
        if self.lane == Lane::V1 { self.row.v1 } else { self.row.v2 }
    }

    fn properties(&self) -> &'static [&'static str] {
        if self.lane == Lane::Systemd { self.row.unit } else { &[] }
    }

    fn dir(&self, file: &str) -> PathBuf {
        let (tree, id) = (Path::new("/sys/fs/cgroup"), self.t.id());
        match self.lane {
            Lane::V1 => tree.join(file.split('.').next().unwrap()).join(id),
            Lane::V2 => tree.join(id),
            Lane::Systemd => tree.join(format!("system.slice/{id}.scope")),
        }
    }

    /// What each file and each property says.
    fn read(&self) -> Vec<String> {
        let files = self.files().iter().map(|file| {
            let path = self.dir(file).join(file);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        let unit = format!("{}.scope", self.t.id());
        let properties = self.properties().iter().map(|name| {
            let out = Command::new("systemctl").args(["show", "--value", "-p", name, &unit]).output();
            String::from_utf8(out.unwrap().stdout).unwrap()
        });
        files.chain(properties).map(|text| plain(&text)).collect()
    }

    /// A container with these resources that runs, and what create warned of; or why it refuses.
    fn up(&self, resources: Option<&Value>) -> Result<String, String> {
        let path = match self.lane {
            Lane::Systemd => format!("system.slice::{}", self.t.id()),
            Lane::V1 | Lane::V2 => format!("/{}", self.t.id()),
        };
        let mut bundle = self.t.bundle().set("/linux/cgroupsPath", path).asks(&["wait-for TERM"]);
        for (key, value) in resources.and_then(Value::as_object).into_iter().flatten() {
            bundle = bundle.set(&format!("/linux/resources/{key}"), value.clone());
        }
        let out = self.t.create(&bundle);
        if out.code != 0 {
            return Err(out.stderr());
        }
        self.t.start().ok();
        Ok(out.stderr())
    }

    fn update(&self, resources: &Value) -> bool {
        let path = self.t.scratch("resources");
        fs::write(&path, resources.to_string()).unwrap();
        self.t.call(&["update", "--resources", path.to_str().unwrap(), self.t.id()]).code == 0
    }

    /// The whole life of one, in a cell's words; `None` where this kernel has no such file.
    fn live(&self) -> Option<String> {
        let [create, update] = self.row.values.map(resources);
        let warned = match self.up(Some(&create)) {
            Ok(warned) => warned,
            Err(says) => return self.refused(&update, &says),
        };
        if self.has_another_weight() {
            self.t.delete_force();
            return None;
        }
        let before = self.read();
        assert!(self.update(&update), "the update was refused");
        let after = self.read();
        if self.lane == Lane::Systemd {
            assert!(Command::new("systemctl").arg("daemon-reload").status().unwrap().success());
            assert_eq!(self.read(), after, "{}: a daemon-reload has changed it", self.row.name);
        }
        self.t.delete_force();
        let names = self.files().iter().chain(self.properties());
        let each = names.zip(before.iter().zip(&after));
        let cell: Vec<String> = each.map(|(name, (a, b))| format!("`{name}` {a} → {b}")).collect();
        if cell.is_empty() {
            assert!(warned.contains("linux.resources."), "no effect, and no word of it: {warned:?}");
            return Some("no effect, with a warning".to_owned());
        }
        Some(cell.join("; "))
    }

    /// Block I/O weights have another file on kernels with another scheduler.
    fn has_another_weight(&self) -> bool {
        let there = |file: &str| self.dir(file).join(file).exists();
        match self.files() {
            ["io.bfq.weight"] => !there("io.bfq.weight") && there("io.weight"),
            ["blkio.bfq.weight"] => !there("blkio.bfq.weight") && there("blkio.weight"),
            _ => false,
        }
    }

    /// After create has: neither may it be changed later.
    fn refused(&self, update: &Value, says: &str) -> Option<String> {
        // Of a weight's two files the error names the one that was tried last.
        let lacks =
            |file: &&str| says.contains(*file) || file.ends_with("weight") && says.contains("io.weight");
        if says.contains("ENOENT") && self.files().iter().any(lacks) {
            return None;
        }
        self.up(None).unwrap();
        let changed = self.update(update);
        self.t.delete_force();
        assert!(!changed, "refused by create, and done by update: {says}");
        Some("refused".to_owned())
    }
}

/// One line, and the same on every machine.
fn plain(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let text = lines.join(", ");
    let text = match disk() {
        Some((major, minor)) => text.replace(&format!("{major}:{minor}"), "DISK"),
        None => text,
    };
    rdma().map_or(text.clone(), |name| text.replace(&name, "RDMA"))
}

/// An RDMA device of this machine.
fn rdma() -> Option<String> {
    let entry = fs::read_dir("/sys/class/infiniband").ok()?.flatten().next()?;
    entry.file_name().into_string().ok()
}

fn resources(text: &str) -> Value {
    let (major, minor) = disk().unwrap_or_default();
    let disk = format!("\"major\": {major}, \"minor\": {minor}");
    let text = text.replace("DISK", &disk).replace("RDMA", &rdma().unwrap_or_default());
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check(t: &Test, row: &Row) {
    if t.flavor() != Flavor::Soute {
        skip!("the table in docs/cgroups.md is about soute");
    }
    if row.values[0].contains("DISK") && disk().is_none() {
        skip!("this machine has no disk");
    }
    if row.values[0].contains("RDMA") && rdma().is_none() {
        skip!("this machine has no RDMA device");
    }
    table::hold(row.name, "create, then update", &format!("`{}`, then `{}`", row.values[0], row.values[1]));
    let all = controllers();
    let mut lacks = Vec::new();
    for lane in Lane::all() {
        let seen = Seen { t, row, lane };
        let controller = seen.files().first().and_then(|file| file.split('.').next());
        if let Some(name) = controller.filter(|name| !all.iter().any(|it| it == name)) {
            lacks.push(format!("this machine has no {name} controller"));
            continue;
        }
        t.global(if lane == Lane::Systemd && !by_systemd() { &["--systemd-cgroup"] } else { &[] });
        match seen.live() {
            Some(cell) => table::hold(row.name, lane.title(), &cell),
            None => lacks.push(format!("this kernel has no {}", seen.files().join(", "))),
        }
    }
    if let Some(why) = lacks.first() {
        skip!("{why}");
    }
}

macro_rules! rows {
    ($($test:ident $name:literal: $create:literal, $update:literal; v1 $v1:expr; v2 $v2:expr; unit $unit:expr;)*) => {
        $(#[test]
        fn $test() {
            let row = Row { name: $name, values: [$create, $update], v1: &$v1, v2: &$v2, unit: &$unit };
            container_test(|t| check(t, &row));
        })*

        #[test]
        fn the_table_has_no_other_rows() {
            assert_eq!(table::names(), [$($name),*]);
        }
    };
}

rows! {
    memory_limit "memory.limit":
        r#"{"memory": {"limit": 67108864}}"#, r#"{"memory": {"limit": 100663296}}"#;
        v1 ["memory.limit_in_bytes"]; v2 ["memory.max"]; unit ["MemoryMax"];
    memory_reservation "memory.reservation":
        r#"{"memory": {"reservation": 33554432}}"#, r#"{"memory": {"reservation": 16777216}}"#;
        v1 ["memory.soft_limit_in_bytes"]; v2 ["memory.low"]; unit ["MemoryLow"];
    memory_swap "memory.swap":
        r#"{"memory": {"limit": 67108864, "swap": 134217728}}"#, r#"{"memory": {"limit": 67108864, "swap": 100663296}}"#;
        v1 ["memory.memsw.limit_in_bytes"]; v2 ["memory.swap.max"]; unit ["MemorySwapMax"];
    memory_swappiness "memory.swappiness":
        r#"{"memory": {"swappiness": 7}}"#, r#"{"memory": {"swappiness": 17}}"#;
        v1 ["memory.swappiness"]; v2 []; unit [];
    memory_oom_killer "memory.disableOOMKiller":
        r#"{"memory": {"disableOOMKiller": true}}"#, r#"{"memory": {"disableOOMKiller": false}}"#;
        v1 ["memory.oom_control"]; v2 []; unit [];
    cpu_shares "cpu.shares":
        r#"{"cpu": {"shares": 512}}"#, r#"{"cpu": {"shares": 2048}}"#;
        v1 ["cpu.shares"]; v2 ["cpu.weight"]; unit ["CPUWeight"];
    cpu_quota "cpu.quota, cpu.period":
        r#"{"cpu": {"quota": 20000, "period": 50000}}"#, r#"{"cpu": {"quota": 30000, "period": 100000}}"#;
        v1 ["cpu.cfs_quota_us", "cpu.cfs_period_us"]; v2 ["cpu.max"];
        unit ["CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec"];
    cpu_burst "cpu.burst":
        r#"{"cpu": {"quota": 20000, "period": 50000, "burst": 10000}}"#, r#"{"cpu": {"burst": 5000}}"#;
        v1 ["cpu.cfs_burst_us"]; v2 ["cpu.max.burst"]; unit [];
    cpu_idle "cpu.idle":
        r#"{"cpu": {"idle": 1}}"#, r#"{"cpu": {"idle": 0}}"#;
        v1 ["cpu.idle"]; v2 ["cpu.idle"]; unit ["CPUWeight"];
    cpu_realtime "cpu.realtimeRuntime, cpu.realtimePeriod":
        r#"{"cpu": {"realtimeRuntime": 5000, "realtimePeriod": 1000000}}"#, r#"{"cpu": {"realtimeRuntime": 4000}}"#;
        v1 ["cpu.rt_runtime_us", "cpu.rt_period_us"]; v2 []; unit [];
    cpuset_cpus "cpu.cpus":
        r#"{"cpu": {"cpus": "0"}}"#, r#"{"cpu": {"cpus": "1"}}"#;
        v1 ["cpuset.cpus"]; v2 ["cpuset.cpus"]; unit ["AllowedCPUs"];
    cpuset_mems "cpu.mems":
        r#"{"cpu": {"mems": "0"}}"#, r#"{"cpu": {"mems": "0"}}"#;
        v1 ["cpuset.mems"]; v2 ["cpuset.mems"]; unit ["AllowedMemoryNodes"];
    pids_limit "pids.limit":
        r#"{"pids": {"limit": 33}}"#, r#"{"pids": {"limit": 44}}"#;
        v1 ["pids.max"]; v2 ["pids.max"]; unit ["TasksMax"];
    block_io_weight "blockIO.weight":
        r#"{"blockIO": {"weight": 200}}"#, r#"{"blockIO": {"weight": 300}}"#;
        v1 ["blkio.bfq.weight"]; v2 ["io.bfq.weight"]; unit ["IOWeight"];
    read_bytes "blockIO.throttleReadBpsDevice":
        r#"{"blockIO": {"throttleReadBpsDevice": [{DISK, "rate": 1048576}]}}"#,
        r#"{"blockIO": {"throttleReadBpsDevice": [{DISK, "rate": 2097152}]}}"#;
        v1 ["blkio.throttle.read_bps_device"]; v2 ["io.max"]; unit ["IOReadBandwidthMax"];
    written_bytes "blockIO.throttleWriteBpsDevice":
        r#"{"blockIO": {"throttleWriteBpsDevice": [{DISK, "rate": 1048576}]}}"#,
        r#"{"blockIO": {"throttleWriteBpsDevice": [{DISK, "rate": 2097152}]}}"#;
        v1 ["blkio.throttle.write_bps_device"]; v2 ["io.max"]; unit ["IOWriteBandwidthMax"];
    reads "blockIO.throttleReadIOPSDevice":
        r#"{"blockIO": {"throttleReadIOPSDevice": [{DISK, "rate": 600}]}}"#,
        r#"{"blockIO": {"throttleReadIOPSDevice": [{DISK, "rate": 700}]}}"#;
        v1 ["blkio.throttle.read_iops_device"]; v2 ["io.max"]; unit ["IOReadIOPSMax"];
    writes "blockIO.throttleWriteIOPSDevice":
        r#"{"blockIO": {"throttleWriteIOPSDevice": [{DISK, "rate": 600}]}}"#,
        r#"{"blockIO": {"throttleWriteIOPSDevice": [{DISK, "rate": 700}]}}"#;
        v1 ["blkio.throttle.write_iops_device"]; v2 ["io.max"]; unit ["IOWriteIOPSMax"];
    huge_pages "hugepageLimits":
        r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}]}"#,
        r#"{"hugepageLimits": [{"pageSize": "2MB", "limit": 8388608}]}"#;
        v1 ["hugetlb.2MB.limit_in_bytes", "hugetlb.2MB.rsvd.limit_in_bytes"];
        v2 ["hugetlb.2MB.max", "hugetlb.2MB.rsvd.max"]; unit [];
    rdma_handles "rdma":
        r#"{"rdma": {"RDMA": {"hcaHandles": 3, "hcaObjects": 10000}}}"#,
        r#"{"rdma": {"RDMA": {"hcaHandles": 4}}}"#;
        v1 ["rdma.max"]; v2 ["rdma.max"]; unit [];
    network_class "network.classID":
        r#"{"network": {"classID": 1048577}}"#, r#"{"network": {"classID": 1048578}}"#;
        v1 ["net_cls.classid"]; v2 []; unit [];
    network_priorities "network.priorities":
        r#"{"network": {"priorities": [{"name": "lo", "priority": 5}]}}"#,
        r#"{"network": {"priorities": [{"name": "lo", "priority": 6}]}}"#;
        v1 ["net_prio.ifpriomap"]; v2 []; unit [];
    unified_memory "unified, of memory":
        r#"{"unified": {"memory.high": "50331648"}}"#, r#"{"unified": {"memory.high": "67108864"}}"#;
        v1 []; v2 ["memory.high"]; unit ["MemoryHigh"];
    unified_other "unified, of files without a property":
        r#"{"unified": {"memory.oom.group": "1"}}"#, r#"{"unified": {"memory.oom.group": "0"}}"#;
        v1 []; v2 ["memory.oom.group"]; unit [];
}
