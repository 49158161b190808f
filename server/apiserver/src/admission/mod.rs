//! Admission plugins: what upstream's API server adds to objects, or refuses, between authorization and the store.
//!
//! One file each, upstream's names and texts; [`plugins`] is the ordered list (`pkg/kubeapiserver/options/plugins.go`).
//!
//! What is not here: defaults and validation of the objects' own fields, creation in a namespace that is missing or
//! going away and ResourceQuota (the registry sees to both with the write); webhooks and policies are in
//! [`crate::dynamic`].

mod certificates;
mod ingress_class;
mod kept;
mod lifecycle;
mod limit_ranger;
mod mountable;
pub(crate) mod node_audience;
mod node_features;
pub(crate) mod node_restriction;
mod pod_resize;
mod pod_security;
mod pod_topology_labels;
mod priority;
mod rbac;
mod runtime_class;
mod service_account;
mod storage;
mod tolerations;

use std::sync::Arc;

use sampan_store::{Key, Store};
use serde_json::Value;

use crate::auth::Auth;
use crate::registry::{Admission, Operation, Review};

/// All plugins, in the order in which they run.
pub(crate) fn plugins(auth: Arc<Auth>, customs: crate::crd::Customs) -> Vec<Admission> {
    let mut plugins: Vec<Admission> = vec![
        certificates::CertificateRequests.into(),
        certificates::ClusterTrustBundles.into(),
        lifecycle::NamespaceLifecycle.into(),
        limit_ranger::LimitRanger.into(),
        Admission::Waiting(Arc::new(service_account::DefaultAccount)),
        service_account::ServiceAccount.into(),
        node_restriction::NodeRestriction.into(),
        tolerations::TaintNodesByCondition.into(),
        pod_security::PodSecurity.into(),
        priority::Priority.into(),
        tolerations::DefaultTolerationSeconds.into(),
        storage::DefaultStorageClass.into(),
        storage::StorageObjectInUseProtection.into(),
        storage::PersistentVolumeClaimResize.into(),
        runtime_class::RuntimeClass.into(),
        certificates::CertificateApproval(auth.clone()).into(),
        certificates::CertificateSigning(auth.clone()).into(),
        certificates::ClusterTrustBundleAttest(auth.clone()).into(),
        certificates::CertificateSubjectRestriction.into(),
        ingress_class::DefaultIngressClass.into(),
        pod_topology_labels::PodTopologyLabels.into(),
        node_features::NodeDeclaredFeatureValidator.into(),
        pod_resize::PodResizeValidator.into(),
        rbac::EscalationCheck(auth.clone()).into(),
    ];
    plugins.extend(crate::dynamic::plugins(auth, customs));
    plugins
}

/// Whether the review is of `plural` itself, in `group`.
fn of(review: &Review<'_>, group: &str, plural: &str) -> bool {
    review.kind.group == group && review.kind.plural == plural && review.subresource.is_empty()
}

/// Whether a pod is being created.
fn creates_pod(review: &Review<'_>) -> bool {
    review.operation == Operation::Create && of(review, "", "pods")
}

/// Whether the resources of a pod that is there change.
fn resizes_pod(review: &Review<'_>) -> bool {
    let pod = review.kind.group.is_empty() && review.kind.plural == "pods";
    pod && review.operation == Operation::Update && review.subresource == "resize"
}

fn look_up(store: &Store, bucket: &str, name: &str) -> Option<Value> {
    let entry = store.get(&Key::new(bucket, name))?;
    serde_json::from_slice(&entry.value).ok()
}

/// The object of `bucket` that an annotation marks as the default: the newest, of several made at once the first by
/// name (`GetDefaultClass` of `pkg/volume/util`).
fn default_of(store: &Store, bucket: &str, annotations: &[&str]) -> Option<String> {
    let marked = kept::all(store, bucket).filter(|object| {
        annotations.iter().any(|one| crate::value::text(object, &["metadata", "annotations", one]) == "true")
    });
    let age = |object: &Value| {
        let created = crate::value::meta(object, "creationTimestamp").to_owned();
        (std::cmp::Reverse(created), crate::value::meta(object, "name").to_owned())
    };
    marked.map(|object| age(&object)).min().map(|(_, name)| name)
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
