//! The functions: which file answers to which name.

mod arithmetic;
pub(crate) mod convert;
mod formats;
mod images;
mod lists;
mod net;
mod patterns;
mod semver;
mod strings;
mod times;
mod urls;

use std::fmt;

use sampan_api::quantity::Quantity;

use crate::ast::{Expr, Literal, Node};
use crate::error::{EvalError, Issue};
use crate::eval::Budget;
use crate::value::{List, Value};

/// A value of Kubernetes' libraries.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Special {
    Quantity(Quantity),
    Url(urls::Url),
    Ip(std::net::IpAddr),
    Cidr(net::Cidr),
    Semver(semver::Semver),
    Format(&'static formats::Format),
    Image(images::Image),
}

impl Special {
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Quantity(_) => "kubernetes.Quantity",
            Self::Url(_) => "kubernetes.URL",
            Self::Ip(_) => "net.IP",
            Self::Cidr(_) => "net.CIDR",
            Self::Semver(_) => "kubernetes.Semver",
            Self::Format(_) => "kubernetes.NamedFormat",
            Self::Image(_) => "kubernetes.Image",
        }
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Quantity(a), Self::Quantity(b)) => a == b,
            (Self::Url(a), Self::Url(b)) => a == b,
            (Self::Ip(a), Self::Ip(b)) => a == b,
            (Self::Cidr(a), Self::Cidr(b)) => a == b,
            (Self::Semver(a), Self::Semver(b)) => a.cmp(b).is_eq(),
            (Self::Format(a), Self::Format(b)) => a.name == b.name,
            (Self::Image(a), Self::Image(b)) => a == b,
            _ => false,
        }
    }
}

impl fmt::Display for Special {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(quantity) => write!(f, "{quantity}"),
            Self::Url(url) => f.write_str(&url.text),
            Self::Ip(ip) => write!(f, "{ip}"),
            Self::Cidr(cidr) => write!(f, "{cidr}"),
            Self::Semver(version) => write!(f, "{version}"),
            Self::Format(format) => f.write_str(format.name),
            Self::Image(image) => write!(f, "{image}"),
        }
    }
}

pub(crate) type Called<'a> = Result<Value<'a>, EvalError>;

/// A text's or list's share of the cost.
fn size_cost(value: &Value<'_>) -> u64 {
    match value {
        Value::String(text) => (text.len() as u64).div_ceil(10),
        Value::Bytes(bytes) => (bytes.len() as u64).div_ceil(10),
        Value::List(list) => list.len() as u64,
        Value::Map(map) => map.len() as u64,
        _ => 0,
    }
}

/// What comparing the two costs: lists by all that is in them.
fn deep_cost(value: &Value<'_>) -> u64 {
    match value {
        Value::List(list) => list.iter().map(|item| 1 + deep_cost(&item)).sum(),
        Value::Map(map) => map.entries().map(|(_, value)| 1 + deep_cost(&value)).sum(),
        other => size_cost(other),
    }
}

