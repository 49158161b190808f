//! Makes the cluster agree with what the user decided about each addon.
//!
//! ```text
//!  ConfigMap addon-NAME ─┐                        ┌─ enabled ─► claim ─► inventory ─► apply ─► prune ─► record ─► run
//!  a lost object ────────┼─► key NAME ─► a pass ──┤
//!  a verb ───────────────┘                        └─ disabled ─► drain ─► prune ─► record
//! ```
//!
//! A pass is level-triggered: it reads the record, looks at the objects and does what is missing, however it came to be
//! so. The inventory is written before the first object is made, so that a daemon killed in between finishes or takes
//! away exactly what it began. A pass that fails leaves its reason in the outcomes, which the verbs and health read, and
//! comes again after a back-off.

use std::collections::{BTreeMap, HashMap};
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::runtime::watcher;
use parking_lot::Mutex;
use sampan_addon::{Host, Native, Site};
use sampan_process::{Component, Drain, Health, Tasks};
use sampan_reconcile::{Controller, Informer, Informers, Key, Sources};
use serde_json::Value;
use tokio::sync::{mpsc, watch};

use crate::definition::{Definition, Manifests, read_package};
use crate::error::{Error, nearest};
use crate::object::{OWNER, Reference, Wanted, prepare};
use crate::objects::{Objects, Route, uid_of, version_of};
use crate::package::Package;
use crate::plan;
use crate::record::{self, Applied, NAMESPACE, Record};
use crate::runner::{Parts, Runner, panic_words};
use crate::turns::Turns;
use crate::watched::Watched;

/// How long an addon may take to take back what it left.
const DISABLED_MAX: Duration = Duration::from_secs(10);

/// Makes a client that speaks as a user, who has to be a cluster administrator.
pub type ClientFor = Arc<dyn Fn(&str) -> kube::Client + Send + Sync>;

/// What the binary decides.
pub struct Config {
    /// The platform's own client: an administrator's, for it applies whatever a package brings.
    pub client: kube::Client,
    /// The process's informers.
    pub informers: Informers,
    /// Where native addons show as [`Component::Addon`].
    pub health: Health,
    /// Where addons run.
    pub site: Site,
    /// A directory; each native addon gets one in it.
    pub data: PathBuf,
    /// What only the daemon can do.
    pub host: Arc<dyn Host>,
    /// The native addons: [`crate::natives()`].
    pub natives: Vec<Arc<dyn Native>>,
    /// Clients for `system:serviceaccount:kube-system:addon-NAME`.
    pub client_for: ClientFor,
}

/// The platform. Cheap to clone.
#[derive(Clone)]
pub struct Addons(pub(crate) Arc<Manager>);

/// How the last pass over an addon ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The resourceVersion up to which the pass had seen everything.
    pub seen: u64,
    /// Why it failed.
    pub error: Option<Error>,
}

/// A package with the resourceVersion of what it was read from.
type Read = (u64, Result<Arc<Package>, Error>);

pub(crate) struct Manager {
    pub config: Config,
    tasks: Tasks,
    pub maps: Informer<ConfigMap>,
    pub pods: Informer<Pod>,
    pub watched: Watched,
    pub objects: Objects,
    pub runners: Mutex<HashMap<String, Runner>>,
    pub outcomes: watch::Sender<BTreeMap<String, Outcome>>,
    packages: Mutex<HashMap<String, Read>>,
    kicks: mpsc::UnboundedSender<String>,
    kicked: Mutex<Option<mpsc::UnboundedReceiver<String>>>,
    pub turns: Turns,
}

impl Addons {
    /// The platform; nothing happens before [`Addons::run`].
    pub fn new(config: Config, tasks: Tasks) -> Self {
        let (kicks, kicked) = mpsc::unbounded_channel();
        let maps = config.informers.within(NAMESPACE, watcher::Config::default().labels(OWNER));
        let manager = Manager {
            maps,
            pods: config.informers.of(),
            watched: Watched::new(config.informers.clone(), tasks.clone(), kicks.clone()),
            objects: Objects::new(config.client.clone()),
            tasks,
            runners: Mutex::default(),
            outcomes: watch::Sender::default(),
            packages: Mutex::default(),
            kicks,
            kicked: Mutex::default(),
            turns: Turns::default(),
            config,
        };
        *manager.kicked.lock() = Some(kicked);
        Self(Arc::new(manager))
    }

    /// Keeps the cluster in agreement until `drain`, then drains the native addons.
    pub async fn run(self, drain: Drain) {
        sampan_reconcile::run(self.0.clone(), drain).await;
        let runners: Vec<Runner> = self.0.runners.lock().drain().map(|(_, runner)| runner).collect();
        join_all(runners.into_iter().map(Runner::stop)).await;
    }
}

impl Controller for Manager {
    type Key = String;

