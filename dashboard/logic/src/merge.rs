//! Two changes of one object brought together: what somebody wrote, and what others did meanwhile. A field that both changed
//! is nobody's to decide here.

use serde_json::{Map, Value};

/// What the API server alone writes.
const SERVERS: [&str; 5] = ["resourceVersion", "generation", "managedFields", "uid", "creationTimestamp"];

/// `theirs` with what `mine` changed since `base`.
///
/// # Errors
/// The paths (`spec.replicas`) that both changed, each to something else.
pub fn merge(base: &Value, mine: &Value, theirs: &Value) -> Result<Value, Vec<String>> {
    let plain = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            SERVERS.iter().for_each(|name| drop(metadata.remove(*name)));
        }
        object
    };
    let mut clashes = Vec::new();
    let merged = field(Some(&plain(base)), Some(&plain(mine)), Some(&plain(theirs)), "", &mut clashes);
    if !clashes.is_empty() {
        return Err(clashes);
    }
    let mut merged = merged.unwrap_or_default();
    if let (Some(into), Some(from)) = (
        merged.get_mut("metadata").and_then(Value::as_object_mut),
        theirs.get("metadata").and_then(Value::as_object),
    ) {
        let own =
            from.iter().filter(|(name, _)| SERVERS.contains(&name.as_str()) && *name != "managedFields");
        into.extend(own.map(|(name, value)| (name.clone(), value.clone())));
    }
    Ok(merged)
}

type Known<'a> = Option<&'a Value>;

/// What becomes of one field; none if it goes.
fn field(base: Known, mine: Known, theirs: Known, path: &str, clashes: &mut Vec<String>) -> Option<Value> {
    if mine == theirs || mine == base {
        return theirs.cloned();
    }
    if theirs == base {
        return mine.cloned();
    }
    match (base, mine, theirs) {
        // both may have begun the same map
        (None | Some(Value::Object(_)), Some(Value::Object(mine)), Some(Value::Object(theirs))) => {
            let added = mine.keys().filter(|name| !theirs.contains_key(*name));
            let mut merged = Map::new();
            for name in theirs.keys().chain(added) {
                let dot = if path.is_empty() { "" } else { "." };
                let below = format!("{path}{dot}{name}");
                let base = base.and_then(|base| base.get(name));
                if let Some(value) = field(base, mine.get(name), theirs.get(name), &below, clashes) {
                    merged.insert(name.clone(), value);
                }
            }
            Some(Value::Object(merged))
        }
        (Some(Value::Array(base)), Some(Value::Array(mine)), Some(Value::Array(theirs)))
            if alike(base, mine) && alike(base, theirs) =>
        {
            let mut merged = Vec::new();
            for (at, base) in base.iter().enumerate() {
                let below = format!("{path}[{at}]");
                merged.extend(field(Some(base), mine.get(at), theirs.get(at), &below, clashes));
            }
            Some(Value::Array(merged))
        }
        _ => {
            clashes.push(path.to_owned());
            None
        }
    }
}

/// Lists are one field each, but for those of the same named things, each once, in the same order: containers, volumes,
/// conditions.
fn alike(one: &[Value], other: &[Value]) -> bool {
    let key = if one.first().is_some_and(|first| first["name"].is_string()) { "name" } else { "type" };
    let once = |at: usize| !one[..at].iter().any(|before| before[key] == one[at][key]);
    one.len() == other.len()
        && one.iter().zip(other).all(|(a, b)| a[key].is_string() && a[key] == b[key])
        && (0..one.len()).all(once)
}

