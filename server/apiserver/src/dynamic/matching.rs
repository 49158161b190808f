//! Which requests a configuration is for: rules, selectors, equivalent resources.
//!
//! Ported from upstream's `plugin/webhook/predicates` and `plugin/policy/matching`.

use std::collections::BTreeMap;

use sampan_api::kinds::{self, Kind};
use sampan_api::selector::Selector;
use sampan_store::Key;
use serde_json::Value;

use crate::registry::{Operation, Review};
use crate::value::{at, items, meta, strings, text};

/// A rule: `RuleWithOperations`, with the names of policies' `NamedRuleWithOperations`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
    names: Vec<String>,
}

impl Rule {
    pub(super) fn parse(rule: &Value) -> Self {
        let list = |key: &str| strings(at(rule, &[key]));
        Self {
            operations: list("operations"),
            groups: list("apiGroups"),
            versions: list("apiVersions"),
            resources: list("resources"),
            scope: text(rule, &["scope"]).to_owned(),
            names: list("resourceNames"),
        }
    }

    pub(super) fn all(rules: &Value) -> Vec<Self> {
        items(rules).iter().map(Self::parse).collect()
    }

    fn matches(&self, asked: &Asked<'_>) -> bool {
        let any = |list: &[String], one: &str| list.iter().any(|item| item == "*" || item == one);
        any(&self.operations, operation(asked.operation))
            && any(&self.groups, asked.group)
            && any(&self.versions, asked.version)
            && self.has_resource(asked)
            && self.has_scope(asked)
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
    }

    fn has_resource(&self, asked: &Asked<'_>) -> bool {
        self.resources.iter().any(|resource| {
            let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
            (resource == "*" || resource == asked.resource)
                && (subresource == "*" || subresource == asked.subresource)
        })
    }

    fn has_scope(&self, asked: &Asked<'_>) -> bool {
        let namespaced = asked.resource != "namespaces" && !asked.namespace.is_empty();
        match self.scope.as_str() {
            "Namespaced" => namespaced,
            "Cluster" => !namespaced,
            _ => true,
        }
    }
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub operation: Operation,
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
    pub subresource: &'a str,
    pub namespace: &'a str,
    pub name: &'a str,
}

impl<'a> Asked<'a> {
    pub(super) fn of(review: &Review<'a>, kind: &'a Kind) -> Self {
        Self {
            operation: review.operation,
            group: kind.group,
            version: kind.version,
            resource: kind.plural,
            subresource: subresource(review),
            namespace: review.namespace,
            name: review.name,
        }
    }
}

/// The subresource that the request was for.
pub(super) fn subresource<'a>(review: &Review<'a>) -> &'a str {
    if review.notes.view().is_empty() { review.subresource } else { review.notes.view() }
}

/// As `AdmissionRequest.operation` says it.
pub(super) fn operation(operation: Operation) -> &'static str {
    operation.name()
}

/// Configurations are never subject to each other.
pub(super) fn is_exempt(kind: &Kind) -> bool {
    kind.group == "admissionregistration.k8s.io"
}

/// Policies are not subject to each other, nor are questions about who may what: upstream's `exclusion`.
pub(super) fn is_exempt_from_policies(kind: &Kind) -> bool {
    match kind.group {
        "admissionregistration.k8s.io" => kind.kind.contains("AdmissionPolicy"),
        "authentication.k8s.io" | "authorization.k8s.io" => true,
        _ => false,
    }
}

/// Rules and selectors: of a webhook, or `matchConstraints` and `matchResources` of policies and bindings.
#[derive(Debug)]
pub(super) struct Matcher {
    rules: Vec<Rule>,
    excluded: Vec<Rule>,
    equivalent: bool,
    namespaces: Result<Selector, String>,
    objects: Result<Selector, String>,
}

impl Matcher {
    /// Of a webhook.
    pub(super) fn of_webhook(hook: &Value) -> Self {
        Self::new(hook, Rule::all(at(hook, &["rules"])), Vec::new())
    }

    /// Of a policy or its binding.
    pub(super) fn of_resources(resources: &Value) -> Self {
        let rules = Rule::all(at(resources, &["resourceRules"]));
        Self::new(resources, rules, Rule::all(at(resources, &["excludeResourceRules"])))
    }

    fn new(from: &Value, rules: Vec<Rule>, excluded: Vec<Rule>) -> Self {
        let selector = |key: &str| match at(from, &[key]) {
            Value::Null => Ok(Selector::everything()),
            selector => Selector::from_object(Some(selector)),
        };
        Self {
            rules,
            excluded,
            equivalent: text(from, &["matchPolicy"]) != "Exact",
            namespaces: selector("namespaceSelector"),
            objects: selector("objectSelector"),
        }
    }

