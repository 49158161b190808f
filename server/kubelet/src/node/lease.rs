//! The node's heartbeat: a Lease in kube-node-lease, renewed every ten seconds
//! (upstream's `component-helpers/apimachinery/lease/controller.go`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta, OwnerReference};
use kube::api::{Api, Patch, PatchParams, PostParams};
use sampan_reconcile::{Deltas, Informer, Key};
use serde_json::json;

const DURATION_SECONDS: i32 = 40;
const RENEW: Duration = Duration::from_secs(10);
const RETRY: Duration = Duration::from_millis(500);

/// Renews for ever, while the node `name` is there; dropped at the drain.
pub async fn run(client: kube::Client, name: String, nodes: Informer<Node>) {
    let api: Api<Lease> = Api::namespaced(client, "kube-node-lease");
    let mut deltas = nodes.subscribe();
    nodes.synced().await;
    let mut failures = 0_u32;
    loop {
        let Some(node) = nodes.get(&Key::cluster(&name)) else {
            replaced(&mut deltas, None).await;
            continue;
        };
        let pause = match renew(&api, &node).await {
            Ok(()) => {
                failures = 0;
                RENEW
            }
            Err(error) => {
                // the namespace may not be there yet at the first start
                if failures > 3 {
                    tracing::warn!(%error, "node lease not renewed");
                }
                failures += 1;
                (RETRY * failures).min(RENEW / 2)
            }
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = replaced(&mut deltas, node.metadata.uid.as_deref()) => {}
        }
    }
}

/// Resolves when a node other than the one with `uid` is there: the old one's lease goes with it.
async fn replaced(deltas: &mut Deltas<Node>, uid: Option<&str>) {
    while let Some(delta) = deltas.next().await {
        if delta.new.is_some_and(|node| node.metadata.uid.as_deref() != uid) {
            return;
        }
    }
    std::future::pending().await
}

async fn renew(api: &Api<Lease>, node: &Node) -> kube::Result<()> {
    let name = node.metadata.name.as_deref().unwrap_or_default();
    // with the owner: what an earlier node of this name left would be collected with it
    let patch = json!({"metadata": {"ownerReferences": [owner(node)]},
        "spec": {"renewTime": MicroTime(Timestamp::now()), "holderIdentity": name,
            "leaseDurationSeconds": DURATION_SECONDS}});
    match api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(kube::Error::Api(status)) if status.is_not_found() => {
            api.create(&PostParams::default(), &fresh(node)).await.map(drop)
        }
        result => result.map(drop),
    }
}

fn owner(node: &Node) -> OwnerReference {
    OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node.metadata.name.clone().unwrap_or_default(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        ..OwnerReference::default()
    }
}

fn fresh(node: &Node) -> Lease {
    let name = node.metadata.name.clone().unwrap_or_default();
    Lease {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            namespace: Some("kube-node-lease".to_owned()),
            owner_references: Some(vec![owner(node)]),
            ..ObjectMeta::default()
        },
        spec: Some(LeaseSpec {
            holder_identity: Some(name),
            lease_duration_seconds: Some(DURATION_SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        }),
    }
}