/// A function or operator.
pub(crate) fn call<'a>(name: &str, mut values: Vec<Value<'a>>, budget: &Budget) -> Called<'a> {
    match name {
        "_==_" | "_!=_" => {
            let cost = 1 + deep_cost(&values[0]).min(deep_cost(&values[1]));
            budget.pay(cost)?;
            return Ok(Value::Bool(values[0].equals(&values[1]) == (name == "_==_")));
        }
        "@in" => {
            budget.pay(1 + if matches!(values[1], Value::List(_)) { deep_cost(&values[1]) } else { 0 })?;
            return lists::contains(&values[0], &values[1]);
        }
        "size" | "type" | "dyn" | "_-_" | "!_" | "-_" => budget.pay(1)?,
        "sets.contains" | "sets.equivalent" | "sets.intersects" => {
            budget.pay(1 + deep_cost(&values[0]).saturating_mul(deep_cost(&values[1]).max(1)))?;
        }
        _ => budget.pay(1 + values.iter().map(size_cost).sum::<u64>())?,
    }
    if name == "matches" && values.len() == 2 {
        let pattern = values.pop();
        let target = values.pop();
        return match (target, pattern) {
            (Some(target), Some(pattern)) => patterns::matches(&target, &pattern, budget),
            _ => Err(EvalError::overload()),
        };
    }
    match name {
        "size" => size(&values[0]),
        "type" => Ok(Value::Type(values[0].type_name().into())),
        "dyn" => Ok(values.remove(0)),
        "optional.of" => Ok(values.remove(0).some()),
        "optional.none" => Ok(Value::Optional(None)),
        "optional.ofNonZeroValue" => {
            let value = values.remove(0);
            Ok(if is_zero(&value) { Value::Optional(None) } else { value.some() })
        }
        "sets.contains" | "sets.equivalent" | "sets.intersects" => lists::sets(name, &values),
        "strings.quote" => strings::quote(&values[0]),
        "jsonpatch.escapeKey" => {
            let text = values[0].as_str().ok_or_else(EvalError::overload)?;
            Ok(Value::owned(text.replace('~', "~0").replace('/', "~1")))
        }
        "isURL" | "url" => urls::make(name, &values[0]),
        "isIP" | "ip" | "ip.isCanonical" | "isCIDR" | "cidr" => net::make(name, &values[0]),
        "isSemver" | "semver" => semver::make(name, &values),
        "isImage" | "image" => images::make(name, &values[0]),
        "isQuantity" | "quantity" => quantity(name, &values[0]),
        _ if name.starts_with("format.") => formats::make(name, values.first()),
        _ if name.starts_with(['_', '!', '-']) => arithmetic::operate(name, &values),
        _ => convert::convert(name, values),
    }
}

/// A method.
pub(crate) fn method<'a>(
    name: &str,
    target: Value<'a>,
    values: Vec<Value<'a>>,
    budget: &Budget,
) -> Called<'a> {
    if let Value::Authz(authz) = &target {
        // upstream's price of asking the authorizer
        budget.pay(if name == "check" { 350_000 } else { 1 })?;
        return authz.call(name, &values);
    }
    budget.pay(1 + size_cost(&target) + values.iter().map(size_cost).sum::<u64>())?;
    match &target {
        Value::Optional(inner) => optional(name, inner.as_deref(), values),
        _ if name == "size" => size(&target),
        Value::String(_) if name == "matches" && values.len() == 1 => {
            patterns::matches(&target, &values[0], budget)
        }
        Value::String(_) if name.starts_with("find") => patterns::find(name, &target, &values, budget),
        Value::String(text) => strings::method(name, text, &values, budget),
        Value::List(list) if name == "join" => strings::join(list, values.first()),
        Value::List(list) => lists::method(name, list, values.first(), budget),
        Value::Timestamp(_) | Value::Duration(_) => times::part(name, &target, values.first()),
        Value::Special(special) => special_method(name, special, &values),
        _ => Err(EvalError::overload()),
    }
}

fn special_method<'a>(name: &str, special: &Special, values: &[Value<'a>]) -> Called<'a> {
    match special {
        Special::Quantity(one) => quantity_method(name, *one, values.first()),
        Special::Url(url) => url.method(name),
        Special::Ip(ip) => net::ip_method(name, ip),
        Special::Cidr(cidr) => cidr.method(name, values.first()),
        Special::Semver(version) => version.method(name, values.first()),
        Special::Format(format) => format.method(name, values.first()),
        Special::Image(image) if values.is_empty() => image.method(name),
        Special::Image(_) => Err(EvalError::overload()),
    }
}

fn size<'a>(value: &Value<'_>) -> Called<'a> {
    Ok(Value::Int(match value {
        Value::String(text) => text.chars().count() as i64,
        Value::Bytes(bytes) => bytes.len() as i64,
        Value::List(list) => list.len() as i64,
        Value::Map(map) => map.len() as i64,
        _ => return Err(EvalError::overload()),
    }))
}

fn is_zero(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Int(value) => *value == 0,
        Value::Uint(value) => *value == 0,
        Value::Double(value) => *value == 0.0,
        Value::String(text) => text.is_empty(),
        Value::Bytes(bytes) => bytes.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Map(map) => map.is_empty(),
        Value::Duration(nanos) => *nanos == 0,
        Value::Optional(inner) => inner.is_none(),
        Value::Struct(_, fields) => fields.is_empty(),
        _ => false,
    }
}

