//! The rim: deltas in, bindings, events and conditions out.
//!
//! One task owns the world and the queue. Everything that happens reaches it as an [`Input`]; API calls run beside
//! it and come back as inputs, too.

mod devices;
mod extenders;
mod nominate;
mod owners;
mod volumes;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::{ReplicaSet, StatefulSet};
use k8s_openapi::api::core::v1::{
    Namespace, Node, PersistentVolume, PersistentVolumeClaim, Pod, ReplicationController, Service,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::resource::v1::{DeviceClass, ResourceClaim, ResourceSlice};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Request};
use kube::{Api, Client, Resource as _};
use sampan_process::{Component, Drain, Health, Tasks};
use sampan_reconcile::{Deed, Delta, EventType, Informer, Informers, Key, SeriesRecorder, reference};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use crate::binding::Bindings;
use crate::config::{Configuration, Profile};
use crate::extenders::Extender;
use crate::hints;
use crate::metrics::{self, Outcome};
use crate::plan::{Decision, Planner};
use crate::pods::{DEFAULT_SCHEDULER, PodInfo};
use crate::queue::{Hope, Queue};
use crate::resources::pod_requests;
use crate::world::{World, is_finished};

use volumes::{class_changed, drivers_changed, forget_binding};

/// What the binary gives the scheduler.
pub struct Config {
    /// Acts as `system:kube-scheduler`.
    pub client: Client,
    /// The process's shared informers.
    pub informers: Informers,
    /// Where readiness is told.
    pub health: Health,
    /// Profiles, and how long to wait between attempts.
    pub configuration: Configuration,
}

/// The scheduler.
pub struct Scheduler {
    client: Client,
    informers: Informers,
    health: Health,
    configuration: Configuration,
    /// By the name of the scheduler, under which it speaks.
    recorders: BTreeMap<String, SeriesRecorder>,
    /// In the order in which they are asked.
    extenders: Vec<Arc<Extender>>,
}

/// API calls that may be under way before further pods wait for their answers.
const CALLS: usize = 256;

/// When a pod is asked whether it was bound, if the answer to its binding was lost.
const ASKED_AFTER: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// What the API said to a call.
enum Output {
    Bound(Arc<PodInfo>, String, Result<(), NotBound>),
    /// What was chosen for a pod is written.
    Prepared(Arc<PodInfo>, Result<BTreeMap<String, u64>, kube::Error>),
    /// Claims are given to the pod, or up to one for which this is why not.
    Granted(Arc<PodInfo>, Vec<ResourceClaim>, Option<String>),
    /// A pod that was to make room for another stays.
    Spared(Arc<PodInfo>, String),
    Told,
}

/// Why a pod was not bound.
#[derive(Debug, thiserror::Error)]
enum NotBound {
    /// By the API.
    #[error("binding rejected: {0}")]
    Api(#[from] kube::Error),
    /// By the extender that binds.
    #[error("{0}")]
    Extender(String),
}

enum Input {
    Pod(Delta<Pod>),
    Node(Delta<Node>),
    Namespace(Delta<Namespace>),
    Claim(Delta<PersistentVolumeClaim>),
    Volume(Delta<PersistentVolume>),
    Class(Delta<StorageClass>),
    Drivers(Delta<CSINode>),
    Service(Delta<Service>),
    ReplicaSet(Delta<ReplicaSet>),
    StatefulSet(Delta<StatefulSet>),
    ReplicationController(Delta<ReplicationController>),
    Budget(Delta<PodDisruptionBudget>),
    ResourceClaim(Delta<ResourceClaim>),
    Slice(Delta<ResourceSlice>),
    DeviceClass(Delta<DeviceClass>),
    Call(Output),
    Due,
    Drain,
}

/// What the one task owns.
struct State {
    profiles: BTreeMap<String, Arc<Profile>>,
    world: World,
    planner: Planner,
    queue: Queue,
    bindings: Bindings,
    /// Pods that wait outside of the queue for claims that are not there.
    held: BTreeMap<String, Arc<PodInfo>>,
    /// Pods that have a node and wait for their claims.
    grants: BTreeMap<String, devices::Granting>,
    calls: FuturesUnordered<BoxFuture<'static, Output>>,
    /// Answers that came while an extender was asked.
    late: VecDeque<Output>,
    tie: u64,
    /// Pods whose gates are closed.
    gated: BTreeSet<String>,
    /// Whether extenders are shown pods that are to make room, whole.
    shows_victims: bool,
}

impl Scheduler {
    /// Prepares the scheduler; its event recorder runs under `tasks`.
    pub fn new(config: Config, tasks: &Tasks) -> Self {
        let Config { client, informers, health, configuration } = config;
        let recorder = |name: &String| (name.clone(), SeriesRecorder::new(client.clone(), name, tasks));
        let recorders = configuration.profiles.keys().map(recorder).collect();
        let extenders = configuration.extenders.iter().map(|one| Arc::new(Extender::new(one))).collect();
        Self { client, informers, health, configuration, recorders, extenders }
    }

