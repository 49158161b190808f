//! Tables of services and policies with the elements that come of them, and random histories that must end where a fresh
//! start ends. Here: how their objects are written.

mod history;
mod policies;
mod services;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use sampan_reconcile::Key;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use crate::model::{Facts, Model};

fn object<T: DeserializeOwned>(value: Json) -> T {
    serde_json::from_value(value).expect("object")
}

fn model() -> Model {
    Model::new(&Facts {
        node: "n1".into(),
        pods: "10.244.0.0/16".into(),
        node_pods: "10.244.0.0/24".into(),
        node_ips: vec![IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))],
        served: vec![IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1))],
    })
}

fn key(name: &str) -> Key {
    Key::namespaced("default", name)
}

fn service(name: &str, spec: Json) -> Arc<Service> {
    Arc::new(object(json!({"metadata": {"name": name, "namespace": "default"}, "spec": spec,
        "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.5"}]}}})))
}

/// A slice; each endpoint is `address`, `address@node`, with `!` behind it not ready, `-` terminating but serving.
fn slice(name: &str, service: &str, endpoints: &[&str], ports: Json) -> Arc<EndpointSlice> {
    let endpoints: Vec<Json> = endpoints.iter().map(|text| endpoint(text)).collect();
    Arc::new(object(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": ports,
    })))
}

fn endpoint(text: &str) -> Json {
    let (bare, conditions) = match (text.strip_suffix('!'), text.strip_suffix('-')) {
        (Some(bare), _) => (bare, json!({"ready": false, "serving": false})),
        (_, Some(bare)) => (bare, json!({"ready": false, "serving": true, "terminating": true})),
        _ => (text, json!({"ready": true})),
    };
    let (address, node) = bare.split_once('@').unwrap_or((bare, "n1"));
    json!({"addresses": [address], "nodeName": node, "conditions": conditions})
}

fn http() -> Json {
    json!([{"name": "http", "port": 8080}])
}

fn policy(spec: Json) -> Option<NetworkPolicy> {
    Some(object(json!({"metadata": {"name": "p", "namespace": "default"}, "spec": spec})))
}

fn pod(namespace: &str, address: &str, labels: Json) -> Pod {
    object(json!({"metadata": {"namespace": namespace, "labels": labels},
        "spec": {"nodeName": "n1", "containers": [{"name": "a", "ports": [{"name": "web", "containerPort": 8080}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": address}]}}))
}
