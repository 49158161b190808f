//! Strategic merge patch: a merge patch that knows how lists are keyed, and obeys directives.
//!
//! - `$patch: replace | delete | merge` in a map or as an item of a keyed list,
//! - `$deleteFromPrimitiveList/x`, `$setElementOrder/x`, `$retainKeys`.
//!
//! Merge keys and strategies come from the field table through [`Node`]. Ported from
//! `apimachinery/pkg/util/strategicpatch/patch.go`, `mergeMap` and what it calls.

use serde_json::{Map, Value};

use super::order::{normalize, same};
use crate::strict::{Node, Shape};

const PATCH: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";
const SET_ORDER: &str = "$setElementOrder/";

/// Why a strategic merge patch cannot be applied.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[allow(missing_docs)] // the texts say it
pub enum Error {
    #[error("invalid patch format of primitive list")]
    PrimitiveList,
    #[error("invalid patch format of retainKeys")]
    RetainKeys,
    #[error("patch content doesn't match retainKeys list")]
    RetainKeysContent,
    #[error("invalid patch format of setElementOrder list")]
    SetElementOrder,
    #[error("The order in patch list:\n{0}\n doesn't match $setElementOrder list:\n{1}\n")]
    Order(Value, Value),
    #[error("unknown patch type: {0} in map: {1}")]
    PatchType(Value, Value),
    #[error("map: {0} does not contain declared merge key: {1}")]
    NoMergeKey(Value, String),
    #[error("cannot merge lists without merge key for {0}")]
    NoMergeKeyDeclared(String),
    #[error("lists of lists are not supported")]
    ListOfLists,
    #[error("list element types are not identical: {0}")]
    MixedList(Value),
}

/// Applies `patch` to `object` of the type `node`.
pub fn strategic<N: Node>(object: &mut Value, patch: Map<String, Value>, node: N) -> Result<(), Error> {
    let original = std::mem::take(crate::meta::as_map(object));
    *object = merge_map(original, patch, Some(node))?.into();
    Ok(())
}

fn child<N: Node>(node: Option<N>, key: &str) -> Option<N> {
    let node = node?;
    match node.shape() {
        Shape::Object => node.field(key),
        Shape::Map(item) => Some(item),
        _ => None,
    }
}

fn merge_map<N: Node>(
    mut original: Map<String, Value>,
    mut patch: Map<String, Value>,
    node: Option<N>,
) -> Result<Map<String, Value>, Error> {
    match patch.shift_remove(PATCH) {
        None => {}
        Some(directive) => match directive.as_str() {
            Some("replace") => return Ok(without_directives(patch)),
            Some("delete") => return Ok(Map::new()),
            Some("merge") => {}
            _ => return Err(Error::PatchType(directive, patch.into())),
        },
    }
    retain_keys(&mut original, &mut patch)?;
    set_element_order(&mut original, &mut patch, node)?;
    let (deletions, rest): (Vec<_>, Vec<_>) =
        patch.into_iter().partition(|(key, _)| key.starts_with(DELETE_FROM));
    for (key, values) in deletions {
        delete_from(&mut original, &key[DELETE_FROM.len()..], values)?;
    }
    for (key, value) in rest {
        merge_entry(&mut original, key, value, node)?;
    }
    Ok(original)
}

fn merge_entry<N: Node>(
    original: &mut Map<String, Value>,
    key: String,
    value: Value,
    node: Option<N>,
) -> Result<(), Error> {
    if value.is_null() {
        original.shift_remove(&key);
        return Ok(());
    }
    let Some(slot) = original.get_mut(&key) else {
        if let Some(value) = clean(value) {
            original.insert(key, value);
        }
        return Ok(());
    };
    let node = child(node, &key);
    let merge = node.map(Node::merge).unwrap_or_default();
    match (&mut *slot, value) {
        (Value::Object(before), Value::Object(patch)) => {
            let merged = if merge.replace {
                without_directives(patch)
            } else {
                merge_map(std::mem::take(before), patch, node)?
            };
            *slot = merged.into();
        }
        (Value::Array(before), Value::Array(patch)) => {
            *slot = merge_list(std::mem::take(before), patch, node)?.into();
        }
        (slot, value) => *slot = clean(value).unwrap_or_default(),
    }
    Ok(())
}

