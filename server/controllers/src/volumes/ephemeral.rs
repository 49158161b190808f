//! Volumes that a pod describes inline are claims of its own (upstream's `pkg/controller/volume/ephemeral`).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod, Volume};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::api::PostParams;
use sampan_reconcile::{Controller, Error, Informer, Key, Object, Recorder, Sources, reference};

use super::words::{BY_CLAIM, index_by_claim, inline_claim, is_made_for};
use crate::context::Context;
use crate::words::{controller_reference, name};

/// The claim to make for a volume of a pod, `found` being the one of its name; an error if that is somebody else's.
fn plan(
    pod: &Pod,
    volume: &Volume,
    found: Option<&PersistentVolumeClaim>,
) -> Result<Option<PersistentVolumeClaim>, String> {
    let Some(source) = &volume.ephemeral else { return Ok(None) };
    let claim = inline_claim(&pod.metadata, &volume.name);
    match found {
        Some(found) if is_made_for(found, pod) => return Ok(None),
        Some(_) => {
            let key = Object::key(pod);
            let why =
                format!("PVC {}/{claim} was not created for pod {key} (pod is not owner)", key.namespace());
            return Err(why);
        }
        None => {}
    }
    let template = source.volume_claim_template.clone().unwrap_or_default();
    let given = template.metadata.unwrap_or_default();
    let metadata = ObjectMeta {
        name: Some(claim),
        namespace: pod.metadata.namespace.clone(),
        labels: given.labels,
        annotations: given.annotations,
        owner_references: Some(vec![controller_reference(pod)]),
        ..ObjectMeta::default()
    };
    Ok(Some(PersistentVolumeClaim { metadata, spec: Some(template.spec), status: None }))
}

/// The controller.
pub(crate) struct EphemeralVolumes {
    context: Context,
    claims: Informer<PersistentVolumeClaim>,
    recorder: Recorder,
}

impl EphemeralVolumes {
    pub fn new(context: &Context) -> Self {
        index_by_claim(&context.pods);
        let recorder = context.recorder("ephemeral_volume");
        Self { context: context.clone(), claims: context.informers.of(), recorder }
    }

    async fn make(&self, pod: &Pod, volume: &Volume) -> Result<(), Error> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let key = Key::namespaced(namespace, &inline_claim(&pod.metadata, &volume.name));
        let claim = match plan(pod, volume, self.claims.get(&key).as_deref()) {
            Ok(None) => return Ok(()),
            Ok(Some(claim)) => claim,
            Err(why) => return Err(Error::Other(why)),
        };
        let api = self.context.namespaced::<PersistentVolumeClaim>(namespace);
        match api.create(&PostParams::default(), &claim).await {
            Ok(_) => Ok(()),
            Err(error) => Err(Error::Other(format!("create PVC {}: {error}", name(&claim.metadata)))),
        }
    }
}

fn has_inline(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    pod.metadata.deletion_timestamp.is_none() && volumes.into_iter().any(|volume| volume.ephemeral.is_some())
}

impl Controller for EphemeralVolumes {
    type Key = Key;

    fn name(&self) -> &'static str {
        "ephemeral-volume-controller"
    }

    fn queue(&self) -> &'static str {
        "ephemeral_volume"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.context.pods, |delta| {
            let came = delta.new.iter().filter(|pod| delta.old.is_none() && has_inline(pod));
            came.map(|_| delta.key.clone()).collect()
        });
        // one that went is made again for whoever is there
        let this = self.clone();
        sources.on(&self.claims, move |delta| match delta.new {
            Some(_) => Vec::new(),
            None => {
                let pods = this.context.pods.by_index(BY_CLAIM, &delta.key.to_string());
                pods.iter().filter(|pod| has_inline(pod)).map(|pod| pod.key()).collect()
            }
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(pod) = self.context.pods.get(key).filter(|pod| has_inline(pod)) else { return Ok(None) };
        for volume in pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()) {
            if let Err(error) = self.make(&pod, volume).await {
                let message = format!("ephemeral volume {}: {error}", volume.name);
                self.recorder.warning(&reference(&*pod), "FailedBinding", message);
                return Err(error);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn an_inline_volume_becomes_a_claim_of_the_pod() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "d", "uid": "u"},
            "spec": {"containers": [], "volumes": [{"name": "data", "ephemeral": {"volumeClaimTemplate": {
                "metadata": {"labels": {"a": "b"}}, "spec": {"accessModes": ["ReadWriteOnce"]}}}},
                {"name": "other", "emptyDir": {}}]},
        }))
        .unwrap();
        let volumes = pod.spec.clone().unwrap().volumes.unwrap();
        let made = plan(&pod, &volumes[0], None).unwrap().unwrap();
        let expected = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {
            "name": "p-data", "namespace": "d", "labels": {"a": "b"}, "ownerReferences": [{"apiVersion": "v1",
            "kind": "Pod", "name": "p", "uid": "u", "controller": true, "blockOwnerDeletion": true}]},
            "spec": {"accessModes": ["ReadWriteOnce"]}});
        assert_eq!(serde_json::to_value(&made).unwrap(), expected);
        assert_eq!(plan(&pod, &volumes[0], Some(&made)), Ok(None));
        assert_eq!(plan(&pod, &volumes[1], None), Ok(None));
        let mut others = made;
        others.metadata.owner_references = None;
        let why = "PVC d/p-data was not created for pod d/p (pod is not owner)";
        assert_eq!(plan(&pod, &volumes[0], Some(&others)), Err(why.to_owned()));
    }
}
