//! What becomes of a node's pods when it is drained, as `kubectl drain` sees it.

use serde_json::Value;

/// A pod that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaving {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// Deleted already, by somebody else: it is waited for only.
    pub terminating: bool,
}

/// A budget of which pods are on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// `NAMESPACE/NAME`.
    pub name: String,
    /// How many of its pods may be missing now.
    pub allowed: u64,
    /// How many of its pods are to go.
    pub here: u64,
}

/// What is to come of the pods of a node; pods are named `NAMESPACE/NAME`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    pub leaving: Vec<Leaving>,
    /// A DaemonSet would put them back at once.
    pub of_daemon_sets: Vec<String>,
    /// Run from files of the node: the API server cannot evict them.
    pub mirrors: Vec<String>,
    /// Lose what is in their `emptyDir` volumes.
    pub with_data: Vec<String>,
    /// Nothing makes them anew.
    pub alone: Vec<String>,
    /// Those that hold back some of the pods.
    pub budgets: Vec<Budget>,
}

/// From the pods of the node and the PodDisruptionBudgets of the cluster.
pub fn plan(pods: &[Value], budgets: &[Value]) -> Plan {
    let mut plan = Plan::default();
    let mut going = Vec::new();
    for pod in pods {
        let place = place(pod);
        let controller =
            list(&pod["metadata"]["ownerReferences"]).iter().find(|one| one["controller"] == true);
        let over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        if pod["metadata"]["annotations"].get("kubernetes.io/config.mirror").is_some() {
            plan.mirrors.push(place);
            continue;
        }
        if !over && controller.is_some_and(|one| one["kind"] == "DaemonSet") {
            plan.of_daemon_sets.push(place);
            continue;
        }
        let terminating = !pod["metadata"]["deletionTimestamp"].is_null();
        if !over && !terminating {
            if list(&pod["spec"]["volumes"]).iter().any(|one| !one["emptyDir"].is_null()) {
                plan.with_data.push(place.clone());
            }
            if controller.is_none() {
                plan.alone.push(place);
            }
            going.push(pod);
        }
        plan.leaving.push(Leaving {
            uid: text(&pod["metadata"]["uid"]),
            namespace: text(&pod["metadata"]["namespace"]),
            name: text(&pod["metadata"]["name"]),
            terminating,
        });
    }
    for budget in budgets {
        let of = |pod: &&&Value| {
            pod["metadata"]["namespace"] == budget["metadata"]["namespace"]
                && selects(&budget["spec"]["selector"], &pod["metadata"]["labels"])
        };
        let here = going.iter().filter(of).count() as u64;
        let allowed = budget["status"]["disruptionsAllowed"].as_u64().unwrap_or_default();
        if here > allowed {
            plan.budgets.push(Budget { name: place(budget), allowed, here });
        }
    }
    plan
}

