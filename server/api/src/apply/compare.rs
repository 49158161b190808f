//! What a write did to an object, as sets of paths. One walk, from which the sets come back as they are built:
//! what is the same costs no memory.

use serde_json::Value;

use super::element::PathElement;
use super::items::element;
use super::set::{Node, Set};
use super::shape::{Is, List, Map, Relation, Shape};
use super::value::{alike, beside, same};

/// The difference of two objects. No path is in two of the sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison<'v> {
    /// What only the older one has.
    pub removed: Set<'v>,
    /// What both have, with other values.
    pub modified: Set<'v>,
    /// What only the newer one has.
    pub added: Set<'v>,
}

impl<'v> Comparison<'v> {
    /// Whether the two were the same.
    pub fn is_same(&self) -> bool {
        self.removed.is_empty() && self.modified.is_empty() && self.added.is_empty()
    }

    /// What the newer one has differently.
    pub fn changed(&self) -> Set<'v> {
        self.modified.union(&self.added)
    }

    /// As [`Comparison::changed`], of one that is needed no more.
    pub(super) fn into_changed(self) -> Set<'v> {
        match (self.modified.is_empty(), self.added.is_empty()) {
            (true, _) => self.added,
            (_, true) => self.modified,
            _ => self.modified.union(&self.added),
        }
    }
}

/// Compares an older and a newer object of that shape.
pub fn compare<'v>(shape: Shape<'v>, old: &'v Value, new: &'v Value) -> Comparison<'v> {
    place(shape, Some(old), Some(new)).below
}

/// What was found at a place: of itself, and below it.
#[derive(Default)]
struct Found<'v> {
    removed: bool,
    modified: bool,
    added: bool,
    below: Comparison<'v>,
}

type Side<'v> = Option<&'v Value>;
type Fields<'v> = Option<&'v serde_json::Map<String, Value>>;

fn place<'v>(shape: Shape<'v>, old: Side<'v>, new: Side<'v>) -> Found<'v> {
    match (old, new) {
        (None, None) => Found::default(),
        (None, Some(new)) => all(shape, new).map_or_else(Found::default, |added| {
            let below = Comparison { added, ..Comparison::default() };
            Found { added: true, below, ..Found::default() }
        }),
        (Some(old), None) => all(shape, old).map_or_else(Found::default, |removed| {
            let below = Comparison { removed, ..Comparison::default() };
            Found { removed: true, below, ..Found::default() }
        }),
        (Some(left), Some(right)) if alike(left, right) => Found::default(),
        (Some(_), Some(_)) => {
            let (Some(was), Some(is)) = (shape.is(old), shape.is(new)) else { return Found::default() };
            let mut found = be(shape, is, old, new);
            if std::mem::discriminant(&was) != std::mem::discriminant(&is) {
                found.join(be(shape, was, old, new));
            }
            found
        }
    }
}

/// All that is below a place that only one of the two has; `None` where nothing can be.
fn all<'v>(shape: Shape<'v>, value: &'v Value) -> Option<Set<'v>> {
    Some(match (shape.is(Some(value))?, value) {
        (Is::Map(map), Value::Object(object)) if !map.atomic => Set::of_nodes(
            object.len(),
            object.iter().filter_map(|(name, value)| {
                let below = all(shape.under(name, &map)?, value)?;
                Some(Node { element: PathElement::Field(name), member: true, below })
            }),
        ),
        (Is::List(list), Value::Array(array)) if !matches!(list.relation, Relation::Atomic) => {
            Set::of_items(&list, array, |item| all(list.item, item).unwrap_or_default())
        }
        _ => Set::default(),
    })
}

