// SPDX-License-Identifier: Apache-2.0
//! Ours against libseccomp's, and against a plain reading of the profile: the same calls, the
//! same verdicts.
//!
//! libseccomp 2.5 is right about each profile that is compared with it here. Beyond that it is
//! not an oracle: where several rules of one call compare with `<` or `>`, its tree of 32-bit
//! halves loses some (of `<= 7` and `<= 0x100000000` neither holds for 40), and rules with
//! several conditions each can keep it busy for ever. There the model alone is asked.

mod interpreter;
mod model;
mod oracle;
mod problems;
mod profiles;

use interpreter::{Call, check, run};
use model::Model;
use oci_spec::runtime::{Arch, LinuxSeccomp};
use profiles::{Kind, Random};

use super::*;

const X86_64: u32 = 0xc000_003e;
const I386: u32 = 0x4000_0003;
const ENOSYS: u32 = SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
const KILL: u32 = SECCOMP_RET_KILL_THREAD;

/// What dockerd hands over for a container with its default capabilities on x86_64.
fn docker() -> LinuxSeccomp {
    from_json(include_str!("../../../../tests/data/docker-seccomp.json"))
}

fn from_json(json: &str) -> LinuxSeccomp {
    serde_json::from_str(json).unwrap()
}

fn compiled(profile: &LinuxSeccomp) -> Filter {
    let mut problems = Vec::new();
    let filter = plan(profile, &Annotations::default(), &mut problems);
    assert_eq!(problems, []);
    let filter = filter.unwrap();
    check(&filter.program);
    filter
}

fn abis(profile: &LinuxSeccomp) -> Vec<arch::Abi> {
    arch::of(profile.architectures().as_deref().unwrap_or_default(), &mut Vec::new())
}

/// Every number that a profile names and its neighbours, and the ends of all ranges.
fn numbers(profile: &LinuxSeccomp, abi: &arch::Abi) -> Vec<u32> {
    let mut numbers =
        vec![0, 1, 1023, 0x3fff_ffff, 0x4000_0000, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX];
    let names = profile.syscalls().iter().flatten().flat_map(|syscall| syscall.names());
    for (number, _) in names.flat_map(|name| model::entries(abi, name)) {
        numbers.extend([number.wrapping_sub(1), number, number.wrapping_add(1)]);
    }
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}

/// Every value that a profile compares with and what is next to it.
fn values(profile: &LinuxSeccomp) -> Vec<u64> {
    let mut values = vec![0];
    let syscalls = profile.syscalls().iter().flatten();
    for arg in syscalls.flat_map(|syscall| syscall.args().iter().flatten()) {
        for value in [Some(arg.value()), arg.value_two()].into_iter().flatten() {
            values.extend([value, value.wrapping_add(1), value.wrapping_sub(1), value ^ (1 << 32)]);
            values.extend([value & 0xffff_ffff, value ^ (1 << 31)]);
        }
    }
    values
}

fn arguments(random: &mut Random, values: &[u64]) -> [u64; 6] {
    let mut args = [0; 6].map(|_: u64| if random.one_in(3) { random.value() } else { random.of(values) });
    if random.one_in(2) {
        // The calls behind socketcall and ipc.
        args[0] = random.below(26) as u64;
    }
    args
}

/// Compares random profiles of a kind. SOUTE_SECCOMP_PROFILES says how many times as many.
fn compare(kind: Kind, profiles: u64, seed: u64) {
    let times = std::env::var("SOUTE_SECCOMP_PROFILES").map_or(1, |times| times.parse().unwrap());
    let docker = docker();
    let mut names: Vec<String> =
        docker.syscalls().iter().flatten().flat_map(|s| s.names()).cloned().collect();
    names.sort();
    names.dedup();
    if kind == Kind::One {
        // Several calls behind socketcall or ipc would be several rules of that one.
        let x86 = arch::ALL.iter().find(|abi| abi.spec() == Arch::ScmpArchX86).unwrap();
        let one = |name: &String| matches!(name.as_str(), "sendto" | "shmat");
        names.retain(|name| name != "socketcall" && name != "ipc");
        names.retain(|name| one(name) || model::entries(x86, name).all(|(_, through)| through.is_none()));
    }
    let mut random = Random(seed);
    let mut compared = 0;
    for _ in 0..profiles * times {
        let profile = profiles::profile(&mut random, &names, kind);
        let ours = compiled(&profile).program;
        let theirs = if kind == Kind::Any { None } else { oracle::program(&profile) };
        compared += u64::from(theirs.is_some());
        let abis = abis(&profile);
        let model = Model::new(&profile, &abis);
        let values = values(&profile);
        for abi in &abis {
            for number in numbers(&profile, abi) {
                for _ in 0..if kind == Kind::Plain { 2 } else { 8 } {
                    let args = arguments(&mut random, &values);
                    let call = Call { number, arch: abi.audit(), args };
                    let (verdict, newer) = model.verdict(&call);
                    let our = run(&ours, &call);
                    assert_eq!(our, verdict, "{our:#x} is not {verdict:#x}: {call:#x?} {profile:#x?}");
                    if let (Some(theirs), false) = (&theirs, newer) {
                        let their = run(theirs, &call);
                        assert_eq!(our, their, "{our:#x} is not {their:#x}: {call:#x?} {profile:#x?}");
                    }
                }
            }
        }
    }
    assert!(kind == Kind::Any || compared > profiles * times * 9 / 10, "only {compared} compared");
}

