//! Nodes, namespaces, events, configuration, leases, priorities, devices.

use jiff::Timestamp;
use serde_json::Value;

use super::access::{boolean, has, list, map, name, number, text, text_or};
use super::age::{age, since};
use super::words;
use super::{AGE, Column, NAME, Printer, boolean as flag, integer, printer, text as column, wide};

const ADDRESSES: &str = "List of addresses reachable to the node. Queried from cloud provider, if available.";

static NODE: &[Column] = &[
    NAME,
    column("Status", "The status of the node"),
    column("Roles", "The roles of the node"),
    AGE,
    column("Version", "Kubelet Version reported by the node."),
    wide("Internal-IP", ADDRESSES),
    wide("External-IP", ADDRESSES),
    wide(
        "OS-Image",
        "OS Image reported by the node from /etc/os-release (e.g. Debian GNU/Linux 7 (wheezy)).",
    ),
    wide(
        "Kernel-Version",
        "Kernel Version reported by the node from 'uname -r' (e.g. 3.16.0-0.bpo.4-amd64).",
    ),
    wide(
        "Container-Runtime",
        "ContainerRuntime Version reported by the node through runtime remote API (e.g. containerd://1.4.2).",
    ),
];

static EVENT: &[Column] = &[
    column("Last Seen", "The time at which the most recent occurrence of this event was recorded."),
    column("Type", "Type of this event (Normal, Warning), new types could be added in the future"),
    column(
        "Reason",
        "This should be a short, machine understandable string that gives the reason for the transition into the object's current status.",
    ),
    column("Object", "The object that this event is about."),
    wide(
        "Subobject",
        "If referring to a piece of an object instead of an entire object, this string should contain a valid JSON/Go field access statement.",
    ),
    wide("Source", "The component reporting this event. Should be a short machine understandable string."),
    column("Message", "A human-readable description of the status of this operation."),
    wide(
        "First Seen",
        "The time at which the event was first recorded. (Time of server receipt is in TypeMeta.)",
    ),
    wide("Count", "The number of times this event has occurred."),
    Column { priority: 1, ..NAME },
];

static NAMESPACE: &[Column] = &[NAME, column("Status", "The status of the namespace"), AGE];

static SECRET: &[Column] = &[
    NAME,
    column("Type", "Used to facilitate programmatic handling of secret data."),
    integer("Data", "Data contains the secret data."),
    AGE,
];

static CONFIG_MAP: &[Column] = &[NAME, integer("Data", "Data contains the configuration data."), AGE];

static SERVICE_ACCOUNT: &[Column] = &[
    NAME,
    integer(
        "Secrets",
        "Secrets is a list of the secrets in the same namespace that pods running using this ServiceAccount are allowed to use.",
    ),
    AGE,
];

static COMPONENT: &[Column] = &[
    NAME,
    column("Status", "Status of the component conditions"),
    column("Message", "Message of the component conditions"),
    column("Error", "Error of the component conditions"),
];

