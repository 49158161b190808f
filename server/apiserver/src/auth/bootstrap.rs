//! Upstream's bootstrap roles and bindings, written at start where they are missing or have lost rules.
//!
//! The facts are in `policy/*.txt`; this reads them. Ported from
//! `plugin/pkg/auth/authorizer/rbac/bootstrappolicy` and `pkg/registry/rbac/rest/storage_rbac.go`: rules and
//! subjects are added, never taken away, and an object annotated
//! `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.

use sampan_store::{Action, Condition, Key, Store, Write};
use serde_json::{Value, json};

use super::index::{BINDINGS, CLUSTER_BINDINGS, CLUSTER_ROLES, ROLES, aggregated_rules};
use super::rules::{Rule, uncovered};
use crate::value::{at, items, meta, now, set, text};

const CLUSTER: &str = include_str!("policy/cluster.txt");
const NODE: &str = include_str!("policy/node.txt");
const CONTROLLERS: &str = include_str!("policy/controllers.txt");
const NAMESPACED: &str = include_str!("policy/namespaced.txt");
const API: &str = "rbac.authorization.k8s.io";
const CONTROLLER: &str = "system:controller:";
const AUTO_UPDATE: &str = "rbac.authorization.kubernetes.io/autoupdate";

fn words(list: &str) -> Vec<String> {
    let words = list.split(',').map(|w| if w == "core" { "" } else { w });
    words.map(str::to_owned).collect()
}

fn verbs(list: &str) -> Vec<String> {
    match list {
        "read" => words("get,list,watch"),
        "write" => words("create,delete,deletecollection,patch,update"),
        "all" => words("create,delete,deletecollection,get,list,patch,update,watch"),
        list => words(list),
    }
}

fn rule(line: &str) -> Rule {
    if line == "events" {
        return rule("create,patch,update core,events.k8s.io events");
    }
    let (line, names) = line.split_once(" = ").map_or((line, Vec::new()), |(l, n)| (l, words(n)));
    let mut parts = line.split(' ');
    let mut next = || parts.next().unwrap_or_default();
    let (verb, group, what) = (next(), next(), next());
    match group {
        "url" => Rule { verbs: verbs(verb), urls: words(what), ..Rule::default() },
        _ => {
            Rule { verbs: verbs(verb), groups: words(group), resources: words(what), names, urls: Vec::new() }
        }
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// What every node may do.
pub fn node_rules() -> Vec<Rule> {
    lines(NODE).map(rule).collect()
}

/// A role of one of the files: the words after `role`, and its rules.
struct Section {
    head: String,
    aggregate: Option<String>,
    rules: Vec<Rule>,
}

fn sections(text: &str) -> Vec<Section> {
    let mut all: Vec<Section> = Vec::new();
    for line in lines(text) {
        if let Some(head) = line.strip_prefix("role ") {
            all.push(Section { head: head.to_owned(), aggregate: None, rules: Vec::new() });
            continue;
        }
        let Some(section) = all.last_mut() else { continue };
        match (line, line.strip_prefix("aggregate ")) {
            (_, Some(to)) => section.aggregate = Some(to.to_owned()),
            ("@node", _) => section.rules = node_rules(),
            _ => section.rules.push(rule(line)),
        }
    }
    all
}

fn object(kind: &str, namespace: &str, name: &str) -> Value {
    let mut object = json!({
        "kind": kind, "apiVersion": "rbac.authorization.k8s.io/v1",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {AUTO_UPDATE: "true"},
        },
    });
    if !namespace.is_empty() {
        set(&mut object, &["metadata", "namespace"], namespace);
    }
    object
}

fn role(kind: &str, namespace: &str, name: &str, rules: &[Rule]) -> Value {
    let mut role = object(kind, namespace, name);
    role["rules"] = rules.iter().map(Rule::to_value).collect();
    role
}

/// `User:x`, `Group:x`, or a service account of kube-system.
fn subject(word: &str) -> Value {
    match word.split_once(':') {
        Some((kind @ ("User" | "Group"), name)) => json!({"kind": kind, "apiGroup": API, "name": name}),
        _ => json!({"kind": "ServiceAccount", "name": word, "namespace": "kube-system"}),
    }
}

fn binding(kind: &str, namespace: &str, name: &str, role_kind: &str, role: &str, subjects: &[&str]) -> Value {
    let mut binding = object(kind, namespace, name);
    binding["roleRef"] = json!({"apiGroup": API, "kind": role_kind, "name": role});
    if !subjects.is_empty() {
        binding["subjects"] = subjects.iter().map(|s| subject(s)).collect();
    }
    binding
}

/// Whom the cluster roles are bound to.
const BOUND: &[(&str, &str, &[&str])] = &[
    ("cluster-admin", "cluster-admin", &["Group:system:masters"]),
    ("system:monitoring", "system:monitoring", &["Group:system:monitoring"]),
    ("system:discovery", "system:discovery", &["Group:system:authenticated"]),
    ("system:basic-user", "system:basic-user", &["Group:system:authenticated"]),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        &["Group:system:authenticated", "Group:system:unauthenticated"],
    ),
    ("system:node-proxier", "system:node-proxier", &["User:system:kube-proxy"]),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        &["User:system:kube-controller-manager"],
    ),
    ("system:kube-dns", "system:kube-dns", &["kube-dns"]),
    ("system:kube-scheduler", "system:kube-scheduler", &["User:system:kube-scheduler"]),
    ("system:volume-scheduler", "system:volume-scheduler", &["User:system:kube-scheduler"]),
    // the Node authorizer decides for nodes; upstream keeps the binding, with no subject
    ("system:node", "system:node", &[]),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        &["Group:system:serviceaccounts"],
    ),
];

