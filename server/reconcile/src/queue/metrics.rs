//! What upstream's queues tell of themselves (`component-base/metrics/prometheus/workqueue`). What is counted is counted where
//! it happens; how much there is to do, and since when, is looked at when somebody asks.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Named {
    name: &'static str,
}

/// What a queue has to do at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Load {
    /// Items that wait.
    pub depth: usize,
    /// How long those that are worked on have been so, together.
    pub unfinished_seconds: f64,
    /// How long the oldest of them has.
    pub longest_seconds: f64,
}

/// A queue that can be looked at.
pub(super) trait Measured: Send + Sync {
    /// What it has to do.
    fn load(&self) -> Load;
}

/// The counts of one queue. Those of queues of one name are the same.
pub(super) struct Meter {
    pub adds: Counter,
    pub retries: Counter,
    pub waited: Histogram,
    pub worked: Histogram,
}

struct Metrics {
    adds: Family<Named, Counter>,
    retries: Family<Named, Counter>,
    waited: Family<Named, Histogram, fn() -> Histogram>,
    worked: Family<Named, Histogram, fn() -> Histogram>,
    queues: Mutex<Vec<(&'static str, Weak<dyn Measured>)>>,
}

fn durations() -> Histogram {
    Histogram::new(exponential_buckets(10e-9, 10.0, 10))
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics {
        adds: Family::default(),
        retries: Family::default(),
        waited: Family::new_with_constructor(durations as fn() -> Histogram),
        worked: Family::new_with_constructor(durations as fn() -> Histogram),
        queues: Mutex::default(),
    };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    // the encoder appends _total to counters
    registry.register("workqueue_adds", "Total number of adds handled by workqueue", metrics.adds.clone());
    registry.register(
        "workqueue_retries",
        "Total number of retries handled by workqueue",
        metrics.retries.clone(),
    );
    registry.register(
        "workqueue_queue_duration_seconds",
        "How long in seconds an item stays in workqueue before being requested",
        metrics.waited.clone(),
    );
    registry.register(
        "workqueue_work_duration_seconds",
        "How long in seconds processing an item from workqueue takes",
        metrics.worked.clone(),
    );
    registry.register_collector(Box::new(Queues));
    metrics
});

/// The counts of the queue `name`, which is looked at for as long as it is there.
pub(super) fn meter(name: &'static str, queue: Weak<dyn Measured>) -> Meter {
    let (metrics, labels) = (&*METRICS, Named { name });
    let mut queues = metrics.queues.lock();
    queues.retain(|(_, queue)| queue.strong_count() > 0);
    queues.push((name, queue));
    Meter {
        adds: metrics.adds.get_or_create_owned(&labels),
        retries: metrics.retries.get_or_create_owned(&labels),
        waited: metrics.waited.get_or_create_owned(&labels),
        worked: metrics.worked.get_or_create_owned(&labels),
    }
}

/// Looks at all queues.
#[derive(Debug)]
struct Queues;

impl Queues {
    fn loads() -> BTreeMap<&'static str, Load> {
        // none of them is looked at, nor dropped, under the lock: who makes a queue waits for it
        let queues: Vec<(&'static str, Arc<dyn Measured>)> = {
            let queues = METRICS.queues.lock();
            queues.iter().filter_map(|(name, queue)| Some((*name, queue.upgrade()?))).collect()
        };
        queues.iter().fold(BTreeMap::new(), |mut loads, (name, queue)| {
            let (load, all) = (queue.load(), loads.entry(*name).or_insert_with(Load::default));
            all.depth += load.depth;
            all.unfinished_seconds += load.unfinished_seconds;
            all.longest_seconds = all.longest_seconds.max(load.longest_seconds);
            loads
        })
    }
}

impl Collector for Queues {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let depth = Family::<Named, Gauge>::default();
        let unfinished = Family::<Named, Gauge<f64, AtomicU64>>::default();
        let longest = Family::<Named, Gauge<f64, AtomicU64>>::default();
        for (name, load) in Self::loads() {
            let labels = Named { name };
            depth.get_or_create(&labels).set(i64::try_from(load.depth).unwrap_or(i64::MAX));
            unfinished.get_or_create(&labels).set(load.unfinished_seconds);
            longest.get_or_create(&labels).set(load.longest_seconds);
        }
        gauge(&mut encoder, "workqueue_depth", "Current depth of workqueue.", &depth)?;
        gauge(
            &mut encoder,
            "workqueue_unfinished_work_seconds",
            "How many seconds of work has done that is in progress and hasn't been observed by work_duration. Large values \
             indicate stuck threads. One can deduce the number of stuck threads by observing the rate at which this increases.",
            &unfinished,
        )?;
        gauge(
            &mut encoder,
            "workqueue_longest_running_processor_seconds",
            "How many seconds has the longest running processor for workqueue been running.",
            &longest,
        )
    }
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    family: &impl EncodeMetric,
) -> fmt::Result {
    family.encode(encoder.encode_descriptor(name, help, None, family.metric_type())?)
}
