//! GET of one pod by its administrator over TLS 1.3 on connections that stay open, beside nginx serving the
//! same bytes as a file.
//!
//! Ours authenticates a client certificate, authorizes by RBAC and answers from memory; theirs sends a file
//! from the page cache. Closed loops, one thread of load, one and 64 connections; rounds alternate.

use std::time::Duration;

use anyhow::Result;
use sampan_testkit::Cluster;

use crate::figure::{Figure, Goal, Unit};
use crate::pods;
use crate::tls::{Nginx, Target, leave_last_core};

/// Measures both connection counts.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let cluster = Cluster::start()?;
    pods::fill(&cluster.client().await?, 1).await?;
    let target = Target::cluster(&cluster, "/api/v1/namespaces/default/pods/object-00000").await?;
    let body = target.body().await?;
    let nginx = Nginx::serving(&body).await?;
    nginx.leave_last_core()?;
    leave_last_core(cluster.pid()?)?;
    let (rounds, time) = if short { (3, 1) } else { (7, 3) };
    let time = Duration::from_secs(time);
    let mut figures = Vec::new();
    for connections in [1, 64] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            theirs.push(nginx.target().load(connections, time)?);
            ours.push(target.load(connections, time)?);
        }
        let name = format!("GET of a pod ({} bytes), connections: {connections}", body.len());
        let unit = Unit::PerSecond("requests");
        figures.push(Figure::beside(name, unit, &ours, ("nginx, same bytes", &theirs), Goal::Report));
    }
    Ok(figures)
}
