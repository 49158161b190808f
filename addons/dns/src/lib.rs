//! The native addon dns: the cluster's names, and everybody else's by the host's resolvers.
//!
//! ```text
//!  Services, EndpointSlices ─► feed ─► service::prepare ─► Zone (records in wire form), replaced as a whole
//!                                                            │ read without a lock
//!  datagrams ─► udp ─┬─► query::parse ─► responder ──────────┤ copied behind the question
//!  streams ───► tcp ─┘                       │               ▼
//!                                            └─► forward: cache ─ race of upstreams ─ watchdog ─► health
//! ```
//!
//! An answer about the cluster is made when an object changes: a question costs its parsing, a lookup and a copy. It
//! behaves as CoreDNS's `kubernetes` plugin with kubeadm's configuration (`pods insecure`, `fallthrough` for reverse
//! names, `ttl 30`, `loadbalance`, `loop`, `forward . /etc/resolv.conf`, `cache 30`).

mod answer;
mod config;
mod feed;
mod forward;
mod hosts;
mod listen;
mod name;
mod query;
mod responder;
mod section;
mod server;
mod service;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod zone;

use std::net::SocketAddrV4;
use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use sampan_addon::{About, Addon, Context, Drain, Error, Site, Text, manifests};
use serde_json::Value;

pub use config::Config;
use feed::Feed;
use forward::resolv::Files;
use forward::{Forwarder, Watchdog};
use hosts::Hosts;
use listen::Sockets;
pub use name::Name;
use responder::Responder;
pub use server::Server;
pub use service::{Prepared, Terms, prepare};
pub use zone::Zone;

/// The addon.
pub struct Dns;

#[async_trait]
impl Addon for Dns {
    type Config = Config;

    fn about(&self) -> About {
        About {
            name: "dns",
            summary: Text {
                en: "Names of Services and pods, and the host's resolvers for everything else",
                zh: "解析 Service 和 Pod 的名称,其余名称转发给主机的解析器",
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

    fn objects(&self, _: &Config, site: &Site) -> Result<Vec<Value>, Error> {
        manifests(&include_str!("objects.yaml").replace("ADDRESS", &site.dns_ip.to_string()))
    }

    /// Resolvers that do not answer now are tried again: a network may be off, or not there yet.
    fn waits_for_outside(&self) -> bool {
        true
    }

    async fn run(&self, config: Config, context: Context, drain: Drain) -> Result<(), Error> {
        let read = config.read()?;
        let address = SocketAddrV4::new(context.site.dns_ip, context.host.dns_port());
        let failed = |error| Error::Io { what: format!("serving on {address}"), error };
        let zone = Zone::new(read.terms(&context.site)?, context.site.dns_ip);
        let zone = Arc::new(ArcSwap::from_pointee(zone));
        let forwarder = Forwarder::new(&read.forward, context.tasks.clone());
        let hosts = Hosts::new(&read.hosts, read.ttl);
        let responder = Responder::new(zone.clone(), hosts, forwarder.clone());
        let server = Server::start(Sockets::bind(address).map_err(failed)?, responder, &context.tasks);
        let files = config.upstreams.is_empty().then(Files::default);
        let health = context.health.clone();
        let watchdog = Watchdog { forwarder, files, server: address.ip().to_string(), health };
        let (feed, tasks) = (Feed::new(&context.informers, zone), context.tasks.clone());
        let ready = move || {
            watchdog.health.healthy();
            tasks.spawn_until_drain("upstreams", watchdog.run());
        };
        tokio::select! {
            () = feed.run(drain, ready) => Ok(()),
            error = server.failed() => Err(failed(error)),
        }
    }
}
