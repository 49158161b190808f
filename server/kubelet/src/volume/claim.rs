//! Claims of a pod: from the claim to its volume to a directory of this node. Checks and texts are those of upstream's
//! `pkg/kubelet/volumemanager/populator/desired_state_of_world_populator.go`.
//!
//! Claims and volumes come from the process's informers, and from the API where those do not know enough. A directory is given to containers where it is, without a
//! mount of the pod's own, so there is nothing to take back when the pod ends, and nothing to lose at a reboot.

use std::path::PathBuf;

use k8s_openapi::api::core::v1::{
    HostPathVolumeSource, PersistentVolume, PersistentVolumeClaim, Pod, Volume,
};
use kube::Api;
use sampan_reconcile::Key;

use crate::context::Context;

/// A claim as a pod names it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Named {
    claim: String,
    read_only: bool,
    /// Made for this pod alone: it has to be the pod's.
    own: bool,
}

/// Where a claim leads.
#[derive(Clone, Debug, PartialEq)]
pub struct Claimed {
    /// Name of the volume.
    pub volume: String,
    /// What it is.
    pub source: Source,
    /// Whether the pod may only read it.
    pub read_only: bool,
}

/// What a volume is on this node.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// A directory that is there, whose files are the pod's group's.
    Local(PathBuf),
    /// A path of the host, with its checks.
    Host(HostPathVolumeSource),
}

impl Claimed {
    /// Directory or file on the host.
    pub fn path(&self) -> PathBuf {
        match &self.source {
            Source::Local(path) => path.clone(),
            Source::Host(source) => PathBuf::from(&source.path),
        }
    }
}

/// Whether a volume is a claim.
pub fn is_claim(volume: &Volume) -> bool {
    volume.persistent_volume_claim.is_some() || volume.ephemeral.is_some()
}

fn named(pod: &Pod, volume: &Volume) -> Option<Named> {
    if let Some(source) = &volume.persistent_volume_claim {
        let read_only = source.read_only.unwrap_or(false);
        return Some(Named { claim: source.claim_name.clone(), read_only, own: false });
    }
    let pod = pod.metadata.name.as_deref().unwrap_or_default();
    let claim = format!("{pod}-{}", volume.name);
    volume.ephemeral.is_some().then_some(Named { claim, read_only: false, own: true })
}

/// Where a pod's claim leads now; `None`: the volume is no claim.
///
/// # Errors
/// The text of a `FailedMount` event.
pub async fn find(context: &Context, pod: &Pod, volume: &Volume) -> Result<Option<Claimed>, String> {
    let Some(named) = named(pod, volume) else { return Ok(None) };
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    context.claims.synced().await;
    context.volumes.synced().await;
    let volume_of = |claim: &PersistentVolumeClaim| claim.spec.as_ref()?.volume_name.clone();
    let claim = context.claims.get(&Key::namespaced(namespace, &named.claim));
    let name = claim.as_deref().and_then(volume_of).unwrap_or_default();
    let bound = context.volumes.get(&Key::cluster(&name));
    let mut found = resolve(pod, &named, claim.as_deref(), bound.as_deref());
    if found.is_err() {
        // what was bound for this pod a moment ago may not be told of yet: upstream's kubelet asks each time
        let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), namespace);
        let claim = claims.get_opt(&named.claim).await.ok().flatten();
        let bound = match claim.as_ref().and_then(volume_of) {
            Some(name) => Api::all(context.client.clone()).get_opt(&name).await.ok().flatten(),
            None => None,
        };
        found = resolve(pod, &named, claim.as_ref(), bound.as_ref());
    }
    found.map(Some).map_err(|why| {
        let volume = &volume.name;
        format!(
            "Unable to attach or mount volumes: unmounted volumes=[{volume}], unattached volumes=[], \
             failed to process volumes=[{volume}]: {why}"
        )
    })
}

fn resolve(
    pod: &Pod,
    named: &Named,
    claim: Option<&PersistentVolumeClaim>,
    volume: Option<&PersistentVolume>,
) -> Result<Claimed, String> {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let (namespace, name) = (text(&pod.metadata.namespace), &named.claim);
    let failed = |why: String| format!("error processing PVC {namespace}/{name}: {why}");
    let claim = usable(name, claim).map_err(failed)?;
    let owner = claim.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    if named.own && owner.map(|owner| &owner.uid) != pod.metadata.uid.as_ref() {
        let pod = text(&pod.metadata.name);
        return Err(format!(
            "PVC {namespace}/{name} was not created for pod {namespace}/{pod} (pod is not owner)"
        ));
    }
    let volume_name = text(&claim.spec.clone().unwrap_or_default().volume_name);
    let volume = bound(&volume_name, claim, volume).map_err(failed)?;
    let spec = volume.spec.clone().unwrap_or_default();
    if spec.volume_mode.as_deref() == Some("Block") {
        return Err(format!("volume {volume_name} has volumeMode Block, but is specified in volumeMounts"));
    }
    let source = match (spec.local, spec.host_path) {
        (Some(local), _) => Source::Local(PathBuf::from(local.path)),
        (None, Some(host)) => Source::Host(host),
        (None, None) => {
            return Err(format!(
                "failed to get Plugin from volumeSpec for volume {volume_name:?} err=no volume plugin matched"
            ));
        }
    };
    Ok(Claimed { volume: volume_name, source, read_only: named.read_only })
}

