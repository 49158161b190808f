//! The link from a row of the kinds table to what its definition says at present.
//!
//! A row is `&'static` and stays; what a definition says changes. So a row of a custom resource carries a slot, in
//! which the API server puts each new state.

use std::any::Any;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::apply::Root;
use super::head::{Head, SelectableField, VersionHead};
use super::schema::Schema;
use crate::kinds::Kind;

/// The slot of a custom resource's row.
#[derive(Debug, Default)]
pub struct Custom {
    list_kind: String,
    version: RwLock<Option<Arc<Version>>>,
    versions: RwLock<Vec<&'static Kind>>,
}

impl Custom {
    /// A slot with nothing in it, of objects whose lists are of this kind.
    pub fn new(list_kind: String) -> Self {
        Self { list_kind, ..Self::default() }
    }

    /// The kind of lists.
    pub fn list_kind(&self) -> &str {
        &self.list_kind
    }

    /// What the definition says now; `None` before it said anything.
    pub fn version(&self) -> Option<Arc<Version>> {
        self.version.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts a new state in.
    pub fn set(&self, version: Option<Arc<Version>>) {
        *self.version.write().unwrap_or_else(PoisonError::into_inner) = version;
    }

    /// The rows of all served versions of the resource, this one's with them.
    pub fn versions(&self) -> Vec<&'static Kind> {
        self.versions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells the rows of all served versions.
    pub fn set_versions(&self, versions: Vec<&'static Kind>) {
        *self.versions.write().unwrap_or_else(PoisonError::into_inner) = versions;
    }
}

/// One version of one definition.
#[derive(Debug)]
pub struct Version {
    /// The definition.
    pub head: Arc<Head>,
    /// The revision at which the definition came to say this.
    pub since: u64,
    index: usize,
    bytes: Bytes,
    json: OnceLock<Arc<Value>>,
    schema: OnceLock<Arc<Schema>>,
    root: OnceLock<Root>,
    others: OnceLock<Arc<[Arc<Version>]>>,
    beside: OnceLock<Arc<dyn Any + Send + Sync>>,
}

#[derive(Deserialize)]
struct Whole {
    spec: WholeSpec,
}

#[derive(Deserialize)]
struct WholeSpec {
    versions: Vec<WholeVersion>,
}

#[derive(Deserialize)]
struct WholeVersion {
    #[serde(default)]
    schema: Value,
}

impl Version {
    /// The version at `index` of the definition that `bytes` are.
    pub fn new(head: Arc<Head>, index: usize, bytes: Bytes, since: u64) -> Self {
        Self {
            head,
            since,
            index,
            bytes,
            json: OnceLock::new(),
            schema: OnceLock::new(),
            root: OnceLock::new(),
            others: OnceLock::new(),
            beside: OnceLock::new(),
        }
    }

    /// The same version of a definition whose status changed, and nothing that counts here: what was compiled is kept.
    pub fn restated(&self, head: Arc<Head>) -> Self {
        fn kept<T: ?Sized>(slot: &OnceLock<Arc<T>>) -> OnceLock<Arc<T>> {
            slot.get().cloned().map_or_else(OnceLock::new, OnceLock::from)
        }
        Self {
            head,
            since: self.since,
            index: self.index,
            bytes: self.bytes.clone(),
            json: kept(&self.json),
            schema: kept(&self.schema),
            root: OnceLock::new(),
            others: kept(&self.others),
            beside: kept(&self.beside),
        }
    }

    /// What the definition says of the version, but for its schema.
    pub fn about(&self) -> &VersionHead {
        &self.head.spec.versions[self.index]
    }

    /// What to warn of who uses a deprecated version.
    pub fn deprecation(&self, kind: &Kind) -> Option<String> {
        let about = self.about();
        let plain = || {
            let newer =
                self.head.spec.versions.iter().filter(|version| version.served && !version.deprecated);
            let newest = newer.min_by(|a, b| super::compare_versions(&a.name, &b.name));
            let instead = newest.filter(|newest| super::compare_versions(&newest.name, &about.name).is_lt());
            let instead = instead.map(|newest| format!("; use {}/{} {}", kind.group, newest.name, kind.kind));
            let instead = instead.unwrap_or_default();
            format!("{} {} is deprecated{instead}", kind.api_version(), kind.kind)
        };
        about.deprecated.then(|| about.deprecation_warning.clone().unwrap_or_else(plain))
    }

    /// Whether this is the version in which objects are stored.
    pub fn is_storage(&self) -> bool {
        self.about().storage
    }

    /// The fields that selectors may name besides metadata.
    pub fn selectable(&self) -> &[SelectableField] {
        &self.about().selectable_fields
    }

    /// `openAPIV3Schema`, read when first asked for.
    pub fn json(&self) -> &Value {
        self.json.get_or_init(|| {
            let whole = serde_json::from_slice::<Whole>(&self.bytes).ok();
            let version = whole.and_then(|mut whole| {
                (self.index < whole.spec.versions.len()).then(|| whole.spec.versions.swap_remove(self.index))
            });
            let schema = version.and_then(|mut v| v.schema.get_mut("openAPIV3Schema").map(Value::take));
            Arc::new(schema.unwrap_or_default())
        })
    }

    /// The schema of whole objects, for server-side apply.
    pub fn root(&self) -> &Root {
        self.root.get_or_init(|| {
            self.schema();
            Root(self.schema.get().cloned().unwrap_or_default())
        })
    }

    /// The other versions of the definition, kept with what is compiled of them.
    fn others(&self) -> &[Arc<Self>] {
        self.others.get_or_init(|| {
            let all = 0..self.head.spec.versions.len();
            let other = |index| Arc::new(Self::new(self.head.clone(), index, self.bytes.clone(), self.since));
            all.filter(|index| *index != self.index).map(other).collect()
        })
    }

    /// This and the other served versions of the definition.
    pub fn served(self: &Arc<Self>) -> Vec<Arc<Self>> {
        let mut all: Vec<Arc<Self>> = std::iter::once(self).chain(self.others()).cloned().collect();
        all.sort_by_key(|version| version.index);
        all.retain(|version| version.about().served);
        all
    }

    /// The version of that name, served or not.
    pub fn named(self: &Arc<Self>, name: &str) -> Option<Arc<Self>> {
        let mut all = std::iter::once(self).chain(self.others());
        all.find(|version| version.about().name == name).cloned()
    }

    /// The schema, compiled when first asked for.
    pub fn schema(&self) -> &Schema {
        self.schema.get_or_init(|| {
            let mut schema = Schema::read(self.json());
            super::default::prune_defaults(&mut schema);
            Arc::new(schema)
        })
    }

    /// What a server compiles of the schema, made when first asked for and kept beside it. There is one such thing: none
    /// is given to who asks for one of another type.
    pub fn beside<T: Any + Send + Sync>(&self, make: impl FnOnce() -> T) -> Option<Arc<T>> {
        let made = self.beside.get_or_init(|| Arc::new(make()));
        made.clone().downcast().ok()
    }
}
