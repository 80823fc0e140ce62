// SPDX-License-Identifier: Apache-2.0
//! Mounts with a will of their own: copies, other owners, links, layers, and every option word.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use integration_test::{Bundle, Flavor, Test, container_test, differs, skip};
use rustix::fs::{FileType, Mode, mknodat};
use serde_json::{Value, json};

/// A directory of the host with a file of user 7, group 8.
fn volume(t: &Test) -> PathBuf {
    let dir = t.scratch("volume");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("file"), "of the host").unwrap();
    chown(dir.join("file"), Some(7), Some(8)).unwrap();
    dir
}

fn owner(a: &Value, path: &str) -> (u64, u64) {
    let stat = &a[format!("stat {path}")];
    (stat["uid"].as_u64().unwrap_or(u64::MAX), stat["gid"].as_u64().unwrap_or(u64::MAX))
}

fn copied(bundle: Bundle, words: &[&str]) -> Bundle {
    let mut all = vec!["tmpcopyup"];
    all.extend(words);
    bundle.mount("/data", "tmpfs", "tmpfs", &all)
}

#[test]
fn tmpcopyup_keeps_what_was_there() {
    container_test(|t| {
        let bundle = copied(t.bundle().file("/data/sub/file", "of the image"), &[]);
        let a = t.ask(bundle.clone(), &["read /data/sub/file", "write /data/sub/file x", "mount /data"]);
        assert_eq!(a["read /data/sub/file"], "of the image");
        assert_eq!(a["write /data/sub/file x"], "ok");
        assert_eq!(a["mount /data"]["type"], "tmpfs");
        assert_eq!(fs::read_to_string(bundle.path("/data/sub/file")).unwrap(), "of the image");
    });
}

#[test]
fn a_read_only_copy() {
    container_test(|t| {
        differs!(t, Runc, "a read-only tmpfs cannot be filled");
        let bundle = copied(t.bundle().file("/data/file", "of the image"), &["ro"]);
        let a = t.ask(bundle, &["read /data/file", "write /data/file x"]);
        assert_eq!(a["read /data/file"], "of the image");
        assert_eq!(a["write /data/file x"]["error"], "EROFS");
    });
}

#[test]
fn a_copy_is_like_its_original() {
    container_test(|t| {
        let bundle = t.bundle().file("/data/plain", "text").dir_in_root("/data/dir");
        let at = |name: &str| bundle.path("/data").join(name);
        chown(at("plain"), Some(12), Some(34)).unwrap();
        fs::set_permissions(at("plain"), fs::Permissions::from_mode(0o6751)).unwrap();
        fs::set_permissions(at("dir"), fs::Permissions::from_mode(0o1700)).unwrap();
        fs::hard_link(at("plain"), at("other")).unwrap();
        symlink("/nowhere/at/all", at("link")).unwrap();
        mknodat(rustix::fs::CWD, at("fifo"), FileType::Fifo, Mode::from_raw_mode(0o622), 0).unwrap();
        fs::set_permissions(at("fifo"), fs::Permissions::from_mode(0o622)).unwrap();
        fs::File::create(at("holes")).unwrap().write_at(b"end", 1 << 30).unwrap();
        fs::set_permissions(bundle.path("/data"), fs::Permissions::from_mode(0o755)).unwrap();
        chown(bundle.path("/data"), Some(5), Some(6)).unwrap();
        let inode = "stat /data/other";
        differs!(t, Runc, "does not keep everything");
        differs!(t, Crun, "does not keep everything");
        let a = t.ask(
            copied(bundle, &["size=1m"]),
            &[
                "stat /data",
                "stat /data/plain",
                inode,
                "stat /data/dir",
                "readlink /data/link",
                "stat /data/fifo",
                "stat /data/holes",
            ],
        );
        assert_eq!((owner(&a, "/data"), &a["stat /data"]["mode"]), ((5, 6), &json!("0755")));
        assert_eq!((owner(&a, "/data/plain"), &a["stat /data/plain"]["mode"]), ((12, 34), &json!("6751")));
        assert_eq!(a[inode]["ino"], a["stat /data/plain"]["ino"], "one file under two names");
        assert_eq!(a["stat /data/dir"]["mode"], "1700");
        assert_eq!(a["readlink /data/link"], "/nowhere/at/all");
        assert_eq!(
            (&a["stat /data/fifo"]["type"], &a["stat /data/fifo"]["mode"]),
            (&json!("fifo"), &json!("0622"))
        );
        assert_eq!(a["stat /data/holes"]["size"], (1 << 30) + 3);
    });
}

