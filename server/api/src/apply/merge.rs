//! An applied configuration on top of the live object: leaves are the configuration's, the rest stays.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::element::PathElement;
use super::items::element;
use super::shape::{Is, List, Map, Relation, Shape};

/// `live` with `config` on top. Nothing is removed by it. Lists keep the live order, or take the
/// configuration's where it says otherwise.
pub fn merge(shape: Shape<'_>, live: &Value, config: &Value) -> Result<Value, String> {
    Ok(place(shape, Some(live), Some(config))?.unwrap_or(Value::Null))
}

type Side<'v> = Option<&'v Value>;

fn place(shape: Shape<'_>, live: Side<'_>, config: Side<'_>) -> Result<Option<Value>, String> {
    let atom = shape.atom();
    let is = if config.is_some() { atom.of(config) } else { atom.of(live) };
    match is {
        Some(Is::Scalar(_)) => Ok(kept(live, config)),
        Some(Is::List(list)) => {
            let (left, right) = (live.and_then(Value::as_array), config.and_then(Value::as_array));
            let empty = left.is_none_or(Vec::is_empty) && right.is_none_or(Vec::is_empty);
            if empty || matches!(list.relation, Relation::Atomic) {
                return Ok(kept(live, config));
            }
            items(&list, left.map_or(&[][..], |l| l), right.map_or(&[][..], |r| r))
        }
        Some(Is::Map(map)) => {
            let (left, right) = (live.and_then(Value::as_object), config.and_then(Value::as_object));
            let empty = |side: Option<&serde_json::Map<String, Value>>| side.is_none_or(|map| map.is_empty());
            if map.atomic || empty(left) && empty(right) {
                return Ok(kept(live, config));
            }
            fields(shape, &map, left, right)
        }
        None => Err("schema error: invalid atom: inlined".to_owned()),
    }
}

fn kept(live: Side<'_>, config: Side<'_>) -> Option<Value> {
    config.or(live).cloned()
}

fn fields(
    shape: Shape<'_>,
    map: &Map<'_>,
    live: Option<&serde_json::Map<String, Value>>,
    config: Option<&serde_json::Map<String, Value>>,
) -> Result<Option<Value>, String> {
    let mut out = serde_json::Map::new();
    let shared = live
        .into_iter()
        .flatten()
        .map(|(name, value)| (name, Some(value), config.and_then(|config| config.get(name))));
    let fresh = config.into_iter().flatten().filter_map(|(name, value)| {
        live.is_none_or(|live| !live.contains_key(name)).then_some((name, None, Some(value)))
    });
    for (name, live, config) in shared.chain(fresh) {
        // what the schema has lost meanwhile stays as it is
        let merged = match shape.under(name, map) {
            Some(field) => place(field, live, config)?,
            None => kept(live, config),
        };
        if let Some(value) = merged {
            out.insert(name.clone(), value);
        }
    }
    Ok((!out.is_empty()).then_some(out.into()))
}

/// The items of one side in order, and each by its element; `None` where one stands for several.
struct Side2<'v> {
    order: Vec<PathElement>,
    items: &'v [Value],
    by: BTreeMap<PathElement, Option<&'v Value>>,
}

impl<'v> Side2<'v> {
    fn new(list: &List<'_>, items: &'v [Value], several: bool) -> Result<Self, String> {
        let mut side = Self { order: Vec::with_capacity(items.len()), items, by: BTreeMap::new() };
        for (index, item) in items.iter().enumerate() {
            let element = element(list, item).map_err(|why| format!("element {index}: {why}"))?;
            if side.by.insert(element.clone(), Some(item)).is_some() {
                if !several {
                    return Err(format!("duplicate entries for key {element}"));
                }
                side.by.insert(element.clone(), None);
            }
            side.order.push(element);
        }
        Ok(side)
    }

    fn get(&self, element: &PathElement) -> Side<'v> {
        self.by.get(element).copied().flatten()
    }
}

/// Upstream's order: items that both have are where the configuration wants them; what only the live list has
/// comes before the item that followed it.
fn items(list: &List<'_>, live: &[Value], config: &[Value]) -> Result<Option<Value>, String> {
    let (live, config) = (Side2::new(list, live, true)?, Side2::new(list, config, false)?);
    let mut shared = config.order.iter().filter(|element| live.by.contains_key(*element));
    let mut next = shared.next();
    let mut merged = BTreeSet::new();
    let mut out = Vec::new();
    let mut take = |left: Side<'_>, right: Side<'_>| -> Result<(), String> {
        out.extend(place(list.item, left, right)?);
        Ok(())
    };
    let (mut l, mut r) = (0, 0);
    while l < live.order.len() || r < config.order.len() {
        if let (Some(left), Some(right)) = (live.order.get(l), config.order.get(r)) {
            if left == right {
                merged.insert(left);
                take(live.get(left), config.get(left))?;
                (l, r) = (l + 1, r + 1);
                next = shared.next();
                continue;
            }
            if config.by.contains_key(left) && next.is_some_and(|next| next != left) {
                l += 1;
                continue;
            }
        }
        if let Some(left) = live.order.get(l) {
            if !config.by.contains_key(left) {
                take(live.items.get(l), None)?;
                l += 1;
                continue;
            }
            if merged.contains(left) {
                l += 1;
            }
        }
        if let Some(right) = config.order.get(r) {
            merged.insert(right);
            take(live.get(right), config.get(right))?;
            r += 1;
            if next == Some(right) {
                next = shared.next();
            }
        }
    }
    Ok((!out.is_empty()).then_some(Value::Array(out)))
}
