//! What one metric asks for, by its source (upstream's `computeReplicasForMetric` and its `computeStatusFor…Metric`):
//! the replicas, what events call it, its status; or why that cannot be said.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::autoscaling::v2::{
    ContainerResourceMetricStatus, ExternalMetricSource, ExternalMetricStatus, MetricSpec, MetricStatus,
    MetricTarget, MetricValueStatus, ObjectMetricSource, ObjectMetricStatus, PodsMetricSource,
    PodsMetricStatus, ResourceMetricStatus,
};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as Text;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use sampan_api::quantity::{Format, Quantity};

use super::apis::Apis;
use super::metrics::Scaled;
use super::replicas::{Question, Samples, Target, Tolerance, by_share, by_value, propose};

/// One metric that could not be read.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Invalid {
    pub reason: &'static str,
    /// What the event and the condition say.
    pub why: String,
    /// What the summary says before it.
    pub prefix: String,
}

/// A metric's name in events, what it asks for, and its status.
pub(super) type Valid = (String, i32, MetricStatus);

/// About which pods is asked.
pub(super) struct Asked<'a> {
    pub place: &'a str,
    pub pods: &'a [Arc<Pod>],
    pub scaled: Scaled<'a>,
    pub tolerance: Tolerance,
    pub now: Timestamp,
}

/// A resource metric, of whole pods or of one container of each.
struct Wanted<'a> {
    resource: &'a str,
    container: Option<&'a str>,
    target: &'a MetricTarget,
}

/// Reads one metric and says what it asks for.
pub(super) async fn evaluate(apis: &Apis, metric: &MetricSpec, asked: &Asked<'_>) -> Result<Valid, Invalid> {
    if let Some(source) = &metric.resource {
        let wanted = Wanted { resource: &source.name, container: None, target: &source.target };
        let prefix = format!("failed to get {} resource metric value: ", source.name);
        let invalid = |why| Invalid { reason: "FailedGetResourceMetric", why, prefix };
        return resource(apis, &wanted, asked).await.map_err(invalid);
    }
    if let Some(source) = &metric.container_resource {
        let wanted =
            Wanted { resource: &source.name, container: Some(&source.container), target: &source.target };
        let prefix = format!("failed to get {} container metric value: ", source.container);
        let invalid = |why| Invalid { reason: "FailedGetContainerResourceMetric", why, prefix };
        return resource(apis, &wanted, asked).await.map_err(invalid);
    }
    if let Some(source) = &metric.pods {
        let prefix = "failed to get pods metric value: ".to_owned();
        let invalid = |why| Invalid { reason: "FailedGetPodsMetric", why, prefix };
        return pods(apis, source, asked).await.map_err(invalid);
    }
    if let Some(source) = &metric.object {
        return object(apis, source, asked).await;
    }
    if let Some(source) = &metric.external {
        return external(apis, source, asked).await;
    }
    let why = format!("unknown metric source type {:?}", metric.type_);
    Err(Invalid { reason: "InvalidMetricSourceType", why, prefix: String::new() })
}

async fn resource(apis: &Apis, wanted: &Wanted<'_>, asked: &Asked<'_>) -> Result<Valid, String> {
    let resource = wanted.resource;
    let target = target_of(wanted.target).ok_or_else(|| {
        "invalid resource metric source: neither an average utilization target nor an average value (usage) target was set".to_owned()
    })?;
    let (what, named) = match (target, wanted.container) {
        (Target::Average(_), _) => ("usage", format!("{resource} resource")),
        (Target::Utilization(_), None) => {
            ("utilization", format!("{resource} resource utilization (percentage of request)"))
        }
        (Target::Utilization(_), Some(_)) => {
            ("utilization", format!("{resource} container resource utilization (percentage of request)"))
        }
    };
    let failed = |why: String| format!("failed to get {resource} {what}: {why}");
    let samples = apis.resource(asked.place, asked.scaled.selector, resource, wanted.container).await;
    let samples =
        samples.map_err(|why| failed(format!("unable to get metrics for resource {resource}: {why}")))?;
    let proposal = propose(&asked.question(&samples, resource, wanted.container, target)).map_err(failed)?;
    let current = MetricValueStatus {
        average_utilization: proposal.utilization,
        average_value: Some(shown(proposal.average_milli)),
        value: None,
    };
    Ok((named, proposal.replicas, resource_status(wanted, current)))
}

fn resource_status(wanted: &Wanted<'_>, current: MetricValueStatus) -> MetricStatus {
    let name = wanted.resource.to_owned();
    match wanted.container {
        None => MetricStatus {
            type_: "Resource".to_owned(),
            resource: Some(ResourceMetricStatus { current, name }),
            ..MetricStatus::default()
        },
        Some(container) => MetricStatus {
            type_: "ContainerResource".to_owned(),
            container_resource: Some(ContainerResourceMetricStatus {
                container: container.to_owned(),
                current,
                name,
            }),
            ..MetricStatus::default()
        },
    }
}

