//! Baseline: nothing of the host's own. Each function is a file `policy/check_….go` upstream.

use std::collections::BTreeSet;

use serde_json::Value;

use super::view::{PodView, Set, Violation, containers, plural, quoted, setters};
use crate::value::{at, items, text};

/// hostNetwork, hostPID, hostIPC.
pub(super) fn namespaces(pod: PodView<'_>) -> Option<Violation> {
    let fields = ["hostNetwork", "hostPID", "hostIPC"];
    let shared: Vec<&str> =
        fields.into_iter().filter(|field| at(pod.spec, &[field]) == &Value::Bool(true)).collect();
    if shared.is_empty() {
        return None;
    }
    Violation::new("host namespaces", format!("{}=true", shared.join("=true, ")))
}

/// Volumes of kind hostPath.
pub(super) fn path_volumes(pod: PodView<'_>) -> Option<Violation> {
    let volumes = items(at(pod.spec, &["volumes"])).iter().filter(|v| !at(v, &["hostPath"]).is_null());
    let names: Vec<&str> = volumes.map(|v| text(v, &["name"])).collect();
    if names.is_empty() {
        return None;
    }
    let volumes = plural("volume", "volumes", names.len());
    Violation::new("hostPath volumes", format!("{volumes} {}", quoted(names)))
}

fn host_ports(container: &Value) -> impl Iterator<Item = i64> {
    let ports = items(at(container, &["ports"])).iter();
    ports.filter_map(|port| at(port, &["hostPort"]).as_i64()).filter(|port| *port != 0)
}

/// Ports of the host.
pub(super) fn ports(pod: PodView<'_>) -> Option<Violation> {
    let names = pod.named(|c| host_ports(c).next().is_some());
    if names.is_empty() {
        return None;
    }
    // as texts, for upstream sorts them so
    let ports: BTreeSet<String> = pod.containers().flat_map(host_ports).map(|p| p.to_string()).collect();
    let uses = plural("uses", "use", names.len());
    let word = plural("hostPort", "hostPorts", ports.len());
    let ports: Vec<String> = ports.into_iter().collect();
    Violation::new("hostPort", format!("{} {uses} {word} {}", containers(&names), ports.join(", ")))
}

fn handler_hosts(container: &Value) -> impl Iterator<Item = &str> {
    let handlers = [
        at(container, &["livenessProbe"]),
        at(container, &["readinessProbe"]),
        at(container, &["startupProbe"]),
        at(container, &["lifecycle", "postStart"]),
        at(container, &["lifecycle", "preStop"]),
    ];
    let hosts =
        handlers.into_iter().flat_map(|h| [text(h, &["httpGet", "host"]), text(h, &["tcpSocket", "host"])]);
    hosts.filter(|host| !host.is_empty())
}

/// Probes and hooks that ask another host than the pod.
pub(super) fn probes(pod: PodView<'_>) -> Option<Violation> {
    let names: Set<'_> = pod.named(|c| handler_hosts(c).next().is_some()).into_iter().collect();
    if names.is_empty() {
        return None;
    }
    let names: Vec<&str> = names.into_iter().collect();
    let hosts: Set<'_> = pod.containers().flat_map(handler_hosts).collect();
    let reason = "probe or lifecycle host";
    let uses = plural("uses", "use", names.len());
    let word = plural(reason, "probe or lifecycle hosts", hosts.len());
    Violation::new(reason, format!("{} {uses} {word} {}", containers(&names), quoted(hosts)))
}

/// Windows' kind of privileged.
pub(super) fn process(pod: PodView<'_>) -> Option<Violation> {
    let set = |security: &Value| at(security, &["windowsOptions", "hostProcess"]) == &Value::Bool(true);
    let names = pod.named(|c| set(at(c, &["securityContext"])));
    let by_pod = set(pod.security());
    if names.is_empty() && !by_pod {
        return None;
    }
    let who = setters(by_pod, &names);
    Violation::new(
        "hostProcess",
        format!("{who} must not set securityContext.windowsOptions.hostProcess=true"),
    )
}
