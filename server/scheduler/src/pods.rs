//! What the scheduler reads of a pod, computed once when it is first seen.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use k8s_openapi::api::core::v1::{Pod, PodAffinityTerm, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sampan_api::declared;

use crate::config::Profile;
use crate::resources::{Resources, pod_non_zero, pod_requests};
use crate::selectors::{Labels, label_selector_matches};

/// The name of the scheduler that takes pods which name none.
pub const DEFAULT_SCHEDULER: &str = "default-scheduler";

/// A port of the host that a pod takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// Address; `0.0.0.0` is all of them.
    pub ip: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Number.
    pub port: i32,
}

impl HostPort {
    /// Whether both cannot be on one node.
    pub fn conflicts(&self, other: &Self) -> bool {
        let any = |ip: &str| ip == "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// A pod with what filters and scores need.
#[derive(Clone, Debug)]
pub struct PodInfo {
    /// The object.
    pub pod: Arc<Pod>,
    /// The scheduler that places it.
    pub profile: Arc<Profile>,
    /// What it asks for.
    pub requests: Resources,
    /// The same with stand-ins for containers that ask for nothing: milli-CPU and bytes.
    pub non_zero: (i64, i64),
    /// Its images by the names that nodes give them, one for each container.
    pub images: Vec<String>,
    /// Host ports that it takes.
    pub ports: Vec<HostPort>,
    /// Claims that it uses, by name; whether they are made for it.
    pub claims: Vec<(String, bool)>,
    /// Features that its node has to declare.
    pub features: Vec<&'static str>,
    key: String,
    shape: OnceLock<Arc<str>>,
    kind: OnceLock<Arc<str>>,
}

impl PodInfo {
    /// Computes the rest from the object, for upstream's defaults.
    pub fn new(pod: Arc<Pod>) -> Self {
        Self::with(pod, Profile::standard())
    }

    /// Computes the rest from the object.
    pub fn with(pod: Arc<Pod>, profile: Arc<Profile>) -> Self {
        let spec = pod.spec.as_ref();
        let (requests, ports) = (pod_requests(&pod), spec.map(host_ports).unwrap_or_default());
        let claims = crate::volumes::names(&pod);
        let non_zero = pod_non_zero(&pod);
        let images = spec.map(images).unwrap_or_default();
        let features = spec.map(features).unwrap_or_default();
        let (shape, kind) = (OnceLock::new(), OnceLock::new());
        let metadata = &pod.metadata;
        let text = |of: &Option<String>| of.clone().unwrap_or_default();
        let key = format!("{}/{}", text(&metadata.namespace), text(&metadata.name));
        Self { pod, profile, requests, non_zero, images, ports, claims, features, key, shape, kind }
    }

    /// The same of a pod that has a node: of the object is kept what others can ask of it, which is a tenth.
    pub fn placed(pod: &Arc<Pod>, profile: Arc<Profile>) -> Self {
        Self { pod: Arc::new(essence(pod)), ..Self::with(pod.clone(), profile) }
    }

    /// All that a node by itself decides by: pods of one shape are refused by the same nodes for the same reasons.
    pub fn shape(&self) -> &Arc<str> {
        self.shape.get_or_init(|| {
            let spec = self.spec();
            let nodes = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
            let where_ = (&spec.node_name, &spec.node_selector, nodes, &spec.tolerations);
            let init = spec.init_containers.as_ref().map_or(0, Vec::len);
            let wants = (&self.requests, self.non_zero, &self.ports, &self.images);
            format!("{}{where_:?}{wants:?}{init}", self.profile.name).into()
        })
    }

    /// All that other pods' rules can ask of it, and its own rules about others.
    pub fn kind(&self) -> &Arc<str> {
        self.kind.get_or_init(|| {
            let affinity = self.spec().affinity.as_ref();
            let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
            let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
            format!("{:?}{:?}{near:?}{far:?}{}", self.namespace(), self.labels(), self.is_ending()).into()
        })
    }

    /// Whether it may run on some nodes only, by their labels or names.
    pub fn chooses_nodes(&self) -> bool {
        let spec = self.spec();
        let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
        let required = affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_ref());
        required.is_some() || spec.node_selector.as_ref().is_some_and(|selector| !selector.is_empty())
    }

    /// Whether it is being deleted.
    pub fn is_ending(&self) -> bool {
        self.pod.metadata.deletion_timestamp.is_some()
    }

    /// Topology keys of all its rules.
    pub fn topology_keys(&self) -> impl Iterator<Item = &str> {
        let affinity = self.spec().affinity.as_ref();
        let near = affinity.and_then(|affinity| affinity.pod_affinity.as_ref());
        let far = affinity.and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        let near = near.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
        let far = far.and_then(|a| a.preferred_during_scheduling_ignored_during_execution.as_ref());
        let preferred = near.into_iter().chain(far).flatten().map(|term| &term.pod_affinity_term);
        let terms = self.affinity().iter().chain(self.anti_affinity()).chain(preferred);
        let rules = self.spec().topology_spread_constraints.iter().flatten();
        terms.map(|term| term.topology_key.as_str()).chain(rules.map(|rule| rule.topology_key.as_str()))
    }

    /// The node that pods of lower priority make room on for this one.
    pub fn nominated(&self) -> Option<&str> {
        let status = self.pod.status.as_ref()?;
        status.nominated_node_name.as_deref().filter(|name| !name.is_empty())
    }

    /// When it started.
    pub fn started(&self) -> Option<jiff::Timestamp> {
        self.pod.status.as_ref()?.start_time.as_ref().map(|time| time.0)
    }

    /// `namespace/name`.
    pub fn key(&self) -> String {
        self.key.clone()
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        self.pod.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// The specification; the API server refuses pods without one.
    pub fn spec(&self) -> &PodSpec {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&EMPTY)
    }

    /// Whether it uses a claim of its namespace.
    pub fn uses_claim(&self, name: &str) -> bool {
        self.claims.iter().any(|(claim, _)| claim == name)
    }

    /// Whether it names claims for devices.
    pub fn uses_devices(&self) -> bool {
        self.spec().resource_claims.as_ref().is_some_and(|claims| !claims.is_empty())
    }

    /// Keys of the claims that it uses, as `namespace/name`.
    pub fn claim_keys(&self) -> impl Iterator<Item = String> {
        self.claims.iter().map(|(claim, _)| format!("{}/{claim}", self.namespace()))
    }

    /// The labels.
    pub fn labels(&self) -> &Labels {
        static NONE: Labels = BTreeMap::new();
        self.pod.metadata.labels.as_ref().unwrap_or(&NONE)
    }

    /// The priority; 0 without one.
    pub fn priority(&self) -> i32 {
        self.spec().priority.unwrap_or(0)
    }

    /// Whether it has terms about other pods, required or preferred.
    pub fn is_social(&self) -> bool {
        let affinity = self.spec().affinity.as_ref();
        affinity
            .is_some_and(|affinity| affinity.pod_affinity.is_some() || affinity.pod_anti_affinity.is_some())
    }

    /// Terms of required pod affinity.
    pub fn affinity(&self) -> &[PodAffinityTerm] {
        let affinity = self.spec().affinity.as_ref().and_then(|affinity| affinity.pod_affinity.as_ref());
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or(&[])
    }

    /// Terms of required pod anti-affinity.
    pub fn anti_affinity(&self) -> &[PodAffinityTerm] {
        let affinity = self.spec().affinity.as_ref().and_then(|affinity| affinity.pod_anti_affinity.as_ref());
        affinity.and_then(|a| a.required_during_scheduling_ignored_during_execution.as_deref()).unwrap_or(&[])
    }
}

/// What is asked of a pod that has a node: its name and owners, where it may be, what it says of other pods, its claims, how it
/// fares. What its containers ask for is computed from the whole.
fn essence(pod: &Pod) -> Pod {
    let metadata = &pod.metadata;
    let spec = pod.spec.as_ref().map(|spec| PodSpec {
        affinity: spec.affinity.clone(),
        node_name: spec.node_name.clone(),
        node_selector: spec.node_selector.clone(),
        preemption_policy: spec.preemption_policy.clone(),
        priority: spec.priority,
        priority_class_name: spec.priority_class_name.clone(),
        resource_claims: spec.resource_claims.clone(),
        scheduler_name: spec.scheduler_name.clone(),
        tolerations: spec.tolerations.clone(),
        topology_spread_constraints: spec.topology_spread_constraints.clone(),
        ..PodSpec::default()
    });
    let status = pod.status.as_ref().map(|status| PodStatus {
        conditions: status.conditions.clone(),
        nominated_node_name: status.nominated_node_name.clone(),
        phase: status.phase.clone(),
        resource_claim_statuses: status.resource_claim_statuses.clone(),
        start_time: status.start_time.clone(),
        ..PodStatus::default()
    });
    let metadata = ObjectMeta {
        creation_timestamp: metadata.creation_timestamp.clone(),
        deletion_timestamp: metadata.deletion_timestamp.clone(),
        generation: metadata.generation,
        labels: metadata.labels.clone(),
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        owner_references: metadata.owner_references.clone(),
        resource_version: metadata.resource_version.clone(),
        uid: metadata.uid.clone(),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec, status }
}

/// A name without a tag means `latest`.
fn images(spec: &PodSpec) -> Vec<String> {
    let containers = spec.init_containers.iter().flatten().chain(&spec.containers);
    let named = containers.filter_map(|container| container.image.as_deref());
    let tagged = |name: &str| name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    named.map(|name| if tagged(name) { name.to_owned() } else { format!("{name}:latest") }).collect()
}

/// `InferForPodScheduling` of `component-helpers/nodedeclaredfeatures`.
fn features(spec: &PodSpec) -> Vec<&'static str> {
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut rules = containers.flat_map(|container| container.restart_policy_rules.iter().flatten());
    let restarts_all = rules.any(|rule| rule.action == "RestartAllContainers");
    let own_users = spec.host_network == Some(true) && spec.host_users == Some(false);
    let all = [(restarts_all, declared::RESTARTS_ALL), (own_users, declared::OWN_USERS)];
    all.into_iter().filter(|(needed, _)| *needed).map(|(_, name)| name).collect()
}

