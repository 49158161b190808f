//! What a Job's status may become: `ValidateJobUpdateStatus` of `pkg/apis/batch/validation`, asked as
//! `getStatusValidationOptions` of `pkg/registry/batch/job` asks, which holds against a write only what it changes.
//!
//! Not asked is whether a Job that runs keeps its start time: our controller begins the time of a resumed Job anew.

use std::collections::BTreeSet;

use serde_json::Value;

use super::access::*;
use crate::go::Quote as _;
use crate::status::FieldError;

/// The conditions that a Job does not lose again.
const FOR_GOOD: &[&str] = &["Failed", "Complete", "FailureTarget"];

/// A Job, by what its status says.
struct Job<'a> {
    spec: &'a Value,
    status: &'a Value,
}

impl<'a> Job<'a> {
    fn new(object: &'a Value) -> Self {
        Self { spec: get(object, "spec"), status: get(object, "status") }
    }
    fn has(&self, condition: &str) -> bool {
        let is = |c: &Value| text(c, "type") == condition && text(c, "status") == "True";
        list(self.status, "conditions").iter().any(is)
    }
    fn is_finished(&self) -> bool {
        self.has("Complete") || self.has("Failed")
    }
    fn count(&self, key: &str) -> i64 {
        int(self.status, key).unwrap_or(0)
    }
    fn is_indexed(&self) -> bool {
        text(self.spec, "completionMode") == "Indexed"
    }
}

/// What is wrong with `new` as a change of `old`.
pub(super) fn update(new: &Value, old: &Value, errors: &mut Errors) {
    let (job, before) = (Job::new(new), Job::new(old));
    non_negative(job.status, &["active", "succeeded", "failed", "ready", "terminating"], "status", errors);
    uncounted(job.status, errors);
    conditions_and_time(&job, &before, errors);
    finished(&job, &before, errors);
    indexes(&job, &before, errors);
    left_over(&job, &before, errors);
    success(&job, errors);
    transitions(&job, &before, errors);
}

/// `Invalid` without a value: upstream's `OmitValueType`.
fn impossible(field: &str, why: impl Into<String>) -> FieldError {
    FieldError { value: None, ..FieldError::invalid(field, Value::Null, why) }
}

fn uncounted(status: &Value, errors: &mut Errors) {
    let (uncounted, mut seen) = (get(status, "uncountedTerminatedPods"), BTreeSet::new());
    for key in ["succeeded", "failed"] {
        for (at, uid) in each(uncounted, key, "status.uncountedTerminatedPods") {
            match uid.as_str().unwrap_or_default() {
                "" => errors.push(FieldError::invalid(at, "", "must not be empty")),
                uid if !seen.insert(uid) => errors.push(FieldError::duplicate(at, uid)),
                _ => {}
            }
        }
    }
}

fn conditions_and_time(job: &Job<'_>, before: &Job<'_>, errors: &mut Errors) {
    let changed = |condition: &str| job.has(condition) != before.has(condition);
    let differs = |key: &str| get(job.status, key) != get(before.status, key);
    let (complete, failed, target) = (job.has("Complete"), job.has("Failed"), job.has("FailureTarget"));
    let (start, end) = (text(job.status, "startTime"), text(job.status, "completionTime"));
    let mut refuse = |why: &str| errors.push(impossible("status.conditions", why));
    if (changed("Complete") || changed("Failed")) && complete && failed {
        refuse("cannot set Complete=True and Failed=true conditions");
    }
    if (changed("Complete") || changed("FailureTarget")) && complete && target {
        refuse("cannot set Complete=True and FailureTarget=true conditions");
    }
    if changed("Complete") || differs("completionTime") {
        if !end.is_empty() && !complete {
            let why = "cannot set completionTime when there is no Complete=True condition";
            errors.push(FieldError::invalid("status.completionTime", end, why));
        }
        if end.is_empty() && complete {
            let why = "completionTime is required for Complete jobs";
            errors.push(FieldError::required("status.completionTime", why));
        }
    }
    // times of one format are in the order of their texts
    if (differs("startTime") || differs("completionTime"))
        && !start.is_empty()
        && !end.is_empty()
        && end < start
    {
        let why = "must be equal to or after `startTime`";
        errors.push(FieldError::invalid("status.completionTime", end, why));
    }
    if (changed("Failed") || changed("FailureTarget")) && failed && !target {
        let why = "cannot set Failed=True condition without the FailureTarget=true condition";
        errors.push(impossible("status.conditions", why));
    }
    if (changed("Complete") || changed("SuccessCriteriaMet")) && complete && !job.has("SuccessCriteriaMet") {
        let why = "cannot set Complete=True condition without the SuccessCriteriaMet=true condition";
        errors.push(impossible("status.conditions", why));
    }
}

