//! An object as bytes, with a gap for the revision that the store will assign.

use serde_json::{Map, Value};

/// The order in which upstream writes `metadata`.
const METADATA_ORDER: &[&str] = &["name", "generateName", "namespace", "selfLink", "uid"];

/// Compact JSON with `"resourceVersion":""` in its place within `metadata`, and the offset between those
/// quotes, where the revision's decimal belongs.
pub fn encode(object: &Value) -> (Vec<u8>, usize) {
    encode_with(object, |_| {})
}

/// As [`encode`], with `before` called on the buffer first, for a prefix of the caller's.
pub fn encode_with(object: &Value, before: impl FnOnce(&mut Vec<u8>)) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(1024);
    before(&mut out);
    let empty = Map::new();
    let object = object.as_object().unwrap_or(&empty);
    let mut at = 0;
    let mut writer = Fields { out: &mut out, first: true };
    writer.begin();
    for key in ["kind", "apiVersion"] {
        if let Some(value) = object.get(key) {
            writer.field(key, value);
        }
    }
    writer.key("metadata");
    let metadata = object.get("metadata").and_then(Value::as_object).unwrap_or(&empty);
    metadata_into(writer.out, metadata, &mut at);
    for (key, value) in object {
        if !matches!(key.as_str(), "kind" | "apiVersion" | "metadata") {
            writer.field(key, value);
        }
    }
    writer.end();
    (out, at)
}

fn metadata_into(out: &mut Vec<u8>, metadata: &Map<String, Value>, at: &mut usize) {
    let mut writer = Fields { out, first: true };
    writer.begin();
    for key in METADATA_ORDER {
        if let Some(value) = metadata.get(*key) {
            writer.field(key, value);
        }
    }
    writer.key("resourceVersion");
    writer.out.push(b'"');
    *at = writer.out.len();
    writer.out.push(b'"');
    for (key, value) in metadata {
        if key != "resourceVersion" && !METADATA_ORDER.contains(&key.as_str()) {
            writer.field(key, value);
        }
    }
    writer.end();
}

struct Fields<'a> {
    out: &'a mut Vec<u8>,
    first: bool,
}

impl Fields<'_> {
    fn begin(&mut self) {
        self.out.push(b'{');
    }
    fn end(&mut self) {
        self.out.push(b'}');
    }
    fn key(&mut self, key: &str) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        json_into(self.out, &key);
        self.out.push(b':');
    }
    fn field(&mut self, key: &str, value: &Value) {
        self.key(key);
        json_into(self.out, value);
    }
}

fn json_into<T: serde::Serialize>(out: &mut Vec<u8>, value: &T) {
    // a Value or a str into memory: neither can fail
    let written = serde_json::to_writer(out, value);
    debug_assert!(written.is_ok());
}
