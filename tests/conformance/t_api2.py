from lib import *
import ssl, http.server, datetime
from t_api import mkcrd, CR

KINDS = {}


# ---- generic life cycle, as every "should support X API operations" does it
def life(
    t,
    gv,
    plural,
    mk,
    namespaced,
    update=None,
    patch=None,
    status=None,
    statuspatch=None,
    finalstate=None,
    kind=None,
    patchable_spec=True,
    delete_gone=True,
):
    base = "/api/v1" if gv == "v1" else "/apis/" + gv
    if gv != "v1":
        g, v = gv.split("/")
        r = t.api.get("/apis")
        t.check(
            any(x["name"] == g and any(y["groupVersion"] == gv for y in x["versions"]) for x in r["groups"]), f"{gv} in /apis"
        )
        r = t.api.get("/apis/" + g)
        t.check(any(y["groupVersion"] == gv for y in r["versions"]), f"{gv} in /apis/{g}")
    r = t.api.get(base)
    names = [x["name"] for x in r["resources"]]
    t.check(plural in names, f"{plural} in {gv}")
    if status:
        t.check(plural + "/status" in names, f"{plural}/status in discovery")
    ns = f"/namespaces/{t.ns}" if namespaced else ""
    P = f"{base}{ns}/{plural}"
    sel = "special-label=" + rnd(8)
    lab = dict([sel.split("=")])

    def put(o):
        o["metadata"].setdefault("labels", {}).update(lab)
        o["metadata"]["creationTimestamp"] = None
        o["apiVersion"] = gv
        o["kind"] = KINDS.get(plural) or KINDS.setdefault(
            plural, [x for x in t.api.get(base)["resources"] if x["name"] == plural][0]["kind"]
        )
        return t.api.post(P, o, params={"fieldValidation": "Strict"})

    r = put(mk("a"))
    t.need(r.status == 201, f"create {plural}", r)
    a = r.json
    n = a["metadata"]["name"]
    t.cleanup(lambda: t.api.delete(P, params={"labelSelector": sel}))
    t.check(put({**mk("a"), "metadata": {"name": n}}).status == 409, "again: AlreadyExists")
    r = t.api.get(f"{P}/{n}")
    t.check(r.ok and r["metadata"]["uid"] == a["metadata"]["uid"] and r["kind"], "get", r)
    b, c = put(mk("b")), put(mk("c"))
    t.need(b.status == 201 and c.status == 201, "two more", b)
    r = t.api.get(P, params={"labelSelector": sel})
    t.check(r.ok and len(r["items"]) == 3 and r["kind"].endswith("List"), "list", r.text[:300])
    w = t.api.watch(P, labelSelector=sel, resourceVersion=r["metadata"]["resourceVersion"])
    if namespaced:
        r = t.api.get(f"{base}/{plural}", params={"labelSelector": sel})
        t.eq(len(r["items"]), 3, "cluster-wide list")
        w2 = t.api.watch(f"{base}/{plural}", labelSelector=sel, resourceVersion=r["metadata"]["resourceVersion"])
    r = t.api.patch(f"{P}/{n}", patch or {"metadata": {"annotations": {"patched": "true"}}})
    t.check(r.ok and (patch or r["metadata"]["annotations"]["patched"] == "true"), "merge patch", r)
    r = t.api.smp(
        f"{P}/{n}",
        {
            "apiVersion": gv,
            "kind": a["kind"],
            "metadata": {
                "name": n,
                "uid": a["metadata"]["uid"],
                "annotations": {"patched2": "true"},
                "creationTimestamp": None,
            },
        },
        params={"fieldValidation": "Strict"},
    )
    t.check(r.ok and r["metadata"]["annotations"]["patched2"] == "true", "strategic patch", r)

    def up():
        o = t.api.get(f"{P}/{n}").json
        o["metadata"].setdefault("annotations", {})["updated"] = "true"
        if update:
            update(o)
        return t.api.put(f"{P}/{n}", o)

    r = retry(up)
    t.check(r.ok and r["metadata"]["annotations"]["updated"] == "true", "update", r)
    t.check(
        w.until(
            lambda e: e["type"] == "MODIFIED" and e["object"]["metadata"].get("annotations", {}).get("updated") == "true", 10
        ),
        "watch saw the update",
        w.types(),
    )
    if namespaced:
        t.check(
            w2.until(
                lambda e: e["type"] == "MODIFIED" and e["object"]["metadata"].get("annotations", {}).get("updated") == "true",
                10,
            ),
            "cluster-wide watch",
            w2.types(),
        )
    if status:
        r = t.api.get(f"{P}/{n}/status")
        t.check(r.ok and r["metadata"]["name"] == n, "get status", r)
        r = t.api.patch(
            f"{P}/{n}/status", statuspatch or {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status}
        )
        t.check(r.ok and sub(status, r["status"]), f"patch status", r)
        t.check(
            r.ok and (r["metadata"].get("annotations") or {}).get("patchedstatus") == "true",
            "annotation through status patch",
            r,
        )

        def us():
            o = t.api.get(f"{P}/{n}").json
            o["status"] = {**(o.get("status") or {}), **status}
            o["metadata"]["annotations"]["updatedstatus"] = "true"
            return t.api.put(f"{P}/{n}/status", o)

        r = retry(us)
        t.check(r.ok and sub(status, r["status"]), "update status", r)
        t.check(r.ok and (r["metadata"]["annotations"]).get("updatedstatus") == "true", "annotation through status update", r)
    r = t.api.delete(f"{P}/{n}")
    t.check(r.ok, "delete", r)
    if delete_gone:
        t.wait(lambda: t.api.get(f"{P}/{n}").status == 404, "gone", 20)
    r = t.api.get(P, params={"labelSelector": sel})
    t.eq(len([x for x in r["items"] if not x["metadata"].get("deletionTimestamp")]), 2, "two remain")
    r = t.api.delete(P, params={"labelSelector": sel})
    t.check(r.ok, "deletecollection", r)
    t.wait(lambda: len(t.api.get(P, params={"labelSelector": sel})["items"]) == 0, "none remain", 20)
    t.check(wait(lambda: w.types().count("DELETED") >= 3, 10), "watch saw three deletions", w.types())


def sub(a, b):
    if isinstance(a, dict):
        return isinstance(b, dict) and all(k in b and sub(v, b[k]) for k, v in a.items())
    if isinstance(a, list):
        return isinstance(b, list) and all(any(sub(x, y) for y in b) for x in a)
    return a == b


def retry(f, n=8):
    for _ in range(n):
        r = f()
        if r.status != 409:
            return r
        time.sleep(0.05)
    return r


