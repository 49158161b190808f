//! Requests of `metrics.k8s.io/v1beta1` and of the history, and their answers. Pure of I/O.
//!
//! Behaviour is metrics-server's (`pkg/api`): objects are of nodes and pods that the API has, with their labels; a pod
//! that is not Running, or of which a container was not measured twice, has no metrics.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sampan_api::quantity::{Format, Quantity};
use sampan_api::selector::Selector;
use sampan_api::status::{ApiError, Reason};
use sampan_reconcile::{Informer, Key};
use serde_json::{Value, json};

use crate::history::{History, Series, Subject};
use crate::store::{Store, Usage};

/// Upstream's group.
pub const GROUP: &str = "metrics.k8s.io";
/// Its version.
pub const VERSION: &str = "v1beta1";
/// The group of the history.
pub const HISTORY_GROUP: &str = "metrics.sampan.dev";
/// Its version.
pub const HISTORY_VERSION: &str = "v1alpha1";

/// What requests are answered from.
pub struct World<'a> {
    /// Nodes of the cluster.
    pub nodes: &'a Informer<Node>,
    /// Pods of the cluster.
    pub pods: &'a Informer<Pod>,
    /// Readings.
    pub store: &'a Store,
    /// Earlier ones.
    pub history: &'a History,
    /// Time between two readings.
    pub resolution: Duration,
    /// Now.
    pub now: Timestamp,
}

/// What a path below a version names.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    Resources,
    Nodes,
    Node(String),
    Pods(Option<String>),
    Pod(Key),
}

fn target(path: &str, group: &str, version: &str) -> Option<Target> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let rest = parts.strip_prefix(&["apis", group, version][..])?;
    Some(match rest {
        [] => Target::Resources,
        ["nodes"] => Target::Nodes,
        ["nodes", name] => Target::Node((*name).to_owned()),
        ["pods"] => Target::Pods(None),
        ["namespaces", namespace, "pods"] => Target::Pods(Some((*namespace).to_owned())),
        ["namespaces", namespace, "pods", name] => Target::Pod(Key::namespaced(namespace, name)),
        _ => return None,
    })
}

/// Answers a request of either group.
pub fn answer(world: &World<'_>, request: &Request<Bytes>) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    let metrics = target(path, GROUP, VERSION);
    let past = target(path, HISTORY_GROUP, HISTORY_VERSION);
    let answer = match (metrics, past) {
        (Some(target), _) => check(request, GROUP, &target).and_then(|query| current(world, &target, &query)),
        (None, Some(target)) => {
            check(request, HISTORY_GROUP, &target).and_then(|query| earlier(world, &target, &query))
        }
        (None, None) => Err(ApiError::unknown_resource()),
    };
    let table = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    match answer {
        Ok(value) if table.is_some_and(|accept| accept.contains("as=Table")) => {
            respond(200, &as_table(value))
        }
        Ok(value) => respond(200, &value),
        Err(error) => {
            let value = error.to_value();
            let code = value["code"].as_u64().and_then(|code| u16::try_from(code).ok()).unwrap_or(500);
            respond(code, &value)
        }
    }
}

fn respond(code: u16, value: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(value.to_string()));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    response
}

/// What a list is narrowed by.
#[derive(Debug, Default)]
struct Query {
    labels: Selector,
    /// Upstream's fields of metadata: name and namespace.
    fields: Vec<(String, bool, String)>,
}

impl Query {
    fn matches(&self, meta: &ObjectMeta) -> bool {
        let none = std::collections::BTreeMap::new();
        let field = |name: &str| match name {
            "metadata.name" => meta.name.clone().unwrap_or_default(),
            _ => meta.namespace.clone().unwrap_or_default(),
        };
        self.labels.matches(meta.labels.as_ref().unwrap_or(&none))
            && self.fields.iter().all(|(name, equal, value)| (field(name) == *value) == *equal)
    }
}

