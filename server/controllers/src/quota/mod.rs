//! ResourceQuota controller (upstream's `resource_quota_controller.go`): counts what quotas limit.
//!
//! The API server charges a quota with each write that costs something, in the same transaction. So there is nothing
//! to do for what comes; this counts anew when a quota is new or limits something else, and when something went,
//! ended or shrank. It reads the quota first and lists afterwards, and writes under the revision that it read: if
//! anything was charged meanwhile the write is refused and the count begins again, so that it never loses a charge.

mod count;
mod custom;

use std::sync::Arc;
use std::time::Duration;

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, ResourceQuota, ResourceQuotaStatus, Service};
use kube::Resource;
use kube::api::PostParams;
use parking_lot::Mutex;
use sampan_api::kinds;
use sampan_api::quota::{self, Amounts};
use sampan_reconcile::{Controller, Delta, Error, HashSet, Informer, Key, Object, Sources};
use serde::Serialize;
use serde_json::Value;

use self::count::{Counted, Found, counted, custom, is_custom, recount};
use self::custom::Customs;
use crate::context::{BY_NAMESPACE, Context};
use crate::gc::{DEFINITIONS, Definition, Item};
use crate::resources::Collection;

/// After this long a status that was written by hand speaks of the spec again: upstream does that in its resync, every five
/// minutes, and whoever wrote it expects to find it for a while.
const KEPT: Duration = Duration::from_secs(60);
/// So often a count is begun at once when something was charged meanwhile; then after a back-off.
const ATTEMPTS: usize = 8;

/// Whether the status does not yet speak of what the spec limits.
fn is_new(quota: &ResourceQuota) -> bool {
    let hard = quota.spec.as_ref().and_then(|spec| spec.hard.as_ref());
    let status = quota.status.as_ref();
    status.and_then(|status| status.hard.as_ref()) != hard
        || status.is_none_or(|status| status.used.is_none())
}

/// Whether somebody has written a status that does not go with the spec any more.
fn is_by_hand(old: &ResourceQuota, new: &ResourceQuota) -> bool {
    old.spec == new.spec && !is_new(old) && is_new(new)
}

