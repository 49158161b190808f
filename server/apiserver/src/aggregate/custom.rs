//! The APIService objects of custom resources' groups: upstream's `crdregistration`, and `autoregister` for what is kept
//! all the time.
//!
//! A version of a group has its object while a definition serves it, established or not. An object that has not the label is
//! somebody's own, and stays as it is.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sampan_api::crd::Head;
use sampan_api::kinds;
use sampan_store::{Action, Condition, Entry, Event, Key, Lagged, Store, Watch, Write, WriteError};
use serde_json::Value;

use super::local::{ALWAYS, is_managed, object};
use super::table::{name_of, place_of};
use super::{API_SERVICES, Place};
use crate::crd::{Customs, DEFINITIONS};
use crate::registry::encoded;
use crate::value::{at, remove, set};

const GROUP_PRIORITY: u32 = 1000;
const VERSION_PRIORITY: u32 = 100;
/// Tried again after this when the disk refused.
const AGAIN: Duration = Duration::from_secs(5);

/// Keeps the objects until the store closes.
pub(crate) async fn follow(store: Store, customs: Customs) {
    loop {
        let from = store.revision();
        let watch = |bucket| store.watch(bucket, "", from);
        let (Ok(mut definitions), Ok(mut objects)) = (watch(DEFINITIONS), watch(API_SERVICES)) else {
            continue;
        };
        let mut wanted = Wanted::default();
        let stored = store.list(API_SERVICES);
        let kept = stored.map.values().filter(|entry| is_managed(entry, ALWAYS));
        let mut open: BTreeSet<Place> = kept.map(|entry| place_of(&entry.key.name)).collect();
        for head in customs.heads() {
            open.extend(wanted.set(&head.metadata.name, served(&head)));
        }
        loop {
            open = settle(&store, &wanted, open).await;
            let events = tokio::select! {
                events = batch(&mut definitions) => events.map(|events| events.map(|events| {
                    for name in events.iter().map(|event| &event.entry.key.name) {
                        let places = customs.head(name).map(|head| served(&head)).unwrap_or_default();
                        open.extend(wanted.set(name, places));
                    }
                })),
                events = batch(&mut objects) => events.map(|events| events.map(|events| {
                    let changed = events.iter().map(|event| &event.entry);
                    let places = changed.map(|entry| (place_of(&entry.key.name), is_managed(entry, ALWAYS)));
                    open.extend(places.filter(|(place, ours)| *ours || wanted.has(place)).map(|(place, _)| place));
                })),
                () = tokio::time::sleep(AGAIN), if !open.is_empty() => Some(Ok(())),
            };
            match events {
                None => return,
                Some(Ok(())) => {}
                // a change may have been missed
                Some(Err(Lagged)) => break,
            }
        }
    }
}

/// What has changed by now, but at least one change; `None` when the store has closed. Cancel-safe.
async fn batch(watch: &mut Watch) -> Option<Result<Vec<Arc<Event>>, Lagged>> {
    let mut next = Some(watch.next().await?);
    let mut events = Vec::new();
    while let Some(event) = next {
        match event {
            Ok(event) => events.push(event),
            Err(lagged) => return Some(Err(lagged)),
        }
        next = watch.try_next();
    }
    Some(Ok(events))
}

/// The group with each version that a definition serves; those of the registry's groups have their objects from `local`.
fn served(head: &Head) -> BTreeSet<Place> {
    let ours = |version: &str| kinds::of_version(&head.spec.group, version).next().is_some();
    let versions = head.spec.versions.iter().filter(|version| version.served && !ours(&version.name));
    versions.map(|version| (head.spec.group.clone(), version.name.clone())).collect()
}

/// Which places have objects, by the definitions that say so.
#[derive(Default)]
struct Wanted {
    by_definition: HashMap<String, BTreeSet<Place>>,
    /// How many definitions each place has.
    counts: HashMap<Place, usize>,
}

impl Wanted {
    fn has(&self, place: &Place) -> bool {
        self.counts.contains_key(place)
    }

