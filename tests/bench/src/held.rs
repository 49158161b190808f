//! Memory of the objects that a cluster holds, beside the bytes that a LIST of them has.
//!
//! PSS of our processes, settled, before and after the objects came; what it grew by is everything that anybody in the
//! daemon keeps of them: the store's bytes and indexes, what informers and the collector hold, room in the allocator. Pods are
//! read by scheduler, controllers and kubelet, whose decoded copy goes while nobody reads it; ConfigMaps nobody decodes. The
//! same pods after a restart have no allocator behind them that has seen them come.

use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use sampan_testkit::Cluster;

use crate::figure::{Figure, Goal, Unit};
use crate::tls::Target;
use crate::{idle, pods};

const LIMIT: f64 = 1.7;
const VALUE: usize = 2000;

/// Measures pods, pods after a restart, ConfigMaps.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let (count, settle) = if short { (10_000, 30) } else { (30_000, 120) };
    let settle = Duration::from_secs(settle);
    let cluster = Cluster::start()?;
    let empty = settled(&cluster, settle).await?;
    pods::fill(&cluster.client().await?, count).await?;
    let grown = settled(&cluster, settle).await? - empty;
    let bytes = listed(&cluster, "pods").await?;
    cluster.sampan(&["stop"])?;
    cluster.up()?;
    let started = settled(&cluster, settle).await?;
    let mut figures = vec![
        figure(format!("{count} pods held"), grown, bytes),
        figure("after a restart".into(), started - empty, bytes),
    ];
    let before = listed(&cluster, "configmaps").await?;
    fill(&cluster, count).await?;
    let grown = settled(&cluster, settle).await? - started;
    figures.push(figure(
        format!("{count} ConfigMaps held"),
        grown,
        listed(&cluster, "configmaps").await? - before,
    ));
    Ok(figures)
}

fn figure(what: String, grown: f64, bytes: f64) -> Figure {
    let peer = ("their bytes", &[bytes][..]);
    Figure::beside(
        format!("{what}: growth of PSS"),
        Unit::Megabytes,
        &[grown],
        peer,
        Goal::RatioAtMost(LIMIT),
    )
}

/// PSS when a while has passed, in millions of bytes.
async fn settled(cluster: &Cluster, wait: Duration) -> Result<f64> {
    tokio::time::sleep(wait).await;
    idle::memory(&idle::processes(cluster)?)
}

/// How long a LIST of the default namespace is, in millions of bytes.
async fn listed(cluster: &Cluster, resource: &str) -> Result<f64> {
    let target = Target::cluster(cluster, &format!("/api/v1/namespaces/default/{resource}")).await?;
    let mut connection = target.connect().await?;
    Ok(target.get(&mut connection).await? as f64 / 1e6)
}

async fn fill(cluster: &Cluster, count: usize) -> Result<()> {
    let api: Api<ConfigMap> = Api::default_namespaced(cluster.client().await?);
    let made = futures::stream::iter(0..count).map(|number| {
        let api = &api;
        async move {
            let metadata = ObjectMeta { name: Some(format!("settings-{number}")), ..Default::default() };
            let data = Some([("value".to_owned(), "x".repeat(VALUE))].into());
            api.create(&PostParams::default(), &ConfigMap { metadata, data, ..Default::default() }).await
        }
    });
    made.buffer_unordered(32).try_for_each(|_| async { Ok(()) }).await?;
    Ok(())
}
