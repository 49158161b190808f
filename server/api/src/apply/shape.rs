//! How a place of a schema is merged: structured-merge-diff's `schema.Atom`.
//!
//! A [`Shape`] is a cheap, copyable reference to a place. Built-in types come from the generated field table
//! ([`Shape::root`]); a custom resource's structural schema joins by implementing [`Schema`] for its node type
//! and handing out [`Shape::Other`]. The two mix: the `metadata` of a custom resource is the table's ObjectMeta
//! ([`Shape::object_meta`]), and below `x-kubernetes-preserve-unknown-fields` it is [`Shape::Deduced`].
//!
//! What upstream's `kube-openapi/pkg/schemaconv` makes of OpenAPI, for implementors:
//!
//! | schema | atom |
//! |---|---|
//! | `type: string`, `boolean`, `integer`, `number` | `scalar` of that type |
//! | `x-kubernetes-int-or-string`, formats that decode to structs | `scalar: Untyped` |
//! | `type: object` with `properties` | `map`, `others: None`, [`Schema::field`] answers the properties |
//! | … and `x-kubernetes-preserve-unknown-fields` | the same with `others: Some(Shape::Deduced)` |
//! | `type: object` with `additionalProperties` | `map` with `others` |
//! | `x-kubernetes-map-type: atomic` | `map` with `atomic: true` |
//! | `type: array` without `x-kubernetes-list-type`, or `atomic` | `list`, `Relation::Atomic` |
//! | `x-kubernetes-list-type: set` / `map` | `Relation::Set` / `Relation::Map(keys)` |
//! | `x-kubernetes-embedded-resource` | as its properties say, with `metadata` as above |
//! | nothing known | `Shape::Deduced` |

use serde_json::Value;

use super::table::Place;
use crate::fields;

/// A place of a schema.
#[derive(Clone, Copy, Debug)]
pub enum Shape<'s> {
    /// A built-in type.
    Table(Place),
    /// No schema: maps are merged, lists replaced (`__untyped_deduced_`).
    Deduced,
    /// No schema: replaced as a whole (`__untyped_atomic_`).
    Untyped,
    /// Someone else's schema.
    Other(&'s dyn Schema),
}

/// A node of a schema that this crate does not know.
pub trait Schema: std::fmt::Debug + Send + Sync {
    /// What may be there. More than one of the three may be given: the value decides.
    fn atom(&self) -> Atom<'_>;
    /// The declared field of that name, of an object.
    fn field(&self, name: &str) -> Option<Shape<'_>>;
    /// The default, which stands in for an absent key of a list's item.
    fn default(&self) -> Option<Value> {
        None
    }
}

/// What may be at a place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Atom<'s> {
    /// A scalar of that type.
    pub scalar: Option<Scalar>,
    /// A list.
    pub list: Option<List<'s>>,
    /// An object, with declared fields or free keys.
    pub map: Option<Map<'s>>,
}

/// The type of a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names say it
pub enum Scalar {
    Text,
    Numeric,
    Boolean,
    /// Any scalar.
    Untyped,
}

/// A list.
#[derive(Clone, Copy, Debug)]
pub struct List<'s> {
    /// How its items are told apart.
    pub relation: Relation<'s>,
    /// What its items are.
    pub item: Shape<'s>,
}

/// How the items of a list are told apart.
#[derive(Clone, Copy, Debug)]
pub enum Relation<'s> {
    /// Not at all: the list is replaced as a whole.
    Atomic,
    /// By their values.
    Set,
    /// By the values of these fields.
    Map(Keys<'s>),
}

/// Names of fields.
#[derive(Clone, Copy, Debug)]
pub enum Keys<'s> {
    /// The table's.
    Fixed(&'static [&'static str]),
    /// A custom resource's.
    Owned(&'s [String]),
}

impl<'s> Keys<'s> {
    /// How many there are.
    pub(super) fn count(self) -> usize {
        match self {
            Keys::Fixed(names) => names.len(),
            Keys::Owned(names) => names.len(),
        }
    }

