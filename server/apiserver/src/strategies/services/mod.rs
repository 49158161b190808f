//! What Services are given: cluster IPs, node ports, the fields that follow from their type.
//! Ported from `pkg/registry/core/service/storage` and `pkg/registry/core/service/strategy.go`.
//!
//! ```text
//!  create, update ─► begin ─► what the author left unsaid ─► addresses and ports ─► validation ─► one commit ─► keep
//!                      │                                                                         │
//!                      └── a named address or port that is another's: 422                        └─ collision: another
//! ```

mod addresses;
mod block;
mod families;
mod ports;
mod repair;

use std::net::Ipv4Addr;

use sampan_api::status::{ApiError, FieldError};
use sampan_store::{Entry, Store, Write};
use serde_json::Value;

use crate::registry::Target;
use crate::value::{at, items, keep, remove, set, strings, text};

pub use block::ServiceBlock;
pub(crate) use repair::{check_block, follow, repair};

/// Why a Service does not get what it wants.
#[derive(Debug)]
pub enum Refusal {
    /// The field is wrong.
    Field(FieldError),
    /// The cluster has nothing left to give.
    Internal(String),
}

impl Refusal {
    fn into_error(self, target: &Target) -> ApiError {
        match self {
            Self::Field(error) => ApiError::invalid("", "Service", &target.name, vec![error]),
            Self::Internal(why) => ApiError::internal(why),
        }
    }
}

/// What Services have been given.
#[derive(Clone)]
pub struct Services {
    ports: ports::Ports,
}

/// What one write takes: settled by storing it, given back otherwise.
pub struct Allocation {
    ports: ports::Lease,
    choice: Option<addresses::Choice>,
    freed: Vec<Ipv4Addr>,
}

/// Whether the target is a Service itself.
fn is_service(target: &Target) -> bool {
    target.kind.group.is_empty() && target.kind.kind == "Service" && target.subresource.is_empty()
}

fn kind(service: &Value) -> &str {
    text(service, &["spec", "type"])
}

fn is_headless(service: &Value) -> bool {
    text(service, &["spec", "clusterIP"]) == "None"
}

