//! Regular expressions, in Go's syntax.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use regex::Regex;

use super::Called;
use crate::error::EvalError;
use crate::eval::Budget;
use crate::value::Value;

/// What came of compiling each pattern: they are few and used again and again. When there are too many, all are forgotten.
static KNOWN: LazyLock<Mutex<HashMap<String, Result<Regex, EvalError>>>> = LazyLock::new(Mutex::default);
const MOST: usize = 256;
/// Longer ones are not kept: what is wrong with them repeats them.
const LONGEST: usize = 16 << 10;
const SIZE_LIMIT: usize = 4 << 20;

pub(crate) fn compile(pattern: &str) -> Result<Regex, EvalError> {
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(compiled) = known().get(pattern) {
        return compiled.clone();
    }
    // others need not wait
    let compiled = build(pattern);
    if pattern.len() <= LONGEST {
        let mut known = known();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(pattern.to_owned(), compiled.clone());
    }
    compiled
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_compile_is_remembered() {
        let known = |pattern: &str| KNOWN.lock().is_ok_and(|known| known.contains_key(pattern));
        let pattern = "(remembered";
        assert_eq!(compile(pattern).map(drop), build(pattern).map(drop));
        assert!(known(pattern));
        let long = format!("({}", "x".repeat(LONGEST));
        assert!(compile(&long).is_err());
        assert!(!known(&long));
    }
}
