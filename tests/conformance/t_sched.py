from lib import *
from t_api2 import PODS
from t_node import c, one, PO

SF = "test/e2e/scheduling/predicates.go"


@test("Scheduling: nodeSelector, resource limits, hostPort conflict, affinity", SF)
def predicates(t):
    node = t.api.get("/api/v1/nodes")["items"][0]
    nm = node["metadata"]["name"]
    n = len(t.api.get("/api/v1/nodes")["items"])
    t.create_pod(t.pod("restricted", {"nodeSelector": {"label": "nonempty"}, "containers": [c("true")]}))
    t.wait(
        lambda: [x for x in t.get_pod("restricted")["status"]["conditions"] if x["type"] == "PodScheduled"][0]["reason"]
        == "Unschedulable",
        "Unschedulable",
        10,
    )
    x = [x for x in t.get_pod("restricted")["status"]["conditions"] if x["type"] == "PodScheduled"][0]
    t.check(
        x["message"]
        == f"0/{n} nodes are available: {n} node(s) didn't match Pod's node affinity/selector. no new claims to deallocate, preemption: 0/{n} nodes are available: {n} Preemption is not helpful for scheduling."
        or x["message"]
        == f"0/{n} nodes are available: {n} node(s) didn't match Pod's node affinity/selector. preemption: 0/{n} nodes are available: {n} Preemption is not helpful for scheduling.",
        "words",
        x,
    )
    ev = t.wait(
        lambda: [
            e
            for e in t.api.get(
                f"/api/v1/namespaces/{t.ns}/events",
                params={"fieldSelector": "involvedObject.name=restricted,reason=FailedScheduling"},
            )["items"]
        ],
        "FailedScheduling event",
    )
    t.check(ev and ev[0]["type"] == "Warning" and ev[0]["reportingComponent"] == "default-scheduler", "event", ev and ev[0])
    t.create_pod(t.pod("big", {"containers": [c("true", resources={"requests": {"cpu": "1000"}})]}))
    t.wait(
        lambda: "Insufficient cpu"
        in [x for x in t.get_pod("big")["status"]["conditions"] if x["type"] == "PodScheduled"][0]["message"],
        "Insufficient cpu",
        10,
    )
    k = "kubernetes.io/e2e-" + rnd()
    t.api.patch("/api/v1/nodes/" + nm, {"metadata": {"labels": {k: "42"}}})
    t.cleanup(lambda: t.api.patch("/api/v1/nodes/" + nm, {"metadata": {"labels": {k: None}}}))
    t.create_pod(t.pod("sel", {"nodeSelector": {k: "42"}, "terminationGracePeriodSeconds": 0, "containers": [c("sleep 1000")]}))
    t.phase("sel", "Running")
    for i, h in ((1, None), (2, "127.0.0.1")):
        t.create_pod(
            t.pod(
                f"hp{i}",
                {
                    "nodeSelector": {k: "42"},
                    "terminationGracePeriodSeconds": 0,
                    "containers": [
                        c("sleep 1000", ports=[{"containerPort": 8080, "hostPort": 54322, **({"hostIP": h} if h else {})}])
                    ],
                },
            )
        )
    t.phase("hp1", "Running")
    t.wait(
        lambda: "didn't have free ports for the requested pod ports"
        in [x for x in t.get_pod("hp2")["status"]["conditions"] if x["type"] == "PodScheduled"][0]["message"],
        "host port conflict",
        10,
    )


@test("Preemption: basic; critical pods; PriorityClass endpoints; DisruptionTarget", "test/e2e/scheduling/preemption.go")
def preemption(t):
    P = "/apis/scheduling.k8s.io/v1/priorityclasses"
    s = rnd()
    lo, hi = "lo-" + s, "hi-" + s
    for nm, v in ((lo, 1), (hi, 1000)):
        t.api.post(P, {"metadata": {"name": nm}, "value": v})
        t.cleanup(lambda nm=nm: t.api.delete(P + "/" + nm))
    node = t.api.get("/api/v1/nodes")["items"][0]["metadata"]["name"]
    q = f"example.com/fakecpu-{s}"
    r = t.api.jp(
        f"/api/v1/nodes/{node}/status", [{"op": "add", "path": "/status/capacity/" + q.replace("/", "~1"), "value": "5"}]
    )
    t.check(r.ok, "extended resource on the node", r)
    t.cleanup(
        lambda: t.api.jp(f"/api/v1/nodes/{node}/status", [{"op": "remove", "path": "/status/capacity/" + q.replace("/", "~1")}])
    )
    t.wait(
        lambda: t.api.get("/api/v1/nodes/" + node)["status"]["allocatable"].get(q) == "5", "kubelet makes it allocatable", 20
    )
    mk = lambda nm, pc, **k: t.create_pod(
        t.pod(
            nm,
            {
                "priorityClassName": pc,
                "terminationGracePeriodSeconds": 1,
                "containers": [c("sleep 1000", resources={"requests": {q: "3"}, "limits": {q: "3"}})],
            },
            **k,
        )
    )
    p = mk("low", lo, finalizers=["example.com/test-finalizer"])
    t.eq(p["spec"]["priority"], 1, "priority")
    t.eq(p["spec"]["preemptionPolicy"], "PreemptLowerPriority", "policy")
    t.phase("low", "Running")
    mk("high", hi)
    t.phase("high", "Running", 30)
    p = t.get_pod("low")
    x = [x for x in p["status"]["conditions"] if x["type"] == "DisruptionTarget"]
    t.check(
        x
        and x[0]["status"] == "True"
        and x[0]["reason"] == "PreemptionByScheduler"
        and x[0]["message"].startswith("default-scheduler: preempting to accommodate a higher priority pod"),
        "DisruptionTarget",
        p["status"]["conditions"],
    )
    t.api.patch(PO(t) + "/low", {"metadata": {"finalizers": None}})
    r = t.api.put(P + "/" + lo, {**t.api.get(P + "/" + lo).json, "value": 5})
    t.check(r.status == 422 and "field is immutable" in r.msg, "value immutable", r)
    r = t.api.post(PO(t), t.pod("np", {"priorityClassName": "no-such", "containers": [c("true")]}))
    t.check(r.status == 403 and "no PriorityClass with name no-such was found" in r.msg, "unknown class", r)


