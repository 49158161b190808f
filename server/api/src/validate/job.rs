//! Jobs: how many pods, which failures count, when it is a success. `ValidateJob` of `pkg/apis/batch/validation`; the
//! status is in [`super::job_status`].

use serde_json::Value;

use super::access::*;
use super::job_status::indexes_in;
use super::workload;
use crate::defaults;
use crate::go::Quote as _;
use crate::selector::Selector;
use crate::status::FieldError;
use crate::validation::{
    is_dns1123_label, is_domain_prefixed_path, is_qualified_name, validate_label_selector,
};

const MOST_INDEXED: i64 = 100_000;
/// Above [`MOST_INDEXED`] completions.
const MOST_WITH_MANY: i64 = 10_000;
const MOST_RULES: usize = 20;
const MOST_CODES: usize = 255;
const MOST_INDEX_BYTES: usize = 64 << 10;
const MOST_MANAGER_BYTES: usize = 63;
const PREFIXED: [&str; 2] = ["batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name"];

/// Checks a Job, new or as a change of `old`.
pub(super) fn job(object: &Value, old: &Value, errors: &mut Errors) {
    let spec = get(object, "spec");
    generated_selector(object, old, errors);
    self::spec(spec, "spec", errors);
    match get(spec, "selector") {
        Value::Null => errors.push(FieldError::required("spec.selector", "")),
        selector => errors.extend(validate_label_selector(selector, "spec.selector")),
    }
    let labels = get(get(get(spec, "template"), "metadata"), "labels");
    if Selector::from_object(spec.get("selector")).is_ok_and(|selector| !selector.matches(labels)) {
        let why = "`selector` does not match template `labels`";
        errors.push(FieldError::invalid("spec.template.metadata.labels", labels.clone(), why));
    }
    let name = text(get(object, "metadata"), "name");
    let completions = int(spec, "completions").filter(|completions| *completions > 0);
    if let (true, Some(completions)) = (is_indexed(spec), completions) {
        let host = format!("{name}-{}", completions - 1);
        if !is_dns1123_label(&host).is_empty() {
            let why = format!("will not able to create pod with invalid DNS label: {host}");
            errors.push(FieldError::invalid("metadata.name", name, why));
        }
    }
}

/// The Job within a CronJob.
pub(super) fn of_template(template: &Value, at: &str, errors: &mut Errors) {
    let (spec, at) = (get(template, "spec"), join(at, "spec"));
    self::spec(spec, &at, errors);
    if has(spec, "selector") {
        let why = "`selector` will be auto-generated";
        errors.push(FieldError::invalid(join(&at, "selector"), get(spec, "selector").clone(), why));
    }
    if is_true(spec, "manualSelector") {
        let at = join(&at, "manualSelector");
        errors.push(FieldError::not_supported_as_listed(at, true, &["nil", "false"]));
    }
}

fn is_indexed(spec: &Value) -> bool {
    text(spec, "completionMode") == "Indexed"
}

/// `validateGeneratedSelector`: the labels that tell the Job's pods from all others.
fn generated_selector(job: &Value, old: &Value, errors: &mut Errors) {
    let (metadata, spec) = (get(job, "metadata"), get(job, "spec"));
    if is_true(spec, "manualSelector") || !has(spec, "selector") {
        return;
    }
    let labels = |job: &Value| get(get(get(get(job, "spec"), "template"), "metadata"), "labels").clone();
    let (uid, name) = (text(metadata, "uid"), text(metadata, "name"));
    if uid.is_empty() {
        errors.push(FieldError::required("metadata.uid", ""));
    }
    let mut expected = vec![("controller-uid", uid), ("job-name", name)];
    // an older Job may be without
    if old.is_null() || PREFIXED.iter().all(|label| has(&labels(old), label)) {
        expected.extend(PREFIXED.into_iter().zip([uid, name]));
    }
    let labels = labels(job);
    for (label, value) in &expected {
        match get(&labels, label).as_str() {
            None => {
                let at = "spec.template.metadata.labels";
                errors.push(FieldError::required(format!("{at}[{label}]"), format!("must be '{value}'")));
            }
            Some(found) if found != *value => {
                let at = format!("spec.template.metadata.labels[{label}]");
                errors.push(FieldError::invalid(at, labels.clone(), format!("must be '{value}'")));
            }
            Some(_) => {}
        }
    }
    let expected: Value = expected.into_iter().map(|(label, value)| (label, Value::from(value))).collect();
    let selector = get(spec, "selector");
    if Selector::from_object(Some(selector)).is_ok_and(|parsed| !parsed.matches(&expected)) {
        errors.push(FieldError::invalid("spec.selector", selector.clone(), "`selector` not auto-generated"));
    }
}

