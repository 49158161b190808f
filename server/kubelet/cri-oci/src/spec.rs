//! The runtime specification of a container: a pure function of what the pod asks, what the image says and
//! where things are.
//!
//! Defaults (mounts, masks, capabilities) are containerd's and Docker's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sampan_cri::{ContainerConfig, Mount, Propagation, SeccompProfile};
use serde_json::{Value, json};

use crate::images::ImageConfig;
use crate::users::Identity;

/// `PATH` of an image that sets none.
pub const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

const DEFAULT_CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
];

const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Namespaces to join; one without a path is new, one that is not here is the node's.
#[derive(Clone, Debug, Default)]
pub struct Joined {
    /// `None` for the node's.
    pub network: Option<PathBuf>,
    /// `None` for the node's.
    pub ipc: Option<PathBuf>,
    /// `None` for the node's.
    pub uts: Option<PathBuf>,
    /// Process ids.
    pub pid: PidNamespace,
}

/// Whose processes a container sees.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PidNamespace {
    /// Its own.
    #[default]
    Own,
    /// The node's.
    Node,
    /// That of the pod or of another container.
    Path(PathBuf),
}

/// Everything a specification is made of.
pub struct Input<'a> {
    /// What the pod asks.
    pub config: &'a ContainerConfig,
    /// What the image says.
    pub image: &'a ImageConfig,
    /// Mounted root file system.
    pub rootfs: &'a Path,
    /// Namespaces of the sandbox.
    pub namespaces: &'a Joined,
    /// The pod's shared memory, if it is not the node's.
    pub shm: &'a Path,
    /// Cgroup of the container.
    pub cgroup: &'a str,
    /// User and groups, resolved.
    pub identity: &'a Identity,
    /// Capabilities that this machine's root has; nobody can be given more.
    pub available: &'a [String],
    /// A profile file's content for [`SeccompProfile::Localhost`].
    pub seccomp: Option<Value>,
    /// `hostname` inside, for `HOSTNAME`.
    pub hostname: &'a str,
}

/// Writes the specification.
pub fn build(input: &Input<'_>) -> Result<Value, String> {
    let config = input.config;
    let args = command(config, input.image);
    if args.is_empty() {
        return Err("no command specified".into());
    }
    let capabilities = capabilities(config, input.available);
    let mut process = json!({
        "terminal": config.tty,
        "user": {"uid": input.identity.uid, "gid": input.identity.gid, "additionalGids": input.identity.groups},
        "args": args,
        "env": environment(config, input.image, input.hostname),
        "cwd": working_directory(config, input.image),
        "capabilities": capability_sets(&capabilities, input.identity.uid),
    });
    if config.security.no_new_privs && !config.security.privileged {
        // absent, not false: libcontainer installs the filter at another moment if the key is there
        process["noNewPrivileges"] = true.into();
    }
    if let Some(score) = config.resources.oom_score_adj {
        process["oomScoreAdj"] = score.into();
    }
    Ok(json!({
        "ociVersion": "1.0.2",
        "process": process,
        "root": {"path": input.rootfs, "readonly": config.security.readonly_rootfs},
        "mounts": mounts(input),
        "linux": linux(input, &capabilities),
    }))
}

/// Kubernetes' table of command and args against entrypoint and cmd.
fn command(config: &ContainerConfig, image: &ImageConfig) -> Vec<String> {
    match (config.command.is_empty(), config.args.is_empty()) {
        (true, true) => [&image.entrypoint[..], &image.cmd[..]].concat(),
        (true, false) => [&image.entrypoint[..], &config.args[..]].concat(),
        (false, _) => [&config.command[..], &config.args[..]].concat(),
    }
}

/// Where the command starts.
pub fn working_directory(config: &ContainerConfig, image: &ImageConfig) -> String {
    let asked = config.working_dir.clone().filter(|directory| !directory.is_empty());
    asked
        .or_else(|| Some(image.working_dir.clone()).filter(|one| !one.is_empty()))
        .unwrap_or_else(|| "/".into())
}

/// Later entries win, first places stay.
fn environment(config: &ContainerConfig, image: &ImageConfig, hostname: &str) -> Vec<String> {
    let mut order: Vec<String> = Vec::new();
    let mut values: BTreeMap<String, String> = BTreeMap::new();
    let mut set = |name: &str, value: &str| {
        if values.insert(name.to_owned(), value.to_owned()).is_none() {
            order.push(name.to_owned());
        }
    };
    set("PATH", DEFAULT_PATH);
    if config.tty {
        set("TERM", "xterm");
    }
    set("HOSTNAME", hostname);
    for pair in &image.env {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        set(name, value);
    }
    for (name, value) in &config.env {
        set(name, value);
    }
    order.into_iter().map(|name| format!("{name}={}", values[&name])).collect()
}