@test("LimitRange: defaults, min/max, update", "test/e2e/scheduling/limit_range.go")
def limitrange(t):
    L = f"/api/v1/namespaces/{t.ns}/limitranges"
    t.api.post(
        L,
        {
            "metadata": {"name": "lr"},
            "spec": {
                "limits": [
                    {
                        "type": "Container",
                        "min": {"cpu": "50m", "memory": "100Mi"},
                        "max": {"cpu": "500m", "memory": "500Mi"},
                        "default": {"cpu": "500m", "memory": "500Mi"},
                        "defaultRequest": {"cpu": "100m", "memory": "200Mi"},
                    }
                ]
            },
        },
    )
    time.sleep(0.3)
    p = t.create_pod(t.pod("d"))
    t.eq(
        p["spec"]["containers"][0]["resources"],
        {"requests": {"cpu": "100m", "memory": "200Mi"}, "limits": {"cpu": "500m", "memory": "500Mi"}},
        "defaults",
    )
    t.check(
        p["metadata"].get("annotations", {}).get("kubernetes.io/limit-ranger")
        == "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c",
        "annotation",
        p["metadata"].get("annotations"),
    )
    p = t.create_pod(
        t.pod("partial", {"containers": [c("true", resources={"requests": {"memory": "150Mi"}, "limits": {"cpu": "300m"}})]})
    )
    t.eq(
        p["spec"]["containers"][0]["resources"],
        {"requests": {"cpu": "300m", "memory": "150Mi"}, "limits": {"cpu": "300m", "memory": "500Mi"}},
        "partial",
    )
    r = t.api.post(PO(t), t.pod("lo", {"containers": [c("true", resources={"requests": {"cpu": "10m"}})]}))
    t.check(r.status == 403 and "minimum cpu usage per Container is 50m, but request is 10m" in r.msg, "min words", r)
    r = t.api.post(PO(t), t.pod("hi", {"containers": [c("true", resources={"limits": {"cpu": "600m"}})]}))
    t.check(r.status == 403 and "maximum cpu usage per Container is 500m, but limit is 600m" in r.msg, "max words", r)
    r = t.api.patch(L + "/lr", {"spec": {"limits": [{"type": "Container", "min": {"cpu": "9m"}}]}})
    t.check(r.ok, "update")
    t.wait(
        lambda: t.api.post(
            PO(t), t.pod("lo2", {"containers": [c("true", resources={"requests": {"cpu": "10m"}, "limits": {"cpu": "20m"}})]})
        ).ok,
        "after update",
        10,
    )
    r = t.api.get("/api/v1/limitranges")
    t.check(r.ok and len(r["items"]) >= 1, "all namespaces")


@test("Scheduling gates, topology spread, pod (anti)affinity", "test/e2e/scheduling/predicates.go, priorities.go")
def gates(t):
    t.create_pod(
        t.pod(
            "g",
            {
                "schedulingGates": [{"name": "foo"}, {"name": "bar"}],
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 100")],
            },
        )
    )
    t.wait(
        lambda: [x for x in t.get_pod("g")["status"]["conditions"] if x["type"] == "PodScheduled"][0]["reason"]
        == "SchedulingGated",
        "SchedulingGated",
    )
    x = [x for x in t.get_pod("g")["status"]["conditions"] if x["type"] == "PodScheduled"][0]
    t.eq(x.get("message"), "Scheduling is blocked due to non-empty scheduling gates", "words")
    t.api.patch(PO(t) + "/g", {"spec": {"schedulingGates": None}})
    t.phase("g", "Running")
    t.create_pod(
        t.pod(
            "a",
            {
                "affinity": {
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"x": "1"}}}
                        ]
                    }
                },
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 100")],
            },
            labels={"x": "1"},
        )
    )
    t.phase("a", "Running")
    t.create_pod(
        t.pod(
            "b",
            {
                "affinity": {
                    "podAntiAffinity": {
                        "requiredDuringSchedulingIgnoredDuringExecution": [
                            {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"x": "1"}}}
                        ]
                    }
                },
                "terminationGracePeriodSeconds": 0,
                "containers": [c("sleep 100")],
            },
            labels={"x": "1"},
        )
    )
    t.wait(
        lambda: "didn't match pod anti-affinity rules"
        in [x for x in t.get_pod("b")["status"]["conditions"] if x["type"] == "PodScheduled"][0]["message"],
        "anti-affinity",
        10,
    )
