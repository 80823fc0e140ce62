// SPDX-License-Identifier: Apache-2.0
//! Both compilers against the plain model, by an interpreter for the eBPF that we emit and a
//! model of what the kernel's v1 controller does with its lines.

mod interpreter;

use interpreter::run;
use oci_spec::runtime::LinuxDeviceCgroupBuilder;

use super::*;

/// xorshift64*: the same lists in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as u32 % n
    }

    /// Few numbers, so that rules meet.
    fn number(&mut self) -> Option<u32> {
        [None, Some(0), Some(1), Some(3), Some(136), Some(4095)][self.below(6) as usize]
    }

    fn rule(&mut self) -> Rule {
        Rule {
            allow: self.below(2) == 0,
            kind: [None, Some(Kind::Block), Some(Kind::Char)][self.below(3) as usize],
            major: self.number(),
            minor: self.number(),
            access: Access(if self.below(2) == 0 { 7 } else { 1 + self.below(7) }),
        }
    }

    fn rules(&mut self) -> Vec<Rule> {
        let n = self.below(12);
        (0..n).map(|_| self.rule()).collect()
    }
}

/// security/device_cgroup.c: a default, exceptions, and how an access meets them.
#[derive(Default)]
struct KernelV1 {
    allow: bool,
    exceptions: Vec<(char, Option<u32>, Option<u32>, u32)>,
}

impl KernelV1 {
    fn write(&mut self, file: &str, line: &str) {
        let allow = file == "devices.allow";
        if line == "a" {
            (self.allow, self.exceptions) = (allow, Vec::new());
            return;
        }
        assert_ne!(allow, self.allow, "a line that would take an exception away: {file} {line}");
        let mut words = line.split(' ');
        let kind = words.next().unwrap().chars().next().unwrap();
        let (major, minor) = words.next().unwrap().split_once(':').unwrap();
        let bits = words.next().unwrap().chars().map(|c| match c {
            'm' => 1,
            'r' => 2,
            'w' => 4,
            _ => panic!("{line}"),
        });
        self.exceptions.push((kind, major.parse().ok(), minor.parse().ok(), bits.sum()));
    }

    fn allowed(&self, kind: Kind, major: u32, minor: u32, access: Access) -> bool {
        let kind = if kind == Kind::Block { 'b' } else { 'c' };
        let mut matching = self.exceptions.iter().filter(|(k, ma, mi, _)| {
            *k == kind && ma.is_none_or(|it| it == major) && mi.is_none_or(|it| it == minor)
        });
        if self.allow {
            !matching.any(|(.., bits)| bits & access.0 != 0)
        } else {
            matching.any(|(.., bits)| access.0 & !bits == 0)
        }
    }
}

fn requests() -> impl Iterator<Item = (Kind, u32, u32, Access)> {
    const NUMBERS: [u32; 6] = [0, 1, 2, 3, 136, 4095];
    [Kind::Block, Kind::Char].into_iter().flat_map(|kind| {
        NUMBERS.into_iter().flat_map(move |major| {
            NUMBERS
                .into_iter()
                .flat_map(move |minor| (0..8).map(move |bits| (kind, major, minor, Access(bits))))
        })
    })
}

#[test]
fn program_agrees_with_the_model_on_10000_random_lists() {
    let mut random = Random(0x5007e);
    for _ in 0..10_000 {
        let mut rules = random.rules();
        if random.below(3) == 0 {
            rules.extend(defaults());
        }
        let program = program(&rules);
        for (kind, major, minor, access) in requests() {
            let expected = allowed(&rules, kind, major, minor, access);
            let found = run(&program, kind, major, minor, access);
            assert_eq!(found, expected, "{kind:?} {major}:{minor} {access:?} of {rules:#?}");
        }
    }
}

#[test]
fn v1_lines_agree_with_the_model_or_are_refused() {
    let mut random = Random(0xcafe);
    let mut refused = 0;
    for _ in 0..10_000 {
        let rules = random.rules();
        let Ok(lines) = lines(&rules) else {
            refused += 1;
            continue;
        };
        let mut kernel = KernelV1 { allow: true, ..KernelV1::default() };
        for (file, line) in &lines {
            kernel.write(file, line);
        }
        // The kernel asks its exceptions either for mknod(2) or for open(2), and for something.
        for (kind, major, minor, access) in requests().filter(|it| matches!(it.3.0, 1 | 2 | 4 | 6)) {
            let expected = allowed(&rules, kind, major, minor, access);
            let found = kernel.allowed(kind, major, minor, access);
            assert_eq!(found, expected, "{kind:?} {major}:{minor} {access:?} of {rules:#?} as {lines:#?}");
        }
    }
    assert!((1000..9000).contains(&refused), "{refused}");
}

