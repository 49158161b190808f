//! The claims of a StatefulSet's pods: one for each template and ordinal, and what they go with (upstream's
//! `stateful_set_utils.go`).
//!
//! A claim whose retention policy says `Delete` belongs to the set, or to the pod that a smaller set is about to lose:
//! the garbage collector takes it along. A pod is not made while a claim of its name still goes with its predecessor.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use crate::words::{controller_reference, name, uid};

/// The claims of one ordinal, with the volumes they are for.
pub(super) fn claims_of(set: &StatefulSet, ordinal: i32) -> Vec<(String, PersistentVolumeClaim)> {
    let spec = set.spec.clone().unwrap_or_default();
    let templates = spec.volume_claim_templates.unwrap_or_default().into_iter();
    let claim = |mut claim: PersistentVolumeClaim| {
        let volume = name(&claim.metadata).to_owned();
        claim.metadata.name = Some(format!("{volume}-{}-{ordinal}", name(&set.metadata)));
        claim.metadata.namespace.clone_from(&set.metadata.namespace);
        claim
            .metadata
            .labels
            .get_or_insert_default()
            .extend(spec.selector.match_labels.clone().unwrap_or_default());
        claim.status = None;
        (volume, claim)
    };
    templates.map(claim).collect()
}

/// Whether a claim has the name of one of the set's: `TEMPLATE-SET-ORDINAL`.
pub(super) fn is_named_for(claim: &str, set: &StatefulSet) -> bool {
    let templates = set.spec.as_ref().and_then(|spec| spec.volume_claim_templates.as_ref());
    templates.into_iter().flatten().any(|template| {
        let rest = claim.strip_prefix(name(&template.metadata)).and_then(|rest| rest.strip_prefix('-'));
        let ordinal = rest.and_then(|rest| rest.strip_prefix(name(&set.metadata))?.strip_prefix('-'));
        ordinal.is_some_and(|ordinal| ordinal.parse::<i32>().is_ok())
    })
}

/// The owners that a claim is to have, where they differ from those it has. `leaves` says whether its pod is beyond
/// the set's size. Claims that belong to a namesake are left alone; those that somebody else controls are not ours.
pub(super) fn owners(
    claim: &ObjectMeta,
    set: &StatefulSet,
    pod: &Pod,
    leaves: bool,
) -> Option<Vec<OwnerReference>> {
    let policy = set.spec.as_ref().and_then(|spec| spec.persistent_volume_claim_retention_policy.as_ref());
    let deletes = |when: Option<&String>| when.is_some_and(|when| when == "Delete");
    let scaled = deletes(policy.and_then(|policy| policy.when_scaled.as_ref()));
    let deleted = deletes(policy.and_then(|policy| policy.when_deleted.as_ref()));
    let now = claim.owner_references.clone().unwrap_or_default();
    let (of_set, of_pod) = (controller_reference(set), controller_reference(pod));
    let group =
        |one: &OwnerReference| one.api_version.split_once('/').map_or(String::new(), |(g, _)| g.to_owned());
    let alike = |one: &OwnerReference, own: &OwnerReference| {
        one.kind == own.kind && one.name == own.name && group(one) == group(own)
    };
    let namesake = |one: &OwnerReference| [&of_set, &of_pod].into_iter().find(|own| alike(one, own));
    if now.iter().any(|one| namesake(one).is_some_and(|own| own.uid != one.uid)) {
        return None;
    }
    let foreign = |one: &OwnerReference| namesake(one).is_none() && one.controller == Some(true);
    let wanted = match () {
        // who controls it says what becomes of it: not we as well
        () if (scaled || deleted) && now.iter().any(foreign) => None,
        () if scaled && leaves => Some(of_pod.clone()),
        () if deleted => Some(of_set.clone()),
        () => None,
    };
    let ours = |one: &OwnerReference| one.uid == of_set.uid || one.uid == of_pod.uid;
    let kept = now.iter().filter(|one| !ours(one)).cloned();
    let (had, has): (Vec<&OwnerReference>, Vec<&OwnerReference>) =
        (now.iter().filter(|one| ours(one)).collect(), wanted.iter().collect());
    let stands =
        |(one, own): (&&OwnerReference, &&OwnerReference)| one.uid == own.uid && one.controller == Some(true);
    let same = had.len() == has.len() && had.iter().zip(&has).all(stands);
    (!same).then(|| kept.chain(wanted.clone()).collect())
}

