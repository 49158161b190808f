//! Who drives which pod: objects of this node in, runtime events in, one driver for each pod.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use parking_lot::Mutex;
use sampan_cri::{ContainerEvent, ContainerEventKind, ContainerState, ContainerStatus};
use sampan_process::Drain;
use sampan_reconcile::{Delta, Informer, Key};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use super::admission::{self, Refusal};
use super::driver::{self, Handle, Leftovers, Message};
use super::eviction::Eviction;
use super::machine::Event;
use super::recover::{Found, by_pod, recover};
use super::resize::Allocation;
use super::resize::checkpoint::Checkpoint;
use super::resize::ledger::{Ledger, Verdict};
use super::state::{PodState, full_name, terminal};
use super::waiting::Waiting;
use crate::context::Context;

/// Annotation of pods that only mirror something; they are not run.
pub const MIRROR: &str = "kubernetes.io/config.mirror";

/// All drivers, by pod uid.
#[derive(Clone, Default)]
pub struct Pods(Arc<Mutex<HashMap<String, Handle>>>);

impl Pods {
    /// The driver of a pod by namespace and name.
    pub fn named(&self, namespace: &str, name: &str) -> Option<Handle> {
        let is = |handle: &&Handle| {
            let state = handle.state.read();
            let meta = &state.pod.metadata;
            meta.namespace.as_deref() == Some(namespace) && meta.name.as_deref() == Some(name)
        };
        self.0.lock().values().find(is).cloned()
    }

    /// The driver of a pod by uid.
    pub fn get(&self, uid: &str) -> Option<Handle> {
        self.0.lock().get(uid).cloned()
    }

    /// All states.
    pub fn states(&self) -> Vec<PodState> {
        self.0.lock().values().map(|handle| handle.state.read().clone()).collect()
    }
}

pub(super) fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

fn mirror(pod: &Pod) -> bool {
    pod.metadata.annotations.as_ref().is_some_and(|a| a.contains_key(MIRROR))
}

/// Whether a kubelet has taken the pod before.
fn taken(pod: &Pod) -> bool {
    pod.status.as_ref().is_some_and(|status| status.start_time.is_some())
}

struct Manager {
    context: Arc<Context>,
    pods: Pods,
    /// The objects of this node's pods.
    informer: Informer<Pod>,
    /// The node's own object.
    nodes: Informer<Node>,
    found: HashMap<String, Found>,
    done: UnboundedSender<String>,
    /// What is allocated to which pod.
    ledger: Ledger,
    /// Pods that have been deleted, until the informer has seen it.
    ended: HashSet<String>,
    /// Critical pods for which others are ended.
    waiting: Waiting,
}

/// Runs all pods of the node until the drain.
pub async fn run(
    context: Arc<Context>,
    pods: Pods,
    informer: Informer<Pod>,
    nodes: Informer<Node>,
    drain: Drain,
) -> Result<(), String> {
    // before the lists, so that no exit falls between
    let mut events = context.runtime.events();
    let sandboxes = context.runtime.list_pod_sandboxes().await.map_err(|e| e.to_string())?;
    let containers = context.runtime.list_containers().await.map_err(|e| e.to_string())?;
    let (done, mut finished) = unbounded_channel();
    let mut manager = Manager {
        context,
        pods,
        informer: informer.clone(),
        nodes,
        found: by_pod(sandboxes, containers),
        done,
        ledger: Ledger::default(),
        ended: HashSet::new(),
        waiting: Waiting::default(),
    };
    let mut deltas = informer.subscribe();
    tokio::join!(informer.synced(), manager.nodes.synced());
    // before any driver asks for an address
    let known = informer.list().iter().filter(|pod| !mirror(pod)).map(|pod| uid(pod)).collect();
    if let Err(error) = manager.context.network.recover(known).await {
        tracing::warn!(error, "pod network not recovered");
    }
    while let Some(delta) = deltas.try_next() {
        manager.object(delta).await;
    }
    manager.clean_up_orphans().await;
    loop {
        // after whatever has happened: any of it may have made room
        manager.judge_resizes();
        tokio::select! {
            () = drain.wait() => return Ok(()),
            delta = deltas.next() => match delta {
                Some(delta) => manager.object(delta).await,
                None => return Ok(()),
            },
            Some(uid) = finished.recv() => manager.finished(uid),
            event = events.recv() => match event {
                Ok(event) => manager.runtime(event),
                Err(RecvError::Lagged(_)) => manager.catch_up().await,
                Err(RecvError::Closed) => return Err("the runtime's events have ended".to_owned()),
            },
        }
    }
}

