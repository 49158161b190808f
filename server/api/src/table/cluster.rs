//! Nodes, namespaces, events, configuration, rights, admission, certificates and the rest of the cluster.

use jiff::Timestamp;
use serde_json::Value;

use super::access::{boolean, condition, has, list, map, name, number, text, text_or};
use super::age::{age, human_duration, since};
use super::words;
use super::{AGE, Column, NAME, Printer, boolean as flag, integer, text as column, wide};

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

static BINDING: &[Column] = &[
    NAME,
    column(
        "Role",
        "RoleRef can reference a Role in the current namespace or a ClusterRole in the global namespace.",
    ),
    AGE,
    wide("Users", "Users in the roleBinding"),
    wide("Groups", "Groups in the roleBinding"),
    wide("ServiceAccounts", "ServiceAccounts in the roleBinding"),
];

static REQUEST: &[Column] = &[
    NAME,
    AGE,
    column("SignerName", "signerName indicates the requested signer, and is a qualified name."),
    column("Requestor", "username contains the name of the user that created the CertificateSigningRequest."),
    column(
        "RequestedDuration",
        "expirationSeconds is the requested duration of validity of the issued certificate.",
    ),
    column(
        "Condition",
        "conditions applied to the request. Known conditions are \"Approved\", \"Denied\", and \"Failed\".",
    ),
];

static TRUST_BUNDLE: &[Column] =
    &[NAME, column("SignerName", "signerName indicates the associated signer, if any.")];

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

static WEBHOOKS: &[Column] = &[
    NAME,
    integer("Webhooks", "Webhooks indicates the total number of webhooks defined in this configuration"),
    AGE,
];

static VALIDATING_POLICY: &[Column] = &[
    NAME,
    integer(
        "Validations",
        "Validations indicates the number of validation rules defined in this configuration",
    ),
    column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];

