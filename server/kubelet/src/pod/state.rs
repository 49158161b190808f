//! What the machine knows of one pod. Plain values; no I/O.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use sampan_cri::User;

use super::admission::Refusal;
use super::backoff::Backoff;
use super::eviction::Eviction;
use super::resize::{Allocation, Notice, Resize, report};

/// Everything the machine knows of one pod.
#[derive(Clone, Debug)]
pub struct PodState {
    /// The object, as last seen, with the resources that are allocated to it in place of those that it asks for.
    pub pod: Arc<Pod>,
    /// The object, as last seen.
    pub desired: Arc<Pod>,
    /// Its resizes.
    pub resize: Resize,
    /// Where the pod is in its life.
    pub life: Life,
    /// Its sandbox.
    pub sandbox: Sandbox,
    /// How many sandboxes were made.
    pub sandbox_attempt: u32,
    /// Its volumes.
    pub volumes: Volumes,
    /// The cluster's root certificate was there for them.
    pub root_ca_found: bool,
    /// All containers: init, then main, then ephemeral, each in the order of the spec.
    pub slots: Vec<Slot>,
    /// All init containers are through; they do not run again in this sandbox.
    pub initialized: bool,
    /// When the kubelet took the pod (`status.startTime`).
    pub start_time: Timestamp,
    /// Why the kubelet itself ended the pod: reason and message (`DeadlineExceeded`, `Evicted`).
    pub failure: Option<(String, String)>,
    /// How it was ended if that was not its own doing.
    pub eviction: Option<Eviction>,
    /// Why there is no place for it beside the pods that were there when it came.
    pub refused: Option<Refusal>,
    /// The object in the API says the pod is over, from an earlier life of this process: its status is
    /// history and is not written again.
    pub frozen: bool,
    /// The object is gone from the API: nothing is left to write to.
    pub removed: bool,
    /// When to step again though nothing happens.
    pub wake: Option<Timestamp>,
}

/// Where a pod is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// Containers are started and restarted.
    Active,
    /// Containers are being stopped; at `deadline` by force.
    Terminating {
        /// When the grace period ends.
        deadline: Timestamp,
    },
    /// Sandbox, network and volumes are being released.
    TearingDown,
    /// Nothing is left but the record.
    Finished,
    /// The record is being removed, and the object with it.
    Deleting,
}

/// The pod's sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// Not made yet, or torn down.
    Absent,
    /// Being made.
    Creating,
    /// Containers can run in it.
    Ready {
        /// Its id.
        id: String,
        /// The pod's addresses.
        ips: Vec<IpAddr>,
    },
    /// Could not be made; tried again at the given time.
    Failed(Timestamp),
}

/// The pod's volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Volumes {
    /// Not set up.
    Absent,
    /// Being set up.
    Mounting,
    /// Usable.
    Ready,
    /// Could not be set up, so many times; tried again at the given time.
    Failed(Timestamp, u32),
}

/// Which list of the spec a container is in, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs to completion before the next one.
    Init,
    /// An init container with `restartPolicy: Always`.
    Sidecar,
    /// One of `spec.containers`.
    Main,
    /// Added by `kubectl debug`; never restarted.
    Ephemeral,
}

/// One container of the pod.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Which list it is in.
    pub kind: Kind,
    /// Its spec (an ephemeral container in the shape of a plain one).
    pub spec: Container,
    /// The container whose processes an ephemeral one wants to see.
    pub target: Option<String>,
    /// Where it is in its life.
    pub phase: Phase,
    /// Why it is not started right now.
    pub wait: Option<Wait>,
    /// How it ended before the present run.
    pub previous: Option<End>,
    /// The restart count.
    pub attempt: u32,
    /// What its present or last run was given: requests and limits.
    pub actuated: ResourceRequirements,
    /// Limits of the pod as a whole that hold for that run, where it has none of its own.
    pub shared: BTreeMap<String, Quantity>,
    /// It is being stopped to start anew with other resources, whatever the policy.
    pub again: bool,
    /// It was thrown away with all others of the pod to start anew, and has not run since.
    pub reset: bool,
    /// The run that was stopped to start anew, and the end before it: this is what shows until the next one runs.
    pub replaced: Option<(Run, Option<End>)>,
    /// Delays of its restarts.
    pub crashes: Backoff,
    /// Delays of its image's pulls.
    pub pulls: Backoff,
}

