//! Reads the metrics of an autoscaler and says what they ask for together (upstream's `computeReplicasForMetrics`).

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use parking_lot::Mutex;
use sampan_api::quantity::Quantity;
use sampan_api::selector::Selector;
use sampan_reconcile::Key;

use super::apis::Apis;
use super::replicas::Tolerance;
use super::sources::{Asked, Invalid, Valid, evaluate};
use crate::context::{BY_NAMESPACE, Context};

/// What is tolerated where nothing else is said.
const TOLERANCE: f64 = 0.1;

/// What all metrics of an autoscaler say.
pub(super) struct Read {
    /// One for each metric of the specification, in its place; empty for one that could not be read.
    pub statuses: Vec<MetricStatus>,
    /// Warnings, as reason and message.
    pub events: Vec<(&'static str, String)>,
    /// The condition ScalingActive.
    pub active: (bool, String, String),
    /// The replicas and the metric that asks for them, or why neither can be said.
    pub outcome: Result<(i32, String), String>,
}

impl Read {
    /// Nothing can be read: `reason` of event and condition, what the event says, what the condition says.
    fn refused(reason: (&'static str, &str), event: String, condition: String) -> Self {
        Self {
            statuses: Vec::new(),
            events: vec![(reason.0, event.clone())],
            active: (false, reason.1.to_owned(), condition),
            outcome: Err(event),
        }
    }
}

/// The scale of what is scaled.
#[derive(Clone, Copy)]
pub(super) struct Scaled<'a> {
    pub selector: &'a str,
    /// Replicas that are asked for.
    pub wants: i32,
    /// Replicas that there are.
    pub has: i32,
}

/// Reads through the API.
pub(super) struct Metrics {
    context: Context,
    apis: Apis,
    /// What each autoscaler selects, as it was last seen.
    selectors: Mutex<BTreeMap<Key, Selector>>,
}

fn tolerance(spec: &HorizontalPodAutoscalerSpec) -> Tolerance {
    let of = |rules: Option<&HPAScalingRules>| {
        let text = rules.and_then(|rules| rules.tolerance.as_ref());
        text.and_then(|text| Quantity::parse(&text.0).ok()).map_or(TOLERANCE, |quantity| quantity.as_f64())
    };
    let behavior = spec.behavior.as_ref();
    Tolerance {
        down: of(behavior.and_then(|b| b.scale_down.as_ref())),
        up: of(behavior.and_then(|b| b.scale_up.as_ref())),
    }
}

/// Puts the metrics together: the one that asks for most decides, but nothing shrinks while one cannot be read.
fn combine(all: Vec<Result<Valid, Invalid>>, current: i32) -> Read {
    let total = all.len();
    let (mut statuses, mut best): (Vec<MetricStatus>, Option<(i32, String)>) = (Vec::new(), None);
    let mut invalid = Vec::new();
    for metric in all {
        match metric {
            Err(why) => {
                statuses.push(MetricStatus::default());
                invalid.push(why);
            }
            Ok((name, replicas, status)) => {
                statuses.push(status);
                if best.as_ref().is_none_or(|(most, _)| replicas > *most) {
                    best = Some((replicas, name));
                }
            }
        }
    }
    let events = invalid.iter().map(|invalid| (invalid.reason, invalid.why.clone())).collect();
    let trusted = best.filter(|(replicas, _)| invalid.is_empty() || *replicas >= current);
    match (trusted, invalid.first()) {
        (Some((replicas, name)), _) => {
            let why = format!("the HPA was able to successfully calculate a replica count from {name}");
            let active = (true, "ValidMetricFound".to_owned(), why);
            Read { statuses, events, active, outcome: Ok((replicas, name)) }
        }
        (None, first) => {
            let first = first.cloned().unwrap_or(Invalid {
                reason: "InvalidMetricSourceType",
                why: "no metrics".to_owned(),
                prefix: String::new(),
            });
            let why = format!("the HPA was unable to compute the replica count: {}", first.why);
            let summary = format!(
                "invalid metrics ({} invalid out of {total}), first error is: {}{}",
                invalid.len(),
                first.prefix,
                first.why
            );
            Read { statuses, events, active: (false, first.reason.to_owned(), why), outcome: Err(summary) }
        }
    }
}

/// The autoscalers that select one of the pods, in order.
fn selecting(selectors: &BTreeMap<Key, Selector>, place: &str, pods: &[Arc<Pod>]) -> Vec<Key> {
    let selects = |selector: &Selector| pods.iter().any(|pod| matches(selector, pod));
    let here = selectors.iter().filter(|(key, selector)| key.namespace() == place && selects(selector));
    here.map(|(key, _)| key.clone()).collect()
}

fn matches(selector: &Selector, pod: &Pod) -> bool {
    match &pod.metadata.labels {
        Some(labels) => selector.matches(labels),
        None => selector.matches(&BTreeMap::<String, String>::new()),
    }
}

impl Metrics {
    pub fn new(context: &Context) -> Self {
        context
            .pods
            .add_index(BY_NAMESPACE, |pod| pod.metadata.namespace.clone().into_iter().collect::<Vec<_>>());
        Self { context: context.clone(), apis: Apis::new(&context.client), selectors: Mutex::default() }
    }

    /// An autoscaler is gone.
    pub fn forget(&self, key: &Key) {
        self.selectors.lock().remove(key);
    }