static MUTATING_POLICY: &[Column] = &[
    NAME,
    integer("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
    column("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
    AGE,
];

static POLICY_BINDING: &[Column] = &[
    NAME,
    column("PolicyName", "PolicyName indicates the policy definition which the policy binding binds to"),
    column("ParamRef", "ParamRef indicates the param resource which sets the configration param"),
    AGE,
];

static FLOW_SCHEMA: &[Column] = &[
    NAME,
    column(
        "PriorityLevel",
        "`priorityLevelConfiguration` should reference a PriorityLevelConfiguration in the cluster.",
    ),
    integer(
        "MatchingPrecedence",
        "`matchingPrecedence` is used to choose among the FlowSchemas that match a given request.",
    ),
    column(
        "DistinguisherMethod",
        "`distinguisherMethod` defines how to compute the flow distinguisher for requests that match this schema.",
    ),
    AGE,
    column("MissingPL", "references a broken or non-existent PriorityLevelConfiguration"),
];

static PRIORITY_LEVEL: &[Column] = &[
    NAME,
    column(
        "Type",
        "`type` indicates whether this priority level is subject to limitation on request execution.",
    ),
    column(
        "NominalConcurrencyShares",
        "`nominalConcurrencyShares` (NCS) contributes to the computation of the NominalConcurrencyLimit (NominalCL) of this level.",
    ),
    column("Queues", "`queues` is the number of queues for this priority level."),
    column(
        "HandSize",
        "`handSize` is a small positive number that configures the shuffle sharding of requests into queues.",
    ),
    column(
        "QueueLengthLimit",
        "`queueLengthLimit` is the maximum number of requests allowed to be waiting in a given queue of this priority level at a time.",
    ),
    AGE,
];

static API_SERVICE: &[Column] = &[
    NAME,
    column("Service", "The reference to the service that hosts this API endpoint."),
    column("Available", "Whether this service is available."),
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

const fn printer(bucket: &'static str, columns: &'static [Column], cells: super::Cells) -> Printer {
    Printer { bucket, columns, cells }
}

pub(super) static PRINTERS: &[Printer] = &[
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
    printer("rolebindings.rbac.authorization.k8s.io", BINDING, binding),
    printer("clusterrolebindings.rbac.authorization.k8s.io", BINDING, binding),
    printer("certificatesigningrequests.certificates.k8s.io", REQUEST, request),
    printer("clustertrustbundles.certificates.k8s.io", TRUST_BUNDLE, |o, _| {
        vec![name(o), text_or(o, "/spec/signerName", "<none>").into()]
    }),
    printer("leases.coordination.k8s.io", LEASE, |o, now| {
        vec![name(o), text(o, "/spec/holderIdentity").into(), age(o, now)]
    }),
    printer("priorityclasses.scheduling.k8s.io", PRIORITY, priority),
    printer("runtimeclasses.node.k8s.io", RUNTIME_CLASS, |o, now| {
        vec![name(o), text(o, "/handler").into(), age(o, now)]
    }),
    printer("mutatingwebhookconfigurations.admissionregistration.k8s.io", WEBHOOKS, webhooks),
    printer("validatingwebhookconfigurations.admissionregistration.k8s.io", WEBHOOKS, webhooks),
    printer("validatingadmissionpolicies.admissionregistration.k8s.io", VALIDATING_POLICY, |o, now| {
        admission_policy(o, "/spec/validations", now)
    }),
    printer("mutatingadmissionpolicies.admissionregistration.k8s.io", MUTATING_POLICY, |o, now| {
        admission_policy(o, "/spec/mutations", now)
    }),
    printer("validatingadmissionpolicybindings.admissionregistration.k8s.io", POLICY_BINDING, policy_binding),
    printer("mutatingadmissionpolicybindings.admissionregistration.k8s.io", POLICY_BINDING, policy_binding),
    printer("flowschemas.flowcontrol.apiserver.k8s.io", FLOW_SCHEMA, flow_schema),
    printer("prioritylevelconfigurations.flowcontrol.apiserver.k8s.io", PRIORITY_LEVEL, priority_level),
    printer("apiservices.apiregistration.k8s.io", API_SERVICE, api_service),
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

fn binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let subjects = |kind: &str| {
        let of_kind = list(object, "/subjects").iter().filter(|subject| text(subject, "/kind") == kind);
        let names = of_kind.map(|subject| match kind {
            "ServiceAccount" => format!("{}/{}", text(subject, "/namespace"), text(subject, "/name")),
            _ => text(subject, "/name").to_owned(),
        });
        Value::from(names.collect::<Vec<_>>().join(", "))
    };
    vec![
        name(object),
        format!("{}/{}", text(object, "/roleRef/kind"), text(object, "/roleRef/name")).into(),
        age(object, now),
        subjects("User"),
        subjects("Group"),
        subjects("ServiceAccount"),
    ]
}

fn request(object: &Value, now: Timestamp) -> Vec<Value> {
    let duration = match object.pointer("/spec/expirationSeconds").and_then(Value::as_i64) {
        Some(seconds) => human_duration(seconds),
        None => "<none>".to_owned(),
    };
    vec![
        name(object),
        age(object, now),
        text_or(object, "/spec/signerName", "<none>").into(),
        text(object, "/spec/username").into(),
        duration.into(),
        request_status(object).into(),
    ]
}

fn request_status(object: &Value) -> String {
    let conditions = list(object, "/status/conditions");
    let is = |ty: &str| conditions.iter().any(|condition| text(condition, "/type") == ty);
    let mut status = match () {
        () if is("Denied") => "Denied",
        () if is("Approved") => "Approved",
        () => "Pending",
    }
    .to_owned();
    if is("Failed") {
        status.push_str(",Failed");
    }
    if !text(object, "/status/certificate").is_empty() {
        status.push_str(",Issued");
    }
    status
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

fn webhooks(object: &Value, now: Timestamp) -> Vec<Value> {
    vec![name(object), list(object, "/webhooks").len().into(), age(object, now)]
}

fn admission_policy(object: &Value, rules: &str, now: Timestamp) -> Vec<Value> {
    let parameter = match has(object, "/spec/paramKind") {
        true => {
            format!("{}/{}", text(object, "/spec/paramKind/apiVersion"), text(object, "/spec/paramKind/kind"))
        }
        false => "<unset>".to_owned(),
    };
    vec![name(object), list(object, rules).len().into(), parameter.into(), age(object, now)]
}

fn policy_binding(object: &Value, now: Timestamp) -> Vec<Value> {
    let parameter = match (text(object, "/spec/paramRef/namespace"), text(object, "/spec/paramRef/name")) {
        _ if !has(object, "/spec/paramRef") => "<unset>".to_owned(),
        (_, "") => words::selector(object.pointer("/spec/paramRef/selector")),
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    vec![name(object), text(object, "/spec/policyName").into(), parameter.into(), age(object, now)]
}

fn flow_schema(object: &Value, now: Timestamp) -> Vec<Value> {
    let conditions = list(object, "/status/conditions");
    let dangling = conditions.iter().find(|condition| text(condition, "/type") == "Dangling");
    vec![
        name(object),
        text(object, "/spec/priorityLevelConfiguration/name").into(),
        number(object, "/spec/matchingPrecedence").into(),
        text_or(object, "/spec/distinguisherMethod/type", "<none>").into(),
        age(object, now),
        dangling.map_or("?", |condition| text(condition, "/status")).into(),
    ]
}

fn priority_level(object: &Value, now: Timestamp) -> Vec<Value> {
    let amount = |pointer: &str| match object.pointer(pointer).and_then(Value::as_i64) {
        Some(number) => Value::from(number.to_string()),
        None => "<none>".into(),
    };
    let member = if text(object, "/spec/type") == "Exempt" { "exempt" } else { "limited" };
    let queuing = |name: &str| amount(&format!("/spec/limited/limitResponse/queuing/{name}"));
    vec![
        name(object),
        text(object, "/spec/type").into(),
        amount(&format!("/spec/{member}/nominalConcurrencyShares")),
        queuing("queues"),
        queuing("handSize"),
        queuing("queueLengthLimit"),
        age(object, now),
    ]
}

fn api_service(object: &Value, now: Timestamp) -> Vec<Value> {
    let service = match has(object, "/spec/service") {
        true => format!("{}/{}", text(object, "/spec/service/namespace"), text(object, "/spec/service/name")),
        false => "Local".to_owned(),
    };
    let conditions = list(object, "/status/conditions");
    let available = match conditions.iter().find(|condition| text(condition, "/type") == "Available") {
        _ if condition(object, "Available", "True") => "True".to_owned(),
        Some(found) => format!("{} ({})", text(found, "/status"), text(found, "/reason")),
        None => "Unknown".to_owned(),
    };
    vec![name(object), service.into(), available.into(), age(object, now)]
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
