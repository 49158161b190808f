//! Cgroups by their files: v1, v2, and both at once (hybrid, where v1 has the controllers).
//!
//! Plain files rather than libcgroups because a pod's cgroup has no process to apply it through, and because
//! an error must name the controller that a machine lacks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sampan_cri::{ContainerStats, Device, Resources};

use crate::devices;

/// What this machine has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cgroups {
    /// Hierarchies by controller name; `name=systemd` too.
    V1(BTreeMap<String, PathBuf>),
    /// One hierarchy.
    V2(PathBuf),
}

/// Controllers that are used where the machine has them.
const WANTED: [&str; 7] = ["cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "freezer"];

impl Cgroups {
    /// Looks at the mounts of this process.
    pub fn detect() -> io::Result<Self> {
        parse_mounts(&fs::read_to_string("/proc/self/mounts")?).ok_or_else(|| {
            io::Error::other("no cgroup file system is mounted: mount cgroup2 on /sys/fs/cgroup")
        })
    }

    /// Moves the calling process, so that stopping the daemon's service does not stop it.
    pub fn move_self(&self, path: &str) {
        if self.create(path).is_ok() {
            for directory in self.directories(path) {
                let _ = fs::write(directory.join("cgroup.procs"), "0");
            }
        }
    }

    /// The cgroup's directory in each hierarchy.
    pub fn directories(&self, path: &str) -> Vec<PathBuf> {
        let path = path.trim_start_matches('/');
        match self {
            Cgroups::V2(mount) => vec![mount.join(path)],
            Cgroups::V1(mounts) => {
                let mut all: Vec<PathBuf> = mounts.values().map(|mount| mount.join(path)).collect();
                all.sort();
                all.dedup();
                all
            }
        }
    }

    /// The file in each hierarchy that a process enters the cgroup by.
    pub fn procs(&self, path: &str) -> Vec<PathBuf> {
        let file = if matches!(self, Cgroups::V2(_)) { "cgroup.procs" } else { "tasks" };
        self.directories(path).into_iter().map(|directory| directory.join(file)).collect()
    }

    fn directory(&self, controller: &str, path: &str) -> Result<PathBuf, String> {
        let path = path.trim_start_matches('/');
        match self {
            Cgroups::V2(mount) => {
                let have = fs::read_to_string(mount.join("cgroup.controllers")).unwrap_or_default();
                match have.split_whitespace().any(|one| one == controller) {
                    true => Ok(mount.join(path)),
                    false => Err(missing(controller)),
                }
            }
            Cgroups::V1(mounts) => {
                mounts.get(controller).map(|mount| mount.join(path)).ok_or_else(|| missing(controller))
            }
        }
    }

    /// Makes the cgroup and its ancestors.
    pub fn create(&self, path: &str) -> io::Result<()> {
        match self {
            Cgroups::V1(mounts) => {
                for directory in self.directories(path) {
                    fs::create_dir_all(&directory)?;
                }
                match mounts.get("cpuset") {
                    Some(mount) => inherit_cpuset(mount, path),
                    None => Ok(()),
                }
            }
            Cgroups::V2(mount) => create_v2(mount, path),
        }
    }

    /// Sets limits. A limit whose controller the machine lacks is an error that names it.
    pub fn apply(&self, path: &str, resources: &Resources) -> Result<(), String> {
        for (controller, file, value) in settings(matches!(self, Cgroups::V2(_)), resources) {
            let target = self.directory(controller, path)?.join(file);
            fs::write(&target, &value)
                .map_err(|error| format!("writing {value} to {}: {error}", target.display()))?;
        }
        Ok(())
    }

    /// Lets processes use the usual devices and `more`, and no others: by `devices.allow` on v1, where a
    /// machine may lack the controller, by a BPF program on v2. To be called once for a cgroup.
    pub fn allow_devices(&self, path: &str, more: &[Device]) -> io::Result<()> {
        let rules = devices::rules(more);
        let directory = match self {
            Cgroups::V2(mount) => return devices::attach(&mount.join(path.trim_start_matches('/')), &rules),
            Cgroups::V1(_) => self.directory("devices", path),
        };
        let Ok(directory) = directory else { return Ok(()) };
        fs::write(directory.join("devices.deny"), "a")?;
        for rule in rules {
            fs::write(directory.join("devices.allow"), rule.to_string())?;
        }
        Ok(())
    }

    /// The file whose `oom_kill` line counts the kernel's kills.
    pub fn oom_file(&self, path: &str) -> Option<PathBuf> {
        let file = if matches!(self, Cgroups::V2(_)) { "memory.events" } else { "memory.oom_control" };
        Some(self.directory("memory", path).ok()?.join(file))
    }

    /// Kills every process in the cgroup and below.
    pub fn kill(&self, path: &str) {
        if let Cgroups::V2(mount) = self
            && fs::write(mount.join(path.trim_start_matches('/')).join("cgroup.kill"), "1").is_ok()
        {
            return;
        }
        if let Some(directory) = self.directories(path).into_iter().next() {
            kill_below(&directory);
        }
    }

    /// Removes the cgroup and all below, bottom up. Processes still dying keep it: the caller tries again.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        let mut result = Ok(());
        for directory in self.directories(path) {
            if let Err(error) = remove_below(&directory) {
                result = Err(error);
            }
        }
        result
    }

    /// What the cgroup uses; whose it is, is left to the caller.
    pub fn usage(&self, path: &str) -> ContainerStats {
        let read = |controller: &str, file: &str| {
            let directory = self.directory(controller, path).ok()?;
            fs::read_to_string(directory.join(file)).ok()
        };
        let at = jiff::Timestamp::now();
        let memory = read("memory", "memory.stat").unwrap_or_default();
        let cpu = read("cpu", "cpu.stat").unwrap_or_default();
        let common = ContainerStats {
            at,
            cpu_periods: field(&cpu, "nr_periods"),
            cpu_throttled_periods: field(&cpu, "nr_throttled"),
            pids: number(read("pids", "pids.current")),
            ..ContainerStats::default()
        };
        match self {
            Cgroups::V1(_) => {
                let used = number(read("memory", "memory.usage_in_bytes"));
                let limit = field(&memory, "hierarchical_memory_limit");
                let with_swap = number(read("memory", "memory.memsw.usage_in_bytes"));
                ContainerStats {
                    cpu_nanos: number(read("cpuacct", "cpuacct.usage")),
                    cpu_throttled_nanos: field(&cpu, "throttled_time"),
                    working_set_bytes: used.saturating_sub(field(&memory, "total_inactive_file")),
                    memory_bytes: used,
                    rss_bytes: field(&memory, "total_rss"),
                    cache_bytes: field(&memory, "total_cache"),
                    swap_bytes: with_swap.saturating_sub(used),
                    // no limit is the largest multiple of a page
                    memory_limit_bytes: Some(limit).filter(|limit| (1..1 << 62).contains(limit)),
                    page_faults: field(&memory, "total_pgfault"),
                    major_page_faults: field(&memory, "total_pgmajfault"),
                    ..common
                }
            }
            Cgroups::V2(_) => {
                let used = number(read("memory", "memory.current"));
                let limit = read("memory", "memory.max");
                ContainerStats {
                    cpu_nanos: field(&cpu, "usage_usec") * 1000,
                    cpu_throttled_nanos: field(&cpu, "throttled_usec") * 1000,
                    working_set_bytes: used.saturating_sub(field(&memory, "inactive_file")),
                    memory_bytes: used,
                    rss_bytes: field(&memory, "anon"),
                    cache_bytes: field(&memory, "file"),
                    swap_bytes: number(read("memory", "memory.swap.current")),
                    memory_limit_bytes: limit.and_then(|limit| limit.trim().parse().ok()),
                    page_faults: field(&memory, "pgfault"),
                    major_page_faults: field(&memory, "pgmajfault"),
                    ..common
                }
            }
        }
    }
}

