//! `/resize` of pods: `dropNonResizeUpdates` and `ValidatePodResize` of upstream.

use sampan_api::kinds::Kind;
use sampan_api::status::FieldError;
use sampan_api::validate;
use serde_json::{Map, Value};

use super::pod::quality;
use crate::value::{at, items, keep, set, text};

const LISTS: [&str; 2] = ["containers", "initContainers"];

/// Takes over resources and resize policies, nothing else. The containers are those that are wanted, in their order: whether
/// they are those that there are is judged later.
pub fn prepare(old: &Value, new: &mut Value) {
    let wanted = std::mem::replace(new, old.clone());
    set(new, &["metadata"], at(&wanted, &["metadata"]).clone());
    for list in LISTS {
        let there = items(at(old, &["spec", list]));
        let taken: Vec<Value> = items(at(&wanted, &["spec", list]))
            .iter()
            .map(|wanted| {
                let own = there.iter().find(|own| text(own, &["name"]) == text(wanted, &["name"]));
                let Some(mut taken) = own.cloned() else { return wanted.clone() };
                keep(&mut taken, wanted, &["resources"]);
                keep(&mut taken, wanted, &["resizePolicy"]);
                taken
            })
            .collect();
        if !(taken.is_empty() && there.is_empty()) {
            set(new, &["spec", list], taken);
        }
    }
}

/// What is wrong with a resize of `old` to `new`.
pub fn errors(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let class = match text(old, &["status", "qosClass"]) {
        "" => quality(old),
        class => class,
    };
    if class != quality(new) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", class, why));
    }
    let strangers: Vec<FieldError> = LISTS.iter().flat_map(|list| other_containers(new, old, list)).collect();
    if !strangers.is_empty() {
        errors.extend(strangers);
        return errors;
    }
    let each = |list: &'static str| {
        let both = items(at(new, &["spec", list])).iter().zip(items(at(old, &["spec", list])));
        both.enumerate().map(move |(index, (new, old))| (format!("spec.{list}[{index}].resources"), new, old))
    };
    let all: Vec<_> = LISTS.into_iter().rev().flat_map(each).collect();
    for (place, new, old) in &all {
        for amounts in ["requests", "limits"] {
            if is_removed(at(new, &["resources", amounts]), at(old, &["resources", amounts])) {
                let why = format!("resource {amounts} cannot be removed");
                errors.push(FieldError::forbidden(format!("{place}.{amounts}"), why));
            }
        }
    }
    if all.iter().any(|(_, new, old)| others(new) != others(old)) {
        errors.push(FieldError::forbidden("spec", "only cpu and memory resources are mutable"));
    }
    errors
}

/// What is wrong with the amounts by themselves, such as a request above its limit.
pub fn amount_errors(kind: &Kind, new: &Value) -> Vec<FieldError> {
    let all = validate::create(kind, new).into_iter();
    all.filter(|error| error.field.contains(".resources.") || error.field.contains(".resizePolicy")).collect()
}

fn other_containers(new: &Value, old: &Value, list: &str) -> Vec<FieldError> {
    let (new, old) = (items(at(new, &["spec", list])), items(at(old, &["spec", list])));
    if new.len() != old.len() {
        let why = format!("{list} may not be added or removed on resize");
        return vec![FieldError::forbidden(format!("spec.{list}"), why)];
    }
    let renamed = new
        .iter()
        .zip(old)
        .enumerate()
        .filter(|(_, (new, old))| text(new, &["name"]) != text(old, &["name"]));
    let why = format!("{list} may not be renamed or reordered on resize");
    renamed
        .map(|(index, _)| FieldError::forbidden(format!("spec.{list}[{index}].name"), why.as_str()))
        .collect()
}

fn is_removed(new: &Value, old: &Value) -> bool {
    let names = old.as_object().into_iter().flat_map(Map::keys);
    names.into_iter().any(|name| new.get(name).is_none())
}

