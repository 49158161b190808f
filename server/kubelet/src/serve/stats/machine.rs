//! What the machine and its networks use, from /proc and the file system.

use std::path::Path;

use jiff::Timestamp;
use nix::unistd::{SysconfVar, sysconf};

/// A network interface's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Bytes, packets, errors and drops received.
    pub received: [u64; 4],
    /// Bytes, packets, errors and drops sent.
    pub sent: [u64; 4],
}

/// A file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// Bytes.
    pub capacity: u64,
    /// Bytes that anyone may still use.
    pub available: u64,
    /// Bytes in use: not of the part that is root's alone.
    pub used: u64,
    /// Files that there may be.
    pub inodes: u64,
    /// Files that may still be made.
    pub inodes_free: u64,
}

/// CPU and memory of the machine or of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// CPU time, in nanoseconds.
    pub cpu_nanos: u64,
    /// Memory that is not free.
    pub memory_bytes: u64,
    /// Without the inactive page cache.
    pub working_set_bytes: u64,
    /// Anonymous memory.
    pub rss_bytes: u64,
    /// Page faults, all of them and those that waited for a disk.
    pub page_faults: [u64; 2],
}

/// The machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// When it was started, in seconds since 1970.
    pub boot_seconds: i64,
    /// CPUs.
    pub cpus: u64,
    /// CPU and memory.
    pub load: Load,
    /// Memory there is.
    pub memory_bytes: u64,
    /// Swap there is, and how much of it is free.
    pub swap: [u64; 2],
    /// Threads there are, and may be.
    pub threads: [u64; 2],
    /// Interfaces but for loopback and the ends of others' networks.
    pub interfaces: Vec<Interface>,
    /// The one that leads out.
    pub default_interface: Option<String>,
    /// This process.
    pub own: Load,
    /// When this was read.
    pub at: Timestamp,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// Reads the machine. Blocking, for as long as the kernel writes.
pub fn machine() -> Machine {
    let at = Timestamp::now();
    let (stat, memory) = (read("/proc/stat"), read("/proc/meminfo"));
    let kilobytes = |name: &str| field(&memory, name) * 1024;
    let (total, vmstat) = (kilobytes("MemTotal:"), read("/proc/vmstat"));
    let used = total.saturating_sub(kilobytes("MemFree:"));
    let load = Load {
        cpu_nanos: cpu_ticks(&stat) * tick_nanos(),
        memory_bytes: used,
        working_set_bytes: used.saturating_sub(kilobytes("Inactive(file):")),
        rss_bytes: kilobytes("AnonPages:"),
        page_faults: [field(&vmstat, "pgfault"), field(&vmstat, "pgmajfault")],
    };
    let mut interfaces = interfaces(&read("/proc/thread-self/net/dev"));
    interfaces.retain(|one| is_the_nodes(&one.name));
    Machine {
        boot_seconds: i64::try_from(field(&stat, "btime")).unwrap_or(0),
        cpus: std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64),
        load,
        memory_bytes: total,
        swap: [kilobytes("SwapTotal:"), kilobytes("SwapFree:")],
        threads: [
            threads(&read("/proc/loadavg")),
            read("/proc/sys/kernel/pid_max").trim().parse().unwrap_or(0),
        ],
        default_interface: default_interface(&read("/proc/thread-self/net/route")),
        interfaces,
        own: own(&read("/proc/self/stat"), &read("/proc/self/statm")),
        at,
    }
}

/// The interfaces of a process's network.
pub fn interfaces_of(pid: u32) -> Vec<Interface> {
    let mut all = interfaces(&read(&format!("/proc/{pid}/net/dev")));
    all.retain(|one| one.name != "lo");
    all
}

/// The file system that `path` is on.
pub fn disk(path: &Path) -> Option<Disk> {
    let stat = nix::sys::statvfs::statvfs(path).ok()?;
    let bytes = |blocks: u64| blocks * stat.fragment_size();
    Some(Disk {
        capacity: bytes(stat.blocks()),
        available: bytes(stat.blocks_available()),
        used: bytes(stat.blocks().saturating_sub(stat.blocks_free())),
        inodes: stat.files(),
        inodes_free: stat.files_free(),
    })
}

/// cAdvisor leaves out what belongs to containers; a port of a bridge does, whatever its name.
fn is_the_nodes(name: &str) -> bool {
    let other = name == "lo" || name.starts_with("veth") || name.starts_with("docker");
    !other && !Path::new("/sys/class/net").join(name).join("brport").exists()
}

