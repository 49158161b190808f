//! The APIService objects of the registry's own groups, and the order of groups in discovery: `pkg/controlplane/apiserver`'s
//! and `cmd/kube-apiserver/app`'s priorities, and `kube-aggregator`'s `autoregister`.
//!
//! As upstream's they are made at start and left alone until the next.

use std::cmp::Reverse;
use std::collections::HashSet;

use sampan_api::kinds;
use sampan_store::{Action, Condition, Entry, Key, Store, Write, WriteError};
use serde_json::{Value, json};

use super::API_SERVICES;
use super::table::name_of;
use crate::registry::encoded;
use crate::value::{at, meta, now, set, text};

/// The label of what is made here, and its value.
pub(super) const MANAGED: &str = "kube-aggregator.kubernetes.io/automanaged";
const ON_START: &str = "onstart";
/// The value of what definitions have made.
pub(super) const ALWAYS: &str = "true";

/// Group, version, `groupPriorityMinimum`, `versionPriority`.
const PRIORITIES: &[(&str, &str, u32, u32)] = &[
    ("", "v1", 18000, 1),
    ("apps", "v1", 17800, 15),
    ("events.k8s.io", "v1", 17750, 15),
    ("authentication.k8s.io", "v1", 17700, 15),
    ("authorization.k8s.io", "v1", 17600, 15),
    ("autoscaling", "v1", 17500, 15),
    ("autoscaling", "v2", 17500, 30),
    ("batch", "v1", 17400, 15),
    ("certificates.k8s.io", "v1", 17300, 15),
    ("certificates.k8s.io", "v1beta1", 17300, 9),
    ("certificates.k8s.io", "v1alpha1", 17300, 1),
    ("networking.k8s.io", "v1", 17200, 15),
    ("networking.k8s.io", "v1beta1", 17200, 9),
    ("policy", "v1", 17100, 15),
    ("rbac.authorization.k8s.io", "v1", 17000, 15),
    ("storage.k8s.io", "v1", 16800, 15),
    ("storage.k8s.io", "v1beta1", 16800, 9),
    ("apiextensions.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1", 16700, 15),
    ("admissionregistration.k8s.io", "v1beta1", 16700, 12),
    ("admissionregistration.k8s.io", "v1alpha1", 16700, 9),
    ("scheduling.k8s.io", "v1", 16600, 15),
    ("scheduling.k8s.io", "v1alpha2", 16600, 9),
    ("coordination.k8s.io", "v1", 16500, 15),
    ("coordination.k8s.io", "v1beta1", 16500, 13),
    ("coordination.k8s.io", "v1alpha2", 16500, 12),
    ("node.k8s.io", "v1", 16300, 15),
    ("resource.k8s.io", "v1", 15900, 20),
    ("resource.k8s.io", "v1beta2", 15900, 15),
    ("resource.k8s.io", "v1beta1", 15900, 9),
    ("resource.k8s.io", "v1alpha3", 15900, 1),
    ("discovery.k8s.io", "v1", 16200, 15),
    ("flowcontrol.apiserver.k8s.io", "v1", 16100, 21),
    ("internal.apiserver.k8s.io", "v1alpha1", 16000, 9),
    ("storagemigration.k8s.io", "v1beta1", 15800, 9),
];

/// Where a group of the registry stands in discovery; `None` for others. The aggregator's own is the first.
pub(super) fn group_priority(group: &str) -> Option<u32> {
    if group == "apiregistration.k8s.io" {
        return Some(u32::MAX);
    }
    PRIORITIES.iter().find(|(name, ..)| *name == group).map(|(_, _, priority, _)| *priority)
}

/// Puts discovery's groups in order: `priority` knows those that are not the registry's.
pub(crate) fn order(groups: &mut [Value], priority: impl Fn(&str) -> u32) {
    let name = |group: &Value| match text(group, &["name"]) {
        "" => meta(group, "name").to_owned(),
        name => name.to_owned(),
    };
    // the registry's are in order already, and a sort leaves equals as they are
    groups.sort_by_cached_key(|group| {
        let name = name(group);
        Reverse(group_priority(&name).unwrap_or_else(|| priority(&name)))
    });
}

/// Upstream's `version.CompareKubeAwareVersionStrings`: `v2`, `v1`, `v2beta1`, `v1alpha1`, then whatever else.
pub(super) fn version_rank(version: &str) -> Reverse<(u8, u64, u64)> {
    let parsed = || {
        let rest = version.strip_prefix('v')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let major: u64 = rest[..digits].parse().ok()?;
        let (stage, minor) = match &rest[digits..] {
            "" => (3, ""),
            tail if tail.starts_with("beta") => (2, &tail[4..]),
            tail if tail.starts_with("alpha") => (1, &tail[5..]),
            _ => return None,
        };
        Some((stage, major, if stage == 3 { 0 } else { minor.parse().ok()? }))
    };
    Reverse(parsed().unwrap_or((0, 0, 0)))
}

