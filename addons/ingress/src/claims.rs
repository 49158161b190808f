//! Ports of ours that the kernel leads elsewhere before a socket hears of them: to a Service by an address or a node
//! port, to a pod by a host port. A socket can be bound there all the same, so that only the objects tell.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service, ServicePort, ServiceSpec};
use sampan_addon::{Context, Drain};
use sampan_reconcile::{Delta, Informer, Object};

use crate::Config;
use crate::standing::Gap;

const BY_PORT: &str = "ingress/port";

/// A Service with this label is another proxy's.
const OTHER_PROXY: &str = "service.kubernetes.io/service-proxy-name";

/// Where this addon is to be reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The addresses that are known beforehand.
    pub addresses: Vec<IpAddr>,
    /// All addresses of the host are meant besides, whichever it has.
    pub everywhere: bool,
    /// The ports, each with whether it is TLS's.
    pub ports: Vec<(u16, bool)>,
    /// The node that we run on.
    pub node: String,
}

impl Reach {
    /// Where `config` says.
    pub fn new(config: &Config, context: &Context) -> Self {
        let listened = config.addresses.iter().copied().filter(|ip| !ip.is_unspecified());
        let mut addresses: Vec<_> = listened.chain(config.publish_address).collect();
        let everywhere = listens_everywhere(config);
        if everywhere {
            addresses.extend(&context.site.node_ips);
        }
        let ports = [(config.http.port, false), (config.https.port, true)];
        Self {
            addresses,
            everywhere,
            ports: ports.into_iter().filter(|(port, _)| *port != 0).collect(),
            node: context.site.node_name.clone(),
        }
    }

    /// With the addresses that the host has now.
    fn now(&self) -> Self {
        let mut reach = self.clone();
        if self.everywhere {
            reach.addresses.extend(host_addresses());
        }
        reach
    }
}

/// Whether sockets take connections at any address: as they do where none is configured.
fn listens_everywhere(config: &Config) -> bool {
    config.sockets(1).iter().any(|socket| socket.ip().is_unspecified())
}

/// All addresses of this host's interfaces, loopback's too.
fn host_addresses() -> Vec<IpAddr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    };
    interfaces.filter_map(address).collect()
}

/// Which ports lead elsewhere. Pure, apart from its reading of the informers.
fn gaps(reach: &Reach, services: &Informer<Service>, pods: &Informer<Pod>) -> Vec<Gap> {
    let of = |&(port, tls): &(u16, bool)| {
        let term = port.to_string();
        let by_service = services.by_index(BY_PORT, &term).into_iter().filter_map(move |service| {
            let at = at_service(reach, &service, port)?;
            Some((format!("port {port}{at} leads to the Service {}", service.key()), service.key()))
        });
        let term = port.to_string();
        let by_pod = pods.by_index(BY_PORT, &term).into_iter().filter_map(move |pod| {
            let at = at_pod(reach, &pod, port)?;
            Some((format!("port {port}{at} leads to the pod {} (host port)", pod.key()), pod.key()))
        });
        let mut found: Vec<_> = by_service.chain(by_pod).collect();
        found.sort();
        found.into_iter().map(move |(reason, _)| Gap { tls, reason })
    };
    reach.ports.iter().flat_map(of).collect()
}

/// Where the Service takes a port of ours, in words: ` at 192.0.2.1`.
fn at_service(reach: &Reach, service: &Service, port: u16) -> Option<String> {
    if node_ports(service).any(|taken| taken == port) {
        return Some(" (its node port)".into());
    }
    let address = addresses(service).find(|ip| reach.addresses.contains(ip))?;
    ports(service).any(|taken| taken == port).then(|| format!(" at {address}"))
}

fn at_pod(reach: &Reach, pod: &Pod, port: u16) -> Option<String> {
    let node = pod.spec.as_ref()?.node_name.as_deref();
    let (_, ip) = host_ports(pod).find(|(taken, _)| *taken == port)?;
    if node != Some(reach.node.as_str()) {
        return None;
    }
    match ip {
        None => Some(String::new()),
        Some(ip) => reach.addresses.contains(&ip).then(|| format!(" at {ip}")),
    }
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol == "TCP")
}

/// What the Service asks for, if kube-proxy serves it (as `is_proxied` of `server/proxy`).
fn served(service: &Service) -> Option<&ServiceSpec> {
    let foreign = service.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(OTHER_PROXY));
    let spec =
        service.spec.as_ref().filter(|spec| !foreign && spec.type_.as_deref() != Some("ExternalName"))?;
    let mut addresses = spec.cluster_ips.iter().flatten().chain(&spec.cluster_ip);
    // a headless one has `None`
    addresses.any(|ip| ip.parse::<IpAddr>().is_ok()).then_some(spec)
}

fn tcp_ports(service: &Service) -> impl Iterator<Item = &ServicePort> {
    let ports = served(service).into_iter().flat_map(|spec| spec.ports.iter().flatten());
    ports.filter(|port| is_tcp(port.protocol.as_deref()))
}