fn usable<'a>(
    name: &str,
    claim: Option<&'a PersistentVolumeClaim>,
) -> Result<&'a PersistentVolumeClaim, String> {
    let Some(claim) = claim else {
        return Err(format!(
            "failed to fetch PVC from API server: persistentvolumeclaims {name:?} not found"
        ));
    };
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref()).unwrap_or_default();
    match () {
        () if claim.metadata.deletion_timestamp.is_some() => Err("PVC is being deleted".to_owned()),
        () if phase != Some("Bound") => Err("PVC is not bound".to_owned()),
        () if volume.is_empty() => Err("PVC has empty pvc.Spec.VolumeName".to_owned()),
        () => Ok(claim),
    }
}

fn bound<'a>(
    name: &str,
    claim: &PersistentVolumeClaim,
    volume: Option<&'a PersistentVolume>,
) -> Result<&'a PersistentVolume, String> {
    let Some(volume) = volume else {
        return Err(format!(
            "failed to fetch PV {name} from API server: persistentvolumes {name:?} not found"
        ));
    };
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else {
        return Err(format!(
            "found PV object {name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim"
        ));
    };
    if reference.uid != claim.metadata.uid {
        let uid = |uid: &Option<String>| uid.clone().unwrap_or_default();
        return Err(format!(
            "found PV object {name} but its pv.Spec.ClaimRef.UID {} does not point to claim.UID {}",
            uid(&reference.uid),
            uid(&claim.metadata.uid)
        ));
    }
    Ok(volume)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn from<T: sampan_reconcile::Object>(value: Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    fn with(mut value: Value, at: &str, to: Value) -> Value {
        *value.pointer_mut(at).unwrap() = to;
        value
    }

    #[test]
    fn claims_lead_to_directories_or_say_why_not() {
        let pod: Pod = from(
            json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u1"}, "spec": {"containers": [],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c", "readOnly": true}}]}}),
        );
        let volume = &pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0];
        let claim = json!({"metadata": {"uid": "c1", "deletionTimestamp": null}, "spec": {"volumeName": "v"},
            "status": {"phase": "Bound"}});
        let bound = json!({"metadata": {"name": "v"}, "spec": {"claimRef": {"uid": "c1"}, "volumeMode": "Filesystem",
            "local": {"path": "/srv/v"}}});
        let resolved = |claim: Option<&Value>, bound: Option<&Value>| {
            let claim: Option<PersistentVolumeClaim> = claim.map(|value| from(value.clone()));
            let bound: Option<PersistentVolume> = bound.map(|value| from(value.clone()));
            resolve(&pod, &named(&pod, volume).unwrap(), claim.as_ref(), bound.as_ref())
        };
        let good = resolved(Some(&claim), Some(&bound)).unwrap();
        assert_eq!((good.path(), good.read_only), (PathBuf::from("/srv/v"), true));
        let host = with(bound.clone(), "/spec/local", Value::Null);
        assert!(resolved(Some(&claim), Some(&host)).unwrap_err().ends_with("err=no volume plugin matched"));
        let mut host = host;
        host["spec"]["hostPath"] = json!({"path": "/srv/h"});
        assert!(matches!(resolved(Some(&claim), Some(&host)).unwrap().source, Source::Host(_)));
        let leaving = with(claim.clone(), "/metadata/deletionTimestamp", json!("2026-01-01T00:00:00Z"));
        for (claim, bound, why) in [
            (None, None, "failed to fetch PVC from API server: persistentvolumeclaims \"c\" not found"),
            (Some(leaving), None, "PVC is being deleted"),
            (Some(with(claim.clone(), "/status/phase", json!("Pending"))), None, "PVC is not bound"),
            (
                Some(claim.clone()),
                None,
                "failed to fetch PV v from API server: persistentvolumes \"v\" not found",
            ),
            (
                Some(claim.clone()),
                Some(with(bound.clone(), "/spec/claimRef/uid", json!("c2"))),
                "found PV object v but its pv.Spec.ClaimRef.UID c2 does not point to claim.UID c1",
            ),
        ] {
            let said = resolved(claim.as_ref(), bound.as_ref()).unwrap_err();
            assert_eq!(said, format!("error processing PVC ns/c: {why}"));
        }
        let block = with(bound, "/spec/volumeMode", json!("Block"));
        assert!(resolved(Some(&claim), Some(&block)).unwrap_err().contains("volumeMode Block"));
    }

    #[test]
    fn an_inline_claim_is_the_pods_own() {
        let pod: Pod = from(
            json!({"metadata": {"name": "p", "namespace": "ns", "uid": "u1"}, "spec": {"containers": [],
            "volumes": [{"name": "data", "ephemeral": {}}]}}),
        );
        let volume = &pod.spec.as_ref().unwrap().volumes.as_ref().unwrap()[0];
        let named = named(&pod, volume).unwrap();
        assert_eq!(named, Named { claim: "p-data".into(), read_only: false, own: true });
        let claim = |owner: &str| -> PersistentVolumeClaim {
            from(
                json!({"metadata": {"uid": "c1", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p",
                "uid": owner, "controller": true}]}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}}),
            )
        };
        let bound: PersistentVolume =
            from(json!({"spec": {"claimRef": {"uid": "c1"}, "local": {"path": "/srv/v"}}}));
        assert!(resolve(&pod, &named, Some(&claim("u1")), Some(&bound)).is_ok());
        assert_eq!(
            resolve(&pod, &named, Some(&claim("u0")), Some(&bound)).unwrap_err(),
            "PVC ns/p-data was not created for pod ns/p (pod is not owner)"
        );
    }
}