/// Requests and limits that a resize may not change.
fn others(container: &Value) -> Vec<(&'static str, &String, &Value)> {
    let of = |amounts: &'static str| {
        let all = at(container, &["resources", amounts]).as_object().into_iter().flatten();
        all.map(move |(name, amount)| (amounts, name, amount))
    };
    let all = of("requests").chain(of("limits"));
    all.filter(|(_, name, _)| !matches!(name.as_str(), "cpu" | "memory")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: Value) -> Value {
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": containers}})
    }

    fn container(name: &str, resources: Value) -> Value {
        json!({"name": name, "image": "i", "resources": resources})
    }

    fn said(old: &Value, wanted: &Value) -> Vec<String> {
        let mut new = wanted.clone();
        prepare(old, &mut new);
        errors(&new, old).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_amounts_that_stay_may_change() {
        let both = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
        let burstable = json!({"requests": {"cpu": "1"}});
        let ceiling = both(json!({"cpu": "1"}), json!({"cpu": "2"}));
        let qos = |class: &str| {
            format!("spec: Invalid value: {class:?}: Pod QOS Class may not change as a result of resizing")
        };
        let gone = |what: &str| {
            format!("spec.containers[0].resources.{what}: Forbidden: resource {what} cannot be removed")
        };
        let only = || "spec: Forbidden: only cpu and memory resources are mutable".to_owned();
        let full =
            |cpu: &str| both(json!({"cpu": cpu, "memory": "1Gi"}), json!({"cpu": "2", "memory": "1Gi"}));
        let cases = [
            (burstable.clone(), json!({"requests": {"cpu": "2"}}), vec![]),
            (burstable.clone(), json!({"requests": {"cpu": "2", "memory": "1Gi"}}), vec![]),
            (json!({}), burstable.clone(), vec![qos("BestEffort")]),
            (burstable.clone(), json!({}), vec![qos("Burstable"), gone("requests")]),
            (ceiling.clone(), burstable.clone(), vec![gone("limits")]),
            (full("1"), full("2"), vec![qos("Burstable")]),
            (burstable.clone(), json!({"requests": {"cpu": "1", "ephemeral-storage": "3"}}), vec![only()]),
        ];
        for (from, to, expected) in cases {
            let (old, new) = (pod(json!([container("a", from)])), pod(json!([container("a", to.clone())])));
            assert_eq!(said(&old, &new), expected, "{to}");
        }
    }

    #[test]
    fn containers_stay_who_they_are() {
        let one = json!({"requests": {"cpu": "1"}});
        let of = |names: &[&str]| {
            pod(names.iter().map(|name| container(name, one.clone())).collect::<Vec<_>>().into())
        };
        let renamed = |index: usize| {
            format!(
                "spec.containers[{index}].name: Forbidden: containers may not be renamed or reordered on resize"
            )
        };
        let cases = [
            (vec!["b", "a"], vec![renamed(0), renamed(1)]),
            (vec!["a", "c"], vec![renamed(1)]),
            (
                vec!["a"],
                vec!["spec.containers: Forbidden: containers may not be added or removed on resize".into()],
            ),
        ];
        for (names, expected) in cases {
            assert_eq!(said(&of(&["a", "b"]), &of(&names)), expected, "{names:?}");
        }
    }

    #[test]
    fn what_is_no_resource_stays() {
        let old = pod(json!([container("a", json!({"requests": {"cpu": "1"}}))]));
        let mut new = pod(json!([{"name": "a", "image": "other", "resources": {"requests": {"cpu": "2"}}}]));
        set(&mut new, &["spec", "nodeName"], "elsewhere");
        prepare(&old, &mut new);
        let mut expected = old;
        set(
            &mut expected,
            &["spec", "containers"],
            json!([container("a", json!({"requests": {"cpu": "2"}}))]),
        );
        assert_eq!(new, expected);
    }
}
