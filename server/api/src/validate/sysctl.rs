//! Kernel parameters of pods: which names are well formed, which are of a namespace, which are safe.
//!
//! A name has two spellings, `net.ipv4.conf.eth0/1.x` and `net/ipv4/conf/eth0.1/x`; whichever separator comes
//! first separates, the other stands for itself the other way round.

use super::access::*;
use crate::status::FieldError;

const MAX_LENGTH: usize = 253;
const REGEX: &str = r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

/// Upstream's `pkg/kubelet/sysctl/safe_sysctls.go`: they change nothing outside their pod, not even by using
/// up the node's memory.
const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// The namespace that a parameter belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// `net.*`.
    Network,
    /// `kernel.shm*`, `kernel.msg*`, `kernel.sem`, `fs.mqueue.*`.
    Ipc,
}

/// The spelling with dots.
pub fn normalized(name: &str) -> String {
    let swap = |one| match one {
        '.' => '/',
        '/' => '.',
        other => other,
    };
    match name.find(['.', '/']).is_some_and(|first| name.as_bytes()[first] == b'/') {
        true => name.chars().map(swap).collect(),
        false => name.to_owned(),
    }
}

/// Whose parameter it is; `None` if it is the whole node's. In either spelling.
pub fn namespace(name: &str) -> Option<Namespace> {
    let name = normalized(name);
    let begins = |all: &[&str]| all.iter().any(|prefix| name.starts_with(prefix));
    match () {
        () if begins(&["net."]) => Some(Namespace::Network),
        () if name == "kernel.sem" || begins(&["kernel.shm", "kernel.msg", "fs.mqueue."]) => {
            Some(Namespace::Ipc)
        }
        () => None,
    }
}

/// Whether every pod may set it on a kubelet that allows no others. In either spelling.
pub fn is_safe(name: &str) -> bool {
    SAFE.contains(&normalized(name).as_str())
}

/// Whether upstream's [`REGEX`] and length hold.
pub fn is_valid_name(name: &str) -> bool {
    let outer = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let segment = |one: &str| {
        let bytes = one.as_bytes();
        bytes.first().is_some_and(|byte| outer(*byte))
            && bytes.last().is_some_and(|byte| outer(*byte))
            && bytes.iter().all(|byte| outer(*byte) || matches!(byte, b'-' | b'_'))
    };
    name.len() <= MAX_LENGTH && name.split(['.', '/']).all(segment)
}

/// Checks `sysctls` of a pod's security context at `at`; the pod's `spec` says what it shares with the node.
pub(super) fn sysctls(spec: &serde_json::Value, at: &str, errors: &mut Errors) {
    let context = get(spec, "securityContext");
    let mut seen: Vec<&str> = Vec::new();
    for (at, sysctl) in each(context, "sysctls", at) {
        let (name, at) = (text(sysctl, "name"), join(&at, "name"));
        match name {
            "" => errors.push(FieldError::required(at.as_str(), "")),
            _ if !is_valid_name(name) => {
                let why = format!("must have at most {MAX_LENGTH} characters and match regex {REGEX}");
                errors.push(FieldError::invalid(at.as_str(), name, why));
            }
            _ if seen.contains(&name) => errors.push(FieldError::duplicate(at.as_str(), name)),
            _ => {}
        }
        seen.push(name);
        shared_with_node(spec, name, &at, errors);
    }
}

/// A pod on the node's namespace would set the node's own parameter.
fn shared_with_node(spec: &serde_json::Value, name: &str, at: &str, errors: &mut Errors) {
    let key = match namespace(name) {
        Some(Namespace::Network) => "hostNetwork",
        Some(Namespace::Ipc) => "hostIPC",
        None => return,
    };
    if get(spec, key).as_bool() == Some(true) {
        errors.push(FieldError::invalid(at, name, format!("may not be specified when '{key}' is true")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_those_of_upstreams_expression() {
        for (name, valid) in [
            ("net.ipv4.tcp_rmem", true),
            ("net/ipv4/conf/eth0.1/x", true),
            ("kernel.shm_rmid_forced", true),
            ("a", true),
            ("", false),
            ("/etc/passwd", false),
            ("..etc.passwd", false),
            ("net..ipv4", false),
            ("net/../../etc", false),
            ("net.ipv4.", false),
            ("Net.x", false),
            ("net.ipv4._x", false),
            ("net.ipv4 x", false),
        ] {
            assert_eq!(is_valid_name(name), valid, "{name}");
        }
        assert!(!is_valid_name(&"a".repeat(254)));
    }

    #[test]
    fn each_parameter_has_its_namespace() {
        for (name, expect) in [
            ("net.core.somaxconn", Some(Namespace::Network)),
            ("net/core/somaxconn", Some(Namespace::Network)),
            ("kernel.shmmax", Some(Namespace::Ipc)),
            ("kernel.msgmnb", Some(Namespace::Ipc)),
            ("kernel.sem", Some(Namespace::Ipc)),
            ("fs.mqueue.msg_max", Some(Namespace::Ipc)),
            ("kernel.core_pattern", None),
            ("kernel.semantics", None),
            ("vm.swappiness", None),
            ("network", None),
        ] {
            assert_eq!(namespace(name), expect, "{name}");
        }
        assert!(is_safe("net.ipv4.tcp_rmem") && is_safe("net/ipv4/tcp_rmem"));
        assert!(!is_safe("net.core.somaxconn") && !is_safe("kernel.core_pattern"));
    }

    #[test]
    fn complaints_are_upstreams() {
        let of = |more: serde_json::Value, names: &[&str]| {
            let list: Vec<_> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
            let mut spec = more;
            spec["securityContext"] = json!({"sysctls": list});
            let mut errors = Errors::new();
            sysctls(&spec, "spec.securityContext", &mut errors);
            errors.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [String; 0] = [];
        assert_eq!(of(json!({}), &["net.ipv4.tcp_rmem"]), none);
        let bad = &of(json!({}), &["/etc/passwd"])[0];
        assert!(bad.contains("must have at most 253 characters and match regex ^([a-z0-9]"), "{bad}");
        assert!(bad.contains("spec.securityContext.sysctls[0].name"), "{bad}");
        assert!(of(json!({}), &["a.b", "a.b"])[0].contains("Duplicate value"));
        let shared = &of(json!({"hostNetwork": true}), &["net.core.somaxconn"])[0];
        assert!(shared.contains("may not be specified when 'hostNetwork' is true"), "{shared}");
        assert!(of(json!({"hostIPC": true}), &["kernel.sem"])[0].contains("'hostIPC'"));
    }
}
