//! One implementation of every verb for every kind.
//!
//! Reads come from the store's snapshots and are answered from the stored bytes; writes go
//! decode → prepare → admit → validate → compare-and-swap. What differs between kinds is asked from
//! [`crate::strategies`], never decided here.

mod admit;
pub mod columns;
pub mod create;
pub mod delete;
pub mod list;
pub mod manage;
mod metrics;
mod notes;
mod options;
mod owners;
pub mod patch;
mod quota;
mod token;
mod update;
pub mod watch;

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use sampan_api::kinds::Kind;
use sampan_api::status::{ApiError, FieldError, Reason};
use sampan_store::{Action, Condition, Entry, Key, Store, Write, WriteError};
use serde_json::{Map, Value};

pub use admit::{Admission, Operation, Plugin, Review, WaitingPlugin};
pub use delete::{DeleteOptions, Deleted, Propagation};
pub use notes::Notes;
pub use options::{FieldValidation, WriteOptions, manager, said};

use crate::crd::convert::{Converter, Memo};
use crate::pipeline::warnings::Warnings;
use crate::strategies::services::Services;
use crate::{NodeConnector, UserInfo, strategies};

/// Most rounds of conversions that one change of managed fields takes: some for each version that a manager wrote in.
const CONVERSIONS: usize = 256;

/// Most bytes of an object: etcd's `--max-request-bytes`, which upstream's clients know.
const LARGEST: usize = 3 << 19;

/// All objects, and the rules of changing them. Cheap to clone.
#[derive(Clone)]
pub struct Registry {
    /// Where objects are.
    pub store: Store,
    plugins: Arc<OnceLock<Vec<Admission>>>,
    connector: Arc<OnceLock<Arc<dyn NodeConnector>>>,
    /// What Services have been given.
    pub(crate) services: Services,
    pub(crate) converter: Arc<Converter>,
}

/// One object's place.
#[derive(Clone, Debug)]
pub struct Target {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace, empty for cluster scope.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What of it: empty, `status`, `scale` …
    pub subresource: String,
}

impl Target {
    /// The object itself.
    pub fn new(kind: &'static Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.into(), name: name.into(), subresource: String::new() }
    }
    /// Its key in the store.
    pub fn key(&self) -> Key {
        Key::new(self.kind.storage_group, store_name(&self.namespace, &self.name))
    }
    /// The object's key in upstream's etcd, which some of its messages name.
    pub fn registry_key(&self) -> String {
        let prefix = match (self.kind.group, self.kind.plural) {
            ("", "endpoints") => "services/endpoints".to_owned(),
            ("", "nodes") => "minions".to_owned(),
            ("", "replicationcontrollers") => "controllers".to_owned(),
            ("", "services") => "services/specs".to_owned(),
            (_, "ingresses") => "ingress".to_owned(),
            (group @ ("apiextensions.k8s.io" | "apiregistration.k8s.io"), plural) => {
                format!("{group}/{plural}")
            }
            (group, plural) if self.kind.custom.is_some() => format!("{group}/{plural}"),
            (_, plural) => plural.to_owned(),
        };
        format!("/registry/{prefix}/{}", store_name(&self.namespace, &self.name))
    }
    /// `pods "a" not found`.
    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(self.kind.group, self.kind.plural, &self.name)
    }
    /// 422 with a cause each. Both APIs' events are core's to upstream's scheme.
    pub fn invalid(&self, errors: Vec<FieldError>) -> ApiError {
        let group = if self.kind.storage_group == "events" { "" } else { self.kind.group };
        ApiError::invalid(group, self.kind.kind, &self.name, errors)
    }
    /// 409 with a reason.
    pub fn conflict(&self, why: &str) -> ApiError {
        ApiError::conflict(self.kind.group, self.kind.plural, &self.name, why)
    }
    /// 409: the object changed meanwhile.
    pub fn modified(&self) -> ApiError {
        ApiError::modified(self.kind.group, self.kind.plural, &self.name)
    }
    /// 403 with a reason.
    pub fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(self.kind.group, self.kind.plural, &self.name, why)
    }
}