impl Manager {
    async fn object(&mut self, delta: Delta<Pod>) {
        let replaced = |old: &Arc<Pod>| delta.new.as_ref().is_none_or(|new| uid(new) != uid(old));
        if let Some(old) = delta.old.as_ref().filter(|old| replaced(old))
            && let Some(handle) = self.pods.get(&uid(old))
        {
            handle.tell(Event::Removed);
        }
        if let Some(old) = delta.old.as_ref().filter(|old| replaced(old)) {
            self.ended.remove(&uid(old));
            self.ledger.forget(&uid(old));
            self.waiting.forget(&uid(old));
        }
        let changed = delta.old.as_ref().zip(delta.new.as_ref()).is_some_and(|(old, new)| {
            uid(old) == uid(new) && old.metadata.generation != new.metadata.generation
        });
        if let Some(pod) = delta.new.filter(|pod| !mirror(pod) && !self.ended.contains(&uid(pod))) {
            match self.pods.get(&uid(&pod)) {
                Some(handle) => {
                    if changed {
                        self.ledger.changed(&pod);
                    }
                    handle.tell(Event::Spec(pod));
                }
                None if self.waiting.update(&pod) => {}
                None => self.adopt(pod).await,
            }
        }
        self.take_who_has_room();
    }

    async fn adopt(&mut self, pod: Arc<Pod>) {
        let verdict = if self.is_known(&pod) { admission::Verdict::Admitted } else { self.judge(&pod).await };
        match verdict {
            admission::Verdict::Admitted => self.take(pod, None),
            admission::Verdict::Refused(refusal) => self.take(pod, Some(refusal)),
            admission::Verdict::After(victims) => self.make_room(pod, &victims),
        }
    }

    /// Ends pods so that a critical one has room, and has that room be its own (upstream's `evictPodsToFreeRequests`).
    fn make_room(&mut self, pod: Arc<Pod>, victims: &[Arc<Pod>]) {
        self.ledger.take(&pod, Arc::new(Allocation::of(&pod)));
        for victim in victims.iter().filter(|victim| !self.waiting.awaits(&uid(victim))) {
            tracing::info!(
                victim = full_name(victim),
                pod = full_name(&pod),
                "preempting for a critical pod"
            );
            // one without a driver is told when it gets one
            if let Some(handle) = self.pods.get(&uid(victim)) {
                handle.tell(Event::Evicted(preempted()));
            }
        }
        for given_up in self.waiting.add(pod, victims) {
            self.take(given_up, None);
        }
    }

    /// Takes the critical pods for which all have ended that had to.
    fn take_who_has_room(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        let alive = self.informer.list().iter().filter(|pod| !terminal(pod)).map(|pod| uid(pod)).collect();
        for pod in self.waiting.ready(&alive) {
            self.take(pod, None);
        }
    }

    fn take(&mut self, pod: Arc<Pod>, refused: Option<Refusal>) {
        let uid = uid(&pod);
        let now = Timestamp::now();
        let checkpoint = Checkpoint::read(&self.context.dirs.pod(&pod).resources());
        // a pod that waited for room has what it was judged by
        let checkpoint = checkpoint.or_else(|| {
            let allocation = self.ledger.allocation(&uid)?.clone();
            Some(Checkpoint { allocation, ..Checkpoint::default() })
        });
        let found = self.found.remove(&uid);
        let (state, leftovers) = recover(pod.clone(), &found.unwrap_or_default(), checkpoint, now);
        // what is not run takes nobody's room
        if refused.is_none() {
            self.ledger.take(&pod, state.resize.allocation.clone());
        }
        let goes = self.waiting.awaits(&uid);
        let first = if goes { Event::Evicted(preempted()) } else { Event::Tick };
        self.spawn(uid, PodState { refused, ..state }, leftovers, first);
    }

    /// Looks again whether there is room for the resizes that wait.
    fn judge_resizes(&mut self) {
        if !self.ledger.is_waiting() {
            return;
        }
        let mut pods = self.informer.list();
        pods.retain(|pod| !mirror(pod));
        for (uid, verdict) in self.ledger.judge(&pods, &self.context.machine.allocatable()) {
            let event = match verdict {
                Verdict::Allocated(allocation) => Event::Allocated(allocation),
                Verdict::Refused(refusal) => Event::ResizeRefused(refusal),
            };
            if let Some(handle) = self.pods.get(&uid) {
                handle.tell(event);
            }
        }
    }

