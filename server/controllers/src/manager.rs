//! Starts all controllers and watches over them.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::core::v1::ReplicationController;
use sampan_process::{Component, ComponentHealth, Drain, Health, State, Tasks};
use sampan_reconcile::{Controller, Informers};
use tokio::task::JoinHandle;

use crate::autoscaler::Autoscalers;
use crate::bootstrap_tokens::{BootstrapSigner, TokenCleaner, tokens as bootstrap_tokens};
use crate::certificates::{Approver, Certificates, Cleaner, Signer};
use crate::cluster_role_aggregation::ClusterRoleAggregation;
use crate::context::Context;
use crate::cronjob::CronJobs;
use crate::daemonset::DaemonSets;
use crate::deployment::Deployments;
use crate::disruption::Disruption;
use crate::endpoints::{LegacyEndpoints, Mirroring, Slices};
use crate::event_ttl::EventTtl;
use crate::gc::GarbageCollector;
use crate::job::Jobs;
use crate::namespace::Namespaces;
use crate::namespace_defaults::{DefaultServiceAccount, NamespaceDefaults, RootCa};
use crate::node::{NodeLifecycle, NodeTtl, TaintEviction};
use crate::pod_gc::PodGc;
use crate::quota::ResourceQuotas;
use crate::replicaset::ReplicaSets;
use crate::resource_claims::ResourceClaims;
use crate::service_account_tokens::{LegacyTokenCleaner, ServiceAccountTokens};
use crate::service_cidr::ServiceCidrs;
use crate::statefulset::StatefulSets;
use crate::storage_versions::StorageVersions;
use crate::volumes::{Binder, ClaimProtection, EphemeralVolumes, Expansion, VolumeProtection};

/// What the controllers are given.
pub struct Config {
    /// Acts as `system:kube-controller-manager`.
    pub client: kube::Client,
    /// The process's informers.
    pub informers: Informers,
    /// The certificate authority that every namespace publishes, as PEM text.
    pub root_ca_pem: String,
    /// The certificate authority that answers certificate requests; without one nobody does.
    pub certificates: Option<Arc<dyn Certificates>>,
    /// Where readiness is reported.
    pub health: Health,
    /// Whose readiness the garbage collector waits for: it reads every object there is, which would hold up a
    /// start. `None`: it begins at once.
    pub collect_after: Option<Component>,
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
        self.start_shared(Arc::new(controller));
    }

    fn start_shared<C: Controller>(&self, controller: Arc<C>) {
        let (name, drain) = (controller.name(), self.drain.clone());
        let run = sampan_reconcile::run(controller, drain);
        self.handles.push(self.tasks.spawn(name, async move {
            run.await;
            name
        }));
    }
}

/// Returns once `component` is ready.
async fn ready(health: &Health, component: Component) {
    let is_ready = |all: &BTreeMap<Component, ComponentHealth>| {
        all.get(&component).is_some_and(|health| health.state == State::Ready)
    };
    // the other end lives as long as `health`
    let _ = health.watch().wait_for(is_ready).await;
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

    fn start_collector(&self, running: &Running<'_>, context: &Context) {
        let Some(component) = self.config.collect_after else {
            return running.start_shared(GarbageCollector::new(context));
        };
        let (context, health, drain) = (context.clone(), self.config.health.clone(), running.drain.clone());
        let name = "garbage-collector-controller";
        running.handles.push(self.tasks.spawn(name, async move {
            tokio::select! {
                biased;
                () = ready(&health, component) => {}
                () = drain.wait() => return name,
            }
            sampan_reconcile::run(GarbageCollector::new(&context), drain).await;
            name
        }));
    }

    /// The list.
    fn start(&self, running: &Running<'_>, context: &Context) {
        running.start(Namespaces::new(context));
        running.start(NamespaceDefaults::new(context, DefaultServiceAccount));
        running.start(NamespaceDefaults::new(context, RootCa(self.config.root_ca_pem.clone())));
        let tokens = ServiceAccountTokens::new(context, self.config.root_ca_pem.clone());
        running.start(LegacyTokenCleaner::new(context, tokens.secrets()));
        running.start(tokens);
        let tokens = bootstrap_tokens(context);
        running.start(BootstrapSigner::new(context, tokens.clone()));
        running.start(TokenCleaner::new(context, tokens));
        self.start_collector(running, context);
        running.start(ReplicaSets::<ReplicaSet>::new(context));
        running.start(ReplicaSets::<ReplicationController>::new(context));
        running.start(Deployments::new(context));
        running.start(Disruption::new(context));
        running.start(Autoscalers::new(context));
        running.start(Slices::new(context));
        running.start(LegacyEndpoints::new(context));
        running.start(Mirroring::new(context));
        running.start(ClusterRoleAggregation::new(context));
        running.start(ServiceCidrs::new(context));
        running.start(NodeLifecycle::new(context));
        running.start(NodeTtl::new(context));
        running.start(TaintEviction::new(context));
        running.start(PodGc::new(context));
        running.start(ResourceQuotas::new(context));
        running.start(EventTtl::new(context));
        running.start(Jobs::new(context));
        running.start(CronJobs::new(context));
        running.start(DaemonSets::new(context));
        running.start(StatefulSets::new(context));
        running.start(Binder::new(context));
        running.start(ClaimProtection::new(context));
        running.start(VolumeProtection::new(context));
        running.start(Expansion::new(context));
        running.start(EphemeralVolumes::new(context));
        running.start(ResourceClaims::new(context));
        running.start(StorageVersions::new(context));
        if let Some(certificates) = &self.config.certificates {
            running.start(Approver::new(context, certificates.clone()));
            running.start(Signer::new(context, certificates.clone()));
            running.start(Cleaner::new(context, certificates.clone()));
        }
    }
}