/// An object that is kept as `managed` says, available from the beginning.
pub(super) fn object(
    (group, version): (&str, &str),
    priority: u32,
    version_priority: u32,
    managed: &str,
) -> Value {
    let mut spec =
        json!({"version": version, "groupPriorityMinimum": priority, "versionPriority": version_priority});
    if !group.is_empty() {
        set(&mut spec, &["group"], group);
    }
    let condition = json!({
        "type": "Available", "status": "True", "lastTransitionTime": now(), "reason": "Local",
        "message": "Local APIServices are always available",
    });
    json!({
        "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1",
        "metadata": {
            "name": name_of(group, version), "uid": uuid::Uuid::new_v4().to_string(),
            "creationTimestamp": now(), "labels": {MANAGED: managed},
        },
        "spec": spec, "status": {"conditions": [condition]},
    })
}

/// Whether an entry's label says that it is kept so.
pub(super) fn is_managed(entry: &Entry, how: &str) -> bool {
    entry.columns.labels.iter().any(|(key, value)| &**key == MANAGED && &**value == how)
}

/// The writes that make the stored objects those of this version.
fn due(store: &Store) -> Vec<Write> {
    let served =
        |(group, version, ..): &&(&str, &str, u32, u32)| kinds::of_version(group, version).next().is_some();
    let mut writes = Vec::new();
    for (group, version, priority, version_priority) in PRIORITIES.iter().filter(served) {
        let key = Key::new(API_SERVICES, name_of(group, version));
        let wanted = object((group, version), *priority, *version_priority, ON_START);
        let Some(entry) = store.get(&key) else {
            let action = Action::Put(encoded(&wanted));
            writes.push(Write { key, condition: Condition::Absent, action });
            continue;
        };
        let Ok(mut stored) = serde_json::from_slice::<Value>(&entry.value) else { continue };
        let managed = text(&stored, &["metadata", "labels", MANAGED]);
        // a definition may have served it until this version does
        let ours = matches!(managed, ON_START | ALWAYS);
        if ours && (managed != ON_START || at(&stored, &["spec"]) != at(&wanted, &["spec"])) {
            set(&mut stored, &["spec"], at(&wanted, &["spec"]).clone());
            set(&mut stored, &["metadata", "labels", MANAGED], ON_START);
            crate::value::remove(&mut stored, &["metadata", "resourceVersion"]);
            let condition = Condition::Revision(entry.revision);
            writes.push(Write { key, condition, action: Action::Put(encoded(&stored)) });
        }
    }
    let ours: HashSet<String> =
        PRIORITIES.iter().filter(served).map(|(group, version, ..)| name_of(group, version)).collect();
    for entry in store.list(API_SERVICES).map.values().filter(|entry| !ours.contains(&*entry.key.name)) {
        if !is_managed(entry, ON_START) {
            continue;
        }
        let Ok(stored) = serde_json::from_slice::<Value>(&entry.value) else { continue };
        let (key, condition) = (entry.key.clone(), Condition::Revision(entry.revision));
        writes.push(Write { key, condition, action: Action::Delete(encoded(&stored)) });
    }
    writes
}

/// Makes them what they are to be, in one commit.
pub(crate) async fn ensure(store: &Store) -> Result<(), String> {
    loop {
        let writes = due(store);
        if writes.is_empty() {
            return Ok(());
        }
        for outcome in store.write_all(writes).await {
            match outcome {
                // whoever tells whether they are available was faster: what is still due is seen anew
                Ok(_) | Err(WriteError::Exists(_) | WriteError::Missing | WriteError::Changed(_)) => {}
                Err(error) => return Err(format!("API services: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_that_is_served_has_its_object() {
        for group in kinds::groups().iter().filter(|group| group.name != "apiregistration.k8s.io") {
            for version in group.versions {
                let known = PRIORITIES.iter().any(|(g, v, ..)| (g, v) == (&group.name, version));
                assert!(known, "{}/{version}", group.name);
            }
        }
    }

    #[test]
    fn groups_of_the_registry_stand_as_they_do_in_discovery() {
        let named = kinds::groups().iter().filter(|group| !group.name.is_empty());
        let mut groups: Vec<Value> = named.map(|group| json!({"name": group.name})).collect();
        let before = groups.clone();
        order(&mut groups, |_| 0);
        assert_eq!(groups, before);
        groups.push(json!({"metadata": {"name": "x.y"}}));
        order(&mut groups, |_| 17_790);
        let place = groups.iter().position(|group| meta(group, "name") == "x.y");
        assert_eq!(place.map(|i| text(&groups[i - 1], &["name"])), Some("apps"));
    }

    #[test]
    fn versions_are_ordered_by_stability() {
        let mut versions = ["v1alpha1", "v10", "foo", "v1beta2", "v2", "v1beta10", "v11alpha2"];
        versions.sort_by_key(|version| version_rank(version));
        assert_eq!(versions, ["v10", "v2", "v1beta10", "v1beta2", "v11alpha2", "v1alpha1", "foo"]);
    }
}
