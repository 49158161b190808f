//! Conversions between types, and how texts spell bytes, instants and durations (Go's `time.ParseDuration`, RFC 3339).

use base64::Engine as _;
use jiff::Timestamp;

use super::Called;
use crate::error::EvalError;
use crate::value::{Key, Value};

pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    base64::engine::general_purpose::STANDARD.decode(text).ok()
}

pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    // a date alone is one too, in schemas of format date
    let parsed = text.parse().ok().or_else(|| format!("{text}T00:00:00Z").parse().ok());
    parsed.filter(|instant: &Timestamp| instant.as_second() >= -62_135_596_800)
}

/// `1h15m30.918273645s`; none if it is no duration or longer than 292 years.
pub(crate) fn duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let unit: i128 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return None,
        };
        total = total.checked_add(scaled(number, unit)?)?;
        rest = after;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn scaled(number: &str, unit: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<i128>().ok() };
    let fraction = &fraction[..fraction.len().min(18)];
    let part = digits(fraction)?.checked_mul(unit)? / 10_i128.pow(fraction.len() as u32);
    digits(whole)?.checked_mul(unit)?.checked_add(part)
}

/// As CEL prints durations: seconds.
pub(crate) fn show_duration(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let nanos = nanos.unsigned_abs();
    let fraction = format!("{:09}", nanos % 1_000_000_000);
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{dot}{fraction}s", nanos / 1_000_000_000)
}

pub(crate) fn show_double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    // Go's 'g' with the shortest digits: exponents outside of 1e-4 to 1e21
    let size = value.abs();
    if size != 0.0 && !(1e-4..1e21).contains(&size) {
        let text = format!("{value:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{value}")
}

pub(crate) fn show_key(key: &Key) -> String {
    match key {
        Key::Bool(value) => value.to_string(),
        Key::Int(value) => value.to_string(),
        Key::String(text) => text.to_string(),
    }
}

fn failed(value: &Value<'_>, to: &str) -> EvalError {
    EvalError::new(format!("type conversion error from '{}' to '{to}'", value.type_name()))
}

pub(super) fn convert<'a>(name: &str, mut values: Vec<Value<'a>>) -> Called<'a> {
    let (Some(value), None) = (values.pop(), values.pop()) else {
        return Err(EvalError::new(format!("no such overload: {name}")));
    };
    match name {
        "int" => to_int(&value),
        "uint" => to_uint(&value),
        "double" => to_double(&value),
        "string" => to_string(value),
        "bytes" => match &value {
            Value::Bytes(_) => Ok(value),
            Value::String(text) => Ok(Value::Bytes(text.as_bytes().into())),
            _ => Err(EvalError::overload()),
        },
        "bool" => match (&value, value.as_str()) {
            (Value::Bool(_), _) => Ok(value),
            (_, Some("true" | "True" | "TRUE" | "t" | "1")) => Ok(Value::Bool(true)),
            (_, Some("false" | "False" | "FALSE" | "f" | "0")) => Ok(Value::Bool(false)),
            _ => Err(failed(&value, "bool")),
        },
        "timestamp" => match &value {
            Value::Timestamp(_) => Ok(value),
            Value::String(text) => timestamp(text)
                .map(Value::Timestamp)
                .ok_or_else(|| failed(&value, "google.protobuf.Timestamp")),
            Value::Int(seconds) => {
                let instant =
                    Timestamp::from_second(*seconds).ok().filter(|at| at.as_second() >= -62_135_596_800);
                instant.map(Value::Timestamp).ok_or_else(|| EvalError::new("timestamp overflow"))
            }
            _ => Err(EvalError::overload()),
        },
        "duration" => match &value {
            Value::Duration(_) => Ok(value),
            Value::Int(nanos) => Ok(Value::Duration(*nanos)),
            Value::String(text) => {
                duration(text).map(Value::Duration).ok_or_else(|| failed(&value, "google.protobuf.Duration"))
            }
            _ => Err(EvalError::overload()),
        },
        _ => Err(EvalError::new(format!("no such overload: {name}"))),
    }
}

fn out_of_range(kind: &str) -> EvalError {
    EvalError::new(if kind == "int" { "integer overflow" } else { "unsigned integer overflow" })
}

fn to_int<'a>(value: &Value<'a>) -> Called<'a> {
    Ok(Value::Int(match value {
        Value::Int(value) => *value,
        Value::Uint(value) => i64::try_from(*value).map_err(|_| out_of_range("int"))?,
        Value::Double(value) if *value > -9.223_372_036_854_775e18 && *value < 9.223_372_036_854_775e18 => {
            *value as i64
        }
        Value::Double(_) => return Err(out_of_range("int")),
        Value::String(text) => text.parse().map_err(|_| failed(value, "int"))?,
        Value::Timestamp(instant) => instant.as_second(),
        Value::Duration(nanos) => *nanos,
        _ => return Err(EvalError::overload()),
    }))
}

fn to_uint<'a>(value: &Value<'a>) -> Called<'a> {
    Ok(Value::Uint(match value {
        Value::Uint(value) => *value,
        Value::Int(value) => u64::try_from(*value).map_err(|_| out_of_range("uint"))?,
        Value::Double(value) if *value >= 0.0 && *value < 1.844_674_407_370_955e19 => *value as u64,
        Value::Double(_) => return Err(out_of_range("uint")),
        Value::String(text) => text.parse().map_err(|_| failed(value, "uint"))?,
        _ => return Err(EvalError::overload()),
    }))
}

fn to_double<'a>(value: &Value<'a>) -> Called<'a> {
    Ok(Value::Double(match value {
        Value::Double(value) => *value,
        Value::Int(value) => *value as f64,
        Value::Uint(value) => *value as f64,
        Value::String(text) => text.parse().map_err(|_| failed(value, "double"))?,
        _ => return Err(EvalError::overload()),
    }))
}

fn to_string<'a>(value: Value<'a>) -> Called<'a> {
    Ok(Value::owned(match &value {
        Value::String(_) => return Ok(value),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => show_double(*value),
        Value::Bytes(bytes) => String::from_utf8(bytes.to_vec())
            .map_err(|_| EvalError::new("invalid UTF-8 in bytes, cannot convert to string"))?,
        Value::Timestamp(instant) => instant.to_string(),
        Value::Duration(nanos) => show_duration(*nanos),
        Value::Special(special) => special.to_string(),
        _ => return Err(EvalError::overload()),
    }))
}
