//! What is taken, but better done otherwise: `GetWarningsFor…` of `pkg/api` and `pkg/apis/networking`, as the strategies
//! of `pkg/registry` ask for them, and the deprecations of whole kinds.

use serde_json::Value;

use super::access::*;
use super::pod_warnings;
use crate::kinds::Kind;
use crate::validation::is_dns1123_label;

/// What whoever writes `object` is told; `old` is the object before, `None` where it is created.
pub fn warnings(kind: &Kind, object: &Value, old: Option<&Value>) -> Vec<String> {
    if let Some((at, names_pods)) = template(kind) {
        return workload(object, old, at, names_pods);
    }
    match (kind.group, kind.kind) {
        // people change the templates of pods, controllers change pods
        ("", "Pod") if old.is_none() => {
            let why = "this is used in the Pod's hostname, which can result in surprising behavior";
            let mut told: Vec<String> = name(object, why).into_iter().collect();
            told.extend(pod_warnings::warnings(object, ""));
            told
        }
        ("", "Service") => service(object),
        ("networking.k8s.io", "Ingress") => ingress(object),
        ("", "PersistentVolume") => volume(object),
        ("", "Node") => node(object),
        ("", "ServiceAccount") => account(object, old),
        ("storage.k8s.io", "StorageClass") => class(object),
        _ => Vec::new(),
    }
}

/// Only who begins to have the annotation is told.
fn account(object: &Value, old: Option<&Value>) -> Vec<String> {
    const ENFORCE: &str = "kubernetes.io/enforce-mountable-secrets";
    let has = |object: &Value| object["metadata"]["annotations"].get(ENFORCE).is_some();
    if !has(object) || old.is_some_and(has) {
        return Vec::new();
    }
    vec![format!(
        "metadata.annotations[{ENFORCE}]: deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets"
    )]
}

/// What whoever asks for objects of the kind is told, whatever the request.
pub fn deprecation(kind: &Kind) -> Option<&'static str> {
    match (kind.group, kind.kind) {
        ("", "Endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        ("", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        _ => None,
    }
}

/// Where the kind's objects keep the template of their pods, and whether pods are named after them.
fn template(kind: &Kind) -> Option<(&'static [&'static str], bool)> {
    match (kind.group, kind.kind) {
        ("apps", "Deployment" | "ReplicaSet") | ("", "ReplicationController") | ("batch", "Job") => {
            Some((&["spec", "template"], true))
        }
        ("apps", "DaemonSet" | "StatefulSet") => Some((&["spec", "template"], false)),
        ("batch", "CronJob") => Some((&["spec", "jobTemplate", "spec", "template"], true)),
        ("", "PodTemplate") => Some((&["template"], false)),
        _ => None,
    }
}

/// `metadata.name: …`, if the name is no DNS label.
fn name(object: &Value, why: &str) -> Option<String> {
    let wrong = is_dns1123_label(text(get(object, "metadata"), "name"));
    let wrong = Some(wrong).filter(|wrong| !wrong.is_empty())?.join(" ");
    Some(format!("metadata.name: {why}; a DNS label is recommended: [{wrong}]"))
}

fn workload(object: &Value, old: Option<&Value>, at: &[&str], names_pods: bool) -> Vec<String> {
    let mut told = Vec::new();
    if old.is_none() && names_pods {
        let why = "this is used in Pod names and hostnames, which can result in surprising behavior";
        told.extend(name(object, why));
    }
    let generation = |object: &Value| int(get(object, "metadata"), "generation");
    if old.is_none_or(|old| generation(old) != generation(object)) {
        if let ["spec", .., "template"] = at {
            told.extend(many_indexes(object, &at[..at.len() - 1]));
        }
        let template = at.iter().fold(object, |value, key| get(value, key));
        told.extend(pod_warnings::warnings(template, &at.join(".")));
    }
    told
}

