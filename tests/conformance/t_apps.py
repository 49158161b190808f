from lib import *
from t_api2 import retry, PODT, PODS, NOW, sub


def tm(l, cmd=("sleep", "1000"), image=BUSYBOX, **k):
    return {
        "metadata": {"labels": l},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": image, **({"command": list(cmd)} if image == BUSYBOX else {})}],
            **k,
        },
    }


def scale_test(t, P, nm, gk, sel):
    r = t.api.get(f"{P}/{nm}/scale")
    t.need(r.ok, "get scale", r)
    t.check(
        r["kind"] == "Scale"
        and r["apiVersion"] == "autoscaling/v1"
        and r["spec"]["replicas"] == 1
        and r["metadata"]["name"] == nm
        and r["metadata"]["uid"]
        and r["metadata"]["resourceVersion"]
        and r["metadata"]["creationTimestamp"]
        and r["status"]["selector"] == sel,
        "scale's shape",
        r,
    )
    o = r.json
    o["metadata"]["resourceVersion"] = ""
    o["spec"]["replicas"] = 2
    r = t.api.put(f"{P}/{nm}/scale", o)
    t.check(r.ok and r["spec"]["replicas"] == 2, "UpdateScale with resourceVersion emptied", r)
    t.eq(t.api.get(f"{P}/{nm}")["spec"]["replicas"], 2, "spec.replicas")
    r = t.api.smp(f"{P}/{nm}/scale", {"spec": {"replicas": 4}})
    t.check(r.ok and r["spec"]["replicas"] == 4, "strategic patch of scale", r)
    r = t.api.patch(f"{P}/{nm}/scale", {"spec": {"replicas": 3}})
    t.check(r.ok and r["spec"]["replicas"] == 3 and r["kind"] == "Scale", "merge patch of scale", r)
    t.eq(t.api.get(f"{P}/{nm}")["spec"]["replicas"], 3, "spec.replicas")
    r = t.api.jp(f"{P}/{nm}/scale", [{"op": "replace", "path": "/spec/replicas", "value": 1}])
    t.check(r.ok and r["spec"]["replicas"] == 1, "json patch of scale", r)


D = lambda t: f"/apis/apps/v1/namespaces/{t.ns}/deployments"
S = lambda t: f"/apis/apps/v1/namespaces/{t.ns}/replicasets"
DF = "test/e2e/apps/deployment.go"


def dep(t, nm, replicas, l=None, **k):
    l = l or {"name": nm}
    tmpl = k.pop("template", None) or tm(l)
    r = t.api.post(
        D(t),
        {
            "metadata": {"name": nm, "labels": l, "annotations": k.pop("annotations", {})},
            "spec": {"replicas": replicas, "selector": {"matchLabels": l}, "template": tmpl, **k},
        },
    )
    t.need(r.status == 201, "deployment", r)
    return r.json


def dep_done(t, nm, timeout=60):
    def f():
        o = t.api.get(f"{D(t)}/{nm}").json
        s = o["status"]
        n = o["spec"]["replicas"]
        return (
            s.get("observedGeneration", 0) >= o["metadata"]["generation"]
            and s.get("updatedReplicas", 0) == n
            and s.get("replicas", 0) == n
            and s.get("availableReplicas", 0) == n
            and o
        )

    return t.wait(f, f"deployment {nm} complete", timeout)


@test("Deployment scale subresource", DF)
def deployment_scale(t):
    dep(t, "d", 1)
    dep_done(t, "d")
    scale_test(t, D(t), "d", "Deployment", "name=d")


@test("Deployment RollingUpdate: adopts RS, revision annotations", DF)
def deployment_rolling(t):
    l = {"name": "sample-pod", "pod": "nginx"}
    r = t.api.post(
        S(t),
        {
            "metadata": {
                "name": "test-rolling-update-controller",
                "labels": l,
                "annotations": {"deployment.kubernetes.io/revision": "3546343826724305832"},
            },
            "spec": {"replicas": 1, "selector": {"matchLabels": l}, "template": tm(l)},
        },
    )
    t.need(r.ok, "rs", r)
    t.wait(lambda: t.api.get(S(t) + "/test-rolling-update-controller")["status"].get("readyReplicas") == 1, "rs ready")
    dep(t, "d", 1, {"name": "sample-pod"}, template=tm({"name": "sample-pod"}, image=NGINX))
    o = dep_done(t, "d")
    t.eq(o["metadata"]["annotations"].get("deployment.kubernetes.io/revision"), "3546343826724305833", "revision")
    rs = t.api.get(S(t))["items"]
    new = [x for x in rs if x["metadata"]["name"].startswith("d-")]
    old = [x for x in rs if x["metadata"]["name"] == "test-rolling-update-controller"][0]
    t.check(
        len(new) == 1
        and new[0]["metadata"]["annotations"].get("deployment.kubernetes.io/revision") == "3546343826724305833"
        and new[0]["metadata"]["annotations"].get("deployment.kubernetes.io/desired-replicas") == "1"
        and new[0]["metadata"]["annotations"].get("deployment.kubernetes.io/max-replicas") == "2",
        "new RS annotations",
        new and new[0]["metadata"].get("annotations"),
    )
    t.check(
        old["metadata"].get("ownerReferences", [{}])[0].get("name") == "d" and old["spec"]["replicas"] == 0,
        "old RS adopted and scaled down",
        old["metadata"],
    )
    t.eq(
        {c["type"]: (c["status"], c["reason"], c["message"]) for c in o["status"]["conditions"]},
        {
            "Available": ("True", "MinimumReplicasAvailable", "Deployment has minimum availability."),
            "Progressing": (
                "True",
                "NewReplicaSetAvailable",
                f'ReplicaSet "{new[0]["metadata"]["name"]}" has successfully progressed.',
            ),
        },
        "conditions",
    )


@test("Deployment Recreate: no old and new at once", DF)
def deployment_recreate(t):
    dep(t, "d", 1, strategy={"type": "Recreate"})
    dep_done(t, "d")
    w = t.api.watch(f"/api/v1/namespaces/{t.ns}/pods")
    t.api.patch(D(t) + "/d", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": NGINX}]}}}})
    dep_done(t, "d")
    live = set()
    bad = False
    for e in w.events:
        u, o = e["object"]["metadata"]["uid"], e["object"]
        if e["type"] == "DELETED":
            live.discard(u)
        elif o["spec"].get("nodeName"):
            live.add((u))
        if len(live) > 1:
            bad = True
    t.check(not bad, "old and new ran at once")


@test("Deployment revisionHistoryLimit 0 deletes old RS", DF)
def deployment_history(t):
    dep(t, "d", 1, revisionHistoryLimit=0)
    dep_done(t, "d")
    t.api.patch(D(t) + "/d", {"spec": {"template": {"metadata": {"annotations": {"x": "1"}}}}})
    dep_done(t, "d")
    t.wait(lambda: len(t.api.get(S(t))["items"]) == 1, "old RS deleted")


@test("Deployment rollover", DF)
def deployment_rollover(t):
    l = {"name": "rollover-pod"}
    t.api.post(
        S(t),
        {
            "metadata": {"name": "test-rollover-controller", "labels": l},
            "spec": {"replicas": 1, "selector": {"matchLabels": l}, "template": tm({**l, "pod": "nginx"}, image=NGINX)},
        },
    ) and None
    t.wait(lambda: t.api.get(S(t) + "/test-rollover-controller")["status"].get("readyReplicas") == 1, "rs")
    dep(
        t,
        "d",
        1,
        l,
        minReadySeconds=3,
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        template=tm(l, image="nope.invalid/no:1"),
    )
    t.wait(
        lambda: t.api.get(D(t) + "/d")["metadata"]["annotations"].get("deployment.kubernetes.io/revision") == "1" or True, "rev"
    )
    time.sleep(1)
    t.api.patch(
        D(t) + "/d",
        {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "999"]}]}}}},
    )
    o = dep_done(t, "d", 60)
    t.wait(
        lambda: all(
            (x["spec"]["replicas"] == 0)
            for x in t.api.get(S(t))["items"]
            if x["spec"]["template"]["spec"]["containers"][0]["image"] != BUSYBOX
        ),
        "old RSs at 0",
    )


