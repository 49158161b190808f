//! Admission plugins: what upstream's API server adds to objects, or refuses, between authorization and the store.
//!
//! One file each, upstream's names and texts; [`plugins`] is the ordered list (`pkg/kubeapiserver/options/plugins.go`).
//!
//! What is not here: defaults and validation of the objects' own fields, creation in a namespace that is missing or
//! going away (the registry checks that with the write), quota, webhooks and policies.

mod lifecycle;
pub(crate) mod node_restriction;
mod priority;
mod rbac;
mod service_account;
mod tolerations;

use std::sync::Arc;

use sampan_store::{Key, Store};
use serde_json::Value;

use crate::auth::Auth;
use crate::registry::{Operation, Plugin, Review};

/// All plugins, in the order in which they run.
pub fn plugins(auth: Arc<Auth>) -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(lifecycle::NamespaceLifecycle),
        Arc::new(service_account::ServiceAccount),
        Arc::new(node_restriction::NodeRestriction),
        Arc::new(tolerations::TaintNodesByCondition),
        Arc::new(priority::Priority),
        Arc::new(tolerations::DefaultTolerationSeconds),
        Arc::new(rbac::EscalationCheck(auth)),
    ]
}

/// Whether the review is of `plural` itself, in `group`.
fn of(review: &Review<'_>, group: &str, plural: &str) -> bool {
    review.kind.group == group && review.kind.plural == plural && review.subresource.is_empty()
}

/// Whether a pod is being created.
fn creates_pod(review: &Review<'_>) -> bool {
    review.operation == Operation::Create && of(review, "", "pods")
}

fn look_up(store: &Store, bucket: &str, name: &str) -> Option<Value> {
    let entry = store.get(&Key::new(bucket, name))?;
    serde_json::from_slice(&entry.value).ok()
}

/// Pushes onto the array at `path`, which is made if it is missing.
fn push(object: &mut Value, path: &[&str], item: Value) {
    if let Some(list) = crate::value::at(object, path).as_array() {
        let mut list = list.clone();
        list.push(item);
        crate::value::set(object, path, list);
    } else {
        crate::value::set(object, path, vec![item]);
    }
}

#[cfg(test)]
mod tests;
