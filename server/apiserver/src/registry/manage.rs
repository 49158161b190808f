//! Managed fields in the registry: every write is followed, an apply is merged.
//!
//! What an operation does to the fields is `sampan-api::apply`'s. Here is what that does not know: the versions
//! of a kind, whose request it is, and where in a write it happens: as upstream after the author's object is
//! decoded and defaulted, before admission and the strategy touch it, so that what these change belongs to
//! nobody.

use sampan_api::apply::managed::Managed;
use sampan_api::apply::manager::{Tracker, Versions};
use sampan_api::apply::reset::{Reset, of_kind};
use sampan_api::apply::{Shape, scale};
use sampan_api::defaults::{same_field, without_empty};
use sampan_api::kinds::{self, Kind};
use sampan_api::status::ApiError;
use sampan_api::strict;
use sampan_store::WriteError;
use serde_json::{Map, Value};

use super::update::ATTEMPTS;
use super::{Call, Registry, Review, Target, Written};
use crate::crd::CustomVersions;
use crate::crd::convert::Memo;
use crate::pipeline::body::spot;
use crate::pipeline::warnings;
use crate::strategies;
use crate::value::{at, keep, meta, now, object, remove};

/// Who the API server's own writes are by.
pub const SELF: &str = "kube-apiserver";

/// The versions of a built-in kind.
struct BuiltIn(&'static Kind);

impl BuiltIn {
    fn version(&self, api_version: &str) -> Option<&'static Kind> {
        let (group, version) = sampan_api::meta::group_version(api_version);
        if (group, version) == (self.0.group, self.0.version) {
            return Some(self.0);
        }
        let kind = kinds::by_kind(group, version, self.0.kind)?;
        (kind.storage_group == self.0.storage_group).then_some(kind)
    }
}

impl Versions for BuiltIn {
    fn shape(&self, api_version: &str) -> Option<Shape<'_>> {
        Shape::root(self.version(api_version)?.schema)
    }
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        let mut object = object.clone();
        strategies::convert::to_version(&mut object, self.version(api_version)?).ok()?;
        Some(object)
    }
}

/// A Scale, which has one version.
struct Scale;

const SCALE: &str = "io.k8s.api.autoscaling.v1.Scale";

impl Versions for Scale {
    fn shape(&self, api_version: &str) -> Option<Shape<'_>> {
        (api_version == scale::API_VERSION).then(|| Shape::root(SCALE)).flatten()
    }
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value> {
        (api_version == scale::API_VERSION).then(|| object.clone())
    }
}

