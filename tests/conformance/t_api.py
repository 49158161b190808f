from lib import *
import threading


def rq_used(t, name, want, timeout=30, ns=None):
    last = {}

    def f():
        r = t.api.get(f"/api/v1/namespaces/{ns or t.ns}/resourcequotas/{name}").json
        last["u"] = (r.get("status") or {}).get("used") or {}
        return all(q(last["u"].get(k, "missing")) == q(v) for k, v in want.items())

    return t.check(wait(f, timeout), f"quota {name} used {want}", last.get("u"))


def q(s):
    s = str(s)
    suf = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "k": 1e3, "M": 1e6, "G": 1e9, "m": 1e-3}
    for k, v in suf.items():
        if s.endswith(k):
            return round(float(s[: -len(k)]) * v, 6)
    try:
        return round(float(s), 6)
    except ValueError:
        return s


HARD = {
    "pods": "5",
    "services": "10",
    "services.nodeports": "1",
    "services.loadbalancers": "1",
    "replicationcontrollers": "10",
    "resourcequotas": "1",
    "cpu": "1",
    "memory": "500Mi",
    "configmaps": "10",
    "secrets": "10",
    "persistentvolumeclaims": "10",
    "requests.storage": "10Gi",
    "requests.ephemeral-storage": "50Gi",
    "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "10",
    "gold.storageclass.storage.k8s.io/requests.storage": "10Gi",
    "count/replicasets.apps": "5",
    "requests.example.com/dongle": "3",
}
RQ = "test/e2e/apimachinery/resource_quota.go"


def mkquota(t, name="test-quota", hard=None, **spec):
    r = t.api.post(
        f"/api/v1/namespaces/{t.ns}/resourcequotas", {"metadata": {"name": name}, "spec": {"hard": hard or HARD, **spec}}
    )
    t.need(r.status == 201, "quota created", r)
    return r.json


@test("ResourceQuota status promptly calculated", RQ)
def quota_prompt(t):
    mkquota(t)
    rq_used(t, "test-quota", {"resourcequotas": "1"})


@test("ResourceQuota life of a service", RQ)
def quota_service(t):
    n = t.ns
    mkquota(t)
    rq_used(t, "test-quota", {"resourcequotas": "1"})

    def svc(name, typ, **k):
        return t.api.post(
            f"/api/v1/namespaces/{n}/services",
            {"metadata": {"name": name}, "spec": {"type": typ, "ports": [{"port": 80, "targetPort": 80}], **k}},
        )

    t.need(svc("a", "ClusterIP").status == 201, "clusterip svc")
    t.need(svc("np", "NodePort").status == 201, "nodeport svc")
    r = svc("lb", "LoadBalancer")
    t.check(r.status == 403 and "exceeded quota" in r.msg, "LB service with NodePort exceeding quota must be denied", r)
    rq_used(t, "test-quota", {"resourcequotas": "1", "services": "2", "services.nodeports": "1", "services.loadbalancers": "0"})
    for x in ("a", "np"):
        t.api.delete(f"/api/v1/namespaces/{n}/services/{x}")
    rq_used(t, "test-quota", {"services": "0", "services.nodeports": "0", "services.loadbalancers": "0"})


@test("ResourceQuota LB with allocateLoadBalancerNodePorts=false counts no nodeports", RQ)
def quota_lb_nonp(t):
    n = t.ns
    mkquota(t)
    rq_used(t, "test-quota", {"resourcequotas": "1"})
    r = t.api.post(
        f"/api/v1/namespaces/{n}/services",
        {
            "metadata": {"name": "lb"},
            "spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"port": 80}]},
        },
    )
    t.check(r.status == 201, "created", r)
    rq_used(t, "test-quota", {"services": "1", "services.nodeports": "0", "services.loadbalancers": "1"})


@test("ResourceQuota life of a secret", RQ)
def quota_secret(t):
    n = t.ns
    mkquota(t, hard={**HARD, "secrets": "1"})
    rq_used(t, "test-quota", {"resourcequotas": "1", "secrets": "0"})
    t.check(
        t.api.post(f"/api/v1/namespaces/{n}/secrets", {"metadata": {"name": "s"}, "data": {"d": "MQ=="}}).status == 201,
        "secret",
    )
    rq_used(t, "test-quota", {"secrets": "1"})
    t.api.delete(f"/api/v1/namespaces/{n}/secrets/s")
    rq_used(t, "test-quota", {"secrets": "0"})


@test("ResourceQuota life of a configMap", RQ)
def quota_cm(t):
    n = t.ns
    mkquota(t, hard={**HARD, "configmaps": "2"})
    rq_used(t, "test-quota", {"configmaps": "1"})
    r = t.api.post(f"/api/v1/namespaces/{n}/configmaps", {"metadata": {"name": "s"}})
    t.check(r.status == 201, "cm", r)
    rq_used(t, "test-quota", {"configmaps": "2"})
    r = t.api.post(f"/api/v1/namespaces/{n}/configmaps", {"metadata": {"name": "s2"}})
    t.check(
        r.status == 403
        and r.reason == "Forbidden"
        and r.msg
        == 'configmaps "s2" is forbidden: exceeded quota: test-quota, requested: configmaps=1, used: configmaps=2, limited: configmaps=2',
        "exceeded words",
        r,
    )
    t.api.delete(f"/api/v1/namespaces/{n}/configmaps/s")
    rq_used(t, "test-quota", {"configmaps": "1"})


@test("ResourceQuota life of a pod", RQ)
def quota_pod(t):
    n = t.ns
    mkquota(t)
    rq_used(t, "test-quota", {"resourcequotas": "1"})

    def pod(name, req, lim=None):
        return {
            "metadata": {"name": name},
            "spec": {
                "terminationGracePeriodSeconds": 0,
                "containers": [
                    {
                        "name": "pause",
                        "image": BUSYBOX,
                        "command": ["sleep", "1000"],
                        "resources": {"requests": req, "limits": lim or {}},
                    }
                ],
            },
        }

    req = {"cpu": "500m", "memory": "252Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"}
    P = f"/api/v1/namespaces/{n}/pods"
    r = t.api.post(P, pod("test-pod", req, {"example.com/dongle": "2"}))
    t.need(r.status == 201, "pod fits", r)
    p = r.json
    used = {
        "pods": "1",
        "cpu": "500m",
        "memory": "252Mi",
        "requests.ephemeral-storage": "30Gi",
        "requests.example.com/dongle": "2",
    }
    rq_used(t, "test-quota", used)
    r = t.api.post(P, pod("fail-pod", {"cpu": "600m", "memory": "100Mi"}))
    t.check(r.status == 403, "exceeding cpu denied", r)
    r = t.api.post(
        P,
        pod(
            "fail-pod2",
            {"cpu": "500m", "memory": "100Mi", "ephemeral-storage": "30Gi", "example.com/dongle": "2"},
            {"example.com/dongle": "2"},
        ),
    )
    t.check(r.status == 403, "exceeding dongle denied", r)
    p = t.api.get(P + "/test-pod").json
    p["spec"]["containers"][0]["resources"]["requests"].update({"cpu": "100m", "memory": "100Mi"})
    r = t.api.put(P + "/test-pod", p)
    t.check(r.status == 422, "update of requests refused", r)
    rq_used(t, "test-quota", used)
    t.api.delete(P + "/test-pod", {"gracePeriodSeconds": 0})
    rq_used(
        t,
        "test-quota",
        {"pods": "0", "cpu": "0", "memory": "0", "requests.ephemeral-storage": "0", "requests.example.com/dongle": "0"},
    )


