//! API groups that are not in the registry: served by someone else in this process, for as long as they want to.
//! What upstream's kube-aggregator does for API servers behind a Service.
//!
//! A request comes here after authentication and authorization, as one of the registry's does. What is here fits a
//! backend behind a Service as well: it would be one more [`GroupHandler`], which adds `X-Remote-User` and its like.

mod availability;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use parking_lot::RwLock;
use sampan_api::kinds;
use sampan_store::Store;
use serde_json::Value;
use tokio::sync::watch;

use crate::pipeline::{Context, respond};
use crate::value::{at, text};
use crate::{ApiServer, ResponseBody, UserInfo};

pub(crate) use availability::follow;

/// Answers requests of a group for a user who may make them.
pub type GroupHandler =
    Arc<dyn Fn(Request<Bytes>, Arc<UserInfo>) -> BoxFuture<'static, Response<ResponseBody>> + Send + Sync>;

/// The store's bucket of what is registered.
const API_SERVICES: &str = "apiservices.apiregistration.k8s.io";
/// How long a group may take to say what it serves.
const PATIENCE: Duration = Duration::from_secs(5);

/// Group and version.
type Place = (String, String);

/// Who serves which group.
pub(crate) struct Groups {
    served: RwLock<BTreeMap<Place, GroupHandler>>,
    /// Beginnings of paths that are no API groups, and who serves what is below.
    paths: RwLock<BTreeMap<&'static str, GroupHandler>>,
    /// Counts changes of `served`.
    changes: watch::Sender<u64>,
}

impl Default for Groups {
    fn default() -> Self {
        Self { served: RwLock::default(), paths: RwLock::default(), changes: watch::Sender::new(0) }
    }
}

impl Groups {
    fn handler(&self, group: &str, version: &str) -> Option<GroupHandler> {
        self.served.read().get(&(group.to_owned(), version.to_owned())).cloned()
    }

