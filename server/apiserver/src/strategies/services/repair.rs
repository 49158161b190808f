//! Brings allocations and Services together again: `pkg/registry/core/service/ipallocator/controller/repairip.go`, and
//! the first ServiceCIDR: `pkg/controlplane/controller/defaultservicecidr`.
//!
//! At start everything is looked at once (a store of an earlier version has no allocations); afterwards only what
//! someone deletes or changes by hand.

use std::collections::HashMap;
use std::sync::Arc;

use sampan_store::{Action, Condition, Event, EventKind, Key, Store, Watch, Write, WriteError};
use serde_json::{Value, json};

use super::addresses::{
    self, IP_ADDRESSES, SERVICE_CIDRS, allocate, belongs_to, blocks_of, held, is_managed, parent,
};
use super::{ServiceBlock, kind};
use crate::registry::{encoded, store_name};
use crate::value::{meta, now, text};

/// The ServiceCIDR, and the Service, that every cluster has.
const KUBERNETES: &str = "kubernetes";

/// What is wrong between Services and allocations, and what mends it.
#[derive(Debug, PartialEq)]
enum Repair<'a> {
    /// A Service's address is not allocated.
    Allocate(&'a Value, std::net::Ipv4Addr),
    /// The allocation says something else than whose it is.
    Correct(&'a Value, std::net::Ipv4Addr),
    /// Nobody has the allocated address.
    Free(&'a str),
}

/// Services by `namespace/name`; allocations by address.
fn plan<'a>(
    services: &'a HashMap<String, Value>,
    allocations: &'a HashMap<String, Value>,
) -> Vec<Repair<'a>> {
    let holder = |allocation: &Value, address: &str| {
        let [group, resource, namespace, name] = parent(allocation);
        let service =
            services.get(&store_name(namespace, name)).filter(|_| (group, resource) == ("", "services"));
        service.is_some_and(|service| held(service).iter().any(|held| held.to_string() == address))
    };
    let mut repairs = Vec::new();
    for service in services.values() {
        for address in held(service) {
            match allocations.get(&address.to_string()) {
                None => repairs.push(Repair::Allocate(service, address)),
                Some(allocation) if belongs_to(allocation, service) => {}
                Some(allocation) if is_managed(allocation) && holder(allocation, &address.to_string()) => {
                    tracing::warn!(%address, service = %place(service),
                        "cluster IP was assigned to multiple services; please recreate service");
                }
                Some(_) => repairs.push(Repair::Correct(service, address)),
            }
        }
    }
    for (address, allocation) in allocations.iter().filter(|(_, allocation)| is_managed(allocation)) {
        let corrected =
            |repair: &Repair<'_>| matches!(repair, Repair::Correct(_, of) if of.to_string() == *address);
        if !holder(allocation, address) && !repairs.iter().any(corrected) {
            repairs.push(Repair::Free(address));
        }
    }
    repairs
}

fn place(service: &Value) -> String {
    store_name(meta(service, "namespace"), meta(service, "name"))
}

fn parsed(store: &Store, bucket: &str) -> HashMap<String, Value> {
    let all = store.list(bucket);
    let objects =
        all.map.values().map(|entry| (entry.key.name.to_string(), serde_json::from_slice(&entry.value)));
    objects.filter_map(|(name, object)| Some((name, object.ok()?))).collect()
}

/// Makes the first ServiceCIDR and mends every allocation.
pub(crate) async fn repair(store: &Store, block: ServiceBlock) -> Result<(), WriteError> {
    first_block(store, block).await?;
    let (services, allocations) = (parsed(store, "services"), parsed(store, IP_ADDRESSES));
    let writes: Vec<Write> =
        plan(&services, &allocations).into_iter().filter_map(|repair| write(store, repair)).collect();
    for written in store.write_all(writes).await {
        settled(written.map(drop))?;
    }
    Ok(())
}

