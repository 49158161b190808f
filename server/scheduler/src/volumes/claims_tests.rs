//! Tables of pods, claims, volumes and nodes.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn merge(mut base: Value, change: &Value) -> Value {
    for (key, value) in change.as_object().unwrap() {
        match value.is_object() && base[key].is_object() {
            true => base[key] = merge(base[key].take(), value),
            false => base[key] = value.clone(),
        }
    }
    base
}

fn pod(claims: &[&str]) -> PodInfo {
    let volumes: Vec<Value> = claims
        .iter()
        .map(|claim| json!({"name": claim, "persistentVolumeClaim": {"claimName": claim}}))
        .collect();
    let pod = json!({"metadata": {"name": "p", "namespace": "d", "uid": "pod"},
        "spec": {"containers": [], "volumes": volumes}});
    PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()))
}

fn node(name: &str) -> Node {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"host": name}}})).unwrap()
}

fn on(host: &str) -> Value {
    let term = json!({"matchExpressions": [{"key": "host", "operator": "In", "values": [host]}]});
    json!({"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}})
}

fn bound(volume: &str) -> Value {
    json!({"metadata": {"annotations": {super::super::BIND_COMPLETED: "yes"}}, "spec": {"volumeName": volume},
        "status": {"phase": "Bound"}})
}

fn selected(node: &str) -> Value {
    json!({"metadata": {"annotations": {super::super::SELECTED_NODE: node}}})
}

fn volumes(claims: &[(&str, Value)], of: &[(&str, Value)]) -> Volumes {
    let mut volumes = Volumes::default();
    for (name, provisioner, mode) in [
        ("late", "a.b/c", "WaitForFirstConsumer"),
        ("local", NO_PROVISIONER, "WaitForFirstConsumer"),
        ("now", "a.b/c", "Immediate"),
    ] {
        let class =
            json!({"metadata": {"name": name}, "provisioner": provisioner, "volumeBindingMode": mode});
        volumes.set_class(name, Some(Arc::new(serde_json::from_value(class).unwrap())));
    }
    let zoned = json!({"metadata": {"name": "zoned"}, "provisioner": "a.b/c",
        "volumeBindingMode": "WaitForFirstConsumer", "allowedTopologies": [
            {"matchLabelExpressions": [{"key": "host", "values": ["m"]}]}]});
    volumes.set_class("zoned", Some(Arc::new(serde_json::from_value(zoned).unwrap())));
    for (name, change) in claims {
        let base = json!({"metadata": {"name": name, "namespace": "d", "uid": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "late",
            "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Pending"}});
        let claim = serde_json::from_value(merge(base, change)).unwrap();
        volumes.set_claim(&format!("d/{name}"), Some(Arc::new(claim)));
    }
    for (name, change) in of {
        let base = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
            "capacity": {"storage": "1Gi"}, "storageClassName": "late"}, "status": {"phase": "Available"}});
        let volume = serde_json::from_value(merge(base, change)).unwrap();
        volumes.set_volume(name, Some(Arc::new(volume)));
    }
    volumes
}

#[test]
fn a_pod_whose_claims_are_not_usable_fits_nowhere() {
    let why = |claims: &[(&str, Value)]| PodClaims::new(&pod(&["c"]), &volumes(claims, &[])).err();
    let immediate = "pod has unbound immediate PersistentVolumeClaims";
    for (change, expected) in [
        (json!({"spec": {"storageClassName": "now"}}), immediate),
        (json!({"spec": {"storageClassName": "missing"}}), immediate),
        (json!({"spec": {"storageClassName": ""}}), immediate),
        (json!({"spec": {"volumeName": "v"}}), immediate),
        (
            json!({"status": {"phase": "Lost"}, "spec": {"volumeName": "v"}}),
            "persistentvolumeclaim \"c\" bound to non-existent persistentvolume \"v\"",
        ),
        (
            json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}),
            "persistentvolumeclaim \"c\" is being deleted",
        ),
    ] {
        assert_eq!(why(&[("c", change.clone())]).as_deref(), Some(expected), "{change}");
    }
    assert_eq!(why(&[]).as_deref(), Some("persistentvolumeclaim \"c\" not found"));
    assert_eq!(why(&[("c", json!({}))]), None);
    assert_eq!(why(&[("c", bound("v"))]), None);
}

#[test]
fn the_claim_of_an_inline_volume_is_the_pods_own() {
    let inline = json!({"metadata": {"name": "p", "namespace": "d", "uid": "pod"}, "spec": {"containers": [],
        "volumes": [{"name": "x", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}}]}});
    let pod = PodInfo::new(Arc::new(serde_json::from_value(inline).unwrap()));
    assert_eq!(pod.claims, [("p-x".to_owned(), true)]);
    let owner = json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": "pod", "controller": true});
    for (claims, expected) in [
        (vec![], Some("waiting for ephemeral volume controller to create the persistentvolumeclaim \"p-x\"")),
        (vec![("p-x", json!({}))], Some("PVC d/p-x was not created for pod d/p (pod is not owner)")),
        (vec![("p-x", json!({"metadata": {"ownerReferences": [owner]}}))], None),
    ] {
        assert_eq!(PodClaims::new(&pod, &volumes(&claims, &[])).err().as_deref(), expected);
    }
}

