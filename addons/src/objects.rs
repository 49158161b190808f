//! Requests about objects of any kind, by apiVersion and kind: the rim that the plan's writes go through.

use std::collections::HashMap;

use kube::api::{DeleteParams, GetParams, PostParams, Preconditions, PropagationPolicy};
use kube::core::Request;
use parking_lot::Mutex;
use sampan_api::kinds;
use sampan_api::strict::Spot;
use serde::Deserialize;
use serde_json::Value;

use crate::error::Error;
use crate::merge::merge;
use crate::object::{OWNER, Reference, Wanted, owner_of};

/// How our writes are signed.
const MANAGER: &str = "sampan-addons";
/// Writes that lose against somebody else's are made anew this often.
const TURNS: usize = 5;

/// How a kind is reached.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    root: String,
    plural: String,
    pub namespaced: bool,
    /// The place in the field table, for built-in kinds.
    spot: Option<Spot>,
}

impl Route {
    /// The path of all objects of the kind.
    pub fn all(&self) -> String {
        format!("{}/{}", self.root, self.plural)
    }

    fn collection(&self, namespace: Option<&str>) -> Request {
        Request::new(match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{}/namespaces/{namespace}/{}", self.root, self.plural),
            None => self.all(),
        })
    }
}

/// All objects of the cluster, through one client.
pub(crate) struct Objects {
    client: kube::Client,
    found: Mutex<HashMap<(String, String), Route>>,
}

#[derive(Deserialize)]
struct Resources {
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
    kind: String,
    namespaced: bool,
}

impl Objects {
    pub fn new(client: kube::Client) -> Self {
        Self { client, found: Mutex::default() }
    }

    pub fn client(&self) -> &kube::Client {
        &self.client
    }

    /// How a kind is reached: by the table of built-in kinds, else by discovery.
    pub async fn route(&self, api_version: &str, kind: &str, origin: &str) -> Result<Route, Error> {
        let (group, version) = api_version.rsplit_once('/').unwrap_or(("", api_version));
        let root = match group {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        };
        if let Some(row) = kinds::by_kind(group, version, kind) {
            let plural = row.plural.to_owned();
            return Ok(Route { root, plural, namespaced: row.namespaced, spot: Spot::root(row.schema) });
        }
        let slot = (api_version.to_owned(), kind.to_owned());
        if let Some(route) = self.found.lock().get(&slot) {
            return Ok(route.clone());
        }
        let what = format!("{api_version} {kind}");
        let failed = |error: &kube::Error| Error::api(&what, origin, error);
        let request = http::Request::get(&root).body(Vec::new()).map_err(kube::Error::HttpError);
        let answer: Resources =
            self.client.request(request.map_err(|e| failed(&e))?).await.map_err(|e| failed(&e))?;
        let one = answer.resources.into_iter().find(|one| one.kind == kind && !one.name.contains('/'));
        let one = one.ok_or_else(|| Error::Api {
            what,
            origin: origin.to_owned(),
            message: "the cluster has no such kind".to_owned(),
            code: 404,
        })?;
        let route = Route { root, plural: one.name, namespaced: one.namespaced, spot: None };
        self.found.lock().insert(slot, route.clone());
        Ok(route)
    }

