//! Selectors of the scheduling API: label selectors, node selector terms, tolerations.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Node, NodeSelectorRequirement, NodeSelectorTerm, Taint, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// An absent selector selects nothing, an empty one everything.
pub fn label_selector_matches(selector: Option<&LabelSelector>, labels: &Labels) -> bool {
    let Some(selector) = selector else { return false };
    let exact = selector.match_labels.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    exact
        && selector.match_expressions.iter().flatten().all(|requirement| {
            expression_matches(
                &requirement.operator,
                requirement.values.as_deref().unwrap_or(&[]),
                labels.get(&requirement.key),
            )
        })
}

fn expression_matches(operator: &str, values: &[String], value: Option<&String>) -> bool {
    match operator {
        "In" => value.is_some_and(|value| values.contains(value)),
        "NotIn" => value.is_none_or(|value| !values.contains(value)),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(value, values).is_some_and(|(have, bound)| have > bound),
        "Lt" => compare(value, values).is_some_and(|(have, bound)| have < bound),
        _ => false,
    }
}

fn compare(value: Option<&String>, values: &[String]) -> Option<(i64, i64)> {
    Some((value?.parse().ok()?, values.first()?.parse().ok()?))
}

/// Whether a node fits one term: all its expressions and fields; an empty term fits nothing.
pub fn term_matches(term: &NodeSelectorTerm, node: &Node) -> bool {
    static NONE: Labels = Labels::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&NONE);
    let expressions = term.match_expressions.as_deref().unwrap_or(&[]);
    let fields = term.match_fields.as_deref().unwrap_or(&[]);
    let matches = |requirement: &NodeSelectorRequirement, value: Option<&String>| {
        expression_matches(&requirement.operator, requirement.values.as_deref().unwrap_or(&[]), value)
    };
    let field = |key: &str| if key == "metadata.name" { node.metadata.name.as_ref() } else { None };
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|requirement| matches(requirement, labels.get(&requirement.key)))
        && fields.iter().all(|requirement| matches(requirement, field(&requirement.key)))
}

/// Whether one of `tolerations` tolerates `taint` (core/v1 `ToleratesTaint`).
pub fn tolerated(taint: &Taint, tolerations: &[Toleration]) -> bool {
    tolerations.iter().any(|toleration| {
        let effect = toleration.effect.as_deref().unwrap_or("");
        let key = toleration.key.as_deref().unwrap_or("");
        let fits = (effect.is_empty() || effect == taint.effect) && (key.is_empty() || key == taint.key);
        let have = taint.value.as_deref().unwrap_or("");
        let want = toleration.value.as_deref().unwrap_or("");
        fits && match toleration.operator.as_deref().unwrap_or("") {
            "" | "Equal" => have == want,
            "Exists" => true,
            "Gt" => {
                compare(taint.value.as_ref(), &[want.to_owned()]).is_some_and(|(have, bound)| have > bound)
            }
            "Lt" => {
                compare(taint.value.as_ref(), &[want.to_owned()]).is_some_and(|(have, bound)| have < bound)
            }
            _ => false,
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn label_selectors() {
        let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
        for (selector, matches) in [
            (json!({}), true),
            (json!({"matchLabels": {"app": "web"}}), true),
            (json!({"matchLabels": {"app": "db"}}), false),
            (json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}), false),
            (json!({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}), true),
        ] {
            let selector: LabelSelector = serde_json::from_value(selector).unwrap();
            assert_eq!(label_selector_matches(Some(&selector), &labels), matches, "{selector:?}");
        }
        assert!(!label_selector_matches(None, &labels));
    }

    #[test]
    fn terms_match_labels_and_the_name() {
        let node: Node =
            serde_json::from_value(json!({"metadata": {"name": "n1", "labels": {"cores": "8"}}})).unwrap();
        for (term, matches) in [
            (json!({}), false),
            (json!({"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}), true),
            (json!({"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}), false),
            (json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}), true),
        ] {
            let term: NodeSelectorTerm = serde_json::from_value(term).unwrap();
            assert_eq!(term_matches(&term, &node), matches, "{term:?}");
        }
    }

    #[test]
    fn tolerations() {
        let taint: Taint =
            serde_json::from_value(json!({"key": "k", "value": "v", "effect": "NoSchedule"})).unwrap();
        for (toleration, fits) in [
            (json!({"operator": "Exists"}), true),
            (json!({"key": "k", "operator": "Equal", "value": "v"}), true),
            (json!({"key": "k", "value": "w"}), false),
            (json!({"key": "k", "operator": "Exists", "effect": "NoExecute"}), false),
        ] {
            let toleration: Toleration = serde_json::from_value(toleration).unwrap();
            assert_eq!(tolerated(&taint, std::slice::from_ref(&toleration)), fits, "{toleration:?}");
        }
    }
}
