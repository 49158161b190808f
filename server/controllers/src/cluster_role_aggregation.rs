//! ClusterRole aggregation (upstream's `clusterroleaggregation_controller.go`): writes the `rules` of roles that have an
//! `aggregationRule` from the roles that it selects.
//!
//! The authorizer reads the selected roles itself and waits for nobody; this is for whoever reads `rules`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kube::api::{Patch, PatchParams};
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};
use serde_json::{Value, json};

use crate::context::Context;
use crate::words::{matches, name};

const NAME: &str = "clusterrole-aggregation-controller";

/// A rule in which an absent list and an empty one are the same.
fn settled(rule: &PolicyRule) -> PolicyRule {
    let list = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    PolicyRule {
        api_groups: list(&rule.api_groups),
        non_resource_urls: list(&rule.non_resource_urls),
        resource_names: list(&rule.resource_names),
        resources: list(&rule.resources),
        verbs: rule.verbs.clone(),
    }
}

/// The rules that a role should have, each once: selector by selector, and in the order of the roles' names. `None` if
/// it has them, or is not an aggregated one.
fn plan(role: &ClusterRole, all: &BTreeMap<&str, &ClusterRole>) -> Option<Vec<PolicyRule>> {
    let selectors = role.aggregation_rule.as_ref()?.cluster_role_selectors.iter().flatten();
    let mut rules: Vec<PolicyRule> = Vec::new();
    for selector in selectors {
        let selected = all.iter().filter(|(other, found)| {
            **other != name(&role.metadata) && matches(selector, found.metadata.labels.as_ref())
        });
        for rule in selected.flat_map(|(_, found)| found.rules.iter().flatten()).map(settled) {
            if !rules.contains(&rule) {
                rules.push(rule);
            }
        }
    }
    let has: Vec<PolicyRule> = role.rules.iter().flatten().map(settled).collect();
    (has != rules).then_some(rules)
}

/// What is applied: no rules at all gives up those that were applied before.
fn applied(role: &str, rules: &[PolicyRule]) -> Value {
    let mut body = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": role}});
    if !rules.is_empty() {
        body["rules"] = json!(rules);
    }
    body
}

/// The controller.
pub(crate) struct ClusterRoleAggregation {
    context: Context,
    roles: Informer<ClusterRole>,
}

impl ClusterRoleAggregation {
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), roles: context.informers.of() }
    }
}

impl Controller for ClusterRoleAggregation {
    type Key = Key;

    fn name(&self) -> &'static str {
        NAME
    }

    fn queue(&self) -> &'static str {
        "ClusterRoleAggregator"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let this = self.clone();
        // there are few roles, and who selects whom is known only by asking all
        sources.on(&self.roles, move |delta| {
            let same = |old: &ClusterRole, new: &ClusterRole| {
                (&old.metadata.labels, &old.rules, &old.aggregation_rule)
                    == (&new.metadata.labels, &new.rules, &new.aggregation_rule)
            };
            if matches!((&delta.old, &delta.new), (Some(old), Some(new)) if same(old, new)) {
                return Vec::new();
            }
            let all = this.roles.list();
            let aggregated = all.iter().filter(|role| role.aggregation_rule.is_some());
            aggregated.map(|role| Key::cluster(name(&role.metadata))).collect()
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(role) = self.roles.get(key) else { return Ok(None) };
        let all = self.roles.list();
        let by_name = all.iter().map(|role| (name(&role.metadata), &**role)).collect();
        if let Some(rules) = plan(&role, &by_name) {
            let body = applied(&key.name, &rules);
            let params = PatchParams::apply(NAME).force();
            self.context.cluster::<ClusterRole>().patch(&key.name, &params, &Patch::Apply(&body)).await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn rule(resource: &str) -> Value {
        json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]})
    }

    fn role(name: &str, label: &str, rules: &[&str]) -> ClusterRole {
        let rules: Vec<_> = rules.iter().map(|one| rule(one)).collect();
        let labels = json!({"to": label});
        serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "rules": rules})).unwrap()
    }

    /// An aggregated role that bears `label` itself.
    fn aggregated(label: &str, selected: &[&str], rules: &[&str]) -> ClusterRole {
        let selectors: Vec<_> = selected.iter().map(|label| json!({"matchLabels": {"to": label}})).collect();
        let mut role = role("sum", label, rules);
        role.aggregation_rule = serde_json::from_value(json!({"clusterRoleSelectors": selectors})).unwrap();
        role
    }

    #[test]
    fn rules_are_those_of_the_selected_roles() {
        let others = [
            role("b", "x", &["pods", "nodes"]),
            role("a", "x", &["pods", "secrets"]),
            role("c", "y", &["events"]),
        ];
        let cases: Vec<(ClusterRole, Option<&[&str]>)> = vec![
            (role("sum", "", &["pods"]), None),
            (aggregated("", &["x"], &[]), Some(&["pods", "secrets", "nodes"])),
            (aggregated("", &["x"], &["pods", "secrets", "nodes"]), None),
            (aggregated("", &["x"], &["secrets", "pods", "nodes"]), Some(&["pods", "secrets", "nodes"])),
            (aggregated("", &["y", "x"], &[]), Some(&["events", "pods", "secrets", "nodes"])),
            (aggregated("x", &["x"], &["services"]), Some(&["pods", "secrets", "nodes"])),
            (aggregated("", &["z"], &["pods"]), Some(&[])),
            (aggregated("", &["z"], &[]), None),
            (aggregated("", &[], &["pods"]), Some(&[])),
        ];
        for (role, expected) in cases {
            let all = others.iter().chain([&role]).map(|role| (name(&role.metadata), role)).collect();
            let expected = expected.map(|resources| {
                let rules = resources.iter().map(|one| serde_json::from_value(rule(one)).unwrap());
                rules.collect::<Vec<PolicyRule>>()
            });
            assert_eq!(plan(&role, &all), expected, "{role:?}");
        }
    }

    #[test]
    fn absent_and_empty_lists_are_the_same() {
        let mut one = role("a", "x", &["pods"]);
        one.rules.as_mut().unwrap()[0].resource_names = Some(Vec::new());
        let sum = aggregated("", &["x"], &["pods"]);
        assert_eq!(plan(&sum, &[("a", &one), ("sum", &sum)].into()), None);
    }

    #[test]
    fn no_rules_are_applied_as_none() {
        assert_eq!(applied("sum", &[]).get("rules"), None);
        let rules: Vec<PolicyRule> = vec![serde_json::from_value(rule("pods")).unwrap()];
        assert_eq!(applied("sum", &rules)["rules"], json!([rule("pods")]));
    }
}