/// All bootstrap objects with their buckets, aggregated roles filled in.
pub fn objects() -> Vec<(&'static str, Value)> {
    let mut cluster_roles: Vec<Value> = sections(CLUSTER).iter().map(cluster_role).collect();
    let controllers = sections(CONTROLLERS);
    cluster_roles.extend(
        controllers.iter().map(|s| role("ClusterRole", "", &format!("{CONTROLLER}{}", s.head), &s.rules)),
    );
    for i in 0..cluster_roles.len() {
        if cluster_roles[i].get("aggregationRule").is_some() {
            let name = meta(&cluster_roles[i], "name").to_owned();
            cluster_roles[i]["rules"] = aggregated_rules(cluster_roles.iter(), &name).into();
        }
    }
    let mut all: Vec<(&'static str, Value)> = cluster_roles.into_iter().map(|r| (CLUSTER_ROLES, r)).collect();
    for (name, role, subjects) in BOUND {
        all.push((CLUSTER_BINDINGS, binding("ClusterRoleBinding", "", name, "ClusterRole", role, subjects)));
    }
    for section in controllers {
        let name = format!("{CONTROLLER}{}", section.head);
        // all controllers run in one process as one user; upstream's separate accounts stay bound as well
        let subjects = [section.head.as_str(), "User:system:kube-controller-manager"];
        all.push((
            CLUSTER_BINDINGS,
            binding("ClusterRoleBinding", "", &name, "ClusterRole", &name, &subjects),
        ));
    }
    for section in sections(NAMESPACED) {
        let (place, subjects) = section.head.split_once(" -> ").unwrap_or((&section.head, ""));
        let (namespace, name) = place.split_once('/').unwrap_or(("", place));
        let subjects: Vec<&str> = subjects.split(',').collect();
        all.push((ROLES, role("Role", namespace, name, &section.rules)));
        all.push((BINDINGS, binding("RoleBinding", namespace, name, "Role", name, &subjects)));
    }
    all
}

fn cluster_role(section: &Section) -> Value {
    let mut head = section.head.split(' ');
    let mut role = role("ClusterRole", "", head.next().unwrap_or_default(), &section.rules);
    for (key, value) in head.filter_map(|label| label.split_once('=')) {
        set(&mut role, &["metadata", "labels", key], value);
    }
    if let Some(to) = &section.aggregate {
        let key = format!("rbac.authorization.k8s.io/aggregate-to-{to}");
        role["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": {key: "true"}}]});
    }
    role
}

/// What `existing` becomes: `None` if it already has everything (or may not be touched).
fn reconciled(existing: &Value, wanted: &Value) -> Option<Value> {
    if text(existing, &["metadata", "annotations", AUTO_UPDATE]) == "false" {
        return None;
    }
    let mut result = existing.clone();
    if wanted.get("roleRef").is_some() {
        if existing.get("roleRef") != wanted.get("roleRef") {
            return None;
        }
        let mut subjects = items(at(existing, &["subjects"])).to_vec();
        let news: Vec<Value> =
            items(at(wanted, &["subjects"])).iter().filter(|s| !subjects.contains(s)).cloned().collect();
        if news.is_empty() {
            return None;
        }
        subjects.extend(news);
        result["subjects"] = subjects.into();
        return Some(result);
    }
    let (mut rules, wanted_rules) = (Rule::parse_all(existing), Rule::parse_all(wanted));
    let missing = uncovered(&rules, &wanted_rules);
    if missing.is_empty() {
        return None;
    }
    rules.extend(missing);
    result["rules"] = rules.iter().map(Rule::to_value).collect();
    Some(result)
}

