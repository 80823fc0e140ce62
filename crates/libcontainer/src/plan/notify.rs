// SPDX-License-Identifier: Apache-2.0
//! The caller is a service that waits for word of its readiness (sd_notify(3)): so the payload gets
//! a socket to give it on, in a directory of the container's state.

use std::path::PathBuf;

use linux_raw_sys::general as raw;

use super::mounts::{Flags, Links, Mount, Opener, What};
use super::process::Payload;
use super::propagation::Propagation;

/// Where the step and the source come from.
pub const ORIGIN: &str = "NOTIFY_SOCKET";
/// The directory in the container.
const INSIDE: &str = "/run/notify";
/// The socket in it.
pub const SOCKET: &str = "notify.sock";

/// The mount of that directory: to be seen, not to be changed.
pub(super) fn mount(dir: PathBuf, opener: Opener, index: usize) -> Mount {
    let set =
        raw::MOUNT_ATTR_RDONLY | raw::MOUNT_ATTR_NOSUID | raw::MOUNT_ATTR_NODEV | raw::MOUNT_ATTR_NOEXEC;
    Mount {
        target: INSIDE.into(),
        target_itself: false,
        what: What::Bind {
            source: dir,
            recursive: false,
            links: Links::Followed,
            idmap: None,
            opener,
            index,
        },
        attr: Flags { set: set.into(), clear: 0 },
        recursive: Flags::default(),
        propagation: vec![Propagation { flag: libc::MS_PRIVATE, recursive: false }],
    }
}

/// The payload learns where its socket is.
pub(super) fn tell(payload: &mut Payload) {
    payload.set_env("NOTIFY_SOCKET", &format!("{INSIDE}/{SOCKET}"));
}
