//! The kinds that the collector looks after: the built-in ones, and the custom ones as their definitions come and go.
//!
//! ```text
//!            Established                     gone
//! (unknown) ────────────► Served(informer) ───────► Gone
//!                           ▲   │  other version      │
//!                           └───┘      Established    │
//!                           ▲─────────────────────────┘
//! ```
//!
//! A kind that is gone is remembered by its names alone: dependents of its last objects are judged after it went, and
//! an owner of a kind that was never known is never taken for gone.

use std::sync::{Arc, LazyLock};

use parking_lot::RwLock;
use sampan_api::crd;
use sampan_api::kinds;
use sampan_reconcile::{AbortOnDrop, HashMap, Informer, Key, Object};
use serde::Deserialize;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::item::{Item, Named, OwnerKind};
use crate::resources::deletable;

/// Where the definitions are.
pub(crate) const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// Where the objects of a kind are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// Resource and group: `deployments.apps`.
    pub name: String,
    root: String,
    plural: String,
    pub namespaced: bool,
}

impl Place {
    fn new(group: &str, version: &str, plural: &str, namespaced: bool) -> Self {
        let (name, root) = match group {
            "" => (plural.to_owned(), format!("/api/{version}")),
            group => (format!("{plural}.{group}"), format!("/apis/{group}/{version}")),
        };
        Self { name, root, plural: plural.to_owned(), namespaced }
    }

    /// The API path of the objects, of all namespaces or one.
    pub fn path(&self, namespace: Option<&str>) -> String {
        let (root, plural) = (&self.root, &self.plural);
        match namespace.filter(|_| self.namespaced) {
            Some(namespace) => format!("{root}/namespaces/{namespace}/{plural}"),
            None => format!("{root}/{plural}"),
        }
    }
}

/// All built-in kinds that the collector looks after.
pub(super) fn built_ins() -> &'static [Arc<Place>] {
    static PLACES: LazyLock<Vec<Arc<Place>>> = LazyLock::new(|| {
        let place = |kind: &&kinds::Kind| Place::new(kind.group, kind.version, kind.plural, kind.namespaced);
        deletable(false).iter().map(|kind| Arc::new(place(kind))).collect()
    });
    &PLACES
}

/// Where in [`built_ins`] a kind is.
pub(super) fn built_in(group: &str, version: &str, kind: &str) -> Option<usize> {
    static INDEX: LazyLock<HashMap<&'static str, usize>> = LazyLock::new(|| {
        deletable(false).iter().enumerate().map(|(index, kind)| (kind.storage_group, index)).collect()
    });
    INDEX.get(kinds::by_kind(group, version, kind)?.storage_group).copied()
}

/// What the collector keeps of a CustomResourceDefinition.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(from = "Whole")]
pub(crate) struct Definition {
    name: String,
    resource_version: u64,
    group: String,
    kind: String,
    plural: String,
    namespaced: bool,
    established: bool,
    served: Vec<String>,
    /// The version to follow it in: the stored one, which needs no conversion, if it is served.
    version: String,
}

#[derive(Deserialize)]
struct Whole {
    metadata: ObjectMeta,
    #[serde(default)]
    spec: crd::Spec,
    #[serde(default)]
    status: crd::Status,
}

impl From<Whole> for Definition {
    fn from(whole: Whole) -> Self {
        let Whole { metadata, spec, status } = whole;
        let served = || spec.versions.iter().filter(|version| version.served);
        let version = served().find(|version| version.storage).or_else(|| served().next());
        Self {
            resource_version: crate::words::resource_version(&metadata),
            name: metadata.name.unwrap_or_default(),
            namespaced: spec.scope == "Namespaced",
            established: status.conditions.iter().any(|one| one.ty == "Established" && one.status == "True"),
            served: served().map(|version| version.name.clone()).collect(),
            version: version.map(|version| version.name.clone()).unwrap_or_default(),
            group: spec.group,
            kind: status.accepted_names.kind,
            plural: status.accepted_names.plural,
        }
    }
}

sampan_reconcile::decoded!(Definition);

impl Object for Definition {
    fn key(&self) -> Key {
        Key::cluster(&self.name)
    }

    fn version(&self) -> u64 {
        self.resource_version
    }
}

impl Definition {
    /// Where its objects are, if they are served. One that is being deleted still serves those that are left.
    fn place(&self) -> Option<Place> {
        let served = self.established && !self.version.is_empty();
        served.then(|| Place::new(&self.group, &self.version, &self.plural, self.namespaced))
    }

    fn is(&self, named: &Named) -> bool {
        *self.group == *named.group
            && *self.kind == *named.kind
            && self.served.iter().any(|version| **version == *named.version)
    }

