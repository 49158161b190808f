//! `--set a.b[0]=x` and `--unset a.b`: changes of a configuration.
//!
//! A key is a path of names and `[index]`; a dot that belongs to a name is written `\.`. A value is JSON if it reads as
//! JSON (`3`, `true`, `["a"]`, `"3"`), else text; where the schema says that a field is text, it always is.

use serde_json::{Map, Value};

use crate::error::Error;

/// More would be a mistake, or worse.
const INDEX_MAX: usize = 1000;
/// A schema that leads deeper leads in a circle.
const DEPTH_MAX: usize = 64;

/// A step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Name(String),
    Index(usize),
}

/// The configuration with the changes made.
///
/// # Errors
/// A change that cannot be read, one whose path leads through something that is neither map nor list, or a field to be
/// taken away that neither the configuration nor the schema has.
pub(crate) fn change(
    configuration: &Map<String, Value>,
    set: &[String],
    unset: &[String],
    schema: &Value,
) -> Result<Map<String, Value>, Error> {
    let mut root = Value::Object(configuration.clone());
    for path in unset {
        let steps = parse(path)?;
        if !remove(&mut root, &steps) && !is_known(schema, &steps) {
            return Err(bad(path, "there is no such field".to_owned()));
        }
    }
    for change in set {
        let (key, text) = split(change)?;
        let path = parse(key)?;
        let value = value_of(text, &path, schema);
        insert(&mut root, &path, value).map_err(|problem| bad(key, problem))?;
    }
    match root {
        Value::Object(map) => Ok(map),
        _ => Err(bad("", "a configuration is a map".to_owned())),
    }
}

fn bad(field: &str, problem: String) -> Error {
    Error::Config { field: field.to_owned(), problem }
}

fn split(change: &str) -> Result<(&str, &str), Error> {
    change.split_once('=').ok_or_else(|| bad(change, "write it as KEY=VALUE".to_owned()))
}

fn parse(path: &str) -> Result<Vec<Step>, Error> {
    let refuse = |problem: &str| bad(path, problem.to_owned());
    let mut steps = Vec::new();
    let mut name = String::new();
    let mut characters = path.chars();
    let mut after_index = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => name.push(characters.next().ok_or_else(|| refuse("ends with a backslash"))?),
            '.' if name.is_empty() && !after_index => return Err(refuse("a name in the path is empty")),
            '.' => take(&mut name, &mut steps),
            '[' => {
                take(&mut name, &mut steps);
                let number: String = characters.by_ref().take_while(|c| *c != ']').collect();
                let index = number.parse().ok().filter(|index| *index < INDEX_MAX);
                steps.push(Step::Index(index.ok_or_else(|| refuse("an index is a number such as [0]"))?));
                after_index = true;
                continue;
            }
            _ if after_index => return Err(refuse("after an index comes a dot or another index")),
            other => name.push(other),
        }
        after_index = false;
    }
    take(&mut name, &mut steps);
    match steps.first() {
        Some(Step::Name(_)) if !path.ends_with('.') => Ok(steps),
        _ => Err(refuse("a path begins and ends with a name, such as a.b[0]")),
    }
}

fn take(name: &mut String, steps: &mut Vec<Step>) {
    if !name.is_empty() {
        steps.push(Step::Name(std::mem::take(name)));
    }
}

fn value_of(text: &str, path: &[Step], schema: &Value) -> Value {
    if is_text(schema_at(schema, path)) {
        return text.into();
    }
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Whether a schema allows text and nothing else that a word on the command line could mean.
fn is_text(schema: Option<&Value>) -> bool {
    let only = |kind: &Value| kind == "string" || kind == "null";
    match schema.and_then(|schema| schema.get("type")) {
        Some(Value::Array(kinds)) => kinds.contains(&"string".into()) && kinds.iter().all(only),
        Some(kind) => kind == "string",
        None => false,
    }
}

fn schema_at<'a>(root: &'a Value, path: &[Step]) -> Option<&'a Value> {
    let mut place = resolve(root, root)?;
    for step in path {
        let next = match step {
            Step::Name(name) => place["properties"].get(name).or_else(|| place.get("additionalProperties")),
            Step::Index(_) => place.get("items"),
        };
        place = resolve(root, next?)?;
    }
    Some(place)
}

/// Whether a schema has a field of that path, set or not.
fn is_known(root: &Value, path: &[Step]) -> bool {
    // one that says nothing at all knows of no field
    root.as_object().is_some_and(|schema| !schema.is_empty()) && has(root, root, path, DEPTH_MAX)
}

fn has(root: &Value, schema: &Value, path: &[Step], depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        let target = reference.strip_prefix('#').and_then(|pointer| root.pointer(pointer));
        return target.is_some_and(|target| has(root, target, path, depth));
    }
    let anything = *schema == true || schema.as_object().is_some_and(Map::is_empty);
    let Some((step, rest)) = path.split_first() else { return *schema != false };
    let below = match step {
        Step::Name(name) => schema["properties"].get(name).or_else(|| schema.get("additionalProperties")),
        Step::Index(_) => schema.get("items"),
    };
    let members =
        ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|kind| schema[kind].as_array()).flatten();
    anything
        || below.is_some_and(|below| has(root, below, rest, depth))
        || members.into_iter().any(|member| has(root, member, path, depth))
}

/// Follows `$ref` into the schema's own definitions, and `anyOf` to the one member that is not null.
pub(crate) fn resolve<'a>(root: &'a Value, schema: &'a Value) -> Option<&'a Value> {
    if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
        return root.pointer(reference.strip_prefix('#')?);
    }
    if let Some(members) = schema.get("anyOf").and_then(Value::as_array) {
        let mut real = members.iter().filter(|member| member["type"] != "null");
        return match (real.next(), real.next()) {
            (Some(one), None) => resolve(root, one),
            _ => Some(schema),
        };
    }
    Some(schema)
}