/// Whether a LabelSelector selects labels; an absent one selects nothing.
fn selects(selector: &Value, labels: &Value) -> bool {
    if selector.is_null() {
        return false;
    }
    let equal = selector["matchLabels"]
        .as_object()
        .is_none_or(|all| all.iter().all(|(key, value)| labels[key] == *value));
    equal
        && list(&selector["matchExpressions"]).iter().all(|one| {
            let value = one["key"].as_str().and_then(|key| labels.get(key));
            let among = value.is_some_and(|value| list(&one["values"]).contains(value));
            match one["operator"].as_str() {
                Some("In") => among,
                Some("NotIn") => !among,
                Some("Exists") => value.is_some(),
                Some("DoesNotExist") => value.is_none(),
                _ => false,
            }
        })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn place(object: &Value) -> String {
    format!("{}/{}", text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
}

/// Whether a node other than `own` takes pods now, those that tolerate nothing.
pub fn elsewhere(nodes: &[Value], own: &str) -> bool {
    let ready = |node: &Value| {
        list(&node["status"]["conditions"])
            .iter()
            .any(|one| one["type"] == "Ready" && one["status"] == "True")
    };
    let repels = |node: &Value| {
        list(&node["spec"]["taints"])
            .iter()
            .any(|one| matches!(one["effect"].as_str(), Some("NoSchedule" | "NoExecute")))
    };
    let takes = |node: &Value| node["spec"]["unschedulable"] != true && !repels(node) && ready(node);
    nodes.iter().any(|node| node["metadata"]["name"] != own && takes(node))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(name: &str, owner: &str, rest: Value) -> Value {
        let mut pod = json!({"metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": name},
            "ownerReferences": [{"kind": owner, "controller": true}]}});
        if owner.is_empty() {
            pod["metadata"]["ownerReferences"] = Value::Null;
        }
        for (key, value) in rest.as_object().into_iter().flatten() {
            match value.as_object().filter(|_| key == "metadata") {
                Some(more) => more.iter().for_each(|(key, value)| pod["metadata"][key] = value.clone()),
                None => pod[key] = value.clone(),
            }
        }
        pod
    }

    #[test]
    fn a_plan_says_who_goes_who_stays_and_what_is_lost() {
        let pods = [
            pod("web", "ReplicaSet", json!({})),
            pod("cache", "ReplicaSet", json!({"spec": {"volumes": [{"emptyDir": {}}, {"configMap": {}}]}})),
            pod("agent", "DaemonSet", json!({})),
            pod("old-agent", "DaemonSet", json!({"status": {"phase": "Failed"}})),
            pod("static", "Node", json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}})),
            pod("lone", "", json!({})),
            pod("done", "", json!({"status": {"phase": "Succeeded"}})),
            pod("ending", "", json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})),
        ];
        let plan = plan(&pods, &[]);
        let leaving: Vec<_> = plan.leaving.iter().map(|one| (one.name.as_str(), one.terminating)).collect();
        let expected = [
            ("web", false),
            ("cache", false),
            ("old-agent", false),
            ("lone", false),
            ("done", false),
            ("ending", true),
        ];
        assert_eq!(leaving, expected);
        assert_eq!(plan.of_daemon_sets, ["a/agent"]);
        assert_eq!(plan.mirrors, ["a/static"]);
        assert_eq!(plan.with_data, ["a/cache"]);
        assert_eq!(plan.alone, ["a/lone"]);
    }

    #[test]
    fn a_budget_is_named_when_it_holds_pods_back() {
        let pods = [pod("web", "ReplicaSet", json!({})), pod("db", "StatefulSet", json!({}))];
        let budget = |namespace: &str, selector: Value, allowed: u64| {
            json!({"metadata": {"namespace": namespace, "name": "b"}, "spec": {"selector": selector},
                "status": {"disruptionsAllowed": allowed}})
        };
        let held = |one: Value| plan(&pods, &[one]).budgets.first().map(|one| (one.allowed, one.here));
        assert_eq!(held(budget("a", json!({"matchLabels": {"app": "web"}}), 0)), Some((0, 1)));
        assert_eq!(held(budget("a", json!({"matchLabels": {"app": "web"}}), 1)), None);
        assert_eq!(held(budget("other", json!({}), 0)), None);
        assert_eq!(held(budget("a", json!({}), 1)), Some((1, 2)));
        assert_eq!(held(budget("a", Value::Null, 0)), None);
        let word = |operator: &str| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": ["web"]}]});
        assert_eq!(held(budget("a", word("In"), 0)), Some((0, 1)));
        assert_eq!(held(budget("a", word("NotIn"), 0)), Some((0, 1)));
        assert_eq!(held(budget("a", word("Exists"), 0)), Some((0, 2)));
        assert_eq!(held(budget("a", word("DoesNotExist"), 0)), None);
    }

    #[test]
    fn pods_go_to_another_node_that_is_ready_and_not_cordoned() {
        let node = |name: &str, ready: &str, cordoned: bool| {
            json!({"metadata": {"name": name}, "spec": {"unschedulable": cordoned},
                "status": {"conditions": [{"type": "Ready", "status": ready}]}})
        };
        let own = node("a", "True", false);
        let mut tainted = node("b", "True", false);
        tainted["spec"]["taints"] = json!([{"key": "k", "effect": "NoSchedule"}]);
        for (other, takes) in [
            (node("b", "True", false), true),
            (node("b", "Unknown", false), false),
            (node("b", "True", true), false),
            (tainted, false),
        ] {
            assert_eq!(elsewhere(&[own.clone(), other.clone()], "a"), takes, "{other}");
        }
        assert!(!elsewhere(&[own], "a"));
    }
}