    /// What owners of its kind are found under.
    pub fn term(&self) -> String {
        format!("{}/{}", self.group, self.kind)
    }
}

/// What a change of a definition means for its informer.
#[derive(Debug, PartialEq)]
pub(super) enum Step {
    Stay,
    /// Read the objects there, and no longer where they were read before.
    Follow(Place),
    Leave,
}

/// What to do when a kind is followed at `now` and its definition has become `definition`.
fn step(now: Option<&Place>, definition: Option<&Definition>) -> Step {
    match (now, definition.and_then(Definition::place)) {
        (None, None) => Step::Stay,
        (Some(_), None) => Step::Leave,
        (Some(now), Some(wanted)) if *now == wanted => Step::Stay,
        (_, Some(wanted)) => Step::Follow(wanted),
    }
}

/// A kind whose objects are read.
#[derive(Clone)]
pub(super) struct Followed {
    pub place: Arc<Place>,
    pub informer: Informer<Item>,
}

enum Custom {
    Served { definition: Arc<Definition>, followed: Followed, _reading: [AbortOnDrop; 2] },
    Gone { definition: Arc<Definition>, place: Arc<Place> },
}

/// Where the owner of an object is looked up.
#[derive(Clone)]
pub(super) enum Home {
    /// Its kind is always served: an answer "not found" means the object.
    BuiltIn(Followed),
    /// Its kind may change under a request.
    Custom(Followed),
    /// Its kind is gone.
    Gone(Arc<Place>),
}

impl Home {
    pub fn place(&self) -> &Arc<Place> {
        match self {
            Self::BuiltIn(followed) | Self::Custom(followed) => &followed.place,
            Self::Gone(place) => place,
        }
    }

    /// The object, if the copy has it.
    pub fn get(&self, key: &Key) -> Option<Arc<Item>> {
        match self {
            Self::BuiltIn(followed) | Self::Custom(followed) => followed.informer.get(key),
            Self::Gone(_) => None,
        }
    }

    /// Whether "not found" from the API, about an object (`of_object`) or only about the path, says that the object is
    /// not there.
    pub fn trusts_absence(&self, of_object: bool) -> bool {
        of_object || !matches!(self, Self::Custom(_))
    }
}

/// The table of all kinds.
pub(super) struct Kinds {
    built_in: Vec<Followed>,
    custom: RwLock<HashMap<String, Custom>>,
}

/// What became of a custom kind.
pub(super) struct Changed {
    /// Objects that were known until now.
    pub before: Vec<Arc<Item>>,
    /// Where they were.
    pub place: Arc<Place>,
}

impl Kinds {
    /// The built-in kinds, each followed by `follow`.
    pub fn new(follow: impl Fn(&Place) -> Informer<Item>) -> Self {
        let followed = |place: &Arc<Place>| Followed { place: place.clone(), informer: follow(place) };
        Self { built_in: built_ins().iter().map(followed).collect(), custom: RwLock::default() }
    }

    pub fn built_in(&self) -> &[Followed] {
        &self.built_in
    }

    /// All kinds that are read now.
    pub fn all(&self) -> Vec<Followed> {
        let custom = self.custom.read();
        let served = custom.values().filter_map(|custom| match custom {
            Custom::Served { followed, .. } => Some(followed.clone()),
            Custom::Gone { .. } => None,
        });
        self.built_in.iter().cloned().chain(served).collect()
    }

    /// The copy of a kind, by its resource and group.
    pub fn informer(&self, name: &str) -> Option<Informer<Item>> {
        if let Some(Custom::Served { followed, .. }) = self.custom.read().get(name) {
            return Some(followed.informer.clone());
        }
        self.built_in.iter().find(|followed| followed.place.name == name).map(|one| one.informer.clone())
    }

    /// Where owners of a kind are; `None` if nobody knows it.
    pub fn home(&self, kind: &OwnerKind) -> Option<Home> {
        let named = match kind {
            OwnerKind::BuiltIn(index) => return self.built_in.get(*index).cloned().map(Home::BuiltIn),
            OwnerKind::Named(named) => named,
        };
        self.custom.read().values().find_map(|custom| match custom {
            Custom::Served { definition, followed, .. } => {
                definition.is(named).then(|| Home::Custom(followed.clone()))
            }
            Custom::Gone { definition, place } => definition.is(named).then(|| Home::Gone(place.clone())),
        })
    }

    /// Whether every copy is complete: what none of them has is not there.
    pub fn synced(&self) -> bool {
        self.all().iter().all(|followed| followed.informer.has_synced())
    }

