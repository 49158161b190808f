//! The two operations of field management, on values: `FieldManager` of `apimachinery/pkg/util/managedfields`.
//!
//! - [`Tracker::update`] follows any write but an apply: its author owns what it changed, others lose that;
//! - [`Tracker::apply`] merges a configuration into the live object: its author owns all that it mentions, loses
//!   (and thereby removes) what it mentioned before, and is refused what others have, unless it insists.
//!
//! What neither does is write, default or validate the meaning of the object.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::compare::{Comparison, compare};
use super::conflict::{Conflict, error};
use super::last_applied;
use super::managed::{Entry, Identity, Managed, Operation};
use super::merge::merge_into;
use super::remove::remove;
use super::reset::Reset;
use super::set::Set;
use super::shape::Shape;
use super::to_set::to_set;
use super::validate::validate;
use super::value::{alike, beside, same};
use crate::meta;
use crate::status::{ApiError, Reason};

/// The versions of a kind: managers name fields in the version that they wrote.
pub trait Versions {
    /// The shape of the kind in that version; `None` when it is not served (any more).
    fn shape(&self, api_version: &str) -> Option<Shape<'_>>;
    /// `object` in that version, which [`Versions::shape`] knows.
    fn convert(&self, object: &Value, api_version: &str) -> Option<Value>;
}

/// Follows the writes to one kind through one endpoint.
pub struct Tracker<'a> {
    /// The versions there are.
    pub versions: &'a dyn Versions,
    /// The version of the request.
    pub api_version: &'a str,
    /// The kind.
    pub kind: &'a str,
    /// The subresource of the request, empty for the object itself.
    pub subresource: &'a str,
    /// What the kind's strategy takes back, see [`super::reset`].
    pub reset: &'a Reset,
    /// The time of the request, as `metav1.Time` writes it.
    pub now: &'a str,
}

/// What nobody manages.
static STRIPPED: LazyLock<Set<'static>> = LazyLock::new(|| {
    Set::of_fields(&[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "creationTimestamp"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
        &["metadata", "clusterName"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "resourceVersion"],
    ])
});

/// What a live object has and one that it is compared with does not.
static MANAGED_FIELDS: LazyLock<Set<'static>> =
    LazyLock::new(|| Set::of_fields(&[&["metadata", "managedFields"]]));

/// Who manages what was there before anyone was asked.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// kubectl's own name, for which client-side apply's annotation counts.
const KUBECTL: &str = "kubectl";