fn with_tracker<T>(
    kind: &'static Kind,
    subresource: &str,
    memo: &Memo,
    act: impl FnOnce(&Tracker<'_>) -> T,
) -> T {
    let (api_version, now) = (kind.api_version(), now());
    let reset = of_kind(kind.group, kind.kind, subresource);
    let (built_in, custom);
    let versions: &dyn Versions = match kind.custom {
        Some(slot) => {
            custom = CustomVersions::of(kind, slot).with(memo);
            &custom
        }
        None => {
            built_in = BuiltIn(kind);
            &built_in
        }
    };
    act(&Tracker {
        versions,
        api_version: &api_version,
        kind: kind.kind,
        subresource,
        reset: &reset,
        now: &now,
    })
}

/// Follows a create (`old` is `None`) or an update through `target`. In a call without a manager the new object's
/// fields hold, if it says any (null says none), or else the old one's.
fn track(call: &Call<'_>, target: &Target, old: Option<&Value>, new: &mut Value, memo: &Memo) {
    let Some(manager) = call.manager.as_deref() else { return settled(old, new) };
    strategies::write_only(target.kind, new);
    let follow = |new: &mut Value| {
        with_tracker(target.kind, &target.subresource, memo, |tracker| tracker.update(old, new, manager));
    };
    // what Go's JSON does not say, and is not stored, nobody owns
    match target.kind.custom.is_none().then(|| without_empty(new, target.kind.schema)).flatten() {
        Some(mut said) => {
            // an empty list asks for fields to be followed no more
            if at(new, FIELDS).as_array().is_some_and(Vec::is_empty) {
                object(&mut said, &["metadata"]).insert("managedFields".into(), Value::Array(Vec::new()));
            }
            follow(&mut said);
            match remove(&mut said, FIELDS) {
                Some(fields) => drop(object(new, &["metadata"]).insert("managedFields".into(), fields)),
                None => drop(remove(new, FIELDS)),
            }
        }
        None => follow(new),
    }
}

fn settled(old: Option<&Value>, new: &mut Value) {
    let said = at(new, &["metadata"]).get("managedFields").map(Value::is_null);
    match (said, old) {
        (Some(true), _) => drop(remove(new, FIELDS)),
        (None, Some(old)) => keep(new, old, FIELDS),
        _ => {}
    }
}

/// Gives an admitted object the managed fields back that it had, if webhooks or policies left what cannot be read:
/// upstream's `NewManagedFieldsValidatingAdmissionController`.
pub(super) fn check_admitted(review: &Review<'_>, admitted: &mut Value) {
    let Some(before) = review.notes.fields_before() else { return };
    let Err(why) = Managed::check(at(admitted, FIELDS)).map(drop) else { return };
    match before {
        Value::Null => drop(remove(admitted, FIELDS)),
        before => drop(object(admitted, &["metadata"]).insert("managedFields".into(), before)),
    }
    warnings::tell(format!(
        ".metadata.managedFields was in an invalid state after admission; this could be caused by an outdated mutating admission controller; please fix your requests: {why}"
    ));
}

/// Marks an object that the API server makes without a request as its own.
pub(crate) fn own(object: &mut Value) {
    let (group, version) = sampan_api::meta::group_version(sampan_api::meta::api_version(object));
    if let Some(kind) = kinds::by_kind(group, version, sampan_api::meta::kind(object)) {
        with_tracker(kind, "", &Memo::default(), |tracker| tracker.update(None, object, SELF));
    }
}

const FIELDS: &[&str] = &["metadata", "managedFields"];

/// Takes new times of managers back where nothing else is new, so that nothing has to be written:
/// upstream's `IgnoreManagedFieldsTimestampsTransformer`.
pub(super) fn ignore_times(kind: &Kind, old: &Value, new: &mut Value) {
    let (was, is) = (at(old, FIELDS), at(new, FIELDS));
    // a time is new most often because something else is, which is told sooner
    if is.is_null() || was == is || !same_but_fields(kind, old, new) || !same_but_times(was, is) {
        return;
    }
    keep(new, old, FIELDS);
}

/// An object that is too large with its managed fields does without them, unless they are what an apply is about.
pub(super) fn drop_if_too_large(call: &Call<'_>, error: &WriteError, new: &mut Value) -> bool {
    matches!(error, WriteError::TooLarge) && call.manager.is_some() && remove(new, FIELDS).is_some()
}

fn same_but_times(was: &Value, is: &Value) -> bool {
    let (Some(was), Some(is)) = (was.as_array(), is.as_array()) else { return false };
    was.len() == is.len()
        && was.iter().zip(is).all(|pair| {
            ["manager", "operation", "apiVersion", "fieldsV1", "subresource"]
                .iter()
                .all(|key| pair.0.get(*key) == pair.1.get(*key))
        })
}

/// Whether only managed fields and the revision differ, and what upstream takes for the same in its own types.
fn same_but_fields(kind: &Kind, old: &Value, new: &Value) -> bool {
    let (Some(was), Some(is)) = (old.as_object(), new.as_object()) else { return false };
    let same = |key: &String| match key.as_str() {
        "metadata" => same_but_managed(&was["metadata"], at(new, &["metadata"])),
        _ => was.get(key) == is.get(key) || kind.custom.is_none() && same_field(kind.schema, key, old, new),
    };
    was.contains_key("metadata") && was.keys().chain(is.keys()).all(same)
}

/// Metadata that say the same but for what a write says of itself.
fn same_but_managed(was: &Value, is: &Value) -> bool {
    const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
    let own = |key: &&String| !matches!(key.as_str(), "managedFields" | "resourceVersion");
    let mut keys = [was, is].into_iter().filter_map(Value::as_object).flat_map(Map::keys).filter(own);
    keys.all(|key| same_field(META, key, was, is))
}

/// One applied configuration.
#[derive(Clone, Copy)]
pub struct Applied<'a> {
    /// What its author wants.
    pub config: &'a Value,
    /// Who that is.
    pub manager: &'a str,
    /// Whether others' fields are taken.
    pub force: bool,
}

impl Registry {
    /// [`track`], with what has to be converted for it. What cannot be is managed by nobody: upstream's `UpdateNoErrors`.
    pub(super) async fn track(&self, call: &Call<'_>, target: &Target, old: Option<&Value>, new: &mut Value) {
        if target.kind.custom.is_none() {
            return track(call, target, old, new, &Memo::default());
        }
        let sent = new.take();
        let tracked = self.converting(target.kind, |memo| {
            let mut new = sent.clone();
            track(call, target, old, &mut new, memo);
            new
        });
        *new = match tracked.await {
            Ok(tracked) => tracked,
            Err(error) => {
                tracing::error!(%error, key = %target.key(), "failed to update managedFields");
                let mut new = sent;
                remove(&mut new, FIELDS);
                new
            }
        };
    }