/// `namespace/name`, or the bare name of cluster-scoped kinds.
pub fn store_name(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

/// The outcome of a write.
pub struct Written {
    /// The object as it is now.
    pub json: bytes::Bytes,
    /// Whether it came to be.
    pub created: bool,
}

impl Registry {
    /// A registry over `store`.
    pub fn new(store: Store) -> Self {
        let services = Services::from_store(&store);
        Self {
            store,
            plugins: Arc::default(),
            connector: Arc::default(),
            services,
            converter: Arc::default(),
        }
    }

    /// Sets the admission plugins, in order; once, before serving.
    pub fn set_plugins(&self, plugins: Vec<Admission>) {
        let _ = self.plugins.set(plugins);
    }

    /// Sets how nodes are reached; once, before pods are asked for logs.
    pub fn set_connector(&self, connector: Arc<dyn NodeConnector>) {
        let _ = self.connector.set(connector);
    }

    /// How nodes are reached.
    pub fn connector(&self) -> Result<Arc<dyn NodeConnector>, ApiError> {
        self.connector.get().cloned().ok_or_else(|| ApiError::unavailable("no node is connected yet"))
    }

    /// The stored object.
    pub fn entry(&self, target: &Target) -> Result<Arc<Entry>, ApiError> {
        self.store.get(&target.key()).ok_or_else(|| target.not_found())
    }

    /// Stored entries as who reads `kind` sees them: custom resources in its version, all others as they are.
    pub async fn shown(
        &self,
        kind: &'static Kind,
        entries: Vec<Arc<Entry>>,
    ) -> Result<Vec<Arc<Entry>>, ApiError> {
        match kind.custom {
            Some(_) => self.converter.entries(&self.store, kind, entries).await,
            None => Ok(entries),
        }
    }

    /// As [`Registry::shown`], for one that nothing has to be asked for.
    pub fn shown_at_once(&self, kind: &'static Kind, entry: &Arc<Entry>) -> Option<Arc<Entry>> {
        self.converter.at_once(kind, entry)
    }

    /// The bytes of the object, in the version of its kind; `kept` if what was converted some time ago will do.
    pub async fn read(&self, target: &Target, kept: bool) -> Result<bytes::Bytes, ApiError> {
        let (entry, kind) = (self.entry(target)?, target.kind);
        let known = self.shown_at_once(kind, &entry).filter(|_| kept);
        let shown = match known {
            Some(known) => known,
            None => self.converter.fresh(&self.store, kind, &entry).await?,
        };
        Ok(in_version(&shown, kind))
    }

    /// The object of an entry, in the version of `kind`, as it is converted now: it may be written back.
    pub async fn decoded(&self, entry: &Arc<Entry>, kind: &'static Kind) -> Result<Value, ApiError> {
        if kind.custom.is_none() {
            return decode(entry, kind);
        }
        let shown = self.converter.fresh(&self.store, kind, entry).await?;
        serde_json::from_slice(&shown.value).map_err(ApiError::internal)
    }

    /// What was just written, in the version of `kind`.
    async fn answered(&self, json: bytes::Bytes, kind: &'static Kind) -> Result<bytes::Bytes, ApiError> {
        if !strategies::convert::many_versions(kind) {
            return Ok(json);
        }
        let mut object = serde_json::from_slice(&json).map_err(ApiError::internal)?;
        let Some(custom) = kind.custom else {
            strategies::convert::to_version(&mut object, kind)?;
            return Ok(object.to_string().into());
        };
        match custom.version().filter(|version| version.head.spec.versions.len() > 1) {
            Some(version) => {
                let read = self.converter.stored(&self.store, kind, &version, object).await?;
                Ok(read.to_string().into())
            }
            None => Ok(json),
        }
    }

    /// Turns an object of `kind`'s version into the stored one.
    async fn to_storage(&self, object: &mut Value, kind: &'static Kind) -> Result<(), ApiError> {
        let Some(version) = kind.custom.and_then(|custom| custom.version()) else {
            strategies::convert::to_storage(object, kind);
            return Ok(());
        };
        let wanted = sampan_api::kinds::api_version(kind.group, kind.storage_version);
        let converted = self.converter.convert(&self.store, &version, vec![object.take()], &wanted).await?;
        *object = converted.into_iter().next().unwrap_or_default();
        Ok(())
    }

    /// Gets the conversions that `memo` misses.
    async fn fill(&self, kind: &'static Kind, memo: &Memo) -> Result<(), ApiError> {
        let version =
            kind.custom.and_then(|custom| custom.version()).ok_or_else(ApiError::unknown_resource)?;
        memo.fill(&self.converter, &self.store, &version).await
    }

    /// Runs `act`, which asks a memo for conversions, until it has all that it asks for.
    async fn converting<T>(
        &self,
        kind: &'static Kind,
        mut act: impl FnMut(&Memo) -> T,
    ) -> Result<T, ApiError> {
        let memo = Memo::default();
        for _ in 0..CONVERSIONS {
            let done = act(&memo);
            if !memo.is_missing() {
                return Ok(done);
            }
            self.fill(kind, &memo).await?;
        }
        Err(ApiError::internal(format!("more than {CONVERSIONS} conversions of one object are asked for")))
    }

    /// The stored object, decoded, in the version of `target`'s kind; not for custom resources.
    pub fn object(&self, target: &Target) -> Result<(Value, u64), ApiError> {
        let entry = self.entry(target)?;
        Ok((decode(&entry, target.kind)?, entry.revision))
    }

    /// Runs the mutating admission plugins.
    pub async fn admit(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        let began = Instant::now();
        let mut admitted = self.round(review, object).await;
        // what webhooks or policies changed, the others see once more
        if admitted.is_ok() && review.notes.begin_second_round() {
            admitted = self.round(review, object).await;
        }
        if admitted.is_ok() {
            manage::check_admitted(review, object);
        }
        metrics::admitted("admit", review.operation, began.elapsed(), admitted.is_err());
        admitted
    }

    /// Admission of what is created below an object and never stored: a binding, an eviction, a token's request.
    pub async fn admit_creation(
        &self,
        call: &Call<'_>,
        below: &Target,
        object: &mut Value,
    ) -> Result<(), ApiError> {
        let review = call.review(self, below, Operation::Create, None);
        self.admit(&review, object).await?;
        self.admit_validate(&review, object).await
    }

    async fn round(&self, review: &Review<'_>, object: &mut Value) -> Result<(), ApiError> {
        for plugin in self.plugins.get().into_iter().flatten() {
            plugin.admit(review, object).await?;
        }
        Ok(())
    }

    /// Runs the validating admission plugins.
    pub async fn admit_validate(&self, review: &Review<'_>, object: &Value) -> Result<(), ApiError> {
        let began = Instant::now();
        let mut admitted = Ok(());
        for plugin in self.plugins.get().into_iter().flatten() {
            admitted = plugin.validate(review, object).await;
            if admitted.is_err() {
                break;
            }
        }
        metrics::admitted("validate", review.operation, began.elapsed(), admitted.is_err());
        admitted
    }

    /// Puts `object` under `target`, together with other writes, or pretends to.
    async fn put(
        &self,
        target: &Target,
        object: &Value,
        condition: Condition,
        beside: Vec<Write>,
        dry_run: bool,
    ) -> Result<bytes::Bytes, WriteError> {
        if dry_run {
            return self.pretend(target, object, condition);
        }
        let value = encoded(object);
        if is_too_large(target.kind, &value.bytes) {
            return Err(WriteError::TooLarge);
        }
        let action = Action::Put(value);
        self.write(Write { key: target.key(), condition, action }, beside).await
    }

    /// One write, and others that are done only if it is, and it only if they are.
    async fn write(&self, write: Write, beside: Vec<Write>) -> Result<bytes::Bytes, WriteError> {
        let (bucket, act, began) = (write.key.bucket.clone(), metrics::Act::of(&write), Instant::now());
        let written = match beside.is_empty() {
            true => self.store.write(write).await.map(|entry| entry.value.clone()),
            false => {
                let all = self.store.write_together(std::iter::once(write).chain(beside).collect()).await;
                all.map(|all| all.first().map(|entry| entry.value.clone()).unwrap_or_default())
            }
        };
        metrics::wrote(bucket, act, began.elapsed(), written.as_ref().err());
        written
    }

    /// What [`Registry::put`] would answer.
    fn pretend(
        &self,
        target: &Target,
        object: &Value,
        condition: Condition,
    ) -> Result<bytes::Bytes, WriteError> {
        let found = self.store.get(&target.key());
        match (condition, found) {
            (Condition::Absent, Some(entry)) => Err(WriteError::Exists(entry)),
            (Condition::Revision(_), None) => Err(WriteError::Missing),
            (Condition::Revision(at), Some(entry)) if entry.revision != at => Err(WriteError::Changed(entry)),
            (_, entry) => {
                let value = encoded(object);
                let mut bytes = value.bytes;
                match entry {
                    Some(entry) => {
                        drop(bytes.splice(value.at..value.at, entry.revision.to_string().bytes()));
                    }
                    None => without_revision(&mut bytes, value.at),
                }
                Ok(bytes.into())
            }
        }
    }
}

/// The object of an entry, in the version that `kind` names.
pub fn decode(entry: &Entry, kind: &'static Kind) -> Result<Value, ApiError> {
    let mut object: Value = serde_json::from_slice(&entry.value).map_err(ApiError::internal)?;
    strategies::convert::to_version(&mut object, kind)?;
    strategies::convert::settle_stored(&mut object, kind.schema);
    Ok(object)
}

/// The bytes of an entry, in the version that `kind` names: the stored ones wherever there is one version. An entry of a
/// custom resource is one that was [`Registry::shown`].
pub fn in_version(entry: &Entry, kind: &'static Kind) -> bytes::Bytes {
    if kind.custom.is_some() || !strategies::convert::many_versions(kind) {
        return entry.value.clone();
    }
    match decode(entry, kind) {
        Ok(object) => object.to_string().into(),
        Err(_) => entry.value.clone(),
    }
}

/// The bytes that the store keeps.
pub(crate) fn encoded(object: &Value) -> sampan_store::Value {
    let (bytes, at) = sampan_api::meta::encode(object);
    sampan_store::Value { bytes, at }
}

/// Whether upstream would not store an object of this JSON: it stores what is built in as protobuf, which is smaller.
fn is_too_large(kind: &Kind, json: &[u8]) -> bool {
    if json.len() <= LARGEST {
        return false;
    }
    let short = || sampan_api::proto::encode(json, kind.schema, &kind.api_version(), kind.kind).ok();
    kind.custom.is_some() || short().is_none_or(|bytes| bytes.len() > LARGEST)
}

/// Takes the empty revision out of an encoded object that has never been stored; `at` is between its quotes.
fn without_revision(bytes: &mut Vec<u8>, at: usize) {
    let (start, end) = (at - "\"resourceVersion\":\"".len(), at + 1);
    let is_comma = |at: Option<usize>| at.and_then(|at| bytes.get(at)) == Some(&b',');
    let range = match (is_comma(start.checked_sub(1)), is_comma(Some(end))) {
        (true, _) => start - 1..end,
        (false, true) => start..end + 1,
        (false, false) => start..end,
    };
    drop(bytes.drain(range));
}

/// What the client sees of a refused write.
fn write_error(target: &Target, error: WriteError) -> ApiError {
    match error {
        WriteError::Exists(_) => {
            ApiError::already_exists(target.kind.group, target.kind.plural, &target.name)
        }
        WriteError::Missing => target.not_found(),
        WriteError::Changed(_) => target.modified(),
        WriteError::TooLarge => ApiError::new(Reason::Unknown, "etcdserver: request is too large"),
        WriteError::Full(why) => {
            ApiError::insufficient_storage(format!("no space left to store the object: {why}"))
        }
        WriteError::Closed => ApiError::unavailable("the apiserver is shutting down"),
        WriteError::Failed(why) => {
            tracing::error!(%why, key = %target.key(), "a write failed");
            ApiError::new(
                Reason::InternalError,
                "Internal error occurred: the store failed to write the object",
            )
        }
    }
}

/// Who writes, and how.
pub struct Call<'a> {
    /// The user.
    pub user: &'a UserInfo,
    /// dryRun and field validation.
    pub options: WriteOptions,
    /// Texts for `Warning` headers.
    pub warnings: Warnings,
    /// Who manages the fields that it changes; `None` for a write that upstream's field manager does not see.
    pub manager: Option<String>,
    /// The view that the object is written through, such as `scale`; empty if it is written as it is.
    pub through: &'static str,
    /// The fields of its options that its author gave, for admission.
    pub said: Map<String, Value>,
    /// Whether it is about each of a list: admission is then told no name.
    pub of_many: bool,
}

