//! The Node authorizer: a kubelet may read what its own pods need, and nothing else of that sort.
//!
//! Ported from `plugin/pkg/auth/authorizer/node/node_authorizer.go`. Upstream keeps a graph; here the pods of a
//! node (at most some hundreds) are asked directly, out of the store's memory.

use sampan_api::go::Quote as _;
use sampan_store::{Key, Store};
use serde_json::Value;

use super::rules::Rule;
use super::{Attributes, Decision};
use crate::value::{at, items, meta, text};

/// Decides for nodes.
pub struct NodeAuthorizer {
    store: Store,
    rules: Vec<Rule>,
}

/// What a pod may refer to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reference {
    Secret,
    ConfigMap,
    Claim,
    ServiceAccount,
    ResourceClaim,
}

type Verdict = Result<(), String>;

impl NodeAuthorizer {
    /// With the rules that hold for all nodes alike.
    pub fn new(store: Store, rules: Vec<Rule>) -> Self {
        Self { store, rules }
    }

    /// The decision on a request of the kubelet of `node`.
    pub fn authorize(&self, node: &str, request: &Attributes<'_>) -> Decision {
        match self.check(node, request) {
            Ok(()) => Decision::Allow(String::new()),
            Err(why) => Decision::Deny(why),
        }
    }

    fn check(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        if request.is_resource {
            match (request.group, request.resource) {
                ("", "secrets") => return self.read(node, request, Reference::Secret),
                ("", "configmaps") => return self.read(node, request, Reference::ConfigMap),
                ("", "persistentvolumeclaims") => return self.claim(node, request),
                ("", "persistentvolumes") => return self.volume(node, request),
                ("", "serviceaccounts") => return self.token(node, request),
                ("", "pods") => self.pods(node, request)?,
                ("", "nodes") => nodes(node, request)?,
                ("storage.k8s.io", "volumeattachments") => return self.attachment(node, request),
                ("storage.k8s.io", "csinodes") => return own(node, request, "a CSINode", "CSINode"),
                ("resource.k8s.io", "resourceclaims") => {
                    return self.get(node, request, Reference::ResourceClaim);
                }
                ("coordination.k8s.io", "leases") => return lease(node, request),
                _ => {}
            }
        }
        match self.rules.iter().any(|rule| rule.allows(request)) {
            true => Ok(()),
            false => Err(String::new()),
        }
    }

    fn read(&self, node: &str, request: &Attributes<'_>, what: Reference) -> Verdict {
        if !["get", "list", "watch"].contains(&request.verb) {
            return Err("can only read resources of this type".into());
        }
        if !request.subresource.is_empty() {
            return Err("cannot read subresource".into());
        }
        if request.namespace.is_empty() {
            return Err("can only read namespaced object of this type".into());
        }
        self.related(node, request, what)
    }

    fn get(&self, node: &str, request: &Attributes<'_>, what: Reference) -> Verdict {
        can_get(request)?;
        self.related(node, request, what)
    }

    fn claim(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        if request.subresource != "status" {
            return self.get(node, request, Reference::Claim);
        }
        if !["get", "update", "patch"].contains(&request.verb) {
            return Err("can only get/update/patch this type".into());
        }
        self.related(node, request, Reference::Claim)
    }

    fn volume(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        can_get(request)?;
        let volume = self.object("persistentvolumes", request.name).ok_or_else(|| unrelated(node))?;
        let (namespace, name) =
            (text(&volume, &["spec", "claimRef", "namespace"]), text(&volume, &["spec", "claimRef", "name"]));
        let claim = Attributes { namespace, name, ..*request };
        self.related(node, &claim, Reference::Claim)
    }

    fn attachment(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        can_get(request)?;
        let found = self.object("volumeattachments.storage.k8s.io", request.name);
        match found.is_some_and(|a| text(&a, &["spec", "nodeName"]) == node) {
            true => Ok(()),
            false => Err(unrelated(node)),
        }
    }

    fn token(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        if request.verb == "get" && request.subresource.is_empty() {
            return self.related(node, request, Reference::ServiceAccount);
        }
        if request.verb != "create" || request.name.is_empty() {
            return Err("can only create tokens for individual service accounts".into());
        }
        if request.subresource != "token" {
            return Err("can only create token subresource of serviceaccount".into());
        }
        self.related(node, request, Reference::ServiceAccount)
    }

    /// Reads of pods: its own ones (`AuthorizeNodeWithSelectors`).
    fn pods(&self, node: &str, request: &Attributes<'_>) -> Verdict {
        let refused = match request.verb {
            "get" => {
                let pod = self.object("pods", &format!("{}/{}", request.namespace, request.name));
                // a pod that is not there is the registry's to say
                pod.is_some_and(|p| text(&p, &["spec", "nodeName"]) != node).then(|| unrelated(node))
            }
            "list" | "watch" => (!selects(request.field_selector, "spec.nodeName", node))
                .then(|| "can only list/watch pods with spec.nodeName field selector".to_owned()),
            _ => None,
        };
        refused.map_or(Ok(()), Err)
    }

    fn object(&self, bucket: &str, name: &str) -> Option<Value> {
        let entry = self.store.get(&Key::new(bucket, name))?;
        serde_json::from_slice(&entry.value).ok()
    }