/// Where a container is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Never started.
    Idle,
    /// The driver pulls, creates and starts it.
    Starting,
    /// Running.
    Running(Run),
    /// Asked to stop.
    Stopping(Run),
    /// Ended.
    Exited(End),
}

/// A running container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The runtime's id.
    pub id: String,
    /// Name of the image, as resolved.
    pub image: String,
    /// Digest of the image.
    pub image_id: String,
    /// What it runs as at first.
    pub user: Option<User>,
    /// The image the spec asked for.
    pub wanted: String,
    /// When it was started.
    pub started_at: Timestamp,
    /// Its startup probe passed, or it has none.
    pub started: bool,
    /// Its readiness probe passes, or it has none.
    pub ready: bool,
}

/// A container that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The runtime's id.
    pub id: String,
    /// Name of the image, as resolved.
    pub image: String,
    /// Digest of the image.
    pub image_id: String,
    /// What it ran as at first.
    pub user: Option<User>,
    /// Exit status.
    pub exit_code: i32,
    /// `Completed`, `Error`, `OOMKilled` …
    pub reason: String,
    /// Termination message.
    pub message: String,
    /// When it was started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}

/// Why a container waits, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Such as `ImagePullBackOff`.
    pub reason: &'static str,
    /// The sentence beside it.
    pub message: String,
    /// When it is tried again.
    pub until: Timestamp,
    /// When a fresh `ErrImagePull` turns into `ImagePullBackOff`.
    pub escalates: Option<Timestamp>,
}

impl Slot {
    /// Takes a changed spec. Another image or other resources begin with no delays (upstream's `GetBackoffKey`).
    pub fn renew(&mut self, spec: Container) {
        let image = spec.image != self.spec.image;
        if image {
            (self.pulls, self.wait) = (Backoff::default(), None);
        }
        let given = |one: &Container| one.resources.clone().unwrap_or_default();
        if image || given(&spec) != given(&self.spec) {
            self.crashes.reset();
            self.wait = self.wait.take().filter(|wait| wait.reason != "CrashLoopBackOff");
        }
        self.spec = spec;
    }

    /// A container that has never run.
    pub fn new(kind: Kind, spec: Container, target: Option<String>) -> Self {
        Self {
            kind,
            spec,
            target,
            phase: Phase::Idle,
            wait: None,
            previous: None,
            attempt: 0,
            actuated: ResourceRequirements::default(),
            shared: BTreeMap::new(),
            again: false,
            reset: false,
            replaced: None,
            crashes: Backoff::default(),
            pulls: Backoff::default(),
        }
    }

    /// The run with this id, if it goes on.
    pub fn run(&self) -> Option<&Run> {
        match &self.phase {
            Phase::Running(run) | Phase::Stopping(run) => Some(run),
            _ => None,
        }
    }

    /// The run that shows: upstream's kubelet publishes nothing between the stop and the start of one and the same sync.
    pub fn shown(&self) -> Option<&Run> {
        self.run().or_else(|| Some(&self.between()?.0))
    }

    /// The run that was stopped, and the end before it, while the next one starts.
    pub fn between(&self) -> Option<&(Run, Option<End>)> {
        self.replaced.as_ref().filter(|_| self.phase == Phase::Starting && self.wait.is_none())
    }

    /// The end of the last run, if none goes on.
    pub fn end(&self) -> Option<&End> {
        match &self.phase {
            Phase::Exited(end) => Some(end),
            _ => None,
        }
    }

