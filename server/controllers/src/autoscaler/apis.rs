//! Asks the metrics APIs as upstream's clients do (`podautoscaler/metrics/client.go`, `k8s.io/metrics/pkg/client`), and
//! says in their words what went wrong.
//!
//! - `metrics.k8s.io`: what containers use of a resource.
//! - `custom.metrics.k8s.io`: what an adapter knows of pods (`pods/*/METRIC`), of one object
//!   (`ingresses.networking.k8s.io/NAME/METRIC`) or of the namespace (`metrics/METRIC`), in the version that it prefers.
//! - `external.metrics.k8s.io`: what an adapter knows of things outside (`METRIC`).
//!
//! Values are thousandths.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{CrossVersionObjectReference, MetricIdentifier};
use kube::core::GroupVersionKind;
use kube::discovery::pinned_kind;
use sampan_api::kinds;
use sampan_api::quantity::Quantity;
use sampan_api::selector::Selector;
use serde_json::Value;

use super::replicas::{Sample, Samples};

/// The group of adapters for pods and objects.
const CUSTOM: &str = "custom.metrics.k8s.io";
/// The group of adapters for what is outside.
const EXTERNAL: &str = "external.metrics.k8s.io";
/// The versions of [`CUSTOM`] that are understood.
const CUSTOM_VERSIONS: [&str; 2] = ["v1beta1", "v1beta2"];
/// Over what time a metric is that does not say so.
const WINDOW: Duration = Duration::from_secs(60);

/// The metrics APIs.
pub(super) struct Apis {
    client: kube::Client,
}

/// What is asked for, as client-go names it when an answer is no `Status`.
struct Asked {
    path: String,
    query: Vec<(&'static str, String)>,
    resource: String,
    name: String,
}

impl Apis {
    pub fn new(client: &kube::Client) -> Self {
        Self { client: client.clone() }
    }

    /// What the pods that `selector` selects use of a resource; of one container each if that is named.
    ///
    /// # Errors
    /// In upstream's words, without what was wanted of it.
    pub async fn resource(
        &self,
        place: &str,
        selector: &str,
        resource: &str,
        container: Option<&str>,
    ) -> Result<Samples, String> {
        let failed = |why| format!("unable to fetch metrics from resource metrics API: {why}");
        let asked = Asked {
            path: format!("/apis/metrics.k8s.io/v1beta1/namespaces/{place}/pods"),
            query: vec![("labelSelector", selector.to_owned())],
            resource: "pods.metrics.k8s.io".to_owned(),
            name: String::new(),
        };
        let items = self.items(&asked).await.map_err(failed)?;
        if items.is_empty() {
            return Err("no metrics returned from resource metrics API".to_owned());
        }
        if let Some(container) = container {
            let lacks = items.iter().find(|item| !has_container(item, container));
            if let Some(item) = lacks {
                let text = |path: &str| item.pointer(path).and_then(Value::as_str).unwrap_or_default();
                return Err(format!(
                    "failed to get container metrics: container {container} not present in metrics for pod {}/{}",
                    text("/metadata/namespace"),
                    text("/metadata/name")
                ));
            }
        }
        Ok(items.iter().filter_map(|item| usage(item, resource, container)).collect())
    }

    /// A custom metric of the pods that `selector` selects.
    ///
    /// # Errors
    /// In upstream's words, without the metric's name.
    pub async fn pods(
        &self,
        place: &str,
        selector: &str,
        metric: &MetricIdentifier,
    ) -> Result<Samples, String> {
        let failed = |why| format!("unable to fetch metrics from custom metrics API: {why}");
        let version = self.custom_version().await.map_err(failed)?;
        let asked = Asked {
            path: format!("/apis/{CUSTOM}/{version}/namespaces/{place}/pods/*/{}", encoded(&metric.name)),
            query: vec![("labelSelector", selector.to_owned()), ("metricLabelSelector", selects(metric)?)],
            resource: format!("pods.{CUSTOM}"),
            name: "*".to_owned(),
        };
        let items = self.items(&asked).await.map_err(failed)?;
        if items.is_empty() {
            return Err("no metrics returned from custom metrics API".to_owned());
        }
        Ok(items.iter().filter_map(of_object).collect())
    }

