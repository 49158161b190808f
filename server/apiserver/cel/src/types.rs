//! CEL's types, with the object types that a schema describes.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::relation::Relation;

/// A type of the checker.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)] // the names are CEL's
pub enum Type {
    /// Known only when it runs.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>, Relation),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    /// The type of a type.
    Type(Arc<Type>),
    /// Something with known fields.
    Object(Arc<ObjectType>),
    /// Something with methods only, such as `kubernetes.Quantity`.
    Opaque(&'static str),
    /// A parameter of a function's signature.
    Param(&'static str),
}

/// An object's fields.
#[derive(Clone, Debug, Default)]
pub struct ObjectType {
    /// How it is named in complaints, and in constructors.
    pub name: String,
    /// By the name that expressions use (see [`escape`]).
    pub fields: BTreeMap<String, ObjectField>,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct ObjectField {
    /// Its name in JSON.
    pub json: String,
    /// Its type.
    pub ty: Type,
}

impl PartialEq for ObjectType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl ObjectType {
    /// An object with these fields, named as in JSON.
    pub fn new(name: impl Into<String>, fields: impl IntoIterator<Item = (String, Type)>) -> Self {
        let fields =
            fields.into_iter().filter_map(|(json, ty)| Some((escape(&json)?, ObjectField { json, ty })));
        Self { name: name.into(), fields: fields.collect() }
    }
}

impl Type {
    /// `list(item)`
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(item), Relation::Atomic)
    }
    /// `map(string, value)`
    pub fn map(value: Type) -> Self {
        Self::Map(Arc::new(Self::String), Arc::new(value))
    }
    /// `optional_type(value)`
    pub fn optional(value: Type) -> Self {
        Self::Optional(Arc::new(value))
    }
    /// An object type.
    pub fn object(name: impl Into<String>, fields: impl IntoIterator<Item = (String, Type)>) -> Self {
        Self::Object(Arc::new(ObjectType::new(name, fields)))
    }
    /// Whether a value of this type may turn out to be a `wanted`.
    pub fn may_be(&self, wanted: &Type) -> bool {
        self == wanted || matches!(self, Self::Dyn)
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => f.write_str("dyn"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Uint => f.write_str("uint"),
            Self::Double => f.write_str("double"),
            Self::String => f.write_str("string"),
            Self::Bytes => f.write_str("bytes"),
            Self::Timestamp => f.write_str("timestamp"),
            Self::Duration => f.write_str("duration"),
            Self::List(item, _) => write!(f, "list({item})"),
            Self::Map(key, value) => write!(f, "map({key}, {value})"),
            Self::Optional(value) => write!(f, "optional_type({value})"),
            Self::Type(of) => write!(f, "type({of})"),
            Self::Object(object) => f.write_str(&object.name),
            Self::Opaque(name) => f.write_str(name),
            Self::Param(name) => f.write_str(name),
        }
    }
}

/// The name by which expressions reach a property, or none if they cannot (`apiextensions` documentation of CEL rules:
/// `__dot__`, `__dash__`, `__slash__`, `__underscores__`, and reserved words between double underscores).
pub fn escape(name: &str) -> Option<String> {
    if crate::parse::is_reserved(name) {
        return Some(format!("__{name}__"));
    }
    let mut escaped = String::new();
    let mut rest = name.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '.' => escaped.push_str("__dot__"),
            '-' => escaped.push_str("__dash__"),
            '/' => escaped.push_str("__slash__"),
            '_' if rest.peek() == Some(&'_') => {
                rest.next();
                escaped.push_str("__underscores__");
            }
            '_' => escaped.push('_'),
            c if c.is_ascii_alphanumeric() => escaped.push(c),
            _ => return None,
        }
    }
    let first = escaped.chars().next()?;
    (!first.is_ascii_digit()).then_some(escaped)
}

/// The type of a value that a JSON schema (OpenAPI v3, structural) describes, as upstream's `common.SchemaDeclType`.
/// None: the value is not reachable for expressions (an unknown object).
pub fn from_schema(schema: &serde_json::Value, name: &str, root: bool) -> Option<Type> {
    let flag = |key: &str| schema.get(key).and_then(serde_json::Value::as_bool).unwrap_or(false);
    if flag("x-kubernetes-int-or-string") {
        return Some(Type::Dyn);
    }
    let format = schema.get("format").and_then(serde_json::Value::as_str).unwrap_or("");
    match schema.get("type").and_then(serde_json::Value::as_str).unwrap_or("") {
        "array" => {
            let item = from_schema(schema.get("items")?, &format!("{name}.@idx"), false)?;
            Some(Type::List(Arc::new(item), Relation::of(schema)))
        }
        "object" => from_object(schema, name, root || flag("x-kubernetes-embedded-resource")),
        "boolean" => Some(Type::Bool),
        "integer" => Some(Type::Int),
        "number" => Some(Type::Double),
        "string" => Some(match format {
            "byte" => Type::Bytes,
            "duration" => Type::Duration,
            "date" | "date-time" => Type::Timestamp,
            _ => Type::String,
        }),
        _ => None,
    }
}

fn from_object(schema: &serde_json::Value, name: &str, resource: bool) -> Option<Type> {
    if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
        return Some(Type::map(from_schema(values, &format!("{name}.@elem"), false)?));
    }
    let properties = schema.get("properties").and_then(serde_json::Value::as_object);
    let mut fields: BTreeMap<String, Type> = BTreeMap::new();
    for (property, inner) in properties.into_iter().flatten() {
        if let Some(ty) = from_schema(inner, &format!("{name}.{property}"), false) {
            fields.insert(property.clone(), ty);
        }
    }
    if resource {
        fields.insert("apiVersion".into(), Type::String);
        fields.insert("kind".into(), Type::String);
        let names = ["name", "generateName"].map(|field| (field.to_owned(), Type::String));
        fields.insert("metadata".into(), Type::object(format!("{name}.metadata"), names));
    }
    Some(Type::object(name, fields))
}
