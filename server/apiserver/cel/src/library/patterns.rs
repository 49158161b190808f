//! Regular expressions, in Go's syntax.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

use super::Called;
use crate::error::EvalError;
use crate::eval::Budget;
use crate::value::Value;

/// Patterns are few and used again and again; when there are too many, all are forgotten.
static KNOWN: LazyLock<Mutex<HashMap<String, Regex>>> = LazyLock::new(Mutex::default);
const MOST: usize = 256;
const SIZE_LIMIT: usize = 4 << 20;

pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(regex) = known.get(pattern) {
        return Ok(regex.clone());
    }
    let regex = build(pattern)?;
    if known.len() >= MOST {
        known.clear();
    }
    known.insert(pattern.to_owned(), regex.clone());
    Ok(regex)
}

fn build(pattern: &str) -> Result<Regex, EvalError> {
    sampan_api::go::regexp::compile(pattern, SIZE_LIMIT).map_err(EvalError::new)
}

fn prepared(target: &Value<'_>, pattern: &Value<'_>, budget: &Budget) -> Result<(String, Regex), EvalError> {
    let (Some(text), Some(pattern)) = (target.as_str(), pattern.as_str()) else {
        return Err(EvalError::overload());
    };
    // upstream's: a tenth of the text times a quarter of the pattern
    budget.pay((text.len() as u64).div_ceil(10).saturating_mul((pattern.len() as u64).div_ceil(4)))?;
    Ok((text.to_owned(), compile(pattern)?))
}

pub(super) fn matches<'a>(target: &Value<'_>, pattern: &Value<'_>, budget: &Budget) -> Called<'a> {
    let (text, regex) = prepared(target, pattern, budget)?;
    Ok(Value::Bool(regex.is_match(&text)))
}

pub(super) fn find<'a>(name: &str, target: &Value<'_>, values: &[Value<'_>], budget: &Budget) -> Called<'a> {
    let (text, regex) = prepared(target, values.first().ok_or_else(EvalError::overload)?, budget)?;
    match (name, values.get(1)) {
        ("find", None) => Ok(Value::owned(regex.find(&text).map_or("", |found| found.as_str()))),
        ("findAll", limit) => {
            let limit = match limit {
                None => usize::MAX,
                Some(Value::Int(limit)) => usize::try_from(*limit).unwrap_or(usize::MAX),
                Some(_) => return Err(EvalError::overload()),
            };
            let all = regex.find_iter(&text).take(limit).map(|found| Value::owned(found.as_str()));
            Ok(Value::list(all.collect()))
        }
        _ => Err(EvalError::overload()),
    }
}
