//! Who may do something: the rules of RBAC, asked the other way round.

use serde_json::Value;

/// The verbs that rules of resources name.
const VERBS: [&str; 16] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "use",
    "bind",
    "escalate",
    "impersonate",
    "approve",
    "sign",
    "attest",
    "proxy",
];

/// `delete deployments.apps`, `create pods/exec`; a group that is not said is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    verb: String,
    /// With its subresource.
    resource: String,
    group: Option<String>,
}

impl Question {
    /// `None` for what is no question of this kind.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (verb, resource) = (words.next()?, words.next()?);
        if words.next().is_some() || !(VERBS.contains(&verb) || verb == "*") {
            return None;
        }
        // pods/log, deployments.apps, deployments.apps/scale
        let (name, subresource) =
            resource.split_once('/').map_or((resource, None), |(name, sub)| (name, Some(sub)));
        let (name, group) = name.split_once('.').map_or((name, None), |(name, group)| (name, Some(group)));
        let slashed = subresource.map(|sub| format!("{name}/{sub}"));
        Some(Self {
            verb: verb.to_owned(),
            resource: slashed.unwrap_or_else(|| name.to_owned()),
            group: group.map(str::to_owned),
        })
    }

    /// Whether a role's rules (`rules`) allow it for every object.
    pub fn allowed_by(&self, role: &Value) -> bool {
        role["rules"].as_array().is_some_and(|rules| rules.iter().any(|rule| self.allowed_by_rule(rule)))
    }

    fn allowed_by_rule(&self, rule: &Value) -> bool {
        let has = |field: &str, wanted: &dyn Fn(&str) -> bool| {
            rule[field].as_array().is_some_and(|all| all.iter().filter_map(Value::as_str).any(wanted))
        };
        let every = self.resource.split_once('/').map(|(_, sub)| format!("*/{sub}"));
        let named = has("resourceNames", &|_| true);
        !named
            && has("verbs", &|verb| verb == "*" || verb == self.verb)
            && has("apiGroups", &|group| {
                group == "*" || self.group.as_deref().is_none_or(|wanted| wanted == group)
            })
            && has("resources", &|resource| {
                resource == "*" || resource == self.resource || every.as_deref() == Some(resource)
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked(text: &str, rule: Value) -> bool {
        Question::parse(text).is_some_and(|question| question.allowed_by(&json!({"rules": [rule]})))
    }

    #[test]
    fn questions_are_a_verb_and_a_resource() {
        for text in ["", "web", "get", "system:masters", "get pods now", "eat pods"] {
            assert_eq!(Question::parse(text), None, "{text}");
        }
        let wanted = Question {
            verb: "patch".into(),
            resource: "deployments/scale".into(),
            group: Some("apps".into()),
        };
        assert_eq!(Question::parse(" patch  deployments.apps/scale "), Some(wanted));
    }

    #[test]
    fn rules_allow_what_they_name() {
        let rule = |verbs: &str, group: &str, resource: &str| json!({"verbs": [verbs], "apiGroups": [group], "resources": [resource]});
        for (text, rule, allowed) in [
            ("get pods", rule("get", "", "pods"), true),
            ("get pods", rule("list", "", "pods"), false),
            ("get pods", rule("*", "*", "*"), true),
            ("get pods", rule("get", "metrics.k8s.io", "pods"), true),
            ("get pods.metrics.k8s.io", rule("get", "", "pods"), false),
            ("get pods/log", rule("get", "", "pods"), false),
            ("get pods/log", rule("get", "", "pods/log"), true),
            ("get pods/log", rule("get", "", "*/log"), true),
            ("update deployments.apps/scale", rule("update", "apps", "deployments/scale"), true),
            ("* pods", rule("get", "", "pods"), false),
        ] {
            assert_eq!(asked(text, rule.clone()), allowed, "{text} by {rule}");
        }
        let one =
            json!({"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["a"]});
        assert!(!asked("get secrets", one), "one object is not all");
    }
}
