//! What selects pods, and what protects them: Services, controllers, disruption budgets.

use std::sync::Arc;

use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{ReplicationController, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use sampan_reconcile::{Delta, Object};

use super::State;
use crate::hints;

pub(super) fn service_changed(state: &mut State, delta: &Delta<Service>) {
    let selector = |service: &Service| service.spec.as_ref()?.selector.clone();
    let (old, new) = selectors(delta, selector);
    let news = old != new;
    state.world.owners.set_service(delta.key.namespace(), &delta.key.name, new);
    if news {
        give_hope(state, delta.key.namespace());
    }
}

/// What an object selected, and what it selects.
fn selectors<K, S>(delta: &Delta<K>, of: impl Fn(&K) -> Option<S>) -> (Option<S>, Option<S>) {
    let of = |object: &Option<Arc<K>>| object.as_deref().and_then(&of);
    (of(&delta.old), of(&delta.new))
}

fn give_hope(state: &mut State, namespace: &str) {
    state.queue.world_changed_for(|pod| hints::owner_changed(pod, namespace));
}

/// What has pods of its own and says which.
pub(super) trait Controller: Object {
    const KIND: &str;
    fn selector(&self) -> Option<LabelSelector>;
}

impl Controller for ReplicaSet {
    const KIND: &str = "ReplicaSet";
    fn selector(&self) -> Option<LabelSelector> {
        self.spec.as_ref().map(|spec| spec.selector.clone())
    }
}

impl Controller for StatefulSet {
    const KIND: &str = "StatefulSet";
    fn selector(&self) -> Option<LabelSelector> {
        self.spec.as_ref().map(|spec| spec.selector.clone())
    }
}

impl Controller for ReplicationController {
    const KIND: &str = "ReplicationController";
    fn selector(&self) -> Option<LabelSelector> {
        let match_labels = self.spec.as_ref()?.selector.clone();
        Some(LabelSelector { match_labels, match_expressions: None })
    }
}

pub(super) fn controller_changed<K: Controller>(state: &mut State, delta: &Delta<K>) {
    let (old, new) = selectors(delta, K::selector);
    let news = old != new;
    state.world.owners.set_controller(K::KIND, delta.key.namespace(), &delta.key.name, new);
    if news {
        give_hope(state, delta.key.namespace());
    }
}

pub(super) fn budget_changed(state: &mut State, delta: &Delta<PodDisruptionBudget>) {
    let of_namespace = state.world.budgets.entry(delta.key.namespace().to_owned()).or_default();
    match &delta.new {
        Some(budget) => _ = of_namespace.insert(delta.key.name.clone(), budget.clone()),
        None => _ = of_namespace.remove(&delta.key.name),
    }
}
