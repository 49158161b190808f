//! Fields and resources of a pod as text, for environment variables and downwardAPI volumes.
//!
//! Ported from upstream's `pkg/fieldpath/fieldpath.go` and `pkg/api/v1/resource/helpers.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};

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
    container: &Container,
    selector: &ResourceFieldSelector,
    facts: &Facts,
) -> Result<String, String> {
    let default = |name: &str| match name {
        "cpu" => facts.cpu_millis,
        "memory" => facts.memory_bytes * 1000,
        "ephemeral-storage" => facts.disk_bytes * 1000,
        _ => 0,
    };
    let amount = match selector.resource.split_once('.') {
        // without a limit, what the node can give
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
