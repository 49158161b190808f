//! What the kubelet refuses to run at all. Pure.
//!
//! Ported from upstream's `pkg/kubelet/sysctl/allowlist.go`, without `--allowed-unsafe-sysctls`; which sysctls are safe
//! is [`sysctl`]'s to say.

use k8s_openapi::api::core::v1::Pod;
use sampan_api::validate::sysctl::{self, Namespace};

/// The reason of a pod refused for its sysctls.
pub const SYSCTL_FORBIDDEN: &str = "SysctlForbidden";

/// Why the pod is not run: reason and message.
pub fn refused(pod: &Pod) -> Option<(&'static str, String)> {
    let spec = pod.spec.as_ref()?;
    let sysctls = spec.security_context.as_ref()?.sysctls.as_ref()?;
    let (net, ipc) = (spec.host_network == Some(true), spec.host_ipc == Some(true));
    let why = sysctls.iter().find_map(|sysctl| forbidden(&sysctl.name, net, ipc))?;
    Some((SYSCTL_FORBIDDEN, format!("forbidden sysctl: {why}")))
}

fn forbidden(name: &str, host_network: bool, host_ipc: bool) -> Option<String> {
    let name = sysctl::normalized(name);
    if !sysctl::is_safe(&name) {
        return Some(format!("{name:?} not allowlisted"));
    }
    match sysctl::namespace(&name) {
        Some(Namespace::Network) if host_network => {
            Some(format!("{name:?} not allowed with host net enabled"))
        }
        Some(Namespace::Ipc) if host_ipc => Some(format!("{name:?} not allowed with host ipc enabled")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn only_safe_sysctls_of_the_pods_own_namespaces_are_run() {
        let cases = [
            ("kernel.shm_rmid_forced", "", None),
            ("net/ipv4/tcp_syncookies", "", None),
            ("net.core.somaxconn", "", Some("\"net.core.somaxconn\" not allowlisted")),
            ("kernel.core_pattern", "", Some("\"kernel.core_pattern\" not allowlisted")),
            (
                "net.ipv4.tcp_rmem",
                "hostNetwork",
                Some("\"net.ipv4.tcp_rmem\" not allowed with host net enabled"),
            ),
            ("net.ipv4.tcp_rmem", "hostIPC", None),
            (
                "kernel.shm_rmid_forced",
                "hostIPC",
                Some("\"kernel.shm_rmid_forced\" not allowed with host ipc enabled"),
            ),
        ];
        for (name, host, why) in cases {
            let mut spec = json!({"containers": [],
                "securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
            if !host.is_empty() {
                spec[host] = json!(true);
            }
            let pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let want = why.map(|why| (SYSCTL_FORBIDDEN, format!("forbidden sysctl: {why}")));
            assert_eq!(refused(&pod), want, "{name} {host}");
        }
    }
}
