//! Removes tokens of Secrets that were made for their account and that nobody uses: `legacy-serviceaccount-token-cleaner-controller`
//! (upstream's `legacy_serviceaccount_token_cleaner.go`). A year unused, a Secret is marked as invalid; the API server then
//! refuses its token. Another year later it goes.
//!
//! The API server notes uses, and since when it does. Upstream looks at everything once a day; here each Secret has the
//! moment at which it is next to be looked at.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use k8s_openapi::api::core::v1::{EnvFromSource, EnvVar, Pod, Secret, ServiceAccount, Volume};
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use sampan_reconcile::{Controller, Error, Informer, Key, Object, Sources};
use serde_json::json;

use super::{ACCOUNT, is_of, is_token};
use crate::context::{BY_NAMESPACE, Context};
use crate::words::{annotation, created, name, namespace};

const LAST_USED: &str = "kubernetes.io/legacy-token-last-used";
const INVALID_SINCE: &str = "kubernetes.io/legacy-token-invalid-since";
const TRACKING: &str = "kube-apiserver-legacy-service-account-token-tracking";
/// Upstream's `--legacy-service-account-token-clean-up-period`.
const PERIOD: SignedDuration = SignedDuration::from_hours(365 * 24);
/// When to ask again for the ConfigMap that is not there yet.
const LATER: Duration = Duration::from_secs(24 * 3600);

/// What is to be done with a Secret.
#[derive(Debug, PartialEq)]
enum Step {
    /// Nothing before something about it changes.
    Nothing,
    /// Nothing before a moment.
    Wait(Timestamp),
    /// It is marked as invalid since that day.
    Mark(Date),
    /// It goes.
    Delete,
}

/// What a Secret has about it.
struct World<'a> {
    now: Timestamp,
    /// The day since when uses are noted.
    noted_since: Date,
    account: Option<&'a ServiceAccount>,
    /// Whether a pod of the namespace names the Secret.
    in_use: bool,
}

/// The first moment at which a day lies a whole period back: the next day's beginning, a period later.
fn past(day: Date) -> Timestamp {
    let next = day.checked_add(1.day()).unwrap_or(day);
    let begins = next.to_zoned(TimeZone::UTC).map_or(Timestamp::MAX, |begins| begins.timestamp());
    begins.checked_add(PERIOD).unwrap_or(Timestamp::MAX)
}

/// A label's day: `None` without one, an error if it is none.
fn day(secret: &Secret, label: &str) -> Option<Result<Date, ()>> {
    let text = secret.metadata.labels.as_ref()?.get(label)?;
    // `2026-1-1` is no day to Go, either
    Some(text.parse().ok().filter(|_| text.len() == 10).ok_or(()))
}

fn plan(secret: &Secret, world: &World<'_>) -> Step {
    let names = |account: &ServiceAccount| {
        account.secrets.iter().flatten().any(|one| one.name == secret.metadata.name)
    };
    let unused_since = day(secret, LAST_USED).transpose();
    let generated = world.account.is_some_and(|account| is_of(secret, account) && names(account));
    let (Ok(unused_since), true) = (unused_since, generated) else { return Step::Nothing };
    if secret.metadata.deletion_timestamp.is_some() || world.in_use {
        return Step::Nothing;
    }
    let made = created(&secret.metadata).checked_add(PERIOD).unwrap_or(Timestamp::MAX);
    let marked = day(secret, INVALID_SINCE).and_then(Result::ok);
    let due = [Some(made), Some(past(world.noted_since)), unused_since.map(past), marked.map(past)];
    let due = due.into_iter().flatten().max().unwrap_or(made);
    match marked {
        _ if world.now < due => Step::Wait(due),
        None => Step::Mark(world.now.to_zoned(TimeZone::UTC).date()),
        Some(_) => Step::Delete,
    }
}

/// The Secrets that the pod names: upstream's `VisitPodSecretNames`.
fn secrets_of(pod: &Pod) -> BTreeSet<&str> {
    let Some(spec) = &pod.spec else { return BTreeSet::new() };
    let pulls = spec.image_pull_secrets.iter().flatten().map(|one| &one.name);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let containers = containers.flat_map(|container| in_environment(&container.env_from, &container.env));
    let ephemeral = spec.ephemeral_containers.iter().flatten();
    let ephemeral = ephemeral.flat_map(|container| in_environment(&container.env_from, &container.env));
    let volumes = spec.volumes.iter().flatten().flat_map(mounted);
    pulls.chain(containers).chain(ephemeral).chain(volumes).map(String::as_str).collect()
}

fn in_environment<'p>(
    from: &'p Option<Vec<EnvFromSource>>,
    env: &'p Option<Vec<EnvVar>>,
) -> impl Iterator<Item = &'p String> {
    let from = from.iter().flatten().filter_map(|from| from.secret_ref.as_ref()).map(|one| &one.name);
    let values = env.iter().flatten().filter_map(|env| env.value_from.as_ref());
    from.chain(values.filter_map(|from| from.secret_key_ref.as_ref()).map(|key| &key.name))
}

