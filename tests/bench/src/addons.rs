//! What the native addons cost an idle cluster: PSS with every one of them, less PSS with none.
//!
//! Both are read two minutes after a start, in processes that have never run anything else: what is freed does not
//! always go back to the kernel, so an addon that was disabled would still be counted.

use std::time::Duration;

use anyhow::{Context, Result};
use sampan_testkit::Cluster;
use serde_json::Value;

use crate::figure::{Figure, Goal, Unit};
use crate::idle;

/// Measures it.
pub async fn measure(short: bool) -> Result<Vec<Figure>> {
    let settle = Duration::from_secs(if short { 30 } else { 120 });
    let cluster = Cluster::start()?;
    let natives = natives(&cluster)?;
    let mut memory = Vec::new();
    for verb in ["disable", "enable"] {
        for name in &natives {
            cluster.sampan(&["addons", verb, name])?;
        }
        cluster.sampan(&["stop"])?;
        cluster.up()?;
        tokio::time::sleep(settle).await;
        memory.push(idle::memory(&idle::processes(&cluster)?)?);
    }
    let name = format!("every native addon ({}): added PSS", natives.len());
    Ok(vec![Figure::alone(name, Unit::Megabytes, vec![memory[1] - memory[0]], Goal::Below(15.0))])
}

/// Names of those that are in the binary.
fn natives(cluster: &Cluster) -> Result<Vec<String>> {
    let list: Value = serde_json::from_str(&cluster.sampan(&["addons", "list", "-o", "json"])?)?;
    let all = list.as_array().context("a list of addons")?;
    let native = all.iter().filter(|addon| addon["sort"] == "native");
    Ok(native.filter_map(|addon| addon["name"].as_str().map(str::to_owned)).collect())
}
