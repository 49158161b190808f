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
use super::merge::merge;
use super::remove::remove;
use super::reset::Reset;
use super::set::Set;
use super::shape::Shape;
use super::to_set::to_set;
use super::validate::validate;
use super::value::same;
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
static STRIPPED: LazyLock<Set> = LazyLock::new(|| {
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
        let managed = self.starting_from(live, new);
        if managed.is_empty() && live.is_some_and(|live| !meta::uid(live).is_empty()) {
            return;
        }
        let managed = match live {
            Some(live) => self.tracked(shape, live, new, managed, manager),
            None => self.tracked(shape, &self.nothing(), new, managed, manager),
        };
        put(new, managed);
    }

    /// An object with nothing in it.
    fn nothing(&self) -> Value {
        let mut map = Map::new();
        map.insert("kind".into(), self.kind.into());
        map.insert("apiVersion".into(), self.api_version.into());
        map.insert("metadata".into(), Map::new().into());
        map.into()
    }

    /// The managed fields to begin with, which are taken out of `new`.
    fn starting_from(&self, live: Option<&Value>, new: &mut Value) -> Managed {
        let sent = new
            .get_mut("metadata")
            .and_then(Value::as_object_mut)
            .and_then(|metadata| metadata.shift_remove("managedFields"));
        let stored = live.map(|live| &live["metadata"]["managedFields"]);
        let of_live = || live.map(Managed::of).unwrap_or_default();
        match sent {
            _ if !self.subresource.is_empty() => of_live(),
            Some(sent) if Some(&sent) == stored => of_live(),
            Some(Value::Array(list)) if is_reset(&list) => Managed::default(),
            Some(sent) => match Managed::check(&sent) {
                Ok(managed) if !managed.is_empty() => managed,
                _ => of_live(),
            },
            None => of_live(),
        }
    }

    fn tracked(
        &self,
        shape: Shape<'_>,
        live: &Value,
        new: &Value,
        mut managed: Managed,
        manager: &str,
    ) -> Managed {
        let whole = compare(shape, live, new);
        let mut changes = Changes::new(self, live, new, &whole, &managed);
        let mut own = self.reset.filter(whole.into_changed());
        own.subtract(&STRIPPED, false);
        let who = self.who(manager, Operation::Update);
        managed.entries.retain_mut(|entry| {
            let Some(change) = changes.in_version(&entry.api_version) else { return false };
            let mine = who.is(entry);
            let empty = if mine { entry.take(&change.removed) } else { entry.take(&change.touched) };
            !empty || mine && !own.is_empty()
        });
        if !own.is_empty() {
            match managed.find_mut(&who) {
                Some(entry) => {
                    entry.add(&own);
                    entry.time = Some(self.now.to_owned());
                }
                None => managed.entries.push(who.entry(own, Some(self.now.to_owned()))),
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
        let mut base = live.cloned().unwrap_or_else(|| self.nothing());
        let mut managed = Managed::of(&base);
        unmanage(&mut base);
        if managed.is_empty() {
            managed = self.tracked(shape, &self.nothing(), &base, managed, BEFORE_FIRST_APPLY);
        }
        let (mut object, managed) = match self.applied(shape, &base, config, managed.clone(), manager, force)
        {
            Err(Refused::Conflicts(conflicts)) if manager == KUBECTL => {
                let left = self.not_my_own(shape, &base, conflicts);
                if !left.is_empty() {
                    return Err(error(left));
                }
                self.applied(shape, &base, config, managed, manager, true)?
            }
            other => other?,
        };
        put(&mut object, managed);
        if manager == KUBECTL {
            last_applied::keep_in_step(&mut object, config);
        }
        Ok(object)
    }

    /// Conflicts but for fields that the same user applied from the client and nobody changed since.
    fn not_my_own(&self, shape: Shape<'_>, live: &Value, conflicts: Vec<Conflict>) -> Vec<Conflict> {
        match last_applied::allowed(shape, live, self.api_version) {
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

    fn applied(
        &self,
        shape: Shape<'_>,
        live: &Value,
        config: &Value,
        mut managed: Managed,
        manager: &str,
        force: bool,
    ) -> Result<(Value, Managed), Refused> {
        let merged =
            merge(shape, live, config).map_err(|why| plain(format!("failed to merge config: {why}")))?;
        let who = self.who(manager, Operation::Apply);
        let set = self.reset.filter(to_set(shape, config));
        let at = managed.entries.iter().position(|entry| who.is(entry));
        let last = at.map(|at| managed.entries.remove(at));
        let object = match &last {
            Some(last) => self.pruned(merged, last, &set, &managed)?,
            None => merged,
        };
        let whole = compare(shape, live, &object);
        let mut conflicts = Vec::new();
        let mut changes = Changes::new(self, live, &object, &whole, &managed);
        managed.entries.retain_mut(|entry| {
            let Some(change) = changes.in_version(&entry.api_version) else { return false };
            let wanted = entry.set().intersection(&change.changed);
            conflicts.extend(Conflict::with(entry, &wanted));
            !entry.take(&change.touched)
        });
        if !force && !conflicts.is_empty() {
            return Err(Refused::Conflicts(conflicts));
        }
        let noop = same(live, &object);
        let time = match &last {
            Some(last) if noop => last.time.clone(),
            None if noop => None,
            _ => Some(self.now.to_owned()),
        };
        let own = set.difference(&STRIPPED);
        if !own.is_empty() {
            managed.entries.push(who.entry(own, time));
        }
        Ok((object, managed))
    }

    /// Without what `last` mentioned, `set` does not, and nobody else manages.
    fn pruned(&self, merged: Value, last: &Entry, set: &Set, others: &Managed) -> Result<Value, ApiError> {
        let version = last.api_version.as_str();
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
        let named = |value: &Value| to_set(shape, value).with_named(Some(shape));
        let gone = named(&whole).difference(&named(&pruned)).intersection(&last);
        let out = remove(shape, &whole, &gone);
        Ok(self.converted(&out, self.api_version)?.into_owned())
    }

    /// What the others and the applier's new configuration manage, by version, that of the pruning first.
    fn wanted<'m>(&'m self, first: &'m str, set: &Set, others: &'m Managed) -> Vec<(&'m str, Set)> {
        let mut by: HashMap<&str, Set> = HashMap::new();
        by.insert(self.api_version, set.clone());
        for entry in &others.entries {
            let all = by.entry(&entry.api_version).or_default();
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
        managed: &Set,
    ) -> Result<Value, ApiError> {
        let Some(shape) = self.versions.shape(version) else { return Ok(pruned.clone()) };
        let (whole, pruned) = (self.converted(whole, version)?, self.converted(pruned, version)?);
        let named = |set: Set| set.with_named(Some(shape));
        let kept = named(to_set(shape, &pruned)).union(&managed.with_named(Some(shape)));
        Ok(remove(shape, &whole, &named(to_set(shape, &whole)).difference(&kept)))
    }

    fn converted<'v>(&self, object: &'v Value, version: &str) -> Result<Cow<'v, Value>, ApiError> {
        if meta::api_version(object) == version {
            return Ok(Cow::Borrowed(object));
        }
        let failed = || ApiError::internal(format!("the object cannot be converted to {version}"));
        self.versions.convert(object, version).map(Cow::Owned).ok_or_else(failed)
    }
}

enum Refused {
    Conflicts(Vec<Conflict>),
    Error(ApiError),
}

impl From<ApiError> for Refused {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> Self {
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

fn unmanage(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
}

fn put(object: &mut Value, managed: Managed) {
    unmanage(object);
    if let Some(list) = managed.into_value() {
        meta::metadata_mut(object).insert("managedFields".to_owned(), list);
    }
}

/// One difference, named in the versions that managers use.
struct Changes<'a> {
    tracker: &'a Tracker<'a>,
    old: &'a Value,
    new: &'a Value,
    known: Vec<(String, Option<Change>)>,
}

struct Change {
    /// Modified and added.
    changed: Set,
    removed: Set,
    /// All three.
    touched: Set,
}

impl Change {
    fn new(comparison: &Comparison, reset: &Reset) -> Self {
        let changed = reset.filter(comparison.changed());
        let removed = reset.filter(comparison.removed.clone());
        let touched = changed.union(&removed);
        Self { changed, removed, touched }
    }
}

impl<'a> Changes<'a> {
    fn new(
        tracker: &'a Tracker<'a>,
        old: &'a Value,
        new: &'a Value,
        whole: &Comparison,
        managed: &Managed,
    ) -> Self {
        let mut known = Vec::new();
        if !managed.is_empty() {
            known.push((tracker.api_version.to_owned(), Some(Change::new(whole, tracker.reset))));
        }
        Self { tracker, old, new, known }
    }

    /// `None` for a version that is not served.
    fn in_version(&mut self, version: &str) -> Option<&Change> {
        let at = self.known.iter().position(|(known, _)| known == version).unwrap_or_else(|| {
            self.known.push((version.to_owned(), self.converted(version)));
            self.known.len() - 1
        });
        self.known[at].1.as_ref()
    }

    fn converted(&self, version: &str) -> Option<Change> {
        let shape = self.tracker.versions.shape(version)?;
        let old = self.tracker.versions.convert(self.old, version)?;
        let new = self.tracker.versions.convert(self.new, version)?;
        Some(Change::new(&compare(shape, &old, &new), self.tracker.reset))
    }
}
