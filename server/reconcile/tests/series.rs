//! Events of the newer API against a scripted API: one, a series, one that has expired, an API that does not answer.
#![allow(clippy::unwrap_used)]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use k8s_openapi::api::core::v1::ObjectReference;
use parking_lot::Mutex;
use sampan_client::{Handler, ResponseFuture};
use sampan_process::{Component, Drain, Tasks};
use sampan_reconcile::{Deed, EventType, SeriesRecorder};
use serde_json::{Value, json};
use tokio::sync::mpsc;

/// Answers with these codes, then with 200; tells what it is asked.
struct Script {
    codes: Mutex<VecDeque<u16>>,
    asked: mpsc::UnboundedSender<(String, Value)>,
}

impl Handler for Script {
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        let body: Value = serde_json::from_slice(request.body()).unwrap();
        let code = self.codes.lock().pop_front().unwrap_or(200);
        let line = format!("{} {}", request.method(), request.uri().path());
        self.asked.send((line, body.clone())).unwrap();
        let answer = match code {
            200 => json!({"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e"}}),
            code => {
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                "reason": "NotFound", "message": "no"})
            }
        };
        let answer = Full::from(answer.to_string()).map_err(|error| match error {}).boxed_unsync();
        Box::pin(async move { Response::builder().status(code).body(answer).unwrap() })
    }
}

fn told(recorder: &SeriesRecorder, name: &str) {
    let regarding =
        ObjectReference { name: Some(name.into()), namespace: Some("d".into()), ..Default::default() };
    let related = ObjectReference { name: Some("other".into()), ..Default::default() };
    let deed = Deed { kind: EventType::Warning, reason: "FailedScheduling", action: "Scheduling" };
    recorder.event(&regarding, Some(related), deed, "no room");
}

#[tokio::test(start_paused = true)]
async fn the_first_is_made_and_a_series_is_patched() {
    sampan_reconcile::simulate("2026-01-01T00:00:00Z".parse().unwrap(), 1);
    let (asked, mut requests) = mpsc::unbounded_channel();
    let codes = Mutex::new([200, 404].into());
    let script = Arc::new(Script { codes, asked });
    let tasks = Tasks::under(Component::Scheduler, Drain::new());
    let recorder =
        SeriesRecorder::new(sampan_client::loopback(script, "default"), "default-scheduler", &tasks);
    let events = "/apis/events.k8s.io/v1/namespaces/d/events";

    told(&recorder, "p");
    let (line, made) = requests.recv().await.unwrap();
    assert_eq!(line, format!("POST {events}"));
    assert_eq!((&made["action"], &made["related"]["name"]), (&json!("Scheduling"), &json!("other")));
    assert!(made["reportingInstance"].as_str().unwrap().starts_with("default-scheduler-"), "{made}");
    assert!(made.get("series").is_none() && made.get("deprecatedCount").is_none(), "{made}");

    // it has expired meanwhile: it is made again, as a series
    told(&recorder, "p");
    let name = made["metadata"]["name"].as_str().unwrap();
    let (line, patch) = requests.recv().await.unwrap();
    assert_eq!(line, format!("PATCH {events}/{name}"));
    assert_eq!(patch["series"]["count"], 2);
    let (line, again) = requests.recv().await.unwrap();
    assert_eq!((line, &again["series"]), (format!("POST {events}"), &patch["series"]));
    assert_eq!(again["eventTime"], made["eventTime"]);

    // counted, and written when the series has ended
    let began = tokio::time::Instant::now();
    told(&recorder, "p");
    let (line, patch) = requests.recv().await.unwrap();
    assert_eq!((line, &patch["series"]["count"]), (format!("PATCH {events}/{name}"), &json!(3)));
    assert!(began.elapsed() >= Duration::from_secs(360));
    told(&recorder, "p");
    let (line, anew) = requests.recv().await.unwrap();
    assert_eq!(line, format!("POST {events}"));
    assert!(anew.get("series").is_none(), "{anew}");
}
