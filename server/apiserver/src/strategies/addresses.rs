//! Cluster IPs and node ports of Services: `pkg/registry/core/service/{ipallocator,portallocator}`.
//!
//! The sets live in memory and are rebuilt from the stored Services at start, so they cannot drift from them.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use parking_lot::Mutex;
use sampan_api::status::{ApiError, FieldError};
use sampan_store::Store;
use serde_json::{Value, json};

use crate::registry::Target;
use crate::value::{at, items, remove, set, strings, text};

/// Upstream hands dynamic addresses out above a band kept for static ones (KEP-3070): a sixteenth of the block, at
/// least 16 and at most 256 addresses.
fn static_band(size: u32) -> u32 {
    if size <= 16 { 0 } else { (size / 16).clamp(16, 256) }
}

/// The block of Services' addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceBlock {
    network: u32,
    length: u8,
}

impl ServiceBlock {
    /// The block that holds `address`.
    pub fn new(address: Ipv4Addr, length: u8) -> Self {
        let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
        Self { network: u32::from(address) & mask, length }
    }

    /// The `index`-th address.
    pub fn at(self, index: u32) -> Ipv4Addr {
        Ipv4Addr::from(self.network + index)
    }

    fn size(self) -> u32 {
        1_u32.checked_shl(32 - u32::from(self.length)).unwrap_or(u32::MAX)
    }

    fn holds(self, ip: u32) -> bool {
        ip.checked_sub(self.network).is_some_and(|index| index < self.size())
    }
}

impl std::fmt::Display for ServiceBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from(self.network), self.length)
    }
}

impl std::str::FromStr for ServiceBlock {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not an IPv4 block such as 10.96.0.0/12");
        let (address, length) = text.split_once('/').ok_or_else(bad)?;
        let length: u8 = length.parse().ok().filter(|length| (1..=30).contains(length)).ok_or_else(bad)?;
        Ok(Self::new(address.parse().map_err(|_| bad())?, length))
    }
}

const PORTS: std::ops::RangeInclusive<u16> = 30000..=32767;
/// First port of the dynamic part.
const STATIC_PORTS: u16 = 86;

#[derive(Default)]
struct Used {
    ips: HashSet<u32>,
    ports: HashSet<(u16, String)>,
}

/// What is taken of a block.
#[derive(Clone)]
pub struct Addresses {
    block: ServiceBlock,
    used: Arc<Mutex<Used>>,
}

/// Addresses taken for a write that has not been stored yet: given back unless kept.
pub struct Lease {
    used: Arc<Mutex<Used>>,
    taken: Used,
    freed: Used,
}

impl Lease {
    /// The write was stored.
    pub fn keep(mut self) {
        let mut used = self.used.lock();
        for ip in std::mem::take(&mut self.freed.ips) {
            used.ips.remove(&ip);
        }
        for port in std::mem::take(&mut self.freed.ports) {
            used.ports.remove(&port);
        }
        self.taken = Used::default();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut used = self.used.lock();
        for ip in &self.taken.ips {
            used.ips.remove(ip);
        }
        for port in &self.taken.ports {
            used.ports.remove(port);
        }
    }
}

fn is_service(target: &Target) -> bool {
    target.kind.group.is_empty() && target.kind.kind == "Service"
}

/// An update that leaves out what was allocated keeps it: `patchAllocatedValues` of
/// `pkg/registry/core/service/storage`.
pub(super) fn patch_allocated(old: &Value, new: &mut Value) {
    let kind = |service: &Value| text(service, &["spec", "type"]).to_owned();
    let internal = |service: &Value| kind(service) != "ExternalName";
    if internal(old) && internal(new) {
        let before = text(old, &["spec", "clusterIP"]);
        if text(new, &["spec", "clusterIP"]).is_empty() {
            set(new, &["spec", "clusterIP"], before);
        }
        let none = strings(at(new, &["spec", "clusterIPs"])).is_empty();
        if none && text(new, &["spec", "clusterIP"]) == before {
            set(new, &["spec", "clusterIPs"], at(old, &["spec", "clusterIPs"]).clone());
        }
    }
    let open = |kind: String| matches!(kind.as_str(), "NodePort" | "LoadBalancer");
    if open(kind(old)) && open(kind(new)) {
        keep_node_ports(items(at(old, &["spec", "ports"])), new);
    }
}

