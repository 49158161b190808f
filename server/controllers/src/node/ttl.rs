//! Node TTL controller (upstream's `ttl_controller.go`): tells kubelets by an annotation for how many seconds they may
//! keep Secrets and ConfigMaps, by the cluster's size.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use sampan_reconcile::{Controller, Error, Informer, Key, Sources};
use serde_json::json;

use crate::context::Context;
use crate::words::annotation;

const TTL: &str = "node.alpha.kubernetes.io/ttl";

/// One step: which sizes stay in it, and what it allows.
struct Boundary {
    min: usize,
    max: usize,
    ttl_seconds: u32,
}

/// The steps overlap, so that a node that comes and goes changes nothing.
const BOUNDARIES: [Boundary; 5] = [
    Boundary { min: 0, max: 100, ttl_seconds: 0 },
    Boundary { min: 90, max: 500, ttl_seconds: 15 },
    Boundary { min: 450, max: 1000, ttl_seconds: 30 },
    Boundary { min: 900, max: 2000, ttl_seconds: 60 },
    Boundary { min: 1800, max: usize::MAX, ttl_seconds: 300 },
];

/// The step of a cluster of `nodes` that was in step `from`.
fn step(from: usize, nodes: usize) -> usize {
    match &BOUNDARIES[from] {
        boundary if nodes > boundary.max => step(from + 1, nodes),
        boundary if nodes < boundary.min => step(from - 1, nodes),
        _ => from,
    }
}

/// Whether the annotation says something else. A number may be written in any way.
fn differs(annotation: Option<&str>, ttl_seconds: u32) -> bool {
    annotation.and_then(|text| text.parse::<i64>().ok()) != Some(i64::from(ttl_seconds))
}

/// The controller.
pub(crate) struct NodeTtl {
    context: Context,
    nodes: Informer<Node>,
    step: AtomicUsize,
}

impl NodeTtl {
    pub fn new(context: &Context) -> Self {
        Self { context: context.clone(), nodes: context.informers.of(), step: AtomicUsize::new(0) }
    }

    /// Takes the cluster's size; gives the step, and whether it is another one than before.
    fn sized(&self) -> (usize, bool) {
        let (before, size) = (self.step.load(Ordering::Relaxed), self.nodes.len());
        let now = step(before, size);
        self.step.store(now, Ordering::Relaxed);
        (now, now != before)
    }
}

impl Controller for NodeTtl {
    type Key = Key;

    fn name(&self) -> &'static str {
        "ttl-controller"
    }

    fn queue(&self) -> &'static str {
        "ttlcontroller"
    }

    fn sources(self: &Arc<Self>, sources: &mut Sources<Key>) {
        let this = self.clone();
        sources.on(&self.nodes, move |delta| {
            let (now, changed) = this.sized();
            if changed {
                // upstream waits for the next heartbeat of each
                return this
                    .nodes
                    .list()
                    .iter()
                    .filter_map(|node| node.metadata.name.as_deref())
                    .map(Key::cluster)
                    .collect();
            }
            let told = delta.new.as_ref().map(|node| annotation(&node.metadata, TTL));
            match told {
                Some(told) if differs(told, BOUNDARIES[now].ttl_seconds) => vec![delta.key.clone()],
                _ => Vec::new(),
            }
        });
    }

    async fn reconcile(&self, key: &Key) -> Result<Option<Duration>, Error> {
        let Some(node) = self.nodes.get(key) else { return Ok(None) };
        let ttl_seconds = BOUNDARIES[self.step.load(Ordering::Relaxed)].ttl_seconds;
        if differs(annotation(&node.metadata, TTL), ttl_seconds) {
            let body = json!({"metadata": {"annotations": {TTL: ttl_seconds.to_string()}}});
            let api = self.context.cluster::<Node>();
            api.patch(&key.name, &PatchParams::default(), &Patch::Merge(&body)).await?;
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_overlap() {
        let cases = [
            (0, 1, 0),
            (0, 100, 0),
            (0, 101, 1),
            (1, 95, 1),
            (1, 89, 0),
            (1, 500, 1),
            (1, 501, 2),
            (2, 450, 2),
            (2, 449, 1),
            (0, 5000, 4),
            (4, 1800, 4),
            (4, 1799, 3),
            (4, 0, 0),
        ];
        for (from, nodes, expected) in cases {
            assert_eq!(step(from, nodes), expected, "{nodes} nodes from step {from}");
        }
        assert_eq!(BOUNDARIES.map(|boundary| boundary.ttl_seconds), [0, 15, 30, 60, 300]);
    }

    #[test]
    fn the_annotation_is_read_as_a_number() {
        let cases = [
            (None, 0, true),
            (Some("0"), 0, false),
            (Some("00"), 0, false),
            (Some("15"), 0, true),
            (Some("x"), 0, true),
        ];
        for (annotation, ttl, expected) in cases {
            assert_eq!(differs(annotation, ttl), expected, "{annotation:?}");
        }
    }
}
