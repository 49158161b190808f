//! What makes pods: `pkg/apis/apps/validation`, `batch/validation` and the ReplicationController's.

use serde_json::Value;

use super::access::*;
use super::pod::{self, Holder};
use super::pod_annotations;
use crate::defaults;
use crate::selector::Selector;
use crate::status::FieldError;
use crate::validation::{is_percent, validate_annotations, validate_label_selector, validate_labels};

pub(super) fn workload(kind: &str, object: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    match kind {
        "ControllerRevision" => return non_negative(object, &["revision"], "", errors),
        "ReplicationController" => replication_controller(spec, errors),
        _ => selector(kind, spec, errors),
    }
    let counts = ["replicas", "minReadySeconds", "revisionHistoryLimit", "progressDeadlineSeconds"];
    non_negative(spec, &counts, "spec", errors);
    match kind {
        "Deployment" => deployment(spec, errors),
        "DaemonSet" => strategy(spec, "updateStrategy", &["RollingUpdate", "OnDelete"], errors),
        "StatefulSet" => stateful_set(spec, errors),
        _ => {}
    }
    let claims = list(spec, "volumeClaimTemplates").iter().map(|claim| text(get(claim, "metadata"), "name"));
    let claims: Vec<&str> = if kind == "StatefulSet" { claims.collect() } else { Vec::new() };
    let pods = get(spec, "template");
    match kind == "StatefulSet" {
        false if kind == "ReplicationController" && pods.is_null() => return,
        false => template(pods, "spec.template", errors),
        true => stateful_template(pods, &claims, errors),
    }
    always_restarts(kind, spec, errors);
}

/// `ValidatePodTemplateSpec`.
pub(super) fn template(template: &Value, at: &str, errors: &mut Errors) {
    template_with_claims(template, at, &[], errors);
}

fn template_with_claims(template: &Value, at: &str, claims: &[&str], errors: &mut Errors) {
    let metadata = get(template, "metadata");
    errors.extend(validate_labels(metadata.get("labels"), &join(at, "labels")));
    errors.extend(validate_annotations(metadata.get("annotations"), &join(at, "annotations")));
    let annotations = get(metadata, "annotations");
    pod_annotations::annotations(annotations, get(template, "spec"), &join(at, "annotations"), errors);
    pod::spec(get(template, "spec"), &join(at, "spec"), Holder::Template(claims), errors);
    pod_annotations::profiles_match(template, &join(at, "spec"), errors);
    if !list(get(template, "spec"), "ephemeralContainers").is_empty() {
        let why = "ephemeral containers not allowed in pod template";
        errors.push(FieldError::forbidden(join(at, "spec.ephemeralContainers"), why));
    }
}

/// `ValidatePodTemplateSpecForStatefulSet`: the controller gives the pods their names, whatever the template says.
fn stateful_template(template: &Value, claims: &[&str], errors: &mut Errors) {
    let named = |key: &&&str| has(get(template, "spec"), key);
    let mut unnamed = None;
    for key in ["hostname", "subdomain"].iter().filter(named) {
        let spec = unnamed.get_or_insert_with(|| template.clone());
        if let Some(spec) = spec.get_mut("spec").and_then(Value::as_object_mut) {
            spec.shift_remove(*key);
        }
    }
    template_with_claims(unnamed.as_ref().unwrap_or(template), "spec.template", claims, errors);
}

/// What only a new StatefulSet may not say: what it says is there for good.
pub(super) fn only_on_create(set: &Value, errors: &mut Errors) {
    let spec = get(set, "spec");
    for (at, claim) in each(spec, "volumeClaimTemplates", "spec") {
        super::storage::claim_at(get(claim, "spec"), &join(&at, "spec"), errors);
    }
    optional_text(spec, "serviceName", "spec", crate::validation::is_dns1123_label, errors);
}

fn always_restarts(kind: &str, spec: &Value, errors: &mut Errors) {
    let pod = get(get(spec, "template"), "spec");
    if matches!(text(pod, "restartPolicy"), "Never" | "OnFailure") {
        let shown = text(pod, "restartPolicy");
        errors.push(FieldError::not_supported("spec.template.spec.restartPolicy", shown, &["Always"]));
    }
    if has(pod, "activeDeadlineSeconds") {
        let kind = if kind == "Deployment" { "ReplicaSet" } else { kind };
        let why = format!("activeDeadlineSeconds in {kind} is not Supported");
        errors.push(FieldError::forbidden("spec.template.spec.activeDeadlineSeconds", why));
    }
}