fn host_ports(spec: &PodSpec) -> Vec<HostPort> {
    let sidecars =
        spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|container| container.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let ip = port.host_ip.clone().filter(|ip| !ip.is_empty()).unwrap_or_else(|| "0.0.0.0".to_owned());
            let protocol = port.protocol.clone().unwrap_or_else(|| "TCP".to_owned());
            Some(HostPort { ip, protocol, port: port.host_port.filter(|port| *port > 0)? })
        })
        .collect()
}

/// Labels of the namespaces, for terms that select namespaces.
pub type Namespaces = BTreeMap<String, Labels>;

/// Whether `pod` is one that a term of a pod in namespace `own` means.
pub fn term_selects(
    term: &PodAffinityTerm,
    own: &str,
    owner: &Labels,
    pod: &PodInfo,
    namespaces: &Namespaces,
) -> bool {
    in_namespaces(term, own, pod.namespace(), namespaces)
        && label_selector_matches(term.label_selector.as_ref(), pod.labels())
        && keys_agree(term.match_label_keys.as_deref(), owner, pod.labels(), true)
        && keys_agree(term.mismatch_label_keys.as_deref(), owner, pod.labels(), false)
}

/// `matchLabelKeys` wants the values equal, `mismatchLabelKeys` different; keys the owner lacks do not count.
fn keys_agree(keys: Option<&[String]>, owner: &Labels, labels: &Labels, equal: bool) -> bool {
    keys.unwrap_or(&[])
        .iter()
        .all(|key| owner.get(key).is_none_or(|value| (labels.get(key) == Some(value)) == equal))
}