fn needs_cluster_ip(service: &Value) -> bool {
    matches!(kind(service), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn needs_node_ports(service: &Value) -> bool {
    matches!(kind(service), "NodePort" | "LoadBalancer")
}

fn allocates_node_ports(service: &Value) -> bool {
    let unwanted = at(service, &["spec", "allocateLoadBalancerNodePorts"]).as_bool() == Some(false);
    kind(service) == "NodePort" || (kind(service) == "LoadBalancer" && !unwanted)
}

fn needs_health_check(service: &Value) -> bool {
    kind(service) == "LoadBalancer" && text(service, &["spec", "externalTrafficPolicy"]) == "Local"
}

/// `ExternallyAccessible` of `pkg/api/service`.
fn externally_accessible(service: &Value) -> bool {
    let external = !items(at(service, &["spec", "externalIPs"])).is_empty();
    needs_node_ports(service) || (kind(service) == "ClusterIP" && external)
}

impl Services {
    /// What the stored Services hold.
    pub fn from_store(store: &Store) -> Self {
        let services = store.list("services");
        let parsed: Vec<Value> =
            services.map.values().filter_map(|entry| serde_json::from_slice(&entry.value).ok()).collect();
        Self { ports: ports::Ports::of(parsed.iter()) }
    }

    /// A Service is gone.
    pub fn release(&self, target: &Target, last: &Value) {
        if target.kind.group.is_empty() && target.kind.kind == "Service" {
            self.ports.release(last);
        }
    }

    /// Fills in what `new` lacks, and finds what it is to be given. Nothing is taken by a dry run.
    pub fn begin(
        &self,
        store: &Store,
        target: &Target,
        old: Option<&Value>,
        new: &mut Value,
        dry_run: bool,
    ) -> Result<Allocation, ApiError> {
        if !is_service(target) {
            return Ok(Allocation { ports: self.ports.nothing(), choice: None, freed: Vec::new() });
        }
        if let Some(old) = old {
            patch_allocated(old, new);
        }
        families::normalize(old, new);
        let errors = families::initialize(old, new);
        if !errors.is_empty() {
            return Err(ApiError::invalid("", "Service", &target.name, errors));
        }
        let refused = |refusal: Refusal| refusal.into_error(target);
        let choice = cluster_ip(store, old, new).map_err(refused)?;
        let ports = self.ports.prepare(old, new, dry_run).map_err(refused)?;
        if let Some(old) = old {
            drop_dependent(old, new);
        }
        drop_policy(new);
        let freed = old.filter(|_| kind(new) == "ExternalName").map(addresses::held).unwrap_or_default();
        Ok(Allocation { ports, choice, freed })
    }
}

/// The address of a Service that has none yet, written into it.
fn cluster_ip(
    store: &Store,
    old: Option<&Value>,
    new: &mut Value,
) -> Result<Option<addresses::Choice>, Refusal> {
    let comes = old.is_none_or(|old| kind(old) == "ExternalName");
    if !comes || !needs_cluster_ip(new) || is_headless(new) {
        return Ok(None);
    }
    let choice = addresses::choose(store, text(new, &["spec", "clusterIP"]))?;
    put_address(new, choice.address());
    Ok(Some(choice))
}

fn put_address(service: &mut Value, address: Ipv4Addr) {
    let address = address.to_string();
    set(service, &["spec", "clusterIP"], address.as_str());
    set(service, &["spec", "clusterIPs"], vec![address]);
}

impl Allocation {
    /// What has to be stored with the Service.
    pub fn writes(&self, store: &Store, service: &Value) -> Vec<Write> {
        let taken = self.choice.map(|choice| addresses::allocate(choice.address(), service));
        taken.into_iter().chain(frees(store, &self.freed, service)).collect()
    }

    /// Someone was faster and has an address of this write: any other will do, unless the author named it.
    /// `None` if the collision is about something else.
    pub fn collided(
        &mut self,
        store: &Store,
        target: &Target,
        other: &Entry,
        service: &mut Value,
    ) -> Option<Result<(), ApiError>> {
        let choice = self.choice.filter(|choice| other.key == addresses::key(choice.address()))?;
        let again = match choice {
            addresses::Choice::Named(address) => Err(addresses::in_use(address)),
            addresses::Choice::Any(_) => addresses::choose(store, ""),
        };
        Some(again.map_err(|refusal| refusal.into_error(target)).map(|choice| {
            put_address(service, choice.address());
            self.choice = Some(choice);
        }))
    }

    /// The write was stored.
    pub fn keep(self) {
        self.ports.keep();
    }
}

/// The allocations of `held` that are `service`'s.
fn frees(store: &Store, held: &[Ipv4Addr], service: &Value) -> Vec<Write> {
    let entries = held.iter().filter_map(|address| store.get(&addresses::key(*address)));
    let own = entries.filter(|entry| {
        serde_json::from_slice::<Value>(&entry.value).is_ok_and(|one| addresses::belongs_to(&one, service))
    });
    own.filter_map(|entry| addresses::free(&entry)).collect()
}

/// What has to be stored with the deletion of an object.
pub fn deletes_with(store: &Store, target: &Target, last: &Value) -> Vec<Write> {
    match target.kind.group.is_empty() && target.kind.kind == "Service" {
        true => frees(store, &addresses::held(last), last),
        false => Vec::new(),
    }
}

/// `patchAllocatedValues`: an update that leaves out what was allocated keeps it.
fn patch_allocated(old: &Value, new: &mut Value) {
    if needs_cluster_ip(old) && needs_cluster_ip(new) {
        let before = text(old, &["spec", "clusterIP"]);
        if text(new, &["spec", "clusterIP"]).is_empty() && !before.is_empty() {
            set(new, &["spec", "clusterIP"], before);
        }
        let none = strings(at(new, &["spec", "clusterIPs"])).is_empty();
        if none && text(new, &["spec", "clusterIP"]) == before {
            keep(new, old, &["spec", "clusterIPs"]);
        }
    }
    if allocates_node_ports(old) && allocates_node_ports(new) {
        keep_node_ports(items(at(old, &["spec", "ports"])), new);
    }
    let unsaid = at(new, &["spec", "healthCheckNodePort"]).as_i64().unwrap_or(0) == 0;
    if needs_health_check(old) && needs_health_check(new) && unsaid {
        keep(new, old, &["spec", "healthCheckNodePort"]);
    }
}

fn node_port(port: &Value) -> Option<i64> {
    at(port, &["nodePort"]).as_i64().filter(|port| *port != 0)
}

/// Ports keep the node port of the old port of their name, unless another has it now.
fn keep_node_ports(old: &[Value], new: &mut Value) {
    let Some(Value::Array(ports)) = new.pointer_mut("/spec/ports") else { return };
    let before: Vec<i64> = old.iter().filter_map(node_port).collect();
    let mut used: Vec<i64> =
        ports.iter().filter_map(node_port).filter(|port| before.contains(port)).collect();
    for port in ports.iter_mut().filter(|port| node_port(port).is_none()) {
        let name = text(port, &["name"]);
        let same = old.iter().rfind(|old| text(old, &["name"]) == name).and_then(node_port);
        if let Some(number) = same.filter(|number| !used.contains(number)) {
            used.push(number);
            set(port, &["nodePort"], number);
        }
    }
}

/// `dropTypeDependentFields`: what no longer fits the type goes, if the author did not change it as well.
fn drop_dependent(old: &Value, new: &mut Value) {
    let same = |new: &Value, field: &str| at(old, &["spec", field]) == at(new, &["spec", field]);
    let drop_if = |gone: bool, fields: &[&str], new: &mut Value| {
        for field in fields.iter().filter(|_| gone) {
            if same(new, field) {
                remove(new, &["spec", field]);
            }
        }
    };
    let lost = |needs: fn(&Value) -> bool, new: &Value| needs(old) && !needs(new);
    let addressless = lost(needs_cluster_ip, new);
    if addressless && same(new, "clusterIPs") {
        remove(new, &["spec", "clusterIP"]);
    }
    drop_if(addressless, &["clusterIPs", "ipFamilies", "ipFamilyPolicy"], new);
    let numbers = |service: &Value| -> Vec<Option<i64>> {
        items(at(service, &["spec", "ports"])).iter().map(node_port).collect()
    };
    if lost(needs_node_ports, new) && numbers(old) == numbers(new) {
        let ports = new.pointer_mut("/spec/ports").and_then(Value::as_array_mut);
        ports.into_iter().flatten().for_each(|port| drop(remove(port, &["nodePort"])));
    }
    drop_if(lost(needs_health_check, new), &["healthCheckNodePort"], new);
    let balanced: fn(&Value) -> bool = |service| kind(service) == "LoadBalancer";
    drop_if(lost(balanced, new), &["allocateLoadBalancerNodePorts", "loadBalancerClass"], new);
    drop_if(lost(externally_accessible, new), &["externalTrafficPolicy"], new);
    if !balanced(new) {
        set(new, &["status", "loadBalancer"], serde_json::json!({}));
    }
}

/// Upstream accepts `internalTrafficPolicy` of a Service without traffic and never shows it
/// (`defaultOnReadInternalTrafficPolicy`). A word that is none stays, to be refused.
fn drop_policy(new: &mut Value) {
    let path = ["spec", "internalTrafficPolicy"];
    if kind(new) == "ExternalName" && matches!(text(new, &path), "Cluster" | "Local") {
        remove(new, &path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_has_no_internal_traffic() {
        for (kind, policy, stays) in
            [("ExternalName", "Cluster", false), ("ExternalName", "x", true), ("ClusterIP", "Local", true)]
        {
            let mut service = json!({"spec": {"type": kind, "internalTrafficPolicy": policy}});
            drop_policy(&mut service);
            assert_eq!(service["spec"].get("internalTrafficPolicy").is_some(), stays, "{kind} {policy}");
        }
    }

    #[test]
    fn an_update_keeps_what_it_leaves_out() {
        let old = json!({"spec": {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ports": [{"name": "a", "port": 80, "nodePort": 30001}, {"name": "b", "port": 81, "nodePort": 30002}]}});
        let mut new = json!({"spec": {"type": "LoadBalancer",
            "ports": [{"name": "b", "port": 90}, {"name": "c", "port": 91}, {"name": "a", "port": 92, "nodePort": 30009}]}});
        patch_allocated(&old, &mut new);
        assert_eq!(new["spec"]["clusterIPs"], json!(["10.0.0.1"]));
        let ports: Vec<Option<i64>> = items(&new["spec"]["ports"]).iter().map(node_port).collect();
        assert_eq!(ports, [Some(30002), None, Some(30009)]);
        let mut taken = json!({"spec": {"type": "NodePort",
            "ports": [{"name": "a", "port": 80}, {"name": "x", "port": 82, "nodePort": 30001}]}});
        patch_allocated(&old, &mut taken);
        assert_eq!(node_port(&taken["spec"]["ports"][0]), None);
        let mut quiet = json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false,
            "ports": [{"name": "a", "port": 80}]}});
        patch_allocated(&old, &mut quiet);
        assert_eq!(node_port(&quiet["spec"]["ports"][0]), None, "given up");
    }

    #[test]
    fn what_does_not_fit_the_type_goes_unless_it_was_changed() {
        let old = json!({"spec": {"type": "LoadBalancer", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "externalTrafficPolicy": "Local",
            "healthCheckNodePort": 30005, "allocateLoadBalancerNodePorts": true, "loadBalancerClass": "a/b",
            "ports": [{"port": 80, "nodePort": 30001}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
        let to = |kind: &str| {
            let mut new = old.clone();
            new["spec"]["type"] = json!(kind);
            new
        };
        let mut plain = to("ClusterIP");
        drop_dependent(&old, &mut plain);
        assert_eq!(
            plain,
            json!({"spec": {"type": "ClusterIP", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"],
                "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "ports": [{"port": 80}]},
                "status": {"loadBalancer": {}}})
        );
        let mut name = to("ExternalName");
        drop_dependent(&old, &mut name);
        assert_eq!(name["spec"], json!({"type": "ExternalName", "ports": [{"port": 80}]}));
        let mut changed = to("ClusterIP");
        changed["spec"]["ports"][0]["nodePort"] = json!(30007);
        changed["spec"]["loadBalancerClass"] = json!("c/d");
        drop_dependent(&old, &mut changed);
        assert_eq!(node_port(&changed["spec"]["ports"][0]), Some(30007));
        assert_eq!(changed["spec"]["loadBalancerClass"], json!("c/d"));
    }
}
