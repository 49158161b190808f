use super::*;
use crate::kinds;

const NOW: &str = "2026-06-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().expect("a time")
}

fn cells(group: &str, version: &str, plural: &str, object: Value) -> Vec<Value> {
    let kind = kinds::by_resource(group, version, plural).expect("a kind");
    let cells = row(kind, &object, now());
    // what a kind says it reads is all that it reads
    if let Some(reads) = reads(kind) {
        let parts = reads.read(object.to_string().as_bytes()).expect("an object");
        assert_eq!(row(kind, &parts, now()), cells, "{object}");
        assert_eq!(row_conditions(kind, &parts), row_conditions(kind, &object), "{object}");
    }
    cells
}

/// The first cells of an object, as kubectl would print them.
fn printed(group: &str, version: &str, plural: &str, object: Value) -> Vec<String> {
    let words = |cell: Value| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned);
    cells(group, version, plural, object).into_iter().map(words).collect()
}

#[test]
fn durations_read_as_upstreams() {
    for (seconds, expected) in [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (599, "9m59s"),
        (600, "10m"),
        (179 * 60, "179m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 60, "3h1m"),
        (8 * 3600, "8h"),
        (47 * 3600, "47h"),
        (48 * 3600, "2d"),
        (49 * 3600, "2d1h"),
        (8 * 86_400, "8d"),
        (729 * 86_400, "729d"),
        (730 * 86_400, "2y"),
        (731 * 86_400, "2y1d"),
        (8 * 365 * 86_400, "8y"),
    ] {
        assert_eq!(human_duration(seconds), expected, "{seconds}");
    }
    assert_eq!(since("", now()), "<unknown>");
    assert_eq!(since("2026-06-01T11:59:30Z", now()), "30s");
}

#[test]
fn every_kind_has_as_many_cells_as_columns() {
    for kind in kinds::all() {
        let cells = row(kind, &json!({}), now());
        assert_eq!(cells.len(), columns(kind).len(), "{}", kind.plural);
        assert!(columns(kind).iter().any(|column| column.format == "name"), "{}", kind.plural);
    }
    for printer in ROOMS.into_iter().flatten() {
        assert!(kinds::all().iter().any(|kind| kind.storage_group == printer.bucket), "{}", printer.bucket);
    }
}

/// A pod of one container, with that status.
fn pod(status: Value) -> Value {
    json!({"metadata": {"name": "web", "creationTimestamp": "2026-06-01T11:55:00Z"},
        "spec": {"containers": [{"name": "c"}], "nodeName": "n1"}, "status": status})
}

#[test]
fn pods_say_what_keeps_them() {
    let running = json!({"name": "c", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let state = |state: Value| json!([{"name": "c", "restartCount": 0, "state": state}]);
    let restarted = json!([{"name": "c", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"exitCode": 1, "finishedAt": "2026-06-01T11:55:00Z"}}}]);
    for (status, ready, reason, restarts) in [
        (json!({"phase": "Pending"}), "0/1", "Pending", "0"),
        (json!({"phase": "Running", "containerStatuses": [running]}), "1/1", "Running", "0"),
        (
            json!({"phase": "Running", "containerStatuses": restarted}),
            "0/1",
            "CrashLoopBackOff",
            "2 (5m ago)",
        ),
        (
            json!({"phase": "Pending", "containerStatuses": state(json!({"waiting": {"reason": "ErrImagePull"}}))}),
            "0/1",
            "ErrImagePull",
            "0",
        ),
        (
            json!({"phase": "Succeeded",
                "containerStatuses": state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}))}),
            "0/1",
            "Completed",
            "0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": state(json!({"terminated": {"exitCode": 3}}))}),
            "0/1",
            "ExitCode:3",
            "0",
        ),
        (
            json!({"phase": "Failed", "containerStatuses": state(json!({"terminated": {"exitCode": 137, "signal": 9}}))}),
            "0/1",
            "Signal:9",
            "0",
        ),
        (json!({"phase": "Failed", "reason": "Evicted"}), "0/1", "Evicted", "0"),
        (
            json!({"phase": "Pending",
                "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}),
            "0/1",
            "SchedulingGated",
            "0",
        ),
    ] {
        let row = printed("", "v1", "pods", pod(status.clone()));
        assert_eq!(row[..5], ["web", ready, reason, restarts, "5m"], "{status}");
    }
}

