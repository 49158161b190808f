//! Claims for devices: made for pods from templates, reserved for pods that were scheduled without, and given back when nobody
//! uses them any more (upstream's `pkg/controller/resourceclaim`).

mod claim;
mod pod;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{ResourceClaim, ResourceClaimTemplate};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Object, Recorder, Sources, reference};
use serde_json::json;

use crate::context::{BY_CONTROLLER, Context, index_by_owner};
use crate::words::{name, namespace, resource_version, uid};

/// Index of pods by the claims that they use, as `namespace/name`.
const BY_RESOURCE_CLAIM: &str = "resource-claim";
/// Index of pods by the templates that their claims are made from, as `namespace/name`.
const BY_TEMPLATE: &str = "resource-claim-template";
/// Who writes the names of claims into the status of pods.
const MANAGER: &str = "ResourceClaimController";

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Pod(Key),
    Claim(Key),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => write!(f, "pod:{key}"),
            Self::Claim(key) => write!(f, "claim:{key}"),
        }
    }
}

/// The controller.
pub(crate) struct ResourceClaims {
    context: Context,
    claims: Informer<ResourceClaim>,
    templates: Informer<ResourceClaimTemplate>,
    recorder: Recorder,
}

fn templates_of(pod: &Pod) -> impl Iterator<Item = Key> {
    let claims = pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten());
    let names = claims.filter_map(|claim| claim.resource_claim_template_name.as_deref());
    names.map(|name| Key::namespaced(namespace(&pod.metadata), name))
}

impl ResourceClaims {
    pub fn new(context: &Context) -> Self {
        let claims: Informer<ResourceClaim> = context.informers.of();
        index_by_owner(&claims);
        context.pods.add_index(BY_RESOURCE_CLAIM, |pod| pod::keys(pod).map(|key| key.to_string()).collect());
        context.pods.add_index(BY_TEMPLATE, |pod| templates_of(pod).map(|key| key.to_string()).collect());
        let recorder = context.recorder("resource_claim");
        Self { context: context.clone(), claims, templates: context.informers.of(), recorder }
    }

    /// What a change of a pod asks for.
    fn of_pod(&self, delta: &Delta<Pod>) -> Vec<Subject> {
        let Some(pod) = delta.latest().filter(|pod| pod::has_claims(pod)) else { return Vec::new() };
        let over = delta.new.as_ref().is_none_or(|pod| claim::is_done(pod));
        let used = pod::keys(pod).filter(|_| over).map(Subject::Claim);
        let open = delta.new.iter().filter(|pod| self.needs_work(pod));
        used.chain(open.map(|_| Subject::Pod(delta.key.clone()))).collect()
    }

    fn needs_work(&self, pod: &Pod) -> bool {
        pod::needs_work(pod, |name| self.claims.get(&Key::namespaced(namespace(&pod.metadata), name)))
    }

