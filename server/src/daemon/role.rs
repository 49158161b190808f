//! The labels that a node may not give itself: kubeadm's mark-control-plane, for as long as the daemon runs.

use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use sampan_reconcile::{Informer, Key};
use serde_json::json;

use crate::profile::RuntimeKind;

const ROLE: &str = "node-role.kubernetes.io/control-plane";
const NO_LOAD_BALANCER: &str = "node.kubernetes.io/exclude-from-external-load-balancers";
const RUNTIME: &str = "sampan.dev/runtime";

/// Before another try.
const PAUSE: Duration = Duration::from_secs(1);

/// Labels the node each time it registers: at the first start, and after somebody deleted it. What an administrator
/// takes off a node that stays is left off.
pub async fn follow(client: Client, nodes: Informer<Node>, node: String, runtime: RuntimeKind) {
    let (key, api) = (Key::cluster(&node), Api::<Node>::all(client));
    let labels = json!({ROLE: "", NO_LOAD_BALANCER: "", RUNTIME: runtime.to_string()});
    let patch = Patch::Merge(json!({"metadata": {"labels": labels}}));
    let mut marked = None;
    loop {
        nodes.until(|nodes| uid(nodes, &key).is_some_and(|uid| Some(&uid) != marked.as_ref())).await;
        let new = uid(&nodes, &key);
        match api.patch(&node, &PatchParams::default(), &patch).await {
            Ok(_) => marked = new,
            Err(error) => {
                tracing::warn!(%error, %node, "the node was not labelled");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Whether a node has its labels.
pub fn is_marked(node: &Node) -> bool {
    node.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(ROLE))
}

fn uid(nodes: &Informer<Node>, key: &Key) -> Option<String> {
    nodes.get(key)?.metadata.uid.clone()
}
