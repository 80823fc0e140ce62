// SPDX-License-Identifier: Apache-2.0
//! Architectures and system call numbers: which calling conventions a filter must know, and
//! which numbers a name has in each of them.
//!
//! Names are libseccomp's; a name that it does not know, or that an architecture does not
//! have, is skipped. Two old families enter the kernel through one number each on some
//! architectures: `socketcall(2)` and `ipc(2)`, whose first argument says which call is meant.
//! A rule for `socket` must then hold for `socketcall(1, …)` as well as for the number that
//! newer kernels gave `socket` itself.

use libseccomp::{ScmpArch, ScmpSyscall, ScmpVersion};
use oci_spec::runtime::Arch;

use super::numbers::{Cursor, Row};
use crate::plan::problem::Problem;

/// Numbers with this bit are calls of the x32 convention, which shares x86_64's architecture.
pub const X32_BIT: u32 = 0x4000_0000;

/// `__AUDIT_ARCH_64BIT`, `__AUDIT_ARCH_LE`, `__AUDIT_ARCH_CONVENTION_MIPS64_N32`.
const AUDIT_64BIT: u32 = 0x8000_0000;
const AUDIT_LE: u32 = 0x4000_0000;
const AUDIT_N32: u32 = 0x2000_0000;

/// One calling convention: an architecture as libseccomp and the runtime-spec count them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi {
    arch: Arch,
    scmp: ScmpArch,
    numbers: Numbers,
}

/// Where the calls behind socketcall and ipc are found when they are called directly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// There is no socketcall and no ipc: each name has one number.
    Plain,
    /// There are both; the direct numbers are a fact of the architecture.
    Multiplexed(&'static Direct),
}

/// Direct numbers by the call number that socketcall or ipc takes; 0 where there is none
/// (no architecture has one of these at 0).
#[derive(Debug, PartialEq, Eq)]
struct Direct {
    /// Where the architecture's numbers begin: socketcall is `base` + 102, ipc `base` + 117.
    base: u16,
    /// `socketcall(1, …)` is socket, … `socketcall(20, …)` is sendmmsg.
    socket: [u16; 20],
    /// `ipc(1, …)` is semop, … `ipc(24, …)` is shmctl.
    ipc: [u16; 24],
}

/// A name of a profile, and where its numbers stand if they are at hand.
#[derive(Clone, Debug)]
pub struct Name<'p> {
    pub text: &'p str,
    row: Option<&'static Row>,
}

impl<'p> Name<'p> {
    /// Looks a name up; the cursor is shared by the names of a profile.
    pub fn new(text: &'p str, cursor: &mut Cursor) -> Self {
        Self { text, row: cursor.find(text) }
    }
}

/// How a name enters the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// By a number of its own.
    Direct(u32),
    /// By `number`, with the first argument equal to `call`.
    Through { number: u32, call: u8 },
}

const X86: Direct = Direct {
    base: 0,
    socket: [359, 361, 362, 363, 0, 367, 368, 360, 0, 0, 369, 371, 373, 366, 365, 370, 372, 364, 337, 345],
    ipc: ipc(0, 0),
};
const S390: Direct = Direct { base: 0, socket: S390_SOCKET, ipc: ipc(0, 0) };
const S390X: Direct = Direct { base: 0, socket: S390_SOCKET, ipc: ipc(0, 392) };
const S390_SOCKET: [u16; 20] =
    [359, 361, 362, 363, 0, 367, 368, 360, 0, 0, 369, 371, 373, 366, 365, 370, 372, 364, 357, 358];
const PPC: Direct = Direct { base: 0, socket: PPC_SOCKET, ipc: ipc(0, 0) };
const PPC64: Direct = Direct { base: 0, socket: PPC_SOCKET, ipc: ipc(0, 392) };
const PPC_SOCKET: [u16; 20] =
    [326, 327, 328, 329, 330, 331, 332, 333, 334, 336, 335, 337, 338, 339, 340, 341, 342, 344, 343, 349];
const MIPS: Direct = Direct {
    base: 4000,
    socket: [
        4183, 4169, 4170, 4174, 4168, 4172, 4171, 4184, 4178, 4175, 4180, 4176, 4182, 4181, 4173, 4179, 4177,
        4334, 4335, 4343,
    ],
    ipc: ipc(4000, 0),
};

/// Linux 5.1 gave the System V calls the same numbers everywhere.
const fn ipc(base: u16, semtimedop: u16) -> [u16; 24] {
    let mut to = [0; 24];
    to[2 - 1] = base + 393; // semget
    to[3 - 1] = base + 394; // semctl
    to[4 - 1] = semtimedop;
    to[11 - 1] = base + 400; // msgsnd
    to[12 - 1] = base + 401; // msgrcv
    to[13 - 1] = base + 399; // msgget
    to[14 - 1] = base + 402; // msgctl
    to[21 - 1] = base + 397; // shmat
    to[22 - 1] = base + 398; // shmdt
    to[23 - 1] = base + 395; // shmget
    to[24 - 1] = base + 396; // shmctl
    to
}

