// SPDX-License-Identifier: Apache-2.0
//! The lines by which engines checkpoint and restore.

use libcontainer::{CgroupMode, CheckpointRequest, CreateRequest, CriuFlags, NetworkLock, RestoreRequest};

use super::{bundle, path, read, refusal};
use crate::commands::{checkpoint::Checkpoint, restore::Restore};

fn criu() -> CriuFlags {
    CriuFlags {
        image_path: "/i".into(),
        work_path: path("/w"),
        tcp_established: false,
        ext_unix_sk: false,
        shell_job: false,
        file_locks: false,
        auto_dedup: false,
        lazy_pages: false,
        manage_cgroups: CgroupMode::Default,
        network_lock: None,
    }
}

#[test]
fn checkpoint() {
    let plain = CheckpointRequest {
        id: "web".into(),
        criu: criu(),
        parent_path: None,
        leave_running: false,
        pre_dump: false,
        status_fd: None,
        page_server: None,
        tcp_skip_in_flight: false,
        link_remap: false,
    };
    let locks = CriuFlags { file_locks: true, ..criu() };
    let all = CriuFlags {
        tcp_established: true,
        ext_unix_sk: true,
        shell_job: true,
        auto_dedup: true,
        ..locks.clone()
    };
    for (line, request) in [
        // CRI-O
        (
            "--root /r checkpoint --file-locks --image-path /i --work-path /w --leave-running web",
            CheckpointRequest { criu: locks.clone(), leave_running: true, ..plain.clone() },
        ),
        // podman
        (
            "checkpoint --image-path /i --work-path /w --pre-dump web",
            CheckpointRequest { pre_dump: true, ..plain.clone() },
        ),
        (
            "checkpoint --image-path /i --work-path /w --file-locks --parent-path ../pre web",
            CheckpointRequest { criu: locks, parent_path: path("../pre"), ..plain.clone() },
        ),
        // containerd
        (
            "--root /r --log /l --log-format json checkpoint --image-path /i --work-path /w --parent-path p \
             --tcp-established --ext-unix-sk --shell-job --file-locks --empty-ns network --auto-dedup web",
            CheckpointRequest { criu: all, parent_path: path("p"), ..plain.clone() },
        ),
        (
            "checkpoint --image-path /i --work-path /w --lazy-pages --status-fd 3 --page-server 10.0.0.1:27 \
             --manage-cgroups-mode strict --leave-running web",
            CheckpointRequest {
                criu: CriuFlags { lazy_pages: true, manage_cgroups: CgroupMode::Strict, ..criu() },
                status_fd: Some(3),
                page_server: Some(("10.0.0.1".into(), 27)),
                leave_running: true,
                ..plain.clone()
            },
        ),
        // people
        (
            "checkpoint -image-path=/i -work-path /w --page-server [::1]:27 --tcp-skip-in-flight --link-remap \
             --network-lock nftables --status-fd -1 web",
            CheckpointRequest {
                criu: CriuFlags { network_lock: Some(NetworkLock::Nftables), ..criu() },
                page_server: Some(("::1".into(), 27)),
                tcp_skip_in_flight: true,
                link_remap: true,
                ..plain
            },
        ),
    ] {
        assert_eq!(read::<Checkpoint>(line).1.request().unwrap(), request, "{line}");
    }
    let here = std::env::current_dir().unwrap().join("checkpoint");
    assert_eq!(read::<Checkpoint>("checkpoint web").1.request().unwrap().criu.image_path, here);
    for flag in ["--page-server :1", "--page-server a", "--page-server ::1:2", "--empty-ns pid"] {
        let line = format!("checkpoint {flag} web");
        assert!(read::<Checkpoint>(&line).1.request().is_err(), "{line}");
    }
    for flag in ["--manage-cgroups-mode hard", "--network-lock no"] {
        let line = format!("checkpoint {flag} web");
        assert!(read::<Checkpoint>(&line).1.request().unwrap_err().message().contains("invalid"), "{line}");
    }
}

#[test]
fn restore() {
    let plain = RestoreRequest {
        create: bundle(),
        criu: criu(),
        detach: true,
        no_subreaper: false,
        tcp_close: false,
        lsm_profile: None,
        lsm_mount_context: None,
    };
    for (line, request) in [
        // containerd
        (
            "--root /r --log /l --log-format json restore --image-path /i --work-path /w --detach --pid-file \
             /b/init.pid --console-socket /s --no-pivot -no-subreaper --bundle /b web",
            RestoreRequest {
                create: CreateRequest { console_socket: path("/s"), no_pivot: true, ..bundle() },
                no_subreaper: true,
                ..plain.clone()
            },
        ),
        // conmon
        (
            "restore --bundle /b --pid-file /b/init.pid --no-new-keyring --detach --image-path /i --work-path /w \
             --tcp-established --tcp-close --file-locks --lsm-profile=apparmor:x --lsm-mount-context=c web",
            RestoreRequest {
                create: CreateRequest { no_new_keyring: true, ..bundle() },
                criu: CriuFlags { tcp_established: true, file_locks: true, ..criu() },
                tcp_close: true,
                lsm_profile: Some("apparmor:x".into()),
                lsm_mount_context: Some("c".into()),
                ..plain.clone()
            },
        ),
        // people
        ("restore -d -b /b --pid-file /b/init.pid --image-path /i --work-path /w web", plain),
    ] {
        assert_eq!(read::<Restore>(line).1.request().unwrap(), request, "{line}");
    }
    // podman asks in this way whether the flag is there.
    assert!(refusal::<Restore>("restore --lsm-mount-context").contains("flag needs an argument"));
}
