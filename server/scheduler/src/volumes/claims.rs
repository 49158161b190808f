//! What the claims of one pod allow (upstream's `volumebinding/binder.go` and `volume_binding.go`). Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, TopologySelectorTerm};
use sampan_api::quantity::{Format, Quantity};
use sampan_reconcile::Object;

use super::{Volumes, claim_class, claim_key, is_bound, is_settled, reachable, volume_class, volume_name};
use crate::pods::PodInfo;
use crate::selectors::{Labels, label_selector_matches};

const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const UNREACHABLE: &str = "node(s) didn't match PersistentVolume's node affinity";
const NO_MATCH: &str = "node(s) didn't find available persistent volumes to bind";
const MISSING: &str = "node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)";

/// The volumes chosen for a pod on a node, the claims to be provisioned there, and those that are waited for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Volume, and `namespace/name` of the claim it is for.
    pub bind: Vec<(String, String)>,
    /// `namespace/name` of claims.
    pub provision: Vec<String>,
    /// `namespace/name` of claims that have their volume, and do not say so in their status yet.
    pub settle: Vec<String>,
}

impl Choice {
    /// Whether nothing has to be done.
    pub fn is_empty(&self) -> bool {
        self.bind.is_empty() && self.provision.is_empty() && self.settle.is_empty()
    }
}

/// What of a node suits a pod's claims, or why it does not.
pub type NodeVolumes = Result<Choice, Vec<String>>;

/// The claims of a pod: name, and whether it is made for the pod from an inline volume.
pub fn names(pod: &Pod) -> Vec<(String, bool)> {
    let own = pod.metadata.name.as_deref().unwrap_or_default();
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let claims = volumes.filter_map(|volume| match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some((source.claim_name.clone(), false)),
        (None, Some(_)) => Some((format!("{own}-{}", volume.name), true)),
        (None, None) => None,
    });
    claims.collect()
}

/// The claims of a pod by how far they are.
#[derive(Debug, Default)]
pub struct PodClaims<'a> {
    bound: Vec<&'a Arc<PersistentVolumeClaim>>,
    /// To be bound when the pod has a node, the smallest first.
    delayed: Vec<(String, &'a Arc<PersistentVolumeClaim>)>,
}

impl<'a> PodClaims<'a> {
    /// Upstream's `PreFilter`; an error is why the pod fits nowhere.
    pub fn new(pod: &PodInfo, volumes: &'a Volumes) -> Result<Self, String> {
        let mut all = Self::default();
        let mut immediate = false;
        for (name, made) in &pod.claims {
            let key = format!("{}/{name}", pod.namespace());
            let claim = usable(pod, name, *made, volumes.claim(&key))?;
            let mode = volumes.class_of(claim).and_then(|class| class.volume_binding_mode.as_deref());
            match () {
                () if is_bound(claim) => all.bound.push(claim),
                () if mode == Some("WaitForFirstConsumer") && volume_name(claim).is_empty() => {
                    all.delayed.push((key, claim));
                }
                () => immediate = true,
            }
        }
        if immediate {
            return Err("pod has unbound immediate PersistentVolumeClaims".to_owned());
        }
        all.delayed.sort_by_key(|(_, claim)| requested(claim));
        all.delayed.dedup_by(|(one, _), (other, _)| one == other);
        Ok(all)
    }

    /// Whether the pod has no claims.
    pub fn is_empty(&self) -> bool {
        self.bound.is_empty() && self.delayed.is_empty()
    }

    /// Upstream's `FindPodVolumes`.
    pub fn on(&self, node: &Node, volumes: &Volumes) -> NodeVolumes {
        let mut reasons = Vec::new();
        for claim in &self.bound {
            let why = match volumes.volume(volume_name(claim)) {
                Some(volume) if reachable(volume, node) => continue,
                Some(_) => UNREACHABLE,
                None => MISSING,
            };
            reasons.push(why.to_owned());
            break;
        }
        match self.choose(node, volumes) {
            Some(choice) if reasons.is_empty() => {
                let unsettled = self.bound.iter().filter(|claim| !is_settled(claim));
                Ok(Choice {
                    settle: unsettled.map(|claim| Object::key(&***claim).to_string()).collect(),
                    ..choice
                })
            }
            Some(_) => Err(reasons),
            None => {
                reasons.push(NO_MATCH.to_owned());
                Err(reasons)
            }
        }
    }

    fn choose(&self, node: &Node, volumes: &Volumes) -> Option<Choice> {
        let mut choice = Choice::default();
        let mut taken = BTreeSet::new();
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let selected = |key: &str, claim| volumes.selected_node(key, claim);
        // one whose volume is being made elsewhere decides at once
        if self.delayed.iter().any(|(key, claim)| selected(key, claim).is_some_and(|node| node != name)) {
            return None;
        }
        for (key, claim) in &self.delayed {
            let being_made = selected(key, claim).is_some();
            match find(key, claim, node, volumes, &taken).filter(|_| !being_made) {
                Some(volume) => {
                    taken.insert(volume);
                    choice.bind.push((volume.to_owned(), key.clone()));
                }
                None if provisionable(claim, node, volumes) => choice.provision.push(key.clone()),
                None => return None,
            }
        }
        Some(choice)
    }