static QUOTA: &[Column] = &[
    NAME,
    column("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
    column(
        "Limit",
        "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node.",
    ),
    AGE,
];

static LEASE: &[Column] =
    &[NAME, column("Holder", "holderIdentity contains the identity of the holder of a current lease."), AGE];

static PRIORITY: &[Column] = &[
    NAME,
    integer("Value", "value represents the integer value of this priority class."),
    flag(
        "Global-Default",
        "globalDefault specifies whether this PriorityClass should be considered as the default priority for pods that do not have any priority class.",
    ),
    AGE,
    column("PreemptionPolicy", "preemptionPolicy is the Policy for preempting pods with lower priority."),
];

static RUNTIME_CLASS: &[Column] = &[
    NAME,
    column(
        "Handler",
        "handler specifies the underlying runtime and configuration that the CRI implementation will use to handle pods of this class.",
    ),
    AGE,
];

static CLAIM: &[Column] =
    &[NAME, column("State", "A summary of the current state (allocated, pending, reserved, etc.)."), AGE];

static SLICE: &[Column] = &[
    NAME,
    column("Node", "NodeName identifies the node which provides the resources in this pool."),
    column("Driver", "Driver identifies the DRA driver providing the capacity information."),
    column("Pool", "Pool describes the pool that this ResourceSlice belongs to."),
    AGE,
];

static PLAIN: &[Column] = &[NAME, AGE];

pub(super) const PRINTERS: &[Printer] = &[
    printer("nodes", NODE, node),
    printer("events", EVENT, event),
    printer("namespaces", NAMESPACE, |o, now| vec![name(o), text(o, "/status/phase").into(), age(o, now)]),
    printer("secrets", SECRET, secret),
    printer("configmaps", CONFIG_MAP, config_map),
    printer("serviceaccounts", SERVICE_ACCOUNT, |o, now| {
        vec![name(o), list(o, "/secrets").len().into(), age(o, now)]
    }),
    printer("componentstatuses", COMPONENT, component),
    printer("resourcequotas", QUOTA, quota),
    printer("leases.coordination.k8s.io", LEASE, |o, now| {
        vec![name(o), text(o, "/spec/holderIdentity").into(), age(o, now)]
    }),
    printer("priorityclasses.scheduling.k8s.io", PRIORITY, priority),
    printer("runtimeclasses.node.k8s.io", RUNTIME_CLASS, |o, now| {
        vec![name(o), text(o, "/handler").into(), age(o, now)]
    }),
    printer("resourceclaims.resource.k8s.io", CLAIM, claim),
    printer("resourceslices.resource.k8s.io", SLICE, slice),
    printer("resourceclaimtemplates.resource.k8s.io", PLAIN, |o, now| vec![name(o), age(o, now)]),
    printer("deviceclasses.resource.k8s.io", PLAIN, |o, now| vec![name(o), age(o, now)]),
];

fn node(object: &Value, now: Timestamp) -> Vec<Value> {
    let address = |ty: &str| {
        let found = list(object, "/status/addresses").iter().find(|address| text(address, "/type") == ty);
        Value::from(found.map_or("<none>", |address| text(address, "/address")))
    };
    let info =
        |member: &str| Value::from(text_or(object, &format!("/status/nodeInfo/{member}"), "<unknown>"));
    vec![
        name(object),
        node_status(object).into(),
        node_roles(object).into(),
        age(object, now),
        text(object, "/status/nodeInfo/kubeletVersion").into(),
        address("InternalIP"),
        address("ExternalIP"),
        info("osImage"),
        info("kernelVersion"),
        info("containerRuntimeVersion"),
    ]
}

fn node_status(object: &Value) -> String {
    let ready =
        list(object, "/status/conditions").iter().find(|condition| text(condition, "/type") == "Ready");
    let status = match ready.map(|condition| text(condition, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    };
    match boolean(object, "/spec/unschedulable") {
        true => format!("{status},SchedulingDisabled"),
        false => status.to_owned(),
    }
}

fn node_roles(object: &Value) -> String {
    let mut roles: Vec<&str> = Vec::new();
    for (key, value) in map(object, "/metadata/labels").into_iter().flatten() {
        if let Some(role) = key.strip_prefix("node-role.kubernetes.io/") {
            roles.push(role);
        } else if key == "kubernetes.io/role" {
            roles.push(value.as_str().unwrap_or_default());
        }
    }
    roles.retain(|role| !role.is_empty());
    roles.sort_unstable();
    roles.dedup();
    words::or_none(roles.join(","))
}

/// Both groups of events: events.k8s.io calls things `note`, `regarding`, `deprecated…`.
fn event(object: &Value, now: Timestamp) -> Vec<Value> {
    let either = |core: &str, new: &'static str| match text(object, core) {
        "" => text(object, new).to_owned(),
        found => found.to_owned(),
    };
    let mut first = either("/firstTimestamp", "/deprecatedFirstTimestamp");
    if first.is_empty() {
        first = text(object, "/eventTime").to_owned();
    }
    let mut last = either("/lastTimestamp", "/deprecatedLastTimestamp");
    if last.is_empty() {
        last.clone_from(&first);
    }
    let mut count = number(object, "/count").max(number(object, "/deprecatedCount"));
    if has(object, "/series") {
        last = text(object, "/series/lastObservedTime").to_owned();
        count = number(object, "/series/count");
    }
    vec![
        since(&last, now).into(),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        event_target(object).into(),
        either("/involvedObject/fieldPath", "/regarding/fieldPath").into(),
        event_source(object).into(),
        either("/message", "/note").trim().into(),
        since(&first, now).into(),
        // events of the new API have no count while they are alone
        count.max(1).to_string().into(),
        name(object),
    ]
}

fn event_target(object: &Value) -> String {
    let target = object.get("involvedObject").or_else(|| object.get("regarding")).unwrap_or(&Value::Null);
    let kind = text(target, "/kind").to_lowercase();
    match text(target, "/name") {
        "" => kind,
        name => format!("{kind}/{name}"),
    }
}

fn event_source(object: &Value) -> String {
    let source = object.get("source").or_else(|| object.get("deprecatedSource")).unwrap_or(&Value::Null);
    let reporter = text_or(object, "/reportingComponent", text(object, "/reportingController"));
    let component = text_or(source, "/component", reporter);
    match text_or(source, "/host", text(object, "/reportingInstance")) {
        "" => component.to_owned(),
        host => format!("{component}, {host}"),
    }
}

fn secret(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = map(object, "/data").map_or(0, serde_json::Map::len);
    vec![name(object), text(object, "/type").into(), count.into(), age(object, now)]
}

fn config_map(object: &Value, now: Timestamp) -> Vec<Value> {
    let count = |pointer: &str| map(object, pointer).map_or(0, serde_json::Map::len);
    vec![name(object), (count("/data") + count("/binaryData")).into(), age(object, now)]
}

fn component(object: &Value, _now: Timestamp) -> Vec<Value> {
    let healthy = list(object, "/conditions").iter().find(|condition| text(condition, "/type") == "Healthy");
    let healthy = healthy.unwrap_or(&Value::Null);
    let status = match text(healthy, "/status") {
        "True" => "Healthy",
        "False" => "Unhealthy",
        _ => "Unknown",
    };
    vec![name(object), status.into(), text(healthy, "/message").into(), text(healthy, "/error").into()]
}

fn quota(object: &Value, now: Timestamp) -> Vec<Value> {
    let mut names: Vec<&String> =
        map(object, "/status/hard").into_iter().flatten().map(|(name, _)| name).collect();
    names.sort_unstable();
    let (mut requests, mut limits) = (Vec::new(), Vec::new());
    for resource in names {
        let amount = |member: &str| {
            let found = map(object, &format!("/status/{member}")).and_then(|map| map.get(resource));
            found.and_then(Value::as_str).unwrap_or("0").to_owned()
        };
        let cell = format!("{resource}: {}/{}", amount("used"), amount("hard"));
        if resource.starts_with("limits.") { limits.push(cell) } else { requests.push(cell) }
    }
    vec![name(object), requests.join(", ").into(), limits.join(", ").into(), age(object, now)]
}

fn priority(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        number(object, "/value").into(),
        boolean(object, "/globalDefault").into(),
        age(object, now),
        text(object, "/preemptionPolicy").into(),
    ]
}

fn claim(object: &Value, now: Timestamp) -> Vec<Value> {
    let deleted = has(object, "/metadata/deletionTimestamp");
    let mut states = Vec::new();
    if deleted {
        states.push("deleted");
    }
    match has(object, "/status/allocation") {
        true => states.push("allocated"),
        false if !deleted => states.push("pending"),
        false => {}
    }
    if has(object, "/status/allocation") && !list(object, "/status/reservedFor").is_empty() {
        states.push("reserved");
    }
    vec![name(object), states.join(",").into(), age(object, now)]
}

fn slice(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![
        name(object),
        text(object, "/spec/nodeName").into(),
        text(object, "/spec/driver").into(),
        text(object, "/spec/pool/name").into(),
        age(object, now),
    ]
}