#[test]
fn volumes_decide_over_nodes() {
    let bind = |volume: &str| Ok(Choice { bind: vec![(volume.into(), "d/c".into())], ..Choice::default() });
    let provision = || Ok(Choice { provision: vec!["d/c".into()], ..Choice::default() });
    let settle = || Ok(Choice { settle: vec!["d/c".into()], ..Choice::default() });
    let unsaid = |volume: &str| merge(bound(volume), &json!({"status": {"phase": "Pending"}}));
    let no = |reason: &str| Err(vec![reason.to_owned()]);
    let kept = |uid: &str| json!({"spec": {"claimRef": {"namespace": "d", "name": "c", "uid": uid}}});
    let size = |amount: &str| json!({"spec": {"capacity": {"storage": amount}}});
    let class = |name: &str| json!({"spec": {"storageClassName": name}});
    type Case<'a> = (&'a str, Value, Vec<(&'a str, Value)>, NodeVolumes);
    let cases: Vec<Case<'_>> = vec![
        ("bound here", bound("v"), vec![("v", on("n"))], Ok(Choice::default())),
        ("bound anywhere", bound("v"), vec![("v", json!({}))], Ok(Choice::default())),
        ("bound here, which its status does not say", unsaid("v"), vec![("v", on("n"))], settle()),
        ("bound elsewhere", bound("v"), vec![("v", on("m"))], no(UNREACHABLE)),
        ("its volume is gone", bound("v"), vec![], no(MISSING)),
        ("free", json!({}), vec![("v", json!({}))], bind("v")),
        ("the smallest", json!({}), vec![("a", size("3Gi")), ("b", size("2Gi"))], bind("b")),
        (
            "the smallest here",
            json!({}),
            vec![("a", on("m")), ("b", merge(size("2Gi"), &on("n")))],
            bind("b"),
        ),
        (
            "kept before free",
            json!({}),
            vec![("a", json!({})), ("b", merge(size("9Gi"), &kept("c")))],
            bind("b"),
        ),
        ("kept, elsewhere", class("local"), vec![("b", merge(on("m"), &kept("c")))], no(NO_MATCH)),
        (
            "of an earlier claim",
            class("local"),
            vec![("b", merge(class("local"), &kept("old")))],
            no(NO_MATCH),
        ),
        ("of another class", class("local"), vec![("v", json!({}))], no(NO_MATCH)),
        ("too small", class("local"), vec![("v", merge(class("local"), &size("1Mi")))], no(NO_MATCH)),
        (
            "not available",
            class("local"),
            vec![("v", merge(class("local"), &json!({"status": {"phase": "Released"}})))],
            no(NO_MATCH),
        ),
        (
            "other modes",
            class("local"),
            vec![("v", merge(class("local"), &json!({"spec": {"accessModes": ["ReadOnlyMany"]}})))],
            no(NO_MATCH),
        ),
        (
            "a device",
            class("local"),
            vec![("v", merge(class("local"), &json!({"spec": {"volumeMode": "Block"}})))],
            no(NO_MATCH),
        ),
        ("to be made", json!({}), vec![], provision()),
        ("being made here", selected("n"), vec![("v", json!({}))], provision()),
        ("being made elsewhere", selected("m"), vec![("v", json!({}))], no(NO_MATCH)),
        ("nobody makes it", class("local"), vec![], no(NO_MATCH)),
        ("not made here", class("zoned"), vec![], no(NO_MATCH)),
    ];
    for (why, claim, of, expected) in cases {
        let volumes = volumes(&[("c", claim)], &of);
        let claims = PodClaims::new(&pod(&["c"]), &volumes).unwrap();
        assert_eq!(claims.on(&node("n"), &volumes), expected, "{why}");
    }
    let volumes = volumes(&[("c", class("zoned"))], &[]);
    assert_eq!(PodClaims::new(&pod(&["c"]), &volumes).unwrap().on(&node("m"), &volumes), provision());
}

#[test]
fn one_volume_is_not_chosen_twice() {
    let big = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
    let mut volumes = volumes(
        &[("big", big), ("c", json!({}))],
        &[("a", json!({"spec": {"capacity": {"storage": "5Gi"}}})), ("b", json!({}))],
    );
    let choose = |volumes: &Volumes, claims: &[&str]| {
        PodClaims::new(&pod(claims), volumes).unwrap().on(&node("n"), volumes).unwrap()
    };
    let pair = |volume: &str, claim: &str| (volume.to_owned(), claim.to_owned());
    let both = choose(&volumes, &["big", "c", "c"]);
    assert_eq!(both.bind, [pair("b", "d/c"), pair("a", "d/big")]);
    // what was chosen for another pod is gone, and comes back when that is given up
    let one = choose(&volumes, &["c"]);
    volumes.assume("n", &one);
    assert_eq!(choose(&volumes, &["c"]), one, "the same claim keeps its volume");
    volumes.set_claim("d/e", volumes.claim("d/c").cloned());
    assert_eq!(choose(&volumes, &["e"]).bind, [pair("a", "d/e")]);
    volumes.give_up(&one);
    assert_eq!(choose(&volumes, &["e"]).bind, [pair("b", "d/e")]);
    // and so is a node for one that is to be made
    let made = Choice { provision: vec!["d/c".into()], ..Choice::default() };
    volumes.assume("n", &made);
    assert!(PodClaims::new(&pod(&["c"]), &volumes).unwrap().on(&node("m"), &volumes).is_err());
    assert_eq!(choose(&volumes, &["c"]), made);
}
