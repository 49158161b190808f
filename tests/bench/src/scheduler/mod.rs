//! The scheduler with simulated nodes: the shapes of upstream's scheduler_perf by their names, and how long workloads of
//! a thousand take. Each shape has a cluster of its own.
//!
//! Throughput is taken as scheduler_perf does it: from the first of the measured pods being created to the last of them
//! bound, creation included; only that here each pod is created over TLS by another process on the same cores, and each
//! binding is a durable write through the API. A watch that was open before tells of the bound pods. As in
//! scheduler_perf no kubelet says anything of the pods. What is published of upstream (1,150 pods/s of SchedulingBasic, its
//! thresholds for the others) was taken on other machines: it is not beside these figures.

mod bound;
mod shapes;
mod workloads;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use kube::Client;
use sampan_testkit::Cluster;
use serde_json::{Value, json};

use crate::figure::{Figure, Goal, Unit};
use bound::Bound;
use shapes::{INIT, MEASURED, Shape};

pub use workloads::{joining, measure as workloads};

/// Pods that are created at once.
const AT_ONCE: usize = 64;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// Pods a second that are offered for the time from creation to binding.
const OFFERED: u64 = 500;

/// Throughput of every shape, and how long a binding takes at a rate that is offered.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for shape in shapes::all() {
        let shape = if short { shape.shorter() } else { shape };
        let rate = throughput(&shape).await.with_context(|| shape.name())?;
        figures.push(Figure::alone(
            shape.name(),
            Unit::PerSecond("pods"),
            vec![rate],
            Goal::AtLeast(shape.goal),
        ));
        eprintln!("{}", figures[figures.len() - 1].row());
    }
    figures.push(latency(short).await?);
    Ok(figures)
}

/// A cluster with simulated nodes, on which alone pods are placed.
async fn cluster(nodes: usize, profile: &Value, zones: usize) -> Result<(Cluster, Client)> {
    let cluster = Cluster::start()?;
    let file = cluster.directory().join("profile.yaml");
    std::fs::write(&file, profile.to_string())?;
    let real = cluster.kubectl(&["get", "nodes", "-o", "name"])?;
    cluster.kubectl(&["cordon", real.trim()])?;
    cluster.sampan(&[
        "simulate",
        &format!("--nodes={nodes}"),
        &format!("--zones={zones}"),
        "--no-taint",
        &format!("--profile-file={}", file.display()),
    ])?;
    let client = cluster.client().await?;
    for namespace in [INIT, MEASURED] {
        post(&client, "/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await?;
    }
    Ok((cluster, client))
}

async fn throughput(shape: &Shape) -> Result<f64> {
    let (_cluster, client) = cluster(shape.nodes, &shape.profile(), shape.zones).await?;
    let class = json!({"metadata": {"name": "high"}, "value": 10});
    post(&client, "/apis/scheduling.k8s.io/v1/priorityclasses", &class).await?;
    place(&client, INIT, shape.init, &shape.init_pod).await?;
    let took = place(&client, MEASURED, shape.measured, &shape.measured_pod).await?;
    Ok(shape.measured as f64 / took.as_secs_f64())
}

/// Creates so many pods; how long until the last of them is bound.
async fn place(client: &Client, namespace: &str, count: usize, pod: &Value) -> Result<Duration> {
    let mut bound = Bound::watch(client, namespace).await?;
    let bodies: Vec<Vec<u8>> = (0..count).map(|number| named(pod, number).to_string().into_bytes()).collect();
    let path = format!("/api/v1/namespaces/{namespace}/pods");
    let began = Instant::now();
    let creating = futures::stream::iter(bodies)
        .map(|body| send(client, &path, body))
        .buffer_unordered(AT_ONCE)
        .try_for_each(|()| async { Ok(()) });
    let creating = async {
        creating.await?;
        anyhow::Ok(began.elapsed())
    };
    let all = async {
        for _ in 0..count {
            bound.next().await?;
        }
        anyhow::Ok(began.elapsed())
    };
    let both = tokio::time::timeout(PATIENCE, futures::future::try_join(creating, all));
    let (created, took) = both.await.with_context(|| format!("{count} pods not bound in {PATIENCE:?}"))??;
    eprintln!("{namespace}: {count} pods created in {created:.2?}, bound in {took:.2?}");
    Ok(took)
}

fn named(pod: &Value, number: usize) -> Value {
    let mut pod = pod.clone();
    pod["metadata"]["name"] = json!(format!("pod-{number}"));
    pod
}

/// From creation to binding, the slowest of a hundred, at a rate that is offered whatever becomes of it.
async fn latency(short: bool) -> Result<Figure> {
    let shape = shapes::basic();
    let seconds = if short { 4 } else { 20 };
    let count = usize::try_from(OFFERED * seconds)?;
    let (_cluster, client) = cluster(shape.nodes, &shape.profile(), shape.zones).await?;
    let mut bound = Bound::watch(&client, MEASURED).await?;
    let path = format!("/api/v1/namespaces/{MEASURED}/pods");
    let gap = Duration::from_secs(1) / u32::try_from(OFFERED)?;
    let first = tokio::time::Instant::now() + Duration::from_millis(100);
    let creating = futures::stream::iter(0..count).map(|number| {
        let (client, path) = (client.clone(), path.clone());
        let body = named(&shape.measured_pod, number).to_string().into_bytes();
        async move {
            tokio::time::sleep_until(first + gap * u32::try_from(number)?).await;
            let sent = Instant::now();
            send(&client, &path, body).await?;
            anyhow::Ok((format!("pod-{number}"), sent))
        }
    });
    let creating = creating.buffer_unordered(count).try_collect::<Vec<_>>();
    let all = async {
        let mut seen = std::collections::HashMap::new();
        for _ in 0..count {
            let name = bound.next().await?;
            seen.insert(name, Instant::now());
        }
        anyhow::Ok(seen)
    };
    let (sent, seen) = tokio::time::timeout(PATIENCE, futures::future::try_join(creating, all)).await??;
    let mut times = Vec::new();
    for (name, sent) in sent {
        let bound = seen.get(&name).with_context(|| format!("{name} was not bound"))?;
        times.push(bound.duration_since(sent).as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    eprintln!("create → bound at {OFFERED}/s: p50 {:.1} ms", times[times.len() / 2]);
    let p99 = times[times.len() * 99 / 100];
    let name = format!("{} nodes, {OFFERED} pods/s offered: create → bound, p99", shape.nodes);
    Ok(Figure::alone(name, Unit::Milliseconds, vec![p99], Goal::Below(10.0)))
}

async fn post(client: &Client, path: &str, object: &Value) -> Result<()> {
    send(client, path, object.to_string().into_bytes()).await
}

/// POSTs JSON; what is answered is not looked at.
async fn send(client: &Client, path: &str, body: Vec<u8>) -> Result<()> {
    use http_body_util::BodyExt;
    let request = hyper::Request::post(path).header("content-type", "application/json");
    let answer = client.send(request.body(kube::client::Body::from(body))?).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "POST {path}: {status} {}", String::from_utf8_lossy(&body));
    Ok(())
}