fn check(request: &Request<Bytes>, group: &str, target: &Target) -> Result<Query, ApiError> {
    let resource = match target {
        Target::Nodes | Target::Node(_) => "nodes",
        _ => "pods",
    };
    let pairs = pairs(request.uri().query().unwrap_or_default());
    let value = |name: &str| pairs.iter().find(|(one, _)| one == name).map(|(_, value)| value.as_str());
    if value("watch").is_some_and(|value| matches!(value, "true" | "1")) {
        return Err(ApiError::method_not_supported(group, resource, "watch"));
    }
    if request.method() != Method::GET {
        return Err(ApiError::method_not_supported(
            group,
            resource,
            &request.method().as_str().to_lowercase(),
        ));
    }
    let labels =
        Selector::parse(value("labelSelector").unwrap_or_default()).map_err(ApiError::bad_request)?;
    let fields = value("fieldSelector").unwrap_or_default().split(',').filter(|one| !one.trim().is_empty());
    Ok(Query { labels, fields: fields.map(field).collect::<Result<_, _>>()? })
}

fn field(text: &str) -> Result<(String, bool, String), ApiError> {
    let split = |operator: &str| text.split_once(operator).map(|(name, value)| (name.trim(), value.trim()));
    let (name, equal, value) = match (split("!="), split("=="), split("=")) {
        (Some((name, value)), ..) => (name, false, value),
        (None, Some((name, value)), _) | (None, None, Some((name, value))) => (name, true, value),
        (None, None, None) => return Err(ApiError::bad_request(format!("invalid field selector {text:?}"))),
    };
    match name {
        "metadata.name" | "metadata.namespace" => Ok((name.to_owned(), equal, value.to_owned())),
        _ => Err(ApiError::bad_request(format!("field label not supported: {name}"))),
    }
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match (byte, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(decoded)) => {
                out.push(decoded);
                rest = &after[2..];
                continue;
            }
            (b'+', _) => out.push(b' '),
            (byte, _) => out.push(*byte),
        }
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn resources(group: &str, version: &str, kinds: [&str; 2]) -> Value {
    let resource = |name: &str, namespaced: bool, kind: &str| json!({"name": name, "singularName": "", "namespaced": namespaced, "kind": kind, "verbs": ["get", "list"]});
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{group}/{version}"),
           "resources": [resource("nodes", false, kinds[0]), resource("pods", true, kinds[1])]})
}

fn list(kind: &str, api_version: &str, items: Vec<Value>) -> Value {
    json!({"kind": kind, "apiVersion": api_version, "metadata": {}, "items": items})
}

/// The metrics as they are.
fn current(world: &World<'_>, target: &Target, query: &Query) -> Result<Value, ApiError> {
    let api_version = format!("{GROUP}/{VERSION}");
    match target {
        Target::Resources => Ok(resources(GROUP, VERSION, ["NodeMetrics", "PodMetrics"])),
        Target::Nodes => {
            let items = world.nodes_of(query).iter().filter_map(|node| world.node(&node.metadata)).collect();
            Ok(list("NodeMetricsList", &api_version, items))
        }
        Target::Node(name) => {
            let node =
                world.nodes.get(&Key::cluster(name)).ok_or_else(|| ApiError::not_found("", "nodes", name))?;
            world.node(&node.metadata).ok_or_else(|| ApiError::not_found(GROUP, "nodemetrics", name))
        }
        Target::Pods(namespace) => {
            let pods = world.pods_of(namespace.as_deref(), query);
            let items = pods.iter().filter_map(|pod| world.pod(pod)).collect();
            Ok(list("PodMetricsList", &api_version, items))
        }
        Target::Pod(key) => {
            let pod = world.pods.get(key).ok_or_else(|| ApiError::not_found("", "pods", &key.name))?;
            world.pod(&pod).ok_or_else(|| ApiError::not_found(GROUP, "podmetrics", &key.to_string()))
        }
    }
}

