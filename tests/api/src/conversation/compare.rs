//! What differs between an answer and what is written, a line for each place.

use std::collections::BTreeSet;

use anyhow::Result;
use serde_json::{Map, Value};

use super::template::{self, Bound, OTHERS, has_places};

/// Compares; what names of `wanted` stand for is bound.
pub(super) fn values(wanted: &Value, got: &Value, bound: &mut Bound) -> Result<Vec<String>> {
    let mut differences = Vec::new();
    value("", wanted, got, bound, &mut differences)?;
    Ok(differences)
}

fn value(path: &str, wanted: &Value, got: &Value, bound: &mut Bound, out: &mut Vec<String>) -> Result<()> {
    let same = match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => return object(path, wanted, got, bound, out),
        (Value::Array(wanted), Value::Array(got)) if wanted.iter().any(|one| one == OTHERS) => {
            return sparse(path, wanted, got, bound, out);
        }
        (Value::Array(wanted), Value::Array(got)) => {
            for at in 0..wanted.len().max(got.len()) {
                let path = format!("{path}[{at}]");
                match (wanted.get(at), got.get(at)) {
                    (Some(wanted), Some(got)) => value(&path, wanted, got, bound, out)?,
                    (Some(wanted), None) => out.push(format!("{path}: missing: {wanted}")),
                    (None, Some(got)) => out.push(format!("{path}: not wanted: {got}")),
                    (None, None) => {}
                }
            }
            return Ok(());
        }
        (Value::String(wanted), Value::String(got)) => template::matches(wanted, got, bound)?,
        (Value::String(wanted), Value::Number(got)) if wanted.starts_with("{{number") => {
            template::matches(wanted, &got.to_string(), bound)?
        }
        _ => wanted == got,
    };
    if !same {
        let meant =
            wanted.as_str().filter(|text| has_places(text)).and_then(|text| template::fill(text, bound).ok());
        let meant = meant.map(|text| format!(" ({text:?})")).unwrap_or_default();
        out.push(format!("{}: wanted {wanted}{meant}, got {got}", if path.is_empty() { "." } else { path }));
    }
    Ok(())
}

fn object(
    path: &str,
    wanted: &Map<String, Value>,
    got: &Map<String, Value>,
    bound: &mut Bound,
    out: &mut Vec<String>,
) -> Result<()> {
    let mut seen = BTreeSet::new();
    for (key, wanted) in wanted.iter().filter(|(key, _)| *key != OTHERS) {
        let name = if has_places(key) { template::fill(key, bound)? } else { key.clone() };
        let path = format!("{path}.{name}");
        match got.get(&name) {
            Some(got) => value(&path, wanted, got, bound, out)?,
            None => out.push(format!("{path}: missing: {wanted}")),
        }
        seen.insert(name);
    }
    if !wanted.contains_key(OTHERS) {
        let more = got.iter().filter(|(key, _)| !seen.contains(*key));
        out.extend(more.map(|(key, got)| format!("{path}.{key}: not wanted: {got}")));
    }
    Ok(())
}

/// A list of which only some elements are written, in their order.
fn sparse(
    path: &str,
    wanted: &[Value],
    got: &[Value],
    bound: &mut Bound,
    out: &mut Vec<String>,
) -> Result<()> {
    let mut rest = got;
    let mut open = false;
    for wanted in wanted {
        if wanted == OTHERS {
            open = true;
            continue;
        }
        let mut found = None;
        for (at, got) in rest.iter().enumerate().take(if open { rest.len() } else { 1 }) {
            let mut tried = bound.clone();
            if values(wanted, got, &mut tried)?.is_empty() {
                *bound = tried;
                found = Some(at);
                break;
            }
        }
        match found {
            Some(at) => rest = &rest[at + 1..],
            None => out.push(format!("{path}: missing: {wanted}")),
        }
        open = false;
    }
    if !open && !rest.is_empty() {
        out.push(format!("{path}: {} more than wanted", rest.len()));
    }
    Ok(())
}
