//! The FlowSchemas and PriorityLevelConfigurations that a cluster has by default, kept as upstream keeps them:
//! `k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap` and `pkg/registry/flowcontrol/ensurer`.
//!
//! The mandatory ones are what they are, whatever anyone writes. The suggested ones follow this program until someone
//! takes them over by annotating `apf.kubernetes.io/autoupdate-spec: "false"`.

use sampan_api::go::Quote as _;
use sampan_store::{Action, Condition, Key, Store, Write};
use serde_json::{Value, json};

use super::{LEVELS, SCHEMAS};
use crate::registry::encoded;
use crate::value::{at, items, meta, now, set, text};

const AUTO_UPDATE: &str = "apf.kubernetes.io/autoupdate-spec";
const MANDATORY: [&str; 2] = ["exempt", "catch-all"];

/// Name, shares, lendable percent, and queues and hand of those that queue.
type Limited = (&'static str, u32, u32, Option<(u32, u32)>);

const LIMITED: &[Limited] = &[
    ("catch-all", 5, 0, None),
    ("system", 30, 33, Some((64, 6))),
    ("node-high", 40, 25, Some((64, 6))),
    ("leader-election", 10, 0, Some((16, 4))),
    ("workload-high", 40, 50, Some((128, 6))),
    ("workload-low", 100, 90, Some((128, 6))),
    ("global-default", 20, 50, Some((128, 6))),
];

fn levels() -> Vec<Value> {
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let limited = LIMITED.iter().map(|(name, shares, lendable, queues)| {
        let response = match queues {
            Some((queues, hand)) => {
                json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}})
            }
            None => json!({"type": "Reject"}),
        };
        let limited =
            json!({"nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable});
        (*name, json!({"type": "Limited", "limited": limited}))
    });
    std::iter::once(("exempt", exempt))
        .chain(limited)
        .map(|(name, spec)| object("PriorityLevelConfiguration", name, spec))
        .collect()
}

fn groups(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "Group", "group": {"name": name}})).collect()
}

fn users(names: &[&str]) -> Vec<Value> {
    names.iter().map(|name| json!({"kind": "User", "user": {"name": name}})).collect()
}

fn accounts(names: &[&str]) -> Vec<Value> {
    let one = |name: &&str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}});
    names.iter().map(one).collect()
}

fn rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
    if cluster {
        set(&mut rule, &["clusterScope"], true);
    }
    set(&mut rule, &["namespaces"], json!(["*"]));
    rule
}

fn everything(subjects: Vec<Value>) -> Value {
    json!({
        "subjects": subjects, "resourceRules": [rule(&["*"], "*", &["*"], true)],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    })
}

fn some(subjects: Vec<Value>, rules: &[Value]) -> Value {
    json!({"subjects": subjects, "resourceRules": rules})
}

fn schemas() -> Vec<Value> {
    const WRITE: &[&str] = &["get", "create", "update"];
    let leases = || rule(WRITE, "coordination.k8s.io", &["leases"], false);
    let anyone = || groups(&["system:unauthenticated", "system:authenticated"]);
    let (manager, scheduler) = ("system:kube-controller-manager", "system:kube-scheduler");
    let probes = json!({
        "subjects": anyone(),
        "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}],
    });
    let electors = [users(&[manager, scheduler]), accounts(&["*"])].concat();
    let endpoints =
        [users(&[manager]), accounts(&["endpoint-controller", "endpointslicemirroring-controller"])].concat();
    let node_rules = [
        rule(&["*"], "", &["nodes", "nodes/status"], true),
        rule(&["*"], "coordination.k8s.io", &["leases"], false),
    ];
    let workload = [rule(WRITE, "", &["endpoints", "configmaps"], false), leases()];
    let all: [(&str, &str, u32, &str, Value); 13] = [
        ("exempt", "exempt", 1, "", everything(groups(&["system:masters"]))),
        ("catch-all", "catch-all", 10_000, "ByUser", everything(anyone())),
        ("probes", "exempt", 2, "", probes),
        ("system-leader-election", "leader-election", 100, "ByUser", some(electors, &[leases()])),
        (
            "endpoint-controller",
            "workload-high",
            150,
            "ByUser",
            some(endpoints, &[rule(WRITE, "", &["endpoints"], false)]),
        ),
        ("workload-leader-election", "leader-election", 200, "ByUser", some(accounts(&["*"]), &workload)),
        ("system-node-high", "node-high", 400, "ByUser", some(groups(&["system:nodes"]), &node_rules)),
        ("system-nodes", "system", 500, "ByUser", everything(groups(&["system:nodes"]))),
        ("kube-controller-manager", "workload-high", 800, "ByNamespace", everything(users(&[manager]))),
        ("kube-scheduler", "workload-high", 800, "ByNamespace", everything(users(&[scheduler]))),
        ("kube-system-service-accounts", "workload-high", 900, "ByNamespace", everything(accounts(&["*"]))),
        ("service-accounts", "workload-low", 9000, "ByUser", everything(groups(&["system:serviceaccounts"]))),
        ("global-default", "global-default", 9900, "ByUser", everything(anyone())),
    ];
    let made = all.into_iter().map(|(name, level, precedence, by, rules)| {
        let mut spec =
            json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence});
        if !by.is_empty() {
            set(&mut spec, &["distinguisherMethod"], json!({"type": by}));
        }
        set(&mut spec, &["rules"], json!([rules]));
        object("FlowSchema", name, spec)
    });
    made.collect()
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "kind": kind, "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "metadata": {"name": name, "annotations": {AUTO_UPDATE: "true"}}, "spec": spec, "status": {},
    })
}

