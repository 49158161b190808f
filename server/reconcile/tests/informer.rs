//! Informers and controllers against a scripted API: list, watch, a broken watch, 410 and a relist.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use k8s_openapi::api::core::v1::ConfigMap;
use parking_lot::Mutex;
use sampan_client::{Handler, ResponseBody, ResponseFuture};
use sampan_process::{Component, Drain, Tasks};
use sampan_reconcile::{Controller, Error, Informer, Informers, Key, Sources};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Answers requests in order; each watch is a channel that the test feeds.
#[derive(Default)]
struct Script {
    lists: Mutex<VecDeque<Value>>,
    watches: Mutex<VecDeque<mpsc::UnboundedReceiver<Value>>>,
    asked: Mutex<Vec<String>>,
}

impl Handler for Script {
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        let query = request.uri().query().unwrap_or_default().to_owned();
        let body = if query.contains("watch=true") {
            self.watches.lock().pop_front().map(stream)
        } else {
            self.lists
                .lock()
                .pop_front()
                .map(|list| Full::from(list.to_string()).map_err(never).boxed_unsync())
        };
        self.asked.lock().push(query);
        Box::pin(async move {
            match body {
                Some(body) => Response::new(body),
                None => std::future::pending().await,
            }
        })
    }
}

fn never(error: Infallible) -> sampan_client::BoxError {
    match error {}
}

fn stream(mut events: mpsc::UnboundedReceiver<Value>) -> ResponseBody {
    let events = futures::stream::poll_fn(move |context| events.poll_recv(context));
    StreamBody::new(events.map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))))).boxed_unsync()
}

fn map(name: &str, version: u64) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {
        "name": name, "namespace": "default", "resourceVersion": version.to_string(),
        "managedFields": [{"manager": "x"}]}})
}

fn list(version: u64, items: &[Value]) -> Value {
    json!({"kind": "ConfigMapList", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}, "items": items})
}

fn informers(script: &Arc<Script>) -> Informers {
    Informers::new(sampan_client::loopback(script.clone(), "default"), Tasks::new(Component::Daemon))
}

#[tokio::test(start_paused = true)]
async fn an_informer_lists_watches_resumes_and_lists_again_on_410() {
    let script = Arc::new(Script::default());
    script.lists.lock().extend([list(5, &[map("a", 3)]), list(20, &[map("a", 3), map("c", 19)])]);
    let (first, receiver) = mpsc::unbounded_channel();
    let (second, receiver2) = mpsc::unbounded_channel();
    script.watches.lock().extend([receiver, receiver2]);
    let informers = informers(&script);
    let maps: Informer<ConfigMap> = informers.of();
    let mut deltas = maps.subscribe();
    maps.synced().await;
    assert_eq!((maps.len(), maps.version()), (1, 5));
    assert!(maps.list()[0].metadata.managed_fields.is_none());

    first.send(json!({"type": "ADDED", "object": map("b", 7)})).unwrap();
    maps.reached(7).await;
    first
        .send(json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"resourceVersion": "9"}}}))
        .unwrap();
    maps.reached(9).await;
    drop(first);

    second.send(json!({"type": "DELETED", "object": map("b", 11)})).unwrap();
    maps.reached(11).await;
    assert!(maps.get(&Key::namespaced("default", "b")).is_none());
    let gone = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "Expired", "code": 410, "message": "too old"});
    second.send(json!({"type": "ERROR", "object": gone})).unwrap();
    maps.reached(20).await;

    let seen: Vec<(String, bool)> =
        std::iter::from_fn(|| deltas.try_next()).map(|delta| (delta.key.name, delta.new.is_some())).collect();
    let expected = [("a", true), ("b", true), ("b", false), ("c", true)];
    assert_eq!(seen, expected.map(|(name, there)| (name.to_owned(), there)));
    let again = informers.of::<ConfigMap>().get(&Key::namespaced("default", "a")).unwrap();
    assert!(
        Arc::ptr_eq(&again, &maps.get(&Key::namespaced("default", "a")).unwrap()),
        "one copy per process"
    );
    let asked = script.asked.lock().clone();
    assert!(asked[1].contains("resourceVersion=5") && asked[2].contains("resourceVersion=9"), "{asked:?}");
    assert!(asked.iter().filter(|q| q.contains("watch")).all(|q| q.contains("allowWatchBookmarks=true")));
}

#[tokio::test(start_paused = true)]
async fn an_informer_can_begin_with_a_watch_of_what_there_is() {
    let script = Arc::new(Script::default());
    let (broken, nothing) = mpsc::unbounded_channel();
    let (first, receiver) = mpsc::unbounded_channel();
    let (second, receiver2) = mpsc::unbounded_channel();
    script.watches.lock().extend([nothing, receiver, receiver2]);
    let informers = informers(&script).streaming();
    let maps: Informer<ConfigMap> = informers.of();
    broken.send(json!({"type": "ADDED", "object": map("gone", 1)})).unwrap();
    drop(broken);
    for (name, version) in [("a", 3), ("b", 4)] {
        first.send(json!({"type": "ADDED", "object": map(name, version)})).unwrap();
    }
    let bookmark = |version: &str, annotations: Value| {
        json!({"type": "BOOKMARK", "object": {"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"resourceVersion": version, "annotations": annotations}}})
    };
    first.send(bookmark("4", Value::Null)).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!maps.has_synced() && maps.is_empty(), "not before all is told");
    first.send(bookmark("9", json!({"k8s.io/initial-events-end": "true"}))).unwrap();
    maps.synced().await;
    assert_eq!((maps.len(), maps.version()), (2, 9));
    first.send(json!({"type": "DELETED", "object": map("b", 11)})).unwrap();
    maps.reached(11).await;
    assert_eq!(maps.len(), 1);
    drop(first);
    second.send(json!({"type": "ADDED", "object": map("c", 12)})).unwrap();
    maps.reached(12).await;
    assert_eq!(maps.len(), 2);
    let asked = script.asked.lock().clone();
    let initial = |query: &&String| query.contains("sendInitialEvents=true");
    assert_eq!((asked.len(), asked.iter().filter(initial).count()), (3, 2), "{asked:?}");
    assert!(asked[2].contains("resourceVersion=11"), "{asked:?}");
}

struct Counter {
    maps: Informer<ConfigMap>,
    seen: mpsc::UnboundedSender<String>,
    failures: Mutex<u32>,
}

impl Controller for Counter {
    type Key = Key;

    fn name(&self) -> &'static str {
        "counter"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.maps, |delta| vec![delta.key.clone()]);
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        self.seen.send(key.to_string()).unwrap();
        let mut failures = self.failures.lock();
        *failures += 1;
        match *failures {
            1 | 2 => Err(Error::Other("not yet".to_owned())),
            3 => Ok(Some(Duration::from_secs(60))),
            _ => Ok(None),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_pass_comes_again_and_so_does_one_that_asks() {
    let maps = Informer::fixed(vec![serde_json::from_value(map("a", 3)).unwrap()]);
    let (seen, mut calls) = mpsc::unbounded_channel();
    let drain = Drain::new();
    let start = tokio::time::Instant::now();
    let run = tokio::spawn(sampan_reconcile::run(
        Arc::new(Counter { maps, seen, failures: Mutex::default() }),
        drain.clone(),
    ));
    for _ in 0..4 {
        assert_eq!(calls.recv().await.unwrap(), "default/a");
    }
    assert!(start.elapsed() >= Duration::from_secs(60) && start.elapsed() < Duration::from_secs(61));
    drain.start();
    run.await.unwrap();
}
