// SPDX-License-Identifier: Apache-2.0
//! Mounts that show other owners than the files have (mount_setattr(2), ID-mapped mounts).

use oci_spec::runtime;

use super::idword::WordRange;
use super::options::Options;
use crate::plan::namespaces::{Kind, Namespaces, Range, checked_ranges};
use crate::plan::problem::Problem;

/// Which owners a mount shows. Of each range `container` is the id that the filesystem has, `host`
/// the one of the caller's user namespace that is shown for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User ids.
    pub uid: Vec<Range>,
    /// Group ids.
    pub gid: Vec<Range>,
}

/// The mapping of one mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdMap {
    /// Of all that is mounted below the source too.
    pub recursive: bool,
    /// None: what the container's own user namespace has.
    pub ids: Option<Ids>,
}

/// What the property, the words and the container's own user namespace say together. Mappings
/// without a word ask for it all the same.
pub(super) fn plan(
    property: &str,
    mount: &runtime::Mount,
    options: &Options,
    namespaces: &Namespaces,
    problems: &mut Vec<Problem>,
) -> Option<IdMap> {
    let list = |list: &Option<Vec<runtime::LinuxIdMapping>>| -> Vec<Range> {
        let range = |m: &runtime::LinuxIdMapping| Range {
            container: m.container_id(),
            host: m.host_id(),
            size: m.size(),
        };
        list.iter().flatten().map(range).collect()
    };
    let (uid, gid) = (list(mount.uid_mappings()), list(mount.gid_mappings()));
    let named = !uid.is_empty() || !gid.is_empty();
    if !named && options.idmap.is_none() {
        return None;
    }
    for (name, this, other) in [("uidMappings", &uid, &gid), ("gidMappings", &gid, &uid)] {
        if this.is_empty() && !other.is_empty() {
            problems.push(
                Problem::new(format!("{property}.{name}"), "must be given together with the other mappings")
                    .hint("a mount maps users and groups, or neither"),
            );
            return None;
        }
    }
    let recursive = options.idmap.unwrap_or(false);
    let ids = match (named, &options.ids) {
        (true, _) => Ids {
            uid: checked_ranges(&format!("{property}.uidMappings"), uid, problems),
            gid: checked_ranges(&format!("{property}.gidMappings"), gid, problems),
        },
        (false, Some((uid, gid))) => {
            let at = format!("{property}.options");
            Ids {
                uid: checked_ranges(&at, absolute(&at, uid, &namespaces.uid_map, problems), problems),
                gid: checked_ranges(&at, absolute(&at, gid, &namespaces.gid_map, problems), problems),
            }
        }
        (false, None) if namespaces.has(Kind::User) => return Some(IdMap { recursive, ids: None }),
        (false, None) => {
            problems.push(
                Problem::new(format!("{property}.options"), "id mapping needs mappings")
                    .hint("give uidMappings and gidMappings, or the container a user namespace"),
            );
            return None;
        }
    };
    // The container's own user namespace is there already: no other has to be made for the mount.
    let same = namespaces.makes(Kind::User) && ids.uid == namespaces.uid_map && ids.gid == namespaces.gid_map;
    Some(IdMap { recursive, ids: (!same).then_some(ids) })
}

/// Ids of the container become those of the caller.
fn absolute(property: &str, ranges: &[WordRange], map: &[Range], problems: &mut Vec<Problem>) -> Vec<Range> {
    let mut all = Vec::with_capacity(ranges.len());
    for WordRange { range, relative: is_relative } in ranges {
        let mut range = *range;
        if *is_relative {
            let last = range.host.saturating_add(range.size.saturating_sub(1));
            let ends = (Namespaces::host_id(map, range.host), Namespaces::host_id(map, last));
            match ends {
                // Both ends in one range: nothing between them is elsewhere.
                (Some(first), Some(end)) if end.checked_sub(first) == last.checked_sub(range.host) => {
                    range.host = first;
                }
                _ => {
                    let says = format!("the container has no ids {} to {last} in one range", range.host);
                    problems.push(Problem::new(property, says));
                    continue;
                }
            }
        }
        all.push(range);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(container: u32, host: u32, size: u32) -> Range {
        Range { container, host, size }
    }

    #[test]
    fn ids_of_the_container_are_counted_from_its_own_map() {
        let map = [range(0, 0, 1), range(1, 2, 1000)];
        let relative = |range| [WordRange { range, relative: true }];
        let mut problems = Vec::new();
        assert_eq!(absolute("p", &relative(range(1, 3, 10)), &map, &mut problems), [range(1, 4, 10)]);
        assert!(problems.is_empty());
        assert_eq!(absolute("p", &relative(range(0, 0, 10)), &map, &mut problems), []);
        assert_eq!(problems.len(), 1);
    }
}
