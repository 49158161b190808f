//! What a policy's validations come to: upstream's `validating/validator.go` and `validating/dispatcher.go`.

use sampan_api::status::{ApiError, Reason};
use sampan_cel::{Budget, Value, Vars};
use serde_json::Value as Json;

use super::policy::{Policy, Validation};
use super::{Met, Misfit, failure};
use crate::dynamic::expressions::{Expression, Failure, Scene};
use crate::dynamic::matching::name;
use crate::registry::Review;

/// Upstream's `MaxEvaluatedMessageExpressionSizeBytes`.
const LONGEST_MESSAGE: usize = 5 * 1024;
/// Upstream's `maxAuditAnnotationValueLength`.
const LONGEST_ANNOTATION: usize = 10 * 1024;

/// What one policy says to one request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// Validations that did not hold: which, its message and reason.
    pub denied: Vec<(usize, String, String)>,
    /// Audit annotations.
    pub annotations: Vec<(String, String)>,
    /// Audit annotations that failed: these refuse whatever the actions are.
    pub failed: Vec<String>,
}

pub(super) fn evaluate<'a>(policy: &'a Policy, scene: &Scene<'a>, budget: &Budget) -> Outcome {
    let mut outcome = Outcome::default();
    match policy.conditions.hold(scene, policy.fail) {
        Ok(true) => {}
        Ok(false) => return outcome,
        Err(why) => {
            outcome.denied.push((0, why, String::new()));
            return outcome;
        }
    }
    let vars = scene.vars();
    for (index, validation) in policy.validations.iter().enumerate() {
        match validation.expression.eval(&vars, budget) {
            Ok(Value::Bool(true)) => {}
            Ok(_) => {
                let message = message(validation, &vars, budget);
                outcome.denied.push((index, message, validation.reason.clone()));
            }
            Err(why) => {
                if policy.fail {
                    outcome.denied.push((index, why.to_string(), String::new()));
                }
                if why == Failure::Budget {
                    return outcome;
                }
            }
        }
    }
    for (key, expression) in &policy.annotations {
        match annotation(expression, &vars, budget) {
            Ok(None) => {}
            Ok(Some(value)) => outcome.annotations.push((key.clone(), value)),
            Err(why) if policy.fail => outcome.failed.push(why.to_string()),
            Err(_) => {}
        }
    }
    outcome
}

/// The message expression's if it is one line, else the message, else the expression.
fn message<'a>(validation: &'a Validation, vars: &Vars<'a>, budget: &Budget) -> String {
    let made = validation.message_expression.as_ref().and_then(|one| one.eval(vars, budget).ok());
    let made = made.as_ref().and_then(Value::as_str).map(str::trim).unwrap_or_default();
    if !made.is_empty() && made.len() <= LONGEST_MESSAGE && !made.contains('\n') {
        return made.to_owned();
    }
    if !validation.message.is_empty() {
        return validation.message.clone();
    }
    format!("failed expression: {}", validation.expression.source.trim())
}

fn annotation<'a>(
    expression: &'a Expression,
    vars: &Vars<'a>,
    budget: &Budget,
) -> Result<Option<String>, Failure> {
    match expression.eval(vars, budget)? {
        Value::Null => Ok(None),
        Value::String(text) => {
            let mut end = text.trim().len().min(LONGEST_ANNOTATION);
            while !text.trim().is_char_boundary(end) {
                end -= 1;
            }
            Ok(Some(text.trim()[..end].to_owned()).filter(|text| !text.is_empty()))
        }
        other => Err(Failure::Text(format!(
            "valueExpression '{}' resulted in unsupported return type: {}. Return type must be either string or null.",
            expression.source,
            other.type_name()
        ))),
    }
}

impl Outcome {
    /// Does what the binding says is to be done.
    pub(super) fn publish(self, met: &Met, review: &Review<'_>, denials: &mut Vec<Denial>) {
        let (policy, binding) = (&met.policy.name, &met.binding.name);
        for (index, message, reason) in self.denied {
            for action in &met.binding.actions {
                match action.as_str() {
                    "Deny" => denials.push(Denial::new(met, message.clone(), reason.clone())),
                    "Warn" => review.warn(format!(
                        "Validation failed for ValidatingAdmissionPolicy '{policy}' with binding '{binding}': {message}"
                    )),
                    _ => review.notes.annotate(
                        "validation.policy.admission.k8s.io/validation_failure",
                        failure(met, index, &message),
                    ),
                }
            }
        }
        denials.extend(self.failed.into_iter().map(|why| Denial::new(met, why, String::new())));
        for (key, value) in self.annotations {
            review.notes.annotate(format!("{policy}/{key}"), value);
        }
    }
}

/// A refusal.
pub(super) struct Denial {
    policy: String,
    binding: Option<String>,
    message: String,
    reason: String,
}

impl Denial {
    fn new(met: &Met, message: String, reason: String) -> Self {
        Self { policy: met.policy.name.clone(), binding: Some(met.binding.name.clone()), message, reason }
    }

    pub(super) fn misfit(misfit: &Misfit) -> Self {
        let what = if misfit.binding.is_some() { "binding" } else { "policy" };
        Self {
            policy: misfit.policy.name.clone(),
            binding: misfit.binding.as_ref().map(|binding| binding.name.clone()),
            message: format!("failed to configure {what}: {}", misfit.why),
            reason: String::new(),
        }
    }

    pub(super) fn error(&self, review: &Review<'_>, object: &Json) -> ApiError {
        let Self { policy, message, .. } = self;
        let message = match &self.binding {
            Some(binding) => {
                format!(
                    "ValidatingAdmissionPolicy '{policy}' with binding '{binding}' denied request: {message}"
                )
            }
            None => format!("ValidatingAdmissionPolicy '{policy}' denied request: {message}"),
        };
        let (group, plural) = (review.kind.group, review.kind.plural);
        let mut error = ApiError::forbidden(group, plural, name(review, object), &message);
        error.reason = match self.reason.as_str() {
            "Unauthorized" => Reason::Unauthorized,
            "Forbidden" => Reason::Forbidden,
            "RequestEntityTooLarge" => Reason::RequestEntityTooLarge,
            _ => Reason::Invalid,
        };
        error.code = error.reason.code();
        error.causes = vec![(String::new(), message, String::new())];
        error
    }
}