    /// Nothing of it runs, nor is about to.
    pub fn at_rest(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Exited(_))
    }

    /// Ended with status 0.
    pub fn succeeded(&self) -> bool {
        self.end().is_some_and(|end| end.exit_code == 0)
    }
}

impl PodState {
    /// A pod of which nothing runs, with what it asks for.
    #[cfg(test)]
    pub fn new(pod: Arc<Pod>, now: Timestamp) -> Self {
        let allocation = Arc::new(Allocation::of(&pod));
        Self::with(pod, allocation, now)
    }

    /// A pod of which nothing runs, with what is allocated to it.
    pub fn with(desired: Arc<Pod>, allocation: Arc<Allocation>, now: Timestamp) -> Self {
        let pod = allocation.applied(&desired);
        let notice = |kind| Notice::read(&desired, kind, now);
        let resize = Resize {
            pending: notice(report::PENDING).filter(|_| allocation.differs(&desired)),
            progress: notice(report::IN_PROGRESS),
            allocation,
            ..Resize::default()
        };
        let start_time = pod.status.as_ref().and_then(|s| s.start_time.as_ref()).map_or(now, |t| t.0);
        let frozen = terminal(&pod);
        let life = if frozen { Life::TearingDown } else { Life::Active };
        let mut state = Self {
            pod,
            desired,
            resize,
            life,
            sandbox: Sandbox::Absent,
            sandbox_attempt: 0,
            volumes: Volumes::Absent,
            root_ca_found: false,
            slots: Vec::new(),
            initialized: false,
            start_time,
            failure: None,
            eviction: None,
            refused: None,
            frozen,
            removed: false,
            wake: None,
        };
        state.slots = slots_of(&state.pod);
        state
    }

    /// The generation of the object that the status speaks of.
    pub fn observed_generation(&self) -> Option<i64> {
        self.resize.before.or(self.pod.metadata.generation)
    }

    /// The sandbox is of use: the volumes are there, or were when something ran in it.
    pub fn usable(&self) -> bool {
        self.volumes == Volumes::Ready || self.slots.iter().any(|slot| slot.phase != Phase::Idle)
    }

    /// `spec.restartPolicy`.
    pub fn restart_policy(&self) -> &str {
        self.pod.spec.as_ref().and_then(|s| s.restart_policy.as_deref()).unwrap_or("Always")
    }

    /// The slot of this name.
    pub fn slot(&self, name: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| slot.spec.name == name)
    }

    /// The slot of this name.
    pub fn slot_mut(&mut self, name: &str) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.spec.name == name)
    }
}

/// `name_namespace(uid)`, upstream's `format.Pod`.
pub fn full_name(pod: &Pod) -> String {
    let meta = &pod.metadata;
    format!(
        "{}_{}({})",
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default()
    )
}

/// Whether the object says that the pod is over.
pub fn terminal(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|s| s.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// The pod's containers as the spec lists them.
pub fn slots_of(pod: &Pod) -> Vec<Slot> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let init = spec.init_containers.iter().flatten().map(|c| {
        let sidecar = c.restart_policy.as_deref() == Some("Always");
        Slot::new(if sidecar { Kind::Sidecar } else { Kind::Init }, c.clone(), None)
    });
    let main = spec.containers.iter().map(|c| Slot::new(Kind::Main, c.clone(), None));
    let ephemeral = spec.ephemeral_containers.iter().flatten().filter_map(|e| {
        // the two types have the same fields but for the target
        let mut value = serde_json::to_value(e).ok()?;
        let target = value.as_object_mut()?.remove("targetContainerName");
        let target = target.and_then(|t| t.as_str().map(str::to_owned));
        Some(Slot::new(Kind::Ephemeral, serde_json::from_value(value).ok()?, target))
    });
    init.chain(main).chain(ephemeral).collect()
}