/// A value that has no counterpart in the object: nulls and directives mean nothing there.
fn clean(value: Value) -> Option<Value> {
    match value {
        Value::Object(map) if map.get(PATCH).and_then(Value::as_str) == Some("delete") => None,
        // an item that only says what to do with its list
        Value::Object(map) if map.len() == 1 && map.contains_key(PATCH) => None,
        Value::Object(map) => Some(without_directives(map).into()),
        Value::Array(list) => Some(list.into_iter().filter_map(clean).collect::<Vec<_>>().into()),
        other => Some(other),
    }
}

fn is_directive(key: &str) -> bool {
    key == PATCH || key == RETAIN_KEYS || key.starts_with(DELETE_FROM) || key.starts_with(SET_ORDER)
}

fn without_directives(map: Map<String, Value>) -> Map<String, Value> {
    map.into_iter()
        .filter(|(key, value)| !value.is_null() && !is_directive(key))
        .filter_map(|(key, value)| clean(value).map(|value| (key, value)))
        .collect()
}

fn retain_keys(original: &mut Map<String, Value>, patch: &mut Map<String, Value>) -> Result<(), Error> {
    let Some(keys) = patch.shift_remove(RETAIN_KEYS) else { return Ok(()) };
    let Value::Array(keys) = keys else { return Err(Error::RetainKeys) };
    let keys: Vec<&str> =
        keys.iter().map(|k| k.as_str().ok_or(Error::RetainKeys)).collect::<Result<_, _>>()?;
    let stray = |(key, value): (&String, &Value)| {
        !value.is_null() && !is_directive(key) && !keys.contains(&key.as_str())
    };
    if patch.iter().any(stray) {
        return Err(Error::RetainKeysContent);
    }
    original.retain(|key, _| keys.contains(&key.as_str()));
    Ok(())
}

fn delete_from(original: &mut Map<String, Value>, key: &str, values: Value) -> Result<(), Error> {
    let Value::Array(values) = values else { return Err(Error::PrimitiveList) };
    if values.iter().any(|v| v.is_object() || v.is_array()) {
        return Err(Error::PrimitiveList);
    }
    if let Some(Value::Array(list)) = original.get_mut(key) {
        list.retain(|item| !values.contains(item));
    }
    Ok(())
}

fn set_element_order<N: Node>(
    original: &mut Map<String, Value>,
    patch: &mut Map<String, Value>,
    node: Option<N>,
) -> Result<(), Error> {
    let keys: Vec<String> = patch.keys().filter(|k| k.starts_with(SET_ORDER)).cloned().collect();
    for directive in keys {
        let order = patch.shift_remove(&directive);
        let Some(Value::Array(order)) = order else { return Err(Error::SetElementOrder) };
        let key = &directive[SET_ORDER.len()..];
        // what is to be deleted from the list goes before its order is settled
        if let Some(values) = patch.shift_remove(&format!("{DELETE_FROM}{key}")) {
            delete_from(original, key, values)?;
        }
        let field = child(node, key);
        let before = list_of(original.shift_remove(key))?;
        let patched = list_of(patch.shift_remove(key))?;
        let merge_key = field.and_then(|f| f.merge().key);
        if let Some(patched) = &patched {
            check_order(patched, &order, merge_key)?;
        }
        let server = before.clone().unwrap_or_default();
        let merged = match (before, patched) {
            (None, None) => continue,
            (Some(before), None) => before,
            (None, Some(patched)) => patched.into_iter().filter_map(clean).collect(),
            (Some(before), Some(patched)) => merge_list(before, patched, field)?,
        };
        original.insert(key.to_owned(), normalize(merged, &order, &server, merge_key).into());
    }
    Ok(())
}

