#![allow(clippy::unwrap_used)]
//! The plugin over a real store.

use std::collections::BTreeMap;

use serde_json::{Map, json};

use super::*;
use crate::UserInfo;
use crate::auth::tests::{World, world};
use crate::registry::Review;

/// What the plugin answers, and what it warns of.
fn validate(
    world: &World,
    operation: Operation,
    what: &str,
    object: &Value,
    old: Option<&Value>,
) -> (Result<(), String>, Vec<String>) {
    let (answer, warnings, _) = audited(world, operation, what, object, old);
    (answer, warnings)
}

type Audited = (Result<(), String>, Vec<String>, BTreeMap<String, String>);

/// The same with what it tells the auditor.
fn audited(world: &World, operation: Operation, what: &str, object: &Value, old: Option<&Value>) -> Audited {
    let (group, resource) = what.split_once('|').unwrap_or(("", what));
    let (plural, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let user = UserInfo::new("eve", &[]);
    let warnings = Default::default();
    let review = Review {
        operation,
        kind: sampan_api::kinds::by_resource(group, "v1", plural).unwrap(),
        subresource,
        namespace: meta(object, "namespace"),
        name: meta(object, "name"),
        user: &user,
        old,
        dry_run: false,
        said: &Default::default(),
        store: &world.store,
        converter: &Default::default(),
        warnings: &warnings,
        notes: Default::default(),
    };
    let answer = PodSecurity.validate(&review, object).map_err(|error| error.message);
    let annotations = review.notes.annotations();
    drop(review);
    (answer, warnings.into_inner(), annotations)
}

fn namespace(labels: &[(&str, &str)]) -> Value {
    let labels: Map<String, Value> = labels
        .iter()
        .map(|(name, value)| (format!("pod-security.kubernetes.io/{name}"), json!(value)))
        .collect();
    json!({"metadata": {"name": "n", "labels": labels}})
}

fn pod(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "namespace": "n"}, "spec": spec})
}

const PLAIN: &str = "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
    unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
    runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
    seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";

#[tokio::test]
async fn pods_are_refused_and_workloads_warned_of() {
    let world = world().await;
    let plain = pod("x", json!({"containers": [{"name": "c"}]}));
    let create = |what: &str, object: &Value| validate(&world, Operation::Create, what, object, None);
    world.put("namespaces", "n", namespace(&[])).await;
    assert_eq!(create("pods", &plain), (Ok(()), vec![]));
    world.put("namespaces", "n", namespace(&[("enforce", "restricted"), ("warn", "baseline")])).await;
    let refused = format!("pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": {PLAIN}");
    assert_eq!(create("pods", &plain), (Err(refused.clone()), vec![]));
    world.put("namespaces", "n", namespace(&[("warn", "restricted"), ("warn-version", "v1.30")])).await;
    let warned = vec![format!("would violate PodSecurity \"restricted:v1.30\": {PLAIN}")];
    assert_eq!(create("pods", &plain), (Ok(()), warned.clone()));
    for (what, spec) in [
        ("apps|deployments", json!({"template": plain})),
        ("batch|jobs", json!({"template": plain})),
        ("batch|cronjobs", json!({"jobTemplate": {"spec": {"template": plain}}})),
    ] {
        assert_eq!(create(what, &pod("x", spec)), (Ok(()), warned.clone()), "{what}");
    }
    let template = json!({"metadata": {"name": "x", "namespace": "n"}, "template": plain});
    assert_eq!(create("podtemplates", &template), (Ok(()), warned));
    world.put("namespaces", "n", namespace(&[("enforce", "nonsense")])).await;
    assert_eq!(create("pods", &plain), (Err(refused), vec![]));
}

#[tokio::test]
async fn the_auditor_is_told() {
    let world = world().await;
    world.put("namespaces", "n", namespace(&[("enforce", "privileged"), ("audit", "baseline")])).await;
    let shared = pod("x", json!({"hostPID": true, "containers": [{"name": "c"}]}));
    let told = |what: &str, object: &Value| audited(&world, Operation::Create, what, object, None);
    let would = "would violate PodSecurity \"baseline:latest\": host namespaces (hostPID=true)";
    let (answer, warnings, annotations) = told("pods", &shared);
    assert_eq!((answer, warnings), (Ok(()), vec![]));
    let prefix = "pod-security.kubernetes.io";
    let want = [("enforce-policy", "privileged:latest"), ("audit-violations", would)];
    let want = want.map(|(key, value)| (format!("{prefix}/{key}"), value.to_owned()));
    assert_eq!(annotations, BTreeMap::from(want.clone()));
    let (_, _, annotations) = told("apps|deployments", &pod("x", json!({"template": shared})));
    assert_eq!(annotations, BTreeMap::from([want[1].clone()]));
}

#[tokio::test]
async fn updates_count_when_they_touch_what_is_checked() {
    let world = world().await;
    world.put("namespaces", "n", namespace(&[("enforce", "baseline")])).await;
    let privileged = json!({"name": "c", "image": "a", "securityContext": {"privileged": true}});
    let old = pod("x", json!({"containers": [privileged]}));
    let update =
        |what: &str, new: &Value| validate(&world, Operation::Update, what, new, Some(&old)).0.is_ok();
    let mut new = old.clone();
    crate::value::set(&mut new, &["metadata", "labels"], json!({"a": "b"}));
    assert!(update("pods", &new));
    crate::value::set(&mut new, &["spec", "ephemeralContainers"], json!([{"name": "e"}]));
    assert!(!update("pods/ephemeralcontainers", &new));
    assert!(update("pods/status", &new));
    let mut new = old.clone();
    new["spec"]["containers"][0]["image"] = "b".into();
    assert!(!update("pods", &new));
}

#[tokio::test]
async fn a_namespaces_labels_have_to_be_readable_and_warn_of_its_pods() {
    let world = world().await;
    let wrong = namespace(&[("enforce", "x")]);
    let (answer, _) = validate(&world, Operation::Create, "namespaces", &wrong, None);
    assert_eq!(
        answer.unwrap_err(),
        "Namespace \"n\" is invalid: metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: \"x\": \
         must be one of privileged, baseline, restricted"
    );
    assert_eq!(validate(&world, Operation::Update, "namespaces", &wrong, Some(&wrong)), (Ok(()), vec![]));
    let host = json!({"hostNetwork": true, "containers": [{"name": "c"}]});
    for name in ["b", "a", "c"] {
        world.put("pods", &format!("n/{name}"), pod(name, host.clone())).await;
    }
    world
        .put("pods", "n/d", pod("d", json!({"hostPID": true, "volumes": [{"name": "v", "hostPath": {}}]})))
        .await;
    world.put("pods", "other/d", pod("d", json!({"hostPID": true}))).await;
    let (old, new) = (namespace(&[]), namespace(&[("enforce", "baseline")]));
    let update = |new: &Value, old: &Value| validate(&world, Operation::Update, "namespaces", new, Some(old));
    let warnings = [
        "existing pods in namespace \"n\" violate the new PodSecurity enforce level \"baseline:latest\"",
        "a (and 2 other pods): host namespaces",
        "d: host namespaces, hostPath volumes",
    ];
    assert_eq!(update(&new, &old), (Ok(()), warnings.map(str::to_owned).to_vec()));
    assert_eq!(update(&old, &new), (Ok(()), vec![]), "relaxed");
    assert_eq!(update(&new, &namespace(&[("enforce", "restricted")])), (Ok(()), vec![]), "relaxed");
}
