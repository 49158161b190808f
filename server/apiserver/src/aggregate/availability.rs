//! Whether an APIService is available, said in its status: `kube-aggregator`'s `pkg/controllers/status`.
//!
//! Looked at when its object, its Service or that Service's endpoints change, when a request could not be passed on,
//! and, as nothing tells of a server that has died where it is, again after a pause: a short and growing one while it is
//! unavailable, upstream's 30 seconds while it is not. Without a server behind a Service nothing is ever due.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use sampan_api::go::Quote as _;
use sampan_api::kinds;
use sampan_store::{Entry, Event, EventKind, Key, Lagged, Store, Watch};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::backend::{Backend, is_ready, service, slices};
use super::openapi::Published;
use super::table::{Reference, Spec, Specs, name_of, place_of};
use super::{API_SERVICES, Groups, Place};
use crate::UserInfo;
use crate::crd::{Customs, DEFINITIONS};
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

/// What can be said without asking anyone; `served` tells whether someone in this process answers, `defined` whether a
/// definition does. Upstream has no one in its process who may not be there.
fn local(object: &Value, served: bool, defined: bool) -> Option<Verdict> {
    let (group, version) = (text(object, &["spec", "group"]), text(object, &["spec", "version"]));
    let (_, spec) = Spec::parse(object);
    let own = kinds::group(group).is_some() || spec.managed;
    match spec.service {
        None if served || own || defined => {
            Some(("True", "Local", "Local APIServices are always available".to_owned()))
        }
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
        return no("ServiceNotFound", format!("service/{name} in {} is not present", namespace.quoted()));
    }
    if !matches!(text(service, &["spec", "type"]), "" | "ClusterIP") {
        return None;
    }
    let ports = items(at(service, &["spec", "ports"]));
    let Some(found) = ports.iter().find(|one| at(one, &["port"]).as_u64() == Some((*port).into())) else {
        return no(
            "ServicePortError",
            format!("service/{name} in {} is not listening on port {port}", namespace.quoted()),
        );
    };
    if slices.is_empty() {
        return no(
            "EndpointsNotFound",
            format!("cannot find endpointslices for service/{name} in {}", namespace.quoted()),
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
                "endpointslices for service/{name} in {} have no addresses with port name {}",
                namespace.quoted(),
                port.quoted()
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
    customs: Customs,
    watched: HashMap<Place, Watched>,
}

/// Looks that are under way.
type Looks = FuturesUnordered<BoxFuture<'static, Looked>>;

/// Keeps the conditions true until the store closes.
pub(crate) async fn follow(registry: Registry, groups: Arc<Groups>, customs: Customs) {
    let Some(mut doubts) = groups.doubted.lock().take() else { return };
    let mut changes = groups.changes.subscribe();
    let store = registry.store.clone();
    let mut keeper = Keeper { registry, groups, customs, watched: HashMap::new() };
    let mut looks = Looks::new();
    loop {
        let from = store.revision();
        let watch = |bucket| store.watch(bucket, "", from);
        let (Ok(mut own), Ok(mut services), Ok(mut slices), Ok(mut definitions)) = (
            watch(API_SERVICES),
            watch("services"),
            watch("endpointslices.discovery.k8s.io"),
            watch(DEFINITIONS),
        ) else {
            continue;
        };
        keeper.all(&mut looks).await;
        loop {
            let news = tokio::select! {
                changed = changes.changed() => changed.is_ok().then_some(Ok(News::Served)),
                event = own.next() => event.map(|event| event.map(News::Object)),
                led = leading(&mut services, |entry| keeper.led(&entry.key.name)) => led,
                led = leading(&mut slices, |entry| keeper.led(&owner(entry))) => led,
                led = leading(&mut definitions, |entry| keeper.defined(&entry.key.name)) => led,
                Some(place) = doubts.recv() => Some(Ok(News::Places(vec![place]))),
                Some(looked) = looks.next() => {
                    keeper.looked(looked, &mut looks).await;
                    continue;
                }
                () = sleep_until(keeper.due()) => Some(Ok(News::Places(keeper.overdue()))),
            };
            match news {
                None => return,
                Some(Ok(news)) => keeper.hear(news, &mut looks).await,
                // a change may have been missed
                Some(Err(Lagged)) => break,
            }
        }
    }
}

/// Why something is looked at.
enum News {
    /// An APIService has changed.
    Object(Arc<Event>),
    /// What these places' condition is about has.
    Places(Vec<Place>),
    /// Another group is served in this process than before.
    Served,
}

/// The next change of something that leads to servers; `None` when the store has closed.
async fn leading(watch: &mut Watch, led: impl Fn(&Entry) -> Vec<Place>) -> Option<Result<News, Lagged>> {
    loop {
        let event = match watch.next().await? {
            Ok(event) => event,
            Err(lagged) => return Some(Err(lagged)),
        };
        let places = led(&event.entry);
        if !places.is_empty() {
            return Some(Ok(News::Places(places)));
        }
    }
}

/// `namespace/name` of a slice's Service.
fn owner(slice: &Entry) -> String {
    let namespace = slice.key.name.split_once('/').map_or("", |(namespace, _)| namespace);
    let label = slice.columns.labels.iter().find(|(key, _)| &**key == "kubernetes.io/service-name");
    format!("{namespace}/{}", label.map_or("", |(_, name)| name))
}

impl Keeper {
    fn specs(&self) -> Arc<Specs> {
        self.groups.table.now(&self.registry.store)
    }

    /// The places whose server is behind the Service `name`, with its namespace.
    fn led(&self, name: &str) -> Vec<Place> {
        let Some((namespace, name)) = name.split_once('/') else { return Vec::new() };
        let leads = |spec: &Spec| {
            spec.service.as_ref().is_some_and(|to| to.namespace == namespace && to.name == name)
        };
        let specs = self.specs();
        specs.foreign().filter(|(_, spec)| leads(spec)).map(|(place, _)| place.clone()).collect()
    }

    /// The places of a definition's group whose object names no server, and is not kept by this process.
    fn defined(&self, name: &str) -> Vec<Place> {
        let Some((_, group)) = name.split_once('.') else { return Vec::new() };
        let specs = self.specs();
        let here = specs.foreign().filter(|(place, spec)| place.0 == group && spec.service.is_none());
        here.map(|(place, _)| place.clone()).collect()
    }

    fn due(&self) -> Instant {
        let next = self.watched.values().filter(|one| !one.busy).filter_map(|one| one.due).min();
        next.unwrap_or_else(|| Instant::now() + NEVER)
    }

    fn overdue(&self) -> Vec<Place> {
        let now = Instant::now();
        let due = self.watched.iter().filter(|(_, one)| !one.busy && one.due.is_some_and(|due| due <= now));
        due.map(|(place, _)| place.clone()).collect()
    }

    /// Looks at whatever may need it. Those that this process keeps for its own groups are made available.
    async fn all(&mut self, looks: &mut Looks) {
        let specs = self.specs();
        self.watched.retain(|place, _| specs.get(place).is_some());
        self.groups.backends.keep(|place| specs.get(place).is_some());
        for (place, _) in specs.iter().filter(|(_, spec)| spec.is_foreign() || !spec.available) {
            self.one(place, looks).await;
        }
    }

    async fn hear(&mut self, news: News, looks: &mut Looks) {
        match news {
            News::Object(event) => {
                let place = place_of(&event.entry.key.name);
                if event.kind == EventKind::Deleted {
                    self.watched.remove(&place);
                    self.groups.backends.keep(|kept| *kept != place);
                }
                self.one(&place, looks).await;
            }
            News::Places(places) => {
                for place in places {
                    self.one(&place, looks).await;
                }
            }
            News::Served => {
                let specs = self.specs();
                for (place, _) in specs.foreign() {
                    self.one(place, looks).await;
                }
            }
        }
    }

    /// Looks at one, if it is there.
    async fn one(&mut self, place: &Place, looks: &mut Looks) {
        let entry = self.registry.store.get(&Key::new(API_SERVICES, name_of(&place.0, &place.1)));
        let object = entry.and_then(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
        if let Some(object) = object {
            self.judge(place, object, looks).await;
        }
    }

    /// Says what can be said at once, or begins to look.
    async fn judge(&mut self, place: &Place, object: Value, looks: &mut Looks) {
        let served = self.groups.handler(&place.0, &place.1).is_some();
        let defined = self.customs.defines(&place.0, &place.1);
        if let Some(verdict) = local(&object, served, defined) {
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
    let mut change = (Value::Null, Value::Null);
    let written = registry.modify(&call, &target, |old| {
        let mut new = judged(old, verdict).unwrap_or_else(|| old.clone());
        change = (old.clone(), new.clone());
        crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
        Ok(new)
    });
    match written.await {
        Ok(_) => super::metrics::judged(&change.0, &change.1),
        Err(error) => {
            tracing::warn!(%error, api_service = target.name, "cannot tell whether it is available");
        }
    }
}

#[cfg(test)]
mod tests;
