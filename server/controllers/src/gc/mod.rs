//! Garbage collector: deletes what its owners leave behind (upstream's `garbagecollector.go`).
//!
//! Upstream keeps a graph beside its caches. Here the graph *is* the caches: one metadata informer for each kind,
//! holding of each object only what the collector asks about ([`Item`]), indexed by the owners' uids. An owner
//! that no informer shows (upstream's virtual node) is asked for at the API before anything is deleted.
//!
//! Custom kinds ([`kinds`]) take part from when their definition is established until it is gone, with an informer
//! that comes and goes with it. What waits for the absence of dependents waits for all informers to be complete. Kinds of
//! API servers behind a Service do not take part: an owner of one is never taken for gone.

mod custom;
mod item;
mod judge;
mod kinds;

use std::fmt;
use std::sync::{Arc, Once, Weak};
use std::time::Duration;

use futures::StreamExt;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use kube::api::{DeleteParams, Preconditions, PropagationPolicy};
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Sources};
use serde_json::json;

pub(crate) use self::item::Item;
use self::item::{FOREGROUND, ORPHAN, Owner, OwnerKind};
use self::judge::{Fate, Verdict, judge};
pub(crate) use self::kinds::{DEFINITIONS, Definition};
use self::kinds::{Followed, Home, Kinds, Place};
use crate::context::Context;
use crate::resources::{Collection, Partial};

const BY_OWNER: &str = "owner-uid";
/// Index of objects by the kinds of their owners that are not built in.
const BY_OWNER_KIND: &str = "owner-kind";

/// An object of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    place: Arc<Place>,
    key: Key,
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.place.name, self.key)
    }
}

fn indexed(informer: Informer<Item>) -> Informer<Item> {
    informer.add_index(BY_OWNER, |item| item.owners.iter().map(|owner| owner.uid.to_string()).collect());
    informer.add_index(BY_OWNER_KIND, |item| {
        let named = item.owners.iter().filter_map(|owner| match &owner.kind {
            OwnerKind::BuiltIn(_) => None,
            OwnerKind::Named(named) => Some(named.term()),
        });
        named.collect()
    });
    informer
}

/// The controller.
pub(crate) struct GarbageCollector {
    context: Context,
    kinds: Kinds,
    definitions: Informer<Definition>,
    /// Nodes to look at, from the informers of custom kinds.
    tell: UnboundedSender<Vec<Node>>,
    told: Mutex<Option<UnboundedReceiver<Vec<Node>>>>,
    /// Nodes that wait until every copy is complete.
    held: Mutex<Vec<Node>>,
    /// Has taken up the definitions that were there at the start.
    begun: Once,
    me: Weak<Self>,
}

impl GarbageCollector {
    pub fn new(context: &Context) -> Arc<Self> {
        let (tell, told) = unbounded();
        Arc::new_cyclic(|me| Self {
            context: context.clone(),
            kinds: Kinds::new(|place| indexed(context.informers.metadata(&place.path(None)))),
            definitions: context.informers.reduced(DEFINITIONS),
            tell,
            told: Mutex::new(Some(told)),
            held: Mutex::default(),
            begun: Once::new(),
            me: me.clone(),
        })
    }

    fn dependents(&self, uid: &str) -> Vec<(Node, Arc<Item>)> {
        self.indexed_under(BY_OWNER, uid)
    }

    fn indexed_under(&self, index: &str, term: &str) -> Vec<(Node, Arc<Item>)> {
        let of = |kind: Followed| {
            let items = kind.informer.by_index(index, term);
            items.into_iter().map(move |item| {
                let node = Node { place: kind.place.clone(), key: item.key.clone() };
                (node, item)
            })
        };
        self.kinds.all().into_iter().flat_map(of).collect()
    }

    /// Where an owner is looked up, and under which key.
    fn owner(&self, owner: &Owner, namespace: Option<&String>) -> Option<(Home, Node)> {
        let home = self.kinds.home(&owner.kind)?;
        let place = home.place().clone();
        let namespace = namespace.filter(|_| place.namespaced).cloned();
        Some((home, Node { place, key: Key { namespace, name: owner.name.to_string() } }))
    }

    fn collection(&self, node: &Node) -> Collection {
        Collection::at(&self.context.client, node.place.path(node.key.namespace.as_deref()))
    }

    /// Whom a change concerns.
    fn concerned(&self, place: &Arc<Place>, delta: &Delta<Item>) -> Vec<Node> {
        let node = Node { place: place.clone(), key: delta.key.clone() };
        let mut nodes = Vec::new();
        match (&delta.old, &delta.new) {
            (old, Some(new)) => {
                let was = |test: fn(&Item) -> bool| old.as_ref().is_some_and(|old| test(old));
                let owned_anew =
                    old.as_ref().is_none_or(|old| old.owners != new.owners) && !new.owners.is_empty();
                if owned_anew || new.begins_to_end(old.as_deref()) {
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
            .filter_map(|owner| self.owner(owner, delta.key.namespace.as_ref()))
            .filter(|(home, owner)| home.get(&owner.key).is_some_and(|owner| owner.waits()));
        nodes.extend(waiting.map(|(_, owner)| owner));
        nodes
    }

    async fn fate(&self, owner: &Owner, item: &Item) -> Result<Fate, Error> {
        // an owner of an unknown kind, or one in a namespace for an object in none, is never taken for gone
        let Some((home, node)) = self.owner(owner, item.key.namespace.as_ref()) else {
            return Ok(Fate::Solid);
        };
        if node.place.namespaced && node.key.namespace.is_none() {
            return Ok(Fate::Solid);
        }
        if let Some(found) = home.get(&node.key).filter(|found| found.uid == owner.uid) {
            return Ok(if found.waits() { Fate::Waiting } else { Fate::Solid });
        }
        let live = match self.collection(&node).look(&node.key.name).await {
            Ok(partial) => Some(Item::from(partial)),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let of_object = status.details.as_ref().is_some_and(|details| !details.name.is_empty());
                if !home.trusts_absence(of_object) {
                    return Err(kube::Error::Api(status).into());
                }
                None
            }
            Err(error) => return Err(error.into()),
        };
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
        if fates.iter().any(|(_, fate)| *fate == Fate::Waiting) && self.hold(node) {
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

    fn queue(&self) -> &'static str {
        "garbage_collector_attempt_to_delete"
    }

    fn workers(&self) -> usize {
        20
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Node>) {
        for kind in self.kinds.built_in() {
            let (this, place) = (self.clone(), kind.place.clone());
            sources.on(&kind.informer, move |delta| this.concerned(&place, delta));
        }
        let this = self.clone();
        sources.on(&self.definitions, move |delta| {
            this.settle(&delta.key.name);
            Vec::new()
        });
        if let Some(told) = self.told.lock().take() {
            sources.stream(told.flat_map(futures::stream::iter));
        }
    }

    async fn reconcile(&self, node: &Node) -> Result<Option<Duration>, Error> {
        self.begin();
        let item = self.kinds.informer(&node.place.name).and_then(|informer| informer.get(&node.key));
        let Some(item) = item else { return Ok(None) };
        if (item.orphans() || item.waits()) && self.hold(node) {
            return Ok(None);
        }
        if item.orphans() {
            self.orphan(node, &item).await?;
        } else if item.waits() {
            self.finish_foreground(node, &item).await?;
        } else if !item.deleting {
            self.judge_and_act(node, &item).await?;
        }
        Ok(None)
    }
}
