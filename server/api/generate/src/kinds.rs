//! Writes `server/api/src/kinds/rows.rs`: one row per resource of `api-surface-v1.36.tsv`.
//!
//! The surface lists resources, kinds, scope and actions. What it does not know (short names, categories,
//! the kinds of streaming subresources, the order of groups) is in the tables below, after upstream's
//! `pkg/registry/*/*/storage` and `pkg/controlplane/apiserver/aggregator.go`.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use base64::Engine;
use sha2::{Digest, Sha256};

const SURFACE: &str = include_str!("../api-surface-v1.36.tsv");

/// Groups in the order of upstream's `/apis` (priorities of the API services), versions best first.
const GROUPS: &[(&str, &[&str])] = &[
    ("", &["v1"]),
    ("apiregistration.k8s.io", &["v1"]),
    ("apps", &["v1"]),
    ("events.k8s.io", &["v1"]),
    ("authentication.k8s.io", &["v1"]),
    ("authorization.k8s.io", &["v1"]),
    ("autoscaling", &["v2", "v1"]),
    ("batch", &["v1"]),
    ("certificates.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("networking.k8s.io", &["v1", "v1beta1"]),
    ("policy", &["v1"]),
    ("rbac.authorization.k8s.io", &["v1"]),
    ("storage.k8s.io", &["v1", "v1beta1"]),
    ("admissionregistration.k8s.io", &["v1", "v1beta1", "v1alpha1"]),
    ("apiextensions.k8s.io", &["v1"]),
    ("scheduling.k8s.io", &["v1", "v1alpha2"]),
    ("coordination.k8s.io", &["v1", "v1beta1", "v1alpha2"]),
    ("node.k8s.io", &["v1"]),
    ("discovery.k8s.io", &["v1"]),
    ("flowcontrol.apiserver.k8s.io", &["v1"]),
    ("internal.apiserver.k8s.io", &["v1alpha1"]),
    ("resource.k8s.io", &["v1", "v1beta2", "v1beta1", "v1alpha3"]),
    ("storagemigration.k8s.io", &["v1beta1"]),
];

const SHORT_NAMES: &[(&str, &[&str])] = &[
    ("componentstatuses", &["cs"]),
    ("configmaps", &["cm"]),
    ("endpoints", &["ep"]),
    ("events", &["ev"]),
    ("limitranges", &["limits"]),
    ("namespaces", &["ns"]),
    ("nodes", &["no"]),
    ("persistentvolumeclaims", &["pvc"]),
    ("persistentvolumes", &["pv"]),
    ("pods", &["po"]),
    ("replicationcontrollers", &["rc"]),
    ("resourcequotas", &["quota"]),
    ("serviceaccounts", &["sa"]),
    ("services", &["svc"]),
    ("customresourcedefinitions", &["crd", "crds"]),
    ("daemonsets", &["ds"]),
    ("deployments", &["deploy"]),
    ("replicasets", &["rs"]),
    ("statefulsets", &["sts"]),
    ("horizontalpodautoscalers", &["hpa"]),
    ("cronjobs", &["cj"]),
    ("certificatesigningrequests", &["csr"]),
    ("ingresses", &["ing"]),
    ("ipaddresses", &["ip"]),
    ("networkpolicies", &["netpol"]),
    ("poddisruptionbudgets", &["pdb"]),
    ("priorityclasses", &["pc"]),
    ("storageclasses", &["sc"]),
    ("volumeattributesclasses", &["vac"]),
];

const CATEGORY_ALL: &[&str] = &[
    "pods",
    "replicationcontrollers",
    "services",
    "daemonsets",
    "deployments",
    "replicasets",
    "statefulsets",
    "horizontalpodautoscalers",
    "cronjobs",
    "jobs",
];

const CATEGORY_API_EXTENSIONS: &[&str] = &[
    "mutatingadmissionpolicies",
    "mutatingadmissionpolicybindings",
    "mutatingwebhookconfigurations",
    "validatingadmissionpolicies",
    "validatingadmissionpolicybindings",
    "validatingwebhookconfigurations",
    "customresourcedefinitions",
    "apiservices",
];

/// Resources that are answered, never stored.
const VIRTUAL: &[&str] = &[
    "bindings",
    "componentstatuses",
    "selfsubjectreviews",
    "tokenreviews",
    "localsubjectaccessreviews",
    "selfsubjectaccessreviews",
    "selfsubjectrulesreviews",
    "subjectaccessreviews",
];

/// Subresources whose kind is not their parent's: (resource/subresource, group, version, kind).
const FOREIGN: &[(&str, &str, &str, &str)] = &[
    ("pods/attach", "", "v1", "PodAttachOptions"),
    ("pods/exec", "", "v1", "PodExecOptions"),
    ("pods/portforward", "", "v1", "PodPortForwardOptions"),
    ("pods/proxy", "", "v1", "PodProxyOptions"),
    ("services/proxy", "", "v1", "ServiceProxyOptions"),
    ("nodes/proxy", "", "v1", "NodeProxyOptions"),
    ("pods/eviction", "policy", "v1", "Eviction"),
    ("serviceaccounts/token", "authentication.k8s.io", "v1", "TokenRequest"),
];

struct Row<'a> {
    group: &'a str,
    version: &'a str,
    resource: &'a str,
    kind: &'a str,
    namespaced: bool,
    actions: Vec<&'a str>,
}