    /// Speaks for the scheduler of a pod.
    fn recorder(&self, pod: &PodInfo) -> &SeriesRecorder {
        // a pod is placed by a profile that there is
        #[allow(clippy::unwrap_used)]
        self.recorders.get(&pod.profile.name).or_else(|| self.recorders.values().next()).unwrap()
    }

    /// Tells why a pod has no node yet.
    fn say_failed(&self, pod: &PodInfo, why: impl Into<String>) {
        let deed = Deed { kind: EventType::Warning, reason: "FailedScheduling", action: "Scheduling" };
        self.recorder(pod).event(&reference(&*pod.pod), None, deed, why);
    }

    /// Schedules until the drain.
    pub async fn run(&self, drain: Drain) {
        let (pods, nodes) = (self.informers.of::<Pod>(), self.informers.of::<Node>());
        let namespaces = self.informers.of::<Namespace>();
        let (claims, volumes) =
            (self.informers.of::<PersistentVolumeClaim>(), self.informers.of::<PersistentVolume>());
        let classes = self.informers.of::<StorageClass>();
        let (services, sets) = (self.informers.of::<Service>(), self.informers.of::<ReplicaSet>());
        let (stateful, controllers) =
            (self.informers.of::<StatefulSet>(), self.informers.of::<ReplicationController>());
        let (budgets, drivers) = (self.informers.of::<PodDisruptionBudget>(), self.informers.of::<CSINode>());
        let (claims_of_devices, slices) =
            (self.informers.of::<ResourceClaim>(), self.informers.of::<ResourceSlice>());
        let device_classes = self.informers.of::<DeviceClass>();
        let mut inputs = futures::stream::select_all([
            pods.subscribe().into_stream().map(Input::Pod).boxed(),
            nodes.subscribe().into_stream().map(Input::Node).boxed(),
            namespaces.subscribe().into_stream().map(Input::Namespace).boxed(),
            claims.subscribe().into_stream().map(Input::Claim).boxed(),
            volumes.subscribe().into_stream().map(Input::Volume).boxed(),
            classes.subscribe().into_stream().map(Input::Class).boxed(),
            drivers.subscribe().into_stream().map(Input::Drivers).boxed(),
            services.subscribe().into_stream().map(Input::Service).boxed(),
            sets.subscribe().into_stream().map(Input::ReplicaSet).boxed(),
            stateful.subscribe().into_stream().map(Input::StatefulSet).boxed(),
            controllers.subscribe().into_stream().map(Input::ReplicationController).boxed(),
            budgets.subscribe().into_stream().map(Input::Budget).boxed(),
            claims_of_devices.subscribe().into_stream().map(Input::ResourceClaim).boxed(),
            slices.subscribe().into_stream().map(Input::Slice).boxed(),
            device_classes.subscribe().into_stream().map(Input::DeviceClass).boxed(),
        ]);
        tokio::select! {
            biased;
            () = drain.wait() => return,
            _ = async {
                tokio::join!(pods.synced(), nodes.synced(), namespaces.synced());
                tokio::join!(claims.synced(), volumes.synced(), classes.synced());
                tokio::join!(services.synced(), sets.synced(), stateful.synced());
                tokio::join!(controllers.synced(), budgets.synced(), drivers.synced());
                tokio::join!(claims_of_devices.synced(), slices.synced(), device_classes.synced());
            } => {}
        }
        self.health.ready(Component::Scheduler);
        tracing::info!("scheduling");
        let Configuration { profiles, back_off, back_off_max, .. } = &self.configuration;
        let mut state = State {
            profiles: profiles.clone(),
            world: World::default(),
            planner: Planner::default(),
            queue: Queue::new(*back_off, *back_off_max),
            bindings: Bindings::default(),
            held: BTreeMap::new(),
            grants: BTreeMap::new(),
            calls: FuturesUnordered::new(),
            late: VecDeque::new(),
            tie: 0,
            gated: BTreeSet::new(),
            shows_victims: self.extenders.iter().any(|extender| extender.shows_victims()),
        };
        loop {
            metrics::pending(state.queue.lengths(), state.held.len() + state.gated.len());
            let due = state.queue.advance(Instant::now()).into_iter().chain(state.bindings.deadline()).min();
            let input = tokio::select! {
                biased;
                () = drain.wait() => Input::Drain,
                Some(input) = inputs.next() => input,
                // taken only when nothing comes before it
                Some(output) = async { state.late.pop_front() } => Input::Call(output),
                Some(output) = state.calls.next() => Input::Call(output),
                () = std::future::ready(()), if state.queue.has_active() && state.calls.len() < CALLS => {
                    tokio::select! {
                        biased;
                        () = self.schedule_one(&mut state) => continue,
                        () = drain.wait() => Input::Drain,
                    }
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Input::Due,
            };
            match input {
                Input::Pod(delta) => pod_changed(&mut state, &delta),
                Input::Node(delta) => node_changed(&mut state, &delta),
                Input::Namespace(delta) => namespace_changed(&mut state, &delta),
                Input::Claim(delta) => self.claim_changed(&mut state, &delta),
                Input::Volume(delta) => self.volume_changed(&mut state, &delta),
                Input::Class(delta) => class_changed(&mut state, &delta),
                Input::Drivers(delta) => drivers_changed(&mut state, &delta),
                Input::Service(delta) => owners::service_changed(&mut state, &delta),
                Input::ReplicaSet(delta) => owners::controller_changed(&mut state, &delta),
                Input::StatefulSet(delta) => owners::controller_changed(&mut state, &delta),
                Input::ReplicationController(delta) => owners::controller_changed(&mut state, &delta),
                Input::Budget(delta) => owners::budget_changed(&mut state, &delta),
                Input::ResourceClaim(delta) => devices::claim_changed(&mut state, &delta),
                Input::Slice(delta) => devices::slice_changed(&mut state, &delta),
                Input::DeviceClass(delta) => devices::class_changed(&mut state, &delta),
                Input::Call(Output::Bound(pod, node, result)) => {
                    self.bound(&mut state, &pods, pod, &node, result);
                }
                Input::Call(Output::Prepared(pod, result)) => self.prepared(&mut state, &pod, result),
                Input::Call(Output::Granted(pod, claims, failed)) => {
                    self.granted(&mut state, pod, claims, failed);
                }
                Input::Due => self.expire(&mut state, Instant::now()),
                Input::Call(Output::Spared(victim, by)) => nominate::spared(&mut state, &victim, &by),
                Input::Call(Output::Told) => {}
                Input::Drain => break,
            }
        }
        while state.calls.next().await.is_some() {}
    }

    /// Decides for the next pod. Only an extender may be waited for.
    async fn schedule_one(&self, state: &mut State) {
        let Some(pod) = state.queue.pop() else { return };
        state.tie = state.tie.wrapping_add(1);
        let began = Instant::now();
        state.queue.tried(pod.key(), began);
        let asked: Vec<_> = self.extenders.iter().filter(|extender| extender.is_interested(&pod)).collect();
        let (decision, hope) = match asked.is_empty() {
            true => (state.planner.schedule(&pod, &mut state.world, state.tie), Hope::Hint),
            false => extenders::decide(state, &pod, &asked).await,
        };
        metrics::decided(began.elapsed());
        match decision {
            Decision::Bind { node, choice, grants } => {
                devices::reserve(state, &pod, grants);
                if !choice.is_empty() {
                    return self.prepare(state, pod, node, choice);
                }
                state.world.apply_pod(pod.clone(), &node);
                // after it has taken its room: that is not there for others
                nominate::forget(state, &pod.key());
                self.finish(state, pod, node);
            }
            Decision::Unschedulable { message, nomination, deallocate } => {
                deallocate.into_iter().for_each(|claim| self.deallocate(state, claim));
                self.unschedulable(state, pod, message, nomination, hope);
            }
            Decision::Failed { message } => self.failed(state, pod, message),
        }
    }

    /// Binds the pod when it has its claims.
    fn finish(&self, state: &mut State, pod: Arc<PodInfo>, node: String) {
        let call = self.grant(state, &pod);
        state.calls.push(call.unwrap_or_else(|| self.bind(pod, node)));
    }

    /// Binds the pod, by the extender that does so for it or through the API.
    fn bind(&self, pod: Arc<PodInfo>, node: String) -> BoxFuture<'static, Output> {
        let mut binders = self.extenders.iter().filter(|extender| extender.binds());
        let binder = binders.find(|extender| extender.is_interested(&pod)).cloned();
        let client = self.client.clone();
        Box::pin(async move {
            if let Some(binder) = binder {
                match binder.bind(&pod.pod, &node).await {
                    Ok(()) => return Output::Bound(pod, node, Ok(())),
                    Err(why) if binder.is_ignorable() => extenders::skipped(&binder, &pod, &why),
                    Err(why) => return Output::Bound(pod, node, Err(NotBound::Extender(why))),
                }
            }
            bind(client, pod, node).await
        })
    }