@test("Deployment proportional scaling", DF)
def deployment_proportional(t):
    dep(
        t,
        "d",
        10,
        template=tm({"name": "d"}, image=NGINX),
        strategy={"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 3, "maxUnavailable": 2}},
    )
    dep_done(t, "d", 120)
    t.api.patch(D(t) + "/d", {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "webserver:404"}]}}}})

    def st():
        rs = {x["spec"]["template"]["spec"]["containers"][0]["image"]: x for x in t.api.get(S(t))["items"]}
        return rs[NGINX], rs["webserver:404"]

    t.wait(lambda: st()[0]["spec"]["replicas"] == 8 and st()[1]["spec"]["replicas"] == 5, "8 and 5", 40)
    t.wait(lambda: st()[0]["status"].get("availableReplicas") == 8, "8 available", 40)
    t.api.patch(D(t) + "/d", {"spec": {"replicas": 30}})
    t.wait(lambda: st()[0]["spec"]["replicas"] == 20 and st()[1]["spec"]["replicas"] == 13, "20 and 13", 60)
    a, b = st()
    t.check(
        (a["spec"]["replicas"], b["spec"]["replicas"]) == (20, 13),
        "proportional",
        (a["spec"]["replicas"], b["spec"]["replicas"]),
    )


@test("Deployment life cycle with watch; status endpoints", DF)
def deployment_life(t):
    n = t.ns
    w = t.api.watch(D(t), labelSelector="test-deployment-static=true")
    l = {"test-deployment-static": "true"}
    dep(t, "td", 1, l)
    t.check(w.until(lambda e: e["type"] == "ADDED"), "ADDED")
    t.check(w.until(lambda e: e["object"]["status"].get("readyReplicas") == 1, 60), "readyReplicas 1")
    t.api.smp(
        D(t) + "/td",
        {
            "metadata": {"labels": {"test-deployment": "patched"}},
            "spec": {
                "replicas": 2,
                "template": {
                    "spec": {
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "c", "image": NGINX, "command": ["sleep", "998"]}],
                    }
                },
            },
        },
    )
    t.check(
        w.until(
            lambda e: e["object"]["metadata"]["labels"].get("test-deployment") == "patched"
            and e["object"]["status"].get("readyReplicas") == 2
            and e["object"]["status"].get("updatedReplicas") == 2,
            60,
        ),
        "patched and 2 ready",
    )
    r = t.api.get("/apis/apps/v1/deployments", params={"labelSelector": "test-deployment-static=true"})
    t.check(any(x["metadata"]["namespace"] == n for x in r["items"]), "list")
    o = t.api.get(D(t) + "/td").json
    o["metadata"]["labels"]["test-deployment"] = "updated"
    r = retry(
        lambda: t.api.put(
            D(t) + "/td",
            {
                **t.api.get(D(t) + "/td").json,
                "metadata": {**t.api.get(D(t) + "/td")["metadata"], "labels": o["metadata"]["labels"]},
            },
        )
    )
    t.check(r.ok, "update", r)

    def us():
        o = t.api.get(D(t) + "/td/status").json
        o["status"]["conditions"] = (o["status"].get("conditions") or []) + [
            {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        ]
        return t.api.put(D(t) + "/td/status", o)

    r = retry(us)
    t.check(r.ok and any(c["type"] == "StatusUpdate" for c in r["status"]["conditions"]), "update status", r)
    t.check(
        w.until(
            lambda e: any(
                c["type"] == "StatusUpdate" and c["message"] == "Set from e2e test"
                for c in e["object"]["status"].get("conditions", [])
            ),
            10,
        ),
        "watch sees StatusUpdate",
    )
    r = t.api.patch(D(t) + "/td/status", {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}})
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusPatched", "patch status", r)
    t.check(
        w.until(lambda e: any(c["type"] == "StatusPatched" for c in e["object"]["status"].get("conditions", [])), 10),
        "watch sees StatusPatched",
    )
    r = t.api.patch(
        D(t) + "/td/status",
        {"metadata": {"labels": {"test-deployment": "patched-status"}}, "status": {"readyReplicas": 0, "availableReplicas": 0}},
    )
    t.check(r.ok and r["status"].get("readyReplicas", 0) == 0, "patch readyReplicas", r)
    t.check(w.until(lambda e: e["object"]["status"].get("readyReplicas") == 2, 20), "controller restores")
    r = t.api.delete(D(t), {"propagationPolicy": "Background"}, params={"labelSelector": "test-deployment-static=true"})
    t.check(w.until(lambda e: e["type"] == "DELETED", 10), "DELETED")


RF = "test/e2e/apps/replica_set.go"


def rs(t, nm, replicas, l, **k):
    r = t.api.post(
        S(t),
        {
            "metadata": {"name": nm, "labels": l},
            "spec": {"replicas": replicas, "selector": {"matchLabels": l}, "template": tm(l, **k)},
        },
    )
    t.need(r.status == 201, "rs", r)
    return r.json


