//! Fields and resources of a pod as text, for environment variables and downwardAPI volumes.
//!
//! Ported from upstream's `pkg/fieldpath/fieldpath.go` and `pkg/api/v1/resource/helpers.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

use super::amounts::{Side, amount};
use super::qos::{limit_millis, millis, request_millis};

/// What the node adds to what the pod says.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// `status.hostIPs`.
    pub host_ips: Vec<String>,
    /// `status.podIPs`.
    pub pod_ips: Vec<String>,
    /// Thousandths of the node's allocatable CPUs.
    pub cpu_millis: i128,
    /// Allocatable bytes of memory.
    pub memory_bytes: i128,
    /// Allocatable bytes of disk.
    pub disk_bytes: i128,
}

/// The value of a field path.
pub fn field(pod: &Pod, path: &str, facts: &Facts) -> Result<String, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some((base, subscript)) = path.strip_suffix(']').and_then(|p| p.split_once('[')) {
        let key = subscript.trim_matches(['\'', '"']);
        let map = match base {
            "metadata.annotations" => &meta.annotations,
            "metadata.labels" => &meta.labels,
            _ => return Err(format!("fieldPath {path:?} does not support subscript")),
        };
        return Ok(map.as_ref().and_then(|m| m.get(key)).cloned().unwrap_or_default());
    }
    let text = match path {
        "metadata.annotations" => format_map(meta.annotations.as_ref()),
        "metadata.labels" => format_map(meta.labels.as_ref()),
        "metadata.name" => meta.name.clone().unwrap_or_default(),
        "metadata.namespace" => meta.namespace.clone().unwrap_or_default(),
        "metadata.uid" => meta.uid.clone().unwrap_or_default(),
        "spec.nodeName" => spec.and_then(|s| s.node_name.clone()).unwrap_or_default(),
        "spec.serviceAccountName" => spec.and_then(|s| s.service_account_name.clone()).unwrap_or_default(),
        "status.hostIP" => facts.host_ips.first().cloned().unwrap_or_default(),
        "status.hostIPs" => facts.host_ips.join(","),
        "status.podIP" => facts.pod_ips.first().cloned().unwrap_or_default(),
        "status.podIPs" => facts.pod_ips.join(","),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    };
    Ok(text)
}

/// Upstream's `FormatMap`: `key="value"` lines, sorted.
fn format_map(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(k, v)| format!("{k}={v:?}")).collect();
    lines.join("\n")
}

/// The value of a resource of a container, in units of the divisor, rounded up.
pub fn resource(
    pod: &Pod,
    container: &Container,
    selector: &ResourceFieldSelector,
    facts: &Facts,
) -> Result<String, String> {
    let whole = pod.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    // without a limit, what the pod as a whole may use, or what the node can give
    let default = |name: &str| match (name, whole.and_then(|whole| amount(whole, Side::Limits, name))) {
        ("cpu" | "memory", Some(limit)) => limit,
        ("cpu", None) => facts.cpu_millis,
        ("memory", None) => facts.memory_bytes * 1000,
        ("ephemeral-storage", _) => facts.disk_bytes * 1000,
        _ => 0,
    };
    let amount = match selector.resource.split_once('.') {
        Some(("limits", name)) => limit_millis(container, name).unwrap_or_else(|| default(name)),
        Some(("requests", name)) => request_millis(container, name).unwrap_or(0),
        _ => return Err(format!("unsupported container resource : {}", selector.resource)),
    };
    let divisor = selector.divisor.as_ref().and_then(millis).filter(|d| *d > 0).unwrap_or(1000);
    Ok((amount.div_euclid(divisor) + i128::from(amount.rem_euclid(divisor) != 0)).to_string())
}

/// The container that a selector means: the one named, or `own`.
pub fn container_of<'a>(
    pod: &'a Pod,
    name: Option<&str>,
    own: Option<&'a Container>,
) -> Option<&'a Container> {
    let Some(name) = name.filter(|n| !n.is_empty()) else { return own };
    let spec = pod.spec.as_ref()?;
    spec.containers.iter().chain(spec.init_containers.iter().flatten()).find(|c| c.name == name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn without_a_limit_of_its_own_a_container_has_the_pods_or_the_nodes() {
        let facts = Facts { cpu_millis: 2000, memory_bytes: 4096, ..Facts::default() };
        let container: Container = serde_json::from_value(json!({"name": "c"})).unwrap();
        for (whole, name, want) in [
            (json!({"limits": {"cpu": "500m", "memory": "64"}}), "memory", "64"),
            (json!({"limits": {"cpu": "3"}}), "cpu", "3"),
            (json!({"limits": {"cpu": "3"}}), "memory", "4096"),
            (json!({}), "cpu", "2"),
        ] {
            let spec = json!({"containers": [], "resources": whole});
            let pod: Pod = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
            let selector = json!({"resource": format!("limits.{name}")});
            let selector = serde_json::from_value(selector).unwrap();
            assert_eq!(resource(&pod, &container, &selector, &facts).as_deref(), Ok(want), "{whole} {name}");
        }
    }
}
