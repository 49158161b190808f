//! The machine's part: what an allocation, a refusal and a result do to a pod's state, and what follows. Pure.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sampan_cri::Resources;

use super::admit::{INFEASIBLE, Refusal};
use super::plan::{Change, Step, Target, changes, has_to_restart, steps};
use super::report::message;
use super::{Allocation, Notice, Work};
use crate::container::amounts::{Side, shared_limits, with_shared};
use crate::container::qos;
use crate::pod::machine::{Effect, RETRY, kill, spec_grace, wake_at};
use crate::pod::state::{Kind, Phase, PodState, Slot, slots_of};

/// Takes a new object, with the allocated resources in place of those that it asks for; containers keep their state by
/// name, new ephemeral ones appear. A resize is judged a moment later: until then the status speaks of the object before,
/// or who waits for `observedGeneration` would take what is there still for the resize's outcome.
pub fn take(state: &mut PodState, object: Arc<Pod>) {
    let unjudged = object.metadata.deletion_timestamp.is_none() && state.resize.allocation.differs(&object);
    state.resize.before = state.observed_generation().filter(|_| unjudged);
    let pod = state.resize.allocation.applied(&object);
    for fresh in slots_of(&pod) {
        match state.slot_mut(&fresh.spec.name) {
            Some(slot) => slot.renew(fresh.spec),
            None => state.slots.push(fresh),
        }
    }
    if !state.resize.allocation.differs(&object) {
        state.resize.pending = None;
    }
    (state.pod, state.desired) = (pod, object);
}

/// There is room: from now on the pod is what was asked for.
pub fn allocated(
    state: &mut PodState,
    allocation: Arc<Allocation>,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    state.resize.allocation = allocation;
    take(state, state.desired.clone());
    let generation = state.desired.metadata.generation;
    state.resize.pending = None;
    state.resize.progress =
        Some(Notice { reason: String::new(), message: String::new(), generation, since: now });
    if let Work::Failed(_) = state.resize.work {
        state.resize.work = Work::Idle;
    }
    let text = message("started", &state.desired, generation, "");
    effects.push(Effect::Tell(false, "ResizeStarted".into(), text, None));
}

/// There is no room.
pub fn refused(state: &mut PodState, refusal: &Refusal, now: Timestamp, effects: &mut Vec<Effect>) {
    state.resize.before = None;
    let generation = state.desired.metadata.generation;
    let before = state.resize.pending.take().filter(|notice| notice.reason == refusal.reason);
    if before.as_ref().is_none_or(|before| before.generation != generation) {
        let event = if refusal.reason == INFEASIBLE { "ResizeInfeasible" } else { "ResizeDeferred" };
        let text = message(refusal.reason, &state.desired, generation, &refusal.message);
        effects.push(Effect::Tell(true, event.into(), text, None));
    }
    state.resize.pending = Some(Notice {
        reason: refusal.reason.to_owned(),
        message: refusal.message.clone(),
        generation,
        since: before.map_or(now, |before| before.since),
    });
}

/// What the runtime has done, and why it did not do the rest.
pub fn carried_out(
    state: &mut PodState,
    done: Vec<Step>,
    error: Option<String>,
    now: Timestamp,
    effects: &mut Vec<Effect>,
) {
    let nothing = ResourceRequirements::default();
    for step in done {
        let mut shared = shared_limits(&state.pod, &nothing);
        match step.target {
            Target::Pod => merge(state.resize.cgroup.get_or_insert_default(), step.set),
            Target::Container { name, id, resource, request, limit } => {
                let slot = state.slot_mut(&name).filter(|slot| slot.run().is_some_and(|run| run.id == id));
                if let Some(slot) = slot {
                    slot.shared.remove(resource);
                    slot.shared.extend(shared.remove_entry(resource).filter(|_| limit.is_none()));
                    put(&mut slot.actuated, Side::Requests, resource, request);
                    put(&mut slot.actuated, Side::Limits, resource, limit);
                }
            }
        }
    }
    state.resize.work = error.as_ref().map_or(Work::Idle, |_| Work::Failed(now + RETRY));
    if let Some(error) = error {
        failed(state, error, now, effects);
    }
}

fn failed(state: &mut PodState, error: String, now: Timestamp, effects: &mut Vec<Effect>) {
    let before = state.resize.progress.take();
    let generation = before.as_ref().map_or(state.pod.metadata.generation, |before| before.generation);
    let again = before.filter(|before| before.reason == "Error");
    if again.as_ref().is_none_or(|again| again.message != error) {
        let text = message("error", &state.pod, generation, &error);
        effects.push(Effect::Tell(true, "ResizeError".into(), text, None));
    }
    let since = again.map_or(now, |again| again.since);
    state.resize.progress = Some(Notice { reason: "Error".to_owned(), message: error, generation, since });
}

