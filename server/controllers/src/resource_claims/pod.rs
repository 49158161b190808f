//! Which claims a pod names, and the claims that are made for it. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference, ResourceClaimTemplate};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sampan_reconcile::{Key, Object};
use serde_json::{Value, json};

use super::claim::{consumers, is_done};
use crate::words::{annotation, controller_of, controller_reference, name, namespace, uid};

/// Which of a pod's claims a claim was made for.
pub(super) const CLAIM_NAME: &str = "resource.kubernetes.io/pod-claim-name";
/// Room for a hyphen and five random characters in a name of 63.
const LONGEST_BASE: usize = 57;
/// Upstream's `ResourceClaimReservedForMaxSize`.
const MOST_CONSUMERS: usize = 256;

fn claims(pod: &Pod) -> impl Iterator<Item = &PodResourceClaim> {
    pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten())
}

/// Whether it names claims.
pub(super) fn has_claims(pod: &Pod) -> bool {
    claims(pod).next().is_some()
}

/// The name of a claim as far as it is known: `None` before it is made, `Some(None)` if none is needed.
pub(super) fn name_of<'a>(pod: &'a Pod, claim: &'a PodResourceClaim) -> Option<Option<&'a str>> {
    if let Some(name) = &claim.resource_claim_name {
        return Some(Some(name));
    }
    let mut statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    let status = statuses.find(|status| status.name == claim.name)?;
    Some(status.resource_claim_name.as_deref())
}

/// Keys of the claims that are known.
pub(super) fn keys(pod: &Pod) -> impl Iterator<Item = Key> {
    let names = claims(pod).filter_map(|claim| name_of(pod, claim).flatten());
    names.map(|name| Key::namespaced(namespace(&pod.metadata), name))
}

/// Whether the pod controls the claim.
fn is_made_for(claim: &ResourceClaim, pod: &Pod) -> bool {
    controller_of(&claim.metadata).is_some_and(|owner| owner.uid == uid(&pod.metadata))
}

/// Whether the claim was made for this one of its pod's.
pub(super) fn is_for(claim: &ResourceClaim, one: &PodResourceClaim) -> bool {
    annotation(&claim.metadata, CLAIM_NAME) == Some(&one.name)
}

/// Whether there is something to do for the pod, `get` being the claims by name.
pub(super) fn needs_work(pod: &Pod, get: impl Fn(&str) -> Option<Arc<ResourceClaim>>) -> bool {
    if pod.metadata.deletion_timestamp.is_some() {
        return false;
    }
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    claims(pod).any(|one| {
        let Some(name) = name_of(pod, one) else { return one.resource_claim_template_name.is_some() };
        let Some(name) = name else { return false };
        match get(name) {
            None => one.resource_claim_template_name.is_some(),
            Some(claim) => !node.is_empty() && reserve(pod, &claim).is_some(),
        }
    })
}

/// The template to make a claim from, `known` being the claim that the status names, if it is there.
///
/// # Errors
/// The claim names neither a claim nor a template.
pub(super) fn to_make<'a>(
    pod: &Pod,
    one: &'a PodResourceClaim,
    known: Option<&ResourceClaim>,
) -> Result<Option<&'a str>, String> {
    let named = name_of(pod, one);
    let template = one.resource_claim_template_name.as_deref();
    if one.resource_claim_name.is_some() || named == Some(None) {
        return Ok(None);
    }
    let Some(template) = template else {
        let key = Object::key(pod);
        return Err(format!(
            "checking for claim before creating it: pod \"{key}\", spec.resourceClaim {:?}: none of the supported fields are set",
            one.name
        ));
    };
    let there = known.is_some_and(|claim| is_made_for(claim, pod));
    Ok((!there).then_some(template))
}

/// The claim to make for a pod.
pub(super) fn claim(pod: &Pod, one: &PodResourceClaim, template: &ResourceClaimTemplate) -> ResourceClaim {
    let given = template.spec.metadata.clone().unwrap_or_default();
    let mut annotations = given.annotations.unwrap_or_default();
    annotations.insert(CLAIM_NAME.to_owned(), one.name.clone());
    ResourceClaim {
        metadata: ObjectMeta {
            generate_name: Some(base_name(name(&pod.metadata), &one.name)),
            namespace: pod.metadata.namespace.clone(),
            labels: given.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_reference(pod)]),
            ..ObjectMeta::default()
        },
        spec: template.spec.spec.clone(),
        status: None,
    }
}

/// `POD-CLAIM-`; both are cut in proportion where that is too long.
fn base_name(pod: &str, claim: &str) -> String {
    let whole = format!("{pod}-{claim}-");
    if whole.len() <= LONGEST_BASE {
        return whole;
    }
    // names are ASCII
    let cut = |text: &str| -> String { text.chars().take(text.len() * LONGEST_BASE / whole.len()).collect() };
    format!("{}-{}", cut(pod), cut(claim))
}

/// What the status is to say of claims: what it says, and `made`.
pub(super) fn statuses(pod: &Pod, made: &[(String, String)]) -> Vec<Value> {
    let said = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    let mut all: BTreeMap<&str, Option<&str>> =
        said.map(|status| (status.name.as_str(), status.resource_claim_name.as_deref())).collect();
    all.extend(made.iter().map(|(one, name)| (one.as_str(), Some(name.as_str()))));
    let one = |(name, claim): (&str, Option<&str>)| match claim {
        Some(claim) => json!({"name": name, "resourceClaimName": claim}),
        None => json!({"name": name}),
    };
    all.into_iter().map(one).collect()
}

/// The claim with the pod among those who use it, if it has devices, and the pod is not and can be.
pub(super) fn reserve(pod: &Pod, claim: &ResourceClaim) -> Option<ResourceClaim> {
    claim.status.as_ref()?.allocation.as_ref()?;
    let users = consumers(claim);
    let known = users.iter().any(|user| user.uid == uid(&pod.metadata));
    if known || users.len() >= MOST_CONSUMERS || is_done(pod) {
        return None;
    }
    let mut reserved = claim.clone();
    let list = reserved.status.get_or_insert_default().reserved_for.get_or_insert_default();
    list.push(ResourceClaimConsumerReference {
        api_group: None,
        resource: "pods".to_owned(),
        name: name(&pod.metadata).to_owned(),
        uid: uid(&pod.metadata).to_owned(),
    });
    Some(reserved)
}

#[cfg(test)]
#[path = "pod_tests.rs"]
mod tests;
