//! Label and field selectors, in their string form (`?labelSelector=`, `?fieldSelector=`) and as
//! `metav1.LabelSelector` objects.
//!
//! Ported from `k8s.io/apimachinery/pkg/labels/selector.go` and `pkg/fields/selector.go`; errors are in
//! upstream's words. A selector is parsed once and then matched against borrowed text only: matching
//! allocates nothing. Which fields of a kind may be selected is the registry's business, not ours.

mod field;
mod parse;
#[cfg(test)]
mod tests;

pub use field::{FieldSelector, FieldTerm};

use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};

use crate::go::Quote as _;
use crate::validation::{is_label_value, is_qualified_name};

/// Where labels (or fields) are looked up by key: slices of pairs and maps.
pub trait Lookup {
    /// The value under `key`, if there is one.
    fn lookup(&self, key: &str) -> Option<&str>;
}

impl<K: AsRef<str>, V: AsRef<str>> Lookup for [(K, V)] {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.iter().find(|(k, _)| k.as_ref() == key).map(|(_, v)| v.as_ref())
    }
}
impl<K: AsRef<str>, V: AsRef<str>> Lookup for Vec<(K, V)> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.as_slice().lookup(key)
    }
}
impl<K: AsRef<str>, V: AsRef<str>, const N: usize> Lookup for [(K, V); N] {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.as_slice().lookup(key)
    }
}
impl Lookup for Map<String, Value> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}
/// An object of strings; anything else has no labels.
impl Lookup for Value {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).and_then(Value::as_str)
    }
}
impl Lookup for BTreeMap<String, String> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}
impl Lookup for HashMap<String, String> {
    fn lookup(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

/// What a requirement asks of a key: upstream's `selection.Operator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are upstream's
pub enum Operator {
    In,
    NotIn,
    Equals,
    DoubleEquals,
    NotEquals,
    Exists,
    DoesNotExist,
    GreaterThan,
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    key: Box<str>,
    operator: Operator,
    /// Sorted and without duplicates.
    values: Vec<Box<str>>,
}

impl Requirement {
    /// Checks key, operator and values as upstream's `NewRequirement`.
    pub fn new(
        key: &str,
        operator: Operator,
        values: impl IntoIterator<Item = String>,
    ) -> Result<Self, String> {
        let mut values: Vec<Box<str>> = values.into_iter().map(String::into_boxed_str).collect();
        values.sort();
        values.dedup();
        let mut errors = key_errors(key);
        errors.extend(operator_errors(operator, &values));
        errors.extend(values.iter().flat_map(|value| {
            let errors = is_label_value(value).join("; ");
            (!errors.is_empty())
                .then(|| format!("values[0][{key}]: Invalid value: {}: {errors}", value.quoted()))
        }));
        match errors.len() {
            0 => Ok(Self { key: key.into(), operator, values }),
            1 => Err(errors.concat()),
            _ => Err(format!("[{}]", errors.join(", "))),
        }
    }

    /// The label's key.
    pub fn key(&self) -> &str {
        &self.key
    }
    /// The operator.
    pub fn operator(&self) -> Operator {
        self.operator
    }
    /// The values, sorted.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(AsRef::as_ref)
    }

    /// Whether `labels` meet it.
    pub fn matches(&self, labels: &(impl Lookup + ?Sized)) -> bool {
        let found = labels.lookup(&self.key);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => found.is_some_and(|v| self.has(v)),
            Operator::NotIn | Operator::NotEquals => found.is_none_or(|v| !self.has(v)),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::GreaterThan => self.compares(found, |label, bound| label > bound),
            Operator::LessThan => self.compares(found, |label, bound| label < bound),
        }
    }

    fn has(&self, value: &str) -> bool {
        self.values.iter().any(|v| &**v == value)
    }

    fn compares(&self, found: Option<&str>, holds: fn(i64, i64) -> bool) -> bool {
        let bound = self.values.first().and_then(|v| v.parse().ok());
        let label = found.and_then(|v| v.parse().ok());
        matches!((label, bound), (Some(label), Some(bound)) if holds(label, bound))
    }
}

fn key_errors(key: &str) -> Vec<String> {
    let errors = is_qualified_name(key).join("; ");
    if errors.is_empty() { vec![] } else { vec![format!("key: Invalid value: {}: {errors}", key.quoted())] }
}