/// A text of an object with another `metadata.resourceVersion`; none if it has none.
pub fn at_version(text: &str, version: &str) -> Option<String> {
    let mut within = false;
    let mut deep = None;
    let mut found = false;
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let bare = line.trim_start();
        let indent = line.len() - bare.len();
        if indent == 0 && !bare.is_empty() && !bare.starts_with('#') {
            within = line.trim_end() == "metadata:";
        }
        let first = within && indent > 0 && !bare.starts_with('#');
        if first && *deep.get_or_insert(indent) == indent && bare.starts_with("resourceVersion:") {
            found = true;
            out.push_str(&line[..indent]);
            out.push_str(&format!("resourceVersion: {}", Value::String(version.to_owned())));
        } else {
            out.push_str(line);
        }
        out.push('\n');
    }
    found.then_some(out)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn changes_of_different_fields_come_together() {
        for (base, mine, theirs, wanted) in [
            (
                json!({"a": 1, "b": 1}),
                json!({"a": 2, "b": 1}),
                json!({"a": 1, "b": 3}),
                json!({"a": 2, "b": 3}),
            ),
            // the same of both
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 2}), json!({"a": 2})),
            // taken away, put in
            (json!({"a": 1, "b": 1}), json!({"b": 1}), json!({"a": 1, "b": 2}), json!({"b": 2})),
            (json!({}), json!({"l": {"x": 1}}), json!({"l": {"y": 2}}), json!({"l": {"x": 1, "y": 2}})),
            // named things
            (
                json!({"c": [{"name": "n", "i": 1, "e": 1}]}),
                json!({"c": [{"name": "n", "i": 2, "e": 1}]}),
                json!({"c": [{"name": "n", "i": 1, "e": 3}]}),
                json!({"c": [{"name": "n", "i": 2, "e": 3}]}),
            ),
            (json!({"l": [1]}), json!({"l": [1]}), json!({"l": [1, 2]}), json!({"l": [1, 2]})),
        ] {
            assert_eq!(merge(&base, &mine, &theirs), Ok(wanted), "{mine} {theirs}");
        }
    }

    #[test]
    fn a_field_that_both_changed_is_named_and_nothing_merged() {
        for (base, mine, theirs, path) in [
            (json!({"s": {"a": 1}}), json!({"s": {"a": 2}}), json!({"s": {"a": 3}}), "s.a"),
            (json!({"a": 1}), json!({}), json!({"a": 3}), "a"),
            (json!({"a": 1}), json!({"a": 2}), json!({}), "a"),
            (json!({}), json!({"a": 2}), json!({"a": 3}), "a"),
            (json!({"l": [1]}), json!({"l": [1, 2]}), json!({"l": [1, 3]}), "l"),
            (
                json!({"c": [{"name": "n"}]}),
                json!({"c": [{"name": "n"}, {"name": "o"}]}),
                json!({"c": [{"name": "p"}]}),
                "c",
            ),
            (
                json!({"c": [{"name": "n", "i": 1}]}),
                json!({"c": [{"name": "n", "i": 2}]}),
                json!({"c": [{"name": "n", "i": 3}]}),
                "c[0].i",
            ),
            // one name twice tells nothing apart
            (
                json!({"m": [{"name": "v", "p": "a"}, {"name": "v", "p": "b"}]}),
                json!({"m": [{"name": "v", "p": "b"}, {"name": "v", "p": "c"}]}),
                json!({"m": [{"name": "v", "p": "a", "r": true}, {"name": "v", "p": "b"}]}),
                "m",
            ),
        ] {
            assert_eq!(merge(&base, &mine, &theirs), Err(vec![path.to_owned()]), "{mine} {theirs}");
        }
    }

    #[test]
    fn what_the_server_writes_is_as_it_has_it() {
        let object = |version: &str, generation: u64, label: &str, status: u64| {
            json!({"metadata": {"resourceVersion": version, "generation": generation, "managedFields": [status],
                "labels": {"l": label}}, "status": {"n": status}})
        };
        let merged = merge(&object("1", 1, "a", 1), &object("2", 2, "b", 2), &object("2", 1, "a", 2));
        let wanted = json!({"metadata": {"resourceVersion": "2", "generation": 1, "labels": {"l": "b"}}, "status": {"n": 2}});
        assert_eq!(merged, Ok(wanted));
    }

    #[test]
    fn the_version_of_the_object_alone_is_changed() {
        let text = "kind: A\nmetadata:\n  annotations:\n    resourceVersion: x\n  name: n\n  resourceVersion: \"1\"\nspec:\n  resourceVersion: y\n";
        assert_eq!(at_version(text, "7").as_deref(), Some(text.replace("\"1\"", "\"7\"").as_str()));
        assert_eq!(at_version("metadata:\n  name: a\n", "7"), None);
    }
}