fn ports(service: &Service) -> impl Iterator<Item = u16> {
    tcp_ports(service).filter_map(|port| u16::try_from(port.port).ok())
}

fn node_ports(service: &Service) -> impl Iterator<Item = u16> {
    tcp_ports(service).filter_map(|port| u16::try_from(port.node_port?).ok())
}

/// The addresses of this host, or of elsewhere, at which the Service has its ports: external ones, and a load balancer's
/// that lead to the Service itself, not to a proxy before it.
fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let spec = served(service);
    let external = spec.into_iter().flat_map(|spec| spec.external_ips.iter().flatten());
    let balanced = spec.is_some_and(|spec| spec.type_.as_deref() == Some("LoadBalancer"));
    let status = service.status.as_ref().filter(|_| balanced);
    let given = status.and_then(|status| status.load_balancer.as_ref());
    let given = given.into_iter().flat_map(|balancer| balancer.ingress.iter().flatten());
    let given = given.filter(|one| one.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    external.chain(given.filter_map(|one| one.ip.as_ref())).filter_map(|ip| ip.parse().ok())
}

/// The TCP ports of the node that lead into the pod, while it runs; without an address where all lead there.
fn host_ports(pod: &Pod) -> impl Iterator<Item = (u16, Option<IpAddr>)> {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    let spec = pod.spec.as_ref().filter(|spec| {
        // what a pod on the host's network listens at is a socket like any other
        !matches!(phase, Some("Succeeded" | "Failed")) && spec.host_network != Some(true)
    });
    let containers = spec.into_iter().flat_map(|spec| {
        spec.containers.iter().chain(
            spec.init_containers
                .iter()
                .flatten()
                .filter(|container| container.restart_policy.as_deref() == Some("Always")),
        )
    });
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports.filter(|port| is_tcp(port.protocol.as_deref())).filter_map(|port| {
        let ip = port.host_ip.as_deref().and_then(|ip| ip.parse().ok());
        let number = u16::try_from(port.host_port?).ok().filter(|port| *port != 0)?;
        Some((number, ip.filter(|ip: &IpAddr| !ip.is_unspecified())))
    })
}

fn terms_of_service(service: &Service) -> Vec<String> {
    let reached = addresses(service).next().map(|_| ports(service));
    let taken: BTreeSet<u16> = reached.into_iter().flatten().chain(node_ports(service)).collect();
    taken.iter().map(ToString::to_string).collect()
}

fn terms_of_pod(pod: &Pod) -> Vec<String> {
    let taken: BTreeSet<u16> = host_ports(pod).map(|(port, _)| port).collect();
    taken.iter().map(ToString::to_string).collect()
}

/// Says through `told` which ports lead elsewhere: once at the beginning, then whenever an object with such a port
/// comes, changes or goes. Ends with the drain.
pub async fn watch(reach: Reach, context: &Context, drain: &Drain, told: impl Fn(Vec<Gap>)) {
    let (services, pods) = (context.informers.of::<Service>(), context.informers.of::<Pod>());
    services.add_index(BY_PORT, terms_of_service);
    pods.add_index(BY_PORT, terms_of_pod);
    let (mut of_services, mut of_pods) = (services.subscribe(), pods.subscribe());
    tokio::select! {
        () = drain.wait() => return,
        ((), ()) = async { tokio::join!(services.synced(), pods.synced()) } => {}
    }
    let ours: Vec<String> = reach.ports.iter().map(|(port, _)| port.to_string()).collect();
    told(gaps(&reach.now(), &services, &pods));
    loop {
        let matters = tokio::select! {
            () = drain.wait() => return,
            delta = of_services.next() => match delta {
                Some(delta) => matters(&delta, terms_of_service, &ours),
                None => return,
            },
            delta = of_pods.next() => match delta {
                Some(delta) => matters(&delta, terms_of_pod, &ours),
                None => return,
            },
        };
        if matters {
            told(gaps(&reach.now(), &services, &pods));
        }
    }
}

