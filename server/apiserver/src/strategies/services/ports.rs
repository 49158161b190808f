//! Node ports: `pkg/registry/core/service/portallocator`, and what Services ask of it in
//! `pkg/registry/core/service/storage/alloc.go`.
//!
//! The set lives in memory and is rebuilt from the stored Services at start, so it cannot drift from them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parking_lot::Mutex;
use sampan_api::status::FieldError;
use serde_json::Value;

use super::{Refusal, allocates_node_ports, kind, needs_health_check, needs_node_ports};
use crate::value::{at, items, set};

const FIRST: u16 = 30_000;
const LAST: u16 = 32_767;
/// The first ports are kept for whoever names one (KEP-3668): a thirty-second part of the range.
const BAND: u16 = (LAST - FIRST + 1) / 32;

const IN_USE: &str = "provided port is already allocated";
const OUTSIDE: &str = "provided port is not in the valid range. The range of valid ports is 30000-32767";
const FULL: &str = "range is full";

/// Ports in use.
#[derive(Clone, Default)]
pub struct Ports(Arc<Mutex<HashSet<u16>>>);

/// Ports taken for a write that has not been stored yet, given back unless it is; and those that are free once it is.
pub struct Lease {
    ports: Ports,
    taken: Vec<u16>,
    freed: Vec<u16>,
}

impl Lease {
    /// The write was stored.
    pub fn keep(mut self) {
        let mut used = self.ports.0.lock();
        for port in self.freed.drain(..) {
            used.remove(&port);
        }
        self.taken.clear();
    }

    fn undo(&mut self, used: &mut HashSet<u16>) {
        for port in self.taken.drain(..) {
            used.remove(&port);
        }
        self.freed.clear();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.taken.is_empty() {
            let used = self.ports.0.clone();
            self.undo(&mut used.lock());
        }
    }
}

/// What one write takes and frees, under the lock.
struct Operation<'a> {
    used: &'a mut HashSet<u16>,
    lease: &'a mut Lease,
}

impl Operation<'_> {
    fn take(&mut self, number: i64) -> Result<(), &'static str> {
        let port = u16::try_from(number).ok().filter(|port| (FIRST..=LAST).contains(port)).ok_or(OUTSIDE)?;
        if !self.used.insert(port) {
            return Err(IN_USE);
        }
        self.lease.taken.push(port);
        Ok(())
    }

    /// Any, from a random place above the band; of the band only when all else is in use.
    fn take_any(&mut self) -> Result<u16, &'static str> {
        let (low, span) = (FIRST + BAND, LAST - FIRST - BAND + 1);
        let start = rand::random_range(0..span);
        let upper = (0..span).map(|i| low + (start + i) % span);
        let free = upper.chain(FIRST..low).find(|port| !self.used.contains(port)).ok_or(FULL)?;
        self.used.insert(free);
        self.lease.taken.push(free);
        Ok(free)
    }

    fn free(&mut self, port: i64) {
        self.lease.freed.extend(u16::try_from(port).ok());
    }
}

/// The node port of a port of a Service; 0 for none.
fn node_port(port: &Value) -> i64 {
    at(port, &["nodePort"]).as_i64().unwrap_or(0)
}

/// Node ports of a Service, with its health check's.
fn held(service: &Value) -> impl Iterator<Item = u16> {
    let ports = node_ports(service).into_iter().chain([health_check(service)]);
    ports.filter_map(|port| u16::try_from(port).ok().filter(|port| *port > 0))
}

fn node_ports(service: &Value) -> Vec<i64> {
    items(at(service, &["spec", "ports"])).iter().map(node_port).filter(|port| *port != 0).collect()
}

fn health_check(service: &Value) -> i64 {
    at(service, &["spec", "healthCheckNodePort"]).as_i64().unwrap_or(0)
}

fn refused(index: usize, number: i64, why: &str) -> Refusal {
    Refusal::Field(FieldError::invalid(format!("spec.ports[{index}].nodePort"), number, why))
}