fn tick_nanos() -> u64 {
    let ticks = sysconf(SysconfVar::CLK_TCK).ok().flatten().and_then(|ticks| u64::try_from(ticks).ok());
    1_000_000_000 / ticks.filter(|ticks| *ticks > 0).unwrap_or(100)
}

fn page_bytes() -> u64 {
    let bytes = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

/// The number after `name`, at the beginning of a line.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix([' ', '\t']));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// All that is not idle or waiting for a disk; what guests used is in the user's time already.
fn cpu_ticks(stat: &str) -> u64 {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().map(|word| word.parse().unwrap_or(0)).collect();
    [0, 1, 2, 5, 6, 7].iter().filter_map(|at| fields.get(*at)).sum()
}

/// `0.1 0.2 0.3 2/987 4321`.
fn threads(loadavg: &str) -> u64 {
    let field = loadavg.split_whitespace().nth(3).unwrap_or_default();
    field.split('/').nth(1).and_then(|all| all.parse().ok()).unwrap_or(0)
}

fn own(stat: &str, statm: &str) -> Load {
    // the program's name, in parentheses, may hold anything
    let rest: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let number = |at: usize| rest.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
    let pages = |at: usize| statm.split_whitespace().nth(at).and_then(|word| word.parse::<u64>().ok());
    let rss = pages(1).unwrap_or(0) * page_bytes();
    let anonymous = rss.saturating_sub(pages(2).unwrap_or(0) * page_bytes());
    Load {
        cpu_nanos: (number(11) + number(12)) * tick_nanos(),
        memory_bytes: rss,
        working_set_bytes: rss,
        rss_bytes: anonymous,
        page_faults: [number(7) + number(9), number(9)],
    }
}

fn interfaces(dev: &str) -> Vec<Interface> {
    let line = |line: &str| {
        let (name, numbers) = line.split_once(':')?;
        let numbers: Vec<u64> = numbers.split_whitespace().map_while(|word| word.parse().ok()).collect();
        let four = |at: usize| <[u64; 4]>::try_from(numbers.get(at..at + 4)?).ok();
        Some(Interface { name: name.trim().to_owned(), received: four(0)?, sent: four(8)? })
    };
    dev.lines().filter_map(line).collect()
}

fn default_interface(route: &str) -> Option<String> {
    let mut routes = route.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let default =
        routes.find(|words| words.get(1) == Some(&"00000000") && words.get(7) == Some(&"00000000"))?;
    default.first().map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "cpu  10 1 20 1000 50 2 3 4 7 0\ncpu0 1 1 1 1\nbtime 1700000000\n";
        assert_eq!(cpu_ticks(stat), 10 + 1 + 20 + 2 + 3 + 4);
        assert_eq!((field(stat, "btime"), field(stat, "bt"), field("", "x")), (1_700_000_000, 0, 0));
        assert_eq!(field("MemTotal:       2048 kB\nMemFree: 1 kB", "MemTotal:"), 2048);
        assert_eq!(threads("0.1 0.2 0.3 2/987 4321"), 987);
        let dev = "Inter-|   Receive\n face |bytes\n  eth0: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\nlo: x\n";
        let eth0 = Interface { name: "eth0".into(), received: [1, 2, 3, 4], sent: [5, 6, 7, 8] };
        assert_eq!(interfaces(dev), [eth0]);
        let route = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
            br0\t0000F40A\t0\t1\t0\t0\t0\t00FFFFFF\neth0\t00000000\t0101A8C0\t3\t0\t0\t0\t00000000\n";
        assert_eq!(default_interface(route).as_deref(), Some("eth0"));
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 5 0 30 12 0 0 20 0 9";
        let own = own(stat, "1000 300 100 1 0 1 0");
        assert_eq!(own.cpu_nanos, 42 * tick_nanos());
        assert_eq!((own.page_faults, own.rss_bytes), ([105, 5], 200 * page_bytes()));
    }

    #[test]
    fn this_machine_has_load() {
        let machine = machine();
        assert!(machine.load.cpu_nanos > 0 && machine.load.memory_bytes > machine.load.working_set_bytes / 2);
        assert!(machine.memory_bytes >= machine.load.memory_bytes);
        assert!(machine.own.memory_bytes > 0 && machine.boot_seconds > 0);
        let disk = disk(Path::new("/")).unwrap();
        assert!(disk.capacity >= disk.used && disk.used > 0);
    }
}
