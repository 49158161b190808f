//! cel-go's `ext.Strings`, version 2. Places are counted in characters.

use super::Called;
use super::convert::{show_double, show_duration, show_key};
use crate::error::EvalError;
use crate::eval::Budget;
use crate::value::{List, Value};

pub(super) fn method<'a>(name: &str, text: &str, values: &[Value<'a>], budget: &Budget) -> Called<'a> {
    let first = values.first().and_then(Value::as_str);
    match (name, values, first) {
        ("contains", [_], Some(other)) => Ok(Value::Bool(text.contains(other))),
        ("startsWith", [_], Some(other)) => Ok(Value::Bool(text.starts_with(other))),
        ("endsWith", [_], Some(other)) => Ok(Value::Bool(text.ends_with(other))),
        ("lowerAscii", [], _) => Ok(Value::owned(text.to_ascii_lowercase())),
        ("upperAscii", [], _) => Ok(Value::owned(text.to_ascii_uppercase())),
        ("trim", [], _) => Ok(Value::owned(text.trim())),
        ("charAt", [Value::Int(index)], _) => char_at(text, *index),
        ("indexOf", [_], Some(other)) => index_of(text, other, 0),
        ("indexOf", [_, Value::Int(from)], Some(other)) => index_of(text, other, *from),
        ("lastIndexOf", [_], Some(other)) => last_index_of(text, other, None),
        ("lastIndexOf", [_, Value::Int(from)], Some(other)) => last_index_of(text, other, Some(*from)),
        ("substring", [Value::Int(from)], _) => substring(text, *from, text.chars().count() as i64),
        ("substring", [Value::Int(from), Value::Int(to)], _) => substring(text, *from, *to),
        ("split", [_], Some(by)) => Ok(split(text, by, -1)),
        ("split", [_, Value::Int(limit)], Some(by)) => Ok(split(text, by, *limit)),
        ("replace", [_, with], Some(what)) => replace(text, what, with, -1, budget),
        ("replace", [_, with, Value::Int(limit)], Some(what)) => replace(text, what, with, *limit, budget),
        ("format", [Value::List(arguments)], _) => format(text, arguments),
        _ => Err(EvalError::overload()),
    }
}

fn out_of_range(index: i64) -> EvalError {
    EvalError::new(format!("index out of range: {index}"))
}

fn char_at<'a>(text: &str, index: i64) -> Called<'a> {
    let count = text.chars().count() as i64;
    match index {
        index if index == count => Ok(Value::owned("")),
        index if (0..count).contains(&index) => {
            Ok(Value::owned(text.chars().nth(index as usize).map(String::from).unwrap_or_default()))
        }
        index => Err(out_of_range(index)),
    }
}

/// The byte at which the character `index` begins.
fn offset(text: &str, index: i64) -> Result<usize, EvalError> {
    let mut places = text.char_indices().map(|(at, _)| at).chain([text.len()]);
    usize::try_from(index).ok().and_then(|index| places.nth(index)).ok_or_else(|| out_of_range(index))
}

fn chars_before(text: &str, at: usize) -> i64 {
    text[..at].chars().count() as i64
}

fn index_of<'a>(text: &str, other: &str, from: i64) -> Called<'a> {
    if other.is_empty() {
        return Ok(Value::Int(from));
    }
    let from = offset(text, from)?;
    Ok(Value::Int(text[from..].find(other).map_or(-1, |at| chars_before(text, from + at))))
}

fn last_index_of<'a>(text: &str, other: &str, from: Option<i64>) -> Called<'a> {
    if other.is_empty() {
        return Ok(Value::Int(from.unwrap_or(text.chars().count() as i64)));
    }
    let end = match from {
        None => text.len(),
        Some(from) => (offset(text, from)? + other.len()).min(text.len()),
    };
    let found = (0..=end.saturating_sub(other.len()))
        .rev()
        .find(|&at| text.is_char_boundary(at) && text[at..].starts_with(other));
    Ok(Value::Int(found.map_or(-1, |at| chars_before(text, at))))
}

fn substring<'a>(text: &str, from: i64, to: i64) -> Called<'a> {
    let (start, end) = (offset(text, from)?, offset(text, to)?);
    if start > end {
        return Err(EvalError::new(format!("invalid substring range. start: {from}, end: {to}")));
    }
    Ok(Value::owned(&text[start..end]))
}

fn split<'a>(text: &str, by: &str, limit: i64) -> Value<'a> {
    let parts: Vec<String> = match usize::try_from(limit) {
        Ok(0) => Vec::new(),
        limit => {
            let limit = limit.unwrap_or(usize::MAX);
            if by.is_empty() {
                letters(text, limit)
            } else {
                text.splitn(limit, by).map(str::to_owned).collect()
            }
        }
    };
    Value::list(parts.into_iter().map(Value::owned).collect())
}

fn letters(text: &str, limit: usize) -> Vec<String> {
    let mut parts = Vec::new();
    let mut rest = text.chars();
    while parts.len() + 1 < limit {
        let Some(c) = rest.next() else { return parts };
        parts.push(c.to_string());
    }
    if !rest.as_str().is_empty() {
        parts.push(rest.as_str().to_owned());
    }
    parts
}