    /// A custom metric of one object.
    ///
    /// # Errors
    /// In upstream's words, without the metric's name.
    pub async fn object(
        &self,
        place: &str,
        about: &CrossVersionObjectReference,
        metric: &MetricIdentifier,
    ) -> Result<i64, String> {
        let failed = |why| format!("unable to fetch metrics from custom metrics API: {why}");
        let version = self.custom_version().await.map_err(failed)?;
        let resource = self.resource_of(about).await.map_err(failed)?;
        let asked = object_asked(&version, place, &resource, about, metric)?;
        let items = self.items(&asked).await.map_err(failed)?;
        let [item] = items.as_slice() else {
            let count = items.len();
            let why = format!(
                "the custom metrics API server returned {count} results when we asked for exactly one"
            );
            return Err(failed(why));
        };
        value(item).ok_or_else(|| failed("the custom metrics API server returned no value".to_owned()))
    }

    /// The values of an external metric.
    ///
    /// # Errors
    /// In upstream's words, without the metric's name.
    pub async fn external(&self, place: &str, metric: &MetricIdentifier) -> Result<Vec<i64>, String> {
        let asked = Asked {
            path: format!("/apis/{EXTERNAL}/v1beta1/namespaces/{place}/{}", encoded(&metric.name)),
            query: vec![("labelSelector", selects(metric)?)],
            resource: format!("{}.{EXTERNAL}", metric.name),
            name: String::new(),
        };
        let failed = |why| format!("unable to fetch metrics from external metrics API: {why}");
        let items = self.items(&asked).await.map_err(failed)?;
        if items.is_empty() {
            return Err("no metrics returned from external metrics API".to_owned());
        }
        Ok(items.iter().filter_map(value).collect())
    }

    /// The version of custom metrics that whoever serves them prefers, of those that are understood.
    async fn custom_version(&self) -> Result<String, String> {
        let groups = self.client.list_api_groups().await;
        let groups = groups.map_err(|error| crate::pod_control::message_of(&error))?.groups;
        let Some(group) = groups.into_iter().find(|group| group.name == CUSTOM) else {
            return Err(format!("no custom metrics API ({CUSTOM}) registered"));
        };
        let mut preferred = group.preferred_version.into_iter().chain(group.versions).map(|one| one.version);
        let known = preferred.find(|version| CUSTOM_VERSIONS.contains(&version.as_str()));
        known.ok_or_else(|| "no known available metric versions found".to_owned())
    }

    /// The resource of an object's kind, such as `ingresses.networking.k8s.io`.
    async fn resource_of(&self, about: &CrossVersionObjectReference) -> Result<String, String> {
        let version = about.api_version.as_deref().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        if let Some(kind) = kinds::all().iter().find(|kind| kind.group == group && kind.kind == about.kind) {
            return Ok(kind.qualified());
        }
        let qualified = |name: &str| match group {
            "" => name.to_owned(),
            group => format!("{name}.{group}"),
        };
        let kind = GroupVersionKind::gvk(group, version, &about.kind);
        let found = pinned_kind(&self.client, &kind).await.map_err(|_| {
            let named = qualified(&about.kind);
            let why = format!("no matches for kind {:?} in group {group:?}", about.kind);
            format!("unable to map kind {named} to resource: {why}")
        })?;
        Ok(qualified(&found.0.plural))
    }