    /// Takes down what a definition serves, and gives what it serves or served not both before and now.
    fn set(&mut self, definition: &str, places: BTreeSet<Place>) -> Vec<Place> {
        let before = self.by_definition.remove(definition).unwrap_or_default();
        for place in places.difference(&before) {
            *self.counts.entry(place.clone()).or_default() += 1;
        }
        for place in before.difference(&places) {
            let count = self.counts.get_mut(place);
            if count.is_some_and(|count| {
                *count -= 1;
                *count == 0
            }) {
                self.counts.remove(place);
            }
        }
        let changed = places.symmetric_difference(&before).cloned().collect();
        if !places.is_empty() {
            self.by_definition.insert(definition.to_owned(), places);
        }
        changed
    }
}

/// Makes the objects of these places what they are to be, in one commit; gives those that could not be written.
async fn settle(store: &Store, wanted: &Wanted, open: BTreeSet<Place>) -> BTreeSet<Place> {
    let due = open.into_iter().filter_map(|place| {
        let stored = store.get(&key(&place));
        let write = due(&place, stored.as_deref(), wanted.has(&place))?;
        Some((place, write))
    });
    let (places, writes): (Vec<Place>, Vec<Write>) = due.unzip();
    if writes.is_empty() {
        return BTreeSet::new();
    }
    let outcomes = store.write_all(writes).await;
    let failed = places.into_iter().zip(outcomes).filter_map(|(place, outcome)| match outcome {
        // what somebody else did comes by the watch
        Ok(_)
        | Err(WriteError::Exists(_) | WriteError::Missing | WriteError::Changed(_) | WriteError::Closed) => {
            None
        }
        Err(error @ (WriteError::TooLarge | WriteError::Full(_) | WriteError::Failed(_))) => {
            tracing::warn!(%error, api_service = name_of(&place.0, &place.1), "cannot be written yet");
            Some(place)
        }
    });
    failed.collect()
}

fn key(place: &Place) -> Key {
    Key::new(API_SERVICES, name_of(&place.0, &place.1))
}

/// The write that makes a stored object, or none, what it is to be.
fn due(place: &Place, stored: Option<&Entry>, wanted: bool) -> Option<Write> {
    let fresh = || object((&place.0, &place.1), GROUP_PRIORITY, VERSION_PRIORITY, ALWAYS);
    let Some(entry) = stored else {
        let action = || Action::Put(encoded(&fresh()));
        return wanted.then(|| Write { key: key(place), condition: Condition::Absent, action: action() });
    };
    if !is_managed(entry, ALWAYS) {
        return None;
    }
    let mut object: Value = serde_json::from_slice(&entry.value).ok()?;
    remove(&mut object, &["metadata", "resourceVersion"]);
    let action = match wanted {
        false => Action::Delete(encoded(&object)),
        true => {
            let fresh = fresh();
            if at(&fresh, &["spec"]) == at(&object, &["spec"]) {
                return None;
            }
            set(&mut object, &["spec"], at(&fresh, &["spec"]).clone());
            Action::Put(encoded(&object))
        }
    };
    Some(Write { key: key(place), condition: Condition::Revision(entry.revision), action })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_wanted_as_long_as_any_definition_serves_it() {
        let place = |version: &str| ("a.io".to_owned(), version.to_owned());
        let places =
            |versions: &[&str]| versions.iter().map(|version| place(version)).collect::<BTreeSet<_>>();
        let mut wanted = Wanted::default();
        // a definition, what it serves now; what that changes, what is wanted then
        #[allow(clippy::type_complexity)] // a table of cases
        let steps: [(&str, &[&str], &[&str], &[&str]); 7] = [
            ("x", &["v1", "v2"], &["v1", "v2"], &["v1", "v2"]),
            ("x", &["v1", "v2"], &[], &["v1", "v2"]),
            ("y", &["v2"], &["v2"], &["v1", "v2"]),
            ("x", &["v1"], &["v2"], &["v1", "v2"]),
            ("y", &[], &["v2"], &["v1"]),
            ("y", &[], &[], &["v1"]),
            ("x", &[], &["v1"], &[]),
        ];
        for (definition, serves, changed, left) in steps {
            let told: BTreeSet<Place> = wanted.set(definition, places(serves)).into_iter().collect();
            assert_eq!(told, places(changed), "{definition} {serves:?}");
            assert_eq!(
                wanted.counts.keys().cloned().collect::<BTreeSet<_>>(),
                places(left),
                "{definition} {serves:?}"
            );
        }
        assert!(wanted.by_definition.is_empty());
    }
}
