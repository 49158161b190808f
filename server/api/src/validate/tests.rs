use super::*;
use crate::strict::tests::any_json;
use crate::{defaults, kinds};
use proptest::prelude::*;
use serde_json::json;

mod devices;
mod network;
mod pods;
mod resize;
mod workloads;

fn kind(name: &str) -> &'static Kind {
    [
        "",
        "apps",
        "batch",
        "rbac.authorization.k8s.io",
        "networking.k8s.io",
        "policy",
        "coordination.k8s.io",
        "scheduling.k8s.io",
        "discovery.k8s.io",
        "storage.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "resource.k8s.io",
        "node.k8s.io",
    ]
    .iter()
    .find_map(|group| kinds::by_kind(group, "v1", name))
    .unwrap()
}

/// A valid object of each kind that has rules.
fn valid(name: &str) -> Value {
    let pod = json!({"containers": [{"name": "a", "image": "i"}]});
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod});
    let workload = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template}});
    let mut object = match name {
        "Pod" => json!({"spec": pod}),
        "Deployment" | "ReplicaSet" | "DaemonSet" | "StatefulSet" => workload,
        "ReplicationController" | "PodTemplate" => {
            json!({"spec": {"template": template}, "template": template})
        }
        "Job" => {
            // as its strategy leaves it
            let labels = json!({"batch.kubernetes.io/controller-uid": "u", "batch.kubernetes.io/job-name": "n",
                "controller-uid": "u", "job-name": "n"});
            let selector = json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u"}});
            let pod = json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]});
            json!({"spec": {"selector": selector, "template": {"metadata": {"labels": labels}, "spec": pod}}})
        }
        "CronJob" => {
            json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "i"}]}}}}}})
        }
        "Service" => json!({"spec": {"ports": [{"port": 80}]}}),
        "RoleBinding" => {
            json!({"roleRef": {"kind": "Role", "name": "r"}, "subjects": [{"kind": "User", "name": "u"}]})
        }
        "Role" => json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
        "PriorityClass" => json!({"value": 5}),
        "EndpointSlice" => json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}]}),
        "Ingress" => {
            json!({"spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}})
        }
        "StorageClass" => json!({"provisioner": "p"}),
        "IngressClass" => json!({"spec": {"controller": "a.b/c"}}),
        "IPAddress" => {
            json!({"spec": {"parentRef": {"resource": "services", "name": "s", "namespace": "d"}}})
        }
        "ServiceCIDR" => json!({"spec": {"cidrs": ["10.0.0.0/24"]}}),
        "Endpoints" => json!({"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]}),
        "PersistentVolume" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}})
        }
        "PersistentVolumeClaim" => {
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}})
        }
        _ => json!({}),
    };
    object["metadata"] =
        json!({"name": if name == "IPAddress" { "10.0.0.7" } else { "n" }, "resourceVersion": "1"});
    object["metadata"]["uid"] = "u".into();
    if kind(name).namespaced {
        object["metadata"]["namespace"] = "d".into();
    }
    defaults::apply(name, kind(name).group, "v1", &mut object);
    object
}

const KINDS: &[&str] = &[
    "Pod",
    "Deployment",
    "ReplicaSet",
    "DaemonSet",
    "StatefulSet",
    "ReplicationController",
    "PodTemplate",
    "Job",
    "CronJob",
    "Service",
    "ConfigMap",
    "Secret",
    "Namespace",
    "Node",
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "Lease",
    "PodDisruptionBudget",
    "PriorityClass",
    "EndpointSlice",
    "Ingress",
    "NetworkPolicy",
    "StorageClass",
    "IngressClass",
    "IPAddress",
    "ServiceCIDR",
    "Endpoints",
    "PersistentVolume",
    "PersistentVolumeClaim",
];

fn shown(errors: Vec<FieldError>) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

#[test]
fn valid_objects_are_valid() {
    for name in KINDS {
        let object = valid(name);
        assert_eq!(shown(create(kind(name), &object)), "", "{name}");
        assert_eq!(shown(update(kind(name), &object, &object)), "", "{name}");
        assert_eq!(shown(update_status(kind(name), &object, &object)), "", "{name}");
    }
}

