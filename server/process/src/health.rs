//! Who is well: one report per component, watched by the mirror pods, `/readyz` and `sampan status`.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

/// A component of the cluster that the daemon runs. Addons come as [`Component::Addon`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// The store, shown under the name upstream gives its store.
    Store,
    /// The API server.
    ApiServer,
    /// The scheduler.
    Scheduler,
    /// The controller manager.
    ControllerManager,
    /// The kubelet; it has no mirror pod, as upstream's has none.
    Kubelet,
    /// The service proxy.
    Proxy,
    /// A native addon, by name.
    Addon(&'static str),
    /// The daemon itself: what belongs to no component.
    Daemon,
}

impl Component {
    /// Upstream's name for the component, as in kubeadm's static pods.
    pub fn name(self) -> &'static str {
        match self {
            Component::Store => "etcd",
            Component::ApiServer => "kube-apiserver",
            Component::Scheduler => "kube-scheduler",
            Component::ControllerManager => "kube-controller-manager",
            Component::Kubelet => "kubelet",
            Component::Proxy => "kube-proxy",
            Component::Addon(name) => name,
            Component::Daemon => "sampan",
        }
    }
}

/// Where a component is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Started, not yet able to serve.
    Starting,
    /// Serving.
    Ready,
    /// Ended with an error; it will be started again.
    Failed(String),
    /// Drained.
    Stopped,
}

/// What is known of one component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentHealth {
    /// Where it is in its life.
    pub state: State,
    /// How often it has failed and been started again since the daemon started.
    pub restarts: u32,
}

impl Default for ComponentHealth {
    fn default() -> Self {
        Self { state: State::Starting, restarts: 0 }
    }
}

type Report = BTreeMap<Component, ComponentHealth>;

/// The shared report. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(Arc<watch::Sender<Report>>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(watch::Sender::new(Report::new())))
    }
}

impl Health {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves a component to `state`; watchers wake only if that is news.
    pub fn set(&self, component: Component, state: State) {
        self.0.send_if_modified(|report| {
            let entry = report.entry(component).or_default();
            let changed = entry.state != state;
            entry.state = state;
            changed || report.len() == 1
        });
    }

    /// Shorthand for [`State::Ready`].
    pub fn ready(&self, component: Component) {
        self.set(component, State::Ready);
    }

    /// Records a failure and counts the restart that follows it.
    pub fn failed(&self, component: Component, reason: String) {
        self.0.send_modify(|report| {
            let entry = report.entry(component).or_default();
            entry.state = State::Failed(reason);
            entry.restarts += 1;
        });
    }

    /// One component's report; `Starting` if it has not said anything yet.
    pub fn get(&self, component: Component) -> ComponentHealth {
        self.0.borrow().get(&component).cloned().unwrap_or_default()
    }

    /// All reports, by component.
    pub fn all(&self) -> BTreeMap<Component, ComponentHealth> {
        self.0.borrow().clone()
    }

    /// A receiver that wakes at each change.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<Component, ComponentHealth>> {
        self.0.subscribe()
    }
}
