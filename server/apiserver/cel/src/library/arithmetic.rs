//! Operators on numbers, texts, lists and times.

use jiff::{SignedDuration, Timestamp};

use super::Called;
use crate::error::EvalError;
use crate::value::Value;

pub(super) fn operate<'a>(name: &str, values: &[Value<'a>]) -> Called<'a> {
    match (name, values) {
        ("!_", [Value::Bool(value)]) => Ok(Value::Bool(!value)),
        ("-_", [Value::Int(value)]) => value.checked_neg().map(Value::Int).ok_or_else(overflow),
        ("-_", [Value::Double(value)]) => Ok(Value::Double(-value)),
        (_, [left, right]) if matches!(name, "_<_" | "_<=_" | "_>_" | "_>=_") => order(name, left, right),
        ("_+_", [left, right]) => add(left, right),
        ("_-_", [left, right]) => subtract(left, right),
        (_, [left, right]) => multiply(name, left, right),
        _ => Err(EvalError::overload()),
    }
}

fn overflow() -> EvalError {
    EvalError::new("integer overflow")
}

fn order<'a>(name: &str, left: &Value<'_>, right: &Value<'_>) -> Called<'a> {
    let nan = |value: &Value<'_>| matches!(value, Value::Double(value) if value.is_nan());
    if nan(left) || nan(right) {
        return Err(EvalError::new("NaN values cannot be ordered"));
    }
    let order = left.compare(right).ok_or_else(EvalError::overload)?;
    Ok(Value::Bool(match name {
        "_<_" => order.is_lt(),
        "_<=_" => order.is_le(),
        "_>_" => order.is_gt(),
        _ => order.is_ge(),
    }))
}

fn add<'a>(left: &Value<'a>, right: &Value<'a>) -> Called<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a.checked_add(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => {
            a.checked_add(*b).map(Value::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"))
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (Value::String(a), Value::String(b)) => Ok(Value::owned(format!("{}{}", &**a, &**b))),
        (Value::Bytes(a), Value::Bytes(b)) => Ok(Value::Bytes([&**a, &**b].concat().into())),
        (Value::List(a), Value::List(b)) => Ok(Value::list(crate::relation::sum(a, b))),
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Timestamp(instant), Value::Duration(nanos))
        | (Value::Duration(nanos), Value::Timestamp(instant)) => shifted(*instant, *nanos),
        _ => Err(EvalError::overload()),
    }
}

fn shifted<'a>(instant: Timestamp, nanos: i64) -> Called<'a> {
    let moved = instant.checked_add(SignedDuration::from_nanos(nanos));
    moved.map(Value::Timestamp).map_err(|_| EvalError::new("timestamp overflow"))
}

fn subtract<'a>(left: &Value<'a>, right: &Value<'a>) -> Called<'a> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => a.checked_sub(*b).map(Value::Int).ok_or_else(overflow),
        (Value::Uint(a), Value::Uint(b)) => {
            a.checked_sub(*b).map(Value::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"))
        }
        (Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (Value::Duration(a), Value::Duration(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(overflow)
        }
        (Value::Timestamp(instant), Value::Duration(nanos)) => {
            shifted(*instant, nanos.checked_neg().ok_or_else(overflow)?)
        }
        (Value::Timestamp(a), Value::Timestamp(b)) => {
            let nanos = a.as_nanosecond() - b.as_nanosecond();
            i64::try_from(nanos).map(Value::Duration).map_err(|_| overflow())
        }
        _ => Err(EvalError::overload()),
    }
}

fn multiply<'a>(name: &str, left: &Value<'a>, right: &Value<'a>) -> Called<'a> {
    let zero = || EvalError::new(if name == "_%_" { "modulus by zero" } else { "division by zero" });
    match (name, left, right) {
        ("_*_", Value::Int(a), Value::Int(b)) => a.checked_mul(*b).map(Value::Int).ok_or_else(overflow),
        ("_*_", Value::Uint(a), Value::Uint(b)) => {
            a.checked_mul(*b).map(Value::Uint).ok_or_else(|| EvalError::new("unsigned integer overflow"))
        }
        ("_*_", Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        ("_/_", Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        ("_/_" | "_%_", Value::Int(_), Value::Int(0)) | ("_/_" | "_%_", Value::Uint(_), Value::Uint(0)) => {
            Err(zero())
        }
        ("_/_", Value::Int(a), Value::Int(b)) => a.checked_div(*b).map(Value::Int).ok_or_else(overflow),
        ("_%_", Value::Int(a), Value::Int(b)) => a.checked_rem(*b).map(Value::Int).ok_or_else(overflow),
        ("_/_", Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a / b)),
        ("_%_", Value::Uint(a), Value::Uint(b)) => Ok(Value::Uint(a % b)),
        _ => Err(EvalError::overload()),
    }
}