fn mounted(volume: &Volume) -> impl Iterator<Item = &String> {
    let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
    let projected = sources.filter_map(|source| source.secret.as_ref()).map(|one| &one.name);
    let references = [
        volume.cephfs.as_ref().and_then(|of| of.secret_ref.as_ref()),
        volume.cinder.as_ref().and_then(|of| of.secret_ref.as_ref()),
        volume.csi.as_ref().and_then(|of| of.node_publish_secret_ref.as_ref()),
        volume.flex_volume.as_ref().and_then(|of| of.secret_ref.as_ref()),
        volume.iscsi.as_ref().and_then(|of| of.secret_ref.as_ref()),
        volume.rbd.as_ref().and_then(|of| of.secret_ref.as_ref()),
        volume.scale_io.as_ref().map(|of| &of.secret_ref),
        volume.storageos.as_ref().and_then(|of| of.secret_ref.as_ref()),
    ];
    let own = volume.secret.as_ref().and_then(|of| of.secret_name.as_ref());
    let azure = volume.azure_file.as_ref().map(|of| &of.secret_name);
    own.into_iter()
        .chain(azure)
        .chain(projected)
        .chain(references.into_iter().flatten().map(|reference| &reference.name))
}

/// The Secrets that the pod names, by namespace and name.
fn named_by(pod: &Pod) -> impl Iterator<Item = Key> {
    let at = namespace(&pod.metadata);
    secrets_of(pod).into_iter().map(move |secret| Key::namespaced(at, secret))
}

/// Index of pods by the Secrets that they name.
const BY_SECRET: &str = "secret";

/// The controller.
pub(crate) struct LegacyTokenCleaner {
    context: Context,
    secrets: Informer<Secret>,
    accounts: Informer<ServiceAccount>,
    pods: Informer<Pod>,
}

impl LegacyTokenCleaner {
    /// `secrets`: those that hold tokens, by namespace as well.
    pub fn new(context: &Context, secrets: Informer<Secret>) -> Self {
        let pods = context.pods.clone();
        pods.add_index(BY_SECRET, |pod| named_by(pod).map(|secret| secret.to_string()).collect());
        Self { context: context.clone(), secrets, accounts: context.informers.of(), pods }
    }

    fn of_namespace(&self, namespace: &str) -> Vec<Key> {
        self.secrets.by_index(BY_NAMESPACE, namespace).iter().map(|secret| secret.key()).collect()
    }

    /// Since when uses are noted; `None` if nobody says so.
    async fn noted_since(&self) -> Result<Option<Date>, Error> {
        let maps = self.context.namespaced::<k8s_openapi::api::core::v1::ConfigMap>("kube-system");
        let map = maps.get_opt(TRACKING).await?;
        Ok(map.and_then(|map| map.data?.get("since")?.parse().ok()))
    }

    async fn mark(&self, secret: &Secret, day: Date) -> Result<(), Error> {
        tracing::info!(
            namespace = namespace(&secret.metadata),
            secret = name(&secret.metadata),
            "marking an auto-generated service account token as invalid"
        );
        let patch =
            json!({"metadata": {"uid": secret.metadata.uid, "labels": {INVALID_SINCE: day.to_string()}}});
        let api = self.context.namespaced::<Secret>(namespace(&secret.metadata));
        let patched = api.patch(name(&secret.metadata), &PatchParams::default(), &Patch::Merge(&patch)).await;
        gone_is_fine(patched.map(drop))
    }

    async fn delete(&self, secret: &Secret) -> Result<(), Error> {
        tracing::info!(
            namespace = namespace(&secret.metadata),
            secret = name(&secret.metadata),
            "deleting an auto-generated service account token that nobody uses"
        );
        let preconditions =
            Preconditions { uid: None, resource_version: secret.metadata.resource_version.clone() };
        let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let api = self.context.namespaced::<Secret>(namespace(&secret.metadata));
        gone_is_fine(api.delete(name(&secret.metadata), &params).await.map(drop))
    }
}

/// What has changed meanwhile comes again by itself.
fn gone_is_fine(result: kube::Result<()>) -> Result<(), Error> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        result => Ok(result?),
    }
}

impl Controller for LegacyTokenCleaner {
    type Key = Key;

