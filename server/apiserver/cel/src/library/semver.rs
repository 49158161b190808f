//! `semver()`: Semantic Versioning 2.0, with upstream's lenient reading (`v1.2` and `01.02.03` for `1.2.0` and `1.2.3`).

use std::cmp::Ordering;
use std::fmt;

use sampan_api::go::Quote as _;

use super::{Called, Special, special};
use crate::error::EvalError;
use crate::value::Value;

/// A version; what follows a plus sign does not count in comparisons.
#[derive(Debug)]
pub struct Semver {
    numbers: [u64; 3],
    before: Vec<String>,
    build: String,
}

pub(super) fn make<'a>(name: &str, values: &[Value<'_>]) -> Called<'a> {
    let text = values.first().and_then(Value::as_str).ok_or_else(EvalError::overload)?;
    let lenient = match values.get(1) {
        None => false,
        Some(value) => value.as_bool().ok_or_else(EvalError::overload)?,
    };
    let parsed = if lenient { parse(&normalized(text)) } else { parse(text) };
    match (name, parsed) {
        ("isSemver", parsed) => Ok(Value::Bool(parsed.is_some())),
        (_, Some(version)) => Ok(special(Special::Semver(version))),
        (_, None) => Err(EvalError::new(format!("invalid semver string: {}", text.quoted()))),
    }
}

fn normalized(text: &str) -> String {
    let text = text.strip_prefix('v').unwrap_or(text);
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (numbers, rest) = text.split_at(end);
    let mut parts: Vec<&str> = numbers
        .split('.')
        .map(|part| if part.len() > 1 { part.trim_start_matches('0') } else { part })
        .map(|part| if part.is_empty() { "0" } else { part })
        .collect();
    while parts.len() < 3 {
        parts.push("0");
    }
    format!("{}{rest}", parts.join("."))
}

fn number(text: &str) -> Option<u64> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (text.len() == 1 || !text.starts_with('0'))).then(|| text.parse().ok())?
}

fn parse(text: &str) -> Option<Semver> {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, before) = text.split_once('-').map_or((text, None), |(core, before)| (core, Some(before)));
    let mut parts = core.split('.').map(number);
    let numbers = [parts.next()??, parts.next()??, parts.next()??];
    if parts.next().is_some() {
        return None;
    }
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    let before: Vec<String> =
        before.map(|all| all.split('.').map(str::to_owned).collect()).unwrap_or_default();
    let sound = before.iter().all(|part| word(part) && (!digits(part) || number(part).is_some()));
    let built = build.is_none_or(|all| all.split('.').all(word));
    (sound && built).then(|| Semver { numbers, before, build: build.unwrap_or_default().to_owned() })
}

impl Semver {
    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        self.numbers.cmp(&other.numbers).then_with(|| {
            match (self.before.is_empty(), other.before.is_empty()) {
                (true, true) => Ordering::Equal,
                (true, false) => Ordering::Greater,
                (false, true) => Ordering::Less,
                (false, false) => by_parts(&self.before, &other.before),
            }
        })
    }

    pub(super) fn method<'a>(&self, name: &str, other: Option<&Value<'_>>) -> Called<'a> {
        let other = match other {
            Some(Value::Special(special)) => match &**special {
                Special::Semver(other) => Some(self.cmp(other)),
                _ => return Err(EvalError::overload()),
            },
            Some(_) => return Err(EvalError::overload()),
            None => None,
        };
        Ok(match (name, other) {
            ("major", None) => Value::Int(self.numbers[0] as i64),
            ("minor", None) => Value::Int(self.numbers[1] as i64),
            ("patch", None) => Value::Int(self.numbers[2] as i64),
            ("isGreaterThan", Some(order)) => Value::Bool(order.is_gt()),
            ("isLessThan", Some(order)) => Value::Bool(order.is_lt()),
            ("compareTo", Some(order)) => Value::Int(order as i64),
            _ => return Err(EvalError::overload()),
        })
    }
}

/// Numbers by value and before words; of equal beginnings the longer is greater.
fn by_parts(a: &[String], b: &[String]) -> Ordering {
    for (a, b) in a.iter().zip(b) {
        let order = match (a.parse::<u64>(), b.parse::<u64>()) {
            (Ok(a), Ok(b)) => a.cmp(&b),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => a.cmp(b),
        };
        if order.is_ne() {
            return order;
        }
    }
    a.len().cmp(&b.len())
}

impl fmt::Display for Semver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if !self.before.is_empty() {
            write!(f, "-{}", self.before.join("."))?;
        }
        if self.build.is_empty() { Ok(()) } else { write!(f, "+{}", self.build) }
    }
}
