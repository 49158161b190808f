//! One pod, the world, a decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::resource::v1::ResourceClaim;

use crate::columns::{Columns, Row};
use crate::config::Plugin;
use crate::devices::Grant;
use crate::filters::{self, Filters, Refusal};
use crate::pods::PodInfo;
use crate::preempt::{self, Outcome, Preemption};
use crate::scores::{self, Scale};
use crate::volumes::Choice;
use crate::world::{NodeInfo, World};

/// What is to be done with a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// It runs on this node.
    Bind {
        /// The node's name.
        node: String,
        /// The volumes that have to be bound for it first.
        choice: Choice,
        /// The claims that it has to be given first.
        grants: Vec<Grant>,
    },
    /// It fits nowhere (now).
    Unschedulable {
        /// Upstream's words: `0/1 nodes are available: …`.
        message: String,
        /// Which node it waits for from now on.
        nomination: Nomination,
        /// A claim that keeps it off some nodes, and is to give back what it has.
        deallocate: Option<Arc<ResourceClaim>>,
    },
    /// Whether it fits somewhere cannot be told; it is tried again.
    Failed {
        /// What went wrong.
        message: String,
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

/// What a look at all nodes says of a pod. Places hold until the world changes.
pub(crate) enum Looked {
    /// It can run somewhere, as far as the plugins can tell.
    Possible(Possible),
    /// It cannot.
    Nowhere(Nowhere),
    /// There is nothing to look at.
    Done(Decision),
}

/// Places where the pod can run, and those that passed the first look and not the second.
#[derive(Clone, Debug, Default)]
pub(crate) struct Possible {
    /// In order.
    pub places: Vec<usize>,
    /// That of the node which was promised to it, if it is one of them.
    pub nominated: Option<usize>,
    pub refused: BTreeMap<usize, Refusal>,
}

/// Why a pod has no node.
#[derive(Debug)]
pub(crate) struct Nowhere {
    /// How many nodes there are.
    nodes: usize,
    message: String,
    /// By node.
    pub refused: Vec<(String, Refusal)>,
    /// What DynamicResources says after the filters.
    said: Option<&'static str>,
    deallocate: Option<Arc<ResourceClaim>>,
}

/// Decides, and keeps what the next pod of the same shape can use.
#[derive(Default)]
pub struct Planner {
    columns: Columns,
}

impl Planner {
    /// Decides for one pod. Among equally good nodes `tie` chooses. The world is the same afterwards.
    pub fn schedule(&mut self, pod: &PodInfo, world: &mut World, tie: u64) -> Decision {
        let nowhere = match self.look(pod, world) {
            Looked::Done(decision) => return decision,
            Looked::Nowhere(nowhere) => nowhere,
            Looked::Possible(mut possible) => {
                if let Some(place) = possible.nominated {
                    possible.places = vec![place];
                }
                match self.choose(pod, world, &possible.places, &BTreeMap::new(), tie) {
                    Some(decision) => return decision,
                    None => self.nowhere(pod, world, possible.refused),
                }
            }
        };
        if !pod.profile.preempts {
            return nowhere.kept();
        }
        let outcome = preempt::find(pod, world, &nowhere.refused, tie);
        nowhere.after(outcome)
    }

    /// Asks all filters.
    pub(crate) fn look(&mut self, pod: &PodInfo, world: &mut World) -> Looked {
        if world.is_empty() {
            let message = "no nodes available to schedule pods".to_owned();
            let nomination = Nomination::Kept;
            return Looked::Done(Decision::Unschedulable { message, nomination, deallocate: None });
        }
        world.keep_counters(pod);
        if scores::is_social(pod, world) {
            scores::DEFAULT_KEYS.iter().for_each(|key| world.keep_counter(key));
        }
        let rows = self.columns.rows(pod, world);
        match possible(pod, world, rows) {
            Ok(possible) => Looked::Possible(possible),
            Err(Stop::Nowhere(why)) => Looked::Nowhere(Nowhere::general(&why, pod, world)),
            Err(Stop::Failed(message)) => Looked::Done(Decision::Failed { message }),
        }
    }

    /// The best of the places, with what others `add` to the score of each; `None` if there is none.
    pub(crate) fn choose(
        &mut self,
        pod: &PodInfo,
        world: &mut World,
        places: &[usize],
        add: &BTreeMap<usize, i64>,
        tie: u64,
    ) -> Option<Decision> {
        let rows = self.columns.rows(pod, world);
        let node = best(pod, places, rows, world, add, tie)?;
        let (choice, grants) = needs(pod, node, world);
        Some(Decision::Bind { node: node.name().to_owned(), choice, grants })
    }

    /// Why no node takes the pod; `second` are refusals by place of those that passed the first look.
    pub(crate) fn nowhere(
        &mut self,
        pod: &PodInfo,
        world: &mut World,
        mut second: BTreeMap<usize, Refusal>,
    ) -> Nowhere {
        let rows = self.columns.rows(pod, world);
        let mut why = |place: usize| rows[place].as_ref().err().cloned().or_else(|| second.remove(&place));
        let refused: Vec<(String, Refusal)> = world
            .nodes()
            .enumerate()
            .filter_map(|(place, node)| Some((node.name().to_owned(), why(place)?)))
            .collect();
        let message = available(world.len(), refused.iter().flat_map(|(_, refusal)| &refusal.reasons));
        Nowhere::new(message, refused, pod, world)
    }
}

/// What DynamicResources says after the filters of a pod that waits for no claim, or has none.
fn nothing_to_deallocate(pod: &PodInfo) -> Option<&'static str> {
    pod.profile.filters(Plugin::DynamicResources).then_some("no new claims to deallocate")
}

