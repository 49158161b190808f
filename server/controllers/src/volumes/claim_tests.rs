//! Tables of claims and volumes.
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

fn claim(change: Value) -> PersistentVolumeClaim {
    let base = json!({"metadata": {"name": "c", "namespace": "d", "uid": "u"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "storageClassName": "", "volumeMode": "Filesystem",
        "resources": {"requests": {"storage": "1Gi"}}}, "status": {"phase": "Pending"}});
    serde_json::from_value(merge(base, &change)).unwrap()
}

fn volume(name: &str, change: Value) -> Arc<PersistentVolume> {
    let base = json!({"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"}}, "status": {"phase": "Available"}});
    Arc::new(serde_json::from_value(merge(base, &change)).unwrap())
}

fn size(amount: &str) -> Value {
    json!({"spec": {"capacity": {"storage": amount}}})
}

fn kept(uid: Option<&str>) -> Value {
    json!({"spec": {"claimRef": {"name": "c", "namespace": "d", "uid": uid}}})
}

fn class(provisioner: &str, mode: &str) -> Option<Arc<StorageClass>> {
    let class = json!({"metadata": {"name": "k"}, "provisioner": provisioner, "volumeBindingMode": mode});
    Some(Arc::new(serde_json::from_value(class).unwrap()))
}

/// What becomes of a claim, in short.
fn outcome(claim: &PersistentVolumeClaim, world: &World) -> Vec<String> {
    let say = |step: Step| match step {
        Step::Bind(volume) => format!("bind {}", name(&volume.metadata)),
        Step::Write(claim) => format!(
            "write {} {}",
            claim_class(&claim),
            annotation(&claim.metadata, PROVISIONER).unwrap_or_default()
        ),
        Step::Phase(phase) => phase.to_owned(),
        Step::Tell(told) => format!("{}: {}", told.reason, told.message),
        Step::Fail(why) => format!("fails: {why}"),
    };
    plan(claim, world).into_iter().map(say).collect()
}

const NONE: &str =
    "FailedBinding: no persistent volumes available for this claim and no storage class is set";

#[test]
fn the_smallest_volume_that_suits_is_taken() {
    let cases: Vec<(&str, Value, Vec<Arc<PersistentVolume>>, &str)> = vec![
        ("none", json!({}), vec![], NONE),
        (
            "smallest",
            json!({}),
            vec![volume("big", size("5Gi")), volume("fits", size("2Gi")), volume("small", size("500Mi"))],
            "bind fits",
        ),
        ("too small", json!({}), vec![volume("a", size("1023Mi"))], NONE),
        (
            "fewest modes before size",
            json!({}),
            vec![
                volume("many", json!({"spec": {"accessModes": ["ReadWriteOnce", "ReadWriteMany"]}})),
                volume("one", size("9Gi")),
            ],
            "bind one",
        ),
        ("modes", json!({"spec": {"accessModes": ["ReadWriteMany"]}}), vec![volume("a", json!({}))], NONE),
        (
            "mode",
            json!({"spec": {"volumeMode": "Block"}}),
            vec![volume("file", json!({})), volume("block", json!({"spec": {"volumeMode": "Block"}}))],
            "bind block",
        ),
        (
            "selector",
            json!({"spec": {"selector": {"matchLabels": {"disk": "ssd"}}}}),
            vec![volume("a", json!({})), volume("b", json!({"metadata": {"labels": {"disk": "ssd"}}}))],
            "bind b",
        ),
        ("class", json!({}), vec![volume("a", json!({"spec": {"storageClassName": "k"}}))], NONE),
        (
            "beta class",
            json!({"metadata": {"annotations": {"volume.beta.kubernetes.io/storage-class": "k"}}}),
            vec![volume("a", json!({"spec": {"storageClassName": "k"}}))],
            "bind a",
        ),
        (
            "attributes",
            json!({}),
            vec![volume("a", json!({"spec": {"volumeAttributesClassName": "gold"}}))],
            NONE,
        ),
        ("not available", json!({}), vec![volume("a", json!({"status": {"phase": "Released"}}))], NONE),
        (
            "going",
            json!({}),
            vec![volume("a", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}))],
            NONE,
        ),
        (
            "kept for it, whatever its class and size",
            json!({}),
            vec![
                volume("free", json!({})),
                volume(
                    "kept",
                    merge(merge(size("9Gi"), &kept(None)), &json!({"spec": {"storageClassName": "k"}})),
                ),
            ],
            "bind kept",
        ),
        ("kept and too small", json!({}), vec![volume("kept", merge(size("1Mi"), &kept(None)))], NONE),
        ("of an earlier claim of this name", json!({}), vec![volume("a", kept(Some("old")))], NONE),
        (
            "another's",
            json!({}),
            vec![volume("a", json!({"spec": {"claimRef": {"name": "x", "namespace": "d"}}}))],
            NONE,
        ),
    ];
    for (why, change, volumes, expected) in cases {
        let world = World { volumes, ..World::default() };
        assert_eq!(outcome(&claim(change), &world), [expected], "{why}");
    }
}

