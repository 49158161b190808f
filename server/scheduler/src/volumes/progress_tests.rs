//! Tables of what became of a choice.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use serde_json::{Value, json};

use super::super::BIND_COMPLETED;
use super::*;

fn claim(volume: &str, annotations: Value, version: u64) -> PersistentVolumeClaim {
    let meta = json!({"name": "c", "namespace": "d", "uid": "u", "resourceVersion": version.to_string(),
        "annotations": annotations});
    let status = json!({"phase": "Bound"});
    serde_json::from_value(json!({"metadata": meta, "spec": {"volumeName": volume}, "status": status}))
        .unwrap()
}

/// As the binder leaves it before it writes the status.
fn unsaid(mut claim: PersistentVolumeClaim) -> PersistentVolumeClaim {
    claim.status.get_or_insert_default().phase = Some("Pending".to_owned());
    claim
}

fn volume(uid: Option<&str>, host: &str, version: u64) -> PersistentVolume {
    let term = json!({"matchExpressions": [{"key": "host", "operator": "In", "values": [host]}]});
    let reference = uid.map(|uid| json!({"namespace": "d", "name": "c", "uid": uid}));
    serde_json::from_value(
        json!({"metadata": {"name": "v", "resourceVersion": version.to_string()}, "spec": {
        "claimRef": reference, "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}}}),
    )
    .unwrap()
}

fn node() -> Node {
    serde_json::from_value(json!({"metadata": {"name": "n", "labels": {"host": "n"}}})).unwrap()
}

fn look(choice: &Choice, claim: Option<PersistentVolumeClaim>, volume: Option<PersistentVolume>) -> Progress {
    let mut volumes = Volumes::default();
    volumes.set_claim("d/c", claim.map(Arc::new));
    volumes.set_volume("v", volume.map(Arc::new));
    let written = [("v".to_owned(), 5), ("d/c".to_owned(), 5)].into();
    progress(choice, &written, &node(), &volumes)
}

fn failed(why: &str) -> Progress {
    Progress::Failed(format!("binding volumes: {why}"))
}

#[test]
fn a_chosen_volume_is_waited_for() {
    let choice = Choice { bind: vec![("v".into(), "d/c".into())], ..Choice::default() };
    let done = || Some(claim("v", json!({BIND_COMPLETED: "yes"}), 7));
    let pending = || Some(claim("", json!({}), 3));
    let missing = |what: &str| failed(&format!("failed to check binding: could not find {what}"));
    for (claim, volume, expected) in [
        (done(), Some(volume(Some("u"), "n", 5)), Progress::Done),
        (done().map(unsaid), Some(volume(Some("u"), "n", 5)), Progress::Waiting),
        (pending(), Some(volume(Some("u"), "n", 5)), Progress::Waiting),
        (done(), Some(volume(None, "n", 4)), Progress::Waiting),
        (done(), Some(volume(None, "n", 6)), failed("ClaimRef got reset for pv \"v\"")),
        (
            done(),
            Some(volume(Some("u"), "m", 6)),
            failed("pv \"v\" node affinity doesn't match node \"n\": no matching NodeSelectorTerms"),
        ),
        (done(), None, missing("v1.PersistentVolume \"v\"")),
        (None, Some(volume(Some("u"), "n", 5)), missing("v1.PersistentVolumeClaim \"d/c\"")),
    ] {
        assert_eq!(look(&choice, claim.clone(), volume.clone()), expected, "{claim:?} {volume:?}");
    }
}

#[test]
fn a_volume_that_is_made_is_waited_for() {
    let choice = Choice { provision: vec!["d/c".into()], ..Choice::default() };
    let selected = json!({SELECTED_NODE: "n"});
    let bound = json!({SELECTED_NODE: "n", BIND_COMPLETED: "yes"});
    let gone = failed("provisioning failed for PVC \"c\"");
    for (claim, volume, expected) in [
        (Some(claim("", selected.clone(), 5)), None, Progress::Waiting),
        (Some(claim("", json!({}), 4)), None, Progress::Waiting),
        (Some(claim("", json!({"a": "b"}), 6)), None, gone.clone()),
        (Some(claim("", json!({SELECTED_NODE: "m"}), 6)), None, gone),
        (Some(claim("", Value::Null, 6)), None, failed("selectedNode annotation reset for PVC \"c\"")),
        (Some(claim("v", selected, 6)), Some(volume(Some("u"), "n", 1)), Progress::Waiting),
        (Some(claim("v", bound.clone(), 6)), None, Progress::Waiting),
        (Some(unsaid(claim("v", bound.clone(), 6))), Some(volume(Some("u"), "n", 1)), Progress::Waiting),
        (Some(claim("v", bound.clone(), 6)), Some(volume(Some("u"), "n", 1)), Progress::Done),
        (
            Some(claim("v", bound, 6)),
            Some(volume(Some("u"), "m", 1)),
            failed("pv \"v\" node affinity doesn't match node \"n\": no matching NodeSelectorTerms"),
        ),
        (
            None,
            None,
            failed("failed to check provisioning pvc: could not find v1.PersistentVolumeClaim \"d/c\""),
        ),
    ] {
        assert_eq!(look(&choice, claim.clone(), volume.clone()), expected, "{claim:?} {volume:?}");
    }
}

#[test]
fn a_claim_that_has_its_volume_is_waited_for_until_it_says_so() {
    let choice = Choice { settle: vec!["d/c".into()], ..Choice::default() };
    let bound = || claim("v", json!({BIND_COMPLETED: "yes"}), 1);
    let there = |host: &str| Some(volume(Some("u"), host, 1));
    for (claim, volume, expected) in [
        (Some(bound()), there("n"), Progress::Done),
        (Some(unsaid(bound())), there("n"), Progress::Waiting),
        (Some(bound()), None, Progress::Waiting),
        (
            Some(unsaid(bound())),
            there("m"),
            failed("pv \"v\" node affinity doesn't match node \"n\": no matching NodeSelectorTerms"),
        ),
        (None, None, failed("failed to check binding: could not find v1.PersistentVolumeClaim \"d/c\"")),
    ] {
        assert_eq!(look(&choice, claim.clone(), volume.clone()), expected, "{claim:?} {volume:?}");
    }
}

#[test]
fn what_is_written_says_who_wrote_it() {
    let free = volume(None, "n", 1);
    let ours = bound_to(&free, &claim("", json!({}), 1)).unwrap();
    assert_eq!(annotation(ours.metadata.annotations.as_ref(), BOUND_BY_CONTROLLER), Some("yes"));
    assert_eq!(claim_key(&ours).as_deref(), Some("d/c"));
    assert_eq!(bound_to(&ours, &claim("", json!({}), 1)), None);
    let kept = bound_to(&volume(Some(""), "n", 1), &claim("", json!({}), 1)).unwrap();
    assert_eq!(kept.metadata.annotations, None, "the user kept it");
    let chosen = selecting(&claim("", json!({}), 1), "n").unwrap();
    assert_eq!(annotation(chosen.metadata.annotations.as_ref(), SELECTED_NODE), Some("n"));
    assert_eq!((selecting(&chosen, "n"), selecting(&chosen, "m").is_some()), (None, true));
}