fn insert(place: &mut Value, path: &[Step], value: Value) -> Result<(), String> {
    let Some((step, rest)) = path.split_first() else {
        *place = value;
        return Ok(());
    };
    let inner = match (step, &mut *place) {
        (Step::Name(name), Value::Object(map)) => map.entry(name.clone()).or_insert(Value::Null),
        (Step::Index(index), Value::Array(list)) => {
            if list.len() <= *index {
                list.resize(index + 1, Value::Null);
            }
            &mut list[*index]
        }
        (_, Value::Null) => {
            *place = match step {
                Step::Name(_) => Value::Object(Map::new()),
                Step::Index(_) => Value::Array(Vec::new()),
            };
            return insert(place, path, value);
        }
        (Step::Name(name), other) => return Err(format!("{name}: there is {other}, not a map")),
        (Step::Index(index), other) => return Err(format!("[{index}]: there is {other}, not a list")),
    };
    insert(inner, rest, value)
}

/// Takes a value away, and the maps that are empty then. Whether it was there.
fn remove(place: &mut Value, path: &[Step]) -> bool {
    let Some((step, rest)) = path.split_first() else { return false };
    match (step, place) {
        (Step::Name(name), Value::Object(map)) if rest.is_empty() => map.shift_remove(name).is_some(),
        (Step::Index(index), Value::Array(list)) if rest.is_empty() => {
            let there = *index < list.len();
            if there {
                list.remove(*index);
            }
            there
        }
        (Step::Name(name), Value::Object(map)) => {
            let Some(inner) = map.get_mut(name) else { return false };
            let there = remove(inner, rest);
            if inner.as_object().is_some_and(Map::is_empty) {
                map.shift_remove(name);
            }
            there
        }
        (Step::Index(index), Value::Array(list)) => {
            list.get_mut(*index).is_some_and(|inner| remove(inner, rest))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn made(set: &[&str], unset: &[&str]) -> Result<Value, String> {
        let schema = json!({"properties": {"tag": {"type": "string"}, "maybe": {"type": ["string", "null"]},
            "free": {"additionalProperties": {"type": "string"}}, "closed": {"additionalProperties": false},
            "list": {"items": {"$ref": "#/$defs/Text"}}, "any": {"anyOf": [{"$ref": "#/$defs/Text"}, {"type": "null"}]}},
            "$defs": {"Text": {"type": "string"}}});
        let before = json!({"a": {"b": [1, 2]}, "kept": true});
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        change(before.as_object().unwrap(), &owned(set), &owned(unset), &schema)
            .map(Value::Object)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn values_are_set_where_the_path_leads() {
        let base = json!({"a": {"b": [1, 2]}, "kept": true});
        let with = |key: &str, value: Value| {
            let mut map = base.clone();
            map[key] = value;
            map
        };
        for (change, expected) in [
            ("x=1", with("x", json!(1))),
            ("x=true", with("x", json!(true))),
            ("x=word", with("x", json!("word"))),
            ("x=", with("x", json!(""))),
            ("x=a=b", with("x", json!("a=b"))),
            (r#"x="1""#, with("x", json!("1"))),
            (r#"x=["a",{"b":1}]"#, with("x", json!(["a", {"b": 1}]))),
            ("x.y.z=1", with("x", json!({"y": {"z": 1}}))),
            ("x[1].y=1", with("x", json!([null, {"y": 1}]))),
            ("x[0][0]=1", with("x", json!([[1]]))),
            (r"x\.y=1", with("x.y", json!(1))),
            ("a.b[0]=7", with("a", json!({"b": [7, 2]}))),
            ("tag=1.20", with("tag", json!("1.20"))),
            ("maybe=1", with("maybe", json!("1"))),
            ("list[0]=5", with("list", json!(["5"]))),
            ("any=5", with("any", json!("5"))),
        ] {
            assert_eq!(made(&[change], &[]), Ok(expected), "{change}");
        }
    }

    #[test]
    fn values_are_taken_away() {
        assert_eq!(made(&[], &["kept"]), Ok(json!({"a": {"b": [1, 2]}})));
        assert_eq!(made(&[], &["a.b[0]"]), Ok(json!({"a": {"b": [2]}, "kept": true})));
        assert_eq!(made(&[], &["a.b"]), Ok(json!({"kept": true})));
        // fields that there are, though nothing is set
        let unset = ["kept", "tag", "maybe", "list", "list[3]", "any", "free", "free.name"];
        assert_eq!(made(&["kept=1"], &unset), Ok(json!({"a": {"b": [1, 2]}, "kept": 1})));
        for nothing in ["nope", "nothing.at.all", "a.c", "a.b[2]", "tag.x", "free.name.x", "closed.x"] {
            let error = made(&[], &[nothing]).unwrap_err();
            assert!(error.contains(&format!("{nothing}: there is no such field")), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused_by_name() {
        for (change, words) in [
            ("x", "x: write it as KEY=VALUE"),
            ("=1", "begins and ends with a name"),
            ("x.=1", "begins and ends with a name"),
            ("x..y=1", "empty"),
            ("[0]=1", "begins and ends with a name"),
            ("x[a]=1", "an index is a number"),
            ("x[99999999]=1", "an index is a number"),
            ("x[0]y=1", "after an index"),
            ("a.b.c=1", "there is [1,2], not a map"),
            ("kept[0]=1", "there is true, not a list"),
        ] {
            let error = made(&[change], &[]).unwrap_err();
            assert!(error.contains(words), "{change}: {error}");
        }
    }
}