fn list_of(value: Option<Value>) -> Result<Option<Vec<Value>>, Error> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(list)) => Ok(Some(list)),
        Some(_) => Err(Error::SetElementOrder),
    }
}

/// The patch's items, but for deletions, must come in the order that `$setElementOrder` states.
fn check_order(patch: &[Value], order: &[Value], key: Option<&str>) -> Result<(), Error> {
    let mut wanted = order.iter();
    let in_order = patch
        .iter()
        .filter(|item| item.get(PATCH).is_none())
        .all(|item| wanted.any(|other| same(item, other, key)));
    if in_order { Ok(()) } else { Err(Error::Order(patch.to_vec().into(), order.to_vec().into())) }
}

fn merge_list<N: Node>(
    original: Vec<Value>,
    patch: Vec<Value>,
    node: Option<N>,
) -> Result<Vec<Value>, Error> {
    let merge = node.map(Node::merge).unwrap_or_default();
    if !merge.merge {
        return Ok(patch.into_iter().filter_map(clean).collect());
    }
    let maps = patch.iter().chain(&original).filter(|item| item.is_object()).count();
    if patch.iter().chain(&original).any(Value::is_array) {
        return Err(Error::ListOfLists);
    }
    if maps == 0 {
        return Ok(merge_scalars(original, patch));
    }
    if maps != patch.len() + original.len() {
        return Err(Error::MixedList(patch.into()));
    }
    let item = match node.map(Node::shape) {
        Some(Shape::List(item)) => Some(item),
        _ => None,
    };
    let Some(key) = merge.key else {
        return Err(Error::NoMergeKeyDeclared(item.map_or("", Node::name).to_owned()));
    };
    merge_keyed(original, patch, key, item)
}

fn merge_scalars(original: Vec<Value>, patch: Vec<Value>) -> Vec<Value> {
    let mut merged: Vec<Value> = Vec::with_capacity(original.len() + patch.len());
    for item in original.iter().chain(&patch) {
        if !merged.contains(item) {
            merged.push(item.clone());
        }
    }
    normalize(merged, &patch, &original, None)
}

fn merge_keyed<N: Node>(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    key: &str,
    node: Option<N>,
) -> Result<Vec<Value>, Error> {
    let (items, replace) = special_items(&mut original, patch, key)?;
    if replace {
        return Ok(items.into_iter().filter_map(clean).collect());
    }
    let server = original.clone();
    let mut merged = original;
    for item in &items {
        if item.get(key).is_none() {
            return Err(Error::NoMergeKey(item.clone(), key.to_owned()));
        }
        match merged.iter_mut().find(|other| same(item, other, Some(key))) {
            Some(slot) => strategic_item(slot, item, node)?,
            None => merged.extend(clean(item.clone())),
        }
    }
    Ok(normalize(merged, &items, &server, Some(key)))
}

fn strategic_item<N: Node>(slot: &mut Value, item: &Value, node: Option<N>) -> Result<(), Error> {
    let before = std::mem::take(crate::meta::as_map(slot));
    let patch = item.as_object().cloned().unwrap_or_default();
    *slot = merge_map(before, patch, node)?.into();
    Ok(())
}

/// Carries out the items that are directives; gives the others, and whether they replace the list.
fn special_items(
    original: &mut Vec<Value>,
    patch: Vec<Value>,
    key: &str,
) -> Result<(Vec<Value>, bool), Error> {
    let (mut items, mut replace) = (Vec::new(), false);
    for item in patch {
        match item.get(PATCH).map(|d| d.as_str().unwrap_or_default()) {
            None => items.push(item),
            Some("merge") => items.push(item),
            Some("delete") if item.get(key).is_some() => {
                original.retain(|other| !same(&item, other, Some(key)));
            }
            Some("delete") => return Err(Error::NoMergeKey(item, key.to_owned())),
            // alone it is a marker for the whole list; with the key it replaces one item
            Some("replace") if item.get(key).is_some() => items.push(item),
            Some("replace") => replace = true,
            Some(_) => return Err(Error::PatchType(item[PATCH].clone(), item)),
        }
    }
    Ok((items, replace))
}
