//! Tables: a claim or a volume, and what is to be done about it.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const NODE: &str = "n1";

fn from<T: Object>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

/// `value` with some of its fields replaced, each by a JSON pointer whose parent exists.
fn with(mut value: Value, changes: &[(&str, Value)]) -> Value {
    for (at, to) in changes {
        let (parent, name) = at.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[name.replace("~1", "/")] = to.clone();
    }
    value
}

fn claim() -> Value {
    json!({
        "metadata": {"name": "data", "namespace": "ns", "uid": "u1", "annotations": {
            "volume.kubernetes.io/storage-provisioner": PROVISIONER,
            "volume.kubernetes.io/selected-node": NODE,
        }},
        "spec": {"storageClassName": "standard", "accessModes": ["ReadWriteOnce"], "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": "1Gi"}}},
        "status": {"phase": "Pending"},
    })
}

fn class() -> Value {
    json!({"metadata": {"name": "standard"}, "provisioner": PROVISIONER, "reclaimPolicy": "Retain",
        "volumeBindingMode": "WaitForFirstConsumer"})
}

const CHOSEN: &str = "/metadata/annotations/volume.kubernetes.io~1selected-node";
const WHO: &str = "/metadata/annotations/volume.kubernetes.io~1storage-provisioner";

#[test]
fn a_claim_gets_a_volume_when_it_is_ours_and_its_node_is_chosen() {
    let immediate = with(class(), &[("/volumeBindingMode", json!("Immediate"))]);
    for (what, claim, class, wanted) in [
        ("as it should be", claim(), Some(class()), Wish::Volume),
        ("no node yet", with(claim(), &[(CHOSEN, json!(""))]), Some(class()), Wish::Nothing),
        ("no node needed", with(claim(), &[(CHOSEN, json!(""))]), Some(immediate), Wish::Volume),
        ("another node", with(claim(), &[(CHOSEN, json!("n2"))]), Some(class()), Wish::Nothing),
        ("another's", with(claim(), &[(WHO, json!("example.com/disk"))]), Some(class()), Wish::Nothing),
        ("it has one", with(claim(), &[("/spec/volumeName", json!("v"))]), Some(class()), Wish::Nothing),
        (
            "it is leaving",
            with(claim(), &[("/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"))]),
            Some(class()),
            Wish::Nothing,
        ),
        ("its class is gone", claim(), None, Wish::Unclassed),
        (
            "its class is another's now",
            claim(),
            Some(with(class(), &[("/provisioner", json!("example.com/disk"))])),
            Wish::Nothing,
        ),
    ] {
        let class: Option<StorageClass> = class.map(from);
        assert_eq!(wish(&from(claim), class.as_ref(), NODE), wanted, "{what}");
    }
}

#[test]
fn what_a_directory_cannot_give_is_refused() {
    let selector = json!({"matchLabels": {"a": "b"}});
    let source = json!({"kind": "PersistentVolumeClaim", "name": "other"});
    for (claim, class, words) in [
        (with(claim(), &[("/spec/volumeMode", json!("Block"))]), class(), "block volume provisioning"),
        (with(claim(), &[("/spec/selector", selector)]), class(), "claim Selector is not supported"),
        (with(claim(), &[("/spec/dataSource", source)]), class(), "does not support data sources"),
        (claim(), with(class(), &[("/parameters", json!({"type": "ssd"}))]), "unknown parameter \"type\""),
        (claim(), with(class(), &[("/mountOptions", json!(["noatime"]))]), "does not support mount options"),
    ] {
        let said = refusal(&from(claim), &from(class)).unwrap();
        assert!(said.text().contains(words), "{said:?}");
    }
    assert_eq!(refusal(&from(claim()), &from(class())), None);
}

