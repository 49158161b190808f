//! HorizontalPodAutoscaler: as many replicas as the metrics of the pods ask for (upstream's `horizontal.go`).
//!
//! The metrics are read through the API (`apis`), the target through its scale. Metrics change without an event: a pass
//! comes every 15 seconds, and when the specification changes. Metrics of pods, objects and external systems come from
//! the adapter that serves `custom.metrics.k8s.io` or `external.metrics.k8s.io`, if one is registered.

mod apis;
mod behavior;
mod metrics;
mod replicas;
mod sources;
mod status;

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v1::Scale;
use k8s_openapi::api::autoscaling::v2::{HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricStatus};
use kube::Resource;
use kube::api::PostParams;
use kube::core::{DynamicObject, GroupVersionKind, Request};
use kube::discovery::pinned_kind;
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Error, HashMap, Informer, Key, Recorder, Sources, reference};
use std::sync::Arc;

use crate::context::Context;
use crate::words::{name, namespace, resource_version};

use behavior::{Bounded, Memory, Wish, bound};
use metrics::Metrics;
use status::Conditions;

/// How often metrics are looked at.
const PERIOD: Duration = Duration::from_secs(15);

/// The object that is scaled.
struct Scaled {
    path: String,
    name: String,
    scale: Scale,
}

impl Scaled {
    fn replicas(&self) -> i32 {
        self.scale.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(0)
    }

    /// What metrics are asked about.
    fn asked(&self) -> metrics::Scaled<'_> {
        let status = self.scale.status.as_ref();
        metrics::Scaled {
            selector: status.and_then(|status| status.selector.as_deref()).unwrap_or_default(),
            wants: self.replicas(),
            has: status.map_or(0, |status| status.replicas),
        }
    }
}

/// What is to become of the target, and why.
struct Decision {
    replicas: i32,
    reason: String,
    metrics: Option<Vec<MetricStatus>>,
}

/// The controller.
pub(crate) struct Autoscalers {
    context: Context,
    autoscalers: Informer<HorizontalPodAutoscaler>,
    metrics: Metrics,
    memory: Mutex<HashMap<Key, Memory>>,
    recorder: Recorder,
}

impl Autoscalers {
    pub fn new(context: &Context) -> Self {
        Self {
            context: context.clone(),
            autoscalers: context.informers.of(),
            metrics: Metrics::new(context),
            memory: Mutex::default(),
            recorder: context.recorder("horizontal-pod-autoscaler"),
        }
    }

    async fn target(&self, spec: &HorizontalPodAutoscalerSpec, place: &str) -> Result<Scaled, String> {
        let to = &spec.scale_target_ref;
        let version = to.api_version.as_deref().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or(("", version));
        let kind = GroupVersionKind::gvk(group, version, &to.kind);
        let unknown = |_| format!("no matches for kind {:?} in group {group:?}", to.kind);
        let (resource, _) = pinned_kind(&self.context.client, &kind).await.map_err(unknown)?;
        let path = DynamicObject::url_path(&resource, Some(place));
        let request = Request::new(&path).get_subresource("scale", &to.name).map_err(|e| e.to_string())?;
        let scale = self.context.client.request::<Scale>(request).await;
        let scale = scale.map_err(|error| crate::pod_control::message_of(&error))?;
        Ok(Scaled { path, name: to.name.clone(), scale })
    }

    /// The replicas that the target is to have; `None` if that cannot be said now.
    async fn decide(
        &self,
        hpa: &HorizontalPodAutoscaler,
        key: &Key,
        target: &Scaled,
        conditions: &mut Conditions,
    ) -> (Option<Decision>, Vec<MetricStatus>) {
        let spec = hpa.spec.clone();
        let (current, min, max) = (target.replicas(), spec.min_replicas.unwrap_or(1), spec.max_replicas);
        let simple = |replicas: i32, reason: &str| {
            (Some(Decision { replicas, reason: reason.to_owned(), metrics: None }), Vec::new())
        };
        if current == 0 && min != 0 {
            let why = "scaling is disabled since the replica count of the target is zero";
            conditions.set("ScalingActive", false, "ScalingDisabled", why);
            return simple(0, "");
        }
        if current > max {
            return simple(max, "Current number of replicas above Spec.MaxReplicas");
        }
        if current < min {
            return simple(min, "Current number of replicas below Spec.MinReplicas");
        }
        let read = self.metrics.read(hpa, key, target.asked(), conditions.now).await;
        let about = reference(hpa);
        for (reason, message) in &read.events {
            self.recorder.warning(&about, reason, message.clone());
        }
        let (active, reason, message) = &read.active;
        conditions.set("ScalingActive", *active, reason, message);
        let (desired, metric) = match read.outcome {
            Ok(outcome) => outcome,
            Err(why) => {
                self.recorder.warning(&about, "FailedComputeMetricsReplicas", why);
                return (None, read.statuses);
            }
        };
        let bounded = self.bounded(key, &spec, Wish { current, desired, min, max, now: conditions.now });
        conditions.set("AbleToScale", true, bounded.able.0, bounded.able.1);
        conditions.set("ScalingLimited", bounded.limited.0, bounded.limited.1.0, bounded.limited.1.1);
        let reason = match desired.cmp(&current) {
            std::cmp::Ordering::Greater => format!("{metric} above target"),
            std::cmp::Ordering::Less => "All metrics below target".to_owned(),
            std::cmp::Ordering::Equal => String::new(),
        };
        let metrics = Some(read.statuses);
        (Some(Decision { replicas: bounded.replicas, reason, metrics }), Vec::new())
    }

