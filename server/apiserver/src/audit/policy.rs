//! What is recorded of which request: `audit.k8s.io/v1` `Policy`, read from a file.
//!
//! Ported from `k8s.io/apiserver/pkg/audit/policy` and `pkg/apis/audit/validation`. Pure: a policy is a value, and
//! asking it allocates nothing.

use sampan_api::go::Quote as _;
use serde_json::{Map, Value, json};

use crate::UserInfo;
use crate::auth::Attributes;

/// How much is kept of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    None,
    /// Who, what, when, and how it ended.
    Metadata,
    /// And the request's body.
    Request,
    /// And the answer's.
    RequestResponse,
}

const LEVELS: [(&str, Level); 4] = [
    ("None", Level::None),
    ("Metadata", Level::Metadata),
    ("Request", Level::Request),
    ("RequestResponse", Level::RequestResponse),
];

impl Level {
    /// Upstream's word.
    pub fn name(self) -> &'static str {
        LEVELS.iter().find(|(_, level)| *level == self).map_or("", |(name, _)| name)
    }
}

/// A point in a request's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It came.
    RequestReceived,
    /// The answer's head was sent, its body goes on (watches, logs, streams).
    ResponseStarted,
    /// It is over.
    ResponseComplete,
    /// The server failed over it.
    Panic,
}

const STAGES: [(&str, Stage); 4] = [
    ("RequestReceived", Stage::RequestReceived),
    ("ResponseStarted", Stage::ResponseStarted),
    ("ResponseComplete", Stage::ResponseComplete),
    ("Panic", Stage::Panic),
];

impl Stage {
    /// Upstream's word.
    pub fn name(self) -> &'static str {
        STAGES.iter().find(|(_, stage)| *stage == self).map_or("", |(name, _)| name)
    }
}

/// Stages that are not recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Omitted(u8);

impl Omitted {
    fn with(self, stage: Stage) -> Self {
        Self(self.0 | 1 << stage as u8)
    }
    fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Whether `stage` is among them.
    pub fn has(self, stage: Stage) -> bool {
        self.0 & (1 << stage as u8) != 0
    }
}

/// What a policy says of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// How much is kept.
    pub level: Level,
    /// At which stages it is not.
    pub omitted: Omitted,
    /// Whether bodies lose their managed fields.
    pub omit_managed_fields: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Resources {
    group: String,
    resources: Vec<String>,
    names: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    verdict: Verdict,
    users: Vec<String>,
    groups: Vec<String>,
    verbs: Vec<String>,
    resources: Vec<Resources>,
    namespaces: Vec<String>,
    urls: Vec<String>,
}

/// Rules in order; the first that matches decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    rules: Vec<Rule>,
    omitted: Omitted,
}

const DEFAULT: &str = include_str!("default-policy.yaml");

impl Policy {
    /// Reads YAML or JSON. Errors name the field.
    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_yaml_ng::from_str(text).map_err(|error| format!("failed decoding: {error}"))?;
        let known = ["apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"];
        let top = fields(&value, "", &known)?;
        let said = |key: &str| top.get(key).and_then(Value::as_str).unwrap_or_default();
        if said("kind") != "Policy" || said("apiVersion") != "audit.k8s.io/v1" {
            return Err(format!(
                "unknown group version field {}, Kind={} in policy: audit.k8s.io/v1, Kind=Policy is wanted",
                said("apiVersion"),
                said("kind")
            ));
        }
        let omitted = stages(top, "omitStages")?;
        let managed = flag(top, "", "omitManagedFields")?.unwrap_or(false);
        let rules = match top.get("rules") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(rules)) => {
                let read = |(i, rule)| Rule::read(rule, &format!("rules[{i}]"), omitted, managed);
                rules.iter().enumerate().map(read).collect::<Result<_, _>>()?
            }
            Some(_) => return Err("rules: must be a list".to_owned()),
        };
        match rules.is_empty() {
            true => Err("loaded illegal policy with 0 rules".to_owned()),
            false => Ok(Self { rules, omitted }),
        }
    }

    /// What holds where nobody says otherwise.
    #[allow(clippy::expect_used, reason = "it is part of the program, and a test reads it")]
    pub fn built_in() -> Self {
        Self::parse(DEFAULT).expect("the built-in policy is one")
    }

    /// What is kept of a request by `user`, who may be unknown.
    pub fn verdict(&self, user: Option<&UserInfo>, asked: &Attributes<'_>) -> Verdict {
        let nothing = Verdict { level: Level::None, omitted: self.omitted, omit_managed_fields: false };
        self.rules.iter().find(|rule| rule.matches(user, asked)).map_or(nothing, |rule| rule.verdict)
    }
}

