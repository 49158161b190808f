//! Pods: what admission and the strategy add, binding, eviction, and how long a deletion takes.

use serde_json::{Value, json};

use super::verbs::stamp;
use super::{Answer, Place, State, Who, failure, not_found, selects};

const VIOLATES: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

/// The seconds that a pod has left: none for one that runs nowhere.
pub fn grace(pod: &Value, options: &Value) -> i64 {
    let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
    if over || pod["spec"]["nodeName"].as_str().is_none_or(str::is_empty) {
        return 0;
    }
    let own = pod["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
    options["gracePeriodSeconds"].as_i64().unwrap_or(own)
}

pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn set_condition(pod: &mut Value, condition: Value) {
    let mut all = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    all.retain(|one| one["type"] != condition["type"]);
    all.push(condition);
    pod["status"]["conditions"] = json!(all);
}

impl State {
    /// Priority and DefaultTolerationSeconds.
    pub(super) fn admit_pod(&self, pod: &mut Value) {
        let class = pod["spec"]["priorityClassName"].as_str().unwrap_or_default().to_owned();
        let class = self.objects.get("scheduling.k8s.io/priorityclasses", &(String::new(), class));
        pod["spec"]["priority"] = class.map_or(json!(0), |class| class["value"].clone());
        pod["spec"]["preemptionPolicy"] = json!("PreemptLowerPriority");
        let mut tolerations = pod["spec"]["tolerations"].as_array().cloned().unwrap_or_default();
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            if !tolerations.iter().any(|one| one["key"] == key || one["key"].is_null()) {
                tolerations.push(json!({
                    "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
            }
        }
        pod["spec"]["tolerations"] = json!(tolerations);
        pod["status"] = json!({"phase": "Pending", "qosClass": "Burstable"});
    }

    pub(super) fn bind(&mut self, who: Who, place: &Place, binding: &Value) -> Answer {
        let Some(mut pod) = self.objects.get(&place.kind(), &place.one()).cloned() else {
            return not_found(place);
        };
        let uid = &binding["metadata"]["uid"];
        let taken = pod["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
        if taken
            || !pod["metadata"]["deletionTimestamp"].is_null()
            || (!uid.is_null() && *uid != pod["metadata"]["uid"])
        {
            return failure(409, "Conflict", "Operation cannot be fulfilled on pods/binding");
        }
        pod["spec"]["nodeName"] = binding["target"]["name"].clone();
        set_condition(
            &mut pod,
            json!({"type": "PodScheduled", "status": "True", "lastTransitionTime": stamp()}),
        );
        self.put(who, place, place.one(), Some(pod));
        (201, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
    }

    /// As `pipeline/eviction.rs` of the API server does it.
    pub(super) fn evict(&mut self, who: Who, place: &Place) -> Answer {
        let Some(pod) = self.objects.get(&place.kind(), &place.one()).cloned() else {
            return not_found(place);
        };
        let phase = pod["status"]["phase"].as_str().unwrap_or_default();
        let free = matches!(phase, "Succeeded" | "Failed" | "Pending")
            || !pod["metadata"]["deletionTimestamp"].is_null();
        let budget = self
            .objects
            .of("policy/poddisruptionbudgets")
            .find(|(name, budget)| {
                name.0 == place.namespace && selects(&budget["spec"]["selector"], &pod["metadata"]["labels"])
            })
            .map(|(name, budget)| (name.clone(), budget.clone()));
        if let Some((name, budget)) = budget.filter(|_| !free) {
            let status = &budget["status"];
            let number = |field: &str| status[field].as_i64().unwrap_or(0);
            let enough = number("currentHealthy") >= number("desiredHealthy") && number("desiredHealthy") > 0;
            if is_ready(&pod) || !enough {
                let young =
                    number("observedGeneration") < budget["metadata"]["generation"].as_i64().unwrap_or(0);
                if young || number("disruptionsAllowed") <= 0 {
                    return failure(429, "TooManyRequests", VIOLATES);
                }
                let mut new = budget.clone();
                new["status"]["disruptionsAllowed"] = json!(number("disruptionsAllowed") - 1);
                new["status"]["disruptedPods"][place.one().1] = stamp();
                let budgets = Place {
                    group: "policy".to_owned(),
                    plural: "poddisruptionbudgets".to_owned(),
                    name: Some(name.1.clone()),
                    sub: None,
                    ..place.clone()
                };
                self.put(who, &budgets, name, Some(new));
            }
            self.judge.evicted(&self.objects, &budget, &pod);
        }
        let mut marked = pod;
        set_condition(
            &mut marked,
            json!({"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastTransitionTime": stamp()}),
        );
        self.put(who, place, place.one(), Some(marked));
        self.delete(who, place, &Value::Null);
        (201, json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
    }
}
