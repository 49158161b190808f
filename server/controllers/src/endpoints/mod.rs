//! Which pods stand behind a Service: EndpointSlices, and Endpoints for those who still read them; and slices of
//! Endpoints that someone else writes.

mod legacy;
mod mirroring;
mod packing;
mod repack;
mod slices;

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sampan_reconcile::{Delta, Informer, Key, Object};

use crate::context::{BY_NAMESPACE, Context};
use crate::words::{Map, created, is_ready, is_terminal, matches_map, namespace, pod_condition};

pub(crate) use legacy::LegacyEndpoints;
pub(crate) use mirroring::Mirroring;
pub(crate) use slices::Slices;

pub(crate) const HEADLESS: &str = "service.kubernetes.io/headless";
pub(crate) const TRIGGER_TIME: &str = "endpoints.kubernetes.io/last-change-trigger-time";

/// A port of a pod as a Service means it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Port {
    pub name: String,
    pub protocol: String,
    pub number: i32,
    pub app_protocol: Option<String>,
}

/// The selector, unless the Service has none or is a mere name.
pub(crate) fn selector(service: &Service) -> Option<&Map> {
    let spec = service.spec.as_ref()?;
    let external = spec.type_.as_deref() == Some("ExternalName");
    spec.selector.as_ref().filter(|selector| !selector.is_empty() && !external)
}

pub(crate) fn is_headless(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.cluster_ip.as_deref()) == Some("None")
}

pub(crate) fn publishes_unready(service: &Service) -> bool {
    service.spec.as_ref().and_then(|spec| spec.publish_not_ready_addresses) == Some(true)
}

/// Whether the pod may stand behind a Service at all (`ShouldPodBeInEndpoints`).
pub(crate) fn eligible(pod: &Pod, terminating_too: bool) -> bool {
    !is_terminal(pod)
        && !addresses(pod).is_empty()
        && (terminating_too || pod.metadata.deletion_timestamp.is_none())
}

/// All addresses of the pod.
pub(crate) fn addresses(pod: &Pod) -> Vec<String> {
    let Some(status) = &pod.status else { return Vec::new() };
    let many: Vec<String> = status.pod_ips.iter().flatten().map(|ip| ip.ip.clone()).collect();
    match many.is_empty() {
        true => status.pod_ip.iter().filter(|ip| !ip.is_empty()).cloned().collect(),
        false => many,
    }
}

/// The Service's ports as this pod numbers them; a named port that it lacks is left out.
pub(crate) fn ports(service: &Service, pod: &Pod) -> Vec<Port> {
    let wanted = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let found = wanted.filter_map(|port| {
        let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
        Some(Port {
            name: port.name.clone().unwrap_or_default(),
            number: find_port(pod, port, &protocol)?,
            protocol,
            app_protocol: port.app_protocol.clone(),
        })
    });
    found.collect()
}

fn find_port(pod: &Pod, port: &ServicePort, protocol: &str) -> Option<i32> {
    let named = match &port.target_port {
        None => return Some(port.port),
        Some(IntOrString::Int(0)) => return Some(port.port),
        Some(IntOrString::Int(number)) => return Some(*number),
        Some(IntOrString::String(name)) => name,
    };
    let spec = pod.spec.as_ref()?;
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports =
        spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    let same = |p: &&k8s_openapi::api::core::v1::ContainerPort| {
        p.name.as_ref() == Some(named) && p.protocol.as_deref().unwrap_or("TCP") == protocol
    };
    ports.find(same).map(|port| port.container_port)
}

/// The pod's own name in the Service's domain, if it asks for one.
pub(crate) fn hostname(service: &Service, pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let same =
        spec.subdomain == service.metadata.name && pod.metadata.namespace == service.metadata.namespace;
    spec.hostname.clone().filter(|hostname| same && !hostname.is_empty())
}

/// The latest change that the endpoints of a Service stand for.
pub(crate) fn trigger_time(service: &Service, pods: &[Arc<Pod>]) -> String {
    let of_pod = |pod: &Arc<Pod>| {
        let ready =
            pod_condition(pod, "Ready").and_then(|c| c.last_transition_time.as_ref()).map(|time| time.0);
        let ends = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
        ready.into_iter().chain(ends).max().unwrap_or_else(|| created(&pod.metadata))
    };
    let latest: Timestamp =
        pods.iter().map(of_pod).chain([created(&service.metadata)]).max().unwrap_or_default();
    latest.to_string()
}

/// What of a pod matters to a Service.
fn face(pod: &Pod) -> impl PartialEq + use<'_> {
    let spec = pod.spec.as_ref();
    (
        addresses(pod),
        is_ready(pod),
        is_terminal(pod),
        pod.metadata.deletion_timestamp.is_some(),
        pod.metadata.labels.as_ref(),
        spec.and_then(|spec| spec.node_name.as_ref()),
        spec.and_then(|spec| spec.hostname.as_ref()),
        &pod.metadata.uid,
    )
}

/// The Services that a change of a pod concerns.
pub(crate) fn services_of(services: &Informer<Service>, delta: &Delta<Pod>) -> Vec<Key> {
    if let (Some(old), Some(new)) = (&delta.old, &delta.new)
        && face(old) == face(new)
    {
        return Vec::new();
    }
    let all = services.by_index(BY_NAMESPACE, delta.key.namespace());
    let selects = |service: &Service| {
        selector(service).is_some_and(|selector| {
            delta.states().any(|pod| matches_map(selector, pod.metadata.labels.as_ref()))
        })
    };
    all.iter().filter(|service| selects(service)).map(|service| service.key()).collect()
}

/// The pods that a Service selects.
pub(crate) fn pods_of(context: &Context, service: &Service) -> Vec<Arc<Pod>> {
    let Some(selector) = selector(service) else { return Vec::new() };
    let mut pods = context.pods.by_index(BY_NAMESPACE, namespace(&service.metadata));
    pods.retain(|pod| matches_map(selector, pod.metadata.labels.as_ref()));
    pods.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    pods
}

#[cfg(test)]
pub(crate) mod testing {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    pub fn service(extra: Value) -> Service {
        let mut value = json!({"metadata": {"name": "web", "namespace": "a", "uid": "s", "labels": {"l": "1"}},
            "spec": {"clusterIP": "10.96.0.9", "ipFamilies": ["IPv4"], "selector": {"app": "web"},
                     "ports": [{"port": 80, "targetPort": "http"}]}});
        for (key, extra) in extra.as_object().unwrap() {
            value["spec"][key] = extra.clone();
        }
        serde_json::from_value(value).unwrap()
    }

    pub fn pod(name: &str, ip: &str, ready: bool, ends: bool) -> Arc<Pod> {
        let mut value = json!({"metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": "web"}},
            "spec": {"nodeName": "n", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"podIP": ip, "podIPs": [{"ip": ip}], "phase": "Running",
                       "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}]}});
        if ends {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        Arc::new(serde_json::from_value(value).unwrap())
    }

    #[test]
    fn ports_by_number_and_by_name() {
        let pod = pod("p", "10.0.0.1", true, false);
        let number = |target: Value| {
            let service = service(json!({"ports": [{"port": 80, "targetPort": target}]}));
            ports(&service, &pod).first().map(|port| port.number)
        };
        assert_eq!(number(json!("http")), Some(8080));
        assert_eq!(number(json!(9090)), Some(9090));
        assert_eq!(number(json!("absent")), None);
        let plain = service(json!({"ports": [{"port": 80}]}));
        assert_eq!(ports(&plain, &pod)[0].number, 80);
    }
}