    /// Takes a definition as it is now; `follow` begins to read a place that had these objects before. `Some` if a
    /// kind went.
    pub fn settle(
        &self,
        name: &str,
        definition: Option<Arc<Definition>>,
        follow: impl FnOnce(&Arc<Place>, &Arc<Definition>, Vec<Arc<Item>>) -> (Informer<Item>, [AbortOnDrop; 2]),
    ) -> Option<Changed> {
        let mut custom = self.custom.write();
        let now = match custom.get(name) {
            Some(Custom::Served { followed, definition, .. }) => Some((followed.clone(), definition.clone())),
            _ => None,
        };
        let place = now.as_ref().map(|(followed, _)| &*followed.place);
        match (step(place, definition.as_deref()), now, definition) {
            (Step::Follow(place), now, Some(definition)) => {
                let place = Arc::new(place);
                let before = now.map(|(followed, _)| followed.informer.list()).unwrap_or_default();
                let (informer, reading) = follow(&place, &definition, before);
                let followed = Followed { place, informer };
                custom.insert(name.to_owned(), Custom::Served { definition, followed, _reading: reading });
                None
            }
            (Step::Leave, Some((followed, definition)), _) => {
                let place = followed.place.clone();
                custom.insert(name.to_owned(), Custom::Gone { definition, place: place.clone() });
                Some(Changed { before: followed.informer.list(), place })
            }
            (_, _, Some(new)) => {
                // the same place, perhaps with other versions
                if let Some(Custom::Served { definition, .. }) = custom.get_mut(name) {
                    *definition = new;
                }
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn definition(established: &str, versions: &[(&str, bool, bool)]) -> Definition {
        let versions: Vec<_> = versions
            .iter()
            .map(|(name, served, storage)| json!({"name": name, "served": served, "storage": storage, "schema": {}}))
            .collect();
        serde_json::from_value(json!({
            "metadata": {"name": "things.example.com", "resourceVersion": "4"},
            "spec": {"group": "example.com", "scope": "Namespaced", "versions": versions,
                "names": {"plural": "things", "kind": "Thing"}},
            "status": {"acceptedNames": {"plural": "things", "kind": "Thing"},
                "conditions": [{"type": "Established", "status": established}]}}))
        .unwrap()
    }

    fn at(version: &str) -> Place {
        Place::new("example.com", version, "things", true)
    }

    #[test]
    fn steps() {
        let (one, two) = (("v1", true, false), ("v2", true, true));
        let (hidden, stored) = (("v2", false, true), ("v1", true, true));
        let follow = |version| Step::Follow(at(version));
        let cases = [
            ("none", None, None, Step::Stay),
            ("not established", None, Some(definition("False", &[one])), Step::Stay),
            ("established", None, Some(definition("True", &[stored])), follow("v1")),
            ("in the stored version", None, Some(definition("True", &[one, two])), follow("v2")),
            ("which is not served", None, Some(definition("True", &[one, hidden])), follow("v1")),
            ("nothing new", Some(at("v1")), Some(definition("True", &[stored])), Step::Stay),
            ("stored anew", Some(at("v1")), Some(definition("True", &[one, two])), follow("v2")),
            ("serves nothing", Some(at("v2")), Some(definition("True", &[hidden])), Step::Leave),
            ("gone", Some(at("v1")), None, Step::Leave),
        ];
        for (what, now, definition, expected) in cases {
            assert_eq!(step(now.as_ref(), definition.as_ref()), expected, "{what}");
        }
    }

    #[test]
    fn owners_find_a_kind_in_the_versions_that_it_serves() {
        let definition = definition("True", &[("v1", true, false), ("v2", false, true)]);
        let cases = [
            (("example.com", "v1", "Thing"), true),
            (("example.com", "v2", "Thing"), false),
            (("example.com", "v1", "Other"), false),
            (("example.org", "v1", "Thing"), false),
        ];
        for ((group, version, kind), expected) in cases {
            let named = Named { group: group.into(), version: version.into(), kind: kind.into() };
            assert_eq!(definition.is(&named), expected, "{named:?}");
        }
    }

    #[test]
    fn paths() {
        let place = at("v1");
        assert_eq!(place.path(None), "/apis/example.com/v1/things");
        assert_eq!(place.path(Some("a")), "/apis/example.com/v1/namespaces/a/things");
        assert_eq!(Place::new("", "v1", "nodes", false).path(Some("a")), "/api/v1/nodes");
    }

    #[test]
    fn absence_of_a_custom_object_needs_an_answer_about_it() {
        let followed = || Followed { place: Arc::new(at("v1")), informer: Informer::fixed(Vec::new()) };
        let cases = [
            (Home::BuiltIn(followed()), [true, true]),
            (Home::Custom(followed()), [false, true]),
            (Home::Gone(Arc::new(at("v1"))), [true, true]),
        ];
        for (home, expected) in cases {
            assert_eq!([false, true].map(|of_object| home.trusts_absence(of_object)), expected);
        }
    }
}
