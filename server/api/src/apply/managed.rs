//! `metadata.managedFields`: who manages what, since when, by which operation.
//!
//! Entries are read from an object, which they borrow, and written back in upstream's order. The fields of an entry
//! stay the value they came as until something has to be taken out or put in: a write touches few of an object's
//! managers.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Map, Value};

use super::set::Set;
use super::value::quoted;
use crate::go::Quote as _;

/// `metav1.ManagedFieldsOperationType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are upstream's
pub enum Operation {
    Apply,
    Update,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Apply => "Apply",
            Self::Update => "Update",
        }
    }
}

/// One manager's fields.
#[derive(Clone, Debug)]
pub struct Entry<'v> {
    /// Who.
    pub manager: &'v str,
    /// By which operation.
    pub operation: Operation,
    /// In which version the fields are named.
    pub api_version: &'v str,
    /// Through which subresource, empty for the object itself.
    pub subresource: &'v str,
    /// When last.
    pub time: Option<&'v str>,
    fields: Fields<'v>,
}

static NULL: Value = Value::Null;

#[derive(Clone, Debug)]
enum Fields<'v> {
    /// FieldsV1 as it was stored.
    Stored(&'v Value),
    Read(Set<'v>),
}

/// Who a manager is, over time: appliers are one whatever version they apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Who.
    pub manager: &'a str,
    /// By which operation.
    pub operation: Operation,
    /// In which version; of no account for appliers.
    pub api_version: &'a str,
    /// Through which subresource.
    pub subresource: &'a str,
}

impl<'v> Identity<'v> {
    /// Upstream's identifier, a JSON text; what conflicts are sorted by.
    pub fn text(&self) -> String {
        let mut map = Map::new();
        map.insert("manager".into(), self.manager.into());
        map.insert("operation".into(), self.operation.name().into());
        if self.operation == Operation::Update {
            map.insert("apiVersion".into(), self.api_version.into());
        }
        if !self.subresource.is_empty() {
            map.insert("subresource".into(), self.subresource.into());
        }
        Value::from(map).to_string()
    }

    /// `"kubectl" with subresource "scale" using apps/v1`.
    pub fn shown(&self) -> String {
        let mut out = quoted(self.manager);
        if !self.subresource.is_empty() {
            out.push_str(&format!(" with subresource {}", quoted(self.subresource)));
        }
        if self.operation == Operation::Update {
            out.push_str(&format!(" using {}", self.api_version));
        }
        out
    }

    /// An entry of this manager.
    pub fn entry(&self, set: Set<'v>, time: Option<&'v str>) -> Entry<'v> {
        Entry {
            manager: self.manager,
            operation: self.operation,
            api_version: self.api_version,
            subresource: self.subresource,
            time,
            fields: Fields::Read(set),
        }
    }

    /// Whether the entry is this manager's.
    pub fn is(&self, entry: &Entry<'_>) -> bool {
        self.manager == entry.manager
            && self.operation == entry.operation
            && self.subresource == entry.subresource
            && (self.operation == Operation::Apply || self.api_version == entry.api_version)
    }
}

impl<'v> Entry<'v> {
    /// Who it is.
    pub fn identity(&self) -> Identity<'v> {
        Identity {
            manager: self.manager,
            operation: self.operation,
            api_version: self.api_version,
            subresource: self.subresource,
        }
    }

    /// The fields. What cannot be read is nothing, as upstream takes it.
    pub fn set(&self) -> Cow<'_, Set<'v>> {
        match &self.fields {
            Fields::Stored(value) => Cow::Owned(Set::from_value(value).unwrap_or_default()),
            Fields::Read(set) => Cow::Borrowed(set),
        }
    }

    /// Whether it is known to have no fields.
    pub(super) fn is_empty(&self) -> bool {
        matches!(&self.fields, Fields::Read(set) if set.is_empty())
    }

    /// Replaces the fields.
    pub fn put(&mut self, set: Set<'v>) {
        self.fields = Fields::Read(set);
    }

    /// Gives `entry` these fields, as they are stored, if they are those that it has, in one version; says whether
    /// they are.
    pub(super) fn lend(&self, entry: &mut Self) -> bool {
        let (Fields::Stored(stored), Fields::Read(set)) = (&self.fields, &entry.fields) else { return false };
        let equal = self.api_version == entry.api_version && !set.is_empty() && set.is(stored);
        if equal {
            entry.fields = Fields::Stored(stored);
        }
        equal
    }

    /// Whether it may have fields of `set`.
    pub(super) fn meets(&self, set: &Set<'_>) -> bool {
        match &self.fields {
            Fields::Stored(value) => set.meets(value),
            Fields::Read(_) => true,
        }
    }

    /// Takes `set` out; says whether nothing is left.
    pub fn take(&mut self, set: &Set<'_>) -> bool {
        if self.meets(set) {
            match &mut self.fields {
                Fields::Read(own) => own.subtract(set, false),
                Fields::Stored(_) => self.put(self.set().difference(set)),
            }
        }
        self.is_empty()
    }

    /// Puts `set` in.
    pub fn add(&mut self, set: &Set<'v>) {
        let there = match &self.fields {
            Fields::Stored(value) => set.within(value),
            Fields::Read(_) => false,
        };
        if !there {
            let all = self.set().union(set);
            self.put(all);
        }
    }

    fn read(value: &'v Value, at: usize) -> Result<Self, String> {
        let text = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default();
        let operation = match text("operation") {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return Err("operation must be `Apply` or `Update`".to_owned()),
        };
        let api_version = text("apiVersion");
        if api_version.is_empty() {
            return Err("apiVersion must not be empty".to_owned());
        }
        match text("fieldsType") {
            "FieldsV1" => {}
            "" => return Err(format!("missing fieldsType in managed fields entry {at}")),
            other => {
                return Err(format!("invalid fieldsType {} in managed fields entry {at}", other.quoted()));
            }
        }
        Ok(Self {
            manager: text("manager"),
            operation,
            api_version,
            subresource: text("subresource"),
            time: value.get("time").and_then(Value::as_str),
            fields: Fields::Stored(value.get("fieldsV1").unwrap_or(&NULL)),
        })
    }

    fn to_value(&self) -> Value {
        let mut map = Map::with_capacity(7);
        if !self.manager.is_empty() {
            map.insert("manager".into(), self.manager.into());
        }
        map.insert("operation".into(), self.operation.name().into());
        map.insert("apiVersion".into(), self.api_version.into());
        if let Some(time) = self.time {
            map.insert("time".into(), time.into());
        }
        map.insert("fieldsType".into(), "FieldsV1".into());
        let fields = match &self.fields {
            Fields::Stored(Value::Null) => Map::new().into(),
            Fields::Stored(value) => (*value).clone(),
            Fields::Read(set) => set.to_value(),
        };
        map.insert("fieldsV1".into(), fields);
        if !self.subresource.is_empty() {
            map.insert("subresource".into(), self.subresource.into());
        }
        map.into()
    }

    fn order(&self, other: &Self) -> Ordering {
        let key = |entry: &Self| entry.time.unwrap_or_default();
        (self.operation.cmp(&other.operation))
            .then_with(|| key(self).cmp(key(other)))
            .then_with(|| self.manager.cmp(other.manager))
            .then_with(|| self.api_version.cmp(other.api_version))
            .then_with(|| self.subresource.cmp(other.subresource))
    }
}