impl Ports {
    /// Those that `services` hold.
    pub fn of<'a>(services: impl Iterator<Item = &'a Value>) -> Self {
        Self(Arc::new(Mutex::new(services.flat_map(held).collect())))
    }

    /// Gives a deleted Service's ports back.
    pub fn release(&self, last: &Value) {
        let mut used = self.0.lock();
        for port in held(last) {
            used.remove(&port);
        }
    }

    /// Nothing taken.
    pub fn nothing(&self) -> Lease {
        Lease { ports: self.clone(), taken: Vec::new(), freed: Vec::new() }
    }

    /// Fills in what `new` lacks and checks what it asks for. A dry run is undone before anyone else looks.
    pub fn prepare(&self, old: Option<&Value>, new: &mut Value, dry_run: bool) -> Result<Lease, Refusal> {
        let mut lease = self.nothing();
        let used = &mut *self.0.lock();
        let mut operation = Operation { used, lease: &mut lease };
        let result = match old {
            None => create(&mut operation, new),
            Some(old) => update(&mut operation, old, new),
        };
        if dry_run || result.is_err() {
            lease.undo(used);
        }
        result.map(|()| lease)
    }
}

fn create(operation: &mut Operation<'_>, new: &mut Value) -> Result<(), Refusal> {
    if needs_node_ports(new) {
        fill_in(operation, new)?;
    }
    match needs_health_check(new) {
        true => take_health_check(operation, new),
        false => Ok(()),
    }
}

/// `initNodePorts`: ports of the same number, by other protocols, share their node port unless told otherwise.
fn fill_in(operation: &mut Operation<'_>, new: &mut Value) -> Result<(), Refusal> {
    let allocates = allocates_node_ports(new);
    let mut known: HashMap<i64, i64> = HashMap::new();
    let Some(Value::Array(ports)) = new.pointer_mut("/spec/ports") else { return Ok(()) };
    let number = |port: &Value| at(port, &["port"]).as_i64().unwrap_or(0);
    let asked: Vec<(i64, i64)> = ports.iter().map(|port| (number(port), node_port(port))).collect();
    for (index, port) in ports.iter_mut().enumerate() {
        let (number, own) = asked[index];
        if own == 0 && !allocates {
            continue;
        }
        let given = match known.get(&number) {
            Some(known) if own == 0 || own == *known => *known,
            Some(_) => {
                operation.take(own).map_err(|why| refused(index, own, why))?;
                own
            }
            None => match asked.iter().find(|(same, wanted)| *same == number && *wanted != 0) {
                Some((_, wanted)) => {
                    operation.take(*wanted).map_err(|why| refused(index, *wanted, why))?;
                    *wanted
                }
                None => any(operation)?,
            },
        };
        known.entry(number).or_insert(given);
        set(port, &["nodePort"], given);
    }
    Ok(())
}

fn any(operation: &mut Operation<'_>) -> Result<i64, Refusal> {
    let port = operation.take_any();
    port.map(i64::from).map_err(|why| Refusal::Internal(format!("failed to allocate a nodePort: {why}")))
}

fn take_health_check(operation: &mut Operation<'_>, new: &mut Value) -> Result<(), Refusal> {
    let asked = health_check(new);
    if asked == 0 {
        let port = operation.take_any();
        let port = port.map_err(|why| {
            Refusal::Internal(format!("failed to allocate a HealthCheck NodePort 0: {why}"))
        })?;
        set(new, &["spec", "healthCheckNodePort"], port);
        return Ok(());
    }
    operation.take(asked).map_err(|why| {
        Refusal::Internal(format!("failed to allocate requested HealthCheck NodePort {asked}: {why}"))
    })
}