fn parse(line: &str) -> Result<Row<'_>> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [path, resource, kind, namespaced, actions] = cells[..] else {
        anyhow::bail!("the surface has a line without five cells: {line}");
    };
    let (group, version) = match path.strip_prefix("apis/") {
        Some(rest) => rest.split_once('/').context("a group without a version")?,
        None => ("", "v1"),
    };
    let namespaced = namespaced == "True";
    Ok(Row { group, version, resource, kind, namespaced, actions: actions.split(',').collect() })
}

/// Discovery's verbs, in alphabetical order as upstream sorts them.
fn verbs(row: &Row<'_>) -> Vec<&'static str> {
    if row.actions == ["connect"] {
        return match row.resource.ends_with("/proxy") {
            true => vec!["create", "delete", "get", "patch", "update"],
            false => vec!["create", "get"],
        };
    }
    let name = |action: &str| match action {
        "post" => Some("create"),
        "put" => Some("update"),
        "delete" => Some("delete"),
        "deletecollection" => Some("deletecollection"),
        "get" => Some("get"),
        "list" => Some("list"),
        "patch" => Some("patch"),
        "watch" => Some("watch"),
        _ => None,
    };
    let mut verbs: Vec<_> = row.actions.iter().filter_map(|action| name(action)).collect();
    verbs.sort_unstable();
    verbs
}

/// The name of a kind's schema, as upstream's OpenAPI spells its Go package.
pub fn schema(group: &str, version: &str, kind: &str) -> String {
    let package = match group {
        "" => "io.k8s.api.core".to_owned(),
        "apiextensions.k8s.io" => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions".to_owned(),
        "apiregistration.k8s.io" => "io.k8s.kube-aggregator.pkg.apis.apiregistration".to_owned(),
        "internal.apiserver.k8s.io" => "io.k8s.api.apiserverinternal".to_owned(),
        _ => format!("io.k8s.api.{}", group.split('.').next().unwrap_or(group)),
    };
    format!("{package}.{version}.{kind}")
}

/// The version upstream stores a kind in: what `storageVersionHash` is made of.
fn storage_version<'a>(
    row: &Row<'a>,
    served: &BTreeMap<(&'a str, &'a str), Vec<&'a str>>,
) -> (&'a str, &'a str) {
    if row.resource == "events" {
        return ("", "v1");
    }
    let order =
        GROUPS.iter().find(|(group, _)| *group == row.group).map_or(&[][..], |(_, versions)| versions);
    let versions = &served[&(row.group, row.resource)];
    let best = order.iter().find_map(|version| versions.iter().find(|served| *served == version));
    (row.group, best.copied().unwrap_or(row.version))
}

/// Upstream's `discovery.StorageVersionHash`.
fn storage_hash(group: &str, version: &str, kind: &str) -> String {
    let digest = Sha256::digest(format!("{group}/{version}/{kind}"));
    base64::engine::general_purpose::STANDARD.encode(&digest[..8])
}

fn subresource(row: &Row<'_>) -> String {
    let name = row.resource.split_once('/').map_or("", |(_, name)| name);
    let foreign = FOREIGN.iter().find(|(path, ..)| *path == row.resource);
    let (group, version, kind) = match foreign {
        Some((_, group, version, kind)) => (*group, *version, *kind),
        None if name == "scale" => ("autoscaling", "v1", "Scale"),
        None => (row.group, row.version, row.kind),
    };
    let schema = schema(group, version, kind);
    format!("sub({name:?}, {group:?}, {version:?}, {kind:?}, &{:?}, {schema:?})", verbs(row))
}

