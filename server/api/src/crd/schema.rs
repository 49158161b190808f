//! A structural schema: `schema.Structural` of upstream, read from a definition's `openAPIV3Schema`.
//!
//! Reading is lenient, for what is stored has been checked; [`super::structural`] is what checks. Nested value
//! validations (`allOf`, `anyOf`, `oneOf`, `not`) are schemas too, of which only the values count.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex::Regex;
use serde_json::{Map, Value};

use crate::go;

/// `type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Type {
    /// None given: anything.
    #[default]
    Any,
    /// `array`
    Array,
    /// `boolean`
    Boolean,
    /// `integer`
    Integer,
    /// `number`
    Number,
    /// `object`
    Object,
    /// `string`
    String,
}

impl Type {
    /// The type of that name.
    pub fn parse(name: &str) -> Self {
        match name {
            "array" => Self::Array,
            "boolean" => Self::Boolean,
            "integer" => Self::Integer,
            "number" => Self::Number,
            "object" => Self::Object,
            "string" => Self::String,
            _ => Self::Any,
        }
    }

    /// Its name; empty for none.
    pub fn name(self) -> &'static str {
        match self {
            Self::Any => "",
            Self::Array => "array",
            Self::Boolean => "boolean",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Object => "object",
            Self::String => "string",
        }
    }
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListType {
    /// Replaced as a whole.
    #[default]
    Atomic,
    /// Items are unique.
    Set,
    /// Items have keys.
    Map,
}

/// `additionalProperties`.
#[derive(Debug)]
pub enum Additional {
    /// `true` or `false`.
    Allowed(bool),
    /// Values of this schema.
    Of(Box<Schema>),
}

/// A schema and all below it.
#[derive(Debug, Default)]
pub struct Schema {
    /// `type`.
    pub ty: Type,
    /// `nullable`.
    pub nullable: bool,
    /// `properties`.
    pub properties: BTreeMap<String, Schema>,
    /// `additionalProperties`.
    pub additional: Option<Additional>,
    /// `items`.
    pub items: Option<Box<Schema>>,
    /// `default`.
    pub default: Option<Value>,
    /// `x-kubernetes-preserve-unknown-fields`.
    pub preserve_unknown: bool,
    /// `x-kubernetes-embedded-resource`.
    pub embedded: bool,
    /// `x-kubernetes-int-or-string`.
    pub int_or_string: bool,
    /// `x-kubernetes-list-type`.
    pub list_type: ListType,
    /// `x-kubernetes-list-map-keys`.
    pub list_map_keys: Vec<String>,
    /// `x-kubernetes-map-type: atomic`.
    pub map_atomic: bool,
    /// `x-kubernetes-validations`, as written.
    pub rules: Vec<Value>,
    /// What values must satisfy.
    pub values: Values,
    /// Whether this or something below has a default.
    pub has_defaults: bool,
    /// Whether this or something below has rules.
    pub has_rules: bool,
}

/// Upstream's `ValueValidation`.
#[derive(Debug, Default)]
#[allow(missing_docs)] // the names are OpenAPI's
pub struct Values {
    pub format: String,
    pub maximum: Option<f64>,
    pub exclusive_maximum: bool,
    pub minimum: Option<f64>,
    pub exclusive_minimum: bool,
    pub multiple_of: Option<f64>,
    pub max_length: Option<usize>,
    pub min_length: Option<usize>,
    pub pattern: Option<Pattern>,
    pub max_items: Option<usize>,
    pub min_items: Option<usize>,
    pub unique_items: bool,
    pub max_properties: Option<usize>,
    pub min_properties: Option<usize>,
    pub required: Vec<String>,
    pub allowed: Vec<Value>,
    pub all_of: Vec<Schema>,
    pub any_of: Vec<Schema>,
    pub one_of: Vec<Schema>,
    pub not: Option<Box<Schema>>,
}

/// What a compiled pattern may take.
pub(super) const PATTERN_BYTES: usize = 10 << 20;

/// A regular expression, compiled when first asked.
#[derive(Debug)]
pub struct Pattern {
    /// As written.
    text: String,
    compiled: OnceLock<Result<Regex, String>>,
}

impl Pattern {
    fn new(text: &str) -> Self {
        Self { text: text.to_owned(), compiled: OnceLock::new() }
    }

    /// What `value` should match, if it does not. What does not compile matches nothing.
    pub fn missed(&self, value: &str) -> Option<Cow<'_, str>> {
        let compiled = self.compiled.get_or_init(|| go::regexp::compile(&self.text, PATTERN_BYTES));
        match compiled {
            Ok(regex) => (!regex.is_match(value)).then_some(Cow::Borrowed(&self.text)),
            Err(why) => Some(format!("{}, but pattern is invalid: {why}", self.text).into()),
        }
    }
}

