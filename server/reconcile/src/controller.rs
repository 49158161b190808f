//! The loop that every controller shares: deltas → keys → queue → reconcile.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{BoxStream, FuturesUnordered, SelectAll};
use futures::{FutureExt, Stream, StreamExt};
use sampan_process::Drain;

use crate::informer::{Delta, Informer};
use crate::key::Object;
use crate::queue::Queue;

/// Why a pass over a key failed; the key comes again after its back-off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API refused or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// Something else is wrong.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// Whether the object changed under us or is gone: the next pass sees why, nobody needs to be told.
    pub fn is_race(&self) -> bool {
        matches!(self, Error::Api(kube::Error::Api(status)) if matches!(status.code, 404 | 409))
    }
}

/// A level-triggered controller: told which key may need work, it looks at the world and acts.
pub trait Controller: Send + Sync + 'static {
    /// What names one unit of work.
    type Key: Clone + Eq + Hash + Debug + Display + Send + Sync + 'static;

    /// Upstream's name of the controller, e.g. `replicaset-controller`.
    fn name(&self) -> &'static str;

    /// What the metrics call its queue: upstream's name of that.
    fn queue(&self) -> &'static str {
        self.name()
    }

    /// How many keys may be worked on at once.
    fn workers(&self) -> usize {
        5
    }

    /// Says which informers feed the controller and which keys a delta concerns.
    fn sources(self: &Arc<Self>, sources: &mut Sources<Self::Key>);

    /// Makes the world agree for one key. `Some(delay)` asks to be called again after it.
    fn reconcile(&self, key: &Self::Key) -> impl Future<Output = Result<Option<Duration>, Error>> + Send;
}

/// What feeds a controller.
pub struct Sources<T> {
    streams: SelectAll<BoxStream<'static, Vec<T>>>,
    synced: Vec<BoxFuture<'static, ()>>,
}

impl<T: Send + 'static> Sources<T> {
    fn new() -> Self {
        Self { streams: SelectAll::new(), synced: Vec::new() }
    }

    /// Deltas of `informer` become the keys that `map` returns.
    pub fn on<K, F>(&mut self, informer: &Informer<K>, map: F)
    where
        K: Object,
        F: Fn(&Delta<K>) -> Vec<T> + Send + 'static,
    {
        self.needs(informer);
        self.streams.push(informer.subscribe().into_stream().map(move |delta| map(&delta)).boxed());
    }

    /// The controller reads `informer`, but its deltas concern nobody.
    pub fn needs<K: Object>(&mut self, informer: &Informer<K>) {
        let informer = informer.clone();
        self.synced.push(async move { informer.synced().await }.boxed());
    }

    /// Keys from elsewhere.
    pub fn stream(&mut self, keys: impl Stream<Item = T> + Send + 'static) {
        self.streams.push(keys.map(|key| vec![key]).boxed());
    }
}

/// Runs `controller` until the drain; what it is doing then, it finishes.
pub async fn run<C: Controller>(controller: Arc<C>, drain: Drain) {
    let mut sources = Sources::new();
    controller.sources(&mut sources);
    let queue = Queue::named(controller.queue());
    let Sources { mut streams, synced } = sources;
    tokio::select! {
        biased;
        () = drain.wait() => return,
        _ = futures::future::join_all(synced) => {}
    }
    let mut working = FuturesUnordered::new();
    loop {
        // all that has happened is known before another key is begun
        tokio::select! {
            biased;
            () = drain.wait() => break,
            Some(()) = working.next() => {}
            Some(keys) = streams.next() => keys.into_iter().for_each(|key| queue.add(key)),
            key = queue.next(), if working.len() < controller.workers() => {
                working.push(work(&*controller, &queue, key));
            }
        }
    }
    while working.next().await.is_some() {}
}

async fn work<C: Controller>(controller: &C, queue: &Queue<C::Key>, key: C::Key) {
    match controller.reconcile(&key).await {
        Ok(requeue) => {
            queue.forget(&key);
            if let Some(delay) = requeue {
                queue.add_after(key.clone(), delay);
            }
        }
        Err(error) => {
            match error.is_race() {
                true => {
                    tracing::debug!(controller = controller.name(), %key, %error, "lost a race, trying again")
                }
                false => {
                    tracing::warn!(controller = controller.name(), %key, %error, "pass failed, trying again")
                }
            }
            queue.add_failed(key.clone());
        }
    }
    queue.done(&key);
}