@test("ReplicaSet scale, adopt/release, status, list/deletecollection, replace and patch", RF)
def replicaset(t):
    rs(t, "r", 1, {"a": "r"})
    t.wait(lambda: t.api.get(S(t) + "/r")["status"].get("availableReplicas") == 1, "available")
    scale_test(t, S(t), "r", "ReplicaSet", "a=r")
    t.api.delete(S(t) + "/r", {"propagationPolicy": "Background"})
    t.create_pod(t.pod("pod-adoption-release", labels={"name": "par"}))
    rs(t, "ar", 1, {"name": "par"})
    t.wait(lambda: t.get_pod("pod-adoption-release")["metadata"]["ownerReferences"][0]["name"] == "ar", "adopted")
    o = t.get_pod("pod-adoption-release")["metadata"]["ownerReferences"][0]
    t.check(
        o["controller"] and o["blockOwnerDeletion"] and o["kind"] == "ReplicaSet" and o["apiVersion"] == "apps/v1",
        "owner ref",
        o,
    )
    t.api.patch(f"/api/v1/namespaces/{t.ns}/pods/pod-adoption-release", {"metadata": {"labels": {"name": "not-matching-name"}}})
    t.wait(lambda: not t.get_pod("pod-adoption-release")["metadata"].get("ownerReferences"), "released")
    t.wait(lambda: len(PODS(t, labelSelector="name=par")) == 1, "replacement")

    def us():
        o = t.api.get(S(t) + "/ar/status").json
        o["status"]["conditions"] = [
            {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        ]
        return t.api.put(S(t) + "/ar/status", o)

    r = retry(us)
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusUpdate", "status update", r)
    r = t.api.patch(S(t) + "/ar/status", {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}})
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusPatched", "status patch", r)
    r = t.api.get(S(t) + "/ar/status")
    t.check(
        r["status"].get("observedGeneration") == 1 and "replicas" in r["status"] and "fullyLabeledReplicas" in r["status"],
        "status fields",
        r["status"],
    )
    w = t.api.watch(S(t), labelSelector="test-rs=patched")
    r = t.api.smp(
        S(t) + "/ar",
        {
            "metadata": {"labels": {"test-rs": "patched"}},
            "spec": {
                "replicas": 3,
                "template": {"spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "c", "image": NGINX}]}},
            },
        },
    )
    t.check(r.ok, "patch", r)
    t.check(w.until(lambda e: e["object"]["status"].get("readyReplicas") == 3, 30), "3 ready after patch", w.types())


@test("RC: quota failure condition, adopt, release, life cycle, scale", "test/e2e/apps/rc.go")
def rcs(t):
    n = t.ns
    R = f"/api/v1/namespaces/{n}/replicationcontrollers"
    mk = lambda nm, k, l: t.api.post(
        R, {"metadata": {"name": nm, "labels": l}, "spec": {"replicas": k, "selector": l, "template": tm(l)}}
    )
    q = t.api.post(
        f"/api/v1/namespaces/{n}/resourcequotas", {"metadata": {"name": "condition-test"}, "spec": {"hard": {"pods": "2"}}}
    )
    wait(lambda: t.api.get(f"/api/v1/namespaces/{n}/resourcequotas/condition-test")["status"]["hard"], 10)
    mk("condition-test", 3, {"name": "ct"})

    def rf():
        return [c for c in t.api.get(R + "/condition-test")["status"].get("conditions", []) if c["type"] == "ReplicaFailure"]

    t.wait(lambda: rf(), "ReplicaFailure", 20)
    c = rf()
    t.check(
        c
        and c[0]["status"] == "True"
        and c[0]["reason"] == "FailedCreate"
        and "exceeded quota: condition-test" in c[0]["message"],
        "condition",
        c,
    )
    t.api.patch(R + "/condition-test", {"spec": {"replicas": 2}})
    t.wait(lambda: not rf(), "condition is removed", 60)
    t.api.delete(R + "/condition-test", {"propagationPolicy": "Background"})
    t.api.delete(f"/api/v1/namespaces/{n}/resourcequotas/condition-test")
    t.create_pod(t.pod("pod-adoption", labels={"name": "pa"}))
    mk("pod-adoption", 1, {"name": "pa"})
    t.wait(lambda: t.get_pod("pod-adoption")["metadata"]["ownerReferences"][0]["kind"] == "ReplicationController", "adopted")
    t.api.patch(f"/api/v1/namespaces/{n}/pods/pod-adoption", {"metadata": {"labels": {"name": "other"}}})
    t.wait(lambda: not t.get_pod("pod-adoption")["metadata"].get("ownerReferences"), "released")
    w = t.api.watch(R, labelSelector="test-rc-static=true")
    mk("rc-test", 1, {"test-rc-static": "true"})
    t.check(w.until(lambda e: e["object"]["status"].get("readyReplicas") == 1, 30), "ready 1")
    r = t.api.smp(R + "/rc-test", {"metadata": {"labels": {"test-rc": "patched"}}})
    t.check(r.ok, "patch")
    r = t.api.smp(R + "/rc-test/status", {"status": {"readyReplicas": 0, "availableReplicas": 0}})
    t.check(r.ok and r["status"].get("readyReplicas", 0) == 0, "status patch", r)
    t.check(
        w.until(
            lambda e: e["type"] == "MODIFIED"
            and e["object"]["status"].get("readyReplicas", 0) == 0
            and e["object"]["metadata"]["labels"].get("test-rc") == "patched",
            10,
        ),
        "seen",
    )
    t.check(
        w.until(
            lambda e: e["object"]["metadata"]["labels"].get("test-rc") == "patched"
            and e["object"]["status"].get("readyReplicas") == 1,
            20,
        ),
        "restored",
    )
    r = t.api.get(R + "/rc-test/scale")
    o = r.json
    t.check(r.ok and o["spec"]["replicas"] == 1, "scale", r)
    r = t.api.smp(R + "/rc-test/scale", {"spec": {"replicas": 2}})
    t.check(r.ok and r["spec"]["replicas"] == 2, "scale patched with apiVersion", r)
    t.check(w.until(lambda e: e["object"]["status"].get("readyReplicas") == 2, 30), "2 ready")
    o = t.api.get(R + "/rc-test/scale").json
    o["spec"]["replicas"] = 3
    r = t.api.put(R + "/rc-test/scale", o)
    t.check(r.ok and r["spec"]["replicas"] == 3, "scale replaced", r)
    r = t.api.delete(R, params={"labelSelector": "test-rc-static=true"})
    t.check(w.until(lambda e: e["type"] == "DELETED", 10), "deleted", r)


SS = lambda t: f"/apis/apps/v1/namespaces/{t.ns}/statefulsets"
SF = "test/e2e/apps/statefulset.go"


def sset(t, nm, k, **kw):
    l = {"foo": "bar", "baz": "blah"}
    t.api.post(
        f"/api/v1/namespaces/{t.ns}/services",
        {"metadata": {"name": "test"}, "spec": {"clusterIP": "None", "selector": l, "ports": [{"port": 80, "name": "http"}]}},
    )
    tmpl = kw.pop("template", None) or {
        "metadata": {"labels": l},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "webserver",
                    "image": NGINX,
                    "readinessProbe": {
                        "httpGet": {"path": "/index.html", "port": 80},
                        "periodSeconds": 1,
                        "successThreshold": 1,
                        "failureThreshold": 1,
                    },
                }
            ],
        },
    }
    r = t.api.post(
        SS(t),
        {
            "metadata": {"name": nm, "labels": l},
            "spec": {"serviceName": "test", "replicas": k, "selector": {"matchLabels": l}, "template": tmpl, **kw},
        },
    )
    t.need(r.status == 201, "ss", r)
    return r.json


def ss_ready(t, nm, k, timeout=60):
    return t.wait(
        lambda: t.api.get(f"{SS(t)}/{nm}")["status"].get("readyReplicas", 0) == k
        and t.api.get(f"{SS(t)}/{nm}")["status"]["replicas"] == k,
        f"{nm} {k} ready",
        timeout,
    )


@test("StatefulSet scale; status; list, patch, deletecollection", SF)
def statefulset_api(t):
    sset(t, "ss", 1)
    ss_ready(t, "ss", 1)
    scale_test(t, SS(t), "ss", "StatefulSet", "baz=blah,foo=bar")

    def us():
        o = t.api.get(SS(t) + "/ss/status").json
        o["status"]["conditions"] = [
            {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        ]
        return t.api.put(SS(t) + "/ss/status", o)

    r = retry(us)
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusUpdate", "update status", r)
    r = t.api.patch(SS(t) + "/ss/status", {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}})
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusPatched", "patch status", r)
    s = t.api.get(SS(t) + "/ss")["status"]
    t.check(
        all(
            k in s
            for k in (
                "currentRevision",
                "updateRevision",
                "collisionCount",
                "availableReplicas",
                "observedGeneration",
                "replicas",
                "currentReplicas",
                "updatedReplicas",
            )
        ),
        "status fields",
        s,
    )
    r = t.api.smp(
        SS(t) + "/ss",
        {
            "metadata": {"labels": {"test-ss": "patched"}},
            "spec": {
                "replicas": 2,
                "template": {
                    "spec": {"terminationGracePeriodSeconds": 0, "containers": [{"name": "webserver", "image": NGINX}]}
                },
            },
        },
    )
    t.check(r.ok and r["spec"]["replicas"] == 2, "patch", r)
    ss_ready(t, "ss", 2)
    r = t.api.delete(SS(t), params={"labelSelector": "test-ss=patched"})
    t.wait(
        lambda: len(t.api.get("/apis/apps/v1/statefulsets", params={"labelSelector": "test-ss=patched"})["items"]) == 0,
        "deleted",
    )
    o = {
        "metadata": {"name": "bad"},
        "spec": {"serviceName": "x", "selector": {"matchLabels": {"a": "b"}}, "template": tm({"a": "c"})},
    }
    r = t.api.post(SS(t), o)
    t.check(r.status == 422 and "`selector` does not match template `labels`" in r.msg, "selector mismatch words", r)


