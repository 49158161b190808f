//! DefaultPreemption: which pods of lower priority make room, on which node, with the least harm.
//!
//! Not here: disruption budgets are honoured by preferring nodes where fewer and less important pods go;
//! their counting comes with the disruption controller.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::filters::{Filters, Refusal};
use crate::pods::PodInfo;
use crate::world::{NodeInfo, World};

/// Room that can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preemption {
    /// The node that will have room.
    pub node: String,
    /// `namespace/name` of the pods that go, most important first.
    pub victims: Vec<String>,
}

/// The best preemption, and a reason for each node where there is none (as upstream words them).
pub fn find(
    pod: &PodInfo,
    world: &World,
    refused: &BTreeMap<&str, Refusal>,
) -> (Option<Preemption>, Vec<String>) {
    let never = pod.spec().preemption_policy.as_deref() == Some("Never");
    let mut reasons = Vec::new();
    let mut candidates: Vec<(&NodeInfo, Vec<Arc<PodInfo>>)> = Vec::new();
    for node in world.nodes() {
        let Some(refusal) = refused.get(node.name()) else { continue };
        if never {
            continue;
        } else if !refusal.preemptable {
            reasons.push("Preemption is not helpful for scheduling".to_owned());
        } else if let Some(victims) = victims(pod, node, world) {
            candidates.push((node, victims));
        } else {
            reasons.push("No preemption victims found for incoming pod".to_owned());
        }
    }
    if never {
        return (None, vec!["not eligible due to preemptionPolicy=Never".to_owned()]);
    }
    let harm = |victims: &[Arc<PodInfo>]| {
        let priorities = || victims.iter().map(|victim| i64::from(victim.priority()));
        (priorities().max().unwrap_or(i64::MIN), priorities().sum::<i64>(), victims.len())
    };
    let best = candidates.into_iter().min_by_key(|(_, victims)| harm(victims));
    let preemption = best.map(|(node, victims)| Preemption {
        node: node.name().to_owned(),
        victims: victims.iter().map(|victim| victim.key()).collect(),
    });
    (preemption, reasons)
}

/// Removes all pods of lower priority, then puts back as many as fit, most important first.
fn victims(pod: &PodInfo, node: &NodeInfo, world: &World) -> Option<Vec<Arc<PodInfo>>> {
    let mut lower: Vec<Arc<PodInfo>> =
        node.pods.values().filter(|other| other.priority() < pod.priority()).cloned().collect();
    if lower.is_empty() {
        return None;
    }
    let started = |pod: &PodInfo| {
        pod.pod.status.as_ref().and_then(|status| status.start_time.as_ref()).map(|time| time.0)
    };
    lower.sort_by_key(|other| (std::cmp::Reverse(other.priority()), started(other)));
    let mut without = world.clone();
    lower.iter().for_each(|other| without.delete_pod(&other.key()));
    let fits = |world: &World| {
        let Ok(filters) = Filters::new(pod, world) else { return false };
        world.node(node.name()).is_some_and(|node| filters.check(node).is_ok())
    };
    if !fits(&without) {
        return None;
    }
    lower.retain(|other| {
        without.apply_pod(other.clone(), node.name());
        let stays = fits(&without);
        if !stays {
            without.delete_pod(&other.key());
        }
        !stays
    });
    Some(lower)
}
