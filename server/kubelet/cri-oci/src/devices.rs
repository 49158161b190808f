//! Which devices a container may make, read and write: lines for cgroup v1's `devices.allow`, a program for
//! v2's BPF_CGROUP_DEVICE hook.
//!
//! The program is a dozen kinds of instructions in a row and is loaded by two system calls, so it is written
//! here: libcgroups' own needs libbpf and a C compiler.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

use sampan_cri::Device;

/// `BPF_DEVCG_ACC_*`.
const MAKE: u32 = 1;
const READ: u32 = 2;
const WRITE: u32 = 4;
const ALL: u32 = MAKE | READ | WRITE;

/// `BPF_DEVCG_DEV_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Block = 1,
    Character = 2,
}

/// Some devices, and what may be done with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    kind: Kind,
    /// `None` for any.
    major: Option<u32>,
    /// `None` for any.
    minor: Option<u32>,
    access: u32,
}

const fn characters(major: u32, minor: Option<u32>) -> Rule {
    Rule { kind: Kind::Character, major: Some(major), minor, access: ALL }
}

/// What runc lets every container use: making nodes, and null, zero, full, random, urandom, tty and console
/// and ptmx, pts, net/tun.
const DEFAULT: [Rule; 10] = [
    Rule { kind: Kind::Character, major: None, minor: None, access: MAKE },
    Rule { kind: Kind::Block, major: None, minor: None, access: MAKE },
    characters(1, Some(3)),
    characters(1, Some(5)),
    characters(1, Some(7)),
    characters(1, Some(8)),
    characters(1, Some(9)),
    characters(5, None),
    characters(136, None),
    characters(10, Some(200)),
];

/// The usual devices and `more`. Those of `more` that the node lacks are left out, as in the container's /dev.
pub fn rules(more: &[Device]) -> Vec<Rule> {
    DEFAULT.into_iter().chain(more.iter().filter_map(rule)).collect()
}

fn rule(device: &Device) -> Option<Rule> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = std::fs::metadata(&device.host_path).ok()?;
    let kind = if meta.file_type().is_block_device() { Kind::Block } else { Kind::Character };
    let access = device.permissions.chars().map(|one| match one {
        'r' => READ,
        'w' => WRITE,
        'm' => MAKE,
        _ => 0,
    });
    let access = if device.permissions.is_empty() { ALL } else { access.fold(0, |all, one| all | one) };
    let (major, minor) = (libc::major(meta.rdev()), libc::minor(meta.rdev()));
    Some(Rule { kind, major: Some(major), minor: Some(minor), access })
}

/// As v1's `devices.allow` wants it: `c 1:3 rwm`.
impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        let letters = [(READ, "r"), (WRITE, "w"), (MAKE, "m")];
        letters.iter().filter(|(bit, _)| self.access & bit != 0).try_for_each(|(_, one)| f.write_str(one))
    }
}

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    /// Destination in the low half, source in the high one.
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Result, and what the program keeps in registers.
const RESULT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
const ACCESS: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

const fn instruction(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    // the halves change places on big-endian machines
    let registers = if cfg!(target_endian = "little") { to | from << 4 } else { to << 4 | from };
    Instruction { code, registers, offset, immediate }
}

/// `to = *(u32 *)(context + offset)`.
const fn load(to: u8, offset: i16) -> Instruction {
    instruction(0x61, to, CONTEXT, offset, 0)
}

/// `to = value`.
const fn set(to: u8, value: i32) -> Instruction {
    instruction(0xb7, to, 0, 0, value)
}

/// `to = from`.
const fn copy(to: u8, from: u8) -> Instruction {
    instruction(0xbf, to, from, 0, 0)
}

/// `to &= value`, 32 bits.
const fn and(to: u8, value: i32) -> Instruction {
    instruction(0x54, to, 0, 0, value)
}

/// `to >>= count`, 32 bits, without sign.
const fn shift(to: u8, count: i32) -> Instruction {
    instruction(0x74, to, 0, 0, count)
}

const EXIT: Instruction = instruction(0x95, 0, 0, 0, 0);

/// `if one != value goto`, filled in by [`Instruction::skipping`].
const fn unless_value(one: u8, value: u32) -> Instruction {
    instruction(0x55, one, 0, 0, value as i32)
}

