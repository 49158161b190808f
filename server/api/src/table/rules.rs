//! Who may do what, and how requests are checked: bindings, certificates, admission, flow control.

use jiff::Timestamp;
use serde_json::Value;

use super::access::{condition, has, list, name, number, text, text_or};
use super::age::{age, human_duration};
use super::words;
use super::{AGE, Column, NAME, Printer, integer, printer, text as column, wide};

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

pub(super) const PRINTERS: &[Printer] = &[
    printer("rolebindings.rbac.authorization.k8s.io", BINDING, binding),
    printer("clusterrolebindings.rbac.authorization.k8s.io", BINDING, binding),
    printer("certificatesigningrequests.certificates.k8s.io", REQUEST, request),
    printer("clustertrustbundles.certificates.k8s.io", TRUST_BUNDLE, |o, _| {
        vec![name(o), text_or(o, "/spec/signerName", "<none>").into()]
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
];

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
