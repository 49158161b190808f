//! Claims that pods use, and volumes that are bound, do not go (upstream's `pvc_protection_controller.go` and
//! `pv_protection_controller.go`): a finalizer holds them until nobody uses them.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::{ListParams, PostParams};
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Object, Sources};

use super::words::{BY_CLAIM, claim_keys, claims_of, has_node, index_by_claim, is_made_for, volume_phase};
use crate::context::Context;
use crate::words::{is_terminal, name, namespace};

const CLAIM_FINALIZER: &str = "kubernetes.io/pvc-protection";
const VOLUME_FINALIZER: &str = "kubernetes.io/pv-protection";

/// What has to be done about a finalizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Nothing,
    Add,
    Remove,
}

fn plan(meta: &ObjectMeta, finalizer: &str, used: bool) -> Step {
    let held = meta.finalizers.iter().flatten().any(|one| one == finalizer);
    match (meta.deletion_timestamp.is_some(), held) {
        (true, true) if !used => Step::Remove,
        (false, false) => Step::Add,
        _ => Step::Nothing,
    }
}

/// The metadata after a step; `None` if it stays.
fn after(meta: &ObjectMeta, finalizer: &str, step: Step) -> Option<ObjectMeta> {
    let mut new = meta.clone();
    let all = new.finalizers.get_or_insert_default();
    match step {
        Step::Nothing => return None,
        Step::Add => all.push(finalizer.to_owned()),
        Step::Remove => all.retain(|one| one != finalizer),
    }
    Some(new)
}

/// Whether a pod keeps a claim: only one with a node does, for no other gets one while the claim goes. A claim that was
/// made for the pod does not outlive the pod's end on its node.
fn uses(pod: &Pod, claim: &PersistentVolumeClaim) -> bool {
    let meta = &pod.metadata;
    let is_shut_down = meta.deletion_timestamp.is_some() && meta.deletion_grace_period_seconds == Some(0);
    has_node(pod)
        && meta.namespace == claim.metadata.namespace
        && claims_of(pod).any(|(used, made)| {
            Some(&used) == claim.metadata.name.as_ref()
                && (!made || (!is_shut_down && is_made_for(claim, pod)))
        })
}

/// The controller of claims.
pub(crate) struct ClaimProtection {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
}

impl ClaimProtection {
    pub fn new(context: &Context) -> Self {
        index_by_claim(&context.pods);
        Self { context: context.clone(), claims: context.informers.of() }
    }

    /// Asks the informer, and, if that knows of no pod, the API, which may know more.
    async fn is_used(&self, claim: &PersistentVolumeClaim) -> Result<bool, Error> {
        let known = self.context.pods.by_index(BY_CLAIM, &claim.key().to_string());
        if known.iter().any(|pod| uses(pod, claim)) {
            return Ok(true);
        }
        let pods = self.context.namespaced::<Pod>(namespace(&claim.metadata));
        Ok(pods.list(&ListParams::default()).await?.items.iter().any(|pod| uses(pod, claim)))
    }
}

/// Claims that a pod no longer uses, or may not have got to use.
fn pod_changed(delta: &Delta<Pod>) -> Vec<Key> {
    let same =
        matches!((&delta.old, &delta.new), (Some(old), Some(new)) if old.metadata.uid == new.metadata.uid);
    let old = delta.old.iter().filter(|_| !same);
    let new = delta.new.iter().filter(|pod| is_terminal(pod) || !has_node(pod) || is_going(pod));
    old.chain(new).flat_map(|pod| claim_keys(pod)).collect()
}

fn is_going(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
}

impl Controller for ClaimProtection {
    type Key = Key;

    fn name(&self) -> &'static str {
        "persistentvolumeclaim-protection-controller"
    }

    fn queue(&self) -> &'static str {
        "pvcprotection"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.claims, |delta| vec![delta.key.clone()]);
        sources.on(&self.context.pods, pod_changed);
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(None) };
        let step = match plan(&claim.metadata, CLAIM_FINALIZER, false) {
            Step::Remove => plan(&claim.metadata, CLAIM_FINALIZER, self.is_used(&claim).await?),
            step => step,
        };
        if let Some(metadata) = after(&claim.metadata, CLAIM_FINALIZER, step) {
            let api = self.context.namespaced::<PersistentVolumeClaim>(key.namespace());
            let changed = PersistentVolumeClaim { metadata, ..(*claim).clone() };
            api.replace(&key.name, &PostParams::default(), &changed).await?;
        }
        Ok(None)
    }
}

