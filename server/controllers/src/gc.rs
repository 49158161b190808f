//! Garbage collector: deletes what its owners leave behind (upstream's `garbagecollector.go`).
//!
//! Upstream keeps a graph beside its caches. Here the graph *is* the caches: one metadata informer for each kind,
//! holding of each object only what the collector asks about ([`Item`]), indexed by the owners' uids. An owner
//! that no informer shows (upstream's virtual node) is asked for at the API before anything is deleted.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use sampan_api::kinds::{self, Kind};
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Object, Sources};
use serde_json::json;

use crate::context::Context;
use crate::resources::{Collection, Partial, deletable, path};

const FOREGROUND: &str = "foregroundDeletion";
const ORPHAN: &str = "orphan";
const BY_OWNER: &str = "owner-uid";

/// What the collector keeps of an object.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(from = "Partial")]
pub(crate) struct Item {
    key: Key,
    uid: Box<str>,
    version: u64,
    owners: Box<[Owner]>,
    deleting: bool,
    foreground: bool,
    orphan: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Owner {
    uid: Box<str>,
    name: Box<str>,
    kind: Option<usize>,
    blocks: bool,
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
    fn waits(&self) -> bool {
        self.deleting && self.foreground
    }
}

fn owner(reference: &OwnerReference) -> Owner {
    Owner {
        uid: reference.uid.as_str().into(),
        name: reference.name.as_str().into(),
        kind: kind_index(&reference.api_version, &reference.kind),
        blocks: reference.block_owner_deletion == Some(true),
    }
}

/// All kinds the collector looks after; an index into this list names a kind.
fn all_kinds() -> &'static [&'static Kind] {
    static KINDS: std::sync::LazyLock<Vec<&'static Kind>> = std::sync::LazyLock::new(|| deletable(false));
    &KINDS
}

/// The kind that an owner reference means, in whatever version it names it.
fn kind_index(api_version: &str, kind: &str) -> Option<usize> {
    static INDEX: std::sync::LazyLock<HashMap<&'static str, usize>> = std::sync::LazyLock::new(|| {
        all_kinds().iter().enumerate().map(|(index, kind)| (kind.storage_group, index)).collect()
    });
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    INDEX.get(kinds::by_kind(group, version, kind)?.storage_group).copied()
}

/// An object of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    kind: usize,
    key: Key,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", all_kinds()[self.kind].qualified(), self.key)
    }
}

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

/// The controller.
pub(crate) struct GarbageCollector {
    context: Context,
    informers: Vec<Informer<Item>>,
}

impl GarbageCollector {
    pub fn new(context: &Context) -> Self {
        let informers = all_kinds().iter().map(|kind| {
            let informer = context.informers.metadata::<Item>(&path(kind, None));
            informer
                .add_index(BY_OWNER, |item| item.owners.iter().map(|owner| owner.uid.to_string()).collect());
            informer
        });
        Self { context: context.clone(), informers: informers.collect() }
    }

    fn dependents(&self, uid: &str) -> Vec<(Node, Arc<Item>)> {
        let of = |(kind, informer): (usize, &Informer<Item>)| {
            let items = informer.by_index(BY_OWNER, uid);
            items.into_iter().map(move |item| (Node { kind, key: item.key.clone() }, item))
        };
        self.informers.iter().enumerate().flat_map(of).collect()
    }

    fn node_of(&self, owner: &Owner, namespace: Option<&String>) -> Option<Node> {
        let kind = owner.kind?;
        let namespace = namespace.filter(|_| all_kinds()[kind].namespaced).cloned();
        Some(Node { kind, key: Key { namespace, name: owner.name.to_string() } })
    }

    fn collection(&self, node: &Node) -> Collection {
        Collection::new(&self.context.client, all_kinds()[node.kind], node.key.namespace.as_deref())
    }

