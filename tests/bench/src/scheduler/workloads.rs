//! Workloads of a thousand pods on simulated nodes, whose pods run at once; and what five thousand nodes cost.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{ListParams, Patch, PatchParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use sampan_testkit::Cluster;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{AT_ONCE, MEASURED, PATIENCE, cluster, send};
use crate::figure::{Figure, Goal, Unit};
use crate::idle;

const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/sched-1/deployments";
const JOBS: &str = "/apis/batch/v1/namespaces/sched-1/jobs";

/// Measures the workloads.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let (many, completions) = if short { (100, 500) } else { (1000, 5000) };
    let (_cluster, client) = cluster(200, &json!({}), 3).await?;
    let seconds = |name: String, time: Duration, limit: f64| {
        let figure = Figure::alone(
            name,
            Unit::Milliseconds,
            vec![time.as_secs_f64() * 1000.0],
            Goal::Below(limit * 1000.0),
        );
        eprintln!("{}", figure.row());
        figure
    };
    let mut figures = Vec::new();
    let time = deployment(&client, many).await?;
    figures.push(seconds(format!("Deployment of {many} pods → all Running"), time, 2.0));
    let (time, least) = rolling(&client, many).await?;
    figures.push(seconds(format!("rolling update of {many} pods"), time, 10.0));
    ensure!(least >= many * 3 / 4, "{least} of {many} pods were available in a rolling update");
    remove(&client, DEPLOYMENTS).await?;
    let time = deployments(&client, many).await?;
    figures.push(seconds(format!("{many} Deployments at once → all available"), time, 5.0));
    remove(&client, DEPLOYMENTS).await?;
    let time = job(&client, completions).await?;
    figures.push(seconds(format!("Job of {completions} completions"), time, 15.0));
    Ok(figures)
}

fn workload(name: &str, replicas: usize) -> Value {
    let template = json!({
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "main", "image": "app:1"}]}});
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}})
}

/// Follows the objects of a kind until `done` says so of one of them.
async fn until<K>(client: &Client, version: &str, mut done: impl FnMut(K) -> bool) -> Result<()>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug
        + Send
        + 'static,
{
    let api: Api<K> = Api::namespaced(client.clone(), MEASURED);
    let watching = async {
        let mut events = api.watch(&WatchParams::default().timeout(290), version).await?.boxed();
        loop {
            match events.try_next().await?.context("the watch ended")? {
                WatchEvent::Added(object) | WatchEvent::Modified(object) if done(object.clone()) => {
                    return Ok(());
                }
                WatchEvent::Error(status) => anyhow::bail!("the watch failed: {status:?}"),
                _ => {}
            }
        }
    };
    tokio::time::timeout(PATIENCE, watching).await.context("took too long")?
}

async fn version<K>(client: &Client) -> Result<String>
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), MEASURED);
    let list = api.list(&ListParams::default().limit(1)).await?;
    Ok(list.metadata.resource_version.unwrap_or_default())
}

fn available(deployment: &Deployment) -> usize {
    let status = deployment.status.as_ref();
    usize::try_from(status.and_then(|status| status.available_replicas).unwrap_or(0)).unwrap_or(0)
}

async fn deployment(client: &Client, replicas: usize) -> Result<Duration> {
    let version = version::<Deployment>(client).await?;
    let began = Instant::now();
    super::post(client, DEPLOYMENTS, &workload("one", replicas)).await?;
    until::<Deployment>(client, &version, |deployment| available(&deployment) == replicas).await?;
    Ok(began.elapsed())
}