#[test]
fn random_profiles_without_conditions_agree() {
    compare(Kind::Plain, 600, 1);
}

#[test]
fn random_profiles_with_a_rule_a_call_agree() {
    compare(Kind::One, 1000, 2);
}

#[test]
fn random_profiles_with_equalities_agree() {
    compare(Kind::Equal, 1000, 3);
}

#[test]
fn random_profiles_of_any_kind_are_read_rule_by_rule() {
    compare(Kind::Any, 1000, 4);
}

/// All numbers, all architectures, the values that the profile looks at: equal but for newer
/// calls.
#[test]
fn dockers_profile_agrees_everywhere() {
    let profile = docker();
    let (ours, theirs) = (compiled(&profile).program, oracle::program(&profile).unwrap());
    let model = Model::new(&profile, &abis(&profile));
    let mut values: Vec<u64> = values(&profile);
    values.extend([
        1,
        2,
        17,
        24,
        0xffff_ffff,
        0x1_0000_0000,
        u64::MAX,
        0x7e02_0000,
        0x1000_0000,
        0x0001_0000,
    ]);
    let numbers = || {
        let edges = [0x3fff_ffff, 0x7fff_ffff, 0x8000_0000, 0xbfff_ffff, 0xc000_0000, u32::MAX - 1, u32::MAX];
        (0..1100).chain(X32..X32 + 1100).chain(edges)
    };
    let mut newer_calls = 0;
    for arch in [X86_64, I386, 0, 0xc000_00b7, 0x4000_0028, X86_64 - 1, u32::MAX] {
        for number in numbers() {
            for value in &values {
                let call = Call { number, arch, args: [*value, 0, 0, 0, 0, 0] };
                let our = run(&ours, &call);
                let (verdict, newer) = model.verdict(&call);
                assert_eq!(our, verdict, "{call:#x?}");
                if newer {
                    newer_calls += 1;
                    assert_eq!(our, ENOSYS, "{call:#x?}");
                } else {
                    assert_eq!(our, run(&theirs, &call), "{call:#x?}");
                }
            }
        }
    }
    assert!(newer_calls > 0);
    assert!(ours.len() < 300, "{} instructions, libseccomp has {}", ours.len(), theirs.len());
}

const X32: u32 = arch::X32_BIT;

#[test]
fn newer_calls_are_not_implemented_rather_than_forbidden() {
    let verdict = |json: &str, arch, number| {
        run(&compiled(&from_json(json)).program, &Call { number, arch, args: [0; 6] })
    };
    let with = |default: &str, architectures: &str| {
        format!(
            r#"{{"defaultAction": "{default}", "architectures": [{architectures}],
                "syscalls": [{{"names": ["read", "openat"], "action": "SCMP_ACT_ALLOW"}},
                             {{"names": ["clone3"], "action": "{default}"}}]}}"#
        )
    };
    let clone3 = 435;
    let eperm = SECCOMP_RET_ERRNO | libc::EPERM as u32;
    for (default, refusal) in [
        ("SCMP_ACT_ERRNO", eperm),
        ("SCMP_ACT_KILL_PROCESS", SECCOMP_RET_KILL_PROCESS),
        ("SCMP_ACT_TRAP", SECCOMP_RET_TRAP),
    ] {
        let json = with(default, "");
        let verdict = |number| verdict(&json, X86_64, number);
        assert_eq!(verdict(0), SECCOMP_RET_ALLOW);
        assert_eq!(verdict(1), refusal);
        // It has no effect, but it is known.
        assert_eq!(verdict(clone3), refusal);
        assert_eq!(verdict(clone3 + 1), ENOSYS);
        assert_eq!(verdict(X32 - 1), ENOSYS);
        assert_eq!(verdict(X32), KILL);
        assert_eq!(verdict(u32::MAX), refusal);
    }
    let json = with("SCMP_ACT_ERRNO", r#""SCMP_ARCH_X32", "SCMP_ARCH_X86""#);
    assert_eq!(verdict(&json, X86_64, X32), SECCOMP_RET_ALLOW);
    assert_eq!(verdict(&json, X86_64, X32 + 1), eperm);
    assert_eq!(verdict(&json, X86_64, X32 + clone3 + 1), ENOSYS);
    assert_eq!(verdict(&json, I386, clone3), eperm);
    assert_eq!(verdict(&json, I386, clone3 + 1), ENOSYS);
    for default in ["SCMP_ACT_LOG", "SCMP_ACT_TRACE"] {
        assert_ne!(verdict(&with(default, ""), X86_64, clone3 + 1), ENOSYS);
    }
}

