//! Kernel parameters inside a pod's namespaces, and none of the node's.
//!
//! The API refuses malformed names and the kubelet those that are not safe; neither is trusted here, because
//! what is written is a file of the node's `/proc`, by root.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Namespaces that a sandbox has to itself.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// Not the node's network.
    pub network: bool,
    /// Not the node's IPC.
    pub ipc: bool,
}

/// Writes the parameters; the calling thread is in the pod's namespaces.
///
/// Fails before the first is written if any is not of an own namespace; the error names it.
pub fn write(sysctls: &BTreeMap<String, String>, own: Own) -> io::Result<()> {
    let files = sysctls.iter().map(|(name, value)| Ok((path(name, own)?, name, value)));
    for (path, name, value) in files.collect::<Result<Vec<_>, String>>().map_err(io::Error::other)? {
        std::fs::write(&path, value)
            .map_err(|error| io::Error::other(format!("sysctl {name}={value}: {error}")))?;
    }
    Ok(())
}

/// The parameter's file, if it is of a namespace that the pod has to itself.
fn path(name: &str, own: Own) -> Result<PathBuf, String> {
    let parts = components(name).ok_or_else(|| format!("sysctl {name:?} is not a valid name"))?;
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (owned, namespace) = match parts[..] {
        ["net", _, ..] => (own.network, "network"),
        ["kernel", "sem"] | ["fs", "mqueue", _] => (own.ipc, "IPC"),
        ["kernel", one] if one.starts_with("shm") || one.starts_with("msg") => (own.ipc, "IPC"),
        _ => return Err(format!("sysctl {name:?} is not namespaced: it would change the whole node")),
    };
    match owned {
        true => Ok(parts.iter().fold(Path::new("/proc/sys").to_owned(), |path, part| path.join(part))),
        false => {
            Err(format!("sysctl {name:?} is not allowed: the pod shares the node's {namespace} namespace"))
        }
    }
}

/// File names of a parameter. The separator that comes first separates; the other stands for itself the other
/// way round, as in `net.ipv4.conf.eth0/1.x` and `net/ipv4/conf/eth0.1/x`.
fn components(name: &str) -> Option<Vec<String>> {
    let separator = name.chars().find(|one| matches!(one, '.' | '/'))?;
    let part = |part: &str| {
        let plain = match separator {
            '.' => part.replace('/', "."),
            _ => part.to_owned(),
        };
        let word = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let clean = plain.bytes().all(word) && plain.bytes().next().is_some_and(|byte| byte != b'.');
        clean.then_some(plain)
    };
    name.split(separator).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Own = Own { network: true, ipc: true };

    #[test]
    fn only_files_of_the_pods_namespaces_are_written() {
        for (name, file) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
            ("net.ipv4.conf.eth0/1.rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
            ("net/ipv4/conf/eth0.1/rp_filter", "net/ipv4/conf/eth0.1/rp_filter"),
            ("kernel.shmmax", "kernel/shmmax"),
            ("kernel.msgmnb", "kernel/msgmnb"),
            ("kernel.sem", "kernel/sem"),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ] {
            assert_eq!(path(name, ALL).as_deref(), Ok(Path::new("/proc/sys").join(file).as_path()), "{name}");
        }
        for name in [
            "/etc/passwd",
            "net/../../../etc/passwd",
            "net/./ipv4",
            "net..ipv4",
            "net.//////etc/passwd",
            "net./../../etc",
            "kernel.core_pattern",
            "kernel.sem.x",
            "kernel.shm/../core_pattern",
            "vm.swappiness",
            "net",
            "",
            "net.a b",
        ] {
            assert!(path(name, ALL).is_err(), "{name}");
        }
    }

    #[test]
    fn the_nodes_namespaces_are_left_alone() {
        let without_network = Own { network: false, ipc: true };
        let without_ipc = Own { network: true, ipc: false };
        assert!(path("net.core.somaxconn", without_network).unwrap_err().contains("network namespace"));
        assert!(path("kernel.sem", without_ipc).unwrap_err().contains("IPC namespace"));
        assert!(path("kernel.sem", without_network).is_ok() && path("net.core.x", without_ipc).is_ok());
    }
}