/// How long a rolling update takes, and the fewest pods that were available in it.
async fn rolling(client: &Client, replicas: usize) -> Result<(Duration, usize)> {
    let api: Api<Deployment> = Api::namespaced(client.clone(), MEASURED);
    let version = version::<Deployment>(client).await?;
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "app:2"}]}}}});
    let began = Instant::now();
    let patched = api.patch("one", &PatchParams::default(), &Patch::Strategic(&image)).await?;
    let (wanted, mut least) = (patched.metadata.generation, usize::MAX);
    let count = i32::try_from(replicas)?;
    until::<Deployment>(client, &version, |deployment| {
        least = least.min(available(&deployment));
        let Some(status) = &deployment.status else { return false };
        status.observed_generation >= wanted
            && status.updated_replicas == Some(count)
            && status.replicas == Some(count)
            && status.available_replicas == Some(count)
    })
    .await?;
    Ok((began.elapsed(), least))
}

async fn deployments(client: &Client, count: usize) -> Result<Duration> {
    let version = version::<Deployment>(client).await?;
    let began = Instant::now();
    let made = futures::stream::iter(0..count).map(|number| {
        let body = workload(&format!("many-{number}"), 1).to_string().into_bytes();
        send(client, DEPLOYMENTS, body)
    });
    let made = made.buffer_unordered(AT_ONCE).try_for_each(|()| async { Ok(()) });
    let mut seen = std::collections::HashSet::new();
    let settled = until::<Deployment>(client, &version, |deployment| {
        if available(&deployment) == 1 {
            seen.insert(deployment.metadata.name);
        }
        seen.len() == count
    });
    futures::future::try_join(made, settled).await?;
    Ok(began.elapsed())
}

async fn job(client: &Client, completions: usize) -> Result<Duration> {
    let version = version::<Job>(client).await?;
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "work"}]}});
    let job = json!({
        "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"},
        "spec": {"completions": completions, "parallelism": completions.min(500), "template": template}});
    let began = Instant::now();
    super::post(client, JOBS, &job).await?;
    let count = i32::try_from(completions)?;
    until::<Job>(client, &version, |job| {
        let status = job.status.unwrap_or_default();
        let complete = |condition: &k8s_openapi::api::batch::v1::JobCondition| {
            condition.type_ == "Complete" && condition.status == "True"
        };
        status.succeeded == Some(count) && status.conditions.iter().flatten().any(complete)
    })
    .await?;
    Ok(began.elapsed())
}

/// Deletes all of a kind, and waits until their pods are gone, too.
async fn remove(client: &Client, path: &str) -> Result<()> {
    let request = hyper::Request::delete(path).body(Vec::new())?;
    client.request_text(request).await?;
    let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(client.clone(), MEASURED);
    let deadline = Instant::now() + PATIENCE;
    while !api.list(&ListParams::default().limit(1)).await?.items.is_empty() {
        ensure!(Instant::now() < deadline, "pods are left");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// How long nodes take to join, and what they cost when nothing happens.
pub async fn joining(short: bool) -> Result<Vec<Figure>> {
    let (nodes, settle, window) = if short { (500, 15, 20) } else { (5000, 60, 60) };
    let cluster = Cluster::start()?;
    let began = Instant::now();
    cluster.sampan(&["simulate", &format!("--nodes={nodes}"), "--zones=3"])?;
    let joined = began.elapsed().as_secs_f64() * 1000.0;
    tokio::time::sleep(Duration::from_secs(settle)).await;
    let processes = idle::processes(&cluster)?;
    let before = idle::processor_time(&processes)?;
    tokio::time::sleep(Duration::from_secs(window)).await;
    let spent = idle::processor_time(&processes)? - before;
    let memory = idle::memory(&processes)?;
    let percent = 100.0 * spent / window as f64;
    let name = |what: &str| format!("{nodes} simulated nodes{what}");
    Ok(vec![
        Figure::alone(name(" join"), Unit::Milliseconds, vec![joined], Goal::Below(10_000.0)),
        Figure::alone(
            name(&format!(", idle, processor over {window} s")),
            Unit::PercentOfCore,
            vec![percent],
            Goal::Below(25.0),
        ),
        Figure::alone(name(", idle: PSS"), Unit::Megabytes, vec![memory], Goal::Below(250.0)),
    ])
}
