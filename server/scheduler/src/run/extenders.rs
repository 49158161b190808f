//! Extenders are asked one after the other, between the filters and the choice, while nothing else is decided (upstream's
//! `findNodesThatPassExtenders`, `prioritizeNodes` and `callExtenders`). API calls that are under way go on meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use k8s_openapi::api::core::v1::Node;

use super::{Output, State};
use crate::extenders::{Extender, Filtered};
use crate::filters::Refusal;
use crate::plan::{Decision, Looked, Nowhere, Possible};
use crate::pods::PodInfo;
use crate::preempt::{self, Candidates};
use crate::queue::Hope;
use crate::world::World;

/// An extender failed, and is done without.
pub(super) fn skipped(extender: &Extender, pod: &PodInfo, why: &str) {
    tracing::info!(
        pod = pod.key(),
        extender = extender.name(),
        why,
        "skipping extender as it returned error and has ignorable flag set"
    );
}

/// Waits for an answer while API calls go on.
async fn meanwhile<T>(
    calls: &mut FuturesUnordered<BoxFuture<'static, Output>>,
    late: &mut VecDeque<Output>,
    answer: impl Future<Output = T>,
) -> T {
    tokio::pin!(answer);
    loop {
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            Some(output) = calls.next() => late.push_back(output),
        }
    }
}

/// Decides as the planner does, with those who are interested in the pod.
pub(super) async fn decide(
    state: &mut State,
    pod: &Arc<PodInfo>,
    asked: &[&Arc<Extender>],
) -> (Decision, Hope) {
    let (nowhere, hope) = match state.planner.look(pod, &mut state.world) {
        Looked::Done(decision) => return (decision, Hope::Hint),
        Looked::Nowhere(nowhere) => (nowhere, Hope::Hint),
        Looked::Possible(possible) => match place(state, pod, asked, possible).await {
            Ok(Placed::Here(decision)) => return (decision, Hope::Hint),
            Ok(Placed::Nowhere(nowhere, hope)) => (nowhere, hope),
            Err(message) => return (Decision::Failed { message }, Hope::Time),
        },
    };
    (make_room(state, pod, asked, nowhere).await, hope)
}

enum Placed {
    Here(Decision),
    Nowhere(Nowhere, Hope),
}

/// An error is what an extender that is needed says.
async fn place(
    state: &mut State,
    pod: &Arc<PodInfo>,
    asked: &[&Arc<Extender>],
    mut possible: Possible,
) -> Result<Placed, String> {
    if let Some(promised) = possible.nominated {
        let mut only = Possible { places: vec![promised], ..Possible::default() };
        if filter(state, pod, asked, &mut only).await.is_ok() && !only.places.is_empty() {
            possible.places = only.places;
            return Ok(best(state, pod, asked, possible, Hope::Hint).await);
        }
    }
    let before = possible.places.len();
    filter(state, pod, asked, &mut possible).await?;
    // an extender gives no hints about what may help
    let hope = if possible.places.len() == before { Hope::Hint } else { Hope::Event };
    Ok(best(state, pod, asked, possible, hope).await)
}

async fn best(
    state: &mut State,
    pod: &Arc<PodInfo>,
    asked: &[&Arc<Extender>],
    possible: Possible,
    hope: Hope,
) -> Placed {
    let add = match possible.places.len() > 1 {
        true => scores(state, pod, asked, &possible.places).await,
        false => BTreeMap::new(),
    };
    match state.planner.choose(pod, &mut state.world, &possible.places, &add, state.tie) {
        Some(decision) => Placed::Here(decision),
        None => Placed::Nowhere(state.planner.nowhere(pod, &mut state.world, possible.refused), hope),
    }
}

fn nodes(world: &World, places: &[usize]) -> Vec<Arc<Node>> {
    places.iter().filter_map(|place| world.node_at(*place)).map(|node| node.node.clone()).collect()
}

