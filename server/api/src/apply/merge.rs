//! An applied configuration on top of the live object: leaves are the configuration's, the rest stays.

use std::collections::BTreeSet;

use serde_json::Value;

use super::element::PathElement;
use super::items::element;
use super::shape::{Is, List, Map, Relation, Shape};
use super::value::alike;

/// `live` with `config` on top. Nothing is removed by it. Lists keep the live order, or take the
/// configuration's where it says otherwise.
pub fn merge(shape: Shape<'_>, live: &Value, config: &Value) -> Result<Value, String> {
    let mut merged = live.clone();
    merge_into(shape, &mut merged, config)?;
    Ok(merged)
}

/// As [`merge`], in place. After an error `live` is neither.
pub(super) fn merge_into(shape: Shape<'_>, live: &mut Value, config: &Value) -> Result<(), String> {
    match shape.is(Some(config)) {
        Some(
            Is::Scalar(_)
            | Is::List(List { relation: Relation::Atomic, .. })
            | Is::Map(Map { atomic: true, .. }),
        ) => {
            if !alike(live, config) {
                *live = config.clone();
            }
            Ok(())
        }
        Some(Is::List(list)) => match (&mut *live, config) {
            (Value::Array(left), Value::Array(right)) if !left.is_empty() || !right.is_empty() => {
                merge_items(&list, left, right)
            }
            (Value::Array(left), _) if !left.is_empty() => check_items(&list, left, Of::Live),
            _ => {
                *live = config.clone();
                config.as_array().map_or(Ok(()), |right| check_items(&list, right, Of::Config))
            }
        },
        Some(Is::Map(map)) => match (&mut *live, config) {
            (Value::Object(left), Value::Object(right)) if !left.is_empty() || !right.is_empty() => {
                merge_fields(shape, &map, left, right)
            }
            (Value::Object(left), _) if !left.is_empty() => check_fields(shape, &map, left, Of::Live),
            _ => {
                *live = config.clone();
                config.as_object().map_or(Ok(()), |right| check_fields(shape, &map, right, Of::Config))
            }
        },
        None => Err(NO_ATOM.to_owned()),
    }
}

const NO_ATOM: &str = "schema error: invalid atom: inlined";

/// Whose a value is that the other side says nothing of.
#[derive(Clone, Copy, PartialEq)]
enum Of {
    Live,
    Config,
}

/// What is there on one side only stays as it is; it has to have the items that lists can have.
fn check(shape: Shape<'_>, value: &Value, of: Of) -> Result<(), String> {
    match (shape.is(Some(value)), value) {
        (Some(Is::List(list)), Value::Array(items)) => check_items(&list, items, of),
        (Some(Is::Map(map)), Value::Object(fields)) => check_fields(shape, &map, fields, of),
        (None, _) => Err(NO_ATOM.to_owned()),
        _ => Ok(()),
    }
}

fn check_fields(
    shape: Shape<'_>,
    map: &Map<'_>,
    fields: &serde_json::Map<String, Value>,
    of: Of,
) -> Result<(), String> {
    if map.atomic {
        return Ok(());
    }
    let mut declared = fields.iter().filter_map(|(name, value)| Some((shape.under(name, map)?, value)));
    declared.try_for_each(|(field, value)| check(field, value, of))
}

fn check_items(list: &List<'_>, items: &[Value], of: Of) -> Result<(), String> {
    if matches!(list.relation, Relation::Atomic) {
        return Ok(());
    }
    Names::new(list, items, of)?;
    items.iter().try_for_each(|item| check(list.item, item, of))
}

fn merge_fields(
    shape: Shape<'_>,
    map: &Map<'_>,
    live: &mut serde_json::Map<String, Value>,
    config: &serde_json::Map<String, Value>,
) -> Result<(), String> {
    let mut shared = 0;
    for (name, value) in live.iter_mut() {
        let wanted = config.get(name);
        shared += usize::from(wanted.is_some());
        match (wanted, shape.under(name, map)) {
            (Some(wanted), Some(field)) => merge_into(field, value, wanted)?,
            (None, Some(field)) => check(field, value, Of::Live)?,
            // what the schema has lost meanwhile stays as it is
            (Some(wanted), None) => *value = wanted.clone(),
            (None, None) => {}
        }
    }
    if shared == config.len() {
        return Ok(());
    }
    for (name, wanted) in config {
        if !live.contains_key(name) {
            if let Some(field) = shape.under(name, map) {
                check(field, wanted, Of::Config)?;
            }
            live.insert(name.clone(), wanted.clone());
        }
    }
    Ok(())
}

