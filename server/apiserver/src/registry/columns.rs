//! What selectors can ask of stored objects: labels and each kind's selectable fields.
//!
//! The fields are upstream's (`pkg/apis/*/v1/conversion.go`, `ToSelectableFields` of each strategy).

use std::collections::HashMap;
use std::sync::LazyLock;

use sampan_api::kinds::Kind;
use sampan_api::parts::Parts;
use sampan_store::{Columns, Key};
use serde_json::Value;

use crate::value::at;

/// One selectable field: its label and where its value is.
type Field = (&'static str, &'static [&'static str]);

const POD: &[Field] = &[
    ("spec.nodeName", &["spec", "nodeName"]),
    ("spec.restartPolicy", &["spec", "restartPolicy"]),
    ("spec.schedulerName", &["spec", "schedulerName"]),
    ("spec.serviceAccountName", &["spec", "serviceAccountName"]),
    ("spec.hostNetwork", &["spec", "hostNetwork"]),
    ("status.phase", &["status", "phase"]),
    ("status.podIP", &["status", "podIP"]),
    ("status.nominatedNodeName", &["status", "nominatedNodeName"]),
];
const EVENT: &[Field] = &[
    ("involvedObject.kind", &["involvedObject", "kind"]),
    ("involvedObject.namespace", &["involvedObject", "namespace"]),
    ("involvedObject.name", &["involvedObject", "name"]),
    ("involvedObject.uid", &["involvedObject", "uid"]),
    ("involvedObject.apiVersion", &["involvedObject", "apiVersion"]),
    ("involvedObject.resourceVersion", &["involvedObject", "resourceVersion"]),
    ("involvedObject.fieldPath", &["involvedObject", "fieldPath"]),
    ("reason", &["reason"]),
    ("reportingComponent", &["reportingComponent"]),
    ("source", &["source", "component"]),
    ("type", &["type"]),
];

/// Events in their own group go by its names.
const EVENTS_GROUP: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "reason",
    "regarding.apiVersion",
    "regarding.fieldPath",
    "regarding.kind",
    "regarding.name",
    "regarding.namespace",
    "regarding.resourceVersion",
    "regarding.uid",
    "reportingController",
    "type",
];

fn fields_of(bucket: &str) -> &'static [Field] {
    match bucket {
        "pods" => POD,
        "events" => EVENT,
        "secrets" => &[("type", &["type"])],
        "services" => &[("spec.clusterIP", &["spec", "clusterIP"]), ("spec.type", &["spec", "type"])],
        "nodes" => &[("spec.unschedulable", &["spec", "unschedulable"])],
        "namespaces" => &[("status.phase", &["status", "phase"])],
        "replicationcontrollers" | "replicasets.apps" => &[("status.replicas", &["status", "replicas"])],
        "jobs.batch" => &[("status.successful", &["status", "succeeded"])],
        "certificatesigningrequests.certificates.k8s.io" | "clustertrustbundles.certificates.k8s.io" => {
            &[("spec.signerName", &["spec", "signerName"])]
        }
        "podcertificaterequests.certificates.k8s.io" => &[
            ("spec.signerName", &["spec", "signerName"]),
            ("spec.podName", &["spec", "podName"]),
            ("spec.nodeName", &["spec", "nodeName"]),
        ],
        "resourceslices.resource.k8s.io" => {
            &[("spec.nodeName", &["spec", "nodeName"]), ("spec.driver", &["spec", "driver"])]
        }
        _ => &[],
    }
}

/// The labels that a field selector on `kind` may use.
pub fn selectable(kind: &'static Kind) -> Vec<&'static str> {
    if kind.group == "events.k8s.io" {
        return EVENTS_GROUP.to_vec();
    }
    let own = fields_of(kind.storage_group).iter().map(|(label, _)| *label);
    let mut labels: Vec<&str> = own.collect();
    if kind.storage_group == "pods" {
        labels.push("status.podIPs");
    }
    labels.push("metadata.name");
    if kind.namespaced {
        labels.push("metadata.namespace");
    }
    labels
}

/// The parts of an object that its columns are made of.
fn wanted(bucket: &str) -> Parts {
    let mut parts = Parts::of(&["metadata.labels"]);
    fields_of(bucket).iter().for_each(|(_, path)| parts.add(path.iter().copied()));
    if bucket == "pods" {
        parts.add(["status", "podIPs"]);
    }
    parts
}

/// [`wanted`], made once for each bucket with fields of its own, and for all others.
fn parts(bucket: &str) -> &'static Parts {
    static KNOWN: LazyLock<HashMap<&'static str, Parts>> = LazyLock::new(|| {
        let own = sampan_api::kinds::all().iter().map(|kind| kind.storage_group);
        own.filter(|bucket| !fields_of(bucket).is_empty()).map(|bucket| (bucket, wanted(bucket))).collect()
    });
    static OTHERS: LazyLock<Parts> = LazyLock::new(|| wanted(""));
    KNOWN.get(bucket).unwrap_or(&OTHERS)
}

