//! The addon against an API in memory: readings come through the node's proxy, answers go through the group handler.
#![allow(clippy::unwrap_used)]

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use parking_lot::Mutex;
use sampan_addon::{Context, Drain, GroupHandler, Host, Native, Report, Reporter, Served, Site};
use sampan_addon_metrics::Metrics;
use sampan_client::{Handler, ResponseFuture};
use sampan_process::{Component, Tasks};
use sampan_reconcile::Informers;
use serde_json::{Value, json};

/// An API with a node and a pod; each summary is a second later than the one before, with half a core used.
#[derive(Default)]
struct Api {
    summaries: AtomicU64,
    broken: std::sync::atomic::AtomicBool,
}

impl Api {
    fn summary(&self) -> Value {
        let count = self.summaries.fetch_add(1, Ordering::SeqCst);
        let at = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(1000 + count as i64);
        let cpu = json!({"time": at, "usageCoreNanoSeconds": count * 500_000_000});
        let container = json!({"name": "c", "startTime": "1970-01-01T00:10:00Z", "cpu": cpu,
            "memory": {"workingSetBytes": 1 << 20}});
        json!({"node": {"nodeName": "n1", "startTime": "1970-01-01T00:00:01Z", "cpu": cpu,
                        "memory": {"workingSetBytes": 1 << 30}},
            "pods": [{"podRef": {"name": "p", "namespace": "default", "uid": "u"}, "containers": [container]}]})
    }
}

impl Handler for Api {
    fn handle(self: Arc<Self>, request: Request<Bytes>) -> ResponseFuture {
        let (path, query) =
            (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        Box::pin(async move {
            if query.contains("watch=true") {
                std::future::pending::<()>().await;
            }
            let list = |items: Value| json!({"metadata": {"resourceVersion": "1"}, "items": items});
            let value = match path.as_str() {
                "/api/v1/nodes" => list(json!([{"metadata": {"name": "n1"}}])),
                "/api/v1/pods" => list(json!([
                    {"metadata": {"name": "p", "namespace": "default"}, "status": {"phase": "Running"}}])),
                "/api/v1/nodes/n1/proxy/stats/summary" if self.broken.load(Ordering::SeqCst) => {
                    json!({"node": 1})
                }
                "/api/v1/nodes/n1/proxy/stats/summary" => self.summary(),
                other => panic!("{other}"),
            };
            let never = |never: std::convert::Infallible| -> sampan_client::BoxError { match never {} };
            Response::new(Full::from(value.to_string()).map_err(never).boxed_unsync())
        })
    }
}

#[derive(Default)]
struct Groups(Mutex<Vec<(String, GroupHandler)>>);

impl Host for Groups {
    fn serve_group(&self, group: &'static str, version: &'static str, handler: GroupHandler) -> Served {
        self.0.lock().push((format!("{group}/{version}"), handler));
        Box::new(())
    }

    fn content_store(&self) -> Option<PathBuf> {
        None
    }
}

impl Groups {
    async fn get(&self, group: &str, path: &str) -> Value {
        let handler = self.0.lock().iter().find(|(name, _)| name == group).unwrap().1.clone();
        let request = Request::get(format!("/apis/{group}{path}")).body(Bytes::new()).unwrap();
        let body = handler(request).await.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn readings_become_metrics_and_history() {
    let (api, groups) = (Arc::new(Api::default()), Arc::new(Groups::default()));
    let client = sampan_client::loopback(api.clone(), "default");
    let tasks = Tasks::new(Component::Addon("metrics"));
    let site = Site {
        profile: "test".into(),
        node_name: "n1".into(),
        node_ips: vec![],
        bridge: String::new(),
        gateway: Ipv4Addr::LOCALHOST,
        pod_cidr: String::new(),
        service_cidr: String::new(),
        dns_ip: Ipv4Addr::LOCALHOST,
        cluster_domain: String::new(),
    };
    let (health, drain) = (Reporter::new(), Drain::new());
    let context = Context {
        informers: Informers::new(client.clone(), tasks.clone()),
        client,
        site,
        data: PathBuf::new(),
        health: health.clone(),
        tasks,
        host: groups.clone(),
    };
    let until = drain.clone();
    let running = tokio::spawn(async move { Native::run(&Metrics, &json!({}), context, until).await });
    let mut reports = health.watch();
    reports.wait_for(|report| *report == Report::Healthy).await.unwrap();
    let begin = tokio::time::Instant::now();
    // the second reading follows soon after the first, the third a period later
    let node = loop {
        let node = groups.get("metrics.k8s.io/v1beta1", "/nodes/n1").await;
        if node["kind"] == "NodeMetrics" {
            break node;
        }
        tokio::time::advance(std::time::Duration::from_millis(100)).await;
    };
    assert!(begin.elapsed() < std::time::Duration::from_secs(2));
    assert_eq!((&node["usage"], &node["window"]), (&json!({"cpu": "500m", "memory": "1Gi"}), &json!("1s")));
    let pods = groups.get("metrics.k8s.io/v1beta1", "/pods").await;
    assert_eq!(
        pods["items"][0]["containers"],
        json!([{"name": "c", "usage": {"cpu": "500m", "memory": "1Mi"}}])
    );
    let past = groups.get("metrics.sampan.dev/v1alpha1", "/namespaces/default/pods/p").await;
    assert_eq!(past["memoryBytes"].as_array().unwrap().last(), Some(&json!((1 << 20) as f64)));
    api.broken.store(true, Ordering::SeqCst);
    let degraded =
        reports.wait_for(|report| matches!(report, Report::Degraded { .. })).await.unwrap().clone();
    let Report::Degraded { reason, .. } = degraded else { panic!("{degraded:?}") };
    assert!(reason.starts_with("node n1: its statistics could not be read"), "{reason}");
    drain.start();
    running.await.unwrap().unwrap();
}
