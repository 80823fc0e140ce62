// SPDX-License-Identifier: Apache-2.0
//! Hostile root file systems, made by a table: each place that a runtime touches, with each
//! kind of trap in it.
//!
//! A place comes with the configuration that leads the runtime there; without a trap it must
//! work, or the traps would prove nothing.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use serde_json::json;

use crate::{Bundle, Test, Treasure};

/// Somewhere in the image.
pub struct Place {
    /// The path that the trap takes.
    pub path: &'static str,
    /// What makes the runtime go there.
    pub config: fn(Bundle) -> Bundle,
}

/// What stands at a place.
pub struct Trap {
    /// What it is, for the list.
    pub what: &'static str,
    /// Makes it; the path is free, and the directory that it is in is there.
    pub make: fn(&Path, &Treasure) -> std::io::Result<()>,
}

/// A group of places, one test each.
pub struct Corpus {
    /// What its places have in common.
    pub what: &'static str,
    /// The places.
    pub places: &'static [Place],
}

/// No mount hides the image's own /dev.
fn image_dev(bundle: Bundle) -> Bundle {
    let bundle = bundle.no_mount("/dev").no_mount("/dev/pts").no_mount("/dev/shm").no_mount("/dev/mqueue");
    bundle.writable()
}

fn mounts_below_dev(bundle: Bundle) -> Bundle {
    bundle.no_mount("/dev").writable()
}

fn image_sys(bundle: Bundle) -> Bundle {
    bundle.no_mount("/sys").writable().remove("/linux/maskedPaths")
}

fn as_it_is(bundle: Bundle) -> Bundle {
    bundle
}

fn writable(bundle: Bundle) -> Bundle {
    bundle.writable()
}

fn in_a_user_namespace(bundle: Bundle) -> Bundle {
    bundle.userns()
}

/// A directory of the host beside the bundle's root, which the container may have.
fn volume(bundle: &Bundle) -> std::path::PathBuf {
    let dir = bundle.dir().join("volume");
    fs::create_dir_all(&dir).expect("own directory");
    fs::write(dir.join("file"), "of the volume").expect("own directory");
    dir
}

fn bind_dir(bundle: Bundle) -> Bundle {
    let dir = volume(&bundle);
    bundle.writable().bind(dir, "/data/dir", &["rbind", "ro"])
}

fn bind_file(bundle: Bundle) -> Bundle {
    let file = volume(&bundle).join("file");
    bundle.writable().bind(file, "/data/file", &["ro"])
}

fn bind_deep(bundle: Bundle) -> Bundle {
    let dir = volume(&bundle);
    bundle.writable().bind(dir, "/data/a/b/c", &["rbind"])
}

fn bind_in_a_user_namespace(bundle: Bundle) -> Bundle {
    // Made beforehand: its root may not write to the image.
    bind_dir(bundle.dir_in_root("/data/dir")).userns()
}

fn tmpfs(bundle: Bundle) -> Bundle {
    bundle.writable().mount("/data/tmp", "tmpfs", "tmpfs", &["nosuid", "size=64k"])
}

fn two_tmpfs(bundle: Bundle) -> Bundle {
    tmpfs(bundle).mount("/data/tmp/in", "tmpfs", "tmpfs", &[])
}

fn node(bundle: Bundle) -> Bundle {
    let node =
        json!({ "path": "/data/node", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666, "uid": 7 });
    bundle.writable().push("/linux/devices", node)
}

fn deep_node(bundle: Bundle) -> Bundle {
    let node = json!({ "path": "/data/deep/er/node", "type": "p", "fileMode": 0o666, "uid": 7 });
    bundle.writable().push("/linux/devices", node)
}

fn image_dev_in_a_user_namespace(bundle: Bundle) -> Bundle {
    // The host's id of the root that binds the nodes.
    chown(bundle.path("/dev"), Some(100_000), Some(100_000)).expect("own directory");
    image_dev(bundle).userns()
}

fn masked(bundle: Bundle) -> Bundle {
    bundle
        .writable()
        .push("/linux/maskedPaths", "/etc/masked")
        .push("/linux/maskedPaths", "/etc/masked/deeper")
}

fn masked_with_the_images_null(bundle: Bundle) -> Bundle {
    image_dev(bundle).file("/etc/masked", "masked").push("/linux/maskedPaths", "/etc/masked")
}

fn read_only(bundle: Bundle) -> Bundle {
    bundle.writable().push("/linux/readonlyPaths", "/etc/readonly")
}

/// Without HOME in its environment the program's user is looked up.
fn home(bundle: Bundle) -> Bundle {
    let bundle = if bundle.path("/etc").is_dir() {
        bundle.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    } else {
        bundle
    };
    bundle.set("/process/env", json!(["PATH=/"]))
}

fn cwd(bundle: Bundle) -> Bundle {
    bundle.writable().dir_in_root("/work").set("/process/cwd", "/work")
}

fn deep_cwd(bundle: Bundle) -> Bundle {
    bundle.writable().dir_in_root("/work/deep").set("/process/cwd", "/work/deep")
}