fn missing(controller: &str) -> String {
    format!(
        "this machine has no cgroup controller {controller:?}: enable it (kernel command line, \
         cgroup.subtree_control) or remove the limit from the pod"
    )
}

/// `None` without any cgroup file system.
fn parse_mounts(mounts: &str) -> Option<Cgroups> {
    let mut v1 = BTreeMap::new();
    let mut v2 = None;
    for line in mounts.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let [_, mount, kind, options, ..] = fields[..] else { continue };
        match kind {
            "cgroup" => {
                for option in options.split(',').filter(|one| WANTED.contains(one) || *one == "name=systemd")
                {
                    v1.entry(option.to_owned()).or_insert_with(|| PathBuf::from(mount));
                }
            }
            "cgroup2" if v2.is_none() => v2 = Some(PathBuf::from(mount)),
            _ => {}
        }
    }
    let controllers = v1.keys().any(|name| WANTED.contains(&name.as_str()));
    if controllers { Some(Cgroups::V1(v1)) } else { v2.map(Cgroups::V2) }
}

fn ancestors(path: &str) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Path::new(path.trim_start_matches('/'))
        .ancestors()
        .filter(|one| !one.as_os_str().is_empty())
        .map(Path::to_owned)
        .collect();
    all.reverse();
    all
}

