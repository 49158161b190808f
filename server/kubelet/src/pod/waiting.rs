//! Critical pods that wait until others have ended for them. Pure.

use std::collections::HashSet;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::manager::uid;

/// Each with the uids of those that have to end.
#[derive(Default)]
pub struct Waiting(Vec<(Arc<Pod>, HashSet<String>)>);

impl Waiting {
    /// Has a pod wait for the end of others. Returns those of them that waited themselves: they do no longer.
    pub fn add(&mut self, pod: Arc<Pod>, victims: &[Arc<Pod>]) -> Vec<Arc<Pod>> {
        let victims: HashSet<String> = victims.iter().map(|victim| uid(victim)).collect();
        let all = std::mem::take(&mut self.0);
        let (given_up, waiting): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(waiting, _)| victims.contains(&uid(waiting)));
        self.0 = waiting;
        self.0.push((pod, victims));
        given_up.into_iter().map(|(pod, _)| pod).collect()
    }

    /// Whether somebody waits for this one's end.
    pub fn awaits(&self, gone: &str) -> bool {
        self.0.iter().any(|(_, victims)| victims.contains(gone))
    }

    /// Whether a pod waits. What its object says is read when it is taken; one that is deleted waits no longer.
    pub fn update(&mut self, pod: &Arc<Pod>) -> bool {
        let Some((waiting, victims)) = self.0.iter_mut().find(|(waiting, _)| uid(waiting) == uid(pod)) else {
            return false;
        };
        *waiting = pod.clone();
        if pod.metadata.deletion_timestamp.is_some() {
            victims.clear();
        }
        true
    }

    /// The object of a pod is gone.
    pub fn forget(&mut self, gone: &str) {
        self.0.retain(|(pod, _)| uid(pod) != gone);
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Those for which all have ended that had to: they wait no longer.
    pub fn ready(&mut self, alive: &HashSet<String>) -> Vec<Arc<Pod>> {
        let all = std::mem::take(&mut self.0);
        let (ready, waiting): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|(_, victims)| victims.is_disjoint(alive));
        self.0 = waiting;
        ready.into_iter().map(|(pod, _)| pod).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn pod(uid: &str) -> Arc<Pod> {
        Arc::new(serde_json::from_value(json!({"metadata": {"uid": uid}})).unwrap())
    }

    fn uids(pods: &[Arc<Pod>]) -> Vec<String> {
        pods.iter().map(|pod| uid(pod)).collect()
    }

    fn alive(uids: &[&str]) -> HashSet<String> {
        uids.iter().map(|uid| (*uid).to_owned()).collect()
    }

    #[test]
    fn a_pod_waits_until_all_have_ended() {
        let mut waiting = Waiting::default();
        assert!(waiting.add(pod("a"), &[pod("x"), pod("y")]).is_empty());
        assert!(waiting.add(pod("b"), &[pod("z")]).is_empty());
        assert!(waiting.awaits("x") && waiting.awaits("z") && !waiting.awaits("a"));
        assert!(waiting.update(&pod("a")) && !waiting.update(&pod("x")));
        assert!(waiting.ready(&alive(&["a", "b", "y", "z"])).is_empty());
        assert_eq!(uids(&waiting.ready(&alive(&["a", "b", "z"]))), ["a"]);
        assert!(!waiting.update(&pod("a")), "it is taken");
        waiting.forget("b");
        assert!(waiting.is_empty() && !waiting.awaits("z"));
    }

    #[test]
    fn who_waits_may_have_to_go_itself() {
        let mut waiting = Waiting::default();
        waiting.add(pod("a"), &[pod("x")]);
        assert_eq!(uids(&waiting.add(pod("b"), &[pod("a"), pod("x")])), ["a"]);
        assert!(waiting.awaits("a"), "its end is told by its object");
        assert!(!waiting.update(&pod("a")));
        assert!(waiting.ready(&alive(&["a", "b"])).is_empty());
        assert_eq!(uids(&waiting.ready(&alive(&["b"]))), ["b"]);
    }

    #[test]
    fn one_that_is_deleted_waits_for_nobody() {
        let mut waiting = Waiting::default();
        waiting.add(pod("a"), &[pod("x")]);
        let deleted = json!({"metadata": {"uid": "a", "deletionTimestamp": "2026-01-01T00:00:00Z"}});
        assert!(waiting.update(&Arc::new(serde_json::from_value(deleted).unwrap())));
        let ready = waiting.ready(&alive(&["a", "x"]));
        assert!(ready[0].metadata.deletion_timestamp.is_some(), "as it is now");
    }
}