impl Rule {
    fn read(value: &Value, at: &str, omitted: Omitted, managed: bool) -> Result<Self, String> {
        let known = [
            "level",
            "users",
            "userGroups",
            "verbs",
            "resources",
            "namespaces",
            "nonResourceURLs",
            "omitStages",
            "omitManagedFields",
        ];
        let rule = fields(value, at, &known)?;
        let list = |key: &str| strings(rule, at, key);
        let urls = list("nonResourceURLs")?;
        for (i, url) in urls.iter().enumerate() {
            check_url(url).map_err(|why| {
                format!("{at}.nonResourceURLs[{i}]: Invalid value: {}: {why}", url.quoted())
            })?;
        }
        let resources = match rule.get("resources") {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(all)) => {
                let read = |(i, value)| Resources::read(value, &format!("{at}.resources[{i}]"));
                all.iter().enumerate().map(read).collect::<Result<Vec<_>, _>>()?
            }
            Some(_) => return Err(format!("{at}.resources: must be a list")),
        };
        let namespaces = list("namespaces")?;
        let of_resources = !resources.is_empty() || !namespaces.is_empty();
        if !urls.is_empty() && of_resources {
            return Err(format!(
                "{at}.nonResourceURLs: Invalid value: {}: rules cannot apply to both regular resources and non-resource URLs",
                json!(urls)
            ));
        }
        let own = stages(rule, &format!("{at}.omitStages"))?;
        let verdict = Verdict {
            level: level(rule, at)?,
            omitted: omitted.and(own),
            omit_managed_fields: flag(rule, at, "omitManagedFields")?.unwrap_or(managed),
        };
        let (users, groups, verbs) = (list("users")?, list("userGroups")?, list("verbs")?);
        Ok(Self { verdict, users, groups, verbs, resources, namespaces, urls })
    }

    fn matches(&self, user: Option<&UserInfo>, asked: &Attributes<'_>) -> bool {
        let has = |list: &[String], word: &str| list.iter().any(|one| one == word);
        let of_user = self.users.is_empty() || user.is_some_and(|user| has(&self.users, &user.name));
        let of_group = self.groups.is_empty()
            || user.is_some_and(|user| user.groups.iter().any(|group| has(&self.groups, group)));
        if !of_user || !of_group || !(self.verbs.is_empty() || has(&self.verbs, asked.verb)) {
            return false;
        }
        if !self.namespaces.is_empty() || !self.resources.is_empty() {
            return asked.is_resource
                && (self.namespaces.is_empty() || has(&self.namespaces, asked.namespace))
                && (self.resources.is_empty() || self.resources.iter().any(|one| one.matches(asked)));
        }
        self.urls.is_empty()
            || !asked.is_resource && self.urls.iter().any(|spec| path_matches(asked.path, spec))
    }
}

impl Resources {
    fn read(value: &Value, at: &str) -> Result<Self, String> {
        let one = fields(value, at, &["group", "resources", "resourceNames"])?;
        let group = match one.get("group") {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(group)) => group.clone(),
            Some(_) => return Err(format!("{at}.group: must be a string")),
        };
        let (resources, names) = (strings(one, at, "resources")?, strings(one, at, "resourceNames")?);
        if !group.is_empty() {
            let wrong = sampan_api::validation::is_dns1123_subdomain(&group);
            if !wrong.is_empty() {
                return Err(format!("{at}.group: Invalid value: {}: {}", group.quoted(), wrong.join(",")));
            }
        }
        if !names.is_empty() && resources.is_empty() {
            return Err(format!(
                "{at}.resourceNames: Invalid value: {}: using resourceNames requires at least one resource",
                json!(names)
            ));
        }
        Ok(Self { group, resources, names })
    }

    fn matches(&self, asked: &Attributes<'_>) -> bool {
        if self.group != asked.group {
            return false;
        }
        if self.resources.is_empty() {
            return true;
        }
        if !self.names.is_empty() && !self.names.iter().any(|name| name == asked.name) {
            return false;
        }
        self.resources.iter().any(|spec| match spec.split_once('/') {
            None => spec == "*" || asked.subresource.is_empty() && spec == asked.resource,
            Some(("*", subresource)) => !asked.subresource.is_empty() && subresource == asked.subresource,
            // the resource itself as well
            Some((resource, "*")) => resource == asked.resource,
            Some((resource, subresource)) => resource == asked.resource && subresource == asked.subresource,
        })
    }
}

fn path_matches(path: &str, spec: &str) -> bool {
    spec == "*" || spec == path || spec.ends_with('*') && path.starts_with(spec.trim_end_matches('*'))
}

