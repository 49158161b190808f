//! How many pods those who own some pods want together: the denominator of a budget in percent
//! (upstream's `getExpectedScale` and its finders).

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::{Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::core::v1::{Pod, ReplicationController};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::Resource;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::pinned_kind;
use sampan_reconcile::{Error, HashMap, Informer, Key, Object, Sources};

use super::Work;
use crate::context::Context;
use crate::pod_control::message_of;
use crate::words::{controller_of, name, namespace};

/// What the owners of some pods want together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    pub pods: i32,
    /// Names of pods that nobody controls.
    pub unmanaged: Vec<String>,
}

/// Copies of the kinds that own pods and have a scale.
pub(super) struct Owners {
    context: Context,
    deployments: Informer<Deployment>,
    replica_sets: Informer<ReplicaSet>,
    stateful_sets: Informer<StatefulSet>,
    controllers: Informer<ReplicationController>,
}

/// The object that `owner` means: a namesake of it is another one.
fn found<K>(informer: &Informer<K>, owner: &OwnerReference, place: &str) -> Option<Arc<K>>
where
    K: Resource<DynamicType = ()> + Object,
{
    if owner.kind != K::kind(&()) || owner.api_version != K::api_version(&()) {
        return None;
    }
    let object = informer.get(&Key::namespaced(place, &owner.name))?;
    (object.meta().uid.as_deref() == Some(owner.uid.as_str())).then_some(object)
}

/// Why nobody can be asked for the scale of `owner`.
fn unknown(owner: &OwnerReference, error: &kube::Error) -> String {
    let missing = match error {
        kube::Error::Discovery(_) => true,
        kube::Error::Api(status) => status.code == 404,
        _ => false,
    };
    match missing {
        true => format!("no matches for kind {:?} in version {:?}", owner.kind, owner.api_version),
        false => message_of(error),
    }
}

impl Owners {
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            deployments: context.informers.of(),
            replica_sets: context.informers.of(),
            stateful_sets: context.informers.of(),
            controllers: context.informers.of(),
        }
    }

    /// Says which work a change of a scale is for; `budgets` gives it for a namespace.
    pub fn sources(
        &self,
        sources: &mut Sources<Work>,
        budgets: impl Fn(&str) -> Vec<Work> + Clone + Send + 'static,
    ) {
        fn on<K>(
            sources: &mut Sources<Work>,
            informer: &Informer<K>,
            scale: fn(&K) -> Option<i32>,
            budgets: impl Fn(&str) -> Vec<Work> + Send + 'static,
        ) where
            K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Object,
        {
            sources.on(informer, move |delta| {
                let of = |object: &Option<Arc<K>>| object.as_ref().map(|object| scale(object));
                if of(&delta.old) == of(&delta.new) { Vec::new() } else { budgets(delta.key.namespace()) }
            });
        }
        on(sources, &self.deployments, |d| d.spec.as_ref()?.replicas, budgets.clone());
        on(sources, &self.replica_sets, |rs| rs.spec.as_ref()?.replicas, budgets.clone());
        on(sources, &self.stateful_sets, |set| set.spec.as_ref()?.replicas, budgets.clone());
        on(sources, &self.controllers, |rc| rc.spec.as_ref()?.replicas, budgets);
    }

    /// The sum over the distinct owners of `pods`; the inner error is about the cluster and belongs into the
    /// budget's condition.
    pub async fn scale(&self, pods: &[Arc<Pod>]) -> Result<Result<Expected, String>, Error> {
        let mut expected = Expected::default();
        let mut scales: HashMap<String, i32> = HashMap::default();
        for pod in pods {
            let Some(owner) = controller_of(&pod.metadata) else {
                expected.unmanaged.push(name(&pod.metadata).to_owned());
                continue;
            };
            if scales.contains_key(&owner.uid) {
                continue;
            }
            let place = namespace(&pod.metadata);
            let scale = match self.known(owner, place) {
                Some((uid, scale)) => Ok(Some((uid, scale))),
                None => self.asked(owner, place).await?,
            };
            match scale {
                Ok(Some((uid, scale))) => {
                    // the pod's own controller may be below the one that has the scale
                    scales.entry(owner.uid.clone()).or_insert(0);
                    scales.insert(uid, scale);
                }
                Ok(None) => {
                    return Ok(Err(format!("found no controllers for pod {:?}", name(&pod.metadata))));
                }
                Err(why) => return Ok(Err(why)),
            }
        }
        expected.pods = scales.values().sum();
        Ok(Ok(expected))
    }

    /// The scale of the kinds that there are copies of.
    fn known(&self, owner: &OwnerReference, place: &str) -> Option<(String, i32)> {
        let uid = owner.uid.clone();
        if let Some(rc) = found(&self.controllers, owner, place) {
            return Some((uid, rc.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        if let Some(set) = found(&self.stateful_sets, owner, place) {
            return Some((uid, set.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        let set = found(&self.replica_sets, owner, place)?;
        if let Some(above) = controller_of(&set.metadata).filter(|above| above.kind == "Deployment") {
            let deployment = found(&self.deployments, above, place)?;
            return Some((above.uid.clone(), deployment.spec.as_ref()?.replicas.unwrap_or(1)));
        }
        Some((uid, set.spec.as_ref()?.replicas.unwrap_or(1)))
    }

    /// The scale subresource of any other kind.
    async fn asked(
        &self,
        owner: &OwnerReference,
        place: &str,
    ) -> Result<Result<Option<(String, i32)>, String>, Error> {
        let (group, version) = owner.api_version.split_once('/').unwrap_or(("", &owner.api_version));
        let kind = GroupVersionKind::gvk(group, version, &owner.kind);
        let (resource, capabilities) = match pinned_kind(&self.context.client, &kind).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(unknown(owner, &error))),
        };
        if !capabilities.subresources.iter().any(|(sub, _)| sub.plural == "scale") {
            let qualified = match group {
                "" => resource.plural.clone(),
                group => format!("{}.{group}", resource.plural),
            };
            return Ok(Err(format!("{qualified} does not implement the scale subresource")));
        }
        let path = DynamicObject::url_path(&resource, Some(place));
        let request = kube::core::Request::new(path)
            .get_subresource("scale", &owner.name)
            .map_err(kube::Error::BuildRequest)?;
        match self.context.client.request::<Scale>(request).await {
            Ok(scale) if scale.metadata.uid.as_deref() == Some(owner.uid.as_str()) => {
                let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(0);
                Ok(Ok(Some((owner.uid.clone(), replicas))))
            }
            Ok(_) => Ok(Ok(None)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(Ok(None)),
            Err(kube::Error::Api(status)) => Ok(Err(status.message.clone())),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::error::DiscoveryError;

    #[test]
    fn a_kind_that_is_not_there_is_named() {
        let owner = OwnerReference {
            api_version: "example.com/v1".to_owned(),
            kind: "Crd".to_owned(),
            ..OwnerReference::default()
        };
        let error = kube::Error::Discovery(DiscoveryError::MissingKind("x".to_owned()));
        assert_eq!(unknown(&owner, &error), r#"no matches for kind "Crd" in version "example.com/v1""#);
    }
}