const fn plain(arch: Arch, scmp: ScmpArch) -> Abi {
    Abi { arch, scmp, numbers: Numbers::Plain }
}

const fn multiplexed(arch: Arch, scmp: ScmpArch, direct: &'static Direct) -> Abi {
    Abi { arch, scmp, numbers: Numbers::Multiplexed(direct) }
}

/// Every architecture of the runtime-spec.
pub const ALL: &[Abi] = &[
    plain(Arch::ScmpArchX86_64, ScmpArch::X8664),
    plain(Arch::ScmpArchX32, ScmpArch::X32),
    multiplexed(Arch::ScmpArchX86, ScmpArch::X86, &X86),
    plain(Arch::ScmpArchAarch64, ScmpArch::Aarch64),
    plain(Arch::ScmpArchArm, ScmpArch::Arm),
    plain(Arch::ScmpArchRiscv64, ScmpArch::Riscv64),
    plain(Arch::ScmpArchLoongarch64, ScmpArch::Loongarch64),
    multiplexed(Arch::ScmpArchS390x, ScmpArch::S390X, &S390X),
    multiplexed(Arch::ScmpArchS390, ScmpArch::S390, &S390),
    multiplexed(Arch::ScmpArchPpc64le, ScmpArch::Ppc64Le, &PPC64),
    multiplexed(Arch::ScmpArchPpc64, ScmpArch::Ppc64, &PPC64),
    multiplexed(Arch::ScmpArchPpc, ScmpArch::Ppc, &PPC),
    plain(Arch::ScmpArchMips64, ScmpArch::Mips64),
    plain(Arch::ScmpArchMips64n32, ScmpArch::Mips64N32),
    multiplexed(Arch::ScmpArchMips, ScmpArch::Mips, &MIPS),
    plain(Arch::ScmpArchMipsel64, ScmpArch::Mipsel64),
    plain(Arch::ScmpArchMipsel64n32, ScmpArch::Mipsel64N32),
    multiplexed(Arch::ScmpArchMipsel, ScmpArch::Mipsel, &MIPS),
    plain(Arch::ScmpArchParisc64, ScmpArch::Parisc64),
    plain(Arch::ScmpArchParisc, ScmpArch::Parisc),
    plain(Arch::ScmpArchM68k, ScmpArch::M68k),
    plain(Arch::ScmpArchSh, ScmpArch::Sh),
    plain(Arch::ScmpArchSheb, ScmpArch::Sheb),
];

/// The calling conventions that the filter judges: the machine's own first, as in every
/// libseccomp filter, then those that the profile adds. One of the other byte order can never
/// be met on this machine and is left out.
pub fn of(profile: &[Arch], problems: &mut Vec<Problem>) -> Vec<Abi> {
    let native = ScmpArch::native();
    let mut abis: Vec<Abi> = ALL.iter().filter(|abi| abi.scmp == native).copied().collect();
    for (i, arch) in profile.iter().enumerate() {
        let Some(abi) = ALL.iter().find(|abi| abi.arch == *arch) else { continue };
        if abis.contains(abi) || abi.little_endian() != cfg!(target_endian = "little") {
            continue;
        }
        if !abi.known() {
            let property = format!("linux.seccomp.architectures[{i}]");
            problems.push(Problem::new(property, format!("{arch} is not known to {}", library())));
            continue;
        }
        abis.push(*abi);
    }
    abis
}

fn library() -> String {
    match ScmpVersion::current() {
        Ok(v) => format!("libseccomp {}.{}.{}", v.major, v.minor, v.micro),
        Err(_) => "this libseccomp".to_owned(),
    }
}

impl Abi {
    /// `seccomp_data.arch` of its calls: libseccomp's token but for x32, which the kernel
    /// counts as x86_64.
    pub fn audit(&self) -> u32 {
        if self.x32() { Arch::ScmpArchX86_64 as u32 } else { self.arch as u32 }
    }

    /// The runtime-spec's word for it.
    #[cfg(test)]
    pub fn spec(&self) -> Arch {
        self.arch
    }

    /// libseccomp's word for it.
    #[cfg(test)]
    pub fn scmp(&self) -> ScmpArch {
        self.scmp
    }

    /// Whether libseccomp has its numbers: `read` exists everywhere.
    pub fn known(&self) -> bool {
        self.resolve("read").is_some()
    }

    /// Whether this is x32, whose numbers begin at [`X32_BIT`].
    pub fn x32(&self) -> bool {
        self.arch == Arch::ScmpArchX32
    }

    /// Whether numbers from [`X32_BIT`] on are another convention's.
    pub fn shares_with_x32(&self) -> bool {
        self.arch == Arch::ScmpArchX86_64
    }