    fn related(&self, node: &str, request: &Attributes<'_>, what: Reference) -> Verdict {
        if request.name.is_empty() {
            return Err("No Object name found".into());
        }
        let prefix = format!("{}/", request.namespace);
        let pods = self.store.list("pods");
        let mentioned = |bytes: &[u8]| contains(bytes, node) && contains(bytes, request.name);
        let found = pods.prefix(&prefix).filter(|entry| mentioned(&entry.value)).any(|entry| {
            serde_json::from_slice::<Value>(&entry.value).is_ok_and(|pod| {
                text(&pod, &["spec", "nodeName"]) == node && refers(&pod, what, request.name)
            })
        });
        if found { Ok(()) } else { Err(unrelated(node)) }
    }
}

fn contains(bytes: &[u8], word: &str) -> bool {
    // user "system:node:" has no node's name; nothing mentions it
    !word.is_empty() && bytes.windows(word.len()).any(|w| w == word.as_bytes())
}

fn unrelated(node: &str) -> String {
    format!("no relationship found between node '{node}' and this object")
}

fn selects(selector: &str, field: &str, value: &str) -> bool {
    selector.split(',').any(|part| {
        let part = part.split_once("==").or_else(|| part.split_once('='));
        part.is_some_and(|(f, v)| f.trim() == field && v.trim() == value)
    })
}

fn can_get(request: &Attributes<'_>) -> Verdict {
    match (request.verb, request.subresource) {
        ("get", "") => Ok(()),
        ("get", _) => Err("cannot get subresource".into()),
        _ => Err("can only get individual resources of this type".into()),
    }
}

/// Reads of nodes: its own.
fn nodes(node: &str, request: &Attributes<'_>) -> Verdict {
    let own = match request.verb {
        "get" => request.name == node,
        "list" | "watch" => request.name == node || selects(request.field_selector, "metadata.name", node),
        _ => true,
    };
    match own {
        true => Ok(()),
        false => Err(format!(
            "node '{node}' cannot read {}, only its own Node object",
            match request.name {
                "" => "all nodes".to_owned(),
                name => name.quoted().to_string(),
            }
        )),
    }
}

fn own(node: &str, request: &Attributes<'_>, one: &str, kind: &str) -> Verdict {
    if !["get", "create", "update", "patch", "delete"].contains(&request.verb) {
        return Err(format!("can only get, create, update, patch, or delete {one}"));
    }
    if !request.subresource.is_empty() {
        return Err(format!("cannot authorize {kind} subresources"));
    }
    if request.verb != "create" && request.name != node {
        return Err(format!("can only access {kind} with the same name as the requesting node"));
    }
    Ok(())
}

fn lease(node: &str, request: &Attributes<'_>) -> Verdict {
    if request.namespace != "kube-node-lease"
        && ["get", "create", "update", "patch", "delete"].contains(&request.verb)
    {
        return Err(r#"can only access leases in the "kube-node-lease" system namespace"#.into());
    }
    own(node, request, "a node lease", "node lease")
}

/// Whether a pod's spec refers to the object `name` of its namespace.
fn refers(pod: &Value, what: Reference, name: &str) -> bool {
    let spec = at(pod, &["spec"]);
    let named = |value: &Value, path: &[&str]| text(value, path) == name;
    let volumes = || items(at(spec, &["volumes"])).iter();
    let projected = |volume: &Value, key: &str| {
        items(at(volume, &["projected", "sources"])).iter().any(|source| named(source, &[key, "name"]))
    };
    let in_env = |from: &str, key: &str| {
        containers(spec).any(|container| {
            items(at(container, &["envFrom"])).iter().any(|e| named(e, &[from, "name"]))
                || items(at(container, &["env"])).iter().any(|e| named(e, &["valueFrom", key, "name"]))
        })
    };
    match what {
        Reference::ServiceAccount => named(spec, &["serviceAccountName"]),
        Reference::Claim => volumes().any(|v| {
            named(v, &["persistentVolumeClaim", "claimName"])
                || (!at(v, &["ephemeral"]).is_null()
                    && format!("{}-{}", meta(pod, "name"), text(v, &["name"])) == name)
        }),
        Reference::ConfigMap => {
            in_env("configMapRef", "configMapKeyRef")
                || volumes().any(|v| named(v, &["configMap", "name"]) || projected(v, "configMap"))
        }
        Reference::Secret => {
            in_env("secretRef", "secretKeyRef")
                || items(at(spec, &["imagePullSecrets"])).iter().any(|s| named(s, &["name"]))
                || volumes().any(|v| {
                    let drivers = [
                        "azureFile",
                        "cephfs",
                        "cinder",
                        "flexVolume",
                        "iscsi",
                        "rbd",
                        "scaleIO",
                        "storageos",
                    ];
                    named(v, &["secret", "secretName"])
                        || projected(v, "secret")
                        || named(v, &["csi", "nodePublishSecretRef", "name"])
                        || named(v, &["azureFile", "secretName"])
                        || drivers.iter().any(|d| named(v, &[d, "secretRef", "name"]))
                })
        }
        Reference::ResourceClaim => {
            items(at(spec, &["resourceClaims"])).iter().any(|c| named(c, &["resourceClaimName"]))
                || items(at(pod, &["status", "resourceClaimStatuses"]))
                    .iter()
                    .any(|c| named(c, &["resourceClaimName"]))
        }
    }
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers", "ephemeralContainers"]
        .into_iter()
        .flat_map(|key| items(at(spec, &[key])))
}
