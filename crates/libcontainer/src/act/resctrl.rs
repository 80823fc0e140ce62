// SPDX-License-Identifier: Apache-2.0
//! The resctrl file system: a class of service is a directory, its shares are lines of `schemata`,
//! and a process belongs to it by its number in `tasks`; children follow.
//!
//! ```text
//!   /sys/fs/resctrl/            the default class
//!       CLASS/schemata          L3:0=f, MB:0=50
//!       CLASS/tasks
//!       CLASS/mon_groups/ID/    counts for this container alone
//! ```
//!
//! Only what was made here is removed: a class that was there belongs to the host's administrator.
#![expect(clippy::disallowed_methods, reason = "resctrl is the host's")]

mod stats;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Call, Fault};
use crate::plan::rdt::{Rdt, mismatch};

pub use stats::Stats;

/// Where a container's processes are, as the record keeps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Class {
    /// The file system's root.
    root: PathBuf,
    /// The directory of the class, or the root itself.
    dir: PathBuf,
    /// The class was made for the container.
    made: bool,
    /// The container's monitoring group.
    monitor: Option<PathBuf>,
}

/// Where resctrl is mounted.
pub fn root() -> Result<PathBuf, Fault> {
    let path = "/proc/self/mountinfo";
    let mounts = fs::read_to_string(path).call(|| format!("read({path:?})"))?;
    mount_point(&mounts).ok_or_else(|| {
        Fault::new("no file system of type resctrl is mounted")
            .hint("`mount -t resctrl resctrl /sys/fs/resctrl`, if the processor and the kernel have it")
    })
}

fn mount_point(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (mount, of) = line.split_once(" - ")?;
        (of.split(' ').next() == Some("resctrl")).then(|| mount.split(' ').nth(4).map(PathBuf::from))?
    })
}

impl Class {
    /// What is going to be made, and so will have to be removed: to be recorded before it is.
    pub fn plan(root: PathBuf, rdt: &Rdt, id: &str) -> Result<Self, Fault> {
        let dir = rdt.class.as_ref().map_or_else(|| root.clone(), |name| root.join(name));
        let made = !dir.is_dir();
        if let (true, true, Some(name)) = (made, rdt.named && rdt.schemata.is_empty(), &rdt.class) {
            return Err(Fault::new(format!(
                "there is no class of service {name:?}, and no schema to make it with"
            ))
            .hint("give l3CacheSchema, memBwSchema or schemata, or make the class first"));
        }
        let monitor = rdt.monitoring.then(|| dir.join("mon_groups").join(id));
        Ok(Self { root, dir, made, monitor })
    }

    /// Makes the class, or takes the one that is there if it has the same shares. After a failure
    /// what was made is still to be removed.
    pub fn make(&mut self, rdt: &Rdt) -> Result<(), Fault> {
        if self.made {
            match fs::create_dir(&self.dir) {
                // Somebody else was quicker: it is theirs.
                Err(e) if e.kind() == ErrorKind::AlreadyExists => self.made = false,
                other => other
                    .call(|| format!("mkdir({:?})", self.dir))
                    .map_err(|fault| told(&self.root, fault))?,
            }
        }
        match self.made {
            true => self.write(&rdt.schemata)?,
            false => self.compare(&rdt.schemata)?,
        }
        if let Some(dir) = &self.monitor
            && let Err(error) = fs::create_dir(dir)
        {
            let (dir, errno) = (dir.clone(), Errno::from_io_error(&error).unwrap_or(Errno::IO));
            // Not ours to remove.
            self.monitor = None;
            return Err(told(&self.root, Fault::call(format!("mkdir({dir:?})"), errno)));
        }
        Ok(())
    }

    /// Gives the class other shares, all in one write: the kernel takes all lines or none.
    pub fn write(&self, schemata: &[String]) -> Result<(), Fault> {
        if schemata.is_empty() {
            return Ok(());
        }
        let text = schemata.join("\n") + "\n";
        self.put(&self.dir.join("schemata"), &text)
    }