@test("StatefulSet rolling update, rollback, partition canary, revisions", SF)
def statefulset_update(t):
    sset(t, "ss", 3)
    ss_ready(t, "ss", 3)
    o = t.api.get(SS(t) + "/ss").json
    cur = o["status"]["currentRevision"]
    t.check(cur == o["status"]["updateRevision"], "revisions equal")
    t.api.patch(SS(t) + "/ss", {"spec": {"template": {"metadata": {"annotations": {"v": "2"}}}}})
    t.wait(lambda: t.api.get(SS(t) + "/ss")["status"]["updateRevision"] != cur, "new update revision")
    upd = t.api.get(SS(t) + "/ss")["status"]["updateRevision"]
    t.wait(
        lambda: t.api.get(SS(t) + "/ss")["status"]["currentRevision"] == upd
        and t.api.get(SS(t) + "/ss")["status"].get("readyReplicas") == 3,
        "rolled out",
        90,
    )
    t.check(all(p["metadata"]["labels"]["controller-revision-hash"] == upd for p in PODS(t)), "pods have the new revision")
    t.api.patch(SS(t) + "/ss", {"spec": {"template": {"metadata": {"annotations": {"v": None}}}}})
    t.wait(lambda: t.api.get(SS(t) + "/ss")["status"]["updateRevision"] == cur, "rollback finds the old revision")
    t.wait(
        lambda: t.api.get(SS(t) + "/ss")["status"]["currentRevision"] == cur
        and t.api.get(SS(t) + "/ss")["status"].get("updatedReplicas") == 3,
        "rolled back",
        90,
    )
    cr = {
        x["metadata"]["name"]: x["revision"] for x in t.api.get(f"/apis/apps/v1/namespaces/{t.ns}/controllerrevisions")["items"]
    }
    t.eq(len(cr), 2, "two revisions")
    t.eq(cr.get(cur), 3, "old one's revision number is raised to 3")
    ss_ready(t, "ss", 3)
    t.api.patch(
        SS(t) + "/ss",
        {
            "spec": {
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 3}},
                "template": {"metadata": {"annotations": {"v": "3"}}},
            }
        },
    )
    time.sleep(3)
    t.check(all(p["metadata"]["labels"]["controller-revision-hash"] == cur for p in PODS(t)), "partition 3: none updated")
    t.api.patch(SS(t) + "/ss", {"spec": {"updateStrategy": {"rollingUpdate": {"partition": 2}}}})
    t.wait(lambda: t.api.get(SS(t) + "/ss")["status"].get("updatedReplicas") == 1, "canary", 60)
    ss_ready(t, "ss", 3)
    rev = lambda i: t.get_pod(f"ss-{i}")["metadata"]["labels"]["controller-revision-hash"]
    t.check(rev(0) == cur and rev(1) == cur and rev(2) != cur, "only ss-2")
    for i in (0, 2):
        t.api.delete(f"/api/v1/namespaces/{t.ns}/pods/ss-{i}")
    time.sleep(1)
    ss_ready(t, "ss", 3)
    t.check(rev(0) == cur and rev(2) != cur, "deleted ones come back with their revisions", (rev(0), rev(2), cur))
    t.eq(t.get_pod("ss-1")["metadata"]["labels"].get("apps.kubernetes.io/pod-index"), "1", "pod-index label")
    t.eq(t.get_pod("ss-1")["metadata"]["labels"].get("statefulset.kubernetes.io/pod-name"), "ss-1", "pod-name label")


@test("StatefulSet scaling in order halts when unhealthy; burst", SF)
def statefulset_scaling(t):
    sset(t, "ss", 1)
    ss_ready(t, "ss", 1)
    t.exec("ss-0", "rm", "/usr/share/nginx/html/index.html")
    t.wait(lambda: cond(t.get_pod("ss-0"), "Ready") == "False", "ss-0 unready")
    t.api.patch(SS(t) + "/ss/scale", {"spec": {"replicas": 3}})
    time.sleep(5)
    t.eq(len(PODS(t)), 1, "halts")
    w = t.api.watch(f"/api/v1/namespaces/{t.ns}/pods")
    t.exec("ss-0", "sh", "-c", "echo x > /usr/share/nginx/html/index.html")
    ss_ready(t, "ss", 3)
    order = [e["object"]["metadata"]["name"] for e in w.events if e["type"] == "ADDED"]
    t.eq(order, ["ss-0", "ss-1", "ss-2"], "created in order")
    for i in range(3):
        t.exec(f"ss-{i}", "rm", "/usr/share/nginx/html/index.html")
    t.wait(lambda: t.api.get(SS(t) + "/ss")["status"].get("readyReplicas", 0) == 0, "all unready")
    t.api.patch(SS(t) + "/ss/scale", {"spec": {"replicas": 0}})
    time.sleep(4)
    t.check(len(PODS(t)) >= 2, "scale down halts too: upstream keeps 3", len(PODS(t)))
    n = len(PODS(t))
    t.eq(n, 3, "scale down halts with unhealthy pods")
    for i in range(3):
        t.exec(f"ss-{i}", "sh", "-c", "echo x > /usr/share/nginx/html/index.html")
    t.wait(lambda: not PODS(t), "scaled down", 60)
    d = [e["object"]["metadata"]["name"] for e in w.events if e["type"] == "DELETED"]
    t.eq(d, ["ss-2", "ss-1", "ss-0"], "deleted in reverse")
    t.api.delete(SS(t) + "/ss")
    sset(t, "burst", 1, podManagementPolicy="Parallel")
    ss_ready(t, "burst", 1)
    t.exec("burst-0", "rm", "/usr/share/nginx/html/index.html")
    t.wait(lambda: t.api.get(SS(t) + "/burst")["status"].get("readyReplicas", 0) == 0, "unready")
    t.api.patch(SS(t) + "/burst/scale", {"spec": {"replicas": 3}})
    t.wait(lambda: len(PODS(t)) == 3, "bursts")
    t.api.patch(SS(t) + "/burst/scale", {"spec": {"replicas": 0}})
    t.wait(lambda: len(PODS(t)) == 0, "to 0 though unready")


@test("StatefulSet recreates failed pod (hostPort conflict)", SF)
def statefulset_evicted(t):
    node = t.api.get("/api/v1/nodes")["items"][0]["metadata"]["name"]
    t.create_pod(
        t.pod(
            "test-pod",
            {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": NGINX, "ports": [{"containerPort": 21017, "hostPort": 21017}]}],
            },
        )
    )
    t.phase("test-pod", "Running")
    l = {"foo": "bar", "baz": "blah"}
    w = t.api.watch(f"/api/v1/namespaces/{t.ns}/pods", fieldSelector="metadata.name=ss-0")
    sset(
        t,
        "ss",
        1,
        template={
            "metadata": {"labels": l},
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": NGINX, "ports": [{"containerPort": 21017, "hostPort": 21017}]}],
            },
        },
    )
    e = w.until(lambda e: e["object"]["status"].get("phase") == "Failed", 30)
    t.check(e, "ss-0 fails on the node (hostPort)", w.types())
    t.check(e and e["object"]["status"].get("reason") == "NodePorts", "reason NodePorts", e and e["object"]["status"])
    t.check(w.until(lambda e: e["type"] == "DELETED", 30), "controller deletes the failed pod")
    t.api.delete(f"/api/v1/namespaces/{t.ns}/pods/test-pod", {"gracePeriodSeconds": 0})
    t.phase("ss-0", "Running", 60)