/// Whether a claim goes away, or goes with a pod of this name that was there before: the next one is not to use it.
pub(super) fn is_stale(claim: &ObjectMeta, pod: &str, now: Option<&Pod>) -> bool {
    let current = now.map(|pod| uid(&pod.metadata));
    let mut owners = claim.owner_references.iter().flatten();
    claim.deletion_timestamp.is_some()
        || owners.any(|one| one.kind == "Pod" && one.name == pod && Some(one.uid.as_str()) != current)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn set(deleted: &str, scaled: &str) -> StatefulSet {
        serde_json::from_value(json!({"metadata": {"name": "db", "uid": "s"}, "spec": {
            "selector": {}, "serviceName": "db", "template": {},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": deleted, "whenScaled": scaled}}}))
        .unwrap()
    }

    fn claim(owners: &[(&str, &str, &str)]) -> ObjectMeta {
        let owner = |(kind, name, uid): &(&str, &str, &str)| {
            let api_version = if *kind == "StatefulSet" { "apps/v1" } else { "v1" };
            json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true})
        };
        let owners: Vec<Value> = owners.iter().map(owner).collect();
        serde_json::from_value(json!({"name": "data-db-1", "ownerReferences": owners})).unwrap()
    }

    #[test]
    fn a_claim_goes_with_the_set_or_with_the_pod_that_is_too_many() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "db-1", "uid": "p"}})).unwrap();
        let (of_set, of_pod) = (("StatefulSet", "db", "s"), ("Pod", "db-1", "p"));
        for (policy, has, leaves, wanted) in [
            (("Retain", "Retain"), vec![], false, None),
            (("Retain", "Retain"), vec![of_set], false, Some(vec![])),
            (("Retain", "Retain"), vec![("Other", "x", "o")], true, None),
            (("Delete", "Retain"), vec![], false, Some(vec!["s"])),
            (("Delete", "Retain"), vec![of_set], true, None),
            (("Retain", "Delete"), vec![], false, None),
            (("Retain", "Delete"), vec![], true, Some(vec!["p"])),
            (("Retain", "Delete"), vec![of_pod], false, Some(vec![])),
            (("Delete", "Delete"), vec![of_set], true, Some(vec!["p"])),
            (("Delete", "Delete"), vec![of_pod], false, Some(vec!["s"])),
            (("Delete", "Delete"), vec![("Other", "x", "o")], false, None),
            (("Delete", "Delete"), vec![("StatefulSet", "db", "before")], false, None),
            (("Retain", "Retain"), vec![("StatefulSet", "db", "before"), of_pod], false, None),
            (("Delete", "Delete"), vec![of_set, ("Other", "x", "o")], false, Some(vec!["o"])),
        ] {
            let set = set(policy.0, policy.1);
            let owners = owners(&claim(&has), &set, &pod, leaves);
            let uids = owners.as_ref().map(|all| all.iter().map(|one| one.uid.as_str()).collect::<Vec<_>>());
            assert_eq!(uids, wanted, "{policy:?} {has:?} {leaves}");
        }
    }

    #[test]
    fn an_owner_that_does_not_control_is_made_to_again() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "db-1", "uid": "p"}})).unwrap();
        let mut claim = claim(&[("Other", "x", "o"), ("StatefulSet", "db", "s")]);
        claim.owner_references.as_mut().unwrap().iter_mut().for_each(|one| one.controller = Some(false));
        let owners = owners(&claim, &set("Delete", "Delete"), &pod, false).unwrap();
        let seen: Vec<_> = owners.iter().map(|one| (one.uid.as_str(), one.controller)).collect();
        assert_eq!(seen, [("o", Some(false)), ("s", Some(true))]);
    }

    #[test]
    fn a_claim_of_a_pod_that_was_there_before_is_not_used_again() {
        let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "db-1", "uid": "p"}})).unwrap();
        assert!(!is_stale(&claim(&[]), "db-1", None));
        assert!(is_stale(&claim(&[("Pod", "db-1", "p")]), "db-1", None));
        assert!(!is_stale(&claim(&[("Pod", "db-1", "p")]), "db-1", Some(&pod)));
        assert!(is_stale(&claim(&[("Pod", "db-1", "before")]), "db-1", Some(&pod)));
        assert!(!is_stale(&claim(&[("StatefulSet", "db", "s")]), "db-1", None));
    }

    #[test]
    fn a_claims_name_says_whose_it_is() {
        let set = set("Retain", "Retain");
        for (name, is) in [
            ("data-db-0", true),
            ("data-db-12", true),
            ("data-db-x", false),
            ("data-dbx-0", false),
            ("other-db-0", false),
        ] {
            assert_eq!(is_named_for(name, &set), is, "{name}");
        }
    }
}
