//! What quotas use: pure functions of a quota and of what is there.

use jiff::Timestamp;
use sampan_api::kinds::Kind;
use sampan_api::quantity::{Format, Quantity};
use sampan_api::quota::{self, Amounts};
use serde_json::Value;

use crate::resources::{deletable, path};

/// What there is of a kind in the quota's namespace.
#[derive(Debug)]
pub(super) enum Found {
    /// So many; nothing else matters.
    Number(usize),
    /// These.
    Objects(Vec<Value>),
}

/// What a quota counts.
#[derive(Clone, Debug)]
pub(super) enum Counted {
    /// A built-in kind.
    Kind(&'static Kind),
    /// A kind that came at run time: the quota's resource (`count/…`), and the collection's path.
    Custom(String, String),
}

impl Counted {
    /// Its collection of the whole cluster, or of one namespace.
    pub(super) fn path(&self, namespace: Option<&str>) -> String {
        match (self, namespace) {
            (Self::Kind(kind), namespace) => path(kind, namespace),
            (Self::Custom(_, path), None) => path.clone(),
            (Self::Custom(_, path), Some(namespace)) => {
                let (root, plural) = path.rsplit_once('/').unwrap_or(("", path));
                format!("{root}/namespaces/{namespace}/{plural}")
            }
        }
    }

    /// Whether the controller has an informer of the whole objects, for they change what they count for.
    pub(super) fn changes(&self) -> bool {
        let watched = ["pods", "services", "persistentvolumeclaims"];
        matches!(self, Self::Kind(kind) if kind.group.is_empty() && watched.contains(&kind.plural))
    }

    /// Whether the number of objects is all that matters.
    pub(super) fn is_only_counted(&self) -> bool {
        match self {
            Self::Kind(kind) => quota::is_only_counted(kind),
            Self::Custom(..) => true,
        }
    }
}

/// What `quota` uses: the sum over everything in its namespace that it is about.
pub(super) fn recount(quota: &Value, hard: &Amounts, found: &[(Counted, Found)], now: Timestamp) -> Amounts {
    // of what is not served there is nothing
    let mut used: Amounts =
        hard.keys().filter(|name| is_custom(name)).map(|name| (name.clone(), Quantity::ZERO)).collect();
    for (counted, found) in found {
        let kind = match (counted, found) {
            (Counted::Kind(kind), _) => *kind,
            (Counted::Custom(name, _), Found::Number(number)) => {
                let number = if has_scopes(quota) { 0 } else { *number };
                used.insert(name.clone(), quantity(number));
                continue;
            }
            (Counted::Custom(..), Found::Objects(_)) => continue,
        };
        let counted = hard.keys().filter(|name| quota::counts(kind, name));
        used.extend(counted.map(|name| (name.clone(), Quantity::ZERO)));
        let about = |object: &Value| quota::matches(quota, hard.keys().map(String::as_str), kind, object);
        match found {
            Found::Number(number) if about(&Value::Null) => {
                let each = quota::usage(kind, &Value::Null, now).into_keys();
                add(&mut used, &each.map(|name| (name, quantity(*number))).collect());
            }
            Found::Number(_) => {}
            Found::Objects(objects) => {
                for object in objects.iter().filter(|object| about(object)) {
                    add(&mut used, &quota::usage(kind, object, now));
                }
            }
        }
    }
    used
}

fn quantity(number: usize) -> Quantity {
    Quantity::new(i64::try_from(number).unwrap_or(i64::MAX), Format::DecimalSI)
}

fn has_scopes(quota: &Value) -> bool {
    ["/spec/scopes", "/spec/scopeSelector/matchExpressions"]
        .iter()
        .any(|at| quota.pointer(at).and_then(Value::as_array).is_some_and(|scopes| !scopes.is_empty()))
}

/// `plural` and `group` of a resource `count/plural.group` of no built-in kind.
pub(super) fn custom(resource: &str) -> Option<(&str, &str)> {
    let (plural, group) = resource.strip_prefix("count/")?.split_once('.')?;
    (!every_kind().iter().any(|kind| kind.group == group && kind.plural == plural)).then_some((plural, group))
}

pub(super) fn is_custom(resource: &str) -> bool {
    custom(resource).is_some()
}

/// Every kind that can be listed.
fn every_kind() -> &'static [&'static Kind] {
    static KINDS: std::sync::LazyLock<Vec<&'static Kind>> = std::sync::LazyLock::new(|| deletable(true));
    &KINDS
}

