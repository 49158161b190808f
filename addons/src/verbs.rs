//! What the command line and the REST API ask for: each verb writes what the user decided and waits until the cluster
//! agrees, or says why it does not and restores what was before.

use base64::Engine;
use sampan_process::Drain;
use serde_json::{Map, Value, json};

use crate::definition::Definition;
use crate::error::{Error, ErrorKind};
use crate::fields::{self, fields};
use crate::health::{Condition, State};
use crate::manager::{Addons, Manager};
use crate::package::{Files, Package, Summary};
use crate::record::{self, Record};
use crate::request::{Details, Request, Sort, Status, Step};
use crate::set;
use crate::settle::Unsettled;

/// How long a native addon may take to be healthy.
const NATIVE_SECONDS: u64 = 30;
/// How long a package may take: images are pulled.
const PACKAGE_SECONDS: u64 = 180;

/// Hears what happens while a verb works.
pub type Progress<'a> = &'a (dyn Fn(Step) + Send + Sync);

impl Addons {
    /// Answers a request with the value that its documentation names.
    ///
    /// # Errors
    /// What the verb's method says.
    pub async fn answer(&self, request: Request, progress: Progress<'_>) -> Result<Value, Error> {
        let value =
            |value: Result<Value, serde_json::Error>| value.map_err(|error| Error::Code(error.to_string()));
        match request {
            Request::List => value(serde_json::to_value(self.list())),
            Request::Show { name } => value(serde_json::to_value(self.show(&name)?)),
            Request::Enable { name, set, timeout_seconds } => {
                value(serde_json::to_value(self.enable(&name, &set, timeout_seconds, progress).await?))
            }
            Request::Disable { name } => value(serde_json::to_value(self.disable(&name, progress).await?)),
            Request::Configure { name, set, unset } => {
                value(serde_json::to_value(self.configure(&name, &set, &unset, progress).await?))
            }
            Request::Add { files, name } => {
                let bytes = base64::engine::general_purpose::STANDARD.decode(files);
                let bytes = bytes.map_err(|error| Error::Package(format!("files: {error}")))?;
                value(serde_json::to_value(self.add(&bytes, name.as_deref(), progress).await?))
            }
            Request::Remove { name } => value(serde_json::to_value(self.remove(&name, progress).await?)),
            Request::Images { name } => self.images(&name),
            Request::Page { name } => self.page(&name).map(Value::from),
        }
    }

    /// All addons, native ones first.
    pub fn list(&self) -> Vec<Status> {
        self.0.names().iter().filter_map(|name| Some(self.0.status(name, self.0.definition(name)?))).collect()
    }

    /// One addon with everything about it.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Package`] if what is kept of it is not usable.
    pub fn show(&self, name: &str) -> Result<Details, Error> {
        let definition = self.0.known(name)?;
        let record = self.0.record(name)?.unwrap_or_default();
        let configuration = definition.configuration(&record.configuration);
        // what the user set shows even if it is not usable (any more): it is what has to be mended
        let configuration = configuration.unwrap_or_else(|_| record.configuration.clone().into());
        let schema = definition.schema();
        Ok(Details {
            fields: fields(&schema, &configuration),
            schema,
            configuration,
            set: record.configuration,
            needs: definition.needs(),
            objects: record.inventory,
            status: self.0.status(name, Ok(definition)),
        })
    }

    /// Turns an addon on, with changes of its configuration, and waits until it is healthy.
    ///
    /// # Errors
    /// [`Error::Failed`] once what was before is restored; [`Error::Needs`], [`Error::Config`], [`Error::Owned`] before
    /// anything was done.
    pub async fn enable(
        &self,
        name: &str,
        set: &[String],
        timeout_seconds: Option<u64>,
        progress: Progress<'_>,
    ) -> Result<Status, Error> {
        let _turn = self.0.turns.take(name).await;
        let definition = self.0.known(name)?;
        self.0.needs_met(name, &definition.needs())?;
        let before = self.0.record(name)?.unwrap_or_default();
        let configuration = set::change(&before.configuration, set, &[], &definition.schema())?;
        definition.configuration(&configuration)?;
        self.0
            .decide(name, &definition, before, Some(true), configuration, timeout_seconds, progress)
            .await?;
        Ok(self.0.status(name, Ok(definition)))
    }

    /// Turns an addon off and waits until its objects are gone.
    ///
    /// # Errors
    /// [`Error::NeededBy`] if an enabled addon needs it; whatever keeps an object from being deleted;
    /// [`Error::Remaining`] if some are still there after a minute. They go when what holds them lets go of them.
    pub async fn disable(&self, name: &str, progress: Progress<'_>) -> Result<Status, Error> {
        let _turn = self.0.turns.take(name).await;
        self.disable_in_turn(name, progress).await
    }

