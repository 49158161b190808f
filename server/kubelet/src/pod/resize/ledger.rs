//! What is allocated to which pod of the node, and which resizes wait for room. Pure.
//!
//! One ledger for all pods: two that ask for the same room at the same time are judged one after the other.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Allocation;
use super::admit::{DEFERRED, Refusal, judge};
use crate::container::amounts::{Side, total};
use crate::container::qos::{self, Class};
use crate::context::Machine;
use crate::pod::state::terminal;

/// What was decided about a resize.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// The pod may have this from now on.
    Allocated(Arc<Allocation>),
    /// It may not, or not yet.
    Refused(Refusal),
}

/// The allocations of a node.
#[derive(Debug, Default)]
pub struct Ledger {
    allocated: HashMap<String, Arc<Allocation>>,
    /// Uids, those that wait longest first.
    pending: Vec<String>,
}

fn uid(pod: &Pod) -> &str {
    pod.metadata.uid.as_deref().unwrap_or_default()
}

impl Ledger {
    /// Takes a pod that the kubelet takes, with what an earlier process has allocated to it.
    pub fn take(&mut self, pod: &Pod, allocation: Arc<Allocation>) {
        let resizing = allocation.differs(pod);
        self.allocated.insert(uid(pod).to_owned(), allocation);
        if resizing {
            self.wait(pod);
        }
    }

    /// Takes note of what a changed object asks for.
    pub fn changed(&mut self, pod: &Pod) {
        match self.allocated.get(uid(pod)) {
            Some(allocation) if allocation.differs(pod) => self.wait(pod),
            _ => self.pending.retain(|waiting| waiting != uid(pod)),
        }
    }

    /// Gives back what a pod had.
    pub fn forget(&mut self, uid: &str) {
        self.allocated.remove(uid);
        self.pending.retain(|waiting| waiting != uid);
    }

    /// What a pod has.
    pub fn allocation(&self, uid: &str) -> Option<&Allocation> {
        self.allocated.get(uid).map(AsRef::as_ref)
    }

    /// A pod with what it was allocated in place of what it asks for, if the kubelet has taken it.
    pub fn applied(&self, pod: &Arc<Pod>) -> Option<Arc<Pod>> {
        Some(self.allocated.get(uid(pod))?.applied(pod))
    }

    fn wait(&mut self, pod: &Pod) {
        if !self.pending.iter().any(|waiting| waiting == uid(pod)) {
            self.pending.push(uid(pod).to_owned());
        }
    }

    /// Whether there is anything to judge.
    pub fn is_waiting(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Judges all that waits, with the pods of the node as they are now. What is deferred goes on waiting; what is
    /// infeasible does not, until its object changes.
    pub fn judge(&mut self, pods: &[Arc<Pod>], allocatable: &Machine) -> Vec<(String, Verdict)> {
        let alive = |pod: &&Arc<Pod>| !terminal(pod);
        let mut waiting: Vec<Arc<Pod>> = self
            .pending
            .iter()
            .filter_map(|waiting| pods.iter().filter(alive).find(|pod| uid(pod) == waiting))
            .filter(|pod| pod.metadata.deletion_timestamp.is_none())
            .cloned()
            .collect();
        self.pending = waiting.iter().map(|pod| uid(pod).to_owned()).collect();
        waiting.sort_by_key(|pod| self.rank(pod));
        let mut verdicts = Vec::new();
        for pod in waiting {
            let others = pods.iter().filter(alive).filter(|other| uid(other) != uid(&pod));
            let others: Vec<Arc<Pod>> = others.filter_map(|other| self.applied(other)).collect();
            let verdict = match judge(&pod, &others, allocatable) {
                Ok(()) => {
                    let allocation = Arc::new(Allocation::of(&pod));
                    self.allocated.insert(uid(&pod).to_owned(), allocation.clone());
                    Verdict::Allocated(allocation)
                }
                Err(refusal) => Verdict::Refused(refusal),
            };
            if !matches!(&verdict, Verdict::Refused(refusal) if refusal.reason == DEFERRED) {
                self.pending.retain(|waiting| waiting != uid(&pod));
            }
            verdicts.push((uid(&pod).to_owned(), verdict));
        }
        verdicts
    }

    /// Upstream's `sortPendingResizes`: who asks for no more than before, then by priority, then by class; the rest in the
    /// order in which they came.
    fn rank(&self, pod: &Arc<Pod>) -> (bool, Reverse<i32>, bool) {
        let before = self.applied(pod);
        let more = before.is_some_and(|before| {
            ["cpu", "memory"]
                .iter()
                .any(|name| total(pod, Side::Requests, name) > total(&before, Side::Requests, name))
        });
        let priority = pod.spec.as_ref().and_then(|spec| spec.priority).unwrap_or(0);
        (more, Reverse(priority), qos::class(pod) != Class::Guaranteed)
    }
}
