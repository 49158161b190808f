//! CEL types of kinds: of built-in ones from the field table, of custom resources from their schemas.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sampan_api::fields::{self, FieldType, TypeRef};
use sampan_api::kinds::Kind;
use sampan_cel::{ObjectType, Type, escape, from_schema};

/// The type of a kind's objects; none without a schema.
pub(super) fn of_kind(kind: &Kind) -> Option<Type> {
    if let Some(version) = kind.custom.and_then(|custom| custom.version()) {
        return from_schema(version.json(), kind.schema, true);
    }
    let root = fields::type_of(kind.schema)?;
    let mut made = Made::default();
    Some(made.object(root.reference()))
}

#[derive(Default)]
struct Made {
    known: HashMap<TypeRef, Type>,
    /// What is being made: a type within itself is dyn there.
    open: Vec<TypeRef>,
}

impl Made {
    fn of(&mut self, ty: FieldType) -> Type {
        match ty {
            FieldType::String | FieldType::Duration => Type::String,
            FieldType::Int32 | FieldType::Int64 => Type::Int,
            FieldType::Float => Type::Double,
            FieldType::Bool => Type::Bool,
            FieldType::Bytes => Type::Bytes,
            FieldType::Time | FieldType::MicroTime => Type::Timestamp,
            FieldType::List(item) => Type::list(self.of(*item)),
            FieldType::Map(value) => Type::map(self.of(*value)),
            FieldType::Object(reference) => self.object(reference),
            _ => Type::Dyn,
        }
    }

    fn object(&mut self, reference: TypeRef) -> Type {
        if let Some(known) = self.known.get(&reference) {
            return known.clone();
        }
        let ty = reference.get();
        if let Some(scalar) = ty.scalar {
            return self.of(scalar);
        }
        if self.open.contains(&reference) {
            return Type::Dyn;
        }
        self.open.push(reference);
        let mut all = BTreeMap::new();
        for field in &ty.fields {
            if let Some(name) = escape(field.json) {
                let ty = self.of(field.ty);
                all.insert(name, sampan_cel::ObjectField { json: field.json.to_owned(), ty });
            }
        }
        self.open.pop();
        let made = Type::Object(Arc::new(ObjectType { name: ty.name.to_owned(), fields: all }));
        self.known.insert(reference, made.clone());
        made
    }
}
