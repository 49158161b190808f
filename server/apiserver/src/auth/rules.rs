//! Rules of roles, and whether they cover a request: upstream's `rbac/v1/evaluation_helpers.go` and
//! `component-helpers/auth/rbac/validation/policy_comparator.go`.

use sampan_api::go::Quote as _;
use serde_json::{Map, Value, json};

use super::Attributes;
use crate::value::{items, strings};

/// One `rbac.authorization.k8s.io/v1` PolicyRule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Verbs.
    pub verbs: Vec<String>,
    /// API groups.
    pub groups: Vec<String>,
    /// Resources, with subresources as `pods/log`, `*/scale`, `*`.
    pub resources: Vec<String>,
    /// Names; empty for all.
    pub names: Vec<String>,
    /// Non-resource paths; `*` at the end stands for anything.
    pub urls: Vec<String>,
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|item| item == word || item == "*")
}

impl Rule {
    /// From its JSON.
    pub fn parse(value: &Value) -> Self {
        let list = |key: &str| value.get(key).map(strings).unwrap_or_default();
        Self {
            verbs: list("verbs"),
            groups: list("apiGroups"),
            resources: list("resources"),
            names: list("resourceNames"),
            urls: list("nonResourceURLs"),
        }
    }

    /// As JSON.
    pub fn to_value(&self) -> Value {
        let mut rule = Map::new();
        let lists = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.urls),
        ];
        for (key, list) in lists {
            if !list.is_empty() {
                rule.insert(key.into(), json!(list));
            }
        }
        rule.into()
    }

    /// All rules of a role's `rules`.
    pub fn parse_all(role: &Value) -> Vec<Self> {
        role.get("rules").map(items).unwrap_or_default().iter().map(Self::parse).collect()
    }

    /// Whether the rule allows the request: `RuleAllows`.
    pub fn allows(&self, request: &Attributes<'_>) -> bool {
        if !has(&self.verbs, request.verb) {
            return false;
        }
        if !request.is_resource {
            return self.urls.iter().any(|url| url_matches(url, request.path));
        }
        has(&self.groups, request.group)
            && self.resources.iter().any(|r| resource_matches(r, request.resource, request.subresource))
            && (self.names.is_empty() || self.names.iter().any(|n| n == request.name))
    }

    /// Whether this rule alone covers the single-valued `other`: `ruleCovers`.
    fn covers(&self, other: &Rule) -> bool {
        let all = |mine: &[String], theirs: &[String]| {
            mine.iter().any(|m| m == "*") || theirs.iter().all(|t| mine.contains(t))
        };
        let resources = other.resources.iter().all(|r| {
            self.resources.contains(r)
                || self.resources.iter().any(|mine| {
                    mine == "*"
                        || r.split_once('/').is_some_and(|(_, sub)| mine.strip_prefix("*/") == Some(sub))
                })
        });
        let urls = other.urls.iter().all(|u| self.urls.iter().any(|mine| mine == u || url_matches(mine, u)));
        let names = self.names.is_empty()
            || (!other.names.is_empty() && other.names.iter().all(|n| self.names.contains(n)));
        all(&self.verbs, &other.verbs) && all(&self.groups, &other.groups) && resources && names && urls
    }

    /// The rule as rules with one value in each list: `BreakdownRule`.
    fn broken_down(&self) -> Vec<Rule> {
        let mut out = Vec::new();
        let one = |word: &String| vec![word.clone()];
        for verb in &self.verbs {
            for url in &self.urls {
                out.push(Rule { verbs: one(verb), urls: one(url), ..Rule::default() });
            }
            for (group, resource) in
                self.groups.iter().flat_map(|g| self.resources.iter().map(move |r| (g, r)))
            {
                let base = Rule {
                    verbs: one(verb),
                    groups: one(group),
                    resources: one(resource),
                    ..Rule::default()
                };
                match self.names.is_empty() {
                    true => out.push(base),
                    false => out.extend(self.names.iter().map(|n| Rule { names: one(n), ..base.clone() })),
                }
            }
        }
        out
    }

    /// As upstream's `CompactString` prints it.
    pub fn compact(&self) -> String {
        let list = |name: &str, words: &[String]| {
            let words: Vec<String> = words.iter().map(|w| w.quoted().to_string()).collect();
            (!words.is_empty()).then(|| format!("{name}:[{}]", words.join(" ")))
        };
        let parts = [
            list("APIGroups", &self.groups),
            list("Resources", &self.resources),
            list("NonResourceURLs", &self.urls),
            list("ResourceNames", &self.names),
            list("Verbs", &self.verbs),
        ];
        format!("{{{}}}", parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

fn url_matches(pattern: &str, path: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => pattern == path,
    }
}

/// A review may name a resource as `pods/resize` at once: the two halves are compared as one word.
fn resource_matches(pattern: &str, resource: &str, subresource: &str) -> bool {
    if pattern == "*" {
        return true;
    }
    if subresource.is_empty() {
        return pattern == resource;
    }
    match pattern.rsplit_once('/') {
        Some((name, sub)) => sub == subresource && (name == resource || name == "*"),
        None => false,
    }
}

/// What of `wanted` the rules of `owned` do not cover: `Covers`, with the missing rules compacted by verb.
pub fn uncovered(owned: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let single = wanted.iter().flat_map(Rule::broken_down);
    let missing = single.filter(|rule| !owned.iter().any(|mine| mine.covers(rule)));
    let mut compacted: Vec<Rule> = Vec::new();
    for rule in missing {
        let alike = compacted.iter_mut().find(|c| {
            c.groups == rule.groups
                && c.resources == rule.resources
                && c.names == rule.names
                && c.urls == rule.urls
        });
        match alike {
            Some(first) => first.verbs.extend(rule.verbs),
            None => compacted.push(rule),
        }
    }
    compacted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        let list = |text: &str| text.split(',').filter(|w| *w != "-").map(str::to_owned).collect::<Vec<_>>();
        Rule {
            verbs: list(verbs),
            groups: list(groups),
            resources: list(resources),
            names: list(names),
            urls: vec![],
        }
    }

    fn request<'a>(verb: &'a str, group: &'a str, resource: &'a str, name: &'a str) -> Attributes<'a> {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        Attributes { verb, group, resource, subresource, name, is_resource: true, ..Attributes::default() }
    }

    #[test]
    fn rules_allow_what_they_say() {
        let cases = [
            (rule("get", "", "pods", "-"), request("get", "", "pods", "a"), true),
            (rule("get", "", "pods", "-"), request("list", "", "pods", ""), false),
            (rule("get", "", "pods", "-"), request("get", "", "pods/log", "a"), false),
            (rule("get", "", "pods/log", "-"), request("get", "", "pods/log", "a"), true),
            (rule("get", "", "*/scale", "-"), request("get", "", "deployments/scale", "a"), true),
            (rule("get", "", "*/scale", "-"), request("get", "", "deployments", "a"), false),
            (rule("*", "*", "*", "-"), request("delete", "apps", "deployments/scale", "a"), true),
            (rule("get", "", "secrets", "one"), request("get", "", "secrets", "one"), true),
            (rule("get", "", "secrets", "one"), request("get", "", "secrets", "two"), false),
            (rule("list", "", "secrets", "one"), request("list", "", "secrets", ""), false),
            (rule("get", "apps", "pods", "-"), request("get", "", "pods", "a"), false),
        ];
        for (rule, request, want) in cases {
            assert_eq!(rule.allows(&request), want, "{rule:?} {request:?}");
        }
    }

    #[test]
    fn both_halves_of_a_resource_may_be_asked_for_as_one_word() {
        for (pattern, resource, subresource, want) in [
            ("pods/log", "pods/log", "", true),
            ("pods/log", "pods", "log", true),
            ("pods", "pods/log", "", false),
            ("*/log", "pods/log", "", false),
            ("*/log", "pods", "log", true),
            ("pods/*", "pods", "log", false),
            ("*", "pods/log", "", true),
        ] {
            assert_eq!(resource_matches(pattern, resource, subresource), want, "{pattern} {resource}");
        }
    }

    #[test]
    fn paths_match_by_prefix_only_where_starred() {
        let rule = |url: &str| Rule { verbs: vec!["get".into()], urls: vec![url.into()], ..Rule::default() };
        let ask = |path| Attributes { verb: "get", path, ..Attributes::default() };
        for (url, path, want) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/x", false),
            ("/api/*", "/api/v1", true),
            ("/api/*", "/api", false),
            ("*", "/x", true),
        ] {
            assert_eq!(rule(url).allows(&ask(path)), want, "{url} {path}");
        }
    }

    #[test]
    fn what_is_not_covered_is_told() {
        let owned = [
            rule("get,list", "", "pods", "-"),
            rule("*", "apps", "*", "-"),
            rule("get", "", "secrets", "one"),
        ];
        assert!(
            uncovered(&owned, &[rule("get", "", "pods", "a"), rule("delete", "apps", "deployments", "-")])
                .is_empty()
        );
        let missing = uncovered(&owned, &[rule("get,delete,update", "", "pods,secrets", "-")]);
        let texts: Vec<String> = missing.iter().map(Rule::compact).collect();
        assert_eq!(
            texts,
            [
                r#"{APIGroups:[""], Resources:["secrets"], Verbs:["get" "delete" "update"]}"#,
                r#"{APIGroups:[""], Resources:["pods"], Verbs:["delete" "update"]}"#,
            ]
        );
    }
}
