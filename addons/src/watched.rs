//! Copies of the objects that addons own, by kind: what health is read from, and who notices that one was deleted.
//!
//! One informer for each kind that some addon has, narrowed to objects with an owner label. An addon whose object is
//! gone is looked at again. An edit is not undone until the addon is applied again: an autoscaler that sets what an
//! addon sets, too, must not make the two fight.

use std::collections::HashMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use parking_lot::Mutex;
use sampan_process::Tasks;
use sampan_reconcile::{Deltas, Informer, Informers, Key, Object};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::object::{OWNER, Reference, group_of, owner_of};
use crate::objects::Route;

/// An object that an addon owns.
#[derive(Clone, Debug)]
pub(crate) struct Owned {
    metadata: ObjectMeta,
    /// All of it.
    pub value: Value,
}

impl<'de> Deserialize<'de> for Owned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let metadata = ObjectMeta::deserialize(&value["metadata"]).map_err(D::Error::custom)?;
        Ok(Self { metadata, value })
    }
}

sampan_reconcile::decoded!(Owned);

impl Object for Owned {
    fn key(&self) -> Key {
        Key {
            namespace: self.metadata.namespace.clone(),
            name: self.metadata.name.clone().unwrap_or_default(),
        }
    }

    fn version(&self) -> u64 {
        self.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
    }

    fn trim(&mut self) {
        self.metadata.managed_fields = None;
        if let Some(metadata) = self.value.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.shift_remove("managedFields");
        }
    }
}

/// The informers of owned objects.
pub(crate) struct Watched {
    informers: Informers,
    tasks: Tasks,
    kinds: Mutex<HashMap<(String, String), Informer<Owned>>>,
    changes: watch::Sender<u64>,
    missed: mpsc::UnboundedSender<String>,
}

impl Watched {
    /// Names of addons that lost an object go to `missed`.
    pub fn new(informers: Informers, tasks: Tasks, missed: mpsc::UnboundedSender<String>) -> Self {
        Self { informers, tasks, kinds: Mutex::default(), changes: watch::Sender::new(0), missed }
    }

    /// Begins to watch a kind, if nobody does.
    pub fn ensure(&self, reference: &Reference, route: &Route) {
        let slot = (group_of(&reference.api_version).to_owned(), reference.kind.clone());
        let mut kinds = self.kinds.lock();
        if kinds.contains_key(&slot) {
            return;
        }
        let informer: Informer<Owned> = self.informers.labelled(&route.all(), OWNER);
        let follow = follow(informer.subscribe(), self.changes.clone(), self.missed.clone());
        self.tasks.spawn_until_drain("owned objects", follow);
        kinds.insert(slot, informer);
    }

    /// The object at a place: `None` if its kind is not watched or not known yet, `Some(None)` if it is not there.
    pub fn get(&self, place: &Reference) -> Option<Option<Value>> {
        let slot = (group_of(&place.api_version).to_owned(), place.kind.clone());
        let informer = self.kinds.lock().get(&slot).cloned().filter(Informer::has_synced)?;
        let key = Key { namespace: place.namespace.clone(), name: place.name.clone() };
        Some(informer.get(&key).map(|owned| owned.value.clone()))
    }

    /// Resolves once the copy of an object's kind shows everything up to `version`.
    pub async fn reached(&self, place: &Reference, version: u64) {
        let slot = (group_of(&place.api_version).to_owned(), place.kind.clone());
        let informer = self.kinds.lock().get(&slot).cloned();
        if let Some(informer) = informer {
            informer.reached(version).await;
        }
    }

    /// Wakes at each change of an owned object.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

async fn follow(
    mut deltas: Deltas<Owned>,
    changes: watch::Sender<u64>,
    missed: mpsc::UnboundedSender<String>,
) {
    while let Some(delta) = deltas.next().await {
        changes.send_modify(|count| *count += 1);
        let lost = delta.old.filter(|_| delta.new.is_none());
        if let Some(owner) = lost.as_ref().and_then(|owned| owner_of(&owned.value)) {
            // nobody listens only once the daemon drains
            let _ = missed.send(owner.to_owned());
        }
    }
}