/// The image's owner may make it as large as he likes: the copy's limit is the tmpfs's.
#[test]
fn a_copy_that_is_too_large() {
    container_test(|t| {
        let bundle = t.bundle().file("/data/large", &"x".repeat(1 << 20));
        let says = t.run(&copied(bundle, &["size=64k"]).asks(&["pid"])).fails();
        assert_eq!(t.left_behind(), [""; 0]);
        if t.flavor() == Flavor::Soute {
            assert!(
                says.contains("\"large\"") && says.contains("ENOSPC") && says.contains("larger size="),
                "{says}"
            );
        }
    });
}

#[test]
fn a_copy_follows_no_link_and_enters_no_mount() {
    container_test(|t| {
        let secret = t.scratch("secret");
        fs::write(&secret, "of the host").unwrap();
        let bundle = t.bundle().dir_in_root("/data/low");
        symlink(&secret, bundle.path("/data/link")).unwrap();
        symlink(t.scratch("nothing"), bundle.path("/data/dirlink")).unwrap();
        let bundle = bundle.mount("/data/low", "tmpfs", "tmpfs", &[]).bind(volume(t), "/data/low", &[]);
        differs!(t, Runc, "enters mounts");
        differs!(t, Crun, "enters mounts");
        let a = t.ask(copied(bundle, &[]), &["readlink /data/link", "list /data"]);
        assert_eq!(a["readlink /data/link"], secret.to_str().unwrap());
        assert_eq!(a["list /data"], json!(["dirlink", "link"]));
    });
}

fn mapped(bundle: Bundle, dir: &PathBuf, words: &[&str], map: Value) -> Bundle {
    let bundle = bundle.bind(dir, "/data", words);
    let last = bundle.spec()["mounts"].as_array().unwrap().len() - 1;
    let bundle = bundle.set(&format!("/mounts/{last}/uidMappings"), map.clone());
    bundle.set(&format!("/mounts/{last}/gidMappings"), map)
}

#[test]
fn other_owners() {
    container_test(|t| {
        differs!(t, Runc, "1.1 knows no mapped mounts");
        let dir = volume(t);
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
        let a = t.ask(
            mapped(t.bundle(), &dir, &[], map),
            &["stat /data/file", "stat /data", "chown /data/file 1001 1002"],
        );
        assert_eq!((owner(&a, "/data/file"), owner(&a, "/data")), ((1007, 1008), (1000, 1000)));
    });
}

#[test]
fn other_owners_in_a_user_namespace() {
    container_test(|t| {
        differs!(t, Runc, "1.1 knows no mapped mounts");
        let dir = volume(t);
        let bundle = t.bundle().userns();
        let map = bundle.spec()["linux"]["uidMappings"].clone();
        let a = t.ask(
            mapped(bundle, &dir, &[], map),
            &["stat /data/file", "write /data/file x", "write /data/new x"],
        );
        // What belongs to 7 on the host belongs to 7 inside.
        assert_eq!(owner(&a, "/data/file"), (7, 8));
        assert_eq!(a["write /data/new x"], "ok");
        let meta = fs::metadata(dir.join("new")).unwrap();
        assert_eq!(
            (meta.uid(), meta.gid()),
            (0, 0),
            "root inside writes as the host's root, through this mount"
        );
    });
}

#[test]
fn ids_of_the_containers_user_namespace() {
    container_test(|t| {
        differs!(t, Runc, "1.1 knows no mapped mounts");
        let dir = volume(t);
        let a = t.ask(t.bundle().userns().bind(&dir, "/data", &["idmap"]), &["stat /data/file"]);
        assert_eq!(owner(&a, "/data/file"), (7, 8));
        // Without it the file is nobody's.
        let a = t.ask(t.bundle().userns().bind(&dir, "/data", &[]), &["stat /data/file"]);
        assert_eq!(owner(&a, "/data/file"), (65534, 65534));
    });
}