/// `validateJobSpec` of the spec at `at`.
fn spec(spec: &Value, at: &str, errors: &mut Errors) {
    let counts = [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ];
    non_negative(spec, &counts, at, errors);
    if has(spec, "maxFailedIndexes") && !has(spec, "backoffLimitPerIndex") {
        let why = "when maxFailedIndexes is specified";
        errors.push(FieldError::required(join(at, "backoffLimitPerIndex"), why));
    }
    if let Some(manager) = get(spec, "managedBy").as_str() {
        errors.extend(is_domain_prefixed_path(&join(at, "managedBy"), manager));
        if manager.len() > MOST_MANAGER_BYTES {
            errors.push(FieldError::too_long(join(at, "managedBy"), MOST_MANAGER_BYTES));
        }
    }
    const MODES: &[&str] = &["NonIndexed", "Indexed"];
    match get(spec, "completionMode").as_str() {
        None | Some("NonIndexed") => {
            for key in ["backoffLimitPerIndex", "maxFailedIndexes"] {
                if let Some(number) = int(spec, key) {
                    let why = "requires indexed completion mode";
                    errors.push(FieldError::invalid(join(at, key), number, why));
                }
            }
        }
        Some("Indexed") => indexed(spec, at, errors),
        Some(mode) => {
            errors.push(FieldError::not_supported_as_listed(join(at, "completionMode"), mode, MODES));
        }
    }
    if has(spec, "podFailurePolicy") {
        failure_policy(spec, &join(at, "podFailurePolicy"), errors);
    }
    if has(spec, "successPolicy") {
        success_policy(spec, &join(at, "successPolicy"), errors);
    }
    let replacements: &[&str] =
        if has(spec, "podFailurePolicy") { &["Failed"] } else { &["Failed", "TerminatingOrFailed"] };
    one_of(spec, "podReplacementPolicy", at, replacements, errors);
    workload::template(get(spec, "template"), &join(at, "template"), errors);
    restarts(spec, &join(at, "template.spec.restartPolicy"), errors);
}

fn restarts(spec: &Value, at: &str, errors: &mut Errors) {
    match text(get(get(spec, "template"), "spec"), "restartPolicy") {
        "" | "Always" => {
            errors.push(FieldError::required(at, "valid values: \"OnFailure\", \"Never\""));
        }
        "OnFailure" if has(spec, "podFailurePolicy") => {
            let why = "only \"Never\" is supported when podFailurePolicy is specified";
            errors.push(FieldError::invalid(at, "OnFailure", why));
        }
        "OnFailure" | "Never" => {}
        other => {
            errors.push(FieldError::not_supported_as_listed(at, other, &["OnFailure", "Never"]));
        }
    }
}

/// What holds between the numbers of an Indexed Job.
fn indexed(spec: &Value, at: &str, errors: &mut Errors) {
    let number = |key: &str| int(spec, key);
    let (completions, failed) = (number("completions"), number("maxFailedIndexes"));
    let mut at_most = |key: &str, most: i64, what: &str| {
        if let Some(number) = number(key).filter(|number| *number > most) {
            let why = format!("must be less than or equal to {what}");
            errors.push(FieldError::invalid(join(at, key), number, why));
        }
    };
    let mode = format!("{MOST_INDEXED} when completion mode is Indexed");
    at_most("parallelism", MOST_INDEXED, &mode);
    if let Some(completions) = completions {
        at_most("maxFailedIndexes", completions, "completions");
    }
    at_most("maxFailedIndexes", MOST_INDEXED, &MOST_INDEXED.to_string());
    let many = completions.is_some_and(|completions| completions > MOST_INDEXED);
    if many && has(spec, "backoffLimitPerIndex") {
        let what = format!(
            "{MOST_WITH_MANY} when completions are above {MOST_INDEXED} and used with backoff limit per index"
        );
        at_most("parallelism", MOST_WITH_MANY, &what);
        at_most("maxFailedIndexes", MOST_WITH_MANY, &what);
        if failed.is_none() {
            let why = format!("must be specified when completions is above {MOST_INDEXED}");
            errors.push(FieldError::required(join(at, "maxFailedIndexes"), why));
        }
    }
    if completions.is_none() {
        let why = "when completion mode is Indexed";
        errors.push(FieldError::required(join(at, "completions"), why));
    }
}