fn check_url(url: &str) -> Result<(), &'static str> {
    if url == "*" {
        return Ok(());
    }
    if !url.starts_with('/') {
        return Err("non-resource URL rules must begin with a '/' character");
    }
    match url.strip_suffix('*').unwrap_or(url).contains('*') {
        true => Err("non-resource URL wildcards '*' must be the final character of the rule"),
        false => Ok(()),
    }
}

/// The fields of an object, all of which have to be known.
fn fields<'a>(value: &'a Value, at: &str, known: &[&str]) -> Result<&'a Map<String, Value>, String> {
    let place = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    let Some(map) = value.as_object() else {
        return Err(format!("{}: must be an object", if at.is_empty() { "policy" } else { at }));
    };
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(format!("strict decoding error: unknown field {}", place(key).quoted())),
        None => Ok(map),
    }
}

fn strings(map: &Map<String, Value>, at: &str, key: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{at}.{key}: must be a list of strings");
    match map.get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

fn flag(map: &Map<String, Value>, at: &str, key: &str) -> Result<Option<bool>, String> {
    let place = if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    match map.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(_) => Err(format!("{place}: must be true or false")),
    }
}

fn level(rule: &Map<String, Value>, at: &str) -> Result<Level, String> {
    let said = match rule.get("level") {
        None | Some(Value::Null) => return Err(format!("{at}.level: Required value")),
        Some(Value::String(said)) if said.is_empty() => return Err(format!("{at}.level: Required value")),
        Some(Value::String(said)) => said,
        Some(_) => return Err(format!("{at}.level: must be a string")),
    };
    LEVELS.iter().find(|(name, _)| name == said).map(|(_, level)| *level).ok_or_else(|| {
        format!(
            "{at}.level: Unsupported value: {}: supported values: \"Metadata\", \"None\", \"Request\", \"RequestResponse\"",
            said.quoted()
        )
    })
}

