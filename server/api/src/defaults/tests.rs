use super::*;
use crate::kinds;
use crate::strict::tests::any_json;
use proptest::prelude::*;
use serde_json::json;

fn filled(kind: &str, group: &str, version: &str, object: Value) -> Value {
    let mut object = object;
    apply(kind, group, version, &mut object);
    let once = object.clone();
    apply(kind, group, version, &mut object);
    assert_eq!(object, once, "defaults settle");
    object
}

/// With what Go always writes.
fn whole(kind: &str, group: &str, version: &str, mut object: Value) -> Value {
    let kind = kinds::by_kind(group, version, kind).expect("a kind");
    fill_object(&mut object, kind.schema);
    object
}

#[test]
fn a_claim_is_for_one_device_of_each_request() {
    let claim = |exactly: Value, first: Value| {
        let requests = json!([{"name": "r", "exactly": exactly}, {"name": "s", "firstAvailable": [first]}]);
        json!({"spec": {"devices": {"requests": requests}}})
    };
    let all = json!({"name": "x", "deviceClassName": "c", "allocationMode": "All"});
    let given = json!({"deviceClassName": "c", "tolerations": [{"key": "k"}]});
    let tolerations = json!([{"key": "k", "operator": "Equal"}]);
    let full = json!({"deviceClassName": "c", "tolerations": tolerations, "allocationMode": "ExactCount", "count": 1});
    let (kind, group) = ("ResourceClaim", "resource.k8s.io");
    assert_eq!(
        filled(kind, group, "v1", claim(given.clone(), all.clone())),
        whole(kind, group, "v1", claim(full.clone(), all.clone()))
    );
    let kind = "ResourceClaimTemplate";
    let template = filled(kind, group, "v1", json!({"spec": claim(given, all.clone())}));
    assert_eq!(template, whole(kind, group, "v1", json!({"spec": claim(full, all)})));
    let kind = "ResourceClaim";
    let flat =
        json!({"spec": {"devices": {"requests": [{"name": "r", "deviceClassName": "c", "count": 2}]}}});
    let counted = &filled(kind, group, "v1beta1", flat)["spec"]["devices"]["requests"][0];
    assert_eq!((&counted["allocationMode"], &counted["count"]), (&json!("ExactCount"), &json!(2)));
    let slice = filled(
        "ResourceSlice",
        group,
        "v1",
        json!({"spec": {"devices": [{"name": "d", "taints": [{"key": "k"}]}]}}),
    );
    assert!(slice["spec"]["devices"][0]["taints"][0]["timeAdded"].is_string());
}