/// `if one != other goto`.
const fn unless_equal(one: u8, other: u8) -> Instruction {
    instruction(0x5d, one, other, 0, 0)
}

impl Instruction {
    /// A jump gets its distance; others have none.
    fn skipping(mut self, count: usize) -> Self {
        if matches!(self.code, 0x55 | 0x5d) {
            self.offset = count as i16;
        }
        self
    }
}

/// 1 for what a rule allows, 0 for the rest. The context is `struct bpf_cgroup_dev_ctx`: access above kind,
/// major, minor.
fn program(rules: &[Rule]) -> Vec<Instruction> {
    let mut all = vec![
        load(KIND, 0),
        and(KIND, 0xffff),
        load(ACCESS, 0),
        shift(ACCESS, 16),
        load(MAJOR, 4),
        load(MINOR, 8),
    ];
    all.extend(rules.iter().flat_map(allow));
    all.extend([set(RESULT, 0), EXIT]);
    all
}

fn allow(rule: &Rule) -> Vec<Instruction> {
    let mut all = vec![unless_value(KIND, rule.kind as u32)];
    if rule.access != ALL {
        // every bit that is asked for must be given
        all.extend([copy(SCRATCH, ACCESS), and(SCRATCH, rule.access as i32), unless_equal(SCRATCH, ACCESS)]);
    }
    all.extend(rule.major.map(|major| unless_value(MAJOR, major)));
    all.extend(rule.minor.map(|minor| unless_value(MINOR, minor)));
    all.extend([set(RESULT, 1), EXIT]);
    let count = all.len();
    all.into_iter().enumerate().map(|(at, one)| one.skipping(count - at - 1)).collect()
}

/// `BPF_PROG_LOAD`'s part of `union bpf_attr`.
#[repr(C)]
struct LoadProgram {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// `BPF_PROG_ATTACH`'s part.
#[repr(C)]
struct AttachProgram {
    target: u32,
    program: u32,
    hook: u32,
    flags: u32,
}

/// # Safety
///
/// `attributes` must be the part of `union bpf_attr` that belongs to `command`, its pointers valid.
unsafe fn bpf<T>(command: i32, attributes: &T) -> io::Result<i32> {
    // SAFETY: the kernel reads as many bytes as said; the rest is the caller's word
    match unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) } {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result as i32),
    }
}