@test("ResourceQuota life of RC, RS, PVC (with gold class)", RQ)
def quota_rc_rs_pvc(t):
    n = t.ns
    mkquota(t)
    rq_used(t, "test-quota", {"resourcequotas": "1"})
    tmpl = {"metadata": {"labels": {"name": "x"}}, "spec": {"containers": [{"name": "x", "image": BUSYBOX}]}}
    t.api.post(
        f"/api/v1/namespaces/{n}/replicationcontrollers",
        {"metadata": {"name": "rc"}, "spec": {"replicas": 0, "selector": {"name": "x"}, "template": tmpl}},
    )
    t.api.post(
        f"/apis/apps/v1/namespaces/{n}/replicasets",
        {"metadata": {"name": "rs"}, "spec": {"replicas": 0, "selector": {"matchLabels": {"name": "x"}}, "template": tmpl}},
    )
    for nm, c in (("pvc", None), ("gold", "gold")):
        sp = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        if c:
            sp["storageClassName"] = c
        t.api.post(f"/api/v1/namespaces/{n}/persistentvolumeclaims", {"metadata": {"name": nm}, "spec": sp})
    rq_used(
        t,
        "test-quota",
        {
            "replicationcontrollers": "1",
            "count/replicasets.apps": "1",
            "persistentvolumeclaims": "2",
            "requests.storage": "2Gi",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "1",
            "gold.storageclass.storage.k8s.io/requests.storage": "1Gi",
        },
    )
    for p in (
        "api/v1/namespaces/%s/replicationcontrollers/rc",
        "apis/apps/v1/namespaces/%s/replicasets/rs",
        "api/v1/namespaces/%s/persistentvolumeclaims/pvc",
        "api/v1/namespaces/%s/persistentvolumeclaims/gold",
    ):
        t.api.delete("/" + p % n)
    rq_used(
        t,
        "test-quota",
        {
            "replicationcontrollers": "0",
            "count/replicasets.apps": "0",
            "persistentvolumeclaims": "0",
            "requests.storage": "0",
            "gold.storageclass.storage.k8s.io/persistentvolumeclaims": "0",
        },
    )


def scoped(t, a, b, hard, pod1, pod2, used):
    n = t.ns
    zero = {k: "0" for k in used}
    for s in (a, b):
        mkquota(t, "quota-" + s.lower(), hard=hard, scopes=[s])
    qa, qb = "quota-" + a.lower(), "quota-" + b.lower()
    rq_used(t, qa, {"pods": "0"})
    rq_used(t, qb, {"pods": "0"})
    P = f"/api/v1/namespaces/{n}/pods"
    for pod, q1, q2, u in ((pod1, qa, qb, {"pods": "1"} if a == "BestEffort" else used), (pod2, qb, qa, used)):
        t.need(t.api.post(P, pod).status == 201, "pod created")
        rq_used(t, q1, u)
        time.sleep(0.5)
        rq_used(t, q2, {"pods": "0"})
        t.api.delete(P + "/" + pod["metadata"]["name"], {"gracePeriodSeconds": 0})
        rq_used(t, q1, {"pods": "0"})


@test("ResourceQuota best effort scope", RQ)
def quota_besteffort(t):
    res = {"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}}
    mk = lambda name, r=None: {
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "99"], **({"resources": r} if r else {})}],
        },
    }
    scoped(t, "BestEffort", "NotBestEffort", {"pods": "5"}, mk("be"), mk("nbe", res), {"pods": "1"})


@test("ResourceQuota terminating scopes", RQ)
def quota_terminating(t):
    res = {"requests": {"cpu": "500m", "memory": "200Mi"}, "limits": {"cpu": "1", "memory": "400Mi"}}
    hard = {"pods": "5", "requests.cpu": "1", "requests.memory": "500Mi", "limits.cpu": "2", "limits.memory": "1Gi"}
    mk = lambda name, **k: {
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "99"], "resources": res}],
            **k,
        },
    }
    scoped(
        t,
        "NotTerminating",
        "Terminating",
        hard,
        mk("long"),
        mk("term", activeDeadlineSeconds=3600),
        {"pods": "1", "requests.cpu": "500m", "requests.memory": "200Mi", "limits.cpu": "1", "limits.memory": "400Mi"},
    )


@test("ResourceQuota update, delete, lifecycle, deletecollection", RQ)
def quota_lifecycle(t):
    n = t.ns
    P = f"/api/v1/namespaces/{n}/resourcequotas"
    o = mkquota(t, hard={"cpu": "1", "memory": "500Mi"})
    # the test updates the object it made, without resourceVersion
    r = t.api.put(P + "/test-quota", {"metadata": {"name": "test-quota"}, "spec": {"hard": {"cpu": "2", "memory": "1Gi"}}})
    t.check(r.status == 200 and r["spec"]["hard"] == {"cpu": "2", "memory": "1Gi"}, "update without resourceVersion", r)
    t.check(t.api.delete(P + "/test-quota").ok, "delete")
    t.eq(t.api.get(P + "/test-quota").status, 404, "gone")
    name = "e2e-quota-" + rnd()
    sel = f"{name}={name}"
    t.api.post(P, {"metadata": {"name": name, "labels": {name: name}}, "spec": {"hard": {"cpu": "500m", "memory": "500Mi"}}})
    r = t.api.get("/api/v1/resourcequotas", params={"labelSelector": sel})
    t.eq(len(r["items"]), 1, "list all ns by label")
    p = t.api.smp(f"{P}/{name}", {"metadata": {"labels": {name: "patched"}}, "spec": {"hard": {"memory": "750Mi"}}})
    t.check(p.ok and p["spec"]["hard"] == {"cpu": "500m", "memory": "750Mi"}, "patched", p)
    t.check(int(p["metadata"]["resourceVersion"]) > int(r["items"][0]["metadata"]["resourceVersion"]), "rv grows")
    r = t.api.delete(P, params={"labelSelector": f"{name}=patched"})
    t.check(r.ok, "deletecollection", r)
    t.eq(t.api.get(f"{P}/{name}").status, 404, "collection deleted")


@test("ResourceQuota: apply changes to a status", RQ)
def quota_status(t):
    n = t.ns
    P = f"/api/v1/namespaces/{n}/resourcequotas"
    name = "rqs"
    t.api.post(P, {"metadata": {"name": name, "labels": {"l": name}}, "spec": {"hard": {"cpu": "500m", "memory": "500Mi"}}})
    lst = t.api.get("/api/v1/resourcequotas", params={"labelSelector": "l=" + name})
    w = t.api.watch(P, labelSelector="l=" + name, resourceVersion=lst["metadata"]["resourceVersion"])

    def upd():
        o = t.api.get(f"{P}/{name}").json
        o["status"] = {"hard": o["spec"]["hard"]}
        return t.api.put(f"{P}/{name}/status", o)

    r = wait(lambda: (lambda r: r if r.status != 409 else None)(upd()), 5)
    t.need(r and r.ok, "UpdateStatus", r)
    t.check(t.api.get(f"{P}/{name}")["status"]["hard"] == {"cpu": "500m", "memory": "500Mi"}, "status hard")
    t.api.smp(f"{P}/{name}", {"spec": {"hard": {"cpu": "1", "memory": "1Gi"}}})
    r = t.api.smp(f"{P}/{name}/status", {"status": {"hard": {"cpu": "1", "memory": "1Gi"}}})
    t.check(r.ok, "patch status", r)
    t.check(
        w.until(lambda e: e["object"]["status"].get("hard") == {"cpu": "1", "memory": "1Gi"}), "watch sees status", w.types()
    )
    r = t.api.get(f"{P}/{name}/status")
    t.check(r["status"]["hard"] == {"cpu": "1", "memory": "1Gi"}, "get status", r)
    r = t.api.smp(f"{P}/{name}/status", {"status": {"hard": {"cpu": "2", "memory": "2Gi"}}})
    t.check(r.ok and r["status"]["hard"] == {"cpu": "2", "memory": "2Gi"}, "repatch status", r)
    t.check(
        w.until(lambda e: e["object"]["status"].get("hard") == {"cpu": "2", "memory": "2Gi"}),
        "watch sees 2 in status",
        w.types(),
    )
    t.check(t.api.get(f"{P}/{name}")["spec"]["hard"]["cpu"] == "1", "spec unchanged by status patch")
    t.wait(
        lambda: t.api.get(f"{P}/{name}")["status"]["hard"] == {"cpu": "1", "memory": "1Gi"},
        "controller resets status (full resync, upstream within 5 minutes)",
        360,
        2,
    )