/// Writes what is missing, in one commit; on a cluster that has it all, writes nothing. Returns how much it wrote.
pub async fn ensure(store: &Store) -> Result<usize, String> {
    let mut writes = Vec::new();
    for (bucket, mut wanted) in objects() {
        let (namespace, name) = (meta(&wanted, "namespace"), meta(&wanted, "name"));
        let name = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") };
        let key = Key::new(bucket, name.as_str());
        let (value, condition) = match store.get(&key) {
            Some(entry) => {
                let existing: Value =
                    serde_json::from_slice(&entry.value).map_err(|e| format!("{bucket}/{name}: {e}"))?;
                match reconciled(&existing, &wanted) {
                    Some(value) => (value, Condition::Revision(entry.revision)),
                    None => continue,
                }
            }
            None => {
                crate::registry::manage::own(&mut wanted);
                set(&mut wanted, &["metadata", "uid"], uuid::Uuid::new_v4().to_string());
                set(&mut wanted, &["metadata", "creationTimestamp"], now());
                (wanted, Condition::Absent)
            }
        };
        writes.push(Write { key, condition, action: Action::Put(encoded(&value)) });
    }
    let count = writes.len();
    if count == 0 {
        return Ok(0);
    }
    for outcome in store.write_all(writes).await {
        outcome.map_err(|e| format!("bootstrap roles: {e}"))?;
    }
    Ok(count)
}

fn encoded(object: &Value) -> sampan_store::Value {
    let (bytes, at) = sampan_api::meta::encode(object);
    sampan_store::Value { bytes, at }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_line_of_the_policy_is_a_rule() {
        for text in [CLUSTER, NODE, CONTROLLERS, NAMESPACED] {
            for line in lines(text)
                .filter(|l| !l.starts_with("role ") && !l.starts_with("aggregate ") && *l != "@node")
            {
                let rule = rule(line);
                assert!(
                    !rule.verbs.is_empty() && (rule.urls.is_empty() != rule.resources.is_empty()),
                    "{line}"
                );
                assert!(rule.resources.iter().chain(&rule.urls).all(|w| !w.is_empty()), "{line}");
            }
        }
    }

    #[test]
    fn the_well_known_roles_are_there_and_aggregate() {
        let objects = objects();
        let find = |name: &str| {
            objects.iter().find(|(b, o)| *b == CLUSTER_ROLES && meta(o, "name") == name).unwrap().1.clone()
        };
        assert_eq!(
            find("cluster-admin")["rules"][0],
            json!({"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]})
        );
        let admin = Rule::parse_all(&find("admin"));
        for part in [
            "edit",
            "view",
            "system:aggregate-to-view",
            "system:aggregate-to-edit",
            "system:aggregate-to-admin",
        ] {
            assert!(uncovered(&admin, &Rule::parse_all(&find(part))).is_empty(), "{part}");
        }
        assert!(!uncovered(&Rule::parse_all(&find("view")), &Rule::parse_all(&find("edit"))).is_empty());
        assert_eq!(
            text(&find("edit"), &["metadata", "labels", "rbac.authorization.k8s.io/aggregate-to-admin"]),
            "true"
        );
    }

    #[test]
    fn reconciling_adds_and_never_takes_away() {
        let wanted = role("ClusterRole", "", "a", &[rule("get core pods")]);
        let more = role("ClusterRole", "", "a", &[rule("get core pods"), rule("get core nodes")]);
        assert_eq!(reconciled(&more, &wanted), None);
        let less = role("ClusterRole", "", "a", &[rule("get core nodes")]);
        let result = Rule::parse_all(&reconciled(&less, &wanted).unwrap());
        assert_eq!(result, [rule("get core nodes"), rule("get core pods")]);
        let mut mine = less;
        set(&mut mine, &["metadata", "annotations", AUTO_UPDATE], "false");
        assert_eq!(reconciled(&mine, &wanted), None);
    }
}
