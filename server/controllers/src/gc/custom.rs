//! Custom kinds come and go: the informers of their objects, and what is looked at anew when they do.

use std::sync::Arc;

use sampan_reconcile::{AbortOnDrop, Delta, Informer, Key, Object};

use super::item::Item;
use super::kinds::{Changed, Definition, Place};
use super::{BY_OWNER_KIND, GarbageCollector, Node, indexed};

/// Objects that are no longer there.
fn vanished(before: Vec<Arc<Item>>, now: impl Fn(&Key) -> Option<Arc<Item>>) -> Vec<Arc<Item>> {
    let there = |item: &Item| now(&item.key).is_some_and(|now| now.uid == item.uid);
    before.into_iter().filter(|item| !there(item)).collect()
}

impl GarbageCollector {
    /// Takes up a definition as it is now.
    pub(super) fn settle(&self, name: &str) {
        let definition = self.definitions.get(&Key::cluster(name));
        let changed = self
            .kinds
            .settle(name, definition, |place, definition, before| self.follow(place, definition, before));
        let Some(Changed { before, place }) = changed else { return };
        self.gone(&place, before);
        self.release();
    }

    /// Reads the objects of a place from now on, as long as what is returned lives.
    fn follow(
        &self,
        place: &Arc<Place>,
        definition: &Definition,
        before: Vec<Arc<Item>>,
    ) -> (Informer<Item>, [AbortOnDrop; 2]) {
        let (informer, reading) = self.context.informers.passing_metadata(&place.path(None));
        let informer = indexed(informer);
        let (me, place, term, copy) = (self.me.clone(), place.clone(), definition.term(), informer.clone());
        let telling = self.context.tasks.spawn_until_drain("custom objects", async move {
            let mut deltas = copy.subscribe();
            copy.synced().await;
            if let Some(this) = me.upgrade() {
                this.gone(&place, vanished(before, |key| copy.get(key)));
                // whose owners nobody knew until now
                let dependents = this.indexed_under(BY_OWNER_KIND, &term);
                this.tell(dependents.into_iter().map(|(node, _)| node).collect());
                this.release();
            }
            while let Some(delta) = deltas.next().await {
                let Some(this) = me.upgrade() else { return };
                this.tell(this.concerned(&place, &delta));
            }
        });
        (informer, [reading, telling.into()])
    }

    fn tell(&self, nodes: Vec<Node>) {
        if !nodes.is_empty() {
            // nobody listens any more after the drain
            let _ = self.tell.unbounded_send(nodes);
        }
    }

    /// Objects that went without a word.
    fn gone(&self, place: &Arc<Place>, items: Vec<Arc<Item>>) {
        for item in items {
            let delta = Delta { key: item.key.clone(), old: Some(item), new: None };
            self.tell(self.concerned(place, &delta));
        }
    }

    /// Whether the node has to wait: what no copy shows is absent only once all are complete.
    pub(super) fn hold(&self, node: &Node) -> bool {
        let mut held = self.held.lock();
        let holds = !self.kinds.synced();
        if holds {
            held.push(node.clone());
        }
        holds
    }

    fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        self.tell(held);
    }

    /// Takes up the definitions that are there, once: no object is judged before.
    pub(super) fn begin(&self) {
        self.begun.call_once(|| {
            for definition in self.definitions.list() {
                self.settle(&definition.key().name);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn objects_vanish_by_key_or_by_uid() {
        let item = |name: &str, uid: &str| {
            let value = serde_json::json!({"metadata": {"name": name, "uid": uid}});
            Arc::new(serde_json::from_value::<Item>(value).unwrap())
        };
        let before = || vec![item("stays", "1"), item("made-anew", "2"), item("gone", "3")];
        let now = [item("stays", "1"), item("made-anew", "4"), item("new", "5")];
        let find = |key: &Key| now.iter().find(|item| item.key == *key).cloned();
        let names =
            |items: Vec<Arc<Item>>| items.iter().map(|item| item.key.name.clone()).collect::<Vec<_>>();
        assert_eq!(names(vanished(before(), find)), ["made-anew", "gone"]);
        assert_eq!(vanished(before(), |_| None).len(), 3);
    }
}