    pub async fn read(
        &self,
        hpa: &HorizontalPodAutoscaler,
        key: &Key,
        scaled: Scaled<'_>,
        now: Timestamp,
    ) -> Read {
        let pods = match self.pods(key, scaled.selector) {
            Ok(pods) => pods,
            Err(refused) => return *refused,
        };
        let spec = &hpa.spec;
        let asked = Asked { place: key.namespace(), pods: &pods, scaled, tolerance: tolerance(spec), now };
        let mut all = Vec::new();
        for metric in spec.metrics.iter().flatten() {
            all.push(evaluate(&self.apis, metric, &asked).await);
        }
        combine(all, scaled.wants)
    }

    /// The pods that are scaled (upstream's `validateAndParseSelector`): by nobody else.
    fn pods(&self, key: &Key, text: &str) -> Result<Vec<Arc<Pod>>, Box<Read>> {
        if text.is_empty() {
            let missing = "the HPA target's scale is missing a selector".to_owned();
            let event = "selector is required".to_owned();
            return Err(Box::new(Read::refused(("SelectorRequired", "InvalidSelector"), event, missing)));
        }
        let selector = Selector::parse(text).map_err(|error| {
            let why =
                format!("couldn't convert selector into a corresponding internal selector object: {error}");
            Box::new(Read::refused(("InvalidSelector", "InvalidSelector"), why.clone(), why))
        })?;
        let mut pods = self.context.pods.by_index(BY_NAMESPACE, key.namespace());
        pods.retain(|pod| matches(&selector, pod));
        let mut selectors = self.selectors.lock();
        selectors.insert(key.clone(), selector);
        let keys = selecting(&selectors, key.namespace(), &pods);
        if keys.len() > 1 {
            let keys: Vec<String> = keys.iter().map(Key::to_string).collect();
            let why =
                format!("pods by selector {text} are controlled by multiple HPAs: [{}]", keys.join(" "));
            return Err(Box::new(Read::refused(
                ("AmbiguousSelector", "AmbiguousSelector"),
                why.clone(),
                why,
            )));
        }
        Ok(pods)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn valid(name: &str, replicas: i32) -> Result<Valid, Invalid> {
        Ok((name.to_owned(), replicas, MetricStatus { type_: name.to_owned(), ..MetricStatus::default() }))
    }

    fn invalid() -> Result<Valid, Invalid> {
        Err(Invalid {
            reason: "FailedGetResourceMetric",
            why: "why".into(),
            prefix: "failed to get cpu: ".into(),
        })
    }

    #[test]
    fn the_metric_that_asks_for_most_decides() {
        let summary = |bad: usize, all: usize| {
            Err(format!(
                "invalid metrics ({bad} invalid out of {all}), first error is: failed to get cpu: why"
            ))
        };
        let cases = [
            (vec![valid("cpu", 3), valid("memory", 5)], 4, Ok((5, "memory".to_owned()))),
            (vec![valid("cpu", 5), invalid()], 4, Ok((5, "cpu".to_owned()))),
            (vec![valid("cpu", 3), invalid()], 4, summary(1, 2)),
            (vec![invalid(), invalid()], 4, summary(2, 2)),
        ];
        for (metrics, current, outcome) in cases {
            let read = combine(metrics, current);
            let reason = if outcome.is_ok() { "ValidMetricFound" } else { "FailedGetResourceMetric" };
            assert_eq!((read.outcome, read.active.1.as_str()), (outcome, reason));
        }
    }

    #[test]
    fn statuses_keep_the_places_of_their_metrics() {
        let read = combine(vec![invalid(), valid("cpu", 9)], 4);
        let kinds: Vec<&str> = read.statuses.iter().map(|status| status.type_.as_str()).collect();
        assert_eq!(kinds, ["", "cpu"]);
        assert_eq!(read.outcome, Ok((9, "cpu".to_owned())));
        assert_eq!(read.events, [("FailedGetResourceMetric", "why".to_owned())]);
    }

    #[test]
    fn pods_that_two_autoscalers_select() {
        let pod = |labels: serde_json::Value| {
            Arc::new(serde_json::from_value::<Pod>(json!({"metadata": {"labels": labels}})).unwrap())
        };
        let pods = [pod(json!({"app": "web"})), pod(json!({"app": "web", "track": "canary"}))];
        let entry = |place: &str, name: &str, text: &str| {
            (Key::namespaced(place, name), Selector::parse(text).unwrap())
        };
        let selectors = BTreeMap::from([
            entry("n", "b", "app=web"),
            entry("n", "a", "track=canary"),
            entry("n", "c", "app=db"),
            entry("m", "d", "app=web"),
        ]);
        let keys = selecting(&selectors, "n", &pods);
        assert_eq!(keys, [Key::namespaced("n", "a"), Key::namespaced("n", "b")]);
        assert_eq!(selecting(&selectors, "n", &pods[..1]), [Key::namespaced("n", "b")]);
    }

    #[test]
    fn tolerances() {
        let spec = json!({
            "maxReplicas": 3, "scaleTargetRef": {"kind": "D", "name": "d"}, "behavior": {"scaleUp": {"tolerance": "50m"}}});
        let tolerance = tolerance(&serde_json::from_value(spec).unwrap());
        assert_eq!(tolerance, Tolerance { down: 0.1, up: 0.05 });
    }
}