    async fn pod(&self, key: &Key) -> Result<(), Error> {
        let Some(pod) = self.context.pods.get(key) else { return Ok(()) };
        if pod.metadata.deletion_timestamp.is_some() || !pod::has_claims(&pod) {
            return Ok(());
        }
        let mut made = Vec::new();
        for one in pod.spec.iter().flat_map(|spec| spec.resource_claims.iter().flatten()) {
            match self.make(&pod, one).await {
                Ok(name) => made.extend(name.map(|name| (one.name.clone(), name))),
                Err(why) => {
                    let message = format!("PodResourceClaim {}: {why}", one.name);
                    self.recorder.warning(&reference(&*pod), "FailedResourceClaimCreation", message.clone());
                    return Err(Error::Other(format!("pod {key}, {message}")));
                }
            }
        }
        if !made.is_empty() {
            self.tell(&pod, &made).await?;
        }
        // the scheduler reserves for pods that it places
        if pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).is_some_and(|node| !node.is_empty()) {
            for claim in pod::keys(&pod).filter_map(|key| self.claims.get(&key)) {
                if let Some(reserved) = pod::reserve(&pod, &claim) {
                    self.replace_status(&reserved).await?;
                }
            }
        }
        Ok(())
    }

    /// The name of the claim for one of the pod's, if it is not known yet.
    async fn make(
        &self,
        pod: &Pod,
        one: &k8s_openapi::api::core::v1::PodResourceClaim,
    ) -> Result<Option<String>, String> {
        let own = namespace(&pod.metadata);
        let known = pod::name_of(pod, one).and_then(|name| self.claims.get(&Key::namespaced(own, name?)));
        let Some(template) = pod::to_make(pod, one, known.as_deref())? else { return Ok(None) };
        // made before, and not told
        let owned = self.claims.by_index(BY_CONTROLLER, uid(&pod.metadata));
        if let Some(found) = owned.iter().find(|claim| pod::is_for(claim, one)) {
            return Ok(Some(name(&found.metadata).to_owned()));
        }
        let Some(found) = self.templates.get(&Key::namespaced(own, template)) else {
            let missing = format!("resourceclaimtemplate.resource.k8s.io {template:?} not found");
            return Err(format!("resource claim template {template:?}: {missing}"));
        };
        let claim = pod::claim(pod, one, &found);
        let api = self.context.namespaced::<ResourceClaim>(own);
        let made = api.create(&PostParams::default(), &claim).await;
        let made = made.map_err(|error| format!("create ResourceClaim : {error}"))?;
        self.claims.reached(resource_version(&made.metadata)).await;
        Ok(Some(name(&made.metadata).to_owned()))
    }

    /// Writes the names of claims into the pod's status.
    async fn tell(&self, pod: &Pod, made: &[(String, String)]) -> Result<(), Error> {
        let statuses = pod::statuses(pod, made);
        let body = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name(&pod.metadata)},
            "status": {"resourceClaimStatuses": statuses}});
        let api = self.context.namespaced::<Pod>(namespace(&pod.metadata));
        let params = PatchParams::apply(MANAGER).force();
        match api.patch_status(name(&pod.metadata), &params, &Patch::Apply(&body)).await {
            Ok(pod) => self.context.pods.reached(resource_version(&pod.metadata)).await,
            // who went needs none
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    async fn replace_status(&self, claim: &ResourceClaim) -> Result<ResourceClaim, Error> {
        let api = self.context.namespaced::<ResourceClaim>(namespace(&claim.metadata));
        let written = api.replace_status(name(&claim.metadata), &PostParams::default(), claim).await?;
        self.claims.reached(resource_version(&written.metadata)).await;
        Ok(written)
    }

    async fn claim(&self, key: &Key) -> Result<(), Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(()) };
        let mut gone = Vec::new();
        for consumer in claim::consumers(&claim) {
            if !self.is_used_by(&claim, consumer).await? {
                gone.push(consumer.uid.clone());
            }
        }
        let plan = claim::plan(&claim, &gone);
        let mut current = (*claim).clone();
        if let Some(status) = plan.status {
            current = self.replace_status(&status).await?;
        }
        let api = self.context.namespaced::<ResourceClaim>(namespace(&claim.metadata));
        if plan.release
            && let Some(released) = claim::without_finalizer(current.clone())
        {
            match api.replace(&key.name, &PostParams::default(), &released).await {
                Ok(written) => current = written,
                Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if claim::consumers(&current).is_empty() && self.is_left_over(&current) {
            match api.delete(&key.name, &DeleteParams::default()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Whether a pod that a claim is reserved for may still run. One that is not known (yet) is asked for.
    async fn is_used_by(&self, claim: &ResourceClaim, consumer: &claim::Consumer) -> Result<bool, Error> {
        if consumer.api_group.as_deref().is_some_and(|group| !group.is_empty()) || consumer.resource != "pods"
        {
            return Err(Error::Other(format!("unsupported ReservedFor entry: {consumer:?}")));
        }
        let own = namespace(&claim.metadata);
        if let Some(pod) = self.context.pods.get(&Key::namespaced(own, &consumer.name)) {
            return Ok(uid(&pod.metadata) == consumer.uid && !claim::is_done(&pod));
        }
        let found = self.context.namespaced::<Pod>(own).get_opt(&consumer.name).await?;
        Ok(found.is_some_and(|pod| uid(&pod.metadata) == consumer.uid))
    }

    /// Whether the claim was made for a pod that will not run any more. The collector has those whose pod is gone.
    fn is_left_over(&self, claim: &ResourceClaim) -> bool {
        let Some(owner) = claim::owner(claim) else { return false };
        let key = Key::namespaced(namespace(&claim.metadata), &owner.name);
        let pod = self.context.pods.get(&key);
        claim.metadata.deletion_timestamp.is_none()
            && pod.is_some_and(|pod| uid(&pod.metadata) != owner.uid || claim::is_done(&pod))
    }
}

impl Controller for ResourceClaims {
    type Key = Subject;

    fn name(&self) -> &'static str {
        "resourceclaim-controller"
    }

    fn queue(&self) -> &'static str {
        "resource_claim"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Subject>) {
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| this.of_pod(delta));
        let this = self.clone();
        sources.on(&self.claims, move |delta| {
            let users = this.context.pods.by_index(BY_RESOURCE_CLAIM, &delta.key.to_string());
            let open = users.iter().filter(|pod| this.needs_work(pod)).map(|pod| Subject::Pod(pod.key()));
            delta.new.iter().map(|_| Subject::Claim(delta.key.clone())).chain(open).collect()
        });
        // upstream finds out by trying again
        let this = self.clone();
        sources.on(&self.templates, move |delta| {
            let waiting = this.context.pods.by_index(BY_TEMPLATE, &delta.key.to_string());
            let waiting = waiting.iter().filter(|pod| this.needs_work(pod));
            waiting.map(|pod| Subject::Pod(pod.key())).collect()
        });
    }

    async fn reconcile(&self, subject: &Subject) -> Result<Option<Duration>, Error> {
        match subject {
            Subject::Pod(key) => self.pod(key).await?,
            Subject::Claim(key) => self.claim(key).await?,
        }
        Ok(None)
    }
}
