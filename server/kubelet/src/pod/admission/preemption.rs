//! Which pods have to go so that a critical one has room: upstream's `pkg/kubelet/preemption`. Pure.
//!
//! Of the pods that are less important as few as possible go, and of those that ask for as little as possible; where it
//! can be had from pods of a lower quality of service, those of a higher one stay.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::Refusal;
use super::fit::{Shortage, request};
use crate::container::qos::{self, Class};
use crate::pod::manager::MIRROR;

/// The reason of a critical pod for which there is no room to be made.
pub(super) const UNEXPECTED: &str = "UnexpectedAdmissionError";

/// `scheduling.SystemCriticalPriority`.
const CRITICAL: i32 = 2_000_000_000;

/// What is missing, by resource; never nothing of one.
type Missing = Vec<(String, i128)>;

fn priority(pod: &Pod) -> Option<i32> {
    pod.spec.as_ref()?.priority
}

fn is_mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR))
}

/// Whether others have to go for this pod.
pub fn is_critical(pod: &Pod) -> bool {
    is_mirror(pod) || priority(pod).is_some_and(|priority| priority >= CRITICAL)
}

/// Upstream's `Preemptable`. What only mirrors something cannot be ended here.
fn yields(pod: &Pod, to: &Pod) -> bool {
    let less = || priority(pod).zip(priority(to)).is_some_and(|(own, other)| other > own);
    !is_mirror(pod) && (is_critical(to) && !is_critical(pod) || less())
}

/// The pods that have to go.
pub(super) fn make_room(
    pod: &Pod,
    there: &[Arc<Pod>],
    shortages: &[Shortage],
) -> Result<Vec<Arc<Pod>>, Refusal> {
    let missing: Missing = shortages.iter().map(|short| (short.name.clone(), short.missing())).collect();
    let of = |class: Class| -> Vec<Arc<Pod>> {
        there.iter().filter(|other| yields(other, pod) && qos::class(other) == class).cloned().collect()
    };
    let (effort, burstable, guaranteed) =
        (of(Class::BestEffort), of(Class::Burstable), of(Class::Guaranteed));
    let chosen = || {
        let all = less(&missing, effort.iter().chain(&burstable).chain(&guaranteed));
        if !all.is_empty() {
            return Err(all);
        }
        let guaranteed = nearest(&guaranteed, less(&missing, effort.iter().chain(&burstable)))?;
        let burstable = nearest(&burstable, less(&missing, effort.iter().chain(&guaranteed)))?;
        let effort = nearest(&effort, less(&missing, burstable.iter().chain(&guaranteed)))?;
        Ok(effort.into_iter().chain(burstable).chain(guaranteed).collect())
    };
    chosen().map_err(|missing| impossible(&missing))
}

fn impossible(missing: &Missing) -> Refusal {
    let each = |(name, amount): &(String, i128)| format!("(res: {name}, q: {amount}), ");
    let each: String = missing.iter().map(each).collect();
    let why = format!(
        "Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [{each}]"
    );
    (UNEXPECTED.into(), why)
}

/// What is missing still when these have gone.
fn less<'a>(missing: &Missing, gone: impl Iterator<Item = &'a Arc<Pod>> + Clone) -> Missing {
    let left = missing.iter().map(|(name, amount)| {
        let freed: i128 = gone.clone().map(|pod| request(pod, name)).sum();
        (name.clone(), amount - freed)
    });
    left.filter(|(_, amount)| *amount > 0).collect()
}

/// One after the other the pod that comes nearest to what is missing, of two as near the smaller one.
///
/// # Errors
/// What is missing when all have gone.
fn nearest(pods: &[Arc<Pod>], mut missing: Missing) -> Result<Vec<Arc<Pod>>, Missing> {
    let (mut left, mut chosen) = (pods.to_vec(), Vec::new());
    while !missing.is_empty() {
        let size = |pod: &Pod| (request(pod, "memory"), request(pod, "cpu"));
        let nearer = |one: &(usize, &Arc<Pod>), other: &(usize, &Arc<Pod>)| {
            distance(one.1, &missing)
                .total_cmp(&distance(other.1, &missing))
                .then_with(|| size(one.1).cmp(&size(other.1)))
                // of two alike upstream takes the later
                .then_with(|| other.0.cmp(&one.0))
        };
        let Some((index, _)) = left.iter().enumerate().min_by(nearer) else { return Err(missing) };
        let pod = left.swap_remove(index);
        missing = less(&missing, std::iter::once(&pod));
        chosen.push(pod);
    }
    Ok(chosen)
}