    fn name(&self) -> &'static str {
        "addons"
    }

    fn workers(&self) -> usize {
        16
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<String>) {
        sources.on(&self.maps, |delta| {
            delta.latest().and_then(|map| record::addon_of(map)).into_iter().collect()
        });
        let natives: Vec<String> = self.config.natives.iter().map(|n| n.about().name.to_owned()).collect();
        sources.stream(futures::stream::iter(natives));
        if let Some(kicked) = self.kicked.lock().take() {
            let next = |mut kicked: mpsc::UnboundedReceiver<String>| async {
                kicked.recv().await.map(|name| (name, kicked))
            };
            sources.stream(Box::pin(futures::stream::unfold(kicked, next)));
        }
    }

    async fn reconcile(&self, name: &String) -> Result<Option<Duration>, sampan_reconcile::Error> {
        let seen = self.maps.version();
        let result = self.pass(name).await;
        let error = result.err();
        if let Some(error) = &error {
            tracing::warn!(component = name.as_str(), %error, "not as it should be, trying again");
        }
        // nothing is left to be said of what is not there any more
        let known =
            error.is_some() || self.definition(name).is_some() || !matches!(self.record(name), Ok(None));
        self.outcomes.send_modify(|outcomes| match known {
            true => drop(outcomes.insert(name.clone(), Outcome { seen, error: error.clone() })),
            false => drop(outcomes.remove(name)),
        });
        match error {
            None => Ok(None),
            // nothing but a change of the record, or of the object in the way, mends it; the back-off looks for that
            Some(error) => Err(sampan_reconcile::Error::Other(error.to_string())),
        }
    }
}

impl Manager {
    /// Asks for a pass.
    pub fn kick(&self, name: &str) {
        // the other end goes with the drain
        let _ = self.kicks.send(name.to_owned());
    }

    /// What has that name; `None`: nothing.
    pub fn definition(&self, name: &str) -> Option<Result<Definition, Error>> {
        if let Some(native) = self.config.natives.iter().find(|native| native.about().name == name) {
            return Some(Ok(Definition::Native(native.clone())));
        }
        let mut packages = self.packages.lock();
        let Some(map) = self.maps.get(&Key::namespaced(NAMESPACE, &record::package_name_of(name))) else {
            packages.remove(name);
            return None;
        };
        let version = map.metadata.resource_version.as_deref().and_then(|v| v.parse().ok()).unwrap_or(0);
        if let Some((read, package)) = packages.get(name)
            && *read == version
        {
            return Some(package.clone().map(Definition::Package));
        }
        let package = read_package(name, &map);
        packages.insert(name.to_owned(), (version, package.clone()));
        Some(package.map(Definition::Package))
    }