    /// The object at a place; `None` if there is none.
    pub async fn get(&self, place: &Reference, route: &Route, origin: &str) -> Result<Option<Value>, Error> {
        let request = route.collection(place.namespace.as_deref()).get(&place.name, &GetParams::default());
        let failed = |error: &kube::Error| Error::api(place.to_string(), origin, error);
        let request = request.map_err(kube::Error::BuildRequest).map_err(|error| failed(&error))?;
        match self.client.request(request).await {
            Ok(object) => Ok(Some(object)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(error) => Err(failed(&error)),
        }
    }

    /// Refuses if an object is there that is not `owner`'s, or that is going.
    pub async fn claim(&self, wanted: &Wanted, route: &Route, owner: &str) -> Result<(), Error> {
        match self.get(&wanted.reference, route, &wanted.origin).await? {
            Some(live) => may_have(&live, wanted, owner),
            None => Ok(()),
        }
    }

    /// Makes an object what is wanted, keeping what others set; as it is then.
    pub async fn apply(
        &self,
        wanted: &Wanted,
        last: Option<&Value>,
        route: &Route,
        owner: &str,
    ) -> Result<Value, Error> {
        let mut error = Error::Leaving(wanted.reference.to_string());
        for _ in 0..TURNS {
            let written = match self.get(&wanted.reference, route, &wanted.origin).await? {
                None => self.create(wanted, route).await,
                Some(live) => {
                    may_have(&live, wanted, owner)?;
                    let mut merged = merge(last, &wanted.value, &live, route.spot);
                    if let Some(version) = live.get("apiVersion") {
                        merged["apiVersion"] = version.clone();
                    }
                    if merged == live {
                        return Ok(live);
                    }
                    self.replace(wanted, &merged, route).await
                }
            };
            match written {
                Ok(object) => return Ok(object),
                // made, changed or deleted by somebody meanwhile: look again
                Err(refused @ Error::Api { code: 404 | 409, .. }) => error = refused,
                Err(refused) => return Err(refused),
            }
        }
        Err(error)
    }

    async fn create(&self, wanted: &Wanted, route: &Route) -> Result<Value, Error> {
        let collection = route.collection(wanted.reference.namespace.as_deref());
        let body = serde_json::to_vec(&wanted.value).map_err(|error| Error::Code(error.to_string()))?;
        self.send(collection.create(&signed(), body), wanted).await
    }

    async fn replace(&self, wanted: &Wanted, object: &Value, route: &Route) -> Result<Value, Error> {
        let collection = route.collection(wanted.reference.namespace.as_deref());
        let body = serde_json::to_vec(object).map_err(|error| Error::Code(error.to_string()))?;
        self.send(collection.replace(&wanted.reference.name, &signed(), body), wanted).await
    }

    async fn send(
        &self,
        request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
        wanted: &Wanted,
    ) -> Result<Value, Error> {
        let failed = |error: &kube::Error| Error::api(wanted.reference.to_string(), &wanted.origin, error);
        let request = request.map_err(kube::Error::BuildRequest).map_err(|error| failed(&error))?;
        self.client.request(request).await.map_err(|error| failed(&error))
    }

    /// How a deleted object that was `owner`'s and is still there is reached; `None` once it is gone.
    pub async fn leaving(&self, place: &Reference, owner: &str) -> Result<Option<Route>, Error> {
        Ok(self.own(place, owner).await?.map(|(route, _)| route))
    }

    /// The object at a place, if it is `owner`'s and the one meant.
    async fn own(&self, place: &Reference, owner: &str) -> Result<Option<(Route, Value)>, Error> {
        let route = match self.route(&place.api_version, &place.kind, "").await {
            // its definition is gone, and with it every object of the kind
            Err(Error::Api { code: 404, .. }) => return Ok(None),
            route => route?,
        };
        let Some(live) = self.get(place, &route, "").await? else { return Ok(None) };
        if owner_of(&live) != Some(owner) || !(place.uid.is_empty() || place.uid == uid_of(&live)) {
            tracing::debug!(component = owner, object = %place, "left alone: it is another's now");
            return Ok(None);
        }
        Ok(Some((route, live)))
    }

    /// Deletes an object that is `owner`'s and the one meant; whether there was one.
    pub async fn prune(&self, place: &Reference, owner: &str) -> Result<bool, Error> {
        let Some((route, live)) = self.own(place, owner).await? else { return Ok(false) };
        // asked again, it would say the same
        if live["metadata"].get("deletionTimestamp").is_some() {
            return Ok(false);
        }
        let uid = uid_of(&live);
        let params = DeleteParams {
            propagation_policy: Some(PropagationPolicy::Background),
            preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
            ..DeleteParams::default()
        };
        let request = route.collection(place.namespace.as_deref()).delete(&place.name, &params);
        let failed = |error: &kube::Error| Error::api(format!("deleting {place}"), "", error);
        let request = request.map_err(kube::Error::BuildRequest).map_err(|error| failed(&error))?;
        match self.client.request::<Value>(request).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(false),
            Err(error) => Err(failed(&error)),
        }
    }
}

fn signed() -> PostParams {
    PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() }
}

/// An object's resourceVersion; 0 if it says none.
pub(crate) fn version_of(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0)
}

pub(crate) fn uid_of(object: &Value) -> String {
    object["metadata"]["uid"].as_str().unwrap_or_default().to_owned()
}

/// An object may be changed if its label says that it is ours, and if it stays.
fn may_have(live: &Value, wanted: &Wanted, owner: &str) -> Result<(), Error> {
    let object = wanted.reference.to_string();
    let whose = match owner_of(live) {
        Some(other) if other == owner => {
            let leaving = live["metadata"].get("deletionTimestamp").is_some();
            return if leaving { Err(Error::Leaving(object)) } else { Ok(()) };
        }
        Some(other) => format!("the addon {other}"),
        None => format!("no addon (it has no label {OWNER})"),
    };
    Err(Error::Owned { object, owner: whose, origin: wanted.origin.clone() })
}