fn service(object: &Value) -> Vec<String> {
    const HINTS: &str = "service.kubernetes.io/topology-aware-hints";
    let (spec, mut told) = (get(object, "spec"), Vec::new());
    if has(get(get(object, "metadata"), "annotations"), HINTS) {
        told.push(format!(
            "annotation {HINTS} is deprecated, please use service.kubernetes.io/topology-mode instead"
        ));
    }
    let external = !list(spec, "externalIPs").is_empty();
    let named = text(spec, "type") == "ExternalName";
    let headless = text(spec, "type") == "ClusterIP" && text(spec, "clusterIP") == "None";
    if headless {
        let ignored = [
            (!text(spec, "loadBalancerIP").is_empty(), "spec.loadBalancerIP"),
            (external, "spec.externalIPs"),
            (text(spec, "sessionAffinity") == "ClientIP", "spec.SessionAffinity"),
        ];
        let ignored = ignored.iter().filter(|(set, _)| *set);
        told.extend(ignored.map(|(_, field)| format!("{field} is ignored for headless services")));
    } else if external && !named {
        told.push(
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned(),
        );
    }
    if named && external {
        told.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !named && !text(spec, "externalName").is_empty() {
        told.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if text(spec, "trafficDistribution") == "PreferClose" {
        let why = "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"";
        told.push(why.to_owned());
    }
    told
}

fn ingress(object: &Value) -> Vec<String> {
    const CLASS: &str = "kubernetes.io/ingress.class";
    let set = has(get(get(object, "metadata"), "annotations"), CLASS);
    let why = format!("annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead");
    if set { vec![why] } else { Vec::new() }
}

/// Of a Job, or of what a CronJob makes: `WarningsForJobSpec`.
fn many_indexes(object: &Value, at: &[&str]) -> Option<String> {
    let spec = at.iter().fold(object, |value, key| get(value, key));
    let number = |key: &str| int(spec, key).unwrap_or(0);
    let many = text(spec, "completionMode") == "Indexed"
        && number("completions") > 100_000
        && number("parallelism") > 10_000;
    let why = "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail";
    many.then(|| format!("{}: {why}", at.join(".")))
}

fn node(object: &Value) -> Vec<String> {
    let spec = get(object, "spec");
    let mut told = Vec::new();
    if has(spec, "configSource") {
        told.push("spec.configSource: the feature is removed".to_owned());
    }
    if !text(spec, "externalID").is_empty() {
        told.push("spec.externalID: this field is deprecated, and is unused by Kubernetes".to_owned());
    }
    told
}

fn class(object: &Value) -> Vec<String> {
    let topologies = each(object, "allowedTopologies", "");
    let keys = topologies.flat_map(|(at, topology)| {
        let each: Vec<_> = each(topology, "matchLabelExpressions", &at).collect();
        each.into_iter().map(|(at, expression)| (at, text(expression, "key")))
    });
    keys.filter_map(|(at, key)| Some(format!("{at}.key: {}", pod_warnings::replaced(key)?))).collect()
}

/// Annotations of volumes that fields have replaced.
const OF_VOLUMES: &[(&str, &str)] = &[
    (
        "volume.beta.kubernetes.io/storage-class",
        "deprecated since v1.8; use \"storageClassName\" attribute instead",
    ),
    (
        "volume.beta.kubernetes.io/mount-options",
        "deprecated since v1.31; use \"mountOptions\" attribute instead",
    ),
];

fn volume(object: &Value) -> Vec<String> {
    let annotations = get(get(object, "metadata"), "annotations");
    let old = OF_VOLUMES.iter().filter(|(key, _)| has(annotations, key));
    let mut told: Vec<String> = old.map(|(key, why)| format!("metadata.annotations[{key}]: {why}")).collect();
    told.extend(recycled(object));
    let required = get(get(get(object, "spec"), "nodeAffinity"), "required");
    for (at, term) in each(required, "nodeSelectorTerms", "spec.nodeAffinity.required") {
        pod_warnings::node_term(term, &at, &mut told);
    }
    told
}

fn recycled(object: &Value) -> Vec<String> {
    let recycles = text(get(object, "spec"), "persistentVolumeReclaimPolicy") == "Recycle";
    let why = "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use dynamic provisioning.";
    if recycles { vec![why.to_owned()] } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::kinds;
    use serde_json::json;

    #[test]
    fn what_is_ignored_or_going_out_of_use_is_told() {
        let of = |kind: &str, group: &str, object: Value| {
            warnings(kinds::by_kind(group, "v1", kind).unwrap(), &object, None).join("; ")
        };
        let service = |spec: Value| of("Service", "", json!({"spec": spec}));
        assert_eq!(service(json!({"type": "ClusterIP", "clusterIP": "10.0.0.1"})), "");
        assert_eq!(
            service(
                json!({"type": "ClusterIP", "clusterIP": "None", "externalIPs": ["1.2.3.4"], "sessionAffinity": "ClientIP"})
            ),
            "spec.externalIPs is ignored for headless services; spec.SessionAffinity is ignored for headless services"
        );
        assert_eq!(
            service(json!({"type": "NodePort", "externalIPs": ["1.2.3.4"]})),
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters"
        );
        assert_eq!(
            of(
                "Ingress",
                "networking.k8s.io",
                json!({"metadata": {"annotations": {"kubernetes.io/ingress.class": "x"}}})
            ),
            "annotation \"kubernetes.io/ingress.class\" is deprecated, please use 'spec.ingressClassName' instead"
        );
        assert!(deprecation(kinds::by_kind("", "v1", "Endpoints").unwrap()).is_some());
        assert!(deprecation(kinds::by_kind("", "v1", "Service").unwrap()).is_none());
    }

    fn pod(spec: Value) -> String {
        let pod = json!({"metadata": {"name": "p"}, "spec": spec});
        warnings(kinds::by_kind("", "v1", "Pod").unwrap(), &pod, None).join("; ")
    }

    #[test]
    fn what_is_odd_about_a_pod_is_told() {
        let ports = |ports: Value| json!({"containers": [{"name": "a", "ports": ports}]});
        let env = |env: Value| json!({"containers": [{"name": "a", "env": env}]});
        let term = json!([{"topologyKey": "z"}]);
        let cases = [
            (
                json!({"nodeSelector": {"beta.kubernetes.io/os": "linux", "a": "b"}}),
                "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            ),
            (
                json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchExpressions": [{"key": "failure-domain.beta.kubernetes.io/zone"}]}]}}}}),
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].key: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \"topology.kubernetes.io/zone\" instead",
            ),
            (
                json!({"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": term}}}),
                "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector: a null labelSelector results in matching no pod",
            ),
            (
                json!({"volumes": [{"name": "v", "gitRepo": {"repository": "r"}}]}),
                "spec.volumes[0].gitRepo: deprecated in v1.11",
            ),
            (
                json!({"hostAliases": [{"ip": "1.2.3.4"}, {"ip": "1.2.3.4"}]}),
                "spec.hostAliases[1].ip: duplicate ip \"1.2.3.4\"",
            ),
            (
                json!({"imagePullSecrets": [{"name": ""}]}),
                "spec.imagePullSecrets[0].name: invalid empty name \"\"",
            ),
            (
                json!({"containers": [{"name": "a", "resources": {"requests": {"memory": "1500m"}}}]}),
                "spec.containers[0].resources.requests[memory]: fractional byte value \"1500m\" is invalid, must be an integer",
            ),
            (
                env(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "2"}])),
                "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            ),
            (env(json!([{"name": "A", "value": "1"}, {"name": "A", "value": "$(A)2"}])), ""),
            (
                ports(
                    json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}]),
                ),
                "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
            ),
            (
                ports(
                    json!([{"containerPort": 80, "protocol": "TCP", "hostPort": 8080}, {"containerPort": 80, "protocol": "TCP"}]),
                ),
                "spec.containers[0].ports[1]: overlapping port definition with spec.containers[0].ports[0]",
            ),
            (
                ports(
                    json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]),
                ),
                "",
            ),
            (
                ports(json!([{"containerPort": 80, "protocol": "TCP", "hostIP": "1.2.3.4"}])),
                "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:TCP HostIP:1.2.3.4}",
            ),
            (
                json!({"terminationGracePeriodSeconds": -1}),
                "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(pod(spec.clone()), expected, "{spec}");
        }
    }

    #[test]
    fn annotations_that_fields_replaced_are_told() {
        let pod = json!({
            "metadata": {"name": "a.b", "annotations": {
                "scheduler.alpha.kubernetes.io/critical-pod": "", "seccomp.security.alpha.kubernetes.io/pod": "runtime/default",
            }},
            "spec": {},
        });
        let told = warnings(kinds::by_kind("", "v1", "Pod").unwrap(), &pod, None);
        assert_eq!(
            told,
            [
                "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: [must not contain dots]",
                "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \"priorityClassName\" field instead",
                "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \"seccompProfile\" field instead",
            ]
        );
    }

    #[test]
    fn templates_are_told_about_when_they_are_new_or_changed() {
        let kind = kinds::by_kind("batch", "v1", "CronJob").unwrap();
        let object = |generation: i64| {
            let template = json!({"spec": {"imagePullSecrets": [{"name": ""}]}});
            json!({
                "metadata": {"name": "c", "generation": generation},
                "spec": {"jobTemplate": {"spec": {"template": template}}},
            })
        };
        let told = "spec.jobTemplate.spec.template.spec.imagePullSecrets[0].name: invalid empty name \"\""
            .to_owned();
        assert_eq!(warnings(kind, &object(1), None), std::slice::from_ref(&told));
        assert_eq!(warnings(kind, &object(2), Some(&object(1))), [told]);
        assert_eq!(warnings(kind, &object(1), Some(&object(1))), Vec::<String>::new());
        let pod = kinds::by_kind("", "v1", "Pod").unwrap();
        let bad = json!({"spec": {"imagePullSecrets": [{"name": ""}]}});
        assert_eq!(warnings(pod, &bad, Some(&bad)), Vec::<String>::new());
    }
}