impl Tracker<'_> {
    fn shape(&self) -> Result<Shape<'_>, ApiError> {
        let missing = || ApiError::internal(format!("no schema of {} {}", self.api_version, self.kind));
        self.versions.shape(self.api_version).ok_or_else(missing)
    }

    fn who<'m>(&'m self, manager: &'m str, operation: Operation) -> Identity<'m> {
        let manager = if manager.is_empty() { "unknown" } else { manager };
        Identity { manager, operation, api_version: self.api_version, subresource: self.subresource }
    }

    /// Sets `new`'s managed fields after a write by `manager` that made it out of `live` (`None`: created).
    /// A list that the client sent is where it starts from; `[{}]` and `[]` clear it, for good until
    /// the next apply.
    pub fn update(&self, live: Option<&Value>, new: &mut Value, manager: &str) {
        let Some(shape) = self.versions.shape(self.api_version) else { return };
        let sent = taken(new);
        let managed = self.starting_from(live, sent.as_ref());
        if managed.is_empty() && live.is_some_and(|live| !meta::uid(live).is_empty()) {
            return;
        }
        let nothing = self.nothing();
        let list = self.tracked(shape, live.unwrap_or(&nothing), new, managed, manager).into_value();
        put(new, list);
    }

    /// An object with nothing in it.
    fn nothing(&self) -> Value {
        let mut map = Map::new();
        map.insert("kind".into(), self.kind.into());
        map.insert("apiVersion".into(), self.api_version.into());
        map.insert("metadata".into(), Map::new().into());
        map.into()
    }

    /// The managed fields to begin with; `sent` are those that the new object had.
    fn starting_from<'v>(&self, live: Option<&'v Value>, sent: Option<&'v Value>) -> Managed<'v> {
        let stored = live.map(|live| &live["metadata"]["managedFields"]);
        let of_live = || live.map(Managed::of).unwrap_or_default();
        match sent {
            _ if !self.subresource.is_empty() => of_live(),
            Some(sent) if stored.is_some_and(|stored| alike(sent, stored) || sent == stored) => of_live(),
            Some(Value::Array(list)) if is_reset(list) => Managed::default(),
            Some(sent) => match Managed::check(sent) {
                Ok(managed) if !managed.is_empty() => managed,
                _ => of_live(),
            },
            None => of_live(),
        }
    }

    fn tracked<'v>(
        &'v self,
        shape: Shape<'v>,
        live: &'v Value,
        new: &'v Value,
        mut managed: Managed<'v>,
        manager: &'v str,
    ) -> Managed<'v> {
        let whole = compare(shape, live, new);
        let converted = Converted::new(self, &|| live.clone(), new, &managed);
        let changes = Changes::new(self, &whole, &converted, &managed);
        let mut own = self.reset.filter(whole.into_changed());
        own.subtract(&STRIPPED, false);
        let who = self.who(manager, Operation::Update);
        managed.entries.retain_mut(|entry| {
            let Some(change) = changes.in_version(entry.api_version) else { return false };
            let mine = who.is(entry);
            let empty = if mine { entry.take(&change.removed) } else { entry.take(&change.touched) };
            !empty || mine && !own.is_empty()
        });
        if !own.is_empty() {
            match managed.find_mut(&who) {
                Some(entry) => {
                    entry.add(&own);
                    entry.time = Some(self.now);
                }
                None => managed.entries.push(who.entry(own, Some(self.now))),
            }
        }
        managed.cap();
        managed
    }

    /// Merges `config` into `live` (`None`: to be created) for `manager`. The result has its managed fields;
    /// it is neither defaulted nor are its values canonical: a map or list that somebody has, and out of which all
    /// is taken, is null. Whoever decodes the result drops it, as upstream does, and its owner stays its owner.
    pub fn apply(
        &self,
        live: Option<&Value>,
        config: &Value,
        manager: &str,
        force: bool,
    ) -> Result<Value, ApiError> {
        let shape = self.shape()?;
        self.check(shape, config)?;
        let nothing = self.nothing();
        let live = live.unwrap_or(&nothing);
        let mut managed = Managed::of(live);
        if managed.is_empty() {
            managed = self.tracked(shape, &nothing, live, managed, BEFORE_FIRST_APPLY);
        }
        let (mut object, list) = match self.applied(shape, live, config, managed.clone(), manager, force) {
            Err(Refused::Conflicts(conflicts)) if manager == KUBECTL => {
                let left = self.not_my_own(shape, live, conflicts);
                if !left.is_empty() {
                    return Err(error(left));
                }
                self.applied(shape, live, config, managed, manager, true)?
            }
            other => other?,
        };
        put(&mut object, list);
        if manager == KUBECTL {
            last_applied::keep_in_step(&mut object, config);
        }
        Ok(object)
    }

    /// Conflicts but for fields that the same user applied from the client and nobody changed since.
    fn not_my_own<'v>(
        &self,
        shape: Shape<'_>,
        live: &Value,
        conflicts: Vec<Conflict<'v>>,
    ) -> Vec<Conflict<'v>> {
        let applied = last_applied::configuration(live);
        let of = |applied| last_applied::allowed(shape, live, applied, self.api_version);
        match applied.as_ref().and_then(of) {
            Some(allowed) => conflicts.into_iter().filter(|one| !allowed.has(&one.path)).collect(),
            None => conflicts,
        }
    }

    /// What an applied configuration must be.
    fn check(&self, shape: Shape<'_>, config: &Value) -> Result<(), ApiError> {
        let (api_version, kind) = (meta::api_version(config), meta::kind(config));
        if api_version != self.api_version || kind != self.kind {
            let (group, version) = meta::group_version(api_version);
            let why = format!("invalid object type: {group}/{version}, Kind={kind}");
            return Err(ApiError::bad_request(why));
        }
        if !config["metadata"]["managedFields"].is_null() {
            return Err(ApiError::bad_request("metadata.managedFields must be nil"));
        }
        validate(shape, config).map_err(|why| {
            let (group, version) = meta::group_version(api_version);
            let place = format!("{}/{}", meta::namespace(config), meta::name(config));
            let what = format!("{place}; {group}/{version}, Kind={kind}");
            plain(format!("failed to create typed patch object ({what}): {why}"))
        })
    }

    /// The merged object, without managed fields, and these.
    fn applied<'v>(
        &'v self,
        shape: Shape<'v>,
        live: &'v Value,
        config: &'v Value,
        mut managed: Managed<'v>,
        manager: &'v str,
        force: bool,
    ) -> Result<(Value, Option<Value>), Refused<'v>> {
        let mut merged = unmanaged(live);
        merge_into(shape, &mut merged, config)
            .map_err(|why| plain(format!("failed to merge config: {why}")))?;
        let who = self.who(manager, Operation::Apply);
        let set = self.reset.filter(to_set(shape, config));
        let mut entry = who.entry(set.difference(&STRIPPED), None);
        let at = managed.entries.iter().position(|entry| who.is(entry));
        let last = at.map(|at| managed.entries.remove(at));
        // what is mentioned still stays: most applies change values, not what they mention
        let object = match last.as_ref().filter(|last| !last.lend(&mut entry)) {
            Some(last) => self.pruned(merged, last, &set, &managed)?,
            None => merged,
        };
        let mut whole = compare(shape, live, &object);
        whole.removed.subtract(&MANAGED_FIELDS, false);
        let converted = Converted::new(self, &|| unmanaged(live), &object, &managed);
        let changes = Changes::new(self, &whole, &converted, &managed);
        let mut conflicts = Vec::new();
        managed.entries.retain_mut(|entry| {
            let Some(change) = changes.in_version(entry.api_version) else { return false };
            if entry.meets(&change.changed) {
                conflicts.extend(Conflict::with(entry, &entry.set().intersection(&change.changed)));
            }
            !entry.take(&change.touched)
        });
        if !force && !conflicts.is_empty() {
            return Err(Refused::Conflicts(conflicts));
        }
        let noop = whole.is_same() && same_unmanaged(live, &object);
        entry.time = match &last {
            Some(last) if noop => last.time,
            None if noop => None,
            _ => Some(self.now),
        };
        if !entry.is_empty() {
            managed.entries.push(entry);
        }
        let list = managed.into_value();
        Ok((object, list))
    }

    /// Without what `last` mentioned, `set` does not, and nobody else manages.
    fn pruned(
        &self,
        merged: Value,
        last: &Entry<'_>,
        set: &Set<'_>,
        others: &Managed<'_>,
    ) -> Result<Value, ApiError> {
        let version = last.api_version;
        let Some(shape) = self.versions.shape(version) else { return Ok(merged) };
        let last = last.set();
        // what is mentioned still is added back below, which is all that `last` would have taken
        if last.is_empty() || version == self.api_version && set.covers(&last) {
            return Ok(merged);
        }
        let last = last.with_named(Some(shape));
        let whole = self.converted(&merged, version)?.into_owned();
        let mut pruned = remove(shape, &whole, &last);
        for (version, managed) in self.wanted(version, set, others) {
            pruned = self.with_managed(&whole, &pruned, version, &managed)?;
        }
        // what is gone now and was not the applier's comes back
        let pruned = self.converted(&pruned, version)?;
        let left = to_set(shape, &pruned).with_named(Some(shape));
        let gone = to_set(shape, &whole).with_named(Some(shape)).difference(&left).intersection(&last);
        let out = remove(shape, &whole, &gone);
        Ok(self.converted(&out, self.api_version)?.into_owned())
    }

    /// What the others and the applier's new configuration manage, by version, that of the pruning first.
    fn wanted<'v>(&'v self, first: &str, set: &Set<'v>, others: &Managed<'v>) -> Vec<(&'v str, Set<'v>)> {
        let mut by: HashMap<&str, Set<'v>> = HashMap::new();
        by.insert(self.api_version, set.clone());
        for entry in &others.entries {
            let all = by.entry(entry.api_version).or_default();
            *all = all.union(&entry.set());
        }
        let mut list: Vec<_> = by.into_iter().collect();
        list.sort_by_key(|(version, _)| (*version != first, *version));
        list
    }

    /// `whole` without what is in neither `pruned` nor `managed`.
    fn with_managed(
        &self,
        whole: &Value,
        pruned: &Value,
        version: &str,
        managed: &Set<'_>,
    ) -> Result<Value, ApiError> {
        let Some(shape) = self.versions.shape(version) else { return Ok(pruned.clone()) };
        let (whole, pruned) = (self.converted(whole, version)?, self.converted(pruned, version)?);
        let kept = to_set(shape, &pruned).with_named(Some(shape)).union(&managed.with_named(Some(shape)));
        Ok(remove(shape, &whole, &to_set(shape, &whole).with_named(Some(shape)).difference(&kept)))
    }

    fn converted<'v>(&self, object: &'v Value, version: &str) -> Result<Cow<'v, Value>, ApiError> {
        if meta::api_version(object) == version {
            return Ok(Cow::Borrowed(object));
        }
        let failed = || ApiError::internal(format!("the object cannot be converted to {version}"));
        self.versions.convert(object, version).map(Cow::Owned).ok_or_else(failed)
    }
}

