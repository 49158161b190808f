//! From the POST of a Service to the kernel, in a cluster that has 10,000 Services with two endpoints each.
//!
//! The Service's EndpointSlice is there before it, so that the one request decides. The clock starts before the request
//! is sent over TLS and stops when `nft monitor`, which the kernel tells of every committed change, prints the element that
//! bears the Service's address.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::PostParams;
use kube::{Api, Client};
use sampan_testkit::Cluster;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::figure::{Figure, Goal, Unit};

const MANY: usize = 10_000;
/// Where the monitor is asked whether it sees changes.
const TABLE: &str = "sampan_bench_post";

/// Measures it.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let count = if short { 50 } else { 300 };
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    let filled = futures::stream::iter(0..MANY).map(|index| put(&client, index));
    filled.buffer_unordered(64).try_for_each(|_| async { Ok(()) }).await?;
    let mut monitor = Monitor::start().await?;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    let mut times = Vec::new();
    for index in MANY..=MANY + count {
        slice(&client, index).await?;
        let begin = Instant::now();
        let made = services.create(&PostParams::default(), &service(index)?).await?;
        let address = made.spec.and_then(|spec| spec.cluster_ip).context("a Service without address")?;
        monitor.until(&address).await?;
        times.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    // the first one waits for what is left of the many
    times.remove(0);
    let name = format!("one more service at {MANY}, POST → kernel");
    Ok(vec![Figure::alone(name, Unit::Milliseconds, times, Goal::Below(5.0))])
}

async fn put(client: &Client, index: usize) -> Result<()> {
    slice(client, index).await?;
    let services: Api<Service> = Api::default_namespaced(client.clone());
    services.create(&PostParams::default(), &service(index)?).await?;
    Ok(())
}

fn service(index: usize) -> Result<Service> {
    Ok(serde_json::from_value(json!({
        "metadata": {"name": format!("service-{index}")},
        "spec": {"ports": [{"port": 80}]},
    }))?)
}

async fn slice(client: &Client, index: usize) -> Result<()> {
    let slices: Api<EndpointSlice> = Api::default_namespaced(client.clone());
    let address =
        |which: usize| format!("10.250.{}.{}", (2 * index + which) / 250, (2 * index + which) % 250 + 1);
    let slice = serde_json::from_value(json!({
        "metadata": {
            "name": format!("service-{index}-1"),
            "labels": {"kubernetes.io/service-name": format!("service-{index}")},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address(0)]}, {"addresses": [address(1)]}],
        "ports": [{"port": 80, "name": "", "protocol": "TCP"}],
    }))?;
    slices.create(&PostParams::default(), &slice).await?;
    Ok(())
}

async fn nft(command: &str) -> Result<()> {
    let done = Command::new("nft").arg(command).output().await.context("nft: install nftables")?;
    ensure!(done.status.success(), "nft {command}: {}", String::from_utf8_lossy(&done.stderr));
    Ok(())
}

/// A table of our own; gone when dropped.
struct Table;

impl Table {
    async fn new() -> Result<Self> {
        nft(&format!("add table ip {TABLE}")).await?;
        nft(&format!("add set ip {TABLE} seen {{ type ipv4_addr; }}")).await?;
        Ok(Self)
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        let _ = std::process::Command::new("nft").args(["delete", "table", "ip", TABLE]).status();
    }
}

/// What the kernel commits, as nft prints it.
struct Monitor {
    _child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Monitor {
    /// One that has begun: it says nothing of what happens while it reads what there is.
    async fn start() -> Result<Self> {
        let mut child = Command::new("nft")
            .args(["monitor", "new", "elements"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("nft: install nftables")?;
        let output = child.stdout.take().context("no output of nft")?;
        let mut monitor = Self { _child: child, lines: BufReader::new(output).lines() };
        let _table = Table::new().await?;
        for number in 1..=250 {
            nft(&format!("add element ip {TABLE} seen {{ 192.0.2.{number} }}")).await?;
            let patience = Duration::from_millis(200);
            if let Ok(line) = tokio::time::timeout(patience, monitor.lines.next_line()).await {
                line?.context("nft monitor ended")?;
                return Ok(monitor);
            }
        }
        anyhow::bail!("nft monitor says nothing")
    }

    /// Until the frontend of an address is in the map of services.
    async fn until(&mut self, address: &str) -> Result<()> {
        let element = format!(" services {{ {address} . ");
        let wait = async {
            while let Some(line) = self.lines.next_line().await? {
                if line.contains(&element) {
                    return Ok(());
                }
            }
            anyhow::bail!("nft monitor ended")
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.context("the kernel was not told")?
    }
}
