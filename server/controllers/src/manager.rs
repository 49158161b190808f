//! Starts all controllers and watches over them.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use sampan_process::{Component, Drain, Health, Tasks};
use sampan_reconcile::{Controller, Informers};
use tokio::task::JoinHandle;

use crate::context::Context;
use crate::cronjob::CronJobs;
use crate::daemonset::DaemonSets;
use crate::deployment::Deployments;
use crate::endpoints::{LegacyEndpoints, Slices};
use crate::event_ttl::EventTtl;
use crate::gc::GarbageCollector;
use crate::job::Jobs;
use crate::namespace::Namespaces;
use crate::namespace_defaults::{DefaultServiceAccount, NamespaceDefaults, RootCa};
use crate::node::{NodeLifecycle, TaintEviction};
use crate::pod_gc::PodGc;
use crate::replicaset::ReplicaSets;
use crate::statefulset::StatefulSets;

/// What the controllers are given.
pub struct Config {
    /// Acts as `system:kube-controller-manager`.
    pub client: kube::Client,
    /// The process's informers.
    pub informers: Informers,
    /// The certificate authority that every namespace publishes, as PEM text.
    pub root_ca_pem: String,
    /// Where readiness is reported.
    pub health: Health,
}

/// Why the controller manager ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A controller ended before the drain.
    #[error("controller {name} ended: {reason}")]
    Ended {
        /// The controller.
        name: &'static str,
        /// How it ended.
        reason: String,
    },
}

/// All controllers.
pub struct ControllerManager {
    config: Config,
    tasks: Tasks,
}

/// The controllers of one run.
struct Running<'a> {
    tasks: &'a Tasks,
    drain: Drain,
    handles: FuturesUnordered<JoinHandle<&'static str>>,
}

impl Running<'_> {
    fn start<C: Controller>(&self, controller: C) {
        let (name, drain) = (controller.name(), self.drain.clone());
        let run = sampan_reconcile::run(Arc::new(controller), drain);
        self.handles.push(self.tasks.spawn(name, async move {
            run.await;
            name
        }));
    }
}

impl ControllerManager {
    /// Controllers that spawn through `tasks`.
    pub fn new(config: Config, tasks: Tasks) -> Self {
        Self { config, tasks }
    }

    /// Runs all controllers until the drain. May be called again after a failure.
    pub async fn run(&self, drain: Drain) -> Result<(), Error> {
        let local = drain.child();
        let context =
            Context::new(self.config.client.clone(), self.config.informers.clone(), self.tasks.clone());
        let mut running =
            Running { tasks: &self.tasks, drain: local.clone(), handles: FuturesUnordered::new() };
        self.start(&running, &context);
        self.config.health.ready(Component::ControllerManager);
        let mut result = Ok(());
        while let Some(ended) = running.handles.next().await {
            if drain.started() || result.is_err() {
                continue;
            }
            let (name, reason) = match ended {
                Ok(name) => (name, "without being asked to".to_owned()),
                Err(panic) => ("unknown", panic.to_string()),
            };
            result = Err(Error::Ended { name, reason });
            local.start();
        }
        result
    }

    /// The list.
    fn start(&self, running: &Running<'_>, context: &Context) {
        running.start(Namespaces::new(context));
        running.start(NamespaceDefaults::new(context, DefaultServiceAccount));
        running.start(NamespaceDefaults::new(context, RootCa(self.config.root_ca_pem.clone())));
        running.start(GarbageCollector::new(context));
        running.start(ReplicaSets::<ReplicaSet>::new(context));
        running.start(ReplicaSets::<ReplicationController>::new(context));
        running.start(Deployments::new(context));
        running.start(Slices::new(context));
        running.start(LegacyEndpoints::new(context));
        running.start(NodeLifecycle::new(context));
        running.start(TaintEviction::new(context));
        running.start(PodGc::new(context));
        running.start(EventTtl::new(context));
        running.start(Jobs::new(context));
        running.start(CronJobs::new(context));
        running.start(DaemonSets::new(context));
        running.start(StatefulSets::new(context));
    }
}