    /// The present shares.
    pub fn schemata(&self) -> Result<Vec<String>, Fault> {
        let path = self.dir.join("schemata");
        let text = fs::read_to_string(&path).call(|| format!("read({path:?})"))?;
        Ok(text.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// The shares of a class that was there are not the container's to change.
    fn compare(&self, schemata: &[String]) -> Result<(), Fault> {
        if schemata.is_empty() {
            return Ok(());
        }
        match mismatch(schemata, &self.schemata()?) {
            None => Ok(()),
            Some((has, asked)) => Err(Fault::new(format!(
                "the class {} is there and has {has}, not {asked}",
                self.dir.display()
            ))
            .hint("leave the schemas out to use it as it is, or name another class")),
        }
    }

    /// Puts a process, and all that it will start, into the class.
    pub fn join(&self, pid: i32) -> Result<(), Fault> {
        self.put(&self.dir.join("tasks"), &pid.to_string())?;
        match &self.monitor {
            Some(dir) => self.put(&dir.join("tasks"), &pid.to_string()),
            None => Ok(()),
        }
    }

    /// Removes what was made. What is gone already is no error.
    pub fn remove(&self) -> Result<(), Fault> {
        let made = self.made.then_some(&self.dir);
        for dir in self.monitor.iter().chain(made) {
            match fs::remove_dir(dir) {
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                other => other.call(|| format!("rmdir({dir:?})"))?,
            }
        }
        Ok(())
    }

    fn put(&self, path: &Path, text: &str) -> Result<(), Fault> {
        let write = || -> Result<(), Errno> {
            use rustix::fs::{Mode, OFlags, open};
            let file = open(path, OFlags::WRONLY | OFlags::TRUNC | OFlags::CLOEXEC, Mode::empty())?;
            rustix::io::write(&file, text.as_bytes()).map(drop)
        };
        write()
            .call(|| format!("write({path:?}, {:?})", text.trim_end()))
            .map_err(|fault| told(&self.root, fault))
    }
}

/// With the kernel's own words about its last refusal.
fn told(root: &Path, mut fault: Fault) -> Fault {
    let words = fs::read_to_string(root.join("info/last_cmd_status")).unwrap_or_default();
    let words = words.trim();
    if !words.is_empty() && words != "ok" {
        fault.says = format!("{} ({words})", fault.says);
    }
    fault
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Plain files in place of the kernel's. A directory that is made stays empty: what the kernel
    /// would put there is put by hand.
    struct Mock(PathBuf);

    impl Mock {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("soute-resctrl-{}-{name}", std::process::id()));
            fs::create_dir_all(root.join("info")).unwrap();
            fs::write(root.join("info/last_cmd_status"), "ok\n").unwrap();
            let mock = Self(root);
            mock.populate("");
            mock
        }

        fn populate(&self, class: &str) {
            let dir = self.0.join(class);
            fs::create_dir_all(dir.join("mon_groups")).unwrap();
            fs::write(dir.join("schemata"), "    L3:0=00fff;1=00fff\n    MB:0=100;1=100\n").unwrap();
            fs::write(dir.join("tasks"), "").unwrap();
        }

        fn read(&self, path: &str) -> String {
            fs::read_to_string(self.0.join(path)).unwrap_or_else(|e| e.kind().to_string())
        }

        fn make(&self, rdt: &Rdt) -> Result<Class, String> {
            let mut class = Class::plan(self.0.clone(), rdt, "web").map_err(|fault| fault.to_string())?;
            let made = class.make(rdt).map_err(|fault| fault.to_string());
            made.inspect_err(|_| class.remove().unwrap()).map(|()| class)
        }
    }

    impl Drop for Mock {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn rdt(class: Option<&str>, schemata: &[&str], monitoring: bool) -> Rdt {
        let schemata = schemata.iter().map(|line| (*line).to_owned()).collect();
        Rdt { class: class.map(str::to_owned), named: class != Some("web"), schemata, monitoring }
    }

    #[test]
    fn a_new_class_gets_its_shares_and_goes_with_the_container() {
        let mock = Mock::new("new");
        let asked = rdt(Some("web"), &["L3:0=f", "MB:0=50"], false);
        let mut class = Class::plan(mock.0.clone(), &asked, "web").unwrap();
        assert!(class.made);
        // The directory is made, and stays without the kernel's files.
        assert!(class.make(&asked).unwrap_err().to_string().contains("schemata"));
        mock.populate("web");
        class.write(&asked.schemata).unwrap();
        assert_eq!(mock.read("web/schemata"), "L3:0=f\nMB:0=50\n");
        class.join(42).unwrap();
        assert_eq!(mock.read("web/tasks"), "42");
        class.write(&["MB:0=20".to_owned()]).unwrap();
        assert_eq!(mock.read("web/schemata"), "MB:0=20\n");
        // The kernel's files vanish with their directory.
        fs::remove_dir_all(mock.0.join("web")).unwrap();
        fs::create_dir(mock.0.join("web")).unwrap();
        class.remove().unwrap();
        assert!(!mock.0.join("web").exists());
        class.remove().unwrap();
    }

    #[test]
    fn a_class_that_was_there_stays_as_it_is() {
        let mock = Mock::new("there");
        mock.populate("gold");
        let class = mock.make(&rdt(Some("gold"), &["L3:0=fff", "MB:1=100"], true)).unwrap();
        assert_eq!(class.monitor, Some(mock.0.join("gold/mon_groups/web")));
        fs::write(mock.0.join("gold/mon_groups/web/tasks"), "").unwrap();
        class.join(42).unwrap();
        assert_eq!(
            (mock.read("gold/tasks"), mock.read("gold/mon_groups/web/tasks")),
            ("42".into(), "42".into())
        );
        fs::remove_file(mock.0.join("gold/mon_groups/web/tasks")).unwrap();
        class.remove().unwrap();
        assert!(mock.0.join("gold/schemata").exists() && !mock.0.join("gold/mon_groups/web").exists());

        let fault = mock.make(&rdt(Some("gold"), &["L3:0=fff;1=f"], false)).unwrap_err();
        assert!(fault.ends_with("gold is there and has L3:1=fff, not L3:1=f"), "{fault}");
        assert!(mock.0.join("gold").exists());
    }

