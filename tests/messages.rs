// SPDX-License-Identifier: Apache-2.0
//! Bad configurations in, exact messages out: no root, no kernel.
//!
//! The tables are text: in `messages/faults.txt` each block changes the default specification and
//! shows all the faults that are then told, with their ways out; in `messages/commands.txt` each
//! changes the text of a bundle and shows what a command of the program says, to the letter.
//! `BLESS=1 cargo test --test messages` writes the answers anew, for review.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use libcontainer::bundle::Bundle;
use libcontainer::plan::caps::CapSet;
use libcontainer::plan::cgroup::{CgroupLayout, Hierarchy};
use libcontainer::plan::{Host, Plan, Request};
use serde_json::Value;

/// What `soute spec` writes.
const DEFAULT: &str = include_str!("../src/commands/spec.json");
/// What `soute spec --rootless` writes, but for the caller's ids: good for root too.
const ROOTLESS: &str = include_str!("../src/commands/spec-rootless.json");

/// A block of a table: lines that say what is done, and the answer, which is indented.
struct Block {
    asks: Vec<String>,
    answer: String,
}

fn table(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages").join(name)
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    for block in text.split("\n\n").filter(|block| !block.trim().is_empty()) {
        let (answer, asks): (Vec<&str>, Vec<&str>) = block.lines().partition(|line| line.starts_with("    "));
        let answer = answer.iter().fold(String::new(), |all, line| all + &line[4..] + "\n");
        blocks.push(Block { asks: asks.iter().map(|ask| (*ask).to_owned()).collect(), answer });
    }
    blocks
}

/// Holds every answer against the table, or writes them into it.
fn hold(name: &str, least: usize, answer: impl Fn(&[String]) -> String) {
    let path = table(name);
    let blocks = blocks(&fs::read_to_string(&path).expect("the table"));
    let (mut written, mut wrong) = (String::new(), String::new());
    for Block { asks, answer: expected } in &blocks {
        // An empty line would end the block, so it is a dot.
        let line =
            |line: &str| if line.is_empty() { ".\n".to_owned() } else { line.trim_end().to_owned() + "\n" };
        let said: String = answer(asks).lines().map(line).collect();
        let _ = writeln!(written, "{}", asks.join("\n"));
        said.lines().for_each(|line| written += &format!("    {line}\n"));
        written += "\n";
        if said != *expected {
            let _ = write!(wrong, "{}\nexpected:\n{expected}said:\n{said}\n", asks.join("\n"));
        }
    }
    if std::env::var_os("BLESS").is_some() {
        fs::write(path, written).expect("the table can be written");
        return;
    }
    assert!(wrong.is_empty(), "\n{wrong}if that is what is meant: BLESS=1 cargo test --test messages");
    assert!(blocks.len() >= least, "only {} of {least} messages", blocks.len());
}

/// A directory that is gone with its owner.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("soute-messages-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("rootfs")).expect("a new directory");
        Self(path)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Sets a property, or takes it away: `/process/args = []`, `/root = (gone)`.
fn set(spec: &mut Value, pointer: &str, value: &str) {
    let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
    let parent = spec.pointer_mut(parent).unwrap_or_else(|| panic!("no {parent}"));
    let value = match value {
        "(gone)" => None,
        value => Some(serde_json::from_str(value).unwrap_or_else(|e| panic!("{pointer} = {value}: {e}"))),
    };
    match (parent, value) {
        (Value::Object(map), None) => drop(map.remove(name)),
        (Value::Object(map), Some(value)) => drop(map.insert(name.to_owned(), value)),
        (Value::Array(list), Some(value)) if name == "-" => list.push(value),
        (parent, value) => panic!("{pointer}: {parent} = {value:?}"),
    }
}

fn v1() -> CgroupLayout {
    let hierarchy = |dir: &str| Hierarchy {
        dir: dir.to_owned(),
        controllers: dir.split(',').map(str::to_owned).collect(),
        own: "/".to_owned(),
    };
    CgroupLayout::V1 { hierarchies: ["memory", "devices", "pids"].map(hierarchy).into(), unified: None }
}

