//! What upstream says of a value that is not of its field's type where no JSON is decoded: a strategic merge patch goes from
//! a map into a struct. Ported from `apimachinery/pkg/runtime/converter.go`.

use serde_json::Value;

use super::node::{Node, Shape};

/// The first misfit of `value`; `None` if there is none that upstream would see.
pub fn misfit<N: Node>(value: &Value, node: N) -> Option<String> {
    if value.is_null() {
        return None;
    }
    let kind = kind(value);
    match (node.shape(), value) {
        (Shape::Object, Value::Object(map)) => {
            map.iter().find_map(|(key, value)| misfit(value, node.field(key)?))
        }
        (Shape::List(item), Value::Array(list)) => list.iter().find_map(|value| misfit(value, item)),
        (Shape::Map(item), Value::Object(map)) => map.values().find_map(|value| misfit(value, item)),
        (Shape::Object, _) => Some(format!("cannot restore struct from: {kind}")),
        (Shape::List(_), _) => Some(format!("cannot restore slice from {kind}")),
        (Shape::Map(_), _) => Some(format!("cannot restore map from {kind}")),
        (Shape::Bytes, Value::String(_) | Value::Array(_)) => None,
        (Shape::Bytes, _) => Some(format!("cannot restore slice from {kind}")),
        // these decode themselves
        (Shape::Time | Shape::MicroTime, value) if !value.is_string() => Some(unmarshal(value, "string")),
        (Shape::IntOrString, Value::Bool(_) | Value::Array(_) | Value::Object(_)) => {
            Some(unmarshal(value, "int32"))
        }
        (shape, value) => scalar(&shape, value).map(|wanted| match (kind, wanted) {
            // Go could turn the one into the other, JSON does not
            ("int64", "string") | ("float64", "int32" | "int64") => {
                format!("cannot convert {kind} to {}", node.go_type().unwrap_or(wanted))
            }
            _ => format!("unrecognized type: {wanted}"),
        }),
    }
}

fn unmarshal(value: &Value, wanted: &str) -> String {
    format!("json: cannot unmarshal {} into Go value of type {wanted}", super::json_type(value))
}

/// The scalar that was wanted, if `value` is none.
fn scalar<N>(shape: &Shape<N>, value: &Value) -> Option<&'static str> {
    let (wanted, fits) = match shape {
        Shape::Text => ("string", value.is_string()),
        Shape::Bool => ("bool", value.is_boolean()),
        Shape::Float => ("float64", value.is_number()),
        Shape::Int32 => ("int32", whole(value)),
        Shape::Int64 => ("int64", whole(value)),
        _ => return None,
    };
    (!fits).then_some(wanted)
}

fn whole(value: &Value) -> bool {
    value.as_f64().is_some_and(|number| number.fract() == 0.0)
}

/// Go's kind of what JSON decodes to.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "invalid",
        Value::Bool(_) => "bool",
        Value::Number(number) if number.is_f64() => "float64",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "slice",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Toy;
    use super::*;
    use serde_json::json;

    #[test]
    fn misfits_are_told_in_the_converters_words() {
        for (value, why) in [
            (json!({"metadata": {"labels": "x"}}), Some("cannot restore map from string")),
            (json!({"metadata": {"labels": {"a": 5}}}), Some("cannot convert int64 to string")),
            (json!({"metadata": {"labels": {"a": true}}}), Some("unrecognized type: string")),
            (json!({"metadata": {"finalizers": {}}}), Some("cannot restore slice from map")),
            (
                json!({"metadata": {"creationTimestamp": 5}}),
                Some("json: cannot unmarshal number into Go value of type string"),
            ),
            (json!({"spec": []}), Some("cannot restore struct from: slice")),
            (json!({"spec": null, "metadata": {"labels": {"a": "b"}}, "unknown": 5}), None),
        ] {
            assert_eq!(misfit(&value, Toy::of("Pod")).as_deref(), why, "{value}");
        }
    }
}
