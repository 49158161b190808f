//! The status of ValidatingAdmissionPolicies: what type checking finds, for the generation that it looked at. Ported
//! from upstream's `validating/typechecking.go` and the controller `validatingadmissionpolicystatus`.

use sampan_api::kinds::{self, Kind};
use sampan_store::Watch;
use serde_json::{Value, json};

use super::policy::Envs;
use super::typing;
use crate::UserInfo;
use crate::crd::Customs;
use crate::dynamic::expressions::Expression;
use crate::registry::{Call, Registry, Target, WriteOptions};
use crate::value::{at, items, meta, set, strings, text};

const BUCKET: &str = "validatingadmissionpolicies.admissionregistration.k8s.io";
/// Upstream's `maxTypesToCheck`.
const MOST_TYPES: usize = 10;

/// Warnings about a policy's expressions, for each kind that its rules name without wildcards.
fn warnings(policy: &Value, customs: Option<&Customs>) -> Vec<Value> {
    let kinds = kinds_of(policy, customs);
    let mut all = Vec::new();
    for (index, validation) in items(at(policy, &["spec", "validations"])).iter().enumerate() {
        for field in ["expression", "messageExpression"] {
            let source = text(validation, &[field]);
            let found: Vec<String> =
                kinds.iter().filter_map(|kind| problem(policy, kind, source, customs)).collect();
            if !source.is_empty() && !found.is_empty() {
                let place = format!("spec.validations[{index}].{field}");
                all.push(json!({"fieldRef": place, "warning": found.join("\n")}));
            }
        }
    }
    all
}

/// What is wrong with an expression if `object` is a `kind`.
fn problem(policy: &Value, kind: &Kind, source: &str, customs: Option<&Customs>) -> Option<String> {
    let params = at(policy, &["spec", "paramKind"]);
    let mut envs = Envs::new(params.is_object(), false);
    envs.object = typing::of_kind(kind)?;
    if params.is_object() {
        let (group, version) = split(text(params, &["apiVersion"]));
        let name = text(params, &["kind"]);
        let custom = || customs.and_then(|customs| customs.by_kind(group, version, name));
        let kind = kinds::by_kind(group, version, name).or_else(custom);
        envs.param = kind.and_then(typing::of_kind).unwrap_or(sampan_cel::Type::Dyn);
    }
    for variable in items(at(policy, &["spec", "variables"])) {
        envs.variable(text(variable, &["name"]), text(variable, &["expression"]));
    }
    let why = Expression::new(&envs.env(true), source, &[]).program.err()?;
    let why = why.trim_start_matches("compilation failed: ");
    Some(format!("{}, Kind={}: {why}\n", kinds::api_version(kind.group, kind.version), kind.kind))
}

fn split(api_version: &str) -> (&str, &str) {
    api_version.split_once('/').unwrap_or(("", api_version))
}

fn kinds_of(policy: &Value, customs: Option<&Customs>) -> Vec<&'static Kind> {
    let mut all: Vec<&'static Kind> = Vec::new();
    for rule in items(at(policy, &["spec", "matchConstraints", "resourceRules"])) {
        let plain = |key: &str| {
            let all = strings(at(rule, &[key]));
            if all.iter().any(|one| one.contains('*')) { Vec::new() } else { all }
        };
        let resources = strings(at(rule, &["resources"]));
        let resources: Vec<&String> = resources.iter().filter(|one| !one.contains(['*', '/'])).collect();
        for (group, version) in plain("apiGroups")
            .iter()
            .flat_map(|group| plain("apiVersions").into_iter().map(move |version| (group.clone(), version)))
        {
            let found = |resource: &&String| {
                let custom = || customs.and_then(|customs| customs.by_resource(&group, &version, resource));
                kinds::by_resource(&group, &version, resource).or_else(custom)
            };
            all.extend(resources.iter().filter_map(found));
        }
    }
    all.sort_by_key(|kind| (kind.group, kind.version, kind.kind));
    all.dedup_by_key(|kind| (kind.group, kind.version, kind.kind));
    all.truncate(MOST_TYPES);
    all
}

/// The policy with its status, if that is not of its generation.
fn judged(policy: &Value, customs: Option<&Customs>) -> Option<Value> {
    let generation = at(policy, &["metadata", "generation"]);
    if at(policy, &["status", "observedGeneration"]) == generation {
        return None;
    }
    let warnings = warnings(policy, customs);
    let checked = if warnings.is_empty() { json!({}) } else { json!({"expressionWarnings": warnings}) };
    let mut new = policy.clone();
    set(&mut new, &["status", "observedGeneration"], generation.clone());
    set(&mut new, &["status", "typeChecking"], checked);
    Some(new)
}

/// Keeps the statuses true until the store closes.
pub(crate) async fn follow(registry: Registry, customs: Customs) {
    loop {
        let from = registry.store.revision();
        judge_all(&registry, &customs).await;
        let Ok(mut watch) = registry.store.watch(BUCKET, "", from) else { continue };
        match each(&registry, &customs, &mut watch).await {
            Some(()) => {}
            None => return,
        }
    }
}

/// Judges at each change; ends when some were missed, with `None` when the store has closed.
async fn each(registry: &Registry, customs: &Customs, watch: &mut Watch) -> Option<()> {
    loop {
        match watch.next().await? {
            Ok(_) => judge_all(registry, customs).await,
            Err(_lagged) => return Some(()),
        }
    }
}

async fn judge_all(registry: &Registry, customs: &Customs) {
    let all = registry.store.list(BUCKET);
    let parsed = all.map.values().filter_map(|entry| serde_json::from_slice::<Value>(&entry.value).ok());
    for policy in parsed.filter(|policy| judged(policy, Some(customs)).is_some()) {
        let Some(kind) =
            kinds::by_resource("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies")
        else {
            return;
        };
        let target = Target { subresource: "status".into(), ..Target::new(kind, "", meta(&policy, "name")) };
        let user = UserInfo::new("system:apiserver", &["system:masters"]);
        let call = Call::new(&user, WriteOptions::default());
        let written = registry.modify(&call, &target, |old| {
            let mut new = judged(old, Some(customs)).unwrap_or_else(|| old.clone());
            crate::value::remove(&mut new, &["metadata", "resourceVersion"]);
            Ok(new)
        });
        if let Err(error) = written.await {
            // a later change is looked at again; a policy that is gone needs no status
            tracing::debug!(%error, policy = target.name, "the status of a policy was not written");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_checked_against_the_kinds_they_are_for() {
        let policy = |expression: &str| {
            json!({"spec": {
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "resources": ["deployments", "*/x"], "operations": ["*"]}]},
                "variables": [{"name": "n", "expression": "object.spec.replicas"}],
                "validations": [{"expression": expression}],
            }})
        };
        assert_eq!(built_in(&policy("object.spec.replicas > 1 && variables.n < 5")), Vec::<Value>::new());
        let wrong = built_in(&policy("object.spec.replicas > '1'"));
        let text = "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n";
        assert_eq!(wrong, [json!({"fieldRef": "spec.validations[0].expression", "warning": text})]);
        let wrong = built_in(&policy("variables.n == 'a'"));
        assert!(text_of(&wrong).contains("'(int, string)'"), "{wrong:?}");
        let wrong = built_in(&policy("object.spec.nope == 1"));
        assert!(text_of(&wrong).contains("undefined field 'nope'"), "{wrong:?}");
    }

    /// Warnings where there are no custom resources.
    fn built_in(policy: &Value) -> Vec<Value> {
        warnings(policy, None)
    }

    fn text_of(warnings: &[Value]) -> &str {
        text(&warnings[0], &["warning"])
    }
}