    /// The kind in whose version the request is to be shown, if it is for this.
    pub(super) fn matches(
        &self,
        review: &Review<'_>,
        object: &Value,
    ) -> Result<Option<&'static Kind>, String> {
        // the cheapest first: most rules are for other resources
        let Some(kind) = self.kind(&self.rules, review) else { return Ok(None) };
        if self.kind(&self.excluded, review).is_some() {
            return Ok(None);
        }
        Ok(self.selects(review, object)?.then_some(kind))
    }

    /// Whether selectors (and exclusions) let the request in, and rules, if there are any.
    pub(super) fn allows(&self, review: &Review<'_>, object: &Value) -> Result<bool, String> {
        if !self.rules.is_empty() {
            return Ok(self.matches(review, object)?.is_some());
        }
        Ok(self.kind(&self.excluded, review).is_none() && self.selects(review, object)?)
    }

    fn selects(&self, review: &Review<'_>, object: &Value) -> Result<bool, String> {
        Ok(in_namespaces(self.namespaces.as_ref().map_err(Clone::clone)?, review, object)
            && of_objects(self.objects.as_ref().map_err(Clone::clone)?, review, object))
    }

    fn kind(&self, rules: &[Rule], review: &Review<'_>) -> Option<&'static Kind> {
        // a binding was asked about as what it is, the creation of a Binding; this is its effect on the pod
        if review.operation == Operation::Update && review.subresource == "binding" {
            return None;
        }
        let asked = Asked::of(review, review.kind);
        if rules.iter().any(|rule| rule.matches(&asked)) {
            return Some(review.kind);
        }
        if !self.equivalent || !crate::strategies::convert::many_versions(review.kind) {
            return None;
        }
        let same = |kind: &&'static Kind| kind.storage_group == review.kind.storage_group;
        let mut others: Vec<&'static Kind> = match review.kind.custom {
            Some(custom) => custom.versions(),
            None => kinds::all().iter().filter(same).collect(),
        };
        others.retain(|kind| kind.api_version() != review.kind.api_version());
        let met = |rule: &Rule| others.iter().find(|kind| rule.matches(&Asked::of(review, kind))).copied();
        rules.iter().find_map(met)
    }
}

type Labels = BTreeMap<String, String>;

pub(super) fn labels(object: &Value) -> Labels {
    let labels = at(object, &["metadata", "labels"]).as_object();
    let pairs = labels.into_iter().flatten();
    pairs.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned()))).collect()
}

fn in_namespaces(selector: &Selector, review: &Review<'_>, object: &Value) -> bool {
    if selector.is_everything() {
        return true;
    }
    if review.kind.plural == "namespaces" && review.kind.group.is_empty() {
        // a namespace is matched by itself, as it will be
        let itself = if object.is_null() { review.old.unwrap_or(object) } else { object };
        return selector.matches(&labels(itself));
    }
    if review.namespace.is_empty() {
        return true;
    }
    namespace(review).is_some_and(|namespace| selector.matches(&labels(&namespace)))
}

/// The request's namespace.
pub(super) fn namespace(review: &Review<'_>) -> Option<Value> {
    let entry = review.store.get(&Key::new("namespaces", review.namespace))?;
    serde_json::from_slice(&entry.value).ok()
}

fn of_objects(selector: &Selector, review: &Review<'_>, object: &Value) -> bool {
    if selector.is_everything() {
        return true;
    }
    let fits = |one: &Value| one.get("metadata").is_some() && selector.matches(&labels(one));
    fits(object) || review.old.is_some_and(fits)
}

/// The object's name, which creation may have made only now.
pub(super) fn name<'a>(review: &Review<'a>, object: &'a Value) -> &'a str {
    if review.name.is_empty() { meta(object, "name") } else { review.name }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn asked<'a>(resource: &'a str, subresource: &'a str, namespace: &'a str) -> Asked<'a> {
        Asked {
            operation: Operation::Create,
            group: "apps",
            version: "v1",
            resource,
            subresource,
            namespace,
            name: "a",
        }
    }

    fn rule(change: Value) -> Rule {
        let mut rule =
            json!({"operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*"]});
        for (key, value) in change.as_object().expect("an object") {
            rule[key] = value.clone();
        }
        Rule::parse(&rule)
    }

    #[test]
    fn rules_match_as_upstreams() {
        let cases = [
            (json!({}), asked("deployments", "", "a"), true),
            (json!({}), asked("deployments", "status", "a"), false),
            (json!({"resources": ["*/*"]}), asked("deployments", "status", "a"), true),
            (json!({"resources": ["*/*"]}), asked("deployments", "", "a"), true),
            (json!({"resources": ["*/status"]}), asked("deployments", "status", "a"), true),
            (json!({"resources": ["deployments/*"]}), asked("deployments", "", "a"), true),
            (json!({"resources": ["deployments"]}), asked("deployments", "scale", "a"), false),
            (json!({"resources": ["pods", "deployments"]}), asked("deployments", "", "a"), true),
            (json!({"operations": ["UPDATE"]}), asked("deployments", "", "a"), false),
            (json!({"operations": ["UPDATE", "CREATE"]}), asked("deployments", "", "a"), true),
            (json!({"apiGroups": [""]}), asked("deployments", "", "a"), false),
            (json!({"apiVersions": ["v1beta1"]}), asked("deployments", "", "a"), false),
            (json!({"scope": "Namespaced"}), asked("deployments", "", "a"), true),
            (json!({"scope": "Cluster"}), asked("deployments", "", "a"), false),
            (json!({"scope": "Cluster"}), asked("deployments", "", ""), true),
            (json!({"scope": "Cluster"}), asked("namespaces", "", "a"), true),
            (json!({"scope": "Namespaced"}), asked("namespaces", "", "a"), false),
            (json!({"scope": "*"}), asked("namespaces", "", "a"), true),
            (json!({"resourceNames": ["b"]}), asked("deployments", "", "a"), false),
            (json!({"resourceNames": ["b", "a"]}), asked("deployments", "", "a"), true),
        ];
        for (change, asked, expected) in cases {
            assert_eq!(rule(change.clone()).matches(&asked), expected, "{change} {asked:?}");
        }
    }
}
