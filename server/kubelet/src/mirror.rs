//! The control plane as mirror pods in kube-system, drawn from [`Health`].
//!
//! They cost nothing and tell the truth: Ready is the component's readiness, restarts are its restarts. As
//! upstream's mirror pods they come back when deleted. Nothing runs for them; their logs are the components'
//! own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, HostIP, Node, Pod, PodCondition, PodIP, PodSpec, PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference, Time};
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams};
use sampan_process::{Component, ComponentHealth, Health, State};
use sampan_reconcile::{Deltas, Informer, Key};
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::context::Context;
use crate::pod::backoff::Backoff;

const NAMESPACE: &str = "kube-system";
const IMAGE: &str = "sampan:0.1.0";

/// The component that a pod of this node mirrors.
pub fn component_of(pod: &Pod) -> Option<String> {
    let labels = pod.metadata.labels.as_ref()?;
    let mirror = pod.metadata.annotations.as_ref()?.contains_key(crate::pod::manager::MIRROR);
    labels.get("component").filter(|_| mirror).cloned()
}

/// Whether upstream's component listens there, and this process answers for it at the API server's port.
pub fn listens(component: &str, port: u16, api_server: u16) -> bool {
    match component {
        "kube-apiserver" => port == api_server,
        "kube-controller-manager" => port == 10257,
        "kube-scheduler" => port == 10259,
        _ => false,
    }
}

fn shown(component: Component) -> bool {
    !matches!(component, Component::Kubelet | Component::Simulator | Component::Daemon)
}

/// When a component's mirror pod was last made, and how soon it may be made again. One that keeps being deleted is
/// somebody's will: it comes back at once the first time, then later and later.
#[derive(Clone, Copy, Debug, Default)]
struct Making {
    last: Option<Timestamp>,
    backoff: Backoff,
}

impl Making {
    /// Not before this moment; `None`: now.
    fn not_before(&self, now: Timestamp) -> Option<Timestamp> {
        let last = self.last?;
        self.backoff.delay(last).map(|delay| last + delay).filter(|at| now < *at)
    }

    fn made(&mut self, now: Timestamp) {
        if self.last.replace(now).is_some() {
            self.backoff.next(now, now);
        }
    }
}

/// Keeps the mirror pods until the drain, as long as the node's object is there to own them.
pub async fn run(context: Arc<Context>, health: Health, nodes: Informer<Node>, pods: Informer<Pod>) {
    let mut changes = health.watch();
    let (mut deltas, mut node_deltas) = (pods.subscribe(), nodes.subscribe());
    tokio::join!(pods.synced(), nodes.synced());
    let mut keeper = Mirrors { context, nodes, pods, began: Timestamp::now(), making: BTreeMap::new() };
    let mut pause = Duration::from_millis(100);
    loop {
        let report = changes.borrow_and_update().clone();
        let (failed, due) = keeper.keep_all(&report, &health.removed()).await;
        pause = if failed { (pause * 2).min(Duration::from_secs(5)) } else { Duration::from_millis(100) };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            () = relevant(&mut deltas) => {}
            () = other_node(&mut node_deltas) => {}
            () = tokio::time::sleep(pause), if failed => {}
            () = until(due) => {}
        }
    }
}

/// Sleeps until `due`, or for ever.
async fn until(due: Option<Timestamp>) {
    let Some(due) = due else { return std::future::pending().await };
    let pause = due.duration_since(Timestamp::now());
    tokio::time::sleep(Duration::try_from(pause).unwrap_or_default()).await;
}

/// Resolves when the node's object has become another one.
async fn other_node(deltas: &mut Deltas<Node>) {
    while let Some(delta) = deltas.next().await {
        let uid = |node: &Option<Arc<Node>>| node.as_ref().and_then(|node| node.metadata.uid.clone());
        if delta.new.is_some() && uid(&delta.old) != uid(&delta.new) {
            return;
        }
    }
    std::future::pending().await
}

/// Resolves at the next change of a mirror pod that is not only its status.
async fn relevant(deltas: &mut Deltas<Pod>) {
    while let Some(delta) = deltas.next().await {
        let mirror = delta.latest().is_some_and(|pod| component_of(pod).is_some());
        let deleted = delta.new.as_ref().is_none_or(|pod| pod.metadata.deletion_timestamp.is_some());
        if mirror && deleted {
            return;
        }
    }
    std::future::pending().await
}

struct Mirrors {
    context: Arc<Context>,
    nodes: Informer<Node>,
    pods: Informer<Pod>,
    began: Timestamp,
    making: BTreeMap<&'static str, Making>,
}

