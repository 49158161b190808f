//! Definitions of types, in the words of OpenAPI v2 or v3.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Map, Value, json};

use crate::fields::{Docs, Field, FieldType, ListType, Type};
use crate::{fields, kinds};

use super::META;

/// Which OpenAPI is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    V2,
    V3,
}

impl Dialect {
    pub(super) fn reference(self, name: &str) -> Value {
        let folder = match self {
            Self::V2 => "#/definitions/",
            Self::V3 => "#/components/schemas/",
        };
        json!({"$ref": format!("{folder}{name}")})
    }
}

/// These types and all they refer to, by name.
pub(super) fn reachable(roots: &[&'static Type]) -> Vec<&'static Type> {
    let mut found: BTreeMap<&str, &'static Type> = BTreeMap::new();
    let mut open: Vec<&'static Type> = roots.to_vec();
    while let Some(ty) = open.pop() {
        if found.insert(ty.name, ty).is_none() {
            open.extend(ty.fields.iter().filter_map(|field| named(&field.ty)));
        }
    }
    found.into_values().collect()
}

/// The definition a field refers to, if it is not written in place.
fn named(ty: &FieldType) -> Option<&'static Type> {
    match ty {
        FieldType::Object(reference) => Some(reference.get()),
        FieldType::List(item) | FieldType::Map(item) => named(item),
        other => scalar_name(other).and_then(fields::type_of),
    }
}

fn scalar_name(ty: &FieldType) -> Option<&'static str> {
    Some(match ty {
        FieldType::Time => "io.k8s.apimachinery.pkg.apis.meta.v1.Time",
        FieldType::MicroTime => "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime",
        FieldType::Quantity => "io.k8s.apimachinery.pkg.api.resource.Quantity",
        FieldType::IntOrString => "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        FieldType::RawExtension => "io.k8s.apimachinery.pkg.runtime.RawExtension",
        FieldType::FieldsV1 => "io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1",
        FieldType::Json => "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON",
        FieldType::SchemaOrArray => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray"
        }
        FieldType::SchemaOrBool => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool"
        }
        FieldType::SchemaOrStrings => {
            "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray"
        }
        _ => return None,
    })
}