/// Ported behaviour: containerd `internal/cri/opts`: ALL first, then names; drop wins over nothing, add over
/// drop ALL.
pub fn capabilities(config: &ContainerConfig, available: &[String]) -> Vec<String> {
    let security = &config.security;
    if security.privileged {
        return available.to_vec();
    }
    let full = |name: &String| match name.to_uppercase() {
        name if name.starts_with("CAP_") => name,
        name => format!("CAP_{name}"),
    };
    let all = |list: &[String]| list.iter().any(|name| name.eq_ignore_ascii_case("all"));
    let mut set: Vec<String> = match (all(&security.add_capabilities), all(&security.drop_capabilities)) {
        (true, _) => available.to_vec(),
        (false, true) => Vec::new(),
        (false, false) => DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
    };
    let named = |list: &[String]| -> Vec<String> {
        list.iter().filter(|name| !name.eq_ignore_ascii_case("all")).map(full).collect()
    };
    set.extend(named(&security.add_capabilities));
    let dropped = named(&security.drop_capabilities);
    set.retain(|name| !dropped.contains(name) && available.contains(name));
    set.sort();
    set.dedup();
    set
}

/// A user that is not root holds none until it executes a file that has some: as the kernel would have it.
fn capability_sets(capabilities: &[String], uid: u32) -> Value {
    let held: &[String] = if uid == 0 { capabilities } else { &[] };
    json!({"bounding": capabilities, "effective": held, "permitted": held, "inheritable": [], "ambient": []})
}

fn mounts(input: &Input<'_>) -> Vec<Value> {
    let privileged = input.config.security.privileged;
    let access = if privileged { "rw" } else { "ro" };
    let mut all = vec![
        json!({"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
               "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]}),
        json!({"destination": "/dev/pts", "type": "devpts", "source": "devpts",
               "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]}),
        json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
               "options": ["nosuid", "noexec", "nodev"]}),
        json!({"destination": "/sys", "type": "sysfs", "source": "sysfs",
               "options": ["nosuid", "noexec", "nodev", access]}),
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
               "options": ["nosuid", "noexec", "nodev", "relatime", access]}),
    ];
    let asked = |path: &str| input.config.mounts.iter().any(|mount| mount.container_path == path);
    if !asked("/dev/shm") {
        all.push(json!({"destination": "/dev/shm", "type": "bind", "source": input.shm,
                        "options": ["rbind", "nosuid", "nodev", "noexec"]}));
    }
    // parents before children
    let mut wanted: Vec<&Mount> = input.config.mounts.iter().collect();
    wanted.sort_by_key(|mount| Path::new(&mount.container_path).components().count());
    all.retain(|mount| !asked(mount["destination"].as_str().unwrap_or_default()));
    all.extend(wanted.into_iter().map(bind));
    all
}

fn bind(mount: &Mount) -> Value {
    let propagation = match mount.propagation {
        Propagation::Private => "rprivate",
        Propagation::HostToContainer => "rslave",
        Propagation::Bidirectional => "rshared",
    };
    let access = if mount.readonly { "ro" } else { "rw" };
    json!({"destination": mount.container_path, "type": "bind", "source": mount.host_path,
           "options": ["rbind", propagation, access]})
}

fn linux(input: &Input<'_>, capabilities: &[String]) -> Value {
    let security = &input.config.security;
    let mut linux = json!({
        "cgroupsPath": input.cgroup,
        "namespaces": namespaces(input.namespaces),
        "devices": devices(input),
        "rootfsPropagation": root_propagation(input.config),
    });
    if !security.privileged {
        let paths = |asked: &Option<Vec<String>>, default: &[&str]| -> Vec<String> {
            asked.clone().unwrap_or_else(|| default.iter().map(|path| (*path).to_owned()).collect())
        };
        linux["maskedPaths"] = paths(&security.masked_paths, &MASKED).into();
        linux["readonlyPaths"] = paths(&security.readonly_paths, &READONLY).into();
        match (&security.seccomp, &input.seccomp) {
            (SeccompProfile::Unconfined, _) => {}
            (SeccompProfile::Localhost(_), Some(profile)) => linux["seccomp"] = profile.clone(),
            _ => linux["seccomp"] = crate::seccomp::default_profile(capabilities),
        }
    }
    linux
}