/// A finished Job has begun, and has no pods that run or are not counted.
fn finished(job: &Job<'_>, before: &Job<'_>, errors: &mut Errors) {
    let differs = |key: &str| {
        job.is_finished() != before.is_finished() || get(job.status, key) != get(before.status, key)
    };
    if !job.is_finished() {
        return;
    }
    if differs("active") && job.count("active") > 0 {
        let why = "active>0 is invalid for finished job";
        errors.push(FieldError::invalid("status.active", job.count("active"), why));
    }
    // a Job without work may end before it began
    let idle = is_true(job.spec, "suspend") && int(job.spec, "completions") == Some(0);
    if !idle && differs("startTime") && text(job.status, "startTime").is_empty() {
        errors.push(FieldError::required("status.startTime", "startTime is required for finished job"));
    }
    let uncounted = get(job.status, "uncountedTerminatedPods");
    let any = !list(uncounted, "succeeded").is_empty() || !list(uncounted, "failed").is_empty();
    if differs("uncountedTerminatedPods") && any {
        let shown = |key: &str| get(uncounted, key).clone();
        // Go's names: the internal type has no others
        let shown = serde_json::json!({"Succeeded": shown("succeeded"), "Failed": shown("failed")});
        let why = "must be empty for finished job";
        errors.push(FieldError::invalid("status.uncountedTerminatedPods", shown, why));
    }
}

fn indexes(job: &Job<'_>, before: &Job<'_>, errors: &mut Errors) {
    let differs = |key: &str| get(job.status, key) != get(before.status, key);
    let per_index = has(job.spec, "backoffLimitPerIndex");
    let completions = int(job.spec, "completions");
    let (completed, failed) =
        (text(job.status, "completedIndexes"), get(job.status, "failedIndexes").as_str());
    let mut refuse = |field: &str, shown: &str, why: String| {
        errors.push(FieldError::invalid(format!("status.{field}"), shown, why));
    };
    let done = completions.map_or(Ok(Vec::new()), |n| parse(completed, n));
    let lost = completions.zip(failed).map_or(Ok(Vec::new()), |(n, failed)| parse(failed, n));
    if let (true, Err(why)) = (differs("completedIndexes"), &done) {
        refuse("completedIndexes", completed, format!("error parsing completedIndexes: {why}"));
    }
    if let (true, true, Err(why)) = (differs("failedIndexes"), per_index, &lost) {
        refuse("failedIndexes", failed.unwrap_or(""), format!("error parsing failedIndexes: {why}"));
    }
    if differs("completedIndexes") && !completed.is_empty() && !job.is_indexed() {
        let why = "cannot set non-empty completedIndexes when non-indexed completion mode";
        refuse("completedIndexes", completed, why.to_owned());
    }
    if let (true, false, Some(failed)) = (differs("failedIndexes"), per_index, failed) {
        let why = "cannot set non-null failedIndexes when backoffLimitPerIndex is null";
        refuse("failedIndexes", failed, why.to_owned());
    }
    if let (true, Ok(done), Ok(lost)) = (differs("failedIndexes") || differs("completedIndexes"), done, lost)
        && let Some(both) = overlap(&done, &lost)
    {
        let why = format!("failedIndexes and completedIndexes overlap at index: {both}");
        refuse("failedIndexes", failed.unwrap_or(""), why);
    }
}

/// First and last index.
type Interval = (i64, i64);

/// The first index that is in both.
fn overlap(one: &[Interval], other: &[Interval]) -> Option<i64> {
    let meets = |a: &Interval, b: &Interval| (a.0 <= b.1 && b.0 <= a.1).then(|| a.0.max(b.0));
    one.iter().find_map(|a| other.iter().find_map(|b| meets(a, b)))
}