/// Lets processes in a cgroup of v2 use devices by `rules` and no others, until the cgroup is removed.
/// Ancestors' programs go on to have their say.
///
/// The error says what the kernel lacks: a container that could use the node's disks is not started.
pub fn attach(cgroup: &Path, rules: &[Rule]) -> io::Result<()> {
    const BPF_PROG_LOAD: i32 = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    const BPF_PROG_ATTACH: i32 = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let explained = |what: &'static str| {
        move |error: io::Error| {
            let help = "the kernel needs CONFIG_CGROUP_BPF, and sampan CAP_BPF and CAP_NET_ADMIN";
            io::Error::new(error.kind(), format!("{what} the device filter: {error}; {help}"))
        }
    };
    let instructions = program(rules);
    let load = LoadProgram {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        // no helper is called that would ask for another
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: instructions and licence outlive the call; the descriptor is new
    let program = unsafe { OwnedFd::from_raw_fd(bpf(BPF_PROG_LOAD, &load).map_err(explained("loading"))?) };
    let directory = std::fs::File::open(cgroup)?;
    let attach = AttachProgram {
        target: directory.as_raw_fd() as u32,
        program: program.as_raw_fd() as u32,
        hook: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: numbers only
    unsafe { bpf(BPF_PROG_ATTACH, &attach) }.map_err(explained("attaching"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;

    #[test]
    fn rules_read_as_v1_wants_them() {
        let lines: Vec<String> = rules(&[]).iter().map(ToString::to_string).collect();
        assert_eq!(lines[..3], ["c *:* m", "b *:* m", "c 1:3 rwm"]);
        assert!(lines.contains(&"c 5:* rwm".to_owned()));
        let device = |permissions: &str| Device {
            host_path: "/dev/zero".into(),
            container_path: "/dev/z".into(),
            permissions: permissions.into(),
        };
        assert_eq!(rule(&device("r")).unwrap().to_string(), "c 1:5 r");
        assert_eq!(rule(&device("")).unwrap().to_string(), "c 1:5 rwm");
    }

    /// Runs a program on a kind of context: what the kernel does, for the few instructions there are.
    fn allowed(rules: &[Rule], kind: Kind, access: u32, major: u32, minor: u32) -> bool {
        let context = [access << 16 | kind as u32, major, minor];
        let (mut registers, mut at) = ([0u64; 11], 0usize);
        let code = program(rules);
        loop {
            let one = code[at];
            let (to, from) = (usize::from(one.registers & 15), usize::from(one.registers >> 4));
            let jump = match one.code {
                0x61 => (registers[to] = context[one.offset as usize / 4].into(), false).1,
                0xb7 => (registers[to] = one.immediate as u64, false).1,
                0xbf => (registers[to] = registers[from], false).1,
                0x54 => (registers[to] &= one.immediate as u32 as u64, false).1,
                0x74 => (registers[to] >>= one.immediate, false).1,
                0x55 => registers[to] != one.immediate as u64,
                0x5d => registers[to] != registers[from],
                0x95 => return registers[0] == 1,
                other => panic!("instruction {other:#x}"),
            };
            at += 1 + if jump { one.offset as usize } else { 0 };
        }
    }

    #[test]
    fn the_program_decides_as_the_rules_say() {
        let read_only = Rule { kind: Kind::Block, major: Some(8), minor: Some(1), access: READ };
        let all = [&rules(&[])[..], &[read_only]].concat();
        for (kind, access, major, minor, expect) in [
            (Kind::Character, READ | WRITE, 1, 3, true),
            (Kind::Character, READ, 1, 11, false),
            (Kind::Character, WRITE, 136, 77, true),
            (Kind::Character, MAKE, 1, 11, true),
            (Kind::Character, MAKE | READ, 1, 11, false),
            (Kind::Block, MAKE, 8, 0, true),
            (Kind::Block, READ, 8, 0, false),
            (Kind::Block, READ, 8, 1, true),
            (Kind::Block, READ | WRITE, 8, 1, false),
            (Kind::Block, READ, 1, 3, false),
        ] {
            assert_eq!(
                allowed(&all, kind, access, major, minor),
                expect,
                "{kind:?} {access} {major}:{minor}"
            );
        }
        assert!(!allowed(&[], Kind::Character, READ, 1, 3));
    }

    /// A cgroup of v2 in whatever hierarchy this machine has.
    struct Cgroup(PathBuf);

    impl Cgroup {
        fn new() -> Self {
            let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
            let mut v2 = mounts.lines().map(|line| line.split(' ')).filter_map(|mut fields| {
                let at = fields.nth(1)?.to_owned();
                (fields.next()? == "cgroup2").then_some(at)
            });
            let mount = v2.next().expect("a cgroup2 file system, such as on /sys/fs/cgroup/unified");
            let path = Path::new(&mount).join(format!("sampan-test-devices-{}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Cgroup(path)
        }

        fn run(&self, script: &str) -> std::process::Output {
            let procs = self.0.join("cgroup.procs");
            let script = format!("echo 0 > {} || exit 99\n{script}", procs.display());
            Command::new("/bin/sh").arg("-c").arg(script).output().unwrap()
        }
    }

    impl Drop for Cgroup {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir(&self.0);
        }
    }

    #[test]
    fn the_kernel_refuses_what_no_rule_allows() {
        let cgroup = Cgroup::new();
        let directory = tempfile::tempdir().unwrap();
        let node = directory.path().join("kmsg");
        let script = format!(
            "echo x > /dev/null || exit 1\nhead -c 1 /dev/urandom > /dev/null || exit 2\n\
             mknod {0} c 1 11 || exit 3\ndd if={0} of=/dev/null count=1 iflag=nonblock",
            node.display()
        );
        let before = cgroup.run(&script);
        assert!(before.status.success(), "{before:?}");
        std::fs::remove_file(&node).unwrap();
        attach(&cgroup.0, &rules(&[])).unwrap();
        let after = cgroup.run(&script);
        assert_eq!(after.status.code(), Some(1), "{after:?}");
        let said = String::from_utf8_lossy(&after.stderr).into_owned();
        assert!(said.contains("failed to open") && said.contains("Operation not permitted"), "{said}");
    }
}
