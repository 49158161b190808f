//! Requests about objects of any kind, by their row in the kinds table.

use kube::api::{DeleteParams, GetParams, ListParams, Patch, PatchParams};
use kube::core::Request;
use sampan_api::kinds::{self, Kind};
use sampan_reconcile::HashSet;
use serde::Deserialize;
use serde_json::Value;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// An object of which only the metadata is known.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Partial {
    pub metadata: ObjectMeta,
}

#[derive(Deserialize)]
struct PartialList {
    #[serde(default)]
    items: Vec<Partial>,
}

#[derive(Deserialize)]
struct WholeList {
    #[serde(default)]
    items: Vec<Value>,
}

/// Every stored kind once, in one of its versions, that can be listed, watched and deleted. Events are left out
/// if `events` is false: nobody owns one.
pub(crate) fn deletable(events: bool) -> Vec<&'static Kind> {
    let mut seen = HashSet::default();
    let preferred =
        |kind: &Kind| kinds::group(kind.group).and_then(|g| g.versions.first()) == Some(&kind.version);
    let mut all: Vec<&Kind> = kinds::all().iter().filter(|kind| !kind.virtual_).collect();
    all.sort_by_key(|kind| !preferred(kind));
    all.retain(|kind| {
        ["delete", "list", "watch"].iter().all(|verb| kind.allows(verb))
            && (events || kind.kind != "Event")
            && seen.insert(kind.storage_group)
    });
    all
}

/// A kind that is not built in: a custom resource, or one of an aggregated API server.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Other {
    pub group: String,
    pub version: String,
    pub plural: String,
    pub delete_all: bool,
}

impl Other {
    /// The path of its objects in a namespace.
    pub fn path(&self, namespace: &str) -> String {
        format!("/apis/{}/{}/namespaces/{namespace}/{}", self.group, self.version, self.plural)
    }
}

/// Kinds besides the built-in ones that live in namespaces and can be listed and deleted, by discovery; and the groups
/// that could not be asked.
pub(crate) async fn others(client: &kube::Client) -> kube::Result<(Vec<Other>, Vec<String>)> {
    let (mut all, mut silent) = (Vec::new(), Vec::new());
    for group in client.list_api_groups().await?.groups {
        let Some(version) = group.preferred_version.or_else(|| group.versions.first().cloned()) else {
            continue;
        };
        if kinds::group(&group.name).is_some() {
            continue;
        }
        let Ok(list) = client.list_api_group_resources(&version.group_version).await else {
            silent.push(version.group_version);
            continue;
        };
        let can = |verbs: &[String], verb: &str| verbs.iter().any(|one| one == verb);
        let wanted = list.resources.into_iter().filter(|one| {
            one.namespaced && !one.name.contains('/') && can(&one.verbs, "list") && can(&one.verbs, "delete")
        });
        all.extend(wanted.map(|one| Other {
            group: group.name.clone(),
            version: version.version.clone(),
            delete_all: can(&one.verbs, "deletecollection"),
            plural: one.name,
        }));
    }
    Ok((all, silent))
}

/// The API path of a kind's collection.
pub(crate) fn path(kind: &Kind, namespace: Option<&str>) -> String {
    let root = match kind.group {
        "" => format!("/api/{}", kind.version),
        group => format!("/apis/{group}/{}", kind.version),
    };
    match namespace.filter(|_| kind.namespaced) {
        Some(namespace) => format!("{root}/namespaces/{namespace}/{}", kind.plural),
        None => format!("{root}/{}", kind.plural),
    }
}

/// One kind's objects in one namespace, or of the cluster.
pub(crate) struct Collection {
    client: kube::Client,
    request: Request,
}

impl Collection {
    pub fn new(client: &kube::Client, kind: &Kind, namespace: Option<&str>) -> Self {
        Self::at(client, path(kind, namespace))
    }

    /// The collection at a path.
    pub fn at(client: &kube::Client, path: String) -> Self {
        Self { client: client.clone(), request: Request::new(path) }
    }

    pub async fn list(&self) -> kube::Result<Vec<Partial>> {
        let http = self.request.list_metadata(&ListParams::default()).map_err(kube::Error::BuildRequest)?;
        Ok(self.client.request::<PartialList>(http).await?.items)
    }

    /// The objects as they are.
    pub async fn list_whole(&self) -> kube::Result<Vec<Value>> {
        let http = self.request.list(&ListParams::default()).map_err(kube::Error::BuildRequest)?;
        Ok(self.client.request::<WholeList>(http).await?.items)
    }

    /// The object's metadata; `None` if there is no such object.
    pub async fn get(&self, name: &str) -> kube::Result<Option<Partial>> {
        found(self.look(name).await)
    }

    /// The object's metadata, or the API's answer that there is none.
    pub async fn look(&self, name: &str) -> kube::Result<Partial> {
        let http =
            self.request.get_metadata(name, &GetParams::default()).map_err(kube::Error::BuildRequest)?;
        self.client.request(http).await
    }

    /// Deletes; what is gone or has changed is left alone.
    pub async fn delete(&self, name: &str, params: &DeleteParams) -> kube::Result<()> {
        let http = self.request.delete(name, params).map_err(kube::Error::BuildRequest)?;
        found(self.client.request::<Value>(http).await).map(drop)
    }

    pub async fn delete_all(&self, params: &DeleteParams) -> kube::Result<()> {
        let http = self.request.delete_collection(params, &ListParams::default());
        found(self.client.request::<Value>(http.map_err(kube::Error::BuildRequest)?).await).map(drop)
    }

    pub async fn merge(&self, name: &str, body: &Value) -> kube::Result<()> {
        let http = self.request.patch(name, &PatchParams::default(), &Patch::Merge(body));
        found(self.client.request::<Value>(http.map_err(kube::Error::BuildRequest)?).await).map(drop)
    }
}

fn found<T>(result: kube::Result<T>) -> kube::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_stored_kind_comes_once() {
        let all = deletable(false);
        let count = |plural: &str| all.iter().filter(|kind| kind.plural == plural).count();
        assert_eq!((count("pods"), count("deployments"), count("events"), count("bindings")), (1, 1, 0, 0));
        let autoscaler = all.iter().find(|kind| kind.plural == "horizontalpodautoscalers").unwrap();
        assert_eq!(autoscaler.version, "v2");
    }

    #[test]
    fn paths() {
        let pod = kinds::by_resource("", "v1", "pods").unwrap();
        let deployment = kinds::by_resource("apps", "v1", "deployments").unwrap();
        let node = kinds::by_resource("", "v1", "nodes").unwrap();
        assert_eq!(path(pod, None), "/api/v1/pods");
        assert_eq!(path(deployment, Some("a")), "/apis/apps/v1/namespaces/a/deployments");
        assert_eq!(path(node, Some("a")), "/api/v1/nodes");
    }
}