    async fn disable_in_turn(&self, name: &str, progress: Progress<'_>) -> Result<Status, Error> {
        // a package that cannot be read any more can still be disabled
        let definition = match self.0.known(name) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
            definition => definition,
        };
        let needs = |other: &String| {
            other != name
                && self.0.is_enabled(other)
                && self.0.known(other).is_ok_and(|other| other.needs().iter().any(|need| need == name))
        };
        if let Some(by) = self.0.names().into_iter().find(needs) {
            return Err(Error::NeededBy { name: name.to_owned(), by });
        }
        if self.0.is_enabled(name) || self.0.record(name)?.is_some_and(|record| !record.inventory.is_empty())
        {
            progress(Step::Pruning);
            let version = self.0.update(name, |record| record.enabled = Some(false)).await?;
            self.0.went_down(name, version).await?;
        }
        Ok(self.0.status(name, definition))
    }

    /// Changes the configuration; an enabled addon follows at once, and goes back if it does not become healthy.
    ///
    /// # Errors
    /// As [`Addons::enable`].
    pub async fn configure(
        &self,
        name: &str,
        set: &[String],
        unset: &[String],
        progress: Progress<'_>,
    ) -> Result<Details, Error> {
        if !(set.is_empty() && unset.is_empty()) {
            let _turn = self.0.turns.take(name).await;
            let definition = self.0.known(name)?;
            let before = self.0.record(name)?.unwrap_or_default();
            let configuration = set::change(&before.configuration, set, unset, &definition.schema())?;
            definition.configuration(&configuration)?;
            if self.0.is_enabled(name) {
                let enabled = before.enabled;
                self.0.decide(name, &definition, before, enabled, configuration, None, progress).await?;
            } else {
                self.0.update(name, |record| record.configuration.clone_from(&configuration)).await?;
            }
        }
        self.show(name)
    }

    /// Adds a package, or puts another version in its place, which an enabled one follows at once.
    ///
    /// # Errors
    /// [`Error::Package`] with file and line; as [`Addons::enable`] for one that is enabled.
    pub async fn add(
        &self,
        files: &[u8],
        name: Option<&str>,
        progress: Progress<'_>,
    ) -> Result<Details, Error> {
        let files = Files::of_tar(files)?;
        let packed = files.pack()?;
        let mut package = Package::read(files)?;
        if let Some(name) = name {
            package = package.renamed(name)?;
        }
        let name = package.name().to_owned();
        if self.0.config.natives.iter().any(|native| native.about().name == name) {
            return Err(Error::BuiltIn(name));
        }
        let _turn = self.0.turns.take(&name).await;
        let before = self.0.kept_files(&name);
        let given = self.0.record(&name)?.unwrap_or_default().configuration;
        if !given.is_empty() {
            package.configuration(&given)?;
        }
        if self.0.is_enabled(&name) {
            self.0.needs_met(&name, &package.description.needs)?;
        }
        let version = self.0.keep_files(&name, packed).await?;
        if let Some(before) = before.filter(|_| self.0.is_enabled(&name)) {
            progress(Step::Applying);
            if let Err(unsettled) = self.0.settle(&name, version, PACKAGE_SECONDS, progress).await {
                progress(Step::RollingBack { reason: unsettled.reason.clone() });
                let version = self.0.keep_files(&name, before).await?;
                let restored = self.0.restored(&name, version, true).await;
                return Err(unsettled.into_error(&name, restored));
            }
        }
        self.show(&name)
    }

    /// Takes a package out with everything that it made.
    ///
    /// # Errors
    /// [`Error::BuiltIn`] for native addons; as [`Addons::disable`].
    pub async fn remove(&self, name: &str, progress: Progress<'_>) -> Result<Status, Error> {
        if self.0.config.natives.iter().any(|native| native.about().name == name) {
            return Err(Error::BuiltIn(name.to_owned()));
        }
        // one turn: nobody enables it in between
        let _turn = self.0.turns.take(name).await;
        let was = self.disable_in_turn(name, progress).await?;
        self.0.delete_map(&record::package_name_of(name)).await?;
        self.0.delete_map(&record::name_of(name)).await?;
        Ok(was)
    }

    /// The images that an addon uses, by the names it gives them; native addons use none.
    ///
    /// # Errors
    /// As [`Addons::show`].
    pub fn images(&self, name: &str) -> Result<Value, Error> {
        match self.0.known(name)? {
            Definition::Native(_) => Ok(json!({})),
            Definition::Package(package) => Ok(json!(package.description.images)),
        }
    }

    /// The address of an addon's page.
    ///
    /// # Errors
    /// [`Error::NoPage`] if it has none.
    pub fn page(&self, name: &str) -> Result<String, Error> {
        let definition = self.0.known(name)?;
        let given = self.0.record(name)?.unwrap_or_default().configuration;
        let config = definition.configuration(&given)?;
        let page = definition.page(&config, &self.0.config.site);
        page.ok_or_else(|| Error::NoPage(name.to_owned()))
    }

    /// Resolves once every enabled addon has been looked at since the daemon started, however that ended, or `drain` has
    /// begun.
    pub async fn settled(&self, drain: &Drain) {
        let mut outcomes = self.0.outcomes.subscribe();
        loop {
            let all = self.0.names().into_iter().filter(|name| self.0.is_enabled(name));
            if self.0.maps.has_synced() && all.into_iter().all(|name| outcomes.borrow().contains_key(&name)) {
                return;
            }
            tokio::select! {
                _ = outcomes.changed() => {}
                () = drain.wait() => return,
            }
        }
    }
}

