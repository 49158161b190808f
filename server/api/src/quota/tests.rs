#![allow(clippy::unwrap_used)]
//! What counts for how much, and what is refused in which words.

use serde_json::json;

use super::*;
use crate::kinds::by_resource;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn kind(plural: &str) -> &'static Kind {
    let (group, plural) = plural.split_once('|').unwrap_or(("", plural));
    by_resource(group, "v1", plural).unwrap()
}

#[track_caller]
fn uses(plural: &str, object: Value, want: &str) {
    assert_eq!(amounts::pretty(&usage(kind(plural), &object, NOW)), want);
}

#[test]
fn pods_count_their_requests_and_limits() {
    let container = |cpu: &str, memory: &str| json!({"resources": {"requests": {"cpu": cpu}, "limits": {"cpu": "2", "memory": memory}}});
    uses("pods", json!({"spec": {"containers": [{}]}}), "count/pods=1,pods=1");
    uses(
        "pods",
        json!({"spec": {"containers": [container("100m", "1Gi"), container("400m", "1Gi")], "overhead": {"cpu": "50m"}}}),
        "count/pods=1,cpu=550m,limits.cpu=4050m,limits.memory=2Gi,pods=1,requests.cpu=550m",
    );
    uses(
        "pods",
        json!({"spec": {"containers": [container("100m", "1Gi")], "initContainers": [container("1", "3Gi")]}}),
        "count/pods=1,cpu=1,limits.cpu=2,limits.memory=3Gi,pods=1,requests.cpu=1",
    );
    uses(
        "pods",
        json!({"spec": {"containers": [{"resources": {"requests": {"nvidia.com/gpu": "2", "hugepages-2Mi": "4Mi", "ephemeral-storage": "1Gi"}}}]}}),
        "count/pods=1,ephemeral-storage=1Gi,hugepages-2Mi=4Mi,pods=1,requests.ephemeral-storage=1Gi,\
         requests.hugepages-2Mi=4Mi,requests.nvidia.com/gpu=2",
    );
}

#[test]
fn pods_that_ended_only_count_as_objects() {
    for phase in ["Failed", "Succeeded"] {
        uses("pods", json!({"spec": {"containers": [{}]}, "status": {"phase": phase}}), "count/pods=1");
    }
    let deleted = |at: &str| json!({"metadata": {"deletionTimestamp": at, "deletionGracePeriodSeconds": 30}});
    uses("pods", deleted("1969-12-31T23:59:29Z"), "count/pods=1");
    uses("pods", deleted("1969-12-31T23:59:31Z"), "count/pods=1,pods=1");
}

#[test]
fn other_kinds() {
    let ports = json!([{"port": 1}, {"port": 2}]);
    uses(
        "services",
        json!({"spec": {"type": "ClusterIP", "ports": ports}}),
        "count/services=1,services=1,services.loadbalancers=0,services.nodeports=0",
    );
    uses(
        "services",
        json!({"spec": {"type": "LoadBalancer", "ports": ports}}),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=2",
    );
    uses(
        "services",
        json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": false, "ports": ports}}),
        "count/services=1,services=1,services.loadbalancers=1,services.nodeports=0",
    );
    uses(
        "persistentvolumeclaims",
        json!({"spec": {"storageClassName": "gold", "resources": {"requests": {"storage": "1Gi"}}}}),
        "count/persistentvolumeclaims=1,gold.storageclass.storage.k8s.io/persistentvolumeclaims=1,\
         gold.storageclass.storage.k8s.io/requests.storage=1Gi,persistentvolumeclaims=1,requests.storage=1Gi",
    );
    uses("secrets", json!({}), "count/secrets=1,secrets=1");
    uses("apps|deployments", json!({}), "count/deployments.apps=1");
}

