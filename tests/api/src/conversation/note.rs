//! An answer as it is written down: what is another each time has a name in it.

use serde_json::{Map, Value};

use super::template::Bound;

/// Writes down; `request` is what was asked, whose texts stay what they are.
pub(super) fn value(got: &Value, request: &str, bound: &mut Bound) -> Value {
    Notes { request, bound }.value("", got, false)
}

/// A header's value, or a body that is no JSON.
pub(super) fn text(got: &str, request: &str, bound: &mut Bound) -> String {
    Notes { request, bound }.text(got)
}

struct Notes<'a> {
    request: &'a str,
    bound: &'a mut Bound,
}

impl Notes<'_> {
    /// `is_object`: the value is beside a uid.
    fn value(&mut self, key: &str, got: &Value, is_object: bool) -> Value {
        match got {
            Value::Object(map) => {
                let has_uid = map.contains_key("uid");
                let noted = map.iter().map(|(key, got)| {
                    let value = self.value(key, got, has_uid);
                    (self.text(key), value)
                });
                noted.collect::<Map<_, _>>().into()
            }
            Value::Array(list) => list.iter().map(|got| self.value(key, got, false)).collect(),
            Value::String(text) => self.string(key, text, is_object).into(),
            other => other.clone(),
        }
    }

    fn string(&mut self, key: &str, text: &str, is_object: bool) -> String {
        match key {
            _ if text.is_empty() => String::new(),
            // an age grows
            "cells" if is_age(text) => "{{any}}".to_owned(),
            // a list's may or may not be that of its newest object
            "resourceVersion" if !is_object => "{{version}}".to_owned(),
            "resourceVersion" => self.named("version", text),
            "token" | "continue" => self.named("token", text),
            _ => self.text(text),
        }
    }

    /// The name of `text`, a new one if it has none.
    fn named(&mut self, kind: &str, text: &str) -> String {
        let prefix = format!("{kind}:");
        let known = self.bound.iter().find(|(key, known)| key.starts_with(&prefix) && known.as_str() == text);
        if let Some((key, _)) = known {
            return format!("{{{{{key}}}}}");
        }
        let free = (1..).map(|number| format!("{prefix}{number}")).find(|key| !self.bound.contains_key(key));
        let key = free.unwrap_or_default();
        self.bound.insert(key.clone(), text.to_owned());
        format!("{{{{{key}}}}}")
    }

    fn text(&mut self, text: &str) -> String {
        if is_shaped(text, "0000-00-00T00:00:00Z") && !self.request.contains(text) {
            return "{{time}}".to_owned();
        }
        if is_shaped(text, "0000-00-00T00:00:00.000000Z") && !self.request.contains(text) {
            return "{{microtime}}".to_owned();
        }
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = uid_in(rest) {
            let uid = &rest[at..at + UID.len()];
            out.push_str(&rest[..at]);
            out.push_str(&if self.request.contains(uid) { uid.to_owned() } else { self.named("uid", uid) });
            rest = &rest[at + UID.len()..];
        }
        out + rest
    }
}

/// `0s`, `3m20s`.
fn is_age(text: &str) -> bool {
    text.ends_with(['s', 'm', 'h', 'd']) && text.starts_with(|c: char| c.is_ascii_digit())
}

const UID: &str = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";

fn uid_in(text: &str) -> Option<usize> {
    (0..text.len()).find(|at| text.get(*at..at + UID.len()).is_some_and(|part| is_shaped(part, UID)))
}

/// `0` stands for a digit, `x` for a hexadecimal one.
fn is_shaped(text: &str, shape: &str) -> bool {
    let fits = |(have, want): (char, char)| match want {
        '0' => have.is_ascii_digit(),
        'x' => have.is_ascii_hexdigit() && !have.is_ascii_uppercase(),
        _ => have == want,
    };
    text.len() == shape.len() && text.chars().zip(shape.chars()).all(fits)
}