#[test]
fn a_claim_without_volume_waits_or_asks() {
    let delayed = || class("a.b/c", "WaitForFirstConsumer");
    let of_class = |change: Value| merge(json!({"spec": {"storageClassName": "k"}}), &change);
    let selected = json!({"metadata": {"annotations": {SELECTED_NODE: "n"}}});
    let asked = json!({"metadata": {"annotations": {PROVISIONER: "a.b/c"}}});
    let external = "ExternalProvisioning: Waiting for a volume to be created either by the external provisioner 'a.b/c' or manually by the system administrator. If volume creation is delayed, please verify that the provisioner is running and correctly registered.";
    let cases: Vec<(Value, World, Vec<&str>)> = vec![
        (
            of_class(json!({})),
            World { class: delayed(), volumes: vec![volume("a", of_class(json!({})))], ..World::default() },
            vec!["WaitForFirstConsumer: waiting for first consumer to be created before binding"],
        ),
        (
            of_class(json!({})),
            World { class: delayed(), volumes: vec![volume("a", kept(None))], ..World::default() },
            vec!["bind a"],
        ),
        (
            of_class(json!({})),
            World { class: delayed(), waiting_pods: vec!["p".into()], ..World::default() },
            vec!["WaitForPodScheduled: waiting for pod p to be scheduled"],
        ),
        (
            of_class(json!({})),
            World { class: delayed(), waiting_pods: vec!["p".into(), "q".into()], ..World::default() },
            vec!["WaitForPodScheduled: waiting for pods p,q to be scheduled"],
        ),
        (of_class(selected), World { class: delayed(), ..World::default() }, vec!["write k a.b/c", external]),
        (
            of_class(json!({})),
            World { class: class("a.b/c", "Immediate"), ..World::default() },
            vec!["write k a.b/c", external],
        ),
        (of_class(asked), World { class: class("a.b/c", "Immediate"), ..World::default() }, vec![external]),
        (
            of_class(json!({})),
            World::default(),
            vec!["ProvisioningFailed: storageclass.storage.k8s.io \"k\" not found"],
        ),
        (
            of_class(json!({})),
            World { class: class("kubernetes.io/no-provisioner", "Immediate"), ..World::default() },
            vec!["ProvisioningFailed: no volume plugin matched name: kubernetes.io/no-provisioner"],
        ),
        (
            json!({"spec": {"storageClassName": null}}),
            World { default_class: Some("k".into()), ..World::default() },
            vec!["write k "],
        ),
        (json!({}), World { default_class: Some("k".into()), ..World::default() }, vec![NONE]),
        (json!({"status": {"phase": null}}), World::default(), vec![NONE, "Pending"]),
    ];
    for (change, world, expected) in cases {
        assert_eq!(outcome(&claim(change.clone()), &world), expected, "{change} {world:?}");
    }
}

#[test]
fn a_claim_may_name_its_volume() {
    let named = |change: Value| claim(merge(json!({"spec": {"volumeName": "v"}}), &change));
    let by_us = json!({"metadata": {"annotations": {BOUND_BY_CONTROLLER: "yes"}}});
    let cases: Vec<(Value, Option<Value>, &[&str])> = vec![
        (json!({}), None, &[]),
        (json!({"status": {"phase": null}}), None, &["Pending"]),
        (json!({}), Some(json!({})), &["bind v"]),
        (json!({}), Some(kept(None)), &["bind v"]),
        (json!({}), Some(kept(Some("u"))), &["bind v"]),
        (
            json!({}),
            Some(kept(Some("other"))),
            &["FailedBinding: volume \"v\" already bound to a different claim."],
        ),
        (
            by_us,
            Some(kept(Some("other"))),
            &["fails: invalid binding of claim \"d/c\" to volume \"v\": volume already claimed by \"d/c\""],
        ),
        (
            json!({}),
            Some(size("1Mi")),
            &["VolumeMismatch: Cannot bind to requested volume \"v\": requested PV is too small"],
        ),
        (
            json!({"spec": {"storageClassName": "k"}}),
            Some(json!({})),
            &["VolumeMismatch: Cannot bind to requested volume \"v\": storageClassName does not match"],
        ),
        (
            json!({"spec": {"volumeMode": "Block"}}),
            Some(json!({})),
            &["VolumeMismatch: Cannot bind to requested volume \"v\": incompatible volumeMode"],
        ),
        (
            json!({"spec": {"accessModes": ["ReadOnlyMany"]}}),
            Some(json!({})),
            &["VolumeMismatch: Cannot bind to requested volume \"v\": incompatible accessMode"],
        ),
    ];
    for (change, found, expected) in cases {
        let world = World { named: found.clone().map(|change| volume("v", change)), ..World::default() };
        assert_eq!(outcome(&named(change.clone()), &world), expected, "{change} {found:?}");
    }
}