impl<'a> Call<'a> {
    /// A call of `user`.
    pub fn new(user: &'a UserInfo, options: WriteOptions) -> Self {
        let (warnings, said) = (Default::default(), Map::new());
        Self { user, options, warnings, through: "", manager: None, said, of_many: false }
    }
    /// As one of those options.
    pub fn saying(self, said: Map<String, Value>) -> Self {
        Self { said, ..self }
    }
    /// As a write by that manager.
    pub fn tracked(self, manager: impl Into<String>) -> Self {
        Self { manager: Some(manager.into()), ..self }
    }
    fn review<'b>(
        &'b self,
        registry: &'b Registry,
        target: &'b Target,
        operation: Operation,
        old: Option<&'b Value>,
    ) -> Review<'b> {
        Review {
            operation,
            kind: target.kind,
            subresource: &target.subresource,
            namespace: &target.namespace,
            name: if self.of_many { "" } else { &target.name },
            user: self.user,
            old,
            dry_run: self.options.dry_run,
            said: &self.said,
            store: &registry.store,
            converter: &registry.converter,
            warnings: &self.warnings,
            notes: Notes::through(self.through),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{encoded, without_revision};
    use serde_json::{Value, json};

    #[test]
    fn what_was_never_stored_has_no_revision() {
        for metadata in [
            json!({"name": "a", "labels": {"b": "c"}}),
            json!({"name": "a"}),
            json!({"labels": {}}),
            json!({}),
        ] {
            let object = json!({"kind": "Pod", "metadata": metadata});
            let value = encoded(&object);
            let mut bytes = value.bytes;
            without_revision(&mut bytes, value.at);
            let read: Result<Value, _> = serde_json::from_slice(&bytes);
            assert_eq!(read.ok().as_ref(), Some(&object));
        }
    }
}
