//! The service proxy and the platform of addons: what the cluster has beyond upstream's control plane and kubelet.

use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::BodyExt;
use sampan_addon::{GroupHandler, Host, Served, Site};
use sampan_addons::Addons;
use sampan_apiserver::ApiServer;
use sampan_pod_network::PodNetwork;
use sampan_process::{Health, Tasks, supervise};
use sampan_proxy::{Led, Proxy};
use sampan_reconcile::Informers;

use super::connect::client;
use super::{addresses, network_config, runtime};
use crate::failure::Failure;
use crate::profile::{Profile, RuntimeKind, Settings};
use crate::services;

/// What both are made of.
pub struct Parts<'a> {
    /// The cluster.
    pub profile: &'a Profile,
    /// As started.
    pub settings: &'a Settings,
    /// The node's name.
    pub node: &'a str,
    /// The API server.
    pub server: &'a ApiServer,
    /// The process's informers.
    pub informers: &'a Informers,
    /// Where readiness is told.
    pub health: &'a Health,
    /// The pods' network.
    pub network: &'a PodNetwork,
    /// Where the daemon answers among the Services.
    pub own: Own,
}

impl Parts<'_> {
    /// Starts kube-proxy.
    pub fn proxy(&self, tasks: &Tasks) -> Result<(), Failure> {
        let (config, own) = (self.proxy_config()?, tasks.clone());
        let (drain, health) = (tasks.drain(), self.health.clone());
        let start = move || {
            let (proxy, drain) = (Proxy::new(config.clone(), &own), drain.clone());
            async move {
                proxy.run(drain).await;
                Ok::<(), std::convert::Infallible>(())
            }
        };
        tasks.spawn("supervise", supervise(tasks.clone(), health, start));
        Ok(())
    }

    /// What the proxy is given.
    pub fn proxy_config(&self) -> Result<sampan_proxy::Config, Failure> {
        let (block, network) = (services::block(self.settings)?, network_config(self.profile, self.settings));
        Ok(sampan_proxy::Config {
            client: client(self.server, "system:kube-proxy", &[]),
            informers: self.informers.clone(),
            node_name: self.node.to_owned(),
            health: self.health.clone(),
            table: services_table(&network.table),
            bridge: network.bridge,
            node_ips: vec![addresses::main()],
            pod_cidr: self.network.pod_cidr(),
            node_subnet: self.network.node_subnet(),
            service_cidr: block.to_string(),
            local: [self.own.api, self.own.dns].map(|own| IpAddr::V4(*own.ip())).to_vec(),
            led: self.own.led(addresses::main()),
        })
    }

    /// Starts the platform.
    pub fn addons(&self, tasks: &Tasks) -> Result<Addons, Failure> {
        let (block, server) = (services::block(self.settings)?, self.server.clone());
        let content = match self.settings.container_runtime {
            RuntimeKind::Embedded => Some(runtime::content_store(self.profile)),
            RuntimeKind::Docker => None,
        };
        let site = Site {
            profile: self.profile.name.clone(),
            node_name: self.node.to_owned(),
            node_ips: vec![addresses::main()],
            bridge: network_config(self.profile, self.settings).bridge,
            gateway: self.network.gateway(),
            pod_cidr: self.network.pod_cidr(),
            service_cidr: block.to_string(),
            dns_ip: *self.own.dns.ip(),
            cluster_domain: "cluster.local".to_owned(),
        };
        let config = sampan_addons::Config {
            client: client(self.server, "system:sampan:addons", &["system:masters"]),
            informers: self.informers.clone(),
            health: self.health.clone(),
            site,
            data: self.profile.data.join("addons"),
            host: Arc::new(Daemon { server: self.server.clone(), content, dns_port: self.own.dns.port() }),
            natives: sampan_addons::natives(),
            client_for: Arc::new(move |user| client(&server, user, &["system:masters"])),
        };
        let addons = Addons::new(config, tasks.clone());
        tasks.spawn("addons", addons.clone().run(tasks.drain()));
        Ok(addons)
    }
}

/// The addresses among the Services' that the daemon itself answers on. It listens there at ports of its own, to which
/// those that clients know lead: whoever listens at all addresses of this machine may have these.
#[derive(Clone, Copy, Debug)]
pub struct Own {
    /// The API's.
    pub api: SocketAddrV4,
    /// The cluster DNS's.
    pub dns: SocketAddrV4,
    /// The kubelet's: pods know it by the node's address.
    pub kubelet: SocketAddrV4,
}

impl Own {
    /// Their addresses.
    pub fn addresses(settings: &Settings) -> Result<[Ipv4Addr; 2], Failure> {
        let block = services::block(settings)?;
        Ok([block.at(services::API), block.at(services::DNS)])
    }

    /// Chooses ports, the same ones as long as they can be had: clients of UDP keep their sockets when the daemon
    /// is started anew. The addresses are there already.
    pub fn choose([api, dns]: [Ipv4Addr; 2]) -> std::io::Result<Self> {
        let at =
            |address, port| services::free_port(address, port).map(|port| SocketAddrV4::new(address, port));
        Ok(Self { api: at(api, 1443)?, dns: at(dns, 1053)?, kubelet: at(api, sampan_kubelet::PORT)? })
    }

    fn led(&self, node: IpAddr) -> Vec<Led> {
        let leads = |protocol, port, to: &SocketAddrV4| Led {
            address: *to.ip(),
            protocol,
            port,
            to: *to,
            of_pods: false,
        };
        let mut all =
            vec![leads("tcp", 443, &self.api), leads("tcp", 53, &self.dns), leads("udp", 53, &self.dns)];
        if let IpAddr::V4(address) = node {
            all.push(Led { address, of_pods: true, ..leads("tcp", sampan_kubelet::PORT, &self.kubelet) });
        }
        all
    }
}

/// Name of the proxy's table beside the pod network's.
pub fn services_table(table: &str) -> String {
    format!("{table}_services")
}

/// The daemon, as addons see it.
struct Daemon {
    server: ApiServer,
    content: Option<PathBuf>,
    dns_port: u16,
}

impl Host for Daemon {
    fn serve_group(&self, group: &'static str, version: &'static str, handler: GroupHandler) -> Served {
        let handler: sampan_apiserver::GroupHandler = Arc::new(move |request, _user| {
            let answer = handler(request);
            Box::pin(async move { answer.await.map(|body| body.map_err(Into::into).boxed_unsync()) })
        });
        Box::new(self.server.serve_group(group, version, handler))
    }

    fn content_store(&self) -> Option<PathBuf> {
        self.content.clone()
    }

    fn dns_port(&self) -> u16 {
        self.dns_port
    }
}
