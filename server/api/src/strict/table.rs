//! The generated field table as a [`Node`].

use super::node::{Merge, Node, Shape};
use crate::fields::{self, Field, FieldType, Type};

/// A place in the field table.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    ty: FieldType,
    field: Option<&'static Field>,
}

impl Spot {
    /// The root of a built-in kind, by its schema name (`io.k8s.api.core.v1.Pod`).
    pub fn root(schema: &str) -> Option<Self> {
        fields::type_of(schema).map(Self::of)
    }

    /// A type of the table.
    pub fn of(ty: &'static Type) -> Self {
        let ty = ty.scalar.unwrap_or_else(|| FieldType::Object(ty.reference()));
        Self { ty, field: None }
    }

    /// The field's row, for a place that is a field.
    pub fn row(self) -> Option<&'static Field> {
        self.field
    }
    /// What is held there.
    pub fn ty(self) -> FieldType {
        self.ty
    }
}

impl Node for Spot {
    fn shape(self) -> Shape<Self> {
        let inner = |ty: &FieldType| Spot { ty: *ty, field: None };
        match &self.ty {
            FieldType::String | FieldType::Duration => Shape::Text,
            FieldType::Int32 => Shape::Int32,
            FieldType::Int64 => Shape::Int64,
            FieldType::Float => Shape::Float,
            FieldType::Bool => Shape::Bool,
            FieldType::Bytes => Shape::Bytes,
            FieldType::Time => Shape::Time,
            FieldType::MicroTime => Shape::MicroTime,
            FieldType::Quantity => Shape::Quantity,
            FieldType::IntOrString => Shape::IntOrString,
            FieldType::Object(reference) => match reference.get().scalar {
                Some(ty) => Spot { ty, field: None }.shape(),
                None => Shape::Object,
            },
            FieldType::List(item) => Shape::List(inner(item)),
            FieldType::Map(item) => Shape::Map(inner(item)),
            FieldType::RawExtension
            | FieldType::FieldsV1
            | FieldType::Json
            | FieldType::SchemaOrArray
            | FieldType::SchemaOrBool
            | FieldType::SchemaOrStrings => Shape::Any,
        }
    }

    fn field(self, json: &str) -> Option<Self> {
        let FieldType::Object(reference) = self.ty else { return None };
        let field = reference.get().field(json)?;
        Some(Spot { ty: field.ty, field: Some(field) })
    }

    fn name(self) -> &'static str {
        match self.ty {
            FieldType::Object(reference) => {
                let name = reference.get().name;
                name.rsplit_once('.').map_or(name, |(_, last)| last)
            }
            _ => "",
        }
    }

    fn keeps_zero(self) -> bool {
        self.field.is_none_or(|field| match field.ty {
            // maxSurge and its like are pointers, targetPort is not
            FieldType::IntOrString => field.json != "targetPort",
            _ => field.keeps_zero || field.required,
        })
    }

    fn merge(self) -> Merge<'static> {
        let Some(field) = self.field else { return Merge::default() };
        Merge {
            merge: field.has_strategy("merge"),
            replace: field.has_strategy("replace"),
            retain_keys: field.has_strategy("retainKeys"),
            key: field.merge_key,
        }
    }
}
