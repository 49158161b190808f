//! The kinds that the cluster serves, from its discovery, and where in the navigation they stand.

use std::sync::Arc;

use leptos::prelude::*;
use sampan_view::{feed::Kind, place::encode};
use serde_json::Value;

use crate::{
    app::app,
    net::api::{self, Call},
};

/// A kind that can be listed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    pub group: String,
    pub version: String,
    /// `pods`.
    pub plural: String,
    /// `Pod`.
    pub kind: String,
    pub namespaced: bool,
    pub verbs: Vec<String>,
    pub short: Vec<String>,
    pub scalable: bool,
}

impl Resource {
    /// As in the page's URL: `pods`, `deployments.apps`.
    pub fn path(&self) -> String {
        if self.group.is_empty() { self.plural.clone() } else { format!("{}.{}", self.plural, self.group) }
    }

    pub fn feed(&self) -> Kind {
        Kind { group: self.group.clone(), version: self.version.clone(), resource: self.plural.clone() }
    }

    pub fn api_version(&self) -> String {
        if self.group.is_empty() { self.version.clone() } else { format!("{}/{}", self.group, self.version) }
    }

    /// Below `k8s/`: the collection, of a namespace unless that is empty.
    pub fn collection(&self, namespace: &str) -> String {
        let root = if self.group.is_empty() { "k8s/api" } else { "k8s/apis" };
        let place = if namespace.is_empty() { String::new() } else { format!("namespaces/{namespace}/") };
        format!("{root}/{}/{place}{}", self.api_version(), self.plural)
    }

    pub fn object(&self, namespace: &str, name: &str) -> String {
        format!("{}/{name}", self.collection(if self.namespaced { namespace } else { "" }))
    }

    /// The page of an object.
    pub fn page(&self, namespace: &str, name: &str) -> String {
        page(&self.path(), namespace, name)
    }

    pub fn can(&self, verb: &str) -> bool {
        self.verbs.iter().any(|own| own == verb)
    }
}

/// The page of an object of the kind with that path.
pub fn page(kind: &str, namespace: &str, name: &str) -> String {
    let namespace = if namespace.is_empty() { "-" } else { namespace };
    format!("{kind}/{namespace}/{}", encode(name))
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Kinds {
    pub all: Vec<Resource>,
    pub known: bool,
}

impl Kinds {
    pub fn of_path(&self, path: &str) -> Option<&Resource> {
        self.all.iter().find(|resource| resource.path() == path)
    }

    pub fn of_kind(&self, api_version: &str, kind: &str) -> Option<&Resource> {
        let group = api_version.split_once('/').map_or("", |(group, _)| group);
        self.all.iter().find(|resource| resource.kind == kind && resource.group == group)
    }

    /// Kinds that no group of the navigation names. A page of what cannot be watched would be old at once.
    pub fn custom(&self) -> Vec<&Resource> {
        let named = |resource: &&Resource| !resource.group.is_empty() && resource.group.contains('.');
        let own = |resource: &&Resource| !BUILT_IN.iter().any(|group| *group == resource.group);
        let mut custom: Vec<_> =
            self.all.iter().filter(named).filter(own).filter(|kind| kind.can("watch")).collect();
        sampan_dashboard_logic::sort::by(&mut custom, |a, b| (&a.group, &a.kind).cmp(&(&b.group, &b.kind)));
        custom
    }
}

const BUILT_IN: [&str; 18] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "metrics.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "internal.apiserver.k8s.io",
];

/// A group of the navigation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    Workloads,
    Network,
    Config,
    Storage,
    Access,
    Cluster,
}

impl Group {
    pub const ALL: [Group; 6] =
        [Group::Workloads, Group::Network, Group::Config, Group::Storage, Group::Access, Group::Cluster];

