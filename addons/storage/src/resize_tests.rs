//! Tables: a claim and its volume, and what it lacks.
#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;

const NODE: &str = "n1";

fn claim(wants: &str, has: &str, phase: &str) -> PersistentVolumeClaim {
    serde_json::from_value(json!({
        "metadata": {"name": "data", "namespace": "ns", "uid": "u1"},
        "spec": {"volumeName": "v", "resources": {"requests": {"storage": wants}}},
        "status": {"phase": phase, "capacity": {"storage": has}},
    }))
    .unwrap()
}

fn volume(has: &str, claim: &str, by: &str) -> PersistentVolume {
    serde_json::from_value(json!({
        "metadata": {"name": "v", "annotations": {"pv.kubernetes.io/provisioned-by": by}},
        "spec": {"capacity": {"storage": has}, "claimRef": {"uid": claim}, "nodeAffinity": {"required": {
            "nodeSelectorTerms": [{"matchExpressions": [
                {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}]}]}}},
    }))
    .unwrap()
}

fn ours(has: &str) -> PersistentVolume {
    volume(has, "u1", crate::PROVISIONER)
}

#[test]
fn a_claim_grows_when_it_asks_for_more_than_it_has() {
    let grows = |size: &str, grows, more| Some(Growth { size: Amount(size.into()), grows, more });
    for (what, claim, volume, wanted) in [
        ("more", claim("2Gi", "1Gi", "Bound"), ours("1Gi"), grows("2Gi", true, 1 << 30)),
        ("as much", claim("1Gi", "1Gi", "Bound"), ours("1Gi"), None),
        ("the same in other words", claim("1Gi", "1024Mi", "Bound"), ours("1Gi"), None),
        (
            "the volume was written, the claim was not",
            claim("2Gi", "1Gi", "Bound"),
            ours("2Gi"),
            grows("2Gi", false, 0),
        ),
        ("not bound yet", claim("2Gi", "1Gi", "Pending"), ours("1Gi"), None),
        ("another's volume", claim("2Gi", "1Gi", "Bound"), volume("1Gi", "u1", "example.com/disk"), None),
        (
            "another claim's volume",
            claim("2Gi", "1Gi", "Bound"),
            volume("1Gi", "u0", crate::PROVISIONER),
            None,
        ),
    ] {
        assert_eq!(growth(&claim, &volume, NODE), wanted, "{what}");
    }
}

#[test]
fn a_growth_is_written_and_then_forgotten() {
    let (claim, volume) = (claim("2Gi", "1Gi", "Bound"), ours("1Gi"));
    let growth = growth(&claim, &volume, NODE).unwrap();
    assert_eq!(capacity(&grown(&volume, &growth)), capacity(&ours("2Gi")));
    let now = Timestamp::UNIX_EPOCH;
    let failed = stuck(&claim, &growth, "no room", now).unwrap();
    let said = serde_json::to_value(&failed).unwrap();
    let conditions = said["status"]["conditions"].as_array().unwrap();
    let kinds: Vec<&Value> = conditions.iter().map(|one| &one["type"]).collect();
    assert_eq!(kinds, ["Resizing", "ControllerResizeError"]);
    assert_eq!(conditions[1]["message"], "failed to expand pvc with no room");
    assert_eq!(said["status"]["allocatedResourceStatuses"], json!({"storage": "ControllerResizeInProgress"}));
    assert_eq!(stuck(&failed, &growth, "no room", now), None, "it is said once");
    let done = serde_json::to_value(finished(&failed, &growth)).unwrap();
    assert_eq!(
        done["status"],
        json!({"phase": "Bound", "capacity": {"storage": "2Gi"}, "allocatedResources": {"storage": "2Gi"}})
    );
}