impl Manager {
    /// Writes a decision, waits until it is true, and takes it back if it does not become so.
    #[allow(clippy::too_many_arguments)] // what was, what is to be, and how to wait
    async fn decide(
        &self,
        name: &str,
        definition: &Definition,
        before: Record,
        enabled: Option<bool>,
        configuration: Map<String, Value>,
        timeout_seconds: Option<u64>,
        progress: Progress<'_>,
    ) -> Result<(), Error> {
        let was_enabled = self.is_enabled(name);
        let same = was_enabled && configuration == before.configuration;
        let was_well = was_enabled && self.condition(name).state == State::Healthy;
        progress(Step::Applying);
        // whoever asks again wants another try now, not after the pause
        self.stop_if(name, |runner| same && Condition::from(runner.reporter.get()).state == State::Failed)
            .await;
        let version = self
            .update(name, |record| {
                record.enabled = enabled;
                record.configuration.clone_from(&configuration);
            })
            .await?;
        let (default, waits) = match definition {
            Definition::Native(native) => (NATIVE_SECONDS, native.waits_for_outside()),
            Definition::Package(_) => (PACKAGE_SECONDS, false),
        };
        let settled = self.settle(name, version, timeout_seconds.unwrap_or(default), progress).await;
        let Err(unsettled) = settled.and_then(|()| self.no_worse(name, was_well && !same && !waits)) else {
            return Ok(());
        };
        if same {
            return Err(unsettled.into_error(name, "it stays enabled and is tried again".to_owned()));
        }
        progress(Step::RollingBack { reason: unsettled.reason.clone() });
        let undone = self
            .update(name, |record| {
                record.enabled = before.enabled.or(Some(was_enabled));
                record.configuration.clone_from(&before.configuration);
            })
            .await?;
        let restored = self.restored(name, undone, was_enabled).await;
        Err(unsettled.into_error(name, restored))
    }

    /// Refuses a change by which what was healthy is not any more.
    fn no_worse(&self, name: &str, was_well: bool) -> Result<(), Unsettled> {
        let now = self.condition(name);
        match was_well && now.state == State::Degraded {
            true => Err(Unsettled::worse(now)),
            false => Ok(()),
        }
    }

    fn status(&self, name: &str, definition: Result<Definition, Error>) -> Status {
        let mut status = Status {
            name: name.to_owned(),
            enabled: self.is_enabled(name),
            health: self.condition(name),
            version: String::new(),
            maintainer: String::new(),
            summary: Summary::default(),
            sort: Sort::Package,
            default_on: false,
        };
        match definition {
            Ok(Definition::Native(native)) => {
                let about = native.about();
                status.version = about.version.to_owned();
                status.maintainer = about.maintainer.to_owned();
                let record = self.record(name).ok().flatten().unwrap_or_default();
                let configuration = native.configuration(&record.configuration.into()).unwrap_or_default();
                let filled = |text: &str| fields::filled(text, &configuration);
                status.summary = Summary { en: filled(about.summary.en), zh: filled(about.summary.zh) };
                status.sort = Sort::Native;
                status.default_on = about.default_on;
            }
            Ok(Definition::Package(package)) => {
                let about = &package.description;
                status.version.clone_from(&about.version);
                status.maintainer.clone_from(&about.maintainer);
                status.summary = about.summary.clone();
            }
            Err(error) => {
                status.health = Condition::new(State::Failed, error.to_string(), error.next_step(name))
            }
        }
        status
    }
}