#[test]
fn claims_of_devices_count_the_worst_case() {
    let request = |class: &str, mode: &str, count: i64| json!({"deviceClassName": class, "allocationMode": mode, "count": count});
    let requests = json!([
        {"exactly": request("gpu", "ExactCount", 2)},
        {"exactly": request("nic", "All", 0)},
        {"firstAvailable": [request("gpu", "ExactCount", 4), request("gpu", "ExactCount", 1), request("fpga", "ExactCount", 1)]},
    ]);
    uses(
        "resource.k8s.io|resourceclaims",
        json!({"spec": {"devices": {"requests": requests}}}),
        "count/resourceclaims.resource.k8s.io=1,fpga.deviceclass.resource.k8s.io/devices=1,\
         gpu.deviceclass.resource.k8s.io/devices=6,nic.deviceclass.resource.k8s.io/devices=32",
    );
}

#[test]
fn names_of_resources_say_what_they_count() {
    for (plural, resource, want) in [
        ("pods", "pods", true),
        ("pods", "count/pods", true),
        ("pods", "limits.ephemeral-storage", true),
        ("pods", "limits.nvidia.com/gpu", false),
        ("pods", "requests.nvidia.com/gpu", true),
        ("pods", "requests.storage", false),
        ("persistentvolumeclaims", "requests.storage", true),
        ("persistentvolumeclaims", "x.storageclass.storage.k8s.io/requests.storage", true),
        ("pods", "services", false),
        ("configmaps", "configmaps", true),
        ("apps|deployments", "count/deployments.apps", true),
        ("apps|deployments", "count/deployments", false),
    ] {
        assert_eq!(counts(kind(plural), resource), want, "{plural} {resource}");
    }
}

fn quota(hard: Value, used: Value) -> Value {
    json!({"metadata": {"name": "q"}, "status": {"hard": hard, "used": used}})
}

#[track_caller]
fn charged(quota: &Value, plural: &str, new: &Value, old: Option<&Value>, want: Result<&str, &str>) {
    let change = Change { kind: kind(plural), subresource: "", new, old, now: NOW };
    let got = charge(std::slice::from_ref(quota), &change);
    let got = got.map(|all| match all.first() {
        None => String::new(),
        Some((_, Charged::Used(used))) => used.to_string(),
        Some((_, Charged::Uncounted)) => "uncounted".into(),
    });
    assert_eq!(got.as_deref().map_err(String::as_str), want);
}

#[test]
fn the_eleventh_pod_is_refused() {
    let pod = json!({"spec": {"containers": [{"name": "c"}]}});
    let with = |used: &str| quota(json!({"pods": "10"}), json!({"pods": used}));
    charged(&with("9"), "pods", &pod, None, Ok("{\"pods\":\"10\"}"));
    charged(
        &with("10"),
        "pods",
        &pod,
        None,
        Err("exceeded quota: q, requested: pods=1, used: pods=10, limited: pods=10"),
    );
    charged(&with("10"), "secrets", &json!({}), None, Ok(""));
    charged(
        &quota(json!({"pods": "10"}), json!({})),
        "pods",
        &pod,
        None,
        Err("status unknown for quota: q, resources: pods"),
    );
}

#[test]
fn what_a_new_limit_does_not_know_yet_is_told() {
    let mut q = quota(json!({"pods": "10"}), json!({"pods": "1"}));
    q["spec"] = json!({"hard": {"pods": "10", "secrets": "5"}});
    charged(&q, "secrets", &json!({}), None, Ok("uncounted"));
    charged(&q, "configmaps", &json!({}), None, Ok(""));
    let fresh = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}});
    charged(&fresh, "pods", &json!({"spec": {}}), None, Ok("uncounted"));
}

