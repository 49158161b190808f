//! Services and what leads to them: endpoints, slices, ingresses, policies, address ranges.

use jiff::Timestamp;
use serde_json::Value;

use super::access::{has, list, map, name, number, strings, text, text_or};
use super::age::age;
use super::words;
use super::{AGE, Column, NAME, Printer, printer, text as column, wide};

static SERVICE: &[Column] = &[
    NAME,
    column("Type", "type determines how the Service is exposed. Defaults to ClusterIP."),
    column("Cluster-IP", "clusterIP is the IP address of the service and is usually assigned randomly."),
    column(
        "External-IP",
        "externalIPs is a list of IP addresses for which nodes in the cluster will also accept traffic for this service.",
    ),
    column("Port(s)", "The list of ports that are exposed by this service."),
    AGE,
    wide("Selector", "Route service traffic to pods with label keys and values matching this selector."),
];

static ENDPOINTS: &[Column] =
    &[NAME, column("Endpoints", "The set of all endpoints is the union of all subsets."), AGE];

static SLICE: &[Column] = &[
    NAME,
    column("AddressType", "addressType specifies the type of address carried by this EndpointSlice."),
    column("Ports", "ports specifies the list of network ports exposed by each endpoint in this slice."),
    column("Endpoints", "endpoints is a list of unique endpoints in this slice."),
    AGE,
];

static INGRESS: &[Column] = &[
    NAME,
    column("Class", "The name of the IngressClass resource that should be used for additional configuration"),
    column("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
    column("Address", "Address is a list containing ingress points for the load-balancer"),
    column("Ports", "Ports of TLS configurations that open"),
    AGE,
];

static INGRESS_CLASS: &[Column] = &[
    NAME,
    column("Controller", "Controller that is responsible for handling this class"),
    column("Parameters", "A reference to a resource with additional parameters"),
    AGE,
];

static POLICY: &[Column] = &[
    NAME,
    column("Pod-Selector", "podSelector selects the pods to which this NetworkPolicy object applies."),
    AGE,
];

static CIDR: &[Column] = &[
    NAME,
    column("CIDRs", "CIDRs defines the IP blocks in CIDR notation from which to assign service cluster IPs."),
    AGE,
];

static ADDRESS: &[Column] =
    &[NAME, column("ParentRef", "ParentRef references the resource that an IPAddress is attached to.")];

pub(super) const PRINTERS: &[Printer] = &[
    printer("services", SERVICE, service),
    printer("endpoints", ENDPOINTS, endpoints),
    printer("endpointslices.discovery.k8s.io", SLICE, slice),
    printer("ingresses.networking.k8s.io", INGRESS, ingress),
    printer("ingressclasses.networking.k8s.io", INGRESS_CLASS, ingress_class),
    printer("networkpolicies.networking.k8s.io", POLICY, policy),
    printer("servicecidrs.networking.k8s.io", CIDR, cidr),
    printer("ipaddresses.networking.k8s.io", ADDRESS, address),
];

fn service(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/spec/type").into(),
        text_or(object, "/spec/clusterIP", "<none>").into(),
        external_ip(object).into(),
        words::or_none(ports(object)).into(),
        age(object, now),
        words::labels(map(object, "/spec/selector")).into(),
    ]
}

