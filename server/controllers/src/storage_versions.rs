//! `storageversion-garbage-collector-controller` (upstream's `pkg/controller/storageversiongc` and
//! `apiserver/pkg/storageversion`): a StorageVersion keeps what API servers say that there are, and goes with the last of them.
//!
//! An API server is there while its identity Lease in kube-system is. Our own has one and writes no StorageVersion, as
//! upstream's without the gate `StorageVersionAPI`: what is collected here is others'.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::apiserverinternal::v1alpha1::{
    ServerStorageVersion, StorageVersion, StorageVersionCondition, StorageVersionStatus,
};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::runtime::watcher;
use sampan_api::validation::is_dns1123_subdomain;
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};

use crate::context::Context;
use crate::words::{name, resource_version};

const NAMESPACE: &str = "kube-system";
const COMPONENT_LABEL: &str = "apiserver.kubernetes.io/identity";
const KUBE_APISERVER: &str = "kube-apiserver";
const ALL_EQUAL: &str = "AllEncodingVersionsEqual";
/// Index of StorageVersions by the API servers that they name.
const BY_SERVER: &str = "api-server";

fn is_identity(lease: &Lease) -> bool {
    let label = lease.metadata.labels.as_ref().and_then(|labels| labels.get(COMPONENT_LABEL));
    label.is_some_and(|component| component == KUBE_APISERVER)
        && lease.metadata.namespace.as_deref() == Some(NAMESPACE)
}

fn entries(version: &StorageVersion) -> &[ServerStorageVersion] {
    version.status.as_ref().and_then(|status| status.storage_versions.as_deref()).unwrap_or_default()
}

fn servers(version: &StorageVersion) -> BTreeSet<&str> {
    entries(version).iter().map(|entry| entry.api_server_id.as_str()).collect()
}

/// What is to be done with a StorageVersion.
#[derive(Debug, PartialEq)]
enum Step {
    /// Nothing before it or a Lease changes.
    Nothing,
    /// This is its status.
    Write(StorageVersionStatus),
    /// It goes.
    Delete,
}

/// `gone`: the API servers that are not there.
fn plan(version: &StorageVersion, gone: &BTreeSet<&str>, now: Timestamp) -> Step {
    let all = entries(version);
    let left: Vec<_> = all.iter().filter(|entry| !gone.contains(entry.api_server_id.as_str())).collect();
    if left.len() == all.len() {
        return Step::Nothing;
    }
    if left.is_empty() {
        return Step::Delete;
    }
    let mut status = version.status.clone().unwrap_or_default();
    status.storage_versions = Some(left.into_iter().cloned().collect());
    agree(&mut status, version.metadata.generation, now);
    Step::Write(status)
}

/// Upstream's `SetCommonEncodingVersion`: what all entries agree on, and the condition that says whether they do.
fn agree(status: &mut StorageVersionStatus, generation: Option<i64>, now: Timestamp) {
    let mut encodings = status.storage_versions.iter().flatten().map(|entry| &entry.encoding_version);
    let first = encodings.next().cloned();
    let common = first.filter(|first| encodings.all(|other| other == first));
    let (state, reason, message) = match &common {
        Some(_) => ("True", "CommonEncodingVersionSet", "Common encoding version set"),
        None => ("False", "CommonEncodingVersionUnset", "Common encoding version unset"),
    };
    let before = std::mem::replace(&mut status.common_encoding_version, common);
    // from one version to another is a transition as well
    let moved = matches!((&before, &status.common_encoding_version), (Some(old), Some(new)) if old != new);
    let mut condition = StorageVersionCondition {
        type_: ALL_EQUAL.to_owned(),
        status: state.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        observed_generation: generation.filter(|generation| *generation != 0),
        last_transition_time: Some(Time(now)),
    };
    let conditions = status.conditions.get_or_insert_default();
    match conditions.iter_mut().find(|old| old.type_ == ALL_EQUAL) {
        None => conditions.push(condition),
        Some(old) => {
            if old.status == condition.status && !moved {
                condition.last_transition_time = old.last_transition_time.clone();
            }
            *old = condition;
        }
    }
}

/// The controller.
pub(crate) struct StorageVersions {
    context: Context,
    versions: Informer<StorageVersion>,
    leases: Informer<Lease>,
}

