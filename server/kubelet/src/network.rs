//! The pod network behind the kubelet's own words, and the host ports of a pod. Pure but for passing on.

use std::path::Path;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use sampan_pod_network::{HostPort, PodNet, Protocol};

use crate::context::{Network, PodNetwork};

fn place(net: PodNet) -> PodNetwork {
    PodNetwork { netns: net.netns, ips: net.ips }
}

#[async_trait]
impl Network for sampan_pod_network::PodNetwork {
    async fn acquire(&self, uid: &str) -> Result<PodNetwork, String> {
        self.acquire(uid).await.map(place).map_err(|e| e.to_string())
    }

    async fn attach(&self, netns: &Path, uid: &str) -> Result<PodNetwork, String> {
        self.attach(netns, uid).await.map(place).map_err(|e| e.to_string())
    }

    async fn set_host_ports(&self, uid: &str, ports: Vec<HostPort>) -> Result<(), String> {
        self.set_host_ports(uid, ports).await.map_err(|e| e.to_string())
    }

    async fn release(&self, uid: &str) -> Result<(), String> {
        self.release(uid).await.map_err(|e| e.to_string())
    }

    async fn recover(&self, uids: Vec<String>) -> Result<(), String> {
        self.recover(&uids).await.map_err(|e| e.to_string())
    }
}

/// The ports of the node that a pod asks for; none on the host's network, where it has them anyway.
pub fn host_ports(pod: &Pod) -> Vec<HostPort> {
    let Some(spec) = pod.spec.as_ref().filter(|spec| spec.host_network != Some(true)) else {
        return Vec::new();
    };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let ports = containers.flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            Some(HostPort {
                protocol: match port.protocol.as_deref() {
                    Some("UDP") => Protocol::Udp,
                    Some("SCTP") => Protocol::Sctp,
                    _ => Protocol::Tcp,
                },
                host_ip: port.host_ip.as_deref().and_then(|ip| ip.parse().ok()).filter(|ip| !is_any(*ip)),
                host_port: port.host_port.and_then(|p| u16::try_from(p).ok()).filter(|p| *p > 0)?,
                container_port: u16::try_from(port.container_port).ok()?,
            })
        })
        .collect()
}

fn is_any(ip: std::net::Ipv4Addr) -> bool {
    ip.is_unspecified()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn only_ports_with_a_host_port_and_not_on_the_hosts_network() {
        let pod = |host: bool| -> Pod {
            let ports = json!([{"containerPort": 80}, {"containerPort": 81, "hostPort": 8081, "hostIP": "127.0.0.1"}]);
            let spec = json!({"hostNetwork": host, "containers": [{"name": "c", "ports": ports}]});
            serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap()
        };
        let want = HostPort {
            protocol: Protocol::Tcp,
            host_ip: Some([127, 0, 0, 1].into()),
            host_port: 8081,
            container_port: 81,
        };
        assert_eq!(host_ports(&pod(false)), [want]);
        assert_eq!(host_ports(&pod(true)), []);
    }
}