#[test]
fn socketcall_and_ipc_are_what_is_behind_them() {
    let program = compiled(&from_json(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["connect", "shmget"], "action": "SCMP_ACT_KILL_PROCESS"},
                         {"names": ["socket"], "action": "SCMP_ACT_TRAP",
                          "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}]}]}"#,
    ))
    .program;
    let verdict = |number, first| run(&program, &Call { number, arch: I386, args: [first, 40, 0, 0, 0, 0] });
    let (socketcall, ipc) = (102, 117);
    assert_eq!(verdict(socketcall, 3), SECCOMP_RET_KILL_PROCESS);
    assert_eq!(verdict(socketcall, 4), SECCOMP_RET_ALLOW);
    assert_eq!(verdict(362, 0), SECCOMP_RET_KILL_PROCESS);
    assert_eq!(verdict(ipc, 23), SECCOMP_RET_KILL_PROCESS);
    assert_eq!(verdict(395, 0), SECCOMP_RET_KILL_PROCESS);
    // Behind socketcall the family cannot be seen, so every socket is meant.
    assert_eq!(verdict(socketcall, 1), SECCOMP_RET_TRAP);
    assert_eq!(verdict(359, 40), SECCOMP_RET_TRAP);
    assert_eq!(verdict(359, 41), SECCOMP_RET_ALLOW);
}

#[test]
fn every_architecture_of_this_byte_order_has_its_own_numbers() {
    let mut profile = docker();
    let all: Vec<Arch> = arch::ALL.iter().filter(|abi| abi.known()).map(|abi| abi.spec()).collect();
    profile.set_architectures(Some(all));
    let program = compiled(&profile).program;
    let abis = abis(&profile);
    let model = Model::new(&profile, &abis);
    assert!(abis.len() >= 8);
    for abi in &abis {
        for number in numbers(&profile, abi) {
            let call = Call { number, arch: abi.audit(), args: [0; 6] };
            assert_eq!(run(&program, &call), model.verdict(&call).0, "{call:#x?}");
        }
    }
}

#[test]
fn a_program_survives_a_file() {
    let program = compiled(&docker()).program;
    let bytes = to_bytes(&program);
    assert_eq!(bytes.len(), program.len() * 8);
    assert_eq!(to_bytes(&from_bytes(&bytes).unwrap()), bytes);
    assert!(from_bytes(&[]).is_none());
    assert!(from_bytes(&bytes[1..]).is_none());
    assert!(from_bytes(&vec![0; 8 * 4097]).is_none());
}

/// `cargo test --release -p libcontainer seccomp -- --ignored --nocapture`
#[test]
#[ignore = "measures; says something in an optimised build only"]
fn time_of_dockers_profile() {
    let profile = docker();
    let least = |act: &dyn Fn()| {
        let time = |_| {
            let start = std::time::Instant::now();
            act();
            start.elapsed()
        };
        (0..2000).map(time).min().unwrap()
    };
    let abis = abis(&profile);
    let names: Vec<&String> = profile.syscalls().iter().flatten().flat_map(|s| s.names()).collect();
    let resolve = || {
        let mut cursor = Cursor::default();
        for name in names.iter().map(|name| Name::new(name, &mut cursor)) {
            for abi in &abis {
                std::hint::black_box(abi.entries(&name));
            }
        }
    };
    let whole = || {
        std::hint::black_box(plan(&profile, &Annotations::default(), &mut Vec::new()));
    };
    println!("{} names on {} architectures: {:?}", names.len(), abis.len(), least(&resolve));
    println!("all, to {} instructions: {:?}", compiled(&profile).program.len(), least(&whole));
    let start = std::time::Instant::now();
    whole();
    println!("the first time of a fresh moment: {:?}", start.elapsed());
    let start = std::time::Instant::now();
    let theirs = oracle::program(&profile).unwrap().len();
    println!("libseccomp, to {theirs} instructions: {:?}", start.elapsed());
}