fn copy_of_the_payload(bundle: Bundle, to: &str) -> Bundle {
    let bundle = bundle.file(to, "");
    fs::copy(bundle.path("/payload"), bundle.path(to)).expect("own directory");
    bundle
}

fn program(bundle: Bundle) -> Bundle {
    copy_of_the_payload(bundle, "/bin/prog").set("/process/args/0", "/bin/prog")
}

fn program_in_path(bundle: Bundle) -> Bundle {
    copy_of_the_payload(bundle, "/bin/prog").set("/process/args/0", "prog")
}

fn first_in_path(bundle: Bundle) -> Bundle {
    let bundle = program_in_path(bundle).dir_in_root("/first");
    bundle.set("/process/env", json!(["HOME=/", "PATH=/first:/first/deeper:/bin"]))
}

fn script(bundle: Bundle) -> Bundle {
    let bundle = copy_of_the_payload(bundle, "/interpreter").file("/script", "#!/interpreter pid\n");
    fs::set_permissions(bundle.path("/script"), fs::Permissions::from_mode(0o755)).expect("own directory");
    bundle.set("/process/args/0", "/script")
}

/// All places.
pub const CORPORA: [Corpus; 4] = [
    Corpus {
        what: "mount points",
        places: &[
            Place { path: "/proc", config: as_it_is },
            Place { path: "/sys", config: as_it_is },
            Place { path: "/sys/fs", config: image_sys },
            Place { path: "/sys/fs/cgroup", config: image_sys },
            Place { path: "/dev", config: writable },
            Place { path: "/dev/pts", config: mounts_below_dev },
            Place { path: "/dev/shm", config: mounts_below_dev },
            Place { path: "/dev/mqueue", config: mounts_below_dev },
            Place { path: "/data/dir", config: bind_dir },
            Place { path: "/data/file", config: bind_file },
            Place { path: "/data/a", config: bind_deep },
            Place { path: "/data/a/b/c", config: bind_deep },
            Place { path: "/data/tmp", config: tmpfs },
            Place { path: "/data", config: two_tmpfs },
        ],
    },
    Corpus {
        what: "devices of the image",
        places: &[
            Place { path: "/dev", config: image_dev },
            Place { path: "/dev/null", config: image_dev },
            Place { path: "/dev/zero", config: image_dev },
            Place { path: "/dev/full", config: image_dev },
            Place { path: "/dev/random", config: image_dev },
            Place { path: "/dev/urandom", config: image_dev },
            Place { path: "/dev/tty", config: image_dev },
            Place { path: "/dev/ptmx", config: image_dev },
            Place { path: "/dev/fd", config: image_dev },
            Place { path: "/dev/stdin", config: image_dev },
            Place { path: "/dev/stdout", config: image_dev },
            Place { path: "/dev/stderr", config: image_dev },
            Place { path: "/data/node", config: node },
            Place { path: "/data/deep", config: deep_node },
            Place { path: "/data/deep/er/node", config: deep_node },
        ],
    },
    Corpus {
        what: "in a user namespace",
        places: &[
            Place { path: "/proc", config: in_a_user_namespace },
            Place { path: "/sys", config: in_a_user_namespace },
            Place { path: "/data/dir", config: bind_in_a_user_namespace },
            Place { path: "/dev/zero", config: image_dev_in_a_user_namespace },
            Place { path: "/dev", config: image_dev_in_a_user_namespace },
        ],
    },
    Corpus {
        what: "what is read, covered, entered and run",
        places: &[
            Place { path: "/etc", config: home },
            Place { path: "/etc/passwd", config: home },
            Place { path: "/etc/masked", config: masked },
            Place { path: "/etc/masked/deeper", config: masked },
            Place { path: "/dev/null", config: masked_with_the_images_null },
            Place { path: "/etc/readonly", config: read_only },
            Place { path: "/work", config: cwd },
            Place { path: "/work/deep", config: deep_cwd },
            Place { path: "/bin", config: program },
            Place { path: "/bin/prog", config: program },
            Place { path: "/bin/prog", config: program_in_path },
            Place { path: "/first", config: first_in_path },
            Place { path: "/first/prog", config: first_in_path },
            Place { path: "/interpreter", config: script },
        ],
    },
];

fn node_of(path: &Path, kind: FileType, major: u32, minor: u32) -> std::io::Result<()> {
    Ok(mknodat(CWD, path, kind, Mode::from_raw_mode(0o666), makedev(major, minor))?)
}

fn file(path: &Path, text: &[u8], mode: u32) -> std::io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// The trap that changes the whole host where it works.
pub const KERNEL_SETTING: &str = "a link to a setting of the kernel";

