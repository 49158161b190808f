from lib import *
from t_api2 import retry, PODS, NOW
from t_node import c, one, PO

PV, PC = "/api/v1/persistentvolumes", lambda t: f"/api/v1/namespaces/{t.ns}/persistentvolumeclaims"


@test("emptyDir: modes, tmpfs, shared, non-root, sizeLimit", "test/e2e/common/storage/empty_dir.go")
def emptydir(t):
    for nm, med in (("d", ""), ("m", "Memory")):
        o = t.out(
            "e" + nm,
            {
                "restartPolicy": "Never",
                "containers": [
                    c(
                        "stat -c %a /v; echo x > /v/f && cat /v/f; grep ' /v ' /proc/mounts",
                        volumeMounts=[{"name": "v", "mountPath": "/v"}],
                    )
                ],
                "volumes": [{"name": "v", "emptyDir": {"medium": med}}],
            },
        )
        t.check(o.startswith("777\nx\n") and (("tmpfs" in o) == (med == "Memory")), nm, o)
    o = t.out(
        "nr",
        {
            "restartPolicy": "Never",
            "securityContext": {"runAsUser": 1001, "fsGroup": 123},
            "containers": [
                c(
                    "echo x > /v/f && stat -c '%a %u %g' /v/f; stat -c '%a %g' /v",
                    volumeMounts=[{"name": "v", "mountPath": "/v"}],
                )
            ],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    )
    t.check("644 1001 123" in o and "2777 123" in o, "fsGroup: setgid and group", o)
    t.create_pod(
        t.pod(
            "sh",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    c("sleep 1000", name="a", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
                    c("echo -n hello > /v/x; sleep 1000", name="b", volumeMounts=[{"name": "v", "mountPath": "/v"}]),
                ],
                "volumes": [{"name": "v", "emptyDir": {}}],
            },
        )
    )
    t.ready("sh")
    t.wait(lambda: t.exec("sh", "cat", "/v/x", container="a") == "hello", "shared")
    o = t.out(
        "sz",
        {
            "restartPolicy": "Never",
            "containers": [c("df -k /v | tail -1", volumeMounts=[{"name": "v", "mountPath": "/v"}])],
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory", "sizeLimit": "10Mi"}}],
        },
    )
    t.check("10240" in o, "tmpfs size", o)