    pub fn label(self) -> &'static str {
        match self {
            Group::Workloads => tr!(nav.workloads),
            Group::Network => tr!(nav.network),
            Group::Config => tr!(nav.config),
            Group::Storage => tr!(nav.storage),
            Group::Access => tr!(nav.access),
            Group::Cluster => tr!(nav.cluster),
        }
    }

    /// The kinds of it, as in URLs.
    pub fn members(self) -> &'static [&'static str] {
        match self {
            Group::Workloads => &[
                "pods",
                "deployments.apps",
                "statefulsets.apps",
                "daemonsets.apps",
                "replicasets.apps",
                "jobs.batch",
                "cronjobs.batch",
                "replicationcontrollers",
                "horizontalpodautoscalers.autoscaling",
                "poddisruptionbudgets.policy",
            ],
            Group::Network => &[
                "services",
                "ingresses.networking.k8s.io",
                "endpointslices.discovery.k8s.io",
                "networkpolicies.networking.k8s.io",
                "ingressclasses.networking.k8s.io",
                "endpoints",
            ],
            Group::Config => &[
                "configmaps",
                "secrets",
                "resourcequotas",
                "limitranges",
                "priorityclasses.scheduling.k8s.io",
                "runtimeclasses.node.k8s.io",
            ],
            Group::Storage => &[
                "persistentvolumeclaims",
                "persistentvolumes",
                "storageclasses.storage.k8s.io",
                "volumeattachments.storage.k8s.io",
                "csidrivers.storage.k8s.io",
            ],
            Group::Access => &[
                "serviceaccounts",
                "roles.rbac.authorization.k8s.io",
                "rolebindings.rbac.authorization.k8s.io",
                "clusterroles.rbac.authorization.k8s.io",
                "clusterrolebindings.rbac.authorization.k8s.io",
            ],
            Group::Cluster => &[
                "nodes",
                "namespaces",
                "events",
                "leases.coordination.k8s.io",
                "customresourcedefinitions.apiextensions.k8s.io",
                "apiservices.apiregistration.k8s.io",
                "validatingwebhookconfigurations.admissionregistration.k8s.io",
                "mutatingwebhookconfigurations.admissionregistration.k8s.io",
            ],
        }
    }
}

const AGGREGATED: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";

/// Asks the cluster what it serves.
pub async fn discover() {
    let mut all = Vec::new();
    for root in ["api", "apis"] {
        let path = format!("k8s/{root}");
        match Call::new("GET", &path).accept(AGGREGATED).value().await {
            Ok(answer) if answer["items"].is_array() => aggregated(&answer, &mut all),
            Ok(answer) => plain(&path, &answer, &mut all).await,
            Err(failure) => leptos::logging::warn!("discovery: {}", failure.message),
        }
    }
    app().kinds.set(Arc::new(Kinds { all, known: true }));
}

fn aggregated(answer: &Value, all: &mut Vec<Resource>) {
    for item in list(&answer["items"]) {
        let group = item["metadata"]["name"].as_str().unwrap_or_default();
        for version in list(&item["versions"]) {
            for found in list(&version["resources"]) {
                let resource = Resource {
                    group: group.to_owned(),
                    version: word(&version["version"]),
                    plural: word(&found["resource"]),
                    kind: word(&found["responseKind"]["kind"]),
                    namespaced: found["scope"] == "Namespaced",
                    verbs: words(&found["verbs"]),
                    short: words(&found["shortNames"]),
                    scalable: list(&found["subresources"]).iter().any(|sub| sub["subresource"] == "scale"),
                };
                keep(resource, all);
            }
        }
    }
}

/// A server without aggregated discovery: one call for each version.
async fn plain(path: &str, answer: &Value, all: &mut Vec<Resource>) {
    let mut versions: Vec<String> = words(&answer["versions"]);
    versions
        .extend(list(&answer["groups"]).iter().map(|group| word(&group["preferredVersion"]["groupVersion"])));
    for version in versions {
        let Ok(found) = api::get(&format!("{path}/{version}")).await else { continue };
        for one in list(&found["resources"]) {
            let (group, number) = version.split_once('/').unwrap_or(("", &version));
            let resource = Resource {
                group: group.to_owned(),
                version: number.to_owned(),
                plural: word(&one["name"]),
                kind: word(&one["kind"]),
                namespaced: one["namespaced"] == true,
                verbs: words(&one["verbs"]),
                short: words(&one["shortNames"]),
                scalable: false,
            };
            keep(resource, all);
        }
    }
}

/// The first version of a kind is the one the cluster prefers.
fn keep(resource: Resource, all: &mut Vec<Resource>) {
    let known = all.iter().any(|own| own.group == resource.group && own.plural == resource.plural);
    if resource.can("list") && !resource.plural.contains('/') && !known {
        all.push(resource);
    }
}

pub fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

pub fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn words(value: &Value) -> Vec<String> {
    list(value).iter().map(word).collect()
}
