//! The one nftables table of the pod network: masquerade and host ports. The text is a pure function; `nft -f`
//! replaces the table as a whole.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;

use crate::link::io;
use crate::subnet::Subnet;
use crate::{Error, HostPort, Protocol};

/// What the table is made of.
pub struct Rules<'a> {
    /// Name of the table.
    pub table: &'a str,
    /// Bridge of the pods.
    pub bridge: &'a str,
    /// All pods of the cluster.
    pub pods: Subnet,
    /// Pods of this node.
    pub node: Subnet,
    /// Host ports with the pod they lead to.
    pub ports: &'a BTreeMap<String, (Ipv4Addr, Vec<HostPort>)>,
}

fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Sctp => "sctp",
    }
}

/// The text for `nft -f`: an empty table first, so that deleting it never fails.
pub fn render(rules: &Rules<'_>) -> String {
    let Rules { table, bridge, pods, node, .. } = rules;
    let all: Vec<(&HostPort, Ipv4Addr)> =
        rules.ports.values().flat_map(|(pod, ports)| ports.iter().map(|port| (port, *pod))).collect();
    let elements = |list: Vec<String>| match list.is_empty() {
        true => String::new(),
        false => format!(" elements = {{ {} }}", list.join(", ")),
    };
    let any = all.iter().filter(|(port, _)| port.host_ip.is_none()).map(|(port, pod)| {
        format!("{} . {} : {pod} . {}", protocol(port.protocol), port.host_port, port.container_port)
    });
    let one = all.iter().filter_map(|(port, pod)| {
        let ip = port.host_ip?;
        Some(format!(
            "{} . {ip} . {} : {pod} . {}",
            protocol(port.protocol),
            port.host_port,
            port.container_port
        ))
    });
    let dnat = "  dnat ip to meta l4proto . ip daddr . th dport map @hostports_ip\n  \
                fib daddr type local dnat ip to meta l4proto . th dport map @hostports\n";
    format!(
        "table ip {table} {{ }}\ndelete table ip {table}\ntable ip {table} {{\n\
         map hostports {{ type inet_proto . inet_service : ipv4_addr . inet_service;{} }}\n\
         map hostports_ip {{ type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service;{} }}\n\
         chain prerouting {{\n  type nat hook prerouting priority dstnat; policy accept;\n{dnat} }}\n\
         chain output {{\n  type nat hook output priority -100; policy accept;\n{dnat} }}\n\
         chain raw {{\n  type filter hook prerouting priority raw; policy accept;\n  \
         iifname \"{bridge}v*\" ip daddr 127.0.0.0/8 drop\n  \
         iifname \"{bridge}v*\" ip saddr 127.0.0.0/8 drop\n }}\n\
         chain postrouting {{\n  type nat hook postrouting priority srcnat; policy accept;\n  \
         ip saddr 127.0.0.0/8 oifname \"{bridge}v*\" snat ip to {gateway}\n  \
         ip saddr {node} ip daddr != {pods} oifname != {{ \"{bridge}\", \"{bridge}v*\" }} masquerade\n }}\n}}\n",
        elements(any.collect()),
        elements(one.collect()),
        gateway = node.at(1),
    )
}

/// Runs `nft -f -`.
pub async fn apply(text: &str) -> Result<(), Error> {
    let spawned = tokio::process::Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(Error::NoNft),
        other => other.map_err(io("nft"))?,
    };
    let written = match child.stdin.take() {
        Some(mut stdin) => stdin.write_all(text.as_bytes()).await,
        None => Ok(()),
    };
    let output = child.wait_with_output().await.map_err(io("nft"))?;
    match output.status.success() {
        true => written.map_err(io("nft")),
        false => Err(Error::Nft(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}

async fn iptables(arguments: &[&str]) -> Option<String> {
    let output = tokio::process::Command::new("iptables").arg("-w").args(arguments).output().await.ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Docker's firewall, and others, drop what they do not know, also from pod to pod; no rule of another table can undo
/// a drop. So the pods' links are let through in that very chain, if it drops.
pub async fn pass_firewall(bridge: &str) {
    let Some(rules) = iptables(&["-S", "FORWARD"]).await else { return };
    if !rules.starts_with("-P FORWARD DROP") {
        return;
    }
    let links = format!("{bridge}v+");
    for direction in ["-i", "-o"] {
        if !rules.contains(&format!("-A FORWARD {direction} {links} -j ACCEPT")) {
            iptables(&["-I", "FORWARD", direction, &links, "-j", "ACCEPT"]).await;
        }
    }
}

/// Takes back what [`pass_firewall`] did; nothing to take back is fine.
pub async fn leave_firewall(bridge: &str) {
    let links = format!("{bridge}v+");
    for direction in ["-i", "-o"] {
        iptables(&["-D", "FORWARD", direction, &links, "-j", "ACCEPT"]).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_ports_become_map_elements() {
        let port =
            |host_ip, host_port| HostPort { protocol: Protocol::Tcp, host_ip, host_port, container_port: 80 };
        let pod = Ipv4Addr::new(10, 244, 0, 5);
        let ports = vec![port(None, 8080), port(Some(Ipv4Addr::LOCALHOST), 9090)];
        let text = render(&Rules {
            table: "t",
            bridge: "b",
            pods: "10.244.0.0/16".parse().expect("subnet"),
            node: "10.244.0.0/24".parse().expect("subnet"),
            ports: &[("uid".to_owned(), (pod, ports))].into(),
        });
        assert!(text.contains("elements = { tcp . 8080 : 10.244.0.5 . 80 }"), "{text}");
        assert!(text.contains("elements = { tcp . 127.0.0.1 . 9090 : 10.244.0.5 . 80 }"), "{text}");
        assert!(text.contains(
            "ip saddr 10.244.0.0/24 ip daddr != 10.244.0.0/16 oifname != { \"b\", \"bv*\" } masquerade"
        ));
    }
}
