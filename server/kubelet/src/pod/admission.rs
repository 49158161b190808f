//! What the kubelet refuses to run at all. Pure.
//!
//! Ported from upstream's `pkg/kubelet/sysctl/allowlist.go`, without `--allowed-unsafe-sysctls`; which sysctls are safe
//! is [`sysctl`]'s to say. Of `pkg/kubelet/lifecycle/predicate.go` the ports: of a pod that no scheduler placed, they may be
//! another's.

use k8s_openapi::api::core::v1::Pod;
use sampan_api::validate::sysctl::{self, Namespace};

/// The reason of a pod refused for its sysctls.
pub const SYSCTL_FORBIDDEN: &str = "SysctlForbidden";

/// The reason of a pod whose host ports another one has.
const NODE_PORTS: &str = "NodePorts";

/// Whether a reason is one of this page's.
pub fn is_refusal(reason: &str) -> bool {
    [SYSCTL_FORBIDDEN, NODE_PORTS].contains(&reason)
}

/// Whether a pod wants ports of the node.
pub fn wants_ports(pod: &Pod) -> bool {
    host_ports(pod).next().is_some()
}

/// Why a pod that comes to the node is not run, beside those that are there: reason and message.
pub fn refused_beside<'a>(pod: &Pod, there: impl Iterator<Item = &'a Pod>) -> Option<(&'static str, String)> {
    let wanted: Vec<_> = host_ports(pod).collect();
    let taken = !wanted.is_empty()
        && there.flat_map(host_ports).any(|there| wanted.iter().any(|wanted| collide(wanted, &there)));
    let why = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports";
    taken.then(|| (NODE_PORTS, why.to_owned()))
}

/// Port, protocol and address of the node; an empty one is every address.
type HostPort<'a> = (i32, &'a str, &'a str);

/// Those of containers that run as long as the pod does.
fn host_ports(pod: &Pod) -> impl Iterator<Item = HostPort<'_>> {
    let spec = pod.spec.as_ref();
    let sidecars = spec.into_iter().flat_map(|spec| spec.init_containers.iter().flatten());
    let sidecars = sidecars.filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let containers = spec.into_iter().flat_map(|spec| &spec.containers).chain(sidecars);
    containers.flat_map(|container| container.ports.iter().flatten()).filter_map(|port| {
        let address =
            port.host_ip.as_deref().filter(|ip| !matches!(*ip, "0.0.0.0" | "::")).unwrap_or_default();
        let number = port.host_port.filter(|number| *number > 0)?;
        Some((number, port.protocol.as_deref().unwrap_or("TCP"), address))
    })
}

fn collide(one: &HostPort<'_>, other: &HostPort<'_>) -> bool {
    (one.0, one.1) == (other.0, other.1) && (one.2 == other.2 || one.2.is_empty() || other.2.is_empty())
}

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
    #[test]
    fn a_port_of_the_node_is_one_pods() {
        let pod = |port: i32, protocol: &str, ip: &str| -> Pod {
            serde_json::from_value(json!({"metadata": {}, "spec": {"containers": [{"name": "c", "ports": [
                {"containerPort": 80, "hostPort": port, "protocol": protocol, "hostIP": ip}]}]}}))
            .unwrap()
        };
        let cases = [
            (pod(80, "TCP", ""), true),
            (pod(80, "TCP", "0.0.0.0"), true),
            (pod(80, "TCP", "10.0.0.1"), true),
            (pod(80, "TCP", "10.0.0.2"), false),
            (pod(80, "UDP", "10.0.0.1"), false),
            (pod(81, "TCP", "10.0.0.1"), false),
            (pod(0, "TCP", ""), false),
        ];
        let there = [pod(443, "TCP", ""), pod(80, "TCP", "10.0.0.1")];
        for (pod, taken) in cases {
            let refused = refused_beside(&pod, there.iter());
            assert_eq!(refused.map(|(reason, _)| reason), taken.then_some("NodePorts"), "{pod:?}");
        }
        assert_eq!(refused_beside(&pod(80, "TCP", ""), [].iter()), None);
    }
}
