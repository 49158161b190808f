//! The native addon loadbalancer: a Service of type LoadBalancer gets an address at once.
//!
//! ```text
//!  Service ──► plan ──► /status (ingress IP, mode VIP) ──► the service proxy leads what comes there to the endpoints
//!                └────► pool addresses in use: /32 on the pods' bridge, so that the host has a route to them
//! ```
//!
//! It forwards nothing itself: an address is a line in a status and, out of the pool, an address of the bridge. There is
//! no finalizer, because nothing outlives the Service: the bridge is made to agree with the Services that there are.

mod bridge;
mod controller;
mod listening;
mod plan;
mod pool;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use sampan_addon::{About, Addon, Context, Drain, Error, Site, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use controller::Balancer;
use plan::{Pair, Stock};
use pool::Pool;

/// The addon.
pub struct LoadBalancer;

/// Its configuration.
#[derive(Clone, Debug, Deserialize, JsonSchema, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Config {
    /// Addresses for Services whose ports are taken at the node's own address: blocks (`10.1.2.0/28`, without their
    /// first and last address), ranges (`10.1.2.3-10.1.2.9`) and single IPv4 addresses that no network of the host has.
    /// Empty: the last sixteen of the pods' block.
    pub pool: Vec<String>,
    /// Ports that no Service gets at the node's own address, such as `443` or `53/UDP`, besides those that something on
    /// the host listens at.
    pub reserved: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        // an sshd that starts later would otherwise be out of reach
        Self { pool: Vec::new(), reserved: vec!["22".into()] }
    }
}

impl Config {
    fn read(&self) -> Result<(Pool, BTreeSet<Pair>), Error> {
        let at =
            |list: &str, place: usize, problem| Error::Config { field: format!("{list}[{place}]"), problem };
        let pool = Pool::parse(&self.pool).map_err(|(place, problem)| at("pool", place, problem))?;
        let pair = |(place, text): (usize, &String)| {
            Pair::parse(text).map_err(|problem| at("reserved", place, problem))
        };
        Ok((pool, self.reserved.iter().enumerate().map(pair).collect::<Result<_, _>>()?))
    }

    fn stock(&self, site: &Site) -> Result<Stock, Error> {
        let (pool, reserved) = self.read()?;
        let pool = if self.pool.is_empty() { Pool::default_of(&site.pod_cidr) } else { pool };
        let node = site.node_ips.iter().copied().filter(|ip| !ip.is_loopback()).collect();
        Ok(Stock { node, reserved, pool })
    }
}

#[async_trait]
impl Addon for LoadBalancer {
    type Config = Config;

    fn about(&self) -> About {
        About {
            name: "loadbalancer",
            summary: Text {
                en: "Addresses for Services of type LoadBalancer, without a tunnel",
                zh: "为 LoadBalancer 类型的 Service 分配地址,无需隧道",
            },
            maintainer: "sampan",
            version: env!("CARGO_PKG_VERSION"),
            default_on: true,
            needs: &[],
        }
    }

    fn check(&self, config: &Config) -> Result<(), Error> {
        config.read().map(drop)
    }

    async fn run(&self, config: Config, context: Context, drain: Drain) -> Result<(), Error> {
        let balancer = Arc::new(Balancer::new(&context, config.stock(&context.site)?).await?);
        let ready = balancer.clone();
        context.tasks.spawn_until_drain("ready", async move { ready.ready().await });
        sampan_reconcile::run(balancer, drain).await;
        Ok(())
    }

    async fn disabled(&self, config: Config, context: Context) -> Result<(), Error> {
        let balancer = Balancer::new(&context, config.stock(&context.site)?).await?;
        balancer.withdraw().await.map_err(|error| Error::Other(error.to_string()))
    }
}
