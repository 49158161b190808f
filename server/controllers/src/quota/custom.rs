//! Custom objects that some quota counts: informers that come with the first quota and go with the definition.

use futures::channel::mpsc::UnboundedSender;
use k8s_openapi::api::core::v1::ResourceQuota;
use parking_lot::Mutex;
use sampan_reconcile::{AbortOnDrop, HashMap, Informer, Key, Object};

use super::keys_in;
use crate::context::Context;
use crate::gc::Item;

/// A collection that is read as long as this lives.
struct Followed {
    path: String,
    _reading: [AbortOnDrop; 2],
}

/// What is followed, by the quota's resource (`count/…`).
#[derive(Default)]
pub(super) struct Customs(Mutex<HashMap<String, Followed>>);

impl Customs {
    pub fn follows(&self, name: &str) -> bool {
        self.0.lock().contains_key(name)
    }

    /// Its kind is gone.
    pub fn leave(&self, name: &str) {
        self.0.lock().remove(name);
    }

    /// Follows the objects at a path from now on, if nothing does. Quotas that count them are told once all are known,
    /// and when one goes.
    pub fn follow(
        &self,
        context: &Context,
        name: &str,
        path: &str,
        quotas: &Informer<ResourceQuota>,
        tell: &UnboundedSender<Vec<Key>>,
    ) {
        let mut all = self.0.lock();
        if all.get(name).is_some_and(|followed| followed.path == path) {
            return;
        }
        let (informer, reading) = context.informers.passing_metadata::<Item>(path);
        let (name, quotas, tell) = (name.to_owned(), quotas.clone(), tell.clone());
        let counted = name.clone();
        let telling = context.tasks.spawn_until_drain("counted custom objects", async move {
            let mut deltas = informer.subscribe();
            informer.synced().await;
            // what went since it was counted
            let mut told = tell.unbounded_send(counting(&quotas, &counted)).is_ok();
            while let Some(delta) = deltas.next().await.filter(|_| told) {
                let keys = keys_in(&quotas, delta.key.namespace.as_deref());
                if delta.new.is_none() && !keys.is_empty() {
                    told = tell.unbounded_send(keys).is_ok();
                }
            }
        });
        all.insert(name, Followed { path: path.to_owned(), _reading: [reading, telling.into()] });
    }
}

/// What a quota calls the objects of a definition.
pub(super) fn counted_as(definition: &str) -> String {
    format!("count/{definition}")
}

/// The quotas that count `name`.
pub(super) fn counting(quotas: &Informer<ResourceQuota>, name: &str) -> Vec<Key> {
    let all = quotas.list();
    all.iter().filter(|quota| counts(quota, name)).map(|quota| quota.key()).collect()
}

fn counts(quota: &ResourceQuota, name: &str) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    hard.is_some_and(|hard| hard.contains_key(name))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_concerns_the_quotas_that_count_its_objects() {
        let quota = |name: &str, hard: &str| -> ResourceQuota {
            serde_json::from_value(
                json!({"metadata": {"namespace": "n", "name": name}, "spec": {"hard": {hard: "1"}}}),
            )
            .unwrap()
        };
        let quotas = Informer::fixed(vec![quota("a", "count/things.example.com"), quota("b", "pods")]);
        assert_eq!(counting(&quotas, &counted_as("things.example.com")), [Key::namespaced("n", "a")]);
        assert_eq!(counting(&quotas, &counted_as("others.example.com")), []);
    }
}
