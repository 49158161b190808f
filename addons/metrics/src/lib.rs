//! The native addon metrics: what nodes and pods use, as `metrics.k8s.io/v1beta1` and as a short history.
//!
//! ```text
//!  every 15 s: /api/v1/nodes/NODE/proxy/stats/summary ──► Store (two readings each) ──► NodeMetrics, PodMetrics
//!                                                    └──► History (15 min of f32)   ──► NodeHistory, PodHistory
//! ```
//!
//! Figures come from the kubelet over the API, as metrics-server's do; the API server hands requests of both groups to
//! this addon in process, after it has authenticated and authorized them.

mod answer;
mod history;
mod sampler;
mod store;
mod summary;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::FutureExt;
use http::Request;
use jiff::Timestamp;
use sampan_addon::{About, Addon, Context, Drain, Error, GroupHandler, Site, Text, manifests};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use answer::{GROUP, HISTORY_GROUP, HISTORY_VERSION, VERSION, World, answer};
use sampler::Sampler;

const OBJECTS: &str = include_str!("objects.yaml");

/// The addon.
pub struct Metrics;

/// Its configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Seconds between two readings, which is also the window of CPU figures: 5 to 300.
    pub resolution_seconds: u32,
    /// Minutes of readings that are kept in memory for charts: 1 to 1440. A pod takes eight bytes for each.
    pub history_minutes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self { resolution_seconds: 15, history_minutes: 15 }
    }
}

#[async_trait]
impl Addon for Metrics {
    type Config = Config;

    fn about(&self) -> About {
        About {
            name: "metrics",
            summary: Text {
                en: "CPU and memory of nodes and pods, for kubectl top and autoscaling",
                zh: "节点与 Pod 的 CPU 和内存用量,供 kubectl top 与自动伸缩使用",
            },
            maintainer: "sampan",
            version: env!("CARGO_PKG_VERSION"),
            default_on: true,
            needs: &[],
        }
    }

    fn check(&self, config: &Config) -> Result<(), Error> {
        let within = |field: &str, value: u32, least: u32, most: u32| match (least..=most).contains(&value) {
            true => Ok(()),
            false => Err(Error::Config {
                field: field.into(),
                problem: format!("has to be {least} to {most}, not {value}"),
            }),
        };
        within("resolutionSeconds", config.resolution_seconds, 5, 300)?;
        within("historyMinutes", config.history_minutes, 1, 1440)
    }

    fn objects(&self, _: &Config, _: &Site) -> Result<Vec<Value>, Error> {
        manifests(OBJECTS)
    }

    async fn run(&self, config: Config, context: Context, drain: Drain) -> Result<(), Error> {
        let resolution = Duration::from_secs(config.resolution_seconds.into());
        let history = Duration::from_secs(u64::from(config.history_minutes) * 60);
        let sampler = Sampler::new(&context, resolution, history);
        let handler = handler(sampler.clone());
        let _metrics = context.host.serve_group(GROUP, VERSION, handler.clone());
        let _history = context.host.serve_group(HISTORY_GROUP, HISTORY_VERSION, handler);
        sampler.run(drain).await;
        Ok(())
    }
}

fn handler(sampler: Arc<Sampler>) -> GroupHandler {
    Arc::new(move |request: Request<Bytes>| {
        let sampler = sampler.clone();
        async move {
            let readings = sampler.readings.read();
            let world = World {
                nodes: &sampler.nodes,
                pods: &sampler.pods,
                store: &readings.store,
                history: &readings.history,
                resolution: sampler.resolution,
                now: Timestamp::now(),
            };
            answer(&world, &request)
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sampan_addon::Native;
    use serde_json::json;

    #[test]
    fn the_configuration_has_bounds() {
        let metrics: &dyn Native = &Metrics;
        assert!(metrics.configuration(&json!({"resolutionSeconds": 5})).is_ok());
        for (config, words) in [
            (json!({"resolutionSeconds": 1}), "resolutionSeconds: has to be 5 to 300, not 1"),
            (json!({"historyMinutes": 0}), "historyMinutes: has to be 1 to 1440"),
        ] {
            assert!(metrics.configuration(&config).unwrap_err().to_string().contains(words));
        }
    }

    #[test]
    fn objects_are_read() {
        let objects = manifests(OBJECTS).unwrap();
        let kinds: Vec<_> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
        assert_eq!(kinds, ["APIService", "APIService", "ClusterRole", "ClusterRole"]);
    }
}
