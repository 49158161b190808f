//! Reads all nodes at a steady pace: the one timer of the addon.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use parking_lot::RwLock;
use sampan_addon::{Context, Drain, Reporter};
use sampan_reconcile::{Informer, Key};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::history::{History, Subject};
use crate::store::Store;
use crate::summary::Summary;

/// After the first reading the second comes so soon, that usage is known without waiting for a whole period.
const FIRST: Duration = Duration::from_millis(1500);
/// Nodes read at one time.
const PARALLEL: usize = 16;

/// Readings, shared with the requests.
pub struct Readings {
    /// The last ones.
    pub store: Store,
    /// Earlier ones.
    pub history: History,
}

/// The sampler.
pub struct Sampler {
    client: kube::Client,
    health: Reporter,
    /// Nodes of the cluster.
    pub nodes: Informer<Node>,
    /// Pods of the cluster.
    pub pods: Informer<Pod>,
    /// What was read.
    pub readings: RwLock<Readings>,
    /// Time between two readings.
    pub resolution: Duration,
}

impl Sampler {
    /// Reads every `resolution`, and keeps readings for `history`.
    pub fn new(context: &Context, resolution: Duration, history: Duration) -> Arc<Self> {
        let rounds = history.as_secs().div_ceil(resolution.as_secs().max(1));
        let history = History::new(usize::try_from(rounds).unwrap_or(1));
        Arc::new(Self {
            client: context.client.clone(),
            health: context.health.clone(),
            nodes: context.informers.of(),
            pods: context.informers.of(),
            readings: RwLock::new(Readings { store: Store::default(), history }),
            resolution,
        })
    }

    /// Reads until the drain.
    pub async fn run(&self, drain: Drain) {
        let work = async {
            tokio::join!(self.nodes.synced(), self.pods.synced());
            // a node registers itself with its first breath
            self.nodes.until(|nodes| !nodes.is_empty()).await;
            self.read().await;
            let mut ticks = interval_at(Instant::now() + FIRST, self.resolution);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                self.read().await;
            }
        };
        tokio::select! {
            () = drain.wait() => {}
            () = work => {}
        }
    }

    async fn read(&self) {
        let reads = self.nodes.keys().into_iter().map(|Key { name, .. }| async {
            let read = self.summary(&name).await;
            (name, read)
        });
        let reads: Vec<_> = futures::stream::iter(reads).buffer_unordered(PARALLEL).collect().await;
        let mut round = Vec::new();
        let mut failed = None;
        for (name, read) in reads {
            match read {
                Ok(summary) => round.push(summary),
                Err(error) => failed = Some((name, error)),
            }
        }
        self.keep(&round);
        match failed {
            None => self.health.healthy(),
            Some((name, error)) => {
                tracing::debug!(node = name, %error, "statistics not read");
                self.health.degraded(
                    format!("node {name}: its statistics could not be read: {error}"),
                    "see the kubelet's log: sampan logs kubelet",
                );
            }
        }
    }

    async fn summary(&self, node: &str) -> Result<Summary, kube::Error> {
        let path = format!("/api/v1/nodes/{node}/proxy/stats/summary");
        let request = http::Request::get(path).body(Vec::new()).map_err(kube::Error::HttpError)?;
        self.client.request(request).await
    }

    fn keep(&self, round: &[Summary]) {
        let mut readings = self.readings.write();
        let Readings { store, history } = &mut *readings;
        store.put(round);
        let pair = |nano_cores: u64, bytes: u64| {
            #[allow(clippy::cast_precision_loss)] // seven digits are enough for a chart
            let pair = [nano_cores as f32 / 1e9, bytes as f32];
            pair
        };
        let mut column = HashMap::new();
        for name in store.nodes() {
            if let Some(usage) = store.node(name) {
                column.insert(Subject::Node(name.to_owned()), pair(usage.cpu_nano_cores, usage.memory_bytes));
            }
        }
        for key in store.pods() {
            let Some(used) = store.pod(key) else { continue };
            let sum = |of: fn(&crate::store::Usage) -> u64| used.iter().map(|(_, usage)| of(usage)).sum();
            let pair = pair(sum(|usage| usage.cpu_nano_cores), sum(|usage| usage.memory_bytes));
            column.insert(Subject::Pod(key.clone()), pair);
        }
        let lives = |subject: &Subject| match subject {
            Subject::Node(name) => self.nodes.get(&Key::cluster(name)).is_some(),
            Subject::Pod((namespace, name)) => self.pods.get(&Key::namespaced(namespace, name)).is_some(),
        };
        history.add(Timestamp::now(), column, lives);
    }
}