    /// Every addon's name, native ones first in their order.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.config.natives.iter().map(|n| n.about().name.to_owned()).collect();
        let mut packages: Vec<String> = self
            .maps
            .list()
            .iter()
            .filter_map(|map| {
                record::addon_of(map).filter(|name| map.metadata.name == Some(record::package_name_of(name)))
            })
            .filter(|name| !names.contains(name))
            .collect();
        packages.sort();
        names.extend(packages);
        names
    }

    /// The definition of an addon that has to exist.
    pub fn known(&self, name: &str) -> Result<Definition, Error> {
        let missing = || Error::NotFound { name: name.to_owned(), nearest: nearest(name, self.names()) };
        self.definition(name).ok_or_else(missing)?
    }

    /// What the database knows of an addon.
    pub fn record(&self, name: &str) -> Result<Option<Record>, Error> {
        let map = self.maps.get(&Key::namespaced(NAMESPACE, &record::name_of(name)));
        map.map(|map| Record::read(&map).map_err(Error::Package)).transpose()
    }

    /// Fails if one of an addon's needs is unknown or does not run.
    pub fn needs_met(&self, name: &str, needs: &[String]) -> Result<(), Error> {
        for need in needs {
            self.known(need)?;
            if !self.is_enabled(need) {
                return Err(Error::Needs { name: name.to_owned(), needs: need.clone() });
            }
        }
        Ok(())
    }

    /// Whether an addon is to run.
    pub fn is_enabled(&self, name: &str) -> bool {
        let decided = self.record(name).ok().flatten().and_then(|record| record.enabled);
        decided.unwrap_or_else(|| match self.definition(name) {
            Some(Ok(Definition::Native(native))) => native.about().default_on,
            _ => false,
        })
    }

    async fn pass(&self, name: &str) -> Result<(), Error> {
        let record = self.record(name)?;
        match self.definition(name) {
            Some(definition) if self.is_enabled(name) => {
                self.up(name, &definition?, record.unwrap_or_default()).await
            }
            // what is no longer in this binary has nothing to run, but its objects are still ours to take away
            _ => self.down(name, record).await,
        }
    }

    /// Applies an enabled addon and runs it.
    async fn up(&self, name: &str, definition: &Definition, record: Record) -> Result<(), Error> {
        let config = definition.configuration(&record.configuration)?;
        let manifests = definition.manifests(&config, &self.config.site)?;
        let wanted = self.prepared(name, manifests).await?;
        for (wanted, route) in &wanted {
            if let Some(route) = route {
                self.objects.claim(wanted, route, name).await?;
            }
        }
        // what its code relied on may change below it
        self.stop_if(name, |runner| runner.config != config).await;
        let places: Vec<Reference> = wanted.iter().map(|(wanted, _)| wanted.reference.clone()).collect();
        let version = definition.version();
        let begun = plan::announced(&record.inventory, &places);
        self.update(name, |record| {
            record.inventory.clone_from(&begun);
            record.version.clone_from(&version);
        })
        .await?;
        let inventory = self.apply(name, &wanted, &record.applied.unpack()).await?;
        for place in plan::pruned(&begun, &places) {
            if self.objects.prune(&place, name).await? {
                tracing::info!(component = name, object = %place, "deleted: no longer wanted");
            }
        }
        let applied = Applied::pack(wanted.iter().map(|(wanted, _)| &wanted.value));
        let applied = applied.map_err(|error| Error::Code(error.to_string()))?;
        self.update(name, |record| {
            record.inventory.clone_from(&inventory);
            record.applied.clone_from(&applied);
        })
        .await?;
        if let Definition::Native(native) = definition {
            self.start(name, native, config);
        }
        Ok(())
    }

    /// Manifests as they are applied, with how their kinds are reached. A kind that a definition before it brings is
    /// not known yet.
    async fn prepared(
        &self,
        name: &str,
        manifests: Manifests,
    ) -> Result<Vec<(Wanted, Option<Route>)>, Error> {
        let mut wanted: Vec<(Wanted, Option<Route>)> = Vec::new();
        for (origin, value) in &manifests.list {
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            let route = match self.objects.route(&text("apiVersion"), &text("kind"), origin).await {
                Err(Error::Api { code: 404, .. }) if manifests.defines(&text("kind")) => None,
                route => Some(route?),
            };
            let said = value["metadata"].get("namespace").is_some();
            let namespaced = route.as_ref().map_or(said, |route| route.namespaced);
            let namespace = Some(manifests.namespace.as_str()).filter(|_| namespaced);
            let one = prepare(value, namespace, name, origin);
            let one = one.map_err(|problem| Error::Package(format!("{origin}: {problem}")))?;
            if wanted.iter().any(|(other, _)| other.reference.same_place(&one.reference)) {
                return Err(Error::Package(format!("{origin}: {} is there twice", one.reference)));
            }
            wanted.push((one, route));
        }
        Ok(wanted)
    }

    async fn apply(
        &self,
        name: &str,
        wanted: &[(Wanted, Option<Route>)],
        last: &[Value],
    ) -> Result<Vec<Reference>, Error> {
        let mut inventory = Vec::with_capacity(wanted.len());
        let mut versions = Vec::with_capacity(wanted.len());
        for (wanted, route) in wanted {
            let place = &wanted.reference;
            let route = match route {
                Some(route) => route.clone(),
                None => self.defined(place, &wanted.origin).await?,
            };
            self.watched.ensure(place, &route);
            let object = self.objects.apply(wanted, record::at(last, place), &route, name).await?;
            versions.push(version_of(&object));
            inventory.push(Reference { uid: uid_of(&object), ..place.clone() });
        }
        for (place, version) in inventory.iter().zip(versions) {
            self.watched.reached(place, version).await;
        }
        Ok(inventory)
    }

    /// How a kind is reached that a manifest before it has defined.
    async fn defined(&self, place: &Reference, origin: &str) -> Result<Route, Error> {
        match self.objects.route(&place.api_version, &place.kind, origin).await {
            Err(Error::Api { code: 404, .. }) => {
                Err(Error::Unserved(format!("{} {}", place.api_version, place.kind)))
            }
            route => route,
        }
    }

    /// Ends a disabled addon and takes its objects away.
    async fn down(&self, name: &str, record: Option<Record>) -> Result<(), Error> {
        self.stop_if(name, |_| true).await;
        let native = self.config.natives.iter().find(|native| native.about().name == name);
        if let Some(native) = native {
            self.config.health.remove(Component::Addon(native.about().name));
        }
        let Some(record) = record else { return Ok(()) };
        if record.version.is_empty() && record.inventory.is_empty() {
            return self.forget_defaults(name, &record).await;
        }
        if let Some(native) = native {
            self.take_back(native, &record).await;
        }
        let places = plan::pruned(&record.inventory, &[]);
        for place in &places {
            if self.objects.prune(place, name).await? {
                tracing::info!(component = name, object = %place, "deleted: the addon is disabled");
            }
        }
        let remaining = self.remaining(name, &places).await?;
        if remaining.len() < record.inventory.len() || remaining.is_empty() {
            let gone = remaining.is_empty();
            self.update(name, |record| {
                record.inventory.clone_from(&remaining);
                if gone {
                    record.applied = Applied::default();
                    record.version.clear();
                }
            })
            .await?;
        }
        match remaining.is_empty() {
            true => Ok(()),
            false => Err(Error::Remaining {
                name: name.to_owned(),
                objects: remaining.iter().map(ToString::to_string).collect(),
            }),
        }
    }

    /// Which of an addon's deleted objects are still there, in the order in which they were made: finalizers keep them.
    /// A pass comes when the last of them goes.
    async fn remaining(&self, name: &str, places: &[Reference]) -> Result<Vec<Reference>, Error> {
        let mut remaining = Vec::new();
        for place in places.iter().rev() {
            if let Some(route) = self.objects.leaving(place, name).await? {
                self.watched.ensure(place, &route);
                remaining.push(place.clone());
            }
        }
        Ok(remaining)
    }

    /// A record that says what holds without it goes.
    async fn forget_defaults(&self, name: &str, record: &Record) -> Result<(), Error> {
        let default_off = matches!(self.definition(name), Some(Ok(Definition::Native(native))) if !native.about().default_on);
        let nothing = record.configuration.is_empty() && record.enabled != Some(true);
        if !(default_off && nothing || self.definition(name).is_none()) {
            return Ok(());
        }
        self.delete_map(&record::name_of(name)).await
    }

    /// Lets an addon take back what is not among its objects; what it fails with is told and no more.
    async fn take_back(&self, native: &Arc<dyn Native>, record: &Record) {
        let name = native.about().name;
        let tasks = Tasks::under(Component::Addon(name), self.tasks.drain().child());
        let parts = self.parts(native, Value::Object(record.configuration.clone()));
        let context = parts.context(sampan_addon::Reporter::new(), tasks.clone());
        let taking = AssertUnwindSafe(native.disabled(&parts.config, context)).catch_unwind();
        match tokio::time::timeout(DISABLED_MAX, taking).await {
            Ok(Ok(Ok(()))) => {}
            Ok(Ok(Err(error))) => tracing::warn!(component = name, %error, "something was left"),
            Ok(Err(panic)) => {
                tracing::error!(
                    component = name,
                    words = panic_words(panic.as_ref()),
                    "panicked while it took back what it left"
                );
            }
            Err(_) => tracing::warn!(component = name, "did not end to take back what it left"),
        }
        tasks.finish(Duration::from_secs(1)).await;
    }

    fn parts(&self, native: &Arc<dyn Native>, config: Value) -> Parts {
        let name = native.about().name;
        Parts {
            native: native.clone(),
            config,
            client: (self.config.client_for)(&format!("system:serviceaccount:{NAMESPACE}:addon-{name}")),
            informers: self.config.informers.clone(),
            site: self.config.site.clone(),
            data: self.config.data.join(name),
            host: self.config.host.clone(),
            health: self.config.health.clone(),
        }
    }

    fn start(&self, name: &str, native: &Arc<dyn Native>, config: Value) {
        let mut runners = self.runners.lock();
        // the manager drains: what starts now would not be waited for
        if !runners.contains_key(name) && !self.tasks.drain().started() {
            runners.insert(name.to_owned(), Runner::start(self.parts(native, config), &self.tasks));
        }
    }

    /// Stops an addon's code if it runs and `condition` holds.
    pub async fn stop_if(&self, name: &str, condition: impl Fn(&Runner) -> bool) {
        let runner = {
            let mut runners = self.runners.lock();
            match runners.get(name) {
                Some(runner) if condition(runner) => runners.remove(name),
                _ => None,
            }
        };
        if let Some(runner) = runner {
            runner.stop().await;
        }
    }

    /// A GET of a Service through the API server; the status.
    pub async fn fetch(&self, path: &str) -> Result<u16, Error> {
        let failed = |error: &kube::Error| Error::api(path, "", error);
        let request = http::Request::get(path).body(kube::client::Body::empty());
        let request = request.map_err(|error| failed(&kube::Error::HttpError(error)))?;
        let answer = self.objects.client().send(request).await.map_err(|error| failed(&error))?;
        Ok(answer.status().as_u16())
    }

    /// An object by name, for checks.
    pub async fn look(&self, place: &Reference) -> Result<Option<Value>, Error> {
        let route = self.objects.route(&place.api_version, &place.kind, "").await?;
        let place =
            Reference { namespace: place.namespace.clone().filter(|_| route.namespaced), ..place.clone() };
        self.objects.get(&place, &route, "").await
    }
}
