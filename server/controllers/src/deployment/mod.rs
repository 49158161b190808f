//! Deployment: rolls pods from one template to the next through ReplicaSets.
//!
//! ```text
//!  plan ──► create the new ReplicaSet ──► size the others ──► delete old revisions ──► status
//!   ▲                                                                                    │
//!   └──────── each ReplicaSet's status comes back as a delta ◄───────────────────────────┘
//! ```

mod plan;
mod status;
pub(crate) mod util;

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentStatus, ReplicaSet};
use kube::api::{Patch, PatchParams, PostParams};
use sampan_reconcile::{Controller, Error, Informer, Key, Recorder, Sources, reference};
use serde_json::json;

use crate::claim::{self, claim};
use crate::context::{BY_CONTROLLER, Context, candidates, index_by_owner, owner_keys, suitors};
use crate::pod_control::{delete_params, is_terminating, message_of};
use crate::words::{controller_of, matches, name, namespace, resource_version, selects_all, uid};
use plan::{Change, Plan, World, plan};
pub(crate) use util::resolve;
use util::{REVISION, equal_ignoring_hash, set_condition, spec};

/// The controller.
pub(crate) struct Deployments {
    context: Context,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    recorder: Recorder,
}

impl Deployments {
    pub fn new(context: &Context) -> Self {
        let sets = context.by_namespace::<ReplicaSet>();
        index_by_owner(&sets);
        Self {
            context: context.clone(),
            deployments: context.by_namespace(),
            sets,
            recorder: context.recorder("deployment-controller"),
        }
    }

    async fn claim(&self, d: &Deployment) -> Result<Vec<Arc<ReplicaSet>>, Error> {
        let ns = namespace(&d.metadata);
        let sorted = claim(&d.metadata, &spec(d).selector, candidates(&self.sets, uid(&d.metadata), ns));
        claim::settle(&self.context, d, &self.sets, sorted).await
    }

    async fn act(&self, d: &Deployment, plan: Plan) -> Result<(), Error> {
        let api = self.context.namespaced::<ReplicaSet>(namespace(&d.metadata));
        let mut version = 0;
        if let Some(change) = &plan.create {
            version = self.create(d, change).await?;
        }
        for change in &plan.update {
            let written = api.replace(name(&change.rs.metadata), &PostParams::default(), &change.rs).await?;
            version = version.max(resource_version(&written.metadata));
            self.say(d, change);
        }
        for rs in &plan.delete {
            match api.delete(name(&rs.metadata), &delete_params(&rs.metadata)).await {
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                result => drop(result?),
            }
        }
        self.sets.reached(version).await;
        let rv = self.annotate(d, plan.revision).await?;
        self.write_status(d, rv, plan.status).await
    }

    fn say(&self, d: &Deployment, change: &Change) {
        if let Some(message) = &change.event {
            self.recorder.normal(&reference(d), "ScalingReplicaSet", message.clone());
        }
    }

    async fn create(&self, d: &Deployment, change: &Change) -> Result<u64, Error> {
        let api = self.context.namespaced::<ReplicaSet>(namespace(&d.metadata));
        match api.create(&PostParams::default(), &change.rs).await {
            Ok(written) => {
                self.say(d, change);
                Ok(resource_version(&written.metadata))
            }
            Err(kube::Error::Api(refusal)) if refusal.is_already_exists() => {
                let live = api.get(name(&change.rs.metadata)).await?;
                let ours = controller_of(&live.metadata).is_some_and(|owner| owner.uid == uid(&d.metadata));
                let template = live.spec.as_ref().and_then(|spec| spec.template.as_ref());
                if ours && template.is_some_and(|template| equal_ignoring_hash(template, &spec(d).template)) {
                    return Ok(resource_version(&live.metadata));
                }
                let mut status = d.status.clone().unwrap_or_default();
                status.collision_count = Some(status.collision_count.unwrap_or(0) + 1);
                self.write_status(d, None, status).await?;
                Err(kube::Error::Api(refusal).into())
            }
            Err(error) if is_terminating(&error) => Err(error.into()),
            Err(error) => {
                let message = format!(
                    "Failed to create new replica set \"{}\": {}",
                    name(&change.rs.metadata),
                    message_of(&error)
                );
                self.recorder.warning(&reference(d), "ReplicaSetCreateError", message.clone());
                let mut status = d.status.clone().unwrap_or_default();
                let conditions = status.conditions.get_or_insert_default();
                let kind = ("Progressing", "False", "ReplicaSetCreateError");
                set_condition(conditions, kind, message, sampan_reconcile::now());
                self.write_status(d, None, status).await?;
                Err(error.into())
            }
        }
    }

