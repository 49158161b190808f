//! Workloads: `apps/v1`, `batch/v1` and `autoscaling`.

use serde_json::{Value, json};

use super::pod::{template, template_labels};
use super::{Object, child, is_empty, items, made, set, set_pointer, text};

pub(super) fn apply(kind: &str, version: &str, object: &mut Object) {
    if kind == "Job" {
        labels_from_template(object);
    }
    let Some(spec) = made(object, "spec") else { return };
    match kind {
        "Deployment" => deployment(spec),
        "ReplicaSet" => set_pointer(spec, "replicas", 1),
        "StatefulSet" => stateful_set(spec),
        "DaemonSet" => daemon_set(spec),
        "Job" => job(spec),
        "CronJob" => return cron_job(spec),
        "HorizontalPodAutoscaler" => return autoscaler(spec, version),
        _ => return,
    }
    template(spec);
}

fn labels_from_template(object: &mut Object) {
    if let Some(labels) = template_labels(object)
        && let Some(metadata) = made(object, "metadata")
        && is_empty(metadata.get("labels"))
    {
        metadata.insert("labels".to_owned(), labels);
    }
}

fn deployment(spec: &mut Object) {
    set_pointer(spec, "replicas", 1);
    if let Some(strategy) = made(spec, "strategy") {
        set(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = made(strategy, "rollingUpdate")
        {
            set_pointer(rolling, "maxUnavailable", "25%");
            set_pointer(rolling, "maxSurge", "25%");
        }
    }
    set_pointer(spec, "revisionHistoryLimit", 10);
    set_pointer(spec, "progressDeadlineSeconds", 600);
}

fn daemon_set(spec: &mut Object) {
    if let Some(strategy) = made(spec, "updateStrategy") {
        set(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = made(strategy, "rollingUpdate")
        {
            set_pointer(rolling, "maxUnavailable", 1);
            set_pointer(rolling, "maxSurge", 0);
        }
    }
    set_pointer(spec, "revisionHistoryLimit", 10);
}

fn stateful_set(spec: &mut Object) {
    set(spec, "podManagementPolicy", "OrderedReady");
    if let Some(strategy) = made(spec, "updateStrategy") {
        set(strategy, "type", "RollingUpdate");
        if text(strategy, "type") == "RollingUpdate"
            && let Some(rolling) = made(strategy, "rollingUpdate")
        {
            set_pointer(rolling, "partition", 0);
        }
    }
    if let Some(policy) = made(spec, "persistentVolumeClaimRetentionPolicy") {
        set(policy, "whenDeleted", "Retain");
        set(policy, "whenScaled", "Retain");
    }
    set_pointer(spec, "replicas", 1);
    set_pointer(spec, "revisionHistoryLimit", 10);
    for claim in items(spec, "volumeClaimTemplates") {
        set(claim, "apiVersion", "v1");
        set(claim, "kind", "PersistentVolumeClaim");
        super::core::apply("PersistentVolumeClaim", claim);
    }
}

fn job(spec: &mut Object) {
    let absent = |spec: &Object, key: &str| spec.get(key).is_none_or(Value::is_null);
    if absent(spec, "completions") && absent(spec, "parallelism") {
        set_pointer(spec, "completions", 1);
    }
    set_pointer(spec, "parallelism", 1);
    let limit = if absent(spec, "backoffLimitPerIndex") { 6 } else { i32::MAX };
    set_pointer(spec, "backoffLimit", limit);
    set_pointer(spec, "completionMode", "NonIndexed");
    set_pointer(spec, "suspend", false);
    let policy = if absent(spec, "podFailurePolicy") { "TerminatingOrFailed" } else { "Failed" };
    set_pointer(spec, "podReplacementPolicy", policy);
    if let Some(policy) = child(spec, "podFailurePolicy") {
        for rule in items(policy, "rules") {
            items(rule, "onPodConditions").for_each(|condition| set(condition, "status", "True"));
        }
    }
}

fn cron_job(spec: &mut Object) {
    set(spec, "concurrencyPolicy", "Allow");
    set_pointer(spec, "suspend", false);
    set_pointer(spec, "successfulJobsHistoryLimit", 3);
    set_pointer(spec, "failedJobsHistoryLimit", 1);
    if let Some(job) = child(spec, "jobTemplate").and_then(|job| child(job, "spec")) {
        template(job);
    }
}

fn autoscaler(spec: &mut Object, version: &str) {
    set_pointer(spec, "minReplicas", 1);
    if version == "v1" {
        return set_pointer(spec, "targetCPUUtilizationPercentage", 80);
    }
    if is_empty(spec.get("metrics")) {
        let cpu = json!([{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]);
        spec.insert("metrics".to_owned(), cpu);
    }
    let Some(behavior) = child(spec, "behavior") else { return };
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
    let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
    if let Some(up) = made(behavior, "scaleUp") {
        set_pointer(up, "stabilizationWindowSeconds", 0);
        set_pointer(up, "selectPolicy", "Max");
        set_pointer(up, "policies", json!([pods, percent]));
    }
    if let Some(down) = made(behavior, "scaleDown") {
        set_pointer(down, "selectPolicy", "Max");
        set_pointer(down, "policies", json!([percent]));
    }
}
