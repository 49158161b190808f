//! Making simulated nodes, removing them, failing a zone of them, and how they are.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{self, TryStreamExt};
use http::Method;
use k8s_openapi::api::core::v1::Node;
use sampan_reconcile::{HashMap, HashSet, Key, Object};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::behaviour::whole;
use crate::node::{self, POD_BLOCK, PODS_PER_NODE, Plan, SLOTS};
use crate::run::{BY_NODE, JSON};
use crate::words::{self, State};
use crate::{Profile, Simulator};

/// Requests that are under way at once.
const AT_ONCE: usize = 64;
const MERGE: &str = "application/merge-patch+json";
/// Most nodes that can be asked for.
const NODES_MAX: u32 = SLOTS / 2;

/// Which nodes there are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Wanted {
    /// How many, called `simulated-0` and so on. What there are more is removed.
    #[serde(deserialize_with = "whole")]
    #[schemars(range(min = 1, max = 65_536))]
    pub nodes: u32,
    /// In how many zones they lie, called `zone-1` and so on, in turn.
    #[serde(default = "one", deserialize_with = "whole")]
    #[schemars(range(min = 1, max = 65_536))]
    pub zones: u32,
    /// How many pods each takes.
    #[serde(default = "pods_per_node", deserialize_with = "whole")]
    #[schemars(range(min = 1, max = 1000))]
    pub pods_per_node: u32,
    /// They bear KWOK's taint `kwok.x-k8s.io/node=fake:NoSchedule`, which keeps pods away that do not tolerate it.
    #[serde(default = "yes")]
    pub taint: bool,
    /// What they and their pods are like.
    #[serde(default)]
    pub profile: Profile,
}

fn one() -> u32 {
    1
}

fn pods_per_node() -> u32 {
    PODS_PER_NODE
}

fn yes() -> bool {
    true
}

/// How the simulated nodes are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// How many there are.
    pub nodes: usize,
    /// How many of them are Ready.
    pub ready: usize,
    /// Pods bound to them.
    pub pods: usize,
    /// How many of these are Running.
    pub running: usize,
    /// By zone.
    pub zones: Vec<ZoneStatus>,
}

/// How a zone is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ZoneStatus {
    /// Its name; empty for nodes without a zone.
    pub name: String,
    /// Simulated nodes in it.
    pub nodes: usize,
    /// How many of them are Ready.
    pub ready: usize,
    /// How many were told to fail.
    pub failed: usize,
    /// Pods bound to them.
    pub pods: usize,
}

/// How far a verb has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Progress {
    /// Nodes are made, or changed.
    Making {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Nodes are removed, with their pods.
    Removing {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Nodes are told to fail, or not to.
    Telling {
        /// So many.
        done: usize,
        /// Of so many.
        total: usize,
    },
    /// Until all are Ready.
    Waiting {
        /// So many are not yet.
        left: usize,
    },
}

/// Why a verb does not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A field has a value that cannot be.
    #[error("{field}: {problem}")]
    Invalid {
        /// The field.
        field: String,
        /// What is wrong.
        problem: String,
    },
    /// A node of such a name is not a simulated one.
    #[error("node {0} is there already and is not simulated; it is left alone")]
    Taken(String),
    /// No simulated node is in the zone.
    #[error("no simulated node is in zone {zone:?}; there are: {there}")]
    NoZone {
        /// The zone.
        zone: String,
        /// Those that there are, or `none`.
        there: String,
    },
    /// The API refused.
    #[error(transparent)]
    Api(#[from] kube::Error),
}

impl Wanted {
    /// Fails if such nodes cannot be.
    ///
    /// # Errors
    /// [`Error::Invalid`].
    pub fn check(&self) -> Result<(), Error> {
        let pods_max = POD_BLOCK - 24;
        let within = |field: &str, value: u32, max: u32| match value {
            0 => Err(Error::Invalid { field: field.into(), problem: "has to be at least 1".into() }),
            value if value > max => {
                Err(Error::Invalid { field: field.into(), problem: format!("{value} is more than {max}") })
            }
            _ => Ok(()),
        };
        within("nodes", self.nodes, NODES_MAX)?;
        within("podsPerNode", self.pods_per_node, pods_max)?;
        within("zones", self.zones, NODES_MAX)?;
        if self.zones > self.nodes {
            let problem =
                format!("{} zones need as many nodes, and there are to be {}", self.zones, self.nodes);
            return Err(Error::Invalid { field: "zones".into(), problem });
        }
        self.profile.check().map_err(|(field, problem)| Error::Invalid { field, problem })
    }

    fn object(&self, number: u32) -> Node {
        let plan = Plan {
            number,
            zones: self.zones,
            pods: self.pods_per_node,
            tainted: self.taint,
            shape: &self.profile.node,
            behaviour: &self.profile.pods,
        };
        node::object(&plan, sampan_reconcile::now())
    }
}

/// The number of a node that [`Simulator::create`] makes.
fn number(node: &Node) -> Option<u32> {
    let name = node.metadata.name.as_deref()?;
    let number = name.strip_prefix("simulated-")?.parse().ok()?;
    (node::name(number) == name).then_some(number)
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == "Ready" && one.status == "True")
}

