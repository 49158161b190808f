//! Required fields by the field table, for kinds without rules of their own.
//!
//! A Go client sends the zero value of a required list, number or boolean as null or not at all, and upstream
//! takes it; so only texts and objects are asked for, and only when they are absent, not when they are empty.
//! Status is written by controllers, in parts, and is not checked.

use serde_json::Value;

use super::access::*;
use crate::fields::{self, FieldType, Type};
use crate::status::FieldError;

/// Adds a `Required value` for each absent required field of the type named `schema`.
pub fn required(schema: &str, object: &Value, errors: &mut Vec<FieldError>) {
    if let Some(ty) = fields::type_of(schema) {
        in_object(ty, object, "", errors);
    }
}

fn in_object(ty: &Type, object: &Value, at: &str, errors: &mut Errors) {
    for field in &ty.fields {
        if at.is_empty() && matches!(field.json, "status" | "metadata") {
            continue;
        }
        match object.get(field.json) {
            None | Some(Value::Null) if field.required && must_be_there(field.ty) => {
                errors.push(FieldError::required(join(at, field.json), ""));
            }
            None => {}
            Some(value) => inside(field.ty, value, &join(at, field.json), errors),
        }
    }
}

fn must_be_there(ty: FieldType) -> bool {
    matches!(ty, FieldType::String | FieldType::Object(_))
}

fn inside(ty: FieldType, value: &Value, at: &str, errors: &mut Errors) {
    match (ty, value) {
        (FieldType::Object(reference), Value::Object(_)) => in_object(reference.get(), value, at, errors),
        (FieldType::List(item), Value::Array(list)) if item.object().is_some() => {
            for (index, value) in list.iter().enumerate() {
                inside(*item, value, &format!("{at}[{index}]"), errors);
            }
        }
        (FieldType::Map(item), Value::Object(map)) if item.object().is_some() => {
            for (key, value) in map {
                inside(*item, value, &format!("{at}[{key}]"), errors);
            }
        }
        _ => {}
    }
}