    fn name(&self) -> &'static str {
        "legacy-serviceaccount-token-cleaner-controller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.secrets, |delta| {
            delta.new.iter().filter(|secret| is_token(secret)).map(|_| delta.key.clone()).collect()
        });
        let this = self.clone();
        sources.on(&self.accounts, move |delta| this.of_namespace(delta.key.namespace()));
        // a pod that comes or changes only keeps what is there
        sources.on(&self.pods, |delta| match (&delta.new, &delta.old) {
            (None, Some(old)) => named_by(old).collect(),
            _ => Vec::new(),
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(secret) = self.secrets.get(key) else { return Ok(None) };
        let at = key.namespace();
        let account = annotation(&secret.metadata, ACCOUNT).unwrap_or_default();
        let account = self.accounts.get(&Key::namespaced(at, account));
        let in_use = !self.pods.by_index(BY_SECRET, &key.to_string()).is_empty();
        let Some(noted_since) = self.noted_since().await? else { return Ok(Some(LATER)) };
        let now = sampan_reconcile::now();
        match plan(&secret, &World { now, noted_since, account: account.as_deref(), in_use }) {
            Step::Nothing => Ok(None),
            Step::Wait(until) => Ok(Some(until.duration_since(now).unsigned_abs())),
            Step::Mark(day) => self.mark(&secret, day).await.map(|()| None),
            Step::Delete => self.delete(&secret).await.map(|()| None),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::Value;

    use super::*;

    fn secret(labels: Value) -> Secret {
        serde_json::from_value(json!({"type": super::super::TYPE, "metadata": {"name": "s", "namespace": "a",
            "creationTimestamp": "2025-01-01T12:00:00Z", "labels": labels, "annotations": {ACCOUNT: "x"}}}))
        .unwrap()
    }

    fn account(secrets: Value) -> ServiceAccount {
        serde_json::from_value(json!({"metadata": {"name": "x", "namespace": "a"}, "secrets": secrets}))
            .unwrap()
    }

    #[test]
    fn a_token_goes_when_nobody_has_used_it_for_long() {
        let wait = |at: &str| Step::Wait(at.parse().unwrap());
        let today = || Step::Mark("2027-06-01".parse().unwrap());
        // tracked since, labels, what comes of it on 2027-06-01
        let cases = [
            ("2025-01-01", json!({}), today()),
            ("2026-05-31", json!({}), today()),
            ("2026-06-01", json!({}), wait("2027-06-02T00:00:00Z")),
            ("2025-01-01", json!({LAST_USED: "2026-05-31"}), today()),
            ("2025-01-01", json!({LAST_USED: "2026-06-01"}), wait("2027-06-02T00:00:00Z")),
            ("2025-01-01", json!({LAST_USED: "yesterday"}), Step::Nothing),
            ("2025-01-01", json!({INVALID_SINCE: "2026-05-31"}), Step::Delete),
            ("2025-01-01", json!({INVALID_SINCE: "2026-06-01"}), wait("2027-06-02T00:00:00Z")),
            ("2025-01-01", json!({INVALID_SINCE: "long"}), today()),
            (
                "2025-01-01",
                json!({INVALID_SINCE: "2026-05-31", LAST_USED: "2027-01-01"}),
                wait("2028-01-02T00:00:00Z"),
            ),
        ];
        let named = account(json!([{"name": "s"}]));
        for (since, labels, expected) in cases {
            let world = World {
                now: "2027-06-01T10:00:00Z".parse().unwrap(),
                noted_since: since.parse().unwrap(),
                account: Some(&named),
                in_use: false,
            };
            assert_eq!(plan(&secret(labels.clone()), &world), expected, "{since} {labels}");
        }
    }

    #[test]
    fn what_may_be_anyones_stays() {
        let (named, unnamed) = (account(json!([{"name": "s"}])), account(json!([{"name": "other"}])));
        let world = |account, in_use| World {
            now: "2027-06-01T10:00:00Z".parse().unwrap(),
            noted_since: "2025-01-01".parse().unwrap(),
            account,
            in_use,
        };
        for (account, in_use) in [(None, false), (Some(&unnamed), false), (Some(&named), true)] {
            assert_eq!(plan(&secret(json!({})), &world(account, in_use)), Step::Nothing);
        }
        let young: Secret = {
            let mut young = secret(json!({}));
            young.metadata.creation_timestamp =
                serde_json::from_value(json!("2027-01-01T00:00:00Z")).unwrap();
            young
        };
        let until = "2028-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(plan(&young, &world(Some(&named), false)), Step::Wait(until));
    }

    #[test]
    fn pods_name_secrets_in_many_places() {
        let specs = [
            json!({"containers": [], "imagePullSecrets": [{"name": "s"}]}),
            json!({"containers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]}),
            json!({"containers": [], "initContainers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}),
            json!({"containers": [], "ephemeralContainers": [{"name": "c", "envFrom": [{"secretRef": {"name": "s"}}]}]}),
            json!({"containers": [], "volumes": [{"name": "v", "secret": {"secretName": "s"}}]}),
            json!({"containers": [], "volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]}),
            json!({"containers": [], "volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}}]}),
        ];
        for spec in specs {
            let pod: Pod = serde_json::from_value(json!({"metadata": {"name": "p"}, "spec": spec})).unwrap();
            assert_eq!(secrets_of(&pod), BTreeSet::from(["s"]), "{spec}");
        }
    }
}
