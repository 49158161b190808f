//! Pods that fit nowhere: what they are told, who makes room for them, and the node that they wait for.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use sampan_reconcile::{Deed, EventType, reference};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Output, Scheduler, State, delete, patch_status};
use crate::hints;
use crate::metrics::{self, Outcome};
use crate::plan::Nomination;
use crate::pods::PodInfo;
use crate::preempt::{Preemption, outdone};
use crate::queue::Hope;

impl Scheduler {
    pub(super) fn unschedulable(
        &self,
        state: &mut State,
        pod: Arc<PodInfo>,
        message: String,
        nomination: Nomination,
        hope: Hope,
    ) {
        tracing::info!(pod = pod.key(), why = message, "pod fits nowhere");
        metrics::attempt(&pod, Outcome::Unschedulable, state.queue.tries(&pod.key()));
        self.say_failed(&pod, message.clone());
        let nominated = match nomination {
            Nomination::Kept => None,
            Nomination::Cleared => {
                forget(state, &pod.key());
                pod.nominated().map(|_| Value::Null)
            }
            Nomination::New(preemption) => {
                self.preempt(state, &pod, &preemption);
                Some(preemption.node.into())
            }
        };
        let told = Told { reason: "Unschedulable", message, nominated };
        state.calls.push(Box::pin(tell(self.client.clone(), pod.clone(), told)));
        state.queue.failed(pod, hope, Instant::now());
    }

    /// Whether the pod fits somewhere could not be told.
    pub(super) fn failed(&self, state: &mut State, pod: Arc<PodInfo>, message: String) {
        tracing::warn!(pod = pod.key(), why = message, "not scheduled");
        metrics::attempt(&pod, Outcome::Error, state.queue.tries(&pod.key()));
        self.say_failed(&pod, message.clone());
        let told = Told { reason: "SchedulerError", message, nominated: None };
        state.calls.push(Box::pin(tell(self.client.clone(), pod.clone(), told)));
        state.queue.failed(pod, Hope::Time, Instant::now());
    }

    fn preempt(&self, state: &mut State, pod: &Arc<PodInfo>, preemption: &Preemption) {
        let uid = pod.pod.metadata.uid.as_deref().unwrap_or_default();
        let Some(node) = state.world.node(&preemption.node) else { return };
        let victims = preemption.victims.iter().filter_map(|key| node.pods.get(key)).cloned();
        let (victims, outdone): (Vec<_>, _) = (victims.collect(), outdone(pod, node, &state.world));
        metrics::preempted(victims.len());
        for victim in victims {
            let text = format!("Preempted by pod {uid} on node {}", preemption.node);
            let deed = Deed { kind: EventType::Normal, reason: "Preempted", action: "Preempting" };
            self.recorder(pod).event(&reference(&*victim.pod), Some(reference(&*pod.pod)), deed, text);
            state.world.leaving.extend(victim.pod.metadata.uid.clone());
            state.calls.push(Box::pin(evict(self.client.clone(), victim, pod.clone())));
        }
        // who is less important waits for this node no longer, and may find another
        for other in outdone {
            state.world.forget_nominated(&other.key());
            state.queue.world_changed_for(|waiting| waiting.key() == other.key());
            state.calls.push(Box::pin(unnominate(self.client.clone(), other)));
        }
        state.world.nominate(pod, Some(&preemption.node));
    }
}

/// A pod waits for no node any more; others may have what was kept for it.
pub(super) fn forget(state: &mut State, key: &str) {
    let Some(node) = state.world.nominated_node(key).map(str::to_owned) else { return };
    state.world.forget_nominated(key);
    let (world, node) = (&state.world, state.world.node(&node));
    state.queue.world_changed_for(|pod| hints::pod_left(pod, node, None, world));
}

/// The pod's status says which node it waits for. That it says nothing yet does not undo what was decided.
pub(super) fn follow(state: &mut State, old: Option<&Pod>, pod: &Arc<PodInfo>) {
    let before = old.and_then(|old| old.status.as_ref()?.nominated_node_name.as_deref());
    let now = pod.nominated();
    match now {
        Some(_) => state.world.nominate(pod, now),
        None if before.is_some_and(|node| !node.is_empty()) => forget(state, &pod.key()),
        None => {}
    }
}

async fn evict(client: Client, victim: Arc<PodInfo>, by: Arc<PodInfo>) -> Output {
    let scheduler = by.spec().scheduler_name.as_deref().unwrap_or(crate::pods::DEFAULT_SCHEDULER);
    let condition = json!({"status": {"conditions": [{
        "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
        "message": format!("{scheduler}: preempting to accommodate a higher priority pod"),
        "observedGeneration": victim.pod.metadata.generation,
        "lastTransitionTime": sampan_reconcile::now(),
    }]}});
    // a victim that is gone already has made its room
    let _ = patch_status(&client, &victim, condition).await;
    match delete(&client, &victim).await {
        Ok(()) => {}
        Err(kube::Error::Api(status)) if status.code == 404 => {}
        Err(error) => {
            tracing::warn!(pod = victim.key(), %error, "victim of a preemption not deleted");
            return Output::Spared(victim, by.key());
        }
    }
    Output::Told
}

/// A victim stays: who was to have its room looks anew.
pub(super) fn spared(state: &mut State, victim: &PodInfo, by: &str) {
    left(state, &victim.pod);
    state.queue.world_changed_for(|waiting| waiting.key() == by);
}

/// A pod is gone, or stays after all.
pub(super) fn left(state: &mut State, pod: &Pod) {
    if let Some(uid) = &pod.metadata.uid {
        state.world.leaving.remove(uid);
    }
}

async fn unnominate(client: Client, pod: Arc<PodInfo>) -> Output {
    let patch = json!({"status": {"nominatedNodeName": null}});
    if let Err(error) = patch_status(&client, &pod, patch).await {
        tracing::debug!(pod = pod.key(), %error, "nomination not taken back");
    }
    Output::Told
}

/// What a pod's status is to say.
struct Told {
    /// Of the condition `PodScheduled`.
    reason: &'static str,
    message: String,
    /// The node that it waits for, if that changes.
    nominated: Option<Value>,
}

/// Tells the pod's owner through its status why it has no node, unless it says so already.
async fn tell(client: Client, pod: Arc<PodInfo>, told: Told) -> Output {
    let Told { reason, message, nominated } = told;
    let conditions = pod.pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let said = conditions.into_iter().flatten().any(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some(reason)
            && condition.message.as_deref() == Some(&message)
    });
    if said && nominated.is_none() {
        return Output::Told;
    }
    let mut status = json!({"conditions": [{
        "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
        "observedGeneration": pod.pod.metadata.generation,
        "lastTransitionTime": sampan_reconcile::now(),
    }]});
    if let Some(node) = nominated {
        status["nominatedNodeName"] = node;
    }
    if let Err(error) = patch_status(&client, &pod, json!({ "status": status })).await {
        tracing::debug!(pod = pod.key(), %error, "condition not written");
    }
    Output::Told
}