@test("StatefulSet persistentVolumeClaimRetentionPolicy, ordinals.start, minReadySeconds", SF)
def statefulset_pvc(t):
    l = {"foo": "bar", "baz": "blah"}
    sset(
        t,
        "ss",
        2,
        ordinals={"start": 5},
        persistentVolumeClaimRetentionPolicy={"whenDeleted": "Delete", "whenScaled": "Delete"},
        volumeClaimTemplates=[
            {
                "metadata": {"name": "data"},
                "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
            }
        ],
        template={
            "metadata": {"labels": l},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": "c", "image": NGINX, "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            },
        },
    )
    ss_ready(t, "ss", 2)
    P = f"/api/v1/namespaces/{t.ns}/persistentvolumeclaims"
    t.eq([x["metadata"]["name"] for x in t.api.get(P)["items"]], ["data-ss-5", "data-ss-6"], "claims")
    t.wait(
        lambda: (lambda o: o["kind"] == "StatefulSet" and o["controller"])(
            t.api.get(P + "/data-ss-5")["metadata"]["ownerReferences"][0]
        ),
        "claims owned by the set",
    )
    t.api.patch(SS(t) + "/ss/scale", {"spec": {"replicas": 1}})
    t.wait(lambda: [x["metadata"]["name"] for x in t.api.get(P)["items"]] == ["data-ss-5"], "scaled claim deleted", 30)
    t.api.delete(SS(t) + "/ss")
    t.wait(lambda: not t.api.get(P)["items"], "claims deleted with the set", 40)


DS = lambda t: f"/apis/apps/v1/namespaces/{t.ns}/daemonsets"


@test(
    "DaemonSet: run/stop, complex (node selector), retry failed, rolling update, rollback, status, revisions",
    "test/e2e/apps/daemon_set.go",
)
def daemonset(t):
    node = t.api.get("/api/v1/nodes", params={"labelSelector": "kubernetes.io/os=linux"})["items"]
    nodes = [x["metadata"]["name"] for x in node if not x["spec"].get("taints")]
    N = len(nodes)
    l = {"daemonset-name": "daemon-set"}
    mk = lambda **k: t.api.post(
        DS(t),
        {
            "metadata": {"name": "daemon-set", "labels": l},
            "spec": {"selector": {"matchLabels": l}, "template": tm(l, image=NGINX, **k)},
        },
    )
    r = mk()
    t.need(r.ok, "ds", r)
    up = lambda: t.wait(
        lambda: (
            lambda s: s.get("numberReady") == N
            and s.get("updatedNumberScheduled") == N
            and s["observedGeneration"] == t.api.get(DS(t) + "/daemon-set")["metadata"]["generation"]
        )(t.api.get(DS(t) + "/daemon-set")["status"]),
        "daemons up",
        60,
    )
    up()
    p = PODS(t, labelSelector="daemonset-name=daemon-set")[0]
    t.api.delete(f"/api/v1/namespaces/{t.ns}/pods/{p['metadata']['name']}", {"gracePeriodSeconds": 0})
    up()
    t.check(
        p["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0][
            "matchFields"
        ][0]["key"]
        == "metadata.name",
        "node affinity by matchFields",
    )
    t.check(
        {x["key"] for x in p["spec"]["tolerations"]}
        >= {
            "node.kubernetes.io/not-ready",
            "node.kubernetes.io/unreachable",
            "node.kubernetes.io/disk-pressure",
            "node.kubernetes.io/memory-pressure",
            "node.kubernetes.io/pid-pressure",
            "node.kubernetes.io/unschedulable",
        },
        "tolerations",
    )
    t.check(
        "controller-revision-hash" in p["metadata"]["labels"] and "pod-template-generation" in p["metadata"]["labels"],
        "labels",
        p["metadata"]["labels"],
    )
    up()
    p = PODS(t, labelSelector="daemonset-name=daemon-set")[0]
    q = json.loads(json.dumps(p))
    q["status"]["phase"] = "Failed"
    del q["metadata"]["resourceVersion"]
    r = t.api.put(f"/api/v1/namespaces/{t.ns}/pods/{p['metadata']['name']}/status", q)
    t.check(r.ok, "pod status set Failed", r)
    t.wait(
        lambda: t.api.get(f"/api/v1/namespaces/{t.ns}/pods/{p['metadata']['name']}").status == 404,
        "failed daemon pod deleted",
        30,
    )
    up()

    def us():
        o = t.api.get(DS(t) + "/daemon-set/status").json
        o["status"]["conditions"] = [
            {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
        ]
        return t.api.put(DS(t) + "/daemon-set/status", o)

    r = retry(us)
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusUpdate", "status update", r)
    r = t.api.patch(DS(t) + "/daemon-set/status", {"status": {"conditions": [{"type": "StatusPatched", "status": "True"}]}})
    t.check(r.ok and r["status"]["conditions"][0]["type"] == "StatusPatched", "status patch", r)
    CRV = f"/apis/apps/v1/namespaces/{t.ns}/controllerrevisions"
    revs = lambda: t.api.get(CRV, params={"labelSelector": "daemonset-name=daemon-set"})["items"]
    t.eq([x["revision"] for x in revs()], [1], "one revision")
    first = revs()[0]
    h1 = first["metadata"]["labels"]["controller-revision-hash"]
    t.check(
        first["metadata"]["name"] == "daemon-set-" + h1
        and list(first["data"]) == ["spec"]
        and first["data"]["spec"]["template"].get("$patch") == "replace",
        "shape of the revision",
        first,
    )
    t.api.patch(
        DS(t) + "/daemon-set",
        {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "999"]}]}}}},
    )
    up()
    t.wait(
        lambda: all(p["spec"]["containers"][0]["image"] == BUSYBOX for p in PODS(t, labelSelector="daemonset-name=daemon-set")),
        "updated",
        40,
    )
    t.wait(lambda: sorted(x["revision"] for x in revs()) == [1, 2], "two revisions")
    t.api.patch(
        DS(t) + "/daemon-set",
        {"spec": {"template": {"spec": {"containers": [{"name": "c", "image": NGINX, "command": None}]}}}},
    )
    up()
    t.wait(
        lambda: {x["metadata"]["labels"]["controller-revision-hash"]: x["revision"] for x in revs()}.get(h1) == 3,
        "rollback raises the old revision to 3",
    )
    t.api.delete(DS(t) + "/daemon-set", {"propagationPolicy": "Background"})
    t.wait(lambda: not PODS(t), "stopped", 30)
    key = "e2e-color-" + rnd()
    nd = "/api/v1/nodes/" + nodes[0]
    t.cleanup(lambda: t.api.patch(nd, {"metadata": {"labels": {key: None}}}))
    r = mk(nodeSelector={key: "blue"})
    time.sleep(1.5)
    t.eq(t.api.get(DS(t) + "/daemon-set")["status"]["desiredNumberScheduled"], 0, "none")
    t.api.patch(nd, {"metadata": {"labels": {key: "blue"}}})
    t.wait(lambda: t.api.get(DS(t) + "/daemon-set")["status"].get("numberReady") == 1, "blue", 30)
    t.api.patch(nd, {"metadata": {"labels": {key: "green"}}})
    t.wait(lambda: not PODS(t), "green: stopped", 30)
    t.api.patch(DS(t) + "/daemon-set", {"spec": {"template": {"spec": {"nodeSelector": {key: "green"}}}}})
    t.wait(lambda: t.api.get(DS(t) + "/daemon-set")["status"].get("numberReady") == 1, "green", 30)
    r = t.api.delete(DS(t), params={"labelSelector": "daemonset-name=daemon-set"})
    t.check(r.ok, "deletecollection", r)


