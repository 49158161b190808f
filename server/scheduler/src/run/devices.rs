//! The rim of devices: pods wait for their claims, claims are given to pods before they are bound, and taken back if that
//! does not come to be (upstream's `PreEnqueue`, `Reserve`, `PreBind` and `Unreserve` of DynamicResources).

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::resource::v1::{
    DeviceClass, ResourceClaim, ResourceClaimConsumerReference, ResourceSlice,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use sampan_reconcile::{Delta, Key, Object};
use serde_json::json;
use tokio::time::Instant;

use super::{Output, Scheduler, State, reconsider};
use crate::devices::claims::{is_reserved_for, of_pod};
use crate::devices::{FINALIZER, Grant, allocation};
use crate::filters::devices::concern;
use crate::pods::PodInfo;
use crate::queue::Hope;

/// Pauses before a claim that somebody else changed is read again (client-go's `retry.DefaultRetry`).
const RETRIES: [Duration; 4] = [Duration::from_millis(10); 4];

/// A pod that has its node and waits for its claims.
pub(super) struct Granting {
    pod: Arc<PodInfo>,
    grants: Vec<Grant>,
    /// They are being written.
    started: bool,
    /// Nobody waits for them any more.
    gone: bool,
}

/// A pod is to be tried now, or waits outside of the queue until its claims are there.
pub(super) fn enter(state: &mut State, pod: Arc<PodInfo>) {
    let key = pod.key();
    match of_pod(&pod, &state.world.devices) {
        Err(why) if concern(&pod) => {
            tracing::debug!(pod = key, why, "waits for its claims");
            state.queue.remove(&key);
            state.held.insert(key, pod);
        }
        _ => {
            state.held.remove(&key);
            state.queue.add(pod);
        }
    }
}

/// What was chosen for the pod counts from now on.
pub(super) fn reserve(state: &mut State, pod: &Arc<PodInfo>, grants: Vec<Grant>) {
    if !grants.is_empty() {
        state.world.devices_mut().assume(&grants);
        let granting = Granting { pod: pod.clone(), grants, started: false, gone: false };
        state.grants.insert(pod.key(), granting);
    }
}

/// A pod that waited for its claims is gone, or has a node by other means. What is being written is waited for: until then
/// its devices are nobody else's.
pub(super) fn forget(state: &mut State, key: &str) {
    match state.grants.get_mut(key) {
        Some(granting) if granting.started => granting.gone = true,
        Some(_) => {
            if let Some(granting) = state.grants.remove(key) {
                state.world.devices_mut().give_up(&granting.grants);
                state.world.delete_pod(key);
                state.queue.world_changed();
            }
        }
        None => {}
    }
}

impl State {
    /// Whether this very pod waits for its claims, and not another of its name.
    pub(super) fn is_granted(&self, pod: &PodInfo) -> bool {
        let same = |one: &Granting| one.pod.pod.metadata.uid == pod.pod.metadata.uid && !one.gone;
        self.grants.get(&pod.key()).is_some_and(same)
    }
}

impl Scheduler {
    /// The last step before a pod is bound, if it is still to be done.
    pub(super) fn grant(&self, state: &mut State, pod: &Arc<PodInfo>) -> Option<BoxFuture<'static, Output>> {
        let granting = state.grants.get_mut(&pod.key())?;
        granting.started = true;
        let (client, pod, grants) = (self.client.clone(), pod.clone(), granting.grants.clone());
        Some(Box::pin(async move {
            let mut claims = Vec::new();
            for grant in grants {
                match write(&client, &pod, grant).await {
                    Ok(claim) => claims.push(claim),
                    Err(why) => return Output::Granted(pod, claims, Some(why)),
                }
            }
            Output::Granted(pod, claims, None)
        }))
    }

    /// Claims are written, all of them or up to one that could not be.
    pub(super) fn granted(
        &self,
        state: &mut State,
        pod: Arc<PodInfo>,
        claims: Vec<ResourceClaim>,
        failed: Option<String>,
    ) {
        let key = pod.key();
        for claim in claims {
            let name = Object::key(&claim).to_string();
            state.world.devices_mut().set_claim(&name, Some(Arc::new(claim)));
        }
        let Some(granting) = state.grants.remove(&key) else { return };
        state.world.devices_mut().give_up(&granting.grants);
        let node = state.world.place_of(&key).map(str::to_owned);
        match (failed, node) {
            _ if granting.gone => {
                let name = pod.pod.metadata.name.as_deref().unwrap_or_default();
                let current = self.informers.of::<Pod>().get(&Key::namespaced(pod.namespace(), name));
                reconsider(state, &pod, current, Instant::now());
            }
            (None, Some(node)) => {
                let binding = self.bind(pod, node);
                state.calls.push(binding);
            }
            (why, _) => {
                let why = why.unwrap_or_else(|| "the node is gone".to_owned());
                tracing::info!(pod = key, why, "its claims are not to be had");
                let text = format!("running PreBind plugin \"DynamicResources\": {why}");
                self.say_failed(&pod, text);
                self.take_back(state, &pod);
                state.world.delete_pod(&key);
                state.queue.world_changed();
                state.queue.failed(pod, Hope::Time, Instant::now());
            }
        }
    }

    /// The pod does not use its claims after all; what they have they keep.
    pub(super) fn take_back(&self, state: &State, pod: &Arc<PodInfo>) {
        let claims = of_pod(pod, &state.world.devices).unwrap_or_default();
        for claim in claims.into_iter().filter(|claim| is_reserved_for(claim, &pod.pod)) {
            let (client, claim, pod) = (self.client.clone(), claim.clone(), pod.clone());
            state.calls.push(Box::pin(async move {
                let gone = json!({"$patch": "delete", "uid": pod.pod.metadata.uid});
                let patch =
                    json!({"metadata": {"uid": claim.metadata.uid}, "status": {"reservedFor": [gone]}});
                let (api, name) = api(&client, &claim);
                let patched =
                    api.patch_status(&name, &PatchParams::default(), &Patch::Strategic(patch)).await;
                if let Err(error) = patched {
                    tracing::warn!(pod = pod.key(), claim = name, %error, "claim not taken back");
                }
                Output::Told
            }));
        }
    }

    /// A claim that keeps a pod off some nodes gives back what it has.
    pub(super) fn deallocate(&self, state: &State, claim: Arc<ResourceClaim>) {
        let client = self.client.clone();
        state.calls.push(Box::pin(async move {
            let mut changed = (*claim).clone();
            if let Some(status) = &mut changed.status {
                (status.allocation, status.reserved_for) = (None, None);
            }
            let (api, name) = api(&client, &claim);
            if let Err(error) = api.replace_status(&name, &PostParams::default(), &changed).await {
                tracing::debug!(claim = name, %error, "not deallocated");
            }
            Output::Told
        }));
    }
}

