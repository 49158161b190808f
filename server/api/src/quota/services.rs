//! Services: `evaluator/core/services.go`.

use serde_json::Value;

use super::amounts::Amounts;
use super::{at, items, text};
use crate::quantity::{Format, Quantity};

pub(super) fn counts(resource: &str) -> bool {
    matches!(resource, "services" | "services.nodeports" | "services.loadbalancers")
}

pub(super) fn usage(service: &Value) -> Amounts {
    let balanced = text(service, &["spec", "type"]) == "LoadBalancer";
    let on_nodes = match text(service, &["spec", "type"]) {
        "NodePort" => items(at(service, &["spec", "ports"])).len(),
        "LoadBalancer" => node_ports(service),
        _ => 0,
    };
    let number = |count: usize| Quantity::new(i64::try_from(count).unwrap_or(i64::MAX), Format::DecimalSI);
    Amounts::from([
        ("services".to_owned(), number(1)),
        ("services.nodeports".to_owned(), number(on_nodes)),
        ("services.loadbalancers".to_owned(), number(usize::from(balanced))),
    ])
}

/// A load balancer that goes to the pods themselves needs ports of nodes only where they are asked for.
fn node_ports(service: &Value) -> usize {
    let ports = items(at(service, &["spec", "ports"]));
    if at(service, &["spec", "allocateLoadBalancerNodePorts"]).as_bool() != Some(false) {
        return ports.len();
    }
    ports.iter().filter(|port| at(port, &["nodePort"]).as_i64().is_some_and(|number| number != 0)).count()
}
