//! One pod, the world, a decision.

use std::collections::BTreeMap;

use crate::filters::{Filters, Refusal};
use crate::pods::PodInfo;
use crate::preempt::{self, Preemption};
use crate::scores;
use crate::volumes::Choice;
use crate::world::{NodeInfo, World};

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It runs on this node.
    Bind {
        /// The node's name.
        node: String,
        /// The volumes that have to be bound for it first.
        choice: Choice,
    },
    /// It fits nowhere (now).
    Unschedulable {
        /// Upstream's words: `0/1 nodes are available: …`.
        message: String,
        /// Pods that make room for it when they are gone.
        preemption: Option<Preemption>,
    },
}

/// Decides for one pod. Among equally good nodes `tie` chooses.
pub fn schedule(pod: &PodInfo, world: &World, tie: u64) -> Decision {
    if world.is_empty() {
        return Decision::Unschedulable {
            message: "no nodes available to schedule pods".into(),
            preemption: None,
        };
    }
    let filters = match Filters::new(pod, world) {
        Ok(filters) => filters,
        Err(why) => return nowhere(pod, world, &why),
    };
    let mut possible: Vec<&NodeInfo> = Vec::new();
    let mut refused: BTreeMap<&str, Refusal> = BTreeMap::new();
    for node in world.nodes() {
        match filters.check(node) {
            Ok(()) => possible.push(node),
            Err(refusal) => _ = refused.insert(node.name(), refusal),
        }
    }
    match best(pod, &possible, world, tie) {
        Some(node) => Decision::Bind { node: node.name().to_owned(), choice: filters.choice(node) },
        None => unschedulable(pod, world, &refused),
    }
}

fn best<'n>(pod: &PodInfo, possible: &[&'n NodeInfo], world: &World, tie: u64) -> Option<&'n NodeInfo> {
    if possible.len() <= 1 {
        return possible.first().copied();
    }
    let scores = scores::total(pod, possible, world);
    let highest = *scores.iter().max()?;
    let equal: Vec<usize> = (0..scores.len()).filter(|at| scores[*at] == highest).collect();
    Some(possible[equal[tie as usize % equal.len()]])
}

fn unschedulable(pod: &PodInfo, world: &World, refused: &BTreeMap<&str, Refusal>) -> Decision {
    let (preemption, why_not) = preempt::find(pod, world, refused);
    let mut message = available(world.len(), refused.values().flat_map(|refusal| &refusal.reasons));
    message.push_str(&format!(" preemption: {}", available(world.len(), why_not.iter())));
    Decision::Unschedulable { message, preemption }
}

/// A reason that is about the pod and not about any node.
fn nowhere(pod: &PodInfo, world: &World, why: &str) -> Decision {
    let refused = world.nodes().map(|node| (node.name(), Refusal::fixed(why))).collect();
    let (_, why_not) = preempt::find(pod, world, &refused);
    let preemption = available(world.len(), why_not.iter());
    let message = format!("0/{} nodes are available: {why}. preemption: {preemption}", world.len());
    Decision::Unschedulable { message, preemption: None }
}

/// `0/N nodes are available: 1 reason, 2 other reason.`, sorted as upstream's FitError.
fn available<'r>(nodes: usize, reasons: impl Iterator<Item = &'r String>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    reasons.for_each(|reason| *counts.entry(reason).or_default() += 1);
    let mut parts: Vec<String> = counts.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    parts.sort();
    match parts.is_empty() {
        true => format!("0/{nodes} nodes are available:"),
        false => format!("0/{nodes} nodes are available: {}.", parts.join(", ")),
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
