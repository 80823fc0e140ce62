// SPDX-License-Identifier: Apache-2.0
//! What a checkpoint leaves out, and what must be there before a restore.

use std::path::Path;

use libcontainer::plan::Plan;
use libcontainer::plan::external::{External, Mountpoint};
use serde_json::json;

use crate::bundles::Case;

fn bound(case: Case, source: &str, destination: &str) -> Case {
    let mount = json!({ "destination": destination, "type": "bind", "source": source, "options": ["rbind"] });
    case.with("/mounts/-", mount)
}

/// `name <- source`, and the place where it has another name.
fn externals(plan: &Plan) -> Vec<String> {
    let tell = |External { place, name, source }: &External| match place == Path::new(name) {
        true => format!("{name} <- {}", source.display()),
        false => format!("{name} <- {} on {}", source.display(), place.display()),
    };
    plan.external_mounts().iter().map(tell).collect()
}

#[test]
fn binds_have_the_names_of_their_places_and_covers_have_one() {
    let case = bound(bound(Case::small("binds"), "/srv/data", "/data"), "secrets", "/run/secrets");
    let case = case.with("/linux/maskedPaths", json!(["/proc/kcore", "/sys/firmware"]));
    let expected = [
        "/data <- /srv/data",
        "/run/secrets <- /bundles/web/secrets",
        "/dev/null <- /dev/null on /proc/kcore",
        "/dev/null <- /dev/null on /sys/firmware",
    ];
    let plan = case.plan();
    assert_eq!(externals(&plan), expected);
    assert!(plan.external_mounts().iter().skip(2).all(External::is_cover));
}

#[test]
fn devices_that_are_bound_are_left_out_and_others_are_not() {
    let asked = json!([{ "type": "c", "path": "/dev/fuse", "major": 10, "minor": 229 }]);
    let plan = Case::small("devices").with("/linux/devices", asked.clone()).plan();
    assert_eq!(externals(&plan), [""; 0]);
    let case = crate::bundles::user_namespace(Case::small("bound-devices")).with("/linux/devices", asked);
    let found = externals(&case.plan());
    assert!(found.contains(&"/dev/fuse <- /dev/fuse".to_owned()), "{found:?}");
    let null = case.plan().external_mounts().into_iter().find(|mount| mount.place == Path::new("/dev/null"));
    assert!(null.is_some_and(|mount| !mount.is_cover()), "a device of that name is no cover");
}

#[test]
fn places_are_made_in_the_image_or_in_the_tree_that_is_bound_there() {
    let tmpfs = json!({ "destination": "/run", "type": "tmpfs", "source": "tmpfs" });
    let case = Case::small("places").with("/mounts/-", tmpfs);
    let case =
        bound(bound(bound(case, "/srv/data", "/data"), "/srv/log", "/data/var/log"), "/srv/in-run", "/run/x");
    let case = bound(bound(case, "/srv/other", "/data"), "/srv/deep", "/data/deep");
    let tell = |Mountpoint { base, path, source }: &Mountpoint| {
        let source = source.as_ref().map_or_else(|| "a filesystem".into(), |s| s.display().to_string());
        format!("{} in {}: {source}", path.display(), base.display())
    };
    let expected = [
        "proc in /bundles/web/rootfs: a filesystem",
        "run in /bundles/web/rootfs: a filesystem",
        "data in /bundles/web/rootfs: /srv/data",
        "var/log in /srv/data: /srv/log",
        // What is in the tmpfs of /run comes back with it.
        " in /srv/data: /srv/other",
        "deep in /srv/other: /srv/deep",
    ];
    let found: Vec<String> = case.plan().mountpoints().iter().map(tell).collect();
    assert_eq!(found, expected);
}