fn matters<K>(delta: &Delta<K>, terms: fn(&K) -> Vec<String>, ours: &[String]) -> bool {
    delta.states().any(|object| terms(object).iter().any(|term| ours.contains(term)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn reach() -> Reach {
        let addresses = vec!["192.0.2.1".parse().unwrap()];
        let ports = vec![(80, false), (443, true)];
        Reach { addresses, everywhere: false, ports, node: "here".into() }
    }

    fn found(services: &[Value], pods: &[Value]) -> Vec<(bool, String)> {
        let services = services.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
        let pods = pods.iter().map(|one| serde_json::from_value(one.clone()).unwrap()).collect();
        let (services, pods) = (Informer::<Service>::fixed(services), Informer::<Pod>::fixed(pods));
        services.add_index(BY_PORT, terms_of_service);
        pods.add_index(BY_PORT, terms_of_pod);
        gaps(&reach(), &services, &pods).into_iter().map(|gap| (gap.tls, gap.reason)).collect()
    }

    fn service(port: &Value, address: Option<&str>) -> Value {
        let ingress = address.map(|ip| json!([{"ip": ip}]));
        json!({
            "metadata": {"name": "api", "namespace": "default"},
            "spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.9", "ports": [port]},
            "status": {"loadBalancer": {"ingress": ingress}},
        })
    }

    #[test]
    fn only_what_the_proxy_serves_takes_a_port() {
        let port = json!({"port": 80, "nodePort": 443});
        let with = |changes: Value| {
            let mut service = service(&json!({"port": 80}), None);
            service["spec"]["externalIPs"] = json!(["192.0.2.1"]);
            for (pointer, value) in changes.as_object().unwrap() {
                let (parent, name) = pointer.rsplit_once('/').unwrap();
                service.pointer_mut(parent).unwrap()[name] = value.clone();
            }
            found(&[service], &[])
        };
        assert_eq!(with(json!({})).len(), 1, "an external address");
        assert_eq!(with(json!({"/spec/type": "ClusterIP"})).len(), 1);
        assert_eq!(with(json!({"/spec/type": "ExternalName", "/spec/ports": [port]})), []);
        assert_eq!(with(json!({"/spec/clusterIP": "None", "/spec/ports": [port]})), []);
        assert_eq!(with(json!({"/metadata/labels": {"service.kubernetes.io/service-proxy-name": "x"}})), []);
        let balanced = |kind: &str, mode: Value| {
            let ingress = json!([{"ip": "192.0.2.1", "ipMode": mode}]);
            with(json!({
                "/spec/externalIPs": null, "/spec/type": kind, "/status/loadBalancer/ingress": ingress}))
        };
        assert_eq!(balanced("LoadBalancer", json!(null)).len(), 1);
        assert_eq!(balanced("LoadBalancer", json!("VIP")).len(), 1);
        assert_eq!(balanced("LoadBalancer", json!("Proxy")), []);
        assert_eq!(balanced("NodePort", json!(null)), [], "of what it was before");
    }

    #[test]
    fn all_addresses_of_the_host_are_ours_when_listening_at_all() {
        let home: IpAddr = "127.0.0.1".parse().unwrap();
        let reach = reach();
        assert_eq!(reach.now().addresses, reach.addresses);
        assert!(Reach { everywhere: true, ..reach }.now().addresses.contains(&home));
    }

    #[test]
    fn no_address_means_all() {
        let at = |addresses: &[&str]| {
            let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();
            listens_everywhere(&Config { addresses, ..Config::default() })
        };
        assert!(at(&[]) && at(&["0.0.0.0"]) && at(&["127.0.0.1", "::"]));
        assert!(!at(&["127.0.0.1"]));
    }

    #[test]
    fn services_that_take_a_port_are_named() {
        let at = |port: Value, address| found(&[service(&port, address)], &[]);
        let here = vec![(false, "port 80 at 192.0.2.1 leads to the Service default/api".to_owned())];
        assert_eq!(at(json!({"port": 80}), Some("192.0.2.1")), here);
        let by_node = vec![(true, "port 443 (its node port) leads to the Service default/api".to_owned())];
        assert_eq!(at(json!({"port": 8080, "nodePort": 443}), None), by_node);
        for (port, address) in [
            (json!({"port": 80}), None),
            (json!({"port": 80}), Some("192.0.2.9")),
            (json!({"port": 8080}), Some("192.0.2.1")),
            (json!({"port": 80, "protocol": "UDP"}), Some("192.0.2.1")),
        ] {
            assert_eq!(at(port.clone(), address), [], "{port} {address:?}");
        }
    }

    #[test]
    fn pods_that_take_a_port_are_named() {
        let pod = |node: &str, phase: &str, port: Value| {
            let pod = json!({
                "metadata": {"name": "web", "namespace": "default"},
                "spec": {"nodeName": node, "containers": [{"name": "c", "ports": [port]}]},
                "status": {"phase": phase},
            });
            found(&[], &[pod])
        };
        let port = json!({"containerPort": 8080, "hostPort": 80});
        let here = vec![(false, "port 80 leads to the pod default/web (host port)".to_owned())];
        assert_eq!(pod("here", "Running", port.clone()), here);
        assert_eq!(pod("there", "Running", port.clone()), []);
        assert_eq!(pod("here", "Succeeded", port), []);
        let at = |ip: &str| json!({"containerPort": 8080, "hostPort": 80, "hostIP": ip});
        assert_eq!(pod("here", "Running", at("0.0.0.0")), here);
        assert_eq!(pod("here", "Running", at("127.0.0.2")), []);
        assert_eq!(pod("here", "Running", at("192.0.2.1")).len(), 1);
    }
}
