//! OpenAPI v3 as protobuf: gnostic's `OpenAPIv3.proto`, from the JSON of a document.
//!
//! A table of what our own documents use, not of all of OpenAPI: what the table does not have is left out.

use serde_json::{Map, Value};

use super::gnostic::Message;

/// A message: its members by their JSON names, where its vendor extensions go, and whether a reference may stand for it.
struct Shape {
    members: &'static [(&'static str, u64, Form)],
    extensions: u64,
    or_reference: bool,
}

/// How a member is written.
enum Form {
    Text,
    Flag,
    Integer,
    Double,
    Texts,
    Anys,
    Default,
    One(&'static Shape),
    Many(&'static Shape),
    /// A message of names with their values.
    Named(&'static Shape),
    /// The same, where one name is apart.
    Responses,
    /// A message around one schema.
    Items,
    Additional,
}

use Form::{
    Additional, Anys, Default, Double, Flag, Integer, Items, Many, Named, One, Responses, Text, Texts,
};

static DOCUMENT: Shape = Shape {
    members: &[
        ("openapi", 1, Text),
        ("info", 2, One(&INFO)),
        ("paths", 4, Named(&PATH)),
        ("components", 5, One(&COMPONENTS)),
    ],
    extensions: 9,
    or_reference: false,
};
static INFO: Shape = Shape {
    members: &[("title", 1, Text), ("description", 2, Text), ("version", 6, Text)],
    extensions: 7,
    or_reference: false,
};
static COMPONENTS: Shape = Shape {
    members: &[("schemas", 1, Named(&SCHEMA)), ("securitySchemes", 7, Named(&SECURITY))],
    extensions: 10,
    or_reference: false,
};
static SECURITY: Shape = Shape {
    members: &[("type", 1, Text), ("description", 2, Text), ("name", 3, Text), ("in", 4, Text)],
    extensions: 9,
    or_reference: true,
};
static PATH: Shape = Shape {
    members: &[
        ("get", 4, One(&OPERATION)),
        ("put", 5, One(&OPERATION)),
        ("post", 6, One(&OPERATION)),
        ("delete", 7, One(&OPERATION)),
        ("options", 8, One(&OPERATION)),
        ("head", 9, One(&OPERATION)),
        ("patch", 10, One(&OPERATION)),
        ("parameters", 13, Many(&PARAMETER)),
    ],
    extensions: 14,
    or_reference: false,
};
static OPERATION: Shape = Shape {
    members: &[
        ("tags", 1, Texts),
        ("summary", 2, Text),
        ("description", 3, Text),
        ("operationId", 5, Text),
        ("parameters", 6, Many(&PARAMETER)),
        ("requestBody", 7, One(&BODY)),
        ("responses", 8, Responses),
        ("deprecated", 10, Flag),
    ],
    extensions: 13,
    or_reference: false,
};
static PARAMETER: Shape = Shape {
    members: &[
        ("name", 1, Text),
        ("in", 2, Text),
        ("description", 3, Text),
        ("required", 4, Flag),
        ("schema", 10, One(&SCHEMA)),
    ],
    extensions: 14,
    or_reference: true,
};
static BODY: Shape = Shape {
    members: &[("description", 1, Text), ("content", 2, Named(&MEDIA)), ("required", 3, Flag)],
    extensions: 4,
    or_reference: true,
};
static RESPONSE: Shape = Shape {
    members: &[("description", 1, Text), ("content", 3, Named(&MEDIA))],
    extensions: 5,
    or_reference: true,
};
static MEDIA: Shape = Shape { members: &[("schema", 1, One(&SCHEMA))], extensions: 5, or_reference: false };
static SCHEMA: Shape = Shape { members: SCHEMA_MEMBERS, extensions: 36, or_reference: true };
/// A schema where no reference may stand.
static NEGATED: Shape = Shape { members: SCHEMA_MEMBERS, extensions: 36, or_reference: false };
static SCHEMA_MEMBERS: &[(&str, u64, Form)] = &[
    ("nullable", 1, Flag),
    ("title", 9, Text),
    ("multipleOf", 10, Double),
    ("maximum", 11, Double),
    ("exclusiveMaximum", 12, Flag),
    ("minimum", 13, Double),
    ("exclusiveMinimum", 14, Flag),
    ("maxLength", 15, Integer),
    ("minLength", 16, Integer),
    ("pattern", 17, Text),
    ("maxItems", 18, Integer),
    ("minItems", 19, Integer),
    ("uniqueItems", 20, Flag),
    ("maxProperties", 21, Integer),
    ("minProperties", 22, Integer),
    ("required", 23, Texts),
    ("enum", 24, Anys),
    ("type", 25, Text),
    ("allOf", 26, Many(&SCHEMA)),
    ("oneOf", 27, Many(&SCHEMA)),
    ("anyOf", 28, Many(&SCHEMA)),
    ("not", 29, One(&NEGATED)),
    ("items", 30, Items),
    ("properties", 31, Named(&SCHEMA)),
    ("additionalProperties", 32, Additional),
    ("default", 33, Default),
    ("description", 34, Text),
    ("format", 35, Text),
];

/// The protobuf of a document; `None` if it is no JSON object.
pub(super) fn document(json: &[u8]) -> Option<Vec<u8>> {
    let Value::Object(document) = serde_json::from_slice(json).ok()? else { return None };
    let mut message = Message::default();
    members(&mut message, &DOCUMENT, &document);
    Some(message.0)
}

fn members(message: &mut Message, shape: &Shape, object: &Map<String, Value>) {
    for (name, value) in object {
        match shape.members.iter().find(|(known, ..)| known == name) {
            Some((_, tag, form)) => member(message, *tag, form, value),
            None if name.starts_with("x-") => message.extension(shape.extensions, name, value),
            None => {}
        }
    }
}

fn member(message: &mut Message, tag: u64, form: &Form, value: &Value) {
    let named = |message: &mut Message, tag, shape: &Shape, name: &str, value: &Value| {
        message.named(tag, name, |inner| whole(inner, shape, value));
    };
    let object = || value.as_object().into_iter().flatten();
    let list = || value.as_array().into_iter().flatten();
    match form {
        Text => message.string(tag, value.as_str().unwrap_or_default()),
        Flag => message.boolean(tag, value.as_bool().unwrap_or_default()),
        Integer => message.integer(tag, value.as_i64().unwrap_or_default()),
        Double => message.double(tag, value.as_f64().unwrap_or_default()),
        Texts => message.texts(tag, Some(value)),
        Anys => list().for_each(|value| message.any(tag, value)),
        Default => message.message(tag, |inner| default(inner, value)),
        One(shape) => message.message(tag, |inner| whole(inner, shape, value)),
        Many(shape) => list().for_each(|value| message.message(tag, |inner| whole(inner, shape, value))),
        Named(shape) => message.message(tag, |all| {
            object().for_each(|(name, value)| named(all, 1, shape, name, value));
        }),
        Responses => message.message(tag, |all| {
            for (name, value) in object() {
                match name.as_str() {
                    "default" => all.message(1, |inner| whole(inner, &RESPONSE, value)),
                    name => named(all, 2, &RESPONSE, name, value),
                }
            }
        }),
        Items => message.message(tag, |items| items.message(1, |inner| whole(inner, &SCHEMA, value))),
        Additional => message.message(tag, |either| match value {
            Value::Bool(any) => either.stated(2, *any),
            value => either.message(1, |inner| whole(inner, &SCHEMA, value)),
        }),
    }
}

/// A value where it stands: as it is, or one of two where it may be a reference.
fn whole(message: &mut Message, shape: &Shape, value: &Value) {
    let Value::Object(object) = value else { return };
    if !shape.or_reference {
        return members(message, shape, object);
    }
    match object.get("$ref").and_then(Value::as_str) {
        Some(to) => message.message(2, |reference| reference.string(1, to)),
        None => message.message(1, |inner| members(inner, shape, object)),
    }
}

/// gnostic knows scalars alone; whatever else is a default is an empty message.
fn default(message: &mut Message, value: &Value) {
    match value {
        Value::Number(number) => message.double(1, number.as_f64().unwrap_or_default()),
        Value::Bool(value) => message.stated(2, *value),
        Value::String(text) => message.bytes(3, text.as_bytes()),
        _ => {}
    }
}
