//! Taint eviction (upstream's `taint_eviction.go`): pods leave a node with a NoExecute taint that they do not
//! tolerate, or no longer.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, Pod, Taint, Toleration};
use kube::api::{Patch, PatchParams};
use parking_lot::Mutex;
use sampan_reconcile::{Controller, Error, HashMap, Informer, Key, Object, Recorder, Sources, reference};
use serde_json::json;

use crate::context::{BY_NODE, Context};
use crate::pod_control::{delete_params, disruption_target};
use crate::words::{name, namespace, uid};

/// How long a pod may stay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stay {
    Forever,
    For(Duration),
    Over,
}

pub(crate) fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let set = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let effect = set(&toleration.effect).is_none_or(|effect| effect == taint.effect);
    let key = set(&toleration.key).is_none_or(|key| key == taint.key);
    let value = match toleration.operator.as_deref().unwrap_or("Equal") {
        "Exists" => true,
        "Equal" | "" => toleration.value.as_deref().unwrap_or("") == taint.value.as_deref().unwrap_or(""),
        _ => false,
    };
    effect && key && value
}

/// Decides by taints and tolerations: time counts from when the taint was added. Most who add one do not say when: then from
/// when the pod was `seen` below it first.
pub(crate) fn stay(taints: &[Taint], tolerations: &[Toleration], seen: Timestamp, now: Timestamp) -> Stay {
    let mut end: Option<Timestamp> = None;
    for taint in taints.iter().filter(|taint| taint.effect == "NoExecute") {
        let fitting: Vec<_> = tolerations.iter().filter(|toleration| tolerates(toleration, taint)).collect();
        if fitting.is_empty() {
            return Stay::Over;
        }
        let Some(seconds) = fitting.iter().filter_map(|toleration| toleration.toleration_seconds).min()
        else {
            continue;
        };
        let since = taint.time_added.as_ref().map_or(seen, |time| time.0);
        let until = since + Duration::from_secs(seconds.max(0).unsigned_abs());
        end = Some(end.map_or(until, |end| end.min(until)));
    }
    match end {
        None => Stay::Forever,
        Some(end) if end <= now => Stay::Over,
        Some(end) => Stay::For(end.duration_since(now).unsigned_abs()),
    }
}

fn no_execute(node: &Node) -> Vec<&Taint> {
    let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
    taints.filter(|taint| taint.effect == "NoExecute").collect()
}

/// The controller.
pub(crate) struct TaintEviction {
    context: Context,
    nodes: Informer<Node>,
    recorder: Recorder,
    /// Pods whose time on a tainted node is limited, and since when it has been.
    limited: Mutex<HashMap<Key, Timestamp>>,
}

impl TaintEviction {
    pub fn new(context: &Context) -> Self {
        let recorder = context.recorder("taint-eviction-controller");
        Self { context: context.clone(), nodes: context.informers.of(), recorder, limited: Mutex::default() }
    }

    async fn evict(&self, pod: &Pod) -> Result<(), Error> {
        let message = format!("Marking for deletion Pod {}", pod.key());
        self.recorder.normal(&reference(pod), "TaintManagerEviction", message);
        let api = self.context.namespaced::<Pod>(namespace(&pod.metadata));
        let why = ("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint");
        let condition = disruption_target(pod, Some(why), sampan_reconcile::now());
        let body = json!({"metadata": {"uid": uid(&pod.metadata)}, "status": {"conditions": [condition]}});
        match api.patch_status(name(&pod.metadata), &PatchParams::default(), &Patch::Strategic(body)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            result => drop(result?),
        }
        match api.delete(name(&pod.metadata), &delete_params(&pod.metadata)).await {
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
            result => result.map(drop).map_err(Into::into),
        }
    }
}

impl Controller for TaintEviction {
    type Key = Key;