@test("DaemonSet surge rollout (maxSurge)", "test/e2e/apps/daemon_set.go (surge)")
def daemonset_surge(t):
    l = {"d": "s"}
    t.api.post(
        DS(t),
        {
            "metadata": {"name": "s"},
            "spec": {
                "selector": {"matchLabels": l},
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
                "template": tm(l),
            },
        },
    )
    t.wait(lambda: t.api.get(DS(t) + "/s")["status"].get("numberReady", 0) >= 1, "up")
    w = t.api.watch(f"/api/v1/namespaces/{t.ns}/pods")
    n = len(PODS(t))
    t.api.patch(DS(t) + "/s", {"spec": {"template": {"metadata": {"annotations": {"x": "1"}}}}})
    t.wait(
        lambda: (lambda s: s.get("updatedNumberScheduled") == n and s.get("numberReady") == n and s["observedGeneration"] == 2)(
            t.api.get(DS(t) + "/s")["status"]
        ),
        "rolled",
        40,
    )
    firstdel = next((i for i, e in enumerate(w.events) if e["object"]["metadata"].get("deletionTimestamp")), None)
    ready_new = next(
        (
            i
            for i, e in enumerate(w.events)
            if e["object"]["metadata"].get("annotations", {}).get("x") == "1" and cond(e["object"], "Ready") == "True"
        ),
        None,
    )
    t.check(
        firstdel is not None and ready_new is not None and ready_new < firstdel,
        "the new pod was Ready before the old was deleted",
        (ready_new, firstdel),
    )


J = lambda t: f"/apis/batch/v1/namespaces/{t.ns}/jobs"
JF = "test/e2e/apps/job.go"


def job(t, nm, cmd, **k):
    sp = k.pop("podspec", {})
    r = t.api.post(
        J(t),
        {
            "metadata": {"name": nm},
            "spec": {
                "parallelism": 2,
                "completions": 4,
                "backoffLimit": 6,
                "template": {
                    "metadata": k.pop("meta", {}),
                    "spec": {
                        "restartPolicy": k.pop("restart", "Never"),
                        "terminationGracePeriodSeconds": 0,
                        "containers": [{"name": "c", "image": BUSYBOX, "command": ["sh", "-c", cmd]}],
                        **sp,
                    },
                },
                **k,
            },
        },
    )
    t.need(r.status == 201, "job", r)
    return r.json


def jcond(t, nm):
    return {c["type"]: c for c in t.api.get(f"{J(t)}/{nm}")["status"].get("conditions", [])}


@test("Job: indexed; conditions; labels; finalizers", JF)
def job_indexed(t):
    job(t, "ix", 'test -n "$JOB_COMPLETION_INDEX" && hostname', completionMode="Indexed", podspec={"subdomain": "svc"})
    t.wait(lambda: "Complete" in jcond(t, "ix"), "complete", 60)
    s = t.api.get(J(t) + "/ix")["status"]
    c = jcond(t, "ix")
    t.eq(s["completedIndexes"], "0-3", "completedIndexes")
    t.check(
        s["succeeded"] == 4
        and s.get("ready") == 0
        and s.get("terminating") == 0
        and s["completionTime"]
        and s["uncountedTerminatedPods"] == {},
        "status",
        s,
    )
    t.check(
        c["SuccessCriteriaMet"]["status"] == "True"
        and c["SuccessCriteriaMet"]["reason"] == "CompletionsReached"
        and c["Complete"]["reason"] == "CompletionsReached"
        and c["Complete"]["message"] == "Reached expected number of succeeded pods",
        "conditions",
        c,
    )
    ps = PODS(t)
    t.eq(
        sorted(p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for p in ps),
        ["0", "1", "2", "3"],
        "annotation",
    )
    t.check(
        all(
            p["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"]
            == p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
            and p["spec"]["hostname"] == "ix-" + p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"]
            and p["metadata"]["name"].startswith(p["spec"]["hostname"] + "-")
            and {"batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "controller-uid", "job-name"}
            <= set(p["metadata"]["labels"])
            for p in ps
        ),
        "labels, hostname",
        ps[0]["metadata"],
    )
    t.check(not any(p["metadata"].get("finalizers") for p in ps), "no finalizers left")
    for p in ps:
        t.eq(t.logs(p["metadata"]["name"]).strip(), p["spec"]["hostname"], "hostname in the pod")


@test("Job: fails once and is restarted locally; delete; adopt/release; suspend; lifecycle", JF)
def job_misc(t):
    job(
        t,
        "fl",
        "if [ -e /d/x ]; then exit 0; else touch /d/x; exit 1; fi",
        restart="OnFailure",
        podspec={
            "volumes": [{"name": "d", "emptyDir": {}}],
            "containers": [
                {
                    "name": "c",
                    "image": BUSYBOX,
                    "command": ["sh", "-c", "if [ -e /d/x ]; then exit 0; else touch /d/x; exit 1; fi"],
                    "volumeMounts": [{"name": "d", "mountPath": "/d"}],
                }
            ],
        },
    )
    t.wait(lambda: "Complete" in jcond(t, "fl"), "complete", 120)
    job(t, "del", "sleep 1000")
    t.wait(lambda: t.api.get(J(t) + "/del")["status"].get("active") == 2, "active")
    t.api.delete(J(t) + "/del", {"propagationPolicy": "Foreground"})
    t.wait(lambda: t.api.get(J(t) + "/del").status == 404, "deleted")
    job(t, "ad", "sleep 1000")
    t.wait(lambda: len(PODS(t, labelSelector="job-name=ad")) == 2, "pods")
    p = PODS(t, labelSelector="job-name=ad")[0]["metadata"]["name"]
    PP = f"/api/v1/namespaces/{t.ns}/pods/{p}"
    t.api.patch(PP, {"metadata": {"ownerReferences": None}})
    t.wait(lambda: t.get_pod(p)["metadata"]["ownerReferences"][0]["name"] == "ad", "re-adopted")
    t.api.patch(PP, {"metadata": {"labels": None}})
    t.wait(lambda: not t.get_pod(p)["metadata"].get("ownerReferences"), "released")
    t.check(
        not t.get_pod(p)["metadata"].get("finalizers"),
        "released pod has no job finalizer",
        t.get_pod(p)["metadata"].get("finalizers"),
    )
    r = t.api.post(
        J(t),
        {
            "metadata": {"name": "sus", "labels": {"e": "1"}},
            "spec": {
                "suspend": True,
                "parallelism": 1,
                "template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": BUSYBOX, "command": ["true"]}]}
                },
            },
        },
    )
    t.wait(lambda: jcond(t, "sus").get("Suspended", {}).get("status") == "True", "Suspended")
    c = jcond(t, "sus")["Suspended"]
    t.check(c["reason"] == "JobSuspended" and c["message"] == "Job suspended", "words", c)
    t.check("startTime" not in t.api.get(J(t) + "/sus")["status"], "no startTime")
    r = t.api.patch(J(t) + "/sus", {"spec": {"template": {"spec": {"nodeSelector": {"kubernetes.io/os": "linux"}}}}})
    t.check(r.ok, "mutable scheduling directives of a suspended job", r)
    t.api.patch(J(t) + "/sus", {"spec": {"suspend": False}})
    t.wait(lambda: "Complete" in jcond(t, "sus"), "resumed and completed", 40)
    c = jcond(t, "sus")
    t.check(c["Suspended"]["status"] == "False" and c["Suspended"]["reason"] == "JobResumed", "JobResumed", c)
    ev = t.api.get(f"/api/v1/namespaces/{t.ns}/events", params={"fieldSelector": "involvedObject.name=sus"})["items"]
    t.check(
        {"Suspended", "Resumed", "SuccessfulCreate", "Completed"} <= {e["reason"] for e in ev},
        "events",
        [e["reason"] for e in ev],
    )


