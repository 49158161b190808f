//! What every controller is made from: the client, the shared informers, event recorders, and their indexes.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::{Api, Resource};
use sampan_process::Tasks;
use sampan_reconcile::{Delta, Informer, Informers, Key, Object, Recorder};

use crate::words::{Map, controller_of};

/// Index of objects by the uid of their controller.
pub(crate) const BY_CONTROLLER: &str = "controller-uid";
/// Index of objects by namespace that have no controller.
pub(crate) const ORPHANS: &str = "orphans-by-namespace";
/// Index of objects by namespace.
pub(crate) const BY_NAMESPACE: &str = "namespace";
/// Index of pods by node.
pub(crate) const BY_NODE: &str = "node";

/// Shared by all controllers. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Context {
    pub client: kube::Client,
    pub informers: Informers,
    pub tasks: Tasks,
    pub pods: Informer<Pod>,
}

impl Context {
    pub fn new(client: kube::Client, informers: Informers, tasks: Tasks) -> Self {
        let pods: Informer<Pod> = informers.of();
        index_by_owner(&pods);
        pods.add_index(BY_NODE, |pod| {
            pod.spec
                .iter()
                .filter_map(|spec| spec.node_name.clone())
                .filter(|node| !node.is_empty())
                .collect()
        });
        Self { client, informers, tasks, pods }
    }

    pub fn recorder(&self, component: &str) -> Recorder {
        Recorder::new(self.client.clone(), component, "", &self.tasks)
    }

    pub fn namespaced<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    pub fn cluster<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Api::all(self.client.clone())
    }

    /// The informer of a kind whose objects are looked up by namespace.
    pub fn by_namespace<K>(&self) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Object + std::fmt::Debug,
    {
        let informer = self.informers.of::<K>();
        informer.add_index(BY_NAMESPACE, |object| object.meta().namespace.clone().into_iter().collect());
        informer
    }
}

/// Indexes by controller and of orphans.
pub(crate) fn index_by_owner<K: Resource<DynamicType = ()> + Object>(informer: &Informer<K>) {
    informer.add_index(BY_CONTROLLER, |object| {
        controller_of(object.meta()).map(|o| o.uid.clone()).into_iter().collect()
    });
    informer.add_index(ORPHANS, |object| match controller_of(object.meta()) {
        Some(_) => Vec::new(),
        None => object.meta().namespace.clone().into_iter().collect(),
    });
}

/// Those that an owner may claim: its own, and the orphans of its namespace.
pub(crate) fn candidates<K: Resource<DynamicType = ()> + Object>(
    informer: &Informer<K>,
    uid: &str,
    namespace: &str,
) -> Vec<std::sync::Arc<K>> {
    let mut objects = informer.by_index(BY_CONTROLLER, uid);
    objects.extend(informer.by_index(ORPHANS, namespace));
    objects
}

/// Keys of the controllers of `kind` that own, or owned, what changed.
pub(crate) fn owner_keys<K: Resource<DynamicType = ()>>(delta: &Delta<K>, kind: &str) -> Vec<Key> {
    let mut keys: Vec<Key> = delta
        .states()
        .filter_map(|object| controller_of(object.meta()))
        .filter(|owner| owner.kind == kind)
        .map(|owner| Key { namespace: delta.key.namespace.clone(), name: owner.name.clone() })
        .collect();
    keys.dedup();
    keys
}

/// Whether what changed is (now) nobody's and still there: somebody may want to adopt it.
pub(crate) fn is_orphan<K: Resource<DynamicType = ()>>(delta: &Delta<K>) -> bool {
    delta.new.as_ref().is_some_and(|object| {
        controller_of(object.meta()).is_none() && object.meta().deletion_timestamp.is_none()
    })
}

/// Keys of those of `owners` that may want to adopt what changed: it is nobody's now, and each `selects` its labels.
pub(crate) fn suitors<K, O>(
    delta: &Delta<K>,
    owners: &Informer<O>,
    selects: impl Fn(&O, Option<&Map>) -> bool,
) -> Vec<Key>
where
    K: Resource<DynamicType = ()>,
    O: Object,
{
    let Some(orphan) = delta.new.as_ref().filter(|_| is_orphan(delta)) else { return Vec::new() };
    let owners = owners.by_index(BY_NAMESPACE, delta.key.namespace());
    let selecting = owners.iter().filter(|owner| selects(owner, orphan.meta().labels.as_ref()));
    selecting.map(|owner| owner.key()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use k8s_openapi::api::apps::v1::StatefulSet;
    use serde_json::json;

    use super::*;
    use crate::words::matches;

    #[test]
    fn orphans_wake_those_that_select_them() {
        let set = |name: &str, namespace: &str, app: &str| {
            let selector = json!({"matchLabels": {"app": app}});
            let set = json!({"metadata": {"name": name, "namespace": namespace}, "spec": {"selector": selector,
                "serviceName": "s", "template": {}}});
            serde_json::from_value::<StatefulSet>(set).unwrap()
        };
        let sets = Informer::fixed(vec![set("db", "a", "db"), set("web", "a", "web"), set("db", "b", "db")]);
        sets.add_index(BY_NAMESPACE, |set| set.metadata.namespace.clone().into_iter().collect());
        let selects = |set: &StatefulSet, labels: Option<&Map>| {
            set.spec.as_ref().is_some_and(|spec| matches(&spec.selector, labels))
        };
        let owner = json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "x", "controller": true}]);
        for (meta, expected, why) in [
            (json!({"labels": {"app": "db"}}), vec!["a/db"], "an orphan"),
            (json!({"labels": {"app": "x"}}), vec![], "which nobody selects"),
            (json!({"labels": {"app": "db"}, "ownerReferences": owner}), vec![], "somebody's"),
            (
                json!({"labels": {"app": "db"}, "deletionTimestamp": "2026-01-01T00:00:00Z"}),
                vec![],
                "that goes",
            ),
        ] {
            let pod: Pod = serde_json::from_value(json!({"metadata": meta})).unwrap();
            let delta = Delta { key: Key::namespaced("a", "db-0"), old: None, new: Some(Arc::new(pod)) };
            let keys: Vec<_> = suitors(&delta, &sets, selects).iter().map(ToString::to_string).collect();
            assert_eq!(keys, expected, "{why}");
        }
    }
}