/// The history.
fn earlier(world: &World<'_>, target: &Target, query: &Query) -> Result<Value, ApiError> {
    let unknown = |resource: &str, name: &str| {
        let text = format!("{resource}.{HISTORY_GROUP} {name:?} not found: it has not been measured yet");
        ApiError::new(Reason::NotFound, text)
    };
    match target {
        Target::Resources => Ok(resources(HISTORY_GROUP, HISTORY_VERSION, ["NodeHistory", "PodHistory"])),
        Target::Nodes => {
            let items =
                world.nodes_of(query).iter().filter_map(|node| world.node_history(&node.metadata)).collect();
            Ok(list("NodeHistoryList", &format!("{HISTORY_GROUP}/{HISTORY_VERSION}"), items))
        }
        Target::Node(name) => {
            let node = world.nodes.get(&Key::cluster(name));
            node.and_then(|node| world.node_history(&node.metadata)).ok_or_else(|| unknown("nodes", name))
        }
        Target::Pods(namespace) => {
            let pods = world.pods_of(namespace.as_deref(), query);
            let items = pods.iter().filter_map(|pod| world.pod_history(&pod.metadata)).collect();
            Ok(list("PodHistoryList", &format!("{HISTORY_GROUP}/{HISTORY_VERSION}"), items))
        }
        Target::Pod(key) => {
            let pod = world.pods.get(key);
            let found = pod.and_then(|pod| world.pod_history(&pod.metadata));
            found.ok_or_else(|| unknown("pods", &key.to_string()))
        }
    }
}

impl World<'_> {
    fn nodes_of(&self, query: &Query) -> Vec<std::sync::Arc<Node>> {
        let mut nodes = self.nodes.list();
        nodes.retain(|node| query.matches(&node.metadata));
        nodes.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
        nodes
    }

    fn pods_of(&self, namespace: Option<&str>, query: &Query) -> Vec<std::sync::Arc<Pod>> {
        let mut pods = self.pods.list();
        pods.retain(|pod| {
            namespace.is_none_or(|namespace| pod.metadata.namespace.as_deref() == Some(namespace))
                && query.matches(&pod.metadata)
        });
        pods.sort_by(|a, b| {
            (&a.metadata.namespace, &a.metadata.name).cmp(&(&b.metadata.namespace, &b.metadata.name))
        });
        pods
    }

    fn meta(&self, meta: &ObjectMeta) -> Value {
        let mut value = json!({"name": meta.name, "creationTimestamp": seconds(self.now)});
        if let Some(namespace) = &meta.namespace {
            value["namespace"] = json!(namespace);
        }
        if let Some(labels) = meta.labels.as_ref().filter(|labels| !labels.is_empty()) {
            value["labels"] = json!(labels);
        }
        value
    }

    fn node(&self, meta: &ObjectMeta) -> Option<Value> {
        let used = self.store.node(meta.name.as_deref()?)?;
        Some(json!({
            "kind": "NodeMetrics", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": self.meta(meta),
            "timestamp": seconds(used.at), "window": go_duration(used.window), "usage": usage(&used)}))
    }

    fn pod(&self, pod: &Pod) -> Option<Value> {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let meta = &pod.metadata;
        let used = self.store.pod(&(meta.namespace.clone()?, meta.name.clone()?))?;
        let earliest = used.iter().map(|(_, usage)| usage).min_by_key(|usage| usage.at)?;
        let containers: Vec<Value> =
            used.iter().map(|(name, used)| json!({"name": name, "usage": usage(used)})).collect();
        (phase == Some("Running")).then(|| {
            json!({
                "kind": "PodMetrics", "apiVersion": format!("{GROUP}/{VERSION}"), "metadata": self.meta(meta),
                "timestamp": seconds(earliest.at), "window": go_duration(earliest.window), "containers": containers})
        })
    }

    fn node_history(&self, meta: &ObjectMeta) -> Option<Value> {
        let series = self.history.of(&Subject::Node(meta.name.clone()?))?;
        Some(self.series("NodeHistory", meta, series))
    }

    fn pod_history(&self, meta: &ObjectMeta) -> Option<Value> {
        let series = self.history.of(&Subject::Pod((meta.namespace.clone()?, meta.name.clone()?)))?;
        Some(self.series("PodHistory", meta, series))
    }

    fn series(&self, kind: &str, meta: &ObjectMeta, series: Series) -> Value {
        let times: Vec<i64> = series.times.iter().map(|time| time.as_second()).collect();
        json!({
            "kind": kind, "apiVersion": format!("{HISTORY_GROUP}/{HISTORY_VERSION}"), "metadata": self.meta(meta),
            "resolutionSeconds": self.resolution.as_secs(), "timestamps": times,
            "cpuCores": series.cpu_cores, "memoryBytes": series.memory_bytes})
    }
}

