//! Covers over a Secret's values, in the YAML that is read and edited. A covered value comes back from the object when the
//! text is sent; nobody has to see a value to change a label.

use serde_json::{Map, Value};

use crate::yaml;

/// What is seen in place of a value.
pub const COVER: &str = "••••••••";
/// What is seen in place of a value that is another than before.
const OTHER: &str = "•••••••• ≠";
/// What `kubectl apply` sent last: a copy of the object, Secrets' values included.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

const PLACES: [&str; 2] = ["data", "stringData"];

fn values<'a>(object: &'a mut Value) -> impl Iterator<Item = (String, &'a mut Value)> {
    let Some(fields) = object.as_object_mut() else { return Vec::new().into_iter() };
    let mut found = Vec::new();
    for (place, value) in fields.iter_mut() {
        let map = match place.as_str() {
            place if PLACES.contains(&place) => value.as_object_mut(),
            "metadata" => value.get_mut("annotations").and_then(Value::as_object_mut),
            _ => None,
        };
        let all = |(name, value): (&'a String, &'a mut Value)| {
            (PLACES.contains(&place.as_str()) || name == LAST_APPLIED)
                .then(|| (format!("{place}/{name}"), value))
        };
        found.extend(map.into_iter().flat_map(Map::iter_mut).filter_map(all));
    }
    found.into_iter()
}

/// A Secret whose values are covered, wherever they stand in it.
pub fn covered(object: &Value) -> Value {
    let mut object = object.clone();
    values(&mut object).for_each(|(_, value)| *value = COVER.into());
    object
}

/// The same, with a mark on values that are others than in `before`.
pub fn covered_beside(object: &Value, before: &Value) -> Value {
    let (mut object, mut before) = (object.clone(), before.clone());
    let old: Vec<(String, Value)> =
        values(&mut before).map(|(place, value)| (place, value.clone())).collect();
    for (place, value) in values(&mut object) {
        let same = old.iter().any(|(own, old)| *own == place && old == value);
        *value = if same { COVER.into() } else { OTHER.into() };
    }
    object
}

/// The text with the object's values in place of their covers.
///
/// # Errors
/// The number of the first line (from 1) whose cover belongs to no value of the object.
pub fn uncovered(text: &str, object: &Value) -> Result<String, usize> {
    let mut object = object.clone();
    let known: Vec<(String, Value)> =
        values(&mut object).map(|(place, value)| (place, value.clone())).collect();
    let mut place = String::new();
    let mut out = String::with_capacity(text.len());
    for (at, line) in text.lines().enumerate() {
        if let Some(name) = line.strip_suffix(':').filter(|name| !name.starts_with([' ', '#'])) {
            place = unquoted(name);
        }
        match line.split_once(COVER) {
            None => out.push_str(line),
            Some((lead, "" | "\"")) => {
                let (indent, name) = key(lead).ok_or(at + 1)?;
                let (_, value) =
                    known.iter().find(|(own, _)| *own == format!("{place}/{name}")).ok_or(at + 1)?;
                // a text quoted as JSON is the same text in YAML
                out.push_str(&format!("{indent}{}: {value}", Value::String(name)));
            }
            Some(_) => return Err(at + 1),
        }
        out.push('\n');
    }
    Ok(out)
}

/// `  name: "` as indentation and name.
fn key(lead: &str) -> Option<(&str, String)> {
    let name = lead.trim_end_matches('"').trim_end().strip_suffix(':')?;
    let bare = name.trim_start();
    Some((&name[..name.len() - bare.len()], unquoted(bare)))
}

fn unquoted(name: &str) -> String {
    serde_json::from_str(name).unwrap_or_else(|_| name.to_owned())
}

/// As it is shown: covered, or as it is.
pub fn shown(object: &Value, cover: bool) -> String {
    let object = yaml::clean(object);
    yaml::print(&if cover { covered(&object) } else { object })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secret() -> Value {
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x", "annotations":
            {LAST_APPLIED: "{\"data\":{\"a\":\"c2VjcmV0\"}}\n", "note": "1"}}, "data": {"a": "c2VjcmV0", "b.c": "", "yes": "eA=="},
            "stringData": {"c": "line\nsecret"}})
    }

    #[test]
    fn a_covered_secret_shows_nothing() {
        let text = shown(&secret(), true);
        assert!(!text.contains("secret") && !text.contains("c2VjcmV0"), "{text}");
        assert!(text.contains("a: ") && text.contains("note: "), "{text}");
    }

    #[test]
    fn what_was_covered_comes_back() {
        let text =
            uncovered(&shown(&secret(), true).replace("name: x", "name: y"), &secret()).unwrap_or_default();
        for line in [
            "name: y",
            "\"a\": \"c2VjcmV0\"",
            "\"b.c\": \"\"",
            "\"yes\": \"eA==\"",
            "\"c\": \"line\\nsecret\"",
            "\\\"c2VjcmV0\\\"",
        ] {
            assert!(text.contains(line), "{line}: {text}");
        }
        assert!(!text.contains('•'), "{text}");
    }

    #[test]
    fn a_cover_of_nothing_is_told() {
        for (from, to) in [("  a: ", "  renamed: "), ("data:\n", "other:\n"), ("••••••••", "x••••••••y")]
        {
            assert!(uncovered(&shown(&secret(), true).replacen(from, to, 1), &secret()).is_err(), "{from}");
        }
        let mine = shown(&secret(), true).replacen("  a: ••••••••", "  a: bWluZQ==", 1).replacen(
            "  a: \"••••••••\"",
            "  a: bWluZQ==",
            1,
        );
        assert!(uncovered(&mine, &secret()).is_ok_and(|text| text.contains("a: bWluZQ==")), "{mine}");
    }

    #[test]
    fn another_value_is_marked() {
        let mut after = secret();
        after["data"]["a"] = "b3RoZXI=".into();
        let text = yaml::print(&covered_beside(&after, &secret()));
        assert_eq!(text.matches(OTHER).count(), 1, "{text}");
        assert!(!text.contains("b3RoZXI="), "{text}");
    }
}