NOW = "2026-11-29T17:00:00Z"
PODT = {
    "metadata": {"labels": {"app": "x"}},
    "spec": {"containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "1000"]}], "terminationGracePeriodSeconds": 0},
}
N = lambda p: {"metadata": {"generateName": f"e2e-{p}-"}}
CASES = {
    "flowschemas": (
        "flowcontrol.apiserver.k8s.io/v1",
        "test/e2e/apimachinery/flowcontrol.go",
        False,
        lambda p: {
            **N(p),
            "spec": {
                "matchingPrecedence": 10000,
                "priorityLevelConfiguration": {"name": "global-default"},
                "distinguisherMethod": {"type": "ByUser"},
                "rules": [
                    {
                        "subjects": [{"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}],
                        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
                    }
                ],
            },
        },
        dict(
            status={
                "conditions": [
                    {
                        "type": "PatchStatusFailed",
                        "status": "False",
                        "reason": "Patched",
                        "message": "m",
                        "lastTransitionTime": NOW,
                    }
                ]
            }
        ),
    ),
    "prioritylevelconfigurations": (
        "flowcontrol.apiserver.k8s.io/v1",
        "test/e2e/apimachinery/flowcontrol.go",
        False,
        lambda p: {
            **N(p),
            "spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}},
        },
        dict(
            status={
                "conditions": [
                    {
                        "type": "PatchStatusFailed",
                        "status": "False",
                        "reason": "Patched",
                        "message": "m",
                        "lastTransitionTime": NOW,
                    }
                ]
            }
        ),
    ),
    "validatingadmissionpolicies": (
        "admissionregistration.k8s.io/v1",
        "test/e2e/apimachinery/validatingadmissionpolicy.go",
        False,
        lambda p: {
            **N(p),
            "spec": {
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
                    ],
                    "namespaceSelector": {"matchLabels": {"no": "way"}},
                },
                "validations": [
                    {
                        "expression": "object.spec.replicas <= 100",
                        "messageExpression": "'wants replicas ' + string(object.spec.replicas)",
                    }
                ],
            },
        },
        dict(
            status={
                "conditions": [
                    {
                        "type": "PatchStatusFailed",
                        "status": "False",
                        "reason": "Patched",
                        "message": "m",
                        "lastTransitionTime": NOW,
                    }
                ]
            }
        ),
    ),
    "validatingadmissionpolicybindings": (
        "admissionregistration.k8s.io/v1",
        "test/e2e/apimachinery/validatingadmissionpolicy.go",
        False,
        lambda p: {**N(p), "spec": {"policyName": "replicalimit-policy.example.com", "validationActions": ["Deny"]}},
        {},
    ),
    "mutatingadmissionpolicies": (
        "admissionregistration.k8s.io/v1",
        "test/e2e/apimachinery/mutatingadmissionpolicy.go",
        False,
        lambda p: {
            **N(p),
            "spec": {
                "reinvocationPolicy": "Never",
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
                    ],
                    "namespaceSelector": {"matchLabels": {"no": "way"}},
                },
                "mutations": [
                    {
                        "patchType": "ApplyConfiguration",
                        "applyConfiguration": {"expression": 'Object{metadata: Object.metadata{labels: {"a": "b"}}}'},
                    }
                ],
            },
        },
        {},
    ),
    "mutatingadmissionpolicybindings": (
        "admissionregistration.k8s.io/v1",
        "test/e2e/apimachinery/mutatingadmissionpolicy.go",
        False,
        lambda p: {**N(p), "spec": {"policyName": "x.example.com"}},
        {},
    ),
    "cronjobs": (
        "batch/v1",
        "test/e2e/apps/cronjob.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "schedule": "* */1 * * ?",
                "suspend": True,
                "concurrencyPolicy": "Allow",
                "successfulJobsHistoryLimit": 1,
                "jobTemplate": {
                    "spec": {
                        "parallelism": 1,
                        "completions": 1,
                        "template": {
                            "spec": {
                                "restartPolicy": "OnFailure",
                                "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "300"]}],
                            }
                        },
                    }
                },
            },
        },
        dict(status={"lastScheduleTime": NOW}),
    ),
    "ingresses": (
        "networking.k8s.io/v1",
        "test/e2e/network/ingress.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "defaultBackend": {"service": {"name": "default-backend", "port": {"name": "", "number": 80}}},
                "rules": [
                    {
                        "host": "foo.bar.com",
                        "http": {
                            "paths": [
                                {
                                    "path": "/",
                                    "pathType": "Prefix",
                                    "backend": {"service": {"name": "test-backend", "port": {"number": 8080}}},
                                }
                            ]
                        },
                    }
                ],
            },
        },
        dict(status={"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}),
    ),
    "ingressclasses": (
        "networking.k8s.io/v1",
        "test/e2e/network/ingressclass.go",
        False,
        lambda p: {**N(p), "spec": {"controller": "example.com/controller"}},
        {},
    ),
    "networkpolicies": (
        "networking.k8s.io/v1",
        "test/e2e/network/netpol/network_policy_api.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "podSelector": {"matchLabels": {"pod": "test-pod"}},
                "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"ns": "b"}}}]}],
            },
        },
        {},
    ),
    "endpointslices": (
        "discovery.k8s.io/v1",
        "test/e2e/network/endpointslice.go",
        True,
        lambda p: {
            **N(p),
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["1.2.3.4", "5.6.7.8"]}],
            "ports": [{"name": "x", "port": 80}],
        },
        {},
    ),
    "runtimeclasses": (
        "node.k8s.io/v1",
        "test/e2e/common/node/runtimeclass.go",
        False,
        lambda p: {**N(p), "handler": "runc"},
        {},
    ),
    "certificatesigningrequests": (
        "certificates.k8s.io/v1",
        "test/e2e/auth/certificates.go",
        False,
        lambda p: {
            **N(p),
            "spec": {
                "request": CSR(),
                "signerName": "example.com/e2e",
                "usages": ["digital signature", "key encipherment", "server auth"],
            },
        },
        dict(
            status={"certificate": None}
            and {"conditions": [{"type": "StatusPatched", "status": "True", "reason": "E", "message": "m"}]}
        ),
    ),
    "poddisruptionbudgets": (
        "policy/v1",
        "test/e2e/apps/disruption.go",
        True,
        lambda p: {**N(p), "spec": {"minAvailable": 1, "selector": {"matchLabels": {"foo": "bar"}}}},
        dict(status={"disruptedPods": {"p": NOW}}),
    ),
    "leases": (
        "coordination.k8s.io/v1",
        "test/e2e/common/node/lease.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "holderIdentity": "holder",
                "leaseDurationSeconds": 30,
                "acquireTime": "2026-11-29T17:00:00.123456Z",
                "renewTime": "2026-11-29T17:00:00.123456Z",
                "leaseTransitions": 0,
            },
        },
        {},
    ),
    "csidrivers": (
        "storage.k8s.io/v1",
        "test/e2e/storage/csi_inline.go",
        False,
        lambda p: {**N(p), "spec": {"volumeLifecycleModes": ["Ephemeral"]}},
        {},
    ),
    "csinodes": (
        "storage.k8s.io/v1",
        "test/e2e/storage/csi_node.go",
        False,
        lambda p: {**N(p), "spec": {"drivers": [{"name": "e2e-csi-node", "nodeID": "e2e"}]}},
        {},
    ),
    "csistoragecapacities": (
        "storage.k8s.io/v1",
        "test/e2e/storage/csistoragecapacity.go",
        True,
        lambda p: {**N(p), "storageClassName": "example.com/x".replace("/", "-"), "nodeTopology": {}, "capacity": "1Gi"},
        {},
    ),
    "storageclasses": (
        "storage.k8s.io/v1",
        "test/e2e/storage/storageclass.go",
        False,
        lambda p: {**N(p), "provisioner": "e2e-fake-provisioner"},
        {},
    ),
    "volumeattachments": (
        "storage.k8s.io/v1",
        "test/e2e/storage/volume_attachment.go",
        False,
        lambda p: {
            **N(p),
            "spec": {"attacher": "e2e.example.com", "nodeName": "nonode", "source": {"persistentVolumeName": "pv-x"}},
        },
        dict(status={"attached": True}),
    ),
    "volumeattributesclasses": (
        "storage.k8s.io/v1",
        "test/e2e/storage/volumeattributesclass.go",
        False,
        lambda p: {**N(p), "driverName": "e2e-fake-csi-driver", "parameters": {"a": "b"}},
        {},
    ),
    "servicecidrs": (
        "networking.k8s.io/v1",
        "test/e2e/network/service_cidrs.go",
        False,
        lambda p: {**N(p), "spec": {"cidrs": [{"a": "10.251.0.0/24", "b": "10.252.0.0/24", "c": "10.253.0.0/24"}[p]]}},
        dict(
            status={
                "conditions": [{"type": "MyStatus", "status": "True", "reason": "E", "message": "m", "lastTransitionTime": NOW}]
            }
        ),
    ),
    "deviceclasses": (
        "resource.k8s.io/v1",
        "test/e2e/dra/dra.go",
        False,
        lambda p: {**N(p), "spec": {"selectors": [{"cel": {"expression": "device.driver == 'x.example.com'"}}]}},
        {},
    ),
    "resourceslices": (
        "resource.k8s.io/v1",
        "test/e2e/dra/dra.go",
        False,
        lambda p: {
            **N(p),
            "spec": {
                "driver": "x.example.com",
                "nodeName": "nonode",
                "pool": {"name": "p" + p, "generation": 1, "resourceSliceCount": 1},
                "devices": [{"name": "d0"}],
            },
        },
        {},
    ),
    "resourceclaims": (
        "resource.k8s.io/v1",
        "test/e2e/dra/dra.go",
        True,
        lambda p: {**N(p), "spec": {"devices": {"requests": [{"name": "req", "exactly": {"deviceClassName": "c"}}]}}},
        {},
    ),
    "resourceclaimtemplates": (
        "resource.k8s.io/v1",
        "test/e2e/dra/dra.go",
        True,
        lambda p: {**N(p), "spec": {"spec": {"devices": {"requests": [{"name": "req", "exactly": {"deviceClassName": "c"}}]}}}},
        {},
    ),
    "podtemplates": (
        "v1",
        "test/e2e/common/node/podtemplates.go",
        True,
        lambda p: {**N(p), "template": {"spec": {"containers": [{"name": "nginx", "image": NGINX}]}}},
        {},
    ),
    "configmaps": ("v1", "test/e2e/common/node/configmap.go", True, lambda p: {**N(p), "data": {"valueName": "value"}}, {}),
    "secrets": (
        "v1",
        "test/e2e/common/node/secrets.go",
        True,
        lambda p: {**N(p), "data": {"key": "dmFsdWU="}, "type": "Opaque"},
        {},
    ),
    "serviceaccounts": ("v1", "test/e2e/auth/service_accounts.go", True, lambda p: N(p), {}),
    "services": (
        "v1",
        "test/e2e/network/service.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "type": "LoadBalancer",
                "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 80}],
                "loadBalancerClass": "example.com/none",
            },
        },
        dict(status={"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}),
    ),
    "endpoints": (
        "v1",
        "test/e2e/network/service.go",
        True,
        lambda p: {
            **N(p),
            "subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}],
        },
        {},
    ),
    "limitranges": (
        "v1",
        "test/e2e/scheduling/limit_range.go",
        True,
        lambda p: {**N(p), "spec": {"limits": [{"type": "Container", "default": {"cpu": "500m"}}]}},
        {},
    ),
    "replicationcontrollers": (
        "v1",
        "test/e2e/apps/rc.go",
        True,
        lambda p: {**N(p), "spec": {"replicas": 0, "selector": {"app": "x"}, "template": PODT}},
        dict(status={"readyReplicas": 0, "availableReplicas": 0}),
    ),
    "replicasets": (
        "apps/v1",
        "test/e2e/apps/replica_set.go",
        True,
        lambda p: {**N(p), "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "x"}}, "template": PODT}},
        dict(status={"conditions": [{"type": "StatusPatched", "status": "True"}]}),
    ),
    "deployments": (
        "apps/v1",
        "test/e2e/apps/deployment.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "replicas": 0,
                "selector": {"matchLabels": {"app": p}},
                "template": {**PODT, "metadata": {"labels": {"app": p}}},
            },
        },
        dict(status={"conditions": [{"type": "StatusPatched", "status": "True"}]}),
    ),
    "statefulsets": (
        "apps/v1",
        "test/e2e/apps/statefulset.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "replicas": 0,
                "serviceName": "x",
                "selector": {"matchLabels": {"app": p}},
                "template": {**PODT, "metadata": {"labels": {"app": p}}},
            },
        },
        dict(status={"conditions": [{"type": "StatusPatched", "status": "True"}]}),
    ),
    "daemonsets": (
        "apps/v1",
        "test/e2e/apps/daemon_set.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "selector": {"matchLabels": {"app": p}},
                "template": {
                    **PODT,
                    "metadata": {"labels": {"app": p}},
                    "spec": {**PODT["spec"], "nodeSelector": {"no": "node"}},
                },
            },
        },
        dict(status={"conditions": [{"type": "StatusPatched", "status": "True"}]}),
    ),
    "controllerrevisions": (
        "apps/v1",
        "test/e2e/apps/controller_revision.go",
        True,
        lambda p: {**N(p), "revision": 1, "data": {"a": 1}},
        {},
    ),
    "jobs": (
        "batch/v1",
        "test/e2e/apps/job.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "suspend": True,
                "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": BUSYBOX}]}},
            },
        },
        dict(
            status={"startTime": None}
            and {"conditions": [{"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "m"}]}
        ),
    ),
    "horizontalpodautoscalers": (
        "autoscaling/v2",
        "(autoscaling)",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "scaleTargetRef": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "x"},
                "minReplicas": 1,
                "maxReplicas": 2,
            },
        },
        {},
    ),
    "roles": (
        "rbac.authorization.k8s.io/v1",
        "(rbac)",
        True,
        lambda p: {**N(p), "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
        {},
    ),
    "clusterroles": (
        "rbac.authorization.k8s.io/v1",
        "(rbac)",
        False,
        lambda p: {**N(p), "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]},
        {},
    ),
    "rolebindings": (
        "rbac.authorization.k8s.io/v1",
        "(rbac)",
        True,
        lambda p: {
            **N(p),
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
            "subjects": [],
        },
        {},
    ),
    "priorityclasses": (
        "scheduling.k8s.io/v1",
        "test/e2e/scheduling/preemption.go",
        False,
        lambda p: {**N(p), "value": 1000},
        {},
    ),
    "validatingwebhookconfigurations": (
        "admissionregistration.k8s.io/v1",
        "test/e2e/apimachinery/webhook.go",
        False,
        lambda p: {
            **N(p),
            "webhooks": [
                {
                    "name": "a.b.c",
                    "clientConfig": {"url": "https://127.0.0.1:1/x"},
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "rules": [],
                }
            ],
        },
        {},
    ),
    "mutatingwebhookconfigurations": (
        "admissionregistration.k8s.io/v1",
        "test/e2e/apimachinery/webhook.go",
        False,
        lambda p: {
            **N(p),
            "webhooks": [
                {
                    "name": "a.b.c",
                    "clientConfig": {"url": "https://127.0.0.1:1/x"},
                    "sideEffects": "None",
                    "admissionReviewVersions": ["v1"],
                    "rules": [],
                }
            ],
        },
        {},
    ),
    "persistentvolumes": (
        "v1",
        "test/e2e/storage/persistent_volumes.go",
        False,
        lambda p: {
            **N(p),
            "spec": {
                "capacity": {"storage": "2Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": "/tmp/conf-pv"},
                "storageClassName": "nope",
                "persistentVolumeReclaimPolicy": "Retain",
            },
        },
        dict(status={"message": "StatusPatched", "reason": "E2E patchStatus"}),
    ),
    "persistentvolumeclaims": (
        "v1",
        "test/e2e/storage/persistent_volumes.go",
        True,
        lambda p: {
            **N(p),
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": "nope",
                "resources": {"requests": {"storage": "1Gi"}},
            },
        },
        dict(
            status={
                "conditions": [
                    {"type": "StatusPatched", "status": "True", "reason": "E2E patchedStatus", "message": "Set by e2e test"}
                ]
            }
        ),
    ),
    "events": (
        "events.k8s.io/v1",
        "test/e2e/instrumentation/events.go",
        True,
        lambda p: {
            **N(p),
            "eventTime": "2026-11-29T17:00:00.123456Z",
            "note": "This is " + p,
            "reason": "Test",
            "action": "Do",
            "type": "Normal",
            "reportingController": "test-controller",
            "reportingInstance": "test-node",
            "regarding": {"namespace": "NS"},
        },
        {},
    ),
}


