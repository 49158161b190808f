//! What is odd about a pod, or about the pods that a template makes: `GetWarningsForPod` and
//! `GetWarningsForPodTemplate` of `pkg/api/pod/warnings.go`, in its order.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::access::*;
use crate::go::Quote as _;

/// The sorts of containers, in the order in which upstream visits them.
const CONTAINERS: &[&str] = &["initContainers", "containers", "ephemeralContainers"];

/// Labels of nodes that have a newer name.
const OLD_LABELS: &[(&str, &str)] = &[
    ("beta.kubernetes.io/arch", "deprecated since v1.14; use \"kubernetes.io/arch\" instead"),
    ("beta.kubernetes.io/os", "deprecated since v1.14; use \"kubernetes.io/os\" instead"),
    (
        "failure-domain.beta.kubernetes.io/region",
        "deprecated since v1.17; use \"topology.kubernetes.io/region\" instead",
    ),
    (
        "failure-domain.beta.kubernetes.io/zone",
        "deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
    ),
    (
        "beta.kubernetes.io/instance-type",
        "deprecated since v1.17; use \"node.kubernetes.io/instance-type\" instead",
    ),
];

/// Annotations that fields have replaced.
const OLD_ANNOTATIONS: &[(&str, &str)] = &[
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    (
        "security.alpha.kubernetes.io/unsafe-sysctls",
        "non-functional in v1.11+; use the \"sysctls\" field instead",
    ),
];

/// Volumes that are going, or gone.
const OLD_VOLUMES: &[(&str, &str)] = &[
    ("photonPersistentDisk", "deprecated in v1.11, non-functional in v1.16+"),
    ("gitRepo", "deprecated in v1.11"),
    ("scaleIO", "deprecated in v1.16, non-functional in v1.22+"),
    ("flocker", "deprecated in v1.22, non-functional in v1.25+"),
    ("storageos", "deprecated in v1.22, non-functional in v1.25+"),
    ("quobyte", "deprecated in v1.22, non-functional in v1.25+"),
    ("glusterfs", "deprecated in v1.25, non-functional in v1.26+"),
    ("cephfs", "deprecated in v1.28, non-functional in v1.31+"),
    ("rbd", "deprecated in v1.28, non-functional in v1.31+"),
];

/// Amounts of bytes.
const BYTES: &[&str] = &["memory", "ephemeral-storage"];

/// What is odd about `pod`, a Pod or a template at the path `at` (empty for a Pod).
pub(super) fn warnings(pod: &Value, at: &str) -> Vec<String> {
    let (spec, spec_at) = (get(pod, "spec"), join(at, "spec"));
    let mut told = Vec::new();
    node_labels(spec, &spec_at, &mut told);
    let annotations = get(get(pod, "metadata"), "annotations");
    let annotations_at = join(at, "metadata.annotations");
    let old = OLD_ANNOTATIONS.iter().filter(|(key, _)| has(annotations, key));
    told.extend(old.map(|(key, why)| format!("{annotations_at}[{key}]: {why}")));
    volumes(spec, &spec_at, &mut told);
    super::pod_paths::overlaps(spec, &mut told);
    twice(spec, "hostAliases", "ip", &spec_at, &mut told);
    twice(spec, "imagePullSecrets", "name", &spec_at, &mut told);
    for (at, secret) in each(spec, "imagePullSecrets", &spec_at) {
        if text(secret, "name").is_empty() {
            told.push(format!("{at}.name: invalid empty name \"\""));
        }
    }
    fractions(spec, "overhead", &spec_at, BYTES, &mut told);
    seccomp(pod, at, &mut told);
    containers(pod, at, &mut told);
    ports(spec, &spec_at, &mut told);
    if int(spec, "terminationGracePeriodSeconds").is_some_and(|seconds| seconds < 0) {
        let at = join(&spec_at, "terminationGracePeriodSeconds");
        told.push(format!("{at}: must be >= 0; negative values are invalid and will be treated as 1"));
    }
    affinity_terms(spec, &spec_at, &mut told);
    told
}

