//! What is taken, but better done otherwise: `GetWarningsFor…` of `pkg/api/service` and `pkg/apis/networking`, and
//! the deprecations of whole kinds.

use serde_json::Value;

use super::access::*;
use crate::kinds::Kind;

/// What whoever writes `object` is told.
pub fn warnings(kind: &Kind, object: &Value) -> Vec<String> {
    match (kind.group, kind.kind) {
        ("", "Service") => service(object),
        ("networking.k8s.io", "Ingress") => ingress(object),
        ("", "PersistentVolume") => volume(object),
        _ => Vec::new(),
    }
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

fn volume(object: &Value) -> Vec<String> {
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
            warnings(kinds::by_kind(group, "v1", kind).unwrap(), &object).join("; ")
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
}
