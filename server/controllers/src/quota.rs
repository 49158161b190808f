//! ResourceQuota controller (upstream's `resource_quota_controller.go`): counts what quotas limit.
//!
//! The API server charges a quota with each write that costs something, in the same transaction. So there is nothing
//! to do for what comes; this counts anew when a quota is new or limits something else, and when something went,
//! ended or shrank. It reads the quota first and lists afterwards, and writes under the revision that it read: if
//! anything was charged meanwhile the write is refused and the count begins again, so that it never loses a charge.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota, ResourceQuotaStatus, Service};
use kube::Resource;
use kube::api::PostParams;
use parking_lot::Mutex;
use sampan_api::kinds::{self, Kind};
use sampan_api::quantity::{Format, Quantity};
use sampan_api::quota::{self, Amounts};
use sampan_reconcile::{Controller, Delta, Error, Informer, Key, Object, Sources};
use serde::Serialize;
use serde_json::Value;

use crate::context::{BY_NAMESPACE, Context};
use crate::gc::Item;
use crate::resources::{Collection, deletable, path};

/// So often a count is begun at once when something was charged meanwhile; then after a back-off.
const ATTEMPTS: usize = 8;

/// What there is of a kind in the quota's namespace.
#[derive(Debug)]
pub(crate) enum Found {
    /// So many; nothing else matters.
    Number(usize),
    /// These.
    Objects(Vec<Value>),
}

