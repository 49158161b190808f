//! Whether an APIService is available, said in its status: `kube-aggregator`'s `pkg/controllers/status`.
//!
//! Looked at when its object, its Service or that Service's endpoints change, when a request could not be passed on,
//! and, as nothing tells of a server that has died where it is, again after a pause: a short and growing one while it is
//! unavailable, upstream's 30 seconds while it is not. Without a server behind a Service nothing is ever due.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use sampan_api::kinds;
use sampan_store::{Store, Watch};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::backend::{Backend, is_ready, service, slices};
use super::openapi::Published;
use super::table::{Reference, Spec};
use super::{API_SERVICES, Groups, Place};
use crate::UserInfo;
use crate::registry::{Call, Registry, Target, WriteOptions};
use crate::value::{at, items, meta, now, set, text};

/// Between two looks at a server that answers.
const WELL: Duration = Duration::from_secs(30);
/// The first pause after a failed look; doubles up to [`WELL`].
const FIRST: Duration = Duration::from_millis(500);
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Status, reason and message of condition `Available`.
type Verdict = (&'static str, &'static str, String);

fn passed() -> Verdict {
    ("True", "Passed", "all checks passed".to_owned())
}

/// What can be said without asking anyone; `served` tells whether someone in this process answers.
fn local(object: &Value, served: bool) -> Option<Verdict> {
    let (group, version) = (text(object, &["spec", "group"]), text(object, &["spec", "version"]));
    let (_, spec) = Spec::parse(object);
    let own = kinds::group(group).is_some() || spec.managed;
    match spec.service {
        None if served || own => Some(("True", "Local", "Local APIServices are always available".to_owned())),
        None => {
            Some(("False", "ServiceNotFound", format!("nobody in this process serves {group}/{version}")))
        }
        Some(_) if served => Some(passed()),
        Some(_) => None,
    }
}

/// Why a server need not be asked: its Service leads nowhere.
fn unreachable(reference: &Reference, service: &Value, slices: &[Value]) -> Option<Verdict> {
    let Reference { namespace, name, port } = reference;
    let no = |reason, message| Some(("False", reason, message));
    if service.is_null() {
        return no("ServiceNotFound", format!("service/{name} in {namespace:?} is not present"));
    }
    if !matches!(text(service, &["spec", "type"]), "" | "ClusterIP") {
        return None;
    }
    let ports = items(at(service, &["spec", "ports"]));
    let Some(found) = ports.iter().find(|one| at(one, &["port"]).as_u64() == Some((*port).into())) else {
        return no(
            "ServicePortError",
            format!("service/{name} in {namespace:?} is not listening on port {port}"),
        );
    };
    if slices.is_empty() {
        return no(
            "EndpointsNotFound",
            format!("cannot find endpointslices for service/{name} in {namespace:?}"),
        );
    }
    let port = text(found, &["name"]);
    let leads = |slice: &Value| {
        items(at(slice, &["endpoints"])).iter().any(is_ready)
            && items(at(slice, &["ports"]))
                .iter()
                .any(|one| text(one, &["name"]) == port && !at(one, &["port"]).is_null())
    };
    match slices.iter().any(leads) {
        true => None,
        false => no(
            "MissingEndpoints",
            format!(
                "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port:?}"
            ),
        ),
    }
}

/// The object with its condition, if that is another than it has.
fn judged(object: &Value, (status, reason, message): &Verdict) -> Option<Value> {
    let conditions = items(at(object, &["status", "conditions"]));
    let old = conditions.iter().find(|one| text(one, &["type"]) == "Available");
    let same = |key: &str, value: &str| old.is_some_and(|old| text(old, &[key]) == value);
    if same("status", status) && same("reason", reason) && same("message", message) {
        return None;
    }
    let since = match old {
        Some(old) if same("status", status) => text(old, &["lastTransitionTime"]).to_owned(),
        _ => now(),
    };
    let condition = json!({
        "type": "Available", "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
    });
    let others = conditions.iter().filter(|one| text(one, &["type"]) != "Available").cloned();
    let mut new = object.clone();
    set(&mut new, &["status", "conditions"], others.chain([condition]).collect::<Vec<Value>>());
    Some(new)
}