/// Takes away what extenders refuse.
async fn filter(
    state: &mut State,
    pod: &Arc<PodInfo>,
    asked: &[&Arc<Extender>],
    possible: &mut Possible,
) -> Result<(), String> {
    for extender in asked.iter().filter(|extender| extender.filters()) {
        if possible.places.is_empty() {
            break;
        }
        let nodes = nodes(&state.world, &possible.places);
        let answer = extender.filter(&pod.pod, &nodes);
        match meanwhile(&mut state.calls, &mut state.late, answer).await {
            Ok(filtered) => keep(possible, filtered, &state.world),
            Err(why) if extender.is_ignorable() => skipped(extender, pod, &why),
            Err(why) => return Err(why),
        }
    }
    Ok(())
}

fn keep(possible: &mut Possible, mut filtered: Filtered, world: &World) {
    let kept: BTreeSet<String> = std::mem::take(&mut filtered.nodes).into_iter().collect();
    for place in std::mem::take(&mut possible.places) {
        let name = world.node_at(place).map(|node| node.name()).unwrap_or_default();
        if kept.contains(name) {
            possible.places.push(place);
            continue;
        }
        let refusal = match (filtered.unresolvable.remove(name), filtered.failed.remove(name)) {
            (Some(why), _) => Refusal::fixed(why),
            (None, Some(why)) => Refusal::preemptable(vec![why]),
            (None, None) => Refusal::all(Vec::new()),
        };
        possible.refused.insert(place, refusal);
    }
}

/// What extenders add to the scores; one that fails adds nothing.
async fn scores(
    state: &mut State,
    pod: &Arc<PodInfo>,
    asked: &[&Arc<Extender>],
    places: &[usize],
) -> BTreeMap<usize, i64> {
    let nodes = nodes(&state.world, places);
    let scoring = asked.iter().filter(|extender| extender.prioritizes());
    let answers = join_all(scoring.map(|extender| extender.prioritize(&pod.pod, &nodes)));
    let mut add: BTreeMap<usize, i64> = BTreeMap::new();
    for answer in meanwhile(&mut state.calls, &mut state.late, answers).await {
        let scores = answer.unwrap_or_else(|why| {
            tracing::info!(pod = pod.key(), why, "an extender's scores do not count");
            Vec::new()
        });
        for (name, score) in scores {
            if let Some(node) = state.world.node(&name) {
                let total = add.entry(node.slot).or_default();
                *total = total.saturating_add(score);
            }
        }
    }
    add
}

/// Preemption, of which extenders may take candidates away.
async fn make_room(
    state: &mut State,
    pod: &Arc<PodInfo>,
    asked: &[&Arc<Extender>],
    nowhere: Nowhere,
) -> Decision {
    if !pod.profile.preempts {
        return nowhere.kept();
    }
    let found = preempt::candidates(pod, &mut state.world, &nowhere.refused, state.tie);
    let mut candidates = match found {
        Ok(candidates) => candidates,
        Err(outcome) => return nowhere.after(outcome),
    };
    for extender in asked.iter().filter(|extender| extender.preempts()) {
        let world = &state.world;
        let there = |node: &str| -> Vec<Arc<PodInfo>> {
            world.node(node).into_iter().flat_map(|node| node.pods.values().cloned()).collect()
        };
        let answer = extender.preempt(&pod.pod, &candidates, there);
        let answer = meanwhile(&mut state.calls, &mut state.late, answer).await;
        match answer.and_then(|left| with_victims(left, extender.is_ignorable())) {
            Ok(left) => candidates = left,
            Err(why) if extender.is_ignorable() => skipped(extender, pod, &why),
            Err(why) => return nowhere.not_preempted(&why),
        }
        if candidates.is_empty() {
            break;
        }
    }
    nowhere.after(preempt::pick(candidates))
}

/// Nodes where nobody would go are none to make room on.
fn with_victims(mut candidates: Candidates, ignorable: bool) -> Result<Candidates, String> {
    match candidates.iter().find(|(_, victims)| victims.pods.is_empty()) {
        Some((node, _)) if !ignorable => Err(format!("expected at least one victim pod on node {node:?}")),
        _ => {
            candidates.retain(|(_, victims)| !victims.pods.is_empty());
            Ok(candidates)
        }
    }
}