/// The controller of volumes.
pub(crate) struct VolumeProtection {
    context: Context,
    volumes: Informer<PersistentVolume>,
}

impl VolumeProtection {
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), volumes: context.informers.of() }
    }
}

impl Controller for VolumeProtection {
    type Key = Key;

    fn name(&self) -> &'static str {
        "persistentvolume-protection-controller"
    }

    fn queue(&self) -> &'static str {
        "pvprotection"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.volumes, |delta| vec![delta.key.clone()]);
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(volume) = self.volumes.get(key) else { return Ok(None) };
        let step = plan(&volume.metadata, VOLUME_FINALIZER, volume_phase(&volume) == "Bound");
        if let Some(metadata) = after(&volume.metadata, VOLUME_FINALIZER, step) {
            let changed = PersistentVolume { metadata, ..(*volume).clone() };
            let api = self.context.cluster::<PersistentVolume>();
            api.replace(name(&volume.metadata), &PostParams::default(), &changed).await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_finalizer_comes_at_once_and_goes_when_nobody_uses_the_object() {
        let meta = |going: bool, held: bool| ObjectMeta {
            deletion_timestamp: going
                .then(|| k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Default::default())),
            finalizers: held.then(|| vec!["a".to_owned(), "f".to_owned()]),
            ..Default::default()
        };
        for (going, held, used, expected) in [
            (false, false, false, Step::Add),
            (false, true, false, Step::Nothing),
            (true, true, true, Step::Nothing),
            (true, true, false, Step::Remove),
            (true, false, false, Step::Nothing),
        ] {
            assert_eq!(plan(&meta(going, held), "f", used), expected, "{going} {held} {used}");
        }
        let left = after(&meta(true, true), "f", Step::Remove).unwrap().finalizers;
        assert_eq!(left, Some(vec!["a".to_owned()]));
        assert_eq!(after(&meta(false, true), "f", Step::Nothing), None);
    }

    #[test]
    fn only_pods_on_a_node_keep_a_claim() {
        let claim = |owner: &str| -> PersistentVolumeClaim {
            let owner =
                json!({"apiVersion": "v1", "kind": "Pod", "name": "p", "uid": owner, "controller": true});
            let meta = json!({"name": "p-data", "namespace": "d", "ownerReferences": [owner]});
            serde_json::from_value(json!({ "metadata": meta })).unwrap()
        };
        let named = json!({"name": "v", "persistentVolumeClaim": {"claimName": "p-data"}});
        let inline = json!({"name": "data", "ephemeral": {"volumeClaimTemplate": {"spec": {}}}});
        let over = json!({"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 0});
        type Case<'a> = (&'a Value, Option<&'a str>, &'a str, &'a str, Value, bool);
        let cases: &[Case<'_>] = &[
            (&named, Some("n"), "d", "u", json!({}), true),
            (&named, None, "d", "u", json!({}), false),
            (&named, Some("n"), "other", "u", json!({}), false),
            (&named, Some("n"), "d", "u", over.clone(), true),
            (&inline, Some("n"), "d", "u", json!({}), true),
            (&inline, Some("n"), "d", "other", json!({}), false),
            (&inline, Some("n"), "d", "u", over, false),
        ];
        for (volume, node, namespace, owner, change, expected) in cases {
            let mut pod = json!({"metadata": {"name": "p", "namespace": namespace, "uid": "u"},
                "spec": {"nodeName": node, "containers": [], "volumes": [volume]}});
            pod["metadata"].as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
            let typed: Pod = serde_json::from_value(pod.clone()).unwrap();
            assert_eq!(uses(&typed, &claim(owner)), *expected, "{pod}");
        }
    }
}