/// The pause before the next look, after `failures` in a row.
fn pause(failures: u32) -> Duration {
    match failures {
        0 => WELL,
        n => FIRST.saturating_mul(1 << (n - 1).min(10)).min(WELL),
    }
}

/// What is known of a server that is looked at.
#[derive(Default)]
struct Watched {
    failures: u32,
    due: Option<Instant>,
    /// A look is under way.
    busy: bool,
    /// Something changed since it began.
    again: bool,
}

struct Looked {
    place: Place,
    well: bool,
}

struct Keeper {
    registry: Registry,
    groups: Arc<Groups>,
    watched: HashMap<Place, Watched>,
}

/// Looks that are under way.
type Looks = FuturesUnordered<BoxFuture<'static, Looked>>;

/// Keeps the conditions true until the store closes.
pub(crate) async fn follow(registry: Registry, groups: Arc<Groups>) {
    let Some(mut doubts) = groups.doubted.lock().take() else { return };
    let mut changes = groups.changes.subscribe();
    let store = registry.store.clone();
    let mut keeper = Keeper { registry, groups, watched: HashMap::new() };
    let mut looks = Looks::new();
    loop {
        let from = store.revision();
        let watch = |bucket| store.watch(bucket, "", from);
        let (Ok(mut own), Ok(mut services), Ok(mut slices)) =
            (watch(API_SERVICES), watch("services"), watch("endpointslices.discovery.k8s.io"))
        else {
            continue;
        };
        keeper.all(&mut looks).await;
        loop {
            let more = tokio::select! {
                changed = changes.changed() => changed.is_ok().then_some(true),
                relevant = relevant(&mut own, |_, _| true) => relevant,
                relevant = relevant(&mut services, |name, _| keeper.names(name)) => relevant,
                relevant = relevant(&mut slices, |_, slice| keeper.names(&owner(slice))) => relevant,
                Some(place) = doubts.recv() => {
                    keeper.one(&place, &mut looks).await;
                    continue;
                }
                Some(looked) = looks.next() => {
                    keeper.looked(looked, &mut looks).await;
                    continue;
                }
                () = sleep_until(keeper.due()) => {
                    keeper.overdue(&mut looks).await;
                    continue;
                }
            };
            match more {
                None => return,
                Some(true) => keeper.all(&mut looks).await,
                // a change may have been missed
                Some(false) => break,
            }
        }
    }
}

/// The next change that `matters`; false when some were missed, `None` when the store has closed.
async fn relevant(watch: &mut Watch, matters: impl Fn(&str, &[u8]) -> bool) -> Option<bool> {
    loop {
        match watch.next().await? {
            Ok(event) if matters(&event.entry.key.name, &event.entry.value) => return Some(true),
            Ok(_) => {}
            Err(_lagged) => return Some(false),
        }
    }
}

/// `namespace/name` of a slice's Service.
fn owner(slice: &[u8]) -> String {
    let slice: Value = serde_json::from_slice(slice).unwrap_or_default();
    let name = text(&slice, &["metadata", "labels", "kubernetes.io/service-name"]);
    format!("{}/{name}", meta(&slice, "namespace"))
}

