//! Which objects a controller owns, should adopt and should let go (upstream's `controller_ref_manager.go`).

use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource};
use sampan_reconcile::{Error, Informer, Object};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::context::Context;
use crate::words::{controller_of, controller_reference, matches, name, namespace, resource_version, uid};

/// The outcome of sorting objects by controllerRef and selector.
#[derive(Debug)]
pub(crate) struct Claim<K> {
    /// Owned, and selected.
    pub owned: Vec<Arc<K>>,
    /// Selected, and nobody's.
    pub adopt: Vec<Arc<K>>,
    /// Owned, and no longer selected.
    pub release: Vec<Arc<K>>,
}

/// Sorts `objects` for `owner`. An owner that is being deleted neither adopts nor releases.
pub(crate) fn claim<K: Resource>(
    owner: &ObjectMeta,
    selector: &LabelSelector,
    objects: Vec<Arc<K>>,
) -> Claim<K> {
    claim_members(owner, selector, objects, |_| true)
}

/// As [`claim`], where only an object that `is_member` can be the owner's: it lets go of others, selected or not.
pub(crate) fn claim_members<K: Resource>(
    owner: &ObjectMeta,
    selector: &LabelSelector,
    objects: Vec<Arc<K>>,
    is_member: impl Fn(&K) -> bool,
) -> Claim<K> {
    let deleting = owner.deletion_timestamp.is_some();
    let mut claim = Claim { owned: Vec::new(), adopt: Vec::new(), release: Vec::new() };
    for object in objects {
        let meta = object.meta();
        let selected = matches(selector, meta.labels.as_ref()) && is_member(&object);
        match controller_of(meta) {
            Some(reference) if reference.uid != uid(owner) => {}
            Some(_) if selected => claim.owned.push(object),
            Some(_) if !deleting => claim.release.push(object),
            None if selected && !deleting && meta.deletion_timestamp.is_none() => claim.adopt.push(object),
            _ => {}
        }
    }
    claim
}

/// Adopts and releases what was sorted for `owner`; returns its own, as `informer` shows it from then on.
pub(crate) async fn settle<O, K>(
    context: &Context,
    owner: &O,
    informer: &Informer<K>,
    sorted: Claim<K>,
) -> Result<Vec<Arc<K>>, Error>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Object
        + DeserializeOwned
        + std::fmt::Debug,
{
    let api = context.namespaced::<K>(namespace(owner.meta()));
    let (mut owned, mut version) = (sorted.owned, 0);
    if !sorted.adopt.is_empty() {
        still_there(context, owner).await?;
        let adopted = adopt(&api, &controller_reference(owner), &sorted.adopt).await?;
        version = adopted.iter().map(|object| resource_version(object.meta())).max().unwrap_or(0);
        owned.extend(adopted);
    }
    let released = release(&api, uid(owner.meta()), &sorted.release).await?;
    informer.reached(version.max(released)).await;
    Ok(owned)
}

/// Asks the API itself before an adoption: the informer may lag behind a deletion. An owner that is gone ends the pass: what
/// it left is not missing.
pub(crate) async fn still_there<O>(context: &Context, owner: &O) -> Result<(), Error>
where
    O: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let live = context.namespaced::<O>(namespace(owner.meta())).get_opt(name(owner.meta())).await?;
    let same = |live: &O| live.meta().uid == owner.meta().uid && live.meta().deletion_timestamp.is_none();
    match live.as_ref().is_some_and(same) {
        true => Ok(()),
        false => {
            let (place, name) = (namespace(owner.meta()), name(owner.meta()));
            Err(Error::Other(format!("original {} {place}/{name} is gone: it adopts nothing", O::kind(&()))))
        }
    }
}

/// Gives objects to `owner`; returns what is its own now. Those that changed meanwhile are left for later.
pub(crate) async fn adopt<K>(
    api: &Api<K>,
    owner: &OwnerReference,
    objects: &[Arc<K>],
) -> Result<Vec<Arc<K>>, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    adopt_with(api, owner, &[], objects).await
}

/// As [`adopt`], with finalizers of the new owner.
pub(crate) async fn adopt_with<K>(
    api: &Api<K>,
    owner: &OwnerReference,
    finalizers: &[&str],
    objects: &[Arc<K>],
) -> Result<Vec<Arc<K>>, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut adopted = Vec::new();
    for object in objects {
        let mut body = json!({"metadata": {"uid": uid(object.meta()), "ownerReferences": [owner]}});
        if !finalizers.is_empty() {
            body["metadata"]["finalizers"] = json!(finalizers);
        }
        let patched = api.patch(name(object.meta()), &PatchParams::default(), &Patch::Strategic(body)).await;
        match patched {
            Ok(object) => adopted.push(Arc::new(object)),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(adopted)
}

/// Takes the ownership of `owner` from objects; returns the highest resourceVersion written.
pub(crate) async fn release<K>(api: &Api<K>, owner: &str, objects: &[Arc<K>]) -> Result<u64, Error>
where
    K: Resource + Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut version = 0;
    for object in objects {
        let reference = json!({"$patch": "delete", "uid": owner});
        let body = json!({"metadata": {"uid": uid(object.meta()), "ownerReferences": [reference]}});
        match api.patch(name(object.meta()), &PatchParams::default(), &Patch::Strategic(body)).await {
            Ok(object) => version = version.max(resource_version(object.meta())),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409 | 422) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(version)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use k8s_openapi::api::core::v1::Pod;

    fn pod(name: &str, app: &str, owner: Option<&str>) -> Arc<Pod> {
        let owners: Vec<_> = owner
            .map(|uid| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": uid, "controller": true}))
            .into_iter()
            .collect();
        let pod = json!({"metadata": {"name": name, "labels": {"app": app}, "ownerReferences": owners}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn claims_by_reference_and_selector() {
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        let pods = || {
            vec![
                pod("mine", "web", Some("u1")),
                pod("strayed", "db", Some("u1")),
                pod("orphan", "web", None),
                pod("other", "web", Some("u2")),
                pod("unrelated", "db", None),
            ]
        };
        let names = |pods: &[Arc<Pod>]| pods.iter().map(|p| name(&p.metadata).to_owned()).collect::<Vec<_>>();
        let mut owner = ObjectMeta { uid: Some("u1".into()), ..Default::default() };
        let sorted = claim(&owner, &selector, pods());
        assert_eq!(names(&sorted.owned), ["mine"]);
        assert_eq!(names(&sorted.adopt), ["orphan"]);
        assert_eq!(names(&sorted.release), ["strayed"]);
        owner.deletion_timestamp =
            Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Default::default()));
        let sorted = claim(&owner, &selector, pods());
        assert_eq!((sorted.owned.len(), sorted.adopt.len(), sorted.release.len()), (1, 0, 0));
    }

    #[test]
    fn what_is_no_member_is_neither_kept_nor_adopted() {
        let selector: LabelSelector = serde_json::from_value(json!({"matchLabels": {"app": "web"}})).unwrap();
        let owner = ObjectMeta { uid: Some("u1".into()), ..Default::default() };
        for (member, owned, adopt, release) in [("web-", 1, 1, 0), ("db-", 0, 0, 1)] {
            let pods = vec![pod("web-0", "web", Some("u1")), pod("web-1", "web", None)];
            let is_member = |pod: &Pod| name(&pod.metadata).starts_with(member);
            let sorted = claim_members(&owner, &selector, pods, is_member);
            let counts = (sorted.owned.len(), sorted.adopt.len(), sorted.release.len());
            assert_eq!(counts, (owned, adopt, release), "{member}");
        }
    }
}