async fn pods(apis: &Apis, source: &PodsMetricSource, asked: &Asked<'_>) -> Result<Valid, String> {
    let name = &source.metric.name;
    let samples = apis.pods(asked.place, asked.scaled.selector, &source.metric).await;
    let samples = samples.map_err(|why| format!("unable to get metric {name}: {why}"))?;
    let target = Target::Average(milli(source.target.average_value.as_ref()).unwrap_or_default());
    let proposal = propose(&asked.question(&samples, "", None, target))?;
    let status = MetricStatus {
        type_: "Pods".to_owned(),
        pods: Some(PodsMetricStatus {
            metric: source.metric.clone(),
            current: MetricValueStatus {
                average_value: Some(shown(proposal.average_milli)),
                ..MetricValueStatus::default()
            },
        }),
        ..MetricStatus::default()
    };
    Ok((format!("pods metric {name}"), proposal.replicas, status))
}

async fn object(apis: &Apis, source: &ObjectMetricSource, asked: &Asked<'_>) -> Result<Valid, Invalid> {
    let (name, about) = (&source.metric.name, &source.described_object);
    let invalid = |why: String, before: &str| Invalid {
        reason: "FailedGetObjectMetric",
        why,
        prefix: format!("failed to get object metric value: {before}"),
    };
    let goal = goal_of(&source.target, true).ok_or_else(|| {
        let why = "invalid object metric source: neither a value target nor an average value target was set";
        invalid(why.to_owned(), "")
    })?;
    let before = match goal {
        Goal::Value(_) => String::new(),
        Goal::Share(_) => format!("failed to get {name} object metric: "),
    };
    let used = apis.object(asked.place, about, &source.metric).await;
    // upstream gives the four words in another order than its text has them
    let used = used.map_err(|why| {
        let (kind, place, named) = (&about.kind, asked.place, &about.name);
        invalid(format!("unable to get metric {name}: {kind} on {place} {named}/{why}"), &before)
    })?;
    let (replicas, current) = asked.reach(goal, used).map_err(|why| invalid(why, &before))?;
    let (named, described) = match goal {
        Goal::Value(_) => (format!("{} metric {name}", about.kind), about.clone()),
        // upstream names and describes what pods share as if it were external
        Goal::Share(_) => (external_name(name, source.metric.selector.as_ref()), Default::default()),
    };
    let status = MetricStatus {
        type_: "Object".to_owned(),
        object: Some(ObjectMetricStatus {
            current,
            described_object: described,
            metric: source.metric.clone(),
        }),
        ..MetricStatus::default()
    };
    Ok((named, replicas, status))
}

async fn external(apis: &Apis, source: &ExternalMetricSource, asked: &Asked<'_>) -> Result<Valid, Invalid> {
    let (name, selector) = (&source.metric.name, source.metric.selector.as_ref());
    let invalid = |why: String, before: &str| Invalid {
        reason: "FailedGetExternalMetric",
        why,
        prefix: format!("failed to get {name} external metric value: {before}"),
    };
    let goal = goal_of(&source.target, false).ok_or_else(|| {
        let why =
            "invalid external metric source: neither a value target nor an average value target was set";
        invalid(why.to_owned(), "")
    })?;
    let before = match goal {
        Goal::Value(_) => format!("failed to get external metric {name}: "),
        Goal::Share(_) => format!("failed to get {name} external metric: "),
    };
    let values = apis.external(asked.place, &source.metric).await.map_err(|why| {
        let place = asked.place;
        let why = format!("unable to get external metric {place}/{name}/{}: {why}", printed(selector));
        invalid(why, &before)
    })?;
    let used = values.iter().fold(0_i64, |sum, value| sum.saturating_add(*value));
    let (replicas, current) = asked.reach(goal, used).map_err(|why| invalid(why, &before))?;
    let status = MetricStatus {
        type_: "External".to_owned(),
        external: Some(ExternalMetricStatus { current, metric: source.metric.clone() }),
        ..MetricStatus::default()
    };
    Ok((external_name(name, selector), replicas, status))
}

impl Asked<'_> {
    fn question<'a>(
        &'a self,
        samples: &'a Samples,
        resource: &'a str,
        container: Option<&'a str>,
        target: Target,
    ) -> Question<'a> {
        Question {
            pods: self.pods,
            samples,
            resource,
            container,
            target,
            current: self.scaled.wants,
            tolerance: self.tolerance,
            now: self.now,
        }
    }

    /// The replicas for a value, in thousandths, of all pods together, and what the status says of it.
    fn reach(&self, goal: Goal, used: i64) -> Result<(i32, MetricValueStatus), String> {
        match goal {
            Goal::Value(target) => {
                let replicas = by_value(used, target, self.scaled.wants, self.pods, self.tolerance)?;
                let value = Some(shown(used));
                Ok((replicas, MetricValueStatus { value, ..MetricValueStatus::default() }))
            }
            Goal::Share(target) => {
                let (replicas, share) = by_share(used, target, self.scaled.has, self.tolerance);
                let average_value = Some(shown(share));
                Ok((replicas, MetricValueStatus { average_value, ..MetricValueStatus::default() }))
            }
        }
    }
}