quota_status_slow = True

NSF = "test/e2e/apimachinery/namespace.go"


@test("Namespace patch/update/status/finalizer", NSF)
def namespace_life(t):
    n = t.ns
    P = f"/api/v1/namespaces/{n}"
    r = t.api.smp(P, {"metadata": {"labels": {"testLabel": "testValue"}}})
    t.check(r.ok and t.api.get(P)["metadata"]["labels"]["testLabel"] == "testValue", "patched", r)
    r = t.api.get(P + "/status")
    t.check(r.ok and r["status"]["phase"] == "Active", "read status phase Active", r)
    r = t.api.patch(
        P + "/status",
        {
            "metadata": {"annotations": {"e2e-patched-ns-status": n}},
            "status": {
                "conditions": [{"type": "StatusPatch", "status": "True", "reason": "E2E", "message": "Patched by an e2e test"}]
            },
        },
    )
    t.check(r.ok and r["metadata"].get("annotations", {}).get("e2e-patched-ns-status") == n, "annotation via status patch", r)
    t.check(
        r.ok and any(c["type"] == "StatusPatch" for c in r["status"].get("conditions", [])), "condition via status patch", r
    )
    o = t.api.get(P).json
    o["status"].setdefault("conditions", []).append(
        {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Updated by an e2e test"}
    )
    r = t.api.put(P + "/status", o)
    t.check(r.ok and [c["type"] for c in r["status"]["conditions"]] == ["StatusPatch", "StatusUpdate"], "UpdateStatus", r)
    o = t.api.get(P).json
    o["metadata"]["labels"][n] = "updated"
    r = t.api.put(P, o)
    t.check(r.ok and r["metadata"]["labels"][n] == "updated", "update", r)
    o = t.api.get(P).json
    o["spec"]["finalizers"].append("e2e.example.com/fakeFinalizer")
    r = t.api.put(P + "/finalize", o)
    t.check(r.ok and "e2e.example.com/fakeFinalizer" in r["spec"]["finalizers"], "finalize adds", r)
    o = t.api.get(P).json
    o["spec"]["finalizers"] = ["kubernetes"]
    r = t.api.put(P + "/finalize", o)
    t.check(r.ok and r["spec"]["finalizers"] == ["kubernetes"], "finalize removes", r)


@test("Namespace deletion removes pods and services; conditions; recreate", NSF)
def namespace_delete(t):
    n = t.new_ns()
    P = f"/api/v1/namespaces/{n}"
    t.api.post(
        P + "/pods",
        {
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "9999"]}],
                "terminationGracePeriodSeconds": 1,
            },
        },
    )
    t.api.post(P + "/services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    wait(lambda: t.api.get(P + "/pods/p")["status"]["phase"] == "Running", 30)
    r = t.api.delete(P)
    t.check(
        r.ok and r["status"]["phase"] == "Terminating" and r["metadata"]["deletionTimestamp"],
        "delete answers namespace Terminating",
        r,
    )
    r = t.api.post(P + "/configmaps", {"metadata": {"name": "x"}})
    if r.status != 404:
        t.check(
            r.status == 403
            and f"unable to create new content in namespace {n} because it is being terminated" in r.msg
            and any(
                c.get("reason") == "NamespaceTerminating" and c.get("field") == "metadata.namespace"
                for c in (r["details"].get("causes") or [])
            ),
            "create in terminating namespace words and cause",
            r,
        )
    t.wait(lambda: t.api.get(P).status == 404, "namespace gone", 40)
    r = t.api.post("/api/v1/namespaces", {"metadata": {"name": n}})
    t.check(r.status == 201, "recreated", r)
    for k in ("pods", "services"):
        t.eq(len(t.api.get(f"{P}/{k}")["items"]), 0, f"no {k} in recreated namespace")


@test("Namespace stuck by finalizer reports conditions", NSF)
def namespace_conditions(t):
    n = t.new_ns()
    P = f"/api/v1/namespaces/{n}"
    t.api.post(P + "/configmaps", {"metadata": {"name": "s", "finalizers": ["example.com/f"]}})
    t.api.delete(P)

    def f():
        o = t.api.get(P).json
        c = {x["type"]: x for x in o["status"].get("conditions", [])}
        t.last = c
        return all(
            k in c
            for k in (
                "NamespaceDeletionDiscoveryFailure",
                "NamespaceDeletionGroupVersionParsingFailure",
                "NamespaceDeletionContentFailure",
                "NamespaceContentRemaining",
                "NamespaceFinalizersRemaining",
            )
        )

    t.wait(f, "five conditions", 20)
    c = getattr(t, "last", {})
    if c:
        t.eq(c["NamespaceContentRemaining"]["status"], "True", "content remaining")
        t.eq(
            c["NamespaceContentRemaining"]["message"],
            "Some resources are remaining: configmaps. has 1 resource instances",
            "remaining words",
        )
        t.eq(
            c["NamespaceFinalizersRemaining"]["message"],
            "Some content in the namespace has finalizers remaining: example.com/f in 1 resource instances",
            "finalizers words",
        )
        t.eq(c["NamespaceContentRemaining"].get("reason"), "SomeResourcesRemain", "reason")
        t.eq(c["NamespaceFinalizersRemaining"].get("reason"), "SomeFinalizersRemain", "reason")
        t.eq(c["NamespaceDeletionDiscoveryFailure"]["message"], "All resources successfully discovered", "words")
        t.eq(c["NamespaceDeletionDiscoveryFailure"]["reason"], "ResourcesDiscovered", "reason")
        t.eq(c["NamespaceDeletionGroupVersionParsingFailure"]["reason"], "ParsedGroupVersions", "reason")
        t.eq(c["NamespaceDeletionContentFailure"]["reason"], "ContentDeleted", "reason")
        t.eq(
            c["NamespaceDeletionContentFailure"]["message"],
            "All content successfully deleted, may be waiting on finalization",
            "words",
        )
    t.api.patch(P + "/configmaps/s", {"metadata": {"finalizers": None}})
    t.wait(lambda: t.api.get(P).status == 404, "gone", 30)


@test("Ordered namespace deletion: pods first", "test/e2e/apimachinery/namespace.go (OrderedNamespaceDeletion)")
def namespace_ordered(t):
    n = t.new_ns()
    P = f"/api/v1/namespaces/{n}"
    t.api.post(
        P + "/pods",
        {
            "metadata": {"name": "p", "finalizers": ["e2e.example.com/finalizer"]},
            "spec": {
                "containers": [{"name": "c", "image": BUSYBOX, "command": ["sleep", "9999"]}],
                "terminationGracePeriodSeconds": 0,
            },
        },
    )
    t.api.post(P + "/configmaps", {"metadata": {"name": "cm"}})
    t.api.delete(P)
    time.sleep(3)
    t.check(t.api.get(P + "/configmaps/cm").ok, "configmap is kept while pods remain")
    t.check(t.api.get(P + "/pods/p")["metadata"].get("deletionTimestamp"), "pod is being deleted")
    o = t.api.get(P).json
    c = {x["type"]: x for x in o["status"].get("conditions", [])}
    t.eq(c.get("NamespaceDeletionContentFailure", {}).get("status"), "False", "no failure")
    t.check(
        "pods. has 1 resource instances" in c.get("NamespaceContentRemaining", {}).get("message", ""), "names pods remaining", c
    )
    t.api.patch(P + "/pods/p", {"metadata": {"finalizers": None}})
    t.wait(lambda: t.api.get(P).status == 404, "gone", 30)


@test("Server version", "test/e2e/apimachinery/server_version.go")
def version(t):
    r = t.api.get("/version").json
    t.check(r["major"].isdigit() and r["minor"].isdigit(), "major and minor are integers", r)
    for k in (
        "gitVersion",
        "gitCommit",
        "gitTreeState",
        "buildDate",
        "goVersion",
        "compiler",
        "platform",
        "emulationMajor",
        "emulationMinor",
        "minCompatibilityMajor",
        "minCompatibilityMinor",
    ):
        t.check(k in r, "has " + k, r)


@test("Discovery: PreferredVersion, groupVersion, resources of each group", "test/e2e/apimachinery/discovery.go")
def discovery(t):
    for g in t.api.get("/apis")["groups"]:
        r = t.api.get("/apis/" + g["name"])
        t.check(
            r.ok
            and r["preferredVersion"]["version"] in [v["version"] for v in r["versions"]]
            and r["preferredVersion"] == g["preferredVersion"]
            and r["kind"] == "APIGroup",
            "group " + g["name"],
            r,
        )
        for v in g["versions"]:
            r = t.api.get("/apis/" + v["groupVersion"])
            t.check(
                r.ok and r["groupVersion"] == v["groupVersion"] and len(r["resources"]) > 0,
                "resources of " + v["groupVersion"],
                r,
            )
            for x in r["resources"]:
                t.check(
                    x.get("kind") and "verbs" in x and x["verbs"] and "namespaced" in x and "name" in x and "singularName" in x,
                    "resource " + x["name"],
                    x,
                )
                if "/" not in x["name"] and "list" in x["verbs"] and "create" in x["verbs"]:
                    t.check(x.get("storageVersionHash"), f"storageVersionHash of {v['groupVersion']} {x['name']}")


@test("StorageVersionHash", "test/e2e/apimachinery/discovery.go")
def storageversionhash_crd(t):
    pass


@test("Aggregated discovery", "test/e2e/apimachinery/aggregated_discovery.go")
def aggregated(t):
    A = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    for acc, ct in (
        (A, "v2"),
        (A.replace("v=v2;", "v=v2beta1;"), "v2beta1"),
        (A + ",application/json", "v2"),
        ("application/json," + A, None),
        ("application/json", None),
    ):
        for p in ("/api", "/apis"):
            r = t.api.get(p, accept=acc)
            if ct:
                t.check(
                    r["kind"] == "APIGroupDiscoveryList" and r["apiVersion"] == "apidiscovery.k8s.io/" + ct,
                    f"{p} {acc}",
                    r.text[:200],
                )
                t.eq(
                    r.headers["Content-Type"].replace(" ", ""),
                    f"application/json;g=apidiscovery.k8s.io;v={ct};as=APIGroupDiscoveryList",
                    "content type",
                )
            else:
                t.check(r["kind"] in ("APIGroupList", "APIVersions"), f"{p} {acc}", r.text[:200])
            t.check("Accept" in r.headers.get("Vary", ""), "Vary: Accept", dict(r.headers))
    r = t.api.get("/apis", accept=A)
    t.check(r.headers.get("ETag"), "ETag", dict(r.headers))
    r2 = t.api.get("/apis", accept=A, headers={"If-None-Match": r.headers.get("ETag", "")})
    t.eq(r2.status, 304, "not modified")
    have = {
        (g["metadata"].get("name", ""), v["version"], x["resource"])
        for g in r["items"]
        for v in g["versions"]
        for x in v["resources"]
    }
    for w in (
        ("apps", "v1", "deployments"),
        ("batch", "v1", "jobs"),
        ("resource.k8s.io", "v1", "resourceclaims"),
        ("networking.k8s.io", "v1", "ipaddresses"),
        ("networking.k8s.io", "v1", "servicecidrs"),
        ("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies"),
        ("storage.k8s.io", "v1", "volumeattributesclasses"),
    ):
        t.check(w in have, f"has {w}")


WF = "test/e2e/apimachinery/watch.go"


@test("Watchers: add, update, delete; selectors; restart; label change", WF)
def watchers(t):
    n = t.ns
    P = f"/api/v1/namespaces/{n}/configmaps"
    wa = t.api.watch(P, labelSelector="watch-this-configmap=A")
    wb = t.api.watch(P, labelSelector="watch-this-configmap=B")
    wab = t.api.watch(P, labelSelector="watch-this-configmap in (A,B)")
    t.api.post(P, {"metadata": {"name": "a", "labels": {"watch-this-configmap": "A"}}})
    for i in (1, 2):
        r = t.api.patch(P + "/a", {"data": {"mutation": str(i)}})
    t.api.delete(P + "/a")
    t.check(wa.until(lambda e: e["type"] == "DELETED", 5), "A deleted")
    t.eq(wa.types(), ["ADDED", "MODIFIED", "MODIFIED", "DELETED"], "A's events")
    t.eq(wa.events[3]["object"].get("data"), {"mutation": "2"}, "deleted object's last state")
    t.check(
        int(wa.events[3]["object"]["metadata"]["resourceVersion"]) > int(wa.events[2]["object"]["metadata"]["resourceVersion"]),
        "DELETED has the deletion's rv",
    )
    t.api.post(P, {"metadata": {"name": "b", "labels": {"watch-this-configmap": "B"}}})
    t.api.delete(P + "/b")
    t.check(wb.until(lambda e: e["type"] == "DELETED", 5), "B")
    t.eq(wb.types(), ["ADDED", "DELETED"], "B's events")
    t.eq(wa.types(), ["ADDED", "MODIFIED", "MODIFIED", "DELETED"], "A's unchanged")
    t.check(wab.until(lambda e: e["type"] == "DELETED" and e["object"]["metadata"]["name"] == "b", 5), "AB")
    # start from rv
    c = t.api.post(P, {"metadata": {"name": "c", "labels": {"l": "1"}}}).json
    r1 = t.api.patch(P + "/c", {"data": {"mutation": "1"}}).json
    t.api.patch(P + "/c", {"data": {"mutation": "2"}})
    t.api.delete(P + "/c")
    w = t.api.watch(P, labelSelector="l=1", resourceVersion=r1["metadata"]["resourceVersion"])
    w.until(lambda e: e["type"] == "DELETED", 5)
    t.eq(w.types(), ["MODIFIED", "DELETED"], "from a resource version")
    # label change
    d = t.api.post(P, {"metadata": {"name": "d", "labels": {"l": "2"}}}).json
    w = t.api.watch(P, labelSelector="l=2", resourceVersion=d["metadata"]["resourceVersion"])
    t.api.patch(P + "/d", {"data": {"mutation": "1"}})
    t.api.patch(P + "/d", {"metadata": {"labels": {"l": "wrong"}}})
    w.until(lambda e: e["type"] == "DELETED", 5)
    t.eq(w.types(), ["MODIFIED", "DELETED"], "label change is a delete")
    t.api.patch(P + "/d", {"data": {"mutation": "2"}})
    t.api.patch(P + "/d", {"metadata": {"labels": {"l": "2"}}})
    t.api.patch(P + "/d", {"data": {"mutation": "3"}})
    t.api.delete(P + "/d")
    w.until(lambda e: len(w.events) >= 5, 5)
    t.eq(w.types(), ["MODIFIED", "DELETED", "ADDED", "MODIFIED", "DELETED"], "back again")


@test("Watchers: concurrent watches in same order", WF)
def watch_order(t):
    n = t.ns
    P = f"/api/v1/namespaces/{n}/configmaps"
    stop = threading.Event()

    def churn():
        a = Api()
        i = 0
        while not stop.is_set() and i < 100:
            i += 1
            nm = f"cm-{i}"
            a.post(P, {"metadata": {"name": nm}})
            a.patch(P + "/" + nm, {"data": {"k": str(i)}})
            if i % 2:
                a.delete(P + "/" + nm)

    w0 = t.api.watch(P, resourceVersion=t.api.get(P)["metadata"]["resourceVersion"])
    th = threading.Thread(target=churn)
    th.start()
    wait(lambda: len(w0.events) >= 50, 20)
    seen = [e["object"]["metadata"]["resourceVersion"] for e in w0.events[:40]]
    for i in range(0, 30, 3):
        w = t.api.watch(P, resourceVersion=seen[i])
        wait(lambda: len(w.events) >= 9, 5)
        t.eq(
            [e["object"]["metadata"]["resourceVersion"] for e in w.events[:9]],
            seen[i + 1 : i + 10],
            "same order from " + seen[i],
        )
        w.close()
    stop.set()
    th.join()


@test("Table transformation: pods, chunks, generic; 406 for metadata-less backend", "test/e2e/apimachinery/table_conversion.go")
def tables(t):
    n = t.ns
    TA = "application/json;as=Table;v=v1;g=meta.k8s.io"
    t.create_pod(t.pod("p1"))
    r = t.api.get(f"/api/v1/namespaces/{n}/pods/p1", accept=TA)
    t.check(
        r["kind"] == "Table"
        and len(r["columnDefinitions"]) > 2
        and len(r["rows"]) == 1
        and r["rows"][0]["cells"][0] == "p1"
        and r["columnDefinitions"][0]["name"] == "Name",
        "pod table",
        r,
    )
    t.check(r["rows"][0]["object"]["kind"] == "PartialObjectMetadata", "row object", r["rows"][0]["object"].get("kind"))
    for i in range(20):
        t.api.post(
            f"/api/v1/namespaces/{n}/podtemplates",
            {
                "metadata": {"name": f"template-{i:04d}"},
                "template": {"spec": {"containers": [{"name": "test", "image": "test2"}]}},
            },
        )
    r = t.api.get(f"/api/v1/namespaces/{n}/podtemplates", accept=TA, params={"limit": 10})
    t.check(
        len(r["rows"]) == 10 and r["metadata"].get("continue") and r["metadata"].get("resourceVersion"),
        "chunked table",
        r.text[:400],
    )
    r = t.api.get(
        f"/api/v1/namespaces/{n}/podtemplates", accept=TA, params={"limit": 10, "continue": r["metadata"]["continue"]}
    )
    t.check(len(r["rows"]) == 10 and not r["metadata"].get("continue"), "rest")
    r = t.api.get(f"/api/v1/nodes", accept=TA)
    t.check(
        r["kind"] == "Table"
        and len(r["columnDefinitions"]) >= 2
        and len(r["rows"]) >= 1
        and len(r["rows"][0]["cells"]) == len(r["columnDefinitions"]),
        "nodes",
        r.text[:300],
    )
    r = t.api.post(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}},
        },
        accept=TA,
    )
    t.check(r.status == 406 and r.reason == "NotAcceptable", "SelfSubjectAccessReview as Table: 406", r)
    r = t.api.get("/api/v1/namespaces", accept="application/json;as=Table;v=v1beta1;g=meta.k8s.io")
    t.check(r.status in (200, 406), "v1beta1", r.text[:200])