fn operator_errors(operator: Operator, values: &[Box<str>]) -> Option<String> {
    let why = match operator {
        Operator::In | Operator::NotIn if values.is_empty() => {
            "for 'in', 'notin' operators, values set can't be empty"
        }
        Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
            "exact-match compatibility requires one single value"
        }
        Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
            "values set must be empty for exists and does not exist"
        }
        Operator::GreaterThan | Operator::LessThan if values.len() != 1 => {
            "for 'Gt', 'Lt' operators, exactly one value is required"
        }
        Operator::GreaterThan | Operator::LessThan if values[0].parse::<i64>().is_err() => {
            return Some(format!(
                "values[0]: Invalid value: {}: for 'Gt', 'Lt' operators, the value must be an integer",
                values[0].quoted()
            ));
        }
        _ => return None,
    };
    let shown: Vec<&str> = values.iter().map(AsRef::as_ref).collect();
    Some(format!("values: Invalid value: {}: {why}", Value::from(shown)))
}

/// A conjunction of requirements. Empty: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
    nothing: bool,
}

impl Selector {
    /// Matches every object.
    pub fn everything() -> Self {
        Self::default()
    }
    /// Matches no object.
    pub fn nothing() -> Self {
        Self { requirements: Vec::new(), nothing: true }
    }

    /// Parses `a=b,c in (d,e),!f`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Ok(Self::from_requirements(parse::requirements(text)?))
    }

    /// All of `requirements`.
    pub fn from_requirements(mut requirements: Vec<Requirement>) -> Self {
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Self { requirements, nothing: false }
    }

    /// `metav1.LabelSelectorAsSelector`: null or absent selects nothing, `{}` everything.
    pub fn from_object(selector: Option<&Value>) -> Result<Self, String> {
        let selector = match selector {
            None | Some(Value::Null) => return Ok(Self::nothing()),
            Some(selector) => selector,
        };
        let mut requirements = Vec::new();
        for (key, value) in selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten() {
            let value = value.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, [value])?);
        }
        for expression in selector.get("matchExpressions").and_then(Value::as_array).into_iter().flatten() {
            requirements.push(expression_requirement(expression)?);
        }
        Ok(Self::from_requirements(requirements))
    }

    /// The selector of a plain map, as a Service or ReplicationController has: empty selects everything.
    pub fn from_map(labels: &Map<String, Value>) -> Self {
        let requirements = labels.iter().map(|(key, value)| Requirement {
            key: key.as_str().into(),
            operator: Operator::Equals,
            values: vec![value.as_str().unwrap_or_default().into()],
        });
        Self::from_requirements(requirements.collect())
    }

    /// Whether `labels` meet every requirement.
    pub fn matches(&self, labels: &(impl Lookup + ?Sized)) -> bool {
        !self.nothing && self.requirements.iter().all(|r| r.matches(labels))
    }

    /// Whether everything matches.
    pub fn is_everything(&self) -> bool {
        !self.nothing && self.requirements.is_empty()
    }

    /// The requirements, sorted by key.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// The value that the label `key` must have exactly, if the selector says so.
    pub fn exact(&self, key: &str) -> Option<&str> {
        self.requirements.iter().find_map(|r| match r.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals
                if &*r.key == key && r.values.len() == 1 =>
            {
                r.values.first().map(AsRef::as_ref)
            }
            _ => None,
        })
    }
}

fn expression_requirement(expression: &Value) -> Result<Requirement, String> {
    let text = |name: &str| expression.get(name).and_then(Value::as_str).unwrap_or_default();
    let operator = match text("operator") {
        "In" => Operator::In,
        "NotIn" => Operator::NotIn,
        "Exists" => Operator::Exists,
        "DoesNotExist" => Operator::DoesNotExist,
        other => return Err(format!("{} is not a valid label selector operator", other.quoted())),
    };
    let values = expression.get("values").and_then(Value::as_array);
    let values = values.into_iter().flatten().map(|v| v.as_str().unwrap_or_default().to_owned());
    Requirement::new(text("key"), operator, values)
}

impl std::fmt::Display for Requirement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.operator {
            Operator::Exists => return f.write_str(&self.key),
            Operator::DoesNotExist => return write!(f, "!{}", self.key),
            Operator::In => " in ",
            Operator::NotIn => " notin ",
            Operator::Equals => "=",
            Operator::DoubleEquals => "==",
            Operator::NotEquals => "!=",
            Operator::GreaterThan => ">",
            Operator::LessThan => "<",
        };
        let values = self.values.join(",");
        match self.operator {
            Operator::In | Operator::NotIn => write!(f, "{}{sign}({values})", self.key),
            _ => write!(f, "{}{sign}{values}", self.key),
        }
    }
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            requirement.fmt(f)?;
        }
        Ok(())
    }
}
