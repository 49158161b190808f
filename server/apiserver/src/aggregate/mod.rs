//! API groups that are not in the registry: served by someone else in this process, for as long as they want to, or by
//! an API server behind a Service. What upstream's kube-aggregator does.
//!
//! A request comes here after authentication and authorization, as one of the registry's does. Whoever serves in this
//! process is a [`GroupHandler`]; a server elsewhere is a `Backend`, which is told who asks by `X-Remote-User` and its
//! like, over TLS with the front proxy's certificate.
//!
//! - `table`: the APIService objects. `backend`: a server elsewhere. `forward`: requests to it. `availability`: whether
//!   it answers. `openapi`: what it publishes. `local`: the registry's own APIServices, and the order of groups.
//!   `custom`: those of custom resources' groups.
//! - `authentication`: what such servers have to believe.

pub(crate) mod authentication;
mod availability;
mod backend;
pub(crate) mod custom;
mod forward;
pub(crate) mod local;
pub(crate) mod metrics;
mod openapi;
mod table;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use http::{Method, Request, Response};
use http_body_util::BodyExt;
use parking_lot::{Mutex, RwLock};
use sampan_api::kinds;
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::pipeline::{Context, passing};
use crate::pki::Pki;
use crate::value::at;
use crate::{ApiServer, ResponseBody, UserInfo};

pub(crate) use availability::follow;
use backend::{Backend, Backends};
use forward::Failed;
use openapi::Published;
use table::{Spec, Table};

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
    table: Table,
    backends: Backends,
    /// Places whose server did not answer.
    doubts: mpsc::Sender<Place>,
    /// Who looks after `doubts` takes this.
    doubted: Mutex<Option<mpsc::Receiver<Place>>>,
    pki: Pki,
}

impl Groups {
    /// Nobody serves anything yet; `pki` has the front proxy's certificate.
    pub(crate) fn new(pki: Pki) -> Self {
        let (doubts, doubted) = mpsc::channel(16);
        Self {
            served: RwLock::default(),
            paths: RwLock::default(),
            changes: watch::Sender::new(0),
            table: Table::default(),
            backends: Backends::default(),
            doubts,
            doubted: Mutex::new(Some(doubted)),
            pki,
        }
    }