    #[test]
    fn what_somebody_else_made_meanwhile_is_theirs() {
        let mock = Mock::new("meanwhile");
        let asked = rdt(Some("gold"), &["L3:0=fff"], true);
        let mut class = Class::plan(mock.0.clone(), &asked, "web").unwrap();
        mock.populate("gold");
        fs::create_dir(mock.0.join("gold/mon_groups/web")).unwrap();
        let fault = class.make(&asked).unwrap_err().to_string();
        assert!(fault.contains("mon_groups/web") && fault.contains("EEXIST"), "{fault}");
        class.remove().unwrap();
        assert!(mock.0.join("gold/mon_groups/web").exists());
    }

    #[test]
    fn the_default_class_is_never_removed() {
        let mock = Mock::new("default");
        let class = mock.make(&rdt(None, &[], true)).unwrap();
        fs::write(mock.0.join("mon_groups/web/tasks"), "").unwrap();
        class.join(7).unwrap();
        assert_eq!(mock.read("tasks"), "7");
        fs::remove_file(mock.0.join("mon_groups/web/tasks")).unwrap();
        class.remove().unwrap();
        assert!(mock.0.join("schemata").exists() && !mock.0.join("mon_groups/web").exists());
    }

    #[test]
    fn a_named_class_without_shares_must_be_there() {
        let mock = Mock::new("absent");
        let fault = mock.make(&rdt(Some("gold"), &[], false)).unwrap_err();
        assert_eq!(fault, "there is no class of service \"gold\", and no schema to make it with");
        assert!(!mock.0.join("gold").exists());
    }

    #[test]
    fn what_fails_leaves_nothing_and_tells_the_kernels_words() {
        let mock = Mock::new("refused");
        fs::write(mock.0.join("info/last_cmd_status"), "mask f1 has non-consecutive 1-bits\n").unwrap();
        // The directory that is made has no schemata: the write fails.
        let fault = mock.make(&rdt(Some("web"), &["L3:0=f1"], false)).unwrap_err();
        assert!(fault.contains("(mask f1 has non-consecutive 1-bits)"), "{fault}");
        assert!(!mock.0.join("web").exists());
    }

    #[test]
    fn statistics_are_of_the_monitoring_group() {
        let mock = Mock::new("stats");
        mock.populate("gold");
        fs::create_dir_all(mock.0.join("info/L3")).unwrap();
        for (name, text) in [("cbm_mask", "fff\n"), ("min_cbm_bits", "2\n"), ("num_closids", "16\n")] {
            fs::write(mock.0.join("info/L3").join(name), text).unwrap();
        }
        let class = mock.make(&rdt(Some("gold"), &[], true)).unwrap();
        for (group, cache, file, text) in [
            ("gold/mon_groups/web", "mon_L3_01", "mbm_total_bytes", "7000\n"),
            ("gold/mon_groups/web", "mon_L3_01", "mbm_local_bytes", "Unavailable\n"),
            ("gold/mon_groups/web", "mon_L3_01", "llc_occupancy", "64\n"),
            ("gold/mon_groups/web", "mon_L3_00", "mbm_total_bytes", "5000\n"),
            ("gold/mon_groups/web", "mon_L3_00", "llc_occupancy", "Error\n"),
            ("gold", "mon_L3_00", "mbm_total_bytes", "1\n"),
        ] {
            let dir = mock.0.join(group).join("mon_data").join(cache);
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(file), text).unwrap();
        }
        let told = serde_json::to_value(class.stats().unwrap()).unwrap();
        let want = serde_json::json!({
            "l3_cache_info": { "cbm_mask": "fff", "min_cbm_bits": 2, "num_closids": 16 },
            "l3_cache_schema_root": "L3:0=00fff;1=00fff",
            "l3_cache_schema": "L3:0=00fff;1=00fff",
            "mem_bw_schema_root": "MB:0=100;1=100",
            "mem_bw_schema": "MB:0=100;1=100",
            "mbm_stats": [{ "mbm_total_bytes": 5000 }, { "mbm_total_bytes": 7000 }],
            "cmt_stats": [{ "llc_occupancy": 64 }],
        });
        assert_eq!(told, want);
        let whole = mock.make(&rdt(Some("gold"), &[], false)).unwrap();
        let told = serde_json::to_value(whole.stats().unwrap()).unwrap();
        assert_eq!(told["mbm_stats"], serde_json::json!([{ "mbm_total_bytes": 1 }]));
    }

    #[test]
    fn the_mount_is_found_by_its_type() {
        let mounts = "22 1 0:20 / /sys rw - sysfs sysfs rw\n\
                      30 22 0:30 / /tmp/resctrl rw - tmpfs resctrl rw\n\
                      31 22 0:31 / /sys/fs/resctrl rw,relatime shared:9 - resctrl resctrl rw\n";
        assert_eq!(mount_point(mounts), Some("/sys/fs/resctrl".into()));
        assert_eq!(mount_point("30 22 0:30 / /sys/fs/resctrl rw - tmpfs resctrl rw\n"), None);
    }
}
