// SPDX-License-Identifier: Apache-2.0
//! Where things stand: files on disk, properties in the text, excerpts.

use super::*;

#[test]
fn repeated_keys_are_found_in_large_objects_too() {
    let members: Vec<String> = (0..50_000).map(|i| format!("\"key{i}\": {{\"key{i}\": 1}}")).collect();
    let good = format!("{{{}}}", members.join(","));
    assert_eq!(json::scan(&good), Ok(()));
    let bad = format!("{{{}, \"key777\": 1}}", members.join(","));
    let Err(json::Defect::Repeated { first, again }) = json::scan(&bad) else { panic!() };
    assert_eq!((&bad[first.clone()], &bad[again.clone()]), ("\"key777\"", "\"key777\""));
    assert!(first.start < again.start && again.end > bad.len() - 10);
}

#[test]
fn a_flag_is_nowhere_in_the_text() {
    let dir = Dir::with("flag", DOCKER);
    let bundle = Bundle::load(&dir.0, None).unwrap();
    let told = |property: &str| bundle.error(vec![Problem::new(property, "is wrong")]).to_string();
    assert!(told("hostname").contains("--> config.json:"));
    assert!(!told("--systemd-cgroup").contains("-->"));
}

#[test]
fn properties_are_found_in_the_text() {
    let dir = Dir::with("locate", DOCKER);
    let bundle = Bundle::load(&dir.0, None).unwrap();
    let at = |property: &str| {
        let place = bundle.locate(property).unwrap();
        (place.line, place.column, &bundle.text[place.span])
    };
    assert_eq!(at("ociVersion"), (2, 19, "\"1.2.0\""));
    assert_eq!(at("process.user.uid"), (5, 20, "0"));
    assert_eq!(at("process.args[1]").2, "\"nginx\"");
    assert_eq!(at("mounts[3].source").2, "\"sysfs\"");
    assert_eq!(at("mounts[3]").2, "{");
    assert_eq!(at("mounts[3].nothing").2, "{");
    assert_eq!(at("mounts[99]").2, "\"mounts\"");
    assert_eq!(at("linux.nothing.at.all").2, "\"linux\"");
    assert_eq!(at("linux.sysctl[\"net.ipv4.ping_group_range\"]").2, "\"0 2147483647\"");
    assert_eq!(at("linux.sysctl.net.ipv4.ping_group_range").2, "\"0 2147483647\"");
    assert_eq!(at("").2, "{");
    for odd in ["[", "]", "..", "a[", "mounts[", "mounts[x]", "mounts[\"", "linux.sysctl[\"", "[\"process\"]"]
    {
        bundle.locate(odd).unwrap();
    }
    assert_eq!(json::path_at(DOCKER, at_offset("\"nginx\"")), "process.args[1]");
    assert_eq!(
        json::path_at(DOCKER, at_offset("\"0 2147483647\"")),
        "linux.sysctl[\"net.ipv4.ping_group_range\"]"
    );
}

fn at_offset(needle: &str) -> usize {
    DOCKER.find(needle).unwrap()
}

#[test]
fn files_are_read_within_bounds() {
    let dir = Dir::new("files");
    let load = || Bundle::load(&dir.0, None).unwrap_err().message();
    let config = dir.0.join(CONFIG);
    assert!(load().ends_with("JSON specification file config.json not found"), "{}", load());
    assert_eq!(Bundle::load(&dir.0, None).unwrap_err().kind(), crate::error::Kind::Config);
    std::fs::create_dir(&config).unwrap();
    assert!(load().ends_with("config.json is not a regular file"), "{}", load());
    std::fs::remove_dir(&config).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &config, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(load().ends_with("config.json is not a regular file"), "{}", load());
    std::fs::remove_file(&config).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &config).unwrap();
    assert!(load().ends_with("config.json is not a regular file"), "{}", load());
    std::fs::remove_file(&config).unwrap();
    std::fs::File::create(&config).unwrap().set_len((64 << 20) + 1).unwrap();
    assert!(load().ends_with("config.json has more than 64 MiB"), "{}", load());
    std::fs::remove_file(&config).unwrap();

    std::fs::write(dir.0.join("other.json"), DEFAULT).unwrap();
    let bundle = Bundle::load(&dir.0, Some(&dir.0.join("other.json"))).unwrap();
    assert_eq!(bundle.config, dir.0.join("other.json"));
    let absent = Bundle::load(&dir.0.join("none"), None).unwrap_err().message();
    assert!(absent.ends_with("none: there is no such directory"), "{absent}");
    let parent = Bundle::load(&dir.0.join("x/../y"), None).unwrap_err().message();
    assert!(parent.contains("no such file or directory (ENOENT)"), "{parent}");
}