impl StorageVersions {
    pub fn new(context: &Context) -> Self {
        let only = watcher::Config::default().labels(&format!("{COMPONENT_LABEL}={KUBE_APISERVER}"));
        let leases = context.informers.within(NAMESPACE, only);
        let versions = context.informers.of::<StorageVersion>();
        versions
            .add_index(BY_SERVER, |version| servers(version).into_iter().map(ToOwned::to_owned).collect());
        Self { context: context.clone(), versions, leases }
    }

    /// Whether an API server is not there. The copy of the Leases may be behind what names them: one that it does not show is
    /// asked for.
    async fn is_gone(&self, server: &str) -> Result<bool, Error> {
        let known = self.leases.get(&Key::namespaced(NAMESPACE, server));
        if known.is_some_and(|lease| is_identity(&lease)) {
            return Ok(false);
        }
        // no Lease can have such a name
        if !is_dns1123_subdomain(server).is_empty() {
            return Ok(true);
        }
        let live = self.context.namespaced::<Lease>(NAMESPACE).get_opt(server).await?;
        Ok(!live.is_some_and(|lease| is_identity(&lease)))
    }

    async fn write(&self, version: &StorageVersion, status: StorageVersionStatus) -> kube::Result<()> {
        let api = self.context.cluster::<StorageVersion>();
        let wanted = StorageVersion { status: Some(status), ..version.clone() };
        let written = api.replace_status(name(&version.metadata), &PostParams::default(), &wanted).await?;
        self.versions.reached(resource_version(&written.metadata)).await;
        Ok(())
    }

    /// Only as it was seen: a server may have written itself in.
    async fn delete(&self, version: &StorageVersion) -> kube::Result<()> {
        tracing::info!(
            storage_version = name(&version.metadata),
            "deleting: none of its API servers has an identity lease"
        );
        let meta = &version.metadata;
        let preconditions =
            Preconditions { uid: meta.uid.clone(), resource_version: meta.resource_version.clone() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        self.context.cluster::<StorageVersion>().delete(name(meta), &params).await.map(drop)
    }
}

impl Controller for StorageVersions {
    type Key = Key;

    fn name(&self) -> &'static str {
        "storageversion-garbage-collector-controller"
    }