fn flag(map: &Map<String, Value>, key: &str) -> bool {
    map.get(key).and_then(Value::as_bool).unwrap_or(false)
}

fn text<'a>(map: &'a Map<String, Value>, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn strings(map: &Map<String, Value>, key: &str) -> Vec<String> {
    let list = map.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|v| v.as_str().map(str::to_owned)).collect()
}

fn schemas(map: &Map<String, Value>, key: &str) -> Vec<Schema> {
    map.get(key).and_then(Value::as_array).into_iter().flatten().map(Schema::read).collect()
}

fn child(map: &Map<String, Value>, key: &str) -> Option<Box<Schema>> {
    map.get(key).filter(|v| v.is_object()).map(|v| Box::new(Schema::read(v)))
}

impl Schema {
    /// Reads `openAPIV3Schema` or something below it.
    pub fn read(json: &Value) -> Self {
        let Value::Object(map) = json else { return Self::default() };
        let properties: BTreeMap<String, Schema> = map
            .get("properties")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
            .map(|(name, below)| (name.clone(), Self::read(below)))
            .collect();
        let additional = match map.get("additionalProperties") {
            Some(Value::Bool(allowed)) => Some(Additional::Allowed(*allowed)),
            Some(below @ Value::Object(_)) => Some(Additional::Of(Box::new(Self::read(below)))),
            _ => None,
        };
        let mut schema = Self {
            ty: Type::parse(text(map, "type")),
            nullable: flag(map, "nullable"),
            properties,
            additional,
            items: child(map, "items"),
            default: map.get("default").filter(|v| !v.is_null()).cloned(),
            preserve_unknown: flag(map, "x-kubernetes-preserve-unknown-fields"),
            embedded: flag(map, "x-kubernetes-embedded-resource"),
            int_or_string: flag(map, "x-kubernetes-int-or-string"),
            list_type: match text(map, "x-kubernetes-list-type") {
                "set" => ListType::Set,
                "map" => ListType::Map,
                _ => ListType::Atomic,
            },
            list_map_keys: strings(map, "x-kubernetes-list-map-keys"),
            map_atomic: text(map, "x-kubernetes-map-type") == "atomic",
            rules: map.get("x-kubernetes-validations").and_then(Value::as_array).cloned().unwrap_or_default(),
            values: Values::read(map),
            has_defaults: false,
            has_rules: false,
        };
        schema.has_defaults = schema.default.is_some() || schema.below().any(|s| s.has_defaults);
        schema.has_rules = !schema.rules.is_empty() || schema.below().any(|s| s.has_rules);
        schema
    }

    /// The schemas of fields, values and items.
    pub(super) fn below(&self) -> impl Iterator<Item = &Schema> {
        let additional = match &self.additional {
            Some(Additional::Of(schema)) => Some(&**schema),
            _ => None,
        };
        self.properties.values().chain(additional).chain(self.items.as_deref())
    }

    /// The schema of a field by its name, of a map's value otherwise.
    pub fn field(&self, name: &str) -> Option<&Schema> {
        self.properties.get(name).or(match &self.additional {
            Some(Additional::Of(schema)) => Some(schema),
            _ => None,
        })
    }

    /// Whether fields that nothing says anything about are kept.
    pub fn keeps(&self) -> bool {
        self.preserve_unknown || matches!(self.additional, Some(Additional::Allowed(true)))
    }
}

impl Values {
    fn read(map: &Map<String, Value>) -> Self {
        let number = |key: &str| map.get(key).and_then(Value::as_f64);
        let count = |key: &str| map.get(key).and_then(Value::as_u64).and_then(|n| usize::try_from(n).ok());
        Self {
            format: text(map, "format").to_owned(),
            maximum: number("maximum"),
            exclusive_maximum: flag(map, "exclusiveMaximum"),
            minimum: number("minimum"),
            exclusive_minimum: flag(map, "exclusiveMinimum"),
            multiple_of: number("multipleOf"),
            max_length: count("maxLength"),
            min_length: count("minLength"),
            pattern: Some(text(map, "pattern")).filter(|p| !p.is_empty()).map(Pattern::new),
            max_items: count("maxItems"),
            min_items: count("minItems"),
            unique_items: flag(map, "uniqueItems"),
            max_properties: count("maxProperties"),
            min_properties: count("minProperties"),
            required: strings(map, "required"),
            allowed: map.get("enum").and_then(Value::as_array).cloned().unwrap_or_default(),
            all_of: schemas(map, "allOf"),
            any_of: schemas(map, "anyOf"),
            one_of: schemas(map, "oneOf"),
            not: child(map, "not"),
        }
    }
}