    fn backend(&self, place: &Place, spec: &Spec) -> Option<Arc<Backend>> {
        self.backends.of(place, spec, &self.pki.front_proxy())
    }

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
        if let Some(handler) = self.groups().handler(group, version) {
            return Some(handler(request(context), context.user.clone()).await);
        }
        let place = (group.to_owned(), version.to_owned());
        let specs = self.groups().table.now(self.store());
        let spec = specs.get(&place).filter(|spec| self.is_elsewhere(&place, spec))?;
        let Some(backend) = self.groups().backend(&place, spec).filter(|_| spec.available) else {
            return Some(unavailable());
        };
        Some(self.forwarded(context, place, &backend).await)
    }

    /// Whether an APIService says that somebody else than the registry answers, be it nobody at present.
    fn is_elsewhere(&self, place: &Place, spec: &Spec) -> bool {
        spec.service.is_some() || spec.is_foreign() && !self.customs().defines(&place.0, &place.1)
    }

    async fn forwarded(&self, context: &Context, place: Place, backend: &Backend) -> Response<ResponseBody> {
        match forward::forward(self.store(), context, backend).await {
            Ok(response) => response,
            Err(failed) => {
                // a full queue has enough to look at
                let _ = self.groups().doubts.try_send(place);
                match failed {
                    Failed::Unavailable => unavailable(),
                    Failed::Unreached(response) => response,
                }
            }
        }
    }

    /// Groups besides the registry's, each with its versions, in upstream's order: by `groupPriorityMinimum`, and within
    /// by `versionPriority`.
    pub(crate) async fn other_groups(&self) -> Vec<(String, Vec<Version>)> {
        let groups = self.groups();
        let served: BTreeMap<Place, GroupHandler> = groups.served.read().clone();
        let specs = groups.table.now(self.store());
        let mut places: Vec<Place> = served.keys().cloned().collect();
        let elsewhere = specs.foreign().filter(|(place, spec)| self.is_elsewhere(place, spec));
        places.extend(elsewhere.map(|(place, _)| place.clone()));
        places.retain(|(group, _)| kinds::group(group).is_none() && !self.customs().has_group(group));
        let rank = |place: &Place| specs.get(place).map_or(0, |spec| spec.version_priority);
        places.sort_by_cached_key(|place| {
            let group = Reverse(specs.group_priority(&place.0).unwrap_or(0));
            (group, place.0.clone(), Reverse(rank(place)), local::version_rank(&place.1), place.1.clone())
        });
        places.dedup();
        let mut found: Vec<(String, Vec<Version>)> = Vec::new();
        for place in places {
            let resources = match (served.get(&place), specs.get(&place)) {
                (Some(handler), _) => resources(handler, &place.0, &place.1).await,
                (None, Some(spec)) if spec.available => {
                    groups.backend(&place, spec).and_then(|backend| backend.resources.lock().clone())
                }
                _ => None,
            };
            let (group, name) = place;
            let version = Version { name, resources };
            match found.last_mut().filter(|(last, _)| *last == group) {
                Some((_, versions)) => versions.push(version),
                None => found.push((group, vec![version])),
            }
        }
        found.extend(self.customs().groups().into_iter().map(custom));
        found
    }

    /// Where a group that is not the registry's stands in discovery.
    pub(crate) fn group_priority(&self, group: &str) -> u32 {
        self.groups().table.now(self.store()).group_priority(group).unwrap_or(0)
    }

    /// `/openapi` where servers elsewhere have a part in it.
    pub(crate) async fn aggregated_openapi(
        &self,
        rest: &[&str],
        context: &Context,
    ) -> Option<Response<ResponseBody>> {
        let specs = self.groups().table.now(self.store());
        let published = || {
            let remote = specs
                .foreign()
                .filter(|(place, spec)| spec.service.is_some() && kinds::group(&place.0).is_none());
            remote.filter_map(|(place, spec)| {
                let backend = self.groups().backend(place, spec)?;
                let published = backend.published.lock().clone()?;
                Some((place.clone(), published))
            })
        };
        let headers = &context.head.headers;
        let all: Vec<(Place, Arc<Published>)> = match rest {
            ["v2" | "v3"] => published().collect(),
            ["v3", "apis", group, version]
                if kinds::group(group).is_none() && !self.customs().has_group(group) =>
            {
                let place = ((*group).to_owned(), (*version).to_owned());
                let spec = specs.get(&place).filter(|spec| spec.available)?;
                let backend = self.groups().backend(&place, spec)?;
                return Some(self.forwarded(context, place, &backend).await);
            }
            _ => return None,
        };
        if all.is_empty() {
            return None;
        }
        let published = all.iter().map(|(_, published)| published.as_ref());
        let (bytes, content): (Bytes, _) = match rest {
            ["v3"] => {
                let mut index = crate::routes::openapi::index(self.customs());
                for ((group, version), published) in &all {
                    let path = sampan_api::openapi::v3_path(group, version);
                    if let Some(url) = &published.v3 {
                        index["paths"][path] = serde_json::json!({"serverRelativeURL": url});
                    }
                }
                (index.to_string().into(), "application/json")
            }
            _ if context.accept().contains("proto-openapi.spec.v2") => {
                let content = sampan_api::openapi::V2_PROTO_CONTENT_TYPE;
                (
                    openapi::merged_proto(&crate::routes::openapi::v2_proto(self.customs()), published)
                        .into(),
                    content,
                )
            }
            _ => {
                let own = crate::routes::openapi::v2(self.customs());
                let own = std::str::from_utf8(&own).unwrap_or_default();
                (openapi::merged(own, published).into(), "application/json")
            }
        };
        Some(crate::routes::with_etag(bytes, content, headers))
    }
}

/// Upstream's words, not a Status.
fn unavailable() -> Response<ResponseBody> {
    forward::plain(503, "service unavailable")
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
    passing::without_impersonation(request.headers_mut());
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