/// How far a pod is from freeing what is missing: each resource counts alike, by the part that it leaves missing.
fn distance(pod: &Pod, missing: &Missing) -> f64 {
    let part = |(name, amount): &(String, i128)| {
        let left = (amount - request(pod, name)).max(0);
        (left as f64 / *amount as f64).powi(2)
    };
    missing.iter().map(part).sum()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::api::core::v1::Node;
    use serde_json::json;

    use super::super::{Verdict, judge};
    use super::*;

    fn pod(name: &str, priority: i32, cpu: &str, guaranteed: bool) -> Arc<Pod> {
        let amounts = if cpu.is_empty() { json!({}) } else { json!({"cpu": cpu, "memory": "1Mi"}) };
        let limits = if guaranteed { amounts.clone() } else { json!({}) };
        let container = json!({"name": "c", "resources": {"requests": amounts, "limits": limits}});
        let spec = json!({"priority": priority, "containers": [container]});
        let pod = json!({"metadata": {"name": name, "uid": name}, "spec": spec});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// Who has to go for a pod that asks for so much CPU, on a node with 4 CPUs and room for 5 pods.
    fn gone(there: &[Arc<Pod>], priority: i32, cpu: &str) -> Result<Vec<String>, String> {
        gone_beside(there, &[], priority, cpu)
    }

    fn gone_beside(
        staying: &[Arc<Pod>],
        leaving: &[Arc<Pod>],
        priority: i32,
        cpu: &str,
    ) -> Result<Vec<String>, String> {
        let node: Node = serde_json::from_value(json!({"metadata": {}, "status": {
            "allocatable": {"cpu": "4", "memory": "1Gi", "pods": "5"}}}))
        .unwrap();
        match judge(&pod("critical", priority, cpu, false), staying, leaving, &node) {
            Verdict::Admitted => Ok(Vec::new()),
            Verdict::Refused((reason, why)) => Err(format!("{reason} {why}")),
            Verdict::After(victims) => {
                Ok(victims.iter().map(|victim| victim.metadata.name.clone().unwrap()).collect())
            }
        }
    }

    #[test]
    fn as_few_and_as_small_as_possible_go() {
        let there = [
            pod("small", 0, "500m", false),
            pod("middle", 0, "1", false),
            pod("large", 0, "1500m", false),
            pod("sure", 0, "1", true),
        ];
        for (cpu, expected) in [
            ("500m", &["small"][..]),
            ("600m", &["middle"]),
            ("1200m", &["large"]),
            ("2", &["large", "small"]),
            // what the others do not free
            ("4", &["middle", "large", "small", "sure"]),
        ] {
            let mut gone = gone(&there, CRITICAL, cpu).unwrap();
            let mut expected = expected.to_vec();
            gone.sort();
            expected.sort_unstable();
            assert_eq!(gone, expected, "{cpu}");
        }
        let short = gone(&there, 1000, "600m").unwrap_err();
        assert!(short.starts_with("OutOfcpu "), "{short}");
    }

    #[test]
    fn who_is_as_important_stays() {
        let there = [pod("low", 0, "1", false), pod("peer", CRITICAL, "3", false)];
        assert_eq!(gone(&there, CRITICAL, "1").unwrap(), ["low"]);
        assert_eq!(gone(&there, CRITICAL + 1000, "3").unwrap(), ["peer"]);
        let why = gone(&there, CRITICAL, "2").unwrap_err();
        let end = "no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]";
        assert!(why.starts_with("UnexpectedAdmissionError Unexpected error ") && why.ends_with(end), "{why}");
    }

    #[test]
    fn who_leaves_already_frees_what_it_has() {
        let staying = [pod("waits", CRITICAL, "1", false), pod("small", 0, "500m", false)];
        let leaving = [pod("large", 0, "2500m", false)];
        for (cpu, expected) in [
            // the 1.5 that the waiting pod leaves of them
            ("1500m", &["large"][..]),
            ("2500m", &["large"]),
            ("2600m", &["small", "large"]),
        ] {
            assert_eq!(gone_beside(&staying, &leaving, CRITICAL, cpu).unwrap(), expected, "{cpu}");
        }
        assert!(gone_beside(&staying, &leaving, CRITICAL, "3100m").is_err());
        assert_eq!(gone_beside(&staying[1..], &leaving, CRITICAL, "1").unwrap(), [""; 0], "fits beside all");
        let short = gone_beside(&staying, &leaving, 0, "1").unwrap_err();
        assert!(short.starts_with("OutOfcpu "), "only critical ones wait: {short}");
    }

    #[test]
    fn a_place_is_made_by_one_that_asks_for_nothing() {
        let mut there: Vec<_> = ["a", "b", "c", "d"].iter().map(|name| pod(name, 0, "100m", true)).collect();
        there.push(pod("effort", 0, "", false));
        assert_eq!(gone(&there, CRITICAL, "100m").unwrap(), ["effort"]);
    }
}
