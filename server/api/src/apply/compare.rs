//! What a write did to an object, as sets of paths. One walk, from which the sets come back as they are built:
//! what is the same costs no memory.

use std::collections::BTreeMap;

use serde_json::Value;

use super::element::PathElement;
use super::items::element;
use super::set::Set;
use super::shape::{Is, List, Map, Relation, Shape};
use super::value::same;

/// The difference of two objects. No path is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    /// What only the older one has.
    pub removed: Set,
    /// What both have, with other values.
    pub modified: Set,
    /// What only the newer one has.
    pub added: Set,
}

impl Comparison {
    /// Whether the two were the same.
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// What the newer one has differently.
    pub fn changed(&self) -> Set {
        self.modified.union(&self.added)
    }
}

/// Compares an older and a newer object of that shape.
pub fn compare(shape: Shape<'_>, old: &Value, new: &Value) -> Comparison {
    place(shape, Some(old), Some(new)).below
}

static NULL: Value = Value::Null;
static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::Object(Default::default()));

/// What was found at a place: of itself, and below it.
#[derive(Default)]
struct Found {
    removed: bool,
    modified: bool,
    added: bool,
    below: Comparison,
}

type Side<'v> = Option<&'v Value>;
type Fields<'v> = Option<&'v serde_json::Map<String, Value>>;

fn place(shape: Shape<'_>, old: Side<'_>, new: Side<'_>) -> Found {
    let atom = shape.atom();
    match (old, new, atom.of(old), atom.of(new)) {
        (_, None, Some(is), _) | (None, _, _, Some(is)) => be(shape, is, old, new),
        (_, _, Some(was), Some(is)) => {
            let mut found = be(shape, is, old, new);
            if std::mem::discriminant(&was) != std::mem::discriminant(&is) {
                found.join(be(shape, was, old, new));
            }
            found
        }
        _ => Found::default(),
    }
}

/// Compares as what it is.
fn be(shape: Shape<'_>, is: Is<'_>, old: Side<'_>, new: Side<'_>) -> Found {
    match is {
        Is::Scalar(_) => leaf(old, new),
        Is::List(list) => {
            let (left, right) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let empty = left.is_none_or(Vec::is_empty) && right.is_none_or(Vec::is_empty);
            if empty || matches!(list.relation, Relation::Atomic) {
                return leaf(old, new);
            }
            let mut below = Comparison::default();
            if left.is_none() || left != right {
                items(&list, left.map_or(&[][..], |l| l), right.map_or(&[][..], |r| r), &mut below);
            }
            Found::branch(old, new, below)
        }
        Is::Map(map) => {
            let (left, right) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let empty = |side: Fields<'_>| side.is_none_or(|map| map.is_empty());
            if map.atomic || empty(left) && empty(right) {
                return leaf(old, new);
            }
            Found::branch(old, new, fields(shape, &map, left, right))
        }
    }
}

fn leaf(old: Side<'_>, new: Side<'_>) -> Found {
    match (old, new) {
        (Some(old), Some(new)) => Found { modified: !same(old, new), ..Found::default() },
        _ => Found::branch(old, new, Comparison::default()),
    }
}

impl Found {
    fn branch(old: Side<'_>, new: Side<'_>, below: Comparison) -> Self {
        Self { added: old.is_none(), removed: old.is_some() && new.is_none(), modified: false, below }
    }

    fn join(&mut self, other: Found) {
        self.removed |= other.removed;
        self.modified |= other.modified;
        self.added |= other.added;
        for (mine, others) in [
            (&mut self.below.removed, &other.below.removed),
            (&mut self.below.modified, &other.below.modified),
            (&mut self.below.added, &other.below.added),
        ] {
            *mine = mine.union(others);
        }
    }

    /// Puts what was found at `element` into what was found above it.
    fn put(self, element: impl Fn() -> PathElement, above: &mut Comparison) {
        let Self { removed, modified, added, below } = self;
        for (set, member, below) in [
            (&mut above.removed, removed, below.removed),
            (&mut above.modified, modified, below.modified),
            (&mut above.added, added, below.added),
        ] {
            if member || !below.is_empty() {
                set.put(element(), member, below);
            }
        }
    }
}

fn fields(shape: Shape<'_>, map: &Map<'_>, old: Fields<'_>, new: Fields<'_>) -> Comparison {
    let gone =
        old.into_iter().flatten().map(|(name, value)| (name, Some(value), new.and_then(|new| new.get(name))));
    let fresh = new.into_iter().flatten().filter_map(|(name, value)| {
        old.is_none_or(|old| !old.contains_key(name)).then_some((name, None, Some(value)))
    });
    let mut out = Comparison::default();
    for (name, mut left, mut right) in gone.chain(fresh) {
        let Some(field) = shape.under(name, map) else { continue };
        if (left.is_none() && old.is_some() || right.is_none() && new.is_some()) && field.always_there() {
            let zero = match field.atom().map {
                Some(_) => &*EMPTY,
                None => &NULL,
            };
            left = left.or(Some(zero));
            right = right.or(Some(zero));
        }
        place(field, left, right).put(|| PathElement::field(name), &mut out);
    }
    out
}

fn items(list: &List<'_>, old: &[Value], new: &[Value], out: &mut Comparison) {
    let mut found: BTreeMap<PathElement, (Vec<&Value>, Vec<&Value>)> = BTreeMap::new();
    for item in old {
        if let Ok(element) = element(list, item) {
            found.entry(element).or_default().0.push(item);
        }
    }
    for item in new {
        if let Ok(element) = element(list, item) {
            found.entry(element).or_default().1.push(item);
        }
    }
    for (element, (left, right)) in &found {
        item(list, left, right).put(|| element.clone(), out);
    }
}

/// Items that only differ in what the keys do not say are compared together, as if they were one leaf.
fn item(list: &List<'_>, old: &[&Value], new: &[&Value]) -> Found {
    let one = |old: Side<'_>, new: Side<'_>| match (old, new) {
        (None, None) => Found::default(),
        _ => place(list.item, old, new),
    };
    match (old, new) {
        ([] | [_], [] | [_]) => one(old.first().copied(), new.first().copied()),
        ([_, _, ..], [_, _, ..]) => {
            let modified = old.len() != new.len() || old.iter().zip(new).any(|(a, b)| !same(a, b));
            Found { modified, ..Found::default() }
        }
        ([_, _, ..], rest) => Found { removed: true, ..one(None, rest.first().copied()) },
        (rest, [_, _, ..]) => Found { added: true, ..one(rest.first().copied(), None) },
    }
}
