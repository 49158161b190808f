//! The servers of one route, and the race between them.
//!
//! Servers are asked in their order; those that failed lately come last. When one has not answered for a moment the next
//! is asked too, and whichever answers first has answered: a slow server costs half a second once, not a timeout.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

use crate::forward::Key;
use crate::forward::exchange::{Failure, exchange};
use crate::forward::reply::{Bounds, Reply};
use crate::query::code;

/// After so long the next server is asked too.
const HEDGE: Duration = Duration::from_millis(500);
/// After so long there is no answer: clients wait five seconds.
const PATIENCE: Duration = Duration::from_millis(4500);
/// For so long a server that failed comes after the others.
const PENALTY: Duration = Duration::from_secs(10);

/// One upstream server.
pub struct Server {
    /// Where it is.
    pub address: SocketAddr,
    looping: AtomicBool,
    failed: Mutex<Option<(Instant, String)>>,
}

impl Server {
    /// A server of which nothing is known.
    pub fn new(address: SocketAddr) -> Self {
        Self { address, looping: AtomicBool::new(false), failed: Mutex::default() }
    }

    /// Whether what is sent there comes back to us.
    pub fn is_looping(&self) -> bool {
        self.looping.load(Ordering::Relaxed)
    }

    /// Says whether what is sent there comes back to us.
    pub fn set_looping(&self, looping: bool) {
        self.looping.store(looping, Ordering::Relaxed);
    }

    /// Why it gave no answer, if the last word on it is that.
    pub fn failure(&self) -> Option<String> {
        self.failed.lock().as_ref().map(|(_, why)| why.clone())
    }

    /// It answered.
    pub fn succeeded(&self) {
        *self.failed.lock() = None;
    }

    /// It did not.
    pub fn fail(&self, why: impl fmt::Display) {
        *self.failed.lock() = Some((Instant::now(), why.to_string()));
    }

    fn is_suspect(&self, now: Instant) -> bool {
        self.failed.lock().as_ref().is_some_and(|(since, _)| now < *since + PENALTY)
    }
}

/// Asks servers until one answers. `Err` if there is no answer.
pub async fn race(servers: &[Arc<Server>], key: &Key, bounds: Bounds) -> Result<Reply, NoAnswer> {
    let start = Instant::now();
    let mut order: Vec<&Arc<Server>> = servers.iter().filter(|server| !server.is_looping()).collect();
    if order.is_empty() {
        return Err(if servers.is_empty() { NoAnswer::NoServer } else { NoAnswer::Loop });
    }
    order.sort_by_key(|server| server.is_suspect(start));
    let mut waiting = order.into_iter();
    let mut asked: Vec<&Arc<Server>> = Vec::new();
    let mut running = FuturesUnordered::new();
    let mut hedge = start;
    let mut indefinite = None;
    let end = start + PATIENCE;
    loop {
        let ask_next = sleep_until(hedge);
        tokio::select! {
            Some((server, result)) = running.next() => {
                asked.retain(|other: &&Arc<Server>| !Arc::ptr_eq(other, server));
                match settle(server, result) {
                    Some(reply) if reply.is_definite() => {
                        slow(&asked, start);
                        return Ok(reply);
                    }
                    Some(reply) => indefinite = Some(reply),
                    None => {}
                }
                hedge = Instant::now();
                if running.is_empty() && waiting.len() == 0 {
                    return indefinite.ok_or(NoAnswer::Silence);
                }
            }
            () = ask_next, if waiting.len() > 0 => {
                if let Some(server) = waiting.next() {
                    asked.push(server);
                    running.push(async move { (server, exchange(server.address, key, bounds).await) });
                }
                hedge = Instant::now() + HEDGE;
            }
            () = sleep_until(end) => {
                slow(&asked, start);
                return indefinite.ok_or(NoAnswer::Silence);
            }
        }
    }
}

/// Why a question got no answer from any server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no server to ask.
    NoServer,
    /// All servers would ask us.
    Loop,
    /// None answered.
    Silence,
}

fn settle(server: &Server, result: Result<Reply, Failure>) -> Option<Reply> {
    match result {
        Ok(reply) => {
            match reply.code {
                // the name's fault, not the server's
                0 | code::NXDOMAIN | code::SERVFAIL => server.succeeded(),
                other => server.fail(Failure::Code(other)),
            }
            Some(reply)
        }
        Err(failure) => {
            server.fail(failure);
            None
        }
    }
}

fn slow(servers: &[&Arc<Server>], since: Instant) {
    let waited = since.elapsed();
    if waited >= HEDGE {
        servers
            .iter()
            .for_each(|server| server.fail(format!("did not answer within {} ms", waited.as_millis())));
    }
}