@test("API chunking", "test/e2e/apimachinery/chunking.go")
def chunking(t):
    n = t.ns
    P = f"/api/v1/namespaces/{n}/podtemplates"
    for i in range(40):
        t.api.post(
            P,
            {
                "metadata": {"name": f"template-{i:04d}"},
                "template": {"spec": {"containers": [{"name": "test", "image": "test2"}]}},
            },
        )
    got, cont, rv = 0, None, None
    for lim in (7, 11, 3, 40):
        r = t.api.get(P, params={"limit": lim, **({"continue": cont} if cont else {})})
        t.need(r.ok, "chunk", r)
        t.check(len(r["items"]) <= lim, "no more than limit")
        rv = rv or r["metadata"]["resourceVersion"]
        t.eq(r["metadata"]["resourceVersion"], rv, "same rv")
        for i, x in enumerate(r["items"]):
            t.eq(x["metadata"]["name"], f"template-{got+i:04d}", "order")
        got += len(r["items"])
        cont = r["metadata"].get("continue")
        if cont:
            t.eq(r["metadata"].get("remainingItemCount"), 40 - got, "remaining")
        else:
            t.check("remainingItemCount" not in r["metadata"], "none remaining at the end")
        if lim == 7:
            t.api.delete(P + "/template-0020")
    t.eq(got, 40, "all of the snapshot, deleted one too")
    r = t.api.get(P)
    t.eq(len(r["items"]), 39, "whole list")