enum Refused<'v> {
    Conflicts(Vec<Conflict<'v>>),
    Error(ApiError),
}

impl From<ApiError> for Refused<'_> {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl From<Refused<'_>> for ApiError {
    fn from(refused: Refused<'_>) -> Self {
        match refused {
            Refused::Conflicts(conflicts) => error(conflicts),
            Refused::Error(error) => error,
        }
    }
}

/// An error that upstream does not word as a Status: 500 without a reason.
fn plain(why: String) -> ApiError {
    ApiError::new(Reason::Unknown, why)
}

/// Only the empty list, or one empty entry.
fn is_reset(list: &[Value]) -> bool {
    match list {
        [] => true,
        [Value::Object(only)] => only.is_empty(),
        _ => false,
    }
}

/// The object's managed fields, which it has no more.
fn taken(object: &mut Value) -> Option<Value> {
    object.get_mut("metadata")?.as_object_mut()?.shift_remove("managedFields")
}

/// A copy of the object without its managed fields.
fn unmanaged(object: &Value) -> Value {
    let (Value::Object(fields), Some(metadata)) = (object, object["metadata"].as_object()) else {
        return object.clone();
    };
    let mut bare = Map::with_capacity(metadata.len());
    let kept = metadata.iter().filter(|(name, _)| *name != "managedFields");
    bare.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
    let mut bare = Value::from(bare);
    let copy = |(name, value): (&String, &Value)| match name.as_str() {
        "metadata" => (name.clone(), bare.take()),
        _ => (name.clone(), value.clone()),
    };
    fields.iter().map(copy).collect()
}