    /// Whether a pod that the kubelet has not taken yet can be on the node, beside those that it has.
    async fn judge(&self, pod: &Arc<Pod>) -> admission::Verdict {
        if let Some(refusal) = admission::refused(pod) {
            return admission::Verdict::Refused(refusal);
        }
        let (leaving, staying): (Vec<_>, Vec<_>) =
            self.there(pod).into_iter().partition(|other| self.waiting.awaits(&uid(other)));
        let Some(node) = self.nodes.get(&Key::cluster(&self.context.node_name)) else {
            return admission::Verdict::Admitted;
        };
        let verdict = admission::judge(pod, &staying, &leaving, &node);
        if !matches!(&verdict, admission::Verdict::Refused(refusal) if admission::is_of_node(refusal)) {
            return verdict;
        }
        // whoever placed the pod may have seen labels that have not come here yet
        let nodes: Api<Node> = Api::all(self.context.client.clone());
        match nodes.get_opt(&self.context.node_name).await {
            Ok(Some(node)) => admission::judge(pod, &staying, &leaving, &node),
            _ => verdict,
        }
    }

    /// The pods that a new one has to be beside, with what they were allocated. What was deleted by force is in nobody's
    /// way, though it may take a moment to end.
    fn there(&self, pod: &Pod) -> Vec<Arc<Pod>> {
        let mut all = self.informer.list();
        all.retain(|other| uid(other) != uid(pod) && !terminal(other) && !self.ended.contains(&uid(other)));
        let there = all.iter().filter_map(|other| {
            let has_room = mirror(other) || self.is_known(other);
            self.ledger.applied(other).or_else(|| has_room.then(|| other.clone()))
        });
        there.collect()
    }

    /// Whether the pod is on the node already, by whatever kubelet's doing.
    fn is_known(&self, pod: &Pod) -> bool {
        self.found.contains_key(&uid(pod)) || taken(pod)
    }

    fn spawn(&self, uid: String, state: PodState, leftovers: Leftovers, first: Event) {
        let handle = driver::spawn(self.context.clone(), state, leftovers, first, self.done.clone());
        self.pods.0.lock().insert(uid, handle);
    }

    /// A driver has ended; news of its pod that were under way must not wake it up again.
    fn finished(&mut self, gone: String) {
        self.pods.0.lock().remove(&gone);
        self.ledger.forget(&gone);
        if self.informer.list().iter().any(|pod| uid(pod) == gone) {
            self.ended.insert(gone);
        }
    }

    fn runtime(&self, event: ContainerEvent) {
        if let Some(handle) = self.pods.get(&event.pod.uid) {
            let _ = handle.mailbox.send(Message::Runtime(event));
        }
    }

    /// Events were missed: whatever does not run any more is reported as stopped.
    async fn catch_up(&self) {
        let Ok(containers) = self.context.runtime.list_containers().await else { return };
        for container in containers.into_iter().filter(|c| matches!(c.state, ContainerState::Exited(_))) {
            self.runtime(stopped(container));
        }
    }

    /// Pods that were deleted while nobody looked.
    async fn clean_up_orphans(&mut self) {
        for (uid, found) in std::mem::take(&mut self.found) {
            for sandbox in found.sandboxes {
                let _ = self.context.runtime.stop_pod_sandbox(&sandbox.id).await;
                if let Err(error) = self.context.runtime.remove_pod_sandbox(&sandbox.id).await {
                    tracing::warn!(uid, %error, "orphaned sandbox not removed");
                }
                let pod = &sandbox.pod;
                let dirs = self.context.dirs.pod_named(&pod.namespace, &pod.name, &pod.uid);
                crate::volume::tear_down(dirs.clone(), &crate::volume::Holdings::default()).await;
                crate::volume::remove_all(dirs).await;
            }
        }
    }
}

/// Upstream's words of `pkg/kubelet/preemption`.
fn preempted() -> Eviction {
    Eviction {
        reason: "Preempting",
        message: "Preempted in order to admit critical pod".to_owned(),
        grace: None,
        disruption: Some("Pod was preempted by Kubelet to accommodate a critical pod."),
    }
}

fn stopped(container: ContainerStatus) -> ContainerEvent {
    ContainerEvent {
        container_id: container.id,
        sandbox_id: container.sandbox_id,
        pod: container.pod,
        kind: ContainerEventKind::Stopped,
    }
}