/// What `quota` uses: the sum over everything in its namespace that it is about.
pub(crate) fn recount(quota: &Value, hard: &Amounts, found: &[(&Kind, Found)], now: Timestamp) -> Amounts {
    let mut used = Amounts::new();
    for (kind, found) in found {
        let counted = hard.keys().filter(|name| quota::counts(kind, name));
        used.extend(counted.map(|name| (name.clone(), Quantity::ZERO)));
        let about = |object: &Value| quota::matches(quota, hard.keys().map(String::as_str), kind, object);
        match found {
            Found::Number(number) if about(&Value::Null) => {
                let number = Quantity::new(i64::try_from(*number).unwrap_or(i64::MAX), Format::DecimalSI);
                let each = quota::usage(kind, &Value::Null, now).into_keys();
                add(&mut used, &each.map(|name| (name, number)).collect());
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

/// Adds `more`, of what is counted at all.
fn add(used: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        if let Some(sum) = used.get_mut(name) {
            *sum = *sum + *amount;
        }
    }
}

/// The kinds that any of these resources counts.
fn counted(hard: &Amounts) -> Vec<&'static Kind> {
    static KINDS: std::sync::LazyLock<Vec<&'static Kind>> = std::sync::LazyLock::new(|| deletable(true));
    let wanted = |kind: &&&Kind| kind.namespaced && hard.keys().any(|resource| quota::counts(kind, resource));
    KINDS.iter().filter(wanted).copied().collect()
}

/// Whether the status does not yet speak of what the spec limits.
fn is_new(quota: &ResourceQuota) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let status = quota.status.as_ref();
    status.and_then(|status| status.hard.as_ref()) != hard
        || status.is_none_or(|status| status.used.is_none())
}

/// Whether the object went, or counts for something else than before.
fn freed<K: Serialize>(plural: &str, delta: &Delta<K>) -> bool {
    let (Some(old), Some(new)) = (&delta.old, &delta.new) else { return delta.new.is_none() };
    let Some(kind) = kinds::by_resource("", "v1", plural) else { return false };
    let usage = |object: &K| {
        let object = serde_json::to_value(object).unwrap_or_default();
        let scopes = [
            "/spec/activeDeadlineSeconds",
            "/spec/volumeAttributesClassName",
            "/status/currentVolumeAttributesClassName",
        ];
        let scopes: Vec<Option<Value>> = scopes.iter().map(|at| object.pointer(at).cloned()).collect();
        (quota::usage(kind, &object, Timestamp::UNIX_EPOCH), scopes)
    };
    usage(old) != usage(new)
}

fn amounts<T: Serialize>(list: Option<&T>) -> Amounts {
    quota::read(&serde_json::to_value(list).unwrap_or_default())
}

type Quantities = std::collections::BTreeMap<String, k8s_openapi::apimachinery::pkg::api::resource::Quantity>;

fn quantities(amounts: &Amounts) -> Quantities {
    let each = amounts.iter().map(|(name, amount)| {
        (name.clone(), k8s_openapi::apimachinery::pkg::api::resource::Quantity(amount.to_string()))
    });
    each.collect()
}

/// The controller.
pub(crate) struct ResourceQuotas {
    context: Context,
    quotas: Informer<ResourceQuota>,
    services: Informer<Service>,
    claims: Informer<PersistentVolumeClaim>,
    /// Kinds that some quota counts, whose informers tell of what goes.
    followed: Mutex<HashSet<&'static str>>,
    tell: UnboundedSender<Vec<Key>>,
    told: Mutex<Option<UnboundedReceiver<Vec<Key>>>>,
}

impl ResourceQuotas {
    pub fn new(context: &Context) -> Self {
        let (tell, told) = unbounded();
        Self {
            context: context.clone(),
            quotas: context.by_namespace(),
            services: context.informers.of(),
            claims: context.informers.of(),
            followed: Mutex::default(),
            tell,
            told: Mutex::new(Some(told)),
        }
    }

    fn on<K>(self: &Arc<Self>, sources: &mut Sources<Key>, informer: &Informer<K>, plural: &'static str)
    where
        K: Resource<DynamicType = ()> + Object + Serialize,
    {
        let this = self.clone();
        sources.on(informer, move |delta| {
            let keys = keys_in(&this.quotas, delta.key.namespace.as_deref());
            if keys.is_empty() || !freed(plural, delta) { Vec::new() } else { keys }
        });
    }

    /// Follows a kind from now on, if nothing does.
    async fn follow(&self, kind: &'static Kind) {
        if !quota::is_only_counted(kind) || !self.followed.lock().insert(kind.storage_group) {
            return;
        }
        let informer = self.context.informers.metadata::<Item>(&path(kind, None));
        let (mut deltas, quotas, tell) = (informer.subscribe(), self.quotas.clone(), self.tell.clone());
        self.context.tasks.spawn_until_drain("counted objects", async move {
            while let Some(delta) = deltas.next().await {
                let keys = keys_in(&quotas, delta.key.namespace.as_deref());
                if delta.new.is_none() && !keys.is_empty() && tell.unbounded_send(keys).is_err() {
                    return;
                }
            }
        });
        informer.synced().await;
    }

    /// Counts once, and writes the status if it differs.
    async fn count(&self, key: &Key) -> Result<(), Error> {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let api = self.context.namespaced::<ResourceQuota>(namespace);
        let Some(mut quota) = api.get_opt(&key.name).await? else { return Ok(()) };
        let limits = quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        let hard = amounts(limits.as_ref());
        let mut found = Vec::new();
        for kind in counted(&hard) {
            found.push((kind, self.find(kind, namespace).await?));
        }
        let whole = serde_json::to_value(&quota).unwrap_or_default();
        let used = recount(&whole, &hard, &found, Timestamp::now());
        let before = quota.status.as_ref().map(|status| amounts(status.used.as_ref()));
        if !is_new(&quota) && before.as_ref() == Some(&used) {
            return Ok(());
        }
        quota.status = Some(ResourceQuotaStatus { hard: limits, used: Some(quantities(&used)) });
        api.replace_status(&key.name, &PostParams::default(), &quota).await?;
        Ok(())
    }

    async fn find(&self, kind: &'static Kind, namespace: &str) -> Result<Found, Error> {
        self.follow(kind).await;
        let collection = Collection::new(&self.context.client, kind, Some(namespace));
        Ok(match quota::is_only_counted(kind) {
            true => Found::Number(collection.list().await?.len()),
            false => Found::Objects(collection.list_whole().await?),
        })
    }
}

fn keys_in(quotas: &Informer<ResourceQuota>, namespace: Option<&str>) -> Vec<Key> {
    let Some(namespace) = namespace else { return Vec::new() };
    quotas.by_index(BY_NAMESPACE, namespace).iter().map(|quota| quota.key()).collect()
}

impl Controller for ResourceQuotas {
    type Key = Key;

    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.quotas, |delta| match &delta.new {
            Some(quota) if is_new(quota) => vec![delta.key.clone()],
            _ => Vec::new(),
        });
        self.on(sources, &self.context.pods, "pods");
        self.on(sources, &self.services, "services");
        self.on(sources, &self.claims, "persistentvolumeclaims");
        if let Some(told) = self.told.lock().take() {
            sources.stream(futures::StreamExt::flat_map(told, futures::stream::iter));
        }
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        for _ in 1..ATTEMPTS {
            match self.count(key).await {
                Err(error) if error.is_race() => {}
                result => return result.map(|()| None),
            }
        }
        self.count(key).await.map(|()| None)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use k8s_openapi::api::core::v1::Pod;
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
        let hard = json!({"pods": "5", "requests.cpu": "5", "count/secrets": "5", "count/unknown.x": "5"});
        let pod = |cpu: &str, phase: &str| {
            json!({
            "spec": {"containers": [{"resources": {"requests": {"cpu": cpu}}}]}, "status": {"phase": phase}})
        };
        let pods = || vec![pod("1", "Running"), pod("500m", "Pending"), pod("4", "Succeeded")];
        let found =
            |objects| [(kind("", "pods"), Found::Objects(objects)), (kind("", "secrets"), Found::Number(3))];
        let recounted = |spec: Value, objects| {
            let used =
                recount(&json!({"spec": spec}), &quota::read(&hard), &found(objects), Timestamp::UNIX_EPOCH);
            quota::write(&used)
        };
        assert_eq!(
            recounted(json!({}), pods()),
            json!({"pods": "2", "requests.cpu": "1500m", "count/secrets": "3"})
        );
        assert_eq!(
            recounted(json!({"scopes": ["BestEffort"]}), pods()),
            json!({"pods": "0", "requests.cpu": "0", "count/secrets": "0"})
        );
        assert_eq!(
            recounted(json!({}), vec![]),
            json!({"pods": "0", "requests.cpu": "0", "count/secrets": "3"})
        );
    }

    #[test]
    fn only_what_is_given_back_is_counted_anew() {
        let pod = |value: Value| Arc::new(serde_json::from_value::<Pod>(value).unwrap());
        let running = pod(json!({"metadata": {"name": "a"}, "status": {"phase": "Running"}}));
        let ended = pod(json!({"metadata": {"name": "a"}, "status": {"phase": "Failed"}}));
        let delta = |old: Option<&Arc<Pod>>, new: Option<&Arc<Pod>>| Delta {
            key: Key::namespaced("n", "a"),
            old: old.cloned(),
            new: new.cloned(),
        };
        assert!(!freed("pods", &delta(None, Some(&running))));
        assert!(!freed("pods", &delta(Some(&running), Some(&running))));
        assert!(freed("pods", &delta(Some(&running), Some(&ended))));
        assert!(freed("pods", &delta(Some(&running), None)));
    }

    #[test]
    fn a_quota_is_new_until_its_status_speaks_of_its_spec() {
        let quota = |status: Value| -> ResourceQuota {
            serde_json::from_value(json!({"metadata": {}, "spec": {"hard": {"pods": "1"}}, "status": status}))
                .unwrap()
        };
        assert!(is_new(&quota(json!({}))));
        assert!(is_new(&quota(json!({"hard": {"pods": "2"}, "used": {"pods": "0"}}))));
        assert!(!is_new(&quota(json!({"hard": {"pods": "1"}, "used": {"pods": "0"}}))));
    }
}
