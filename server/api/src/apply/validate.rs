//! A value against its shape, in structured-merge-diff's words: `.spec.x: field not declared in schema`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::element::{PathElement, shown_path};
use super::items::element;
use super::shape::{Is, List, Map, Relation, Scalar, Shape};
use super::value::{plain, source, type_name};

/// What is wrong, and where.
struct Wrong {
    path: String,
    why: String,
}

impl std::fmt::Display for Wrong {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.why),
            false => write!(f, "{}: {}", self.path, self.why),
        }
    }
}

/// Checks that `value` fits. Unlike a body's decoding this knows nothing of formats, and null fits anywhere.
pub fn validate(shape: Shape<'_>, value: &Value) -> Result<(), String> {
    let mut wrong = Vec::new();
    walk(shape, value, &mut Vec::new(), &mut wrong);
    match wrong.as_slice() {
        [] => Ok(()),
        [one] => Err(one.to_string()),
        many => {
            let lines: Vec<String> = many.iter().map(|one| format!("  {one}")).collect();
            Err(format!("errors:\n{}", lines.join("\n")))
        }
    }
}

type Path<'v> = Vec<PathElement<'v>>;

fn add(wrong: &mut Vec<Wrong>, path: &Path<'_>, why: String) {
    wrong.push(Wrong { path: shown_path(path), why });
}

fn walk<'v>(shape: Shape<'v>, value: &'v Value, path: &mut Path<'v>, wrong: &mut Vec<Wrong>) {
    if value.is_null() {
        return;
    }
    match (shape.is(Some(value)), value) {
        (Some(Is::Scalar(scalar)), _) => {
            wrong.extend(unfit(scalar, value).map(|why| Wrong { path: shown_path(path), why }))
        }
        (Some(Is::List(list)), Value::Array(items)) => walk_items(&list, items, path, wrong),
        (Some(Is::List(_)), _) => add(wrong, path, format!("expected list, got &{{{}}}", plain(value))),
        (Some(Is::Map(map)), Value::Object(fields)) => walk_fields(shape, &map, fields, path, wrong),
        (Some(Is::Map(_)), _) => add(wrong, path, format!("expected map, got &{{{}}}", plain(value))),
        (None, _) => add(wrong, path, "schema error: invalid atom: inlined".to_owned()),
    }
}

fn unfit(scalar: Scalar, value: &Value) -> Option<String> {
    let scalar_value = !matches!(value, Value::Array(_) | Value::Object(_));
    match scalar {
        Scalar::Numeric if !value.is_number() => {
            Some(format!("expected numeric (int or float), got {}", type_name(value)))
        }
        Scalar::Text if !value.is_string() => {
            Some(format!("expected string, got &value.valueUnstructured{{Value:{}}}", source(value)))
        }
        Scalar::Boolean if !value.is_boolean() => {
            Some(format!("expected boolean, got &{{{}}}", plain(value)))
        }
        Scalar::Untyped if !scalar_value => Some(format!("expected any scalar, got &{{{}}}", plain(value))),
        _ => None,
    }
}

fn below<'v>(
    shape: Shape<'v>,
    value: &'v Value,
    step: PathElement<'v>,
    path: &mut Path<'v>,
    wrong: &mut Vec<Wrong>,
) -> Option<PathElement<'v>> {
    path.push(step);
    walk(shape, value, path, wrong);
    path.pop()
}

fn walk_items<'v>(list: &List<'v>, items: &'v [Value], path: &mut Path<'v>, wrong: &mut Vec<Wrong>) {
    let mut seen = BTreeSet::new();
    for (index, item) in items.iter().enumerate() {
        if matches!(list.relation, Relation::Atomic) {
            below(list.item, item, PathElement::Index(index as i64), path, wrong);
            continue;
        }
        let step = match element(list, item) {
            Ok(step) => step,
            Err(why) => return add(wrong, path, format!("element {index}: {why}")),
        };
        if seen.contains(&step) {
            add(wrong, path, format!("duplicate entries for key {step}"));
        }
        seen.extend(below(list.item, item, step, path, wrong));
    }
}

fn walk_fields<'v>(
    shape: Shape<'v>,
    map: &Map<'v>,
    fields: &'v serde_json::Map<String, Value>,
    path: &mut Path<'v>,
    wrong: &mut Vec<Wrong>,
) {
    for (name, value) in fields {
        let step = PathElement::Field(name);
        match shape.under(name, map) {
            Some(field) => drop(below(field, value, step, path, wrong)),
            // upstream, too, says so of one field of an object only
            None => {
                path.push(step);
                add(wrong, path, "field not declared in schema".to_owned());
                path.pop();
                return;
            }
        }
    }
}