FV = "test/e2e/apimachinery/field_validation.go"


@test("Field validation of typed objects", FV)
def fieldvalidation_typed(t):
    n = t.ns
    P = f"/apis/apps/v1/namespaces/{n}/deployments"
    body = '{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"my-dep","labels":{"app":"nginx"}},"spec":{"unknownField":"foo","replicas":2,"replicas":3,"selector":{"matchLabels":{"app":"nginx"}},"template":{"metadata":{"labels":{"app":"nginx"}},"spec":{"containers":[{"name":"nginx","image":"nginx:alpine"}]}}}}'
    q_ = {"fieldManager": "field_validation_mgr", "fieldValidation": "Strict"}
    r = t.api.post(P, body, params=q_)
    t.check(
        r.status == 400
        and 'strict decoding error: unknown field "spec.unknownField", duplicate field "spec.replicas"' in r.msg
        and r.reason == "BadRequest",
        "strict words",
        r,
    )
    r = t.api.post(
        P,
        body.replace('"unknownField":"foo",', "")
        .replace('"replicas":2,', "")
        .replace('"name":"my-dep",', '"name":"my-dep","unknownMeta":"foo",'),
        params=q_,
    )
    t.check(r.status == 400 and 'strict decoding error: unknown field "metadata.unknownMeta"' in r.msg, "unknown metadata", r)
    r = t.api.post(P, body, params={"fieldValidation": "Warn", "dryRun": "All"})
    t.check(
        r.status == 201
        and r.headers.get("Warning")
        == '299 - "unknown field \\"spec.unknownField\\"", 299 - "duplicate field \\"spec.replicas\\""',
        "Warn's warnings",
        (r.status, r.headers.get("Warning")),
    )
    r = t.api.post(P, body, params={"fieldValidation": "Ignore", "dryRun": "All"})
    t.check(r.status == 201 and not r.headers.get("Warning"), "Ignore", (r.status, r.headers.get("Warning")))
    r = t.api.post(P, body, params={"fieldValidation": "Bad"})
    t.check(r.status == 400 or r.status == 422, "Unsupported value", r)
    y = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d2\nspec:\n  replicas: 1\n  replicas: 2\n  unk: 1\n  selector:\n    matchLabels: {a: b}\n  template:\n    metadata:\n      labels: {a: b}\n    spec:\n      containers:\n      - name: c\n        image: x\n"
    r = t.api.post(P, y, ct="application/yaml", params=q_)
    t.check(
        r.status == 400 and 'line 7: key "replicas" already set in map' in r.msg and 'unknown field "spec.unk"' in r.msg,
        "yaml duplicates words",
        r,
    )
    r = t.api.patch(P + "/d2", y.replace("  replicas: 2\n", ""), ct="application/apply-patch+yaml", params=q_)
    t.check(r.status >= 400 and ".spec.unk: field not declared in schema" in r.msg, "apply unknown", r)