/// Writes definitions; keeps the descriptions of one package at a time.
pub(super) struct Schemas {
    dialect: Dialect,
    docs: Option<(&'static str, Docs)>,
    kinds: HashMap<String, Vec<Value>>,
}

impl Schemas {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, docs: None, kinds: kinds_by_schema() }
    }

    pub(super) fn definition(&mut self, ty: &'static Type) -> Value {
        let mut object = Map::new();
        self.open(ty.package());
        let docs = self.docs.as_ref().map(|(_, docs)| docs);
        let description = docs.map_or("", |docs| docs.of_type(ty));
        if !description.is_empty() {
            object.insert("description".into(), description.into());
        }
        match ty.scalar {
            Some(scalar) => object.extend(self.scalar(&scalar)),
            None => object.extend(self.object(ty, docs)),
        }
        if ty.atomic {
            object.insert("x-kubernetes-map-type".into(), "atomic".into());
        }
        if let Some(kinds) = self.kinds.get(ty.name) {
            object.insert("x-kubernetes-group-version-kind".into(), kinds.clone().into());
        }
        Value::Object(object)
    }

    fn open(&mut self, package: &'static str) {
        if self.docs.as_ref().is_none_or(|(open, _)| *open != package) {
            self.docs = Docs::of_package(package).map(|docs| (package, docs));
        }
    }

    fn object(&self, ty: &Type, docs: Option<&Docs>) -> Map<String, Value> {
        let mut object = Map::new();
        object.insert("type".into(), "object".into());
        let required: Vec<&str> =
            ty.fields.iter().filter(|field| field.required).map(|field| field.json).collect();
        if !required.is_empty() {
            object.insert("required".into(), required.into());
        }
        let property = |field: &Field| {
            let description = docs.map_or("", |docs| docs.of_field(ty, field));
            (field.json.to_owned(), self.property(field, description))
        };
        let properties: Map<String, Value> = ty.fields.iter().map(property).collect();
        if !properties.is_empty() {
            object.insert("properties".into(), properties.into());
        }
        object
    }

    fn property(&self, field: &Field, description: &str) -> Value {
        let mut schema = self.value(&field.ty);
        if self.dialect == Dialect::V3 && schema.get("$ref").is_some() {
            // in v3 nothing may stand beside a $ref
            schema = json!({"allOf": [schema]});
        }
        if let Value::Object(object) = &mut schema {
            if !description.is_empty() {
                object.insert("description".into(), description.into());
            }
            // upstream prunes them from v2
            let default = field.default.filter(|_| self.dialect == Dialect::V3);
            if let Some(default) = default.and_then(|text| serde_json::from_str(text).ok()) {
                object.insert("default".into(), default);
            }
            extensions(object, field);
        }
        schema
    }

    fn value(&self, ty: &FieldType) -> Value {
        if let Some(named) = match ty {
            FieldType::List(_) | FieldType::Map(_) => None,
            other => named(other),
        } {
            return self.dialect.reference(named.name);
        }
        Value::Object(match ty {
            FieldType::List(item) => members([("type", "array".into()), ("items", self.value(item))]),
            FieldType::Map(item) => {
                members([("type", "object".into()), ("additionalProperties", self.value(item))])
            }
            other => self.scalar(other),
        })
    }

    fn scalar(&self, ty: &FieldType) -> Map<String, Value> {
        let typed = |name: &str, format: &str| members([("type", name.into()), ("format", format.into())]);
        let v3 = self.dialect == Dialect::V3;
        let one_of = |other: &str| json!([{"type": other}, {"type": "string"}]);
        match ty {
            FieldType::Int32 => typed("integer", "int32"),
            FieldType::Int64 => typed("integer", "int64"),
            FieldType::Float => typed("number", "double"),
            FieldType::Bytes => typed("string", "byte"),
            FieldType::Time | FieldType::MicroTime => typed("string", "date-time"),
            FieldType::IntOrString if v3 => {
                members([("format", "int-or-string".into()), ("oneOf", one_of("integer"))])
            }
            FieldType::IntOrString => typed("string", "int-or-string"),
            FieldType::Quantity if v3 => members([("oneOf", one_of("number"))]),
            FieldType::Bool => members([("type", "boolean".into())]),
            FieldType::String | FieldType::Duration | FieldType::Quantity => {
                members([("type", "string".into())])
            }
            FieldType::RawExtension | FieldType::FieldsV1 => members([("type", "object".into())]),
            _ => Map::new(),
        }
    }
}

fn members<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Upstream's `x-kubernetes-*` words about a field.
fn extensions(object: &mut Map<String, Value>, field: &Field) {
    let list_type = field.list_type.map(|list_type| match list_type {
        ListType::Atomic => "atomic",
        ListType::Set => "set",
        ListType::Map => "map",
    });
    let words = [
        ("x-kubernetes-list-type", list_type),
        ("x-kubernetes-map-type", field.map_atomic.then_some("atomic")),
        ("x-kubernetes-patch-merge-key", field.merge_key),
        ("x-kubernetes-patch-strategy", field.patch_strategy),
    ];
    for (name, word) in words {
        if let Some(word) = word {
            object.insert(name.into(), word.into());
        }
    }
    if !field.map_keys.is_empty() {
        object.insert("x-kubernetes-list-map-keys".into(), field.map_keys.into());
    }
}

pub(super) fn gvk(group: &str, version: &str, kind: &str) -> Value {
    json!({"group": group, "kind": kind, "version": version})
}

/// What `x-kubernetes-group-version-kind` says of each schema.
fn kinds_by_schema() -> HashMap<String, Vec<Value>> {
    let mut found: HashMap<String, Vec<Value>> = HashMap::new();
    let mut add = |schema: String, value: Value| {
        let known = found.entry(schema).or_default();
        if !known.contains(&value) {
            known.push(value);
        }
    };
    for kind in kinds::all() {
        add(kind.schema.to_owned(), gvk(kind.group, kind.version, kind.kind));
        add(format!("{}List", kind.schema), gvk(kind.group, kind.version, &kind.list_kind()));
        for sub in kind.subresources {
            add(sub.schema.to_owned(), gvk(sub.group, sub.version, sub.kind));
        }
        for common in ["DeleteOptions", "WatchEvent"] {
            add(format!("{META}.{common}"), gvk(kind.group, kind.version, common));
        }
    }
    for plain in ["APIGroup", "APIGroupList", "APIResourceList", "APIVersions", "Status"] {
        add(format!("{META}.{plain}"), gvk("", "v1", plain));
    }
    found
}
