//! Managed fields of an object as those of its Scale, and back: `managedfields.ScaleHandler`.
//!
//! A Scale has one field that anyone can want, `spec.replicas`; in the object behind it the same number may lie
//! elsewhere, and in each of its versions at another place. Whoever changes it through the Scale takes it from
//! whom it belongs to in the object.

use serde_json::Value;

use super::element::PathElement;
use super::managed::{Entry, Identity, Managed};
use super::set::Set;

/// The version of Scale.
pub const API_VERSION: &str = "autoscaling/v1";

/// Where the replicas of an object are, as names of fields, by its version; `None` for a version that is not known.
pub type Replicas<'a> = &'a dyn Fn(&str) -> Option<Vec<String>>;

fn in_scale() -> Set<'static> {
    Set::of_fields(&[&["spec", "replicas"]])
}

fn path<'v>(names: &'v [impl AsRef<str>]) -> Vec<PathElement<'v>> {
    names.iter().map(|name| PathElement::Field(name.as_ref())).collect()
}

fn holds(entry: &Entry<'_>, replicas: Replicas<'_>) -> bool {
    replicas(entry.api_version).is_some_and(|names| entry.set().has(&path(&names)))
}

fn as_scale<'v>(entry: &Entry<'v>) -> Entry<'v> {
    let who = Identity { api_version: API_VERSION, ..entry.identity() };
    who.entry(in_scale(), entry.time)
}

/// The managed fields that a Scale of `object` has.
pub fn of_object(object: &Value, replicas: Replicas<'_>) -> Option<Value> {
    let managed = Managed::of(object);
    let entries = managed.entries.iter().filter(|entry| holds(entry, replicas)).map(as_scale).collect();
    Managed { entries }.into_value()
}

/// The managed fields of the object (in `api_version`) that had `live`, after a write to its Scale left
/// `scale`.
pub fn to_object(live: &Value, scale: &Value, api_version: &str, replicas: Replicas<'_>) -> Option<Value> {
    let own_names = replicas(api_version);
    let (mut managed, scale) = (Managed::of(live), Managed::of(scale));
    let kept = |entry: &Entry<'_>| scale.find(&as_scale(entry).identity()).is_some();
    managed.entries.retain_mut(|entry| {
        let Some(names) = replicas(entry.api_version) else { return false };
        let path = path(&names);
        if !entry.set().has(&path) || kept(entry) {
            return true;
        }
        let mut stolen = Set::default();
        stolen.insert(&path);
        !entry.take(&stolen)
    });
    let Some(names) = &own_names else { return managed.into_value() };
    let mut own = Set::default();
    own.insert(&path(names));
    for entry in &scale.entries {
        let had = managed
            .entries
            .iter()
            .any(|other| holds(other, replicas) && as_scale(other).identity() == entry.identity());
        if had || !entry.set().has(&path(&["spec", "replicas"])) {
            continue;
        }
        let who = Identity { api_version, ..entry.identity() };
        // upstream's entries of a Scale have no time
        match managed.find_mut(&who) {
            Some(entry) => entry.add(&own),
            None => managed.entries.push(who.entry(own.clone(), None)),
        }
    }
    managed.into_value()
}
