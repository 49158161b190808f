//! The fixed part of the table, and changes as text for `nft -f`.
//!
//! ```text
//!  prerouting ─► services ──vmap @services──► in-2 (a class chain) ── draw a slot, dnat to @endpoints
//!  output     ─┘     └─fib local, @services_nodeports─► ex-3_nodeports …
//!                                     └─► external (externalTrafficPolicy: Local) ─► @cluster | @local
//!  filter hooks ─► @firewall · @unreachable ─► refuse | drop · @cluster_ips · @egress · @ingress
//!  postrouting  ─► hairpin and marked packets leave as the node's
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, SocketAddrV4};

use crate::chain::{frontend, suffix};
use crate::element::Element;
use crate::table::{Change, Structure};

/// The bit of the packet mark that asks for masquerading, upstream's default (`--iptables-masquerade-bit`).
const MARK: u32 = 0x4000;

/// What the fixed part depends on.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Name of the table.
    pub table: String,
    /// Bridge of the pod network; the pods' links are called after it.
    pub bridge: String,
    /// All pods of the cluster.
    pub pods: String,
    /// All services.
    pub services: String,
    /// The node's address among the pods.
    pub gateway: String,
    /// Ports of addresses that the node serves itself.
    pub led: Vec<Led>,
}

/// A port of an address that the node serves itself, elsewhere: whoever listens at all addresses of the machine keeps
/// that one to himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Led {
    /// The address.
    pub address: Ipv4Addr,
    /// `tcp` or `udp`.
    pub protocol: &'static str,
    /// The port that clients know.
    pub port: u16,
    /// Where somebody listens.
    pub to: SocketAddrV4,
    /// For the cluster's pods alone: another cluster of the machine has the same address.
    pub of_pods: bool,
}

/// A client's endpoint, as read from the table that was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affinity {
    /// Name of the map.
    pub map: &'static str,
    /// `client . frontend : number`, with what remains of its time, as nft reads it.
    pub element: String,
}

/// The maps that the kernel fills by itself.
pub const AFFINITY: [&str; 2] = ["affinity", "affinity_nodeports"];

const VERDICTS: [&str; 6] = ["services", "cluster", "local", "unreachable", "draw", "draw_local"];

fn maps(text: &mut String) {
    for node_port in [false, true] {
        let suffix = suffix(node_port);
        let key =
            if node_port { "inet_proto . inet_service" } else { "ipv4_addr . inet_proto . inet_service" };
        // writing to a String cannot fail
        for map in VERDICTS {
            let _ = writeln!(text, "map {map}{suffix} {{ type {key} : verdict; }}");
        }
        for map in ["endpoints", "sticky"] {
            let _ =
                writeln!(text, "map {map}{suffix} {{ type {key} . classid : ipv4_addr . inet_service; }}");
        }
        let _ = writeln!(text, "map numbers{suffix} {{ type {key} . classid : classid; }}");
        let _ = writeln!(
            text,
            "map affinity{suffix} {{ type ipv4_addr . {key} : classid; size 262144; flags dynamic,timeout; }}"
        );
    }
    text.push_str(
        "map firewall { type ipv4_addr . inet_proto . inet_service : verdict; }\n\
         map ingress { type ipv4_addr : verdict; }\n\
         map egress { type ipv4_addr : verdict; }\n\
         set cluster_ips { type ipv4_addr; }\n\
         set stand_ins { type ipv4_addr; }\n\
         set hairpin { type ipv4_addr . ipv4_addr; }\n",
    );
}

fn led(all: &[Led], pods: &str) -> String {
    let rule = |one: &Led| {
        let Led { address, protocol, port, to, of_pods } = one;
        let from = if *of_pods { format!("ip saddr {pods} ") } else { String::new() };
        format!("{from}ip daddr {address} {protocol} dport {port} dnat to {to}\n")
    };
    all.iter().map(rule).collect()
}

