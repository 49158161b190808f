//! Cases of a Job's pass.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::job::pod::{FINALIZER, pod_of};
use serde_json::{Value, json};

fn job(spec: &Value) -> Job {
    let mut job = json!({"metadata": {"name": "j", "namespace": "a", "uid": "j"}, "spec": {"template": {"spec": {"containers": [{"name": "c"}]}}}});
    job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    serde_json::from_value(job).unwrap()
}

/// A pass that remembers nothing.
fn plan(job: &Job, pods: &[Arc<Pod>], now: Timestamp) -> Plan {
    let (key, spec) = (sampan_reconcile::Key::namespaced("a", "j"), job.spec.clone().unwrap());
    let failures = backoff::Memory::default().look(&key, job, &spec, pods);
    super::plan(job, pods, &failures, now)
}

fn now() -> Timestamp {
    "2026-01-01T01:00:00Z".parse().unwrap()
}

/// A tracked pod that ended, if it did, long ago. `@n` after its phase gives it an index, `!` lets it go, `-` deletes it.
fn pod(id: &str, text: &str) -> Arc<Pod> {
    let (head, index) = text.split_once('@').unwrap_or((text, ""));
    let phase: String = head.chars().filter(|c| c.is_alphabetic()).collect();
    let mut annotations = json!({});
    if !index.is_empty() {
        annotations["batch.kubernetes.io/job-completion-index"] = json!(index);
    }
    let mut pod = json!({
        "metadata": {"name": id, "uid": id, "namespace": "a", "annotations": annotations, "creationTimestamp": "2026-01-01T00:00:00Z",
            "finalizers": if head.contains('!') { vec![] } else { vec![FINALIZER] }},
        "status": {"phase": phase}});
    if head.contains('-') {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    Arc::new(serde_json::from_value(pod).unwrap())
}

fn pods(texts: &[&str]) -> Vec<Arc<Pod>> {
    texts.iter().enumerate().map(|(i, text)| pod(&format!("p{i}"), text)).collect()
}

fn indexes_of(plan: &Plan) -> Vec<Option<i32>> {
    plan.create.iter().map(|new| new.index).collect()
}

fn reason(status: &JobStatus, kind: &str) -> Option<String> {
    let condition = status.conditions.iter().flatten().find(|c| c.type_ == kind && c.status == "True")?;
    condition.reason.clone()
}

#[test]
fn pods_are_created_up_to_what_is_useful() {
    let cases = [
        (json!({"completions": 1, "parallelism": 1}), vec![], 1, 0),
        (json!({"completions": 5, "parallelism": 2}), vec!["Running"], 1, 0),
        (json!({"completions": 2, "parallelism": 2}), vec!["Succeeded"], 1, 0),
        (json!({"parallelism": 3}), vec!["Succeeded", "Running"], 0, 0),
        (json!({"completions": 3, "parallelism": 1}), vec!["Running", "Running"], 0, 1),
        (json!({"completions": 3, "parallelism": 1, "suspend": true}), vec!["Running"], 0, 1),
        (json!({"completions": 1, "parallelism": 1}), vec!["-Running"], 1, 0),
        (
            json!({"completions": 1, "parallelism": 1, "podReplacementPolicy": "Failed"}),
            vec!["-Running"],
            0,
            0,
        ),
        (
            json!({"completions": 1, "parallelism": 1, "podReplacementPolicy": "Failed"}),
            vec!["-Failed"],
            1,
            0,
        ),
    ];
    for (spec, texts, create, delete) in cases {
        let plan = plan(&job(&spec), &pods(&texts), now());
        assert_eq!((plan.create.len(), plan.delete.len()), (create, delete), "{spec} {texts:?}");
    }
}

#[test]
fn a_pod_that_was_noted_as_failed_and_then_ended_well_is_not_counted_again() {
    let mut job = job(&json!({"completions": 2, "parallelism": 2}));
    let first = plan(&job, &pods(&["-Running", "Succeeded"]), now()).status;
    assert_eq!(
        first.uncounted_terminated_pods.as_ref().unwrap().failed.as_deref(),
        Some(&["p0".to_owned()][..])
    );
    job.status = Some(first);
    let next = plan(&job, &pods(&["-Succeeded", "!Succeeded"]), now());
    assert_eq!(reason(&next.status, "SuccessCriteriaMet"), None);
    assert_eq!((next.status.succeeded, next.create.len()), (Some(1), 1));
}

#[test]
fn each_pod_is_counted_once_and_then_the_job_completes() {
    let mut job = job(&json!({"completions": 1, "parallelism": 1}));
    let first = plan(&job, &pods(&["Succeeded"]), now());
    assert_eq!(first.strip.len(), 1);
    assert!(has(&first.status, "SuccessCriteriaMet") && !has(&first.status, "Complete"));
    job.status = Some(first.status);
    let again = plan(&job, &pods(&["Succeeded"]), now());
    assert_eq!(again.status.succeeded, None, "still uncounted");
    job.status = Some(again.status);
    let last = plan(&job, &pods(&["!Succeeded"]), now());
    assert_eq!(last.status.succeeded, Some(1));
    assert!(has(&last.status, "Complete") && last.status.completion_time.is_some());
    assert_eq!(last.events.last().unwrap().1, "Completed");
}

#[test]
fn a_failing_job_takes_its_running_pods_along() {
    let mut job = job(&json!({"completions": 2, "parallelism": 2, "backoffLimit": 0}));
    let first = plan(&job, &pods(&["Failed", "Running"]), now());
    assert_eq!(reason(&first.status, "FailureTarget").as_deref(), Some("BackoffLimitExceeded"));
    assert_eq!((first.create.len(), first.delete.len(), first.strip.len()), (0, 1, 2));
    job.status = Some(first.status);
    let leaving = plan(&job, &pods(&["!Failed", "!-Running"]), now());
    assert_eq!((leaving.status.failed, leaving.status.terminating), (Some(2), Some(1)));
    assert!(!has(&leaving.status, "Failed"), "a pod still runs");
    job.status = Some(leaving.status);
    let last = plan(&job, &pods(&["!Failed"]), now());
    assert!(has(&last.status, "Failed"));
    assert_eq!(last.status.failed, Some(2));
    assert_eq!(last.events.last().unwrap().1, "BackoffLimitExceeded");
}

#[test]
fn pods_that_are_not_wanted_do_not_fail() {
    let narrow = json!({"completions": 3, "parallelism": 1});
    let suspended = json!({"completions": 3, "parallelism": 2, "suspend": true});
    for (spec, deleted) in [(narrow, 1), (suspended, 2)] {
        let plan = plan(&job(&spec), &pods(&["Running", "Running"]), now());
        assert_eq!((plan.delete.len(), plan.unwanted.len()), (deleted, deleted), "let go first: {spec}");
        assert!(plan.strip.is_empty(), "{spec}");
        assert_eq!(plan.status.uncounted_terminated_pods.unwrap().failed, None, "{spec}");
        assert_eq!(plan.status.terminating, Some(i32::try_from(deleted).unwrap()));
    }
}

#[test]
fn suspension_and_resumption() {
    let suspended = plan(&job(&json!({"completions": 1, "parallelism": 1, "suspend": true})), &[], now());
    assert_eq!(reason(&suspended.status, "Suspended").as_deref(), Some("JobSuspended"));
    assert_eq!((suspended.status.start_time.clone(), suspended.events[0].1.as_str()), (None, "Suspended"));
    let mut resumed = job(&json!({"completions": 1, "parallelism": 1, "suspend": false}));
    resumed.status = Some(suspended.status);
    let plan = plan(&resumed, &[], now());
    assert!(!has(&plan.status, "Suspended"));
    assert_eq!((plan.status.start_time, plan.create.len()), (Some(Time(now())), 1));
    assert_eq!(plan.events[0].1, "Resumed");
}

#[test]
fn a_job_that_is_suspended_while_it_runs_has_no_time() {
    let mut job = job(&json!({"completions": 1, "parallelism": 1, "activeDeadlineSeconds": 10}));
    job.status = Some(plan(&job, &[], now()).status);
    assert_eq!(job.status.as_ref().unwrap().start_time, Some(Time(now())));
    job.spec.as_mut().unwrap().suspend = Some(true);
    let suspended = plan(&job, &pods(&["Running"]), now() + Duration::from_secs(20));
    assert_eq!(reason(&suspended.status, "FailureTarget"), None, "its time does not run");
    assert_eq!((suspended.status.start_time.clone(), suspended.requeue), (None, None));
    job.status = Some(suspended.status);
    let still = plan(&job, &[], now() + Duration::from_secs(30)).status;
    assert_eq!((reason(&still, "Suspended").is_some(), still.start_time), (true, None));
}

#[test]
fn deadlines() {
    for (passed, reached) in [(5, false), (10, true)] {
        let mut job = job(&json!({"completions": 1, "parallelism": 1, "activeDeadlineSeconds": 10}));
        let start = Some(Time(now() - Duration::from_secs(passed)));
        job.status = Some(JobStatus { start_time: start, ..JobStatus::default() });
        let plan = plan(&job, &pods(&["Running"]), now());
        assert_eq!(reason(&plan.status, "FailureTarget").is_some(), reached);
        assert_eq!(plan.requeue, (!reached).then_some(Duration::from_secs(5)));
    }
}

#[test]
fn indexes_are_filled_and_kept_apart() {
    let indexed = |fields: Value| {
        let mut spec = json!({"completions": 4, "parallelism": 3, "completionMode": "Indexed"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        job(&spec)
    };
    let cases: [(Value, Vec<&str>, Vec<i32>, usize); 6] = [
        (json!({}), vec![], vec![0, 1, 2], 0),
        (json!({}), vec!["Succeeded@0", "Running@2"], vec![1, 3], 0),
        (json!({}), vec!["Running@1", "Running@1"], vec![], 1),
        (json!({}), vec!["Running@7", "Running"], vec![], 2),
        (json!({}), vec!["-Running@0"], vec![0, 1, 2], 0),
        (json!({"podReplacementPolicy": "Failed"}), vec!["-Running@0"], vec![1, 2], 0),
    ];
    for (fields, texts, create, delete) in cases {
        let plan = plan(&indexed(fields), &pods(&texts), now());
        let create: Vec<_> = create.into_iter().map(Some).collect();
        assert_eq!((indexes_of(&plan), plan.delete.len()), (create, delete), "{texts:?}");
    }
    let done = plan(&indexed(json!({})), &pods(&["Succeeded@0", "Succeeded@2", "Succeeded@2"]), now());
    assert_eq!((done.status.completed_indexes.as_deref(), done.status.succeeded), (Some("0,2"), Some(2)));
    assert_eq!(done.status.uncounted_terminated_pods.unwrap().succeeded, None, "the index is enough");
}

#[test]
fn an_indexed_job_may_shrink_and_grow() {
    let mut job = job(&json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed"}));
    let status = json!({"completedIndexes": "0-3", "succeeded": 4});
    job.status = Some(serde_json::from_value(status).unwrap());
    let smaller = plan(&job, &[], now());
    assert_eq!(smaller.status.completed_indexes.as_deref(), Some("0,1"));
    assert!(has(&smaller.status, "Complete"));
    job.spec.as_mut().unwrap().completions = Some(6);
    let larger = plan(&job, &[], now());
    assert_eq!(indexes_of(&larger), [Some(4), Some(5)]);
}

#[test]
fn failures_are_limited_by_index() {
    let spec = json!({
        "completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimit": i32::MAX, "backoffLimitPerIndex": 1});
    let mut first = job(&spec);
    let retried = plan(&first, &pods(&["Failed@0", "Succeeded@1"]), now());
    assert_eq!(retried.create, [New { index: Some(0), failures: Some((1, 0)) }]);
    assert_eq!(retried.strip.len(), 1, "the failed pod stays until its replacement is there");
    let second = pod_of(&first, first.spec.as_ref().unwrap(), &retried.create[0]);
    let mut second = Pod { status: pod("x", "Failed").status.clone(), ..second };
    second.metadata.uid = Some("second".into());
    first.status = Some(retried.status);
    let over = plan(&first, &[pod("p0", "Failed@0"), Arc::new(second)], now());
    assert_eq!(over.status.failed_indexes.as_deref(), Some("0"));
    assert_eq!(reason(&over.status, "FailureTarget").as_deref(), Some("FailedIndexes"));
    let mut strict = job(&spec);
    strict.spec.as_mut().unwrap().max_failed_indexes = Some(0);
    strict.spec.as_mut().unwrap().backoff_limit_per_index = Some(0);
    let failed = plan(&strict, &pods(&["Failed@0"]), now());
    assert_eq!(reason(&failed.status, "FailureTarget").as_deref(), Some("MaxFailedIndexesExceeded"));
}

#[test]
fn ignored_failures_do_not_count() {
    let rules =
        json!([{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]);
    let job = job(
        &json!({"completions": 1, "parallelism": 1, "backoffLimit": 0, "podFailurePolicy": {"rules": rules}}),
    );
    let mut disrupted = (*pod("p", "Failed")).clone();
    let condition = json!([{"type": "DisruptionTarget", "status": "True"}]);
    disrupted.status.as_mut().unwrap().conditions = Some(serde_json::from_value(condition).unwrap());
    let plan = plan(&job, &[Arc::new(disrupted)], now());
    assert_eq!(Ending::of(&plan.status), None);
    assert_eq!((plan.create.len(), plan.strip.len()), (1, 1));
    assert_eq!(plan.status.uncounted_terminated_pods.unwrap().failed, None);
}

#[test]
fn a_success_policy_ends_the_job_early() {
    let rules = json!([{"succeededIndexes": "0"}]);
    let mut job = job(&json!({
        "completions": 3, "parallelism": 3, "completionMode": "Indexed", "successPolicy": {"rules": rules}}));
    let met = plan(&job, &pods(&["Succeeded@0", "Running@1", "Running@2"]), now());
    assert_eq!(reason(&met.status, "SuccessCriteriaMet").as_deref(), Some("SuccessPolicy"));
    assert_eq!((met.delete.len(), met.strip.len()), (2, 3));
    job.status = Some(met.status);
    let last = plan(&job, &pods(&["!Succeeded@0"]), now());
    assert_eq!(reason(&last.status, "Complete").as_deref(), Some("SuccessPolicy"));
    assert_eq!((last.status.succeeded, last.status.failed), (Some(1), None), "the others did not fail");
}

#[test]
fn failures_in_a_row_are_followed_by_a_pause() {
    let at = "2026-01-01T00:00:03Z".parse().unwrap();
    let plan = plan(&job(&json!({"completions": 1, "parallelism": 1})), &pods(&["Failed"]), at);
    assert_eq!((plan.create.len(), plan.requeue), (0, Some(Duration::from_secs(7))));
}

#[test]
fn pods_are_numbered() {
    let indexed = job(&json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}));
    let made = pod_of(&indexed, indexed.spec.as_ref().unwrap(), &New { index: Some(2), failures: None });
    assert_eq!(made.metadata.generate_name.as_deref(), Some("j-2-"));
    let spec = made.spec.unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("j-2"));
    let field =
        spec.containers[0].env.as_ref().unwrap()[0].value_from.as_ref().unwrap().field_ref.as_ref().unwrap();
    assert_eq!(field.field_path, "metadata.labels['batch.kubernetes.io/job-completion-index']");
    assert_eq!(made.metadata.labels.unwrap()["batch.kubernetes.io/job-completion-index"], "2");
    assert_eq!(made.metadata.finalizers.unwrap(), [FINALIZER]);
}

#[test]
fn a_job_that_is_on_its_way_out_counts_its_pods_and_lets_them_go() {
    let mut job = job(&json!({"completions": 5, "parallelism": 3}));
    job.metadata.deletion_timestamp = Some(Time(now()));
    let plan = plan(&job, &pods(&["Running", "Succeeded", "-Running"]), now());
    assert!(plan.create.is_empty() && plan.delete.is_empty());
    let let_go: Vec<_> = plan.strip.iter().map(|pod| uid(&pod.metadata)).collect();
    assert_eq!(let_go, ["p0", "p1", "p2"]);
    let uncounted = plan.status.uncounted_terminated_pods.unwrap();
    assert_eq!(uncounted.succeeded.unwrap(), ["p1"]);
    assert_eq!(uncounted.failed.unwrap(), ["p2"]);
    assert_eq!((plan.status.active, plan.status.terminating), (Some(1), Some(1)));
}

#[test]
fn pods_that_could_not_be_made_are_not_active() {
    let mut plan = plan(&job(&json!({"completions": 5, "parallelism": 3})), &pods(&["Running"]), now());
    assert_eq!((plan.create.len(), plan.status.active), (2, Some(3)));
    plan.recount(&pods(&["Running", "-Running", "Failed"]));
    assert_eq!((plan.status.active, plan.status.terminating), (Some(1), Some(1)));
    plan.recount(&[]);
    assert_eq!((plan.status.active, plan.status.ready), (None, Some(0)));
}