impl Mirrors {
    /// Brings all mirror pods up to date: whether one could not be written, and when one may be made again.
    async fn keep_all(
        &mut self,
        report: &BTreeMap<Component, ComponentHealth>,
        removed: &BTreeSet<Component>,
    ) -> (bool, Option<Timestamp>) {
        let (mut failed, mut due) = (false, None);
        for component in removed {
            if let Err(error) = self.remove(*component).await {
                tracing::debug!(component = component.name(), %error, "mirror pod not deleted, trying again");
                failed = true;
            }
        }
        // without an owner they would be collected as soon as they are made
        let Some(node) = self.nodes.get(&Key::cluster(&self.context.node_name)) else { return (failed, due) };
        for (component, health) in report.iter().filter(|(c, _)| shown(**c)) {
            match self.keep(&node, *component, health).await {
                Ok(None) => {}
                Ok(Some(at)) => due = Some(due.map_or(at, |due: Timestamp| due.min(at))),
                Err(error) => {
                    tracing::debug!(component = component.name(), %error, "mirror pod not written, trying again");
                    failed = true;
                }
            }
        }
        (failed, due)
    }

    /// Deletes the mirror pod of a component that is not to run, if there is one.
    async fn remove(&mut self, component: Component) -> kube::Result<()> {
        let name = pod_name(component, &self.context.node_name);
        let pod = self.pods.get(&Key::namespaced(NAMESPACE, &name));
        let shown = pod.and_then(|pod| component_of(&pod)).as_deref() == Some(component.name());
        // what was made just now may not have come back yet
        if !shown && !self.making.contains_key(component.name()) {
            return Ok(());
        }
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), NAMESPACE);
        match api.delete(&name, &DeleteParams::default().grace_period(0)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => {}
            result => drop(result?),
        }
        self.making.remove(component.name());
        Ok(())
    }

    /// Brings one mirror pod up to date; `Some`: it may be made again only then.
    async fn keep(
        &mut self,
        node: &Node,
        component: Component,
        health: &ComponentHealth,
    ) -> kube::Result<Option<Timestamp>> {
        let api: Api<Pod> = Api::namespaced(self.context.client.clone(), NAMESPACE);
        let wanted = mirror_pod(node, component);
        let name = wanted.metadata.name.clone().unwrap_or_default();
        let mut there = self.pods.get(&Key::namespaced(NAMESPACE, &name));
        if there.as_ref().is_some_and(|pod| pod.metadata.deletion_timestamp.is_some()) {
            let params = DeleteParams::default().grace_period(0);
            match api.delete(&name, &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => {}
                result => drop(result?),
            }
            there = None;
        }
        let before = match there {
            Some(pod) => pod.status.clone(),
            None => {
                let now = Timestamp::now();
                let making = self.making.entry(component.name()).or_default();
                if let Some(at) = making.not_before(now) {
                    return Ok(Some(at));
                }
                match api.create(&PostParams::default(), &wanted).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => api.get(&name).await?.status,
                    created => {
                        let status = created?.status;
                        making.made(now);
                        status
                    }
                }
            }
        };
        let status = mirror_status(&self.context, component, health, before.as_ref(), self.began);
        if before.as_ref() != Some(&status) {
            let patch = json!({"status": status});
            api.patch_subresource("status", &name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(None)
    }
}

fn pod_name(component: Component, node_name: &str) -> String {
    format!("{}-{node_name}", component.name())
}

fn mirror_pod(node: &Node, component: Component) -> Pod {
    let node_name = node.metadata.name.clone().unwrap_or_default();
    let name = component.name();
    let container = Container {
        name: name.to_owned(),
        image: Some(IMAGE.to_owned()),
        image_pull_policy: Some("Never".to_owned()),
        command: Some(vec!["sampan".to_owned(), "start".to_owned()]),
        ..Container::default()
    };
    let spec = PodSpec {
        node_name: Some(node_name.clone()),
        host_network: Some(true),
        priority_class_name: Some("system-node-critical".to_owned()),
        containers: vec![container],
        tolerations: Some(vec![serde_json::from_value(json!({"operator": "Exists"})).unwrap_or_default()]),
        enable_service_links: Some(false),
        automount_service_account_token: Some(false),
        ..PodSpec::default()
    };
    let owner = OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Node".to_owned(),
        name: node_name.clone(),
        uid: node.metadata.uid.clone().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: None,
    };
    let metadata = ObjectMeta {
        name: Some(pod_name(component, &node_name)),
        namespace: Some(NAMESPACE.to_owned()),
        labels: Some(text_map(&[("component", name), ("tier", "control-plane")])),
        annotations: Some(annotations(component, &spec)),
        owner_references: Some(vec![owner]),
        ..ObjectMeta::default()
    };
    Pod { metadata, spec: Some(spec), status: None }
}

fn text_map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