fn short_names(resource: &str) -> &'static [&'static str] {
    SHORT_NAMES.iter().find(|(name, _)| *name == resource).map_or(&[], |(_, names)| names)
}

fn categories(resource: &str) -> &'static [&'static str] {
    match resource {
        _ if CATEGORY_ALL.contains(&resource) => &["all"],
        _ if CATEGORY_API_EXTENSIONS.contains(&resource) => &["api-extensions"],
        _ => &[],
    }
}

fn bucket(group: &str, resource: &str) -> String {
    match group {
        "" | "events.k8s.io" => resource.to_owned(),
        _ => format!("{resource}.{group}"),
    }
}

/// The text of `rows.rs`.
pub fn generate() -> Result<String> {
    let rows = SURFACE.lines().skip(1).map(parse).collect::<Result<Vec<_>>>()?;
    let mut served: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for row in &rows {
        served.entry((row.group, row.resource)).or_default().push(row.version);
    }
    let mut text = String::from(
        "//! Generated by server/api/generate from api-surface-v1.36.tsv; do not edit.\n\n\
         use super::{Group, Kind, ROW, sub};\n\n\
         const ALL: &[&str] = &[\"create\", \"delete\", \"deletecollection\", \"get\", \"list\", \"patch\", \"update\", \"watch\"];\n\n",
    );
    writeln!(text, "pub(super) static GROUPS: &[Group] = &[")?;
    for (group, versions) in GROUPS {
        writeln!(text, "    Group {{ name: {group:?}, versions: &{versions:?} }},")?;
    }
    writeln!(text, "];\n\npub(super) static KINDS: &[Kind] = &[")?;
    for row in rows.iter().filter(|row| !row.resource.contains('/')) {
        let subs: Vec<&Row<'_>> = rows.iter().filter(|sub| is_child(sub, row)).collect();
        writeln!(text, "{}", kind(row, &subs, &served)?)?;
    }
    text.push_str("];\n");
    Ok(text)
}

fn is_child(sub: &Row<'_>, row: &Row<'_>) -> bool {
    sub.group == row.group
        && sub.version == row.version
        && sub.resource.strip_prefix(row.resource).is_some_and(|rest| rest.starts_with('/'))
}

fn kind<'a>(
    row: &Row<'a>,
    subs: &[&Row<'a>],
    served: &BTreeMap<(&'a str, &'a str), Vec<&'a str>>,
) -> Result<String> {
    let Row { group, version, resource, kind, namespaced, .. } = row;
    let (storage_group, storage_version) = storage_version(row, served);
    let virtual_ = VIRTUAL.contains(resource);
    let hash = if virtual_ { String::new() } else { storage_hash(storage_group, storage_version, kind) };
    let all = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let verbs = verbs(row);
    let verbs = if verbs == all { "ALL".to_owned() } else { format!("&{verbs:?}") };
    let mut line =
        format!("    Kind {{ group: {group:?}, version: {version:?}, kind: {kind:?}, plural: {resource:?}");
    write!(line, ", singular: {:?}, namespaced: {namespaced}, verbs: {verbs}", kind.to_lowercase())?;
    write!(line, ", schema: {:?}", schema(group, version, kind))?;
    write!(line, ", storage_group: {:?}, storage_version: {storage_version:?}", bucket(group, resource))?;
    write!(line, ", storage_hash: {hash:?}")?;
    for (name, values) in [("short_names", short_names(resource)), ("categories", categories(resource))] {
        if !values.is_empty() {
            write!(line, ", {name}: &{values:?}")?;
        }
    }
    if virtual_ {
        line.push_str(", virtual_: true");
    }
    if !subs.is_empty() {
        let subs: Vec<String> = subs.iter().map(|sub| subresource(sub)).collect();
        write!(line, ", subresources: &[\n        {},\n    ]", subs.join(",\n        "))?;
    }
    line.push_str(", ..ROW },");
    Ok(line)
}

/// The schema of every kind and whether it has lists.
pub fn schemas() -> Result<Vec<(String, bool)>> {
    let rows = SURFACE.lines().skip(1).map(parse).collect::<Result<Vec<_>>>()?;
    let kinds = rows.iter().filter(|row| !row.resource.contains('/'));
    Ok(kinds.map(|row| (schema(row.group, row.version, row.kind), row.actions.contains(&"list"))).collect())
}
