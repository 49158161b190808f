//! Resizes of pods.

use serde_json::{Value, json};

use super::super::pod_resize;
use crate::status::FieldError;

/// A running pod: a container, an init container that ends, a sidecar.
fn pod() -> Value {
    let amounts = |cpu: &str, memory: &str| json!({"cpu": cpu, "memory": memory});
    let container = |name: &str, requests: Value, limits: Value| {
        json!({"name": name, "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File",
            "resources": {"requests": requests, "limits": limits}})
    };
    let mut sidecar = container("side", amounts("50m", "32Mi"), json!({}));
    sidecar["restartPolicy"] = json!("Always");
    let spec = json!({"restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
        "containers": [container("main", amounts("100m", "64Mi"), amounts("200m", "128Mi"))],
        "initContainers": [container("init", amounts("1", "1Gi"), amounts("1", "1Gi")), sidecar]});
    let status = json!({"qosClass": "Burstable",
        "containerStatuses": [{"name": "main", "state": {"running": {}}, "resources": {}}]});
    json!({"metadata": {"name": "p", "namespace": "d"}, "spec": spec, "status": status})
}

fn shown(errors: Vec<FieldError>) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn set(pod: &mut Value, pointer: &str, value: Value) {
    let (holder, key) = pointer.rsplit_once('/').unwrap();
    let holder = pod.pointer_mut(holder).unwrap();
    match (value, holder) {
        (Value::Null, Value::Object(map)) => drop(map.shift_remove(key)),
        (value, Value::Array(list)) => list[key.parse::<usize>().unwrap()] = value,
        (value, holder) => holder[key] = value,
    }
}

#[test]
fn resizes_change_amounts_of_cpu_and_memory() {
    let main = "/spec/containers/0/resources";
    let only = "Forbidden: only cpu and memory resources are mutable";
    let cases: Vec<(String, Value, Vec<String>)> = vec![
        (format!("{main}/requests/cpu"), json!("150m"), vec![]),
        (format!("{main}/limits"), json!({"cpu": "1", "memory": "1Gi"}), vec![]),
        // a lower limit of memory is the kubelet's to judge
        (format!("{main}/limits/memory"), json!("64Mi"), vec![]),
        ("/spec/initContainers/1/resources/limits".into(), json!({"cpu": "1"}), vec![]),
        (
            format!("{main}/requests/cpu"),
            Value::Null,
            vec!["spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed".into()],
        ),
        (
            format!("{main}/limits"),
            json!({"cpu": "200m"}),
            vec!["spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed".into()],
        ),
        (
            "/spec/initContainers/1/resources/requests".into(),
            json!({"memory": "32Mi"}),
            vec!["spec.initContainers[1].resources.requests: Forbidden: resource requests cannot be removed".into()],
        ),
        (
            format!("{main}/requests/cpu"),
            json!("300m"),
            vec!["spec.containers[0].resources.requests: Invalid value: \"300m\": must be less than or equal to cpu limit of 200m".into()],
        ),
        (format!("{main}/requests/ephemeral-storage"), json!("1Gi"), vec![format!("spec: {only}")]),
        ("/spec/containers/0/resizePolicy".into(), json!([{"resourceName": "cpu", "restartPolicy": "NotRequired"}]), vec![format!("spec: {only}")]),
        (
            "/spec/initContainers/1/resources/limits".into(),
            json!({"ephemeral-storage": "1Gi"}),
            vec!["spec.initContainers[1]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable".into()],
        ),
        (
            "/spec/initContainers/0/resources/limits/ephemeral-storage".into(),
            json!("2"),
            vec!["spec.initContainers[0]: Forbidden: only cpu and memory resources for init or sidecar containers are mutable".into()],
        ),
        ("/spec/initContainers/0/resources/limits/cpu".into(), json!("2"), vec![]),
        (
            "/spec/containers/0/name".into(),
            json!("other"),
            vec!["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize".into()],
        ),
        (
            "/spec/initContainers".into(),
            json!([]),
            vec!["spec.initContainers: Forbidden: initContainers may not be added or removed on resize".into()],
        ),
        (
            "/spec/resources".into(),
            json!({"requests": {"cpu": "2", "memory": "2Gi"}, "limits": {"cpu": "2", "memory": "2Gi"}}),
            vec!["spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing".into()],
        ),
        ("/spec/hostname".into(), json!("h"), vec![format!("spec: {only}")]),
    ];
    for (pointer, value, expected) in cases {
        let old = pod();
        let mut new = pod();
        set(&mut new, &pointer, value.clone());
        assert_eq!(shown(pod_resize(&new, &old)), expected, "{pointer} {value}");
    }
}

