//! The generated field table as shapes.

use serde_json::Value;

use super::shape::{Atom, Is, Keys, List, Map, Relation, Scalar, Shape};
use crate::fields::{Field, FieldType, ListType, Type};

/// A place in the field table.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    ty: FieldType,
    field: Option<&'static Field>,
}

impl Place {
    pub(super) fn of(ty: &'static Type) -> Self {
        Self::bare(ty.scalar.unwrap_or_else(|| FieldType::Object(ty.reference())))
    }

    fn bare(ty: FieldType) -> Self {
        Self { ty, field: None }
    }

    fn object(self) -> Option<&'static Type> {
        match self.ty {
            FieldType::Object(reference) => Some(reference.get()),
            _ => None,
        }
    }

    pub(super) fn atom<'s>(self) -> Atom<'s> {
        match self.only() {
            Some(Is::Scalar(scalar)) => Atom { scalar: Some(scalar), ..Atom::default() },
            Some(Is::List(list)) => Atom { list: Some(list), ..Atom::default() },
            Some(Is::Map(map)) => Atom { map: Some(map), ..Atom::default() },
            None => Shape::Deduced.atom(),
        }
    }

    /// What any value is there; `None` where there is no schema.
    pub(super) fn only<'s>(self) -> Option<Is<'s>> {
        Some(match &self.ty {
            FieldType::String | FieldType::Bytes | FieldType::Duration => Is::Scalar(Scalar::Text),
            FieldType::Int32 | FieldType::Int64 | FieldType::Float => Is::Scalar(Scalar::Numeric),
            FieldType::Bool => Is::Scalar(Scalar::Boolean),
            FieldType::Time | FieldType::MicroTime | FieldType::Quantity | FieldType::IntOrString => {
                Is::Scalar(Scalar::Untyped)
            }
            FieldType::Object(reference) => match reference.get() {
                Type { scalar: Some(ty), .. } => return Self { ty: *ty, ..self }.only(),
                object => {
                    let atomic = object.atomic || self.field.is_some_and(|f| f.map_atomic);
                    Is::Map(Map { atomic, others: None })
                }
            },
            FieldType::List(item) => {
                Is::List(List { relation: self.relation(), item: Shape::Table(Self::bare(**item)) })
            }
            FieldType::Map(item) => {
                let atomic = self.field.is_some_and(|f| f.map_atomic);
                Is::Map(Map { atomic, others: Some(Shape::Table(Self::bare(**item))) })
            }
            FieldType::RawExtension | FieldType::FieldsV1 => {
                Is::Map(Map { atomic: false, others: Some(Shape::Deduced) })
            }
            FieldType::Json
            | FieldType::SchemaOrArray
            | FieldType::SchemaOrBool
            | FieldType::SchemaOrStrings => return None,
        })
    }

    fn relation<'s>(self) -> Relation<'s> {
        match self.field.and_then(|field| Some((field, field.list_type?))) {
            Some((_, ListType::Set)) => Relation::Set,
            Some((field, ListType::Map)) => Relation::Map(Keys::Fixed(field.map_keys)),
            Some((_, ListType::Atomic)) | None => Relation::Atomic,
        }
    }

    pub(super) fn field(self, name: &str) -> Option<Self> {
        let field = self.object()?.field(name)?;
        Some(Self { ty: field.ty, field: Some(field) })
    }

    pub(super) fn default(self) -> Option<Value> {
        serde_json::from_str(self.field?.default?).ok()
    }

    /// What the field is in an object that says nothing of it.
    pub(super) fn zero(self) -> Option<&'static Value> {
        self.field?.zero()
    }
}