fn optional<'a>(name: &str, inner: Option<&Value<'a>>, mut values: Vec<Value<'a>>) -> Called<'a> {
    match (name, inner, values.pop()) {
        ("hasValue", inner, None) => Ok(Value::Bool(inner.is_some())),
        ("value", Some(value), None) => Ok(value.clone()),
        ("value", None, None) => Err(EvalError::new("optional.none() dereference")),
        ("or", Some(value), Some(_)) => Ok(value.clone().some()),
        ("orValue", Some(value), Some(_)) => Ok(value.clone()),
        ("or" | "orValue", None, Some(other)) => Ok(other),
        _ => Err(EvalError::overload()),
    }
}

fn special<'a>(value: Special) -> Value<'a> {
    Value::Special(std::sync::Arc::new(value))
}

fn quantity<'a>(name: &str, value: &Value<'_>) -> Called<'a> {
    let parsed = Quantity::parse(value.as_str().ok_or_else(EvalError::overload)?);
    match (name, parsed) {
        ("isQuantity", parsed) => Ok(Value::Bool(parsed.is_ok())),
        (_, Ok(quantity)) => Ok(special(Special::Quantity(quantity))),
        (_, Err(error)) => Err(EvalError::new(error.to_string())),
    }
}

fn quantity_method<'a>(name: &str, one: Quantity, other: Option<&Value<'_>>) -> Called<'a> {
    use sampan_api::quantity::Format;
    let other = match other {
        Some(Value::Int(value)) => Some(Quantity::new(*value, Format::DecimalSI)),
        Some(Value::Special(special)) => match &**special {
            Special::Quantity(quantity) => Some(*quantity),
            _ => None,
        },
        _ => None,
    };
    Ok(match (name, other) {
        ("sign", None) => Value::Int(i64::from(one.sign())),
        ("isInteger", None) => Value::Bool(one.is_whole()),
        ("asInteger", None) if one.is_whole() => Value::Int(one.value()),
        ("asInteger", None) => return Err(EvalError::new("cannot convert value to integer")),
        ("asApproximateFloat", None) => Value::Double(one.as_f64()),
        ("isGreaterThan", Some(other)) => Value::Bool(one > other),
        ("isLessThan", Some(other)) => Value::Bool(one < other),
        ("compareTo", Some(other)) => Value::Int(one.cmp(&other) as i64),
        ("add", Some(other)) => special(Special::Quantity(one + other)),
        ("sub", Some(other)) => special(Special::Quantity(one - other)),
        _ => return Err(EvalError::overload()),
    })
}

/// Constants that a library would refuse are refused when the expression is compiled, as upstream's AST validators do.
pub(crate) fn literals(expr: &Expr) -> Result<(), Issue> {
    let text = |expr: &Expr| match &expr.node {
        Node::Literal(Literal::String(text)) => Some((text.clone(), expr.at)),
        _ => None,
    };
    let (name, argument) = match &expr.node {
        Node::Call(name, arguments) if &**name == "matches" => (&**name, arguments.get(1).and_then(text)),
        Node::Call(name, arguments) => (&**name, arguments.first().and_then(text)),
        Node::Method(_, name, arguments) if &**name == "matches" => {
            (&**name, arguments.first().and_then(text))
        }
        _ => ("", None),
    };
    if let Some((text, at)) = argument {
        match name {
            "matches" if patterns::compile(&text).is_err() => {
                return Err(Issue::new(at, "invalid matches argument"));
            }
            "duration" if convert::duration(&text).is_none() => {
                return Err(Issue::new(at, "invalid duration argument"));
            }
            "timestamp" if convert::timestamp(&text).is_none() => {
                return Err(Issue::new(at, "invalid timestamp argument"));
            }
            _ => {}
        }
    }
    expr.node.children().into_iter().try_for_each(literals)
}

/// All items, if it is a list.
fn items<'a>(value: &Value<'a>) -> Result<List<'a>, EvalError> {
    if let Value::List(list) = value { Ok(list.clone()) } else { Err(EvalError::overload()) }
}
