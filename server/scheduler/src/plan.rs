//! One pod, the world, a decision.

use std::collections::BTreeMap;

use crate::columns::{Columns, Row};
use crate::filters::{self, Filters, Refusal};
use crate::pods::PodInfo;
use crate::preempt::{self, Outcome, Preemption};
use crate::scores::{self, Scale};
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
        /// Which node it waits for from now on.
        nomination: Nomination,
    },
}

/// Which node a pod that fits nowhere waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    /// As before.
    Kept,
    /// None: no node can have room made for it.
    Cleared,
    /// One where pods make room for it when they are gone.
    New(Preemption),
}

/// Decides, and keeps what the next pod of the same shape can use.
#[derive(Default)]
pub struct Planner {
    columns: Columns,
}

impl Planner {
    /// Decides for one pod. Among equally good nodes `tie` chooses. The world is the same afterwards.
    pub fn schedule(&mut self, pod: &PodInfo, world: &mut World, tie: u64) -> Decision {
        if world.is_empty() {
            let message = "no nodes available to schedule pods".to_owned();
            return Decision::Unschedulable { message, nomination: Nomination::Kept };
        }
        world.keep_counters(pod);
        if scores::is_social(pod, world) {
            scores::DEFAULT_KEYS.iter().for_each(|key| world.keep_counter(key));
        }
        let rows = self.columns.rows(pod, world);
        let possible = match possible(pod, world, rows) {
            Ok(possible) => possible,
            Err(why) => return nowhere(pod, world, &why, tie),
        };
        match best(pod, &possible.places, rows, world, tie) {
            Some(node) => Decision::Bind { node: node.name().to_owned(), choice: choice(pod, node, world) },
            None => unschedulable(pod, world, rows, possible.refused, tie),
        }
    }
}

/// Places where the pod can run, and those that passed the first look and not the second.
struct Possible {
    places: Vec<usize>,
    refused: BTreeMap<usize, Refusal>,
}

/// An error is why the pod fits on no node at all.
fn possible(pod: &PodInfo, world: &mut World, rows: &[Row]) -> Result<Possible, String> {
    let mut refused = BTreeMap::new();
    if !filters::is_local(pod, world) {
        let filters = Filters::new(pod, world)?;
        for (place, node) in world.nodes().enumerate().filter(|(place, _)| rows[*place].is_ok()) {
            if let Err(refusal) = filters.check(node) {
                refused.insert(place, refusal);
            }
        }
    }
    let waited_for: Vec<String> = world.nominated.keys().cloned().collect();
    for name in waited_for {
        let place = world.node(&name).map(|node| node.slot);
        let Some(place) = place.filter(|at| rows[*at].is_ok() && !refused.contains_key(at)) else { continue };
        if preempt::promised(pod, &name, world).is_empty() {
            continue;
        }
        if let Err(refusal) = preempt::fits_beside_nominated(pod, &name, world) {
            refused.insert(place, refusal);
        }
    }
    let open = |place: &usize| rows[*place].is_ok() && !refused.contains_key(place);
    let nominated = pod.nominated().and_then(|name| world.node(name)).map(|node| node.slot).filter(open);
    let places = match nominated {
        Some(place) => vec![place],
        None => (0..rows.len()).filter(open).collect(),
    };
    Ok(Possible { places, refused })
}

fn best<'w>(
    pod: &PodInfo,
    places: &[usize],
    rows: &[Row],
    world: &'w World,
    tie: u64,
) -> Option<&'w NodeInfo> {
    if places.len() <= 1 {
        return world.node_at(*places.first()?);
    }
    let locals = || places.iter().filter_map(|place| rows[*place].as_ref().ok());
    let scale = Scale::of(locals());
    let mut totals: Vec<i64> = locals().map(|local| scale.total(local, &pod.profile.weights)).collect();
    if scores::is_social(pod, world) {
        let mut wanted = places.iter().peekable();
        let is_wanted = |(at, _): &(usize, &NodeInfo)| wanted.next_if(|place| **place == *at).is_some();
        let nodes: Vec<&NodeInfo> =
            world.nodes().enumerate().filter(is_wanted).map(|(_, node)| node).collect();
        if let Some(more) = scores::social(pod, &nodes, world) {
            totals.iter_mut().zip(more).for_each(|(total, more)| *total += more);
        }
    }
    let highest = *totals.iter().max()?;
    let equal = totals.iter().filter(|total| **total == highest).count();
    let mut best = (0..totals.len()).filter(|at| totals[*at] == highest);
    world.node_at(places[best.nth(tie as usize % equal)?])
}

fn choice(pod: &PodInfo, node: &NodeInfo, world: &World) -> Choice {
    if pod.claims.is_empty() {
        return Choice::default();
    }
    Filters::new(pod, world).map(|filters| filters.choice(node)).unwrap_or_default()
}

fn unschedulable(
    pod: &PodInfo,
    world: &mut World,
    rows: &[Row],
    mut second: BTreeMap<usize, Refusal>,
    tie: u64,
) -> Decision {
    let mut why = |place: usize| rows[place].as_ref().err().cloned().or_else(|| second.remove(&place));
    let refused: Vec<(String, Refusal)> = world
        .nodes()
        .enumerate()
        .filter_map(|(place, node)| Some((node.name().to_owned(), why(place)?)))
        .collect();
    let message = available(world.len(), refused.iter().flat_map(|(_, refusal)| &refusal.reasons));
    with_preemption(pod, world, message, &refused, tie)
}

/// A reason that is about the pod and not about any node.
fn nowhere(pod: &PodInfo, world: &mut World, why: &str, tie: u64) -> Decision {
    let refused: Vec<(String, Refusal)> =
        world.nodes().map(|node| (node.name().to_owned(), Refusal::fixed(why))).collect();
    let message = format!("0/{} nodes are available: {why}.", world.len());
    with_preemption(pod, world, message, &refused, tie)
}

/// What preemption says is told only where it does not help.
fn with_preemption(
    pod: &PodInfo,
    world: &mut World,
    message: String,
    refused: &[(String, Refusal)],
    tie: u64,
) -> Decision {
    if !pod.profile.preempts {
        return Decision::Unschedulable { message, nomination: Nomination::Kept };
    }
    let (message, nomination) = match preempt::find(pod, world, refused, tie) {
        Outcome::Found(preemption) => (message, Nomination::New(preemption)),
        Outcome::Nowhere(reasons) => {
            let why = available(world.len(), reasons.iter());
            (format!("{message} preemption: {why}"), Nomination::Cleared)
        }
        Outcome::NotEligible(why) => (format!("{message} preemption: {why}"), Nomination::Kept),
    };
    Decision::Unschedulable { message, nomination }
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

/// Decides without anything kept.
#[cfg(test)]
pub(crate) fn schedule(pod: &PodInfo, world: &World, tie: u64) -> Decision {
    Planner::default().schedule(pod, &mut world.clone(), tie)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
