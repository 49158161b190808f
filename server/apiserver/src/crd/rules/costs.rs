//! What the rules of a definition may cost (`getCostErrorMessage`, `CELSchemaContext`). The estimate is never above
//! upstream's; so what is refused here is what is a hundred times too dear, where upstream names no figure either.

use std::cmp::Reverse;

use sampan_api::status::FieldError;
use sampan_cel::Bound;

use super::compile::Rule;

/// Upstream's `StaticEstimatedCostLimit`, of one expression.
const LIMIT: u64 = 10_000_000;
/// Upstream's `StaticEstimatedCRDCostLimit`, of all of a schema.
const LIMIT_OF_ALL: u64 = 100_000_000;
/// What is far more than a limit.
const FAR: u64 = 100;
/// How many of the dearest are named.
const NAMED: usize = 4;

/// How many values of a place an object has; none: as many as fit in a request.
pub(super) type Count = Option<u64>;

/// The count of what a list or map at a place holds.
pub(super) fn inside(count: Count, holder: Option<&Bound>) -> Count {
    let limit = holder.filter(|holder| holder.limited).map(|holder| holder.most);
    Some(count?.saturating_mul(limit?))
}

/// The costs of a schema's expressions.
#[derive(Default)]
pub(super) struct Costs {
    total: u64,
    /// Those that count, by place.
    dear: Vec<(u64, String)>,
}

impl Costs {
    /// Notes what a rule at `place` costs.
    pub(super) fn rule(
        &mut self,
        rule: &Rule,
        place: &str,
        bound: Option<&Bound>,
        count: Count,
        errors: &mut Vec<FieldError>,
    ) {
        let Some(bound) = bound else { return };
        if let Ok(program) = &rule.program {
            let times = count.unwrap_or_else(|| bound.fitting());
            let cost = program.worst(bound).saturating_mul(times);
            self.note(cost, format!("{place}.rule"), "estimated rule cost", errors);
        }
        if let Some(Ok(program)) = &rule.message_expression {
            let field = format!("{place}.messageExpression");
            self.note(program.worst(bound), field, "estimated messageExpression cost", errors);
        }
    }

    fn note(&mut self, cost: u64, field: String, what: &str, errors: &mut Vec<FieldError>) {
        if cost > LIMIT * FAR {
            errors.push(FieldError::forbidden(field.as_str(), exceeds(what)));
        }
        self.total = self.total.saturating_add(cost);
        if cost >= LIMIT_OF_ALL / 100 {
            self.dear.push((cost, field));
        }
    }

    /// What is wrong with all of them together.
    pub(super) fn together(mut self, place: &str, errors: &mut Vec<FieldError>) {
        if self.total <= LIMIT_OF_ALL * FAR {
            return;
        }
        self.dear.sort_by_key(|(cost, _)| Reverse(*cost));
        let why = "contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema";
        errors.extend(self.dear.into_iter().take(NAMED).map(|(_, field)| FieldError::forbidden(field, why)));
        let what = "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema";
        errors.push(FieldError::forbidden(place, exceeds(what)));
    }
}

fn exceeds(what: &str) -> String {
    format!(
        "{what} exceeds budget by factor of more than 100x (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
    )
}
