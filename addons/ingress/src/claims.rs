//! Ports of ours that the kernel leads elsewhere before a socket hears of them: to a Service by an address or a node
//! port, to a pod by a host port. A socket can be bound there all the same, so that only the objects tell.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, Service};
use sampan_addon::{Context, Drain};
use sampan_reconcile::{Delta, Informer, Object};

use crate::Config;
use crate::standing::Gap;

const BY_PORT: &str = "ingress/port";

/// Where this addon is to be reached.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The addresses.
    pub addresses: Vec<IpAddr>,
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
        if config.addresses.iter().all(IpAddr::is_unspecified) {
            addresses.extend(&context.site.node_ips);
        }
        let ports = [(config.http.port, false), (config.https.port, true)];
        Self {
            addresses,
            ports: ports.into_iter().filter(|(port, _)| *port != 0).collect(),
            node: context.site.node_name.clone(),
        }
    }
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

fn ports(service: &Service) -> impl Iterator<Item = u16> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let tcp = ports.filter(|port| is_tcp(port.protocol.as_deref()));
    tcp.filter_map(|port| u16::try_from(port.port).ok())
}

fn node_ports(service: &Service) -> impl Iterator<Item = u16> {
    let ports = service.spec.iter().flat_map(|spec| spec.ports.iter().flatten());
    let tcp = ports.filter(|port| is_tcp(port.protocol.as_deref()));
    tcp.filter_map(|port| u16::try_from(port.node_port?).ok())
}

/// The addresses of this host, or of elsewhere, at which the Service has its ports.
fn addresses(service: &Service) -> impl Iterator<Item = IpAddr> {
    let external = service.spec.iter().flat_map(|spec| spec.external_ips.iter().flatten());
    let balancer = service.status.iter().filter_map(|status| status.load_balancer.as_ref());
    let given = balancer.flat_map(|balancer| balancer.ingress.iter().flatten());
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
    told(gaps(&reach, &services, &pods));
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
            told(gaps(&reach, &services, &pods));
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
        Reach { addresses, ports: vec![(80, false), (443, true)], node: "here".into() }
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
            "spec": {"ports": [port]},
            "status": {"loadBalancer": {"ingress": ingress}},
        })
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