/// Whether `object` is what [`unmanaged`] makes of `live`.
fn same_unmanaged(live: &Value, object: &Value) -> bool {
    let (Value::Object(left), Value::Object(right)) = (live, object) else { return same(live, object) };
    let all_same = |left: &Map<String, Value>, right: &Map<String, Value>| {
        let mut left = left.iter().filter(|(name, _)| *name != "managedFields");
        left.all(|(name, left)| right.get(name).is_some_and(|right| same(left, right)))
    };
    left.len() == right.len()
        && beside(left, right).all(|(name, left, right)| match (name, left, right) {
            ("metadata", Value::Object(left), Some(Value::Object(right))) => {
                let managed = usize::from(left.contains_key("managedFields"));
                left.len() == right.len() + managed && all_same(left, right)
            }
            (_, left, right) => right.is_some_and(|right| same(left, right)),
        })
}

fn put(object: &mut Value, list: Option<Value>) {
    taken(object);
    if let Some(list) = list {
        meta::metadata_mut(object).insert("managedFields".to_owned(), list);
    }
}

/// One difference, named in the versions that managers use.
struct Changes<'v> {
    known: Vec<(&'v str, Option<Change<'v>>)>,
}

struct Change<'v> {
    /// Modified and added.
    changed: Set<'v>,
    removed: Set<'v>,
    /// All three.
    touched: Set<'v>,
}

impl<'v> Change<'v> {
    fn new(comparison: &Comparison<'v>, reset: &Reset) -> Self {
        let changed = reset.filter(comparison.changed());
        let removed = reset.filter(comparison.removed.clone());
        let touched = changed.union(&removed);
        Self { changed, removed, touched }
    }
}

/// What is compared, in the other versions that managers use; `None` in one that is not served.
struct Converted<'v>(Vec<(&'v str, Option<Pair<'v>>)>);

/// A version's shape, and both objects in it.
type Pair<'v> = (Shape<'v>, Value, Value);

impl<'v> Converted<'v> {
    fn new(tracker: &'v Tracker<'_>, old: &dyn Fn() -> Value, new: &Value, managed: &Managed<'v>) -> Self {
        let mut known = Self(Vec::new());
        for version in managed.entries.iter().map(|entry| entry.api_version) {
            if version != tracker.api_version && known.0.iter().all(|(known, _)| *known != version) {
                known.0.push((version, Self::both(tracker, old, new, version)));
            }
        }
        known
    }

    fn both(
        tracker: &'v Tracker<'_>,
        old: &dyn Fn() -> Value,
        new: &Value,
        version: &str,
    ) -> Option<(Shape<'v>, Value, Value)> {
        let shape = tracker.versions.shape(version)?;
        let old = tracker.versions.convert(&old(), version)?;
        let new = tracker.versions.convert(new, version)?;
        Some((shape, old, new))
    }
}

impl<'v> Changes<'v> {
    fn new(
        tracker: &'v Tracker<'_>,
        whole: &Comparison<'v>,
        converted: &'v Converted<'_>,
        managed: &Managed<'_>,
    ) -> Self {
        let mut known = Vec::with_capacity(1 + converted.0.len());
        if !managed.is_empty() {
            known.push((tracker.api_version, Some(Change::new(whole, tracker.reset))));
        }
        for (version, both) in &converted.0 {
            let compared = both.as_ref().map(|(shape, old, new)| compare(*shape, old, new));
            known.push((*version, compared.map(|compared| Change::new(&compared, tracker.reset))));
        }
        Self { known }
    }

    /// `None` for a version that is not served.
    fn in_version(&self, version: &str) -> Option<&Change<'v>> {
        self.known.iter().find(|(known, _)| *known == version)?.1.as_ref()
    }
}