/// As metrics-server writes a `ResourceList`: nano-cores and binary bytes, in their shortest form.
fn usage(usage: &Usage) -> Value {
    json!({"cpu": nano_cores(usage.cpu_nano_cores), "memory": bytes(usage.memory_bytes)})
}

fn nano_cores(nanos: u64) -> String {
    let text = format!("{nanos}n");
    Quantity::parse(&text).map_or(text, |quantity| quantity.to_string())
}

fn bytes(bytes: u64) -> String {
    Quantity::new(i64::try_from(bytes).unwrap_or(i64::MAX), Format::BinarySI).to_string()
}

/// A `metav1.Time`.
fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A duration as Go prints it: `15.3s`, `1m0.5s`.
fn go_duration(duration: Duration) -> String {
    let (all, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let (hours, minutes, seconds) = (all / 3600, all / 60 % 60, all % 60);
    if all == 0 && nanos > 0 {
        let (value, unit) = match nanos {
            1_000_000.. => (f64::from(nanos) / 1e6, "ms"),
            1000.. => (f64::from(nanos) / 1e3, "µs"),
            _ => (f64::from(nanos), "ns"),
        };
        return format!("{value}{unit}");
    }
    let fraction = format!("{nanos:09}");
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    match (hours, minutes) {
        (0, 0) => format!("{seconds}{point}{fraction}s"),
        (0, _) => format!("{minutes}m{seconds}{point}{fraction}s"),
        _ => format!("{hours}h{minutes}m{seconds}{point}{fraction}s"),
    }
}

/// The table of an object or a list; what is neither is left as it is.
fn as_table(value: Value) -> Value {
    let kind = value["kind"].as_str().unwrap_or_default();
    let items = match (kind, &value["items"]) {
        (
            "NodeMetricsList" | "PodMetricsList" | "NodeHistoryList" | "PodHistoryList",
            Value::Array(items),
        ) => items.clone(),
        ("NodeMetrics" | "PodMetrics" | "NodeHistory" | "PodHistory", _) => vec![value],
        _ => return value,
    };
    let column = |name: &str, format: &str, description: &str| json!({"name": name, "type": "string", "format": format, "description": description, "priority": 0});
    let columns = [
        column("Name", "name", "Name of the resource"),
        column("cpu", "quantity", ""),
        column("memory", "quantity", ""),
        column("Window", "duration", ""),
    ];
    let rows: Vec<Value> =
        items.iter().map(|item| json!({"cells": cells(item), "object": partial(item)})).collect();
    json!({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": {}, "columnDefinitions": columns, "rows": rows})
}

fn partial(item: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": item["metadata"]})
}

fn cells(item: &Value) -> Value {
    let last = |name: &str| item[name].as_array().and_then(|values| values.last()?.as_f64()).unwrap_or(0.0);
    if item.get("resolutionSeconds").is_some() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // both are small and not negative
        let (nanos, memory) = ((last("cpuCores") * 1e9) as u64, last("memoryBytes") as u64);
        let window = item["resolutionSeconds"].as_u64().unwrap_or(0);
        return json!([
            item["metadata"]["name"],
            nano_cores(nanos),
            bytes(memory),
            go_duration(Duration::from_secs(window))
        ]);
    }
    let alone = [item.clone()];
    let used = item["containers"].as_array().map_or(&alone[..], Vec::as_slice);
    let read = |one: &Value, name: &str| Quantity::from_value(&one["usage"][name]).unwrap_or(Quantity::ZERO);
    let nanos: i128 = used.iter().map(|one| read(one, "cpu").nanos()).sum();
    let memory: i64 = used.iter().map(|one| read(one, "memory").value()).sum();
    let (nanos, memory) = (u64::try_from(nanos).unwrap_or(0), u64::try_from(memory).unwrap_or(0));
    json!([item["metadata"]["name"], nano_cores(nanos), bytes(memory), item["window"]])
}

#[cfg(test)]
mod tests;