    /// Whether arguments have 64 bits; in the others only the low 32 are looked at.
    pub fn wide(&self) -> bool {
        let token = self.arch as u32;
        token & AUDIT_64BIT != 0 && token & AUDIT_N32 == 0
    }

    /// Whether number 0 is where the kernel puts numbers it does not know (`setup`, which has
    /// not been a call of its own for decades).
    pub fn unknown_is_zero(&self) -> bool {
        matches!(self.arch, Arch::ScmpArchS390 | Arch::ScmpArchS390x)
    }

    fn little_endian(&self) -> bool {
        self.arch as u32 & AUDIT_LE != 0
    }

    /// libseccomp's number for a name; negative where this architecture does not have it.
    fn resolve(&self, name: &str) -> Option<i32> {
        ScmpSyscall::from_name_by_arch(name, self.scmp).ok().map(i32::from)
    }

    /// How a name enters the kernel here: twice, once or not at all. `None` where libseccomp
    /// has never heard of it, which then holds for every architecture.
    pub fn entries(&self, name: &Name<'_>) -> Option<[Option<Entry>; 2]> {
        let known = name.row.and_then(|row| row.number(self.scmp));
        let number = known.or_else(|| self.resolve(name.text))?;
        if let Ok(number) = u32::try_from(number) {
            return Some([Some(Entry::Direct(number)), None]);
        }
        let Numbers::Multiplexed(direct) = self.numbers else { return Some([None, None]) };
        // libseccomp gives the calls behind socketcall the numbers -101 to -120, and those
        // behind ipc -201 to -224.
        let (through, call, direct) = match -number {
            call @ 101..=120 => (direct.base + 102, call - 100, direct.socket[call as usize - 101]),
            call @ 201..=224 => (direct.base + 117, call - 200, direct.ipc[call as usize - 201]),
            _ => return Some([None, None]),
        };
        let through = Entry::Through { number: u32::from(through), call: call as u8 };
        Some([Some(through), (direct != 0).then(|| Entry::Direct(u32::from(direct)))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers of our tables are those of libseccomp's, read the other way round.
    #[test]
    fn direct_numbers_are_libseccomps() {
        for abi in ALL.iter().filter(|abi| abi.known()) {
            let Numbers::Multiplexed(direct) = abi.numbers else { continue };
            let socketcall = u16::try_from(abi.resolve("socketcall").unwrap()).unwrap();
            let mut found = Direct { base: socketcall - 102, socket: [0; 20], ipc: [0; 24] };
            assert_eq!(abi.resolve("ipc"), Some(i32::from(found.base) + 117));
            for number in 0..5000 {
                let Ok(name) = ScmpSyscall::from(number).get_name_by_arch(abi.scmp) else { continue };
                match abi.resolve(&name) {
                    Some(pseudo @ -120..=-101) => found.socket[(-pseudo - 101) as usize] = number as u16,
                    Some(pseudo @ -224..=-201) => found.ipc[(-pseudo - 201) as usize] = number as u16,
                    _ => {}
                }
            }
            assert_eq!(&found, direct, "{:?}", abi.arch);
        }
    }

    #[test]
    fn socketcall_is_either_in_the_table_or_absent() {
        for abi in ALL {
            let Some(number) = abi.resolve("socketcall") else { continue };
            assert_eq!(number >= 0, abi.numbers != Numbers::Plain, "{:?}", abi.arch);
        }
    }

    #[test]
    fn widths_and_tokens() {
        let abi = |arch| *ALL.iter().find(|abi| abi.arch == arch).unwrap();
        assert!(abi(Arch::ScmpArchX86_64).wide() && abi(Arch::ScmpArchS390x).wide());
        for narrow in [Arch::ScmpArchX32, Arch::ScmpArchX86, Arch::ScmpArchMipsel64n32, Arch::ScmpArchArm] {
            assert!(!abi(narrow).wide(), "{narrow}");
        }
        assert_eq!(abi(Arch::ScmpArchX32).audit(), 0xc000_003e);
        assert_eq!(abi(Arch::ScmpArchX86).audit(), 0x4000_0003);
    }

    #[test]
    fn an_architecture_libseccomp_lacks_is_a_problem() {
        let mut problems = Vec::new();
        let abis = of(&[Arch::ScmpArchX86, Arch::ScmpArchX86, Arch::ScmpArchMips], &mut problems);
        assert_eq!(problems, []);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(
                abis.iter().map(|abi| abi.arch).collect::<Vec<_>>(),
                [Arch::ScmpArchX86_64, Arch::ScmpArchX86]
            );
        }
        if ScmpSyscall::from_name_by_arch("read", ScmpArch::Loongarch64).is_err() {
            of(&[Arch::ScmpArchLoongarch64], &mut problems);
            assert_eq!(problems[0].property, "linux.seccomp.architectures[0]");
            assert!(problems[0].says.starts_with("SCMP_ARCH_LOONGARCH64 is not known to libseccomp 2."));
        }
    }
}