/// What a value of all pods together is to be, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Goal {
    Value(i64),
    /// Of each pod.
    Share(i64),
}

/// An object's goal goes by its type; an external metric's average is asked first.
fn goal_of(target: &MetricTarget, by_type: bool) -> Option<Goal> {
    let value = || milli(target.value.as_ref()).map(Goal::Value);
    let share = || milli(target.average_value.as_ref()).map(Goal::Share);
    match (by_type, target.type_.as_str()) {
        (true, "Value") => value(),
        (true, "AverageValue") => share(),
        (true, _) => None,
        (false, _) => share().or_else(value),
    }
}

fn target_of(target: &MetricTarget) -> Option<Target> {
    if let Some(average) = milli(target.average_value.as_ref()) {
        return Some(Target::Average(average));
    }
    target.average_utilization.map(Target::Utilization)
}

fn milli(text: Option<&Text>) -> Option<i64> {
    Quantity::parse(&text?.0).ok().map(|quantity| quantity.milli_value())
}

fn shown(milli: i64) -> Text {
    Text(Quantity::from_milli(milli, Format::DecimalSI).to_string())
}

fn external_name(name: &str, selector: Option<&LabelSelector>) -> String {
    format!("external metric {name}({})", printed(selector))
}

/// A selector as Go prints it, which events and conditions show.
fn printed(selector: Option<&LabelSelector>) -> String {
    let Some(selector) = selector else { return "nil".to_owned() };
    let labels = selector.match_labels.iter().flatten();
    let labels: String = labels.map(|(key, value)| format!("{key}: {value},")).collect();
    let expressions: String = selector
        .match_expressions
        .iter()
        .flatten()
        .map(|one| {
            let values = one.values.as_deref().unwrap_or_default().join(" ");
            format!(
                "LabelSelectorRequirement{{Key:{},Operator:{},Values:[{values}],}},",
                one.key, one.operator
            )
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::{Value, json};

    fn target(fields: Value) -> MetricTarget {
        serde_json::from_value(fields).unwrap()
    }

    #[test]
    fn targets_and_goals() {
        let cases = [
            (
                json!({"type": "Utilization", "averageUtilization": 50}),
                Some(Target::Utilization(50)),
                None,
                None,
            ),
            (
                json!({"type": "AverageValue", "averageValue": "1500m"}),
                Some(Target::Average(1500)),
                Some(Goal::Share(1500)),
                Some(Goal::Share(1500)),
            ),
            (json!({"type": "Value", "value": "1"}), None, Some(Goal::Value(1000)), Some(Goal::Value(1000))),
            (
                json!({"type": "Value", "averageValue": "1"}),
                Some(Target::Average(1000)),
                None,
                Some(Goal::Share(1000)),
            ),
        ];
        for (fields, of_resource, of_object, of_external) in cases {
            let target = target(fields.clone());
            let goals = (target_of(&target), goal_of(&target, true), goal_of(&target, false));
            assert_eq!(goals, (of_resource, of_object, of_external), "{fields}");
        }
    }

    #[test]
    fn selectors_are_printed_as_by_go() {
        let selector = |fields: Value| serde_json::from_value::<LabelSelector>(fields).unwrap();
        assert_eq!(printed(None), "nil");
        assert_eq!(
            external_name("queue", Some(&selector(json!({"matchLabels": {"name": "x", "b": "c"}})))),
            "external metric queue(&LabelSelector{MatchLabels:map[string]string{b: c,name: x,},MatchExpressions:[]LabelSelectorRequirement{},})"
        );
        let expressions = json!({"matchExpressions": [{"key": "k", "operator": "In", "values": ["a", "b"]}]});
        assert_eq!(
            printed(Some(&selector(expressions))),
            "&LabelSelector{MatchLabels:map[string]string{},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[a b],},},}"
        );
    }

    #[test]
    fn values_of_all_pods_reach_their_goal() {
        let scaled = Scaled { selector: "app=a", wants: 2, has: 2 };
        let asked = Asked {
            place: "n",
            pods: &[],
            scaled,
            tolerance: Tolerance { down: 0.1, up: 0.1 },
            now: Timestamp::UNIX_EPOCH,
        };
        let (replicas, status) = asked.reach(Goal::Share(1000), 6500).unwrap();
        assert_eq!((replicas, status.average_value), (7, Some(Text("3250m".to_owned()))));
        let (replicas, status) = asked.reach(Goal::Value(1000), 1000).unwrap();
        assert_eq!((replicas, status.value), (2, Some(Text("1".to_owned()))));
        assert!(
            asked.reach(Goal::Value(1000), 5000).unwrap_err().starts_with("unable to calculate ready pods")
        );
    }
}