@test("Job: apply changes to status; status validation", JF)
def job_status(t):
    job(t, "st", "sleep 1000")
    t.wait(lambda: t.api.get(J(t) + "/st")["status"].get("active") == 2, "active")
    r = t.api.patch(
        J(t) + "/st/status",
        {
            "metadata": {"annotations": {"patchedstatus": "true"}},
            "status": {"conditions": [{"type": "CustomConditionType", "status": "True", "lastTransitionTime": NOW}]},
        },
    )
    t.check(
        r.ok
        and any(c["type"] == "CustomConditionType" for c in r["status"]["conditions"])
        and r["metadata"]["annotations"]["patchedstatus"] == "true",
        "patch status",
        r,
    )

    def us():
        o = t.api.get(J(t) + "/st").json
        o["status"]["startTime"] = o["status"].get("startTime")
        o["status"]["conditions"] = (o["status"].get("conditions") or []) + [
            {"type": "CustomConditionTypeUpdated", "status": "True"}
        ]
        return t.api.put(J(t) + "/st/status", o)

    r = retry(us)
    t.check(r.ok, "update status", r)
    r = t.api.patch(J(t) + "/st/status", {"status": {"conditions": [{"type": "Complete", "status": "True"}]}})
    t.check(r.status == 422, "Complete without SuccessCriteriaMet refused", r)
    r = t.api.get(J(t) + "/st/status")
    t.check(r.ok, "get status")