/// All kinds of traps.
pub const TRAPS: [Trap; 30] = [
    Trap { what: "a link to a directory of the host", make: |path, t| symlink(t.path(), path) },
    Trap { what: "a link to a file of the host", make: |path, t| symlink(t.secret(), path) },
    Trap { what: "a link that climbs to a directory of the host", make: |path, t| symlink(t.climb(), path) },
    Trap {
        what: "a link that climbs to a file of the host",
        make: |path, t| symlink(format!("{}/secret", t.climb()), path),
    },
    Trap {
        what: "a link to a new name in a directory of the host",
        make: |path, t| symlink(format!("{}/made", t.path()), path),
    },
    Trap {
        what: "a climbing link to a new name in a directory of the host",
        make: |path, t| symlink(format!("{}/made/deep", t.climb()), path),
    },
    Trap { what: "a link to the root", make: |path, _| symlink("/", path) },
    Trap { what: "a link to the directory above", make: |path, _| symlink("..", path) },
    Trap { what: "a link to itself", make: |path, _| symlink(path.file_name().unwrap_or_default(), path) },
    Trap {
        what: "a chain of 60 links",
        make: |path, _| {
            let name = |n: u32| format!("{}.{n}", path.display());
            for n in 0..60 {
                symlink(Path::new(&name(n + 1)).file_name().unwrap_or_default(), name(n))?;
            }
            symlink(Path::new(&name(0)).file_name().unwrap_or_default(), path)
        },
    },
    Trap {
        what: "a link by way of another to a directory of the host",
        make: |path, t| {
            let other = path.with_extension("other");
            symlink(t.path(), &other)?;
            symlink(other.file_name().unwrap_or_default(), path)
        },
    },
    Trap { what: "a link to a descriptor", make: |path, _| symlink("/proc/self/fd/3", path) },
    Trap {
        what: "a link through a descriptor to a file of the host",
        make: |path, t| symlink(format!("/proc/self/fd/5/{}/secret", t.climb()), path),
    },
    Trap { what: "a link to the running program", make: |path, _| symlink("/proc/self/exe", path) },
    Trap {
        what: "a link through the root of process 1",
        make: |path, t| symlink(format!("/proc/1/root{}", t.path()), path),
    },
    Trap {
        what: "a link through the working directory of the runtime",
        make: |path, t| symlink(format!("/proc/self/cwd/{}", t.climb()), path),
    },
    Trap { what: KERNEL_SETTING, make: |path, _| symlink("/proc/sys/kernel/core_pattern", path) },
    Trap {
        what: "a link with a target of 4,000 bytes",
        make: |path, _| symlink(format!("{}x", "a/../".repeat(800)), path),
    },
    Trap { what: "a link to a name that is not there", make: |path, _| symlink("/not/there", path) },
    Trap { what: "a fifo", make: |path, _| node_of(path, FileType::Fifo, 0, 0) },
    Trap {
        what: "a socket",
        // A short path will do for bind(2); the longer one gets it by a rename.
        make: |path, _| {
            let short = std::env::temp_dir().join(format!("itest-socket-{}", std::process::id()));
            UnixListener::bind(&short).map(drop)?;
            fs::rename(&short, path)
        },
    },
    Trap {
        what: "the device that never ends",
        make: |path, _| node_of(path, FileType::CharacterDevice, 1, 5),
    },
    Trap { what: "a block device", make: |path, _| node_of(path, FileType::BlockDevice, 7, 0) },
    Trap {
        what: "the device 0:0 of overlays",
        make: |path, _| node_of(path, FileType::CharacterDevice, 0, 0),
    },
    Trap { what: "a file of 1 TiB", make: |path, _| fs::File::create(path)?.set_len(1 << 40) },
    Trap { what: "an empty file", make: |path, _| file(path, b"", 0o755) },
    Trap {
        what: "a file of junk without an end of line",
        make: |path, _| file(path, &[0xff, 0, b':'].repeat(40_000), 0o6755),
    },
    Trap { what: "a file that nobody may read", make: |path, _| file(path, b"text", 0o000) },
    Trap {
        what: "a directory full of links to the host",
        make: |path, t| {
            fs::create_dir(path)?;
            for name in [
                "prog", "deep", "deeper", "passwd", "node", "null", "er", "b", "pts", "shm", "cgroup", "in",
                "file", "zero", "masked",
            ] {
                symlink(t.path(), path.join(name))?;
            }
            Ok(())
        },
    },
    Trap {
        what: "a directory that nobody may enter",
        make: |path, _| {
            fs::create_dir(path)?;
            fs::set_permissions(path, fs::Permissions::from_mode(0o000))
        },
    },
];

/// The bundle of a place, with a trap in it or, as a control, without.
pub fn bundle(t: &Test, place: &Place, trap: Option<&Trap>, treasure: &Treasure) -> Bundle {
    let bundle = (place.config)(t.bundle().asks(&QUESTIONS));
    let Some(trap) = trap else { return bundle };
    let path = bundle.path(place.path);
    let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
    fs::create_dir_all(path.parent().expect("below the root")).expect("own directory");
    let made = (trap.make)(&path, treasure);
    assert!(made.is_ok(), "{} at {}: {made:?}", trap.what, place.path);
    bundle
}

/// What the payload looks at, if it comes to that; nothing that could make it wait.
const QUESTIONS: [&str; 9] = [
    "list /",
    "list /..",
    "list .",
    "list ../../..",
    "list /data",
    "list /data/dir",
    "list /etc",
    "list /work",
    "list /proc/1/cwd",
];
