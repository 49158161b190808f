//! Questions about names that are not the cluster's: from the cache, or from upstream, asked once for all who wait.
//!
//! hickory-proto reads and writes the messages. Its resolver is not used: it gives lookups, not answers (no authority
//! section, no codes but its own), and keeps a cache without a bound of bytes.

mod cache;
mod exchange;
mod judge;
mod reply;
pub mod resolv;
#[cfg(test)]
mod tests;
mod upstream;
mod watchdog;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sampan_process::Tasks;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::name::{Name, Question};
use crate::query::{Query, code};
use crate::section::kind;
use cache::Cache;
pub use reply::{Bounds, Reply};
use upstream::{NoAnswer, Server, race};
pub use watchdog::Watchdog;

/// What is asked of an upstream: questions with the same key have the same answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The name.
    pub name: Name,
    /// The type.
    pub kind: u16,
    /// With DNSSEC records.
    pub dnssec: bool,
    /// Without validation.
    pub unchecked: bool,
}

impl Key {
    /// The key of a client's query.
    pub fn of(query: &Query) -> Self {
        Self {
            name: query.question.name(),
            kind: query.question.kind,
            dnssec: query.edns.is_some_and(|edns| edns.dnssec),
            unchecked: query.unchecked(),
        }
    }

    /// Whether a message's question is this one.
    pub fn is_asked_by(&self, question: &Question) -> bool {
        question.tail(0) == self.name.wire() && question.kind == self.kind && question.class == 1
    }
}

/// Where the names of a zone are asked for.
struct Route {
    // the root for everything else
    zone: Name,
    labels: usize,
    servers: ArcSwap<Vec<Arc<Server>>>,
}

impl Route {
    fn new(zone: Name, servers: &[SocketAddr]) -> Self {
        let servers = ArcSwap::from_pointee(fresh(servers));
        Self { labels: zone.labels(), zone, servers }
    }
}

fn fresh(servers: &[SocketAddr]) -> Vec<Arc<Server>> {
    servers.iter().map(|address| Arc::new(Server::new(*address))).collect()
}

/// How questions are forwarded.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Zones with servers of their own.
    pub stubs: Vec<(Name, Vec<SocketAddr>)>,
    /// The servers of everything else.
    pub upstreams: Vec<SocketAddr>,
    /// Most answers that are kept.
    pub cache_entries: usize,
    /// For how long they are kept.
    pub bounds: Bounds,
}

/// Forwards questions. Cheap to clone.
#[derive(Clone)]
pub struct Forwarder(Arc<Inner>);

struct Inner {
    // longest zone first, the root last
    routes: Vec<Route>,
    bounds: Bounds,
    cache: Mutex<Cache>,
    running: Mutex<HashMap<Key, Vec<oneshot::Sender<Arc<Reply>>>>>,
    probes: Mutex<HashMap<Name, Arc<AtomicBool>>>,
    trouble: Notify,
    tasks: Tasks,
}

impl Forwarder {
    /// A forwarder whose exchanges run among `tasks`.
    pub fn new(settings: &Settings, tasks: Tasks) -> Self {
        let mut routes: Vec<Route> =
            settings.stubs.iter().map(|(zone, servers)| Route::new(zone.clone(), servers)).collect();
        routes.sort_by_key(|route| std::cmp::Reverse(route.labels));
        if routes.last().is_none_or(|route| route.labels > 0) {
            routes.push(Route::new(root(), &settings.upstreams));
        }
        Self(Arc::new(Inner {
            routes,
            bounds: settings.bounds,
            cache: Mutex::new(Cache::new(settings.cache_entries)),
            running: Mutex::default(),
            probes: Mutex::default(),
            trouble: Notify::new(),
            tasks,
        }))
    }

    /// How many labels the zone with servers of its own has that a name is in; `None`: it is in none.
    pub fn stub(&self, question: &Question) -> Option<usize> {
        let stubs = self.0.routes.iter().filter(|route| route.labels > 0);
        stubs
            .filter(|route| question.within(&route.zone, route.labels).is_some())
            .map(|route| route.labels)
            .next()
    }

    /// What is known already.
    pub fn peek(&self, key: &Key) -> Option<Arc<Reply>> {
        self.0.cache.lock().get(key, Instant::now())
    }

    /// The answer, from the cache or from upstream. That there is none is an answer, too.
    pub async fn ask(&self, key: Key) -> Arc<Reply> {
        if let Some(reply) = self.peek(&key) {
            return reply;
        }
        let (sender, receiver) = oneshot::channel();
        let first = {
            let mut running = self.0.running.lock();
            let waiting = running.entry(key.clone()).or_default();
            waiting.push(sender);
            waiting.len() == 1
        };
        if first {
            let turn = Turn { inner: self.0.clone(), key, told: false };
            self.0.tasks.spawn_until_drain("forward", turn.take());
        }
        receiver.await.unwrap_or_else(|_| Arc::new(Reply::failure(code::SERVFAIL, Instant::now())))
    }

    /// Whether a question is one that we sent ourselves, to see whether it comes back. It has now.
    pub fn is_probe(&self, question: &Question) -> bool {
        if question.kind != kind::HINFO {
            return false;
        }
        let probes = self.0.probes.lock();
        let Some(seen) = probes.get(&question.name()) else { return false };
        seen.store(true, Ordering::Relaxed);
        true
    }

    /// Other servers for everything that has none of its own; what was known is forgotten.
    pub fn set_upstreams(&self, servers: &[SocketAddr]) {
        if let Some(route) = self.0.routes.last().filter(|route| route.labels == 0) {
            route.servers.store(Arc::new(fresh(servers)));
        }
        self.0.cache.lock().clear();
    }

    /// How many answers are kept.
    #[cfg(test)]
    pub fn cached(&self) -> usize {
        self.0.cache.lock().len()
    }
}

fn root() -> Name {
    // the root parses
    Name::parse(".").unwrap_or_else(|_| unreachable!("the root is a name"))
}

impl Inner {
    fn route(&self, key: &Key) -> Option<&Route> {
        self.routes.iter().find(|route| key.name.is_within(&route.zone))
    }

    async fn fetch(&self, key: &Key) -> Reply {
        let servers = self.route(key).map(|route| route.servers.load_full()).unwrap_or_default();
        match race(&servers, key, self.bounds).await {
            Ok(reply) => reply,
            Err(why) => {
                self.trouble.notify_one();
                let code = if why == NoAnswer::Loop { code::REFUSED } else { code::SERVFAIL };
                Reply::failure(code, Instant::now())
            }
        }
    }
}

/// One question on its way; whoever waits is told, whatever becomes of it.
struct Turn {
    inner: Arc<Inner>,
    key: Key,
    told: bool,
}

impl Turn {
    async fn take(mut self) {
        let reply = Arc::new(self.inner.fetch(&self.key).await);
        self.inner.cache.lock().put(self.key.clone(), reply.clone(), Instant::now());
        let waiting = self.inner.running.lock().remove(&self.key);
        self.told = true;
        // who does not wait any more needs no answer
        waiting.into_iter().flatten().for_each(|waiting| _ = waiting.send(reply.clone()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.told {
            self.inner.running.lock().remove(&self.key);
        }
    }
}