pub(super) fn replaced(label: &str) -> Option<&'static str> {
    OLD_LABELS.iter().find(|(old, _)| *old == label).map(|(_, why)| *why)
}

/// Deprecated labels in selectors, affinity and topology, and constraints that select nothing.
fn node_labels(spec: &Value, at: &str, told: &mut Vec<String>) {
    let selected = entries(spec, "nodeSelector").filter_map(|(key, _)| Some((key, replaced(key)?)));
    told.extend(selected.map(|(key, why)| format!("{at}.nodeSelector[{key}]: {why}")));
    let affinity = get(get(spec, "affinity"), "nodeAffinity");
    let affinity_at = format!("{at}.affinity.nodeAffinity");
    let (required, preferred) =
        ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution");
    for (at, term) in each(get(affinity, required), "nodeSelectorTerms", &join(&affinity_at, required)) {
        node_term(term, &at, told);
    }
    for (at, term) in each(affinity, preferred, &affinity_at) {
        node_term(get(term, "preference"), &join(&at, "preference"), told);
    }
    for (at, constraint) in each(spec, "topologySpreadConstraints", at) {
        let key = text(constraint, "topologyKey");
        told.extend(replaced(key).map(|why| format!("{at}.topologyKey: {key} is {why}")));
        if !has(constraint, "labelSelector") {
            told.push(format!("{at}.labelSelector: {NO_POD}"));
        }
    }
}

const NO_POD: &str = "a null labelSelector results in matching no pod";

pub(super) fn node_term(term: &Value, at: &str, told: &mut Vec<String>) {
    for (at, expression) in each(term, "matchExpressions", at) {
        let key = text(expression, "key");
        told.extend(replaced(key).map(|why| format!("{at}.key: {key} is {why}")));
    }
}

fn affinity_terms(spec: &Value, at: &str, told: &mut Vec<String>) {
    for kind in ["podAffinity", "podAntiAffinity"] {
        let (affinity, at) = (get(get(spec, "affinity"), kind), format!("{at}.affinity.{kind}"));
        let required = each(affinity, "requiredDuringSchedulingIgnoredDuringExecution", &at);
        let preferred = each(affinity, "preferredDuringSchedulingIgnoredDuringExecution", &at)
            .map(|(at, term)| (join(&at, "podAffinityTerm"), get(term, "podAffinityTerm")));
        let null = required.chain(preferred).filter(|(_, term)| !has(term, "labelSelector"));
        told.extend(null.map(|(at, _)| format!("{at}.labelSelector: {NO_POD}")));
    }
}

fn volumes(spec: &Value, at: &str, told: &mut Vec<String>) {
    for (at, volume) in each(spec, "volumes", at) {
        let is_there =
            |source: &&str| volume.as_object().is_some_and(|fields| fields.keys().any(|key| key == *source));
        for (source, why) in OLD_VOLUMES.iter().filter(|(source, _)| is_there(source) && has(volume, source))
        {
            // Go's name of this field is not the API's
            let source = if *source == "storageos" { "storageOS" } else { source };
            told.push(format!("{at}.{source}: {why}"));
        }
        let claim = get(get(get(volume, "ephemeral"), "volumeClaimTemplate"), "spec");
        let at = format!("{at}.ephemeral.volumeClaimTemplate.spec.resources");
        fractions(get(claim, "resources"), "requests", &at, &["storage"], told);
    }
}

/// Items with the same `key` as one before.
fn twice(spec: &Value, field: &str, key: &str, at: &str, told: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, item) in each(spec, field, at) {
        if !seen.insert(text(item, key)) {
            told.push(format!("{at}.{key}: duplicate {key} {}", text(item, key).quoted()));
        }
    }
}

/// Amounts that are no whole number of bytes.
fn fractions(value: &Value, field: &str, at: &str, names: &[&str], told: &mut Vec<String>) {
    for name in names {
        let amount = Some(get(get(value, field), name)).filter(|amount| !amount.is_null()).and_then(quantity);
        if let Some(amount) = amount.filter(|amount| amount.milli_value() % 1000 != 0) {
            let shown = amount.to_string();
            told.push(format!(
                "{at}.{field}[{name}]: fractional byte value {} is invalid, must be an integer",
                shown.quoted()
            ));
        }
    }
}

