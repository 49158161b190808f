//! VolumeRestrictions, NodeVolumeLimits, VolumeBinding, VolumeZone.

use std::collections::{BTreeMap, BTreeSet};

use super::Refusal;
use crate::config::{Plugin, Profile};
use crate::pods::PodInfo;
use crate::volumes::{Choice, PodClaims};
use crate::world::{NodeInfo, World};

const ONE_POD: &str =
    "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
const ZONES: &[(&str, &str)] = &[
    ("topology.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("topology.kubernetes.io/region", "topology.kubernetes.io/region"),
    ("failure-domain.beta.kubernetes.io/zone", "topology.kubernetes.io/zone"),
    ("failure-domain.beta.kubernetes.io/region", "topology.kubernetes.io/region"),
];

/// What is computed once for a pod.
pub struct VolumeFilters<'a> {
    world: &'a World,
    profile: &'a Profile,
    claims: PodClaims<'a>,
    /// A claim that one pod alone may use is used by another.
    occupied: bool,
    /// Volumes to attach for it, with their drivers.
    attachments: BTreeSet<(String, String)>,
    /// Labels a node must have, with the values to choose from.
    zones: Vec<(&'static str, BTreeSet<&'a str>)>,
}

impl<'a> VolumeFilters<'a> {
    /// Prepares the filters; an error is why the pod fits nowhere.
    pub fn new(pod: &'a PodInfo, world: &'a World) -> Result<Self, String> {
        let claims = PodClaims::new(pod, &world.volumes)?;
        let zones = zones(&claims, world);
        let attachments = attachments(pod, world).collect();
        let (profile, occupied) = (&*pod.profile, occupied(pod, world));
        Ok(Self { world, profile, claims, occupied, attachments, zones })
    }

    /// Whether the pod's volumes can be used on `node`.
    pub fn check(&self, node: &NodeInfo) -> Result<(), Refusal> {
        if self.occupied && self.profile.filters(Plugin::VolumeRestrictions) {
            return Err(Refusal::preemptable(vec![ONE_POD.to_owned()]));
        }
        if self.claims.is_empty() {
            return Ok(());
        }
        if self.profile.filters(Plugin::NodeVolumeLimits) && self.exceeds(node) {
            return Err(Refusal::preemptable(vec!["node(s) exceed max volume count".to_owned()]));
        }
        if self.profile.filters(Plugin::VolumeBinding)
            && let Err(reasons) = self.claims.on(&node.node, &self.world.volumes)
        {
            return Err(Refusal::all(reasons));
        }
        match !self.profile.filters(Plugin::VolumeZone) || self.in_zone(node) {
            true => Ok(()),
            false => Err(Refusal::fixed("node(s) had no available volume zone")),
        }
    }

    /// What the pod's claims take on `node`.
    pub fn choice(&self, node: &NodeInfo) -> Choice {
        self.claims.on(&node.node, &self.world.volumes).unwrap_or_default()
    }

    /// Whether a driver would have more volumes on the node than it takes there.
    fn exceeds(&self, node: &NodeInfo) -> bool {
        let Some(limits) = self.world.volumes.limits(node.name()).filter(|limits| !limits.is_empty()) else {
            return false;
        };
        let there: BTreeSet<_> = node.pods.values().flat_map(|pod| attachments(pod, self.world)).collect();
        let mut more: BTreeMap<&str, i64> = BTreeMap::new();
        for (driver, _) in self.attachments.difference(&there) {
            *more.entry(driver).or_default() += 1;
        }
        let attached = |driver: &str| there.iter().filter(|(other, _)| other == driver).count() as i64;
        more.iter()
            .any(|(driver, more)| limits.get(*driver).is_some_and(|most| attached(driver) + more > *most))
    }

    /// Nodes that say nothing of zones take all.
    fn in_zone(&self, node: &NodeInfo) -> bool {
        let value = |key: &str| node.labels().get(key).map(String::as_str);
        !ZONES.iter().any(|(label, _)| value(label).is_some())
            || self.zones.iter().all(|(label, values)| {
                let now = ZONES.iter().find(|(key, _)| key == label).map_or(*label, |(_, now)| now);
                value(label).or_else(|| value(now)).is_some_and(|value| values.contains(value))
            })
    }
}

fn zones<'a>(claims: &PodClaims<'a>, world: &'a World) -> Vec<(&'static str, BTreeSet<&'a str>)> {
    let mut all = Vec::new();
    for volume in claims.volumes(&world.volumes) {
        for (label, _) in ZONES {
            if let Some(values) = volume.metadata.labels.as_ref().and_then(|labels| labels.get(*label)) {
                all.push((*label, values.split("__").collect()));
            }
        }
    }
    all
}

fn attachments(pod: &PodInfo, world: &World) -> impl Iterator<Item = (String, String)> {
    pod.claim_keys().filter_map(|claim| world.volumes.attachment(&claim))
}

fn occupied(pod: &PodInfo, world: &World) -> bool {
    pod.claims.iter().any(|(name, _)| {
        let key = format!("{}/{name}", pod.namespace());
        let modes = world.volumes.claim(&key).and_then(|claim| claim.spec.as_ref()?.access_modes.as_deref());
        modes.unwrap_or_default().iter().any(|mode| mode == "ReadWriteOncePod") && world.uses_claim(&key)
    })
}

#[cfg(test)]
#[path = "volumes_tests.rs"]
mod tests;
