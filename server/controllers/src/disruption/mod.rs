//! Disruption: how many more pods of a PodDisruptionBudget may go (upstream's `disruption.go`).
//!
//! The API server's eviction spends what this controller grants: it takes one from `disruptionsAllowed` and notes
//! the pod in `disruptedPods`; here the number is made anew from what runs. A pod that was noted and lives on after
//! two minutes counts again, and so does one that still says DisruptionTarget.

mod owners;
mod plan;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{Patch, PatchParams, PostParams};
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Recorder, Sources, reference};
use serde_json::json;

use crate::context::{BY_NAMESPACE, Context};
use crate::pod_control::disruption_target;
use crate::words::{Map, matches, name, namespace, resource_version, uid};

use owners::Owners;
use plan::{Plan, stale};

/// A budget to count, or a pod whose condition may have become stale.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    Budget(Key),
    Pod(Key),
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Budget(key) => write!(f, "{key}"),
            Work::Pod(key) => write!(f, "pod {key}"),
        }
    }
}

/// Whether the budget covers pods with these labels: no selector covers none, an empty one all.
fn covers(budget: &PodDisruptionBudget, labels: Option<&Map>) -> bool {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.is_some_and(|selector| matches(selector, labels))
}

/// The controller.
pub(crate) struct Disruption {
    context: Context,
    budgets: Informer<PodDisruptionBudget>,
    owners: Owners,
    recorder: Recorder,
}

impl Disruption {
    pub fn new(context: &Context) -> Self {
        context
            .pods
            .add_index(BY_NAMESPACE, |pod| pod.metadata.namespace.clone().into_iter().collect::<Vec<_>>());
        Self {
            context: context.clone(),
            budgets: context.by_namespace(),
            owners: Owners::new(context),
            recorder: context.recorder("controllermanager"),
        }
    }

    /// The budgets that cover a pod, as it is or was.
    fn covering(&self, delta: &Delta<Pod>) -> Vec<Key> {
        let budgets = self.budgets.by_index(BY_NAMESPACE, delta.key.namespace());
        let covering = |budget: &Arc<PodDisruptionBudget>| {
            delta.states().any(|pod| covers(budget, pod.metadata.labels.as_ref()))
        };
        let mut keys: Vec<Key> = budgets
            .iter()
            .filter(|budget| covering(budget))
            .map(|budget| Key::namespaced(namespace(&budget.metadata), name(&budget.metadata)))
            .collect();
        keys.sort();
        keys
    }

    fn of_pod(&self, delta: &Delta<Pod>) -> Vec<Work> {
        let covering = self.covering(delta);
        if let (None, Some(pod), [first, _, ..]) = (&delta.old, &delta.new, covering.as_slice()) {
            let message = format!(
                "Pod {:?}/{:?} matches multiple PodDisruptionBudgets.  Chose {:?} arbitrarily.",
                delta.key.namespace(),
                delta.key.name,
                first.name
            );
            self.recorder.warning(&reference(&**pod), "MultiplePodDisruptionBudgets", message);
        }
        let mut work: Vec<Work> = covering.into_iter().map(Work::Budget).collect();
        if delta.new.as_ref().is_some_and(|pod| stale(pod, sampan_reconcile::now()).is_some()) {
            work.push(Work::Pod(delta.key.clone()));
        }
        work
    }

    async fn count(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(budget) = self.budgets.get(key) else { return Ok(None) };
        let mut pods = self.context.pods.by_index(BY_NAMESPACE, key.namespace());
        pods.retain(|pod| covers(&budget, pod.metadata.labels.as_ref()));
        let scale = match plan::needs_scale(&budget) {
            true => Some(self.owners.scale(&pods).await?),
            false => None,
        };
        let plan = plan::plan(&budget, &pods, scale, sampan_reconcile::now());
        let requeue = plan.requeue;
        self.act(&budget, plan).await?;
        Ok(requeue)
    }

    async fn act(&self, budget: &PodDisruptionBudget, plan: Plan) -> Result<(), Error> {
        for pod in &plan.not_deleted {
            // upstream names the namespace twice
            let place = namespace(&budget.metadata);
            let message = format!("Pod was expected by PDB {place}/{place} to be deleted but it wasn't");
            self.recorder.warning(&reference(&**pod), "NotDeleted", message);
        }
        if budget.status.as_ref() == Some(&plan.status) {
            return Ok(());
        }
        for (kind, reason, message) in plan.events {
            self.recorder.event(&reference(budget), kind, reason, message);
        }
        let mut object = budget.clone();
        object.status = Some(plan.status);
        let api = self.context.namespaced::<PodDisruptionBudget>(namespace(&budget.metadata));
        let written = api.replace_status(name(&budget.metadata), &PostParams::default(), &object).await?;
        self.budgets.reached(resource_version(&written.metadata)).await;
        Ok(())
    }

    /// Takes DisruptionTarget from a pod that was to be deleted and was not.
    async fn refresh(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(pod) = self.context.pods.get(key) else { return Ok(None) };
        match stale(&pod, sampan_reconcile::now()) {
            None => Ok(None),
            Some(wait) if !wait.is_zero() => Ok(Some(wait)),
            Some(_) => {
                let condition = disruption_target(&pod, None, sampan_reconcile::now());
                let body = json!({
                    "metadata": {"uid": uid(&pod.metadata), "resourceVersion": pod.metadata.resource_version},
                    "status": {"conditions": [condition]}});
                let api = self.context.namespaced::<Pod>(key.namespace());
                api.patch_status(&key.name, &PatchParams::default(), &Patch::Strategic(body)).await?;
                Ok(None)
            }
        }
    }
}

impl Controller for Disruption {
    type Key = Work;

    fn name(&self) -> &'static str {
        "disruption-controller"
    }

    fn queue(&self) -> &'static str {
        "disruption"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Work>) {
        sources.on(&self.budgets, |delta| vec![Work::Budget(delta.key.clone())]);
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| this.of_pod(delta));
        let budgets = self.budgets.clone();
        self.owners.sources(sources, move |place| {
            let budgets = budgets.by_index(BY_NAMESPACE, place);
            let scaled = budgets.iter().filter(|budget| plan::needs_scale(budget));
            scaled.map(|b| Work::Budget(Key::namespaced(place, name(&b.metadata)))).collect()
        });
    }

    async fn reconcile(&self, work: &Work) -> Result<Option<Duration>, Error> {
        match work {
            Work::Budget(key) => self.count(key).await,
            Work::Pod(key) => self.refresh(key).await,
        }
    }
}