    fn bounded(&self, key: &Key, spec: &HorizontalPodAutoscalerSpec, wish: Wish) -> Bounded {
        let mut all = self.memory.lock();
        let memory = all.entry(key.clone()).or_default();
        if memory.wishes.is_empty() {
            // what there is was wished by somebody: a start is no reason to scale down at once
            memory.wish(wish.now, wish.current, spec.behavior.as_ref());
        }
        let bounded = bound(wish, spec.behavior.as_ref(), memory);
        memory.wish(wish.now, wish.desired, spec.behavior.as_ref());
        bounded
    }

    /// Writes the scale; `Err` is what the API says.
    async fn rescale(&self, target: &Scaled, replicas: i32) -> Result<(), String> {
        let mut scale = target.scale.clone();
        scale.spec.get_or_insert_default().replicas = Some(replicas);
        let body = serde_json::to_vec(&scale).map_err(|error| error.to_string())?;
        let request = Request::new(&target.path)
            .replace_subresource("scale", &target.name, &PostParams::default(), body)
            .map_err(|error| error.to_string())?;
        let written = self.context.client.request::<Scale>(request).await;
        written.map(drop).map_err(|error| crate::pod_control::message_of(&error))
    }

    /// Scales if that is decided; returns the replicas that the status tells of and whether it was done.
    async fn act(
        &self,
        hpa: &HorizontalPodAutoscaler,
        key: &Key,
        target: &Scaled,
        decision: &Decision,
        conditions: &mut Conditions,
    ) -> (i32, bool) {
        let (current, wanted, about) = (target.replicas(), decision.replicas, reference(hpa));
        if wanted == current {
            return (current, false);
        }
        let reason = &decision.reason;
        if let Err(why) = self.rescale(target, wanted).await {
            let message = format!("New size: {wanted}; reason: {reason}; error: {why}");
            self.recorder.warning(&about, "FailedRescale", message);
            let why = format!("the HPA controller was unable to update the target scale: {why}");
            conditions.set("AbleToScale", false, "FailedUpdateScale", &why);
            return (current, false);
        }
        let why = format!("the HPA controller was able to update the target scale to {wanted}");
        conditions.set("AbleToScale", true, "SucceededRescale", &why);
        self.recorder.normal(&about, "SuccessfulRescale", format!("New size: {wanted}; reason: {reason}"));
        self.memory.lock().entry(key.clone()).or_default().scaled(conditions.now, current, wanted);
        (wanted, true)
    }

    async fn pass(&self, key: &Key, hpa: &HorizontalPodAutoscaler, now: Timestamp) -> Result<(), Error> {
        let old = hpa.status.clone().unwrap_or_default();
        let mut conditions = Conditions::new(old.conditions.clone().unwrap_or_default(), now);
        let mut status = old.clone();
        status.observed_generation = hpa.metadata.generation;
        match self.target(&hpa.spec.clone(), key.namespace()).await {
            Err(why) => {
                self.recorder.warning(&reference(hpa), "FailedGetScale", why.clone());
                let why = format!("the HPA controller was unable to get the target's current scale: {why}");
                conditions.set("AbleToScale", false, "FailedGetScale", &why);
            }
            Ok(target) => {
                let why = "the HPA controller was able to get the target's current scale";
                conditions.set("AbleToScale", true, "SucceededGetScale", why);
                let (decision, seen) = self.decide(hpa, key, &target, &mut conditions).await;
                status.current_replicas = Some(target.replicas());
                match decision {
                    None => status.current_metrics = Some(seen).filter(|seen| !seen.is_empty()),
                    Some(decision) => {
                        let (desired, scaled) = self.act(hpa, key, &target, &decision, &mut conditions).await;
                        status.desired_replicas = desired;
                        status.current_metrics = decision.metrics.filter(|seen| !seen.is_empty());
                        if scaled {
                            status.last_scale_time =
                                Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now));
                        }
                    }
                }
            }
        }
        status.conditions = Some(conditions.list);
        if status == old {
            return Ok(());
        }
        let mut object = hpa.clone();
        object.status = Some(status);
        let api = self.context.namespaced::<HorizontalPodAutoscaler>(namespace(&hpa.metadata));
        let written = api.replace_status(name(&hpa.metadata), &PostParams::default(), &object).await?;
        self.autoscalers.reached(resource_version(&written.metadata)).await;
        Ok(())
    }
}

impl Controller for Autoscalers {
    type Key = Key;

    fn name(&self) -> &'static str {
        "horizontal-pod-autoscaler-controller"
    }

    fn queue(&self) -> &'static str {
        "horizontalpodautoscaler"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        sources.on(&self.autoscalers, |delta| {
            let generation = |hpa: &Option<Arc<HorizontalPodAutoscaler>>| {
                hpa.as_ref().map(|hpa| (hpa.metadata.uid.clone(), hpa.metadata.generation))
            };
            // what this controller writes itself is no reason to look again
            match generation(&delta.old) == generation(&delta.new) {
                true => Vec::new(),
                false => vec![delta.key.clone()],
            }
        });
        sources.needs(&self.context.pods);
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(hpa) = self.autoscalers.get(key).filter(|hpa| hpa.metadata.deletion_timestamp.is_none())
        else {
            self.memory.lock().remove(key);
            self.metrics.forget(key);
            return Ok(None);
        };
        self.pass(key, &hpa, sampan_reconcile::now()).await?;
        Ok(Some(PERIOD))
    }
}
