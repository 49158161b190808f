//! The rim of volumes: what was chosen is written, waited for, and taken back if it does not come to be.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::{CSINode, StorageClass};
use sampan_reconcile::Delta;
use tokio::time::Instant;

use super::{Output, Scheduler, State, devices};
use crate::pods::PodInfo;
use crate::queue::Hope;
use crate::volumes::progress::Progress;
use crate::volumes::{Choice, claim_key};
use crate::{binding, hints};

impl Scheduler {
    /// Writes what was chosen for the pod on its node.
    pub(super) fn prepare(&self, state: &mut State, pod: Arc<PodInfo>, node: String, choice: Choice) {
        tracing::debug!(pod = pod.key(), node, ?choice, "its volumes are bound first");
        state.world.apply_pod(pod.clone(), &node);
        let writes = binding::writes(&choice, &node, &state.world.volumes);
        state.world.volumes_mut().assume(&node, &choice);
        state.bindings.begin(pod.clone(), node, choice, Instant::now());
        let client = self.client.clone();
        state.calls.push(Box::pin(async move {
            let result = binding::write(client, writes).await;
            Output::Prepared(pod, result)
        }));
    }

    pub(super) fn prepared(
        &self,
        state: &mut State,
        pod: &PodInfo,
        result: Result<BTreeMap<String, u64>, kube::Error>,
    ) {
        let key = pod.key();
        match result {
            Ok(versions) => {
                if state.bindings.written(pod, versions) {
                    self.look(state, &key);
                }
            }
            Err(error) if state.bindings.has(pod) => {
                self.not_prepared(state, &key, &format!("binding volumes: {error}"));
            }
            Err(_) => {} // the pod is gone
        }
    }

    /// Binds the pod if its volumes are bound.
    fn look(&self, state: &mut State, key: &str) {
        match state.bindings.progress(key, &state.world) {
            Progress::Waiting => {}
            Progress::Failed(why) => self.not_prepared(state, key, &why),
            Progress::Done => {
                let Some(done) = state.bindings.remove(key) else { return };
                state.world.volumes_mut().give_up(&done.choice);
                self.finish(state, done.pod, done.node);
            }
        }
    }

    fn not_prepared(&self, state: &mut State, key: &str, why: &str) {
        let Some(failed) = state.bindings.remove(key) else { return };
        tracing::info!(pod = key, node = failed.node, why, "volumes not bound");
        let text = format!("running PreBind plugin \"VolumeBinding\": {why}");
        self.say_failed(&failed.pod, text);
        state.world.volumes_mut().give_up(&failed.choice);
        devices::forget(state, key);
        state.world.delete_pod(key);
        state.queue.world_changed();
        state.queue.failed(failed.pod, Hope::Time, Instant::now());
    }

    pub(super) fn expire(&self, state: &mut State, now: Instant) {
        while let Some(key) = state.bindings.expired(now) {
            self.not_prepared(state, &key, "binding volumes: context deadline exceeded");
        }
    }

    pub(super) fn claim_changed(&self, state: &mut State, delta: &Delta<PersistentVolumeClaim>) {
        let key = delta.key.to_string();
        state.world.volumes_mut().set_claim(&key, delta.new.clone());
        for pod in state.bindings.waiting_for(&key) {
            self.look(state, &pod);
        }
        let (namespace, name) = (delta.key.namespace(), &delta.key.name);
        state.queue.world_changed_for(|pod| pod.namespace() == namespace && pod.uses_claim(name));
    }

    pub(super) fn volume_changed(&self, state: &mut State, delta: &Delta<PersistentVolume>) {
        state.world.volumes_mut().set_volume(&delta.key.name, delta.new.clone());
        for claim in delta.states().filter_map(|volume| claim_key(volume)) {
            for pod in state.bindings.waiting_for(&claim) {
                self.look(state, &pod);
            }
        }
        let world = &state.world;
        state.queue.world_changed_for(|pod| hints::volume_changed(pod, world));
    }
}

/// A pod that waited for its volumes is gone, or has a node by other means.
pub(super) fn forget_binding(state: &mut State, key: &str) {
    if let Some(binding) = state.bindings.remove(key) {
        state.world.volumes_mut().give_up(&binding.choice);
        state.world.delete_pod(key);
        state.queue.world_changed();
    }
}

pub(super) fn drivers_changed(state: &mut State, delta: &Delta<CSINode>) {
    state.world.volumes_mut().set_drivers(&delta.key.name, delta.new.as_deref());
    let world = &state.world;
    state.queue.world_changed_for(|pod| hints::volume_changed(pod, world));
}

pub(super) fn class_changed(state: &mut State, delta: &Delta<StorageClass>) {
    state.world.volumes_mut().set_class(&delta.key.name, delta.new.clone());
    let topologies =
        |class: &Option<Arc<StorageClass>>| class.as_ref().map(|one| one.allowed_topologies.clone());
    if topologies(&delta.old) != topologies(&delta.new) {
        state.queue.world_changed_for(|pod| !pod.claims.is_empty());
    }
}
