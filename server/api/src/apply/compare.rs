//! What a write did to an object, as sets of paths. One walk, nothing copied but the paths that differ.

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
    let mut walk = Walk { out: Comparison::default() };
    walk.place(shape, Some(old), Some(new), &Here::Root);
    walk.out
}

static NULL: Value = Value::Null;
static EMPTY: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| Value::Object(Default::default()));

/// The way from the root, without a copy.
enum Here<'a> {
    Root,
    Field(&'a Here<'a>, &'a str),
    Item(&'a Here<'a>, &'a PathElement),
}

impl Here<'_> {
    fn path(&self) -> Vec<PathElement> {
        match self {
            Here::Root => Vec::with_capacity(8),
            Here::Field(parent, name) => {
                let mut path = parent.path();
                path.push(PathElement::field(name));
                path
            }
            Here::Item(parent, item) => {
                let mut path = parent.path();
                path.push((*item).clone());
                path
            }
        }
    }
}

struct Walk {
    out: Comparison,
}

type Side<'v> = Option<&'v Value>;

impl Walk {
    fn place(&mut self, shape: Shape<'_>, old: Side<'_>, new: Side<'_>, here: &Here<'_>) {
        let atom = shape.atom();
        let (before, after) = (atom.of(old), atom.of(new));
        let leaf = match (old, new, before, after) {
            (_, None, Some(is), _) | (None, _, _, Some(is)) => self.be(shape, is, old, new, here),
            (_, _, Some(was), Some(is)) => {
                if std::mem::discriminant(&was) != std::mem::discriminant(&is) {
                    self.be(shape, was, old, new, here);
                }
                self.be(shape, is, old, new, here)
            }
            _ => true,
        };
        match (leaf, old, new) {
            (false, None, _) => self.out.added.insert(&here.path()),
            (false, _, None) => self.out.removed.insert(&here.path()),
            _ => {}
        }
    }

    /// Compares as what it is; says whether it was compared as a whole.
    fn be(&mut self, shape: Shape<'_>, is: Is<'_>, old: Side<'_>, new: Side<'_>, here: &Here<'_>) -> bool {
        match is {
            Is::Scalar(_) => self.leaf(old, new, here),
            Is::List(list) => {
                let (left, right) = (old.and_then(Value::as_array), new.and_then(Value::as_array));
                let empty = left.is_none_or(Vec::is_empty) && right.is_none_or(Vec::is_empty);
                if empty || matches!(list.relation, Relation::Atomic) {
                    return self.leaf(old, new, here);
                }
                if left.is_none() || left != right {
                    let (left, right) = (left.map_or(&[][..], |l| l), right.map_or(&[][..], |r| r));
                    self.items(&list, left, right, here);
                }
                false
            }
            Is::Map(map) => {
                let (left, right) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
                let empty = |side: Option<&serde_json::Map<String, Value>>| side.is_none_or(|m| m.is_empty());
                if map.atomic || empty(left) && empty(right) {
                    return self.leaf(old, new, here);
                }
                self.fields(shape, &map, left, right, here);
                false
            }
        }
    }

    fn leaf(&mut self, old: Side<'_>, new: Side<'_>, here: &Here<'_>) -> bool {
        match (old, new) {
            (None, _) => self.out.added.insert(&here.path()),
            (_, None) => self.out.removed.insert(&here.path()),
            (Some(old), Some(new)) if !same(old, new) => self.out.modified.insert(&here.path()),
            _ => {}
        }
        true
    }

    fn fields(
        &mut self,
        shape: Shape<'_>,
        map: &Map<'_>,
        old: Option<&serde_json::Map<String, Value>>,
        new: Option<&serde_json::Map<String, Value>>,
        here: &Here<'_>,
    ) {
        let gone = old
            .into_iter()
            .flatten()
            .map(|(name, value)| (name, Some(value), new.and_then(|new| new.get(name))));
        let fresh = new.into_iter().flatten().filter_map(|(name, value)| {
            old.is_none_or(|old| !old.contains_key(name)).then_some((name, None, Some(value)))
        });
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
            self.place(field, left, right, &Here::Field(here, name));
        }
    }

    fn items(&mut self, list: &List<'_>, old: &[Value], new: &[Value], here: &Here<'_>) {
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
            self.item(list, &left[..], &right[..], &Here::Item(here, element));
        }
    }

    /// Items that only differ in what the keys do not say are compared together, as if they were one leaf.
    fn item(&mut self, list: &List<'_>, old: &[&Value], new: &[&Value], here: &Here<'_>) {
        match (old, new) {
            ([] | [_], [] | [_]) => {
                self.place(list.item, old.first().copied(), new.first().copied(), here);
            }
            ([_, _, ..], [_, _, ..]) => {
                if old.len() != new.len() || old.iter().zip(new).any(|(a, b)| !same(a, b)) {
                    self.out.modified.insert(&here.path());
                }
            }
            ([_, _, ..], rest) => {
                if let Some(new) = rest.first() {
                    self.place(list.item, None, Some(new), here);
                }
                self.out.removed.insert(&here.path());
            }
            (rest, [_, _, ..]) => {
                if let Some(old) = rest.first() {
                    self.place(list.item, Some(old), None, here);
                }
                self.out.added.insert(&here.path());
            }
        }
    }
}
