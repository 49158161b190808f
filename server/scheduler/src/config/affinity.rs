//! What a node affinity of a configuration may say (upstream's `component-helpers/scheduling/corev1/nodeaffinity` and
//! `labels.NewRequirement`). The API's own validation of pods asks for more.

use k8s_openapi::api::core::v1::{NodeAffinity, NodeSelectorRequirement, NodeSelectorTerm};
use sampan_api::validation::{is_label_value, is_qualified_name};

use super::read::{Error, invalid};

/// Fails if a requirement cannot be met by any label, or means nothing.
pub(super) fn check(affinity: &NodeAffinity, path: &str) -> Result<(), Error> {
    let required = &affinity.required_during_scheduling_ignored_during_execution;
    let terms = required.iter().flat_map(|selector| &selector.node_selector_terms);
    for (at, required) in terms.enumerate() {
        let path = format!("{path}.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[{at}]");
        term(required, &path)?;
    }
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter().flatten();
    // one of no weight is not looked at
    for (at, preferred) in preferred.enumerate().filter(|(_, preferred)| preferred.weight != 0) {
        let path = format!("{path}.preferredDuringSchedulingIgnoredDuringExecution[{at}]");
        term(&preferred.preference, &path)?;
    }
    Ok(())
}

fn term(term: &NodeSelectorTerm, path: &str) -> Result<(), Error> {
    for (at, one) in term.match_expressions.iter().flatten().enumerate() {
        expression(one, &format!("{path}.matchExpressions[{at}]"))?;
    }
    for (at, one) in term.match_fields.iter().flatten().enumerate() {
        let path = format!("{path}.matchFields[{at}]");
        if !["In", "NotIn"].contains(&one.operator.as_str()) {
            return Err(operator(one, &path, &["In", "NotIn"]));
        }
        if one.values.as_ref().map_or(0, Vec::len) != 1 {
            return Err(invalid(format!("{path}.values"), "must have one element"));
        }
    }
    Ok(())
}

fn operator(requirement: &NodeSelectorRequirement, path: &str, known: &[&str]) -> Error {
    let problem = format!("{:?} is not one of {known:?}", requirement.operator);
    invalid(format!("{path}.operator"), problem)
}

fn expression(requirement: &NodeSelectorRequirement, path: &str) -> Result<(), Error> {
    let values = requirement.values.as_deref().unwrap_or_default();
    let refuse = |problem: &str| Err(invalid(format!("{path}.values"), problem));
    let is_number = |value: &String| value.parse::<i64>().is_ok();
    match requirement.operator.as_str() {
        "In" | "NotIn" if values.is_empty() => {
            return refuse("for 'in', 'notin' operators, values set can't be empty");
        }
        "Exists" | "DoesNotExist" if !values.is_empty() => {
            return refuse("values set must be empty for exists and does not exist");
        }
        "Gt" | "Lt" if values.len() != 1 => {
            return refuse("for 'Gt', 'Lt' operators, exactly one value is required");
        }
        "Gt" | "Lt" if !values.iter().all(is_number) => {
            return refuse("for 'Gt', 'Lt' operators, the value must be an integer");
        }
        "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
        _ => return Err(operator(requirement, path, &["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"])),
    }
    if let Some(problem) = is_qualified_name(&requirement.key).first() {
        return Err(invalid(format!("{path}.key"), format!("{:?}: {problem}", requirement.key)));
    }
    match values.iter().find_map(|value| Some((value, is_label_value(value).into_iter().next()?))) {
        Some((value, problem)) => refuse(&format!("{value:?}: {problem}")),
        None => Ok(()),
    }
}
