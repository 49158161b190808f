//! From the POST of a pod to phase Running in an event of a watch, the image present.
//!
//! One at a time: each pod is created over TLS as kubectl does it, awaited on a watch that was open before, and
//! deleted before the next. In the same turn `runc run` runs `true` in the same root file system to its end
//! (no network, no log, no pull check: the least that starts a container), and `docker run --detach` starts
//! the same program as the pod. Burst: 100 pods are created at once; the clock stops when the watch has seen the
//! last of them Running.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream::BoxStream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use sampan_testkit::{Cluster, Image};
use serde_json::json;

use crate::figure::{Figure, Goal, Unit};
use crate::peers::{Docker, Runc};

/// The image of the pods, never pulled.
pub const IMAGE: &str = "sampan-bench:1";
const PROGRAM: [&str; 2] = ["sleep", "1000000"];
const BURST: usize = 100;
/// Between two bursts.
const SETTLE: Duration = Duration::from_secs(8);

/// A cluster that has the image.
pub fn cluster(image: &Image) -> Result<Cluster> {
    let cluster = Cluster::start()?;
    let archive = cluster.directory().join("image.tar");
    image.save(IMAGE, &archive)?;
    cluster.sampan(&["image", "load", &archive.to_string_lossy()])?;
    Ok(cluster)
}

/// A pod that does nothing.
pub fn idle_pod(name: &str) -> Result<Pod> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": name, "labels": {"app": "bench"}},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": PROGRAM}],
        },
    }))?)
}

/// Creates `count` pods of about 2 kB that no scheduler takes, so that they stay objects.
pub async fn fill(client: &Client, count: usize) -> Result<()> {
    fill_from(client, 0, count).await
}

/// Creates those from `first` until there are `count`.
pub async fn fill_from(client: &Client, first: usize, count: usize) -> Result<()> {
    let api: Api<Pod> = Api::default_namespaced(client.clone());
    let made =
        futures::stream::iter(first..count).map(|number| {
            let api = api.clone();
            async move {
                api.create(&PostParams::default(), &typical_pod(number)?).await.map_err(anyhow::Error::from)
            }
        });
    made.buffer_unordered(32).try_for_each(|_| async { Ok(()) }).await
}

/// The name of a filling pod.
pub fn name(number: usize) -> String {
    format!("object-{number:05}")
}

/// A pod of about 2 kB that no scheduler takes.
pub fn typical_pod(number: usize) -> Result<Pod> {
    let variables: Vec<_> = (0..6)
        .map(|index| json!({"name": format!("SETTING_{index}"), "value": "a value of usual length"}))
        .collect();
    Ok(serde_json::from_value(json!({
        "metadata": {
            "name": name(number),
            "labels": {"app": "web", "tier": "front", "pod-template-hash": "5d59d67564"},
            "annotations": {"example.org/checksum": "4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945"},
        },
        "spec": {
            "schedulerName": "nobody",
            "containers": [{
                "name": "web", "image": "registry.example.org/team/web:1.27.3", "env": variables,
                "ports": [{"containerPort": 8080, "name": "http"}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}},
            }],
        },
    }))?)
}

type Events = BoxStream<'static, kube::Result<WatchEvent<Pod>>>;

/// Events of our pods from now on.
async fn watch(api: &Api<Pod>) -> Result<Events> {
    let version =
        api.list(&ListParams::default().limit(1)).await?.metadata.resource_version.unwrap_or_default();
    Ok(api.watch(&WatchParams::default().labels("app=bench"), &version).await?.boxed())
}

