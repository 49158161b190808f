//! What this machine is: from /proc, /etc and the file system.

use std::net::IpAddr;
use std::path::Path;

use k8s_openapi::api::core::v1::NodeSystemInfo;

use crate::context::Machine;

/// The kubelet's version, as the node shows it.
pub const VERSION: &str = "v1.36.0+sampan";

/// What does not change while the daemon runs.
#[derive(Clone, Debug)]
pub struct NodeFacts {
    /// `status.nodeInfo`.
    pub info: NodeSystemInfo,
    /// The machine.
    pub machine: Machine,
    /// Addresses.
    pub ips: Vec<IpAddr>,
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Reads the machine; `root` is on the disk that pods use.
pub fn machine(root: &Path) -> Machine {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let disk = nix::sys::statvfs::statvfs(root).map_or(0, |s| s.blocks() * s.fragment_size());
    Machine {
        cpu_millis: i128::try_from(cpus).unwrap_or(1) * 1000,
        memory_bytes: memory("MemTotal:"),
        disk_bytes: disk,
    }
}

/// A line of /proc/meminfo, in bytes.
pub fn memory(name: &str) -> u64 {
    let text = read("/proc/meminfo");
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

impl NodeFacts {
    /// Reads the machine.
    pub fn read(root: &Path, ips: Vec<IpAddr>, runtime_version: String) -> Self {
        Self { info: info(runtime_version), machine: machine(root), ips }
    }
}

fn info(container_runtime_version: String) -> NodeSystemInfo {
    let machine_id = read("/etc/machine-id");
    let product = read("/sys/class/dmi/id/product_uuid");
    let os = read("/etc/os-release");
    let pretty = os.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("Linux");
    NodeSystemInfo {
        architecture: architecture().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id"),
        container_runtime_version,
        kernel_version: read("/proc/sys/kernel/osrelease"),
        kube_proxy_version: String::new(),
        kubelet_version: VERSION.to_owned(),
        system_uuid: if product.is_empty() { machine_id.clone() } else { product },
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: pretty.trim_matches('"').to_owned(),
        swap: None,
    }
}

/// Go's name of this architecture.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Bytes of memory that can be had without swapping.
pub fn available_memory() -> u64 {
    memory("MemAvailable:")
}
