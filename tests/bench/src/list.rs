//! LIST of pods in one answer over TLS, uncompressed.
//!
//! A connection of its own for each fetch, its handshake not counted; rounds alternate. 10,000 pods as JSON beside nginx
//! serving the same bytes as a file, and as protobuf beside JSON; 50,000 pods beside a plain copy of the same bytes from
//! the memory of one thread into one TLS connection.
//!
//! Memory: the daemon is started anew, so that its allocator has no room left over from filling; its largest resident
//! size is reset (`/proc/PID/clear_refs`), and what it grew by while many connections listed at once is shared among
//! them. One loader reads all of them in turns, so each list waits for its reader most of the time.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use sampan_testkit::Cluster;

use crate::copy::Copy;
use crate::figure::{Figure, Goal, Unit};
use crate::pods;
use crate::tls::{Nginx, PROTOBUF, Target, leave_last_core, on_last_core};

const SOME: usize = 10_000;
const MANY: usize = 50_000;
const PATH: &str = "/api/v1/namespaces/default/pods";

/// Measures bytes and pods per second, and the memory of a list.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let rounds = if short { 5 } else { 15 };
    let cluster = Cluster::start()?;
    fill(&cluster, 0, SOME).await?;
    let target = target(&cluster).await?;
    let mut figures = beside_nginx(&target, rounds).await?;
    figures.push(protobuf(&target, rounds).await?);
    fill(&cluster, SOME, MANY).await?;
    cluster.sampan(&["stop"])?;
    cluster.up()?;
    let target = self::target(&cluster).await?;
    figures.push(memory(&target, cluster.pid()?, if short { 16 } else { 32 })?);
    figures.push(beside_copy(&target, rounds).await?);
    Ok(figures)
}

async fn fill(cluster: &Cluster, first: usize, count: usize) -> Result<()> {
    let began = Instant::now();
    pods::fill_from(&cluster.client().await?, first, count).await?;
    eprintln!("{count} pods, created at {:.0}/s", (count - first) as f64 / began.elapsed().as_secs_f64());
    Ok(())
}

async fn target(cluster: &Cluster) -> Result<Target> {
    leave_last_core(cluster.pid()?)?;
    Target::cluster(cluster, PATH).await
}

/// Megabytes per second of one fetch.
fn pace(target: &Target) -> Result<f64> {
    let (length, seconds) = target.fetch()?;
    Ok(length as f64 / 1e6 / seconds)
}

async fn beside_nginx(target: &Target, rounds: usize) -> Result<Vec<Figure>> {
    let body = target.body().await?;
    let items = serde_json::from_slice::<serde_json::Value>(&body)?;
    ensure!(items["items"].as_array().map(Vec::len) == Some(SOME), "the list is not whole");
    let nginx = Nginx::serving(&body).await?;
    nginx.leave_last_core()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(pace(nginx.target())?);
        ours.push(pace(target)?);
    }
    let megabytes = body.len() as f64 / 1e6;
    let pods = ours.iter().map(|pace| pace / megabytes * SOME as f64).collect();
    let name = format!("LIST of 10,000 pods ({megabytes:.0} MB)");
    Ok(vec![
        Figure::beside(name, Unit::MegabytesPerSecond, &ours, ("nginx, same bytes", &theirs), Goal::Report),
        Figure::alone("the same in pods", Unit::PerSecond("pods"), pods, Goal::Report),
    ])
}

async fn protobuf(target: &Target, rounds: usize) -> Result<Figure> {
    let encoded = target.accepting(PROTOBUF);
    let body = encoded.body().await?;
    ensure!(body.starts_with(b"k8s\0"), "the list is not protobuf");
    let pods = |target: &Target| anyhow::Ok(SOME as f64 / target.fetch()?.1);
    let (mut ours, mut json) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        json.push(pods(target)?);
        ours.push(pods(&encoded)?);
    }
    let name = format!("LIST of 10,000 pods as protobuf ({:.0} MB)", body.len() as f64 / 1e6);
    Ok(Figure::beside(name, Unit::PerSecond("pods"), &ours, ("as JSON", &json), Goal::RatioAtLeast(1.0)))
}

async fn beside_copy(target: &Target, rounds: usize) -> Result<Figure> {
    let body = target.body().await?;
    let megabytes = body.len() as f64 / 1e6;
    let copy = Copy::of(body)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        theirs.push(pace(copy.target())?);
        ours.push(pace(target)?);
    }
    let name = format!("LIST of 50,000 pods ({megabytes:.0} MB)");
    let peer = ("plain copy, same bytes", &theirs[..]);
    Ok(Figure::beside(name, Unit::MegabytesPerSecond, &ours, peer, Goal::RatioAtLeast(0.5)))
}

/// What each of so many lists at once adds to the daemon's largest resident size.
fn memory(target: &Target, pid: i32, at_once: usize) -> Result<Figure> {
    // the kernel's word for: the largest size so far is the present one
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5").context("/proc/PID/clear_refs")?;
    let before = resident(pid, "VmRSS:")?;
    let lengths = on_last_core(async {
        let lists = (0..at_once).map(|_| async {
            let mut connection = target.connect().await?;
            target.get(&mut connection).await
        });
        futures::future::try_join_all(lists).await
    })?;
    let peak = resident(pid, "VmHWM:")?;
    ensure!(lengths.iter().all(|length| *length == lengths[0]), "lists of different lengths: {lengths:?}");
    eprintln!("{at_once} lists at once: resident {before:.1} MB, at most {peak:.1} MB");
    let name = format!("LIST of 50,000 pods, {at_once} at once: memory of each");
    // 2 MiB
    let goal = Goal::Below(2.1);
    Ok(Figure::alone(name, Unit::Megabytes, vec![(peak - before) / at_once as f64], goal))
}

/// A line of /proc/PID/status in millions of bytes.
fn resident(pid: i32, name: &str) -> Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    crate::idle::kilobytes(&status, name).with_context(|| format!("{name} of {pid}"))
}