fn too_many(holder: &Value, key: &str, most: usize, at: &str, errors: &mut Errors) {
    let count = list(holder, key).len();
    if count > most {
        errors.push(FieldError::too_many(join(at, key), count, most));
    }
}

/// As [`listed`], but absent is `Required`, with what there is.
fn required_of(value: &Value, key: &str, at: &str, supported: &[&str], errors: &mut Errors) {
    if text(value, key).is_empty() {
        let quoted: Vec<String> = supported.iter().map(|one| one.quoted().to_string()).collect();
        errors.push(FieldError::required(join(at, key), format!("valid values: [{}]", quoted.join(" "))));
    } else {
        listed(value, key, at, supported, errors);
    }
}

/// `Invalid` without a value: upstream's `OmitValueType`.
fn impossible(at: &str, why: &str) -> FieldError {
    FieldError { value: None, ..FieldError::invalid(at, Value::Null, why) }
}

fn failure_policy(spec: &Value, at: &str, errors: &mut Errors) {
    let policy = get(spec, "podFailurePolicy");
    too_many(policy, "rules", MOST_RULES, at, errors);
    let pod = get(get(spec, "template"), "spec");
    let containers = list(pod, "containers").iter().chain(list(pod, "initContainers"));
    let names: Vec<&str> = containers.map(|container| text(container, "name")).collect();
    for (at, rule) in each(policy, "rules", at) {
        required_of(rule, "action", &at, &["Count", "FailIndex", "FailJob", "Ignore"], errors);
        if text(rule, "action") == "FailIndex" && !has(spec, "backoffLimitPerIndex") {
            let why = "requires the backoffLimitPerIndex to be set";
            errors.push(FieldError::invalid(join(&at, "action"), "FailIndex", why));
        }
        let codes = get(rule, "onExitCodes");
        if !codes.is_null() {
            exit_codes(codes, &names, &join(&at, "onExitCodes"), errors);
        }
        too_many(rule, "onPodConditions", MOST_RULES, &at, errors);
        for (at, pattern) in each(rule, "onPodConditions", &at) {
            let kind = text(pattern, "type");
            invalid_each(errors, &join(&at, "type"), kind, is_qualified_name(kind));
            required_of(pattern, "status", &at, &["False", "True", "Unknown"], errors);
        }
        let why = match (codes.is_null(), list(rule, "onPodConditions").is_empty()) {
            (false, false) => "specifying both OnExitCodes and OnPodConditions is not supported",
            (true, true) => "specifying one of OnExitCodes and OnPodConditions is required",
            _ => continue,
        };
        errors.push(impossible(&at, why));
    }
}

fn exit_codes(codes: &Value, names: &[&str], at: &str, errors: &mut Errors) {
    required_of(codes, "operator", at, &["In", "NotIn"], errors);
    if let Some(name) = get(codes, "containerName").as_str().filter(|name| !names.contains(name)) {
        let why = "must be one of the container or initContainer names in the pod template";
        errors.push(FieldError::invalid(join(at, "containerName"), name, why));
    }
    let values: Vec<i64> = list(codes, "values").iter().filter_map(Value::as_i64).collect();
    if values.is_empty() {
        let why = "at least one value is required";
        errors.push(FieldError::invalid(join(at, "values"), get(codes, "values").clone(), why));
    }
    too_many(codes, "values", MOST_CODES, at, errors);
    for (index, value) in values.iter().enumerate() {
        let at = format!("{at}.values[{index}]");
        if *value == 0 && text(codes, "operator") == "In" {
            errors.push(FieldError::invalid(at.as_str(), 0, "must not be 0 for the In operator"));
        }
        if values[..index].contains(value) {
            errors.push(FieldError::duplicate(at, *value));
        }
    }
    if !values.is_sorted() {
        errors.push(FieldError::invalid(join(at, "values"), values, "must be ordered"));
    }
}

