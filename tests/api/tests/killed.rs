//! The daemon is killed under writes: nothing acknowledged is lost, a watch goes on without gap or repeat.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use futures::StreamExt;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client, ResourceExt};
use sampan_testkit::{Cluster, length};
use serde_json::json;

const ROUNDS: usize = 6;
const WRITERS: usize = 4;
/// Acknowledged writes before each kill.
const WRITES: usize = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_nine_in_a_loop() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut watcher = Watcher::begin(&cluster.client().await?).await?;
    let mut acknowledged = BTreeSet::new();
    let rounds = ROUNDS * length() as usize;
    for round in 0..rounds {
        acknowledged.extend(killed_under_writes(&cluster, round).await?);
        cluster.up()?;
        let client = cluster.client().await?;
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let list = api.list(&ListParams::default().labels("test=kill")).await?;
        let present: BTreeSet<String> = list.items.iter().map(ResourceExt::name_any).collect();
        let lost: Vec<_> = acknowledged.difference(&present).collect();
        ensure!(lost.is_empty(), "round {round} lost {lost:?}");
        watcher.catch_up(&client, &list.metadata.resource_version.unwrap_or_default(), &present).await?;
    }
    println!("{} acknowledged writes over {rounds} kills", acknowledged.len());
    Ok(())
}

/// Writes until enough are acknowledged, then kills the daemon while more are on their way.
async fn killed_under_writes(cluster: &Cluster, round: usize) -> Result<Vec<String>> {
    let client = cluster.client().await?;
    let pid = cluster.pid()?.to_string();
    let (count, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let writers = (0..WRITERS).map(|writer| {
        let (api, count, stop) = (Api::default_namespaced(client.clone()), count.clone(), stop.clone());
        tokio::spawn(write(api, format!("r{round}-w{writer}"), count, stop, pid.clone()))
    });
    let mut names = Vec::new();
    for writer in writers.collect::<Vec<_>>() {
        names.extend(writer.await?);
    }
    ensure!(stop.load(Ordering::SeqCst), "nobody killed the daemon");
    Ok(names)
}

/// Creates one ConfigMap after the other until the daemon is gone; whoever gets the last acknowledgement kills it.
async fn write(
    api: Api<ConfigMap>,
    prefix: String,
    count: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    pid: String,
) -> Vec<String> {
    let mut names = Vec::new();
    for number in 0.. {
        let name = format!("{prefix}-{number:03}");
        let object = json!({"metadata": {"name": name, "labels": {"test": "kill"}}});
        match api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await {
            Ok(_) => names.push(name),
            Err(_) => break,
        }
        if count.fetch_add(1, Ordering::SeqCst) + 1 == WRITES {
            stop.store(true, Ordering::SeqCst);
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
        }
    }
    names
}

/// A watch that is resumed from the last revision it saw.
struct Watcher {
    revision: String,
    seen: BTreeSet<String>,
}

impl Watcher {
    async fn begin(client: &Client) -> Result<Self> {
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let revision = api.list(&ListParams::default()).await?.metadata.resource_version.unwrap_or_default();
        Ok(Self { revision, seen: BTreeSet::new() })
    }

    /// Reads on until `revision`; everything `present` must have been seen, each once and in order.
    async fn catch_up(&mut self, client: &Client, revision: &str, present: &BTreeSet<String>) -> Result<()> {
        let api: Api<ConfigMap> = Api::default_namespaced(client.clone());
        let parameters = WatchParams::default().labels("test=kill").timeout(20);
        let mut events = api.watch(&parameters, &self.revision).await?.boxed();
        let number = |text: &str| text.parse::<u64>().unwrap_or(0);
        while self.seen.len() < present.len() {
            match events.next().await {
                Some(Ok(WatchEvent::Added(map))) => {
                    let at = map.resource_version().unwrap_or_default();
                    ensure!(number(&at) > number(&self.revision), "{at} after {}", self.revision);
                    ensure!(number(&at) <= number(revision), "{at} is later than the list");
                    ensure!(self.seen.insert(map.name_any()), "{} twice", map.name_any());
                    self.revision = at;
                }
                other => {
                    anyhow::bail!("a gap: {} of {} seen, then {other:?}", self.seen.len(), present.len())
                }
            }
        }
        ensure!(self.seen == *present);
        Ok(())
    }
}
