//! From `exec` to a node that is Ready, beside etcd from `exec` to an answer on `/health`.
//!
//! Cold means directories that do not exist yet: certificates, database and node object are all made; the
//! page cache is warm on both sides. `sampan start` is timed as a person would, until the command returns.
//! Restart is the same command on a cluster that was stopped with 1,000 pods and 1,000 ConfigMaps in it;
//! nothing schedules those pods, so that objects are measured and not containers. One round is one etcd, one
//! cold start and one restart.

use std::time::Instant;

use anyhow::Result;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::PostParams;
use sampan_testkit::Cluster;

use crate::figure::{Figure, Goal, Unit};
use crate::peers::Etcd;
use crate::pods;

const OBJECTS: usize = 1000;

/// Measures both starts.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let full = filled().await?;
    let (mut etcd, mut cold, mut restart) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if short { 3 } else { 7 } {
        etcd.push(etcd_start()?);
        let fresh = Cluster::unstarted(Default::default())?;
        cold.push(timed(&fresh)?);
        drop(fresh);
        restart.push(timed(&full)?);
        full.sampan(&["stop"])?;
        eprintln!(
            "etcd {:.0} ms, cold {:.0} ms, restart {:.0} ms",
            etcd[etcd.len() - 1],
            cold[cold.len() - 1],
            restart[restart.len() - 1]
        );
    }
    let limit = Goal::Below(1000.0);
    let peer = ("etcd exec → healthy", &etcd[..]);
    Ok(vec![
        Figure::alone("cold start → node Ready", Unit::Milliseconds, cold.clone(), limit),
        Figure::beside("cold start, ratio", Unit::Milliseconds, &cold, peer, Goal::RatioAtMost(2.0)),
        Figure::beside(
            "restart with 1,000 pods' objects",
            Unit::Milliseconds,
            &restart,
            ("cold start", &cold),
            Goal::RatioAtMost(2.0),
        ),
    ])
}

/// A stopped cluster with objects in it.
async fn filled() -> Result<Cluster> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    pods::fill(&client, OBJECTS).await?;
    let api: Api<ConfigMap> = Api::default_namespaced(client);
    for number in 0..OBJECTS {
        let map = ConfigMap {
            metadata: kube::api::ObjectMeta {
                name: Some(format!("settings-{number}")),
                ..Default::default()
            },
            data: Some([("value".to_owned(), "x".repeat(500))].into()),
            ..Default::default()
        };
        api.create(&PostParams::default(), &map).await?;
    }
    cluster.sampan(&["stop"])?;
    Ok(cluster)
}

fn timed(cluster: &Cluster) -> Result<f64> {
    let began = Instant::now();
    cluster.up()?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}

fn etcd_start() -> Result<f64> {
    let folder = tempfile::tempdir()?;
    let began = Instant::now();
    let etcd = Etcd::start(&folder.path().join("etcd"))?;
    etcd.healthy()?;
    Ok(began.elapsed().as_secs_f64() * 1000.0)
}