    /// Writes the revision; returns the resourceVersion from then on.
    async fn annotate(&self, d: &Deployment, revision: Option<String>) -> Result<Option<String>, Error> {
        let Some(revision) = revision else { return Ok(None) };
        let api = self.context.namespaced::<Deployment>(namespace(&d.metadata));
        let body = json!({"metadata": {"annotations": {REVISION: revision}}});
        let written = api.patch(name(&d.metadata), &PatchParams::default(), &Patch::Merge(body)).await?;
        if written.metadata.generation != d.metadata.generation {
            // the spec has changed meanwhile: this status would claim to have seen it
            self.deployments.reached(resource_version(&written.metadata)).await;
            return Err(Error::Other("the deployment changed during the pass".to_owned()));
        }
        Ok(written.metadata.resource_version)
    }

    async fn write_status(
        &self,
        d: &Deployment,
        rv: Option<String>,
        status: DeploymentStatus,
    ) -> Result<(), Error> {
        if d.status.as_ref().is_some_and(|old| same_status(old, &status)) {
            return Ok(());
        }
        let mut object = d.clone();
        object.status = Some(status);
        if rv.is_some() {
            object.metadata.resource_version = rv;
        }
        let api = self.context.namespaced::<Deployment>(namespace(&d.metadata));
        let written = api.replace_status(name(&d.metadata), &PostParams::default(), &object).await?;
        self.deployments.reached(resource_version(&written.metadata)).await;
        Ok(())
    }
}

/// Zero and absent counts are the same news.
fn same_status(old: &DeploymentStatus, new: &DeploymentStatus) -> bool {
    let numbers = |s: &DeploymentStatus| {
        [
            s.replicas,
            s.updated_replicas,
            s.ready_replicas,
            s.available_replicas,
            s.unavailable_replicas,
            s.terminating_replicas,
            s.collision_count,
        ]
        .map(|count| count.unwrap_or(0))
    };
    let mut conditions = [old, new].map(|s| s.conditions.clone().unwrap_or_default());
    conditions.iter_mut().for_each(|list| list.sort_by(|a, b| a.type_.cmp(&b.type_)));
    numbers(old) == numbers(new)
        && old.observed_generation == new.observed_generation
        && conditions[0] == conditions[1]
}

impl Controller for Deployments {
    type Key = Key;

    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn queue(&self) -> &'static str {
        "deployment"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.deployments, |delta| vec![delta.key.clone()]);
        let this = self.clone();
        sources.on(&self.sets, move |delta| {
            let mut keys = owner_keys(delta, "Deployment");
            keys.extend(suitors(delta, &this.deployments, |d, labels| matches(&spec(d).selector, labels)));
            keys
        });
        let this = self.clone();
        // Recreate goes on when the last old pod is gone
        sources.on(&self.context.pods, move |delta| {
            let Some(pod) = delta.old.as_ref().filter(|_| delta.new.is_none()) else { return Vec::new() };
            let Some(owner) = controller_of(&pod.metadata).filter(|owner| owner.kind == "ReplicaSet") else {
                return Vec::new();
            };
            let rs = this.sets.get(&Key::namespaced(namespace(&pod.metadata), &owner.name));
            let deployment = rs.as_ref().and_then(|rs| controller_of(&rs.metadata));
            deployment.map(|d| Key::namespaced(namespace(&pod.metadata), &d.name)).into_iter().collect()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(d) = self.deployments.get(key) else { return Ok(None) };
        if selects_all(&spec(&d).selector) {
            let message = "This deployment is selecting all pods. A non-empty selector is required.";
            self.recorder.warning(&reference(&*d), "SelectingAll", message);
            return Ok(None);
        }
        let sets = self.claim(&d).await?;
        let pods =
            sets.iter().flat_map(|rs| self.context.pods.by_index(BY_CONTROLLER, uid(&rs.metadata))).collect();
        let world = World { deployment: d.clone(), sets, pods, now: sampan_reconcile::now() };
        let plan = plan(&world);
        let requeue = plan.requeue;
        self.act(&d, plan).await?;
        Ok(requeue)
    }
}
