//! The pause after failures in a row: 10 s, doubling, ten minutes at most (upstream's `backoff_utils.go`). Pure.
//!
//! Failed pods tell it by themselves, after a restart too. Those that were taken away do not: they are remembered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::Pod;
use sampan_reconcile::{HashMap, Key};

use super::pod::{absolute_failures, failed, finished_at, tracked};
use crate::words::{phase, uid};

const FIRST: Duration = Duration::from_secs(10);
const MAX: Duration = Duration::from_secs(600);
/// So many failures of a Job are remembered: the pause is the longest long before.
const MOST: usize = 64;

/// When pods of a Job failed, by their uids; with it the Job's own uid.
type Failures = (String, BTreeMap<String, Timestamp>);

/// The failures of all Jobs since their last successes.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<Key, Failures>);

impl Memory {
    /// Takes what the pods tell; when those failed that no success has followed. A pod that is taken away has failed if it
    /// was to be counted; one that lost its finalizer before was not wanted any more.
    pub fn look(&mut self, key: &Key, job: &Job, spec: &JobSpec, pods: &[Arc<Pod>]) -> Vec<Timestamp> {
        let (owner, known) = self.0.entry(key.clone()).or_default();
        if owner != uid(&job.metadata) {
            uid(&job.metadata).clone_into(owner);
            known.clear();
        }
        let counts = |pod: &Pod| tracked(pod) || pod.metadata.deletion_timestamp.is_none();
        for pod in pods.iter().filter(|pod| failed(pod, spec) && counts(pod)) {
            known.insert(uid(&pod.metadata).to_owned(), finished_at(pod));
        }
        let success = pods.iter().filter(|pod| phase(pod) == "Succeeded").map(|pod| finished_at(pod)).max();
        known.retain(|_, end| Some(*end) > success);
        while known.len() > MOST {
            let oldest = known.iter().min_by_key(|(_, end)| **end).map(|(pod, _)| pod.clone());
            known.retain(|pod, _| Some(pod) != oldest.as_ref());
        }
        known.values().copied().collect()
    }

    /// The Job is gone or has finished.
    pub fn forget(&mut self, key: &Key) {
        self.0.remove(key);
    }
}

/// What is left of the pause after `failures` of which the last was at `last`; `None` if it is over.
fn left(failures: usize, last: Timestamp, now: Timestamp) -> Option<Duration> {
    let exponent = u32::try_from(failures.checked_sub(1)?).unwrap_or(u32::MAX);
    let pause = FIRST.saturating_mul(2u32.saturating_pow(exponent)).min(MAX);
    let passed = now.duration_since(last);
    let passed = if passed.is_negative() { Duration::ZERO } else { passed.unsigned_abs() };
    pause.checked_sub(passed).filter(|left| !left.is_zero())
}

/// The pause of the whole Job, by its failures since the last success.
pub(super) fn of_job(failures: &[Timestamp], now: Timestamp) -> Option<Duration> {
    left(failures.len(), *failures.iter().max()?, now)
}

/// The pause of one index, by the pod of it that failed last.
pub(super) fn of_index(failed: Option<&Pod>, now: Timestamp) -> Option<Duration> {
    let pod = failed?;
    left(usize::try_from(absolute_failures(pod) + 1).unwrap_or(1), finished_at(pod), now)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::job::pod::FINALIZER;
    use serde_json::json;

    #[test]
    fn failures_outlive_their_pods_but_not_a_success() {
        let job = |id: &str| -> Job { serde_json::from_value(json!({"metadata": {"uid": id}})).unwrap() };
        let spec: JobSpec = serde_json::from_value(json!({"template": {}})).unwrap();
        let at = |minute: i64| Timestamp::UNIX_EPOCH + Duration::from_secs(60 * minute.unsigned_abs());
        let pod = |id: &str, phase: &str, minute: i64, deleted: bool, tracked: bool| -> Arc<Pod> {
            let mut meta = json!({"uid": id, "creationTimestamp": at(minute).to_string()});
            if deleted {
                meta["deletionTimestamp"] = json!(at(minute).to_string());
            }
            meta["finalizers"] = if tracked { json!([FINALIZER]) } else { json!([]) };
            Arc::new(serde_json::from_value(json!({"metadata": meta, "status": {"phase": phase}})).unwrap())
        };
        let (key, mut memory) = (Key::namespaced("a", "j"), Memory::default());
        let first = [
            pod("failed", "Failed", 1, false, true),
            pod("evicted", "Running", 2, true, true),
            pod("unwanted", "Running", 3, true, false),
            pod("unwanted too", "Failed", 3, true, false),
        ];
        assert_eq!(memory.look(&key, &job("j"), &spec, &first), [at(2), at(1)]);
        let counted = [pod("failed", "Failed", 1, false, false)];
        assert_eq!(memory.look(&key, &job("j"), &spec, &counted), [at(2), at(1)]);
        assert_eq!(Memory::default().look(&key, &job("j"), &spec, &counted), [at(1)], "after a restart");
        let better = [pod("ended", "Succeeded", 1, false, true)];
        assert_eq!(memory.look(&key, &job("j"), &spec, &better), [at(2)]);
        assert!(memory.look(&key, &job("another"), &spec, &[]).is_empty());
        memory.forget(&key);
        assert!(memory.0.is_empty());
    }

    #[test]
    fn pauses_double() {
        let last = Timestamp::UNIX_EPOCH;
        let cases = [
            (0, 0, None),
            (1, 0, Some(10)),
            (1, 4, Some(6)),
            (1, 10, None),
            (3, 0, Some(40)),
            (40, 0, Some(600)),
        ];
        for (failures, passed, expected) in cases {
            let now = last + Duration::from_secs(passed);
            assert_eq!(left(failures, last, now), expected.map(Duration::from_secs), "{failures} {passed}");
        }
    }
}