fn selector(kind: &str, spec: &Value, errors: &mut Errors) {
    let selector = get(spec, "selector");
    let labels = get(get(get(spec, "template"), "metadata"), "labels");
    let no_match = || {
        let why = "`selector` does not match template `labels`";
        FieldError::invalid("spec.template.metadata.labels", labels.clone(), why)
    };
    if selector.is_null() {
        if kind != "DaemonSet" {
            errors.push(FieldError::required("spec.selector", ""));
        }
        return errors.push(no_match());
    }
    let wrong = validate_label_selector(selector, "spec.selector");
    let right = wrong.is_empty();
    errors.extend(wrong);
    let parsed = Selector::from_object(Some(selector));
    // a DaemonSet's is just not asked
    let broken = match kind {
        "Deployment" | "ReplicaSet" => Some("invalid label selector"),
        "StatefulSet" => Some(""),
        _ => None,
    };
    if let (Err(_), Some(why)) = (&parsed, broken) {
        errors.push(FieldError::invalid("spec.selector", selector.clone(), why));
    }
    let parsed = parsed.ok().filter(|_| right);
    if parsed.as_ref().is_some_and(Selector::is_everything) {
        // upstream says deployment for a ReplicaSet, too
        let name = if kind == "ReplicaSet" { "deployment".to_owned() } else { kind.to_lowercase() };
        let why = format!("empty selector is invalid for {name}");
        errors.push(FieldError::invalid("spec.selector", selector.clone(), why));
    }
    if parsed.is_some_and(|s| !s.is_everything() && !s.matches(labels)) {
        errors.push(no_match());
    }
}

fn replication_controller(spec: &Value, errors: &mut Errors) {
    let selector = get(spec, "selector").as_object().filter(|map| !map.is_empty());
    if selector.is_none() {
        errors.push(FieldError::required("spec.selector", ""));
    }
    if !has(spec, "template") {
        errors.push(FieldError::required("spec.template", ""));
    }
    let Some(selector) = selector else { return };
    let labels = get(get(get(spec, "template"), "metadata"), "labels");
    if has(spec, "template") && !Selector::from_map(selector).matches(labels) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), why));
    }
}

fn deployment(spec: &Value, errors: &mut Errors) {
    strategy(spec, "strategy", &["Recreate", "RollingUpdate"], errors);
    let (ready, deadline) = (int(spec, "minReadySeconds").unwrap_or(0), int(spec, "progressDeadlineSeconds"));
    if let Some(deadline) = deadline.filter(|deadline| *deadline <= ready) {
        let why = "must be greater than minReadySeconds";
        errors.push(FieldError::invalid("spec.progressDeadlineSeconds", deadline, why));
    }
}

fn strategy(spec: &Value, key: &str, types: &[&str], errors: &mut Errors) {
    let (strategy, at) = (get(spec, key), join("spec", key));
    let rolling = get(strategy, "rollingUpdate");
    let rolling_at = join(&at, "rollingUpdate");
    match text(strategy, "type") {
        "RollingUpdate" if rolling.is_null() => {
            let why = if key == "updateStrategy" { "" } else { "this should be defaulted and never be nil" };
            errors.push(FieldError::required(rolling_at, why));
        }
        "RollingUpdate" if key == "updateStrategy" => rolling_update_of_daemons(rolling, &rolling_at, errors),
        "RollingUpdate" => rolling_update(rolling, &rolling_at, errors),
        "Recreate" if !rolling.is_null() => {
            let why = "may not be specified when strategy `type` is 'Recreate'";
            errors.push(FieldError::forbidden(rolling_at, why));
        }
        other if types.contains(&other) => {}
        other => errors.push(FieldError::not_supported_as_listed(at, other, types)),
    }
}

fn rolling_update(rolling: &Value, at: &str, errors: &mut Errors) {
    for key in ["maxUnavailable", "maxSurge"] {
        int_or_percent(rolling, key, at, errors);
    }
    if is_nothing(rolling, "maxUnavailable") && is_nothing(rolling, "maxSurge") {
        let shown = get(rolling, "maxUnavailable").clone();
        let why = "may not be 0 when `maxSurge` is 0";
        errors.push(FieldError::invalid(join(at, "maxUnavailable"), shown, why));
    }
    no_more_than_all(rolling, "maxUnavailable", at, errors);
}