/// Compares as what it is.
fn be<'v>(shape: Shape<'v>, is: Is<'v>, old: Side<'v>, new: Side<'v>) -> Found<'v> {
    match is {
        Is::Scalar(_) => leaf(old, new),
        Is::List(list) => {
            let (left, right) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
            let empty = left.is_none_or(Vec::is_empty) && right.is_none_or(Vec::is_empty);
            if empty || matches!(list.relation, Relation::Atomic) {
                return leaf(old, new);
            }
            let mut below = Comparison::default();
            items(&list, left.map_or(&[][..], |l| l), right.map_or(&[][..], |r| r), &mut below);
            Found { below, ..Found::default() }
        }
        Is::Map(map) => {
            let (left, right) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
            let empty = |side: Fields<'_>| side.is_none_or(|map| map.is_empty());
            if map.atomic || empty(left) && empty(right) {
                return leaf(old, new);
            }
            Found { below: fields(shape, &map, left, right), ..Found::default() }
        }
    }
}

fn leaf<'v>(old: Side<'v>, new: Side<'v>) -> Found<'v> {
    let modified = old.zip(new).is_some_and(|(old, new)| !same(old, new));
    Found { modified, ..Found::default() }
}

impl<'v> Found<'v> {
    fn join(&mut self, other: Self) {
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
    fn put(self, element: impl Fn() -> PathElement<'v>, above: &mut Comparison<'v>) {
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

fn fields<'v>(shape: Shape<'v>, map: &Map<'v>, old: Fields<'v>, new: Fields<'v>) -> Comparison<'v> {
    let mut out = Comparison::default();
    let mut found = |name: &'v str, mut left: Side<'v>, mut right: Side<'v>| {
        let Some(field) = shape.under(name, map) else { return };
        if left.is_none() && old.is_some() || right.is_none() && new.is_some() {
            let zero = field.zero();
            left = left.or(zero);
            right = right.or(zero);
        }
        place(field, left, right).put(|| PathElement::Field(name), &mut out);
    };
    let mut shared = 0;
    match (old, new) {
        (Some(old), Some(new)) => {
            for (name, left, right) in beside(old, new) {
                shared += usize::from(right.is_some());
                found(name, Some(left), right);
            }
        }
        (old, _) => old.into_iter().flatten().for_each(|(name, left)| found(name, Some(left), None)),
    }
    for (name, right) in new.filter(|new| new.len() > shared).into_iter().flatten() {
        if old.is_none_or(|old| !old.contains_key(name)) {
            found(name, None, Some(right));
        }
    }
    out
}

/// An item of the older (`false`) or newer (`true`) list.
type Item<'v> = (PathElement<'v>, bool, &'v Value);

fn items<'v>(list: &List<'v>, old: &'v [Value], new: &'v [Value], out: &mut Comparison<'v>) {
    let both = old.iter().map(|item| (false, item)).chain(new.iter().map(|item| (true, item)));
    let named = both.filter_map(|(newer, item)| Some((element(list, item).ok()?, newer, item)));
    let mut named: Vec<Item<'v>> = named.collect();
    // stable: of the same element first come the older ones
    named.sort_by(|a, b| a.0.cmp(&b.0));
    for same in named.chunk_by(|a, b| a.0 == b.0) {
        let (left, right) = same.split_at(same.partition_point(|(_, newer, _)| !newer));
        item(list, left, right).put(|| same[0].0.clone(), out);
    }
}

/// Items that only differ in what the keys do not say are compared together, as if they were one leaf.
fn item<'v>(list: &List<'v>, old: &[Item<'v>], new: &[Item<'v>]) -> Found<'v> {
    let first = |items: &[Item<'v>]| items.first().map(|(_, _, item)| *item);
    match (old, new) {
        ([] | [_], [] | [_]) => place(list.item, first(old), first(new)),
        ([_, _, ..], [_, _, ..]) => {
            let modified = old.len() != new.len() || old.iter().zip(new).any(|(a, b)| !same(a.2, b.2));
            Found { modified, ..Found::default() }
        }
        ([_, _, ..], rest) => Found { removed: true, ..place(list.item, None, first(rest)) },
        (rest, [_, _, ..]) => Found { added: true, ..place(list.item, first(rest), None) },
    }
}