fn update(operation: &mut Operation<'_>, old: &Value, new: &mut Value) -> Result<(), Refusal> {
    let before = node_ports(old);
    if needs_node_ports(new) {
        fill_in_more(operation, &before, new)?;
        let after = node_ports(new);
        before.iter().filter(|port| !after.contains(port)).for_each(|port| operation.free(*port));
    } else if matches!(kind(new), "ClusterIP" | "ExternalName") && needs_node_ports(old) {
        before.iter().for_each(|port| operation.free(*port));
    }
    match (needs_health_check(old), needs_health_check(new)) {
        (false, true) => take_health_check(operation, new),
        (true, false) => {
            operation.free(health_check(old));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// `updateNodePorts`.
fn fill_in_more(operation: &mut Operation<'_>, before: &[i64], new: &mut Value) -> Result<(), Refusal> {
    let allocates = allocates_node_ports(new);
    let mut taken: Vec<i64> = Vec::new();
    let Some(Value::Array(ports)) = new.pointer_mut("/spec/ports") else { return Ok(()) };
    for (index, port) in ports.iter_mut().enumerate() {
        let own = node_port(port);
        if own == 0 && allocates {
            let given = any(operation)?;
            set(port, &["nodePort"], given);
        } else if own != 0 && !before.contains(&own) && !taken.contains(&own) {
            operation.take(own).map_err(|why| refused(index, own, why))?;
            taken.push(own);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn service(kind: &str, ports: Value) -> Value {
        json!({"spec": {"type": kind, "ports": ports, "allocateLoadBalancerNodePorts": kind == "LoadBalancer"}})
    }

    fn used(ports: &Ports) -> usize {
        ports.0.lock().len()
    }

    fn message(result: Result<Lease, Refusal>) -> String {
        match result.err() {
            Some(Refusal::Field(error)) => error.to_string(),
            Some(Refusal::Internal(why)) => why,
            None => String::new(),
        }
    }

    #[test]
    fn what_is_not_stored_is_given_back() {
        let ports = Ports::default();
        let mut new = service("NodePort", json!([{"port": 80}, {"port": 81, "nodePort": 30001}]));
        let lease = ports.prepare(None, &mut new, false).unwrap();
        assert_eq!((used(&ports), node_ports(&new).len()), (2, 2));
        assert!(node_ports(&new)[0] >= i64::from(FIRST + BAND), "{new}");
        drop(lease);
        assert_eq!(used(&ports), 0);
        ports.prepare(None, &mut new, true).unwrap().keep();
        assert_eq!(used(&ports), 0, "a dry run takes nothing");
        ports.prepare(None, &mut new, false).unwrap().keep();
        assert_eq!(used(&ports), 2);
        let mut other = service("NodePort", json!([{"port": 1}, {"port": 2, "nodePort": 30001}]));
        assert!(message(ports.prepare(None, &mut other, false)).ends_with(&format!("30001: {IN_USE}")));
        assert_eq!(used(&ports), 2, "what had been taken before the refusal went back");
        let mut outside = service("NodePort", json!([{"port": 1, "nodePort": 80}]));
        assert!(message(ports.prepare(None, &mut outside, false)).ends_with(&format!("80: {OUTSIDE}")));
        ports.release(&new);
        assert_eq!(used(&ports), 0);
    }

    #[test]
    fn protocols_share_a_port() {
        let ports = Ports::default();
        let mut new =
            service("NodePort", json!([{"port": 53, "protocol": "UDP"}, {"port": 53, "protocol": "TCP"}]));
        ports.prepare(None, &mut new, false).unwrap().keep();
        assert_eq!(node_ports(&new)[0], node_ports(&new)[1]);
        assert_eq!(used(&ports), 1);
        let mut named = service("NodePort", json!([{"port": 53}, {"port": 53, "nodePort": 30053}]));
        ports.prepare(None, &mut named, false).unwrap().keep();
        assert_eq!(node_ports(&named), [30053, 30053]);
    }

    #[test]
    fn the_band_is_used_when_all_else_is() {
        let ports = Ports(Arc::new(Mutex::new((FIRST + BAND..=LAST).collect())));
        let mut new = service("NodePort", json!([{"port": 80}]));
        ports.prepare(None, &mut new, false).unwrap().keep();
        assert_eq!(node_ports(&new), [30000]);
        ports.0.lock().extend(FIRST..=LAST);
        let full = ports.prepare(None, &mut service("NodePort", json!([{"port": 80}])), false);
        assert_eq!(message(full), "failed to allocate a nodePort: range is full");
    }

    #[test]
    fn ports_go_with_the_type() {
        let ports = Ports::default();
        let mut old = service("LoadBalancer", json!([{"port": 80}]));
        old["spec"]["externalTrafficPolicy"] = json!("Local");
        ports.prepare(None, &mut old, false).unwrap().keep();
        assert_eq!((used(&ports), health_check(&old) > 0), (2, true));
        let mut plain = service("ClusterIP", json!([{"port": 80}]));
        let lease = ports.prepare(Some(&old), &mut plain, false).unwrap();
        assert_eq!(used(&ports), 2, "not before it is stored");
        lease.keep();
        assert_eq!(used(&ports), 0);
        let mut quiet = service("LoadBalancer", json!([{"port": 80}, {"port": 81, "nodePort": 30002}]));
        quiet["spec"]["allocateLoadBalancerNodePorts"] = json!(false);
        ports.prepare(Some(&plain), &mut quiet, false).unwrap().keep();
        assert_eq!((node_ports(&quiet), used(&ports)), (vec![30002], 1));
    }
}