def mkcrd(t, group=None, kind=None, versions=None, scope="Namespaced", wait_=True, **spec):
    kind = kind or "E2e" + rnd()
    plural = kind.lower() + "s"
    group = group or f"{rnd()}.example.com"
    versions = versions or [
        {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
        }
    ]
    o = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "labels": spec.pop("labels", {})},
        "spec": {
            "group": group,
            "scope": scope,
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": kind + "List"},
            "versions": versions,
            **spec,
        },
    }
    r = t.api.post("/apis/apiextensions.k8s.io/v1/customresourcedefinitions", o)
    t.need(r.status == 201, "CRD created", r)
    name = o["metadata"]["name"]
    t.cleanup(lambda: t.api.delete("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + name))
    if wait_:
        t.wait(
            lambda: cond(t.api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + name).json, "Established")
            == "True",
            "established",
        )
        t.wait(lambda: t.api.get(f"/apis/{group}/{versions[0]['name']}/{plural}").status == 200, "served")
    return t.api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/" + name).json


CR = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


@test("Field validation of custom resources", FV)
def fieldvalidation_cr(t):
    ports = {
        "type": "array",
        "x-kubernetes-list-map-keys": ["containerPort", "protocol"],
        "x-kubernetes-list-type": "map",
        "items": {
            "type": "object",
            "required": ["containerPort", "protocol"],
            "properties": {
                "containerPort": {"format": "int32", "type": "integer"},
                "protocol": {"type": "string"},
                "name": {"type": "string"},
            },
        },
    }
    props = {
        "foo": {"type": "string"},
        "cronSpec": {"type": "string", "pattern": "^(\\d+|\\*)(/\\d+)?(\\s+(\\d+|\\*)(/\\d+)?){4}$"},
        "ports": ports,
    }

    def crd(schema):
        return mkcrd(
            t,
            scope="Cluster",
            versions=[
                {"name": v, "served": True, "storage": v == "v1beta1", "schema": {"openAPIV3Schema": schema}}
                for v in ("v1beta1", "v1beta2")
            ],
        )

    def apply(c, y, name="mytest"):
        g = c["spec"]["group"]
        p = c["spec"]["names"]["plural"]
        u = f"/apis/{g}/v1beta1/{p}/{name}"
        t.cleanup(lambda: t.api.patch(u, {"metadata": {"finalizers": None}}))
        return t.api.patch(
            u,
            f"apiVersion: {g}/v1beta1\nkind: {c['spec']['names']['kind']}\n" + y,
            ct="application/apply-patch+yaml",
            params={"fieldManager": "field_validation_mgr", "fieldValidation": "Strict"},
        )

    meta = "metadata:\n  name: mytest\n  finalizers:\n  - test-finalizer\n"
    spec = 'spec:\n  foo: foo1\n  cronSpec: "* * * * */5"\n  ports:\n  - name: x\n    containerPort: 80\n    protocol: TCP\n'
    c = crd({"type": "object", "properties": {"spec": {"type": "object", "properties": props}}})
    r = apply(c, meta + spec)
    t.check(r.status == 201, "valid CR applied", r)
    r = apply(
        c,
        meta + "unknownField: unknown\n" + spec,
    )
    t.check(".unknownField: field not declared in schema" in r.text, "unknown field", r)
    c = crd({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    r = apply(c, meta + spec.replace("foo: foo1", "unknown: uk1"))
    t.check(r.ok, "no schema", r)
    c = crd(
        {
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {
                        **props,
                        "template": {
                            "type": "object",
                            "x-kubernetes-embedded-resource": True,
                            "properties": {
                                "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
                                "spec": {"type": "object"},
                            },
                        },
                    },
                }
            },
        }
    )
    r = apply(
        c,
        meta.replace("  finalizers", "  unknownMeta: unknown\n  finalizers")
        + "spec:\n  template:\n    apiversion: foo/v1\n    kind: Sub\n    metadata:\n        unknownSubMeta: unknown\n        name: subobject\n        namespace: x\n"
        + spec[6:],
    )
    t.check(
        ".spec.template.metadata.unknownSubMeta: field not declared in schema" in r.text
        or ".metadata.unknownMeta: field not declared in schema" in r.text,
        "unknown metadata",
        r,
    )
    c = crd(
        {
            "type": "object",
            "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": True, "properties": props}},
        }
    )
    r = apply(
        c,
        meta
        + spec.replace("foo: foo1", "unknown: uk1\n  unknown: uk2\n  foo: foo1").replace("foo: foo1", "foo: foo1\n  foo: foo2"),
    )
    t.check('key \\"foo\\" already set in map' in r.text and 'key \\"unknown\\" already set in map' in r.text, "duplicates", r)
    g, p = c["spec"]["group"], c["spec"]["names"]["plural"]
    r = t.api.post(
        f"/apis/{g}/v1beta1/{p}",
        json.dumps(
            {"apiVersion": g + "/v1beta1", "kind": c["spec"]["names"]["kind"], "metadata": {"name": "j"}, "spec": {"foo": "a"}}
        )[:-2]
        + ', "foo": "b"}}',
        params={"fieldValidation": "Strict"},
    )
    t.check(r.status == 400 and 'duplicate field "spec.foo"' in r.msg, "json duplicates of a CR", r)


CD = "test/e2e/apimachinery/custom_resource_definition.go"


@test("CRD status sub-resource with bare conditions", CD)
def crd_status(t):
    c = mkcrd(t, scope="Cluster")
    n = c["metadata"]["name"]

    def up():
        s = t.api.get(f"{CR}/{n}/status").json
        s["status"]["conditions"].append({"type": "", "status": "", "lastTransitionTime": None, "message": "updated"})
        return t.api.put(f"{CR}/{n}/status", s)

    r = wait(lambda: (lambda r: r if r.status != 409 else None)(up()), 5)
    t.check(
        r.ok and any(x.get("message") == "updated" for x in r["status"]["conditions"]),
        "UpdateStatus with a condition of a message only",
        r,
    )
    r = t.api.jp(f"{CR}/{n}/status", [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}])
    t.check(
        r.ok and any(x.get("message") == "patched" for x in r["status"]["conditions"]), "JSON patch of /status/conditions", r
    )


@test("CRD list and deletecollection", CD)
def crd_list(t):
    lab = "e2e-" + rnd()
    cs = [mkcrd(t, labels={"e2e-list-test-uuid": lab}, wait_=False) for _ in range(10)]
    other = mkcrd(t)
    r = t.api.get(CR, params={"labelSelector": "e2e-list-test-uuid=" + lab})
    t.eq(len(r["items"]), 10, "ten")
    r = t.api.delete(CR, params={"labelSelector": "e2e-list-test-uuid=" + lab})
    t.check(r.ok and r["kind"] in ("CustomResourceDefinitionList", "Status"), "deletecollection", r.text[:300])
    t.wait(lambda: len(t.api.get(CR, params={"labelSelector": "e2e-list-test-uuid=" + lab})["items"]) == 0, "gone")
    t.check(t.api.get(f"{CR}/{other['metadata']['name']}").ok, "the other remains")


@test("CRD defaulting for requests and from storage", CD)
def crd_defaulting(t):
    c = mkcrd(
        t,
        scope="Cluster",
        versions=[
            {
                "name": "v1beta1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {"a": {"type": "string"}, "b": {"type": "string"}},
                    }
                },
            }
        ],
    )
    n, g, p, k = c["metadata"]["name"], c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"]
    U = f"/apis/{g}/v1beta1/{p}"
    mk = lambda name: t.api.post(U, {"apiVersion": g + "/v1beta1", "kind": k, "metadata": {"name": name}})
    t.check(mk("cr-1").status == 201, "cr1")
    base = "/spec/versions/0/schema/openAPIV3Schema/properties"
    r = t.api.jp(f"{CR}/{n}", [{"op": "add", "path": base + "/a/default", "value": "A"}])
    t.check(r.ok, "default a", r)
    t.wait(lambda: t.api.get(U + "/cr-1").json.get("a") == "A", "defaulted on read")
    r = mk("cr-2")
    t.check(r.json.get("a") == "A", "defaulted on create", r)
    r = t.api.jp(
        f"{CR}/{n}", [{"op": "remove", "path": base + "/a/default"}, {"op": "add", "path": base + "/b/default", "value": "B"}]
    )
    t.check(r.ok, "default b", r)
    t.wait(lambda: t.api.get(U + "/cr-2").json.get("b") == "B", "b")
    t.eq(t.api.get(U + "/cr-2").json.get("a"), "A", "a stays")