fn objects(store: &Store) -> BTreeMap<Place, Value> {
    let all = store.list(API_SERVICES);
    let parsed = all.map.values().filter_map(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    parsed.map(|object| (Spec::parse(&object).0, object)).collect()
}

impl Keeper {
    /// Whether an APIService's Service is `name`, with its namespace.
    fn names(&self, name: &str) -> bool {
        let specs = self.groups.table.now(&self.registry.store);
        specs.values().filter_map(|spec| spec.service.as_ref()).any(|service| {
            name.split_once('/')
                .is_some_and(|(namespace, name)| namespace == service.namespace && name == service.name)
        })
    }

    fn due(&self) -> Instant {
        let next = self.watched.values().filter(|one| !one.busy).filter_map(|one| one.due).min();
        next.unwrap_or_else(|| Instant::now() + NEVER)
    }

    async fn all(&mut self, looks: &mut Looks) {
        let objects = objects(&self.registry.store);
        let gone: BTreeSet<Place> =
            self.watched.keys().filter(|place| !objects.contains_key(*place)).cloned().collect();
        self.watched.retain(|place, _| !gone.contains(place));
        self.groups.backends.keep(|place| objects.contains_key(place));
        for (place, object) in objects {
            self.judge(&place, object, looks).await;
        }
    }

    async fn one(&mut self, place: &Place, looks: &mut Looks) {
        if let Some(object) = objects(&self.registry.store).remove(place) {
            self.judge(place, object, looks).await;
        }
    }

    async fn overdue(&mut self, looks: &mut Looks) {
        let now = Instant::now();
        let due = self.watched.iter().filter(|(_, one)| !one.busy && one.due.is_some_and(|due| due <= now));
        for place in due.map(|(place, _)| place.clone()).collect::<Vec<_>>() {
            self.one(&place, looks).await;
        }
    }

    /// Says what can be said at once, or begins to look.
    async fn judge(&mut self, place: &Place, object: Value, looks: &mut Looks) {
        let served = self.groups.handler(&place.0, &place.1).is_some();
        if let Some(verdict) = local(&object, served) {
            self.watched.remove(place);
            return say(&self.registry, &object, &verdict).await;
        }
        let (_, spec) = Spec::parse(&object);
        let Some((backend, reference)) = self.groups.backend(place, &spec).zip(spec.service) else { return };
        let watched = self.watched.entry(place.clone()).or_default();
        if std::mem::replace(&mut watched.busy, true) {
            watched.again = true;
            return;
        }
        let (registry, place) = (self.registry.clone(), place.clone());
        looks.push(Box::pin(async move {
            let verdict = look(&registry.store, &place, &backend, &reference).await;
            say(&registry, &object, &verdict).await;
            Looked { well: verdict.0 == "True", place }
        }));
    }

    async fn looked(&mut self, looked: Looked, looks: &mut Looks) {
        let Some(watched) = self.watched.get_mut(&looked.place) else { return };
        watched.busy = false;
        watched.failures = if looked.well { 0 } else { watched.failures.saturating_add(1) };
        watched.due = Some(Instant::now() + pause(watched.failures));
        if std::mem::take(&mut watched.again) {
            self.one(&looked.place, looks).await;
        }
    }
}

/// Looks whether a server answers, and if so what it serves.
async fn look(store: &Store, place: &Place, backend: &Backend, reference: &Reference) -> Verdict {
    if let Some(verdict) = unreachable(reference, &service(store, reference), &slices(store, reference)) {
        return verdict;
    }
    if let Err(why) = backend.check(store, place).await {
        return ("False", "FailedDiscoveryCheck", why);
    }
    learn(store, place, backend).await;
    passed()
}

/// Asks a server what it serves; its description only when that has changed.
async fn learn(store: &Store, place: &Place, backend: &Backend) {
    let json = "application/json";
    let told = backend.fetch(store, &format!("/apis/{}/{}", place.0, place.1), json).await;
    let list = match told {
        Ok(body) => serde_json::from_slice::<Value>(&body).ok(),
        Err(why) => {
            tracing::warn!(%why, group = place.0, version = place.1, "an API server does not say what it serves");
            None
        }
    };
    let list = list.filter(|list| at(list, &["resources"]).is_array());
    let changed = *backend.resources.lock() != list;
    *backend.resources.lock() = list;
    if !changed && backend.published.lock().is_some() {
        return;
    }
    let document = |body: Result<bytes::Bytes, String>| {
        body.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default()
    };
    let index: Value = document(backend.fetch(store, "/openapi/v3", json).await);
    let v2: Value = document(backend.fetch(store, "/openapi/v2", json).await);
    *backend.published.lock() = Some(Arc::new(Published::read(place, &index, &v2)));
}

/// Writes the verdict, if it is another than it was.
async fn say(registry: &Registry, object: &Value, verdict: &Verdict) {
    if judged(object, verdict).is_none() {
        return;
    }
    let user = UserInfo::new("system:apiserver", &["system:masters"]);
    let call = Call::new(&user, WriteOptions::default()).tracked(crate::registry::manage::SELF);
    let Some(kind) = kinds::by_resource("apiregistration.k8s.io", "v1", "apiservices") else { return };
    let target = Target { subresource: "status".to_owned(), ..Target::new(kind, "", meta(object, "name")) };
    let written = registry.modify(&call, &target, |old| {
        let mut new = judged(old, verdict).unwrap_or_else(|| old.clone());
        crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
        Ok(new)
    });
    if let Err(error) = written.await {
        tracing::warn!(%error, api_service = target.name, "cannot tell whether it is available");
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_this_process_serves_is_available() {
        let here = |group: &str| json!({"spec": {"group": group, "version": "v1beta1"}});
        let mut custom = here("x.y");
        set(&mut custom, &["metadata", "labels", "kube-aggregator.kubernetes.io/automanaged"], "true");
        let remote = json!({"spec": {"group": "x.y", "version": "v1beta1", "service": {"namespace": "a", "name": "b"}}});
        let cases = [
            (here("x.y"), true, Some(("True", "Local"))),
            (here("apps"), false, Some(("True", "Local"))),
            (custom, false, Some(("True", "Local"))),
            (here("x.y"), false, Some(("False", "ServiceNotFound"))),
            (remote.clone(), true, Some(("True", "Passed"))),
            (remote, false, None),
        ];
        for (object, served, wanted) in cases {
            assert_eq!(local(&object, served).map(|v| (v.0, v.1)), wanted, "{object} {served}");
        }
    }

    #[test]
    fn a_service_that_leads_nowhere_is_told_in_upstreams_words() {
        let reference = Reference { namespace: "ns".into(), name: "api".into(), port: 443 };
        let service = json!({"spec": {"type": "ClusterIP", "ports": [{"name": "https", "port": 443}]}});
        let slice = |ready: bool, port: &str| json!({"endpoints": [{"conditions": {"ready": ready}}], "ports": [{"name": port, "port": 1}]});
        let other = json!({"spec": {"type": "ClusterIP", "ports": [{"port": 80}]}});
        let missing = "endpointslices for service/api in \"ns\" have no addresses with port name \"https\"";
        let cases = [
            (Value::Null, vec![], "ServiceNotFound", "service/api in \"ns\" is not present"),
            (other, vec![], "ServicePortError", "service/api in \"ns\" is not listening on port 443"),
            (
                service.clone(),
                vec![],
                "EndpointsNotFound",
                "cannot find endpointslices for service/api in \"ns\"",
            ),
            (service.clone(), vec![slice(false, "https")], "MissingEndpoints", missing),
            (service.clone(), vec![slice(true, "http")], "MissingEndpoints", missing),
        ];
        for (service, slices, reason, message) in cases {
            let verdict = unreachable(&reference, &service, &slices).unwrap();
            assert_eq!(verdict, ("False", reason, message.to_owned()));
        }
        assert_eq!(unreachable(&reference, &service, &[slice(false, "https"), slice(true, "https")]), None);
        assert_eq!(unreachable(&reference, &json!({"spec": {"type": "ExternalName"}}), &[]), None);
    }

    #[test]
    fn pauses_grow_while_it_fails() {
        let pauses = [0, 1, 2, 3, 9, 99].map(|failures| pause(failures).as_millis());
        assert_eq!(pauses, [30_000, 500, 1000, 2000, 30_000, 30_000]);
    }

    #[test]
    fn a_condition_is_written_when_it_differs() {
        let object = json!({"status": {"conditions": [{"type": "Other"}]}});
        let told = judged(&object, &("True", "Local", "m".into())).unwrap();
        assert_eq!(told["status"]["conditions"][0]["type"], "Other");
        assert_eq!(told["status"]["conditions"][1]["status"], "True");
        assert!(judged(&told, &("True", "Local", "m".into())).is_none());
        let mut earlier = told.clone();
        earlier["status"]["conditions"][1]["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
        let reworded = judged(&earlier, &("True", "Local", "n".into())).unwrap();
        assert_eq!(reworded["status"]["conditions"][1]["lastTransitionTime"], "2020-01-01T00:00:00Z");
        let turned = judged(&earlier, &("False", "ServiceNotFound", "n".into())).unwrap();
        assert_ne!(turned["status"]["conditions"][1]["lastTransitionTime"], "2020-01-01T00:00:00Z");
    }
}
