//! What an expression may cost at least in the worst case: loops over what a schema allows to be long.
//!
//! Upstream's estimate (cel-go's `checker/cost.go`) also knows what texts and functions cost; this one counts loops and names
//! only, so that it is never above upstream's. What it finds far too dear, upstream finds so as well.

use std::collections::BTreeMap;

use serde_json::Value as Json;

use crate::ast::{Expr, Fold, Node};
use crate::types::escape;

/// Upstream's `DefaultMaxRequestSizeBytes`.
const LONGEST_REQUEST: u64 = 3 << 20;

/// How much a value may hold, as its schema says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// Items or entries.
    pub most: u64,
    /// Whether the schema says how many, not only the size of a request.
    pub limited: bool,
    /// Bytes of JSON of the smallest value.
    pub smallest: u64,
    /// By the names that expressions use.
    pub fields: BTreeMap<String, Bound>,
    /// Of items or entries.
    pub element: Option<Box<Bound>>,
}

impl Bound {
    /// Of a structural schema.
    pub fn of(schema: &Json) -> Self {
        let text = |key: &str| schema.get(key).and_then(Json::as_str).unwrap_or_default();
        match text("type") {
            "array" => Self::holder(schema, "items", "maxItems", 1),
            "object" if schema.get("additionalProperties").is_some_and(Json::is_object) => {
                Self::holder(schema, "additionalProperties", "maxProperties", 8)
            }
            "object" => Self::object(schema),
            "string" if text("format").is_empty() => Self { smallest: 2, ..Self::default() },
            "string" => Self { smallest: 32, ..Self::default() },
            _ => Self { smallest: 5, ..Self::default() },
        }
    }

    fn holder(schema: &Json, below: &str, limit: &str, between: u64) -> Self {
        let element = schema.get(below).map(Self::of).unwrap_or_default();
        let limit = schema.get(limit).and_then(Json::as_u64);
        let fit = (LONGEST_REQUEST - 2) / (element.smallest + between);
        Self {
            most: limit.unwrap_or(fit),
            limited: limit.is_some(),
            smallest: 2,
            element: Some(Box::new(element)),
            ..Self::default()
        }
    }

    fn object(schema: &Json) -> Self {
        let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
        let required: Vec<&str> = required.filter_map(Json::as_str).collect();
        let properties = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
        let (mut fields, mut smallest) = (BTreeMap::new(), 2);
        for (name, property) in properties {
            let bound = Self::of(property);
            if required.contains(&name.as_str()) {
                smallest += name.len() as u64 + 4 + bound.smallest;
            }
            fields.extend(escape(name).map(|name| (name, bound)));
        }
        Self { smallest, fields, ..Self::default() }
    }

    /// How many values of this may be in a request.
    pub fn fitting(&self) -> u64 {
        LONGEST_REQUEST / (self.smallest + 1)
    }
}

type Scope<'a> = Vec<(&'a str, Option<&'a Bound>)>;

/// What `expr` costs at least, when `self` and `oldSelf` hold as much as they may.
pub(crate) fn worst(expr: &Expr, of_self: &Bound) -> u64 {
    let mut scope = vec![("self", Some(of_self)), ("oldSelf", Some(of_self))];
    cost(expr, &mut scope).0
}

fn cost<'a>(expr: &'a Expr, scope: &mut Scope<'a>) -> (u64, Option<&'a Bound>) {
    match &expr.node {
        Node::Literal(_) => (0, None),
        Node::Ident(name) => {
            let known = scope.iter().rev().find(|(known, _)| *known == &**name);
            (1, known.and_then(|(_, bound)| *bound))
        }
        Node::Select(operand, field) => {
            let (paid, bound) = cost(operand, scope);
            (paid.saturating_add(1), bound.and_then(|bound| under(bound, field)))
        }
        Node::Index(operand, index) => {
            let (paid, bound) = cost(operand, scope);
            let element = bound.and_then(|bound| bound.element.as_deref());
            (paid.saturating_add(cost(index, scope).0), element)
        }
        Node::Condition(all) => {
            let [condition, yes, no] = &**all;
            let dearer = cost(yes, scope).0.max(cost(no, scope).0);
            (cost(condition, scope).0.saturating_add(dearer), None)
        }
        Node::Fold(fold) => (looped(fold, scope), None),
        Node::OptionalMap(_, operand, name, body) => {
            let (paid, _) = cost(operand, scope);
            scope.push((name, None));
            let body = cost(body, scope).0;
            scope.pop();
            (paid.saturating_add(body), None)
        }
        node => {
            let paid = node.children().into_iter().map(|child| cost(child, scope).0);
            (paid.fold(0, u64::saturating_add), None)
        }
    }
}

fn under<'a>(bound: &'a Bound, field: &str) -> Option<&'a Bound> {
    bound.fields.get(field).or(bound.element.as_deref())
}

fn looped<'a>(fold: &'a Fold, scope: &mut Scope<'a>) -> u64 {
    let (paid, bound) = cost(&fold.range, scope);
    let element = bound.and_then(|bound| bound.element.as_deref());
    let depth = scope.len();
    match &fold.second {
        Some(second) => scope.extend([(&*fold.first, None), (&**second, element)]),
        None => scope.push((&fold.first, element)),
    }
    let filter = fold.filter.as_ref().map_or(0, |filter| cost(filter, scope).0);
    let body = cost(&fold.body, scope).0;
    scope.truncate(depth);
    let times = bound.map_or(0, |bound| bound.most);
    paid.saturating_add(times.saturating_mul(filter.saturating_add(body)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{Env, from_schema};

    #[test]
    fn loops_cost_by_what_the_schema_allows() {
        let schema = json!({"type": "object", "properties": {
            "ten": {"type": "array", "maxItems": 10, "items": {"type": "array", "maxItems": 5, "items": {"type": "string"}}},
            "many": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "maxProperties": 7, "additionalProperties": {"type": "array", "maxItems": 2, "items": {"type": "integer"}}}}});
        let ty = from_schema(&schema, "Object", true).unwrap();
        let (env, bound) = (Env::new().with("self", ty), Bound::of(&schema));
        for (text, wanted) in [
            ("true", 0),
            ("size(self.ten) > 1", 2),
            ("self.ten.all(a, true)", 2),
            ("self.ten.all(a, a.size() > 1)", 12),
            ("self.ten.all(a, a.exists(b, b == 'x'))", 2 + 10 * (1 + 5)),
            ("self.ten[0].all(b, b == 'x')", 2 + 5),
            ("self.map.all(k, self.map[k].all(i, i > 0))", 2 + 7 * (3 + 2)),
            ("has(self.many) ? self.many.all(a, a != '') : true", 1 + 2 + 1_048_575),
            ("[1, 2].all(a, a > 0)", 0),
        ] {
            assert_eq!(worst(&env.compile(text).unwrap().expr, &bound), wanted, "{text}");
        }
    }
}
