//! What the kubelet refuses to run at all. Pure.
//!
//! Ported from upstream's `pkg/kubelet/sysctl/allowlist.go`, without `--allowed-unsafe-sysctls`; which sysctls are safe
//! is [`sysctl`]'s to say. And from `pkg/kubelet/lifecycle/predicate.go`: a pod that no scheduler placed may ask for more than
//! is left ([`fit`]), for another node ([`place`]), or for ports that are another's. Where more than one is amiss the first is
//! told, in upstream's order. Where a critical pod lacks nothing but room, others have to go ([`preemption`]).

mod fit;
mod place;
mod preemption;

pub use preemption::is_critical;

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, Pod};
use sampan_api::validate::sysctl::{self, Namespace};

/// Why a pod is not run: reason and message.
pub type Refusal = (Cow<'static, str>, String);

/// The reason of a pod refused for its sysctls.
pub const SYSCTL_FORBIDDEN: &str = "SysctlForbidden";

/// The reason of a pod whose host ports another one has.
const NODE_PORTS: &str = "NodePorts";

/// Whether a reason is one of this page's.
pub fn is_refusal(reason: &str) -> bool {
    [
        SYSCTL_FORBIDDEN,
        NODE_PORTS,
        place::NODE_AFFINITY,
        place::TAINT_TOLERATION,
        place::OS_LABEL,
        place::OS_FIELD,
        place::GROUPS,
        preemption::UNEXPECTED,
    ]
    .contains(&reason)
        || reason.starts_with(fit::OUT_OF)
}

/// Whether the node's labels or taints are the reason, which may have changed a moment ago.
pub fn is_of_node(refusal: &Refusal) -> bool {
    matches!(&*refusal.0, place::NODE_AFFINITY | place::TAINT_TOLERATION)
}

/// Whether a pod that comes to the node is run.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It is.
    Admitted,
    /// It is not, and why.
    Refused(Refusal),
    /// It is, once these have gone.
    After(Vec<Arc<Pod>>),
}

/// Whether a pod that comes to the node is run, beside those that stay and those that are ended already so that critical
/// ones have room. Another critical one has not to find room beside both, but may have to wait for these as well.
pub fn judge(pod: &Pod, staying: &[Arc<Pod>], leaving: &[Arc<Pod>], node: &Node) -> Verdict {
    let verdict = judge_beside(pod, &[staying, leaving].concat(), node);
    if leaving.is_empty() || verdict == Verdict::Admitted || !preemption::is_critical(pod) {
        return verdict;
    }
    match judge_beside(pod, staying, node) {
        Verdict::Refused(refusal) => Verdict::Refused(refusal),
        Verdict::Admitted => Verdict::After(leaving.to_vec()),
        Verdict::After(victims) => Verdict::After([&victims, leaving].concat()),
    }
}

fn judge_beside(pod: &Pod, there: &[Arc<Pod>], node: &Node) -> Verdict {
    if let Some(refusal) = place::wrong_system(pod).or_else(|| place::strict_groups(pod, node)) {
        return Verdict::Refused(refusal);
    }
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let shortages = allocatable.map_or_else(Vec::new, |all| fit::shortages(pod, there, all));
    let otherwise = || {
        place::unwanted(pod, node).or_else(|| ports_taken(pod, there)).or_else(|| place::repelled(pod, node))
    };
    let critical = preemption::is_critical(pod);
    let refusal = match shortages.first().filter(|_| !critical) {
        Some(short) => Some(short.refusal()),
        None => otherwise(),
    };
    match refusal {
        Some(refusal) => Verdict::Refused(refusal),
        None if shortages.is_empty() => Verdict::Admitted,
        None => preemption::make_room(pod, there, &shortages).map_or_else(Verdict::Refused, Verdict::After),
    }
}

fn predicate(name: &'static str, why: &str) -> Refusal {
    (name.into(), format!("Predicate {name} failed: {why}"))
}

fn ports_taken(pod: &Pod, there: &[Arc<Pod>]) -> Option<Refusal> {
    let wanted: Vec<_> = host_ports(pod).collect();
    let mut taken = there.iter().flat_map(|pod| host_ports(pod));
    let taken = !wanted.is_empty() && taken.any(|there| wanted.iter().any(|wanted| collide(wanted, &there)));
    taken.then(|| predicate(NODE_PORTS, "node(s) didn't have free ports for the requested pod ports"))
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

/// Why the pod is not run, wherever it is.
pub fn refused(pod: &Pod) -> Option<Refusal> {
    let spec = pod.spec.as_ref()?;
    let sysctls = spec.security_context.as_ref()?.sysctls.as_ref()?;
    let (net, ipc) = (spec.host_network == Some(true), spec.host_ipc == Some(true));
    let why = sysctls.iter().find_map(|sysctl| forbidden(&sysctl.name, net, ipc))?;
    Some((SYSCTL_FORBIDDEN.into(), format!("forbidden sysctl: {why}")))
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

    fn reason(verdict: Verdict) -> Option<String> {
        match verdict {
            Verdict::Admitted => None,
            Verdict::Refused((reason, _)) => Some(reason.into_owned()),
            Verdict::After(victims) => panic!("{victims:?}"),
        }
    }

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
            let want = why.map(|why| (SYSCTL_FORBIDDEN.into(), format!("forbidden sysctl: {why}")));
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
        let there = [pod(443, "TCP", "").into(), pod(80, "TCP", "10.0.0.1").into()];
        for (pod, taken) in cases {
            let reason = reason(judge(&pod, &there, &[], &Node::default()));
            assert_eq!(reason.as_deref(), taken.then_some("NodePorts"), "{pod:?}");
        }
        assert_eq!(judge(&pod(80, "TCP", ""), &[], &[], &Node::default()), Verdict::Admitted);
    }

    #[test]
    fn of_all_that_is_amiss_the_first_is_told() {
        let pod = |spec: serde_json::Value| -> Pod {
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
        };
        let container = json!({"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}],
            "resources": {"requests": {"cpu": "2"}}});
        let there = [pod(json!({"containers": [container]})).into()];
        let node = |cpus: &str, disk: &str, taint: &str| -> Node {
            serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"disk": disk}},
                "spec": {"taints": [{"key": "k", "effect": taint}]}, "status": {"allocatable": {"cpu": cpus, "pods": "9"}}}))
            .unwrap()
        };
        let wants = pod(json!({"containers": [container], "nodeSelector": {"disk": "ssd"}}));
        let free = pod(json!({"containers": [], "nodeSelector": {"disk": "ssd"}}));
        let cases = [
            (&wants, node("3", "hdd", "NoExecute"), Some("OutOfcpu")),
            (&wants, node("4", "hdd", "NoExecute"), Some("NodeAffinity")),
            (&wants, node("4", "ssd", "NoExecute"), Some("NodePorts")),
            (&free, node("4", "ssd", "NoExecute"), Some("TaintToleration")),
            (&free, node("4", "ssd", "NoSchedule"), None),
        ];
        for (pod, node, expected) in cases {
            let reason = reason(judge(pod, &there, &[], &node));
            assert_eq!(reason.as_deref(), expected);
            assert!(reason.is_none_or(|reason| is_refusal(&reason)));
        }
    }
}
