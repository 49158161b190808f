//! OpenAPI v2 as protobuf: gnostic's `OpenAPIv2.proto`, the only form that kubectl before 1.27 and Helm 3 read.
//!
//! A writer for what our own document uses, not for all of OpenAPI. Vendor extensions are YAML in a
//! string there.

use serde_json::{Map, Value};

use super::block;

/// A protobuf message being written.
#[derive(Default)]
pub(super) struct Message(pub(super) Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(super) fn bytes(&mut self, tag: u64, bytes: &[u8]) {
        self.varint(tag << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn string(&mut self, tag: u64, text: &str) {
        if !text.is_empty() {
            self.bytes(tag, text.as_bytes());
        }
    }

    pub(super) fn boolean(&mut self, tag: u64, value: bool) {
        if value {
            self.varint(tag << 3);
            self.0.push(1);
        }
    }

    /// A flag that is said even where it is false.
    pub(super) fn stated(&mut self, tag: u64, value: bool) {
        self.varint(tag << 3);
        self.0.push(u8::from(value));
    }

    pub(super) fn integer(&mut self, tag: u64, value: i64) {
        if value != 0 {
            self.varint(tag << 3);
            self.varint(value.cast_unsigned());
        }
    }

    pub(super) fn double(&mut self, tag: u64, value: f64) {
        self.varint(tag << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn message(&mut self, tag: u64, fill: impl FnOnce(&mut Message)) {
        let mut inner = Message::default();
        fill(&mut inner);
        self.bytes(tag, &inner.0);
    }

    /// A `Named…` message: a key and its value.
    pub(super) fn named(&mut self, tag: u64, name: &str, fill: impl FnOnce(&mut Message)) {
        self.message(tag, |named| {
            named.bytes(1, name.as_bytes());
            named.message(2, fill);
        });
    }

    fn text(&mut self, tag: u64, object: &Map<String, Value>, member: &str) {
        self.string(tag, object.get(member).and_then(Value::as_str).unwrap_or_default());
    }

    fn flag(&mut self, tag: u64, object: &Map<String, Value>, member: &str) {
        self.boolean(tag, object.get(member).and_then(Value::as_bool).unwrap_or_default());
    }

    pub(super) fn texts(&mut self, tag: u64, value: Option<&Value>) {
        for text in value.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            self.bytes(tag, text.as_bytes());
        }
    }

    /// gnostic's `Any`: YAML text.
    pub(super) fn any(&mut self, tag: u64, value: &Value) {
        self.message(tag, |any| any.string(2, &block::document(value)));
    }

    fn extensions(&mut self, tag: u64, object: &Map<String, Value>) {
        for (name, value) in object.iter().filter(|(name, _)| name.starts_with("x-")) {
            self.extension(tag, name, value);
        }
    }

    pub(super) fn extension(&mut self, tag: u64, name: &str, value: &Value) {
        self.message(tag, |named| {
            named.bytes(1, name.as_bytes());
            named.any(2, value);
        });
    }
}

/// The document; paths must be written before definitions are finished, in any order.
pub(super) struct Document {
    head: Message,
    paths: Message,
    definitions: Message,
}

impl Document {
    pub(super) fn new(title: &str, version: &str) -> Self {
        let mut head = Message::default();
        head.string(1, "2.0");
        head.message(2, |info| {
            info.string(1, title);
            info.string(2, version);
        });
        Self { head, paths: Message::default(), definitions: Message::default() }
    }

    /// What is added to another document by writing it behind: protobuf's messages merge so.
    pub(super) fn addition() -> Self {
        Self { head: Message::default(), paths: Message::default(), definitions: Message::default() }
    }

    pub(super) fn path(&mut self, path: &str, item: &Value) {
        if let Value::Object(item) = item {
            self.paths.named(2, path, |message| path_item(message, item));
        }
    }

    pub(super) fn definition(&mut self, name: &str, definition: &Value) {
        self.definitions.named(1, name, |message| schema(message, definition));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut document = self.head;
        document.bytes(8, &self.paths.0);
        document.bytes(9, &self.definitions.0);
        document.0
    }
}

fn path_item(message: &mut Message, item: &Map<String, Value>) {
    for (tag, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(Value::Object(value)) = item.get(method) {
            message.message(tag, |message| operation(message, value));
        }
    }
    parameters(message, 9, item.get("parameters"));
}

fn operation(message: &mut Message, value: &Map<String, Value>) {
    message.texts(1, value.get("tags"));
    message.text(3, value, "description");
    message.text(5, value, "operationId");
    message.texts(6, value.get("produces"));
    message.texts(7, value.get("consumes"));
    parameters(message, 8, value.get("parameters"));
    message.message(9, |responses| {
        for (code, response) in value.get("responses").and_then(Value::as_object).into_iter().flatten() {
            responses.named(1, code, |value| value.message(1, |message| answer(message, response)));
        }
    });
    message.texts(10, value.get("schemes"));
    message.extensions(13, value);
}

fn answer(message: &mut Message, response: &Value) {
    let Value::Object(object) = response else { return };
    message.text(1, object, "description");
    if let Some(value) = object.get("schema") {
        message.message(2, |item| item.message(1, |message| schema(message, value)));
    }
}

fn parameters(message: &mut Message, tag: u64, list: Option<&Value>) {
    for value in list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
        // ParametersItem.parameter
        message.message(tag, |item| item.message(1, |message| parameter(message, value)));
    }
}

fn parameter(message: &mut Message, value: &Map<String, Value>) {
    match value.get("in").and_then(Value::as_str) {
        Some("body") => message.message(1, |body| {
            body.text(1, value, "description");
            body.text(2, value, "name");
            body.text(3, value, "in");
            body.flag(4, value, "required");
            if let Some(value) = value.get("schema") {
                body.message(5, |message| schema(message, value));
            }
        }),
        // path parameters cannot be empty, so that their later fields sit one tag lower
        Some("path") => message.message(2, |other| other.message(4, |path| sub_schema(path, value, 5, 19))),
        _ => message.message(2, |other| other.message(3, |query| sub_schema(query, value, 6, 20))),
    }
}

fn sub_schema(message: &mut Message, value: &Map<String, Value>, type_tag: u64, unique_tag: u64) {
    message.flag(1, value, "required");
    message.text(2, value, "in");
    message.text(3, value, "description");
    message.text(4, value, "name");
    message.text(type_tag, value, "type");
    message.flag(unique_tag, value, "uniqueItems");
}

fn schema(message: &mut Message, value: &Value) {
    let Value::Object(object) = value else { return };
    message.text(1, object, "$ref");
    message.text(2, object, "format");
    message.text(4, object, "description");
    if let Some(default) = object.get("default") {
        message.any(5, default);
    }
    message.texts(19, object.get("required"));
    if let Some(additional) = object.get("additionalProperties") {
        message.message(21, |item| item.message(1, |message| schema(message, additional)));
    }
    if let Some(name) = object.get("type").and_then(Value::as_str) {
        message.message(22, |item| item.string(1, name));
    }
    if let Some(items) = object.get("items") {
        message.message(23, |item| item.message(1, |message| schema(message, items)));
    }
    if let Some(Value::Object(properties)) = object.get("properties") {
        message.message(25, |message| {
            for (name, property) in properties {
                message.named(1, name, |message| schema(message, property));
            }
        });
    }
    message.extensions(31, object);
}