    fn queue(&self) -> &'static str {
        "storage_version_garbage_collector_storageversions"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.versions, |delta| delta.new.iter().map(|_| delta.key.clone()).collect());
        let this = self.clone();
        sources.on(&self.leases, move |delta| match (&delta.old, &delta.new) {
            (_, Some(new)) if is_identity(new) => Vec::new(),
            (Some(old), _) if is_identity(old) => {
                let named = this.versions.by_index(BY_SERVER, &delta.key.name);
                named.iter().map(|version| Key::cluster(name(&version.metadata))).collect()
            }
            _ => Vec::new(),
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(version) = self.versions.get(key) else { return Ok(None) };
        let mut gone = BTreeSet::new();
        for server in servers(&version) {
            if self.is_gone(server).await? {
                gone.insert(server);
            }
        }
        let result = match plan(&version, &gone, sampan_reconcile::now()) {
            Step::Nothing => return Ok(None),
            Step::Write(status) => self.write(&version, status).await,
            Step::Delete => self.delete(&version).await,
        };
        match result {
            // what has changed meanwhile comes again by itself
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
            result => Ok(result.map(|()| None)?),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    const NOW: &str = "2026-06-01T10:00:00Z";
    const BEFORE: &str = "2026-01-01T00:00:00Z";

    /// A StorageVersion with these servers' encodings, and what it says of them.
    fn version(entries: &[(&str, &str)], common: Value, condition: Option<&str>) -> StorageVersion {
        let entries: Vec<Value> = entries
            .iter()
            .map(|(id, encoding)| json!({"apiServerID": id, "encodingVersion": encoding, "decodableVersions": [encoding]}))
            .collect();
        let condition = condition.map(|status| {
            json!({"type": ALL_EQUAL, "status": status, "reason": "old", "message": "old", "lastTransitionTime": BEFORE})
        });
        serde_json::from_value(json!({"metadata": {"name": "apps.deployments"}, "spec": {}, "status": {
            "storageVersions": entries, "commonEncodingVersion": common, "conditions": Vec::from_iter(condition)}}))
        .unwrap()
    }

    /// What a case comes to, whose entries are those of `left`: what they agree on, and since when.
    struct Expected<'a> {
        left: &'a str,
        common: Option<&'a str>,
        since: &'a str,
    }

    #[test]
    fn entries_of_servers_that_are_gone_go() {
        let check = |entries: &[(&str, &str)],
                     before: (Option<&str>, Option<&str>),
                     expected: Expected<'_>| {
            let case = format!("{entries:?} {before:?}");
            let version = version(entries, json!(before.0), before.1);
            let step = plan(&version, &["x"].into(), NOW.parse().unwrap());
            let Step::Write(written) = step else { panic!("{case}: {step:?}") };
            let ids = written.storage_versions.iter().flatten().map(|entry| entry.api_server_id.as_str());
            assert_eq!(ids.collect::<String>(), expected.left, "{case}");
            assert_eq!(written.common_encoding_version.as_deref(), expected.common, "{case}");
            let (status, reason, message) = match expected.common {
                Some(_) => ("True", "CommonEncodingVersionSet", "Common encoding version set"),
                None => ("False", "CommonEncodingVersionUnset", "Common encoding version unset"),
            };
            let condition = json!([{"type": ALL_EQUAL, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": expected.since}]);
            assert_eq!(serde_json::to_value(written.conditions).unwrap(), condition, "{case}");
        };
        let is = |left, common, since| Expected { left, common, since };
        let (yes, no, v1) = (Some("True"), Some("False"), Some("v1"));
        check(&[("a", "v1"), ("x", "v2"), ("b", "v1")], (None, no), is("ab", v1, NOW));
        check(&[("a", "v1"), ("x", "v1")], (v1, yes), is("a", v1, BEFORE));
        check(&[("a", "v1"), ("x", "v1")], (v1, None), is("a", v1, NOW));
        // all agree, but on another version than before
        check(&[("a", "v2"), ("x", "v1")], (v1, yes), is("a", Some("v2"), NOW));
        check(&[("a", "v1"), ("b", "v2"), ("x", "v1")], (None, no), is("ab", None, BEFORE));
        check(&[("a", "v1"), ("b", "v2"), ("x", "v1")], (v1, yes), is("ab", None, NOW));
    }

    #[test]
    fn what_names_nobody_that_is_there_goes_and_the_rest_stays() {
        let now = NOW.parse().unwrap();
        #[allow(clippy::type_complexity)] // a table of cases
        let cases: [(&[(&str, &str)], &[&str], Step); 5] = [
            (&[("x", "v1")], &["x"], Step::Delete),
            (&[("x", "v1"), ("y", "v1")], &["x", "y"], Step::Delete),
            (&[("a", "v1")], &[], Step::Nothing),
            (&[("a", "v1")], &["x"], Step::Nothing),
            // one that has just been made: who made it writes the status next
            (&[], &["x"], Step::Nothing),
        ];
        for (entries, gone, expected) in cases {
            let gone = gone.iter().copied().collect();
            assert_eq!(
                plan(&version(entries, json!("v1"), Some("True")), &gone, now),
                expected,
                "{entries:?}"
            );
        }
        assert_eq!(plan(&StorageVersion::default(), &["x"].into(), now), Step::Nothing);
    }

    #[test]
    fn the_condition_says_for_which_generation() {
        let mut version = version(&[("a", "v1"), ("x", "v1")], json!("v1"), None);
        for (generation, expected) in [(None, None), (Some(0), None), (Some(3), Some(3))] {
            version.metadata.generation = generation;
            let Step::Write(status) = plan(&version, &["x"].into(), NOW.parse().unwrap()) else { panic!() };
            assert_eq!(status.conditions.unwrap()[0].observed_generation, expected);
        }
    }

    #[test]
    fn an_identity_is_a_labelled_lease_of_kube_system() {
        let lease = |namespace: &str, labels: Value| -> Lease {
            serde_json::from_value(
                json!({"metadata": {"name": "a", "namespace": namespace, "labels": labels}}),
            )
            .unwrap()
        };
        let label = json!({COMPONENT_LABEL: KUBE_APISERVER});
        assert!(is_identity(&lease(NAMESPACE, label.clone())));
        assert!(!is_identity(&lease("default", label)));
        assert!(!is_identity(&lease(NAMESPACE, json!({COMPONENT_LABEL: "other"}))));
        assert!(!is_identity(&lease(NAMESPACE, json!(null))));
    }
}
