//! Tables of pods and their claims.
#![allow(clippy::unwrap_used)]

use super::*;

fn pod(spec: Value, status: Value) -> Pod {
    let mut object = json!({"metadata": {"name": "p", "namespace": "d", "uid": "u"},
        "spec": {"containers": [], "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}]}, "status": status});
    object["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(object).unwrap()
}

fn made(owner: &str, status: Value) -> ResourceClaim {
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true});
    serde_json::from_value(
        json!({"metadata": {"name": "p-gpu-x", "namespace": "d", "ownerReferences": [owner]},
        "spec": {}, "status": status}),
    )
    .unwrap()
}

fn told() -> Value {
    json!({"resourceClaimStatuses": [{"name": "gpu", "resourceClaimName": "p-gpu-x"}]})
}

#[test]
fn a_claim_is_made_as_upstream_makes_it() {
    let template: ResourceClaimTemplate = serde_json::from_value(json!({"metadata": {"name": "t"}, "spec": {
        "metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}}}))
    .unwrap();
    let pod = pod(json!({}), Value::Null);
    let one = &pod.spec.as_ref().unwrap().resource_claims.as_ref().unwrap()[0];
    let expected = json!({"apiVersion": "resource.k8s.io/v1", "kind": "ResourceClaim", "metadata": {
        "generateName": "p-gpu-", "namespace": "d", "labels": {"a": "b"},
        "annotations": {"c": "d", "resource.kubernetes.io/pod-claim-name": "gpu"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "u", "controller": true,
            "blockOwnerDeletion": true}]},
        "spec": {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gpu"}}]}}});
    let claim = claim(&pod, one, &template);
    assert_eq!(serde_json::to_value(&claim).unwrap(), expected);
    assert!(is_for(&claim, one));
}

#[test]
fn long_names_are_cut_in_proportion() {
    assert_eq!(base_name("pod", "claim"), "pod-claim-");
    let cut = base_name(&"p".repeat(80), &"c".repeat(20));
    assert_eq!(cut, format!("{}-{}", "p".repeat(44), "c".repeat(11)));
}

#[test]
fn claims_are_made_once() {
    let named = json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "mine"}]});
    let skipped = json!({"resourceClaimStatuses": [{"name": "gpu"}]});
    for (what, spec, status, known, expected) in [
        ("new", json!({}), Value::Null, None, Ok(Some("t"))),
        ("there", json!({}), told(), Some(made("u", Value::Null)), Ok(None)),
        ("deleted by mistake", json!({}), told(), None, Ok(Some("t"))),
        ("another's", json!({}), told(), Some(made("v", Value::Null)), Ok(Some("t"))),
        ("the user's", named, Value::Null, None, Ok(None)),
        ("not needed", json!({}), skipped, None, Ok(None)),
        (
            "unknown",
            json!({"resourceClaims": [{"name": "gpu"}]}),
            Value::Null,
            None,
            Err(
                "checking for claim before creating it: pod \"d/p\", spec.resourceClaim \"gpu\": none of the supported fields are set",
            ),
        ),
    ] {
        let pod = pod(spec, status);
        let one = &pod.spec.as_ref().unwrap().resource_claims.as_ref().unwrap()[0];
        let said = to_make(&pod, one, known.as_ref());
        assert_eq!(said.as_ref().map(|made| *made).map_err(String::as_str), expected, "{what}");
    }
}

#[test]
fn a_pod_that_was_placed_by_others_gets_its_place() {
    let has = |users: Value| made("u", json!({"allocation": {}, "reservedFor": users}));
    let user = |uid: &str| json!({"resource": "pods", "name": "p", "uid": uid});
    for (what, spec, claim, expected) in [
        ("placed", json!({"nodeName": "n"}), has(json!([])), true),
        ("beside others", json!({"nodeName": "n"}), has(json!([user("v")])), true),
        ("already", json!({"nodeName": "n"}), has(json!([user("u")])), false),
        ("nothing to have", json!({"nodeName": "n"}), made("u", Value::Null), false),
        ("not placed", json!({}), has(json!([])), false),
    ] {
        let pod = pod(spec, told());
        assert_eq!(needs_work(&pod, |_| Some(Arc::new(claim.clone()))), expected, "{what}");
    }
    let reserved = reserve(&pod(json!({"nodeName": "n"}), told()), &has(json!([user("v")]))).unwrap();
    let users = serde_json::to_value(consumers(&reserved)).unwrap();
    assert_eq!(users, json!([user("v"), user("u")]));
}

#[test]
fn work_is_seen_where_it_is() {
    let gone = json!({"deletionTimestamp": "2026-01-01T00:00:00Z"});
    for (what, status, claim, expected) in [
        ("not made", Value::Null, None, true),
        ("lost", told(), None, true),
        ("there", told(), Some(made("u", Value::Null)), false),
    ] {
        let mut pod = pod(json!({}), status);
        assert_eq!(needs_work(&pod, |_| claim.clone().map(Arc::new)), expected, "{what}");
        pod.metadata.deletion_timestamp = serde_json::from_value(gone["deletionTimestamp"].clone()).unwrap();
        assert!(!needs_work(&pod, |_| None), "{what}, and going");
    }
    let named = pod(json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "mine"}]}), Value::Null);
    assert!(!needs_work(&named, |_| None), "the user is to make it");
}

#[test]
fn the_status_keeps_what_it_says() {
    let said =
        json!({"resourceClaimStatuses": [{"name": "a", "resourceClaimName": "p-a-1"}, {"name": "skipped"}]});
    let all = statuses(&pod(json!({}), said), &[("gpu".into(), "p-gpu-2".into())]);
    let expected = json!([{"name": "a", "resourceClaimName": "p-a-1"}, {"name": "gpu", "resourceClaimName": "p-gpu-2"},
        {"name": "skipped"}]);
    assert_eq!(Value::Array(all), expected);
}
