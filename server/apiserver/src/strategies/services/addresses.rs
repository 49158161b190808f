//! Cluster IPs: an `IPAddress` object is the allocation, a `ServiceCIDR` object what there is to allocate from
//! (`pkg/registry/core/service/ipallocator`, upstream's MultiCIDRServiceAllocator).
//!
//! The object is written in one commit with its Service, so that neither is ever there without the other, and
//! nothing has to be given back when a write fails.

use std::net::Ipv4Addr;

use sampan_api::status::FieldError;
use sampan_store::{Action, Condition, Entry, Key, Store, Write};
use serde_json::{Value, json};

use super::{Refusal, ServiceBlock};
use crate::registry::encoded;
use crate::value::{at, meta, now, strings, text};

/// The store's bucket of allocations.
pub const IP_ADDRESSES: &str = "ipaddresses.networking.k8s.io";
/// The store's bucket of blocks.
pub const SERVICE_CIDRS: &str = "servicecidrs.networking.k8s.io";
/// Who keeps the allocations.
const MANAGER: (&str, &str) = ("ipaddress.kubernetes.io/managed-by", "ipallocator.k8s.io");
const FAMILY: (&str, &str) = ("ipaddress.kubernetes.io/ip-family", "IPv4");

const ALLOCATED: &str = "provided IP is already allocated";
const OUTSIDE: &str = "the provided network does not match the current range";
const FULL: &str = "failed to allocate a serviceIP: range is full";

/// Where a Service's address comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Its author named it.
    Named(Ipv4Addr),
    /// Any will do; this one was free.
    Any(Ipv4Addr),
}

impl Choice {
    /// The address.
    pub fn address(self) -> Ipv4Addr {
        match self {
            Self::Named(address) | Self::Any(address) => address,
        }
    }
}

/// The blocks that addresses may be taken from: of ServiceCIDRs that are ready and stay.
pub fn blocks(store: &Store) -> Vec<ServiceBlock> {
    let all = store.list(SERVICE_CIDRS);
    let parsed = all.map.values().filter_map(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    parsed.filter(offers).flat_map(|cidr| blocks_of(&cidr)).collect()
}

/// The IPv4 blocks of one ServiceCIDR.
pub fn blocks_of(cidr: &Value) -> Vec<ServiceBlock> {
    strings(at(cidr, &["spec", "cidrs"])).iter().filter_map(|cidr| cidr.parse().ok()).collect()
}

/// Without a condition it counts as ready, as upstream has it.
fn offers(cidr: &Value) -> bool {
    let conditions = crate::value::items(at(cidr, &["status", "conditions"]));
    let ready = conditions.iter().find(|condition| text(condition, &["type"]) == "Ready");
    at(cidr, &["metadata", "deletionTimestamp"]).is_null()
        && ready.is_none_or(|condition| text(condition, &["status"]) == "True")
}

/// The key of an allocation.
pub fn key(address: Ipv4Addr) -> Key {
    Key::new(IP_ADDRESSES, address.to_string())
}

/// The address that the author named, or a free one. A named one that is in use is found out by the write.
pub fn choose(store: &Store, named: &str) -> Result<Choice, Refusal> {
    let blocks = blocks(store);
    if named.is_empty() {
        let taken = store.list(IP_ADDRESSES);
        let random = rand::random();
        let mut free = blocks.iter().flat_map(|block| block.in_turn(random));
        let found = free.find(|address| !taken.map.contains_key(address.to_string().as_str()));
        return found.map(Choice::Any).ok_or_else(|| Refusal::Internal(FULL.to_owned()));
    }
    let address = named.parse().ok().filter(|address| blocks.iter().any(|block| block.offers(*address)));
    let address = address.ok_or_else(|| refused(named, OUTSIDE))?;
    match store.get(&key(address)) {
        None => Ok(Choice::Named(address)),
        Some(_) => Err(in_use(address)),
    }
}

fn refused(address: &str, why: &str) -> Refusal {
    let why = format!("failed to allocate IP {address}: {why}");
    Refusal::Field(FieldError::invalid("spec.clusterIPs", json!([address]), why))
}

/// The named address is another's.
pub fn in_use(address: Ipv4Addr) -> Refusal {
    refused(&address.to_string(), ALLOCATED)
}

/// Allocates `address` to a Service; only if nobody has it.
pub fn allocate(address: Ipv4Addr, service: &Value) -> Write {
    let value = encoded(&allocation(address, service, &uuid::Uuid::new_v4().to_string(), &now()));
    Write { key: key(address), condition: Condition::Absent, action: Action::Put(value) }
}

/// The object that says whose an address is.
fn allocation(address: Ipv4Addr, service: &Value, uid: &str, created: &str) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "IPAddress",
        "metadata": {
            "name": address.to_string(), "uid": uid, "creationTimestamp": created,
            "labels": {(FAMILY.0): FAMILY.1, (MANAGER.0): MANAGER.1},
        },
        "spec": {"parentRef": {
            "resource": "services", "namespace": meta(service, "namespace"), "name": meta(service, "name"),
        }},
    })
}

/// Frees the address of an allocation as it was read.
pub fn free(entry: &Entry) -> Option<Write> {
    let object: Value = serde_json::from_slice(&entry.value).ok()?;
    let action = Action::Delete(encoded(&object));
    Some(Write { key: entry.key.clone(), condition: Condition::Revision(entry.revision), action })
}

/// Whether `allocation` is one of this module's, of `service`.
pub fn belongs_to(allocation: &Value, service: &Value) -> bool {
    is_managed(allocation)
        && text(allocation, &["metadata", "labels", FAMILY.0]) == FAMILY.1
        && parent(allocation) == ["", "services", meta(service, "namespace"), meta(service, "name")]
}

/// Whether this module keeps the allocation; others' are left alone.
pub fn is_managed(allocation: &Value) -> bool {
    text(allocation, &["metadata", "labels", MANAGER.0]) == MANAGER.1
}

/// Group, resource, namespace and name of whose the address is.
pub fn parent(allocation: &Value) -> [&str; 4] {
    ["group", "resource", "namespace", "name"].map(|key| text(allocation, &["spec", "parentRef", key]))
}

/// The IPv4 addresses that a stored Service holds.
pub fn held(service: &Value) -> Vec<Ipv4Addr> {
    if super::kind(service) == "ExternalName" {
        return Vec::new();
    }
    strings(at(service, &["spec", "clusterIPs"])).iter().filter_map(|ip| ip.parse().ok()).collect()
}