fn replace<'a>(text: &str, what: &str, with: &Value<'_>, limit: i64, budget: &Budget) -> Called<'a> {
    let with = with.as_str().ok_or_else(EvalError::overload)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    // what it may grow to is paid before it is made
    let count = text.matches(what).take(limit).count() as u64;
    budget.pay(count.saturating_mul(with.len() as u64).div_ceil(10))?;
    Ok(Value::owned(text.replacen(what, with, limit)))
}

pub(super) fn join<'a>(list: &List<'_>, separator: Option<&Value<'_>>) -> Called<'a> {
    let separator = separator.map_or(Some(""), Value::as_str).ok_or_else(EvalError::overload)?;
    let mut text = String::new();
    for (index, item) in list.iter().enumerate() {
        if index > 0 {
            text.push_str(separator);
        }
        text.push_str(item.as_str().ok_or_else(EvalError::overload)?);
    }
    Ok(Value::owned(text))
}

pub(super) fn quote<'a>(value: &Value<'_>) -> Called<'a> {
    let text = value.as_str().ok_or_else(EvalError::overload)?;
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '\u{7}' => quoted.push_str("\\a"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{b}' => quoted.push_str("\\v"),
            '\\' => quoted.push_str("\\\\"),
            '"' => quoted.push_str("\\\""),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    Ok(Value::owned(quoted))
}

/// `'%s is %d'.format(['a', 1])`
fn format<'a>(text: &str, arguments: &List<'_>) -> Called<'a> {
    let mut made = String::new();
    let mut next = 0;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            made.push(c);
            continue;
        }
        let mut precision = None;
        let mut verb = rest.next();
        if verb == Some('.') {
            let digits: String = rest.clone().take_while(char::is_ascii_digit).collect();
            precision = digits.parse::<usize>().ok().filter(|precision| *precision < 1000);
            verb = rest.nth(digits.len());
        }
        if verb == Some('%') {
            made.push('%');
            continue;
        }
        let verb = verb.ok_or_else(|| EvalError::new("unexpected end of string"))?;
        let argument =
            arguments.get(next).ok_or_else(|| EvalError::new(format!("index {next} out of range")))?;
        next += 1;
        made.push_str(&clause(verb, precision, &argument)?);
    }
    Ok(Value::owned(made))
}

fn clause(verb: char, precision: Option<usize>, value: &Value<'_>) -> Result<String, EvalError> {
    let number = || match value {
        Value::Double(value) => Some(*value),
        Value::Int(value) => Some(*value as f64),
        Value::Uint(value) => Some(*value as f64),
        _ => None,
    };
    let text = match (verb, value) {
        ('s', value) => Some(show(value)),
        ('d', Value::Int(value)) => Some(value.to_string()),
        ('d', Value::Uint(value)) => Some(value.to_string()),
        ('f', _) => number().map(|value| format!("{value:.*}", precision.unwrap_or(6))),
        ('e', _) => number().map(|value| exponent(value, precision.unwrap_or(6))),
        ('b', Value::Int(value)) => {
            Some(format!("{}{:b}", if *value < 0 { "-" } else { "" }, value.unsigned_abs()))
        }
        ('b', Value::Uint(value)) => Some(format!("{value:b}")),
        ('b', Value::Bool(value)) => Some(u8::from(*value).to_string()),
        ('o', Value::Int(value)) => {
            Some(format!("{}{:o}", if *value < 0 { "-" } else { "" }, value.unsigned_abs()))
        }
        ('o', Value::Uint(value)) => Some(format!("{value:o}")),
        ('x' | 'X', Value::Int(value)) => {
            Some(format!("{}{:x}", if *value < 0 { "-" } else { "" }, value.unsigned_abs()))
        }
        ('x' | 'X', Value::Uint(value)) => Some(format!("{value:x}")),
        ('x' | 'X', Value::String(text)) => Some(text.bytes().map(|byte| format!("{byte:02x}")).collect()),
        ('x' | 'X', Value::Bytes(bytes)) => Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        ('d' | 'b' | 'o' | 'x' | 'X', _) => None,
        _ => {
            return Err(EvalError::new(format!(
                "could not parse formatting clause: unrecognized formatting clause \"{verb}\""
            )));
        }
    };
    let text = text.ok_or_else(|| {
        EvalError::new(format!(
            "error during formatting: type {} cannot be formatted with %{verb}",
            value.type_name()
        ))
    })?;
    Ok(if verb == 'X' { text.to_uppercase() } else { text })
}

fn exponent(value: f64, precision: usize) -> String {
    let text = format!("{value:.precision$e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

fn show(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => show_double(*value),
        Value::String(text) => text.to_string(),
        Value::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Timestamp(instant) => instant.to_string(),
        Value::Duration(nanos) => show_duration(*nanos),
        Value::Type(name) => name.to_string(),
        Value::List(list) => {
            format!("[{}]", list.iter().map(|item| show(&item)).collect::<Vec<_>>().join(", "))
        }
        Value::Map(map) => {
            let mut entries: Vec<String> =
                map.entries().map(|(key, value)| format!("{}: {}", show_key(&key), show(&value))).collect();
            entries.sort();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Special(special) => special.to_string(),
        other => other.type_name().to_owned(),
    }
}