#[test]
fn an_init_container_that_ends_does_not_start_anew() {
    let mut old = pod();
    set(
        &mut old,
        "/spec/initContainers/0/resizePolicy",
        json!([{"resourceName": "cpu", "restartPolicy": "RestartContainer"}]),
    );
    let mut new = old.clone();
    set(&mut new, "/spec/initContainers/0/resources/limits/cpu", json!("2"));
    let why = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
    let told = shown(pod_resize(&new, &old));
    assert!(told.contains(&format!("spec.initContainers[0]: Forbidden: {why}")), "{told:?}");
}

#[test]
fn some_pods_are_not_resized_at_all() {
    let cases = [
        (
            "/metadata/annotations",
            json!({"kubernetes.io/config.mirror": "x"}),
            "[]: Forbidden: static pods cannot be resized",
        ),
        ("/spec/os", json!({"name": "windows"}), "[]: Forbidden: windows pods cannot be resized"),
        (
            "/status/containerStatuses/0",
            json!({"name": "main", "state": {"running": {}}}),
            "spec: Forbidden: Pod running on node without support for resize",
        ),
        (
            "/status/nodeAllocatableResourceClaimStatuses",
            json!([{"resourceClaimName": "c"}]),
            "spec: Forbidden: pods with node allocatable resource claims cannot be resized",
        ),
        // upstream forgets devices where it compares
        (
            "/spec/containers/0/resources/claims",
            json!([{"name": "c"}]),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
        (
            "/status/qosClass",
            json!("Guaranteed"),
            "spec: Invalid value: \"Guaranteed\": Pod QOS Class may not change as a result of resizing",
        ),
    ];
    for (pointer, value, expected) in cases {
        let mut old = pod();
        old["spec"]["resourceClaims"] = json!([{"name": "c", "resourceClaimName": "c"}]);
        set(&mut old, pointer, value);
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("150m");
        assert_eq!(shown(pod_resize(&new, &old)), [expected], "{pointer}");
    }
}

#[test]
fn what_a_pod_asks_for_as_a_whole_is_resized_as_well() {
    let whole = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
    let had = whole(json!({"cpu": "1500m", "memory": "2Gi"}), json!({"cpu": "3"}));
    let cases = [
        (
            had.clone(),
            whole(json!({"cpu": "2", "memory": "3Gi"}), json!({"cpu": "4", "memory": "4Gi"})),
            vec![],
        ),
        (Value::Null, had.clone(), vec![]),
        (had.clone(), Value::Null, vec!["spec.resources: Forbidden: pod-level resources cannot be removed"]),
        (
            had.clone(),
            whole(json!({"cpu": "1500m"}), json!({})),
            vec![
                "spec.resources.requests: Forbidden: pod-level resource requests cannot be removed",
                "spec.resources.limits: Forbidden: pod-level resource limits cannot be removed",
            ],
        ),
        (
            had.clone(),
            whole(
                json!({"cpu": "1500m", "memory": "2Gi", "hugepages-2Mi": "2Mi"}),
                json!({"cpu": "3", "hugepages-2Mi": "2Mi"}),
            ),
            vec!["spec: Forbidden: only cpu and memory resources are mutable at pod-level"],
        ),
        (
            had,
            whole(json!({"cpu": "100m", "memory": "2Gi"}), json!({"cpu": "150m"})),
            vec![
                "spec.resources.requests[cpu]: Invalid value: \"100m\": must be greater than or equal to aggregate container requests of 1",
                "spec.resources.containers[0][cpu].limits: Invalid value: \"200m\": must be less than or equal to pod limits of 150m",
            ],
        ),
    ];
    for (before, after, expected) in cases {
        let with = |resources: &Value| {
            let mut pod = pod();
            pod["spec"]["containers"][0]["resources"]["requests"] = json!({"cpu": "50m"});
            set(&mut pod, "/spec/resources", resources.clone());
            pod
        };
        assert_eq!(shown(pod_resize(&with(&after), &with(&before))), expected, "{before} {after}");
    }
}
