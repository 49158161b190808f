//! Tables of volumes and what became of their claims.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

fn volume(policy: &str, phase: &str, uid: Option<&str>, annotations: Value) -> PersistentVolume {
    let mut value = json!({"metadata": {"name": "v", "annotations": annotations},
        "spec": {"persistentVolumeReclaimPolicy": policy}, "status": {"phase": phase}});
    if let Some(uid) = uid {
        value["spec"]["claimRef"] = json!({"name": "c", "namespace": "d", "uid": uid});
    }
    serde_json::from_value(value).unwrap()
}

fn claim(volume: &str, mode: &str) -> Option<PersistentVolumeClaim> {
    let value = json!({"metadata": {"name": "c", "namespace": "d", "uid": "u"},
        "spec": {"volumeName": volume, "volumeMode": mode}});
    Some(serde_json::from_value(value).unwrap())
}

fn outcome(volume: &PersistentVolume, claim: Option<&PersistentVolumeClaim>) -> Vec<String> {
    let say = |step: Step| match step {
        Step::Phase(phase, message) if message.is_empty() => phase.to_owned(),
        Step::Phase(phase, message) => format!("{phase} ({message})"),
        Step::Unbind => "unbind".to_owned(),
        Step::Claim => "claim".to_owned(),
        Step::Tell(told) => format!("{}: {}", told.reason, told.message),
        Step::TellClaim(told) => format!("claim {}: {}", told.reason, told.message),
    };
    plan(volume, claim).into_iter().map(say).collect()
}

#[test]
fn a_volume_follows_its_claim() {
    let file = "Filesystem";
    let by = json!({PROVISIONED_BY: "a.b/c"});
    let none = json!({});
    type Case<'a> =
        (&'a str, &'a str, Option<&'a str>, &'a Value, Option<PersistentVolumeClaim>, &'a [&'a str]);
    let cases: Vec<Case<'_>> = vec![
        ("Retain", "Pending", None, &none, None, &["Available"]),
        ("Retain", "Available", None, &none, None, &[]),
        ("Retain", "Released", None, &none, None, &["Available"]),
        ("Retain", "Pending", Some(""), &none, None, &["Available"]),
        ("Retain", "Available", Some("u"), &none, claim("v", file), &["Bound"]),
        ("Retain", "Bound", Some("u"), &none, claim("v", file), &[]),
        ("Retain", "Bound", Some("u"), &none, claim("", file), &["claim"]),
        ("Retain", "Bound", Some("u"), &none, claim("other", file), &["unbind"]),
        ("Delete", "Bound", Some("u"), &none, claim("other", file), &["unbind"]),
        ("Retain", "Bound", Some("u"), &by, claim("other", file), &["unbind"]),
        ("Delete", "Bound", Some("u"), &by, claim("other", file), &["Released"]),
        ("Retain", "Bound", Some("u"), &none, None, &["Released"]),
        ("Retain", "Released", Some("u"), &none, None, &[]),
        ("Delete", "Bound", Some("u"), &by, None, &["Released"]),
        ("Delete", "Released", Some("u"), &by, None, &[]),
    ];
    for (policy, phase, uid, annotations, claim, expected) in cases {
        let volume = volume(policy, phase, uid, annotations.clone());
        assert_eq!(outcome(&volume, claim.as_ref()), expected, "{policy} {phase} {uid:?} {claim:?}");
    }
}

#[test]
fn what_cannot_be_reclaimed_has_failed() {
    let deleter = "error getting deleter volume plugin for volume \"v\": no deletable volume plugin matched";
    let cases = [
        ("Recycle", json!({}), "VolumeFailedRecycle", "No recycler plugin found for the volume!"),
        ("Delete", json!({}), "VolumeFailedDelete", deleter),
        (
            "Delete",
            json!({PROVISIONED_BY: "kubernetes.io/aws-ebs"}),
            "VolumeFailedDelete",
            "no volume plugin matched name: kubernetes.io/aws-ebs",
        ),
        (
            "Shred",
            json!({}),
            "VolumeUnknownReclaimPolicy",
            "Volume has unrecognized PersistentVolumeReclaimPolicy",
        ),
    ];
    for (policy, annotations, reason, message) in cases {
        let failed = [format!("Failed ({message})"), format!("{reason}: {message}")];
        let of = |phase: &str| outcome(&volume(policy, phase, Some("u"), annotations.clone()), None);
        assert_eq!(of("Released"), failed);
        assert_eq!(of("Bound"), ["Released", &*failed[0], &*failed[1]]);
        assert!(of("Failed").is_empty(), "told once");
    }
    let moved = volume("Delete", "Released", Some("u"), json!({MIGRATED_TO: "ebs.csi.aws.com"}));
    assert!(outcome(&moved, None).is_empty());
}

#[test]
fn a_device_is_not_bound_to_a_claim_for_files() {
    let told = outcome(&volume("Retain", "Available", Some("u"), json!({})), claim("", "Block").as_ref());
    assert_eq!(
        told,
        [
            "VolumeMismatch: Cannot bind PersistentVolume to requested PersistentVolumeClaim \"c\" due to incompatible volumeMode.",
            "claim VolumeMismatch: Cannot bind PersistentVolume \"v\" to requested PersistentVolumeClaim due to incompatible volumeMode.",
        ]
    );
}

#[test]
fn a_volume_lets_go_as_it_was_bound() {
    let ours = unbound(&volume("Retain", "Bound", Some("u"), json!({BOUND_BY_CONTROLLER: "yes", "a": "b"})));
    assert_eq!(ours.spec.unwrap().claim_ref, None);
    assert_eq!(ours.metadata.annotations.unwrap().into_keys().collect::<Vec<_>>(), ["a"]);
    let users = unbound(&volume("Retain", "Bound", Some("u"), json!({})));
    let kept = users.spec.unwrap().claim_ref.unwrap();
    assert_eq!((kept.name.as_deref(), kept.uid), (Some("c"), None));
}