fn stages(map: &Map<String, Value>, at: &str) -> Result<Omitted, String> {
    let (parent, _) = at.rsplit_once('.').unwrap_or(("", at));
    let said = strings(map, parent, "omitStages")?;
    said.iter().enumerate().try_fold(Omitted::default(), |omitted, (i, word)| {
        match STAGES.iter().find(|(name, _)| name == word) {
            Some((_, stage)) => Ok(omitted.with(*stage)),
            None => Err(format!(
                "{at}[{i}]: Invalid value: {}: allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic",
                word.quoted()
            )),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn policy(rules: &str) -> Result<Policy, String> {
        Policy::parse(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n{rules}"))
    }

    fn resource<'a>(verb: &'a str, group: &'a str, place: &'a str, name: &'a str) -> Attributes<'a> {
        let (resource, subresource) = place.split_once('/').unwrap_or((place, ""));
        Attributes {
            verb,
            group,
            resource,
            subresource,
            name,
            namespace: "ns",
            is_resource: true,
            ..Attributes::default()
        }
    }

    fn level(policy: &Policy, user: &UserInfo, asked: &Attributes<'_>) -> Level {
        policy.verdict(Some(user), asked).level
    }

    #[test]
    fn rules_match_as_upstreams_do() {
        let jane = UserInfo::new("jane", &["dev"]);
        let pods = resource("get", "", "pods", "a");
        let logs = resource("get", "", "pods/log", "a");
        let deployments = resource("get", "apps", "deployments", "a");
        let health = Attributes { verb: "get", path: "/healthz/ping", ..Attributes::default() };
        #[rustfmt::skip]
        let cases = [
            ("users: [jane]", &pods, true), ("users: [joe]", &pods, false),
            ("userGroups: [dev]", &pods, true), ("userGroups: [ops]", &pods, false),
            ("verbs: [get]", &pods, true), ("verbs: [list]", &pods, false), ("verbs: [get]", &health, true),
            ("namespaces: [ns]", &pods, true), ("namespaces: ['']", &pods, false), ("namespaces: [ns]", &health, false),
            ("resources: [{resources: [pods]}]", &pods, true),
            ("resources: [{resources: [pods]}]", &logs, false),
            ("resources: [{resources: [pods/log]}]", &logs, true),
            ("resources: [{resources: ['pods/*']}]", &pods, true),
            ("resources: [{resources: ['pods/*']}]", &logs, true),
            ("resources: [{resources: ['*/log']}]", &logs, true),
            ("resources: [{resources: ['*/log']}]", &pods, false),
            ("resources: [{resources: ['*']}]", &logs, true),
            ("resources: [{resources: ['*']}]", &deployments, false),
            ("resources: [{group: apps}]", &deployments, true),
            ("resources: [{resources: [pods], resourceNames: [a]}]", &pods, true),
            ("resources: [{resources: [pods], resourceNames: [b]}]", &pods, false),
            ("nonResourceURLs: ['/healthz*']", &health, true),
            ("nonResourceURLs: ['/healthz']", &health, false),
            ("nonResourceURLs: ['*']", &pods, false), ("nonResourceURLs: ['*']", &health, true),
        ];
        for (rule, asked, matches) in cases {
            let policy = policy(&format!("- level: Metadata\n  {rule}\n")).unwrap();
            assert_eq!(level(&policy, &jane, asked) == Level::Metadata, matches, "{rule} {asked:?}");
        }
        let first = policy("- {level: None, users: [jane]}\n- {level: Request}\n").unwrap();
        assert_eq!(level(&first, &jane, &pods), Level::None);
        assert_eq!(first.verdict(None, &pods).level, Level::Request);
    }

    #[test]
    fn stages_and_managed_fields_come_from_rule_and_policy() {
        let text = "apiVersion: audit.k8s.io/v1\nkind: Policy\nomitStages: [RequestReceived]\nomitManagedFields: true\nrules:\n- {level: Metadata, verbs: [get], omitStages: [Panic], omitManagedFields: false}\n- {level: Request}\n";
        let policy = Policy::parse(text).unwrap();
        let first = policy.verdict(None, &resource("get", "", "pods", "a"));
        assert!(first.omitted.has(Stage::RequestReceived) && first.omitted.has(Stage::Panic));
        assert!(!first.omitted.has(Stage::ResponseComplete) && !first.omit_managed_fields);
        let second = policy.verdict(None, &resource("list", "", "pods", "a"));
        assert!(!second.omitted.has(Stage::Panic) && second.omit_managed_fields);
    }

    #[test]
    fn what_is_wrong_is_said_by_its_field() {
        #[rustfmt::skip]
        let cases = [
            ("- {level: Some}", "rules[0].level: Unsupported value: \"Some\": supported values: \"Metadata\", \"None\", \"Request\", \"RequestResponse\""),
            ("- {users: [a]}", "rules[0].level: Required value"),
            ("- {level: None}\n- {level: None, user: [a]}", "strict decoding error: unknown field \"rules[1].user\""),
            ("- {level: None, users: a}", "rules[0].users: must be a list of strings"),
            ("- {level: None, nonResourceURLs: [x]}", "rules[0].nonResourceURLs[0]: Invalid value: \"x\": non-resource URL rules must begin with a '/' character"),
            ("- {level: None, nonResourceURLs: ['/a*b']}", "rules[0].nonResourceURLs[0]: Invalid value: \"/a*b\": non-resource URL wildcards '*' must be the final character of the rule"),
            ("- {level: None, nonResourceURLs: [/a], namespaces: [b]}", "rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs"),
            ("- {level: None, resources: [{resourceNames: [a]}]}", "rules[0].resources[0].resourceNames: Invalid value: [\"a\"]: using resourceNames requires at least one resource"),
            ("- {level: None, omitStages: [Now]}", "rules[0].omitStages[0]: Invalid value: \"Now\": allowed stages are RequestReceived,ResponseStarted,ResponseComplete,Panic"),
            ("  []", "loaded illegal policy with 0 rules"),
        ];
        for (rules, wanted) in cases {
            assert_eq!(policy(rules).unwrap_err(), wanted, "{rules}");
        }
        assert!(Policy::parse("kind: Pod").unwrap_err().contains("Kind=Pod in policy"));
        assert!(
            policy("- {level: None, resources: [{group: 'a/v1'}]}")
                .unwrap_err()
                .starts_with("rules[0].resources[0].group: Invalid value")
        );
    }

    #[test]
    fn the_built_in_policy_keeps_no_body_of_what_is_secret() {
        let (policy, admin) = (Policy::built_in(), UserInfo::new("admin", &["system:masters"]));
        for verb in ["create", "update", "patch", "delete", "deletecollection", "get", "list", "watch"] {
            for (group, place) in [
                ("", "secrets"),
                ("", "configmaps"),
                ("", "serviceaccounts/token"),
                ("authentication.k8s.io", "tokenreviews"),
            ] {
                assert_eq!(
                    level(&policy, &admin, &resource(verb, group, place, "a")),
                    Level::Metadata,
                    "{verb} {place}"
                );
            }
        }
        assert_eq!(level(&policy, &admin, &resource("create", "apps", "deployments", "")), Level::Request);
        assert_eq!(
            level(&policy, &admin, &resource("update", "coordination.k8s.io", "leases", "a")),
            Level::None
        );
    }
}