#[test]
fn init_containers_and_sidecars_count() {
    let with_init = |init: Value, statuses: Value, containers: Value| {
        json!({"metadata": {"name": "web"}, "spec": {"containers": [{"name": "c"}], "initContainers": init},
            "status": {"phase": "Pending", "initContainerStatuses": statuses, "containerStatuses": containers}})
    };
    let two = json!([{"name": "a"}, {"name": "b"}]);
    let sidecar = json!([{"name": "s", "restartPolicy": "Always"}]);
    let done = json!({"name": "a", "restartCount": 0, "state": {"terminated": {"exitCode": 0}}});
    let waiting =
        json!([{"name": "c", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}]);
    let running = json!([{"name": "c", "ready": true, "restartCount": 0, "state": {"running": {}}}]);
    for (object, ready, reason) in [
        (
            with_init(two.clone(), json!([{"name": "a", "state": {"running": {}}}]), waiting.clone()),
            "0/1",
            "Init:0/2",
        ),
        (
            with_init(
                two.clone(),
                json!([done, {"name": "b", "state": {"waiting": {"reason": "PodInitializing"}}}]),
                waiting.clone(),
            ),
            "0/1",
            "Init:1/2",
        ),
        (
            with_init(
                two.clone(),
                json!([{"name": "a", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}]),
                waiting.clone(),
            ),
            "0/1",
            "Init:CrashLoopBackOff",
        ),
        (
            with_init(
                two.clone(),
                json!([{"name": "a", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}]),
                waiting.clone(),
            ),
            "0/1",
            "Init:Error",
        ),
        (
            with_init(two, json!([{"name": "a", "state": {"terminated": {"exitCode": 2}}}]), waiting),
            "0/1",
            "Init:ExitCode:2",
        ),
        (
            with_init(
                sidecar,
                json!([{"name": "s", "started": true, "ready": true, "state": {"running": {}}}]),
                running,
            ),
            "2/2",
            "Pending",
        ),
    ] {
        let row = printed("", "v1", "pods", object);
        assert_eq!(row[1..3], [ready, reason]);
    }
}

#[test]
fn ending_pods_say_so() {
    let mut object = pod(json!({"phase": "Running"}));
    object["metadata"]["deletionTimestamp"] = NOW.into();
    assert_eq!(printed("", "v1", "pods", object.clone())[2], "Terminating");
    object["status"]["reason"] = "NodeLost".into();
    assert_eq!(printed("", "v1", "pods", object)[2], "Unknown");
    let pods = kinds::by_resource("", "v1", "pods").expect("pods");
    let conditions = row_conditions(pods, &pod(json!({"phase": "Succeeded"}))).expect("conditions");
    assert_eq!(conditions[0]["reason"], "Succeeded");
    assert!(row_conditions(pods, &pod(json!({"phase": "Running"}))).is_none());
}

#[test]
fn wide_cells_of_pods() {
    let mut object = pod(json!({"phase": "Running", "podIPs": [{"ip": "10.244.0.5"}],
        "conditions": [{"type": "a", "status": "True"}]}));
    assert_eq!(printed("", "v1", "pods", object.clone())[5..], ["10.244.0.5", "n1", "<none>", "<none>"]);
    object["spec"]["readinessGates"] = json!([{"conditionType": "a"}, {"conditionType": "b"}]);
    assert_eq!(printed("", "v1", "pods", object)[8], "1/2");
}

