//! The APIService objects, parsed, by group and version. As RBAC's index it compares the store's snapshots: an object
//! written by one request counts for the next, and what has not changed is not parsed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use parking_lot::Mutex;
use sampan_store::{Snapshot, Store};
use serde_json::Value;

use super::local::MANAGED;
use super::{API_SERVICES, Place};
use crate::outbound::Trust;
use crate::value::{at, items, meta, text};

/// What an APIService says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spec {
    pub name: String,
    /// Where its server is; `None` for what this process serves.
    pub service: Option<Reference>,
    pub trust: Trust,
    pub group_priority: u32,
    pub version_priority: u32,
    /// What its condition says.
    pub available: bool,
    /// Kept by this process for groups of its own: it says nothing of who answers.
    pub managed: bool,
}

/// A Service and a port of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub namespace: String,
    pub name: String,
    pub port: u16,
}

impl Spec {
    /// Whether it says who serves its place.
    pub(super) fn is_foreign(&self) -> bool {
        self.service.is_some() || !self.managed
    }

    pub(super) fn parse(object: &Value) -> (Place, Self) {
        let service = at(object, &["spec", "service"]);
        let number =
            |path: &[&str]| at(object, path).as_u64().and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
        let reference = |service: &Value| Reference {
            namespace: text(service, &["namespace"]).to_owned(),
            name: text(service, &["name"]).to_owned(),
            port: at(service, &["port"]).as_u64().and_then(|port| u16::try_from(port).ok()).unwrap_or(443),
        };
        let conditions = items(at(object, &["status", "conditions"]));
        let available = conditions.iter().find(|one| text(one, &["type"]) == "Available");
        let insecure = at(object, &["spec", "insecureSkipTLSVerify"]).as_bool() == Some(true);
        let trust = match (insecure, text(object, &["spec", "caBundle"])) {
            (true, _) => Trust::Anyone,
            (false, "") => Trust::System,
            (false, bundle) => Trust::Bundle(STANDARD.decode(bundle).unwrap_or_default()),
        };
        let place =
            (text(object, &["spec", "group"]).to_owned(), text(object, &["spec", "version"]).to_owned());
        let spec = Self {
            name: meta(object, "name").to_owned(),
            service: (!service.is_null()).then(|| reference(service)),
            trust,
            group_priority: number(&["spec", "groupPriorityMinimum"]),
            version_priority: number(&["spec", "versionPriority"]),
            available: available.is_some_and(|one| text(one, &["status"]) == "True"),
            managed: !text(object, &["metadata", "labels", MANAGED]).is_empty(),
        };
        (place, spec)
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Specs {
    all: BTreeMap<Place, Arc<Spec>>,
    /// The places of those that are not kept by this process for groups of its own.
    foreign: BTreeSet<Place>,
}

impl Specs {
    pub(super) fn get(&self, place: &Place) -> Option<&Arc<Spec>> {
        self.all.get(place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Place, &Arc<Spec>)> {
        self.all.iter()
    }

    /// Those that say who serves what: all but those that this process keeps for groups of its own.
    pub(super) fn foreign(&self) -> impl Iterator<Item = (&Place, &Arc<Spec>)> {
        self.foreign.iter().filter_map(|place| self.all.get_key_value(place))
    }

    /// The highest `groupPriorityMinimum` of a group's versions.
    pub(super) fn group_priority(&self, group: &str) -> Option<u32> {
        let from = self.all.range((group.to_owned(), String::new())..);
        from.take_while(|(place, _)| place.0 == group).map(|(_, spec)| spec.group_priority).max()
    }

    fn put(&mut self, place: Place, spec: Spec) {
        match spec.is_foreign() {
            true => self.foreign.insert(place.clone()),
            false => self.foreign.remove(&place),
        };
        self.all.insert(place, Arc::new(spec));
    }

    fn remove(&mut self, place: &Place) {
        self.foreign.remove(place);
        self.all.remove(place);
    }
}

/// The table as it was looked at last.
#[derive(Default)]
pub(super) struct Table(Mutex<(Option<Snapshot>, Arc<Specs>)>);

impl Table {
    /// As it is now. Only what has changed since it was looked at is parsed.
    pub(super) fn now(&self, store: &Store) -> Arc<Specs> {
        let snapshot = store.list(API_SERVICES);
        let mut kept = self.0.lock();
        let (seen, specs) = &mut *kept;
        if !seen.as_ref().is_some_and(|seen| seen.map.ptr_eq(&snapshot.map)) {
            let specs = Arc::make_mut(specs);
            for (old, new) in snapshot.changes(seen.as_ref()) {
                old.iter().for_each(|old| specs.remove(&place_of(&old.key.name)));
                let new = new.and_then(|new| serde_json::from_slice::<Value>(&new.value).ok());
                if let Some((place, spec)) = new.as_ref().map(Spec::parse) {
                    specs.put(place, spec);
                }
            }
            *seen = Some(snapshot);
        }
        specs.clone()
    }
}

/// Group and version of the object of that name, which the validation has as `VERSION.GROUP`.
pub(super) fn place_of(name: &str) -> Place {
    let (version, group) = name.split_once('.').unwrap_or((name, ""));
    (group.to_owned(), version.to_owned())
}

/// The name of the object of a group and version.
pub(super) fn name_of(group: &str, version: &str) -> String {
    format!("{version}.{group}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(place: &Place, more: Value) -> (Place, Spec) {
        let (group, version) = place;
        let mut object = json!({"metadata": {"name": name_of(group, version)}, "spec": {
            "group": group, "version": version, "groupPriorityMinimum": 7, "versionPriority": 1}});
        for (field, value) in more.as_object().into_iter().flatten() {
            object["spec"][field] = value.clone();
        }
        if more.get("service").is_none() {
            object["metadata"]["labels"] = json!({MANAGED: "true"});
        }
        Spec::parse(&object)
    }

    #[test]
    fn names_are_places() {
        for (group, version) in [("", "v1"), ("apps", "v1"), ("x.example.com", "v1beta1")] {
            assert_eq!(place_of(&name_of(group, version)), (group.to_owned(), version.to_owned()));
        }
    }

    #[test]
    fn a_group_has_the_highest_priority_of_its_versions_alone() {
        let (mut specs, place) = (Specs::default(), |version: &str| ("b".to_owned(), version.to_owned()));
        for (version, priority) in [("v1", 5), ("v2", 9), ("v3", 1)] {
            let (place, spec) = spec(&place(version), json!({"groupPriorityMinimum": priority}));
            specs.put(place, spec);
        }
        for other in ["a", "b.c", "ba"] {
            let (place, spec) =
                spec(&(other.to_owned(), "v1".to_owned()), json!({"groupPriorityMinimum": 100}));
            specs.put(place, spec);
        }
        assert_eq!(specs.group_priority("b"), Some(9));
        specs.remove(&place("v2"));
        assert_eq!(specs.group_priority("b"), Some(5));
        assert_eq!(specs.group_priority("c"), None);
    }

    #[test]
    fn what_this_process_keeps_is_not_foreign() {
        let (mut specs, place) = (Specs::default(), ("a".to_owned(), "v1".to_owned()));
        let service = json!({"service": {"namespace": "n", "name": "s"}});
        for (more, foreign) in [(json!({}), 0), (service, 1), (json!({}), 0)] {
            let (place, spec) = spec(&place, more);
            specs.put(place, spec);
            assert_eq!((specs.foreign().count(), specs.iter().count()), (foreign, 1));
        }
    }
}