#[test]
fn limited_cpu_has_to_be_said() {
    let hard = json!({"cpu": "1", "limits.memory": "1Gi", "requests.ephemeral-storage": "1"});
    let q = quota(hard, json!({"cpu": "0", "limits.memory": "0", "requests.ephemeral-storage": "0"}));
    let pod = json!({"spec": {
        "containers": [{"name": "b"}, {"name": "a", "resources": {"requests": {"cpu": "1"}}}], "initContainers": [{"name": "i"}],
    }});
    charged(
        &q,
        "pods",
        &pod,
        None,
        Err("failed quota: q: must specify cpu for: b,i; limits.memory for: a,b,i"),
    );
    let big = json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1500m"}, "limits": {"memory": "2Gi"}}}]}});
    charged(
        &q,
        "pods",
        &big,
        None,
        Err(
            "exceeded quota: q, requested: cpu=1500m,limits.memory=2Gi, used: cpu=0,limits.memory=0, limited: cpu=1,limits.memory=1Gi",
        ),
    );
}

#[test]
fn updates_cost_what_they_add() {
    let q = quota(
        json!({"services.nodeports": "1", "services": "1"}),
        json!({"services.nodeports": "0", "services": "1"}),
    );
    let service = |kind: &str, ports: usize| json!({"spec": {"type": kind, "ports": vec![json!({}); ports]}});
    let old = service("ClusterIP", 2);
    charged(&q, "services", &service("ClusterIP", 3), Some(&old), Ok(""));
    charged(
        &q,
        "services",
        &service("NodePort", 1),
        Some(&old),
        Ok("{\"services\":\"1\",\"services.nodeports\":\"1\"}"),
    );
    charged(
        &q,
        "services",
        &service("NodePort", 2),
        Some(&old),
        Err(
            "exceeded quota: q, requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1",
        ),
    );
    charged(&q, "services", &old, Some(&service("NodePort", 2)), Ok(""));
}

#[test]
fn scopes_narrow_a_quota() {
    let pods = kind("pods");
    let with = |spec: Value, pod: Value| {
        matches(&json!({"spec": spec}), ["pods"].into_iter(), pods, &json!({"spec": pod}))
    };
    let scopes = |name: &str| json!({"scopes": [name]});
    let requests = json!({"containers": [{"resources": {"requests": {"cpu": "1"}}}]});
    for (scope, pod, want) in [
        ("Terminating", json!({"activeDeadlineSeconds": 0}), true),
        ("Terminating", json!({}), false),
        ("NotTerminating", json!({}), true),
        ("BestEffort", json!({"containers": [{}]}), true),
        ("BestEffort", requests.clone(), false),
        ("NotBestEffort", requests, true),
        ("PriorityClass", json!({"priorityClassName": "x"}), true),
        ("PriorityClass", json!({}), false),
        (
            "CrossNamespacePodAffinity",
            json!({"affinity": {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"namespaces": ["x"]}]}}}),
            true,
        ),
        ("CrossNamespacePodAffinity", json!({}), false),
    ] {
        assert_eq!(with(scopes(scope), pod.clone()), want, "{scope} {pod}");
    }
    let select = |operator: &str| {
        json!({"scopeSelector": {"matchExpressions": [
        {"scopeName": "PriorityClass", "operator": operator, "values": ["high"]}]}})
    };
    for (operator, class, want) in [
        ("In", "high", true),
        ("In", "low", false),
        ("NotIn", "low", true),
        ("NotIn", "", true),
        ("DoesNotExist", "", true),
        ("Exists", "low", true),
    ] {
        assert_eq!(with(select(operator), json!({"priorityClassName": class})), want, "{operator} {class}");
    }
    let claims = kind("persistentvolumeclaims");
    let quota = json!({"spec": {"scopeSelector": {"matchExpressions": [
        {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["gold"]}]}}});
    for (class, want) in [("gold", true), ("silver", false)] {
        let claim = json!({"spec": {"volumeAttributesClassName": class}});
        assert_eq!(matches(&quota, ["requests.storage"].into_iter(), claims, &claim), want);
    }
    assert!(!matches(
        &json!({"spec": scopes("BestEffort")}),
        ["services"].into_iter(),
        kind("services"),
        &json!({})
    ));
}