/// Whether pods can be bound to it, for all that controllers do about nodes.
fn is_joined(node: &Node) -> bool {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    is_ready(node) && !taints.into_iter().any(|taint| taint.key.starts_with("node.kubernetes.io/not-ready"))
}

impl Simulator {
    /// Makes simulated nodes, changes those that are otherwise, removes those beyond the number, and waits until all are
    /// Ready. Nodes that were marked as simulated under other names stay.
    ///
    /// # Errors
    /// Such nodes cannot be, a name is taken, or the API refuses.
    pub async fn create(
        &self,
        wanted: &Wanted,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Status, Error> {
        wanted.check()?;
        let _alone = self.writing.lock().await;
        self.nodes.synced().await;
        let there = self.nodes.list();
        let ours = there.iter().filter_map(|node| Some((number(node)?, node.clone())));
        let there: HashMap<u32, Arc<Node>> = ours.collect();
        let foreign = |(number, node): &(&u32, &Arc<Node>)| **number < wanted.nodes && !self.is_ours(node);
        if let Some((_, node)) = there.iter().find(foreign) {
            return Err(Error::Taken(node.metadata.name.clone().unwrap_or_default()));
        }
        let surplus = there.iter().filter(|(number, node)| **number >= wanted.nodes && self.is_ours(node));
        let surplus: Vec<Arc<Node>> = surplus.map(|(_, node)| node.clone()).collect();
        if !surplus.is_empty() {
            self.remove(surplus, progress).await?;
        }
        let total = usize::try_from(wanted.nodes).unwrap_or(usize::MAX);
        let make = |number: u32| self.make(wanted.object(number), there.get(&number).cloned());
        let makes = stream::iter(0..wanted.nodes).map(make);
        self.seen(makes, total, &|done| progress(Progress::Making { done, total })).await?;
        self.joined((0..wanted.nodes).map(node::name).collect(), progress).await;
        Ok(self.status())
    }

    fn is_ours(&self, node: &Node) -> bool {
        words::is_simulated(node) && node.metadata.name.as_deref() != Some(self.own_node.as_str())
    }

    /// Does all writes, some at once, and resolves when the informer of nodes has seen the last of them. Each write
    /// is its resourceVersion, 0 if there was nothing to be done.
    async fn seen<W>(
        &self,
        writes: impl stream::Stream<Item = W>,
        total: usize,
        progress: &(dyn Fn(usize) + Sync),
    ) -> Result<(), Error>
    where
        W: Future<Output = Result<u64, Error>>,
    {
        let mut writes = std::pin::pin!(writes.buffer_unordered(AT_ONCE));
        let mut steps = Steps::new(total);
        progress(0);
        let mut written = 0;
        while let Some(version) = writes.try_next().await? {
            written = written.max(version);
            if let Some(done) = steps.one() {
                progress(done);
            }
        }
        self.nodes.reached(written).await;
        Ok(())
    }

    /// Makes or changes a node; the resourceVersion that this gave it, 0 if there was nothing to be done.
    async fn make(&self, wanted: Node, old: Option<Arc<Node>>) -> Result<u64, Error> {
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let Some(old) = old else {
            let mut object = json!(wanted);
            object["apiVersion"] = json!("v1");
            object["kind"] = json!("Node");
            return match self.ask(Method::POST, "/api/v1/nodes".into(), JSON, &object).await {
                Err(kube::Error::Api(status)) if status.code == 409 => Err(Error::Taken(name)),
                made => Ok(made?),
            };
        };
        let mut written = 0;
        if let Some(patch) = node::patch(&wanted, &old) {
            written = self.patch(&name, "", &patch).await?;
        }
        if let Some(patch) = node::amounts_patch(&wanted, &old) {
            written = self.patch(&name, "/status", &patch).await?;
        }
        Ok(written)
    }

    async fn patch(&self, name: &str, subresource: &str, patch: &Value) -> kube::Result<u64> {
        self.ask(Method::PATCH, format!("/api/v1/nodes/{name}{subresource}"), MERGE, patch).await
    }

    /// Resolves once all nodes of those names are Ready, or gone again. Nodes that were told to fail, or that somebody
    /// made real, are not waited for. The informer has to know what was made of them.
    async fn joined(&self, mut left: HashSet<String>, progress: &(dyn Fn(Progress) + Sync)) {
        let done = |node: &Node| is_joined(node) || words::state(node) != State::Alive || !self.is_ours(node);
        let mut deltas = self.nodes.subscribe();
        let total = left.len();
        left.retain(|name| self.nodes.get(&Key::cluster(name)).is_some_and(|node| !done(&node)));
        let mut told = total;
        loop {
            if told - left.len() > total / 10 {
                told = left.len();
                progress(Progress::Waiting { left: told });
            }
            if left.is_empty() {
                return;
            }
            let Some(delta) = deltas.next().await else { return };
            if delta.new.as_ref().is_none_or(|node| done(node)) {
                left.remove(&delta.key.name);
            }
        }
    }

    /// Removes all simulated nodes with their pods.
    ///
    /// # Errors
    /// The API refuses.
    pub async fn delete(&self, progress: &(dyn Fn(Progress) + Sync)) -> Result<Status, Error> {
        let _alone = self.writing.lock().await;
        self.nodes.synced().await;
        let nodes = self.nodes.list().into_iter().filter(|node| self.is_ours(node)).collect();
        self.remove(nodes, progress).await?;
        Ok(self.status())
    }

    async fn remove(&self, nodes: Vec<Arc<Node>>, progress: &(dyn Fn(Progress) + Sync)) -> Result<(), Error> {
        let total = nodes.len();
        // uids by name: a node that somebody makes anew under the name is another one
        let named = |node: &Arc<Node>| Some((node.metadata.name.clone()?, node.metadata.uid.clone()?));
        let nodes: HashMap<String, String> = nodes.iter().filter_map(named).collect();
        let remove = |(name, uid): (String, String)| async move {
            let body = json!({"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": {"uid": uid}});
            gone(self.ask(Method::DELETE, format!("/api/v1/nodes/{name}"), JSON, &body).await)
        };
        let removes = stream::iter(nodes.clone()).map(remove);
        // once everybody sees that they are gone, nothing is bound to them any more
        self.seen(removes, total, &|done| progress(Progress::Removing { done, total })).await?;
        let mut deltas = self.nodes.subscribe();
        let stays = |name: &String, node: Option<&Arc<Node>>| {
            node.is_some_and(|node| {
                node.metadata.uid.as_ref() == nodes.get(name) && node.metadata.deletion_timestamp.is_none()
            })
        };
        let there = |name: &String| self.nodes.get(&Key::cluster(name));
        let mut left: HashSet<&String> =
            nodes.keys().filter(|name| stays(name, there(name).as_ref())).collect();
        while !left.is_empty() {
            let Some(delta) = deltas.next().await else { break };
            if !stays(&delta.key.name, delta.new.as_ref()) {
                left.remove(&delta.key.name);
            }
        }
        let is_other =
            |name: &&String| there(name).is_some_and(|node| node.metadata.uid.as_ref() != nodes.get(*name));
        let pods = nodes.keys().filter(|name| !is_other(name));
        let pods = pods.flat_map(|name| self.pods.by_index(BY_NODE, name));
        let pods: Vec<(Key, String)> =
            pods.map(|pod| (pod.key(), pod.metadata.uid.clone().unwrap_or_default())).collect();
        let remove = |(key, uid): (Key, String)| async move { gone(self.delete_pod(&key, &uid).await) };
        stream::iter(pods).map(remove).buffer_unordered(AT_ONCE).try_collect::<Vec<u64>>().await?;
        Ok(())
    }

    /// Tells all simulated nodes of a zone to fail, as if it had lost its power, or to come back.
    ///
    /// # Errors
    /// There is no such zone, or the API refuses.
    pub async fn tell_zone(
        &self,
        zone: &str,
        state: State,
        progress: &(dyn Fn(Progress) + Sync),
    ) -> Result<Status, Error> {
        let _alone = self.writing.lock().await;
        self.nodes.synced().await;
        let all: Vec<Arc<Node>> = self.nodes.list().into_iter().filter(|node| self.is_ours(node)).collect();
        let names = all.iter().filter(|node| words::zone(node) == zone && words::state(node) != state);
        let names: Vec<String> = names.filter_map(|node| node.metadata.name.clone()).collect();
        if !all.iter().any(|node| words::zone(node) == zone) {
            let there: std::collections::BTreeSet<&str> = all.iter().map(|node| words::zone(node)).collect();
            let there = there.into_iter().collect::<Vec<_>>().join(", ");
            let there = if there.is_empty() { "none".to_owned() } else { there };
            return Err(Error::NoZone { zone: zone.to_owned(), there });
        }
        let total = names.len();
        let value = (state != State::Alive).then(|| state.text());
        let patch = json!({"metadata": {"annotations": {words::STATE: value}}});
        let tell = |name: String| {
            let patch = &patch;
            async move { gone(self.patch(&name, "", patch).await) }
        };
        let tells = stream::iter(names).map(tell);
        self.seen(tells, total, &|done| progress(Progress::Telling { done, total })).await?;
        Ok(self.status())
    }

    /// How the simulated nodes are, as far as is known.
    pub fn status(&self) -> Status {
        let mut zones: BTreeMap<String, ZoneStatus> = BTreeMap::new();
        let mut status = Status::default();
        for node in self.nodes.list().iter().filter(|node| self.is_ours(node)) {
            let name = words::zone(node).to_owned();
            let zone = zones.entry(name.clone()).or_insert(ZoneStatus { name, ..ZoneStatus::default() });
            let pods = self.pods.by_index(BY_NODE, node.metadata.name.as_deref().unwrap_or_default());
            let running = |pod: &&Arc<_>| is_running(pod);
            zone.nodes += 1;
            zone.ready += usize::from(is_ready(node));
            zone.failed += usize::from(words::state(node) == State::Failed);
            zone.pods += pods.len();
            status.running += pods.iter().filter(running).count();
        }
        status.zones = zones.into_values().collect();
        // zone-2 before zone-10
        status.zones.sort_by_key(|zone| (zone.name.len(), zone.name.clone()));
        let sum = |of: fn(&ZoneStatus) -> usize| status.zones.iter().map(of).sum();
        (status.nodes, status.ready, status.pods) = (sum(|z| z.nodes), sum(|z| z.ready), sum(|z| z.pods));
        status
    }
}

fn is_running(pod: &k8s_openapi::api::core::v1::Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

/// The resourceVersion. What is gone already, or is another one by now, need not be asked again: 0.
fn gone(result: kube::Result<u64>) -> Result<u64, Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(0),
        result => Ok(result?),
    }
}