/// All the faults of a changed default, as `create` would tell them.
fn faults(asks: &[String]) -> String {
    let mut spec: Value = serde_json::from_str(DEFAULT).expect("the default");
    let mut host = Host { euid: 0, egid: 0, capabilities: CapSet((1 << 41) - 1), cgroups: CgroupLayout::V2 };
    for ask in asks.iter().filter(|ask| !ask.starts_with('#')) {
        match ask.split_once(" = ").unwrap_or_else(|| panic!("{ask}")) {
            ("host", "v1") => host.cgroups = v1(),
            ("user", id) => {
                host.euid = id.parse().expect("an id");
                host.egid = host.euid;
            }
            (pointer, value) => set(&mut spec, pointer, value),
        }
    }
    let dir = Dir::new();
    fs::write(dir.0.join("config.json"), spec.to_string()).expect("own directory");
    let error = match Bundle::examine(&dir.0, None) {
        Err(error) => error,
        Ok(bundle) => {
            let request = Request { id: "web".into(), bundle: bundle.dir.clone(), ..Request::default() };
            let problems = Plan::new(&bundle.spec, &host, &request).err().unwrap_or_default();
            bundle.error(problems)
        }
    };
    let mut text = String::new();
    for fault in error.faults() {
        let _ = writeln!(text, "{fault}");
        if let Some(hint) = &fault.hint {
            let _ = writeln!(text, "hint: {hint}");
        }
    }
    if text.is_empty() { "no fault\n".to_owned() } else { text }
}

#[test]
fn every_fault_is_told_with_its_property_and_the_way_out() {
    hold("faults.txt", 80, faults);
}

/// What a command says about a changed bundle: `OLD => NEW` changes the text of config.json,
/// `$ words` runs the command in the bundle's directory.
fn commands(asks: &[String]) -> String {
    let dir = Dir::new();
    let bundle = dir.0.to_str().expect("text");
    let mut config = ROOTLESS.replace("\"UID\"", "1000").replace("\"GID\"", "1000");
    let mut told = String::new();
    for ask in asks.iter().filter(|ask| !ask.starts_with('#')) {
        if let Some(words) = ask.strip_prefix("$ ") {
            fs::write(dir.0.join("config.json"), &config).expect("own directory");
            if config.is_empty() {
                fs::remove_file(dir.0.join("config.json")).expect("own directory");
            }
            let mut command = Command::new(env!("CARGO_BIN_EXE_soute"));
            command.args(["--root", "state"]).args(words.split(' ')).current_dir(&dir.0);
            let plain = command.output().expect("soute runs");
            // What a developer sets for other programs is not read.
            let env = [("RUST_BACKTRACE", "full"), ("RUST_LIB_BACKTRACE", "1"), ("RUST_LOG", "trace")];
            assert_eq!(command.envs(env).output().expect("soute runs"), plain, "{ask}");
            for bytes in [&plain.stdout, &plain.stderr] {
                told += &String::from_utf8_lossy(bytes).replace(bundle, "DIR");
            }
            let _ = writeln!(told, "(exit {})", plain.status.code().expect("no signal"));
        } else if let Some(path) = ask.strip_prefix("mkdir ") {
            fs::create_dir_all(dir.0.join(path)).expect("own directory");
        } else if ask == "no config.json" {
            config.clear();
        } else if let Some(text) = ask.strip_prefix("config.json: ") {
            config = text.replace("\\n", "\n");
        } else {
            let (old, new) = ask.split_once(" => ").unwrap_or_else(|| panic!("{ask}"));
            let (old, new) = (old.replace("\\n", "\n"), new.replace("\\n", "\n"));
            assert!(config.contains(&old), "{old:?} is not in the default");
            config = config.replacen(&old, &new, 1);
        }
    }
    told
}

#[test]
fn commands_say_it_to_the_letter() {
    hold("commands.txt", 15, commands);
}