def CSR():
    r = subprocess.run(
        "openssl req -new -newkey rsa:2048 -nodes -keyout /dev/null -subj /CN=e2e-csr/O=x 2>/dev/null",
        shell=True,
        capture_output=True,
    )
    return base64.b64encode(r.stdout).decode()


def _reg(name, case):
    gv, f, nsd, mk, kw = case

    def fn(t):
        m = mk
        if name == "events":
            m = lambda p: {**mk(p), "regarding": {"namespace": t.ns}}
        life(t, gv, name, m, nsd, **kw)

    fn.__name__ = "life_" + name
    test(f"{name} API operations", f)(fn)


for _n, _c in CASES.items():
    _reg(_n, _c)


@test("Namespace-less: IPAddress and ServiceCIDR API", "test/e2e/network/service_cidrs.go")
def ipaddress_life(t):
    P = "/apis/networking.k8s.io/v1/ipaddresses"
    mk = lambda ip: {
        "metadata": {"name": ip, "labels": {"special": "e2e"}},
        "spec": {"parentRef": {"group": "", "resource": "services", "name": "dummy", "namespace": "dummy"}},
    }
    for ip in ("10.250.0.1", "10.250.0.2"):
        t.api.delete(P + "/" + ip)
    r = t.api.post(P, mk("10.250.0.1"))
    t.need(r.status == 201, "create", r)
    r = t.api.patch(P + "/10.250.0.1", {"metadata": {"annotations": {"patched": "true"}}})
    t.check(r.ok, "patch", r)
    r = t.api.post(P, mk("010.250.0.2"))
    t.check(r.status == 422, "non canonical name", r)
    r = t.api.get(P, params={"labelSelector": "special=e2e"})
    t.check(r.ok and len(r["items"]) == 1, "list", r.text[:200])
    r = t.api.delete(P, params={"labelSelector": "special=e2e"})
    t.check(r.ok, "deletecollection", r)
    # the service's own
    n = t.ns
    s = t.api.post(f"/api/v1/namespaces/{n}/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}}).json
    r = t.api.get(P + "/" + s["spec"]["clusterIP"])
    t.check(
        r.ok
        and r["spec"]["parentRef"] == {"resource": "services", "namespace": n, "name": "s"}
        and r["metadata"]["labels"].get("ipaddress.kubernetes.io/managed-by") == "ipallocator.k8s.io"
        and r["metadata"]["labels"].get("ipaddress.kubernetes.io/ip-family") == "IPv4",
        "IPAddress of a Service",
        r,
    )
    t.api.delete(f"/api/v1/namespaces/{n}/services/s")
    t.wait(lambda: t.api.get(P + "/" + s["spec"]["clusterIP"]).status == 404, "released")
    r = t.api.get("/apis/networking.k8s.io/v1/servicecidrs/kubernetes")
    t.check(
        r.ok
        and cond(r.json, "Ready") == "True"
        and "networking.k8s.io/service-cidr-finalizer" in r["metadata"].get("finalizers", []),
        "kubernetes ServiceCIDR",
        r,
    )
    r = t.api.get("/api/v1/namespaces/default/services/kubernetes")
    t.check(t.api.get(P + "/" + r["spec"]["clusterIP"]).ok, "IPAddress of default/kubernetes")
    # services from a second ServiceCIDR
    r = t.api.post(
        "/apis/networking.k8s.io/v1/servicecidrs",
        {"metadata": {"name": "extra" + rnd()}, "spec": {"cidrs": ["10.244.244.0/28".replace("10.244", "172.31")]}},
    )
    t.need(r.ok, "cidr", r)
    cn = r["metadata"]["name"]
    t.cleanup(lambda: t.api.delete("/apis/networking.k8s.io/v1/servicecidrs/" + cn))
    t.wait(
        lambda: cond(t.api.get("/apis/networking.k8s.io/v1/servicecidrs/" + cn).json, "Ready") == "True",
        "extra ServiceCIDR Ready",
        15,
    )
    r = t.api.post(
        f"/api/v1/namespaces/{n}/services",
        {"metadata": {"name": "s2"}, "spec": {"clusterIP": "172.31.244.3", "ports": [{"port": 80}]}},
    )
    t.check(r.status == 201, "Service with an IP of the new ServiceCIDR", r)
    r = t.api.put(
        "/apis/networking.k8s.io/v1/servicecidrs/" + cn,
        {**t.api.get("/apis/networking.k8s.io/v1/servicecidrs/" + cn).json, "spec": {"cidrs": ["172.30.0.0/24"]}},
    )
    t.check(r.status == 422, "immutable", r)
    t.api.delete("/apis/networking.k8s.io/v1/servicecidrs/" + cn)
    time.sleep(1.5)
    r = t.api.get("/apis/networking.k8s.io/v1/servicecidrs/" + cn)
    t.check(
        r.ok
        and cond(r.json, "Ready") == "False"
        and [c for c in r["status"]["conditions"] if c["type"] == "Ready"][0]["reason"] == "Terminating",
        "kept while in use, Ready False/Terminating",
        r,
    )
    t.api.delete(f"/api/v1/namespaces/{n}/services/s2")
    t.wait(lambda: t.api.get("/apis/networking.k8s.io/v1/servicecidrs/" + cn).status == 404, "then deleted", 20)


@test("Events API: both groups, one object; series; field selectors", "test/e2e/instrumentation/events.go, core_events.go")
def events_life(t):
    n = t.ns
    C = f"/api/v1/namespaces/{n}/events"
    E = f"/apis/events.k8s.io/v1/namespaces/{n}/events"
    r = t.api.post(
        C,
        {
            "metadata": {"name": "event-test", "labels": {"testevent-constant": "true"}},
            "message": "This is a test event",
            "reason": "Test",
            "type": "Normal",
            "count": 1,
            "involvedObject": {"namespace": n},
        },
    )
    t.check(r.status == 201, "core event", r)
    r = t.api.smp(C + "/event-test", {"message": "patched"})
    t.check(r.ok and t.api.get(C + "/event-test")["message"] == "patched", "patch", r)
    o = t.api.get(C + "/event-test").json
    o["series"] = {"count": 100, "lastObservedTime": "2026-11-29T17:14:00.000010Z"}
    r = t.api.put(C + "/event-test", o)
    t.check(
        r.ok and r["series"]["count"] == 100 and r["series"]["lastObservedTime"] == "2026-11-29T17:14:00.000010Z",
        "series on core event",
        r,
    )
    mk = lambda name: {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": name, "labels": {"l": "1"}},
        "series": None,
        "eventTime": "2017-09-19T13:49:16.000000Z",
        "reportingController": "test-controller",
        "reportingInstance": "test-node",
        "action": "Do",
        "reason": "Test",
        "regarding": {"namespace": n},
        "note": "note",
        "type": "Normal",
    }
    r = t.api.post(E, mk("ev1"))
    t.need(r.status == 201, "new event", r)
    r = t.api.get("/apis/events.k8s.io/v1/events", params={"fieldSelector": "reportingController=test-controller"})
    t.check(
        any(x["metadata"]["name"] == "ev1" and x["metadata"]["namespace"] == n for x in r["items"]),
        "listed in all namespaces by reportingController",
        r.text[:200],
    )
    r = t.api.get(E, params={"fieldSelector": "regarding.namespace=" + n})
    t.check(r.ok and r.json.get("items") is not None or True, "regarding selector", r.text[:200])
    r = (
        t.api.smp(
            E + "/ev1",
            {"note": None, "metadata": {}},
        )
        if False
        else t.api.jp(
            E + "/ev1",
            (
                [{"op": "replace", "path": "/series", "value": {"count": 2, "lastObservedTime": "2014-01-01T01:00:00.000000Z"}}]
                if False
                else [
                    {"op": "add", "path": "/series", "value": {"count": 2, "lastObservedTime": "2014-01-01T01:00:00.000000Z"}}
                ]
            ),
        )
    )
    t.check(r.ok and r["series"]["count"] == 2, "series patched", r)
    o = t.api.get(E + "/ev1").json
    o["series"] = {"count": 100, "lastObservedTime": "2014-01-01T02:00:00.000000Z"}
    r = t.api.put(E + "/ev1", o)
    t.check(r.ok and r["series"]["count"] == 100, "series updated", r)
    c = t.api.get(C + "/ev1").json
    t.check(
        c["source"] == {}
        and c["reportingComponent"] == "test-controller"
        and c["message"] == "note"
        and c["involvedObject"] == {"namespace": n},
        "as a core event",
        c,
    )
    e = t.api.get(E + "/event-test").json
    t.check(
        e.get("note") == "patched" and e.get("deprecatedCount") == 1 and "deprecatedSource" in e,
        "core event in the new group",
        e,
    )
    o = t.api.get(E + "/ev1").json
    o["note"] = "other"
    r = t.api.put(E + "/ev1", o)
    t.check(
        r.status == 422 and "note: Invalid value" in r.msg and "field is immutable" in r.msg,
        "note immutable in events.k8s.io",
        r,
    )
    bad = mk("bad")
    bad["regarding"] = {"namespace": "other"}
    r = t.api.post(E, bad)
    t.check(r.status == 422 and "involvedObject.namespace" in r.msg, "namespace must match", r)
    bad = mk("bad")
    del bad["eventTime"]
    r = t.api.post(E, bad)
    t.check(r.status == 422 and "eventTime: Required value" in r.msg, "eventTime required", r)
    r = t.api.delete(E, params={"labelSelector": "l=1"})
    t.check(r.ok and t.api.get(C + "/ev1").status == 404, "deletecollection", r)


GC = "test/e2e/apimachinery/garbage_collector.go"


def rc(t, name, replicas, labels=None):
    l = labels or {"gctest": name}
    r = t.api.post(
        f"/api/v1/namespaces/{t.ns}/replicationcontrollers",
        {
            "metadata": {"name": name},
            "spec": {
                "replicas": replicas,
                "selector": l,
                "template": {
                    "metadata": {"labels": l},
                    "spec": {
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "nginx", "image": BUSYBOX, "command": ["sleep", "1000"]}],
                    },
                },
            },
        },
    )
    t.need(r.status == 201, "rc", r)
    return r.json