/// Names the quota once its status has been what it is for long enough.
async fn tell_later(key: Key, tell: UnboundedSender<Vec<Key>>) {
    tokio::time::sleep(KEPT).await;
    // nobody listens: the controller has ended
    let _ = tell.unbounded_send(vec![key]);
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
    definitions: Informer<Definition>,
    /// Paths of built-in kinds that some quota counts and whose informers tell of what goes.
    followed: Mutex<HashSet<String>>,
    customs: Customs,
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
            definitions: context.informers.reduced(DEFINITIONS),
            followed: Mutex::default(),
            customs: Customs::default(),
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

    /// Whether objects were charged whose kind came after the quota was counted: nobody follows it yet.
    fn has_strangers(&self, quota: &ResourceQuota) -> bool {
        let used = quota.status.iter().flat_map(|status| status.used.iter().flatten());
        let mut charged = used.filter(|(name, amount)| amount.0 != "0" && is_custom(name));
        charged.any(|(name, _)| !self.customs.follows(name))
    }

    /// Follows a kind from now on, if nothing does.
    async fn follow(&self, counted: &Counted) {
        let path = counted.path(None);
        if let Counted::Custom(name, _) = counted {
            return self.customs.follow(&self.context, name, &path, &self.quotas, &self.tell);
        }
        if counted.changes() || !self.followed.lock().insert(path.clone()) {
            return;
        }
        let informer = self.context.informers.metadata::<Item>(&path);
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

    /// All that the quota counts and the API serves.
    async fn counted(&self, hard: &Amounts) -> Result<Vec<Counted>, Error> {
        let mut all: Vec<Counted> = counted(hard).into_iter().map(Counted::Kind).collect();
        for name in hard.keys() {
            let Some((plural, group)) = custom(name) else { continue };
            if let Some(version) = served(&self.context.client, group, plural).await? {
                all.push(Counted::Custom(name.clone(), format!("/apis/{group}/{version}/{plural}")));
            }
        }
        Ok(all)
    }

    /// Counts once, and writes the status if it differs.
    async fn count(&self, key: &Key) -> Result<(), Error> {
        let namespace = key.namespace.as_deref().unwrap_or_default();
        let api = self.context.namespaced::<ResourceQuota>(namespace);
        let Some(mut quota) = api.get_opt(&key.name).await? else { return Ok(()) };
        let limits = quota.spec.as_ref().and_then(|spec| spec.hard.clone());
        let hard = amounts(limits.as_ref());
        let mut found = Vec::new();
        for counted in self.counted(&hard).await? {
            let there = self.find(&counted, namespace).await?;
            found.push((counted, there));
        }
        let whole = serde_json::to_value(&quota).unwrap_or_default();
        let used = recount(&whole, &hard, &found, sampan_reconcile::now());
        let before = quota.status.as_ref().map(|status| amounts(status.used.as_ref()));
        if !is_new(&quota) && before.as_ref() == Some(&used) {
            return Ok(());
        }
        quota.status = Some(ResourceQuotaStatus { hard: limits, used: Some(quantities(&used)) });
        api.replace_status(&key.name, &PostParams::default(), &quota).await?;
        Ok(())
    }

    async fn find(&self, counted: &Counted, namespace: &str) -> Result<Found, Error> {
        self.follow(counted).await;
        let collection = Collection::at(&self.context.client, counted.path(Some(namespace)));
        Ok(match counted.is_only_counted() {
            true => Found::Number(collection.list().await?.len()),
            false => Found::Objects(collection.list_whole().await?),
        })
    }
}

/// The group's preferred version, if it serves such a namespaced resource.
async fn served(client: &kube::Client, group: &str, plural: &str) -> Result<Option<String>, Error> {
    let groups = client.list_api_groups().await?.groups;
    let versions = groups.into_iter().find(|one| one.name == group);
    let Some(version) = versions.and_then(|one| one.preferred_version).map(|one| one.version) else {
        return Ok(None);
    };
    let list = client.list_api_group_resources(&format!("{group}/{version}")).await?;
    let there = list.resources.iter().any(|one| one.name == plural && one.namespaced);
    Ok(there.then_some(version))
}

fn keys_in(quotas: &Informer<ResourceQuota>, namespace: Option<&str>) -> Vec<Key> {
    let Some(namespace) = namespace else { return Vec::new() };
    quotas.keys_by_index(BY_NAMESPACE, namespace)
}

impl Controller for ResourceQuotas {
    type Key = Key;

    fn name(&self) -> &'static str {
        "resourcequota-controller"
    }

    fn queue(&self) -> &'static str {
        "resourcequota_primary"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let this = self.clone();
        sources.on(&self.quotas, move |delta| match (&delta.old, &delta.new) {
            (_, None) => Vec::new(),
            (Some(old), Some(new)) if old.spec == new.spec && !this.has_strangers(new) => {
                if is_by_hand(old, new) {
                    let later = tell_later(delta.key.clone(), this.tell.clone());
                    this.context.tasks.spawn_until_drain("status by hand", later);
                }
                Vec::new()
            }
            (_, Some(_)) => vec![delta.key.clone()],
        });
        self.on(sources, &self.context.pods, "pods");
        self.on(sources, &self.services, "services");
        self.on(sources, &self.claims, "persistentvolumeclaims");
        let this = self.clone();
        sources.on(&self.definitions, move |delta| {
            let name = custom::counted_as(&delta.key.name);
            if delta.new.is_none() {
                this.customs.leave(&name);
            }
            custom::counting(&this.quotas, &name)
        });
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

    #[tokio::test(start_paused = true)]
    async fn a_status_written_by_hand_is_looked_at_later() {
        let quota = |spec: &str, status: &str| -> ResourceQuota {
            let hard = |pods: &str| json!({"pods": pods});
            serde_json::from_value(json!({"metadata": {}, "spec": {"hard": hard(spec)},
                "status": {"hard": hard(status), "used": {"pods": "0"}}}))
            .unwrap()
        };
        assert!(is_by_hand(&quota("1", "1"), &quota("1", "2")));
        assert!(!is_by_hand(&quota("1", "2"), &quota("1", "3")), "is looked at already");
        assert!(!is_by_hand(&quota("1", "2"), &quota("1", "1")), "goes with the spec again");
        assert!(!is_by_hand(&quota("1", "1"), &quota("2", "1")), "is counted at once");
        let (tell, mut told) = unbounded();
        let began = tokio::time::Instant::now();
        tell_later(Key::namespaced("n", "q"), tell).await;
        assert_eq!(futures::StreamExt::next(&mut told).await, Some(vec![Key::namespaced("n", "q")]));
        assert_eq!(began.elapsed(), KEPT);
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