/// How many indexes the text has, if it is well formed.
pub(super) fn indexes_in(text: &str, completions: i64) -> Result<i64, String> {
    Ok(parse(text, completions)?.iter().map(|(first, last)| last - first + 1).sum())
}

/// `validateIndexesFormat`: `1,3-5`, growing, each below `completions`.
fn parse(text: &str, completions: i64) -> Result<Vec<Interval>, String> {
    let (mut all, mut last) = (Vec::new(), None);
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let ends: Vec<&str> = part.split('-').collect();
        if ends.len() > 2 {
            return Err(format!(
                "the fragment {} violates the requirement that an index interval can have at most two parts separated by '-'",
                part.quoted()
            ));
        }
        let mut numbers = Vec::new();
        for end in ends {
            let number: i64 = end
                .parse()
                .map_err(|_| format!("cannot convert string to integer for index: {}", end.quoted()))?;
            if number >= completions {
                return Err(format!("too large index: {}", end.quoted()));
            }
            if last.is_some_and(|last| number <= last) {
                let last = last.unwrap_or(0);
                return Err(format!("non-increasing order, previous: {last}, current: {number}"));
            }
            last = Some(number);
            numbers.push(number);
        }
        if let (Some(first), Some(end)) = (numbers.first(), numbers.last()) {
            all.push((*first, *end));
        }
    }
    Ok(all)
}

fn left_over(job: &Job<'_>, before: &Job<'_>, errors: &mut Errors) {
    let differs = |key: &str| get(job.status, key) != get(before.status, key);
    let ends = job.is_finished() != before.is_finished();
    if (ends || differs("terminating")) && job.is_finished() && job.count("terminating") > 0 {
        let why = "terminating>0 is invalid for finished job";
        errors.push(FieldError::invalid("status.terminating", job.count("terminating"), why));
    }
    if (differs("ready") || differs("active")) && job.count("ready") > job.count("active") {
        let why = "cannot set more ready pods than active";
        errors.push(FieldError::invalid("status.ready", job.count("ready"), why));
    }
}

fn success(job: &Job<'_>, errors: &mut Errors) {
    let mut refuse = |why: &str| errors.push(impossible("status.conditions", why));
    let met = job.has("SuccessCriteriaMet");
    if met && job.has("Failed") {
        refuse("cannot set SuccessCriteriaMet=True and Failed=true conditions");
    }
    if met && job.has("FailureTarget") {
        refuse("cannot set SuccessCriteriaMet=True and FailureTarget=true conditions");
    }
    if has(job.spec, "successPolicy") && !met && job.has("Complete") {
        refuse("cannot set Complete=True for Job with SuccessPolicy unless SuccessCriteriaMet=True");
    }
}