fn api(client: &Client, claim: &ResourceClaim) -> (Api<ResourceClaim>, String) {
    let namespace = claim.metadata.namespace.as_deref().unwrap_or_default();
    (Api::namespaced(client.clone(), namespace), claim.metadata.name.clone().unwrap_or_default())
}

/// Writes what the claim has, and that the pod uses it.
async fn write(client: &Client, pod: &PodInfo, grant: Grant) -> Result<ResourceClaim, String> {
    let key = grant.key();
    let (api, name) = api(client, &grant.claim);
    let mut claim = (*grant.claim).clone();
    let mut retries = RETRIES.into_iter();
    loop {
        match write_once(&api, pod, claim, &grant).await {
            Ok(claim) => return Ok(claim),
            Err(Unwritten::For(why)) => return Err(why),
            Err(Unwritten::By(what, error)) => {
                let pause = match &error {
                    kube::Error::Api(status) if status.code == 409 => retries.next(),
                    _ => None,
                };
                let Some(pause) = pause else { return Err(format!("{what} claim {key}: {error}")) };
                tokio::time::sleep(pause).await;
            }
        }
        let updated = api.get(&name).await;
        claim = updated.map_err(|error| format!("get updated claim {key} after conflict: {error}"))?;
    }
}

/// Why a claim is not written.
enum Unwritten {
    /// It is not what it was.
    For(String),
    /// What could not be done to it, and why.
    By(&'static str, kube::Error),
}

async fn write_once(
    api: &Api<ResourceClaim>,
    pod: &PodInfo,
    mut claim: ResourceClaim,
    grant: &Grant,
) -> Result<ResourceClaim, Unwritten> {
    let (key, params) = (grant.key(), PostParams::default());
    let name = claim.metadata.name.clone().unwrap_or_default();
    if claim.metadata.deletion_timestamp.is_some() || claim.metadata.uid != grant.claim.metadata.uid {
        return Err(Unwritten::For(format!("claim {key} got deleted in the meantime")));
    }
    if grant.allocation.is_some() {
        if allocation(&claim).is_some() {
            return Err(Unwritten::For(format!("claim {key} got allocated elsewhere in the meantime")));
        }
        let finalizers = claim.metadata.finalizers.get_or_insert_default();
        if !finalizers.iter().any(|one| one == FINALIZER) {
            finalizers.push(FINALIZER.to_owned());
            let written = api.replace(&name, &params, &claim).await;
            claim = written.map_err(|error| Unwritten::By("add finalizer to", error))?;
        }
    }
    let status = claim.status.get_or_insert_default();
    if let Some(allocation) = &grant.allocation {
        let mut allocation = allocation.clone();
        allocation.allocation_timestamp = Some(Time(sampan_reconcile::now()));
        status.allocation = Some(allocation);
    }
    status.reserved_for.get_or_insert_default().push(ResourceClaimConsumerReference {
        api_group: None,
        resource: "pods".to_owned(),
        name: pod.pod.metadata.name.clone().unwrap_or_default(),
        uid: pod.pod.metadata.uid.clone().unwrap_or_default(),
    });
    let what = match grant.allocation {
        Some(_) => "add allocation and reservation to",
        None => "add reservation to",
    };
    api.replace_status(&name, &params, &claim).await.map_err(|error| Unwritten::By(what, error))
}

pub(super) fn claim_changed(state: &mut State, delta: &Delta<ResourceClaim>) {
    let key = delta.key.to_string();
    state.world.devices_mut().set_claim(&key, delta.new.clone());
    let namespace = delta.key.namespace();
    let waiting = state.held.values().filter(|pod| pod.namespace() == namespace);
    let waiting: Vec<_> = waiting.cloned().collect();
    waiting.into_iter().for_each(|pod| enter(state, pod));
    let had = delta.old.as_deref().and_then(allocation).is_some();
    let freed = had && delta.new.as_deref().and_then(allocation).is_none();
    let status = |claim: &Option<Arc<ResourceClaim>>| claim.as_ref().map(|claim| claim.status.clone());
    let news = status(&delta.old) != status(&delta.new);
    let devices = &state.world.devices;
    let uses = |pod: &PodInfo| {
        let claims = of_pod(pod, devices).unwrap_or_default();
        claims.iter().any(|claim| Object::key(&***claim) == delta.key)
    };
    state.queue.world_changed_for(|pod| concern(pod) && (freed || (news && uses(pod))));
}

pub(super) fn slice_changed(state: &mut State, delta: &Delta<ResourceSlice>) {
    state.world.devices_mut().set_slice(&delta.key.name, delta.new.clone());
    state.queue.world_changed_for(concern);
}

pub(super) fn class_changed(state: &mut State, delta: &Delta<DeviceClass>) {
    state.world.devices_mut().set_class(&delta.key.name, delta.new.clone());
    state.queue.world_changed_for(concern);
}