    fn below(&self, path: &str) -> Option<GroupHandler> {
        let paths = self.paths.read();
        let found = paths.iter().find(|(prefix, _)| {
            path.strip_prefix(**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        found.map(|(_, handler)| handler.clone())
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// A group that is served until this is dropped.
#[must_use = "the group is served for as long as this is held"]
pub struct ServedGroup {
    groups: Arc<Groups>,
    place: Place,
    handler: GroupHandler,
}

impl Drop for ServedGroup {
    fn drop(&mut self) {
        let mut served = self.groups.served.write();
        // another may have taken the place
        if served.get(&self.place).is_some_and(|handler| Arc::ptr_eq(handler, &self.handler)) {
            served.remove(&self.place);
        }
        drop(served);
        self.groups.changed();
    }
}

/// One version of a group, as discovery shows it.
pub(crate) struct Version {
    /// Its name.
    pub name: String,
    /// Its `APIResourceList`; `None` while nobody answers for it.
    pub resources: Option<Value>,
}

impl ApiServer {
    /// Serves `/apis/GROUP/VERSION` by `handler` until the answer is dropped. Requests come to it authorized, with
    /// their path, query, headers and body; `GET` of the path itself has to give the `APIResourceList`.
    pub fn serve_group(&self, group: &str, version: &str, handler: GroupHandler) -> ServedGroup {
        let (groups, place) = (self.groups().clone(), (group.to_owned(), version.to_owned()));
        groups.served.write().insert(place.clone(), handler.clone());
        groups.changed();
        ServedGroup { groups, place, handler }
    }

    /// Serves everything below a path that is no API group, such as `/sampan/v1`, from now on. Requests come authorized:
    /// for RBAC it is a `nonResourceURL`, whose verb is the method.
    pub fn serve_path(&self, prefix: &'static str, handler: GroupHandler) {
        self.groups().paths.write().insert(prefix, handler);
    }

    /// The answer of whoever serves the group that the request is for; `None` for the registry's groups.
    pub(crate) async fn aggregated(&self, context: &Context) -> Option<Response<ResponseBody>> {
        if let Some(handler) = self.groups().below(&context.info.path) {
            return Some(handler(request(context), context.user.clone()).await);
        }
        let mut parts = context.info.path.trim_matches('/').split('/');
        let (Some("apis"), Some(group), Some(version)) = (parts.next(), parts.next(), parts.next()) else {
            return None;
        };
        if kinds::group(group).is_some() || self.customs().has_group(group) {
            return None;
        }
        match self.groups().handler(group, version) {
            Some(handler) => Some(handler(request(context), context.user.clone()).await),
            None if registered(self.store()).contains(&(group.to_owned(), version.to_owned())) => {
                // upstream's words, not a Status
                Some(respond::raw(503, "text/plain; charset=utf-8", "service unavailable\n"))
            }
            None => None,
        }
    }

    /// Groups besides the registry's, each with its versions, in alphabetical order.
    pub(crate) async fn other_groups(&self) -> Vec<(String, Vec<Version>)> {
        let served: BTreeMap<Place, GroupHandler> = self.groups().served.read().clone();
        let mut places = registered(self.store());
        places.extend(served.keys().cloned());
        let mut groups: Vec<(String, Vec<Version>)> = Vec::new();
        let elsewhere = |group: &str| kinds::group(group).is_none() && !self.customs().has_group(group);
        for (group, name) in places.into_iter().filter(|(group, _)| elsewhere(group)) {
            let resources = match served.get(&(group.clone(), name.clone())) {
                Some(handler) => resources(handler, &group, &name).await,
                None => None,
            };
            let version = Version { name, resources };
            match groups.last_mut().filter(|(last, _)| *last == group) {
                Some((_, versions)) => versions.push(version),
                None => groups.push((group, vec![version])),
            }
        }
        groups.extend(self.customs().groups().into_iter().map(custom));
        groups.sort_by(|(a, _), (b, _)| a.cmp(b));
        groups
    }
}

/// A group of custom resources.
fn custom((group, versions): crate::crd::Group) -> (String, Vec<Version>) {
    let version = |(name, kinds): (String, Vec<&'static kinds::Kind>)| {
        let resources = sampan_api::discovery::resource_list(&group, &name, kinds.into_iter());
        Version { name, resources }
    };
    let versions = versions.into_iter().map(version).collect();
    (group, versions)
}

/// The request as it came, without what was for this server alone.
fn request(context: &Context) -> Request<Bytes> {
    let mut request = Request::new(context.body.clone());
    *request.method_mut() = context.head.method.clone();
    *request.uri_mut() = context.head.uri.clone();
    *request.headers_mut() = context.head.headers.clone();
    request.headers_mut().remove(AUTHORIZATION);
    let impersonation: Vec<_> =
        request.headers().keys().filter(|name| name.as_str().starts_with("impersonate-")).cloned().collect();
    for name in impersonation {
        request.headers_mut().remove(name);
    }
    request
}

/// What a group says that it serves.
async fn resources(handler: &GroupHandler, group: &str, version: &str) -> Option<Value> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = Method::GET;
    *request.uri_mut() = format!("/apis/{group}/{version}").parse().ok()?;
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
    let user = UserInfo::new("system:kube-aggregator", &["system:masters"]);
    let answer = async {
        let response = handler(request, Arc::new(user)).await;
        let well = response.status().is_success();
        response.into_body().collect().await.ok().map(|body| body.to_bytes()).filter(|_| well)
    };
    let body = tokio::time::timeout(PATIENCE, answer).await.ok().flatten()?;
    serde_json::from_slice(&body).ok().filter(|list| at(list, &["resources"]).is_array())
}

/// Groups and versions of APIService objects.
fn registered(store: &Store) -> BTreeSet<Place> {
    let all = store.list(API_SERVICES);
    let parsed = all.map.values().filter_map(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    let place = |object: Value| {
        (text(&object, &["spec", "group"]).to_owned(), text(&object, &["spec", "version"]).to_owned())
    };
    parsed.map(place).filter(|(group, _)| !group.is_empty()).collect()
}
