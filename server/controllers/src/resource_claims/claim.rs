//! What is to become of a claim whose users went. Pure.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimConsumerReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use crate::words::{controller_of, is_terminal};

/// What keeps an allocated claim from being deleted.
pub(super) const FINALIZER: &str = "resource.kubernetes.io/delete-protection";

pub(super) type Consumer = ResourceClaimConsumerReference;

/// Who uses the claim.
pub(super) fn consumers(claim: &ResourceClaim) -> &[Consumer] {
    claim.status.as_ref().and_then(|status| status.reserved_for.as_deref()).unwrap_or_default()
}

/// Whether none of its containers run or will run.
pub(super) fn is_done(pod: &Pod) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    is_terminal(pod) || (pod.metadata.deletion_timestamp.is_some() && node.is_empty())
}

/// The pod that the claim was made for.
pub(super) fn owner(claim: &ResourceClaim) -> Option<&OwnerReference> {
    controller_of(&claim.metadata).filter(|owner| owner.api_version == "v1" && owner.kind == "Pod")
}

/// What to write.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// The claim with its new status.
    pub status: Option<ResourceClaim>,
    /// It may be deleted from then on.
    pub release: bool,
}

/// `gone` are uids of users that do not use the claim any more. When the last goes, the devices go back; a claim that is
/// being deleted gives them back, too.
pub(super) fn plan(claim: &ResourceClaim, gone: &[String]) -> Plan {
    let protected = claim.metadata.finalizers.iter().flatten().any(|one| one == FINALIZER);
    let left: Vec<_> = consumers(claim).iter().filter(|one| !gone.contains(&one.uid)).cloned().collect();
    let unused = left.is_empty();
    let allocated = claim.status.as_ref().is_some_and(|status| status.allocation.is_some());
    let fewer = left.len() < consumers(claim).len();
    let ending = claim.metadata.deletion_timestamp.is_some();
    let deallocate = unused && protected && allocated && (fewer || ending);
    let mut changed = claim.clone();
    let status = changed.status.get_or_insert_default();
    status.reserved_for = Some(left).filter(|left| !left.is_empty());
    if deallocate {
        status.allocation = None;
    }
    Plan {
        release: protected && (fewer || (ending && unused)) && (deallocate || !allocated),
        status: (fewer || deallocate).then_some(changed),
    }
}

/// The claim without the finalizer, if it has it.
pub(super) fn without_finalizer(mut claim: ResourceClaim) -> Option<ResourceClaim> {
    let finalizers = claim.metadata.finalizers.as_mut()?;
    let before = finalizers.len();
    finalizers.retain(|one| one != FINALIZER);
    (finalizers.len() < before).then_some(claim)
}

#[cfg(test)]
#[path = "claim_tests.rs"]
mod tests;
