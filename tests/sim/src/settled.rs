//! Whether a cluster is as its workloads ask for.

use serde_json::Value;

use crate::api::{Api, by_uid, controller};

fn count(object: &Value, path: &str) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(0)
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap_or_default()
}

fn observed(object: &Value) -> bool {
    count(object, "/status/observedGeneration") >= count(object, "/metadata/generation")
}

/// What is not as it should be; nothing if all is.
pub fn unsettled(api: &Api) -> Option<String> {
    let pods = api.all("/pods");
    for deployment in api.all("apps/deployments") {
        let wants = count(&deployment, "/spec/replicas");
        let has = ["replicas", "updatedReplicas", "availableReplicas"]
            .map(|field| count(&deployment, &format!("/status/{field}")));
        if has.iter().any(|has| *has != wants) || !observed(&deployment) {
            return Some(format!("deployment {}: {}", name(&deployment), deployment["status"]));
        }
    }
    for set in api.all("apps/statefulsets") {
        let wants = count(&set, "/spec/replicas");
        let has = ["replicas", "readyReplicas", "updatedReplicas"]
            .map(|field| count(&set, &format!("/status/{field}")));
        if has.iter().any(|has| *has != wants) || !observed(&set) {
            return Some(format!("statefulset {}: {}", name(&set), set["status"]));
        }
        let own = |pod: &&Value| controller(pod).is_some_and(|(_, _, owner)| owner == name(&set));
        let mut names: Vec<&str> = pods.iter().filter(own).map(name).collect();
        names.sort_unstable();
        let ordinals: Vec<String> = (0..wants).map(|ordinal| format!("{}-{ordinal}", name(&set))).collect();
        if names != ordinals {
            return Some(format!("statefulset {}: {names:?}", name(&set)));
        }
    }
    for daemon in api.all("apps/daemonsets") {
        let wants = i64::try_from(api.all("/nodes").len()).unwrap();
        let has = ["desiredNumberScheduled", "numberReady", "updatedNumberScheduled"]
            .map(|field| count(&daemon, &format!("/status/{field}")));
        if has.iter().any(|has| *has != wants) || !observed(&daemon) {
            return Some(format!("daemonset {}: {}", name(&daemon), daemon["status"]));
        }
    }
    for job in api.all("batch/jobs").iter().filter(|job| controller(job).is_none()) {
        let conditions = job["status"]["conditions"].as_array();
        let complete = |one: &Value| one["type"] == "Complete" && one["status"] == "True";
        if !conditions.into_iter().flatten().any(complete)
            // one more where the answer to a pod's creation was lost, as with upstream's
            || count(job, "/status/succeeded") < count(job, "/spec/completions")
        {
            return Some(format!("job {}: {}", name(job), job["status"]));
        }
    }
    alone(api, &pods)
}

/// Pods that nobody is left for, that go, or that wait.
fn alone(api: &Api, pods: &[Value]) -> Option<String> {
    let owners: Vec<Value> = ["apps/replicasets", "apps/statefulsets", "apps/daemonsets", "batch/jobs"]
        .iter()
        .flat_map(|kind| api.all(kind))
        .collect();
    let owners = by_uid(owners.iter());
    for pod in pods {
        if let Some((uid, kind, owner)) = controller(pod)
            && !owners.contains_key(uid)
        {
            return Some(format!("pod {} of {kind} {owner}, which is gone", name(pod)));
        }
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            return Some(format!("pod {} goes, and does not: {}", name(pod), pod["metadata"]));
        }
        if pod["status"]["phase"] == "Pending" {
            return Some(format!("pod {} waits: {}", name(pod), pod["status"]));
        }
    }
    None
}