const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";

fn seccomp(pod: &Value, at: &str, told: &mut Vec<String>) {
    const KEY: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let annotated = has(get(get(pod, "metadata"), "annotations"), KEY);
    if annotated && !has(get(get(pod, "spec"), "securityContext"), "seccompProfile") {
        told.push(format!("{}[{KEY}]: {SECCOMP}", join(at, "metadata.annotations")));
    }
}

fn each_container<'a>(spec: &'a Value, at: &'a str) -> impl Iterator<Item = (String, &'a Value)> {
    CONTAINERS.iter().flat_map(move |sort| each(spec, sort, at))
}

fn containers(pod: &Value, at: &str, told: &mut Vec<String>) {
    let spec = get(pod, "spec");
    let annotations = get(get(pod, "metadata"), "annotations");
    let annotations_at = join(at, "metadata.annotations");
    let apparmor = has(get(spec, "securityContext"), "appArmorProfile");
    for (place, container) in each_container(spec, &join(at, "spec")) {
        let (name, context) = (text(container, "name"), get(container, "securityContext"));
        let key = ["container.seccomp.security.alpha.kubernetes.io/", name].concat();
        if has(annotations, &key) && !has(context, "seccompProfile") {
            told.push(format!("{annotations_at}[{key}]: {SECCOMP}"));
        }
        let key = ["container.apparmor.security.beta.kubernetes.io/", name].concat();
        let in_field = apparmor || has(context, "appArmorProfile");
        if !at.is_empty() && has(annotations, &key) && !in_field {
            let why = "deprecated since v1.30; use the \"appArmorProfile\" field instead";
            told.push(format!("{annotations_at}[{key}]: {why}"));
        }
        let resources = join(&place, "resources");
        for name in BYTES {
            for field in ["limits", "requests"] {
                fractions(get(container, "resources"), field, &resources, &[name], told);
            }
        }
        env(container, &place, told);
    }
}

/// Variables that hide one of the same name and do not build on it.
fn env(container: &Value, at: &str, told: &mut Vec<String>) {
    let mut seen = BTreeSet::new();
    for (at, variable) in each(container, "env", at) {
        let (name, value) = (text(variable, "name"), text(variable, "value"));
        if seen.insert(name) {
            continue;
        }
        let reference = format!("$({name})");
        if has(variable, "valueFrom") || value == reference || !value.contains(&reference) {
            told.push(format!(
                "{at}: hides previous definition of {}, which may be dropped when using apply",
                name.quoted()
            ));
        }
    }
}

/// Ports that are there twice, or may be.
fn ports(spec: &Value, at: &str, told: &mut Vec<String>) {
    let mut all: BTreeMap<(i64, &str), Vec<(String, &Value)>> = BTreeMap::new();
    for (at, container) in each_container(spec, at) {
        for (at, port) in each(container, "ports", &at) {
            let (host_ip, host) = (text(port, "hostIP"), int(port, "hostPort").unwrap_or(0));
            let (number, protocol) = (int(port, "containerPort").unwrap_or(0), text(port, "protocol"));
            if !host_ip.is_empty() && host == 0 {
                let name = text(port, "name");
                told.push(format!("{at}: hostIP set without hostPort: {{Name:{name} HostPort:0 ContainerPort:{number} Protocol:{protocol} HostIP:{host_ip}}}"));
            }
            let others = all.entry((number, protocol)).or_default();
            for (other_at, other) in others.iter() {
                let (other_ip, other_host) = (text(other, "hostIP"), int(other, "hostPort").unwrap_or(0));
                let how = if (host_ip, host) == (other_ip, other_host) {
                    "duplicate"
                } else if host == 0 || other_host == 0 {
                    "overlapping"
                } else if host == other_host && host_ip.is_empty() != other_ip.is_empty() {
                    "dangerously ambiguous"
                } else {
                    continue;
                };
                told.push(format!("{at}: {how} port definition with {other_at}"));
            }
            others.push((at, port));
        }
    }
}
