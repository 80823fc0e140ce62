// SPDX-License-Identifier: Apache-2.0
//! Profiles: what the compiler makes is a filter that the kernel takes, and it comes to a verdict that
//! the profile has.
#![no_main]

#[path = "../../../crates/libcontainer/src/plan/seccomp/tests/interpreter.rs"]
mod interpreter;

/// Where the interpreter looks for what it runs.
mod plan {
    pub use libcontainer::plan::seccomp;
}

use interpreter::{Call, check, run};
use libcontainer::plan::annotations::Annotations;
use libcontainer::plan::seccomp::plan;
use libfuzzer_sys::fuzz_target;
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use serde_json::{Value, json};
use soute_fuzz::Bytes;

const ACTIONS: [&str; 9] = [
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRACE",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_LOG",
    "SCMP_ACT_NOTIFY",
];
const ARCHS: [&str; 8] = [
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_PPC64LE",
];
const OPERATORS: [&str; 7] = [
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];
const NAMES: [&str; 18] = [
    "read",
    "write",
    "open",
    "mmap",
    "socket",
    "connect",
    "semget",
    "shmat",
    "ipc",
    "socketcall",
    "clone",
    "clone3",
    "personality",
    "chown",
    "chown32",
    "openat2",
    "no_such_call",
    "",
];
const FLAGS: [&str; 4] = [
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
];

fn profile(bytes: &mut Bytes) -> Value {
    let mut profile = json!({ "defaultAction": bytes.pick(&ACTIONS) });
    if bytes.byte() % 4 == 0 {
        profile["defaultErrnoRet"] = json!(bytes.edge() as u32 % 6000);
    }
    let some = |bytes: &mut Bytes, most: u8, all: &[&'static str]| -> Vec<&'static str> {
        (0..bytes.byte() % (most + 1)).map(|_| bytes.pick(all)).collect()
    };
    profile["architectures"] = json!(some(bytes, 3, &ARCHS));
    profile["flags"] = json!(some(bytes, 2, &FLAGS));
    if bytes.byte() % 2 == 0 {
        profile["listenerPath"] = json!("/run/agent");
    }
    let mut syscalls = Vec::new();
    while !bytes.done() && syscalls.len() < 400 {
        let mut syscall = json!({ "names": some(bytes, 4, &NAMES), "action": bytes.pick(&ACTIONS) });
        if bytes.byte() % 8 == 0 {
            syscall["errnoRet"] = json!(bytes.edge() as u32 % 6000);
        }
        let args: Vec<Value> = (0..bytes.byte() % 4)
            .map(|_| {
                json!({
                    "index": bytes.byte() % 7,
                    "value": bytes.edge(),
                    "valueTwo": bytes.edge(),
                    "op": bytes.pick(&OPERATORS),
                })
            })
            .collect();
        syscall["args"] = json!(args);
        syscalls.push(syscall);
    }
    profile["syscalls"] = json!(syscalls);
    profile
}

/// The kernel's values of what a profile's actions may come to, without their data.
fn verdicts(profile: &LinuxSeccomp) -> Vec<u32> {
    let value = |action: LinuxSeccompAction| action.as_u32(Some(0)) & 0xffff_0000;
    // A kill for architectures that are not named; ENOSYS for newer calls.
    let always = [0, 0x0005_0000, value(profile.default_action())];
    always.into_iter().chain(profile.syscalls().iter().flatten().map(|call| value(call.action()))).collect()
}

fuzz_target!(|data: &[u8]| {
    let profile: LinuxSeccomp = if data.first() == Some(&b'{') {
        let Ok(profile) = serde_json::from_slice(data) else { return };
        profile
    } else {
        serde_json::from_value(profile(&mut Bytes(data))).expect("of the specification's form")
    };
    let mut problems = Vec::new();
    let Some(filter) = plan(&profile, &Annotations::default(), &mut problems) else {
        return soute_fuzz::named(&problems);
    };
    check(&filter.program);
    let verdicts = verdicts(&profile);
    for arch in [0xc000_003e, 0x4000_0003, 0x4000_0028, 0xc000_00b7, 0] {
        for number in [0, 1, 2, 41, 56, 102, 117, 135, 437, 0x4000_0000, 0x4000_0029, u32::MAX] {
            for arg in [0, 7, 8, 1 << 32, (1 << 32) + 7, u64::MAX] {
                let verdict = run(&filter.program, &Call { number, arch, args: [arg; 6] });
                assert!(
                    verdicts.contains(&(verdict & 0xffff_0000)),
                    "{arch:#x} {number} {arg:#x}: {verdict:#x}"
                );
            }
        }
    }
});