    fn bound(
        &self,
        state: &mut State,
        pods: &Informer<Pod>,
        pod: Arc<PodInfo>,
        node: &str,
        result: Result<(), NotBound>,
    ) {
        match result {
            Ok(()) => {
                tracing::info!(pod = pod.key(), node, "bound");
                let text = format!("Successfully assigned {} to {node}", pod.key());
                let deed = Deed { kind: EventType::Normal, reason: "Scheduled", action: "Binding" };
                self.recorder(&pod).event(&reference(&*pod.pod), None, deed, text);
                if let Some(tries) = state.queue.tries(&pod.key()) {
                    metrics::attempt(&pod, Outcome::Scheduled, Some(tries));
                    metrics::scheduled(tries);
                }
                state.queue.remove(&pod.key());
            }
            Err(NotBound::Api(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => {
                let name = pod.pod.metadata.name.as_deref().unwrap_or_default();
                let current = pods.get(&Key::namespaced(pod.namespace(), name));
                tracing::debug!(pod = pod.key(), node, %status, "not bound");
                reconsider(state, &pod, current, Instant::now());
            }
            Err(error) => {
                tracing::warn!(pod = pod.key(), node, %error, "binding refused");
                metrics::attempt(&pod, Outcome::Error, state.queue.tries(&pod.key()));
                self.say_failed(&pod, error.to_string());
                self.take_back(state, &pod);
                state.world.delete_pod(&pod.key());
                state.queue.failed(pod, Hope::Time, Instant::now());
            }
        }
    }
}

/// A pod that could not be bound because it is gone or not what it was. What came of it since was held back while its
/// binding was under way, so the `current` one is looked at.
fn reconsider(state: &mut State, tried: &PodInfo, current: Option<Arc<Pod>>, now: Instant) {
    let key = tried.key();
    state.world.delete_pod(&key);
    // the room it was thought to take
    state.queue.world_changed();
    let Some(pod) = current.filter(|pod| !is_finished(pod)) else { return state.queue.remove(&key) };
    let info = Arc::new(state.info(&pod));
    match node_of(&pod) {
        Some(node) => {
            state.world.apply_pod(info, node);
            state.queue.remove(&key);
        }
        None if !state.wants_a_node(&pod) => state.queue.remove(&key),
        None if pod.metadata.uid != tried.pod.metadata.uid => devices::enter(state, info),
        // the API knows more than we do yet: not at once
        None => state.queue.failed(info, Hope::Time, now),
    }
}

/// The scheduler that a pod names.
fn scheduler_of(pod: &Pod) -> &str {
    let name = pod.spec.as_ref().and_then(|spec| spec.scheduler_name.as_deref());
    name.unwrap_or(DEFAULT_SCHEDULER)
}

impl State {
    /// The pod, for the scheduler that it names; for upstream's defaults if that is not here.
    fn info(&self, pod: &Arc<Pod>) -> PodInfo {
        let profile = self.profiles.get(scheduler_of(pod)).cloned().unwrap_or_else(Profile::standard);
        match node_of(pod).is_some() && !self.shows_victims {
            true => PodInfo::placed(pod, profile),
            false => PodInfo::with(pod.clone(), profile),
        }
    }

    /// Whether a pod without a node is ours to place, now.
    fn wants_a_node(&self, pod: &Pod) -> bool {
        self.is_ours(pod) && !is_gated(pod)
    }

    /// Whether a pod without a node is ours to place, at some time.
    fn is_ours(&self, pod: &Pod) -> bool {
        let ours = self.profiles.contains_key(scheduler_of(pod)) && pod.spec.is_some();
        ours && pod.metadata.deletion_timestamp.is_none() && !is_finished(pod)
    }

    /// Notes whether a pod waits for its gates.
    fn count_gated(&mut self, key: &str, pod: Option<&Pod>) {
        if pod.is_some_and(|pod| is_gated(pod) && node_of(pod).is_none() && self.is_ours(pod)) {
            self.gated.insert(key.to_owned());
        } else if !self.gated.is_empty() {
            self.gated.remove(key);
        }
    }
}

fn is_gated(pod: &Pod) -> bool {
    let gates = pod.spec.as_ref().and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_some_and(|gates| !gates.is_empty())
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref().filter(|name| !name.is_empty())
}

fn pod_changed(state: &mut State, delta: &Delta<Pod>) {
    let key = format!("{}/{}", delta.key.namespace(), delta.key.name);
    state.count_gated(&key, delta.new.as_deref());
    let Some(pod) = delta.new.as_ref().filter(|pod| !is_finished(pod)) else {
        delta.old.iter().chain(&delta.new).for_each(|pod| nominate::left(state, pod));
        forget_binding(state, &key);
        devices::forget(state, &key);
        state.held.remove(&key);
        state.queue.remove(&key);
        nominate::forget(state, &key);
        let left = state.world.place_of(&key).map(str::to_owned);
        let there = left.as_ref().and_then(|node| state.world.node(node)?.pods.get(&key).cloned());
        state.world.delete_pod(&key);
        if let Some(node) = left {
            let (world, node, gone) = (&state.world, state.world.node(&node), there.map(hints::Gone::new));
            state.queue.world_changed_for(|pod| hints::pod_left(pod, node, gone.as_ref(), world));
        }
        return;
    };
    let info = Arc::new(state.info(pod));
    if node_of(pod).is_some() || !state.bindings.has(&info) {
        forget_binding(state, &key);
    }
    if node_of(pod).is_some() || !state.is_granted(&info) {
        devices::forget(state, &key);
    }
    match node_of(pod) {
        Some(node) => {
            // one that was placed here counts already, and its company was not told
            let old = delta.old.as_ref().filter(|old| node_of(old).is_some() && state.world.has_pod(&key));
            let came = old.is_none();
            let relabelled = old.filter(|_| labels_differ(delta));
            let relabelled = relabelled.map(|old| hints::Gone::new(Arc::new(state.info(old))));
            let shrunk = delta.old.as_ref().is_some_and(|old| pod_requests(old).exceeds(&info.requests));
            state.world.apply_pod(info.clone(), node);
            nominate::forget(state, &key);
            state.held.remove(&key);
            state.queue.remove(&key);
            if came || relabelled.is_some() {
                let (world, gone) = (&state.world, relabelled.as_ref());
                let was = |pod: &PodInfo| gone.is_some_and(|_| hints::pod_left(pod, None, gone, world));
                state.queue.world_changed_for(|pod| hints::pod_came(pod, &info, world) || was(pod));
            }
            if shrunk {
                let (world, node) = (&state.world, state.world.node(node));
                state.queue.world_changed_for(|pod| hints::pod_left(pod, node, None, world));
            }
        }
        None if state.world.has_pod(&key) => {} // assumed: its binding is under way
        None if !state.wants_a_node(pod) => {
            state.held.remove(&key);
            state.queue.remove(&key);
            nominate::forget(state, &key);
        }
        None => {
            nominate::follow(state, delta.old.as_deref(), &info);
            match spec_differs(delta) || state.held.contains_key(&key) {
                true => devices::enter(state, info),
                false => state.queue.refresh(&info),
            }
        }
    }
}

fn labels_differ(delta: &Delta<Pod>) -> bool {
    match (&delta.old, &delta.new) {
        (Some(old), Some(new)) => old.metadata.labels != new.metadata.labels,
        _ => true,
    }
}

fn spec_differs(delta: &Delta<Pod>) -> bool {
    match (&delta.old, &delta.new) {
        (Some(old), Some(new)) => old.spec != new.spec || old.metadata.labels != new.metadata.labels,
        _ => true,
    }
}

fn node_changed(state: &mut State, delta: &Delta<Node>) {
    let name = &delta.key.name;
    let Some(node) = &delta.new else {
        state.world.delete_node(name);
        let world = &state.world;
        return state.queue.world_changed_for(|pod| hints::node_left(pod, name, world));
    };
    state.world.apply_node(node.clone());
    if node_differs(delta) {
        let (world, node) = (&state.world, state.world.node(name));
        let old = delta.old.as_deref();
        state.queue.world_changed_for(|pod| hints::node_changed(pod, old, node, world));
    }
}

/// Whether a change of a node can matter to a pod: a heartbeat cannot.
fn node_differs(delta: &Delta<Node>) -> bool {
    let (Some(old), Some(new)) = (&delta.old, &delta.new) else { return true };
    let offers = |node: &Node| {
        let status = node.status.as_ref();
        status.map(|status| (status.allocatable.clone(), status.declared_features.clone()))
    };
    old.spec != new.spec || old.metadata.labels != new.metadata.labels || offers(old) != offers(new)
}

fn namespace_changed(state: &mut State, delta: &Delta<Namespace>) {
    let labels = delta.new.as_ref().map(|namespace| namespace.metadata.labels.clone().unwrap_or_default());
    match labels {
        Some(labels) => _ = state.world.namespaces.insert(delta.key.name.clone(), labels),
        None => _ = state.world.namespaces.remove(&delta.key.name),
    }
    let labels =
        |namespace: &Option<Arc<Namespace>>| namespace.as_ref().and_then(|n| n.metadata.labels.clone());
    if labels(&delta.old) != labels(&delta.new) {
        let world = &state.world;
        state.queue.world_changed_for(|pod| hints::namespace_changed(pod, world));
    }
}

fn api(client: Client, pod: &PodInfo) -> (Api<Pod>, String) {
    (Api::namespaced(client, pod.namespace()), pod.pod.metadata.name.clone().unwrap_or_default())
}

/// Changes a pod's status. What the pod is then comes by the watch: the answer is not read.
async fn patch_status(client: &Client, pod: &PodInfo, patch: Value) -> kube::Result<()> {
    let name = pod.pod.metadata.name.as_deref().unwrap_or_default();
    let request = Request::new(Pod::url_path(&(), Some(pod.namespace())));
    let patch = Patch::Strategic(patch);
    let request = request.patch_subresource("status", name, &PatchParams::default(), &patch);
    let request = request.map_err(kube::Error::BuildRequest)?;
    client.request::<IgnoredAny>(request).await.map(drop)
}

/// Deletes a pod, without reading what it was.
async fn delete(client: &Client, pod: &PodInfo) -> kube::Result<()> {
    let name = pod.pod.metadata.name.as_deref().unwrap_or_default();
    let request = Request::new(Pod::url_path(&(), Some(pod.namespace())));
    let request = request.delete(name, &DeleteParams::default()).map_err(kube::Error::BuildRequest)?;
    client.request::<IgnoredAny>(request).await.map(drop)
}

async fn bind(client: Client, pod: Arc<PodInfo>, node: String) -> Output {
    let (api, name) = api(client, &pod);
    let binding = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"name": name, "namespace": pod.namespace(), "uid": pod.pod.metadata.uid},
        "target": {"apiVersion": "v1", "kind": "Node", "name": node},
    });
    let result = api
        .create_subresource::<_, serde_json::Value>("binding", &name, &PostParams::default(), &binding)
        .await;
    let result = match result {
        Err(error) if is_unclear(&error) => ask_whether_bound(&api, &pod, &node, error).await,
        result => result.map(drop),
    };
    Output::Bound(pod, node, result.map_err(NotBound::Api))
}