/// Ports of the same number and protocol keep their node port, unless another asks for it.
fn keep_node_ports(old: &[Value], new: &mut Value) {
    let Some(Value::Array(ports)) = new.pointer_mut("/spec/ports") else { return };
    let mut used: Vec<u16> = ports.iter().filter_map(node_port).map(|(number, _)| number).collect();
    for port in ports.iter_mut().filter(|port| node_port(port).is_none()) {
        let same =
            old.iter().find(|o| at(o, &["port"]) == at(port, &["port"]) && protocol(o) == protocol(port));
        if let Some((number, _)) = same.and_then(node_port).filter(|(number, _)| !used.contains(number)) {
            used.push(number);
            set(port, &["nodePort"], number);
        }
    }
}

/// What a stored Service holds.
fn held(service: &Value) -> Used {
    let mut ips: HashSet<u32> =
        strings(at(service, &["spec", "clusterIPs"])).iter().filter_map(|ip| number(ip)).collect();
    ips.extend(number(text(service, &["spec", "clusterIP"])));
    let mut ports: HashSet<(u16, String)> =
        items(at(service, &["spec", "ports"])).iter().filter_map(node_port).collect();
    let check = at(service, &["spec", "healthCheckNodePort"]).as_u64().and_then(|p| u16::try_from(p).ok());
    ports.extend(check.filter(|p| *p > 0).map(|p| (p, "TCP".to_owned())));
    Used { ips, ports }
}

fn node_port(port: &Value) -> Option<(u16, String)> {
    let number = u16::try_from(at(port, &["nodePort"]).as_u64()?).ok().filter(|n| *n > 0)?;
    Some((number, protocol(port)))
}

fn protocol(port: &Value) -> String {
    let protocol = text(port, &["protocol"]);
    if protocol.is_empty() { "TCP".into() } else { protocol.into() }
}

fn number(ip: &str) -> Option<u32> {
    ip.parse::<Ipv4Addr>().ok().map(u32::from)
}

impl Addresses {
    /// What the stored Services hold.
    pub fn from_store(store: &Store, block: ServiceBlock) -> Self {
        let mut used = Used::default();
        for entry in store.list("services").map.values() {
            let Ok(service) = serde_json::from_slice::<Value>(&entry.value) else { continue };
            let held = held(&service);
            used.ips.extend(held.ips);
            used.ports.extend(held.ports);
        }
        Self { block, used: Arc::new(Mutex::new(used)) }
    }

    /// Gives a deleted Service's addresses back.
    pub fn release(&self, target: &Target, last: &Value) {
        if !is_service(target) {
            return;
        }
        let held = held(last);
        let mut used = self.used.lock();
        used.ips.retain(|ip| !held.ips.contains(ip));
        used.ports.retain(|port| !held.ports.contains(port));
    }

    /// Fills in what `new` lacks and checks what it asks for.
    pub fn prepare(
        &self,
        target: &Target,
        old: Option<&Value>,
        new: &mut Value,
        dry_run: bool,
    ) -> Result<Lease, ApiError> {
        let mut lease = Lease { used: self.used.clone(), taken: Used::default(), freed: Used::default() };
        if !is_service(target) || target.subresource == "status" {
            return Ok(lease);
        }
        let before = old.map(held).unwrap_or_default();
        let result = {
            let mut used = self.used.lock();
            cluster_ip(self.block, &mut used, &mut lease.taken, &before, old, new)
                .and_then(|()| ports(&mut used, &mut lease.taken, &before, new))
        };
        if let Err(error) = result {
            return Err(ApiError::invalid("", "Service", &target.name, vec![error]));
        }
        let after = held(new);
        lease.freed.ips = before.ips.difference(&after.ips).copied().collect();
        lease.freed.ports = before.ports.difference(&after.ports).cloned().collect();
        if dry_run {
            // nothing is stored: what was taken goes back with the lease
            lease.freed = Used::default();
        }
        Ok(lease)
    }
}