@test("CRD watch: created, modified, deleted CRs", "test/e2e/apimachinery/crd_watch.go")
def crd_watch(t):
    c = mkcrd(t, scope="Cluster")
    g, p, k = c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"]
    U = f"/apis/{g}/v1/{p}"
    wa = t.api.watch(U, fieldSelector="metadata.name=name1")
    wb = t.api.watch(U, fieldSelector="metadata.name=name2")
    for nm in ("name1", "name2"):
        t.api.post(
            U,
            {
                "apiVersion": g + "/v1",
                "kind": k,
                "metadata": {"name": nm},
                "content": {"key": "value"},
                "num": {"num1": 9223372036854775807, "num2": 1000000},
            },
        )
    r = t.api.get(U + "/name1")
    t.check(
        r["num"] == {"num1": 9223372036854775807, "num2": 1000000} and '"num1":9223372036854775807' in r.text, "int64 kept", r
    )
    for nm in ("name1", "name2"):
        t.api.patch(U + "/" + nm, {"dummy": "test"})
    for nm in ("name1", "name2"):
        t.api.delete(U + "/" + nm)
    for w in (wa, wb):
        w.until(lambda e: e["type"] == "DELETED", 5)
        t.eq(w.types(), ["ADDED", "MODIFIED", "DELETED"], "events")


@test(
    "CRD publish OpenAPI: schema, kubectl explain/validation, rename, unserve", "test/e2e/apimachinery/crd_publish_openapi.go"
)
def crd_openapi(t):
    foo = {
        "description": "Foo CRD for Testing",
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "description": "Specification of Foo",
                "properties": {
                    "bars": {
                        "description": "List of Bars and their specs.",
                        "type": "array",
                        "items": {
                            "type": "object",
                            "required": ["name"],
                            "properties": {
                                "name": {"description": "Name of Bar.", "type": "string"},
                                "age": {"description": "Age of Bar.", "type": "string"},
                                "feeling": {"description": "Feeling of Bar.", "type": "string", "enum": ["Great", "Down"]},
                                "bazs": {"description": "List of Bazs.", "type": "array", "items": {"type": "string"}},
                            },
                        },
                    }
                },
            },
            "status": {
                "description": "Status of Foo",
                "type": "object",
                "properties": {
                    "bars": {
                        "description": "List of Bars and their statuses.",
                        "type": "array",
                        "items": {
                            "type": "object",
                            "properties": {"name": {"type": "string"}, "available": {"type": "boolean"}},
                        },
                    }
                },
            },
        },
    }
    c = mkcrd(
        t,
        versions=[
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": foo}},
            {"name": "v2", "served": True, "storage": False, "schema": {"openAPIV3Schema": foo}},
        ],
    )
    g, p, k, n = c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"], c["metadata"]["name"]
    rg = ".".join(reversed(g.split(".")))

    def defs():
        return t.api.get("/openapi/v2")["definitions"]

    t.wait(
        lambda: f"{rg}.v1.{k}" in defs() and f"{rg}.v2.{k}" in defs(), "published in /openapi/v2 as " + f"{rg}.v1.{k}", 30, 0.5
    )
    d = defs().get(f"{rg}.v1.{k}", {})
    t.check(
        d.get("x-kubernetes-group-version-kind") == [{"group": g, "kind": k, "version": "v1"}],
        "gvk extension",
        d.get("x-kubernetes-group-version-kind"),
    )
    t.check(
        set(d.get("properties", {})) == {"apiVersion", "kind", "metadata", "spec", "status"},
        "properties",
        list(d.get("properties", {})),
    )
    paths = t.api.get("/openapi/v2")["paths"]
    t.check(f"/apis/{g}/v1/namespaces/{{namespace}}/{p}/{{name}}" in paths and f"/apis/{g}/v1/{p}" in paths, "paths")
    r = t.api.get(f"/openapi/v3/apis/{g}/v1")
    t.check(r.ok and f"{rg}.v1.{k}" in r["components"]["schemas"], "v3", r.text[:200])
    good = f'{{"kind":"{k}","apiVersion":"{g}/v1","metadata":{{"name":"test-foo"}},"spec":{{"bars":[{{"name":"test-bar","feeling":"Great"}}]}}}}'
    for cmd in ("create", "delete", "apply", "delete"):
        r = t.kubectl(cmd, "-f", "-", inp=good)
    r = t.kubectl("create", "-f", "-", inp=good.replace('"feeling":"Great"', '"feeling":"NonExistentValue"'), ok=False)
    t.check(r.returncode != 0 and 'Unsupported value: "NonExistentValue"' in r.stderr, "unsupported enum", r.stderr)
    for cmd in ("create", "apply"):
        r = t.kubectl(
            cmd,
            "-f",
            "-",
            inp=good.replace('"name":"test-bar"', '"unknown":"bar","name":"test-bar"').replace(
                '"spec":', '"unknown":"x","spec":'
            ),
            ok=False,
        )
        t.check(
            r.returncode != 0 and 'unknown field "spec.bars[0].unknown"' in r.stderr.replace("spec.bars[0].", "spec.bars[0]."),
            f"{cmd} unknown nested",
            r.stderr,
        )
        r = t.kubectl(cmd, "-f", "-", inp=good.replace('"name":"test-bar",', ""), ok=False)
        t.check(
            r.returncode != 0
            and (
                "spec.bars[0].name" in r.stderr and "Required value" in r.stderr or 'missing required field "name"' in r.stderr
            ),
            f"{cmd} without required",
            r.stderr,
        )
    r = t.kubectl("explain", p)
    t.check(
        "DESCRIPTION:\n    Foo CRD for Testing" in r.stdout
        and "FIELDS:" in r.stdout
        and "apiVersion\t<string>" in r.stdout
        and "Specification of Foo" in r.stdout
        and f"KIND:       {k}" in r.stdout,
        "explain",
        r.stdout,
    )
    r = t.kubectl("explain", p + ".metadata")
    t.check(
        "Standard object's metadata" in r.stdout and "creationTimestamp\t<string>" in r.stdout,
        "explain metadata",
        r.stdout[:500],
    )
    r = t.kubectl("explain", p + ".spec")
    t.check(
        "Specification of Foo" in r.stdout and "bars\t<[]Object>" in r.stdout and "List of Bars and their specs." in r.stdout,
        "explain spec",
        r.stdout,
    )
    r = t.kubectl("explain", p + ".spec.bars")
    t.check(
        "bazs\t<[]string>" in r.stdout and "name\t<string> -required-" in r.stdout and "Name of Bar." in r.stdout,
        "explain bars",
        r.stdout,
    )
    r = t.kubectl("explain", p + ".spec.bars2", ok=False)
    t.check(r.returncode != 0, "explain missing fails")
    r = t.api.jp(
        f"{CR}/{n}",
        [
            {"op": "test", "path": "/spec/versions/1/name", "value": "v2"},
            {"op": "replace", "path": "/spec/versions/1/name", "value": "v4"},
        ],
    )
    t.check(r.ok, "rename", r)
    t.wait(lambda: f"{rg}.v4.{k}" in defs() and f"{rg}.v2.{k}" not in defs() and f"{rg}.v1.{k}" in defs(), "renamed in spec")
    r = t.api.jp(f"{CR}/{n}", [{"op": "replace", "path": "/spec/versions/1/served", "value": False}])
    t.check(r.ok, "unserve", r)
    t.wait(lambda: f"{rg}.v4.{k}" not in defs() and f"{rg}.v1.{k}" in defs(), "unserved gone")