/// Upstream's `getServiceExternalIP`.
fn external_ip(object: &Value) -> String {
    let external = strings(object, "/spec/externalIPs").into_iter().map(str::to_owned);
    match text(object, "/spec/type") {
        "ClusterIP" | "NodePort" => words::or_none(external.collect::<Vec<_>>().join(",")),
        "LoadBalancer" => {
            let addresses: Vec<String> = words::load_balancer(object).into_iter().chain(external).collect();
            if addresses.is_empty() { "<pending>".to_owned() } else { addresses.join(",") }
        }
        "ExternalName" => text(object, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(object: &Value) -> String {
    let port =
        |port: &Value| match (number(port, "/port"), number(port, "/nodePort"), text(port, "/protocol")) {
            (inner, 0, protocol) => format!("{inner}/{protocol}"),
            (inner, node, protocol) => format!("{inner}:{node}/{protocol}"),
        };
    list(object, "/spec/ports").iter().map(port).collect::<Vec<_>>().join(",")
}

fn endpoints(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut items = Vec::new();
    for subset in list(object, "/subsets") {
        let addresses = || list(subset, "/addresses").iter().map(|address| text(address, "/ip"));
        let ports = list(subset, "/ports");
        if ports.is_empty() {
            items.extend(addresses().map(str::to_owned));
        }
        for port in ports {
            items.extend(addresses().map(|ip| words::host_port(ip, number(port, "/port"))));
        }
    }
    let cell = match list(object, "/subsets").is_empty() {
        true => "<none>".to_owned(),
        false => words::shortened(&items, 3, ","),
    };
    vec![name(object), cell.into(), age(object, now)]
}

fn slice(object: &Value, now: Timestamp) -> Vec<Value> {
    let port = |port: &Value| match port.get("port").and_then(Value::as_i64) {
        Some(number) => number.to_string(),
        None => "*".to_owned(),
    };
    let ports: Vec<String> = list(object, "/ports").iter().map(port).collect();
    let of_endpoints = list(object, "/endpoints").iter().flat_map(|endpoint| strings(endpoint, "/addresses"));
    let addresses: Vec<String> = of_endpoints.map(str::to_owned).collect();
    vec![
        name(object),
        text(object, "/addressType").into(),
        or_unset(words::shortened(&ports, 3, ",")).into(),
        or_unset(words::shortened(&addresses, 3, ",")).into(),
        age(object, now),
    ]
}

fn or_unset(text: String) -> String {
    if text.is_empty() { "<unset>".to_owned() } else { text }
}

fn ingress(object: &Value, now: Timestamp) -> Vec<Value> {
    let tls = !list(object, "/spec/tls").is_empty();
    vec![
        name(object),
        text_or(object, "/spec/ingressClassName", "<none>").into(),
        hosts(list(object, "/spec/rules")).into(),
        words::load_balancer(object).join(",").into(),
        if tls { "80, 443" } else { "80" }.into(),
        age(object, now),
    ]
}

/// Upstream's `formatHosts`: three at most; `*` where no rule names a host.
fn hosts(rules: &[Value]) -> String {
    let named: Vec<&str> =
        rules.iter().map(|rule| text(rule, "/host")).filter(|host| !host.is_empty()).collect();
    let shown = named[..named.len().min(3)].join(",");
    match () {
        () if named.is_empty() => "*".to_owned(),
        () if named.len() >= 3 && rules.len() > 3 => format!("{shown} + {} more...", rules.len() - 3),
        () => shown,
    }
}

fn ingress_class(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameters = match has(object, "/spec/parameters") {
        false => "<none>".to_owned(),
        true => {
            let kind = text(object, "/spec/parameters/kind");
            let group = text(object, "/spec/parameters/apiGroup");
            let dot = if group.is_empty() { "" } else { "." };
            format!("{kind}{dot}{group}/{}", text(object, "/spec/parameters/name"))
        }
    };
    vec![name(object), text(object, "/spec/controller").into(), parameters.into(), age(object, now)]
}

fn policy(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), words::selector(object.pointer("/spec/podSelector")).into(), age(object, now)]
}

fn cidr(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), strings(object, "/spec/cidrs").join(",").into(), age(object, now)]
}

fn address(object: &Value, _now: Timestamp) -> Vec<Value> {
    let part = |member: &str| text(object, &format!("/spec/parentRef/{member}"));
    let mut resource = part("resource").to_owned();
    if !part("group").is_empty() {
        resource = format!("{resource}.{}", part("group"));
    }
    let parts = [resource.as_str(), part("namespace"), part("name")];
    let parent = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("/");
    vec![name(object), words::or_none(parent).into()]
}
