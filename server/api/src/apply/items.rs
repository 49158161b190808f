//! How an item of a list is told from the others: the path element that stands for it.

use serde_json::Value;

use super::element::{Held, PathElement};
use super::shape::{Keys, List, Relation};
use crate::go::Quote as _;

/// The element of an item of a set or of a list with keys; `None` for atomic lists, which are not walked.
pub(super) fn element<'v>(list: &List<'v>, item: &'v Value) -> Result<PathElement<'v>, String> {
    match list.relation {
        Relation::Map(keys) => keyed(list, keys, item),
        Relation::Set => valued(item),
        Relation::Atomic => Err("an atomic list's items have no names".to_owned()),
    }
}

fn keyed<'v>(list: &List<'v>, keys: Keys<'v>, item: &'v Value) -> Result<PathElement<'v>, String> {
    let fields = match item {
        Value::Object(fields) => fields,
        Value::Null => return Err("associative list with keys may not have a null element".to_owned()),
        _ => return Err("associative list with keys may not have non-map elements".to_owned()),
    };
    let mut found = Vec::with_capacity(keys.count());
    for name in keys.names() {
        let given = fields.get(name).map(Held::Borrowed);
        let value = given.or_else(|| Some(list.item.field(name)?.default()?.into())).ok_or_else(|| {
            format!(
                "associative list with keys has an element that omits key field {} (and doesn't have default value)",
                name.quoted()
            )
        })?;
        found.push((name.into(), value));
    }
    Ok(PathElement::key(found))
}

fn valued(item: &Value) -> Result<PathElement<'_>, String> {
    let wrong = match item {
        Value::Object(_) => "associative list without keys has an element that's a map type",
        Value::Array(_) => "not supported: associative list with lists as elements",
        Value::Null => "associative list without keys has an element that's an explicit null",
        scalar => return Ok(PathElement::Value(Held::Borrowed(scalar))),
    };
    Err(wrong.to_owned())
}
