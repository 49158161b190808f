//! How long the store takes for writes and admission for its steps, under upstream's names: what a dashboard reads of etcd
//! it reads of this store.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use parking_lot::RwLock;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use sampan_store::{Action, Condition, Write, WriteError};

use super::Operation;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stored {
    operation: &'static str,
    group: String,
    resource: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfStep {
    r#type: &'static str,
    operation: &'static str,
    rejected: &'static str,
}

struct Metrics {
    took: Family<Stored, Histogram, fn() -> Histogram>,
    errors: Family<Stored, Counter>,
    /// By bucket: the labels' texts are made once.
    buckets: RwLock<HashMap<(Arc<str>, Act), Histogram>>,
    steps: Family<OfStep, Histogram, fn() -> Histogram>,
}

fn durations() -> Histogram {
    Histogram::new([0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0])
}

fn steps() -> Histogram {
    Histogram::new([0.005, 0.025, 0.1, 0.5, 1.0, 2.5])
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let metrics = Metrics {
        took: Family::new_with_constructor(durations as fn() -> Histogram),
        errors: Family::default(),
        buckets: RwLock::default(),
        steps: Family::new_with_constructor(steps as fn() -> Histogram),
    };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    registry.register(
        "etcd_request_duration_seconds",
        "Latency of the store's writes in seconds for each operation and object type",
        metrics.took.clone(),
    );
    registry.register(
        "etcd_request_errors",
        "Failed writes of the store for each operation and object type",
        metrics.errors.clone(),
    );
    registry.register(
        "apiserver_admission_step_admission_duration_seconds",
        "Admission sub-step latency histogram in seconds, broken out for each operation and step type (validate or admit)",
        metrics.steps.clone(),
    );
    metrics
});

/// What the store is asked to do, in the words of upstream's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Act {
    Create,
    Update,
    Delete,
}

impl Act {
    /// What a write is.
    pub(super) fn of(write: &Write) -> Self {
        match (&write.action, &write.condition) {
            (Action::Delete(_), _) => Self::Delete,
            (Action::Put(_), Condition::Absent) => Self::Create,
            (Action::Put(_), _) => Self::Update,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }
}

/// Counts a write to a bucket.
pub(super) fn wrote(bucket: Arc<str>, act: Act, took: Duration, error: Option<&WriteError>) {
    let took = took.as_secs_f64();
    let metrics = &*METRICS;
    let labels = || {
        let (resource, group) = bucket.split_once('.').unwrap_or((&bucket, ""));
        Stored { operation: act.name(), group: group.to_owned(), resource: resource.to_owned() }
    };
    // who lost a race has not failed
    if matches!(error, Some(WriteError::Full(_) | WriteError::Closed | WriteError::Failed(_))) {
        metrics.errors.get_or_create_owned(&labels()).inc();
    }
    let key = (bucket.clone(), act);
    if let Some(known) = metrics.buckets.read().get(&key) {
        known.observe(took);
        return;
    }
    let histogram = metrics.took.get_or_create_owned(&labels());
    histogram.observe(took);
    metrics.buckets.write().insert(key, histogram);
}

/// Counts one step of admission: all mutating plugins, or all validating ones.
pub(super) fn admitted(step: &'static str, operation: Operation, took: Duration, rejected: bool) {
    let operation = operation.name();
    let labels = OfStep { r#type: step, operation, rejected: if rejected { "true" } else { "false" } };
    METRICS.steps.get_or_create(&labels).observe(took.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use sampan_store::{Key, Value};

    use super::*;

    #[test]
    fn writes_are_counted_by_what_they_do() {
        let write = |condition, action| Write { key: Key::new("boats.sea", "a"), condition, action };
        let value = || Action::Put(Value { bytes: b"{}".to_vec(), at: 0 });
        assert_eq!(Act::of(&write(Condition::Absent, value())), Act::Create);
        assert_eq!(Act::of(&write(Condition::Revision(1), value())), Act::Update);
        wrote("boats.sea".into(), Act::Create, Duration::from_millis(1), None);
        wrote("boats.sea".into(), Act::Create, Duration::from_millis(1), Some(&WriteError::Missing));
        wrote("boats.sea".into(), Act::Create, Duration::from_millis(1), Some(&WriteError::Closed));
        let text = sampan_process::metrics::encode();
        let labels = "{operation=\"create\",group=\"sea\",resource=\"boats\"}";
        assert!(text.contains(&format!("etcd_request_duration_seconds_count{labels} 3\n")), "{text}");
        assert!(text.contains(&format!("etcd_request_errors_total{labels} 1\n")), "{text}");
    }
}
