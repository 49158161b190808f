//! The core group.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::pod::{pod, remote_volume, template, template_labels};
use super::{Object, agree, child, is_empty, items, made, set, set_pointer, text};

pub(super) fn apply(kind: &str, object: &mut Object) {
    match kind {
        "Pod" => pod(object),
        "PodTemplate" => template(object),
        "ReplicationController" => replication_controller(object),
        "Service" => service(object),
        "Endpoints" => endpoints(object),
        "Secret" => secret(object),
        "Namespace" => namespace(object),
        "Node" => node(object),
        "PersistentVolume" => persistent_volume(object),
        "PersistentVolumeClaim" => claim(object),
        "LimitRange" => limit_range(object),
        _ => {}
    }
}

fn replication_controller(object: &mut Object) {
    let labels = template_labels(object);
    if let Some(labels) = &labels
        && let Some(metadata) = made(object, "metadata")
        && is_empty(metadata.get("labels"))
    {
        metadata.insert("labels".to_owned(), labels.clone());
    }
    let Some(spec) = made(object, "spec") else { return };
    if let Some(labels) = labels.filter(|_| is_empty(spec.get("selector"))) {
        spec.insert("selector".to_owned(), labels);
    }
    set_pointer(spec, "replicas", 1);
    template(spec);
}

fn service(object: &mut Object) {
    ip_modes(object);
    let Some(spec) = made(object, "spec") else { return };
    set(spec, "sessionAffinity", "None");
    if text(spec, "sessionAffinity") == "None" {
        spec.shift_remove("sessionAffinityConfig");
    }
    if text(spec, "sessionAffinity") == "ClientIP"
        && let Some(client) = made(spec, "sessionAffinityConfig").and_then(|config| made(config, "clientIP"))
    {
        set_pointer(client, "timeoutSeconds", 10800);
    }
    set(spec, "type", "ClusterIP");
    for port in items(spec, "ports") {
        set(port, "protocol", "TCP");
        let number = port.get("port").cloned().unwrap_or_default();
        if port.get("targetPort").is_some_and(|t| t.as_i64() == Some(0)) {
            port.shift_remove("targetPort");
        }
        set(port, "targetPort", number);
    }
    let kind = text(spec, "type").to_owned();
    let external = matches!(kind.as_str(), "NodePort" | "LoadBalancer");
    if external || (kind == "ClusterIP" && !is_empty(spec.get("externalIPs"))) {
        set(spec, "externalTrafficPolicy", "Cluster");
    }
    if external || kind == "ClusterIP" {
        set_pointer(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        set_pointer(spec, "allocateLoadBalancerNodePorts", true);
    }
}

/// A load balancer's address is a virtual one unless it says otherwise.
fn ip_modes(object: &mut Object) {
    let balanced = child(object, "spec").is_some_and(|spec| text(spec, "type") == "LoadBalancer");
    let Some(balancer) = child(object, "status").and_then(|status| child(status, "loadBalancer")) else {
        return;
    };
    for point in items(balancer, "ingress").filter(|point| balanced && !text(point, "ip").is_empty()) {
        set_pointer(point, "ipMode", "VIP");
    }
}

/// `stringData` is write-only: upstream's conversion moves it into `data`.
fn secret(object: &mut Object) {
    set(object, "type", "Opaque");
    let Some(Value::Object(texts)) = object.shift_remove("stringData") else { return };
    let Some(data) = made(object, "data") else { return };
    for (key, value) in texts {
        let encoded = base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        data.insert(key, encoded.into());
    }
}

fn endpoints(object: &mut Object) {
    for subset in items(object, "subsets") {
        items(subset, "ports").for_each(|port| set(port, "protocol", "TCP"));
    }
}

fn namespace(object: &mut Object) {
    if let Some(status) = made(object, "status") {
        set(status, "phase", "Active");
    }
    let Some(metadata) = made(object, "metadata") else { return };
    let name = text(metadata, "name").to_owned();
    if !name.is_empty()
        && let Some(labels) = made(metadata, "labels")
    {
        labels.insert("kubernetes.io/metadata.name".to_owned(), name.into());
    }
}

fn node(object: &mut Object) {
    if let Some(spec) = child(object, "spec") {
        agree(spec, "podCIDR", "podCIDRs", None);
    }
    let Some(status) = child(object, "status") else { return };
    let Some(capacity) = status.get("capacity").cloned() else { return };
    set_pointer(status, "allocatable", capacity);
}

fn persistent_volume(object: &mut Object) {
    if let Some(status) = made(object, "status") {
        set(status, "phase", "Pending");
    }
    let Some(spec) = made(object, "spec") else { return };
    set(spec, "persistentVolumeReclaimPolicy", "Retain");
    set_pointer(spec, "volumeMode", "Filesystem");
    remote_volume(spec);
}

fn claim(object: &mut Object) {
    if let Some(status) = made(object, "status") {
        set(status, "phase", "Pending");
    }
    if let Some(spec) = made(object, "spec") {
        set_pointer(spec, "volumeMode", "Filesystem");
    }
}

/// `SetDefaults_LimitRangeItem`: limits of containers flow from `max` to `default` to `defaultRequest`.
fn limit_range(object: &mut Object) {
    let Some(spec) = child(object, "spec") else { return };
    for limit in items(spec, "limits").filter(|limit| text(limit, "type") == "Container") {
        for (from, to) in [("max", "default"), ("default", "defaultRequest"), ("min", "defaultRequest")] {
            let source: Map<String, Value> = child(limit, from).cloned().unwrap_or_default();
            if source.is_empty() {
                continue;
            }
            let target = limit.entry(to).or_insert_with(|| json!({}));
            let Some(target) = target.as_object_mut() else { continue };
            for (name, amount) in source {
                target.entry(name).or_insert(amount);
            }
        }
    }
}