/// v1 starts a cpuset empty; nothing can run in it until CPUs and memory nodes are copied down.
fn inherit_cpuset(mount: &Path, path: &str) -> io::Result<()> {
    let mut parent = mount.to_owned();
    for one in ancestors(path) {
        let directory = mount.join(one);
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if fs::read_to_string(directory.join(file))?.trim().is_empty() {
                fs::write(directory.join(file), fs::read_to_string(parent.join(file))?.trim())?;
            }
        }
        parent = directory;
    }
    Ok(())
}

/// v2 hands controllers down one level at a time.
fn create_v2(mount: &Path, path: &str) -> io::Result<()> {
    let mut parent = mount.to_owned();
    for one in ancestors(path) {
        hand_down(&parent)?;
        parent = mount.join(one);
        fs::create_dir_all(&parent)?;
    }
    Ok(())
}

/// Gives a cgroup's children the controllers it has. The kernel refuses while processes are in the cgroup
/// itself; without controllers no limit of a pod would hold.
fn hand_down(parent: &Path) -> io::Result<()> {
    let have = fs::read_to_string(parent.join("cgroup.controllers"))?;
    let file = parent.join("cgroup.subtree_control");
    let given = fs::read_to_string(&file).unwrap_or_default();
    let given: Vec<&str> = given.split_whitespace().collect();
    let missing = have.split_whitespace().filter(|one| WANTED.contains(one) && !given.contains(one));
    for controller in missing {
        fs::write(&file, format!("+{controller}")).map_err(|error| {
            let help = "move processes out of that cgroup, or have it delegated to sampan";
            io::Error::new(
                error.kind(),
                format!("writing +{controller} to {}: {error}; {help}", file.display()),
            )
        })?;
    }
    Ok(())
}

/// Which file gets what: (controller, file, value).
fn settings(v2: bool, resources: &Resources) -> Vec<(&'static str, &'static str, String)> {
    let mut all = Vec::new();
    let mut set = |controller, file, value: String| all.push((controller, file, value));
    if let Some(shares) = resources.cpu_shares.filter(|shares| *shares > 0) {
        match v2 {
            // KEP-2254's conversion
            true => {
                set("cpu", "cpu.weight", (1 + ((shares.clamp(2, 262_144) - 2) * 9999) / 262_142).to_string())
            }
            false => set("cpu", "cpu.shares", shares.to_string()),
        }
    }
    let period = resources.cpu_period.unwrap_or(100_000);
    if let Some(quota) = resources.cpu_quota {
        match (v2, quota > 0) {
            (true, true) => set("cpu", "cpu.max", format!("{quota} {period}")),
            (true, false) => set("cpu", "cpu.max", "max".into()),
            (false, _) => {
                set("cpu", "cpu.cfs_period_us", period.to_string());
                set("cpu", "cpu.cfs_quota_us", quota.to_string());
            }
        }
    }
    if let Some(bytes) = resources.memory_limit_bytes.filter(|bytes| *bytes != 0) {
        match (v2, bytes > 0) {
            (true, true) => set("memory", "memory.max", bytes.to_string()),
            (true, false) => set("memory", "memory.max", "max".into()),
            (false, _) => set("memory", "memory.limit_in_bytes", bytes.to_string()),
        }
    }
    if let Some(pids) = resources.pids_limit.filter(|pids| *pids != 0) {
        set("pids", "pids.max", if pids > 0 { pids.to_string() } else { "max".into() });
    }
    if let Some(cpus) = resources.cpuset_cpus.as_ref().filter(|cpus| !cpus.is_empty()) {
        set("cpuset", "cpuset.cpus", cpus.clone());
    }
    all
}