/// All managers of an object.
#[derive(Clone, Debug, Default)]
pub struct Managed<'v> {
    /// One entry for each, in no order.
    pub entries: Vec<Entry<'v>>,
}

impl<'v> Managed<'v> {
    /// Reads `metadata.managedFields`; of entries of one manager the last counts.
    pub fn read(list: &'v Value) -> Result<Self, String> {
        let mut managed = Self::default();
        for (at, value) in list.as_array().into_iter().flatten().enumerate() {
            let entry = Entry::read(value, at)?;
            match managed.entries.iter_mut().find(|other| other.identity().is(&entry)) {
                Some(other) => *other = entry,
                None => managed.entries.push(entry),
            }
        }
        Ok(managed)
    }

    /// As [`Managed::read`], with the fields read too: for what a client sent.
    pub fn check(list: &'v Value) -> Result<Self, String> {
        let mut managed = Self::read(list)?;
        for entry in &mut managed.entries {
            if let Fields::Stored(value) = &entry.fields {
                let set = Set::from_value(value).map_err(|why| format!("error decoding set: {why}"))?;
                entry.put(set);
            }
        }
        Ok(managed)
    }

    /// Those of an object that is stored; none where they cannot be read.
    pub fn of(object: &'v Value) -> Self {
        Self::read(&object["metadata"]["managedFields"]).unwrap_or_default()
    }

    /// Whether nobody manages anything.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entry of that manager.
    pub fn find(&self, who: &Identity<'_>) -> Option<&Entry<'v>> {
        self.entries.iter().find(|entry| who.is(entry))
    }

    /// The entry of that manager.
    pub fn find_mut(&mut self, who: &Identity<'_>) -> Option<&mut Entry<'v>> {
        self.entries.iter_mut().find(|entry| who.is(entry))
    }

    /// The list for `metadata.managedFields`, sorted; `None` for none.
    pub fn into_value(mut self) -> Option<Value> {
        if self.entries.is_empty() {
            return None;
        }
        self.entries.sort_by(Entry::order);
        Some(self.entries.iter().map(Entry::to_value).collect::<Vec<_>>().into())
    }
}

/// Upstream's `DefaultMaxUpdateManagers`.
const MAX_UPDATERS: usize = 10;

/// Who stands for the oldest updaters.
const ANCIENT: &str = "ancient-changes";

impl<'v> Managed<'v> {
    /// Merges the oldest updaters of a version into one, until there are no more than ten.
    pub fn cap(&mut self) {
        let updaters = || |entry: &&Entry<'v>| entry.operation == Operation::Update;
        let mut count = self.entries.iter().filter(updaters()).count();
        if count <= MAX_UPDATERS {
            return;
        }
        let key = |entry: &Entry<'v>| (entry.time.unwrap_or_default(), entry.identity().text());
        let (mut old, mut kept): (Vec<Entry<'v>>, Vec<Entry<'v>>) =
            std::mem::take(&mut self.entries).into_iter().partition(|entry| updaters()(&entry));
        old.sort_by_key(key);
        let mut first: Vec<Entry<'v>> = Vec::new();
        for entry in old {
            let bucket = first.iter_mut().find(|other| other.api_version == entry.api_version);
            match bucket {
                Some(bucket) if count > MAX_UPDATERS => {
                    // the first of a version is renamed only when a second one joins it
                    bucket.manager = ANCIENT;
                    bucket.subresource = "";
                    bucket.add(&entry.set());
                    bucket.time = entry.time;
                    count -= 1;
                }
                None if count > MAX_UPDATERS => first.push(entry),
                _ => kept.push(entry),
            }
        }
        kept.extend(first);
        self.entries = kept;
    }
}