/// Someone else did it meanwhile.
fn settled(result: Result<(), WriteError>) -> Result<(), WriteError> {
    match result {
        Err(WriteError::Exists(_) | WriteError::Changed(_) | WriteError::Missing) => Ok(()),
        other => other,
    }
}

fn write(store: &Store, repair: Repair<'_>) -> Option<Write> {
    match repair {
        Repair::Allocate(service, address) => {
            tracing::info!(%address, service = %place(service), "cluster IP is not allocated; repairing");
            Some(allocate(address, service))
        }
        Repair::Correct(service, address) => {
            tracing::warn!(%address, service = %place(service), "cluster IP has a wrong reference; repairing");
            let entry = store.get(&addresses::key(address))?;
            let condition = Condition::Revision(entry.revision);
            Some(Write { condition, ..allocate(address, service) })
        }
        Repair::Free(address) => {
            tracing::warn!(address, "IPAddress appears to have leaked: cleaning up");
            addresses::free(&*store.get(&Key::new(IP_ADDRESSES, address))?)
        }
    }
}

/// The ServiceCIDR of the configured block, ready from the beginning.
async fn first_block(store: &Store, block: ServiceBlock) -> Result<(), WriteError> {
    let key = Key::new(SERVICE_CIDRS, KUBERNETES);
    if store.get(&key).is_some() {
        return Ok(());
    }
    let at = now();
    let object = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "ServiceCIDR",
        "metadata": {"name": KUBERNETES, "uid": uuid::Uuid::new_v4().to_string(), "creationTimestamp": at},
        "spec": {"cidrs": [block.to_string()]},
        "status": {"conditions": [{
            "type": "Ready", "status": "True", "reason": "", "lastTransitionTime": at,
            "message": "Kubernetes default Service CIDR is ready",
        }]},
    });
    let write = Write { key, condition: Condition::Absent, action: Action::Put(encoded(&object)) };
    settled(store.write(write).await.map(drop))
}

/// The block that the stored cluster has, if it is another than `block`.
pub(crate) fn check_block(store: &Store, block: ServiceBlock) -> Result<(), String> {
    let stored = |bucket: &str, name: &str| -> Option<Value> {
        let entry = store.get(&Key::new(bucket, name))?;
        serde_json::from_slice(&entry.value).ok()
    };
    if let Some(cidr) = stored(SERVICE_CIDRS, KUBERNETES) {
        return match blocks_of(&cidr).first() {
            Some(other) if *other != block => Err(other.to_string()),
            _ => Ok(()),
        };
    }
    let service = stored("services", &store_name("default", KUBERNETES));
    match service.iter().flat_map(held).next() {
        Some(address) if address != block.at(1) => Err(format!("one whose first address is {address}")),
        _ => Ok(()),
    }
}

/// Mends what is deleted or changed by hand after revision `from`, until the store closes.
pub(crate) async fn follow(store: Store, block: ServiceBlock, mut from: u64) {
    loop {
        let watches = (store.watch(IP_ADDRESSES, "", from), store.watch(SERVICE_CIDRS, KUBERNETES, from));
        if let (Ok(allocations), Ok(cidrs)) = watches
            && watch(&store, block, allocations, cidrs).await.is_none()
        {
            return;
        }
        // something may have been missed: all of it anew
        from = store.revision();
        if let Err(error) = repair(&store, block).await {
            tracing::error!(%error, "cannot repair cluster IPs");
        }
    }
}

/// `None` when the store has closed; otherwise a change may have been missed.
async fn watch(store: &Store, block: ServiceBlock, mut allocations: Watch, mut cidrs: Watch) -> Option<()> {
    loop {
        let mended = tokio::select! {
            change = allocations.next() => match change? {
                Ok(event) => mend(store, &event).await,
                Err(_lagged) => return Some(()),
            },
            change = cidrs.next() => match change? {
                Ok(event) if event.kind == EventKind::Deleted && &*event.entry.key.name == KUBERNETES => {
                    first_block(store, block).await
                }
                Ok(_) => Ok(()),
                Err(_lagged) => return Some(()),
            },
        };
        if let Err(error) = mended {
            tracing::error!(%error, "cannot repair cluster IPs");
        }
    }
}