#[test]
fn more_than_there_is_is_refused_with_the_figures() {
    let (claim, root) = (from(claim()), Path::new("/srv"));
    let space = |free| Space { free, total: 4 << 30 };
    assert_eq!(shortage(&claim, space(1 << 30), NODE, root), None);
    let Some(Refusal::Full(text)) = shortage(&claim, space((1 << 30) - 1), NODE, root) else {
        panic!("fits")
    };
    assert_eq!(
        text,
        "failed to provision volume with StorageClass \"standard\": not enough free space on node \"n1\": \
         1Gi requested, 1023.9Mi of 4Gi free at /srv"
    );
}

#[test]
fn a_volume_is_tied_to_its_claim_and_node() {
    let made = volume(&from(claim()), &from(class()), NODE, Path::new("/srv/pvc-u1"));
    let made = serde_json::to_value(made).unwrap();
    assert_eq!(
        made["metadata"],
        json!({"name": "pvc-u1", "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
            "finalizers": [FINALIZER]})
    );
    assert_eq!(made["spec"]["local"], json!({"path": "/srv/pvc-u1"}));
    assert_eq!(made["spec"]["capacity"], json!({"storage": "1Gi"}));
    assert_eq!(made["spec"]["claimRef"]["uid"], "u1");
    assert_eq!(made["spec"]["persistentVolumeReclaimPolicy"], "Retain");
    assert_eq!(
        made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"][0]["matchExpressions"][0],
        json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]})
    );
}

#[test]
fn a_volume_goes_when_it_is_released_and_only_then() {
    let claim: PersistentVolumeClaim = from(claim());
    let made = serde_json::to_value(volume(&claim, &from(class()), NODE, Path::new("/srv/pvc-u1"))).unwrap();
    let state = |policy: &str, phase: &str, protected: bool, leaving: bool| {
        let finalizers = if protected { json!([FINALIZER]) } else { json!([]) };
        let gone = if leaving { json!("2026-01-01T00:00:00Z") } else { Value::Null };
        with(
            made.clone(),
            &[
                ("/spec/persistentVolumeReclaimPolicy", json!(policy)),
                ("/metadata/finalizers", finalizers),
                ("/metadata/deletionTimestamp", gone),
                ("/status", json!({"phase": phase})),
            ],
        )
    };
    for (policy, phase, protected, leaving, wanted) in [
        ("Delete", "Bound", true, false, Fate::Leave),
        ("Delete", "Bound", false, false, Fate::Protect),
        ("Delete", "Bound", false, true, Fate::Leave),
        ("Delete", "Released", true, false, Fate::Delete),
        ("Delete", "Released", true, true, Fate::Delete),
        ("Delete", "Released", false, false, Fate::Delete),
        // somebody took our finalizer, and nothing is kept back
        ("Delete", "Released", false, true, Fate::Leave),
        ("Retain", "Released", true, false, Fate::Unprotect),
        ("Retain", "Bound", true, false, Fate::Unprotect),
        ("Retain", "Released", false, false, Fate::Leave),
    ] {
        let one = state(policy, phase, protected, leaving);
        assert_eq!(fate(&from(one.clone()), NODE), wanted, "{policy} {phase} {protected} {leaving}");
        assert_eq!(fate(&from(one), "n2"), Fate::Leave, "on another node");
    }
    let strange = with(state("Delete", "Released", false, false), &[("/metadata/annotations", json!({}))]);
    assert_eq!(fate(&from(strange), NODE), Fate::Leave, "provisioned by somebody else");
}

#[test]
fn what_others_write_into_a_status_is_no_news() {
    let old: PersistentVolumeClaim = from(claim());
    let news = |changes: &[(&str, Value)]| concerns(Some(&old), &from(with(claim(), changes)));
    assert!(concerns(None, &old));
    assert!(!news(&[("/metadata/resourceVersion", json!("7"))]));
    assert!(!news(&[("/status/conditions", json!([{"type": "Resizing", "status": "True"}]))]));
    assert!(news(&[(CHOSEN, json!("n2"))]));
    assert!(news(&[("/spec/resources/requests/storage", json!("2Gi"))]));
    assert!(news(&[("/status/phase", json!("Bound"))]));
}