impl Nowhere {
    fn new(message: String, refused: Vec<(String, Refusal)>, pod: &PodInfo, world: &World) -> Self {
        let deallocate = filters::devices::concern(pod).then(|| filters::devices::to_deallocate(pod, world));
        let said = match &deallocate {
            Some(Some(_)) => Some("deallocation of ResourceClaim completed"),
            Some(None) => Some("still not schedulable"),
            None => nothing_to_deallocate(pod),
        };
        Self { nodes: world.len(), message, refused, said, deallocate: deallocate.flatten() }
    }

    /// For a reason that is about the pod and not about any node.
    fn general(why: &str, pod: &PodInfo, world: &World) -> Self {
        let refused = world.nodes().map(|node| (node.name().to_owned(), Refusal::fixed(why))).collect();
        let said = nothing_to_deallocate(pod);
        let message = format!("0/{} nodes are available: {why}.", world.len());
        Self { nodes: world.len(), message, refused, said, deallocate: None }
    }

    /// With what those say who were to help.
    fn decision(self, more: Option<String>, nomination: Nomination) -> Decision {
        let said: Vec<String> = self.said.map(str::to_owned).into_iter().chain(more).collect();
        let message = match said.is_empty() {
            true => self.message,
            false => format!("{} {}", self.message, said.join(", ")),
        };
        Decision::Unschedulable { message, nomination, deallocate: self.deallocate }
    }

    /// Preemption was not tried.
    pub(crate) fn kept(self) -> Decision {
        self.decision(None, Nomination::Kept)
    }

    /// Preemption was tried. What is said is told only where it does not help.
    pub(crate) fn after(self, outcome: Outcome) -> Decision {
        match outcome {
            Outcome::Found(preemption) => Decision::Unschedulable {
                message: self.message,
                nomination: Nomination::New(preemption),
                deallocate: self.deallocate,
            },
            Outcome::Nowhere(reasons) => {
                let why = available(self.nodes, reasons.iter());
                self.decision(Some(format!("preemption: {why}")), Nomination::Cleared)
            }
            Outcome::NotEligible(why) => self.not_preempted(why),
        }
    }

    /// Preemption was not possible at all.
    pub(crate) fn not_preempted(self, why: &str) -> Decision {
        self.decision(Some(format!("preemption: {why}")), Nomination::Kept)
    }
}

/// Why there are no places to look at.
enum Stop {
    /// The pod fits on no node.
    Nowhere(String),
    /// There is no telling.
    Failed(String),
}

fn possible(pod: &PodInfo, world: &mut World, rows: &[Row]) -> Result<Possible, Stop> {
    let mut refused = BTreeMap::new();
    if !filters::is_local(pod, world) {
        let filters = Filters::new(pod, world).map_err(Stop::Nowhere)?;
        for (place, node) in world.nodes().enumerate().filter(|(place, _)| rows[*place].is_ok()) {
            match filters.check(node) {
                Ok(()) => {}
                Err(refusal) if refusal.fatal => return Err(Stop::Failed(refusal.reasons.join(", "))),
                Err(refusal) => _ = refused.insert(place, refusal),
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
    let places = (0..rows.len()).filter(open).collect();
    Ok(Possible { places, nominated, refused })
}

fn best<'w>(
    pod: &PodInfo,
    places: &[usize],
    rows: &[Row],
    world: &'w World,
    add: &BTreeMap<usize, i64>,
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
    if !add.is_empty() {
        let more = places.iter().map(|place| add.get(place).copied().unwrap_or(0));
        totals.iter_mut().zip(more).for_each(|(total, more)| *total = total.saturating_add(more));
    }
    let highest = *totals.iter().max()?;
    let equal = totals.iter().filter(|total| **total == highest).count();
    let mut best = (0..totals.len()).filter(|at| totals[*at] == highest);
    world.node_at(places[best.nth(tie as usize % equal)?])
}

/// What the pod has to have before it runs on the node.
fn needs(pod: &PodInfo, node: &NodeInfo, world: &World) -> (Choice, Vec<Grant>) {
    if pod.claims.is_empty() && !pod.uses_devices() {
        return Default::default();
    }
    let filters = Filters::new(pod, world);
    filters.map(|filters| (filters.choice(node), filters.grants(node))).unwrap_or_default()
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