/// The elements of a list's items.
struct Names<'v> {
    /// As the items are.
    order: Vec<PathElement<'v>>,
    /// Places in `order`, sorted by the element and then the place.
    sorted: Vec<usize>,
}

impl<'v> Names<'v> {
    /// Only the live list may have several items of one element.
    fn new(list: &List<'v>, items: &'v [Value], of: Of) -> Result<Self, String> {
        let mut order = Vec::with_capacity(items.len());
        let mut wrong = Ok(());
        for (index, item) in items.iter().enumerate() {
            match element(list, item) {
                Ok(element) => order.push(element),
                Err(why) => {
                    wrong = Err(format!("element {index}: {why}"));
                    break;
                }
            }
        }
        let mut sorted: Vec<usize> = (0..order.len()).collect();
        sorted.sort_by(|a, b| order[*a].cmp(&order[*b]));
        if of == Of::Config {
            let again = sorted.windows(2).filter(|pair| order[pair[0]] == order[pair[1]]).map(|pair| pair[1]);
            if let Some(first) = again.min() {
                return Err(format!("duplicate entries for key {}", order[first]));
            }
        }
        wrong.map(|()| Self { order, sorted })
    }

    /// Where the items of that element are.
    fn find(&self, element: &PathElement<'_>) -> &[usize] {
        let start = self.sorted.partition_point(|at| self.order[*at] < *element);
        let count = self.sorted[start..].iter().take_while(|at| self.order[**at] == *element).count();
        &self.sorted[start..start + count]
    }

    fn has(&self, element: &PathElement<'_>) -> bool {
        !self.find(element).is_empty()
    }

    /// Where the item of that element is, if it is one.
    fn one(&self, element: &PathElement<'_>) -> Option<usize> {
        match self.find(element) {
            [one] => Some(*one),
            _ => None,
        }
    }
}

/// An item of the result: the places in the live list and in the configuration of what it is made of.
type Step = (Option<usize>, Option<usize>);

/// Upstream's order: items that both have are where the configuration wants them; what only the live list has
/// comes before the item that followed it.
fn plan(live: &Names<'_>, config: &Names<'_>) -> Vec<Step> {
    if live.order == config.order {
        return (0..live.order.len()).map(|at| (Some(at), Some(at))).collect();
    }
    let mut shared = config.order.iter().filter(|element| live.has(element));
    let mut next = shared.next();
    let mut merged = BTreeSet::new();
    let mut out = Vec::with_capacity(live.order.len() + config.order.len());
    let (mut l, mut r) = (0, 0);
    while l < live.order.len() || r < config.order.len() {
        if let (Some(left), Some(right)) = (live.order.get(l), config.order.get(r)) {
            if left == right {
                merged.insert(left);
                out.push((live.one(left), Some(r)));
                (l, r) = (l + 1, r + 1);
                next = shared.next();
                continue;
            }
            if config.has(left) && next.is_some_and(|next| next != left) {
                l += 1;
                continue;
            }
        }
        if let Some(left) = live.order.get(l) {
            if !config.has(left) {
                out.push((Some(l), None));
                l += 1;
                continue;
            }
            if merged.contains(left) {
                l += 1;
            }
        }
        if let Some(right) = config.order.get(r) {
            merged.insert(right);
            out.push((live.one(right), Some(r)));
            r += 1;
            if next == Some(right) {
                next = shared.next();
            }
        }
    }
    out
}

fn merge_items(list: &List<'_>, live: &mut Vec<Value>, config: &[Value]) -> Result<(), String> {
    let steps = plan(&Names::new(list, live, Of::Live)?, &Names::new(list, config, Of::Config)?);
    let mut had = std::mem::take(live);
    for (left, right) in steps {
        // no live item is in two steps
        let left = left.map(|at| had[at].take());
        live.push(match (left, right.map(|at| &config[at])) {
            (Some(mut left), Some(right)) => {
                merge_into(list.item, &mut left, right)?;
                left
            }
            (Some(left), None) => {
                check(list.item, &left, Of::Live)?;
                left
            }
            (None, Some(right)) => {
                check(list.item, right, Of::Config)?;
                right.clone()
            }
            (None, None) => continue,
        });
    }
    Ok(())
}
