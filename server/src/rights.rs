//! What the daemon needs of the machine, checked before anything is touched.

use std::path::Path;

use crate::failure::{Failure, Kind};

/// Capabilities without which no pod can be run, as bits of `CapEff`, with the reason.
const CAPABILITIES: [(u32, &str, &str); 6] = [
    (21, "CAP_SYS_ADMIN", "namespaces and mounts"),
    (12, "CAP_NET_ADMIN", "the pod network"),
    (0, "CAP_CHOWN", "files of images and volumes"),
    (6, "CAP_SETGID", "groups of containers"),
    (7, "CAP_SETUID", "users of containers"),
    (5, "CAP_KILL", "stopping containers"),
];

/// Fails with the names of what is missing.
pub fn check() -> Result<(), Failure> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let missing = missing_capabilities(&status);
    if !missing.is_empty() {
        return Err(Failure::new(Kind::PermissionDenied, format!("missing rights: {}", missing.join(", "))));
    }
    if find_tool("nft").is_none() {
        let message = "the nft command is missing (package nftables); it sets up the pod network's rules";
        return Err(Failure::new(Kind::HostMissing, message));
    }
    Ok(())
}

/// Which of [`CAPABILITIES`] the process whose `/proc/…/status` this is lacks, each with its use.
fn missing_capabilities(status: &str) -> Vec<String> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let bits = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    CAPABILITIES
        .iter()
        .filter(|(bit, ..)| bits & (1 << bit) == 0)
        .map(|(_, name, use_)| format!("{name} ({use_})"))
        .collect()
}

/// An executable on the PATH, or where Debian keeps administrators' tools.
pub fn find_tool(name: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/local/bin"].map(Into::into))
        .map(|directory| directory.join(name))
        .find(|file| Path::is_file(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_missing_capability_is_named_with_its_use() {
        assert!(missing_capabilities("CapEff:\t000001ffffffffff\n").is_empty());
        assert_eq!(missing_capabilities("CapEff:\t000001ffffffefff\n"), ["CAP_NET_ADMIN (the pod network)"]);
        assert_eq!(missing_capabilities("CapEff:\t0000000000000000\n").len(), CAPABILITIES.len());
    }
}