#[test]
fn a_pod_is_filled_in() {
    let pod = json!({"spec": {"containers": [{
        "name": "a", "image": "nginx:1.25", "ports": [{"containerPort": 80}],
        "resources": {"limits": {"cpu": "1"}, "requests": {"memory": "1Gi"}},
        "livenessProbe": {"httpGet": {"port": 80}},
        "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    }], "volumes": [{"name": "v"}, {"name": "c", "configMap": {"name": "c"}}, {"name": "h", "hostPath": {"path": "/"}},
        {"name": "p", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}]}});
    assert_eq!(
        filled("Pod", "", "v1", pod),
        whole(
            "Pod",
            "",
            "v1",
            json!({"spec": {
                "containers": [{
                    "name": "a", "image": "nginx:1.25", "ports": [{"containerPort": 80, "protocol": "TCP"}],
                    "resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "1", "memory": "1Gi"}},
                    "livenessProbe": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
                        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3},
                    "env": [{"name": "N", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                    "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent"
                }],
                "volumes": [{"name": "v", "emptyDir": {}}, {"name": "c", "configMap": {"name": "c", "defaultMode": 420}},
                    {"name": "h", "hostPath": {"path": "/", "type": ""}},
                    {"name": "p", "projected": {"defaultMode": 420, "sources": [{"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}}]}}],
                "enableServiceLinks": true, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst", "securityContext": {}, "schedulerName": "default-scheduler"
            }})
        )
    );
}

#[test]
fn a_negative_grace_is_a_second_for_pods_and_stays_in_templates() {
    let spec = json!({"spec": {"terminationGracePeriodSeconds": -1}});
    assert_eq!(filled("Pod", "", "v1", spec.clone())["spec"]["terminationGracePeriodSeconds"], 1);
    let deployment = filled("Deployment", "apps", "v1", json!({"spec": {"template": spec}}));
    assert_eq!(deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], -1);
}

#[test]
fn the_service_account_has_two_names() {
    for before in [json!({"serviceAccount": "a"}), json!({"serviceAccountName": "a", "serviceAccount": "b"})]
    {
        let after = filled("Pod", "", "v1", json!({"spec": before}));
        assert_eq!(
            (&after["spec"]["serviceAccount"], &after["spec"]["serviceAccountName"]),
            (&json!("a"), &json!("a"))
        );
    }
}

#[test]
fn pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("localhost:5000/nginx", "Always"),
        ("localhost:5000/nginx:1", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("", "Always"),
    ] {
        assert_eq!(image_pull_policy(image), policy, "{image}");
    }
}

#[test]
fn each_kind_is_filled_in() {
    let template = json!({"spec": {
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst", "securityContext": {},
        "schedulerName": "default-scheduler",
    }});
    let cases = [
        (
            "Deployment",
            "apps",
            json!({"spec": {}}),
            json!({"spec": {"replicas": 1, "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": "25%", "maxSurge": "25%"}}, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "template": template}}),
        ),
        (
            "Deployment",
            "apps",
            json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}}}),
            json!({"spec": {"replicas": 0, "strategy": {"type": "Recreate"}, "revisionHistoryLimit": 10, "progressDeadlineSeconds": 600, "template": template}}),
        ),
        (
            "DaemonSet",
            "apps",
            json!({}),
            json!({"spec": {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}}, "revisionHistoryLimit": 10, "template": template}}),
        ),
        (
            "Job",
            "batch",
            json!({}),
            json!({"spec": {"completions": 1, "parallelism": 1, "backoffLimit": 6, "completionMode": "NonIndexed", "suspend": false, "podReplacementPolicy": "TerminatingOrFailed", "template": template}}),
        ),
        (
            "ReplicaSet",
            "apps",
            json!({"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}),
            json!({"spec": {"replicas": 1, "template": {"spec": {
                "restartPolicy": "Never", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
                "securityContext": {}, "schedulerName": "default-scheduler"}}}}),
        ),
        (
            "StatefulSet",
            "apps",
            json!({}),
            json!({"spec": {"podManagementPolicy": "OrderedReady", "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 0}},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Retain", "whenScaled": "Retain"}, "replicas": 1,
                "revisionHistoryLimit": 10, "template": template}}),
        ),
        (
            "CronJob",
            "batch",
            json!({}),
            json!({"spec": {"concurrencyPolicy": "Allow", "suspend": false, "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
                "jobTemplate": {"spec": {"template": template}}}}),
        ),
        ("PodTemplate", "", json!({}), json!({"template": template})),
        (
            "Service",
            "",
            json!({"spec": {"ports": [{"port": 80}]}}),
            json!({"spec": {"ports": [{"port": 80, "protocol": "TCP", "targetPort": 80}], "sessionAffinity": "None", "type": "ClusterIP", "internalTrafficPolicy": "Cluster"}}),
        ),
        ("Secret", "", json!({}), json!({"type": "Opaque"})),
        (
            "Secret",
            "",
            json!({"data": {"a": "AA=="}, "stringData": {"a": "hi"}}),
            json!({"data": {"a": "aGk="}, "type": "Opaque"}),
        ),
        (
            "Namespace",
            "",
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": {"name": "a", "labels": {"kubernetes.io/metadata.name": "a"}}, "status": {"phase": "Active"}}),
        ),
        ("ReplicationController", "", json!({"spec": {}}), json!({"spec": {"replicas": 1}})),
        (
            "RoleBinding",
            "rbac.authorization.k8s.io",
            json!({"roleRef": {"kind": "Role", "name": "a"}, "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "name": "s"}]}),
            json!({"roleRef": {"kind": "Role", "name": "a", "apiGroup": "rbac.authorization.k8s.io"}, "subjects": [{"kind": "User", "name": "u", "apiGroup": "rbac.authorization.k8s.io"}, {"kind": "ServiceAccount", "name": "s"}]}),
        ),
        (
            "StorageClass",
            "storage.k8s.io",
            json!({}),
            json!({"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"}),
        ),
        ("ConfigMap", "", json!({}), json!({})),
    ];
    for (kind, group, before, after) in cases {
        assert_eq!(filled(kind, group, "v1", before), whole(kind, group, "v1", after), "{kind}");
    }
}

#[test]
fn the_older_field_for_one_of_several_counts() {
    let ips = |status: Value| {
        let pod = filled("Pod", "", "v1", json!({"spec": {"containers": []}, "status": status}));
        json!([pod["status"]["podIP"], pod["status"]["podIPs"]])
    };
    let of = |ip: &str| json!([{ "ip": ip }]);
    assert_eq!(ips(json!({"podIPs": of("1.1.1.1")})), json!(["1.1.1.1", of("1.1.1.1")]));
    assert_eq!(ips(json!({"podIP": "1.1.1.1"})), json!(["1.1.1.1", of("1.1.1.1")]));
    assert_eq!(ips(json!({"podIP": "1.1.1.1", "podIPs": of("2.2.2.2")})), json!(["1.1.1.1", of("1.1.1.1")]));
    let two = json!([{"ip": "1.1.1.1"}, {"ip": "::1"}]);
    assert_eq!(ips(json!({"podIP": "1.1.1.1", "podIPs": two})), json!(["1.1.1.1", two]));
    let node = filled("Node", "", "v1", json!({"spec": {"podCIDR": "10.0.0.0/24"}}));
    assert_eq!(node["spec"]["podCIDRs"], json!(["10.0.0.0/24"]));
}

#[test]
fn controllers_take_labels_from_their_template() {
    let before = json!({"spec": {"template": {"metadata": {"labels": {"a": "b"}}}}});
    let after = filled("ReplicationController", "", "v1", before);
    assert_eq!(after["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(after["spec"]["selector"], json!({"a": "b"}));
    assert_eq!(after["spec"]["template"]["spec"]["dnsPolicy"], "ClusterFirst");
    assert!(after["spec"]["template"]["spec"].get("enableServiceLinks").is_none());
}

proptest! {
    #[test]
    fn defaults_never_panic(mut object in any_json()) {
        for kind in crate::kinds::all() {
            apply(kind.kind, kind.group, kind.version, &mut object);
        }
    }
}