    /// Server-side apply, to the object or one of its subresources that takes the whole object. What is not there is
    /// created, if its author may.
    pub async fn apply(
        &self,
        call: &Call<'_>,
        target: &Target,
        applied: Applied<'_>,
        may_create: &Result<(), ApiError>,
    ) -> Result<Written, ApiError> {
        for _ in 0..ATTEMPTS {
            if self.store.get(&target.key()).is_some() || !target.subresource.is_empty() {
                let change = |old: &Value, memo: &Memo| merged(target, Some(old), applied, memo);
                return self.modify_converting(call, target, change).await;
            }
            let new = self.converting(target.kind, |memo| merged(target, None, applied, memo)).await??;
            may_create.clone()?;
            if !meta(&new, "uid").is_empty() {
                let why = format!(
                    "uid mismatch: the provided object specified uid {}, and no existing object was found",
                    meta(&new, "uid")
                );
                return Err(target.conflict(&why));
            }
            let place = Target { name: String::new(), ..target.clone() };
            match self.create(call, &place, new).await {
                // someone else was faster
                Err(error) if error.reason == sampan_api::status::Reason::AlreadyExists => continue,
                other => return other,
            }
        }
        Err(target.modified())
    }
}

/// The object with the configuration in it, as if it had been decoded.
fn merged(
    target: &Target,
    old: Option<&Value>,
    applied: Applied<'_>,
    memo: &Memo,
) -> Result<Value, ApiError> {
    let kind = target.kind;
    let Applied { config, manager, force } = applied;
    let mut new =
        with_tracker(kind, &target.subresource, memo, |tracker| tracker.apply(old, config, manager, force))?;
    match kind.custom.and_then(|custom| custom.version()) {
        Some(version) => sampan_api::crd::conform(&mut new, version.schema(), kind.into())?,
        None => drop(strict::conform(&mut new, spot(kind.schema)?).map_err(unconvertible)?),
    }
    if meta(config, "resourceVersion").is_empty() {
        remove(&mut new, &["metadata", "resourceVersion"]);
    }
    named(target, &new)?;
    object(&mut new, &["metadata"]).entry("managedFields").or_insert(Value::Null);
    Ok(new)
}

fn unconvertible(why: String) -> ApiError {
    let why = format!("failed to convert new typed object to object: {why}");
    ApiError::new(sampan_api::status::Reason::Unknown, why)
}

/// As [`super::patch::check_name`], and there has to be a name.
fn named(target: &Target, new: &Value) -> Result<(), ApiError> {
    if meta(new, "name").is_empty() {
        let why = "the name of the object (based on URL) was undeterminable: name must be provided";
        return Err(ApiError::bad_request(why));
    }
    super::patch::check_name(target, new)
}

/// Where the replicas are in a built-in kind that has a Scale.
fn replicas(kind: &'static Kind, api_version: &str) -> Option<Vec<String>> {
    if let Some(custom) = kind.custom {
        let versions = CustomVersions::of(kind, custom);
        let path = &versions.get(api_version)?.about().scale()?.spec_replicas_path;
        return Some(path.split('.').filter(|step| !step.is_empty()).map(str::to_owned).collect());
    }
    BuiltIn(kind).version(api_version).map(|_| vec!["spec".to_owned(), "replicas".to_owned()])
}

/// What a write to a Scale is.
pub enum ToScale<'a> {
    /// A changed one; its author, if it is followed.
    Changed(Value, Option<&'a str>),
    /// A configuration of one.
    Applied(Applied<'a>),
}

/// The Scale after a write, and the managed fields that the object behind it has then.
pub fn rescale(
    kind: &'static Kind,
    live: &Value,
    shown: &Value,
    write: ToScale<'_>,
) -> Result<(Value, Option<Value>), ApiError> {
    let places = |api_version: &str| replicas(kind, api_version);
    let mut before = shown.clone();
    if let Some(fields) = scale::of_object(live, &places) {
        object(&mut before, &["metadata"]).insert("managedFields".into(), fields);
    }
    let (now, reset) = (now(), Reset::default());
    let tracker = Tracker {
        versions: &Scale,
        api_version: scale::API_VERSION,
        kind: "Scale",
        subresource: "scale",
        reset: &reset,
        now: &now,
    };
    let after = match write {
        ToScale::Changed(new, None) => {
            return Ok((new, at(live, FIELDS).as_array().cloned().map(Value::from)));
        }
        ToScale::Changed(mut new, Some(manager)) => {
            tracker.update(Some(&before), &mut new, manager);
            new
        }
        ToScale::Applied(Applied { config, manager, force }) => {
            let mut new = tracker.apply(Some(&before), config, manager, force)?;
            strict::conform(&mut new, spot(SCALE)?).map_err(unconvertible)?;
            if meta(config, "resourceVersion").is_empty() {
                remove(&mut new, &["metadata", "resourceVersion"]);
            }
            new
        }
    };
    let fields = scale::to_object(live, &after, &kind.api_version(), &places);
    Ok((after, fields))
}
