//! What the collector keeps of an object: whose it is, and how far its own end has come.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use sampan_reconcile::{Key, Object};

use super::kinds::built_in;
use crate::resources::Partial;

pub(super) const FOREGROUND: &str = "foregroundDeletion";
pub(super) const ORPHAN: &str = "orphan";

/// What the collector keeps of an object.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(from = "Partial")]
pub(crate) struct Item {
    pub(super) key: Key,
    pub(super) uid: Box<str>,
    version: u64,
    pub(super) owners: Box<[Owner]>,
    pub(super) deleting: bool,
    pub(super) foreground: bool,
    pub(super) orphan: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owner {
    pub(super) uid: Box<str>,
    pub(super) name: Box<str>,
    pub(super) kind: OwnerKind,
    pub(super) blocks: bool,
}

/// The kind of an owner. Which custom kinds there are changes, so their names are kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum OwnerKind {
    /// A built-in kind, by its place in [`built_in`].
    BuiltIn(usize),
    Named(Box<Named>),
}

/// A kind as an owner reference names it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Named {
    pub group: Box<str>,
    pub version: Box<str>,
    pub kind: Box<str>,
}

impl Named {
    /// What owners of the kind, in whatever version, are found under.
    pub fn term(&self) -> String {
        format!("{}/{}", self.group, self.kind)
    }
}

impl From<Partial> for Item {
    fn from(partial: Partial) -> Self {
        let meta = partial.metadata;
        let has = |name: &str| meta.finalizers.iter().flatten().any(|finalizer| finalizer == name);
        let (foreground, orphan) = (has(FOREGROUND), has(ORPHAN));
        Self {
            version: crate::words::resource_version(&meta),
            uid: meta.uid.unwrap_or_default().into(),
            owners: meta.owner_references.iter().flatten().map(owner).collect(),
            deleting: meta.deletion_timestamp.is_some(),
            foreground,
            orphan,
            key: Key { namespace: meta.namespace, name: meta.name.unwrap_or_default() },
        }
    }
}

sampan_reconcile::decoded!(Item);

impl Object for Item {
    fn key(&self) -> Key {
        self.key.clone()
    }

    fn version(&self) -> u64 {
        self.version
    }
}

impl Item {
    /// Is being deleted and waits for its dependents to go first.
    pub(super) fn waits(&self) -> bool {
        self.deleting && self.foreground
    }

    /// Is being deleted and lets its dependents go first.
    pub(super) fn orphans(&self) -> bool {
        self.deleting && self.orphan
    }

    /// Is to wait for its dependents, or to let them go, and was not before `old` changed: what is being deleted already
    /// may be deleted in another way, or once more.
    pub(super) fn begins_to_end(&self, old: Option<&Self>) -> bool {
        let was = |test: fn(&Self) -> bool| old.is_some_and(test);
        (self.waits() && !was(Self::waits)) || (self.orphans() && !was(Self::orphans))
    }
}

fn owner(reference: &OwnerReference) -> Owner {
    Owner {
        uid: reference.uid.as_str().into(),
        name: reference.name.as_str().into(),
        kind: kind_of(&reference.api_version, &reference.kind),
        blocks: reference.block_owner_deletion == Some(true),
    }
}

/// The kind that an owner reference means; a built-in one in whatever version it names it.
fn kind_of(api_version: &str, kind: &str) -> OwnerKind {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match built_in(group, version, kind) {
        Some(index) => OwnerKind::BuiltIn(index),
        None => OwnerKind::Named(Box::new(Named {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        })),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::kinds::built_ins;
    use super::*;

    #[test]
    fn items_keep_what_counts() {
        let item: Item = serde_json::from_value(json!({"metadata": {
            "name": "p", "namespace": "a", "uid": "p", "resourceVersion": "7", "finalizers": [FOREGROUND],
            "deletionTimestamp": "2026-01-01T00:00:00Z", "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "u", "blockOwnerDeletion": true},
                {"apiVersion": "example.com/v1", "kind": "Thing", "name": "y", "uid": "v"}]}}))
        .unwrap();
        assert!(item.waits() && !item.orphans() && item.owners[0].blocks && item.version == 7);
        let OwnerKind::BuiltIn(index) = item.owners[0].kind else { panic!("{:?}", item.owners) };
        assert_eq!(built_ins()[index].name, "replicasets.apps");
        let OwnerKind::Named(named) = &item.owners[1].kind else { panic!("{:?}", item.owners) };
        assert_eq!((named.term().as_str(), &*named.version), ("example.com/Thing", "v1"));
    }

    #[test]
    fn an_object_may_be_deleted_once_more() {
        let item = |deleting: bool, finalizers: &[&str]| -> Item {
            let time = deleting.then_some("2026-01-01T00:00:00Z");
            let metadata =
                json!({"name": "p", "uid": "p", "finalizers": finalizers, "deletionTimestamp": time});
            serde_json::from_value(json!({"metadata": metadata})).unwrap()
        };
        let waiting = item(true, &["x/y", FOREGROUND]);
        assert!(waiting.begins_to_end(None));
        assert!(waiting.begins_to_end(Some(&item(false, &["x/y"]))));
        assert!(waiting.begins_to_end(Some(&item(true, &["x/y"]))), "deleted again");
        assert!(waiting.begins_to_end(Some(&item(true, &[ORPHAN]))), "in another way");
        assert!(!waiting.begins_to_end(Some(&waiting.clone())));
        assert!(!item(false, &[ORPHAN]).begins_to_end(None));
    }

    #[test]
    fn versions_of_a_built_in_kind_are_one_kind() {
        let kind = |api_version| kind_of(api_version, "HorizontalPodAutoscaler");
        assert_eq!(kind("autoscaling/v1"), kind("autoscaling/v2"));
        assert!(matches!(kind("autoscaling/v9"), OwnerKind::Named(_)));
    }
}
