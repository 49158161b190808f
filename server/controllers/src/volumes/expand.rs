//! A claim that grows is told that somebody else has to grow its volume (upstream's `expand_controller.go`, which has no
//! plugin of its own left either: an external resizer does it).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use sampan_reconcile::{Controller, Error, Informer, Key, Recorder, Sources, reference};

use super::words::{Told, claim_uid, granted, requested, volume_name};
use crate::context::Context;
use crate::words::{annotation, uid};

/// The size before a growth that has not ended.
const PRE_RESIZE: &str = "volume.alpha.kubernetes.io/pre-resize-capacity";

fn plan(claim: &PersistentVolumeClaim, volume: Option<&PersistentVolume>) -> Option<Told> {
    let volume = volume.filter(|volume| claim_uid(volume) == uid(&claim.metadata))?;
    let growing = requested(claim) > granted(claim) || annotation(&volume.metadata, PRE_RESIZE).is_some();
    let spec = volume.spec.as_ref();
    let expected = spec.is_some_and(|spec| spec.csi.is_some() || spec.flex_volume.is_some());
    let message = "waiting for an external controller to expand this PVC";
    growing.then(|| match expected {
        true => Told::normal("ExternalExpanding", message),
        false => Told::warning("ExternalExpanding", message),
    })
}

/// The controller.
pub(crate) struct Expansion {
    claims: Informer<PersistentVolumeClaim>,
    volumes: Informer<PersistentVolume>,
    recorder: Recorder,
}

impl Expansion {
    pub fn new(context: &Context) -> Self {
        let recorder = context.recorder("volume_expand");
        Self { claims: context.informers.of(), volumes: context.informers.of(), recorder }
    }
}

impl Controller for Expansion {
    type Key = Key;

    fn name(&self) -> &'static str {
        "persistentvolume-expander-controller"
    }

    fn queue(&self) -> &'static str {
        "volume_expand"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.needs(&self.volumes);
        sources.on(&self.claims, |delta| {
            let before = delta.old.as_ref().map(|claim| requested(claim));
            let grew =
                |claim: &&Arc<PersistentVolumeClaim>| before.is_none_or(|size| requested(claim) > size);
            delta.new.iter().filter(grew).map(|_| delta.key.clone()).collect()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(claim) = self.claims.get(key) else { return Ok(None) };
        let volume = self.volumes.get(&Key::cluster(volume_name(&claim)));
        if let Some(told) = plan(&claim, volume.as_deref()) {
            self.recorder.event(&reference(&*claim), told.kind, told.reason, told.message);
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sampan_reconcile::EventType;
    use serde_json::json;

    #[test]
    fn growth_is_left_to_others_and_told() {
        for (request, status, source, bound, expected) in [
            ("2Gi", "1Gi", "csi", "u", Some(EventType::Normal)),
            ("2Gi", "1Gi", "local", "u", Some(EventType::Warning)),
            ("1Gi", "1024Mi", "csi", "u", None),
            ("2Gi", "1Gi", "csi", "other", None),
        ] {
            let claim: PersistentVolumeClaim = serde_json::from_value(json!({"metadata": {"name": "c", "uid": "u"},
                "spec": {"resources": {"requests": {"storage": request}}}, "status": {"capacity": {"storage": status}}}))
            .unwrap();
            let mut volume = json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"uid": bound}}});
            volume["spec"][source] = json!({"driver": "d", "volumeHandle": "h", "path": "/x"});
            let volume: PersistentVolume = serde_json::from_value(volume).unwrap();
            assert_eq!(
                plan(&claim, Some(&volume)).map(|told| told.kind),
                expected,
                "{request} {status} {source}"
            );
        }
    }
}
