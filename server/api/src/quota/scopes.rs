//! Which objects a quota is about: `generic.Matches` and the scope functions of the evaluators.

use serde_json::Value;

use super::{at, claims, counts, items, text};
use crate::kinds::Kind;

/// Whether the quota counts anything of `object`, by what it limits (`hard`) and by its scopes.
pub fn matches<'a>(
    quota: &Value,
    mut hard: impl Iterator<Item = &'a str>,
    kind: &Kind,
    object: &Value,
) -> bool {
    hard.any(|resource| counts(kind, resource)) && in_scope(quota, kind, object)
}

/// Whether all scopes of the quota hold.
pub(super) fn in_scope(quota: &Value, kind: &Kind, object: &Value) -> bool {
    let plain = items(at(quota, &["spec", "scopes"])).iter().filter_map(Value::as_str);
    let expressions = items(at(quota, &["spec", "scopeSelector", "matchExpressions"])).iter();
    plain
        .map(|scope| Scope { name: scope, operator: "Exists", values: &[] })
        .chain(expressions.map(Scope::of))
        .all(|scope| match (kind.group, kind.plural) {
            ("", "pods") => scope.holds_for_pod(object),
            ("", "persistentvolumeclaims") => scope.holds_for_claim(object),
            _ => false,
        })
}

struct Scope<'a> {
    name: &'a str,
    operator: &'a str,
    values: &'a [Value],
}

impl<'a> Scope<'a> {
    fn of(expression: &'a Value) -> Self {
        Self {
            name: text(expression, &["scopeName"]),
            operator: text(expression, &["operator"]),
            values: items(at(expression, &["values"])),
        }
    }

    fn selects(&self, name: &str) -> bool {
        let listed = self.values.iter().any(|value| value == name);
        match self.operator {
            "In" => !name.is_empty() && listed,
            "NotIn" => !listed,
            "Exists" => !name.is_empty(),
            "DoesNotExist" => name.is_empty(),
            _ => false,
        }
    }

    fn holds_for_pod(&self, pod: &Value) -> bool {
        match self.name {
            "Terminating" => is_terminating(pod),
            "NotTerminating" => !is_terminating(pod),
            "BestEffort" => is_best_effort(pod),
            "NotBestEffort" => !is_best_effort(pod),
            "PriorityClass" => self.selects(text(pod, &["spec", "priorityClassName"])),
            "CrossNamespacePodAffinity" => looks_into_other_namespaces(pod),
            _ => false,
        }
    }

    fn holds_for_claim(&self, claim: &Value) -> bool {
        if self.name != "VolumeAttributesClass" {
            return false;
        }
        let classes = claims::attribute_classes(claim);
        if classes.is_empty() { self.selects("") } else { classes.into_iter().any(|name| self.selects(name)) }
    }
}

pub(super) fn is_terminating(pod: &Value) -> bool {
    at(pod, &["spec", "activeDeadlineSeconds"]).as_i64().is_some_and(|seconds| seconds >= 0)
}

/// No container asks for cpu or memory, nor does the pod.
fn is_best_effort(pod: &Value) -> bool {
    let spec = at(pod, &["spec"]);
    let list = |name: &str| items(at(spec, &[name])).iter();
    let says = |holder: &Value| {
        let amounts = |which: &str| super::amounts::read(at(holder, &["resources", which]));
        let mut all = amounts("requests").into_iter().chain(amounts("limits"));
        all.any(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && !amount.is_zero())
    };
    !std::iter::once(spec).chain(list("containers")).chain(list("initContainers")).any(says)
}

fn looks_into_other_namespaces(pod: &Value) -> bool {
    ["podAffinity", "podAntiAffinity"].iter().any(|which| {
        let affinity = at(pod, &["spec", "affinity", which]);
        let required = items(at(affinity, &["requiredDuringSchedulingIgnoredDuringExecution"])).iter();
        let preferred = items(at(affinity, &["preferredDuringSchedulingIgnoredDuringExecution"])).iter();
        required.chain(preferred.map(|weighted| at(weighted, &["podAffinityTerm"]))).any(|term| {
            !items(at(term, &["namespaces"])).is_empty() || !at(term, &["namespaceSelector"]).is_null()
        })
    })
}
