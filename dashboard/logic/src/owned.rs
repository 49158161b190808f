//! What goes when an object is deleted, and whether it is still the one that was looked at.

use std::collections::{BTreeMap, HashSet};

use serde_json::Value;

/// An object, as far as it is owned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    pub kind: String,
    pub uid: String,
    /// Uids of its owners.
    pub owners: Vec<String>,
}

/// The metadata of an object of a kind.
pub fn item(kind: &str, object: &Value) -> Item {
    let uid = |value: &Value| value["uid"].as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    let owners = metadata["ownerReferences"].as_array().into_iter().flatten().map(uid).collect();
    Item { kind: kind.to_owned(), uid: uid(metadata), owners }
}

/// How many of each kind `root` owns, directly or by what it owns. An object with another owner beside them stays, as the
/// garbage collector has it.
pub fn owned(root: &str, items: &[Item]) -> BTreeMap<String, usize> {
    let mut going = HashSet::from([root]);
    let mut counts = BTreeMap::new();
    loop {
        let goes = |item: &&Item| {
            !going.contains(item.uid.as_str())
                && !item.owners.is_empty()
                && item.owners.iter().all(|owner| going.contains(owner.as_str()))
        };
        let more: Vec<&Item> = items.iter().filter(goes).collect();
        if more.is_empty() {
            return counts;
        }
        for item in more {
            going.insert(&item.uid);
            *counts.entry(item.kind.clone()).or_default() += 1;
        }
    }
}

/// What `root` owns, directly or by what it owns: depth and place in `items`, each below its owner, in their order. `items`
/// are pairs of an object's uid and its owner's.
pub fn tree(root: &str, items: &[(&str, &str)]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    // an owner that is its own is no tree
    let mut seen = HashSet::new();
    let mut open = vec![(0, root)];
    while let Some((depth, owner)) = open.pop() {
        if let Some(at) = items.iter().position(|(uid, _)| *uid == owner).filter(|_| depth > 0) {
            found.push((depth, at));
        }
        if seen.insert(owner) {
            let own = items.iter().rev().filter(|(_, of)| *of == owner);
            open.extend(own.map(|(uid, _)| (depth + 1, *uid)));
        }
    }
    found
}

/// Whether an object is as it was, but for its status and the server's bookkeeping.
pub fn same_matter(seen: &Value, now: &Value) -> bool {
    matter(seen) == matter(now)
}

fn matter(object: &Value) -> Value {
    let mut object = object.clone();
    if let Some(fields) = object.as_object_mut() {
        fields.remove("status");
    }
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
        metadata.remove("generation");
    }
    object
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(kind: &str, uid: &str, owners: &[&str]) -> Item {
        let owners: Vec<Value> = owners.iter().map(|uid| json!({"uid": uid})).collect();
        item(kind, &json!({"metadata": {"uid": uid, "ownerReferences": owners}}))
    }

    #[test]
    fn what_is_owned_goes_and_what_others_own_as_well_stays() {
        let items = [
            of("Pod", "p1", &["r1"]),
            of("ReplicaSet", "r1", &["d"]),
            of("ReplicaSet", "r2", &["other"]),
            of("Pod", "p2", &["r2"]),
            of("Pod", "p3", &["r1", "other"]),
            of("Pod", "p4", &[]),
        ];
        let wanted = BTreeMap::from([("Pod".to_owned(), 1), ("ReplicaSet".to_owned(), 1)]);
        assert_eq!(owned("d", &items), wanted);
        assert_eq!(owned("nobody", &items), BTreeMap::new());
    }

    #[test]
    fn a_tree_is_walked_depth_first() {
        let items = [("r1", "d"), ("r2", "d"), ("p1", "r1"), ("p2", "r1"), ("p3", "r2"), ("x", "y")];
        assert_eq!(tree("d", &items), [(1, 0), (2, 2), (2, 3), (1, 1), (2, 4)]);
        assert_eq!(tree("r2", &items), [(1, 4)]);
        assert_eq!(tree("nobody", &items), []);
        assert_eq!(tree("a", &[("a", "b"), ("b", "a")]), [(1, 1), (2, 0)]);
    }

    #[test]
    fn a_new_status_is_no_change_of_the_matter() {
        let seen =
            json!({"metadata": {"uid": "a", "resourceVersion": "1"}, "spec": {"x": 1}, "status": {"y": 1}});
        for (now, same) in [
            (
                json!({"metadata": {"uid": "a", "resourceVersion": "2"}, "spec": {"x": 1}, "status": {"y": 2}}),
                true,
            ),
            (json!({"metadata": {"uid": "a", "resourceVersion": "2"}, "spec": {"x": 2}}), false),
            (json!({"metadata": {"uid": "a", "finalizers": ["f"]}, "spec": {"x": 1}}), false),
        ] {
            assert_eq!(same_matter(&seen, &now), same, "{now}");
        }
    }
}