@test(
    "hostPath types; subPath; readOnly; recursiveReadOnly; subPath with configmap/secret/downward",
    "test/e2e/storage/subpath.go, common/storage/host_path.go",
)
def subpath(t):
    t.api.post(
        f"/api/v1/namespaces/{t.ns}/configmaps", {"metadata": {"name": "cm"}, "data": {"configmap-key": "configmap-value"}}
    )
    t.api.post(f"/api/v1/namespaces/{t.ns}/secrets", {"metadata": {"name": "se"}, "data": {"secret-key": "c2VjcmV0LXZhbHVl"}})
    vols = [
        {"name": "cm", "configMap": {"name": "cm"}},
        {"name": "se", "secret": {"secretName": "se"}},
        {"name": "da", "downwardAPI": {"items": [{"path": "downward/podname", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {
            "name": "pr",
            "projected": {
                "sources": [
                    {"configMap": {"name": "cm", "items": [{"key": "configmap-key", "path": "projected/configmap-key"}]}}
                ]
            },
        },
        {"name": "ed", "emptyDir": {}},
    ]
    o = t.out(
        "s",
        {
            "restartPolicy": "Never",
            "containers": [
                c(
                    "cat /1; echo; cat /2; echo; cat /3; echo; cat /4/configmap-key; echo; echo z > /5/f; cat /6/sub/f; touch /1 || true",
                    volumeMounts=[
                        {"name": "cm", "mountPath": "/1", "subPath": "configmap-key"},
                        {"name": "se", "mountPath": "/2", "subPath": "secret-key"},
                        {"name": "da", "mountPath": "/3", "subPath": "downward/podname"},
                        {"name": "pr", "mountPath": "/4", "subPath": "projected"},
                        {"name": "ed", "mountPath": "/5", "subPath": "sub"},
                        {"name": "ed", "mountPath": "/6"},
                    ],
                )
            ],
            "volumes": vols,
        },
    )
    t.check(o.startswith("configmap-value\nsecret-value\ns\nconfigmap-value\nz\n"), "subPaths", o)
    t.create_pod(
        t.pod(
            "bad",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("true", volumeMounts=[{"name": "h", "mountPath": "/h"}])],
                "volumes": [{"name": "h", "hostPath": {"path": "/tmp/no-such-" + rnd(), "type": "Directory"}}],
            },
        )
    )
    t.wait(
        lambda: any(
            e["reason"] == "FailedMount" and "hostPath type check failed" in e["message"]
            for e in t.api.get(f"/api/v1/namespaces/{t.ns}/events", params={"fieldSelector": "involvedObject.name=bad"})[
                "items"
            ]
        ),
        "FailedMount event",
        20,
    )


@test(
    "PV and PVC life cycle and status; binding; protection; reclaim",
    "test/e2e/storage/persistent_volumes.go, pvc_protection.go",
)
def pvs(t):
    sc = "sc-" + rnd()
    nm = "pv-" + rnd()
    t.cleanup(lambda: t.api.delete(PV + "/" + nm))
    r = t.api.post(
        PV,
        {
            "metadata": {"name": nm, "labels": {"e2e": nm}},
            "spec": {
                "capacity": {"storage": "2Gi"},
                "accessModes": ["ReadWriteOnce"],
                "storageClassName": sc,
                "persistentVolumeReclaimPolicy": "Retain",
                "hostPath": {"path": "/tmp/conf-" + nm},
            },
        },
    )
    t.need(r.ok, "pv", r)
    t.wait(lambda: t.api.get(PV + "/" + nm)["status"]["phase"] == "Available", "Available")
    t.check(
        "kubernetes.io/pv-protection" in t.api.get(PV + "/" + nm)["metadata"]["finalizers"]
        and t.api.get(PV + "/" + nm)["status"].get("lastPhaseTransitionTime"),
        "finalizer, lastPhaseTransitionTime",
        t.api.get(PV + "/" + nm),
    )
    r = t.api.post(
        PC(t),
        {
            "metadata": {"name": "c", "labels": {"e2e": nm}},
            "spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": sc, "resources": {"requests": {"storage": "1Gi"}}},
        },
    )
    t.wait(lambda: t.api.get(PC(t) + "/c")["status"]["phase"] == "Bound", "Bound")
    o = t.api.get(PC(t) + "/c").json
    v = t.api.get(PV + "/" + nm).json
    t.check(
        o["spec"]["volumeName"] == nm
        and o["status"]["capacity"] == {"storage": "2Gi"}
        and o["metadata"]["annotations"].get("pv.kubernetes.io/bind-completed") == "yes"
        and v["spec"]["claimRef"]["uid"] == o["metadata"]["uid"]
        and v["metadata"]["annotations"].get("pv.kubernetes.io/bound-by-controller") == "yes",
        "binding",
        (o, v["spec"]),
    )
    r = t.api.get(PC(t) + "/c/status")
    t.check(r.ok, "get status")
    r = t.api.smp(
        PC(t) + "/c/status",
        {
            "metadata": {"labels": {"p": "1"}},
            "status": {
                "conditions": [
                    {"type": "StatusPatched", "status": "True", "reason": "E2E patchedStatus", "message": "Set by e2e test"}
                ]
            },
        },
    )
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusPatched", "PVC status patch", r)

    def us():
        o = t.api.get(PC(t) + "/c").json
        o["status"]["conditions"].append({"type": "StatusUpdated", "status": "True", "reason": "E2E", "message": "m"})
        return t.api.put(PC(t) + "/c/status", o)

    r = retry(us)
    t.check(r.ok and len(r["status"]["conditions"]) == 2, "PVC status update", r)
    r = t.api.smp(PV + f"/{nm}/status", {"status": {"message": "StatusPatched", "reason": "E2E patchStatus"}})
    t.check(r.ok and r["status"]["message"] == "StatusPatched", "PV status patch", r)
    t.create_pod(
        t.pod(
            "p",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 1000", volumeMounts=[{"name": "v", "mountPath": "/v"}])],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
            },
        )
    )
    t.ready("p")
    r = t.api.delete(PC(t) + "/c")
    time.sleep(1)
    o = t.api.get(PC(t) + "/c")
    t.check(
        o.ok and o["metadata"]["deletionTimestamp"] and o["metadata"]["finalizers"] == ["kubernetes.io/pvc-protection"],
        "protected while a pod uses it",
        o,
    )
    t.create_pod(
        t.pod(
            "p2",
            {
                "containers": [c("true", volumeMounts=[{"name": "v", "mountPath": "/v"}])],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
            },
        )
    )
    t.wait(
        lambda: 'persistentvolumeclaim "c" is being deleted'
        in [x for x in t.get_pod("p2")["status"]["conditions"] if x["type"] == "PodScheduled"][0].get("message", ""),
        "second pod is not scheduled",
        20,
    )
    t.api.delete(PO(t) + "/p")
    t.api.delete(PO(t) + "/p2")
    t.wait(lambda: t.api.get(PC(t) + "/c").status == 404, "then deleted", 30)
    t.wait(lambda: t.api.get(PV + "/" + nm)["status"]["phase"] == "Released", "Released")
    r = t.api.delete(PV, params={"labelSelector": "e2e=" + nm})
    t.check(r.ok, "deletecollection", r)
    t.wait(lambda: t.api.get(PV + "/" + nm).status == 404, "pv gone", 20)


