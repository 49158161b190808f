//! The one task of all simulated nodes: informers in, requests out, a bounded number at a time.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use http::{Method, Request};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use sampan_reconcile::{Deltas, Informer, Informers, Key};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::fleet::{Fleet, Job, Outcome};

/// Requests that are under way at once: as many as make a good commit of the store.
const AT_ONCE: usize = 128;
/// Deltas that are taken in before work goes on.
const DELTAS_AT_ONCE: usize = 256;
const LEASE_SECONDS: u32 = 40;
pub(crate) const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON: &str = "application/json";

/// What the simulator is made of.
pub struct Config {
    /// Speaks for all simulated nodes.
    pub client: Client,
    /// The process's informers.
    pub informers: Informers,
    /// The daemon's own node, which is not simulated whatever its annotations say.
    pub own_node: String,
}

/// Keeps simulated nodes, and makes and removes them. Cheap to clone.
#[derive(Clone)]
pub struct Simulator {
    pub(crate) client: Client,
    pub(crate) nodes: Informer<Node>,
    pub(crate) pods: Informer<Pod>,
    pub(crate) own_node: String,
    /// Held by the verb that writes: one at a time.
    pub(crate) writing: Arc<Mutex<()>>,
}

/// The part of an answer that is read.
#[derive(Default, Deserialize)]
struct Answer {
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    resource_version: Option<String>,
}

impl Simulator {
    /// Of a cluster.
    pub fn new(config: Config) -> Self {
        let Config { client, informers, own_node } = config;
        let pods: Informer<Pod> = informers.of();
        pods.add_index(BY_NODE, |pod| {
            let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
            node.filter(|node| !node.is_empty()).into_iter().collect()
        });
        Self { client, nodes: informers.of(), pods, own_node, writing: Arc::default() }
    }

    /// Keeps them until dropped.
    pub async fn run(self) {
        let mut fleet = Fleet::new(&self.own_node, Instant::now());
        let mut nodes = self.nodes.subscribe();
        let mut pods: Option<Deltas<Pod>> = None;
        let mut working = FuturesUnordered::new();
        loop {
            match (fleet.is_empty(), &pods) {
                (true, Some(_)) => pods = None,
                (false, None) => pods = Some(self.all_pods(&mut fleet).await),
                _ => {}
            }
            while working.len() < AT_ONCE
                && let Some(job) = fleet.job(Instant::now(), sampan_reconcile::now())
            {
                working.push(self.perform(job));
            }
            let due = fleet.next_due();
            tokio::select! {
                biased;
                delta = nodes.next() => {
                    let Some(delta) = delta else { return };
                    let mut next = Some(delta);
                    for _ in 0..DELTAS_AT_ONCE {
                        let Some(delta) = next else { break };
                        self.node_changed(&mut fleet, &delta.key.name, delta.new.as_ref(), pods.is_some());
                        next = nodes.try_next();
                    }
                    if let Some(delta) = next {
                        self.node_changed(&mut fleet, &delta.key.name, delta.new.as_ref(), pods.is_some());
                    }
                }
                delta = next_of(&mut pods) => {
                    let Some(delta) = delta else { return };
                    fleet.pod_changed(&delta.key, delta.new.as_ref());
                }
                Some((job, outcome)) = working.next() => fleet.done(&job, outcome, Instant::now()),
                () = at(due) => fleet.wake(Instant::now()),
            }
        }
    }

    /// Tells of all pods that there are, before anything is decided: an address that one has is not given to another.
    async fn all_pods(&self, fleet: &mut Fleet) -> Deltas<Pod> {
        self.pods.synced().await;
        let mut deltas = self.pods.subscribe();
        while let Some(delta) = deltas.try_next() {
            fleet.pod_changed(&delta.key, delta.new.as_ref());
        }
        deltas
    }

    fn node_changed(&self, fleet: &mut Fleet, name: &str, new: Option<&Arc<Node>>, knows_pods: bool) {
        let joined = fleet.node_changed(name, new, Instant::now());
        // pods that were told of before their node was
        if let Some(node) = joined.filter(|_| knows_pods) {
            for pod in self.pods.by_index(BY_NODE, &node) {
                fleet.pod_changed(&sampan_reconcile::Object::key(&*pod), Some(&pod));
            }
        }
    }

    async fn perform(&self, job: Job) -> (Job, Outcome) {
        let result = match &job {
            Job::Renew { name, uid } => self.renew(name, uid).await,
            Job::Report { name, status } => {
                let path = format!("/api/v1/nodes/{name}/status");
                self.ask(Method::PATCH, path, MERGE, &json!({"status": status})).await
            }
            Job::Write { key, uid, status } => {
                let body = json!({"metadata": {"uid": uid}, "status": status});
                self.ask(Method::PATCH, pod_path(key, "/status"), STRATEGIC, &body).await
            }
            Job::Delete { key, uid } => self.delete_pod(key, uid).await,
        };
        let outcome = match result {
            Ok(version) => Outcome::Done(version),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Outcome::Stale,
            Err(error) => {
                tracing::warn!(%error, "a simulated node's write failed, trying again");
                Outcome::Failed
            }
        };
        (job, outcome)
    }

    pub(crate) async fn delete_pod(&self, key: &Key, uid: &str) -> kube::Result<u64> {
        let body = json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": uid}});
        self.ask(Method::DELETE, pod_path(key, ""), JSON, &body).await
    }

    /// Renews a lease as a kubelet does, or creates it (upstream's `component-helpers/apimachinery/lease`).
    async fn renew(&self, name: &str, uid: &str) -> kube::Result<u64> {
        let now = format!("{:.6}", sampan_reconcile::now());
        let spec = json!({"holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now});
        let renewed =
            self.ask(Method::PATCH, format!("{LEASES}/{name}"), MERGE, &json!({"spec": spec})).await;
        match renewed {
            Err(kube::Error::Api(status)) if status.code == 404 => {
                let owner = json!([{"apiVersion": "v1", "kind": "Node", "name": name, "uid": uid}]);
                let lease = json!({
                    "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec,
                    "metadata": {"name": name, "ownerReferences": owner}});
                self.ask(Method::POST, LEASES.to_owned(), JSON, &lease).await
            }
            renewed => renewed,
        }
    }

    /// Asks the API; the answer's resourceVersion.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: String,
        content: &'static str,
        body: &Value,
    ) -> kube::Result<u64> {
        let request = Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content);
        let request = request.body(body.to_string().into_bytes()).map_err(kube::Error::HttpError)?;
        let answer: Answer = self.client.request(request).await?;
        Ok(answer.metadata.resource_version.and_then(|version| version.parse().ok()).unwrap_or(0))
    }
}

/// Index of pods by node, as the controllers have it.
pub(crate) const BY_NODE: &str = "node";

fn pod_path(key: &Key, subresource: &str) -> String {
    format!("/api/v1/namespaces/{}/pods/{}{subresource}", key.namespace(), key.name)
}

async fn next_of(pods: &mut Option<Deltas<Pod>>) -> Option<sampan_reconcile::Delta<Pod>> {
    match pods {
        Some(pods) => pods.next().await,
        None => std::future::pending().await,
    }
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => tokio::time::sleep(Duration::MAX).await,
    }
}