fn success_policy(spec: &Value, at: &str, errors: &mut Errors) {
    let policy = get(spec, "successPolicy");
    if !is_indexed(spec) {
        let why = "requires indexed completion mode";
        return errors.push(FieldError::invalid(at, policy.clone(), why));
    }
    if list(policy, "rules").is_empty() {
        let why = "at least one rules must be specified when the successPolicy is specified";
        errors.push(FieldError::required(join(at, "rules"), why));
    }
    too_many(policy, "rules", MOST_RULES, at, errors);
    // without completions the Job is refused anyway
    let completions = int(spec, "completions").unwrap_or(0);
    for (at, rule) in each(policy, "rules", at) {
        success_rule(rule, completions, &at, errors);
    }
}

fn success_rule(rule: &Value, completions: i64, at: &str, errors: &mut Errors) {
    let (indexes, count) = (get(rule, "succeededIndexes").as_str(), int(rule, "succeededCount"));
    if indexes.is_none() && count.is_none() {
        let why = "at least one of succeededCount or succeededIndexes must be specified";
        errors.push(FieldError::required(at, why));
    }
    let mut total = 0;
    if let Some(indexes) = indexes {
        let at = join(at, "succeededIndexes");
        if indexes.len() > MOST_INDEX_BYTES {
            errors.push(FieldError::too_long(at.as_str(), MOST_INDEX_BYTES));
        }
        match indexes_in(indexes, completions) {
            Ok(all) => total = all,
            Err(why) => {
                let why = format!("error parsing succeededIndexes: {why}");
                errors.push(FieldError::invalid(at, indexes, why));
            }
        }
    }
    non_negative(rule, &["succeededCount"], at, errors);
    let mut at_most = |most: i64, what: &str| {
        if let Some(count) = count.filter(|count| *count > most) {
            let why = format!("must be less than or equal to {most} (the number of {what})");
            errors.push(FieldError::invalid(join(at, "succeededCount"), count, why));
        }
    };
    at_most(completions, "specified completions");
    if indexes.is_some() {
        at_most(total, "indexes in the specified succeededIndexes field");
    }
}

const SPEC: &str = "api.batch.v1.JobSpec";

/// `ValidateJobSpecUpdate`: what may not change.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (after, before) = (get(new, "spec"), get(old, "spec"));
    if !is_indexed(after) {
        immutable(after, before, "completions", "spec", errors);
    } else if let Some(completions) = int(after, "completions")
        && get(after, "completions") != get(before, "completions")
        && int(after, "parallelism") != Some(completions)
    {
        let why = "can only be modified in tandem with spec.parallelism";
        errors.push(FieldError::invalid("spec.completions", completions, why));
    }
    immutable_in(SPEC, after, before, "selector", "spec", errors);
    template_update(after, before, get(old, "status"), errors);
    for key in ["completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"] {
        immutable_in(SPEC, after, before, key, "spec", errors);
    }
}

/// A Job that was told to wait, and does, may change where its pods run and what they ask for.
fn template_update(after: &Value, before: &Value, status: &Value, errors: &mut Errors) {
    let waits =
        |condition: &Value| text(condition, "type") == "Suspended" && text(condition, "status") == "True";
    let rests = list(status, "conditions").iter().any(waits) && int(status, "active").unwrap_or(0) == 0;
    if !is_true(before, "suspend") || !rests {
        return immutable_in(SPEC, after, before, "template", "spec", errors);
    }
    let strip = |spec: &Value| {
        let mut pod = get(get(spec, "template"), "spec").clone();
        let Some(map) = pod.as_object_mut() else { return pod };
        for key in ["nodeSelector", "tolerations", "schedulingGates"] {
            map.shift_remove(key);
        }
        if let Some(affinity) = map.get_mut("affinity").and_then(Value::as_object_mut) {
            affinity.shift_remove("nodeAffinity");
            if affinity.is_empty() {
                map.shift_remove("affinity");
            }
        }
        for key in ["containers", "initContainers"] {
            let containers = map.get_mut(key).and_then(Value::as_array_mut);
            for container in containers.into_iter().flatten().filter_map(Value::as_object_mut) {
                container.shift_remove("resources");
            }
        }
        pod
    };
    if !defaults::same("io.k8s.api.core.v1.PodSpec", &strip(after), &strip(before)) {
        let shown = get(get(after, "template"), "spec").clone();
        errors.push(FieldError::invalid("spec.template.spec", shown, crate::validation::FIELD_IS_IMMUTABLE));
    }
}
