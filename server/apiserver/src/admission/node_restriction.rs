//! `NodeRestriction`: a kubelet changes itself and its own pods, nothing else; `plugin/pkg/admission/noderestriction`.

use sampan_api::go::Quote as _;
use sampan_api::status::ApiError;
use sampan_store::Store;
use serde_json::Value;

use super::look_up;
use crate::registry::{Operation, Plugin, Review};
use crate::value::{at, items, meta, text};

const MIRROR: &str = "kubernetes.io/config.mirror";
const RESERVED: &str = "node-restriction.kubernetes.io";
/// Labels of kubernetes.io and k8s.io that a kubelet may set on itself.
const OWN_LABELS: &[&str] = &[
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "node.kubernetes.io/instance-type",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
];

pub(in crate::admission) struct NodeRestriction;

impl Plugin for NodeRestriction {
    fn validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let Some(node) = review.user.node_name() else { return Ok(()) };
        let refused = |why: String| {
            let name = if review.name.is_empty() { meta(object, "name") } else { review.name };
            Err(ApiError::forbidden(review.kind.group, review.kind.plural, name, &why))
        };
        let verdict = match (review.kind.group, review.kind.plural, review.subresource) {
            ("", "pods", "") => pod(node, review, object),
            ("", "pods", "status") => own_pod(node, review, "update status"),
            ("", "pods", "eviction") => own_pod_evicted(node, review),
            ("", "pods", sub) => Err(format!(
                "unexpected pod subresource {}, only 'status' and 'eviction' are allowed",
                sub.quoted()
            )),
            ("", "nodes", _) => self_node(node, review, object),
            ("", "serviceaccounts", "token") => {
                return token(node, review.store, (review.namespace, review.name), object);
            }
            ("coordination.k8s.io", "leases", _) => named(node, review, object, "kube-node-lease", "lease"),
            ("storage.k8s.io", "csinodes", _) => named(node, review, object, "", "CSINode"),
            ("certificates.k8s.io", "certificatesigningrequests", "") => certificate(review, object),
            ("", "persistentvolumeclaims", sub) if sub != "status" => {
                Err(format!("may only update PVC status, not {}", sub.quoted()))
            }
            _ => Ok(()),
        };
        verdict.or_else(|why: String| refused(why))
    }
}

/// Allowed, or why not.
pub(crate) type Verdict = Result<(), String>;

fn pod(node: &str, review: &Review<'_>, pod: &Value) -> Verdict {
    match review.operation {
        Operation::Create => mirror(node, pod),
        Operation::Delete => own_pod(node, review, "delete"),
        operation => Err(format!(
            "unexpected operation {}, node {} can only create and delete mirror pods",
            format!("{operation:?}").to_uppercase().quoted(),
            node.quoted()
        )),
    }
}

fn mirror(node: &str, pod: &Value) -> Verdict {
    if at(pod, &["metadata", "annotations", MIRROR]).is_null() {
        return Err(format!(
            "pod does not have {} annotation, node {} can only create mirror pods",
            MIRROR.quoted(),
            node.quoted()
        ));
    }
    let on = text(pod, &["spec", "nodeName"]);
    if on != node {
        return Err(format!("node {} can only create pods with spec.nodeName set to itself", node.quoted()));
    }
    for owner in items(at(pod, &["metadata", "ownerReferences"])) {
        if text(owner, &["kind"]) != "Node" || text(owner, &["name"]) != node {
            return Err(format!(
                "node {} can only create pods with an owner reference set to itself",
                node.quoted()
            ));
        }
    }
    if !text(pod, &["spec", "serviceAccountName"]).is_empty() {
        return Err(format!("node {} can not create pods that reference a service account", node.quoted()));
    }
    let spec = at(pod, &["spec"]);
    let refers =
        |key: &str, path: &[&str]| items(at(spec, &[key])).iter().any(|item| !at(item, path).is_null());
    for (what, path) in [
        ("secrets", "secret"),
        ("configmaps", "configMap"),
        ("persistentvolumeclaims", "persistentVolumeClaim"),
    ] {
        if refers("volumes", &[path]) {
            return Err(format!("node {} can not create pods that reference {what}", node.quoted()));
        }
    }
    Ok(())
}

fn stored(store: &Store, bucket: &str, namespace: &str, name: &str) -> Option<Value> {
    look_up(store, bucket, &format!("{namespace}/{name}"))
}

fn own_pod(node: &str, review: &Review<'_>, what: &str) -> Verdict {
    let found;
    let pod = match review.old {
        Some(old) => old,
        None => match stored(review.store, "pods", review.namespace, review.name) {
            Some(pod) => {
                found = pod;
                &found
            }
            // the registry says that it is not there
            None => return Ok(()),
        },
    };
    match text(pod, &["spec", "nodeName"]) == node {
        true => Ok(()),
        false => Err(format!(
            "node {} can only {what} {} with spec.nodeName set to itself",
            node.quoted(),
            if what == "delete" { "pods" } else { "for pods" }
        )),
    }
}