/// Mounts can only travel into or out of a root that shares.
fn root_propagation(config: &ContainerConfig) -> &'static str {
    let any = |wanted| config.mounts.iter().any(|mount| mount.propagation == wanted);
    match (any(Propagation::Bidirectional), any(Propagation::HostToContainer)) {
        (true, _) => "shared",
        (false, true) => "slave",
        (false, false) => "private",
    }
}

fn namespaces(joined: &Joined) -> Vec<Value> {
    let mut all = vec![json!({"type": "mount"})];
    for (kind, path) in [("network", &joined.network), ("ipc", &joined.ipc), ("uts", &joined.uts)] {
        if let Some(path) = path {
            all.push(json!({"type": kind, "path": path}));
        }
    }
    match &joined.pid {
        PidNamespace::Own => all.push(json!({"type": "pid"})),
        PidNamespace::Node => {}
        PidNamespace::Path(path) => all.push(json!({"type": "pid", "path": path})),
    }
    all
}

fn devices(input: &Input<'_>) -> Vec<Value> {
    let listed =
        input.config.devices.iter().map(|device| (device.host_path.clone(), device.container_path.clone()));
    let mut all: Vec<(PathBuf, String)> = listed.collect();
    if input.config.security.privileged {
        all.extend(crate::sandbox::host_devices());
    }
    all.iter().filter_map(|(host, inside)| device_node(host, inside)).collect()
}

fn device_node(host: &Path, inside: &str) -> Option<Value> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let meta = std::fs::metadata(host).ok()?;
    let kind = match meta.file_type() {
        kind if kind.is_block_device() => "b",
        kind if kind.is_char_device() => "c",
        _ => return None,
    };
    Some(
        json!({"path": inside, "type": kind, "major": libc::major(meta.rdev()), "minor": libc::minor(meta.rdev()),
                "fileMode": meta.mode() & 0o777, "uid": meta.uid(), "gid": meta.gid()}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sampan_cri::SecurityContext;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|one| (*one).to_owned()).collect()
    }

    #[test]
    fn command_and_args_follow_kubernetes_table() {
        let image =
            ImageConfig { entrypoint: strings(&["/ep"]), cmd: strings(&["cmd"]), ..ImageConfig::default() };
        for (command_, args, expect) in [
            (&[][..], &[][..], &["/ep", "cmd"][..]),
            (&[], &["a"], &["/ep", "a"]),
            (&["c"], &[], &["c"]),
            (&["c"], &["a"], &["c", "a"]),
        ] {
            let config =
                ContainerConfig { command: strings(command_), args: strings(args), ..Default::default() };
            assert_eq!(command(&config, &image), strings(expect));
        }
    }

    #[test]
    fn capabilities_are_added_and_dropped() {
        let mut available = strings(&["CAP_SYS_ADMIN", "CAP_NET_ADMIN"]);
        available.extend(DEFAULT_CAPABILITIES.iter().map(|one| (*one).to_owned()));
        let of = |add: &[&str], drop: &[&str], privileged| {
            let security = SecurityContext {
                add_capabilities: strings(add),
                drop_capabilities: strings(drop),
                privileged,
                ..Default::default()
            };
            capabilities(&ContainerConfig { security, ..Default::default() }, &available)
        };
        assert_eq!(of(&[], &[], false).len(), 14);
        assert_eq!(of(&[], &["ALL"], false), strings(&[]));
        assert_eq!(of(&["NET_ADMIN"], &["ALL"], false), strings(&["CAP_NET_ADMIN"]));
        assert_eq!(of(&["ALL"], &["CHOWN"], false).len(), 15);
        assert_eq!(of(&[], &[], true).len(), 16);
        // what the node's root lacks cannot be given
        assert!(!of(&["SYS_RESOURCE"], &[], false).contains(&"CAP_SYS_RESOURCE".to_owned()));
    }

    #[test]
    fn environment_keeps_order_and_the_last_value() {
        let image = ImageConfig { env: strings(&["A=1", "PATH=/x"]), ..ImageConfig::default() };
        let env = vec![("A".to_owned(), "2".to_owned()), ("B".to_owned(), "3".to_owned())];
        let config = ContainerConfig { env, ..Default::default() };
        assert_eq!(environment(&config, &image, "h"), ["PATH=/x", "HOSTNAME=h", "A=2", "B=3"]);
    }
}