    /// Whom a change concerns.
    fn concerned(&self, kind: usize, delta: &Delta<Item>) -> Vec<Node> {
        let node = Node { kind, key: delta.key.clone() };
        let mut nodes = Vec::new();
        match (&delta.old, &delta.new) {
            (old, Some(new)) => {
                let was = |test: fn(&Item) -> bool| old.as_ref().is_some_and(|old| test(old));
                let owned_anew =
                    old.as_ref().is_none_or(|old| old.owners != new.owners) && !new.owners.is_empty();
                let ends = new.deleting && (new.foreground || new.orphan);
                if owned_anew || (ends && !was(|old| old.deleting)) {
                    nodes.push(node);
                }
                if new.waits() && !was(Item::waits) {
                    nodes.extend(self.dependents(&new.uid).into_iter().map(|(node, _)| node));
                }
                if old.as_ref().is_some_and(|old| old.uid != new.uid) {
                    nodes.extend(old.iter().flat_map(|old| self.dependents(&old.uid)).map(|(node, _)| node));
                }
            }
            (Some(old), None) => nodes.extend(self.dependents(&old.uid).into_iter().map(|(node, _)| node)),
            (None, None) => {}
        }
        // a waiting owner looks whether this was the last dependent that held it
        let owners = delta.old.iter().flat_map(|item| item.owners.iter());
        let waiting = owners
            .filter_map(|owner| self.node_of(owner, delta.key.namespace.as_ref()))
            .filter(|owner| self.informers[owner.kind].get(&owner.key).is_some_and(|owner| owner.waits()));
        nodes.extend(waiting);
        nodes
    }

    async fn fate(&self, owner: &Owner, item: &Item) -> Result<Fate, Error> {
        // an owner of an unknown kind, or one in a namespace for an object in none, is never taken for gone
        let Some(node) = self.node_of(owner, item.key.namespace.as_ref()) else { return Ok(Fate::Solid) };
        if all_kinds()[node.kind].namespaced && node.key.namespace.is_none() {
            return Ok(Fate::Solid);
        }
        if let Some(found) = self.informers[node.kind].get(&node.key).filter(|found| found.uid == owner.uid) {
            return Ok(if found.waits() { Fate::Waiting } else { Fate::Solid });
        }
        let live = self.collection(&node).get(&node.key.name).await?.map(Item::from);
        Ok(match live.filter(|live| live.uid == owner.uid) {
            None => Fate::Dangling,
            Some(live) if live.waits() => Fate::Waiting,
            Some(_) => Fate::Solid,
        })
    }

    async fn fates(&self, item: &Item) -> Result<Vec<(Box<str>, Fate)>, Error> {
        let mut fates = Vec::new();
        for owner in &item.owners {
            fates.push((owner.uid.clone(), self.fate(owner, item).await?));
        }
        Ok(fates)
    }

    async fn judge_and_act(&self, node: &Node, item: &Item) -> Result<(), Error> {
        let fates = self.fates(item).await?;
        if fates.iter().all(|(_, fate)| *fate == Fate::Solid) {
            return Ok(());
        }
        // act only on what the API says now
        let collection = self.collection(node);
        let Some(partial) = collection.get(&node.key.name).await? else { return Ok(()) };
        let live = Item::from(partial.clone());
        if live.uid != item.uid || live.owners != item.owners {
            return Ok(());
        }
        let dependents = self.dependents(&item.uid);
        match judge(&live, &fates, !dependents.is_empty()) {
            Verdict::Keep => Ok(()),
            Verdict::Unlink(gone) => {
                Ok(unlink(&collection, &partial, |uid| gone.iter().any(|g| **g == *uid)).await?)
            }
            Verdict::Delete(policy) => {
                if fates.iter().any(|(_, fate)| *fate == Fate::Waiting)
                    && dependents.iter().any(|(_, d)| d.waits())
                {
                    self.unblock(&collection, &partial).await?;
                }
                self.delete(&collection, node, &live, policy).await
            }
        }
    }

    async fn delete(
        &self,
        at: &Collection,
        node: &Node,
        item: &Item,
        policy: PropagationPolicy,
    ) -> Result<(), Error> {
        let preconditions = Preconditions { uid: Some(item.uid.to_string()), resource_version: None };
        let params = DeleteParams {
            propagation_policy: Some(policy),
            preconditions: Some(preconditions),
            ..DeleteParams::default()
        };
        tracing::info!(object = %node, "deleting: its owners are gone or wait for it");
        Ok(at.delete(&node.key.name, &params).await?)
    }