/// Counts, and says so ten times on the way.
struct Steps {
    done: usize,
    total: usize,
}

impl Steps {
    fn new(total: usize) -> Self {
        Self { done: 0, total }
    }

    fn one(&mut self) -> Option<usize> {
        self.done += 1;
        let step = self.total.div_ceil(10).max(1);
        (self.done == self.total || self.done.is_multiple_of(step)).then_some(self.done)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted(body: Value) -> Result<Wanted, String> {
        serde_json::from_value(body).map_err(|error| error.to_string())
    }

    #[test]
    fn what_cannot_be_is_named() {
        let field = |body: Value| match wanted(body).unwrap().check() {
            Err(Error::Invalid { field, .. }) => field,
            other => format!("{other:?}"),
        };
        for (body, expected) in [
            (json!({"nodes": 3}), "Ok(())"),
            (json!({"nodes": 3.0, "zones": 3, "podsPerNode": 1000, "taint": false}), "Ok(())"),
            (json!({"nodes": 0}), "nodes"),
            (json!({"nodes": 65_537}), "nodes"),
            (json!({"nodes": 3, "zones": 4}), "zones"),
            (json!({"nodes": 3, "zones": 0}), "zones"),
            (json!({"nodes": 3, "podsPerNode": 1001}), "podsPerNode"),
            (
                json!({"nodes": 3, "profile": {"node": {"capacity": {"cpu": "x"}}}}),
                "profile.node.capacity.cpu",
            ),
        ] {
            assert_eq!(field(body.clone()), expected, "{body}");
        }
        for body in [json!({}), json!({"nodes": -1}), json!({"nodes": 1.5}), json!({"nodes": 1, "node": 2})] {
            assert!(wanted(body.clone()).is_err(), "{body}");
        }
    }

    #[test]
    fn progress_is_told_ten_times() {
        let told = |total: usize| {
            let mut steps = Steps::new(total);
            (0..total).filter_map(|_| steps.one()).collect::<Vec<_>>()
        };
        assert_eq!(told(3), [1, 2, 3]);
        assert_eq!((told(5000).len(), told(5000).last().copied()), (10, Some(5000)));
    }

    #[test]
    fn only_exact_names_are_numbers() {
        let number = |name: &str| {
            let mut node = Node::default();
            node.metadata.name = Some(name.to_owned());
            number(&node)
        };
        assert_eq!(
            (number("simulated-12"), number("simulated-012"), number("simulated-x")),
            (Some(12), None, None)
        );
    }
}
