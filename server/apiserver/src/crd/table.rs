//! The definitions that are served, in step with the store.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use sampan_api::crd::{Head, Version, compare_versions};
use sampan_api::kinds::{self, Kind};
use sampan_store::{Entry, Snapshot, Store};
use tokio_util::sync::CancellationToken;

use super::DEFINITIONS;
use super::rows::{Content, Row};

/// All definitions. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Customs(Arc<Inner>);

struct Inner {
    store: Store,
    state: RwLock<State>,
    /// Documents of [`super::openapi`] by their key, of the generation they were made at.
    pub documents: Mutex<(u64, HashMap<String, Bytes>)>,
}

#[derive(Default)]
struct State {
    seen: Option<Snapshot>,
    definitions: HashMap<Arc<str>, Definition>,
    /// Names of served definitions by group.
    groups: BTreeMap<String, BTreeSet<Arc<str>>>,
    /// Counts changes of what is served.
    generation: u64,
}

/// One definition, and what is served of it.
struct Definition {
    /// The revision at which its spec became what it is, as far as is known.
    since: u64,
    head: Arc<Head>,
    rows: Vec<Row>,
    /// Cancelled when what is served changes or ends: watches end then.
    over: CancellationToken,
}

/// A served group, its versions in order of preference, each with its kinds by name.
pub(crate) type Group = (String, Vec<(String, Vec<&'static Kind>)>);

impl Customs {
    /// The definitions of `store`; each is read, and nothing else is done, until somebody asks.
    pub fn new(store: Store) -> Self {
        Self(Arc::new(Inner { store, state: RwLock::default(), documents: Mutex::default() }))
    }

    /// The row of a resource in a path.
    pub fn by_resource(&self, group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        self.read(|state| {
            let rows = &state.definitions.get(format!("{plural}.{group}").as_str())?.rows;
            rows.iter().find(|row| row.kind.version == version).map(|row| row.kind)
        })
    }

    /// The row of a kind.
    pub fn by_kind(&self, group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
        self.of_version(group, version).into_iter().find(|row| row.kind == kind)
    }

    /// Whether the group has a resource that is served.
    pub fn has_group(&self, group: &str) -> bool {
        self.read(|state| state.groups.contains_key(group))
    }

    /// Whether a definition serves the group's version, or will when it is established.
    pub fn defines(&self, group: &str, version: &str) -> bool {
        let serves = |head: &Head| {
            head.spec.group == group && head.spec.versions.iter().any(|one| one.served && one.name == version)
        };
        self.read(|state| state.definitions.values().any(|definition| serves(&definition.head)))
    }

    /// What is served, by group.
    pub fn groups(&self) -> Vec<Group> {
        self.read(|state| state.groups.iter().map(|(name, names)| group(state, name, names)).collect())
    }

    /// The kinds of a group and version.
    pub fn of_version(&self, group: &str, version: &str) -> Vec<&'static Kind> {
        self.read(|state| {
            let names = state.groups.get(group).into_iter().flatten();
            let rows = names.filter_map(|name| state.definitions.get(name)).flat_map(|d| &d.rows);
            rows.map(|row| row.kind).filter(|kind| kind.version == version).collect()
        })
    }

    /// Ends when what is served of `kind` changes or ends.
    pub fn over(&self, kind: &Kind) -> CancellationToken {
        let name = kind.qualified();
        let found = self.read(|state| state.definitions.get(name.as_str()).map(|found| found.over.clone()));
        found.unwrap_or_else(|| {
            let over = CancellationToken::new();
            over.cancel();
            over
        })
    }

    /// Heads of all definitions.
    pub fn heads(&self) -> Vec<Arc<Head>> {
        self.read(|state| state.definitions.values().map(|definition| definition.head.clone()).collect())
    }

    /// The head of a definition, by its name.
    pub fn head(&self, name: &str) -> Option<Arc<Head>> {
        self.read(|state| state.definitions.get(name).map(|definition| definition.head.clone()))
    }

    /// Counts changes of what is served.
    pub fn generation(&self) -> u64 {
        self.read(|state| state.generation)
    }

    /// A document that stays the same as long as nothing served changes.
    pub fn document(&self, key: &str, make: impl FnOnce() -> Option<Bytes>) -> Option<Bytes> {
        let generation = self.generation();
        {
            let mut kept = self.0.documents.lock();
            if kept.0 != generation {
                *kept = (generation, HashMap::new());
            }
            if let Some(found) = kept.1.get(key) {
                return Some(found.clone());
            }
        }
        let made = make()?;
        let mut kept = self.0.documents.lock();
        if kept.0 == generation {
            kept.1.insert(key.to_owned(), made.clone());
        }
        Some(made)
    }

    /// Asks of the present state.
    fn read<T>(&self, ask: impl Fn(&State) -> T) -> T {
        let now = self.0.store.list(DEFINITIONS);
        let state = self.0.state.read();
        if state.seen.as_ref().is_some_and(|seen| seen.map.ptr_eq(&now.map)) {
            return ask(&state);
        }
        drop(state);
        let mut state = self.0.state.write();
        // another may have been faster, and seen more
        if state.seen.as_ref().is_none_or(|seen| seen.revision <= now.revision) {
            state.refresh(now);
        }
        ask(&state)
    }
}

fn group(state: &State, name: &str, names: &BTreeSet<Arc<str>>) -> Group {
    let mut versions: BTreeMap<&str, Vec<&'static Kind>> = BTreeMap::new();
    for row in names.iter().filter_map(|name| state.definitions.get(name)).flat_map(|d| &d.rows) {
        versions.entry(row.kind.version).or_default().push(row.kind);
    }
    let mut versions: Vec<(String, Vec<&'static Kind>)> =
        versions.into_iter().map(|(version, kinds)| (version.to_owned(), kinds)).collect();
    versions.sort_by(|(a, _), (b, _)| compare_versions(a, b));
    (name.to_owned(), versions)
}

impl State {
    fn refresh(&mut self, now: Snapshot) {
        for (old, new) in now.changes(self.seen.as_ref()) {
            match new {
                Some(new) => self.put(&new),
                None => old.iter().for_each(|old| self.remove(&old.key.name)),
            }
        }
        self.seen = Some(now);
    }

    fn remove(&mut self, name: &Arc<str>) {
        let Some(old) = self.definitions.remove(name) else { return };
        old.over.cancel();
        self.unlist(&old.head.spec.group, name);
        if !old.rows.is_empty() {
            self.generation += 1;
        }
    }

    fn unlist(&mut self, group: &str, name: &Arc<str>) {
        let Some(names) = self.groups.get_mut(group) else { return };
        names.remove(name);
        if names.is_empty() {
            self.groups.remove(group);
        }
    }

    fn put(&mut self, entry: &Entry) {
        let Some(head) = Head::read(&entry.value) else { return };
        let (head, name) = (Arc::new(head), entry.key.name.clone());
        let old = self.definitions.remove(&name);
        let same = old.as_ref().is_some_and(|old| same_meaning(&old.head, &head));
        let since = old.as_ref().filter(|_| same).map_or(entry.revision, |old| old.since);
        let over = match &old {
            Some(old) if same => old.over.clone(),
            old => {
                old.iter().for_each(|old| old.over.cancel());
                CancellationToken::new()
            }
        };
        let mut free = old.map(|old| old.rows).unwrap_or_default();
        let wanted = served(&head);
        let changed = !same || wanted.len() != free.len();
        let mut rows = Vec::new();
        for (index, content) in wanted {
            let kept = free.iter().position(|row| *row.content() == content);
            let row = kept.map_or_else(|| Row::of(content), |at| free.swap_remove(at));
            let version = Version::new(head.clone(), index, entry.value.clone(), since);
            let slot = row.kind.custom;
            let keeps = same.then(|| slot.and_then(|slot| slot.version())).flatten();
            let version = keeps.map_or_else(|| version.into(), |old| Arc::new(old.restated(head.clone())));
            if let Some(slot) = slot {
                slot.set(Some(version));
            }
            rows.push(row);
        }
        let kinds: Vec<&'static Kind> = rows.iter().map(|row| row.kind).collect();
        for slot in kinds.iter().filter_map(|kind| kind.custom) {
            slot.set_versions(kinds.clone());
        }
        match rows.is_empty() {
            true => self.unlist(&head.spec.group, &name),
            false => drop(self.groups.entry(head.spec.group.clone()).or_default().insert(name.clone())),
        }
        if changed || !free.is_empty() {
            self.generation += 1;
        }
        self.definitions.insert(name, Definition { since, head, rows, over });
    }
}

/// Whether two states of a definition serve the same.
fn same_meaning(old: &Head, new: &Head) -> bool {
    old.metadata.uid == new.metadata.uid
        && old.metadata.generation == new.metadata.generation
        && old.status.accepted_names == new.status.accepted_names
}

/// The rows of what is served, with the index of their version. Versions of the registry's groups are the registry's alone.
fn served(head: &Head) -> Vec<(usize, Content)> {
    if !head.is("Established") {
        return Vec::new();
    }
    let content = |(index, version): (usize, &sampan_api::crd::VersionHead)| {
        let content = Content {
            group: head.spec.group.clone(),
            version: version.name.clone(),
            names: head.status.accepted_names.clone(),
            namespaced: head.namespaced(),
            storage_version: head.storage_version().to_owned(),
            status: version.has_status(),
            scale: version.scale().is_some(),
            terminating: head.is("Terminating"),
        };
        (index, content)
    };
    let group = head.spec.group.as_str();
    let ours = |version: &str| kinds::of_version(group, version).next().is_some();
    let versions = head.spec.versions.iter().enumerate();
    versions.filter(|(_, version)| version.served && !ours(&version.name)).map(content).collect()
}
