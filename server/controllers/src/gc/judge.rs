//! Decides over an object by what became of its owners. Pure.

use kube::api::PropagationPolicy;

use super::item::Item;

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It is there, or we cannot know.
    Solid,
    /// It is gone.
    Dangling,
    /// It waits until its dependents are gone.
    Waiting,
}

/// What to do with an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Keep,
    /// Forget these owners: others still hold the object.
    Unlink(Vec<Box<str>>),
    Delete(PropagationPolicy),
}

/// Decides over an object by what became of its owners (`attemptToDeleteItem`).
pub(crate) fn judge(item: &Item, fates: &[(Box<str>, Fate)], has_dependents: bool) -> Verdict {
    if item.owners.is_empty() || item.deleting {
        return Verdict::Keep;
    }
    let gone = || {
        fates.iter().filter(|(_, fate)| *fate != Fate::Solid).map(|(uid, _)| uid.clone()).collect::<Vec<_>>()
    };
    let any = |wanted: Fate| fates.iter().any(|(_, fate)| *fate == wanted);
    if any(Fate::Solid) {
        return if gone().is_empty() { Verdict::Keep } else { Verdict::Unlink(gone()) };
    }
    if any(Fate::Waiting) && has_dependents {
        return Verdict::Delete(PropagationPolicy::Foreground);
    }
    Verdict::Delete(match (item.orphan, item.foreground) {
        (true, _) => PropagationPolicy::Orphan,
        (_, true) => PropagationPolicy::Foreground,
        _ => PropagationPolicy::Background,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::item::{FOREGROUND, ORPHAN};
    use super::*;

    fn item(owners: &[&str], finalizers: &[&str], deleting: bool) -> Item {
        let owners: Vec<_> = owners
            .iter()
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "blockOwnerDeletion": true}))
            .collect();
        let mut value = json!({"metadata": {
            "name": "p", "namespace": "a", "uid": "p", "resourceVersion": "7", "ownerReferences": owners, "finalizers": finalizers}});
        if deleting {
            value["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        }
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn verdicts() {
        use Fate::*;
        let fates = |fates: &[Fate]| -> Vec<(Box<str>, Fate)> {
            fates.iter().enumerate().map(|(n, fate)| (n.to_string().into(), *fate)).collect()
        };
        let background = Verdict::Delete(PropagationPolicy::Background);
        let foreground = Verdict::Delete(PropagationPolicy::Foreground);
        let orphan = Verdict::Delete(PropagationPolicy::Orphan);
        let cases = [
            (item(&[], &[], false), vec![], false, Verdict::Keep),
            (item(&["0"], &[], false), vec![Solid], false, Verdict::Keep),
            (item(&["0"], &[], false), vec![Dangling], false, background.clone()),
            (item(&["0"], &[], true), vec![Dangling], false, Verdict::Keep),
            (item(&["0", "1"], &[], false), vec![Solid, Dangling], false, Verdict::Unlink(vec!["1".into()])),
            (item(&["0", "1"], &[], false), vec![Waiting, Solid], true, Verdict::Unlink(vec!["0".into()])),
            (item(&["0"], &[], false), vec![Waiting], true, foreground.clone()),
            (item(&["0"], &[], false), vec![Waiting], false, background),
            (item(&["0"], &[ORPHAN], false), vec![Dangling], false, orphan),
            (item(&["0"], &[FOREGROUND], false), vec![Dangling], false, foreground),
        ];
        for (item, given, dependents, expected) in cases {
            assert_eq!(judge(&item, &fates(&given), dependents), expected, "{item:?} {given:?}");
        }
    }
}
