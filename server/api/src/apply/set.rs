//! A set of paths: structured-merge-diff's `fieldpath.Set`, and its text, `FieldsV1`.
//!
//! One sorted tree. A node may be a member, have members below it, or both; a node that is neither is not
//! kept.

use serde_json::{Map, Value};

use super::element::PathElement;
use super::items::element;
use super::shape::{List, Shape};
use crate::go::Quote as _;

/// A set of paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set<'v> {
    nodes: Vec<Node<'v>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Node<'v> {
    pub element: PathElement<'v>,
    pub member: bool,
    pub below: Set<'v>,
}

impl<'v> Set<'v> {
    /// The set of these paths of field names.
    pub fn of_fields(paths: &[&[&'v str]]) -> Self {
        let mut set = Self::default();
        for path in paths {
            let path: Vec<PathElement<'v>> = path.iter().map(|name| PathElement::Field(name)).collect();
            set.insert(&path);
        }
        set
    }

    /// The set of at most so many nodes, each of another element.
    pub(super) fn of_nodes(most: usize, nodes: impl Iterator<Item = Node<'v>>) -> Self {
        let mut sorted = Vec::with_capacity(most);
        sorted.extend(nodes);
        sorted.sort_by(|a: &Node<'v>, b| a.element.cmp(&b.element));
        Self { nodes: sorted }
    }

    /// The set of a list's items with what is `below` each: nothing where several have one element.
    pub(super) fn of_items(list: &List<'v>, items: &'v [Value], below: impl Fn(&'v Value) -> Self) -> Self {
        let node = |item| Some(Node { element: element(list, item).ok()?, member: true, below: below(item) });
        let mut set = Self::of_nodes(items.len(), items.iter().filter_map(node));
        set.nodes.dedup_by(|again, first| {
            let twice = again.element == first.element;
            if twice {
                first.below = Self::default();
            }
            twice
        });
        set
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    fn find(&self, element: &PathElement<'_>) -> Result<usize, usize> {
        // most sets are built in order
        match self.nodes.last() {
            None => Err(0),
            Some(last) if last.element < *element => Err(self.nodes.len()),
            Some(_) => self.nodes.binary_search_by(|node| node.element.cmp(element)),
        }
    }

    fn descend(&mut self, element: &PathElement<'v>) -> &mut Node<'v> {
        let at = self.find(element).unwrap_or_else(|at| {
            self.nodes.insert(at, Node { element: element.clone(), member: false, below: Set::default() });
            at
        });
        &mut self.nodes[at]
    }

    /// Adds an element that is not there yet, with what is below it.
    pub(super) fn put(&mut self, element: PathElement<'v>, member: bool, below: Set<'v>) {
        match self.find(&element) {
            Ok(at) => {
                self.nodes[at].member |= member;
                self.nodes[at].below = self.nodes[at].below.union(&below);
            }
            Err(at) => self.nodes.insert(at, Node { element, member, below }),
        }
    }

    /// Adds a path; the empty one, the whole object, is never in a set.
    pub fn insert(&mut self, path: &[PathElement<'v>]) {
        match path {
            [] => {}
            [last] => self.descend(last).member = true,
            [first, rest @ ..] => self.descend(first).below.insert(rest),
        }
    }

    /// Whether the path itself is a member.
    pub fn has(&self, path: &[PathElement<'_>]) -> bool {
        match path {
            [] => false,
            [last] => self.find(last).is_ok_and(|at| self.nodes[at].member),
            [first, rest @ ..] => self.find(first).is_ok_and(|at| self.nodes[at].below.has(rest)),
        }
    }

    /// Whether `element` itself is a member, and what is below it.
    pub(super) fn at(&self, element: &PathElement<'_>) -> (bool, Option<&Set<'v>>) {
        match self.find(element) {
            Ok(at) => {
                let node = &self.nodes[at];
                (node.member, (!node.below.is_empty()).then_some(&node.below))
            }
            Err(_) => (false, None),
        }
    }

    /// Members of either.
    pub fn union(&self, other: &Set<'v>) -> Set<'v> {
        if self.is_empty() || other.is_empty() {
            return if self.is_empty() { other.clone() } else { self.clone() };
        }
        let mut nodes = Vec::with_capacity(self.nodes.len().max(other.nodes.len()));
        zip(self, other, |a, b| match (a, b) {
            (Some(a), Some(b)) => nodes.push(Node {
                element: a.element.clone(),
                member: a.member || b.member,
                below: a.below.union(&b.below),
            }),
            (Some(one), None) | (None, Some(one)) => nodes.push(one.clone()),
            (None, None) => {}
        });
        Set { nodes }
    }

    /// Members of both.
    pub fn intersection(&self, other: &Set<'_>) -> Set<'v> {
        let mut nodes = Vec::new();
        zip(self, other, |a, b| {
            if let (Some(a), Some(b)) = (a, b) {
                push(&mut nodes, &a.element, a.member && b.member, a.below.intersection(&b.below));
            }
        });
        Set { nodes }
    }

    /// Members of this one only. A member stays when just something below it is in `other`, and what is below
    /// stays when just the member above is.
    pub fn difference(&self, other: &Set<'_>) -> Set<'v> {
        let mut left = self.clone();
        left.subtract(other, false);
        left
    }

    /// As [`Set::difference`], but what is below a member of `other` goes too.
    pub fn recursive_difference(&self, other: &Set<'_>) -> Set<'v> {
        let mut left = self.clone();
        left.subtract(other, true);
        left
    }

    /// Whether every member of `other` is one of this set.
    pub(super) fn covers(&self, other: &Set<'_>) -> bool {
        other.nodes.iter().all(|theirs| match self.find(&theirs.element) {
            Ok(at) => {
                let mine = &self.nodes[at];
                (mine.member || !theirs.member) && mine.below.covers(&theirs.below)
            }
            Err(_) => false,
        })
    }

    /// Takes the members of `other` out, `whole` with what is below them.
    pub(super) fn subtract(&mut self, other: &Set<'_>, whole: bool) {
        for node in &other.nodes {
            let Ok(at) = self.find(&node.element) else { continue };
            let mine = &mut self.nodes[at];
            mine.member &= !node.member;
            if whole && node.member {
                mine.below = Set::default();
            }
            mine.below.subtract(&node.below, whole);
            if !mine.member && mine.below.is_empty() {
                self.nodes.remove(at);
            }
        }
    }

    /// With the declared fields on the way to members as members too: `EnsureNamedFieldsAreMembers`.
    pub(super) fn with_named(&self, shape: Option<Shape<'_>>) -> Set<'v> {
        let atom = shape.map(Shape::atom).unwrap_or_default();
        let nodes = self.nodes.iter().map(|node| {
            let (mut member, mut below) = (node.member, None);
            match (&node.element, shape, atom.map, atom.list) {
                (PathElement::Field(name), Some(shape), Some(map), _) => {
                    member |= !node.below.is_empty() && shape.declares(name);
                    below = shape.under(name, &map);
                }
                (PathElement::Key(_), _, _, Some(list)) => below = Some(list.item),
                _ => {}
            }
            Node { element: node.element.clone(), member, below: node.below.with_named(below) }
        });
        Set { nodes: nodes.collect() }
    }

    /// Calls `each` with every member: first those of a level, then what is below.
    pub fn each(&self, each: &mut impl FnMut(&[PathElement<'v>])) {
        self.each_below(&mut Vec::new(), each);
    }

    fn each_below(&self, path: &mut Vec<PathElement<'v>>, each: &mut impl FnMut(&[PathElement<'v>])) {
        for node in self.nodes.iter().filter(|node| node.member) {
            path.push(node.element.clone());
            each(path);
            path.pop();
        }
        for node in self.nodes.iter().filter(|node| !node.below.is_empty()) {
            path.push(node.element.clone());
            node.below.each_below(path, each);
            path.pop();
        }
    }

    /// As FieldsV1.
    pub fn to_value(&self) -> Value {
        self.to_map(false).into()
    }

    fn to_map(&self, member: bool) -> Map<String, Value> {
        if self.is_empty() {
            return Map::new();
        }
        let mut map = Map::with_capacity(self.nodes.len() + usize::from(member));
        if member {
            map.insert(".".to_owned(), Map::new().into());
        }
        for node in &self.nodes {
            map.insert(node.element.write(), node.below.to_map(node.member).into());
        }
        map
    }

    /// From FieldsV1.
    pub fn from_value(value: &'v Value) -> Result<Self, String> {
        match value {
            Value::Null => Ok(Set::default()),
            Value::Object(map) => Ok(read(map)?.0),
            other => Err(format!("expected a map, got {other}")),
        }
    }

    /// Whether a member of this set is one of those that `fields`, a FieldsV1, lists: without reading it whole.
    pub(super) fn meets(&self, fields: &Value) -> bool {
        self.meets_below(fields, &mut String::new())
    }

    fn meets_below(&self, fields: &Value, key: &mut String) -> bool {
        let Value::Object(map) = fields else { return false };
        self.nodes.iter().any(|node| {
            let Some(below) = node.under(map, key) else { return false };
            node.member && is_member(below) || node.below.meets_below(below, key)
        })
    }

    /// Whether every member of this set is one of those that `fields`, a FieldsV1, lists.
    pub(super) fn within(&self, fields: &Value) -> bool {
        self.within_below(fields, &mut String::new())
    }

    fn within_below(&self, fields: &Value, key: &mut String) -> bool {
        let Value::Object(map) = fields else { return self.is_empty() };
        self.nodes.iter().all(|node| {
            node.under(map, key).is_some_and(|below| {
                (!node.member || is_member(below)) && node.below.within_below(below, key)
            })
        })
    }

    /// Whether `fields` is what [`Set::to_value`] makes of this set.
    pub(super) fn is(&self, fields: &Value) -> bool {
        fields.as_object().is_some_and(|map| self.is_map(false, map, &mut String::new()))
    }

    fn is_map(&self, member: bool, map: &Map<String, Value>, text: &mut String) -> bool {
        let mut fields = map.iter();
        let itself =
            |(key, below): (&String, &Value)| key == "." && below.as_object().is_some_and(Map::is_empty);
        if member && !self.is_empty() && !fields.next().is_some_and(itself) {
            return false;
        }
        fields.len() == self.nodes.len()
            && self.nodes.iter().zip(fields).all(|(node, (key, below))| {
                node.writes(key, text)
                    && below.as_object().is_some_and(|below| node.below.is_map(node.member, below, text))
            })
    }
}

impl Node<'_> {
    /// What a FieldsV1 has under this node's element; `text` is for its text.
    fn under<'m>(&self, map: &'m Map<String, Value>, text: &mut String) -> Option<&'m Value> {
        text.clear();
        self.element.write_to(text);
        map.get(text.as_str())
    }

    /// Whether its element is written so.
    fn writes(&self, key: &str, text: &mut String) -> bool {
        if let PathElement::Field(name) = self.element {
            return key.strip_prefix("f:") == Some(name);
        }
        text.clear();
        self.element.write_to(text);
        key == text
    }
}

fn is_member(below: &Value) -> bool {
    below.as_object().is_some_and(|map| map.is_empty() || map.contains_key("."))
}

/// What is below, and whether the place itself is a member.
fn read(map: &Map<String, Value>) -> Result<(Set<'_>, bool), String> {
    let mut set = Set { nodes: Vec::with_capacity(map.len()) };
    let mut member = map.is_empty();
    for (key, value) in map {
        if key == "." {
            member = true;
            continue;
        }
        let Some(element) = PathElement::parse(key)? else { continue };
        let Value::Object(below) = value else {
            return Err(format!("expected a map under {}", key.quoted()));
        };
        let (below, is_member) = read(below)?;
        let node = set.descend(&element);
        node.member |= is_member || below.is_empty();
        node.below = below;
    }
    Ok((set, member))
}

fn push<'v>(nodes: &mut Vec<Node<'v>>, element: &PathElement<'v>, member: bool, below: Set<'v>) {
    if member || !below.is_empty() {
        nodes.push(Node { element: element.clone(), member, below });
    }
}

/// Walks both in order, pairing equal elements.
fn zip<'a, 'v, 'w>(
    a: &'a Set<'v>,
    b: &'a Set<'w>,
    mut each: impl FnMut(Option<&'a Node<'v>>, Option<&'a Node<'w>>),
) {
    let (mut left, mut right) = (a.nodes.iter().peekable(), b.nodes.iter().peekable());
    loop {
        let order = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) => a.element.cmp(&b.element),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (None, None) => return,
        };
        let a = if order.is_le() { left.next() } else { None };
        let b = if order.is_ge() { right.next() } else { None };
        each(a, b);
    }
}