#[test]
fn other_kinds_print_as_upstreams() {
    let meta = || json!({"name": "x", "creationTimestamp": "2026-06-01T11:00:00Z"});
    let template =
        || json!({"spec": {"containers": [{"name": "a", "image": "i:1"}, {"name": "b", "image": "j:2"}]}});
    type Case = ((&'static str, &'static str, &'static str), Value, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        (
            ("apps", "v1", "deployments"),
            json!({"metadata": meta(), "spec": {"replicas": 3, "template": template(),
                "selector": {"matchLabels": {"app": "w"}, "matchExpressions": [{"key": "t", "operator": "In", "values": ["b", "a"]}]}},
                "status": {"readyReplicas": 2, "updatedReplicas": 3, "availableReplicas": 2}}),
            vec!["x", "2/3", "3", "2", "60m", "a,b", "i:1,j:2", "app=w,t in (a,b)"],
        ),
        (
            ("apps", "v1", "replicasets"),
            json!({"metadata": meta(), "spec": {"replicas": 3, "template": template()}, "status": {"replicas": 3}}),
            vec!["x", "3", "3", "0", "60m", "a,b", "i:1,j:2", "<none>"],
        ),
        (
            ("", "v1", "nodes"),
            json!({"metadata": {"name": "x", "creationTimestamp": "2026-06-01T11:00:00Z",
                "labels": {"node-role.kubernetes.io/control-plane": "", "kubernetes.io/role": "edge"}},
                "spec": {"unschedulable": true},
                "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"kubeletVersion": "v1.36.0"},
                    "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}]}}),
            vec![
                "x",
                "Ready,SchedulingDisabled",
                "control-plane,edge",
                "60m",
                "v1.36.0",
                "10.0.0.1",
                "<none>",
                "<unknown>",
                "<unknown>",
                "<unknown>",
            ],
        ),
        (
            ("", "v1", "services"),
            json!({"metadata": meta(), "spec": {"type": "NodePort", "clusterIP": "10.96.0.9",
                "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}],
                "selector": {"b": "2", "a": "1"}}}),
            vec!["x", "NodePort", "10.96.0.9", "<none>", "80:30080/TCP,53/UDP", "60m", "a=1,b=2"],
        ),
        (
            ("", "v1", "services"),
            json!({"metadata": meta(), "spec": {"type": "LoadBalancer", "clusterIP": "None"}}),
            vec!["x", "LoadBalancer", "None", "<pending>", "<none>", "60m", "<none>"],
        ),
        (
            ("", "v1", "endpoints"),
            json!({"metadata": meta(), "subsets": [{"addresses": [{"ip": "1.1.1.1"}, {"ip": "::1"}, {"ip": "3.3.3.3"}, {"ip": "4.4.4.4"}], "ports": [{"port": 80}]}]}),
            vec!["x", "1.1.1.1:80,[::1]:80,3.3.3.3:80 + 1 more...", "60m"],
        ),
        (
            ("discovery.k8s.io", "v1", "endpointslices"),
            json!({"metadata": meta(), "addressType": "IPv4", "ports": [{"port": 80}], "endpoints": []}),
            vec!["x", "IPv4", "80", "<unset>", "60m"],
        ),
        (
            ("batch", "v1", "jobs"),
            json!({"metadata": meta(), "spec": {"completions": 2, "template": template()},
                "status": {"succeeded": 2, "startTime": "2026-06-01T11:00:00Z", "completionTime": "2026-06-01T11:00:07Z",
                    "conditions": [{"type": "Complete", "status": "True"}]}}),
            vec!["x", "Complete", "2/2", "7s", "60m", "a,b", "i:1,j:2", "<none>"],
        ),
        (
            ("batch", "v1", "cronjobs"),
            json!({"metadata": meta(), "spec": {"schedule": "* * * * *", "suspend": false}}),
            vec!["x", "* * * * *", "<none>", "False", "0", "<none>", "60m", "", "", "<none>"],
        ),
        (
            ("", "v1", "configmaps"),
            json!({"metadata": meta(), "data": {"a": ""}, "binaryData": {"b": ""}}),
            vec!["x", "2", "60m"],
        ),
        (
            ("", "v1", "secrets"),
            json!({"metadata": meta(), "type": "Opaque", "data": {"a": ""}}),
            vec!["x", "Opaque", "1", "60m"],
        ),
        (
            ("", "v1", "persistentvolumeclaims"),
            json!({"metadata": meta(), "spec": {"volumeName": "pv", "storageClassName": "fast", "volumeMode": "Filesystem"},
                "status": {"phase": "Bound", "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteMany", "ReadWriteOnce"]}}),
            vec!["x", "Bound", "pv", "1Gi", "RWO,RWX", "fast", "<unset>", "60m", "Filesystem"],
        ),
        (
            ("storage.k8s.io", "v1", "storageclasses"),
            json!({"metadata": {"name": "x", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p"}),
            vec!["x (default)", "p", "Delete", "Immediate", "false", "<unknown>"],
        ),
        (
            ("rbac.authorization.k8s.io", "v1", "rolebindings"),
            json!({"metadata": meta(), "roleRef": {"kind": "Role", "name": "r"},
                "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}]}),
            vec!["x", "Role/r", "60m", "u", "", "n/s"],
        ),
        (
            ("rbac.authorization.k8s.io", "v1", "roles"),
            json!({"metadata": meta()}),
            vec!["x", "2026-06-01T11:00:00Z"],
        ),
        (
            ("autoscaling", "v2", "horizontalpodautoscalers"),
            json!({"metadata": meta(), "spec": {"scaleTargetRef": {"kind": "Deployment", "name": "w"}, "minReplicas": 1, "maxReplicas": 5,
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}}]},
                "status": {"currentReplicas": 2}}),
            vec!["x", "Deployment/w", "cpu: <unknown>/80%", "1", "5", "2", "60m"],
        ),
        (
            ("policy", "v1", "poddisruptionbudgets"),
            json!({"metadata": meta(), "spec": {"minAvailable": "50%"}, "status": {"disruptionsAllowed": 1}}),
            vec!["x", "50%", "N/A", "1", "60m"],
        ),
        (
            ("", "v1", "resourcequotas"),
            json!({"metadata": meta(), "status": {"hard": {"pods": "4", "limits.cpu": "2"}, "used": {"pods": "1"}}}),
            vec!["x", "pods: 1/4", "limits.cpu: 0/2", "60m"],
        ),
        (
            ("apps", "v1", "controllerrevisions"),
            json!({"metadata": {"name": "x", "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "controller": true}]}, "revision": 3}),
            vec!["x", "daemonset.apps/d", "3", "<unknown>"],
        ),
        (
            ("networking.k8s.io", "v1", "ingresses"),
            json!({"metadata": meta(), "spec": {"rules": [{"host": "a"}, {"host": "b"}, {"host": "c"}, {"host": "d"}], "tls": [{}]}}),
            vec!["x", "<none>", "a,b,c + 1 more...", "", "80, 443", "60m"],
        ),
        (
            ("certificates.k8s.io", "v1", "certificatesigningrequests"),
            json!({"metadata": meta(), "spec": {"signerName": "s", "username": "u", "expirationSeconds": 86400},
                "status": {"certificate": "x", "conditions": [{"type": "Approved"}]}}),
            vec!["x", "60m", "s", "u", "24h", "Approved,Issued"],
        ),
        (
            ("", "v1", "events"),
            json!({"metadata": meta(), "lastTimestamp": "2026-06-01T11:59:00Z", "firstTimestamp": "2026-06-01T11:50:00Z", "count": 4,
                "type": "Normal", "reason": "Pulled", "message": "done\n", "source": {"component": "kubelet", "host": "n1"},
                "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{c}"}}),
            vec![
                "60s",
                "Normal",
                "Pulled",
                "pod/web",
                "spec.containers{c}",
                "kubelet, n1",
                "done",
                "10m",
                "4",
                "x",
            ],
        ),
        (
            ("events.k8s.io", "v1", "events"),
            json!({"metadata": meta(), "eventTime": "2026-06-01T11:59:00.000001Z", "type": "Normal", "reason": "Scheduled", "note": "ok",
                "reportingController": "default-scheduler", "regarding": {"kind": "Pod", "name": "web"}}),
            vec!["59s", "Normal", "Scheduled", "pod/web", "", "default-scheduler", "ok", "59s", "1", "x"],
        ),
    ];
    for ((group, version, plural), object, expected) in cases {
        assert_eq!(printed(group, version, plural, object), expected, "{plural}");
    }
}