/// The next event's pod, and whether it is gone.
async fn next(events: &mut Events) -> Result<(Pod, bool)> {
    loop {
        match events.try_next().await?.context("the watch ended")? {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => return Ok((pod, false)),
            WatchEvent::Deleted(pod) => return Ok((pod, true)),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => bail!("the watch failed: {status:?}"),
        }
    }
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// Creates a pod and waits until it runs, in milliseconds.
pub async fn until_running(api: &Api<Pod>, name: &str) -> Result<f64> {
    let pod = idle_pod(name)?;
    let mut events = watch(api).await?;
    let began = Instant::now();
    api.create(&PostParams::default(), &pod).await?;
    while !is_running(&next(&mut events).await?.0) {}
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

async fn until_gone(api: &Api<Pod>, name: &str) -> Result<()> {
    let mut events = watch(api).await?;
    api.delete(name, &DeleteParams::default().grace_period(0)).await?;
    while !next(&mut events).await?.1 {}
    Ok(())
}

/// One pod at a time beside runc and docker.
pub async fn one_at_a_time(short: bool) -> Result<Vec<Figure>> {
    let image = Image::busybox()?;
    let mut runc = Runc::new(&image, &["/bin/true"])?;
    let docker = Docker::new(&image, IMAGE)?;
    let cluster = cluster(&image)?;
    let api: Api<Pod> = Api::default_namespaced(cluster.client().await?);
    let (mut ours, mut by_runc, mut by_docker) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..if short { 10 } else { 40 } {
        let name = format!("one-{number}");
        by_runc.push(runc.run()?);
        ours.push(until_running(&api, &name).await?);
        until_gone(&api, &name).await?;
        by_docker.push(docker.run(&PROGRAM)?);
    }
    let name = "pod create → Running";
    let beside =
        |peer, theirs: &[f64], goal| Figure::beside(name, Unit::Milliseconds, &ours, (peer, theirs), goal);
    Ok(vec![
        beside("runc run", &by_runc, Goal::RatioAtMost(2.0)),
        beside("docker run", &by_docker, Goal::RatioAtMost(0.2)),
    ])
}

/// A hundred pods at once.
pub async fn burst(short: bool) -> Result<Vec<Figure>> {
    let cluster = cluster(&Image::busybox()?)?;
    let api: Api<Pod> = Api::default_namespaced(cluster.client().await?);
    let mut rates = Vec::new();
    for round in 0..if short { 1 } else { 5 } {
        rates.push(hundred(&api, round).await?);
        clear(&api).await?;
        // the kernel clears namespaces and cgroups away after the pods are gone, and would do so in the next round
        tokio::time::sleep(SETTLE).await;
        eprintln!("{:.1} pods/s", rates[rates.len() - 1]);
    }
    Ok(vec![Figure::alone(
        "100 pods at once → all Running",
        Unit::PerSecond("pods"),
        rates,
        Goal::AtLeast(50.0),
    )])
}

async fn hundred(api: &Api<Pod>, round: usize) -> Result<f64> {
    let pods =
        (0..BURST).map(|number| idle_pod(&format!("burst-{round}-{number}"))).collect::<Result<Vec<_>>>()?;
    let mut events = watch(api).await?;
    let began = Instant::now();
    let parameters = PostParams::default();
    let creates = futures::future::try_join_all(pods.iter().map(|pod| api.create(&parameters, pod)));
    let all_running = async {
        let mut running = HashSet::new();
        while running.len() < BURST {
            let (pod, gone) = next(&mut events).await?;
            ensure!(!gone, "a pod vanished");
            if is_running(&pod) {
                running.insert(pod.metadata.name);
            }
        }
        anyhow::Ok(())
    };
    let (created, seen) = futures::future::join(creates, all_running).await;
    created?;
    seen?;
    Ok(BURST as f64 / began.elapsed().as_secs_f64())
}

/// Deletes all pods and waits until they are gone.
async fn clear(api: &Api<Pod>) -> Result<()> {
    let mut events = watch(api).await?;
    api.delete_collection(
        &DeleteParams::default().grace_period(0),
        &ListParams::default().labels("app=bench"),
    )
    .await?;
    let mut gone = 0;
    while gone < BURST {
        gone += usize::from(next(&mut events).await?.1);
    }
    Ok(())
}