/// What goes one way only.
fn transitions(job: &Job<'_>, before: &Job<'_>, errors: &mut Errors) {
    for condition in FOR_GOOD {
        if before.has(condition) && !job.has(condition) {
            let why = format!("cannot disable the terminal {condition}=True condition");
            errors.push(impossible("status.conditions", why));
        }
    }
    // the pods of an elastic indexed Job that was scaled down are forgotten
    let shrinks = job.is_indexed() && int(job.spec, "completions") == int(job.spec, "parallelism");
    for (key, may_shrink) in [("failed", false), ("succeeded", shrinks)] {
        if !may_shrink && job.count(key) < before.count(key) {
            let why = format!("cannot decrease the {key} counter");
            errors.push(FieldError::invalid(join("status", key), job.count(key), why));
        }
    }
    let (end, was) = (text(job.status, "completionTime"), text(before.status, "completionTime"));
    if !end.is_empty() && !was.is_empty() && end != was {
        errors.push(FieldError::invalid("status.completionTime", end, crate::validation::FIELD_IS_IMMUTABLE));
    }
    let (met, had) = (job.has("SuccessCriteriaMet"), before.has("SuccessCriteriaMet"));
    if had && !met {
        let why = "cannot disable the SuccessCriteriaMet=True condition";
        errors.push(impossible("status.conditions", why));
    }
    if before.has("Complete") && !had && met {
        let why = "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions";
        errors.push(impossible("status.conditions", why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn conditions(types: &[&str]) -> Value {
        types.iter().map(|kind| json!({"type": kind, "status": "True"})).collect::<Vec<_>>().into()
    }

    fn refusals(spec: Value, old: Value, new: Value) -> String {
        let job = |status: Value| json!({"spec": spec, "status": status});
        let mut errors = Errors::new();
        update(&job(new), &job(old), &mut errors);
        errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn a_job_ends_as_its_controller_ends_it() {
        let begun = json!({"startTime": "2026-01-01T00:00:00Z", "active": 1, "uncountedTerminatedPods": {}});
        let done = json!({
            "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:05Z", "succeeded": 1,
            "conditions": conditions(&["SuccessCriteriaMet", "Complete"]), "uncountedTerminatedPods": {},
            "ready": 0, "terminating": 0,
        });
        let lost = json!({
            "startTime": "2026-01-01T00:00:00Z", "failed": 1, "conditions": conditions(&["FailureTarget", "Failed"]),
        });
        assert_eq!(refusals(json!({}), begun.clone(), done.clone()), "");
        assert_eq!(refusals(json!({}), begun, lost), "");
        assert_eq!(refusals(json!({}), done.clone(), done), "");
    }

    #[test]
    fn a_complete_job_has_a_time_and_reasons_and_no_pods() {
        let running = json!({"active": 1, "startTime": "2026-01-01T00:00:00Z"});
        let mut new = running.clone();
        new["conditions"] = conditions(&["Complete"]);
        assert_eq!(
            refusals(json!({}), running, new),
            "status.completionTime: Required value: completionTime is required for Complete jobs; \
             status.conditions: Invalid value: cannot set Complete=True condition without the SuccessCriteriaMet=true condition; \
             status.active: Invalid value: 1: active>0 is invalid for finished job"
        );
    }

    #[test]
    fn each_impossible_change_has_its_words() {
        let start = "2026-01-01T00:00:00Z";
        let cases = [
            (
                json!({}),
                json!({"startTime": start, "conditions": conditions(&["FailureTarget", "Failed"])}),
                json!({"startTime": start}),
                "status.conditions: Invalid value: cannot disable the terminal Failed=True condition; \
                 status.conditions: Invalid value: cannot disable the terminal FailureTarget=True condition",
            ),
            (
                json!({}),
                json!({"succeeded": 2, "failed": 1}),
                json!({"succeeded": 1, "failed": 1}),
                "status.succeeded: Invalid value: 1: cannot decrease the succeeded counter",
            ),
            (
                json!({"completionMode": "Indexed", "completions": 3, "parallelism": 3}),
                json!({"succeeded": 2}),
                json!({"succeeded": 1}),
                "",
            ),
            (
                json!({"completions": 3}),
                json!({}),
                json!({"completedIndexes": "0"}),
                "status.completedIndexes: Invalid value: \"0\": cannot set non-empty completedIndexes when non-indexed completion mode",
            ),
            (
                json!({"completionMode": "Indexed", "completions": 3, "backoffLimitPerIndex": 1}),
                json!({}),
                json!({"completedIndexes": "0-1", "failedIndexes": "1"}),
                "status.failedIndexes: Invalid value: \"1\": failedIndexes and completedIndexes overlap at index: 1",
            ),
            (
                json!({"completionMode": "Indexed", "completions": 3}),
                json!({}),
                json!({"completedIndexes": "2,1"}),
                "status.completedIndexes: Invalid value: \"2,1\": error parsing completedIndexes: non-increasing order, previous: 2, current: 1",
            ),
            (
                json!({}),
                json!({}),
                json!({"ready": 1}),
                "status.ready: Invalid value: 1: cannot set more ready pods than active",
            ),
            (
                json!({}),
                json!({}),
                json!({"uncountedTerminatedPods": {"succeeded": ["a"], "failed": ["a", ""]}}),
                "status.uncountedTerminatedPods.failed[0]: Duplicate value: \"a\"; \
                 status.uncountedTerminatedPods.failed[1]: Invalid value: \"\": must not be empty",
            ),
        ];
        for (spec, old, new, expected) in cases {
            assert_eq!(refusals(spec, old, new.clone()), expected, "{new}");
        }
    }
}