fn own_pod_evicted(node: &str, review: &Review<'_>) -> Verdict {
    match stored(review.store, "pods", review.namespace, review.name) {
        Some(pod) if text(&pod, &["spec", "nodeName"]) != node => {
            Err(format!("node {} can only evict pods with spec.nodeName set to itself", node.quoted()))
        }
        _ => Ok(()),
    }
}

fn self_node(node: &str, review: &Review<'_>, object: &Value) -> Verdict {
    let name = if review.name.is_empty() { meta(object, "name") } else { review.name };
    if name != node {
        return Err(format!("node {} is not allowed to modify node {}", node.quoted(), name.quoted()));
    }
    match review.operation {
        Operation::Create => {
            if !at(object, &["spec", "configSource"]).is_null() {
                return Err(format!(
                    "node {} is not allowed to create pods with a non-nil configSource",
                    node.quoted()
                ));
            }
            let forbidden = forbidden_labels(&[], &labels(object));
            if !forbidden.is_empty() {
                return Err(format!(
                    "node {} is not allowed to set the following labels: {}",
                    node.quoted(),
                    forbidden.join(", ")
                ));
            }
            Ok(())
        }
        Operation::Update => {
            let old = review.old.unwrap_or(&Value::Null);
            if review.subresource.is_empty()
                && at(old, &["spec", "taints"]) != at(object, &["spec", "taints"])
            {
                return Err(format!("node {} is not allowed to modify taints", node.quoted()));
            }
            if at(old, &["metadata", "ownerReferences"]) != at(object, &["metadata", "ownerReferences"]) {
                return Err(format!("node {} is not allowed to modify ownerReferences", node.quoted()));
            }
            let forbidden = forbidden_labels(&labels(old), &labels(object));
            if !forbidden.is_empty() {
                return Err(format!("is not allowed to modify labels: {}", forbidden.join(", ")));
            }
            Ok(())
        }
        Operation::Delete => {
            Err(format!("node {} is not allowed to delete node {}", node.quoted(), name.quoted()))
        }
        Operation::Connect => Ok(()),
    }
}

fn labels(object: &Value) -> Vec<(String, String)> {
    let map = at(object, &["metadata", "labels"]).as_object().into_iter().flatten();
    map.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned()))).collect()
}

/// Labels that changed and that a kubelet has no business with.
fn forbidden_labels(old: &[(String, String)], new: &[(String, String)]) -> Vec<String> {
    let changed = |a: &[(String, String)], b: &[(String, String)]| -> Vec<String> {
        a.iter().filter(|label| !b.contains(label)).map(|(key, _)| key.clone()).collect()
    };
    let mut keys = [changed(new, old), changed(old, new)].concat();
    keys.retain(|key| !allowed_label(key));
    keys.sort();
    keys.dedup();
    keys
}

fn allowed_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |root: &str| domain == root || domain.ends_with(&format!(".{root}"));
    if within(RESERVED) {
        return false;
    }
    if !within("kubernetes.io") && !within("k8s.io") {
        return true;
    }
    OWN_LABELS.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

/// A kubelet gets tokens for its own pods only. Also called where a TokenRequest is answered.
pub(crate) fn token(
    node: &str,
    store: &Store,
    (namespace, account): (&str, &str),
    request: &Value,
) -> Result<(), ApiError> {
    let refused = |why: &str| Err(ApiError::forbidden("", "serviceaccounts", account, why));
    let bound = at(request, &["spec", "boundObjectRef"]);
    let (name, uid) = (text(bound, &["name"]), text(bound, &["uid"]));
    if (text(bound, &["apiVersion"]), text(bound, &["kind"])) != ("v1", "Pod") || name.is_empty() {
        return refused("node requested token not bound to a pod");
    }
    if uid.is_empty() {
        return refused("node requested token with a pod binding without a uid");
    }
    // the words of upstream's lister
    let pod = stored(store, "pods", namespace, name).ok_or_else(|| ApiError::not_found("", "pod", name))?;
    if meta(&pod, "uid") != uid {
        return refused(&format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
        ));
    }
    match text(&pod, &["spec", "nodeName"]) == node {
        true => Ok(()),
        false => refused("node requested token bound to a pod scheduled on a different node"),
    }
}

/// A kubelet asks for certificates of its own name only.
fn certificate(review: &Review<'_>, request: &Value) -> Verdict {
    let kubelets = ["kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"];
    if review.operation != Operation::Create || !kubelets.contains(&text(request, &["spec", "signerName"])) {
        return Ok(());
    }
    let named = crate::pki::request::named(&super::certificates::request_of(request))
        .map_err(|why| format!("unable to parse csr: {why}"))?;
    match named.common_name == review.user.name {
        true => Ok(()),
        false => Err(format!("can only create a node CSR with CN={}", review.user.name)),
    }
}

fn named(node: &str, review: &Review<'_>, object: &Value, namespace: &str, kind: &str) -> Verdict {
    if !namespace.is_empty() && review.namespace != namespace {
        return Err(format!("can only access leases in the {} system namespace", namespace.quoted()));
    }
    let name = if review.name.is_empty() { meta(object, "name") } else { review.name };
    match name == node {
        true => Ok(()),
        false => Err(format!("can only access {kind} with the same name as the requesting node")),
    }
}