/// Adds `more`, of what is counted at all.
fn add(used: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        if let Some(sum) = used.get_mut(name) {
            *sum = *sum + *amount;
        }
    }
}

/// The kinds that any of these resources counts.
pub(super) fn counted(hard: &Amounts) -> Vec<&'static Kind> {
    let wanted = |kind: &&&Kind| kind.namespaced && hard.keys().any(|resource| quota::counts(kind, resource));
    every_kind().iter().filter(wanted).copied().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sampan_api::kinds;
    use serde_json::json;

    use super::*;

    fn kind(group: &str, plural: &str) -> &'static Kind {
        kinds::by_resource(group, "v1", plural).unwrap()
    }

    #[test]
    fn a_quota_names_the_kinds_it_counts() {
        let hard = json!({"pods": "1", "count/deployments.apps": "1", "services.nodeports": "1", "count/nodes": "1", "secrets": "1"});
        let mut names: Vec<&str> = counted(&quota::read(&hard)).iter().map(|kind| kind.plural).collect();
        names.sort_unstable();
        assert_eq!(names, ["deployments", "pods", "secrets", "services"]);
    }

    #[test]
    fn usage_is_the_sum_over_what_is_in_scope() {
        let hard = json!({"pods": "5", "requests.cpu": "5", "count/secrets": "5", "count/unknown.x": "5", "count/widgets.example.com": "5"});
        let pod = |cpu: &str, phase: &str| {
            json!({
            "spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}})
        };
        let pods = || vec![pod("1", "Running"), pod("500m", "Pending"), pod("4", "Succeeded")];
        let found = |objects| {
            let widgets = ("count/widgets.example.com".to_owned(), "/apis/example.com/v1/widgets".to_owned());
            [
                (Counted::Kind(kind("", "pods")), Found::Objects(objects)),
                (Counted::Kind(kind("", "secrets")), Found::Number(3)),
                (Counted::Custom(widgets.0, widgets.1), Found::Number(2)),
            ]
        };
        let recounted = |spec: Value, objects| {
            let used =
                recount(&json!({"spec": spec}), &quota::read(&hard), &found(objects), Timestamp::UNIX_EPOCH);
            quota::write(&used)
        };
        assert_eq!(
            recounted(json!({}), pods()),
            json!({"pods": "2", "requests.cpu": "1500m", "count/secrets": "3", "count/unknown.x": "0", "count/widgets.example.com": "2"})
        );
        assert_eq!(
            recounted(json!({"scopes": ["BestEffort"]}), pods()),
            json!({"pods": "0", "requests.cpu": "0", "count/secrets": "0", "count/unknown.x": "0", "count/widgets.example.com": "0"})
        );
        assert_eq!(
            recounted(json!({}), vec![]),
            json!({"pods": "0", "requests.cpu": "0", "count/secrets": "3", "count/unknown.x": "0", "count/widgets.example.com": "2"})
        );
    }

    #[test]
    fn custom_resources_have_paths() {
        assert_eq!(custom("count/widgets.example.com"), Some(("widgets", "example.com")));
        assert_eq!(
            (custom("count/deployments.apps"), custom("count/pods"), custom("pods")),
            (None, None, None)
        );
        let widgets = Counted::Custom(String::new(), "/apis/example.com/v1/widgets".into());
        assert_eq!(widgets.path(Some("n")), "/apis/example.com/v1/namespaces/n/widgets");
    }
}
