#![allow(clippy::unwrap_used)]
use sampan_api::{fields, kinds};
use serde_json::json;

use super::*;

fn of(group: &str, name: &str) -> &'static Kind {
    kinds::all().iter().find(|kind| kind.group == group && kind.kind == name).unwrap()
}

fn dropped(kind: &Kind, old: Option<Value>, mut new: Value) -> Value {
    drop_disabled(kind, old.as_ref(), &mut new);
    new
}

/// Whether a type has a field at the path.
fn leads(schema: &str, path: &[&str]) -> bool {
    let mut here = fields::type_of(schema);
    for (index, name) in path.iter().enumerate().filter(|(_, name)| **name != "*") {
        let Some(field) = here.and_then(|here| here.field(name)) else { return false };
        here = field.ty.object();
        assert!(here.is_some() || index + 1 == path.len(), "{schema} {path:?}");
    }
    true
}

#[test]
fn every_path_leads_to_a_field() {
    for gated in GATED {
        let schemas: Vec<&str> = match gated.of {
            Of::PodSpec => vec!["io.k8s.api.core.v1.PodSpec"],
            Of::Template => vec!["io.k8s.api.scheduling.v1alpha2.PodGroupTemplate"],
            Of::Kind(group, name) => kinds::all()
                .iter()
                .filter(|kind| kind.group == group && kind.kind == name)
                .map(|kind| kind.schema)
                .collect(),
        };
        for path in gated.paths {
            assert!(schemas.iter().any(|schema| leads(schema, path)), "{} {path:?}", gated.gate);
        }
        for schema in schemas {
            assert!(gated.paths.iter().any(|path| leads(schema, path)), "{} {schema}", gated.gate);
        }
    }
}

/// What a type has at the path.
fn type_at(schema: &str, path: &[&str]) -> Option<&'static str> {
    let start = fields::type_of(schema)?;
    path.iter().try_fold(start, |here, name| here.field(name)?.ty.object()).map(|ends| ends.name)
}

#[test]
fn every_kind_with_pods_is_known() {
    let places: [Path; 4] = [
        &["spec"],
        &["template", "spec"],
        &["spec", "template", "spec"],
        &["spec", "jobTemplate", "spec", "template", "spec"],
    ];
    for kind in kinds::all() {
        let found =
            places.iter().find(|path| type_at(kind.schema, path) == Some("io.k8s.api.core.v1.PodSpec"));
        assert_eq!(pod_spec(kind), found.copied(), "{}", kind.schema);
    }
}

