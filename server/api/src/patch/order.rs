//! The order of a merged list: items of the patch in the patch's order, items that only the server has where
//! they were relative to those.

use serde_json::Value;

/// Whether two items are the same: by merge key, or as a whole.
pub(super) fn same(a: &Value, b: &Value, key: Option<&str>) -> bool {
    match key {
        None => a == b,
        Some(key) => match (a.get(key), b.get(key)) {
            (Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

fn index(list: &[Value], item: &Value, key: Option<&str>) -> Option<usize> {
    list.iter().position(|other| same(item, other, key))
}

/// `merged` in order: `wanted` says it for the items it names, `server` for the others.
pub(super) fn normalize(
    merged: Vec<Value>,
    wanted: &[Value],
    server: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let (mut patch, mut server_only): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| index(wanted, item, key).is_some());
    patch.sort_by_key(|item| index(wanted, item, key));
    server_only.sort_by_key(|item| index(server, item, key).map_or((1, 0), |at| (0, at)));
    merge_sorted(server_only, patch, server, key)
}

fn merge_sorted(left: Vec<Value>, right: Vec<Value>, server: &[Value], key: Option<&str>) -> Vec<Value> {
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(l), Some(r)) = (left.peek(), right.peek()) {
        let first = match (index(server, l, key), index(server, r, key)) {
            (Some(l), Some(r)) if l < r => left.next(),
            _ => right.next(),
        };
        out.extend(first);
    }
    out.extend(left);
    out.extend(right);
    out
}