#[test]
fn an_error_shows_the_lines_that_are_meant() {
    let text = DEFAULT.replacen("\"uid\": 0", "\"uid\": \"0\"", 1).replacen(
        "\"type\": \"ipc\"",
        "\"type\": \"icp\"",
        1,
    );
    let dir = Dir::with("excerpt", &text);
    let e = Bundle::load(&dir.0, None).unwrap_err().within("create web1");
    assert_eq!(
        e.message(),
        "create web1: process.user.uid: \"0\" is not a user id: 0 to 4294967294; linux.namespaces[2].type: unknown namespace type \"icp\""
    );
    assert_eq!(
        e.to_string(),
        "create web1
       process.user.uid: \"0\" is not a user id: 0 to 4294967294
hint:  write it without quotes: 0
       linux.namespaces[2].type: unknown namespace type \"icp\"
hint:  did you mean \"ipc\"? valid: pid, network, mount, ipc, uts, user, cgroup, time
 --> config.json:6:11
  |
6 |             \"uid\": \"0\",
  |                    ^^^
   --> config.json:146:13
    |
146 |                 \"type\": \"icp\"
    |                         ^^^^^"
    );
}

#[test]
fn examine_goes_on_and_joins_later_problems() {
    let text =
        DEFAULT.replacen("\"uid\": 0", "\"uid\": \"0\"", 1).replacen("\"cwd\": \"/\"", "\"cwd\": \"tmp\"", 1);
    let dir = Dir::with("examine", &text);
    let bundle = Bundle::examine(&dir.0, None).unwrap();
    let all = bundle.all(vec![
        Problem::new("process.cwd", "\"tmp\" is not absolute"),
        Problem::new("process.user", "follows from the other"),
        Problem::new("process.username", "does not"),
    ]);
    let all: Vec<String> = all.iter().map(Problem::to_string).collect();
    assert_eq!(
        all,
        [
            "process.username: does not",
            "process.user.uid: \"0\" is not a user id: 0 to 4294967294",
            "process.cwd: \"tmp\" is not absolute",
        ]
    );
    let shown = bundle.annotate(&bundle.all(Vec::new()), Severity::Error);
    assert_eq!(
        shown,
        "error: process.user.uid: \"0\" is not a user id: 0 to 4294967294
 --> config.json:6:11
  |
6 |             \"uid\": \"0\",
  |                    ^^^
  |
  = hint: write it without quotes: 0"
    );
}

#[test]
fn warnings_name_what_may_be_meant() {
    let text = edit(
        DEFAULT,
        &[
            ("/process/arguments", Some(json!([]))),
            ("/process/noNewPrivilege", Some(json!(true))),
            ("/process/noNewPrivileges", None),
            ("/Hostname", Some(json!("x"))),
            ("/hostname", None),
            ("/mounts/-", Some(json!({"destination": "/x", "option": ["ro"]}))),
            ("/linux/intelRdt", Some(json!({"enableCMT": true}))),
            ("/process/capabilities/bounding", Some(json!(["CAP_FOO"]))),
            ("/ociVersion", None),
        ],
    );
    let dir = Dir::with("warnings", &text);
    let bundle = Bundle::load(&dir.0, None).unwrap();
    let told: Vec<String> = bundle
        .warnings()
        .iter()
        .map(|problem| format!("{problem} | {}", problem.hint.as_deref().unwrap_or("")))
        .collect();
    assert_eq!(
        told,
        [
            "ociVersion: should be specified | such as \"1.2.0\"",
            "Hostname: unknown property is ignored | did you mean \"hostname\"?",
            "linux.intelRdt.enableCMT: is deprecated | enableMonitoring takes its place",
            "mounts[7].option: unknown property is ignored | did you mean \"options\"?",
            "process.arguments: unknown property is ignored | ",
            "process.capabilities.bounding[0]: unknown capability \"CAP_FOO\" is ignored | ",
            "process.noNewPrivilege: unknown property is ignored | did you mean \"noNewPrivileges\"?",
        ]
    );
    assert!(
        bundle
            .annotate(&bundle.warnings(), Severity::Warning)
            .starts_with("warning: ociVersion: should be specified")
    );
}