/// The store's hook: reads the columns of a value once.
pub fn read(key: &Key, value: &[u8]) -> Columns {
    let Some(object) = parts(&key.bucket).read(value) else { return Columns::default() };
    let labels = at(&object, &["metadata", "labels"]).as_object().into_iter().flatten();
    let labels = labels.filter_map(|(k, v)| Some((k.as_str().into(), v.as_str()?.into()))).collect();
    let (namespace, name) = match key.name.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, &*key.name),
    };
    let mut fields: Vec<(Box<str>, Box<str>)> = vec![("metadata.name".into(), name.into())];
    fields.extend(namespace.map(|namespace| ("metadata.namespace".into(), namespace.into())));
    for (label, path) in fields_of(&key.bucket) {
        fields.push(((*label).into(), print(label, at(&object, path)).into()));
    }
    if &*key.bucket == "events" {
        event_fields(&object, &mut fields);
    }
    if &*key.bucket == "pods" {
        let ips = crate::value::items(at(&object, &["status", "podIPs"]))
            .first()
            .map_or("", |ip| crate::value::text(ip, &["ip"]));
        fields.push(("status.podIPs".into(), ips.into()));
    }
    Columns { labels, fields }
}

fn event_fields(object: &Value, fields: &mut Vec<(Box<str>, Box<str>)>) {
    let reporting = crate::value::text(object, &["reportingComponent"]);
    if crate::value::text(object, &["source", "component"]).is_empty() {
        fields.retain(|(k, _)| &**k != "source");
        fields.push(("source".into(), reporting.into()));
    }
    fields.push(("reportingController".into(), reporting.into()));
    for part in ["apiVersion", "fieldPath", "kind", "name", "namespace", "resourceVersion", "uid"] {
        let value = crate::value::text(object, &["involvedObject", part]);
        fields.push((format!("regarding.{part}").into(), value.into()));
    }
}

fn print(label: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null if matches!(label, "spec.hostNetwork" | "spec.unschedulable") => "false".into(),
        Value::Null if matches!(label, "status.replicas" | "status.successful") => "0".into(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_what_columns_are_made_of_is_read() {
        let pod = json!({
            "metadata": {"name": "a", "labels": {"app": "x"}, "annotations": {"b": "c"}},
            "spec": {"nodeName": "n", "containers": [{"name": "m", "env": [{"name": "A"}]}], "hostNetwork": true},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}], "conditions": [{"type": "Ready"}]},
        });
        let text = pod.to_string();
        let expected = json!({
            "metadata": {"labels": {"app": "x"}},
            "spec": {"nodeName": "n", "hostNetwork": true},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
        });
        assert_eq!(parts("pods").read(text.as_bytes()), Some(expected));
        let labels = json!({"metadata": {"labels": {"app": "x"}}});
        assert_eq!(parts("strange.example.com").read(text.as_bytes()), Some(labels));
    }

    #[test]
    fn a_pods_columns_are_upstreams_selectable_fields() {
        let text = json!({"metadata": {"labels": {"app": "x"}}, "spec": {"nodeName": "n"},
            "status": {"podIPs": [{"ip": "10.0.0.1"}]}});
        let columns = read(&Key::new("pods", "default/a"), text.to_string().as_bytes());
        let field = |name: &str| columns.fields.iter().find(|(k, _)| &**k == name).map(|(_, v)| &**v);
        assert_eq!(columns.labels, [("app".into(), "x".into())]);
        assert_eq!(field("spec.nodeName"), Some("n"));
        assert_eq!(field("status.podIPs"), Some("10.0.0.1"));
        assert_eq!(field("spec.hostNetwork"), Some("false"));
        assert_eq!(field("metadata.namespace"), Some("default"));
    }
}
