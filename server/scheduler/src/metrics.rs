//! What upstream's scheduler tells of itself (`pkg/scheduler/metrics`): its stable metrics and the latency of pods.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use crate::pods::PodInfo;
use crate::queue::{Lengths, Tries};

const PENDING: &str = "Number of pending pods, by the queue type. 'active' means number of pods in activeQ; \
    'backoff' means number of pods in backoffQ; 'unschedulable' means number of pods in unschedulablePods that the \
    scheduler attempted to schedule and failed; 'gated' is the number of unschedulable pods that the scheduler never \
    attempted to schedule because they are gated.";
const ATTEMPTS: &str = "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be \
    scheduled, while 'error' means an internal scheduler problem.";
const LATENCY: &str = "E2e latency for a pod being scheduled, from the time the pod enters the scheduling queue and \
    might involve multiple scheduling attempts.";

/// What an attempt led to.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Outcome {
    /// The pod is bound.
    Scheduled,
    /// It fits nowhere.
    Unschedulable,
    /// That could not be told, or the binding was refused.
    Error,
}

impl EncodeLabelValue for Outcome {
    fn encode(
        &self,
        encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        let text = match self {
            Self::Scheduled => "scheduled",
            Self::Unschedulable => "unschedulable",
            Self::Error => "error",
        };
        text.encode(encoder)
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Attempt {
    result: Outcome,
    profile: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Waits {
    queue: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Tried {
    attempts: String,
}

/// One of `pending`.
fn waits(family: &Family<Waits, Gauge>, queue: &'static str) -> Gauge {
    family.get_or_create_owned(&Waits { queue })
}

/// From a millisecond on.
fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15))
}

/// From ten milliseconds on.
fn latencies() -> Histogram {
    Histogram::new(exponential_buckets(0.01, 2.0, 20))
}

struct Metrics {
    attempts: Family<Attempt, Counter>,
    took: Family<Attempt, Histogram, fn() -> Histogram>,
    decided: Histogram,
    tries: Histogram,
    latency: Family<Tried, Histogram, fn() -> Histogram>,
    preemptions: Counter,
    victims: Histogram,
    active: Gauge,
    back_off: Gauge,
    unschedulable: Gauge,
    gated: Gauge,
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let pending = Family::<Waits, Gauge>::default();
    let metrics = Metrics {
        attempts: Family::default(),
        took: Family::new_with_constructor(durations as fn() -> Histogram),
        decided: durations(),
        tries: Histogram::new(exponential_buckets(1.0, 2.0, 5)),
        latency: Family::new_with_constructor(latencies as fn() -> Histogram),
        preemptions: Counter::default(),
        victims: Histogram::new(exponential_buckets(1.0, 2.0, 7)),
        active: waits(&pending, "active"),
        back_off: waits(&pending, "backoff"),
        unschedulable: waits(&pending, "unschedulable"),
        gated: waits(&pending, "gated"),
    };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    let registry = registry.sub_registry_with_prefix("scheduler");
    registry.register("pending_pods", PENDING, pending);
    // the encoder appends _total to counters
    registry.register("schedule_attempts", ATTEMPTS, metrics.attempts.clone());
    let help = "Scheduling attempt latency in seconds (scheduling algorithm + binding)";
    registry.register("scheduling_attempt_duration_seconds", help, metrics.took.clone());
    let help = "Scheduling algorithm latency in seconds";
    registry.register("scheduling_algorithm_duration_seconds", help, metrics.decided.clone());
    let help = "Number of attempts to successfully schedule a pod.";
    registry.register("pod_scheduling_attempts", help, metrics.tries.clone());
    registry.register("pod_scheduling_sli_duration_seconds", LATENCY, metrics.latency.clone());
    let help = "Total preemption attempts in the cluster till now";
    registry.register("preemption_attempts", help, metrics.preemptions.clone());
    registry.register("preemption_victims", "Number of selected preemption victims", metrics.victims.clone());
    metrics
});

/// How many pods wait, and how many of them are not tried at all.
pub fn pending(lengths: Lengths, gated: usize) {
    let set = |gauge: &Gauge, count: usize| _ = gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
    set(&METRICS.active, lengths.active);
    set(&METRICS.back_off, lengths.back_off);
    set(&METRICS.unschedulable, lengths.unschedulable);
    set(&METRICS.gated, gated);
}

/// It was decided about a pod.
pub fn decided(took: Duration) {
    METRICS.decided.observe(took.as_secs_f64());
}

/// An attempt has ended, of a pod whose `tries` are known. One that fits nowhere is looked at for who could make room.
pub fn attempt(pod: &PodInfo, result: Outcome, tries: Option<Tries>) {
    let attempt = Attempt { result, profile: pod.profile.name.clone() };
    METRICS.attempts.get_or_create(&attempt).inc();
    if let Some(tries) = tries {
        METRICS.took.get_or_create(&attempt).observe(tries.last.elapsed().as_secs_f64());
    }
    if result == Outcome::Unschedulable {
        METRICS.preemptions.inc();
    }
}

/// A pod has its node.
pub fn scheduled(tries: Tries) {
    METRICS.tries.observe(f64::from(tries.count));
    // more are one line: the label would have any number of values
    let attempts = if tries.count >= 15 { "15+".to_owned() } else { tries.count.to_string() };
    METRICS.latency.get_or_create(&Tried { attempts }).observe(tries.first.elapsed().as_secs_f64());
}

/// So many pods make room for another.
pub fn preempted(victims: usize) {
    METRICS.victims.observe(f64::from(u32::try_from(victims).unwrap_or(u32::MAX)));
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_scheduled_pod_is_told_of() {
        let now = Instant::now();
        scheduled(Tries { count: 2, first: now, last: now });
        pending(Lengths { active: 0, back_off: 1, unschedulable: 2 }, 3);
        let text = sampan_process::metrics::encode();
        for line in [
            "scheduler_pod_scheduling_attempts_bucket{le=\"1\"} 0",
            "scheduler_pod_scheduling_attempts_bucket{le=\"2\"} 1",
            "scheduler_pod_scheduling_sli_duration_seconds_count{attempts=\"2\"} 1",
            "scheduler_pending_pods{queue=\"unschedulable\"} 2",
            "scheduler_pending_pods{queue=\"gated\"} 3",
        ] {
            assert!(text.lines().any(|one| one == line), "{line} in\n{text}");
        }
    }
}
