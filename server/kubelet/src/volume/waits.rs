//! For whom a pod's volumes wait: a sandbox is made beside them where they wait for nobody.

use k8s_openapi::api::core::v1::{Pod, Volume, VolumeProjection};

use super::Holdings;
use crate::context::Context;

/// The root certificate of the cluster that every namespace is given, for the token volume of every pod.
const ROOT_CA: &str = "kube-root-ca.crt";

/// Whether no volume of the pod waits for somebody else, but for the root certificate: for an object that may not be there
/// yet, or for a path.
pub fn at_once(pod: &Pod) -> bool {
    pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten()).all(is_at_once)
}

/// Whether a volume of the pod shows the cluster's root certificate.
pub fn shows_root_ca(pod: &Pod) -> bool {
    let volumes = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    let projected = volumes.filter_map(|volume| volume.projected.as_ref());
    projected.flat_map(|projected| projected.sources.iter().flatten()).any(is_root_ca)
}

/// Whether the root certificate that a volume of the pod shows is there; false as well where none shows it.
pub async fn finds_root_ca(context: &Context, pod: &Pod, holdings: &Holdings) -> bool {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    shows_root_ca(pod)
        && holdings.config_map(context, namespace, ROOT_CA, false).await.is_ok_and(|map| map.is_some())
}

fn is_root_ca(source: &VolumeProjection) -> bool {
    source.config_map.as_ref().is_some_and(|map| map.name == ROOT_CA)
}

fn is_at_once(volume: &Volume) -> bool {
    let own = |source: &VolumeProjection| {
        is_root_ca(source) || source.service_account_token.is_some() || source.downward_api.is_some()
    };
    match &volume.projected {
        Some(projected) => projected.sources.iter().flatten().all(own),
        None => volume.empty_dir.is_some() || volume.downward_api.is_some() || volume.image.is_some(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn volumes_that_wait_for_nobody() {
        let token = json!([{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "kube-root-ca.crt"}},
            {"downwardAPI": {"items": []}}]);
        for (volume, expected) in [
            (json!({"projected": {"sources": token}}), true),
            (json!({"projected": {"sources": [{"configMap": {"name": "c"}}]}}), false),
            (json!({"projected": {"sources": [{"secret": {"name": "s"}}]}}), false),
            (json!({"emptyDir": {}}), true),
            (json!({"downwardAPI": {}}), true),
            (json!({"image": {"reference": "i"}}), true),
            (json!({"configMap": {"name": "kube-root-ca.crt"}}), false),
            (json!({"secret": {"secretName": "s"}}), false),
            (json!({"hostPath": {"path": "/", "type": "File"}}), false),
            (json!({"persistentVolumeClaim": {"claimName": "c"}}), false),
        ] {
            let mut named = volume.clone();
            named["name"] = json!("v");
            let volumes = json!([{"name": "first", "emptyDir": {}}, named]);
            let pod = json!({"metadata": {}, "spec": {"containers": [], "volumes": volumes}});
            let pod = serde_json::from_value(pod).unwrap();
            assert_eq!(at_once(&pod), expected, "{volume}");
            let shows = volume["projected"]["sources"][0].get("serviceAccountToken").is_some();
            assert_eq!(shows_root_ca(&pod), shows, "{volume}");
        }
    }
}