#[test]
fn ids_by_the_word_of_crun() {
    container_test(|t| {
        differs!(t, Runc, "1.1 knows no mapped mounts");
        let dir = volume(t);
        let a = t.ask(
            t.bundle().bind(&dir, "/data", &["idmap=uids=0-100-10;gids=0-200-10"]),
            &["stat /data/file"],
        );
        assert_eq!(owner(&a, "/data/file"), (107, 208));
        differs!(t, Crun, "ids of the container");
        // `@` counts the second number from the container's own ids.
        let bundle = t.bundle().userns().bind(&dir, "/data", &["idmap=uids=0-@0-1000;gids=0-@0-1000"]);
        t.run(&bundle.asks(&["pid"])).fails();
        let bundle = t.bundle().userns().bind(&dir, "/data", &["idmap=uids=@0-50-1000;gids=@0-60-1000"]);
        let a = t.ask(bundle, &["stat /data/file"]);
        assert_eq!(owner(&a, "/data/file"), (57, 68));
    });
}

/// `idmap` is the one mount, `ridmap` all below it too.
#[test]
fn ridmap_reaches_submounts() {
    container_test(|t| {
        differs!(t, Runc, "1.1 knows no mapped mounts");
        let dir = volume(t);
        fs::create_dir(dir.join("sub")).unwrap();
        let shell =
            format!("mount -t tmpfs low {0}/sub && touch {0}/sub/low && exec \"$0\" \"$@\"", dir.display());
        t.before(&["unshare", "-m", "sh", "-c", &shell]);
        for (word, expected) in [("idmap", 0), ("ridmap", 100)] {
            let words = ["rbind", &format!("{word}=uids=0-100-10;gids=0-100-10")];
            let a = t.ask(
                t.bundle().mount("/data", "bind", &dir, &words),
                &["stat /data/file", "stat /data/sub/low"],
            );
            assert_eq!(owner(&a, "/data/file"), (107, 108), "{word}");
            assert_eq!(owner(&a, "/data/sub/low"), (expected, expected), "{word}");
        }
    });
}

#[test]
fn a_file_system_without_mapped_ids() {
    container_test(|t| {
        let map = json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]);
        let says = t.run(&mapped(t.bundle(), &"/sys/kernel".into(), &[], map).asks(&["pid"])).fails();
        assert_eq!(t.left_behind(), [""; 0]);
        if t.flavor() == Flavor::Soute {
            assert!(
                says.contains("/sys/kernel") && says.contains("does not support mounts with mapped ids"),
                "{says}"
            );
        }
    });
}

#[test]
fn links_themselves() {
    container_test(|t| {
        differs!(t, Runc, "1.1 does not know the words");
        let dir = volume(t);
        symlink("/etc/elsewhere", dir.join("link")).unwrap();
        let bundle = t
            .bundle()
            .writable()
            .mount("/copied", "bind", dir.join("link"), &["bind", "copy-symlink"])
            .mount("/etc/mounted", "bind", dir.join("link"), &["bind", "src-nofollow"])
            .file("/etc/target", "behind the link");
        symlink("/etc/target", bundle.path("/covered")).unwrap();
        let bundle = bundle.mount("/covered", "bind", dir.join("file"), &["bind", "dest-nofollow"]);
        let a = t
            .ask(bundle, &["readlink /copied", "readlink /etc/mounted", "read /covered", "read /etc/target"]);
        assert_eq!(a["readlink /copied"], "/etc/elsewhere");
        assert_eq!(a["readlink /etc/mounted"], "/etc/elsewhere");
        assert_eq!(
            (&a["read /covered"], &a["read /etc/target"]),
            (&json!("of the host"), &json!("behind the link"))
        );
    });
}