fn in_namespaces(term: &PodAffinityTerm, own: &str, namespace: &str, namespaces: &Namespaces) -> bool {
    let named = term.namespaces.as_deref().unwrap_or(&[]);
    if named.is_empty() && term.namespace_selector.is_none() {
        return namespace == own;
    }
    static NONE: Labels = BTreeMap::new();
    named.iter().any(|name| name == namespace)
        || term.namespace_selector.as_ref().is_some_and(|selector| {
            label_selector_matches(Some(selector), namespaces.get(namespace).unwrap_or(&NONE))
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn some_pods_need_features_of_their_node() {
        let rule = |action: &str| json!({"name": "a", "restartPolicyRules": [{"action": action}]});
        let network =
            |host: bool, users: Value| json!({"containers": [], "hostNetwork": host, "hostUsers": users});
        for (spec, needed) in [
            (json!({"containers": [{"name": "a"}]}), vec![]),
            (json!({"containers": [rule("Restart")]}), vec![]),
            (json!({"containers": [rule("RestartAllContainers")]}), vec![declared::RESTARTS_ALL]),
            (
                json!({"containers": [], "initContainers": [rule("RestartAllContainers")]}),
                vec![declared::RESTARTS_ALL],
            ),
            (network(true, json!(false)), vec![declared::OWN_USERS]),
            (network(true, json!(true)), vec![]),
            (network(true, Value::Null), vec![]),
            (network(false, json!(false)), vec![]),
        ] {
            let pod = json!({"spec": spec});
            let info = PodInfo::new(Arc::new(serde_json::from_value(pod).unwrap()));
            assert_eq!(info.features, needed, "{spec}");
        }
    }
}