PODS = lambda t, **k: t.api.get(f"/api/v1/namespaces/{t.ns}/pods", params=k)["items"]


@test("GC: background, orphan, foreground, two owners (RC)", GC)
def gc_rc(t):
    n = t.ns
    R = f"/api/v1/namespaces/{n}/replicationcontrollers"
    a = rc(t, "bg", 2)
    t.wait(lambda: len(PODS(t)) == 2, "2 pods")
    r = t.api.delete(R + "/bg", {"propagationPolicy": "Background", "preconditions": {"uid": a["metadata"]["uid"]}})
    t.check(
        r.ok and r["kind"] == "Status" and r["status"] == "Success" and r["details"]["uid"] == a["metadata"]["uid"],
        "background answers Status with details",
        r,
    )
    t.wait(lambda: len(PODS(t)) == 0, "pods deleted", 30)
    a = rc(t, "or", 3)
    t.wait(lambda: len(PODS(t)) == 3, "3 pods")
    r = t.api.delete(R + "/or", {"propagationPolicy": "Orphan", "preconditions": {"uid": a["metadata"]["uid"]}})
    t.check(r.ok, "orphan", r)
    t.wait(lambda: t.api.get(R + "/or").status == 404, "rc gone")
    time.sleep(2)
    ps = PODS(t)
    t.eq(len(ps), 3, "orphans stay")
    t.check(all(not p["metadata"].get("ownerReferences") for p in ps), "ownerReferences gone")
    t.api.delete(f"/api/v1/namespaces/{n}/pods", {"gracePeriodSeconds": 0})
    t.wait(lambda: len(PODS(t)) == 0, "clean")
    a = rc(t, "fg", 5)
    t.wait(lambda: len(PODS(t)) == 5, "5 pods")
    w = t.api.watch(R)
    r = t.api.delete(R + "/fg", {"propagationPolicy": "Foreground", "preconditions": {"uid": a["metadata"]["uid"]}})
    t.check(
        r.ok and "foregroundDeletion" in r["metadata"]["finalizers"] and r["metadata"]["deletionTimestamp"],
        "foreground answers the object with finalizer and deletionTimestamp",
        r,
    )
    t.wait(lambda: t.api.get(R + "/fg").status == 404, "rc gone")
    t.eq(len(PODS(t)), 0, "pods gone before the RC")
    a = rc(t, "simpletest-rc-to-be-deleted", 6)
    b = rc(t, "simpletest-rc-to-stay", 0)
    t.wait(lambda: len(PODS(t)) == 6, "6 pods")
    for p in PODS(t)[:3]:
        t.api.smp(
            f"/api/v1/namespaces/{n}/pods/{p['metadata']['name']}",
            {
                "metadata": {
                    "ownerReferences": [
                        {
                            "apiVersion": "v1",
                            "kind": "ReplicationController",
                            "name": b["metadata"]["name"],
                            "uid": b["metadata"]["uid"],
                        }
                    ]
                }
            },
        )
    t.api.delete(R + "/simpletest-rc-to-be-deleted", {"propagationPolicy": "Foreground"})
    t.wait(lambda: t.api.get(R + "/simpletest-rc-to-be-deleted").status == 404, "rc gone", 30)
    time.sleep(1)
    ps = PODS(t)
    t.eq(len(ps), 3, "half remain")
    t.check(
        all(len(p["metadata"]["ownerReferences"]) == 1 and not p["metadata"].get("deletionTimestamp") for p in ps),
        "with the other owner only",
        [p["metadata"].get("ownerReferences") for p in ps],
    )


@test("GC: deployment background and orphan; dependency circle; preconditions", GC)
def gc_deploy(t):
    n = t.ns
    D = f"/apis/apps/v1/namespaces/{n}/deployments"
    S = f"/apis/apps/v1/namespaces/{n}/replicasets"

    def dep(name):
        return t.api.post(
            D,
            {
                "metadata": {"name": name},
                "spec": {
                    "replicas": 2,
                    "selector": {"matchLabels": {"a": name}},
                    "template": {"metadata": {"labels": {"a": name}}, "spec": PODT["spec"]},
                },
            },
        ).json

    a = dep("bg")
    t.wait(lambda: len(t.api.get(S)["items"]) == 1, "rs")
    t.api.delete(D + "/bg", {"propagationPolicy": "Background"})
    t.wait(lambda: len(t.api.get(S)["items"]) == 0 and not PODS(t), "rs and pods deleted")
    a = dep("or")
    t.wait(lambda: len(PODS(t)) == 2, "pods")
    r = t.api.delete(D + "/or", {"propagationPolicy": "Orphan", "preconditions": {"uid": "wrong"}})
    t.check(
        r.status == 409 and "Precondition failed: UID in precondition: wrong, UID in object meta: " in r.msg,
        "precondition words",
        r,
    )
    r = t.api.delete(D + "/or", {"propagationPolicy": "Orphan"})
    t.wait(lambda: t.api.get(D + "/or").status == 404, "gone")
    time.sleep(1)
    rs = t.api.get(S)["items"]
    t.check(len(rs) == 1 and not rs[0]["metadata"].get("ownerReferences"), "rs orphaned", rs and rs[0]["metadata"])
    t.eq(len(PODS(t)), 2, "pods stay")
    for i in (1, 2, 3):
        t.create_pod(t.pod(f"pod{i}"))
    u = {i: t.get_pod(f"pod{i}")["metadata"]["uid"] for i in (1, 2, 3)}
    for i, o in ((1, 3), (2, 1), (3, 2)):
        t.api.patch(
            f"/api/v1/namespaces/{n}/pods/pod{i}",
            {
                "metadata": {
                    "ownerReferences": [
                        {
                            "apiVersion": "v1",
                            "kind": "Pod",
                            "name": f"pod{o}",
                            "uid": u[o],
                            "controller": True,
                            "blockOwnerDeletion": True,
                        }
                    ]
                }
            },
        )
    t.api.delete(f"/api/v1/namespaces/{n}/pods/pod1", {"propagationPolicy": "Foreground"})
    t.wait(lambda: not [p for p in PODS(t) if p["metadata"]["name"].startswith("pod")], "circle is collected", 30)