#[test]
fn a_socket_is_bound() {
    container_test(|t| {
        let socket = t.scratch("socket");
        let _listens = UnixListener::bind(&socket).unwrap();
        let a = t.ask(t.bundle().writable().bind(&socket, "/run/new/socket", &[]), &["stat /run/new/socket"]);
        assert_eq!(a["stat /run/new/socket"]["type"], "socket");
    });
}

/// More layers, with longer names, than the text of mount(2) can hold.
#[test]
fn an_overlay_of_many_layers() {
    container_test(|t| {
        differs!(t, Runc, "mount(2) takes a page of options");
        differs!(t, Crun, "mount(2) takes a page of options");
        let layers = t.scratch("layers");
        let dirs: Vec<PathBuf> =
            (0..100).map(|n| layers.join(format!("{n:03}-{}", "x".repeat(100)))).collect();
        for dir in &dirs {
            fs::create_dir_all(dir).unwrap();
            fs::write(dir.join(&dir.file_name().unwrap().to_str().unwrap()[..3]), "layer").unwrap();
        }
        let lower: Vec<&str> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
        let word = format!("lowerdir={}", lower.join(":"));
        let a = t.ask(t.bundle().mount("/data", "overlay", "overlay", &[&word]), &["list /data"]);
        assert_eq!(a["list /data"].as_array().unwrap().len(), 100);
    });
}

/// All at once: each on a mount of its own.
#[test]
fn the_kernel_takes_every_word_that_features_has() {
    container_test(|t| {
        differs!(t, Runc, "1.1 has no list of words");
        differs!(t, Crun, "1.8 has no list of words");
        let features = t.call(&["features"]).ok().json();
        let dir = volume(t);
        let mut bundle = t.bundle();
        let words: Vec<&str> =
            features["mountOptions"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
        assert!(words.len() > 60, "{words:?}");
        for (n, word) in words.iter().enumerate() {
            let place = format!("/data/{n}");
            bundle = bundle.dir_in_root(&place);
            bundle = match *word {
                "remount" => bundle.mount(&place, "tmpfs", "tmpfs", &[]).mount(
                    &place,
                    "tmpfs",
                    "tmpfs",
                    &["remount", "ro"],
                ),
                "idmap" | "ridmap" => {
                    bundle.bind(&dir, &place, &[&format!("{word}=uids=0-100-10;gids=0-100-10")])
                }
                "bind" | "rbind" | "copy-symlink" | "src-nofollow" => bundle.bind(&dir, &place, &[word]),
                // Of a file system that has it.
                "mand" | "nomand" => bundle,
                word => bundle.mount(&place, "tmpfs", "tmpfs", &[word]),
            };
        }
        let a = t.ask(bundle, &["mounts"]);
        let all = a["mounts"].as_array().unwrap();
        let has = |word: &str, option: &str| {
            let place = format!("/data/{}", words.iter().position(|w| *w == word).unwrap());
            let mount = all
                .iter()
                .rev()
                .find(|mount| mount["at"] == place.as_str())
                .unwrap_or_else(|| panic!("{place}"));
            let list = |key: &str| mount[key].as_array().unwrap().contains(&json!(option));
            assert!(list("options") || list("super"), "{word}: {mount}");
        };
        for word in
            ["ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime", "nosymfollow", "sync", "dirsync"]
        {
            has(word, word);
        }
        for word in ["rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnodiratime", "rnosymfollow"] {
            has(word, &word[1..]);
        }
        has("lazytime", "lazytime");
        has("remount", "ro");
    });
}

/// Without SELinux in the kernel a label is an error, never silence.
#[test]
fn a_label_for_mounts() {
    container_test(|t| {
        if fs::read_to_string("/sys/kernel/security/lsm").is_ok_and(|all| all.contains("selinux")) {
            skip!("SELinux is on: the labels' effect needs its policy");
        }
        if t.flavor() != Flavor::Soute {
            skip!("runc and crun leave the label out where SELinux is off");
        }
        let bundle = t.bundle().set("/linux/mountLabel", "system_u:object_r:container_file_t:s0");
        let says = t.run(&bundle.asks(&["pid"])).fails();
        assert!(says.contains("context"), "{says}");
        assert_eq!(t.left_behind(), [""; 0]);
    });
}