#[test]
fn claims_of_a_stateful_set_are_volumes_of_its_pods() {
    let mut object = valid("StatefulSet");
    object["spec"]["template"]["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}]);
    let missing = "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"data\"";
    assert_eq!(shown(create(kind("StatefulSet"), &object)), missing);
    object["spec"]["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}]);
    assert_eq!(shown(create(kind("StatefulSet"), &object)), "");
}

/// A change of a valid object, by JSON pointer; null removes.
fn changed(name: &str, pointer: &str, value: Value) -> Value {
    let mut object = valid(name);
    let operation = if value.is_null() {
        json!([{"op": "remove", "path": pointer}])
    } else {
        json!([{"op": "add", "path": pointer, "value": value}])
    };
    let patch: json_patch::Patch = serde_json::from_value(operation).unwrap();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}

#[test]
fn errors_on_create_are_upstreams() {
    let cases = [
        ("Pod", "/spec/containers", json!([]), "spec.containers: Required value"),
        (
            "Pod",
            "/spec/containers/0/name",
            json!("A"),
            "spec.containers[0].name: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
        ),
        ("Pod", "/spec/containers/0/image", json!(""), "spec.containers[0].image: Required value"),
        (
            "Pod",
            "/spec/containers/0/ports",
            json!([{"containerPort": 70000, "protocol": "TCP"}]),
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            "Pod",
            "/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": "/x"}]),
            "spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
        ),
        (
            "Pod",
            "/spec/containers/0/resources",
            json!({"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}),
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
        ),
        (
            "Pod",
            "/spec/containers/0/livenessProbe",
            json!({}),
            "spec.containers[0].livenessProbe: Required value: must specify a handler type",
        ),
        (
            "Pod",
            "/spec/containers/1",
            json!({"name": "a", "image": "i"}),
            "spec.containers[1].name: Duplicate value: \"a\"",
        ),
        (
            "Pod",
            "/spec/restartPolicy",
            json!("X"),
            "spec.restartPolicy: Unsupported value: \"X\": supported values: \"Always\", \"OnFailure\", \"Never\"",
        ),
        (
            "Pod",
            "/spec/volumes",
            json!([{"name": "v"}]),
            "spec.volumes[0]: Required value: must specify a volume type",
        ),
        (
            "Pod",
            "/spec/tolerations",
            json!([{"operator": "Equal"}]),
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \"match all values and all keys\"",
        ),
        (
            "Deployment",
            "/spec/replicas",
            json!(-1),
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            "Deployment",
            "/spec/selector/matchLabels/a",
            json!("c"),
            "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        (
            "Deployment",
            "/spec/selector",
            Value::Null,
            "spec.selector: Required value; spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`",
        ),
        (
            "DaemonSet",
            "/spec/updateStrategy/rollingUpdate",
            json!({"maxUnavailable": 1, "maxSurge": "10%"}),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"10%\": may not be set when maxUnavailable is non-zero",
        ),
        (
            "DaemonSet",
            "/spec/updateStrategy/rollingUpdate",
            json!({"maxUnavailable": 0, "maxSurge": "0%"}),
            "spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0",
        ),
        (
            "DaemonSet",
            "/spec/updateStrategy/rollingUpdate",
            json!({"maxUnavailable": 0, "maxSurge": "101%"}),
            "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: \"101%\": must not be greater than 100%",
        ),
        (
            "Deployment",
            "/spec/template/spec/restartPolicy",
            json!("Never"),
            "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
        ),
        (
            "Deployment",
            "/spec/strategy/type",
            json!("Recreate"),
            "spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'",
        ),
        (
            "Job",
            "/spec/template/spec/restartPolicy",
            json!("Always"),
            "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\"",
        ),
        (
            "CronJob",
            "/spec/schedule",
            json!("* *"),
            "spec.schedule: Invalid value: \"* *\": expected exactly 5 fields, found 2: [* *]",
        ),
        (
            "CronJob",
            "/spec/schedule",
            json!("99 * * * *"),
            "spec.schedule: Invalid value: \"99 * * * *\": end of range (99) above maximum (59): 99",
        ),
        (
            "CronJob",
            "/spec/timeZone",
            json!("Mars/Phobos"),
            "spec.timeZone: Invalid value: \"Mars/Phobos\": unknown time zone Mars/Phobos",
        ),
        (
            "CronJob",
            "/spec/timeZone",
            json!(""),
            "spec.timeZone: Invalid value: \"\": timeZone must be nil or non-empty string",
        ),
        (
            "CronJob",
            "/spec/timeZone",
            json!("local"),
            "spec.timeZone: Invalid value: \"local\": timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones",
        ),
        (
            "CronJob",
            "/spec/schedule",
            json!("TZ=UTC 0 0 * * *"),
            "spec.schedule: Invalid value: \"TZ=UTC 0 0 * * *\": cannot use TZ or CRON_TZ in schedule, use timeZone field instead",
        ),
        ("Service", "/spec/ports", json!([]), "spec.ports: Required value"),
        (
            "Service",
            "/spec/type",
            json!("X"),
            "spec.type: Unsupported value: \"X\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
        ),
        (
            "Service",
            "/spec/ports/0/nodePort",
            json!(30000),
            "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'",
        ),
        (
            "ConfigMap",
            "/data",
            json!({"a b": "c"}),
            "data[a b]: Invalid value: \"a b\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        ),
        (
            "Secret",
            "/type",
            json!("kubernetes.io/tls"),
            "data[tls.crt]: Required value; data[tls.key]: Required value",
        ),
        (
            "Role",
            "/rules/0/verbs",
            json!([]),
            "rules[0].verbs: Required value: verbs must contain at least one value",
        ),
        (
            "RoleBinding",
            "/subjects/0/kind",
            json!("X"),
            "subjects[0].kind: Unsupported value: \"X\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
        ),
        (
            "Lease",
            "/spec",
            json!({"leaseDurationSeconds": 0}),
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            "Ingress",
            "/spec/rules/0/http/paths/0/pathType",
            Value::Null,
            "spec.rules[0].http.paths[0].pathType: Required value: pathType must be specified",
        ),
        (
            "PriorityClass",
            "/metadata/name",
            json!("system-x"),
            "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-x is not a known system priority class",
        ),
    ];
    for (name, pointer, value, expected) in cases {
        let mut object = changed(name, pointer, value);
        if pointer.ends_with("/containers/1") || pointer.ends_with("livenessProbe") {
            defaults::apply(name, kind(name).group, "v1", &mut object);
        }
        assert_eq!(shown(create(kind(name), &object)), expected, "{name} {pointer}");
    }
}

#[test]
fn errors_on_update_are_upstreams() {
    let cases = [
        ("Pod", "/spec/containers/0/image", json!("j"), ""),
        ("Pod", "/spec/tolerations", json!([{"operator": "Exists"}]), ""),
        ("Pod", "/spec/activeDeadlineSeconds", json!(5), ""),
        (
            "Pod",
            "/spec/containers/1",
            json!({"name": "b", "image": "i", "imagePullPolicy": "Always", "terminationMessagePolicy": "File"}),
            "spec.containers: Forbidden: pod updates may not add or remove containers",
        ),
        (
            "Deployment",
            "/spec/selector/matchLabels",
            json!({}),
            "spec.selector: Invalid value: {\"matchLabels\":{}}: empty selector is invalid for deployment; spec.selector: Invalid value: {\"matchLabels\":{}}: field is immutable",
        ),
        (
            "StatefulSet",
            "/spec/serviceName",
            json!("x"),
            "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
        ),
        (
            "RoleBinding",
            "/roleRef/name",
            json!("x"),
            "roleRef: Invalid value: {\"kind\":\"Role\",\"name\":\"x\",\"apiGroup\":\"rbac.authorization.k8s.io\"}: cannot change roleRef",
        ),
        ("PriorityClass", "/value", json!(6), "value: Forbidden: may not be changed in an update."),
        ("Secret", "/type", json!("x"), "type: Invalid value: \"x\": field is immutable"),
        (
            "Namespace",
            "/metadata/resourceVersion",
            json!(""),
            "metadata.resourceVersion: Invalid value: \"\": must be specified for an update",
        ),
    ];
    for (name, pointer, value, expected) in cases {
        assert_eq!(
            shown(update(kind(name), &changed(name, pointer, value), &valid(name))),
            expected,
            "{name} {pointer}"
        );
    }
    let errors = shown(update(kind("Pod"), &changed("Pod", "/spec/hostPID", json!(true)), &valid("Pod")));
    assert!(
        errors.starts_with(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
        ),
        "{errors}"
    );
    assert!(errors.ends_with("- \tspec.hostPID: null\n+ \tspec.hostPID: true"), "{errors}");
}

#[test]
fn immutable_maps_stay() {
    for name in ["ConfigMap", "Secret"] {
        let mut old = valid(name);
        old["immutable"] = true.into();
        let mut new = old.clone();
        assert_eq!(shown(update(kind(name), &new, &old)), "");
        new["data"] = json!({"a": "Yg=="});
        assert_eq!(
            shown(update(kind(name), &new, &old)),
            "data: Forbidden: field is immutable when `immutable` is set"
        );
    }
    let with = |ip: &str| {
        let mut service = changed("Service", "/spec/clusterIP", json!(ip));
        service["spec"]["clusterIPs"] = json!([ip]);
        service
    };
    let (old, new) = (with("10.96.0.5"), with("10.96.0.6"));
    assert_eq!(
        shown(update(kind("Service"), &new, &old)),
        "spec.clusterIPs[0]: Invalid value: [\"10.96.0.6\"]: may not change once set"
    );
}

#[test]
fn other_kinds_are_checked_by_schema() {
    let mut errors = Vec::new();
    schema::required("io.k8s.api.node.v1.RuntimeClass", &json!({"scheduling": {}}), &mut errors);
    assert_eq!(shown(errors), "handler: Required value");
}

/// Puts `value` at one of the places of `object`, counted by `at`.
fn mutate(object: &mut Value, at: &mut usize, value: &Value) -> bool {
    if *at == 0 {
        *object = value.clone();
        return true;
    }
    *at -= 1;
    match object {
        Value::Array(list) => list.iter_mut().any(|item| mutate(item, at, value)),
        Value::Object(map) => map.values_mut().any(|item| mutate(item, at, value)),
        _ => false,
    }
}

proptest! {
    #[test]
    fn mutated_objects_never_panic(index in 0..KINDS.len(), at in 0usize..60, value in any_json()) {
        let name = KINDS[index];
        let old = valid(name);
        let mut new = old.clone();
        mutate(&mut new, &mut at.clone(), &value);
        create(kind(name), &new);
        update(kind(name), &new, &old);
        update(kind(name), &old, &new);
        update_status(kind(name), &new, &old);
        defaults::apply(name, kind(name).group, "v1", &mut new);
        let node = crate::strict::Spot::root(kind(name).schema).unwrap();
        if crate::strict::conform(&mut new, node).is_ok() {
            create(kind(name), &new);
        }
    }

    #[test]
    fn any_object_of_any_kind_never_panics(object in any_json()) {
        for kind in kinds::all() {
            create(kind, &object);
        }
    }

    #[test]
    fn mutated_bytes_never_panic(index in 0..KINDS.len(), edits in prop::collection::vec((any::<u16>(), any::<u8>()), 1..6)) {
        use crate::strict::{Expected, FieldValidation, Format, Spot, decode};
        let kind = kind(KINDS[index]);
        let mut body = valid(KINDS[index]).to_string().into_bytes();
        for (at, byte) in edits {
            let at = usize::from(at) % body.len();
            body[at] = byte;
        }
        for format in [Format::Json, Format::Yaml] {
            let node = Spot::root(kind.schema).unwrap();
            match decode(&body, format, node, Expected::from(kind), FieldValidation::Ignore) {
                Ok(decoded) => {
                    let mut value = decoded.value;
                    defaults::apply(kind.kind, kind.group, kind.version, &mut value);
                    create(kind, &value);
                    update(kind, &value, &valid(KINDS[index]));
                }
                Err(error) => prop_assert_eq!(error.code, 400),
            }
        }
    }
}

#[test]
fn a_time_zone_that_was_in_a_schedule_stays_but_not_beside_the_field() {
    let zoned = changed("CronJob", "/spec/schedule", json!("CRON_TZ=UTC 0 0 * * *"));
    assert_eq!(shown(update(kind("CronJob"), &zoned, &zoned)), "");
    let mut both = zoned.clone();
    both["spec"]["timeZone"] = "Etc/UTC".into();
    assert_eq!(
        shown(update(kind("CronJob"), &both, &zoned)),
        "spec.schedule: Invalid value: \"CRON_TZ=UTC 0 0 * * *\": cannot use both timeZone field and TZ or CRON_TZ in schedule"
    );
}
