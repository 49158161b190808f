//! Kind and metadata of resources within an object, made to be what Go could read (`schema/objectmeta/algorithm.go`).

use serde_json::{Map, Value};

use super::decode::{META, own_metadata};
use super::path::Path;
use super::schema::Schema;
use crate::status::FieldError;
use crate::strict::{self, Spot};

/// Of all resources within `value`; what cannot be read is refused.
pub fn coerce(value: &mut Value, schema: &Schema) -> Result<(), FieldError> {
    each(value, schema, &Path::Root, read)
}

/// The same of what is stored, perhaps since the schema said something else: what cannot be read is left out.
pub fn tidy(value: &mut Value, schema: &Schema) {
    // nothing is refused
    each(value, schema, &Path::Root, mend).unwrap_or_default();
}

/// What is done to each resource.
type Visit = fn(&mut Value, &Path<'_>) -> Result<(), FieldError>;

fn each(value: &mut Value, schema: &Schema, at: &Path<'_>, visit: Visit) -> Result<(), FieldError> {
    match value {
        Value::Object(map) => {
            for (key, value) in map.iter_mut() {
                let Some(field) = schema.field(key) else { continue };
                one(value, field, &at.key(key), visit)?;
            }
        }
        Value::Array(list) => {
            let Some(items) = &schema.items else { return Ok(()) };
            for (index, item) in list.iter_mut().enumerate() {
                one(item, items, &at.index(index), visit)?;
            }
        }
        _ => {}
    }
    Ok(())
}

fn one(value: &mut Value, schema: &Schema, at: &Path<'_>, visit: Visit) -> Result<(), FieldError> {
    if schema.embedded && value.is_object() {
        visit(value, at)?;
    }
    each(value, schema, at, visit)
}

fn read(resource: &mut Value, at: &Path<'_>) -> Result<(), FieldError> {
    for key in ["apiVersion", "kind"] {
        if let Some(other) = resource.get(key).filter(|found| !found.is_string()) {
            return Err(FieldError::invalid(at.key(key).to_string(), other.clone(), "must be a string"));
        }
    }
    own_metadata(resource)
        .map_err(|(found, why)| FieldError::invalid(at.key("metadata").to_string(), found, why))
}

fn mend(resource: &mut Value, _: &Path<'_>) -> Result<(), FieldError> {
    if let Value::Object(map) = resource {
        map.retain(|key, value| !matches!(key.as_str(), "apiVersion" | "kind") || value.is_string());
    }
    if own_metadata(resource).is_ok() {
        return Ok(());
    }
    let (Some(Value::Object(metadata)), Some(spot)) = (resource.get_mut("metadata"), Spot::root(META)) else {
        return Ok(());
    };
    // field by field: one that does not fit takes no other with it
    metadata.retain(|key, value| {
        let mut alone = Value::Object(Map::from_iter([(key.clone(), value.take())]));
        let fits = strict::conform(&mut alone, spot).is_ok();
        match alone.get_mut(key).filter(|_| fits) {
            Some(read) => {
                *value = read.take();
                true
            }
            None => false,
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        let within = json!({"type": "object", "x-kubernetes-embedded-resource": true,
            "x-kubernetes-preserve-unknown-fields": true});
        Schema::read(&json!({"type": "object", "properties": {
            "one": within, "list": {"type": "array", "items": within}}}))
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let cases = [
            (json!({"one": {"kind": 1}}), "one.kind: Invalid value: 1: must be a string"),
            (
                json!({"list": [{}, {"apiVersion": true}]}),
                "list[1].apiVersion: Invalid value: true: must be a string",
            ),
            (
                json!({"one": {"metadata": {"namespace": 42}}}),
                "one.metadata: Invalid value: {\"namespace\":42}: json: cannot unmarshal number into Go struct field \
                 ObjectMeta.namespace of type string",
            ),
        ];
        for (mut object, why) in cases {
            let told = coerce(&mut object, &schema()).map_err(|wrong| wrong.to_string());
            assert_eq!(told, Err(why.to_owned()));
        }
    }

    #[test]
    fn of_what_is_stored_it_is_left_out() {
        let metadata = json!({"name": "a", "unknown": 1, "labels": {"a": "x y"}});
        let mut object = json!({
            "one": {"kind": "Foo", "apiVersion": 1, "metadata": metadata},
            "list": [{"metadata": {"name": "b", "annotations": {"a": 42, "b": "c"}, "generation": "x", "unknown": 1}}],
        });
        tidy(&mut object, &schema());
        let expected = json!({
            "one": {"kind": "Foo", "metadata": {"name": "a", "labels": {"a": "x y"}}},
            "list": [{"metadata": {"name": "b"}}],
        });
        assert_eq!(object, expected);
    }
}