fn chains(frame: &Frame) -> String {
    let Frame { bridge, pods, services, gateway, .. } = frame;
    let led = led(&frame.led, pods);
    let (address, port) = (frontend(false), frontend(true));
    let external = |key: &str, suffix: &str| {
        format!(
            "chain external{suffix} {{\n\
             ip saddr {pods} {key} vmap @cluster{suffix}\n\
             fib saddr type local jump to-masquerade\n\
             fib saddr type local {key} vmap @cluster{suffix}\n\
             {key} vmap @local{suffix}\n}}\n"
        )
    };
    format!(
        // a reset is believed at once; the kernel holds on to a connection attempt when ICMP comes while its socket is busy
        "chain refuse {{\nmeta l4proto tcp reject with tcp reset\nreject\n}}\n\
         chain to-masquerade {{\nmeta mark set meta mark | {MARK:#x}\n}}\n\
         {external}{external_nodeports}\
         chain services-chosen {{\n\
         {led}\
         {address} vmap @services\n\
         fib daddr type local {port} vmap @services_nodeports\n}}\n\
         chain unreachable-checked {{\n\
         {address} vmap @unreachable\n\
         fib daddr type local {port} vmap @unreachable_nodeports\n}}\n\
         chain cluster-ips-checked {{\n\
         ip daddr @cluster_ips goto refuse\n\
         ip daddr {services} fib daddr type != local drop\n}}\n\
         chain filter-prerouting {{\n\
         type filter hook prerouting priority dstnat - 10; policy accept;\n\
         ct state established,related accept\n\
         iifname \"{bridge}v*\" fib saddr . iif oif missing drop\n\
         {address} vmap @firewall\n\
         ip daddr @stand_ins ip saddr vmap @egress\n}}\n\
         chain filter-input {{\n\
         type filter hook input priority filter; policy accept;\n\
         ct state established,related accept\n\
         jump unreachable-checked\n}}\n\
         chain filter-forward {{\n\
         type filter hook forward priority filter; policy accept;\n\
         ct state established,related accept\n\
         ct state new jump unreachable-checked\n\
         ct state new jump cluster-ips-checked\n\
         ip saddr . ip daddr @hairpin accept\n\
         ip saddr vmap @egress\n}}\n\
         chain filter-forward-ingress {{\n\
         type filter hook forward priority filter + 1; policy accept;\n\
         ct state established,related accept\n\
         ip saddr . ip daddr @hairpin accept\n\
         ip daddr vmap @ingress\n}}\n\
         chain filter-output-before {{\n\
         type filter hook output priority -110; policy accept;\n\
         ct state new {address} vmap @firewall\n}}\n\
         chain filter-output {{\n\
         type filter hook output priority filter; policy accept;\n\
         ct state new jump unreachable-checked\n\
         ct state new jump cluster-ips-checked\n}}\n\
         chain nat-prerouting {{\n\
         type nat hook prerouting priority dstnat; policy accept;\n\
         jump services-chosen\n}}\n\
         chain nat-output {{\n\
         type nat hook output priority -100; policy accept;\n\
         jump services-chosen\n}}\n\
         chain masquerading {{\n\
         meta mark set meta mark & {unmark:#x}\n\
         oifname \"{bridge}v*\" snat ip to {gateway} fully-random\n\
         masquerade fully-random\n}}\n\
         chain nat-postrouting {{\n\
         type nat hook postrouting priority srcnat; policy accept;\n\
         ct status dnat ip saddr . ip daddr @hairpin jump masquerading\n\
         meta mark & {MARK:#x} == {MARK:#x} jump masquerading\n}}\n",
        external = external(address, suffix(false)),
        external_nodeports = external(port, suffix(true)),
        unmark = !MARK,
    )
}

/// The text that makes the table hold `whole` and nothing else, in one transaction.
pub fn replace(frame: &Frame, whole: &Change, affinity: &[Affinity]) -> String {
    let table = &frame.table;
    let mut text = format!("table ip {table} {{ }}\ndelete table ip {table}\ntable ip {table} {{\n");
    maps(&mut text);
    text.push_str(&chains(frame));
    text.push_str("}\n");
    render(&mut text, table, whole);
    for one in affinity {
        // writing to a String cannot fail
        let _ = writeln!(text, "add element ip {table} {} {{ {} }}", one.map, one.element);
    }
    text
}

/// The text that takes the table away.
pub fn remove(table: &str) -> String {
    format!("table ip {table} {{ }}\ndelete table ip {table}\n")
}

/// A change as text.
pub fn change(table: &str, change: &Change) -> String {
    let mut text = String::new();
    render(&mut text, table, change);
    text
}

/// The text that takes away what a change left stale; to be run later, because before version 6.2 the kernel takes a
/// moment to see that nothing leads to a chain any more.
pub fn sweep<'a>(table: &str, stale: impl Iterator<Item = (&'a String, &'a Structure)> + Clone) -> String {
    let mut text = String::new();
    for (name, structure) in stale.clone() {
        if let Structure::Chain(_) = structure {
            let _ = writeln!(text, "delete chain ip {table} {name}");
        }
    }
    for (name, structure) in stale {
        if let Structure::Set(_) = structure {
            let _ = writeln!(text, "delete set ip {table} {name}");
        }
    }
    text
}

/// Elements that go, then what rules name, then rules, then elements that come.
fn render(text: &mut String, table: &str, change: &Change) {
    elements(text, "delete", table, &change.removed, false);
    for (name, structure) in &change.structures {
        // writing to a String cannot fail
        let _ = match structure {
            Structure::Set(kind) => writeln!(text, "add set ip {table} {name} {{ type {kind}; }}"),
            Structure::Chain(_) => writeln!(text, "add chain ip {table} {name}"),
        };
    }
    let chains = change.structures.iter().chain(&change.stale);
    for (name, structure) in chains {
        if let Structure::Chain(_) = structure {
            let _ = writeln!(text, "flush chain ip {table} {name}");
        }
    }
    for (name, _) in change.stale.iter().filter(|(_, structure)| matches!(structure, Structure::Set(_))) {
        let _ = writeln!(text, "flush set ip {table} {name}");
    }
    for (name, structure) in &change.structures {
        let Structure::Chain(rules) = structure else { continue };
        for rule in rules.lines() {
            let _ = writeln!(text, "add rule ip {table} {name} {rule}");
        }
    }
    elements(text, "add", table, &change.added, true);
}

fn elements(text: &mut String, verb: &str, table: &str, elements: &[Element], with_value: bool) {
    let mut by_map: BTreeMap<String, String> = BTreeMap::new();
    for element in elements {
        let list = by_map.entry(element.map_name()).or_default();
        if !list.is_empty() {
            list.push_str(", ");
        }
        list.push_str(&element.text(with_value));
    }
    for (map, list) in by_map {
        // writing to a String cannot fail
        let _ = writeln!(text, "{verb} element ip {table} {map} {{ {list} }}");
    }
}