fn annotations(component: Component, spec: &PodSpec) -> BTreeMap<String, String> {
    let digest = Sha256::digest(serde_json::to_vec(spec).unwrap_or_default());
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let mut annotations = text_map(&[
        ("kubernetes.io/config.hash", &hash),
        ("kubernetes.io/config.mirror", &hash),
        ("kubernetes.io/config.source", "file"),
        ("kubernetes.io/config.seen", &Timestamp::now().to_string()),
    ]);
    if component == Component::Store {
        annotations.insert("sampan.io/engine".to_owned(), "sqlite".to_owned());
    }
    annotations
}

fn mirror_status(
    context: &Context,
    component: Component,
    health: &ComponentHealth,
    before: Option<&PodStatus>,
    began: Timestamp,
) -> PodStatus {
    let ready = health.state == State::Ready;
    let old = before.and_then(|b| b.container_statuses.as_ref()?.first());
    let running_since = old
        .filter(|old| old.restart_count == i32::try_from(health.restarts).unwrap_or(0))
        .and_then(|old| old.state.as_ref()?.running.as_ref()?.started_at.clone())
        .filter(|at| at.0 >= began)
        .map_or_else(Timestamp::now, |at| at.0);
    let state = container_state(&health.state, running_since);
    let container = ContainerStatus {
        name: component.name().to_owned(),
        image: IMAGE.to_owned(),
        image_id: IMAGE.to_owned(),
        container_id: Some(format!("sampan://{}", component.name())),
        ready,
        started: Some(ready),
        restart_count: i32::try_from(health.restarts).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: old.and_then(|old| old.last_state.clone()),
        ..ContainerStatus::default()
    };
    let ips: Vec<String> = context.view().host_ips;
    let now = Timestamp::now();
    PodStatus {
        phase: Some("Running".to_owned()),
        conditions: Some(conditions(ready, component, before, now)),
        host_ip: ips.first().cloned(),
        host_ips: Some(ips.iter().map(|ip| HostIP { ip: ip.clone() }).collect()),
        pod_ip: ips.first().cloned(),
        pod_ips: Some(ips.into_iter().map(|ip| PodIP { ip }).collect()),
        start_time: before.and_then(|b| b.start_time.clone()).or(Some(Time(now))),
        container_statuses: Some(vec![container]),
        qos_class: Some("BestEffort".to_owned()),
        observed_generation: before.and_then(|b| b.observed_generation),
        ..PodStatus::default()
    }
}

fn container_state(state: &State, since: Timestamp) -> ContainerState {
    match state {
        State::Starting | State::Ready => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(since)) }),
            ..ContainerState::default()
        },
        State::Failed(why) => ContainerState {
            waiting: Some(ContainerStateWaiting {
                reason: Some("CrashLoopBackOff".to_owned()),
                message: Some(why.clone()),
            }),
            ..ContainerState::default()
        },
        State::Stopped => ContainerState {
            terminated: Some(ContainerStateTerminated {
                reason: Some("Completed".to_owned()),
                ..Default::default()
            }),
            ..ContainerState::default()
        },
    }
}

fn conditions(
    ready: bool,
    component: Component,
    before: Option<&PodStatus>,
    now: Timestamp,
) -> Vec<PodCondition> {
    let unready = || {
        let message = format!("containers with unready status: [{}]", component.name());
        (Some("ContainersNotReady".to_owned()), Some(message))
    };
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
        .into_iter()
        .map(|kind| {
            let on = ready || !matches!(kind, "Ready" | "ContainersReady");
            let (reason, message) = if on { (None, None) } else { unready() };
            let status = if on { "True" } else { "False" };
            let old = before.and_then(|b| b.conditions.as_ref()?.iter().find(|c| c.type_ == kind));
            let since =
                old.filter(|old| old.status == status).and_then(|old| old.last_transition_time.clone());
            PodCondition {
                type_: kind.to_owned(),
                status: status.to_owned(),
                reason,
                message,
                last_transition_time: Some(since.unwrap_or(Time(now))),
                ..PodCondition::default()
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_mirror_pod_that_keeps_being_deleted_comes_back_later_and_later() {
        let mut now = Timestamp::UNIX_EPOCH;
        let mut making = Making::default();
        let mut waited = Vec::new();
        for _ in 0..5 {
            let at = making.not_before(now).unwrap_or(now);
            waited.push(at.duration_since(now).as_secs());
            now = at;
            making.made(now);
        }
        assert_eq!(waited, [0, 0, 10, 20, 40]);
        now += jiff::SignedDuration::from_hours(1);
        assert_eq!(making.not_before(now), None);
        making.made(now);
        let again = making.not_before(now).unwrap();
        assert_eq!(again.duration_since(now).as_secs(), 10, "after an hour of peace it begins anew");
    }
}
