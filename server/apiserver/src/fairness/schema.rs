//! FlowSchemas: which request belongs to which flow. Ported from `k8s.io/apiserver/pkg/util/flowcontrol/rule.go`. Pure.

use serde_json::Value;

use crate::UserInfo;
use crate::pipeline::info::RequestInfo;
use crate::value::{at, items, meta, strings, text};

/// What tells the flows of one schema apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distinguisher {
    /// All are one.
    Nothing,
    User,
    Namespace,
}

/// A FlowSchema, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FlowSchema {
    pub name: String,
    pub uid: String,
    pub level: String,
    pub distinguisher: Distinguisher,
    precedence: i64,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    subjects: Vec<Subject>,
    resources: Vec<Resources>,
    urls: Vec<Urls>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Subject {
    AnyUser,
    User(String),
    AnyGroup,
    Group(String),
    /// Namespace and name; `*` is any.
    Account(String, String),
}

/// Words of which one has to fit; `None` is any.
type Words = Option<Vec<String>>;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Resources {
    verbs: Words,
    groups: Words,
    resources: Words,
    cluster_scope: bool,
    namespaces: Words,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Urls {
    verbs: Words,
    urls: Vec<String>,
}

impl FlowSchema {
    pub(super) fn parse(object: &Value) -> Self {
        let spec = at(object, &["spec"]);
        Self {
            name: meta(object, "name").to_owned(),
            uid: meta(object, "uid").to_owned(),
            level: text(spec, &["priorityLevelConfiguration", "name"]).to_owned(),
            distinguisher: match text(spec, &["distinguisherMethod", "type"]) {
                "ByUser" => Distinguisher::User,
                "ByNamespace" => Distinguisher::Namespace,
                _ => Distinguisher::Nothing,
            },
            precedence: at(spec, &["matchingPrecedence"]).as_i64().unwrap_or(1000),
            rules: items(at(spec, &["rules"])).iter().map(Rule::parse).collect(),
        }
    }

    /// Schemas are asked in this order: by precedence, and the older name first.
    pub(super) fn order(&self) -> (i64, &str) {
        (self.precedence, &self.name)
    }

    pub(super) fn matches(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.rules.iter().any(|rule| {
            rule.subjects.iter().any(|subject| subject.is(user))
                && match info.is_resource {
                    true => rule.resources.iter().any(|one| one.matches(info)),
                    false => rule.urls.iter().any(|one| one.matches(info)),
                }
        })
    }

    /// What tells this request's flow from the schema's others.
    pub(super) fn flow<'a>(&self, user: &'a UserInfo, info: &'a RequestInfo) -> &'a str {
        match self.distinguisher {
            Distinguisher::Nothing => "",
            Distinguisher::User => &user.name,
            Distinguisher::Namespace => &info.namespace,
        }
    }
}

impl Rule {
    fn parse(rule: &Value) -> Self {
        let list = |key: &str| items(at(rule, &[key]));
        Self {
            subjects: list("subjects").iter().filter_map(Subject::parse).collect(),
            resources: list("resourceRules").iter().map(Resources::parse).collect(),
            urls: list("nonResourceRules").iter().map(Urls::parse).collect(),
        }
    }
}

impl Subject {
    fn parse(subject: &Value) -> Option<Self> {
        let name = |of: &str| text(subject, &[of, "name"]).to_owned();
        Some(match text(subject, &["kind"]) {
            "User" if name("user") == "*" => Self::AnyUser,
            "User" => Self::User(name("user")),
            "Group" if name("group") == "*" => Self::AnyGroup,
            "Group" => Self::Group(name("group")),
            "ServiceAccount" => {
                let namespace = text(subject, &["serviceAccount", "namespace"]).to_owned();
                Self::Account(namespace, name("serviceAccount"))
            }
            _ => return None,
        })
    }

    fn is(&self, user: &UserInfo) -> bool {
        match self {
            Self::AnyUser | Self::AnyGroup => true,
            Self::User(name) => user.name == *name,
            Self::Group(name) => user.in_group(name),
            Self::Account(namespace, name) => {
                let account = user.name.strip_prefix("system:serviceaccount:");
                account
                    .and_then(|account| account.split_once(':'))
                    .is_some_and(|(of, account)| of == namespace && (name == "*" || name == account))
            }
        }
    }
}

fn words(value: &Value, key: &str) -> Words {
    let words = strings(at(value, &[key]));
    if words == ["*"] { None } else { Some(words) }
}

fn fits(words: &Words, word: &str) -> bool {
    words.as_ref().is_none_or(|words| words.iter().any(|one| one == word))
}

impl Resources {
    fn parse(rule: &Value) -> Self {
        Self {
            verbs: words(rule, "verbs"),
            groups: words(rule, "apiGroups"),
            resources: words(rule, "resources"),
            cluster_scope: at(rule, &["clusterScope"]).as_bool() == Some(true),
            namespaces: words(rule, "namespaces"),
        }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        let resource = || {
            self.resources.as_ref().is_none_or(|all| {
                all.iter().any(|one| match info.subresource.as_str() {
                    "" => *one == info.resource,
                    sub => one.split_once('/') == Some((info.resource.as_str(), sub)),
                })
            })
        };
        fits(&self.verbs, &info.verb)
            && fits(&self.groups, &info.group)
            && resource()
            && match info.namespace.as_str() {
                "" => self.cluster_scope,
                namespace => fits(&self.namespaces, namespace),
            }
    }
}

impl Urls {
    fn parse(rule: &Value) -> Self {
        Self { verbs: words(rule, "verbs"), urls: strings(at(rule, &["nonResourceURLs"])) }
    }

    fn matches(&self, info: &RequestInfo) -> bool {
        let path = info.path.as_str();
        fits(&self.verbs, &info.verb)
            && self.urls.iter().any(|url| {
                let prefix = url.strip_suffix('*').unwrap_or(url);
                let below = path.strip_prefix(prefix.trim_end_matches('/'));
                url == "*" || url == path || below.is_some_and(|rest| rest.starts_with('/'))
            })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::pipeline::info;
    use crate::pipeline::query::Query;
    use serde_json::json;

    fn schema(rule: Value) -> FlowSchema {
        FlowSchema::parse(&json!({"metadata": {"name": "s"}, "spec": {"rules": [rule]}}))
    }

    fn request(method: &str, uri: &str) -> RequestInfo {
        info::parse(&method.parse().unwrap(), uri, &Query::default())
    }

    #[test]
    fn subjects_are_told_as_upstreams_tells_them() {
        let account = UserInfo::new("system:serviceaccount:kube-system:dns", &["system:serviceaccounts"]);
        let jane = UserInfo::new("jane", &["dev"]);
        let of = |kind: &str, value: Value| {
            let field = kind[..1].to_lowercase() + &kind[1..];
            json!({"kind": kind, field: value})
        };
        #[rustfmt::skip]
        let cases = [
            (of("User", json!({"name": "*"})), &jane, true),
            (of("User", json!({"name": "jane"})), &jane, true),
            (of("User", json!({"name": "joe"})), &jane, false),
            (of("Group", json!({"name": "dev"})), &jane, true),
            (of("Group", json!({"name": "ops"})), &jane, false),
            (of("Group", json!({"name": "*"})), &jane, true),
            (of("ServiceAccount", json!({"namespace": "kube-system", "name": "*"})), &account, true),
            (of("ServiceAccount", json!({"namespace": "kube-system", "name": "dns"})), &account, true),
            (of("ServiceAccount", json!({"namespace": "kube", "name": "*"})), &account, false),
            (of("ServiceAccount", json!({"namespace": "kube-system", "name": "*"})), &jane, false),
        ];
        for (subject, user, wanted) in cases {
            let rules = json!({"subjects": [subject], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
            assert_eq!(schema(rules).matches(user, &request("GET", "/version")), wanted, "{subject}");
        }
    }

    #[test]
    fn what_is_asked_for_is_told_as_upstreams_tells_it() {
        let pods = "/api/v1/namespaces/a/pods";
        #[rustfmt::skip]
        let cases = [
            (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}), "GET", pods, true),
            (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}), "GET", "/api/v1/nodes", false),
            (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true}), "GET", "/api/v1/nodes", true),
            (json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true}), "GET", pods, false),
            (json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a"]}), "GET", pods, true),
            (json!({"verbs": ["get"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a"]}), "GET", pods, false),
            (json!({"verbs": ["list"], "apiGroups": ["apps"], "resources": ["pods"], "namespaces": ["a"]}), "GET", pods, false),
            (json!({"verbs": ["list"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["b"]}), "GET", pods, false),
            (json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods"], "namespaces": ["a"]}), "PUT", "/api/v1/namespaces/a/pods/p/status", false),
            (json!({"verbs": ["*"], "apiGroups": [""], "resources": ["pods/status"], "namespaces": ["a"]}), "PUT", "/api/v1/namespaces/a/pods/p/status", true),
        ];
        let jane = UserInfo::new("jane", &[]);
        let any = json!([{"kind": "User", "user": {"name": "*"}}]);
        for (rule, method, uri, wanted) in cases {
            let told = schema(json!({"subjects": any, "resourceRules": [rule]}))
                .matches(&jane, &request(method, uri));
            assert_eq!(told, wanted, "{rule} {uri}");
        }
        for (url, path, wanted) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", true),
            ("/healthz", "/healthzz", false),
            ("/healthz/*", "/healthz/ping", true),
            ("*", "/x", true),
        ] {
            let rule = json!({"verbs": ["get"], "nonResourceURLs": [url]});
            let told = schema(json!({"subjects": any, "nonResourceRules": [rule]}))
                .matches(&jane, &request("GET", path));
            assert_eq!(told, wanted, "{url} {path}");
        }
    }
}