    /// The items of the list that is answered.
    async fn items(&self, asked: &Asked) -> Result<Vec<Value>, String> {
        let path = format!("{}{}", asked.path, query(&asked.query));
        let request = http::Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        let mut list = self.client.request::<Value>(request).await.map_err(|error| worded(&error, asked))?;
        match list.get_mut("items").map(Value::take) {
            Some(Value::Array(items)) => Ok(items),
            _ => Ok(Vec::new()),
        }
    }
}

/// Where one object's metric is; a namespace's is beside those of its objects.
fn object_asked(
    version: &str,
    place: &str,
    resource: &str,
    about: &CrossVersionObjectReference,
    metric: &MetricIdentifier,
) -> Result<Asked, String> {
    let (resource, name) = match resource {
        "namespaces" => ("metrics", metric.name.as_str()),
        resource => (resource, about.name.as_str()),
    };
    let mut path = format!("/apis/{CUSTOM}/{version}/namespaces/{place}/{resource}/{}", encoded(name));
    if resource != "metrics" {
        path = format!("{path}/{}", encoded(&metric.name));
    }
    Ok(Asked {
        path,
        query: vec![("metricLabelSelector", selects(metric)?)],
        resource: format!("{resource}.{CUSTOM}"),
        name: name.to_owned(),
    })
}

/// The metric's selector as text; without one there is none.
fn selects(metric: &MetricIdentifier) -> Result<String, String> {
    let selector = metric.selector.as_ref().map(serde_json::to_value).transpose();
    let selector = selector.map_err(|error| error.to_string())?;
    Selector::from_object(selector.as_ref()).map(|selector| selector.to_string())
}

/// What client-go says of an answer (`NewGenericServerResponse`): a `Status` speaks for itself.
fn worded(error: &kube::Error, asked: &Asked) -> String {
    let kube::Error::Api(status) = error else { return error.to_string() };
    let generic = match status.code {
        404 => "the server could not find the requested resource".to_owned(),
        503 => "the server is currently unable to handle the request".to_owned(),
        _ => {
            format!("an error on the server ({:?}) has prevented the request from succeeding", status.message)
        }
    };
    if status.reason != "Failed to parse error data" && status.message != generic {
        return status.message.clone();
    }
    let name = if asked.name.is_empty() { String::new() } else { format!(" {}", asked.name) };
    format!("{generic} (get {}{name})", asked.resource)
}

/// `?a=b&c=d`, or nothing: what is empty is not sent.
fn query(pairs: &[(&str, String)]) -> String {
    let sent = pairs.iter().filter(|(_, value)| !value.is_empty());
    let pairs: Vec<String> = sent.map(|(key, value)| format!("{key}={}", encoded(value))).collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

/// A part of a path or of a query, percent-encoded.
fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

fn has_container(metrics: &Value, name: &str) -> bool {
    let containers = metrics.get("containers").and_then(Value::as_array);
    containers.into_iter().flatten().any(|one| one.get("name").and_then(Value::as_str) == Some(name))
}

/// The usage in one PodMetrics; `None` if a container says nothing of the resource.
fn usage(metrics: &Value, resource: &str, container: Option<&str>) -> Option<(String, Sample)> {
    let text = |path: &str| metrics.pointer(path).and_then(Value::as_str);
    let containers = metrics.get("containers")?.as_array()?;
    let counted = containers
        .iter()
        .filter(|one| container.is_none_or(|name| one.get("name").and_then(Value::as_str) == Some(name)));
    let usage = counted.map(|one| {
        let quantity = one.get("usage")?.get(resource)?;
        Quantity::from_value(quantity).ok().map(|quantity| quantity.milli_value())
    });
    let usage: Vec<i64> = usage.collect::<Option<_>>()?;
    if usage.is_empty() {
        return None;
    }
    let window = text("/window").and_then(|text| text.parse::<jiff::SignedDuration>().ok());
    let window = window.map_or(Duration::ZERO, |window| window.unsigned_abs());
    let at = text("/timestamp")?.parse().ok()?;
    Some((text("/metadata/name")?.to_owned(), Sample { milli: usage.iter().sum(), at, window }))
}

/// One MetricValue, by the name of the object that it describes.
fn of_object(item: &Value) -> Option<(String, Sample)> {
    let name = item.pointer("/describedObject/name")?.as_str()?.to_owned();
    let at = item.get("timestamp").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let seconds = item.get("windowSeconds").and_then(Value::as_u64);
    let window = seconds.map_or(WINDOW, Duration::from_secs);
    Some((name, Sample { milli: value(item)?, at: at.unwrap_or(Timestamp::UNIX_EPOCH), window }))
}

fn value(item: &Value) -> Option<i64> {
    Quantity::from_value(item.get("value")?).ok().map(|quantity| quantity.milli_value())
}

#[cfg(test)]
#[path = "apis_tests.rs"]
mod tests;
