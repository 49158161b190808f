//! Who is well: one report per component, watched by the mirror pods, `/readyz` and `sampan status`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
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
    /// The kubelets of simulated nodes; they have no mirror pod either.
    Simulator,
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
            Component::Simulator => "simulator",
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

#[derive(Debug)]
struct Shared {
    report: watch::Sender<Report>,
    removed: Mutex<BTreeSet<Component>>,
}

/// The shared report. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Health(Arc<Shared>);

impl Default for Health {
    fn default() -> Self {
        Self(Arc::new(Shared { report: watch::Sender::new(Report::new()), removed: Mutex::default() }))
    }
}

impl Health {
    /// An empty report.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves a component to `state`; watchers wake only if that is news.
    pub fn set(&self, component: Component, state: State) {
        self.0.removed.lock().remove(&component);
        self.0.report.send_if_modified(|report| {
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
        self.0.removed.lock().remove(&component);
        self.0.report.send_modify(|report| {
            let entry = report.entry(component).or_default();
            entry.state = State::Failed(reason);
            entry.restarts += 1;
        });
    }

    /// Takes a component out of the report: it is not to run at all. Watchers wake, also if it was never in it: what an
    /// earlier process showed of it has to go.
    pub fn remove(&self, component: Component) {
        if self.0.removed.lock().insert(component) {
            self.0.report.send_modify(|report| drop(report.remove(&component)));
        }
    }

    /// The components that were taken out and have not come back.
    pub fn removed(&self) -> BTreeSet<Component> {
        self.0.removed.lock().clone()
    }

    /// One component's report; `Starting` if it has not said anything yet.
    pub fn get(&self, component: Component) -> ComponentHealth {
        self.0.report.borrow().get(&component).cloned().unwrap_or_default()
    }

    /// All reports, by component.
    pub fn all(&self) -> BTreeMap<Component, ComponentHealth> {
        self.0.report.borrow().clone()
    }

    /// A receiver that wakes at each change.
    pub fn watch(&self) -> watch::Receiver<BTreeMap<Component, ComponentHealth>> {
        self.0.report.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_removed_leaves_the_report_until_it_says_something_again() {
        let health = Health::new();
        let addon = Component::Addon("dns");
        let mut watch = health.watch();
        health.ready(addon);
        assert!(watch.has_changed().is_ok_and(|changed| changed));
        watch.mark_unchanged();
        health.remove(addon);
        assert!(watch.has_changed().is_ok_and(|changed| changed) && health.all().is_empty());
        assert_eq!(health.removed(), BTreeSet::from([addon]));
        watch.mark_unchanged();
        health.remove(addon);
        assert!(watch.has_changed().is_ok_and(|changed| !changed), "no news");
        health.ready(addon);
        assert!(health.removed().is_empty() && health.all().contains_key(&addon));
    }
}
