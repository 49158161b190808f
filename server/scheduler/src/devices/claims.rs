//! Which claims a pod has, and whether they are ready for it (upstream's `resourceclaim` and `foreachPodResourceClaim`). Pure.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodResourceClaim};
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::{Devices, MOST_CONSUMERS};
use crate::pods::PodInfo;

/// The name of a pod's claim, and whether it has to be made for the pod. `None`: no claim is needed.
///
/// # Errors
/// It is not made yet.
pub fn name<'a>(pod: &'a Pod, claim: &'a PodResourceClaim) -> Result<Option<(&'a str, bool)>, String> {
    let own = |why: &str| {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        format!("pod \"{}/{}\"{why}", text(&pod.metadata.namespace), text(&pod.metadata.name))
    };
    if let Some(name) = &claim.resource_claim_name {
        return Ok(Some((name, false)));
    }
    if claim.resource_claim_template_name.is_none() {
        return Err(own(&format!(
            ", spec.resourceClaim {:?}: none of the supported fields are set",
            claim.name
        )));
    }
    let statuses = pod.status.iter().flat_map(|status| status.resource_claim_statuses.iter().flatten());
    match statuses.into_iter().find(|status| status.name == claim.name) {
        Some(status) => Ok(status.resource_claim_name.as_deref().map(|name| (name, true))),
        None => Err(own(": ResourceClaim not created yet")),
    }
}

/// The claims of a pod, in its order.
///
/// # Errors
/// One is not there, is being deleted, or is another's; in upstream's words.
pub fn of_pod<'d>(pod: &PodInfo, devices: &'d Devices) -> Result<Vec<&'d Arc<ResourceClaim>>, String> {
    let mut found = Vec::new();
    for one in pod.spec().resource_claims.iter().flatten() {
        let Some((name, made_for_it)) = name(&pod.pod, one)? else { continue };
        let Some(claim) = devices.claim(&format!("{}/{name}", pod.namespace())) else {
            return Err(format!("resourceclaim {name:?} not found"));
        };
        if claim.metadata.deletion_timestamp.is_some() {
            return Err(format!("resourceclaim {name:?} is being deleted"));
        }
        if made_for_it && !is_made_for(claim, &pod.pod) {
            return Err(format!(
                "ResourceClaim {}/{name} was not created for pod {} (pod is not owner)",
                pod.namespace(),
                pod.key()
            ));
        }
        found.push(claim);
    }
    Ok(found)
}

/// Whether the pod controls the claim.
fn is_made_for(claim: &ResourceClaim, pod: &Pod) -> bool {
    let controls = |owner: &&OwnerReference| owner.controller == Some(true);
    let mut owners = claim.metadata.owner_references.iter().flatten().filter(controls);
    owners.next().is_some_and(|owner| Some(&owner.uid) == pod.metadata.uid.as_ref())
}

/// Who may use the claim now.
fn consumers(claim: &ResourceClaim) -> &[ResourceClaimConsumerReference] {
    claim.status.as_ref().and_then(|status| status.reserved_for.as_deref()).unwrap_or_default()
}

/// Whether one more may use the claim.
pub fn can_be_reserved(claim: &ResourceClaim) -> bool {
    consumers(claim).len() < MOST_CONSUMERS
}

/// Whether the pod may use the claim already.
pub fn is_reserved_for(claim: &ResourceClaim, pod: &Pod) -> bool {
    consumers(claim).iter().any(|consumer| Some(&consumer.uid) == pod.metadata.uid.as_ref())
}

/// Whether nobody but the pod may use the claim.
pub fn is_unused_by_others(claim: &ResourceClaim, pod: &Pod) -> bool {
    consumers(claim).is_empty() || (consumers(claim).len() == 1 && is_reserved_for(claim, pod))
}