/// `ValidateRollingUpdateDaemonSet`: either more pods for a while, or fewer.
fn rolling_update_of_daemons(rolling: &Value, at: &str, errors: &mut Errors) {
    for key in ["maxUnavailable", "maxSurge"] {
        int_or_percent(rolling, key, at, errors);
    }
    for key in ["maxUnavailable", "maxSurge"] {
        no_more_than_all(rolling, key, at, errors);
    }
    match (is_nothing(rolling, "maxUnavailable"), is_nothing(rolling, "maxSurge")) {
        (false, false) => {
            let (shown, why) =
                (get(rolling, "maxSurge").clone(), "may not be set when maxUnavailable is non-zero");
            errors.push(FieldError::invalid(join(at, "maxSurge"), shown, why));
        }
        (true, true) => {
            let why = "cannot be 0 when maxSurge is 0";
            errors.push(FieldError::required(join(at, "maxUnavailable"), why));
        }
        _ => {}
    }
}

fn is_nothing(rolling: &Value, key: &str) -> bool {
    match get(rolling, key) {
        Value::String(percent) => percent == "0%",
        other => other.as_i64().unwrap_or(0) == 0,
    }
}

/// `IsNotMoreThan100Percent`.
pub(super) fn no_more_than_all(rolling: &Value, key: &str, at: &str, errors: &mut Errors) {
    let percent = text(rolling, key).strip_suffix('%').and_then(|n| n.parse::<u64>().ok());
    if percent.is_some_and(|percent| percent > 100) {
        let why = "must not be greater than 100%";
        errors.push(FieldError::invalid(join(at, key), get(rolling, key).clone(), why));
    }
}

/// `ValidatePositiveIntOrPercent`.
pub(super) fn int_or_percent(value: &Value, key: &str, at: &str, errors: &mut Errors) {
    match get(value, key) {
        Value::String(percent) => invalid_each(errors, &join(at, key), percent, is_percent(percent)),
        _ => non_negative(value, &[key], at, errors),
    }
}

fn stateful_set(spec: &Value, errors: &mut Errors) {
    match text(spec, "podManagementPolicy") {
        "" => errors.push(FieldError::required("spec.podManagementPolicy", "")),
        "OrderedReady" | "Parallel" => {}
        other => {
            let why = "must be 'OrderedReady' or 'Parallel'";
            errors.push(FieldError::invalid("spec.podManagementPolicy", other, why));
        }
    }
    let strategy = get(spec, "updateStrategy");
    let at = "spec.updateStrategy";
    match text(strategy, "type") {
        "" => errors.push(FieldError::required(at, "")),
        "OnDelete" if has(strategy, "rollingUpdate") => {
            let why = "only allowed for updateStrategy 'RollingUpdate'";
            errors.push(FieldError::invalid(
                join(at, "rollingUpdate"),
                get(strategy, "rollingUpdate").clone(),
                why,
            ));
        }
        "OnDelete" => {}
        "RollingUpdate" => non_negative(
            get(strategy, "rollingUpdate"),
            &["partition"],
            "spec.updateStrategy.rollingUpdate",
            errors,
        ),
        other => {
            errors.push(FieldError::invalid(at, other, "must be 'RollingUpdate' or 'OnDelete'"));
        }
    }
    let policy = get(spec, "persistentVolumeClaimRetentionPolicy");
    const POLICIES: &[&str] = &["Retain", "Delete"];
    for key in ["whenDeleted", "whenScaled"].into_iter().filter(|_| !policy.is_null()) {
        if !POLICIES.contains(&text(policy, key)) {
            let at = join("spec.persistentVolumeClaimRetentionPolicy", key);
            errors.push(FieldError::not_supported_as_listed(at, text(policy, key), POLICIES));
        }
    }
    non_negative(get(spec, "ordinals"), &["start"], "spec.ordinals", errors);
}

/// A CronJob; a time zone in its schedule is let pass where `old` had one already.
pub(super) fn cron_job(object: &Value, old: &Value, errors: &mut Errors) {
    let name = text(get(object, "metadata"), "name");
    if old.is_null() && name.len() > 52 {
        errors.push(FieldError::invalid("metadata.name", name, "must be no more than 52 characters"));
    }
    let spec = get(object, "spec");
    match text(spec, "schedule") {
        "" => errors.push(FieldError::required("spec.schedule", "")),
        schedule => {
            let had_zone = text(get(old, "spec"), "schedule").contains("TZ");
            let why = zone_error(schedule, had_zone, has(spec, "timeZone"));
            let all = schedule_error(schedule).into_iter().chain(why.map(str::to_owned));
            errors.extend(all.map(|why| FieldError::invalid("spec.schedule", schedule, why)));
        }
    }
    let zone = |object: &Value| get(get(object, "spec"), "timeZone").as_str().map(str::to_owned);
    if let Some(zone) = zone(object).filter(|zone_now| zone(old).as_ref() != Some(zone_now)) {
        errors.extend(
            time_zone_error(&zone).map(|why| FieldError::invalid("spec.timeZone", zone.as_str(), why)),
        );
    }
    required_one_of(spec, "concurrencyPolicy", "spec", &["Allow", "Forbid", "Replace"], errors);
    let counts = ["startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"];
    non_negative(spec, &counts, "spec", errors);
    super::job::of_template(get(spec, "jobTemplate"), "spec.jobTemplate", errors);
}