fn merge(limits: &mut Resources, set: Resources) {
    limits.cpu_shares = set.cpu_shares.or(limits.cpu_shares);
    limits.cpu_quota = set.cpu_quota.or(limits.cpu_quota);
    limits.cpu_period = set.cpu_period.or(limits.cpu_period);
    limits.memory_limit_bytes = set.memory_limit_bytes.or(limits.memory_limit_bytes);
}

fn put(resources: &mut ResourceRequirements, side: Side, name: &str, amount: Option<Quantity>) {
    let list = match side {
        Side::Requests => &mut resources.requests,
        Side::Limits => &mut resources.limits,
    };
    match amount {
        Some(amount) => _ = list.get_or_insert_default().insert(name.to_owned(), amount),
        None => {
            list.as_mut().map(|list| list.remove(name));
            list.take_if(|list| list.is_empty());
        }
    }
}

/// All that run but those of `kubectl debug`.
fn is_resizable(slot: &Slot) -> bool {
    slot.kind != Kind::Ephemeral
}

/// Brings what runs to what is allocated: stops what has to start anew, then has the rest changed.
pub fn advance(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) {
    let grace = spec_grace(&state.pod);
    for slot in state.slots.iter_mut().filter(|slot| is_resizable(slot)) {
        let (before, after) = (with_shared(&slot.actuated, &slot.shared), wanted(&state.pod, slot));
        if matches!(slot.phase, Phase::Running(_)) && has_to_restart(&slot.spec, &before, &after) {
            slot.again = true;
            kill(slot, grace, format!("Container {} resize requires restart", slot.spec.name), effects);
        }
    }
    match state.resize.work {
        Work::Busy => return,
        Work::Failed(until) if now < until => return wake_at(state, until),
        Work::Failed(_) | Work::Idle => state.resize.work = Work::Idle,
    }
    // the pod's cgroup may shrink only when what has to stop has stopped
    if state.slots.iter().any(|slot| slot.again && matches!(slot.phase, Phase::Stopping(_))) {
        return;
    }
    let steps = to_do(state);
    if !steps.is_empty() {
        state.resize.work = Work::Busy;
        effects.push(Effect::Resize(steps));
    }
}

/// What a container is to have, with what it shares of the pod's limits.
fn wanted(pod: &Pod, slot: &Slot) -> ResourceRequirements {
    let own = slot.spec.resources.clone().unwrap_or_default();
    with_shared(&own, &shared_limits(pod, &own))
}

fn to_do(state: &PodState) -> Vec<Step> {
    let Some(before) = state.resize.cgroup.as_ref().filter(|_| !state.resize.allocation.is_empty()) else {
        return Vec::new();
    };
    let nothing = ResourceRequirements::default();
    let running = state.slots.iter().filter(|slot| is_resizable(slot)).filter_map(|slot| {
        let Phase::Running(run) = &slot.phase else { return None };
        let (before, after) = (with_shared(&slot.actuated, &slot.shared), wanted(&state.pod, slot));
        let changed = ["cpu", "memory"].iter().any(|name| changes(&before, &after, name));
        changed.then(|| Change {
            name: &slot.spec.name,
            id: &run.id,
            before,
            after,
            own: slot.spec.resources.as_ref().unwrap_or(&nothing),
            // the score of the kernel's killer is not changed in place, nor is it upstream
            sizes: qos::container_resources(&state.pod, &slot.spec, 0),
        })
    });
    let running: Vec<Change<'_>> = running.collect();
    steps(before, &qos::pod_resources(&state.pod), &running)
}

/// Says that a resize is under way, or is done.
pub fn settle(state: &mut PodState, now: Timestamp, effects: &mut Vec<Effect>) {
    let under_way = state.resize.work != Work::Idle
        || state.slots.iter().any(|slot| slot.again)
        || !to_do(state).is_empty();
    match (&state.resize.progress, under_way) {
        (Some(notice), false) => {
            let text = message("completed", &state.pod, notice.generation, "");
            effects.push(Effect::Tell(false, "ResizeCompleted".into(), text, None));
            state.resize.progress = None;
        }
        (None, true) => {
            let generation = state.pod.metadata.generation;
            let (reason, message) = (String::new(), String::new());
            state.resize.progress = Some(Notice { reason, message, generation, since: now });
        }
        _ => {}
    }
}
