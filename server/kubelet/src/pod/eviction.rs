//! Pods that the kubelet ends itself, and what their status says of it. Pure.

use super::machine::Effect;
use super::state::{Life, PodState};
use super::status::Verdict;

/// A pod is ended for others' sake, or for what it takes of the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// Reason of the event and of the pod's status.
    pub reason: &'static str,
    /// The sentence beside it.
    pub message: String,
    /// Seconds it has to end by itself, in place of its own.
    pub grace: Option<i64>,
    /// What the condition `DisruptionTarget` says, if it is to be there.
    pub disruption: Option<&'static str>,
}

impl Eviction {
    /// Of the condition `DisruptionTarget`.
    pub fn verdict(&self) -> Option<Verdict> {
        let why = self.disruption?;
        Some((true, Some("TerminationByKubelet".to_owned()), Some(why.to_owned())))
    }
}

/// Has the pod end. One that ends already is let end.
pub fn evict(state: &mut PodState, eviction: Eviction, effects: &mut Vec<Effect>) {
    if state.life != Life::Active || state.failure.is_some() {
        return;
    }
    let message = eviction.message.clone();
    state.failure = Some((eviction.reason.to_owned(), message.clone()));
    effects.push(Effect::Tell(true, eviction.reason.into(), message, None));
    state.eviction = Some(eviction);
}
