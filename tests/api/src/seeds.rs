//! Valid objects of many kinds, to be damaged.

use serde_json::{Value, json};

/// A valid object and where it is created.
pub struct Seed {
    /// The collection's path.
    pub path: &'static str,
    /// The object.
    pub object: Value,
}

fn seed(path: &'static str, api_version: &str, kind: &str, mut rest: Value) -> Seed {
    rest["apiVersion"] = api_version.into();
    rest["kind"] = kind.into();
    rest["metadata"] = json!({"name": format!("seed-{}", kind.to_lowercase()), "labels": {"a": "b"},
        "annotations": {"c": "d"}, "finalizers": ["example.com/f"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": "u", "controller": true}]});
    Seed { path, object: rest }
}

fn template() -> Value {
    let probe = json!({"httpGet": {"path": "/", "port": 80, "scheme": "HTTP"}, "periodSeconds": 3});
    json!({"metadata": {"labels": {"app": "x"}}, "spec": {
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 3, "nodeSelector": {"k": "v"},
        "initContainers": [{"name": "i", "image": "busybox", "restartPolicy": "Always"}],
        "containers": [{"name": "c", "image": "nginx:alpine", "command": ["a"], "args": ["$(A)"],
            "ports": [{"containerPort": 80, "name": "http", "protocol": "TCP"}],
            "env": [{"name": "A", "value": "1"}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"requests": {"cpu": "10m", "memory": "1Mi"}, "limits": {"cpu": 1, "memory": "64Mi"}},
            "livenessProbe": probe, "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
            "securityContext": {"runAsUser": 1, "capabilities": {"drop": ["ALL"]}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "p", "projected": {"sources": [{"configMap": {"name": "x", "items": [{"key": "a", "path": "b"}]}}]}}],
        "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 3}],
        "affinity": {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1,
            "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"a": "b"}}}}]}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "z", "whenUnsatisfiable": "ScheduleAnyway"}]}})
}

/// A definition's name is made of the names in it.
fn definition() -> Seed {
    let mut seed = seed(
        "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
        "apiextensions.k8s.io/v1",
        "CustomResourceDefinition",
        json!({"spec": {"group": "x.io", "scope": "Namespaced", "names": {"plural": "as", "kind": "A"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {"type": "object"}}}]}}),
    );
    seed.object["metadata"]["name"] = "as.x.io".into();
    seed
}

/// The objects.
pub fn seeds() -> Vec<Seed> {
    let selector = json!({"matchLabels": {"app": "x"}});
    let mut job = template();
    job["spec"]["restartPolicy"] = "Never".into();
    let workload = json!({"selector": selector, "template": template()});
    vec![
        seed("/api/v1/namespaces/default/pods", "v1", "Pod", json!({"spec": template()["spec"]})),
        seed(
            "/api/v1/namespaces/default/configmaps",
            "v1",
            "ConfigMap",
            json!({"data": {"a": "b"}, "binaryData": {"c": "AAEC"}}),
        ),
        seed(
            "/api/v1/namespaces/default/secrets",
            "v1",
            "Secret",
            json!({"type": "Opaque", "data": {"a": "Yg=="}, "stringData": {"c": "d"}}),
        ),
        seed(
            "/api/v1/namespaces/default/services",
            "v1",
            "Service",
            json!({"spec": {"type": "NodePort", "selector": {"a": "b"},
            "ports": [{"name": "h", "port": 80, "targetPort": "http", "protocol": "TCP"}]}}),
        ),
        seed("/api/v1/namespaces", "v1", "Namespace", json!({"spec": {"finalizers": ["kubernetes"]}})),
        seed(
            "/api/v1/nodes",
            "v1",
            "Node",
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]},
            "status": {"capacity": {"cpu": "1"}, "addresses": [{"type": "InternalIP", "address": "10.0.0.9"}]}}),
        ),
        seed(
            "/api/v1/namespaces/default/serviceaccounts",
            "v1",
            "ServiceAccount",
            json!({"secrets": [{"name": "a"}]}),
        ),
        seed(
            "/api/v1/namespaces/default/limitranges",
            "v1",
            "LimitRange",
            json!({"spec": {"limits": [{"type": "Container", "default": {"cpu": "1"}}]}}),
        ),
        seed(
            "/api/v1/namespaces/default/resourcequotas",
            "v1",
            "ResourceQuota",
            json!({"spec": {"hard": {"pods": "10"}}}),
        ),
        seed(
            "/api/v1/namespaces/default/persistentvolumeclaims",
            "v1",
            "PersistentVolumeClaim",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}),
        ),
        seed(
            "/api/v1/persistentvolumes",
            "v1",
            "PersistentVolume",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/x"}}}),
        ),
        seed(
            "/apis/apps/v1/namespaces/default/deployments",
            "apps/v1",
            "Deployment",
            json!({"spec": {"replicas": 0, "selector": selector,
            "template": template(), "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}}}}),
        ),
        seed(
            "/apis/apps/v1/namespaces/default/daemonsets",
            "apps/v1",
            "DaemonSet",
            json!({"spec": workload}),
        ),
        seed(
            "/apis/apps/v1/namespaces/default/statefulsets",
            "apps/v1",
            "StatefulSet",
            json!({"spec": {"serviceName": "s", "replicas": 0,
            "selector": selector, "template": template()}}),
        ),
        seed(
            "/apis/batch/v1/namespaces/default/jobs",
            "batch/v1",
            "Job",
            json!({"spec": {"parallelism": 1, "completions": 1, "template": job}}),
        ),
        seed(
            "/apis/batch/v1/namespaces/default/cronjobs",
            "batch/v1",
            "CronJob",
            json!({"spec": {"schedule": "* * * * *", "suspend": true,
            "jobTemplate": {"spec": {"template": job}}}}),
        ),
        seed(
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            "networking.k8s.io/v1",
            "Ingress",
            json!({"spec": {"rules": [{"host": "a.b",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "s", "port": {"number": 80}}}}]}}]}}),
        ),
        seed(
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            "networking.k8s.io/v1",
            "NetworkPolicy",
            json!({"spec": {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}}),
        ),
        seed(
            "/apis/policy/v1/namespaces/default/poddisruptionbudgets",
            "policy/v1",
            "PodDisruptionBudget",
            json!({"spec": {"minAvailable": "50%", "selector": selector}}),
        ),
        seed(
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles",
            "rbac.authorization.k8s.io/v1",
            "Role",
            json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
        ),
        seed(
            "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
            "rbac.authorization.k8s.io/v1",
            "ClusterRoleBinding",
            json!({"roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "u"}]}),
        ),
        seed(
            "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers",
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
                "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 5}}}]}}),
        ),
        seed(
            "/apis/autoscaling/v1/namespaces/default/horizontalpodautoscalers",
            "autoscaling/v1",
            "HorizontalPodAutoscaler",
            json!({"spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}}}),
        ),
        seed(
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            "scheduling.k8s.io/v1",
            "PriorityClass",
            json!({"value": 3}),
        ),
        seed(
            "/apis/storage.k8s.io/v1/storageclasses",
            "storage.k8s.io/v1",
            "StorageClass",
            json!({"provisioner": "x"}),
        ),
        seed(
            "/apis/coordination.k8s.io/v1/namespaces/default/leases",
            "coordination.k8s.io/v1",
            "Lease",
            json!({"spec": {"holderIdentity": "h", "renewTime": "2026-01-01T00:00:00.000000Z"}}),
        ),
        seed(
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            "discovery.k8s.io/v1",
            "EndpointSlice",
            json!({"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}], "ports": [{"port": 80}]}),
        ),
        definition(),
    ]
}