    fn name(&self) -> &'static str {
        "taint-eviction-controller"
    }

    fn queue(&self) -> &'static str {
        "noexec_taint_pod"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let this = self.clone();
        sources.on(&self.nodes, move |delta| {
            let taints = |node: &Option<Arc<Node>>| {
                node.iter().flat_map(|node| no_execute(node)).cloned().collect::<Vec<_>>()
            };
            if taints(&delta.old) == taints(&delta.new) {
                return Vec::new();
            }
            this.context.pods.keys_by_index(BY_NODE, &delta.key.name)
        });
        let this = self.clone();
        sources.on(&self.context.pods, move |delta| {
            if delta.new.is_none() {
                this.limited.lock().remove(&delta.key);
            }
            let node = delta.new.as_ref().and_then(|pod| pod.spec.as_ref()?.node_name.clone());
            let node = node.and_then(|node| this.nodes.get(&Key::cluster(&node)));
            let tainted = node.is_some_and(|node| !no_execute(&node).is_empty());
            if tainted { vec![delta.key.clone()] } else { Vec::new() }
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(pod) = self.context.pods.get(key).filter(|p| p.metadata.deletion_timestamp.is_none()) else {
            return Ok(None);
        };
        let Some(spec) = &pod.spec else { return Ok(None) };
        let node = spec.node_name.as_ref().and_then(|node| self.nodes.get(&Key::cluster(node)));
        let taints = node.and_then(|node| node.spec.as_ref()?.taints.clone()).unwrap_or_default();
        let (now, tolerations) = (sampan_reconcile::now(), spec.tolerations.as_deref().unwrap_or_default());
        let seen = self.limited.lock().get(key).copied();
        match stay(&taints, tolerations, seen.unwrap_or(now), now) {
            Stay::Forever => {
                if self.limited.lock().remove(key).is_some() {
                    let message = format!("Cancelling deletion of Pod {key}");
                    self.recorder.normal(&reference(&*pod), "TaintManagerEviction", message);
                }
                Ok(None)
            }
            Stay::For(delay) => {
                self.limited.lock().entry(key.clone()).or_insert(now);
                Ok(Some(delay))
            }
            Stay::Over => {
                self.evict(&pod).await?;
                self.limited.lock().remove(key);
                Ok(None)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stays() {
        let now: Timestamp = "2026-01-01T00:05:00Z".parse().unwrap();
        let taint =
            json!({"key": "k", "value": "v", "effect": "NoExecute", "timeAdded": "2026-01-01T00:00:00Z"});
        let other = json!({"key": "soft", "effect": "NoSchedule"});
        let cases = [
            (vec![&other], json!([]), Stay::Forever),
            (vec![&taint], json!([]), Stay::Over),
            (vec![&taint], json!([{"operator": "Exists"}]), Stay::Forever),
            (
                vec![&taint],
                json!([{"key": "k", "operator": "Equal", "value": "v", "effect": "NoExecute"}]),
                Stay::Forever,
            ),
            (vec![&taint], json!([{"key": "k", "value": "w"}]), Stay::Over),
            (
                vec![&taint],
                json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 310}]),
                Stay::For(Duration::from_secs(10)),
            ),
            (vec![&taint], json!([{"key": "k", "operator": "Exists", "tolerationSeconds": 300}]), Stay::Over),
        ];
        for (taints, tolerations, expected) in cases {
            let taints: Vec<Taint> =
                taints.into_iter().map(|t| serde_json::from_value(t.clone()).unwrap()).collect();
            let typed: Vec<Toleration> = serde_json::from_value(tolerations.clone()).unwrap();
            assert_eq!(stay(&taints, &typed, now, now), expected, "{tolerations}");
        }
    }

    #[test]
    fn time_counts_from_when_a_taint_that_says_no_time_was_seen() {
        let taint = serde_json::from_value(json!({"key": "k", "effect": "NoExecute"})).unwrap();
        let toleration =
            serde_json::from_value(json!({"key": "k", "operator": "Exists", "tolerationSeconds": 5}))
                .unwrap();
        let (taints, tolerations) = ([taint], [toleration]);
        let seen: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let after = |seconds| stay(&taints, &tolerations, seen, seen + Duration::from_secs(seconds));
        assert_eq!(after(0), Stay::For(Duration::from_secs(5)));
        assert_eq!(after(3), Stay::For(Duration::from_secs(2)));
        assert_eq!(after(5), Stay::Over);
    }
}