@test(
    "Job: podFailurePolicy FailJob, Ignore DisruptionTarget, FailIndex; backoffLimitPerIndex; successPolicy; podReplacementPolicy; managedBy; activeDeadline; ttl; suspended later",
    JF,
)
def job_policies(t):
    job(
        t, "pf", "exit 3", podFailurePolicy={"rules": [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [3]}}]}
    )
    t.wait(lambda: "Failed" in jcond(t, "pf"), "failed early", 40)
    c = jcond(t, "pf")
    t.check(
        c["Failed"]["reason"] == "PodFailurePolicy"
        and "FailureTarget" in c
        and "failed with exit code 3 matching FailJob rule at index 0" in c["Failed"]["message"],
        "reason",
        c,
    )
    job(
        t,
        "pi",
        "exit $JOB_COMPLETION_INDEX",
        completionMode="Indexed",
        backoffLimitPerIndex=0,
        completions=2,
        backoffLimit=None,
    )
    t.wait(lambda: "Failed" in jcond(t, "pi"), "per index", 40)
    s = t.api.get(J(t) + "/pi")["status"]
    t.check(
        s.get("failedIndexes") == "1"
        and s.get("completedIndexes") == "0"
        and jcond(t, "pi")["Failed"]["reason"] == "FailedIndexes"
        and jcond(t, "pi")["Failed"]["message"] == "Job has failed indexes",
        "failedIndexes",
        s,
    )
    job(
        t,
        "mf",
        "exit 1",
        completionMode="Indexed",
        backoffLimitPerIndex=0,
        completions=4,
        maxFailedIndexes=1,
        backoffLimit=None,
    )
    t.wait(lambda: "Failed" in jcond(t, "mf"), "max failed", 40)
    t.check(jcond(t, "mf")["Failed"]["reason"] == "MaxFailedIndexesExceeded", "reason", jcond(t, "mf"))
    job(
        t,
        "fi",
        "exit $((JOB_COMPLETION_INDEX * 42))",
        completionMode="Indexed",
        backoffLimitPerIndex=3,
        completions=2,
        backoffLimit=None,
        podFailurePolicy={"rules": [{"action": "FailIndex", "onExitCodes": {"operator": "In", "values": [42]}}]},
    )
    t.wait(lambda: "Failed" in jcond(t, "fi"), "FailIndex", 40)
    s = t.api.get(J(t) + "/fi")["status"]
    t.check(s.get("failedIndexes") == "1" and s["failed"] == 1, "one failure", s)
    job(
        t,
        "sp",
        "test $JOB_COMPLETION_INDEX = 0 || sleep 1000",
        completionMode="Indexed",
        completions=3,
        parallelism=3,
        successPolicy={"rules": [{"succeededIndexes": "0"}]},
    )
    t.wait(lambda: "Complete" in jcond(t, "sp"), "successPolicy", 40)
    c = jcond(t, "sp")
    t.check(
        c["SuccessCriteriaMet"]["reason"] == "SuccessPolicy"
        and c["SuccessCriteriaMet"]["message"] == "Matched rules at index 0"
        and c["Complete"]["reason"] == "SuccessPolicy"
        and t.api.get(J(t) + "/sp")["status"]["completedIndexes"] == "0",
        "conditions",
        c,
    )
    job(
        t,
        "ig",
        "sleep 1000",
        parallelism=1,
        completions=1,
        backoffLimit=0,
        podFailurePolicy={"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}]},
    )
    t.wait(lambda: len(PODS(t, labelSelector="job-name=ig", fieldSelector="status.phase=Running")) == 1, "running", 30)
    p = PODS(t, labelSelector="job-name=ig")[0]["metadata"]["name"]
    r = t.api.post(
        f"/api/v1/namespaces/{t.ns}/pods/{p}/eviction",
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": p, "namespace": t.ns}},
    )
    t.check(r.status == 201 and r["status"] == "Success", "evicted", r)
    t.wait(
        lambda: len(
            [
                x
                for x in PODS(t, labelSelector="job-name=ig")
                if x["metadata"]["name"] != p and x["status"]["phase"] == "Running"
            ]
        )
        == 1,
        "replaced, job not failed",
        30,
    )
    t.check(
        "Failed" not in jcond(t, "ig") and not t.api.get(J(t) + "/ig")["status"].get("failed"),
        "ignored",
        t.api.get(J(t) + "/ig")["status"],
    )
    job(t, "mb", "true", managedBy="example.com/custom-job-controller")
    time.sleep(2)
    t.check(
        not PODS(t, labelSelector="job-name=mb") and not t.api.get(J(t) + "/mb").json.get("status"), "managedBy is left alone"
    )
    job(t, "ad", "sleep 1000", activeDeadlineSeconds=1)
    t.wait(lambda: jcond(t, "ad").get("Failed", {}).get("reason") == "DeadlineExceeded", "deadline", 20)
    t.check(
        jcond(t, "ad").get("Failed", {}).get("message") == "Job was active longer than specified deadline",
        "words",
        jcond(t, "ad"),
    )
    job(t, "tt", "true", ttlSecondsAfterFinished=2)
    t.wait(lambda: t.api.get(J(t) + "/tt").status == 404, "ttl", 30)
    job(t, "bl", "exit 1", backoffLimit=0, parallelism=1, completions=1)
    t.wait(lambda: jcond(t, "bl").get("Failed", {}).get("reason") == "BackoffLimitExceeded", "backoff", 30)
    t.check(
        jcond(t, "bl").get("Failed", {}).get("message") == "Job has reached the specified backoff limit",
        "words",
        jcond(t, "bl"),
    )
    job(
        t,
        "pr",
        "trap '' TERM; sleep 4",
        parallelism=1,
        completions=1,
        podReplacementPolicy="Failed",
        podspec={"terminationGracePeriodSeconds": 3},
    )
    t.wait(lambda: len(PODS(t, labelSelector="job-name=pr", fieldSelector="status.phase=Running")) == 1, "running")
    p = PODS(t, labelSelector="job-name=pr")[0]["metadata"]["name"]
    t.api.delete(f"/api/v1/namespaces/{t.ns}/pods/{p}")
    t.wait(lambda: t.api.get(J(t) + "/pr")["status"].get("terminating") == 1, "terminating 1", 3, 0.05)
    t.eq(len(PODS(t, labelSelector="job-name=pr")), 1, "no replacement while terminating")


CJ = lambda t: f"/apis/batch/v1/namespaces/{t.ns}/cronjobs"


def cron(t, nm, pol, cmd, **k):
    r = t.api.post(
        CJ(t),
        {
            "metadata": {"name": nm},
            "spec": {
                "schedule": "*/1 * * * ?",
                "concurrencyPolicy": pol,
                "jobTemplate": {
                    "spec": {
                        "parallelism": 1,
                        "completions": 1,
                        "template": {
                            "spec": {
                                "restartPolicy": "OnFailure",
                                "terminationGracePeriodSeconds": 0,
                                "containers": [{"name": "c", "image": BUSYBOX, "command": ["sh", "-c", cmd]}],
                            }
                        },
                    }
                },
                **k,
            },
        },
    )
    t.need(r.status == 201, "cronjob", r)
    return r.json


@test("CronJob: Allow, Forbid, Replace, suspend", "test/e2e/apps/cronjob.go", slow=True)
def cronjob(t):
    for nm, pol in (("al", "Allow"), ("fo", "Forbid"), ("re", "Replace")):
        cron(t, nm, pol, "sleep 300")
    cron(t, "su", "Allow", "sleep 1", suspend=True)
    jobs = lambda nm: [x for x in t.api.get(J(t))["items"] if x["metadata"]["ownerReferences"][0]["name"] == nm]
    t.wait(lambda: len(t.api.get(CJ(t) + "/al")["status"].get("active", [])) == 2, "Allow: two active", 140, 1)
    time.sleep(3)
    t.eq(len(t.api.get(CJ(t) + "/fo")["status"].get("active", [])), 1, "Forbid one")
    t.eq(len(jobs("re")), 1, "Replace: one")
    t.eq(len(jobs("su")), 0, "suspended none")
    j = jobs("al")[0]
    t.check(
        j["metadata"]["annotations"].get("batch.kubernetes.io/cronjob-scheduled-timestamp")
        and j["metadata"]["ownerReferences"][0]["controller"],
        "annotation",
        j["metadata"],
    )
    a = t.api.get(CJ(t) + "/al")["status"]["active"][0]
    t.check(a["kind"] == "Job" and a["apiVersion"] == "batch/v1" and a["uid"] and a["resourceVersion"], "reference", a)
    r = {e["reason"] for e in t.api.get(f"/api/v1/namespaces/{t.ns}/events")["items"]}
    t.check({"SuccessfulCreate", "JobAlreadyActive", "SuccessfulDelete"} <= r, "events", r)


DPF = "test/e2e/apps/disruption.go"


@test("PDB: status, eviction blocked and allowed, unhealthyPodEvictionPolicy, words", DPF)
def pdb(t):
    n = t.ns
    B = f"/apis/policy/v1/namespaces/{n}/poddisruptionbudgets"
    l = {"foo": "bar"}
    r = t.api.post(B, {"metadata": {"name": "foo"}, "spec": {"minAvailable": 3, "selector": {"matchLabels": l}}})
    t.need(r.ok, "pdb", r)
    rs(t, "rs", 3, l)
    t.wait(
        lambda: (
            lambda s: s["currentHealthy"] == 3
            and s["expectedPods"] == 3
            and s["desiredHealthy"] == 3
            and s["disruptionsAllowed"] == 0
            and s["observedGeneration"] == 1
        )(t.api.get(B + "/foo")["status"]),
        "status",
        40,
    )
    c = [x for x in t.api.get(B + "/foo")["status"]["conditions"] if x["type"] == "DisruptionAllowed"][0]
    t.check(c["status"] == "False" and c["reason"] == "InsufficientPods" and c["observedGeneration"] == 1, "condition", c)
    p = PODS(t)[0]["metadata"]["name"]
    ev = lambda p, **k: t.api.post(
        f"/api/v1/namespaces/{n}/pods/{p}/eviction",
        {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": p, "namespace": n}, **k},
    )
    r = ev(p)
    t.check(
        r.status == 429
        and r.reason == "TooManyRequests"
        and r.msg == "Cannot evict pod as it would violate the pod's disruption budget."
        and any(
            x.get("reason") == "DisruptionBudget"
            and x["message"] == "The disruption budget foo needs 3 healthy pods and has 3 currently"
            for x in r["details"]["causes"]
        ),
        "blocked words",
        r,
    )
    r = ev(p, deleteOptions={"dryRun": ["All"]})
    t.eq(r.status, 429, "dry run blocked")
    t.api.patch(B + "/foo", {"spec": {"minAvailable": 2}})
    t.wait(lambda: t.api.get(B + "/foo")["status"]["disruptionsAllowed"] == 1, "allowed", 10)
    r = ev(p)
    t.check(r.status == 201 and r["kind"] == "Status" and r["status"] == "Success", "evicted", r)
    t.wait(
        lambda: (lambda q: cond(q, "DisruptionTarget") == "True")(t.get_pod(p))
        or t.api.get(f"/api/v1/namespaces/{n}/pods/{p}").status == 404,
        "DisruptionTarget",
        5,
    )
    t.api.post(B, {"metadata": {"name": "foo2"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": l}}})
    time.sleep(2)
    p = PODS(t)[1]["metadata"]["name"]
    r = ev(p)
    t.check(
        r.status == 500
        and "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support." in r.msg,
        "two budgets",
        r,
    )
    t.api.delete(B + "/foo2")
    r = t.api.post(B, {"metadata": {"name": "pc"}, "spec": {"maxUnavailable": "10%", "selector": {"matchLabels": {"x": "y"}}}})
    t.wait(lambda: t.api.get(B + "/pc")["status"]["expectedPods"] == 0, "pc")
    r = t.api.patch(B + "/foo", {"spec": {"maxUnavailable": 1}})
    t.check(r.status == 422 and "minAvailable and maxUnavailable cannot be both set" in r.msg, "both words", r)
    r = t.api.put(
        B + "/foo", {**t.api.get(B + "/foo").json, "spec": {"selector": {"matchLabels": {"q": "r"}}, "minAvailable": 1}}
    )
    t.check(r.ok, "policy/v1 spec is mutable", r)
    r = t.api.patch(B + "/foo/status", {"status": {"disruptedPods": {"p1": NOW}}})
    t.check(r.ok and "p1" in r["status"]["disruptedPods"], "patch status", r)
    r = ev("nope")
    t.eq(r.status, 404, "unknown pod")