#[test]
fn a_bound_claim_is_kept_or_lost() {
    let bound = |name: &str, phase: &str| {
        claim(json!({"metadata": {"annotations": {BIND_COMPLETED: "yes"}}, "spec": {"volumeName": name},
            "status": {"phase": phase}}))
    };
    let gone = "ClaimLost: Bound claim has lost its PersistentVolume. Data on the volume is lost!";
    let cases: Vec<(&str, &str, Option<Value>, Vec<&str>)> = vec![
        (
            "",
            "Bound",
            None,
            vec![
                "Lost",
                "ClaimLost: Bound claim has lost reference to PersistentVolume. Data on the volume is lost!",
            ],
        ),
        ("v", "Bound", None, vec!["Lost", gone]),
        ("v", "Lost", None, vec![]),
        ("v", "Bound", Some(json!({})), vec!["bind v"]),
        ("v", "Bound", Some(kept(Some("u"))), vec!["bind v"]),
        (
            "v",
            "Bound",
            Some(kept(Some("other"))),
            vec![
                "Lost",
                "ClaimMisbound: Two claims are bound to the same volume, this one is bound incorrectly",
            ],
        ),
    ];
    for (name, phase, found, expected) in cases {
        let world = World { named: found.clone().map(|change| volume("v", change)), ..World::default() };
        assert_eq!(outcome(&bound(name, phase), &world), expected, "{name} {phase} {found:?}");
    }
}

#[test]
fn a_binding_says_who_made_it() {
    let claim = claim(json!({}));
    let free = volume_bound_to(&volume("v", json!({})), &claim).unwrap();
    assert_eq!(annotation(&free.metadata, BOUND_BY_CONTROLLER), Some("yes"));
    assert_eq!((claim_uid(&free), super::super::words::claim_key(&free)), ("u", Some(claim.key())));
    assert_eq!(volume_bound_to(&free, &claim), None);
    let kept = volume_bound_to(&volume("v", kept(None)), &claim).unwrap();
    assert_eq!((annotation(&kept.metadata, BOUND_BY_CONTROLLER), claim_uid(&kept)), (None, "u"));

    let ours = claim_bound_to(&claim, &free).unwrap();
    assert_eq!(annotation(&ours.metadata, BOUND_BY_CONTROLLER), Some("yes"));
    assert_eq!(annotation(&ours.metadata, BIND_COMPLETED), Some("yes"));
    assert_eq!((volume_name(&ours), claim_bound_to(&ours, &free)), ("v", None));
    let mut named = claim.clone();
    named.spec.as_mut().unwrap().volume_name = Some("v".into());
    let named = claim_bound_to(&named, &free).unwrap();
    assert_eq!(annotation(&named.metadata, BOUND_BY_CONTROLLER), None);
}

#[test]
fn a_status_shows_what_the_volume_holds_when_it_becomes_bound() {
    let holds = volume("v", size("5Gi"));
    let bound = bound_status(&claim(json!({})), &holds).unwrap();
    let status = serde_json::to_value(bound.status.as_ref().unwrap()).unwrap();
    let expected =
        json!({"phase": "Bound", "accessModes": ["ReadWriteOnce"], "capacity": {"storage": "5Gi"}});
    assert_eq!(status, expected);
    assert_eq!(bound_status(&bound, &holds), None);
    assert_eq!(bound_status(&bound, &volume("v", size("9Gi"))), None, "the resizer says so");
    let lost = serde_json::to_value(unbound_status(&bound, "Lost").status.unwrap()).unwrap();
    assert_eq!(lost, json!({"phase": "Lost"}));
}

#[test]
fn the_newest_default_class_counts() {
    let class = |name: &str, key: &str, value: &str, second: u32| -> Arc<StorageClass> {
        let made = format!("2026-01-01T00:00:{second:02}Z");
        let meta = json!({"name": name, "annotations": {key: value}, "creationTimestamp": made});
        Arc::new(serde_json::from_value(json!({"metadata": meta, "provisioner": "p"})).unwrap())
    };
    let (now, beta) = (DEFAULT_CLASS[0], DEFAULT_CLASS[1]);
    assert_eq!(default_class(&[class("a", now, "false", 9)]), None);
    let all = [class("a", now, "true", 1), class("c", now, "true", 5), class("b", beta, "true", 5)];
    assert_eq!(default_class(&all).as_deref(), Some("b"));
}