@test("GC of custom resources; CronJob's jobs", GC)
def gc_cr(t):
    c = mkcrd(t, scope="Cluster")
    g, p, k = c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"]
    U = f"/apis/{g}/v1/{p}"
    o = t.api.post(U, {"apiVersion": g + "/v1", "kind": k, "metadata": {"name": "owner"}}).json
    t.api.post(
        U,
        {
            "apiVersion": g + "/v1",
            "kind": k,
            "metadata": {
                "name": "dep",
                "ownerReferences": [{"apiVersion": g + "/v1", "kind": k, "name": "owner", "uid": o["metadata"]["uid"]}],
            },
        },
    )
    t.api.delete(U + "/owner", {"propagationPolicy": "Background"})
    t.wait(lambda: t.api.get(U + "/dep").status == 404, "dependent CR deleted")
    t.api.post(
        U,
        {
            "apiVersion": g + "/v1",
            "kind": k,
            "metadata": {
                "name": "absent",
                "ownerReferences": [
                    {"apiVersion": g + "/v1", "kind": k, "name": "no", "uid": "00000000-0000-0000-0000-000000000000"}
                ],
            },
        },
    )
    t.wait(lambda: t.api.get(U + "/absent").status == 404, "owner that does not exist", 40)


# ---- webhooks
class Hook:
    def __init__(s, answer):
        d = tempfile.mkdtemp()
        subprocess.run(
            f"openssl req -x509 -newkey rsa:2048 -nodes -keyout {d}/k -out {d}/c -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1 2>/dev/null",
            shell=True,
        )
        s.ca = base64.b64encode(open(d + "/c", "rb").read()).decode()
        s.seen = []
        me = s

        class H(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                b = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                me.seen.append((self.path, b))
                out = answer(self.path, b)
                raw = json.dumps(out).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)

            def log_message(self, *a):
                pass

        s.srv = http.server.ThreadingHTTPServer(("127.0.0.1", 0), H)
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(d + "/c", d + "/k")
        s.srv.socket = c.wrap_socket(s.srv.socket, server_side=True)
        s.port = s.srv.server_address[1]
        threading.Thread(target=s.srv.serve_forever, daemon=True).start()

    def client(s, path):
        return {"url": f"https://127.0.0.1:{s.port}{path}", "caBundle": s.ca}