/// The spec that `stored` is to have; `None` if it may stay as it is.
fn settled(stored: &Value, wanted: &Value) -> Option<Value> {
    let mandatory = MANDATORY.contains(&meta(wanted, "name"));
    let follows = match text(stored, &["metadata", "annotations", AUTO_UPDATE]) {
        "true" => true,
        // upstream: whoever never said is asked by whether anyone has changed it
        "" => at(stored, &["metadata", "generation"]).as_u64().is_none_or(|generation| generation == 1),
        _ => false,
    };
    let annotated = text(stored, &["metadata", "annotations", AUTO_UPDATE]) == "true";
    // an exempt level may be given other shares
    let same = match (meta(wanted, "name"), text(wanted, &["kind"])) {
        ("exempt", "PriorityLevelConfiguration") => {
            at(stored, &["spec", "type"]) == at(wanted, &["spec", "type"])
        }
        _ => at(stored, &["spec"]) == at(wanted, &["spec"]),
    };
    if !(mandatory || follows) || same && (annotated || !mandatory) {
        return None;
    }
    let mut new = stored.clone();
    if !same {
        set(&mut new, &["spec"], at(wanted, &["spec"]).clone());
        let generation = at(stored, &["metadata", "generation"]).as_u64().unwrap_or(0) + 1;
        set(&mut new, &["metadata", "generation"], generation);
    }
    set(&mut new, &["metadata", "annotations", AUTO_UPDATE], "true");
    Some(new)
}

/// The writes that make the default objects what they are to be.
fn due(store: &Store) -> Vec<Write> {
    let mut writes = Vec::new();
    let all =
        levels().into_iter().map(|one| (LEVELS, one)).chain(schemas().into_iter().map(|one| (SCHEMAS, one)));
    for (bucket, mut wanted) in all {
        let key = Key::new(bucket, meta(&wanted, "name"));
        match store.get(&key) {
            None => {
                set(&mut wanted, &["metadata", "uid"], uuid::Uuid::new_v4().to_string());
                set(&mut wanted, &["metadata", "creationTimestamp"], now());
                set(&mut wanted, &["metadata", "generation"], 1);
                if bucket == SCHEMAS {
                    let level = text(&wanted, &["spec", "priorityLevelConfiguration", "name"]).to_owned();
                    set(&mut wanted, &["status", "conditions"], json!([dangling(&level, true)]));
                }
                writes.push(Write {
                    key,
                    condition: Condition::Absent,
                    action: Action::Put(encoded(&wanted)),
                });
            }
            Some(entry) => {
                let Ok(stored) = serde_json::from_slice::<Value>(&entry.value) else { continue };
                writes.extend(settled(&stored, &wanted).map(|new| replaced(key, entry.revision, new)));
            }
        }
    }
    writes
}

fn replaced(key: Key, revision: u64, mut new: Value) -> Write {
    crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
    Write { key, condition: Condition::Revision(revision), action: Action::Put(encoded(&new)) }
}

/// Condition Dangling of a schema whose level is `level`.
fn dangling(level: &str, exists: bool) -> Value {
    let (status, reason, what) = match exists {
        true => ("False", "Found", "and it exists"),
        false => ("True", "NotFound", "but there is no such object"),
    };
    let message = format!(
        "This FlowSchema references the PriorityLevelConfiguration object named {} {what}",
        level.quoted()
    );
    json!({"type": "Dangling", "status": status, "lastTransitionTime": now(), "reason": reason, "message": message})
}

