//! LIST of 10,000 pods in one answer over TLS, uncompressed, beside nginx serving the same bytes as a file.
//!
//! A connection of its own for each fetch, its handshake not counted; rounds alternate.

use anyhow::{Result, ensure};
use sampan_testkit::Cluster;

use crate::figure::{Figure, Goal, Unit};
use crate::pods;
use crate::tls::{Nginx, Target, leave_last_core};

const PODS: usize = 10_000;

/// Measures bytes and pods per second.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let cluster = Cluster::start()?;
    let began = std::time::Instant::now();
    pods::fill(&cluster.client().await?, PODS).await?;
    eprintln!("{PODS} pods created at {:.0}/s", PODS as f64 / began.elapsed().as_secs_f64());
    let target = Target::cluster(&cluster, "/api/v1/namespaces/default/pods").await?;
    let body = target.body().await?;
    let items = serde_json::from_slice::<serde_json::Value>(&body)?;
    ensure!(items["items"].as_array().map(Vec::len) == Some(PODS), "the list is not whole");
    let nginx = Nginx::serving(&body).await?;
    nginx.leave_last_core()?;
    leave_last_core(cluster.pid()?)?;
    let (mut ours, mut theirs, mut pods) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if short { 5 } else { 15 } {
        let (length, seconds) = nginx.target().fetch()?;
        theirs.push(length as f64 / 1e6 / seconds);
        let (length, seconds) = target.fetch()?;
        ours.push(length as f64 / 1e6 / seconds);
        pods.push(PODS as f64 / seconds);
    }
    let name = format!("LIST of 10,000 pods ({:.0} MB)", body.len() as f64 / 1e6);
    Ok(vec![
        Figure::beside(name, Unit::MegabytesPerSecond, &ours, ("nginx, same bytes", &theirs), Goal::Report),
        Figure::alone("the same in pods", Unit::PerSecond("pods"), pods, Goal::Report),
    ])
}