    /// A ring of foreground deletions would wait for ever: its members stop blocking each other.
    async fn unblock(&self, at: &Collection, partial: &Partial) -> Result<(), Error> {
        let mut owners = partial.metadata.owner_references.clone().unwrap_or_default();
        owners
            .iter_mut()
            .for_each(|owner| owner.block_owner_deletion = owner.block_owner_deletion.map(|_| false));
        let body = json!({"metadata": {"uid": partial.metadata.uid, "ownerReferences": owners}});
        Ok(at.merge(crate::words::name(&partial.metadata), &body).await?)
    }

    /// Lets an owner go once no dependent blocks it (`processDeletingDependentsItem`).
    async fn finish_foreground(&self, node: &Node, item: &Item) -> Result<(), Error> {
        let blocks =
            |dependent: &Item| dependent.owners.iter().any(|owner| owner.uid == item.uid && owner.blocks);
        let dependents = self.dependents(&item.uid);
        if dependents.iter().any(|(_, dependent)| blocks(dependent)) {
            return Ok(());
        }
        self.remove_finalizer(node, item, FOREGROUND).await
    }

    /// Takes the ownership from all dependents, then lets the owner go (`orphanDependents`).
    async fn orphan(&self, node: &Node, item: &Item) -> Result<(), Error> {
        for (dependent, _) in self.dependents(&item.uid) {
            let collection = self.collection(&dependent);
            if let Some(partial) = collection.get(&dependent.key.name).await? {
                unlink(&collection, &partial, |uid| *uid == *item.uid).await?;
            }
        }
        self.remove_finalizer(node, item, ORPHAN).await
    }

    async fn remove_finalizer(&self, node: &Node, item: &Item, finalizer: &str) -> Result<(), Error> {
        let collection = self.collection(node);
        let Some(live) = collection.get(&node.key.name).await? else { return Ok(()) };
        let mut finalizers = live.metadata.finalizers.clone().unwrap_or_default();
        if live.metadata.uid.as_deref() != Some(&*item.uid)
            || !finalizers.iter().any(|name| name == finalizer)
        {
            return Ok(());
        }
        finalizers.retain(|name| name != finalizer);
        let body = json!({"metadata": {
            "resourceVersion": live.metadata.resource_version, "finalizers": finalizers}});
        Ok(collection.merge(&node.key.name, &body).await?)
    }
}

/// Removes the owner references that `gone` names.
async fn unlink(at: &Collection, partial: &Partial, gone: impl Fn(&str) -> bool) -> kube::Result<()> {
    let mut owners = partial.metadata.owner_references.clone().unwrap_or_default();
    let before = owners.len();
    owners.retain(|owner| !gone(&owner.uid));
    if owners.len() == before {
        return Ok(());
    }
    let body = json!({"metadata": {
        "resourceVersion": partial.metadata.resource_version, "uid": partial.metadata.uid, "ownerReferences": owners}});
    at.merge(crate::words::name(&partial.metadata), &body).await
}

impl Controller for GarbageCollector {
    type Key = Node;

    fn name(&self) -> &'static str {
        "garbage-collector-controller"
    }

    fn workers(&self) -> usize {
        20
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Node>) {
        for (kind, informer) in self.informers.iter().enumerate() {
            let this = self.clone();
            sources.on(informer, move |delta| this.concerned(kind, delta));
        }
    }

    async fn reconcile(&self, node: &Node) -> Result<Option<Duration>, Error> {
        let Some(item) = self.informers[node.kind].get(&node.key) else { return Ok(None) };
        if item.deleting && item.orphan {
            self.orphan(node, &item).await?;
        } else if item.waits() {
            self.finish_foreground(node, &item).await?;
        } else if !item.deleting {
            self.judge_and_act(node, &item).await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
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

    #[test]
    fn items_keep_what_counts() {
        let item = item(&["u"], &[FOREGROUND], true);
        assert!(item.waits() && item.owners[0].blocks && item.version == 7);
        assert_eq!(all_kinds()[item.owners[0].kind.unwrap()].plural, "replicasets");
        assert_eq!(kind_index("example.com/v1", "Thing"), None);
        assert_eq!(
            kind_index("autoscaling/v1", "HorizontalPodAutoscaler"),
            kind_index("autoscaling/v2", "HorizontalPodAutoscaler")
        );
    }
}