/// Whether an error leaves open if the request was carried out.
fn is_unclear(error: &kube::Error) -> bool {
    !matches!(error, kube::Error::Api(status) if status.code < 500)
}

/// The pod itself says what became of a binding whose answer was lost: room that it has taken is not given away again.
async fn ask_whether_bound(
    api: &Api<Pod>,
    pod: &PodInfo,
    node: &str,
    error: kube::Error,
) -> Result<(), kube::Error> {
    let name = pod.pod.metadata.name.as_deref().unwrap_or_default();
    for pause in ASKED_AFTER {
        tokio::time::sleep(pause).await;
        match api.get(name).await {
            Ok(now) if now.metadata.uid == pod.pod.metadata.uid && node_of(&now) == Some(node) => {
                return Ok(());
            }
            Err(unclear) if is_unclear(&unclear) => {}
            Ok(_) | Err(_) => break,
        }
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(uid: &str, node: Option<&str>) -> Arc<Pod> {
        let object = json!({"metadata": {"name": "p", "namespace": "d", "uid": uid},
            "spec": {"containers": [], "nodeName": node}});
        Arc::new(serde_json::from_value(object).unwrap())
    }

    /// What becomes of a pod with uid 1 whose binding was refused: tried now, tried later, counted on a node.
    fn after(current: Option<Arc<Pod>>) -> (bool, bool, bool) {
        let calls = FuturesUnordered::new();
        let mut state = State {
            profiles: Configuration::default().profiles,
            world: World::default(),
            planner: Planner::default(),
            queue: Queue::default(),
            bindings: Bindings::default(),
            held: BTreeMap::new(),
            grants: BTreeMap::new(),
            calls,
            late: VecDeque::new(),
            tie: 0,
            gated: BTreeSet::new(),
            shows_victims: false,
        };
        let tried = Arc::new(PodInfo::new(pod("1", None)));
        state.world.apply_pod(tried.clone(), "n");
        let now = Instant::now();
        reconsider(&mut state, &tried, current, now);
        let later = state.queue.advance(now).is_some();
        (state.queue.has_active(), later, state.world.has_pod("d/p"))
    }

    #[test]
    fn a_pod_that_could_not_be_bound_is_looked_at_again() {
        assert_eq!(after(None), (false, false, false), "gone");
        assert_eq!(after(Some(pod("2", None))), (true, false, false), "made anew");
        assert_eq!(after(Some(pod("1", None))), (false, true, false), "still without a node");
        assert_eq!(after(Some(pod("1", Some("m")))), (false, false, true), "bound by somebody else");
    }
}