/// An allocation was changed: whoever it was of may still have the address.
async fn mend(store: &Store, event: &Arc<Event>) -> Result<(), WriteError> {
    let Some(before) = event.prev.as_ref().filter(|_| event.kind != EventKind::Created) else {
        return Ok(());
    };
    let Ok(before) = serde_json::from_slice::<Value>(&before.value) else { return Ok(()) };
    let [_, _, namespace, name] = parent(&before);
    let entry = store.get(&Key::new("services", store_name(namespace, name)));
    let service = entry.and_then(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    let Some(service) = service.filter(|service| kind(service) != "ExternalName") else { return Ok(()) };
    let address = text(&before, &["metadata", "name"]).to_owned();
    let services = HashMap::from([(place(&service), service)]);
    let allocations: HashMap<String, Value> = store
        .get(&Key::new(IP_ADDRESSES, address.as_str()))
        .and_then(|entry| Some((address.clone(), serde_json::from_slice(&entry.value).ok()?)))
        .into_iter()
        .collect();
    let repairs = plan(&services, &allocations).into_iter();
    let own = |repair: &Repair<'_>| match repair {
        Repair::Allocate(_, of) | Repair::Correct(_, of) => of.to_string() == address,
        Repair::Free(_) => false,
    };
    for repair in repairs.filter(own) {
        if let Some(write) = write(store, repair) {
            settled(store.write(write).await.map(drop))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn service(name: &str, ip: &str) -> (String, Value) {
        let object = json!({"metadata": {"namespace": "d", "name": name},
            "spec": {"type": "ClusterIP", "clusterIP": ip, "clusterIPs": [ip]}});
        (format!("d/{name}"), object)
    }

    fn allocation(ip: &str, service: &str) -> (String, Value) {
        let object = json!({
            "metadata": {"name": ip, "labels": {"ipaddress.kubernetes.io/managed-by": "ipallocator.k8s.io",
                "ipaddress.kubernetes.io/ip-family": "IPv4"}},
            "spec": {"parentRef": {"resource": "services", "namespace": "d", "name": service}},
        });
        (ip.to_owned(), object)
    }

    #[test]
    fn what_does_not_fit_is_mended() {
        let services = HashMap::from([
            service("fits", "10.0.0.1"),
            service("lacks", "10.0.0.2"),
            service("wrong", "10.0.0.3"),
            service("twice", "10.0.0.1"),
            service("headless", "None"),
            service("unlabelled", "10.0.0.6"),
        ]);
        let mut unlabelled = allocation("10.0.0.6", "unlabelled");
        unlabelled.1["metadata"]["labels"] = json!({});
        let mut foreign = allocation("10.0.0.9", "gateway");
        foreign.1["metadata"]["labels"] = json!({});
        let allocations = HashMap::from([
            allocation("10.0.0.1", "fits"),
            allocation("10.0.0.3", "gone"),
            allocation("10.0.0.4", "gone"),
            allocation("10.0.0.5", "fits"),
            unlabelled,
            foreign,
        ]);
        let mut repairs: Vec<String> = plan(&services, &allocations)
            .into_iter()
            .map(|repair| match repair {
                Repair::Allocate(service, address) => format!("allocate {address} {}", place(service)),
                Repair::Correct(service, address) => format!("correct {address} {}", place(service)),
                Repair::Free(address) => format!("free {address}"),
            })
            .collect();
        repairs.sort();
        assert_eq!(
            repairs,
            [
                "allocate 10.0.0.2 d/lacks",
                "correct 10.0.0.3 d/wrong",
                "correct 10.0.0.6 d/unlabelled",
                "free 10.0.0.4",
                "free 10.0.0.5"
            ]
        );
    }
}