/// The schema with its condition, if that is another than it has.
fn conditioned(schema: &Value, exists: bool) -> Option<Value> {
    let level = text(schema, &["spec", "priorityLevelConfiguration", "name"]);
    let mut wanted = dangling(level, exists);
    let conditions = items(at(schema, &["status", "conditions"]));
    let old = conditions.iter().find(|one| text(one, &["type"]) == "Dangling");
    let same = |key: &str| old.is_some_and(|old| at(old, &[key]) == at(&wanted, &[key]));
    if same("status") && same("reason") && same("message") {
        return None;
    }
    if same("status") {
        crate::value::keep(&mut wanted, old?, &["lastTransitionTime"]);
    }
    let others = conditions.iter().filter(|one| text(one, &["type"]) != "Dangling").cloned();
    let mut new = schema.clone();
    set(&mut new, &["status", "conditions"], others.chain([wanted]).collect::<Vec<Value>>());
    Some(new)
}

/// Makes the default objects what they are to be, and every schema's condition true.
pub(super) async fn ensure(store: &Store) {
    commit(store, due(store)).await;
    let levels = store.list(LEVELS);
    let mut writes = Vec::new();
    for entry in store.list(SCHEMAS).map.values() {
        let Ok(schema) = serde_json::from_slice::<Value>(&entry.value) else { continue };
        let exists = levels.get(text(&schema, &["spec", "priorityLevelConfiguration", "name"])).is_some();
        let new = conditioned(&schema, exists);
        writes.extend(new.map(|new| replaced(entry.key.clone(), entry.revision, new)));
    }
    commit(store, writes).await;
}

async fn commit(store: &Store, writes: Vec<Write>) {
    if writes.is_empty() {
        return;
    }
    for outcome in store.write_all(writes).await {
        // who was quicker has made a change that is looked at next
        if let Err(error) = outcome {
            tracing::debug!(%error, "an object of priority and fairness changed meanwhile");
        }
    }
}

/// Keeps them so until the store closes.
pub(super) async fn follow(store: Store) {
    loop {
        let from = store.revision();
        ensure(&store).await;
        let (Ok(mut schemas), Ok(mut levels)) =
            (store.watch(SCHEMAS, "", from), store.watch(LEVELS, "", from))
        else {
            continue;
        };
        // a change, or one that was missed
        let more = tokio::select! {
            more = schemas.next() => more,
            more = levels.next() => more,
        };
        if more.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_default_schema_has_its_level() {
        let levels = levels();
        for schema in schemas() {
            let level = text(&schema, &["spec", "priorityLevelConfiguration", "name"]);
            assert!(levels.iter().any(|one| meta(one, "name") == level), "{level}");
        }
    }

    #[test]
    fn mandatory_objects_are_what_they_are_and_suggested_ones_may_be_taken_over() {
        let find = |name: &str| levels().into_iter().find(|one| meta(one, "name") == name).unwrap();
        for (name, annotation, restored) in [
            ("catch-all", "true", true),
            ("catch-all", "false", true),
            ("system", "true", true),
            ("system", "false", false),
        ] {
            let wanted = find(name);
            assert_eq!(settled(&wanted, &wanted), None);
            let mut changed = wanted.clone();
            set(&mut changed, &["metadata", "annotations", AUTO_UPDATE], annotation);
            set(&mut changed, &["spec", "limited", "nominalConcurrencyShares"], 7);
            let settled = settled(&changed, &wanted);
            assert_eq!(settled.is_some(), restored, "{name} {annotation}");
            assert!(settled.is_none_or(|new| new["spec"] == wanted["spec"]));
        }
        let mut shares = find("exempt");
        set(&mut shares, &["spec", "exempt", "nominalConcurrencyShares"], 7);
        assert_eq!(settled(&shares, &find("exempt")), None);
    }

    #[test]
    fn a_schema_says_whether_its_level_is_there() {
        let schema = object("FlowSchema", "s", json!({"priorityLevelConfiguration": {"name": "l"}}));
        let there = conditioned(&schema, true).unwrap();
        assert_eq!(conditioned(&there, true), None);
        let gone = conditioned(&there, false).unwrap();
        let condition = &gone["status"]["conditions"][0];
        assert_eq!((&condition["status"], &condition["reason"]), (&json!("True"), &json!("NotFound")));
        let message = "This FlowSchema references the PriorityLevelConfiguration object named \"l\" but there is no such object";
        assert_eq!(condition["message"], message);
    }
}