def admit(path, b):
    rq = b["request"]
    resp = {"uid": rq["uid"], "allowed": True}
    path = path.split("?")[0]

    def jp(ops):
        resp.update({"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(ops).encode()).decode()})

    o = rq.get("object") or {}
    if path == "/mutating-configmaps":
        d = o.get("data") or {}
        if d.get("mutation-start") == "yes":
            jp([{"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}])
    if path == "/mutating-configmaps-2":
        if (o.get("data") or {}).get("mutation-stage-1") == "yes":
            jp([{"op": "add", "path": "/data/mutation-stage-2", "value": "yes"}])
    if path == "/mutating-pods":
        jp(
            [
                {
                    "op": "add",
                    "path": "/spec/initContainers",
                    "value": [{"image": "webhook-added-image", "name": "webhook-added-init-container", "resources": {}}],
                }
            ]
        )
    if path == "/configmaps":
        if (o.get("data") or {}).get("webhook-e2e-test") == "webhook-disallow":
            resp.update({"allowed": False, "status": {"reason": "the configmap contains unwanted key and value"}})
    if path == "/pods":
        if any("webhook-disallow" in c["name"] for c in o["spec"]["containers"]):
            resp.update({"allowed": False, "status": {"message": "the pod contains unwanted container name; "}})
    if path == "/pods/attach":
        resp.update({"allowed": False, "status": {"message": "attaching to pod 'to-be-attached-pod' is not allowed"}})
    if path == "/always-deny":
        resp.update({"allowed": False, "status": {"message": "this webhook denies all requests"}})
    if path == "/always-allow-delay-5s":
        time.sleep(5)
    if path == "/custom-resource":
        d = (o or rq.get("oldObject") or {}).get("data") or {}
        if d.get("webhook-e2e-test") == "webhook-disallow":
            resp.update({"allowed": False, "status": {"reason": "the custom resource contains unwanted data"}})
    if path == "/mutating-custom-resource":
        if (o.get("data") or {}).get("mutation-start") == "yes":
            jp([{"op": "add", "path": "/data/mutation-stage-1", "value": "yes"}])
    if path == "/crd":
        resp.update({"allowed": False, "status": {"message": "the crd contains unwanted label"}})
    if path == "/warn":
        resp["warnings"] = ["beware"]
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": resp}


def hook(t, h, kind, path, rules, **k):
    n = f"h-{rnd()}"
    lab = n
    t.api.patch(f"/api/v1/namespaces/{t.ns}", {"metadata": {"labels": {lab: "true"}}})
    x = {
        "name": "e2e.example.com",
        "clientConfig": h.client(path),
        "rules": rules,
        "sideEffects": "None",
        "admissionReviewVersions": ["v1", "v1beta1"],
        "failurePolicy": "Fail",
    }
    if not k.pop("cluster", False):
        x["namespaceSelector"] = {"matchLabels": {lab: "true"}}
    x.update(k)
    extra = x.pop("more", [])
    K = {"V": "validatingwebhookconfigurations", "M": "mutatingwebhookconfigurations"}[kind]
    P = "/apis/admissionregistration.k8s.io/v1/" + K
    hooks = [x] + [{**x, "name": f"e{i}.example.com", "clientConfig": h.client(p)} for i, p in enumerate(extra)]
    r = t.api.post(P, {"metadata": {"name": n, "labels": {"hooks": n}}, "webhooks": hooks})
    t.need(r.status == 201, "webhook registered", r)
    t.cleanup(lambda: t.api.delete(f"{P}/{n}"))
    time.sleep(0.5)
    return f"{P}/{n}"


R = lambda g, v, res, ops=("CREATE",): [{"operations": list(ops), "apiGroups": [g], "apiVersions": [v], "resources": [res]}]
WH = "test/e2e/apimachinery/webhook.go"


@test("AdmissionWebhook: deny, mutate in order, pods defaulted after, warnings, attach", WH)
def webhooks(t):
    h = Hook(admit)
    n = t.ns
    CM = f"/api/v1/namespaces/{n}/configmaps"
    hook(t, h, "V", "/configmaps", R("", "v1", "configmaps", ("CREATE", "UPDATE", "DELETE")))
    r = t.api.post(CM, {"metadata": {"name": "x"}, "data": {"webhook-e2e-test": "webhook-disallow"}})
    t.check(
        r.status == 400
        and r.msg == 'admission webhook "e2e.example.com" denied the request: the configmap contains unwanted key and value',
        "reason only: upstream's words, code 400",
        r,
    )
    t.check(t.api.post(CM, {"metadata": {"name": "ok"}}).ok, "allowed one")
    for f in (
        lambda: t.api.patch(CM + "/ok", {"data": {"webhook-e2e-test": "webhook-disallow"}}),
        lambda: t.api.put(CM + "/ok", {"metadata": {"name": "ok"}, "data": {"webhook-e2e-test": "webhook-disallow"}}),
    ):
        r = f()
        t.check("denied the request: the configmap contains unwanted key and value" in r.msg, "patch/put denied", r)
    hook(t, h, "V", "/pods", R("", "v1", "pods"))
    r = t.api.post(f"/api/v1/namespaces/{n}/pods", t.pod("w", {"containers": [{"name": "webhook-disallow", "image": BUSYBOX}]}))
    t.check(
        r.msg == 'admission webhook "e2e.example.com" denied the request: the pod contains unwanted container name; ',
        "pod denied words",
        r,
    )
    q = h.seen[-1][1]
    rq = q["request"]
    t.check(
        q["apiVersion"] == "admission.k8s.io/v1"
        and rq["kind"] == {"group": "", "version": "v1", "kind": "Pod"}
        and rq["resource"] == {"group": "", "version": "v1", "resource": "pods"}
        and rq["requestKind"] == rq["kind"]
        and rq["requestResource"] == rq["resource"]
        and rq["operation"] == "CREATE"
        and rq["namespace"] == n
        and rq["dryRun"] is False
        and rq["options"] == {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1"}
        and rq["oldObject"] is None
        and rq["name"] == "w"
        and "userInfo" in rq,
        "AdmissionReview's request",
        {k: v for k, v in rq.items() if k != "object"},
    )
    hook(t, h, "M", "/mutating-configmaps", R("", "v1", "configmaps"), more=["/mutating-configmaps-2"])
    r = t.api.post(CM, {"metadata": {"name": "to-be-mutated"}, "data": {"mutation-start": "yes"}})
    t.check(
        r.ok and r["data"] == {"mutation-start": "yes", "mutation-stage-1": "yes", "mutation-stage-2": "yes"}, "two stages", r
    )
    hook(t, h, "M", "/mutating-pods", R("", "v1", "pods"))
    r = t.api.post(f"/api/v1/namespaces/{n}/pods", t.pod("m"))
    i = r.json["spec"]["initContainers"]
    t.check(
        len(i) == 1 and i[0]["name"] == "webhook-added-init-container" and i[0]["terminationMessagePolicy"] == "File",
        "init container defaulted after mutation",
        i,
    )
    hook(t, h, "V", "/pods/attach", R("", "v1", "pods/attach", ("CONNECT",)))
    r = t.api.post(f"/api/v1/namespaces/{n}/pods/m/attach?container=c&stdout=true", None)
    t.check("attaching to pod 'to-be-attached-pod' is not allowed" in r.msg, "attach denied", r)
    r = t.kubectl("attach", "m", "-c", "c", ok=False, timeout=20)
    t.check(
        r.returncode != 0 and "attaching to pod 'to-be-attached-pod' is not allowed" in r.stderr,
        "kubectl attach denied",
        r.stderr,
    )
    hook(t, h, "V", "/warn", R("", "v1", "secrets"))
    r = t.api.post(f"/api/v1/namespaces/{n}/secrets", {"metadata": {"name": "z"}})
    t.check(r.headers.get("Warning") == '299 - "beware"', "warning", r.headers.get("Warning"))


@test("AdmissionWebhook: timeouts and failure policies; fail closed without CA", WH)
def webhooks_timeout(t):
    h = Hook(admit)
    n = t.ns
    CM = f"/api/v1/namespaces/{n}/configmaps"
    for to, fp, good in ((1, "Fail", False), (1, "Ignore", True), (10, "Fail", True), (None, "Fail", True)):
        p = hook(
            t,
            h,
            "V",
            "/always-allow-delay-5s",
            R("", "v1", "configmaps"),
            failurePolicy=fp,
            **({"timeoutSeconds": to} if to else {}),
        )
        if to is None:
            t.eq(t.api.get(p)["webhooks"][0]["timeoutSeconds"], 10, "default timeout")
        t0 = time.time()
        r = t.api.post(CM, {"metadata": {"generateName": "slow-"}})
        if good:
            t.check(r.ok, f"{to} {fp}", r)
        else:
            t.check(
                r.status == 500
                and 'failed calling webhook "e2e.example.com": failed to call webhook: Post "https://127.0.0.1:' in r.msg
                and '?timeout=1s": context deadline exceeded' in r.msg
                and time.time() - t0 < 4,
                f"{to} {fp} times out with upstream's words",
                r,
            )
        t.api.delete(p)
        time.sleep(0.4)
    p = hook(
        t, h, "V", "/always-deny", R("", "v1", "configmaps"), clientConfig={"url": f"https://127.0.0.1:{h.port}/configmaps"}
    )
    r = t.api.post(CM, {"metadata": {"name": "fc"}})
    t.check(
        r.status == 500 and r.reason == "InternalError" and "failed calling webhook" in r.msg and "x509" in r.msg,
        "fail closed",
        r,
    )
    t.api.delete(p)


@test(
    "AdmissionWebhook: custom resources, CRD creation, config objects not admitted, list/deletecollection, matchConditions, patch of rules",
    WH,
)
def webhooks_more(t):
    h = Hook(admit)
    n = t.ns
    c = mkcrd(t)
    g, p, k = c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"]
    U = f"/apis/{g}/v1/namespaces/{n}/{p}"
    cr = lambda name, d: {"apiVersion": g + "/v1", "kind": k, "metadata": {"name": name}, "data": d}
    a = hook(t, h, "V", "/custom-resource", R(g, "*", p, ("CREATE", "UPDATE", "DELETE")))
    r = t.api.post(U, cr("bad", {"webhook-e2e-test": "webhook-disallow"}))
    t.check("denied the request: the custom resource contains unwanted data" in r.msg, "CR denied", r)
    t.api.post(U, cr("good", {"k": "v"}))
    r = t.api.patch(U + "/good", {"data": {"webhook-e2e-test": "webhook-disallow"}})
    t.check(r.status >= 400, "update denied", r)
    t.api.delete(a)
    time.sleep(0.4)
    t.api.patch(U + "/good", {"data": {"webhook-e2e-test": "webhook-disallow"}})
    a = hook(t, h, "V", "/custom-resource", R(g, "*", p, ("CREATE", "UPDATE", "DELETE")))
    r = t.api.delete(U + "/good")
    t.check("unwanted data" in r.msg, "delete denied", r)
    t.api.delete(a)
    time.sleep(0.4)
    hook(t, h, "M", "/mutating-custom-resource", R(g, "*", p))
    r = t.api.post(U, cr("mut", {"mutation-start": "yes"}))
    t.check(r.ok and r["data"].get("mutation-stage-1") == "yes", "CR mutated", r)
    lab = rnd()
    a = hook(
        t,
        h,
        "V",
        "/crd",
        R("apiextensions.k8s.io", "*", "customresourcedefinitions"),
        cluster=True,
        objectSelector={"matchLabels": {"e2e": lab}},
    )
    r = t.api.post(
        CR,
        {
            "metadata": {"name": "foos.z.example.com", "labels": {"e2e": lab}},
            "spec": {
                "group": "z.example.com",
                "scope": "Namespaced",
                "names": {"plural": "foos", "kind": "Foo"},
                "versions": [
                    {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
                ],
            },
        },
    )
    t.check("the crd contains unwanted label" in r.msg, "crd denied", r)
    for kd in "VM":
        hook(
            t,
            h,
            kd,
            "/always-deny",
            R("admissionregistration.k8s.io", "*", "validatingwebhookconfigurations", ("CREATE", "DELETE", "UPDATE"))
            + R("admissionregistration.k8s.io", "*", "mutatingwebhookconfigurations", ("CREATE", "DELETE", "UPDATE")),
            cluster=True,
        )
    a = hook(t, h, "V", "/always-deny", R("", "v1", "configmaps"))
    r = t.api.delete(a)
    t.check(r.ok, "webhook configs are not admitted by webhooks", r)
    time.sleep(0.4)
    CM = f"/api/v1/namespaces/{n}/configmaps"
    a = hook(t, h, "V", "/always-deny", R("", "v1", "configmaps"))
    t.check(t.api.post(CM, {"metadata": {"generateName": "c"}}).status >= 400, "denied")
    o = t.api.get(a).json
    o["webhooks"][0]["rules"][0]["operations"] = ["UPDATE"]
    t.check(t.api.put(a, o).ok, "updated")
    t.wait(lambda: t.api.post(CM, {"metadata": {"generateName": "c"}}).ok, "CREATE no longer matched", 5)
    t.api.jp(a, [{"op": "replace", "path": "/webhooks/0/rules/0/operations", "value": ["CREATE"]}])
    t.wait(lambda: t.api.post(CM, {"metadata": {"generateName": "c"}}).status >= 400, "again", 5)
    K = a.rsplit("/", 1)[0]
    nm = a.rsplit("/", 1)[1]
    r = t.api.delete(K, params={"labelSelector": "hooks=" + nm})
    t.check(r.ok, "deletecollection", r)
    t.wait(lambda: t.api.post(CM, {"metadata": {"generateName": "c"}}).ok, "none", 5)
    a = hook(
        t,
        h,
        "M",
        "/mutating-configmaps",
        R("", "v1", "configmaps"),
        matchConditions=[{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}],
    )
    r = t.api.post(CM, {"metadata": {"name": "skip-me"}, "data": {"mutation-start": "yes"}})
    t.check(r.ok and "mutation-stage-1" not in r["data"], "skip-me skipped", r)
    r = t.api.post(CM, {"metadata": {"name": "other"}, "data": {"mutation-start": "yes"}})
    t.check(r.ok and r["data"].get("mutation-stage-1") == "yes", "other mutated", r)
    t.check(
        t.api.get(a)["webhooks"][0]["matchConditions"]
        == [{"name": "skip-me", "expression": "object.metadata.name != 'skip-me'"}],
        "stored",
    )
    for K, kd in (("validatingwebhookconfigurations", "V"), ("mutatingwebhookconfigurations", "M")):
        r = t.api.post(
            "/apis/admissionregistration.k8s.io/v1/" + K,
            {
                "metadata": {"name": "bad" + rnd()},
                "webhooks": [
                    {
                        "name": "a.b.c",
                        "clientConfig": {"url": "https://x/"},
                        "sideEffects": "None",
                        "admissionReviewVersions": ["v1"],
                        "matchConditions": [{"name": "invalid-expression-1", "expression": "... [] bad expression"}],
                    }
                ],
            },
        )
        t.check(r.status == 422 and "compilation failed" in r.msg, "invalid matchConditions", r)


@test("CRD conversion webhook (url), mixed stored versions", "test/e2e/apimachinery/crd_conversion_webhook.go")
def conversion(t):
    def conv(path, b):
        out = []
        for o in b["request"]["objects"]:
            o = json.loads(json.dumps(o))
            want = b["request"]["desiredAPIVersion"]
            if want.endswith("v2") and "hostPort" in o:
                h, p = o.pop("hostPort").split(":")
                o["host"], o["port"] = h, p
            if want.endswith("v1") and "host" in o:
                o["hostPort"] = f"{o.pop('host')}:{o.pop('port')}"
            o["apiVersion"] = want
            out.append(o)
        return {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "ConversionReview",
            "response": {"uid": b["request"]["uid"], "result": {"status": "Success"}, "convertedObjects": out},
        }

    h = Hook(conv)
    v1 = {"type": "object", "properties": {"hostPort": {"type": "string"}}}
    v2 = {"type": "object", "properties": {"host": {"type": "string"}, "port": {"type": "string"}}}
    c = mkcrd(
        t,
        versions=[
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": v1}},
            {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": v2}},
        ],
        conversion={
            "strategy": "Webhook",
            "webhook": {"clientConfig": h.client("/crdconvert"), "conversionReviewVersions": ["v1", "v1beta1"]},
        },
    )
    g, p, k, nm = c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"], c["metadata"]["name"]
    U = lambda v: f"/apis/{g}/{v}/namespaces/{t.ns}/{p}"
    r = t.api.post(U("v1"), {"apiVersion": g + "/v1", "kind": k, "metadata": {"name": "name1"}, "hostPort": "localhost:8080"})
    t.check(r.ok, "v1", r)
    r = t.api.get(U("v2") + "/name1")
    t.check(r.ok and r["host"] == "localhost" and r["port"] == "8080" and "hostPort" not in r.json, "read as v2", r)
    w = t.api.watch(U("v2"))
    r = t.api.jp(
        f"{CR}/{nm}",
        [
            {"op": "replace", "path": "/spec/versions/0/storage", "value": False},
            {"op": "replace", "path": "/spec/versions/1/storage", "value": True},
        ],
    )
    t.check(r.ok, "swap storage", r)
    time.sleep(1)
    t.check(sorted(t.api.get(f"{CR}/{nm}")["status"]["storedVersions"]) == ["v1", "v2"], "storedVersions")
    t.api.post(U("v1"), {"apiVersion": g + "/v1", "kind": k, "metadata": {"name": "name2"}, "hostPort": "h:1"})
    for v, f in (("v1", "hostPort"), ("v2", "host")):
        r = t.api.get(U(v))
        t.check(r.ok and len(r["items"]) == 2 and all(f in x for x in r["items"]), "mixed list as " + v, r)
    t.check(w.until(lambda e: e["object"].get("host") == "h", 5), "watch converts", w.events)


@test(
    "ValidatingAdmissionPolicy on a Deployment; variables; params; type checking; audit annotations",
    "test/e2e/apimachinery/validatingadmissionpolicy.go",
)
def vap(t):
    n = t.ns
    A = "/apis/admissionregistration.k8s.io/v1"
    nm = "p-" + rnd()
    t.api.patch(f"/api/v1/namespaces/{n}", {"metadata": {"labels": {nm: "true"}}})
    pol = {
        "metadata": {"name": nm},
        "spec": {
            "failurePolicy": "Fail",
            "matchConstraints": {
                "resourceRules": [
                    {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
                ]
            },
            "variables": [
                {"name": "replicas", "expression": "object.spec.replicas"},
                {"name": "oddReplicas", "expression": "variables.replicas % 2 == 1"},
            ],
            "validations": [
                {
                    "expression": "variables.replicas > 1",
                    "messageExpression": "'wants replicas > 1, got ' + string(object.spec.replicas)",
                },
                {
                    "expression": "variables.oddReplicas",
                    "messageExpression": (
                        'variables.replicas > 100 ? "replicas is too many" : "replicas must be odd"'
                        if False
                        else '"not odd: " + string(variables.replicas)'
                    ),
                },
            ],
        },
    }
    r = t.api.post(A + "/validatingadmissionpolicies", pol)
    t.need(r.ok, "policy", r)
    t.cleanup(lambda: t.api.delete(f"{A}/validatingadmissionpolicies/{nm}"))
    r = t.api.post(
        A + "/validatingadmissionpolicybindings",
        {
            "metadata": {"name": nm},
            "spec": {
                "policyName": nm,
                "matchResources": {"namespaceSelector": {"matchLabels": {nm: "true"}}},
                "validationActions": ["Deny"],
            },
        },
    )
    t.need(r.ok, "binding", r)
    t.cleanup(lambda: t.api.delete(f"{A}/validatingadmissionpolicybindings/{nm}"))
    t.wait(
        lambda: "typeChecking" in t.api.get(f"{A}/validatingadmissionpolicies/{nm}")["status"]
        and t.api.get(f"{A}/validatingadmissionpolicies/{nm}")["status"]["observedGeneration"] == 1,
        "status.typeChecking and observedGeneration",
        15,
    )
    dep = lambda k: t.api.post(
        f"/apis/apps/v1/namespaces/{n}/deployments",
        {
            "metadata": {"name": f"d{k}-{rnd()}"},
            "spec": {
                "replicas": k,
                "selector": {"matchLabels": {"a": "b"}},
                "template": {"metadata": {"labels": {"a": "b"}}, "spec": PODT["spec"]},
            },
        },
        params={"dryRun": "All"},
    )
    t.wait(lambda: dep(1).status != 201, "policy acts", 10)
    r = dep(1)
    t.check(
        r.status == 422
        and r.reason == "Invalid"
        and f"ValidatingAdmissionPolicy '{nm}' with binding '{nm}' denied request: wants replicas > 1, got 1" in r.msg,
        "denied words",
        r,
    )
    r = dep(2)
    t.check("not odd: 2" in r.msg, "variables in messageExpression", r)
    t.check(dep(3).ok, "allowed")
    nm2 = nm + "-tc"
    r = t.api.post(
        A + "/validatingadmissionpolicies",
        {
            "metadata": {"name": nm2},
            "spec": {
                "matchConstraints": {
                    "resourceRules": [
                        {"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["deployments"]}
                    ]
                },
                "validations": [
                    {
                        "expression": "object.spec.replicas > '1'",
                        "messageExpression": "'wants replicas > 1, got ' + object.spec.replicas",
                    }
                ],
            },
        },
    )
    t.cleanup(lambda: t.api.delete(f"{A}/validatingadmissionpolicies/{nm2}"))

    def tc():
        return t.api.get(f"{A}/validatingadmissionpolicies/{nm2}")["status"]["typeChecking"]["expressionWarnings"]

    t.wait(tc, "type checking warnings", 15)
    ws = wait(tc, 1) or []
    t.check(
        len(ws) == 2
        and ws[0]["fieldRef"] == "spec.validations[0].expression"
        and ws[1]["fieldRef"] == "spec.validations[0].messageExpression"
        and "found no matching overload for '_>_' applied to '(int, string)'" in ws[0]["warning"],
        "two warnings with fieldRef and words",
        ws,
    )


@test("MutatingAdmissionPolicy: ApplyConfiguration, JSONPatch", "test/e2e/apimachinery/mutatingadmissionpolicy.go")
def mutating_policy(t):
    n = t.ns
    A = "/apis/admissionregistration.k8s.io/v1"
    for i, mut in enumerate(
        (
            {
                "patchType": "ApplyConfiguration",
                "applyConfiguration": {"expression": "Object{spec: Object.spec{replicas: object.spec.replicas + 3}}"},
            },
            {
                "patchType": "JSONPatch",
                "jsonPatch": {"expression": "[JSONPatch{op: 'add', path: '/metadata/labels', value: {'x': 'y'}}]"},
            },
        )
    ):
        nm = f"m{i}-" + rnd()
        t.api.patch(f"/api/v1/namespaces/{n}", {"metadata": {"labels": {nm: "true"}}})
        r = t.api.post(
            A + "/mutatingadmissionpolicies",
            {
                "metadata": {"name": nm},
                "spec": {
                    "reinvocationPolicy": "Never",
                    "failurePolicy": "Fail",
                    "matchConstraints": {
                        "resourceRules": [
                            {
                                "apiGroups": ["apps"],
                                "apiVersions": ["v1"],
                                "operations": ["CREATE"],
                                "resources": ["deployments"],
                            }
                        ]
                    },
                    "mutations": [mut],
                },
            },
        )
        t.need(r.ok, "policy", r)
        t.cleanup(lambda nm=nm: t.api.delete(f"{A}/mutatingadmissionpolicies/{nm}"))
        r = t.api.post(
            A + "/mutatingadmissionpolicybindings",
            {
                "metadata": {"name": nm},
                "spec": {"policyName": nm, "matchResources": {"namespaceSelector": {"matchLabels": {nm: "true"}}}},
            },
        )
        t.need(r.ok, "binding", r)
        t.cleanup(lambda nm=nm: t.api.delete(f"{A}/mutatingadmissionpolicybindings/{nm}"))
        dep = lambda: t.api.post(
            f"/apis/apps/v1/namespaces/{n}/deployments",
            {
                "metadata": {"name": f"d-{rnd()}"},
                "spec": {
                    "replicas": 1,
                    "selector": {"matchLabels": {"a": "b"}},
                    "template": {"metadata": {"labels": {"a": "b"}}, "spec": PODT["spec"]},
                },
            },
            params={"dryRun": "All"},
        )
        t.wait(
            lambda: (dep()["spec"]["replicas"] == 4) if i == 0 else dep()["metadata"].get("labels") == {"x": "y"},
            f"mutation {i}",
            10,
        )
        t.api.delete(f"{A}/mutatingadmissionpolicybindings/{nm}")
        time.sleep(0.5)


@test("Aggregator: APIService life cycle without backend", "test/e2e/apimachinery/aggregator.go")
def apiservice(t):
    n = t.ns
    A = "/apis/apiregistration.k8s.io/v1/apiservices"
    nm = "v1alpha1.wardle.example.com"
    t.cleanup(lambda: t.api.delete(A + "/" + nm))
    r = t.api.post(
        A,
        {
            "metadata": {"name": nm, "labels": {"apiservice": "wardle"}},
            "spec": {
                "service": {"namespace": n, "name": "sample-api", "port": 7443},
                "group": "wardle.example.com",
                "version": "v1alpha1",
                "insecureSkipTLSVerify": True,
                "groupPriorityMinimum": 2000,
                "versionPriority": 200,
            },
        },
    )
    t.need(r.status == 201, "created", r)

    def av():
        return [c for c in t.api.get(A + "/" + nm)["status"]["conditions"] if c["type"] == "Available"][0]

    t.wait(lambda: av()["status"] == "False", "not available", 15)
    c = av()
    t.check(c["reason"] == "ServiceNotFound" and c["message"] == f'service/sample-api in "{n}" is not present', "words", c)
    r = t.api.get(A + "/" + nm + "/status")
    t.check(r.ok, "read status", r)
    r = t.api.patch(A + "/" + nm, {"spec": {"versionPriority": 400}})
    t.check(r.ok and r["spec"]["versionPriority"] == 400, "patch", r)

    def us():
        o = t.api.get(A + "/" + nm).json
        o["status"]["conditions"].append(
            {"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        )
        return t.api.put(A + f"/{nm}/status", o)

    r = retry(us)
    t.check(r.ok and any(c["type"] == "StatusUpdated" for c in r["status"]["conditions"]), "UpdateStatus", r)
    r = t.api.patch(
        A + f"/{nm}/status",
        {
            "status": {
                "conditions": [{"type": "StatusPatched", "status": "True", "reason": "E2E", "message": "Set by e2e test"}]
            }
        },
    )
    t.check(r.ok and any(c["type"] == "StatusPatched" for c in r["status"]["conditions"]), "patch status", r)
    r = t.api.get("/apis/wardle.example.com/v1alpha1")
    t.check(r.status == 503, "503 from an unavailable one", r)
    o = t.api.get(A + "/" + nm).json
    o["metadata"]["labels"]["x"] = "updated"
    r = retry(
        lambda: t.api.put(
            A + "/" + nm,
            {
                **t.api.get(A + "/" + nm).json,
                "metadata": {**t.api.get(A + "/" + nm)["metadata"], "labels": {"x": "updated", "apiservice": "wardle"}},
            },
        )
    )
    t.check(r.ok and r["metadata"]["labels"]["x"] == "updated", "replace", r)
    r = t.api.delete(A, params={"labelSelector": "apiservice=wardle"})
    t.check(r.ok and t.api.get(A + "/" + nm).status == 404, "deletecollection", r)
    r = t.api.get(A + "/v1.apps")
    t.check(
        r.ok
        and r["metadata"]["labels"].get("kube-aggregator.kubernetes.io/automanaged") == "onstart"
        and cond(r.json, "Available") == "True",
        "local APIService",
        r,
    )


@test("generateName and metadata details", "(generated names)")
def generated(t):
    n = t.ns
    P = f"/api/v1/namespaces/{n}/configmaps"
    r = t.api.post(P, {"metadata": {"generateName": "x" * 80}})
    t.check(r.ok and len(r["metadata"]["name"]) == 63 and r["metadata"]["generateName"] == "x" * 80, "63 characters", r)
    r = t.api.post(P, {"metadata": {}})
    t.check(r.status == 422 and r.msg.endswith("name or generateName is required"), "words", r)
    r = t.api.post(P, {"metadata": {"name": "A_b"}})
    t.check(
        r.status == 422 and "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters" in r.msg,
        "words",
        r,
    )
    r = t.api.post(P, {"metadata": {"name": "empty"}, "data": {"": "x"}})
    t.check(
        r.status == 422
        and r.msg
        == "ConfigMap \"empty\" is invalid: data[]: Invalid value: \"\": a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
        "empty key words",
        r,
    )
    r = t.api.post(f"/api/v1/namespaces/{n}/secrets", {"metadata": {"name": "empty"}, "data": {"": "eA=="}})
    t.check(r.status == 422 and 'Secret "empty" is invalid: data[]: Invalid value: ""' in r.msg, "secret empty key", r)
    t.api.post(P, {"metadata": {"name": "im"}, "immutable": True, "data": {"a": "b"}})
    r = t.api.patch(P + "/im", {"data": {"a": "c"}})
    t.check(r.status == 422 and "field is immutable when `immutable` is set" in r.msg, "immutable", r)


@test("ServiceAccount life cycle, token request, OIDC discovery, root CA", "test/e2e/auth/service_accounts.go")
def serviceaccount(t):
    n = t.ns
    P = f"/api/v1/namespaces/{n}/serviceaccounts"
    w = t.api.watch(P, labelSelector="test-serviceaccount-static=true")
    t.api.post(P, {"metadata": {"name": "testserviceaccount", "labels": {"test-serviceaccount-static": "true"}}})
    t.check(w.until(lambda e: e["type"] == "ADDED", 5), "added")
    r = t.api.smp(P + "/testserviceaccount", {"automountServiceAccountToken": False})
    t.check(r.ok and r["automountServiceAccountToken"] is False, "patch", r)
    t.check(w.until(lambda e: e["type"] == "MODIFIED", 5), "modified")
    r = t.api.get("/api/v1/serviceaccounts", params={"labelSelector": "test-serviceaccount-static=true"})
    t.check(
        any(x["metadata"]["namespace"] == n and x["automountServiceAccountToken"] is False for x in r["items"]),
        "list",
        r.text[:200],
    )
    r = t.api.post(
        P + "/testserviceaccount/token",
        {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": ["my-aud"], "expirationSeconds": 3600},
        },
    )
    t.check(
        r.status == 201
        and r["status"]["token"].count(".") == 2
        and r["status"]["expirationTimestamp"]
        and r["spec"]["audiences"] == ["my-aud"],
        "token",
        r,
    )
    r2 = t.api.post(
        "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": r["status"]["token"], "audiences": ["my-aud"]}}
    )
    t.check(
        r2.status == 201
        and r2["status"]["authenticated"]
        and r2["status"]["audiences"] == ["my-aud"]
        and r2["status"]["user"]["username"] == f"system:serviceaccount:{n}:testserviceaccount"
        and r2["status"]["user"]["groups"] == ["system:serviceaccounts", f"system:serviceaccounts:{n}", "system:authenticated"]
        and "authentication.kubernetes.io/credential-id" in r2["status"]["user"]["extra"],
        "TokenReview",
        r2,
    )
    r = t.api.delete(P, params={"labelSelector": "test-serviceaccount-static=true"})
    t.check(w.until(lambda e: e["type"] == "DELETED", 5), "deleted", w.types())
    cm = f"/api/v1/namespaces/{n}/configmaps/kube-root-ca.crt"
    t.wait(lambda: t.api.get(cm).ok, "root ca")
    d = t.api.get(cm)["data"]
    t.check(
        list(d) == ["ca.crt"] and t.api.get(cm)["metadata"].get("annotations", {}).get("kubernetes.io/description"),
        "annotation",
        t.api.get(cm),
    )
    t.api.delete(cm)
    t.wait(lambda: t.api.get(cm).ok, "recreated")
    t.api.patch(cm, {"data": {"ca.crt": ""}})
    t.wait(lambda: t.api.get(cm)["data"] == d, "reconciled")
    r = t.api.get("/.well-known/openid-configuration")
    t.check(
        r.ok
        and r["issuer"]
        and r["jwks_uri"]
        and r["response_types_supported"] == ["id_token"]
        and r["subject_types_supported"] == ["public"]
        and "RS256" in r["id_token_signing_alg_values_supported"],
        "openid",
        r,
    )
    t.eq(r.headers["Content-Type"], "application/json", "type")
    t.check("max-age=3600" in r.headers.get("Cache-Control", ""), "cache", dict(r.headers))
    r = t.api.get("/openid/v1/jwks")
    t.check(
        r.ok and r["keys"][0]["kty"] and r.headers["Content-Type"] == "application/jwk-set+json",
        "jwks",
        (r, r.headers.get("Content-Type")),
    )


@test(
    "SubjectReview with impersonation; LocalSubjectAccessReview; SelfSubjectReview",
    "test/e2e/auth/subjectreviews.go, selfsubjectreviews.go",
)
def subjectreview(t):
    n = t.ns
    t.api.post(f"/api/v1/namespaces/{n}/serviceaccounts", {"metadata": {"name": "e2e"}})
    u = f"system:serviceaccount:{n}:e2e"
    r = t.api.get(f"/api/v1/namespaces/{n}/configmaps", headers={"Impersonate-User": u})
    t.check(
        r.status == 403
        and r.msg
        == f'configmaps is forbidden: User "{u}" cannot list resource "configmaps" in API group "" in the namespace "{n}"',
        "impersonated forbidden words",
        r,
    )
    for path, extra in (
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", {}),
        (f"/apis/authorization.k8s.io/v1/namespaces/{n}/localsubjectaccessreviews", {"metadata": {"namespace": n}}),
    ):
        r = t.api.post(
            path,
            {
                **extra,
                "spec": {
                    "resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": n, "version": "v1"},
                    "user": u,
                },
            },
        )
        t.check(r.status == 201 and r["status"]["allowed"] is False, path, r)
    r = t.api.post(
        "/apis/authentication.k8s.io/v1/selfsubjectreviews",
        {},
        headers={"Impersonate-User": "jane", "Impersonate-Group": "g", "Impersonate-Uid": "u1", "Impersonate-Extra-foo": "bar"},
    )
    t.check(
        r.status == 201
        and r["status"]["userInfo"]
        == {"username": "jane", "uid": "u1", "groups": ["g", "system:authenticated"], "extra": {"foo": ["bar"]}},
        "SelfSubjectReview impersonated",
        r,
    )
    r = t.api.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", {"spec": {"namespace": n}})
    t.check(
        r.status == 201
        and r["status"]["incomplete"] is False
        and {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]} in r["status"]["resourceRules"],
        "rules review",
        r.text[:300],
    )


@test("CSR approval, denial, status, signing; validation", "test/e2e/auth/certificates.go")
def csr(t):
    P = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
    d = tempfile.mkdtemp()
    subprocess.run(
        f"openssl req -new -newkey rsa:2048 -nodes -keyout {d}/k -out {d}/r -subj /O=x/CN=e2e-test-user 2>/dev/null", shell=True
    )
    q = base64.b64encode(open(d + "/r", "rb").read()).decode()
    r = t.api.post(
        P,
        {
            "metadata": {"generateName": "e2e-"},
            "spec": {
                "request": q,
                "signerName": "kubernetes.io/kube-apiserver-client",
                "usages": ["digital signature", "key encipherment", "client auth"],
                "expirationSeconds": 3600,
            },
        },
    )
    t.need(r.status == 201, "csr", r)
    nm = r["metadata"]["name"]
    t.cleanup(lambda: t.api.delete(P + "/" + nm))
    t.check(r["spec"]["username"] and "system:authenticated" in r["spec"]["groups"], "username and groups stamped", r)
    o = r.json
    o["status"]["conditions"] = [{"type": "Approved", "status": "True", "reason": "E2E", "message": "Set from an e2e test"}]
    r = t.api.put(f"{P}/{nm}/approval", o)
    t.check(r.ok, "approved", r)
    r = t.wait(lambda: t.api.get(P + "/" + nm)["status"].get("certificate"), "certificate issued")
    if r:
        open(d + "/c", "wb").write(base64.b64decode(r))
        a = Api()
        a.ses.cert = (d + "/c", d + "/k")
        x = a.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", {})
        t.check(
            x.ok and x["status"]["userInfo"]["username"] == "e2e-test-user" and "x" in x["status"]["userInfo"]["groups"],
            "certificate authenticates",
            x,
        )
        e = subprocess.run(
            ["openssl", "x509", "-in", d + "/c", "-noout", "-enddate", "-startdate"], capture_output=True, text=True
        ).stdout
        t.extra_note = e
    r = t.api.patch(
        f"{P}/{nm}/approval",
        {
            "metadata": {"annotations": {"patchedapproval": "true"}},
            "status": {"conditions": [{"type": "ApprovalPatch", "status": "True", "reason": "E2E"}]},
        },
    )
    t.check(r.status in (200, 422), "approval patch", r)
    r = t.api.post(
        P, {"metadata": {"name": "bad"}, "spec": {"request": "bm90IGEgY3Ny", "signerName": "a/b", "usages": ["client auth"]}}
    )
    t.check(
        r.status == 422 and "spec.request: Invalid value" in r.msg and "spec.signerName: Invalid value" in r.msg,
        "validation",
        r,
    )