fn cluster_ip(
    block: ServiceBlock,
    used: &mut Used,
    taken: &mut Used,
    before: &Used,
    old: Option<&Value>,
    new: &mut Value,
) -> Result<(), FieldError> {
    if text(new, &["spec", "type"]) == "ExternalName" {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            remove(new, &["spec", field]);
        }
        return Ok(());
    }
    let first = strings(at(new, &["spec", "clusterIPs"])).into_iter().next().unwrap_or_default();
    let mut asked = text(new, &["spec", "clusterIP"]).to_owned();
    if asked.is_empty() {
        asked = first;
    }
    if asked.is_empty() {
        asked = old.map_or(String::new(), |old| text(old, &["spec", "clusterIP"]).to_owned());
    }
    let ip = match asked.as_str() {
        "None" => asked,
        "" => take_free(block, used, taken)?,
        _ => {
            let number =
                number(&asked).filter(|n| block.holds(*n)).ok_or_else(|| out_of_range(block, &asked))?;
            if !before.ips.contains(&number) {
                if !used.ips.insert(number) {
                    return Err(ip_error(&asked, "provided IP is already allocated"));
                }
                taken.ips.insert(number);
            }
            asked
        }
    };
    set(new, &["spec", "clusterIP"], ip.as_str());
    set(new, &["spec", "clusterIPs"], json!([ip]));
    if at(new, &["spec", "ipFamilies"]).is_null() {
        set(new, &["spec", "ipFamilies"], json!(["IPv4"]));
    }
    if at(new, &["spec", "ipFamilyPolicy"]).is_null() {
        set(new, &["spec", "ipFamilyPolicy"], "SingleStack");
    }
    Ok(())
}

fn ip_error(ip: &str, why: &str) -> FieldError {
    FieldError::invalid("spec.clusterIPs", json!([ip]), format!("failed to allocate IP {ip}: {why}"))
}

fn out_of_range(block: ServiceBlock, ip: &str) -> FieldError {
    ip_error(
        ip,
        &format!("the provided IP ({ip}) is not in the valid range. The range of valid IPs is {block}"),
    )
}

fn take_free(block: ServiceBlock, used: &mut Used, taken: &mut Used) -> Result<String, FieldError> {
    // neither the network's own address nor the last one
    let (all, band) = (block.size() - 2, static_band(block.size()));
    let upper = all - band;
    let start = rand::random::<u32>() % upper;
    let dynamic = (0..upper).map(|i| band + 1 + (start + i) % upper);
    // as upstream: the lower band only when the upper one is full
    let free = dynamic.chain(1..=band).map(|i| block.network + i).find(|ip| !used.ips.contains(ip));
    let Some(ip) = free else {
        return Err(FieldError::invalid(
            "spec.clusterIPs",
            json!([]),
            "failed to allocate a serviceIP: range is full",
        ));
    };
    used.ips.insert(ip);
    taken.ips.insert(ip);
    Ok(Ipv4Addr::from(ip).to_string())
}

fn ports(used: &mut Used, taken: &mut Used, before: &Used, new: &mut Value) -> Result<(), FieldError> {
    let kind = text(new, &["spec", "type"]).to_owned();
    let wants = kind == "NodePort"
        || (kind == "LoadBalancer"
            && at(new, &["spec", "allocateLoadBalancerNodePorts"]).as_bool() != Some(false));
    let Some(Value::Array(list)) = new.get_mut("spec").and_then(|spec| spec.get_mut("ports")) else {
        return Ok(());
    };
    for (i, port) in list.iter_mut().enumerate() {
        let field = format!("spec.ports[{i}].nodePort");
        match node_port(port) {
            Some(key) if before.ports.contains(&key) && kind == "ClusterIP" => {
                remove(port, &["nodePort"]);
            }
            Some(key) => {
                if !PORTS.contains(&key.0) {
                    return Err(FieldError::invalid(
                        field,
                        key.0,
                        "provided port is not in the valid range. The range of valid ports is 30000-32767",
                    ));
                }
                if !used.ports.insert(key.clone()) {
                    return Err(FieldError::invalid(field, key.0, "provided port is already allocated"));
                }
                taken.ports.insert(key);
            }
            None if wants => {
                let number = take_port(used, taken, &protocol(port)).ok_or_else(|| {
                    FieldError::invalid(field, 0, "failed to allocate a nodePort: range is full")
                })?;
                set(port, &["nodePort"], number);
            }
            None => {}
        }
    }
    Ok(())
}

fn take_port(used: &mut Used, taken: &mut Used, protocol: &str) -> Option<u16> {
    let (low, high) = (PORTS.start() + STATIC_PORTS, *PORTS.end());
    let span = high - low + 1;
    let start = rand::random::<u16>() % span;
    let free = (0..span)
        .map(|i| low + (start + i) % span)
        .find(|port| !used.ports.iter().any(|(number, _)| number == port))?;
    used.ports.insert((free, protocol.to_owned()));
    taken.ports.insert((free, protocol.to_owned()));
    Some(free)
}
