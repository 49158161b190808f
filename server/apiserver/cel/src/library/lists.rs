//! Lists, sets and membership.

use std::cmp::Ordering;

use super::{Called, items};
use crate::error::EvalError;
use crate::eval::Budget;
use crate::value::{List, Value};

pub(super) fn contains<'a>(item: &Value<'_>, within: &Value<'_>) -> Called<'a> {
    Ok(Value::Bool(match within {
        Value::List(list) => list.iter().any(|one| one.equals(item)),
        Value::Map(map) => item.key().is_some_and(|key| map.get(&key).is_some()),
        _ => return Err(EvalError::overload()),
    }))
}

pub(super) fn sets<'a>(name: &str, values: &[Value<'_>]) -> Called<'a> {
    let [left, right] = values else { return Err(EvalError::overload()) };
    let (left, right) = (items(left)?, items(right)?);
    let within = |all: &List<'_>, item: &Value<'_>| all.iter().any(|one| one.equals(item));
    let covers = |all: &List<'_>, some: &List<'_>| some.iter().all(|item| within(all, &item));
    Ok(Value::Bool(match name {
        "sets.contains" => covers(&left, &right),
        "sets.equivalent" => covers(&left, &right) && covers(&right, &left),
        _ => left.iter().any(|item| within(&right, &item)),
    }))
}

pub(super) fn method<'a>(
    name: &str,
    list: &List<'a>,
    argument: Option<&Value<'a>>,
    budget: &Budget,
) -> Called<'a> {
    match (name, argument) {
        ("isSorted", None) => sorted(list),
        ("min", None) => extreme(list, "min", Ordering::Less),
        ("max", None) => extreme(list, "max", Ordering::Greater),
        ("sum", None) => sum(list, budget),
        ("indexOf", Some(item)) => {
            let found = list.iter().position(|one| one.equals(item));
            Ok(Value::Int(found.map_or(-1, |index| index as i64)))
        }
        ("lastIndexOf", Some(item)) => {
            let found =
                (0..list.len()).rev().find(|&index| list.get(index).is_some_and(|one| one.equals(item)));
            Ok(Value::Int(found.map_or(-1, |index| index as i64)))
        }
        _ => Err(EvalError::overload()),
    }
}

fn sorted<'a>(list: &List<'_>) -> Called<'a> {
    let mut before: Option<Value<'_>> = None;
    for item in list.iter() {
        if let Some(before) = &before
            && before.compare(&item).ok_or_else(EvalError::overload)?.is_gt()
        {
            return Ok(Value::Bool(false));
        }
        before = Some(item);
    }
    Ok(Value::Bool(true))
}

fn extreme<'a>(list: &List<'a>, name: &str, wanted: Ordering) -> Called<'a> {
    let mut best: Option<Value<'a>> = None;
    for item in list.iter() {
        best = match best {
            Some(best) if item.compare(&best).ok_or_else(EvalError::overload)? != wanted => Some(best),
            _ => Some(item),
        };
    }
    best.ok_or_else(|| EvalError::new(format!("{name} called on empty list")))
}

fn sum<'a>(list: &List<'a>, _budget: &Budget) -> Called<'a> {
    let mut total: Option<Value<'a>> = None;
    for item in list.iter() {
        total = Some(match total {
            None => item,
            Some(total) => super::arithmetic::operate("_+_", &[total, item])?,
        });
    }
    Ok(total.unwrap_or(Value::Int(0)))
}