    /// The names, as the schema orders them.
    pub fn names(self) -> impl Iterator<Item = &'s str> {
        let (fixed, owned): (&[&'static str], &'s [String]) = match self {
            Keys::Fixed(names) => (names, &[]),
            Keys::Owned(names) => (&[], names),
        };
        fixed.iter().copied().chain(owned.iter().map(String::as_str))
    }
}

/// An object.
#[derive(Clone, Copy, Debug)]
pub struct Map<'s> {
    /// Whether it is replaced as a whole.
    pub atomic: bool,
    /// What is under keys that are not declared; `None` where there may be none.
    pub others: Option<Shape<'s>>,
}

impl<'s> Shape<'s> {
    /// A built-in kind, by its schema name (`io.k8s.api.core.v1.Pod`).
    pub fn root(schema: &str) -> Option<Self> {
        fields::type_of(schema).map(|ty| Shape::Table(Place::of(ty)))
    }

    /// `metadata` of any object.
    pub fn object_meta() -> Self {
        Self::root("io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta").unwrap_or(Shape::Deduced)
    }

    /// What may be there.
    pub fn atom(self) -> Atom<'s> {
        match self {
            Shape::Table(place) => place.atom(),
            Shape::Deduced => schemaless(false, Shape::Deduced),
            Shape::Untyped => schemaless(true, Shape::Untyped),
            Shape::Other(schema) => schema.atom(),
        }
    }

    /// What `value` is there.
    pub(super) fn is(self, value: Option<&Value>) -> Option<Is<'s>> {
        let only = match self {
            Shape::Table(place) => place.only(),
            _ => None,
        };
        only.or_else(|| self.atom().of(value))
    }

    /// The declared field of that name.
    pub fn field(self, name: &str) -> Option<Shape<'s>> {
        match self {
            Shape::Table(place) => place.field(name).map(Shape::Table),
            Shape::Deduced | Shape::Untyped => None,
            Shape::Other(schema) => schema.field(name),
        }
    }

    /// The default of the field, if the schema has one.
    pub fn default(self) -> Option<Value> {
        match self {
            Shape::Table(place) => place.default(),
            Shape::Deduced | Shape::Untyped => None,
            Shape::Other(schema) => schema.default(),
        }
    }

    /// What the items of a list are.
    pub fn item(self) -> Option<Shape<'s>> {
        self.atom().list.map(|list| list.item)
    }

    /// What the field is in an object that says nothing of it, if it is there even then: Go keeps it by value, not by
    /// pointer, or writes it always.
    pub fn zero(self) -> Option<&'static Value> {
        match self {
            Shape::Table(place) => place.zero(),
            _ => None,
        }
    }

    /// Declared or not, what is under `key` of an object.
    pub(super) fn under(self, key: &str, map: &Map<'s>) -> Option<Shape<'s>> {
        self.field(key).or(map.others)
    }

    /// Whether the field is declared, not a free key.
    pub(super) fn declares(self, key: &str) -> bool {
        self.field(key).is_some()
    }
}

fn schemaless<'s>(atomic: bool, below: Shape<'s>) -> Atom<'s> {
    Atom {
        scalar: Some(Scalar::Untyped),
        list: Some(List { relation: Relation::Atomic, item: Shape::Untyped }),
        map: Some(Map { atomic, others: Some(below) }),
    }
}

/// What one value is, given what may be there: `deduceAtom` and `handleAtom`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Is<'s> {
    Scalar(Scalar),
    List(List<'s>),
    Map(Map<'s>),
}

impl<'s> Atom<'s> {
    /// The alternative that fits `value`; the first there is (map, scalar, list) where none does.
    pub(super) fn of(&self, value: Option<&Value>) -> Option<Is<'s>> {
        let (scalar, list, map) =
            (self.scalar.map(Is::Scalar), self.list.map(Is::List), self.map.map(Is::Map));
        let fit = match value {
            None | Some(Value::Null) => None,
            Some(Value::Array(_)) => list,
            Some(Value::Object(_)) => map,
            Some(_) => scalar,
        };
        fit.or(map).or(scalar).or(list)
    }
}
