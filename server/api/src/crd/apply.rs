//! Structural schemas as server-side apply sees them (`kube-openapi/pkg/schemaconv`, as [`crate::apply::shape`] tells it).

use std::sync::Arc;

use serde_json::Value;

use super::schema::{Additional, ListType, Schema, Type};
use crate::apply::Shape;
use crate::apply::shape::{self, Atom, Keys, List, Map, Relation, Scalar};

/// A whole object: its metadata is every object's.
#[derive(Debug)]
pub struct Root(pub Arc<Schema>);

impl shape::Schema for Root {
    fn atom(&self) -> Atom<'_> {
        match self.0.ty {
            Type::Object => self.0.atom(),
            _ => Shape::Deduced.atom(),
        }
    }

    fn field(&self, name: &str) -> Option<Shape<'_>> {
        match name {
            "metadata" => Some(Shape::object_meta()),
            "apiVersion" | "kind" => Some(Shape::Untyped),
            _ => shape::Schema::field(&*self.0, name),
        }
    }
}

impl shape::Schema for Schema {
    fn atom(&self) -> Atom<'_> {
        let scalar = |of| Atom { scalar: Some(of), ..Atom::default() };
        if self.int_or_string {
            return scalar(Scalar::Untyped);
        }
        match self.ty {
            Type::String => scalar(Scalar::Text),
            Type::Boolean => scalar(Scalar::Boolean),
            Type::Integer | Type::Number => scalar(Scalar::Numeric),
            Type::Array => Atom { list: Some(self.list()), ..Atom::default() },
            Type::Object => Atom { map: Some(self.map()), ..Atom::default() },
            Type::Any => Shape::Deduced.atom(),
        }
    }

    fn field(&self, name: &str) -> Option<Shape<'_>> {
        match name {
            "metadata" if self.embedded => Some(Shape::object_meta()),
            "apiVersion" | "kind" if self.embedded => Some(Shape::Untyped),
            _ => self.properties.get(name).map(|field| Shape::Other(field)),
        }
    }

    fn default(&self) -> Option<Value> {
        self.default.clone()
    }
}

impl Schema {
    fn list(&self) -> List<'_> {
        let relation = match self.list_type {
            ListType::Atomic => Relation::Atomic,
            ListType::Set => Relation::Set,
            ListType::Map => Relation::Map(Keys::Owned(&self.list_map_keys)),
        };
        let item = self.items.as_deref().map_or(Shape::Deduced, |items| Shape::Other(items));
        List { relation, item }
    }

    fn map(&self) -> Map<'_> {
        let others = match &self.additional {
            Some(Additional::Of(of)) => Some(Shape::Other(&**of)),
            _ if self.keeps() => Some(Shape::Deduced),
            _ => None,
        };
        Map { atomic: self.map_atomic, others }
    }
}