fn zone_error(schedule: &str, had_zone: bool, has_field: bool) -> Option<&'static str> {
    match (schedule.contains("TZ"), had_zone) {
        (true, true) if has_field => Some("cannot use both timeZone field and TZ or CRON_TZ in schedule"),
        (true, false) => Some("cannot use TZ or CRON_TZ in schedule, use timeZone field instead"),
        _ => None,
    }
}

fn schedule_error(schedule: &str) -> Option<String> {
    let zoned = schedule.starts_with("TZ=") || schedule.starts_with("CRON_TZ=");
    let schedule = match schedule.split_once(' ') {
        Some((_, rest)) if zoned => rest,
        _ => schedule,
    };
    crate::cron::Schedule::parse(schedule).err()
}

/// Upstream's `validateTimeZone`.
fn time_zone_error(zone: &str) -> Option<String> {
    match zone {
        "" => Some("timeZone must be nil or non-empty string".to_owned()),
        zone if zone.eq_ignore_ascii_case("local") => Some(
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones".to_owned(),
        ),
        zone => jiff::tz::TimeZone::get(zone).err().map(|_| format!("unknown time zone {zone}")),
    }
}

pub(super) fn update(kind: &str, new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "spec"), get(old, "spec"));
    match kind {
        "Deployment" | "ReplicaSet" | "DaemonSet" => {
            immutable_in("api.apps.v1.DeploymentSpec", after, before, "selector", "spec", errors);
        }
        "Job" => super::job::update(new, old, errors),
        "StatefulSet" => stateful_set_update(after, before, errors),
        "ControllerRevision" => immutable(new, old, "data", "", errors),
        _ => {}
    }
}

fn stateful_set_update(after: &Value, before: &Value, errors: &mut Errors) {
    const MAY_CHANGE: &[&str] = &[
        "replicas",
        "ordinals",
        "template",
        "updateStrategy",
        "revisionHistoryLimit",
        "persistentVolumeClaimRetentionPolicy",
        "minReadySeconds",
    ];
    let strip = |spec: &Value| {
        let mut spec = spec.as_object().cloned().unwrap_or_default();
        spec.retain(|key, _| !MAY_CHANGE.contains(&key.as_str()));
        Value::Object(spec)
    };
    if !defaults::same("io.k8s.api.apps.v1.StatefulSetSpec", &strip(after), &strip(before)) {
        let why = "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden";
        errors.push(FieldError::forbidden("spec", why));
    }
}

/// `ValidateControllerRevisionCreate`: the state is an object.
pub(super) fn new_revision(revision: &Value, errors: &mut Errors) {
    match get(revision, "data") {
        Value::Null => errors.push(FieldError::required("data", "data is mandatory")),
        Value::Object(_) => {}
        _ => errors.push(FieldError::required("data", "data must be a valid JSON object")),
    }
}

pub(super) fn status(new: &Value, old: &Value, errors: &mut Errors) {
    let counts = [
        "replicas",
        "fullyLabeledReplicas",
        "readyReplicas",
        "availableReplicas",
        "updatedReplicas",
        "unavailableReplicas",
        "observedGeneration",
        "collisionCount",
        "active",
        "succeeded",
        "failed",
        "currentReplicas",
        "currentNumberScheduled",
        "numberMisscheduled",
        "desiredNumberScheduled",
        "numberReady",
        "updatedNumberScheduled",
        "numberAvailable",
        "numberUnavailable",
    ];
    let status = get(new, "status");
    non_negative(status, &counts, "status", errors);
    let replicas = int(status, "replicas").unwrap_or(0);
    let parts =
        ["fullyLabeledReplicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas"];
    for key in parts {
        if let Some(count) = int(status, key).filter(|count| *count > replicas) {
            let why = "cannot be greater than status.replicas";
            errors.push(FieldError::invalid(join("status", key), count, why));
        }
    }
    let (count, was) = (int(status, "collisionCount"), int(get(old, "status"), "collisionCount"));
    if was.is_some_and(|was| count.is_none_or(|count| count < was)) {
        errors.push(FieldError::invalid("status.collisionCount", count, "cannot be decremented"));
    }
}
