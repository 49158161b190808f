//! Upstream's metrics of priority and fairness. Handles are looked up when a schema or level is first seen, so that a
//! request costs an atomic addition.

use std::sync::LazyLock;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfSchema {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Refused {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Waited {
    priority_level: String,
    flow_schema: String,
    execute: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfLevel {
    priority_level: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfKind {
    request_kind: &'static str,
}

struct Metrics {
    executing_of: [Gauge; 2],
    waiting_of: [Gauge; 2],
    dispatched: Family<OfSchema, Counter>,
    refused: Family<Refused, Counter>,
    waited: Family<Waited, Histogram, fn() -> Histogram>,
    waiting: Family<OfLevel, Gauge>,
    executing: Family<OfLevel, Gauge>,
    seats: Family<OfLevel, Gauge>,
    nominal: Family<OfLevel, Gauge>,
}

fn histogram() -> Histogram {
    Histogram::new([0.0, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0])
}

static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let of_kinds = || {
        let family = Family::<OfKind, Gauge>::default();
        let of = |request_kind| family.get_or_create_owned(&OfKind { request_kind });
        ([of("readOnly"), of("mutating")], family.clone())
    };
    let ((executing_of, executing_all), (waiting_of, waiting_all)) = (of_kinds(), of_kinds());
    let metrics = Metrics {
        executing_of,
        waiting_of,
        dispatched: Family::default(),
        refused: Family::default(),
        waited: Family::new_with_constructor(histogram as fn() -> Histogram),
        waiting: Family::default(),
        executing: Family::default(),
        seats: Family::default(),
        nominal: Family::default(),
    };
    let registry = sampan_process::metrics::registry();
    let mut registry = registry.lock();
    registry.register(
        "apiserver_current_inflight_requests",
        "Number of requests that are being executed, by request kind",
        executing_all,
    );
    registry.register(
        "apiserver_current_inqueue_requests",
        "Number of requests that wait to be executed, by request kind",
        waiting_all,
    );
    registry.register(
        "apiserver_flowcontrol_dispatched_requests",
        "Number of requests executed by API Priority and Fairness subsystem",
        metrics.dispatched.clone(),
    );
    registry.register(
        "apiserver_flowcontrol_rejected_requests",
        "Number of requests rejected by API Priority and Fairness subsystem",
        metrics.refused.clone(),
    );
    registry.register(
        "apiserver_flowcontrol_request_wait_duration_seconds",
        "Length of time a request spent waiting in its queue",
        metrics.waited.clone(),
    );
    registry.register(
        "apiserver_flowcontrol_current_inqueue_requests",
        "Number of requests currently pending in queues of the API Priority and Fairness subsystem",
        metrics.waiting.clone(),
    );
    registry.register(
        "apiserver_flowcontrol_current_executing_requests",
        "Number of requests in initial (for a WATCH) or any (for a non-WATCH) execution stage in the API Priority and Fairness subsystem",
        metrics.executing.clone(),
    );
    registry.register(
        "apiserver_flowcontrol_current_executing_seats",
        "Concurrency (number of seats) occupied by the currently executing requests in the API Priority and Fairness subsystem",
        metrics.seats.clone(),
    );
    registry.register(
        "apiserver_flowcontrol_nominal_limit_seats",
        "Nominal number of execution seats configured for each priority level",
        metrics.nominal.clone(),
    );
    // seats are lent one by one: what a level may use at least is what it has
    registry.register(
        "apiserver_flowcontrol_current_limit_seats",
        "current derived number of execution seats available to each priority level",
        metrics.nominal.clone(),
    );
    metrics
});

/// How many requests are executed that change something, or do not.
pub(super) fn in_flight(mutating: bool) -> &'static Gauge {
    let [reading, writing] = &METRICS.executing_of;
    if mutating { writing } else { reading }
}

/// How many wait.
pub(super) fn in_queue(mutating: bool) -> &'static Gauge {
    let [reading, writing] = &METRICS.waiting_of;
    if mutating { writing } else { reading }
}

/// What is counted of one schema.
pub(super) struct Counts {
    level: String,
    schema: String,
    dispatched: Counter,
    waited: Histogram,
}

impl Counts {
    pub(super) fn of(level: &str, schema: &str) -> Self {
        let labels = OfSchema { priority_level: level.to_owned(), flow_schema: schema.to_owned() };
        let dispatched = METRICS.dispatched.get_or_create(&labels).clone();
        let OfSchema { priority_level, flow_schema } = labels;
        let labels = Waited { priority_level, flow_schema, execute: "true" };
        let waited = METRICS.waited.get_or_create_owned(&labels);
        Self { level: level.to_owned(), schema: schema.to_owned(), dispatched, waited }
    }

    pub(super) fn dispatched(&self) {
        self.dispatched.inc();
    }

    /// It was in a queue for no time.
    pub(super) fn at_once(&self) {
        self.waited.observe(0.0);
    }

    pub(super) fn refused(&self, reason: &'static str) {
        let labels = Refused { priority_level: self.level.clone(), flow_schema: self.schema.clone(), reason };
        METRICS.refused.get_or_create(&labels).inc();
    }

    pub(super) fn waited(&self, time: Duration, executed: bool) {
        let execute = if executed { "true" } else { "false" };
        let labels = Waited { priority_level: self.level.clone(), flow_schema: self.schema.clone(), execute };
        METRICS.waited.get_or_create(&labels).observe(time.as_secs_f64());
    }
}

/// What is measured of one level.
#[derive(Clone)]
pub(super) struct Gauges {
    waiting: Gauge,
    executing: Gauge,
    seats: Gauge,
    nominal: Gauge,
}

impl Gauges {
    pub(super) fn of(level: &str) -> Self {
        let labels = OfLevel { priority_level: level.to_owned() };
        let of = |family: &Family<OfLevel, Gauge>| family.get_or_create(&labels).clone();
        Self {
            waiting: of(&METRICS.waiting),
            executing: of(&METRICS.executing),
            seats: of(&METRICS.seats),
            nominal: of(&METRICS.nominal),
        }
    }

    pub(super) fn waiting(&self, change: i64) {
        self.waiting.inc_by(change);
    }

    pub(super) fn executing(&self, seats: u32, begins: bool) {
        let sign = if begins { 1 } else { -1 };
        self.executing.inc_by(sign);
        self.seats.inc_by(sign * i64::from(seats));
    }

    pub(super) fn limit(&self, seats: u32) {
        self.nominal.set(seats.into());
    }
}
