//! `pods/resize` through the front door: what changes, what is refused, what limits and quotas say to it.

use super::*;

const RESIZE: &str = "/api/v1/namespaces/default/pods/p/resize";

impl World {
    /// A pod whose container asks for 100m and 64Mi and may have twice that.
    async fn resizable(&self) -> Value {
        let resources = json!({"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "200m", "memory": "128Mi"}});
        let spec = json!({"containers": [{"name": "c", "image": "i", "resources": resources}],
            "initContainers": [{"name": "i", "image": "i", "resources": resources}]});
        let made =
            self.post(PODS, json!({"metadata": {"name": "p", "labels": {"a": "b"}}, "spec": spec})).await;
        assert_eq!(made.code, 201, "{}", made.body);
        made.body
    }

    async fn resize(&self, patch: Value) -> Got {
        self.call("PATCH", RESIZE, "application/strategic-merge-patch+json", &patch.to_string()).await
    }

    /// The container's resources are to be these as well.
    async fn resize_container(&self, resources: Value) -> Got {
        self.resize(json!({"spec": {"containers": [{"name": "c", "resources": resources}]}})).await
    }
}

#[tokio::test]
async fn a_resize_changes_resources_and_nothing_else() {
    let w = world().await;
    let made = w.resizable().await;
    let patch = json!({"metadata": {"labels": {"a": "c"}, "annotations": {"d": "e"}}, "status": {"phase": "Running"},
        "spec": {"hostname": "h", "containers": [{"name": "c", "image": "other", "resources": {"requests": {"cpu": "150m"}}}]}});
    let got = w.resize(patch).await;
    assert_eq!(got.code, 200, "{}", got.body);
    let mut expected = made.clone();
    expected["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("150m");
    assert_eq!(got.body["spec"], expected["spec"]);
    assert_eq!(got.body["status"], made["status"]);
    assert_eq!(got.body["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(got.body["metadata"]["annotations"], Value::Null);
    assert_eq!(got.body["metadata"]["generation"], 2);
}

#[tokio::test]
async fn a_pod_as_a_whole_is_resized_too() {
    let w = world().await;
    let spec = json!({"containers": [{"name": "c", "image": "i"}], "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}});
    assert_eq!(w.post(PODS, json!({"metadata": {"name": "p"}, "spec": spec})).await.code, 201);
    let got = w.resize(json!({"spec": {"resources": {"requests": {"cpu": "1500m"}}}})).await;
    assert_eq!(got.code, 200, "{}", got.body);
    assert_eq!(got.body["spec"]["resources"], json!({"requests": {"cpu": "1500m"}, "limits": {"cpu": "2"}}));
    let got = w.resize(json!({"spec": {"resources": null}})).await;
    assert_eq!(got.code, 422);
    let why = got.body["message"].as_str().unwrap();
    assert!(why.contains("spec.resources: Forbidden: pod-level resources cannot be removed"), "{why}");
}

#[tokio::test]
async fn what_would_make_another_pod_of_it_is_refused() {
    let w = world().await;
    w.resizable().await;
    let container = |container: Value| json!({"spec": {"containers": [container]}});
    let cases = [
        (
            container(json!({"name": "c", "resources": {"requests": {"cpu": "200m", "memory": "128Mi"}}})),
            // the init container has less than its limits
            None,
        ),
        (
            container(json!({"name": "c", "resources": {"requests": {"cpu": "300m"}}})),
            Some(
                "spec.containers[0].resources.requests: Invalid value: \"300m\": must be less than or equal to cpu limit of 200m",
            ),
        ),
        (
            container(json!({"name": "c", "resources": {"limits": {"cpu": null}}})),
            Some("spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed"),
        ),
        (
            container(json!({"name": "c", "resources": {"limits": {"ephemeral-storage": "1Gi"}}})),
            Some("spec: Forbidden: only cpu and memory resources are mutable"),
        ),
        (
            // one that runs to its end as well (InPlacePodVerticalScalingInitContainers)
            json!({"spec": {"initContainers": [{"name": "i", "resources": {"limits": {"cpu": "1"}}}]}}),
            None,
        ),
        (
            container(json!({"name": "d", "image": "i"})),
            Some("spec.containers: Forbidden: containers may not be added or removed on resize"),
        ),
    ];
    for (patch, why) in cases {
        let got = w.resize(patch.clone()).await;
        let Some(why) = why else {
            assert_eq!(got.code, 200, "{patch}: {}", got.body);
            continue;
        };
        assert_eq!(got.code, 422, "{patch}: {}", got.body);
        assert_eq!(got.body["message"], format!("Pod \"p\" is invalid: {why}"), "{patch}");
    }
}

#[tokio::test]
async fn a_class_is_for_life() {
    let w = world().await;
    assert_eq!(w.post(PODS, pod("p")).await.code, 201);
    let got = w.resize_container(json!({"requests": {"cpu": "100m"}})).await;
    assert_eq!(got.code, 422);
    assert_eq!(
        got.body["message"],
        "Pod \"p\" is invalid: spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"
    );
}

#[tokio::test]
async fn limit_ranges_and_quotas_hold_for_resizes() {
    let w = world().await;
    w.resizable().await;
    w.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let range = json!({"metadata": {"name": "r"}, "spec": {"limits": [{"type": "Container", "max": {"cpu": "500m", "memory": "1Gi"}}]}});
    assert_eq!(w.post("/api/v1/namespaces/default/limitranges", range).await.code, 201);
    let quota = "/api/v1/namespaces/default/resourcequotas";
    let hard = json!({"requests.cpu": "250m"});
    let spec = json!({"metadata": {"name": "q"}, "spec": {"hard": hard}});
    assert_eq!(w.post(quota, spec.clone()).await.code, 201);
    let mut counted = spec;
    counted["status"] = json!({"hard": hard, "used": {"requests.cpu": "100m"}});
    let got = w.call("PUT", &format!("{quota}/q/status"), "application/json", &counted.to_string()).await;
    assert_eq!(got.code, 200);

    let got = w.resize_container(json!({"limits": {"cpu": "600m"}})).await;
    assert_eq!(
        (got.code, &got.body["message"]),
        (403, &json!("pods \"p\" is forbidden: maximum cpu usage per Container is 500m, but limit is 600m"))
    );
    // the init container's 100m are counted as long as they are the most
    let got = w.resize_container(json!({"requests": {"cpu": "300m"}, "limits": {"cpu": "400m"}})).await;
    assert_eq!(
        (got.code, &got.body["message"]),
        (
            403,
            &json!(
                "pods \"p\" is forbidden: exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=100m, limited: requests.cpu=250m"
            )
        )
    );
    assert_eq!(w.resize_container(json!({"requests": {"cpu": "200m"}})).await.code, 200);
    let used = w.get(&format!("{quota}/q")).await.body["status"]["used"].clone();
    assert_eq!(used, json!({"requests.cpu": "200m"}));
}

#[tokio::test]
async fn no_pod_is_resized_beyond_its_node() {
    let w = world().await;
    let node = json!({"metadata": {"name": "n", "labels": {"kubernetes.io/os": "linux"}},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi"}}});
    assert_eq!(w.post("/api/v1/nodes", node).await.code, 201);
    w.resizable().await;
    let target = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"}});
    assert_eq!(w.post(&format!("{PODS}/p/binding"), target).await.code, 201);
    w.server.secure(&Tasks::new(Component::ApiServer)).await.unwrap();
    let got = w.resize_container(json!({"requests": {"cpu": "1500m"}, "limits": {"cpu": "2"}})).await;
    assert_eq!(got.code, 403);
    assert_eq!(
        got.body["message"],
        "pods \"p\" is forbidden: node didn't have enough allocatable resources: cpu, requested: 1500, allocatable: 1000"
    );
    assert_eq!(got.body["details"]["causes"], json!([{"reason": "NodeCapacity"}]));
    assert_eq!(
        w.resize_container(json!({"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}})).await.code,
        200
    );
}