@test(
    "CRD publish OpenAPI: preserve unknown at root, in object, embedded; empty", "test/e2e/apimachinery/crd_publish_openapi.go"
)
def crd_openapi_preserve(t):
    for nm, sch, chk in (
        (
            "root",
            {
                "type": "object",
                "x-kubernetes-preserve-unknown-fields": True,
                "properties": {
                    "spec": {
                        "description": "Specification of Waldo",
                        "type": "object",
                        "properties": {"dummy": {"type": "string"}},
                    },
                    "status": {"type": "object"},
                },
            },
            None,
        ),
        (
            "waldo",
            {
                "description": "preserve-unknown-properties in nested field for Testing",
                "type": "object",
                "properties": {
                    "spec": {
                        "type": "object",
                        "description": "Specification of Waldo",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {"dummy": {"type": "string"}},
                    },
                    "status": {
                        "description": "Status of Waldo",
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                        "properties": {
                            "bars": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "string"}}}}
                        },
                    },
                },
            },
            "preserve-unknown-properties in nested field for Testing",
        ),
        ("empty", {"type": "object", "x-kubernetes-preserve-unknown-fields": True}, None),
    ):
        c = mkcrd(t, versions=[{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": sch}}])
        g, p, k = c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"]
        rg = ".".join(reversed(g.split(".")))
        t.wait(lambda: f"{rg}.v1.{k}" in t.api.get("/openapi/v2")["definitions"], nm + " published", 30, 0.5)
        cr = f'{{"kind":"{k}","apiVersion":"{g}/v1","metadata":{{"name":"test-cr"}},"spec":{{"b":[{{"c":"d"}}]}}' + (
            ',"a":{"b":[{"c":"d"}]}}' if nm != "waldo" else "}"
        )
        for cmd in ("create", "delete", "apply", "delete"):
            t.kubectl(cmd, "-f", "-", inp=cr)
        r = t.kubectl("explain", p)
        t.check(
            f"KIND:       {k}" in r.stdout and (not chk or chk in r.stdout) and "DESCRIPTION:" in r.stdout,
            "explain " + nm,
            r.stdout,
        )


@test("CRD selectable fields", "test/e2e/apimachinery/crd_selectable_fields.go")
def crd_selectable(t):
    sch = {
        "type": "object",
        "properties": {
            "spec": {"type": "object", "properties": {"color": {"type": "string"}, "quantity": {"type": "integer"}}}
        },
    }
    c = mkcrd(
        t,
        versions=[
            {
                "name": v,
                "served": True,
                "storage": v == "v1",
                "schema": {"openAPIV3Schema": sch},
                "selectableFields": [{"jsonPath": ".spec.color"}, {"jsonPath": ".spec.quantity"}],
            }
            for v in ("v1", "v2")
        ],
    )
    g, p, k = c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"]
    U = f"/apis/{g}/v1/namespaces/{t.ns}/{p}"
    for i, (col, qn) in enumerate((("blue", 2), ("blue", 3), ("green", 2))):
        r = t.api.post(
            U, {"apiVersion": g + "/v1", "kind": k, "metadata": {"name": f"x{i}"}, "spec": {"color": col, "quantity": qn}}
        )
        t.check(r.ok, "made", r)
    L = lambda s, v="v1": [
        x["metadata"]["name"] for x in t.api.get(U.replace("/v1/", f"/{v}/"), params={"fieldSelector": s})["items"]
    ]
    t.eq(L("spec.color=blue"), ["x0", "x1"], "blue")
    t.eq(L("spec.color=blue,spec.quantity=2"), ["x0"], "both")
    t.eq(L("spec.color!=blue", "v2"), ["x2"], "not")
    w = t.api.watch(U, fieldSelector="spec.color=blue")
    w.until(lambda e: len(w.events) >= 2, 5)
    t.api.patch(U + "/x0", {"spec": {"color": "red"}})
    t.check(w.until(lambda e: e["type"] == "DELETED", 5), "leaves selector", w.types())
    r = t.api.get(U, params={"fieldSelector": "spec.foo=1"})
    t.check(r.status == 400 and "field label not supported: spec.foo" in r.msg, "unknown label", r)
    t.api.delete(U, params={"fieldSelector": "spec.color=blue"})
    t.eq([x["metadata"]["name"] for x in t.api.get(U)["items"]], ["x0", "x2"], "deletecollection by field")


@test(
    "CRD validation rules (CEL) and ratcheting", "test/e2e/apimachinery/crd_validation_rules.go, crd_validation_ratcheting.go"
)
def crd_cel(t):
    sch = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "x-kubernetes-validations": [{"rule": "self.x + self.y >= 0"}],
                "properties": {
                    "x": {"type": "integer"},
                    "y": {"type": "integer"},
                    "num": {"type": "integer", "x-kubernetes-validations": [{"rule": "self == oldSelf"}]},
                },
            }
        },
    }
    c = mkcrd(t, versions=[{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": sch}}])
    g, p, k, n = c["spec"]["group"], c["spec"]["names"]["plural"], c["spec"]["names"]["kind"], c["metadata"]["name"]
    U = f"/apis/{g}/v1/namespaces/{t.ns}/{p}"
    t.check(
        t.api.post(U, {"apiVersion": g + "/v1", "kind": k, "metadata": {"name": "a"}, "spec": {"x": 1, "y": 0, "num": 10}}).ok,
        "valid",
    )
    r = t.api.post(U, {"apiVersion": g + "/v1", "kind": k, "metadata": {"name": "b"}, "spec": {"x": -1, "y": 0}})
    t.check(r.status == 422 and "failed rule: self.x + self.y >= 0" in r.msg, "rule words", r)
    r = t.api.patch(U + "/a", {"spec": {"num": 11}})
    t.check(r.status == 422 and "failed rule: self == oldSelf" in r.msg, "transition rule", r)
    for rule, want in (
        ("self = 1", "Syntax error: token recognition error at: '= '"),
        ("self.z > 0", "undefined field 'z'"),
    ):
        v = [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "properties": {"x": {"type": "integer"}},
                                "x-kubernetes-validations": [{"rule": rule}],
                            }
                        },
                    }
                },
            }
        ]
        r = t.api.post(
            CR,
            {
                "metadata": {"name": "foos.c.example.com"},
                "spec": {
                    "group": "c.example.com",
                    "scope": "Namespaced",
                    "names": {"plural": "foos", "kind": "Foo"},
                    "versions": v,
                },
            },
        )
        t.check(r.status == 422 and want in r.msg and "compilation failed" in r.msg, "compile error " + rule, r)
    v = [
        {
            "name": "v1",
            "served": True,
            "storage": True,
            "schema": {
                "openAPIV3Schema": {
                    "type": "object",
                    "properties": {
                        "spec": {
                            "type": "object",
                            "properties": {"x": {"type": "array", "items": {"type": "string"}}},
                            "x-kubernetes-validations": [{"rule": "self.x.all(s, self.x.all(s2, s == s2))"}],
                        }
                    },
                }
            },
        }
    ]
    r = t.api.post(
        CR,
        {
            "metadata": {"name": "foos.c.example.com"},
            "spec": {
                "group": "c.example.com",
                "scope": "Namespaced",
                "names": {"plural": "foos", "kind": "Foo"},
                "versions": v,
            },
        },
    )
    t.check(r.status == 422 and "exceeds budget" in r.msg, "estimated cost", r)
    if r.ok:
        t.api.delete(CR + "/foos.c.example.com")
    # ratcheting
    r = t.api.jp(
        f"{CR}/{n}",
        [{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/x/maximum", "value": 0}],
    )
    t.check(r.ok, "tighten", r)
    time.sleep(1)
    r = t.api.patch(U + "/a", {"spec": {"y": 5}})
    t.check(r.ok, "unchanged invalid field is let through (ratcheting)", r)
    r = t.api.patch(U + "/a", {"spec": {"x": 4}})
    t.check(r.status == 422, "changed invalid field refused", r)