@test("Dynamic provisioning, expansion, default class retroactively, WaitForFirstConsumer", "test/e2e/storage (dynamic)")
def dynamic(t):
    r = t.api.post(
        PC(t),
        {"metadata": {"name": "c"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}},
    )
    t.check(r["spec"].get("storageClassName"), "default class set", r)
    t.create_pod(
        t.pod(
            "p",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("echo hi > /v/x; sleep 1000", volumeMounts=[{"name": "v", "mountPath": "/v"}])],
                "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
            },
        )
    )
    t.ready("p")
    o = t.api.get(PC(t) + "/c").json
    t.check(o["status"]["phase"] == "Bound" and o["status"]["accessModes"] == ["ReadWriteOnce"], "bound", o)
    r = t.api.patch(PC(t) + "/c", {"spec": {"resources": {"requests": {"storage": "5Mi"}}}})
    t.check(
        r.status == 422 and "field can not be less than status.capacity" in r.msg or r.status in (403, 422), "shrink refused", r
    )
    t.create_pod(
        t.pod(
            "g",
            {
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 1000", volumeMounts=[{"name": "v", "mountPath": "/v"}])],
                "volumes": [
                    {
                        "name": "v",
                        "ephemeral": {
                            "volumeClaimTemplate": {
                                "metadata": {"labels": {"a": "b"}},
                                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
                            }
                        },
                    }
                ],
            },
        )
    )
    t.ready("g")
    o = t.api.get(PC(t) + "/g-v")
    t.check(
        o.ok and o["metadata"]["ownerReferences"][0]["kind"] == "Pod" and o["metadata"]["labels"] == {"a": "b"},
        "generic ephemeral",
        o,
    )
    t.api.delete(PO(t) + "/g")
    t.wait(lambda: t.api.get(PC(t) + "/g-v").status == 404, "goes with the pod", 30)


@test("emptyDir wrapper: no conflicts", "test/e2e/storage/empty_dir_wrapper.go")
def wrapper(t):
    for i in range(10):
        t.api.post(f"/api/v1/namespaces/{t.ns}/configmaps", {"metadata": {"name": f"cm{i}"}, "data": {"data-1": f"v{i}"}})
    o = t.out(
        "w",
        {
            "restartPolicy": "Never",
            "containers": [
                c("cat /etc/*/data-1", volumeMounts=[{"name": f"v{i}", "mountPath": f"/etc/config-{i}"} for i in range(10)])
            ],
            "volumes": [{"name": f"v{i}", "configMap": {"name": f"cm{i}"}} for i in range(10)],
        },
    )
    t.eq(o, "".join(f"v{i}" for i in range(10)), "ten")


@test("VolumeAttachment status patch by merge", "test/e2e/storage/volume_attachment.go")
def va(t):
    A = "/apis/storage.k8s.io/v1/volumeattachments"
    nm = "va-" + rnd()
    t.cleanup(lambda: t.api.delete(A + "/" + nm))
    r = t.api.post(
        A,
        {
            "metadata": {"name": nm},
            "spec": {"attacher": "e2e.example.com", "nodeName": "n", "source": {"persistentVolumeName": "p"}},
        },
    )
    r = t.api.patch(A + f"/{nm}/status", {"metadata": {"annotations": {"x": "y"}}, "status": {"attached": True}})
    t.check(r.ok and r["status"]["attached"] is True, "patched", r)
    r = t.api.put(
        A + "/" + nm,
        {**t.api.get(A + "/" + nm).json, "metadata": {**t.api.get(A + "/" + nm)["metadata"], "labels": {"a": "b"}}},
    )
    t.check(r.ok and r["status"]["attached"] is True, "update keeps status", r)