#[test]
fn what_no_gate_knows_stays() {
    let pod = json!({"spec": {"containers": [{"name": "c", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}}],
        "volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "m"}}]}}]}});
    assert_eq!(dropped(of("", "Pod"), None, pod.clone()), pod);
    assert_eq!(dropped(of("", "ConfigMap"), None, pod.clone()), pod);
}

#[test]
fn fields_of_pods_go_wherever_pods_are_described() {
    let spec = json!({
        "schedulingGroup": {"podGroupName": "g"},
        "containers": [
            {"name": "a", "lifecycle": {"stopSignal": "SIGUSR1"}},
            {"name": "b", "lifecycle": {"stopSignal": "SIGUSR1", "preStop": {"sleep": {"seconds": 1}}}},
            {"name": "c", "lifecycle": {}}],
        "initContainers": [{"name": "d", "lifecycle": {"stopSignal": "SIGUSR1"}}],
        "volumes": [{"name": "v", "projected": {"sources": [
            {"clusterTrustBundle": {"name": "t", "path": "p"}}, {"podCertificate": {"keyType": "ED25519"}}]}}],
    });
    let left = json!({
        "containers": [{"name": "a"}, {"name": "b", "lifecycle": {"preStop": {"sleep": {"seconds": 1}}}},
            {"name": "c", "lifecycle": {}}],
        "initContainers": [{"name": "d"}],
        "volumes": [{"name": "v", "projected": {"sources": [{}, {}]}}],
    });
    let template = |spec: &Value| json!({"spec": {"template": {"spec": spec}}});
    for (group, name, before, after) in [
        ("", "Pod", json!({"spec": spec}), json!({"spec": left})),
        ("", "PodTemplate", json!({"template": {"spec": spec}}), json!({"template": {"spec": left}})),
        ("apps", "Deployment", template(&spec), template(&left)),
        (
            "batch",
            "CronJob",
            json!({"spec": {"jobTemplate": template(&spec)}}),
            json!({"spec": {"jobTemplate": template(&left)}}),
        ),
    ] {
        assert_eq!(dropped(of(group, name), None, before), after, "{name}");
    }
}

#[test]
fn what_an_object_uses_already_stays_and_may_change() {
    let pod = |containers: Value| json!({"spec": {"containers": containers}});
    let signal = |signal: &str| json!({"name": "c", "lifecycle": {"stopSignal": signal}});
    let (uses, plain) = (pod(json!([signal("SIGINT")])), pod(json!([{"name": "c"}])));
    let new = pod(json!([signal("SIGTERM"), signal("SIGUSR1")]));
    assert_eq!(dropped(of("", "Pod"), Some(uses.clone()), new.clone()), new);
    assert_eq!(dropped(of("", "Pod"), Some(plain.clone()), uses.clone()), plain);
    // one gate says nothing of another's fields
    let mut grouped = uses.clone();
    grouped["spec"]["schedulingGroup"] = json!({"podGroupName": "g"});
    assert_eq!(dropped(of("", "Pod"), Some(uses.clone()), grouped), uses);
}

#[test]
fn fields_of_other_kinds() {
    let spec = |spec: Value| json!({"spec": spec});
    let device = |more: Value| json!({"spec": {"devices": [more]}});
    let cases = [
        (
            "apps",
            "StatefulSet",
            spec(json!({"updateStrategy": {"rollingUpdate": {"maxUnavailable": 2, "partition": 1}}})),
            spec(json!({"updateStrategy": {"rollingUpdate": {"partition": 1}}})),
        ),
        (
            "coordination.k8s.io",
            "Lease",
            spec(
                json!({"strategy": "OldestEmulationVersion", "preferredHolder": "a", "holderIdentity": "b"}),
            ),
            spec(json!({"holderIdentity": "b"})),
        ),
        (
            "storage.k8s.io",
            "CSIDriver",
            spec(json!({"preventPodSchedulingIfMissing": false})),
            spec(json!({})),
        ),
        (
            "",
            "PersistentVolumeClaim",
            spec(json!({"dataSourceRef": {"kind": "K", "name": "n", "namespace": "other"}})),
            spec(json!({})),
        ),
        (
            "",
            "PersistentVolumeClaim",
            spec(json!({"dataSourceRef": {"kind": "K", "name": "n"}})),
            spec(json!({"dataSourceRef": {"kind": "K", "name": "n"}})),
        ),
        (
            "resource.k8s.io",
            "ResourceSlice",
            device(json!({"name": "d", "attributes": {"a": {"ints": [1]}, "b": {"int": 1}}})),
            device(json!({"name": "d", "attributes": {"a": {}, "b": {"int": 1}}})),
        ),
        (
            "scheduling.k8s.io",
            "PodGroup",
            json!({"spec": {"priority": 0, "resourceClaims": [{"name": "c"}], "schedulingPolicy": {}},
            "status": {"resourceClaimStatuses": [{"name": "c"}]}}),
            json!({"spec": {"schedulingPolicy": {}}, "status": {}}),
        ),
        (
            "",
            "Pod",
            json!({"status": {"containerStatuses": [{"volumeMounts": [{"name": "v", "volumeStatus": {"image": {}}}]}]}, "spec": {}}),
            json!({"status": {"containerStatuses": [{"volumeMounts": [{"name": "v"}]}]}, "spec": {}}),
        ),
    ];
    for (group, name, before, after) in cases {
        assert_eq!(dropped(of(group, name), None, before.clone()), after, "{name}");
        assert_eq!(dropped(of(group, name), Some(after.clone()), before.clone()), after, "{name}");
        assert_eq!(dropped(of(group, name), Some(before.clone()), before.clone()), before, "{name}");
    }
}

#[test]
fn claims_of_a_group_in_its_status_go_by_its_spec() {
    let group = |spec: Value, status: Value| json!({"spec": spec, "status": status});
    let (claims, statuses) =
        (json!({"resourceClaims": [{"name": "c"}]}), json!({"resourceClaimStatuses": [{"name": "c"}]}));
    let kind = of("scheduling.k8s.io", "PodGroup");
    let new = group(claims.clone(), statuses.clone());
    assert_eq!(dropped(kind, Some(group(claims, json!({}))), new.clone()), new);
    assert_eq!(dropped(kind, Some(group(json!({}), statuses)), new), group(json!({}), json!({})));
}

#[test]
fn an_empty_list_is_dropped_and_where_it_is_a_value_it_is_in_use() {
    let slice =
        |attribute: Value| json!({"spec": {"devices": [{"name": "d", "attributes": {"a": attribute}}]}});
    let kind = of("resource.k8s.io", "ResourceSlice");
    let (empty, some) = (slice(json!({"ints": []})), slice(json!({"ints": [1]})));
    assert_eq!(dropped(kind, None, empty.clone()), slice(json!({})));
    assert_eq!(dropped(kind, Some(empty), some.clone()), some);
    let template =
        |claims: Value| json!({"spec": {"podGroupTemplates": [{"name": "a", "resourceClaims": claims}]}});
    let left = json!({"spec": {"podGroupTemplates": [{"name": "a"}]}});
    assert_eq!(
        dropped(
            of("scheduling.k8s.io", "Workload"),
            Some(template(json!([]))),
            template(json!([{"name": "c"}]))
        ),
        left
    );
}

#[test]
fn a_template_is_compared_with_the_one_in_its_place() {
    let workload = |templates: Value| json!({"spec": {"podGroupTemplates": templates}});
    let old = workload(json!([{"name": "a", "priority": 1}, {"name": "b"}]));
    let new = workload(
        json!([{"name": "a", "priority": 2, "disruptionMode": "Pod"}, {"name": "b", "priority": 2}, {"name": "c", "priority": 2}]),
    );
    let left = workload(json!([{"name": "a", "priority": 2}, {"name": "b"}, {"name": "c"}]));
    assert_eq!(dropped(of("scheduling.k8s.io", "Workload"), Some(old), new), left);
}