#[test]
fn default_rules_are_the_usual_devices() {
    let rules = rules(&[], &mut Vec::new());
    let ask = |kind, major, minor, bits| allowed(&rules, kind, major, minor, Access(bits));
    for (major, minor) in
        [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1), (5, 2), (136, 77), (10, 200)]
    {
        assert!(ask(Kind::Char, major, minor, 7), "{major}:{minor}");
    }
    assert!(!ask(Kind::Char, 1, 1, 2), "/dev/mem");
    assert!(!ask(Kind::Char, 10, 229, 4), "/dev/fuse");
    assert!(!ask(Kind::Block, 8, 0, 2), "/dev/sda");
    assert!(ask(Kind::Block, 8, 0, 1) && ask(Kind::Char, 1, 1, 1), "mknod");
    let text: Vec<String> =
        lines(&rules).unwrap().into_iter().map(|(file, line)| format!("{file} {line}")).collect();
    assert_eq!(text.len(), 13);
    assert_eq!(text[0], "devices.deny a");
    assert_eq!(text[1], "devices.allow b *:* m");
    assert_eq!(text[11], "devices.allow c 136:* rwm");
    let program = program(&rules);
    assert!(program.0.len() <= 32, "{} instructions", program.0.len());
}

#[test]
fn a_denied_default_comes_back_and_a_privileged_list_allows_all() {
    let deny_null = LinuxDeviceCgroupBuilder::default()
        .allow(false)
        .typ(LinuxDeviceType::C)
        .major(1)
        .minor(3)
        .access("rwm")
        .build()
        .unwrap();
    let everything = LinuxDeviceCgroupBuilder::default().allow(true).access("rwm").build().unwrap();
    let mut problems = Vec::new();
    let list = rules(&[everything.clone(), deny_null.clone()], &mut problems);
    assert!(allowed(&list, Kind::Char, 1, 3, Access::ALL));
    assert!(!all_allowed(&list));
    let list = rules(&[deny_null, everything], &mut problems);
    assert!(all_allowed(&list));
    assert_eq!(list[0].to_string(), "allow a *:* rwm");
    assert!(problems.is_empty());
    assert!(!all_allowed(&rules(&[], &mut problems)));
}

#[test]
fn refuses_what_is_no_rule() {
    let rule = |text: &str| {
        let rule: LinuxDeviceCgroup = serde_json::from_str(text).unwrap();
        let mut problems = Vec::new();
        assert!(rules(&[rule], &mut problems).is_empty());
        problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ")
    };
    assert_eq!(
        rule(r#"{"allow": true, "type": "p", "major": -2, "minor": 1048576, "access": "rx"}"#),
        "linux.resources.devices[0].type: \"p\": a fifo has no device number, so there is no rule for it; \
         linux.resources.devices[0].major: -2 is not from 0 to 4095; \
         linux.resources.devices[0].minor: 1048576 is not from 0 to 1048575; \
         linux.resources.devices[0].access: \"rx\": 'x' is not an access"
    );
    assert_eq!(rule(r#"{"allow": true, "access": ""}"#), "linux.resources.devices[0].access: is empty");
}

#[test]
fn v1_refuses_a_hole_in_a_wildcard() {
    let rule = |allow, minor, bits| Rule {
        allow,
        kind: Some(Kind::Char),
        major: Some(1),
        minor,
        access: Access(bits),
    };
    let problem = lines(&[rule(true, None, 7), rule(false, Some(3), 4)]).unwrap_err();
    assert_eq!(
        problem.to_string(),
        "linux.resources.devices: \"deny c 1:3 w\" takes a part out of \"allow c 1:* rwm\""
    );
    let ok = lines(&[rule(true, Some(3), 7), rule(false, None, 4)]).unwrap();
    assert_eq!(ok[1], ("devices.allow", "c 1:3 rm".to_owned()));
}

#[test]
fn v1_keeps_a_device_apart_from_the_right_to_make_any() {
    let only = |minor, access| Rule { allow: true, kind: Some(Kind::Block), major: None, minor, access };
    let rules = [only(None, Access::MKNOD), only(Some(20), Access::READ)];
    let ok = lines(&rules).unwrap();
    assert_eq!(ok[1..].iter().map(|line| line.1.as_str()).collect::<Vec<_>>(), ["b *:* m", "b *:20 r"]);
}

#[test]
fn encodes_as_the_kernel_reads() {
    let insn = Insn { code: JEQ, dst: 6, src: 1, off: -2, imm: 0x0010_0003 };
    assert_eq!(insn.encode().to_le_bytes(), [0x16, 0x16, 0xfe, 0xff, 0x03, 0x00, 0x10, 0x00]);
    const JEQ: u8 = 0x16;
}