    /// Volumes that the pod has.
    pub fn volumes(&self, volumes: &'a Volumes) -> impl Iterator<Item = &'a Arc<PersistentVolume>> {
        self.bound.iter().filter_map(|claim| volumes.volume(volume_name(claim)))
    }
}

/// Upstream's `podHasPVCs`, for one claim.
fn usable<'a>(
    pod: &PodInfo,
    name: &str,
    made: bool,
    found: Option<&'a Arc<PersistentVolumeClaim>>,
) -> Result<&'a Arc<PersistentVolumeClaim>, String> {
    let Some(claim) = found else {
        return Err(match made {
            true => {
                format!(
                    "waiting for ephemeral volume controller to create the persistentvolumeclaim {name:?}"
                )
            }
            false => format!("persistentvolumeclaim {name:?} not found"),
        });
    };
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let owners = claim.metadata.owner_references.iter().flatten();
    let owned = || {
        let mut controllers = owners.filter(|owner| owner.controller == Some(true));
        controllers.any(|owner| Some(&owner.uid) == pod.pod.metadata.uid.as_ref())
    };
    match () {
        () if phase == Some("Lost") => Err(format!(
            "persistentvolumeclaim {name:?} bound to non-existent persistentvolume {:?}",
            volume_name(claim)
        )),
        () if claim.metadata.deletion_timestamp.is_some() => {
            Err(format!("persistentvolumeclaim {name:?} is being deleted"))
        }
        () if made && !owned() => Err(format!(
            "PVC {}/{name} was not created for pod {} (pod is not owner)",
            pod.namespace(),
            pod.key()
        )),
        () => Ok(claim),
    }
}

fn amount(
    amounts: Option<
        &std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>,
    >,
) -> Quantity {
    let storage = amounts.and_then(|amounts| amounts.get("storage"));
    let parsed = storage.and_then(|amount| Quantity::parse(&amount.0).ok());
    parsed.unwrap_or_else(|| Quantity::new(0, Format::BinarySI))
}

fn requested(claim: &PersistentVolumeClaim) -> Quantity {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    amount(resources.and_then(|resources| resources.requests.as_ref()))
}

fn capacity(volume: &PersistentVolume) -> Quantity {
    amount(volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref()))
}

/// Upstream's `FindMatchingVolume` for a node: a volume kept for the claim, or the smallest that is free.
fn find<'a>(
    key: &str,
    claim: &PersistentVolumeClaim,
    node: &Node,
    volumes: &'a Volumes,
    taken: &BTreeSet<&str>,
) -> Option<&'a str> {
    let fits = |volume: &PersistentVolume| {
        volume.metadata.deletion_timestamp.is_none()
            && capacity(volume) >= requested(claim)
            && block(claim.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()))
                == block(volume.spec.as_ref().and_then(|spec| spec.volume_mode.as_deref()))
    };
    let mut best: Option<(&str, Quantity)> = None;
    for (name, volume) in volumes.candidates(key, claim) {
        if taken.contains(name) || !fits(volume) {
            continue;
        }
        match volumes.taken_for(name, volume) {
            Some(by) if by == key && is_for(volume, claim) => return reachable(volume, node).then_some(name),
            Some(_) => continue,
            None => {}
        }
        let size = capacity(volume);
        let smaller = best.as_ref().is_none_or(|(_, smallest)| size < *smallest);
        if smaller && is_free_for(volume, claim) && reachable(volume, node) {
            best = Some((name, size));
        }
    }
    best.map(|(name, _)| name)
}

fn block(mode: Option<&str>) -> bool {
    mode == Some("Block")
}

/// Not another claim of the same name.
fn is_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let reference = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    let uid = reference.and_then(|reference| reference.uid.as_deref()).unwrap_or_default();
    claim_key(volume).is_none() || uid.is_empty() || claim.metadata.uid.as_deref() == Some(uid)
}

fn is_free_for(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    static NONE: Labels = Labels::new();
    let (spec, of) = (claim.spec.as_ref(), volume.spec.as_ref());
    let selector = spec.and_then(|spec| spec.selector.as_ref());
    let labels = volume.metadata.labels.as_ref().unwrap_or(&NONE);
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    let modes = of.and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let wanted = spec.and_then(|spec| spec.access_modes.as_deref()).unwrap_or_default();
    let attributes = spec.and_then(|spec| spec.volume_attributes_class_name.as_deref()).unwrap_or_default();
    let has = of.and_then(|spec| spec.volume_attributes_class_name.as_deref()).unwrap_or_default();
    phase == Some("Available")
        && volume_class(volume) == claim_class(claim)
        && selector.is_none_or(|selector| label_selector_matches(Some(selector), labels))
        && wanted.iter().all(|mode| modes.contains(mode))
        && attributes == has
}

/// Upstream's `checkVolumeProvisions`, for one claim.
fn provisionable(claim: &PersistentVolumeClaim, node: &Node, volumes: &Volumes) -> bool {
    static NONE: Labels = Labels::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&NONE);
    volumes.class_of(claim).is_some_and(|class| {
        !matches!(class.provisioner.as_str(), "" | NO_PROVISIONER)
            && allowed(class.allowed_topologies.as_deref().unwrap_or_default(), labels)
    })
}

/// `MatchTopologySelectorTerms`: no terms allow all, a term without expressions allows none.
fn allowed(terms: &[TopologySelectorTerm], labels: &Labels) -> bool {
    terms.is_empty()
        || terms.iter().any(|term| {
            let expressions = term.match_label_expressions.as_deref().unwrap_or_default();
            !expressions.is_empty()
                && expressions
                    .iter()
                    .all(|one| labels.get(&one.key).is_some_and(|value| one.values.contains(value)))
        })
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