fn kill_below(directory: &Path) {
    for pid in fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default().lines() {
        if let Ok(pid) = pid.parse() {
            // SAFETY: kill takes numbers
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
    for child in children(directory) {
        kill_below(&child);
    }
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let directories = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    directories.map(|entry| entry.path()).collect()
}

fn remove_below(directory: &Path) -> io::Result<()> {
    for child in children(directory) {
        remove_below(&child)?;
    }
    match fs::remove_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn number(text: Option<String>) -> u64 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn field(text: &str, name: &str) -> u64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// The `oom_kill` count of `memory.oom_control` or `memory.events`.
pub fn oom_kills(text: &str) -> u64 {
    field(text, "oom_kill")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_apart() {
        let hybrid = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n\
                      cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n\
                      cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                      cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        let Some(Cgroups::V1(mounts)) = parse_mounts(hybrid) else { panic!("hybrid is v1") };
        assert_eq!(mounts.len(), 4);
        assert_eq!(mounts["cpuacct"], Path::new("/sys/fs/cgroup/cpu,cpuacct"));
        assert_eq!(Cgroups::V1(mounts).directories("/a/b").len(), 3);
        let unified = "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n";
        assert_eq!(parse_mounts(unified), Some(Cgroups::V2("/sys/fs/cgroup".into())));
        assert_eq!(parse_mounts("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn limits_in_both_dialects() {
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_quota: Some(50_000),
            memory_limit_bytes: Some(1 << 20),
            pids_limit: Some(-1),
            ..Resources::default()
        };
        let files = |v2| -> Vec<String> {
            settings(v2, &resources).into_iter().map(|(_, file, value)| format!("{file}={value}")).collect()
        };
        assert_eq!(
            files(false),
            [
                "cpu.shares=1024",
                "cpu.cfs_period_us=100000",
                "cpu.cfs_quota_us=50000",
                "memory.limit_in_bytes=1048576",
                "pids.max=max"
            ]
        );
        assert_eq!(
            files(true),
            ["cpu.weight=39", "cpu.max=50000 100000", "memory.max=1048576", "pids.max=max"]
        );
    }

    #[test]
    fn a_missing_controller_is_named() {
        let cgroups = Cgroups::V1(BTreeMap::new());
        let limits = Resources { pids_limit: Some(5), ..Resources::default() };
        assert!(cgroups.apply("/x", &limits).unwrap_err().contains("\"pids\""));
    }

    #[test]
    fn a_controller_that_is_not_handed_down_is_an_error() {
        let mount = tempfile::tempdir().unwrap();
        let control = mount.path().join("cgroup.subtree_control");
        fs::write(mount.path().join("cgroup.controllers"), "cpu rdma memory\n").unwrap();
        // a directory takes no writes, not even root's
        fs::create_dir(&control).unwrap();
        let error = create_v2(mount.path(), "/a").unwrap_err().to_string();
        assert!(error.contains("+cpu") && error.contains("cgroup.subtree_control"), "{error}");
        fs::remove_dir(&control).unwrap();
        fs::write(&control, "cpu memory\n").unwrap();
        create_v2(mount.path(), "/a").unwrap();
        assert!(mount.path().join("a").is_dir());
        assert_eq!(fs::read_to_string(&control).unwrap(), "cpu memory\n", "there already");
    }

    #[test]
    fn kills_are_counted() {
        assert_eq!(oom_kills("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(oom_kills("low 0\noom 4\noom_kill 1\noom_group_kill 0\n"), 1);
        assert_eq!(oom_kills(""), 0);
    }
}
